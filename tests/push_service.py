"""A push service on this computer, a service for everything else, and a kiosk that pages: real HTTP, real keys."""

from __future__ import annotations

import base64
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import http_ece
from conftest import PATIENCE_S
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from messages import ULID, alert

from edge_agent.config import Config, Mqtt, Site
from edge_agent.delivery.messages import Composer
from edge_agent.testing import free_port


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    at_s: float


@dataclass
class HttpService:
    """Takes POSTs; answers 201, or what `answers` has for the path, one after the other.

    Attributes:
        answers: path → statuses with headers; a status of 0 means to hang until `release`.
    """

    port: int = field(default_factory=free_port)
    answers: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    release: threading.Event = field(default_factory=threading.Event)
    server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with service.changed:
                    planned = service.answers.get(self.path, [])
                    status, headers = planned.pop(0) if planned else (201, {})
                    service.received.append(
                        Received(self.path, dict(self.headers.items()), body, status, time.monotonic())
                    )
                    service.changed.notify_all()
                if status == 0:
                    service.release.wait(PATIENCE_S)
                    return
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_) -> None: ...

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_) -> None: ...  # a client that was killed

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.release.set()
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()

    def wait_for(self, number: int, path: str | None = None) -> list[Received]:
        """Return what came at a path once there are so many."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.at(path)) >= number, PATIENCE_S), self.received
        return self.at(path)

    def at(self, path: str | None) -> list[Received]:
        return [one for one in self.received if path in (None, one.path)]


class Browser:
    """What a browser keeps of its subscription, and makes of a message."""

    def __init__(self, service: HttpService, path: str = "/kim") -> None:
        self.service, self.path = service, path
        self.key, self.auth = ec.generate_private_key(ec.SECP256R1()), b"0123456789abcdef"

    def subscription(self, **changes) -> dict[str, object]:
        """Return what PushSubscription.toJSON() does."""
        point = self.key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return {
            "endpoint": f"http://127.0.0.1:{self.service.port}{self.path}",
            "expirationTime": None,
            "keys": {"p256dh": encoded(point), "auth": encoded(self.auth)},
            **changes,
        }

    def read(self, message: Received) -> dict[str, object]:
        """Decrypt a message (RFC 8291)."""
        assert message.headers["Content-Encoding"] == "aes128gcm"
        return json.loads(
            http_ece.decrypt(message.body, private_key=self.key, auth_secret=self.auth, version="aes128gcm")
        )

    def messages(self, number: int) -> list[dict[str, object]]:
        """Return what was delivered, decrypted, once there are so many attempts."""
        return [self.read(one) for one in self.service.wait_for(number, self.path) if one.status == 201]


def vapid_claims(message: Received, public_key: str) -> dict[str, object]:
    """Verify who sent a message (RFC 8292), and return what they claim."""
    scheme, _, rest = message.headers["Authorization"].partition(" ")
    parts = dict(part.split("=", 1) for part in rest.split(","))
    assert (scheme, parts["k"]) == ("vapid", public_key)
    signed, _, signature = parts["t"].rpartition(".")
    raw = decoded(signature)
    der = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded(public_key))
    key.verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
    return json.loads(decoded(signed.partition(".")[2]))


class Kiosk:
    """Says what a kiosk says of its alerts, the list of those that are open included."""

    def __init__(self, client, root: str) -> None:
        self.client, self.open = client, {}
        config = Config(site=Site(name="shop", device="till-1", place="Till 1"), mqtt=Mqtt(topic_root=root))
        self.composer = Composer(config, session=ULID, unix=time.time, monotonic=lambda: 1.0)

    def step(self, alert_id: str, *, listed: bool = True, **values) -> None:
        one = alert(id=alert_id, **values)
        self.open[alert_id] = one
        if one.step == "cleared":
            del self.open[alert_id]
        said = [self.composer.alert(one), *([self.composer.active(list(self.open.values()))] if listed else [])]
        for message in said:
            sent = self.client.publish(message.topic, message.payload, qos=1, retain=message.retain)
            sent.wait_for_publish(PATIENCE_S)
