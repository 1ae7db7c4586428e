"""psycopg2, psycopg 3 (sync and async) and asyncpg, against a real server."""

import pytest
from dbtools import healthy, lines, postgres

PSYCOPG = """
import sys
import {driver} as driver
c = driver.connect(sys.argv[1])
with c.cursor() as cur:
    cur.execute("drop table if exists {table}")
    cur.execute("create table {table}(id serial primary key, name text unique)")
c.commit()
cur = c.cursor()
cur.execute("insert into {table}(name) values(%s)", ("a",))
c.commit()
cur.executemany("insert into {table}(name) values(%(n)s)", [{{"n": "x%d" % i}} for i in range(20)])
print(cur.rowcount)
c.commit()
cur.execute("select id, name from {table} where id <= %s order by id", [3])
print(cur.fetchall())
c.rollback()
try:
    cur.execute("insert into {table}(name) values('a')")
except driver.IntegrityError as e:
    print(type(e).__name__)
try:
    cur.execute("select 1")
except driver.Error as e:
    print(type(e).__name__)
c.commit()
c.autocommit = True
cur.execute("delete from {table} where name = %s", ("x1",))
cur.execute("begin isolation level repeatable read")
cur.execute("savepoint s")
cur.execute("rollback to savepoint s")
cur.execute("commit")
"""
EXPECTED = [
    "T1 COMMIT",
    "T2 BEGIN", "T2 insert into {table}(name) values(%s) params=1 rows=1", "T2 COMMIT",
    "T3 BEGIN", "T3 insert into {table}(name) values(%(n)s) params=8 rows=20 many=20", "T3 COMMIT",
    "T4 BEGIN", "T4 select id, name from {table} where id <= %s order by id params=1 rows=3", "T4 ROLLBACK",
    "T5 BEGIN", "T5 insert into {table}(name) values(?) error=UniqueViolation",
    "T5 select ? error=InFailedSqlTransaction",
    "T5 ROLLBACK",  # PostgreSQL's answer to this commit
    "- delete from {table} where name = %s params=1 rows=1",
    "T6 BEGIN isolation=repeatable read", "T6 savepoint s", "T6 rollback to savepoint s", "T6 COMMIT",
]
PRINTED = "20\n[(1, 'a'), (2, 'x0'), (3, 'x1')]\nUniqueViolation\nInFailedSqlTransaction\n"


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_every_statement_is_one_event(collector, driver):
    table = "t_" + driver
    p = collector.run(PSYCOPG.format(driver=driver, table=table), postgres())
    assert p.stdout == PRINTED
    assert lines(collector, after="create table") == [s.format(table=table) for s in EXPECTED]
    healthy(collector)


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_a_hook_that_is_switched_off_records_nothing(collector, driver):
    code = PSYCOPG.format(driver=driver, table="off_" + driver)
    assert collector.run(code, postgres(), DEMARC_HOOKS="-" + driver).stdout == PRINTED
    assert lines(collector) == []


def test_psycopg2_subclasses_helpers_and_the_rest_work_as_before(collector):
    code = """
import io, sys
import psycopg2, psycopg2.extras, psycopg2.extensions, psycopg2.pool
from psycopg2 import sql
c = psycopg2.connect(sys.argv[1])
print(type(c), isinstance(c, psycopg2.extensions.connection))
psycopg2.extensions.register_type(psycopg2.extensions.UNICODE, c)
psycopg2.extras.register_uuid(conn_or_curs=c)
with c, c.cursor() as cur:
    cur.execute("drop table if exists t_help")
    cur.execute("create table t_help(id serial primary key, name text unique)")
with c, c.cursor() as cur:
    psycopg2.extras.execute_values(cur, "insert into t_help(name) values %s", [("v%d" % i,) for i in range(3)])
    psycopg2.extras.execute_batch(cur, "insert into t_help(name) values (%s)", [("b",), ("c",)])
with c.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as d:
    d.execute(sql.SQL("select * from {} where id < %s").format(sql.Identifier("t_help")), [2])
    print(dict(d.fetchone()))
n = c.cursor("named")
n.execute("select name from t_help order by id")
print(n.fetchmany(2), [r for r in n])
n.close()
c.rollback()
cur = c.cursor()
cur.copy_expert("copy t_help(name) from stdin", io.StringIO("c1\\nc2\\n"))
cur.copy_from(io.StringIO("c3\\n"), "t_help", columns=("name",))
cur.callproc("upper", ["abc"])
print(cur.fetchall(), cur.mogrify("select %s", ("x",)))
c.close()
c = psycopg2.connect(sys.argv[1], connection_factory=psycopg2.extras.DictConnection)
c.set_session(isolation_level="SERIALIZABLE")
cur = c.cursor()
cur.execute("select name from t_help where id = 1")
print(type(cur).__name__, cur.fetchone()["name"])
c.rollback()
class Con(psycopg2.extensions.connection):
    def commit(self):
        print("commit")
        super().commit()
class Cur(psycopg2.extensions.cursor):
    def execute(self, *a):
        print("execute", a)
        return super().execute(*a)
c = psycopg2.connect(sys.argv[1], connection_factory=Con, cursor_factory=Cur)
cur = c.cursor()
cur.execute("select 1")
c.commit()
print(isinstance(c, Con), isinstance(cur, Cur), type(cur).__name__)
p = psycopg2.pool.SimpleConnectionPool(1, 2, sys.argv[1])
k = p.getconn(); k.cursor().execute("select 2"); p.putconn(k); p.closeall()
"""
    bare = collector.run(code, postgres(), DEMARC="off").stdout
    assert collector.run(code, postgres()).stdout == bare
    assert lines(collector, after="create table") == [
        "T1 COMMIT",
        "T2 BEGIN", "T2 insert into t_help(name) values (?),(?),(?) rows=3",
        "T2 insert into t_help(name) values (?);insert into t_help(name) values (?) rows=1", "T2 COMMIT",
        "T3 BEGIN", 'T3 select * from "t_help" where id < %s params=1 rows=1',
        "T3 select name from t_help order by id", "T3 ROLLBACK",
        "T4 BEGIN", "T4 copy t_help(name) from stdin rows=2", 'T4 COPY "t_help" (name) FROM stdin rows=1',
        "T4 SELECT * FROM upper(%s) params=1 rows=1", "T4 ROLLBACK",
        "T5 BEGIN isolation=serializable", "T5 select name from t_help where id = ? rows=1", "T5 ROLLBACK",
        "T6 BEGIN", "T6 select ? rows=1", "T6 COMMIT",
        "T7 BEGIN", "T7 select ? rows=1", "T7 ROLLBACK",
    ]
    healthy(collector)


def test_psycopg2_two_phase(collector):
    collector.run(
        """
import sys, psycopg2
c = psycopg2.connect(sys.argv[1])
c.tpc_begin(c.xid(1, "g", "b"))
c.cursor().execute("select 1")
try:
    c.tpc_prepare()
except psycopg2.Error:  # the server allows none by default
    c.tpc_rollback()
c.tpc_begin(c.xid(1, "g", "b"))
c.cursor().execute("select 2")
c.tpc_commit()
""",
        postgres(),
    )
    assert lines(collector) == [
        "T1 BEGIN", "T1 select ? rows=1", "T1 ROLLBACK", "T2 BEGIN", "T2 select ? rows=1", "T2 COMMIT",
    ]


def test_psycopg3_transactions_copies_cursors_and_pipelines(collector):
    code = """
import sys, asyncio, psycopg
from psycopg import sql
u = sys.argv[1]
with psycopg.connect(u) as c:
    c.execute("drop table if exists t_p3")
    c.execute("create table t_p3(id serial primary key, name text unique)")
with psycopg.connect(u) as c:
    with c.transaction():
        c.execute("insert into t_p3(name) values(%s)", ("a",))
        try:
            with c.transaction():
                c.execute("insert into t_p3(name) values(%s)", ("b",))
                raise psycopg.Rollback()
        finally:
            pass
    print(c.execute(sql.SQL("select name from {}").format(sql.Identifier("t_p3"))).fetchall())
    with c.cursor("srv") as s:
        s.execute("select * from t_p3")
        print(s.fetchall())
    with c.cursor() as k:
        with k.copy("copy t_p3(name) from stdin") as copy:
            copy.write_row(("c",))
        print(list(k.stream("select 1")))
    c.commit()
    with c.pipeline():
        a = c.execute("insert into t_p3(name) values(%s) returning id", ("p1",))
        b = c.execute("insert into t_p3(name) values(%s) returning id", ("p2",))
        print(a.fetchone()[0] < b.fetchone()[0])
    c.commit()
    try:
        c.cursor().executemany("insert into t_p3(name) values(%s)", [("z",), ("z",)])
    except psycopg.errors.UniqueViolation as e:
        print(type(e).__name__)
async def main():
    async with await psycopg.AsyncConnection.connect(u, autocommit=True) as c:
        print(await (await c.execute("select 1")).fetchall())
        async with c.transaction():
            await c.execute("update t_p3 set name=%s where name=%s", ("q", "a"))
        await c.cursor().executemany("insert into t_p3(name) values(%s)", [("w1",), ("w2",)])
asyncio.run(main())
"""
    bare = collector.run(code, postgres(), DEMARC="off").stdout
    assert collector.run(code, postgres()).stdout == bare
    assert lines(collector, after="create table") == [
        "T1 COMMIT",
        "T2 BEGIN", "T2 insert into t_p3(name) values(%s) params=1 rows=1", 'T2 SAVEPOINT "_pg3_2"',
        "T2 insert into t_p3(name) values(%s) params=1 rows=1", 'T2 ROLLBACK TO "_pg3_2"', 'T2 RELEASE "_pg3_2"',
        "T2 COMMIT",
        "T3 BEGIN", 'T3 select name from "t_p3" rows=1', "T3 select * from t_p3", "T3 copy t_p3(name) from stdin",
        "T3 select ?", "T3 COMMIT",
        "T4 BEGIN", "T4 insert into t_p3(name) values(%s) returning id params=1",
        "T4 insert into t_p3(name) values(%s) returning id params=1", "T4 COMMIT",
        "T5 BEGIN", "T5 insert into t_p3(name) values(%s) params=2 many=2 error=UniqueViolation", "T5 ROLLBACK",
        "- select ? rows=1",
        "T6 BEGIN", "T6 update t_p3 set name=%s where name=%s params=2 rows=1", "T6 COMMIT",
        "- insert into t_p3(name) values(%s) params=2 rows=2 many=2",
    ]
    healthy(collector)


ASYNCPG = """
import sys, asyncio, asyncpg
async def main():
    c = await asyncpg.connect(sys.argv[1])
    print(type(c), isinstance(c, asyncpg.Connection))
    await c.execute("drop table if exists t_apg")
    await c.execute("create table t_apg(id int primary key, name text)")
    print(await c.execute("insert into t_apg values($1, $2)", 1, "a"))
    async with c.transaction(isolation="repeatable_read"):
        await c.executemany("insert into t_apg values($1, $2)", [(i, "x") for i in range(2, 22)])
        print(await c.fetch("select * from t_apg where id < $1 order by id", 3))
        async with c.transaction():
            print(await c.fetchval("select count(*) from t_apg"))
        print([r["id"] async for r in c.cursor("select id from t_apg where id < 4 order by id")])
        cur = await c.cursor("select id from t_apg where id > $1 order by id", 2)
        print(await cur.fetch(2))
    st = await c.prepare("select name from t_apg where id = $1")
    print(await st.fetchval(1), await st.fetchrow(2))
    try:
        async with c.transaction():
            await c.fetchrow("insert into t_apg values($1, $2) returning id", 1, "q")
    except asyncpg.UniqueViolationError as e:
        print(type(e).__name__)
    try:
        await c.execute("insert into t_apg values(1)")
    except asyncpg.UniqueViolationError as e:
        print(type(e).__name__)
    print(await c.copy_records_to_table("t_apg", records=[(100, "u")]))
    await c.close()
    async with asyncpg.create_pool(sys.argv[1], min_size=1, max_size=2) as pool:
        print(await pool.fetchval("select 5"))
        async with pool.acquire() as k:
            print(type(k), await k.fetch("select id from t_apg where id = $1", 1))
asyncio.run(main())
"""


def test_asyncpg(collector):
    bare = collector.run(ASYNCPG, postgres(), DEMARC="off").stdout
    assert collector.run(ASYNCPG, postgres()).stdout == bare
    got = lines(collector, after="create table")
    assert [s for s in got if "avepoint" not in s.lower()] == [
        "- insert into t_apg values($1, $2) params=2 rows=1",
        "T1 BEGIN isolation=repeatable read",
        "T1 insert into t_apg values($1, $2) params=16 many=20",
        "T1 select * from t_apg where id < $1 order by id params=1 rows=2",
        "T1 select count(*) from t_apg rows=1",
        "T1 select id from t_apg where id < ? order by id",
        "T1 select id from t_apg where id > $1 order by id params=1",
        "T1 COMMIT",
        "- select name from t_apg where id = $1 params=1 rows=1",
        "- select name from t_apg where id = $1 params=1 rows=1",
        "T2 BEGIN", "T2 insert into t_apg values($1, $2) returning id params=2 error=UniqueViolationError",
        "T2 ROLLBACK",
        "- insert into t_apg values(?) error=UniqueViolationError",
        '- COPY "t_apg" FROM STDIN (FORMAT binary) rows=1',
        "- select ? rows=1",
        "- select id from t_apg where id = $1 params=1 rows=1",
    ] and len(got) == 19, got
    healthy(collector)


def test_asyncpg_results_are_hashed(collector):
    collector.run(
        """
import sys, asyncio, asyncpg
async def main():
    c = await asyncpg.connect(sys.argv[1])
    for n in (1, 2, 1):
        await c.fetch("select $1::int, now()::date", n)
    await c.fetch("select generate_series(1, 600)")
asyncio.run(main())
""",
        postgres(),
    )
    one, two, again, large = [e.get("result_hash") for e in collector.of("query")]
    assert one == again != two
    assert large is None, "beyond the bound"


def test_asyncpg_switched_off(collector):
    assert collector.run(ASYNCPG, postgres(), DEMARC_HOOKS="-asyncpg").returncode == 0
    assert lines(collector) == []
