"""Looks at the broker's settings without asking the broker: what cannot work, and what is unlikely to be meant."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config import Mqtt
from edge_agent.delivery.password import read_password
from edge_agent.errors import ConfigError

#: IANA's ports of MQTT, secure-mqtt and mqtt.
_TLS_PORT, _PLAIN_PORT = 8883, 1883


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of an option, by its dotted path; with a warning the agent can work all the same."""

    option: str
    problem: str
    warning: bool = False


def examine(mqtt: Mqtt) -> Iterator[Finding]:
    """Yield what is wrong with ports, password and certificates."""
    tls = mqtt.tls
    if mqtt.port == _TLS_PORT and not tls.enabled:
        yield Finding(
            "mqtt.port",
            f"brokers speak TLS on port {_TLS_PORT}; write `tls: {{enabled: true}}`, or the port without it, usually "
            f"{_PLAIN_PORT}",
        )
    if mqtt.port == _PLAIN_PORT and tls.enabled:
        yield Finding("mqtt.port", f"brokers speak no TLS on port {_PLAIN_PORT}, usually on {_TLS_PORT}", warning=True)
    yield from _password(mqtt)
    if tls.ca_file is not None:
        if tls.enabled:
            yield from _authority(tls.ca_file)
        else:
            yield Finding("mqtt.tls.ca_file", "not used: mqtt.tls.enabled is false", warning=True)


def _password(mqtt: Mqtt) -> Iterator[Finding]:
    try:
        password = read_password(mqtt)
    except ConfigError as error:
        yield Finding("mqtt.password_file", str(error))
        return
    if mqtt.username is not None and password is None:
        file = f"{mqtt.password_file} is empty" if mqtt.password_file is not None else "there is no password"
        yield Finding(
            "mqtt.username", f"{file}: put the password into a file and its name into mqtt.password_file, or use the "
            "service's credential mqtt-password"
        )  # fmt: skip
    elif mqtt.username is None and password is not None:
        yield Finding("mqtt.password_file", "not used: a password needs mqtt.username", warning=True)
    elif mqtt.username is not None and not mqtt.tls.enabled and mqtt.host not in ("127.0.0.1", "::1", "localhost"):
        yield Finding(
            "mqtt.username", f"the password travels unencrypted to {mqtt.host}; set mqtt.tls.enabled", warning=True
        )


def _authority(path: Path) -> Iterator[Finding]:
    """Look at the certificates of authorities; one that is valid is enough."""
    option = "mqtt.tls.ca_file"
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        yield Finding(option, f"cannot read {path}: {error.strerror}")
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        kind = "a private key" if "PRIVATE KEY-----" in text else "no certificate in PEM form"
        yield Finding(option, f"{path} is {kind}; a certificate's first line is -----BEGIN CERTIFICATE-----")
        return
    now_s, ends, begins = time.time(), [], []
    for certificate in context.get_ca_certs():
        ends.append(ssl.cert_time_to_seconds(str(certificate["notAfter"])))
        begins.append(ssl.cert_time_to_seconds(str(certificate["notBefore"])))
    if ends and max(ends) < now_s:
        yield Finding(option, f"the certificate in {path} expired on {_day(max(ends))}; put the broker's new one there")
    elif begins and min(begins) > now_s:
        yield Finding(
            option, f"the certificate in {path} begins on {_day(min(begins))}; is this computer's clock right?",
            warning=True,
        )  # fmt: skip


def _day(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(unix_s))
