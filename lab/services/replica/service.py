"""Articles in Django with a replica for reading: a router sends all reads there, and a change drops the cached article.

The defect: whoever comes next fills the cache from the replica, which may not have the change yet. The twin fills it
from the primary.
"""

import json
import os
from urllib.parse import urlsplit

import django
from django.conf import settings


def database(url, **more):
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path[1:],
        "USER": parts.username,
        "HOST": parts.hostname,
        "PORT": parts.port,
        **more,
    }


class Router:
    """Reads from the replica, writes to the primary."""

    def db_for_read(self, model, **_):
        return "replica"

    def db_for_write(self, model, **_):
        return "default"


settings.configure(
    SECRET_KEY="of the lab",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[__name__],
    USE_TZ=True,
    DATABASES={
        "default": database(os.environ["LAB_POSTGRES"]),
        "replica": database(os.environ["LAB_REPLICA"], TEST={"MIRROR": "default"}),
    },
    DATABASE_ROUTERS=[Router()],
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": os.environ["LAB_REDIS"],
            "TIMEOUT": 300,
        }
    },
)
django.setup()

from django.core.cache import cache  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402

FIXED = "LAB_FIXED" in os.environ


class Article(models.Model):
    title = models.TextField()
    body = models.TextField()

    class Meta:
        db_table = "articles"


def load(pk):
    readers = Article.objects.using("default") if FIXED else Article.objects
    article = readers.get(pk=pk)
    return {"id": article.pk, "title": article.title, "body": article.body}


def article(request, pk):
    if request.method == "PUT":
        Article.objects.filter(pk=pk).update(title=json.loads(request.body)["title"])  # lab: writer
        cache.delete(f"article:{pk}")
        return JsonResponse({"id": pk})
    return JsonResponse(cache.get_or_set(f"article:{pk}", lambda: load(pk)))


def purge(request, pk):
    cache.delete(f"article:{pk}")
    return JsonResponse({})


urlpatterns = [path("articles/<int:pk>", article), path("articles/<int:pk>/purge", purge)]
application = get_wsgi_application()
