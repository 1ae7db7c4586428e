"""`python -m conduit.traffic`: asks a running, seeded service the same questions in the same order.

Standard library only. Each of the N threads keeps one connection and speaks for a fixed share of the actors,
so an actor's questions keep their order; with --concurrency 1 all of them do.
"""

from __future__ import annotations

import argparse
import http.client
import json
import select
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional
from urllib.parse import urlsplit

from . import dataset, plan

TIMEOUT_SECONDS = 30
_IDLE_SECONDS = 3  # servers close an idle connection, uvicorn after 5 s: a new one is opened before that
_IDEMPOTENT = ("GET", "PUT", "DELETE")
_SHOWN = 5
MAX_REQUESTS = 10_000_000
MAX_CONCURRENCY = 256


class Stopped(Exception):
    """The run cannot go on: what failed, and what was expected."""

    def __init__(self, cause: str, expected: str) -> None:
        super().__init__(cause)
        self.expected = expected


@dataclass
class Tally:
    """What was answered. Locked by its users."""

    statuses: Counter = field(default_factory=Counter)
    kinds: Counter = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    """The first few; their number is `unexpected_count`."""
    unexpected_count: int = 0
    hits: int = 0
    """Answers that a cache in front of the service gave (X-Cache: hit)."""
    stale: list[str] = field(default_factory=list)
    """Targets of those that --verify answers differently."""
    dropped: int = 0
    """Requests whose connection broke before an answer and that could not be asked again."""


class Client:
    """One kept connection."""

    def __init__(self, scheme: str, host: str, port: int, prefix: str) -> None:
        make = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        self._connection = make(host, port, timeout=TIMEOUT_SECONDS)
        self._prefix = prefix
        self._used = 0.0
        self.hit = False
        """Whether a cache gave the last answer."""

    def connect(self) -> None:
        self._connection.connect()
        self._used = time.monotonic()

    def ask(
        self, method: str, target: str, body: Optional[bytes], headers: dict[str, str], again: bool = False
    ) -> tuple[int, bytes]:
        """Status and body. One further try where the connection broke, if idempotent or `again`.

        Raises ConnectionRefusedError when nobody listens, another OSError or HTTPException when it broke.
        """
        sock = self._connection.sock
        # What can be read before anything was asked is the end: a server closes after a body it did not want.
        if sock is not None and (
            time.monotonic() - self._used > _IDLE_SECONDS or select.select([sock], [], [], 0)[0]
        ):
            self._connection.close()
        for last in (method not in _IDEMPOTENT and not again, True):
            try:
                self._connection.request(method, self._prefix + target, body, headers)
                response = self._connection.getresponse()
                content = response.read()
                self.hit = response.getheader("X-Cache") == "hit"
                self._used = time.monotonic()
                if response.status >= 500:  # a little later the server closes the connection
                    self._connection.close()
                return response.status, content
            except (OSError, http.client.HTTPException):
                self._connection.close()
                if last:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def close(self) -> None:
        self._connection.close()


class Run:
    def __init__(
        self,
        base: str,
        questions: list[plan.Question],
        people: list[plan.Actor],
        rate: float,
        verify: Optional[str] = None,
        times: Optional[list[float]] = None,
    ) -> None:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"--base is {base!r}, expected http://HOST:PORT")
        self._server = (parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        self._prefix = parts.path.rstrip("/")
        self._base = base
        twin = urlsplit(verify or base)
        if (verify and twin.scheme != "http") or not twin.hostname:
            raise ValueError(f"--verify is {verify!r}, expected http://HOST:PORT")
        self._twin = Client("http", twin.hostname, twin.port or 80, twin.path.rstrip("/")) if verify else None
        self._questions = questions
        self._people = people
        self._due = times or [index / rate if rate else 0.0 for index in range(len(questions))]
        self.asked = [0.0] * len(questions)
        """When each was asked, in seconds from the start."""
        self._tokens: dict[int, str] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._failure: Optional[BaseException] = None
        self.tally = Tally()

    def go(self, concurrency: int) -> float:
        """Asks everything and returns the seconds it took. Raises Stopped."""
        clients = [Client(*self._server, self._prefix) for _ in range(concurrency)]
        try:
            for client in clients:
                client.connect()
        except OSError as error:
            raise self._unreachable(error) from None
        started = time.monotonic()
        threads = [
            threading.Thread(target=self._work, args=(client, number, concurrency, started), daemon=True)
            for number, client in enumerate(clients)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            self._stop.set()
        if self._failure is not None:
            raise self._failure
        return time.monotonic() - started

    def _unreachable(self, error: OSError) -> Stopped:
        return Stopped(
            f"cannot reach {self._base}: {error.strerror or error}",
            "a running service, such as: uvicorn conduit.app:app --port 8000",
        )

    def _work(self, client: Client, number: int, of: int, started: float) -> None:
        try:
            for index, question in enumerate(self._questions):
                if question.actor % of != number:
                    continue
                if self._due[index]:
                    self._stop.wait(max(0.0, started + self._due[index] - time.monotonic()))
                if self._stop.is_set():
                    return
                self.asked[index] = time.monotonic() - started
                self._ask(client, question)
        except BaseException as failure:
            with self._lock:
                self._failure = self._failure or failure
            self._stop.set()
        finally:
            client.close()

    def _ask(self, client: Client, question: plan.Question) -> None:
        actor = self._people[question.actor]
        headers = dict(actor.headers)
        if question.token == "own":
            headers["Authorization"] = f"{actor.scheme} {self._tokens[question.actor]}"
        elif question.token == "broken":
            headers["Authorization"] = "Token not.a.token"
        body = None
        if question.body is not None:
            body = json.dumps(question.body).encode()
            headers["Content-Type"] = "application/json"
        try:
            again = question.kind == "login"  # a second token does no harm, and all that follows needs one
            status, content = client.ask(question.method, question.target, body, headers, again)
        except ConnectionRefusedError as error:
            raise self._unreachable(error) from None
        except (OSError, http.client.HTTPException) as error:
            with self._lock:
                self.tally.dropped += 1
                self.tally.kinds[question.kind] += 1
            if question.kind == "login":
                what = f"{self._base} did not answer a login: {error!r}"
                raise Stopped(what, "a service that stays up") from None
            return
        if question.kind == "login":
            self._keep_token(question, status, content)
        stale = client.hit and self._twin is not None and not self._same(question, headers, content)
        with self._lock:
            self.tally.hits += client.hit
            if stale:
                self.tally.stale.append(question.target)
            self.tally.statuses[status] += 1
            self.tally.kinds[question.kind] += 1
            if status != question.status:
                self.tally.unexpected_count += 1
                if len(self.tally.unexpected) < _SHOWN:
                    what = f"{question.method} {question.target}"
                    self.tally.unexpected.append(f"{what}: {status}, expected {question.status}")

    def _same(self, question: plan.Question, headers: dict[str, str], content: bytes) -> bool:
        """Whether the service without a cache, on the same data, gives the same answer now."""
        try:
            return self._twin.ask(question.method, question.target, None, headers)[1] == content
        except (OSError, http.client.HTTPException) as error:
            raise Stopped(f"--verify does not answer: {error}", "another service, running") from None

    def _keep_token(self, question: plan.Question, status: int, content: bytes) -> None:
        try:
            self._tokens[question.actor] = json.loads(content)["user"]["token"]
        except (ValueError, KeyError, TypeError):
            email = self._people[question.actor].user.email
            raise Stopped(
                f"cannot log in as {email}: status {status}",
                "the demonstration's data: python -m conduit.seed, with the same --size and --data-seed",
            ) from None


def _count(low: int, high: int):
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not within {low} to {high}")
        return value

    parse.__name__ = "number"
    return parse


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m conduit.traffic", description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="http://127.0.0.1:8000", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="another number, other questions (default 1)")
    parser.add_argument("--requests", type=_count(1, MAX_REQUESTS), default=2000, help="default %(default)s")
    parser.add_argument(
        "--rate", type=float, default=0, help="requests a second at most; 0: as fast as answered"
    )
    parser.add_argument(
        "--concurrency", type=_count(1, MAX_CONCURRENCY), default=4, help="default %(default)s"
    )
    parser.add_argument(
        "--popular", action="store_true", help="readers who mostly want the same few articles and pages"
    )
    parser.add_argument(
        "--verify",
        metavar="BASE",
        help="a service without caches on the same data: asked again after each X-Cache: hit",
    )
    parser.add_argument(
        "--times",
        type=Path,
        metavar="FILE",
        help="ask at the times that this file says; where there is none, write when each question was asked",
    )
    parser.add_argument("--size", type=int, default=dataset.DEFAULT_SIZE, help="as given to conduit.seed")
    parser.add_argument("--data-seed", type=int, default=1, help="as --seed was given to conduit.seed")
    parser.add_argument("--json", action="store_true", help="the summary as JSON on stdout")
    return parser.parse_args()


def main() -> int:
    given = _arguments()
    try:
        if not 0 <= given.rate < float("inf"):
            raise ValueError(f"--rate is {given.rate}, expected 0 or more")
        if given.verify and given.concurrency != 1:
            raise ValueError("--verify needs --concurrency 1: else there may be a write in between")
        data = dataset.build(given.size, given.data_seed)
        questions = plan.make(data, given.seed, given.requests, given.popular)
        times = json.loads(given.times.read_text()) if given.times and given.times.exists() else None
        if times is not None and len(times) != len(questions):
            raise ValueError(f"{given.times} is of {len(times)} requests, not of {len(questions)}")
        run = Run(given.base, questions, plan.actors(data), given.rate, given.verify, times)
    except (ValueError, OSError) as wrong:
        print(f"conduit.traffic: {wrong}", file=sys.stderr)
        return 2
    try:
        seconds = run.go(given.concurrency)
    except Stopped as stopped:
        asked = sum(run.tally.kinds.values())
        print(f"conduit.traffic: {stopped}", file=sys.stderr)
        print(f"  expected: {stopped.expected}", file=sys.stderr)
        print(f"  retry:    safe; {asked} of {len(questions)} requests were made", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("conduit.traffic: interrupted", file=sys.stderr)
        return 130
    if given.times and times is None:
        given.times.write_text(json.dumps(run.asked))
    tally = run.tally
    statuses = {str(status): tally.statuses[status] for status in sorted(tally.statuses)}
    print(
        f"{len(questions)} requests in {seconds:.1f} s: "
        + ", ".join(f"{count} of {status}" for status, count in statuses.items())
        + (f", {tally.dropped} without an answer" if tally.dropped else ""),
        file=sys.stderr,
    )
    if tally.unexpected_count:
        print(f"{tally.unexpected_count} answers differ from a freshly seeded service's:", file=sys.stderr)
        for line in tally.unexpected:
            print(f"  {line}", file=sys.stderr)
    if given.json:
        summary = {
            "schema": "conduit.traffic/1",
            "seed": given.seed,
            "plan": plan.digest(questions),
            "requests": len(questions),
            "seconds": round(seconds, 3),
            "statuses": statuses,
            "kinds": dict(sorted(tally.kinds.items())),
            "unexpected": tally.unexpected_count,
            "dropped": tally.dropped,
            "hits": tally.hits,
            "stale": tally.stale,
        }
        print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
