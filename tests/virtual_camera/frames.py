"""Writes the demo clip's angry seconds as the pictures that libcamera's virtual camera shows: `frames.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2

from edge_agent.demo import CLIPS

_BEGIN_S, _END_S = 7.0, 14.0
#: libcamera's buffers end at a page; 640 x 512 x 1.5 bytes is a whole number of pages, 640 x 480 x 1.5 is not.
_BORDER_PX = 16

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
clip = cv2.VideoCapture(str(CLIPS["one"]))
rate_hz, written = clip.get(cv2.CAP_PROP_FPS), 0
clip.set(cv2.CAP_PROP_POS_MSEC, _BEGIN_S * 1000)
while written < (_END_S - _BEGIN_S) * rate_hz:
    _, picture = clip.read()
    picture = cv2.copyMakeBorder(cv2.resize(picture, (640, 480)), _BORDER_PX, _BORDER_PX, 0, 0, cv2.BORDER_REPLICATE)
    cv2.imwrite(str(folder / f"{written}.jpg"), picture)
    written += 1
