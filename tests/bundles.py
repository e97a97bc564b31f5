"""Bundles that are not what they were, and a model that ends the process which loads it."""

from __future__ import annotations

import hashlib
import json

from ai_edge_litert import schema_py_generated as schema

from edge_agent.vision.bundle import MODELS_DIR


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


def crashing_model() -> bytes:
    """Return the shipped classifier with one wrong number, at which TFLite reads where nothing is.

    Its first operator reverses axes; the tensor that says which of them is said to hold none.
    """
    content = bytearray((MODELS_DIR / "fer-compact-3" / "model.tflite").read_bytes())
    graph = schema.Model.GetRootAs(bytes(content), 0).Subgraphs(0)
    operator = graph.Operators(0)
    axes = graph.Tensors(operator.Inputs(1))
    assert axes.ShapeAsNumpy().tolist() == [1]
    # Where a FlatBuffer keeps the shape, the first field of a tensor: the four bytes of its only number.
    place = axes._tab.Vector(axes._tab.Offset(4))
    content[place : place + 4] = bytes(4)
    return bytes(content)
