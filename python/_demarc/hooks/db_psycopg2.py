"""psycopg2: one query event a statement, and the transactions that the library begins by itself.

Its connection and cursor are C types: `connect` is given a connection_factory, a subclass of psycopg2's connection (or
of the service's own subclass), whose cursors are subclasses in the same way; psycopg2's helpers in C accept subclasses.
Asynchronous connections (async_=1) answer later than their methods return and are left alone.
"""

import functools

from psycopg2 import extensions

from _demarc import db, results
from _demarc.core import failed, now, state

NAME = "psycopg2"
_cursors = {}
_connections = {}

_base_cursor = extensions.cursor
_base_connection = extensions.connection
_execute = _base_cursor.execute
_executemany = _base_cursor.executemany
_callproc = _base_cursor.callproc
_cursor = _base_connection.cursor


def _text(statement, raw):
    as_string = getattr(statement, "as_string", None)  # psycopg2.sql
    return as_string(raw) if as_string is not None else statement


def _record(cursor, start, statement, params, error, many=None):
    end = now()
    try:
        if NAME in state.disabled:
            return
        raw = cursor.connection
        conn = raw._demarc
        if conn is None:
            return
        if type(statement) is not str:
            statement = _text(statement, raw)
        rows = cursor.rowcount if error is None else None
        event = db.query(conn, raw, start, end, statement, params, rows, error, many)
        if event is not None and cursor.name is None:
            cursor._demarc_rows = event
    except Exception:
        failed(NAME)


def _args(args, kwargs, *names):
    """Positional or named arguments by name, None for those not given."""
    return [args[i] if len(args) > i else kwargs.get(name) for i, name in enumerate(names)]


def _copy(name, statement_of):
    """A method of cursor that copies: its statement is made from its arguments."""
    original = getattr(_base_cursor, name)

    @functools.wraps(original)
    def copy(self, *args, **kwargs):
        if not state.on:
            return original(self, *args, **kwargs)
        try:
            statement = statement_of(args, kwargs)
        except Exception:
            failed(NAME)
            return original(self, *args, **kwargs)
        start = now()
        try:
            result = original(self, *args, **kwargs)
        except BaseException as e:
            _record(self, start, statement, None, e)
            raise
        _record(self, start, statement, None, None)
        return result

    return copy


def _copy_expert(args, kwargs):
    return _args(args, kwargs, "sql")[0]


def _copy_from(args, kwargs):
    _, table, _, _, _, columns = _args(args, kwargs, "file", "table", "sep", "null", "size", "columns")
    return 'COPY "%s"%s FROM stdin' % (table, " (%s)" % ", ".join(columns) if columns else "")


def _copy_to(args, kwargs):
    _, table, _, _, columns = _args(args, kwargs, "file", "table", "sep", "null", "columns")
    return 'COPY "%s"%s TO stdout' % (table, " (%s)" % ", ".join(columns) if columns else "")


class cursor(_base_cursor):  # noqa: N801 (named as its base)
    """A cursor whose statements are recorded. Named ones fetch from the server as they are asked: their results have
    no hash."""

    _demarc_rows = None
    fetchone, fetchmany, fetchall, __iter__ = results.fetching(_base_cursor, NAME)

    def execute(self, *args, **kwargs):  # noqa: D102 (as the base)
        self._demarc_rows = None
        if not state.on:
            return _execute(self, *args, **kwargs)
        start = now()
        try:
            result = _execute(self, *args, **kwargs)
        except BaseException as e:
            _record(self, start, *_args(args, kwargs, "query", "vars"), e)
            raise
        if kwargs:
            args = _args(args, kwargs, "query", "vars")
        _record(self, start, args[0], args[1] if len(args) > 1 else None, None)
        return result

    def executemany(self, *args, **kwargs):  # noqa: D102
        self._demarc_rows = None
        if not state.on:
            return _executemany(self, *args, **kwargs)
        try:
            statement, given = _args(args, kwargs, "query", "vars_list")
            sets, many = db.counted(given)
        except Exception:
            failed(NAME)
            return _executemany(self, *args, **kwargs)
        if many is not given and many is not None:
            args, kwargs = (statement, sets), {}
        start = now()
        try:
            result = _executemany(self, *args, **kwargs)
        except BaseException as e:
            _record(self, start, statement, None, e, many)
            raise
        _record(self, start, statement, None, None, many)
        return result

    def callproc(self, *args, **kwargs):  # noqa: D102
        self._demarc_rows = None
        if not state.on:
            return _callproc(self, *args, **kwargs)
        try:
            name, params = _args(args, kwargs, "procname", "parameters")
            names = ['"%s":=%%s' % k if isinstance(params, dict) else "%s" for k in params or ()]
            statement = "SELECT * FROM %s(%s)" % (name, ",".join(names))
            given = list(params.values()) if isinstance(params, dict) else params
        except Exception:
            failed(NAME)
            return _callproc(self, *args, **kwargs)
        start = now()
        try:
            result = _callproc(self, *args, **kwargs)
        except BaseException as e:
            _record(self, start, statement, given, e)
            raise
        _record(self, start, statement, given, None)
        return result

    copy_expert = _copy("copy_expert", _copy_expert)
    copy_from = _copy("copy_from", _copy_from)
    copy_to = _copy("copy_to", _copy_to)


def _ended(raw, conn, op, start, error, txn=None):
    try:
        if NAME not in state.disabled:
            db.ended(conn, raw, op, start, error, txn)
    except Exception:
        failed(NAME)


def _ending(name, op):
    """A method of connection that ends a transaction; op None: as the arguments of __exit__ say."""
    original = getattr(_base_connection, name)

    @functools.wraps(original)
    def end(self, *args, **kwargs):
        conn = self._demarc
        if not state.on or conn is None:
            return original(self, *args, **kwargs)
        two_phase = name.startswith("tpc_")
        txn = conn.prepared if two_phase and conn.prepared is not None else conn.txn
        if txn is None:
            return original(self, *args, **kwargs)
        how = op or ("commit" if not args or args[0] is None else "rollback")
        start = now()
        try:
            result = original(self, *args, **kwargs)
        except BaseException as e:
            _ended(self, conn, how, start, e, txn)
            raise
        if txn in (conn.txn, conn.prepared):  # __exit__ may have come through commit already
            if two_phase:
                conn.prepared = None
            _ended(self, conn, how, start, None, txn)
        return result

    return end


class connection(_base_connection):  # noqa: N801 (named as its base)
    """A connection whose cursors record."""

    _demarc = None

    def cursor(self, *args, **kwargs):  # noqa: D102 (as the base)
        if self._demarc is None:
            return _cursor(self, *args, **kwargs)
        try:
            given = args[1] if len(args) > 1 else kwargs.get("cursor_factory")
            cls = given if given is not None else self.cursor_factory
            cls = cursor if cls is None else db.observed_class(cls, cursor, _cursors)
            if len(args) > 1:
                args = (args[0], cls, *args[2:])
            else:
                kwargs = {**kwargs, "cursor_factory": cls}
        except Exception:
            failed(NAME)
        return _cursor(self, *args, **kwargs)

    def tpc_prepare(self):  # noqa: D102
        result = _base_connection.tpc_prepare(self)
        conn = self._demarc
        if conn is not None and conn.txn is not None:
            conn.prepared, conn.txn = conn.txn, None
        return result

    commit = _ending("commit", "commit")
    rollback = _ending("rollback", "rollback")
    reset = _ending("reset", "rollback")
    close = _ending("close", "rollback")
    tpc_commit = _ending("tpc_commit", "commit")
    tpc_rollback = _ending("tpc_rollback", "rollback")
    __exit__ = _ending("__exit__", None)

    def set_session(self, *args, **kwargs):  # noqa: D102
        result = _base_connection.set_session(self, *args, **kwargs)
        self._remember(*_args(args, kwargs, "isolation_level"))
        return result

    def set_isolation_level(self, *args, **kwargs):  # noqa: D102
        end = self._demarc is not None and self._demarc.txn is not None
        start = now()
        result = _base_connection.set_isolation_level(self, *args, **kwargs)
        if end:
            _ended(self, self._demarc, "rollback", start, None)  # psycopg2 rolls back first
        self._remember(*_args(args, kwargs, "level"))
        return result

    def _remember(self, level):
        try:
            if self._demarc is not None and level is not None:
                self._demarc.isolation = db.level_name(_LEVELS.get(level, level))
        except Exception:
            failed(NAME)


_LEVELS = {
    0: None, 1: "read committed", 2: "repeatable read", 3: "serializable", 4: "read uncommitted", 5: None,
}
for _cls in (cursor, connection):
    _cls.__module__ = "psycopg2.extensions"
_cursors[_base_cursor] = cursor
_connections[_base_connection] = connection


def patch(module):
    """Hooks psycopg2.connect."""
    original = module.connect

    @functools.wraps(original)
    def connect(dsn=None, connection_factory=None, cursor_factory=None, **kwargs):
        cls = None
        try:
            if db.owner.get() is None and not (kwargs.get("async_") or kwargs.get("async")):
                factory = connection_factory or _base_connection
                cls = db.observed_class(factory, connection, _connections)
        except Exception:
            failed(NAME)
        if not isinstance(cls, type) or not issubclass(cls, connection):
            return original(dsn, connection_factory, cursor_factory, **kwargs)
        raw = original(dsn, cls, cursor_factory, **kwargs)
        try:
            role = db.role_of(raw.get_dsn_parameters().get("target_session_attrs"))
            raw._demarc = db.Conn("postgresql", db.probe_psycopg2, role)
        except Exception:
            failed(NAME)
        return raw

    module.connect = connect
