"""BlazeFace: anchors, decoding and weighted non-maximum suppression.

Method: Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs" (2019); weights
and anchor layout as published with MediaPipe's face detection (full range: one anchor a cell of a 48x48
grid; short range: two a cell of 16x16 and six of 8x8).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.camera.frames import Image
from edge_agent.errors import BundleError
from edge_agent.vision.bundle import Bundle, check_tensor
from edge_agent.vision.faces import Face
from edge_agent.vision.manifest import AnchorLayer, DetectorManifest
from edge_agent.vision.runtime import Choice, load_interpreter

Floats = npt.NDArray[np.float32]


class BlazeFace:
    """A face detector for BGR frames; several threads may share it.

    Args:
        confidence: smallest score of a detection, 0..1.
        nms_iou: detections that overlap more than this are one face, 0..1.

    Raises:
        BundleError: the bundle does not fit its manifest.
    """

    def __init__(
        self,
        bundle: Bundle[DetectorManifest],
        *,
        confidence: float = 0.6,
        nms_iou: float = 0.3,
        threads: int = 1,
        runtime: Choice = "auto",
    ) -> None:
        self._interpreter: Any = load_interpreter(bundle.model, threads=threads, choice=runtime)
        [input_tensor] = self._interpreter.get_input_details()
        outputs = {str(tensor["name"]): tensor for tensor in self._interpreter.get_output_details()}
        stated = bundle.manifest
        check_tensor(bundle, input_tensor, stated.input, "input")
        self._input_index = input_tensor["index"]
        indices = []
        for name, part in (("outputs.boxes", stated.outputs.boxes), ("outputs.scores", stated.outputs.scores)):
            if part.name not in outputs:
                raise BundleError(f"{bundle.folder}: the model has no output {part.name!r}, as {name} says")
            check_tensor(bundle, outputs[part.name], part, name)
            indices.append(outputs[part.name]["index"])
        self._boxes_index, self._scores_index = indices
        self._side = stated.input.shape[1]
        self._anchors = make_anchors(stated.anchors, self._side)
        self._confidence, self._nms_iou = confidence, nms_iou
        self._input = np.empty((1, self._side, self._side, 3), dtype=np.float32)
        self._lock = threading.Lock()

    def detect(self, image: Image) -> list[Face]:
        """Find faces, best first.

        Args:
            image: uint8 (height, width, 3), BGR.

        Returns:
            Faces in pixels of `image`; boxes may reach beyond its edges.
        """
        with self._lock:
            scale, left, top = self._letterbox(image)
            self._interpreter.set_tensor(self._input_index, self._input)
            self._interpreter.invoke()
            raw_boxes = self._interpreter.get_tensor(self._boxes_index)[0]
            logits = self._interpreter.get_tensor(self._scores_index)[0, :, 0]
        scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
        rows = np.flatnonzero(scores > self._confidence)
        points = decode(raw_boxes[rows], self._anchors[rows], self._side)
        valid = (points[:, 1] > points[:, 0]).all(axis=1)
        kept, kept_scores = weighted_nms(points[valid], scores[rows][valid], self._nms_iou)
        kept = (kept * self._side - (left, top)) / scale
        return [_to_face(points, float(score)) for points, score in zip(kept, kept_scores, strict=True)]

    def _letterbox(self, image: Image) -> tuple[float, float, float]:
        """Fill the input tensor with the image, RGB, -1..1, centred on black; return scale and offsets."""
        height, width = image.shape[:2]
        scale = self._side / max(height, width)
        new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(image, (new_width, new_height), interpolation=method)
        left, top = (self._side - new_width) // 2, (self._side - new_height) // 2
        self._input.fill(-1.0)
        target = self._input[0, top : top + new_height, left : left + new_width]
        np.multiply(small[:, :, ::-1], 1 / 127.5, out=target, casting="unsafe")
        target -= 1.0
        return scale, left, top


def make_anchors(layers: Sequence[AnchorLayer], side: int) -> Floats:
    """Return anchor centres, float32 (n, 2), x and y as shares of the input side, 0..1.

    Args:
        layers: feature maps in output order.
        side: input side in pixels.
    """
    parts = []
    for layer in layers:
        cells = side // layer.stride
        centres = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        x, y = np.meshgrid(centres, centres)
        parts.append(np.stack([x, y], axis=-1).reshape(-1, 2).repeat(layer.per_cell, axis=0))
    return np.concatenate(parts).astype(np.float32)


def decode(raw: Floats, anchors: Floats, side: int) -> Floats:
    """Turn regressor outputs into points.

    Args:
        raw: float32 (n, 16): centre, size and six key points, each x and y in input pixels relative to the anchor.
        anchors: float32 (n, 2), 0..1.

    Returns:
        float32 (n, 8, 2), shares of the input side: top left, bottom right, right eye, left eye, nose tip,
        mouth, right and left ear (the person's right).
    """
    points = (raw.reshape(-1, 8, 2) / side).astype(np.float32)
    centre, half = points[:, 0] + anchors, points[:, 1] / 2
    points[:, 2:] += anchors[:, None]
    points[:, 0], points[:, 1] = centre - half, centre + half
    return points


def weighted_nms(points: Floats, scores: Floats, iou: float) -> tuple[Floats, Floats]:
    """Merge overlapping detections into their score-weighted mean, which keeps the best score.

    BlazeFace's own variant of non-maximum suppression; it steadies boxes between frames.

    Args:
        points: float32 (n, 8, 2), the first two the box corners.
        scores: float32 (n,).
        iou: intersection over union beyond which two are merged.

    Returns:
        Points float32 (m, 8, 2) and scores float32 (m,), best first.
    """
    order = np.argsort(-scores, kind="stable")
    merged, best = [], []
    while order.size:
        overlap = intersection_over_union(points[order[0], :2], points[order, :2])
        group = order[overlap > iou]
        merged.append(np.average(points[group], axis=0, weights=scores[group]))
        best.append(scores[order[0]])
        order = order[overlap <= iou]
    return np.array(merged, dtype=np.float32).reshape(-1, 8, 2), np.array(best, dtype=np.float32)


def intersection_over_union(box: Floats, others: Floats) -> Floats:
    """Return the overlap, 0..1, float32 (n,), of one box (2, 2) with others (n, 2, 2) given by their corners."""
    size = np.clip(np.minimum(box[1], others[:, 1]) - np.maximum(box[0], others[:, 0]), 0, None)
    shared = size.prod(axis=1)
    union = (box[1] - box[0]).prod() + (others[:, 1] - others[:, 0]).prod(axis=1) - shared
    overlap: Floats = shared / np.maximum(union, 1e-12)
    return overlap


def _to_face(points: Floats, score: float) -> Face:
    corner, size = points[0], points[1] - points[0]
    right_eye, left_eye = points[2], points[3]
    return Face(
        x=float(corner[0]),
        y=float(corner[1]),
        width=float(size[0]),
        height=float(size[1]),
        confidence=score,
        right_eye=(float(right_eye[0]), float(right_eye[1])),
        left_eye=(float(left_eye[0]), float(left_eye[1])),
    )
