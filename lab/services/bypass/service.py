"""A shop in Django; django-cacheops keeps the products in Redis and drops them when they are saved.

The defect: the sale changes all prices with one statement, QuerySet.update, which sends no signals, so that cacheops
drops nothing. The twin uses cacheops' own invalidated_update.
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
    INSTALLED_APPS=["cacheops", __name__],
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
    CACHEOPS_REDIS=os.environ["LAB_REDIS"],
    CACHEOPS={"service.product": {"ops": "all", "timeout": 300}},
)
django.setup()

from cacheops import invalidate_obj  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402

FIXED = "LAB_FIXED" in os.environ


class Product(models.Model):
    name = models.TextField()
    price = models.IntegerField()

    class Meta:
        app_label = "service"
        db_table = "products"


def product(request, pk):
    found = Product.objects.get(pk=pk)
    if request.method == "PUT":
        found.price = json.loads(request.body)["price"]
        found.save()
    return JsonResponse({"id": found.pk, "name": found.name, "price": found.price})


def sale(request):
    products = Product.objects.filter(price__gte=100)
    if FIXED:
        products.invalidated_update(price=models.F("price") / 2)
    else:
        products.update(price=models.F("price") / 2)  # lab: writer
    return JsonResponse({})


def refresh(request, pk):
    invalidate_obj(Product(pk=pk))
    return JsonResponse({})


urlpatterns = [path("products/<int:pk>", product), path("products/<int:pk>/refresh", refresh), path("sale", sale)]
application = get_wsgi_application()
