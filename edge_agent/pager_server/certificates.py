"""A certificate of our own authority to serve the page with."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

from edge_agent.errors import StateError
from edge_agent.pager_server import network
from edge_agent.pager_server.authority import Authority

FILE_NAME = "tls-server.pem"
#: So long before its end a certificate is made anew.
_AHEAD = timedelta(days=120)


class Own:
    """A certificate of our own authority, for this computer's names and addresses of the moment.

    Args:
        also: a name by which it is reached besides, such as pager.lan.

    Raises:
        ConfigError, StateError: the authority cannot be used, or the file cannot be written.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        also: Iterable[str] = (),
        addresses: Callable[[], tuple[network.Address, ...]] = network.addresses,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._path, self._addresses, self._now = state_dir / FILE_NAME, addresses, now
        self._names = tuple(dict.fromkeys((*network.host_names(), "localhost", *also)))
        self.authority = Authority(state_dir, host=socket.gethostname(), now=now())
        self.files = self._path, self._path
        self._for: tuple[network.Address, ...] | None = None
        self._from = self._until = now()
        self.renew()

    def renew(self) -> bool:
        """Make another when the addresses are others, or when this one ends soon."""
        now, found = self._now(), self._addresses()
        if found == self._for and self._from <= now < self._until:
            return False
        known = (*found, ip_address("127.0.0.1"), ip_address("::1"))
        pem, ends = self.authority.issue(self._names, known, now=now)
        _replace(self._path, pem)
        # Towards the authority's own end it cannot last any longer.
        self._for, self._from, self._until = found, now - timedelta(days=1), max(ends - _AHEAD, now + timedelta(days=1))
        return True


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_name(f"{path.name}.new")
    try:
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        draft.replace(path)
    except OSError as error:
        raise StateError(f"cannot use {path}: {error}; is pager.state_dir writable and the disk not full?") from None
