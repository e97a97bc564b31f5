"""Model bundles: a folder with `model.tflite` and `manifest.json`, refused unless everything holds."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, overload

import numpy as np
import numpy.typing as npt

from edge_agent.errors import BundleError
from edge_agent.vision.manifest import KINDS, ClassifierManifest, DetectorManifest, Manifest, Tensor, read_limited

MODELS_DIR = Path(__file__).resolve().parent.parent / "models"
MAX_MODEL_BYTES = 32 * 1024 * 1024
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
    """Return the folder of a bundle given by path, or by id among those that ship."""
    path = Path(name)
    return path if "/" in name or path.is_dir() else MODELS_DIR / name


@overload
def load_bundle(folder: Path, *, kind: Literal["emotion-classifier"]) -> Bundle[ClassifierManifest]: ...
@overload
def load_bundle(folder: Path, *, kind: Literal["face-detector"]) -> Bundle[DetectorManifest]: ...
def load_bundle(folder: Path, *, kind: str) -> Bundle[Any]:
    """Read a bundle and check its hash.

    Raises:
        BundleError: a file is missing, too large, malformed, altered, or the bundle is of another kind.
    """
    manifest = KINDS[kind].read(folder)
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
    raw = read_limited(path, MAX_MODEL_BYTES)
    if hashlib.sha256(raw).hexdigest() != stated.sha256:
        raise BundleError(f"{path} is not the file the manifest describes (sha256 differs)")
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
            inputs, outputs = np.asarray(archive["inputs"]), np.asarray(archive["outputs"])
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"{path} does not hold golden vectors: {error}") from None
    forms = ((inputs, bundle.manifest.input.shape), (outputs, bundle.manifest.output.shape))
    if not inputs.size or any(
        array.dtype != np.int8 or array.shape != (*inputs.shape[:1], *shape[1:]) for array, shape in forms
    ):
        raise BundleError(f"{path} does not hold golden vectors of the model's inputs and outputs")
    return inputs, outputs, stated.tolerance_steps
