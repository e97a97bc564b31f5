"""Faces: what a detector returns, what is masked before it looks, and the crop the classifier sees."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.camera.frames import Image
from edge_agent.vision.manifest import Framing

_SIGNATURE_SIDE = 16


@dataclass(frozen=True, slots=True)
class Face:
    """A detected face, in pixels of the frame, origin top left.

    Attributes:
        x, y, width, height: bounding box; may reach beyond the frame.
        confidence: 0..1.
        right_eye, left_eye: centres (x, y); right is the person's right, so it has the smaller x.
    """

    x: float
    y: float
    width: float
    height: float
    confidence: float
    right_eye: tuple[float, float]
    left_eye: tuple[float, float]

    def overlap(self, other: Face) -> float:
        """Return the intersection over union of the two boxes, 0..1."""
        wide = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        high = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        shared = max(0.0, wide) * max(0.0, high)
        return shared / max(self.width * self.height + other.width * other.height - shared, 1e-9)

    def scaled(self, x: float, y: float) -> Face:
        """Return the face in a picture whose width and height are multiplied by these."""
        (rx, ry), (lx, ly) = self.right_eye, self.left_eye
        return replace(
            self, x=self.x * x, y=self.y * y, width=self.width * x, height=self.height * y,
            right_eye=(rx * x, ry * y), left_eye=(lx * x, ly * y),
        )  # fmt: skip

    @property
    def roll_deg(self) -> float:
        """Tilt of the head in degrees, -180..180; positive is clockwise on the picture."""
        dx, dy = self.left_eye[0] - self.right_eye[0], self.left_eye[1] - self.right_eye[1]
        return math.degrees(math.atan2(dy, dx)) if dx or dy else 0.0


class FaceDetector(Protocol):
    """Finds faces in BGR frames; `BlazeFace` and `YuNet` are the two."""

    def detect(self, image: Image) -> list[Face]:
        """Return the faces of a uint8 (height, width, 3) BGR frame, best first, in its pixels."""


def crop_face(image: Image, face: Face, framing: Framing, side_px: int) -> npt.NDArray[np.uint8]:
    """Cut out a face, upright and grey, framed the way the classifier's training faces are.

    Args:
        image: uint8 (height, width, 3), BGR.
        side_px: side of the result.

    Returns:
        uint8 (side_px, side_px), grey; beyond the frame's edges the border repeats.
    """
    side = framing.side * face.width
    radians = math.radians(face.roll_deg)
    shift = framing.shift_y * face.height
    # The box's centre moves along the face's own vertical, which roll has tilted.
    centre_x = face.x + face.width / 2 - shift * math.sin(radians)
    centre_y = face.y + face.height / 2 + shift * math.cos(radians)
    step = side / side_px
    cos, sin = math.cos(radians) * step, math.sin(radians) * step
    middle = (side_px - 1) / 2
    to_source = np.array(
        [
            [cos, -sin, centre_x - cos * middle + sin * middle],
            [sin, cos, centre_y - sin * middle - cos * middle],
        ]
    )
    if step > 2:
        # Bilinear sampling looks at four pixels; average beforehand what lies between.
        return _crop_large(image, to_source, side_px, step)
    crop = cv2.warpAffine(
        image, to_source, (side_px, side_px), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.asarray(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), dtype=np.uint8)


def signature(image: Image, box: tuple[float, float, float, float]) -> npt.NDArray[np.float32]:
    """Return what a rectangle shows, so coarse that nobody can be told by it, without slow changes of light across it.

    Args:
        image: uint8 (height, width, 3), BGR.
        box: left, top, right, bottom, as shares of width and height; what lies beyond the frame is left out.

    Returns:
        float32 (_SIGNATURE_SIDE, _SIGNATURE_SIDE), grey levels, around 0.
    """
    height, width = image.shape[:2]
    left, top = min(max(0, round(box[0] * width)), width - 1), min(max(0, round(box[1] * height)), height - 1)
    right, bottom = max(left + 1, round(box[2] * width)), max(top + 1, round(box[3] * height))
    grey = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_BGR2GRAY).astype(np.float32)
    coarse = cv2.resize(grey, (_SIGNATURE_SIDE, _SIGNATURE_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(coarse - cv2.GaussianBlur(coarse, (0, 0), 0.15 * _SIGNATURE_SIDE), dtype=np.float32)


def _crop_large(image: Image, to_source: npt.NDArray[np.float64], side_px: int, step: float) -> npt.NDArray[np.uint8]:
    """Sample at a whole multiple of the wanted side, then shrink by area averaging."""
    factor = math.ceil(step / 2)
    fine = to_source.copy()
    fine[:, :2] /= factor
    fine[:, 2] -= fine[:, :2] @ np.full(2, (factor - 1) / 2)
    size = side_px * factor
    crop = cv2.warpAffine(
        image, fine, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(grey, (side_px, side_px), interpolation=cv2.INTER_AREA), dtype=np.uint8)
