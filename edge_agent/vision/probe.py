"""Tries a bundle in a process of its own: a model may crash the interpreter, which no `except` catches.

What a signature and hashes cannot tell is whether this computer's TFLite survives the file: one wrong byte in a graph
that was signed all the same ends the process by a signal, or asks for all memory there is. The process is watched from
outside, for the service's system call filter forbids `setrlimit`, and RLIMIT_AS counts what TFLite only reserves.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import edge_agent
from edge_agent.errors import BundleError
from edge_agent.vision.bundle import load_bundle
from edge_agent.vision.emotion import EmotionClassifier
from edge_agent.vision.runtime import RUNTIMES, Choice, find_runtime

#: Shorter than systemd's patience with an agent that gives no sign of life, and a Pi Zero 2 W is done in less.
LIMIT_S = 30.0
#: What loading the model and running its golden vectors may take beside the runtime itself; agent and probe
#: together stay below the service's MemoryMax.
LIMIT_MB = 128.0
_POLL_S = 0.01


def probe(folder: Path, *, runtime: Choice = "auto", limit_s: float = LIMIT_S, limit_mb: float = LIMIT_MB) -> None:
    """Load a bundle and replay its golden vectors in a process of its own.

    Args:
        limit_s: how long that may take.
        limit_mb: how much memory it may take beside the runtime itself.

    Raises:
        BundleError: it is refused there, crashes the process, or goes beyond a limit.
    """
    command = [sys.executable, "-m", __name__, str(folder.absolute()), runtime]
    try:
        process = subprocess.Popen(
            command,
            # `-m` looks there first; the working folder may be one that others write to.
            cwd=Path(edge_agent.__file__).resolve().parents[1],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise BundleError(f"cannot try {folder} in a process of its own: {error.strerror}") from None
    with process:
        try:
            problem = _watch(process, limit_s, limit_mb)
        finally:
            process.kill()
        assert process.stderr is not None
        said = process.stderr.read(65536).decode(errors="replace").strip().splitlines()
    if problem:
        raise BundleError(f"{folder}: trying the model {problem}")
    code = process.returncode
    if code < 0:
        raise BundleError(f"{folder}: the model crashes the TFLite runtime ({_signal_name(-code)})")
    if code:
        raise BundleError(said[-1] if said else f"{folder}: trying the model ended with exit code {code}")


def _watch(process: subprocess.Popen[bytes], limit_s: float, limit_mb: float) -> str:
    """Wait for the end; return which limit the process went beyond, or nothing."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    end_s = time.monotonic() + limit_s
    peaks, ended = b"", False
    while not ended:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
        ended = process.poll() is not None
        # It says by itself what the runtime takes and what it came to: a busy computer looks too late.
        peaks += process.stdout.read(100) or b""
        said_mb = [float(line) for line in peaks.split(b"\n")[:-1] if line.replace(b".", b"", 1).isdigit()]
        if said_mb and max(*said_mb, _peak_mb(process.pid)) > said_mb[0] + limit_mb:
            return f"takes more than {limit_mb:g} MB"
        if not ended and time.monotonic() > end_s:
            return f"takes longer than {limit_s:g} s"
    return ""


def _peak_mb(process: int | str) -> float:
    """Return the most memory a process, an id or `self`, has had in use; 0 where the kernel does not tell."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, ValueError, StopIteration):
        return 0.0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def main(folder: str, runtime: str) -> int:
    """Be the process: exit code 0, or 3 with one line on standard error; memory in MB, before and after, on output."""
    # Where memory runs out all the same, the kernel is to end this process and not the agent.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    choice: Choice = next((name for name in RUNTIMES if name == runtime), "auto")
    try:
        find_runtime(choice)
        print(_peak_mb("self"), flush=True)
        EmotionClassifier(load_bundle(Path(folder), kind="emotion-classifier"), runtime=choice)
        print(_peak_mb("self"), flush=True)
    except BundleError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
