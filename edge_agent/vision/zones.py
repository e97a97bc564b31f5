"""Zones to ignore that somebody drew in the live view, kept beside the outbox; the configured ones always hold as well.

The service cannot write its own configuration, and should not be able to.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from edge_agent.config import Polygon

FILE_NAME = "ignore_zones.json"
MAX_ZONES = 32
MAX_CORNERS = 32

log = logging.getLogger("edge_agent")


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
    """Replace the drawn zones in one step; a disk that fails is reported."""
    path = state_dir / FILE_NAME
    try:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(zones), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        log.error(f"the zones hold until the next start only, {path} cannot be written: {error.strerror}")


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
