"""What the service manager is told, and how a camera that shows nothing is noticed."""

from __future__ import annotations

import socket
import time

import numpy as np
import pytest
from conftest import PATIENCE_S

from edge_agent.agent.build import build_agent
from edge_agent.agent.watchdog import Watchdog
from edge_agent.camera import Frame
from edge_agent.camera.picture import AFTER_S, BLACK_PROBLEM, FROZEN_PROBLEM, PictureWatch
from edge_agent.config import Camera, Config, Outbox
from edge_agent.testing import FakeBus, FakeClock, free_port


class Manager:
    """A service manager's end of the notification socket."""

    def __init__(self, path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(PATIENCE_S)
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000"}

    def next(self) -> str:
        return self._socket.recv(4096).decode()

    def heard(self) -> list[str]:
        self._socket.setblocking(False)
        lines = []
        while True:
            try:
                lines.append(self.next())
            except BlockingIOError:
                return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path):
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


class TestWatchdog:
    def test_a_container_sees_by_a_file_that_it_works(self, tmp_path):
        file = tmp_path / "health"
        clock = FakeClock(100)
        watchdog = Watchdog(monotonic=clock, environment={"EDGE_AGENT_HEALTH_FILE": str(file)})
        watchdog.turn(frames=0, network_turned_s=101, status="starting")
        assert not file.exists()
        clock.advance(1)
        watchdog.turn(frames=1, network_turned_s=101, status="watching")
        assert file.exists()
        file.unlink()
        clock.advance(60)
        watchdog.turn(frames=1, network_turned_s=161, status="watching")
        assert not file.exists(), "no frame came, and it was called alive"

    def test_the_first_frame_makes_ready_and_only_work_keeps_alive(self, manager):
        clock = FakeClock(100)
        watchdog = Watchdog(monotonic=clock, environment=manager.environment)
        watchdog.turn(frames=0, network_turned_s=100, status="starting")
        assert manager.heard() == ["STATUS=starting"]
        clock.advance(0.5)
        watchdog.turn(frames=1, network_turned_s=100.4, status="watching")
        assert manager.heard() == ["READY=1", "STATUS=watching", "WATCHDOG=1"]
        clock.advance(0.4)
        watchdog.turn(frames=5, network_turned_s=100.8, status="watching")
        assert manager.heard() == []  # not yet due
        clock.advance(0.2)
        watchdog.turn(frames=6, network_turned_s=101, status="watching")
        assert manager.heard() == ["WATCHDOG=1"]

    @pytest.mark.parametrize(("frames", "network_turned_s"), [(1, 111), (30, 100.2)])
    def test_a_stuck_camera_or_network_thread_is_not_alive(self, manager, frames, network_turned_s):
        clock = FakeClock(100.5)
        watchdog = Watchdog(monotonic=clock, environment=manager.environment)
        watchdog.turn(frames=1, network_turned_s=101, status="")
        manager.heard()
        clock.advance(11)
        watchdog.turn(frames=frames, network_turned_s=network_turned_s, status="")
        assert manager.heard() == []

    def test_without_a_manager_nothing_is_sent(self, monkeypatch):
        opened = []
        monkeypatch.setattr(socket, "socket", lambda *kind: opened.append(kind))
        for environment in ({}, {"NOTIFY_SOCKET": ""}, {"WATCHDOG_USEC": "2000000"}):
            watchdog = Watchdog(monotonic=FakeClock(), environment=environment)
            watchdog.turn(frames=1, network_turned_s=2000, status="watching")
            watchdog.stopping()
        assert opened == []

    def test_a_manager_that_does_not_listen_stops_nobody(self, manager):
        manager.close()
        clock = FakeClock(100)
        watchdog = Watchdog(monotonic=clock, environment=manager.environment)
        watchdog.turn(frames=1, network_turned_s=101, status="watching")
        assert watchdog.interval_s == 0.5

    def test_the_agent_is_ready_alive_and_stops_by_itself(self, edge_agent, manager, write_config):
        import os

        agent = edge_agent(
            "run", "--config", write_config(port=free_port(), camera={"source": "synthetic"}),
            env={**os.environ, **manager.environment},
        )  # fmt: skip
        heard = []
        while heard.count("WATCHDOG=1") < 2:  # a broker that is away is no reason to be restarted
            heard.append(manager.next())
        assert heard.index("READY=1") < heard.index("WATCHDOG=1")
        agent.terminate()
        while manager.next() != "STOPPING=1":
            pass


class TestPicture:
    def watch(self, images, *, every_s=0.5) -> list[str]:
        picture = PictureWatch()
        return [picture.look(Frame(image, 50 + number * every_s)) for number, image in enumerate(images)]

    def test_noise_is_enough_to_be_alive(self):
        random = np.random.default_rng(0)
        scene = np.full((480, 640, 3), 90, dtype=np.uint8)
        found = self.watch([scene + random.integers(0, 2, scene.shape, dtype=np.uint8) for _ in range(60)])
        assert set(found) == {""}

    def test_the_same_picture_for_long_is_frozen(self):
        scene = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
        found = self.watch([scene] * 40 + [scene + np.uint8(1)])
        assert found[int(AFTER_S / 0.5) - 1] == ""
        assert found[int(AFTER_S / 0.5)] == FROZEN_PROBLEM
        assert found[-1] == ""

    def test_a_black_picture_is_named_noise_or_not(self):
        random = np.random.default_rng(0)
        found = self.watch([random.integers(0, 9, (48, 64, 3), dtype=np.uint8) for _ in range(40)])
        assert found[0] == ""
        assert found[-1] == BLACK_PROBLEM


def test_a_frozen_camera_is_reported_opened_anew_and_starves_the_watchdog(tmp_path, manager, monkeypatch):
    monkeypatch.setattr("edge_agent.camera.picture.AFTER_S", 0.5)
    for name, value in manager.environment.items():
        monkeypatch.setenv(name, value)
    opened = []

    class FrozenCamera:
        def open(self) -> None:
            opened.append(self)
            if len(opened) == 4:
                agent.stop()

        def read(self) -> Frame:
            time.sleep(0.02)  # its pace
            return Frame(np.full((48, 64, 3), 90, dtype=np.uint8), time.monotonic())

        def close(self) -> None:
            pass

    bus = FakeBus()
    settings = Config(camera=Camera(source="synthetic", retry_max_s=0.5), outbox=Outbox(state_dir=tmp_path / "state"))
    agent = build_agent(settings, bus=bus, camera=FrozenCamera)
    agent.run()
    problems = {message.payload for message in bus.published if message.topic.endswith("/state")}
    assert any(FROZEN_PROBLEM.encode() in payload for payload in problems)
    heard = manager.heard()
    # From the third opening to the fourth at least as long as the manager waits for a sign of life.
    assert "WATCHDOG=1" not in heard[heard.index(f"STATUS={FROZEN_PROBLEM}") :]
