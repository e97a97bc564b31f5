"""How content people were: shares that are right, groups that are large enough, and nothing about anybody."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from messages import validate

from edge_agent.alerting.tracker import Track
from edge_agent.camera.frames import Frame
from edge_agent.config import Config, Outbox
from edge_agent.delivery.messages import Composer, Summary
from edge_agent.pipeline import Decision
from edge_agent.statistics.satisfaction import MIN_OBSERVATIONS, Satisfaction
from edge_agent.statistics.summaries import Summarizer, as_csv, joined, keep, read
from edge_agent.testing import FakeClock
from edge_agent.vision.faces import Face

GROUPS = ("angry", "happy", "neutral")
FACE = Face(0, 0, 50, 50, 0.9, (15, 20), (35, 20))


def person(number: int, look: str, observations: int) -> Track:
    scores = np.eye(len(GROUPS), dtype=np.float32)[GROUPS.index(look)]
    return Track(number, FACE, scores, observations, 0, 0, 0, "view")


def visit(satisfaction: Satisfaction, number: int, looks: str) -> None:
    """One visit, a letter a frame: a, h, n."""
    names = {name[0]: name for name in GROUPS}
    for seen, letter in enumerate(looks, start=1):
        satisfaction.update([person(number, names[letter], seen)])
    satisfaction.update([])


@pytest.fixture
def satisfaction():
    return Satisfaction(GROUPS, satisfied=("happy", "neutral"), min_group=3)


def test_each_visit_counts_alike_however_long(satisfaction):
    visit(satisfaction, 1, "h" * 10)
    visit(satisfaction, 2, "n" * 5 + "a" * 5)
    visit(satisfaction, 3, "a" * 1000)
    assert satisfaction.take() == Summary(3, {"angry": 0.5, "happy": 0.3333, "neutral": 0.1667}, 0.3333)


def test_fewer_than_the_minimum_group_are_withheld_and_not_added_to_the_next(satisfaction):
    for number in (1, 2):
        visit(satisfaction, number, "hhhhh")
    assert satisfaction.take() == Summary(None, None, None)
    visit(satisfaction, 3, "aaaaa")
    assert satisfaction.take().visits is None


def test_who_was_out_of_view_for_a_moment_is_one_visit(satisfaction):
    for number in (1, 2, 1, 2, 1):
        visit(satisfaction, number, "hhhhh")
    assert satisfaction.take().visits is None


def test_who_walks_past_is_no_visit(satisfaction):
    for number in range(9):
        visit(satisfaction, number, "h" * (MIN_OBSERVATIONS - 1))
    assert satisfaction.take().visits is None


def test_who_is_still_there_counts_when_gone(satisfaction):
    for number in range(3):
        satisfaction.update([person(number, "happy", MIN_OBSERVATIONS)])
        satisfaction.update([])
    satisfaction.update([person(9, "angry", MIN_OBSERVATIONS)])
    assert satisfaction.take().visits == 3


@pytest.mark.parametrize("summary", [Summary(None, None, None), Summary(7, {"angry": 0.25}, 0.5)])
def test_its_message_has_a_schema(summary):
    composer = Composer(Config(), session="0" * 26, unix=lambda: 1_800_000_000, monotonic=lambda: 5)
    message = composer.summary(summary, begin_s=1_799_999_100, end_s=1_800_000_000)
    validate(message.payload)
    assert json.loads(message.payload)["withheld"] is (summary.visits is None)


def test_an_interval_is_published_and_kept_when_it_ends(tmp_path):
    wall, clock, published = FakeClock(1_800_000_000), FakeClock(0), []
    summarizer = Summarizer(
        Config(outbox=Outbox(state_dir=tmp_path)), ("happy", "neutral", *GROUPS[:1]),
        publish=lambda *what: published.append(what), unix=wall, monotonic=clock,
    )  # fmt: skip
    frame = Frame(np.zeros((48, 64, 3), np.uint8), 0.0)
    for number in range(6):
        track = Track(number, FACE, np.array([1, 0, 0], np.float32), 5, 0, 0, 0, "view")
        summarizer.frame_processed(frame, Decision((track,), [], [], 0, 0, 0))
    summarizer.frame_processed(frame, Decision((), [], [], 0, 0, 0))
    assert published == []
    wall.advance(900 + 8 * 3600)  # a time server set it meanwhile
    clock.advance(900)
    summarizer.frame_processed(frame, Decision((), [], [], 0, 0, 0))
    [(summary, begin_s, end_s)] = published
    assert (summary.visits, summary.satisfied, end_s - begin_s) == (6, 1, 900)
    [kept] = read(tmp_path, since_s=0)
    assert (kept.visits, kept.shares["happy"]) == (6, 1)


def test_intervals_are_joined_by_visits_and_written_as_csv(tmp_path):
    keep(tmp_path, Summary(10, {"angry": 0.4}, 0.5), begin_s=1_800_000_000, end_s=1_800_000_900)
    keep(tmp_path, Summary(None, None, None), begin_s=1_800_000_900, end_s=1_800_001_800)
    keep(tmp_path, Summary(30, {"angry": 0.0}, 0.9), begin_s=1_800_001_800, end_s=1_800_002_700)
    intervals = read(tmp_path, since_s=0)
    one = joined(intervals)
    assert (one.visits, one.shares["angry"], one.satisfied) == (40, pytest.approx(0.1), pytest.approx(0.8))
    rows = list(csv.DictReader(io.StringIO(as_csv(intervals, ["angry"]))))
    assert [row["visits"] for row in rows] == ["10", "30"]
    assert rows[0]["begin"] == "2027-01-15T08:00:00.000Z"


def test_the_command_shows_days_and_csv(run_command, write_config, tmp_path):
    import time

    config = write_config()
    assert run_command("summary", "--config", config).code == 1
    (tmp_path / "state").mkdir()
    now_s = time.time()
    keep(tmp_path / "state", Summary(12, {"angry": 0.25, "happy": 0.75}, 0.75), begin_s=now_s - 900, end_s=now_s)
    shown = run_command("summary", "--config", config)
    assert shown.code == 0
    assert "75 %" in shown.out
    assert run_command("summary", "--csv", "--config", config).out.startswith("begin,end,visits,angry,happy,")
