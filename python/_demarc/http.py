"""What an HTTP request and its answer tell, for every entry hook: identity, candidate inputs, kept headers.

Identity is looked for in this order: what the framework knows (the entry hook gives it), the header or cookie named in
the settings, the subject of a JWT, another Authorization value, the session cookie, a header such as X-Api-Key; else
the request is anonymous.
"""

import base64
import json
import os
import zlib

from _demarc.core import state, text
from _demarc.hashing import hash_bytes, hash_text

ANONYMOUS = "-"
_CACHE = 10_000
MAX_VARY = 24  # candidate inputs of one request

# Response headers that are kept, as they stand in events.
KEPT = {
    n.encode(): n
    for n in (
        "cache-control", "vary", "age", "etag", "cache-status", "x-cache", "retry-after", "set-cookie", "expires",
        "surrogate-key", "surrogate-control", "cdn-cache-control", "content-type", "last-modified", "x-fastapi-cache",
    )
}
_VARY = {b"accept-language", b"host", b"accept", b"accept-encoding", b"user-agent", b"origin", b"range"}
# Headers whose value is another one on every request: never an input worth a guess.
_NOISE = (b"x-request-id", b"x-correlation-id", b"x-forwarded-for", b"x-real-ip", b"x-amzn-trace-id", b"x-trace-id",
          b"x-b3-", b"x-datadog-", b"x-cloud-trace", b"x-request-start", b"x-api-key", b"x-auth", b"x-csrf")
_KEYS = (b"x-api-key", b"x-auth")  # beginnings of headers that say who asks where nothing else does
SESSION_COOKIES = ("sessionid", "session", "connect.sid", "sid", "_session", "auth", "access_token")

_names = {}  # header name -> text number of the vary name, or None for one that is not kept
_hashes = {}  # header value -> hash


def _vary_name(name):
    n = name.lower()
    kept = n in _VARY or (n.startswith(b"x-") and not n.startswith(_NOISE))
    if len(_names) >= _CACHE:
        _names.clear()
    number = _names[name] = text(n.decode("latin-1")) if kept else None
    return number


def _hash(value):
    d = _hashes.get(value)
    if d is None:
        d = hash_text(value.decode("latin-1"))
        if len(_hashes) >= _CACHE:
            _hashes.clear()
        _hashes[value] = d
    return d


_asked = {}  # headers as they came -> what they tell; a client sends the same ones again and again
_ASKED = 1_000
_ASKED_PAIRS = 40  # requests with more headers are looked through each time


def asked(headers):
    """What a request's headers (pairs of bytes, as in ASGI) tell: (candidate inputs as a flat tuple of name and hash,
    identity, whether there are cookies, content length or None)."""
    try:
        key = tuple(headers)
        found = _asked.get(key)
    except TypeError:  # a server that gives pairs as lists
        return _ask(headers)
    if found is None:
        found = _ask(headers)
        if len(key) <= _ASKED_PAIRS:
            if len(_asked) >= _ASKED:
                _asked.clear()
            _asked[key] = found
    return found


def _ask(headers):
    vary, authorization, cookie, named, length, key = read_headers(headers)
    who = principal(authorization, cookie, named)
    if key is not None and who == ANONYMOUS:
        who = _hash(key)
    return tuple(vary), who, cookie is not None, number(length)


def read_headers(headers):
    """Looks once through a request's headers. Returns (vary, authorization, cookie, named identity, content length, a
    key that may say who asks), absent ones None."""
    vary = []
    authorization = cookie = named = length = key = None
    want = _wanted_header()
    for name, value in headers:
        try:
            number = _names[name]
        except KeyError:
            number = _vary_name(name)
        if number is not None:
            if len(vary) < 2 * MAX_VARY:
                vary.append(number)
                vary.append(_hash(value))
        elif name == b"authorization":
            authorization = value
        elif name == b"cookie":
            cookie = value
        elif name == b"content-length":
            length = value
        elif name.startswith(_KEYS) and (key is None or name.endswith(b"user")):  # rather than a token beside it
            key = value
        if want is not None and name == want:
            named = value
    if cookie is not None:
        add_cookies(vary, cookie)
    return vary, authorization, cookie, named, length, key


_wanted = None
_wanted_known = False


def _wanted_header():
    global _wanted, _wanted_known
    if not _wanted_known:
        h = state.config.principal.get("header") if state.config else None
        _wanted = h.lower().encode("latin-1") if h else None
        _wanted_known = True
    return _wanted


_cookie_cache = {}


def cookies(raw):
    """The cookies of a Cookie header, as a dict of text."""
    c = _cookie_cache.get(raw)
    if c is None:
        c = {}
        for part in raw.decode("latin-1").split(";")[:64]:
            name, eq, value = part.strip().partition("=")
            if eq:
                c[name] = value
        if len(_cookie_cache) >= _CACHE // 4:
            _cookie_cache.clear()
        _cookie_cache[raw] = c
    return c


def add_cookies(vary, raw):
    """Adds each cookie as the candidate cookie.NAME."""
    for name, value in cookies(raw).items():
        if len(vary) >= 2 * MAX_VARY:
            return
        vary.append(text("cookie." + name[:80]))
        vary.append(hash_text(value))


_identities = {}


def principal(authorization, cookie, named):
    """The keyed hash of who asks, or "-"."""
    if named is not None:
        return _hash(named)
    if authorization is None and cookie is None:
        return ANONYMOUS
    seen = (authorization, cookie)
    p = _identities.get(seen)
    if p is None:
        p = _principal(authorization, cookie)
        if len(_identities) >= _CACHE:
            _identities.clear()
        _identities[seen] = p
    return p


def _principal(authorization, cookie):
    if authorization:
        scheme, _, credentials = authorization.decode("latin-1").partition(" ")
        credentials = credentials.strip() or scheme
        subject = jwt_subject(credentials)
        if subject is not None:
            return hash_text(subject)
        if scheme.lower() == "basic":
            try:
                user = base64.b64decode(credentials).partition(b":")[0].decode("utf-8", "replace")
                return hash_text(user)
            except ValueError:
                pass
        return hash_text(credentials)
    if cookie:
        jar = cookies(cookie)
        wanted = state.config.principal.get("cookie") if state.config else None
        for name in (wanted,) if wanted else (*SESSION_COOKIES, *_sessions(jar)):
            value = jar.get(name)
            if value:
                subject = jwt_subject(value)
                return hash_text(value if subject is None else subject)
    return ANONYMOUS


def _sessions(jar):
    """Cookies that a service calls its session by a name of its own: admin-session, shop_sessionid."""
    return [n for n in jar if n.lower().endswith(("session", "sessionid", "session_id", "session-id"))]


def jwt_subject(token):
    """The subject a JWT names (sub, else user_id, uid, username, email), without verifying it: the service does that.
    None for what is no JWT."""
    parts = token.split(".")
    if len(parts) != 3 or not parts[0].startswith("eyJ") or len(parts[1]) > 8192:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None
    if not isinstance(claims, dict):
        return None
    for name in ("sub", "user_id", "uid", "username", "email", "id"):
        v = claims.get(name)
        if isinstance(v, (str, int)) and v != "":
            return str(v)
    return None


_kinds = {}  # name of a response header -> its name in events, "" for content-encoding, None for one not kept
_kept = {}  # (name, value) of one -> what events hold of both
_ONCE = ("etag", "last-modified", "expires", "age")  # whose values are too many for the table of texts


def _kind(name):
    lower = name.lower()
    if len(_kinds) >= _CACHE:
        _kinds.clear()
    kind = _kinds[name] = "" if lower == b"content-encoding" else KEPT.get(lower)
    return kind


def _keep(kind, name, value):
    v = "true" if kind == "set-cookie" else value.decode("latin-1")
    if len(v) > 512:
        v = v[:512]
    both = text(kind), v if kind in _ONCE else text(v)
    if len(value) <= 512 and kind != "set-cookie":
        if len(_kept) >= _CACHE:
            _kept.clear()
        _kept[name, value] = both
    return both


def kept_headers(headers):
    """The response headers that events keep, from pairs of bytes, as a flat tuple; and the content-encoding."""
    out = encoding = None
    for name, value in headers:
        try:
            kind = _kinds[name]
        except KeyError:
            kind = _kind(name)
        if kind is None:
            continue
        if not kind:
            encoding = value
            continue
        both = _kept.get((name, value)) or _keep(kind, name, value)
        out = both if out is None else out + both
    return out, encoding


def decoder(encoding):
    """What makes plain bytes of a body in this content-encoding (None: it is plain), and why there is nothing."""
    if not encoding or encoding == b"identity":
        return None, None
    if encoding in (b"gzip", b"deflate", b"x-gzip"):
        return zlib.decompressobj(47), None
    return None, "encoding " + encoding.decode("latin-1")[:20]


def request_key(method, target):
    """The 8-byte hash by which sampling keeps or leaves a request."""
    return hash_bytes((method + " " + target).encode("utf-8", "surrogatepass"))


def running_test():
    """The name of the pytest test that runs, without its phase; None outside pytest."""
    t = os.environ.get("PYTEST_CURRENT_TEST")
    return t.rsplit(" (", 1)[0] if t else None


def number(value):
    """A Content-Length as an int, or None."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
