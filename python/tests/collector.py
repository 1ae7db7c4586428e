"""A collector for tests: hears recorders over a Unix socket as docs/wire.md says and gives their events as dicts.

Decoding is CPython's own marshal, so these tests check what the recorder writes, and the Go side's tests check that
its reader agrees.
"""

import json
import marshal
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEY = "00112233445566778899aabbccddeeff" * 2

COMMON = ("type", "at", "dur", "seq", "trace", "span", "parent")
TAILS = {
    1: ("request", "kind method route target status error principal vary body_hash body_hash_none body_bytes "
        "request_bytes headers test first_byte_dur disconnected request_cookie"),
    2: ("query", "db text params param_names rows pks result_hash txn role many error code"),
    3: ("txn", "op db txn xid lsn isolation error"),
    4: ("cache", "op layer store key key_parts hit value_hash value_form value_kind bytes ttl_ms ttl_effective_ms tags "
        "tag pattern removed count error txn fill_start code"),
    5: ("call", "code args_hash args principal result_hash bytes error"),
    6: ("task", "op id name queue error"),
}
IDS = {"trace", "span", "parent", "txn"}
HASHES = {"params", "pks"}
MAPS = {"vary", "headers", "key_parts", "args"}
LISTS = {"tags", "param_names"}
NUMBERS = {
    "at", "dur", "seq", "status", "body_bytes", "request_bytes", "first_byte_dur", "disconnected", "request_cookie",
    "rows", "many", "xid", "lsn", "hit", "bytes", "ttl_ms", "ttl_effective_ms", "removed", "count", "fill_start",
}


def free_port():
    """A port that nobody else is given for a minute: where a connection has just ended, none is handed out."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        server.accept()[0].close()
        return server.getsockname()[1]


class Collector:
    """Listens until closed. `events` grows as frames arrive; `hellos`, `stats` and `goodbyes` hold the JSON frames."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="demarc-test-")
        self.path = os.path.join(self.dir, "sock")
        self.events, self.hellos, self.stats, self.goodbyes, self.bad = [], [], [], [], []
        self.conns, self.readers = [], []
        self.passed = threading.Event()
        self.lock = threading.Lock()
        self.answer = {"wire": 1, "ok": True, "recording": True, "rate": 1.0}
        self.delay = 0  # seconds before it is given
        self.unanswered = 0  # how many of the next processes that say hello hear nothing
        self.listen()

    def listen(self):
        """Opens the socket."""
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.server.bind(self.path)
        self.server.listen(64)
        threading.Thread(target=self._accept, args=(self.server,), daemon=True).start()

    def hang_up(self):
        """Stops listening and drops every connection, as a collector that dies does."""
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        os.unlink(self.path)
        with self.lock:
            conns, self.conns = self.conns, []
        for c in conns:
            try:
                c.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            c.close()

    def close(self):
        """Ends everything and removes the folder."""
        try:
            self.hang_up()
        except OSError:
            pass
        shutil.rmtree(self.dir, ignore_errors=True)

    def order(self, **order):
        """Sends an order to every recorder."""
        data = json.dumps(order).encode()
        with self.lock:
            for c in self.conns:
                c.sendall(struct.pack("<IB", len(data), ord("O")) + data)

    def _accept(self, server):
        while True:
            try:
                conn, _ = server.accept()
            except OSError:
                return
            reader = threading.Thread(target=self._serve, args=(conn,), daemon=True)
            with self.lock:
                self.conns.append(conn)
            reader.start()
            self.readers.append(reader)

    def _serve(self, conn):
        f = conn.makefile("rb")
        texts, hello = [], {}
        try:
            while True:
                head = f.read(5)
                if len(head) < 5:
                    return
                n, kind = struct.unpack("<IB", head)
                assert n <= 4 << 20, n
                payload = f.read(n)
                if len(payload) < n:
                    return
                kind = chr(kind)
                if kind == "H":
                    hello = json.loads(payload)
                    self.hellos.append(hello)
                    if self.unanswered:
                        self.unanswered -= 1
                        Path(self.dir, "unanswered").touch()  # where the process runs, so that it can wait for it
                        continue
                    data = json.dumps(self.answer).encode()
                    time.sleep(self.delay)
                    conn.sendall(struct.pack("<IB", len(data), ord("A")) + data)
                elif kind == "B":
                    _, defs, events = marshal.loads(payload)
                    texts.extend(defs)
                    decoded = [decode(e, texts, hello) for e in events]
                    with self.lock:
                        self.events.extend(decoded)
                elif kind == "S":
                    self.stats.append({**json.loads(payload), "proc": hello["proc"]})
                elif kind == "X":
                    self.goodbyes.append({**json.loads(payload), "proc": hello["proc"]})
                elif kind == "M":  # of settle
                    self.passed.set()
        except OSError:
            pass
        except Exception as e:
            self.bad.append(e)
            raise

    def env(self, **more):
        """The environment in which a Python process is observed."""
        key = os.path.join(self.dir, "key")
        Path(key).write_text(KEY)
        config = os.path.join(self.dir, "config.json")
        Path(config).write_text(json.dumps({
            "address": "unix:" + self.path, "token": "t", "key_file": key, "service": "test", "version": "1",
            "keys": "clear",
            **more.pop("config", {}),
        }))
        path = os.pathsep.join(p for p in (str(ROOT / "boot"), more.pop("PYTHONPATH", "")) if p)
        base = {k: v for k, v in os.environ.items() if not k.startswith(("DEMARC", "PYTEST_", "COV_"))}
        return {**base, "PYTHONPATH": path, "DEMARC_CONFIG": config, "PYTHONDONTWRITEBYTECODE": "1", **more}

    def run(self, code, *args, python=sys.executable, timeout=100, check=True, cwd=None, **env):
        """Runs Python code in an observed process to its end; gives the finished process."""
        p = subprocess.run([python, "-c", code, *args], env=self.env(**env), capture_output=True, text=True,
                           timeout=timeout, cwd=cwd or self.dir)
        if check:
            assert p.returncode == 0, p.stdout + p.stderr
        self.settle()
        return p

    def settle(self, quiet=15, limit=60.0):
        """Waits until all is read that ended processes sent; where others run on, until nothing came in some looks."""
        self.passed.clear()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                s.connect(self.path)
                s.sendall(struct.pack("<IB", 0, ord("M")))
                self.passed.wait(limit)  # whoever connected before this was accepted before it
        except OSError:
            pass  # it has hung up
        end = time.monotonic() + limit
        last, same = -1, 0
        while time.monotonic() < end and same < quiet and any(r.is_alive() for r in self.readers):
            n = len(self.events) + len(self.goodbyes) + len(self.stats)
            last, same = n, same + 1 if n == last else 0
            time.sleep(0.02)

    def wait_for(self, condition, limit=60.0):
        """Waits until condition(self) is true."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if condition(self):
                return
            time.sleep(0.02)
        raise AssertionError("not seen within %s s; events: %r" % (limit, self.events[-20:]))

    def of(self, kind, /, **fields):
        """The events of a type whose fields have these values, in order of arrival; requests by their start, because a
        server's threads may hand them over in another order than they were asked in."""
        with self.lock:
            found = [e for e in self.events if e["type"] == kind and all(e.get(k) == v for k, v in fields.items())]
        return sorted(found, key=lambda e: e["at"]) if kind == "request" else found


def decode(e, texts, hello):
    """One event as a dict without unknown fields; texts and ids resolved, hashes as hex."""
    kind, tail = TAILS[e[0]]
    out = {"type": kind, "proc": hello["proc"], "pid": hello["pid"]}
    for name, v in zip(COMMON[1:] + tuple(tail.split()), e[1:]):
        if v is None or name == "result_hash" and v == bytes(8):  # filled in too late, or never
            continue
        if name in IDS and not (kind == "task" and name == "id"):
            v = "%s.%d" % (hello["proc"], v) if isinstance(v, int) else v
        elif name in HASHES:
            assert len(v) % 8 == 0, (name, v)
            v = [v[i : i + 8].hex() for i in range(0, len(v), 8)]
        elif name in MAPS:
            items = [_text(x, texts) for x in v]
            v = dict(zip(items[::2], items[1::2]))
        elif name in LISTS:
            v = [_text(x, texts) for x in v]
        elif name in NUMBERS:
            assert isinstance(v, (int, bool)), (name, v)
        else:
            v = _text(v, texts)
        out[name] = v
    return out


def _text(v, texts):
    if type(v) is int:
        return texts[v]
    if type(v) is bytes:
        assert len(v) == 8, v
        return v.hex()
    assert type(v) is str, v
    return v
