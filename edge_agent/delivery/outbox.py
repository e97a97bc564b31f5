"""The spool between an alert and the broker: what was raised survives a power cut.

SQLite in WAL mode with `synchronous=FULL`: when `add` returns, the message is on the disk. One thread owns
the database. Rows leave only when the broker took them, when they expired, or, oldest first, when the spool
outgrew its limit; the last two are reported, never silent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.delivery.messages import Message
from edge_agent.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_NAME = "outbox.sqlite3"
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    topic       TEXT    NOT NULL,
    payload     BLOB    NOT NULL,
    retain      INTEGER NOT NULL,
    added_s     REAL    NOT NULL,  -- seconds since 1970
    expires_s   REAL               -- seconds since 1970, NULL for never
) STRICT
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A spooled message.

    Attributes:
        seq: ascending in the order of `add`.
        expires_s: seconds since 1970; None for never.
    """

    seq: int
    message: Message
    expires_s: float | None


class Outbox:
    """The spool in `state_dir`.

    Args:
        max_bytes: of payloads kept.
        unix: wall clock, seconds since 1970.

    Raises:
        StateError: the folder cannot be made or written, or the file is not a spool of this version.
    """

    def __init__(self, state_dir: Path, *, max_bytes: int, unix: Callable[[], float]) -> None:
        self._path, self._max_bytes, self._unix = state_dir / FILE_NAME, max_bytes, unix
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            # Opened by whoever builds the agent, then used by its loop alone.
            self._db = sqlite3.connect(self._path, isolation_level=None, timeout=1.0, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from None
        with self._guard():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _SCHEMA_VERSION):
                raise StateError(f"{self._path} was written by another version of the agent; move it away")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            # Two agents on one spool would send everything twice: whoever comes second is turned away.
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("BEGIN EXCLUSIVE")
            self._db.execute(_SCHEMA)
            self._db.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
            self._db.execute("COMMIT")

    def add(self, message: Message, *, expires_s: float | None = None) -> tuple[int, list[Row]]:
        """Commit a message to disk; return its number and older rows that had to make room.

        Raises:
            StateError: the disk is full or failing; nothing was changed.
        """
        with self._guard():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                cursor = self._db.execute(
                    "INSERT INTO message (topic, payload, retain, added_s, expires_s) VALUES (?, ?, ?, ?, ?)",
                    (message.topic, message.payload, message.retain, self._unix(), expires_s),
                )
                evicted = self._evict()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        assert cursor.lastrowid is not None
        return cursor.lastrowid, evicted

    def _evict(self) -> list[Row]:
        used = self._db.execute("SELECT coalesce(sum(length(payload)), 0) FROM message").fetchone()[0]
        evicted: list[Row] = []
        if used > self._max_bytes:
            for row in self.pending(limit=1_000_000)[:-1]:
                if used <= self._max_bytes:
                    break
                evicted.append(row)
                used -= len(row.message.payload)
            self.remove([row.seq for row in evicted])
        return evicted

    def pending(self, *, limit: int) -> list[Row]:
        """Return the oldest messages.

        Raises:
            StateError: the file cannot be read.
        """
        with self._guard():
            rows = self._db.execute(
                "SELECT seq, topic, payload, retain, expires_s FROM message ORDER BY seq LIMIT ?", (limit,)
            ).fetchall()
        return [
            Row(seq, Message(topic, payload, bool(retain)), expires_s)
            for seq, topic, payload, retain, expires_s in rows
        ]

    def remove(self, seqs: list[int]) -> None:
        """Forget messages that the broker has.

        Raises:
            StateError: the file cannot be written.
        """
        with self._guard():
            self._db.executemany("DELETE FROM message WHERE seq = ?", [(seq,) for seq in seqs])

    def probe(self) -> None:
        """Write something of no consequence, to learn whether the disk takes it.

        Raises:
            StateError: it does not.
        """
        with self._guard():
            self._db.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")

    def depth(self) -> tuple[int, float]:
        """Return the number of messages waiting and the age of the oldest in seconds."""
        with self._guard():
            count, oldest = self._db.execute("SELECT count(*), min(added_s) FROM message").fetchone()
        return count, max(0.0, self._unix() - oldest) if count else 0.0

    def close(self) -> None:
        """Close the file; messages stay for the next run."""
        self._db.close()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> StateError:
        if "locked" in str(error):
            return StateError(
                f"{self._path} is in use by another agent; stop it or give outbox.state_dir another value"
            )
        return StateError(f"cannot use {self._path}: {error}; is outbox.state_dir writable and the disk not full?")
