"""Photographs in folders: rendered people, as bursts of a phone would be."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from drawn import trainer

from edge_agent.demo import CLIPS
from edge_agent.vision.bundle import MODELS_DIR
from trainer.data.cleaning import near_duplicate_groups
from trainer.data.load import load_data
from trainer.errors import DatasetError

#: Pictures of each burst; of three expressions, two clips and two lights there are twelve.
SHOTS = 4


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Whole frames of the demo clips: a neutral, a happy and an angry stretch, lit from left and from right."""
    folder = tmp_path_factory.mktemp("photos")
    for name, first_s in (("neutral", 0.5), ("happy", 5.0), ("angry", 11.5)):
        (folder / name).mkdir()
        for clip, path in CLIPS.items():
            capture = cv2.VideoCapture(str(path))
            capture.set(cv2.CAP_PROP_POS_MSEC, first_s * 1000)
            for shot in range(SHOTS):
                _, frame = capture.read()
                light = np.linspace(0.3, 1.0, frame.shape[1])[:, None]
                for place, picture in (("left", frame * light), ("right", cv2.flip(frame, 1) * light[::-1])):
                    cv2.imwrite(str(folder / name / f"{clip}-{place}-{shot}.jpg"), picture.astype(np.uint8))
            capture.release()
    return folder


def test_faces_are_cropped_as_the_agent_crops_them(photos):
    data = load_data(photos)
    assert data.classes == ("angry", "happy", "neutral")
    assert data.faces.shape == (12 * SHOTS, 48, 48)
    assert set(data.usage) <= {"Training", "PublicTest"}
    assert data.faces.std(axis=(1, 2)).min() > 10


def test_pictures_of_one_burst_stay_on_one_side(photos):
    data = load_data(photos)
    group = near_duplicate_groups(data.faces, bits=8)
    assert len(set(group.tolist())) < len(group) / 2
    for number in set(group.tolist()):
        assert len(set(data.usage[group == number])) == 1


def test_a_chain_of_near_duplicates_is_one_group():
    face = np.tile(np.linspace(200, 0, 48).astype(np.uint8), (48, 1))
    chain = [face.copy() for _ in range(4)]
    for number, link in enumerate(chain):
        link[: 6 * number] = link[: 6 * number, ::-1]
    other = np.random.default_rng(0).integers(0, 255, (48, 48)).astype(np.uint8)
    group = near_duplicate_groups(np.stack([*chain, other]), bits=8)
    assert len(set(group[:4].tolist())) == 1
    assert group[4] != group[0]


def test_a_network_is_trained_on_them(photos, tmp_path):
    result = trainer(
        "fit", "--model", "two_conv", "--data", photos, "--classes", "angry,neutral", "--out", tmp_path / "run",
        "--epochs", 1, "--batch-size", 8, "--seed", 3,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["labels"] == ["angry", "neutral"]


def test_a_model_that_knows_more_expressions_is_judged_on_them_all(photos, tmp_path):
    bundle = tmp_path / "fer-compact-3"
    shutil.copytree(MODELS_DIR / "fer-compact-3", bundle)
    result = trainer("evaluate", bundle, "--data", photos, "--usage", "all", "--json")
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    assert figures["n"] == 12 * SHOTS
    assert [sum(row) > 0 for row in figures["confusion"]] == [
        label in ("angry", "happy", "neutral") for label in figures["labels"]
    ]
    result = trainer("threshold", bundle, "--data", photos, "--unseen", "--json")
    assert json.loads(result.stdout)["chosen_on"].startswith(f"{12 * SHOTS} unseen faces"), result.stderr


def test_pictures_of_one_scene_cannot_be_kept_apart(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)
    for brighter, name in enumerate(("cross", "merry")):
        (tmp_path / name).mkdir()
        for number in range(5):
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), picture // 2 + 10 * number + 5 * brighter)
        (tmp_path / name / "a.HEIC").write_bytes(b"")
        for hidden in (".DS_Store", "._1.png"):
            (tmp_path / name / hidden).write_bytes(b"a system's, no picture")
    result = trainer("fit", "--data", tmp_path, "--out", tmp_path / "run", "--already-cropped")
    assert result.returncode == 2
    left_out, refused = result.stderr.splitlines()
    assert left_out.startswith(".heic files were left out")
    assert "look like one scene" in refused


def test_pictures_that_cannot_be_used_are_named(photos, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(photos, broken)
    (broken / "happy" / "a.jpg").write_text("no picture")
    with pytest.raises(DatasetError, match=r"a\.jpg is not a picture"):
        load_data(broken)
    shutil.rmtree(broken / "happy")
    (broken / "happy").mkdir()
    cv2.imwrite(str(broken / "happy" / "wall.png"), np.full((300, 400, 3), 120, np.uint8))
    with pytest.raises(DatasetError, match=r"no face was found in any picture of .*happy"):
        load_data(broken)
    assert len(load_data(broken, already_cropped=True)) == 8 * SHOTS + 1


def test_what_is_kept_for_testing_stays_so_when_pictures_are_added(tmp_path):
    random = np.random.default_rng(0)

    def add(numbers) -> dict:
        for number in numbers:
            (tmp_path / ("cross", "merry")[number % 2]).mkdir(exist_ok=True)
            picture = random.integers(0, 255, (48, 48), np.uint8)
            cv2.imwrite(str(tmp_path / ("cross", "merry")[number % 2] / f"{number}.png"), picture)
        data = load_data(tmp_path, already_cropped=True)
        return {face.tobytes(): usage for face, usage in zip(data.faces, data.usage, strict=True)}

    few = add(range(4))
    assert list(few.values()).count("PublicTest") >= 1
    before, after = add(range(4, 100)), add(range(100, 150))
    assert len(after) == 150
    assert 4 < list(before.values()).count("PublicTest") < 30
    assert all(after[face] == usage for face, usage in before.items())


def test_a_picture_without_a_face_does_not_spoil_what_a_program_reads(photos, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(photos, mixed)
    cv2.imwrite(str(mixed / "happy" / "wall.png"), np.full((300, 400, 3), 120, np.uint8))
    command = ["evaluate", MODELS_DIR / "fer-compact-3", "--data", mixed, "--usage", "all", "--json"]
    result = trainer(*command)
    assert json.loads(result.stdout)["n"] == 12 * SHOTS
    assert f"no face found in 1 of {12 * SHOTS + 1} pictures" in result.stderr
