"""ASGI entry: one request event for each HTTP request that an application answers.

The outermost observed application records (the mark in the scope keeps those inside from doing it again). Starlette
and FastAPI are hooked at the application, so that their test clients are seen, too; any other application at uvicorn.
"""

import sys

from _demarc import core, http, redact
from _demarc.core import Ctx, current, emit, failed, next_id, next_seq, now, state, text
from _demarc.http import Body

NAME = "asgi"
MARK = "demarc"  # in the scope: the request's Recording


class Recording:
    """One request on its way. Made before the application runs, finished by the last piece of the answer."""

    __slots__ = (
        "scope", "start", "ctx", "token", "vary", "principal", "length", "status", "headers", "body", "first", "done",
        "prefix", "route", "send", "cookie", "user",
    )

    def __init__(self, scope):
        self.scope = scope
        self.start = now()
        n = next_id()
        self.ctx = Ctx(n, n)
        self.ctx.data = self
        self.status = self.headers = self.body = self.first = self.route = self.user = None
        self.done = False
        self.prefix = ""
        self.vary, authorization, cookie, named, self.length = http.read_headers(scope["headers"])
        self.cookie = cookie is not None
        self.principal = self.ctx.principal = http.principal(authorization, cookie, named)

    def message(self, message):
        """Sees a message that the application sends; finishes with the last one."""
        kind = message["type"]
        if kind == "http.response.body":
            body = message.get("body", b"")
            if self.first is None:
                self.first = now()
            if body and self.body is not None:
                self.body.add(body)
            if not message.get("more_body", False) and (self.status or 0) < 500:
                self.finish(None)
        elif kind == "http.response.start":
            self.status = message["status"]
            self.headers, encoding = http.kept_headers(message.get("headers", ()))
            self.body = Body(encoding)

    def finish(self, error, disconnected=None):
        """Emits the event, once."""
        if self.done:
            return
        self.done = True
        end = now()
        scope = self.scope
        ctx = self.ctx
        method = scope["method"]
        raw = scope.get("raw_path")
        path = raw.decode("latin-1") if raw else scope["path"]
        query = scope.get("query_string")
        target = redact.target(path.partition("?")[0], query.decode("latin-1") if query else "")
        if state.sampling and not core.keep(http.request_key(method, target)):
            core.sampled_out()
            return
        user = self.user or _user(scope)
        if user is not None:
            self.principal = ctx.principal = user
        body = self.body
        digest = none = size = None
        if body is not None:
            digest, none, size = body.digest(), body.none, body.size
        route = self.route or _route(scope)
        emit((
            core.REQUEST, self.start, end - self.start, next_seq(), ctx.trace, ctx.span, None,
            text("http"), text(method), text(route) if route else None, target, self.status,
            text(core.error_text(error)) if error is not None else None, self.principal, tuple(self.vary), digest,
            none, size, http.number(self.length) if self.length is not None else None, self.headers,
            http.running_test() if "pytest" in sys.modules else None,
            self.first - self.start if self.first is not None else None, disconnected, True if self.cookie else None,
        ))


def _user(scope):
    """The identity that the framework found, as a hash; None where it knows none."""
    user = scope.get("user")
    if user is None:
        return None
    who = getattr(user, "pk", None) or getattr(user, "id", None)
    if who is None and getattr(user, "is_authenticated", False):
        who = getattr(user, "identity", None) or getattr(user, "display_name", None)
    return core_hash(who) if isinstance(who, (str, int)) and who != "" else None


def core_hash(who):
    """The hash of an identity."""
    return http.hash_text(str(who))


def _route(scope):
    route = scope.get("route")
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    return path if isinstance(path, str) else None


def wrap(app):
    """An ASGI application around another one that records what it answers."""

    async def demarc_asgi(scope, receive, send):
        if not state.on or scope["type"] != "http" or MARK in scope or NAME in state.disabled:
            return await app(scope, receive, send)
        return await observe(app, scope, receive, send)

    demarc_asgi.__wrapped__ = app
    return demarc_asgi


async def observe(app, scope, receive, send):
    """Runs one request of an application under observation."""
    try:
        r = Recording(scope)
        scope[MARK] = r
        token = current.set(r.ctx)
    except Exception:
        failed(NAME)
        return await app(scope, receive, send)

    def watching(message):
        coro = send(message)
        try:
            r.message(message)
        except Exception:
            failed(NAME)
        return coro

    error = None
    try:
        return await app(scope, receive, watching)
    except BaseException as e:
        error = e
        raise
    finally:
        try:
            if not r.done:
                gone = error is not None and type(error).__name__ in ("CancelledError", "ClientDisconnect")
                complete = r.status is not None and error is None or (r.status or 0) >= 500
                r.finish(None if gone else error, None if complete or error is not None and not gone else True)
            current.reset(token)
        except Exception:
            failed(NAME)
        error = None


def patch_starlette(module):
    """Hooks Starlette's applications (and so FastAPI's), and remembers route templates as the routers find them."""
    cls = module.Starlette
    call = cls.__call__

    async def __call__(self, scope, receive, send):
        if not state.on or scope["type"] != "http" or MARK in scope or NAME in state.disabled:
            return await call(self, scope, receive, send)

        def app(scope, receive, send):
            return call(self, scope, receive, send)

        return await observe(app, scope, receive, send)

    cls.__call__ = __call__
    routing = module.__dict__.get("Router")
    patch_routes(sys.modules[routing.__module__] if routing is not None else sys.modules["starlette.routing"])


def patch_routes(module):
    """A route that handles a request leaves its template; a mount in front of it leaves its own."""
    route_handle = module.Route.handle
    mount_handle = module.Mount.handle

    def handle(self, scope, receive, send):
        r = scope.get(MARK)
        if r is not None:
            try:
                r.route = r.prefix + self.path
            except Exception:
                failed(NAME)
        return route_handle(self, scope, receive, send)

    def handle_mount(self, scope, receive, send):
        r = scope.get(MARK)
        if r is not None:
            try:
                r.prefix += self.path
                r.route = r.prefix + "/{path}"
            except Exception:
                failed(NAME)
        return mount_handle(self, scope, receive, send)

    module.Route.handle = handle
    module.Mount.handle = handle_mount


def patch_uvicorn(module):
    """Hooks whatever application uvicorn serves, once it has loaded it."""
    cls = module.Config
    load = cls.load

    def load_and_wrap(self, *args, **kwargs):
        result = load(self, *args, **kwargs)
        try:
            if getattr(self, "interface", "asgi3") != "wsgi":
                self.loaded_app = wrap(self.loaded_app)
        except Exception:
            failed(NAME)
        return result

    cls.load = load_and_wrap
