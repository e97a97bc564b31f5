"""One frame through camera masks, detector, classifier, tracker and rules; nothing of the frame remains."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.alerting.calibration import thresholds_for
from edge_agent.alerting.rules import Alert, RuleEngine
from edge_agent.alerting.stillness import Box, StillPlaces
from edge_agent.alerting.tracker import Observation, Scores, Track, Tracker
from edge_agent.camera.frames import Frame, Image
from edge_agent.config import Config
from edge_agent.vision.blazeface import BlazeFace
from edge_agent.vision.bundle import find_bundle, load_bundle
from edge_agent.vision.emotion import EmotionClassifier, Grouping, Probabilities
from edge_agent.vision.faces import Face, FaceDetector, crop_face, mask_zones, signature
from edge_agent.vision.gates import box_reason, crop_reason
from edge_agent.vision.yunet import YuNet

#: How much wider and higher than a still face the zone is that is proposed to ignore it.
_PROPOSED_MARGIN = 0.1
#: Overlap of a track's last box with a still face from which on they are the same.
_SAME_FACE = 0.5


@dataclass(frozen=True, slots=True)
class Judgement:
    """One face of one frame.

    Attributes:
        scores: float32 (groups,), probabilities; None when a gate kept it from being judged.
        brightness: mean of its crop, 0..255; 0 when it was not judged.
    """

    face: Face
    scores: Scores | None
    brightness: float


class Vision:
    """Detector and classifier, loaded as configured.

    Raises:
        BundleError: a model is missing or refused.
        ConfigError: a group names a label the model does not have.
    """

    def __init__(self, config: Config) -> None:
        self._faces, self._gates = config.faces, config.gates
        #: Blacked out before anything looks.
        self.ignore_zones = config.faces.ignore_zones
        #: Why faces were not judged → how often.
        self.abstained: Counter[str] = Counter()
        threads, runtime = config.performance.threads, config.performance.runtime
        self.detector: FaceDetector
        if config.faces.yunet_weights is not None and config.faces.detector == "yunet":
            self.detector = YuNet(
                config.faces.yunet_weights, confidence=config.faces.confidence, nms_iou=config.faces.nms_iou
            )
        else:
            self.detector = BlazeFace(
                load_bundle(find_bundle(config.faces.detector), kind="face-detector"),
                confidence=config.faces.confidence,
                nms_iou=config.faces.nms_iou,
                threads=threads,
                runtime=runtime,
            )
        bundle = load_bundle(find_bundle(config.emotion.model), kind="emotion-classifier")
        self.classifier = EmotionClassifier(bundle, threads=threads, runtime=runtime)
        self.grouping = Grouping.of(config.emotion.groups, self.classifier.labels)
        self._framing = self.classifier.framing(config.faces.detector)

    def find_faces(self, image: Image) -> list[Face]:
        """Mask ignored zones, in place, and return the faces large enough to judge, best first."""
        mask_zones(image, self.ignore_zones)
        found = self.detector.detect(image)
        large = [face for face in found if face.width >= self._faces.min_face_px]
        judged = large[: self._faces.max_faces]
        if len(judged) < len(found):
            self.abstained["too_small"] += len(found) - len(large)
            self.abstained["too_many"] += len(large) - len(judged)
        return judged

    def classify(self, image: Image, faces: list[Face]) -> Probabilities:
        """Return float32 (faces, labels) probabilities, whatever the gates say."""
        return self.classifier.classify([self._crop(image, face) for face in faces])

    def judge(self, image: Image, faces: list[Face]) -> list[Judgement]:
        """Judge each face that the gates let pass; count the others by reason."""
        height, width = image.shape[:2]
        judgements: list[Judgement] = []
        for face in faces:
            reason = box_reason(face, width=width, height=height, limits=self._gates)
            if not reason:
                crop = self._crop(image, face)
                reason = crop_reason(crop, self._gates)
            if reason:
                self.abstained[reason] += 1
                judgements.append(Judgement(face, None, 0.0))
            else:
                scores = self.grouping.apply(self.classifier.classify([crop]))[0]
                judgements.append(Judgement(face, scores, float(crop.mean())))
        return judgements

    def _crop(self, image: Image, face: Face) -> npt.NDArray[np.uint8]:
        return crop_face(image, face, self._framing, self.classifier.side_px)


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
    """The whole way from a frame to alerts; also used by the demo and the benchmark."""

    def __init__(self, config: Config, *, new_id: Callable[[], str]) -> None:
        self.vision = Vision(config)
        self.groups = self.vision.grouping.names
        self._tracker = Tracker(config.tracking, config.zones)
        #: Faces that are no customers.
        self.still_places = StillPlaces(config.tracking.still_after_s)
        self._frame_size = (1, 1)
        point = self.vision.classifier.bundle.manifest.get("operating_point")
        thresholds = thresholds_for(config.rules, config.emotion.groups, point)
        self.rules = RuleEngine(
            config.rules, self.groups, thresholds=thresholds, new_id=new_id, tracking=config.tracking
        )

    def process(self, frame: Frame) -> Decision:
        """Look at one frame and decide what it leads to."""
        return self.decide(self.look(frame), frame.time_s)

    def look(self, frame: Frame) -> Look:
        """Find and judge the faces of one frame; ignored zones are blacked out in it."""
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
            middle = ((left + right) / 2, (top + bottom) / 2)
            zones = (np.array(zone, dtype=np.float32) for zone in self.vision.ignore_zones)
            if any(cv2.pointPolygonTest(zone, middle, measureDist=False) >= 0 for zone in zones):
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
