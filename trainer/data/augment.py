"""Vary a face the way a detector's crop, a lens and a room vary it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from trainer.data.datasets import SIDE_PX

Faces = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def augment(faces: Faces, random: np.random.Generator, *, margin_px: int = 0) -> Faces:
    """Return randomly changed copies, each face its own.

    Geometry: rotation ±15°, scale ±15 %, shift ±8 % of the side, horizontal flip; beyond the picture its edge repeats.
    Photometry: brightness ±40 grey levels, contrast 0.6..1.4, shrink-and-enlarge blur (a small face far
    from the camera), a room with a seventh to two thirds of the light, sensor noise, JPEG compression, and one erased
    rectangle (Zhong et al., "Random Erasing Data Augmentation", 2017).

    Args:
        faces: uint8 (n, side, side), grey, 0..255.
        margin_px: on each side, what a picture shows beyond the face; it is what turning and shifting bring in.

    Returns:
        uint8 (n, 48, 48), grey, 0..255.
    """
    return np.stack([_photometry(_geometry(face, margin_px, random), random) for face in faces])


def blend_pairs(
    inputs: Floats, targets: Floats, weights: Floats, random: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Blend each face, its target and its weight with another of the batch (Zhang et al., "mixup", 2018).

    Args:
        inputs: float32 (n, side, side, 1).
        targets: float32 (n, classes), rows sum to 1.
        weights: float32 (n,), how much each face counts.

    Returns:
        Same shapes, dtypes and ranges; one share from Beta(0.4, 0.4) for the whole batch.
    """
    share = np.float32(random.beta(0.4, 0.4))
    other = random.permutation(len(inputs))
    blended = [share * values + (1 - share) * values[other] for values in (inputs, targets, weights)]
    return blended[0], blended[1], blended[2]


def patch_pairs(
    inputs: Floats, targets: Floats, weights: Floats, random: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Cover a rectangle of each face with the same part of another of the batch (Yun et al., "CutMix", 2019).

    Targets and weights are blended by the share of the picture that is left.

    Args:
        inputs: float32 (n, side, side, 1).
        targets: float32 (n, classes), rows sum to 1.
        weights: float32 (n,), how much each face counts.

    Returns:
        Same shapes, dtypes and ranges; one rectangle for the whole batch, its area uniform in 0..1 before the
        picture's border cuts it.
    """
    side = inputs.shape[1]
    half = side * np.sqrt(random.random()) / 2
    centre = random.uniform(0, side, 2)
    top, left = np.clip(np.rint(centre - half), 0, side).astype(int)
    bottom, right = np.clip(np.rint(centre + half), 0, side).astype(int)
    other = random.permutation(len(inputs))
    patched = inputs.copy()
    patched[:, top:bottom, left:right] = inputs[other, top:bottom, left:right]
    share = np.float32(1 - (bottom - top) * (right - left) / side**2)
    return patched, share * targets + (1 - share) * targets[other], share * weights + (1 - share) * weights[other]


def _geometry(picture: Faces, margin_px: int, random: np.random.Generator) -> Faces:
    side = picture.shape[0]
    scale = SIDE_PX / (side - 2 * margin_px)
    middle = side / 2 - 0.5
    matrix = cv2.getRotationMatrix2D((middle, middle), random.uniform(-15, 15), scale * random.uniform(0.85, 1.15))
    matrix[:, 2] += SIDE_PX / 2 - 0.5 - middle + random.uniform(-0.08, 0.08, 2) * SIDE_PX
    if random.random() < 0.5:
        matrix = matrix @ np.array([[-1, 0, side - 1], [0, 1, 0], [0, 0, 1.0]])
    turned = cv2.warpAffine(
        picture, matrix, (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(turned, dtype=np.uint8)


def _photometry(face: Faces, random: np.random.Generator) -> Faces:
    side = face.shape[0]
    if random.random() < 0.25:
        small = int(random.integers(side // 2, side))
        shrunk = cv2.resize(face, (small, small), interpolation=cv2.INTER_AREA)
        face = np.asarray(cv2.resize(shrunk, (side, side), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    if random.random() < 0.7:
        mean = float(face.mean())
        gain, offset = random.uniform(0.6, 1.4), random.uniform(-40, 40)
        table = np.clip((np.arange(256) - mean) * gain + mean + offset, 0, 255).astype(np.uint8)
        face = table[face]
    if random.random() < 0.2:
        face = _noisy(np.rint(face * random.uniform(0.15, 0.7)), random.uniform(0, 2), random)
    if random.random() < 0.2:
        face = _noisy(face, random.uniform(2, 10), random)
    if random.random() < 0.2:
        _, packed = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(30, 90))])
        face = np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
    if random.random() < 0.2:
        height, width = random.integers(side // 8, side // 3, 2)
        top, left = random.integers(0, side - height), random.integers(0, side - width)
        face[top : top + height, left : left + width] = random.integers(0, 256)
    return face


def _noisy(face: npt.NDArray[Any], deviation: float, random: np.random.Generator) -> Faces:
    noisy = np.rint(face + random.normal(0, deviation, face.shape))
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)
