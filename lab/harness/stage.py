"""What a driver (drive.py of a service) works with: requests, gates, the databases, and claims about the answers."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from harness.forward import Forward
from harness.postgres import Database, Replica

ANSWER_SECONDS = 120
GATE_SECONDS = 60


class Wrong(Exception):
    """The service did not behave as its driver says: the lab itself is broken, whatever demarc says."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: http.client.HTTPMessage

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)


class Pending:
    """A request that is under way in a thread of its own."""

    def __init__(self, stage: Stage, *args, **kwargs) -> None:
        self._outcome: object = Wrong("no answer in time")
        self._thread = threading.Thread(target=self._run, args=(stage, args, kwargs), daemon=True)
        self._thread.start()

    def _run(self, stage: Stage, args: tuple, kwargs: dict) -> None:
        try:
            self._outcome = stage.send(*args, **kwargs)
        except Exception as error:
            self._outcome = error

    def answer(self) -> Answer:
        self._thread.join(ANSWER_SECONDS)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class Stage:
    """One run of one service. `fixed` says which of the two it is; ports are those of its processes; line is the one to
    Redis of a service that has it cut, and replica the second database of one that has one."""

    line: Forward
    replica: Replica

    def __init__(self, fixed: bool, ports: list[int], gates: Path, database: Database, redis: str) -> None:
        self.fixed = fixed
        self.ports = ports
        self.database = database
        self._gates = gates
        self._redis = redis

    # ---- requests

    def send(
        self, method: str, target: str, data=None, user: Optional[str] = None, expect: int = 200, process: int = 0,
        **headers: str,
    ) -> Answer:
        """Sends one request on a connection of its own. user: sent as a bearer token; process: which of the service's
        processes (0 or 1); any other status than `expect` is an error."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if user is not None:
            names["Authorization"] = f"Bearer {user}"
        body = None
        if data is not None:
            body = json.dumps(data).encode()
            names["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[process], timeout=ANSWER_SECONDS)
        try:
            connection.request(method, target, body, {**names, "Connection": "close"})
            response = connection.getresponse()
            answer = Answer(response.status, response.read(), response.headers)
        finally:
            connection.close()
        if answer.status != expect:
            raise Wrong(f"{method} {target}: {answer.status} instead of {expect}\n{answer.text[-2000:]}")
        return answer

    def get(self, target: str, **more) -> Answer:
        return self.send("GET", target, **more)

    def post(self, target: str, data=None, **more) -> Answer:
        return self.send("POST", target, data, **more)

    def put(self, target: str, data=None, **more) -> Answer:
        return self.send("PUT", target, data, **more)

    def begin(self, method: str, target: str, data=None, **more) -> Pending:
        """Sends a request without waiting for its answer."""
        return Pending(self, method, target, data, **more)

    # ---- gates

    def hold(self, gate: str, requests: int = 1) -> None:
        """The next request that comes to this gate will stop there, or the next few."""
        for file in self._gates.glob(f"{gate}.*"):
            file.unlink()
        for number in range(requests):
            (self._gates / f"{gate}.{number}.armed").touch()

    def held(self, gate: str, requests: int = 1) -> None:
        """Waits until so many requests have stopped there."""
        deadline = time.monotonic() + GATE_SECONDS
        while len(list(self._gates.glob(f"{gate}.*.held"))) < requests:
            if time.monotonic() > deadline:
                raise Wrong(f"not {requests} requests came to the gate {gate!r}")
            time.sleep(0.005)

    def release(self, gate: str) -> None:
        """Lets them go on; what was armed and never reached is disarmed."""
        for file in self._gates.glob(f"{gate}.*.armed"):
            file.unlink(missing_ok=True)
        (self._gates / f"{gate}.open").touch()

    # ---- what is not the service

    def sql(self, statement: str) -> str:
        """Runs a statement in the service's Postgres database as an administrator would, with psql."""
        return self.database.ask(statement)

    def redis(self, *words: str):
        """One command to the service's Redis database from outside; integers and single texts as answers."""
        url = urllib.parse.urlsplit(self._redis)
        with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
            stream = connection.makefile("rwb")
            for command in (("SELECT", url.path.strip("/") or "0"), words):
                stream.write(b"*%d\r\n" % len(command))
                for word in command:
                    stream.write(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()))
                stream.flush()
                answer = _reply(stream)
        return answer

    # ---- claims

    def expect(self, what: str, holds: bool) -> None:
        if not holds:
            raise Wrong(f"{'twin' if self.fixed else 'service'}: expected {what}")

    def stale(self, what: str, is_stale: bool) -> None:
        """Claims that an answer was stale if, and only if, this is the service with the defect."""
        self.expect(f"{what} {'fresh' if self.fixed else 'stale'}", is_stale != self.fixed)


def _reply(stream):
    line = stream.readline().rstrip(b"\r\n")
    kind, rest = line[:1], line[1:]
    if kind == b"-":
        raise Wrong(f"redis: {rest.decode()}")
    if kind == b":":
        return int(rest)
    if kind == b"$":
        size = int(rest)
        return None if size < 0 else stream.read(size + 2)[:-2].decode("utf-8", "replace")
    if kind == b"*":
        return [_reply(stream) for _ in range(int(rest))]
    return rest.decode()
