"""What became of one attempt to send."""

from __future__ import annotations

import email.utils
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt.

    Attributes:
        kind: `sent`; `later`, worth another attempt; `never`, this one cannot be sent; `gone`, nobody is there any
            more.
        problem: why not, without anything secret.
        wait_s: not before so many seconds, where the service says so.
        telling: staff should know at once, not only when it goes on.
    """

    kind: Literal["sent", "later", "never", "gone"]
    problem: str = ""
    wait_s: float = 0.0
    telling: bool = False


#: Where nobody can help but who set it up: no or a wrong key, token or password.
REFUSALS = (401, 403)
#: Longer than so many seconds no service keeps a page back, whatever it says: the next one may be worth a try.
_MAX_WAIT_S = 3600.0


def judge(status: int, retry_after: str | None = None, *, unix_s: float = 0.0) -> Outcome:
    """Return what an HTTP answer means.

    Args:
        retry_after: the header Retry-After, seconds or a date (RFC 9110, section 10.2.3).
        unix_s: now, seconds since 1970.
    """
    if 200 <= status < 300:
        return Outcome("sent")
    if status in REFUSALS:
        return Outcome("later", f"refused ({status})", telling=True)
    if status in (400, 413):
        return Outcome("never", f"not understood ({status})", telling=True)
    return Outcome("later", f"failed ({status})", _seconds(retry_after, unix_s))


def _seconds(retry_after: str | None, unix_s: float) -> float:
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return min(_MAX_WAIT_S, float(text[:9]))
    try:
        return min(_MAX_WAIT_S, max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - unix_s))
    except (ValueError, TypeError, OverflowError, LookupError):
        return 0.0
