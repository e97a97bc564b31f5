"""Commands that carry pages to staff: pager, notify."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from edge_agent.cli.broker import add_broker_options, open_bus, segment, settings, until_signal
from edge_agent.errors import BrokerError, ConfigError

if TYPE_CHECKING:
    from edge_agent.config import Config
    from edge_agent.config import Pager as PagerSettings
    from edge_agent.notify.recipients import Phone, Recipient
    from edge_agent.pager.client import Pager
    from edge_agent.pager.subscriptions import Subscription, Subscriptions
    from edge_agent.pager.terminal import TerminalPager
    from edge_agent.pager.web import WebPager

#: Seconds; a link that swallows packets is noticed after twice as many.
PAGER_KEEPALIVE_S = 5

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_commands(commands: Commands) -> None:
    """Add them to the parser."""
    _add_pager(commands)
    _add_notify(commands)


def _add_pager(commands: Commands) -> None:
    command = commands.add_parser(
        "pager",
        help="show pages in this terminal and acknowledge them",
        description="Keys: a acknowledge, o on my way, r resolved, f false alarm, s snooze, 1-9 choose a page, Ctrl-C "
        "quit. With --web it serves a page for phones instead, where everybody answers under their own name.",
    )
    add_broker_options(command)
    command.add_argument("--site", default="+", help="watch one site (default: all)")
    command.add_argument("--device", default="+", help="watch one device (default: all)")
    command.add_argument("--name", default="", help="who acknowledges (default: your login)")
    command.add_argument("--group", help="show only pages for this group, e.g. manager (default: all)")
    command.add_argument("--auto-ack", type=float, metavar="S", help="acknowledge by itself after S seconds")
    command.add_argument("--once", action="store_true", help="end after the first page is answered or over")
    command.add_argument("--wait", action="store_true", help="keep trying when the broker is not there at the start")
    command.add_argument("--plain", action="store_true", help="one line an event, also on a terminal; for scripts")
    page = command.add_argument_group("page for phones")
    page.add_argument("--web", action="store_true", help="serve it; needs the extra `web`")
    page.add_argument("--listen", metavar="HOST:PORT", help="default: the configuration's, 127.0.0.1:8090")
    page.add_argument("--token-file", type=Path, help="token to log in with; needed beyond this computer")
    page.add_argument("--tls-cert", type=Path, help="certificate with its chain; browsers install pages over TLS only")
    page.add_argument("--tls-key", type=Path, help="its key")
    command.set_defaults(run=_pager)


def _pager(options: argparse.Namespace) -> int:
    from edge_agent.pager.client import TOPICS, Pager

    config = settings(options)
    mqtt = config.mqtt
    site, device = segment("--site", options.site), segment("--device", options.device)
    if options.auto_ack is not None and not 0 <= options.auto_ack < float("inf"):
        raise ConfigError(f"--auto-ack {options.auto_ack:g} is not a number of seconds")
    name = options.name or _login()
    if not name.isprintable() or len(name) > 64:
        raise ConfigError("--name must be 1 to 64 printable characters")
    wake, stop = threading.Event(), threading.Event()
    client_id = f"pager-{socket.gethostname()}-{name}-{secrets.token_hex(3)}"
    # Whoever carries it must learn within seconds that it hears nothing any more.
    mqtt = dataclasses.replace(mqtt, keepalive_s=min(mqtt.keepalive_s, PAGER_KEEPALIVE_S))
    bus = open_bus(mqtt, client_id, [f"{mqtt.topic_root}/{site}/{device}/{topic}" for topic in TOPICS], wake.set)
    pages = Pager(bus, name=name, group=options.group)
    serve: Callable[[], None]
    if options.web:
        serve = functools.partial(_web_pager(pages, wake, config, options).run, stop)
    else:
        serve = functools.partial(_terminal_pager(pages, wake, options).run, stop, once=options.once)
    with until_signal(stop):
        bus.start()
        try:
            serve()
        except BrokerError as error:
            raise BrokerError(f"{error}; is the broker running there? --wait keeps trying") from None
        finally:
            bus.stop()
    return 0


def _terminal_pager(pages: Pager, wake: threading.Event, options: argparse.Namespace) -> TerminalPager:
    """Return the full-screen pager where there is a screen and rich(1) to draw on it, else lines."""
    from edge_agent.pager.terminal import TerminalPager

    kind = TerminalPager
    if sys.stdout.isatty() and sys.stdin.isatty() and not (options.plain or options.once):
        with contextlib.suppress(ImportError):
            from edge_agent.pager.screen import ScreenPager

            kind = ScreenPager
    return kind(pages, wake, out=sys.stdout, auto_ack_s=options.auto_ack, must_connect=not options.wait)


def _web_pager(pages: Pager, wake: threading.Event, config: Config, options: argparse.Namespace) -> WebPager:
    from edge_agent import web

    try:
        from edge_agent.pager.web import WebPager
        from edge_agent.web.access import read_token
    except ImportError:
        raise ConfigError(f"--web {web.NEEDS}") from None
    served = _served(config.pager, options)
    token = read_token(served.token_file, host=served.host, key="--token-file, or in pager.token_file")
    pager = WebPager(pages, wake, served, token=token, notify=config.notify)
    print(f"staff pager at {pager.url}", flush=True)
    return pager


def _served(given: PagerSettings, options: argparse.Namespace) -> PagerSettings:
    """Return the server's settings, as the options change them."""
    if (options.tls_cert is None) != (options.tls_key is None):
        raise ConfigError("--tls-cert and --tls-key belong together")
    changes = {
        key: value for key in ("token_file", "tls_cert", "tls_key") if (value := getattr(options, key)) is not None
    }
    if options.listen is not None:
        host, _, port = options.listen.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ConfigError(f"--listen {options.listen!r} is not HOST:PORT, such as 127.0.0.1:8090")
        changes |= {"host": host, "port": int(port)}
    return dataclasses.replace(given, **changes)


def _login() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without an account, as containers have
        return "staff"


def _add_notify(commands: Commands) -> None:
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
    from edge_agent.pager import keys
    from edge_agent.pager.subscriptions import Subscriptions

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
    from edge_agent.pager.client import Pager
    from edge_agent.pager.notifier import Beat

    wake, stop = threading.Event(), threading.Event()
    queue = Queue(config.pager.state_dir)
    # Alerts only: of a site's health reports, a broker that keeps them for a notifier that is away keeps too many.
    bus = open_bus(config.mqtt, client_id, [f"{config.mqtt.topic_root}/+/+/alert/+"], wake.set, keep_session=True)
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
    from edge_agent.pager import keys
    from edge_agent.pager.links import Signer

    targets, url = config.notify.targets, config.pager.url
    signer = None if url is None or not targets else Signer(keys.link_key(config.pager.state_dir))
    return [
        Service(target, AppriseTarget(target.name, target.url_file), signer=signer, page_url=url) for target in targets
    ]


def _phones(config: Config) -> Callable[[Subscription], Phone] | None:
    """Return what makes a recipient of a subscription; None without Web Push."""
    from edge_agent.notify.push import PushSender
    from edge_agent.notify.recipients import Phone
    from edge_agent.pager import keys

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
