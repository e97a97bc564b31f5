"""Open alerts and pauses as text, so that a run that was killed hands them to the next one.

Times are kept as wall-clock time, the only one that outlives a boot; where the clock was wrong in between, an
alert counts as raised just now rather than in the future.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edge_agent.alerting.rules import Alert
from edge_agent.config import Rule

#: An alert that nobody watched for longer is over: who it was about has left.
MAX_GAP_S = 300.0
#: Longest pause that is believed.
MAX_QUIET_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Episodes:
    """What a run knows about its alerts.

    Attributes:
        alerts: not cleared yet.
        quiet: (rule, zone) → time until which nothing new is raised.
        raised_unix_s: alert id → wall-clock time of its page, which all its messages carry.
    """

    alerts: Sequence[Alert]
    quiet: Mapping[tuple[str, str], float]
    raised_unix_s: Mapping[str, float]


def to_text(episodes: Episodes, *, time_s: float, unix_s: float) -> str:
    """Return JSON.

    Args:
        time_s, unix_s: now on the alerting clock and on the wall.
    """
    alerts = [
        {
            "id": alert.id,
            "rule": alert.rule.name,
            "zone": alert.zone,
            "step": alert.step,
            "revision": alert.revision,
            "score": alert.score,
            "people": alert.people,
            "by": alert.by,
            "level": alert.level,
            # An alert whose first message is yet to be made has no wall-clock time of its own.
            "raised_unix_s": episodes.raised_unix_s.get(alert.id, unix_s - (time_s - alert.raised_s)),
            "age_s": time_s - alert.raised_s,
        }
        for alert in episodes.alerts
    ]
    quiet = [[rule, zone, until_s - time_s] for (rule, zone), until_s in episodes.quiet.items() if until_s > time_s]
    return json.dumps({"written_unix_s": unix_s, "alerts": alerts, "quiet": quiet})


def from_text(text: str, rules: Iterable[Rule], *, time_s: float, unix_s: float) -> tuple[Episodes, list[Alert]]:
    """Return what to go on with, on this run's clock, and the alerts that are over.

    Over are those whose rule is gone and those that nobody watched for MAX_GAP_S. Text that is not from `to_text`
    gives nothing.
    """
    by_name = {rule.name: rule for rule in rules}
    kept: list[Alert] = []
    over: list[Alert] = []
    raised_unix_s: dict[str, float] = {}
    quiet: dict[tuple[str, str], float] = {}
    try:
        body = json.loads(text)
        gap_s = max(0.0, unix_s - float(body["written_unix_s"]))
        for entry in body["alerts"]:
            rule = by_name.get(entry["rule"])
            age_s = max(0.0, float(entry["age_s"])) + gap_s
            alert = Alert(
                id=str(entry["id"]),
                rule=rule or Rule(name=str(entry["rule"])),
                zone=str(entry["zone"]),
                step=entry["step"],
                revision=int(entry["revision"]),
                score=float(entry["score"]),
                people=int(entry["people"]),
                raised_s=time_s - age_s,
                changed_s=time_s,
                by=str(entry["by"]),
                level=min(int(entry["level"]), len(rule.escalation) if rule else 0),
            )
            raised_unix_s[alert.id] = float(entry["raised_unix_s"])
            (over if rule is None or gap_s > MAX_GAP_S else kept).append(alert)
        for name, zone, left_s in body["quiet"]:
            left_s = min(float(left_s), MAX_QUIET_S) - gap_s
            if left_s > 0:
                quiet[str(name), str(zone)] = time_s + left_s
    except (ValueError, KeyError, TypeError):
        return Episodes((), {}, {}), []
    return Episodes(kept, quiet, raised_unix_s), over
