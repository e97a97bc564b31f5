"""The daemon: wiring, and the loop that owns everything but the camera and the network.

Two threads feed it, one captures frames and one talks MQTT. They only leave things to collect and wake the
loop, so that pipeline, rules and outbox live in one thread and need no locks.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edge_agent.agent.facts import facts
from edge_agent.agent.health import Health, temperature_c
from edge_agent.agent.observers import Onlooker, open_onlookers
from edge_agent.agent.watchdog import Watchdog
from edge_agent.alerting import stillness
from edge_agent.alerting.rules import Alert
from edge_agent.alerting.tracker import Track
from edge_agent.camera import Camera, Capture, Frame, make_camera
from edge_agent.camera.pacing import Pacer
from edge_agent.camera.supervisor import CameraSupervisor
from edge_agent.config import Config
from edge_agent.delivery.bus import Bus
from edge_agent.delivery.episodes import MAX_GAP_S
from edge_agent.delivery.messages import new_ulid
from edge_agent.delivery.opening import open_channel
from edge_agent.delivery.outbox import Outbox
from edge_agent.errors import AgentError
from edge_agent.logs import fields
from edge_agent.pipeline import Decision, Pipeline
from edge_agent.statistics.collector import Statistics
from edge_agent.statistics.summaries import Summarizer
from edge_agent.vision.faces import mask_zones
from edge_agent.vision.models import ModelStore
from edge_agent.vision.zones import load_zones

log = logging.getLogger("edge_agent")

_IDLE_S = 0.25
#: Name of the note about places where staff called a face without motion a false alarm.
_FALSE_ALARMS = "false-alarms"
#: So many are proposed in `health` as zones to ignore.
MAX_STILL_PLACES = 8

Watcher = Callable[[Frame, Decision], None]


class Agent:
    """One device, from camera to broker.

    Args:
        camera: makes the camera; the configured one by default.
        every_frame: process every frame of a recording, however long it takes.
        on_decision: called after each frame, for people who watch.
        read_config: reads the configuration anew when a command asks for it; None where there is no file.
        stop_at_end: return from `run` when a recording has ended, its alerts are over and everything is delivered.

    Raises:
        AgentError: a model, the state folder or the certificates cannot be used.
    """

    def __init__(
        self,
        config: Config,
        *,
        camera: Callable[[], Camera] | None = None,
        bus: Bus | None = None,
        every_frame: bool = False,
        on_decision: Watcher | None = None,
        read_config: Callable[[], Config] | None = None,
        stop_at_end: bool = False,
    ) -> None:
        self._config, self._on_decision, self._stop_at_end = config, on_decision, stop_at_end
        self._live_clock, self._read_config = not every_frame, read_config
        #: What to begin anew with after `run` has returned, if a command asked for it.
        self.successor: Config | None = None
        self._wakeup = threading.Event()
        self._stopping = False
        # Before all else: who has the outbox is the one agent of this device.
        outbox = Outbox(config.outbox.state_dir, max_bytes=config.outbox.max_bytes, unix=time.time)
        self._onlookers: list[Onlooker] = []
        #: Set when a recording has been watched to its end.
        self.ended = threading.Event()
        try:
            self._assemble(outbox, camera=camera, bus=bus, every_frame=every_frame)
        except BaseException:
            # Whoever tries again, with another configuration, needs disk and ports.
            self._close_onlookers()
            outbox.close()
            raise

    def _assemble(
        self, outbox: Outbox, *, camera: Callable[[], Camera] | None, bus: Bus | None, every_frame: bool
    ) -> None:
        config = self._config
        self._models = ModelStore(config.outbox.state_dir, trusted_keys=config.emotion.trusted_keys)
        self._choice = self._models.choose(config.emotion.model)
        self._config = config = replace(config, emotion=replace(config.emotion, model=self._choice.model))
        self.pipeline = Pipeline(config, new_id=new_ulid)
        self._channel = open_channel(
            config,
            rules=self.pipeline.rules,
            info=facts(config, self.pipeline.vision.classifier.bundle),
            alert_time_s=self._alert_time_s,
            stepped=self._stepped,
            answered=self._answered,
            upkeep=self,
            outbox=outbox,
            bus=bus,
            wake=self._wakeup.set,
        )
        self._bus, self._relay = self._channel.bus, self._channel.relay
        # Another model scores differently: its baseline is its own.
        self._baseline = f"drift-baseline-{self.pipeline.vision.classifier.bundle.id}"
        self._statistics = Statistics(
            config,
            engine=self.pipeline.rules,
            baseline=self._relay.note(self._baseline),
            unix=time.time,
            monotonic=time.monotonic,
        )
        self._camera = CameraSupervisor(
            Capture(
                camera or (lambda: make_camera(config.camera, realtime=not every_frame)),
                config.camera,
                wake=self._wakeup.set,
                every_frame=every_frame,
            ),
            # pathlib's would raise where the folder may not be looked into; there it is the camera that says so.
            live=config.camera.source != "opencv" or not os.path.exists(config.camera.device),  # noqa: PTH110
            retry_s=config.camera.retry_max_s,
            tell=self.tell,
        )
        # A recording that is played without pauses is looked at frame by frame.
        self._pacer: Pacer | None = None
        if not every_frame:
            self._pacer = Pacer(config.performance, rate_hz=config.camera.frame_rate_hz, cpu_s=time.process_time)
        self.health = Health(start_s=time.monotonic())
        self._watchdog = Watchdog(monotonic=time.monotonic)
        self._frame_problem = ""
        self._next_health_s = 0.0
        self._frame_s = self._frame_taken_s = time.monotonic()
        self._people = 0
        self._summarizer: Summarizer | None = None
        if config.summary.enabled and config.privacy.notice_posted:
            self._summarizer = Summarizer(
                config,
                self.pipeline.groups,
                publish=self._channel.publish_summary,
                unix=time.time,
                monotonic=time.monotonic,
            )
        noted = self._relay.note(_FALSE_ALARMS) or "[]"
        self.pipeline.still_places.restore(stillness.from_text(noted, now_s=self._alert_time_s(), unix_s=time.time()))
        drawn_zones = load_zones(config.outbox.state_dir)
        self.pipeline.vision.ignore_zones += drawn_zones
        for onlooker in open_onlookers(config, self.pipeline, drawn_zones=drawn_zones):
            self._onlookers.append(onlooker)

    def _close_onlookers(self) -> None:
        for onlooker in self._onlookers:
            onlooker.close()

    def stop(self) -> None:
        """Ask `run` to return within _IDLE_S; safe from signal handlers and other threads.

        A signal may interrupt the loop inside the event it waits on, so this must not touch that event.
        """
        self._stopping = True

    def self_test(self) -> str:
        """Replay the model's golden vectors and look at camera and disk; return what does not work."""
        try:
            self.pipeline.vision.classifier.verify()
        except AgentError as error:
            return str(error)
        return self._camera.problem or self._relay.problem

    def reload(self) -> str:
        """Let `run` return so that its caller begins anew with `successor`; return why not, if the file is wrong."""
        if self._read_config is None:
            return "this agent was not started from a configuration file"
        try:
            self.successor = self._read_config()
        except AgentError as error:
            return str(error)
        self._stopping = True
        return ""

    def tell(self, kind: str, detail: str) -> None:
        """Publish an event; it waits for the broker if it must."""
        self._channel.tell(kind, detail)

    def run(self) -> None:
        """Watch until `stop` is called."""
        if self._choice.rolled_back:
            detail = f"{self._choice.rolled_back} never came to its first frame; back to {self._choice.model}"
            log.warning(detail)
            self.tell("model_rolled_back", detail)
        self._channel.resume()
        self._bus.start()
        self._camera.start()
        log.info(
            "watching",
            extra=fields(
                device=f"{self._config.site.name}/{self._config.site.device}",
                camera=self._config.camera.source,
                model=self.pipeline.vision.classifier.bundle.id,
                broker=f"{self._config.mqtt.host}:{self._config.mqtt.port}",
                topics=self._channel.topic.base,
            ),
        )
        if not self._config.privacy.notice_posted:
            log.warning(
                "shadow mode: nobody is paged until a sign is up and privacy.notice_posted is true; "
                "`edge-agent notice` prints one"
            )
        try:
            while not self._stopping:
                self._wakeup.wait(_IDLE_S)
                self._wakeup.clear()
                self._turn()
        finally:
            self._shut_down()

    def _turn(self) -> None:
        for event in self._bus.events():
            self._channel.handle(event)
        frame = self._camera.take()
        ended = self._camera.state == "ended" and frame is None
        if frame is not None:
            self._process(frame)
        if ended or (frame is None and self._blind_s() > MAX_GAP_S):
            self._channel.report(self.pipeline.without_frame(self._alert_time_s()))
        self._channel.report(self.pipeline.rules.escalate_due(self._alert_time_s()))
        self._channel.pump()
        self._channel.set_problem(
            self._camera.problem
            or self._frame_problem
            or self._relay.problem
            or (self._pacer.problem if self._pacer is not None else "")
            or self._channel.deaf
        )
        self._watchdog.turn(
            frames=0 if self._camera.frozen else self.health.frames + self.health.skipped,
            network_turned_s=self._bus.turned_s,
            status=self._channel.problem or "watching",
        )
        if time.monotonic() >= self._next_health_s and (self._bus.connected or self._onlookers):
            self._next_health_s = time.monotonic() + self._config.logging.health_interval_s
            self._tell_health()
        if ended:
            self.ended.set()
        if self._stop_at_end and self.ended.is_set() and self._settled():
            self._stopping = True

    def _settled(self) -> bool:
        return not self.pipeline.rules.open_alerts() and not self._relay.waiting()[0]

    def _blind_s(self) -> float:
        """Return for how long there was no frame; an alert that nobody watched for long is over."""
        return time.monotonic() - self._frame_taken_s

    def _alert_time_s(self) -> float:
        """Return now on the alerting clock, which recordings played without pauses run ahead of."""
        return self._frame_s + time.monotonic() - self._frame_taken_s

    def _process(self, frame: Frame) -> None:
        started_s = time.monotonic()
        self._frame_s, self._frame_taken_s = frame.time_s, started_s
        try:
            # Before anything looks: what moves in there is no reason to wake up either.
            mask_zones(frame.image, self.pipeline.vision.ignore_zones)
            if not self._worth_a_look(frame):
                self.health.skip(now_s=time.monotonic())
                self._channel.report(self.pipeline.without_frame(frame.time_s))
                return
            decision = self.pipeline.process(frame)
        except Exception as error:  # one odd frame of an exotic driver must not end the watch
            problem = f"a frame could not be processed: {type(error).__name__}: {error}"[:300]
            if problem != self._frame_problem:
                log.error(problem)
            self._frame_problem = problem
            return
        self._frame_problem = ""
        self._people = len(decision.tracks)
        self._channel.report(decision.alerts)
        captured_s = frame.time_s if self._live_clock else started_s
        if self._summarizer is not None:
            self._summarizer.look(decision.tracks)
        if self._statistics.look(decision, frame_width=frame.image.shape[1]):
            self._relay.write_note(self._baseline, self._statistics.drift.baseline_text())
            log.info("the baseline for drift is complete")
        self.health.frame(faces=len(decision.judged), latency_s=time.monotonic() - captured_s, now_s=time.monotonic())
        if self.health.frames == 1:
            self._models.confirm()
        if self._on_decision is not None:
            self._on_decision(frame, decision)
        for onlooker in self._onlookers:
            onlooker.look(frame, decision)

    def _worth_a_look(self, frame: Frame) -> bool:
        if self._pacer is None:
            return True
        busy = bool(self._people or self.pipeline.rules.open_alerts())
        wanted = self._pacer.wants(frame.image, frame.time_s, busy=busy, pending=self.pipeline.rules.pending())
        self._camera.pace(self._pacer.rate_hz)
        return wanted

    def _stepped(self, alert: Alert) -> None:
        for onlooker in self._onlookers:
            onlooker.note_alert(alert)

    def _answered(self, rule: str, *, false_alarm: bool, people: tuple[Track, ...]) -> None:
        self._statistics.answered(rule, false_alarm=false_alarm)
        if false_alarm:
            self._remember_false_alarm(people)

    def _remember_false_alarm(self, people: tuple[Track, ...]) -> None:
        """Note where the faces of an alert are, if they do not move, so that they page nobody for a day."""
        now_s = self._alert_time_s()
        if self.pipeline.false_alarm([track.face for track in people], now_s):
            rectangles = self.pipeline.still_places.rectangles()
            self._relay.write_note(_FALSE_ALARMS, stillness.to_text(rectangles, now_s=now_s, unix_s=time.time()))
            log.info("a face that does not move was called a false alarm; its place pages nobody for a day")

    def _tell_health(self) -> None:
        body = self._health()
        self._channel.publish_health(body)
        for onlooker in self._onlookers:
            onlooker.note_health({"state": self._channel.state, "problem": self._channel.problem, **body})

    def _health(self) -> dict[str, Any]:
        now_s = time.monotonic()
        depth, oldest_s = self._relay.waiting()
        return {
            "camera": self._camera.state,
            "uptime_s": round(self.health.uptime_s(now_s), 1),
            "frames": self.health.frames,
            "frames_dropped": self._camera.dropped,
            "frames_skipped": self.health.skipped,
            "frame_rate_hz": round(self.health.take_frame_rate_hz(now_s), 2),
            "latency_p50_ms": self.health.latency_ms(50),
            "latency_p95_ms": self.health.latency_ms(95),
            "people": self._people,
            "faces": self.health.faces,
            "abstained": dict(self.pipeline.vision.abstained),
            "still_places": self.pipeline.proposed_zones(self._alert_time_s())[:MAX_STILL_PLACES],
            "outbox_depth": depth,
            "outbox_oldest_s": round(oldest_s, 1),
            "temperature_c": temperature_c(),
            "frame_age_s": _rounded(self.health.frame_age_s(now_s)),
            "network_age_s": _rounded(max(0.0, now_s - self._bus.turned_s)),
            "shadow_pages": self._channel.shadow_pages,
            "drift": self._statistics.drift.index(),
        }

    def _shut_down(self) -> None:
        if self.successor is None:
            self._watchdog.stopping()
        self._close_onlookers()
        self._channel.end(goes_on=self.successor is not None)
        self._statistics.flush()
        waiting = self._channel.close()
        self._camera.stop()
        log.info("stopped", extra=fields(frames=self.health.frames, waiting_in_outbox=waiting))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
