"""The pager on a whole terminal: a panel for each open page, and the latest lines below."""

from __future__ import annotations

import threading
import time
from collections import deque
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from edge_agent.pager.kiosks import in_words
from edge_agent.pager.page import Page
from edge_agent.pager.terminal import TerminalPager

_LINES = 12
_COLOURS = {"info": "cyan", "warning": "yellow", "critical": "red"}
_KEYS = "[a]cknowledge  [o]n my way  [r]esolved  [f]alse alarm  [s]nooze  [1-9] choose  Ctrl-C quit"


class ScreenPager(TerminalPager):
    """A terminal pager that keeps what is open in view."""

    _keys_hint = ""

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
        return Group(*(panels or [self._no_page()]), Text(self._who_watches(), style="bold"), Text(_KEYS), lines)

    def _no_page(self) -> Panel:
        if self._problem:
            return Panel(Text("Nobody knows what is open: there is no broker.", style="bold red"), title="Staff pager")
        if self._pager.calm:
            return Panel(Text("No open page. All is calm.", style="green"), title="Staff pager")
        return Panel(Text("No open page, but not everybody watches.", style="bold yellow"), title="Staff pager")

    def _who_watches(self) -> str:
        if self._problem:
            return f"no broker since {self._problem_since}: {self._problem}"
        return in_words(self._pager.watched())

    def _panel(self, number: int, page: Page) -> Panel:
        paging = page.step in ("raised", "escalated")
        where = page.place if page.zone == "view" else f"{page.place}, {page.zone}"
        text = Text()
        text.append(f"{page.message}\n", style="bold")
        text.append(
            f"{where} ({page.device}), since {_since(page.raised_at)}: {'/'.join(page.emotions)} {page.score:.2f}"
            f"{f', {page.crowd}' if page.crowd else ''}\n"
        )
        coming = "is on the way" if page.reason == "on_my_way" else "has seen it"
        text.append("nobody has answered yet" if paging else f"{page.by} {coming}", style="bold" if paging else "green")
        mark = " ◀" if page.id == self._selected else ""
        colour = _COLOURS.get(page.severity, "white") if paging else "green"
        return Panel(text, title=f"{number} {page.severity}{mark}", border_style=colour)


def _since(raised_at: str) -> str:
    try:
        began_s = datetime.fromisoformat(raised_at.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return "a while"
    seconds = max(0, round(time.time() - began_s))
    return f"{seconds // 60}:{seconds % 60:02}"
