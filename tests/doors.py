"""What no page of ours sends, for every route of a server: methods, bodies, headers and paths, over real sockets."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from edge_agent import config
from edge_agent.config import Config, Notify, Target
from edge_agent.pager.client import Pager
from edge_agent.pager_server.server import WebPager
from edge_agent.pipeline import Pipeline
from edge_agent.testing import FakeBus
from edge_agent.web.live import LiveView
from edge_agent.web.live_server import LiveServer
from edge_agent.web.serving import Server

TOKEN = "a-token-of-twenty-chars"
#: Headers of our own pages, and of who is logged in.
OURS = b"X-Requested-With: edge-agent\r\n"
LOGIN = OURS + f"Authorization: Bearer {TOKEN}\r\n".encode()

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW")
#: A path that every server has.
ANY_PATH = "/login"
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")
_ONE_OF = 13
#: Instead of what a route has in braces, or below it.
_PARTS = ("x", "..%2f..%2fetc%2fpasswd", "%00", "%ff", "%E2%80%AE", "x" * 5000)
_QUERIES = (
    "search=%00&kiosk=%ff&kind=x&from=9999-99-99&page=-1&days=1e9",
    "search=" + "%25" * 2000,
    "from=0001-01-01&to=9999-12-31&page=100000&days=90",
)
_JSON, _FORM = b"Content-Type: application/json\r\n", b"Content-Type: application/x-www-form-urlencoded\r\n"
_PARTED = b"Content-Type: multipart/form-data; boundary=x\r\n"
_NESTED = (
    b'--x\r\nContent-Disposition: form-data; name="token"\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n'
    b"--y\r\nContent-Type: multipart/mixed; boundary=z\r\n\r\n--z\r\n\r\n"
)
#: A request is waited for as long; an answer that takes longer is none.
_PATIENCE_S = 30.0
_AT_ONCE = 24


@dataclass(frozen=True)
class Said:
    """Headers and a body; `whole` where the body is as long as the headers say, so that there must be an answer."""

    headers: bytes = b""
    body: bytes = b""
    whole: bool = True


def with_length(headers: bytes, body: bytes) -> Said:
    """Return them with the right Content-Length."""
    return Said(headers + b"Content-Length: %d\r\n" % len(body), body)


ODD: dict[str, Said] = {
    "nothing": Said(),
    "JSON, cut": with_length(_JSON, b'{"name": "'),
    "JSON, list": with_length(_JSON, b"[1, [2], null]"),
    "JSON, null": with_length(_JSON, b"null"),
    "JSON, wrong values": with_length(
        _JSON,
        b'{"name": {}, "shift": [], "pin": 1e999, "id": 7, "ids": [null], "endpoint": {}, "keys": "", "verdict": []}',
    ),
    "JSON, half a surrogate pair": with_length(
        _JSON, b'{"name": "\\ud800", "shift": "\\ud800", "pin": "\\ud800", "endpoint": "\\ud800"}'
    ),
    "JSON, nested lists": with_length(_JSON, b"[" * 60_000),
    "JSON, nested objects": with_length(_JSON, b'{"a":' * 12_000),
    "JSON, long number": with_length(_JSON, b"9" * 60_000),
    "JSON, no UTF-8": with_length(_JSON, b'{"name": "\xff\xfe"}'),
    "form": with_length(_FORM, b"token=%ff%00&token&=&" + b"a=b&" * 2000),
    "form, of an odd charset": with_length(_FORM.replace(b"\r", b"; charset=unicode_escape\r"), b"token=\\ud800"),
    "form, of no charset": with_length(_FORM.replace(b"\r", b'; charset="\xff"\r'), b"a"),
    "multipart, nested, without end": with_length(_PARTED, _NESTED),
    "multipart, without boundary": with_length(b"Content-Type: multipart/form-data\r\n", b"--x\r\n\r\n"),
    "no type": with_length(b"Content-Type: ;;;=\r\n", b"\0" * 100),
    "larger than anything": with_length(_JSON, b" " * 200_000),
    "gzip that is none": with_length(_JSON + b"Content-Encoding: gzip\r\n", b"not compressed"),
    "deflate that is none": with_length(_FORM + b"Content-Encoding: deflate\r\n", b"token=x"),
    "form, gzip that is none": with_length(_FORM + b"Content-Encoding: gzip\r\n", b"token=x"),
    "chunks": Said(_JSON + b"Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
    "chunks of no length": Said(_JSON + b"Transfer-Encoding: chunked\r\n", b"zz\r\n{}\r\n0\r\n\r\n"),
    "too short a length": Said(_JSON + b"Content-Length: 1\r\n", b'{"name": "Kim"}'),
    "too long a length": Said(_JSON + b"Content-Length: 60000\r\n", b"{}", whole=False),
    "no length": Said(_JSON + b"Content-Length: x\r\n", b"{}"),
    "two lengths": Said(_JSON + b"Content-Length: 2\r\nContent-Length: 3\r\n", b"{} "),
    "huge header": Said(b"X-Long: " + b"x" * 30_000 + b"\r\n"),
    "many headers": Said(b"X: y\r\n" * 2000),
    "odd headers": Said(
        b'Cookie: \xff; =; edge-agent-shift-80=\xff; a="\r\nAuthorization: Bearer \xff\r\n'
        b"Accept-Language: ;q=nan,\xff\r\nRange: bytes=9-1\r\n"
        b"If-Modified-Since: x\r\nOrigin: \xff\r\nExpect: x\r\nAccept-Encoding: \xff\r\n"
    ),
    "an odd expectation": Said(b"Expect: \xff\r\n"),
    "an upgrade": Said(
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n"
    ),
}  # fmt: skip


def paths(application: web.Application) -> dict[str, frozenset[str]]:
    """Return what reaches each route of an application, and nothing, and the methods that are served there.

    What a route has in braces is filled with odd parts.
    """
    found: dict[str, frozenset[str]] = {}
    for resource in application.router.resources():
        served = frozenset(route.method for route in resource)
        fixed, brace, _ = resource.canonical.partition("{")
        found |= {fixed + part: served for part in (_PARTS if brace else ("",))}
    return {**found, **dict.fromkeys(("/login", "/nowhere", "//", "/%2e%2e/", "*", "http://other/"), frozenset())}


def requests(where: Mapping[str, frozenset[str]], *, known: bytes = b"") -> Iterator[tuple[str, bytes, bool]]:
    """Yield what is asked, in words, the request, and whether there must be an answer.

    Each path comes with each method, and each of them with each of `ODD`; all three together only where a body is
    read, for the others would take minutes.

    Args:
        known: headers of who is logged in.
    """
    turn = 0
    for path, served in where.items():
        for method in METHODS:
            all_of_them = method in _CHANGING and (method in served or path == "/login")
            turn += 1
            for number, (name, said) in enumerate(ODD.items()):
                if all_of_them or (number + turn) % _ONE_OF == 0:
                    query = "" if number % 2 else f"?{_QUERIES[turn % len(_QUERIES)]}"
                    yield f"{method} {path[:60]}: {name}", request(path + query, method, said, known), said.whole


def request(path: str, method: str, said: Said, known: bytes = b"") -> bytes:
    """Return a request to this computer."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
    return head + known + said.headers + b"\r\n" + said.body


def ask_all(port: int, asked: Iterable[tuple[str, bytes, bool]]) -> list[tuple[str, int]]:
    """Return of each request, in words, the status that answers it, 0 where the connection was closed instead.

    Raises:
        TimeoutError: there must be an answer, and there is none.
    """
    waiting, answered = iter(asked), []

    async def ask() -> None:
        for what, data, must in waiting:
            try:
                answered.append((what, await asyncio.wait_for(_ask(port, data, must), _PATIENCE_S)))
            except asyncio.TimeoutError:
                raise TimeoutError(what) from None

    async def ask_at_once() -> None:
        await asyncio.gather(*(ask() for _ in range(_AT_ONCE)))

    asyncio.run(ask_at_once())
    return answered


async def _ask(port: int, data: bytes, must: bool) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        if not must:
            await writer.drain()
            return 0
        line = await reader.readline()
        return int(line.split()[1]) if line else 0
    except ConnectionError:
        return 0
    finally:
        writer.transport.abort()


class Tracebacks(logging.Handler):
    """Keeps what is logged with a traceback, or as an error, while it is entered."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        if record.exc_info or record.levelno >= logging.ERROR:
            self.found.append(self.format(record))

    def __enter__(self) -> Tracebacks:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)


def live_view(state_dir: Path, ending: ExitStack, *, token: bool) -> Server:
    """Return a live view's server, with the token that lies in its folder or without."""
    settings = Config(
        outbox=config.Outbox(state_dir=state_dir),
        web=config.Web(enabled=True, port=0, token_file=state_dir / "token" if token else None),
    )
    serving = LiveServer(settings, LiveView(settings, Pipeline(settings, new_id=lambda: "0" * 26)))
    ending.callback(serving.close)
    return serving._server


def web_pager(state_dir: Path, ending: ExitStack, *, token: bool, host: str = "127.0.0.1") -> WebPager:
    """Return a pager's server whose broker is in memory."""
    notify = Notify(
        push_contact="mailto:a@b.example", targets=(Target(name="duty-phone", url_file=state_dir / "token"),)
    )
    settings = config.Pager(host=host, port=0, join_port=0, state_dir=state_dir, url="https://pager.example")
    pager = WebPager(
        Pager(FakeBus(), name="web"), threading.Event(), settings, token=TOKEN if token else None, notify=notify,
        say=lambda _: None,
    )  # fmt: skip
    stopped = threading.Event()
    stopped.set()
    ending.callback(pager.run, stopped)
    return pager


def on_duty(state_dir: Path, ending: ExitStack) -> tuple[Server, bytes]:
    """Return a pager's server, and the headers of somebody who has begun a shift there."""
    pager = web_pager(state_dir, ending, token=True)
    shift = pager._roster.begin("Kim", shift="", pin="")
    return pager._server, LOGIN + f"Cookie: edge-agent-shift-80={shift}\r\n".encode()
