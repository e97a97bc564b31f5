"""When a look becomes a page, to the frame."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from edge_agent.alerting.calibration import thresholds_for
from edge_agent.alerting.rules import Alert, RuleEngine
from edge_agent.alerting.tracker import Track
from edge_agent.config import Escalation, Rule
from edge_agent.delivery.episodes import Episodes, Now, from_text, to_text
from edge_agent.errors import ConfigError
from edge_agent.vision.faces import Face

FACE = Face(10, 10, 50, 50, 0.9, (20, 25), (40, 25))
GROUPS = ("angry", "sad")
POINT = {"emotions": ["angry"], "threshold": 0.3}
RULE = Rule(
    name="angry", upper=0.6, lower=0.4, dwell_s=1.0, min_observations=3, off_delay_s=2.0, cooldown_s=10.0
)  # fmt: skip


class Scene:
    """Shows scores to the engine at a frame rate and collects the steps."""

    def __init__(self, *rules: Rule, rate_hz: float = 10.0) -> None:
        ids = itertools.count(1)
        rules = rules or (RULE,)
        thresholds = thresholds_for(rules, {name: (name,) for name in GROUPS}, POINT)
        self.engine = RuleEngine(rules, GROUPS, thresholds=thresholds, new_id=lambda: f"alert-{next(ids)}")
        self.time_s = 100.0
        self.rate_hz = rate_hz
        self.seen: dict[int, int] = {}

    def show(self, seconds: float, people: dict[int, float], *, sad: float = 0.0, zone: str = "view") -> list[Alert]:
        steps = []
        for _ in range(round(seconds * self.rate_hz)):
            self.time_s += 1 / self.rate_hz
            tracks = []
            for person, angry in people.items():
                self.seen[person] = self.seen.get(person, 0) + 1
                scores = np.array([angry, sad], dtype=np.float32)
                tracks.append(Track(person, FACE, scores, self.seen[person], 0.0, self.time_s, self.time_s, zone))
            steps += self.engine.update(tracks, self.time_s)
        return steps


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


def test_a_second_angry_person_in_the_zone_does_not_page_again():
    scene = Scene()
    steps = scene.show(2, {1: 0.9}) + scene.show(5, {1: 0.9, 2: 0.95}) + scene.show(5, {2: 0.95})
    assert [a.step for a in steps] == ["raised"]


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


LADDER = (Escalation(after_s=5, group="manager"), Escalation(after_s=12, group="owner", severity="critical"))


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


class TestNextRun:
    """What a run that was killed hands to the next."""

    def hand_over(
        self, scene: Scene, *, gap_s: float, rules=(RULE,), boot="boot-2", monotonic_s=None, clock_known=True
    ) -> tuple[Scene, list[Alert]]:
        engine = scene.engine
        raised = {alert.id: 1_800_000_000.0 for alert in engine.open_alerts()}
        written = Now(scene.time_s, 1_800_000_010, "boot-1", 500)
        text = to_text(Episodes(engine.open_alerts(), engine.quiet(), raised), now=written)
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
        after.engine.restore(episodes.alerts, episodes.quiet)
        return after, over

    def test_an_open_alert_goes_on_under_its_id_and_can_be_acknowledged(self):
        before = Scene()
        [alert] = before.show(1.2, {1: 0.9})
        after, over = self.hand_over(before, gap_s=4)
        assert over == []
        assert after.show(5, {1: 0.9}) == []
        acked = after.engine.act(alert.id, "ack", by="kim", time_s=after.time_s)
        assert acked is not None
        assert (acked.revision, acked.step) == (2, "acked")
        assert [(a.id, a.step, a.reason) for a in after.show(3, {})] == [(alert.id, "cleared", "out_of_view")]

    def test_the_ladder_goes_on_where_it_was(self):
        rule = replace(RULE, escalation=LADDER)
        before = Scene(rule)
        before.show(3.2, {1: 0.9})
        after, _ = self.hand_over(before, gap_s=2, rules=(rule,))
        assert after.engine.escalate_due(after.time_s) == []
        assert [a.level for a in after.engine.escalate_due(after.time_s + 1.5)] == [1]

    def test_stopping_begins_no_cooldown(self):
        before = Scene()
        before.show(1.2, {1: 0.9})
        before.engine.close_all(reason="stopped", time_s=before.time_s)
        after, _ = self.hand_over(before, gap_s=1)
        assert [a.step for a in after.show(1.5, {1: 0.9})] == ["raised"]

    def test_pauses_go_on(self):
        before = Scene()
        [alert] = before.show(1.2, {1: 0.9})
        before.engine.act(alert.id, "snooze", by="kim", time_s=before.time_s, snooze_s=60)
        after, _ = self.hand_over(before, gap_s=20)
        assert after.show(39, {1: 0.9}) == []
        assert [a.step for a in after.show(3, {1: 0.9})] == ["raised"]

    @pytest.mark.parametrize(("gap_s", "rules"), [(301, (RULE,)), (5, (replace(RULE, name="another"),))])
    def test_alerts_that_nobody_watched_or_whose_rule_is_gone_are_over(self, gap_s, rules):
        before = Scene()
        [alert] = before.show(1.2, {1: 0.9})
        after, over = self.hand_over(before, gap_s=gap_s, rules=rules)
        assert [a.id for a in over] == [alert.id]
        assert after.engine.open_alerts() == []

    def test_a_clock_that_was_set_back_makes_an_alert_no_younger_than_it_is(self):
        before = Scene()
        before.show(3.2, {1: 0.9})
        after, _ = self.hand_over(before, gap_s=-3600)
        [alert] = after.engine.open_alerts()
        assert after.time_s - alert.raised_s == pytest.approx(2.1, abs=0.2)

    @pytest.mark.parametrize("step_s", [3600, -3600])
    def test_a_clock_that_is_set_within_one_boot_changes_nothing(self, step_s):
        before = Scene()
        before.show(1.2, {1: 0.9})
        after, over = self.hand_over(before, gap_s=step_s, boot="boot-1", monotonic_s=504)
        assert over == []
        [alert] = after.engine.open_alerts()
        assert 4 <= after.time_s - alert.raised_s < 5

    @pytest.mark.parametrize(("boot", "over"), [("boot-1", 0), ("boot-2", 1)])
    def test_after_another_boot_an_alert_is_over_while_nobody_has_set_the_clock(self, boot, over):
        before = Scene()
        before.show(1.2, {1: 0.9})
        assert len(self.hand_over(before, gap_s=4, boot=boot, clock_known=False)[1]) == over

    def test_an_alert_of_a_zone_its_rule_left_is_over(self):
        before = Scene()
        [alert] = before.show(1.2, {1: 0.9})
        _, over = self.hand_over(before, gap_s=4, rules=(replace(RULE, zones=("till",)),))
        assert [a.id for a in over] == [alert.id]

    @pytest.mark.parametrize("text", ["", "null", "{}", '{"written_unix_s": 1, "alerts": [{}], "quiet": []}', "["])
    def test_junk_is_nothing_to_go_on_with(self, text):
        episodes, over = from_text(text, (RULE,), now=Now(1, 1, "boot", 1))
        assert (list(episodes.alerts), dict(episodes.quiet), over) == ([], {}, [])


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
