"""Commands that watch and show: demo, run, classify, evaluate."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from edge_agent.cli.devices import add_device_option, one_device
from edge_agent.cli.private_memory import keep_memory_private
from edge_agent.errors import INTERRUPTED, CameraError, ConfigError

if TYPE_CHECKING:
    from edge_agent.config import Config

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_commands(commands: Commands) -> None:
    """Add them to the parser."""
    for add in (_add_demo, _add_run, _add_classify, _add_evaluate):
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

    settings = load_config(options.config).devices()[0] if options.config else Config()
    if not 0 <= options.port <= 65535:
        raise ConfigError(f"--port {options.port} is not a number from 0 to 65535")
    if options.camera is None:
        clip = options.clip or "one"
        device = str(CLIPS.get(clip, clip))
        if not Path(device).exists():
            raise CameraError(f"no clip {clip!r}; give a video file, or one of: {', '.join(CLIPS)}")
        device = str(Path(device).absolute())  # a file named 7 is no camera
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
    keep_memory_private()
    from edge_agent.config import load_config
    from edge_agent.logs import set_up_logging

    config = load_config(options.config)
    set_up_logging(config.logging)
    from edge_agent.agent.running import run

    run(config, lambda: load_config(options.config))
    return 0


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
    from edge_agent.tools.classify import Classifier, as_text, check_target

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


def _add_evaluate(commands: Commands) -> None:
    command = commands.add_parser(
        "evaluate",
        help="play labelled clips: how much anger is paged, and how many calm visitors",
        description="Plays clips through the real pipeline, every frame by the file's own time stamps, and says which "
        "angry episodes and which calm visitors would have been paged, also at other thresholds. docs/commissioning.md "
        "explains the truth file and the figures.",
    )
    command.add_argument("clips", nargs="+", type=Path, metavar="CLIP", help="video files, or folders of them")
    command.add_argument("--truth", type=Path, required=True, metavar="FILE.csv",
                         help="header and rows: file,person,start_s,end_s,expression")  # fmt: skip
    command.add_argument(
        "--visit-s", type=float, metavar="S", help="play each clip to and fro for so long, as one visit"
    )
    command.add_argument("--gap-s", type=float, default=10.0, metavar="S",
                         help="between calm visitors one after another (default %(default)s)")  # fmt: skip
    command.add_argument("--config", type=Path, help="take everything from this file, as the agent does")
    add_device_option(command)
    command.add_argument("--rule", help="default: the first rule")
    command.add_argument("--threshold", type=float, metavar="X", help="in place of the rule's upper threshold")
    command.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the shares paged at each threshold")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from edge_agent.tools.evaluation.report import Report
    from edge_agent.tools.evaluation.runner import Evaluation
    from edge_agent.tools.evaluation.text import as_text, check_plot, draw
    from edge_agent.tools.evaluation.truth import find_clips, label_clips

    config = _one_rule(options)
    for name, value, low in (("--visit-s", options.visit_s, 0.1), ("--gap-s", options.gap_s, 0.0)):
        if value is not None and not low <= value <= 86_400:
            raise ConfigError(f"{name} {value:g} is not from {low:g} to 86400 seconds")
    if options.plot is not None:
        check_plot(options.plot)
    clips = label_clips(find_clips(options.clips), options.truth)
    evaluation = Evaluation(config, visit_s=options.visit_s, gap_s=options.gap_s)
    visits = []
    for number, clip in enumerate(clips, start=1):
        if sys.stderr.isatty():
            print(f"{number} of {len(clips)}: {clip.name}", file=sys.stderr, flush=True)
        visits.append(evaluation.play(clip))
    figures = Report(
        config=config, model=evaluation.model, upper=evaluation.upper,
        operating_point=evaluation.operating_point, visit_s=options.visit_s, gap_s=options.gap_s,
        counter_pages=evaluation.counter_pages, counter_s=evaluation.counter_s, visits=visits,
    ).figures()  # fmt: skip
    print(json.dumps(figures) if options.json else as_text(figures))
    if options.plot is not None:
        draw(figures, options.plot)
    return 0


def _one_rule(options: argparse.Namespace) -> Config:
    """Return the configuration that the agent would run with, with only the rule to evaluate."""
    import dataclasses

    from edge_agent.config import Config, load_config
    from edge_agent.tools.evaluation.outcomes import with_upper
    from edge_agent.vision.models import with_active_model

    config = with_active_model(load_config(options.config)) if options.config else Config()
    config = one_device(config, options.device)
    names = [rule.name for rule in config.rules]
    if not names or options.rule not in (None, *names):
        raise ConfigError(f"no rule {options.rule or ''!r}; there are: {', '.join(names) or 'none'}")
    rule = config.rules[names.index(options.rule or names[0])]
    if options.threshold is not None:
        if not 0.01 <= options.threshold <= 1:
            raise ConfigError(f"--threshold {options.threshold:g} is not from 0.01 to 1")
        rule = with_upper(rule, options.threshold)
    return dataclasses.replace(config, rules=(rule,))
