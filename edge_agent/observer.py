"""Who watches what the agent's loop does, without steering it: statistics, health, metrics, the live view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.alerting.alert import Alert
from edge_agent.camera.frames import Frame
from edge_agent.pipeline import Decision


class Observer:
    """Is told in the loop's thread; each kind overrides what it wants to see."""

    def frame_processed(self, frame: Frame, decision: Decision) -> None:
        """See a frame and what it led to; the frame must not be kept."""

    def frame_skipped(self) -> None:
        """See that a frame was not worth a look: nothing moved, or there was no processor time left."""

    def alert_changed(self, alert: Alert) -> None:
        """See a step of an alert, in shadow mode too."""

    def alert_answered(self, rule: str, *, false_alarm: bool, again: bool = False) -> None:
        """See that staff resolved a page of a rule or called it a false alarm, maybe long after.

        Args:
            again: the opposite was said of the page before, and no longer holds.
        """

    def health_reported(self, body: Mapping[str, Any]) -> None:
        """See how the device is: the body of the `health` message, with `state` and `problem`."""

    def close(self) -> None:
        """End with the agent."""
