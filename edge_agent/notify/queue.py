"""What is still to be sent, and what was: survives a kill, so that every page is sent, and none twice."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from edge_agent.pager.page import Page
from edge_agent.pager_server.database import guard, open_database, transaction

FILE_NAME = "notify.sqlite3"
#: What is done is remembered for so long after it expired, so that a page that comes again is known.
_REMEMBERED_S = 24 * 3600.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS delivery (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    alert_id    TEXT    NOT NULL,
    revision    INTEGER NOT NULL,
    recipient   TEXT    NOT NULL,
    kind        TEXT    NOT NULL,  -- page, or over: what was sent needs nobody any more
    page        TEXT    NOT NULL,  -- JSON
    created_s   REAL    NOT NULL,  -- seconds since 1970, as the next two
    expires_s   REAL    NOT NULL,
    due_s       REAL    NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    state       TEXT    NOT NULL DEFAULT 'waiting',  -- sent, then closed; dropped; closing: over while sent
    UNIQUE (alert_id, revision, recipient, kind)
) STRICT;
CREATE INDEX IF NOT EXISTS delivery_due ON delivery (state, due_s);
"""
Kind = Literal["page", "over"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One page for one recipient.

    Attributes:
        created_s, expires_s: seconds since 1970.
        attempts: made so far.
    """

    seq: int
    recipient: str
    kind: Kind
    page: Page
    created_s: float
    expires_s: float
    attempts: int


class Queue:
    """The deliveries of one notifier, for its own thread.

    Raises:
        StateError: the file cannot be used, or another notifier has it. The methods raise it, too.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE_NAME
        self._db = open_database(self._path, _SCHEMA, exclusive=True)

    def add(self, page: Page, expiries: Iterable[tuple[str, float]], *, kind: Kind, now_s: float) -> int:
        """Commit deliveries of a page; return how many are new.

        What waits of the same alert for the same recipient is replaced.

        Args:
            expiries: recipient and expiry, seconds since 1970.
        """
        added = 0
        with transaction(self._db, self._path):
            for recipient, expires_s in expiries:
                cursor = self._db.execute(
                    "INSERT OR IGNORE INTO delivery (alert_id, revision, recipient, kind, page, created_s, expires_s, "
                    "due_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (page.id, page.revision, recipient, kind, json.dumps(asdict(page)), now_s, expires_s, now_s),
                )
                if cursor.rowcount == 1:
                    added += 1
                    self._db.execute(
                        "UPDATE delivery SET state = 'dropped' WHERE alert_id = ? AND recipient = ? AND seq < ? "
                        "AND state = 'waiting'",
                        (page.id, recipient, cursor.lastrowid),
                    )
        return added

    def due(self, now_s: float, *, limit: int = 500) -> list[Delivery]:
        """Return what is to be sent now, what waits longest first."""
        return self._select("state = 'waiting' AND due_s <= ? AND expires_s > ? ORDER BY due_s, seq LIMIT ?",
                            now_s, now_s, limit)  # fmt: skip

    def unfinished(self) -> list[Page]:
        """Return the pages that something waits of, or that were sent and are not over yet, as they were last."""
        rows = self._select("state IN ('waiting', 'sent') AND kind = 'page' ORDER BY revision")
        return list({row.page.id: row.page for row in rows}.values())

    def wait_s(self, now_s: float) -> float | None:
        """Return the seconds until something is due, None where nothing waits."""
        with guard(self._path):
            found = self._db.execute("SELECT min(due_s) FROM delivery WHERE state = 'waiting'").fetchone()[0]
        return None if found is None else max(0.0, found - now_s)

    def waiting(self) -> int:
        """Return how many wait."""
        with guard(self._path):
            return int(self._db.execute("SELECT count(*) FROM delivery WHERE state = 'waiting'").fetchone()[0])

    def sent(self, seq: int) -> None:
        """Mark one as sent."""
        state = "CASE state WHEN 'closing' THEN 'closed' ELSE 'sent' END"
        self._change(f"UPDATE delivery SET state = {state}, attempts = attempts + 1 WHERE seq = ?", seq)

    def later(self, seq: int, due_s: float) -> None:
        """Put one off, unless it was dropped meanwhile."""
        self._change("UPDATE delivery SET due_s = ?, attempts = attempts + 1 WHERE seq = ?", due_s, seq)

    def drop(self, seq: int) -> None:
        """Give one up."""
        self._change("UPDATE delivery SET state = 'dropped' WHERE seq = ? AND state = 'waiting'", seq)

    def settle(self, alert_id: str, *, sending: Iterable[int]) -> tuple[int, list[Delivery]]:
        """Drop what waits of an alert that was answered or is over.

        Args:
            sending: numbers of those that are on their way at this moment.

        Returns:
            how many were dropped, and what recipients have been sent, or are being sent, and need no more.
        """
        on_their_way = json.dumps(list(sending))
        among = "seq IN (SELECT value FROM json_each(?))"
        told = self._select(f"alert_id = ? AND kind = 'page' AND (state = 'sent' OR state = 'waiting' AND {among})",
                            alert_id, on_their_way)  # fmt: skip
        with transaction(self._db, self._path):
            pages = "alert_id = ? AND kind = 'page'"
            self._db.execute(f"UPDATE delivery SET state = 'closed' WHERE {pages} AND state = 'sent'", (alert_id,))
            dropped = self._db.execute(
                f"UPDATE delivery SET state = 'dropped' WHERE {pages} AND state = 'waiting' AND NOT {among}",
                (alert_id, on_their_way),
            ).rowcount
            self._db.execute(f"UPDATE delivery SET state = 'closing' WHERE {pages} AND {among}",
                             (alert_id, on_their_way))  # fmt: skip
        return dropped, told

    def expire(self, now_s: float) -> list[Delivery]:
        """Drop what could not be sent in time, and return it; forget what nobody needs to know any more."""
        late = self._select("state = 'waiting' AND expires_s <= ?", now_s)
        if late:
            self._change("UPDATE delivery SET state = 'dropped' WHERE state = 'waiting' AND expires_s <= ?", now_s)
        return late

    def forget(self, now_s: float) -> None:
        """Remove what was done long ago."""
        self._change("DELETE FROM delivery WHERE state != 'waiting' AND expires_s < ?", now_s - _REMEMBERED_S)

    def _select(self, condition: str, *values: object) -> list[Delivery]:
        columns = "seq, recipient, kind, page, created_s, expires_s, attempts"
        with guard(self._path):
            rows = self._db.execute(f"SELECT {columns} FROM delivery WHERE {condition}", values).fetchall()
        return [
            Delivery(seq, recipient, kind, read_page(page), created_s, expires_s, attempts)
            for seq, recipient, kind, page, created_s, expires_s, attempts in rows
        ]

    def _change(self, statement: str, *values: object) -> None:
        with guard(self._path):
            self._db.execute(statement, values)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def read_page(text: str) -> Page:
    """Return what was kept of a page as JSON."""
    body = json.loads(text)
    return Page(**{**body, "groups": tuple(body["groups"]), "emotions": tuple(body["emotions"])})
