"""Every error a user can meet, and the exit code each one ends a command with.

AgentError (Exception)                         1
├── ConfigError (also ValueError)              2   the configuration or a command-line value is wrong
├── BundleError (also ValueError)              3   a model is missing, altered, or not what the agent needs
├── CameraError (also OSError)                 4   a camera, clip or image cannot be read
├── BrokerError (also ConnectionError)         5   the MQTT broker cannot be reached or refuses
└── StateError (also OSError)                  6   the state folder cannot be written

Messages are one line and say what to do next. Exit code 1 also stands for "ran, but did not achieve what
was asked" (a demo without an alert), 130 for Ctrl-C.
"""

from __future__ import annotations

#: Exit code of a command that Ctrl-C ended.
INTERRUPTED = 130


class AgentError(Exception):
    """Base of all errors that are shown as one line instead of a traceback."""

    exit_code = 1


class ConfigError(AgentError, ValueError):
    """The configuration file or a command-line value is wrong."""

    exit_code = 2


class BundleError(AgentError, ValueError):
    """A model bundle is missing, altered, or not what the agent needs."""

    exit_code = 3


class CameraError(AgentError, OSError):
    """A camera, clip or image cannot be read."""

    exit_code = 4


class BrokerError(AgentError, ConnectionError):
    """The MQTT broker cannot be reached or refuses the connection."""

    exit_code = 5


class StateError(AgentError, OSError):
    """The state folder cannot be written."""

    exit_code = 6
