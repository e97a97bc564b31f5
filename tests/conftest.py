"""Real parts for the tests: a mosquitto of our own, clients, pictures."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest
import yaml
from bundles import confirmed, keys, make_bundle, models  # noqa: F401  fixtures of bundles
from drawn import draw, in_a_process, votes_for, write_data
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.demo import CLIPS
from edge_agent.testing import free_port

# What is printed is compared in English, whatever the computer speaks.
os.environ["LC_ALL"] = "C.UTF-8"
os.environ.pop("LANGUAGE", None)
# Whoever runs the tests in the background may have them ignore Ctrl-C, and what they start would too.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: Nothing takes so long, but on a computer that is busy otherwise; what is awaited ends the wait at once.
PATIENCE_S = 60.0


@dataclass
class Broker:
    host: str
    port: int
    process: subprocess.Popen[bytes]


def find_mosquitto() -> str:
    found = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        pytest.fail("mosquitto is not installed; run: sh tests/install_tools.sh")
    return found


def find_chromium() -> str:
    found = shutil.which("chromium")
    if found is None:
        pytest.fail("chromium is not installed; run: sh tests/install_tools.sh")
    return found


@pytest.fixture(scope="session")
def start_mosquitto(tmp_path_factory) -> Iterator[Callable[..., Broker]]:
    """Starts brokers with given configuration lines; stops them at the end."""
    brokers: list[Broker] = []

    def start(*lines: str, port: int | None = None, listener: bool = True) -> Broker:
        port = port or free_port()
        folder = tmp_path_factory.mktemp("mosquitto")
        config = folder / "mosquitto.conf"
        lines = (f"listener {port} 127.0.0.1", *lines) if listener else lines
        config.write_text("\n".join(lines) + "\n")
        command = [find_mosquitto(), "-c", str(config)]
        if not any(line.startswith("user ") for line in lines):
            config.write_text(config.read_text() + "user root\n")
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        broker = Broker("127.0.0.1", port, process)
        brokers.append(broker)
        wait_for_port(port)
        return broker

    yield start
    for broker in brokers:
        broker.process.terminate()
        broker.process.wait(PATIENCE_S)


def wait_for_port(port: int) -> None:
    waiter = threading.Event()
    for _ in range(round(PATIENCE_S / 0.05)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        waiter.wait(0.05)
    pytest.fail(f"nothing listens on port {port}")


@pytest.fixture(scope="session")
def broker(start_mosquitto) -> Broker:
    return start_mosquitto("allow_anonymous true")


@pytest.fixture
def site() -> str:
    """A site name of the test's own, so that tests cannot hear each other."""
    return f"test-{uuid.uuid4().hex[:8]}"


@dataclass
class Listener:
    """A subscriber that remembers everything and can be waited on."""

    client: paho.Client
    messages: list[paho.MQTTMessage] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, wanted: Callable[[paho.MQTTMessage], bool]) -> paho.MQTTMessage:
        with self.arrived:
            found = self.arrived.wait_for(lambda: next(filter(wanted, self.messages), None), PATIENCE_S)
        if found is None:
            seen = "\n".join(f"{m.topic} {m.payload[:200]!r}" for m in self.messages) or "nothing"
            pytest.fail(f"the awaited message did not come within {PATIENCE_S:g} s; came:\n{seen}")
        return found

    def wait_for_json(self, ending: str, **values: object) -> dict[str, object]:
        def wanted(message: paho.MQTTMessage) -> bool:
            if ending not in message.topic:
                return False
            body = json.loads(message.payload)
            return all(body.get(key) == value for key, value in values.items())

        body: dict[str, object] = json.loads(self.wait_for(wanted).payload)
        return body

    def bodies(self, part: str) -> list[dict[str, object]]:
        return [json.loads(m.payload) for m in self.messages if part in m.topic]


@pytest.fixture
def listen(broker) -> Iterator[Callable[..., Listener]]:
    clients: list[paho.Client] = []

    def start(topic: str, *, port: int | None = None) -> Listener:
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        listener = Listener(client)
        subscribed = threading.Event()

        def on_message(_client, _userdata, message):
            with listener.arrived:
                listener.messages.append(message)
                listener.arrived.notify_all()

        client.on_message = on_message
        client.on_connect = lambda c, *_: c.subscribe(topic, qos=1)
        client.on_subscribe = lambda *_: subscribed.set()
        client.connect(broker.host, port or broker.port)
        client.loop_start()
        clients.append(client)
        assert subscribed.wait(PATIENCE_S)
        return listener

    yield start
    for client in clients:
        client.disconnect()
        client.loop_stop()


class Cable(socketserver.ThreadingTCPServer):
    """Forwards a port of its own to the broker's, from the moment it is plugged in."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, broker: Broker) -> None:
        self.broker = broker
        self.links: list[socket.socket] = []
        super().__init__(("127.0.0.1", port), _Forward)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def unplug(self) -> None:
        """Break all links and take no new ones."""
        self.shutdown()
        self.server_close()
        for link in self.links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)


class _Forward(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with socket.create_connection((self.server.broker.host, self.server.broker.port)) as far:
            self.server.links += [far, self.request]
            threading.Thread(target=_pump, args=(far, self.request), daemon=True).start()
            _pump(self.request, far)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(4096):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def plug_in(broker) -> Iterator[Callable[[int], Cable]]:
    cables: list[Cable] = []

    def plug(port: int) -> Cable:
        cables.append(Cable(port, broker))
        return cables[-1]

    yield plug
    for cable in cables:
        cable.unplug()


@pytest.fixture
def edge_agent() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `edge-agent` commands as processes of their own; kills what a failed test leaves."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@dataclass
class Finished:
    code: int
    out: str
    err: str

    def one_line_error(self) -> str:
        """The error, after checking that it is one line and no traceback."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture
def run_command(edge_agent) -> Callable[..., Finished]:
    def run(*arguments: object, **options: object) -> Finished:
        process = edge_agent(*arguments, **options)
        out, err = process.communicate(timeout=2 * PATIENCE_S)
        return Finished(process.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """Eileen Collins, NASA, public domain: uint8 (512, 512, 3), BGR."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[:, :, ::-1])


@pytest.fixture(scope="session")
def clip_frames() -> Callable[[str], list]:
    """All frames of a bundled clip, timed by the clip."""
    from edge_agent.camera.opencv import OpenCVCamera
    from edge_agent.config import Camera
    from edge_agent.demo import CLIPS

    def read(name: str) -> list:
        camera = OpenCVCamera(Camera(device=str(CLIPS[name])), realtime=False, clock=lambda: 0.0)
        camera.open()
        frames = list(iter(camera.read, None))
        camera.close()
        return frames

    return read


REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def write_config(tmp_path, broker, site):
    """Return a function that writes a configuration for the broker and the first clip, its sections changed as told."""

    def write(port: int | None = None, **sections) -> str:
        values = {
            "site": {"name": site, "place": "till"},
            "camera": {"device": str(CLIPS["one"])},
            "privacy": {"notice_posted": True},
            "mqtt": {"port": port or broker.port},
            "outbox": {"state_dir": str(tmp_path / "state")},
            "logging": {"format": "json", "health_interval_s": 1.0},
        }
        for name, section in sections.items():
            values[name] = {**values.get(name, {}), **section} if isinstance(section, dict) else section
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(values))
        return str(path)

    return write


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory):
    """Return a folder of drawn faces in FER2013's form: 420 to train on, 70 to judge on."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    rows = [(n % 7, draw(n % 7, random), "Training" if n < 420 else "PublicTest") for n in range(490)]
    write_data(folder, rows, [votes_for(row[0]) for row in rows])
    return folder


@pytest.fixture(scope="session")
def run_folder(drawn_data, tmp_path_factory):
    """A network trained for a few epochs, by the command people use."""
    out = tmp_path_factory.mktemp("runs") / "drawn"
    result = in_a_process(
        "trainer", "fit", "--data", drawn_data, "--out", out, "--epochs", 3, "--batch-size", 16,
        "--learning-rate", 0.05, "--max-faces", 128,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return out


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=1000 * PATIENCE_S)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(),
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens pages, each in a browser of its own; fails on errors in scripts and requests to other hosts."""
    problems: list[str] = []
    contexts = []

    def start(url: str, size: dict[str, int], *, clock: bool = False, script: str = "", **options):
        context = browser.new_context(viewport=size, **options)
        contexts.append(context)
        page = context.new_page()
        if clock:
            page.clock.install()
        page.add_init_script(script)
        page.on("pageerror", lambda error: problems.append(str(error)))
        host = url.split("/")[2]
        page.on("request", lambda request: None if host in request.url else problems.append(request.url))
        page.goto(url)
        return page

    yield start
    for context in contexts:
        context.close()
    assert [problem for problem in problems if not problem.startswith("blob:")] == []
