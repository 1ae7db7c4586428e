"""Django's connections, on SQLite and on PostgreSQL."""

import sys

import pytest
from dbtools import healthy, lines, postgres

CODE = """
import sys, asyncio
from urllib.parse import urlparse
import django
from django.conf import settings
u = urlparse(sys.argv[1])
if u.scheme == "sqlite":
    db = {"ENGINE": "django.db.backends.sqlite3", "NAME": "dj.db"}
else:
    db = {"ENGINE": "django.db.backends.postgresql", "NAME": u.path[1:], "USER": u.username, "HOST": u.hostname,
          "PORT": u.port}
mirror = {**db, "TEST": {"MIRROR": "default"}}
settings.configure(DATABASES={"default": db, "mirror": mirror}, USE_TZ=True,
                   DEFAULT_AUTO_FIELD="django.db.models.AutoField")
django.setup()
from django.db import IntegrityError, connection, models, transaction
class T(models.Model):
    name = models.CharField(max_length=20, unique=True)
    class Meta:
        app_label = "x"
        db_table = "t_dj"
with connection.cursor() as c:
    c.execute("drop table if exists t_dj")
with connection.schema_editor() as editor:
    editor.create_model(T)
with connection.cursor() as c:
    c.execute("select 'start'")
T.objects.create(name="a")
print(list(T.objects.filter(id__gt=0).values_list("name", flat=True)))
with transaction.atomic():
    T.objects.filter(id=1).update(name="z")
    try:
        with transaction.atomic():
            T.objects.create(name="z")
    except IntegrityError as e:
        print(type(e).__name__)
try:
    with transaction.atomic():
        T.objects.filter(id=1).update(name="y")
        raise KeyError
except KeyError:
    pass
with connection.cursor() as c:
    c.executemany("insert into t_dj(name) values(%s)", [("m%d" % i,) for i in range(12)])
    c.execute("select name from t_dj where id = %(i)s", {"i": 1})
    print(c.fetchall())
print(T.objects.using("mirror").count())
async def main():
    print(await T.objects.acount())
asyncio.run(main())
"""


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_one_statement_one_event(collector, database):
    sqlite = database == "sqlite"
    p = collector.run(CODE, "sqlite:" if sqlite else postgres())
    assert p.stdout == "['a']\nIntegrityError\n[('z',)]\n13\n13\n"
    got = lines(collector, after="select ?")
    start = next(i for i, s in enumerate(got) if "INSERT" in s)
    first = got[start]
    rows = "" if sqlite else " rows=1"  # of a select SQLite counts nothing, of RETURNING neither
    returning = "" if sqlite and sys.version_info < (3, 10) and "RETURNING" not in first else \
        ' RETURNING "t_dj"."id"'
    insert = '%s INSERT INTO "t_dj" ("name") VALUES (%%s)' + returning + " params=1"
    assert first in (insert % "-" + rows, insert % "-" + " rows=1")
    plain = [s if "_x" not in s else s.split('"')[0].strip() for s in got[start + 1 :]]
    assert plain == [
        '- SELECT "t_dj"."name"%s FROM "t_dj" WHERE "t_dj"."id" > %%s params=1%s' % (alias(plain[0]), rows),
        "T1 BEGIN", 'T1 UPDATE "t_dj" SET "name" = %s WHERE "t_dj"."id" = %s params=2 rows=1',
        "T1 SAVEPOINT", insert % "T1" + " error=IntegrityError", "T1 ROLLBACK TO SAVEPOINT", "T1 RELEASE SAVEPOINT",
        "T1 COMMIT",
        "T2 BEGIN", 'T2 UPDATE "t_dj" SET "name" = %s WHERE "t_dj"."id" = %s params=2 rows=1', "T2 ROLLBACK",
        "- insert into t_dj(name) values(%s) params=8 rows=12 many=12",
        "- select name from t_dj where id = %(i)s params=1" + rows,
        '- SELECT COUNT(*) AS "__count" FROM "t_dj"' + rows,
        '- SELECT COUNT(*) AS "__count" FROM "t_dj"' + rows,
    ]
    assert {e["db"] for e in collector.of("query")} == {database}
    assert [e.get("role") for e in collector.of("query")][-2:] == ["replica", None]
    healthy(collector)


def alias(s):
    """Newer versions name the column once more."""
    return ' AS "name"' if ' AS "name"' in s else ""


def test_switched_off_the_driver_is_seen(collector):
    assert collector.run(CODE, "sqlite:", DEMARC_HOOKS="-django_db").stdout.endswith("13\n13\n")
    assert any("INSERT INTO" in s for s in lines(collector))
    seen = len(collector.events)
    assert collector.run(CODE, "sqlite:", DEMARC_HOOKS="-django_db,-sqlite3").stdout.endswith("13\n13\n")
    assert len(collector.of("query")) + len(collector.of("txn")) <= seen


def test_execute_wrappers_and_the_debug_log_work_as_before(collector):
    p = collector.run(
        """
import django
from django.conf import settings
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}, DEBUG=True)
django.setup()
from django.db import connection
def wrapper(execute, sql, params, many, context):
    print("wrapped", sql)
    return execute(sql, params, many, context)
with connection.execute_wrapper(wrapper), connection.cursor() as c:
    c.execute("select %s", [5])
    print(c.fetchone())
print([q["sql"] for q in connection.queries])
"""
    )
    assert p.stdout == "wrapped select %s\n(5,)\n['select 5']\n"
    assert lines(collector) == ["- select %s params=1"]
    healthy(collector)


WRAPPED = """
import functools
import django
from django.conf import settings
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()
from django.db import connection
def wrapper(execute, sql, params, many, context):
    return execute(sql, params, many, context)
def asking(execute, sql, params, many, context):
    if "inside" not in sql:
        with connection.cursor() as c:
            c.execute("select 1 as inside")
    return execute(sql, params, many, context)
def ask(many=False):
    with connection.cursor() as c:
        c.execute("select 1 as outside")
        if many:
            c.executemany("insert into t values(%s)", [(1,), (2,)])
        try:
            c.execute("select nothing")
        except Exception as e:
            print(type(e).__name__)
def main():
    with connection.cursor() as c:
        c.execute("create table t(a)")
    ask()
    with connection.execute_wrapper(wrapper), connection.execute_wrapper(wrapper):
        ask(many=True)
        with connection.execute_wrapper(asking):
            ask()
    connection.execute_wrappers.append(wrapper)
    connection.force_debug_cursor = True
    ask()
"""


def test_a_statements_line_is_outside_of_the_services_execute_wrappers(collector, tmp_path):
    """A wrapper of the service's own stands between each statement and the line that asked for it; what a wrapper
    asks itself has its own line."""
    (tmp_path / "service.py").write_text(WRAPPED)
    collector.run("import sys; sys.path.insert(0, '.'); import service; service.main()", cwd=tmp_path)
    got = {}
    for e in collector.of("query"):
        got.setdefault(e["text"].partition(" values")[0], []).append(e["code"].rpartition(":")[0])
    assert got["select '?' as outside"] == got["select nothing"] == ["service:ask"] * 4
    assert got["insert into t"] == ["service:ask"] and got["select '?' as inside"] == ["service:asking"] * 2
    healthy(collector)
