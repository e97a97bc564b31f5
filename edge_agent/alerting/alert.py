"""An alert as it stands after its latest step, and what staff may answer."""

from __future__ import annotations

from dataclasses import dataclass
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

    @property
    def groups(self) -> tuple[str, ...]:
        """Everybody paged so far, the rule's own group first."""
        return tuple(dict.fromkeys([self.rule.group, *(e.group for e in self.rule.escalation[: self.level])]))

    @property
    def severity(self) -> str:
        """The severity of the level that was reached."""
        return self.rule.escalation[self.level - 1].severity if self.level else self.rule.severity
