"""Reads the lock files of this folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parent
#: What people install; the other files are for this clone.
SHIPPED = ("demo", "kiosk", "pager")
#: What they install where apt's numpy is 1; no environment has both.
SHIPPED_NUMPY_1 = ("kiosk-numpy1", "pager-numpy1")


@dataclass(frozen=True)
class Pin:
    """A distribution: canonical name, its only version, the SHA-256 of each of its files, and where it is wanted."""

    name: str
    version: str
    hashes: tuple[str, ...]
    requirement: Requirement

    @property
    def applies(self) -> bool:
        """Whether it is installed on this computer and Python."""
        return self.requirement.marker is None or self.requirement.marker.evaluate()


def read(name: str) -> list[Pin]:
    """Return what `requirements/<name>.txt` pins.

    Raises:
        ValueError: something in it has no exact version.
    """
    text = re.sub(r"^\s*#.*\n", "", (FOLDER / f"{name}.txt").read_text(), flags=re.MULTILINE)
    return [_pin(line) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def _pin(line: str) -> Pin:
    text, *hashes = re.split(r"\s+--hash=sha256:", line.strip())
    requirement = Requirement(text)
    [specifier] = requirement.specifier
    if specifier.operator != "==":
        raise ValueError(f"{text} is not pinned")
    return Pin(canonicalize_name(requirement.name), specifier.version, tuple(hashes), requirement)
