"""Celery: who enqueued a task, and each attempt at it in a worker (or at once, where tasks are eager)."""

import functools
import threading

from _demarc import jobs, transport
from _demarc.core import failed, now, state

NAME = "celery"


class _Thread(threading.local):
    queue = None


_sending = _Thread()  # the queue that a task is being published to


def patch_app(module):
    """Hooks the sending of tasks. The module is celery.app.base."""
    cls = module.Celery
    original = cls.send_task

    @functools.wraps(original)
    def send_task(self, name, *args, **kwargs):
        if not state.on or NAME in state.disabled:
            return original(self, name, *args, **kwargs)
        start = now()
        _sending.queue = None
        try:
            result = original(self, name, *args, **kwargs)
        except BaseException as e:
            _sent(start, kwargs.get("task_id"), name, kwargs, e)
            raise
        _sent(start, getattr(result, "id", None), name, kwargs, None)
        return result

    cls.send_task = send_task


def _sent(start, number, name, kwargs, error):
    try:
        if kwargs.get("retries"):
            return  # the same job once more
        jobs.enqueued(start, number, name, _sending.queue or _name(kwargs.get("queue")), error)
    except Exception:
        failed(NAME)


def _name(queue):
    return getattr(queue, "name", queue)


def _publishing(sender=None, routing_key=None, declare=None, **kwargs):
    try:
        _sending.queue = _name(declare[0]) if declare else routing_key
    except Exception:
        failed(NAME)


def _worker_ends(**kwargs):
    # A pool's process ends without Python's own end.
    transport.finish()


def patch_signals(module):
    """Learns the queue of a task, and the end of a pool's process. The module is celery.signals."""
    module.before_task_publish.connect(_publishing, weak=False)
    module.worker_process_shutdown.connect(_worker_ends, weak=False)


def patch_trace(module):
    """Hooks what a worker runs for a task. The module is celery.app.trace."""
    original = module.build_tracer

    @functools.wraps(original)
    def build_tracer(name, *args, **kwargs):
        trace = original(name, *args, **kwargs)

        @functools.wraps(trace)
        def trace_task(uuid, *args, **kwargs):
            job = _begin(name, uuid, args, kwargs) if state.on and NAME not in state.disabled else None
            if job is None:
                return trace(uuid, *args, **kwargs)
            try:
                result = trace(uuid, *args, **kwargs)
            except BaseException as e:
                _end(job, e)
                raise
            _end(job, None, result)
            return result

        return trace_task

    module.build_tracer = build_tracer


def _begin(name, uuid, args, kwargs):
    try:
        request = (args[2] if len(args) > 2 else kwargs.get("request")) or {}
        delivery = request.get("delivery_info") or {}
        queue = delivery.get("routing_key")
        return jobs.Job(uuid, name, queue if isinstance(queue, str) else None)
    except Exception:
        failed(NAME)
        return None


def _end(job, error, result=None):
    """A tracer catches what the task raised and tells it in its result."""
    try:
        info = getattr(result, "info", None)
        if info is not None and error is None:
            error = getattr(info, "retval", None)
            if not isinstance(error, BaseException):
                error = str(getattr(info, "state", "failed"))
        job.end(error)
    except Exception:
        failed(NAME)
