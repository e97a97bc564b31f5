"""Commands about the configuration: setup, check-config, config."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from edge_agent.cli.broker import add_broker_options, with_broker
from edge_agent.errors import ConfigError

if TYPE_CHECKING:
    from edge_agent.config import Config

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_commands(commands: Commands) -> None:
    """Add them to the parser."""
    _add_setup(commands)
    _add_check_config(commands)
    _add_config(commands)


def _add_setup(commands: Commands) -> None:
    command = commands.add_parser(
        "setup",
        help="a wizard for the configuration, in the terminal or with --web as a page",
        description="Finds camera and broker, tries them, asks for place, zones, threshold, pagers and sign; at the "
        "end writes all of it, comments kept, and runs doctor. Begins with what the files say; what is not asked stays "
        "as it is. Ctrl-C leaves them untouched.",
    )
    command.add_argument(
        "--config", type=Path, default=Path("config.yaml"), help="default: %(default)s; made if missing"
    )
    command.add_argument("--web", action="store_true", help="as a page, for the code that is printed; needs `web`")
    command.add_argument("--host", default="127.0.0.1", help="where the page listens (default %(default)s)")
    command.add_argument(
        "--port", type=int, default=8070, help="of the page; 0: any that is free (default %(default)s)"
    )
    command.set_defaults(run=_setup)


def _setup(options: argparse.Namespace) -> int:
    from edge_agent import web
    from edge_agent.setup.draft import Draft
    from edge_agent.setup.terminal import walk

    draft = Draft(options.config)
    try:
        if not options.web:
            return walk(draft)
        try:
            from edge_agent.setup.page import serve
        except ImportError:
            raise ConfigError(f"--web {web.NEEDS}") from None
        return serve(draft, host=options.host, port=options.port)
    except KeyboardInterrupt:
        print("" if draft.written else "\nnothing was written", file=sys.stderr)
        raise


def _add_check_config(commands: Commands) -> None:
    command = commands.add_parser(
        "check-config",
        help="check a configuration: exit code 0, 2, or 3 for a model",
        description="Reads the file and its drop-ins (config.d/*.yaml beside config.yaml) as the agent does, and tries "
        "the model and the files they name. Warnings are listed, and leave the exit code at 0.",
    )
    command.add_argument("file", type=Path, nargs="?", default=Path("config.yaml"), help="default: %(default)s")
    command.set_defaults(run=_check_config)


def _check_config(options: argparse.Namespace) -> int:
    from edge_agent.config import load_with_origins
    from edge_agent.config.files import not_read
    from edge_agent.delivery.mqtt import MqttBus
    from edge_agent.pipeline import Pipeline
    from edge_agent.tools.broker_settings import examine
    from edge_agent.vision.loading import Loader
    from edge_agent.vision.models import with_active_model

    loaded = load_with_origins(options.file)
    config = loaded.config
    print(f"read: {', '.join(map(str, loaded.files))}")
    for name in not_read(options.file):
        print(f"warning: {name} is not read; names of drop-ins end in .yaml")
    findings = list(examine(config.mqtt))
    for finding in findings:
        text = f"{loaded.place(finding.option)}: {finding.option}: {finding.problem}"
        if finding.warning:
            print(f"warning: {text}", flush=True)
        else:
            print(f"edge-agent: {text}", file=sys.stderr)
    if not all(finding.warning for finding in findings):
        return ConfigError.exit_code
    MqttBus(config.mqtt, client_id="check", password=None, subscriptions=())  # reads certificates
    devices, loader = with_active_model(config).devices(), Loader()
    for device in devices:
        model = Pipeline(device, new_id=lambda: "0" * 26, loader=loader).vision.classifier.bundle.id
        if device.web.enabled:
            _check_web(device)
    for line in dict.fromkeys(itertools.chain.from_iterable(map(_hours, devices))):
        print(line)
    shadow = "" if config.privacy.notice_posted else (
        " in shadow mode: nobody is paged until privacy.notice_posted is true"
    )  # fmt: skip
    rules = "; ".join(_rules(device, several=len(devices) > 1) for device in devices)
    print(f"{options.file}: ok{shadow}; {rules}; model: {model}")
    return 0


def _rules(config: Config, *, several: bool) -> str:
    names = ", ".join(rule.name for rule in config.rules) or "none, so it will never page"
    return f"rules of {config.site.device}: {names}" if several else f"rules: {names}"


def _hours(config: Config) -> Iterator[str]:
    """Yield a line for each of the configured hours: whether they are open now, and when that changes."""
    from edge_agent.alerting.hours import OpeningHours
    from edge_agent.clock import synchronised

    hours, now_s = OpeningHours(config), time.time()
    for name, schedule in hours.schedules.items():
        change_s = schedule.next_change_s(now_s)
        where = f" {schedule.zone}" if schedule.zone is not None else ""
        when = f"until {schedule.local(change_s):%a %Y-%m-%d %H:%M}" if change_s is not None else "for a year and more"
        yield f"hours {name}: {'open' if schedule.is_open(now_s) else 'closed'} {when}{where}"
    if hours.schedules and hours.pages_from_s(now_s) is None:
        yield "warning: hours of rules and groups never meet: nobody will be paged"
    if hours.schedules and not synchronised():
        yield "warning: until a time server has set this computer's clock, all hours count as open"


def _check_web(config: Config) -> None:
    from edge_agent import web

    try:
        from edge_agent.web.access import read_token
        from edge_agent.web.serving import tls_context
    except ImportError:
        raise ConfigError(f"web.enabled {web.NEEDS}") from None
    read_token(config.web.token_file, host=config.web.host, key="web.token_file")
    if config.web.tls is not None:
        tls_context(*config.web.tls)


def _add_config(commands: Commands) -> None:
    command = commands.add_parser(
        "config",
        help="what is in force, and which file said it",
        description="Prints every option as YAML that can be read again, with a comment that says where its value is "
        "from. Secrets are left out: of a camera's address what may be a password, of staff the hashes of PINs.",
    )
    command.add_argument("option", nargs="?", default="", help="only this one, such as mqtt.host, or section, mqtt")
    add_broker_options(command)
    command.set_defaults(config=Path("config.yaml"))
    command.add_argument("--changed", action="store_true", help="only what differs from the defaults")
    command.add_argument("--json", action="store_true", help="print one JSON object, dotted names to value and origin")
    command.set_defaults(run=_config)


def _config(options: argparse.Namespace) -> int:
    from edge_agent.config import load_with_origins
    from edge_agent.config.options import describe
    from edge_agent.tools.in_force import InForce, as_values, as_yaml, scalar

    loaded = load_with_origins(options.config)
    loaded = dataclasses.replace(loaded, config=with_broker(loaded.config, options))
    told = {
        f"mqtt.{key}": f"the command line, --{key}" for key in ("host", "port") if getattr(options, key) is not None
    }
    in_force = InForce(loaded, options.config, changed=options.changed, told=told)
    rows = in_force.rows(options.option)
    if not rows and not options.changed:
        describe(options.option)
        raise ConfigError(f"{options.option} is not given: its list is shorter")
    if options.json:
        print(json.dumps(as_values(rows), ensure_ascii=False))
    elif rows and rows[-1].leaf and rows[-1].path == options.option:
        print(scalar(rows[-1].value))
    else:
        print(as_yaml(rows))
    return 0
