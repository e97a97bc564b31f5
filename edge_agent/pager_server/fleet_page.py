"""The page `/fleet`: all devices for who looks after them, what runs on each, and which are gone."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

from aiohttp import web

from edge_agent.pager.client import Pager
from edge_agent.pager_server import records
from edge_agent.pager_server.history import History
from edge_agent.web.pages import page

#: More are not listed to a browser.
MAX_LISTED = 500
_LOOK_EVERY_S = 1.0
#: After the broker is there, what it keeps has come.
_KEPT_WITHIN_S = 3.0


class FleetPage:
    """What is known of each device; `turn` belongs to the thread of the pager."""

    def __init__(self, pager: Pager, history: History) -> None:
        self._pager, self._history = pager, history
        self._looked_s = self._away_s = time.monotonic()
        self._listed: list[dict[str, Any]] = []
        self._problem = ""

    def add_routes(self, application: web.Application) -> None:
        """Serve the page and what it asks for."""
        application.router.add_get("/fleet", page("fleet.html"))
        application.router.add_get("/api/fleet", self._fleet)

    def turn(self, problem: str) -> None:
        """Look at the devices again, at most once a second.

        Args:
            problem: why there is no connection to the broker; empty while there is.
        """
        now_s = time.monotonic()
        if problem:
            self._away_s = now_s
        if now_s - self._looked_s < _LOOK_EVERY_S and problem == self._problem:
            return
        self._looked_s, self._problem = now_s, problem
        open_pages = Counter(one.device_topic for one in self._pager.open.values())
        kiosks = self._pager.kiosks.all()
        kiosks.sort(key=lambda one: (not open_pages[one.topic], one.as_it_should and not one.snoozed, one.name))
        self._listed = [
            {
                **asdict(kiosk), "name": kiosk.name, "open_pages": open_pages[kiosk.topic],
                **self._pager.kiosks.figures(kiosk.topic),
            }
            for kiosk in kiosks
        ]  # fmt: skip

    async def _fleet(self, _: web.Request) -> web.Response:
        listed, problem = self._listed, self._problem
        known = time.monotonic() - self._away_s > _KEPT_WITHIN_S
        try:
            last = await asyncio.to_thread(records.last_pages, self._history)
        except sqlite3.Error as error:
            raise web.HTTPServiceUnavailable(text=f"the history cannot be used: {error}") from None
        there = {device["topic"] for device in listed}
        gone = [
            {"topic": topic, "name": "/".join(topic.split("/")[-2:]), "condition": "retired", "snoozed": []}
            for topic in sorted(last.keys() - there)
            # Before the broker has said who is there, nobody is gone.
            if known
        ]
        devices = [{**device, "last_page": last.get(device["topic"])} for device in (*listed, *gone)]
        return web.json_response({"problem": problem, "count": len(devices), "devices": devices[:MAX_LISTED]})
