"""Runs the devices of a configuration until they are told to stop: one in the main thread, several in one each.

What befalls one of several devices stops no other: a camera that is lost is its agent's own affair, and an agent that
cannot begin, or ends by a fault, is begun anew.
"""

from __future__ import annotations

import functools
import gc
import logging
import signal
import threading
from collections.abc import Callable

from edge_agent.agent.build import build_agent
from edge_agent.agent.cores import stay_on
from edge_agent.agent.loop import Agent
from edge_agent.agent.shared import Shared
from edge_agent.config import Config
from edge_agent.errors import AgentError, ConfigError
from edge_agent.logs import DEVICE, set_up_logging

log = logging.getLogger("edge_agent")

#: Between two attempts to begin a device that does not work, doubling up to the second.
_RETRY_FIRST_S, _RETRY_MAX_S = 3.0, 60.0
#: How often the main thread looks whether all devices have ended; signals reach it at once.
_LOOK_EVERY_S = 0.2


def run(config: Config, read_config: Callable[[], Config]) -> None:
    """Watch with all devices until SIGTERM, SIGINT or SIGHUP, or until their recordings have ended.

    Args:
        read_config: reads the configuration of the whole process anew.

    Raises:
        AgentError: no device can begin.
    """
    if config.cameras:
        _Devices(config, read_config).run()
        return
    device = _Device(config, read_config)
    device.begin()
    _on_signals(device.stop)
    device.run()


def _on_signals(stop: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop())


class _Device:
    """Runs the agent of one device, and begins anew with another configuration where a command asks for it.

    Args:
        read_config: reads this device's configuration anew.
        shared: with the other devices of this process; None where there are none.
    """

    def __init__(self, config: Config, read_config: Callable[[], Config], shared: Shared | None = None) -> None:
        self._config, self._read_config, self._shared = config, read_config, shared
        #: The one that runs, or none between two.
        self._agent: Agent | None = None
        self._ending = False

    def stop(self) -> None:
        """Let `run` return soon; safe from signal handlers and other threads."""
        self._ending = True
        agent = self._agent
        if agent is not None:
            agent.stop()

    def begin(self) -> None:
        """Make the agent, unless there is one that has not run yet.

        Raises:
            AgentError: something that it needs cannot be used.
        """
        if self._agent is not None:
            return
        gc.collect()  # two agents' models at once are too much for a small board
        stay_on(self._config.performance.cores)
        self._agent = build_agent(self._config, stop_at_end=True, read_config=self._read_config, shared=self._shared)
        if self._ending:  # told to stop between two agents: what is open is still ended properly
            self._agent.stop()

    def run(self) -> None:
        """Watch until `stop` is called, or until a recording has ended."""
        while self._agent is not None:
            try:
                self._agent.run()
                successor = self._agent.successor
            finally:
                self._agent = None
            if successor is not None:
                self._succeed(successor)

    def _succeed(self, config: Config) -> None:
        """Begin with a new configuration, or with the old one where it does not work."""
        before, self._config = self._config, config
        set_up_logging(config.logging)
        problem = ""
        try:
            self.begin()
        except Exception as error:  # whatever is wrong with it, the old one worked
            problem = str(error) or type(error).__name__
        if problem:
            set_up_logging(before.logging)
            detail = f"the new configuration does not work, the old one stays: {problem}"
            log.error(detail)
            self._config = before
            self.begin()
            assert self._agent is not None
            self._agent.tell("reload_failed", detail)


class _Devices:
    """Runs several devices, each in a thread of its own."""

    def __init__(self, config: Config, read_config: Callable[[], Config]) -> None:
        shared = Shared(config)
        self._devices = {
            one.site.device: _Device(one, functools.partial(_read_device, read_config, one.site.device), shared)
            for one in config.devices()
        }
        self._ending = threading.Event()

    def run(self) -> None:
        """Watch until all have ended.

        Raises:
            AgentError: none can begin.
        """
        problems = {}
        for name, device in self._devices.items():
            DEVICE.set(name)
            problem = _try_to_begin(device)
            if problem is not None:
                problems[name] = problem
        DEVICE.set("")
        if len(problems) == len(self._devices):
            raise next(iter(problems.values()))
        _on_signals(self._stop)
        threads = [
            threading.Thread(target=self._keep_running, args=(name, device, problems.get(name)), name=name)
            for name, device in self._devices.items()
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(_LOOK_EVERY_S)

    def _stop(self) -> None:
        # The main thread, which a signal interrupts, never waits on this event.
        self._ending.set()
        for device in self._devices.values():
            device.stop()

    def _keep_running(self, name: str, device: _Device, problem: Exception | None) -> None:
        DEVICE.set(name)
        pause_s = _RETRY_FIRST_S
        while True:
            if problem is not None:
                reason = str(problem) if isinstance(problem, AgentError) else f"{type(problem).__name__}: {problem}"
                log.error(f"this camera does not work, the others go on; trying again in {pause_s:.0f} s: {reason}")
                if self._ending.wait(pause_s):
                    return
                pause_s = min(2 * pause_s, _RETRY_MAX_S)
            problem = _try_to_begin(device)
            if problem is None:
                try:
                    device.run()
                    return
                except Exception as error:  # whatever it is, it is one device's
                    problem = error


def _try_to_begin(device: _Device) -> Exception | None:
    try:
        device.begin()
    except Exception as error:
        return error
    return None


def _read_device(read_config: Callable[[], Config], name: str) -> Config:
    """Return what the configuration says of one device now.

    Raises:
        ConfigError: it does not fit, or has no such device any more.
    """
    for one in read_config().devices():
        if one.site.device == name:
            return one
    raise ConfigError(f"the configuration has no camera {name!r} any more; to begin without it, restart the service")
