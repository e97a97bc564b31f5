"""Runs an aiohttp application in a thread of its own."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from edge_agent.errors import ConfigError
from edge_agent.web.door import Door
from edge_agent.web.pages import LANGUAGE, STATIC, TRANSLATED, page, texts

log = logging.getLogger("edge_agent.web")
_STARTED_WITHIN_S = 10.0
_Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
#: A connection between two requests is closed after so long.
_IDLE_S = 30.0


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Tell whether what aiohttp logs is no stranger's doing: a request that is no HTTP, or who does not wait."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (HttpProcessingError, web.RequestPayloadError, ConnectionError))


log.addFilter(_is_our_fault)


def _forget_who_left(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report how a task ended, unless its connection did: aiohttp compresses large frames in tasks of its own."""
    if not isinstance(context.get("exception"), ConnectionError):
        loop.default_exception_handler(context)


async def _as_expected(request: web.BaseRequest, answer: _Answer) -> web.StreamResponse:
    """Refuse requests that expect what does not exist: aiohttp would quote it, and that may be no text."""
    if request.headers.get("Expect", "100-continue").lower() not in ("", "100-continue"):
        raise web.HTTPExpectationFailed(text="nothing can be expected but 100-continue")
    return await answer(request)


class Server:
    """Serves until `stop`. Whoever can connect cannot fill the log: what is no request is answered and no more.

    Args:
        tls: certificate with its chain, and key; None for plain HTTP.

    Raises:
        ConfigError: the address cannot be listened on, or the certificate cannot be used.
    """

    def __init__(
        self, application: web.Application, *, host: str, port: int, tls: tuple[Path, Path] | None = None
    ) -> None:
        self._tls, self._context = tls, None if tls is None else tls_context(*tls)
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(_forget_who_left)
        self._runner = web.AppRunner(
            application, access_log=None, logger=log, shutdown_timeout=0.5, keepalive_timeout=_IDLE_S
        )
        self._listening: asyncio.Server | None = None
        # In a context of its own, so that log lines name the device too.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name="web", daemon=True)
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(self._start(host, port, self._context), self.loop)
        try:
            self.port = starting.result(_STARTED_WITHIN_S)
        except (OSError, UnicodeError) as error:  # the second for what no name of a computer can be
            self.stop()
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"cannot listen on {host}:{port}: {reason}") from None
        self.url = f"{'http' if tls is None else 'https'}://{host}:{self.port}/"

    def renew(self) -> None:
        """Read certificate and key anew; connections that are open go on as they are.

        Raises:
            ConfigError: they cannot be used; those from before still are.
        """
        if self._tls is not None and self._context is not None:
            tls_context(*self._tls)
            # Where connections are taken, so that none is while it changes.
            self.loop.call_soon_threadsafe(self._context.load_cert_chain, *self._tls)

    def stop(self) -> None:
        """Close all connections and the thread."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(5)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(5)
        if not self.loop.is_closed():
            self.loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    async def _start(self, host: str, port: int, context: ssl.SSLContext | None) -> int:
        await self._runner.setup()
        assert self._runner.server is not None
        answer = self._runner.server.request_handler
        self._runner.server.request_handler = lambda request: _as_expected(request, answer)
        door = Door(self._runner.server)
        self._listening = await self.loop.create_server(door, host, port, ssl=context, reuse_address=True)
        return int(self._listening.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()
        # aiohttp waits for the rest of a body for seconds, even of who has left.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return what serves with this certificate.

    Raises:
        ConfigError: a file cannot be read, is none, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot use the certificate {certificate} with the key {key}: {error}") from None
    return context


def add_static(application: web.Application, *pages: tuple[str, str], language: str | None = None) -> None:
    """Serve the static files, and each (path, file) as a page of its own.

    Args:
        language: of all pages; None for what each browser asks for.
    """
    if language is not None:
        application[LANGUAGE] = language
    application.router.add_get("/static/{name:.+}", _static)
    application.router.add_get("/text.json", texts)
    for path, name in pages:
        application.router.add_get(path, page(name) if name.endswith(TRANSLATED) else _file(STATIC / name))


#: Path below /static/ → file; no name that is asked for becomes a path.
_FILES = {path.relative_to(STATIC).as_posix(): path for path in STATIC.rglob("*") if path.is_file()}


async def _static(request: web.Request) -> web.FileResponse:
    path = _FILES.get(request.match_info["name"])
    if path is None:
        raise web.HTTPNotFound
    return web.FileResponse(path)


def _file(path: Path):  # type: ignore[no-untyped-def]
    async def send(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(path)

    return send
