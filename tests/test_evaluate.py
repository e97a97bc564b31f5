"""A site is commissioned with clips: what would have been paged, and what not, and why."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import REPOSITORY

from edge_agent.config import Config, Rule
from edge_agent.demo import CLIPS
from edge_agent.errors import CameraError, ConfigError
from edge_agent.tools.evaluation.outcomes import Episode, Page, attribute, replay, with_upper
from edge_agent.tools.evaluation.report import share
from edge_agent.tools.evaluation.runner import Evaluation
from edge_agent.tools.evaluation.truth import Span, find_clips, label_clips

HEADER = "file,person,start_s,end_s,expression"
ONE, TWO = CLIPS["one"], CLIPS["two"]
DEMO = [
    "one_person.mp4,ada,0,8.8,neutral",
    "one_person.mp4,ada,8.8,14.4,angry",
    "one_person.mp4,ada,14.4,,neutral",
    "two_people.mp4,left,8.8,14.4,angry",
    "two_people.mp4,right,0,,neutral",
]


@pytest.fixture
def write_truth(tmp_path):
    def write(*rows: str, header: str = HEADER) -> Path:
        path = tmp_path / "truth.csv"
        path.write_text("\n".join([header, *rows]) + "\n")
        return path

    return write


@pytest.fixture
def write_clip(tmp_path):
    """Return a function that writes pictures, grey ones if none are given, as a clip of 10 frames a second."""

    def write(name: str, pictures=None) -> Path:
        pictures = [np.full((48, 64, 3), 120, dtype=np.uint8)] * 31 if pictures is None else pictures
        height, width = pictures[0].shape[:2]
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*"MJPG"), 10, (width, height))
        for picture in pictures:
            writer.write(picture)
        writer.release()
        return tmp_path / name

    return write


@pytest.fixture
def calm_clip(write_clip, clip_frames):
    """Three seconds of somebody who looks on calmly."""
    return write_clip("calm.avi", [frame.image for frame in clip_frames("one")[:31]])


@pytest.fixture(scope="module")
def demo_figures(tmp_path_factory) -> dict:
    """What the command says of the bundled clips."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "truth.csv").write_text("\n".join([HEADER, *DEMO]))
    result = subprocess.run(
        [sys.executable, "-m", "edge_agent", "evaluate", ONE, TWO, "--truth", folder / "truth.csv", "--json"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert result.stderr == ""
    return json.loads(result.stdout)


def test_the_anger_of_the_bundled_clips_is_paged_and_nothing_else(demo_figures):
    angry = demo_figures["angry_episodes"]
    assert (angry["n"], angry["paged"], angry["missed"]) == (2, 2, [])
    assert angry["share"] == 1
    assert angry["low"] == pytest.approx(0.342, abs=0.001)
    assert 1.5 < angry["delay_median_s"] <= angry["delay_max_s"] < 4
    assert demo_figures["angry_clips"] == {"visits": 2, "false_pages": 0, "repeated_pages": 0}
    assert demo_figures["calm_visits"]["n"] == 0
    assert demo_figures["false_pages_per_hour"]["per_hour"] is None
    assert demo_figures["faces"] == {"found": 756, "judged": 756}
    assert (demo_figures["never_judged"], demo_figures["frames"], demo_figures["people"]) == ([], 504, 3)


def test_the_curve_falls_as_the_threshold_rises(demo_figures):
    curve = demo_figures["curve"]
    assert [curve[0]["threshold"], curve[1]["threshold"], curve[-1]["threshold"]] == [0.05, 0.075, 0.95]
    paged = [point["angry_paged"] for point in curve]
    assert paged == sorted(paged, reverse=True)
    assert (paged[0], paged[-1]) == (2, 0)
    assert (curve[0]["delay_median_s"] is None, curve[-1]["delay_median_s"]) == (False, None)


def test_the_documented_keys_are_there(demo_figures):
    assert set(demo_figures) == {
        "model", "rule", "threshold", "dwell_s", "clips", "frames", "people", "visit_s", "angry_episodes",
        "calm_visits", "false_pages_per_hour", "visitors_pages_per_hour", "angry_clips", "curve", "faces", "abstained",
        "never_judged",
    }  # fmt: skip
    page = (REPOSITORY / "docs" / "commissioning.md").read_text()
    for key in [
        *demo_figures,
        *demo_figures["angry_episodes"],
        *demo_figures["calm_visits"],
        *demo_figures["curve"][0],
    ]:
        assert f"`{key}`" in page, key


def test_the_table_names_what_was_missed_and_who_was_never_judged(run_command, write_truth, write_clip):
    clips = [write_clip("nobody.avi"), write_clip("empty.avi")]
    truth = write_truth("nobody.avi,kim,1,2,angry", "empty.avi,lee,0,,happy")
    result = run_command("evaluate", *clips, "--truth", truth)
    assert (result.code, result.err) == (0, "")
    assert "0 of 1" in result.out
    missed, never = result.out.split("never judged")
    assert "nobody.avi (kim, 1 s)" in missed
    assert "empty.avi (lee, 0 s): no face found" in never


def test_a_short_clip_is_played_to_and_fro_as_one_calm_visit(run_command, write_truth, calm_clip):
    truth = write_truth("calm.avi,ada,0,,neutral")
    arguments = ("evaluate", calm_clip, "--truth", truth, "--json")
    once = json.loads(run_command(*arguments).out)
    visit = json.loads(run_command(*arguments, "--visit-s", 15, "--gap-s", 5).out)
    assert once["false_pages_per_hour"]["hours"] == pytest.approx(3 / 3600, abs=1e-4)
    assert visit["false_pages_per_hour"]["hours"] == pytest.approx(15 / 3600, abs=1e-4)
    visitors = visit["visitors_pages_per_hour"]
    assert (visitors["pages"], visitors["visitors"], visitors["gap_s"]) == (0, 1, 5)
    assert visitors["hours"] == pytest.approx(20 / 3600, abs=1e-4)
    assert visit["calm_visits"]["by_expression"]["neutral"]["n"] == 1
    assert visit["calm_visits"]["paged_files"] == []
    assert visit["frames"] == once["frames"] == 31


def test_a_page_for_somebody_calm_is_false_and_the_clip_is_named(run_command, write_truth):
    # She looks angry from 8.8 s on; the truth says that she does not mean it.
    truth = write_truth("one_person.mp4,ada,0,8,neutral", "one_person.mp4,ada,8,,talking")
    result = run_command("evaluate", ONE, "--truth", truth, "--json", "--threshold", 0.3)
    figures = json.loads(result.out)
    assert figures["threshold"] == 0.3
    assert figures["calm_visits"]["paged_files"] == ["one_person.mp4"]
    assert figures["calm_visits"]["by_expression"]["neutral, talking"]["paged"] == 1
    assert figures["calm_visits"]["by_person"]["paged"] == 1
    assert figures["false_pages_per_hour"]["per_hour"] == pytest.approx(3600 / 16.8, rel=0.02)


def played(clip, truth, *, config=None, visit_s=None):
    [labelled] = label_clips([clip], truth)
    evaluation = Evaluation(config or Config(), visit_s=visit_s, gap_s=10)
    return evaluation, evaluation.play(labelled)


def test_another_threshold_pages_as_the_pipeline_itself_would(write_truth):
    truth = write_truth("one_person.mp4,ada,8.8,14.4,angry")
    rule = with_upper(Rule(name="angry-customer"), 0.6)
    _, tried = played(ONE, truth)
    evaluation, real = played(ONE, truth, config=Config(rules=(rule,)))
    assert evaluation.upper == 0.6
    assert tried.pages != real.pages == replay(tried.moments, rule, Config(), evaluation.operating_point)


def test_to_and_fro_an_episode_counts_once_and_its_mirror_image_is_anger_too(write_truth, write_clip):
    truth = write_truth("grey.avi,kim,1,2,angry", "grey.avi,lee,2,,angry")
    _, visit = played(write_clip("grey.avi"), truth, visit_s=8)
    assert visit.duration_s == pytest.approx(8)
    kim, lee = visit.episodes
    assert (kim.start_s, kim.end_s) == pytest.approx((1, 2))
    assert (lee.start_s, lee.end_s) == pytest.approx((2, 4))  # to the end and back
    assert np.ravel(visit.angry) == pytest.approx([1, 2, 2, 4, 4, 5, 7, 8])


KIM, LEE = Episode("kim", 5, 9), Episode("lee", 7, 12)


@pytest.mark.parametrize(
    ("pages", "delays_s", "repeated", "elsewhere"),
    [
        pytest.param([], [None, None], 0, 0, id="none"),
        pytest.param([(4.9, 1)], [None, None], 0, 1, id="too early"),
        pytest.param([(8, 1)], [3, None], 0, 0, id="one page for one of two"),
        pytest.param([(8, 2)], [3, 1], 0, 0, id="one page for both"),
        pytest.param([(6, 1), (8, 1)], [1, 1], 0, 0, id="one each"),
        pytest.param([(6, 1), (6.5, 1)], [1, None], 1, 0, id="twice for the same"),
        pytest.param([(11.4, 1), (14.6, 1)], [6.4, None], 0, 1, id="within dwell time and grace, and after"),
    ],
)
def test_a_page_belongs_to_whoever_is_angry(pages, delays_s, repeated, elsewhere):
    outcome = attribute([Page(*page) for page in pages], [KIM, LEE], [(5, 9), (7, 12)], dwell_s=1.5)
    assert outcome.delays_s == [None if delay is None else pytest.approx(delay) for delay in delays_s]
    assert (outcome.repeated, outcome.elsewhere) == (repeated, elsewhere)


def test_who_comes_often_counts_once_in_the_interval():
    often, strangers = share(20, 40, people=4), share(20, 40, people=40)
    assert often["share"] == strangers["share"] == 0.5
    assert (often["low"], often["high"]) == (pytest.approx(0.15, abs=0.001), pytest.approx(0.85, abs=0.001))
    assert often["low"] < strangers["low"] < strangers["high"] < often["high"]


@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        (["a.avi,kim,0,angry"], 2, "4 cells"),
        (["a.avi,kim,0,3,angry", "", "a.avi,kim,x,3,happy"], 4, "start_s 'x'"),
        (["a.avi,kim,-1,3,angry"], 2, "start_s '-1'"),
        (["a.avi,kim,nan,3,angry"], 2, "start_s 'nan'"),
        (["a.avi,kim,3,3,angry"], 2, "not after"),
        (["a.avi,kim,0,inf,angry"], 2, "end_s 'inf'"),
        (["a.avi,,0,3,angry"], 2, "person is empty"),
        (["a.avi,kim,0,3,"], 2, "expression is empty"),
        (["a.avi,kim,0,3,anger"], 2, "did you mean angry"),
        (["a.avi,kim,0,3,angyr"], 2, "did you mean angry"),
        (["a.avi,kim,0,3,happy", "a.avi,kim,2,4,angry"], 3, "line 2"),
        (["a.avi,kim,0,3,happy", "b.avi,kim,2,4,angry"], 3, "'b.avi' is not among"),
        (["a.avi,kim,30,40,angry"], 2, "the clip ends at 3.00 s"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(write_truth, write_clip, rows, line, words):
    truth, clip = write_truth(*rows), write_clip("a.avi")
    with pytest.raises(ConfigError) as caught:
        played(clip, truth)
    assert f"truth.csv, line {line}: " in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no column file, person"),
        (b"file,person,start_s,expression\n", "no column end_s"),
        (HEADER.encode(), "no rows"),
        (HEADER.encode() + b"\n\xff\xfe,kim,0,,angry\n", "UTF-8"),
    ],
)
def test_what_is_no_truth_file_is_refused(tmp_path, text, words):
    (tmp_path / "truth.csv").write_bytes(text)
    with pytest.raises(ConfigError, match=words):
        label_clips([], tmp_path / "truth.csv")
    with pytest.raises(ConfigError, match=r"nowhere\.csv"):
        label_clips([], tmp_path / "nowhere.csv")


def test_rows_find_their_clips_by_path_or_name_and_no_clip_goes_without(tmp_path, write_truth):
    clips = [tmp_path / "kim" / "one.mp4", tmp_path / "lee" / "one.mp4", tmp_path / "lee" / "two.MOV"]
    for clip in clips:
        clip.parent.mkdir(exist_ok=True)
        clip.touch()
    (tmp_path / "kim" / "notes.txt").touch()
    found = find_clips([tmp_path, clips[0]])
    assert found == clips
    rows = ("kim/one.mp4,kim,0,,angry", "lee/one.mp4,lee,0,,happy", "two.MOV,lee,1,2,Talking")
    labelled = label_clips(found, write_truth(*rows))
    assert [[span.person for span in clip.spans] for clip in labelled] == [["kim"], ["lee"], ["lee"]]
    assert labelled[2].spans[0].expression == "talking"
    with pytest.raises(ConfigError, match=r"'one\.mp4' may be .*kim.*lee"):
        label_clips(found, write_truth("one.mp4,kim,0,,angry"))
    with pytest.raises(ConfigError, match=r"no row for .*two\.MOV"):
        label_clips(found, write_truth(*rows[:2]))
    with pytest.raises(CameraError, match=r"gone\.mp4"):
        find_clips([tmp_path / "gone.mp4"])


def test_spreadsheets_may_write_semicolons_and_decimal_commas(tmp_path):
    clip = tmp_path / "a.mp4"
    clip.touch()
    truth = tmp_path / "truth.csv"
    truth.write_bytes(b"\xef\xbb\xbf" + HEADER.replace(",", ";").encode() + b"\r\na.mp4;kim;1,5;;angry\r\n")
    [labelled] = label_clips([clip], truth)
    assert labelled.spans == (Span("kim", 1.5, float("inf"), "angry", f"{truth}, line 2"),)


@pytest.mark.parametrize(
    ("extra", "code", "words"),
    [
        (["--visit-s", "0"], 2, "--visit-s"),
        (["--threshold", "2"], 2, "--threshold"),
        (["--rule", "nobody"], 2, "angry-customer"),
        (["--plot", "figure.jpg"], 2, ".png"),
        (["--config", "nowhere.yaml"], 2, "nowhere.yaml"),
    ],
)
def test_a_wrong_option_is_one_line(run_command, write_truth, write_clip, extra, code, words):
    truth, clip = write_truth("a.avi,kim,0,,happy"), write_clip("a.avi")
    result = run_command("evaluate", clip, "--truth", truth, *extra)
    assert result.code == code
    assert words in result.one_line_error()


def test_a_wrong_row_ends_with_2_and_an_unreadable_clip_with_4(run_command, write_truth, tmp_path):
    clip = tmp_path / "text.mp4"
    clip.write_text("no video")
    result = run_command("evaluate", clip, "--truth", write_truth("text.mp4,kim,0,,calm"))
    assert result.code == 4
    assert "text.mp4" in result.one_line_error()
    result = run_command("evaluate", clip, "--truth", write_truth("text.mp4,kim,0,x,calm"))
    assert result.code == 2
    assert "line 2" in result.one_line_error()


def test_a_terminal_shows_the_progress_and_ctrl_c_ends_it_with_130(write_truth):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "edge_agent", "evaluate", ONE, TWO, "--truth", write_truth(*DEMO)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as process,
        os.fdopen(ours) as terminal,
    ):
        os.close(theirs)
        assert terminal.readline().strip() == "1 of 2: one_person.mp4"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")


def test_the_plot_is_a_picture(run_command, write_truth, write_clip, tmp_path):
    truth, clip = write_truth("a.avi,kim,0,1,angry", "b.avi,lee,0,,happy"), write_clip("a.avi")
    result = run_command("evaluate", clip, write_clip("b.avi"), "--truth", truth, "--plot", tmp_path / "p.png")
    assert (result.code, result.err) == (0, "")
    assert cv2.imread(str(tmp_path / "p.png")).shape[:2] == (540, 840)


def test_without_matplotlib_the_plot_says_what_to_install(run_command, write_truth, write_clip, tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    truth, clip = write_truth("a.avi,kim,0,,happy"), write_clip("a.avi")
    result = run_command("evaluate", clip, "--truth", truth, "--plot", tmp_path / "p.png", env=environment)
    assert result.code == 1
    assert "pip install '.[plot]'" in result.one_line_error()
