"""What a run that was killed hands to the next: open alerts, pauses, and who is not to be paged for."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from scene import LADDER, RULE, Scene, told

from edge_agent.alerting.alert import Alert
from edge_agent.config import Group
from edge_agent.delivery.episodes import Episodes, Now, from_text, to_text


def hand_over(
    scene: Scene, *, gap_s: float, rules=(RULE,), boot="boot-2", monotonic_s=None, clock_known=True, edit=None
) -> tuple[Scene, list[Alert]]:
    engine = scene.engine
    raised = {alert.id: 1_800_000_000.0 for alert in engine.open_alerts()}
    written = Now(scene.time_s, 1_800_000_010, "boot-1", 500)
    text = to_text(Episodes(engine.open_alerts(), engine.quiet(), engine.mutes(), raised), now=written)
    if edit is not None:
        text = edit(text)
    after = Scene(*rules)
    after.time_s = 7.0
    read = Now(
        after.time_s,
        written.unix_s + gap_s,
        boot,
        written.monotonic_s + gap_s if monotonic_s is None else monotonic_s,
        clock_known,
    )
    episodes, over = from_text(text, rules, now=read)
    after.engine.restore(episodes.alerts, episodes.quiet, episodes.mutes)
    return after, over


def test_an_open_alert_goes_on_under_its_id_and_can_be_acknowledged():
    before = Scene()
    [alert] = before.show(1.2, {1: 0.9})
    after, over = hand_over(before, gap_s=4)
    assert over == []
    assert after.show(5, {1: 0.9}) == []
    acked = after.engine.act(alert.id, "ack", by="kim", time_s=after.time_s)
    assert acked is not None
    assert (acked.revision, acked.step) == (2, "acked")
    assert [(a.id, a.step, a.reason) for a in after.show(3, {})] == [(alert.id, "cleared", "out_of_view")]


def test_the_ladder_goes_on_where_it_was():
    rule = replace(RULE, escalation=LADDER)
    before = Scene(rule)
    before.show(3.2, {1: 0.9})
    after, _ = hand_over(before, gap_s=2, rules=(rule,))
    assert after.engine.escalate_due(after.time_s) == []
    assert [a.level for a in after.engine.escalate_due(after.time_s + 1.5)] == [1]


def test_whom_a_closed_group_was_left_out_of_is_known_after_a_restart():
    rule = replace(RULE, escalation=LADDER)
    before = Scene(rule, groups=(Group("staff", "day"),))
    before.engine.closed = frozenset({"day"})
    before.show(3.2, {1: 0.9})
    after, _ = hand_over(before, gap_s=2, rules=(rule,))
    [alert] = after.engine.open_alerts()
    assert (alert.groups, alert.level) == (("manager",), 1)
    [late] = after.engine.escalate_due(after.time_s)  # nothing is closed by now
    assert late.groups == ("staff", "manager")
    shorter = replace(rule, escalation=LADDER[:1])
    assert hand_over(before, gap_s=2, rules=(shorter,))[0].engine.open_alerts()[0].groups == ("manager",)
    none_left, _ = hand_over(before, gap_s=2, rules=(RULE,))
    assert none_left.engine.open_alerts()[0].groups == ("staff",)


def test_stopping_begins_no_cooldown():
    before = Scene()
    before.show(1.2, {1: 0.9})
    before.engine.close_all(reason="stopped", time_s=before.time_s)
    after, _ = hand_over(before, gap_s=1)
    assert [a.step for a in after.show(1.5, {1: 0.9})] == ["raised"]


def test_pauses_go_on():
    before = Scene()
    [alert] = before.show(1.2, {1: 0.9})
    before.engine.act(alert.id, "snooze", by="kim", time_s=before.time_s, snooze_s=60)
    after, _ = hand_over(before, gap_s=20)
    assert after.show(39, {1: 0.9}) == []
    assert [a.step for a in after.show(3, {1: 0.9})] == ["raised"]


@pytest.mark.parametrize(("gap_s", "rules"), [(301, (RULE,)), (5, (replace(RULE, name="another"),))])
def test_alerts_that_nobody_watched_or_whose_rule_is_gone_are_over(gap_s, rules):
    before = Scene()
    [alert] = before.show(1.2, {1: 0.9})
    after, over = hand_over(before, gap_s=gap_s, rules=rules)
    assert [a.id for a in over] == [alert.id]
    assert after.engine.open_alerts() == []


def test_a_clock_that_was_set_back_makes_an_alert_no_younger_than_it_is():
    before = Scene()
    before.show(3.2, {1: 0.9})
    after, _ = hand_over(before, gap_s=-3600)
    [alert] = after.engine.open_alerts()
    assert after.time_s - alert.raised_s == pytest.approx(2.1, abs=0.2)


@pytest.mark.parametrize("step_s", [3600, -3600])
def test_a_clock_that_is_set_within_one_boot_changes_nothing(step_s):
    before = Scene()
    before.show(1.2, {1: 0.9})
    after, over = hand_over(before, gap_s=step_s, boot="boot-1", monotonic_s=504)
    assert over == []
    [alert] = after.engine.open_alerts()
    assert 4 <= after.time_s - alert.raised_s < 5


@pytest.mark.parametrize(("boot", "over"), [("boot-1", 0), ("boot-2", 1)])
def test_after_another_boot_an_alert_is_over_while_nobody_has_set_the_clock(boot, over):
    before = Scene()
    before.show(1.2, {1: 0.9})
    assert len(hand_over(before, gap_s=4, boot=boot, clock_known=False)[1]) == over


def test_an_alert_of_a_zone_its_rule_left_is_over():
    before = Scene()
    [alert] = before.show(1.2, {1: 0.9})
    _, over = hand_over(before, gap_s=4, rules=(replace(RULE, zones=("till",)),))
    assert [a.id for a in over] == [alert.id]


@pytest.mark.parametrize("text", ["", "null", "{}", '{"written_unix_s": 1, "alerts": [{}], "quiet": []}', "["])
def test_junk_is_nothing_to_go_on_with(text):
    episodes, over = from_text(text, (RULE,), now=Now(1, 1, "boot", 1))
    assert (list(episodes.alerts), dict(episodes.quiet), list(episodes.mutes), over) == ([], {}, [], [])


def two_people(scene: Scene) -> Alert:
    """Page for two people; return the alert as it is then."""
    first, second = scene.show(1.2, {1: 0.9}) + scene.show(1.2, {1: 0.9, 2: 0.9})
    assert (first.id, second.people) == (second.id, 2)
    return second


def test_the_people_of_an_alert_are_not_paged_for_again_and_a_further_one_is():
    before = Scene()
    alert = two_people(before)
    after, _ = hand_over(before, gap_s=4)
    assert after.show(5, {11: 0.9, 12: 0.9}) == []
    assert told(after.show(1.2, {11: 0.9, 12: 0.9, 13: 0.9})) == [("raised", alert.id, 3)]
    assert told(after.show(3, {})) == [("cleared", alert.id, 3)]


def test_an_alert_goes_on_while_somebody_looks_upset_and_ends_when_nobody_does():
    for score, steps in ((0.5, []), (0.1, ["cleared"])):
        before = Scene()
        before.show(1.2, {1: 0.9})
        after, _ = hand_over(before, gap_s=4)
        assert [a.step for a in after.show(3, {11: score})] == steps


def test_a_place_in_an_alert_that_nobody_claims_is_given_up():
    before = Scene()
    alert = two_people(before)
    after, _ = hand_over(before, gap_s=4)
    assert after.show(4, {11: 0.9}) == []
    assert told(after.show(1.2, {11: 0.9, 12: 0.9})) == [("raised", alert.id, 2)]


@pytest.mark.parametrize("action", ["resolve", "false_alarm"])
def test_an_answer_that_comes_before_the_first_frame_is_about_those_who_were_there(action):
    before = Scene()
    [alert] = before.show(1.2, {1: 0.9})
    after, _ = hand_over(before, gap_s=4)
    after.act(alert, action)
    assert after.show(8, {11: 0.9}) == []
    assert [a.step for a in after.show(1.2, {11: 0.9, 12: 0.9})] == ["raised"]


@pytest.mark.parametrize(("action", "gap_s", "muted_s"), [("resolve", 2, 8), ("false_alarm", 60, 530)])
def test_who_was_muted_still_is_in_their_place(action, gap_s, muted_s):
    before = Scene()
    [alert] = before.watch(1.2, (100, 0.9))
    before.act(alert, action)
    before.watch(0.1, (100, 0.9))
    after, _ = hand_over(before, gap_s=gap_s)
    assert after.watch(muted_s - 2, (105, 0.9)) == []
    assert [a.step for a in after.watch(5 if action == "resolve" else 15, (105, 0.9))] == ["raised"]


def test_who_was_muted_still_is_after_two_restarts():
    before = Scene()
    [alert] = before.watch(1.2, (100, 0.9))
    before.act(alert, "false_alarm")
    between, _ = hand_over(before, gap_s=1)
    after, _ = hand_over(between, gap_s=1)
    assert after.watch(5, (100, 0.9)) == []


def test_nobody_is_muted_for_who_stood_there_when_nobody_watched_for_long():
    before = Scene()
    [alert] = before.watch(1.2, (100, 0.9))
    before.act(alert, "false_alarm")
    after, _ = hand_over(before, gap_s=301)
    assert [a.step for a in after.watch(1.3, (100, 0.9))] == ["raised"]


def test_an_answer_to_an_earlier_page_does_not_answer_for_a_later_one_after_a_restart_either():
    before = Scene()
    alert = two_people(before)
    after, _ = hand_over(before, gap_s=4)
    assert after.engine.act(alert.id, "ack", by="kim", time_s=after.time_s, revision=1) is None
    assert after.act(alert, "ack", revision=2).step == "acked"


def test_whoever_stands_elsewhere_or_comes_later_is_not_muted_for_another():
    for x, wait_s in ((300, 0), (105, 4)):
        before = Scene()
        [alert] = before.watch(1.2, (100, 0.9))
        before.act(alert, "false_alarm")
        after, _ = hand_over(before, gap_s=1)
        after.watch(wait_s)
        assert [a.step for a in after.watch(1.3, (x, 0.9))] == ["raised"]


def test_the_time_to_the_next_level_goes_on_from_the_latest_page():
    rule = replace(RULE, escalation=LADDER)
    before = Scene(rule)
    before.show(4, {1: 0.9})
    before.show(1.2, {1: 0.9, 2: 0.9})
    after, _ = hand_over(before, gap_s=2, rules=(rule,))
    assert after.engine.escalate_due(after.time_s + 2.5) == []
    assert [a.level for a in after.engine.escalate_due(after.time_s + 3.1)] == [1]


def test_the_text_of_a_version_that_knew_no_people_is_read():
    def older(text: str) -> str:
        body = json.loads(text)
        del body["mutes"]
        for alert in body["alerts"]:
            del alert["paged_age_s"]
        return json.dumps({**body, "quiet": [["angry", "till", 20.0], ["", "", 30.0]]})

    before = Scene()
    [alert] = before.show(1.2, {1: 0.9})
    after, over = hand_over(before, gap_s=4, edit=older)
    assert over == []
    assert [a.id for a in after.engine.open_alerts()] == [alert.id]
    assert after.engine.quiet()["", ""] == pytest.approx(after.time_s + 26)
