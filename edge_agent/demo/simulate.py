"""A scripted day for training staff: real rules, real pages over the real broker, invented people."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import edge_agent
from edge_agent import config
from edge_agent.alerting.alert import Alert
from edge_agent.alerting.rules import RuleEngine
from edge_agent.alerting.thresholds import Thresholds
from edge_agent.alerting.tracker import Track
from edge_agent.config import WHOLE_VIEW
from edge_agent.delivery.bus import FAILURE, Disconnected, PublishResult, SubscriptionDenied
from edge_agent.delivery.channel import Channel
from edge_agent.delivery.messages import new_ulid
from edge_agent.delivery.opening import open_channel
from edge_agent.delivery.retained import forget
from edge_agent.errors import BrokerError
from edge_agent.vision.faces import Face

EXERCISE = "EXERCISE: "
_TURN_S = 0.1
_FACE = Face(0, 0, 80, 80, 0.9, (25, 30), (55, 30))


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody who comes at `at_s` and looks so for `stays_s`."""

    at_s: float
    stays_s: float
    angry: float
    story: str


#: Six minutes; the stories are told while they happen.
DAY = (
    Visit(5, 20, 0.1, "a calm guest checks in; nothing should happen"),
    Visit(30, 40, 0.9, "the card reader refuses a card; the guest is getting angry: answer the page"),
    Visit(90, 0.8, 0.9, "somebody frowns at the sun for a moment; nothing should happen"),
    Visit(110, 90, 0.95, "a booking is lost; if nobody answers, the page climbs the rule's ladder"),
    Visit(220, 30, 0.8, "a guest only looks angry, the glasses reflect: mark it as a false alarm"),
    Visit(270, 60, 0.9, "a guest in a queue is angry: take it"),
    Visit(290, 40, 0.95, "another in the queue loses patience: it rings again; resolve it when both are served"),
)


class Simulation:
    """Plays visits through the rules of a configuration, as a device of its own.

    Args:
        speed: 2 plays twice as fast.
        say: told each story.
    """

    def __init__(
        self, settings: config.Config, *, visits: Sequence[Visit] = DAY, speed: float = 1.0, say: Callable[[str], None]
    ) -> None:
        rules = tuple(
            replace(rule, message=(EXERCISE + rule.message)[:120], watch="presence", zones=())
            for rule in settings.rules
        )
        self._settings = replace(
            settings,
            site=replace(settings.site, device=f"{settings.site.device[:50]}-exercise"),
            rules=rules,
            privacy=replace(settings.privacy, notice_posted=True),
            mqtt=replace(settings.mqtt, keep_session=False),
            home_assistant=replace(settings.home_assistant, enabled=False),
        )
        self._visits, self._speed, self._say = visits, speed, say

    def run(self, stop: threading.Event) -> int:
        """Play to the end, or to `stop`; return how many pages were raised.

        Raises:
            BrokerError: the first connection fails, or the broker does not let this device speak and hear.
        """
        settings, wake, raised = self._settings, threading.Event(), 0
        thresholds = {rule.name: Thresholds(upper=0.5, lower=0.3) for rule in settings.rules}
        emotions = tuple(settings.emotion.emotions)
        rules = RuleEngine(settings.rules, emotions, thresholds=thresholds, new_id=new_ulid, tracking=settings.tracking)

        def stepped(alert: Alert) -> None:
            nonlocal raised
            raised += alert.step == "raised"

        with tempfile.TemporaryDirectory(prefix="edge-agent-exercise-") as folder:
            channel = open_channel(
                replace(settings, outbox=replace(settings.outbox, state_dir=Path(folder))),
                rules=rules, info=_info(), alert_time_s=time.monotonic, stepped=stepped, wake=wake.set,
            )  # fmt: skip
            channel.bus.start()
            try:
                self._play(stop, wake, rules, channel)
            finally:
                channel.end()
                channel.close()
        forget(settings)
        return raised

    def _play(self, stop: threading.Event, wake: threading.Event, rules: RuleEngine, channel: Channel) -> None:
        start_s, told, reached = time.monotonic(), 0, False
        columns = {name: column for column, name in enumerate(self._settings.emotion.emotions)}
        emotions = [columns[rule.emotions[0]] for rule in self._settings.rules]
        end_s = max(visit.at_s + visit.stays_s for visit in self._visits) + 10
        while not stop.is_set():
            wake.wait(_TURN_S)
            wake.clear()
            for event in channel.bus.events():
                if isinstance(event, Disconnected) and not reached:
                    raise BrokerError(event.problem)
                if isinstance(event, PublishResult) and event.reason >= FAILURE:
                    raise BrokerError(
                        f"the broker lets nobody called {self._settings.mqtt.username or 'nothing'} publish for "
                        f"{self._settings.site.name}/{self._settings.site.device}; see docs/broker.md"
                    )
                if isinstance(event, SubscriptionDenied):
                    raise BrokerError(f"staff's answers would not arrive: {event.problem}")
                reached = reached or channel.bus.connected
                channel.handle(event)
            now_s = time.monotonic()
            day_s = (now_s - start_s) * self._speed
            while told < len(self._visits) and self._visits[told].at_s <= day_s:
                self._say(self._visits[told].story)
                told += 1
            tracks = []
            for number, visit in enumerate(self._visits, start=1):
                if visit.at_s <= day_s < visit.at_s + visit.stays_s:
                    scores = np.zeros(len(columns), np.float32)
                    scores[emotions] = visit.angry
                    seen = int((day_s - visit.at_s) / self._speed / _TURN_S) + 1
                    tracks.append(Track(number, _FACE, scores, seen, now_s, now_s, now_s, WHOLE_VIEW))
            channel.report(rules.update(tracks, now_s))
            channel.report(rules.escalate_due(now_s))
            channel.pump()
            if day_s > end_s:
                return


def _info() -> dict[str, str]:
    unknown = dict.fromkeys(("model_sha256", "detector", "config", "python", "runtime"), "none: an exercise")
    return {"agent_version": edge_agent.__version__, "model": "exercise", **unknown}
