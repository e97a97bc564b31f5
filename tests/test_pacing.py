"""Every frame while somebody is in view, few while nothing moves, and never more processor time than allowed."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.camera.pacing import LOOK_EVERY_S, MotionGate, Pacer
from edge_agent.config import Performance
from edge_agent.testing import FakeClock

SHAPE = (480, 640, 3)


def room(brightness: int = 96, noise: int = 4, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (brightness + random.integers(-noise, noise + 1, SHAPE)).clip(0, 255).astype(np.uint8)


class Scene:
    """A camera at ten frames a second, and a processor that is used as told."""

    def __init__(self, **performance) -> None:
        self.cpu = FakeClock(0)
        self.pacer = Pacer(Performance(**performance), rate_hz=10, cpu_s=self.cpu)
        self.time_s = 100.0

    def show(self, seconds: float, image=None, *, busy=False, pending=False, cpu_per_look_s=0.0) -> int:
        """Return how many frames were looked at."""
        looks = 0
        for number in range(round(seconds * 10)):
            self.time_s += 0.1
            picture = room(seed=number) if image is None else image
            if self.pacer.wants(picture, self.time_s, busy=busy, pending=pending):
                looks += 1
                self.cpu.advance(cpu_per_look_s)
        return looks


def test_an_empty_room_is_looked_at_once_a_second_and_the_camera_asked_for_less():
    scene = Scene()
    scene.show(5)
    assert scene.show(10) == pytest.approx(10 / LOOK_EVERY_S, abs=1)
    assert scene.pacer.rate_hz == 3


def test_who_comes_in_is_looked_at_from_the_first_frame_on():
    scene = Scene()
    scene.show(5)
    image = room()
    image[200:300, 300:400] = 200
    assert scene.show(0.1, image) == 1
    assert scene.show(1.5, image) == 15
    assert scene.pacer.rate_hz == 10


def test_while_somebody_is_in_view_no_frame_is_left_out_however_still_they_stand():
    scene = Scene()
    scene.show(5)
    assert scene.show(10, room(), busy=True) == 100


def test_a_room_that_slowly_gets_dark_does_not_move():
    gate, moves = MotionGate(), 0
    for number in range(600):
        moves += gate.moves(room(brightness=160 - number // 6, seed=number), 0.1 * number)
    assert moves == 1  # the first frame


def test_a_switched_light_is_motion_for_a_moment_only():
    scene = Scene()
    scene.show(5)
    assert scene.show(1, room(brightness=180)) == 10
    scene.show(10, room(brightness=180))
    assert scene.show(5, room(brightness=180)) <= 6


def test_the_budget_holds_whatever_is_in_view():
    scene = Scene(max_cpu_percent=20)
    scene.show(5, busy=True, cpu_per_look_s=0.05)
    before_s = scene.cpu()
    looks = scene.show(60, busy=True, cpu_per_look_s=0.05)
    assert (scene.cpu() - before_s) / 60 == pytest.approx(0.2, rel=0.1)
    assert looks == pytest.approx(60 * 0.2 / 0.05, rel=0.1)


def test_a_camera_that_uses_the_whole_budget_does_not_make_the_agent_blind():
    scene, looks = Scene(max_cpu_percent=20), 0
    for _ in range(300):
        scene.cpu.advance(0.05)  # half a core, for reading frames only
        looks += scene.show(0.1, busy=True)
    assert looks >= 30 / LOOK_EVERY_S - 1
    assert "max_cpu_percent" in scene.pacer.problem


def test_a_page_that_is_about_to_go_out_may_owe_some():
    scene = Scene(max_cpu_percent=20)
    scene.show(30, busy=True, cpu_per_look_s=0.1)
    assert scene.show(1.5, busy=True, pending=True, cpu_per_look_s=0.1) == 15


def test_another_size_of_picture_is_motion_not_an_error():
    gate = MotionGate()
    assert gate.moves(room(), 0)
    assert gate.moves(room()[:240, :320], 0.1)
