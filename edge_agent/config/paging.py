"""When a look becomes a page, and whom it reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_agent.config.watching import SEGMENT
from edge_agent.yaml_loader import InvalidValueError, option


@dataclass(frozen=True, slots=True)
class Escalation:
    """One level of a rule's ladder: whom to page as well while nobody acknowledges."""

    after_s: float = option(low=1, high=86400)
    group: str = option(pattern=SEGMENT)
    severity: Literal["info", "warning", "critical"] = option("critical")


@dataclass(frozen=True, slots=True)
class Group:
    """When a group of staff can be paged; one that is not listed can be at any time."""

    name: str = option(pattern=SEGMENT)
    hours: str | None = option(None)


@dataclass(frozen=True, slots=True)
class Rule:
    """When a look becomes a page. Times in seconds, thresholds are probabilities."""

    name: str = option(pattern=SEGMENT)
    emotions: tuple[str, ...] = option(("angry",))
    upper: float | None = option(None, low=0.01, high=1)
    lower: float | None = option(None, low=0.0, high=1)
    dwell_s: float = option(1.5, low=0.0, high=600)
    min_observations: int = option(5, low=1, high=1000)
    off_delay_s: float = option(2.0, low=0.0, high=600)
    cooldown_s: float = option(10.0, low=0.0, high=86400)
    severity: Literal["info", "warning", "critical"] = option("warning")
    message: str = option("Please send assistance", pattern=r".{1,200}")
    role: Literal["customer", "staff"] = option("customer")
    watch: Literal["presence", "absence"] = option("presence")
    zones: tuple[str, ...] = option(())
    hours: str | None = option(None)
    group: str = option("staff", pattern=SEGMENT)
    escalation: tuple[Escalation, ...] = option(())
    expiry_s: float = option(120.0, low=1, high=86400)

    def __post_init__(self) -> None:
        if not self.emotions:
            raise InvalidValueError("name at least one group", "emotions")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise InvalidValueError(f"must not be above upper ({self.upper:g})", "lower")
        times_s = [level.after_s for level in self.escalation]
        if times_s != sorted(times_s):
            raise InvalidValueError("after_s must grow from level to level", "escalation")
