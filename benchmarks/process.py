"""Measures the agent as a process: start, processor time, memory, and how soon a page is on the wire."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from edge_agent.agent.build import build_agent
from edge_agent.config import Camera, Config, Mqtt, Outbox, Privacy, Rule, Site, Tracking
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.demo import CLIPS
from edge_agent.pager.client import Page, Pager
from edge_agent.testing import angry_frames, free_port

_TICKS = os.sysconf("SC_CLK_TCK")
_READY_WITHIN_S = 60.0
_RATES_HZ = (1, 5, 10, 15, 30)


class Broker:
    """A mosquitto of our own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        file = folder / "mosquitto.conf"
        file.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nuser root\n")
        self.process = subprocess.Popen(
            ["/usr/sbin/mosquitto", "-c", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Process:
    """The agent, run with a recording as its camera."""

    def __init__(self, folder: Path, port: int, clip: Path, **sections: Any) -> None:
        config = {
            "camera": {"device": str(clip), "loop": True, "frame_rate_hz": 10.0},
            "privacy": {"notice_posted": True},
            "mqtt": {"port": port},
            "outbox": {"state_dir": str(folder / "state")},
            "logging": {"level": "warning"},
            **sections,
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        notify = folder / "notify"
        notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(notify))
            ready.settimeout(_READY_WITHIN_S)
            started_s = time.monotonic()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent", "run", "--config", str(folder / "config.yaml")],
                env={**os.environ, "NOTIFY_SOCKET": str(notify)}, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                while b"READY=1" not in ready.recv(4096):
                    pass
            except BaseException:
                self._process.kill()
                raise
            self.ready_s = time.monotonic() - started_s

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def rss_mb(self) -> float:
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def memory_mb(self) -> dict[str, float]:
        """Return the figures of /proc/<pid>/smaps_rollup (proc(5)): Pss, Private_Dirty and others."""
        lines = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text().splitlines()[1:]
        return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self._process.pid}/task").iterdir()))

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def cpu_percent(self, seconds: float) -> float:
        """Return the share of one core used over a while, after things have settled."""
        time.sleep(5)
        before_s, began_s = self.cpu_s(), time.monotonic()
        time.sleep(seconds)
        return 100 * (self.cpu_s() - before_s) / (time.monotonic() - began_s)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def write_clip(path: Path, *, face: bool, rate_hz: float, frames: int = 60) -> Path:
    """Write an empty room with a sensor's noise, or the neutral first seconds of the demo clip."""
    source, random = cv2.VideoCapture(str(CLIPS["one"])), np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate_hz, (640, 480))
    for _ in range(frames):
        if face:
            _, image = source.read()
            image = cv2.resize(image, (640, 480), interpolation=cv2.INTER_AREA)
        else:
            image = np.clip(110 + random.normal(0, 2, (480, 640, 3)), 0, 255).astype(np.uint8)
        writer.write(image)
    writer.release()
    source.release()
    return path


def measure(folder: Path, *, seconds: float) -> dict[str, Any]:
    """Return start_s, cpu and memory figures."""
    broker = Broker(folder)
    result: dict[str, Any] = {}
    try:
        empty = write_clip(folder / "empty.mp4", face=False, rate_hz=10)
        one = write_clip(folder / "one.mp4", face=True, rate_hz=5)
        starts = []
        for _ in range(3):
            process = Process(folder, broker.port, empty)
            starts.append(process.ready_s)
            process.stop()
        result["start_s"] = round(sorted(starts)[1], 2)
        if _drop_caches():
            process = Process(folder, broker.port, empty)
            result["start_cold_s"] = round(process.ready_s, 2)
            process.stop()
        for name, clip in (("nobody", empty), ("one_face_5_hz", one)):
            process = Process(folder, broker.port, clip)
            result[f"cpu_percent_{name}"] = round(process.cpu_percent(seconds), 2)
            result[f"rss_mb_{name}"] = round(process.rss_mb(), 1)
            process.stop()
        result["cpu_percent_by_rate_hz"] = {}
        for rate_hz in _RATES_HZ:
            clip = write_clip(folder / f"rate-{rate_hz}.mp4", face=True, rate_hz=rate_hz)
            process = Process(folder, broker.port, clip)
            result["cpu_percent_by_rate_hz"][str(rate_hz)] = round(process.cpu_percent(seconds / 2), 2)
            process.stop()
        result["page_latency_ms"] = page_latency(folder, broker.port, pages=100)
    finally:
        broker.stop()
    return result


def over_hours(folder: Path, *, hours: float, every_s: float = 60.0) -> dict[str, list[float]]:
    """Return minutes, rss_mb and descriptors of an agent that watches one face for so long."""
    broker = Broker(folder)
    samples: dict[str, list[float]] = {"minutes": [], "rss_mb": [], "descriptors": []}
    try:
        process = Process(folder, broker.port, write_clip(folder / "one.mp4", face=True, rate_hz=5))
        began_s = time.monotonic()
        while (elapsed_s := time.monotonic() - began_s) <= hours * 3600:
            samples["minutes"].append(round(elapsed_s / 60, 2))
            samples["rss_mb"].append(round(process.rss_mb(), 1))
            samples["descriptors"].append(process.descriptors())
            time.sleep(every_s)
        process.stop()
    finally:
        broker.stop()
    return samples


def _drop_caches() -> bool:
    try:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def page_latency(folder: Path, port: int, *, pages: int) -> dict[str, float]:
    """Return p50 and p99 of the time from capture to the page at a subscriber, the camera at 30 frames a second."""
    frames = angry_frames(folder / "angry")
    config = Config(
        site=Site(name="bench"), camera=Camera(device=str(frames), loop=True, frame_rate_hz=30.0),
        mqtt=Mqtt(port=port), outbox=Outbox(state_dir=folder / "latency"), privacy=Privacy(notice_posted=True),
        tracking=Tracking(smoothing_s=0.0),
        rules=(Rule(name="angry", upper=0.3, dwell_s=0.05, min_observations=2, cooldown_s=0.0),),
    )  # fmt: skip
    captured_s: dict[str, float] = {}
    took_s: list[float] = []

    def note(frame: Any, decision: Any) -> None:
        captured_s.update({alert.id: frame.time_s for alert in decision.alerts if alert.step == "raised"})

    wake = threading.Event()
    bus = MqttBus(
        config.mqtt, client_id="bench-pager", password=None, subscriptions=["kiosk/v1/bench/+/alert/+"], wake=wake.set,
        keep_session=False,
    )  # fmt: skip
    bus.start()
    agent = build_agent(config, on_decision=note)
    thread = threading.Thread(target=agent.run, daemon=True)
    pager = Pager(bus, name="bench")
    thread.start()
    give_up_s = time.monotonic() + 120
    while len(took_s) < pages and time.monotonic() < give_up_s:
        wake.wait(1)
        wake.clear()
        for item in pager.poll():
            if isinstance(item, Page) and item.step == "raised":
                took_s.append(time.monotonic() - captured_s[item.id])
                pager.act(item, "resolve")
    agent.stop()
    thread.join()
    bus.stop()
    return {name: round(1000 * float(np.percentile(took_s, rank)), 1) for name, rank in (("p50", 50), ("p99", 99))}


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(measure(Path(name), seconds=20), indent=1))
