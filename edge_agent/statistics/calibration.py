"""Proposes a rule's threshold from what the scores were on site, for as many false pages a day as staff can bear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent.statistics.intervals import poisson_interval
from edge_agent.statistics.visits import LEVELS


@dataclass(frozen=True, slots=True)
class Proposal:
    """One threshold and what it would have done.

    Attributes:
        pages: visits that would have been paged.
        false_per_day: expected false pages a day, with its 95 % interval `low`..`high`.
    """

    threshold: float
    pages: int
    false_per_day: float
    low: float
    high: float


def propose(levels: Mapping[int, int], *, watched_s: float, false_share: float = 1.0) -> list[Proposal]:
    """Return every threshold with what it would have done, lowest first.

    Args:
        levels: level that a visit reached (0 for none) → visits.
        watched_s: how long they were collected.
        false_share: share of pages that are false alarms, 0..1; 1 counts every page as one.
    """
    days = watched_s / 86_400
    proposals = []
    for index, threshold in enumerate(LEVELS, start=1):
        pages = sum(count for level, count in levels.items() if level >= index)
        low, high = poisson_interval(pages)
        proposals.append(
            Proposal(threshold, pages, pages * false_share / days, low * false_share / days, high * false_share / days)
        )
    return proposals


def choose(proposals: Sequence[Proposal], *, max_per_day: float) -> Proposal | None:
    """Return the lowest threshold whose interval stays within the limit, None if none does."""
    return next((proposal for proposal in proposals if proposal.high <= max_per_day), None)


def as_text(
    proposals: Sequence[Proposal],
    chosen: Proposal | None,
    *,
    rule: str,
    watched_s: float,
    answers: int,
    false_alarms: int,
) -> str:
    """Return a table for a terminal and what to write in the configuration."""
    heading = f"{rule}: {watched_s / 3600:.1f} hours watched"
    if answers:
        heading += f", {false_alarms} of {answers} answers said false alarm"
    lines = [heading, "", "upper   pages   false pages a day (95 % interval)"]
    for proposal in proposals:
        if proposal is chosen or round(proposal.threshold * 100) % 10 == 0:
            mark = "  <- proposed" if proposal is chosen else ""
            interval = f"{proposal.low:.1f} to {proposal.high:.1f}"
            lines.append(
                f"{proposal.threshold:5.2f} {proposal.pages:7} {proposal.false_per_day:11.1f}   ({interval}){mark}"
            )
    lines.append("")
    if chosen is None:
        lines.append("no threshold is sure to stay within the limit; watch longer, or allow more")
    else:
        lines.append(f"write into the rule:  upper: {chosen.threshold:.2f}")
    return "\n".join(lines)
