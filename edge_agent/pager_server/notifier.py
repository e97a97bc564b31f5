"""How the notifier is, as it tells the pager's server: a small file whose time of change is its sign of life."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_agent.delivery.messages import finite, printable

FILE_NAME = "notifier.json"
#: How often it gives a sign of life, and after how many seconds without one it is away.
BEAT_S, AWAY_S = 10.0, 30.0
_MAX_FAILING, _MAX_BYTES = 50, 100_000


@dataclass(frozen=True, slots=True)
class Failing:
    """Somebody who is not reached: who, since when (seconds since 1970), and why."""

    name: str
    since_unix_s: float
    problem: str


@dataclass(frozen=True, slots=True)
class Condition:
    """How the notifier is.

    Attributes:
        away_since_unix_s: since when nothing is sent to anybody; None while all is well.
        failing: who is not reached.
    """

    away_since_unix_s: float | None = None
    failing: tuple[Failing, ...] = ()


class Beat:
    """The notifier's side. A disk that takes nothing shows as a notifier that is away, as it should."""

    def __init__(
        self,
        state_dir: Path,
        *,
        unix: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._unix, self._monotonic = state_dir / FILE_NAME, unix, monotonic
        self._told: Condition | None = None
        self._next_s = float("-inf")

    def tell(self, condition: Condition) -> None:
        """Say how things are; call it at every turn."""
        if condition == self._told and self._monotonic() < self._next_s:
            return
        with contextlib.suppress(OSError):
            if condition != self._told:
                draft = self._path.with_name(FILE_NAME + ".new")
                with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                    json.dump(asdict(condition), file)
                draft.replace(self._path)
            os.utime(self._path, (self._unix(), self._unix()))
            self._told, self._next_s = condition, self._monotonic() + BEAT_S


def read_condition(state_dir: Path, *, unix_s: float, started_unix_s: float) -> Condition:
    """Return how the notifier is.

    Args:
        unix_s: now, seconds since 1970.
        started_unix_s: since when somebody has been looking, for a notifier that never gave a sign of life.
    """
    path = state_dir / FILE_NAME
    try:
        beat_unix_s = path.stat().st_mtime
        body = json.loads(path.read_bytes()[:_MAX_BYTES], parse_float=finite, parse_constant=finite)
        told = [Failing(printable(one["name"]), float(one["since_unix_s"]), printable(one["problem"]))
                for one in body["failing"][:_MAX_FAILING]]  # fmt: skip
        since = body["away_since_unix_s"]
        condition = Condition(None if since is None else float(since), tuple(told))
        times_s = (condition.away_since_unix_s or 0.0, *(one.since_unix_s for one in told))
        if not all(math.isfinite(time_s) for time_s in times_s):
            raise ValueError("not a time")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return Condition() if unix_s - started_unix_s < AWAY_S else Condition(started_unix_s)
    if unix_s - beat_unix_s > AWAY_S:
        return Condition(beat_unix_s, condition.failing)
    return condition
