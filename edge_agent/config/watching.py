"""What is looked at, and how a look is judged: camera, faces, emotion, tracking, zones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from edge_agent.yaml_loader import InvalidValueError, option

#: What may stand in a level of an MQTT topic.
SEGMENT = r"[A-Za-z0-9_.-]{1,64}"
#: The zone of everybody who stands in no configured one.
WHOLE_VIEW = "view"
#: Corners as (x, y) shares of picture width and height, 0..1.
Polygon = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Site:
    """Who this device is; `name` and `device` become topic segments."""

    name: str = option("site", pattern=SEGMENT)
    device: str = option("kiosk-1", pattern=SEGMENT)
    place: str = option("front desk", pattern=r".{1,120}")
    jurisdiction: str | None = option(None, pattern=r"[A-Z]{2}")


@dataclass(frozen=True, slots=True)
class Camera:
    """Where frames come from."""

    source: Literal["picamera2", "opencv", "synthetic"] = option("opencv")
    device: str = option("0", pattern=r".+", secret="address")
    width: int = option(640, low=160, high=4096)
    height: int = option(480, low=120, high=4096)
    frame_rate_hz: float = option(10.0, low=0.1, high=120)
    rotate: int = option(0, low=0, high=270)
    loop: bool = option(default=False)
    timeout_s: float = option(5.0, low=0.2, high=120)
    retry_first_s: float = option(0.5, low=0.05, high=60)
    retry_max_s: float = option(30.0, low=0.1, high=3600)

    def __post_init__(self) -> None:
        if self.rotate not in (0, 90, 180, 270):
            raise InvalidValueError(f"{self.rotate} is not one of 0, 90, 180, 270", "rotate")
        if self.retry_max_s < self.retry_first_s:
            raise InvalidValueError("must not be below retry_first_s", "retry_max_s")


@dataclass(frozen=True, slots=True)
class Faces:
    """How faces are found."""

    detector: Literal["blazeface-full-range", "blazeface-short-range", "yunet"] = option("blazeface-full-range")
    yunet_weights: Path | None = option(None)
    confidence: float = option(0.6, low=0.05, high=0.99)
    nms_iou: float = option(0.3, low=0.05, high=0.95)
    min_face_px: int = option(32, low=8, high=2000)
    max_faces: int = option(8, low=1, high=64)
    ignore_zones: tuple[Polygon, ...] = option((), low=0, high=1)

    def __post_init__(self) -> None:
        if self.detector == "yunet" and self.yunet_weights is None:
            raise InvalidValueError("yunet needs yunet_weights: the .onnx file from OpenCV's model zoo", "detector")
        _check_polygons(self.ignore_zones, "ignore_zones")


@dataclass(frozen=True, slots=True)
class Gates:
    """When a face is seen but not judged."""

    REMOVED: ClassVar = {
        "min_brightness": "dark faces are brightened; min_deviation says how little detail is too dark",
        "max_brightness": "max_saturated says how large a share of the face may be clipped",
        "min_contrast": "min_relative_contrast is the deviation as a share of the mean",
    }
    max_cut_off: float = option(0.15, low=0, high=1)
    min_eye_distance: float = option(0.25, low=0, high=1)
    max_saturated: float = option(0.5, low=0, high=1)
    min_relative_contrast: float = option(0.05, low=0, high=2)
    min_deviation: float = option(4.0, low=0, high=128)
    min_sharpness: float = option(0.03, low=0, high=10)


@dataclass(frozen=True, slots=True)
class Emotion:
    """Which model judges a face, and how its labels are summed into emotions."""

    RENAMED: ClassVar = {"groups": "emotions"}

    model: str = option("fer-compact-3", pattern=r".+")
    trusted_keys: tuple[Path, ...] = option(())
    emotions: dict[str, tuple[str, ...]] = option(
        factory=lambda: {
            "angry": ("angry",),
            "happy": ("happy",),
            "neutral": ("neutral",),
            "sad": ("sad",),
            "other": ("disgust", "fear", "surprise"),
        }
    )

    def __post_init__(self) -> None:
        if not self.emotions:
            raise InvalidValueError("name at least one emotion", "emotions")
        seen: dict[str, str] = {}
        for emotion, labels in self.emotions.items():
            for label in labels:
                if label in seen:
                    raise InvalidValueError(f"label {label!r} is in {seen[label]!r} already", "emotions", emotion)
                seen[label] = emotion


@dataclass(frozen=True, slots=True)
class Tracking:
    """How faces in successive frames become one person's track."""

    smoothing_s: float = option(0.7, low=0.0, high=30)
    lost_after_s: float = option(1.0, low=0.05, high=60)
    reappear_s: float = option(3.0, low=0.0, high=60)
    min_iou: float = option(0.2, low=0.01, high=0.95)
    max_distance: float = option(1.0, low=0.0, high=5)
    baseline_s: float = option(10.0, low=0.0, high=3600)
    baseline_memory_s: float = option(60.0, low=1.0, high=3600)
    still_after_s: float = option(120.0, low=0, high=86400)

    @property
    def forgotten_after_s(self) -> float:
        """How long after the last sighting nothing is known of a person any more."""
        return max(self.lost_after_s, self.reappear_s)


@dataclass(frozen=True, slots=True)
class Zone:
    """A named part of the picture with its own alerts."""

    name: str = option(pattern=SEGMENT)
    polygon: Polygon = option(low=0, high=1)

    def __post_init__(self) -> None:
        _check_polygons((self.polygon,), "polygon")


def _check_polygons(polygons: tuple[Polygon, ...], key: str) -> None:
    if any(len(polygon) < 3 for polygon in polygons):
        raise InvalidValueError("a polygon needs at least three [x, y] corners", key)
