#!/usr/bin/env python3
"""What recording costs a request in time: one process under demarc, in which recording is switched on and off by turns.

    python3 bench/cost/switch.py [--rounds 24] [--requests 300] [--json] [WORKLOAD...]

Both sides are the same process with the same memory, and each round of one stands beside a round of the other, so that
neighbours on the machine disturb both alike. Printed is the CPU time per request of the whole process, the sender's
thread included: the least of all rounds of each side and their difference, the median of the differences of
neighbouring rounds, and how often Python's garbage collector ran. Off is not bare: the hooks stand and ask whether to
record (run.py and instructions.py have the bare service). Needs bin/demarc (make build); Redis is started from
redis-server.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from run import HERE, WORKLOADS, Servers, bench_environment, discover, ensure, find_binaries, main_of, observed


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", default=[name for name, _ in WORKLOADS[:-1]])
    args = parser.parse_args()
    base = main_of(discover()[0])
    python = str(ensure(bench_environment(base)))
    with tempfile.TemporaryDirectory(prefix="demarc-bench-") as folder, Servers(find_binaries()) as servers:
        environments, collector = observed(Path(folder), servers, python)
        child = subprocess.Popen([python, str(HERE / "workload.py")], env=environments["demarc"], cwd=folder, text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1)
        try:
            if child.stdout.readline().strip() != "ready":
                raise SystemExit("the service did not start")
            rows = [row(child, name, args) for name in args.workloads]
        finally:
            child.stdin.close()
            child.wait()
            collector.terminate()
            collector.communicate()
    if args.json:
        print(json.dumps({"schema": "demarc.bench.switch/1", "python": base.version, "rows": rows}))
    return 0


def row(child, workload, args):
    """Both sides of one workload."""
    seen, collections = {"on": [], "off": []}, {"on": 0, "off": 0}
    for turn in range(args.rounds + 2):
        for side in ("on", "off") if turn % 2 else ("off", "on"):
            child.stdin.write(f"{workload} {args.requests} {side}\n")
            spent, ran = child.stdout.readline().split()
            if turn >= 2:  # the first two warm up
                seen[side].append(float(spent))
                collections[side] += int(ran)
    least = {side: min(values) for side, values in seen.items()}
    found = {"workload": workload, **least, "adds": least["on"] - least["off"],
             "medians": {side: statistics.median(values) for side, values in seen.items()},
             "median_adds": statistics.median(a - b for a, b in zip(seen["on"], seen["off"])),
             "gc_per_1000": {side: 1000 * n / args.rounds / args.requests for side, n in collections.items()}}
    if not args.json:
        print(f"{workload:10} off {least['off']:7.1f} on {least['on']:7.1f} adds {found['adds']:6.1f} µs; medians off "
              f"{found['medians']['off']:.1f}, adds {found['median_adds']:.1f}; collections of garbage a 1,000 off "
              f"{found['gc_per_1000']['off']:.1f}, on {found['gc_per_1000']['on']:.1f}", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
