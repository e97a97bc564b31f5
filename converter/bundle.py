"""Writes the bundle an agent loads: int8 model, manifest, golden vectors."""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import ConversionError
from converter.parity import Parity, compare
from converter.quantize import quantize, tensorflow_version
from edge_agent.camera.opencv import OpenCVCamera
from edge_agent.config import Camera
from edge_agent.demo import CLIPS
from edge_agent.vision.blazeface import BlazeFace
from edge_agent.vision.bundle import find_bundle, load_bundle
from edge_agent.vision.faces import crop_face
from edge_agent.vision.manifest import (
    FILE,
    Calibration,
    ClassifierManifest,
    Crop,
    FaceTensor,
    Golden,
    LogitsTensor,
    Votes,
)
from edge_agent.vision.runtime import load_interpreter
from trainer.data.datasets import to_input
from trainer.data.load import load_data
from trainer.data.photos import FRAMING
from trainer.data.split import require_same_split, split
from trainer.evaluation.predictors import load_keras, load_predictor
from trainer.labels import VOTE_LABELS
from trainer.runs import read_run, recipe_of

GOLDEN_TOLERANCE_STEPS = 1
_GOLDEN_FACES = 8
_GOLDEN_CANDIDATES = 100


def convert(
    run: Path,
    *,
    data_dir: Path,
    out: Path,
    calibration_faces: int = 500,
    max_accuracy_loss: float = 0.003,
    max_ap_loss: float = 0.005,
    say: Callable[[str], None] = print,
) -> Parity:
    """Quantize a run's model into the bundle `out`; the folder appears whole or not at all.

    Calibration faces come from the run's training split, parity is measured on its validation split.

    Args:
        run: a folder written by `python -m trainer fit`.
        data_dir: what it was trained on.
        max_accuracy_loss, max_ap_loss: largest tolerated loss of accuracy over all classes, and of the average
            precision for angry, 0..1.

    Raises:
        ConversionError: the model cannot be quantized, or lost more than allowed.
        TrainerError: the run is not finished, its model is damaged, or it was trained on other data.
        DatasetError: the data cannot be used.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / FILE).is_file()):
        raise ConversionError(f"{out} holds something else than a bundle; choose another --out")
    description = read_run(run)
    if not (run / "model.keras").is_file():
        raise ConversionError(f"{run} holds no model.keras; a support vector machine cannot be converted")
    recipe = recipe_of(description)
    data = load_data(data_dir, classes=recipe.classes, already_cropped=recipe.already_cropped)
    training, validation, _ = split(data, recipe)
    require_same_split(description, validation, whose=str(run))
    chosen = np.random.default_rng(recipe.seed).permutation(len(training))[:calibration_faces]
    calibration = to_input(training.faces[chosen])

    say(f"quantizing {run / 'model.keras'} with {len(calibration)} calibration faces ...")
    content = quantize(
        load_keras(run / "model.keras"),
        calibration,
        outputs=len(recipe.classes) + (len(VOTE_LABELS) if recipe.votes else 0),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".converting-") as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        _write(folder, content, description, calibration)
        parity = compare(load_predictor(run)(validation.faces), load_predictor(folder)(validation.faces), validation)
        say(str(parity))
        for lost, limit, what in (
            (parity.accuracy_loss, max_accuracy_loss, "accuracy"),
            (parity.ap_loss, max_ap_loss, "average precision for angry"),
        ):
            if lost > limit:
                raise ConversionError(f"int8 loses {lost:.4f} of {what}, more than {limit:g}; nothing written")
        _add_parity(folder, parity)
        shutil.rmtree(out, ignore_errors=True)
        folder.rename(out)
    return parity


def _write(folder: Path, content: bytes, run: dict[str, Any], calibration: npt.NDArray[np.float32]) -> None:
    (folder / "model.tflite").write_bytes(content)
    golden = _golden_vectors(content)
    (folder / "golden.npz").write_bytes(golden)
    interpreter = load_interpreter(content)
    [input_tensor], [output_tensor] = interpreter.get_input_details(), interpreter.get_output_details()
    ClassifierManifest(
        id=folder.name,
        sha256=hashlib.sha256(content).hexdigest(),
        labels=tuple(run["labels"]),
        input=FaceTensor(**_tensor(input_tensor), colour="grey", range=(0, 1)),
        output=LogitsTensor(**_tensor(output_tensor), meaning="logits"),
        temperature=run["temperature"],
        votes=Votes(**run["votes"]) if "votes" in run else None,
        crop=Crop(framing=FRAMING, roll="eyes level"),
        golden=Golden(
            sha256=hashlib.sha256(golden).hexdigest(),
            tolerance_steps=GOLDEN_TOLERANCE_STEPS,
            source="faces of the demo clips (CC0)",
        ),
        training={
            "data": run.get("data", "not stated"),
            "faces": run["training_faces"],
            "cleaning": run["cleaning"],
            "validation_sha256": run["validation_sha256"],
            "recipe": run["recipe"],
            "parameters": run["parameters"],
            "versions": run["versions"],
        },
        converter={"tensorflow": tensorflow_version()},
        calibration=Calibration(faces=len(calibration), sha256=hashlib.sha256(calibration.tobytes()).hexdigest()),
        validation={k: v for k, v in run["validation"].items() if k not in ("labels", "confusion")},
        licence="Apache-2.0",
    ).write(folder)


def _add_parity(folder: Path, parity: Parity) -> None:
    replace(ClassifierManifest.read(folder), parity=parity.as_dict()).write(folder)


def _tensor(details: dict[str, Any]) -> dict[str, Any]:
    scale, zero_point = details["quantization"]
    return {
        "shape": tuple(int(n) for n in details["shape"]),
        "dtype": np.dtype(details["dtype"]).name,
        "scale": float(scale),
        "zero_point": int(zero_point),
    }


def _golden_vectors(content: bytes) -> bytes:
    """Return an .npz with int8 inputs (n, side, side, 1) and the model's int8 outputs (n, classes).

    XNNPACK and TFLite's own kernels, which older runtimes use, round differently; after eighteen layers a logit may be
    off by two or three steps. Golden faces are those on which both agree within the tolerance, so that the bundle is
    accepted by every sound runtime and by no broken one.

    Raises:
        ConversionError: there are not enough such faces.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreters = [load_interpreter(content)]
    for kernels in (OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.BUILTIN_REF):
        interpreters.append(Interpreter(model_content=content, experimental_op_resolver_type=kernels))
        interpreters[-1].allocate_tensors()
    side_px = int(interpreters[0].get_input_details()[0]["shape"][1])
    faces = demo_faces(side_px=side_px, count=_GOLDEN_CANDIDATES)
    inputs = (faces.astype(np.int16) - 128).astype(np.int8)[..., None]
    outputs = np.stack([_outputs(interpreter, inputs) for interpreter in interpreters])
    spread = (outputs.max(axis=0).astype(int) - outputs.min(axis=0)).max(axis=1)
    agreed = np.flatnonzero(spread <= GOLDEN_TOLERANCE_STEPS)
    if len(agreed) < _GOLDEN_FACES:
        raise ConversionError(f"TFLite kernels agree on only {len(agreed)} of {len(faces)} faces; the model is fragile")
    chosen = agreed[np.linspace(0, len(agreed) - 1, _GOLDEN_FACES).astype(int)]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, inputs=inputs[chosen], outputs=outputs[0][chosen])
    return buffer.getvalue()


def _outputs(interpreter: Any, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    [input_tensor], [output_tensor] = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for face in inputs:
        interpreter.set_tensor(input_tensor["index"], face[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(output_tensor["index"])[0])
    return np.stack(outputs)


def demo_faces(*, side_px: int, count: int) -> npt.NDArray[np.uint8]:
    """Return faces of the two demo clips, evenly spaced in time: uint8 (count, side_px, side_px), grey."""
    detector = BlazeFace(load_bundle(find_bundle("blazeface-full-range"), kind="face-detector"))
    framing = FRAMING["blazeface-full-range"]
    faces = []
    for clip in CLIPS.values():
        camera = OpenCVCamera(Camera(device=str(clip)), realtime=False)
        camera.open()
        while (frame := camera.read()) is not None:
            faces += [crop_face(frame.image, face, framing, side_px) for face in detector.detect(frame.image)]
        camera.close()
    chosen = np.linspace(0, len(faces) - 1, count).astype(int)
    return np.stack([faces[index] for index in chosen])
