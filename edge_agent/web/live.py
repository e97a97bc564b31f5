"""What the live view shows, collected in the agent's loop: frames only while somebody watches, none is kept.

The one place where a frame leaves the loop: towards a browser that the operator opened, as a JPEG in memory.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from edge_agent.alerting.alert import Alert
from edge_agent.alerting.rules import Progress
from edge_agent.alerting.stillness import Box
from edge_agent.camera.frames import Frame, Image
from edge_agent.config import Config
from edge_agent.observer import Observer
from edge_agent.pipeline import Decision, Pipeline

_WIDTH_PX = 640
_JPEG_QUALITY = 70
_HISTORY = 240
_ALERTS = 100
#: Pixels across a blurred face.
_BLUR_PX = 8
_BLUR_MARGIN = 0.25


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame for those who watch.

    Attributes:
        jpeg: at most _WIDTH_PX wide.
        caption: JSON: boxes, scores, the rules' progress, latencies.
    """

    jpeg: bytes
    caption: str


@dataclass(slots=True)
class _Episode:
    """An alert as a list of steps."""

    alert: Alert
    steps: list[dict[str, Any]] = field(default_factory=list)


class LiveView(Observer):
    """Written by the agent's loop, read by the server's thread; each value is replaced whole, never changed."""

    def __init__(self, config: Config, pipeline: Pipeline) -> None:
        self._config, self._pipeline, self._emotions = config, pipeline, pipeline.emotions
        self._episodes: dict[str, _Episode] = {}
        self._history: deque[dict[str, Any]] = deque(maxlen=_HISTORY)
        self._alerts_text = "[]"
        self._history_text = "[]"
        #: Called with each picture, from the agent's loop.
        self.show: Callable[[Picture], None] = lambda _: None
        #: How many browsers watch.
        self.watchers = 0
        #: Zones to ignore; the server's thread draws them.
        self.zones = pipeline.zones
        #: Where faces do not move: left, top, right, bottom, 0..1.
        self.proposed_zones: tuple[Box, ...] = ()

    def frame_processed(self, frame: Frame, decision: Decision) -> None:
        """Encode the frame if somebody watches."""
        if not self.watchers:
            return
        self.proposed_zones = tuple(self._pipeline.proposed_zones(frame.time_s))
        progress = self._pipeline.rules.progress(frame.time_s)
        height, width = frame.image.shape[:2]
        scale = min(1.0, _WIDTH_PX / width)
        small = cv2.resize(frame.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        picture = np.asarray(small, dtype=np.uint8)
        if self._config.web.blur_faces:
            for face in (*(track.face for track in decision.tracks), *decision.still):
                _blur(picture, face.x * scale, face.y * scale, face.width * scale, face.height * scale)
        ok, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if ok:
            self.show(Picture(jpeg.tobytes(), self._caption(decision, progress, width=width, height=height)))

    def _caption(self, decision: Decision, progress: Sequence[Progress], *, width: int, height: int) -> str:
        people = []
        for track in decision.tracks:
            face = track.face
            scores = {name: round(float(score), 3) for name, score in zip(self._emotions, track.scores, strict=True)}
            people.append({
                "id": track.id, "zone": track.zone,
                "box": [
                    round(face.x / width, 4), round(face.y / height, 4),
                    round(face.width / width, 4), round(face.height / height, 4),
                ],
                "judged": track.observations > 0, "scores": scores,
            })  # fmt: skip
        return json.dumps({
            "people": people,
            "rules": [
                {
                    "rule": one.rule.name, "zone": one.zone, "state": one.state, "share": round(one.share, 3),
                    "score": round(one.score, 3), "upper": round(one.upper, 3), "message": one.rule.message,
                }
                for one in progress
            ],
            "detect_ms": round(decision.detect_s * 1000, 1), "classify_ms": round(decision.classify_s * 1000, 1),
            "total_ms": round(decision.total_s * 1000, 1),
        })  # fmt: skip

    def alert_changed(self, alert: Alert) -> None:
        """Remember a step."""
        episode = self._episodes.setdefault(alert.id, _Episode(alert))
        episode.alert = alert
        episode.steps.append(
            {"step": alert.step, "unix_s": round(time.time(), 1), "by": alert.by, "reason": alert.reason}
        )
        while len(self._episodes) > _ALERTS:
            del self._episodes[next(iter(self._episodes))]
        self._alerts_text = json.dumps([_as_row(one) for one in reversed(self._episodes.values())])

    def health_reported(self, body: Mapping[str, Any]) -> None:
        """Remember how the device is."""
        self._history.append({"unix_s": round(time.time(), 1), **body})
        self._history_text = json.dumps(list(self._history))

    def alerts_json(self) -> str:
        """Return the latest alerts, newest first, each with all its steps."""
        return self._alerts_text

    def history_json(self) -> str:
        """Return the latest health reports, oldest first."""
        return self._history_text


def _as_row(episode: _Episode) -> dict[str, Any]:
    alert = episode.alert
    return {
        "id": alert.id, "rule": alert.rule.name, "message": alert.rule.message, "zone": alert.zone, "step": alert.step,
        "severity": alert.severity, "groups": list(alert.groups), "score": round(alert.score, 3),
        "people": alert.people, "by": alert.by, "reason": alert.reason, "steps": episode.steps,
    }  # fmt: skip


def _blur(picture: Image, x: float, y: float, width: float, height: float) -> None:
    """Replace a face and a margin by a few large squares, in place."""
    rows, columns = picture.shape[:2]
    left, top = max(0, int(x - _BLUR_MARGIN * width)), max(0, int(y - _BLUR_MARGIN * height))
    right = min(columns, int(x + (1 + _BLUR_MARGIN) * width))
    bottom = min(rows, int(y + (1 + _BLUR_MARGIN) * height))
    if right - left < 2 or bottom - top < 2:
        return
    area = picture[top:bottom, left:right]
    coarse = cv2.resize(area, (_BLUR_PX, _BLUR_PX), interpolation=cv2.INTER_AREA)
    area[:] = cv2.resize(coarse, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
