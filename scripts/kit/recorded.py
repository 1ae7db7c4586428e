"""What must hold of every capture of a service, whatever it is: asked from the report and from the events."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

Fact = tuple[str, bool, object]  # what is claimed, whether it holds, what was seen


class Recorded:
    """The report, the events by type, and the requests that were sent (method, target, status)."""

    def __init__(self, report: dict, events: Path, sent: list[tuple[str, str, int]]) -> None:
        self.report = report
        self.sent = sent
        self.routes = {route["route"]: route for route in report["routes"]}
        self.events: dict[str, list[dict]] = defaultdict(list)
        with open(events) as lines:
            for line in lines:
                event = json.loads(line)
                self.events[event["type"]].append(event)

    def facts(self, queries: bool, startup: bool) -> Iterator[Fact]:
        """queries: the service has a database; startup: it asks it outside requests, too."""
        coverage = self.report["coverage"]
        seen = Counter((e["method"], e["status"]) for e in self.events["request"] if e.get("target") != "/favicon.ico")
        sent = Counter((method, status) for method, _, status in self.sent)
        lost = sent - seen
        counted = f"{sum(sent.values())} sent, {dict(lost) or 'none'} lost"
        yield "every request that was sent is there", not lost, counted
        without = [f"{e['method']} {e['target']} {e['status']}" for e in self.events["request"]
                   if not e.get("route") and e["status"] not in (404, 405)]  # fmt: skip
        yield "all have a route but those that are answered 404", not without, without[:5] or "all"
        failures = {hook["name"]: hook["failures"] for hook in coverage["hooks"] if hook["failures"]}
        yield "no hook failed", not failures, failures or "none"
        yield "nothing dropped", coverage["dropped"] == 0, coverage["dropped"]
        yield "nothing sampled", coverage["sampled"] == 0, coverage["sampled"]
        errors = sum(1 for *_, status in self.sent if status >= 500)
        told = self.report["totals"]["errors"]
        yield "errors as the client saw them", told == errors, told
        if not queries:
            return
        found = self.report["totals"]["queries"]
        yield "queries", found > 0, found
        loose = coverage["queries_unjoined"]
        yield "queries outside requests", startup or loose == 0, f"{loose}, {self.reason(loose)}"
        twice = list(self.counted_twice())
        yield "one statement, one event", not twice, twice[:2] or "yes"
        odd = list(self.unbalanced())
        yield "each transaction has its end", not odd, odd[:3] or f"{len(self.transactions())} seen"

    def reason(self, loose: int) -> str:
        if not loose:
            return "none"
        before = self.first_request()
        early = sum(1 for e in self.events["query"] if not e.get("trace") and e["at"] < before)
        return f"{early} of them before the first request"

    def first_request(self) -> int:
        return min((e["at"] for e in self.events["request"]), default=0)

    def counted_twice(self) -> Iterator[str]:
        """Statements with an event inside another one's time, of the same process, with the same text and
        parameters: what two layers that both record would leave."""
        by_key: dict[tuple, list[dict]] = defaultdict(list)
        for e in self.events["query"]:
            by_key[e.get("pid"), e["text"], tuple(e.get("params") or ())].append(e)
        for (_, text, _), events in by_key.items():
            events.sort(key=lambda e: (e["at"], -e["dur"]))
            for outer, inner in zip(events, events[1:]):
                inside = inner["at"] + inner["dur"] <= outer["at"] + outer["dur"]
                if inside and outer.get("trace") == inner.get("trace"):
                    yield text[:80]

    def transactions(self) -> dict[tuple, list[dict]]:
        out: dict[tuple, list[dict]] = defaultdict(list)
        for e in self.events["txn"]:
            out[e.get("pid"), e["txn"]].append(e)
        return out

    def unbalanced(self) -> Iterator[str]:
        """Transactions without begin, or without exactly one commit or rollback, but for those that the last second
        found open."""
        last = max((e["at"] for events in self.events.values() for e in events), default=0)
        for (_, txn), events in self.transactions().items():
            ops = sorted(e["op"] for e in events)
            still_open = ops == ["begin"] and events[0]["at"] > last - 1_000_000_000
            if ops not in (["begin", "commit"], ["begin", "rollback"]) and not still_open:
                yield f"{txn}: {ops}"

    def principals(self, *methods: str) -> int:
        """How many identities asked, anonymous ones not counted."""
        return len({e["principal"] for e in self.events["request"] if not methods or e["method"] in methods} - {"-"})
