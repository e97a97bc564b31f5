"""Keeps how high scores were, hour by hour and in numbers only, for `edge-agent calibrate` to read.

A file of its own: the outbox is locked by the running agent. Losing it costs a calibration, so it is written without
haste and its failures are not the agent's.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from edge_agent.errors import StateError

FILE_NAME = "scores.sqlite3"
#: Hours kept.
KEEP_HOURS = 24 * 60
#: Kept beside the levels of alerting.shadow: seconds watched, answers of staff, and those that said false alarm.
WATCHED_S, ANSWERS, FALSE_ALARMS = -1, -2, -3
_SCHEMA = """
CREATE TABLE IF NOT EXISTS visit (
    hour    INTEGER NOT NULL,  -- since 1970
    rule    TEXT    NOT NULL,
    level   INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    PRIMARY KEY (hour, rule, level)
) STRICT
"""


class ScoreLog:
    """Counts in memory until `flush`.

    Args:
        unix: wall clock, seconds since 1970.
    """

    def __init__(self, state_dir: Path, *, unix: Callable[[], float]) -> None:
        self._path, self._unix = state_dir / FILE_NAME, unix
        self._counts: Counter[tuple[str, int]] = Counter()

    def count(self, rule: str, level: int, times: int = 1) -> None:
        """Count a visit's level, or one of WATCHED_S, ANSWERS and FALSE_ALARMS."""
        self._counts[rule, level] += times

    def flush(self) -> None:
        """Add the counts to the present hour; a disk that fails keeps them in memory for the next time."""
        hour = int(self._unix() // 3600)
        rows = [(hour, rule, level, count) for (rule, level), count in self._counts.items()]
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self._path, timeout=0.2)) as db:
            with db:
                db.execute(_SCHEMA)
                db.executemany(
                    "INSERT INTO visit (hour, rule, level, count) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT DO UPDATE SET count = count + excluded.count",
                    rows,
                )
                db.execute("DELETE FROM visit WHERE hour < ?", (hour - KEEP_HOURS,))
            self._counts.clear()


def read_counts(state_dir: Path, *, rule: str, hours: int, unix_s: float) -> dict[int, int]:
    """Return level → count over the last `hours`.

    Raises:
        StateError: there is no such file, or it cannot be read.
    """
    path = state_dir / FILE_NAME
    if not path.is_file():
        raise StateError(f"{path} is missing; has the agent run with this configuration?")
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as db:
            rows = db.execute(
                "SELECT level, sum(count) FROM visit WHERE rule = ? AND hour > ? GROUP BY level",
                (rule, int(unix_s // 3600) - hours),
            ).fetchall()
    except sqlite3.Error as error:
        raise StateError(f"cannot read {path}: {error}") from None
    return {int(level): int(count) for level, count in rows}
