"""Background tasks of Starlette and FastAPI: they run after the answer, in the same trace."""

from _demarc.core import TASK, code_of, current, emit, error_text, failed, next_id, next_seq, now, state, text

NAME = "background"


def patch_starlette(module):
    """One start and one end (or fail) for each BackgroundTask."""
    cls = module.BackgroundTask
    call = cls.__call__

    async def __call__(self):
        if not state.on:
            return await call(self)
        number = begin = None
        try:
            number, begin = "bg.%s.%d" % (state.proc, next_id()), now()
            name = code_of(self.func)
            _task(begin, 0, "start", number, name)
        except Exception:
            failed(NAME)
        error = None
        try:
            return await call(self)
        except BaseException as e:
            error = e
            raise
        finally:
            try:
                if number is not None:
                    _task(begin, now() - begin, "end" if error is None else "fail", number, name, error)
            except Exception:
                failed(NAME)
            error = None

    cls.__call__ = __call__


def _task(at, dur, op, number, name, error=None):
    c = current.get()
    emit((
        TASK, at, dur, next_seq(), c.trace if c else None, None, c.span if c else None, text(op), number, name,
        text("background"), text(error_text(error)) if error is not None else None,
    ))
