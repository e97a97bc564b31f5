"""Commands that carry pages to staff: pager, pin."""

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
from edge_agent.cli.private_memory import keep_memory_private
from edge_agent.errors import BrokerError, ConfigError
from edge_agent.languages import of_terminal

if TYPE_CHECKING:
    from edge_agent.config import Config
    from edge_agent.config import Pager as PagerSettings
    from edge_agent.pager.client import Pager
    from edge_agent.pager.duty import Duty
    from edge_agent.pager.gpio import GpioPager
    from edge_agent.pager.terminal import TerminalPager
    from edge_agent.pager_server.server import WebPager

#: Seconds; a link that swallows packets is noticed after twice as many.
PAGER_KEEPALIVE_S = 5

_SERVED = ("token_file", "tls_cert", "tls_key", "join_port")
_TOKEN_KEY = "--token-file, or in pager.token_file"
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_commands(commands: Commands) -> None:
    """Add them to the parser."""
    _add_pager(commands)
    _add_pin(commands)


def _add_pager(commands: Commands) -> None:
    command = commands.add_parser(
        "pager",
        help="show pages in this terminal and acknowledge them",
        description="Keys: a acknowledge, o on my way, r resolved, f false alarm, s snooze, 1-9 choose a page, Ctrl-C "
        "quit. With --web it serves a page for phones instead, where everybody answers under their own name; with "
        "--gpio it is a lamp, a buzzer and a button at the pins of a Raspberry Pi.",
    )
    add_broker_options(command)
    command.add_argument("--site", default="+", help="watch one site (default: all)")
    command.add_argument("--device", default="+", help="watch one device (default: all)")
    command.add_argument("--name", default="", help="who acknowledges (default: your login)")
    command.add_argument("--group", help="show only pages for this group, e.g. manager (default: all)")
    command.add_argument("--shift", metavar="NAME", help="show what a shift of the configuration looks after")
    command.add_argument("--auto-ack", type=float, metavar="S", help="acknowledge by itself after S seconds")
    command.add_argument("--once", action="store_true", help="end after the first page is answered or over")
    command.add_argument("--wait", action="store_true", help="keep trying when the broker is not there at the start")
    command.add_argument("--plain", action="store_true", help="one line an event, also on a terminal; for scripts")
    page = command.add_argument_group("page for phones")
    page.add_argument("--web", action="store_true", help="serve it; needs the extra `web`")
    page.add_argument("--listen", metavar="HOST:PORT", help="default: the configuration's, 127.0.0.1:8090")
    page.add_argument("--token-file", type=Path, help="token to log in with; needed beyond this computer")
    page.add_argument("--tls-cert", type=Path, help="certificate with its chain (default: one of its own)")
    page.add_argument("--tls-key", type=Path, help="its key")
    page.add_argument("--plain-http", action="store_true", help="no TLS; for behind a proxy that has it")
    page.add_argument("--join-port", type=int, metavar="PORT", help="where phones get the certificate; default: 8091")
    page.add_argument("--join", action="store_true", help="show the codes that a new phone scans, and end")
    pins = command.add_argument_group("lamp, buzzer and button", "pins by their BCM numbers")
    pins.add_argument("--gpio", action="store_true", help="use them; needs the extra `gpio`")
    pins.add_argument("--lamp", type=int, default=17, metavar="PIN", help="default: %(default)s")
    pins.add_argument("--buzzer", type=int, default=27, metavar="PIN", help="default: %(default)s")
    pins.add_argument("--button", type=int, default=22, metavar="PIN", help="to ground; default: %(default)s")
    command.set_defaults(run=_pager)


def _pager(options: argparse.Namespace) -> int:
    from edge_agent.pager.client import TOPICS, Pager

    config = settings(options)
    if options.join:
        return _join(config, options)
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
    # The page for managers says what runs where.
    topics = (*TOPICS, "info") if options.web else TOPICS
    bus = open_bus(mqtt, client_id, [f"{mqtt.topic_root}/{site}/{device}/{topic}" for topic in topics], wake.set)
    pages = Pager(bus, name=name, duty=_duty(options, config))
    language = config.pager.language or of_terminal()
    serve: Callable[[], None]
    if options.web and options.gpio:
        raise ConfigError("--web and --gpio are two pagers; start each by itself")
    if options.gpio:
        serve = functools.partial(_gpio_pager(pages, wake, options, language).run, stop, once=options.once)
    elif options.web:
        keep_memory_private()
        serve = functools.partial(_web_pager(pages, wake, config, options).run, stop)
    else:
        serve = functools.partial(_terminal_pager(pages, wake, options, language).run, stop, once=options.once)
    with until_signal(stop):
        bus.start()
        try:
            serve()
        except BrokerError as error:
            raise BrokerError(f"{error}; --wait keeps trying") from None
        finally:
            bus.stop()
    return 0


def _duty(options: argparse.Namespace, config: Config) -> Duty:
    from edge_agent.pager.duty import Duty, find_duty

    if options.shift is not None:
        return find_duty(config.pager.shifts, options.shift)
    return Duty(frozenset() if options.group is None else frozenset({options.group}))


def _terminal_pager(pages: Pager, wake: threading.Event, options: argparse.Namespace, language: str) -> TerminalPager:
    """Return the full-screen pager where there is a screen and rich(1) to draw on it, else lines."""
    from edge_agent.pager.terminal import TerminalPager

    kind = TerminalPager
    if sys.stdout.isatty() and sys.stdin.isatty() and not (options.plain or options.once):
        with contextlib.suppress(ImportError):
            from edge_agent.pager.screen import ScreenPager

            kind = ScreenPager
    return kind(
        pages, wake, out=sys.stdout, auto_ack_s=options.auto_ack, must_connect=not options.wait, language=language
    )  # fmt: skip


def _gpio_pager(pages: Pager, wake: threading.Event, options: argparse.Namespace, language: str) -> GpioPager:
    from edge_agent.pager.gpio import GpioPager

    return GpioPager(
        pages, wake, lamp=options.lamp, buzzer=options.buzzer, button=options.button, out=sys.stdout,
        auto_ack_s=options.auto_ack, must_connect=not options.wait, language=language,
    )  # fmt: skip


def _web_pager(pages: Pager, wake: threading.Event, config: Config, options: argparse.Namespace) -> WebPager:
    from edge_agent import web

    try:
        from edge_agent.pager_server.server import WebPager
        from edge_agent.web.access import read_token
    except ImportError:
        raise ConfigError(f"--web {web.NEEDS}") from None
    served = _served(config.pager, options)
    token = read_token(served.token_file, host=served.host, key=_TOKEN_KEY)
    return WebPager(pages, wake, served, token=token, notify=config.notify, say=_say)


def _join(config: Config, options: argparse.Namespace) -> int:
    from edge_agent import web

    try:
        from edge_agent.pager_server.joining import codes
        from edge_agent.web.access import read_token
    except ImportError:
        raise ConfigError(f"--join {web.NEEDS}") from None
    served = _served(config.pager, options)
    token = read_token(served.token_file, host=served.host, key=_TOKEN_KEY)
    for line in codes(served, token=token, unix_s=time.time()):
        _say(line)
    return 0


def _say(line: str) -> None:
    """Print a line at once; what its encoding lacks, such as a code's blocks, as question marks."""
    encoding = sys.stdout.encoding or "ascii"
    print(line.encode(encoding, "replace").decode(encoding), flush=True)


def _served(given: PagerSettings, options: argparse.Namespace) -> PagerSettings:
    """Return the server's settings, as the options change them."""
    if (options.tls_cert is None) != (options.tls_key is None):
        raise ConfigError("--tls-cert and --tls-key belong together")
    changes = {key: value for key in _SERVED if (value := getattr(options, key)) is not None}
    if options.plain_http:
        changes["plain_http"] = True
    if not 0 <= changes.get("join_port", 0) <= 65535:
        raise ConfigError(f"--join-port {options.join_port} is no port")
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


def _add_pin(commands: Commands) -> None:
    command = commands.add_parser(
        "pin",
        help="make the hash of a PIN, for pager.staff",
        description="Asks for a PIN, or reads a line from a pipe, and prints its argon2id hash. Who has one in "
        "pager.staff begins a shift on the staff pager's page with it.",
    )
    command.set_defaults(run=_pin)


def _pin(_options: argparse.Namespace) -> int:
    import getpass

    from edge_agent.pager_server.roster import hash_pin

    if sys.stdin.isatty():
        pin = getpass.getpass("PIN: ")
        if getpass.getpass("once more: ") != pin:
            raise ConfigError("these are two different PINs")
    else:
        pin = sys.stdin.readline().rstrip("\n")
    print(f'pin_hash: "{hash_pin(pin)}"')
    return 0
