"""When a place is open, and whom a rule can page then.

Opening hours are what the clock on the wall shows. When it is put forward, a time that it skips is the moment of the
jump; when it is put back, a range takes in both rounds of the hour that is repeated, should it begin or end there.

A rule's levels are its own group, 0, and its escalation's, from 1.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta

from edge_agent.config import Config, Group, Hours, Rule

#: So far ahead a change is looked for: hours that change at all do so within a year.
_HORIZON_DAYS = 400


class Schedule:
    """One of the configured hours."""

    def __init__(self, hours: Hours) -> None:
        self.hours, self.zone = hours, hours.zone()
        self._week, self._holidays, self._closed = hours.week(), hours.holiday_calendar(), frozenset(hours.closed)
        #: A minute since 1970, and whether it is open then.
        self._known = (-1, False)

    def is_open(self, unix_s: float) -> bool:
        """Tell whether it is open at a moment, seconds since 1970."""
        # Cached, for this is asked with every frame; all begins and ends on the minute.
        minute = int(unix_s // 60)
        if self._known[0] != minute:
            self._known = (minute, any(begin <= unix_s < end for begin, end in self._periods(unix_s, days=1)))
        return self._known[1]

    def next_change_s(self, unix_s: float) -> float | None:
        """Return when it next opens or closes after a moment, seconds since 1970; None if it does not within a year."""
        open_until_s: float | None = unix_s if self.is_open(unix_s) else None
        for begin, end in self._periods(unix_s, days=_HORIZON_DAYS):
            if end <= unix_s or begin >= end:
                continue
            if open_until_s is None:
                return begin
            if begin > open_until_s:
                return open_until_s
            open_until_s = max(open_until_s, end)
        # What is open to the end of all that was looked at has no end.
        return None if open_until_s is None or open_until_s > unix_s + (_HORIZON_DAYS - 2) * 86400 else open_until_s

    def local(self, unix_s: float) -> datetime:
        """Return what the clock on its wall shows."""
        return datetime.fromtimestamp(unix_s, self.zone).replace(tzinfo=None)

    def _periods(self, unix_s: float, *, days: int) -> Iterator[tuple[int, int]]:
        """Yield begin and end, seconds since 1970, of the time ranges from the day before a moment on, in order."""
        today = self.local(unix_s).date()
        for offset in range(-1, days):
            day = today + timedelta(days=offset)
            if not self._is_closed(day):
                midnight = datetime.combine(day, time())
                for one in sorted(self._week[day.weekday()], key=lambda one: one.begin):
                    begin, end = (midnight + timedelta(minutes=minutes) for minutes in (one.begin, one.end))
                    yield self._unix(begin, last=False), self._unix(end, last=True)

    def _is_closed(self, day: date) -> bool:
        return day.isoformat() in self._closed or day.isoformat()[5:] in self._closed or day in self._holidays

    def _unix(self, wall: datetime, *, last: bool) -> int:
        first, second = (int(wall.replace(tzinfo=self.zone, fold=fold).timestamp()) for fold in (0, 1))
        if first <= second:  # once, or twice where the clock is put back
            return second if last else first
        return second + bisect_left(range(second, first), True, key=lambda unix_s: self.local(unix_s) >= wall)  # noqa: FBT003


class OpeningHours:
    """All hours of a configuration, and which rules and groups keep them."""

    def __init__(self, config: Config) -> None:
        self.schedules = {hours.name: Schedule(hours) for hours in config.hours}
        self._rules, self._groups = config.rules, hours_by_group(config.groups)

    def closed(self, unix_s: float) -> frozenset[str]:
        """Return the names of the hours that are closed at a moment, seconds since 1970."""
        return frozenset(name for name, schedule in self.schedules.items() if not schedule.is_open(unix_s))

    def pages_from_s(self, unix_s: float) -> float | None:
        """Return the first moment from this one on at which a rule pages somebody; None if there is none in a year."""
        moment_s: float = unix_s
        # Each is asked anew only after it changed: one that never does is looked at for a year.
        changes = {name: schedule.next_change_s(unix_s) for name, schedule in self.schedules.items()}
        while not can_page(self._rules, self._groups, self.closed(moment_s)):
            moment_s = min((change for change in changes.values() if change is not None), default=float("inf"))
            if moment_s > unix_s + _HORIZON_DAYS * 86400:
                return None
            for name, schedule in self.schedules.items():
                if changes[name] == moment_s:
                    changes[name] = schedule.next_change_s(moment_s)
        return moment_s


def hours_by_group(groups: Sequence[Group]) -> dict[str, str]:
    """Return group → name of the hours it keeps."""
    return {group.name: group.hours for group in groups if group.hours is not None}


def open_levels(rule: Rule, groups: Mapping[str, str], closed: Collection[str]) -> list[int]:
    """Return the levels of a rule whose group can be paged while these hours are closed, whether or not it is a
    rule's time.

    Args:
        groups: group → name of the hours it keeps.
    """
    ladder = (rule.group, *(level.group for level in rule.escalation))
    return [level for level, group in enumerate(ladder) if groups.get(group) not in closed]


def levels_to_page(rule: Rule, groups: Mapping[str, str], closed: Collection[str]) -> list[int]:
    """Return the levels that a new page of a rule could go to; none outside the rule's hours."""
    return [] if rule.hours in closed else open_levels(rule, groups, closed)


def can_page(rules: Collection[Rule], groups: Mapping[str, str], closed: Collection[str]) -> bool:
    """Tell whether any rule pages anybody while these hours are closed; without rules it is no matter of hours."""
    return not rules or any(levels_to_page(rule, groups, closed) for rule in rules)
