"""Faces without motion that staff called a false alarm: their places page nobody for a day, over restarts too."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from edge_agent.agent.alert_clock import AlertClock
from edge_agent.alerting import stillness
from edge_agent.alerting.tracker import Track
from edge_agent.delivery.relay import OutboxRelay
from edge_agent.pipeline import Pipeline

log = logging.getLogger("edge_agent")

#: Name of the note that outlives the run.
_NOTE = "false-alarms"


class FalseAlarms:
    """Remembers them; takes over what an earlier run noted.

    Args:
        unix: wall clock, seconds since 1970.
    """

    def __init__(self, pipeline: Pipeline, relay: OutboxRelay, clock: AlertClock, *, unix: Callable[[], float]) -> None:
        self._pipeline, self._relay, self._clock, self._unix = pipeline, relay, clock, unix
        noted = relay.note(_NOTE) or "[]"
        pipeline.still_places.restore(stillness.from_text(noted, now_s=clock.now_s(), unix_s=unix()))

    def remember(self, people: Iterable[Track]) -> None:
        """Note where the faces of an alert are, those that do not move."""
        now_s = self._clock.now_s()
        if self._pipeline.false_alarm([track.face for track in people], now_s):
            rectangles = self._pipeline.still_places.rectangles()
            self._relay.write_note(_NOTE, stillness.to_text(rectangles, now_s=now_s, unix_s=self._unix()))
            log.info("a face that does not move was called a false alarm; its place pages nobody for a day")
