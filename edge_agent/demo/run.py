"""The demo: camera or clip → the real agent → an embedded broker → a pager that acknowledges."""

from __future__ import annotations

import dataclasses
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent import config
from edge_agent.agent.build import build_agent
from edge_agent.agent.loop import Agent
from edge_agent.camera import Frame
from edge_agent.camera.opencv import OpenCVCamera
from edge_agent.config import Config
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.demo.broker import EmbeddedBroker
from edge_agent.demo.timeline import Timeline
from edge_agent.pager.client import Pager
from edge_agent.pager.page import Page
from edge_agent.pager.terminal import TerminalPager
from edge_agent.pipeline import Decision

#: How long the pager waits before it acknowledges: long enough for a person to read the page.
AUTO_ACK_S = 1.0
#: How long to wait for outstanding acknowledgements after the clip.
_GRACE_S = 10.0
_LINE_EVERY_S = 1.0
_INDENT = " " * 34 + "pager │ "


@dataclass(slots=True)
class _Result:
    """What reached the pager; a page is an alert's id and the revision with which it rang."""

    raised_clip_s: dict[tuple[str, int], float] = field(default_factory=dict)
    delivered: set[tuple[str, int]] = field(default_factory=set)
    #: Alert id → revision that said who acknowledged it.
    acknowledged: dict[str, int] = field(default_factory=dict)

    def note(self, page: Page) -> None:
        if page.step == "raised":
            self.delivered.add((page.id, page.revision))
        elif page.step == "acked":
            self.acknowledged[page.id] = page.revision

    def answered(self, alert_id: str, revision: int) -> bool:
        return self.acknowledged.get(alert_id, 0) > revision

    def settled(self) -> bool:
        return all(self.answered(*page) for page in list(self.raised_clip_s))


class Demo:
    """One showing.

    Args:
        settings: camera and rules; broker and state folder are replaced by temporary ones.
        port: of the embedded broker, 0 for any free one.
        every_frame: process each frame of the clip instead of playing it at its own speed.
        quiet: print nothing.
    """

    def __init__(self, settings: Config, *, port: int = 0, every_frame: bool = False, quiet: bool = False) -> None:
        self._settings, self._port, self._every_frame, self._quiet = settings, port, every_frame, quiet
        self._result = _Result()
        self._next_line_s = 0.0
        self._start_s: float | None = None
        self.interrupted = False

    def run(self) -> dict[str, Any]:
        """Play to the end, or to Ctrl-C, and return the summary as documented for `--json`.

        Raises:
            AgentError: the camera, a model or the broker cannot be used.
        """
        if self._settings.camera.source == "opencv":
            _try_camera(self._settings.camera)
        with tempfile.TemporaryDirectory(prefix="edge-agent-demo-") as folder, EmbeddedBroker(self._port) as broker:
            settings = dataclasses.replace(
                self._settings,
                mqtt=config.Mqtt(port=broker.port, protocol="3.1.1"),
                outbox=dataclasses.replace(self._settings.outbox, state_dir=Path(folder)),
                privacy=config.Privacy(notice_posted=True),  # whoever runs the demo knows
            )
            agent = build_agent(settings, every_frame=self._every_frame, on_decision=self._watch)
            self._timeline = Timeline(agent.pipeline.emotions)
            self._say(f"camera {settings.camera.device}, broker on 127.0.0.1:{broker.port}, pager 'demo' beside it\n")
            self._show(agent, settings.mqtt)
        return self._summary(agent)

    def _show(self, agent: Agent, mqtt: config.Mqtt) -> None:
        wake = threading.Event()
        bus = MqttBus(
            mqtt,
            client_id="demo-pager",
            password=None,
            subscriptions=[f"{mqtt.topic_root}/+/+/alert/+"],
            wake=wake.set,
            keep_session=False,
        )
        pager = TerminalPager(
            Pager(bus, name="demo"),
            wake,
            out=sys.stdout,
            prefix=_INDENT,
            quiet=self._quiet,
            # A clip that runs faster than people read may be over its anger within a second.
            auto_ack_s=0.0 if self._every_frame else AUTO_ACK_S,
        )
        with ThreadPoolExecutor(1, thread_name_prefix="agent") as executor:
            self._serve(agent, executor.submit(agent.run), bus, pager, wake)

    def _serve(
        self, agent: Agent, running: Future[None], bus: MqttBus, pager: TerminalPager, wake: threading.Event
    ) -> None:
        """Let the pager do its work until the agent has shown everything."""
        before = signal.signal(signal.SIGINT, lambda *_: self._interrupt(agent))
        bus.start()
        give_up_s = float("inf")
        try:
            while not running.done() and time.monotonic() < give_up_s:
                wake.wait(0.1)
                wake.clear()
                for page in pager.turn():
                    self._result.note(page)
                if agent.ended.is_set():
                    give_up_s = min(give_up_s, time.monotonic() + _GRACE_S)
                    if self._result.settled():
                        break
        finally:
            agent.stop()
            running.result()
            bus.stop()
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, agent: Agent) -> None:
        self.interrupted = True
        agent.stop()

    def _watch(self, frame: Frame, decision: Decision) -> None:
        """Note one frame; the agent calls this in its thread."""
        if self._start_s is None:
            self._start_s = frame.time_s
        clip_s = frame.clip_s if frame.clip_s is not None else frame.time_s - self._start_s
        self._timeline.add(clip_s, [track.scores for track in decision.tracks])
        for alert in decision.alerts:
            if alert.step == "raised":
                self._result.raised_clip_s[alert.id, alert.revision] = clip_s
                self._timeline.marks.append(clip_s)
        if clip_s >= self._next_line_s:
            self._next_line_s = clip_s - clip_s % _LINE_EVERY_S + _LINE_EVERY_S
            self._say(_line(clip_s, decision, self._timeline.emotions))

    def _summary(self, agent: Agent) -> dict[str, Any]:
        result = self._result
        return {
            "frames": agent.health.frames,
            "faces": agent.health.faces,
            "alerts": [
                {
                    "id": alert_id,
                    "status": "raised",
                    "clip_s": round(clip_s, 2),
                    "delivered": (alert_id, revision) in result.delivered,
                    "acknowledged": result.answered(alert_id, revision),
                }
                for (alert_id, revision), clip_s in result.raised_clip_s.items()
            ],
            "latency_ms": {"p50": agent.health.latency_ms(50), "p95": agent.health.latency_ms(95)},
        }

    def chart(self) -> str:
        """Return the expressions over time."""
        return str(self._timeline)

    def _say(self, text: str) -> None:
        if not self._quiet:
            print(text, flush=True)


def succeeded(summary: dict[str, Any]) -> bool:
    """Tell whether at least one page arrived, and none was lost or left unanswered."""
    alerts = summary["alerts"]
    return bool(alerts) and all(alert["delivered"] and alert["acknowledged"] for alert in alerts)


def as_text(summary: dict[str, Any], chart: str) -> str:
    """Return the summary for a terminal."""
    alerts = summary["alerts"]
    delivered = sum(alert["delivered"] for alert in alerts)
    acknowledged = sum(alert["acknowledged"] for alert in alerts)
    p50, p95 = summary["latency_ms"]["p50"], summary["latency_ms"]["p95"]
    latency = "-" if p50 is None else f"p50 {p50:.1f} ms, p95 {p95:.1f} ms from frame to decision"
    when = ", ".join(f"{alert['clip_s']:.1f} s" for alert in alerts)
    return "\n".join(
        [
            "",
            "How likely each expression was, the highest of the people in view:",
            "",
            chart,
            "",
            f"  frames   {summary['frames']}, faces {summary['faces']}",
            f"  alerts   {len(alerts)} raised{f' at {when}' if alerts else ''}, {delivered} delivered, "
            f"{acknowledged} acknowledged",
            f"  latency  {latency}",
        ]
    )


def _line(clip_s: float, decision: Decision, emotions: Any) -> str:
    people = []
    for track in decision.tracks:
        best = int(track.scores.argmax())
        people.append(f"{emotions[best]:8}{'█' * round(float(track.scores[best]) * 10):10}")
    return f"{clip_s:6.1f} s  " + ("   ".join(people) or "nobody in view")


def _try_camera(settings: config.Camera) -> None:
    """Fail now, with one line, instead of retrying for ever what was mistyped."""
    camera = OpenCVCamera(settings, realtime=False)
    try:
        camera.open()
        camera.read()
    finally:
        camera.close()
