"""Watches over the camera: says when it is lost or back, and opens one anew that shows the same picture for ever."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Literal

from edge_agent.camera.capture import Capture, State
from edge_agent.camera.frames import Frame
from edge_agent.camera.picture import FROZEN_PROBLEM, PictureWatch

log = logging.getLogger("edge_agent")

Event = Literal["camera_lost", "camera_back"]


class CameraSupervisor:
    """Starts and stops the capture, hands its frames on, and knows what is wrong.

    Args:
        live: it is a camera, not a recording, whose picture may well stand still.
        retry_s: a frozen camera is opened anew at most this often.
        tell: called in the caller's thread when the camera was lost, with the reason, or is back.
    """

    def __init__(self, capture: Capture, *, live: bool, retry_s: float, tell: Callable[[Event, str], None]) -> None:
        self._capture, self._live, self._retry_s, self._tell = capture, live, retry_s, tell
        self._status = capture.status()
        self._picture, self._picture_problem = PictureWatch(), ""
        self._next_restart_s = 0.0

    @property
    def state(self) -> State:
        """What the capture thread did when `take` was last called."""
        return self._status.state

    @property
    def frozen(self) -> bool:
        """Whether frames come that are all the same."""
        return self._picture_problem == FROZEN_PROBLEM

    @property
    def problem(self) -> str:
        """What is wrong with the camera or its picture; empty if nothing is."""
        return self._status.problem or self._picture_problem

    @property
    def dropped(self) -> int:
        """Frames that were replaced by newer ones before anybody took them."""
        return self._capture.dropped

    def start(self) -> None:
        """Start capturing; returns at once, whatever the camera does."""
        self._capture.start()

    def stop(self) -> None:
        """Stop; a thread that hangs in its driver is left behind."""
        self._capture.stop(0.3)

    def pace(self, rate_hz: float) -> None:
        """See Capture.pace."""
        self._capture.pace(rate_hz)

    def take(self) -> Frame | None:
        """Return the newest frame not yet taken, if there is one; call at least once a second."""
        self._capture.check()
        before, self._status = self._status, self._capture.status()
        frame = self._capture.take()
        if self._status != before:
            self._note_change(was_lost=before.state == "lost")
        if frame is not None and self._live:
            self._look_at_picture(frame)
        return frame

    def _note_change(self, *, was_lost: bool) -> None:
        state, problem = self._status.state, self._status.problem
        if state == "lost":
            log.error(f"camera lost: {problem}; trying again")
        elif state == "running":
            log.info("camera delivers frames")
        elif state == "ended":
            log.info("the recording has ended")
        if state == "lost" and not was_lost:
            self._tell("camera_lost", problem)
        elif was_lost and state == "running":
            self._tell("camera_back", "")

    def _look_at_picture(self, frame: Frame) -> None:
        problem = self._picture.look(frame)
        if problem != self._picture_problem:
            self._picture_problem = problem
            log.log(logging.ERROR if problem else logging.INFO, problem or "the picture is in order again")
        if self.frozen and time.monotonic() >= self._next_restart_s:
            self._next_restart_s = time.monotonic() + self._retry_s
            self._capture.restart(problem)
