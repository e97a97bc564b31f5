"""Every option of the agent: its type, its limits and its default.

`config.yaml` at the top of the project shows each of them with a comment; a test keeps the two the same.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Literal

from edge_agent import yaml_loader
from edge_agent.yaml_loader import InvalidValueError, option

#: Partial configurations for places, named by the key `profile`.
PROFILES = Path(__file__).parent / "profiles"
#: What may stand in a level of an MQTT topic.
SEGMENT = r"[A-Za-z0-9_.-]{1,64}"
#: The zone of everybody who stands in no configured one.
WHOLE_VIEW = "view"
#: Countries of the European Economic Area, where Regulation (EU) 2024/1689 applies; ISO 3166-1.
EEA = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK".split()  # noqa: SIM905
)
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
    device: str = option("0", pattern=r".+")
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


@dataclass(frozen=True, slots=True)
class Escalation:
    """One level of a rule's ladder: whom to page as well while nobody acknowledges."""

    after_s: float = option(low=1, high=86400)
    group: str = option(pattern=SEGMENT)
    severity: Literal["info", "warning", "critical"] = option("critical")


@dataclass(frozen=True, slots=True)
class Rule:
    """When a look becomes a page. Times in seconds, thresholds are probabilities."""

    name: str = option(pattern=SEGMENT)
    emotions: tuple[str, ...] = option(("angry",))
    upper: float | None = option(None, low=0.01, high=1)
    lower: float | None = option(None, low=0.0, high=1)
    dwell_s: float = option(1.5, low=0.0, high=600)
    min_observations: int = option(5, low=1, high=1000)
    off_delay_s: float = option(2.0, low=0.0, high=600)
    cooldown_s: float = option(10.0, low=0.0, high=86400)
    severity: Literal["info", "warning", "critical"] = option("warning")
    message: str = option("Please send assistance", pattern=r".{1,200}")
    role: Literal["customer", "staff"] = option("customer")
    watch: Literal["presence", "absence"] = option("presence")
    zones: tuple[str, ...] = option(())
    group: str = option("staff", pattern=SEGMENT)
    escalation: tuple[Escalation, ...] = option(())
    expiry_s: float = option(120.0, low=1, high=86400)

    def __post_init__(self) -> None:
        if not self.emotions:
            raise InvalidValueError("name at least one group", "emotions")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise InvalidValueError(f"must not be above upper ({self.upper:g})", "lower")
        times_s = [level.after_s for level in self.escalation]
        if times_s != sorted(times_s):
            raise InvalidValueError("after_s must grow from level to level", "escalation")


@dataclass(frozen=True, slots=True)
class Tls:
    """Transport security toward the broker."""

    enabled: bool = option(default=False)
    ca_file: Path | None = option(None)
    cert_file: Path | None = option(None)
    key_file: Path | None = option(None)

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise InvalidValueError("cert_file and key_file belong together; give both or neither")


@dataclass(frozen=True, slots=True)
class Mqtt:
    """The broker that staff pagers listen on."""

    host: str = option("127.0.0.1", pattern=r"[^\s/]+")
    port: int = option(1883, low=1, high=65535)
    protocol: Literal["5", "3.1.1"] = option("5")
    topic_root: str = option("kiosk/v1", pattern=r"[A-Za-z0-9_./-]{1,100}")
    username: str | None = option(None)
    password_file: Path | None = option(None)
    keepalive_s: int = option(10, low=5, high=3600)
    connect_retry_max_s: float = option(60.0, low=1, high=3600)
    keep_session: bool = option(default=True)
    tls: Tls = option(factory=Tls)

    def __post_init__(self) -> None:
        # A slash too many would make a level without a name, on which no pager listens.
        root = "/".join(level for level in self.topic_root.split("/") if level)
        if not root:
            raise InvalidValueError("needs a name, such as kiosk/v1", "topic_root")
        object.__setattr__(self, "topic_root", root)


@dataclass(frozen=True, slots=True)
class Outbox:
    """The spool that keeps alerts until the broker has them."""

    state_dir: Path = option(Path("state"))
    max_bytes: int = option(4_000_000, low=10_000, high=1_000_000_000)


@dataclass(frozen=True, slots=True)
class Privacy:
    """What people in front of the camera are owed."""

    notice_posted: bool = option(default=False)
    min_group: int = option(5, low=2, high=1000)


@dataclass(frozen=True, slots=True)
class Summary:
    """How content people were, as shares over an interval."""

    enabled: bool = option(default=True)
    interval_s: float = option(900.0, low=60, high=86400)
    satisfied: tuple[str, ...] | None = option(None)


@dataclass(frozen=True, slots=True)
class HomeAssistant:
    """Announcing the device by MQTT discovery."""

    enabled: bool = option(default=False)
    prefix: str = option("homeassistant", pattern=r"[A-Za-z0-9_./-]{1,100}")


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures for Prometheus."""

    enabled: bool = option(default=False)
    host: str = option("127.0.0.1", pattern=r"[^\s/]+")
    port: int = option(9108, low=0, high=65535)


@dataclass(frozen=True, slots=True)
class Web:
    """The live view for whoever looks after the device."""

    enabled: bool = option(default=False)
    host: str = option("127.0.0.1", pattern=r"[^\s/]+")
    port: int = option(8080, low=0, high=65535)
    token_file: Path | None = option(None)
    blur_faces: bool = option(default=False)


@dataclass(frozen=True, slots=True)
class Performance:
    """How much of the computer the agent may use."""

    threads: int = option(1, low=1, high=16)
    cores: tuple[int, ...] = option((), low=0, high=1023)
    runtime: Literal["auto", "ai-edge-litert", "tflite-runtime", "tensorflow"] = option("auto")
    idle_rate_hz: float = option(3.0, low=0.5, high=120)
    max_cpu_percent: float = option(100.0, low=5, high=1600)


@dataclass(frozen=True, slots=True)
class Logging:
    """What the agent writes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = option("info")
    format: Literal["auto", "pretty", "json"] = option("auto")
    health_interval_s: float = option(30.0, low=1, high=3600)


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration file."""

    profile: str | None = option(None)
    site: Site = option(factory=Site)
    camera: Camera = option(factory=Camera)
    faces: Faces = option(factory=Faces)
    gates: Gates = option(factory=Gates)
    emotion: Emotion = option(factory=Emotion)
    tracking: Tracking = option(factory=Tracking)
    zones: tuple[Zone, ...] = option(())
    rules: tuple[Rule, ...] = option(factory=lambda: (Rule(name="angry-customer"),))
    mqtt: Mqtt = option(factory=Mqtt)
    outbox: Outbox = option(factory=Outbox)
    privacy: Privacy = option(factory=Privacy)
    summary: Summary = option(factory=Summary)
    web: Web = option(factory=Web)
    home_assistant: HomeAssistant = option(factory=HomeAssistant)
    metrics: Metrics = option(factory=Metrics)
    performance: Performance = option(factory=Performance)
    logging: Logging = option(factory=Logging)

    def __post_init__(self) -> None:
        known = ", ".join(self.emotion.emotions)
        for index, rule in enumerate(self.rules):
            for name in rule.emotions:
                if name not in self.emotion.emotions:
                    raise InvalidValueError(
                        f"{name!r} is not an emotion; emotion.emotions has {known}", "rules", index, "emotions"
                    )
            self._check_lawful(rule, index)
            for name in rule.zones:
                if name not in (WHOLE_VIEW, *(zone.name for zone in self.zones)):
                    raise InvalidValueError(f"{name!r} is not a zone", "rules", index, "zones")
        for name in self.summary.satisfied or ():
            if name not in self.emotion.emotions:
                raise InvalidValueError(
                    f"{name!r} is not an emotion; emotion.emotions has {known}", "summary", "satisfied"
                )
        _check_unique([rule.name for rule in self.rules], "rules")
        _check_unique([zone.name for zone in self.zones], "zones")

    def _check_lawful(self, rule: Rule, index: int) -> None:
        """Refuse rules about staff where nobody said that they are lawful."""
        if rule.role != "staff":
            return
        where = self.site.jurisdiction
        if where is None:
            raise InvalidValueError(
                "rules about staff need site.jurisdiction, the country's two letters", "rules", index, "role"
            )
        if where in EEA:
            raise InvalidValueError(
                f"in {where}, Article 5(1)(f) of Regulation (EU) 2024/1689 prohibits inferring the emotions of people "
                "at work",
                "rules", index, "role",
            )  # fmt: skip

    def satisfied_emotions(self) -> tuple[str, ...]:
        """Return the emotions that count as satisfied: the configured ones, or happy and neutral if they exist."""
        if self.summary.satisfied is not None:
            return self.summary.satisfied
        return tuple(name for name in ("happy", "neutral") if name in self.emotion.emotions)

    def fingerprint(self) -> str:
        """Return a short hash that tells whether two devices run the same configuration."""
        text = json.dumps(asdict(self), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_config(path: Path) -> Config:
    """Read a configuration file; see `yaml_loader.load` for what is refused.

    Raises:
        ConfigError: the file does not fit.
    """
    return yaml_loader.load(path, Config, profiles=PROFILES)


def _check_polygons(polygons: tuple[Polygon, ...], key: str) -> None:
    if any(len(polygon) < 3 for polygon in polygons):
        raise InvalidValueError("a polygon needs at least three [x, y] corners", key)


def _check_unique(names: list[str], key: str) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InvalidValueError(f"the name {name!r} is used twice", key, index, "name")
