"""A network camera that does not open says why: real sockets that behave as cameras do."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import socket
import socketserver
import threading
from urllib.request import parse_http_list, parse_keqv_list

import pytest

from edge_agent.camera.opencv import OpenCVCamera
from edge_agent.config import Camera
from edge_agent.errors import CameraError
from edge_agent.testing import free_port

USER, PASSWORD, REALM, NONCE = "admin", "hün/t@er22", "IP Camera", "8f3a"
WRITTEN = "h%C3%BCn%2Ft%40er22"


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


class CameraServer(socketserver.ThreadingTCPServer):
    """Answers 401 until somebody signs in rightly, then `status`; `way` is basic, digest, digest-auth or none."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, way: str = "none", status: str = "404 Not Found", fields: str = "") -> None:
        self.way, self.status, self.fields = way, status, fields
        self.heads: list[str] = []
        super().__init__(("127.0.0.1", 0), _Answering)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, request, client_address) -> None:
        """Whoever asked may hang up before the answer is out."""

    def signed_in(self, head: str) -> bool:
        method, target, _ = head.split("\r\n")[0].split(" ")
        given = re.search(r"Authorization: (\w+) (.*)\r\n", head)
        if self.way == "none" or given is None:
            return self.way == "none"
        if self.way == "basic":
            return given[1] == "Basic" and base64.b64decode(given[2]).decode() == f"{USER}:{PASSWORD}"
        said = parse_keqv_list(parse_http_list(given[2]))
        counted = ":".join([said["nc"], said["cnonce"], "auth", ""]) if self.way == "digest-auth" else ""
        right = md5(f"{md5(f'{USER}:{REALM}:{PASSWORD}')}:{NONCE}:{counted}{md5(f'{method}:{target}')}")
        return given[1] == "Digest" and said["uri"] == target and said["response"] == right

    def challenge(self) -> str:
        if self.way == "basic":
            return f'WWW-Authenticate: Basic realm="{REALM}"\r\n'
        if self.way == "sha":
            return f'WWW-Authenticate: Digest realm="{REALM}", nonce="{NONCE}", algorithm=SHA-256\r\n'
        qop = ', qop="auth,auth-int"' if self.way == "digest-auth" else ""
        return f'WWW-Authenticate: Digest realm="{REALM}", nonce="{NONCE}"{qop}\r\n'


class _Answering(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while True:
            head = "".join(itertools.takewhile(str.strip, (line.decode() for line in self.rfile)))
            if not head:
                return
            self.server.heads.append(head)
            right = self.server.signed_in(head)
            status = self.server.status if right else "401 Unauthorized"
            fields = self.server.fields if right else self.server.challenge()
            number = re.search(r"CSeq: (\d+)", head)
            protocol = "RTSP/1.0" if number else "HTTP/1.1"
            fields += f"CSeq: {number[1]}\r\n" if number else "Content-Length: 0\r\n"
            self.wfile.write(f"{protocol} {status}\r\n{fields}\r\n".encode())


@pytest.fixture
def serve():
    servers = []

    def start(*arguments, **named) -> CameraServer:
        servers.append(CameraServer(*arguments, **named))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def told(device: str, *, timeout_s: float = 5.0) -> str:
    """What opening it says, after checking that it is one line without the password."""
    with pytest.raises(CameraError) as caught:
        OpenCVCamera(Camera(device=device, timeout_s=timeout_s)).open()
    line = str(caught.value)
    assert line.startswith("cannot open camera '")
    assert "\n" not in line
    assert not {PASSWORD, WRITTEN} & set(re.split(r"[ '/:]", line))
    return line


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
@pytest.mark.parametrize("way", ["basic", "digest", "digest-auth"])
def test_a_wrong_password_is_told_from_a_wrong_path(serve, scheme, way):
    place = f"127.0.0.1:{serve(way).server_address[1]}"
    assert "no such stream: check the address's path (404)" in told(f"{scheme}://{USER}:{WRITTEN}@{place}/x?channel=1")
    assert "refuses user or password" in told(f"{scheme}://{USER}:wrong@{place}/x?channel=1")
    assert f"wants to know who asks: {scheme}://user:password@" in told(f"{scheme}://{place}/x")


def test_the_password_goes_only_to_whom_asks_for_it(serve):
    server = serve("none")
    told(f"rtsp://{USER}:{WRITTEN}@127.0.0.1:{server.server_address[1]}/x")
    assert server.heads
    assert not [head for head in server.heads if "Authorization" in head or WRITTEN in head or PASSWORD in head]


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ("403 Forbidden", "give the user the right to watch"),
        ("503 Service Unavailable", "no room for another viewer"),
        ("418 Only \x1b[31mtea", "the camera answers 418 Only [31mtea"),
    ],
)
def test_a_refusal_is_told_in_words(serve, scheme, answer, line):
    assert line in told(f"{scheme}://127.0.0.1:{serve(status=answer).server_address[1]}/x")


def test_a_page_is_no_video_and_an_unknown_way_of_signing_in_is_named(serve):
    page = serve(status="200 OK", fields="Content-Type: text/html; charset=utf-8\r\n")
    assert "is text/html, not a video" in told(f"http://127.0.0.1:{page.server_address[1]}/")
    unknown = serve("sha").server_address[1]
    assert "allow Digest (MD5)" in told(f"rtsp://{USER}:{WRITTEN}@127.0.0.1:{unknown}/x")


def test_a_wrong_address_is_told_from_a_camera_that_is_off():
    assert "refuses the connection" in told(f"rtsp://127.0.0.1:{free_port()}/x")
    assert "the name camera.invalid cannot be looked up" in told("rtsp://camera.invalid/x")
    assert "write @ as %40" in told(f"rtsp://{USER}:hunt/{PASSWORD}@127.0.0.1/x")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "does not answer" in told(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x", timeout_s=0.5)


def test_what_is_no_camera_is_told():
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet() -> None:
            for _ in range(2):  # FFmpeg, then we
                link = other.accept()[0]
                link.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
                link.recv(4096)
                link.close()

        threading.Thread(target=greet, daemon=True).start()
        assert "does not speak RTSP" in told(f"rtsp://127.0.0.1:{other.getsockname()[1]}/x")
