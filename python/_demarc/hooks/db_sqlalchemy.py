"""SQLAlchemy 1.4 and 2, sync and async: one query event for each statement that a dialect gives to its driver.

The methods by which a dialect executes, commits and rolls back are wrapped on the class of every engine's dialect:
there the time is that of the driver alone, a commit is known only after the database answered, and SQLAlchemy's own
events stay unused, whose mere presence would slow the service down. Connections are made with db.owner set, so the
driver's hook leaves them alone. What a new connection asks on behalf of SQLAlchemy itself is not recorded.
"""

import functools

from _demarc import db, imports, results
from _demarc.core import failed, now, state

NAME = "sqlalchemy"
_observed = set()  # classes of dialects
# Frames from core.code to the first that may be the service's own, for a statement given as text and for one compiled.
DEPTH = COMPILED = 6


def _of_adapter(probe):
    """The same probe, for the connection behind SQLAlchemy's adapter of an async driver."""
    return lambda raw: probe(raw._connection)


def _probe_aiosqlite(raw):
    try:
        return raw._connection._connection.in_transaction  # of sqlite3 itself, past two properties of aiosqlite
    except AttributeError:
        return raw._connection.in_transaction


def _probe_asyncpg(raw):
    return raw._connection._protocol.is_in_transaction()


_PROBES = {
    "pysqlite": db.probe_sqlite, "pysqlcipher": db.probe_sqlite, "aiosqlite": _probe_aiosqlite,
    "psycopg2": db.probe_psycopg2, "psycopg2cffi": db.probe_psycopg2,
    "psycopg": db.probe_psycopg3, "psycopg_async": _of_adapter(db.probe_psycopg3), "asyncpg": _probe_asyncpg,
}
_HELD = {"aiosqlite", "aiomysql", "asyncmy", "asyncpg", "psycopg_async"}  # adapters that hold all rows
_BUFFERED = {"aiosqlite", "aiomysql", "asyncmy"}  # adapters that hold all rows and do not count them


class Info:
    """What is the same for all connections of an engine."""

    __slots__ = ("db", "probe", "role", "isolation", "buffered", "held", "sqlite", "server_errors")

    def __init__(self, url, dialect):
        name = dialect.name
        self.db = "mysql" if name == "mariadb" else name
        driver = dialect.driver
        if driver == "psycopg" and getattr(dialect, "is_async", False):
            driver = "psycopg_async"
        self.probe = _PROBES.get(driver)
        query = getattr(url, "query", None) or {}
        self.role = db.role_of(query.get("target_session_attrs"))
        # The level given to create_engine: where 1.4 keeps it, where 2 does.
        self.isolation = getattr(dialect, "_on_connect_isolation_level", None) or getattr(
            dialect, "isolation_level", None
        )
        self.buffered = driver in _BUFFERED
        self.held = driver in _HELD
        self.sqlite = name == "sqlite"
        self.server_errors = driver == "asyncpg"


def _conn_of(dialect, root):
    """(state, driver's connection) of a Connection; (None, None) for what is not to be recorded."""
    fairy = root._dbapi_connection
    record = getattr(fairy, "_connection_record", None)
    where = getattr(fairy if record is None else record, "__dict__", None)  # no record: detached from its pool
    if where is None:
        return None, None  # 1.4 asks a new connection without anything around it
    conn = where.get("_demarc")
    if conn is None:
        if db.owner.get() is not None:
            return None, None
        info = dialect._demarc
        conn = where["_demarc"] = db.Conn(info.db, info.probe, info.role)
        conn.logical = True
    if conn.txn is None:
        info = dialect._demarc
        level = root._execution_options.get("isolation_level") or info.isolation
        conn.isolation = db.level_name(level) if level else None
        conn.options = root._execution_options
        if conn.probe is None and conn.isolation == "autocommit":
            conn.logical = False
    return conn, fairy.dbapi_connection


def _record(dialect, cursor, start, statement, params, context, error, many=None):
    end = now()
    try:
        if NAME in state.disabled:
            return
        root = context.root_connection
        fairy, conn, raw = root._demarc
        if conn is None or fairy is not root._dbapi_connection or conn.txn is None and (
                conn.options is not root._execution_options or conn.probe is None):
            conn, raw = _conn_of(dialect, root)
            if conn is None:
                return
            root._demarc = root._dbapi_connection, conn, raw
        rows = cursor.rowcount
        info = dialect._demarc
        if info.sqlite and rows is not None and rows >= 0 and cursor.description is not None:
            rows = -1  # RETURNING: counted by SQLite only as the rows are fetched
        held = None
        if info.held and error is None and not context._is_server_side:
            held = list(cursor._rows)
            if info.buffered and rows < 0:
                rows = len(held) if cursor.description else -1
        depth = DEPTH if context.compiled is None else COMPILED
        event = db.query(conn, raw, start, end, statement, params, rows, error, many, held, depth)
        if event is not None and not context._is_server_side:  # whose cursor gives rows as it is asked for them
            context._demarc = event
        if error is not None and info.server_errors and conn.txn is not None:
            conn.failed = getattr(error, "sqlstate", None) is not None
    except Exception:
        failed(NAME)


def _execute(cls, original):
    @functools.wraps(original)
    def do_execute(self, cursor, statement, parameters, context=None):
        if not state.on or type(self) is not cls or context is None:
            return original(self, cursor, statement, parameters, context)
        start = now()
        try:
            result = original(self, cursor, statement, parameters, context)
        except BaseException as e:
            _record(self, cursor, start, statement, parameters, context, e)
            raise
        _record(self, cursor, start, statement, parameters, context, None)
        return result

    return do_execute


def _executemany(cls, original):
    @functools.wraps(original)
    def do_executemany(self, cursor, statement, parameters, context=None):
        if not state.on or type(self) is not cls or context is None:
            return original(self, cursor, statement, parameters, context)
        start = now()
        try:
            result = original(self, cursor, statement, parameters, context)
        except BaseException as e:
            _record(self, cursor, start, statement, None, context, e, parameters)
            raise
        _record(self, cursor, start, statement, None, context, None, parameters)
        return result

    return do_executemany


def _execute_no_params(cls, original):
    @functools.wraps(original)
    def do_execute_no_params(self, cursor, statement, context=None):
        if not state.on or type(self) is not cls or context is None:
            return original(self, cursor, statement, context)
        start = now()
        try:
            result = original(self, cursor, statement, context)
        except BaseException as e:
            _record(self, cursor, start, statement, None, context, e)
            raise
        _record(self, cursor, start, statement, None, context, None)
        return result

    return do_execute_no_params


def _observe_fetches(cls):
    """Wraps the methods of the strategy by which results are fetched through a driver's own cursor."""
    one, many, every = cls.fetchone, cls.fetchmany, cls.fetchall

    @functools.wraps(one)
    def fetchone(self, result, dbapi_cursor, hard_close=False):
        row = one(self, result, dbapi_cursor, hard_close)
        try:
            context = result.context
            fetched = context._demarc
            if fetched is not None:
                one_only = row is None and type(fetched) is tuple and len(fetched[1]) == 1
                context._demarc = None if one_only else results.one(fetched, row)
        except Exception:
            failed(NAME)
        return row

    @functools.wraps(many)
    def fetchmany(self, result, dbapi_cursor, size=None):
        rows = many(self, result, dbapi_cursor, size)
        try:
            context = result.context
            if context._demarc is not None:
                context._demarc = results.some(context._demarc, rows, size or getattr(dbapi_cursor, "arraysize", 1))
        except Exception:
            failed(NAME)
        return rows

    @functools.wraps(every)
    def fetchall(self, result, dbapi_cursor):
        rows = every(self, result, dbapi_cursor)
        try:
            context = result.context
            if context._demarc is not None:
                context._demarc = results.rest(context._demarc, rows)
        except Exception:
            failed(NAME)
        return rows

    cls.fetchone, cls.fetchmany, cls.fetchall = fetchone, fetchmany, fetchall


def _observe_detach(cls):
    """What is known of a connection goes with it when it leaves its pool."""
    original = cls.detach

    @functools.wraps(original)
    def detach(self):
        conn = None
        try:
            conn = _pooled(self)
        except Exception:
            failed(NAME)
        result = original(self)
        if conn is not None:
            self.__dict__["_demarc"] = conn
        return result

    cls.detach = detach


def _pooled(fairy):
    """The state of what a pool gave out, if anything was recorded on it."""
    record = getattr(fairy, "_connection_record", None)
    where = getattr(record if record is not None else fairy, "__dict__", None)
    return where.get("_demarc") if where is not None else None


def _ended(fairy, conn, op, start, error, txn=None):
    try:
        if conn is not None and NAME not in state.disabled:
            db.ended(conn, fairy.dbapi_connection, op, start, error, txn)
            if conn.probe is None:
                conn.logical = error is not None
    except Exception:
        failed(NAME)


def _end(op):
    def wrap(cls, original):
        @functools.wraps(original)
        def end(self, dbapi_connection):
            if not state.on or type(self) is not cls:
                return original(self, dbapi_connection)
            try:
                conn = _pooled(dbapi_connection)
            except Exception:
                failed(NAME)
                conn = None
            if conn is None or conn.txn is None:
                return original(self, dbapi_connection)
            start = now()
            try:
                result = original(self, dbapi_connection)
            except BaseException as e:
                _ended(dbapi_connection, conn, op, start, e)
                raise
            _ended(dbapi_connection, conn, op, start, None)
            return result

        return end

    return wrap


def _begin(cls, original):
    @functools.wraps(original)
    def do_begin(self, dbapi_connection):
        result = original(self, dbapi_connection)
        if state.on and type(self) is cls:
            try:
                conn = _pooled(dbapi_connection)
                if conn is not None and conn.probe is None:
                    conn.logical = True
            except Exception:
                failed(NAME)
        return result

    return do_begin


def _prepare(cls, original):
    @functools.wraps(original)
    def do_prepare_twophase(self, connection, xid):
        result = original(self, connection, xid)
        try:
            if state.on and type(self) is cls:
                conn = _pooled(connection._dbapi_connection)
                if conn is not None and conn.txn is not None:
                    conn.prepared, conn.txn = conn.txn, None
        except Exception:
            failed(NAME)
        return result

    return do_prepare_twophase


def _end_twophase(op):
    def wrap(cls, original):
        @functools.wraps(original)
        def end(self, connection, xid, *args, **kwargs):
            if not state.on or type(self) is not cls:
                return original(self, connection, xid, *args, **kwargs)
            conn = fairy = txn = None
            try:
                fairy = connection._dbapi_connection
                conn = _pooled(fairy)
                if conn is not None:
                    txn = conn.prepared if conn.prepared is not None else conn.txn
            except Exception:
                failed(NAME)
            start = now()
            error = None
            try:
                return original(self, connection, xid, *args, **kwargs)
            except BaseException as e:
                error = e
                raise
            finally:
                # A dialect that ends it by a statement has been recorded already.
                if txn is not None and txn in (conn.prepared, conn.txn):
                    conn.prepared = None
                    _ended(fairy, conn, op, start, error, txn)
                error = None

        return end

    return wrap


_METHODS = (
    ("do_execute", _execute), ("do_executemany", _executemany), ("do_execute_no_params", _execute_no_params),
    ("do_begin", _begin), ("do_commit", _end("commit")), ("do_rollback", _end("rollback")),
    ("do_prepare_twophase", _prepare), ("do_commit_twophase", _end_twophase("commit")),
    ("do_rollback_twophase", _end_twophase("rollback")),
)


def _observe(cls):
    """Wraps the methods of one class of dialects, once. A wrapper only acts for exactly this class, so that one that
    inherits from another observed class, or calls it, records once."""
    if cls in _observed:
        return
    _observed.add(cls)
    for name, wrap in _METHODS:
        original = getattr(cls, name, None)
        if original is None:
            continue
        original = getattr(original, "_demarc", original)
        wrapper = wrap(cls, original)
        wrapper._demarc = original
        setattr(cls, name, wrapper)


def patch(module):
    """Hooks every engine that is made, and how pools connect. The module is sqlalchemy.engine.create. Who only imports
    it, as what listens for statements does, does not use it until there is an engine."""
    engine_class = module.base.Engine
    new = engine_class.__new__

    # Not __init__: create_engine reads the names of its parameters to tell which of its own are for the engine.
    def __new__(cls, *args, **kwargs):
        try:
            if len(args) > 2:  # pool, dialect, url; an engine made from another one shares its dialect
                dialect = args[1]
                dialect._demarc = Info(args[2], dialect)
                _observe(type(dialect))
                imports.in_use(NAME)
        except Exception:
            failed(NAME)
        return new(cls) if new is object.__new__ else new(cls, *args, **kwargs)

    engine_class.__new__ = staticmethod(__new__)

    from sqlalchemy.engine import cursor as engine_cursor  # already imported by the engine, and so are the next
    from sqlalchemy.engine import interfaces
    from sqlalchemy.pool import base as pool_base

    global COMPILED
    if hasattr(module.base.Connection, "_exec_single_context"):
        COMPILED = 8  # since SQLAlchemy 2: _execute_clauseelement, _execute_on_connection and Connection.execute
    interfaces.ExecutionContext._demarc = None
    module.base.Connection._demarc = None, None, None  # what its pool gave, the state, the driver's connection
    _observe_fetches(engine_cursor.CursorFetchStrategy)

    _observe_detach(pool_base._ConnectionFairy)
    record_class = pool_base._ConnectionRecord
    connect = record_class._ConnectionRecord__connect

    @functools.wraps(connect)
    def __connect(self):
        try:
            self.__dict__.pop("_demarc", None)
        except Exception:
            failed(NAME)
        token = db.owner.set(NAME)
        try:
            return connect(self)
        finally:
            db.owner.reset(token)

    record_class._ConnectionRecord__connect = __connect
    return imports.UNUSED
