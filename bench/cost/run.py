#!/usr/bin/env python3
"""What observation costs a request: bare, under demarc, and under OpenTelemetry, in one run.

    python3 bench/cost/run.py [--rounds 15] [--requests 400] [--json] [WORKLOAD …]

Three processes of the same service take turns, round by round, so that a machine that gets slower gets slower for all
three. Both observers send to the same `demarc collect` (recorder's socket; OTLP over gRPC). Printed is the CPU time per
request of the whole process, every thread included: the median round of each, and the median of what each observer
adds to the bare round of the same turn, for the machine may have another speed in the next; --json has the least
disturbed rounds, too. The collector is a process of its own: what it took meanwhile stands apart.
Needs bin/demarc (make build); Redis is started from redis-server.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from kit import environment  # noqa: E402
from kit.pythons import discover, main_of  # noqa: E402
from kit.servers import Servers, find_binaries  # noqa: E402
from kit.venvs import bench_environment, ensure  # noqa: E402

HERE = Path(__file__).resolve().parent
CONDUIT = ROOT / "examples" / "conduit"
# Workload, requests of a round in parts of --requests, database and cache events that one request makes.
WORKLOADS = (("empty", 1.0), ("one", 1.0), ("five", 0.5), ("columns", 0.5), ("local", 1.0), ("fill", 1.0),
             ("redis", 1.0), ("set", 1.0), ("decorated", 0.5), ("articles", 0.1))
MODES = ("bare", "demarc", "opentelemetry")


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--python", help="interpreter with what bench/cost needs (default: prepared under .cache)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="of " + ", ".join(n for n, _ in WORKLOADS))
    args = parser.parse_args()
    if unknown := set(args.workloads) - {name for name, _ in WORKLOADS}:
        parser.error(f"no workload {', '.join(sorted(unknown))}")
    base = main_of(discover()[0])
    python = args.python or str(ensure(bench_environment(base)))
    with tempfile.TemporaryDirectory(prefix="demarc-bench-") as folder, Servers(find_binaries()) as servers:
        rows = measure(Path(folder), servers, python, args)
    if args.json:
        print(json.dumps({"schema": "demarc.bench.cost/1", "python": base.version, "rows": rows}))
        return 0
    print(f"CPU per request in µs, Python {base.version}, medians of {args.rounds} rounds in turn")
    print(f"{'workload':10} {'bare':>8} {'demarc':>8} {'OTel':>8} {'+demarc':>9} {'+OTel':>9}  {'ratio':>6}")
    for r in rows:
        print(f"{r['workload']:10} {r['bare']:8.1f} {r['demarc']:8.1f} {r['opentelemetry']:8.1f} "
              f"{r['demarc_adds']:9.1f} {r['opentelemetry_adds']:9.1f}  {r['ratio']:6.3f}   collector "
              f"{r['collector']['demarc']:.1f} and {r['collector']['opentelemetry']:.1f}")
    by = {r["workload"]: r for r in rows}
    if not {"empty", "one", "five", "redis"} <= by.keys():
        return 0
    print(f"demarc adds {by['empty']['demarc_adds']:.1f} µs a request, "
          f"{(by['five']['demarc_adds'] - by['one']['demarc_adds']) / 4:.1f} µs a query, "
          f"{by['redis']['demarc_adds'] - by['empty']['demarc_adds']:.1f} µs a Redis get; "
          f"OpenTelemetry {by['empty']['opentelemetry_adds']:.1f}, "
          f"{(by['five']['opentelemetry_adds'] - by['one']['opentelemetry_adds']) / 4:.1f}, "
          f"{by['redis']['opentelemetry_adds'] - by['empty']['opentelemetry_adds']:.1f}")
    return 0


def measure(folder, servers, python, args):
    """Starts the collector and the three services, lets them take turns; one row a workload."""
    environments, collector = observed(folder, servers, python)
    children = {}
    try:
        for mode in MODES:
            launch = [str(Path(python).parent / "opentelemetry-instrument")] if mode == "opentelemetry" else []
            children[mode] = subprocess.Popen(
                [*launch, python, str(HERE / "workload.py")], env=environments[mode], cwd=folder,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        for mode in MODES:
            if children[mode].stdout.readline().strip() != "ready":
                raise SystemExit(f"the {mode} service did not start")
        return [row(children, collector.pid, name, max(5, int(part * args.requests)), args.rounds)
                for name, part in WORKLOADS if not args.workloads or name in args.workloads]
    finally:
        for child in children.values():
            child.stdin.close()
            child.wait()
        collector.terminate()
        collector.wait()
        print(collector.stderr.read().strip(), file=sys.stderr)


def observed(folder, servers, python):
    """(environment of each mode, the collector that two of them report to, already listening)."""
    socket_path, otlp = folder / "recorder", f"127.0.0.1:{free_port()}"
    token = folder / "token"
    token.write_text("bench-only-token-0123456789abcdef")
    token.chmod(0o600)
    database = folder / "conduit.db"
    base = {**environment(), "BENCH_REDIS": servers.databases("bench")["DEMARC_TEST_REDIS"], "CACHE_URL": "off",
            "DATABASE_URL": f"sqlite+aiosqlite:///{database}", "PYTHONPATH": str(CONDUIT)}
    subprocess.run([python, "-m", "conduit.seed"], env=base, check=True, capture_output=True)
    key = folder / "key"
    key.write_text("00" * 32)
    collector = subprocess.Popen(
        [str(ROOT / "bin" / "demarc"), "collect", "--listen-recorder", f"unix:{socket_path}", "--otlp-grpc", otlp,
         "--token-file", str(token), "--dir", str(folder / "captures"), "--no-report"],
        stderr=subprocess.PIPE, text=True)
    environments = {
        "bare": base,
        "demarc": {**base, "PYTHONPATH": f"{ROOT / 'python' / 'boot'}:{CONDUIT}",
                   "DEMARC_ADDRESS": f"unix:{socket_path}", "DEMARC_TOKEN_FILE": str(token),
                   "DEMARC_KEY_FILE": str(key), "DEMARC_MAX_RATE": "0"},
        "opentelemetry": {**base, "BENCH_OTEL": "1", "OTEL_SERVICE_NAME": "bench", "OTEL_METRICS_EXPORTER": "none",
                          "OTEL_LOGS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "otlp",
                          "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{otlp}", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                          "OTEL_EXPORTER_OTLP_INSECURE": "true",
                          "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{token.read_text()}"},
    }
    wait_for(socket_path, collector)
    return environments, collector


def row(children, collector, workload, count, rounds):
    """The median round of each mode for one workload, what observers add, and what the collector took meanwhile."""
    seen = {mode: [] for mode in MODES}
    collected = dict.fromkeys(MODES, 0.0)
    for turn in range(rounds + 2):
        for mode in MODES:
            child = children[mode]
            child.stdin.write(f"{workload} {count}\n")
            started = cpu_of(collector)
            value = float(child.stdout.readline().split()[0])
            if turn >= 2:  # the first two warm up
                seen[mode].append(value)
                collected[mode] += (cpu_of(collector) - started) / count / rounds
    adds = {mode: statistics.median(a - b for a, b in zip(seen[mode], seen["bare"])) for mode in MODES[1:]}
    print(f"{workload}: done", file=sys.stderr)
    return {"workload": workload, **{m: statistics.median(v) for m, v in seen.items()},
            "least": {m: min(v) for m, v in seen.items()},
            "demarc_adds": adds["demarc"], "opentelemetry_adds": adds["opentelemetry"],
            "ratio": adds["demarc"] / adds["opentelemetry"], "collector": collected}


def cpu_of(pid):
    """CPU time of a process so far, all threads, in µs (Linux; 0 elsewhere)."""
    return sum(int(f.read_text().split()[0]) for f in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1000


def free_port():
    """A TCP port that is free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(path, process):
    """Waits until the collector listens."""
    end = time.monotonic() + 20
    while not os.path.exists(path):
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit("demarc collect did not start: " + process.stderr.read())
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
