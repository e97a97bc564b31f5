"""Every parser that reads what strangers send."""

from __future__ import annotations

from fuzz import files, mqtt, pages
from fuzz.table import Target

__all__ = ["TARGETS", "Target"]

TARGETS: list[Target] = [*mqtt.TARGETS, *files.TARGETS, *pages.TARGETS]
