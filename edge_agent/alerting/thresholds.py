"""The thresholds of each rule: its own, or the model's operating point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent.config import Rule
from edge_agent.errors import ConfigError
from edge_agent.vision.manifest import OperatingPoint

#: An alert ends below this share of the upper threshold, unless the rule says where.
LOWER_SHARE = 0.65


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Of one rule.

    Attributes:
        upper, lower: smoothed scores, 0..1: at `upper` the dwell time starts, down from `lower` an alert ends.
        population: mean log-odds of the score of people who are calm; None where the model does not know it.
    """

    upper: float
    lower: float
    population: float | None = None


def thresholds_for(
    rules: Sequence[Rule], emotions: Mapping[str, tuple[str, ...]], operating_point: OperatingPoint | None
) -> dict[str, Thresholds]:
    """Return rule name → thresholds.

    Args:
        emotions: name → the model's labels it sums, as configured.
        operating_point: the model's, if it states one.

    Raises:
        ConfigError: a rule leaves its threshold to a model that states none for its emotions.
    """
    return {rule.name: _thresholds(rule, emotions, operating_point) for rule in rules}


def _thresholds(rule: Rule, emotions: Mapping[str, tuple[str, ...]], point: OperatingPoint | None) -> Thresholds:
    upper = rule.upper
    labels = {label for name in rule.emotions for label in emotions[name]}
    if point is not None and (rule.watch != "presence" or labels != set(point.emotions)):
        point = None
    if upper is None:
        if point is None:
            what = f"{'the absence of ' if rule.watch == 'absence' else ''}{' + '.join(sorted(labels))}"
            raise ConfigError(
                f"rule {rule.name!r} has no upper threshold, and the model states no operating point for {what}; "
                "give it a number such as upper: 0.55"
            )
        upper = point.threshold
    lower = LOWER_SHARE * upper if rule.lower is None else rule.lower
    if lower > upper:
        raise ConfigError(
            f"rule {rule.name!r}: lower {lower:g} is above its upper threshold {upper:g}, the model's own"
        )
    return Thresholds(upper, lower, None if point is None else point.population_logit)
