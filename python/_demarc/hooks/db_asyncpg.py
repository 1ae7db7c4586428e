"""asyncpg: one query event a statement, transactions, prepared statements, cursors and copies; results are hashed.

connect is given a subclass of asyncpg's Connection (or of the service's own subclass), which pools make, too. What a
pool asks to reset a connection that it takes back is not recorded.
"""

import functools

from asyncpg import connection, cursor, prepared_stmt

from _demarc import db
from _demarc.core import failed, now, state

NAME = "asyncpg"
_made = {}
_base = connection.Connection


def _probe(raw):
    return raw._protocol.is_in_transaction()


def _count(status):
    """The number of rows that a status such as b"INSERT 0 3" tells, or None."""
    if isinstance(status, bytes):
        status = status.decode()
    _, _, n = status.rpartition(" ") if status else ("", "", "")
    return int(n) if n.isdigit() else None


def _record(raw, start, statement, params, error, rows=None, many=None, returned=None, status=None):
    end = now()
    try:
        if NAME in state.disabled:
            return
        conn = raw._demarc
        if returned is not None:
            rows = len(returned)
        elif status:
            rows = _count(status)
            if conn.txn is not None and status.startswith("ROLLBACK"):
                conn.failed = True  # also for a commit that the server answered so
        db.query(conn, raw, start, end, statement, params, rows, error, many, returned)
        if error is not None and conn.txn is not None:
            conn.failed = getattr(error, "sqlstate", None) is not None
    except Exception:
        failed(NAME)


class Connection(_base):
    """A connection whose statements are recorded."""

    _demarc = None

    async def execute(self, query, *args, timeout=None):  # noqa: D102 (as the base)
        if args or not state.on or self._demarc is None or getattr(self, "_demarc_quiet", False):
            return await _base.execute(self, query, *args, timeout=timeout)  # with arguments: through _execute
        start = now()
        try:
            status = await _base.execute(self, query, timeout=timeout)
        except BaseException as e:
            _record(self, start, query, None, e)
            raise
        _record(self, start, query, None, None, status=status)
        return status

    async def _execute(self, query, args, limit, *rest, **kwargs):
        if not state.on or self._demarc is None:
            return await _base._execute(self, query, args, limit, *rest, **kwargs)
        start = now()
        try:
            result = await _base._execute(self, query, args, limit, *rest, **kwargs)
        except BaseException as e:
            _record(self, start, query, args, e)
            raise
        if kwargs.get("return_status"):
            returned, status, _ = result
            _record(self, start, query, args, None, returned=returned or None, status=status.decode() if status else "")
        else:
            _record(self, start, query, args, None, returned=result)
        return result

    async def _executemany(self, query, args, *rest, **kwargs):
        if not state.on or self._demarc is None:
            return await _base._executemany(self, query, args, *rest, **kwargs)
        many = None
        try:
            args, many = db.counted(args)
        except Exception:
            failed(NAME)
        start = now()
        try:
            result = await _base._executemany(self, query, args, *rest, **kwargs)
        except BaseException as e:
            _record(self, start, query, None, e, many=many)
            raise
        _record(self, start, query, None, None, many=many)
        return result

    async def copy_records_to_table(self, table_name, *, columns=None, schema_name=None, **kwargs):  # noqa: D102
        original = _base.copy_records_to_table
        kwargs.update(columns=columns, schema_name=schema_name)
        if not state.on or self._demarc is None:
            return await original(self, table_name, **kwargs)
        try:
            statement = 'COPY %s"%s"%s FROM STDIN (FORMAT binary)' % (
                '"%s".' % schema_name if schema_name else "", table_name,
                "(%s)" % ", ".join('"%s"' % c for c in columns) if columns else "",
            )
        except Exception:
            failed(NAME)
            return await original(self, table_name, **kwargs)
        start = now()
        try:
            status = await original(self, table_name, **kwargs)
        except BaseException as e:
            _record(self, start, statement, None, e)
            raise
        _record(self, start, statement, None, None, status=status)
        return status

    async def reset(self, *args, **kwargs):  # noqa: D102
        if self._demarc is None:
            return await _base.reset(self, *args, **kwargs)
        conn = self._demarc
        txn, start = conn.txn, now()
        self._demarc_quiet = True
        try:
            return await _base.reset(self, *args, **kwargs)
        finally:
            self._demarc_quiet = False
            if txn is not None and txn == conn.txn:
                _ended(self, conn, start)


def _ended(raw, conn, start):
    try:
        db.ended(conn, raw, "rollback", start)  # one that was left open
    except Exception:
        failed(NAME)


def _copying(name):
    original = getattr(_base, name)

    @functools.wraps(original)
    async def copy(self, copy_stmt, *args, **kwargs):
        if not state.on or self._demarc is None:
            return await original(self, copy_stmt, *args, **kwargs)
        start = now()
        try:
            status = await original(self, copy_stmt, *args, **kwargs)
        except BaseException as e:
            _record(self, start, copy_stmt, None, e)
            raise
        _record(self, start, copy_stmt, None, None, status=status)
        return status

    return copy


for _name in ("_copy_in", "_copy_out"):
    if hasattr(_base, _name):
        setattr(Connection, _name, _copying(_name))
Connection.__module__ = _base.__module__
_made[_base] = Connection


def _observed(resource):
    """The connection of a prepared statement or cursor, if it records."""
    if not state.on:
        return None
    raw = resource._connection
    return raw if getattr(raw, "_demarc", None) is not None else None


def _prepared(original):
    @functools.wraps(original)
    def bind_execute(self, args, limit, timeout):
        raw = _observed(self)
        if raw is None:
            return original(self, args, limit, timeout)
        return observed(self, raw, args, limit, timeout)

    async def observed(self, raw, args, limit, timeout):
        start = now()
        try:
            data = await original(self, args, limit, timeout)
        except BaseException as e:
            _record(raw, start, self._query, args, e)
            raise
        _record(raw, start, self._query, args, None, returned=data or None, status=(self._last_status or b"").decode())
        return data

    return bind_execute


def _prepared_many(original):
    @functools.wraps(original)
    async def executemany(self, args, **kwargs):
        raw = _observed(self)
        if raw is None:
            return await original(self, args, **kwargs)
        many = None
        try:
            args, many = db.counted(args)
        except Exception:
            failed(NAME)
        start = now()
        try:
            result = await original(self, args, **kwargs)
        except BaseException as e:
            _record(raw, start, self._query, None, e, many=many)
            raise
        _record(raw, start, self._query, None, None, many=many)
        return result

    return executemany


def _bound(original):
    @functools.wraps(original)
    async def bind(self, *args, **kwargs):
        raw = _observed(self)
        if raw is None:
            return await original(self, *args, **kwargs)
        start = now()
        try:
            result = await original(self, *args, **kwargs)
        except BaseException as e:
            _record(raw, start, self._state.query, self._args, e)
            raise
        _record(raw, start, self._state.query, self._args, None)
        return result

    return bind


def _wrap(cls, name, wrapper):
    original = cls.__dict__.get(name)
    if original is not None:
        setattr(cls, name, wrapper(original))


def patch(module):
    """Hooks what makes connections, and prepared statements and cursors, whose types cannot be replaced."""
    utils = module.connect_utils
    original = utils._connect

    @functools.wraps(original)
    async def _connect(*args, **kwargs):
        given = kwargs.get("connection_class")
        try:
            if db.owner.get() is None and given is not None:
                kwargs["connection_class"] = db.observed_class(given, Connection, _made)
        except Exception:
            failed(NAME)
        raw = await original(*args, **kwargs)
        try:
            if Connection in type(raw).__mro__ and raw._demarc is None:  # asyncpg's isinstance says yes to all
                attributes = getattr(getattr(raw, "_params", None), "target_session_attrs", None)
                raw._demarc = db.Conn("postgresql", _probe, db.role_of(attributes))
        except Exception:
            failed(NAME)
        return raw

    utils._connect = _connect
    _wrap(prepared_stmt.PreparedStatement, "_PreparedStatement__bind_execute", _prepared)
    _wrap(prepared_stmt.PreparedStatement, "executemany", _prepared_many)
    _wrap(prepared_stmt.PreparedStatement, "fetchmany", _prepared_many)
    _wrap(cursor.BaseCursor, "_bind_exec", _bound)
    _wrap(cursor.BaseCursor, "_bind", _bound)
