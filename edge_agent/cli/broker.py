"""What commands that talk to the broker share: its settings, the connection, an end by signal."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import ConfigError

if TYPE_CHECKING:
    from edge_agent.config import Config, Mqtt
    from edge_agent.delivery.mqtt import MqttBus


def add_broker_options(command: argparse.ArgumentParser) -> None:
    """Add --config, --host and --port."""
    command.add_argument("--config", type=Path, help="take the settings from this file")
    command.add_argument("--host", help="broker (default 127.0.0.1)")
    command.add_argument("--port", type=int, help="broker port (default 1883)")


def settings(options: argparse.Namespace) -> Config:
    """Return the configuration of --config, or the default one, with the broker of --host and --port.

    Raises:
        ConfigError: the file or the port does not fit.
    """
    from edge_agent.config import Config, load_config

    return with_broker(load_config(options.config) if options.config else Config(), options)


def with_broker(config: Config, options: argparse.Namespace) -> Config:
    """Return a configuration with the broker of --host and --port.

    Raises:
        ConfigError: they do not fit.
    """
    from edge_agent.yaml_loader import InvalidValueError

    mqtt = config.mqtt
    try:
        mqtt = dataclasses.replace(mqtt, host=options.host or mqtt.host, port=options.port or mqtt.port)
    except InvalidValueError as error:
        raise ConfigError(f"--host {error}") from None
    if not 0 < mqtt.port < 65536:
        raise ConfigError(f"--port {mqtt.port} is not a number from 1 to 65535")
    return dataclasses.replace(config, mqtt=mqtt)


def segment(option: str, value: str) -> str:
    """Return a level of a topic, or + for all.

    Raises:
        ConfigError: it is neither.
    """
    from edge_agent.config import SEGMENT

    if value != "+" and re.fullmatch(SEGMENT, value) is None:
        raise ConfigError(f"{option} {value!r} is not a name of letters, digits, _ . and -")
    return value


def open_bus(
    mqtt: Mqtt,
    client_id: str,
    subscriptions: list[str],
    wake: Callable[[], None] = lambda: None,
    *,
    keep_session: bool = False,
    subscriptions_qos0: tuple[str, ...] = (),
) -> MqttBus:
    """Return a connection to the broker, to be started.

    Args:
        wake: called when something came.
        keep_session: the broker keeps for this client id what comes while it is away.
        subscriptions_qos0: of these it keeps nothing.
    """
    from edge_agent.delivery.mqtt import MqttBus
    from edge_agent.delivery.password import read_password

    return MqttBus(
        mqtt,
        client_id=client_id,
        password=read_password(mqtt),
        subscriptions=subscriptions,
        subscriptions_qos0=subscriptions_qos0,
        wake=wake,
        keep_session=keep_session,
    )


@contextlib.contextmanager
def until_signal(stop: threading.Event) -> Iterator[None]:
    """Set `stop` on Ctrl-C, SIGTERM and hang-up; nothing else, for a signal may interrupt whoever waits on an event."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
