"""Log lines: pretty for people, JSON for journals; one canonical line per alert step."""

from __future__ import annotations

import contextvars
import json
import logging
import sys
import time
from typing import Any, TextIO

from edge_agent import config

#: Of several devices of this process, the one that this thread works for; named in each of its lines.
DEVICE: contextvars.ContextVar[str] = contextvars.ContextVar("device", default="")
_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}


def set_up_logging(settings: config.Logging, stream: TextIO | None = None) -> None:
    """Send all log records to `stream` (standard error) in the configured format."""
    target = sys.stderr if stream is None else stream
    pretty = settings.format == "pretty" or (settings.format == "auto" and target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(_Pretty(colour=target.isatty()) if pretty else _Json())
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)


def fields(**values: Any) -> dict[str, Any]:
    """Return the `extra=` of a log call that carries named values."""
    return {"fields": values}


def _values(record: logging.LogRecord) -> dict[str, Any]:
    device = DEVICE.get()
    return {**({"device": device} if device else {}), **getattr(record, "fields", {})}


class _Pretty(logging.Formatter):
    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower():8}"
        if self._colour:
            level = f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
        details = "  ".join(
            f"{key}={_short(value)}" for key, value in _values(record).items() if value not in ("", None)
        )
        line = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {level}{record.getMessage()}"
        return "  ".join(part for part in (line, details) if part) + _trace(self, record)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_values(record),
        }
        trace = _trace(self, record)
        return json.dumps(line | ({"trace": trace.strip()} if trace else {}), ensure_ascii=False, default=str)


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return "\n" + formatter.formatException(record.exc_info) if record.exc_info else ""


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
