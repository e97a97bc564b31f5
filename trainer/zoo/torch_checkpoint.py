"""Reads the tensors of an old PyTorch checkpoint without PyTorch, and runs no code that such a file may hold.

The form is that of `torch.save` before version 1.6 (torch/serialization.py, `_legacy_save`): five pickles one after
another (magic number, version, system, the object, the names of its storages), then each storage's length and numbers.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from trainer.errors import ModelError
from trainer.zoo.pretrained import Tensors

_MAGIC = 0x1950A86A20F9469CFC6C
_KINDS = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in which storage a tensor's numbers are; strides count numbers, not bytes."""

    storage: str
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Reader(pickle.Unpickler):
    """Knows what a dictionary of tensors is made of; whatever else a file asks for is refused."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.kinds: dict[str, np.dtype[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """See pickle.Unpickler."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, first, shape, strides, *_: _Place(storage, first, shape, strides)
        if module == "torch" and name in _KINDS:
            return _KINDS[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a tensor")

    def persistent_load(self, pid: Any) -> str:
        """Return the name of a storage; its numbers come later in the file."""
        _, kind, key, *_ = pid
        self.kinds[key] = kind
        return str(key)


def read_checkpoint(path: Path) -> Tensors:
    """Return a checkpoint's tensors by name, as float32.

    Raises:
        ModelError: it cannot be read, or is of another form.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except OSError as error:
        raise ModelError(f"no weights at {path}: {error.strerror}; --weights takes random or a .pth file") from None
    except Exception:  # a pickle that is cut short or spoilt raises anything
        raise ModelError(f"{path} is not a PyTorch checkpoint of before version 1.6") from None


def _read(file: BinaryIO) -> Tensors:
    if _Reader(file).load() != _MAGIC:
        raise ValueError("another magic number")
    for _header in ("version", "system"):
        _Reader(file).load()
    reader = _Reader(file)
    places: dict[str, _Place] = reader.load()
    storages = {}
    for key in _Reader(file).load():
        length = int.from_bytes(file.read(8), "little")
        kind = reader.kinds[key]
        storages[key] = np.frombuffer(file.read(length * kind.itemsize), kind, length)
    return {name: _tensor(storages[place.storage], place) for name, place in places.items()}


def _tensor(numbers: npt.NDArray[Any], place: _Place) -> npt.NDArray[np.float32]:
    end = place.first + 1 + sum((size - 1) * step for size, step in zip(place.shape, place.strides, strict=True))
    if min((place.first, *place.shape, *place.strides)) < 0 or end > len(numbers):
        raise ValueError("a tensor reaches beyond its storage")
    steps = [step * numbers.itemsize for step in place.strides]
    return np.lib.stride_tricks.as_strided(numbers[place.first :], place.shape, steps).astype(np.float32)
