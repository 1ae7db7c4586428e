"""A Django project in one file for tests of the entry hooks."""

from django.conf import settings

settings.configure(
    SECRET_KEY="only for tests", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.middleware.gzip.GZipMiddleware",
    ],
)

import django  # noqa: E402

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse, StreamingHttpResponse  # noqa: E402
from django.urls import include, path, re_path  # noqa: E402


def a(request, b):
    request.user = User(id=7)
    return HttpResponse("x" * 1000)


def boom(request):
    raise ValueError("no")


urlpatterns = [
    path("a/<int:b>", a),
    path("boom", boom),
    re_path(r"^r/(?P<slug>[^/]+)/x/$", lambda request, slug: HttpResponse("r")),
    path("inc/", include([path("z/<slug:q>", lambda request, q: HttpResponse(q))])),
    path("s", lambda request: StreamingHttpResponse(iter([b"a", b"b"]), content_type="text/plain")),
]

application = get_wsgi_application()
asgi = get_asgi_application()

if __name__ == "__main__":
    import sys

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
