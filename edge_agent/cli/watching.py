"""Commands that watch, show and answer: demo, run, pager, classify."""

from __future__ import annotations

import argparse
import functools
import json
import re
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from edge_agent.errors import BrokerError, CameraError, ConfigError

if TYPE_CHECKING:
    from edge_agent.pager.client import Pager
    from edge_agent.pager.web import WebPager

INTERRUPTED = 130
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_commands(commands: Commands) -> None:
    """Add them to the parser."""
    for add in (_add_demo, _add_run, _add_pager, _add_classify):
        add(commands)


def _add_demo(commands: Commands) -> None:
    command = commands.add_parser(
        "demo",
        help="see it work: clip, broker and pager in one terminal",
        description="Plays the bundled clip (or your camera, or any video) through the real agent, with an MQTT broker "
        "and a pager beside it. Ends with a summary; exit code 0 when a page arrived and was acknowledged.",
    )
    source = command.add_mutually_exclusive_group()
    source.add_argument("--camera", metavar="N", help="live from a USB camera index or URL; Ctrl-C ends it")
    source.add_argument("--clip", metavar="FILE", help="a video file, or 'one' or 'two' for the bundled clips")
    command.add_argument("--config", type=Path, help="take rules, faces and emotion settings from this file")
    command.add_argument("--port", type=int, default=0, help="port for the embedded broker (default: any free one)")
    command.add_argument(
        "--fast", action="store_true", help="process every frame of the clip without waiting for its time"
    )
    command.add_argument("--json", action="store_true", help="print nothing but one JSON object at the end")
    command.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    import dataclasses

    from edge_agent.config import Config, load_config
    from edge_agent.demo import CLIPS
    from edge_agent.demo.run import Demo, as_text, succeeded

    settings = load_config(options.config) if options.config else Config()
    if not 0 <= options.port <= 65535:
        raise ConfigError(f"--port {options.port} is not a number from 0 to 65535")
    if options.camera is None:
        clip = options.clip or "one"
        device = str(CLIPS.get(clip, clip))
        if not Path(device).exists():
            raise CameraError(f"no clip {clip!r}; give a video file, or one of: {', '.join(CLIPS)}")
    else:
        device = options.camera
    camera = dataclasses.replace(settings.camera, source="opencv", device=device, loop=False)
    demo = Demo(
        dataclasses.replace(settings, camera=camera),
        port=options.port,
        every_frame=options.fast and options.camera is None,
        quiet=options.json,
    )
    summary = demo.run()
    print(json.dumps(summary) if options.json else as_text(summary, demo.chart()))
    if succeeded(summary):
        return 0
    if not options.json:
        print("\nno page was raised and acknowledged" if not summary["alerts"] else "\na page went unanswered")
    return INTERRUPTED if demo.interrupted else 1


def _add_run(commands: Commands) -> None:
    command = commands.add_parser(
        "run",
        help="the daemon: watch the configured camera and page over MQTT",
        description="Watches until SIGTERM or Ctrl-C. A failed camera or broker is reported and retried, never fatal.",
    )
    command.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from edge_agent.config import load_config
    from edge_agent.operations.logs import set_up_logging

    config = load_config(options.config)
    set_up_logging(config.logging)
    from edge_agent.app import Agent

    agent = Agent(config, stop_at_end=True)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: agent.stop())
    agent.run()
    return 0


def _add_pager(commands: Commands) -> None:
    command = commands.add_parser(
        "pager",
        help="show pages in this terminal and acknowledge them",
        description="Keys: a acknowledge, o on my way, r resolved, f false alarm, s snooze, 1-9 choose a page, Ctrl-C "
        "quit. With --web it serves a page for phones instead, where everybody answers under their own name.",
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
    page = command.add_argument_group("page for phones")
    page.add_argument("--web", action="store_true", help="serve it; needs the extra: pip install 'edge-agent[web]'")
    page.add_argument("--listen", default="127.0.0.1:8090", metavar="HOST:PORT", help="default: %(default)s")
    page.add_argument("--token-file", type=Path, help="token to log in with; needed beyond this computer")
    page.add_argument("--tls-cert", type=Path, help="certificate with its chain; browsers install pages over TLS only")
    page.add_argument("--tls-key", type=Path, help="its key")
    command.set_defaults(run=_pager)


def _pager(options: argparse.Namespace) -> int:
    import dataclasses

    from edge_agent.config import SEGMENT, Config, load_config, read_password
    from edge_agent.delivery.bus import MqttBus
    from edge_agent.pager.client import Pager
    from edge_agent.pager.terminal import TerminalPager

    mqtt = (load_config(options.config) if options.config else Config()).mqtt
    mqtt = dataclasses.replace(mqtt, host=options.host or mqtt.host, port=options.port or mqtt.port)
    for option, value in (("--site", options.site), ("--device", options.device)):
        if value != "+" and re.fullmatch(SEGMENT, value) is None:
            raise ConfigError(f"{option} {value!r} is not a name of letters, digits, _ . and -")
    if not 0 < mqtt.port < 65536:
        raise ConfigError(f"--port {mqtt.port} is not a number from 1 to 65535")
    if options.auto_ack is not None and not 0 <= options.auto_ack < float("inf"):
        raise ConfigError(f"--auto-ack {options.auto_ack:g} is not a number of seconds")
    name = options.name or _login()
    if not name.isprintable() or len(name) > 64:
        raise ConfigError("--name must be 1 to 64 printable characters")
    wake = threading.Event()
    bus = MqttBus(
        mqtt,
        client_id=f"pager-{socket.gethostname()}-{name}-{secrets.token_hex(3)}",
        password=read_password(mqtt),
        subscriptions=[f"{mqtt.topic_root}/{options.site}/{options.device}/alert/+"],
        wake=wake.set,
        keep_session=False,
    )
    stop = threading.Event()
    pages = Pager(bus, name=name, group=options.group)
    serve: Callable[[], None]
    if options.web:
        serve = functools.partial(_web_pager(pages, wake, options).run, stop)
    else:
        terminal = TerminalPager(
            pages, wake, out=sys.stdout, auto_ack_s=options.auto_ack, must_connect=not options.wait
        )
        serve = functools.partial(terminal.run, stop, once=options.once)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Not `wake`: the signal may interrupt the main thread inside that very event.
        signal.signal(number, lambda *_: stop.set())
    bus.start()
    try:
        serve()
    except BrokerError as error:
        raise BrokerError(f"{error}; is the broker running there? --wait keeps trying") from None
    finally:
        bus.stop()
    return 0


def _web_pager(pages: Pager, wake: threading.Event, options: argparse.Namespace) -> WebPager:
    try:
        from edge_agent.pager.web import WebPager
        from edge_agent.web.access import read_token
    except ImportError:
        raise ConfigError("--web needs aiohttp: pip install 'edge-agent[web]'") from None
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


def _add_classify(commands: Commands) -> None:
    command = commands.add_parser(
        "classify",
        help="score the faces of pictures",
        description="Prints each face's bounding box and scores. Nothing is written unless --out asks for a copy.",
    )
    command.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    command.add_argument("--config", type=Path, help="take detector, model and groups from this file")
    command.add_argument("--out", type=Path, help="write an annotated copy: a file, or a folder for several images")
    command.add_argument("--json", action="store_true", help="print a JSON array, one object for each image")
    command.set_defaults(run=_classify)


def _classify(options: argparse.Namespace) -> int:
    from edge_agent.config import Config, load_config
    from edge_agent.operations.classify import Classifier, as_text, check_target

    check_target(options.images, options.out)
    classifier = Classifier(load_config(options.config) if options.config else Config())
    results, code = [], 0
    for path in options.images:
        try:
            result = classifier.classify(path, annotated=options.out, several=len(options.images) > 1)
        except CameraError as error:
            print(f"edge-agent: {error}", file=sys.stderr)
            code = error.exit_code
            continue
        results.append(result)
        if not options.json:
            print(as_text(result))
    if options.json:
        print(json.dumps(results))
    return code
