#!/usr/bin/env python3
"""What observation costs a request in machine instructions: a figure that neighbours on the machine cannot change.

    python3 bench/cost/instructions.py [--requests 400] [--articles] [--opentelemetry] [--json]

The same service as in run.py, bare and observed, runs under valgrind, which counts every instruction of the process
once it is warm: those of the thread that serves, and those of all others, which are the sender's. Of the observed
process recording is counted on and off, so that what it adds does not depend on where Python's look-ups happen to lie
in the memory of two processes; what the hooks take on their way past a recording that is off is the difference to the
bare process, which does. Python's garbage collector does not run meanwhile. Beside the counts stands what they are
worth in time where a bare request takes REFERENCE microseconds: the share that is added, times REFERENCE. --articles
counts the example's article list, too, a few requests of it; --opentelemetry counts its auto-instrumentation, which
takes valgrind many minutes to load. Needs bin/demarc (make build) and valgrind.
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
# And the events that one request makes beside its own.
WORKLOADS = {"empty": 0, "one": 1, "five": 5, "columns": 1, "local": 1, "fill": 3, "redis": 1, "set": 1, "decorated": 1}
ARTICLES = {"articles": 12}  # a request of 25 million instructions, of which a twentieth as many are counted


def main() -> int:
    """Counts and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--articles", action="store_true")
    parser.add_argument("--opentelemetry", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    base = main_of(discover()[0])
    python = str(ensure(bench_environment(base)))
    workloads = {**WORKLOADS, **(ARTICLES if args.articles else {})}
    modes = ["bare", "demarc", *(["opentelemetry"] if args.opentelemetry else [])]
    with tempfile.TemporaryDirectory(prefix="demarc-bench-") as folder, Servers(find_binaries()) as servers:
        environments, collector = observed(Path(folder), servers, python)
        try:
            counts = {}
            for mode in modes:
                counts |= count(python, mode, environments[mode], folder, workloads, args.requests)
        finally:
            collector.terminate()
            collector.communicate()
    rows = [{"workload": w, "events": n, **{m: c[w][0] for m, c in counts.items()},
             **{f"{m}_others": c[w][1] for m, c in counts.items()}} for w, n in workloads.items()]
    show(rows, modes, base.version, args)
    return 0


def count(python, mode, env, folder, workloads, every):
    """By mode ("off" beside "demarc"), instructions a request of each workload, of the thread that serves and of all
    others together, from one process that is counted after the warm-up."""
    out = Path(folder) / f"{mode}.counts"
    valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes",
                f"--callgrind-out-file={out}", python]
    if mode == "opentelemetry":
        valgrind.insert(1, "--trace-children=yes")
        valgrind += [str(Path(python).parent / "opentelemetry-instrument"), python]
    with open(Path(folder) / f"{mode}.err", "w+") as errors:
        child = subprocess.Popen(
            [*valgrind, str(HERE / "workload.py")], env={**env, "PYTHONHASHSEED": "0"}, cwd=folder,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1)

        def hear():
            line = child.stdout.readline()
            if not line:
                child.wait()
                errors.seek(0)
                raise SystemExit(f"the {mode} service failed under valgrind:\n{errors.read()[-3000:]}")

        def answer(workload, n):
            child.stdin.write(f"{workload} {n}\n")
            hear()

        try:
            hear()
            for w in workloads:
                answer(w, WARM // (4 if w in ARTICLES else 1))
            tell(child.pid, "instrumentation", "on")
            sides = {mode: 1, "off": 0} if mode == "demarc" else {mode: 1}
            counts, number = {side: {} for side in sides}, 0
            for w in workloads:
                requests = max(5, every // 20) if w in ARTICLES else every
                for side, on in sides.items():
                    answer(w, f"5 quiet {on}")  # valgrind translates the code anew
                    tell(child.pid, "zero")
                    answer(w, f"{requests} quiet {on}")
                    tell(child.pid, "dump")
                    number += 1
                    own, *others = [int(re.search(r"(?m)^totals: (\d+)", file.read_text()).group(1)) / requests
                                    for file in sorted(out.parent.glob(f"{out.name}.{number}-*"))]
                    counts[side][w] = own, sum(others)
                    print(f"{side}: {w}: {own:,.0f} instructions a request, {sum(others):,.0f} of other threads",
                          file=sys.stderr, flush=True)
            return counts
        finally:
            child.stdin.close()
            child.wait()


def tell(pid, *command):
    """Gives valgrind an order."""
    done = subprocess.run(["vgdb", f"--pid={pid}", *command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"vgdb {' '.join(command)} failed: {done.stderr}")


def show(rows, modes, version, args):
    """Prints the counts and what they mean."""
    bare = rows[0]["bare"]
    for r in rows:
        for mode in modes[1:]:
            without = "off" if mode == "demarc" else "bare"
            r[f"{mode}_adds"] = r[mode] - r[without]
            r[f"{mode}_adds_us"] = r[f"{mode}_adds"] / bare * REFERENCE
            r[f"{mode}_others_us"] = (r[f"{mode}_others"] - r[f"{without}_others"]) / bare * REFERENCE
        r["off_adds_us"] = (r["off"] - r["bare"]) / bare * REFERENCE
    by = {r["workload"]: r for r in rows}
    events = {}
    for mode in modes[1:]:
        adds = f"{mode}_adds_us"
        own = by["empty"][adds]
        others = {w: r for w, r in by.items() if r["events"] and w not in ("one", "five")}
        events[mode] = {"request": own, "query": (by["five"][adds] - by["one"][adds]) / 4,
                        **{w: (r[adds] - own) / r["events"] for w, r in others.items()}}
    if args.json:
        print(json.dumps({"schema": "demarc.bench.instructions/3", "python": version, "reference_us": REFERENCE,
                          "rows": rows, "per_event_us": events}))
        return
    print(f"instructions per request, Python {version}, {args.requests} requests of each")
    for r in rows:
        print(f"{r['workload']:10} bare {r['bare']:,.0f}  observed, off {r['off']:,.0f} ({r['off_adds_us']:+.1f} µs)" +
              "".join(f"  {m} {r[m]:,.0f}, adds {r[m + '_adds']:,.0f}" for m in modes[1:]))
    for mode, e in events.items():
        print(f"{mode} adds to the thread that serves, where a bare request takes {REFERENCE:.0f} µs, µs a request or "
              "an event: " + ", ".join(f"{name} {us:.1f}" for name, us in e.items()))


if __name__ == "__main__":
    sys.exit(main())
