"""WSGI entry: one request event for each request that an application answers.

The outermost observed application records; the mark in the environ keeps those inside from doing it again. Flask,
Django and Pyramid are hooked at the application, so that their test clients are seen, too; any other application at
the server that runs it.
"""

import sys
from urllib.parse import quote

from _demarc.core import current, failed, state
from _demarc.request import MARK, Recording, recording

NAME = "wsgi"
_names = {}


def _headers(environ):
    """The request's headers as pairs of bytes, in the form that ASGI gives them."""
    out = []
    for key, value in environ.items():
        name = _names.get(key)
        if name is None:
            if key.startswith("HTTP_"):
                name = key[5:].replace("_", "-").lower().encode("latin-1", "replace")
            elif key == "CONTENT_LENGTH":
                name = b"content-length"
            else:
                name = b""
            if len(_names) > 2000:
                _names.clear()
            _names[key] = name
        if name and type(value) is str:
            out.append((name, value.encode("latin-1", "replace")))
    return out


def begin(environ):
    """A Recording for a WSGI environ."""
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if raw and raw.startswith("/"):
        path = raw.partition("?")[0]
    else:
        path = quote((environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1", "replace"))
    r = Recording(environ.get("REQUEST_METHOD", "GET"), path, environ.get("QUERY_STRING", ""), _headers(environ))
    r.prefix = environ.get("SCRIPT_NAME", "")
    return r


def unseen(environ):
    """Whether this application is the one to record."""
    return state.on and MARK not in environ and NAME not in state.disabled


def wrap(app):
    """A WSGI application around another one that records what it answers."""

    def demarc_wsgi(environ, start_response):
        if not unseen(environ):
            return app(environ, start_response)
        return observe(app, environ, start_response)

    demarc_wsgi.__wrapped__ = app
    return demarc_wsgi


class _Answer:
    """The answer's iterable, watched. Closes what it wraps, as PEP 3333 asks."""

    def __init__(self, inner, r, token):
        self.inner = inner
        self.iterator = None
        self.r = r
        self.token = token
        self.exhausted = self.closed = False

    def __iter__(self):
        return self

    def __next__(self):
        if self.iterator is None:
            self.iterator = iter(self.inner)
        try:
            chunk = next(self.iterator)
        except StopIteration:
            self.exhausted = True
            _finish(self.r)
            raise
        except BaseException as e:
            self.r.error = e
            raise
        try:
            self.r.piece(chunk)
        except Exception:
            failed(NAME)
        return chunk

    def close(self):
        """Ends the request: the server has sent everything, or the client went away."""
        try:
            if hasattr(self.inner, "close"):
                self.inner.close()
        finally:
            if not self.closed:
                self.closed = True
                _end(self.r, self.token, None if self.exhausted or self.r.error is not None else True)

    def __getattr__(self, name):
        return getattr(self.inner, name)


def _finish(r, disconnected=None):
    try:
        if r.later is not None:
            r.later()
        r.finish(disconnected)
        r.error = None
    except Exception:
        failed(NAME)


def _end(r, token, disconnected=None):
    """The application is through with a request: what it does from here on belongs to none."""
    if not r.done:
        _finish(r, disconnected)
    try:
        current.reset(token)
    except ValueError:  # closed by another thread than the one that began; its context is its own
        pass


def observe(app, environ, start_response):
    """Runs one request of an application under observation."""
    try:
        r = begin(environ)
        environ[MARK] = r
        token = current.set(r)
    except Exception:
        failed(NAME)
        return app(environ, start_response)

    def starting(status, headers, *exc_info):
        try:
            r.begun(int(status[:3]), [(k.encode("latin-1"), v.encode("latin-1", "replace")) for k, v in headers])
        except Exception:
            failed(NAME)
        write = start_response(status, headers, *exc_info)

        def writing(data):
            try:
                r.piece(data)
            except Exception:
                failed(NAME)
            return write(data)

        return writing

    try:
        result = app(environ, starting)
    except BaseException as e:
        r.error = e
        _end(r, token)
        raise
    try:
        kind = type(result)
        if kind is list or kind is tuple:
            # Servers look at the length of a plain list: it stays what it is.
            for chunk in result:
                r.piece(chunk)
            _end(r, token)
            return result
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(result, wrapper):
            # The server may send the file without reading it through Python: it stays what it is.
            if r.status is not None:
                r.none = "file"
            _end(r, token)
            return result
        return _Answer(result, r, token)
    except Exception:
        failed(NAME)
        return result


def _patch_call(cls):
    call = cls.__call__

    def __call__(self, environ, start_response):
        if not unseen(environ):
            return call(self, environ, start_response)

        def app(environ, start_response):
            return call(self, environ, start_response)

        return observe(app, environ, start_response)

    cls.__call__ = __call__


def patch_flask(module):
    """Hooks Flask's applications; the rule, the user and the exception behind a 500 are learned on the way."""
    from _demarc.hooks import frameworks

    cls = module.Flask
    _patch_call(cls)
    dispatch = cls.full_dispatch_request
    handle = cls.handle_exception

    def full_dispatch_request(self, *args, **kwargs):
        r = recording()
        if r is None:
            return dispatch(self, *args, **kwargs)
        try:
            frameworks.flask_route(r)
        except Exception:
            failed(NAME)
        try:
            return dispatch(self, *args, **kwargs)
        finally:
            try:
                frameworks.flask_user(r)
            except Exception:
                failed(NAME)

    def handle_exception(self, *args, **kwargs):
        r = recording()
        if r is not None:
            e = kwargs.get("e", args[-1] if args else None)
            if isinstance(e, BaseException):
                r.error = e
        return handle(self, *args, **kwargs)

    cls.full_dispatch_request = full_dispatch_request
    cls.handle_exception = handle_exception


def patch_django(module):
    """Hooks Django's WSGI handler."""
    _patch_call(module.WSGIHandler)


def patch_pyramid(module):
    """Hooks Pyramid's router and learns the matched route."""
    from _demarc.hooks import frameworks

    cls = module.Router
    _patch_call(cls)
    handle = cls.handle_request

    def handle_request(self, request):
        try:
            return handle(self, request)
        except BaseException as e:
            r = recording()
            if r is not None and not hasattr(e, "status_int"):  # HTTPNotFound and its kin are answers
                r.error = e
            raise
        finally:
            r = recording()
            if r is not None:
                try:
                    frameworks.pyramid_route(r, request)
                except Exception:
                    failed(NAME)

    cls.handle_request = handle_request


def _patch_returning(module, owner, name):
    """Wraps the application that a method returns."""
    cls = getattr(module, owner)
    original = getattr(cls, name)

    def wrapped(self, *args, **kwargs):
        app = original(self, *args, **kwargs)
        try:
            return wrap(app) if callable(app) and not hasattr(app, "__wrapped__") else app
        except Exception:
            failed(NAME)
            return app

    setattr(cls, name, wrapped)


def patch_gunicorn(module):
    """Hooks the application in gunicorn's synchronous workers; its ASGI workers serve through uvicorn."""
    cls = module.Worker
    load = cls.load_wsgi

    def load_wsgi(self, *args, **kwargs):
        load(self, *args, **kwargs)
        try:
            if not type(self).__module__.startswith(("uvicorn", "uvicorn_worker")):
                self.wsgi = wrap(self.wsgi)
        except Exception:
            failed(NAME)

    cls.load_wsgi = load_wsgi


def patch_wsgiref(module):
    """Hooks the application of the standard library's server (Django's runserver, Bottle's default)."""
    _patch_returning(module, "WSGIServer", "get_app")


def patch_werkzeug(module):
    """Hooks the application that Werkzeug's own server runs, whatever it is made of."""
    cls = module.BaseWSGIServer
    init = cls.__init__

    def __init__(self, *args, **kwargs):
        init(self, *args, **kwargs)
        try:
            self.app = wrap(self.app)
        except Exception:
            failed(NAME)

    cls.__init__ = __init__


def patch_waitress(module):
    """Hooks the application that waitress serves."""
    create = module.create_server

    def create_server(application, *args, **kwargs):
        return create(wrap(application), *args, **kwargs)

    module.create_server = create_server
    holder = sys.modules.get(module.__package__)
    if holder is not None and getattr(holder, "create_server", None) is create:
        holder.create_server = create_server
