"""Commands for staff and their managers: simulate, summary."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path
from typing import TypeAlias

from edge_agent.cli.broker import until_signal
from edge_agent.cli.devices import add_device_option, one_device
from edge_agent.errors import INTERRUPTED, ConfigError

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_commands(commands: Commands) -> None:
    """Add them to the parser."""
    for add in (_add_simulate, _add_summary):
        add(commands)


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
    with until_signal(stop):
        raised = simulation.run(stop)
    print(f"{raised} pages were raised")
    return INTERRUPTED if stop.is_set() else 0


def _add_summary(commands: Commands) -> None:
    command = commands.add_parser(
        "summary",
        help="how content people were, by day or as CSV",
        description="Reads the summaries this device kept: shares of looks and of satisfied last looks. Intervals with "
        "fewer people than privacy.min_group were never kept.",
    )
    command.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
    add_device_option(command)
    command.add_argument("--days", type=float, default=7.0, help="how far to look back (default %(default)s)")
    command.add_argument("--csv", action="store_true", help="print every interval as CSV, for a spreadsheet")
    command.set_defaults(run=_summary)


def _summary(options: argparse.Namespace) -> int:
    import itertools
    import time

    from edge_agent.config import load_config
    from edge_agent.statistics.summaries import as_csv, joined, read

    config = one_device(load_config(options.config), options.device)
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
