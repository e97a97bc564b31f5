"""Builds an agent from its configuration: what there is, and who is told of what."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from edge_agent.agent.alert_clock import AlertClock
from edge_agent.agent.facts import facts
from edge_agent.agent.false_alarms import FalseAlarms
from edge_agent.agent.health import Health
from edge_agent.agent.hours import HoursNow
from edge_agent.agent.loop import Agent, Parts
from edge_agent.agent.observers import configured_observers
from edge_agent.agent.shared import Shared
from edge_agent.agent.sideways import Sideways
from edge_agent.agent.upkeep import Upkeep
from edge_agent.alerting.alert import Alert
from edge_agent.alerting.tracker import Track
from edge_agent.camera import Camera, Capture, Frame, make_camera
from edge_agent.camera.pacing import Pacer
from edge_agent.camera.supervisor import CameraSupervisor, Event
from edge_agent.clock import synchronised
from edge_agent.config import Camera as CameraSettings
from edge_agent.config import Config
from edge_agent.delivery.bus import Bus
from edge_agent.delivery.channel import Channel
from edge_agent.delivery.opening import open_channel
from edge_agent.delivery.outbox import Outbox
from edge_agent.delivery.relay import OutboxRelay
from edge_agent.observer import Observer
from edge_agent.pipeline import Decision, Pipeline
from edge_agent.statistics.collector import Statistics
from edge_agent.statistics.summaries import Summarizer

log = logging.getLogger("edge_agent")

#: Sees each processed frame; it must not be kept.
Watcher = Callable[[Frame, Decision], None]


class _Watching(Observer):
    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def frame_processed(self, frame: Frame, decision: Decision) -> None:
        self._watcher(frame, decision)


def build_agent(
    config: Config,
    *,
    camera: Callable[[], Camera] | None = None,
    bus: Bus | None = None,
    every_frame: bool = False,
    on_decision: Watcher | None = None,
    read_config: Callable[[], Config] | None = None,
    stop_at_end: bool = False,
    unix: Callable[[], float] = time.time,
    clock_known: Callable[[], bool] = synchronised,
    shared: Shared | None = None,
) -> Agent:
    """Return an agent that is ready to run.

    Args:
        camera: makes the camera; the configured one by default.
        bus: the way to the broker; the configured one by default.
        every_frame: process every frame of a recording, however long it takes.
        on_decision: called after each frame, for people who watch.
        read_config: reads the configuration anew when a command asks for it; None where there is no file.
        stop_at_end: return from `run` when a recording has ended, its alerts are over and everything is delivered.
        unix: wall clock of the opening hours, seconds since 1970.
        clock_known: returns whether that clock was set since the computer started.
        shared: with the other devices of this process; None where this is the only one.

    Raises:
        AgentError: a model, the state folder or the certificates cannot be used.
    """
    with ExitStack() as opened:  # whoever tries again, with another configuration, needs disk and ports
        # Before all else: who has the outbox is the one agent of this device.
        outbox = Outbox(config.outbox.state_dir, max_bytes=config.outbox.max_bytes, unix=time.time)
        opened.callback(outbox.close)
        shared = Shared(config) if shared is None else shared
        trial = shared.trial
        pipeline, choice = shared.pipeline(config)
        config = replace(config, emotion=replace(config.emotion, model=choice.model))
        hours = HoursNow(config, unix=unix, clock_known=clock_known)
        awake, clock = threading.Event(), AlertClock(time.monotonic)
        watched = _watched_camera(
            config.camera,
            camera,
            every_frame=every_frame,
            wake=awake.set,
            tell=lambda kind, detail: channel.tell(kind, detail),
        )
        observers: list[Observer] = []

        def stepped(alert: Alert) -> None:
            for observer in observers:
                observer.alert_changed(alert)

        def answered(rule: str, *, false_alarm: bool, people: tuple[Track, ...], again: bool) -> None:
            for observer in observers:
                observer.alert_answered(rule, false_alarm=false_alarm, again=again)
            if false_alarm:
                false_alarms.remember(people)

        upkeep = Upkeep(
            pipeline.vision.classifier,
            problem=lambda: watched.problem or channel.relay.problem,
            stop=lambda: agent.stop(),
            read_config=read_config,
            change_model=shared.change_model,
        )
        opened.pop_all()  # from here on the channel's
        channel = open_channel(
            config,
            rules=pipeline.rules,
            info=facts(config, pipeline.vision.classifier.bundle),
            alert_time_s=clock.now_s,
            stepped=stepped,
            answered=answered,
            upkeep=upkeep,
            outbox=outbox,
            bus=bus,
            wake=awake.set,
            opens_s=hours.opens_s,
        )
        opened.callback(channel.close)
        false_alarms = FalseAlarms(pipeline, channel.relay, clock, unix=time.time)
        health = Health(monotonic=time.monotonic, live=not every_frame)
        statistics = _statistics(config, pipeline, channel.relay)
        sideways = Sideways(config, pipeline.vision, tell=lambda detail: channel.tell("camera_sideways", detail))
        observers += [
            health,
            sideways,
            trial,
            statistics,
            *_summarizer(config, pipeline, channel),
        ]
        if on_decision is not None:
            observers.append(_Watching(on_decision))
        always = len(observers)
        for observer in configured_observers(config, pipeline):
            opened.callback(observer.close)
            observers.append(observer)
        agent = Agent(
            Parts(
                config=config,
                pipeline=pipeline,
                camera=watched,
                # A recording that is played without pauses is looked at frame by frame.
                pacer=None
                if every_frame
                else Pacer(config.performance, rate_hz=config.camera.frame_rate_hz, cpu_s=time.process_time),
                channel=channel,
                observers=observers,
                health=health,
                sideways=sideways,
                drift=statistics.drift,
                clock=clock,
                hours=hours,
                watchdog=shared.watchdog(config.site.device),
                upkeep=upkeep,
                awake=awake,
                served=len(observers) > always,
                model_problem=choice.problem,
            ),
            stop_at_end=stop_at_end,
        )
        shared.keeps_up(upkeep, since=trial)
        if shared.ended_by and read_config is not None:
            log.error(shared.ended_by.detail)
            agent.tell(shared.ended_by.kind, shared.ended_by.detail)
        if choice.problem:
            log.error(choice.problem)
        if choice.rolled_back:
            agent.tell("model_rolled_back", choice.problem)
        opened.pop_all()
        return agent


def _watched_camera(
    settings: CameraSettings,
    make: Callable[[], Camera] | None,
    *,
    every_frame: bool,
    wake: Callable[[], None],
    tell: Callable[[Event, str], None],
) -> CameraSupervisor:
    return CameraSupervisor(
        Capture(
            make or (lambda: make_camera(settings, realtime=not every_frame)),
            settings,
            wake=wake,
            every_frame=every_frame,
        ),
        # pathlib's would raise where the folder may not be looked into; there it is the camera that says so.
        live=settings.source != "opencv" or not os.path.exists(settings.device),  # noqa: PTH110
        retry_s=settings.retry_max_s,
        tell=tell,
    )


def _summarizer(config: Config, pipeline: Pipeline, channel: Channel) -> list[Observer]:
    if not (config.summary.enabled and config.privacy.notice_posted):
        return []
    publish = channel.publish_summary
    return [Summarizer(config, pipeline.emotions, publish=publish, unix=time.time, monotonic=time.monotonic)]


def _statistics(config: Config, pipeline: Pipeline, relay: OutboxRelay) -> Statistics:
    # Another model scores differently: its baseline is its own.
    note = f"drift-baseline-{pipeline.vision.classifier.bundle.id}"
    return Statistics(
        config,
        engine=pipeline.rules,
        baseline=relay.note(note),
        keep_baseline=lambda text: relay.write_note(note, text),
        unix=time.time,
        monotonic=time.monotonic,
    )
