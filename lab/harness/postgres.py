"""What the lab does with Postgres beside asking it: reading the log of changes, and a replica that can lag."""

from __future__ import annotations

import hashlib
import re
import subprocess
import time
from pathlib import Path

SECONDS = 60

_COLUMN = re.compile(r"(\w+)\[[^\]]+\]:('(?:[^']|'')*'|\S+)")
_CHANGE = re.compile(r"table public\.(\w+): (INSERT|UPDATE|DELETE): (.*)", re.S)


class Database:
    """One database, through psql."""

    def __init__(self, psql: Path, url: str) -> None:
        self.psql = psql
        self.url = url
        self.name = url.rpartition("/")[2]

    def ask(self, statement: str) -> str:
        """What a statement gives: a line a row, the columns parted by |."""
        answer = subprocess.run(
            [self.psql, "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        if answer.returncode != 0:
            raise RuntimeError(f"psql: {answer.stderr.strip()}")
        return answer.stdout.strip()

    def wait_for(self, statement: str) -> None:
        """Waits until a statement gives t."""
        deadline = time.monotonic() + SECONDS
        while self.ask(statement) != "t":
            if time.monotonic() > deadline:
                raise RuntimeError(f"not true within {SECONDS} s: {statement}")
            time.sleep(0.05)


class Log:
    """The log of one database's committed changes from now on."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._slot = f"log_{database.name}"
        database.ask(f"SELECT pg_create_logical_replication_slot('{self._slot}', 'test_decoding')")

    def close(self) -> None:
        self._database.ask(f"SELECT pg_drop_replication_slot('{self._slot}')")

    def events(self, key: bytes, service: str) -> list[dict]:
        """The changes as events (docs/events.md). Every table's key is its column id, and its identity is the whole
        row, so that the columns that changed are known. key: the project's hashing key."""
        rows = self._database.ask(
            "SELECT lsn - '0/0'::pg_lsn, xid, replace(data, E'\\n', ' ')"
            f" FROM pg_logical_slot_get_changes('{self._slot}', NULL, NULL, 'include-timestamp', 'on')"
        )
        events, waiting = [], []
        for row in rows.splitlines():
            lsn, xid, data = row.split("|", 2)
            changed = _CHANGE.match(data)
            if changed:
                table, operation, values = changed.groups()
                before, _, after = values.rpartition("new-tuple:")
                new = dict(_COLUMN.findall(after))
                old = dict(_COLUMN.findall(before))
                waiting.append({
                    "type": "change", "db": "postgresql", "service": service, "xid": int(xid), "table": table,
                    "op": operation.lower(), "pk": [_hash(key, new["id"].strip("'"))],
                    "columns": [name for name in new if new[name] != old.get(name)],
                })  # fmt: skip
            elif data.startswith("COMMIT"):
                at = self._nanoseconds(re.search(r"\(at (.*)\)", data).group(1))
                events += [{**event, "at": at, "lsn": int(lsn)} for event in waiting]
                waiting = []
        return events

    def _nanoseconds(self, stamp: str) -> int:
        return int(self._database.ask(f"SELECT (extract(epoch FROM '{stamp}'::timestamptz) * 1000000)::bigint")) * 1000


def _hash(key: bytes, text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8, key=key).hexdigest()


class Replica:
    """A second database that follows the first one by logical replication, and can be held back."""

    def __init__(self, primary: Database, copy: Database) -> None:
        self._primary = primary
        self._copy = copy
        self._name = f"replica_{primary.name}"
        primary.ask("CREATE PUBLICATION everything FOR ALL TABLES")
        primary.ask(f"SELECT pg_create_logical_replication_slot('{self._name}', 'pgoutput')")
        copy.ask(
            f"CREATE SUBSCRIPTION {self._name} CONNECTION '{primary.url}' PUBLICATION everything"
            " WITH (create_slot = false, copy_data = false)"
        )

    def close(self) -> None:
        self.hold_back()
        self._copy.ask(f"ALTER SUBSCRIPTION {self._name} SET (slot_name = NONE)")
        self._copy.ask(f"DROP SUBSCRIPTION {self._name}")
        self._primary.wait_for(f"SELECT NOT active FROM pg_replication_slots WHERE slot_name = '{self._name}'")
        self._primary.ask(f"SELECT pg_drop_replication_slot('{self._name}')")

    def hold_back(self) -> None:
        """From now on nothing arrives."""
        self._copy.ask(f"ALTER SUBSCRIPTION {self._name} DISABLE")
        self._copy.wait_for(f"SELECT pid IS NULL FROM pg_stat_subscription WHERE subname = '{self._name}'")

    def catch_up(self) -> None:
        """Returns when everything that is committed has arrived."""
        position = self._primary.ask("SELECT pg_current_wal_insert_lsn()")
        self._copy.ask(f"ALTER SUBSCRIPTION {self._name} ENABLE")
        self._primary.wait_for(
            f"SELECT confirmed_flush_lsn >= '{position}' FROM pg_replication_slots WHERE slot_name = '{self._name}'"
        )
