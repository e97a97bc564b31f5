"""A kiosk's summary as the pager server keeps it, read from what the kiosk, or whoever writes in its name, has sent."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.delivery.messages import SUMMARY_EXPIRY_S, MessageError, parse_object
from edge_agent.pager.page import parse_time

_MAX_VISITS = 1_000_000
#: No interval is shorter or longer, see `summary.interval_s`; in seconds.
_SHORTEST_S, _LONGEST_S = 30.0, 2 * 86_400.0
#: So far may the clocks of a kiosk and of this computer be apart, in seconds.
_CLOCKS_S = 3600.0


@dataclass(frozen=True, slots=True)
class Satisfied:
    """How content people were at one kiosk in one interval.

    Attributes:
        topic: the kiosk's own.
        begin_s, end_s: seconds since 1970.
        visits: that ended in it; never fewer than the kiosk's minimum group.
        share: of the visits whose last look was a satisfied one, 0..1.
    """

    topic: str
    begin_s: float
    end_s: float
    visits: int
    share: float


def parse_summary(topic: str, payload: bytes, *, unix_s: float) -> Satisfied | None:
    """Return it; None for one that is withheld, because too few people were there to tell.

    Args:
        unix_s: now, seconds since 1970.

    Raises:
        MessageError: it is none, or of a time in which it cannot be.
    """
    body = parse_object(payload, schema="summary")
    if body.get("withheld") is True:
        return None
    begin_s, end_s = parse_time(body.get("begin")), parse_time(body.get("end"))
    if begin_s is None or end_s is None or not _SHORTEST_S <= end_s - begin_s <= _LONGEST_S:
        raise MessageError("'begin' and 'end' are those of no interval")
    if not unix_s - SUMMARY_EXPIRY_S - _LONGEST_S <= begin_s <= end_s <= unix_s + _CLOCKS_S:
        raise MessageError("the interval is not of the last days")
    visits, share = body.get("visits"), body.get("satisfied")
    if not isinstance(visits, int) or not 2 <= visits <= _MAX_VISITS:
        raise MessageError(f"'visits' is not a whole number from 2 to {_MAX_VISITS}")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise MessageError("'satisfied' is not a number from 0 to 1")
    return Satisfied(topic, begin_s, end_s, visits, float(share))
