"""What the devices of one process share: models, the word to the service manager, how the last run ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from weakref import WeakSet

from edge_agent.agent.last_end import bad_end, take_over
from edge_agent.agent.trial import Trial
from edge_agent.agent.upkeep import Upkeep
from edge_agent.agent.watchdog import SharedWatchdog, Watchdog, WatchdogLine
from edge_agent.config import Config
from edge_agent.delivery.messages import new_ulid
from edge_agent.errors import BundleError
from edge_agent.pipeline import Pipeline
from edge_agent.vision.loading import Loader
from edge_agent.vision.models import Choice, ModelStore
from edge_agent.vision.zones import IgnoredZones


class Shared:
    """Of one process; its models are chosen once, and loaded once for all devices that want the same.

    Args:
        config: of the whole process.
    """

    def __init__(self, config: Config) -> None:
        self._models = ModelStore.of(config)
        self._loader = Loader()
        self._choices: dict[str, Choice] = {}
        self._lock = threading.Lock()
        self._upkeeps: WeakSet[Upkeep] = WeakSet()
        self._watchdog = SharedWatchdog(monotonic=time.monotonic) if config.cameras else None
        #: Confirms the model that is on trial.
        self.trial = Trial(self._models, monotonic=time.monotonic)
        take_over(config.outbox.state_dir)
        #: How the last run ended, where nobody asked for it.
        self.ended_by = bad_end(config.outbox.state_dir)

    def keeps_up(self, upkeep: Upkeep, *, since: Trial) -> None:
        """Let a device begin anew when the model changes, as long as it runs.

        Args:
            since: the trial of when the device was begun; where that is over, the model has changed in the meantime.
        """
        with self._lock:
            self._upkeeps.add(upkeep)
            changed = self.trial is not since
        if changed:
            upkeep.reload()

    def change_model(self, change: Callable[[ModelStore], object]) -> None:
        """Change which model is active, and let every device begin anew with it.

        Raises:
            AgentError: that of `change`; nothing has changed then.
        """
        with self._lock:
            change(self._models)
            self.trial.give_up()  # what was tried so far is no longer what would be confirmed
            self.trial = Trial(self._models, monotonic=time.monotonic)
            self._choices.clear()
            upkeeps = list(self._upkeeps)
        for upkeep in upkeeps:
            upkeep.reload()

    def watchdog(self, device: str) -> WatchdogLine:
        """Return what the loop of a device reports to."""
        return Watchdog(monotonic=time.monotonic) if self._watchdog is None else self._watchdog.member(device)

    def pipeline(self, config: Config) -> tuple[Pipeline, Choice]:
        """Return a device's pipeline with the active model, or with the configured one where that cannot be used.

        Raises:
            AgentError: that of the configured model, where neither can be used.
        """
        configured = config.emotion.model
        with self._lock:
            choice = self._choices.get(configured) or self._models.choose(configured)
            try:
                pipeline = self._load(config, choice)
            except BundleError as error:
                if choice.bundle is None:
                    raise
                # Given up only where it is the model's fault: without a runtime, or a detector, this one fails as well.
                pipeline = self._load(config, Choice(configured))
                choice = self._models.give_up(choice.bundle.id, error, configured)
            self._choices[configured] = choice
            return pipeline, choice

    def _load(self, config: Config, choice: Choice) -> Pipeline:
        zones = IgnoredZones.of(config)
        return Pipeline(config, new_id=new_ulid, zones=zones, bundle=choice.bundle, loader=self._loader)
