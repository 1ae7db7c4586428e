"""What the tests of the database hooks share: servers, and events as short lines that can be compared."""

import os

import pytest


def postgres(scheme="postgresql"):
    """The URL of the test server; without one, the test fails."""
    url = os.environ.get("DEMARC_TEST_POSTGRES")
    if not url:
        pytest.fail("DEMARC_TEST_POSTGRES is not set: run make test, or scripts/with-servers")
    return scheme + url[url.index(":") :]


def lines(collector, after=None):
    """The query and txn events in order of completion, one line each, transactions numbered from T1.

    after: the text of a statement; what came up to it is left out, which is how a test skips its preparations.
    """
    events = sorted(collector.of("query") + collector.of("txn"), key=lambda e: e["seq"])
    # A literal's place is kept as '?'; in these lines it is as short as a parameter's.
    events = [dict(e, text=e["text"].replace("'?'", "?")) if "text" in e else e for e in events]
    if after is not None:
        at = [i for i, e in enumerate(events) if after in e.get("text", "")]
        assert at, "no statement %r among %r" % (after, [e.get("text") for e in events])
        events = events[at[-1] + 1 :]
    names = {}
    return [line(e, names) for e in events]


def line(e, names):
    """One event: its transaction, what it did, and what is known of it."""
    txn = names.setdefault(e["txn"], "T%d" % (len(names) + 1)) if "txn" in e else "-"
    if e["type"] == "txn":
        parts = [txn, e["op"].upper()]
        if "isolation" in e:
            parts.append("isolation=" + e["isolation"])
    else:
        parts = [txn, " ".join(e["text"].split())]
        if "params" in e:
            parts.append("params=%d" % len(e["params"]))
        parts += ["%s=%s" % (k, e[k]) for k in ("rows", "many") if k in e]
    if "error" in e:
        parts.append("error=" + e["error"].rpartition(".")[2])
    return " ".join(parts)


HOOKS = ("sqlite3", "aiosqlite", "sqlalchemy", "psycopg2", "psycopg", "asyncpg", "django_db")


def healthy(collector):
    """No database hook has failed."""
    assert collector.stats, "the recorder said nothing of itself"
    failures = collector.stats[-1]["failures"]
    assert {k: n for k, n in failures.items() if k in HOOKS} == {}, failures
