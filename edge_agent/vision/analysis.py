"""The faces of one frame: found, let pass by the gates, and judged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent.camera.frames import Image
from edge_agent.config import Config
from edge_agent.vision.bundle import Bundle
from edge_agent.vision.emotion import EmotionSums, Probabilities
from edge_agent.vision.faces import Face, crop_face
from edge_agent.vision.gates import box_reason, crop_reason
from edge_agent.vision.loading import Loader
from edge_agent.vision.manifest import ClassifierManifest


@dataclass(frozen=True, slots=True)
class Judgement:
    """One face of one frame.

    Attributes:
        scores: float32 (emotions,), probabilities of the configured ones; None when a gate kept it from being judged.
        brightness: mean of its crop, 0..255; 0 when it was not judged.
    """

    face: Face
    scores: Probabilities | None
    brightness: float


class Vision:
    """Detector and classifier, loaded as configured.

    Args:
        bundle: of the classifier, where it is loaded already.
        loader: shares models with others that it loaded them for.

    Raises:
        BundleError: a model is missing or refused.
        ConfigError: a group names a label the model does not have.
    """

    def __init__(
        self, config: Config, bundle: Bundle[ClassifierManifest] | None = None, *, loader: Loader | None = None
    ) -> None:
        self._faces, self._gates = config.faces, config.gates
        #: Why faces were not judged → how often.
        self.abstained: Counter[str] = Counter()
        loader = Loader() if loader is None else loader
        self.detector = loader.detector(config)
        self.classifier = loader.classifier(config, bundle)
        self.emotions = EmotionSums.of(config.emotion.emotions, self.classifier.labels)
        self._framing = self.classifier.framing(config.faces.detector)

    def find_faces(self, image: Image) -> list[Face]:
        """Return the faces large enough to judge, best first; count the others.

        Args:
            image: uint8 (height, width, 3), BGR; ignored zones are masked already.
        """
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
                scores = self.emotions.apply(self.classifier.classify([crop]))[0]
                judgements.append(Judgement(face, scores, float(crop.mean())))
        return judgements

    def _crop(self, image: Image, face: Face) -> npt.NDArray[np.uint8]:
        return crop_face(image, face, self._framing, self.classifier.side_px)
