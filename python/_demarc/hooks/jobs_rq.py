"""RQ: who enqueued a job, and each attempt at it, in forking and simple workers and where the queue is synchronous."""

import functools

from _demarc import jobs, transport
from _demarc.core import failed, now, state

NAME = "rq"


def _new(job):
    """Whether a job is handed over for the first time: it bears no mark, was not begun and not scheduled before."""
    return "_demarc" not in job.__dict__ and job.started_at is None and job.ended_at is None and (
        str(getattr(job._status, "value", job._status)) != "scheduled")


def _wrap(cls, method):
    original = cls.__dict__.get(method)
    if original is None:
        return

    @functools.wraps(original)
    def enqueue(self, job, *args, **kwargs):
        new = False
        if state.on and NAME not in state.disabled:
            try:
                new = _new(job)
                job.__dict__["_demarc"] = True
            except Exception:
                failed(NAME)
        if not new:
            return original(self, job, *args, **kwargs)
        start = now()
        try:
            result = original(self, job, *args, **kwargs)
        except BaseException as e:
            _sent(start, self, job, e)
            raise
        _sent(start, self, job, None)
        return result

    setattr(cls, method, enqueue)


def _sent(start, queue, job, error):
    try:
        jobs.enqueued(start, job.id, _name(job), queue.name, error)
    except Exception:
        failed(NAME)


def _name(job):
    return str(job.func_name)


def patch_queue(module):
    """Hooks the ways into a queue. The module is rq.queue."""
    for method in ("enqueue_job", "_enqueue_job", "schedule_job"):
        _wrap(module.Queue, method)


def patch_job(module):
    """Hooks the running of a job. The module is rq.job."""
    cls = module.Job
    original = cls.perform

    @functools.wraps(original)
    def perform(self):
        job = None
        if state.on and NAME not in state.disabled:
            try:
                job = jobs.Job(self.id, _name(self), self.origin)
            except Exception:
                failed(NAME)
        if job is None:
            return original(self)
        try:
            result = original(self)
        except BaseException as e:
            _end(job, e)
            raise
        _end(job, None)
        return result

    cls.perform = perform


def _end(job, error):
    try:
        job.end(error)
    except Exception:
        failed(NAME)


def patch_worker(module):
    """A forked work horse ends without Python's own end: what it has recorded is sent before. The module is
    rq.worker."""
    for cls in {getattr(module, "BaseWorker", module.Worker), module.Worker}:
        if "perform_job" in cls.__dict__:
            _last(cls)


def _last(cls):
    original = cls.perform_job

    @functools.wraps(original)
    def perform_job(self, *args, **kwargs):
        try:
            return original(self, *args, **kwargs)
        finally:
            if getattr(self, "_is_horse", False):
                transport.finish()

    cls.perform_job = perform_job
