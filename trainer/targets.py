"""Training targets: the original label, softened by what ten other people saw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trainer.datasets import LABELS, VOTE_COLUMNS, VOTE_INDEX, FaceDataset


def soft_targets(data: FaceDataset, *, ferplus_weight: float, label_smoothing: float) -> npt.NDArray[np.float32]:
    """Mix one-hot labels with the distribution of FER+ votes (Barsoum et al., 2016).

    A face without votes for any of the seven labels keeps its original label alone, as do faces of other classes.

    Args:
        ferplus_weight: share of the votes in the target, 0..1.
        label_smoothing: share spread evenly over all classes, 0..1.

    Returns:
        float32 (n, classes), rows sum to 1.
    """
    classes = len(data.classes)
    target = np.eye(classes, dtype=np.float32)[data.labels]
    if data.votes is not None and data.classes == LABELS and ferplus_weight > 0:
        votes = data.votes[:, VOTE_INDEX].astype(np.float32)
        total = votes.sum(axis=1, keepdims=True)
        shares = np.divide(votes, total, out=target.copy(), where=total > 0)
        target = (1 - ferplus_weight) * target + ferplus_weight * shares
    smoothed = (1 - label_smoothing) * target + label_smoothing / classes
    return smoothed.astype(np.float32)


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

    -1 stands for ties and for faces whose most frequent vote is contempt, unknown or not-a-face.

    Args:
        votes: uint8 (n, 10), in VOTE_COLUMNS order.

    Returns:
        int64 (n,), codes into LABELS or -1.
    """
    label_of_column = np.full(len(VOTE_COLUMNS), -1, dtype=np.int64)
    label_of_column[list(VOTE_INDEX)] = np.arange(len(LABELS))
    top = votes.max(axis=1, keepdims=True)
    unique = (votes == top).sum(axis=1) == 1
    return np.where(unique, label_of_column[votes.argmax(axis=1)], -1)
