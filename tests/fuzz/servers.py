"""Whole requests, through the servers themselves over a socket: what they refuse they answer, and nothing fails."""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from doors import ANY_PATH, LOGIN, METHODS, ODD, OURS, TOKEN, Said, Tracebacks, live_view, on_duty, paths, request
from hypothesis import strategies as st

from edge_agent.web.serving import Server
from fuzz.inputs import damaged, payloads
from fuzz.table import Target

_ULID = "01M7Y8H3KR49JEKEK9MMJWTPA7"
_BODIES = [
    {"name": "Kim", "shift": "", "pin": ""},
    {"id": _ULID, "verdict": "resolve", "note": "a poster"},
    {"ids": [_ULID]},
    {"endpoint": "https://push.example/a", "keys": {"p256dh": "BEl6", "auth": "AAAA"}, "replaces": "x"},
    [[[0, 0], [1, 0], [1, 1]]],
]
_TYPES = (
    b"application/json", b"application/json", b"application/json", b"application/json; charset=utf-16",
    b"application/x-www-form-urlencoded", b"text/plain", b"multipart/form-data; boundary=x", b"\xff",
)  # fmt: skip
_Start = Callable[[Path, ExitStack], tuple[Server, bytes]]
#: Method, none for one that is served there, number of the path, query, number of the type, body; or damaged bytes.
_Input = tuple[str, int, str, int, bytes] | bytes


@functools.cache
def _started(start: _Start) -> tuple[Server, bytes, list[tuple[str, str]], Tracebacks]:
    """Return a server, headers of who asks it, each path with each method that is served there, and what it logs."""
    state_dir = Path(tempfile.mkdtemp(prefix="fuzz-"))
    (state_dir / "token").write_text(TOKEN)
    (state_dir / "token").chmod(0o600)
    server, known = start(state_dir, ExitStack())
    served = [
        (path, method)
        for path, methods in paths(server._runner.app).items()
        for method in sorted(methods - {"HEAD"}) or ["GET"]
    ]
    return server, known, served, Tracebacks().__enter__()


def _ask(start: _Start, given: _Input) -> str:
    server, known, where, logged = _started(start)
    if isinstance(given, bytes):
        data = given.replace(b"Known: 1\r\n", known)
    else:
        method, number, query, kind, body = given
        headers = known + b"Content-Type: %s\r\nContent-Length: %d\r\n" % (_TYPES[kind], len(body))
        path, served = where[number % len(where)]
        data = request(path + query, method or served, Said(headers, body))
    answer = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10.0) as link, contextlib.suppress(OSError):
        link.sendall(data)
        if isinstance(given, bytes):
            link.shutdown(socket.SHUT_WR)  # for it may be one without an end
        answer = link.makefile("rb").readline()
    found, logged.found = logged.found, []
    assert found == [], found
    if isinstance(given, tuple):
        assert answer, "no answer"
    status = int(answer.split()[1]) if answer else 0
    assert status < 500, status
    return f"read: {status}" if 0 < status < 400 else f"refused: {status}"


def _live_view(state_dir: Path, ending: ExitStack) -> tuple[Server, bytes]:
    return live_view(state_dir, ending, token=True), LOGIN


def _stranger(state_dir: Path, ending: ExitStack) -> tuple[Server, bytes]:
    return on_duty(state_dir, ending)[0], OURS


def _queries() -> st.SearchStrategy[str]:
    pair = st.tuples(
        st.sampled_from(["search", "kiosk", "kind", "from", "to", "page", "days"]),
        st.sampled_from(
            ["x", "%00", "%ff", "missed", "2026-01-31", "9999-12-31", "0001-01-01", "-1", "1e9", "7", "90"]
        ),
    )
    return st.lists(pair.map("=".join), max_size=3).map(lambda pairs: "?" + "&".join(pairs) if pairs else "")


def _inputs() -> st.SearchStrategy[_Input]:
    whole = [
        request(ANY_PATH, method, Said(b"Known: 1\r\n" + said.headers, said.body))
        for method in ("GET", "POST", "PUT")
        for said in ODD.values()
        if len(said.headers) < 2000
    ]
    forms = damaged([b"token=a-token&x=%ff", b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\na\r\n--x--'])
    bodies = st.one_of(payloads(_BODIES), payloads(_BODIES), forms)
    made = st.tuples(
        st.sampled_from(("",) * 40 + METHODS), st.integers(0, 1000), _queries(), st.integers(0, len(_TYPES) - 1), bodies
    )
    sent = [
        *whole,
        *(
            b"POST /api/shift HTTP/1.1\r\nHost: 127.0.0.1\r\nKnown: 1\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
            for body in (json.dumps(one).encode() for one in _BODIES)
        ),
    ]
    return st.one_of(made, made, damaged(sent))


TARGETS = [
    Target("HTTP: live view", _inputs(), functools.partial(_ask, _live_view)),
    Target("HTTP: pager, on duty", _inputs(), functools.partial(_ask, on_duty)),
    Target("HTTP: pager, a stranger", _inputs(), functools.partial(_ask, _stranger)),
]
