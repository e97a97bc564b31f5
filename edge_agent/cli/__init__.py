"""The commands. Each imports what it needs when it runs, so that `--help` is instant."""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import sys

import edge_agent
from edge_agent.cli import backup, configuring, fleet, notifying, paging, staff, upkeep, watching
from edge_agent.errors import INTERRUPTED, AgentError, CameraError

MAX_PICTURE_PIXELS = 100_000_000


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code (see `errors` for what each means)."""
    options = parser().parse_args(arguments)
    # OpenCV and FFmpeg print on their own; what matters of it reaches the user as one of our lines.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # A small file may unpack to gigabytes; OpenCV reads this limit when it is first imported.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PICTURE_PIXELS))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows ASCII only still gets an answer
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except AgentError as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing is left to say, not even at interpreter exit.
        _silence_stdout()
        return 0
    except (Exception, SystemExit) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO):
            _silence_stdout()
            print(f"edge-agent: cannot write the output: {error.strerror}", file=sys.stderr)
            return 1
        broken = _broken_library()
        if not broken:
            raise
        print(f"edge-agent: {broken}", file=sys.stderr)
        return CameraError.exit_code


def _broken_library() -> str:
    """Return which library cannot be imported and what to do; nothing where they all can, so it was something else."""
    for name, package in (("numpy", "numpy"), ("cv2", "opencv-python-headless")):
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # a missing .so, another ABI, another processor
            first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
            install = f"{sys.prefix}/bin/pip install --force-reinstall {package}"
            return f"{package} cannot be used ({first[:200]}); run: {install}, with 'numpy<2' where apt's numpy is 1"
    return ""


def _silence_stdout() -> None:
    """Keep the interpreter from trying to write what is left at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; `run` is the function of the one that was given."""
    parser = argparse.ArgumentParser(
        prog="edge-agent",
        description="Notices an upset customer through a kiosk camera and pages staff over MQTT.",
        epilog="exit codes: 0 done, 1 did not achieve what was asked, 2 configuration, 3 model, 4 camera or image, "
        "5 broker, 6 state folder, 130 Ctrl-C (run and pager, which it ends as it should: 0)",
    )
    parser.add_argument("--version", action="version", version=f"edge-agent {edge_agent.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    watching.add_commands(commands)
    paging.add_commands(commands)
    notifying.add_commands(commands)
    staff.add_commands(commands)
    fleet.add_commands(commands)
    configuring.add_commands(commands)
    upkeep.add_commands(commands)
    backup.add_commands(commands)
    return parser
