"""Carries events to the collector from a thread of its own, so that the service never waits.

The thread is a bare one (not in threading.enumerate(), nothing joins it), wakes four times a second, sends what the
buffer holds in frames of docs/wire.md, and hears orders. Whatever makes it let go of the interpreter's lock, such as a
send, is done as seldom as may be: beside a busy service it has to wait for the lock each time, is woken in vain
whenever the service lets go of it for a moment, and the service pays for waking it.

Without a collector it tries again with growing pauses; the buffer fills up and then drops. Before a fork the thread is
stopped, because forking with threads is an accident waiting; parent and child then start their own.
"""

import _thread
import atexit
import json
import marshal
import os
import select
import socket
import struct
import sys
import time

from _demarc import VERSION, core
from _demarc.core import buffer, counts, definitions, state
from _demarc.hooks import unobserved

WIRE = 1
MAX_FRAME = 4 << 20
BATCH = 500  # events a frame: marshal holds the interpreter's lock for a fraction of a millisecond
PERIOD = 0.25  # seconds between two rounds
SEND_BYTES = 128 << 10  # frames are put together up to this size; a socket commonly takes it at once
SEND_TIMEOUT = 2.0  # seconds without progress after which the collector counts as gone
BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between attempts to connect
STATS_EVERY = 1.0  # seconds, when something changed
GRACE = 1.0  # seconds that the end of the process waits for the last events

_head = struct.Struct("<IB")
B = ord("B")
_socket = socket.socket  # kept: gevent may replace the module's
_clock = time.monotonic
_sleep = time.sleep


class Sender:
    """One connection's worth of state; one instance a process."""

    def __init__(self, config, service_info):
        self.config = config
        self.info = service_info  # () -> (service, version, version_from)
        self.op = "start"
        self.started_at = core.now()
        self.sock = None
        self.sent_defs = 0
        self.inbox = b""
        self.attempt = 0
        self.next_try = 0.0
        self.stop = False
        self.running = False
        self.wake = _thread.allocate_lock()
        self.done = _thread.allocate_lock()
        self.busy = _thread.allocate_lock()
        self.last_stats = None
        self.stats_at = 0.0
        self.cpu_ns = 0
        self.window = (_clock(), 0)
        self.ceiling = 1.0  # the rate that the collector allows at most
        self.seen = 0
        self.refused = ""

    # ---- life of the thread

    def start(self):
        """Starts the thread."""
        self.stop = False
        self.wake = _thread.allocate_lock()
        self.wake.acquire()
        self.done = _thread.allocate_lock()
        self.done.acquire()
        self.running = True
        _thread.start_new_thread(self._run, (self.wake, self.done))

    def halt(self, wait=0.5):
        """Stops the thread and waits for it, at most `wait` seconds."""
        if not self.running:
            return
        self.stop = True
        try:
            self.wake.release()
        except RuntimeError:
            pass
        if self.done.acquire(True, wait):
            self.done.release()
        self.running = False

    def _run(self, wake, done):
        try:
            while not self.stop:
                wake.acquire(True, PERIOD)
                if self.stop:
                    break
                with self.busy:
                    before = time.thread_time_ns()
                    self.round()
                    self.cpu_ns += time.thread_time_ns() - before
        except Exception:  # a thread that dies loudly would print into the service's log
            core.failed("transport")
            self.drop_connection()
        finally:
            done.release()

    def round(self):
        """One turn: connect if needed, hear orders, send what waits."""
        if self.sock is None and not self.connect():
            return
        self.hear()
        if self.sock is None:
            return
        self.adapt()
        collect()
        # As much as the buffer held, no more: what the service adds meanwhile would make a batch of a few events each.
        self.send_events(len(buffer))
        self.send_stats()

    # ---- connection

    def connect(self):
        """Tries to connect and to say hello. False while there is nobody."""
        t = _clock()
        if t < self.next_try or self.refused:
            return False
        self.next_try = t + BACKOFF[min(self.attempt, len(BACKOFF) - 1)]
        self.attempt += 1
        kind, _, where = self.config.address.partition(":")
        s = None
        try:
            if kind == "unix":
                s = _socket(socket.AF_UNIX, socket.SOCK_STREAM)
                s.settimeout(SEND_TIMEOUT)
                s.connect(where)
            else:
                host, _, port = where.rpartition(":")
                s = socket.create_connection((host.strip("[]"), int(port)), timeout=SEND_TIMEOUT)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock, self.inbox, self.sent_defs = s, b"", 0
            service, version, version_from = self.info()
            hello = {
                "wire": WIRE, "token": self.config.token, "proc": state.proc, "op": self.op, "at": self.started_at,
                "service": service, "version": version, "version_from": version_from,
                "host": socket.gethostname(), "pid": os.getpid(), "ppid": os.getppid(),
                "runtime": "%s %s" % (sys.implementation.name, ".".join(map(str, sys.version_info[:3]))),
                "program": os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else "", "recorder": VERSION,
                "keys": self.config.keys,
            }
            self.send(b"H", json.dumps(hello).encode())
            answer = self.await_answer()
            if not answer.get("ok"):
                self.refused = str(answer.get("error"))
                raise OSError(self.refused)
        except (OSError, ValueError):
            self.sock = s
            self.drop_connection()
            return False
        self.attempt = 0
        self.op = "reconnect"
        self.last_stats = None
        # A collector that comes back does not know how busy this process is: its rate is a bound, not an order.
        rate = state.rate
        self.obey(answer)
        if self.config.max_rate > 0:  # else nothing would ever raise it again
            set_rate(min(rate, self.ceiling))
        return True

    def await_answer(self):
        end = _clock() + SEND_TIMEOUT
        while _clock() < end and not self.stop:
            for kind, payload in self.receive(0.05):
                if kind == b"A":
                    return json.loads(payload)
        raise OSError("no answer")

    def drop_connection(self):
        """Forgets a connection that failed. Hooks go on filling the buffer, up to its bound."""
        s, self.sock = self.sock, None
        if s is not None:
            try:
                s.close()
            except OSError:
                pass

    def receive(self, wait):
        """Frames that have arrived, waiting at most `wait` seconds for the first byte."""
        ready, _, _ = select.select([self.sock], [], [], wait)
        if not ready:
            return []
        data = self.sock.recv(65536)
        if not data:
            raise OSError("closed")
        self.inbox += data
        frames = []
        while len(self.inbox) >= 5:
            n, kind = _head.unpack_from(self.inbox)
            if n > MAX_FRAME:
                raise OSError("frame too large")
            if len(self.inbox) < 5 + n:
                break
            frames.append((bytes([kind]), self.inbox[5 : 5 + n]))
            self.inbox = self.inbox[5 + n :]
        return frames

    def hear(self):
        """Obeys the orders that have arrived."""
        try:
            for kind, payload in self.receive(0):
                if kind == b"O":
                    self.obey(json.loads(payload))
        except (OSError, ValueError):
            self.drop_connection()

    def obey(self, order):
        """Switches recording and the sampling rate as an answer or order says."""
        if "rate" in order:
            self.ceiling = float(order["rate"])
            set_rate(self.ceiling)
        if "recording" in order:
            state.on = bool(order["recording"])

    # ---- sending

    def send(self, kind, payload):
        """Sends one frame; gives up after SEND_TIMEOUT without progress."""
        data = memoryview(_head.pack(len(payload), kind[0]) + payload)
        s = self.sock
        s.settimeout(SEND_TIMEOUT)
        while data:
            data = data[s.send(data) :]

    def send_events(self, n):
        """Sends n events of the buffer, in batches with the definitions that they need."""
        while n > 0 and self.sock is not None and not self.stop:
            frames, size, defined = [], 0, self.sent_defs
            odd = None
            while n > 0 and size < SEND_BYTES and odd is None:
                events = taken(min(n, BATCH))
                if not events:
                    n = 0
                    break
                n -= len(events)
                # Definitions are read after the events were taken, so every number in them is defined.
                defs = definitions[defined:]
                try:
                    payload = dumps(defs, events)
                    if len(payload) > MAX_FRAME:
                        raise ValueError("frame too large")
                    frames.append((_head.pack(len(payload), B) + payload, len(events)))
                    size += len(payload)
                    defined += len(defs)
                except ValueError:
                    odd = events
            if frames:
                self.send_frames(frames)
            if self.sock is not None:
                self.sent_defs = defined
                if odd is not None:
                    self.send_small(definitions[defined:], odd)
            elif odd is not None:
                self.lost(len(odd))

    def send_frames(self, frames):
        """Sends several frames at once; counts the events of those that did not go out whole."""
        self.seen += sum([n for _, n in frames])
        data = memoryview(b"".join([frame for frame, _ in frames]))
        sent = 0
        try:
            self.sock.settimeout(SEND_TIMEOUT)
            while sent < len(data):
                sent += self.sock.send(data[sent:])
        except OSError:
            end = 0
            for frame, n in frames:
                end += len(frame)
                if end > sent:
                    self.lost(n)

    def send_small(self, defs, events):
        """Sends what did not fit or could not be written as a whole: definitions in chunks, then events one by one."""
        left = len(events)
        self.seen += left
        try:
            while defs:
                some = defs[:16]
                self.send(b"B", dumps(some, []))
                self.sent_defs += len(some)
                defs = defs[16:]
            for e in events:
                try:
                    payload = dumps([], [plain(e)])
                except ValueError:
                    payload = None
                if payload is None or len(payload) > MAX_FRAME:
                    self.lost(1, close=False)
                else:
                    self.send(b"B", payload)
                left -= 1
        except OSError:
            self.lost(left)

    def lost(self, n, close=True):
        """Counts events that were taken from the buffer and not delivered."""
        for _ in range(n):
            counts["dropped"] = next(core._dropped)
        if close:
            self.drop_connection()

    def send_stats(self, force=False):
        """Sends what the recorder says of itself, when it changed, once a second at most."""
        t = _clock()
        if self.sock is None or (not force and t < self.stats_at):
            return
        self.stats_at = t + STATS_EVERY
        stats = {
            "recording": state.on, "dropped": counts["dropped"], "sampled": counts["sampled"], "rate": state.rate,
            "hooks": {**state.hooks, **unobserved()}, "failures": dict(state.failures),
        }
        if stats == self.last_stats and not force:
            return
        self.last_stats = dict(stats)
        stats["at"] = core.now()
        stats["cost_ns"] = self.cpu_ns
        try:
            self.send(b"S", json.dumps(stats).encode())
        except OSError:
            self.drop_connection()

    # ---- sampling

    def adapt(self):
        """Lowers the rate when more events come than max_rate, raises it again when they have become few."""
        limit = self.config.max_rate
        t = _clock()
        since, seen = self.window
        if limit <= 0 or t - since < 1.0:
            return
        rate = (self.seen - seen + len(buffer)) / (t - since)
        self.window = (t, self.seen)
        if rate > limit:
            set_rate(max(state.rate * limit / rate * 0.9, 1 / 4096))
        elif rate < limit / 4 and state.rate < self.ceiling:
            set_rate(min(state.rate * 2, self.ceiling))

    # ---- the end of the process

    def finish(self):
        """Sends what is left, within GRACE seconds, and says goodbye."""
        self.halt(wait=GRACE)
        with self.busy:
            self.stop = False
            self.next_try = 0.0
            try:
                collect(last=True)
                # A short-lived process says at least that it was there, where that costs no time.
                worth_it = buffer or self.config.address.startswith("unix:")
                if self.sock is None and not (worth_it and self.connect()):
                    return
                end = _clock() + GRACE
                while buffer and self.sock is not None and _clock() < end:
                    self.send_events(BATCH)
                self.send_stats(force=True)
                if self.sock is not None:
                    self.send(b"X", json.dumps({"at": core.now()}).encode())
            except OSError:
                pass
            self.drop_connection()


def collect(last=False):
    """Lets the hooks that count emit their counts; last: at the end of the process, whatever the time."""
    if state.on:
        for f in core.collectors:
            try:
                f(last)
            except Exception:
                core.failed("transport")


def taken(n):
    """Takes up to n events from the buffer. Those of queries are lists there, so that the hash of what is fetched later
    can be put into them; each is gone before the next is taken, for the garbage collector counts what is left."""
    take = buffer.popleft
    return [tuple(take()) for _ in range(min(n, len(buffer)))]  # which nobody else takes from


def set_rate(rate):
    """Sets the share of keys that is kept."""
    state.rate = rate
    state.threshold = int(rate * (1 << 64))
    state.sampling = rate < 1.0


def dumps(defs, events):
    """One batch as marshal version 2. ValueError when something in it cannot be written."""
    return marshal.dumps((0, defs, events), 2)


def plain(v):
    """The same tuple from exact types, for values that marshal refuses: subclasses of str and int, and anything else
    as nothing."""
    if v is None or type(v) in (bool, float, bytes):
        return v
    if isinstance(v, int):
        v = int(v)
        return v if -(1 << 63) <= v < 1 << 64 else None
    if isinstance(v, str):
        return str.__str__(v)
    if isinstance(v, (tuple, list)):
        return tuple(plain(x) for x in v)
    if isinstance(v, (bytearray, memoryview)):
        return bytes(v)
    return None


_sender = None


def begin(config, service_info):
    """Starts sending for this process, and for each that it forks."""
    global _sender
    core.new_process("start")
    _sender = Sender(config, service_info)
    _sender.start()
    os.register_at_fork(before=_before_fork, after_in_parent=_after_parent, after_in_child=_after_child)
    atexit.register(_at_exit)


def finish():
    """Sends what is left and says goodbye: at the end of the process, or of one that will end without Python's own."""
    try:
        if _sender is not None:
            _sender.finish()
    except Exception:
        core.failed("transport")


def _at_exit():
    try:
        finish()
    except BaseException:  # a second Ctrl-C: Python would print it as an error of this function, and end all the same
        pass


def _before_fork():
    try:
        _sender.halt()
    except Exception:
        core.failed("transport")


def _after_parent():
    try:
        _sender.start()
    except Exception:
        core.failed("transport")


def _after_child():
    global _sender
    try:
        old = _sender
        old.drop_connection()
        core.new_process("fork")
        _sender = Sender(old.config, old.info)
        _sender.op = "fork"
        _sender.start()
    except Exception:
        core.failed("transport")
