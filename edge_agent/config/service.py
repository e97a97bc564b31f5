"""How the agent runs as a service: broker, state, what it tells and to whom."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_agent.yaml_loader import InvalidValueError, option


@dataclass(frozen=True, slots=True)
class Tls:
    """Transport security toward the broker."""

    enabled: bool = option(default=False)
    ca_file: Path | None = option(None)
    cert_file: Path | None = option(None)
    key_file: Path | None = option(None)

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise InvalidValueError("cert_file and key_file belong together; give both or neither")


@dataclass(frozen=True, slots=True)
class Mqtt:
    """The broker that staff pagers listen on."""

    host: str = option("127.0.0.1", pattern=r"\S+")
    port: int = option(1883, low=1, high=65535)
    transport: Literal["tcp", "websockets"] = option("tcp")
    websocket_path: str = option("/mqtt", pattern=r"/\S*")
    protocol: Literal["5", "3.1.1"] = option("5")
    topic_root: str = option("kiosk/v1", pattern=r"[A-Za-z0-9_./-]{1,100}")
    username: str | None = option(None)
    password_file: Path | None = option(None)
    keepalive_s: int = option(6, low=5, high=3600)
    connect_retry_max_s: float = option(60.0, low=1, high=3600)
    keep_session: bool = option(default=True)
    tls: Tls = option(factory=Tls)

    def __post_init__(self) -> None:
        # A slash too many would make a level without a name, on which no pager listens.
        root = "/".join(level for level in self.topic_root.split("/") if level)
        if not root:
            raise InvalidValueError("needs a name, such as kiosk/v1", "topic_root")
        object.__setattr__(self, "topic_root", root)
        object.__setattr__(self, "host", _host_alone(self.host))

    @property
    def address(self) -> str:
        """Host and port for people to read."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _host_alone(given: str) -> str:
    """Return a name or an address, of IPv6 without its brackets.

    Raises:
        InvalidValueError: there is more to it, such as a port.
    """
    host = given[1:-1] if given[0] == "[" and given[-1] == "]" else given
    if ":" in host:
        with contextlib.suppress(ValueError):
            return str(ipaddress.IPv6Address(host))
    elif "/" not in host:
        return host
    tls = given.partition("://")[0] in ("mqtts", "ssl", "tls", "wss")
    also = " and `tls: {enabled: true}`" if tls else ""
    alone = re.sub(r"/.*", "", re.sub(r"\w+://", "", given))
    name, _, port = alone.rpartition(":")
    if not name and re.fullmatch(r"[\w.-]+", alone) and alone != given:
        raise InvalidValueError(f"{given!r} is more than a host; write `host: {alone}`{also}", "host")
    if name and port.isdecimal():
        raise InvalidValueError(f"{given!r} is more than a host; write `host: {name}` and `port: {port}`{also}", "host")
    raise InvalidValueError(f"{given!r} is no host; write a name or an address, such as `host: broker.lan`", "host")


@dataclass(frozen=True, slots=True)
class Outbox:
    """The spool that keeps alerts until the broker has them."""

    state_dir: Path = option(Path("state"), in_working_folder=True)
    max_bytes: int = option(4_000_000, low=10_000, high=1_000_000_000)


@dataclass(frozen=True, slots=True)
class Privacy:
    """What people in front of the camera are owed."""

    notice_posted: bool = option(default=False)
    min_group: int = option(5, low=2, high=1000)


@dataclass(frozen=True, slots=True)
class Summary:
    """How content people were, as shares over an interval."""

    enabled: bool = option(default=True)
    interval_s: float = option(900.0, low=60, high=86400)
    satisfied: tuple[str, ...] | None = option(None)


@dataclass(frozen=True, slots=True)
class HomeAssistant:
    """Announcing the device by MQTT discovery."""

    enabled: bool = option(default=False)
    prefix: str = option("homeassistant", pattern=r"[A-Za-z0-9_./-]{1,100}")


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures for Prometheus."""

    enabled: bool = option(default=False)
    host: str = option("127.0.0.1", pattern=r"[^\s/]+")
    port: int = option(9108, low=0, high=65535)


@dataclass(frozen=True, slots=True)
class Web:
    """The live view for whoever looks after the device."""

    enabled: bool = option(default=False)
    host: str = option("127.0.0.1", pattern=r"[^\s/]+")
    port: int = option(8080, low=0, high=65535)
    token_file: Path | None = option(None)
    tls_cert: Path | None = option(None)
    tls_key: Path | None = option(None)
    blur_faces: bool = option(default=False)

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidValueError("tls_cert and tls_key belong together; give both or neither")

    @property
    def tls(self) -> tuple[Path, Path] | None:
        """Certificate and key; None for plain HTTP."""
        return None if self.tls_cert is None or self.tls_key is None else (self.tls_cert, self.tls_key)


@dataclass(frozen=True, slots=True)
class Performance:
    """How much of the computer the agent may use."""

    threads: int = option(1, low=1, high=16)
    cores: tuple[int, ...] = option((), low=0, high=1023)
    runtime: Literal["auto", "ai-edge-litert", "tflite-runtime", "tensorflow"] = option("auto")
    idle_rate_hz: float = option(3.0, low=0.5, high=120)
    max_cpu_percent: float = option(100.0, low=5, high=1600)


@dataclass(frozen=True, slots=True)
class Logging:
    """What the agent writes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = option("info")
    format: Literal["auto", "pretty", "json"] = option("auto")
    health_interval_s: float = option(30.0, low=1, high=3600)
