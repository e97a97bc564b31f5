"""What may be asked of name servers: the addresses of hosts in the configuration, of those servers only (RFC 1035)."""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from pathlib import Path
from urllib.parse import urlsplit

from edge_agent.config import Config

PORT = 53
#: Sockets of this computer's own name services, of nscd(8) and systemd-resolved(8).
SERVICES = ("/var/run/nscd/socket", "/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve")
_RESOLV_CONF = Path("/etc/resolv.conf")
_HEADER_BYTES, _EDNS_BYTES = 12, 11
_MAX_QUERIES = 100


class NameQueries:
    """Looks at queries one by one.

    Args:
        config: as the agent has it.
    """

    def __init__(self, config: Config) -> None:
        self.servers, suffixes = _resolvers()
        hosts = {config.metrics.host, config.web.host, socket.gethostname(), "localhost"}
        if "://" in config.camera.device and (host := urlsplit(config.camera.device).hostname):
            hosts.add(host)
        hosts |= {_reverse(host) for host in (*hosts, "127.0.0.1")} - {""}
        self._names = hosts | {f"{host}.{suffix}" for host in hosts for suffix in suffixes}
        self._count = 0

    def problem(self, server: str, data: bytes) -> str:
        """Return what is wrong with a datagram to port 53; empty for nothing."""
        self._count += 1
        if server not in self.servers:
            return f"port 53 of {server}, which is no name server of this computer"
        name = _question(data)
        if name is None:
            return f"{len(data)} bytes to {server}:53 that are no question"
        if name.lower() not in {known.lower() for known in self._names}:
            return f"name {name[:60]!r} asked of {server}:53"
        return "more questions for names than anybody needs" if self._count > _MAX_QUERIES else ""

    def asks_service(self, data: bytes) -> bool:
        """Tell whether a request to this computer's name service is for a known name."""
        return len(data) <= 512 and any(name.encode() in data for name in self._names)


def _resolvers() -> tuple[set[str], set[str]]:
    """Return the addresses of this computer's name servers, and the domains it completes names with."""
    try:
        text = _RESOLV_CONF.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    servers = set(re.findall(r"^\s*nameserver\s+(\S+)", text, re.MULTILINE)) or {"127.0.0.1"}
    suffixes = set(" ".join(re.findall(r"^\s*(?:search|domain)\s+(.*)", text, re.MULTILINE)).split())
    return servers, suffixes


def _reverse(host: str) -> str:
    try:
        return ipaddress.ip_address(host).reverse_pointer
    except ValueError:
        return ""


def _question(data: bytes) -> str | None:
    """Return the name that a query asks for; None for what is no query of one name and nothing else."""
    if len(data) < _HEADER_BYTES + 5:
        return None
    _, flags, questions, answers, authorities, more = struct.unpack("!6H", data[:_HEADER_BYTES])
    if flags & 0xF800 or questions != 1 or answers or authorities or more > 1:
        return None
    labels, at = [], _HEADER_BYTES
    while at < len(data) and (size := data[at]):
        labels.append(data[at + 1 : at + 1 + size].decode("ascii", "replace"))
        at += 1 + size
    return ".".join(labels) if len(data) == at + 5 + more * _EDNS_BYTES else None
