#!/usr/bin/env python3
"""What observation costs a request in machine instructions: a figure that neighbours on the machine cannot change.

    python3 bench/cost/instructions.py [--requests 400] [--opentelemetry] [--json]

The same service as in run.py, bare and observed, runs under valgrind, which counts every instruction of the process,
the sender's thread included. For each workload the process runs twice, with and without --requests more of it; the
difference is the requests' own. Beside the counts stands what they are worth in time where a bare request takes
REFERENCE microseconds: the share that is added, times REFERENCE. --opentelemetry counts its auto-instrumentation, too,
which takes valgrind many minutes to load. Needs bin/demarc (make build) and valgrind.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from run import HERE, Servers, bench_environment, discover, ensure, find_binaries, main_of, observed

REFERENCE = 56.0  # µs that a bare FastAPI request takes in-process on the machine for which the bounds were written
WARM = 150  # requests of each workload before counting, so that caches are full and Python has specialised its code
WORKLOADS = {"empty": 0, "one": 1, "five": 5, "redis": 1, "set": 1}  # and the events beside the request's own


def main() -> int:
    """Counts and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--opentelemetry", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    base = main_of(discover()[0])
    python = str(ensure(bench_environment(base)))
    modes = ["bare", "demarc", *(["opentelemetry"] if args.opentelemetry else [])]
    with tempfile.TemporaryDirectory(prefix="demarc-bench-") as folder, Servers(find_binaries()) as servers:
        environments, collector = observed(Path(folder), servers, python)
        try:
            counts = {mode: count(python, mode, environments[mode], folder, args.requests) for mode in modes}
        finally:
            collector.terminate()
            collector.communicate()
    rows = [{"workload": w, "events": n, **{m: counts[m][w] for m in modes}} for w, n in WORKLOADS.items()]
    show(rows, modes, base.version, args)
    return 0


def count(python, mode, env, folder, requests):
    """Instructions a request of each workload."""
    warm = [f"{w} {WARM}" for w in WORKLOADS]
    started = run(python, mode, env, folder, warm)
    return {w: (run(python, mode, env, folder, [*warm, f"{w} {requests}"]) - started) / requests for w in WORKLOADS}


def run(python, mode, env, folder, lines):
    """The instructions of one process that answers these rounds."""
    launch = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", python]
    if mode == "opentelemetry":
        launch.append(str(Path(python).parent / "opentelemetry-instrument"))
        launch.append(python)
        launch.insert(1, "--trace-children=yes")
    done = subprocess.run(
        [*launch, str(HERE / "workload.py")], env={**env, "PYTHONHASHSEED": "0"}, cwd=folder, text=True,
        input="".join(line + "\n" for line in lines), capture_output=True)
    found = re.findall(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if done.returncode != 0 or not found or len(done.stdout.split()) != len(lines) + 1:
        raise SystemExit(f"the {mode} service failed under valgrind:\n{done.stdout}{done.stderr[-3000:]}")
    print(f"{mode}: {lines[-1]}: {found[-1]} instructions", file=sys.stderr)
    return int(found[-1].replace(",", ""))


def show(rows, modes, version, args):
    """Prints the counts and what they mean."""
    bare = rows[0]["bare"]
    for r in rows:
        for mode in modes[1:]:
            r[f"{mode}_adds"] = r[mode] - r["bare"]
            r[f"{mode}_adds_us"] = r[f"{mode}_adds"] / bare * REFERENCE
    by = {r["workload"]: r for r in rows}
    events = {}
    for mode in modes[1:]:
        adds = f"{mode}_adds_us"
        events[mode] = {"request": by["empty"][adds], "query": (by["five"][adds] - by["one"][adds]) / 4,
                        "redis_get": by["redis"][adds] - by["empty"][adds],
                        "redis_set": by["set"][adds] - by["empty"][adds]}
    if args.json:
        print(json.dumps({"schema": "demarc.bench.instructions/1", "python": version, "reference_us": REFERENCE,
                          "rows": rows, "per_event_us": events}))
        return
    print(f"instructions per request, Python {version}, {args.requests} requests of each")
    for r in rows:
        print(f"{r['workload']:10} " + "  ".join(f"{m} {r[m]:,.0f}" for m in modes) + "".join(
            f"  +{m} {r[m + '_adds']:,.0f}" for m in modes[1:]))
    for mode, e in events.items():
        print(f"{mode} adds, where a bare request takes {REFERENCE:.0f} µs: {e['request']:.1f} µs a request, "
              f"{e['query']:.1f} µs a query, {e['redis_get']:.1f} µs a Redis get, {e['redis_set']:.1f} µs a Redis set")


if __name__ == "__main__":
    sys.exit(main())
