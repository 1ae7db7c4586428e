"""aiosqlite: its thread works with an observed sqlite3 connection; the request and the line of code that asked are
handed over to it, so that the times are those of the database and not of the queue."""

import functools
import sys

from _demarc import core, db
from _demarc.core import failed, state
from _demarc.hooks import db_sqlite3

NAME = "aiosqlite"


def patch(module):
    """Hooks the one method by which aiosqlite asks its thread for anything."""
    db_sqlite3.install(NAME)
    db_sqlite3.hand_over(module)
    cls = module.Connection
    original = cls._execute

    @functools.wraps(original)
    def _execute(self, fn, *args, **kwargs):
        if state.on and type(self._connection) is not _PLAIN:
            try:
                fn = _carry(fn)
            except Exception:
                failed(NAME)
        return original(self, fn, *args, **kwargs)

    cls._execute = _execute


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
