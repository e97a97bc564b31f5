"""What the agent does for itself when a command asks for it: a self-test, and to begin anew with what the file says
now, or with another model.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from edge_agent.config import Config
from edge_agent.errors import AgentError
from edge_agent.vision.emotion import EmotionClassifier
from edge_agent.vision.models import ModelStore


class Upkeep:
    """Each method returns what is in the way, or nothing when all is well.

    Args:
        problem: says what is wrong with camera or disk.
        stop: lets the agent's `run` return.
        read_config: reads the configuration anew; None where there is no file.
        change_model: changes which model is active, and has all devices of this process `reload`.
    """

    def __init__(
        self,
        classifier: EmotionClassifier,
        *,
        problem: Callable[[], str],
        stop: Callable[[], None],
        read_config: Callable[[], Config] | None,
        change_model: Callable[[Callable[[ModelStore], object]], None],
    ) -> None:
        self._classifier, self._problem = classifier, problem
        self._stop, self._read_config, self._change_model = stop, read_config, change_model
        #: What to begin anew with after `run` has returned, if a command asked for it.
        self.successor: Config | None = None

    def self_test(self) -> str:
        """Replay the model's golden vectors and look at camera and disk."""
        try:
            self._classifier.verify()
        except AgentError as error:
            return str(error)
        return self._problem()

    def reload(self) -> str:
        """Let the agent end, so that its caller begins anew with `successor`."""
        try:
            self.successor = self._configuration()
        except AgentError as error:
            return str(error)
        self._stop()
        return ""

    def activate(self, model: str) -> str:
        """Begin anew with a staged model, which is tried then; one that fails is taken back."""
        # Two models in memory, this one's and that of a trial, are too much for a small board.
        return self._begin_anew(lambda models: models.activate(model, try_now=False))

    def rollback(self, model: str) -> str:
        """Begin anew with the model before, where this one is in use."""

        def change(models: ModelStore) -> None:
            active = model
            with suppress(AgentError):  # whatever is active cannot be read: going back mends it
                active = models.active
            if active != model:
                raise AgentError(f"{model!r} is not in use")
            models.rollback()

        return self._begin_anew(change)

    def _begin_anew(self, change: Callable[[ModelStore], object]) -> str:
        try:
            self._configuration()
            self._change_model(change)
        except AgentError as error:
            return str(error)
        return ""

    def _configuration(self) -> Config:
        if self._read_config is None:
            raise AgentError("this agent was not started from a configuration file")
        return self._read_config()
