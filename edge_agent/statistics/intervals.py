"""95 % confidence intervals of shares and of rates."""

from __future__ import annotations

import math

#: Quantile of the normal distribution for a two-sided interval of 95 %.
_Z = 1.96


def wilson_interval(count: float, total: float) -> tuple[float, float]:
    """Return the interval of a share, 0..1, of which `count` of `total` were seen; (0, 1) when nothing was.

    By Wilson (1927). Fractions are allowed: a share of fewer independent units than there are observations.
    """
    if total <= 0:
        return 0.0, 1.0
    share, squared = count / total, _Z**2
    middle = share + squared / (2 * total)
    half = _Z * math.sqrt(share * (1 - share) / total + squared / (4 * total**2))
    scale = 1 + squared / total
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def poisson_interval(count: int) -> tuple[float, float]:
    """Return the interval of the mean of a Poisson count.

    By Wilson and Hilferty's approximation of chi-squared quantiles (1931) in Garwood's exact interval (1936).
    """
    low = count * (1 - 1 / (9 * count) - _Z / (3 * math.sqrt(count))) ** 3 if count else 0.0
    more = count + 1
    return max(0.0, low), more * (1 - 1 / (9 * more) + _Z / (3 * math.sqrt(more))) ** 3
