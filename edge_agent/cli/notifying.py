"""The command that tells phones whose screen is off, and other services: notify."""

from __future__ import annotations

import argparse
import functools
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge_agent.cli.broker import add_broker_options, open_bus, settings, until_signal
from edge_agent.cli.private_memory import keep_memory_private
from edge_agent.errors import ConfigError

if TYPE_CHECKING:
    from edge_agent.config import Config
    from edge_agent.notify.recipients import Phone, Recipient
    from edge_agent.pager_server.subscriptions import Subscription, Subscriptions


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add it to the parser."""
    command = commands.add_parser(
        "notify",
        help="tell phones whose screen is off, and other services, of pages",
        description="Runs beside `edge-agent pager --web`, with the same configuration; needs the extra `notify`.",
    )
    add_broker_options(command)
    command.add_argument("--test", action="store_true", help="send everybody a test and say who was reached; then end")
    command.set_defaults(run=_notify)


def _notify(options: argparse.Namespace) -> int:
    from edge_agent import notify
    from edge_agent.logs import set_up_logging
    from edge_agent.notify.quiet import hush
    from edge_agent.pager_server import keys
    from edge_agent.pager_server.subscriptions import Subscriptions

    keep_memory_private()
    config = settings(options)
    if config.notify.push_contact is None and not config.notify.targets:
        raise ConfigError("there is nobody to tell: give notify.push_contact or notify.targets")
    set_up_logging(config.logging)
    hush()
    try:
        services, phone = _services(config), _phones(config)
    except ImportError:
        raise ConfigError(f"notify {notify.NEEDS}") from None
    state_dir = config.pager.state_dir
    subscriptions = Subscriptions(state_dir)
    if options.test:
        return _test([*services, *(map(phone, subscriptions.all()) if phone is not None else ())])
    return _follow(config, services, subscriptions, phone, keys.client_id(state_dir))


def _follow(
    config: Config,
    services: list[Recipient],
    subscriptions: Subscriptions,
    phone: Callable[[Subscription], Phone] | None,
    client_id: str,
) -> int:
    from edge_agent.agent.watchdog import Watchdog
    from edge_agent.notify.queue import Queue
    from edge_agent.notify.service import Notifier
    from edge_agent.pager.client import TOPICS, Pager
    from edge_agent.pager_server.notifier import Beat

    wake, stop = threading.Event(), threading.Event()
    queue = Queue(config.pager.state_dir)
    # Of a site's health reports, a broker that keeps them for a notifier that is away keeps too many.
    topics = [f"{config.mqtt.topic_root}/+/+/{topic}" for topic in TOPICS]
    kept = [topic for topic in topics if topic.endswith(("/alert/+", "/ack/+"))]
    fleeting = tuple(topic for topic in topics if topic not in kept)
    bus = open_bus(config.mqtt, client_id, kept, wake.set, keep_session=True, subscriptions_qos0=fleeting)
    watchdog = Watchdog(monotonic=time.monotonic)
    notifier = Notifier(
        Pager(bus, name="notify"), queue, services=services, subscriptions=subscriptions, phone=phone,
        beat=Beat(config.pager.state_dir), wake=wake,
        report=lambda turns, status: watchdog.turn(frames=turns, network_turned_s=bus.turned_s, status=status),
    )  # fmt: skip
    with until_signal(stop):
        bus.start()
        try:
            notifier.run(stop)
        finally:
            watchdog.stopping()
            bus.stop()
            queue.close()
            subscriptions.close()
    return 0


def _services(config: Config) -> list[Recipient]:
    """Return the configured targets, ready to be sent to."""
    from edge_agent.notify.apprise_target import AppriseTarget
    from edge_agent.notify.recipients import Service
    from edge_agent.pager_server import keys
    from edge_agent.pager_server.links import Signer

    targets, url = config.notify.targets, config.pager.url
    signer = None if url is None or not targets else Signer(keys.link_key(config.pager.state_dir))
    return [
        Service(target, AppriseTarget(target.name, target.url_file), signer=signer, page_url=url) for target in targets
    ]


def _phones(config: Config) -> Callable[[Subscription], Phone] | None:
    """Return what makes a recipient of a subscription; None without Web Push."""
    from edge_agent.notify.push import PushSender
    from edge_agent.notify.recipients import Phone
    from edge_agent.pager_server import keys

    if config.notify.push_contact is None:
        return None
    sender = PushSender(keys.vapid_key(config.pager.state_dir), config.notify.push_contact)
    return functools.partial(Phone, sender=sender, expiry_s=config.notify.push_expiry_s)


def _test(recipients: list[Recipient]) -> int:
    if not recipients:
        print("nobody to tell: no phone has started a shift, and notify.targets is empty")
    failed = not recipients
    for recipient in recipients:
        outcome = recipient.test()
        failed = failed or outcome.kind != "sent"
        print(f"{recipient.name} ({recipient.lane}): {outcome.problem or outcome.kind}", flush=True)
    return int(failed)
