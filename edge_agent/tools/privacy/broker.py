"""A broker for the proof: it takes the agent's messages, passes none on, and notes what is not the agent's to send.

It speaks as much of MQTT 3.1.1 and 5 (OASIS standards) as the agent needs, on this computer only. Whatever the agent
sends to a broker, over however many connections, is read to the last byte; a part that is not understood is a finding.
"""

from __future__ import annotations

import contextlib
import json
import re
import socketserver
import struct
import threading
import time
from typing import Any

from edge_agent.config import Config
from edge_agent.delivery.messages import Ack, MessageError, parse_object
from edge_agent.tools.privacy.sent import PROOF, Messages

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14
_ANSWERED_BY = {PUBREC: PUBREL, PUBREL: PUBCOMP}
#: Properties the agent uses, and their sizes: message expiry, session expiry, receive maximum, maximum packet size.
_PROPERTIES = {0x02: 4, 0x11: 4, 0x21: 2, 0x27: 4}
_MAX_PACKET_BYTES = 1_000_000
_MAX_FINDINGS = 50
_PING = "ping-1"


class _BrokenError(Exception):
    """What came is nothing that the agent sends."""


class RecordingBroker(socketserver.ThreadingTCPServer):
    """Listens on a free port of 127.0.0.1 until it is closed.

    Args:
        config: the agent's.

    Attributes:
        findings: what was sent that should not have been, in order.
        reached: set as soon as an agent has published something.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, config: Config) -> None:
        super().__init__(("127.0.0.1", 0), _Link)
        self.port = int(self.server_address[1])
        self.messages = Messages(config)
        name = re.escape(f"{config.site.name}/{config.site.device}")
        self.client_id = re.compile(rf"{name}(/asks-[0-9a-f]{{8}})?")
        topics = self.messages.topics
        self.filters = {*topics.answers, *topics.commands, topics("alert", "active")}
        self.findings: list[str] = []
        self.reached = threading.Event()
        self._lock = threading.Lock()
        self._began_s: float | None = None
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def published(self, topic: str, payload: bytes) -> None:
        """Look at a message."""
        with self._lock:
            self._began_s = self._began_s or time.monotonic()
            self._add(self.messages.problem(topic, payload))
        self.reached.set()

    def found(self, problem: str) -> None:
        """Note what should not have been sent."""
        with self._lock:
            self._add(problem)

    def _add(self, problem: str) -> None:
        if problem and problem not in self.findings and len(self.findings) < _MAX_FINDINGS:
            self.findings.append(problem)

    def close(self) -> None:
        """Stop, and judge how much it was."""
        self.shutdown()
        self.server_close()
        if self._began_s is not None:
            self.found(self.messages.too_many(seconds=time.monotonic() - self._began_s))


class _Link(socketserver.BaseRequestHandler):
    """One connection."""

    server: RecordingBroker

    def handle(self) -> None:
        self._v5, self._ids, self._begun = False, set[int](), False
        with contextlib.suppress(ConnectionError, EOFError):
            try:
                while True:
                    self._packet()
            except (_BrokenError, UnicodeDecodeError, struct.error, IndexError) as error:
                self.server.found(str(error) if isinstance(error, _BrokenError) else "bytes that are no MQTT packet")

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.request.recv(size - len(data))
            if not piece:
                if data:
                    raise _BrokenError("bytes that are no MQTT packet")
                raise EOFError
            data += piece
        return data

    def _packet(self) -> None:
        first = self._read(1)[0]
        size, shift = 0, 0
        while True:
            byte = self._read(1)[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift > 21:
                raise _BrokenError("bytes that are no MQTT packet")
        kind, flags = first >> 4, first & 0x0F
        if (kind == CONNECT) == self._begun:
            raise _BrokenError("a second CONNECT on a connection" if self._begun else "bytes that are no MQTT packet")
        if size > _MAX_PACKET_BYTES:
            raise _BrokenError(f"a packet of {size} bytes")
        self._understand(kind, flags, _Body(self._read(size)))

    def _understand(self, kind: int, flags: int, body: _Body) -> None:
        if kind == CONNECT:
            self._connect(body)
        elif kind == PUBLISH:
            self._publish(flags, body)
        elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            number = body.number()
            if self._v5 and body.left and body.byte() >= 0xA0:
                raise _BrokenError("a reason that MQTT has not")
            if kind in _ANSWERED_BY:
                self._send(_ANSWERED_BY[kind] << 4 | (2 if kind == PUBREC else 0), struct.pack("!H", number))
        elif kind == SUBSCRIBE:
            self._subscribe(body)
        elif kind == PINGREQ:
            self._send(PINGRESP << 4, b"")
        elif kind == DISCONNECT:
            if self._v5 and body.left:
                body.byte()
                if body.left:
                    self._properties(body)
        else:
            raise _BrokenError(f"MQTT packets of type {kind}")
        if body.left:
            raise _BrokenError(f"{body.left} bytes at the end of an MQTT packet of type {kind}")

    def _connect(self, body: _Body) -> None:
        if body.text() != "MQTT" or (level := body.byte()) not in (4, 5):
            raise _BrokenError("bytes that are no MQTT packet")
        self._v5, self._begun = level == 5, True
        flags, _keepalive_s = body.byte(), body.number()
        if self._v5:
            self._properties(body)
        client_id = body.text()
        if self.server.client_id.fullmatch(client_id) is None:
            self.server.found(f"client id {client_id[:80]!r}")
        if flags & 0x04:
            if self._v5:
                self._properties(body)
            topic, payload = body.text(), body.data()
            if problem := self.server.messages.problem(topic, payload):
                self.server.found(f"{problem}, as last will")
        if flags & 0xC0:
            raise _BrokenError("a user or password that the configuration has not")
        self._send(CONNACK << 4, b"\0\0\0" if self._v5 else b"\0\0")

    def _publish(self, flags: int, body: _Body) -> None:
        topic = body.text()
        quality = flags >> 1 & 3
        number = body.number() if quality else None
        if self._v5:
            self._properties(body)
        payload = body.rest()
        self.server.published(topic, payload)
        if number is not None:
            self._send((PUBACK if quality == 1 else PUBREC) << 4, struct.pack("!H", number))
        self._answer_page(payload)

    def _answer_page(self, payload: bytes) -> None:
        """Answer a page as staff would, so that what the agent says then is seen, too."""
        with contextlib.suppress(MessageError, KeyError, TypeError):
            alert = parse_object(payload, schema="alert")
            if alert["step"] == "raised":
                ack = Ack(alert["id"], "on_my_way", PROOF, revision=alert["revision"])
                self._tell(f"ack/{alert['id']}", ack.payload(unix_s=time.time()))

    def _subscribe(self, body: _Body) -> None:
        number = body.number()
        if self._v5:
            self._properties(body)
        granted = []
        while body.left:
            wanted = body.text()
            granted.append(body.byte() & 3)
            if wanted not in self.server.filters:
                self.server.found(f"subscription to {wanted[:80]}")
        self._send(SUBACK << 4, struct.pack("!H", number) + (b"\0" if self._v5 else b"") + bytes(granted))
        if len(granted) > 1:
            self.server.messages.requests.add(_PING)
            self._tell("cmd/ping", json.dumps({"schema": "command", "version": 1, "request_id": _PING}).encode())

    def _tell(self, levels: str, payload: bytes) -> None:
        topic = self.server.messages.topics(levels).encode()
        data = struct.pack("!H", len(topic)) + topic + (b"\0" if self._v5 else b"") + payload
        self._send(PUBLISH << 4, data)

    def _properties(self, body: _Body) -> None:
        size = body.byte()
        end = body.left - size
        while body.left > end:
            name = body.byte()
            if name not in _PROPERTIES:
                raise _BrokenError(f"MQTT property {name:#04x}")
            body.take(_PROPERTIES[name])

    def _send(self, first: int, data: bytes) -> None:
        size, left = b"", len(data)
        while True:
            left, part = left >> 7, left & 0x7F
            size += bytes([part | (0x80 if left else 0)])
            if not left:
                break
        self.request.sendall(bytes([first]) + size + data)


class _Body:
    """Reads a packet from its beginning."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise _BrokenError("bytes that are no MQTT packet")
        self._at += size
        return self._data[self._at - size : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        value: Any = struct.unpack("!H", self.take(2))[0]
        return int(value)

    def data(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        return self.data().decode()

    def rest(self) -> bytes:
        return self.take(self.left)
