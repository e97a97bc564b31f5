"""SQLite files in `pager.state_dir`: written through to the disk, and set aside when they cannot be read."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from edge_agent.delivery import sqlite_files
from edge_agent.errors import StateError

_LOCKED_S = 5.0


def open_database(path: Path, schema: str, *, exclusive: bool = False) -> sqlite3.Connection:
    """Return a connection, in autocommit mode, for one thread at a time.

    Args:
        schema: statements that may be run again and again.
        exclusive: nobody else may open the file meanwhile.

    Raises:
        StateError: the folder or the file cannot be used, or somebody else has it.
    """
    with guard(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with sqlite_files.readable():
                return _open(path, schema, exclusive=exclusive)
        except sqlite3.DatabaseError as error:
            if not sqlite_files.is_corrupt(error):
                raise
        sqlite_files.set_aside(path, unix_s=time.time())
        return _open(path, schema, exclusive=exclusive)


def _open(path: Path, schema: str, *, exclusive: bool) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=_LOCKED_S, check_same_thread=False)
    try:
        path.chmod(0o600)
        if exclusive:
            db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.executescript(f"BEGIN IMMEDIATE; {schema} COMMIT;")
        sqlite_files.check(db)
    except BaseException:
        db.close()
        raise
    return db


@contextlib.contextmanager
def transaction(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Commit what the block writes, all or nothing.

    Raises:
        StateError: the disk is full or failing.
    """
    with guard(path):
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


@contextlib.contextmanager
def guard(path: Path) -> Iterator[None]:
    """Tell of a file that cannot be used in one line.

    Raises:
        StateError: instead of what SQLite or the system raises.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if "locked" in str(error):
            raise StateError(f"{path} is in use; is another one running with this pager.state_dir?") from None
        raise StateError(f"cannot use {path}: {error}; is pager.state_dir writable and the disk not full?") from None
