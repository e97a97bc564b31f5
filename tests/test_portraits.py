"""Everyday faces: told apart by person, learned from, and the operating point chosen on people."""

from __future__ import annotations

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
from drawn import draw, trainer

from edge_agent.config import Config, Rule
from edge_agent.vision.bundle import MODELS_DIR
from trainer.data.augment import augment
from trainer.data.portraits import PARTS, load_portraits
from trainer.errors import DatasetError
from trainer.evaluation.visits import RATE_HZ, VISIT_S, Visit, paged_up_to, share_by_person
from trainer.labels import LABELS, VOTE_LABELS, VOTE_NAMES


@pytest.fixture
def portraits(tmp_path):
    """Twenty-five drawn portraits of twelve people, one of them in contempt."""
    random = np.random.default_rng(3)
    rows = [(f"person-{n % 12}", VOTE_NAMES[n % 7] if n < 24 else "contempt") for n in range(25)]
    strip = np.zeros((3 * 96, 960), dtype=np.uint8)
    for n, (_, label) in enumerate(rows):
        face = cv2.resize(draw(VOTE_NAMES.index(label) % 7, random), (96, 96))
        strip[n // 10 * 96 :, n % 10 * 96 :][:96, :96] = face
    folder = tmp_path / "portraits"
    folder.mkdir()
    cv2.imwrite(str(folder / "portraits-00.webp"), strip, [cv2.IMWRITE_WEBP_QUALITY, 101])
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["person", "label"])
        writer.writerows(rows)
    return folder


def test_nobody_is_in_two_parts_and_nobody_is_left_out(portraits):
    everybody = load_portraits(portraits)
    assert len(everybody) == 25
    assert everybody.faces().shape == (25, 48, 48)
    parts = [set(everybody.part(name).people) for name in PARTS]
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == 12


def test_contempt_is_learned_by_the_votes_alone(portraits):
    everybody = load_portraits(portraits)
    targets = everybody.targets()
    contempt = everybody.labels == VOTE_LABELS.index("contempt")
    assert not targets[contempt, :7].any()
    np.testing.assert_allclose(targets[~contempt, :7].sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(targets[:, 7:].sum(axis=1), 1, rtol=1e-6)
    assert (targets[~contempt, :7].argmax(axis=1) == everybody.labels[~contempt]).all()


def test_turning_and_shifting_show_what_lies_in_the_margin():
    picture = np.zeros((1, 96, 96), dtype=np.uint8)
    picture[:, 16:80, 16:80] = 200  # the face; around it another colour, not the face's own edge again
    random = np.random.default_rng(1)
    faces = np.concatenate([augment(picture, random, margin_px=16) for _ in range(40)])
    assert faces.shape == (40, 48, 48)
    corner = faces[:, :2, :2].mean(axis=(1, 2))
    assert (corner < 40).any()
    assert np.median(faces[:, 20:28, 20:28]) > 100


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: (folder / "labels.csv").unlink(), "no folder of portraits"),
        (lambda folder: (folder / "portraits-00.webp").unlink(), "names 25 portraits, the strips beside it hold 0"),
        (
            lambda folder: (folder / "labels.csv").write_text("person,label\nkim,furious\n"),
            "labels.csv:2: needs a person",
        ),
        (lambda folder: (folder / "portraits-00.webp").write_bytes(b"no"), "no strip of 96x96 crops"),
    ],
)
def test_a_folder_that_is_none_is_refused(portraits, change, says):
    change(portraits)
    with pytest.raises(DatasetError, match=says):
        load_portraits(portraits)


def visit(*scores: float) -> Visit:
    """Somebody who is seen like this, each score for an equal share of the visit."""
    each = round(VISIT_S * RATE_HZ / len(scores))
    return Visit("kim", np.repeat(np.array(scores, dtype=np.float32), each))


def test_a_visit_is_paged_up_to_what_it_stays_over_for_the_dwell_time():
    assert paged_up_to(visit(0.6), population_logit=None) == 0.6
    assert paged_up_to(visit(0.01), population_logit=None) == 0
    # A moment does not last for the dwell time.
    brief = Visit("kim", np.where(np.arange(75) == 30, 0.9, 0.2).astype(np.float32))
    assert paged_up_to(brief, population_logit=None) == pytest.approx(0.2, abs=0.011)
    # Who is stern from the first moment on is not taken for angry later; who turns angry is.
    stern = visit(0.3, 0.3, 0.35, 0.35)
    assert paged_up_to(stern, population_logit=-3.0) < paged_up_to(stern, population_logit=None)
    assert paged_up_to(visit(0.05, 0.05, 0.9, 0.9), population_logit=-3.0) > 0.8
    patient = Rule(name="angry", dwell_s=20)
    assert paged_up_to(visit(0.6), population_logit=None, rule=patient) == 0


def test_each_person_counts_once_however_often_they_were_photographed():
    people = np.array(["kim"] * 8 + ["lee", "max"])
    assert share_by_person(people, np.array([True] * 4 + [False] * 4 + [False, False])) == (pytest.approx(0.5 / 3), 3)


def test_the_operating_point_is_chosen_by_person_and_says_what_it_promises(portraits, tmp_path):
    shipped = Config().emotion.model
    bundle = tmp_path / "models" / shipped
    shutil.copytree(MODELS_DIR / shipped, bundle)
    result = trainer("threshold", bundle, "--portraits", portraits, "--max-people-paged", 0.9, "--json")
    assert result.returncode == 0, result.stderr
    point = json.loads(result.stdout)
    assert json.loads((bundle / "manifest.json").read_text())["operating_point"] == point
    calm = point["people"]["neutral"]
    assert calm["low"] <= calm["paged"] <= min(0.9, calm["high"])
    assert point["visit_s"] == VISIT_S
    assert (
        "paged for in a visit of 15 s"
        in trainer("threshold", bundle, "--portraits", portraits, "--max-people-paged", 0.9).stdout
    )
    neither = trainer("threshold", bundle)
    assert neither.returncode == 2
    assert "--portraits" in neither.stderr


def test_a_network_learns_from_portraits_beside_fer2013(portraits, drawn_data, tmp_path):
    result = trainer(
        "fit", "--model", "compact", "--data", drawn_data, "--portraits", portraits, "--out", tmp_path / "run",
        "--epochs", 1, "--batch-size", 32, "--max-faces", 64,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "portraits of" in result.stdout
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["data"].endswith("and portraits")
    assert run["votes"]["labels"] == list(VOTE_LABELS)
    assert run["labels"] == list(LABELS)
