"""How well `doctor --privacy` tells encoded pictures from the agent's own words: `python benchmarks/encoded.py`.

Honest is what the agent's own code writes with the texts of all languages and random names, numbers and times.
Pictures are pieces of 48x48 pixels of the demo's clips, in memory, in several encodings, whole and in the parts that a
text field has room for.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import logging
import random
import string
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from babel.messages.pofile import read_po

sys.path.insert(0, str(Path(__file__).parents[1]))

from edge_agent import config, logs
from edge_agent.alerting.alert import Alert
from edge_agent.alerting.ulid import make_ulid
from edge_agent.camera.recording import play
from edge_agent.config import Config, Rule
from edge_agent.delivery.episodes import Episodes, Now, to_text
from edge_agent.delivery.messages import Composer, Message, Snooze, Summary
from edge_agent.demo import CLIPS
from edge_agent.tools.privacy.encoded import oddity
from edge_agent.tools.privacy.sent import Messages

_LOCALE = Path(__file__).parents[1] / "edge_agent" / "locale"
_SIDE_PX = 48
#: Standard deviation of grey levels: an empty wall has less.
_MIN_STD = 25.0
_STEPS = ("raised", "escalated", "acked", "cleared")
_EMOTIONS = ("angry", "happy", "neutral", "sad", "other")


def texts() -> list[list[str]]:
    """Return the project's texts, up to the length that a message of a rule may have, language by language."""
    found: dict[str, set[str]] = {"en": set()}
    for path in sorted(_LOCALE.rglob("*.po")):
        with path.open("rb") as file:
            for message in read_po(file):
                found["en"].add(str(message.id))
                found.setdefault(str(path), set()).add(str(message.string))
    return [sorted(text for text in some if 0 < len(text) <= 200 and text.isprintable()) for some in found.values()]


class Honest:
    """Makes what the agent makes, of a device whose configuration is drawn by chance."""

    def __init__(self, chance: random.Random, prose: list[list[str]]) -> None:
        # What the agent itself says is English; what its configuration says is in the language of the place.
        self.chance, self.prose, place = chance, prose[0], chance.choice(prose)
        rules = tuple(
            Rule(
                name=f"{self.name()}-{number}",
                message=chance.choice(place),
                emotions=tuple(chance.sample(_EMOTIONS, 2)),
            )
            for number in range(chance.randint(1, 6))
        )
        site = config.Site(name=self.name(), device=self.name(), place=chance.choice(place)[:60])
        self.config = Config(site=site, rules=rules, privacy=config.Privacy(notice_posted=True))
        self.judge = Messages(self.config)
        self.composer = Composer(self.config, session=self.ulid(), unix=self.unix_s, monotonic=self.monotonic_s)
        self.facts = {
            "agent_version": "1.0.0", "model": "fer-compact-3", "model_sha256": self.hex(64), "detector": "blazeface",
            "config": self.hex(16), "python": "3.11.2", "runtime": "ai-edge-litert 1.2.0",
        }  # fmt: skip

    def name(self) -> str:
        return "-".join(self.chance.choices(["shop", "lobby", "till", "north", "0412", "kiosk", "7f3a9c"], k=3))

    def corner(self) -> list[float]:
        return [round(self.chance.random(), 4), round(self.chance.random(), 4)]

    def ulid(self) -> str:
        return make_ulid(self.unix_s(), self.chance.randbytes(10))

    def hex(self, length: int) -> str:
        return self.chance.randbytes(length // 2).hex()

    def unix_s(self) -> float:
        return 1.8e9 + self.chance.random() * 1e8

    def monotonic_s(self) -> float:
        return self.chance.random() * 1e6

    def alert(self) -> Alert:
        step = self.chance.choice(_STEPS)
        return Alert(
            id=self.ulid(), rule=self.chance.choice(self.config.rules), zone="view", step=step,  # type: ignore[arg-type]
            revision=self.chance.randint(1, 30), score=self.chance.random(), people=self.chance.randint(1, 9),
            raised_s=10.0, paged_s=10.0, changed_s=12.0,
        )  # fmt: skip

    def alerts(self) -> list[Alert]:
        return [self.alert() for _ in range(self.chance.randint(0, 12))]

    def messages(self) -> Iterator[Message]:
        """Yield one of each kind."""
        chance, compose = self.chance, self.composer
        rules = [rule.name for rule in self.config.rules]
        snoozes = [Snooze(chance.choice(rules), "view", self.unix_s(), "") for _ in range(chance.randint(0, 20))]
        yield compose.info(self.facts)
        yield compose.state("degraded", chance.choice(self.prose), snoozes)
        yield compose.alert(self.alert())
        yield compose.active(self.alerts(), sequence=chance.randint(0, 9999))
        detail = chance.choice(
            [f"{compose.topic('alert', self.ulid())} could not be delivered in time", chance.choice(self.prose)]
        )
        yield compose.event("camera", detail)
        shares = {emotion: round(chance.random(), 4) for emotion in _EMOTIONS}
        begin_s = self.unix_s()
        yield compose.summary(Summary(chance.randint(5, 99), shares, chance.random()), begin_s=begin_s, end_s=begin_s)

    def oddities(self) -> Iterator[tuple[str, str]]:
        """Yield what is said of each thing that is honest, and which it is."""
        for message in self.messages():
            yield "message", self.judge.problem(message.topic, message.payload)
        known = self.judge.known
        now = Now(1000.0, self.unix_s(), self.hex(32), 50.0)
        note = to_text(Episodes(tuple(self.alerts()), {("r", "view"): 2000.0}, (), {}), now=now)
        yield "note", oddity(json.dumps(json.loads(note), ensure_ascii=False).encode(), known=known)
        zones = [[self.corner() for _ in range(self.chance.randint(3, 20))] for _ in range(self.chance.randint(1, 20))]
        yield "drawn zone", oddity(json.dumps(zones).encode(), known=known)
        for style in ("json", "pretty"):
            yield "log", oddity(self._log(style).encode(), known=known)

    def _log(self, style: str) -> str:
        out = io.StringIO()
        logs.set_up_logging(config.Logging(format=style), out)  # type: ignore[arg-type]
        log = logging.getLogger("edge_agent")
        for _ in range(self.chance.randint(1, 60)):
            one = self.alert()
            said = {
                "alert": one.id, "rule": one.rule.name, "step": one.step, "message": one.rule.message,
                "score": round(one.score, 3), "people": one.people, "model": self.facts["model_sha256"],
            }  # fmt: skip
            log.info(self.chance.choice(self.prose), extra=logs.fields(**said))
        return out.getvalue()


def crops(chance: random.Random, count: int) -> list[np.ndarray]:
    """Return pieces of the demo's clips that show something, uint8 (48, 48, 3) BGR."""
    frames = [image for clip in CLIPS.values() for _, image in play(clip, loop=False)][::10]
    found: list[np.ndarray] = []
    while len(found) < count:
        image = chance.choice(frames)
        top, left = (chance.randrange(size - _SIDE_PX) for size in image.shape[:2])
        piece = image[top : top + _SIDE_PX, left : left + _SIDE_PX]
        if _grey_std(piece) >= _MIN_STD:
            found.append(piece)
    return found


def _grey_std(piece: np.ndarray) -> float:
    return float(cv2.cvtColor(piece, cv2.COLOR_BGR2GRAY).std())


def _encoded(suffix: str, *options: int) -> Callable[[np.ndarray], bytes]:
    return lambda crop: cv2.imencode(suffix, crop, options)[1].tobytes()


def _grey(crop: np.ndarray) -> bytes:
    return bytes(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY).tobytes())


FORMS: dict[str, Callable[[np.ndarray], bytes]] = {
    "grey pixels": _grey,
    "grey pixels, deflated": lambda crop: zlib.compress(_grey(crop), 9)[2:],
    "JPEG": _encoded(".jpg", cv2.IMWRITE_JPEG_QUALITY, 50),
    "JPEG without its head": lambda crop: _encoded(".jpg", cv2.IMWRITE_JPEG_QUALITY, 50)(crop).partition(b"\xff\xda")[
        2
    ],
    "PNG": _encoded(".png"),
    "WebP": _encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 50),
}
TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": bytes,
    "base64": base64.b64encode,
    "base32": base64.b32encode,
    "hex": lambda data: data.hex().encode(),
    "base85": base64.b85encode,
    "numbers": lambda data: str(list(data)).encode(),
    "letters a to p": lambda data: "".join(string.ascii_lowercase[n] for b in data for n in divmod(b, 16)).encode(),
}


def _words(length: int) -> Callable[[str], str]:
    return lambda text: " ".join(text[at : at + length] for at in range(0, len(text), length))


#: Where a text stands: characters of a part, and what is made of it.
PARTS: dict[str, tuple[int, Callable[[str], str]]] = {
    "whole file": (0, str),
    "300 characters": (300, str),
    "64 characters": (64, str),
    "words of 30": (290, _words(30)),
    "words of 8": (260, _words(8)),
    "30 characters": (30, str),
}


def told(crop: np.ndarray, form: str, text: str, part: str, honest: Honest) -> tuple[int, int]:
    """Return how many parts of an encoded picture there are, and how many are told."""
    data = TEXTS[text](FORMS[form](crop))
    size, shape = PARTS[part]
    if not size:
        return 1, bool(oddity(data))
    whole = data.decode("latin-1")
    parts = [shape(whole[at : at + size]) for at in range(0, len(whole), size)]
    found = 0
    for one in parts:
        message = honest.composer.event("camera", one)
        found += bool(honest.judge.problem(message.topic, message.payload, count=False))
    return len(parts), found


def main() -> None:
    """Print what is told, as a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=1000, help="with other names and texts each (default 1000)")
    parser.add_argument("--crops", type=int, default=20, help="in each encoding (default 20)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance, began_s = random.Random(options.seed), time.monotonic()
    prose = texts()
    counts: dict[str, int] = {}
    wrong: list[tuple[str, str]] = []
    for _ in range(options.devices):
        for kind, problem in Honest(chance, prose).oddities():
            counts[kind] = counts.get(kind, 0) + 1
            if problem:
                wrong.append((kind, problem))
    made = ", ".join(f"{count:,} {kind}s" for kind, count in counts.items())
    print(f"honest: {len(wrong)} of {sum(counts.values()):,} called odd ({made})")
    for kind, problem in wrong[:10]:
        print(f"  {kind}: {problem}")
    pictures = crops(chance, options.crops)
    print("\n| encoding | " + " | ".join(PARTS) + " |\n|---|" + "---|" * len(PARTS))
    for form in FORMS:
        for text in TEXTS:
            honest = Honest(chance, prose)
            cells = []
            for part in PARTS:
                if text == "as it is" and part != "whole file":
                    cells.append("")
                    continue
                found = [told(crop, form, text, part, honest) for crop in pictures]
                cells.append(f"{100 * sum(n for _, n in found) / sum(n for n, _ in found):.0f} %")
            print(f"| {form}, {text} | " + " | ".join(cells) + " |", flush=True)
    print(f"\n{time.monotonic() - began_s:.0f} s")


if __name__ == "__main__":
    main()
