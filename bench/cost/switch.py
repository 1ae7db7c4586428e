#!/usr/bin/env python3
"""What recording costs a request in time: one process under demarc, in which recording is switched on and off by turns.

    python3 bench/cost/switch.py [--slices 12] [--seconds 0.3] [--steady 2] [--json] [WORKLOAD...]

Recording is switched every BLOCK requests, so that both sides find the machine at the same speed, and what is on adds
is taken from each block and its neighbour: CPU time of the thread that serves. Beside each two stands a block of bare
requests, which ask for nothing and are not recorded: how long they take is the machine's speed at that moment, and each
time is shown once more as it is where a bare request takes REFERENCE microseconds, the scale on which the bounds were
written: at most 25 a request, 10 an event. Of the slices, the half counts in which the bare request took least: where
neighbours take the processor's caches, what is on adds grows by more than the bare request does. The bounds leave out
the hashing of values: every other slice is measured without it, and without that of what statements read. What a
request takes without its events is measured between them, while the machine has the same speed. The sender's thread is
measured beside a service that answers without a pause (--steady seconds).
Needs bin/demarc (make build); Redis is started from redis-server.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from instructions import ARTICLES, REFERENCE, WORKLOADS
from run import HERE, Servers, bench_environment, discover, ensure, find_binaries, main_of, observed

EVENTS = {**WORKLOADS, **ARTICLES}
BLOCK = 20  # requests: a few milliseconds
WARM = 300  # requests before the first slice
LONG = 15  # times as long a request of ARTICLES' workload is, at least


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=0.3, help="of one slice")
    parser.add_argument("--steady", type=float, default=2.0, help="seconds in which the sender is measured")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", default=list(EVENTS))
    args = parser.parse_args()
    base = main_of(discover()[0])
    python = str(ensure(bench_environment(base)))
    names = ["empty", *(w for w in args.workloads if w != "empty")]  # what the others add is beside its request
    with tempfile.TemporaryDirectory(prefix="demarc-bench-") as folder, Servers(find_binaries()) as servers:
        environments, collector = observed(Path(folder), servers, python)
        service, rows = Service(python, environments["demarc"], folder), []
        try:
            for name in names:
                rows.append(row(service, name, args))
                finish(rows[-1], rows[0])
                if not args.json:
                    show(rows[-1])
        finally:
            service.end()
            collector.terminate()
            collector.communicate()
    if args.json:
        print(json.dumps({"schema": "demarc.bench.switch/4", "python": base.version, "reference_us": REFERENCE,
                          "rows": rows}))
    return 0


class Service:
    """One process of workload.py."""

    def __init__(self, python, env, folder):
        self.child = subprocess.Popen([python, str(HERE / "workload.py")], env=env, cwd=folder, text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1)
        self.hear()

    def ask(self, *words):
        """Sends one line; the numbers of the answer."""
        self.child.stdin.write(" ".join(map(str, words)) + "\n")
        return [float(word) for word in self.hear().split()]

    def hear(self):
        """One line of the answer."""
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit("the service ended")
        return line

    def end(self):
        """Ends the process."""
        self.child.stdin.close()
        self.child.wait()


def row(service, workload, args):
    """One workload, in slices."""
    long = LONG if workload in ARTICLES else 1
    at_once = 1 if workload in ARTICLES else BLOCK
    service.ask(workload, WARM // long)
    slices, own = {"pairs": [], "unhashed": []}, []
    for _ in range(args.slices):
        for how, found in slices.items():
            found.append(service.ask(workload, at_once, how, args.seconds * long))
            if workload != "empty":
                own.append(service.ask("empty", BLOCK, "pairs", args.seconds))
    bare, off, adds, off_parts, adds_parts, gc_off, gc_on = quieter(slices["pairs"])
    unhashed_parts = list(quieter(slices["unhashed"]))[4]
    own_bare, _, own_adds, _, own_parts, *_ = quieter(own or slices["pairs"])
    sender, serving, rate = service.ask(workload, at_once, "steady", args.steady)
    # The two threads ran at the same time, so at the same speed.
    sender_parts = sender / serving * (off_parts + adds_parts)
    return {"workload": workload, "events": EVENTS[workload], "bare_us": bare, "off_us": off, "adds_us": adds,
            "sender_us": sender, "requests_per_s": rate, "service_scaled": adds_parts * REFERENCE,
            "unhashed_scaled": unhashed_parts * REFERENCE, "sender_scaled": sender_parts * REFERENCE,
            "own": {"bare_us": own_bare, "adds_us": own_adds, "scaled": own_parts * REFERENCE},
            "gc_per_1000": {"off": gc_off, "on": gc_on}}


def quieter(slices):
    """The medians of the half of the slices in which the bare request took least."""
    return map(statistics.median, zip(*sorted(slices)[: (len(slices) + 1) // 2]))


def finish(found, empty):
    """Adds what one event takes beside its request."""
    for part in ("service", "unhashed", "sender"):
        own = empty["sender_scaled"] if part == "sender" else found["own"]["scaled"]
        took = found[f"{part}_scaled"]
        found[f"{part}_an_event"] = (took - own) / found["events"] if found["events"] else took
    found["an_event_scaled"] = found["service_an_event"] + found["sender_an_event"]
    found["an_event_unhashed"] = found["unhashed_an_event"] + found["sender_an_event"]
    if found["workload"] in ARTICLES:
        own = found["own"]
        added = found["adds_us"] - own["adds_us"] + found["sender_us"] - empty["sender_us"]
        found["an_event_scaled_warm"] = added / own["bare_us"] * REFERENCE / found["events"]


def show(r):
    """Prints a row."""
    one = "an event" if r["events"] else "a request"
    warm = f", beside warm bare requests {r['an_event_scaled_warm']:.1f}" if "an_event_scaled_warm" in r else ""
    print(f"{r['workload']:10} bare {r['bare_us']:6.1f}  off {r['off_us']:6.1f}  on adds {r['adds_us']:5.1f}, sender "
          f"{r['sender_us']:4.1f} µs (at {r['requests_per_s']:.0f} requests/s)   where a bare request takes "
          f"{REFERENCE:.0f}: {r['an_event_scaled']:5.1f} µs {one} ({r['service_an_event']:.1f} and "
          f"{r['sender_an_event']:.1f}), without hashes of values {r['an_event_unhashed']:.1f}{warm}   collections of "
          f"garbage a 1,000 off {r['gc_per_1000']['off']:.1f}, on {r['gc_per_1000']['on']:.1f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
