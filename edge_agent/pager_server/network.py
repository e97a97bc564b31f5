"""How phones reach this computer: its addresses on local networks, and its names."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from typing import TypeAlias

from edge_agent.errors import ConfigError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

#: What the internet does not route (IANA's registries of special-purpose addresses), this computer's own among them.
LOCAL_NETWORKS: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24",
        "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "::1/128", "2001:db8::/32", "fc00::/7",
    )
)  # fmt: skip
#: Domains that nobody on the internet owns: RFC 6762 (mDNS), 6761 and 8375, ICANN's `internal`, and what routers use.
LOCAL_DOMAINS = ("local", "localhost", "home.arpa", "internal", "lan")
#: Documentation addresses (RFC 5737): nothing is sent there.
_ELSEWHERE = ("192.0.2.255", "2001:db8::1")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")


def addresses() -> tuple[Address, ...]:
    """Return this computer's addresses on local networks, without loopback; those of the usual way out first.

    Raises:
        ConfigError: there is no `ifaddr`.
    """
    try:
        import ifaddr
    except ImportError:
        raise ConfigError("the page for phones needs ifaddr; install the extra `web`") from None
    found = []
    with contextlib.suppress(OSError):  # a sandbox that forbids to ask
        for adapter in ifaddr.get_adapters():
            found += [address.ip if isinstance(address.ip, str) else address.ip[0] for address in adapter.ips]
    known = {ipaddress.ip_address(text) for text in found}
    usable = [one for one in known if not one.is_loopback and any(one in network for network in LOCAL_NETWORKS)]
    usual = {_source(text) for text in _ELSEWHERE}
    return tuple(sorted(usable, key=lambda one: (one.version, str(one) not in usual, one.packed)))


def _source(destination: str) -> str:
    """Return the address that packets to elsewhere would leave from; a UDP socket sends none to find out."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((destination, 9))
        return str(probe.getsockname()[0])
    return ""


def host_names() -> tuple[str, ...]:
    """Return the name by which this computer is found through mDNS; none where it has no usable name."""
    label = socket.gethostname().partition(".")[0].lower()
    return (f"{label}.local",) if _LABEL.fullmatch(label) and label != "localhost" else ()


def is_local_name(name: str) -> bool:
    """Tell whether a name lies in a domain that nobody on the internet owns."""
    return any(name == domain or name.endswith(f".{domain}") for domain in LOCAL_DOMAINS)


def in_url(host: str | Address) -> str:
    """Return a host as URLs want it, of IPv6 in brackets."""
    return f"[{host}]" if ":" in str(host) else str(host)
