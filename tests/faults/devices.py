"""Faults of what surrounds the agent: camera, disk, clock, certificates, a twin with the same name."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from stage import SITE, Fault, Scene

from edge_agent.testing import free_port

_MAKE_CERTIFICATES = Path(__file__).parents[2] / "systemd/mosquitto/make-certificates.sh"
#: Runs the agent with a wall clock that a file sets; faketime(1) breaks the sleeps of Python's threads.
_WITH_CLOCK = """
import sys, time
from pathlib import Path
offset, real = Path(sys.argv.pop(1)), time.time
time.time = lambda: real() + float(offset.read_text() or 0)
from edge_agent.cli import main
sys.exit(main())
"""


class NetworkCamera:
    """A camera on the network (motion JPEG over HTTP) that fails when told.

    Attributes:
        mode: `play`, `hang` (sends no more), `gone` (hangs up, answers nobody), `black` or `frozen` (the same picture).
    """

    def __init__(self, frames: Path) -> None:
        images = [cv2.imread(str(path)) for path in sorted(frames.iterdir())]
        self._pictures = [cv2.imencode(".jpg", image)[1].tobytes() for image in images]
        self._black = cv2.imencode(".jpg", np.zeros_like(images[0]))[1].tobytes()
        self.mode = "play"
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if camera.mode == "gone":
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                camera._serve(self.wfile.write)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/stream.mjpg"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _serve(self, write: Callable[[bytes], object]) -> None:
        pause, number = threading.Event(), 0
        while not pause.wait(1 / 15):
            if self.mode == "gone":
                return
            if self.mode == "hang":
                continue
            if self.mode == "play":
                number += 1
            picture = self._black if self.mode == "black" else self._pictures[number % len(self._pictures)]
            try:
                write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture))
                write(picture + b"\r\n")
            except OSError:
                return

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def camera_fault(mode: str, *says: str, tries: int = 10) -> Fault:
    """The camera does this until the agent has said so, then works again."""

    def prepare(scene: Scene) -> str:
        camera = scene.props["camera"] = NetworkCamera(scene.frames)
        scene.kiosk.settings["camera"] = {
            "device": camera.url, "frame_rate_hz": 30.0, "timeout_s": 1.0, "retry_first_s": 0.1, "retry_max_s": 1.0,
        }  # fmt: skip
        return ""

    def do(scene: Scene, number: int) -> None:
        del number
        scene.until_shown()
        since = len(scene.kiosk.said)
        scene.props["camera"].mode = mode
        scene.until_said(*says, since=since)
        scene.props["camera"].mode = "play"
        scene.until_shown()

    return Fault(tries, do, prepare, lambda scene: scene.props["camera"].close())


def mount_small_disk(scene: Scene) -> str:
    """Put the outbox on a disk of a megabyte."""
    if os.geteuid() != 0:
        return "mounting needs root"
    scene.kiosk.state_dir.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(scene.kiosk.state_dir)], check=False, capture_output=True
    )
    return "" if mounted.returncode == 0 else mounted.stderr.decode().strip()


def unmount(scene: Scene) -> None:
    subprocess.run(["umount", str(scene.kiosk.state_dir)], check=True)


def fill_disk(scene: Scene, number: int) -> None:
    """Pages go on while the disk is full, and the outbox is used again when it is not."""
    del number
    since, filler = len(scene.kiosk.said), scene.kiosk.state_dir / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    scene.until_said("cannot use", since=since)
    scene.until_shown()
    filler.unlink()
    scene.until_said("can be written again", since=since)


def start_on_a_read_only_disk(scene: Scene, number: int) -> None:
    """The card is read-only when the agent starts, and writable later."""
    del number
    scene.kiosk.end(15)
    since = len(scene.kiosk.said)
    subprocess.run(["mount", "-o", "remount,ro", str(scene.kiosk.state_dir)], check=True)
    scene.kiosk.start()
    scene.until_said("cannot use", since=since)
    scene.until_shown()
    subprocess.run(["mount", "-o", "remount,rw", str(scene.kiosk.state_dir)], check=True)
    scene.until_said("can be written again", since=since)


def clock_fault(step_s: int, tries: int = 10) -> Fault:
    """The wall clock is set while pages wait for a broker."""

    def prepare(scene: Scene) -> str:
        clock = scene.props["clock"] = scene.folder / "clock"
        clock.write_text("0")
        scene.kiosk.launch = ["-c", _WITH_CLOCK, str(clock)]
        return ""

    def do(scene: Scene, number: int) -> None:
        scene.broker.kill()
        scene.wait(0.5, 1.0)
        scene.props["clock"].write_text("0" if number % 2 else str(step_s))
        scene.wait(0.0, 0.5)
        scene.broker.start()
        scene.until_shown()

    return Fault(tries, do, prepare)


def tls_fault(broker_name: str = "127.0.0.1", *, authority: str = "ours", made: str = "", tries: int = 5) -> Fault:
    """For a while the broker shows a certificate that the agent must not trust.

    Args:
        made: when it was made, for faketime.
    """

    def make(folder: Path, name: str, when: str = "") -> None:
        command = ["sh", str(_MAKE_CERTIFICATES), "-o", str(folder), "-a", str(folder), name]
        subprocess.run(["faketime", when, *command] if when else command, check=True, capture_output=True)

    def show(scene: Scene, folder: str) -> None:
        source, target = scene.folder / folder, scene.folder / "shown"
        target.mkdir(exist_ok=True)
        for name in ("broker.pem", "broker.key"):
            shutil.copyfile(source / name, target / name)

    def prepare(scene: Scene) -> str:
        if made and shutil.which("faketime") is None:
            return "apt install faketime"
        make(scene.folder / "ours", "127.0.0.1")
        wrong = scene.folder / "wrong"
        wrong.mkdir()
        if authority == "ours":
            for name in ("ca.pem", "ca.key"):
                shutil.copyfile(scene.folder / "ours" / name, wrong / name)
        make(wrong, broker_name, made)
        show(scene, "ours")
        port = free_port()
        shown = scene.folder / "shown"
        scene.broker.kill()
        scene.broker.add_listener(port, f"certfile {shown / 'broker.pem'}", f"keyfile {shown / 'broker.key'}")
        scene.broker.start()
        scene.kiosk.settings["mqtt"] = {
            "port": port, "connect_retry_max_s": 1.0,
            "tls": {"enabled": True, "ca_file": str(scene.folder / "ours" / "ca.pem")},
        }  # fmt: skip
        return ""

    def do(scene: Scene, number: int) -> None:
        del number
        since = len(scene.kiosk.said)
        show(scene, "wrong")
        scene.broker.kill()
        scene.broker.start()
        scene.until_said("certificate verify failed", since=since)
        show(scene, "ours")
        scene.broker.kill()
        scene.broker.start()
        scene.until_shown()

    return Fault(tries, do, prepare)


def meet_a_twin(scene: Scene, number: int) -> None:
    """Another client takes the agent's name again and again until the agent says so."""
    del number
    since = len(scene.kiosk.said)
    twin = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"{SITE}/kiosk-1", protocol=MQTTProtocolVersion.MQTTv5)
    twin.connect("127.0.0.1", scene.broker.port)
    twin.loop_start()
    scene.until_said("another client", since=since)
    twin.disconnect()
    twin.loop_stop()
    scene.until_shown()


DEVICE_FAULTS: dict[str, Fault] = {
    "camera hangs": camera_fault("hang", "camera lost"),
    "camera unplugged": camera_fault("gone", "camera lost"),
    "camera shows black": camera_fault("black", "black"),
    "picture frozen": camera_fault("frozen", "same picture"),
    "disk full": Fault(10, fill_disk, mount_small_disk, unmount),
    "disk read-only at the start": Fault(10, start_on_a_read_only_disk, mount_small_disk, unmount),
    "clock set an hour forward and back": clock_fault(3600),
    "clock set an hour back and forward": clock_fault(-3600),
    "another client with the same name": Fault(10, meet_a_twin),
    "TLS: certificate of another authority": tls_fault(authority="theirs"),
    "TLS: certificate of another name": tls_fault("elsewhere.invalid"),
    "TLS: expired certificate": tls_fault(made="-900 days"),
}
