"""Open alerts, pauses and muted people as text, so that a run that was killed hands them to the next one.

How long nobody watched is told by the monotonic clock within one boot, and after another by the wall clock, the only
one that outlives it, if that clock was set since: boards without a clock battery start where they were cut off. A wall
clock that went back counts as no time at all.

The note and the list that the broker keeps (`alert/active`) both carry a sequence number that grows with each note. A
list with a larger one is of a moment that this disk has forgotten: it was put back to an earlier one, or lost its last
writes. Numbers and not times, for clocks may stand still.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from edge_agent.alerting.alert import Alert
from edge_agent.alerting.people import Mute
from edge_agent.config import Rule
from edge_agent.delivery.messages import MessageError, is_name, is_ulid, parse_object

#: An alert that nobody watched for longer is over: who it was about has left.
MAX_GAP_S = 300.0
#: Longest pause that is believed.
MAX_QUIET_S = 86_400.0
#: Largest sequence number that is believed; every JSON reader holds it exactly.
MAX_SEQUENCE = 2**53 - 1
#: Largest revision, and number of people, that pagers believe.
_MAX_NUMBER = 1_000_000
#: No time of a message is later, in the year 4147: it must be possible to write it again, with its expiry.
_LATEST_UNIX_S = 2.0**36


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
        sequence: of the note; the next one's is larger.
    """

    alerts: Sequence[Alert]
    quiet: Mapping[tuple[str, str], float]
    mutes: Sequence[Mute]
    raised_unix_s: Mapping[str, float]
    snoozed_by: Mapping[tuple[str, str], str] = field(default_factory=dict)
    sequence: int = 0


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
        "sequence": episodes.sequence,
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
        gap_s, recent = _gap(body, float(body["written_unix_s"]), now)
        sequence = int(body.get("sequence", 0))
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
            (kept if recent and _watched(alert, rule) else over).append(alert)
        for name, zone, left_s, *by in body["quiet"]:
            left_s = min(float(left_s), MAX_QUIET_S) - gap_s
            if left_s > 0:
                quiet[str(name), str(zone)] = now.alert_s + left_s
                snoozed_by[str(name), str(zone)] = "".join(str(who) for who in by)
        for name, x, y, width, height, left_s in body.get("mutes", ()) if recent else ():
            box = (float(x), float(y), float(width), float(height))
            mutes.append(Mute(str(name), box, now.alert_s + min(float(left_s), MAX_QUIET_S) - gap_s))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return Episodes((), {}, (), {}), []
    return Episodes(kept, quiet, mutes, raised_unix_s, snoozed_by, sequence), over


def _gap(body: Mapping[str, Any], written_unix_s: float, now: Now) -> tuple[float, bool]:
    """Return how long nobody watched since something was written, seconds, and whether that is known and short."""
    same_boot = body["boot_id"] == now.boot_id != "unknown"
    gap_s = max(0.0, now.monotonic_s - float(body["monotonic_s"]) if same_boot else now.unix_s - written_unix_s)
    return gap_s, gap_s <= MAX_GAP_S and (same_boot or now.clock_known)


def _watched(alert: Alert, rule: Rule | None) -> bool:
    return rule is not None and (not rule.zones or alert.zone in rule.zones)


def corrected(
    noted: Episodes, over: Sequence[Alert], payload: bytes, rules: Iterable[Rule], *, now: Now
) -> tuple[Episodes, list[Alert]] | None:
    """Return what `from_text` gave as the broker's list has it; None where the list is no newer than the note.

    An alert that the list does not name is over, and neither returned as open nor as over: its end was published. One
    that it has whole is as the list says, also where the note does not know it.

    Args:
        payload: of the device's own `alert/active`.

    Raises:
        MessageError: it is no such list.
    """
    body = parse_object(payload, schema="active")
    sequence = body.get("sequence", 0)
    if type(sequence) is not int or not 0 <= sequence <= MAX_SEQUENCE:
        raise MessageError(f"'sequence' is no whole number from 0 to {MAX_SEQUENCE}")
    if sequence <= noted.sequence:
        return None
    by_name = {rule.name: rule for rule in rules}
    known = {alert.id: alert for alert in (*noted.alerts, *over)}
    raised_unix_s = dict(noted.raised_unix_s)
    open_now, ended = list[Alert](), list[Alert]()
    try:
        written_unix_s = _unix_s(body["time"])
        gap_s, recent = _gap(body, written_unix_s, now)
        whole = {str(entry["id"]): entry for entry in body.get("alerts", ())}
        for alert_id in dict.fromkeys(body["ids"]):
            if not is_ulid(alert_id) or (alert_id not in whole and alert_id not in known):
                continue
            alert = known.get(alert_id)
            if (entry := whole.get(alert_id)) is not None:
                raised_unix_s[alert_id] = _unix_s(entry["raised_at"])
                age_s = max(0.0, written_unix_s - raised_unix_s[alert_id]) + gap_s
                alert = _as_listed(entry, alert, by_name, raised_s=now.alert_s - age_s, now=now)
            assert alert is not None
            (open_now if recent and _watched(alert, by_name.get(alert.rule.name)) else ended).append(alert)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise MessageError("it is no list of open alerts") from None
    raised_unix_s = {alert.id: raised_unix_s[alert.id] for alert in (*open_now, *ended)}
    return replace(noted, alerts=open_now, raised_unix_s=raised_unix_s, sequence=sequence), ended


def _unix_s(rfc3339: str) -> float:
    # Python 3.10 reads no Z.
    unix_s = datetime.fromisoformat(rfc3339.replace("Z", "+00:00")).timestamp()
    if not 0 <= unix_s < _LATEST_UNIX_S:
        raise ValueError(rfc3339)
    return unix_s


def _as_listed(
    entry: Mapping[str, Any], noted: Alert | None, rules: Mapping[str, Rule], *, raised_s: float, now: Now
) -> Alert:
    """Return an alert as the broker's list has it; of what the list does not say, what the note knows of it."""
    revision, rule = int(entry["revision"]), rules.get(entry["rule"]) or Rule(name=str(entry["rule"]))
    if noted is not None and noted.revision >= revision:
        return noted
    groups = (rule.group, *(level.group for level in rule.escalation))
    level = min(max(0, int(entry["level"])), len(groups) - 1)
    score, people = float(entry["score"]), int(entry["people"])
    by, zone, reason = entry["by"], entry["zone"], entry["reason"]
    # It is published again.
    if not is_name(zone) or not is_name(rule.name) or (by != "" and not is_name(by)) or reason not in ("", "on_my_way"):
        raise ValueError(entry["id"])
    if max(revision, people) > _MAX_NUMBER:
        raise ValueError(entry["id"])
    if entry["step"] not in ("raised", "escalated", "acked") or min(revision, people) < 1 or not 0 <= score <= 1:
        raise ValueError(entry["id"])
    return Alert(
        id=str(entry["id"]),
        rule=rule,
        zone=zone,
        step=entry["step"],
        revision=revision,
        score=score,
        people=people,
        raised_s=raised_s,
        # Rather the next level too soon than too late.
        paged_s=raised_s if noted is None else noted.paged_s,
        changed_s=now.alert_s,
        by=by,
        reason=reason,
        level=level,
        left_out=tuple(one for one in range(level) if groups[one] not in entry["groups"]),
        # An answer to less than what the list shows may be about fewer people.
        paged_revision=revision,
    )
