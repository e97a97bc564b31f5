"""How a phone becomes a pager: a certificate that it trusts, an address that it reaches, and codes to scan.

A phone cannot fetch the certificate from a page that it does not trust yet. So a second, small server gives it away
over plain HTTP, with a page that explains, and nothing else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from edge_agent.config import Pager as Settings
from edge_agent.errors import ConfigError
from edge_agent.languages import translation
from edge_agent.pager_server import network, qr
from edge_agent.pager_server.authority import FILE_NAME, Authority
from edge_agent.pager_server.certificates import Own
from edge_agent.pager_server.join_page import Offer, join_page, phones_page, platform_of
from edge_agent.web.access import add_headers, is_loopback, login_code
from edge_agent.web.certificates import Certificate, Given, Renewal
from edge_agent.web.pages import language_of
from edge_agent.web.serving import Server

#: What may be asked for without a login.
OPEN = frozenset({"/join", "/ca.crt", "/edge-agent.mobileconfig"})
_LOOK_AGAIN_S = 10.0
_ANY_HOST = {"0.0.0.0": 4, "::": 6}
_HOST = re.compile(r"[A-Za-z0-9.-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\]")


def has_own_certificate(settings: Settings) -> bool:
    """Tell whether the page is served with a certificate of its own: beyond this computer, where none is given."""
    return settings.tls_cert is None and not settings.plain_http and not is_loopback(settings.host)


class Joining:
    """The part of the pager's server that phones meet first.

    Args:
        token: to log in with; None for this computer only.
        say: told, in one line, what changed.

    Attributes:
        tls: certificate with its chain, and key, to serve the page with; None for plain HTTP.

    Raises:
        ConfigError, StateError: the certificate of its own cannot be made.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        token: str | None,
        say: Callable[[str], None] = print,
        addresses: Callable[[], tuple[network.Address, ...]] = network.addresses,
    ) -> None:
        self._settings, self._token, self._say, self._addresses = settings, token, say, addresses
        self.authority: Authority | None = None
        self._certificate: Certificate | None = None
        if has_own_certificate(settings):
            named = urlsplit(settings.url or "").hostname or ""
            also = [name for name in (named, settings.host) if network.is_local_name(name)]
            own = Own(settings.state_dir, also=also, addresses=addresses)
            self._certificate, self.authority = own, own.authority
        elif settings.tls_cert is not None and settings.tls_key is not None:
            self._certificate = Given(settings.tls_cert, settings.tls_key)
        self.tls: tuple[Path, Path] | None = None if self._certificate is None else self._certificate.files
        self._server: Server | None = None
        self._renewal: Renewal | None = None
        self._door: Server | None = None
        self._looked_s = time.monotonic()
        self._hosts = self._find_hosts()

    def add_routes(self, application: web.Application) -> None:
        """Add the pages; those in `OPEN` need no login."""
        self._add_open(application, over_http=False)
        application.router.add_get("/phones", self._phones)

    def open(self, server: Server) -> None:
        """Begin to answer phones that do not trust `server` yet, on a port of its own."""
        self._server = server
        if self._certificate is not None:
            self._renewal = Renewal(self._certificate, server, say=self._say)
        if self.authority is None:
            return
        application = web.Application()
        application.on_response_prepare.append(add_headers)
        self._add_open(application, over_http=True)
        application.router.add_get("/", self._join_over_http)
        application.router.add_get("/{elsewhere:.*}", self._send_on)
        try:
            self._door = Server(application, host=self._settings.host, port=self._settings.join_port)
        except ConfigError as error:  # pages must come whatever else listens there
            self._say(f"{error}; phones cannot fetch the certificate, see pager.join_port")

    def close(self) -> None:
        """Answer no more."""
        if self._door is not None:
            self._door.stop()

    def look(self) -> None:
        """Take over a certificate that changed, or make one for addresses that changed; call it often."""
        if self._renewal is None or time.monotonic() - self._looked_s < _LOOK_AGAIN_S:
            return
        self._looked_s = time.monotonic()
        self._renewal.look()
        before, self._hosts = self._hosts, self._find_hosts()
        if self._hosts != before:
            for line in self.announcement():
                self._say(line)

    @property
    def url(self) -> str:
        """Where the page is opened, as other computers reach it."""
        return self._settings.url or self._pager_url(self._hosts[0])

    @property
    def join_url(self) -> str:
        """Where a new phone begins."""
        return self._join_url(self._hosts[0]) or f"{self.url.rstrip('/')}/join"

    def announcement(self) -> list[str]:
        """Return lines for the terminal and the journal, without any secret."""
        lines = [f"staff pager at {self.url}"]
        if is_loopback(self._settings.host):
            return lines
        lines += [f"phones begin at {self.join_url}, or scan this:", *qr.as_text(self.join_url).split("\n")]
        others = [self._join_url(host) for host in self._hosts[1:]]
        if self._door is not None and others:
            lines.append(f"where that is not reached: {', '.join(others)}")
        if self.authority is not None:
            lines.append(f"SHA-256 fingerprint of its certificate authority: {self.authority.fingerprint}")
        return lines

    def _find_hosts(self) -> list[str]:
        return _hosts(self._settings, self._addresses)

    def _pager_url(self, host: str) -> str:
        assert self._server is not None
        return f"{'http' if self.tls is None else 'https'}://{network.in_url(host)}:{self._server.port}/"

    def _join_url(self, host: str) -> str:
        return "" if self._door is None else f"http://{network.in_url(host)}:{self._door.port}/"

    def _add_open(self, application: web.Application, *, over_http: bool) -> None:
        application.router.add_get("/join", self._join_over_http if over_http else self._join)
        if self.authority is not None:
            application.router.add_get("/ca.crt", self._certificate_file)
            application.router.add_get("/edge-agent.mobileconfig", self._profile)

    async def _join(self, request: web.Request) -> web.Response:
        return self._join_page(request, "/", over_http=False)

    async def _join_over_http(self, request: web.Request) -> web.Response:
        return self._join_page(request, self._pager_url(_asked(request) or self._hosts[0]), over_http=True)

    def _join_page(self, request: web.Request, pager_url: str, *, over_http: bool) -> web.Response:
        fingerprint = "" if self.authority is None else self.authority.fingerprint
        text = join_page(
            Offer(pager_url, fingerprint, plain=self.tls is None),
            language=language_of(request),
            platform=platform_of(request.headers.get("User-Agent", "")),
            over_http=over_http,
        )
        return web.Response(text=text, content_type="text/html", headers={"Vary": "Accept-Language, User-Agent"})

    async def _certificate_file(self, _request: web.Request) -> web.Response:
        assert self.authority is not None
        return _download(self.authority.der, "application/x-x509-ca-cert", "edge-agent-ca.crt")

    async def _profile(self, _request: web.Request) -> web.Response:
        assert self.authority is not None
        return _download(self.authority.profile(), "application/x-apple-aspen-config", "edge-agent.mobileconfig")

    async def _send_on(self, request: web.Request) -> web.Response:
        raise web.HTTPFound(self._pager_url(_asked(request) or self._hosts[0]).rstrip("/") + request.rel_url.raw_path)

    async def _phones(self, request: web.Request) -> web.Response:
        language, code = language_of(request), ""
        _ = translation(language).gettext
        login = "", ""
        if self._token is not None:
            code = login_code(self._token, unix_s=time.time())
            address = login_url(self.url, code)
            login = address, qr.as_svg(address, label=_("Code to log in with"))
        text = phones_page(
            join=(self.join_url, qr.as_svg(self.join_url, label=_("Code to begin with"))), login=login, code=code,
            fingerprint="" if self.authority is None else self.authority.fingerprint, language=language,
        )  # fmt: skip
        return web.Response(text=text, content_type="text/html")


def reached_at(host: str, addresses: Callable[[], tuple[network.Address, ...]] = network.addresses) -> list[str]:
    """Return the names and addresses by which phones reach a server that listens on `host`, the best first."""
    if host not in _ANY_HOST:
        return [host]
    found = [str(one) for one in addresses() if one.version == _ANY_HOST[host]]
    return [*found, *network.host_names()] or ["localhost"]


def _hosts(settings: Settings, addresses: Callable[[], tuple[network.Address, ...]]) -> list[str]:
    """Return how phones reach the server: as `pager.url` says, where the certificate has that name, then as it sees."""
    named, seen = urlsplit(settings.url or "").hostname or "", reached_at(settings.host, addresses)
    return [named, *(host for host in seen if host != named)] if network.is_local_name(named) else seen


def login_url(url: str, code: str) -> str:
    """Return the address that logs a phone in; what stands behind # is sent to nobody and is in no log."""
    return f"{url.rstrip('/')}/#{code}"


def codes(settings: Settings, *, token: str | None, unix_s: float) -> list[str]:
    """Return what `edge-agent pager --join` prints beside a server that runs with the same settings: both codes.

    Raises:
        ConfigError: there is no server for phones, or it never ran.
        StateError: its certificate authority cannot be read.
    """
    if is_loopback(settings.host):
        raise ConfigError("no phone reaches a page on this computer only; set pager.host, or --listen 0.0.0.0:8090")
    host = network.in_url(_hosts(settings, network.addresses)[0])
    url = settings.url or f"{'http' if settings.plain_http else 'https'}://{host}:{settings.port}/"
    join_url, last = f"{url.rstrip('/')}/join", []
    if has_own_certificate(settings):
        if not (settings.state_dir / FILE_NAME).exists():
            raise ConfigError(f"there is no {settings.state_dir / FILE_NAME} yet; start the pager once, then try again")
        join_url = f"http://{host}:{settings.join_port}/"
        fingerprint = Authority(settings.state_dir, host="").fingerprint
        last = [f"SHA-256 fingerprint of its certificate authority: {fingerprint}"]
    lines = [f"1. scan this with the new phone's camera, or open {join_url}", qr.as_text(join_url), *last]
    if token is not None:
        code = login_code(token, unix_s=unix_s)
        lines += [
            "2. once it trusts the pager, scan this; it logs the phone in, and counts for ten minutes",
            qr.as_text(login_url(url, code)),
            f"or type this code where the page asks for the token: {code[:5]}-{code[5:]}",
        ]
    return lines


def _asked(request: web.Request) -> str:
    """Return the host that a phone asked for, without its port; empty where it is none."""
    host = re.sub(r":\d+$", "", request.host)
    return host.strip("[]") if _HOST.fullmatch(host) else ""


def _download(data: bytes, kind: str, name: str) -> web.Response:
    return web.Response(body=data, content_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
