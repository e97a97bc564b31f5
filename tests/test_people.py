"""Alerts belong to people: nobody is muted, or held back, by somebody else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scene import LADDER, RULE, Scene, told

from edge_agent.alerting.rules import FALSE_ALARM_S


def test_a_second_person_beside_one_who_stays_angry_is_paged_for_under_the_same_id():
    scene = Scene()
    [first] = scene.show(2, {1: 0.9})
    [second] = scene.show(5, {1: 0.9, 2: 0.95})
    assert (second.step, second.id, second.people, second.revision) == ("raised", first.id, 2, 2)
    assert second.score == pytest.approx(0.95)
    assert second.raised_s == first.raised_s < second.paged_s
    assert scene.show(1.5, {2: 0.95}) == []
    [cleared] = scene.show(10, {2: 0.1})
    assert (cleared.step, cleared.id) == ("cleared", first.id)


def test_a_new_person_must_be_acknowledged_anew():
    scene = Scene()
    [alert] = scene.show(2, {1: 0.9})
    scene.act(alert, "on_my_way")
    assert scene.show(5, {1: 0.9}) == []
    [raised] = scene.show(2, {1: 0.9, 2: 0.9})
    assert (raised.step, raised.by, raised.reason, raised.revision) == ("raised", "", "", 3)
    assert scene.act(alert, "ack").revision == 4


@pytest.mark.parametrize("action", ["ack", "on_my_way", "resolve", "false_alarm"])
def test_an_answer_to_an_earlier_page_does_not_answer_for_a_new_person(action):
    scene = Scene()
    [first] = scene.show(2, {1: 0.9})
    [second] = scene.show(2, {1: 0.9, 2: 0.9})
    late = {"by": "kim", "time_s": scene.time_s}
    assert scene.engine.act(first.id, action, revision=first.revision, **late) is None
    assert [a.step for a in scene.engine.open_alerts()] == ["raised"]
    assert scene.engine.act(first.id, action, revision=second.revision, **late) is not None


def test_an_answer_to_a_page_counts_after_it_climbed_the_ladder():
    scene = Scene(replace(RULE, escalation=LADDER))
    [alert] = scene.show(1.2, {1: 0.9})
    assert scene.engine.escalate(alert.id, scene.time_s) is not None
    assert scene.act(alert, "ack", revision=alert.revision).step == "acked"


def test_who_snoozes_a_zone_means_whoever_is_there():
    scene = Scene()
    [first] = scene.show(2, {1: 0.9})
    scene.show(2, {1: 0.9, 2: 0.9})
    assert scene.act(first, "snooze", revision=first.revision).step == "cleared"


def test_the_ladder_counts_from_the_latest_page_and_keeps_its_level():
    scene = Scene(replace(RULE, escalation=LADDER))
    [alert] = scene.show(1.2, {1: 0.9})
    scene.show(5, {1: 0.9})
    assert [a.level for a in scene.engine.escalate_due(scene.time_s)] == [1]
    scene.act(alert, "ack")
    [raised] = scene.show(4, {1: 0.9, 2: 0.9})
    assert (raised.level, raised.groups) == (1, ("staff", "manager"))
    assert scene.engine.escalate_due(raised.paged_s + 11.9) == []
    assert [a.level for a in scene.engine.escalate_due(raised.paged_s + 12)] == [2]


def test_a_stranger_is_paged_for_at_once_while_another_is_muted():
    scene = Scene()
    [first] = scene.show(2, {1: 0.9})
    scene.act(first, "resolve")
    steps = scene.show(1.3, {1: 0.9, 2: 0.9})
    assert told(steps) == [("raised", "alert-2", 1)]
    assert [track.id for track in scene.engine.people_of("alert-2")] == [2]


def test_a_poster_that_never_calms_down_holds_nobody_back():
    scene = Scene()
    [poster] = scene.show(2, {9: 0.8})
    scene.show(60, {9: 0.8})
    scene.act(poster, "false_alarm")
    for person in (1, 2, 3):
        raised, cleared = scene.show(2, {9: 0.8, person: 0.9}) + scene.show(3, {9: 0.8})
        assert (raised.step, raised.people, cleared.id, cleared.step) == ("raised", 1, raised.id, "cleared")


def test_people_leave_an_alert_one_by_one():
    scene = Scene()
    scene.show(1.2, {1: 0.9})
    scene.show(1.2, {1: 0.9, 2: 0.9})
    assert scene.show(5, {1: 0.1, 2: 0.9}) == []
    [alert] = scene.engine.open_alerts()
    assert alert.people == 1
    [again] = scene.show(10, {1: 0.9, 2: 0.9})  # once their cooldown is over
    assert (again.step, again.people) == ("raised", 2)


def test_a_cooldown_belongs_to_whoever_was_in_the_alert():
    scene = Scene()
    scene.show(2, {1: 0.9})
    [cleared] = scene.show(3, {1: 0.1})
    assert cleared.step == "cleared"
    assert scene.show(8.8, {1: 0.9}) == []
    assert [a.step for a in scene.show(1.5, {1: 0.9})] == ["raised"]


def test_a_false_alarm_mutes_who_was_in_it_for_as_long_as_they_stay():
    scene = Scene()
    [alert] = scene.show(2, {1: 0.9})
    scene.act(alert, "false_alarm")
    assert [a.people for a in scene.show(2, {1: 0.9, 2: 0.9})] == [1]
    scene.show(3, {1: 0.9})
    assert scene.show(FALSE_ALARM_S - 6, {1: 0.9}) == []
    assert [a.step for a in scene.show(2, {1: 0.9})] == ["raised"]
    [cleared] = scene.show(10, {})
    assert cleared.reason == "out_of_view"
    assert [a.step for a in scene.show(2, {1: 0.9})] == ["raised"]


def test_resolving_ends_it_for_everybody_in_it():
    scene = Scene()
    [alert] = scene.show(1.2, {1: 0.9})
    scene.show(1.2, {1: 0.9, 2: 0.9})
    assert [track.id for track in scene.engine.people_of(alert.id)] == [1, 2]
    assert scene.act(alert, "resolve").people == 2
    assert scene.engine.people_of(alert.id) == ()
    assert scene.show(9.8, {1: 0.9, 2: 0.9}) == []
    assert [a.people for a in scene.show(0.5, {1: 0.9, 2: 0.9})] == [2]


def test_while_a_zone_is_snoozed_strangers_are_not_paged_for_either():
    scene = Scene()
    [alert] = scene.show(2, {1: 0.9})
    scene.act(alert, "snooze", snooze_s=30)
    assert scene.show(29, {2: 0.9}) == []
    assert [a.step for a in scene.show(2, {2: 0.9})] == ["raised"]


def test_while_everything_is_snoozed_an_open_alert_does_not_ring_for_another():
    scene = Scene()
    scene.show(2, {1: 0.9})
    scene.engine.snooze(scene.time_s + 20)
    assert scene.show(19, {1: 0.9, 2: 0.9}) == []
    assert [a.people for a in scene.show(2, {1: 0.9, 2: 0.9})] == [2]


def test_who_walks_to_another_zone_stays_in_the_alert_they_are_in():
    scene = Scene()
    [alert] = scene.show(2, {1: 0.9}, zone="till-1")
    assert scene.show(10, {1: 0.9}, zone="till-2") == []
    [cleared] = scene.show(3, {1: 0.1}, zone="till-2")
    assert (cleared.id, cleared.zone) == (alert.id, "till-1")


def test_who_leaves_the_zones_of_a_rule_and_comes_back_is_still_muted():
    scene = Scene(replace(RULE, zones=("till",)))
    [alert] = scene.show(2, {1: 0.9}, zone="till")
    scene.act(alert, "false_alarm")
    assert scene.show(20, {1: 0.9}, zone="view") + scene.show(20, {1: 0.9}, zone="till") == []
    assert scene.show(2, {1: 0.9, 2: 0.9}, zone="till")


def test_one_person_whose_track_breaks_rings_once():
    scene = Scene()
    steps = scene.watch(3, (100, 0.9))
    for _ in range(3):
        steps += scene.watch(2.5) + scene.watch(3, (105, 0.9))
    assert told(steps) == [("raised", "alert-1", 1)]


def test_one_person_who_is_away_for_longer_than_the_alert_rings_once_too():
    scene = Scene(replace(RULE, off_delay_s=0.5))
    steps = scene.watch(3, (100, 0.9)) + scene.watch(2.5) + scene.watch(3, (105, 0.9))
    assert [a.step for a in steps] == ["raised", "cleared"]


@pytest.mark.parametrize("answer", [None, "resolve", "false_alarm"])
def test_a_stranger_who_steps_up_four_seconds_later_rings(answer):
    scene = Scene()
    [alert] = scene.watch(3, (100, 0.9))
    if answer:
        scene.act(alert, answer)
    scene.watch(4)
    assert told(scene.watch(1.2, (105, 0.9))) == [("raised", "alert-2", 1)]


def test_two_people_beside_each_other_are_two():
    scene = Scene()
    steps = scene.watch(2, (100, 0.9), (300, 0.1)) + scene.watch(2, (100, 0.9), (300, 0.9))
    assert told(steps) == [("raised", "alert-1", 1), ("raised", "alert-1", 2)]


def test_a_pause_of_the_camera_pages_for_nobody_twice_and_for_a_further_person():
    scene = Scene()
    scene.watch(2, (100, 0.9))
    scene.time_s += 20
    assert scene.watch(5, (100, 0.9)) == []
    assert told(scene.watch(2, (100, 0.9), (300, 0.9))) == [("raised", "alert-1", 2)]
    scene.time_s += 20
    assert [a.step for a in scene.watch(3, (100, 0.1))] == ["cleared"]


def test_who_was_muted_before_a_pause_of_the_camera_is_after_it():
    scene = Scene()
    [alert] = scene.watch(2, (100, 0.9))
    scene.act(alert, "false_alarm")
    scene.time_s += 60
    assert scene.watch(5, (100, 0.9)) == []
    assert told(scene.watch(2, (100, 0.9), (300, 0.9))) == [("raised", "alert-2", 1)]


def test_progress_and_pending_are_about_people_who_may_be_paged_for():
    scene = Scene()
    [alert] = scene.show(2, {1: 0.9})
    assert [(p.state, p.share) for p in scene.engine.progress(scene.time_s)] == [("raised", 1.0)]
    assert not scene.engine.pending()
    scene.act(alert, "resolve")
    scene.show(0.5, {1: 0.9})
    assert [(p.state, p.share) for p in scene.engine.progress(scene.time_s)] == [("quiet", 0.0)]
    assert not scene.engine.pending()
    scene.show(0.5, {1: 0.9, 2: 0.9})
    [progress] = scene.engine.progress(scene.time_s)
    assert (progress.state, progress.score) == ("pending", pytest.approx(0.9))
    assert 0.3 < progress.share < 0.6
    assert scene.engine.pending()
