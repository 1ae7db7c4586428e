"""Hashes of results: of the rows that the service fetches, by any driver and method, without a change in how."""


import pytest
from dbtools import healthy, postgres

thorough = pytest.mark.thorough
TABLE = "create table t_rows(id integer primary key, name varchar(20))"
FILL = "insert into t_rows(id, name) values(1, 'a'), (2, 'b'), (3, 'c')"

DBAPI = f"""
import sys
%s
cur = c.cursor()
cur.execute("drop table if exists t_rows")
cur.execute({TABLE!r})
cur.execute({FILL!r})
c.commit()
def ask(how, where="1 = 1"):
    cur.execute("select id, name from t_rows where " + where + " order by id -- " + how)
    print(how, [tuple(r) for r in eval(how, {{"cur": cur}})], cur.fetchall() if how != "[cur.fetchone()]" else "")
ask("cur.fetchall()")
ask("list(cur)")
ask("cur.fetchmany(5)")
ask("cur.fetchmany(2) + cur.fetchmany(2)")
ask("[cur.fetchone(), cur.fetchone(), cur.fetchone()]")
ask("[cur.fetchone()] + cur.fetchall()")
ask("[cur.fetchone()] + list(cur)")
ask("[cur.fetchone()]", "id = 1")
ask("cur.fetchall()", "id = 1")
ask("[r for r in cur if r]", "id = 1")
ask("cur.fetchall()", "id = 9")
cur.execute("update t_rows set name = 'z' where id = 3")
ask("cur.fetchall()")
c.commit()
c.close()
"""
CONNECTS = {
    "sqlite3": "import sqlite3; c = sqlite3.connect(sys.argv[1])",
    "sqlite3 rows": "import sqlite3; c = sqlite3.connect(sys.argv[1]); c.row_factory = sqlite3.Row",
    "psycopg2": "import psycopg2; c = psycopg2.connect(sys.argv[1])",
    "psycopg2 dicts": "import psycopg2; from psycopg2.extras import DictCursor as dicts;"
    " c = psycopg2.connect(sys.argv[1], cursor_factory=dicts)",
    "psycopg": "import psycopg; c = psycopg.connect(sys.argv[1])",
}


ROWS = "[(1, 'a'), (2, 'b'), (3, 'c')]"
# What the programs print unobserved, with every driver.
PRINTED = "".join(how + "\n" for how in (
    f"cur.fetchall() {ROWS} []", f"list(cur) {ROWS} []", f"cur.fetchmany(5) {ROWS} []",
    f"cur.fetchmany(2) + cur.fetchmany(2) {ROWS} []", f"[cur.fetchone(), cur.fetchone(), cur.fetchone()] {ROWS} []",
    f"[cur.fetchone()] + cur.fetchall() {ROWS} []", f"[cur.fetchone()] + list(cur) {ROWS} []",
    "[cur.fetchone()] [(1, 'a')] ", "cur.fetchall() [(1, 'a')] []", "[r for r in cur if r] [(1, 'a')] []",
    "cur.fetchall() [] []", "cur.fetchall() [(1, 'a'), (2, 'b'), (3, 'z')] []",
))
SAID = "".join(how + "\n" for how in (
    f"all() {ROWS}", f"fetchall() {ROWS}",
    "mappings().all() [{'id': 1, 'name': 'a'}, {'id': 2, 'name': 'b'}, {'id': 3, 'name': 'c'}]",
    f"fetchmany(9) {ROWS}", "partitions(2).__next__() and r.all() [(3, 'c')]", "first() (1, 'a')", "one() (1, 'a')",
    "all() [(1, 'a')]", "all() [(1, 'a'), (2, 'b'), (3, 'z')]", "3",
))


def url_of(driver, tmp_path):
    return str(tmp_path / "r.db") if driver.startswith("sqlite3") else postgres()


DRIVERS = [each if each == "sqlite3" else pytest.param(each, marks=thorough) for each in CONNECTS]


@pytest.mark.parametrize("driver", DRIVERS)
def test_however_rows_are_fetched(collector, tmp_path, driver):
    p = collector.run(DBAPI % CONNECTS[driver], url_of(driver, tmp_path))
    assert (p.stdout, p.stderr) == (PRINTED, "")
    reads = [e for e in collector.of("query") if e["text"].startswith("select id")]
    hashes = [e.get("result_hash") for e in reads]
    assert len(reads) == 12 and None not in hashes, list(zip([e["text"] for e in reads], hashes))
    whole, one, none, changed = set(hashes[:7]), set(hashes[7:10]), hashes[10], hashes[11]
    assert len(whole) == 1 and len(one) == 1, hashes
    keys = [e.get("pks") for e in reads]
    assert keys == [*[keys[0]] * 7, *[keys[0][:1]] * 3, None, keys[0]] and len(set(keys[0])) == 3, keys
    assert len({*whole, *one, none, changed}) == 4, hashes
    healthy(collector)


def test_what_has_no_hash(collector):
    p = collector.run(
        """
import sqlite3
c = sqlite3.connect(":memory:")
many = "with recursive n(i) as (select 1 union all select i + 1 from n where i < %d) select i from n"
print(sum(i for i, in c.execute(many % 600)))
print(len(c.execute(many % 601).fetchall()))
print(len(c.execute("select zeroblob(300000)").fetchone()[0]))
cur = c.execute(many % 3)
print(cur.fetchone(), cur.fetchone())  # and no more
print(len(c.execute("select 'ever'").fetchall()))
c.execute("select 'never fetched'")
class Odd:
    def __init__(self, cursor, row): pass
c.row_factory = Odd
print(len(c.execute("select 'an object'").fetchall()))
c.close()
"""
    )
    assert p.stdout == "180300\n601\n300000\n(1,) (2,)\n1\n1\n", p.stderr
    reads = [e for e in collector.of("query") if "select" in e["text"]]
    assert ["result_hash" in e for e in reads] == [False, False, False, False, True, False, False]
    healthy(collector)


SQLALCHEMY = f"""
import sys, asyncio
import sqlalchemy as sa
from sqlalchemy import text
def ask(c, how, where="1 = 1"):
    r = c.execute(text("select id, name from t_rows where " + where + " order by id -- " + how))
    print(how, eval("r." + how))
def work(c):
    c.execute(text("drop table if exists t_rows"))
    c.execute(text({TABLE!r}))
    c.execute(text({FILL!r}))
    for how in ("all()", "fetchall()", "mappings().all()", "fetchmany(9)", "partitions(2).__next__() and r.all()"):
        ask(c, how)
    ask(c, "first()", "id = 1")
    ask(c, "one()", "id = 1")
    ask(c, "all()", "id = 1")
    c.execute(text("update t_rows set name = 'z' where id = 3"))
    ask(c, "all()")
    print(len(c.execution_options(stream_results=True).execute(text("select name from t_rows -- streamed")).fetchall()))
if "+aio" in sys.argv[1] or "+asyncpg" in sys.argv[1]:
    from sqlalchemy.ext.asyncio import create_async_engine
    async def main():
        e = create_async_engine(sys.argv[1])
        async with e.begin() as c:
            await c.run_sync(work)
        await e.dispose()
    asyncio.run(main())
else:
    e = sa.create_engine(sys.argv[1], future=True)
    with e.begin() as c:
        work(c)
    e.dispose()
"""


@pytest.mark.sqlalchemy
@thorough
@pytest.mark.parametrize("driver", ["sqlite", "sqlite+aiosqlite", "postgresql+psycopg2", "postgresql+asyncpg"])
def test_under_sqlalchemy(collector, tmp_path, driver):
    url = f"{driver}:///{tmp_path}/r.db" if driver.startswith("sqlite") else postgres(driver)
    p = collector.run(SQLALCHEMY, url)
    assert (p.stdout, p.stderr) == (SAID, "")
    reads = [e for e in collector.of("query") if e["text"].startswith("select id")]
    hashes = [e.get("result_hash") for e in reads]
    assert len(reads) == 9 and None not in hashes, list(zip([e["text"] for e in reads], hashes))
    assert len(set(hashes[:5])) == len(set(hashes[5:8])) == 1 and len({hashes[0], hashes[5], hashes[8]}) == 3, hashes
    streamed = [e for e in collector.of("query") if "name from t_rows" in e["text"] and e not in reads]
    if driver.startswith("postgresql"):
        assert all("result_hash" not in e for e in streamed), streamed
    assert streamed
    healthy(collector)


AIOSQLITE = f"""
import asyncio, sys, aiosqlite
async def main():
    async with aiosqlite.connect(sys.argv[1]) as c:
        await c.execute({TABLE!r})
        await c.execute({FILL!r})
        async with c.execute("select id, name from t_rows") as cur:
            print([r async for r in cur])
        print(await c.execute_fetchall("select id, name from t_rows"))
        async with c.execute("select id, name from t_rows") as cur:
            print(await cur.fetchall())
asyncio.run(main())
"""


@thorough
def test_aiosqlite(collector, tmp_path):
    p = collector.run(AIOSQLITE, str(tmp_path / "r.db"))
    assert p.stdout == "[(1, 'a'), (2, 'b'), (3, 'c')]\n" * 3, p.stderr
    hashes = [e.get("result_hash") for e in collector.of("query") if e["text"].startswith("select")]
    assert len(hashes) == 3 and None not in hashes and len(set(hashes)) == 1, hashes
    healthy(collector)


DJANGO = """
import sys
from urllib.parse import urlparse
import django
from django.conf import settings
u = urlparse(sys.argv[1])
db = {"ENGINE": "django.db.backends.sqlite3", "NAME": u.path}
if u.scheme != "sqlite":
    db = {"ENGINE": "django.db.backends.postgresql", "NAME": u.path[1:], "USER": u.username, "HOST": u.hostname,
          "PORT": u.port}
settings.configure(DATABASES={"default": db}, DEFAULT_AUTO_FIELD="django.db.models.AutoField")
django.setup()
from django.db import connection, models
class T(models.Model):
    name = models.CharField(max_length=20)
    class Meta:
        app_label = "x"
        db_table = "t_rows"
with connection.cursor() as c:
    c.execute("drop table if exists t_rows")
with connection.schema_editor() as editor:
    editor.create_model(T)
T.objects.bulk_create([T(name=n) for n in "abc"])
rows = T.objects.order_by("id")
print(list(rows.values_list("id", "name")), list(rows.values_list("id", "name")))
print(rows.get(id=1).name, rows.filter(id=1).first().name, rows.filter(id=1).count(), rows.filter(id=1).exists())
T.objects.filter(id=3).update(name="z")
print(list(rows.values_list("id", "name")))
"""


@thorough
@pytest.mark.parametrize("where", ["sqlite", "postgresql"])
def test_django(collector, tmp_path, where):
    p = collector.run(DJANGO, f"sqlite://{tmp_path}/dj.db" if where == "sqlite" else postgres())
    assert p.returncode == 0 and p.stdout.startswith("[(1, 'a'), (2, 'b'), (3, 'c')]"), p.stderr
    reads = [e for e in collector.of("query") if e["text"].startswith("SELECT") and "t_rows" in e["text"]]
    reads = [e for e in reads if "pg_" not in e["text"]]
    lists = [e.get("result_hash") for e in reads if "WHERE" not in e["text"]]
    assert len(lists) == 3 and None not in lists and lists[0] == lists[1] != lists[2], lists
    assert all("result_hash" in e for e in reads), reads
    healthy(collector)


AGAIN = """
import datetime, marshal
from _demarc import hashing, results

def event(params=b"p" * 8, number=7):
    e = [None] * 19
    e[results.TEXT], e[results.HASHES] = number, params
    return e

def fresh(rows, times=1):
    results._read.clear()
    return [results.result_hash(rows, event()) for _ in range(times)][-1]

day = datetime.date(2026, 1, 2)
for rows in ([], [(1, "a")], [(i, "text %d" % i, None, 2.5, b"x", True) for i in range(60)], [(day, day)]):
    digest = fresh(rows)
    assert len(digest) == 8 and results._read[7, b"p" * 8][0] is None, rows
    again = [tuple(list(row)) for row in rows]
    twice = results.result_hash(again, event())
    assert twice == digest and results._read[7, b"p" * 8][0] == rows
    assert results.result_hash(again, event()) is twice, "looked up"
    assert results.result_hash(again, event(b"q" * 8)) == digest, "hashed, under other parameters"
    again.append((9, "z"))
    assert results.result_hash(again, event()) != digest and results.result_hash(rows, event()) == digest

held = [(1, ["a"])]  # what the service may change is not kept
digest = fresh(held, 2)
assert results._read[7, b"p" * 8][0] is None
held[0][1].append("b")
assert fresh(held) != digest
mine = [(1, "a")]
digest = fresh(mine, 2)
mine.append((2, "b"))  # nor is its own list
assert results.result_hash([(1, "a")], event()) == digest != results.result_hash(mine, event())

for i in range(60_000):
    for _ in range(2):
        results.result_hash([(i, "x" * (i % 90))], event(number=i // 2))
    assert results._read_size <= results.READ_BYTES and len(results._read) <= results.READ_BYTES / results.READ_ROOM
results.result_hash([("x" * results.READ_SIZE,)], event(number=-1))
assert (-1, b"p" * 8) not in results._read
results.result_hash([(1, "a")], event(number="a text, as the table of texts is full"))
assert all(type(number) is int for number, _ in results._read)
for size in (0, 1, hashing.PIECE, hashing.PIECE + 1, 3 * hashing.PIECE, hashing.ALONE, hashing.ALONE + 1):
    h = hashing._base.copy()
    h.update(b"x" * size)
    assert hashing.hash_bytes(b"x" * size) == hashing.hash_bytes(bytearray(b"x" * size)) == h.digest(), size
print("again")
"""


def test_a_result_that_is_read_again(collector):
    """Equal results have one hash whether it was looked up or taken, and what is kept for that has its bounds."""
    assert collector.run(AGAIN).stdout == "again\n"


PLACES = [
    ("SELECT id, slug FROM articles WHERE slug = ?", 0),
    ("SELECT articles.slug AS articles_slug, articles.id AS articles_id \nFROM articles \nWHERE articles.slug = ?", 1),
    ('SELECT "shop_article"."id", "shop_article"."t" FROM "shop_article" ORDER BY "shop_article"."t" LIMIT 21', 0),
    ("select [id] from [t]", 0),
    ("SELECT name, t.id FROM s.things AS t FOR UPDATE", 1),
    ("SELECT main.articles.id FROM main.articles", 0),
    ("SELECT products.id, categories_1.id AS id_1 \nFROM products LEFT OUTER JOIN categories AS categories_1 ON 1", 0),
    ('SELECT "c"."id", "p"."id" FROM "p" INNER JOIN "c" ON ("p"."c_id" = "c"."id")', 1),
    ("SELECT id, name FROM p JOIN c ON p.c_id = c.id", None),  # whose?
    ("SELECT c.id FROM p JOIN c ON p.c_id = c.id", None),
    ("SELECT p.id FROM p RIGHT JOIN c ON p.c_id = c.id", None),
    ("SELECT p.id FROM p, c", None),
    ("SELECT id, count(*) FROM t", None),
    ("SELECT id, (SELECT 1) FROM t", None),
    ("SELECT * FROM t", None),
    ("SELECT user_id FROM t", None),
    ("SELECT DISTINCT id FROM t", None),
    ("SELECT id FROM t UNION SELECT id FROM u", None),
    ("SELECT t.id, t.id AS again FROM t", None),
    ("INSERT INTO t (id) VALUES (1)", None),
]


def test_where_the_key_stands(collector):
    p = collector.run("import sys\nfrom _demarc import db\nfor t in eval(sys.argv[1]): print(db.key_place(t))",
                      repr([text for text, _ in PLACES]))
    assert list(zip([text for text, _ in PLACES], p.stdout.split())) == [(text, str(place)) for text, place in PLACES]


KEYS = """
import sqlite3, sys
c = sqlite3.connect(":memory:")
c.execute("create table t(id integer primary key, name text)")
c.executemany("insert into t values (?, ?)", [(i, str(i)) for i in range(100)])
def ask(text, *params):
    return c.execute(text, params)
ask("select name from t where id = ?", 7).fetchall()
ask("select name, id from t where name = ?", "7").fetchall()
ask("select name, id from t order by id limit 64").fetchall()
ask("select name, id from t order by id limit 65").fetchall()
two = ask("select name, id from t order by id")
two.fetchone()
two.fetchmany(10)
"""


def test_keys_are_those_of_parameters_and_of_all_rows_or_none(collector):
    collector.run(KEYS)
    by_key, by_name, most, more, some = [e for e in collector.of("query") if e["text"].startswith("select")]
    assert "pks" not in by_key and by_name["pks"] == by_key["params"] == by_name["params"]  # 7 and "7" are one
    assert len(most["pks"]) == 64 and "pks" not in more and "pks" not in some and "result_hash" not in some
