"""ASGI entry: one request event for each HTTP request that an application answers.

The outermost observed application records; the mark in the scope keeps those inside from doing it again. Starlette
and FastAPI are hooked at the application, so that their test clients are seen, too; any other application at uvicorn,
hypercorn's way in, or httpx's ASGI transport.
"""

import asyncio
import re
import sys

from _demarc import request
from _demarc.core import current, failed, state
from _demarc.request import MARK, Recording

NAME = "asgi"


def observing(call):
    """The method __call__ of an application's class, around the original, that records what it answers.

    One function and no more, because each that is entered is paid for by every request.
    """

    async def __call__(self, scope, receive, send):
        if not state.on or scope["type"] != "http" or MARK in scope or NAME in state.disabled:
            return await call(self, scope, receive, send)
        try:
            path = scope.get("raw_path") or scope["path"]
            r = Recording(scope["method"], path, scope.get("query_string", b""), scope["headers"], scope)
            token = current.set(r)
            scope[MARK] = r
        except Exception:
            failed(NAME)
            return await call(self, scope, receive, send)

        def watching(message):
            try:
                kind = message["type"]
                if kind == "http.response.body":
                    r.piece(message.get("body", b""))
                    if not message.get("more_body", False):
                        if r.route is None or r.later is not None or "user" in scope:
                            _learn(r)
                        r.complete()
                elif kind == "http.response.start":
                    r.begun(message["status"], message.get("headers", ()))
            except Exception:
                failed(NAME)
            return send(message)

        try:
            return await call(self, scope, receive, watching)
        except BaseException as e:
            r.error = e
            raise
        finally:
            try:
                if not r.done:
                    _end(r)
                current.reset(token)
            except Exception:
                failed(NAME)
            r.error = r.scope = None

    return __call__


class Observed:
    """An ASGI application around another one, that records what it answers."""

    def __init__(self, app):
        self.__wrapped__ = app

    __call__ = observing(lambda self, scope, receive, send: self.__wrapped__(scope, receive, send))


def wrap(app):
    """An application around this one, that records what it answers."""
    return Observed(app)


def _learn(r):
    """Route and user, where the scope has them by now."""
    scope = r.scope
    if r.route is None:
        inside = scope.get("fastapi")
        # Newer versions of FastAPI keep an included router whole: the route itself does not know its prefix.
        route = inside.get("effective_route_context") if type(inside) is dict else None
        route = getattr(route, "starlette_route", None) or route or scope.get("route")
        path = getattr(route, "path_format", None) or getattr(route, "path", None)
        if isinstance(path, str):
            r.route = r.prefix + _plain(path)
    if r.user is None:
        user = scope.get("user")
        if user is not None and getattr(user, "is_authenticated", True) is True:
            r.user = request.identity(user)
    if r.later is not None:
        r.later()


def _end(r):
    """The application returned without a finished answer below 500: an error, or a client that went away."""
    _learn(r)
    gone = isinstance(r.error, (asyncio.CancelledError, GeneratorExit)) or (
        r.error is not None and type(r.error).__name__ == "ClientDisconnect")
    if gone:
        r.error = None
    r.finish(True if gone or r.error is None and r.last is None else None)


def patch_starlette(module):
    """Hooks Starlette's applications (and so FastAPI's)."""
    module.Starlette.__call__ = observing(module.Starlette.__call__)


_CONVERTER = re.compile(r"\{(\w+):\w+\}")


def _plain(path):
    """A path of Starlette without the converters of its parameters: /flows/{id:uuid} is /flows/{id}."""
    return _CONVERTER.sub(r"{\1}", path)


def patch_starlette_routing(module):
    """A route that handles a request leaves its template; a mount in front of it leaves its own."""
    route_handle = module.Route.handle
    mount_handle = module.Mount.handle

    def handle(self, scope, receive, send):
        r = scope.get(MARK)
        if r is not None:
            try:
                path = self.path
                r.route = r.prefix + (_plain(path) if ":" in path else path)
            except Exception:
                failed(NAME)
        return route_handle(self, scope, receive, send)

    def handle_mount(self, scope, receive, send):
        r = scope.get(MARK)
        if r is not None:
            try:
                r.prefix += _plain(self.path)
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
            self.loaded_app = wrap(self.loaded_app)
        except Exception:
            failed(NAME)
        return result

    cls.load = load_and_wrap


def patch_httpx(module):
    """Applications that a test calls through httpx.ASGITransport and that no framework hook sees."""
    cls = module.ASGITransport
    handle = cls.handle_async_request

    def handle_async_request(self, request):
        try:
            starlette = sys.modules.get("starlette.applications")
            if not hasattr(self.app, "__wrapped__") and not (
                    starlette is not None and isinstance(self.app, starlette.Starlette)):
                self.app = wrap(self.app)
        except Exception:
            failed(NAME)
        return handle(self, request)

    cls.handle_async_request = handle_async_request


def patch_hypercorn(module):
    """Hooks the application that hypercorn has loaded."""
    cls = module.ASGIWrapper
    init = cls.__init__

    def __init__(self, app, *args, **kwargs):
        init(self, wrap(app), *args, **kwargs)

    cls.__init__ = __init__


def patch_django(module):
    """Hooks Django's ASGI handler, for servers that no other hook knows."""
    module.ASGIHandler.__call__ = observing(module.ASGIHandler.__call__)
