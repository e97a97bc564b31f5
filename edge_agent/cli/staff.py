"""Commands for staff and their managers: pager, simulate, fleet, summary."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import re
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from edge_agent.errors import INTERRUPTED, BrokerError, ConfigError

if TYPE_CHECKING:
    from edge_agent.config import Mqtt
    from edge_agent.delivery.mqtt import MqttBus
    from edge_agent.pager.client import Pager
    from edge_agent.pager.gpio import GpioPager
    from edge_agent.pager.terminal import TerminalPager
    from edge_agent.pager.web import WebPager

#: Seconds; a link that swallows packets is noticed after twice as many.
PAGER_KEEPALIVE_S = 5

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_commands(commands: Commands) -> None:
    """Add them to the parser."""
    for add in (_add_pager, _add_simulate, _add_fleet, _add_summary):
        add(commands)


def _add_pager(commands: Commands) -> None:
    command = commands.add_parser(
        "pager",
        help="show pages in this terminal and acknowledge them",
        description="Keys: a acknowledge, o on my way, r resolved, f false alarm, s snooze, 1-9 choose a page, Ctrl-C "
        "quit. With --web it serves a page for phones instead, where everybody answers under their own name; with "
        "--gpio it is a lamp, a buzzer and a button at the pins of a Raspberry Pi.",
    )
    command.add_argument("--config", type=Path, help="take the broker settings from this file")
    command.add_argument("--host", help="broker (default 127.0.0.1)")
    command.add_argument("--port", type=int, help="broker port (default 1883)")
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
    page.add_argument("--listen", default="127.0.0.1:8090", metavar="HOST:PORT", help="default: %(default)s")
    page.add_argument("--token-file", type=Path, help="token to log in with; needed beyond this computer")
    page.add_argument("--tls-cert", type=Path, help="certificate with its chain; browsers install pages over TLS only")
    page.add_argument("--tls-key", type=Path, help="its key")
    pins = command.add_argument_group("lamp, buzzer and button", "pins by their BCM numbers")
    pins.add_argument("--gpio", action="store_true", help="use them; needs the extra `gpio`")
    pins.add_argument("--lamp", type=int, default=17, metavar="PIN", help="default: %(default)s")
    pins.add_argument("--buzzer", type=int, default=27, metavar="PIN", help="default: %(default)s")
    pins.add_argument("--button", type=int, default=22, metavar="PIN", help="to ground; default: %(default)s")
    command.set_defaults(run=_pager)


def _pager(options: argparse.Namespace) -> int:
    from edge_agent.pager.client import TOPICS, Pager

    mqtt = _broker(options)
    site, device = _segment("--site", options.site), _segment("--device", options.device)
    if options.auto_ack is not None and not 0 <= options.auto_ack < float("inf"):
        raise ConfigError(f"--auto-ack {options.auto_ack:g} is not a number of seconds")
    name = options.name or _login()
    if not name.isprintable() or len(name) > 64:
        raise ConfigError("--name must be 1 to 64 printable characters")
    wake, stop = threading.Event(), threading.Event()
    client_id = f"pager-{socket.gethostname()}-{name}-{secrets.token_hex(3)}"
    # Whoever carries it must learn within seconds that it hears nothing any more.
    mqtt = dataclasses.replace(mqtt, keepalive_s=min(mqtt.keepalive_s, PAGER_KEEPALIVE_S))
    bus = _bus(mqtt, client_id, [f"{mqtt.topic_root}/{site}/{device}/{topic}" for topic in TOPICS], wake.set)
    pages = Pager(bus, name=name, group=options.group)
    serve: Callable[[], None]
    if options.web and options.gpio:
        raise ConfigError("--web and --gpio are two pagers; start each by itself")
    if options.gpio:
        serve = functools.partial(_gpio_pager(pages, wake, options).run, stop, once=options.once)
    elif options.web:
        serve = functools.partial(_web_pager(pages, wake, options).run, stop)
    else:
        serve = functools.partial(_terminal_pager(pages, wake, options).run, stop, once=options.once)
    with _until_signal(stop):
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


def _gpio_pager(pages: Pager, wake: threading.Event, options: argparse.Namespace) -> GpioPager:
    from edge_agent.pager.gpio import GpioPager

    return GpioPager(
        pages, wake, lamp=options.lamp, buzzer=options.buzzer, button=options.button, out=sys.stdout,
        auto_ack_s=options.auto_ack, must_connect=not options.wait,
    )  # fmt: skip


def _web_pager(pages: Pager, wake: threading.Event, options: argparse.Namespace) -> WebPager:
    from edge_agent import web

    try:
        from edge_agent.pager.web import WebPager
        from edge_agent.web.access import read_token
    except ImportError:
        raise ConfigError(f"--web {web.NEEDS}") from None
    host, _, port = options.listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"--listen {options.listen!r} is not HOST:PORT, such as 127.0.0.1:8090")
    if (options.tls_cert is None) != (options.tls_key is None):
        raise ConfigError("--tls-cert and --tls-key belong together")
    pager = WebPager(
        pages,
        wake,
        host=host,
        port=int(port),
        token=read_token(options.token_file, host=host, key="--token-file"),
        tls=None if options.tls_cert is None else (options.tls_cert, options.tls_key),
    )
    print(f"staff pager at {pager.url}", flush=True)
    return pager


def _login() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without an account, as containers have
        return "staff"


def _add_simulate(commands: Commands) -> None:
    command = commands.add_parser(
        "simulate",
        help="play a scripted day, to train staff",
        description="Invented people, real pages: runs the configured rules over a script of six minutes, as a device "
        "of its own whose pages begin with EXERCISE, and tells on this terminal what is going on.",
    )
    command.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
    command.add_argument("--speed", type=float, default=1.0, help="2 plays twice as fast (default %(default)s)")
    command.set_defaults(run=_simulate)


def _simulate(options: argparse.Namespace) -> int:
    import time

    from edge_agent.config import load_config
    from edge_agent.demo.simulate import Simulation

    if not 0 < options.speed <= 20:
        raise ConfigError("--speed must be above 0 and at most 20")
    simulation = Simulation(
        load_config(options.config),
        speed=options.speed,
        say=lambda story: print(f"{time.strftime('%H:%M:%S')} {story}", flush=True),
    )
    stop = threading.Event()
    with _until_signal(stop):
        raised = simulation.run(stop)
    print(f"{raised} pages were raised")
    return INTERRUPTED if stop.is_set() else 0


def _add_fleet(commands: Commands) -> None:
    command = commands.add_parser(
        "fleet",
        help="all devices in one table, the troubled ones first",
        description="Reads what devices leave retained at the broker: who is watching, who has open pages, who needs a "
        "look. Exit code 1 when any device is in trouble.",
    )
    command.add_argument("--config", type=Path, help="take the broker settings from this file")
    command.add_argument("--host", help="broker (default 127.0.0.1)")
    command.add_argument("--port", type=int, help="broker port (default 1883)")
    command.add_argument("--site", default="+", help="one site (default: all)")
    command.add_argument("--limit", type=int, default=40, help="devices to list (default %(default)s)")
    command.add_argument("--all", action="store_true", help="list all of them")
    command.add_argument("--json", action="store_true", help="print one JSON array of all devices")
    command.set_defaults(run=_fleet)


def _fleet(options: argparse.Namespace) -> int:
    import time

    from edge_agent.delivery.retained import RETAINED_TOPICS
    from edge_agent.tools.fleet import as_rows, as_text, collect

    mqtt = _broker(options)
    topics = [f"{mqtt.topic_root}/{_segment('--site', options.site)}/+/{topic}" for topic in RETAINED_TOPICS]
    bus = _bus(mqtt, f"fleet-{secrets.token_hex(4)}", topics)
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


def _add_summary(commands: Commands) -> None:
    command = commands.add_parser(
        "summary",
        help="how content people were, by day or as CSV",
        description="Reads the summaries this device kept: shares of looks and of satisfied last looks. Intervals with "
        "fewer people than privacy.min_group were never kept.",
    )
    command.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
    command.add_argument("--days", type=float, default=7.0, help="how far to look back (default %(default)s)")
    command.add_argument("--csv", action="store_true", help="print every interval as CSV, for a spreadsheet")
    command.set_defaults(run=_summary)


def _summary(options: argparse.Namespace) -> int:
    import itertools
    import time

    from edge_agent.config import load_config
    from edge_agent.statistics.summaries import as_csv, joined, read

    config = load_config(options.config)
    if not 0 < options.days < 4000:
        raise ConfigError("--days must be above 0 and below 4000")
    intervals = read(config.outbox.state_dir, since_s=time.time() - 86_400 * options.days)
    emotions = list(config.emotion.emotions)
    if options.csv:
        print(as_csv(intervals, emotions), end="")
        return 0
    if not intervals:
        print(f"no summary in {options.days:g} days; one is kept after each interval with enough visits")
        return 1
    print("day         visits  satisfied  " + "  ".join(f"{name:>8}" for name in emotions))
    for day, members in itertools.groupby(intervals, lambda i: time.strftime("%Y-%m-%d", time.localtime(i.begin_s))):
        one = joined(members)
        assert one is not None
        shares = "  ".join(f"{100 * one.shares.get(name, 0):6.0f} %" for name in emotions)
        print(f"{day}  {one.visits:6}  {100 * one.satisfied:7.0f} %  {shares}")
    return 0


def _broker(options: argparse.Namespace) -> Mqtt:
    """Return the broker's settings from --config, --host and --port."""
    from edge_agent.config import Config, load_config

    mqtt = (load_config(options.config) if options.config else Config()).mqtt
    mqtt = dataclasses.replace(mqtt, host=options.host or mqtt.host, port=options.port or mqtt.port)
    if not 0 < mqtt.port < 65536:
        raise ConfigError(f"--port {mqtt.port} is not a number from 1 to 65535")
    return mqtt


def _segment(option: str, value: str) -> str:
    """Return a level of a topic, or + for all.

    Raises:
        ConfigError: it is neither.
    """
    from edge_agent.config import SEGMENT

    if value != "+" and re.fullmatch(SEGMENT, value) is None:
        raise ConfigError(f"{option} {value!r} is not a name of letters, digits, _ . and -")
    return value


def _bus(mqtt: Mqtt, client_id: str, subscriptions: list[str], wake: Callable[[], None] = lambda: None) -> MqttBus:
    from edge_agent.delivery.mqtt import MqttBus
    from edge_agent.delivery.password import read_password

    return MqttBus(
        mqtt,
        client_id=client_id,
        password=read_password(mqtt),
        subscriptions=subscriptions,
        wake=wake,
        keep_session=False,
    )


@contextlib.contextmanager
def _until_signal(stop: threading.Event) -> Iterator[None]:
    """Set `stop` on Ctrl-C, SIGTERM and hang-up; nothing else, for a signal may interrupt whoever waits on an event."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
