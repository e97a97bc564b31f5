"""Open alerts, pauses and muted people as text, so that a run that was killed hands them to the next one.

How long nobody watched is told by the monotonic clock within one boot, and after another by the wall clock, the only
one that outlives it, if that clock was set since: boards without a clock battery start where they were cut off. A wall
clock that went back counts as no time at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edge_agent.alerting.alert import Alert
from edge_agent.alerting.people import Mute
from edge_agent.config import Rule

#: An alert that nobody watched for longer is over: who it was about has left.
MAX_GAP_S = 300.0
#: Longest pause that is believed.
MAX_QUIET_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on all clocks.

    Attributes:
        alert_s: on the alerting clock.
        unix_s: on the wall, seconds since 1970.
        boot_id: which boot `monotonic_s` counts from.
        clock_known: whether `unix_s` can be believed.
    """

    alert_s: float
    unix_s: float
    boot_id: str
    monotonic_s: float
    clock_known: bool = True


@dataclass(frozen=True, slots=True)
class Episodes:
    """What a run knows about its alerts.

    Attributes:
        alerts: not cleared yet.
        quiet: (rule, zone) → time until which staff snoozed it.
        mutes: people who are not to be paged for, by where they were.
        raised_unix_s: alert id → wall-clock time of its page, which all its messages carry.
        snoozed_by: (rule, zone) → who snoozed it.
    """

    alerts: Sequence[Alert]
    quiet: Mapping[tuple[str, str], float]
    mutes: Sequence[Mute]
    raised_unix_s: Mapping[str, float]
    snoozed_by: Mapping[tuple[str, str], str] = field(default_factory=dict)


def to_text(episodes: Episodes, *, now: Now) -> str:
    """Return JSON."""
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
            "reason": alert.reason,
            "level": alert.level,
            "left_out": alert.left_out,
            # An alert whose first message is yet to be made has no wall-clock time of its own.
            "raised_unix_s": episodes.raised_unix_s.get(alert.id, now.unix_s - (now.alert_s - alert.raised_s)),
            "age_s": now.alert_s - alert.raised_s,
            "paged_revision": alert.paged_revision,
            "paged_age_s": now.alert_s - alert.paged_s,
        }
        for alert in episodes.alerts
    ]
    quiet = [
        [rule, zone, until_s - now.alert_s, episodes.snoozed_by.get((rule, zone), "")]
        for (rule, zone), until_s in episodes.quiet.items()
        if until_s > now.alert_s
    ]
    mutes = [
        [mute.rule, *mute.box, mute.until_s - now.alert_s] for mute in episodes.mutes if mute.until_s > now.alert_s
    ]
    return json.dumps({
        "written_unix_s": now.unix_s, "boot_id": now.boot_id, "monotonic_s": now.monotonic_s,
        "alerts": alerts, "quiet": quiet, "mutes": mutes,
    })  # fmt: skip


def from_text(text: str, rules: Iterable[Rule], *, now: Now) -> tuple[Episodes, list[Alert]]:
    """Return what to go on with, on this run's clock, and the alerts that are over.

    Over are those whose rule is gone, or gone from their zone, and those that nobody watched for MAX_GAP_S, or for
    nobody knows how long; after that nobody is muted either. Text that is not from `to_text` gives nothing; that of a
    version in which a cooldown was a zone's has it among the snoozes, and mutes nobody.
    """
    by_name = {rule.name: rule for rule in rules}
    kept: list[Alert] = []
    over: list[Alert] = []
    raised_unix_s: dict[str, float] = {}
    quiet: dict[tuple[str, str], float] = {}
    snoozed_by: dict[tuple[str, str], str] = {}
    mutes: list[Mute] = []
    try:
        body = json.loads(text)
        same_boot = body["boot_id"] == now.boot_id != "unknown"
        gap_s = max(
            0.0,
            now.monotonic_s - float(body["monotonic_s"]) if same_boot else now.unix_s - float(body["written_unix_s"]),
        )
        recent = gap_s <= MAX_GAP_S and (same_boot or now.clock_known)
        for entry in body["alerts"]:
            rule = by_name.get(entry["rule"])
            age_s = max(0.0, float(entry["age_s"])) + gap_s
            level = min(int(entry["level"]), len(rule.escalation) if rule else 0)
            alert = Alert(
                id=str(entry["id"]),
                rule=rule or Rule(name=str(entry["rule"])),
                zone=str(entry["zone"]),
                step=entry["step"],
                revision=int(entry["revision"]),
                score=float(entry["score"]),
                people=int(entry["people"]),
                raised_s=now.alert_s - age_s,
                paged_s=now.alert_s - max(0.0, float(entry.get("paged_age_s", entry["age_s"]))) - gap_s,
                changed_s=now.alert_s,
                by=str(entry["by"]),
                reason=str(entry["reason"]),
                level=level,
                left_out=tuple(int(one) for one in entry.get("left_out", ()) if 0 <= int(one) < level),
                paged_revision=int(entry.get("paged_revision", 1)),
            )
            raised_unix_s[alert.id] = float(entry["raised_unix_s"])
            watched = rule is not None and (not rule.zones or alert.zone in rule.zones)
            (kept if watched and recent else over).append(alert)
        for name, zone, left_s, *by in body["quiet"]:
            left_s = min(float(left_s), MAX_QUIET_S) - gap_s
            if left_s > 0:
                quiet[str(name), str(zone)] = now.alert_s + left_s
                snoozed_by[str(name), str(zone)] = "".join(str(who) for who in by)
        for name, x, y, width, height, left_s in body.get("mutes", ()) if recent else ():
            box = (float(x), float(y), float(width), float(height))
            mutes.append(Mute(str(name), box, now.alert_s + min(float(left_s), MAX_QUIET_S) - gap_s))
    except (ValueError, KeyError, TypeError, OverflowError):
        return Episodes((), {}, (), {}), []
    return Episodes(kept, quiet, mutes, raised_unix_s, snoozed_by), over
