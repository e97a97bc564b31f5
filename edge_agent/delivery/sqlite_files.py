"""What every SQLite file of ours does when it cannot be read: it is set aside, whole, and a new one begun."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

#: What SQLite says of a file that holds nonsense; the latter three of one whose schema was altered.
_SIGNS = (
    "malformed", "not a database", "file is encrypted", "no such column", "no such table", "duplicate column name",
)  # fmt: skip


def check(db: sqlite3.Connection) -> None:
    """Look the file through.

    Raises:
        sqlite3.DatabaseError: it is malformed.
    """
    verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise sqlite3.DatabaseError(f"malformed: {verdict}")


def is_corrupt(error: sqlite3.DatabaseError) -> bool:
    """Tell a file that holds nonsense from a disk that fails, or a lock that somebody else holds."""
    return any(sign in str(error) for sign in _SIGNS)


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Call a file malformed whose damaged text Python cannot even quote.

    Raises:
        sqlite3.DatabaseError: it is.
    """
    try:
        yield
    except UnicodeDecodeError:
        raise sqlite3.DatabaseError("malformed: what should be text is none") from None


def set_aside(path: Path, *, unix_s: float) -> Path:
    """Give a file, and what SQLite keeps beside it, a name of another; return that.

    Raises:
        OSError: the folder cannot be written.
    """
    target = path.with_name(f"{path.name}.unreadable-{int(unix_s)}")
    path.replace(target)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(target.with_name(target.name + suffix))
    return target
