"""Django's connections: one query event for each statement of a cursor, sync and under async views, on every backend.

The innermost methods of Django's cursor are wrapped, inside the service's own execute wrappers and the debug log.
Such a wrapper stands between a statement and the line that asked for it, which is looked for outside of all of them.
Drivers' hooks leave Django's connections alone.
"""

import functools
import sys

from _demarc import db, results
from _demarc.core import failed, now, state

NAME = "django_db"
_PROBES = {"sqlite3": db.probe_sqlite, "psycopg2": db.probe_psycopg2, "psycopg": db.probe_psycopg3}
_NAMES = {"oracle": "oracle", "mysql": "mysql", "sqlite": "sqlite", "postgresql": "postgresql"}
_DEPTH = 4  # frames from core.code to the one that called the hook
_FRAMES = 100  # that are looked at for the end of the service's wrappers

_with_wrappers = None  # the code of Django's method that calls the service's wrappers around a statement


def _conn_of(wrapper):
    conn = wrapper.__dict__.get("_demarc")
    if conn is None:
        probe = None
        for cls in type(wrapper.connection).__mro__:
            probe = _PROBES.get(cls.__module__.partition(".")[0])
            if probe is not None:
                break
        conn = db.Conn(_NAMES.get(wrapper.vendor, wrapper.vendor), probe, _role(wrapper))
        level = wrapper.settings_dict.get("OPTIONS", {}).get("isolation_level")
        level = getattr(level, "name", level)
        conn.isolation = db.level_name(level) if isinstance(level, str) else None
        wrapper.__dict__["_demarc"] = conn
    if conn.probe is None:
        conn.logical = not wrapper.autocommit or wrapper.in_atomic_block
    return conn


def _role(wrapper):
    """The role that the settings of an alias make certain: what it may be connected to, or whose mirror it is."""
    settings = wrapper.settings_dict
    role = db.role_of(settings.get("OPTIONS", {}).get("target_session_attrs"))
    return role or ("replica" if settings.get("TEST", {}).get("MIRROR") else None)


def _past_wrappers():
    """Frames from core.code to the first outside of the service's wrappers around the statement that _record is for."""
    f = sys._getframe(3)  # which called the hook
    for n in range(_FRAMES):
        if f is None:
            break
        if f.f_code is _with_wrappers:
            return _DEPTH + n + 1
        f = f.f_back
    return _DEPTH


def _record(cursor, start, statement, params, error, many=None, wrapped=True):
    end = now()
    try:
        if NAME in state.disabled or type(error).__name__ == "TransactionManagementError":
            return  # which Django raises without asking the database
        wrapper = cursor.db
        conn = _conn_of(wrapper)
        rows = None
        if error is None:
            rows = cursor.cursor.rowcount
            if conn.probe is db.probe_sqlite and rows is not None and rows >= 0 and cursor.cursor.description:
                rows = None  # RETURNING: counted by SQLite only as the rows are fetched
        depth = _past_wrappers() if wrapped and wrapper.execute_wrappers else _DEPTH
        event = db.query(conn, wrapper.connection, start, end, statement, params, rows, error, many, None, depth)
        if event is not None and getattr(cursor.cursor, "name", None) is None:
            cursor.__dict__["_demarc_rows"] = event
    except Exception:
        failed(NAME)


def _fetches(original):
    """__getattr__ of Django's cursor, through which it is asked for the driver's methods that fetch."""

    @functools.wraps(original)
    def __getattr__(self, name):
        found = original(self, name)
        if not name.startswith("fetch"):
            return found
        if self.__dict__.get("_demarc_rows") is None:
            return found

        def fetch(*args, **kwargs):
            got = found(*args, **kwargs)
            try:
                fetched = self.__dict__["_demarc_rows"]
                if fetched is None:
                    return got
                if name == "fetchone":
                    fetched = results.one(fetched, got)
                elif name == "fetchall":
                    fetched = results.rest(fetched, got)
                else:
                    fetched = results.some(fetched, got, args[0] if args else kwargs.get("size", self.cursor.arraysize))
                self.__dict__["_demarc_rows"] = fetched
            except Exception:
                failed(NAME)
            return got

        return fetch

    return __getattr__


def _execute(original):
    @functools.wraps(original)
    def execute(self, sql, params, *rest):
        self.__dict__["_demarc_rows"] = None
        if not state.on:
            return original(self, sql, params, *rest)
        start = now()
        try:
            result = original(self, sql, params, *rest)
        except BaseException as e:
            _record(self, start, sql, params, e)
            raise
        _record(self, start, sql, params, None)
        return result

    return execute


def _executemany(original):
    @functools.wraps(original)
    def executemany(self, sql, param_list, *rest):
        if not state.on:
            return original(self, sql, param_list, *rest)
        many = None
        try:
            param_list, many = db.counted(param_list)
        except Exception:
            failed(NAME)
        start = now()
        try:
            result = original(self, sql, param_list, *rest)
        except BaseException as e:
            _record(self, start, sql, None, e, many)
            raise
        _record(self, start, sql, None, None, many)
        return result

    return executemany


def _callproc(original):
    @functools.wraps(original)
    def callproc(self, procname, params=None, *args, **kwargs):
        if not state.on:
            return original(self, procname, params, *args, **kwargs)
        start = now()
        error = None
        try:
            return original(self, procname, params, *args, **kwargs)
        except BaseException as e:
            error = e
            raise
        finally:
            marks = ",".join(["%s"] * len(params or ()))
            _record(self, start, "SELECT * FROM %s(%s)" % (procname, marks), params, error, wrapped=False)
            error = None

    return callproc


def _end(op):
    def wrap(original):
        @functools.wraps(original)
        def end(self):
            conn = self.__dict__.get("_demarc")
            if not state.on or conn is None or conn.txn is None:
                return original(self)
            raw = self.connection
            start = now()
            try:
                result = original(self)
            except BaseException as e:
                _ended(conn, raw, op, start, e)
                raise
            _ended(conn, raw, op, start, None)
            return result

        return end

    return wrap


def _ended(conn, raw, op, start, error):
    try:
        if conn.txn is not None and NAME not in state.disabled:
            db.ended(conn, raw, op, start, error)
    except Exception:
        failed(NAME)


def _wrap(cls, name, wrapper):
    original = cls.__dict__.get(name)
    if original is not None:
        setattr(cls, name, wrapper(original))


def patch_utils(module):
    """Hooks the cursor. The module is django.db.backends.utils."""
    global _with_wrappers
    _with_wrappers = getattr(getattr(module.CursorWrapper, "_execute_with_wrappers", None), "__code__", None)
    _wrap(module.CursorWrapper, "_execute", _execute)
    _wrap(module.CursorWrapper, "_executemany", _executemany)
    _wrap(module.CursorWrapper, "callproc", _callproc)
    _wrap(module.CursorWrapper, "__getattr__", _fetches)


def patch_base(module):
    """Hooks the connection. The module is django.db.backends.base.base."""
    cls = module.BaseDatabaseWrapper
    _wrap(cls, "_commit", _end("commit"))
    _wrap(cls, "_rollback", _end("rollback"))
    _wrap(cls, "_close", _end("rollback"))
    original = cls.connect

    @functools.wraps(original)
    def connect(self):
        self.__dict__.pop("_demarc", None)
        token = db.owner.set(NAME)
        try:
            return original(self)
        finally:
            db.owner.reset(token)
            raw = self.connection
            if getattr(raw, "_demarc", None) is not None:
                raw._demarc = None  # made by a pool in a thread of its own

    cls.connect = connect
