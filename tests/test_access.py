"""Changes come from our own pages only: what no foreign page can send along is asked for with each."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from aiohttp import web
from conftest import PATIENCE_S

from edge_agent.web.access import make_application
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
