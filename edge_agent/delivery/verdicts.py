"""What staff say of alerts that are over: each counts once, whatever arrives twice and however often they restart."""

from __future__ import annotations

import json
from collections.abc import Iterable

from edge_agent.alerting.alert import Action, Alert
from edge_agent.delivery.relay import OutboxRelay

#: What tells whether an alert was right.
VERDICTS: tuple[Action, ...] = ("resolve", "false_alarm")
#: So many alerts are remembered, the latest ones; the note of them is written anew whenever one ends.
MAX_OVER = 500
#: Name of the note that outlives the run.
_NOTE = "over"


class Verdicts:
    """Remembers the latest alerts that are over: id → rule, and what was said of it, empty for nothing yet."""

    def __init__(self, relay: OutboxRelay) -> None:
        self._relay = relay
        self._over = _from_text(relay.note(_NOTE) or "{}")

    def end(self, alerts: Iterable[Alert]) -> None:
        """Take over those of the alerts that are cleared, with the verdict that ended them, if one did."""
        over = {
            alert.id: (alert.rule.name, alert.reason if alert.reason in VERDICTS else "")
            for alert in alerts
            if alert.step == "cleared"
        }
        if over:
            self._over.update(over)
            for alert_id in list(self._over)[:-MAX_OVER]:
                del self._over[alert_id]
            self._write()

    def knows(self, alert_id: str) -> bool:
        """Tell whether an alert is one of them."""
        return alert_id in self._over

    def say(self, alert_id: str, verdict: Action) -> tuple[str, bool] | None:
        """Note a verdict; return the alert's rule and whether the other verdict had been given before.

        None where it changes nothing: it was said before, it is no verdict, or the alert is not known.
        """
        rule, before = self._over.get(alert_id, ("", ""))
        if not rule or verdict not in VERDICTS or verdict == before:
            return None
        self._over[alert_id] = (rule, verdict)
        self._write()
        return rule, bool(before)

    def _write(self) -> None:
        self._relay.write_note(_NOTE, json.dumps(self._over))


def _from_text(text: str) -> dict[str, tuple[str, str]]:
    """Return what `_write` wrote; nothing where it is something else."""
    try:
        return {str(alert_id): (str(rule), str(said)) for alert_id, (rule, said) in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
