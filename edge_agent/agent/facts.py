"""What a device says about itself once: versions and hashes, no secrets."""

from __future__ import annotations

import platform
from importlib import metadata

import edge_agent
from edge_agent.config import Config
from edge_agent.vision.bundle import Bundle
from edge_agent.vision.manifest import Manifest
from edge_agent.vision.runtime import RUNTIMES, Choice


def facts(config: Config, bundle: Bundle[Manifest]) -> dict[str, str]:
    """Return the body of the `info` message.

    Args:
        bundle: the emotion classifier in use.
    """
    return {
        "agent_version": edge_agent.__version__,
        "model": bundle.id,
        "model_sha256": bundle.sha256,
        "detector": config.faces.detector,
        "config": config.fingerprint(),
        "python": platform.python_version(),
        "runtime": _runtime_version(config.performance.runtime),
    }


def _runtime_version(choice: Choice) -> str:
    for name in RUNTIMES if choice == "auto" else (choice,):
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return "unknown"
