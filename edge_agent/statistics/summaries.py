"""Keeps the summaries of the last months, for charts and CSV; only what was published, nothing about anybody."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.camera.frames import Frame
from edge_agent.config import Config
from edge_agent.delivery.messages import Summary, rfc3339
from edge_agent.observer import Observer
from edge_agent.pipeline import Decision
from edge_agent.statistics.satisfaction import Satisfaction

FILE_NAME = "summaries.sqlite3"
KEEP_S = 400 * 24 * 3600
_SCHEMA = "CREATE TABLE IF NOT EXISTS summary (begin_s INTEGER PRIMARY KEY, end_s INTEGER NOT NULL, body TEXT NOT NULL)"


@dataclass(frozen=True, slots=True)
class Interval:
    """A summary and when it was, seconds since 1970."""

    begin_s: int
    end_s: int
    visits: int
    shares: dict[str, float]
    satisfied: float


class Summarizer(Observer):
    """Looks at every frame, and publishes and keeps a summary at the end of each interval.

    Args:
        publish: takes a summary, its begin and its end, seconds since 1970.
        unix, monotonic: clocks, in seconds.
    """

    def __init__(
        self,
        config: Config,
        emotions: Sequence[str],
        *,
        publish: Callable[[Summary, float, float], None],
        unix: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._state_dir, self._interval_s = config.outbox.state_dir, config.summary.interval_s
        self._publish, self._unix, self._monotonic = publish, unix, monotonic
        self._satisfaction = Satisfaction(
            emotions, satisfied=config.satisfied_emotions(), min_group=config.privacy.min_group
        )
        self._began_s = monotonic()

    def frame_processed(self, frame: Frame, decision: Decision) -> None:
        """Count one frame."""
        del frame
        self._satisfaction.update(decision.tracks)
        lasted_s = self._monotonic() - self._began_s
        if lasted_s >= self._interval_s:
            # The wall clock may have been set meanwhile: only its last word counts.
            summary, end_s = self._satisfaction.take(), self._unix()
            self._publish(summary, end_s - lasted_s, end_s)
            keep(self._state_dir, summary, begin_s=end_s - lasted_s, end_s=end_s)
            self._began_s += lasted_s


def keep(state_dir: Path, summary: Summary, *, begin_s: float, end_s: float) -> None:
    """Add a summary that was not withheld; a disk that fails loses it."""
    if summary.visits is None:
        return
    body = json.dumps({"visits": summary.visits, "shares": summary.shares, "satisfied": summary.satisfied})
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_connect(state_dir / FILE_NAME)) as db, db:
        db.execute(_SCHEMA)
        db.execute("INSERT OR REPLACE INTO summary VALUES (?, ?, ?)", (int(begin_s), int(end_s), body))
        db.execute("DELETE FROM summary WHERE end_s < ?", (int(end_s) - KEEP_S,))


def read(state_dir: Path, *, since_s: float) -> list[Interval]:
    """Return the summaries since a time, oldest first; none where there is no file, or none that can be read."""
    path = state_dir / FILE_NAME
    if not path.is_file():
        return []
    try:
        with contextlib.closing(_connect(path)) as db:
            rows = db.execute("SELECT * FROM summary WHERE end_s >= ? ORDER BY begin_s", (int(since_s),)).fetchall()
    except sqlite3.Error:
        return []
    intervals = (as_interval(*row) for row in rows)
    return [one for one in intervals if one is not None]


def as_interval(begin_s: int, end_s: int, body: str) -> Interval | None:
    """Return a row of the file; None for one that a worn card has altered."""
    try:
        stated = json.loads(body)
        visits, satisfied = int(stated["visits"]), float(stated["satisfied"])
        shares = {str(name): float(share) for name, share in stated["shares"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
    fits = 0 < visits < 2**31 and all(0 <= share <= 1 for share in (satisfied, *shares.values()))
    return Interval(begin_s, end_s, visits, shares, satisfied) if fits else None


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=1.0)


def as_csv(intervals: Iterable[Interval], emotions: Sequence[str]) -> str:
    """Return a table: times in UTC, visits, the share of each emotion, and of satisfied last looks."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["begin", "end", "visits", *emotions, "satisfied"])
    for one in intervals:
        shares = [one.shares.get(name, "") for name in emotions]
        writer.writerow([rfc3339(one.begin_s), rfc3339(one.end_s), one.visits, *shares, one.satisfied])
    return out.getvalue()


def joined(intervals: Iterable[Interval]) -> Interval | None:
    """Return several intervals as one, each visit counting alike; None for none."""
    parts = list(intervals)
    visits = sum(one.visits for one in parts)
    if not visits:
        return None
    names = {name: None for one in parts for name in one.shares}
    return Interval(
        parts[0].begin_s, parts[-1].end_s, visits,
        {name: sum(one.visits * one.shares.get(name, 0.0) for one in parts) / visits for name in names},
        sum(one.visits * one.satisfied for one in parts) / visits,
    )  # fmt: skip
