"""The commands. Each imports what it needs when it runs, so that `--help` is instant."""

from __future__ import annotations

import argparse
import os
import sys

import edge_agent
from edge_agent.cli import upkeep, watching
from edge_agent.cli.watching import INTERRUPTED
from edge_agent.errors import AgentError

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
    watching.add_commands(commands)
    upkeep.add_commands(commands)
    return parser
