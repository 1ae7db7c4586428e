"""One request on its way through an application: what every entry hook (ASGI, WSGI, Django's test client) shares.

A Recording is made before the application runs, learns the route, the user and the error from the framework's hooks,
sees the answer as it is sent, and emits one event when the last piece is out. Answers of status 500 and above wait
until the application returns, because the exception behind them is often only known then.

Nothing here refers to itself in a circle once the request is over: what a request leaves behind goes with its last
reference, and never makes the service's garbage collector run.
"""

import sys
import zlib

from _demarc import core, hashing, http, redact
from _demarc.core import Ctx, _texts, current, emit, next_id, next_seq, now, state, text

MARK = "demarc"  # key of the Recording in an ASGI scope or WSGI environ
MAX_BODY = 1 << 20  # bytes of an answer that are hashed
USERS = 10_000  # sessions and credentials whose user is remembered
HTTP = text("http")
_users = {}  # hash of a session or of credentials -> that of the user that the framework knows by it


class Recording(Ctx):
    """One request, and what is current while it is answered. Attributes that hooks may set: route, prefix, user (a
    hash), error, logged (an exception that the service caught and logged), later (called once the answer is complete,
    to learn what is known only by then)."""

    __slots__ = (
        "start", "scope", "method", "target", "vary", "cookie", "length", "status", "headers", "hash", "inflate",
        "none", "size", "first", "last", "route", "prefix", "user", "error", "logged", "later", "done",
    )

    def __init__(self, method, path, query, headers, scope=None):
        """path and query: two texts, or two bytes as ASGI has them; headers: pairs of bytes."""
        self.start = now()
        self.trace = self.span = next_id()
        self.keep = True
        self.fills = self.data = None
        self.txn = [None]
        self.scope = scope
        self.method = method
        self.target = redact.target(path, query)
        self.vary, self.principal, self.cookie, self.length = http.asked(headers)
        self.status = self.headers = self.hash = self.inflate = self.none = self.first = self.last = None
        self.route = self.user = self.error = self.logged = self.later = None
        self.size = 0
        self.prefix = ""
        self.done = False
        if state.sampling:
            self.keep = core.keep(http.request_key(method, self.target))

    def child(self, span):
        """A nested span of this request."""
        c = Ctx.child(self, span)
        c.data = self
        return c

    def begun(self, status, headers):
        """Status and headers of the answer are known; headers are pairs of bytes."""
        self.status = status
        self.none = "headers not read"
        self.headers, encoding = http.kept_headers(headers)
        self.none = None
        if encoding is not None:
            self.inflate, self.none = http.decoder(encoding)

    def piece(self, chunk):
        """A piece of the body is sent: it is hashed, uncompressed, up to MAX_BODY bytes."""
        if self.first is None:
            self.first = now()
        if not chunk or self.status is None:
            return
        size = self.size = self.size + len(chunk)
        if self.none is not None:
            return
        if size > MAX_BODY:
            self.none = "larger than 1 MB"
            return
        if self.inflate is not None:
            try:
                chunk = self.inflate.decompress(chunk, MAX_BODY)
            except zlib.error:
                self.none = "broken encoding"
                return
            if self.inflate.unconsumed_tail:
                self.none = "larger than 1 MB"
                return
        h = self.hash
        if h is None:
            h = self.hash = hashing._base.copy()
        if len(chunk) <= hashing.PIECE:
            h.update(chunk)
        else:
            hashing.feed(h, chunk)

    def known(self):
        """The framework said who asks. It does not where a cache answers before anybody loads the user; so it is kept
        whose the session or the credentials are."""
        if self.principal != self.user and self.principal != http.ANONYMOUS:
            if len(_users) >= USERS:
                _users.clear()
            _users[self.principal] = self.user
        self.principal = self.user

    def complete(self):
        """The last piece is out. The event waits for the application's return where an error may still turn up."""
        if self.status is not None and self.status < 500:
            self.finish()
        elif self.last is None:
            self.last = now()

    def finish(self, disconnected=None):
        """Emits the event, once."""
        if self.done:
            return
        self.done = True
        end = self.last or now()
        error = self.error
        status = self.status
        if error is None and status is not None and status >= 500:
            error = self.logged
        self.logged = self.later = None
        if state.sampling and not self.keep:
            core.sampled_out()
            return
        if self.user is not None:
            self.known()
        elif _users:
            self.principal = _users.get(self.principal, self.principal)
        digest = none = size = None
        if status is not None:
            none, size = self.none, self.size
            if none is None:
                digest = (self.hash or hashing._base).digest()
        method, route, start, first = self.method, self.route, self.start, self.first
        emit((
            core.REQUEST, start, end - start, next_seq(), self.trace, self.span, None,
            HTTP, _texts.get(method) or text(method), (_texts.get(route) or text(route)) if route else None,
            self.target, status, text(core.error_text(error)) if error is not None else None,
            self.principal, self.vary, digest, none, size,
            self.length, self.headers,
            http.running_test() if "pytest" in sys.modules else None,
            first - start if first is not None else None, disconnected, True if self.cookie else None,
        ))


def of(ctx):
    """The Recording of the request that a Ctx stands for; None for a job's."""
    if type(ctx) is Recording:
        return ctx
    r = ctx.data
    return r if type(r) is Recording else None


def recording():
    """The Recording of the request that the running code answers; None outside one."""
    c = current.get()
    return of(c) if c is not None else None


def identity(user):
    """The hash of a user object's key, read from what lies in the object (nothing that could fire a query); None when
    it has none."""
    d = getattr(user, "__dict__", None)
    if type(d) is not dict:
        return None
    meta = getattr(type(user), "_meta", None)
    name = getattr(getattr(meta, "pk", None), "attname", None)
    for n in (name, "id", "pk", "user_id", "sub", "username", "email"):
        v = d.get(n) if n else None
        if v is not None and isinstance(v, (str, int)) and v != "":
            return http.hash_text(str(v))
        if v is not None and type(v).__name__ == "UUID":
            return http.hash_text(str(v))
    return None
