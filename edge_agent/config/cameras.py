"""Several cameras of one process: each is a device of its own, and says what differs from the rest of the file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from edge_agent.config.paging import Rule
from edge_agent.config.service import Metrics, Web
from edge_agent.config.watching import Camera, Faces, Zone
from edge_agent.yaml_loader import InvalidValueError, option


@dataclass(frozen=True, slots=True)
class CameraDevice:
    """One of several cameras, and the device it is; what is null is as in the rest of the file."""

    #: Also the name of a folder, beside that of the models.
    device: str = option(pattern=r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")
    place: str | None = option(None, pattern=r".{1,120}")
    camera: Camera | None = option(None)
    faces: Faces | None = option(None)
    zones: tuple[Zone, ...] | None = option(None)
    rules: tuple[Rule, ...] | None = option(None)
    web: Web | None = option(None)
    metrics: Metrics | None = option(None)

    def __post_init__(self) -> None:
        if self.device == "models":
            raise InvalidValueError("'models' is taken: state_dir keeps staged models under it", "device")

    def sections(self) -> dict[str, Any]:
        """Return the sections it has of its own."""
        named = (one.name for one in fields(self) if one.name not in ("device", "place"))
        return {name: value for name in named if (value := getattr(self, name)) is not None}
