"""psycopg 3, sync and async: one query event a statement, and every command that steers a transaction.

Both kinds of connection drive the same generators, so those are wrapped: a generator is timed from its first step to
its end, which is the database's answer. Inside a pipeline the answer comes later; there the time is that of sending,
and the number of rows is not known.
"""

import functools

from _demarc import db
from _demarc.core import failed, now, state

NAME = "psycopg"
TUPLES = 2  # libpq's PGRES_TUPLES_OK


RESULT_CELLS = 1_000  # each is asked for by a call of its own


def _result(cursor):
    """The result that a cursor holds, as the server sent it; None where it does not hold all of it, or too much."""
    held = cursor.pgresult
    if held is None or held.status != TUPLES or held.ntuples * held.nfields > RESULT_CELLS:
        return None
    columns, value = range(held.nfields), held.get_value
    return [tuple([value(i, k) for k in columns]) for i in range(held.ntuples)]


def _record(cursor, conn, start, statement, params, error, many=None, copied=False, holds=False):
    end = now()
    try:
        if NAME in state.disabled:
            return
        raw = cursor._conn
        if type(statement) is not str:
            statement = _text(statement, raw, cursor)
        if not statement:
            return  # how a pool asks whether a connection is alive
        if conn.since > start:
            start = conn.since
        rows = cursor.rowcount if error is None and not copied and not raw._pipeline else None
        if conn.txn is None and raw._isolation_level is not None:
            conn.isolation = db.level_name(raw._isolation_level.name)
        result = None
        if holds and error is None and many is None and not raw._pipeline and db.wanted(statement):
            result = _result(cursor)
        db.query(conn, raw, start, end, statement, params, rows, error, many, result)
    except Exception:
        failed(NAME)


def _text(statement, raw, cursor):
    if isinstance(statement, bytes):
        return statement
    as_string = getattr(statement, "as_string", None)  # psycopg.sql
    if as_string is not None:
        return as_string(raw)
    sent = getattr(cursor, "_query", None)  # a template string: what was sent for it
    return sent.query if sent is not None else ""


def _query(original, holds=False):
    @functools.wraps(original)
    def gen(self, query, params=None, *args, **kwargs):
        conn = self._conn._demarc
        if conn is None or not state.on:
            return (yield from original(self, query, params, *args, **kwargs))
        start = now()
        try:
            result = yield from original(self, query, params, *args, **kwargs)
        except BaseException as e:
            _record(self, conn, start, query, params, e)
            raise
        _record(self, conn, start, query, params, None, holds=holds)
        return result

    return gen


def _held(original):
    return _query(original, holds=True)  # rows that are streamed, or fetched from the server, are not all there


def _copy(original):
    @functools.wraps(original)
    def gen(self, statement, params=None, *args, **kwargs):
        conn = self._conn._demarc
        if conn is None or not state.on:
            return (yield from original(self, statement, params, *args, **kwargs))
        start = now()
        try:
            result = yield from original(self, statement, params, *args, **kwargs)
        except BaseException as e:
            _record(self, conn, start, statement, params, e)
            raise
        _record(self, conn, start, statement, params, None, copied=True)
        return result

    return gen


def _many(original):
    @functools.wraps(original)
    def executemany(self, query, params_seq, *args, **kwargs):
        conn = self._conn._demarc
        if conn is None or not state.on:
            return original(self, query, params_seq, *args, **kwargs)
        many = None
        try:
            params_seq, many = db.counted(params_seq)
        except Exception:
            failed(NAME)
        start = now()
        try:
            result = original(self, query, params_seq, *args, **kwargs)
        except BaseException as e:
            _record(self, conn, start, query, None, e, many)
            raise
        _record(self, conn, start, query, None, None, many)
        return result

    return executemany


def _many_async(original):
    @functools.wraps(original)
    async def executemany(self, query, params_seq, *args, **kwargs):
        conn = self._conn._demarc
        if conn is None or not state.on:
            return await original(self, query, params_seq, *args, **kwargs)
        many = None
        try:
            params_seq, many = db.counted(params_seq)
        except Exception:
            failed(NAME)
        start = now()
        try:
            result = await original(self, query, params_seq, *args, **kwargs)
        except BaseException as e:
            _record(self, conn, start, query, None, e, many)
            raise
        _record(self, conn, start, query, None, None, many)
        return result

    return executemany


def _steered(raw, conn, start, command, error, result):
    end = now()
    try:
        if NAME in state.disabled:
            return
        command = command if isinstance(command, str) else db.plain(_text(command, raw, None))
        if db.kind(command) < db.SAVE:
            return  # what cursors and prepared statements need for themselves
        if raw._isolation_level is not None and conn.txn is None:
            conn.isolation = db.level_name(raw._isolation_level.name)
        if result is not None and result.command_status == b"ROLLBACK" and conn.txn is not None:
            conn.failed = True  # also for a commit that the server answered so
        db.query(conn, raw, start, end, command, None, None, error)
        conn.since = end
    except Exception:
        failed(NAME)


def _command(original):
    @functools.wraps(original)
    def gen(self, command, *args, **kwargs):
        conn = self._demarc
        if conn is None or not state.on:
            return (yield from original(self, command, *args, **kwargs))
        start = now()
        try:
            result = yield from original(self, command, *args, **kwargs)
        except BaseException as e:
            _steered(self, conn, start, command, e, None)
            raise
        _steered(self, conn, start, command, None, result)
        return result

    return gen


def _wrap(cls, name, wrapper):
    original = cls.__dict__.get(name)
    if original is not None:
        setattr(cls, name, wrapper(original))


def patch(module):
    """Hooks connections and cursors. The module is psycopg."""
    base = module._connection_base.BaseConnection
    cursor = module._cursor_base.BaseCursor
    base._demarc = None
    init = base.__init__

    @functools.wraps(init)
    def __init__(self, *args, **kwargs):
        init(self, *args, **kwargs)
        try:
            if db.owner.get() is None:
                info = {i.keyword: i.val for i in self.pgconn.info if i.val is not None}
                attributes = (info.get(b"target_session_attrs") or b"").decode()
                self._demarc = db.Conn("postgresql", db.probe_psycopg3, db.role_of(attributes))
        except Exception:
            failed(NAME)

    base.__init__ = __init__
    _wrap(base, "_exec_command", _command)
    _wrap(cursor, "_execute_gen", _held)
    _wrap(module.Cursor, "executemany", _many)
    _wrap(module.AsyncCursor, "executemany", _many_async)
    _wrap(cursor, "_stream_send_gen", _query)
    _wrap(cursor, "_start_copy_gen", _copy)
    _wrap(module._server_cursor_base.ServerCursorMixin, "_declare_gen", _query)
