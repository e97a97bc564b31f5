"""Model bundles: a folder with `model.tflite` and `manifest.json`, refused unless everything holds."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, overload

import numpy as np
import numpy.typing as npt

from edge_agent.errors import BundleError
from edge_agent.vision.manifest import (
    FILE,
    KINDS,
    MAX_MANIFEST_BYTES,
    ClassifierManifest,
    DetectorManifest,
    Manifest,
    Tensor,
    read_limited,
)

MODELS_DIR = Path(__file__).resolve().parent.parent / "models"
MAX_MODEL_BYTES = 32 * 1024 * 1024
#: Of the file with the golden vectors, and of each array in it when unpacked.
MAX_GOLDEN_BYTES, _MAX_UNPACKED_BYTES = 1024 * 1024, 8 * 1024 * 1024
Accept = Callable[[bytes], None]
M_co = TypeVar("M_co", bound=Manifest, covariant=True)


@dataclass(frozen=True, slots=True)
class Bundle(Generic[M_co]):
    """A bundle whose files have the sizes and hashes its manifest states.

    Attributes:
        model: content of model.tflite.
    """

    folder: Path
    model: bytes
    manifest: M_co

    @property
    def id(self) -> str:
        """What the bundle is called."""
        return self.manifest.id

    @property
    def sha256(self) -> str:
        """Hash of the model."""
        return self.manifest.sha256


def find_bundle(name: str) -> Path:
    """Return the folder of a bundle given by path, or by id among those that ship, which go first."""
    path, shipped = Path(name), MODELS_DIR / name
    if "/" in name:
        return path
    if not shipped.is_dir():
        with suppress(PermissionError):  # of a working folder that is somebody else's
            if path.is_dir():
                return path
    return shipped


@overload
def load_bundle(
    folder: Path, *, kind: Literal["emotion-classifier"], accept: Accept | None = None
) -> Bundle[ClassifierManifest]: ...
@overload
def load_bundle(
    folder: Path, *, kind: Literal["face-detector"], accept: Accept | None = None
) -> Bundle[DetectorManifest]: ...
def load_bundle(folder: Path, *, kind: str, accept: Accept | None = None) -> Bundle[Any]:
    """Read a bundle and check its hash.

    Args:
        accept: raises BundleError unless this content of manifest.json may be trusted.

    Raises:
        BundleError: a file is missing, too large, malformed, altered, or the bundle is of another kind.
    """
    stated = read_limited(folder / FILE, MAX_MANIFEST_BYTES)
    if accept is not None:
        accept(stated)
    manifest = KINDS[kind].decode(stated, place=str(folder / FILE))
    path = folder / "model.tflite"
    model = read_limited(path, MAX_MODEL_BYTES)
    if hashlib.sha256(model).hexdigest() != manifest.sha256:
        raise BundleError(f"{path} is not the file its manifest describes (sha256 differs); install it again")
    return Bundle(folder, model, manifest)


def check_tensor(bundle: Bundle[Manifest], details: dict[str, Any], stated: Tensor, name: str) -> None:
    """Compare an interpreter's tensor with the shape and dtype the manifest states.

    Args:
        name: of the tensor in the manifest.

    Raises:
        BundleError: they differ.
    """
    shape = [int(n) for n in details["shape"]]
    dtype = np.dtype(details["dtype"]).name
    if list(stated.shape) != shape or stated.dtype != dtype:
        raise BundleError(
            f"{bundle.folder}: {name} is {dtype} {shape} in the model but "
            f"{stated.dtype} {list(stated.shape)} in the manifest"
        )


def load_golden(bundle: Bundle[ClassifierManifest]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8], int]:
    """Return the bundle's golden vectors: inputs, expected outputs, tolerance in quantization steps.

    Raises:
        BundleError: the file is missing, altered or malformed.
    """
    path = bundle.folder / "golden.npz"
    stated = bundle.manifest.golden
    raw = read_limited(path, MAX_GOLDEN_BYTES)
    if hashlib.sha256(raw).hexdigest() != stated.sha256:
        raise BundleError(f"{path} is not the file the manifest describes (sha256 differs)")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            inputs = _vectors(archive, "inputs", bundle.manifest.input.shape[1:])
            outputs = _vectors(archive, "outputs", bundle.manifest.output.shape[1:])
        if len(inputs) != len(outputs):
            raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs")
    except Exception as error:  # of a crafted file, zipfile, zlib and numpy's parser of headers raise all sorts
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BundleError(f"{path} does not hold golden vectors of the model: {reason}") from None
    return inputs, outputs, stated.tolerance_steps


def _vectors(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.int8]:
    """Return an array of an .npz file, int8 (n, *shape); nothing is unpacked that is not what is expected.

    Raises:
        ValueError: it is of another form, or too large.
        KeyError: there is none.
    """
    info = archive.getinfo(f"{name}.npy")
    # Others' decompressors may take gigabytes for their dictionary alone.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed by another method than deflate")
    if info.file_size > _MAX_UNPACKED_BYTES:
        raise ValueError(f"{name} unpacks to more than {_MAX_UNPACKED_BYTES} bytes")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{name} is in version {version} of numpy's format")
        stated, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype != np.int8 or fortran or not stated or stated != (max(stated[0], 1), *shape):
            raise ValueError(f"{name} is {dtype} {stated}, expected int8 (n, {', '.join(map(str, shape))})")
        size = math.prod(stated)
        # What the file states is bounded by what the archive states, and that by what is read.
        content = file.read(size + 1) if size <= info.file_size else b""
    if len(content) != size:
        raise ValueError(f"{name} has not the size it states")
    return np.frombuffer(content, dtype=np.int8).reshape(stated)
