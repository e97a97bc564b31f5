"""What a camera answers, and clips and playlists that somebody hands over."""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
import tempfile
from pathlib import Path

import cv2
import numpy as np
from hypothesis import strategies as st

from edge_agent.camera.recording import play
from edge_agent.camera.refusal import why_closed
from edge_agent.errors import CameraError
from fuzz.inputs import damaged
from fuzz.mqtt import strange_server
from fuzz.table import Target, refused

_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
_PASSWORD = "s3cr3t-pass"


def answer(given: tuple[str, bytes]) -> str:
    """Why a camera does not open is said in a line, whatever it answers, and without the password."""
    scheme, said = given
    port, say = strange_server()
    say(said)
    told = why_closed(f"{scheme}://kim:{_PASSWORD}@127.0.0.1:{port}/stream", timeout_s=2.0)
    assert _PASSWORD not in told
    return refused(ValueError(told))


@functools.cache
def _stranger() -> socket.socket:
    """Return what nobody may connect to."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    return listening


def clip(raw: bytes) -> str:
    """What it shows are pictures of its own; a playlist takes it nowhere else."""
    port = _stranger().getsockname()[1]
    path = _FOLDER / "clip"
    path.write_bytes(raw.replace(b"PORT", b"%d" % port))
    try:
        for _, image in itertools.islice(play(path, loop=False), 10):
            assert image.ndim == 3
    except CameraError as error:
        return refused(error)
    finally:
        with contextlib.suppress(BlockingIOError):
            _stranger().accept()
            raise AssertionError("it connected")
    return "read"


def _recorded(suffix: str, codec: str) -> bytes:
    path = _FOLDER / f"made.{suffix}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10.0, (64, 48))
    for number in range(5):
        writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
    writer.release()
    return path.read_bytes()


def _clips() -> list[bytes]:
    playlists = [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:PORT/a.ts\n#EXT-X-ENDLIST\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ntcp://127.0.0.1:PORT\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile http://127.0.0.1:PORT/a.ts\n",
        b"<?xml version='1.0'?><MPD><Period><BaseURL>http://127.0.0.1:PORT/</BaseURL></Period></MPD>",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video PORT TCP/RTP/AVP 96\n",
    ]
    return [_recorded("mp4", "mp4v"), _recorded("avi", "MJPG"), _recorded("mkv", "mp4v"), *playlists]


_CHALLENGES = [
    b'Digest realm="IP Camera", nonce="8f3a", qop="auth,auth-int", opaque="x", algorithm=MD5',
    b'Basic realm="x"', b"Digest realm=, nonce=", b"Digest", b"Digest =", b'Digest realm="', b"", b"Bearer a=b",
]  # fmt: skip
_ANSWERS = [
    b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: %s\r\n\r\n" % challenge for challenge in _CHALLENGES
] + [
    b"RTSP/1.0 200 OK\r\nContent-Type: application/sdp\r\n\r\n", b"RTSP/1.0 453 x\r\n\r\n",
    b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nWWW-Authenticate: Digest nonce=\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>",
    b"RTSP/1.0 \xb2\xb3 x\r\n\r\n", b"RTSP/1.0 " + b"9" * 5000 + b"\r\n\r\n", b"RTSP/",
]  # fmt: skip

TARGETS = [
    Target("camera: what it answers", st.tuples(st.sampled_from(["rtsp", "http", "rtmp"]), damaged(_ANSWERS)), answer),
    Target("camera: clips and playlists", st.deferred(lambda: damaged(_clips())), clip),
]
