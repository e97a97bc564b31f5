"""Who may see a page: whoever sits at this computer, or whoever knows the token.

Requests must name a host that was expected, so that no foreign page can reach a loopback server by a name of its own
(DNS rebinding), and changes must come from our own pages.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import html
import ipaddress
import math
import stat
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from edge_agent.errors import ConfigError
from edge_agent.languages import direction, translation
from edge_agent.web.pages import language_of
from edge_agent.web.throttle import Throttle

MIN_TOKEN_CHARS = 16
_MAX_BODY_BYTES = 65_536
#: A request, with its body, is answered within so many seconds.
_ANSWERED_S = 60.0
_SESSION_S = 30 * 24 * 3600
#: A code to log in with counts for this long at least, and for twice as long at most.
CODE_S = 600
_CODE_CHARS = 10
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
#: Nothing comes from another host, nothing is shown in another's frame.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_loopback(host: str) -> bool:
    """Tell whether only this computer can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(path: Path | None, *, host: str, key: str) -> str | None:
    """Return the token that browsers must know; None where only this computer can reach the page.

    Args:
        key: the option's name, for the message.

    Raises:
        ConfigError: the page could be reached from elsewhere and there is no token, or it is short or open to all.
    """
    if path is None:
        if is_loopback(host):
            return None
        raise ConfigError(f"{host} can be reached from other computers: name a file with a token in {key}")
    try:
        if path.stat().st_mode & stat.S_IROTH:
            raise ConfigError(f"everybody may read {path}; run: chmod 600 {path}")
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the token {path}: {error}") from None
    if len(token) < MIN_TOKEN_CHARS:
        raise ConfigError(f"the token in {path} is shorter than {MIN_TOKEN_CHARS} characters; openssl rand -hex 16")
    return token


def make_application(
    *,
    token: str | None,
    title: str,
    secure: bool = False,
    open_to_all: frozenset[str] = frozenset(),
    code: Callable[[str], bool] | None = None,
) -> web.Application:
    """Return an application whose every page asks for the token, if there is one.

    Args:
        title: for the login page.
        secure: pages are served over TLS.
        code: tells whether what was typed logs in, in place of the token and of its codes.
        open_to_all: routes, as they were added to the router, that see for themselves who may ask.
    """
    throttle = Throttle()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        limit_s = None if request.path.startswith("/ws") else _ANSWERED_S
        try:
            return await asyncio.wait_for(let_in(request, handler), limit_s)
        # A body that never ends, is nested without end, or is not compressed as it says.
        except (asyncio.TimeoutError, RecursionError, web.RequestPayloadError):
            raise web.HTTPBadRequest(text="not a request that this page makes") from None

    async def let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
        _check_utf8(request)
        # The route that will answer, not what the path looks like.
        resource = request.match_info.route.resource
        if resource is not None and resource.canonical in open_to_all:
            return await handler(request)
        if request.path == "/login" and request.method == "POST":
            return await _log_in(request, token=token, title=title, secure=secure, throttle=throttle, code=code)
        if token is None:
            if request.host.rpartition(":")[0] not in _LOOPBACK_NAMES and request.host not in _LOOPBACK_NAMES:
                raise web.HTTPForbidden(text="open this page as http://127.0.0.1 or http://localhost")
        elif not _knows(request, token) and not request.path.startswith(("/static/", "/manifest", "/icon", "/text")):
            if request.path.startswith(("/api/", "/ws")):
                raise web.HTTPUnauthorized(text="log in first")
            return _login_page(request, title)
        if request.method != "GET" and request.headers.get("X-Requested-With") != "edge-agent":
            raise web.HTTPForbidden(text="not from this page")
        if request.path.startswith("/ws") and not _same_origin(request):
            raise web.HTTPForbidden(text="not from this page")
        return await handler(request)

    application = web.Application(middlewares=[guard], client_max_size=_MAX_BODY_BYTES)
    application.on_response_prepare.append(add_headers)
    return application


def _check_utf8(request: web.Request) -> None:
    """Refuse bodies in another encoding: Python would read many an odd one, into what is no text."""
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
        raise web.HTTPUnsupportedMediaType(text="write UTF-8")


def login_code(token: str, *, unix_s: float) -> str:
    """Return what logs in for some minutes in place of the token: 50 bits in base32, for a QR code or a thumb.

    Like HOTP (RFC 4226) it is made of a secret and a number, here of the time, so that nobody has to keep it.
    """
    number = int(unix_s // CODE_S)
    digest = hmac.new(token.encode(), f"edge-agent login code {number}".encode(), hashlib.sha256).digest()
    return base64.b32encode(digest)[:_CODE_CHARS].decode()


def _is_code(given: str, token: str) -> bool:
    typed, unix_s = given.replace("-", "").replace(" ", "").upper(), time.time()
    return any(_same(typed, login_code(token, unix_s=unix_s - ago_s)) for ago_s in (0, CODE_S))


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add to each answer what keeps other pages out; for `on_response_prepare`."""
    response.headers.update(_HEADERS)


def _same_origin(request: web.Request) -> bool:
    return request.headers.get("Origin", "").partition("://")[2] == request.host


def _session(token: str) -> str:
    """Return what the cookie holds: a fingerprint, so that the token itself does not stay in browsers."""
    return hmac.new(token.encode(), b"edge-agent session", hashlib.sha256).hexdigest()


def _knows(request: web.Request, token: str) -> bool:
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    cookie = request.cookies.get(_cookie(token), "")
    return _same(bearer, token) or _same(cookie, _session(token))


def _same(given: str, expected: str) -> bool:
    # Headers may hold bytes that are no text; they come as surrogates.
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def _cookie(token: str) -> str:
    """Return the cookie's name; browsers tell no ports apart, so two pages of one host must not share one."""
    return f"edge-agent-{_session(token)[:8]}"


async def _log_in(
    request: web.Request,
    *,
    token: str | None,
    title: str,
    secure: bool,
    throttle: Throttle,
    code: Callable[[str], bool] | None,
) -> web.StreamResponse:
    address = request.remote or ""
    if (wait_s := throttle.wait_s(address)) > 0:
        raise web.HTTPTooManyRequests(text="too many wrong tokens", headers={"Retry-After": str(math.ceil(wait_s))})
    given = ""
    if request.content_type == "application/x-www-form-urlencoded":
        with contextlib.suppress(ValueError, LookupError):  # bytes that are no text, or of a character set that is none
            given = str((await request.post()).get("token", "")).strip()
    right = token is not None and (code(given) if code is not None else _same(given, token) or _is_code(given, token))
    throttle.note(address, right=right)
    if token is None or not right:
        return _login_page(request, title, refused=True)
    response = web.Response(status=303, headers={"Location": "/"})
    response.set_cookie(
        _cookie(token), _session(token), max_age=_SESSION_S, httponly=True, samesite="Strict", secure=secure
    )
    return response


def _login_page(request: web.Request, title: str, *, refused: bool = False) -> web.Response:
    language = language_of(request)
    _ = translation(language).gettext
    title, label, button = (
        html.escape(text) for text in (_(title), _("Token, or a code of a colleague's page"), _("Log in"))
    )
    problem = html.escape(_("That is not the token.")) if refused else ""
    text = f"""<!doctype html>
<html lang="{language}" dir="{direction(language)}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><link rel="stylesheet" href="/static/common.css">
<script type="module" src="/static/login.js"></script></head>
<body><main class="login"><h1>{title}</h1>
<form method="post" action="/login"><label for="token">{label}</label>
<input id="token" name="token" type="password" autocomplete="current-password" autofocus required>
<p role="alert" class="problem">{problem}</p><button>{button}</button></form></main></body></html>"""
    return web.Response(text=text, content_type="text/html", status=401)
