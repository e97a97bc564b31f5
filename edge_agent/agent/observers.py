"""The observers of an agent that are opened where the configuration asks for them: the live view and Prometheus.

Their packages are imported here, not before: most devices do without.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent import web
from edge_agent.agent.facts import facts
from edge_agent.config import Config
from edge_agent.errors import ConfigError
from edge_agent.observer import Observer
from edge_agent.pipeline import Pipeline


def configured_observers(config: Config, pipeline: Pipeline) -> Iterator[Observer]:
    """Yield each as soon as it listens, so that whoever asks can close it should the next one fail.

    Raises:
        ConfigError: a package is missing, or an address cannot be listened on.
    """
    if config.web.enabled:
        try:
            from edge_agent.web.live import LiveView
            from edge_agent.web.live_server import LiveServer
        except ImportError:
            raise ConfigError(f"web.enabled {web.NEEDS}") from None

        yield LiveServer(config, LiveView(config, pipeline))
    if config.metrics.enabled:
        try:
            from edge_agent.agent.metrics import Metrics
        except ImportError:
            raise ConfigError(
                "metrics.enabled needs prometheus_client; run in the clone: pip install '.[metrics]'"
            ) from None

        yield Metrics(config.metrics, facts(config, pipeline.vision.classifier.bundle))
