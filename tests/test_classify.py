"""Any picture from the internet."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest


@pytest.fixture
def portrait(astronaut):
    return astronaut[:300, 60:400]


def faces(result) -> list[dict]:
    [picture] = json.loads(result.out)
    return picture["faces"]


def save(path, image):
    assert cv2.imwrite(str(path), image)
    return path


def test_a_smiling_portrait_is_happy_in_colour_and_grey(run_command, tmp_path, portrait):
    colour = save(tmp_path / "colour.jpg", portrait)
    grey = save(tmp_path / "grey.png", cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY))
    for path in (colour, grey):
        [face] = faces(run_command("classify", path, "--json"))
        assert max(face["scores"], key=face["scores"].get) == "happy"
        # Both answers of the model agree about her, so that little is lost.
        assert 0.8 < sum(face["labels"].values()) <= 1.001
        assert sum(face["scores"].values()) == pytest.approx(sum(face["labels"].values()), abs=0.001)
        assert face["confidence"] > 0.6


def test_the_box_is_in_pixels_of_the_picture_whatever_its_size(run_command, tmp_path, portrait):
    boxes = []
    for scale in (0.4, 1, 6, 16):
        picture = cv2.resize(portrait, None, fx=scale, fy=scale)
        [face] = faces(run_command("classify", save(tmp_path / "p.jpg", picture), "--json"))
        boxes.append(np.array(list(face["box"].values())) / scale)
    for box in boxes:
        np.testing.assert_allclose(box, boxes[1], atol=15)


def test_small_faces_in_a_large_photo_are_found(run_command, tmp_path, portrait):
    photo = np.full((2400, 3600, 3), 120, dtype=np.uint8)
    places = [(100, 200), (2900, 300), (1500, 1900)]
    for x, y in places:
        photo[y : y + 150, x : x + 170] = cv2.resize(portrait, (170, 150), interpolation=cv2.INTER_AREA)
    assert len(faces(run_command("classify", save(tmp_path / "hall.jpg", photo), "--json"))) == len(places)


def test_a_picture_that_is_all_face_is_scored(run_command, tmp_path, portrait):
    close = save(tmp_path / "close.png", portrait[50:190, 95:235])
    assert len(faces(run_command("classify", close, "--json"))) == 1


def test_a_photo_taken_sideways_is_turned(run_command, tmp_path, portrait):
    from PIL import Image

    sideways = Image.fromarray(np.rot90(portrait[:, :, ::-1]))
    exif = sideways.getexif()
    exif[0x0112] = 6
    sideways.save(tmp_path / "phone.jpg", exif=exif)
    [face] = faces(run_command("classify", tmp_path / "phone.jpg", "--json"))
    assert face["scores"]["happy"] > 0.5


def test_nothing_is_drawn_unless_asked(run_command, tmp_path, portrait):
    path = save(tmp_path / "a.png", portrait)
    run_command("classify", path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    result = run_command("classify", path, "--out", tmp_path / "b.png")
    assert result.code == 0
    assert "340x300  1 face" in result.out
    drawn = cv2.imread(str(tmp_path / "b.png"))
    assert drawn.shape == portrait.shape
    assert (drawn != portrait).any()


def test_the_picture_itself_is_never_overwritten(run_command, tmp_path, portrait):
    path = save(tmp_path / "a.png", portrait)
    before = path.read_bytes()
    for out in (path, tmp_path):
        result = run_command("classify", path, "--out", out)
        assert result.code == 4
        assert "overwrite" in result.one_line_error()
    assert path.read_bytes() == before


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(run_command, tmp_path, portrait):
    good = save(tmp_path / "good.png", portrait)
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for bad in ("text.jpg", "empty.jpg", "none.jpg", "."):
        result = run_command("classify", tmp_path / bad, good, "--json")
        assert result.code == 4
        assert "edge-agent: " in result.one_line_error()
        assert len(faces(result)) == 1


def test_a_picture_that_unpacks_to_gigabytes_is_refused(run_command, tmp_path):
    from PIL import Image

    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    result = run_command("classify", tmp_path / "bomb.png")
    assert result.code == 4
    assert "too many pixels" in result.one_line_error()
    assert "not a file" in run_command("classify", "/dev/zero").one_line_error()


def test_a_picture_without_faces_is_no_error(run_command, tmp_path):
    for size in (1, 300):
        result = run_command(
            "classify", save(tmp_path / "wall.png", np.full((size, size, 3), 90, dtype=np.uint8)), "--json"
        )
        assert (result.code, faces(result)) == (0, [])


def test_a_picture_of_one_row_is_a_picture_without_faces(run_command, tmp_path):
    cv2.imwrite(str(tmp_path / "row.png"), np.zeros((1, 100_000, 3), np.uint8))
    result = run_command("classify", tmp_path / "row.png")
    assert (result.code, result.err) == (0, "")
    assert "100000x1  0 faces" in result.out
