"""Where pictures lie tells what they show: the expression, the part of the data set, and maybe the person.

    CLASS/*.jpg, or CLASS/PERSON/*.jpg
    train/CLASS/*.jpg and test/CLASS/*.jpg, and maybe validation/CLASS/*.jpg, as data sets are published

Upper and lower case make no difference: `Angry` and `angry` are one class. Finished runs in between are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import DatasetError

HEIC_SUFFIXES = (".heic", ".heif", ".hif")
SUFFIXES = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
#: What folders of the parts are called, letters only and in lower case. What `test` stands for depends on the others.
_TEST = ("test", "testing")
_PARTS = {
    **dict.fromkeys(("train", "training"), "Training"),
    **dict.fromkeys(("valid", "val", "validation", "publictest"), "PublicTest"),
    **dict.fromkeys(_TEST, "test"),
    "privatetest": "PrivateTest",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A file with a picture.

    Attributes:
        label: name of its class, in lower case.
        place: the folder of the part, or of the whole data set, that the class's folder lies in.
        usage: one of datasets.USAGES, or None where the folders leave it open.
        person: name of the folder within the class's, in lower case; "" if there is none.
    """

    path: Path
    label: str
    place: Path
    usage: str | None
    person: str


def has_class_folders(folder: Path) -> bool:
    """Tell whether there are folders with files in a folder, be they pictures or not."""
    return folder.is_dir() and any(True for sub in _subfolders(folder) for _ in _files(sub))


def find_pictures(folder: Path) -> list[Picture]:
    """Return all pictures, sorted by part, class and path; HEIC's are among them.

    Raises:
        DatasetError: there are none, of one class only, or a class is missing in a part.
    """
    parts = _parts(folder)
    found = [
        Picture(path, sub.name.strip().lower(), place, usage, _person(path, sub))
        for place, usage in parts.items()
        for sub in _subfolders(place)
        for path in _pictures(sub)
    ]
    labels = {picture.label for picture in found}
    if len(labels) < 2:
        seen = f"of one class only, {labels.pop()}" if labels else "in none of its folders"
        raise DatasetError(
            f"{folder} has pictures {seen}; a folder for each of at least two classes is needed, "
            f"with {', '.join((*SUFFIXES, *HEIC_SUFFIXES))} files"
        )
    for place in parts:
        if missing := labels - {picture.label for picture in found if picture.place == place}:
            raise DatasetError(
                f"{place} has no pictures of {', '.join(sorted(missing))}, but another part of {folder} has: "
                "each part needs every class"
            )
    return sorted(found, key=lambda picture: (picture.place, picture.label, picture.path))


def other_files(folder: Path) -> list[Path]:
    """Return the files in the classes' folders that are no pictures by their name."""
    return [path for place in _parts(folder) for sub in _subfolders(place) for path in _files(sub) if not _known(path)]


def _parts(folder: Path) -> dict[Path, str | None]:
    """Return folder → usage of each part; of a data set without parts the folder itself, with None."""
    names = {sub: re.sub(r"[^a-z]", "", sub.name.lower()) for sub in _subfolders(folder)}
    parts = {
        sub: _PARTS[name]
        for sub, name in names.items()
        if name in _PARTS and any(_pictures(within) for within in _subfolders(sub))
    }
    if not parts:
        return {folder: None}
    if others := [sub.name for sub in names if sub not in parts and _pictures(sub)]:
        raise DatasetError(
            f"{folder} has {', '.join(sub.name for sub in parts)} and beside them {', '.join(others)}: "
            "put away what is no part of the data set"
        )
    of_test = "PrivateTest" if "PublicTest" in parts.values() else "PublicTest"
    return {sub: of_test if usage == "test" else usage for sub, usage in parts.items()}


def _person(path: Path, class_folder: Path) -> str:
    within = path.relative_to(class_folder).parts
    return within[0].strip().lower() if len(within) > 1 else ""


def _subfolders(folder: Path) -> list[Path]:
    folders = [path for path in folder.iterdir() if path.is_dir() and not _hidden(path)]
    return sorted(path for path in folders if not (path / "run.json").exists())  # a run has a report with pictures


def _pictures(folder: Path) -> list[Path]:
    return [path for path in _files(folder) if _known(path)]


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if _hidden(path):
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.is_file():
            yield path


def _hidden(path: Path) -> bool:
    """Tell what a system put there: `.DS_Store`, `._IMG_1.jpg`, `__MACOSX`, `@eaDir`."""
    return path.name.startswith((".", "__", "@")) or path.name.lower() == "thumbs.db"


def _known(path: Path) -> bool:
    return path.suffix.lower() in (*SUFFIXES, *HEIC_SUFFIXES)
