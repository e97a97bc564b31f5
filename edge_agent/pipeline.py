"""One frame through detector, classifier, tracker and rules; nothing of the frame remains."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_agent.alerting.alert import Alert
from edge_agent.alerting.rules import RuleEngine
from edge_agent.alerting.stillness import Box, StillPlaces
from edge_agent.alerting.thresholds import thresholds_for
from edge_agent.alerting.tracker import Observation, Track, Tracker
from edge_agent.camera.frames import Frame
from edge_agent.config import Config
from edge_agent.vision.analysis import Judgement, Vision
from edge_agent.vision.bundle import Bundle
from edge_agent.vision.faces import Face, signature
from edge_agent.vision.loading import Loader
from edge_agent.vision.manifest import ClassifierManifest
from edge_agent.vision.zones import IgnoredZones

#: How much wider and higher than a still face the zone is that is proposed to ignore it.
_PROPOSED_MARGIN = 0.1
#: Overlap of a track's last box with a still face from which on they are the same.
_SAME_FACE = 0.5


@dataclass(frozen=True, slots=True)
class Look:
    """What one frame shows, before anybody is followed.

    Attributes:
        judgements: its faces, those that were not judged among them.
        still: faces that do not move, which are no customers.
        width, height: of the frame, in pixels.
        detect_s, classify_s: how long it took.
    """

    judgements: list[Judgement]
    still: tuple[Face, ...]
    width: int
    height: int
    detect_s: float
    classify_s: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What one frame led to.

    Attributes:
        tracks: people in view.
        judged: the faces of this frame that were judged.
        alerts: alerts that took a step.
        detect_s, classify_s, total_s: how long it took.
        still: faces that are no customers, for they do not move; in no track.
    """

    tracks: tuple[Track, ...]
    judged: list[Judgement]
    alerts: list[Alert]
    detect_s: float
    classify_s: float
    total_s: float
    still: tuple[Face, ...] = ()


class Pipeline:
    """The whole way from a frame, its ignored zones masked, to alerts; also used by the demo and the benchmark.

    Args:
        new_id: makes the id of each alert.
        zones: none is proposed where one is ignored already; those of the configuration by default.
        bundle: of the classifier, where it is loaded already; the configured one by default.
        loader: shares models with other pipelines that it loaded them for.
    """

    def __init__(
        self,
        config: Config,
        *,
        new_id: Callable[[], str],
        zones: IgnoredZones | None = None,
        bundle: Bundle[ClassifierManifest] | None = None,
        loader: Loader | None = None,
    ) -> None:
        self.vision = Vision(config, bundle, loader=loader)
        self.zones = IgnoredZones(config.faces.ignore_zones) if zones is None else zones
        self.emotions = self.vision.emotions.names
        self._tracker = Tracker(config.tracking, config.zones)
        #: Faces that are no customers.
        self.still_places = StillPlaces(config.tracking.still_after_s)
        self._frame_size = (1, 1)
        point = self.vision.classifier.bundle.manifest.operating_point
        thresholds = thresholds_for(config.rules, config.emotion.emotions, point)
        self.rules = RuleEngine(
            config.rules, self.emotions, thresholds=thresholds, new_id=new_id, tracking=config.tracking,
            groups=config.groups,
        )  # fmt: skip

    def process(self, frame: Frame) -> Decision:
        """Look at one frame and decide what it leads to."""
        return self.decide(self.look(frame), frame.time_s)

    def look(self, frame: Frame) -> Look:
        """Find and judge the faces of one frame."""
        start_s = time.perf_counter()
        faces, still = self._without_still(self.vision.find_faces(frame.image), frame)
        found_s = time.perf_counter()
        judgements = self.vision.judge(frame.image, faces)
        height, width = frame.image.shape[:2]
        return Look(judgements, tuple(still), width, height, found_s - start_s, time.perf_counter() - found_s)

    def decide(self, look: Look, time_s: float) -> Decision:
        """Follow the people of one look and apply the rules.

        Args:
            time_s: when the frame was captured, never going back.
        """
        start_s = time.perf_counter()
        observations = [Observation(judged.face, judged.scores) for judged in look.judgements]
        tracks = self._tracker.update(observations, time_s=time_s, width=look.width, height=look.height)
        # Whoever is known to be a print from now on is nobody, at once.
        tracks = tuple(track for track in tracks if all(track.face.overlap(face) < _SAME_FACE for face in look.still))
        alerts = self.rules.update(tracks, time_s)
        total_s = look.detect_s + look.classify_s + time.perf_counter() - start_s
        judged_faces = [judged for judged in look.judgements if judged.scores is not None]
        return Decision(tracks, judged_faces, alerts, look.detect_s, look.classify_s, total_s, look.still)

    def _without_still(self, faces: list[Face], frame: Frame) -> tuple[list[Face], list[Face]]:
        """Part faces that may be customers from those that do not move, which are counted."""
        height, width = frame.image.shape[:2]
        self._frame_size = (width, height)
        boxes = [self._share_box(face) for face in faces]
        flags = self.still_places.update(boxes, lambda box: signature(frame.image, box), frame.time_s, width=width)
        still = [face for face, flag in zip(faces, flags, strict=True) if flag]
        if still:
            self.vision.abstained["still"] += len(still)
        return [face for face, flag in zip(faces, flags, strict=True) if not flag], still

    def false_alarm(self, faces: Sequence[Face], time_s: float) -> bool:
        """Remember for a day that those of these faces that have not moved are no customers; return whether any is one.

        Args:
            faces: of the alert's tracks, in pixels of the latest frame.
            time_s: now, on the frames' clock.
        """
        found = [self.still_places.false_alarm(self._share_box(face), time_s) for face in faces]
        return any(found)

    def proposed_zones(self, time_s: float) -> list[Box]:
        """Return where faces are still and no zone is drawn yet, with a margin: left, top, right, bottom, 0..1."""
        found = []
        for left, top, right, bottom in self.still_places.proposals(time_s):
            if self.zones.contain((left + right) / 2, (top + bottom) / 2):
                continue
            dx, dy = _PROPOSED_MARGIN / 2 * (right - left), _PROPOSED_MARGIN / 2 * (bottom - top)
            grown = (left - dx, top - dy, right + dx, bottom + dy)
            left, top, right, bottom = (round(min(1.0, max(0.0, share)), 3) for share in grown)
            found.append((left, top, right, bottom))
        return found

    def _share_box(self, face: Face) -> Box:
        width, height = self._frame_size
        return (
            face.x / width, face.y / height, (face.x + face.width) / width, (face.y + face.height) / height
        )  # fmt: skip

    def without_frame(self, time_s: float) -> list[Alert]:
        """Let tracks and alerts age while the camera delivers nothing."""
        return self.rules.update(self._tracker.age(time_s), time_s)
