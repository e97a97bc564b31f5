"""Every route of every server, asked what no page of ours asks: no answer is a failure, and no log has a traceback."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from aiohttp import web
from doors import (
    METHODS,
    ODD,
    OURS,
    TOKEN,
    Tracebacks,
    ask_all,
    live_view,
    on_duty,
    paths,
    request,
    requests,
    web_pager,
)

from edge_agent import config
from edge_agent.agent.metrics import Metrics
from edge_agent.setup.draft import Draft
from edge_agent.setup.page import OneTimeCode, Wizard
from edge_agent.web.serving import Server


@pytest.fixture
def state_dir(tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    return tmp_path


@pytest.fixture
def ending():
    with ExitStack() as stack:
        yield stack


def join_page(state_dir, ending: ExitStack) -> Server:
    door = web_pager(state_dir, ending, token=True, host="0.0.0.0")._joining._door
    assert door is not None
    return door


def wizard(state_dir, ending: ExitStack) -> Server:
    asked = Wizard(Draft(state_dir / "config.yaml"), OneTimeCode(tell=lambda _: None), secure=False)
    ending.callback(asked.preview.close)
    server = Server(asked.application, host="127.0.0.1", port=0)
    ending.callback(server.stop)
    return server


#: The server and who asks it, and what they get of its first page.
SERVERS: dict[str, tuple[Callable[..., tuple[Server, bytes]], int]] = {
    "live view": (lambda *where: (live_view(*where, token=False), OURS), 200),
    "live view, a stranger": (lambda *where: (live_view(*where, token=True), b""), 401),
    "pager, on duty": (on_duty, 200),
    "pager, a stranger": (lambda *where: (web_pager(*where, token=True)._server, b""), 401),
    "wizard, without its code": (lambda *where: (wizard(*where), b""), 401),
    "join page over plain HTTP": (lambda *where: (join_page(*where), b""), 200),
}  # fmt: skip


@pytest.mark.parametrize("name", SERVERS)
def test_odd_requests_are_answered_and_leave_nothing_in_the_log(state_dir, ending, name):
    start, status = SERVERS[name]
    server, known = start(state_dir, ending)
    reached = paths(server._runner.app)
    assert len(reached) > 12
    with Tracebacks() as logged:
        answered = dict(ask_all(server.port, requests(reached, known=known)))
        assert {what: said for what, said in answered.items() if said >= 500} == {}
        [(_, good)] = ask_all(server.port, [("good", request("/", "GET", ODD["nothing"], known), True)])
    assert good == status
    if name == "pager, on duty":
        assert answered["POST /api/seen: JSON, list"] == 400  # and not 403: it got as far as that
    assert logged.found == []


def test_a_fault_of_our_own_is_still_logged(ending):
    async def fail(_request: web.Request) -> web.Response:
        raise KeyError("a fault of our own")

    broken = web.Application()
    broken.router.add_get("/", fail)
    server = Server(broken, host="127.0.0.1", port=0)
    ending.callback(server.stop)
    with Tracebacks() as logged:
        assert ask_all(server.port, [("fault", request("/", "GET", ODD["nothing"]), True)]) == [("fault", 500)]
    assert "a fault of our own" in logged.found[0]


def test_odd_requests_for_metrics_are_answered_and_leave_nothing_in_the_log(ending, capfd):
    metrics = Metrics(config.Metrics(enabled=True, port=0), {})
    ending.callback(metrics.close)
    reached = dict.fromkeys(("/", "/metrics", "/x?name[]=%00", "*", "//"), frozenset(METHODS))
    with Tracebacks() as logged:
        answered = ask_all(metrics.port, requests(reached))
        assert [one for one in answered if one[1] >= 500] == []
        assert ask_all(metrics.port, [("good", request("/metrics", "GET", ODD["nothing"]), True)]) == [("good", 200)]
    assert logged.found == []
    assert capfd.readouterr().err == ""


def test_who_leaves_while_a_large_frame_is_packed_is_no_fault(ending):
    started = threading.Event()

    async def watch(request: web.Request) -> web.WebSocketResponse:
        sock = web.WebSocketResponse()
        await sock.prepare(request)

        async def send() -> None:
            while True:
                await sock.send_bytes(random.randbytes(2_000_000))
                started.set()

        sending = asyncio.ensure_future(send())
        async for _ in sock:
            pass
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await sending
        return sock

    watched = web.Application()
    watched.router.add_get("/ws", watch)
    server = Server(watched, host="127.0.0.1", port=0)
    ending.callback(server.stop)
    asked = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    asked += b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    with Tracebacks() as logged:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.port)) as link:
                link.sendall(asked)
                while not started.is_set():
                    assert link.recv(1 << 20)
            started.clear()
        server.stop()
        gc.collect()
    assert logged.found == []
