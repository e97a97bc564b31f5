"""Photographs in folders: rendered people, as bursts of a phone would be."""

from __future__ import annotations

import json
import shutil
import sys

import cv2
import numpy as np
import pytest
from drawn import trainer
from PIL import Image

from edge_agent.demo import CLIPS
from edge_agent.vision.bundle import MODELS_DIR
from trainer.data.cleaning import near_duplicate_groups
from trainer.data.load import class_names, load_data
from trainer.data.photos import load_photos
from trainer.data.pictures import reads_heic
from trainer.data.split import split_validation
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


def test_a_burst_in_which_somebody_turns_away_is_one_group():
    random = np.random.default_rng(1)
    room = cv2.GaussianBlur(random.integers(0, 255, (48, 120)).astype(np.uint8), (0, 0), 8)
    burst = [cv2.equalizeHist(room)[:, at : at + 48] for at in range(0, 24, 2)]
    assert np.corrcoef(burst[0].ravel(), burst[-1].ravel())[0, 1] < 0.5, "the ends have little in common"
    other = random.integers(0, 255, (48, 48)).astype(np.uint8)
    group = near_duplicate_groups(np.stack([*burst, other]), bits=8)
    assert len(set(group[:-1].tolist())) == 1
    assert group[-1] != group[0]


def test_strangers_in_the_same_light_are_not_one_group():
    """Shrunk for the hash all of them are the same slope; what tells people apart is finer than that."""
    random = np.random.default_rng(0)
    light = np.tile(np.linspace(110, 170, 48), (48, 1))
    people = (light + random.normal(0, 8, (200, 48, 48))).astype(np.uint8)
    assert np.bincount(near_duplicate_groups(people, bits=0)).max() > 150
    pictured_twice = np.concatenate([people, people[:50] // 2 + 40])
    group = near_duplicate_groups(pictured_twice, bits=8)
    assert np.bincount(group).max() == 2
    np.testing.assert_array_equal(group[:50], group[200:])


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


def write(path) -> None:
    """Write a picture of noise, which is a scene of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(list(path.as_posix().encode())[-40:])
    cv2.imwrite(str(path), random.integers(0, 255, (48, 48), np.uint8))


@pytest.fixture
def without_heic(monkeypatch):
    reads_heic.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    yield
    reads_heic.cache_clear()


def test_pictures_of_one_scene_are_learned_with_a_warning(tmp_path, without_heic):
    picture = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)
    for brighter, name in enumerate(("cross", "merry")):
        (tmp_path / name).mkdir()
        for number in range(9):
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), picture // 2 + 10 * number + 5 * brighter)
        (tmp_path / name / "a.HEIC").write_bytes(b"")
        (tmp_path / name / "clip.mov").write_bytes(b"")
        for hidden in (".DS_Store", "._1.png"):
            (tmp_path / name / hidden).write_bytes(b"a system's, no picture")
    result = trainer("fit", "--model", "svm", "--data", tmp_path, "--out", tmp_path / "run", "--already-cropped")
    assert result.returncode == 0, result.stderr
    heic, others, warning = result.stderr.splitlines()
    assert "2 HEIC" in heic
    assert "pip install '.[heic]'" in heic
    assert others.startswith(".mov files were left out")
    assert "figures tell nothing about other people" in warning
    data = load_data(tmp_path, already_cropped=True)
    assert data.classes == ("cross", "merry"), "the run's own folder is no class"
    assert 0 < (data.usage == "PublicTest").sum() < 9
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "cross, merry" in run["data"]


def test_one_person_in_a_training_folder_is_learned_with_a_warning(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (60, 60), np.uint8)
    for name in ("cross", "merry"):
        for part, count in (("train", 9), ("test", 2)):
            for number in range(count):
                path = tmp_path / part / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), picture // 2 + 10 * number + 5 * (name == "cross"))
    result = trainer("fit", "--model", "svm", "--data", tmp_path, "--out", tmp_path / "run", "--already-cropped")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("figures tell nothing about other people") == 1


def test_a_person_with_most_pictures_is_there_to_learn_from(tmp_path):
    for number in range(40):
        write(tmp_path / ("cross", "merry")[number % 2] / ("ada" if number < 28 else f"p{number}") / f"{number}.png")
    for seed in range(20):
        data = load_photos(tmp_path, already_cropped=True, seed=seed)
        training, validation = split_validation(data.only("Training"), fraction=0.1, seed=seed)
        assert len(training) >= 28
        assert len(validation)
        assert (data.usage == "PublicTest").any()


def test_all_pictures_of_a_person_stay_on_one_side(tmp_path):
    people = {}
    for number in range(120):
        person = f"p{number // 6}"
        label = ("cross", "merry")[number % 2]
        path = tmp_path / label / (person.upper() if label == "merry" else person) / f"{number}.png"
        write(path)
        people[cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).tobytes()] = person

    def of(data) -> set[str]:
        return {people[face.tobytes()] for face in data.faces}

    data = load_data(tmp_path, already_cropped=True)
    training, validation = split_validation(data.only("Training"), fraction=0.2, seed=1)
    sides = [of(training), of(validation), of(data.only("PublicTest"))]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 20
    assert min(map(len, sides)) > 0
    for number in range(20):
        write(tmp_path / "cross" / f"p{number}" / "more.png")
    again = load_data(tmp_path, already_cropped=True)
    kept = {face.tobytes() for face in data.only("PublicTest").faces}
    assert kept <= {face.tobytes() for face in again.only("PublicTest").faces}, "one more picture of each moves nobody"


class TestPublishedFolders:
    """`train/angry/*.png` and the like."""

    def usages(self, folder) -> dict[str, int]:
        usages, counts = np.unique(load_data(folder, already_cropped=True).usage, return_counts=True)
        return dict(zip(usages.tolist(), counts.tolist(), strict=True))

    @pytest.mark.parametrize(
        ("parts", "usages"),
        [
            (("train", "test"), ("Training", "PublicTest")),
            (("Training", "Testing"), ("Training", "PublicTest")),
            (("TRAIN", "valid", "test"), ("Training", "PublicTest", "PrivateTest")),
            (("train", "val"), ("Training", "PublicTest")),
            (("train", "validation"), ("Training", "PublicTest")),
            (("Training", "PublicTest", "PrivateTest"), ("Training", "PublicTest", "PrivateTest")),
            (("test",), ("PublicTest",)),
        ],
    )
    def test_each_part_is_used_as_its_name_says(self, tmp_path, parts, usages):
        for count, part in enumerate(parts, start=2):
            for number in range(count):
                write(tmp_path / part / "angry" / f"{number}.png")
                write(tmp_path / part / "happy" / f"{number}.png")
        assert self.usages(tmp_path) == {usage: 2 * count for count, usage in enumerate(usages, start=2)}

    def test_a_class_that_a_part_lacks_is_named(self, tmp_path):
        for folder in ("train/angry", "train/happy", "train/sad", "test/angry", "test/happy"):
            write(tmp_path / folder / "1.png")
        (tmp_path / "test" / "sad").mkdir()
        result = trainer("inspect", "--data", tmp_path, "--already-cropped")
        assert result.returncode == 2
        assert "test has no pictures of sad" in result.stderr

    def test_what_lies_beside_the_parts_is_named(self, tmp_path):
        for folder in ("train/angry", "train/happy", "test/angry", "test/happy", "results"):
            write(tmp_path / folder / "1.png")
        with pytest.raises(DatasetError, match="beside them results"):
            load_data(tmp_path, already_cropped=True)

    def test_a_person_in_two_parts_is_told(self, tmp_path, capsys):
        for folder in ("train/angry/ada", "train/happy/bob", "test/angry/ada", "test/happy/eve"):
            write(tmp_path / folder / "1.png")
        assert len(load_data(tmp_path, already_cropped=True)) == 4
        assert "1 people are in more than one part, ada first" in capsys.readouterr().err

    def test_a_class_may_be_called_test(self, tmp_path):
        for number in range(8):
            write(tmp_path / "test" / f"{number}.png")
            write(tmp_path / "train" / f"{number}.png")
        assert load_data(tmp_path, already_cropped=True).classes == ("test", "train")


def test_letter_case_makes_no_class(tmp_path):
    for number, folder in enumerate(("train/Angry", "train/angry", "test/ANGRY", "train/happy", "test/Happy")):
        write(tmp_path / folder / f"{number}.png")
    data = load_data(tmp_path, already_cropped=True)
    assert data.classes == class_names(tmp_path) == ("angry", "happy")
    assert np.bincount(data.labels).tolist() == [3, 2]
    assert len(data.for_model(("Happy", "Angry"))) == 5, "a model that was trained on folders in capitals"
    result = trainer(
        "fit", "--model", "svm", "--data", tmp_path, "--already-cropped", "--classes", "Happy,Angry",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert "no class" not in result.stderr


@pytest.mark.parametrize("ending", ["tif", "TIFF", "jpeg", "pgm", "gif", "heic"])
def test_formats_are_read(tmp_path, ending):
    if ending == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    random = np.random.default_rng(0)
    dark_left = np.tile(np.linspace(0, 250, 64).astype(np.uint8), (64, 1))
    for label in ("angry", "happy"):
        (tmp_path / label).mkdir()
        for number in range(3):
            picture = np.rot90(dark_left, number) + random.integers(0, 5, (64, 64), np.uint8)
            Image.fromarray(picture).save(tmp_path / label / f"{number}.{ending}")
    data = load_data(tmp_path, already_cropped=True)
    assert len(data) == 6
    assert data.faces[0][:, -8:].mean() > data.faces[0][:, :8].mean() + 150


def test_shades_of_sixteen_bits_stay(tmp_path):
    shades = np.tile(np.linspace(0, 65000, 48).astype(np.uint16), (48, 1))
    for label in ("angry", "happy"):
        (tmp_path / label).mkdir()
        cv2.imwrite(str(tmp_path / label / "1.tiff"), shades)
    assert np.abs(load_data(tmp_path, already_cropped=True).faces[0] - shades / 257).max() < 2


def test_a_folder_of_nothing_that_can_be_read_says_what_to_do(tmp_path, without_heic):
    for label in ("angry", "happy"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "IMG_1.CR2").write_bytes(b"raw")
    with pytest.raises(DatasetError, match=r"pictures in none of its folders; .*\.tiff"):
        load_data(tmp_path)
    for label in ("angry", "happy"):
        (tmp_path / label / "IMG_2.heic").write_bytes(b"an iPhone's")
    with pytest.raises(DatasetError, match=r"no picture of angry .* 1 HEIC.* pip install '\.\[heic\]'"):
        load_data(tmp_path)


def test_pictures_that_cannot_be_used_are_left_out_and_counted(photos, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(photos, broken)
    [whole, *_] = sorted((broken / "happy").glob("*.jpg"))
    for name, content in (("a.jpg", b"no picture"), ("b.png", b""), ("c.jpg", whole.read_bytes()[:-9000])):
        (broken / "happy" / name).write_bytes(content)
    assert len(load_data(broken)) == 12 * SHOTS
    assert f"left out of {12 * SHOTS + 3} pictures: 3 cut off or not readable, " in (said := capsys.readouterr().err)
    assert "a.jpg first" in said
    for path in sorted((broken / "happy").iterdir())[3:]:
        path.unlink()
    with pytest.raises(DatasetError, match=r"no picture of happy .* 3 cut off or not readable, .*a\.jpg"):
        load_data(broken)
    shutil.rmtree(broken / "happy")
    (broken / "happy").mkdir()
    cv2.imwrite(str(broken / "happy" / "wall.png"), np.full((300, 400, 3), 120, np.uint8))
    with pytest.raises(DatasetError, match=r"no picture of happy .* no face found in 1, .* say --already-cropped"):
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
    assert f"left out of {12 * SHOTS + 1} pictures: no face found in 1, " in result.stderr
