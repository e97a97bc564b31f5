"""Scores the faces of still pictures, whatever their size."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_agent.camera.frames import Image
from edge_agent.camera.opencv import read_image
from edge_agent.config import Config
from edge_agent.errors import CameraError
from edge_agent.vision.analysis import Vision
from edge_agent.vision.faces import Face
from edge_agent.vision.zones import IgnoredZones

#: Pictures are also searched in overlapping tiles no larger than this, for faces too small in the whole.
_TILE_PX = 400
#: Larger pictures are shrunk to this side first; faces that vanish then are too small to judge anyway.
_MAX_SIDE_PX = 4000
_MIN_FACE_PX = 16
_SAME_FACE_IOU = 0.3


class Classifier:
    """Detector and classifier as configured, for pictures instead of frames.

    Raises:
        BundleError: a model is missing or refused.
    """

    def __init__(self, config: Config) -> None:
        faces = dataclasses.replace(config.faces, min_face_px=_MIN_FACE_PX, max_faces=64)
        self._vision, self._zones = (
            Vision(dataclasses.replace(config, faces=faces)),
            IgnoredZones(config.faces.ignore_zones),
        )

    def classify(self, path: Path, *, annotated: Path | None, several: bool) -> dict[str, Any]:
        """Return what was found in one picture, and write an annotated copy if asked.

        Returns:
            image, width, height, and faces: each with box (x, y, width, height in pixels), confidence,
            scores by emotion and scores by label; shares are 0..1.

        Raises:
            CameraError: the picture cannot be read, or the copy cannot be written.
        """
        image = read_image(path)
        height, width = image.shape[:2]
        shrink = min(1.0, _MAX_SIDE_PX / max(height, width))
        if shrink < 1:
            size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        self._zones.mask(image)
        faces = self._find(image)
        probabilities = self._vision.classify(image, faces)
        grouped = self._vision.emotions.apply(probabilities)
        labels, emotions = self._vision.classifier.labels, self._vision.emotions.names
        result = {
            "image": str(path),
            "width": width,
            "height": height,
            "faces": [
                {
                    "box": {
                        "x": round(face.x / shrink),
                        "y": round(face.y / shrink),
                        "width": round(face.width / shrink),
                        "height": round(face.height / shrink),
                    },
                    "confidence": round(face.confidence, 3),
                    "scores": {name: round(float(score), 4) for name, score in zip(emotions, by_emotion, strict=True)},
                    "labels": {name: round(float(score), 4) for name, score in zip(labels, by_label, strict=True)},
                }
                for face, by_emotion, by_label in zip(faces, grouped, probabilities, strict=True)
            ],
        }
        if annotated is not None:
            _write(annotated / path.name if several or annotated.is_dir() else annotated, image, faces, result)
        return result

    def _find(self, image: Image) -> list[Face]:
        """Search the whole picture, then its tiles, then, if it is all face, the picture with room around it."""
        found = self._vision.find_faces(image)
        height, width = image.shape[:2]
        if max(height, width) > _TILE_PX:
            for top in _starts(height):
                for left in _starts(width):
                    tile = np.ascontiguousarray(image[top : top + _TILE_PX, left : left + _TILE_PX])
                    found += [_moved(face, left, top) for face in self._vision.find_faces(tile)]
        if not found:
            pad = max(height, width) // 2
            roomy = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(128, 128, 128))
            found = [_moved(face, -pad, -pad) for face in self._vision.find_faces(np.asarray(roomy, dtype=np.uint8))]
        return _distinct(found)


def _starts(length: int) -> list[int]:
    """Return where tiles of _TILE_PX begin so that they cover `length` and overlap by at least a quarter."""
    if length <= _TILE_PX:
        return [0]
    count = int(np.ceil((length - _TILE_PX) / (_TILE_PX * 0.75))) + 1
    return [round(start) for start in np.linspace(0, length - _TILE_PX, count)]


def _moved(face: Face, dx: int, dy: int) -> Face:
    (rx, ry), (lx, ly) = face.right_eye, face.left_eye
    return dataclasses.replace(
        face, x=face.x + dx, y=face.y + dy, right_eye=(rx + dx, ry + dy), left_eye=(lx + dx, ly + dy)
    )


def _distinct(faces: list[Face]) -> list[Face]:
    """Return faces without those found twice: the larger box stays, tiles cut faces."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: -f.width * f.height):
        if all(face.overlap(other) < _SAME_FACE_IOU for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda f: -f.confidence)


def check_target(images: list[Path], out: Path | None) -> None:
    """Raise CameraError when `--out` would overwrite a picture or is not a folder for several."""
    if out is None:
        return
    if len(images) > 1 and not out.is_dir():
        raise CameraError(f"--out {out} must be an existing folder for {len(images)} images")
    targets = [out / image.name if out.is_dir() else out for image in images]
    if any(
        target.exists() and image.exists() and target.samefile(image)
        for target, image in zip(targets, images, strict=True)
    ):
        raise CameraError(f"--out {out} would overwrite the picture itself")


def _write(target: Path, image: Image, faces: list[Face], result: dict[str, Any]) -> None:
    canvas = image.copy()
    thickness = max(1, round(max(image.shape[:2]) / 400))
    for face, found in zip(faces, result["faces"], strict=True):
        best = max(found["scores"], key=lambda name: found["scores"][name])
        colour = (60, 60, 230) if best == "angry" else (80, 200, 80)
        x, y = round(face.x), round(face.y)
        cv2.rectangle(canvas, (x, y), (x + round(face.width), y + round(face.height)), colour, thickness)
        text = f"{best} {found['scores'][best]:.2f}"
        cv2.putText(canvas, text, (x, max(12, y - 4)), cv2.FONT_HERSHEY_SIMPLEX, 0.5 * thickness, colour, thickness)
    try:
        written = cv2.imwrite(str(target), canvas)
    except cv2.error:
        written = False
    if not written:
        raise CameraError(f"cannot write {target}; give a writable .jpg or .png name")


def as_text(result: dict[str, Any]) -> str:
    """Return one picture's result for a terminal."""
    count = len(result["faces"])
    lines = [f"{result['image']}  {result['width']}x{result['height']}  {count} face{'' if count == 1 else 's'}"]
    for face in result["faces"]:
        box = face["box"]
        scores = "  ".join(f"{name} {score:.2f}" for name, score in face["scores"].items())
        lines.append(
            f"  at {box['x']},{box['y']} size {box['width']}x{box['height']} ({face['confidence']:.2f})  {scores}"
        )
    return "\n".join(lines)
