"""Keeps the process on some processor cores, so that the others are the kiosk's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edge_agent.errors import ConfigError

#: The cores that the process was given when it began; empty where none can be chosen.
_GIVEN: frozenset[int] = frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ())


def stay_on(cores: Sequence[int]) -> None:
    """Run this process, with all its threads, on these cores only; wherever it may when there are none.

    Raises:
        ConfigError: this computer has no such core, or the system keeps the process from it.
    """
    wanted = set(cores) or _GIVEN
    if wanted == (os.sched_getaffinity(0) if _GIVEN else frozenset()):
        return
    try:
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), wanted)
    except (OSError, AttributeError):
        last = (os.cpu_count() or 1) - 1
        raise ConfigError(
            f"performance.cores: cannot stay on {list(cores)}; this computer has the cores 0 to {last}"
        ) from None
