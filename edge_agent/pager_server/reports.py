"""What a manager asks of the pages of the last days, in local time: how many, where, when, and how soon somebody came.

Pure: rows of the history in, numbers out. Days and hours are those of the clock on the wall: on the two days a year on
which clocks are set, a day has 23 or 25 hours, and an hour is missing or comes twice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.errors import ConfigError

#: So many places have a colour of their own; the others are summed up.
MAX_PLACES = 8
#: What time zones are multiples of, in seconds, on the days on which clocks are set.
_STEP_S = 1800


@dataclass(frozen=True, slots=True)
class PageRow:
    """What the report needs of a page; times in seconds since 1970, as in the history."""

    topic: str
    place: str
    raised_s: float
    answer: str
    answered_s: float | None
    answered_by: str
    ended_s: float | None
    reason: str
    verdict: str


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """What the report needs of a summary; `satisfied` is a share, 0..1."""

    begin_s: float
    visits: int
    satisfied: float


def find_zone(name: str | None) -> ZoneInfo | None:
    """Return the time zone; None for this computer's own.

    Raises:
        ConfigError: there is none of this name here.
    """
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigError(f"pager.time_zone: there is no time zone {name!r} here, try Europe/Berlin") from None


def midnight_s(day: date, zone: tzinfo | None) -> float:
    """Return when a day begins, seconds since 1970."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def last_days(days: int, *, now_s: float, zone: tzinfo | None) -> list[date]:
    """Return as many days, today's last."""
    today = datetime.fromtimestamp(now_s, zone).date()
    return [today - timedelta(days=back) for back in range(days - 1, -1, -1)]


def within(share: float, durations_s: Sequence[float]) -> float | None:
    """Return the time within which at least this share of the durations lies; None where there are none."""
    ordered = sorted(durations_s)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def report(
    pages: Iterable[PageRow],
    summaries: Iterable[SummaryRow],
    *,
    days: int,
    now_s: float,
    zone: tzinfo | None,
) -> dict[str, Any]:
    """Return the numbers of the last days; rows before them are left out.

    Returns:
        days: ISO dates, oldest first; places, the busiest first: site (empty where there is one only), place (empty for
        all others together) and pages by day; hours: for each of the day's 24 the pages, and how often that hour was;
        pages, open, answered, missed, false_alarms, resolved: counts; answer_s, resolve_s: count, and the seconds
        within which a half and nine of ten were; people: name and pages, most first; satisfied: by day the visits and
        the share of satisfied last looks, None where there were none.
    """
    listed = last_days(days, now_s=now_s, zone=zone)
    index = {day: number for number, day in enumerate(listed)}
    since_s = midnight_s(listed[0], zone)
    by_place: dict[tuple[str, str], list[int]] = {}
    hours, counts, people = Counter[int](), Counter[str](), Counter[str]()
    answer_s: list[float] = []
    resolve_s: list[float] = []
    for page in pages:
        raised = datetime.fromtimestamp(page.raised_s, zone)
        number = index.get(raised.date())
        if number is None:
            continue
        site = page.topic.split("/")[-2] if "/" in page.topic else ""
        by_place.setdefault((site, page.place), [0] * days)[number] += 1
        hours[raised.hour] += 1
        counts.update(_kinds(page))
        if page.answered_by:
            people[page.answered_by] += 1
        if page.answered_s is not None:
            answer_s.append(page.answered_s - page.raised_s)
        if page.ended_s is not None and page.reason == "resolve":
            resolve_s.append(page.ended_s - page.raised_s)
    often = hours_between(since_s, now_s, zone)
    return {
        "days": [day.isoformat() for day in listed],
        "places": _busiest(by_place, days=days),
        "hours": [{"pages": hours[hour], "times": often.get(hour, 0.0)} for hour in range(24)],
        **{kind: counts[kind] for kind in ("pages", "open", "answered", "missed", "false_alarms", "resolved")},
        "answer_s": _spread(answer_s),
        "resolve_s": _spread(resolve_s),
        "people": [{"name": name, "pages": count} for name, count in people.most_common()],
        "satisfied": _satisfied(summaries, index, zone),
    }


def _kinds(page: PageRow) -> list[str]:
    kinds = ["pages"]
    if page.answer:
        kinds.append("answered")
    elif page.ended_s is not None:
        kinds.append("missed")
    if page.ended_s is None:
        kinds.append("open")
    if page.verdict:
        kinds.append("false_alarms" if page.verdict == "false_alarm" else "resolved")
    return kinds


def hours_between(begin_s: float, end_s: float, zone: tzinfo | None) -> dict[int, float]:
    """Return hour of the day → how often it was on the clock between two times, in halves."""
    often: Counter[int] = Counter()
    for step in range(math.ceil((end_s - begin_s) / _STEP_S)):
        often[datetime.fromtimestamp(begin_s + step * _STEP_S, zone).hour] += 1
    return {hour: count * _STEP_S / 3600 for hour, count in often.items()}


def _busiest(by_place: Mapping[tuple[str, str], list[int]], *, days: int) -> list[dict[str, Any]]:
    ordered = sorted(by_place.items(), key=lambda item: (-sum(item[1]), item[0]))
    several = len({site for site, _ in by_place}) > 1
    found = [
        {"site": site if several else "", "place": place, "pages": counts}
        for (site, place), counts in ordered[:MAX_PLACES]
    ]
    if len(ordered) > MAX_PLACES:
        others = [sum(counts[number] for _, counts in ordered[MAX_PLACES:]) for number in range(days)]
        found.append({"site": "", "place": "", "pages": others})
    return found


def _spread(durations_s: Sequence[float]) -> dict[str, float | int | None]:
    return {"count": len(durations_s), "half": within(0.5, durations_s), "most": within(0.9, durations_s)}


def _satisfied(summaries: Iterable[SummaryRow], index: Mapping[date, int], zone: tzinfo | None) -> list[dict[str, Any]]:
    visits, satisfied = [0] * len(index), [0.0] * len(index)
    for one in summaries:
        number = index.get(datetime.fromtimestamp(one.begin_s, zone).date())
        if number is not None:
            visits[number] += one.visits
            satisfied[number] += one.visits * one.satisfied
    return [
        {"visits": count, "share": total / count if count else None}
        for count, total in zip(visits, satisfied, strict=True)
    ]
