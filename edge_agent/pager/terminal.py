"""The pager in a terminal: a line and a bell for each page, a key for each answer."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from edge_agent.alerting.alert import Action
from edge_agent.errors import BrokerError
from edge_agent.languages import translation
from edge_agent.pager.client import Pager
from edge_agent.pager.kiosks import Kiosk
from edge_agent.pager.news import Link, Nonsense, Refusal
from edge_agent.pager.page import Page
from edge_agent.pager.words import looks, outcome, say, title, where

KEYS: dict[str, Action] = {"a": "ack", "o": "on_my_way", "r": "resolve", "f": "false_alarm", "s": "snooze"}
PAGING = ("raised", "escalated")
_COLOURS = {"info": "36", "warning": "33", "critical": "31"}


class TerminalPager:
    """Shows pages and sends answers.

    Args:
        wake: set whenever the pager's bus or the keyboard has something.
        auto_ack_s: acknowledge by itself after this many seconds; None never.
        prefix: stands before each line.
        quiet: print nothing.
        must_connect: raise BrokerError from `turn` when the very first connection fails.
        language: one of LANGUAGES.
    """

    #: Whether what can be answered stands behind each page.
    _hints = True
    #: The longest time between two turns, seconds.
    _turn_s = 0.2

    def __init__(
        self,
        pager: Pager,
        wake: threading.Event,
        *,
        out: TextIO,
        auto_ack_s: float | None = None,
        prefix: str = "",
        quiet: bool = False,
        must_connect: bool = False,
        language: str = "en",
    ) -> None:
        self._pager, self._wake, self._out, self._auto_ack_s = pager, wake, out, auto_ack_s
        self._prefix, self._quiet, self._must_connect = prefix, quiet, must_connect
        self._language, self._text = language, translation(language).gettext
        self._keys: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._due_s: dict[str, float] = {}
        self._answered: set[str] = set()
        self._colour = out.isatty()
        self._selected: str | None = None
        self._problem, self._problem_since = self._text("not connected yet"), time.strftime("%H:%M:%S")

    def turn(self) -> list[Page]:
        """Show what is new and act on pressed keys; return the pages that took a step."""
        pages = []
        for item in self._pager.poll():
            if isinstance(item, Link):
                if item.problem and self._must_connect:
                    raise BrokerError(item.problem)
                self._must_connect = False
                if bool(item.problem) != bool(self._problem):
                    self._problem_since = time.strftime("%H:%M:%S")
                self._problem = item.problem
                lost = self._text("no broker: {problem}; trying again").format(problem=item.problem)
                self._say(lost if item.problem else self._text("connected, waiting for pages"))
            elif isinstance(item, Refusal):
                self._answered.discard(item.topic.rpartition("/")[2])
                refused = self._text("the broker refuses answers on {topic}; check its access rules for this user")
                self._say(refused.format(topic=item.topic))
            elif isinstance(item, Nonsense):
                ignored = self._text("ignored what came on {topic}: {problem}")
                self._say(f"! {ignored.format(topic=item.topic[:100], problem=item.problem)}")
            elif isinstance(item, Kiosk):
                self._say(f"{'·' if item.as_it_should else '!'} {say(item, self._language)}")
            elif isinstance(item, Page):
                self._show(item)
                pages.append(item)
        while not self._keys.empty():
            self._press(self._keys.get())
        self._acknowledge_due()
        return pages

    def _acknowledge_due(self) -> None:
        for alert_id, due_s in list(self._due_s.items()):
            if time.monotonic() >= due_s:
                del self._due_s[alert_id]
                if (page := self._pager.open.get(alert_id)) is not None and page.step in PAGING:
                    self._act(page, "ack")

    def run(self, stop: threading.Event, *, once: bool = False) -> None:
        """Serve until `stop`; with `once` until the first page is acknowledged or cleared."""
        raised: set[str] = set()
        with self._keyboard(stop):
            while not stop.is_set():
                self._wake.wait(self._turn_s)
                self._wake.clear()
                steps = self.turn()
                self._refresh()
                for page in steps:
                    if page.step in PAGING:
                        raised.add(page.id)
                    elif once and page.id in raised:
                        return

    def _refresh(self) -> None:
        """Draw what changes with time; lines do not."""

    def _show(self, page: Page) -> None:
        if page.step == "cleared":
            self._answered.discard(page.id)
        if page.step in PAGING:
            self._selected = page.id
            self._answered.discard(page.id)
            if self._auto_ack_s is not None:
                self._due_s[page.id] = time.monotonic() + self._auto_ack_s
            self._say(self._headline(page))
        else:
            mark = "✓" if page.by else "·"
            self._say(f"{mark} {where(page, self._language)}: {outcome(page, self._language)}")

    def _headline(self, page: Page) -> str:
        hint = self._hints and self._auto_ack_s is None
        keys = f"   {self._text('[a]cknowledge [o]n my way [r]esolved [f]alse alarm [s]nooze')}" if hint else ""
        nobody = self._text("nobody came, paged {groups}").format(groups=" + ".join(page.groups))
        mark = "▲" if page.step == "raised" else f"▲▲ {nobody}:"
        text = self._paint(f"{mark} {title(page, self._language).upper()}", page.severity)
        place = f"{where(page, self._language)} ({page.device})"
        bell = "\a" if self._colour else ""
        return f"{bell}{text}  {place}: {looks(page, self._language)}{keys}"

    def _press(self, key: str) -> None:
        pages = list(self._pager.open.values())
        if key.isdecimal() and 0 < int(key) <= len(pages):
            self._selected = pages[int(key) - 1].id
            chosen = pages[int(key) - 1]
            self._say(self._text("selected: {page}").format(page=f"{where(chosen, self._language)} ({chosen.device})"))
        elif key in KEYS:
            page = self._target(KEYS[key])
            if page is None:
                none = self._text("no page to acknowledge") if pages and key == "a" else self._text("no open page")
                self._say(none)
            else:
                self._act(page, KEYS[key])
        elif key.strip():
            self._say(
                self._text(
                    "a acknowledge, o on my way, r resolved, f false alarm, s snooze, 1-9 choose a page, Ctrl-C quit"
                )
            )

    def _target(self, action: Action) -> Page | None:
        """Return the selected page, or the newest one that the action would change."""
        pages = [page for page in self._pager.open.values() if action != "ack" or page.id not in self._answered]
        selected = next((page for page in pages if page.id == self._selected), None)
        return (
            selected
            or next((page for page in reversed(pages) if page.step in PAGING), None)
            or (pages[-1] if pages and action != "ack" else None)
        )

    def _act(self, page: Page, action: Action) -> None:
        self._answered.add(page.id)
        self._pager.act(page, action)

    def _say(self, text: str) -> None:
        if not self._quiet:
            print(f"{self._prefix}{time.strftime('%H:%M:%S')} {text}", file=self._out, flush=True)

    def _paint(self, text: str, severity: str) -> str:
        return f"\x1b[1;{_COLOURS.get(severity, '0')}m{text}\x1b[0m" if self._colour else text

    @contextlib.contextmanager
    def _keyboard(self, stop: threading.Event) -> Iterator[None]:
        """Read single keys from a terminal, or characters from a pipe, while the block runs."""
        with _single_keys(sys.stdin):
            reader = threading.Thread(target=_read_keys, args=(self._keys, self._wake, stop), daemon=True, name="keys")
            reader.start()
            yield


def _read_keys(keys: queue.SimpleQueue[str], wake: threading.Event, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            key = os.read(sys.stdin.fileno(), 1)
        except (OSError, ValueError):
            return
        if not key:
            return
        keys.put(key.decode("ascii", errors="replace").lower())
        wake.set()


@contextlib.contextmanager
def _single_keys(stdin: TextIO) -> Iterator[None]:
    restore: Callable[[], None] = lambda: None  # noqa: E731
    if stdin.isatty():
        import termios
        import tty

        before = termios.tcgetattr(stdin)
        tty.setcbreak(stdin)

        def restore() -> None:
            termios.tcsetattr(stdin, termios.TCSADRAIN, before)

    try:
        yield
    finally:
        restore()
