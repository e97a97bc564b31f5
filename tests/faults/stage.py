"""The stage: a real broker, the agent as a process, and staff who resolve every page as soon as it is shown."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from edge_agent.config import Mqtt
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.pager.client import TOPICS, Pager
from edge_agent.pager.news import Link
from edge_agent.pager.page import Page
from edge_agent.testing import free_port

SITE = "faults"
_ANSWER_AGAIN_S = 1.0


class Broker:
    """A mosquitto that can be killed and comes back with what it had promised to keep."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        folder.mkdir()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"per_listener_settings false\nallow_anonymous true\nuser root\nlistener {self.port} 127.0.0.1\n"
        )
        self.start()

    def add_listener(self, port: int, *lines: str) -> None:
        """Listen on another port from the next start on."""
        with self._config.open("a") as file:
            file.write("\n".join([f"listener {port} 127.0.0.1", *lines]) + "\n")

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
            subscriptions=[f"kiosk/v1/{SITE}/+/{topic}" for topic in TOPICS],
            wake=self._wake.set, jitter=lambda: 0.05, keep_session=False,
        )  # fmt: skip
        self.shown: Counter[str] = Counter()
        #: How long after its step each page was shown, in seconds.
        self.late_s: list[float] = []
        #: How often the broker had forgotten this pager.
        self.forgotten = 0
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
                    if item.stepped_s is not None:
                        self.late_s.append(time.time() - item.stepped_s)
                elif isinstance(item, Link):
                    self.forgotten += item.forgotten
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
        #: Alert id → rule.
        self.rules: dict[str, str] = {}
        #: That runs.
        self.model = ""
        self.tracebacks = self.log_bytes = 0
        #: Called in the process before the agent begins.
        self.before: Callable[[], None] | None = None
        #: How Python starts the agent.
        self.launch = ["-m", "edge_agent"]
        #: What the log said, in order, and how much of that before the latest start.
        self.said: list[str] = []
        self.started = 0
        self._file = folder / "config.yaml"
        self.settings: dict[str, dict[str, Any]] = {
            "site": {"name": SITE},
            "camera": {"device": str(frames), "loop": True, "frame_rate_hz": 30.0},
            "privacy": {"notice_posted": True},
            "tracking": {"smoothing_s": 0.0},
            "rules": [{"name": "angry", "upper": 0.3, "dwell_s": 0.05, "min_observations": 2, "cooldown_s": 0.0,
                       "expiry_s": 600.0}],
            "mqtt": {"port": port, "connect_retry_max_s": 1.0},
            "outbox": {"state_dir": str(self.state_dir)},
            "logging": {"format": "json", "health_interval_s": 1.0},
        }  # fmt: skip

    def start(self) -> None:
        self._file.write_text(yaml.safe_dump(self.settings))
        self.started = len(self.said)
        self.process = subprocess.Popen(
            [sys.executable, *self.launch, "run", "--config", str(self._file)],
            stderr=subprocess.PIPE, text=True, preexec_fn=self.before,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.log_bytes += len(line)
            if "Traceback" in line:
                self.tracebacks += 1
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                self.said.append(str(event.get("event")))
                if event.get("event") == "watching":
                    self.model = event["model"]
                if event.get("event") == "alert raised":
                    self.raised.add(event["id"])
                    self.rules[event["id"]] = event["rule"]

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.wait()

    def wait(self) -> int:
        """Return the exit code of an agent that ends."""
        code = self.process.wait()
        self._reader.join()
        return code


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
    #: It showed something: there were alerts, or there was nothing to raise them.
    works: bool = True


@dataclass(frozen=True)
class Fault:
    """What is done to a scene, and how often.

    Attributes:
        prepare: before the agent starts; returns why the fault cannot be staged here, or nothing.
        finish: afterwards.
    """

    tries: int
    do: Callable[[Scene, int], None]
    prepare: Callable[[Scene], str] = lambda _: ""
    finish: Callable[[Scene], None] = lambda _: None


@dataclass
class Scene:
    """Everything a fault can be done to."""

    folder: Path
    frames: Path
    random: random.Random
    broker: Broker = field(init=False)
    kiosk: Kiosk = field(init=False)
    staff: Staff = field(init=False)
    #: What a fault keeps between its tries.
    props: dict[str, Any] = field(default_factory=dict)
    #: How often the agent said what was wrong.
    named: int = 0
    #: What else was not as it should be, beside tracebacks.
    wrong: list[str] = field(default_factory=list)
    #: Alerts that were not shown where they had to be, though perhaps later.
    missed: set[str] = field(default_factory=set)
    #: Alerts that a damaged file held, and that the agent said were lost.
    given_up: set[str] = field(default_factory=set)
    #: What was measured, for the table.
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.broker = Broker(self.folder / "broker")
        self.kiosk = Kiosk(self.folder, self.broker.port, self.frames)
        self.staff = Staff(self.broker.port)

    def run(self, name: str, fault: Fault, *, tries: int) -> Row:
        """Do it `tries` times, then let the agent finish in peace, and count."""
        problem = fault.prepare(self)
        if problem:
            self.staff.close()
            self.broker.kill()
            return Row(name, 0, note=f"not staged here: {problem}")
        self.kiosk.start()
        try:
            for number in range(tries):
                self.wait(0.2, 1.2)
                fault.do(self, number)
                progress(name, number + 1, tries)
            self.until_shown()
            self.settle()
            self.kiosk.end(signal.SIGTERM)
            self.wait(1.0, 1.0)
        except BaseException:
            self.kiosk.end(signal.SIGKILL)
            raise
        finally:
            self.staff.close()
            self.broker.kill()
            fault.finish(self)
        shown = self.staff.shown
        return Row(
            name, tries, len(self.kiosk.raised), len(set(shown)), sum(n == 1 for n in shown.values()),
            lost=len(((self.kiosk.raised - set(shown)) | self.missed) - self.given_up),
            doubled=sum(n > 1 for n in shown.values()),
            broke=self.kiosk.tracebacks + len(self.wrong), works=bool(self.kiosk.raised), note=self._note(),
        )  # fmt: skip

    def _note(self) -> str:
        said = [f"said so {self.named} times"] if self.named else []
        given_up = [f"{len(self.given_up)} set aside, said so"] if self.given_up else []
        return "; ".join(said + given_up + self.notes + self.wrong[:3])

    def wait(self, low_s: float, high_s: float) -> None:
        threading.Event().wait(self.random.uniform(low_s, high_s))

    def until_shown(self, seconds: float = 10) -> bool:
        """Wait for the next page, so that the next fault falls among alerts again; return whether it came."""
        before = len(self.staff.shown)
        return self.until(lambda: len(self.staff.shown) > before, seconds)

    def until(self, holds: Callable[[], bool], seconds: float = 30) -> bool:
        """Wait until something holds; return whether it does."""
        give_up_s = time.monotonic() + seconds
        while not holds() and time.monotonic() < give_up_s:
            self.wait(0.05, 0.05)
        return holds()

    def until_watching(self) -> None:
        """Wait until the agent that was started last looks at its camera, at most half a minute."""
        self._said("watching", since=self.kiosk.started)

    def until_said(self, *texts: str, since: int, seconds: float = 30) -> bool:
        """Wait until the agent's log says one of these texts after its `since` first lines."""
        said = self._said(*texts, since=since, seconds=seconds)
        self.named += said
        return said

    def _said(self, *texts: str, since: int, seconds: float = 30) -> bool:
        give_up_s = time.monotonic() + seconds
        while time.monotonic() < give_up_s:
            if any(text in line for line in self.kiosk.said[since:] for text in texts):
                return True
            self.wait(0.1, 0.1)
        return False

    def settle(self) -> None:
        """Wait until everything raised so far has been shown, at most a minute."""
        before = set(self.kiosk.raised)
        give_up_s = time.monotonic() + 60
        while not before <= set(self.staff.shown) and time.monotonic() < give_up_s:
            self.wait(0.2, 0.2)


def progress(what: str, done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{what}: {done} of {of}   ", end="", file=sys.stderr, flush=True)
