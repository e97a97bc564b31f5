"""Which faces must stay on one side of a split: those of one scene, and those of one person."""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

from trainer.data.cleaning import near_duplicate_groups

Groups = npt.NDArray[np.int64]
#: Difference hashes of a burst's pictures differ in a few of 64 bits, those of two people in about thirty.
_BURST_BITS = 8
#: From this share of all faces in one group, what is left says nothing of its own.
_NEARLY_ALL = 0.9


def groups_of(faces: npt.NDArray[np.uint8], people: list[str]) -> Groups:
    """Return which group each photograph's face belongs to: near-duplicates, and all that one person is in.

    Args:
        faces: uint8 (n, height, width), grey.
        people: n names; "" where it is not known.

    Returns:
        int64 (n,), group numbers from 0.
    """
    group = near_duplicate_groups(faces, bits=_BURST_BITS)
    unknown = [f"\0{row}" for row in range(len(people))]
    _, person = np.unique([name or row for name, row in zip(people, unknown, strict=True)], return_inverse=True)
    while True:  # each takes the lowest number of its person's, then of its group's, until none is lower
        joined = _lowest(_lowest(group, person), group)
        if (joined == group).all():
            return np.asarray(np.unique(group, return_inverse=True)[1], dtype=np.int64)
        group = joined


def _lowest(numbers: Groups, of: npt.NDArray[np.int64]) -> Groups:
    lowest = np.full(int(of.max()) + 1, len(numbers), dtype=np.int64)
    np.minimum.at(lowest, of, numbers)
    return np.asarray(lowest[of], dtype=np.int64)


def by_picture_if_one(group: Groups) -> Groups:
    """Return the groups, or, if nearly all faces are in one of them, each face on its own, and say so.

    One person before one camera is worth trying out, though nobody else can be judged by it.
    """
    if not len(group) or np.bincount(group).max() < _NEARLY_ALL * len(group):
        return group
    print(
        "warning: nearly all photographs are of one scene or one person, so they are split picture by picture; the "
        "figures tell nothing about other people: add some of others, on other days and at other places",
        file=sys.stderr,
    )
    return np.arange(len(group), dtype=np.int64)
