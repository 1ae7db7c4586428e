"""Compares what `demarc stale --json` says of a capture with what the service is known to do."""

from __future__ import annotations

import fnmatch
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from harness.run import output
from harness.services import Service


@dataclass
class Verdict:
    """What was found in one run of one service, and what of it is wrong."""

    found: str = "-"
    verdict: str = "-"
    witness: bool = False
    writer: bool = False
    twin: bool = False
    withheld: str = "-"
    wrong: list[str] = field(default_factory=list)


def stale(demarc: Path, capture: Path, config: Optional[Path] = None) -> dict:
    argv = [demarc, "stale", "--json", capture]
    if config is not None:
        argv += ["--config", config]
    return json.loads(output(argv))


def service(verdict: Verdict, expected: Service, report: dict, events: list[dict]) -> None:
    """Judges the service with the defect: its finding, or its look-alike, and nothing beside it."""
    want = expected.expected
    if "lookalike" in want:
        _lookalike(verdict, want["lookalike"], report)
        return
    findings = report["findings"]
    verdict.found = ", ".join(found.get("cause", "?") for found in findings) or "nothing"
    right = [found for found in findings if found.get("cause") == want["cause"]]
    if len(findings) != 1 or not right:
        verdict.wrong.append(f"found {_shown(findings)} instead of {want['cause']}")
    if not right:
        return
    found = right[0]
    verdict.verdict = found["verdict"]
    for name in ("verdict", "family", "layer"):
        value = want.get(name, "shared")
        if not fnmatch.fnmatchcase(found.get(name) or "", value):
            verdict.wrong.append(f"{name} is {found.get(name)!r} instead of {value!r}")
    if found.get("stale_reads", 0) < want.get("stale_reads", 3):
        verdict.wrong.append(f"{found.get('stale_reads')} stale reads instead of {want.get('stale_reads', 3)} or more")
    told = witness(found["witness"], events)
    verdict.witness = _in_order(want["witness"], told) and len(told) <= 8
    if not verdict.witness:
        verdict.wrong.append(f"the witness is {told} instead of {want['witness']}")
    verdict.writer = _writer(verdict, expected, found.get("writer") or {})


def twin(verdict: Verdict, report: dict) -> None:
    """Judges the twin: no finding at all, in a capture in which there was something to judge."""
    findings = report["findings"]
    verdict.twin = not findings
    if findings:
        verdict.wrong.append(f"the twin: {_shown(findings)} instead of nothing")


def field_withheld(verdict: Verdict, expected: Service, report: dict) -> None:
    """Judges the service without one field of its events: cannot-tell, for want of that field."""
    want = expected.expected["withheld"]
    found = [(f["verdict"], f.get("missing_field")) for f in report["findings"]]
    verdict.withheld = ", ".join(f"{v}: {m}" if m else v for v, m in found) or "nothing"
    if found != [("cannot-tell", want["missing"])]:
        verdict.wrong.append(
            f"without {want['drop']}: {_shown(report['findings'])} instead of cannot-tell for want of {want['missing']}"
        )


def without(events: list[dict], want: dict) -> list[dict]:
    """The events without what is withheld: a field of all events of a type, or all events of a type."""
    kept = []
    where = want.get("where", {}) if want["type"] == "*" else {"type": want["type"], **want.get("where", {})}
    for event in events:
        if all(fnmatch.fnmatch(str(event.get(name)), pattern) for name, pattern in where.items()):
            if want["drop"] == "*":
                continue
            event = {name: value for name, value in event.items() if name != want["drop"]}
        kept.append(event)
    return kept


def witness(told: list[dict], events: list[dict]) -> list[str]:
    """The kinds of the events of a witness, found by their time and process in the capture itself, so that no wording
    is taken for evidence."""
    by_time: dict[int, list[dict]] = {}
    for event in events:
        for at in {event["at"], event["at"] + event.get("dur", 0), event.get("fill_start", 0)}:
            by_time.setdefault(at, []).append(event)
    kinds = []
    for line in told:
        same = [e for e in by_time.get(line["at"], ()) if not line.get("pid") or line["pid"] == e.get("pid")]
        kinds.append("/".join(dict.fromkeys(kind(e) for e in same)) or "?")
    return kinds


def kind(event: dict) -> str:
    """What an event is in the story of an entry."""
    if event["type"] == "cache":
        if event["op"] == "get":
            return "hit" if event.get("hit") else "miss"
        return event["op"]
    if event["type"] == "query":
        words = event.get("text", "?").split(None, 1)
        return "read" if words[0].upper() in ("SELECT", "WITH") else "write"
    if event["type"] == "txn":
        return event["op"]
    return event["type"]


def _in_order(want: list[str], told: list[str]) -> bool:
    """Whether all that is wanted is told, in this order; more may be told between."""
    rest = iter(told)
    return all(any(w in t.split("/") for t in rest) for w in want)


def _writer(verdict: Verdict, expected: Service, writer: dict) -> bool:
    want = expected.expected.get("writer")
    if want is None:
        return True
    right = True
    if writer.get("route") != want.get("route"):
        verdict.wrong.append(f"the writer's route is {writer.get('route')!r} instead of {want.get('route')!r}")
        right = False
    if "line" in want:
        line = expected.line(want["line"])
        if str(writer.get("code", "")).rpartition(":")[2] != line:
            verdict.wrong.append(f"the writer's line is {writer.get('code')!r} instead of {line}")
            right = False
    return right


def _lookalike(verdict: Verdict, want: dict, report: dict) -> None:
    seen = [look for look in report["lookalikes"] if look["cause"] == want["cause"]]
    verdict.found = ", ".join(look["cause"] for look in report["lookalikes"]) or "nothing"
    verdict.verdict = "look-alike"
    same = len(seen) == 1 and seen[0]["family"] == want["family"] and seen[0]["count"] >= want["count"]
    verdict.witness = verdict.writer = same
    if not same:
        verdict.wrong.append(f"the look-alikes are {report['lookalikes']} instead of {want}")
    if report["findings"]:
        verdict.wrong.append(f"found {_shown(report['findings'])} beside a look-alike")


def _shown(findings: list[dict]) -> str:
    return "; ".join(
        f"{f.get('cause', '?')} {f['verdict']} {f.get('missing_field') or ''} {f['family']} "
        f"{(f.get('writer') or {}).get('route', '')} ({f.get('stale_reads')} reads)".replace("  ", " ")
        for f in findings
    ) or "nothing"
