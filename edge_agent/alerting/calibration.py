"""The thresholds of each rule: its own, or the model's operating point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.config import Rule
from edge_agent.errors import ConfigError

#: An alert ends below this share of the upper threshold, unless the rule says where.
LOWER_SHARE = 0.65


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Smoothed scores, 0..1: at `upper` the dwell time starts, below `lower` an alert ends."""

    upper: float
    lower: float


def thresholds_for(
    rules: Sequence[Rule], groups: Mapping[str, tuple[str, ...]], operating_point: Mapping[str, Any] | None
) -> dict[str, Thresholds]:
    """Return rule name → thresholds.

    Args:
        groups: group name → the model's labels it sums, as configured.
        operating_point: what the model's manifest states: `emotions`, the labels whose summed probability it is
            for, and `threshold`, 0..1.

    Raises:
        ConfigError: a rule leaves its threshold to a model that states none for its emotions.
    """
    return {rule.name: _thresholds(rule, groups, operating_point or {}) for rule in rules}


def _thresholds(rule: Rule, groups: Mapping[str, tuple[str, ...]], point: Mapping[str, Any]) -> Thresholds:
    upper = rule.upper
    if upper is None:
        labels = {label for group in rule.emotions for label in groups[group]}
        if rule.watch == "absence" or labels != set(point.get("emotions", ())):
            what = f"{'the absence of ' if rule.watch == 'absence' else ''}{' + '.join(sorted(labels))}"
            raise ConfigError(
                f"rule {rule.name!r} has no upper threshold, and the model states no operating point for {what}; "
                "give it a number such as upper: 0.55"
            )
        upper = float(point["threshold"])
    lower = LOWER_SHARE * upper if rule.lower is None else rule.lower
    if lower > upper:
        raise ConfigError(
            f"rule {rule.name!r}: lower {lower:g} is above its upper threshold {upper:g}, the model's own"
        )
    return Thresholds(upper, lower)
