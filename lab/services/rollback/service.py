"""The settings of a site in Django, one row that every page needs: saving it puts it into the cache.

The defect: it is put there at once, inside the transaction of the request; when that is rolled back, because something
else in it is refused, the cache keeps what never was in the database. The twin puts it there after the commit.
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
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": postgres.path[1:],
            "USER": postgres.username,
            "HOST": postgres.hostname,
            "PORT": postgres.port,
            "ATOMIC_REQUESTS": True,
        }
    },
    CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": os.environ["LAB_REDIS"]}},
)
django.setup()

from django.core.cache import cache  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models, transaction  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402

FIXED = "LAB_FIXED" in os.environ


class Site(models.Model):
    name = models.TextField()
    contact = models.TextField()

    class Meta:
        db_table = "site"

    def save(self, *args, **kwargs):
        super().save(*args, **kwargs)  # lab: writer
        if FIXED:
            transaction.on_commit(self.remember)
        else:
            self.remember()

    def remember(self):
        cache.set("site", {"name": self.name, "contact": self.contact}, 300)  # lab: set

    @classmethod
    def current(cls):
        known = cache.get("site")
        if known is None:
            site = cls.objects.get(pk=1)
            site.remember()
            known = {"name": site.name, "contact": site.contact}
        return known


def site(request):
    if request.method == "PUT":
        new = json.loads(request.body)
        changed = Site.objects.get(pk=1)
        changed.name = new["name"]
        changed.contact = new["contact"]
        changed.save()
        if "@" not in new["contact"]:
            transaction.set_rollback(True)
            return JsonResponse({"error": "no address"}, status=422)
    return JsonResponse(Site.current())


def reload(request):
    cache.delete("site")
    return JsonResponse(Site.current())


urlpatterns = [path("site", site), path("site/reload", reload)]
application = get_wsgi_application()
