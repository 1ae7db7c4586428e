"""SQLAlchemy 1.4 and 2, sync and async. The tests run in both versions' environments."""

import sys

import pytest
import sqlalchemy
from dbtools import healthy, lines, postgres

pytestmark = [pytest.mark.sqlalchemy, pytest.mark.thorough]
TWO = not sqlalchemy.__version__.startswith("1.")

SYNC = """
import sys
import sqlalchemy as sa
from sqlalchemy import Column, Integer, String, select, text
from sqlalchemy.orm import Session, declarative_base
Base = declarative_base()
class T(Base):
    __tablename__ = "t_sa"
    id = Column(Integer, primary_key=True)
    name = Column(String(20), unique=True)
e = sa.create_engine(sys.argv[1], future=True)
Base.metadata.drop_all(e)
Base.metadata.create_all(e)
with e.begin() as c:
    c.execute(text("select 'start'"))
with Session(e) as s:
    s.add(T(name="a"))
    s.commit()
    print(s.execute(select(T.name).where(T.id > 0)).all())
    s.rollback()
with e.begin() as c:
    c.execute(text("insert into t_sa(name) values(:n)"), [{"n": "u%d" % i} for i in range(10)])
try:
    with e.begin() as c:
        c.execute(text("update t_sa set name = 'b' where name = 'a'"))
        with c.begin_nested():
            c.execute(text("insert into t_sa(name) values('u1')"))
except sa.exc.IntegrityError as x:
    print(type(x.orig).__name__)
with e.connect() as c:
    c.execute(text("delete from t_sa where name = :n"), {"n": "u2"})
    c.commit()
with e.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
    print(c.execute(text("select count(*) from t_sa")).scalar())
    c.execute(text("delete from t_sa where name = :n"), {"n": "u3"})
raw = e.raw_connection()
print(type(raw.dbapi_connection).__name__)
raw.close()
e.dispose()
"""
NAMED = "%(n)s"


def sync_lines(dialect):
    """What the program above does, as seen by each database."""
    sqlite = dialect == "sqlite"
    mark = "?" if sqlite else NAMED
    insert = "INSERT INTO t_sa (name) VALUES (%s)" % (
        "?" if sqlite else "%(name)s::VARCHAR" if dialect == "psycopg" else "%(name)s")
    where = "?" if sqlite else "%(id_1)s::INTEGER" if dialect == "psycopg" else "%(id_1)s"
    select = "SELECT t_sa.name FROM t_sa WHERE t_sa.id > %s params=1" % where
    error = "IntegrityError" if sqlite else "UniqueViolation"
    out = ["BEGIN", insert + ("" if sqlite else " RETURNING t_sa.id") + " params=1 rows=1", "COMMIT"]
    # SQLite begins nothing before a read.
    out += ["- " + select] if sqlite else ["BEGIN", select + " rows=1", "ROLLBACK"]
    out += ["BEGIN", "insert into t_sa(name) values(%s) params=8 rows=10 many=10" % mark, "COMMIT"]
    out += [
        "BEGIN", "update t_sa set name = ? where name = ? rows=1", "SAVEPOINT sa_savepoint_1",
        "insert into t_sa(name) values(?) error=" + error, "ROLLBACK TO SAVEPOINT sa_savepoint_1", "ROLLBACK",
    ]
    out += ["BEGIN", "delete from t_sa where name = %s params=1 rows=1" % mark, "COMMIT"]
    out += ["- select count(*) from t_sa" + ("" if sqlite else " rows=1")]
    out += ["- delete from t_sa where name = %s params=1 rows=1" % mark]
    numbered, n = [], 0
    for s in out:
        n += s == "BEGIN"
        numbered.append(s if s.startswith("- ") else "T%d %s" % (n, s))
    return numbered


SYNC_DRIVERS = ["sqlite", "psycopg2"] + (["psycopg"] if TWO else [])


@pytest.mark.parametrize("hooks", ["", "sqlalchemy"])
@pytest.mark.parametrize("driver", SYNC_DRIVERS)
def test_one_statement_one_event(collector, driver, hooks):
    url = "sqlite:///t.db" if driver == "sqlite" else postgres("postgresql+" + driver)
    p = collector.run(SYNC, url, DEMARC_HOOKS=hooks)
    printed = p.stdout.splitlines()
    assert printed[0] == "[('a',)]"
    assert printed[2] == "10"
    assert printed[3] in ("Connection", "connection")
    got = lines(collector)
    # SQLite: no transaction around the marker; PostgreSQL: its commit follows.
    start = [i for i, s in enumerate(got) if s.partition(" ")[2].startswith("select ?")][-1]
    rest = got[start + 1 :]
    if driver != "sqlite":
        assert rest.pop(0).endswith(" COMMIT")
    assert renumbered(rest) == sync_lines(driver)
    healthy(collector)


def renumbered(got):
    """Transactions counted from the first that is left."""
    names, out = {}, []
    for s in got:
        txn, _, what = s.partition(" ")
        out.append("- " + what if txn == "-" else "%s %s" % (names.setdefault(txn, "T%d" % (len(names) + 1)), what))
    return out


ASYNC = """
import sys, asyncio
import sqlalchemy as sa
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
async def main():
    e = create_async_engine(sys.argv[1])
    async with e.begin() as c:
        await c.execute(text("drop table if exists t_saa"))
        await c.execute(text("create table t_saa(id integer primary key, name varchar(20))"))
    async with e.begin() as c:
        await c.execute(text("insert into t_saa values(:id, :n)"), {"id": 1, "n": "x"})
        await c.execute(text("insert into t_saa values(:id, :n)"), [{"id": i, "n": "x"} for i in range(2, 12)])
    async with e.connect() as c:
        print((await c.execute(text("select * from t_saa where id < :i order by id"), {"i": 4})).all())
    async with e.connect() as c:
        try:
            await c.execute(text("insert into t_saa values(:id, :n)"), {"id": 1, "n": "x"})
        except sa.exc.IntegrityError as x:
            print(type(x).__name__)
        await c.commit()
    await asyncio.gather(*[one(e, i) for i in range(3)])
    await e.dispose()
async def one(e, i):
    async with e.connect() as c:
        await c.execute(text("select name from t_saa where id = :i"), {"i": i})
asyncio.run(main())
"""


@pytest.mark.parametrize("driver", ["aiosqlite", "asyncpg"] + (["psycopg"] if TWO else []))
def test_async_engines(collector, driver):
    url = "sqlite+aiosqlite:///t.db" if driver == "aiosqlite" else postgres("postgresql+" + driver)
    p = collector.run(ASYNC, url)
    assert p.stdout == "[(1, 'x'), (2, 'x'), (3, 'x')]\nIntegrityError\n"
    got = lines(collector, after="create table")
    if driver != "aiosqlite":
        assert got.pop(0).endswith(" COMMIT")
    got = renumbered(got)
    queries = [s.partition(" ")[2] for s in got if s.split()[1] not in ("BEGIN", "COMMIT", "ROLLBACK")]
    assert len(queries) == 7, queries
    a, b, i = {"aiosqlite": ("?", "?", "?"), "asyncpg": ("$1", "$2", "$1"),
               "psycopg": ("%(id)s", "%(n)s", "%(i)s")}[driver]
    if driver == "asyncpg" and not TWO:
        a = b = i = "%s"
    assert queries[0] == "insert into t_saa values(%s, %s) params=2 rows=1" % (a, b)
    # asyncpg does not tell how many rows an executemany wrote
    rows = "" if driver == "asyncpg" else " rows=10"
    assert queries[1] == "insert into t_saa values(%s, %s) params=16%s many=10" % (a, b, rows)
    assert queries[2] == "select * from t_saa where id < %s order by id params=1 rows=3" % i
    assert " error=" in queries[3]
    # The commit of a transaction in which a statement failed is a rollback for PostgreSQL, and a commit for SQLite.
    at = next(k for k, s in enumerate(got) if " error=" in s)
    assert got[at + 1].split()[1] == ("COMMIT" if driver == "aiosqlite" else "ROLLBACK")
    for s in got:
        if " select " in s and driver == "aiosqlite":
            assert s.startswith("- ")
    healthy(collector)


def test_transactions_of_concurrent_sessions_are_kept_apart(collector):
    collector.run(ASYNC, postgres("postgresql+asyncpg"))
    ends = collector.of("txn", op="rollback")
    assert len({e["txn"] for e in ends}) == len(ends)
    begun = [e["txn"] for e in collector.of("txn", op="begin")]
    assert len(set(begun)) == len(begun)
    ended = [e["txn"] for e in collector.of("txn") if e["op"] != "begin"]
    assert sorted(begun) == sorted(ended)


def test_code_line_and_request_under_the_async_orm(collector, tmp_path):
    (tmp_path / "shop.py").write_text(
        """
import asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from _demarc import core
async def price(c):
    return await c.execute(text("select 1"))
async def main():
    e = create_async_engine("sqlite+aiosqlite://")
    core.current.set(core.Ctx(7, 7))
    async with e.connect() as c:
        await price(c)
    await e.dispose()
asyncio.run(main())
"""
    )
    collector.run("import shop", PYTHONPATH=str(tmp_path))
    (e,) = collector.of("query")
    assert e["code"] == "shop:price:7"
    assert e["trace"].endswith(".7")


LAZY = """
import asyncio
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import StaticPool
Base = orm.declarative_base()
class User(Base):
    __tablename__ = "users"
    id = sa.Column(sa.Integer, primary_key=True)
class Post(Base):
    __tablename__ = "posts"
    id = sa.Column(sa.Integer, primary_key=True)
    user_id = sa.Column(sa.ForeignKey("users.id"))
    user = orm.relationship(User)
    @property
    def owner(self):
        return self.user
def first(s):
    s.expunge_all()
    return s.get(Post, 1).user
def second(s):
    s.expunge_all()
    post = s.get(Post, 1); return post.user
def through(s):
    s.expunge_all()
    return s.get(Post, 1).owner
def deep(s, n=3):
    return deep(s, n - 1) if n else first(s)
def fill(s):
    Base.metadata.create_all(s.connection())
    s.add_all([User(id=1), Post(id=1, user_id=1)])
    s.flush()
def plain():
    with orm.Session(sa.create_engine("sqlite://")) as s:
        fill(s)
        for f in (first, first, second, first, through, through, deep, first, second, second):
            f(s)
async def under_greenlets():
    e = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
    async with AsyncSession(e) as s:
        await s.run_sync(fill)
        for f in (first, first, second, first, through, through, deep, first, second, second):
            await s.run_sync(f)
        for n in range(3):
            await s.run_sync(orm.Session.expunge_all)
            post = await s.get(Post, 1)
            await s.run_sync(orm.Session.refresh, post)
        await s.run_sync(orm.Session.refresh, post)
    await e.dispose()
"""


@pytest.mark.parametrize("how", ["plain()", "asyncio.run(under_greenlets())"])
def test_code_line_of_lazy_loads_by_turns(collector, tmp_path, how):
    """The way from a statement to the service's line is remembered, and the next time it may be another one."""
    (tmp_path / "shop.py").write_text(LAZY + how)
    collector.run("import shop", PYTHONPATH=str(tmp_path))
    found = [e["code"] for e in collector.of("query") if "FROM users" in e["text"]]
    at = {name: "shop:%s:%d" % (name, 1 + LAZY[:LAZY.index(line)].count("\n")) for name, line in (
        ("first", "return s.get(Post, 1).user"), ("second", "post = s.get(Post, 1); return"),
        ("Post.owner" if sys.version_info >= (3, 11) else "owner", "return self.user"))}
    first, second, through = at.values()
    assert found == [first, first, second, first, through, through, first, first, second, second]
    if "run" in how:
        line = 1 + LAZY[:LAZY.index("post = await s.get")].count("\n")
        rest = [e["code"].rpartition(":") for e in collector.of("query") if "FROM posts" in e["text"]][-7:]
        assert {m for m, _, _ in rest} == {"shop:under_greenlets"}
        assert [int(n) - line for _, _, n in rest] == [0, 1, 0, 1, 0, 1, 2]
    healthy(collector)


def test_isolation_level_and_two_phase(collector):
    collector.run(
        """
import sys
import sqlalchemy as sa
e = sa.create_engine(sys.argv[1], future=True, isolation_level="REPEATABLE READ")
with e.begin() as c:
    c.execute(sa.text("select 1"))
c = e.connect().execution_options(isolation_level="SERIALIZABLE")
c.execute(sa.text("select 2"))
c.rollback()
c.close()
c = e.connect()
t = c.begin_twophase()
c.execute(sa.text("select 3"))
t.commit()
c.close()
""",
        postgres("postgresql+psycopg2"),
    )
    assert lines(collector) == [
        "T1 BEGIN isolation=repeatable read", "T1 select ? rows=1", "T1 COMMIT",
        "T2 BEGIN isolation=serializable", "T2 select ? rows=1", "T2 ROLLBACK",
        "T3 BEGIN isolation=repeatable read", "T3 select ? rows=1", "T3 COMMIT",
    ]
    healthy(collector)


def test_switched_off_the_driver_is_seen(collector):
    code = "import sys\nimport sqlalchemy as sa\nwith sa.create_engine('sqlite://').connect() as c:\n" \
           "    print(c.execute(sa.text('select 41 + 1')).scalar())\n"
    assert collector.run(code, DEMARC_HOOKS="-sqlalchemy,-sqlite3").stdout == "42\n"
    assert lines(collector) == []
    assert collector.run(code, DEMARC_HOOKS="-sqlalchemy").stdout == "42\n"
    assert lines(collector)[-1] == "- select ? + ?"


def test_raw_use_of_the_driver_in_the_same_process_is_seen(collector):
    collector.run(
        """
import sqlite3
import sqlalchemy as sa
with sa.create_engine("sqlite://").connect() as c:
    c.execute(sa.text("select 1 as by_sqlalchemy"))
sqlite3.connect(":memory:").execute("select 1 as by_itself")
"""
    )
    assert lines(collector) == ["- select ? as by_sqlalchemy", "- select ? as by_itself"]


def test_create_engine_takes_what_it_takes_without_demarc(collector):
    """SQLAlchemy reads Engine's signature to know its arguments: that must stay what it was."""
    answer = collector.run(
        """
import logging
import sqlalchemy as sa
logging.disable()
e = sa.create_engine("sqlite://", echo=True, hide_parameters=True, logging_name="n", future=True)
with e.execution_options(isolation_level="AUTOCOMMIT").connect() as c:
    print(e.echo, e.hide_parameters, c.execute(sa.text("select 42")).scalar())
"""
    )
    assert answer.stdout == "True True 42\n"
    assert lines(collector) == ["- select ?"]
    healthy(collector)


def test_who_only_imports_it_does_not_use_it(collector):
    """As what listens for statements does: that nothing goes through it must not be taken for something."""
    for engine, want in (("", "waiting"), ("sqlalchemy.create_engine('sqlite://')", "on")):
        collector.run("import time, sqlalchemy, sqlalchemy.orm, sqlalchemy.exc\n%s\ntime.sleep(0.1)" % engine)
        assert collector.stats[-1]["hooks"]["sqlalchemy"] == want
