"""What happens exactly at a limit, and just beside it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from messages import ULID, alert, composer
from scene import face_at

from edge_agent.alerting.rules import RuleEngine
from edge_agent.alerting.stillness import StillPlaces
from edge_agent.alerting.thresholds import Thresholds
from edge_agent.alerting.tracker import ZONE_HOLD_S, Observation, Track, Tracker
from edge_agent.config import Escalation, Rule, Tracking, Zone
from edge_agent.pager.client import Pager
from edge_agent.pager.news import Refusal
from edge_agent.pager.page import Page
from edge_agent.testing import FakeBus
from edge_agent.vision.blazeface import weighted_nms
from edge_agent.vision.faces import Face

UPPER, DWELL_S = 0.6, 2.0


def pages_after(dwell_s: float, *, score: float, looks: int = 3, min_observations: int = 3) -> bool:
    """Tell whether somebody is paged for whose score is held for so long, in so many looks."""
    rule = Rule(name="angry", upper=UPPER, lower=0.4, dwell_s=DWELL_S, min_observations=min_observations)
    engine = RuleEngine((rule,), ("angry",), thresholds={"angry": Thresholds(UPPER, 0.4)}, new_id=lambda: "a")
    steps = []
    for number, time_s in enumerate(np.linspace(100.0, 100.0 + dwell_s, looks), start=1):
        scores = np.array([score], dtype=np.float32)
        steps += engine.update(
            [Track(1, face_at(100), scores, number, 100.0, float(time_s), float(time_s), "view")], float(time_s)
        )
    return [step.step for step in steps] == ["raised"]


def test_a_score_of_exactly_upper_for_exactly_the_dwell_time_pages_and_nothing_less_does():
    assert pages_after(DWELL_S, score=UPPER)
    assert not pages_after(DWELL_S, score=UPPER - 1e-4)
    assert not pages_after(DWELL_S - 1e-3, score=UPPER)
    assert not pages_after(DWELL_S, score=UPPER, looks=3, min_observations=4)
    assert pages_after(DWELL_S, score=UPPER, looks=4, min_observations=4)


@pytest.mark.parametrize("iou", [0.5, 0.25])
def test_boxes_that_overlap_by_exactly_the_limit_are_two_faces_and_by_more_one(iou):
    corners = np.array([[[0, 0], [1, 1]], [[0, 0], [1, iou]]], dtype=np.float32)
    points = np.concatenate([corners, np.zeros((2, 6, 2), dtype=np.float32)], axis=1)
    scores = np.array([0.9, 0.8], dtype=np.float32)
    kept, _ = weighted_nms(points, scores, iou)
    np.testing.assert_array_equal(kept[:, :2], corners)
    [merged], [best] = weighted_nms(points, scores, iou - 1e-3)
    assert best == np.float32(0.9)
    # The mean weighs each by its score.
    assert merged[1, 1] == pytest.approx((0.9 + 0.8 * iou) / 1.7)


def test_somebody_belongs_to_another_zone_once_they_stayed_there_for_a_second():
    zones = (Zone("left", ((0, 0), (0.5, 0), (0.5, 1), (0, 1))),)

    def zone_after(seconds: float) -> str:
        tracker = Tracker(Tracking(max_distance=10.0), zones)
        for time_s, x in ((0.0, 100), (0.5, 500), (0.5 + seconds, 500)):
            seen = Observation(Face(x, 100, 60, 60, 0.9, (0, 0), (1, 0)), np.array([0.1], dtype=np.float32))
            [track] = tracker.update([seen], time_s=time_s, width=640, height=480)
        return track.zone

    assert ZONE_HOLD_S == 1.0
    assert zone_after(0.99) == "left"
    assert zone_after(1.0) == "view"


def test_a_face_is_lost_after_more_than_the_time_and_not_at_it():
    tracker = Tracker(Tracking(lost_after_s=1.0))
    seen = Observation(face_at(100), np.array([0.1], dtype=np.float32))
    tracker.update([seen], time_s=50.0, width=640, height=480)
    assert len(tracker.age(51.0)) == 1
    assert tracker.age(51.01) == ()


def test_who_is_seen_again_just_in_time_was_never_lost_and_is_judged_by_both_looks():
    tracker = Tracker(Tracking(lost_after_s=1.0, smoothing_s=1.0))
    for time_s, score in ((50.0, 0.0), (51.0, 1.0)):
        tracker.age(time_s)
        seen = Observation(face_at(100), np.array([score], dtype=np.float32))
        [track] = tracker.update([seen], time_s=time_s, width=640, height=480)
    assert float(track.scores[0]) == pytest.approx(1 - math.exp(-1))


@pytest.mark.parametrize(("share_px", "same"), [(60, True), (40, False)])
def test_a_false_alarm_is_about_the_place_that_more_than_half_of_the_box_overlaps(share_px, same):
    places = StillPlaces(20.0)
    looks = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    for tenth in range(30):
        places.update([(0.2, 0.2, 0.3, 0.3)], lambda _: looks, 50 + tenth / 10, width=1000)
    # A box inside it, of so many hundredths of its area.
    assert places.false_alarm((0.2, 0.2, 0.3, 0.2 + share_px / 1000), 53.0) is same


@pytest.mark.parametrize(("reason", "refused"), [(127, False), (128, True)])
def test_from_128_on_the_broker_has_refused_an_answer(site, reason, refused):
    bus = FakeBus()
    pager = Pager(bus, name="kim")
    bus.start()
    bus.receive(f"kiosk/v1/{site}/kiosk-1/alert/{ULID}", composer().alert(alert(revision=1)).payload)
    page = next(item for item in pager.poll() if isinstance(item, Page))
    bus.reason = reason
    pager.act(page, "ack")
    assert any(isinstance(item, Refusal) for item in pager.poll()) is refused


@pytest.mark.parametrize("step", ["raised", "escalated"])
def test_a_page_is_worth_delivering_as_long_as_its_rule_says(step):
    assert composer().alert(alert(step=step, rule=Rule(name="r", expiry_s=90))).expiry_s == 90


@pytest.mark.parametrize("step", ["acked", "cleared"])
def test_that_a_page_is_answered_or_over_is_worth_delivering_for_a_day(step):
    message = composer().alert(alert(step=step, rule=Rule(name="r", expiry_s=90)))
    assert message.expiry_s == 24 * 3600
    said = json.loads(message.payload)
    assert (said["time"], said["expires_at"]) == ("2027-01-15T08:00:00.250Z", "2027-01-16T08:00:00.250Z")


def test_an_alert_is_as_severe_as_the_level_it_has_reached():
    ladder = (Escalation(after_s=5, group="manager"), Escalation(after_s=9, group="owner", severity="warning"))
    rule = Rule(name="r", severity="info", escalation=ladder)
    severities = [json.loads(composer().alert(alert(rule=rule, level=n)).payload)["severity"] for n in range(3)]
    assert severities == ["info", "critical", "warning"]
