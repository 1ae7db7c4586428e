"""Runs a service, or its twin, under `demarc run`, and lets its driver force the order of events."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from kit import Failure, environment
from kit.servers import free_port

from harness.forward import Forward
from harness.postgres import Database, Log, Replica
from harness.services import SHARED, Service
from harness.stage import Stage

READY_SECONDS = 60
STOP_SECONDS = 60


@dataclass(frozen=True)
class Bench:
    """What all runs share: the demarc that is tried, the services' interpreter, psql, where results are kept, and
    whether the kept ones are to be judged once more, without running anything."""

    demarc: Path
    python: Path
    psql: Path
    results: Path
    kept: bool = False


def observe(bench: Bench, service: Service, fixed: bool, databases: Callable[[], dict[str, str]]) -> Path:
    """Starts the service (or its twin) in a new folder, drives it, stops it; gives the capture.

    databases: gives the addresses of a new Postgres and a new Redis database, as kit.servers does.
    """
    folder = bench.results / service.name / ("twin" if fixed else "service")
    if bench.kept:
        return folder / ("with-log" if service.expected.get("log") else "capture")
    shutil.rmtree(folder, ignore_errors=True)
    gates = folder / "gates"
    gates.mkdir(parents=True)
    urls = databases()
    servers = {"postgres": urls["DEMARC_TEST_POSTGRES"], "redis": urls["DEMARC_TEST_REDIS"]}
    servers["sqlite"] = str(folder / "service.db")
    ports = [free_port() for _ in range(service.processes)]
    stage = Stage(fixed, ports, gates, Database(bench.psql, servers["postgres"]), servers["redis"])
    _schema(service, [stage.database], servers["sqlite"])
    with contextlib.ExitStack() as stack:
        if service.expected.get("cut"):
            stage.line = stack.enter_context(contextlib.closing(Forward(servers["redis"])))
            servers["redis"] = stage.line.url
        if service.expected.get("replica"):
            copy = Database(bench.psql, databases()["DEMARC_TEST_POSTGRES"])
            _schema(service, [copy], None)
            stage.replica = stack.enter_context(contextlib.closing(Replica(stage.database, copy)))
            servers["replica"] = copy.url
        if service.expected.get("log"):
            changes = stack.enter_context(contextlib.closing(Log(stage.database)))
        capture = _observe(bench, service, stage, servers, folder)
        if service.expected.get("log"):
            key = bytes.fromhex((folder / ".demarc" / "key").read_text().strip())
            events = changes.events(key, f"lab-{service.name}")
            capture = with_events(bench.demarc, capture, export(bench.demarc, capture) + events, "with-log")
    return capture


def _observe(bench: Bench, service: Service, stage: Stage, servers: dict[str, str], folder: Path) -> Path:
    capture, log, gates, ports = folder / "capture", folder / "service.log", folder / "gates", stage.ports
    fixed = stage.fixed
    argv = [bench.demarc, "run", "--no-report", "--keys", "clear", "--service", f"lab-{service.name}"]
    argv += ["--dir", folder / ".demarc", "--out", capture]
    if (service.folder / "demarc.yaml").exists():
        argv += ["--config", service.folder / "demarc.yaml"]
    with open(log, "wb") as out:
        observed = subprocess.Popen(
            [*map(str, argv), "--", *service.command.format(*ports).split()],
            cwd=folder, env=_environment(bench, service, fixed, servers, gates), stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    wrong = None
    try:
        for port in ports:
            _wait_until_open(observed, port, log)
        service.driver().drive(stage)
    except Exception as error:
        wrong = error
    try:
        code = _stop(observed)
    except Failure as failure:
        raise Failure(f"{wrong or ''}{failure}\n{_end_of(log)}") from wrong
    if wrong is not None:
        raise Failure(f"{type(wrong).__name__}: {wrong}\n{_end_of(log)}") from wrong
    if code not in (0, 128 + signal.SIGINT, -signal.SIGINT, *service.expected.get("exit_codes", ())):
        raise Failure(f"demarc run ended with exit code {code}\n{_end_of(log)}")
    return capture


def export(demarc: Path, capture: Path) -> list[dict]:
    """The events of a capture."""
    return [json.loads(line) for line in output([demarc, "export", capture]).splitlines()]


def with_events(demarc: Path, capture: Path, events: list[dict], name: str) -> Path:
    """A new capture beside another one, made of these events."""
    shutil.rmtree(capture.with_name(name), ignore_errors=True)
    lines = capture.with_name(f"{name}.jsonl")
    lines.write_text("".join(json.dumps(event) + "\n" for event in events))
    output([demarc, "import", lines, "--strict", "-o", capture.with_name(name)])
    return capture.with_name(name)


def output(argv: list) -> str:
    answer = subprocess.run(list(map(str, argv)), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if answer.returncode != 0:
        raise Failure(f"exit code {answer.returncode}: {' '.join(map(str, argv))}\n{answer.stderr}")
    return answer.stdout


def _environment(bench: Bench, service: Service, fixed: bool, servers: dict, gates: Path) -> dict[str, str]:
    env = environment()
    for name in [name for name in env if name.startswith(("DEMARC", "LAB_", "PG", "PYTHON"))]:
        del env[name]
    env.update(
        PATH=f"{bench.python.parent}:{env['PATH']}",
        PYTHONPATH=f"{service.folder}:{SHARED}",
        PYTHONDONTWRITEBYTECODE="1",
        PYTHONFAULTHANDLER="1",
        LAB_GATES=str(gates),
        LAB_POSTGRES=servers["postgres"],
        LAB_REDIS=servers["redis"],
        LAB_SQLITE=servers["sqlite"],
    )
    if "replica" in servers:
        env["LAB_REPLICA"] = servers["replica"]
    if fixed:
        env["LAB_FIXED"] = "1"
    return env


def _schema(service: Service, databases: list[Database], sqlite: Optional[str]) -> None:
    """Makes the tables and rows with which the service starts."""
    file = service.folder / "schema.sql"
    if file.exists():
        for database in databases:
            database.ask(file.read_text())
    file = service.folder / "schema.sqlite.sql"
    if sqlite is not None and file.exists():
        connection = sqlite3.connect(sqlite)
        connection.executescript(file.read_text())
        connection.close()


def _wait_until_open(observed: subprocess.Popen, port: int, log: Path) -> None:
    """Waits until the service takes connections; asking for a page would be an event."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if observed.poll() is not None:
            raise Failure(f"it ended with exit code {observed.returncode} before it was ready\n{_end_of(log)}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise Failure(f"it took no connection within {READY_SECONDS} s\n{_end_of(log)}")


def _stop(observed: subprocess.Popen) -> int:
    """Interrupts demarc and waits for its end. A service that hangs is aborted, so that its log shows where."""
    if observed.poll() is None:
        observed.send_signal(signal.SIGINT)
    try:
        return observed.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in _descendants(observed.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGABRT)
    try:
        observed.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(observed.pid, signal.SIGKILL)
    raise Failure(f"demarc run did not end within {STOP_SECONDS} s of an interrupt") from None


def _descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have, the last ones first."""
    parents = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True).stdout.split()
    children: dict[int, list[int]] = {}
    for child, parent in zip(map(int, parents[::2]), map(int, parents[1::2])):
        children.setdefault(parent, []).append(child)
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found[:0:-1]


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-40:])
