"""Puts boundaries into a copy of the example and compares what was forecast with what was measured."""

from __future__ import annotations

import ast
import json
import re
import statistics
import subprocess
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from kit import Failure


def put_there(copy: Path) -> None:
    """Gives the example's routers the functions of boundaries.py, and lets them follow the engine's commits."""
    tree = ast.parse((copy / "boundaries.py").read_text())
    names = [
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("cached_")
    ]
    if not names:
        raise Failure("boundaries.py holds no function named cached_…")
    around = "".join(f"boundaries.{name}(" for name in names) + ")" * len(names)
    for module in sorted((copy / "conduit" / "routes").glob("*.py")):
        text = module.read_text()
        changed = text.replace(
            "router = APIRouter(", f"import boundaries\n\nrouter = APIRouter(route_class={around}, ", 1
        )
        if changed != text:
            module.write_text(changed)
    app = copy / "conduit" / "app.py"
    text = app.read_text()
    engine = "engine = make_engine(settings.database_url)\n"
    if engine not in text:
        raise Failure(f"{app} makes no engine where one was expected")
    app.write_text(
        text.replace(
            engine, f"{engine}        import boundaries\n\n        boundaries.follow_commits(engine.sync_engine)\n", 1
        )
    )


def events_of(demarc: Path, capture: Path) -> list[dict]:
    answer = subprocess.run([demarc, "export", capture], capture_output=True, text=True)
    if answer.returncode != 0:
        raise Failure(f"demarc export {capture}: {answer.stderr}")
    return [json.loads(line) for line in answer.stdout.splitlines()]


def late(before: list[dict], after: list[dict]) -> float:
    """By how many ms at most a request was asked later after than before, counted from the first one of each."""
    was, now = (sorted(filter(_asked, events), key=_at) for events in (before, after))
    if [(e["method"], e["target"]) for e in was] != [(e["method"], e["target"]) for e in now]:
        raise Failure("not the same was asked before and after")
    return max(((y["at"] - now[0]["at"]) - (x["at"] - was[0]["at"])) / 1e6 for x, y in zip(was, now))


def _at(event: dict) -> int:
    return event.get("at", 0)


def _asked(event: dict) -> bool:
    """Whether it is a request of the traffic: others only ask whether the service is there."""
    return event["type"] == "request" and event.get("kind") != "job" and not _ready(event)


def _ready(event: dict) -> bool:
    return event["type"] == "request" and event.get("vary", {}).get("accept-language") is None


def compare(said: dict, before: list[dict], after: list[dict], summary: dict) -> dict:
    """Forecast and measurement, boundary by boundary and of all."""
    was, now = _routes(before), _routes(after)
    rows = []
    for b in said["boundaries"]:
        if b["verdict"] != "cache":
            continue
        name, figures = b["name"], b["forecast"]
        route, then = now.get(name, _Route()), was[name]
        pattern = re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(name.removeprefix("GET "))) + "$")
        rows.append(
            {
                "name": name,
                "level": b["level"],
                "requests": route.requests,
                "requests_before": then.requests,
                "hits": route.hits,
                "hits_forecast": figures["hits"],
                "invalidation": b["invalidation"],
                "hit_ratio": route.hits / max(route.requests, 1),
                "hit_ratio_forecast": figures["hits"] / figures["requests"],
                "saved_queries": then.queries - route.queries,
                "saved_queries_forecast": figures["saved_queries"],
                "stale": sum(bool(pattern.match(urlsplit(target).path)) for target in summary["stale"]),
                "stale_low": figures["stale_serves_low"],
                "stale_high": figures["stale_serves_high"],
                "p50_before_ms": statistics.median(then.ms),
                "p50_after_ms": statistics.median(route.ms or [0]),
            }
        )
    queries = [sum(route.queries for route in routes.values()) for routes in (was, now)]
    times = [[ms for route in routes.values() for ms in route.ms] for routes in (was, now)]
    return {
        "schema": "demarc.loop/1",
        "boundaries": rows,
        "left": {b["name"]: b["reason"] for b in said["boundaries"] if b["verdict"] != "cache"},
        "keys": {b["name"]: b["key"] for b in said["boundaries"]},
        "all": {
            "requests": summary["requests"],
            "unexpected": summary["unexpected"],
            "hits": summary["hits"],
            "stale": len(summary["stale"]),
            "late_ms": late(before, after),
            "queries_before": queries[0],
            "queries_after": queries[1],
            "saved_queries": queries[0] - queries[1],
            "saved_queries_forecast": said["set"]["saved_queries"],
            "p50_before_ms": statistics.median(times[0]),
            "p50_after_ms": statistics.median(times[1]),
        },
    }


class _Route:
    """What was seen of a route."""

    def __init__(self) -> None:
        self.requests = self.hits = self.queries = 0
        self.ms: list[float] = []


def _routes(events: list[dict]) -> dict[str, _Route]:
    queries = Counter(e["trace"] for e in events if e["type"] == "query" and e.get("trace"))
    routes: dict[str, _Route] = {}
    for e in events:
        if e["type"] != "request" or e.get("kind") == "job":
            continue
        route = routes.setdefault(f"{e['method']} {e.get('route', '')}", _Route())
        route.requests += 1
        route.hits += e.get("headers", {}).get("x-cache") == "hit"
        route.queries += queries[e["trace"]]
        route.ms.append(e.get("dur", 0) / 1e6)
    return routes
