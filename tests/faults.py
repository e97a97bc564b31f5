"""Stages faults with the real parts and counts what became of every alert: `make faults`.

The agent runs as a process of its own, mosquitto too, and the pager is the one staff use. The camera is a folder of
frames in which somebody is angry all the time; the pager resolves each page as soon as it is shown, so that the next is
raised at once and every fault falls among alerts in all stages of their lives.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import yaml

from edge_agent.config import Mqtt, load_config
from edge_agent.delivery.bus import MqttBus
from edge_agent.delivery.messages import MessageError, parse_ack, parse_object
from edge_agent.demo import CLIPS
from edge_agent.errors import ConfigError
from edge_agent.pager.client import Page, Pager

SITE = "faults"
_ANGRY_FROM_S = 11.5
_ANSWER_AGAIN_S = 1.0


class Broker:
    """A mosquitto that can be killed and comes back with what it had promised to keep."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        folder.mkdir()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\n")
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["/usr/sbin/mosquitto", "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Staff:
    """The pager, in a thread; resolves every page and remembers how often each was shown."""

    def __init__(self, port: int) -> None:
        self._wake, self._stop = threading.Event(), threading.Event()
        self._bus = MqttBus(
            Mqtt(port=port, connect_retry_max_s=1.0), client_id="faults-pager", password=None,
            subscriptions=[f"kiosk/v1/{SITE}/+/alert/+"],
            wake=self._wake.set, jitter=lambda: 0.05,
        )  # fmt: skip
        self.shown: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._bus.start()
        self._thread.start()

    def _serve(self) -> None:
        pager = Pager(self._bus, name="faults")
        answered_s: dict[str, float] = {}
        while not self._stop.is_set():
            self._wake.wait(0.05)
            self._wake.clear()
            for item in pager.poll():
                if isinstance(item, Page) and item.step == "raised":
                    self.shown[item.id] += 1
            for page in list(pager.open.values()):
                # An answer that a killed broker took along is given again, as people do.
                if time.monotonic() - answered_s.get(page.id, 0.0) > _ANSWER_AGAIN_S:
                    answered_s[page.id] = time.monotonic()
                    pager.act(page, "resolve")

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._bus.stop()


class Kiosk:
    """The agent's process, again and again, and the alerts that its log says were raised."""

    def __init__(self, folder: Path, port: int, frames: Path) -> None:
        self.state_dir = folder / "state"
        self.raised: set[str] = set()
        self.tracebacks = 0
        self._file = folder / "config.yaml"
        self._file.write_text(yaml.safe_dump({
            "site": {"name": SITE},
            "camera": {"device": str(frames), "loop": True, "frame_rate_hz": 30.0},
            "privacy": {"notice_posted": True},
            "tracking": {"smoothing_s": 0.0},
            "rules": [{"name": "angry", "upper": 0.3, "dwell_s": 0.05, "min_observations": 2, "cooldown_s": 0.0,
                       "expiry_s": 3600.0}],
            "mqtt": {"port": port, "connect_retry_max_s": 1.0},
            "outbox": {"state_dir": str(self.state_dir)},
            "logging": {"format": "json", "health_interval_s": 1.0},
        }))  # fmt: skip

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", "run", "--config", str(self._file)], stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            if "Traceback" in line:
                self.tracebacks += 1
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if event.get("event") == "alert raised":
                    self.raised.add(event["id"])

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait()
        self._reader.join()


@dataclass
class Row:
    """What became of the alerts of one kind of fault; `broke` counts tracebacks and errors of other kinds."""

    fault: str
    tried: int
    raised: int = 0
    delivered: int = 0
    shown_once: int = 0
    lost: int = 0
    doubled: int = 0
    broke: int = 0
    note: str = ""


@dataclass
class Scene:
    """Everything a fault can be done to."""

    folder: Path
    frames: Path
    random: random.Random
    broker: Broker = field(init=False)
    kiosk: Kiosk = field(init=False)
    staff: Staff = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.broker = Broker(self.folder / "broker")
        self.kiosk = Kiosk(self.folder, self.broker.port, self.frames)
        self.staff = Staff(self.broker.port)

    def run(self, fault: str, tries: int, do: Callable[[Scene, int], None]) -> Row:
        """Do it `tries` times, then let the agent finish in peace, and count."""
        self.kiosk.start()
        for number in range(tries):
            self.wait(0.2, 1.2)
            do(self, number)
            _progress(fault, number + 1, tries)
        self.settle()
        self.kiosk.end(signal.SIGTERM)
        self.wait(1.0, 1.0)
        self.staff.close()
        self.broker.kill()
        shown = self.staff.shown
        return Row(
            fault, tries, len(self.kiosk.raised), len(set(shown)), sum(n == 1 for n in shown.values()),
            lost=len(self.kiosk.raised - set(shown)), doubled=sum(n > 1 for n in shown.values()),
            broke=self.kiosk.tracebacks,
        )  # fmt: skip

    def wait(self, low_s: float, high_s: float) -> None:
        threading.Event().wait(self.random.uniform(low_s, high_s))

    def until_shown(self) -> None:
        """Wait for the next page, at most ten seconds, so that the next fault falls among alerts again."""
        before, give_up_s = len(self.staff.shown), time.monotonic() + 10
        while len(self.staff.shown) == before and time.monotonic() < give_up_s:
            self.wait(0.1, 0.1)

    def settle(self) -> None:
        """Wait until everything raised so far has been shown, at most a minute."""
        before = set(self.kiosk.raised)
        give_up_s = time.monotonic() + 60
        while not before <= set(self.staff.shown) and time.monotonic() < give_up_s:
            self.wait(0.2, 0.2)


def kill_agent(scene: Scene, number: int) -> None:
    del number
    scene.kiosk.end(signal.SIGKILL)
    scene.kiosk.start()


def kill_broker(scene: Scene, number: int) -> None:
    del number
    scene.broker.kill()
    scene.wait(0.0, 0.5)
    scene.broker.start()
    scene.until_shown()


def kill_both(scene: Scene, number: int) -> None:
    scene.broker.kill()
    scene.kiosk.end(signal.SIGKILL)
    scene.kiosk.start()
    scene.wait(0.0, 0.5)
    scene.broker.start()
    scene.until_shown()
    del number


def stop_agent(scene: Scene, number: int) -> None:
    del number
    scene.kiosk.end(signal.SIGTERM)
    scene.kiosk.start()


def freeze_agent(scene: Scene, number: int) -> None:
    del number
    scene.kiosk.process.send_signal(signal.SIGSTOP)
    scene.wait(0.2, 1.0)
    scene.kiosk.process.send_signal(signal.SIGCONT)


def forge(scene: Scene, number: int) -> None:
    """Junk, answers to other alerts and commands of other devices."""
    import paho.mqtt.publish as publish

    base = f"kiosk/v1/{SITE}/kiosk-1"
    chance = scene.random
    publish.multiple(
        [
            (f"{base}/ack/{'0' * 26}", json.dumps({"schema": "ack", "version": 1, "id": "0" * 26, "action": "resolve",
                                                   "by": "mallory"}), 1, False),
            (f"{base}/ack/x", chance.randbytes(200), 1, False),
            (f"{base}/cmd/reboot", b'{"schema": "command", "version": 1, "request_id": "r"}', 1, False),
            (f"{base}/cmd/ping", b"[" * 10_000, 1, False),
            (f"{base}/cmd/snooze", b'{"schema": "command", "version": 1, "request_id": "r", "snooze_s": -1}', 1, False),
            (f"kiosk/v1/{SITE}/kiosk-2/alert/{'0' * 26}", b"{}", 1, False),
        ],
        hostname="127.0.0.1", port=scene.broker.port,
    )  # fmt: skip
    del number


def spoil_outbox(scene: Scene, number: int) -> None:
    """Everything was shown; then the file is overwritten with noise while the agent is down."""
    del number
    scene.kiosk.end(signal.SIGTERM)
    scene.settle()
    (scene.kiosk.state_dir / "outbox.sqlite3").write_bytes(scene.random.randbytes(20_000))
    scene.kiosk.start()


ALERT_FAULTS: dict[str, tuple[int, Callable[[Scene, int], None]]] = {
    "agent SIGKILL": (200, kill_agent),
    "agent SIGTERM": (50, stop_agent),
    "agent stands still (SIGSTOP)": (50, freeze_agent),
    "broker SIGKILL": (100, kill_broker),
    "broker and agent SIGKILL": (50, kill_both),
    "forged answers and commands": (50, forge),
    "outbox overwritten with noise": (20, spoil_outbox),
}


def fuzz_configs(folder: Path, count: int, chance: random.Random) -> Row:
    """Damage config.yaml in every way; it is accepted or refused with a line, never anything else."""
    text = (Path(__file__).parent.parent / "config.yaml").read_text()
    file, refused, odd = folder / "fuzzed.yaml", 0, []
    for number in range(count):
        file.write_bytes(_damage(text.encode(), chance))
        try:
            load_config(file)
        except ConfigError:
            refused += 1
        except Exception as error:  # what must not happen is what is looked for
            odd.append(repr(error)[:80])
        if number % 500 == 499:
            _progress("fuzzed configurations", number + 1, count)
    return Row("fuzzed configurations", count, broke=len(odd), note=f"{refused} refused {odd[:1] or ''}")


def fuzz_messages(count: int, chance: random.Random) -> Row:
    """Damage acknowledgements in every way; they are read or refused, never anything else."""
    good = json.dumps({"schema": "ack", "version": 1, "id": "0" * 26, "action": "snooze", "by": "kim", "snooze_s": 5})
    refused, odd = 0, []
    for _ in range(count):
        payload = _damage(good.encode(), chance)
        for parse in (parse_ack, lambda raw: parse_object(raw, schema="ack")):
            try:
                parse(payload)
            except MessageError:
                refused += 1
            except Exception as error:  # what must not happen is what is looked for
                odd.append(repr(error)[:80])
    return Row("fuzzed messages", 2 * count, broke=len(odd), note=f"{refused} refused {odd[:1] or ''}")


_TOKENS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"- ",
    b"null",
    b"-1",
    b"1e999",
    b"\xff",
    b"\x00",
    b"&a",
    b"*a",
    b"!!python/x",
    b"'",
    b"\n",
    b"\t",
]


def _damage(text: bytes, chance: random.Random) -> bytes:
    content = bytearray(text)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(content) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            content[place:place] = chance.choice(_TOKENS)
        elif kind == 1:
            del content[place : place + chance.randint(1, 40)]
        elif kind == 2:
            content[place : place + 1] = chance.randbytes(chance.randint(1, 3))
        else:
            length = chance.randint(1, 200)
            content[place:place] = content[place : place + length]
    return bytes(content)


def angry_frames(folder: Path) -> Path:
    """Write a second of the demo clip in which the face is angry, as pictures."""
    folder.mkdir()
    capture = cv2.VideoCapture(str(CLIPS["one"]))
    capture.set(cv2.CAP_PROP_POS_MSEC, _ANGRY_FROM_S * 1000)
    for number in range(15):
        _, image = capture.read()
        cv2.imwrite(str(folder / f"{number:02d}.png"), image)
    capture.release()
    return folder


def as_table(rows: list[Row]) -> str:
    """Return Markdown."""
    names = ("fault", "tried", "raised", "delivered", "shown once", "lost", "doubled", "broke", "")
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        cells = (
            row.fault,
            row.tried,
            row.raised,
            row.delivered,
            row.shown_once,
            row.lost,
            row.doubled,
            row.broke,
            row.note,
        )
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _progress(what: str, done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{what}: {done} of {of}   ", end="", file=sys.stderr, flush=True)


def rows(share: float, only: str, seed: int) -> Iterator[Row]:
    """Yield one row after the other."""
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        frames = angry_frames(folder / "frames")
        for fault, (tries, do) in ALERT_FAULTS.items():
            if re.search(only, fault):
                scene = Scene(folder / re.sub(r"\W", "-", fault), frames, chance)
                yield scene.run(fault, max(1, round(tries * share)), do)
        for fault, fuzz in (
            ("fuzzed configurations", lambda n: fuzz_configs(folder, n, chance)),
            ("fuzzed messages", lambda n: fuzz_messages(n, chance)),
        ):
            if re.search(only, fault):
                yield fuzz(max(10, round(10_000 * share)))


def main() -> int:
    """Print the table; exit code 1 if an alert was lost or doubled, or anything broke."""
    parser = argparse.ArgumentParser(prog="python tests/faults.py", description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the full number of tries, e.g. 0.05")
    parser.add_argument("--only", default="", help="faults whose name matches this")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = []
    for row in rows(options.share, options.only, options.seed):
        found.append(row)
        print("\n" + as_table([row]).splitlines()[-1], flush=True)
    print("\n" + as_table(found))
    bad = [row for row in found if row.lost or row.doubled or row.broke]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
