"""Asks a network camera why its stream does not open; OpenCV gives no reason.

One request of our own, DESCRIBE (RTSP, RFC 2326) or GET (HTTP), and one more where the camera wants to know who asks:
Basic or Digest (RFC 7617, RFC 7616), as FFmpeg does it. Certificates are not checked, for FFmpeg does not either.
"""

from __future__ import annotations

import errno
import hashlib
import secrets
import socket
import ssl
import time
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import parse_http_list, parse_keqv_list

from edge_agent.camera.address import shown

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443}
_ASKED = ("rtsp", "rtsps", "http", "https")
_MAX_HEAD_BYTES = 16 * 1024
_MAX_SHOWN = 60
_SAID = {
    400: "it does not understand the address: check its path",
    403: "the camera knows the user, but forbids the stream: give the user the right to watch in the camera's settings",
    404: "the camera has no such stream: check the address's path",
    453: "the camera has no room for another viewer: close other viewers",
    454: "the camera has no such stream: check the address's path",
    503: "the camera has no room for another viewer, or has not started yet",
}


@dataclass(frozen=True, slots=True)
class _Answer:
    """The head of an answer: `protocol/version status reason`, and its fields, names in lower case."""

    protocol: str
    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]

    def field(self, name: str) -> str:
        return next((value for key, value in self.fields if key == name), "")


def why_closed(url: str, *, timeout_s: float) -> str:
    """Return why a stream does not open and what to do, one clause without secrets; nothing where that is not known.

    Args:
        timeout_s: for all of it but the look-up of the host's name.
    """
    parts = urlsplit(url) if not shown(url).endswith("://…") else None
    if parts is None or not parts.hostname:
        return "its address cannot be read: in user and password write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23"
    if parts.scheme not in _PORTS:
        return ""
    place = f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"
    give_up_s = time.monotonic() + timeout_s
    try:
        answer = _ask(parts, "", give_up_s)
        if answer is None:
            return ""
        if answer.status == 401 and parts.username is not None:
            credentials = _credentials(parts, answer)
            if not credentials:
                return (
                    "the camera wants its users to sign in in a way not known here: allow Digest (MD5) in its settings"
                )
            answer = _ask(parts, credentials, give_up_s) or answer
    except socket.gaierror:
        return f"the name {parts.hostname} cannot be looked up: check it and the network, or write the IP address"
    except TimeoutError:
        return f"{place} does not answer: is the camera on, and on this network?"
    except ConnectionRefusedError:
        return f"{place} refuses the connection: check the port, and that the camera's {_service(parts)} is switched on"
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            return f"this computer may not connect to {place}: check its firewall, and IPAddressAllow of the service"
        return f"{place} cannot be reached: {error.strerror or 'the connection broke'}"
    except ValueError:
        return f"what answers at {place} does not speak {_service(parts)}: check the port"
    return _meaning(parts, answer)


def _service(parts: SplitResult) -> str:
    return parts.scheme.rstrip("s").upper()


def _meaning(parts: SplitResult, answer: _Answer) -> str:
    if answer.status == 401 and parts.username is None:
        return f"the camera wants to know who asks: {parts.scheme}://user:password@{parts.hostname}/…"
    if answer.status == 401:
        return "the camera refuses user or password: check both (@ in them is written %40, : %3A, / %2F)"
    if answer.status in _SAID:
        return f"{_SAID[answer.status]} ({answer.status})"
    if answer.status >= 300:
        return f"the camera answers {answer.status} {answer.reason}".rstrip()
    kind = answer.field("content-type").partition(";")[0]
    if kind.startswith("text/"):
        return f"what answers there is {_printable(kind)}, not a video: check the address's path"
    return "the camera answers, but no picture came: check the address's path, or raise camera.timeout_s"


def _ask(parts: SplitResult, authorization: str, give_up_s: float) -> _Answer | None:
    """Send one request and read the head of its answer; None where the protocol is not one to ask in.

    Raises:
        OSError: there is no connection.
        ValueError: what comes is no such head.
    """
    host = parts.hostname or ""
    with socket.create_connection((host, parts.port or _PORTS[parts.scheme]), _left_s(give_up_s)) as link:
        if parts.scheme not in _ASKED:
            return None
        if parts.scheme not in ("rtsps", "https"):
            return _exchange(link, parts, authorization, give_up_s)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(link, server_hostname=host) as encrypted:
            return _exchange(encrypted, parts, authorization, give_up_s)


def _exchange(link: socket.socket, parts: SplitResult, authorization: str, give_up_s: float) -> _Answer:
    method, target, host = _request_line(parts)
    if parts.scheme.startswith("rtsp"):
        lines = [f"{method} {target} RTSP/1.0", f"CSeq: {2 if authorization else 1}", "Accept: application/sdp"]
    else:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", "Accept: */*"]
    lines += ["User-Agent: edge-agent", *([f"Authorization: {authorization}"] if authorization else [])]
    link.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD_BYTES:
        link.settimeout(_left_s(give_up_s))
        part = link.recv(4096)
        if not part:
            break
        head += part
    return _read(head, "RTSP/" if parts.scheme.startswith("rtsp") else "HTTP/")


def _read(head: bytes, protocol: str) -> _Answer:
    first, *rest = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    version, _, status = first.partition(" ")
    code, _, reason = status.partition(" ")
    if not version.startswith(protocol) or len(code) != 3 or not code.isdecimal():
        raise ValueError(first)
    fields = (line.partition(":") for line in rest)
    return _Answer(version, int(code), _printable(reason), tuple((k.strip().lower(), v.strip()) for k, _, v in fields))


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:_MAX_SHOWN]


def _request_line(parts: SplitResult) -> tuple[str, str, str]:
    """Return method, target and host as a request names them: without user and password."""
    host = parts.netloc.rpartition("@")[2]
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return ("DESCRIBE", f"{parts.scheme}://{host}{path}", host) if "rtsp" in parts.scheme else ("GET", path, host)


def _credentials(parts: SplitResult, refusal: _Answer) -> str:
    """Return the value of Authorization that a refusal asks for; nothing where it asks for what nobody knows."""
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    offers = [value for key, value in refusal.fields if key == "www-authenticate"]
    for offer in offers:
        scheme, _, rest = offer.partition(" ")
        asked = parse_keqv_list([one for one in parse_http_list(rest) if one.partition("=")[2]])
        if scheme.lower() == "digest" and asked.get("algorithm", "MD5").upper() == "MD5":
            method, target, _ = _request_line(parts)
            return _digest(asked, user, password, method=method, target=target)
    if any(offer.lower().startswith("basic") for offer in offers):
        return "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")
    return ""


def _digest(asked: dict[str, str], user: str, password: str, *, method: str, target: str) -> str:
    def md5(*parts: str) -> str:
        return hashlib.md5(":".join(parts).encode(), usedforsecurity=False).hexdigest()

    realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
    said = {"username": user, "realm": realm, "nonce": nonce, "uri": target}
    secret, what = md5(user, realm, password), md5(method, target)
    counted = ""
    if "auth" in [one.strip() for one in asked.get("qop", "").split(",")]:
        said["cnonce"] = secrets.token_hex(8)
        said["response"] = md5(secret, nonce, "00000001", said["cnonce"], "auth", what)
        counted = ", qop=auth, nc=00000001"
    else:
        said["response"] = md5(secret, nonce, what)
    if "opaque" in asked:
        said["opaque"] = asked["opaque"]
    return "Digest " + ", ".join(f'{name}="{value}"' for name, value in said.items()) + counted


def _left_s(give_up_s: float) -> float:
    left_s = give_up_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
