"""Commands for who keeps many devices: fleet, retire."""

from __future__ import annotations

import argparse
import json
import re
import secrets
import sys
from typing import TypeAlias

from edge_agent.cli.broker import add_broker_options, open_bus, segment, settings
from edge_agent.errors import AgentError, BrokerError, ConfigError

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_commands(commands: Commands) -> None:
    """Add them to the parser."""
    for add in (_add_fleet, _add_retire):
        add(commands)


def _add_fleet(commands: Commands) -> None:
    command = commands.add_parser(
        "fleet",
        help="all devices in one table, the troubled ones first",
        description="Reads what devices leave retained at the broker: who is watching, who has open pages, who needs a "
        "look. Exit code 1 when any device is in trouble.",
    )
    add_broker_options(command)
    command.add_argument("--site", default="+", help="one site (default: all)")
    command.add_argument("--limit", type=int, default=40, help="devices to list (default %(default)s)")
    command.add_argument("--all", action="store_true", help="list all of them")
    command.add_argument("--json", action="store_true", help="print one JSON array of all devices")
    command.set_defaults(run=_fleet)


def _fleet(options: argparse.Namespace) -> int:
    import time

    from edge_agent.delivery.retained import RETAINED_TOPICS
    from edge_agent.tools.fleet import as_rows, as_text, collect

    mqtt = settings(options).mqtt
    topics = [f"{mqtt.topic_root}/{segment('--site', options.site)}/+/{topic}" for topic in RETAINED_TOPICS]
    bus = open_bus(mqtt, f"fleet-{secrets.token_hex(4)}", topics)
    bus.start()
    try:
        devices = collect(bus, seconds=15)
    finally:
        bus.stop()
    if options.json:
        print(json.dumps(as_rows(devices, unix_s=time.time())))
    else:
        print(as_text(devices, unix_s=time.time(), limit=None if options.all else max(1, options.limit)))
    return 1 if any(device.trouble for device in devices) else 0


def _add_retire(commands: Commands) -> None:
    command = commands.add_parser(
        "retire",
        help="remove what a device that is gone for good left at the broker",
        description="Removes every retained message of a device: all below its own topic, and its entities in Home "
        "Assistant. Pagers and the fleet's table forget it, and its open pages are over. It says what it removed, and "
        "looks again afterwards.",
    )
    command.add_argument("device", metavar="SITE/DEVICE", help="as `edge-agent fleet` names it")
    add_broker_options(command)
    command.add_argument("--force", action="store_true", help="even if it says that it is online")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.set_defaults(run=_retire)


def _retire(options: argparse.Namespace) -> int:
    from edge_agent.delivery.retained import Leftovers

    config = settings(options)
    site, device = named_device(options.device)
    leftovers = Leftovers(config, site=site, device=device)
    found = leftovers.look()
    if not found.topics:
        raise AgentError(f"the broker keeps nothing of {options.device}, or does not let this user read it")
    if found.alive and not options.force:
        raise AgentError(
            f"{options.device} is {found.state or 'online'}: stop it for good there (sudo systemctl disable --now "
            "edge-agent); --force if you know that it is gone"
        )
    print(f"{options.device}, {found.state or 'of unknown state'}; the broker keeps:")
    print("\n".join(f"  {topic}" for topic in found.topics))
    if not (options.yes or _agreed(f"remove {len(found.topics)} messages for good?")):
        print("nothing was removed")
        return 1
    problem = leftovers.remove(found.topics)
    left = leftovers.look().topics
    if problem or left:
        there = f"{len(left)} of {len(found.topics)} messages are there still: {', '.join(left[:3])}"
        raise BrokerError(f"{there}; {problem or 'does the device still run?'}")
    print(f"removed {len(found.topics)} messages. Now take away its user at the broker, and its name in pager.shifts")
    return 0


def named_device(name: str) -> tuple[str, str]:
    """Return site and device of SITE/DEVICE.

    Raises:
        ConfigError: it is something else.
    """
    from edge_agent.config import SEGMENT

    parts = name.split("/")
    if len(parts) != 2 or not all(re.fullmatch(SEGMENT, part) for part in parts):
        raise ConfigError(f"{name!r} is no SITE/DEVICE, such as lobby/kiosk-1")
    return parts[0], parts[1]


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError("nobody is there to be asked; --yes does it without")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
