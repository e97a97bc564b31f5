"""Commands that keep a device's or a server's configuration and state elsewhere: backup, restore."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_commands(commands: Commands) -> None:
    """Add them to the parser."""
    backup = commands.add_parser(
        "backup",
        help="write configuration, keys and what was learned into one file",
        description="Of a kiosk or a pager's server, while it runs: the configuration with the files beside it that it "
        "names, staged models, counts for calibrate, summaries, drawn zones, history, the pager's authority and keys. "
        "Messages that wait to be sent are left out. The file has secrets in it, and only you may read it.",
    )
    restore = commands.add_parser(
        "restore",
        help="put back what `backup` wrote",
        description="Reads the whole file first; refuses one that is damaged, of a later version, or holds anything "
        "else. The service must not run.",
    )
    for command, run in ((backup, _backup), (restore, _restore)):
        command.add_argument("file", type=Path, metavar="FILE.tar")
        command.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
        command.set_defaults(run=run)
    restore.add_argument("--force", action="store_true", help="replace what is there")


def _backup(options: argparse.Namespace) -> int:
    from edge_agent.tools.backup import back_up

    summary = back_up(options.config, options.file)
    print(f"{options.file}: {len(summary.names)} files of {summary.device}, edge-agent {summary.version}")
    for name in summary.left_out:
        print(f"  not in it, for it is not beside the configuration: {name}")
    print("passwords and keys are in it; only you may read it (mode 600): keep it where you keep those")
    return 0


def _restore(options: argparse.Namespace) -> int:
    from edge_agent.tools.backup import Archive

    archive = Archive(options.file)
    archive.restore(options.config, replace=options.force)
    summary = archive.summary
    print(f"restored {len(summary.names)} files of {summary.device}, from {summary.made}, edge-agent {summary.version}")
    print(f"now: edge-agent check-config {options.config}, then start the service")
    return 0
