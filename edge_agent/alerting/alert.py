"""An alert as it stands after its latest step, and what staff may answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edge_agent.config import Rule

Step = Literal["raised", "escalated", "acked", "cleared"]
Action = Literal["ack", "on_my_way", "resolve", "false_alarm", "snooze"]
#: How long `snooze` keeps a rule quiet unless the pager says otherwise.
SNOOZE_S = 600.0


@dataclass(frozen=True, slots=True)
class Alert:
    """The people of one zone for whom one rule pages staff, as it stands after its latest step.

    Attributes:
        id: ULID, the same through all steps.
        step: what happened last; `raised` again with each further person.
        revision: 1 when raised, one more with each step.
        score: highest smoothed score of the rule's emotions so far, 0..1.
        people: how many are in it; those who were in it last when it is cleared.
        raised_s, paged_s, changed_s: first page, latest page for another person, latest step; on the alerting clock.
        by: who acknowledged or closed it; empty while nobody did.
        reason: why it was cleared: `calm`, `out_of_view`, `resolve`, `false_alarm`, `snooze` or `stopped`;
            `on_my_way` while who acknowledged it is coming; else empty.
        level: of the rule's ladder that was reached; 0 for none.
        paged_revision: of the latest page for another person.
        left_out: levels below `level` that were not paged, for their group was closed.
        shadow: nobody was paged, for the rule or all its groups were closed.
    """

    id: str
    rule: Rule
    zone: str
    step: Step
    revision: int
    score: float
    people: int
    raised_s: float
    paged_s: float
    changed_s: float
    by: str = ""
    reason: str = ""
    level: int = 0
    paged_revision: int = 1
    left_out: tuple[int, ...] = ()
    shadow: bool = False

    @property
    def paged_levels(self) -> tuple[int, ...]:
        """The levels paged so far; 0 is the rule's own group."""
        return tuple(level for level in range(self.level + 1) if level not in self.left_out)

    @property
    def groups(self) -> tuple[str, ...]:
        """Everybody paged so far, the rule's own group first."""
        ladder = (self.rule.group, *(level.group for level in self.rule.escalation))
        return tuple(dict.fromkeys(ladder[level] for level in self.paged_levels))

    def to_level(self, level: int) -> Alert:
        """Return it with a level paged that was not; those between it and the highest so far are left out."""
        if level < self.level:
            return replace(self, left_out=tuple(one for one in self.left_out if one != level))
        return replace(self, level=level, left_out=(*self.left_out, *range(self.level + 1, level)))

    @property
    def severity(self) -> str:
        """The severity of the level that was reached."""
        return self.rule.escalation[self.level - 1].severity if self.level else self.rule.severity


def new_alert(
    alert_id: str, rule: Rule, zone: str, score: float, people: int, time_s: float, levels: Sequence[int]
) -> Alert:
    """Return an alert that pages the first of some levels of its rule, or is in shadow where there is none."""
    alert = Alert(alert_id, rule, zone, "raised", 1, score, people, time_s, time_s, time_s, shadow=not levels)
    return replace(alert, level=levels[0], left_out=tuple(range(levels[0]))) if levels else alert
