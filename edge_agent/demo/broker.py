"""An MQTT broker inside this process (amqtt), for machines that have none. It speaks MQTT 3.1.1."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading

from edge_agent.errors import AgentError, BrokerError


class EmbeddedBroker:
    """A broker on 127.0.0.1, in a thread of its own; use as a context manager.

    Args:
        port: 0 for any free one.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._problem: Exception | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

    def __enter__(self) -> EmbeddedBroker:
        """Start and wait until it accepts connections.

        Raises:
            AgentError: amqtt is not installed.
            BrokerError: the port is in use.
        """
        try:
            import amqtt.broker  # noqa: F401
        except ImportError:
            raise AgentError("the embedded broker is not installed; run in the clone: pip install '.[demo]'") from None
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        logging.getLogger("transitions").setLevel(logging.CRITICAL)
        self.port = _free_port(self.port)
        self._thread.start()
        self._ready.wait(10)
        if self._problem is not None or not self._ready.is_set():
            raise BrokerError(f"the embedded broker did not start on port {self.port}: {self._problem or 'timeout'}")
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the broker."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        from amqtt.broker import Broker

        broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        try:
            await broker.start()
        except Exception as error:  # reported by the thread that waits
            self._problem = error
            self._ready.set()
            return
        self._ready.set()
        await self._stop.wait()
        await broker.shutdown()


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise BrokerError(f"port {port} cannot be used: {error.strerror}; choose another with --port") from None
        return int(probe.getsockname()[1])
