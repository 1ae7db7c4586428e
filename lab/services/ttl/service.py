"""Courses in Django: the page of a course is kept by cache_page for a while, in Redis.

The defect: that while is all that ever drops a page, and places are booked meanwhile. In the twin a booking drops the
pages.
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
    INSTALLED_APPS=[__name__],
    USE_TZ=True,
    TIME_ZONE="UTC",
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

from django.core.cache import cache  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.cache import cache_page  # noqa: E402

FIXED = "LAB_FIXED" in os.environ


class Course(models.Model):
    title = models.TextField()
    seats = models.IntegerField()

    class Meta:
        db_table = "courses"


@cache_page(5)
def course(request, pk):
    found = Course.objects.get(pk=pk)
    return JsonResponse({"title": found.title, "seats": found.seats})


def book(request, pk):
    found = Course.objects.get(pk=pk)
    found.seats -= json.loads(request.body)["seats"]
    found.save()  # lab: writer
    if FIXED:
        cache.clear()
    return JsonResponse({})


urlpatterns = [path("courses/<int:pk>", course), path("courses/<int:pk>/book", book)]
application = get_wsgi_application()
