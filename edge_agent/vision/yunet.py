"""YuNet through OpenCV, for operators who bring its weights (`face_detection_yunet_*.onnx`).

Wu et al., "YuNet: A Tiny Millisecond-level Face Detector" (2023); the weights are in OpenCV's model zoo.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import cv2
import numpy as np

from edge_agent.camera.frames import Image
from edge_agent.errors import BundleError
from edge_agent.vision.faces import Face

_WIDTH = 320


class YuNet:
    """A face detector for BGR frames; looks at them shrunk to 320 pixels' width. Several threads may share it.

    Raises:
        BundleError: the weights are missing or not YuNet's.
    """

    def __init__(self, weights: Path, *, confidence: float = 0.6, nms_iou: float = 0.3) -> None:
        if not os.path.isfile(weights):  # noqa: PTH113 - pathlib's raises where the folder may not be looked into
            raise BundleError(f"no YuNet weights at {weights}; download them from OpenCV's model zoo")
        try:
            self._detector = cv2.FaceDetectorYN.create(str(weights), "", (_WIDTH, 240), confidence, nms_iou)
        except cv2.error as error:
            raise BundleError(f"{weights} is not a YuNet model OpenCV can load: {error.err}") from None
        self._lock = threading.Lock()

    def detect(self, image: Image) -> list[Face]:
        """Find faces, best first; see `BlazeFace.detect`."""
        scale = _WIDTH / image.shape[1]
        size = (_WIDTH, max(1, round(image.shape[0] * scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        with self._lock:
            self._detector.setInputSize(size)
            _, rows = self._detector.detect(small)
        # Columns: x, y, width, height, then x and y of right eye, left eye, nose, mouth corners, then the score.
        found = [] if rows is None else sorted(np.asarray(rows), key=lambda row: -row[14])
        return [
            Face(
                x=float(row[0] / scale),
                y=float(row[1] / scale),
                width=float(row[2] / scale),
                height=float(row[3] / scale),
                confidence=float(row[14]),
                right_eye=(float(row[4] / scale), float(row[5] / scale)),
                left_eye=(float(row[6] / scale), float(row[7] / scale)),
            )
            for row in found
        ]
