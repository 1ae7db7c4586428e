"""Prints batches of docs/wire.md in hex, one a line, as CPython writes them. Run by TestPython."""

import marshal
import sys

AT = 1_790_000_000_123_456_789
H = bytes.fromhex("0102030405060708")
Z = bytes(8)

BATCHES = [
    # every type, every field, texts by number and as they are
    (
        7,
        ["http", "GET", "/articles/{slug}", "SELECT 1", "shop.app:list:42", "cache-control", "no-store", "page"],
        [
            (
                1, AT, 12_000_000, 9, 5, 6, None, 0, 1, 2, "/articles/hello?page=2", 200, None, H,
                ("host", H, "accept-language", None), H, None, 512, 0, (5, 6, "age", "0"), "test_list", 900_000, False, True,
            ),
            (2, AT + 1, 70_000, 8, 5, 7, 6, "sqlite", 3, H + Z, ("a", 7), 3, H, H, 11, "primary", None, None, 4),
            (3, AT + 2, 1, 7, 5, 8, 6, "commit", "postgresql", "tx-1", 2**40, 2**63 + 5, "read committed"),
            (
                4, AT + 3, 1, 6, 5, 9, 6, "get", "shared", "redis", "page:2", (7, "2"), True, H, "canonical", "value", 100,
                60_000, 59_000, ("t1", "t2"), None, None, None, 2, None, None, AT - 5, 4,
            ),
            (5, AT + 4, 1, 5, 5, 10, 6, 4, H, ("slug", H), "-", H, 10, "ValueError"),
            (6, AT + 5, None, 4, 5, None, None, "enqueue", "id-1", "mail", "default"),
        ],
    ),
    # nothing but what must be there; types and elements from a later version; texts that UTF-8 has no form for
    (7, [], [(2, AT), (99, AT, "?", [(1, (2.5, [None, True]))]), (6, AT, None, 0, *[None] * 3, "\ud800x", *[None] * 9, {}.get(1))]),
    # another epoch begins a new table
    (8, ["start"], [(6, AT, -3, 2**33, "trace", "span", "parent", 0)]),
]

for batch in BATCHES:
    sys.stdout.write(marshal.dumps(batch, 2).hex() + "\n")
