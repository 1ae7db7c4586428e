"""A recorder whose own code fails: every program prints what it prints unobserved, and the failures are counted."""

import pytest
from dbtools import postgres
from test_db_django import CODE as DJANGO
from test_db_postgres import ASYNCPG, PSYCOPG
from test_db_sqlalchemy import ASYNC, SYNC
from test_db_sqlite import AIO, SCENARIO

pytestmark = [pytest.mark.sqlalchemy, pytest.mark.thorough]
PROGRAMS = {
    "sqlite3": (SCENARIO, None),
    "aiosqlite": (AIO, None),
    "psycopg2": (PSYCOPG.format(driver="psycopg2", table="f_psycopg2"), "postgresql"),
    "psycopg": (PSYCOPG.format(driver="psycopg", table="f_psycopg"), "postgresql"),
    "asyncpg": (ASYNCPG, "postgresql"),
    "sqlalchemy": (SYNC, "sqlite:///t.db"),
    "sqlalchemy-postgresql": (SYNC, "postgresql+psycopg2"),
    "sqlalchemy-aiosqlite": (ASYNC, "sqlite+aiosqlite:///t.db"),
    "sqlalchemy-asyncpg": (ASYNC, "postgresql+asyncpg"),
    "django_db": (DJANGO, "sqlite:"),
    "django_db-postgresql": (DJANGO, "postgresql"),
}
# Every function that a hook calls once it has seen a statement.
BREAK = """
def boom(*args, **kwargs):
    raise ZeroDivisionError("injected")
from _demarc import db, hashing, results
for name in {names!r}:
    owners = [m for m in (db, results) if hasattr(m, name)]
    assert owners, name
    for owner in owners:
        setattr(owner, name, boom)
"""
INJECTED = {
    "emit": ("emit", "push"),
    "code": ("code",),
    "sql": ("sql", "_known"),
    "hashing": ("hash_params",),
    "results": ("result_hash", "marshal"),
    "everything": (
        "query", "begin", "ended", "emit", "push", "code", "sql", "hash_params", "counted", "text", "plain", "kind",
        "wanted", "Conn", "observed_class", "role_of", "level_name", "result_hash", "one", "rest", "some",
    ),
}


def arguments(where):
    if where is None:
        return []
    return [postgres(where) if where.startswith("postgresql") else where]


# Each program under the first and the last failure; the ones between, in the code that all hooks share, once.
CASES = [(p, i) for p in PROGRAMS for i in ("emit", "everything")] + [("sqlite3", i) for i in INJECTED]


@pytest.fixture(scope="module")
def bare():
    """What the programs print unobserved, by name."""
    return {}


@pytest.mark.parametrize(("program", "injected"), dict.fromkeys(CASES))
def test_the_program_prints_the_same(collector, tmp_path, bare, program, injected):
    code, where = PROGRAMS[program]
    if program not in bare:
        (tmp_path / "bare").mkdir()
        p = collector.run(code, *arguments(where), cwd=tmp_path / "bare", DEMARC="off")
        bare[program] = (p.stdout, p.stderr)
    (tmp_path / "broken").mkdir()
    names = INJECTED[injected]
    p = collector.run(BREAK.format(names=names) + code, *arguments(where), cwd=tmp_path / "broken")
    assert (p.stdout, p.stderr) == bare[program]
    failures = collector.stats[-1]["failures"]
    assert failures.get(program.partition("-")[0]), failures


def test_a_hook_that_keeps_failing_steps_aside(collector):
    p = collector.run(
        BREAK.format(names=("emit", "push"))
        + """
import sqlite3
c = sqlite3.connect(":memory:")
print(sum(c.execute("select 1").fetchone()[0] for _ in range(500)))
"""
    )
    assert p.stdout == "500\n"
    assert collector.stats[-1]["failures"]["sqlite3"] == 100
    assert collector.stats[-1]["hooks"]["sqlite3"] == "failed"
