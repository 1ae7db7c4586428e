"""sqlite3 and aiosqlite."""

import pytest
from dbtools import healthy, lines

SCENARIO = """
import sqlite3
c = sqlite3.connect("t.db")
c.execute("create table t(id integer primary key, name text unique)")
cur = c.cursor()
cur.execute("insert into t(name) values(?)", ("a",))
print(cur.lastrowid)
c.commit()
with c:
    cur.executemany("insert into t(name) values(:n)", [{"n": "x%d" % i} for i in range(20)])
print(c.execute("select count(*) from t where id > ?", [3]).fetchall())
try:
    with c:
        c.execute("insert into t(id) values(1)")
except sqlite3.IntegrityError as e:
    print(e)
c.execute("delete from t where id = 'it''s 5'")
c.rollback()
print(cur.executemany("insert into t(name) values(?)", (("g%d" % i,) for i in range(3))).rowcount)
c.close()
"""
EXPECTED = [
    "- create table t(id integer primary key, name text unique)",
    "T1 BEGIN",
    "T1 insert into t(name) values(?) params=1 rows=1",
    "T1 COMMIT",
    "T2 BEGIN",
    "T2 insert into t(name) values(:n) params=8 rows=20 many=20",
    "T2 COMMIT",
    "- select count(*) from t where id > ? params=1",
    "T3 BEGIN",
    "T3 insert into t(id) values(?) error=IntegrityError",
    "T3 ROLLBACK",
    "T4 BEGIN",
    "T4 delete from t where id = ? rows=0",
    "T4 ROLLBACK",
    "T5 BEGIN",
    "T5 insert into t(name) values(?) params=3 rows=3 many=3",
    "T5 ROLLBACK",
]
PRINTED = "1\n[(18,)]\nUNIQUE constraint failed: t.id\n3\n"


def test_every_statement_is_one_event(collector):
    p = collector.run(SCENARIO)
    assert p.stdout == PRINTED
    assert lines(collector) == EXPECTED
    healthy(collector)


def test_times_and_hashes(collector):
    collector.run(
        """
import sqlite3, time
c = sqlite3.connect(":memory:", isolation_level=None)
c.create_function("wait", 1, lambda s: time.sleep(s))
c.execute("select wait(?)", (0.2,)).fetchall()
c.execute("select ?", ("0.2",))
c.execute("select :b, :a", {"a": 1, "b": "x"})
"""
    )
    slow, text, named = sorted(collector.of("query"), key=lambda e: e["seq"])
    assert slow["dur"] > 190_000_000
    assert slow["params"] == text["params"], "equal canonical texts hash alike"
    assert named["param_names"] == ["a", "b"]
    assert len(named["params"]) == 2
    assert slow["at"] + slow["dur"] <= text["at"]


def test_code_line_and_request(collector, tmp_path):
    (tmp_path / "shop.py").write_text(
        """
import sqlite3
from _demarc import core
c = sqlite3.connect(":memory:")
def price():
    return c.execute("select 1").fetchone()
core.current.set(core.Ctx(7, 7))
price()
"""
    )
    collector.run("import shop", PYTHONPATH=str(tmp_path))
    (e,) = collector.of("query")
    assert e["code"] == "shop:price:6"
    assert e["trace"].endswith(".7")
    assert e["parent"] == e["trace"]


def test_transactions_written_as_sql(collector):
    collector.run(
        """
import sqlite3
c = sqlite3.connect(":memory:", isolation_level=None)
c.execute("create table t(id integer primary key)")
c.execute("insert into t values(1)")
c.execute("BEGIN IMMEDIATE"); c.execute("insert into t values(2)"); c.execute("commit;")
c.execute("begin"); c.execute("savepoint s"); c.execute("insert into t values(3)")
c.execute("rollback to s"); c.execute("release s"); c.execute(" ROLLBACK ")
c.executescript("begin; insert into t values(9); commit;")
c.execute("begin"); c.execute("insert or rollback into t values(4)")
try:
    c.execute("insert or rollback into t values(4)")
except sqlite3.IntegrityError:
    print("in transaction:", c.in_transaction)
"""
    )
    assert lines(collector, after="create table") == [
        "- insert into t values(?) rows=1",
        "T1 BEGIN", "T1 insert into t values(?) rows=1", "T1 COMMIT",
        "T2 BEGIN", "T2 savepoint s", "T2 insert into t values(?) rows=1", "T2 rollback to s", "T2 release s",
        "T2 ROLLBACK",
        "- begin; insert into t values(?); commit;",
        "T3 BEGIN", "T3 insert or rollback into t values(?) rows=1",
        "T3 insert or rollback into t values(?) error=IntegrityError", "T3 ROLLBACK",
    ]


def test_subclasses_row_factories_and_the_rest_work_as_before(collector):
    code = """
import sqlite3, threading
class Cur(sqlite3.Cursor):
    def execute(self, *a):
        print("cur", a)
        return super().execute(*a)
class Con(sqlite3.Connection):
    def cursor(self, factory=Cur):
        return super().cursor(factory)
    def commit(self):
        print("commit")
        super().commit()
c = sqlite3.connect(":memory:", factory=Con)
print(type(c).__name__, isinstance(c, Con), isinstance(c, sqlite3.Connection), repr(c)[:24])
cur = c.cursor()
print(type(cur).__name__, isinstance(cur, Cur), cur.connection is c)
cur.execute("create table t(a, b)")
cur.execute("insert into t values(?, ?)", (1, 2))
with c:
    pass
c.row_factory = sqlite3.Row
row = c.execute("select * from t").fetchone()
print(tuple(row), row["b"], row.keys())
print([tuple(r) for r in c.cursor().execute("select * from t")])
d = sqlite3.connect(":memory:")
c.backup(d)
print(d.execute("select count(*) from t").fetchone(), list(d.iterdump())[1])
print(d.cursor(sqlite3.Cursor).execute("select 5").fetchone(), d.total_changes)
for wrong in (lambda: c.execute(), lambda: d.execute("select ?", ()), lambda: d.cursor(int), lambda: d.execute(5),
              lambda: d.executemany("select 1", 5)):
    try:
        wrong()
    except Exception as e:
        print(type(e).__name__)
def other():
    try:
        d.execute("select 1")
    except sqlite3.ProgrammingError as e:
        print("thread", str(e)[:40])
t = threading.Thread(target=other); t.start(); t.join()
f = sqlite3.connect(":memory:", factory=lambda *a, **k: sqlite3.Connection(*a, **k))
print(f.execute("select 6").fetchone())
d.close()
try:
    d.execute("select 1")
except sqlite3.ProgrammingError as e:
    print(e)
"""
    bare = collector.run(code, DEMARC="off").stdout
    assert collector.events == []
    assert collector.run(code).stdout == bare
    got = lines(collector)
    assert "T1 insert into t values(?, ?) params=2 rows=1" in got
    assert "T1 COMMIT" in got
    healthy(collector)


AIO = """
import asyncio, aiosqlite
async def main():
    async with aiosqlite.connect("t.db") as c:
        await c.execute("create table t(id integer primary key, name text)")
        await c.execute("insert into t(name) values(?)", ("a",))
        await c.commit()
        await c.executemany("insert into t(name) values(?)", [("b",), ("c",)])
        await c.rollback()
        async with c.execute("select * from t where id=?", (1,)) as cur:
            print(await cur.fetchall())
        print(list(await c.execute_fetchall("select 2")))
        try:
            await c.execute("insert into t(id) values(1)")
        except aiosqlite.IntegrityError as e:
            print(e)
        await c.rollback()
asyncio.run(main())
"""
AIO_EXPECTED = [
    "- create table t(id integer primary key, name text)",
    "T1 BEGIN", "T1 insert into t(name) values(?) params=1 rows=1", "T1 COMMIT",
    "T2 BEGIN", "T2 insert into t(name) values(?) params=2 rows=2 many=2", "T2 ROLLBACK",
    "- select * from t where id=? params=1",
    "- select ?",
    "T3 BEGIN", "T3 insert into t(id) values(?) error=IntegrityError", "T3 ROLLBACK",
]
AIO_PRINTED = "[(1, 'a')]\n[(2,)]\nUNIQUE constraint failed: t.id\n"


@pytest.mark.parametrize("hooks", ["", "-sqlite3"])
def test_aiosqlite(collector, hooks):
    p = collector.run(AIO, DEMARC_HOOKS=hooks)
    assert p.stdout == AIO_PRINTED
    assert lines(collector) == AIO_EXPECTED
    healthy(collector)


def test_aiosqlite_keeps_the_request_and_the_line(collector, tmp_path):
    (tmp_path / "shop.py").write_text(
        """
import asyncio, aiosqlite
from _demarc import core
async def main():
    core.current.set(core.Ctx(7, 7))
    async with aiosqlite.connect(":memory:") as c:
        await c.execute("select 1")
asyncio.run(main())
"""
    )
    collector.run("import shop", PYTHONPATH=str(tmp_path))
    (e,) = collector.of("query")
    assert e["code"] == "shop:main:7" or e["code"] == "shop:main.<locals>:7", e
    assert e["trace"].endswith(".7")


def test_hooks_that_are_switched_off_record_nothing(collector, tmp_path):
    assert collector.run(SCENARIO, DEMARC_HOOKS="-sqlite3").stdout == PRINTED
    assert collector.run(AIO, DEMARC_HOOKS="-aiosqlite", cwd=tmp_path).stdout == AIO_PRINTED
    assert lines(collector) == []
    assert collector.stats[0]["hooks"]["sqlite3"] == "off"


def test_reads_of_requests_left_out_by_sampling(collector):
    collector.run(
        """
import sqlite3
from _demarc import core
c = sqlite3.connect(":memory:", isolation_level=None)
c.execute("create table t(a)")
core.state.sampling = True
ctx = core.Ctx(7, 7, keep=False)
core.current.set(ctx)
c.execute("select 1 from t"); c.execute("insert into t values(1)")
ctx.fills = {"k": 1}
c.execute("select 2 from t")
"""
    )
    assert lines(collector, after="create table") == ["- insert into t values(?) rows=1", "- select ? from t"]
    assert collector.stats[-1]["sampled"] == 1


def test_kinds_of_statements(collector):
    p = collector.run(
        """
import _demarc.db as db
names = {v: k for k, v in vars(db).items() if k.isupper() and isinstance(v, int) and k in (
    "READ", "WRITE", "SAVE", "PREPARE", "BEGIN", "COMMIT", "ROLLBACK", "COMMIT_PREPARED", "ROLLBACK_PREPARED")}
for s in ["select 1", " (select 1)", "-- x\\nSELECT 1", "with a as (select 1) select * from a", "/* c */ values (1)",
          "insert into t values(1)", "with a as (delete from t returning *) select * from a", "select 1 into t",
          "explain analyze select 1", "vacuum", "", "BEGIN", "begin immediate;", "START TRANSACTION READ ONLY",
          "begin; delete from t", "COMMIT", "END", "commit and chain", "rollback", "abort", "ROLLBACK TO SAVEPOINT a",
          "rollback work to a", "savepoint a", "RELEASE a", "prepare transaction 'x'", "commit prepared 'x'",
          "rollback prepared 'x'", "beginning", "select 'insert'"]:
    print(names[db.kind_of(s)], s.replace(chr(10), " "), sep=": ")
"""
    )
    assert p.stdout.splitlines() == [
        "READ: select 1", "READ:  (select 1)", "READ: -- x SELECT 1", "READ: with a as (select 1) select * from a",
        "READ: /* c */ values (1)", "WRITE: insert into t values(1)",
        "WRITE: with a as (delete from t returning *) select * from a", "WRITE: select 1 into t",
        "WRITE: explain analyze select 1", "WRITE: vacuum", "WRITE: ", "BEGIN: BEGIN", "BEGIN: begin immediate;",
        "BEGIN: START TRANSACTION READ ONLY", "WRITE: begin; delete from t", "COMMIT: COMMIT", "COMMIT: END",
        "COMMIT: commit and chain", "ROLLBACK: rollback", "ROLLBACK: abort", "SAVE: ROLLBACK TO SAVEPOINT a",
        "SAVE: rollback work to a", "SAVE: savepoint a", "SAVE: RELEASE a", "PREPARE: prepare transaction 'x'",
        "COMMIT_PREPARED: commit prepared 'x'", "ROLLBACK_PREPARED: rollback prepared 'x'", "WRITE: beginning",
        "WRITE: select 'insert'",
    ]


def test_a_literal_is_no_parameter(collector):
    """What stands in the place of a literal is not taken for a parameter: the values keep their positions."""
    collector.run("""
import sqlite3
c = sqlite3.connect(":memory:", isolation_level=None)
c.execute("CREATE TABLE t (id INTEGER, a INTEGER, b TEXT)")
c.execute("UPDATE t SET a = 1, b = 'x' WHERE id = ?", (7,))
c.execute("UPDATE t SET a = 1.5e3, b = ? WHERE id = 7", ("y",))
""")
    update = [q for q in collector.of("query") if q["text"].startswith("UPDATE")]
    assert [q["text"] for q in update] == [
        "UPDATE t SET a = '?', b = '?' WHERE id = ?", "UPDATE t SET a = '?', b = ? WHERE id = '?'",
    ]
    assert [len(q["params"]) for q in update] == [1, 1]


def test_reads_outside_requests_are_sampled_by_what_they_ask(collector):
    """Always or never for one question; writes and transactions always."""
    collector.answer = {"wire": 1, "ok": True, "recording": True, "rate": 0.25}
    collector.run("""
import sqlite3, time
from _demarc import core
while core.state.rate == 1: time.sleep(0.01)
c = sqlite3.connect(":memory:", isolation_level=None)
c.execute("CREATE TABLE t (a)")
for i in range(50): c.execute("INSERT INTO t VALUES (?)", (i,))
for i in range(1200): c.execute("SELECT a FROM t WHERE a = ?", (i % 300,)).fetchall()
""", config={"max_rate": 0})
    seen = {}
    for q in collector.of("query"):
        if q["text"].startswith("SELECT"):
            seen[q["params"][0]] = seen.get(q["params"][0], 0) + 1
    assert set(seen.values()) == {4} and 40 < len(seen) < 110
    assert len([q for q in collector.of("query") if q["text"].startswith("INSERT")]) == 50
    assert collector.stats[-1]["sampled"] == 1200 - 4 * len(seen)
