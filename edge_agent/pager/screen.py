"""The pager on a whole terminal: a panel for each open page, and the latest lines below."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from edge_agent.pager.kiosks import parse_time
from edge_agent.pager.page import Page
from edge_agent.pager.terminal import TerminalPager
from edge_agent.pager.words import in_words, looks, outcome, title, where

_LINES = 12
_COLOURS = {"info": "cyan", "warning": "yellow", "critical": "red"}


class ScreenPager(TerminalPager):
    """A terminal pager that keeps what is open in view."""

    _hints = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._live: Live | None = None

    def run(self, stop: threading.Event, *, once: bool = False) -> None:
        """Serve until `stop`."""
        with Live(self._picture(), screen=True, auto_refresh=False) as live:
            self._live = live
            super().run(stop, once=once)

    def _say(self, text: str) -> None:
        if text.startswith("\a"):
            print("\a", end="", file=self._out, flush=True)
        self._lines.append(f"{time.strftime('%H:%M:%S')} {text.removeprefix(chr(7))}")

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)

    def _picture(self) -> RenderableType:
        pages = list(self._pager.open.values())
        panels = [self._panel(number, page) for number, page in enumerate(pages, start=1)]
        lines = Text.from_ansi("\n".join(self._lines), style="dim")
        below = (Text(self._who_watches(), style="bold"), Text(self._keys_line()), lines)
        return Group(*(panels or [self._no_page()]), *below)

    def _keys_line(self) -> str:
        return self._text("[a]cknowledge [o]n my way [r]esolved [f]alse alarm [s]nooze [1-9] choose  Ctrl-C quit")

    def _no_page(self) -> Panel:
        heading = self._text("Staff pager")
        if self._problem:
            nobody = self._text("Nobody knows what is open while there is no connection.")
            return Panel(Text(nobody, style="bold red"), title=heading)
        if self._pager.calm:
            return Panel(Text(self._text("No open page. All is calm."), style="green"), title=heading)
        return Panel(Text(self._text("No open page, but not everybody watches."), style="bold yellow"), title=heading)

    def _who_watches(self) -> str:
        if self._problem:
            lost = self._text("No broker since {time}: {problem}")
            return lost.format(time=self._problem_since, problem=self._problem)
        return in_words(self._pager.looked_after(), self._language)

    def _panel(self, number: int, page: Page) -> Panel:
        paging = page.step in ("raised", "escalated")
        text = Text()
        text.append(f"{title(page, self._language)}\n", style="bold")
        text.append(
            f"{where(page, self._language)} ({page.device}), {self._since(page.raised_at)}: "
            f"{looks(page, self._language)}\n"
        )
        state = self._text("Nobody has answered yet") if paging else outcome(page, self._language)
        text.append(state, style="bold" if paging else "green")
        mark = " ◀" if page.id == self._selected else ""
        colour = _COLOURS.get(page.severity, "white") if paging else "green"
        return Panel(text, title=f"{number} {self._text(page.severity)}{mark}", border_style=colour)

    def _since(self, raised_at: str) -> str:
        began_s = parse_time(raised_at)
        if began_s is None:
            return "?"
        seconds = max(0, round(time.time() - began_s))
        return self._text("since {time}").format(time=f"{seconds // 60}:{seconds % 60:02}")
