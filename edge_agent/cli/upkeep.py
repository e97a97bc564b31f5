"""Commands that look after a device: notice, doctor, model, calibrate, bench."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from edge_agent.cli.devices import add_device_option, one_device
from edge_agent.errors import ConfigError
from edge_agent.languages import LANGUAGES, of_terminal

if TYPE_CHECKING:
    from edge_agent.config import Config
    from edge_agent.tools.doctor import Check
    from edge_agent.vision.models import ModelStore

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_commands(commands: Commands) -> None:
    """Add them to the parser."""
    for add in (_add_notice, _add_doctor, _add_model, _add_calibrate, _add_bench):
        add(commands)


def _add_notice(commands: Commands) -> None:
    command = commands.add_parser(
        "notice",
        help="print the sign that tells people about the camera",
        description="As text, or with --html as a page for A4 that a browser prints or saves as PDF, with what the law "
        "of site.jurisdiction wants on it.",
    )
    command.add_argument("--config", type=Path, help="configuration whose place, rules and country it names")
    add_device_option(command)
    command.add_argument(
        "--language",
        metavar="XX[,XX]",
        default=of_terminal(),
        help=f"one after the other: {', '.join(LANGUAGES)} (default: the terminal's)",
    )
    command.add_argument("--html", type=Path, metavar="FILE", help="write the page")
    command.set_defaults(run=_notice)


def _notice(options: argparse.Namespace) -> int:
    from edge_agent.config import Config, load_config
    from edge_agent.tools.notice import advice, notice, page

    config = one_device(load_config(options.config) if options.config else Config(), options.device)
    languages = options.language.split(",")
    for language in languages:
        if language not in LANGUAGES:
            raise ConfigError(f"--language {language!r} is not one of {', '.join(LANGUAGES)}")
    if options.html is None:
        print("\n\n".join(notice(config, language) for language in languages))
    else:
        try:
            options.html.write_text(page(config, languages), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {options.html}: {error.strerror}") from None
        print(f"{options.html}: open it in a browser and print it on A4, or save it as PDF")
    for line in advice(config.site.jurisdiction, languages):
        print(f"edge-agent: {line}", file=sys.stderr)
    return 0


def _add_doctor(commands: Commands) -> None:
    command = commands.add_parser(
        "doctor",
        help="try everything a configuration needs; --privacy looks for ways in which a picture could leave",
        description="Tries models, camera, broker, disk and clock, one line each. With --privacy, runs the agent under "
        "strace with a broker of its own and names whatever it wrote, sent or opened without a reason in the "
        "configuration; of several cameras one after the other.",
    )
    command.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
    command.add_argument("--privacy", action="store_true", help="look for ways in which a picture could leave")
    command.add_argument(
        "--seconds", type=float, default=20.0, help="how long to watch the agent (default %(default)s)"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from edge_agent.config import load_config
    from edge_agent.tools import doctor

    config = load_config(options.config)
    devices = config.devices()
    checks = (
        itertools.chain.from_iterable(_proof(device, options, several=bool(config.cameras)) for device in devices)
        if options.privacy
        else doctor.examine(config)
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


def _proof(device: Config, options: argparse.Namespace, *, several: bool) -> Iterator[Check]:
    from edge_agent.tools import privacy

    for check in privacy.prove(device, options.config, seconds=options.seconds):
        yield dataclasses.replace(check, name=f"{device.site.device}: {check.name}") if several else check


def _add_model(commands: Commands) -> None:
    command = commands.add_parser(
        "model",
        help="stage, activate and roll back signed models",
        description="A staged model was signed by a key of emotion.trusted_keys and gave the right answers on this "
        "computer, in a process of its own. It is used after `activate` and a restart; if that start does not last "
        "until its first frame and 20 s more, the next one goes back to the model before. One that was altered since "
        "it was staged is set aside for the configured model; `rollback` accepts that.",
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
    from edge_agent.vision.models import ModelStore

    config = load_config(options.config)
    return config, ModelStore.of(config)


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
    from edge_agent.vision.models import listing

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
    add_device_option(command)
    command.add_argument("--rule", help="default: the first rule")
    command.add_argument("--hours", type=int, default=168, help="how far to look back (default %(default)s, a week)")
    command.add_argument("--max-false-pages-per-day", type=float, required=True, metavar="N")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=_calibrate)


def _calibrate(options: argparse.Namespace) -> int:
    import time

    from edge_agent.config import load_config
    from edge_agent.statistics.calibration import as_text, choose, propose
    from edge_agent.statistics.score_log import ANSWERS, FALSE_ALARMS, WATCHED_S, read_counts

    config = one_device(load_config(options.config), options.device)
    names = [rule.name for rule in config.rules]
    rule = options.rule or (names[0] if names else "")
    if rule not in names:
        raise ConfigError(f"no rule {rule!r}; there are: {', '.join(names) or 'none'}")
    if options.hours < 1 or options.max_false_pages_per_day <= 0:
        raise ConfigError("--hours must be at least 1 and --max-false-pages-per-day above 0")
    counts = read_counts(config.outbox.state_dir, rule=rule, hours=options.hours, unix_s=time.time())
    watched_s, answers, false = (counts.pop(key, 0) for key in (WATCHED_S, ANSWERS, FALSE_ALARMS))
    # A verdict that was changed may have been given before these hours.
    false = min(max(false, 0), answers)
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
    from edge_agent.tools.bench import as_text, bench

    if options.frames < 10:
        raise ConfigError("--frames must be at least 10 for a median that means something")
    result = bench(frames=options.frames)
    print(json.dumps(result) if options.json else as_text(result))
    return 0
