"""Which of several cameras a command is about."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edge_agent.errors import ConfigError

if TYPE_CHECKING:
    from edge_agent.config import Config


def add_device_option(command: argparse.ArgumentParser) -> None:
    """Add --device."""
    command.add_argument("--device", metavar="NAME", help="of several cameras, the one to take")


def one_device(config: Config, name: str | None) -> Config:
    """Return the configuration of the named device, or of the only one.

    Raises:
        ConfigError: there is no such device, or there are several and none is named.
    """
    found = {one.site.device: one for one in config.devices()}
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name is None:
        raise ConfigError(f"there are several cameras; say which one: --device {next(iter(found))}")
    if name not in found:
        raise ConfigError(f"there is no device {name!r}; there are: {', '.join(found)}")
    return found[name]
