"""Public fakes with behaviour, for tests of code that uses the agent's ports, and what tests need beside them.

They keep the ports' promises: `FakeBus` answers each publish once, loses the connection when told, and
`ScriptedCamera` fails and hangs like hardware does.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_agent.camera.frames import Frame
from edge_agent.delivery.bus import Connected, Disconnected, Event, PublishResult, Received, SubscriptionDenied
from edge_agent.delivery.messages import Message
from edge_agent.demo import CLIPS
from edge_agent.errors import CameraError


def free_port() -> int:
    """Return a TCP port of this computer that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def angry_frames(folder: Path) -> Path:
    """Write half a second of a demo clip in which the face is angry, as pictures; return the folder."""
    folder.mkdir(exist_ok=True)
    capture = cv2.VideoCapture(str(CLIPS["one"]))
    capture.set(cv2.CAP_PROP_POS_MSEC, 11_500)
    for number in range(15):
        _, image = capture.read()
        cv2.imwrite(str(folder / f"{number:02}.jpg"), image)
    capture.release()
    return folder


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """Return now, in seconds."""
        return self.now_s

    def advance(self, seconds: float) -> None:
        """Move forward."""
        self.now_s += seconds


class FakeBus:
    """A broker in memory.

    Attributes:
        published: messages handed over while connected, in order.
        reason: reason code of the next answers.
        keeps_session: what a connection after the first one says.
    """

    def __init__(self) -> None:
        self.published: list[Message] = []
        self.reason, self.keeps_session, self._known = 0, True, False
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._connected = False

    @property
    def connected(self) -> bool:
        """Whether publishing makes sense now."""
        return self._connected

    @property
    def turned_s(self) -> float:
        """Now: a broker in memory is always at work."""
        return time.monotonic()

    def start(self) -> None:
        """Connect at once."""
        self._connected = True
        self._events.put(Connected(session_present=self._known and self.keeps_session))
        self._known = True

    def lose(self, problem: str = "unplugged") -> None:
        """Drop the connection until `start` is called again."""
        self._connected = False
        self._events.put(Disconnected(problem))

    def receive(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        """Let a message come in."""
        self._events.put(Received(topic, payload, retained))

    def deny(self, problem: str) -> None:
        """Refuse a subscription."""
        self._events.put(SubscriptionDenied(problem))

    def publish(self, message: Message) -> int | None:
        """Take a message and answer with `reason`."""
        if not self._connected:
            return None
        self.published.append(message)
        token = len(self.published)
        self._events.put(PublishResult(token, self.reason, message.topic))
        return token

    def events(self) -> list[Event]:
        """Return what happened since the last call, in order."""
        events: list[Event] = []
        with contextlib.suppress(queue.Empty):
            while True:
                events.append(self._events.get_nowait())
        return events

    def wait_for(self, predicate: Callable[[Event], bool], timeout_s: float) -> bool:
        """Show each event to `predicate` as it comes, until one is what it waits for; return False if none was in time.

        Another thread may let it happen meanwhile.
        """
        give_up_s = time.monotonic() + timeout_s
        while (left_s := give_up_s - time.monotonic()) > 0:
            try:
                event = self._events.get(timeout=left_s)
            except queue.Empty:
                return False
            if predicate(event):
                return True
        return False

    def stop(self, last: Message | None = None, *, timeout_s: float = 1.0) -> None:
        """Publish a last message and disconnect."""
        del timeout_s
        if last is not None:
            self.publish(last)
        self._connected = False


class ScriptedCamera:
    """A camera that does what a script says, one word for each call of `read`.

    `frame` delivers, `fail` raises CameraError, `hang` blocks until `release` is set, `end` ends the recording.
    After its last word it delivers frames without end, or ends when the script ends with `end`.
    """

    def __init__(self, script: Sequence[str], *, clock: Callable[[], float], release: threading.Event) -> None:
        self._script, self._clock, self._release = list(script), clock, release
        self.closed = False

    def open(self) -> None:
        """Raise CameraError when the script begins with `refuse`."""
        if self._script[:1] == ["refuse"]:
            raise CameraError("scripted: no such camera")

    def read(self) -> Frame | None:
        """Do what the script says next."""
        word = self._script.pop(0) if self._script else "frame"
        if word == "hang":
            self._release.wait()
            raise CameraError("scripted: released after hanging")
        if word == "fail":
            raise CameraError("scripted: cable pulled")
        if word == "end":
            return None
        return Frame(np.zeros((48, 64, 3), dtype=np.uint8), self._clock())

    def close(self) -> None:
        """Note that the device was released."""
        self.closed = True
