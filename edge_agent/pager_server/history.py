"""What became of every page, in SQLite: a row a page, which each of its steps brings up to date.

Everything is written by a thread of its own: a disk that is slow, full or broken must not keep the pager from showing
pages. Steps may come twice, late, or without those before them; the row is the same in the end. Times of a page are
its kiosk's, so that what lies between them is right even where two clocks differ.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from edge_agent.pager.page import Page, parse_time
from edge_agent.pager.satisfied import Satisfied
from edge_agent.pager_server.history_file import FILE_NAME, forget, open_file

#: So many pages that nobody answered are shown, and so many are at hand for shifts that look after some of them.
MAX_MISSED, _MAX_LISTED = 20, 500
MAX_NOTE_CHARS = 500
#: Of one kiosk, and of all, so many steps a day are kept; whoever sends more is no kiosk and must not fill the disk.
MAX_A_DAY_OF_ONE, MAX_A_DAY = 10_000, 200_000
#: Pages that an earlier run left open, and that nobody has named for so long after the start, are over.
SETTLE_S = 60.0
_DAY_S = 86_400.0
#: A page cannot have been raised longer ago, or later than now by the other clock, in seconds.
_OLDEST_S, _CLOCKS_S = 2 * _DAY_S, 300.0
#: How often a disk that failed is tried again, and how many changes wait for it meanwhile.
_RETRY_S, _MAX_WAITING = 10.0, 1000
_BATCH = 200
_ANSWERS = ("resolve", "false_alarm", "snooze")

Change: TypeAlias = Callable[[sqlite3.Connection], object]

# Whether a step goes before what the row says: a later one does; one of the same revision as long as the end is open or
# only supposed.
_NEWER = "(excluded.revision > revision OR excluded.revision = revision AND (ended_s IS NULL OR reason = 'unknown'))"
_EARLIER_ANSWER = "(excluded.answer != '' AND (answer = '' OR coalesce(excluded.answered_s < answered_s, 0)))"
_LATEST = ("place", "zone", "rule", "message", "severity", "groups", "ended_s", "reason", "revision")
_UPSERT = f"""
INSERT INTO page (id, topic, place, zone, rule, message, severity, groups, people, escalated, revision, raised_s,
    answer, answered_s, answered_by, ended_s, reason, verdict)
VALUES (:id, :topic, :place, :zone, :rule, :message, :severity, :groups, :people, :escalated, :revision, :raised_s,
    :answer, :answered_s, :answered_by, :ended_s, :reason, :verdict)
ON CONFLICT (id) DO UPDATE SET
    people = max(people, excluded.people), escalated = max(escalated, excluded.escalated),
    answer = iif({_EARLIER_ANSWER}, excluded.answer, answer),
    answered_s = iif({_EARLIER_ANSWER}, excluded.answered_s, answered_s),
    answered_by = iif({_EARLIER_ANSWER}, excluded.answered_by, answered_by),
    verdict = iif(verdict = '', excluded.verdict, verdict),
    {", ".join(f"{column} = iif({_NEWER}, excluded.{column}, {column})" for column in _LATEST)}
"""
_MISSED = "ended_s IS NOT NULL AND answer = '' AND seen_s IS NULL"


class History:
    """The pages of the last days; safe to use from any thread.

    Args:
        names: keep who answered; without, names that were kept before are erased now.
        changed: called from another thread when `missed` may be another.
        say: told, in one line, what went wrong with the file.

    Attributes:
        missed: the latest pages that ended without anybody's answer and that nobody has seen since, newest first.
        missed_count: how many there are of them.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        days: float,
        names: bool,
        changed: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = print,
        unix: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._days, self.names, self._changed, self._say = state_dir / FILE_NAME, days, names, changed, say
        self._unix, self._monotonic = unix, monotonic
        self._lock = threading.Lock()
        self._db = open_file(self._path, say=say, unix_s=unix())
        self._queue: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._waiting: deque[Change] = deque(maxlen=_MAX_WAITING)
        self._failed = False
        self._taken: Counter[str] = Counter()
        self._taken_day = self._taken_in_all = 0
        self._pruned_s = float("-inf")
        self.missed: list[dict[str, Any]] = []
        self.missed_count = 0
        #: Pages that an earlier run left open, as long as nobody knows whether they still are.
        self._left_open: set[str] = set()
        self._connected_s: float | None = None
        with contextlib.suppress(sqlite3.Error):
            if not names:
                forget(self._db)
            self._prune()
            self._left_open = {row[0] for row in self._db.execute("SELECT id FROM page WHERE ended_s IS NULL")}
            self._list_missed()
        self._thread = threading.Thread(target=self._work, name="history", daemon=True)
        self._thread.start()

    def note(self, page: Page) -> None:
        """Take over a step of a page; returns at once."""
        now_s = self._unix()
        if not self._too_many(page.device_topic, now_s):
            self._queue.put(lambda db: _note(db, page, now_s=now_s, names=self.names))

    def note_summary(self, found: Satisfied) -> None:
        """Take over a summary; returns at once. One that comes twice counts once."""
        # To the minute, or one that a clock's correction sent anew would count twice.
        if self._too_many(found.topic, self._unix()):
            return
        values = (found.topic, int(found.begin_s // 60) * 60, found.end_s, found.visits, found.share)
        self._queue.put(lambda db: db.execute("INSERT OR IGNORE INTO summary VALUES (?, ?, ?, ?, ?)", values))

    def settle(self, open_ids: Iterable[str], *, connected: bool) -> None:
        """End pages that were open when an earlier run stopped and that no kiosk says are open; ask once a turn."""
        if not self._left_open:
            return
        self._left_open.difference_update(open_ids)
        if not connected:
            self._connected_s = None
        elif self._connected_s is None:
            self._connected_s = self._monotonic()
        elif self._monotonic() - self._connected_s >= SETTLE_S:
            ended = [(self._unix(), alert_id) for alert_id in self._left_open]
            self._left_open = set()
            over = "UPDATE page SET ended_s = ?, reason = 'unknown' WHERE id = ? AND ended_s IS NULL"
            self._queue.put(lambda db: db.executemany(over, ended))

    def judge(self, alert_id: str, *, by: str, verdict: str | None = None, note: str | None = None) -> str | None:
        """Say something of a page that is over; return its kiosk's topic, None where there is no such page.

        Args:
            verdict: `resolve` or `false_alarm`; None leaves it as it is.
            note: None leaves it as it is.

        Raises:
            sqlite3.Error: the disk does not take it.
        """
        now_s, who = self._unix(), by if self.names else ""
        columns = {"verdict": verdict, "note": note, "judged_by": who}
        given = {column: value for column, value in columns.items() if value is not None}
        assignments = ", ".join(f"{column} = :{column}" for column in given)
        with self._write() as db:
            found = db.execute(
                f"UPDATE page SET {assignments}, judged_s = :now_s, seen_s = coalesce(seen_s, :now_s) "
                "WHERE id = :id AND ended_s IS NOT NULL RETURNING topic",
                {**given, "now_s": now_s, "id": alert_id},
            ).fetchall()
        return str(found[0][0]) if found else None

    def see(self, alert_ids: Sequence[str], *, by: str) -> None:
        """Take pages off the missed ones.

        Raises:
            sqlite3.Error: the disk does not take it.
        """
        with self._write() as db:
            db.executemany(
                f"UPDATE page SET seen_s = ?, seen_by = ? WHERE id = ? AND {_MISSED}",
                [(self._unix(), by if self.names else "", alert_id) for alert_id in alert_ids],
            )

    def rows(self, query: str, values: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what a query finds.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        with self._lock:
            cursor = self._db.execute(query, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def close(self) -> None:
        """Write what waits, and end."""
        self._queue.put(None)
        self._thread.join(5)
        with self._lock:
            self._db.close()

    def _work(self) -> None:
        ended = False
        while not ended:
            changes: list[Change | None] = []
            with contextlib.suppress(queue.Empty):
                changes.append(self._queue.get(timeout=_RETRY_S))
                # Some at a time: each commit costs, and whoever reads must not wait for long.
                while changes[-1] is not None and len(changes) < _BATCH:
                    changes.append(self._queue.get_nowait())
            ended = None in changes
            self._waiting.extend(change for change in changes if change is not None)
            self._store()

    def _store(self) -> None:
        """Write what waits; what the disk does not take waits on."""
        try:
            if self._waiting:
                with self._write() as db:
                    for change in self._waiting:
                        change(db)
                self._waiting.clear()
            if self._unix() - self._pruned_s >= _DAY_S:
                with self._lock:
                    self._prune()
        except Exception as error:  # whatever it is, the next pages must be shown
            if not isinstance(error, sqlite3.OperationalError):
                self._waiting.clear()  # it would fail again
            if not self._failed:
                self._say(f"the history cannot be written: {error}; is the disk of {self._path} full? pages go on")
            self._failed = True
        else:
            self._failed = False

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        before = self.missed
        with self._lock:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
            self._list_missed()
        if self.missed != before:
            self._changed()

    def _list_missed(self) -> None:
        columns = "id, topic, place, zone, message, severity, groups, reason, people, raised_s, ended_s"
        cursor = self._db.execute(
            f"SELECT {columns} FROM page WHERE {_MISSED} ORDER BY raised_s DESC LIMIT {_MAX_LISTED}"
        )
        names = columns.split(", ")
        self.missed = [dict(zip(names, row, strict=True)) for row in cursor]
        self.missed_count = self._db.execute(f"SELECT count(*) FROM page WHERE {_MISSED}").fetchone()[0]

    def _prune(self) -> None:
        """Delete what was kept for long enough, so that nothing of it is left in the files."""
        self._pruned_s = self._unix()
        oldest_s = self._pruned_s - self._days * _DAY_S
        with self._db:
            self._db.execute("DELETE FROM page WHERE raised_s < ?", (oldest_s,))
            self._db.execute("DELETE FROM summary WHERE begin_s < ?", (oldest_s,))
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for path in self._path.parent.glob(f"{FILE_NAME}.unreadable-*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest_s:
                    path.unlink()

    def _too_many(self, topic: str, now_s: float) -> bool:
        """Count a step; tell whether it is beyond what can be."""
        day = int(now_s // _DAY_S)
        if day != self._taken_day:
            self._taken_day = day
            self._taken.clear()
            self._taken_in_all = 0
        if self._taken[topic] >= MAX_A_DAY_OF_ONE or self._taken_in_all >= MAX_A_DAY:
            return True
        self._taken[topic] += 1
        self._taken_in_all += 1
        if self._taken[topic] == MAX_A_DAY_OF_ONE:
            self._say(f"{topic[:100]} sent {MAX_A_DAY_OF_ONE} steps of pages today; no more of them are kept")
        return False


def _note(db: sqlite3.Connection, page: Page, *, now_s: float, names: bool) -> None:
    known = db.execute("SELECT raised_s FROM page WHERE id = ?", (page.id,)).fetchone()
    raised_s = known[0] if known else parse_time(page.raised_at)
    if raised_s is None or (known is None and not now_s - _OLDEST_S <= raised_s <= now_s + _CLOCKS_S):
        raised_s = now_s  # a clock that was not set yet
    db.execute(_UPSERT, _values(page, raised_s=raised_s, now_s=now_s, names=names))


def _values(page: Page, *, raised_s: float, now_s: float, names: bool) -> dict[str, Any]:
    """Return the row after one step, as far as the step tells."""
    over = page.step == "cleared"
    stepped_s = page.stepped_s
    if stepped_s is not None and not raised_s <= stepped_s <= now_s + _CLOCKS_S:
        stepped_s = max(now_s, raised_s)
    answer, answered_s = "", None
    if page.step == "acked":
        answer, answered_s = page.reason or "ack", stepped_s
    elif over and page.reason in _ANSWERS:
        answer, answered_s = page.reason, stepped_s
    elif over and page.by:  # answered some time before, and then over by itself
        answer = "ack"
    return {
        "id": page.id, "topic": page.device_topic, "place": page.place, "zone": page.zone, "rule": page.rule,
        "message": page.message, "severity": page.severity, "groups": ", ".join(page.groups), "people": page.people,
        "escalated": page.level, "revision": page.revision, "raised_s": raised_s,
        "answer": answer, "answered_s": answered_s, "answered_by": page.by if answer and names else "",
        "ended_s": (max(now_s, raised_s) if stepped_s is None else stepped_s) if over else None,
        "reason": page.reason if over else "",
        "verdict": page.reason if over and page.reason in ("resolve", "false_alarm") else "",
    }  # fmt: skip
