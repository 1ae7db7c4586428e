"""Steps with needs: run as many at a time as there are cores, report each in one line, count what they
tested."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

from kit import LOGS, ROOT, Failure, environment, say

STEP_SECONDS = 15 * 60  # no single step may hang the whole run
SOAK_SECONDS = 3 * 60 * 60


@dataclass
class Count:
    """Tests that passed, failed and were skipped."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other: Count) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self) -> str:
        text = f"{self.passed} passed, {self.failed} failed"
        return f"{text}, {self.skipped} skipped" if self.skipped else text


@dataclass
class Result:
    """What a step found. `report` is the full text of what failed, empty where nothing did."""

    count: Count = field(default_factory=Count)
    report: str = ""


@dataclass
class Step:
    """One piece of work: `run` returns its Result, or None where it tests nothing, or raises Failure."""

    name: str
    run: Callable[[], Optional[Result]]
    needs: Sequence[str] = ()
    group: str = ""


class Commands:
    """Runs commands in process groups of their own and can end all that are still running."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen] = set()
        self._stopped = False

    def run(
        self,
        step: str,
        argv: Sequence[object],
        env: Optional[dict[str, str]] = None,
        cwd: Path = ROOT,
        seconds: int = STEP_SECONDS,
    ) -> tuple[int, Path]:
        """Runs argv with its output in the step's log; returns the exit code and the log's path. What is
        still running after `seconds` is stopped, and that is a Failure."""
        LOGS.mkdir(parents=True, exist_ok=True)
        log = LOGS / f"{step.replace(' ', '-').replace('/', '-')}.log"
        with open(log, "wb") as out:
            with self._lock:
                if self._stopped:
                    raise Failure("interrupted")
                process = subprocess.Popen(
                    [str(arg) for arg in argv],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env=environment() if env is None else env,
                    cwd=cwd,
                    start_new_session=True,
                )
                self._running.add(process)
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                end_group(process)
                raise Failure(f"no end after {seconds} s, stopped\n{tail(log)}") from None
            finally:
                with self._lock:
                    self._running.discard(process)
                end_group(process)  # whatever the command left behind
        return code, log

    def check(
        self, step: str, argv: Sequence[object], env: Optional[dict[str, str]] = None, cwd: Path = ROOT
    ) -> Path:
        """As run, but an exit code other than 0 is a Failure with the whole output."""
        code, log = self.run(step, argv, env, cwd)
        if code != 0:
            raise Failure(f"exit code {code}: {' '.join(map(str, argv))}\n{log.read_text(errors='replace')}")
        return log

    def stop(self) -> None:
        """Ends every running command; later ones are refused."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            end_group(process)


def end_group(process: subprocess.Popen) -> None:
    """Ends what is left of a command's process group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # nobody left, or only a zombie (macOS)
        pass


def tail(log: Path, lines: int = 60) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def select(steps: Sequence[Step], words: Sequence[str]) -> list[Step]:
    """The steps of the groups named, or whose name begins with one of the words, and all that they need."""
    by_name = {step.name: step for step in steps}
    wanted: set[str] = set()

    def want(name: str) -> None:
        if name not in wanted:
            wanted.add(name)
            for need in by_name[name].needs:
                want(need)

    for word in words:
        found = [step.name for step in steps if step.group == word or step.name.startswith(word)]
        if not found:
            raise Failure(f"no step is called {word!r}; there are: " + ", ".join(step.name for step in steps))
        for name in found:
            want(name)
    return [step for step in steps if step.name in wanted]


def run_all(steps: Sequence[Step], lanes: int, stop: Callable[[], None]) -> Count:
    """Runs the steps, at most `lanes` at a time, in their order as far as their needs allow; prints and
    counts.

    A step that fails, or that cannot run because a need failed, counts as one failed test: what did not run
    is never taken for what passed. `stop` ends the commands of running steps; it is called when the run is
    interrupted.
    """
    total = Count()
    waiting = list(steps)
    done: set[str] = set()
    broken: set[str] = set()
    running: dict[Future, tuple[Step, float]] = {}
    with ThreadPoolExecutor(lanes) as pool, _on_interrupt(stop):
        while waiting or running:
            for step in list(waiting):
                lost = [need for need in step.needs if need in broken]
                if lost:
                    waiting.remove(step)
                    broken.add(step.name)
                    total.failed += 1
                    say(f"== {step.name}: NOT RUN, it needs: {', '.join(lost)}")
                elif len(running) < lanes and all(need in done for need in step.needs):
                    waiting.remove(step)
                    say(f"== {step.name}")
                    running[pool.submit(_guarded, step)] = (step, time.monotonic())
            if not running:
                continue
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                step, started = running.pop(future)
                result, ok = future.result()
                total.add(result.count)
                (done if ok else broken).add(step.name)
                counted = f", {result.count}" if result.count != Count() else ""
                say(
                    f"   {step.name}: {'ok' if ok else 'FAILED'}{counted}, {time.monotonic() - started:.1f} s"
                )
                if result.report:
                    say(f"-- {step.name}: what failed\n{result.report.rstrip()}\n-- end of {step.name}")
    return total


@contextlib.contextmanager
def _on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        stop()
        raise


def _guarded(step: Step) -> tuple[Result, bool]:
    try:
        result = step.run() or Result()
    except Failure as failure:
        return Result(Count(failed=1), str(failure)), False
    except Exception:  # a defect of the script itself is a failure of the run, with its place
        return Result(Count(failed=1), traceback.format_exc()), False
    return result, result.count.failed == 0
