"""What the agent does for itself when a command asks for it: a self-test, and to begin anew with what the file says."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.config import Config
from edge_agent.errors import AgentError
from edge_agent.vision.emotion import EmotionClassifier


class Upkeep:
    """Each method returns what is in the way, or nothing when all is well.

    Args:
        problem: says what is wrong with camera or disk.
        stop: lets the agent's `run` return.
        read_config: reads the configuration anew; None where there is no file.
    """

    def __init__(
        self,
        classifier: EmotionClassifier,
        *,
        problem: Callable[[], str],
        stop: Callable[[], None],
        read_config: Callable[[], Config] | None,
    ) -> None:
        self._classifier, self._problem = classifier, problem
        self._stop, self._read_config = stop, read_config
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
        if self._read_config is None:
            return "this agent was not started from a configuration file"
        try:
            self.successor = self._read_config()
        except AgentError as error:
            return str(error)
        self._stop()
        return ""
