"""Work that a request hands to another thread keeps the request's trace.

Only demarc's own variable is carried over: the service's context variables behave as without it. asyncio's tasks and
asyncio.to_thread carry the whole context themselves.

A thread that a request starts works for that request, unless it waits at a queue.Queue: then it is a worker that
outlives the request, and works for whoever put in what it took out, as long as that request lasts, and for nobody
otherwise. So what a worker does is counted with the right request or with none, never with the one that happened to
start the thread. The same goes for threads that no request started.
"""

import contextvars

from _demarc.core import current, failed, state
from _demarc.request import of

NAME = "threads"
HANDED = 10_000  # things on their way through queues that are remembered; then all are forgotten

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


def _run_thread(ctx, fn):
    _lent.set(ctx)
    return run(ctx, fn)


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
                if getattr(self, "_target", None) not in _pools:
                    inner = self.run
                    self.run = lambda: _run_thread(ctx, inner)
            except Exception:
                failed(NAME)
        return start_original(self)

    start.__doc__ = start_original.__doc__
    cls.start = start


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
    r = of(ctx)
    return r is None or not r.done
