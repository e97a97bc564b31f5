"""The 95 % intervals are the published ones."""

from __future__ import annotations

import pytest

from edge_agent.statistics.intervals import poisson_interval, wilson_interval


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, and by hand.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (10, 10, 0.7225, 1),
    ],
)
def test_shares(count, total, low, high):
    assert wilson_interval(count, total) == pytest.approx((low, high), abs=1e-4)


def test_of_nothing_nothing_is_known():
    assert wilson_interval(0, 0) == (0, 1)


def test_rates():
    # Garwood's exact limits, from his table.
    for count, (low, high) in {0: (0, 3.689), 1: (0.0253, 5.572), 5: (1.623, 11.668), 20: (12.217, 30.888)}.items():
        assert poisson_interval(count) == pytest.approx((low, high), rel=0.06, abs=0.06)
