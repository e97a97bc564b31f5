"""The wizard as a page: whoever reads the code on the terminal may use it, once, in one browser."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import secrets
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from edge_agent.camera.address import shown
from edge_agent.errors import AgentError, CameraError, ConfigError
from edge_agent.languages import of_terminal
from edge_agent.pager_server.certificates import Own
from edge_agent.setup import finding, thresholds
from edge_agent.setup.draft import Draft, reason
from edge_agent.setup.preview import Preview, as_jpeg
from edge_agent.setup.steps import (
    INSTALL_BROKER,
    PASSWORD,
    STEPS,
    Question,
    Step,
    answer,
    next_commands,
    pager_file,
)
from edge_agent.setup.trying import broker_problem, diagnose, turn_wanted
from edge_agent.tools.notice import advice, notice
from edge_agent.vision.analysis import Vision
from edge_agent.web.access import is_loopback, make_application
from edge_agent.web.serving import Server, add_static

_CODE_BYTES, _TRIES = 5, 10
#: What the page sets besides the questions' options.
_DRAWN, _UPPER, _POSTED = ("faces.ignore_zones", "zones"), "rules.0.upper", "privacy.notice_posted"
_MAX_VISITORS = 1_000_000
T = TypeVar("T")


class OneTimeCode:
    """A code of 40 bits that logs in once, and no more after some wrong ones.

    Args:
        tell: called with what somebody at the terminal should know, one line.
    """

    def __init__(self, *, tell: Callable[[str], None]) -> None:
        self.text = base64.b32encode(secrets.token_bytes(_CODE_BYTES)).decode()
        self._left, self._tell = _TRIES, tell

    def take(self, given: str) -> bool:
        """Tell whether this is the code, and counts still."""
        if self._left <= 0:
            return False
        typed = given.replace("-", "").replace(" ", "").upper()
        if hmac.compare_digest(typed.encode("utf-8", "surrogatepass"), self.text.encode()):
            self._left = 0
            self._tell("a browser has used the code; it logs in nobody else")
            return True
        self._left -= 1
        if self._left == 0:
            self._tell(f"{_TRIES} wrong codes: the code counts no longer; run edge-agent setup --web again")
        return False


def serve(draft: Draft, *, host: str, port: int) -> int:
    """Serve the page until it is done with; return the exit code: 0 where doctor found nothing wrong.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    code = OneTimeCode(tell=lambda line: print(line, flush=True))
    with _certificate(host) as tls:
        wizard = Wizard(draft, code, secure=tls is not None)
        server = Server(wizard.application, host=host, port=port, tls=tls)
        try:
            print(f"open {server.url}\ncode: {code.text[:4]}-{code.text[4:]}", flush=True)
            wizard.ended.wait()
        finally:
            wizard.preview.close()
            server.stop()
    return 0 if wizard.well else AgentError.exit_code


@contextlib.contextmanager
def _certificate(host: str) -> Iterator[tuple[Path, Path] | None]:
    """Yield a certificate for this run only, where other computers reach the page; its fingerprint is printed."""
    if is_loopback(host):
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        files = Own(Path(folder), also=(host,)).files
        first = files[0].read_text(encoding="ascii")
        begin = first.index("-----BEGIN CERTIFICATE-----")
        end = first.index("-----END CERTIFICATE-----", begin) + len("-----END CERTIFICATE-----")
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[begin:end])).hexdigest().upper()
        print("the browser warns of the certificate; go on if it shows this fingerprint (SHA-256):")
        print(":".join(digest[at : at + 2] for at in range(0, len(digest), 2)))
        yield files


class Wizard:
    """What the page asks of this computer; one request at a time changes the draft."""

    def __init__(self, draft: Draft, code: OneTimeCode, *, secure: bool) -> None:
        self._draft, self._turn = draft, asyncio.Lock()
        self._vision: Vision | None = None
        self._doctor_runs: asyncio.Future[None] | None = None
        self._lines: list[str] = []
        self.preview = Preview()
        #: Set when the page is done with.
        self.ended = threading.Event()
        #: Whether doctor found nothing wrong.
        self.well = False
        # The token itself is never shown: only who used the code gets the session that is made of it.
        self.application = make_application(
            token=secrets.token_hex(32), title="edge-agent setup", secure=secure, code=code.take
        )
        add_static(self.application, ("/", "setup.html"), ("/icon.svg", "icon.svg"))
        get, post = self.application.router.add_get, self.application.router.add_post
        get("/api/steps", self._steps)
        get("/api/found/{key}", self._found)
        get("/api/picture", self._picture)
        get("/api/turn", self._turn_wanted)
        get("/api/thresholds", self._thresholds)
        get("/api/told", self._told)
        post("/api/answers", self._answers)
        post("/api/broker", self._broker)
        post("/api/write", self._write)
        post("/api/doctor", self._doctor)
        get("/api/doctor", self._said)
        post("/api/end", self._end)

    async def _apart(self, work: Callable[[], T]) -> T:
        """Do what takes time beside the server's loop."""
        async with self._turn:
            return await asyncio.to_thread(work)

    async def _steps(self, _request: web.Request) -> web.Response:
        return web.json_response({
            "file": str(self._draft.path), "steps": [_described(step) for step in STEPS], "values": self._values(),
            "install": f"sudo {' '.join(INSTALL_BROKER)}", "hint": "" if finding.can_browse() else finding.NO_MDNS,
        })  # fmt: skip

    def _values(self) -> dict[str, Any]:
        found = {option: self._draft.get(option) for option in self._options() if option != PASSWORD}
        return {**found, "camera.device": shown(found["camera.device"])}

    def _options(self) -> dict[str, Question | None]:
        """Return what can be answered."""
        questions = [question for step in STEPS for question in (*step.by_hand, *step.questions)]
        found: dict[str, Question | None] = {question.option: question for question in questions}
        found |= dict.fromkeys((*_DRAWN, _UPPER, _POSTED))
        return {key: found[key] for key in found if self._draft.config.rules or not key.startswith("rules.")}

    async def _answers(self, request: web.Request) -> web.Response:
        """Take answers, each for itself; say of each that does not fit why."""
        body = await _body(request)
        known, problems = self._options(), dict[str, str]()
        async with self._turn:
            for option, value in body.items():
                if option not in known:
                    raise web.HTTPBadRequest(text=f"{option[:80]!r} is not asked here")
                try:
                    await asyncio.to_thread(self._answer, option, known[option], value)
                except ConfigError as error:
                    problems[option] = reason(error, option) or str(error)
        return web.json_response({"problems": problems, "values": self._values()})

    def _answer(self, option: str, question: Question | None, value: Any) -> None:
        if question is None:
            self._draft.set({option: value})
        elif not isinstance(value, str):
            raise ConfigError("not a text")
        elif option != "camera.device" or value != shown(self._draft.get(option)):
            answer(self._draft, question, value)

    async def _found(self, request: web.Request) -> web.Response:
        step = next((step for step in STEPS if step.key == request.match_info["key"]), None)
        if step is None or step.find is None:
            raise web.HTTPNotFound
        found = await self._apart(step.find)
        return web.json_response([{"label": one.label, "values": dict(one.values)} for one in found])

    async def _picture(self, _request: web.Request) -> web.Response:
        camera = self._draft.config.camera
        try:
            image = await asyncio.to_thread(self.preview.picture, camera)
        except CameraError as error:
            raise web.HTTPServiceUnavailable(text=str(error)) from None
        return web.Response(body=as_jpeg(image), content_type="image/jpeg")

    async def _turn_wanted(self, _request: web.Request) -> web.Response:
        def look() -> int | None:
            config = self._draft.config
            self._vision = self._vision or Vision(config)
            with contextlib.suppress(CameraError):
                return turn_wanted(config, self.preview.picture(config.camera), self._vision)
            return None

        return web.json_response({"rotate": await self._apart(look)})

    async def _thresholds(self, request: web.Request) -> web.Response:
        given = request.query.get("visitors", "")
        visitors = int(given) if given.isdecimal() and 0 < int(given[:9]) < _MAX_VISITORS else thresholds.VISITORS
        config = self._draft.config
        if not config.rules:
            return web.json_response({"visitors": visitors, "meanings": [], "measured": True})
        offered = await self._apart(lambda: thresholds.meanings(config, visitors=visitors))
        return web.json_response({
            "visitors": visitors, "meanings": [{"label": one.label, "upper": one.upper} for one in offered],
            "measured": thresholds.is_measured(config),
        })  # fmt: skip

    async def _told(self, _request: web.Request) -> web.Response:
        """Send what is read rather than answered: the sign, a pager's file, what would be written."""
        config, language = self._draft.config, of_terminal()
        return web.json_response({
            "sign": notice(config, language), "advice": advice(config.site.jurisdiction, [language]),
            "pager": pager_file(config), "changes": self._draft.changes(), "next": next_commands(self._draft.path),
        })  # fmt: skip

    async def _broker(self, _request: web.Request) -> web.Response:
        works, said = await self._apart(lambda: broker_problem(self._draft))
        return web.json_response({"works": works, "said": said})

    async def _write(self, _request: web.Request) -> web.Response:
        try:
            files = await self._apart(self._draft.write)
        except ConfigError as error:
            raise web.HTTPConflict(text=str(error)) from None
        return web.json_response({"files": [str(file) for file in files]})

    async def _doctor(self, _request: web.Request) -> web.Response:
        """Begin to run doctor, which may take longer than one request."""
        if self._doctor_runs is None:
            self._doctor_runs = asyncio.ensure_future(asyncio.to_thread(self._diagnose))
        return web.json_response({})

    def _diagnose(self) -> None:
        self.preview.close()  # the camera is doctor's now
        for line in diagnose(self._draft.path, self._draft.config):
            self.well = line == "ok"
            self._lines.append(line)

    async def _said(self, _request: web.Request) -> web.Response:
        """Send what doctor has said so far; the last line is `ok` or `failed`."""
        return web.json_response(self._lines)

    async def _end(self, _request: web.Request) -> web.Response:
        asyncio.get_running_loop().call_later(0.2, self.ended.set)  # after the answer has left
        return web.json_response({})


def _described(step: Step) -> dict[str, Any]:
    def asked(questions: Any) -> list[dict[str, Any]]:
        return [{"option": q.option, "text": q.text, "kind": q.kind, "choices": q.choices} for q in questions]

    return {
        "key": step.key, "title": step.title, "text": step.text, "finds": step.find is not None,
        "by_hand": asked(step.by_hand), "questions": asked(step.questions),
    }  # fmt: skip


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="not a mapping of options and values")
    return body
