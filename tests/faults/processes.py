"""Faults of processes: agent and broker are killed, stopped and frozen, strangers talk, files are spoilt."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import paho.mqtt.publish as publish
from stage import SITE, Fault, Scene

from edge_agent.config import Config
from edge_agent.errors import BundleError
from edge_agent.vision.bundle import find_bundle


def kill_agent(scene: Scene, number: int) -> None:
    """End it while it watches; every fourth time while it starts."""
    scene.kiosk.end(signal.SIGKILL)
    scene.kiosk.start()
    if number % 4:
        scene.until_watching()


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
    """End it while it watches; every fourth time while it starts."""
    scene.kiosk.end(signal.SIGTERM)
    scene.kiosk.start()
    if number % 4:
        scene.until_watching()


def freeze_agent(scene: Scene, number: int) -> None:
    del number
    scene.kiosk.process.send_signal(signal.SIGSTOP)
    scene.wait(0.2, 1.0)
    scene.kiosk.process.send_signal(signal.SIGCONT)


def forge(scene: Scene, number: int) -> None:
    """Junk, answers to other alerts and commands of other devices."""
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
    scene.kiosk.state_dir.mkdir(exist_ok=True)  # the first agent may have been told to stop before it made it
    (scene.kiosk.state_dir / "outbox.sqlite3").write_bytes(scene.random.randbytes(20_000))
    scene.kiosk.start()
    scene.until_shown()


def spoilt_bundle(name: str, tries: int = 10) -> Fault:
    """A file of the model's bundle is spoilt while the agent is down: it refuses to start until the file is whole."""

    def prepare(scene: Scene) -> str:
        bundle = scene.props["bundle"] = scene.folder / "bundle"
        shutil.copytree(find_bundle(Config().emotion.model), bundle)
        scene.kiosk.settings["emotion"] = {"model": str(bundle)}
        return ""

    def do(scene: Scene, number: int) -> None:
        file: Path = scene.props["bundle"] / name
        whole = file.read_bytes()
        at = scene.random.randrange(len(whole) // 2)
        scene.kiosk.end(signal.SIGTERM)
        # By turns: one byte changed, the end missing.
        file.write_bytes(whole[:at] + (bytes([whole[at] ^ 0x80]) + whole[at + 1 :] if number % 2 else b""))
        scene.kiosk.start()
        scene.named += scene.kiosk.wait() == BundleError.exit_code
        file.write_bytes(whole)
        scene.kiosk.start()
        scene.until_shown()

    return Fault(tries, do, prepare)


PROCESS_FAULTS: dict[str, Fault] = {
    "agent SIGKILL": Fault(200, kill_agent),
    "agent SIGTERM": Fault(50, stop_agent),
    "agent stands still (SIGSTOP)": Fault(50, freeze_agent),
    "broker SIGKILL": Fault(100, kill_broker),
    "broker and agent SIGKILL": Fault(50, kill_both),
    "forged answers and commands, foreign topics": Fault(50, forge),
    "outbox overwritten with noise": Fault(20, spoil_outbox),
    "model spoilt": spoilt_bundle("model.tflite"),
    "manifest spoilt": spoilt_bundle("manifest.json"),
}
