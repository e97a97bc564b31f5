"""The loop that owns everything but the camera and the network.

Two threads feed it, one captures frames and one talks MQTT. They only leave things to collect and wake the
loop, so that pipeline, rules and outbox live in one thread and need no locks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.agent.alert_clock import AlertClock
from edge_agent.agent.health import Health
from edge_agent.agent.hours import HoursNow
from edge_agent.agent.sideways import Sideways
from edge_agent.agent.upkeep import Upkeep
from edge_agent.agent.watchdog import WatchdogLine
from edge_agent.camera import Frame
from edge_agent.camera.pacing import Pacer
from edge_agent.camera.supervisor import CameraSupervisor
from edge_agent.config import Config
from edge_agent.delivery.channel import Channel
from edge_agent.delivery.episodes import MAX_GAP_S
from edge_agent.logs import fields
from edge_agent.observer import Observer
from edge_agent.pipeline import Pipeline
from edge_agent.statistics.drift import Drift

log = logging.getLogger("edge_agent")

_IDLE_S = 0.25
#: So many are proposed in `health` as zones to ignore.
MAX_STILL_PLACES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an agent is built from.

    Attributes:
        pacer: None where every frame of a recording is looked at.
        observers: told of every frame; `health` is one of them.
        awake: set by the threads that leave something to collect.
        served: somebody asks for health reports even while there is no broker.
        model_problem: why another model than the activated one runs; empty otherwise.
    """

    config: Config
    pipeline: Pipeline
    camera: CameraSupervisor
    pacer: Pacer | None
    channel: Channel
    observers: Sequence[Observer]
    health: Health
    sideways: Sideways
    drift: Drift
    clock: AlertClock
    hours: HoursNow
    watchdog: WatchdogLine
    upkeep: Upkeep
    awake: threading.Event
    served: bool
    model_problem: str


class Agent:
    """One device, from camera to broker; `build.build_agent` makes it.

    Args:
        stop_at_end: return from `run` when a recording has ended, its alerts are over and everything is delivered.
    """

    def __init__(self, parts: Parts, *, stop_at_end: bool = False) -> None:
        self._parts, self._stop_at_end = parts, stop_at_end
        self.pipeline, self.health = parts.pipeline, parts.health
        #: Set when a recording has been watched to its end.
        self.ended = threading.Event()
        self._stopping = False
        self._frame_problem = ""
        self._next_health_s = 0.0

    @property
    def successor(self) -> Config | None:
        """What to begin anew with after `run` has returned, if a command asked for it."""
        return self._parts.upkeep.successor

    def stop(self) -> None:
        """Ask `run` to return within _IDLE_S; safe from signal handlers and other threads.

        A signal may interrupt the loop inside the event it waits on, so this must not touch that event.
        """
        self._stopping = True

    def tell(self, kind: str, detail: str) -> None:
        """Publish an event; it waits for the broker if it must."""
        self._parts.channel.tell(kind, detail)

    def run(self) -> None:
        """Watch until `stop` is called."""
        parts, config = self._parts, self._parts.config
        parts.channel.resume()
        parts.channel.bus.start()
        parts.camera.start()
        log.info(
            "watching",
            extra=fields(
                device=f"{config.site.name}/{config.site.device}",
                camera=config.camera.source,
                model=self.pipeline.vision.classifier.bundle.id,
                broker=config.mqtt.address,
                topics=parts.channel.topic.base,
            ),
        )
        if not config.privacy.notice_posted:
            log.warning(
                "shadow mode: nobody is paged until a sign is up and privacy.notice_posted is true; "
                "`edge-agent notice` prints one"
            )
        try:
            while not self._stopping:
                parts.awake.wait(_IDLE_S)
                parts.awake.clear()
                self._turn()
        finally:
            self._shut_down()

    def _turn(self) -> None:
        parts = self._parts
        self.pipeline.rules.closed = parts.hours.closed()
        for event in parts.channel.bus.events():
            parts.channel.handle(event)
        frame = parts.camera.take()
        ended = parts.camera.state == "ended" and frame is None
        if frame is not None:
            self._process(frame)
        # An alert that nobody watched for long is over.
        if ended or (frame is None and parts.clock.blind_s() > MAX_GAP_S):
            parts.channel.report(self.pipeline.without_frame(parts.clock.now_s()))
        parts.channel.report(self.pipeline.rules.escalate_due(parts.clock.now_s()))
        parts.channel.set_problem(
            parts.camera.problem
            or self._frame_problem
            or parts.sideways.problem
            or parts.channel.relay.problem
            or (parts.pacer.problem if parts.pacer is not None else "")
            or parts.channel.deaf
            or parts.model_problem
        )
        parts.channel.pump()
        parts.watchdog.turn(
            frames=0 if parts.camera.frozen else self.health.frames + self.health.skipped,
            network_turned_s=parts.channel.bus.turned_s,
            status=parts.channel.problem or "watching",
        )
        if time.monotonic() >= self._next_health_s and (parts.channel.bus.connected or parts.served):
            self._next_health_s = time.monotonic() + parts.config.logging.health_interval_s
            self._report_health()
        if ended:
            self.ended.set()
        if self._stop_at_end and self.ended.is_set() and self._settled():
            self._stopping = True

    def _settled(self) -> bool:
        return not self.pipeline.rules.open_alerts() and not self._parts.channel.relay.waiting()[0]

    def _process(self, frame: Frame) -> None:
        parts = self._parts
        parts.clock.set_by(frame.time_s)
        try:
            self.pipeline.zones.mask(frame.image)
            if not self._worth_a_look(frame):
                parts.channel.report(self.pipeline.without_frame(frame.time_s))
                for observer in parts.observers:
                    observer.frame_skipped()
                return
            decision = self.pipeline.process(frame)
        except Exception as error:  # one odd frame of an exotic driver must not end the watch
            problem = f"a frame could not be processed: {type(error).__name__}: {error}"[:300]
            if problem != self._frame_problem:
                log.error(problem)
            self._frame_problem = problem
            return
        self._frame_problem = ""
        parts.channel.report(decision.alerts)
        for observer in parts.observers:
            observer.frame_processed(frame, decision)

    def _worth_a_look(self, frame: Frame) -> bool:
        pacer, rules = self._parts.pacer, self.pipeline.rules
        if pacer is None:
            return True
        busy = bool(self.health.people or rules.open_alerts())
        wanted = pacer.wants(frame.image, frame.time_s, busy=busy, pending=rules.pending())
        self._parts.camera.pace(pacer.rate_hz)
        return wanted

    def _report_health(self) -> None:
        body, channel = self._health(), self._parts.channel
        channel.publish_health(body)
        for observer in self._parts.observers:
            observer.health_reported({"state": channel.state, "problem": channel.problem, **body})

    def _health(self) -> dict[str, Any]:
        parts = self._parts
        depth, oldest_s = parts.channel.relay.waiting()
        return {
            **self.health.figures(),
            "camera": parts.camera.state,
            "frames_dropped": parts.camera.dropped,
            "abstained": dict(self.pipeline.vision.abstained),
            "still_places": self.pipeline.proposed_zones(parts.clock.now_s())[:MAX_STILL_PLACES],
            "outbox_depth": depth,
            "outbox_oldest_s": round(oldest_s, 1),
            "network_age_s": round(max(0.0, time.monotonic() - parts.channel.bus.turned_s), 1),
            "shadow_pages": parts.channel.shadow_pages,
            "drift": parts.drift.index(),
        }

    def _shut_down(self) -> None:
        parts = self._parts
        if self.successor is None:
            parts.watchdog.stopping()
        for observer in parts.observers:
            observer.close()
        parts.channel.end(goes_on=self.successor is not None)
        waiting = parts.channel.close()
        parts.camera.stop()
        log.info("stopped", extra=fields(frames=self.health.frames, waiting_in_outbox=waiting))
