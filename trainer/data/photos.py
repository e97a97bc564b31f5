"""Photographs sorted into one folder for each expression, as people collect them with a phone.

The largest face of each photograph is found and cropped exactly as the agent does it, so that a network sees in
training what it will see at work. `folders` says which folders are understood.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.camera.frames import Image
from edge_agent.vision.blazeface import BlazeFace
from edge_agent.vision.bundle import find_bundle, load_bundle
from edge_agent.vision.faces import crop_face
from edge_agent.vision.manifest import Framing
from trainer.data.datasets import SIDE_PX, FaceDataset
from trainer.data.folders import HEIC_SUFFIXES, SUFFIXES, Picture, find_pictures, other_files
from trainer.data.groups import Groups, by_picture_if_one, groups_of
from trainer.data.pictures import decode, reads_heic
from trainer.errors import DatasetError

#: How each detector's box becomes FER2013's framing: side in box widths, downward shift in box heights.
FRAMING = {
    "blazeface-full-range": Framing(side=1.20, shift_y=-0.05),
    "blazeface-short-range": Framing(side=1.12, shift_y=-0.10),
    "yunet": Framing(side=1.26, shift_y=-0.02),
}
TEST_FRACTION = 0.15
_DETECTOR = "blazeface-full-range"
_Cropper = Callable[[Image], "npt.NDArray[np.uint8] | None"]


@dataclass
class _LeftOut:
    """Pictures that no face came from, by why."""

    unreadable: list[Path] = field(default_factory=list)
    heic: list[Path] = field(default_factory=list)
    faceless: list[Path] = field(default_factory=list)

    def reasons(self) -> list[str]:
        """Return a sentence about each reason there was."""
        found = (
            (self.unreadable, "{} cut off or not readable, {} first", ""),
            (self.heic, "{} HEIC, {} first", "; to read them: pip install '.[heic]'"),
            (self.faceless, "no face found in {}, {} first", "; if they are faces already, say --already-cropped"),
        )
        return [text.format(len(paths), paths[0]) + hint for paths, text, hint in found if paths]


def load_photos(folder: Path, *, already_cropped: bool = False, seed: int = 1) -> FaceDataset:
    """Read photographs by class; the classes are in alphabetical order.

    Where the folders do not say it, about TEST_FRACTION of the faces become PublicTest, the rest Training;
    near-duplicates, such as the pictures of one burst, and the pictures of one person stay on one side. Pictures that
    cannot be used are left out, and said so on standard error.

    Args:
        already_cropped: pictures are faces framed as FER2013's; they are only shrunk and made grey.

    Raises:
        DatasetError: the folders are not understood, or no picture of a class can be used.
    """
    pictures = find_pictures(folder)
    cropper: _Cropper = _shrink if already_cropped else _FaceCropper()
    faces: list[npt.NDArray[np.uint8]] = []
    digests: list[bytes] = []
    kept: list[Picture] = []
    left_out = _LeftOut()
    for (place, label), members in itertools.groupby(pictures, lambda picture: (picture.place, picture.label)):
        of_class = _LeftOut()
        before = len(kept)
        for picture in members:
            content, face = _face(picture.path, cropper, of_class)
            if face is not None:
                faces.append(face)
                # A person stays on the side they are on when pictures of them are added.
                digests.append(hashlib.sha256(picture.person.encode() or content).digest())
                kept.append(picture)
        if len(kept) == before:
            raise DatasetError(f"no picture of {label} in {place} can be used: {'; '.join(of_class.reasons())}")
        for name in ("unreadable", "heic", "faceless"):
            getattr(left_out, name).extend(getattr(of_class, name))
    _tell(left_out, other_files(folder), len(pictures))

    classes = tuple(sorted({picture.label for picture in kept}))
    stacked = np.stack(faces)
    groups = groups_of(stacked, [picture.person for picture in kept])
    usage = np.array([picture.usage or "" for picture in kept])
    _warn_of_people_in_several_parts(kept)
    if not usage[0]:
        groups = by_picture_if_one(groups)
        usage = np.where(_held_out(groups, digests, seed), "PublicTest", "Training")
    labels = np.array([classes.index(picture.label) for picture in kept], dtype=np.int64)
    return FaceDataset(stacked, labels, usage, None, classes, groups)


def _face(path: Path, cropper: _Cropper, left_out: _LeftOut) -> tuple[bytes, npt.NDArray[np.uint8] | None]:
    """Return a file's content and the face in it, or None and note why."""
    if path.suffix.lower() in HEIC_SUFFIXES and not reads_heic():
        left_out.heic.append(path)
        return b"", None
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    image = decode(content)
    if image is None:
        left_out.unreadable.append(path)
        return content, None
    face = cropper(image)
    if face is None:
        left_out.faceless.append(path)
    return content, face


def _tell(left_out: _LeftOut, others: list[Path], pictures: int) -> None:
    for reason in left_out.reasons():
        print(f"left out of {pictures} pictures: {reason}", file=sys.stderr)
    if others:
        endings = sorted({path.suffix.lower() or path.name for path in others})
        print(
            f"{', '.join(endings)} files were left out; {', '.join((*SUFFIXES, *HEIC_SUFFIXES))} are read",
            file=sys.stderr,
        )


def _warn_of_people_in_several_parts(pictures: list[Picture]) -> None:
    seen = {(picture.person, picture.usage) for picture in pictures if picture.person}
    if several := sorted(person for person, count in Counter(person for person, _ in seen).items() if count > 1):
        print(
            f"warning: {len(several)} people are in more than one part, {several[0]} first; figures on one part "
            "flatter a network that learned from the other",
            file=sys.stderr,
        )


def _held_out(group: Groups, digests: list[bytes], seed: int) -> npt.NDArray[np.bool_]:
    """Return which faces are kept for testing, bool (n,).

    Pictures of other scenes that are added to some dozens move none of these; one that joins a burst may move it.

    Args:
        digests: SHA-256 of each face's person or else file, so that another machine, which may crop a pixel otherwise,
            keeps the same.
    """
    # A group goes by the lowest hash in it.
    lowest: dict[int, bytes] = {}
    for number, digest in zip(group.tolist(), digests, strict=True):
        lowest[number] = min(digest, lowest.get(number, digest))
    drawn = {
        number: int.from_bytes(hashlib.sha256(digest + bytes([seed])).digest()[:8], "big") / 2**64
        for number, digest in lowest.items()
    }
    for number in np.flatnonzero(np.bincount(group) > len(group) / 2).tolist():
        drawn[number] = 1.0  # most of the pictures are there to learn from
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
