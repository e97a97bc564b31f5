"""How the service's last run ended: a run that the kernel killed for its memory cannot say so itself.

systemd tells a unit's ExecStopPost in $SERVICE_RESULT (systemd.exec(5)); the unit keeps that word in the state folder.
"""

from __future__ import annotations

import time
from pathlib import Path

FILE_NAME = "last-end"
_OUT_OF_MEMORY = "oom-kill"


def end_problem(state_dir: Path) -> str:
    """Return what to do about the last end, one sentence; nothing where it was none, or not for lack of memory."""
    path = state_dir / FILE_NAME
    try:
        result, ended_s = path.read_text(encoding="utf-8", errors="replace")[:100].strip(), path.stat().st_mtime
    except OSError:
        return ""
    if result != _OUT_OF_MEMORY:
        return ""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(ended_s))
    return (
        f"the kernel ended the last run at {when} because it took more memory than it may (MemoryMax): take the "
        "camera's second, smaller stream, or give it more: systemctl edit edge-agent"
    )
