"""What frameworks know of a request beyond WSGI and ASGI: the route's template, the user, the exception."""

import re
import sys

from _demarc import request
from _demarc.core import failed
from _demarc.request import recording

NAME = "frameworks"
_templates = {}
_CACHE = 5000


def template(rule):
    """A rule of Flask or Django as a template with {names}: <int:pk>, (?P<slug>[^/]+), ^ and $ are understood."""
    t = _templates.get(rule)
    if t is None:
        t = _template(rule)
        if len(_templates) >= _CACHE:
            _templates.clear()
        _templates[rule] = t
    return t


_FLASK = re.compile(r"<(?:[^<>:]+:)?([A-Za-z_]\w*)>")


def _template(rule):
    rule = _groups(rule)
    rule = _FLASK.sub(r"{\1}", rule)
    rule = rule.replace("\\Z", "").replace("\\.", ".").replace("\\-", "-").replace("\\/", "/")
    rule = re.sub(r"(?<!\[)[\^$]", "", rule)
    if rule.endswith("/?"):
        rule = rule[:-2]
    return rule if rule.startswith("/") else "/" + rule


def _groups(rule):
    """Replaces regular-expression groups by {name}, or by {} where they have none."""
    out = []
    i = 0
    while i < len(rule):
        if rule[i] == "\\" and i + 1 < len(rule):
            out.append(rule[i : i + 2])
            i += 2
            continue
        if rule[i] != "(":
            out.append(rule[i])
            i += 1
            continue
        depth, j, in_class = 0, i, False
        while j < len(rule):
            c = rule[j]
            if c == "\\":
                j += 2
                continue
            if c == "[":
                in_class = True
            elif c == "]":
                in_class = False
            elif c == "(" and not in_class:
                depth += 1
            elif c == ")" and not in_class:
                depth -= 1
                if depth == 0:
                    break
            j += 1
        group = rule[i : j + 1]
        name = re.match(r"\(\?P<(\w+)>", group)
        if name:
            out.append("{" + name.group(1) + "}")
        elif group.startswith("(?:"):
            out.append(_groups(group[3:-1]))
        elif not group.startswith("(?"):
            out.append(_groups(group[1:-1]) if "(?P<" in group else "{}")
        i = j + 1
        if i < len(rule) and rule[i] in "?*+" and not name:
            i += 1
    return "".join(out)


def mounted(r, environ):
    """Where the application that answers was mounted inside the one that records; "" where they are one."""
    if r.scope is not None:
        return r.prefix
    return environ.get("SCRIPT_NAME", "")[len(r.prefix) :]


def flask_route(r):
    """The rule that Flask matched."""
    req = sys.modules["flask.globals"].request
    if req.url_rule is not None:
        r.route = mounted(r, req.environ) + template(req.url_rule.rule)


def patch_werkzeug_routing(module):
    """Applications on Werkzeug's routing without Flask: the first rule that matches is the request's."""
    cls = module.StateMachineMatcher
    match = cls.match

    def matching(self, *args, **kwargs):
        found = match(self, *args, **kwargs)
        try:
            r = recording()
            if r is not None and r.route is None:
                r.route = template(found[0].rule)
        except Exception:
            failed(NAME)
        return found

    cls.match = matching


def flask_user(r):
    """The user that flask-login or the application put into g, if it did."""
    g = sys.modules["flask.globals"].g
    user = g.get("_login_user") or g.get("user") or g.get("current_user")
    if user is not None:
        if isinstance(user, (str, int)):
            r.user = request.http.hash_text(str(user))
        else:
            r.user = request.identity(user)


def pyramid_route(r, req):
    """The pattern that Pyramid matched."""
    route = getattr(req, "matched_route", None)
    if route is not None:
        r.route = mounted(r, req.environ) + template(route.pattern)


def patch_logging(module):
    """A service that answers 500 itself has mostly caught an exception and logged it: the last one is the reason."""
    cls = module.Logger
    handle = cls.handle

    def handle_record(self, record):
        if record.exc_info:
            try:
                r = recording()
                if r is not None and not r.done:
                    r.logged = record.exc_info[1]
            except Exception:
                failed(NAME)
        return handle(self, record)

    handle_record.__doc__ = handle.__doc__
    cls.handle = handle_record


def patch_datasette(module):
    """Datasette has a router of its own: patterns tried one after the other, and a request that knows who asks."""
    resolve = module.resolve_routes
    cls = module.Request
    init = cls.__init__

    def resolve_routes(*args, **kwargs):
        found = resolve(*args, **kwargs)
        try:
            r = recording()
            if r is not None and found[0] is not None:
                r.route = _matched(found[0])
        except Exception:
            failed(NAME)
        return found

    def __init__(self, *args, **kwargs):
        init(self, *args, **kwargs)
        try:
            r = recording()
            if r is not None and self.scope.get(request.MARK) is r:
                r.later = _actor_later(r, self)
        except Exception:
            failed(NAME)

    module.resolve_routes = resolve_routes
    cls.__init__ = __init__


def _matched(match):
    """The template of a match, without the parts that this one did not have: /{table}.{format} or /{table}."""
    t = template(match.re.pattern)
    for name, value in match.groupdict().items():
        if value is None:
            t = t.replace(".{%s}" % name, "").replace("{%s}" % name, "")
    return t


def _actor_later(r, req):
    def learn():
        actor = req.scope.get("actor")
        who = actor.get("id") if isinstance(actor, dict) else None
        if isinstance(who, (str, int)):
            r.user = request.http.hash_text(str(who))

    return learn


def patch_django_base(module):
    """Django: the resolver's match gives the route, the request keeps the user once something asked for it."""
    cls = module.BaseHandler
    resolve = cls.resolve_request

    def resolve_request(self, req):
        match = resolve(self, req)
        try:
            r = recording()
            if r is not None:
                r.route = mounted(r, req.META) + template(match.route)
                r.later = _user_later(r, req)
        except Exception:
            failed(NAME)
        return match

    cls.resolve_request = resolve_request


def _user_later(r, req):
    """Looks for the user when the answer is complete; never asks for one that nobody loaded."""

    def learn():
        d = req.__dict__
        user = d.get("_cached_user") or d.get("_acached_user")
        if user is None:
            user = d.get("user")
            lazy = getattr(user, "_wrapped", user)
            user = lazy if type(lazy) is not object else None
        if user is not None and getattr(user, "is_authenticated", False):
            r.user = request.identity(user)

    return learn


def patch_django_exception(module):
    """Django: the exception behind a 500."""
    handle = module.handle_uncaught_exception

    def handle_uncaught_exception(req, resolver, exc_info):
        try:
            r = recording()
            if r is not None:
                r.error = exc_info[1]
        except Exception:
            failed(NAME)
        return handle(req, resolver, exc_info)

    module.handle_uncaught_exception = handle_uncaught_exception


def patch_django_client(module):
    """Django's test clients call the handler without WSGI; each call is a request, too."""
    from _demarc.core import current
    from _demarc.hooks import wsgi

    cls = module.ClientHandler
    call = cls.__call__

    def __call__(self, environ):
        if not wsgi.unseen(environ):
            return call(self, environ)
        try:
            r = wsgi.begin(environ)
            token = current.set(r)
        except Exception:
            failed(NAME)
            return call(self, environ)
        try:
            response = call(self, environ)
            try:
                r.begun(response.status_code, [(k.encode(), str(v).encode()) for k, v in response.items()])
                if not getattr(response, "streaming", False):
                    r.piece(response.content)
            except Exception:
                failed(NAME)
            return response
        except BaseException as e:
            r.error = e
            raise
        finally:
            wsgi._end(r, token)

    cls.__call__ = __call__
