"""Tells systemd how the agent is: ready after its first frame, alive only while it really works.

A process that runs but sees nothing, or whose network thread is stuck, is worth less than one that is restarted. The
protocol is sd_notify(3) of systemd: datagrams to the socket in $NOTIFY_SOCKET. Without it, nothing is sent.

A container has no systemd. There $EDGE_AGENT_HEALTH_FILE names a file whose time says when the agent was last alive.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

#: Between two touches of the health file, where systemd asks for none.
_HEALTH_FILE_INTERVAL_S = 15.0


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
