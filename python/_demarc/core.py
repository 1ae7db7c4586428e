"""The heart of the recorder: clock, ids, the current request, the text table and the buffer of finished events.

Everything here is on the path of the service's own work, so it is written for few bytecodes: an event is one tuple
(docs/wire.md says which elements), appended to one bounded deque that the sender's thread empties.

Bounds: BUFFER events wait at most, then new ones are dropped and counted; the text table holds at most TEXTS texts
and TEXT_BYTES bytes, then texts are sent in full; every cache below is emptied when it is full.
"""

import collections
import contextvars
import itertools
import os
import sys
import sysconfig
import threading
import time

BUFFER = 20_000
TEXTS = 60_000
TEXT_BYTES = 24 << 20
MAX_TEXT = 64 << 10  # characters of one text; longer ones are cut
FAILURES = 100  # after so many failures a hook is switched off for good

REQUEST, QUERY, TXN, CACHE, CALL, TASK = 1, 2, 3, 4, 5, 6

now = time.time_ns
_getframe = sys._getframe


class State:
    """What the hooks ask first and the sender changes. `on` is false while nobody receives or recording is off."""

    __slots__ = ("on", "config", "proc", "sampling", "threshold", "rate", "hooks", "failures", "disabled")

    def __init__(self):
        self.on = False
        self.config = None
        self.proc = ""
        self.sampling = False
        self.threshold = 1 << 64  # a key is kept if its hash is below
        self.rate = 1.0
        self.hooks = {}  # hook name -> on, off, waiting, failed
        self.failures = {}  # hook name -> count
        self.disabled = set()  # hooks that failed too often


state = State()
buffer = collections.deque()
next_id = itertools.count(1).__next__
next_seq = itertools.count(1).__next__
_push = buffer.append
_dropped = itertools.count(1)
_sampled = itertools.count(1)
counts = {"dropped": 0, "sampled": 0}


def emit(event):
    """Takes one finished event, a tuple or list. Never blocks; drops and counts when the buffer is full."""
    if len(buffer) >= BUFFER:
        counts["dropped"] = next(_dropped)
        return
    _push(event)


def sampled_out():
    """Counts an event that sampling left out."""
    counts["sampled"] = next(_sampled)


def failed(hook):
    """Counts a failure of a hook, to be called in its except clause; a hook that fails too often steps aside."""
    n = state.failures.get(hook, 0) + 1
    state.failures[hook] = n
    if n >= FAILURES:
        state.disabled.add(hook)
        state.hooks[hook] = "failed"


# ---- the current request ------------------------------------------------------------------------------------------


class Ctx:
    """The request or job that the running code works for.

    trace and span are numbers of this process (or texts, after a fork); fills maps a missed cache key to the time of
    its miss; keep says whether reads of this request are recorded while sampling; txn holds the number of the
    transaction that it has open. One without trace and span stands for no request.
    """

    __slots__ = ("trace", "span", "principal", "keep", "fills", "data", "txn")

    def __init__(self, trace, span, keep=True):
        self.trace = trace
        self.span = span
        self.principal = None
        self.keep = keep
        self.fills = None
        self.data = None  # what the entry hook wants to remember, such as the scope
        self.txn = [None]  # one cell, shared with nested spans

    def child(self, span):
        """A nested span of the same request, for an observed function."""
        c = Ctx(self.trace, span, self.keep)
        c.principal = self.principal
        c.fills = self.fills
        c.data = self.data
        if self.trace is not None:
            c.txn = self.txn
        return c


current = contextvars.ContextVar("demarc", default=None)
NOBODY = Ctx(None, None)  # stands for "no request" where a Ctx is needed; never changed


def keep(digest):
    """Whether sampling keeps a key with this 8-byte hash: always or never for one key at one rate."""
    return not state.sampling or int.from_bytes(digest, "big") < state.threshold


# ---- the text table -----------------------------------------------------------------------------------------------

_texts = {}
definitions = []
collectors = []  # functions that the sender calls each round, to emit what was counted
_text_bytes = 0
_text_lock = threading.Lock()


def text(s):
    """The number of a text that comes again and again (SQL, routes, code lines), or the text itself when the table is
    full. The definition is in `definitions` before the number is given out."""
    n = _texts.get(s)
    if n is not None:
        return n
    return _define(s)


def _define(s):
    global _text_bytes
    if s is None:
        return None
    if type(s) is not str:
        s = str(s)
    if len(s) > MAX_TEXT:
        s = s[:MAX_TEXT]
    with _text_lock:
        n = _texts.get(s)
        if n is None:
            if len(definitions) >= TEXTS or _text_bytes + len(s) > TEXT_BYTES:
                return s
            _text_bytes += len(s)
            definitions.append(s)
            n = _texts[s] = len(definitions) - 1
        return n


# ---- the code line that asked ---------------------------------------------------------------------------------------

_HERE = os.path.dirname(os.path.abspath(__file__))
_library = {}  # file name -> is it a library's: True, False, or _standing
# What is known of the service's own code objects by their ids: {instruction: text number}, and the object under None,
# so that its id stays its own.
_codes = {}
# Code objects of libraries that stand for a line of the service: id -> (the object, the line's number); and the names
# of their files, for which _library holds this table.
_standing = {}
_standing_in = set()
_CACHE = 20_000
_MAX_DEPTH = 150
_STEPS = range(_MAX_DEPTH)
_greenlet = None
# The ways through a library that `code` remembers: what was asked for -> (depth, frames to the end of the way, the code
# there, its instruction, the line, or None where a greenlet ends).
_ways = {}


def _prefixes():
    out = {_HERE}
    for key in ("stdlib", "platstdlib", "purelib", "platlib", "scripts"):
        p = sysconfig.get_paths().get(key)
        if p:
            out.add(os.path.abspath(p))
            out.add(os.path.realpath(p))
    return tuple(p + os.sep for p in out)


def installed_elsewhere():
    """Paths of what was installed into folders of any name, as `pip install --target` does it. Beside it may lie code
    of the service, so only what the packages' own lists of files name counts as theirs."""
    out = set()
    for folder in sys.path[:_FOLDERS]:
        if folder.endswith(("site-packages", "dist-packages")):
            continue
        try:
            with os.scandir(folder) as entries:
                lists = [e.path for _, e in zip(range(_NAMES), entries) if e.name.endswith(".dist-info")]
        except OSError:  # a zip, or none: what it holds is told from its path alone
            continue
        for name in {name for one in lists for name in _top_level(one)}:
            path = os.path.join(os.path.abspath(folder), name)
            out.add(path if name.endswith(".py") else path + os.sep)
    return out


def _top_level(dist_info):
    """The first parts of the paths that a package's list of files has: its modules and packages."""
    try:
        with open(os.path.join(dist_info, "RECORD"), encoding="utf-8", errors="replace") as f:
            names = {line.partition(",")[0].partition("/")[0] for line in f.read(_RECORD).splitlines()}
    except OSError:
        return ()
    return [n for n in names if n and n not in ("..", "bin") and not n.endswith((".dist-info", ".pth", ".so"))]


_FOLDERS = 50  # of the path that are looked into
_NAMES = 5_000  # in one folder
_RECORD = 1 << 20  # characters of one list of files
_PREFIXES = _prefixes()
_PARTS = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)
_own = ()  # paths of installed packages that are the service's own
_VENDORED = tuple(os.sep + n + os.sep for n in ("_vendor", "vendor", "vendored"))


def set_own(paths, libraries=()):
    """Counts what lies under these paths to the service's own code, although it is installed like a library; libraries
    are paths of packages that nothing else tells to be some."""
    global _own, _PREFIXES
    _own = tuple(paths)
    _PREFIXES = (*_prefixes(), *libraries)
    _library.clear()
    _codes.clear()
    _ways.clear()


def _is_library(filename):
    own = _own and filename.startswith(_own) and not any(p in filename for p in _VENDORED)
    lib = not own and (
        filename.startswith("<")
        or any(p in filename for p in _PARTS)
        or os.path.abspath(filename).startswith(_PREFIXES)
    )
    if lib and filename in _standing_in:
        lib = _standing
    if len(_library) >= _CACHE:
        _library.clear()
    _library[filename] = lib
    return lib


def is_library(filename):
    """Whether a file belongs to the standard library, an installed package or the recorder."""
    lib = _library.get(filename)
    return (_is_library(filename) if lib is None else lib) is not False


def code(depth=2, asked=None):
    """The innermost line of the service's own code on the stack, as the number of the text module:function:line.

    Frames of the standard library, of installed packages and of the recorder are passed over; where only those are
    on the stack the answer is None. Code that SQLAlchemy runs in a greenlet is followed to the task that waits. depth:
    frames between this function and the first that is looked at, each of which costs as much as a small function.

    asked: what the line is looked for, by which the way through a library is remembered: where the same instruction
    of the same function stands at its end again, the frames between are taken for the ones that were looked at then.
    """
    if asked is not None and asked in _ways:
        first, end, c, last, line = _ways[asked]
        if first == depth:
            try:
                f = _getframe(end)
                if f.f_lasti == last and f.f_code is c:
                    if line is not None:
                        return line
                    if f.f_back is None:
                        return _waiting()
            except ValueError:  # the stack is shorter now
                pass
    try:
        f = _getframe(depth)
    except ValueError:  # a thread that was started with the hooked function itself
        return None
    library = _library
    for n in _STEPS:  # noqa: B007 (asked for behind the loop)
        c = f.f_code
        try:
            known = library[c.co_filename]
        except KeyError:
            known = _is_library(c.co_filename)
        if known is not True:
            line = _line_at(f, c, known)
            if line is not None:
                break
        back = f.f_back
        if back is None:
            line = None
            break
        f = back
    else:
        return None
    if n and asked is not None:
        if len(_ways) >= _CACHE:
            _ways.clear()
        _ways[asked] = depth, depth + n, c, f.f_lasti, line
    return _waiting() if line is None else line


def _waiting():
    """The line of the task that waits for the greenlet that runs, or None."""
    global _greenlet
    if _greenlet is None:
        _greenlet = sys.modules.get("greenlet")
        if _greenlet is None:
            return None
    let = _greenlet.getcurrent().parent
    f = None if let is None else let.gr_frame
    library = _library
    for _ in _STEPS:
        if f is None:
            return None
        c = f.f_code
        known = library.get(c.co_filename)
        if known is not True:
            if known is None:
                known = _is_library(c.co_filename)
            line = None if known is True else _line_at(f, c, known)
            if line is not None:
                return line
        f = f.f_back
        if f is None:
            let = let.parent
            f = None if let is None else let.gr_frame
    return None


def _line_at(f, c, known):
    """The line at which a frame stands, where its code is the service's (known is False) or stands for a line."""
    if known is False:
        try:
            return _codes[id(c)][f.f_lasti]
        except KeyError:
            return _learn_line(f, c)
    standing = known.get(id(c))
    return None if standing is None else standing[1]


def _learn_line(f, c):
    """The number of the line at which a frame of the service's own code stands."""
    known = _codes.get(id(c))
    if known is None:
        if len(_codes) >= _CACHE:
            _codes.clear()
        known = _codes[id(c)] = {None: c}
    qual = getattr(c, "co_qualname", c.co_name)
    n = known[f.f_lasti] = text("%s:%s:%d" % (f.f_globals.get("__name__", "?"), qual, f.f_lineno))
    return n


def stand_for(function, line):
    """Lets a library's function, of which there is one for each that the service gave it, stand for a line of the
    service: `code` answers with its number where it meets the function. The function's code becomes its own."""
    if len(_standing) < _CACHE:
        c = function.__code__ = function.__code__.replace()
        _standing[id(c)] = c, line
        _standing_in.add(c.co_filename)
        _library.pop(c.co_filename, None)


def code_of(fn):
    """Where a function is defined, as the number of the text module:function:line; its name where it has no code."""
    fn = getattr(fn, "func", fn)  # of a functools.partial
    fn = getattr(fn, "__func__", fn)
    c = getattr(fn, "__code__", None)
    name = getattr(fn, "__qualname__", type(fn).__qualname__)
    return text("%s:%s:%d" % (getattr(fn, "__module__", "?"), name, c.co_firstlineno if c else 0))


def error_text(e):
    """An exception as "Type at module:function:line", the line being the innermost of the service's own code."""
    kind = type(e)
    name = kind.__qualname__ if kind.__module__ in ("builtins", None) else kind.__module__ + "." + kind.__qualname__
    where = None
    tb = e.__traceback__
    for _ in range(_MAX_DEPTH):
        if tb is None:
            break
        frame = tb.tb_frame
        c = frame.f_code
        lib = _library.get(c.co_filename)
        if lib is None:
            lib = _is_library(c.co_filename)
        if not lib:
            where = "%s:%s:%d" % (
                frame.f_globals.get("__name__", "?"), getattr(c, "co_qualname", c.co_name), tb.tb_lineno,
            )
        tb = tb.tb_next
    return name if where is None else name + " at " + where


# ---- fork ---------------------------------------------------------------------------------------------------------


def new_process(op):
    """Gives this process a name of its own. After a fork, what the parent buffered is the parent's to send, and a
    request that was open at the fork keeps the parent's name in its trace."""
    old = state.proc
    state.proc = os.urandom(4).hex()
    if op == "fork":
        buffer.clear()
        counts["dropped"] = counts["sampled"] = 0
        state.failures = {}
        c = current.get()
        if c is not None and type(c.trace) is int:
            c.trace = "%s.%d" % (old, c.trace)
            c.span = "%s.%d" % (old, c.span)
            c.txn = [None]
