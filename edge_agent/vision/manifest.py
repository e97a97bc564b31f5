"""The manifest of a model bundle, the only thing that the agent and the training tools share.

It says what goes in, what comes out, in which order the labels are, and how a face is cropped, so that none of this
lives in code. `manifest.schema.json` says the same to other programs; `python docs/generate.py` writes it from here.
Fields stand in the order in which they are written. A field that is added later may be left out and needs no other
number in SCHEMA: who does not know it keeps it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from edge_agent.errors import BundleError
from edge_agent.vision.typed_json import Place, fill, plain, unknown_keys
from edge_agent.yaml_loader import option

FILE = "manifest.json"
JSON_SCHEMA = Path(__file__).with_name("manifest.schema.json")
SCHEMA: Literal["edge-agent/bundle/1"] = "edge-agent/bundle/1"
MAX_MANIFEST_BYTES = 256 * 1024
_SHA256 = r"[0-9a-f]{64}"
_LARGEST = 65536

More = Mapping[str, Any]
Dtype = Literal["int8", "uint8", "int16", "float16", "float32"]
M = TypeVar("M", bound="Manifest")


@dataclass(frozen=True, slots=True)
class Framing:
    """How a detector's box becomes the square the classifier was trained on.

    Attributes:
        side: side of the square as a multiple of the box's width.
        shift_y: how far the centre moves down, as a multiple of the box's height.
    """

    side: float = option(low=0.1, high=10)
    shift_y: float = option(low=-10, high=10)
    more: More = unknown_keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """How faces are cut out: detector → framing, and what is done about a tilted head."""

    framing: Mapping[str, Framing]
    roll: Literal["eyes level"]
    more: More = unknown_keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceTensor:
    """A classifier's input: 1, side, side, 1; a step is `scale` of the range."""

    shape: tuple[int, int, int, int] = option(low=1, high=_LARGEST)
    dtype: Dtype
    scale: float = option(low=1e-9, high=1e6)
    zero_point: int = option(low=-128, high=127)
    colour: Literal["grey"]
    range: tuple[Literal[0], Literal[1]]
    more: More = unknown_keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitsTensor:
    """A classifier's output: 1, labels and then labels of votes."""

    shape: tuple[int, int] = option(low=1, high=_LARGEST)
    dtype: Dtype
    scale: float = option(low=1e-9, high=1e6)
    zero_point: int = option(low=-128, high=127)
    meaning: Literal["logits"]
    more: More = unknown_keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureTensor:
    """A detector's input: 1, side, side, 3."""

    shape: tuple[int, int, int, int] = option(low=1, high=_LARGEST)
    dtype: Dtype
    colour: Literal["RGB"]
    range: tuple[Literal[-1], Literal[1]]
    more: More = unknown_keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorTensor:
    """One of a detector's outputs: 1, anchors, values."""

    name: str
    shape: tuple[int, int, int] = option(low=1, high=_LARGEST)
    dtype: Dtype
    more: More = unknown_keys()


Tensor = FaceTensor | LogitsTensor | PictureTensor | AnchorTensor


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorOutputs:
    """What a detector says of each anchor: centre, size and key points; and the logit of a face."""

    boxes: AnchorTensor
    scores: AnchorTensor
    more: More = unknown_keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorLayer:
    """A feature map: `stride` in input pixels, `per_cell` anchors in each cell."""

    stride: int = option(low=1, high=1024)
    per_cell: int = option(low=1, high=64)
    more: More = unknown_keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """A second answer: what a voter would see.

    Attributes:
        labels: in the order of its outputs; those of the first answer are among them.
        weight: in what rules see, 0..1.
    """

    labels: tuple[str, ...]
    temperature: float = option(low=0.01, high=100)
    weight: float = option(low=0, high=1)
    more: More = unknown_keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """`golden.npz`: inputs, and the outputs that a sound computer makes of them within a tolerance."""

    sha256: str = option(pattern=_SHA256)
    tolerance_steps: int = option(low=0, high=16)
    source: str | None = None
    more: More = unknown_keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The faces that quantization was measured on."""

    faces: int = option(low=1)
    sha256: str = option(pattern=_SHA256)
    more: More = unknown_keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class PagedPeople:
    """How many people with one expression are paged for.

    Attributes:
        paged, low, high: share of the people and its 95 % interval, 0..1.
    """

    paged: float = option(low=0, high=1)
    low: float = option(low=0, high=1)
    high: float = option(low=0, high=1)
    people: int = option(low=1)
    visits: int = option(low=1)
    more: More = unknown_keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """From which score on to page, and what that promises.

    Attributes:
        emotions: labels whose summed probability it is for.
        threshold: 0..1.
        population_logit: their mean log-odds among calm people; None where that was not measured.
        dwell_s, visit_s, max_people_paged, people: how it was chosen by person; expression → who is paged.
        recall, precision, false_alarms, max_false_alarms: how it was chosen by photograph, shares, 0..1.
    """

    emotions: tuple[str, ...]
    threshold: float = option(low=0, high=1)
    population_logit: float | None = option(None, low=-100, high=100)
    dwell_s: float | None = option(None, low=0)
    visit_s: float | None = option(None, low=0)
    max_people_paged: float | None = option(None, low=0, high=1)
    recall: float | None = option(None, low=0, high=1)
    precision: float | None = option(None, low=0, high=1)
    false_alarms: float | None = option(None, low=0, high=1)
    max_false_alarms: float | None = option(None, low=0, high=1)
    people: Mapping[str, PagedPeople] | None = None
    chosen_on: str | None = None
    more: More = unknown_keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the manifests of all kinds state first; read by the class of the kind that is wanted, or by this one.

    Attributes:
        id: of the bundle, in a line.
        sha256: of model.tflite.
    """

    schema: Literal["edge-agent/bundle/1"] = SCHEMA
    id: str
    kind: str
    sha256: str = option(pattern=_SHA256)

    @classmethod
    def read(cls: type[M], folder: Path) -> M:
        """Read a bundle's manifest.

        Raises:
            BundleError: it is missing, too large, no JSON, of another kind, or does not fit.
        """
        path = folder / FILE
        return cls.decode(read_limited(path, MAX_MANIFEST_BYTES), place=str(path))

    @classmethod
    def decode(cls: type[M], raw: bytes, *, place: str = FILE) -> M:
        """Return what the content of a manifest.json states.

        Args:
            place: names it in errors.

        Raises:
            BundleError: it is no JSON, of another kind, or does not fit.
        """
        try:
            stated = json.loads(raw, object_pairs_hook=_once, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{place} is not JSON: {error}") from None
        return cls.parse(stated, place=place)

    @classmethod
    def parse(cls: type[M], stated: object, *, place: str = FILE) -> M:
        """Return what an object of JSON states.

        Args:
            place: names it in errors.

        Raises:
            BundleError: it is of another kind, or a field is missing or holds what it must not.
        """
        if not isinstance(stated, Mapping) or stated.get("schema") != SCHEMA:
            raise BundleError(f"{place} is not a manifest of schema {SCHEMA!r}")
        kind = KINDS.get(str(stated.get("kind")))
        if kind is None:
            raise Place(place, "kind").wrong(stated.get("kind"), f"one of {', '.join(KINDS)}")
        if not issubclass(kind, cls):
            wanted = next(name for name, known in KINDS.items() if issubclass(known, cls))
            raise BundleError(f"{place} is of kind {stated['kind']!r}, not {wanted!r}")
        manifest = fill(kind, stated, Place(place))
        manifest._check(Place(place))
        return manifest

    def to_json(self) -> str:
        """Return the text of manifest.json."""
        return json.dumps(plain(self), indent=1) + "\n"

    def write(self, folder: Path) -> None:
        """Write manifest.json, whole or not at all.

        Raises:
            BundleError: it would be refused when it is read.
        """
        type(self).parse(plain(self), place=str(folder / FILE))
        temporary = folder / f".{FILE}.tmp"
        temporary.write_text(self.to_json(), encoding="utf-8")
        temporary.replace(folder / FILE)

    def _check(self, place: Place) -> None:
        """Check what fits alone but not together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierManifest(Manifest):
    """Of an emotion classifier.

    Attributes:
        labels: in the order of the outputs.
        temperature: logits are divided by it.
        training: data, recipe and versions it was made with, as its run states them.
        converter: versions.
        validation: figures of the float model, on faces that training left aside.
        parity: figures before and after quantization.
    """

    kind: Literal["emotion-classifier"] = "emotion-classifier"
    labels: tuple[str, ...]
    input: FaceTensor
    output: LogitsTensor
    temperature: float = option(low=0.01, high=100)
    votes: Votes | None = None
    crop: Crop
    golden: Golden
    training: Mapping[str, Any] | None = None
    converter: Mapping[str, Any] | None = None
    calibration: Calibration | None = None
    validation: Mapping[str, Any] | None = None
    licence: str | None = None
    parity: Mapping[str, Any] | None = None
    operating_point: OperatingPoint | None = None
    more: More = unknown_keys()

    def _check(self, place: Place) -> None:
        _check_square(self.input.shape, 1, place)
        if self.votes is not None and not set(self.labels) <= set(self.votes.labels):
            raise place.below("votes").below("labels").wrong(self.votes.labels, "each of labels among them")
        point = self.operating_point
        if point is not None and not set(point.emotions) <= set(self.labels):
            raise place.below("operating_point").below("emotions").wrong(point.emotions, "some of labels")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorManifest(Manifest):
    """Of a face detector.

    Attributes:
        source: file of the published package that holds the model.
        anchors: feature maps in the order of the outputs.
    """

    kind: Literal["face-detector"] = "face-detector"
    source: str | None = None
    input: PictureTensor
    outputs: DetectorOutputs
    anchors: tuple[AnchorLayer, ...]
    licence: str | None = None
    more: More = unknown_keys()

    def _check(self, place: Place) -> None:
        _check_square(self.input.shape, 3, place)
        side = self.input.shape[1]
        anchors = sum((side // layer.stride) ** 2 * layer.per_cell for layer in self.anchors)
        for name, tensor, values in (("boxes", self.outputs.boxes, 16), ("scores", self.outputs.scores, 1)):
            if tensor.shape != (1, anchors, values):
                wanted = f"{[1, anchors, values]}: {values} for each of the {anchors} anchors"
                raise place.below("outputs").below(name).below("shape").wrong(list(tensor.shape), wanted)


KINDS: Mapping[str, type[Any]] = {"emotion-classifier": ClassifierManifest, "face-detector": DetectorManifest}


def read_limited(path: Path, limit: int) -> bytes:
    """Return a file of a bundle.

    Raises:
        BundleError: it is missing, or larger than `limit` bytes.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}; is the model installed?") from None
    if len(raw) > limit:
        raise BundleError(f"{path} is larger than {limit} bytes")
    return raw


def _check_square(shape: tuple[int, int, int, int], channels: int, place: Place) -> None:
    if shape != (1, shape[1], shape[1], channels):
        raise place.below("input").below("shape").wrong(list(shape), f"[1, side, side, {channels}]")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    stated = dict(pairs)
    if len(stated) < len(pairs):
        raise ValueError("an object states the same key twice")
    return stated


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")
