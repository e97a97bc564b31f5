"""Every option of the agent: its type, its limits and its default.

`config.yaml` at the top of the project shows each of them with a comment; a test keeps the two the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edge_agent.config import files
from edge_agent.config.cameras import CameraDevice
from edge_agent.config.files import PROFILES, Loaded
from edge_agent.config.hours import Hours
from edge_agent.config.paging import Escalation, Group, Rule
from edge_agent.config.service import (
    HomeAssistant,
    Logging,
    Metrics,
    Mqtt,
    Outbox,
    Performance,
    Privacy,
    Summary,
    Tls,
    Web,
)
from edge_agent.config.staff import Notify, Pager, Shift, Staff, Target
from edge_agent.config.watching import (
    SEGMENT,
    WHOLE_VIEW,
    Camera,
    Emotion,
    Faces,
    Gates,
    Polygon,
    Site,
    Tracking,
    Zone,
)
from edge_agent.yaml_loader import InvalidValueError, option

__all__ = [
    "EEA", "PROFILES", "SEGMENT", "WHOLE_VIEW", "Camera", "CameraDevice", "Config", "Emotion", "Escalation", "Faces",
    "Gates", "Group", "HomeAssistant", "Hours", "Loaded", "Logging", "Metrics", "Mqtt", "Notify", "Outbox", "Pager",
    "Performance", "Polygon", "Privacy", "Rule", "Shift", "Site", "Staff", "Summary", "Target", "Tls", "Tracking",
    "Web", "Zone", "load_config", "load_with_origins",
]  # fmt: skip

#: Countries of the European Economic Area, where Regulation (EU) 2024/1689 applies; ISO 3166-1.
EEA = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration file."""

    profile: str | None = option(None)
    site: Site = option(factory=Site)
    camera: Camera = option(factory=Camera)
    cameras: tuple[CameraDevice, ...] = option(())
    faces: Faces = option(factory=Faces)
    gates: Gates = option(factory=Gates)
    emotion: Emotion = option(factory=Emotion)
    tracking: Tracking = option(factory=Tracking)
    zones: tuple[Zone, ...] = option(())
    rules: tuple[Rule, ...] = option(factory=lambda: (Rule(name="angry-customer"),))
    hours: tuple[Hours, ...] = option(())
    groups: tuple[Group, ...] = option(())
    mqtt: Mqtt = option(factory=Mqtt)
    outbox: Outbox = option(factory=Outbox)
    privacy: Privacy = option(factory=Privacy)
    summary: Summary = option(factory=Summary)
    web: Web = option(factory=Web)
    pager: Pager = option(factory=Pager)
    notify: Notify = option(factory=Notify)
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
                # Several cameras may each have zones of their own: they are looked at one by one.
                if not self.cameras and name not in (WHOLE_VIEW, *(zone.name for zone in self.zones)):
                    raise InvalidValueError(f"{name!r} is not a zone", "rules", index, "zones")
        for name in self.summary.satisfied or ():
            if name not in self.emotion.emotions:
                raise InvalidValueError(
                    f"{name!r} is not an emotion; emotion.emotions has {known}", "summary", "satisfied"
                )
        _check_unique([rule.name for rule in self.rules], "rules")
        _check_unique([zone.name for zone in self.zones], "zones")
        _check_unique([person.name for person in self.pager.staff], "pager", "staff")
        _check_unique([shift.name for shift in self.pager.shifts], "pager", "shifts")
        _check_unique([target.name for target in self.notify.targets], "notify", "targets")
        _check_unique([hours.name for hours in self.hours], "hours")
        _check_unique([group.name for group in self.groups], "groups")
        _check_unique([one.device for one in self.cameras], "cameras", key="device")
        self._check_hours()
        self._check_cameras()

    def devices(self) -> tuple[Config, ...]:
        """Return one configuration for each device: for each of `cameras`, or just this one where there are none."""
        return tuple(self._of(one) for one in self.cameras) or (self,)

    def _of(self, one: CameraDevice) -> Config:
        sections = one.sections()
        paged = _paged(sections.get("rules", self.rules))
        return replace(
            self,
            cameras=(),
            site=replace(self.site, device=one.device, place=one.place or self.site.place),
            outbox=replace(self.outbox, state_dir=self.outbox.state_dir / one.device),
            groups=tuple(group for group in self.groups if group.name in paged),
            **sections,
        )

    def _check_cameras(self) -> None:
        """Refuse cameras whose parts do not fit together, and two that would listen on one port."""
        listeners: dict[tuple[str, int], str] = {}
        for index, one in enumerate(self.cameras):
            try:
                device = self._of(one)
            except InvalidValueError as error:
                raise InvalidValueError(str(error), "cameras", index, *error.path) from None
            for name, settings in (("web", device.web), ("metrics", device.metrics)):
                if settings.enabled and settings.port:
                    what = f"{name} of {one.device}"
                    other = listeners.setdefault((settings.host, settings.port), what)
                    if other != what:
                        raise InvalidValueError(
                            f"{what} would listen on port {settings.port} as {other} does; give each camera its own, "
                            f"{name}: {{port: {settings.port + 1}}}",
                            "cameras", index, name, "port",
                        )  # fmt: skip

    def _check_hours(self) -> None:
        """Refuse hours that are none, and groups that nothing pages."""
        paged = sorted(_paged([*self.rules, *(rule for one in self.cameras for rule in one.rules or ())]))
        for index, group in enumerate(self.groups):
            if group.name not in paged:
                known = ", ".join(paged) or "none"
                raise InvalidValueError(f"no rule pages {group.name!r}; there are {known}", "groups", index, "name")
        hours = [one.name for one in self.hours]
        kept = [("rules", index, rule.hours) for index, rule in enumerate(self.rules)]
        kept += [("groups", index, group.hours) for index, group in enumerate(self.groups)]
        for key, index, name in kept:
            if name is not None and name not in hours:
                known = ", ".join(hours) or "none"
                raise InvalidValueError(f"there are no hours {name!r}; there are {known}", key, index, "hours")

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
    """Read a configuration file and its drop-ins; see `files.load` for what is refused.

    Raises:
        ConfigError: a file does not fit.
    """
    return load_with_origins(path).config


def load_with_origins(path: Path, *, instead: Mapping[Path, bytes] | None = None) -> Loaded[Config]:
    """Do the same, and return as well which files were read, and which said what; `instead` is `files.load`'s."""
    return files.load(path, Config, instead=instead)


def _paged(rules: Iterable[Rule]) -> set[str]:
    """Return the groups that any of these rules pages."""
    return {group for rule in rules for group in (rule.group, *(step.group for step in rule.escalation))}


def _check_unique(names: list[str], *keys: str, key: str = "name") -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            raise InvalidValueError(f"the name {name!r} is used twice", *keys, index, key)
        seen.add(name)
