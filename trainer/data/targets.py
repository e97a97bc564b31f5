"""Training targets: the label for one answer, what ten other people saw for the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trainer.data.datasets import FaceDataset
from trainer.labels import LABELS, VOTE_COLUMNS, VOTE_INDEX, VOTE_LABELS


def targets_for(data: FaceDataset, *, votes: bool, label_smoothing: float) -> npt.NDArray[np.float32]:
    """Return what each answer ought to be, side by side.

    Args:
        votes: the network has a second answer, to FER+'s question.
        label_smoothing: share of the label spread evenly over all classes, 0..1.

    Returns:
        float32 (n, classes), rows sum to 1; with votes float32 (n, classes + 8), see `vote_targets`.
    """
    labels = smoothed(data.labels, len(data.classes), label_smoothing)
    return np.concatenate([labels, vote_targets(data)], axis=1) if votes else labels


def smoothed(codes: npt.NDArray[np.int64], classes: int, share: float) -> npt.NDArray[np.float32]:
    """Return one-hot rows, float32 (n, classes), with a share spread evenly (Szegedy et al., "Inception", 2016)."""
    one_hot = np.eye(classes, dtype=np.float32)[codes]
    return np.asarray((1 - share) * one_hot + share / classes, dtype=np.float32)


def vote_targets(data: FaceDataset) -> npt.NDArray[np.float32]:
    """Return the distribution of FER+ votes (Barsoum et al., 2016) without those of a single voter.

    Returns:
        float32 (n, 8), columns in VOTE_LABELS order; rows sum to 1, or are all 0 where nobody saw an expression, which
        makes no loss.
    """
    if data.votes is None:
        return np.zeros((len(data), len(VOTE_LABELS)), dtype=np.float32)
    votes = data.votes[:, VOTE_INDEX].astype(np.float32)
    lone = (votes == 1) & (votes.max(axis=1, keepdims=True) > 1)
    votes[lone] = 0
    total = votes.sum(axis=1, keepdims=True)
    shares: npt.NDArray[np.float32] = np.divide(votes, total, out=np.zeros_like(votes), where=total > 0)
    return shares


def class_weights(data: FaceDataset, balance: float) -> npt.NDArray[np.float32]:
    """Return how much each face counts: its class's rarity to the power `balance`, 1 on average.

    Args:
        balance: 0 all faces alike, 1 all classes alike.

    Returns:
        float32 (n,).
    """
    counts = np.bincount(data.labels, minlength=len(data.classes))
    rarity: npt.NDArray[np.float64] = len(data) / np.maximum(counts, 1)[data.labels]
    weights = rarity**balance
    return np.asarray(weights / weights.mean(), dtype=np.float32)


def ferplus_majority(votes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return the label most voters chose, or -1 where there is none.

    -1 stands for ties and for faces whose most frequent vote is unknown or not-a-face.

    Args:
        votes: uint8 (n, 10), in VOTE_COLUMNS order.

    Returns:
        int64 (n,), codes into VOTE_LABELS, so LABELS' own below 7, or -1.
    """
    label_of_column = np.full(len(VOTE_COLUMNS), -1, dtype=np.int64)
    label_of_column[list(VOTE_INDEX)] = np.arange(len(VOTE_LABELS))
    top = votes.max(axis=1, keepdims=True)
    unique = (votes == top).sum(axis=1) == 1
    return np.where(unique, label_of_column[votes.argmax(axis=1)], -1)


def without_contempt(majority: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the majorities that FER2013 has a label for; -1 for contempt as well."""
    return np.where(majority < len(LABELS), majority, -1)
