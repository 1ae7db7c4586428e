"""What the database hooks share: the state of one connection, the kind of a statement, and the two events.

A hook times a statement and hands it over with what the driver showed. Whether a transaction is open is not guessed
from the calls but asked from the driver after each statement (an attribute or a function of its C library, never a
round trip), so implicit begins, autocommit, scripts and statements such as COMMIT all come out alike. Where a driver
cannot say, the hook keeps `logical` as its framework tells it.

Bounds: the table of statements is emptied at KNOWN entries and never holds a text longer than LONG; of one statement
at most PARAMS parameters are hashed, of an executemany those of the first SETS sets.
"""

import contextvars
import re

from _demarc import core, hashing
from _demarc.core import buffer, code, current, emit, next_id, next_seq, now, sampled_out, state, text
from _demarc.hashing import hash_params
from _demarc.redact import sql
from _demarc.results import RESULT, key_at, result_hash

KNOWN = 5_000
LONG = 8_192
PARAMS = 256
SETS = 8
NAMES = 2_000

push = buffer.append

IDLE, OPEN, FAILED = 0, 1, 2  # what a probe answers; None: it cannot say now
READ, WRITE, SAVE, PREPARE, BEGIN, COMMIT, ROLLBACK, COMMIT_PREPARED, ROLLBACK_PREPARED = range(9)

# Who observes the connection that is being made: None for the driver's own hook, the name of the layer above otherwise.
owner = contextvars.ContextVar("demarc_owner", default=None)
# The code line that asked, where the driver works in a thread that does not have it on its stack.
asked = contextvars.ContextVar("demarc_asked", default=None)


class Conn:
    """What is known of one connection: its database and role, and the transaction that is open on it."""

    __slots__ = ("db", "role", "isolation", "probe", "txn", "failed", "logical", "prepared", "since",
                 "options")

    def __init__(self, db, probe=None, role=None):
        self.db = text(db)
        self.role = text(role) if role else None
        self.isolation = None
        self.probe = probe  # (the driver's connection) -> IDLE, OPEN, FAILED or None
        self.txn = None  # number of the open transaction
        self.failed = False  # the server will answer a commit with a rollback
        self.logical = False  # open as the framework sees it; only asked where there is no probe
        self.prepared = None  # number of a transaction prepared for two-phase commit
        self.options = None  # of the framework's connection, from which isolation was read
        self.since = 0  # when the last statement that the driver sent on its own account was answered


_CONTROL = re.compile(
    r"(?is)(?:\s|--[^\n]*\n|/\*.*?\*/)*(?:"
    r"(?P<save>savepoint\b|release\b|rollback\s+(?:(?:work|transaction)\s+)?to\b)"
    r"|(?P<prepare>prepare\s+transaction\b)"
    r"|(?P<commit_prepared>commit\s+prepared\b)"
    r"|(?P<rollback_prepared>rollback\s+prepared\b)"
    r"|(?P<begin>begin\b|start\s+transaction\b)"
    r"|(?P<commit>commit\b|end\b)"
    r"|(?P<rollback>rollback\b|abort\b)"
    r")[^;]*;?\s*\Z"
)
_KINDS = {
    "save": SAVE, "prepare": PREPARE, "commit_prepared": COMMIT_PREPARED, "rollback_prepared": ROLLBACK_PREPARED,
    "begin": BEGIN, "commit": COMMIT, "rollback": ROLLBACK,
}
_READ = re.compile(r"(?is)(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*(select|with|values|show|explain|fetch|table)\b")
_WRITES = re.compile(r"(?i)\b(?:insert|update|delete|merge|into|analyze)\b")


def kind_of(statement):
    """What a statement does: reads, writes (or anything that is not known to only read), or steers a transaction."""
    if len(statement) < 500:
        m = _CONTROL.match(statement)
        if m is not None:
            return _KINDS[m.lastgroup]
    m = _READ.match(statement)
    if m is None or m.group(1).lower() in ("with", "explain", "select") and _WRITES.search(statement[:LONG]):
        return WRITE
    return READ


_known = {}  # statement -> (number of its text, kind)


def _learn(statement):
    entry = (sql(statement), kind_of(statement))
    if len(_known) >= KNOWN:
        _known.clear()
        key_at.clear()
    if len(statement) <= LONG:
        if entry[1] == READ:
            at = key_place(statement)
            if at is not None:
                key_at[entry[0]] = at
        _known[statement] = entry
    return entry


_FROM = re.compile(
    r"(?is)\s*select\s(?P<list>[^()'?;]*?)\sfrom\s+(?:[\w\"`\[\]]+\.)*(?P<table>[\w\"`\[\]]+)"
    r"(?:\s+as\b)?(?:\s+(?!where|order|limit|offset|for|fetch|left|right|inner|join)(?P<alias>[\w\"`\[\]]+))?"
    r"\s*(?:\Z|;|\b(?:where|order|limit|offset|for|fetch)\b|(?P<join>\b(?:left|inner|join)\b))"
)
_ID = re.compile(r"(?is)\s*(?:[\w\"`\[\]]+\.)*?(?:(?P<of>[\w\"`\[\]]+)\.)?[\"`\[]?id[\"`\]]?(?:\s+as\s+\S+)?\s*\Z")
_APART = re.compile(r"(?i)\b(?:distinct|union|intersect|except|group)\b")
_QUOTES = "\"`[]"


def key_place(statement):
    """The place of the first table's column id among what a statement returns, if it names its columns; else None.
    What it is called says that it is the key: nothing else does, and what reads the events takes it so, too."""
    m = _FROM.match(statement)
    if m is None or _APART.search(statement):
        return None
    table = (m.group("alias") or m.group("table")).strip(_QUOTES)
    places = []
    for i, column in enumerate(m.group("list").split(",")):
        c = _ID.match(column)
        if c is not None:
            of = c.group("of")
            if of.strip(_QUOTES) == table if of else not m.group("join"):
                places.append(i)
    return places[0] if len(places) == 1 else None


def kind(statement):
    """The kind of a statement, looked up."""
    return (_known.get(statement) or _learn(statement))[1]


def plain(statement):
    """The text of a statement that came as bytes or as an object that shows itself as text."""
    if isinstance(statement, (bytes, bytearray, memoryview)):
        return bytes(statement).decode("utf-8", "replace")
    return str(statement)


_errors = {}


def error_name(e):
    """The type of an exception, as the number of its name."""
    t = type(e)
    n = _errors.get(t)
    if n is None:
        name = t.__qualname__ if t.__module__ in ("builtins", None) else t.__module__ + "." + t.__qualname__
        n = text(name)
        if len(_errors) >= NAMES:
            _errors.clear()
        _errors[t] = n
    return n


_names = {}


def _param_names(params):
    key = tuple(params)
    names = _names.get(key)
    if names is None:
        names = tuple([text(str(k)) for k in key[:PARAMS]])
        if len(_names) >= NAMES:
            _names.clear()
        _names[key] = names
    return names


def _hashes(params):
    """(hashes joined, names or None) of one set of parameters."""
    if not params:
        return None, None
    if isinstance(params, dict):
        names = _param_names(params)
        values = params.values()
        return hash_params(values if len(params) <= PARAMS else list(values)[:PARAMS]), names
    if type(params) is not tuple and type(params) is not list:
        if isinstance(params, (str, bytes)) or not hasattr(params, "__getitem__") or not hasattr(params, "__len__"):
            return None, None
        if hasattr(params, "keys"):
            params = {k: params[k] for k in params.keys()}  # noqa: SIM118 (any mapping)
            return _hashes(params)
    return hash_params(params if len(params) <= PARAMS else params[:PARAMS]), None


def _hashes_of_many(sets):
    names, joined = None, []
    for params in sets[:SETS]:
        h, names = _hashes(params)
        joined.append(h or b"")
    return b"".join(joined) or None, names


class Counted:
    """Passes parameter sets on as they are asked for, keeps the first ones and counts all: an executemany may be
    given something that can be read only once."""

    __slots__ = ("sets", "first", "count")

    def __init__(self, sets):
        self.sets = iter(sets)
        self.first = []
        self.count = 0

    def __iter__(self):
        return self

    def __next__(self):
        params = next(self.sets)
        self.count += 1
        if self.count <= SETS:
            self.first.append(params)
        return params


def counted(sets):
    """(what to give to the driver, what to give to `query`) for the sets of an executemany."""
    if isinstance(sets, (list, tuple)):
        return sets, sets
    if isinstance(sets, (str, bytes, dict)) or not hasattr(sets, "__iter__"):
        return sets, None  # the driver will complain, or reads it in a way of its own
    c = Counted(sets)
    return c, c


def wanted(statement):
    """Whether a statement's result is worth to be looked at: one that only reads and may be recorded."""
    if type(statement) is not str or kind(statement) != READ:
        return False
    ctx = current.get() if state.sampling else None
    return ctx is None or ctx.keep or ctx.trace is None or bool(ctx.fills)


def query(conn, raw, start, end, statement, params, rows=None, error=None, many=None, held=None, depth=4):
    """Records one statement that the database answered, or refused, between start and end. Gives its event where it
    reads and its rows are still to be fetched.

    raw is what conn.probe wants; rows below zero is not known; many is the sets of an executemany (a list, or
    Counted), and params is then left out; held are the rows, a list or deque, if they are there. depth says how many
    frames between core.code and the service's code are known to be the recorder's or the library's: this function, its
    caller and the hook at least, each of which costs time to look at.
    """
    try:
        number, does = _known[statement]
    except (KeyError, TypeError):
        if type(statement) is not str:
            statement = plain(statement)
        number, does = _known.get(statement) or _learn(statement)
    ctx = current.get()
    txn = conn.txn
    after = None
    probe = conn.probe
    if probe is None:
        status = conn.logical or does == BEGIN or (txn is not None and does < BEGIN)
    else:
        try:
            status = raw.in_transaction if probe is probe_sqlite else probe(raw)
        except Exception:  # a connection that is closed or lost
            status = IDLE
    if status is None:
        status = does == BEGIN or (txn is not None and does < BEGIN)
    if not status:
        if txn is not None or does > SAVE:
            if txn is not None and does == PREPARE and error is None:
                conn.prepared, conn.txn = txn, None
            elif does >= BEGIN:
                _controlled(conn, ctx, does, start, end, error)
                return
            elif txn is not None:
                after = "commit" if error is None and not conn.failed else "rollback"
    elif txn is None or does >= BEGIN or error is not None or conn.failed:
        if does > BEGIN:
            _controlled(conn, ctx, does, start, end, error)
            if error is None and does <= ROLLBACK:
                begin(conn, ctx, end, 0, None)  # COMMIT AND CHAIN
            return
        if txn is None:
            if does == BEGIN:
                txn = begin(conn, ctx, start, end - start, _level(statement))
            else:
                txn = begin(conn, ctx, start, 0, None)
        if does == BEGIN and error is None:
            return
        conn.failed = error is not None and status == FAILED
    trace = parent = names = count = hashes = None
    alone = False  # a read outside every request is sampled by what it asks
    if ctx is not None:
        trace, parent = ctx.trace, ctx.span
        if state.sampling and does == READ and not ctx.keep and not ctx.fills:
            if trace is not None:
                sampled_out()
                return None
            alone = True  # in a thread that outlived its request
    elif state.sampling:
        alone = does == READ
    if params and many is None:
        if type(params) is tuple and len(params) <= PARAMS:
            hashes = hash_params(params)
        else:
            hashes, names = _hashes(params)
    elif many is not None:
        count = many.count if type(many) is Counted else len(many)
        hashes, names = _hashes_of_many(many.first if type(many) is Counted else many)
    if alone and not core.keep(hashing.hash_bytes(statement.encode("utf-8", "surrogatepass") + (hashes or b""))):
        sampled_out()
        return None
    line = code(depth, number)
    if line is None:
        line = asked.get()
    event = [
        core.QUERY, start, end - start, next_seq(), trace, None, parent, conn.db, number, hashes, names,
        rows if rows is not None and rows >= 0 else None, None, None, txn, conn.role, count,
        None if error is None else error_name(error), line,
    ]
    if held is not None and does == READ and error is None and many is None:
        event[RESULT] = result_hash(held, event)
    if len(buffer) < core.BUFFER:
        push(event)
    else:
        emit(event)  # which drops it
    if after is not None:
        conn.txn, conn.failed = None, False
        _txn(conn, ctx, after, txn, start, end - start, None)
    return None if does != READ or error is not None or many is not None or held is not None else event


def _controlled(conn, ctx, kind, start, end, error):
    """A statement that ends a transaction, written out as SQL."""
    if kind >= COMMIT_PREPARED:
        txn = conn.prepared
        if error is None:
            conn.prepared = None
    else:
        txn = conn.txn
        conn.txn = None
    if txn is None:
        return
    op = "rollback" if kind in (ROLLBACK, ROLLBACK_PREPARED) or conn.failed else "commit"
    conn.failed = False
    _txn(conn, ctx, op, txn, start, end - start, error)


def _txn(conn, ctx, op, txn, start, dur, error, isolation=None):
    if ctx is not None:
        if op == "begin":
            ctx.txn[0] = txn
        elif ctx.txn[0] == txn and conn.txn != txn:
            ctx.txn[0] = None
    emit((
        core.TXN, start, dur, next_seq(), ctx.trace if ctx is not None else None, None,
        ctx.span if ctx is not None else None, text(op), conn.db, txn, None, None,
        text(isolation) if isolation else None, error_name(error) if error is not None else None,
    ))


_LEVEL = re.compile(r"(?i)\bisolation\s+level\s+(serializable|repeatable\s+read|read\s+(?:un)?committed)")


def _level(statement):
    m = _LEVEL.search(statement)
    return " ".join(m.group(1).lower().split()) if m is not None else None


def begin(conn, ctx, start, dur, isolation):
    """Opens a transaction that the database has begun; gives its number. isolation: as the statement asks, else None
    for what was set on the connection."""
    txn = conn.txn = next_id()
    conn.failed = False
    _txn(conn, ctx, "begin", txn, start, dur, None, isolation or conn.isolation)
    return txn


def ended(conn, raw, op, start, error=None, txn=None):
    """Records a commit or rollback that the database answered just now. Without an open transaction there is nothing
    to record; one that could not be ended stays open."""
    end = now()
    if txn is None:
        txn = conn.txn
        if txn is None:
            return
    failed = conn.failed
    still = False
    if error is not None:
        if conn.probe is None:
            still = True
        else:
            try:
                still = bool(conn.probe(raw))
            except Exception:
                still = False
    if not still:
        conn.txn = None
        conn.failed = conn.logical = False
    if failed and op == "commit" and error is None:
        op = "rollback"  # PostgreSQL's answer to the commit of a transaction in which a statement failed
    _txn(conn, current.get(), op, txn, start, end - start, error)


# ---- what the drivers say of a transaction --------------------------------------------------------------------------

LIBPQ = (IDLE, None, OPEN, FAILED, IDLE)  # by PQtransactionStatus: idle, active, in one, in a failed one, unknown


def probe_sqlite(raw):
    """For sqlite3.Connection and everything that has its attribute."""
    return raw.in_transaction


def probe_psycopg2(raw):
    """For psycopg2's connection."""
    return LIBPQ[raw.get_transaction_status()]


def probe_psycopg3(raw):
    """For psycopg's Connection and AsyncConnection. In a pipeline the status is that of an earlier statement."""
    return None if raw._pipeline else LIBPQ[raw.pgconn.transaction_status]


def role_of(attributes):
    """The role that a connection's target_session_attrs makes certain, or None."""
    attributes = getattr(attributes, "value", attributes)
    if attributes == "standby":
        return "replica"
    if attributes in ("primary", "read-write"):
        return "primary"
    return None


def level_name(level):
    """An isolation level as SQL calls it, in lower case."""
    return str(level).replace("_", " ").lower()


# ---- subclasses of C types ------------------------------------------------------------------------------------------

CLASSES = 200  # subclasses made for classes of the service; beyond, further ones are not observed


def observed_class(base, ours, made):
    """The subclass of a service's class `base`, with the methods of `ours` between base's own and the driver's.

    It bears the name of the base. `made` remembers it. Where Python cannot lay it out, or base is no class of the
    driver's, the answer is base.
    """
    cls = made.get(base)
    if cls is not None:
        return cls
    if not isinstance(base, type) or not issubclass(base, ours.__mro__[1]) or issubclass(base, ours):
        return base
    if len(made) >= CLASSES:
        return base
    body = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    try:
        cls = type(base)(base.__name__, (base, ours), body)
    except TypeError:
        cls = base
    made[base] = cls
    return cls
