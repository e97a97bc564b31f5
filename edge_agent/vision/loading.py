"""Loads the detector and the classifier that a configuration names; devices of one process share what is alike."""

from __future__ import annotations

import threading
from weakref import WeakValueDictionary

from edge_agent.config import Config
from edge_agent.vision.blazeface import BlazeFace
from edge_agent.vision.bundle import Bundle, find_bundle, load_bundle
from edge_agent.vision.emotion import EmotionClassifier
from edge_agent.vision.faces import FaceDetector
from edge_agent.vision.manifest import ClassifierManifest
from edge_agent.vision.yunet import YuNet


class Loader:
    """Loads each once, as long as somebody uses it; one at a time looks through it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._detectors: WeakValueDictionary[object, FaceDetector] = WeakValueDictionary()
        self._classifiers: WeakValueDictionary[object, EmotionClassifier] = WeakValueDictionary()

    def detector(self, config: Config) -> FaceDetector:
        """Return the configured detector.

        Raises:
            BundleError: it is missing or refused.
        """
        faces, performance = config.faces, config.performance
        key = (
            faces.detector, faces.yunet_weights, faces.confidence, faces.nms_iou, performance.threads,
            performance.runtime,
        )  # fmt: skip
        with self._lock:
            found = self._detectors.get(key)
            if found is None:
                found = self._detectors[key] = _detector(config)
            return found

    def classifier(self, config: Config, bundle: Bundle[ClassifierManifest] | None = None) -> EmotionClassifier:
        """Return the configured classifier.

        Args:
            bundle: of the classifier, where it is loaded already; the configured one by default.

        Raises:
            BundleError: it is missing or refused.
        """
        if bundle is None:
            bundle = load_bundle(find_bundle(config.emotion.model), kind="emotion-classifier")
        threads, runtime = config.performance.threads, config.performance.runtime
        key = (bundle.folder, bundle.sha256, threads, runtime)
        with self._lock:
            found = self._classifiers.get(key)
            if found is None:
                found = self._classifiers[key] = EmotionClassifier(bundle, threads=threads, runtime=runtime)
            return found


def _detector(config: Config) -> FaceDetector:
    faces, performance = config.faces, config.performance
    if faces.yunet_weights is not None and faces.detector == "yunet":
        return YuNet(faces.yunet_weights, confidence=faces.confidence, nms_iou=faces.nms_iou)
    return BlazeFace(
        load_bundle(find_bundle(faces.detector), kind="face-detector"),
        confidence=faces.confidence,
        nms_iou=faces.nms_iou,
        threads=performance.threads,
        runtime=performance.runtime,
    )
