"""What happens between two epochs, or batches: an interrupted training loses one epoch at most, and no file is torn."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras


class StopAfterBatch(keras.callbacks.Callback):
    """Turns Ctrl-C into KeyboardInterrupt between two batches, never inside the backend's native code."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Take over SIGINT."""
        del logs
        self._before = signal.signal(signal.SIGINT, self._note)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stop here if asked to."""
        del batch, logs
        if self._asked:
            raise KeyboardInterrupt

    def on_train_end(self, logs: Any = None) -> None:
        """Give SIGINT back; stop here if asked to after the last batch."""
        del logs
        signal.signal(signal.SIGINT, self._before)
        if self._asked:
            raise KeyboardInterrupt

    def _note(self, *_: object) -> None:
        self._asked = True


class StopEarly(keras.callbacks.EarlyStopping):
    """Stops after `patience` epochs without a better validation accuracy, also where it was interrupted between them.

    Args:
        earlier: validation accuracies, 0..1, of the epochs before the interruption.
    """

    def __init__(self, *, patience: int, earlier: Sequence[float]) -> None:
        super().__init__(monitor="val_accuracy", mode="max", patience=patience)
        self._earlier = earlier

    def on_train_begin(self, logs: Any = None) -> None:
        """Live through the earlier epochs once more."""
        super().on_train_begin(logs)
        for epoch, accuracy in enumerate(self._earlier):
            self.on_epoch_end(epoch, {"val_accuracy": accuracy})


class KeepBest(keras.callbacks.Callback):
    """Writes the weights of the epoch with the best validation accuracy."""

    def __init__(self, path: Path, *, at_least: float) -> None:
        super().__init__()
        self._path, self._best = path, at_least

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write them if there were no better ones."""
        del epoch
        if logs["val_accuracy"] > self._best or not self._path.exists():
            self._best = logs["val_accuracy"]
            save_weights(self.model, self._path)


class KeepLast(keras.callbacks.Callback):
    """Keeps weights and optimizer of the last whole epoch, for an interrupted training to go on from."""

    def __init__(self, checkpoints: Path, *, first: int) -> None:
        super().__init__()
        self._checkpoints, self._first = checkpoints, first

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write them, then forget those of the epoch before; what an earlier phase came to stays."""
        del logs
        save_weights(self.model, weights_after(self._checkpoints, epoch + 1))
        if epoch > self._first:
            weights_after(self._checkpoints, epoch).unlink(missing_ok=True)


class Stopwatch(keras.callbacks.Callback):
    """Adds `seconds` to what is logged of an epoch, so that a resumed run knows how long it took in all."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start."""
        del epoch, logs
        self._began_s = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop."""
        del epoch
        if logs is not None:
            logs["seconds"] = round(time.monotonic() - self._began_s, 1)


def weights_after(checkpoints: Path, epoch: int) -> Path:
    """Return where weights and optimizer are kept as they are after so many epochs."""
    return checkpoints / f"epoch-{epoch}.weights.h5"


def save_weights(model: keras.Model, path: Path) -> None:
    """Write them whole or not at all, whenever the power fails."""
    temporary = path.with_name(f"new-{path.name}")
    model.save_weights(temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
