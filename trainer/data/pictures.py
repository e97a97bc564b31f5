"""Read a picture of whatever format phones and data sets have."""

from __future__ import annotations

import functools
import io
import warnings
from typing import Any

import cv2
import numpy as np

from edge_agent.camera.frames import Image

_MAX_SIDE_PX = 1280


@functools.cache
def reads_heic() -> bool:
    """Tell whether pictures of iPhones can be read, which takes pillow-heif."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def decode(content: bytes) -> Image | None:
    """Return a picture turned as its EXIF orientation says, its longer side at most 1280 px.

    Args:
        content: the file's.

    Returns:
        uint8 (height, width, 3), BGR; None if it is no picture that can be read, or is cut off.
    """
    from PIL import Image as PillowImage  # here, so that trainer can say what is missing without the extra `train`

    reads_heic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata, many pixels
            with PillowImage.open(io.BytesIO(content)) as picture:
                # Some releases of OpenCV fill up grey what a file that is cut off lacks; this raises.
                picture.load()
                image = _pixels(content, picture)
    except Exception:  # decoders raise many kinds for files that are spoilt
        return None
    shrink = _MAX_SIDE_PX / max(image.shape[:2])
    if shrink < 1:
        image = np.asarray(cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return image


def _pixels(content: bytes, picture: Any) -> Image:
    """Return what OpenCV reads, which keeps the shades of 16 bits that Pillow cuts off, or else what Pillow does."""
    from PIL import ImageOps

    image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        image = cv2.cvtColor(np.asarray(ImageOps.exif_transpose(picture).convert("RGB")), cv2.COLOR_RGB2BGR)
    return np.asarray(image, dtype=np.uint8)
