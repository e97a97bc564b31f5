"""Many kiosks in one process: real rules, outbox and connection each; the camera is invented.

Run by the fleet's test, which writes a line to begin, to end the raising, and to end it all. Prints a line when every
kiosk is connected, and at the end a JSON object with the alerts it raised.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from edge_agent.alerting.rules import RuleEngine
from edge_agent.alerting.thresholds import Thresholds
from edge_agent.alerting.tracker import Track
from edge_agent.config import Config, Mqtt, Outbox, Privacy, Rule, Site
from edge_agent.delivery.messages import new_ulid
from edge_agent.delivery.opening import open_channel
from edge_agent.vision.faces import Face

RULE = Rule(name="angry", upper=0.5, dwell_s=0.2, min_observations=2, cooldown_s=0.0, off_delay_s=0.5, expiry_s=600.0)
_FACE = Face(0, 0, 80, 80, 0.9, (25, 30), (55, 30))
_ANGRY = np.array([1, 0, 0, 0, 0], np.float32)
_LOOKS = 8
_TURN_S = 0.25
#: Kiosks are switched on one after the other: all at once are more than a cluster on one computer takes.
_ON_EVERY_S = 1.0
_INFO = dict.fromkeys(("agent_version", "model", "model_sha256", "detector", "config", "python", "runtime"), "fleet")


class Kiosk:
    """Somebody is angry at it for two seconds, about every `every_s`."""

    def __init__(self, folder: Path, port: int, name: str, raised: dict[str, float], every_s: float) -> None:
        config = Config(
            site=Site(name="fleet", device=name), privacy=Privacy(notice_posted=True), rules=(RULE,),
            mqtt=Mqtt(port=port, protocol="3.1.1", keepalive_s=30, keep_session=False),
            outbox=Outbox(state_dir=folder / name, max_bytes=1_000_000),
        )  # fmt: skip
        self._every_s, self._next_s, self._looks = every_s, time.monotonic() + random.uniform(0, every_s), 0
        self._raised = raised
        self.rules = RuleEngine(
            (RULE,), tuple(config.emotion.emotions), thresholds={"angry": Thresholds(0.5, 0.3)}, new_id=new_ulid
        )
        self.channel = open_channel(
            config, rules=self.rules, info=_INFO, alert_time_s=time.monotonic, stepped=self._note
        )  # fmt: skip
        self.bus = self.channel.bus

    def _note(self, alert) -> None:  # type: ignore[no-untyped-def]
        if alert.step == "raised":
            self._raised[alert.id] = time.time()

    def turn(self, *, may_raise: bool) -> None:
        for event in self.bus.events():
            self.channel.handle(event)
        now_s, tracks = time.monotonic(), []
        if now_s >= self._next_s and may_raise:
            self._looks += 1
            tracks = [Track(1, _FACE, _ANGRY, self._looks, now_s, now_s, now_s, "view")]
            if self._looks > _LOOKS:
                self._next_s, self._looks = now_s + random.uniform(0.5, 1.5) * self._every_s, 0
        self.channel.report(self.rules.update(tracks, now_s))
        self.channel.pump()


def main() -> int:
    port, first, count, every_s = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    raised: dict[str, float] = {}
    go, calm, over = threading.Event(), threading.Event(), threading.Event()

    def listen() -> None:
        for phase in (go, calm, over):
            sys.stdin.readline()
            phase.set()

    threading.stack_size(256 * 1024)
    threading.Thread(target=listen, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="fleet-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        kiosks = [Kiosk(Path(folder), port, f"kiosk-{first + n}", raised, every_s) for n in range(count)]
        told, off, next_on_s = False, list(kiosks), time.monotonic()
        while not over.is_set():
            started_s = time.monotonic()
            if off and started_s >= next_on_s:
                off.pop().bus.start()
                next_on_s += _ON_EVERY_S
            for kiosk in kiosks:
                kiosk.turn(may_raise=go.is_set() and not calm.is_set())
            if not told and not off and all(kiosk.bus.connected for kiosk in kiosks):
                told = True
                print("connected", flush=True)
            over.wait(max(0.0, _TURN_S - (time.monotonic() - started_s)))
        waiting = sum(kiosk.channel.relay.waiting()[0] for kiosk in kiosks)
        connected = sum(kiosk.bus.connected for kiosk in kiosks)
        print(json.dumps({"raised": raised, "waiting": waiting, "connected": connected}), flush=True)
        for kiosk in kiosks:
            kiosk.bus.stop(timeout_s=0.01)
    return 0


if __name__ == "__main__":
    sys.exit(main())
