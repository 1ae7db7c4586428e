"""Measures the encoders that decision 2 weighs: python docs/decisions/0002-marshal.py"""

import json
import marshal
import pickle
import struct
import time

BATCH = 500
event = (2, 1790000000000000000, 51000, 12345, 678, None, 678, 3, 17, b"\x01" * 16, None, 1, None, None, 9, None, None, None, 21)
plain = [v.hex() if isinstance(v, bytes) else v for v in event]
layout = struct.Struct("<BqqQQQIIH16sqQI")


def by_struct():
    """Our own layout: one call an event, as a hot path would make it."""
    return b"".join(
        [layout.pack(2, e[1], e[2], e[3], e[4], e[6], e[7], e[8], 16, e[9], e[11], e[14], e[18]) for e in [event] * BATCH]
    )


def measured(encode):
    """(microseconds, bytes) an event, the best of many batches."""
    best = min(_once(encode) for _ in range(200))
    return best / BATCH * 1e6, len(encode()) / BATCH


def _once(encode):
    start = time.perf_counter()
    encode()
    return time.perf_counter() - start


for name, encode in (
    ("marshal, version 2", lambda: marshal.dumps([event] * BATCH, 2)),
    ("pickle, protocol 4", lambda: pickle.dumps([tuple(list(event)) for _ in range(BATCH)], 4)),
    ("struct, own layout", by_struct),
    ("json", lambda: json.dumps([plain] * BATCH).encode()),
):
    microseconds, size = measured(encode)
    print("| %s | %.2f | %.0f |" % (name, microseconds, size))  # noqa: T201, UP031
