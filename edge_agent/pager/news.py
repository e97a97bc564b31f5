"""What a pager has to tell whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from edge_agent.pager.kiosks import Kiosk
from edge_agent.pager.page import Page
from edge_agent.pager.satisfied import Satisfied

CONNECTED_ANEW = "connected to the broker, which kept nothing for this client meanwhile; what is open is asked for anew"


@dataclass(frozen=True, slots=True)
class Link:
    """The connection came up (`problem` empty) or went down.

    Attributes:
        forgotten: there was one before, and the broker has kept nothing of what came since. What is open is known from
            what it retains all the same; what was raised and over meanwhile is not.
    """

    problem: str
    forgotten: bool = False


@dataclass(frozen=True, slots=True)
class Nonsense:
    """A kiosk, or whoever writes in its name, sent what is no message; it is ignored, the others are not."""

    topic: str
    problem: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The broker does not let this pager answer on a topic."""

    topic: str


News: TypeAlias = Page | Link | Refusal | Nonsense | Kiosk | Satisfied
