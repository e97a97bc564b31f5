"""What a member of staff looks after: whose pages, and which kiosks; everything unless a shift says otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edge_agent.config import Shift
from edge_agent.errors import ConfigError
from edge_agent.pager.kiosks import Kiosk
from edge_agent.pager.page import Page


@dataclass(frozen=True, slots=True)
class Duty:
    """One shift's share.

    Attributes:
        groups: whose pages are shown; empty for all.
        kiosks: names, site/device, of those that must watch; empty for all that were ever heard.
    """

    groups: frozenset[str] = frozenset()
    kiosks: tuple[str, ...] = ()

    def covers(self, page: Page) -> bool:
        """Tell whether a page is one to answer on this shift."""
        return (not self.groups or not self.groups.isdisjoint(page.groups)) and self.includes(page.device)

    def includes(self, kiosk: str) -> bool:
        """Tell whether a kiosk, by its name, is looked after."""
        return not self.kiosks or kiosk in self.kiosks

    def of(self, heard: Iterable[Kiosk]) -> list[Kiosk]:
        """Return the kiosks of this shift, those that were never heard among them; the troubled ones first."""
        mine = [kiosk for kiosk in heard if self.includes(kiosk.name)]
        names = {kiosk.name for kiosk in mine}
        mine += [Kiosk(name, "silent") for name in self.kiosks if name not in names]
        return sorted(mine, key=lambda kiosk: (kiosk.as_it_should, kiosk.name))


def duty_of(shift: Shift) -> Duty:
    """Return what is looked after on a configured shift."""
    return Duty(frozenset(shift.groups), shift.kiosks)


def find_duty(shifts: Iterable[Shift], name: str) -> Duty:
    """Return the duty of the shift with this name.

    Raises:
        ConfigError: there is none.
    """
    known = {shift.name: shift for shift in shifts}
    if name not in known:
        raise ConfigError(f"{name!r} is no shift; pager.shifts has {', '.join(known) or 'none'}")
    return duty_of(known[name])


def watched(kiosks: Iterable[Kiosk]) -> bool:
    """Tell whether every kiosk watches or is closed, and none is snoozed; of none at all, nobody knows."""
    kiosks = list(kiosks)
    return bool(kiosks) and all(kiosk.as_it_should and not kiosk.snoozed for kiosk in kiosks)
