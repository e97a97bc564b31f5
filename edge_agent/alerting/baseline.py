"""A person's own level: how high a rule's score of them is while nothing is wrong.

Some faces look stern at rest. Among calm people most of the variance of the score's log-odds lies between people, not
within one, so the score of each is compared with what it usually is for them:

    level = (κ · population + Σ logit · dt) / (κ + T),   adjusted = σ(logit(score) − max(0, level − population))

over the T seconds they were judged while neither a page nor a look over the threshold was under way; κ is
`tracking.baseline_s`, and beyond `tracking.baseline_memory_s` the past is forgotten exponentially.

Source: our own; an empirical-Bayes style shrinkage of a personal mean towards the population's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Probabilities nearer to 0 or 1 than this count as this near: their log-odds would outweigh everything.
_CLIP = 1e-4
#: What one look counts for at most, in seconds: nobody was judged in a gap.
MAX_STEP_S = 1.0


@dataclass(slots=True)
class Level:
    """What is known of one person under one rule.

    Attributes:
        excess: mean log-odds of their score beyond the population's.
        time_s: over so many seconds, up to the memory.
    """

    excess: float = 0.0
    time_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Baseline:
    """How levels are learned and used.

    Attributes:
        population: mean log-odds of the score of people who are calm.
        weight_s: κ, how many seconds of a person the population's mean is worth; above 0.
        memory_s: at least MAX_STEP_S.
    """

    population: float
    weight_s: float
    memory_s: float

    def adjust(self, score: float, level: Level) -> float:
        """Return the score, 0..1, less what this person's level has in excess of the population's."""
        shift = self._shift(level)
        return score if shift <= 0 else 1 / (1 + math.exp(shift - _logit(score)))

    def learn(self, level: Level, score: float, elapsed_s: float) -> None:
        """Take in one look, `elapsed_s` after the one before."""
        step_s = min(elapsed_s, MAX_STEP_S)
        if step_s > 0:
            level.time_s = min(level.time_s + step_s, self.memory_s)
            level.excess += (_logit(score) - self.population - level.excess) * step_s / level.time_s

    def raise_to(self, level: Level, score: float) -> None:
        """Let the level be at least this score, as if it had been so for as long as the memory reaches."""
        shift = _logit(score) - self.population
        if shift > max(0.0, self._shift(level)):
            level.excess, level.time_s = shift * (self.weight_s + self.memory_s) / self.memory_s, self.memory_s

    def _shift(self, level: Level) -> float:
        return level.excess * level.time_s / (self.weight_s + level.time_s)


def _logit(probability: float) -> float:
    clipped = min(max(probability, _CLIP), 1 - _CLIP)
    return math.log(clipped / (1 - clipped))
