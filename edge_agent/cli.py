"""The commands. Each imports what it needs when it runs, so that `--help` is instant."""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import edge_agent
from edge_agent.errors import AgentError, BrokerError, CameraError, ConfigError

if TYPE_CHECKING:
    from edge_agent.config import Config
    from edge_agent.operations.models import ModelStore

INTERRUPTED = 130
MAX_PICTURE_PIXELS = 100_000_000


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code (see `errors` for what each means)."""
    options = _parser().parse_args(arguments)
    # OpenCV and FFmpeg print on their own; what matters of it reaches the user as one of our lines.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # A small file may unpack to gigabytes; OpenCV reads this limit when it is first imported.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PICTURE_PIXELS))
    try:
        code: int = options.run(options)
        return code
    except AgentError as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing is left to say, not even at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-agent",
        description="Notices an upset customer through a kiosk camera and pages staff over MQTT.",
        epilog="exit codes: 0 done, 1 did not achieve what was asked, 2 configuration, 3 model, 4 camera or image, "
        "5 broker, 6 state folder, 130 Ctrl-C (run and pager, which it ends as it should: 0)",
    )
    parser.add_argument("--version", action="version", version=f"edge-agent {edge_agent.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        _add_demo,
        _add_run,
        _add_pager,
        _add_classify,
        _add_check_config,
        _add_notice,
        _add_doctor,
        _add_model,
        _add_calibrate,
        _add_bench,
    ):
        add(commands)
    return parser


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


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
    import dataclasses

    from edge_agent.app import Agent
    from edge_agent.operations.models import ModelStore

    store = ModelStore(config.outbox.state_dir, trusted_keys=config.emotion.trusted_keys)
    choice = store.choose(config.emotion.model)
    news = []
    if choice.rolled_back:
        news.append(
            ("model_rolled_back", f"{choice.rolled_back} never came to its first frame; back to {choice.model}")
        )
    agent = Agent(
        dataclasses.replace(config, emotion=dataclasses.replace(config.emotion, model=choice.model)),
        stop_at_end=True,
        on_ready=store.confirm,
        news=news,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    agent.run()
    return 0


def _add_pager(commands: Commands) -> None:
    command = commands.add_parser(
        "pager",
        help="show pages in this terminal and acknowledge them",
        description="Keys: a acknowledge, r resolve, f false alarm, 1-9 choose among open pages, Ctrl-C quit.",
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
    pager = TerminalPager(
        Pager(bus, name=name, group=options.group),
        wake,
        out=sys.stdout,
        auto_ack_s=options.auto_ack,
        must_connect=not options.wait,
    )

    for number in (signal.SIGTERM, signal.SIGINT):
        # Not `wake`: the signal may interrupt the main thread inside that very event.
        signal.signal(number, lambda *_: stop.set())
    bus.start()
    try:
        pager.run(stop, once=options.once)
    except BrokerError as error:
        raise BrokerError(f"{error}; is the broker running there? --wait keeps trying") from None
    finally:
        bus.stop()
    return 0


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


def _add_check_config(commands: Commands) -> None:
    command = commands.add_parser("check-config", help="check a configuration file: exit code 0 or 2")
    command.add_argument("file", type=Path, nargs="?", default=Path("config.yaml"), help="default: %(default)s")
    command.set_defaults(run=_check_config)


def _check_config(options: argparse.Namespace) -> int:
    from edge_agent.config import load_config, read_password

    config: Config = load_config(options.file)
    if config.mqtt.username is not None and read_password(config.mqtt) is None:
        raise ConfigError(f"{options.file}: mqtt.username is set but there is no mqtt.password_file or credential")
    if (
        config.mqtt.username is not None
        and not config.mqtt.tls.enabled
        and config.mqtt.host not in ("127.0.0.1", "localhost")
    ):
        print(f"{options.file}: note: the password travels unencrypted to {config.mqtt.host}; set mqtt.tls.enabled")
    rules = ", ".join(rule.name for rule in config.rules) or "none, so it will never page"
    print(f"{options.file}: ok; rules: {rules}")
    return 0


def _add_notice(commands: Commands) -> None:
    command = commands.add_parser("notice", help="print the sign that tells people about the camera")
    command.add_argument("--config", type=Path, help="configuration whose place and rules it names")
    command.set_defaults(run=_notice)


def _notice(options: argparse.Namespace) -> int:
    from edge_agent.config import Config, load_config
    from edge_agent.operations.notice import notice

    print(notice(load_config(options.config) if options.config else Config()))
    return 0


def _add_doctor(commands: Commands) -> None:
    command = commands.add_parser(
        "doctor",
        help="try everything a configuration needs; --privacy proves that no picture leaves",
        description="Tries models, camera, broker, disk and clock, one line each. With --privacy, runs the agent under "
        "strace and names every file it wrote and every address it talked to beside its outbox and its broker.",
    )
    command.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
    command.add_argument("--privacy", action="store_true", help="prove what is written and sent, and by how much")
    command.add_argument(
        "--seconds", type=float, default=20.0, help="how long to watch the agent (default %(default)s)"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from edge_agent.config import load_config
    from edge_agent.operations import doctor, privacy

    config = load_config(options.config)
    checks = (
        privacy.prove(config, options.config, seconds=options.seconds) if options.privacy else doctor.examine(config)
    )
    failed = False
    found = []
    for check in checks:
        failed |= not check.ok
        found.append({"check": check.name, "ok": check.ok, "detail": check.detail})
        if not options.json:
            print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}", flush=True)
    if options.json:
        print(json.dumps(found))
    return 1 if failed else 0


def _add_model(commands: Commands) -> None:
    command = commands.add_parser(
        "model",
        help="stage, activate and roll back signed models",
        description="A staged model was signed by a key of emotion.trusted_keys and gave the right answers on this "
        "computer. It is used after `activate` and a restart; if that start never comes to its first frame, the next "
        "one goes back to the model before.",
    )
    actions = command.add_subparsers(required=True, metavar="ACTION")
    stage = actions.add_parser("stage", help="verify a bundle folder, try it and keep it")
    stage.add_argument("folder", type=Path)
    activate = actions.add_parser("activate", help="use a staged model from the next start on")
    activate.add_argument("id")
    rollback = actions.add_parser("rollback", help="go back to the model before, from the next start on")
    listed = actions.add_parser("list", help="what there is, the one in use marked with *")
    for action, run in (
        (stage, _model_stage),
        (activate, _model_activate),
        (rollback, _model_rollback),
        (listed, _models),
    ):
        action.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
        action.set_defaults(run=run)


def _store(options: argparse.Namespace) -> tuple[Config, ModelStore]:
    from edge_agent.config import load_config
    from edge_agent.operations.models import ModelStore

    config = load_config(options.config)
    return config, ModelStore(config.outbox.state_dir, trusted_keys=config.emotion.trusted_keys)


def _model_stage(options: argparse.Namespace) -> int:
    _, store = _store(options)
    print(f"staged {(name := store.stage(options.folder))}; use it: edge-agent model activate {name}")
    return 0


def _model_activate(options: argparse.Namespace) -> int:
    _, store = _store(options)
    store.activate(options.id)
    print(f"{options.id} will be used from the next start on: systemctl restart edge-agent")
    return 0


def _model_rollback(options: argparse.Namespace) -> int:
    config, store = _store(options)
    print(f"{store.rollback() or config.emotion.model} will be used from the next start on")
    return 0


def _models(options: argparse.Namespace) -> int:
    from edge_agent.operations.models import listing

    config, store = _store(options)
    print("\n".join(listing(store, config.emotion.model)))
    return 0


def _add_calibrate(commands: Commands) -> None:
    command = commands.add_parser(
        "calibrate",
        help="propose a rule's threshold from what the scores were here",
        description="Reads the counts the agent keeps, in shadow mode or live: for each visit, the highest threshold "
        "its score stayed over for the rule's dwell time. Proposes the lowest threshold whose false pages a day stay "
        "within the limit, with 95 %% confidence. Unless staff answered pages, every page counts as a false one.",
    )
    command.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
    command.add_argument("--rule", help="default: the first rule")
    command.add_argument("--hours", type=int, default=168, help="how far to look back (default %(default)s, a week)")
    command.add_argument("--max-false-pages-per-day", type=float, required=True, metavar="N")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=_calibrate)


def _calibrate(options: argparse.Namespace) -> int:
    import dataclasses
    import time

    from edge_agent.config import load_config
    from edge_agent.operations.calibrate import as_text, choose, propose
    from edge_agent.operations.scores import ANSWERS, FALSE_ALARMS, WATCHED_S, read_counts

    config = load_config(options.config)
    names = [rule.name for rule in config.rules]
    rule = options.rule or (names[0] if names else "")
    if rule not in names:
        raise ConfigError(f"no rule {rule!r}; there are: {', '.join(names) or 'none'}")
    if options.hours < 1 or options.max_false_pages_per_day <= 0:
        raise ConfigError("--hours must be at least 1 and --max-false-pages-per-day above 0")
    counts = read_counts(config.outbox.state_dir, rule=rule, hours=options.hours, unix_s=time.time())
    watched_s, answers, false = (counts.pop(key, 0) for key in (WATCHED_S, ANSWERS, FALSE_ALARMS))
    if watched_s < 3600:
        raise ConfigError(
            f"only {watched_s / 60:.0f} minutes were watched for {rule!r}; calibrate after an hour or more"
        )
    proposals = propose(counts, watched_s=watched_s, false_share=(false + 1) / (answers + 1))
    chosen = choose(proposals, max_per_day=options.max_false_pages_per_day)
    if options.json:
        print(json.dumps({
            "rule": rule, "watched_s": watched_s, "answers": answers, "false_alarms": false,
            "proposal": None if chosen is None else dataclasses.asdict(chosen),
        }))  # fmt: skip
    else:
        print(as_text(proposals, chosen, rule=rule, watched_s=watched_s, answers=answers, false_alarms=false))
    return 0 if chosen is not None else 1


def _add_bench(commands: Commands) -> None:
    command = commands.add_parser("bench", help="time each stage on the bundled clip, on one thread")
    command.add_argument("--frames", type=int, default=200, help="frames to time (default %(default)s)")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> int:
    # Numerical libraries read these when they are first imported.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    from edge_agent.operations.bench import as_text, bench

    if options.frames < 10:
        raise ConfigError("--frames must be at least 10 for a median that means something")
    result = bench(frames=options.frames)
    print(json.dumps(result) if options.json else as_text(result))
    return 0
