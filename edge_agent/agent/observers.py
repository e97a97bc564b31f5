"""Who is shown what the agent's loop does: the live view and Prometheus, each where the configuration asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from edge_agent import web
from edge_agent.agent.facts import facts
from edge_agent.alerting.rules import Alert
from edge_agent.camera import Frame
from edge_agent.config import Config, Polygon
from edge_agent.errors import ConfigError
from edge_agent.pipeline import Decision, Pipeline


class Onlooker(Protocol):
    """Is told in the loop's thread."""

    def look(self, frame: Frame, decision: Decision) -> None:
        """See a processed frame; it must not be kept."""

    def note_alert(self, alert: Alert) -> None:
        """See a step of an alert, in shadow mode too."""

    def note_health(self, body: Mapping[str, Any]) -> None:
        """See how the device is."""

    def close(self) -> None:
        """End with the agent."""


def open_onlookers(config: Config, pipeline: Pipeline, *, drawn_zones: tuple[Polygon, ...]) -> Iterator[Onlooker]:
    """Yield each as soon as it listens, so that whoever asks can close it should the next one fail.

    Their packages are imported here, not before: most devices do without.

    Args:
        drawn_zones: zones to ignore that were drawn in the live view.

    Raises:
        ConfigError: a package is missing, or an address cannot be listened on.
    """
    if config.web.enabled:
        try:
            from edge_agent.web.live import LiveView
            from edge_agent.web.live_server import LiveServer
        except ImportError:
            raise ConfigError(f"web.enabled {web.NEEDS}") from None

        yield LiveServer(config, LiveView(config, pipeline, drawn_zones=drawn_zones))
    if config.metrics.enabled:
        try:
            from edge_agent.agent.metrics import Metrics
        except ImportError:
            raise ConfigError(
                "metrics.enabled needs prometheus_client; run in the clone: pip install '.[metrics]'"
            ) from None

        yield Metrics(config.metrics, facts(config, pipeline.vision.classifier.bundle))
