"""One door to every kind of data set: a folder with FER2013, or with photographs by class."""

from __future__ import annotations

from pathlib import Path

from trainer.data.datasets import FaceDataset
from trainer.data.fer2013 import load_fer2013
from trainer.data.folders import find_pictures, has_class_folders
from trainer.data.photos import load_photos
from trainer.labels import LABELS


def load_data(folder: Path, *, classes: tuple[str, ...] = (), already_cropped: bool = False) -> FaceDataset:
    """Read a data set: FER2013 (`fer2013.csv`) or photographs (`CLASS/*.jpg`, see `folders`).

    Args:
        classes: see `FaceDataset.with_classes`; empty for all there are.
        already_cropped: photographs are faces already; none is searched for.

    Raises:
        DatasetError: it is neither, or cannot be read.
    """
    photos = _has_photos(folder)
    data = load_photos(folder, already_cropped=already_cropped) if photos else load_fer2013(folder)
    return data.with_classes(classes) if classes else data


def origin(folder: Path, *, with_votes: bool, with_portraits: bool = False) -> str:
    """Return what a bundle's manifest says of a data set that `load_data` reads.

    Args:
        with_votes: the FER+ votes were learned from.
        with_portraits: everyday faces were learned as well.
    """
    if _has_photos(folder):
        return f"photographs of {', '.join(class_names(folder))}"
    votes = ", with FER+ votes (Barsoum et al., 2016)" if with_votes else ""
    portraits = ", and portraits" if with_portraits else ""
    return f"FER2013 (Goodfellow et al., 2013), Training rows{votes}{portraits}"


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the classes `load_data` would find, without reading a picture."""
    return tuple(sorted({picture.label for picture in find_pictures(folder)})) if _has_photos(folder) else LABELS


def _has_photos(folder: Path) -> bool:
    return not (folder / "fer2013.csv").exists() and has_class_folders(folder)
