"""What is asked, in which order: one list of steps, which terminal and page both walk."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_agent.config import Config
from edge_agent.config.options import describe, plain_type
from edge_agent.setup import finding
from edge_agent.setup.draft import Draft, parse
from edge_agent.setup.finding import Found

Kind = Literal["text", "yes", "choice", "password"]
#: The question whose answer goes into a file of its own.
PASSWORD = "password"
INSTALL_BROKER = ("apt-get", "install", "mosquitto", "mosquitto-clients")
#: How many corners a zone needs; there may be any number.
MIN_CORNERS = 3


@dataclass(frozen=True, slots=True)
class Question:
    """One option to ask for.

    Attributes:
        option: dotted name, or PASSWORD.
        text: the question.
        wanted: whether it is to be asked, after the answers so far.
    """

    option: str
    text: str
    wanted: Callable[[Config], bool] = lambda _: True

    @property
    def kind(self) -> Kind:
        """How it is answered."""
        if self.option == PASSWORD:
            return "password"
        inner = plain_type(describe(self.option).kind)
        return "yes" if inner is bool else "choice" if typing.get_origin(inner) is Literal else "text"

    @property
    def choices(self) -> tuple[str, ...]:
        """What can be answered; empty where that is free."""
        if self.option == "camera.rotate":
            return ("0", "90", "180", "270")
        return tuple(typing.get_args(plain_type(describe(self.option).kind))) if self.kind == "choice" else ()


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the wizard; terminal and page know by its key whether there is more to it than questions.

    Attributes:
        text: what it is about.
        find: what can be chosen; by_hand: asked where none of that is.
        questions: always asked.
    """

    key: Literal["place", "camera", "zones", "broker", "pages", "pagers", "sign"]
    title: str
    text: str
    questions: Sequence[Question] = ()
    find: Callable[[], list[Found]] | None = None
    by_hand: Sequence[Question] = ()


def _has_user(config: Config) -> bool:
    return config.mqtt.username is not None


def _has_rule(config: Config) -> bool:
    return bool(config.rules)


STEPS = (
    Step(
        "place",
        "The place",
        "Site and device are parts of every MQTT topic (letters, digits, _ . -); staff read the place on their pagers.",
        (
            Question("site.name", "Name of the site"),
            Question("site.device", "Name of this device, unique within the site"),
            Question("site.place", "Where it stands, as staff say it"),
            Question("site.jurisdiction", "Country, two letters such as DE, for what its law wants on the sign"),
        ),
    ),
    Step(
        "camera",
        "The camera",
        "The picture is shown here and kept nowhere.",
        (Question("camera.rotate", "Turn it clockwise by so many degrees (0, 90, 180 or 270)"),),
        finding.cameras,
        (
            Question("camera.source", "Kind: picamera2 for a Raspberry Pi camera, opencv for all else"),
            Question("camera.device", "Device: a number, /dev/v4l/by-id/…, rtsp://…, a video file or a folder"),
        ),
    ),
    Step(
        "zones",
        "Zones",
        "Zones to ignore are blacked out before anything looks: screens, the street, wherever staff work. Zones for "
        "alerts have a name, and pages say it. A zone has three corners or more.",
    ),
    Step(
        "broker",
        "The broker",
        "Pages travel over an MQTT broker of yours.",
        (
            Question(
                "mqtt.tls.ca_file", "File of the broker's certificate authority, if it is not one of the system's",
                lambda config: config.mqtt.tls.enabled,
            ),
            Question("mqtt.username", "User of the broker for this device, such as lobby/kiosk-1, if it wants one"),
            Question(PASSWORD, "Its password; it goes into a file of its own", _has_user),
        ),
        finding.brokers,
        (
            Question("mqtt.host", "Host name or address"),
            Question("mqtt.port", "Port, 1883, or 8883 with TLS"),
            Question("mqtt.tls.enabled", "Does it speak TLS"),
        ),
    ),
    Step(
        "pages",
        "When to page",
        "A lower threshold pages for more people who are calm, a higher one misses more who are not.",
    ),
    Step(
        "pagers",
        "Pagers",
        "Staff are paged on phones, in a terminal, or with a lamp and a buzzer; each is a client of the broker.",
        (
            Question("rules.0.message", "What the page says", _has_rule),
            Question("home_assistant.enabled", "Announce this device to Home Assistant"),
        ),
    ),
    Step(
        "sign",
        "The sign",
        "Tell people about the camera before they are in view. Until this sign is up, what would be paged is only "
        "counted.",
    ),
)  # fmt: skip


def answer(draft: Draft, question: Question, text: str) -> None:
    """Take what somebody typed.

    Raises:
        ConfigError: it does not fit.
    """
    if question.option == PASSWORD:
        draft.password = text or draft.password
    else:
        draft.set({question.option: parse(question.option, text)})


def zone_of(text: str) -> list[list[float]]:
    """Return the corners of a zone, shares of width and height, from text such as `0,0 30,0 30,100 0,100`.

    Raises:
        ValueError: it is none; the message says what is wanted.
    """
    wanted = "write three or more corners as x,y in percent, such as: 0,0 30,0 30,100 0,100"
    try:
        corners = [[round(float(part) / 100, 4) for part in corner.split(",")] for corner in text.split()]
    except ValueError:
        raise ValueError(wanted) from None
    if len(corners) < MIN_CORNERS or any(len(corner) != 2 for corner in corners):
        raise ValueError(wanted)
    if not all(0 <= part <= 1 for corner in corners for part in corner):
        raise ValueError(f"a corner lies outside of the picture; {wanted}")
    return corners


def pager_file(config: Config) -> str:
    """Return what `staff.yaml` of a pager says, for the broker of this configuration."""
    mqtt = config.mqtt
    tls = f", tls: {{enabled: true{f', ca_file: {mqtt.tls.ca_file}' * (mqtt.tls.ca_file is not None)}}}"
    user = ", username: staff, password_file: staff-password" if mqtt.username is not None else ""
    return f"mqtt: {{host: {mqtt.host}, port: {mqtt.port}{user}{tls * mqtt.tls.enabled}}}"


def next_commands(path: Path) -> list[str]:
    """Return what starts the agent with what was written."""
    if path.is_relative_to("/etc/edge-agent"):
        return ["sudo systemctl restart edge-agent", "journalctl -fu edge-agent"]
    return [f"edge-agent run --config {path}"]
