"""The pager as a lamp, a buzzer and a button at the pins of a Raspberry Pi."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from edge_agent.alerting.alert import Action
from edge_agent.delivery.messages import printable
from edge_agent.errors import ConfigError
from edge_agent.pager.client import Pager
from edge_agent.pager.page import Page
from edge_agent.pager.terminal import PAGING, TerminalPager

#: What to say where gpiozero is missing.
NEEDS = "needs gpiozero; run in the clone: pip install '.[gpio]'"
#: Seconds that each sign of a rhythm lasts.
TICK_S = 0.1
#: A press from here up is a long one, seconds.
LONG_PRESS_S = 1.5
#: What is the case → how the lamp tells, over and over; # is on.
LAMP = {
    "critical": "##..",
    "warning": "#####.....",
    "info": "#####.....",
    "not watched": "##..##" + 24 * ".",
    "taken": "#",
    "calm": ".",
}
#: Severity → how the buzzer sounds at each step of a page, and again until it is answered.
BUZZER = {"critical": "##.##.##".ljust(50, "."), "warning": "##.##".ljust(100, "."), "info": "##".ljust(300, ".")}
_SEVERITIES = tuple(BUZZER)


class GpioPager(TerminalPager):
    """Shows pages by light and sound, takes answers from a button, and says in lines what it does.

    Args:
        wake: set whenever the pager's bus has something; the button sets it, too.
        lamp, buzzer, button: pins by their BCM numbers; the button connects its own to ground.
        clock: in seconds.
        options: of TerminalPager.

    Raises:
        ConfigError: gpiozero is missing, or the pins cannot be used.
    """

    _hints = False
    _turn_s = TICK_S

    def __init__(
        self,
        pager: Pager,
        wake: threading.Event,
        *,
        lamp: int,
        buzzer: int,
        button: int,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        super().__init__(pager, wake, **options)
        self._clock, self._rang_s, self._held_long = clock, clock(), False
        self._lamp, self._buzzer, self._button = _open(lamp, buzzer, button)
        # gpiozero calls them from threads of its own; what they leave is done by `turn`.
        self._button.when_pressed = self._pressed
        self._button.when_held = self._held
        self._button.when_released = self._released

    def run(self, stop: threading.Event, *, once: bool = False) -> None:
        """Serve until `stop`, then turn everything off; with `once` until the first page is answered or over."""
        try:
            super().run(stop, once=once)
        finally:
            self.close()

    def close(self) -> None:
        """Turn everything off and leave the pins to others."""
        self._lamp.off()
        self._buzzer.off()
        for device in (self._lamp, self._buzzer, self._button):
            device.close()

    def _show(self, page: Page) -> None:
        super()._show(page)
        if page.step in PAGING:
            self._rang_s = self._clock()

    def turn(self) -> list[Page]:
        """Show what is new and do what the button said; return the pages that took a step."""
        pages = super().turn()
        now_s = self._clock()
        # While the button is down the lamp is on: whoever presses sees that both work.
        self._lamp.value = self._button.is_pressed or _is_on(LAMP[self._case()], now_s)
        ringing = self._waiting()
        self._buzzer.value = bool(ringing) and _is_on(BUZZER[ringing[0].severity], now_s - self._rang_s)
        return pages

    def _case(self) -> str:
        unanswered = _by_urgency(page for page in self._pager.open.values() if page.step in PAGING)
        if unanswered:
            return unanswered[0].severity
        if self._problem or not self._pager.watched:
            return "not watched"
        return "taken" if self._pager.open else "calm"

    def _waiting(self) -> list[Page]:
        """Return the pages that nobody answered, neither elsewhere nor here, where a kiosk may not know it yet."""
        pages = self._pager.open.values()
        return _by_urgency(page for page in pages if page.step in PAGING and page.id not in self._answered)

    def _target(self, action: Action) -> Page | None:
        """Return the page that the button is about.

        To resolve is about one that somebody took, if there is any: the most urgent of the others may have come just
        now, and nobody has seen it.
        """
        taken = [] if action == "ack" else _by_urgency(p for p in self._pager.open.values() if p.step not in PAGING)
        return next(iter(taken + self._waiting()), None)

    def _pressed(self) -> None:
        self._held_long = False

    def _held(self) -> None:
        self._held_long = True
        self._leave("r")

    def _released(self) -> None:
        if not self._held_long:
            self._leave("a")

    def _leave(self, key: str) -> None:
        self._keys.put(key)
        self._wake.set()

    @contextlib.contextmanager
    def _keyboard(self, stop: threading.Event) -> Iterator[None]:
        """Read no keys: a service has none."""
        del stop
        yield


def _open(lamp: int, buzzer: int, button: int) -> tuple[Any, Any, Any]:
    try:
        from gpiozero import Button, DigitalOutputDevice
    except ImportError:
        raise ConfigError(f"--gpio {NEEDS}") from None
    opened: list[Any] = []
    # It warns of every library that it tries in vain: of the first, why, is what to know if none of them works.
    vain: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as vain:
            warnings.simplefilter("always")
            opened.append(DigitalOutputDevice(lamp))
            opened.append(DigitalOutputDevice(buzzer))
            opened.append(Button(button, hold_time=LONG_PRESS_S, bounce_time=0.02))
    except Exception as error:  # gpiozero's own errors, and whatever the library below it raises
        for device in opened:
            device.close()
        problem = printable(f"{error} {vain[0].message}" if vain else error)
        raise ConfigError(
            f"--gpio cannot use the pins {lamp}, {buzzer} and {button}: {problem}; is this a Raspberry Pi with "
            "lgpio, may you use its pins (group gpio), and does nobody else?"
        ) from None
    return opened[0], opened[1], opened[2]


def _by_urgency(pages: Iterable[Page]) -> list[Page]:
    """Return the most severe first, of those the oldest."""
    return sorted(pages, key=lambda page: (_SEVERITIES.index(page.severity), page.raised_at))


def _is_on(rhythm: str, since_s: float) -> bool:
    return rhythm[int(since_s / TICK_S) % len(rhythm)] == "#"
