"""How much of the broker's traffic is listened to: so many answers and commands a second, and one line for junk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.logs import fields

log = logging.getLogger("edge_agent")

#: What is asked → how many a second on average, and how many at once: all pagers of a site may ask at the same moment.
RATES = {
    "ack": (20.0, 100.0),
    "ping": (10.0, 100.0),
    "rebirth": (0.5, 3.0),
    "snooze": (2.0, 20.0),
    "answer": (2.0, 20.0),
    "selftest": (0.1, 2.0),
    "reload": (0.1, 2.0),
    "activate": (0.1, 2.0),
    "rollback": (0.1, 2.0),
}
_OTHER = (1.0, 5.0)
_SAY_EVERY_S = 60.0


@dataclass(slots=True)
class _Bucket:
    """A token bucket: `left` tokens at the time `at_s`."""

    left: float
    at_s: float


class Limits:
    """Tells what is too much.

    Args:
        clock: seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._junk: dict[str, _Junk] = {}

    def allows(self, what: str) -> bool:
        """Tell whether one more of these, a key of RATES or anything else, is listened to now."""
        known = what if what in RATES else ""
        rate_hz, burst = RATES.get(known, _OTHER)
        now_s = self._clock()
        bucket = self._buckets.setdefault(known, _Bucket(burst, now_s))
        bucket.left = min(burst, bucket.left + (now_s - bucket.at_s) * rate_hz)
        bucket.at_s = now_s
        if bucket.left < 1:
            return False
        bucket.left -= 1
        return True

    def ignore(self, kind: str, topic: str, problem: str = "") -> None:
        """Log that something was ignored: the first at once, then all others of its kind in one line a minute."""
        now_s = self._clock()
        junk = self._junk.setdefault(kind, _Junk(now_s - _SAY_EVERY_S))
        junk.count += 1
        if now_s - junk.said_s < _SAY_EVERY_S:
            return
        example = {"topic": topic[:200], **({"problem": problem} if problem else {})}
        log.warning(f"ignored {kind}", extra=fields(count=junk.count, **example))
        junk.count, junk.said_s = 0, now_s


@dataclass(slots=True)
class _Junk:
    said_s: float
    count: int = 0
