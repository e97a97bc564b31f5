"""Every parser that reads what strangers send."""

from __future__ import annotations

from fuzz import cameras, files, keys, mqtt, pages, servers
from fuzz.table import Target

__all__ = ["TARGETS", "Target"]

TARGETS: list[Target] = [
    *mqtt.TARGETS,
    *files.TARGETS,
    *keys.TARGETS,
    *cameras.TARGETS,
    *pages.TARGETS,
    *servers.TARGETS,
]
