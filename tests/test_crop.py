"""Which point of the frame each pixel of a crop shows.

The geometry is chosen so that all these points lie on the thirty-seconds of a pixel that OpenCV samples at; steep
local ramps tell them apart.
"""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.vision.faces import Face, Framing, crop_face, signature

SIDE = 48
CENTRE = np.array([110.25, 109.5])
#: Grey levels a pixel of the frame.
STEEP = 64
#: Cosine and sine of a roll; on a picture y points down, so a positive sine turns clockwise.
ROLLS = {"upright": (1.0, 0.0), "clockwise": (0.8, 0.6), "anticlockwise": (0.8, -0.6), "upside down": (-1.0, 0.0)}


def point_shown_by(column: int, row: int, *, near: np.ndarray, seen: Face, framing: Framing) -> np.ndarray:
    """Return the x and y of the frame that one pixel of the crop shows, if it is within two pixels of `near`."""
    point = []
    for pixels, middle in zip(np.mgrid[:220, :220][::-1], np.round(near), strict=True):
        ramp = np.clip(128 + STEEP * (pixels - middle), 0, 255).astype(np.uint8)
        crop = crop_face(np.repeat(ramp[:, :, None], 3, axis=2), seen, framing, SIDE)
        point.append(middle + (float(crop[row, column]) - 128) / STEEP)
    return np.array(point)


@pytest.mark.parametrize("roll", ROLLS.values(), ids=ROLLS)
@pytest.mark.parametrize("shift_px", [0, 5, -5])
@pytest.mark.parametrize("side_px", [60, 120], ids=["sampled", "averaged"])
def test_a_known_point_of_the_face_lands_on_a_known_pixel(roll, shift_px, side_px):
    cos, sin = roll
    width, height, eyes = side_px / 1.2, 100.0, np.array([cos, sin])
    x, y = CENTRE - (width / 2, height / 2)
    right_eye, left_eye = (CENTRE - 10 * eyes, CENTRE + 10 * eyes)
    seen = Face(x, y, width, height, 0.9, tuple(right_eye), tuple(left_eye))
    down = np.array([-sin, cos])
    middle = CENTRE + shift_px * down
    last = SIDE - 1
    for column, row in ((0, 0), (last, 0), (0, last), (last, last), (SIDE // 2, SIDE // 2), (10, 30)):
        # The middle of a pixel, as a share of the square, from the square's centre.
        across, along = (column + 0.5) / SIDE - 0.5, (row + 0.5) / SIDE - 0.5
        expected = middle + side_px * (across * eyes + along * down)
        point = point_shown_by(column, row, near=expected, seen=seen, framing=Framing(1.2, shift_px / height))
        assert np.abs(point - expected).max() < 0.01, (column, row, point, expected)


def test_a_signature_shows_the_things_in_a_rectangle_and_not_the_light_across_it():
    random = np.random.default_rng(0)
    coarse = np.kron(random.integers(0, 80, (16, 16)), np.ones((10, 10)))
    light = np.linspace(0, 120, 160)[None, :]
    frames = [np.repeat(picture[:, :, None], 3, axis=2).astype(np.uint8) for picture in (coarse, coarse + light)]
    plain, lit = (signature(np.pad(frame, ((20, 20), (40, 40), (0, 0))), (1 / 6, 0.1, 5 / 6, 0.9)) for frame in frames)
    assert abs(plain.mean()) < 1
    inner = (slice(3, -3), slice(3, -3))  # the light ends with the rectangle
    np.testing.assert_allclose(lit[inner], plain[inner], atol=3)
    assert np.corrcoef(plain.ravel(), (coarse[::10, ::10] - coarse.mean()).ravel())[0, 1] > 0.9
    assert np.corrcoef(coarse[::10, ::10].ravel(), (coarse + light)[::10, ::10].ravel())[0, 1] < 0.75
