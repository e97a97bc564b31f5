"""Keeps secrets out of the log: libraries log the URLs that they ask, and URLs hold tokens."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import re
from collections.abc import Iterator

#: These log URLs also as warnings.
_TALKATIVE = ("apprise", "urllib3", "requests")
#: HTTP status that the warnings of Apprise's plugins end with.
_STATUS = re.compile(r"error=(\d{3})\b")
_noted: contextvars.ContextVar[list[int] | None] = contextvars.ContextVar("noted", default=None)


class _Statuses(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        found, noted = _STATUS.search(record.getMessage()), _noted.get()
        if found is not None and noted is not None:
            noted.append(int(found[1]))


def hush() -> None:
    """Log what is ours as it was configured, what is others' from warnings up, and of the talkative nothing."""
    root, ours = logging.getLogger(), logging.getLogger("edge_agent")
    if ours.level == logging.NOTSET:
        ours.setLevel(root.level)
    root.setLevel(max(root.level, logging.WARNING))
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.handlers = [_Statuses()]
        logger.setLevel(logging.WARNING)


@contextlib.contextmanager
def statuses() -> Iterator[list[int]]:
    """Collect the HTTP statuses that Apprise says something failed with, on behalf of whoever runs the block."""
    noted: list[int] = []
    before = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(before)
