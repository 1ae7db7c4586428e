"""Keyed hashes: the only form in which values leave the process.

BLAKE2b of 8 bytes under the project's key (RFC 7693 keyed mode) over a value's canonical text, so that a query's
parameter, a row's primary key and an argument that mean the same have the same hash.
"""

import dataclasses
import datetime
import decimal
import enum
import hashlib
import operator
import uuid

ZERO = bytes(8)
ONE = bytes(7) + b"\x01"
MAX_NODES = 20_000  # of one value; beyond, a value has no hash
MAX_DEPTH = 40
_CACHE = 20_000
_CACHED_LEN = 200  # characters; longer texts are hashed each time
_WORD = 1 << 63
PIECE = 2_047  # bytes
ALONE = 16 << 10

_base = hashlib.blake2b(digest_size=8, key=b"\0" * 32)
_cache = {}
_whole = {}  # whole numbers of 64 bits -> their hashes; never asked for a bool or a float, which are equal to some
_short = {}  # bytes up to _CACHED_LEN -> their hashes


def set_key(key):
    """Sets the project's key, before the first hash is taken."""
    global _base
    _base = hashlib.blake2b(digest_size=8, key=key)
    for cache in (_cache, _whole, _short):
        cache.clear()


def hash_bytes(b):
    """The keyed hash of bytes, never zero."""
    h = _base.copy()
    if len(b) <= PIECE:
        h.update(b)
    else:
        feed(h, b)
    d = h.digest()
    return d if d != ZERO else ONE


def feed(h, b):
    """Hashes bytes that are longer than PIECE, up to ALONE in pieces: of more than PIECE, hashlib lets go of the
    interpreter's lock, which costs more than hashing them and wakes who waits for it."""
    if len(b) > ALONE:
        h.update(b)
        return
    for i in range(0, len(b), PIECE):
        h.update(b[i : i + PIECE])


def hash_stored(b):
    """The keyed hash of bytes that are likely to come again, such as the value that a cache holds for a key."""
    d = _short.get(b)
    if d is None:
        d = hash_bytes(b)
        if len(b) <= _CACHED_LEN:
            if len(_short) >= _CACHE:
                _short.clear()
            _short[b] = d
    return d


def hash_text(s):
    """The keyed hash of a text."""
    d = _cache.get(s)
    if d is None:
        d = hash_bytes(s.encode("utf-8", "surrogatepass"))
        if len(s) <= _CACHED_LEN:
            if len(_cache) >= _CACHE:
                _cache.clear()
            _cache[s] = d
    return d


def canonical(v):
    """The canonical text of a scalar, or None for a value that has none: 42, true, a UUID in lower case, an ISO time
    (an aware one in UTC), a decimal without trailing zeros, the text itself."""
    t = type(v)
    if t is str:
        return v
    if t is int:
        return str(v)
    if v is None:
        return "\0null"
    if t is bool:
        return "true" if v else "false"
    if t is float:
        return str(int(v)) if v.is_integer() and abs(v) < 1e15 else repr(v)
    if isinstance(v, enum.Enum):
        return canonical(v.value)
    if isinstance(v, str):
        return str.__str__(v)
    if isinstance(v, int):
        return int.__repr__(v)
    if isinstance(v, uuid.UUID):
        return str(v)
    if isinstance(v, datetime.datetime):
        if v.tzinfo is not None:
            v = v.astimezone(datetime.timezone.utc).replace(tzinfo=None)
            return v.isoformat() + "Z"
        return v.isoformat()
    if isinstance(v, (datetime.date, datetime.time)):
        return v.isoformat()
    if isinstance(v, datetime.timedelta):
        return repr(v.total_seconds())
    if isinstance(v, decimal.Decimal):
        if not v.is_finite():
            return str(v)
        return format(v.normalize() if v else decimal.Decimal(0), "f")
    return None


def hash_param(v):
    """The hash of a query's parameter or a function's argument; eight zero bytes where the value has no canonical
    text within the bounds."""
    t = type(v)
    if t is str:
        return hash_text(v)
    if t is int:
        d = hash_text(str(v))
        if -_WORD <= v < _WORD:
            if len(_whole) >= _CACHE:
                _whole.clear()
            _whole[v] = d
        return d
    c = canonical(v)
    if c is not None:
        return hash_text(c)
    if isinstance(v, (bytes, bytearray, memoryview)):
        return hash_bytes(v)
    return hash_value(v) or ZERO


def hash_params(params):
    """The hashes of a sequence of parameters, joined."""
    if len(params) == 1:  # most statements
        (v,) = params
        t = type(v)
        return (_cache.get(v) if t is str else _whole.get(v) if t is int else None) or hash_param(v)
    found = []
    for v in params:
        t = type(v)
        d = _cache.get(v) if t is str else _whole.get(v) if t is int else None
        found.append(d or hash_param(v))
    return b"".join(found)


def hash_value(v):
    """The hash of a value as a canonical object: equal values hash alike however they were made. None when the value
    holds something that has no canonical form, or is larger than the bounds.

    Walks plain types, data classes, pydantic models and ORM rows by what lies in their __dict__: nothing here calls
    a property or can fire a query.
    """
    try:
        shown = _form(v, [MAX_NODES - 1], 0)
    except _NoForm:
        return None
    return hash_text(shown)


class _NoForm(Exception):
    """The value has no canonical form within the bounds."""


_HIDDEN = ("_sa_instance_state", "_state", "__pydantic_fields_set__", "__pydantic_private__")


def _form(v, left, depth):
    """The canonical form of a value. left: a cell with the number of nodes that may still be inside."""
    t = type(v)
    if t is str:
        return f"s{len(v)}:{v}"
    if t is int:
        c = str(v)
        return f"v{len(c)}:{c}"
    if t is dict:
        return _form_dict(v, left, depth)
    if t is list or t is tuple:
        depth = _deeper(left, depth, len(v))
        return "[" + "".join([_form(x, left, depth) for x in v]) + "]"
    if t in (bytes, bytearray):
        return f"b{len(v)}:{v.hex()}"
    c = canonical(v)
    if c is not None:
        return f"v{len(c)}:{c}"
    if isinstance(v, (set, frozenset)):
        depth = _deeper(left, depth, len(v))
        return "{" + "".join(sorted([_form(x, left, depth) for x in v])) + "}"
    if isinstance(v, dict):
        return _form_dict(dict(v), left, depth)
    if isinstance(v, (list, tuple)):
        return _form(list(v), left, depth)
    if dataclasses.is_dataclass(v) and not isinstance(v, type):
        return _form_dict({f.name: getattr(v, f.name) for f in dataclasses.fields(v)}, left, depth)
    d = getattr(v, "__dict__", None)
    if type(d) is not dict or isinstance(v, type) or callable(v):
        raise _NoForm
    return _form_dict({k: x for k, x in d.items() if k not in _HIDDEN}, left, depth)


def _deeper(left, depth, inside):
    """Takes what lies inside a value from the bounds; gives its depth."""
    n = left[0] = left[0] - inside
    if n < 0 or (depth >= MAX_DEPTH and inside):
        raise _NoForm
    return depth + 1


def _form_dict(d, left, depth):
    depth = _deeper(left, depth, 2 * len(d))
    keys = tuple(d)
    if {*map(type, keys)} == _TEXTS:
        return _form_record(d, keys, left, depth)
    parts = []
    for k, x in d.items():
        key = f"s{len(k)}:{k}" if type(k) is str else _form(k, left, depth)
        parts.append((key, _form(x, left, depth)))
    parts.sort()
    return "{" + "".join([key + value for key, value in parts]) + "}"


_TEXTS = {str}
_SHAPES = 2_000
_SHAPE = 64  # entries of the largest shape that is remembered, and characters of the longest key
_shapes = {}  # keys, which are all exactly texts -> ((key, its form), ...) in the order of the forms


def _form_record(d, keys, left, depth):
    """The form of a dictionary whose keys are all texts. Most come with the same keys again and again."""
    shape = _shapes.get(keys)
    if shape is None:
        shape = sorted([(k, f"s{len(k)}:{k}") for k in keys], key=_second)
        if len(keys) <= _SHAPE and max(map(len, keys)) <= _SHAPE:
            if len(_shapes) >= _SHAPES:
                _shapes.clear()
            _shapes[keys] = shape
    parts = ["{"]
    for k, form in shape:
        x = d[k]
        t = type(x)
        if t is str:
            parts.append(f"{form}s{len(x)}:{x}")
        elif t is int:
            c = str(x)
            parts.append(f"{form}v{len(c)}:{c}")
        else:
            parts.append(form + _form(x, left, depth))
    parts.append("}")
    return "".join(parts)


_second = operator.itemgetter(1)
