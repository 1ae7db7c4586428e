"""One request on its way through an application: what every entry hook (ASGI, WSGI, Django's test client) shares.

A Recording is made before the application runs, learns the route, the user and the error from the framework's hooks,
sees the answer as it is sent, and emits one event when the last piece is out. Answers of status 500 and above wait
until the application returns, because the exception behind them is often only known then.
"""

import sys

from _demarc import core, http, redact
from _demarc.core import Ctx, current, emit, next_id, next_seq, now, state, text

MARK = "demarc"  # key of the Recording in an ASGI scope or WSGI environ


class Recording:
    """One request. Attributes that hooks may set: route, prefix, user (a hash), error, logged (an exception that the
    service caught and logged), later (called once the answer is complete, to learn what is known only by then)."""

    status = headers = body = first = route = user = error = logged = later = last = None
    done = False
    prefix = ""

    def __init__(self, method, path, query, headers, scope=None):
        self.start = now()
        n = next_id()
        ctx = self.ctx = Ctx(n, n)
        ctx.data = self
        self.scope = scope
        self.method = method
        self.path = path
        self.query = query
        self.vary, self.principal, self.cookie, self.length = http.asked(headers)
        ctx.principal = self.principal
        if state.sampling:
            ctx.keep = core.keep(http.request_key(method, redact.target(path, query)))

    def begun(self, status, headers):
        """Status and headers of the answer are known; headers are pairs of bytes."""
        self.status = status
        self.headers, encoding = http.kept_headers(headers)
        self.body = http.Body(encoding)

    def piece(self, chunk):
        """A piece of the body is sent."""
        if self.first is None:
            self.first = now()
        if chunk and self.body is not None:
            self.body.add(chunk)

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
        if error is None and self.status is not None and self.status >= 500:
            error = self.logged
        self.logged = None
        ctx = self.ctx
        if state.sampling and not ctx.keep:
            core.sampled_out()
            return
        if self.user is not None:
            self.principal = ctx.principal = self.user
        body = self.body
        digest = none = size = None
        if body is not None:
            digest, none, size = body.digest(), body.none, body.size
        start = self.start
        emit((
            core.REQUEST, start, end - start, next_seq(), ctx.trace, ctx.span, None,
            text("http"), text(self.method), text(self.route) if self.route else None,
            redact.target(self.path, self.query), self.status,
            text(core.error_text(error)) if error is not None else None,
            self.principal, self.vary, digest, none, size,
            self.length, self.headers,
            http.running_test() if "pytest" in sys.modules else None,
            self.first - start if self.first is not None else None, disconnected, True if self.cookie else None,
        ))


def recording():
    """The Recording of the request that the running code answers; None outside one."""
    c = current.get()
    r = c.data if c is not None else None
    return r if type(r) is Recording else None


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
