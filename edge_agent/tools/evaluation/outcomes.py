"""Which pages a visit led to, which of them were for somebody angry, and what another threshold would have done."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from edge_agent.alerting.alert import Alert
from edge_agent.alerting.rules import RuleEngine
from edge_agent.alerting.thresholds import thresholds_for
from edge_agent.alerting.tracker import Track
from edge_agent.config import Config, Rule
from edge_agent.vision.manifest import OperatingPoint

#: (seconds since the visit began, tracks).
Moment: TypeAlias = tuple[float, tuple[Track, ...]]
#: How long after the dwell time a page still belongs to an episode of anger that has ended.
GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Attributes:
        people: how many people it was for that no earlier page of the same alert was for.
    """

    time_s: float
    people: int


@dataclass(frozen=True, slots=True)
class Episode:
    """Somebody's anger, in seconds since the visit began."""

    person: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What pages were for.

    Attributes:
        delays_s: for each episode of anger, from its start to its page; None if none came.
        repeated: pages while somebody was angry who had been paged for.
        elsewhere: pages while nobody was angry.
    """

    delays_s: list[float | None]
    repeated: int
    elsewhere: int


@dataclass(slots=True)
class PageCount:
    """Turns alerts that took a step into pages."""

    pages: list[Page] = field(default_factory=list)
    _announced: dict[str, int] = field(default_factory=dict)

    def note(self, alerts: Iterable[Alert], time_s: float) -> None:
        """Add what was raised."""
        for alert in alerts:
            if alert.step == "raised":
                known = self._announced.get(alert.id, 0)
                self._announced[alert.id] = max(known, alert.people)
                self.pages.append(Page(time_s, max(1, alert.people - known)))


def with_upper(rule: Rule, upper: float) -> Rule:
    """Return the rule with another upper threshold; a lower one that it states is kept below."""
    return replace(rule, upper=upper, lower=None if rule.lower is None else min(rule.lower, upper))


def replay(
    moments: Iterable[Moment], rule: Rule, config: Config, operating_point: OperatingPoint | None = None
) -> list[Page]:
    """Return the pages of a visit under a rule that states its threshold.

    Args:
        config: its emotions are in the order of the columns of `Track.scores`.
        operating_point: the model's; people's own levels are told by it.
    """
    ids = (str(number) for number in itertools.count())
    emotions = config.emotion.emotions
    thresholds = thresholds_for([rule], emotions, operating_point)
    rules = RuleEngine(
        [rule], list(emotions), thresholds=thresholds, new_id=lambda: next(ids), tracking=config.tracking
    )
    count = PageCount()
    for time_s, tracks in moments:
        count.note(rules.update(tracks, time_s), time_s)
    return count.pages


def attribute(
    pages: Iterable[Page], episodes: Sequence[Episode], angry: Sequence[tuple[float, float]], *, dwell_s: float
) -> Outcome:
    """Give each page to as many episodes of anger as it is for people, the earliest first.

    Args:
        angry: (start, end) of all times at which somebody is angry, the episodes among them.
        dwell_s: of the rule; so long after its end, and GRACE_S, an episode may still be paged.
    """
    grace_s = dwell_s + GRACE_S
    delays: list[float | None] = [None] * len(episodes)
    order = sorted(range(len(episodes)), key=lambda index: episodes[index].start_s)
    repeated = elsewhere = 0
    for page in pages:
        waiting = [
            index
            for index in order
            if delays[index] is None and episodes[index].start_s <= page.time_s <= episodes[index].end_s + grace_s
        ]
        for index in waiting[: page.people]:
            delays[index] = page.time_s - episodes[index].start_s
        if not waiting:
            inside = any(start_s <= page.time_s <= end_s + grace_s for start_s, end_s in angry)
            repeated += inside
            elsewhere += not inside
    return Outcome(delays, repeated, elsewhere)
