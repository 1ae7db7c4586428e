"""Articles in Django. A signal drops the cached page of an article when it is saved; the view saves in a transaction.

The defect: the signal drops it at once, inside the transaction, so that whoever asks before the commit fills the cache
with the old article again. The twin drops it after the commit.
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
from django.db import models, transaction  # noqa: E402
from django.db.models.signals import post_save  # noqa: E402
from django.dispatch import receiver  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from gates import gate  # noqa: E402

FIXED = "LAB_FIXED" in os.environ


class Article(models.Model):
    title = models.TextField()
    body = models.TextField()

    class Meta:
        db_table = "articles"


def key(pk):
    return f"article:{pk}"


@receiver(post_save, sender=Article)
def drop(sender, instance, **_):
    if FIXED:
        transaction.on_commit(lambda: cache.delete(key(instance.pk)))
    else:
        cache.delete(key(instance.pk))  # lab: delete


def load(pk):
    article = Article.objects.get(pk=pk)
    found = {"id": article.pk, "title": article.title, "body": article.body}
    gate("loaded")
    return found


def article(request, pk):
    if request.method == "PUT":
        with transaction.atomic():
            changed = Article.objects.get(pk=pk)
            changed.title = json.loads(request.body)["title"]
            changed.save()  # lab: writer
            gate("saved")
        return JsonResponse({"id": pk})
    return JsonResponse(cache.get_or_set(key(pk), lambda: load(pk)))


def purge(request, pk):
    cache.delete(key(pk))
    return JsonResponse({})


urlpatterns = [path("articles/<int:pk>", article), path("articles/<int:pk>/purge", purge)]
application = get_wsgi_application()
