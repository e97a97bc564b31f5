"""Tells systemd how the agent is: ready after its first frame, alive only while it really works.

A process that runs but sees nothing, or whose network thread is stuck, is worth less than one that is restarted. The
protocol is sd_notify(3) of systemd: datagrams to the socket in $NOTIFY_SOCKET. Without it, nothing is sent.

A container has no systemd. There $EDGE_AGENT_HEALTH_FILE names a file whose time says when the agent was last alive.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

#: Between two touches of the health file, where systemd asks for none.
_HEALTH_FILE_INTERVAL_S = 15.0


class WatchdogLine(Protocol):
    """What the loop of a device reports to."""

    def turn(self, *, frames: int, network_turned_s: float, status: str) -> None:
        """Report; see `Watchdog.turn`."""

    def stopping(self) -> None:
        """Say that the device ends by itself."""


class Watchdog:
    """One line to the service manager.

    Args:
        environment: has NOTIFY_SOCKET and WATCHDOG_USEC where systemd wants to know, EDGE_AGENT_HEALTH_FILE where a
            container's health check does.
        monotonic: seconds.
    """

    def __init__(self, *, monotonic: Callable[[], float], environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for Linux's abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._monotonic = monotonic
        usec = environment.get("WATCHDOG_USEC", "")
        file = environment.get("EDGE_AGENT_HEALTH_FILE", "")
        self._file = Path(file) if file else None
        self.interval_s = int(usec) / 4e6 if usec.isdecimal() else _HEALTH_FILE_INTERVAL_S if file else None
        self._next_s = self._sent_s = monotonic()
        self._frames = 0
        self._ready = False
        self._status = ""

    def turn(self, *, frames: int, network_turned_s: float, status: str) -> None:
        """Report; call it at every turn of the loop.

        Args:
            frames: processed so far. The first makes the service ready.
            network_turned_s: when the network thread was last seen at work, on the monotonic clock.
            status: one line for `systemctl status`.
        """
        if frames and not self._ready:
            self._ready = True
            self._send("READY=1")
        if status != self._status:
            self._status = status
            self._send(f"STATUS={status}")
        now_s = self._monotonic()
        alive = frames > self._frames and network_turned_s > self._sent_s
        if self.interval_s is not None and now_s >= self._next_s and alive:
            self._frames, self._sent_s, self._next_s = frames, now_s, now_s + self.interval_s
            self._send("WATCHDOG=1")
            if self._file is not None:
                with contextlib.suppress(OSError):  # a full disk is told elsewhere
                    self._file.touch()

    def stopping(self) -> None:
        """Say that the agent ends by itself."""
        self._send("STOPPING=1")

    def _send(self, line: str) -> None:
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.connect(self._address)
                notify.send(line.replace("\n", " ").encode())


class SharedWatchdog:
    """One line for several devices of one process: alive while each loop and connection turns and any camera delivers.

    A camera that is lost is no reason to restart those that are not.

    Args:
        monotonic: seconds.
    """

    def __init__(self, *, monotonic: Callable[[], float], environment: Mapping[str, str] = os.environ) -> None:
        self._watchdog = Watchdog(monotonic=monotonic, environment=environment)
        self._lock = threading.Lock()
        self._members: dict[str, _Member] = {}
        self._progress = 0

    def member(self, name: str) -> _Member:
        """Return what the loop of a device reports to; it counts from its first turn on."""
        return _Member(self, name)

    def turned(self, member: _Member, *, progress: bool) -> None:
        """Report for all."""
        with self._lock:
            self._members[member.name] = member
            self._progress += progress
            self._watchdog.turn(
                frames=self._progress,
                network_turned_s=min(one.network_turned_s for one in self._members.values()),
                status="; ".join(f"{one.name}: {one.status}" for one in self._members.values()),
            )

    def leave(self, member: _Member) -> None:
        """Wait no longer for a device that ends; the last one says that the process does."""
        with self._lock:
            if self._members.get(member.name) is member:
                del self._members[member.name]
                if not self._members:
                    self._watchdog.stopping()


class _Member:
    """What one device last reported; what its loop reports no more goes out of date."""

    def __init__(self, shared: SharedWatchdog, name: str) -> None:
        self._shared, self.name = shared, name
        self._frames = 0
        self.network_turned_s, self.status = float("-inf"), "starting"

    def turn(self, *, frames: int, network_turned_s: float, status: str) -> None:
        """Report as to `Watchdog.turn`."""
        progress = frames > self._frames
        self._frames = max(self._frames, frames)
        self.network_turned_s, self.status = network_turned_s, status
        self._shared.turned(self, progress=progress)

    def stopping(self) -> None:
        """Say that this device ends by itself."""
        self._shared.leave(self)
