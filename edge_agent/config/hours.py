"""Named opening hours: local times by weekday, dates that are closed, holidays, and a time zone."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from datetime import date, tzinfo
from zoneinfo import ZoneInfo

from edge_agent.config.watching import SEGMENT
from edge_agent.yaml_loader import InvalidValueError, option

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
_EXAMPLE = 'such as "09:00-18:00"'


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A part of a day, in minutes since its local midnight; `end` is beyond DAY_MINUTES where it ends the day after."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Hours:
    """When a place is open, in local time."""

    name: str = option(pattern=SEGMENT)
    days: dict[str, tuple[str, ...]] = option()
    closed: tuple[str, ...] = option(())
    holidays: str | None = option(None, pattern=r"[A-Z]{2}(-[A-Za-z0-9 -]{1,40})?")
    time_zone: str | None = option(None, pattern=r"[A-Za-z0-9_+/-]{1,64}")

    def __post_init__(self) -> None:
        self.week()
        for index, text in enumerate(self.closed):
            try:
                if not re.fullmatch(r"(\d{4}-)?\d\d-\d\d", text):
                    raise ValueError
                # A day of every year may be the 29th of February.
                date.fromisoformat(text if len(text) > 5 else f"2000-{text}")
            except ValueError:
                raise InvalidValueError(
                    f"{text!r} is neither a date, 2026-12-24, nor a day of every year, 12-24", "closed", index
                ) from None
        self.zone()
        self.holiday_calendar()

    def week(self) -> tuple[tuple[TimeRange, ...], ...]:
        """Return the ranges of each day of the week, Monday first, by the day they begin on."""
        if not self.days:
            raise InvalidValueError(f"name at least one day, {_EXAMPLE.replace('such as', 'such as mon-fri:')}", "days")
        week: list[tuple[TimeRange, ...]] = [()] * 7
        given: list[tuple[int, int, str, int]] = []
        for key, texts in self.days.items():
            if not texts:
                raise InvalidValueError(f"give a time range {_EXAMPLE}, or leave the day out", "days", key)
            ranges = tuple(_time_range(text, key, index) for index, text in enumerate(texts))
            for day in _weekdays(key):
                if week[day]:
                    raise InvalidValueError(f"{WEEKDAYS[day]} has its hours already", "days", key)
                week[day] = ranges
                for index, one in enumerate(ranges):
                    begin, end = day * DAY_MINUTES + one.begin, day * DAY_MINUTES + one.end
                    given.append((begin, end, key, index))
        _check_overlaps(given)
        return tuple(week)

    def zone(self) -> tzinfo | None:
        """Return the time zone; None for the system's."""
        if self.time_zone is None:
            return None
        try:
            return ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError):  # not there, not a name, a folder of the database
            raise InvalidValueError(
                f"this computer knows no time zone {self.time_zone!r}; names are like Europe/Berlin", "time_zone"
            ) from None

    def holiday_calendar(self) -> Container[date]:
        """Return what contains each public holiday."""
        if self.holidays is None:
            return ()
        try:
            # Not before it is asked for: it takes 17 MB.
            from holidays import country_holidays
        except ImportError:
            raise InvalidValueError(
                "needs the package holidays; run in the clone: pip install '.[holidays]'", "holidays"
            ) from None

        country, _, part = self.holidays.partition("-")
        try:
            known = country_holidays(country)
        except NotImplementedError:
            raise InvalidValueError(
                f"no holidays are known of {country!r}; write a country's two letters, DE, or with a part of it, DE-BY",
                "holidays",
            ) from None
        calendar: Container[date] = known
        if part:
            if part not in known.subdivisions:
                parts = ", ".join(known.subdivisions) or "none"
                raise InvalidValueError(
                    f"{part!r} is not a part of {country} with holidays; there are {parts}", "holidays"
                )
            calendar = country_holidays(country, subdiv=part)
        return calendar


def _weekdays(key: str) -> list[int]:
    """Return the days of `mon`, `mon-fri`, `fri-mon` or `sat, sun`; 0 is Monday."""
    found: list[int] = []
    for part in key.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        try:
            begin = WEEKDAYS.index(first)
            count = (WEEKDAYS.index(last) - begin) % 7 if dash else 0
        except ValueError:
            raise InvalidValueError(
                f"{part.strip()!r} is not a day; days are {', '.join(WEEKDAYS)}, a range mon-fri or a list sat,sun",
                "days", key,
            ) from None  # fmt: skip
        found += [(begin + step) % 7 for step in range(count + 1)]
    return found


def _time_range(text: str, key: str, index: int) -> TimeRange:
    match = re.fullmatch(r"(\d\d):(\d\d) ?- ?(\d\d):(\d\d)", text)
    if match is None:
        raise InvalidValueError(f"{text!r} is not a time range {_EXAMPLE}", "days", key, index)
    begin_hour, begin_minute, end_hour, end_minute = (int(number) for number in match.groups())
    begin, end = 60 * begin_hour + begin_minute, 60 * end_hour + end_minute
    if max(begin_minute, end_minute) > 59 or begin >= DAY_MINUTES or end > DAY_MINUTES:
        raise InvalidValueError(f"{text!r} has a time that is none; they go from 00:00 to 24:00", "days", key, index)
    if begin == end:
        raise InvalidValueError(
            f"{text!r} begins as it ends; the whole day is 00:00-24:00", "days", key, index
        )  # fmt: skip
    return TimeRange(begin, end if end > begin else end + DAY_MINUTES)


def _check_overlaps(given: list[tuple[int, int, str, int]]) -> None:
    """Refuse ranges, in minutes of the week, that overlap; what runs into Monday runs into the week's first day."""
    ordered = sorted(given)
    first_begin, _, key, index = ordered[0]
    following = [*ordered[1:], (first_begin + 7 * DAY_MINUTES, 0, key, index)]
    for (_, end, *_), (begin, _, key, index) in zip(ordered, following, strict=True):
        if begin < end:
            raise InvalidValueError("overlaps another time range", "days", key, index)
