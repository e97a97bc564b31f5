"""Which opening hours are closed now, as far as the clock on the wall can be believed."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.alerting.hours import OpeningHours
from edge_agent.config import Config


class HoursNow:
    """The configured hours, now.

    Until the clock was set all hours count as open: a page too many is better than one that is lost. Once it was it
    stays believed: a time server that is out of reach for a night turns no clock by minutes.

    Args:
        unix: wall clock, seconds since 1970.
        clock_known: returns whether it was set since the computer started.
    """

    def __init__(self, config: Config, *, unix: Callable[[], float], clock_known: Callable[[], bool]) -> None:
        self._hours, self._unix, self._clock_known = OpeningHours(config), unix, clock_known
        self._believed = False

    def closed(self) -> frozenset[str]:
        """Return the names of the hours that are closed."""
        if not self._hours.schedules:
            return frozenset()
        self._believed = self._believed or self._clock_known()
        return self._hours.closed(self._unix()) if self._believed else frozenset()

    def opens_s(self) -> float | None:
        """Return when somebody can be paged next, seconds since 1970; None where nobody knows."""
        return self._hours.pages_from_s(self._unix())
