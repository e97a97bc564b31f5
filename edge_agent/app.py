"""The daemon: wiring, and the loop that owns everything but the camera and the network.

Two threads feed it, one captures frames and one talks MQTT. They only leave things to collect and wake the
loop, so that pipeline, rules and outbox live in one thread and need no locks.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_agent.alerting.rules import Alert
from edge_agent.alerting.ulid import make_ulid
from edge_agent.camera import Camera, Capture, CaptureStatus, Frame, make_camera
from edge_agent.camera.picture import FROZEN_PROBLEM, PictureWatch
from edge_agent.config import Config, read_password
from edge_agent.delivery.bus import Bus, Connected, Delivered, Disconnected, MqttBus, Received
from edge_agent.delivery.dispatcher import Dispatcher
from edge_agent.delivery.episodes import Episodes, from_text, to_text
from edge_agent.delivery.messages import (
    Composer,
    Message,
    MessageError,
    State,
    Topics,
    parse_ack,
    parse_object,
    parse_snooze,
)
from edge_agent.delivery.outbox import Outbox
from edge_agent.operations.facts import facts
from edge_agent.operations.health import Health, temperature_c
from edge_agent.operations.logs import fields
from edge_agent.operations.statistics import Statistics
from edge_agent.operations.watchdog import Watchdog
from edge_agent.pipeline import Decision, Pipeline

log = logging.getLogger("edge_agent")

_IDLE_S = 0.25
#: How often the note about open alerts is renewed.
_NOTE_S = 30.0
#: Names of what the next run must know.
_EPISODES, _BASELINE = "episodes", "drift-baseline"

Watcher = Callable[[Frame, Decision], None]


def new_ulid() -> str:
    """Return a fresh ULID."""
    return make_ulid(time.time(), secrets.token_bytes(10))


class Agent:
    """One device, from camera to broker.

    Args:
        camera: makes the camera; the configured one by default.
        every_frame: process every frame of a recording, however long it takes.
        on_decision: called after each frame, for people who watch.
        on_ready: called after the first processed frame.
        news: kind and detail of events to publish at the start.
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
        stop_at_end: bool = False,
        on_ready: Callable[[], None] = lambda: None,
        news: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._config, self._on_decision, self._stop_at_end = config, on_decision, stop_at_end
        self._on_ready, self._news = on_ready, news
        self._live_clock = not every_frame
        self._wakeup = threading.Event()
        self._stopping = False
        session = new_ulid()
        self.pipeline = Pipeline(config, new_id=new_ulid)
        self._composer = Composer(config, session=session, unix=time.time, monotonic=time.monotonic)
        topic = self._composer.topic
        self._topics: Topics = topic
        self._bus = bus or MqttBus(
            config.mqtt,
            client_id=f"{config.site.name}/{config.site.device}",
            password=read_password(config.mqtt),
            subscriptions=(topic("ack", "+"), topic("cmd", "+")),
            will=self._composer.state("offline"),
            wake=self._wakeup.set,
        )
        outbox = Outbox(config.outbox.state_dir, max_bytes=config.outbox.max_bytes, unix=time.time)
        self._set_aside = outbox.set_aside
        self._dispatcher = Dispatcher(outbox, self._bus, unix=time.time, monotonic=time.monotonic)
        self._statistics = Statistics(
            config,
            self.pipeline.groups,
            baseline=self._dispatcher.note(_BASELINE),
            unix=time.time,
            monotonic=time.monotonic,
        )
        self._capture = Capture(
            camera or (lambda: make_camera(config.camera, realtime=not every_frame)),
            config.camera,
            wake=self._wakeup.set,
            every_frame=every_frame,
        )
        self.health = Health(start_s=time.monotonic())
        self._camera_status = self._capture.status()
        self._picture, self._picture_problem = PictureWatch(), ""
        self._live_camera = config.camera.source != "opencv" or not Path(config.camera.device).exists()
        self._next_restart_s = 0.0
        self._watchdog = Watchdog(monotonic=time.monotonic)
        self._shadow_pages = 0
        self._next_note_s = 0.0
        self._state: State = "online"
        self._problem = self._frame_problem = ""
        self._next_health_s = 0.0
        self._frame_s = self._frame_taken_s = time.monotonic()
        self._people = 0
        #: Set when a recording has been watched to its end.
        self.ended = threading.Event()

    def stop(self) -> None:
        """Ask `run` to return within _IDLE_S; safe from signal handlers and other threads.

        A signal may interrupt the loop inside the event it waits on, so this must not touch that event.
        """
        self._stopping = True

    def run(self) -> None:
        """Watch until `stop` is called."""
        self._resume()
        self._bus.start()
        self._capture.start()
        log.info(
            "watching",
            extra=fields(
                device=f"{self._config.site.name}/{self._config.site.device}",
                camera=self._config.camera.source,
                model=self.pipeline.vision.classifier.bundle.id,
                broker=f"{self._config.mqtt.host}:{self._config.mqtt.port}",
                topics=self._topics.base,
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

    def _resume(self) -> None:
        """Go on with the alerts of a run that could not end them."""
        for kind, detail in self._news:
            log.warning(detail)
            self._dispatcher.add(self._composer.event(kind, detail), expiry_s=3600)
        if self._set_aside is not None:
            detail = f"the outbox could not be read and was moved to {self._set_aside}"
            log.error(detail)
            self._dispatcher.add(self._composer.event("outbox_set_aside", detail), expiry_s=3600)
        text = self._dispatcher.note(_EPISODES)
        if text is None:
            return
        episodes, over = from_text(text, self._config.rules, time_s=self._alert_time_s(), unix_s=time.time())
        self._composer.raised_unix_s.update(episodes.raised_unix_s)
        if not self._config.privacy.notice_posted:
            return  # what a live run left is over; pagers close what their agent no longer names
        self.pipeline.rules.restore(episodes.alerts, episodes.quiet)
        for alert in episodes.alerts:
            log.warning("alert goes on after a restart", extra=fields(id=alert.id, rule=alert.rule.name))
        self._report([replace(alert, step="cleared", revision=alert.revision + 1, reason="stopped") for alert in over])

    def _turn(self) -> None:
        for event in self._bus.events():
            self._handle(event)
        self._capture.check()
        status = self._capture.status()
        frame = self._capture.take()
        if frame is not None:
            self._process(frame)
        if status != self._camera_status:
            self._camera_changed(status)
        if frame is None and status.state == "ended":
            self._report(self.pipeline.without_frame(self._alert_time_s()))
        self._report(self.pipeline.rules.escalate_due(self._alert_time_s()))
        for topic in self._dispatcher.pump():
            log.error("message expired", extra=fields(topic=topic))
            self._dispatcher.add(
                self._composer.event("expired", f"{topic} could not be delivered in time"), expiry_s=3600
            )
        self._update_state()
        self._watchdog.turn(
            frames=0 if self._picture_problem == FROZEN_PROBLEM else self.health.frames,
            network_turned_s=self._bus.turned_s,
            status=self._problem or "watching",
        )
        if time.monotonic() >= self._next_health_s and self._bus.connected:
            self._next_health_s = time.monotonic() + self._config.logging.health_interval_s
            self._publish(self._health_message())
            self._publish(self._composer.active(self._open_alerts()))
        if time.monotonic() >= self._next_note_s and self._open_alerts():
            # Its age tells the next run how long nobody watched.
            self._next_note_s = time.monotonic() + _NOTE_S
            self._dispatcher.write_note(_EPISODES, self._episodes_text())
        if status.state == "ended" and frame is None and not self.ended.is_set():
            self.ended.set()
        if self._stop_at_end and self.ended.is_set() and self._settled():
            self._stopping = True

    def _settled(self) -> bool:
        return not self.pipeline.rules.open_alerts() and not self._dispatcher.waiting()[0]

    def _alert_time_s(self) -> float:
        """Return now on the alerting clock, which recordings played without pauses run ahead of."""
        return self._frame_s + time.monotonic() - self._frame_taken_s

    def _process(self, frame: Frame) -> None:
        started_s = time.monotonic()
        self._frame_s, self._frame_taken_s = frame.time_s, started_s
        self._look_at_picture(frame)
        try:
            decision = self.pipeline.process(frame)
        except Exception as error:  # one odd frame of an exotic driver must not end the watch
            problem = f"a frame could not be processed: {type(error).__name__}: {error}"[:300]
            if problem != self._frame_problem:
                log.error(problem)
            self._frame_problem = problem
            return
        self._frame_problem = ""
        self._people = len(decision.tracks)
        self._report(decision.alerts)
        captured_s = frame.time_s if self._live_clock else started_s
        if self._statistics.look(decision, frame_width=frame.image.shape[1]):
            self._dispatcher.write_note(_BASELINE, self._statistics.drift.baseline_text())
            log.info("the baseline for drift is complete")
        self.health.frame(faces=len(decision.judged), latency_s=time.monotonic() - captured_s, now_s=time.monotonic())
        if self.health.frames == 1:
            self._on_ready()
        if self._on_decision is not None:
            self._on_decision(frame, decision)

    def _look_at_picture(self, frame: Frame) -> None:
        """Note a picture that shows nothing; a frozen one is a camera that wants to be opened anew."""
        if not self._live_camera:
            return
        problem = self._picture.look(frame)
        if problem != self._picture_problem:
            self._picture_problem = problem
            log.log(logging.ERROR if problem else logging.INFO, problem or "the picture is in order again")
        if problem == FROZEN_PROBLEM and time.monotonic() >= self._next_restart_s:
            self._next_restart_s = time.monotonic() + self._config.camera.retry_max_s
            self._capture.restart(problem)

    def _report(self, alerts: list[Alert]) -> None:
        if not self._config.privacy.notice_posted:
            # In shadow mode alerts are counted; nobody is paged.
            self._shadow_pages += sum(alert.step == "raised" for alert in alerts)
            return
        for alert in alerts:
            self._dispatcher.add(
                self._composer.alert(alert),
                expiry_s=self._composer.alert_expiry_s(alert),
                note=(_EPISODES, self._episodes_text()),
            )
            log.warning(
                f"alert {alert.step}",
                extra=fields(
                    id=alert.id,
                    rule=alert.rule.name,
                    zone=alert.zone,
                    score=round(alert.score, 3),
                    people=alert.people,
                    groups=",".join(alert.groups),
                    after_s=round(alert.changed_s - alert.raised_s, 1),
                    by=alert.by,
                    reason=alert.reason,
                ),
            )
        if alerts:
            self._publish(self._composer.active(self._open_alerts()))

    def _open_alerts(self) -> list[Alert]:
        return self.pipeline.rules.open_alerts() if self._config.privacy.notice_posted else []

    def _episodes_text(self) -> str:
        rules = self.pipeline.rules
        episodes = Episodes(self._open_alerts(), rules.quiet(), self._composer.raised_unix_s)
        return to_text(episodes, time_s=self._alert_time_s(), unix_s=time.time())

    def _publish(self, message: Message) -> None:
        self._bus.publish(message)

    def _handle(self, event: Connected | Disconnected | Delivered | Received) -> None:
        if isinstance(event, Connected):
            log.info("connected to the broker")
            self._birth()
        elif isinstance(event, Disconnected):
            self._dispatcher.connection_lost()
            log.warning(f"{event.problem}; trying again")
        elif isinstance(event, Delivered):
            unheard = self._dispatcher.delivered(event)
            if unheard:
                self._nobody_listens(unheard)
        else:
            try:
                self._received(event)
            except MessageError as error:
                log.warning(f"ignored a message: {error}", extra=fields(topic=event.topic[:200]))

    def _received(self, event: Received) -> None:
        match self._topics.below(event.topic):
            case ["ack", alert_id]:
                ack = parse_ack(event.payload)
                if ack.alert_id != alert_id:
                    raise MessageError("topic and payload name different alerts")
                changed = self.pipeline.rules.act(
                    alert_id, ack.action, by=ack.by, time_s=self._alert_time_s(), snooze_s=ack.snooze_s
                )
                if changed is None:
                    log.info("nothing to change", extra=fields(id=alert_id, action=ack.action, by=ack.by))
                else:
                    if ack.action in ("resolve", "false_alarm"):
                        self._statistics.answered(changed.rule.name, false_alarm=ack.action == "false_alarm")
                    self._report([changed])
            case ["cmd", verb] if not event.retained:
                body = parse_object(event.payload, schema="command")
                self._command(verb, str(body.get("request_id", "")), body)

    def _nobody_listens(self, topic: str) -> None:
        """Page the next level at once when nobody is subscribed to an open alert."""
        match self._topics.below(topic):
            case ["alert", alert_id]:
                open_ids = {alert.id for alert in self.pipeline.rules.open_alerts()}
                if alert_id not in open_ids:
                    return
                log.error("nobody is subscribed to this alert; is a pager running?", extra=fields(id=alert_id))
                escalated = self.pipeline.rules.escalate(alert_id, self._alert_time_s())
                if escalated is not None:
                    self._report([escalated])

    def _command(self, verb: str, request_id: str, body: dict[str, Any]) -> None:
        if re.fullmatch("[A-Za-z0-9_-]{1,64}", request_id) is None:
            raise MessageError("request_id must be 1 to 64 letters, digits, - or _")
        if verb == "ping":
            answer = self._composer.response(request_id, ok=True, detail="pong")
        elif verb == "rebirth":
            self._birth()
            for alert in self._open_alerts():
                # For pagers that came late; others know these steps by id and revision.
                self._publish(self._composer.alert(alert))
            answer = self._composer.response(request_id, ok=True, detail="state, info and open alerts published")
        elif verb == "snooze":
            snooze_s = parse_snooze(body)
            self.pipeline.rules.snooze(self._alert_time_s() + snooze_s)
            self._dispatcher.write_note(_EPISODES, self._episodes_text())
            log.warning("snoozed", extra=fields(snooze_s=snooze_s))
            answer = self._composer.response(request_id, ok=True, detail=f"no new alert for {snooze_s:g} s")
        else:
            detail = "unknown command; there are ping, rebirth, snooze"
            answer = self._composer.response(request_id, ok=False, detail=detail)
        self._publish(answer)

    def _birth(self) -> None:
        self._publish(self._composer.state(self._state, self._problem))
        self._publish(self._composer.info(facts(self._config, self.pipeline.vision.classifier.bundle)))
        self._publish(self._composer.active(self._open_alerts()))

    def _camera_changed(self, status: CaptureStatus) -> None:
        before, self._camera_status = self._camera_status, status
        if status.state == "lost":
            log.error(f"camera lost: {status.problem}; trying again")
        elif status.state == "running":
            log.info("camera delivers frames")
        elif status.state == "ended":
            log.info("the recording has ended")
        if status.state == "lost" and before.state != "lost":
            self._dispatcher.add(self._composer.event("camera_lost", status.problem), expiry_s=3600)
        elif before.state == "lost" and status.state == "running":
            self._dispatcher.add(self._composer.event("camera_back", ""), expiry_s=3600)

    def _update_state(self) -> None:
        problem = (
            self._camera_status.problem or self._picture_problem or self._frame_problem or self._dispatcher.problem
        )
        if problem != self._problem:
            self._state, self._problem = "degraded" if problem else "online", problem
            self._publish(self._composer.state(self._state, problem))

    def _health_message(self) -> Message:
        now_s = time.monotonic()
        depth, oldest_s = self._dispatcher.waiting()
        return self._composer.health(
            {
                "state": self._state,
                "camera": self._camera_status.state,
                "uptime_s": round(self.health.uptime_s(now_s), 1),
                "frames": self.health.frames,
                "frames_dropped": self._capture.dropped,
                "frame_rate_hz": round(self.health.take_frame_rate_hz(now_s), 2),
                "latency_p50_ms": self.health.latency_ms(50),
                "latency_p95_ms": self.health.latency_ms(95),
                "people": self._people,
                "faces": self.health.faces,
                "abstained": dict(self.pipeline.vision.abstained),
                "outbox_depth": depth,
                "outbox_oldest_s": round(oldest_s, 1),
                "temperature_c": temperature_c(),
                "frame_age_s": _rounded(self.health.frame_age_s(now_s)),
                "network_age_s": _rounded(max(0.0, now_s - self._bus.turned_s)),
                "problem": self._problem[:300],
                "shadow_pages": self._shadow_pages,
                "drift": self._statistics.drift.index(),
            }
        )

    def _shut_down(self) -> None:
        self._watchdog.stopping()
        self._report(self.pipeline.rules.close_all(reason="stopped", time_s=self._alert_time_s()))
        self._dispatcher.pump()
        self._publish(self._composer.active([]))
        self._bus.stop(self._composer.state("stopped"), timeout_s=0.6)
        for event in self._bus.events():
            if isinstance(event, Delivered):
                self._dispatcher.delivered(event)
        self._statistics.flush()
        waiting = self._dispatcher.close()
        self._capture.stop(0.3)
        log.info("stopped", extra=fields(frames=self.health.frames, waiting_in_outbox=waiting))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
