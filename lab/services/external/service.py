"""Pages in Django; django-cachalot keeps the results of all queries and invalidates a table when the service writes it.

The defect: an administrator changes a row in the database's own shell, which nobody tells cachalot. For the twin the
administrator calls what cachalot has for that, behind the route /refresh.
"""

import json
import os
from urllib.parse import urlsplit

import django
from django.conf import settings

postgres = urlsplit(os.environ["LAB_POSTGRES"])
settings.configure(
    SECRET_KEY="of the lab",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["cachalot", __name__],
    USE_TZ=True,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": postgres.path[1:],
            "USER": postgres.username,
            "HOST": postgres.hostname,
            "PORT": postgres.port,
        }
    },
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": os.environ["LAB_REDIS"],
            "TIMEOUT": 300,
        }
    },
)
django.setup()

from cachalot.api import invalidate  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402


class Page(models.Model):
    title = models.TextField()
    body = models.TextField()

    class Meta:
        app_label = "service"
        db_table = "pages"


def page(request, pk):
    found = Page.objects.get(pk=pk)
    if request.method == "PUT":
        found.title = json.loads(request.body)["title"]
        found.save()
    return JsonResponse({"id": found.pk, "title": found.title, "body": found.body})


def refresh(request):
    invalidate("service.Page")
    return JsonResponse({})


urlpatterns = [path("pages/<int:pk>", page), path("refresh", refresh)]
application = get_wsgi_application()
