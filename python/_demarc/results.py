"""The hashes of what statements read: of rows that are there at once, and of rows as they are fetched; and of the rows'
keys, where the statement reads one table and returns its column id.

Bounds: a result of more than RESULT_ROWS rows, RESULT_CELLS values or RESULT_SIZE bytes has no hash; what was read
lately, to tell when the same is read again, holds about READ_BYTES and is emptied when it would hold more.
"""

import datetime
import functools
import itertools
import marshal
import uuid

from _demarc.core import failed
from _demarc.hashing import hash_params, hash_stored

RESULT_ROWS = 500  # larger results have no hash
RESULT_CELLS = 5_000  # nor have those with more values
RESULT_SIZE = 256 << 10  # or that are longer, all together, in bytes
AT_ONCE = 25  # rows
READ_SIZE = 32 << 10  # bytes, as marshal writes them, of results that are kept, to tell when the same is read again
READ_BYTES = 4 << 20  # of all that are kept
READ_ROOM = 400  # bytes that one of them takes beside
READ_CELL = 50  # and each of its values
KEYS = 64  # rows of a result whose keys are told

TEXT, HASHES, PKS, RESULT = 8, 9, 12, 13  # where these stand in the event of a query

key_at = {}  # number of a statement -> the place of the key among what it returns

# (number of a statement, hashes of its parameters) -> (the rows that it read last or None, hash, size, their keys)
_read = {}
_read_size = 0  # bytes of all that _read holds, about
_FIXED = frozenset((str, int, float, bool, bytes, type(None), datetime.datetime, datetime.date, uuid.UUID))
_values = itertools.chain.from_iterable


def result_hash(rows, event):
    """The hash of a result, a list or deque of rows: of their values as marshal writes them, and where one is of a type
    that it does not know, as they show themselves. None for a result beyond the bounds, or with an object in it that
    shows its address. Not more than AT_ONCE rows are copied beyond the bounds.

    event is that of the statement, into which the hashes of the rows' keys are put. Many statements read again what
    they read before, and comparing rows takes a fraction of the time of hashing them, so what a statement read twice in
    a row is kept, if the values cannot change. Rows that are equal have one hash then, although a 1 may have become a
    1.0.
    """
    last = _read.get((event[TEXT], event[HASHES]))
    if last is not None and last[0] == rows:
        event[PKS] = last[3]
        return last[1]
    event[PKS] = None
    count = len(rows)
    if count > RESULT_ROWS:
        return None
    given = rows
    if type(rows) is not list:
        rows = list(rows)
    at = key_at.get(event[TEXT])
    named = False
    if count:
        kind = type(rows[0])
        if kind is not tuple:
            if issubclass(kind, dict):
                rows = [tuple(row.items()) for row in rows]
                named = True
            elif hasattr(kind, "__iter__") and not issubclass(kind, (str, bytes)):
                rows = [tuple(row) for row in rows]  # asyncpg's Record, sqlite3's Row, named tuples
            else:
                rows = [(v,) for v in rows]
        if rows is not given and last is not None and last[0] == rows:
            event[PKS] = last[3]
            return last[1]
        if count * len(rows[0]) > RESULT_CELLS:
            return None
    shown = _shown(rows) if count <= AT_ONCE else _shown_by_parts(rows)
    if shown is None or len(shown) > RESULT_SIZE:
        return None
    digest = hash_stored(shown)
    if at is not None and count <= KEYS:
        event[PKS] = _keys(rows, at, named)
    if len(shown) <= READ_SIZE and type(event[TEXT]) is int:
        _keep(rows, digest, event, last, len(shown))
    return digest


def _keys(rows, at, named):
    try:
        return hash_params([row[at][1] for row in rows] if named else [row[at] for row in rows]) or None
    except IndexError:
        return None


def _shown_by_parts(rows):
    parts, size = [], 0
    for i in range(0, len(rows), AT_ONCE):
        shown = _shown(rows[i : i + AT_ONCE])
        if shown is None or size > RESULT_SIZE:
            return None
        size += len(shown)
        parts.append(shown)
    return b"".join(parts)


def _keep(rows, digest, event, last, size):
    global _read_size
    params = event[HASHES]
    room = READ_ROOM if params is None else READ_ROOM + len(params)
    kept = None
    if last is None:
        _read_size += room
    else:
        if last[1] == digest and _FIXED.issuperset(map(type, _values(rows))):
            kept = rows[:]
            room += size + READ_CELL * len(rows) * (len(rows[0]) if rows else 0)
        _read_size += room - last[2]
    if _read_size > READ_BYTES:
        _read.clear()
        _read_size = room
    _read[event[TEXT], params] = kept, digest, room, event[PKS]


def _shown(rows):
    try:
        return marshal.dumps(rows, 2)
    except ValueError:
        shown = repr(rows)
        return None if " at 0x" in shown else shown.encode("utf-8", "surrogatepass")


# ---- rows as they are fetched ---------------------------------------------------------------------------------------
#
# A cursor hands out its rows after the event of its statement was made. So the hash is written into the event when the
# last row was handed out; an event that was sent before then does without. One row that was fetched alone counts as the
# whole result unless another one is asked for. What is known of a statement's rows meanwhile is one of these:
#
#     the event               that `query` gave: nothing was fetched yet
#     (the event, [row, …])   what was fetched so far, at most RESULT_ROWS rows
#     None                    there is nothing more to come, or too much
#
# Each function below takes it, as it is after the last, and gives the next.


def one(fetched, row):
    """One row was fetched, None for the end."""
    if type(fetched) is list:
        fetched[RESULT] = result_hash([] if row is None else [row], fetched)
        return None if row is None else (fetched, [row])
    event, rows = fetched
    if row is not None:
        rows.append(row)
        event[RESULT] = event[PKS] = None
        return fetched if len(rows) <= RESULT_ROWS else None
    if len(rows) > 1:
        event[RESULT] = result_hash(rows, event)
    return None


def rest(fetched, rows):
    """All rows that were left were fetched."""
    if type(fetched) is list:
        fetched[RESULT] = result_hash(rows, fetched)
        return
    event, before = fetched
    if rows or len(before) > 1:  # else its hash is there
        event[RESULT] = event[PKS] = None
        if len(before) + len(rows) <= RESULT_ROWS:
            event[RESULT] = result_hash([*before, *rows], event)


def some(fetched, rows, wanted):
    """Some rows were fetched, where `wanted` were asked for: fewer than that are the last."""
    if len(rows) < wanted or not rows:
        return rest(fetched, rows)
    event, before = (fetched, ()) if type(fetched) is list else fetched
    event[RESULT] = event[PKS] = None
    return (event, [*before, *rows]) if len(before) + len(rows) <= RESULT_ROWS else None


def fetching(base, hook):
    """(fetchone, fetchmany, fetchall, __iter__) for a subclass of a driver's cursor: those of the base, which also tell
    the rows to what _demarc_rows knows, if it does. What next() takes from a cursor is not seen."""
    fetch_one, fetch_many, fetch_all, ahead = base.fetchone, base.fetchmany, base.fetchall, base.__next__

    @functools.wraps(fetch_one)
    def fetchone(self):
        row = fetch_one(self)
        fetched = self._demarc_rows
        if fetched is not None:
            try:
                self._demarc_rows = one(fetched, row)
            except Exception:
                failed(hook)
        return row

    @functools.wraps(fetch_many)
    def fetchmany(self, *args, **kwargs):
        rows = fetch_many(self, *args, **kwargs)
        fetched = self._demarc_rows
        if fetched is not None:
            try:
                self._demarc_rows = some(fetched, rows, args[0] if args else kwargs.get("size", self.arraysize))
            except Exception:
                failed(hook)
        return rows

    @functools.wraps(fetch_all)
    def fetchall(self):
        rows = fetch_all(self)
        fetched = self._demarc_rows
        if fetched is not None:
            try:
                self._demarc_rows = rest(fetched, rows)
            except Exception:
                failed(hook)
        return rows

    def __iter__(self):
        return self if self._demarc_rows is None else each(self)

    def each(cursor):
        while cursor._demarc_rows is not None:
            try:
                row = ahead(cursor)
            except StopIteration:
                row = None
            try:
                cursor._demarc_rows = one(cursor._demarc_rows, row)
            except Exception:
                failed(hook)
                cursor._demarc_rows = None
            if row is None:
                return
            yield row
        yield from cursor  # more than are held: at the driver's own speed

    return fetchone, fetchmany, fetchall, __iter__
