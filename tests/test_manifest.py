"""A manifest is read as what it states or refused in one line, and written as it was read."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import fields, is_dataclass, replace

import jsonschema
import pytest

from edge_agent.errors import BundleError
from edge_agent.vision import manifest as module
from edge_agent.vision.bundle import MODELS_DIR
from edge_agent.vision.manifest import (
    FILE,
    JSON_SCHEMA,
    ClassifierManifest,
    DetectorManifest,
    Framing,
    Manifest,
    OperatingPoint,
)
from edge_agent.vision.typed_json import plain
from trainer.data.photos import FRAMING

SHIPPED = sorted(path.parent.name for path in MODELS_DIR.glob(f"*/{FILE}"))
CLASSIFIER, DETECTOR = "fer-compact-3", "blazeface-short-range"
MISSING = object()


def stated(name: str, path: str = "", value: object = None) -> dict:
    """Return what a shipped manifest states, with the value at a dotted path replaced or removed."""
    whole = json.loads((MODELS_DIR / name / FILE).read_text())
    if path:
        *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        place = whole
        for parent in parents:
            place = place[parent]
        if value is MISSING:
            del place[last]
        else:
            place[last] = value
    return whole


def schema() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(JSON_SCHEMA.read_text()))


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_manifests_are_written_as_they_were_read(name, tmp_path):
    manifest = Manifest.read(MODELS_DIR / name)
    assert manifest.id == name
    manifest.write(tmp_path)
    assert (tmp_path / FILE).read_bytes() == (MODELS_DIR / name / FILE).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_manifests_fit_the_schema(name):
    schema().validate(stated(name))


def test_the_schema_names_the_fields_of_the_dataclasses():
    definitions = json.loads(JSON_SCHEMA.read_text())["$defs"]
    ours = {name: kind for name, kind in vars(module).items() if is_dataclass(kind) and kind is not Manifest}
    assert definitions.keys() == {name for name, kind in ours.items() if kind.__module__ == module.__name__}
    for name, definition in definitions.items():
        assert [*definition["properties"], "more"] == [field.name for field in fields(ours[name])], name


def test_what_a_newer_version_added_is_kept(tmp_path):
    newer = stated(CLASSIFIER)
    newer["signed_by"] = {"name": "kim", "since": [2027, 1.0, None, True]}
    newer["more"] = "a field like any other"
    for path in ("input", "output", "votes", "crop", "golden", "calibration", "operating_point"):
        newer[path]["added"] = path
    newer["crop"]["framing"]["yunet"]["roll_deg"] = -1e-07
    (tmp_path / FILE).write_text(json.dumps(newer, indent=1) + "\n")
    manifest = ClassifierManifest.read(tmp_path)
    assert json.loads(manifest.to_json()) == newer
    assert ClassifierManifest.parse(json.loads(manifest.to_json())).to_json() == manifest.to_json()
    assert manifest.more["signed_by"]["name"] == "kim"


def test_numbers_stay_as_they_were_written():
    for temperature in (2, 2.0, 1.03, 1e-1):
        text = ClassifierManifest.parse(stated(CLASSIFIER, "temperature", temperature)).to_json()
        assert f'"temperature": {temperature!r},' in text


def test_what_is_left_out_is_not_written():
    optional = ("votes", "training", "converter", "calibration", "validation", "licence", "parity", "operating_point")
    few = {key: value for key, value in stated(CLASSIFIER).items() if key not in optional}
    assert json.loads(ClassifierManifest.parse(few).to_json()) == few
    schema().validate(few)


def test_a_point_chosen_by_photograph_fits_too():
    point = {
        "emotions": ["angry"], "threshold": 0.31, "recall": 0.6, "precision": 0.7, "false_alarms": 0.01,
        "max_false_alarms": 0.01, "chosen_on": "99 validation faces: angry, happy, neutral, sad",
    }  # fmt: skip
    whole = stated(CLASSIFIER, "operating_point", point)
    manifest = ClassifierManifest.parse(whole)
    schema().validate(whole)
    assert manifest.operating_point == OperatingPoint(
        emotions=("angry",), threshold=0.31, recall=0.6, precision=0.7, false_alarms=0.01, max_false_alarms=0.01,
        chosen_on="99 validation faces: angry, happy, neutral, sad",
    )  # fmt: skip
    assert json.dumps(plain(manifest.operating_point)) == json.dumps(point)


def test_photographs_are_framed_as_the_shipped_classifier_wants_faces():
    crop = ClassifierManifest.read(MODELS_DIR / CLASSIFIER).crop
    assert crop.framing == FRAMING
    assert crop.framing["yunet"] == Framing(side=1.26, shift_y=-0.02)


#: Where in a classifier's manifest, what, and what the error says.
HOSTILE = [
    ("schema", "edge-agent/bundle/2", "is not a manifest of schema"),
    ("schema", ["edge-agent/bundle/1"], "is not a manifest of schema"),
    ("kind", "toaster", "kind is 'toaster', expected one of emotion-classifier, face-detector"),
    ("kind", ["emotion-classifier"], "kind is .* expected one of"),
    ("kind", MISSING, "kind is None, expected one of"),
    ("id", MISSING, "does not state 'id'"),
    ("id", 7, "id is 7, expected text"),
    ("id", "", "id is '', expected text"),
    ("id", "x" * 501, "id is 'xxx.*expected text"),
    ("sha256", "49CE57", "sha256 is '49CE57', expected text that matches"),
    ("sha256", None, "sha256 is None, expected text"),
    ("labels", "angry", "labels is 'angry', expected a list"),
    ("labels", [], "labels is \\[\\], expected a list of 1 to 64 items, not 0"),
    ("labels", ["angry", "happy", "angry"], "expected each name once"),
    ("labels", ["angry", 3], "labels.1 is 3, expected text"),
    ("labels", [f"l{n}" for n in range(20_000)], "expected a list of 1 to 64 items, not 20000"),
    ("labels", {"angry": 0}, "labels is .* expected a list"),
    ("input", MISSING, "does not state 'input'"),
    ("input", [], "input is \\[\\], expected an object"),
    ("input", "48x48", "input is '48x48', expected an object"),
    ("input.shape", [1, 48, 48], "expected a list of 4 items, not 3"),
    ("input.shape", 48, "input.shape is 48, expected a list"),
    ("input.shape", [1, 48.5, 48, 1], "input.shape.1 is 48.5, expected a whole number"),
    ("input.shape", [1, -48, -48, 1], "input.shape.1 is -48, expected a whole number from 1"),
    ("input.shape", [1, 10**12, 10**12, 1], "expected a whole number from 1 to 65536"),
    ("input.shape", [True, 48, 48, True], "input.shape.0 is True, expected a whole number"),
    ("input.shape", [1, 48, 48, nested(50)], "input.shape.3 is \\[\\[\\["),
    ("input.dtype", "object", "input.dtype is 'object', expected one of int8"),
    ("input.dtype", ["int8"], "input.dtype is .* expected one of int8"),
    ("input.scale", MISSING, "does not state 'input.scale'"),
    ("input.scale", -0.004, "input.scale is -0.004, expected a number from 1e-09"),
    ("input.scale", 0, "input.scale is 0, expected"),
    ("input.scale", "0.004", "input.scale is '0.004', expected"),
    ("input.zero_point", -129, "input.zero_point is -129, expected a whole number from -128 to 127"),
    ("input.colour", "BGR", "input.colour is 'BGR', expected one of grey"),
    ("input.range", [0, 255], "input.range.1 is 255, expected one of 1"),
    ("output.shape", [1, 15, 1], "expected a list of 2 items, not 3"),
    ("output.meaning", "probabilities", "output.meaning is 'probabilities', expected one of logits"),
    ("temperature", MISSING, "does not state 'temperature'"),
    ("temperature", 0, "temperature is 0, expected a number from 0.01 to 100"),
    ("temperature", True, "temperature is True, expected a number"),
    ("temperature", None, "temperature is None, expected a number"),
    ("votes", None, "votes is None, expected an object"),
    ("votes", [], "votes is \\[\\], expected an object"),
    ("votes.weight", 1.5, "votes.weight is 1.5, expected a number from 0 to 1"),
    ("votes.labels", MISSING, "does not state 'votes.labels'"),
    ("crop", {}, "does not state 'crop.framing'"),
    ("crop.framing", [], "crop.framing is \\[\\], expected an object"),
    ("crop.framing.yunet", 1.2, "crop.framing.yunet is 1.2, expected an object"),
    ("crop.framing.yunet.side", -1, "crop.framing.yunet.side is -1, expected a number from 0.1 to 10"),
    ("crop.framing.yunet.side", MISSING, "does not state 'crop.framing.yunet.side'"),
    ("crop.framing", {f"d{n}": {"side": 1, "shift_y": 0} for n in range(65)}, "at most 64 keys, not 65"),
    ("crop.roll", "upside down", "crop.roll is 'upside down', expected one of eyes level"),
    ("golden.tolerance_steps", 255, "golden.tolerance_steps is 255, expected a whole number from 0 to 16"),
    ("golden.tolerance_steps", 1.5, "golden.tolerance_steps is 1.5, expected a whole number"),
    ("golden.sha256", "../../etc/passwd", "golden.sha256 is .* expected text that matches"),
    ("training", "a night", "training is 'a night', expected an object"),
    ("validation", [0.7], "validation is \\[0.7\\], expected an object"),
    ("calibration.faces", 0, "calibration.faces is 0, expected a whole number of at least 1"),
    ("operating_point", 0.21, "operating_point is 0.21, expected an object"),
    ("operating_point.emotions", "angry", "operating_point.emotions is 'angry', expected a list"),
    ("operating_point.emotions", ["angry", "angry"], "expected each name once"),
    ("operating_point.threshold", 21, "operating_point.threshold is 21, expected a number from 0 to 1"),
    ("operating_point.threshold", "low", "operating_point.threshold is 'low', expected"),
    ("operating_point.population_logit", "calm", "operating_point.population_logit is 'calm', expected"),
    ("operating_point.people", ["kim"], "operating_point.people is .* expected an object"),
    ("operating_point.people.angry.low", -1, "operating_point.people.angry.low is -1, expected"),
]
BEYOND_A_SCHEMA = [
    ("id", "two\nlines", "id is 'two\\\\nlines', expected text"),
    ("id", "\x1b[2J", "id is '\\\\x1b"),
    ("input.shape", [1, 48, 32, 1], "input.shape is .* expected \\[1, side, side, 1\\]"),
    ("input.shape", [1, 48, 48, 3], "input.shape is .* expected \\[1, side, side, 1\\]"),
    ("temperature", float("nan"), "temperature is nan, expected a number"),
    ("temperature", float("inf"), "temperature is inf, expected a number"),
    ("votes.labels", ["angry", "calm"], "votes.labels is .* expected each of labels among them"),
    ("operating_point.emotions", ["hangry"], "operating_point.emotions is .* expected some of labels"),
    ("training.recipe.seed", float("nan"), "training.recipe.seed is nan, expected a finite number"),
    ("training.recipe", nested(50), "nested too deeply"),
    ("training.two\nlines", 1, "expected text of 1 to 500 printable characters"),
    ("parity.faces", {1, 2}, "parity.faces is .* expected a value of JSON"),
    ("unknown", float("-inf"), "unknown is -inf, expected a finite number"),
    ("un\nknown", 1, "a key is 'un\\\\nknown', expected text"),
]
DETECTORS = [
    ("input.shape", [1, 128, 128, 1], "input.shape is .* expected \\[1, side, side, 3\\]"),
    ("input.shape", [1, 64, 64, 3], "outputs.boxes.shape is .* expected \\[1, 224, 16\\]"),
    ("input.range", [0, 1], "input.range.0 is 0, expected one of -1"),
    ("outputs", MISSING, "does not state 'outputs'"),
    ("outputs.boxes", [], "outputs.boxes is \\[\\], expected an object"),
    ("outputs.boxes.name", 3, "outputs.boxes.name is 3, expected text"),
    ("outputs.scores.shape", [1, 896, 2], "outputs.scores.shape is .* 1 for each of the 896 anchors"),
    ("anchors", {}, "anchors is {}, expected a list"),
    ("anchors", [], "anchors is \\[\\], expected a list of 1 to 64 items"),
    ("anchors", [8, 16], "anchors.0 is 8, expected an object"),
    ("anchors.0.stride", 0, "anchors.0.stride is 0, expected a whole number from 1"),
    ("anchors.1.per_cell", 10**9, "anchors.1.per_cell is 1000000000, expected a whole number from 1 to 64"),
    ("anchors.1.per_cell", MISSING, "does not state 'anchors.1.per_cell'"),
]


def refusal(kind: type[Manifest], whole: object) -> str:
    with pytest.raises(BundleError) as caught:
        kind.parse(whole, place="here/manifest.json")
    message = str(caught.value)
    assert message.startswith("here/manifest.json")
    assert message.isprintable()
    assert len(message) < 300
    return message


@pytest.mark.parametrize(("path", "value", "says"), HOSTILE)
def test_a_hostile_manifest_is_refused_in_one_line_and_by_the_schema(path, value, says):
    whole = stated(CLASSIFIER, path, value)
    assert re.search(says, refusal(ClassifierManifest, whole))
    assert not schema().is_valid(whole)


@pytest.mark.parametrize(("path", "value", "says"), BEYOND_A_SCHEMA)
def test_what_a_schema_cannot_tell_is_refused_too(path, value, says):
    whole = stated(CLASSIFIER, path, value)
    assert re.search(says, refusal(ClassifierManifest, whole))


@pytest.mark.parametrize(("path", "value", "says"), DETECTORS)
def test_a_detectors_hostile_manifest_is_refused_in_one_line(path, value, says):
    whole = stated(DETECTOR, path, value)
    assert re.search(says, refusal(DetectorManifest, whole))


@pytest.mark.parametrize("whole", [None, 1, "x", [], {}, {"schema": None}])
def test_what_is_no_manifest_is_refused(whole):
    assert "is not a manifest" in refusal(Manifest, whole)


def test_every_value_may_be_of_any_wrong_type():
    def paths(value, path=()):
        yield path
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, part in parts:
            yield from paths(part, (*path, key))

    for name in (CLASSIFIER, DETECTOR):
        whole = stated(name)
        for path in list(paths(whole))[1:]:
            for wrong in (None, True, -1, 10**400, 1e308, float("nan"), "", "x\n", [], [[]], {}, {"x": {}}):
                changed = copy.deepcopy(whole)
                place = changed
                for key in path[:-1]:
                    place = place[key]
                place[path[-1]] = wrong
                try:
                    Manifest.parse(changed, place="here/manifest.json")
                except BundleError:
                    refusal(Manifest, changed)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"\xff\xfe", "is not JSON"),
        (b'{"id": "a", "id": "b"}', "states the same key twice"),
        (b'{"temperature": NaN}', "NaN is no number"),
        (b'{"temperature": -Infinity}', "-Infinity is no number"),
        (b'{"id": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b" " * 300_000, "is larger than 262144 bytes"),
    ],
)
def test_text_that_is_no_manifest_is_refused(text, says, tmp_path):
    (tmp_path / FILE).write_bytes(text)
    with pytest.raises(BundleError, match=says) as caught:
        Manifest.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_number_too_large_for_a_float_is_refused(tmp_path):
    text = (MODELS_DIR / CLASSIFIER / FILE).read_text()
    (tmp_path / FILE).write_text(text.replace('"temperature": 1.03', '"temperature": 1e999'))
    with pytest.raises(BundleError, match="temperature is inf, expected a number"):
        Manifest.read(tmp_path)


def test_the_manifest_of_another_kind_is_refused():
    assert "is of kind 'face-detector', not 'emotion-classifier'" in refusal(ClassifierManifest, stated(DETECTOR))
    assert isinstance(Manifest.parse(stated(DETECTOR)), DetectorManifest)


def test_what_would_be_refused_is_not_written(tmp_path):
    manifest = ClassifierManifest.read(MODELS_DIR / CLASSIFIER)
    with pytest.raises(BundleError, match="temperature is -1"):
        replace(manifest, temperature=-1).write(tmp_path)
    assert not list(tmp_path.iterdir())
