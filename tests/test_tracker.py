"""People keep their track, and scores are smoothed in seconds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_agent.alerting.tracker import Observation, Tracker
from edge_agent.config import Tracking, Zone
from edge_agent.vision.faces import Face


def seen(x: float, y: float = 100, size: float = 60, score: float = 0.0) -> Observation:
    face = Face(x, y, size, size, 0.9, (x + 20, y + 20), (x + 40, y + 20))
    return Observation(face, np.array([score], dtype=np.float32))


def update(tracker: Tracker, time_s: float, *observations: Observation):
    return tracker.update(observations, time_s=time_s, width=640, height=480)


def test_two_people_who_walk_past_each_other_keep_their_tracks():
    tracker = Tracker(Tracking())
    for step in range(20):
        left, right = 100 + 10 * step, 400 - 10 * step
        tracks = update(tracker, step / 10, seen(left, 80, score=1), seen(right, 200))
        assert len(tracks) == 2
    by_id = {track.id: track for track in tracks}
    assert by_id[1].face.x == 290
    assert float(by_id[1].scores[0]) == 1.0
    assert float(by_id[2].scores[0]) == 0.0


def test_a_quick_move_without_overlap_is_still_the_same_person():
    tracker = Tracker(Tracking())
    update(tracker, 0, seen(100))
    [track] = update(tracker, 0.2, seen(155))
    assert (track.id, track.observations) == (1, 2)


def test_a_face_far_away_or_of_another_size_is_somebody_else():
    tracker = Tracker(Tracking())
    update(tracker, 0, seen(100))
    assert {t.id for t in update(tracker, 0.1, seen(400))} == {1, 2}
    assert {t.id for t in update(Tracker(Tracking()), 0, seen(100))} == {1}
    other = Tracker(Tracking())
    update(other, 0, seen(100, size=40))
    assert {t.id for t in update(other, 0.1, seen(110, size=150))} == {1, 2}


def absent(tracker: Tracker, begin_s: float, end_s: float) -> None:
    """Show ten frames a second with nobody in them."""
    for step in range(round(10 * (end_s - begin_s))):
        update(tracker, begin_s + step / 10)


def test_a_lost_face_leaves_and_comes_back_as_itself_only_within_the_time_and_in_its_place():
    for gap_s, x, expected in (
        (0.9, 102, 1),
        (2.0, 102, 1),
        (2.9, 102, 1),
        (3.1, 102, 2),
        (4.0, 102, 2),
        (2.0, 170, 2),
    ):
        tracker = Tracker(Tracking(lost_after_s=1.0, reappear_s=3.0))
        update(tracker, 0, seen(100))
        absent(tracker, 0.1, gap_s)
        assert [t.id for t in tracker.age(gap_s - 0.01)] == ([1] if gap_s < 1 else [])
        assert [t.id for t in update(tracker, gap_s, seen(x))] == [expected], gap_s


def test_a_face_of_another_size_in_the_place_of_a_lost_one_is_somebody_else():
    tracker = Tracker(Tracking())
    update(tracker, 0, seen(100, size=40))
    absent(tracker, 0.1, 2)
    assert [t.id for t in update(tracker, 2, seen(90, 90, size=81))] == [2]


def test_without_time_to_reappear_a_lost_face_is_somebody_else():
    tracker = Tracker(Tracking(lost_after_s=1.0, reappear_s=0.0))
    update(tracker, 0, seen(100))
    absent(tracker, 0.1, 1.2)
    assert [t.id for t in update(tracker, 1.2, seen(100))] == [2]


def test_who_comes_back_is_judged_by_the_look_they_come_back_with():
    tracker = Tracker(Tracking())
    update(tracker, 0, seen(100, score=0.9))
    absent(tracker, 0.1, 1.5)
    [track] = update(tracker, 1.5, seen(100, score=0.1))
    assert (track.id, track.observations, track.first_s) == (1, 2, 0)
    assert float(track.scores[0]) == pytest.approx(0.1)


def test_a_passer_by_does_not_take_the_number_of_somebody_lost_beside_them():
    tracker = Tracker(Tracking())
    for step in range(8):
        update(tracker, step / 10, seen(100), seen(300 - 20 * step))
    for step in range(8, 30):  # the first is hidden; the second walks through their place
        update(tracker, step / 10, seen(300 - 10 * step))
    assert [t.id for t in update(tracker, 3.0, seen(0))] == [2]


def test_a_camera_that_paused_for_long_shows_somebody_else_and_a_slow_one_does_not():
    paused, slow = Tracker(Tracking()), Tracker(Tracking())
    for step in range(5):
        update(paused, step / 10, seen(100))
    assert [t.id for t in update(paused, 5.0, seen(100))] == [2]
    for step in range(5):
        [track] = update(slow, 10 * step, seen(100))
    assert (track.id, track.observations) == (2, 4)


@pytest.mark.parametrize("rate_hz", [2, 10, 30])
def test_smoothing_means_the_same_at_any_frame_rate(rate_hz):
    tracker = Tracker(Tracking(smoothing_s=0.7))
    update(tracker, 0, seen(100, score=0))
    for step in range(1, 2 * rate_hz + 1):
        [track] = update(tracker, step / rate_hz, seen(100, score=1))
    assert float(track.scores[0]) == pytest.approx(1 - math.exp(-2 / 0.7), abs=1e-4)


def test_a_face_on_a_border_stays_in_its_zone_until_it_really_moves():
    zones = (Zone("left", ((0, 0), (0.5, 0), (0.5, 1), (0, 1))),)
    tracker = Tracker(Tracking(), zones)
    border = 320 - 30
    for step in range(50):
        [track] = update(tracker, step / 10, seen(border - 3 if step % 2 == 0 else border + 3))
        assert track.zone == "left"
    for step in range(50, 70):
        [track] = update(tracker, step / 10, seen(border + 10))
    assert track.zone == "view"


def test_zones_are_told_by_the_middle_of_the_face():
    zones = (Zone("left", ((0, 0), (0.5, 0), (0.5, 1), (0, 1))),)
    tracker = Tracker(Tracking(), zones)
    tracks = update(tracker, 0, seen(100), seen(500))
    assert [t.zone for t in tracks] == ["left", "view"]


def test_pictures_of_another_size_show_the_same_people():
    tracker = Tracker(Tracking())
    tracker.update([seen(400)], time_s=0, width=640, height=480)
    [track] = tracker.update([seen(800, 200, size=120)], time_s=0.1, width=1280, height=960)
    assert (track.id, track.observations) == (1, 2)
    [track] = tracker.update([seen(200, 50, size=30)], time_s=0.2, width=320, height=240)
    assert (track.id, track.observations) == (1, 3)
