"""aiosqlite: its thread works with an observed sqlite3 connection; the request and the line of code that asked are
handed over to it, so that the times are those of the database and not of the queue."""

import functools
import sys
import weakref

from _demarc import core, db
from _demarc.core import failed, state
from _demarc.hooks import db_sqlite3

NAME = "aiosqlite"


def patch(module):
    """Hooks the method by which a connection asks its thread for anything, where its thread works with an observed
    connection: SQLAlchemy's, of which there are many calls, stay as they are."""
    db_sqlite3.install(NAME)
    db_sqlite3.hand_over(module)
    connect = module.Connection._connect

    @functools.wraps(connect)
    async def _connect(self):
        result = await connect(self)
        try:
            if type(self._connection) is not _PLAIN and "_execute" not in self.__dict__:
                self._execute = _carrying(self)
        except Exception:
            failed(NAME)
        return result

    module.Connection._connect = _connect


def _carrying(connection):
    """A connection's method _execute, which hands over what is current. It does not hold the connection."""
    original, held = type(connection)._execute, weakref.ref(connection)

    @functools.wraps(original)
    def _execute(fn, *args, **kwargs):
        if state.on:
            try:
                fn = _carry(fn)
            except Exception:
                failed(NAME)
        return original(held(), fn, *args, **kwargs)

    return _execute


_PLAIN = sys.modules["sqlite3"].Connection
_WITHOUT = {"fetchone", "fetchmany", "fetchall", "cursor"}  # what never asks for a statement


def _carry(fn):
    """The function, to be run with the request and the line of code that are current now."""
    if getattr(fn, "__name__", "") in _WITHOUT:
        return fn
    ctx = core.current.get()
    line = core.code(3)

    def run(*args, **kwargs):
        token, token2 = core.current.set(ctx), db.asked.set(line)
        try:
            return fn(*args, **kwargs)
        finally:
            core.current.reset(token)
            db.asked.reset(token2)

    return run
