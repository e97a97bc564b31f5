"""Thresholds as what they mean: false pages a day, and upset people who are missed; as far as that is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from edge_agent.config import Config, Rule
from edge_agent.errors import AgentError
from edge_agent.statistics.calibration import Proposal, choose, propose
from edge_agent.statistics.score_log import ANSWERS, FALSE_ALARMS, WATCHED_S, read_counts
from edge_agent.vision.bundle import find_bundle
from edge_agent.vision.manifest import ClassifierManifest, OperatingPoint
from edge_agent.vision.models import with_active_model

#: Visitors a day that the model's promise is told for, where nobody says how many there are.
VISITORS = 25
_LIMITS_PER_DAY = (1, 3, 10)
_LOOK_BACK_HOURS, _ENOUGH_S = 168, 3600


@dataclass(frozen=True, slots=True)
class Meaning:
    """A threshold to choose.

    Attributes:
        label: what it means.
        upper: 0..1; None for the model's operating point.
    """

    label: str
    upper: float | None


def meanings(config: Config, *, visitors: int = VISITORS) -> list[Meaning]:
    """Return the thresholds that the first rule can have, the one in force first.

    Args:
        visitors: calm people who stand before the camera in a day.
    """
    rule = config.rules[0]
    point = _operating_point(config)
    counted, heading = _counted(config, rule)
    found = [*_promised(point, rule, config, visitors), *_measured(counted, heading)]
    if rule.upper not in [meaning.upper for meaning in found]:
        found.insert(0, Meaning(_of_their_own(rule, counted), rule.upper))
    return sorted(found, key=lambda meaning: meaning.upper != rule.upper)


def _promised(point: OperatingPoint | None, rule: Rule, config: Config, visitors: int) -> Iterator[Meaning]:
    """Yield what the model's manifest promises."""
    labels = {label for name in rule.emotions for label in config.emotion.emotions[name]}
    if point is None or labels != set(point.emotions) or rule.watch != "presence":
        return
    people = point.people or {}
    calm, angry = people.get("neutral"), people.get("angry")
    if calm is None or angry is None:
        yield Meaning("the model's operating point; what it means in pages a day, its manifest does not say", None)
        return
    yield Meaning(
        f"{_pages(calm.paged * visitors)}, for {visitors} calm visitors a day "
        f"({calm.low * visitors:.1f} to {calm.high * visitors:.1f}); finds about {angry.paged:.0%} of angry people "
        f"({angry.low:.0%} to {angry.high:.0%}, {angry.people} people): the model's operating point",
        None,
    )


def _pages(per_day: float) -> str:
    if per_day == 0:
        return "no false page so far"
    if per_day < 0.75:
        return f"about 1 false page in {max(2, round(1 / per_day))} days"
    return f"about {per_day:.0f} false page{'s' * (round(per_day) != 1)} a day"


def _measured(proposals: list[Proposal], heading: str) -> Iterator[Meaning]:
    """Yield what was counted at this place, as `edge-agent calibrate` does."""
    seen = set()
    for limit in _LIMITS_PER_DAY:
        one = choose(proposals, max_per_day=limit)
        if one is not None and one.threshold not in seen:
            seen.add(one.threshold)
            yield Meaning(f"{_pages(one.false_per_day)} ({one.low:.1f} to {one.high:.1f}), {heading}", one.threshold)


def _of_their_own(rule: Rule, proposals: list[Proposal]) -> str:
    if rule.upper is None:
        return "not set, and the model knows none for this rule: it needs a number in the file"
    same = next((one for one in reversed(proposals) if one.threshold <= rule.upper), None)
    what = _pages(same.false_per_day) if same is not None else "what it means here is not known yet"
    return f"as it is, {rule.upper:g} in the file: {what}"


def _operating_point(config: Config) -> OperatingPoint | None:
    try:
        return ClassifierManifest.read(find_bundle(with_active_model(config).emotion.model)).operating_point
    except AgentError:
        return None


def _counted(config: Config, rule: Rule) -> tuple[list[Proposal], str]:
    """Return what was counted of a rule here, and over how long; nothing after less than an hour."""
    try:
        counts = read_counts(
            config.outbox.state_dir, rule=rule.name, hours=_LOOK_BACK_HOURS, unix_s=time.time()
        )  # fmt: skip
    except AgentError:
        return [], ""
    watched_s, answers, false = (counts.pop(key, 0) for key in (WATCHED_S, ANSWERS, FALSE_ALARMS))
    if watched_s < _ENOUGH_S:
        return [], ""
    share = (min(max(false, 0), answers) + 1) / (answers + 1)
    return propose(counts, watched_s=watched_s, false_share=share), f"counted here in {watched_s / 3600:.0f} hours"


def is_measured(config: Config) -> bool:
    """Tell whether enough was counted at this place to choose by."""
    return bool(_counted(config, config.rules[0])[0])
