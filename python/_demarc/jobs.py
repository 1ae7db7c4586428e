"""What the job hooks share: a job on its way through a worker.

A job is a request event of kind job with a trace of its own, named like its task, so that it can be counted and timed
like any other request; and the task events enqueue (in the trace of who enqueued), start, and end or fail (in the
job's). The id ties them. A job that is run at once by who asked for it (eager) stays in that trace and is no request.

An attempt that is tried again ends with fail, and the next one has a start of its own; enqueue stands once a job.
"""

from _demarc import core
from _demarc.core import Ctx, current, emit, error_text, next_id, next_seq, now, state, text
from _demarc.hashing import hash_text


def enqueued(at, number, name, queue, error=None):
    """Records that a job was handed to a queue, or could not be (error)."""
    c = current.get()
    emit((
        core.TASK, at, now() - at, next_seq(), c.trace if c is not None else None, None,
        c.span if c is not None else None, text("enqueue"), number, text(name), _queue(queue), _error(error),
    ))


def _queue(queue):
    return text(queue) if isinstance(queue, str) else None


def _error(error):
    if error is None:
        return None
    return error if type(error) is str else text(error_text(error))


class Job:
    """One attempt at a job: made when it begins, `end` is called when it is over."""

    __slots__ = ("at", "id", "name", "queue", "ctx", "above", "token")

    def __init__(self, number, name, queue):
        self.id = number
        self.name = text(name)
        self.queue = _queue(queue)
        above = current.get()
        if above is not None and above.span is None:
            above = None  # of a thread that outlived its request
        self.above = above
        span = next_id()
        if above is None:
            keep = core.keep(hash_text("job " + name)) if state.sampling else True
            self.ctx = Ctx(span, span, keep)
        else:
            if above.fills is None:
                above.fills = {}
            self.ctx = above.child(span)
        self.at = now()
        self._task("start", self.at, 0, None)
        self.token = current.set(self.ctx)

    def _task(self, op, at, dur, error):
        c = self.ctx
        emit((core.TASK, at, dur, next_seq(), c.trace, None, c.span, text(op), self.id, self.name, self.queue, error))

    def end(self, error=None):
        """error: an exception, or a text that says why."""
        dur = now() - self.at
        current.reset(self.token)
        error = _error(error)
        self._task("end" if error is None else "fail", self.at, dur, error)
        c = self.ctx
        if self.above is not None:
            return
        if state.sampling and not c.keep:
            core.sampled_out()
            return
        emit((
            core.REQUEST, self.at, dur, next_seq(), c.trace, c.span, None, text("job"), None, self.name, None, None,
            error,
        ))
