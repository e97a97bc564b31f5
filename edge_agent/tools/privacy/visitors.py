"""What somebody gets who knocks at the agent's pages and knows nothing: no frame."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
from collections.abc import Iterator

from edge_agent.config import Config
from edge_agent.tools.privacy.encoded import oddity

_STRANGER = "elsewhere.example"
_PAGES = (
    "/", "/ws", "/api/device", "/api/alerts", "/api/history", "/api/summary", "/summary.csv", "/api/ignore_zones",
    "/frame", "/frame.jpg", "/image.jpg", "/snapshot", "/snapshot.jpg", "/stream", "/stream.mjpg", "/video", "/mjpeg",
)  # fmt: skip
_ANSWER_S, _SILENCE_S = 3.0, 1.0
_MAX_BYTES = 200_000
_METRIC = re.compile(rb"(# (HELP|TYPE) |)edge_agent(_[a-z0-9]+)*(\{[^{}]{0,600}\})? [^\x80-\xff]{1,120}")


def knock(config: Config) -> Iterator[str]:
    """Yield what the agent's listeners give to strangers and should not.

    Args:
        config: as the agent has it.
    """
    if config.web.enabled:
        yield from _live_view(config)
    if config.metrics.enabled:
        host, port = _reachable(config.metrics.host), config.metrics.port
        yield from _said_unasked(host, port)
        for page in ("/metrics", *_PAGES):
            status, body = _ask(host, port, page, {})
            if status == 200 and (problem := _not_metrics(body)):
                yield f"{host}:{port}{page} gives {problem}"


def _live_view(config: Config) -> Iterator[str]:
    host, port = _reachable(config.web.host), config.web.port
    # Without a token the page is for this computer alone: a stranger is a page of another host in its browser.
    stranger = {"Host": _STRANGER} if config.web.token_file is None else {"Host": f"{host}:{port}"}
    token = {} if config.web.token_file is None else {"Authorization": "Bearer wrong", "Cookie": "edge-agent=wrong"}
    yield from _said_unasked(host, port)
    upgrade = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Origin": f"http://{stranger['Host']}",
    }  # fmt: skip
    for page in _PAGES:
        for more in ({}, upgrade) if page == "/ws" else ({},):
            status, body = _ask(host, port, page, {**stranger, **token, **more})
            if status in (101, 200, 206):
                yield f"{host}:{port}{page} answers a stranger ({status}{', ' + oddity(body) if oddity(body) else ''})"
            elif problem := oddity(body):
                yield f"{host}:{port}{page} gives {problem}"
    status, _ = _ask(host, port, "/ws", {**upgrade, "Host": f"{host}:{port}", "Origin": f"http://{_STRANGER}"})
    if status == 101:
        yield f"{host}:{port}/ws answers a page of another host"


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _ask(host: str, port: int, page: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """Return the status and the body, or what follows a change of protocol; 0 where there is no answer."""
    connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_S)
    try:
        connection.putrequest("GET", page, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_BYTES)
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def _said_unasked(host: str, port: int) -> Iterator[str]:
    with contextlib.suppress(OSError), socket.create_connection((host, port), _ANSWER_S) as link:
        link.settimeout(_SILENCE_S)
        if link.recv(1):
            yield f"{host}:{port} sends before anybody asks"


def _not_metrics(body: bytes) -> str:
    if len(body) >= _MAX_BYTES:
        return f"more than {_MAX_BYTES} bytes"
    odd = next((line for line in body.splitlines() if line and not _METRIC.fullmatch(line)), None)
    if odd is not None:
        return f"what is no metric: {odd[:40]!r}"
    labels = b"\n".join(re.findall(rb'="([^"]*)"', body))
    return oddity(re.sub(rb"\b[0-9a-f]{64}\b", b"", labels))
