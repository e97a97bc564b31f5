"""Keeps a server reachable whoever leaves connections open: few at a time, none without a request for long.

The agent shares its descriptors with the camera and the broker; idle sockets must never take the last of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from edge_agent.logs import fields

log = logging.getLogger("edge_agent")

#: Connections at a time, in all and of one address: staff behind a proxy share theirs.
MAX_CONNECTIONS, MAX_OF_ONE = 256, 96
#: The first request must be there within so many seconds.
FIRST_REQUEST_S = 10.0
_HEADERS_END, _MAX_HEADER_BYTES = b"\r\n\r\n", 32_768
_SAY_EVERY_S = 60.0


class Door:
    """Hands connections to a server's protocols; where there are too many, the oldest without a request has to go.

    Args:
        inside: makes the protocol that serves a connection.
    """

    def __init__(self, inside: Callable[[], asyncio.Protocol], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._inside, self._clock = inside, clock
        #: Oldest first.
        self._open: dict[_Guest, None] = {}
        self._refused, self._said_s = 0, float("-inf")

    def __call__(self) -> _Guest:
        """Return the protocol of a new connection."""
        return _Guest(self, self._inside())

    def enter(self, guest: _Guest) -> bool:
        """Take a connection in, if there is room or room can be made."""
        of_one = [other for other in self._open if other.address == guest.address]
        crowd = of_one if len(of_one) >= MAX_OF_ONE else list(self._open)
        if len(of_one) >= MAX_OF_ONE or len(self._open) >= MAX_CONNECTIONS:
            self._count()
            idle = next((other for other in crowd if not other.asked), None)
            if idle is None:
                return False
            idle.show_out()
        self._open[guest] = None
        return True

    def leave(self, guest: _Guest) -> None:
        """Forget a connection."""
        self._open.pop(guest, None)

    def _count(self) -> None:
        self._refused += 1
        now_s = self._clock()
        if now_s - self._said_s >= _SAY_EVERY_S:
            log.warning("connections without a request were closed", extra=fields(count=self._refused))
            self._refused, self._said_s = 0, now_s


class _Guest(asyncio.Protocol):
    """One connection; what it receives goes to the server's own protocol."""

    def __init__(self, door: Door, served: asyncio.Protocol) -> None:
        self._door, self._served = door, served
        self._transport: asyncio.Transport | None = None
        self._seen = b""
        self._timer: asyncio.TimerHandle | None = None
        self.address = ""
        #: Whether a request has come.
        self.asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.address = str((transport.get_extra_info("peername") or ("",))[0])
        if not self._door.enter(self):
            transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(FIRST_REQUEST_S, self.show_out)
        self._served.connection_made(transport)

    def show_out(self) -> None:
        """Close the connection at once."""
        self._door.leave(self)
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._timer is None:
            return
        if not self.asked:
            self._seen = (self._seen + data)[-_MAX_HEADER_BYTES:]
            if _HEADERS_END in self._seen:
                self.asked, self._seen = True, b""
                self._timer.cancel()
        self._served.data_received(data)

    def eof_received(self) -> bool | None:
        return self._served.eof_received() if self._timer is not None else None

    def connection_lost(self, error: Exception | None) -> None:
        self._door.leave(self)
        if self._timer is not None:
            self._timer.cancel()
            self._served.connection_lost(error)

    def pause_writing(self) -> None:
        self._served.pause_writing()

    def resume_writing(self) -> None:
        self._served.resume_writing()
