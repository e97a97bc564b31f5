"""What was seen over time, as a chart of block characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

_BLOCKS = " ▁▂▃▄▅▆▇█"
_WIDTH = 60


@dataclass(slots=True)
class Timeline:
    """Smoothed scores of each frame, the highest of the people in view.

    Attributes:
        emotions: names of the score columns.
        samples: (seconds, float32 (emotions,)) pairs in order of time.
        marks: seconds at which a page was raised.
    """

    emotions: Sequence[str]
    samples: list[tuple[float, npt.NDArray[np.float32]]] = field(default_factory=list)
    marks: list[float] = field(default_factory=list)

    def add(self, time_s: float, scores: Sequence[npt.NDArray[np.float32]]) -> None:
        """Add one frame's smoothed scores, one vector a person."""
        highest = np.max(scores, axis=0) if scores else np.zeros(len(self.emotions), dtype=np.float32)
        self.samples.append((time_s, highest))

    def __str__(self) -> str:
        if not self.samples:
            return "no frames"
        end_s = max(self.samples[-1][0], 1e-3)
        columns: list[list[npt.NDArray[np.float32]]] = [[] for _ in range(_WIDTH)]
        for time_s, scores in self.samples:
            columns[self._column(time_s, end_s)].append(scores)
        means = [np.mean(column, axis=0) if column else None for column in columns]
        lines = [
            f"{emotion:>8} │{''.join(_block(m, row) for m in means)}│" for row, emotion in enumerate(self.emotions)
        ]
        if self.marks:
            arrows = [" "] * _WIDTH
            for mark in self.marks:
                arrows[self._column(mark, end_s)] = "▲"
            lines.append(f"{'page':>8} │{''.join(arrows)}│")
        middle = f"{end_s / 2:.1f}"
        axis = "0" + middle.center(_WIDTH - 2) + f"{end_s:.1f} s"
        return "\n".join([*lines, " " * 10 + axis])

    @staticmethod
    def _column(time_s: float, end_s: float) -> int:
        return min(_WIDTH - 1, max(0, int(time_s / end_s * _WIDTH)))


def _block(scores: npt.NDArray[np.float32] | None, row: int) -> str:
    if scores is None:
        return " "
    return _BLOCKS[min(len(_BLOCKS) - 1, round(float(scores[row]) * (len(_BLOCKS) - 1)))]
