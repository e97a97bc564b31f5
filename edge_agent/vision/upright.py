"""Which way is up: by faces, in a picture and in the same turned."""

from __future__ import annotations

import cv2

from edge_agent.camera.frames import Image
from edge_agent.config import Gates
from edge_agent.vision.faces import Face
from edge_agent.vision.gates import box_reason

#: A face that leans no more is upright.
UPRIGHT_DEG = 45.0
#: Degrees clockwise → what turns a picture so; the likeliest first.
TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 270: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180}


def stands_upright(face: Face, image: Image, limits: Gates) -> bool:
    """Tell whether a face of a picture stands upright and could be judged.

    Args:
        image: uint8 (height, width, 3), BGR, in which it was found.
    """
    height, width = image.shape[:2]
    return abs(face.roll_deg) < UPRIGHT_DEG and not box_reason(face, width=width, height=height, limits=limits)
