"""Runs a command under strace(1), which sees every system call whatever the code says, and reads what it noted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edge_agent.errors import AgentError

#: Calls that hand nothing to anybody: they wait, read, ask, or concern the process's own memory. All others are noted,
#: those that are not known here, too, so that a new way out of a process is told and not overlooked.
_SILENT = """
    futex futex_waitv read readv pread64 preadv preadv2 recvfrom recvmsg recvmmsg poll ppoll select pselect6
    epoll_wait epoll_pwait epoll_pwait2 epoll_ctl clock_nanosleep nanosleep clock_gettime clock_getres
    gettimeofday time times munmap brk madvise mprotect msync mincore rt_sigaction rt_sigprocmask
    rt_sigreturn sigaltstack lseek fstat stat lstat newfstatat statx statfs fstatfs access faccessat
    faccessat2 readlink readlinkat getdents64 getcwd getpid gettid getuid geteuid getgid getegid getppid
    getpgrp getpgid getsid getgroups getresuid getresgid sched_yield sched_getaffinity sched_getparam
    sched_getscheduler sched_get_priority_max sched_get_priority_min rseq set_robust_list get_robust_list
    set_tid_address arch_prctl getrandom exit exit_group getrusage uname sysinfo restart_syscall fadvise64
    readahead getcpu get_mempolicy membarrier wait4 waitid capget getpriority getitimer
""".split()  # noqa: SIM905
#: A write of SQLite's is a page; of the agent's other files none is longer.
SHOWN_BYTES = 4200
#: How long the agent may take until it is at work.
_START_S = 60.0
_END_S = 20.0
_CALL = re.compile(r"(\w+)\((.*)\) += (.*)", re.DOTALL)
_UNFINISHED = re.compile(r"(\w+)\((.*) <unfinished \.\.\.>")
_NOTHING = re.compile(r"\+\+\+ (?:exited|killed)|--- |strace: Process \d+ (?:at|de)tached")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"(-?\d+)<((?:<->|->|[^<>]|<(?:char|block) [^<>]*>)*)>(\(deleted\))?")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call, as strace wrote it down.

    Attributes:
        thread: number of the thread that made it.
        result: begins with -1 where it failed.
    """

    thread: int
    name: str
    arguments: str
    result: str

    @property
    def failed(self) -> bool:
        """Whether the kernel refused."""
        return self.result.startswith("-1")

    def strings(self) -> list[bytes]:
        """Return the texts and data among its arguments, as far as they were noted."""
        return [unescaped(text) for text in _STRING.findall(self.arguments)]

    def descriptors(self) -> list[str]:
        """Return what its descriptors stand for, such as `/dev/null` or `TCP:[127.0.0.1:1->127.0.0.1:2]`."""
        return [_target(*found) for found in _DESCRIPTOR.findall(_STRING.sub('""', self.arguments))]

    def opened(self) -> str:
        """Return what the descriptor that it returned stands for; empty for none."""
        found = _DESCRIPTOR.match(self.result)
        return "" if found is None else _target(*found.groups())


def _target(_number: str, target: str, deleted: str | None) -> str:
    return re.sub(r"<(?:char|block) [^<>]*>$", "", target) + (deleted or "")


def unescaped(text: str) -> bytes:
    """Return the bytes that strace printed as a C string."""
    return text.encode("latin-1", "replace").decode("unicode_escape").encode("latin-1", "replace")


@dataclass(frozen=True, slots=True)
class Trace:
    """What was seen of a process and its children.

    Attributes:
        strange: lines of strace that are no calls.
        out: what the command printed, its log among it.
        pipe: `pipe:[inode]` of the pipe that took this.
    """

    calls: tuple[Call, ...]
    strange: tuple[str, ...]
    out: bytes
    pipe: str


def run(
    command: list[str], *, seconds: float, after: bytes = b"", environment: Mapping[str, str] | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> Trace:  # fmt: skip
    """Run a command under strace for a while.

    Args:
        after: the time counts from a line of the output with this text on, or from a minute after the start.
        environment: the command's; ours where it is None.
        meanwhile: called when the time begins to count.

    Raises:
        AgentError: strace cannot trace here.
    """
    with tempfile.TemporaryDirectory(prefix="strace-") as folder:
        traced = subprocess.Popen(
            [
                # A file for each thread, so that no call is split in two lines.
                "strace", "-ff", "-qq", "-yy", "--seccomp-bpf", "-s", str(SHOWN_BYTES), "-e", "signal=none",
                "-e", "trace=!" + ",".join(f"?{name}" for name in _SILENT),
                # The agent bars other processes from its memory (prctl, PR_SET_DUMPABLE), and strace with them.
                "-e", "inject=prctl:retval=0", "-o", f"{folder}/calls", *command,
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**(os.environ if environment is None else environment), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        assert traced.stdout is not None
        pipe = str(Path(f"/proc/self/fd/{traced.stdout.fileno()}").readlink())
        lines: list[bytes] = []
        begun = threading.Event()
        reader = threading.Thread(target=_read_lines, args=(traced.stdout, lines, after, begun), daemon=True)
        reader.start()
        begun.wait(_START_S)
        meanwhile()
        _end(traced, seconds)
        reader.join(5)
        if not reader.is_alive():
            traced.stdout.close()
        out = b"".join(lines)
        logs = sorted(Path(folder).iterdir())
        if not logs or out.startswith(b"strace:"):
            said = out.decode("utf-8", "replace").strip().splitlines()
            raise AgentError(f"strace cannot run here: {said[-1] if said else 'no output'}")
        strange: list[str] = []
        return Trace(tuple(_calls(logs, strange)), tuple(strange), out, pipe)


def _end(traced: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        traced.wait(seconds)
    except subprocess.TimeoutExpired:
        # strace passes the signal on only to its own child's group: tell the agent itself.
        for child in _children(traced.pid):
            os.kill(child, signal.SIGTERM)
        try:
            traced.wait(_END_S)
        except subprocess.TimeoutExpired:
            traced.kill()
    traced.wait()


def _read_lines(stream: IO[bytes], lines: list[bytes], after: bytes, begun: threading.Event) -> None:
    for line in stream:
        lines.append(line)
        if after in line:
            begun.set()
    begun.set()


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(child) for child in text.split()]


def _calls(logs: Iterable[Path], strange: list[str]) -> Iterator[Call]:
    for log in logs:
        thread = int(log.suffix[1:])
        with log.open(encoding="latin-1", newline="\n") as lines:
            for line in lines:
                text = line.rstrip("\n")
                if found := _CALL.fullmatch(text):
                    yield Call(thread, found[1], found[2], found[3])
                elif found := _UNFINISHED.fullmatch(text):
                    yield Call(thread, found[1], found[2], "?")  # the process ended meanwhile
                elif text and not _NOTHING.match(text):
                    strange.append(text[:200])
