"""A network link that can be cut, or fall silent with its sockets left open, and comes back."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Literal

from edge_agent.testing import free_port

_LOOK_S = 0.1


class Link:
    """Forwards a port of its own to another one.

    Attributes:
        mode: `up`; `cut`: connections break and none is taken; `silent`: nothing gets through, nobody is told, and all
            of it comes when the link is back; `lost`: the same, but what was open stays dead, as behind a router that
            forgot it.
    """

    def __init__(self, target: int, port: int | None = None) -> None:
        self.port, self._target = port or free_port(), target
        self.mode: Literal["up", "cut", "silent", "lost"] = "up"
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            if self.mode == "cut":
                near.close()
            else:
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            # What began while the link was silent never gets through, as with a lost SYN that is sent again.
            while self.mode == "silent":
                select.select([], [], [], _LOOK_S)
            with socket.create_connection(("127.0.0.1", self._target)) as far:
                self._pump(near, far)

    def _pump(self, near: socket.socket, far: socket.socket) -> None:
        dead = False
        while self.mode != "cut":
            ready, _, _ = select.select([near, far], [], [], _LOOK_S)
            dead |= self.mode == "lost"
            if self.mode == "silent":
                # Nothing is read: TCP would send again, and so delivers it all when the link is back.
                select.select([], [], [], _LOOK_S)
                continue
            for source in ready:
                data = source.recv(65_536)
                if not data:
                    return
                if dead:
                    continue
                (far if source is near else near).sendall(data)
