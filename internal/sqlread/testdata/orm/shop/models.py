"""The tables of django_work."""

from django.db import models as m


class Author(m.Model):
    name = m.CharField(max_length=50)
    email = m.EmailField(unique=True)
    active = m.BooleanField(default=True)
    follows = m.ManyToManyField("self", symmetrical=False, related_name="followers")


class Profile(m.Model):
    author = m.OneToOneField(Author, on_delete=m.CASCADE)
    bio = m.TextField(default="")


class Tag(m.Model):
    name = m.SlugField(unique=True)

    class Meta:
        ordering = ["name"]


class Post(m.Model):
    author = m.ForeignKey(Author, on_delete=m.CASCADE, related_name="posts")
    slug = m.SlugField(unique=True)
    title = m.CharField(max_length=100)
    body = m.TextField(default="")
    views = m.IntegerField(default=0)
    score = m.DecimalField(max_digits=6, decimal_places=2, default=0)
    created = m.DateTimeField(auto_now_add=True)
    data = m.JSONField(default=dict)
    tags = m.ManyToManyField(Tag, related_name="posts")


class Comment(m.Model):
    post = m.ForeignKey(Post, on_delete=m.CASCADE, related_name="comments")
    author = m.ForeignKey(Author, null=True, on_delete=m.SET_NULL)
    parent = m.ForeignKey("self", null=True, on_delete=m.CASCADE)
    text = m.TextField()
    hidden = m.BooleanField(default=False)

    class Meta:
        ordering = ["-id"]


class Stock(m.Model):
    shop = m.CharField(max_length=20)
    sku = m.CharField(max_length=20)
    amount = m.IntegerField(default=0)
    price = m.FloatField(null=True)

    class Meta:
        db_table = "Stock Levels"
        constraints = [m.UniqueConstraint(fields=["shop", "sku"], name="one_stock")]
