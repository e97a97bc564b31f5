"""The live view's server: pages, the stream of frames to those who watch, and the zones they draw."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from aiohttp import WSMsgType, web

from edge_agent.alerting.alert import Alert
from edge_agent.camera.frames import Frame
from edge_agent.config import Config
from edge_agent.observer import Observer
from edge_agent.pipeline import Decision
from edge_agent.statistics.summaries import Interval, as_csv, read
from edge_agent.vision.zones import parse_zones
from edge_agent.web.access import make_application, read_token
from edge_agent.web.certificates import Given, Renewal
from edge_agent.web.live import LiveView, Picture
from edge_agent.web.serving import Server, add_static

log = logging.getLogger("edge_agent")
_MAX_WATCHERS = 4
#: How far back the summary's page goes.
_SUMMARY_S = 31 * 86_400


class LiveServer(Observer):
    """Serves one device's live view.

    Raises:
        ConfigError: the address cannot be listened on, or needs a token, or the certificate cannot be used.
    """

    def __init__(self, config: Config, view: LiveView) -> None:
        settings = config.web
        token = read_token(settings.token_file, host=settings.host, key="web.token_file")
        self._config, self._view = config, view
        self._watchers: set[_Watcher] = set()
        application = make_application(
            token=token, title=f"edge-agent {config.site.device}", secure=settings.tls is not None
        )
        add_static(application, ("/", "live.html"), ("/icon.svg", "icon.svg"))
        application.router.add_get("/api/device", self._device)
        application.router.add_get("/api/alerts", self._alerts)
        application.router.add_get("/api/history", self._history)
        application.router.add_get("/api/summary", self._summary)
        application.router.add_get("/summary.csv", self._summary_csv)
        application.router.add_get("/api/ignore_zones", self._zones)
        application.router.add_put("/api/ignore_zones", self._draw_zones)
        application.router.add_get("/ws", self._watch)
        certificate = None if settings.tls is None else Given(*settings.tls)
        self._server = Server(application, host=settings.host, port=settings.port, tls=settings.tls)
        self._renewal = None if certificate is None else Renewal(certificate, self._server, say=log.warning)
        self.url = self._server.url
        view.show = self._show

    def frame_processed(self, frame: Frame, decision: Decision) -> None:
        """Hand it to the view."""
        self._view.frame_processed(frame, decision)

    def alert_changed(self, alert: Alert) -> None:
        """Hand it to the view."""
        self._view.alert_changed(alert)

    def health_reported(self, body: Mapping[str, Any]) -> None:
        """Hand it to the view, and see whether the certificate was renewed."""
        self._view.health_reported(body)
        if self._renewal is not None:
            self._renewal.look()

    def close(self) -> None:
        """Close all connections."""
        self._server.stop()

    def _show(self, picture: Picture) -> None:
        """Hand a picture to the server's thread."""
        self._server.loop.call_soon_threadsafe(self._deliver, picture)

    def _deliver(self, picture: Picture) -> None:
        for watcher in self._watchers:
            watcher.give(picture)

    async def _device(self, _request: web.Request) -> web.Response:
        config = self._config
        return web.json_response({
            "site": config.site.name, "device": config.site.device, "place": config.site.place,
            "camera": config.camera.source, "live": config.privacy.notice_posted, "blurred": config.web.blur_faces,
            "state_dir": str(config.outbox.state_dir), "emotions": list(config.emotion.emotions),
            "satisfied": config.satisfied_emotions(), "min_group": config.privacy.min_group,
        })  # fmt: skip

    async def _alerts(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._view.alerts_json(), content_type="application/json")

    async def _history(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._view.history_json(), content_type="application/json")

    async def _summary(self, _request: web.Request) -> web.Response:
        intervals = await asyncio.to_thread(self._intervals)
        return web.json_response([asdict(one) for one in intervals])

    async def _summary_csv(self, _request: web.Request) -> web.Response:
        text = as_csv(await asyncio.to_thread(self._intervals), list(self._config.emotion.emotions))
        headers = {"Content-Disposition": "attachment; filename=summary.csv"}
        return web.Response(text=text, content_type="text/csv", headers=headers)

    def _intervals(self) -> list[Interval]:
        return read(self._config.outbox.state_dir, since_s=time.time() - _SUMMARY_S)

    async def _zones(self, _request: web.Request) -> web.Response:
        return web.json_response({
            "configured": self._view.zones.configured, "drawn": self._view.zones.drawn,
            "proposed": self._view.proposed_zones,
        })  # fmt: skip

    async def _draw_zones(self, request: web.Request) -> web.Response:
        try:
            zones = parse_zones(await request.json())
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"not a list of polygons: {error}") from None
        try:
            self._view.zones.draw(zones)
        except OSError as error:
            raise web.HTTPInsufficientStorage(text=f"they hold until the next start only: {error.strerror}") from None
        return web.json_response({"drawn": zones})

    async def _watch(self, request: web.Request) -> web.WebSocketResponse:
        if len(self._watchers) >= _MAX_WATCHERS:
            raise web.HTTPServiceUnavailable(text=f"{_MAX_WATCHERS} browsers watch already")
        socket = web.WebSocketResponse(heartbeat=10, max_msg_size=1024, compress=False)  # JPEG is compressed already
        await socket.prepare(request)
        watcher = _Watcher()
        self._watchers.add(watcher)
        self._view.watchers = len(self._watchers)
        sending = asyncio.ensure_future(watcher.send_to(socket))
        try:
            async for message in socket:
                if message.type is WSMsgType.ERROR:
                    break
        finally:
            self._watchers.discard(watcher)
            self._view.watchers = len(self._watchers)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sending
        return socket


class _Watcher:
    """One browser; who is slow gets the newest picture, not all of them."""

    def __init__(self) -> None:
        self._newest: Picture | None = None
        self._came = asyncio.Event()

    def give(self, picture: Picture) -> None:
        self._newest = picture
        self._came.set()

    async def send_to(self, socket: web.WebSocketResponse) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            picture, self._newest = self._newest, None
            if picture is not None:
                await socket.send_str(picture.caption)
                await socket.send_bytes(picture.jpeg)
