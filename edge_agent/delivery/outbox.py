"""The spool between an alert and the broker: what was raised survives a power cut.

SQLite in WAL mode with `synchronous=FULL`: when `add` returns, the message is on the disk. One thread owns
the database. Rows leave only when the broker took them, when they expired, or when the spool outgrew its limit,
those of the lowest priority first; the last two are reported, never silent. A file that SQLite cannot read is set
aside, and what can be read of it goes on in the new one; one of an earlier version is brought up to date. SQLite does
not notice a bit that a worn card has turned in a value, so each row has a checksum (CRC-32, which tells every single
turned bit): a damaged row is set aside too, and holds up none behind it. For one in its log SQLite would drop all that
came later; that is found by counting, and the log is read to its end.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.delivery import sqlite_files
from edge_agent.delivery.messages import Message, Priority
from edge_agent.delivery.write_ahead_log import WriteAheadLog
from edge_agent.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_NAME = "outbox.sqlite3"
_SCHEMA_VERSION = 5
#: So many damaged rows are kept, for whoever wants to look.
_MAX_DAMAGED = 100
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS message (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    topic       TEXT    NOT NULL,
    payload     BLOB    NOT NULL,
    retain      INTEGER NOT NULL,
    added_s     REAL    NOT NULL,  -- seconds since 1970
    expires_s   REAL,              -- seconds since 1970, NULL for never
    priority    INTEGER NOT NULL DEFAULT {Priority.NORMAL:d},
    alert_id    TEXT    NOT NULL DEFAULT '',
    crc         INTEGER NOT NULL DEFAULT 0  -- of what is sent and how
) STRICT;
CREATE TABLE IF NOT EXISTS damaged (
    seq         INTEGER PRIMARY KEY,
    topic       BLOB,
    payload     BLOB
) STRICT;
CREATE TABLE IF NOT EXISTS note (  -- what the next run must know
    name        TEXT PRIMARY KEY,
    body        TEXT NOT NULL,
    crc         INTEGER NOT NULL DEFAULT 0
) STRICT;
"""
_TABLES, _TABLE_NAMES = {"message", "damaged", "note"}, "SELECT name FROM sqlite_master WHERE type = 'table'"
#: From a file of version 1 or 2, where only the topic told what a message is; an alert's ends with its ULID.
_MIGRATION = (
    f"ALTER TABLE message ADD COLUMN priority INTEGER NOT NULL DEFAULT {Priority.NORMAL:d}",
    "ALTER TABLE message ADD COLUMN alert_id TEXT NOT NULL DEFAULT ''",
    f"UPDATE message SET priority = {Priority.ALERT:d}, alert_id = substr(topic, -26) WHERE topic LIKE '%/alert/%'",
    f"UPDATE message SET priority = {Priority.SUMMARY:d} WHERE topic LIKE '%/summary'",
)
#: In the order in which rows have to make room; without it a spool of a million took seconds for each.
_INDEX = "CREATE INDEX IF NOT EXISTS message_priority ON message (priority, seq)"
#: So many rows are read at a time while room is made.
_EVICTED_AT_ONCE = 100
_ADD_CRC = "ALTER TABLE message ADD COLUMN crc INTEGER NOT NULL DEFAULT 0"
_ADD_NOTE_CRC = "ALTER TABLE note ADD COLUMN crc INTEGER NOT NULL DEFAULT 0"
#: What the checksum is of; text as bytes, for damaged text may be none.
_CHECKED = "CAST(topic AS BLOB), payload, retain, expires_s, priority, CAST(alert_id AS BLOB)"
_NOTE = "CAST(name AS BLOB), CAST(body AS BLOB)"
_COLUMNS = "topic, payload, retain, added_s, expires_s, priority, alert_id, crc"


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

    Attributes:
        set_aside: where a file that could not be read was moved to; None if there was none.
        damaged: rows that were found damaged and set aside, and one for a damaged log.
        problem: why the disk could not be used at the start, until `probe` succeeds; empty otherwise. Meanwhile
            everything else raises StateError.

    Raises:
        StateError: there is no such folder and none can be made, or another agent uses it.
    """

    def __init__(self, state_dir: Path, *, max_bytes: int, unix: Callable[[], float]) -> None:
        self._path, self._max_bytes, self._unix = state_dir / FILE_NAME, max_bytes, unix
        self._used_bytes = 0
        self.set_aside: Path | None = None
        self.damaged = 0
        self.problem = ""
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            self._db = self._open_file()
        except (OSError, sqlite3.Error) as error:
            if "locked" in str(error):
                raise self._unusable(error) from None
            # A card that is full or failing must not keep a kiosk from paging.
            self.problem = str(self._unusable(error))
            self._db = sqlite3.connect(":memory:", check_same_thread=False)

    def _open_file(self) -> sqlite3.Connection:
        try:
            with sqlite_files.readable():
                return self._open_to_the_end()
        except sqlite3.DatabaseError as error:
            if not sqlite_files.is_corrupt(error):
                raise
        self.set_aside = sqlite_files.set_aside(self._path, unix_s=self._unix())
        db = self._open()
        self._take_over(db, self.set_aside)
        return db

    def _open_to_the_end(self) -> sqlite3.Connection:
        """Open the file, also where SQLite would drop the end of its log."""
        log = WriteAheadLog(self._path)
        db = self._open()
        if not log.committed or db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1] >= log.committed:
            return db
        self.damaged += 1
        db.close()
        log.mend()
        return self._open()

    def _take_over(self, db: sqlite3.Connection, aside: Path) -> None:
        """Copy what can be read of a file that was set aside, and is undamaged."""
        rows, notes = dict[int, list[Any]](), dict[bytes, list[Any]]()
        with contextlib.closing(sqlite3.connect(f"{aside.absolute().as_uri()}?mode=ro", uri=True)) as old:
            for order in ("ASC", "DESC"):  # from both ends up to what cannot be read
                with contextlib.suppress(sqlite3.Error, UnicodeDecodeError, OverflowError):
                    for name, *rest in old.execute(f"SELECT {_NOTE}, crc FROM note ORDER BY rowid {order}"):
                        notes[name] = [name, *rest]
                with contextlib.suppress(sqlite3.Error, UnicodeDecodeError, OverflowError):
                    for seq, *row in old.execute(
                        f"SELECT seq, added_s, crc, {_CHECKED} FROM message ORDER BY seq {order}"
                    ):
                        rows[seq] = row
        for seq, (added_s, crc, *checked) in sorted(rows.items()):
            if _crc(checked) != crc or not isinstance(added_s, float):
                self.damaged += 1
                continue
            topic, payload, retain, expires_s, priority, alert_id = checked
            row = topic.decode(), payload, retain, added_s, expires_s, priority, alert_id.decode(), crc
            db.execute(f"INSERT INTO message (seq, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (seq, *row))
        for name, body, crc in notes.values():
            if _crc([name, body]) == crc:
                db.execute("INSERT INTO note VALUES (?, ?, ?)", (name.decode(), body.decode(), crc))

    def _open(self) -> sqlite3.Connection:
        # Opened by whoever builds the agent, then used by its loop alone.
        db = sqlite3.connect(self._path, isolation_level=None, timeout=1.0, check_same_thread=False)
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > _SCHEMA_VERSION:
                raise sqlite3.DatabaseError("malformed: written by a later version of the agent")
            if version == _SCHEMA_VERSION and not {row[0] for row in db.execute(_TABLE_NAMES)} >= _TABLES:
                raise sqlite3.DatabaseError("malformed: a table is missing")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            # Two agents on one spool would send everything twice: whoever comes second is turned away.
            db.execute("PRAGMA locking_mode=EXCLUSIVE")
            db.execute("BEGIN EXCLUSIVE")
            for statement in _SCHEMA.split(";")[:-1]:
                db.execute(statement)
            if 0 < version < 3:
                for statement in _MIGRATION:
                    db.execute(statement)
            if 0 < version < 4:
                db.execute(_ADD_CRC)
                for seq, *values in db.execute(f"SELECT seq, {_CHECKED} FROM message").fetchall():
                    db.execute("UPDATE message SET crc = ? WHERE seq = ?", (_crc(values), seq))
            if 0 < version < 5:
                db.execute(_ADD_NOTE_CRC)
                for name, body in db.execute(f"SELECT {_NOTE} FROM note").fetchall():
                    db.execute("UPDATE note SET crc = ? WHERE name = ?", (_crc([name, body]), name.decode()))
            db.execute(_INDEX)
            db.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
            db.execute("COMMIT")
            sqlite_files.check(db)
            for columns, table in ((f"seq, {_COLUMNS}", "message"), (f"{_NOTE}, crc", "note"), ("*", "damaged")):
                db.execute(f"SELECT {columns} FROM {table} LIMIT 1").fetchall()
            # Counted once; from then on it is known.
            self._used_bytes = int(db.execute("SELECT coalesce(sum(length(payload)), 0) FROM message").fetchone()[0])
        except BaseException:
            db.close()
            raise
        return db

    def add(self, *messages: Message, note: tuple[str, str] | None = None) -> tuple[list[int], list[Row]]:
        """Commit messages to disk, all or none; return their numbers and other rows that had to make room.

        Args:
            note: name and text of what the next run must know, committed with them.

        Raises:
            StateError: the disk is full or failing; nothing was changed.
        """
        with self._guard():
            used_bytes = self._used_bytes
            self._db.execute("BEGIN IMMEDIATE")
            try:
                added = [self._insert(message) for message in messages]
                if note is not None:
                    self._write_note(*note)
                evicted = self._evict(before=added[0])
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                self._used_bytes = used_bytes
                raise
        return added, evicted

    def _insert(self, message: Message) -> int:
        now_s = self._unix()
        expires_s = None if message.expiry_s is None else float(now_s + message.expiry_s)
        topic, alert_id = message.topic.encode(), message.alert_id.encode()
        crc = _crc([topic, message.payload, int(message.retain), expires_s, int(message.priority), alert_id])
        cursor = self._db.execute(
            f"INSERT INTO message ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (message.topic, message.payload, message.retain, now_s, expires_s, message.priority, message.alert_id, crc),
        )
        assert cursor.lastrowid is not None
        self._used_bytes += len(message.payload)
        return cursor.lastrowid

    def _evict(self, *, before: int) -> list[Row]:
        evicted: list[Row] = []
        while self._used_bytes > self._max_bytes:
            used_bytes = self._used_bytes
            rows = self._rows("WHERE seq < ? ORDER BY priority, seq LIMIT ?", before, _EVICTED_AT_ONCE)
            over_bytes, chosen = self._used_bytes - self._max_bytes, list[Row]()
            for row in rows:
                if over_bytes <= 0:
                    break
                chosen.append(row)
                over_bytes -= len(row.message.payload)
            self.remove([row.seq for row in chosen])
            evicted += chosen
            if self._used_bytes == used_bytes:
                break  # nothing older is left, not even what was damaged
        return evicted

    def note(self, name: str) -> str | None:
        """Return what an earlier run left under a name.

        Raises:
            StateError: the file cannot be read.
        """
        with self._guard():
            found = self._db.execute(f"SELECT {_NOTE}, crc FROM note WHERE name = ?", (name,)).fetchone()
            if found is None:
                return None
            if _crc(list(found[:2])) != found[2]:
                self.damaged += 1
                self._db.execute("DELETE FROM note WHERE name = ?", (name,))
                return None
        return str(found[1].decode())

    def write_note(self, name: str, body: str) -> None:
        """Leave something for the next run.

        Raises:
            StateError: the disk is full or failing.
        """
        with self._guard():
            self._write_note(name, body)

    def _write_note(self, name: str, body: str) -> None:
        crc = _crc([name.encode(), body.encode()])
        self._db.execute("INSERT OR REPLACE INTO note (name, body, crc) VALUES (?, ?, ?)", (name, body, crc))

    def pending(self, *, limit: int, after: int = 0) -> list[Row]:
        """Return the oldest messages whose numbers are larger than `after`.

        Raises:
            StateError: the file cannot be read.
        """
        with self._guard():
            return self._rows("WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)

    def last(self) -> int:
        """Return the largest number of a message, 0 where there is none.

        Raises:
            StateError: the file cannot be read.
        """
        with self._guard():
            return int(self._db.execute("SELECT coalesce(max(seq), 0) FROM message").fetchone()[0])

    def _rows(self, condition: str, *values: int) -> list[Row]:
        found, damaged = [], []
        for seq, crc, *checked in self._db.execute(f"SELECT seq, crc, {_CHECKED} FROM message {condition}", values):
            if _crc(checked) != crc:
                damaged.append(seq)
                continue
            topic, payload, retain, expires_s, priority, alert_id = checked
            message = Message(topic.decode(), payload, bool(retain), None, Priority(priority), alert_id.decode())
            found.append(Row(seq, message, expires_s))
        if damaged:
            self._put_aside(damaged)
        return found

    def _put_aside(self, seqs: list[int]) -> None:
        self.damaged += len(seqs)
        chosen = "WHERE seq IN (SELECT value FROM json_each(?))"
        columns = "seq, CAST(topic AS BLOB), CAST(payload AS BLOB)"
        self._db.execute(f"INSERT OR REPLACE INTO damaged SELECT {columns} FROM message {chosen}", (json.dumps(seqs),))
        self._delete(seqs)
        newest = f"SELECT seq FROM damaged ORDER BY seq DESC LIMIT {_MAX_DAMAGED}"
        self._db.execute(f"DELETE FROM damaged WHERE seq NOT IN ({newest})")

    def remove(self, seqs: list[int]) -> None:
        """Forget messages that the broker has.

        Raises:
            StateError: the file cannot be written.
        """
        with self._guard():
            self._delete(seqs)

    def _delete(self, seqs: list[int]) -> None:
        # One statement: one commit however many there are.
        statement = "DELETE FROM message WHERE seq IN (SELECT value FROM json_each(?)) RETURNING length(payload)"
        self._used_bytes -= sum(row[0] for row in self._db.execute(statement, (json.dumps(seqs),)).fetchall())

    def probe(self) -> None:
        """Write something of no consequence, to learn whether the disk takes it.

        Raises:
            StateError: it does not.
        """
        if self.problem:
            try:
                opened = self._open_file()
            except (OSError, sqlite3.Error) as error:
                raise self._unusable(error) from None
            self._db.close()
            self._db, self.problem = opened, ""
        with self._guard():
            self._db.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")

    def depth(self) -> tuple[int, float]:
        """Return the number of messages waiting and the age of the oldest in seconds."""
        with self._guard():
            count, oldest = self._db.execute("SELECT count(*), min(CAST(added_s AS REAL)) FROM message").fetchone()
        return count, max(0.0, self._unix() - oldest) if count else 0.0

    def close(self) -> None:
        """Close the file; messages stay for the next run."""
        self._db.close()

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        if self.problem:
            raise StateError(self.problem)
        try:
            with sqlite_files.readable():
                yield
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> StateError:
        if "locked" in str(error):
            return StateError(
                f"{self._path} is in use by another agent; stop it or give outbox.state_dir another value"
            )
        return StateError(f"cannot use {self._path}: {error}; is outbox.state_dir writable and the disk not full?")


def _crc(values: list[Any]) -> int:
    return zlib.crc32(repr(values).encode())
