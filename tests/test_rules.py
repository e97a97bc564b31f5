"""When a look becomes a page, to the frame."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scene import GROUPS, LADDER, POINT, RULE, Scene

from edge_agent.alerting.thresholds import thresholds_for
from edge_agent.config import Rule
from edge_agent.errors import ConfigError


@pytest.mark.parametrize("rate_hz", [5.0, 15.0, 30.0])
def test_anger_pages_after_the_dwell_time_at_any_frame_rate(rate_hz):
    scene = Scene(rate_hz=rate_hz)
    assert scene.show(0.9, {1: 0.9}) == []
    [alert] = scene.show(0.5, {1: 0.9})
    assert alert.step == "raised"
    assert alert.raised_s - 100 == pytest.approx(1.0, abs=1.5 / rate_hz + 1 / rate_hz)


def test_a_short_flash_or_a_score_below_upper_never_pages():
    scene = Scene()
    assert scene.show(0.8, {1: 0.9}) + scene.show(0.2, {1: 0.5}) + scene.show(0.8, {1: 0.9}) == []
    assert scene.show(0.2, {1: 0.5}) + scene.show(60, {1: 0.59}) == []


@pytest.mark.parametrize("upper", [0.1, 0.3, 0.6, 0.7, 0.9])
def test_a_score_at_the_threshold_for_exactly_the_dwell_time_pages(upper):
    rule = replace(RULE, upper=upper, lower=upper, min_observations=1)
    scene = Scene(rule, rate_hz=10)
    assert scene.show(1.0, {1: upper}) == []  # the dwell time begins with the first look, 0.1 s after the start
    assert [a.step for a in scene.show(0.1, {1: upper})] == ["raised"]
    assert scene.show(5, {1: upper}) == []
    just_below = Scene(rule)
    assert just_below.show(10, {1: upper - 0.001}) == []


def test_a_score_at_the_lower_threshold_for_exactly_the_off_delay_ends_an_alert():
    scene = Scene()
    scene.show(2, {1: 0.9})
    assert scene.show(2.0, {1: 0.4}) == []
    assert [a.step for a in scene.show(0.1, {1: 0.4})] == ["cleared"]


def test_too_few_observations_do_not_page_however_long_apart():
    scene = Scene(rate_hz=0.5)
    assert scene.show(4, {1: 0.9}) == []
    assert [a.step for a in scene.show(2, {1: 0.9})] == ["raised"]


def test_one_page_for_one_episode_then_cleared_then_cooldown():
    scene = Scene()
    steps = scene.show(30, {1: 0.9})
    assert [a.step for a in steps] == ["raised"]
    assert scene.show(1.8, {1: 0.1}) == []
    [cleared] = scene.show(0.5, {1: 0.1})
    assert (cleared.step, cleared.reason, cleared.id, cleared.revision) == ("cleared", "calm", steps[0].id, 2)
    assert scene.show(9, {1: 0.9}) == []
    [again] = scene.show(2, {1: 0.9})
    assert again.step == "raised"
    assert again.id != cleared.id


def test_between_lower_and_upper_an_open_alert_stays_open():
    scene = Scene()
    scene.show(2, {1: 0.9})
    assert scene.show(30, {1: 0.5}) == []
    assert scene.engine.open_alerts()


def test_a_customer_who_leaves_clears_the_alert():
    scene = Scene()
    scene.show(2, {1: 0.9})
    [cleared] = scene.show(3, {})
    assert cleared.reason == "out_of_view"


def test_zones_page_independently():
    scene = Scene()
    here = scene.show(2, {1: 0.9}, zone="till-1")
    there = scene.show(2, {2: 0.9}, zone="till-2")
    assert [(a.step, a.zone) for a in here + there if a.step == "raised"] == [
        ("raised", "till-1"),
        ("raised", "till-2"),
    ]


def test_a_rule_may_sum_emotions_and_each_rule_pages_for_itself():
    sad = Rule(name="sad", emotions=("sad",), upper=0.55, dwell_s=1, cooldown_s=5)
    either = Rule(name="upset", emotions=("angry", "sad"), upper=0.8, dwell_s=1, cooldown_s=5)
    steps = Scene(RULE, sad, either).show(3, {1: 0.25}, sad=0.7)
    assert [a.rule.name for a in steps] == ["sad", "upset"]


def test_without_thresholds_of_its_own_a_rule_uses_the_models_operating_point():
    scene = Scene(Rule(name="angry", dwell_s=1, off_delay_s=1, cooldown_s=5))
    assert scene.show(5, {1: 0.29}) == []
    assert [a.step for a in scene.show(2, {1: 0.31})] == ["raised"]
    assert scene.show(3, {1: 0.21}) == []
    assert [a.step for a in scene.show(2, {1: 0.19})] == ["cleared"]


@pytest.mark.parametrize(
    ("rule", "point", "says"),
    [
        (Rule(name="a"), None, "'a' has no upper threshold"),
        (Rule(name="a", emotions=("angry", "sad")), POINT, "no operating point for angry \\+ sad; give it a number"),
        (Rule(name="a", watch="absence"), POINT, "the absence of angry"),
        (Rule(name="a", lower=0.4), POINT, "lower 0.4 is above its upper threshold 0.3"),
    ],
)
def test_thresholds_that_nobody_chose_are_refused(rule, point, says):
    with pytest.raises(ConfigError, match=says):
        thresholds_for((rule,), {name: (name,) for name in GROUPS}, point)


def test_staff_answers_are_idempotent():
    scene = Scene()
    [alert] = scene.show(1.2, {1: 0.9})
    acked = scene.engine.act(alert.id, "ack", by="kim", time_s=scene.time_s)
    assert acked is not None
    assert (acked.step, acked.by, acked.revision) == ("acked", "kim", 2)
    assert scene.engine.act(alert.id, "ack", by="kim", time_s=scene.time_s) is None
    assert scene.engine.act(alert.id, "ack", by="lee", time_s=scene.time_s) is None
    closed = scene.engine.act(alert.id, "false_alarm", by="lee", time_s=scene.time_s)
    assert closed is not None
    assert (closed.step, closed.reason, closed.by) == ("cleared", "false_alarm", "lee")
    assert scene.engine.act(alert.id, "resolve", by="kim", time_s=scene.time_s) is None
    assert scene.engine.act("unknown", "ack", by="kim", time_s=scene.time_s) is None


def test_a_rule_may_watch_for_what_is_missing_in_its_own_zone():
    smile = Rule(
        name="smile", emotions=("angry",), watch="absence", zones=("desk",), upper=0.9, dwell_s=60, role="staff"
    )
    scene = Scene(smile)
    assert scene.show(70, {1: 0.02}, zone="view") == []
    assert scene.show(59, {2: 0.02}, zone="desk") == []
    assert [(a.rule.name, a.zone) for a in scene.show(3, {2: 0.02}, zone="desk")] == [("smile", "desk")]
    assert [a.step for a in scene.show(5, {2: 0.6}, zone="desk")] == ["cleared"]


class TestEscalation:
    @pytest.fixture
    def scene(self):
        return Scene(replace(RULE, escalation=LADDER))

    def test_an_alert_that_nobody_acknowledges_climbs_the_ladder_once_a_level(self, scene):
        [alert] = scene.show(1.2, {1: 0.9})
        assert (alert.level, alert.groups, alert.severity) == (0, ("staff",), "warning")
        steps = []
        for _ in range(40):
            scene.show(0.5, {1: 0.9})
            steps += scene.engine.escalate_due(scene.time_s)
        assert [(s.step, s.level, s.groups[-1], s.severity) for s in steps] == [
            ("escalated", 1, "manager", "critical"),
            ("escalated", 2, "owner", "critical"),
        ]
        assert [s.revision for s in steps] == [2, 3]
        assert steps[0].changed_s - alert.raised_s == pytest.approx(5, abs=0.6)

    def test_an_acknowledged_alert_does_not(self, scene):
        [alert] = scene.show(1.2, {1: 0.9})
        scene.engine.act(alert.id, "ack", by="kim", time_s=scene.time_s)
        scene.show(20, {1: 0.9})
        assert scene.engine.escalate_due(scene.time_s) == []
        assert scene.engine.escalate(alert.id, scene.time_s) is None

    def test_a_page_that_reached_nobody_takes_the_next_level_at_once(self, scene):
        [alert] = scene.show(1.2, {1: 0.9})
        levels = [scene.engine.escalate(alert.id, scene.time_s) for _ in range(3)]
        assert [level.level if level else None for level in levels] == [1, 2, None]
        assert scene.engine.escalate("unknown", scene.time_s) is None


def test_snoozing_keeps_a_rule_quiet_in_its_zone_for_as_long_as_asked():
    scene = Scene()
    [alert] = scene.show(1.2, {1: 0.9})
    snoozed = scene.engine.act(alert.id, "snooze", by="kim", time_s=scene.time_s, snooze_s=30)
    assert snoozed is not None
    assert (snoozed.step, snoozed.reason) == ("cleared", "snooze")
    assert scene.show(29, {1: 0.9}) == []
    assert [a.step for a in scene.show(2, {1: 0.9})] == ["raised"]


def test_snoozing_everything_keeps_every_zone_quiet():
    scene = Scene()
    scene.engine.snooze(scene.time_s + 20)
    assert scene.show(10, {1: 0.9}, zone="a") + scene.show(9, {2: 0.9}, zone="b") == []
    assert [a.zone for a in scene.show(3, {2: 0.9}, zone="b")] == ["b"]


def test_a_snooze_does_not_shorten_the_cooldown():
    scene = Scene(replace(RULE, cooldown_s=60))
    [alert] = scene.show(1.2, {1: 0.9})
    scene.engine.act(alert.id, "snooze", by="kim", time_s=scene.time_s, snooze_s=5)
    assert scene.show(50, {1: 0.9}) == []


def test_a_resolved_alert_does_not_return_while_the_cooldown_lasts():
    scene = Scene()
    [alert] = scene.show(1.2, {1: 0.9})
    scene.engine.act(alert.id, "resolve", by="kim", time_s=scene.time_s)
    assert scene.show(9, {1: 0.9}) == []
    assert [a.step for a in scene.show(3, {1: 0.9})] == ["raised"]
