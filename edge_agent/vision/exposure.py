"""Bring a dark crop to the exposure the classifier knows, so that dim light and dark skin are judged alike.

A linear gain, as a longer exposure would have given; what it amplifies besides the face is the sensor's noise, which
training shows the classifier as well.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Crops whose highlights (PERCENTILE of the pixels) are darker than this are brightened until they reach it.
HIGHLIGHTS = 110.0
PERCENTILE = 95
#: Beyond this gain there is more noise than face.
MAX_GAIN = 8.0


def normalise_exposure(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a crop whose highlights are at least HIGHLIGHTS, or MAX_GAIN times as bright as they were.

    Args:
        crop: uint8 (side, side), grey, 0..255.

    Returns:
        Same shape and dtype; the crop itself where it is bright enough.
    """
    highlights = float(np.percentile(crop, PERCENTILE))
    if highlights >= HIGHLIGHTS:
        return crop
    gain = min(MAX_GAIN, HIGHLIGHTS / max(highlights, 1.0))
    table = np.minimum(np.rint(np.arange(256) * gain), 255).astype(np.uint8)
    brightened: npt.NDArray[np.uint8] = table[crop]
    return brightened
