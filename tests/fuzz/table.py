"""A door and what must hold of it: one line of the table of targets."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st


@dataclass(frozen=True)
class Target:
    """A parser.

    Attributes:
        inputs: what it is given.
        check: gives it one; returns what became of it, in a few words. Whatever it raises is a bug: that a documented
            error was raised, and that what was accepted is as it should be, is what it looks at.
        share: of the full number of inputs, for what takes long.
    """

    name: str
    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], str]
    share: float = 1.0


def refused(error: Exception) -> str:
    """Return a refusal without what is particular to one input; it is one line that a terminal can show."""
    text = str(error)
    assert "\n" not in text, text[:300]
    assert len(text) <= 1000, f"{len(text)} characters: {text[:300]}"
    assert text.isprintable(), ascii(text[:300])
    return "refused: " + re.sub(r"'[^']*'|\"[^\"]*\"|[\d.]+", "…", text)[:50]
