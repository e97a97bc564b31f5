"""Data drawn for the purpose, and the commands people use on it: no picture of anybody is needed."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from unittest import mock

import numpy as np

from converter.__main__ import main as converter_main
from edge_agent.vision.runtime import native_messages_hidden
from trainer.__main__ import main as trainer_main
from trainer.labels import VOTE_COLUMNS


def draw(label: int, random: np.random.Generator) -> np.ndarray:
    """A "face" whose label is the place of its bright bar: uint8 (48, 48)."""
    face = random.integers(0, 90, (48, 48))
    face[6 * label : 6 * label + 6] += 150
    return face.astype(np.uint8)


def write_data(folder, rows, votes=None) -> None:
    with (folder / "fer2013.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", "pixels", "Usage"])
        writer.writerows([label, " ".join(map(str, face.ravel())), usage] for label, face, usage in rows)
    if votes is not None:
        with (folder / "fer2013new.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["Usage", "Image name", *VOTE_COLUMNS])
            writer.writerows(
                [row[2], f"fer{n:07d}.png", *cast] for n, (row, cast) in enumerate(zip(rows, votes, strict=True))
            )


def votes_for(label: int) -> list[int]:
    names = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    return [8 if column == names[label] else 1 if column in ("neutral", "unknown") else 0 for column in VOTE_COLUMNS]


def trainer(*arguments) -> subprocess.CompletedProcess[str]:
    """Run `python -m trainer` in this process, where TensorFlow is imported already.

    Nothing is compiled into a graph, which takes longer than these trainings do; what they reach is the same.
    """
    with native_messages_hidden(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf
    tf.config.run_functions_eagerly(True)
    try:
        return _run_here(trainer_main, arguments)
    finally:
        tf.config.run_functions_eagerly(False)


def converter(*arguments) -> subprocess.CompletedProcess[str]:
    """Run `python -m converter` in this process."""
    return _run_here(converter_main, arguments)


def in_a_process(module: str, *arguments) -> subprocess.CompletedProcess[str]:
    """Run `python -m module`, as people do: compiled, and what native code writes is seen as well."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _run_here(main: Callable[[list[str]], int], arguments) -> subprocess.CompletedProcess[str]:
    if keras := sys.modules.get("keras"):
        keras.utils.clear_session()  # layers are numbered from the start, as in a new process
    command, out, err = [*map(str, arguments)], io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # Keras warns about things that are not ours
        try:
            code = main(command)
        except SystemExit as left:  # argparse
            code = left.code
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())
