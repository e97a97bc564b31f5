"""A threshold for as many false pages as staff can bear, from numbers alone."""

from __future__ import annotations

import json
import sqlite3
import time

import pytest
from scene import Scene

from edge_agent.alerting.rules import RuleEngine
from edge_agent.config import Config, Outbox, Rule
from edge_agent.statistics.calibration import choose, propose
from edge_agent.statistics.collector import Statistics
from edge_agent.statistics.score_log import ANSWERS, FALSE_ALARMS, FILE_NAME, WATCHED_S, ScoreLog, read_counts
from edge_agent.statistics.visits import LEVELS, Visits
from edge_agent.testing import FakeClock

RULE = Rule(name="angry-customer", upper=0.5, dwell_s=1.0, min_observations=3)


def visit(*stretches: tuple[float | None, float], rule: Rule = RULE) -> float:
    """Show one person with a score, or nobody, for some seconds each; return the threshold the visit reached."""
    scene = Scene(rule)
    visits = Visits([rule], scene.engine)
    for score, seconds in stretches:
        for _ in range(round(seconds * 10)):
            scene.show(0.1, {} if score is None else {1: score})
            assert visits.update(scene.tracks) == []
    scene.show(5, {})
    [(name, level)] = visits.update([])
    assert name == rule.name
    return LEVELS[level - 1] if level else 0.0


def test_a_visit_is_worth_the_highest_threshold_held_for_the_dwell_time():
    assert visit((0.1, 5), (0.65, 1.5), (0.2, 3)) == pytest.approx(0.64)
    assert visit((0.1, 5), (0.95, 0.5), (0.2, 3)) == pytest.approx(0.2)
    assert visit((0.9, 0.3), (0.6, 0.9), (0.1, 1)) == pytest.approx(0.6)
    assert visit((0.01, 5)) == 0
    assert visit((0.05, 5), rule=Rule(name="smile", watch="absence", upper=0.9, dwell_s=1)) == pytest.approx(0.94)


def test_who_was_out_of_view_for_a_moment_goes_on_with_their_visit():
    assert visit((0.7, 2), (None, 2), (0.2, 3)) == pytest.approx(0.7)
    assert visit((0.7, 0.6), (None, 2), (0.7, 0.6)) == 0


def test_the_proposal_is_the_lowest_threshold_that_is_sure_enough():
    index = {threshold: number for number, threshold in enumerate(LEVELS, start=1)}
    levels = {0: 5000, index[0.3]: 40, index[0.5]: 6, index[0.7]: 1}
    proposals = propose(levels, watched_s=7 * 86_400)
    by_threshold = {p.threshold: p for p in proposals}
    assert [by_threshold[t].pages for t in (0.3, 0.4, 0.6, 0.8)] == [47, 7, 1, 0]
    assert by_threshold[0.3].false_per_day == pytest.approx(47 / 7)
    assert choose(proposals, max_per_day=5).threshold == 0.32
    assert choose(proposals, max_per_day=1).threshold == 0.52
    assert choose(proposals, max_per_day=0.1) is None
    halved = propose(levels, watched_s=7 * 86_400, false_share=0.5)
    assert choose(halved, max_per_day=1.1).threshold == 0.32


def test_counts_outlive_the_process_and_old_ones_are_left_out(tmp_path):
    clock = FakeClock(1_800_000_000)
    for hours in (0, 5):
        clock.advance(3600 * hours)
        log = ScoreLog(tmp_path, unix=clock)
        log.count("a", 3, 2)
        log.flush()
        log.flush()
    assert read_counts(tmp_path, rule="a", hours=24, unix_s=clock()) == {3: 4}
    assert read_counts(tmp_path, rule="a", hours=3, unix_s=clock()) == {3: 2}
    assert read_counts(tmp_path, rule="b", hours=24, unix_s=clock()) == {}


def test_a_verdict_that_is_changed_moves_from_one_count_to_the_other(tmp_path):
    config = Config(outbox=Outbox(state_dir=tmp_path))
    clock = FakeClock(1_800_000_000)
    engine = RuleEngine((), ("angry",), thresholds={}, new_id=str)
    for verdicts, expected in (
        ([(True, False)], (1, 1)),
        ([(False, False), (True, True)], (1, 1)),
        ([(True, False), (False, True)], (1, 0)),
    ):
        counted = Statistics(
            config, engine=engine, baseline=None, keep_baseline=lambda _: None, unix=clock, monotonic=clock
        )
        for false_alarm, again in verdicts:
            counted.alert_answered("r", false_alarm=false_alarm, again=again)
        counted.close()
        found = read_counts(tmp_path, rule="r", hours=1, unix_s=clock())
        assert (found[ANSWERS], found.get(FALSE_ALARMS, 0)) == expected
        (tmp_path / FILE_NAME).unlink()


class TestCommand:
    def fill(self, folder, **counts: int) -> None:
        folder.mkdir(parents=True)
        log = ScoreLog(folder, unix=time.time)
        for level, count in ((0, 900), (20, 30), (30, 1), (WATCHED_S, 2 * 86_400)):
            log.count("angry-customer", level, count)
        log.count("angry-customer", ANSWERS, counts.get("answers", 0))
        log.count("angry-customer", FALSE_ALARMS, counts.get("false", 0))
        log.flush()

    def test_it_proposes_what_to_write(self, run_command, write_config, tmp_path):
        self.fill(tmp_path / "state")
        result = run_command("calibrate", "--config", write_config(), "--max-false-pages-per-day", 3)
        assert result.code == 0, result.err
        assert "48.0 hours watched" in result.out
        assert "write into the rule:  upper: 0.42" in result.out

    def test_answers_of_staff_lower_the_share_of_false_pages(self, run_command, write_config, tmp_path):
        self.fill(tmp_path / "state", answers=19, false=1)
        result = run_command("calibrate", "--config", write_config(), "--max-false-pages-per-day", 3, "--json")
        found = json.loads(result.out)
        assert (found["answers"], found["false_alarms"]) == (19, 1)
        assert found["proposal"]["threshold"] < 0.42

    def test_without_enough_to_go_on_it_says_so(self, run_command, write_config, tmp_path):
        config_file = write_config()
        result = run_command("calibrate", "--config", config_file, "--max-false-pages-per-day", 3)
        assert result.code == 6
        assert "has the agent run" in result.one_line_error()
        self.fill(tmp_path / "state")
        assert run_command("calibrate", "--config", config_file, "--max-false-pages-per-day", 0.01).code == 1
        for wrong in (["--rule", "x"], ["--hours", "0"]):
            assert run_command("calibrate", "--config", config_file, "--max-false-pages-per-day", 3, *wrong).code == 2
        with sqlite3.connect(tmp_path / "state" / FILE_NAME) as db:
            db.execute("UPDATE visit SET count = 60 WHERE level = ?", (WATCHED_S,))
        db.close()
        assert run_command("calibrate", "--config", config_file, "--max-false-pages-per-day", 3).code == 2
