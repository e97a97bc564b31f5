"""When to abstain: a face the classifier would only guess at is seen, but not judged.

Each gate is a plain measurement of the box or of the crop, with a limit in the configuration. What it keeps out is
counted by reason and published in `health`.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.config import Gates
from edge_agent.vision.faces import Face

#: Reasons, in the order in which they are looked for.
REASONS = ("cut_off", "turned_away", "too_bright", "low_contrast", "too_dark", "blurred")
#: Grey levels from here on are clipped: what was there is gone.
SATURATED = 250
#: Distance of a frontal face's eyes, as a share of its width, and how much it varies from frame to frame when the face
#: is as wide as the frame's longer side; in smaller faces it varies as much more as they are smaller (docs/tuning.md).
_FRONTAL_EYES = 0.38
_EYE_NOISE = 0.0035
#: Rounding to whole grey levels has a variance of 1/12; the Laplacian's weights, 1 four times and -4, make it 20/12.
_ROUNDING_VARIANCE = 20 / 12


def box_reason(face: Face, *, width: int, height: int, limits: Gates) -> str:
    """Return why a face cannot be judged where it is, one of REASONS, or nothing.

    Args:
        width, height: of the frame, in pixels.
    """
    wide = min(face.x + face.width, width) - max(face.x, 0)
    high = min(face.y + face.height, height) - max(face.y, 0)
    inside = max(0.0, wide) * max(0.0, high) / (face.width * face.height)
    if 1 - inside > limits.max_cut_off:
        return "cut_off"
    (rx, ry), (lx, ly) = face.right_eye, face.left_eye
    # A head that turns by an angle brings its eyes together by about the cosine of it; a small frontal face seems to
    # turn by noise alone, so the limit stays three deviations below what is usual.
    noise = _EYE_NOISE * max(width, height) / face.width
    limit = min(limits.min_eye_distance, _FRONTAL_EYES - 3 * noise)
    return "turned_away" if math.hypot(lx - rx, ly - ry) / face.width < limit else ""


def crop_reason(crop: npt.NDArray[np.uint8], limits: Gates) -> str:
    """Return why a crop cannot be judged, one of REASONS, or nothing.

    Exposure alone is no reason, dark skin and dim light are brightened before they are judged; what counts is how much
    of the face's detail the camera has delivered.

    Args:
        crop: uint8 (side, side), grey, as the camera delivered it, not brightened.
    """
    mean, deviation = float(crop.mean()), float(crop.std())
    if float((crop >= SATURATED).mean()) > limits.max_saturated:
        return "too_bright"
    if deviation < limits.min_relative_contrast * mean:
        return "low_contrast"
    # So few grey levels that brightening makes steps and noise of them.
    if deviation < limits.min_deviation:
        return "too_dark"
    return "blurred" if sharpness(crop) < limits.min_sharpness else ""


def sharpness(crop: npt.NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian, less what rounding adds, over the variance of the picture.

    The variance of the Laplacian as a measure of focus is by Pech-Pacheco et al., "Diatom autofocusing in brightfield
    microscopy" (2000); divided by the picture's own variance it does not depend on contrast. Of FER2013's test faces
    99.9 % are above 0.13; blurred with a deviation of 1.5 pixels half of them are below 0.023.
    """
    variance = max(float(crop.astype(np.float32).var()), 1e-6)
    edges = float(cv2.Laplacian(crop, cv2.CV_32F).var())
    return max(0.0, edges - _ROUNDING_VARIANCE) / variance
