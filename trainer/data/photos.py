"""Photographs sorted into one folder for each expression, as people collect them with a phone.

The largest face of each photograph is found and cropped exactly as the agent does it, so that a network sees in
training what it will see at work.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.camera.frames import Image
from edge_agent.vision.blazeface import BlazeFace
from edge_agent.vision.bundle import find_bundle, load_bundle
from edge_agent.vision.faces import crop_face
from edge_agent.vision.manifest import Framing
from trainer.data.cleaning import near_duplicate_groups
from trainer.data.datasets import SIDE_PX, FaceDataset
from trainer.errors import DatasetError

#: How each detector's box becomes FER2013's framing: side in box widths, downward shift in box heights.
FRAMING = {
    "blazeface-full-range": Framing(side=1.20, shift_y=-0.05),
    "blazeface-short-range": Framing(side=1.12, shift_y=-0.10),
    "yunet": Framing(side=1.26, shift_y=-0.02),
}
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
TEST_FRACTION = 0.15
#: Difference hashes of a burst's pictures differ in a few of 64 bits, those of two people in about thirty.
_BURST_BITS = 8
_MAX_SIDE_PX = 1280
_DETECTOR = "blazeface-full-range"


def class_folders(folder: Path) -> list[Path]:
    """Return the subfolders that hold pictures, sorted by name."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and _pictures(path))


def load_photos(folder: Path, *, already_cropped: bool = False, seed: int = 1) -> FaceDataset:
    """Read `folder/CLASS/*.jpg`; the class names are the folders', in alphabetical order.

    About TEST_FRACTION of the faces become PublicTest, the rest Training; near-duplicates, such as the pictures
    of one burst, stay on one side.

    Args:
        already_cropped: pictures are faces framed as FER2013's; they are only shrunk and made grey.

    Raises:
        DatasetError: a picture cannot be read, or no face is found in any picture of a class.
    """
    folders = class_folders(folder)
    if len(folders) < 2:
        raise DatasetError(f"{folder} has pictures in {len(folders)} folders; at least two classes are needed")
    cropper = _shrink if already_cropped else _FaceCropper()
    faces: list[npt.NDArray[np.uint8]] = []
    digests: list[bytes] = []
    labels: list[int] = []
    faceless: list[Path] = []
    for code, class_folder in enumerate(folders):
        for path in _pictures(class_folder):
            content = path.read_bytes()
            face = cropper(_decode(content, path))
            if face is None:
                faceless.append(path)
            else:
                faces.append(face)
                digests.append(hashlib.sha256(content).digest())
                labels.append(code)
        if code not in labels:
            raise DatasetError(
                f"no face was found in any picture of {class_folder}; "
                "if they are cropped already, say --already-cropped"
            )
    unread = sorted({path.suffix.lower() or path.name for f in folders for path in _files(f) if not _is_picture(path)})
    if unread:
        print(f"{', '.join(unread)} files were left out; {', '.join(SUFFIXES)} are read", file=sys.stderr)
    if faceless:
        print(
            f"no face found in {len(faceless)} of {len(faceless) + len(faces)} pictures, {faceless[0]} first",
            file=sys.stderr,
        )
    stacked = np.stack(faces)
    usage = np.where(_held_out(stacked, digests, seed), "PublicTest", "Training")
    return FaceDataset(
        stacked, np.array(labels, dtype=np.int64), usage, None, tuple(f.name for f in folders), _BURST_BITS
    )


def _held_out(faces: npt.NDArray[np.uint8], digests: list[bytes], seed: int) -> npt.NDArray[np.bool_]:
    """Return which faces are kept for testing, bool (n,).

    Pictures of other scenes that are added to some dozens move none of these; one that joins a burst may move it.

    Args:
        digests: SHA-256 of each face's file, so that another machine, which may crop a pixel otherwise, keeps the same.
    """
    group = near_duplicate_groups(faces, bits=_BURST_BITS)
    # A group goes by the file with the lowest hash in it.
    lowest: dict[int, bytes] = {}
    for number, digest in zip(group.tolist(), digests, strict=True):
        lowest[number] = min(digest, lowest.get(number, digest))
    drawn = {
        number: int.from_bytes(hashlib.sha256(digest + bytes([seed])).digest()[:8], "big") / 2**64
        for number, digest in lowest.items()
    }
    ranked = sorted(drawn.values())
    limit = min(TEST_FRACTION, ranked[-1])  # chance must not take them all,
    if len(ranked) > 2:
        limit = max(limit, ranked[1])  # nor none where some are left to train and to choose on
    return np.array([drawn[number] < limit for number in group.tolist()])


class _FaceCropper:
    """Finds the largest face with the agent's detector and crops it as the agent does."""

    def __init__(self) -> None:
        self._detector = BlazeFace(load_bundle(find_bundle(_DETECTOR), kind="face-detector"))

    def __call__(self, image: Image) -> npt.NDArray[np.uint8] | None:
        faces = self._detector.detect(image)
        if not faces:
            return None
        return crop_face(image, max(faces, key=lambda face: face.width), FRAMING[_DETECTOR], SIDE_PX)


def _shrink(image: Image) -> npt.NDArray[np.uint8]:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in _files(folder) if _is_picture(path))


def _files(folder: Path) -> list[Path]:
    """Return what people put there; what a system does, such as `.DS_Store` or `._IMG_1.jpg`, is hidden."""
    return [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _decode(content: bytes, path: Path) -> Image:
    pixels = np.frombuffer(content, dtype=np.uint8)
    # This turns the picture as its EXIF orientation says.
    image = cv2.imdecode(pixels, cv2.IMREAD_COLOR) if len(pixels) else None
    if image is None:
        raise DatasetError(f"{path} is not a picture that can be read; remove it")
    shrink = _MAX_SIDE_PX / max(image.shape[:2])
    if shrink < 1:
        image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return np.asarray(image, dtype=np.uint8)
