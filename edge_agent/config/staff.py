"""What the pager server and the notifier need to know: who works here, in which shifts, and how they are reached."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_agent.config.watching import SEGMENT
from edge_agent.languages import LANGUAGES
from edge_agent.yaml_loader import InvalidValueError, option

_NAME = r"[^\x00-\x1f\x7f]{1,64}"
#: An argon2 hash in PHC string format.
_PIN_HASH = r"\$argon2(id|i|d)\$[^\s]{20,300}"


@dataclass(frozen=True, slots=True)
class Staff:
    """A person who answers pages."""

    name: str = option(pattern=_NAME)
    pin_hash: str | None = option(None, pattern=_PIN_HASH, secret="whole")


@dataclass(frozen=True, slots=True)
class Shift:
    """What a member of staff on this shift looks after."""

    name: str = option(pattern=_NAME)
    groups: tuple[str, ...] = option((), pattern=SEGMENT)
    kiosks: tuple[str, ...] = option((), pattern=rf"{SEGMENT}/{SEGMENT}")


@dataclass(frozen=True, slots=True)
class Pager:
    """The server of the page for phones, `edge-agent pager --web`."""

    host: str = option("127.0.0.1", pattern=r"[^\s/]+")
    port: int = option(8090, low=0, high=65535)
    token_file: Path | None = option(None)
    tls_cert: Path | None = option(None)
    tls_key: Path | None = option(None)
    plain_http: bool = option(default=False)
    join_port: int = option(8091, low=0, high=65535)
    url: str | None = option(None, pattern=r"https?://[^\s]+", secret="address")
    state_dir: Path = option(Path("pager-state"), in_working_folder=True)
    language: str | None = option(None, pattern="|".join(LANGUAGES))
    time_zone: str | None = option(None, pattern=r"[A-Za-z0-9_+/-]{1,64}")
    history_days: float = option(90.0, low=1, high=3660)
    history_names: bool = option(default=False)
    staff: tuple[Staff, ...] = option(())
    shifts: tuple[Shift, ...] = option(())

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidValueError("tls_cert and tls_key belong together; give both or neither")
        if self.plain_http and self.tls_cert is not None:
            raise InvalidValueError("plain_http has no use for a certificate; leave out one of the two", "plain_http")


@dataclass(frozen=True, slots=True)
class Target:
    """A service that pages are handed to."""

    name: str = option(pattern=SEGMENT)
    url_file: Path = option()
    groups: tuple[str, ...] = option((), pattern=SEGMENT)
    severity: Literal["info", "warning", "critical"] = option("info")
    expiry_s: float = option(300.0, low=10, high=86400)
    language: str = option("en", pattern="|".join(LANGUAGES))


@dataclass(frozen=True, slots=True)
class Notify:
    """Pages for phones whose screen is off, `edge-agent notify`."""

    push_contact: str | None = option(None, pattern=r"(mailto:|https://)\S{3,200}")
    push_expiry_s: float = option(300.0, low=10, high=86400)
    targets: tuple[Target, ...] = option(())
