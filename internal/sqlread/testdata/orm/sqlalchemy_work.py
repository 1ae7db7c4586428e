"""Models and queries of a small publishing site, in SQLAlchemy, for versions 1.4 and 2."""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    Numeric,
    String,
    Table,
    UniqueConstraint,
    and_,
    any_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    extract,
    func,
    insert,
    lateral,
    literal,
    not_,
    or_,
    select,
    tablesample,
    text,
    true,
    tuple_,
    union,
    union_all,
    update,
    values,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import (
    Session,
    aliased,
    contains_eager,
    declarative_base,
    joinedload,
    load_only,
    relationship,
    selectinload,
    subqueryload,
)

Base = declarative_base()

article_tags = Table(
    "article_tags",
    Base.metadata,
    Column("article_id", ForeignKey("articles.id"), primary_key=True),
    Column("tag_id", ForeignKey("tags.id"), primary_key=True),
)


class User(Base):
    __tablename__ = "users"
    id = Column(Integer, primary_key=True)
    username = Column(String(40), unique=True)
    email = Column(String(80))
    active = Column(Boolean, default=True)
    articles = relationship("Article", back_populates="author")


class Tag(Base):
    __tablename__ = "tags"
    id = Column(Integer, primary_key=True)
    name = Column(String(40), unique=True)


class Article(Base):
    __tablename__ = "articles"
    id = Column(Integer, primary_key=True)
    slug = Column(String(80), unique=True)
    title = Column(String(200))
    body = Column(String)
    views = Column(Integer, default=0)
    author_id = Column(ForeignKey("users.id"))
    created_at = Column(DateTime, server_default=func.now())
    meta = Column(JSON)
    author = relationship("User", back_populates="articles")
    tags = relationship("Tag", secondary=article_tags, order_by="Tag.name")
    comments = relationship("Comment", back_populates="article", cascade="all, delete-orphan")


class Comment(Base):
    __tablename__ = "comments"
    id = Column(Integer, primary_key=True)
    body = Column(String)
    article_id = Column(ForeignKey("articles.id"))
    author_id = Column(ForeignKey("users.id"))
    parent_id = Column(ForeignKey("comments.id"))
    article = relationship("Article", back_populates="comments")
    author = relationship("User")
    parent = relationship("Comment", remote_side=[id])


class Order(Base):
    __tablename__ = "Order"
    __table_args__ = (UniqueConstraint("customer", "Number"),)
    id = Column(Integer, primary_key=True)
    customer = Column(String(40))
    number = Column("Number", Integer)
    total = Column("total amount", Numeric(10, 2))


class Setting(Base):
    __tablename__ = "settings"
    scope = Column(String(20), primary_key=True)
    key = Column(String(40), primary_key=True)
    value = Column(JSON().with_variant(postgresql.JSONB(), "postgresql"))


def run(conn):
    pg = conn.dialect.name == "postgresql"
    session = Session(bind=conn, future=True)
    fill(session)
    reads(session, pg)
    joins_and_subqueries(session, pg)
    analytic(session, pg)
    writes(session, pg)
    upserts(session, pg)
    core(session, pg)


def fill(session):
    users = [User(username=f"u{i}", email=f"u{i}@example.org") for i in range(5)]
    tags = [Tag(name=f"t{i}") for i in range(4)]
    session.add_all(users + tags)
    session.flush()
    for i in range(6):
        article = Article(
            slug=f"a{i}", title=f"Title {i}", body="…", author=users[i % 5], meta={"n": i, "s": "x"}
        )
        article.tags = tags[: i % 4]
        article.comments = [Comment(body=f"c{j}", author=users[j]) for j in range(i % 3)]
        session.add(article)
    session.add(Setting(scope="site", key="theme", value={"dark": True}))
    session.add(Order(customer="x", number=1, total=3))
    session.commit()
    with session.begin_nested():
        session.add(User(username="nested", email="n@example.org"))
    session.commit()


def all_of(session, *statements):
    for statement in statements:
        session.execute(statement).fetchall()


def reads(session, pg):
    a = Article
    all_of(
        session,
        select(a),
        select(a).where(a.slug == "a1"),
        select(a.id, a.title).where(a.slug == "a1", a.views == 0),
        select(a).where(a.id.in_([1, 2, 3])),
        select(a).where(a.id.in_([])),
        select(a).where(a.id.not_in([1, 2])),
        select(a).where(or_(a.slug == "a1", a.slug == "a2")),
        select(a).where(and_(a.author_id == 1, or_(a.views == 1, a.views > 5))),
        select(a).where(not_(a.slug == "a1")),
        select(a).where(a.title.like("T%")),
        select(a).where(a.title.ilike("%t%")),
        select(a).where(a.title.contains("x%", autoescape=True)),
        select(a).where(a.body.is_(None)),
        select(a).where(a.body.is_not(None), a.author_id == 2),
        select(a).where(a.views.between(1, 5), a.author_id == 3),
        select(a).where(a.views % 2 == 0),
        select(a).where(a.views + 1 == 4),
        select(a).where(func.lower(a.slug) == "a1"),
        select(a).where(literal(1) == a.id),
        select(a).where(a.slug.is_distinct_from("a1")),
        select(a).where(a.slug.is_not_distinct_from("a1")),
        select(a).order_by(a.created_at.desc(), a.id).limit(5).offset(2),
        select(a).order_by(a.views.desc().nulls_last()).limit(2),
        select(a.author_id).distinct(),
        select(a).with_for_update(),
        select(func.count()).select_from(a),
        select(func.count(a.id), func.max(a.views)).where(a.author_id == 1),
        select(a.author_id, func.count().label("n"))
        .group_by(a.author_id)
        .having(func.count() > 1)
        .order_by(text("n DESC")),
        select(cast(a.views, String), a.title + "!", extract("year", a.created_at)),
        select(a.id).where(tuple_(a.id, a.slug).in_([(1, "a1"), (2, "a2")])),
        select(case((a.views > 3, "hot"), (a.views > 1, "warm"), else_="cold").label("heat"), a.id).order_by(
            "heat"
        ),
        select(Order).where(Order.number == 1, Order.customer == "x"),
        select(Order.total).order_by(Order.total),
        select(a.meta["n"].as_integer(), a.id).where(a.meta["s"].as_string() == "x"),
        select(User).where(User.active, User.username == "u1"),
        select(User).where(User.active.is_(True), ~User.email.startswith("z")),
        select(User.id).where(User.active == true(), User.id == 3),
        select(Setting).where(Setting.scope == "site", Setting.key == "theme"),
        text("SELECT id, slug FROM articles WHERE slug = :slug AND author_id IN (1, 2)").bindparams(
            slug="a1"
        ),
    )
    session.get(Article, 1)
    session.expire_all()
    session.get(Article, 2, with_for_update={"read": True})
    session.get(Setting, ("site", "theme"))
    session.query(Article).filter_by(slug="a3").first()
    session.query(Article).filter(Article.slug == "a3").one_or_none()
    session.query(Article).filter(Article.author_id == 1).count()
    session.query(session.query(Article).filter_by(slug="a1").exists()).scalar()
    session.query(User.username, func.count(Article.id)).outerjoin(Article).group_by(User.username).all()
    session.query(Article).filter(Article.author.has(username="u1")).all()
    session.query(Article).filter(Article.tags.any(Tag.name == "t1")).all()
    session.query(Article).filter(~Article.comments.any()).order_by(Article.id).all()
    if pg:
        all_of(
            session,
            select(a).with_for_update(skip_locked=True, of=a),
            select(a).with_for_update(nowait=True, key_share=True),
            select(a).where(a.id == any_(postgresql.array([1, 2, 3]))),
            select(a).where(a.slug == any_(postgresql.array(["a1", "a2"])), a.author_id == 1),
            select(a).distinct(a.author_id).order_by(a.author_id, a.id),
            select(Setting).where(Setting.value.op("?")("dark")),
            select(Setting).where(Setting.value.op("@>")(text("'{}'::jsonb")), Setting.scope == "site"),
            select(Setting.value["dark"].as_string()).where(Setting.value[("a", "b")].as_string() == "1"),
            select(func.array_agg(postgresql.aggregate_order_by(a.slug, a.id.desc()))).where(
                a.author_id == 1
            ),
            select(func.string_agg(a.slug, ",")).filter_by(author_id=1),
            select(func.count(a.id).filter(a.views > 1), a.author_id).group_by(a.author_id),
            select(func.percentile_cont(0.5).within_group(a.views)),
            select(func.to_tsvector("english", a.title).op("@@")(func.to_tsquery("english", "x")), a.id),
            select(a.created_at + text("INTERVAL '1 day'"), func.date_trunc("day", a.created_at)),
            select(a.created_at.op("AT TIME ZONE")("UTC")),
            select(func.generate_series(1, 3).table_valued("value").render_derived()),
            select(Setting.scope, func.jsonb_object_keys(Setting.value)),
            select(tablesample(a, func.bernoulli(50)).c.id),
        )


def joins_and_subqueries(session, pg):
    a, u, c = Article, User, Comment
    author, other, parent = aliased(User), aliased(User), aliased(Comment)
    for option in (
        joinedload(a.author),
        joinedload(a.tags),
        selectinload(a.tags),
        selectinload(a.comments).joinedload(c.author),
        subqueryload(a.comments),
        load_only(a.slug, a.title),
        joinedload(a.comments, innerjoin=True).selectinload(c.author),
    ):
        session.expire_all()
        session.execute(select(a).where(a.author_id == 1).options(option)).unique().all()
        session.execute(select(a).options(option).order_by(a.id).limit(3)).unique().all()
    session.expunge_all()
    for article in session.execute(select(a)).scalars():
        _ = (article.author.username, article.tags, article.comments)
    recent = select(a).where(a.views == 0).order_by(a.id.desc()).limit(3).subquery()
    counts = select(c.article_id, func.count().label("n")).group_by(c.article_id).cte("counts")
    first = select(c.body).where(c.article_id == a.id).order_by(c.id).limit(1).scalar_subquery()
    tree = select(c.id, c.parent_id, literal(0).label("depth")).where(c.id == 1).cte("tree", recursive=True)
    tree = tree.union_all(select(c.id, c.parent_id, tree.c.depth + 1).join(tree, c.parent_id == tree.c.id))
    all_of(
        session,
        select(a, u).join(u, a.author_id == u.id).where(u.username == "u1"),
        select(a).join(a.author).where(u.username == "u1", a.slug == "a1"),
        select(a).join(a.author).options(contains_eager(a.author)).where(u.active == true()),
        select(a.id, u.id).outerjoin(u, and_(a.author_id == u.id, u.username == "u1")),
        select(a.id, u.id).select_from(a).join(u, a.author_id == u.id, full=True) if pg else select(a.id),
        select(a.slug, Tag.name).join(a.tags).where(Tag.name.in_(["t1", "t2"])),
        select(author.username, other.username)
        .join(other, author.id < other.id)
        .where(author.username == "u1"),
        select(c.body, parent.body).outerjoin(parent, c.parent_id == parent.id).where(parent.id == 3),
        select(c, author, a).join(author, c.author).join(a, c.article).where(a.slug == "a1", author.id == 2),
        select(recent.c.slug, u.username).join(u, recent.c.author_id == u.id),
        select(a.slug, counts.c.n).join(counts, counts.c.article_id == a.id).where(counts.c.n == 2),
        select(a.slug, first.label("first")).where(a.author_id == 1).order_by("first"),
        select(a).where(a.id.in_(select(c.article_id).where(c.author_id == 1))),
        select(a).where(exists().where(c.article_id == a.id, c.author_id == 2)),
        select(a).where(~exists(select(c.id).where(c.article_id == a.id).correlate(a)), a.author_id == 1),
        select(a).where(a.views == select(func.max(a.views)).scalar_subquery()),
        select(tree),
        select(tree.c.id, c.body).join(c, c.id == tree.c.id).order_by(tree.c.depth),
        union(select(a.author_id).where(a.slug == "a1"), select(c.author_id).where(c.id == 1)),
        union_all(select(a.id, a.title), select(c.id, c.body)).order_by("id").limit(5),
        select(a.author_id).intersect(select(c.author_id)),
        select(a.author_id).except_(select(c.author_id).where(c.article_id == 1)),
        select(union_all(select(a.id), select(u.id)).subquery().c.id).where(literal(1) == 1),
        select(a, u),
        select(u.username, select(func.count(a.id)).where(a.author_id == u.id).scalar_subquery().label("n")),
        select(text("x.n")).select_from(text("(SELECT count(*) AS n FROM articles) AS x")),
    )
    if pg:
        top = lateral(
            select(c.body, c.id).where(c.article_id == a.id).order_by(c.id.desc()).limit(2), name="top"
        )
        pairs = values(Column("id", Integer), Column("name", String), name="pairs").data([(1, "x"), (2, "y")])
        all_of(
            session,
            select(a.slug, top.c.body).join(top, true()),
            select(a.slug, top.c.body).outerjoin(top, true()).where(a.author_id == 1),
            select(a.slug, pairs.c.name).join(pairs, pairs.c.id == a.id),
            select(a).join(a.author).with_for_update(of=u),
            select(a)
            .where(a.id == select(c.article_id).where(c.id == 1).scalar_subquery())
            .with_for_update(),
        )


def analytic(session, pg):
    a, c = Article, Comment
    ranked = select(
        a.id,
        a.author_id,
        func.row_number().over(partition_by=a.author_id, order_by=a.created_at.desc()).label("rank"),
    ).subquery()
    per_author = select(a.author_id, func.sum(a.views).label("views")).group_by(a.author_id).cte("per_author")
    best = select(func.max(per_author.c.views).label("top")).cte("best")
    all_of(
        session,
        select(ranked).where(ranked.c.rank == 1),
        select(a.id, func.sum(a.views).over(order_by=a.id, rows=(None, 0))),
        select(a.id, func.lag(a.views, 1).over(partition_by=[a.author_id, a.slug], order_by=a.id)),
        select(func.rank().over(order_by=a.views.desc()), a.slug).where(a.author_id == 1),
        select(per_author.c.author_id, best.c.top).where(per_author.c.views == best.c.top),
        select(func.coalesce(func.sum(case((a.views == 1, 1), else_=0)), 0)),
        select(a.author_id, func.count(c.id.distinct()))
        .outerjoin(c)
        .group_by(a.author_id)
        .order_by(func.count(c.id)),
        select(func.avg(a.views), func.min(a.created_at)).where(a.slug != "a1").having(func.count() > 0),
        select(func.count()).select_from(select(a.id).where(a.author_id == 1).limit(10).subquery()),
    )
    if pg:
        all_of(
            session,
            select(func.grouping(a.author_id), func.count()).group_by(func.rollup(a.author_id, a.slug)),
            select(a.id, func.ntile(4).over(order_by=a.id, range_=(None, None))),
        )


def writes(session, pg):
    a = session.execute(select(Article).where(Article.slug == "a1")).scalar_one()
    a.title = "New"
    session.flush()
    a.title, a.views = "Newer", Article.views + 1
    session.flush()
    a.tags.append(Tag(name="fresh"))
    a.comments.append(Comment(body="hello", author_id=1))
    session.flush()
    a.tags.pop()
    session.flush()
    session.add_all([Tag(name=f"bulk{i}") for i in range(4)])
    session.flush()
    session.add(Tag(id=900, name="with id"))
    session.add(Order(customer="y", number=7))
    session.flush()
    session.delete(session.execute(select(Article).where(Article.slug == "a5")).scalar_one())
    session.flush()
    session.bulk_insert_mappings(User, [{"username": f"b{i}", "email": "b@example.org"} for i in range(3)])
    session.bulk_update_mappings(
        User, [{"id": 1, "email": "x@example.org"}, {"id": 2, "email": "y@example.org"}]
    )
    session.bulk_save_objects([User(username="s1"), User(username="s2")])
    session.query(Article).filter(Article.views == 77).update({"views": Article.views + 1})
    session.query(Comment).filter_by(author_id=4, article_id=2).delete()
    sync = {"synchronize_session": False}
    c, u = Comment, User
    for statement in (
        update(Article).where(Article.slug == "a2").values(title="T2"),
        update(Article)
        .where(Article.id.in_([1, 2]))
        .values(views=Article.views + 1, title=func.upper(Article.title)),
        update(Article).values(views=0),
        update(Article).where(Article.id.in_(select(c.article_id).where(c.author_id == 1))).values(views=2),
        update(Article)
        .where(Article.slug == "a2")
        .values(views=select(func.count(c.id)).where(c.article_id == Article.id).scalar_subquery()),
        update(Order).where(Order.number == 1).values(total=5),
        delete(c).where(c.id == 999),
        delete(c).where(c.article_id == 999, c.author_id == 3),
        delete(c).where(or_(c.id == 998, c.id == 999)),
        delete(c).where(c.article_id.in_(select(Article.id).where(Article.slug == "nope"))),
        delete(Setting).where(tuple_(Setting.scope, Setting.key) == tuple_("a", "b")),
    ):
        session.execute(statement.execution_options(**sync))
    if pg:
        for statement in (
            delete(c).where(c.article_id == Article.id, Article.slug == "nope"),
            update(Article).where(Article.author_id == u.id, u.username == "u1").values(views=9),
            update(Article).where(Article.slug == "a2").values(views=3).returning(Article.id, Article.views),
            delete(c).where(c.id == 12345).returning(c.id),
            insert(Tag).values(name="returned").returning(Tag.id, Tag.name),
            update(Setting)
            .where(Setting.scope == "site")
            .values(value=Setting.value.op("||")(text("'{}'::jsonb"))),
        ):
            session.execute(
                statement.execution_options(**sync)
            ).fetchall() if statement._returning else session.execute(statement.execution_options(**sync))
    session.commit()


def upserts(session, pg):
    dialect = postgresql if pg else sqlite
    t, s, o = Tag.__table__, Setting.__table__, Order.__table__
    one = dialect.insert(t).values(name="t1")
    many = dialect.insert(t).values([{"name": "t1"}, {"name": "t2"}, {"name": "t9"}])
    pair = dialect.insert(s).values(scope="site", key="theme", value={})
    order = dialect.insert(o).values(customer="x", Number=1)
    statements = [
        one.on_conflict_do_nothing(),
        one.on_conflict_do_nothing(index_elements=["name"]),
        one.on_conflict_do_update(index_elements=["name"], set_={"name": one.excluded.name}),
        many.on_conflict_do_update(
            index_elements=[t.c.name], set_={"name": many.excluded.name + "x"}, where=t.c.id == 0
        ),
        pair.on_conflict_do_update(index_elements=["scope", "key"], set_={"value": pair.excluded.value}),
        pair.on_conflict_do_update(
            index_elements=["scope", "key"], set_={"key": func.upper(s.c.key)}, where=s.c.scope == "-"
        ),
        order.on_conflict_do_update(index_elements=["customer", "Number"], set_={"total amount": 3}),
    ]
    if pg:
        statements += [
            one.on_conflict_do_nothing(constraint="tags_name_key"),
            one.on_conflict_do_update(index_elements=["name"], set_={"name": "t1"}).returning(t.c.id),
        ]
    else:
        statements += [
            insert(t).prefix_with("OR IGNORE").values(name="t1"),
            insert(s).prefix_with("OR REPLACE").values(scope="site", key="theme", value={}),
        ]
    for statement in statements:
        session.execute(statement)
    session.commit()


def core(session, pg):
    a, c, u, t = Article.__table__, Comment.__table__, User.__table__, Tag.__table__
    run = session.execute
    conn = session.connection()
    conn.execute(insert(t), [{"name": "core1"}, {"name": "core2"}])
    conn.execute(insert(t).values([{"name": "core3"}, {"name": "core4"}]))
    conn.execute(insert(t).from_select(["name"], select(a.c.slug).where(a.c.author_id == 1)))
    conn.execute(
        insert(c).values(body=func.upper("x"), article_id=select(func.min(a.c.id)).scalar_subquery())
    )
    conn.execute(insert(u).values(username=literal("lit"), email=None))
    conn.execute(
        u.update().where(u.c.username == bindparam("who")).values(email=bindparam("mail")),
        [{"who": "u1", "mail": "1"}, {"who": "u2", "mail": "2"}],
    )
    conn.execute(c.delete().where(c.c.id == bindparam("gone")), {"gone": 5000})
    run(select(a.c.id, a.c.slug.label("s")).where(a.c.slug == "a1").order_by("s")).fetchall()
    run(select(text("*")).select_from(a).where(text("slug = 'a1' AND views >= 0"))).fetchall()
    run(a.select().where(a.c.id == 1).with_only_columns(a.c.title)).fetchall()
    j = a.join(u, a.c.author_id == u.c.id).outerjoin(c, c.c.article_id == a.c.id)
    run(select(a.c.id, u.c.username, c.c.body).select_from(j).where(u.c.id == 1, a.c.slug == "a1")).fetchall()
    nested = c.outerjoin(a.join(u, a.c.author_id == u.c.id), c.c.article_id == a.c.id)
    run(select(c.c.id, u.c.username).select_from(nested).where(u.c.username == "u1")).fetchall()
    if pg:
        moved = delete(c).where(c.c.author_id == 77).returning(c.c.body, c.c.article_id).cte("moved")
        run(insert(c).from_select(["body", "article_id"], select(moved.c.body, moved.c.article_id)))
        fresh = insert(t).values(name="via cte").returning(t.c.id).cte("fresh")
        run(select(fresh.c.id)).fetchall()
        touched = update(a).where(a.c.slug == "a1").values(views=1).returning(a.c.id).cte("touched")
        run(select(c.c.id).join(touched, touched.c.id == c.c.article_id)).fetchall()
        run(text("LOCK TABLE articles IN SHARE MODE"))
        run(text("TRUNCATE TABLE article_tags, comments"))
    session.rollback()
