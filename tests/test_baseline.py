"""A person's own level: a stern face is not an angry one, and an angry one stays angry."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from scene import POINT, RULE, Scene

from edge_agent.alerting.baseline import Baseline, Level
from edge_agent.alerting.thresholds import thresholds_for
from edge_agent.config import Rule, Tracking
from edge_agent.statistics.visits import LEVELS, Visits

CALM = 0.04
POPULATION = math.log(CALM / (1 - CALM))
KNOWN = replace(POINT, population_logit=POPULATION)
#: Its threshold is the operating point's, 0.3; its lower one 0.195.
AT_POINT = replace(RULE, upper=None, lower=None)


def scene(*rules: Rule, point=KNOWN, **tracking: float) -> Scene:
    return Scene(*(rules or (AT_POINT,)), point=point, tracking=Tracking(**tracking))


def stern(watched: Scene, seconds: float, *, rest: float = 0.27, peak: float = 0.42) -> list:
    """Show a face that rests just below the threshold and is over it for three seconds now and then."""
    steps = []
    for _ in range(round(seconds / 10)):
        steps += watched.show(7, {1: rest}) + watched.show(3, {1: peak})
    return steps


def test_the_level_is_the_shrunken_mean_of_the_log_odds():
    baseline, level = Baseline(POPULATION, weight_s=10, memory_s=60), Level()
    for _ in range(200):
        baseline.learn(level, 0.3, 0.1)
    mean = math.log(0.3 / 0.7)
    own = (10 * POPULATION + 20 * mean) / 30
    expected = 1 / (1 + math.exp(-(math.log(0.5 / 0.5) - (own - POPULATION))))
    assert baseline.adjust(0.5, level) == pytest.approx(expected)


def test_who_looks_happier_than_most_is_not_judged_more_strictly():
    baseline, level = Baseline(POPULATION, weight_s=10, memory_s=60), Level()
    for _ in range(600):
        baseline.learn(level, 0.001, 0.1)
    assert baseline.adjust(0.25, level) == 0.25


def test_a_gap_counts_as_a_second_and_certainty_is_no_infinity():
    baseline = Baseline(POPULATION, weight_s=10, memory_s=60)
    once, long = Level(), Level()
    baseline.learn(once, 0.9, 1)
    baseline.learn(long, 0.9, 500)
    assert once == long
    for score in (0.0, 1.0):
        baseline.learn(long, score, 1)
        assert 0 <= baseline.adjust(score, long) <= 1


def test_what_was_long_ago_is_forgotten():
    baseline, level = Baseline(POPULATION, weight_s=10, memory_s=60), Level()
    for score in (0.3, CALM):
        for _ in range(3000):
            baseline.learn(level, score, 0.1)
    assert baseline.adjust(0.5, level) == pytest.approx(0.5, abs=0.02)


def test_a_stern_face_at_rest_that_rises_over_the_threshold_is_not_paged_for():
    assert stern(scene(), 60) == []
    assert stern(scene(point=POINT), 60)
    assert stern(scene(baseline_s=0), 60)


def test_somebody_who_arrives_furious_is_paged_for_within_the_dwell_time():
    watched = scene()
    assert watched.show(1.0, {1: 0.8}) == []
    assert [a.step for a in watched.show(0.1, {1: 0.8})] == ["raised"]


def test_whoever_stays_angry_stays_in_the_alert():
    watched = scene()
    [alert] = watched.show(2, {1: 0.6})
    assert watched.show(300, {1: 0.6}) == []
    assert [a.id for a in watched.engine.open_alerts()] == [alert.id]


def test_whoever_is_in_an_alert_teaches_it_nothing():
    watched = scene()
    [alert] = watched.show(2, {1: 0.6})
    assert watched.show(300, {1: 0.25}) == []
    assert [a.id for a in watched.engine.open_alerts()] == [alert.id]


def test_whoever_stays_angry_after_staff_resolved_it_is_paged_for_again():
    watched = scene(replace(AT_POINT, cooldown_s=60))
    [alert] = watched.show(2, {1: 0.6})
    watched.act(alert, "resolve")
    assert [a.step for a in watched.show(61, {1: 0.6})] == ["raised"]


def test_somebody_calm_for_a_minute_who_turns_angry_is_paged_for_as_quickly():
    noise = random.Random(1)
    watched = scene()
    for _ in range(600):
        assert watched.show(0.1, {1: CALM * noise.uniform(0.3, 2.5)}) == []
    assert [a.step for a in watched.show(1.1, {1: 0.7})] == ["raised"]


def test_somebody_stern_who_turns_furious_is_paged_for():
    watched = scene()
    stern(watched, 60)
    assert [a.step for a in watched.show(1.1, {1: 0.9})] == ["raised"]


def test_after_a_false_alarm_the_same_face_must_rise_clearly_beyond_what_it_was():
    watched = scene()
    [alert] = watched.show(2, {1: 0.5})
    watched.act(alert, "false_alarm")
    assert watched.show(700, {1: 0.5}) + watched.show(30, {1: 0.6}) == []
    assert [a.step for a in watched.show(2, {1: 0.95})] == ["raised"]


def test_without_a_population_a_false_alarm_mutes_and_teaches_nothing():
    watched = scene(point=POINT)
    [alert] = watched.show(2, {1: 0.5})
    watched.act(alert, "false_alarm")
    assert [a.step for a in watched.show(601, {1: 0.5})] == ["raised"]


def test_the_level_goes_with_the_person():
    watched = scene()
    watched.show(60, {1: 0.27})
    watched.show(5, {})
    assert [a.step for a in watched.show(2, {1: 0.42})] == ["raised"]


def test_it_is_for_the_emotions_of_the_operating_point_only():
    groups = {"angry": ("angry",), "sad": ("sad",)}
    rules = (
        Rule(name="point"),
        Rule(name="own", upper=0.5),
        Rule(name="sad", emotions=("sad",), upper=0.5),
        Rule(name="both", emotions=("angry", "sad"), upper=0.5),
        Rule(name="absence", watch="absence", upper=0.5),
    )
    found = thresholds_for(rules, groups, KNOWN)
    assert {name for name, one in found.items() if one.population is not None} == {"point", "own"}
    assert all(one.population is None for one in thresholds_for(rules, groups, POINT).values())


@pytest.mark.parametrize(("point", "reached"), [(KNOWN, 0.2), (POINT, 0.42)])
def test_calibrate_measures_the_score_that_decides(point, reached):
    watched = scene(point=point)
    visits = Visits([AT_POINT], watched.engine)
    for rest, peak in ((70, 0.27), (20, 0.42)):
        for _ in range(rest):
            watched.show(0.1, {1: peak})
            assert visits.update(watched.tracks) == []
    watched.show(5, {})
    [(_, level)] = visits.update([])
    assert LEVELS[level - 1] == pytest.approx(reached, abs=0.03)
