"""Changes come from our own pages only: what no foreign page can send along is asked for with each."""

from __future__ import annotations

import contextlib
import socket
import urllib.error
import urllib.request

import pytest
from aiohttp import web
from conftest import PATIENCE_S

from edge_agent.web.access import make_application
from edge_agent.web.door import MAX_OF_ONE
from edge_agent.web.serving import Server

TOKEN = "a-token-of-twenty-chars"
OURS = {"X-Requested-With": "edge-agent"}


@pytest.fixture(params=[None, TOKEN], ids=["loopback", "token"])
def server(request):
    """A server with something to change, and what a browser that may do so sends along; returns what was changed."""
    changed: list[str] = []

    async def change(incoming: web.Request) -> web.Response:
        changed.append(incoming.method)
        return web.Response(text="done")

    application = make_application(token=request.param, title="test")
    application.router.add_route("*", "/api/thing", change)
    server = Server(application, host="127.0.0.1", port=0)
    known = {} if request.param is None else {"Authorization": f"Bearer {TOKEN}"}
    yield server, known, changed
    server.stop()


def ask(url: str, method: str, headers: dict[str, str]) -> int:
    request = urllib.request.Request(url + "api/thing", method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_change_without_the_header_of_our_pages_is_refused_and_with_it_made(server, method):
    running, known, changed = server
    for headers in (known, {**known, "X-Requested-With": "XMLHttpRequest"}, {**known, "X-Requested-With": ""}):
        assert ask(running.url, method, headers) == 403
    assert changed == []
    assert ask(running.url, method, {**known, **OURS}) == 200
    assert changed == [method]


def test_who_only_looks_needs_no_header(server):
    running, known, _ = server
    assert ask(running.url, "GET", known) == 200


def test_the_header_stands_for_no_token(server):
    running, known, changed = server
    if known:
        assert ask(running.url, "PUT", OURS) == 401
        assert changed == []
    else:
        assert ask(running.url, "PUT", {**OURS, "Host": "evil.example"}) == 403
        assert changed == []


def raw(server, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        connection.sendall(data)
        return connection.makefile("rb").readline()


def test_what_no_page_of_ours_sends_is_refused_without_a_traceback(server, caplog):
    running, _, changed = server
    login = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nContent-Type: "
    for kind in (b"multipart/form-data; boundary=x", b"multipart/form-data", b"application/json"):
        assert raw(running, login + kind + b"\r\n\r\n--x\r").split()[1] == b"401", kind
    assert [record for record in caplog.records if record.exc_info] == []
    assert changed == []


@pytest.mark.parametrize("charset", ["unicode_escape", "utf-7", "punycode", "hex", "utf-16", "x"])
def test_a_body_of_an_odd_encoding_is_refused_without_a_traceback(server, caplog, charset):
    running, _, changed = server
    body = b"token=\\ud800"
    kind = b"application/x-www-form-urlencoded; charset=" + charset.encode()
    head = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\nContent-Type: %s\r\n\r\n" % (
        len(body),
        kind,
    )
    assert raw(running, head + body).split()[1] == b"415"
    assert [record for record in caplog.records if record.exc_info] == []
    assert changed == []


def test_guessing_a_token_gets_slow(server):
    running, known, _ = server
    head = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n"
    wrong = head + b"Content-Type: application/x-www-form-urlencoded\r\n\r\ntoken=abc"
    answers = [raw(running, wrong).split()[1] for _ in range(12)]
    assert answers[:5] == [b"401"] * 5
    assert answers[5:] == [b"429"] * 7
    assert ask(running.url, "GET", known) == 200  # whoever is logged in is not kept out


def test_many_silent_connections_take_neither_the_page_nor_the_descriptors(server):
    running, known, _ = server
    idle = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(400)]
    assert ask(running.url, "GET", known) == 200
    waiting = [one for one in idle if not closed(one)]
    assert len(waiting) <= MAX_OF_ONE
    for one in idle:
        one.close()


def closed(connection: socket.socket) -> bool:
    """Tell whether the far end has closed a connection; one that lingers is given a moment."""
    connection.settimeout(0.05)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_a_connection_that_never_asks_is_closed(server, monkeypatch):
    monkeypatch.setattr("edge_agent.web.door.FIRST_REQUEST_S", 0.2)
    running, _, _ = server
    with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_S) as connection:
        connection.sendall(b"GET /api/thing HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")  # without an end
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
