"""The capture thread: keeps only the newest frame, and brings a failed camera back.

A camera fails in three ways: it cannot be opened, it reports an error, or it hangs inside a call that never
returns. The first two are retried here with exponential backoff and full jitter (Brooker, "Exponential
Backoff And Jitter", AWS 2015). A thread cannot be killed, so one that hangs is abandoned after the timeout
and a new one opens the camera again.
"""

from __future__ import annotations

import contextvars
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edge_agent import config
from edge_agent.camera.frames import Camera, Frame, PacedCamera
from edge_agent.errors import CameraError

#: A camera that delivered for so long is tried again as if it had never failed.
_STABLE_S = 10.0

#: Threads stuck in a driver that are tolerated before the camera is given up until the process restarts.
MAX_HUNG_THREADS = 4

State = Literal["starting", "running", "lost", "ended"]


@dataclass(frozen=True, slots=True)
class CaptureStatus:
    """What the capture thread is doing.

    Attributes:
        state: `lost` while a failed camera is retried; `ended` after the last frame of a recording.
        problem: why it is lost or has ended, one line; empty otherwise.
        since_s: when this state began, on the capture clock.
    """

    state: State
    problem: str
    since_s: float


class Capture:
    """Runs a camera in a thread of its own and hands out the newest frame.

    Args:
        make_camera: called for each (re)start, so that a hung camera object is never reused.
        wake: called from the capture thread whenever there is something new to look at.
        every_frame: wait until each frame is taken instead of replacing it (recordings, tests).
    """

    def __init__(
        self,
        make_camera: Callable[[], Camera],
        settings: config.Camera,
        *,
        wake: Callable[[], None],
        every_frame: bool = False,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._make_camera, self._settings, self._wake = make_camera, settings, wake
        self._every_frame, self._clock, self._jitter = every_frame, clock, jitter
        self._condition = threading.Condition()
        self._frame: Frame | None = None
        self._status = CaptureStatus("starting", "", clock())
        self._generation = 0
        self._busy_since_s: float | None = None
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._rate_hz = settings.frame_rate_hz
        self.dropped = 0

    def start(self) -> None:
        """Start capturing; returns at once, whatever the camera does."""
        with self._condition:
            self._generation += 1
            generation = self._generation
            self._busy_since_s = self._clock()
        run = contextvars.copy_context().run  # its log lines name the device too
        thread = threading.Thread(target=run, args=(self._run, generation), name=f"capture-{generation}", daemon=True)
        self._threads = [old for old in self._threads if old.is_alive()] + [thread]
        thread.start()

    def take(self) -> Frame | None:
        """Return the newest frame not yet taken, if there is one."""
        with self._condition:
            frame, self._frame = self._frame, None
            self._condition.notify_all()
        return frame

    def check(self) -> None:
        """Abandon a camera call that outlasts its timeout and open the camera anew; call now and then."""
        with self._condition:
            busy_since_s, generation = self._busy_since_s, self._generation
        silent_s = 0.0 if busy_since_s is None else self._clock() - busy_since_s
        # Slow recordings and cameras pause this long by themselves.
        patience_s = max(self._settings.timeout_s, 2 / min(self._rate_hz, self._settings.frame_rate_hz)) + 1.0
        if silent_s <= patience_s or self._stopping.is_set():
            return
        self._set(generation, "lost", f"the camera did not answer for {self._settings.timeout_s:.0f} s")
        if sum(thread.is_alive() for thread in self._threads) < MAX_HUNG_THREADS:
            self.start()

    def restart(self, problem: str) -> None:
        """Close the camera and open it anew, because what it delivers is of no use."""
        with self._condition:
            generation = self._generation
        self._set(generation, "lost", problem)
        if sum(thread.is_alive() for thread in self._threads) < MAX_HUNG_THREADS:
            self.start()

    def pace(self, rate_hz: float) -> None:
        """Ask the camera for so many frames a second from now on; a camera that cannot goes on as it does."""
        self._rate_hz = rate_hz

    def status(self) -> CaptureStatus:
        """Return what the capture thread is doing."""
        with self._condition:
            return self._status

    def stop(self, timeout_s: float = 1.0) -> None:
        """Stop and wait for the thread; one that hangs in its driver is left behind."""
        self._stopping.set()
        with self._condition:
            self._condition.notify_all()
        if self._threads:
            self._threads[-1].join(timeout_s)

    def _current(self, generation: int) -> bool:
        return generation == self._generation and not self._stopping.is_set()

    def _set(self, generation: int, state: State, problem: str = "") -> None:
        with self._condition:
            if generation != self._generation:
                return
            changed = (state, problem) != (self._status.state, self._status.problem)
            if changed:
                self._status = CaptureStatus(state, problem, self._clock())
        if changed or state == "running":
            self._wake()

    def _busy(self, generation: int, since_s: float | None) -> None:
        with self._condition:
            if generation == self._generation:
                self._busy_since_s = since_s

    def _run(self, generation: int) -> None:
        failures = 0
        while self._current(generation):
            problem = ""
            camera: Camera | None = None
            first_s: float | None = None
            try:
                self._busy(generation, self._clock())
                camera = self._make_camera()
                camera.open()
                rate_hz = self._settings.frame_rate_hz
                while self._current(generation):
                    if self._rate_hz != rate_hz and isinstance(camera, PacedCamera):
                        rate_hz = self._rate_hz
                        camera.pace(rate_hz)
                    self._busy(generation, self._clock())
                    frame = camera.read()
                    self._busy(generation, None)
                    if frame is None:
                        self._wait_until_taken(generation)
                        self._set(generation, "ended", "the recording has ended")
                        return
                    self._hand_over(frame, generation)
                    first_s = self._clock() if first_s is None else first_s
                    if self._clock() - first_s >= _STABLE_S:
                        failures = 0
            except CameraError as error:
                problem = str(error)
            except (Exception, SystemExit) as error:  # a driver may raise anything; the agent outlives it
                problem = f"{type(error).__name__}: {error}"
            finally:
                if camera is not None:
                    camera.close()
            self._busy(generation, None)
            if problem and self._current(generation):
                self._set(generation, "lost", problem)
                ceiling_s = min(self._settings.retry_first_s * 2**failures, self._settings.retry_max_s)
                failures = min(failures + 1, 30)
                self._stopping.wait(ceiling_s * self._jitter())

    def _wait_until_taken(self, generation: int) -> None:
        with self._condition:
            while self._frame is not None and self._current(generation):
                self._condition.wait(0.5)

    def _hand_over(self, frame: Frame, generation: int) -> None:
        if self._every_frame:
            self._wait_until_taken(generation)
        with self._condition:
            if not self._current(generation):
                return
            self.dropped += self._frame is not None
            self._frame = frame
        self._set(generation, "running")
