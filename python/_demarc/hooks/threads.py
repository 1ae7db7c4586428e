"""Work that a request hands to another thread keeps the request's trace.

Only demarc's own variable is carried over: the service's context variables behave as without it. asyncio's tasks and
asyncio.to_thread carry the whole context themselves.

A thread that a request starts works for that request, unless it waits at a queue.Queue: then it is a worker that
outlives the request, and works for whoever put in what it took out, as long as that request lasts, and for nobody
otherwise. So what a worker does is counted with the right request or with none, never with the one that happened to
start the thread. The same goes for threads that no request started.

A thread that still runs GRACE seconds after the answer is a loop that the request happened to start: from then on it
works for nobody. One that a module starts while it is imported never works for the request that imported it first.
The thread is lent a Ctx of its own, which is emptied in its place: so nothing is asked at each event.
"""

import _frozen_importlib
import contextvars
import os
import sys
import time

from _demarc import core
from _demarc.core import current, failed, state
from _demarc.request import of

NAME = "threads"
HANDED = 10_000  # things on their way through queues that are remembered; then all are forgotten
GRACE = 2.0  # seconds; the sender's thread looks four times in one
LENT = 1_000  # threads that work for requests at a time; further ones work for nobody
FRAMES = 200  # of a thread's starter that are looked at

_lent = contextvars.ContextVar("demarc_lent", default=None)  # the request that this thread works for at times
_handed = {}  # id of a thing in a queue -> who put it there
_PLAIN = (type(None), bool, int, str)  # may be one and the same object for several requests


def run(ctx, fn, /, *args, **kwargs):
    """Calls fn for the request that ctx stands for."""
    token = current.set(ctx)
    try:
        return fn(*args, **kwargs)
    finally:
        current.reset(token)


_lends = {}  # Ctx of a running thread -> [when its request was first seen to be over, or None]


def _lend(ctx):
    """The Ctx under which a thread works that code of `ctx` starts; None for nobody's."""
    if ctx.span is None or _importing():
        return None
    if ctx.fills is None:
        ctx.fills = {}  # shared from here on: what the thread misses may be filled outside
    return ctx.child(ctx.span)


_IMPORT = _frozen_importlib._find_and_load.__code__
# Where requests, jobs and threads begin: an import further out is that of the server.
_ENTRIES = {
    os.path.join(os.path.dirname(__file__), name + ".py")
    for name in ("asgi", "wsgi", "frameworks", "jobs_celery", "jobs_rq", "threads")
}


def _importing():
    """Whether the code that starts a thread is a module's that the request is importing."""
    f = sys._getframe(3)  # past _lend and the hook
    for _ in range(FRAMES):
        if f is None or f.f_code.co_filename in _ENTRIES:
            return False
        if f.f_code is _IMPORT:
            return True
        f = f.f_back
    return False


def _run_thread(lent, fn):
    if len(_lends) >= LENT:
        return fn()
    _lends[lent] = [None]
    _lent.set(lent)
    try:
        return run(lent, fn)
    finally:
        _lends.pop(lent, None)


def _sweep(last=False):
    """Takes the requests that are over from the threads that go on. Called on the sender's thread."""
    t = time.monotonic()
    for lent, since in list(_lends.items()):
        if _lasts(lent):
            continue
        if since[0] is None:
            since[0] = t
        elif t - since[0] >= GRACE:
            lent.trace = lent.span = lent.principal = lent.fills = lent.data = None
            lent.keep = False
            lent.txn = [None]
            _lends.pop(lent, None)


def patch_futures(module):
    """ThreadPoolExecutor.submit, and with it loop.run_in_executor. The pool's threads belong to nobody between jobs,
    whichever request made the pool start them."""
    cls = module.ThreadPoolExecutor
    submit_original = cls.submit
    worker = getattr(module, "_worker", None)
    if worker is not None:
        _pools.add(worker)

    def submit(self, fn, /, *args, **kwargs):
        ctx = current.get()
        if ctx is None:
            return submit_original(self, fn, *args, **kwargs)
        return submit_original(self, run, ctx, fn, *args, **kwargs)

    submit.__doc__ = submit_original.__doc__
    cls.submit = submit


_pools = set()  # what threads of pools run


def patch_threading(module):
    """threading.Thread.start."""
    cls = module.Thread
    start_original = cls.start

    def start(self):
        ctx = current.get()
        if ctx is not None:
            try:
                lent = _lend(ctx) if getattr(self, "_target", None) not in _pools else None
                if lent is not None:
                    inner = self.run
                    self.run = lambda: _run_thread(lent, inner)
            except Exception:
                failed(NAME)
        return start_original(self)

    start.__doc__ = start_original.__doc__
    cls.start = start
    core.collectors.append(_sweep)
    os.register_at_fork(after_in_child=_lends.clear)  # a child has none of its parent's threads


def patch_queue(module):
    """queue.Queue itself. Its subclasses keep what they hold in another order, as pools of connections do, and are
    left alone."""
    cls = module.Queue
    put_original, get_original = cls.put, cls.get

    def put(self, item, *args, **kwargs):
        if type(self) is cls and (state.on or _handed):
            try:
                _hand(item)
            except Exception:
                failed(NAME)
        return put_original(self, item, *args, **kwargs)

    def get(self, *args, **kwargs):
        item = get_original(self, *args, **kwargs)
        if type(self) is cls and (state.on or _handed):
            try:
                _take(item)
            except Exception:
                failed(NAME)
        return item

    put.__doc__, get.__doc__ = put_original.__doc__, get_original.__doc__
    cls.put, cls.get = put, get


def _hand(item):
    ctx = current.get()
    if ctx is None or type(item) in _PLAIN:
        if _handed:
            _handed.pop(id(item), None)  # an older thing of this id is gone
        return
    if len(_handed) >= HANDED:
        _handed.clear()
    _handed[id(item)] = ctx


def _take(item):
    giver = _handed.pop(id(item), None)
    mine = current.get()
    if mine is not None and mine is not _lent.get():
        return  # a request's own thread takes something, such as a connection from a pool
    if giver is not None and _lasts(giver):
        if giver is not mine:
            current.set(giver)
            _lent.set(giver)
    elif mine is not None and not _lasts(mine):
        current.set(None)
        _lent.set(None)


def _lasts(ctx):
    """Whether the request of ctx is still being answered."""
    if ctx.span is None:
        return False  # it was taken from a thread that went on
    r = of(ctx)
    return r is None or not r.done
