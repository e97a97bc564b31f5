"""Posters and screens are told from people by their stillness, and a false alarm of theirs is not repeated."""

from __future__ import annotations

import json
import time

import cv2
import numpy as np
import pytest
from messages import validate

from edge_agent.agent.build import build_agent
from edge_agent.agent.loop import Agent
from edge_agent.alerting.stillness import (
    REMEMBER_S,
    Rectangle,
    StillPlaces,
    difference,
    from_text,
    normalise,
    to_text,
)
from edge_agent.camera.frames import Frame
from edge_agent.config import Camera, Config, Outbox, Privacy, Rule, Tracking
from edge_agent.pipeline import Pipeline
from edge_agent.testing import FakeBus
from edge_agent.vision.analysis import Vision
from edge_agent.vision.faces import signature

RATE_HZ = 10
PLACE = (0.3, 0.3, 0.5, 0.6)


class Wall:
    """What hangs at a place of the picture, and who stands there, as noisy signatures."""

    def __init__(self, places: StillPlaces) -> None:
        self.places, self.time_s = places, 0.0
        self.random = np.random.default_rng(0)
        self.print = self.random.normal(0, 30, (16, 16)).astype(np.float32)

    def watch(self, seconds: float, *, motion: float = 0.0, shown=None, box=PLACE, seen: bool = True) -> list[bool]:
        """Return for each look whether the face is still; `motion` is how much of the picture changes each time."""
        flags = []
        for _ in range(round(seconds * RATE_HZ)):
            self.time_s += 1 / RATE_HZ
            picture = (self.print if shown is None else shown) + self.random.normal(0, 1, (16, 16))
            picture = picture + motion * self.random.normal(0, 30, (16, 16))
            boxes = [tuple(np.array(box) + self.random.normal(0, 0.003, 4))] if seen else []
            now = self.places.update(boxes, lambda _, p=picture: p.astype(np.float32), self.time_s, width=640)
            flags += now
        return flags


@pytest.fixture
def wall() -> Wall:
    return Wall(StillPlaces(20.0))


def test_a_print_is_still_after_the_time_set_and_a_person_never(wall):
    assert not any(wall.watch(19.8))
    assert all(wall.watch(5.0)[3:])
    someone = Wall(StillPlaces(20.0))
    assert not any(someone.watch(60.0, motion=0.3))


def test_who_sits_calmly_and_moves_now_and_then_is_no_print(wall):
    for _ in range(20):
        assert not any(wall.watch(2.0))
        assert not any(wall.watch(0.5, motion=0.5))


def test_what_was_still_and_moves_is_judged_at_once(wall):
    wall.watch(30.0)
    flags = wall.watch(3.0, motion=0.5)
    assert flags[0]
    assert not any(flags[1:])


def test_one_glitch_is_no_motion(wall):
    wall.watch(25.0)
    assert wall.watch(0.1, motion=2.0) == [True]
    assert all(wall.watch(1.0))


def test_what_is_still_is_known_again_when_who_hid_it_is_gone(wall):
    wall.watch(25.0)
    somebody = wall.random.normal(0, 30, (16, 16))
    assert not any(wall.watch(40.0, shown=somebody, motion=0.3)[1:])
    wall.watch(300.0, seen=False)
    assert all(wall.watch(2.0))


def test_a_detector_that_flickers_does_not_keep_a_print_from_being_still(wall):
    for _ in range(80):
        wall.watch(0.3)
        wall.watch(0.3, seen=False)
    assert all(wall.watch(3.0)[10:])


def test_nothing_is_still_when_it_is_turned_off():
    wall = Wall(StillPlaces(0.0))
    assert not any(wall.watch(300.0))
    assert wall.places.proposals(wall.time_s) == []


class TestFalseAlarm:
    def test_a_print_is_not_judged_again_for_a_day_and_not_where_it_does_not_hang(self, wall):
        wall.watch(5.0)
        assert wall.places.false_alarm(PLACE, wall.time_s)
        assert all(wall.watch(5.0))
        assert not any(wall.watch(2.0, box=(0.6, 0.3, 0.8, 0.6)))
        wall.watch(1.0, seen=False)
        wall.time_s += REMEMBER_S
        assert not any(wall.watch(2.0))

    def test_somebody_who_stands_exactly_there_is_judged_as_soon_as_they_move(self, wall):
        wall.watch(20.0)
        wall.places.false_alarm(PLACE, wall.time_s)
        wall.watch(3.0)
        somebody = wall.random.normal(0, 30, (16, 16))
        assert not any(wall.watch(10.0, shown=somebody, motion=0.2)[6:])
        assert all(wall.watch(5.0)), "the print is itself again"

    def test_light_that_is_switched_on_is_no_motion_of_the_print(self, wall):
        wall.watch(5.0)
        wall.places.false_alarm(PLACE, wall.time_s)
        assert all(wall.watch(30.0, shown=wall.print + np.linspace(-40, 40, 16, dtype=np.float32)))

    def test_after_a_restart_too(self, wall):
        wall.watch(5.0)
        wall.places.false_alarm(PLACE, wall.time_s)
        text = to_text(wall.places.rectangles(), now_s=wall.time_s, unix_s=1000.0)
        again = Wall(StillPlaces(20.0))
        again.places.restore(from_text(text, now_s=0.0, unix_s=1600.0))
        assert all(again.watch(5.0))
        walked_in = Wall(StillPlaces(20.0))
        walked_in.places.restore(from_text(text, now_s=0.0, unix_s=1600.0))
        assert not any(walked_in.watch(20.0, motion=0.4)[6:])

    def test_who_has_moved_is_not_remembered(self, wall):
        wall.watch(3.0, motion=0.4)
        assert not wall.places.false_alarm(PLACE, wall.time_s)
        wall.watch(3.0)
        assert not wall.places.false_alarm(PLACE, wall.time_s)
        assert wall.places.rectangles() == []

    def test_nor_who_was_hardly_seen(self, wall):
        wall.watch(0.8)
        assert not wall.places.false_alarm(PLACE, wall.time_s)
        assert not wall.places.false_alarm((0.7, 0.1, 0.9, 0.4), wall.time_s)

    def test_the_note_is_a_rectangle_and_a_time_and_junk_is_none(self):
        text = to_text([Rectangle(PLACE, 100.0)], now_s=40.0, unix_s=1000.0)
        assert json.loads(text) == [{"box": list(PLACE), "until_unix_s": 1060}]
        assert from_text(text, now_s=0.0, unix_s=1010.0) == [Rectangle(PLACE, 50.0)]
        assert from_text(text, now_s=0.0, unix_s=1060.0) == []
        for junk in ("", "{}", "[1]", '[{"box": [0, 0, 1], "until_unix_s": 9e9}]', '[{"box": [1, 0, 0, 1]}]'):
            assert from_text(junk, now_s=0.0, unix_s=0.0) == []
        # A clock that was wrong when it was written keeps no place for ever.
        [one] = from_text('[{"box": [0, 0, 1, 1], "until_unix_s": 9e12}]', now_s=0.0, unix_s=1000.0)
        assert one.until_s == REMEMBER_S


def shaken(image, random, *, gain=1.0, noise=3.0, quality=60):
    noisy = np.clip(np.rint(image * gain + random.normal(0, noise, image.shape)), 0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def test_noise_flicker_and_a_small_shift_are_no_motion_and_a_blink_is(clip_frames):
    image = clip_frames("one")[100].image
    [face] = Vision(Config()).find_faces(image)
    box = (face.x / 640, face.y / 480, (face.x + face.width) / 640, (face.y + face.height) / 480)
    random = np.random.default_rng(0)
    before = normalise(signature(image, box))
    for gain in (0.8, 1.0, 1.2):
        after = normalise(signature(shaken(image, random, gain=gain), box))
        assert difference(before, after, tremble=0.75 / face.width) < 0.1
    shifted = cv2.warpAffine(image, np.float32([[1, 0, 0.5], [0, 1, -0.5]]), (640, 480))
    assert difference(before, normalise(signature(shifted, box)), tremble=0.75 / face.width) < 0.1
    later = clip_frames("one")[130].image
    assert difference(before, normalise(signature(later, box)), tremble=0.75 / face.width) > 0.3


@pytest.fixture
def poster_and_person(clip_frames):
    """Return a function that makes frames: a still angry face on the left, the clip's person or none on the right."""
    frames = clip_frames("one")
    random = np.random.default_rng(0)

    def make(time_s: float, *, person: bool) -> Frame:
        angry = frames[170].image[80:400, 160:480]
        other = frames[round(time_s * 15) % len(frames)].image[80:400, 160:480]
        right = other if person else np.full_like(other, 90)
        return Frame(shaken(np.hstack([angry, right]), random, noise=2.0, quality=80), time_s)

    return make


def run(pipeline: Pipeline, make, start_s: float, seconds: float, *, person: bool):
    steps = []
    for n in range(round(seconds * RATE_HZ)):
        time_s = start_s + n / RATE_HZ
        decision = pipeline.process(make(time_s, person=person))
        steps += [(time_s, alert, decision.tracks) for alert in decision.alerts]
    return steps


def test_a_poster_called_a_false_alarm_pages_no_more_and_the_person_beside_it_still_does(poster_and_person):
    rule = Rule(name="angry-customer", cooldown_s=1.0)
    pipeline = Pipeline(Config(rules=(rule,)), new_id=lambda: "0" * 26)
    [(raised_s, alert, tracks)] = run(pipeline, poster_and_person, 0.0, 1.7, person=False)
    assert alert.step == "raised"
    assert pipeline.false_alarm([track.face for track in tracks], raised_s)
    pipeline.rules.act(alert.id, "false_alarm", by="kim", time_s=raised_s)
    assert run(pipeline, poster_and_person, 1.7, 8.0, person=False) == []
    assert pipeline.vision.abstained["still"] > 50
    assert len(pipeline.proposed_zones(11.0)) == 1
    # The clip's person is angry from 8.8 to 14.4 s; its 16.8 s begin anew at 16.8.
    [(paged_s, again, tracks), *_] = run(pipeline, poster_and_person, 16.8 + 7.5, 6.0, person=True)
    assert again.step == "raised"
    assert 16.8 + 8.8 < paged_s < 16.8 + 14.4
    assert [track.face.x > 320 for track in tracks] == [True]


def test_a_poster_that_nobody_answered_for_lets_its_alert_end(poster_and_person):
    pipeline = Pipeline(Config(tracking=Tracking(still_after_s=8.0)), new_id=lambda: "0" * 26)
    steps = run(pipeline, poster_and_person, 0.0, 14.0, person=False)
    assert [(alert.step, alert.reason) for _, alert, _ in steps] == [("raised", ""), ("cleared", "out_of_view")]
    assert steps[1][0] < 12.0
    [zone] = pipeline.proposed_zones(14.0)
    assert zone[0] < 0.15
    assert zone[2] < 0.45
    pipeline.zones.draw((((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),))
    assert pipeline.proposed_zones(14.0) == []


def test_the_place_of_a_false_alarm_outlives_a_restart(tmp_path, clip_frames):
    picture = clip_frames("one")[170].image
    for n in range(35):
        cv2.imwrite(str(tmp_path / f"{n:02}.png"), picture)
    settings = Config(
        camera=Camera(device=str(tmp_path)),
        privacy=Privacy(notice_posted=True),
        outbox=Outbox(state_dir=tmp_path / "state"),
    )

    def watch() -> tuple[int, Agent, dict]:
        """Return how many pages there were, the agent at its end, and its last health report."""
        bus = FakeBus()

        def say_false_alarm(_frame, decision) -> None:
            for alert in decision.alerts:
                if alert.step == "raised":
                    answer = {"schema": "ack", "version": 1, "id": alert.id, "action": "false_alarm", "by": "kim"}
                    bus.receive(f"kiosk/v1/site/kiosk-1/ack/{alert.id}", json.dumps(answer).encode())

        agent = build_agent(settings, bus=bus, every_frame=True, stop_at_end=True, on_decision=say_false_alarm)
        agent.run()
        pages = sum(
            b'"schema": "alert"' in message.payload and b'"step": "raised"' in message.payload
            for message in bus.published
        )
        return pages, agent, json.loads([m.payload for m in bus.published if m.topic.endswith("/health")][-1])

    pages, _, _ = watch()
    assert pages == 1
    pages, agent, report = watch()
    assert pages == 0
    assert agent.pipeline.vision.abstained["still"] > 30
    [zone] = agent.pipeline.proposed_zones(time.monotonic())
    assert zone[0] < 0.5 < zone[2]
    assert report["people"] == 0
    validate(json.dumps({**report, "still_places": [zone]}).encode())
