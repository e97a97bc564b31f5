"""What is really the case, and where a pager's page says something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kiosk:
    """One kiosk at one moment.

    Attributes:
        open: its alerts, id → whether nobody has answered.
        raised: ids of all alerts it ever raised.
    """

    reachable: bool
    open: dict[str, bool] = field(default_factory=dict)
    raised: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Seen:
    """What a page shows.

    Attributes:
        connected: it says so.
        calm: it says that all is calm.
        watching: how many kiosks it says watch.
        pages: alert id → whether it is shown as unanswered.
        gone: ids of pages that it says their kiosk is gone from.
    """

    connected: bool
    calm: bool
    watching: int
    pages: dict[str, bool]
    gone: frozenset[str]


def claims(kiosks: list[Kiosk], *, chain: bool, seen: Seen) -> dict[str, bool]:
    """Return claim → whether it is wrong at this moment.

    Args:
        chain: broker, server, and the links between them and the phone are there.
    """
    if not chain or not seen.connected:
        # Whoever is cut off must say so, and claims nothing else.
        return {
            "connected, but is not": seen.connected and not chain,
            "calm, but cut off": seen.calm and not chain,
            "cut off, but is not": chain and not seen.connected,
        }
    reachable = [kiosk for kiosk in kiosks if kiosk.reachable]
    truly = {alert_id: unanswered for kiosk in reachable for alert_id, unanswered in kiosk.open.items()}
    # What became of these nobody can know; their pages have to say so.
    of_the_dead = {alert_id for kiosk in kiosks if not kiosk.reachable for alert_id in kiosk.raised}
    return {
        "calm, but is not": seen.calm and (bool(truly) or len(reachable) < len(kiosks)),
        "not calm, but is": not seen.calm and not truly and not seen.pages and len(reachable) == len(kiosks),
        "more kiosks watching than are": seen.watching > len(reachable),
        "fewer kiosks watching than are": seen.watching < len(reachable),
        "a page is missing": bool(truly.keys() - seen.pages.keys()),
        "a page is over": bool(seen.pages.keys() - truly.keys() - of_the_dead),
        "answered, but is not": any(truly[one] and seen.pages.get(one) is False for one in truly),
        "unanswered, but is answered": any(truly[one] is False and seen.pages.get(one) for one in truly),
        "a kiosk is gone, and its page does not say so": bool(of_the_dead & (seen.pages.keys() - seen.gone)),
    }


@dataclass
class Claim:
    """How one kind of claim did: moments, wrong ones, and the longest time it was wrong at a stretch, in seconds."""

    moments: int = 0
    wrong: int = 0
    longest_s: float = 0.0
    since_s: float | None = None


class Record:
    """Adds up moments; `note` is told of each stretch that was wrong for longer than `limit_s`."""

    def __init__(self, *, limit_s: float, note: Callable[[str], None]) -> None:
        self.claims: dict[str, Claim] = {}
        self._limit_s, self._note = limit_s, note

    def add(self, wrong: dict[str, bool], *, now_s: float) -> None:
        """Take a moment down."""
        for name, claim in self.claims.items():
            if name not in wrong:
                self._end(name, claim, now_s)
        for name, is_wrong in wrong.items():
            claim = self.claims.setdefault(name, Claim())
            claim.moments += 1
            claim.wrong += is_wrong
            if not is_wrong:
                self._end(name, claim, now_s)
            elif claim.since_s is None:
                claim.since_s = now_s

    def _end(self, name: str, claim: Claim, now_s: float) -> None:
        if claim.since_s is not None:
            lasted_s = now_s - claim.since_s
            claim.longest_s, claim.since_s = max(claim.longest_s, lasted_s), None
            if lasted_s > self._limit_s:
                self._note(f"wrong for {lasted_s:.1f} s: {name}")
