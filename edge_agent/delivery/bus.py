"""The port to a broker, and the events that come through it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge_agent.delivery.messages import Message

#: Reason codes of MQTT 5 from here up are failures.
FAILURE = 128
#: The broker has the message, but nobody is subscribed to it.
NO_SUBSCRIBERS = 16
_NOT_AUTHORIZED = 135


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted the connection; subscriptions are requested.

    Attributes:
        session_present: the broker kept this client's session: what was sent to it meanwhile follows.
    """

    session_present: bool = False


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone or could not be made; `problem` says why. It is tried again for ever."""

    problem: str


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The broker answered a publish.

    Attributes:
        token: what `publish` returned.
        reason: MQTT 5 reason code; below 128 the broker has it, 16 says that nobody is subscribed.
        topic: of the publish.
    """

    token: int
    reason: int
    topic: str = ""

    @property
    def problem(self) -> str:
        """What is wrong and what to do; empty where the broker has the message."""
        if self.reason < FAILURE:
            return ""
        why = "check its access rules for this user" if self.reason == _NOT_AUTHORIZED else "its log says why"
        return f"the broker refuses messages on {self.topic} (reason {self.reason}); {why}"


@dataclass(frozen=True, slots=True)
class Received:
    """A message came in."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class SubscriptionDenied:
    """The broker refused a subscription; `problem` says which. Publishing may work all the same."""

    problem: str


Event = Connected | Disconnected | PublishResult | Received | SubscriptionDenied


class Bus(Protocol):
    """The port to a broker; `MqttBus` is the real one.

    A received message counts as handled when `events` or `wait_for` asks for the next one; a message that was not
    handled is delivered again after a restart.
    """

    @property
    def connected(self) -> bool:
        """Whether publishing makes sense now."""

    @property
    def turned_s(self) -> float:
        """When the network thread was last seen at work, on time.monotonic's clock."""

    def start(self) -> None:
        """Begin to connect; returns at once."""

    def publish(self, message: Message) -> int | None:
        """Hand over a message; a token that `PublishResult` will carry, or None while not connected."""

    def events(self) -> list[Event]:
        """Return what happened since the last call, in order."""

    def wait_for(self, predicate: Callable[[Event], bool], timeout_s: float) -> bool:
        """Show each event to `predicate` as it comes, until one is what it waits for; return False if none was in time.

        Later events are left for the next call of this or of `events`. What `predicate` raises ends the waiting.
        """

    def stop(self, last: Message | None = None, *, timeout_s: float = 1.0) -> None:
        """Publish a last message, disconnect and stop."""
