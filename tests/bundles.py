"""Bundles that are not what they were, and a model that ends the process which loads it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from edge_agent.vision.bundle import MODELS_DIR
from edge_agent.vision.models import ModelStore


def change(folder, **values) -> None:
    """State something else in a manifest; parts of a key are joined by two underscores."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for key, value in values.items():
        *parents, last = key.split("__")
        place = manifest
        for parent in parents:
            place = place[parent]
        place[last] = value
    path.write_text(json.dumps(manifest))


def change_model(folder, content: bytes) -> None:
    """Put another model into a bundle, whose hash fits."""
    (folder / "model.tflite").write_bytes(content)
    change(folder, sha256=hashlib.sha256(content).hexdigest())


def signed_bundle(folder: Path, model_id: str, key: Path | None, *, model: bytes | None = None) -> Path:
    """Return a copy of the shipped classifier under another id; unsigned without a key."""
    from converter.__main__ import main as converter

    shutil.copytree(MODELS_DIR / "fer-compact-3", folder)
    stated = {**json.loads((folder / "manifest.json").read_text()), "id": model_id}
    if model is not None:
        (folder / "model.tflite").write_bytes(model)
        stated["sha256"] = hashlib.sha256(model).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(stated))
    if key is not None:
        assert converter(["sign", str(folder), "--key", str(key)]) == 0
    return folder


def turn_a_bit(path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


def reverse_labels(folder) -> None:
    path = folder / "manifest.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps({**stated, "labels": stated["labels"][::-1]}))


def crashing_model() -> bytes:
    """Return the shipped classifier with one wrong number, at which TFLite reads where nothing is.

    Its first operator reverses axes; the tensor that says which of them is said to hold none.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = bytearray((MODELS_DIR / "fer-compact-3" / "model.tflite").read_bytes())
    graph = schema.Model.GetRootAs(bytes(content), 0).Subgraphs(0)
    operator = graph.Operators(0)
    axes = graph.Tensors(operator.Inputs(1))
    assert axes.ShapeAsNumpy().tolist() == [1]
    # Where a FlatBuffer keeps the shape, the first field of a tensor: the four bytes of its only number.
    place = axes._tab.Vector(axes._tab.Offset(4))
    content[place : place + 4] = bytes(4)
    return bytes(content)


@pytest.fixture(scope="session")
def keys(tmp_path_factory) -> Path:
    """A folder with two pairs of keys."""
    from converter.__main__ import main as converter

    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        assert converter(["keygen", str(folder / name)]) == 0
    assert (folder / "ours").stat().st_mode & 0o077 == 0
    return folder


@pytest.fixture
def make_bundle(tmp_path, keys):
    """Makes a bundle that came later; signed by our key, theirs or nobody's."""

    def make(model_id: str, *, key: str | None = "ours", model: bytes | None = None) -> Path:
        folder = tmp_path / "incoming" / model_id
        return signed_bundle(folder, model_id, keys / key if key is not None else None, model=model)

    return make


@pytest.fixture(scope="session")
def confirmed(keys, tmp_path_factory) -> Path:
    """A state folder in which next-1 was staged, activated and confirmed."""
    state = tmp_path_factory.mktemp("confirmed") / "state"
    store = ModelStore(state, trusted_keys=[keys / "ours.pub"])
    store.stage(signed_bundle(state.parent / "next-1", "next-1", keys / "ours"))
    store.activate("next-1")
    store.choose("fer-compact-3")
    store.confirm()
    return state


@pytest.fixture
def models(confirmed, tmp_path) -> Path:
    """The folder of its models, a copy to damage."""
    return shutil.copytree(confirmed, tmp_path / "state") / "models"
