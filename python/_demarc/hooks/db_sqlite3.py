"""sqlite3: one query event a statement, and the transactions that the library begins and ends by itself.

sqlite3's types are C types, so `connect` is given a factory: a subclass of sqlite3.Connection (or of the service's own
subclass), whose cursors are subclasses in the same way. Connections that SQLAlchemy or Django make are left as they
are: their own hooks see them. aiosqlite's are made here and recorded under its name.
"""

import functools
import sqlite3
import sys

from _demarc import db, results
from _demarc.core import failed, now, state

NAME = "sqlite3"
enabled = set()  # of sqlite3 and aiosqlite
_cursors = {}
_connections = {}

_execute = sqlite3.Cursor.execute
_executemany = sqlite3.Cursor.executemany
_executescript = sqlite3.Cursor.executescript
_cursor = sqlite3.Connection.cursor


def _record(cursor, start, statement, params, error, many=None):
    end = now()
    hook = NAME
    try:
        raw = cursor.connection
        conn = raw._demarc
        if conn is None:
            return
        hook = raw._demarc_hook
        if hook in state.disabled:
            return
        rows = cursor.rowcount
        if rows >= 0 and cursor.description is not None:
            rows = -1  # RETURNING: counted by SQLite only as the rows are fetched
        event = db.query(conn, raw, start, end, statement, params, rows, error, many)
        if event is not None and cursor.description is not None:
            cursor._demarc_rows = event
    except Exception:
        failed(hook)


class Cursor(sqlite3.Cursor):
    """A cursor whose statements are recorded."""

    _demarc_rows = None

    def execute(self, *args):  # noqa: D102 (as the base)
        self._demarc_rows = None
        if not state.on:
            return _execute(self, *args)
        start = now()
        try:
            result = _execute(self, *args)
        except BaseException as e:
            _record(self, start, args[0] if args else "", args[1] if len(args) > 1 else None, e)
            raise
        _record(self, start, args[0], args[1] if len(args) > 1 else None, None)
        return result

    fetchone, fetchmany, fetchall, __iter__ = results.fetching(sqlite3.Cursor, NAME)

    def executemany(self, *args):  # noqa: D102
        self._demarc_rows = None
        if not state.on or len(args) != 2:
            return _executemany(self, *args)
        try:
            sets, many = db.counted(args[1])
        except Exception:
            failed(NAME)
            return _executemany(self, *args)
        start = now()
        try:
            result = _executemany(self, args[0], sets)
        except BaseException as e:
            _record(self, start, args[0], None, e, many)
            raise
        _record(self, start, args[0], None, None, many)
        return result

    def executescript(self, *args):  # noqa: D102
        self._demarc_rows = None
        if not state.on:
            return _executescript(self, *args)
        start = now()
        try:
            result = _executescript(self, *args)
        except BaseException as e:
            _record(self, start, args[0] if args else "", None, e)
            raise
        _record(self, start, args[0], None, None)
        return result


def _ended(raw, op, start, error):
    try:
        conn = raw._demarc
        if conn is not None and raw._demarc_hook not in state.disabled:
            db.ended(conn, raw, op, start, error)
    except Exception:
        failed(NAME)


def _ending(name, op):
    """A method of Connection that ends a transaction."""
    original = getattr(sqlite3.Connection, name)

    @functools.wraps(original)
    def end(self, *args):
        conn = self._demarc
        if not state.on or conn is None or conn.txn is None:
            return original(self, *args)
        start = now()
        how = op or ("commit" if not args or args[0] is None else "rollback")
        try:
            result = original(self, *args)
        except BaseException as e:
            _ended(self, how, start, e)
            raise
        _ended(self, how, start, None)
        return result

    return end


def _direct(name):
    """A method of Connection that makes a cursor and executes on it at once."""
    original = getattr(sqlite3.Connection, name)
    on_cursor = getattr(Cursor, name)

    @functools.wraps(original)
    def run(self, *args):
        if not state.on or self._demarc is None:
            return original(self, *args)
        cursor = _cursor(self, Cursor)
        on_cursor(cursor, *args)
        return cursor

    return run


class Connection(sqlite3.Connection):
    """A connection whose cursors record."""

    _demarc = None
    _demarc_hook = NAME

    def cursor(self, *args, **kwargs):  # noqa: D102 (as the base)
        if self._demarc is None:
            return _cursor(self, *args, **kwargs)
        if not args and not kwargs:
            return _cursor(self, Cursor)
        try:
            if args:
                args = (db.observed_class(args[0], Cursor, _cursors), *args[1:])
            elif "factory" in kwargs:
                kwargs = {**kwargs, "factory": db.observed_class(kwargs["factory"], Cursor, _cursors)}
        except Exception:
            failed(NAME)
        return _cursor(self, *args, **kwargs)

    if sys.version_info >= (3, 11):  # before, sqlite3 itself goes through cursor()
        execute, executemany, executescript = _direct("execute"), _direct("executemany"), _direct("executescript")
    commit = _ending("commit", "commit")
    rollback = _ending("rollback", "rollback")
    close = _ending("close", "rollback")
    __exit__ = _ending("__exit__", None)


for _cls in (Cursor, Connection):
    _cls.__module__ = "sqlite3"
_cursors[sqlite3.Cursor] = Cursor
_connections[sqlite3.Connection] = Connection
_FACTORY = 5  # position of the factory among connect's parameters


def _observing(args, kwargs, hook):
    """The arguments of connect with a factory that records; None where the service's factory cannot be followed."""
    if len(args) > _FACTORY:
        cls = db.observed_class(args[_FACTORY], Connection, _connections)
        args = (*args[:_FACTORY], cls, *args[_FACTORY + 1 :])
    else:
        cls = db.observed_class(kwargs.get("factory", sqlite3.Connection), Connection, _connections)
        kwargs = {**kwargs, "factory": cls}
    return (args, kwargs) if isinstance(cls, type) and issubclass(cls, Connection) else None


def _wrap(original):
    @functools.wraps(original)
    def connect(*args, **kwargs):
        hook = db.owner.get() or NAME
        ours = None
        if hook in enabled:
            try:
                ours = _observing(args, kwargs, hook)
            except Exception:
                failed(hook)
        if ours is None:
            return original(*args, **kwargs)
        raw = original(*ours[0], **ours[1])
        try:
            raw._demarc = db.Conn("sqlite", db.probe_sqlite)
            raw._demarc_hook = hook
        except Exception:
            failed(hook)
        return raw

    connect._demarc = True
    return connect


def install(hook):
    """Makes sqlite3.connect give connections that record for this hook."""
    enabled.add(hook)
    if not hasattr(sqlite3.connect, "_demarc"):
        sqlite3.connect = sqlite3.dbapi2.connect = _wrap(sqlite3.connect)


def patch(module):
    """Hooks sqlite3.connect."""
    install(NAME)


def patch_aiosqlite(module):
    """Sees to it that connections which aiosqlite makes in its threads are not recorded here."""
    hand_over(module)


def hand_over(module):
    """Tells connections of aiosqlite, which are made in threads of their own, whose they are."""
    cls = module.Connection
    init = cls.__init__
    if hasattr(init, "_demarc"):
        return

    @functools.wraps(init)
    def __init__(self, connector, *args, **kwargs):
        try:
            made_for = db.owner.get() or "aiosqlite"
            given = connector

            def connector():
                token = db.owner.set(made_for)
                try:
                    return given()
                finally:
                    db.owner.reset(token)
        except Exception:
            failed(NAME)
        init(self, connector, *args, **kwargs)

    __init__._demarc = True
    cls.__init__ = __init__
