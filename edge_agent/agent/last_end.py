"""How the service's last run ended: a run that was killed cannot say so itself.

systemd tells a unit's ExecStopPost in $SERVICE_RESULT and $EXIT_STATUS (systemd.exec(5)). Its word for lack of memory
needs the kernel's memory controller, which Raspberry Pi OS leaves off; the kernel's own count of such kills,
`oom_kill` of /proc/vmstat, does not. The unit keeps all of them in its StateDirectory, which need not be the folder
that is configured.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: What the unit writes: `result status`, then vmstat's line when the run began, and when it ended.
STOPPED = "stopped"
#: The same, once the next run has begun.
LAST_END = "last-end"


@dataclass(frozen=True, slots=True)
class BadEnd:
    """An end that nobody asked for.

    Attributes:
        kind: of the event that tells it, `out_of_memory` or `crashed`.
        detail: what happened and what to do, one line.
    """

    kind: str
    detail: str


def take_over(state_dir: Path) -> None:
    """Bring how the service's last run ended into `state_dir`; after a loss of power that is not known.

    Does nothing in a run that systemd did not start.
    """
    units_folder = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if not units_folder:
        return
    with suppress(OSError):
        state_dir.mkdir(parents=True, exist_ok=True)
        (state_dir / LAST_END).unlink(missing_ok=True)
        if Path(units_folder, STOPPED).exists():
            shutil.move(Path(units_folder, STOPPED), state_dir / LAST_END)


def bad_end(state_dir: Path) -> BadEnd | None:
    """Return how the last run ended, where nobody asked for it."""
    for path in (state_dir / STOPPED, state_dir / LAST_END):
        try:
            text, ended_s = path.read_text(encoding="utf-8", errors="replace")[:200], path.stat().st_mtime
        except OSError:
            continue
        return _meaning(text.splitlines(), time.strftime("%Y-%m-%d %H:%M", time.localtime(ended_s)))
    return None


def _meaning(lines: list[str], when: str) -> BadEnd | None:
    result, _, status = lines[0].partition(" ") if lines else ("", "", "")
    if result == "oom-kill":
        return BadEnd(
            "out_of_memory",
            f"the kernel ended the last run at {when} because it took more memory than it may (MemoryMax): take the "
            "camera's second, smaller stream, or give it more: systemctl edit edge-agent",
        )
    if (result, status) == ("signal", "KILL") and len(lines) == 3 and lines[1] != lines[2]:
        return BadEnd(
            "out_of_memory",
            f"the last run was killed at {when}, and while it ran the kernel killed for lack of memory "
            "(journalctl -k names what): close other programs, or take the camera's second, smaller stream",
        )
    if result == "watchdog":
        return BadEnd("crashed", f"the last run stood still and was ended at {when}: see journalctl -u edge-agent")
    if result in ("signal", "core-dump"):
        return BadEnd("crashed", f"signal {status[:10]} ended the last run at {when}: see journalctl -u edge-agent")
    return None
