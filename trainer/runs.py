"""Run folders: the files in one that say how it was trained and what came of it."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.errors import TrainerError
from trainer.recipe import Recipe

HISTORY = "history.csv"


def write_run(out: Path, result: dict[str, Any]) -> None:
    """Write run.json, which marks the run as finished."""
    write_json(out / "run.json", result)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_run(folder: Path) -> dict[str, Any]:
    """Return a finished run's run.json.

    Raises:
        TrainerError: there is none.
    """
    return read_json(folder / "run.json", problem=f"{folder} is not a finished run of `python -m trainer fit`")


def read_json(path: Path, *, problem: str) -> dict[str, Any]:
    """Return the object in a file.

    Raises:
        TrainerError: there is none; its message begins with the problem.
    """
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainerError(f"{problem}: {error}") from None
    return result


def recipe_of(run: Mapping[str, Any]) -> Recipe:
    """Return the recipe that run.json or a bundle's manifest states.

    Raises:
        TrainerError: it states none, or one of another version.
    """
    try:
        stated: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in run["recipe"].items()
        }
        stated.setdefault("split_seed", stated["seed"])  # runs of old drew both from one seed
        return Recipe(**stated)
    except (AttributeError, KeyError, TypeError) as error:
        raise TrainerError(f"the run's recipe cannot be read: {error}") from None


def read_history(out: Path) -> list[dict[str, str]]:
    """Return the rows of history.csv, one an epoch, the last where one was run twice; none if there is no such file."""
    path = out / HISTORY
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list({row["epoch"]: row for row in csv.DictReader(file)}.values())
