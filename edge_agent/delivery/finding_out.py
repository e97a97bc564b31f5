"""Why a broker does not take a connection: one sentence that says what is wrong and what to do.

An MQTT broker that is spoken to in the wrong way (TLS, WebSockets, another version of MQTT) closes the connection
without a word. So whoever was turned away tries which way it does answer, and claims nothing that was not answered.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edge_agent.config import Mqtt

#: How long each try may take, seconds.
_TRY_S = 2.0
#: CONNECT of MQTT 3.1.1 without a name or a user; every broker answers it, if only by a refusal (CONNACK, 0x20).
_CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x0a\x00\x00"
_CONNECT_5 = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x00"
_CONNACK = b"\x20"
#: Reason codes of MQTT 5, which those of 3.1.1 are translated into.
_UNSUPPORTED_VERSION, _BAD_USER, _NOT_AUTHORIZED = 132, 134, 135


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to speak MQTT."""

    websockets: bool
    tls: bool

    def __str__(self) -> str:
        return f"MQTT{' over WebSockets' if self.websockets else ''} {'with' if self.tls else 'without'} TLS"


def refused(settings: Mqtt, reason: int, words: str) -> str:
    """Return what to say of a broker that answered by a refusal.

    Args:
        reason: code of MQTT 5.
        words: what the specification calls it.
    """
    if reason == _UNSUPPORTED_VERSION:
        return f'{settings.address} does not speak MQTT {settings.protocol}; set mqtt.protocol: "{_other(settings)}"'
    if reason not in (_BAD_USER, _NOT_AUTHORIZED):
        return f"the broker refuses: {words}"
    if settings.username is None:
        return f"the broker refuses: {words}; it wants a user, set mqtt.username and mqtt.password_file"
    return f"the broker refuses: {words}; check mqtt.username ({settings.username}) and its password"


def failed(settings: Mqtt, error: Exception) -> str:
    """Return what to say of a connection that could not be made."""
    plain = f"cannot connect to {settings.address}: {error}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{plain}; check mqtt.tls.ca_file, the name in mqtt.host, and the clock"
    if isinstance(error, socket.gaierror):
        return f"{plain}; check mqtt.host, and whether this network knows the name"
    if isinstance(error, ConnectionRefusedError):
        return f"{plain}; is the broker running there, and is mqtt.port its port?"
    if found := _found_out(settings):
        return found
    return f"{plain}; is mqtt.websocket_path right?" if settings.transport == "websockets" else plain


def unanswered(settings: Mqtt) -> str:
    """Return what to say of a connection on which nothing was said."""
    return _found_out(settings) or f"{settings.address} does not answer as an MQTT broker"


def _found_out(settings: Mqtt) -> str:
    """Return which way the broker does speak, and what to set; empty if that is none or the one that is set."""
    wanted = _Way(settings.transport == "websockets", settings.tls.enabled)
    speaks_tls = False
    for tls in (wanted.tls, not wanted.tls):
        # What is set comes first: a broker may answer in two ways on one port.
        for websockets in (wanted.websockets, not wanted.websockets):
            try:
                answer = _answer(settings, _upgrade if websockets else _connect, tls=tls)
            except OSError:
                return ""  # nobody is there any more
            if answer == "mqtt":
                return _advice(settings, wanted, _Way(websockets, tls))
            speaks_tls = speaks_tls or answer == "tls"
    if speaks_tls and not wanted.tls:
        return f"{settings.address} speaks TLS; set mqtt.tls.enabled: true, or mqtt.port to a port for {wanted}"
    if speaks_tls and settings.tls.cert_file is None:
        return (
            f"{settings.address} speaks TLS and gives no answer; if it wants a certificate of its clients, set "
            "mqtt.tls.cert_file and mqtt.tls.key_file"
        )
    return ""


def _advice(settings: Mqtt, wanted: _Way, found: _Way) -> str:
    if wanted == found:
        if settings.protocol == "3.1.1" or found.websockets:
            return ""
        with contextlib.suppress(OSError):
            if _answer(settings, _connect_5, tls=found.tls) != "mqtt":
                return refused(settings, _UNSUPPORTED_VERSION, "")
        return ""
    changes = []
    if wanted.tls != found.tls:
        changes.append(f"mqtt.tls.enabled: {str(found.tls).lower()}")
    if wanted.websockets != found.websockets:
        changes.append(f"mqtt.transport: {'websockets' if found.websockets else 'tcp'}")
    return f"{settings.address} speaks {found}; set {' and '.join(changes)}, or mqtt.port to a port for {wanted}"


def _other(settings: Mqtt) -> str:
    return "3.1.1" if settings.protocol == "5" else "5"


def _answer(
    settings: Mqtt, ask: Callable[[socket.socket, Mqtt], bool], *, tls: bool
) -> Literal["nothing", "tls", "mqtt"]:
    """Ask in one way; return how far that came.

    Raises:
        OSError: nobody is there.
    """
    with socket.create_connection((settings.host, settings.port), _TRY_S) as link:
        came: Literal["nothing", "tls"] = "nothing"
        try:
            if not tls:
                return "mqtt" if ask(link, settings) else "nothing"
            # Nothing is said to it that is worth keeping from anybody.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(link, server_hostname=settings.host) as secured:
                came = "tls"
                return "mqtt" if ask(secured, settings) else "tls"
        except ssl.SSLError as error:
            # Only who speaks TLS sends an alert.
            return "tls" if "ALERT" in (error.reason or "") else came
        except (OSError, ValueError):  # it hung up, or its name is none for TLS
            return came


def _connect(link: socket.socket, _: Mqtt) -> bool:
    link.sendall(_CONNECT)
    return link.recv(1) == _CONNACK


def _connect_5(link: socket.socket, _: Mqtt) -> bool:
    link.sendall(_CONNECT_5)
    # A broker of 3.1.1 answers by its own CONNACK, whose length is 2, or not at all.
    answer = link.recv(2)
    return answer[:1] == _CONNACK and answer[1:] != b"\x02"


def _upgrade(link: socket.socket, settings: Mqtt) -> bool:
    """Ask for WebSockets (RFC 6455, section 4.1), with the key of its example."""
    link.sendall(
        f"GET {settings.websocket_path} HTTP/1.1\r\nHost: {settings.address}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: mqtt\r\n\r\n".encode()
    )
    return link.recv(32).startswith(b"HTTP/1.1 101")
