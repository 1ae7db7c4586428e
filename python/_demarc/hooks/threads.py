"""Work that a request hands to another thread keeps the request's trace.

Only demarc's own variable is carried over: the service's context variables behave as without it. asyncio's tasks and
asyncio.to_thread carry the whole context themselves.
"""

from _demarc.core import current, failed

NAME = "threads"


def run(ctx, fn, /, *args, **kwargs):
    """Calls fn for the request that ctx stands for."""
    token = current.set(ctx)
    try:
        return fn(*args, **kwargs)
    finally:
        current.reset(token)


def patch_futures(module):
    """ThreadPoolExecutor.submit, and with it loop.run_in_executor."""
    cls = module.ThreadPoolExecutor
    submit_original = cls.submit

    def submit(self, fn, /, *args, **kwargs):
        ctx = current.get()
        if ctx is None:
            return submit_original(self, fn, *args, **kwargs)
        return submit_original(self, run, ctx, fn, *args, **kwargs)

    submit.__doc__ = submit_original.__doc__
    cls.submit = submit


def patch_threading(module):
    """threading.Thread.start."""
    cls = module.Thread
    start_original = cls.start

    def start(self):
        ctx = current.get()
        if ctx is not None:
            try:
                inner = self.run
                self.run = lambda: run(ctx, inner)
            except Exception:
                failed(NAME)
        return start_original(self)

    start.__doc__ = start_original.__doc__
    cls.start = start
