"""What a notification says of a page: its message and its place, in the reader's language, and nothing else."""

from __future__ import annotations

from edge_agent.languages import translation
from edge_agent.pager.page import Page


def title(page: Page, language: str) -> str:
    """Return the message. What is configured in English as it ships is read in the reader's language as well."""
    return _translated(page.message, language)


def where(page: Page, language: str) -> str:
    """Return the place, with the zone and how many people where that says something."""
    crowd = translation(language).ngettext("{n} person", "{n} people", page.people).format(n=page.people)
    zone = "" if page.zone == "view" else page.zone
    parts = [_translated(page.place, language), zone, crowd if page.people > 1 else ""]
    return ", ".join(part for part in parts if part)


def _translated(text: str, language: str) -> str:
    # The empty text stands for the catalogue's own head.
    return translation(language).gettext(text) if text else ""
