"""Whether the wall clock can be believed: without a battery it starts where the power was cut."""

from __future__ import annotations

import ctypes
from pathlib import Path

#: systemd-timesyncd(8) makes it when it has set the clock; /run is empty after a start. The service may not ask the
#: kernel: its unit keeps it from all calls of the clock.
_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
#: What adjtimex(2) returns while nobody has set the clock from a time server.
_TIME_ERROR = 5
#: Larger than `struct timex` on any Linux; zeros ask for nothing to be changed.
_TIMEX_BYTES = 512


def synchronised(timesyncd: Path = _TIMESYNCD) -> bool:
    """Return whether a time server has set the clock since the computer started."""
    if timesyncd.exists():
        return True
    try:
        return bool(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)) not in (-1, _TIME_ERROR))
    except (OSError, AttributeError):  # no such call here
        return False
