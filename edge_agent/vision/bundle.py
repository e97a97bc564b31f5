"""Model bundles: a folder with `model.tflite` and `manifest.json`, refused unless everything holds.

The manifest is the only thing the agent and the training tools share. It says what goes in, what comes
out, in which order the labels are, and how a face is cropped, so that none of this lives in code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.errors import BundleError

SCHEMA = "edge-agent/bundle/1"
MODELS_DIR = Path(__file__).resolve().parent.parent / "models"
MAX_MODEL_BYTES = 32 * 1024 * 1024
MAX_MANIFEST_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files have the sizes and hashes its manifest states.

    Attributes:
        kind: `emotion-classifier` or `face-detector`.
        model: content of model.tflite.
        manifest: parsed manifest.json.
    """

    id: str
    kind: str
    folder: Path
    model: bytes
    sha256: str
    manifest: dict[str, Any]

    def get(self, *keys: str) -> Any:
        """Return a nested manifest value.

        Raises:
            BundleError: the manifest does not have it.
        """
        value: Any = self.manifest
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                raise BundleError(f"{self.folder / 'manifest.json'} does not state {'.'.join(keys)!r}")
            value = value[key]
        return value


def find_bundle(name: str) -> Path:
    """Return the folder of a bundle given by path, or by id among those that ship."""
    path = Path(name)
    return path if "/" in name or path.is_dir() else MODELS_DIR / name


def load_bundle(folder: Path, *, kind: str) -> Bundle:
    """Read a bundle and check its hash.

    Raises:
        BundleError: a file is missing, too large, malformed, altered, or the bundle is of another kind.
    """
    manifest_path, model_path = folder / "manifest.json", folder / "model.tflite"
    raw = _read(manifest_path, MAX_MANIFEST_BYTES)
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{manifest_path} is not JSON: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise BundleError(f"{manifest_path} is not a manifest of schema {SCHEMA!r}")
    model = _read(model_path, MAX_MODEL_BYTES)
    digest = hashlib.sha256(model).hexdigest()
    if manifest.get("sha256") != digest:
        raise BundleError(f"{model_path} is not the file its manifest describes (sha256 differs); install it again")
    bundle = Bundle(str(manifest.get("id", folder.name)), str(manifest.get("kind")), folder, model, digest, manifest)
    if bundle.kind != kind:
        raise BundleError(f"{folder} is a bundle of kind {bundle.kind!r}, not {kind!r}")
    return bundle


def check_tensor(bundle: Bundle, details: dict[str, Any], *keys: str) -> None:
    """Compare an interpreter's tensor with the shape and dtype the manifest states under `keys`.

    Raises:
        BundleError: they differ.
    """
    shape = [int(n) for n in details["shape"]]
    dtype = np.dtype(details["dtype"]).name
    stated = bundle.get(*keys)
    if stated.get("shape") != shape or stated.get("dtype") != dtype:
        raise BundleError(
            f"{bundle.folder}: {'.'.join(keys)} is {dtype} {shape} in the model but "
            f"{stated.get('dtype')} {stated.get('shape')} in the manifest"
        )


def load_golden(bundle: Bundle) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8], int]:
    """Return the bundle's golden vectors: inputs, expected outputs, tolerance in quantization steps.

    Raises:
        BundleError: the file is missing, altered or malformed.
    """
    path = bundle.folder / "golden.npz"
    raw = _read(path, MAX_MODEL_BYTES)
    if hashlib.sha256(raw).hexdigest() != bundle.get("golden", "sha256"):
        raise BundleError(f"{path} is not the file the manifest describes (sha256 differs)")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive["inputs"], archive["outputs"], int(bundle.get("golden", "tolerance_steps"))
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{path} does not hold golden vectors: {error}") from None


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}; is the model installed?") from None
    if len(raw) > limit:
        raise BundleError(f"{path} is larger than {limit} bytes")
    return raw
