"""Confirms a new model once it has proven itself; without, the next start goes back to the one before."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge_agent.camera.frames import Frame
from edge_agent.observer import Observer
from edge_agent.pipeline import Decision
from edge_agent.vision.models import ModelStore

#: A model that crashes the agent, or makes it eat all memory, does so at once or within the first faces.
TRIAL_S = 20.0


class Trial(Observer):
    """Ends well when the agent still runs TRIAL_S after its first frame, or has ended in order after it.

    Devices of one process share it.

    Args:
        monotonic: seconds.
    """

    def __init__(self, models: ModelStore, *, monotonic: Callable[[], float]) -> None:
        self._models: ModelStore | None = models
        self._monotonic = monotonic
        self._first_frame_s: float | None = None
        self._lock = threading.Lock()

    def frame_processed(self, frame: Frame, decision: Decision) -> None:
        """See that frames are processed."""
        del frame, decision
        if self._first_frame_s is None:
            self._first_frame_s = self._monotonic()
        self.frame_skipped()

    def frame_skipped(self) -> None:
        """See that the agent still runs."""
        if self._first_frame_s is not None and self._monotonic() - self._first_frame_s >= TRIAL_S:
            self._confirm()

    def close(self) -> None:
        """See that the agent ends by itself, and not by a signal that nobody caught."""
        if self._first_frame_s is not None:
            self._confirm()

    def give_up(self) -> None:
        """Confirm nothing any more."""
        with self._lock:
            self._models = None

    def _confirm(self) -> None:
        with self._lock:
            if self._models is not None:
                self._models.confirm()
                self._models = None
