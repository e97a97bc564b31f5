"""Certificates that change while a server runs: one that somebody else renews, and what takes a new one over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edge_agent.errors import AgentError
from edge_agent.web.serving import Server


class Certificate(Protocol):
    """A certificate with its chain, and its key, in files."""

    files: tuple[Path, Path]

    def renew(self) -> bool:
        """Return whether the files have changed since the last call.

        Raises:
            StateError: they should have, but cannot be written.
        """
        ...


class Given:
    """A certificate that somebody else renews, such as certbot."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.files = certificate, key
        self._seen = self._stamps()

    def renew(self) -> bool:
        """Return whether somebody replaced the files since."""
        before, self._seen = self._seen, self._stamps()
        return self._seen != before

    def _stamps(self) -> list[tuple[int, int]]:
        try:
            found = [path.stat() for path in self.files]
        except OSError:  # just being replaced
            return []
        return [(one.st_mtime_ns, one.st_ino) for one in found]


class Renewal:
    """Has a server use its certificate's files when they change.

    Args:
        say: told, in one line, what became of it.
    """

    def __init__(self, certificate: Certificate, server: Server, *, say: Callable[[str], None]) -> None:
        self._certificate, self._server, self._say = certificate, server, say
        self._problem = ""

    def look(self) -> None:
        """Take over a certificate that changed; one that cannot be used leaves that from before in use."""
        try:
            if self._certificate.renew():
                self._server.renew()
                self._say("the certificate was renewed")
                self._problem = ""
        except AgentError as error:
            if str(error) != self._problem:
                self._say(f"{error}; the certificate from before is used on")
            self._problem = str(error)
