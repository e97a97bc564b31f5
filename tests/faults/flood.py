"""Sends MQTT messages faster than a client library would: a process of its own, so that nobody else is slowed down.

`python flood.py PORT RATE_HZ` reads (topic, payload, retained) as JSON from its standard input and publishes them at
QoS 1, again and again at that rate until it is killed; with a rate of 0 once, as fast as the broker takes them.
"""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

_BATCH_S = 0.05
_ONCE_AT_ONCE = 500

Message = tuple[str, str, bool]


def packet(kind: int, body: bytes) -> bytes:
    """Return an MQTT control packet (MQTT 3.1.1, section 2.2)."""
    length, left = b"", len(body)
    while True:
        left, digit = divmod(left, 128)
        length += bytes([digit | (0x80 if left else 0)])
        if not left:
            return bytes([kind]) + length + body


def _text(text: str) -> bytes:
    return len(text.encode()).to_bytes(2, "big") + text.encode()


def publish(message: Message, number: int) -> bytes:
    """Return a PUBLISH packet at QoS 1."""
    topic, payload, retained = message
    body = _text(topic) + (number % 65_535 + 1).to_bytes(2, "big") + payload.encode()
    return packet(0x32 | retained, body)


def connect(port: int, name: str) -> socket.socket:
    """Return a connection whose answers have to be read."""
    link = socket.create_connection(("127.0.0.1", port))
    link.sendall(packet(0x10, _text("MQTT") + bytes([4, 2, 0, 0]) + _text(name)))
    assert link.recv(4)[3:] == b"\0", "the broker takes no connection"
    return link


def _send(link: socket.socket, batch: list[bytes]) -> None:
    """Send a batch, and read as many answers: who reads none is soon not read any more."""
    link.sendall(b"".join(batch))
    left = 4 * len(batch)
    while left:
        left -= len(link.recv(left))


def main() -> None:
    port, rate_hz = int(sys.argv[1]), float(sys.argv[2])
    messages: list[Message] = json.load(sys.stdin)
    link = connect(port, f"flood-{time.monotonic_ns()}")
    if not rate_hz:
        for start in range(0, len(messages), _ONCE_AT_ONCE):
            _send(link, [publish(one, number) for number, one in enumerate(messages[start : start + _ONCE_AT_ONCE])])
        return
    endless, sent, start_s = itertools.cycle(messages), 0, time.monotonic()
    while True:
        due = int((time.monotonic() - start_s) * rate_hz) - sent
        if due > 0:
            _send(link, [publish(next(endless), sent + number) for number in range(due)])
            sent += due
        time.sleep(_BATCH_S)


class Flood:
    """Starts one; `close` ends it, `join` waits for one that ends by itself."""

    def __init__(self, port: int, messages: Iterable[Message], *, rate_hz: float = 0.0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(port), str(rate_hz)],
            stdin=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )
        assert self._process.stdin is not None
        json.dump(list(messages), self._process.stdin)
        self._process.stdin.close()

    def join(self) -> None:
        assert self._process.wait() == 0, "the flood ended early"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


if __name__ == "__main__":
    main()
