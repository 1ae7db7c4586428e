"""Replays an oracleGeneral trace through libCacheSim's caches (PyPI: libcachesim, a C core), processor time each.

    python bench/sim/peer.py /tmp/zipf.oracleGeneral 15012

Compare with `go run ./bench/sim -policy lru -size 15012 FILE`: both read the trace while replaying it.
"""

import sys
import time

import libcachesim

for name, make in (("lru", libcachesim.LRU), ("sieve", libcachesim.Sieve), ("s3fifo", libcachesim.S3FIFO)):
    params = libcachesim.ReaderInitParam(ignore_obj_size=True)
    reader = libcachesim.TraceReader(sys.argv[1], libcachesim.TraceType.ORACLE_GENERAL_TRACE, params)
    cache = make(cache_size=int(sys.argv[2]))
    start = time.process_time()
    miss_ratio = cache.process_trace(reader)[0]
    used = time.process_time() - start
    print(f"{name}: miss ratio {miss_ratio:.6f}, {used:.2f} s of processor time")
