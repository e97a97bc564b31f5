"""The server of the page for phones as a process, and a phone that watches it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from edge_agent.testing import free_port

_STARTED_S = 30.0


def limit_descriptors() -> None:
    """Give a process as many descriptors as a service has by default."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))


def peak_mb(pid: int) -> float:
    """Return the most memory that a process has had so far, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


class PagerServer:
    """`edge-agent pager --web`, listening on one port over all its starts.

    Args:
        settings: of the section `pager`.
    """

    def __init__(self, folder: Path, broker: int, **settings: Any) -> None:
        folder.mkdir()
        self.port = free_port()
        self.log = folder / "log"
        self._config = folder / "config.yaml"
        self._config.write_text(
            yaml.safe_dump({
                "mqtt": {"port": broker, "connect_retry_max_s": 1.0},
                "pager": {"port": self.port, "state_dir": str(folder / "state"), **settings},
            })
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent", "pager", "--web", "--wait", "--config", str(self._config)],
                stdout=log, stderr=log, preexec_fn=limit_descriptors,
            )  # fmt: skip
        before, give_up_s = self.log.read_text().count("staff pager at"), time.monotonic() + _STARTED_S
        while self.log.read_text().count("staff pager at") == before and time.monotonic() < give_up_s:
            threading.Event().wait(0.05)

    @property
    def tracebacks(self) -> int:
        return self.log.read_text().count("Traceback")

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Phone:
    """A browser on duty, without the browser.

    Attributes:
        first_s: alert id → when the page was first told of, seconds since 1970.
        problem: why the server says that it has no broker.
    """

    def __init__(self, server: PagerServer, *, token: str = "", pin: str = "") -> None:
        self._url, self._token, self._pin = f"http://127.0.0.1:{server.port}", token, pin
        self.first_s: dict[str, float] = {}
        self.problem = "not connected yet"
        #: How often the server told something.
        self.told = 0
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._watch(),), daemon=True)
        self._thread.start()

    async def _watch(self) -> None:
        jar = aiohttp.CookieJar(unsafe=True)  # of an address without a name
        headers = {"X-Requested-With": "edge-agent"}
        async with aiohttp.ClientSession(cookie_jar=jar, headers=headers) as session:
            while not self._stop.is_set():
                # Whatever is in the way, a browser tries again.
                with contextlib.suppress(aiohttp.ClientError, OSError, asyncio.TimeoutError):
                    await self._sign_in(session)
                    await self._listen(session)
                await asyncio.sleep(0.2)

    async def _sign_in(self, session: aiohttp.ClientSession) -> None:
        if self._token:
            session.headers["Authorization"] = f"Bearer {self._token}"
        shift = {"name": "kim", "shift": "", "pin": self._pin}
        async with session.post(f"{self._url}/api/shift", json=shift, raise_for_status=True):
            pass

    async def _listen(self, session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"{self._url}/ws", origin=self._url, max_msg_size=0) as socket:
            closing = asyncio.ensure_future(self._close_later(socket))
            try:
                async for message in socket:
                    self._note(json.loads(message.data))
            finally:
                closing.cancel()

    async def _close_later(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        await self._stop.wait()
        await socket.close()

    def _note(self, body: dict[str, Any]) -> None:
        now_s = time.time()
        self.problem = body["problem"]
        for page in (*body["pages"], *body["recent"]):
            self.first_s.setdefault(page["id"], now_s)
        self.told += 1

    def until(self, holds: Callable[[], bool], seconds: float = 30.0) -> bool:
        """Wait until something holds; return whether it does."""
        give_up_s = time.monotonic() + seconds
        while not holds() and time.monotonic() < give_up_s:
            threading.Event().wait(0.02)
        return holds()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()
