"""People in front of the rules: scores shown at a frame rate, and the steps that alerts take."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from edge_agent.alerting.alert import Alert
from edge_agent.alerting.rules import RuleEngine
from edge_agent.alerting.thresholds import thresholds_for
from edge_agent.alerting.tracker import Observation, Track, Tracker
from edge_agent.config import Escalation, Group, Rule, Tracking
from edge_agent.vision.faces import Face
from edge_agent.vision.manifest import OperatingPoint

FACE = Face(10, 10, 50, 50, 0.9, (20, 25), (40, 25))
GROUPS = ("angry", "sad")
POINT = OperatingPoint(emotions=("angry",), threshold=0.3)
RULE = Rule(
    name="angry", upper=0.6, lower=0.4, dwell_s=1.0, min_observations=3, off_delay_s=2.0, cooldown_s=10.0
)  # fmt: skip
LADDER = (Escalation(after_s=5, group="manager"), Escalation(after_s=12, group="owner", severity="critical"))


def face_at(x: float) -> Face:
    return Face(x, 100, 60, 60, 0.9, (x + 20, 120), (x + 40, 120))


class Scene:
    """Shows scores to the engine at a frame rate and collects the steps; person n stands at x = 100 n."""

    def __init__(
        self,
        *rules: Rule,
        rate_hz: float = 10.0,
        tracking: Tracking | None = None,
        point: OperatingPoint = POINT,
        groups: Sequence[Group] = (),
    ) -> None:
        ids = itertools.count(1)
        rules = rules or (RULE,)
        thresholds = thresholds_for(rules, {name: (name,) for name in GROUPS}, point)
        self.engine = RuleEngine(
            rules, GROUPS, thresholds=thresholds, new_id=lambda: f"alert-{next(ids)}", tracking=tracking,
            groups=groups,
        )  # fmt: skip
        self.tracker = Tracker(tracking or Tracking(smoothing_s=0))
        self.time_s = 100.0
        self.rate_hz = rate_hz
        self.seen: dict[int, int] = {}
        self.tracks: list[Track] = []

    def show(self, seconds: float, people: Mapping[int, float], *, sad: float = 0.0, zone: str = "view") -> list[Alert]:
        """Show tracks, by number, with their angry score; for strangers in the place of others see `watch`."""
        steps = []
        for _ in range(round(seconds * self.rate_hz)):
            self.time_s += 1 / self.rate_hz
            tracks = self.tracks = []
            for person, angry in people.items():
                self.seen[person] = self.seen.get(person, 0) + 1
                scores = np.array([angry, sad], dtype=np.float32)
                face = face_at(100 * person)
                tracks.append(Track(person, face, scores, self.seen[person], 0.0, self.time_s, self.time_s, zone))
            steps += self.engine.update(tracks, self.time_s)
        return steps

    def watch(self, seconds: float, *faces: tuple[float, float]) -> list[Alert]:
        """Show faces, each an x and an angry score, through a tracker that tells who they are."""
        steps = []
        for _ in range(round(seconds * self.rate_hz)):
            self.time_s += 1 / self.rate_hz
            seen = [Observation(face_at(x), np.array([angry, 0], dtype=np.float32)) for x, angry in faces]
            tracks = self.tracker.update(seen, time_s=self.time_s, width=640, height=480)
            steps += self.engine.update(tracks, self.time_s)
        return steps

    def act(self, alert: Alert, action: str, **options: float) -> Alert:
        """Answer an alert as kim."""
        answered = self.engine.act(alert.id, action, by="kim", time_s=self.time_s, **options)
        assert answered is not None
        return answered


def told(steps: Sequence[Alert]) -> list[tuple[str, str, int]]:
    """Return step, id and people of each."""
    return [(alert.step, alert.id, alert.people) for alert in steps]
