"""The bus over MQTT; the one module that knows paho.

A thread of its own connects, reconnects with exponential backoff and full jitter, and turns whatever happens
into events that the owner collects with `events()`. Only `wait_for` and `stop` block the owner.
"""

from __future__ import annotations

import contextlib
import queue
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent import config
from edge_agent.delivery import finding_out
from edge_agent.delivery.bus import Connected, Disconnected, Event, PublishResult, Received, SubscriptionDenied
from edge_agent.delivery.messages import MAX_PAYLOAD_BYTES, Message
from edge_agent.errors import ConfigError

#: MQTT 5: another client connected with the same id.
_TAKEN_OVER = 142
#: A broker that takes the TCP connection has this long to answer.
CONNACK_TIMEOUT_S = 10.0
#: A connection that lasted so long ends the growth of the pauses between attempts.
_STABLE_S = 10.0
#: So many connections in a row that were shorter mean that another client uses our id.
_DUPLICATE_AFTER = 3
_SESSION_EXPIRY_S = 3600


@dataclass(frozen=True, slots=True)
class _Receipt:
    """What to acknowledge: the number of the connection, the message's id on it, and its quality of service."""

    link: int
    mid: int
    qos: int


class _Client(paho.Client):
    """paho's client, which tells of each turn of its network loop."""

    def __init__(self, *arguments: Any, turned: Callable[[], None], **options: Any) -> None:
        self._turned = turned
        super().__init__(*arguments, **options)

    def loop_misc(self) -> MQTTErrorCode:
        """Note the turn; paho's loop calls this about once a second."""
        self._turned()
        return super().loop_misc()


def _send_at_once(_client: paho.Client, _userdata: Any, sock: Any) -> None:
    """Let no small packet wait for the answer to the one before (Nagle, RFC 896); a page is two of them."""
    with contextlib.suppress(OSError, AttributeError):
        # paho's WebSocket wraps the one that it writes to.
        getattr(sock, "_socket", sock).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class MqttBus:
    """A connection to the configured broker.

    Args:
        client_id: the same after a restart, so that the broker keeps what arrives meanwhile.
        password: from `edge_agent.delivery.password.read_password`.
        subscriptions: topic filters, at QoS 1, renewed with every connection.
        subscriptions_qos0: topic filters at QoS 0; the broker keeps nothing on them while this client is away.
        will: published by the broker when this client vanishes.
        wake: called from the network thread after each event.
        keep_session: the broker keeps subscriptions and messages for this client id between runs, not only between
            the links of this one.

    Raises:
        ConfigError: the TLS files cannot be used.
    """

    def __init__(
        self,
        settings: config.Mqtt,
        *,
        client_id: str,
        password: str | None,
        subscriptions: Sequence[str],
        subscriptions_qos0: Sequence[str] = (),
        will: Message | None = None,
        wake: Callable[[], None] = lambda: None,
        keep_session: bool = True,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._keep_session = keep_session
        self._settings, self._wake, self._jitter = settings, wake, jitter
        self._subscriptions = [*((topic, 1) for topic in subscriptions), *((topic, 0) for topic in subscriptions_qos0)]
        #: Each with what to acknowledge, if it is a received message.
        self._events: queue.SimpleQueue[tuple[Event, _Receipt | None]] = queue.SimpleQueue()
        self._link = 0
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._up = False
        self._accepted_s: float | None = None
        self._turned_s = time.monotonic()
        self._cut_short, self._taken_over, self._client_id = 0, False, client_id
        self._handled: list[_Receipt] = []
        #: Token → topic of what the broker has not answered; only the owner of the bus asks for it.
        self._topics: dict[int, str] = {}
        self._refusal = ""
        self._v5 = settings.protocol == "5"
        protocol = MQTTProtocolVersion.MQTTv5 if self._v5 else MQTTProtocolVersion.MQTTv311
        self._client = _Client(
            CallbackAPIVersion.VERSION2,
            turned=self._note_turn,
            client_id=client_id,
            clean_session=None if self._v5 else not keep_session,
            protocol=protocol,
            transport=settings.transport,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        if settings.transport == "websockets":
            # paho's own would lack the brackets of an IPv6 address.
            self._client.ws_set_options(path=settings.websocket_path, headers={"Host": settings.address})
        if settings.username is not None:
            self._client.username_pw_set(settings.username, password)
        if settings.tls.enabled:
            self._use_tls(settings.tls)
        if will is not None:
            self._client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_socket_open = _send_at_once

    @property
    def connected(self) -> bool:
        """Whether publishing makes sense now."""
        return self._up

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def publish(self, message: Message) -> int | None:
        """Hand over a message; a token that `PublishResult` will carry, or None while not connected."""
        if not self._up:
            return None
        properties = None
        if self._v5 and message.expiry_s is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = max(1, int(message.expiry_s))
        info = self._client.publish(message.topic, message.payload, qos=1, retain=message.retain, properties=properties)
        self._topics[info.mid] = message.topic
        return info.mid

    @property
    def turned_s(self) -> float:
        """When the network thread was last seen at work, on time.monotonic's clock."""
        return self._turned_s

    def events(self) -> list[Event]:
        """Return what happened since the last call, in order."""
        self._acknowledge()
        collected: list[Event] = []
        with contextlib.suppress(queue.Empty):
            while True:
                collected.append(self._next_event(0.0))
        return collected

    def wait_for(self, predicate: Callable[[Event], bool], timeout_s: float) -> bool:
        """Show each event to `predicate` as it comes, until one is what it waits for; return False if none was in time.

        Later events are left for the next call of this or of `events`. What `predicate` raises ends the waiting.
        """
        give_up_s = time.monotonic() + timeout_s
        while (left_s := give_up_s - time.monotonic()) > 0:
            # After each: a broker sends only so many messages ahead of their acknowledgements.
            self._acknowledge()
            try:
                event = self._next_event(left_s)
            except queue.Empty:
                return False
            if predicate(event):
                return True
        return False

    def _next_event(self, timeout_s: float) -> Event:
        event, receipt = self._events.get(timeout=timeout_s)
        if receipt is not None:
            self._handled.append(receipt)
        if isinstance(event, PublishResult):
            return replace(event, topic=self._topics.pop(event.token, ""))
        return event

    def _acknowledge(self) -> None:
        for receipt in self._handled:
            if receipt.link == self._link and self._up:
                self._client.ack(receipt.mid, receipt.qos)
        self._handled = []

    def stop(self, last: Message | None = None, *, timeout_s: float = 1.0) -> None:
        """Publish a last message, disconnect and stop; gives up on the broker after `timeout_s`."""
        self._stopping.set()
        if self._up:
            if last is not None:
                info = self._client.publish(last.topic, last.payload, qos=1, retain=last.retain)
                try:
                    info.wait_for_publish(timeout_s)
                except (RuntimeError, ValueError):
                    self._emit(Disconnected("the connection was lost before the last message was sent"))
            self._client.disconnect(properties=self._farewell())
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _use_tls(self, tls: config.Tls) -> None:
        try:
            self._client.tls_set(
                ca_certs=None if tls.ca_file is None else str(tls.ca_file),
                certfile=None if tls.cert_file is None else str(tls.cert_file),
                keyfile=None if tls.key_file is None else str(tls.key_file),
            )
        except (OSError, ssl.SSLError, ValueError) as error:
            raise ConfigError(f"mqtt.tls: cannot use the certificate files: {error}") from None

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            problem = self._one_link()
            lasted_s = 0.0 if self._accepted_s is None else time.monotonic() - self._accepted_s
            failures = 0 if lasted_s >= _STABLE_S else failures + 1
            self._up = False
            if self._stopping.is_set():
                return
            self._emit(Disconnected(problem))
            ceiling_s = min(2.0 ** min(failures, 30) / 2, self._settings.connect_retry_max_s)
            pause_until_s = time.monotonic() + ceiling_s * self._jitter()
            while time.monotonic() < pause_until_s and not self._stopping.wait(
                min(1.0, max(0.0, pause_until_s - time.monotonic()))
            ):
                self._turned_s = time.monotonic()

    def _one_link(self) -> str:
        """Connect and serve until the connection is gone; return why it is."""
        self._refusal, self._accepted_s = "", None
        try:
            # paho would send again what the broker did not answer, however old; its owner knows what is still worth it.
            self._client.drop_out_messages()
            self._ended.clear()
            self._connect()
            connected_s = time.monotonic()
            self._client.loop_start()
            while not self._ended.wait(1.0) and self._client.socket() is not None:
                if self._accepted_s is None and time.monotonic() - connected_s > CONNACK_TIMEOUT_S:
                    break
            self._client.loop_stop()
        except Exception as error:  # paho may raise anything; an unattended device must try again
            return "" if self._stopping.is_set() else finding_out.failed(self._settings, error)
        if suspicion := self._named_twice():
            return (
                f"another client {suspicion} the name {self._client_id!r} and the broker ends one link for the other; "
                "give each device its own site.name and site.device"
            )
        if self._accepted_s is None and not self._refusal and not self._stopping.is_set():
            return finding_out.unanswered(self._settings)
        return self._refusal or "the connection was lost"

    def _named_twice(self) -> str:
        """Return `uses` if the broker says that another client took over, `probably uses` if it behaves so."""
        accepted_s, taken_over = self._accepted_s, self._taken_over
        self._taken_over = False
        soon = accepted_s is not None and time.monotonic() - accepted_s < _STABLE_S
        self._cut_short = self._cut_short + 1 if soon and not self._stopping.is_set() else 0
        if taken_over:
            return "uses"
        return "probably uses" if self._cut_short >= _DUPLICATE_AFTER else ""

    def _connect(self) -> None:
        host, port, keepalive_s = self._settings.host, self._settings.port, self._settings.keepalive_s
        if not self._v5:
            self._client.connect(host, port, keepalive_s)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = _SESSION_EXPIRY_S
        properties.MaximumPacketSize = 4 * MAX_PAYLOAD_BYTES
        # Not paho's own "first only": every connect() counts as a first one there, and what the broker kept for a link
        # that broke would be thrown away.
        clean_start = not self._keep_session and self._link == 0
        self._client.connect(host, port, keepalive_s, clean_start=clean_start, properties=properties)

    def _farewell(self) -> Properties | None:
        """Return the properties that make the broker forget the session; None where it is to keep it."""
        if self._keep_session or not self._v5:
            return None
        properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 0
        return properties

    def _emit(self, event: Event, receipt: _Receipt | None = None) -> None:
        self._events.put((event, receipt))
        self._wake()

    def _note_turn(self) -> None:
        self._turned_s = time.monotonic()

    def _on_connect(self, client: paho.Client, _: Any, flags: paho.ConnectFlags, reason: ReasonCode, __: Any) -> None:
        if reason.is_failure or self._stopping.is_set():
            self._refusal = finding_out.refused(self._settings, int(reason.value), str(reason))
            client.disconnect()
            return
        if self._subscriptions:
            client.subscribe(self._subscriptions)
        self._link += 1
        self._up, self._accepted_s = True, time.monotonic()
        self._emit(Connected(session_present=flags.session_present))

    def _on_subscribe(self, _: Any, __: Any, ___: Any, reasons: list[ReasonCode], ____: Any) -> None:
        denied = [topic for (topic, _), reason in zip(self._subscriptions, reasons, strict=False) if reason.is_failure]
        if denied:
            self._emit(
                SubscriptionDenied(
                    f"the broker does not let {self._client_id!r} subscribe to {', '.join(denied)}; "
                    "check its access rules for this user"
                )
            )

    def _on_disconnect(self, _: Any, __: Any, ___: Any, reason: ReasonCode, ____: Any) -> None:
        self._up = False
        self._taken_over = int(reason.value) == _TAKEN_OVER
        # "Unspecified error" is paho's word for a socket that broke.
        broke = str(reason) == "Unspecified error"
        if reason.is_failure and self._accepted_s is not None and not self._refusal and not broke:
            self._refusal = f"disconnected: {reason}"
        self._ended.set()

    def _on_publish(self, _: Any, __: Any, mid: int, reason: ReasonCode, ___: Any) -> None:
        self._emit(PublishResult(mid, int(reason.value)))

    def _on_message(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        if len(message.payload) <= MAX_PAYLOAD_BYTES:
            receipt = _Receipt(self._link, message.mid, message.qos)
            self._emit(Received(message.topic, bytes(message.payload), message.retain), receipt)
        else:
            self._client.ack(message.mid, message.qos)
