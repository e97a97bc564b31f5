"""Tells when what the camera shows has drifted from what it showed at first: other light, other distance, other scores.

Numbers only: histograms of a few quantities, compared by the population stability index (Siddiqi, "Credit Risk
Scorecards", 2006): below 0.1 the same, above 0.25 worth a look.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

#: Observations that make a baseline, and about as many that are compared with it.
WINDOW = 2000
_BINS = 10
_FLOOR = 1e-3


class Drift:
    """Histograms of some quantities against their baselines.

    Args:
        ranges: quantity → (lowest, highest); beyond counts in the outermost bin.
        baseline: what `baseline_text` returned in an earlier run; None to learn a new one.
    """

    def __init__(self, ranges: Mapping[str, tuple[float, float]], *, baseline: str | None = None) -> None:
        self._ranges = dict(ranges)
        self._baseline = _parse(baseline, self._ranges)
        self._recent = {name: [0.0] * _BINS for name in ranges}
        self._count = 0

    def add(self, values: Mapping[str, float]) -> bool:
        """Count one observation of every quantity; return True when a baseline has just been completed."""
        for name, (low, high) in self._ranges.items():
            place = int((values[name] - low) / (high - low) * _BINS)
            self._recent[name][min(max(place, 0), _BINS - 1)] += 1
        self._count += 1
        if self._count < WINDOW:
            return False
        completed = self._baseline is None
        if completed:
            self._baseline = {name: list(counts) for name, counts in self._recent.items()}
        # Halving forgets the past gradually, so that one odd hour is not forgotten at once.
        self._recent = {name: [n / 2 for n in counts] for name, counts in self._recent.items()}
        self._count //= 2
        return completed

    def index(self) -> dict[str, float | None]:
        """Return quantity → population stability index, None until there is a baseline and enough to compare."""
        if self._baseline is None or self._count < WINDOW // 4:
            return dict.fromkeys(self._ranges)
        return {name: round(stability_index(self._baseline[name], self._recent[name]), 3) for name in self._ranges}

    def baseline_text(self) -> str:
        """Return the baseline for the next run; counts only."""
        return json.dumps(self._baseline)


def stability_index(expected: Sequence[float], actual: Sequence[float]) -> float:
    """Return the population stability index of two histograms with the same bins; 0 for equal ones."""
    total = 0.0
    for before, after in zip(expected, actual, strict=True):
        p = max(before / max(sum(expected), 1e-9), _FLOOR)
        q = max(after / max(sum(actual), 1e-9), _FLOOR)
        total += (q - p) * math.log(q / p)
    return total


def _parse(text: str | None, ranges: Mapping[str, tuple[float, float]]) -> dict[str, list[float]] | None:
    try:
        body = json.loads(text or "null")
        baseline = {name: [float(n) for n in body[name]] for name in ranges}
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return baseline if all(len(counts) == _BINS for counts in baseline.values()) else None
