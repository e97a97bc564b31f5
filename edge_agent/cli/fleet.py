"""Commands for who keeps many devices: fleet, rollout, retire."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from edge_agent.cli.broker import add_broker_options, open_bus, segment, settings
from edge_agent.errors import AgentError, BrokerError, ConfigError

if TYPE_CHECKING:
    from edge_agent.delivery.mqtt import MqttBus
    from edge_agent.tools.fleet import Device

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_commands(commands: Commands) -> None:
    """Add them to the parser."""
    for add in (_add_fleet, _add_rollout, _add_retire):
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
    from edge_agent.tools.fleet import as_rows, as_text

    with _devices(options, RETAINED_TOPICS) as (_, _, devices):
        pass  # what the broker keeps is all that is wanted
    if options.json:
        print(json.dumps(as_rows(devices, unix_s=time.time())))
    else:
        print(as_text(devices, unix_s=time.time(), limit=None if options.all else max(1, options.limit)))
    return 1 if any(device.trouble for device in devices) else 0


@contextlib.contextmanager
def _devices(options: argparse.Namespace, below: Sequence[str]) -> Iterator[tuple[MqttBus, str, list[Device]]]:
    """Yield a connection, the root of all topics, and the devices that the broker knows, of one site or all.

    Args:
        below: topics to listen to below each device.
    """
    from edge_agent.tools.fleet import collect

    mqtt = settings(options).mqtt
    topics = [f"{mqtt.topic_root}/{segment('--site', options.site)}/+/{topic}" for topic in below]
    bus = open_bus(mqtt, f"fleet-{secrets.token_hex(4)}", topics)
    bus.start()
    try:
        yield bus, mqtt.topic_root, collect(bus, seconds=15)
    finally:
        bus.stop()


def _add_rollout(commands: Commands) -> None:
    command = commands.add_parser(
        "rollout",
        help="let many devices use a staged model: one first, then the others, or all of them back",
        description="The model was staged on each device before (`edge-agent model stage`). The canary uses it first "
        "and is watched; then the others do, one after another. Where one refuses, gives the model up, is not online, "
        "falls silent or judges far fewer faces, all go back to the model before. Devices that are away are left out; "
        "run it again when they are there.",
    )
    command.add_argument("model", help="its id, as `edge-agent model list` says it")
    add_broker_options(command)
    command.add_argument("--canary", metavar="SITE/DEVICE", help="which one goes first")
    command.add_argument("--wait-minutes", type=float, default=10.0, metavar="N",
                         help="how long the canary is watched (default %(default)s)")  # fmt: skip
    command.add_argument("--site", default="+", help="one site (default: all)")
    command.add_argument("--back", action="store_true", help="let all that use it go back to the model before")
    command.set_defaults(run=_rollout)


def _rollout(options: argparse.Namespace) -> int:
    from edge_agent.tools.rollout import TOPICS, Rollout

    if not options.back and options.canary is None:
        raise ConfigError("--canary says which device goes first; or --back")
    if not 0 < options.wait_minutes <= 10_080:
        raise ConfigError("--wait-minutes must be above 0 and at most a week")
    if segment("MODEL", options.model) == "+":
        raise ConfigError("MODEL is one model's id")
    if options.canary is not None:
        named_device(options.canary)
    with _devices(options, TOPICS) as (bus, root, devices):
        there = [device.name for device in devices if device.state in ("online", "degraded")]
        for device in devices:
            if device.name not in there:
                print(f"left out: {device.name} is {device.state}", flush=True)
        rollout = Rollout(bus, devices, root=root, say=lambda line: print(line, flush=True))
        if options.back:
            return 1 if rollout.back(options.model, sorted(there)) else 0
        if options.canary not in there:
            raise ConfigError(f"{options.canary} is not there; there are: {', '.join(sorted(there)[:20]) or 'none'}")
        canary_s = 60 * options.wait_minutes
        others = sorted(name for name in there if name != options.canary)
        problem = rollout.forward(
            options.model, canary=options.canary, others=others, canary_s=canary_s, others_s=min(60.0, canary_s)
        )
    return 1 if problem else 0


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
