"""Prints, as a table in Markdown, how demarc simulate grows with the requests of a trace: processor time, peak memory.

    python bench/sim/growth.py [--demarc bin/demarc] [--folder FOLDER] [--most 100000000]

The traces (go run ./bench/sim -write, 24 bytes a request) are written into the folder where they are not there, 2.7 GB
in all with a hundred million requests; a folder of its own is removed in the end. Times are user and system, of all
processors.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = (["--policy", "lru"], ["--policy", "lru,sieve,s3fifo,opt", "--size", "15012"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demarc", type=Path, default=Path("bin/demarc"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--most", type=int, default=100_000_000)
    given = parser.parse_args()
    if given.folder is not None:
        given.folder.mkdir(parents=True, exist_ok=True)
        table(given, given.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        table(given, Path(folder))


def table(given, folder):
    print("| requests | keys | " + " | ".join(f"`{' '.join(run)}`" for run in RUNS) + " |")
    print("|---:|---:|" + "---|" * len(RUNS), flush=True)
    for requests in (1_000_000, 10_000_000, 100_000_000):
        if requests > given.most:
            return
        trace = folder / f"zipf-{requests}.oracleGeneral"
        if not trace.exists():
            half = trace.with_name("half-" + trace.name)
            write = ["go", "run", "./bench/sim", "-write", half, "-n", str(requests)]
            subprocess.run(write, check=True, cwd=Path(__file__).parents[2])
            half.rename(trace)
        cells = []
        for run in RUNS:
            result, seconds, megabytes = measured([given.demarc, "simulate", trace, "--json", *run])
            cells.append(f"{seconds:.2f} s, {megabytes:.0f} MB" + (", sampled" if "sample" in result else ""))
        print(f"| {requests:,} | {result['trace']['keys']:,} | " + " | ".join(cells) + " |", flush=True)


def measured(argv):
    """What a command prints, its processor time in seconds, and its peak memory in MB."""
    with subprocess.Popen(list(map(str, argv)), stdout=subprocess.PIPE) as process:
        out = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"exit code {process.returncode}: {' '.join(map(str, argv))}")
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return json.loads(out), used.ru_utime + used.ru_stime, peak / 1e6


if __name__ == "__main__":
    main()
