"""Figures for Prometheus (https://prometheus.io/docs/practices/naming/), scraped from this computer only by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, start_http_server

from edge_agent import config
from edge_agent.alerting.alert import Alert
from edge_agent.camera.frames import Frame
from edge_agent.errors import ConfigError
from edge_agent.observer import Observer
from edge_agent.pipeline import Decision

_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_STATES = ("online", "degraded")


class Metrics(Observer):
    """Counts what the agent's loop does, and serves it.

    Args:
        facts: body of the `info` message.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(self, settings: config.Metrics, facts: Mapping[str, str]) -> None:
        registry = CollectorRegistry()
        self._frames = Counter("edge_agent_frames", "Frames processed.", registry=registry)
        self._judged = Counter("edge_agent_faces_judged", "Faces judged.", registry=registry)
        self._stages = Histogram(
            "edge_agent_stage_seconds", "Time a frame took.", ["stage"], buckets=_BUCKETS_S, registry=registry
        )
        self._steps = Counter("edge_agent_alert_steps", "Steps of alerts.", ["rule", "step"], registry=registry)
        self._people = Gauge("edge_agent_people", "People in view.", registry=registry)
        self._abstained = Gauge(
            "edge_agent_faces_abstained", "Faces seen but not judged, since the start.", ["reason"], registry=registry
        )
        self._state = Gauge("edge_agent_state", "1 for the state the agent is in.", ["state"], registry=registry)
        self._camera = Gauge("edge_agent_camera_running", "Whether the camera delivers frames.", registry=registry)
        self._depth = Gauge("edge_agent_outbox_messages", "Messages waiting for the broker.", registry=registry)
        self._oldest = Gauge("edge_agent_outbox_oldest_seconds", "Age of the oldest of them.", registry=registry)
        self._temperature = Gauge("edge_agent_temperature_celsius", "The processor's.", registry=registry)
        self._drift = Gauge(
            "edge_agent_drift", "Population stability index against the baseline.", ["quantity"], registry=registry
        )
        Info("edge_agent", "Versions and hashes.", registry=registry).info(dict(facts))
        try:
            self._server, self._thread = start_http_server(settings.port, settings.host, registry)
        except (OSError, UnicodeError) as error:  # the second for what no name of a computer can be
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"metrics: cannot listen on {settings.host}:{settings.port}: {reason}; is the port taken?"
            ) from None
        self.port = int(self._server.server_port)

    def frame_processed(self, frame: Frame, decision: Decision) -> None:
        """Count a frame."""
        del frame
        self._frames.inc()
        self._judged.inc(len(decision.judged))
        self._people.set(len(decision.tracks))
        for stage, seconds in (
            ("detect", decision.detect_s),
            ("classify", decision.classify_s),
            ("all", decision.total_s),
        ):
            self._stages.labels(stage).observe(seconds)

    def alert_changed(self, alert: Alert) -> None:
        """Count a step."""
        self._steps.labels(alert.rule.name, alert.step).inc()

    def health_reported(self, body: Mapping[str, Any]) -> None:
        """Take over what `health` says."""
        for state in _STATES:
            self._state.labels(state).set(body["state"] == state)
        self._camera.set(body["camera"] == "running")
        self._depth.set(body["outbox_depth"])
        self._oldest.set(body["outbox_oldest_s"])
        if body["temperature_c"] is not None:
            self._temperature.set(body["temperature_c"])
        for reason, count in body["abstained"].items():
            self._abstained.labels(reason).set(count)
        for quantity, index in body["drift"].items():
            if index is not None:
                self._drift.labels(quantity).set(index)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(2)
