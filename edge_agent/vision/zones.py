"""Zones to ignore: those of the configuration, and those drawn in the live view, which are kept beside the outbox.

The service cannot write its own configuration, and should not be able to.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.camera.frames import Image
from edge_agent.config import Config, Polygon

FILE_NAME = "ignore_zones.json"
MAX_ZONES = 32
MAX_CORNERS = 32

log = logging.getLogger("edge_agent")


class IgnoredZones:
    """Where nothing is ever looked at.

    Each frame is masked once, before anything looks at it: what moves in there is no reason to wake up either.

    Args:
        configured: polygons, corners as shares of width and height, 0..1.
        drawn: those that somebody drew.
        state_dir: where drawn zones are kept; None to keep them nowhere.
    """

    def __init__(
        self, configured: tuple[Polygon, ...], drawn: tuple[Polygon, ...] = (), *, state_dir: Path | None = None
    ) -> None:
        self.configured, self.drawn, self._state_dir = configured, drawn, state_dir

    @classmethod
    def of(cls, config: Config) -> IgnoredZones:
        """Return a device's zones: its configuration's, and what was drawn in an earlier run."""
        state_dir = config.outbox.state_dir
        return cls(config.faces.ignore_zones, load_zones(state_dir), state_dir=state_dir)

    def draw(self, zones: tuple[Polygon, ...]) -> None:
        """Replace the drawn zones, from the next frame on and for later runs; one thread, any, may do so.

        Raises:
            OSError: they cannot be kept, and hold until the next start only; it is logged too.
        """
        self.drawn = zones
        if self._state_dir is not None:
            save_zones(self._state_dir, zones)

    def mask(self, image: Image) -> None:
        """Black out all zones, in place.

        Args:
            image: uint8 (height, width, 3).
        """
        height, width = image.shape[:2]
        for polygon in self._polygons():
            cv2.fillPoly(image, [np.round(polygon * (width, height)).astype(np.int32)], (0, 0, 0))

    def contain(self, x: float, y: float) -> bool:
        """Tell whether a point, as shares of width and height, lies in a zone or on its edge."""
        return any(cv2.pointPolygonTest(polygon, (x, y), measureDist=False) >= 0 for polygon in self._polygons())

    def _polygons(self) -> list[npt.NDArray[np.float32]]:
        return [np.array(zone, dtype=np.float32) for zone in (*self.configured, *self.drawn)]


def load_zones(state_dir: Path) -> tuple[Polygon, ...]:
    """Return the drawn zones; none where there is no such file. One that cannot be read is reported."""
    path = state_dir / FILE_NAME
    try:
        return parse_zones(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        log.error(f"the zones drawn in the live view are lost, {path} cannot be read: {error}")
        return ()


def save_zones(state_dir: Path, zones: tuple[Polygon, ...]) -> None:
    """Replace the drawn zones in one step.

    Raises:
        OSError: the disk fails; it is logged too.
    """
    path = state_dir / FILE_NAME
    try:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(zones), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        log.error(f"the zones hold until the next start only, {path} cannot be written: {error.strerror}")
        raise


def parse_zones(body: Any) -> tuple[Polygon, ...]:
    """Read a list of polygons, each a list of [x, y] from 0 to 1.

    Raises:
        ValueError: it is not one, or larger than anybody draws.
    """
    if not isinstance(body, list) or len(body) > MAX_ZONES:
        raise ValueError(f"expected a list of at most {MAX_ZONES}")
    zones: list[Polygon] = []
    for polygon in body:
        if not isinstance(polygon, list) or not 3 <= len(polygon) <= MAX_CORNERS:
            raise ValueError(f"a polygon has 3 to {MAX_CORNERS} corners")
        zones.append(tuple(_corner(corner) for corner in polygon))
    return tuple(zones)


def _corner(body: Any) -> tuple[float, float]:
    if isinstance(body, list) and len(body) == 2:
        x, y = body
        if all(isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= 1 for v in (x, y)):
            return float(x), float(y)
    raise ValueError("a corner is [x, y], each from 0 to 1")
