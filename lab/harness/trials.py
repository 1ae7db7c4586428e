"""Runs services and their twins, many at a time because most of it is waiting, and tells the results."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count

from kit import Failure, cores
from kit.servers import Servers

from harness import judge
from harness.judge import Verdict
from harness.run import Bench, export, observe, with_events
from harness.services import Service


@dataclass
class Result:
    """All runs of one service."""

    service: Service
    verdicts: list[Verdict] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        return bool(self.verdicts) and not any(verdict.wrong for verdict in self.verdicts)


def run(bench: Bench, results: list[Result], servers: Servers, say: Callable[[str], None]) -> None:
    """Every service and its twin once; adds to the results, and says at once what is wrong."""
    numbers = count(1)

    def databases() -> dict[str, str]:
        return servers.databases(f"lab_{next(numbers)}")

    with ThreadPoolExecutor(cores() + 2) as pool:
        futures = [(result, pool.submit(_try, bench, result.service, databases)) for result in results]
        for result, future in futures:
            verdict, seconds = future.result()
            result.verdicts.append(verdict)
            result.seconds += seconds
            for wrong in verdict.wrong:
                say(f"-- {result.service.name}, run {len(result.verdicts)}: {wrong}")
            if not verdict.wrong and sys.stderr.isatty():
                say(f"   {result.service.name}: ok, {seconds:.1f} s")


def _try(bench: Bench, service: Service, databases: Callable) -> tuple[Verdict, float]:
    begun = time.monotonic()
    verdict = Verdict()
    config = service.folder / "demarc.yaml"
    config = config if config.exists() else None
    try:
        capture = observe(bench, service, False, databases)
        events = export(bench.demarc, capture)
        judge.service(verdict, service, judge.stale(bench.demarc, capture, config), events)
        if "withheld" in service.expected:
            less = judge.without(events, service.expected["withheld"])
            less = with_events(bench.demarc, capture, less, "withheld")
            judge.field_withheld(verdict, service, judge.stale(bench.demarc, less, config))
        capture = observe(bench, service, True, databases)
        judge.twin(verdict, judge.stale(bench.demarc, capture, config))
    except Failure as failure:
        verdict.wrong.append(str(failure))
    except Exception:  # a defect of the lab must not keep the other services from being tried
        verdict.wrong.append(traceback.format_exc())
    return verdict, time.monotonic() - begun


def table(results: list[Result]) -> str:
    """One line a service."""
    rows = [("service", "found", "verdict", "witness", "writer", "twin", "withheld", "runs", "seconds", "")]
    for result in results:
        last = next((v for v in result.verdicts if v.wrong), result.verdicts[-1])
        good = sum(not verdict.wrong for verdict in result.verdicts)
        rows.append((
            result.service.name.replace("_", "-"), last.found, last.verdict, _yes(last.witness), _yes(last.writer),
            "clean" if last.twin else "NOT CLEAN", last.withheld, f"{good}/{len(result.verdicts)}",
            f"{result.seconds:.1f}", "" if result.right else "WRONG",
        ))  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    wrong = sum(not result.right for result in results)
    return "\n".join([*lines, "", f"{len(results) - wrong} services right, {wrong} wrong"])


def as_json(results: list[Result]) -> str:
    """The results as one line."""
    return json.dumps({
        "schema": "demarc.lab/1",
        "services": [
            {
                "name": result.service.name, "expected": result.service.expected["cause"], "right": result.right,
                "seconds": round(result.seconds, 1),
                "runs": [vars(verdict) for verdict in result.verdicts],
            }
            for result in results
        ],
    })  # fmt: skip


def _yes(right: bool) -> str:
    return "right" if right else "wrong"
