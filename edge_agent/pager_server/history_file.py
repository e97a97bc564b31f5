"""The history's file: its tables, what happens to one that cannot be read, and how names are forgotten."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from edge_agent.delivery import sqlite_files

FILE_NAME = "history.sqlite3"
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS page (
    id          TEXT PRIMARY KEY,  -- of the alert
    topic       TEXT NOT NULL,     -- of the kiosk
    place       TEXT NOT NULL,
    zone        TEXT NOT NULL,
    rule        TEXT NOT NULL,
    message     TEXT NOT NULL,
    severity    TEXT NOT NULL,
    groups      TEXT NOT NULL,
    people      INTEGER NOT NULL,  -- most that it was about at once
    escalated   INTEGER NOT NULL,  -- how often
    revision    INTEGER NOT NULL,  -- of the latest step
    raised_s    REAL NOT NULL,     -- all times in seconds since 1970
    answer      TEXT NOT NULL DEFAULT '',  -- the first one; empty while there is none
    answered_s  REAL,              -- NULL while there is none, or where nobody knows when
    answered_by TEXT NOT NULL DEFAULT '',
    ended_s     REAL,              -- NULL while it is open
    reason      TEXT NOT NULL DEFAULT '',  -- why it ended; unknown where no pager server was there
    seen_s      REAL,              -- of a page without an answer
    seen_by     TEXT NOT NULL DEFAULT '',
    verdict     TEXT NOT NULL DEFAULT '',  -- resolve, false_alarm or empty: what was said last
    note        TEXT NOT NULL DEFAULT '',
    judged_s    REAL,              -- when verdict or note were given afterwards
    judged_by   TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS page_raised ON page (raised_s);
CREATE INDEX IF NOT EXISTS page_open ON page (raised_s) WHERE ended_s IS NULL;
CREATE INDEX IF NOT EXISTS page_missed ON page (raised_s)
    WHERE ended_s IS NOT NULL AND answer = '' AND seen_s IS NULL;
CREATE TABLE IF NOT EXISTS summary (
    topic       TEXT NOT NULL,     -- of the kiosk
    begin_s     REAL NOT NULL,
    end_s       REAL NOT NULL,
    visits      INTEGER NOT NULL,
    satisfied   REAL NOT NULL,     -- share, 0 to 1
    PRIMARY KEY (topic, begin_s)
) STRICT;
"""
_NAMES = ("answered_by", "seen_by", "judged_by")
_TIMES = {"page": ("raised_s", "answered_s", "ended_s", "seen_s", "judged_s"), "summary": ("begin_s", "end_s")}
#: From 1970 to 9000: what every calendar can show.
_FIRST_S, _LAST_S = 0, 221_845_392_000


def open_file(path: Path, *, say: Callable[[str], None], unix_s: float) -> sqlite3.Connection:
    """Return the history; one in memory where the disk takes none, for pages must be shown all the same.

    A file that SQLite cannot read is set aside, and a new one begun; of one that it can, rows with impossible times are
    removed.

    Args:
        say: told so, in one line.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with sqlite_files.readable():
                return _open(path, say)
        except sqlite3.DatabaseError as error:
            if not sqlite_files.is_corrupt(error):
                raise
        aside = sqlite_files.set_aside(path, unix_s=unix_s)
        say(f"the history could not be read and was moved to {aside}; a new one begins")
        return _open(path, say)
    except (OSError, sqlite3.Error) as error:
        say(f"cannot use {path}: {error}; the history of this run will be lost, see pager.state_dir")
        return _prepared(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))


def forget(db: sqlite3.Connection) -> None:
    """Erase all names.

    Raises:
        sqlite3.Error: the disk does not take it.
    """
    some = " OR ".join(f"{column} != ''" for column in _NAMES)
    db.execute(f"UPDATE page SET {', '.join(f'{column} = ' + repr('') for column in _NAMES)} WHERE {some}")


def _open(path: Path, say: Callable[[str], None]) -> sqlite3.Connection:
    # What stands in it is nobody else's business; SQLite gives its other files the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    db = sqlite3.connect(path, isolation_level=None, timeout=2.0, check_same_thread=False)
    try:
        if db.execute("PRAGMA user_version").fetchone()[0] > _VERSION:
            raise sqlite3.DatabaseError("malformed: written by a later version")
        db.execute("PRAGMA journal_mode=WAL")
        # The last second may be lost with the power; kiosks say again what is open.
        db.execute("PRAGMA synchronous=NORMAL")
        _prepared(db)
        sqlite_files.check(db)
        _check_columns(db)
        _mend_indices(db)
        if removed := _remove_impossible(db):
            say(f"the history had damaged rows, with impossible times: {removed}; removed")
    except BaseException:
        db.close()
        raise
    return db


def _check_columns(db: sqlite3.Connection) -> None:
    """Refuse a file whose tables are not ours; the names of their columns may be damaged as everything else.

    Raises:
        sqlite3.DatabaseError: one is missing.
    """
    with contextlib.closing(sqlite3.connect(":memory:")) as ours:
        ours.executescript(_SCHEMA)
        for table in _TIMES:
            names = [row[1] for row in ours.execute(f"PRAGMA table_info({table})")]
            db.execute(f"SELECT {', '.join(names)} FROM {table} LIMIT 0")


def _mend_indices(db: sqlite3.Connection) -> None:
    """Make indices anew that say something else than the rows.

    Raises:
        sqlite3.DatabaseError: rows that must differ are alike.
    """
    if db.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
        try:
            db.execute("REINDEX")
        except sqlite3.IntegrityError as error:
            raise sqlite3.DatabaseError(f"malformed: {error}") from None


def _remove_impossible(db: sqlite3.Connection) -> int:
    removed = 0
    for table, columns in _TIMES.items():
        impossible = " OR ".join(f"{column} NOT BETWEEN {_FIRST_S} AND {_LAST_S}" for column in columns)
        removed += db.execute(f"DELETE FROM {table} WHERE {impossible}").rowcount
    return removed


def _prepared(db: sqlite3.Connection) -> sqlite3.Connection:
    # One damaged text must not hide all others.
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    db.execute("PRAGMA secure_delete=ON")
    db.executescript(_SCHEMA)
    db.execute(f"PRAGMA user_version={_VERSION}")
    return db
