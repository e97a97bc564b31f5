"""The pages `/history` and `/manager`, and what is said of pages that are over."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, tzinfo
from typing import Any, TypeVar

from aiohttp import web

from edge_agent.alerting.alert import Action
from edge_agent.config import Pager as Settings
from edge_agent.delivery.messages import is_ulid
from edge_agent.pager_server import records
from edge_agent.pager_server.history import MAX_MISSED, MAX_NOTE_CHARS, History
from edge_agent.pager_server.reports import find_zone
from edge_agent.web.pages import language_of, page

#: What the manager's page offers, in days.
SPANS = (7, 30, 90)
_T = TypeVar("_T")
#: Returns the name of who is on duty, None for nobody.
Who = Callable[[web.Request], "str | None"]
#: Takes the kiosk's topic, the alert's id, the verdict and who gave it.
Judged = Callable[[str, str, Action, str], None]


def open_history(settings: Settings, *, changed: Callable[[], None], say: Callable[[str], None]) -> History:
    """Return the history that the settings describe."""
    return History(
        settings.state_dir, days=settings.history_days, names=settings.history_names, changed=changed, say=say
    )


def add_routes(application: web.Application, history: History, settings: Settings, *, who: Who, judged: Judged) -> None:
    """Serve the pages and what they ask for; only who is on duty may say something of a page.

    Args:
        judged: told of each verdict, from the server's thread.

    Raises:
        ConfigError: there is no such time zone.
    """
    pages = _Pages(history, zone=find_zone(settings.time_zone), who=who, judged=judged)
    router = application.router
    router.add_get("/history", page("history.html"))
    router.add_get("/history.csv", pages.csv)
    router.add_get("/manager", page("manager.html"))
    router.add_get("/api/history", pages.listed)
    router.add_post("/api/history", pages.judge)
    router.add_post("/api/seen", pages.see)
    router.add_get("/api/report", pages.report)


class _Pages:
    def __init__(self, history: History, *, zone: tzinfo | None, who: Who, judged: Judged) -> None:
        self._history, self._zone, self._who, self._judged = history, zone, who, judged

    def _by(self, request: web.Request) -> str:
        name = self._who(request)
        if name is None:
            raise web.HTTPForbidden(text="begin a shift first")
        return name

    async def listed(self, request: web.Request) -> web.Response:
        query, number = _query(request), _number(request, "page", low=0, high=100_000, default=0)
        first = number * records.PAGE_ROWS

        def look_up() -> dict[str, Any]:
            rows = records.find(self._history, query, zone=self._zone, offset=first, limit=records.PAGE_ROWS)
            return {
                "rows": [self._as_row(row) for row in rows],
                "count": records.count(self._history, query, zone=self._zone),
                "kiosks": records.kiosks(self._history),
                "first": first,
                "names": self._history.names,
            }

        return web.json_response(await _in_thread(look_up))

    def _as_row(self, row: dict[str, Any]) -> dict[str, Any]:
        raised = datetime.fromtimestamp(row["raised_s"], self._zone)
        return {**row, "raised": raised.replace(tzinfo=None).isoformat(timespec="seconds")}

    async def csv(self, request: web.Request) -> web.Response:
        query, language = _query(request), language_of(request)

        def write() -> str:
            rows = records.find(self._history, query, zone=self._zone, offset=0)
            return records.as_csv(rows, zone=self._zone, language=language, names=self._history.names)

        return web.Response(
            text=await _in_thread(write),
            content_type="text/csv",
            charset="utf-8",
            headers={"Content-Disposition": 'attachment; filename="history.csv"'},
        )

    async def judge(self, request: web.Request) -> web.Response:
        by, body = self._by(request), await _body(request)
        alert_id, verdict, note = body.get("id"), body.get("verdict"), body.get("note")
        if not isinstance(alert_id, str) or not is_ulid(alert_id) or verdict not in (None, "resolve", "false_alarm"):
            raise web.HTTPBadRequest(text="no verdict on a page")
        if note is not None:
            note = " ".join(note.split()) if isinstance(note, str) else "\0"
            if len(note) > MAX_NOTE_CHARS or not note.isprintable():
                raise web.HTTPBadRequest(text=f"a note has up to {MAX_NOTE_CHARS} printable characters")
        topic = await _in_thread(lambda: self._history.judge(alert_id, by=by, verdict=verdict, note=note))
        if topic is None:
            raise web.HTTPNotFound(text="there is no such page that is over")
        if verdict is not None:
            self._judged(topic, alert_id, verdict, by)
        return web.json_response({})

    async def see(self, request: web.Request) -> web.Response:
        by, body = self._by(request), await _body(request)
        ids = body.get("ids")
        if (
            not isinstance(ids, list)
            or len(ids) > MAX_MISSED
            or not all(isinstance(one, str) and is_ulid(one) for one in ids)
        ):
            raise web.HTTPBadRequest(text=f"no list of at most {MAX_MISSED} pages")
        await _in_thread(lambda: self._history.see(ids, by=by))
        return web.json_response({})

    async def report(self, request: web.Request) -> web.Response:
        days = _number(request, "days", low=SPANS[0], high=SPANS[-1], default=SPANS[0])
        made = await _in_thread(
            lambda: records.make_report(self._history, days=days, now_s=time.time(), zone=self._zone)
        )
        return web.json_response(made)


def _query(request: web.Request) -> records.Query:
    try:
        return records.parse_query(request.query)
    except ValueError:
        raise web.HTTPBadRequest(text="no such filter") from None


def _number(request: web.Request, key: str, *, low: int, high: int, default: int) -> int:
    text = request.query.get(key, str(default))
    if not (text.isascii() and text.isdecimal() and low <= int(text[:9]) <= high):
        raise web.HTTPBadRequest(text=f"{key} is no number from {low} to {high}")
    return int(text)


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except (ValueError, LookupError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="no JSON object")
    return body


def _in_thread(work: Callable[[], _T]) -> Awaitable[_T]:
    """Run what waits for the disk beside the server's loop; a disk that fails is told to who asked."""

    async def run() -> _T:
        try:
            return await asyncio.to_thread(work)
        except sqlite3.Error as error:
            raise web.HTTPServiceUnavailable(text=f"the history cannot be used: {error}") from None

    return run()
