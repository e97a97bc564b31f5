"""The pager as a page for phones: one process at the site talks MQTT, any number of staff look at it in a browser."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from aiohttp import WSMsgType, web

from edge_agent.alerting.alert import Action
from edge_agent.config import Notify
from edge_agent.config import Pager as Settings
from edge_agent.delivery.messages import ACTIONS
from edge_agent.pager.client import Pager
from edge_agent.pager.duty import Duty, watched
from edge_agent.pager.news import CONNECTED_ANEW, Link, Nonsense, Refusal
from edge_agent.pager.page import Page
from edge_agent.pager.satisfied import Satisfied
from edge_agent.pager_server import history_pages, reach
from edge_agent.pager_server.fleet_page import FleetPage
from edge_agent.pager_server.history import MAX_MISSED
from edge_agent.pager_server.joining import OPEN, Joining
from edge_agent.pager_server.keys import shift_key
from edge_agent.pager_server.reach import ANSWER, Reach
from edge_agent.pager_server.roster import SHIFT_S, OnDuty, RefusedError, Roster
from edge_agent.web.access import make_application
from edge_agent.web.serving import Server, add_static

_RECENT = 30
#: So many are listed to a browser.
_MAX_KIOSKS = 200
_SAY_AGAIN_S = 4.0
#: Browsers are told something new at most so often, and within so many seconds of its coming.
_TELL_EVERY_S = 0.1
#: Of a name, a shift, a PIN.
_MAX_CHARS = 200


@dataclass(eq=False, slots=True)
class _Browser:
    """Somebody's page; `changed` when it has to be told something."""

    person: OnDuty
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class WebPager:
    """Shows pages to every browser and passes on what staff answer.

    Args:
        wake: set by the bus when something came.
        token: to log in with; None for this computer only.
        notify: how the notifier beside it is set up.

    Raises:
        ConfigError: the address cannot be listened on, or the certificate or a key cannot be used.
        StateError: `pager.state_dir` cannot be used.
    """

    def __init__(
        self,
        pager: Pager,
        wake: threading.Event,
        settings: Settings,
        *,
        token: str | None,
        notify: Notify | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self._pager, self._wake, self._say = pager, wake, say
        self._roster = Roster(settings.staff, settings.shifts, key=shift_key(settings.state_dir))
        self._joining = Joining(settings, token=token, say=say)
        self._secure = self._joining.tls is not None
        #: Alert id, action, who answers, and the revision they saw, 0 where a page from before an update does not say.
        self._answers: queue.SimpleQueue[tuple[str, Action, str, int]] = queue.SimpleQueue()
        #: With when it came, seconds since 1970.
        self._recent: deque[tuple[Page, float]] = deque(maxlen=_RECENT)
        self._problem, self._problem_unix_s = "not connected to the broker yet", time.time()
        #: Topic of a kiosk whose snoozes are to be lifted, and who says so.
        self._lifted: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        #: What was said of pages that are over: topic of the kiosk, alert id, verdict, by whom.
        self._verdicts: queue.SimpleQueue[tuple[str, str, Action, str]] = queue.SimpleQueue()
        self._history = history_pages.open_history(settings, changed=wake.set, say=say)
        pager.heard = self._history.note
        self._reach = Reach(
            settings, notify or Notify(), pages=pager.open, answer=self.answer, ready=lambda: not self._problem,
            person=self._on_duty, say=say,
        )  # fmt: skip
        self._browsers: set[_Browser] = set()
        #: Shift → what its browsers are told.
        self._texts = self._snapshots()
        self._told_s = float("-inf")
        application = make_application(
            token=token, title="Staff pager", secure=self._secure, open_to_all=OPEN | {ANSWER}
        )
        add_static(
            application,
            ("/", "pager.html"),
            ("/icon.svg", "icon.svg"),
            ("/icon-192.png", "icon-192.png"),
            ("/icon-512.png", "icon-512.png"),
            ("/manifest.webmanifest", "pager.webmanifest"),
            ("/worker.js", "worker.js"),
            language=settings.language,
        )
        application.router.add_get("/ws", self._serve)
        reach.add_routes(application, self._reach)
        application.router.add_get("/api/shift", self._offer_shift)
        application.router.add_post("/api/shift", self._begin_shift)
        application.router.add_delete("/api/shift", self._end_shift)
        history_pages.add_routes(application, self._history, settings, who=self._name_of, judged=self._judge)
        self._fleet = FleetPage(pager, self._history)
        self._fleet.add_routes(application)
        self._joining.add_routes(application)
        self._server = Server(application, host=settings.host, port=settings.port, tls=self._joining.tls)
        self._joining.open(self._server)
        self.url = self._server.url

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop`."""
        for line in self._joining.announcement():
            self._say(line)
        self._reach.announce()
        try:
            while not stop.is_set():
                self._wake.wait(_TELL_EVERY_S)
                self._wake.clear()
                self.turn()
                self._joining.look()
        finally:
            self._joining.close()
            self._server.stop()
            self._history.close()

    def turn(self) -> None:
        """Pass on what is new in both directions."""
        self._pass_on()
        for item in self._pager.poll():
            if isinstance(item, Link):
                self._note_link(item)
            elif isinstance(item, Refusal):
                self._note_problem(f"the broker refuses answers on {item.topic}")
                self._say(self._problem)
            elif isinstance(item, Nonsense):
                self._say(f"ignored what came on {item.topic[:100]}: {item.problem}")
            elif isinstance(item, Satisfied):
                self._history.note_summary(item)
            elif isinstance(item, Page):
                self._recent.appendleft((item, round(time.time(), 1)))
        self._look_back()
        self._fleet.turn(self._problem)
        # What everybody sees is written anew, which takes longer than to take a message in.
        if time.monotonic() - self._told_s < _TELL_EVERY_S:
            return
        self._told_s = time.monotonic()
        texts = self._snapshots()
        if texts != self._texts:
            changed = {shift for shift, text in texts.items() if text != self._texts[shift]}
            self._texts = texts
            self._server.loop.call_soon_threadsafe(self._announce, changed)

    def _pass_on(self) -> None:
        while not self._answers.empty():
            alert_id, action, by, revision = self._answers.get()
            page = self._pager.open.get(alert_id)
            if page is not None:
                self._pager.act(replace(page, revision=min(revision or page.revision, page.revision)), action, by=by)
        while not self._lifted.empty():
            topic, by = self._lifted.get()
            kiosk = self._pager.kiosks.get(topic)
            if kiosk is not None:
                self._pager.lift_snoozes(kiosk, by=by)

    def _look_back(self) -> None:
        while not self._verdicts.empty():
            topic, alert_id, verdict, by = self._verdicts.get()
            self._pager.judge(topic, alert_id, verdict, by=by)
        self._history.settle(self._pager.open, connected=not self._problem)

    def _note_link(self, link: Link) -> None:
        self._note_problem(link.problem)
        up = CONNECTED_ANEW if link.forgotten else "connected to the broker"
        self._say(f"no broker: {link.problem}; trying again" if link.problem else up)

    def _note_problem(self, problem: str) -> None:
        if bool(problem) != bool(self._problem):
            self._problem_unix_s = time.time()
        self._problem = problem

    def _snapshots(self) -> dict[str, str]:
        present = {browser.person.duty for browser in list(self._browsers)}
        return {shift: self._snapshot(duty, present - {duty}) for shift, duty in self._roster.duties.items()}

    def _snapshot(self, duty: Duty, others: set[Duty]) -> str:
        kiosks = duty.of(self._pager.kiosks.all())
        pages = []
        for page in self._pager.open.values():
            mine = duty.covers(page)
            # A page that nobody else's screen shows is everybody's.
            if mine or not any(other.covers(page) for other in others):
                kiosk = self._pager.kiosks.get(page.device_topic)
                pages.append({**_as_card(page), "dead": kiosk is not None and kiosk.dead, "stray": not mine})
        missed = [one for one in self._history.missed if self._is_of(duty, one)]
        return json.dumps({
            "problem": self._problem,
            "problem_unix_s": round(self._problem_unix_s),
            "kiosks": [{**asdict(kiosk), "name": kiosk.name} for kiosk in kiosks[:_MAX_KIOSKS]],
            "calm": watched(kiosks) and not pages,
            "pages": pages,
            "recent": [{**_as_card(page), "unix_s": at_s} for page, at_s in self._recent if duty.covers(page)],
            "missed": missed[:MAX_MISSED],
            "missed_count": self._history.missed_count if duty == Duty() else len(missed),
            "notifier": self._reach.status(),
        })  # fmt: skip

    def _is_of(self, duty: Duty, missed: dict[str, Any]) -> bool:
        """Tell whether a shift is shown a missed page; one that no shift looks after is everybody's."""
        of = missed["groups"].split(", "), "/".join(missed["topic"].split("/")[-2:])
        return duty.concerns(*of) or not any(other.concerns(*of) for other in self._roster.duties.values())

    def _announce(self, shifts: set[str]) -> None:
        for browser in self._browsers:
            if browser.person.shift in shifts:
                browser.changed.set()

    def _on_duty(self, request: web.Request) -> OnDuty | None:
        return self._roster.find(request.cookies.get(self._cookie(request), ""))

    def _name_of(self, request: web.Request) -> str | None:
        person = self._on_duty(request)
        return None if person is None else person.name

    def _cookie(self, request: web.Request) -> str:
        # Browsers tell no ports apart, so two pages of one host must not share one.
        return f"edge-agent-shift-{request.url.port}"

    async def _offer_shift(self, request: web.Request) -> web.Response:
        person = self._on_duty(request)
        mine = None if person is None else {"name": person.name, "shift": person.shift}
        return web.json_response({**self._roster.offered(), "mine": mine})

    async def _begin_shift(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
            name, shift, pin = (body[key] for key in ("name", "shift", "pin"))
            if not all(isinstance(value, str) and len(value) <= _MAX_CHARS for value in (name, shift, pin)):
                raise web.HTTPBadRequest(text="no shift")
        except (ValueError, KeyError, TypeError, RecursionError):
            raise web.HTTPBadRequest(text="no shift") from None
        loop = asyncio.get_running_loop()
        try:
            proof = await loop.run_in_executor(None, lambda: self._roster.begin(name.strip(), shift=shift, pin=pin))
        except RefusedError as error:
            self._say(f"{name.strip()[:64]!r} may not begin a shift: {error}")
            return web.json_response({"problem": str(error), "wait_s": math.ceil(error.wait_s)}, status=403)
        response = web.json_response({})
        response.set_cookie(
            self._cookie(request), proof, max_age=SHIFT_S, httponly=True, samesite="Strict", secure=self._secure
        )
        return response

    async def _end_shift(self, request: web.Request) -> web.Response:
        response = web.json_response({})
        response.del_cookie(self._cookie(request))
        return response

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        person = self._on_duty(request)
        if person is None:
            raise web.HTTPUnauthorized(text="begin a shift first")
        socket = web.WebSocketResponse(heartbeat=10, max_msg_size=4096)
        await socket.prepare(request)
        browser = _Browser(person)
        browser.changed.set()
        self._browsers.add(browser)
        sending = asyncio.ensure_future(self._send(socket, browser))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._answer(message.data, by=person.name)
        finally:
            self._browsers.discard(browser)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sending
        return socket

    async def _send(self, socket: web.WebSocketResponse, browser: _Browser) -> None:
        while True:
            # Also when nothing is new: a browser that hears nothing knows that the connection is dead.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(browser.changed.wait(), _SAY_AGAIN_S)
            browser.changed.clear()
            await socket.send_str(self._texts[browser.person.shift])

    def answer(self, alert_id: str, action: Action, *, by: str, revision: int = 0) -> None:
        """Pass on what somebody says of an open page; from any thread.

        Args:
            revision: the one that was seen; 0 where it is not known.
        """
        self._answers.put((alert_id, action, by, revision))
        self._wake.set()

    def _judge(self, topic: str, alert_id: str, verdict: Action, by: str) -> None:
        self._verdicts.put((topic, alert_id, verdict, by))
        self._wake.set()

    def _answer(self, text: str, *, by: str) -> None:
        """Take an answer; what is none is ignored, the browser shows what the page became."""
        said = parse_answer(text)
        if isinstance(said, str):
            self._lifted.put((said, by))
            self._wake.set()
        elif said is not None:
            alert_id, action, revision = said
            self.answer(alert_id, action, by=by, revision=revision)


def parse_answer(text: str) -> str | tuple[str, Action, int] | None:
    """Return what a browser says: the topic of a kiosk whose snoozes end, or an alert's id, the answer to it and the
    revision that was seen, 0 where it does not say; None for anything else.
    """
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        body = json.loads(text)
        if "lift" in body:
            return str(body["lift"])
        alert_id, action, revision = body["id"], body["action"], body.get("revision", 0)
        if isinstance(alert_id, str) and action in ACTIONS and isinstance(revision, int):
            return alert_id, action, revision
    return None


def _as_card(page: Page) -> dict[str, Any]:
    card = asdict(page)
    del card["device_topic"]
    return card
