"""Measures what several cameras cost: in one process, sharing models or not, and in a process each.

`python benchmarks/cameras.py` prints a table; run it as root, for the agent's memory is nobody else's to look at.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
from process import Broker, Process

from edge_agent.config import Mqtt
from edge_agent.delivery.bus import Received
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.demo import CLIPS

_RATE_HZ = 10
#: From READY on; by then what is loaded late is there.
_SETTLE_S = 10.0


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python benchmarks/cameras.py", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="to measure over (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        found = measure(Path(name), seconds=options.seconds)
    print(json.dumps(found) if options.json else as_text(found))
    return 0


def measure(folder: Path, *, seconds: float) -> dict[str, dict[str, float]]:
    """Return for each arrangement memory in MB, processor time a frame, frames a second and latency in ms."""
    broker = Broker(folder)
    clips = [write_clip(folder / f"{name}.mp4", CLIPS[name]) for name in ("one", "two")]
    try:
        return {
            "one camera": run(folder, broker.port, [clips[:1]], seconds=seconds),
            "two in one process": run(folder, broker.port, [clips], seconds=seconds),
            # Another confidence is another detector; the classifier is still shared.
            "two, each its own detector": run(folder, broker.port, [clips], seconds=seconds, alike=False),
            "two processes": run(folder, broker.port, [[clip] for clip in clips], seconds=seconds),
        }
    finally:
        broker.stop()


def run(
    folder: Path, port: int, processes: list[list[Path]], *, seconds: float, alike: bool = True
) -> dict[str, float]:
    """Run processes with the cameras of each, and return their figures together; latency is that of the slowest."""
    health: dict[str, Any] = {f"kiosk/v1/bench/camera-{index}-{number}/health": None
                              for index, clips in enumerate(processes) for number in range(len(clips))}  # fmt: skip
    wake = threading.Event()
    bus = MqttBus(Mqtt(port=port), client_id="bench", password=None, subscriptions=["kiosk/v1/bench/+/health"],
                  wake=wake.set, keep_session=False)  # fmt: skip
    bus.start()
    started = []
    try:
        for index, clips in enumerate(processes):
            own = folder / f"process-{index}"
            own.mkdir(exist_ok=True)
            cameras = [
                {"device": f"camera-{index}-{number}", "camera": {"device": str(clip)},
                 "faces": {"confidence": 0.6 if alike else 0.6 - number / 1000}}
                for number, clip in enumerate(clips)
            ]  # fmt: skip
            started.append(Process(own, port, clips[0], site={"name": "bench"}, cameras=cameras,
                                   logging={"level": "warning", "health_interval_s": 1.0}))  # fmt: skip
        time.sleep(_SETTLE_S)
        before_s, began_s = [one.cpu_s() for one in started], time.monotonic()
        _collect(bus, health, wake, seconds=2.5)
        first = {name: body["frames"] for name, body in health.items()}
        _collect(bus, health, wake, seconds=seconds)
        elapsed_s = time.monotonic() - began_s
        cpu_s = sum(one.cpu_s() - before for one, before in zip(started, before_s, strict=True))
        memory = [one.memory_mb() for one in started]
        frames = [body["frames"] - first[name] for name, body in health.items()]
        return {
            "private_dirty_mb": round(sum(one["Private_Dirty"] for one in memory), 1),
            "pss_mb": round(sum(one["Pss"] for one in memory), 1),
            "cpu_ms_a_frame": round(1000 * cpu_s / elapsed_s / (sum(frames) / seconds), 1),
            "frames_hz_each": round(min(frames) / seconds, 1),
            "latency_p95_ms": max(body["latency_p95_ms"] for body in health.values()),
            "threads": sum(one.threads() for one in started),
        }
    finally:
        for one in started:
            one.stop()
        bus.stop()


def _collect(bus: MqttBus, health: dict[str, Any], wake: threading.Event, *, seconds: float) -> None:
    """Keep each device's latest health message for a while."""
    until_s = time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        wake.wait(left_s)
        wake.clear()
        for event in bus.events():
            # What is kept of an earlier arrangement is none of ours.
            if isinstance(event, Received) and event.topic in health:
                health[event.topic] = json.loads(event.payload)


def write_clip(path: Path, source: Path) -> Path:
    """Write a demo clip at 640x480 and _RATE_HZ frames a second."""
    capture = cv2.VideoCapture(str(source))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), _RATE_HZ, (640, 480))
    step, due = capture.get(cv2.CAP_PROP_FPS) / _RATE_HZ, 0.0
    for number in range(int(capture.get(cv2.CAP_PROP_FRAME_COUNT))):
        _, image = capture.read()
        if image is not None and number >= due:
            writer.write(cv2.resize(image, (640, 480), interpolation=cv2.INTER_AREA))
            due += step
    writer.release()
    capture.release()
    return path


def as_text(found: dict[str, dict[str, float]]) -> str:
    """Return a table."""
    names = list(next(iter(found.values())))
    lines = [f"{'':28}" + "".join(f"{name:>18}" for name in names)]
    lines += [f"{name:28}" + "".join(f"{one[key]:18.1f}" for key in names) for name, one in found.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
