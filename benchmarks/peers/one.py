"""Times one recogniser on a clip, on one thread; prints JSON. Run in the environment that has it.

python one.py fer|mtcnn|haar|edge-agent CLIP FRAMES
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ[name] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import cv2
import numpy as np

_WARM_UP = 5


def fer(*, mtcnn: bool) -> Callable[[Any], int]:
    from fer import FER

    detector = FER(mtcnn=mtcnn)
    return lambda image: len(detector.detect_emotions(image))


def haar() -> Callable[[Any], int]:
    """Join the cascade of OpenCV's package and the network of fer's."""
    import fer as package
    from tensorflow.keras.models import load_model

    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    model = load_model(Path(package.__file__).parent / "data" / "emotion_model.hdf5", compile=False)
    side = model.input_shape[1:3]

    def look(image: Any) -> int:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        found = cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(50, 50))
        for x, y, width, height in found:
            face = cv2.resize(grey[y : y + height, x : x + width], side).astype("float32") / 255
            model.predict((face[None, :, :, None] - 0.5) * 2, verbose=0)
        return len(found)

    return look


def edge_agent() -> Callable[[Any], int]:
    from edge_agent.camera.frames import Frame
    from edge_agent.config import Config
    from edge_agent.pipeline import Pipeline

    pipeline, count = Pipeline(Config(), new_id=lambda: "0" * 26), iter(range(10**9))
    return lambda image: len(pipeline.process(Frame(image, 0.1 * next(count))).judged)


RECOGNISERS: dict[str, Callable[[], Callable[[Any], int]]] = {
    "fer": lambda: fer(mtcnn=False),
    "mtcnn": lambda: fer(mtcnn=True),
    "haar": haar,
    "edge-agent": edge_agent,
}


def main() -> int:
    """Print median milliseconds, the reference's, faces found and resident memory."""
    name, clip, frames = sys.argv[1], sys.argv[2], int(sys.argv[3])
    cv2.setNumThreads(1)
    look = RECOGNISERS[name]()
    capture, took, reference, faces = cv2.VideoCapture(clip), [], [], 0
    matrix = np.random.default_rng(0).random((512, 512), dtype=np.float32)
    for number in range(frames + _WARM_UP):
        ok, image = capture.read()
        if not ok:
            break
        image = cv2.resize(image, (640, 480), interpolation=cv2.INTER_AREA)
        start_s = time.perf_counter()
        found = look(image)
        middle_s = time.perf_counter()
        matrix @ matrix
        if number >= _WARM_UP:
            took.append(middle_s - start_s)
            reference.append(time.perf_counter() - middle_s)
            faces += bool(found)
    memory_mb = next(
        int(line.split()[1]) / 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
    print(json.dumps({
        "name": name, "ms": round(1000 * float(np.median(took)), 2),
        "reference_ms": round(1000 * float(np.median(reference)), 2),
        "faces_in_percent_of_frames": round(100 * faces / len(took), 1), "rss_mb": round(memory_mb),
    }))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
