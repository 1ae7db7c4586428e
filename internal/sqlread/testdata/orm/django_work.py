"""Models and queries of a small shop and blog, in Django."""

from urllib.parse import urlsplit


def configure(url):
    from django.conf import settings

    if url.startswith("sqlite"):
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    else:
        u = urlsplit(url)
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": u.path[1:],
            "USER": u.username,
            "HOST": u.hostname,
            "PORT": u.port,
            "OPTIONS": {"options": "-c search_path=orm"},
        }
    settings.configure(
        DATABASES={"default": database},
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
            "shop",
        ],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        SECRET_KEY="only to sign sessions of the corpus",
    )
    import django

    django.setup()


def run():
    from django.contrib.auth.models import Group, Permission, User
    from django.contrib.contenttypes.models import ContentType
    from django.contrib.sessions.backends.db import SessionStore
    from django.contrib.sessions.models import Session
    from django.db import connection, transaction

    from shop.models import Author, Comment, Post, Profile, Stock, Tag

    made = (Author, Profile, Tag, Post, Comment, Stock)
    with connection.schema_editor() as editor:
        for model in (ContentType, Permission, Group, User, Session, *made):
            editor.create_model(model)
    fill(*made)
    reads(*made)
    relations(*made)
    aggregates(*made)
    expressions(*made)
    writes(*made)
    accounts(User, Group, Permission, ContentType)
    session = SessionStore()
    session["x"] = 1
    session.create()
    session.save()
    SessionStore(session.session_key).get("x")
    session.flush()
    SessionStore.clear_expired()
    with transaction.atomic():
        with transaction.atomic():
            made[0].objects.filter(pk=1).update(active=True)
        with transaction.atomic():
            list(made[3].objects.select_for_update().filter(slug="p1"))
            list(made[3].objects.select_for_update().select_related("author").filter(pk=1))
            if connection.vendor == "postgresql":
                locked = made[3].objects.select_for_update
                list(locked(skip_locked=True).filter(views=0)[:2])
                list(locked(of=("self",), nowait=True).select_related("author").filter(pk=1))
                list(locked(no_key=True).filter(author__name="n1"))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p.slug FROM shop_post p JOIN shop_author a ON a.id = p.author_id WHERE a.name = %s",
            ["n1"],
        )
        cursor.execute("SELECT count(*) FROM shop_post WHERE title LIKE 'a%%' AND views = %s", [1])
    list(made[3].objects.raw("SELECT * FROM shop_post WHERE author_id = %s ORDER BY id", [1]))
    connection.introspection.table_names()
    with connection.schema_editor() as editor:
        for model in reversed(made):
            editor.delete_model(model)


def fill(Author, Profile, Tag, Post, Comment, Stock):
    authors = [Author.objects.create(name=f"n{i}", email=f"{i}@example.org") for i in range(4)]
    Profile.objects.create(author=authors[0])
    tags = Tag.objects.bulk_create([Tag(name=f"t{i}") for i in range(4)])
    for i in range(5):
        post = Post.objects.create(
            author=authors[i % 4], slug=f"p{i}", title=f"T {i}", data={"k": i, "deep": {"x": [1]}}
        )
        post.tags.set(Tag.objects.filter(name__in=["t1", "t2"]))
        for j in range(i % 3):
            Comment.objects.create(post=post, author=authors[j], text="c")
    authors[0].follows.add(authors[1], authors[2])
    Stock.objects.create(shop="s", sku="k", amount=3)
    assert tags


def reads(Author, Profile, Tag, Post, Comment, Stock):
    from django.db import connection
    from django.db.models import Q

    P = Post.objects
    queries = [
        P.all(),
        P.filter(slug="p1"),
        P.filter(pk__in=[1, 2, 3]),
        P.filter(pk__in=[]),
        P.exclude(slug="p1"),
        P.filter(slug="p1", views=0),
        P.filter(Q(slug="p1") | Q(slug="p2")),
        P.filter(Q(views=1) & ~Q(slug="p2")),
        P.filter(Q(author=1) & (Q(views=0) | Q(title="x"))),
        P.filter(title__icontains="x"),
        P.filter(title__iexact="t 1"),
        P.filter(title__startswith="T"),
        P.filter(title__iregex="^t"),
        P.filter(body__isnull=True),
        P.filter(views__gte=1, views__lt=9),
        P.filter(views__range=(1, 3), author_id=2),
        P.filter(created__year=2024),
        P.filter(created__date="2024-01-01"),
        P.filter(created__hour=3),
        P.filter(created__week_day=2),
        P.order_by("-created", "id")[2:5],
        P.values("slug", "title"),
        P.values_list("author_id", flat=True).distinct(),
        P.only("slug"),
        P.defer("body", "data").filter(slug="p1"),
        P.filter(data__k=1),
        P.filter(data__deep__x=[1]),
        P.filter(data__has_key="k"),
        P.filter(data__deep__x__0=1, author=1),
        P.exclude(data__k=None),
        P.reverse(),
        P.values("data__k"),
        P.filter(author__name="n1"),
        P.filter(author__name="n1", author__active=True),
        P.exclude(author__name="n1"),
        P.filter(tags__name="t1"),
        P.filter(tags__name__in=["t1", "t2"]).distinct(),
        P.exclude(tags__name="t1"),
        P.filter(comments__author__name="n1"),
        P.filter(comments__isnull=True),
        P.filter(author__profile__bio=""),
        P.filter(tags__name="t1").filter(tags__name="t2"),
        P.none(),
        Author.objects.filter(active=True),
        Author.objects.filter(active=False, email="1@example.org"),
        Author.objects.filter(follows__name="n1"),
        Author.objects.filter(followers__follows__name="n2"),
        Author.objects.filter(profile=None),
        Comment.objects.filter(parent__parent__text="x"),
        Comment.objects.all()[:1],
        Comment.objects.filter(hidden=False, post__slug="p1").order_by("author__name"),
        Comment.objects.filter(post__author__email="1@example.org", author=None),
        Tag.objects.filter(posts__author__name="n1"),
        Stock.objects.filter(shop="s", sku="k"),
        Stock.objects.filter(Q(shop="s", sku="k") | Q(shop="t", sku="l")),
        P.filter(Q(slug="p1") ^ Q(views=0)),
        P.dates("created", "month"),
        P.datetimes("created", "day"),
    ]
    if connection.vendor == "postgresql":
        queries += [
            P.filter(title__icontains="y"),
            P.distinct("author").order_by("author"),
            P.filter(data__contains={"k": 1}),
            P.filter(data__has_any_keys=["k", "l"]),
        ]
    for query in queries:
        list(query)
    P.count()
    P.filter(slug="p1").exists()
    P.filter(author__name="n1").exists()
    P.get(slug="p1")
    P.filter(slug="p1").first()
    P.last()
    P.latest("created")
    P.in_bulk([1, 2])
    P.filter(views=0)[:3].count()
    P.filter(tags__name="t1").distinct().count()
    P.filter(slug="p1").explain()
    P.filter(slug="zz").contains(P.get(slug="p1"))
    list(P.filter(views=0).iterator(chunk_size=2))


def relations(Author, Profile, Tag, Post, Comment, Stock):
    from django.db.models import Exists, OuterRef, Prefetch, Subquery

    P = Post.objects
    list(P.select_related("author"))
    list(P.select_related("author__profile").filter(slug="p1"))
    list(Comment.objects.select_related("post__author", "author", "parent").filter(post__slug="p1"))
    list(P.prefetch_related("tags", "comments__author"))
    list(
        P.prefetch_related(Prefetch("comments", queryset=Comment.objects.filter(hidden=False).order_by("id")))
    )
    list(Author.objects.prefetch_related("posts__tags", "follows", "profile"))
    latest = Comment.objects.filter(post=OuterRef("pk")).order_by("-id")
    list(P.annotate(last=Subquery(latest.values("text")[:1])))
    list(P.annotate(has=Exists(latest)).filter(has=True))
    list(P.filter(Exists(Comment.objects.filter(post=OuterRef("pk"), author__name="n1"))))
    list(P.filter(~Exists(Comment.objects.filter(post=OuterRef("pk"), hidden=True)), author_id=1))
    list(P.filter(pk__in=Comment.objects.filter(author=1).values("post")))
    list(P.filter(author__in=Author.objects.filter(active=True, name="n1")))
    list(P.filter(pk=Subquery(Comment.objects.filter(text="c").values("post_id")[:1])))
    list(P.filter(author=1).values("slug").union(Tag.objects.order_by().values("name")))
    list(P.filter(author=1).union(P.filter(slug="p2"), all=True).order_by("id")[:3])
    list(P.values("author_id").intersection(Comment.objects.order_by().values("author_id")))
    list(P.values("author_id").difference(Comment.objects.order_by().values("author_id")))
    post = P.get(slug="p1")
    _ = post.author, list(post.tags.all()), list(post.comments.filter(hidden=False)), post.tags.count()
    author = post.author
    list(author.posts.filter(slug="p1"))
    list(author.followers.all())
    list(author.follows.filter(active=True).values_list("name"))
    try:
        _ = author.profile
    except Profile.DoesNotExist:
        pass


def aggregates(Author, Profile, Tag, Post, Comment, Stock):
    from django.db.models import Avg, Count, F, Max, Min, Q, StdDev, Sum, Window
    from django.db.models.functions import DenseRank, Lag, Rank, RowNumber, TruncMonth

    P, A = Post.objects, Author.objects
    P.aggregate(Sum("views"), Avg("score"), n=Count("id"))
    P.filter(author=1).aggregate(Max("created"), Min("created"))
    P.aggregate(hot=Count("id", filter=Q(views__gt=3)), d=Count("author", distinct=True))
    P.annotate(n=Count("comments")).aggregate(Avg("n"))
    P.aggregate(StdDev("views"))
    for query in (
        A.annotate(n=Count("posts")),
        A.annotate(n=Count("posts")).filter(n__gt=1),
        A.annotate(n=Count("posts__comments")),
        A.annotate(n=Count("posts", filter=Q(posts__views=0), distinct=True)).order_by("-n"),
        A.filter(name="n1").annotate(v=Sum("posts__views")).values("name", "v"),
        P.values("author").annotate(n=Count("id")).order_by("author"),
        P.values("author__name").annotate(v=Sum("views"), m=Max("created")).filter(v__gte=0),
        P.annotate(month=TruncMonth("created")).values("month").annotate(n=Count("id")).order_by("month"),
        P.annotate(r=Window(RowNumber(), partition_by=[F("author")], order_by=F("created").desc())),
        P.annotate(r=Window(Rank(), order_by="-views")).filter(r=1),
        P.annotate(
            d=Window(DenseRank(), order_by=[F("views").desc(), F("id").asc()]),
            p=Window(Lag("views"), order_by="id"),
        ),
        P.annotate(total=Window(Sum("views"), partition_by="author")).values("slug", "total"),
        Tag.objects.annotate(n=Count("posts")).filter(n=0),
        P.alias(n=Count("tags")).filter(n=2, author=1),
        A.annotate(a=Avg("posts__score"), b=Min("posts__comments__id")).filter(Q(a__gt=1) | Q(active=True)),
    ):
        list(query)


def expressions(Author, Profile, Tag, Post, Comment, Stock):
    from django.db import connection
    from django.db.models import (
        Case,
        CharField,
        DurationField,
        ExpressionWrapper,
        F,
        FloatField,
        IntegerField,
        Q,
        Value,
        When,
    )
    from django.db.models.functions import (
        Cast,
        Coalesce,
        Concat,
        Extract,
        Greatest,
        Length,
        Lower,
        Now,
        NullIf,
        Substr,
        Upper,
    )

    P = Post.objects
    for query in (
        P.filter(views=F("author_id")),
        P.filter(views__gt=F("score") * 2),
        P.filter(title=F("slug"), author=1),
        P.annotate(up=Upper("title")).filter(up="T 1"),
        P.annotate(n=Length("title")).order_by("n"),
        P.annotate(full=Concat("author__name", Value(" - "), "title")).values("full"),
        P.annotate(c=Coalesce("slug", "title", Value("-"), output_field=CharField())),
        P.annotate(x=Cast("views", CharField())).filter(x="1"),
        P.annotate(
            heat=Case(
                When(views__gt=3, then=Value("hot")),
                When(slug="p1", then=Value("one")),
                default=Value("cold"),
            )
        ),
        P.order_by(Case(When(author__name="n1", then=0), default=1, output_field=IntegerField()), "id"),
        P.annotate(age=ExpressionWrapper(Now() - F("created"), output_field=DurationField())),
        P.order_by(F("body").desc(nulls_last=True)),
        P.annotate(g=Greatest("views", Length("title"))).filter(g=1),
        P.annotate(y=Extract("created", "year")).values_list("y"),
        P.filter(Q(title=Lower("slug")) | Q(slug=Substr("title", 1, 2))),
        P.annotate(z=NullIf("views", Value(0))),
        P.annotate(v=Value(3)).filter(v=3, slug="p1"),
        P.annotate(w=F("author__name")).filter(w="n1").order_by("w"),
        P.filter(author__name=F("title")),
        P.extra(where=["views = %s"], params=[0], select={"dbl": "views * 2"}),
        P.filter(created__lt=Now(), author_id=1),
        Stock.objects.annotate(
            v=ExpressionWrapper(F("amount") * F("price"), output_field=FloatField())
        ).filter(v__gt=1),
    ):
        list(query)
    if connection.vendor == "postgresql":
        from django.contrib.postgres.aggregates import ArrayAgg, StringAgg
        from django.contrib.postgres.search import SearchVector

        list(Author.objects.annotate(s=ArrayAgg("posts__slug", distinct=True)))
        list(Author.objects.annotate(s=StringAgg("posts__slug", delimiter=",")).filter(name="n1"))
        list(P.annotate(s=SearchVector("title", "body")).filter(s="x"))


def writes(Author, Profile, Tag, Post, Comment, Stock):
    from django.db.models import Case, Exists, F, OuterRef, Subquery, Value, When
    from django.db.models.functions import Coalesce, Concat, Now

    P = Post.objects
    post = P.get(slug="p1")
    post.title = "New"
    post.save()
    post.save(update_fields=["title", "views"])
    post.views = F("views") + 1
    post.save(update_fields=["views"])
    post.refresh_from_db()
    post.refresh_from_db(fields=["views"])
    P.filter(slug="p1").update(views=F("views") + 1)
    P.update(views=0)
    P.filter(pk__in=[1, 2]).update(title=Concat("title", Value("!")), created=Now())
    P.filter(author__name="n1").update(title="by n1")
    P.filter(tags__name="t1").update(views=3)
    P.filter(slug="p2").update(views=Case(When(title="x", then=1), default=2))
    P.update(
        body=Coalesce(Subquery(Comment.objects.filter(post=OuterRef("pk")).values("text")[:1]), Value("-"))
    )
    P.filter(Exists(Comment.objects.filter(post=OuterRef("pk")))).update(views=4)
    P.bulk_create([Post(author_id=1, slug=f"b{i}", title="b") for i in range(3)])
    P.bulk_create([Post(author_id=1, slug="b1", title="c")], ignore_conflicts=True)
    P.bulk_create(
        [Post(author_id=1, slug="b1", title="c")],
        update_conflicts=True,
        unique_fields=["slug"],
        update_fields=["title"],
    )
    Stock.objects.bulk_create(
        [Stock(shop="s", sku=f"k{i}", amount=i) for i in range(3)],
        update_conflicts=True,
        unique_fields=["shop", "sku"],
        update_fields=["amount", "price"],
    )
    Stock.objects.bulk_create([Stock(pk=500, shop="z", sku="z"), Stock(pk=501, shop="z", sku="y")])
    rows = list(P.filter(author=1))
    for row in rows:
        row.views, row.title = 8, "bulk"
    P.bulk_update(rows, ["views", "title"])
    Author.objects.get_or_create(email="9@example.org", defaults={"name": "nine"})
    Author.objects.update_or_create(email="9@example.org", defaults={"name": "nein"})
    Author.objects.update_or_create(email="10@example.org", defaults={"name": "ten"})
    tag = Tag.objects.create(name="gone")
    post.tags.add(tag, Tag.objects.get(name="t3"))
    post.tags.remove(tag)
    post.tags.set([tag])
    post.tags.clear()
    post.comments.create(text="new")
    post.comments.update(hidden=True)
    Comment.objects.filter(hidden=True, post__slug="zz").delete()
    Comment.objects.filter(author=3).delete()
    Comment.objects.filter(pk=424242)._raw_delete("default")
    tag.delete()
    P.get(slug="b2").delete()
    P.filter(slug__startswith="b").delete()
    Author.objects.filter(email="9@example.org").delete()
    Author.objects.get(name="n3").delete()


def accounts(User, Group, Permission, ContentType):
    user = User.objects.create_user("bob", "bob@example.org", None)
    group = Group.objects.create(name="g")
    group.permissions.add(
        Permission.objects.create(
            name="p", codename="c", content_type=ContentType.objects.get_for_model(User)
        )
    )
    user.groups.add(group)
    user.has_perm("auth.c")
    User.objects.get_by_natural_key("bob")
    list(User.objects.filter(groups__permissions__codename="c", is_active=True))
    list(Permission.objects.filter(group__user=user).select_related("content_type"))
    User.objects.filter(pk=user.pk).update(last_login=None)
    list(User.objects.with_perm("auth.c", backend="django.contrib.auth.backends.ModelBackend"))
    user.delete()
