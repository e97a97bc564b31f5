"""Runs the agent for long at many times its usual pace, and draws memory and file descriptors: `make soak`.

Alerts are raised and resolved all the time, the broker is restarted now and then; a leak shows as a slope.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import matplotlib
import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "faults"))

from processes import kill_broker
from stage import Scene

matplotlib.use("Agg")
from matplotlib import pyplot

from edge_agent.testing import angry_frames

_PAGE_BYTES = 4096


def main() -> int:
    """Print the slopes and draw the curves; exit code 1 if memory grows by more than a tenth in the second half."""
    parser = argparse.ArgumentParser(prog="python tests/soak.py", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--out", type=Path, default=Path("soak.png"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        scene = Scene(folder / "scene", angry_frames(folder / "frames"), random.Random(1))
        scene.kiosk.start()
        process = Path(f"/proc/{scene.kiosk.process.pid}")
        start_s, samples = time.monotonic(), []
        while (elapsed_s := time.monotonic() - start_s) < 60 * options.minutes:
            memory = int((process / "statm").read_text().split()[1]) * _PAGE_BYTES / 1e6
            samples.append((elapsed_s / 60, memory, len(list((process / "fd").iterdir()))))
            if len(samples) % 60 == 0:
                kill_broker(scene, 0)
            scene.wait(1.0, 1.0)
        scene.settle()
        scene.kiosk.end(signal.SIGTERM)
        scene.staff.close()
        scene.broker.kill()
    lost = len(scene.kiosk.raised - set(scene.staff.shown))
    minutes, memory_mb, descriptors = (np.array(column) for column in zip(*samples, strict=True))
    figure, axes = pyplot.subplots(2, 1, figsize=(8, 6), sharex=True, layout="constrained")
    axes[0].plot(minutes, memory_mb)
    axes[0].set(ylabel="resident memory, MB", ylim=(0, None))
    axes[1].plot(minutes, descriptors, color="tab:orange")
    axes[1].set(ylabel="open file descriptors", xlabel="minutes", ylim=(0, None))
    figure.suptitle(f"{len(scene.kiosk.raised)} alerts raised and resolved, {lost} lost")
    figure.savefig(options.out, dpi=110)
    half = len(samples) // 2
    before, after = np.median(memory_mb[half // 2 : half]), np.median(memory_mb[half:])
    print(
        f"{len(scene.kiosk.raised)} alerts, {lost} lost; memory {before:.1f} MB, later {after:.1f} MB; "
        f"descriptors {int(descriptors.min())} to {int(descriptors.max())}; drawn in {options.out}"
    )
    return 1 if lost or after > 1.1 * before else 0


if __name__ == "__main__":
    sys.exit(main())
