"""HMAX has the sizes of the paper, tolerates what the paper says it does, and equals the plain loops."""

import numpy as np
import oracles
import pytest

from rsa.errors import UserError
from rsa.inputs import hmax
from rsa.inputs.hmax import BANDS, SOURCE


def scene(top, left, width=44, side=140):
    """Draw an object of a few strokes on grey: a face of sorts, so wide, at a place."""
    y, x = np.mgrid[:side, :side]
    u, v = (x - left) / width, (y - top) / width
    inside = (u - 0.5) ** 2 + (v - 0.5) ** 2 < 0.25
    eyes = (np.hypot(u - 0.33, v - 0.4) < 0.09) | (np.hypot(u - 0.67, v - 0.4) < 0.09)
    mouth = (abs(v - 0.72) < 0.04) & (abs(u - 0.5) < 0.2)
    return np.where(eyes | mouth, 0.1, np.where(inside, 0.9, 0.5))


def all_maps(picture):
    return [hmax.c1_map(picture, band) for band in BANDS if hmax.c1_side(len(picture), band)]


def drawn(pictures, n_patches, rng):
    """Take patches as a reference does."""
    maps = [hmax.c1_map(picture, SOURCE) for picture in pictures]
    places = hmax.draw_places(len(pictures), len(pictures[0]), n_patches, rng)
    return {size: np.stack([hmax.patch_at(maps[i], y, x, size) for i, y, x in at]) for size, at in places.items()}


def test_sizes_are_those_of_the_paper():
    """Filters of 7 to 37 pixels in 8 bands; windows of 8 to 22 pixels, which overlap by half."""
    assert [size for band in BANDS for size in band.sizes] == list(range(7, 38, 2))
    assert [(band.window, band.step) for band in BANDS] == [(2 * n, n) for n in range(4, 12)]
    picture = scene(40, 40)
    for band in BANDS:
        finer, coarser = hmax.s1_maps(picture, band)
        assert finer.shape == (4, 141 - band.sizes[0], 141 - band.sizes[0])
        assert coarser.shape == (4, 141 - band.sizes[1], 141 - band.sizes[1])
        n = hmax.c1_side(140, band)
        assert hmax.c1_map(picture, band).shape == (4, n, n)
        last = (n - 1) * band.step + band.window
        assert last <= coarser.shape[1] < last + band.step, "as many whole windows as there is room for"


@pytest.mark.parametrize("band", [BANDS[0], BANDS[2]])
def test_s1_and_c1_are_those_of_plain_loops(rng, band):
    picture = rng.random((34, 34))
    expected = [oracles.hmax_s1(picture, *one) for one in zip(band.sizes, band.sds, band.wavelengths, strict=True)]
    for values, plain in zip(hmax.s1_maps(picture, band), expected, strict=True):
        np.testing.assert_allclose(values, plain, atol=1e-10)
    c1 = oracles.hmax_c1(*expected, band.window, band.step)
    np.testing.assert_allclose(hmax.c1_map(picture, band), c1, atol=1e-10)


def test_c2_is_that_of_plain_loops(rng):
    maps = [rng.random((4, n, n)) for n in (11, 9, 6)]
    patches = {size: rng.random((3, hmax.n_units(size))) for size in (4, 8)}
    expected = [oracles.hmax_c2(maps, one.reshape(4, size, size)) for size, many in patches.items() for one in many]
    np.testing.assert_allclose(hmax.c2(maps, patches), expected, atol=1e-12)
    np.testing.assert_array_equal(
        hmax.c2(maps[:2], {8: patches[8]}), hmax.c2(maps, {8: patches[8]}), "a map without room for a patch counts not"
    )


def test_s1_is_of_contrast_and_of_its_direction():
    assert not any(one.any() for band in BANDS for one in hmax.s1_maps(np.full((140, 140), 0.4), band))
    y, x = np.mgrid[:140, :140]
    for turn, phase in enumerate((x, (x + y) / np.sqrt(2), y, (y - x) / np.sqrt(2))):
        finer, _ = hmax.s1_maps(0.5 + 0.4 * np.cos(2 * np.pi * phase / BANDS[1].wavelengths[0]), BANDS[1])
        assert finer.mean(axis=(1, 2)).argmax() == turn
        assert 0 <= finer.min() <= finer.max() <= 1
    black = scene(40, 40) - 0.5
    for one in hmax.s1_maps(np.maximum(black, 0), BANDS[0]):
        assert np.isfinite(one).all()
        assert one[:, :20, :20].max() < 1e-9, "nothing is seen in black"


def test_a_picture_matches_its_own_patches_exactly(rng):
    pictures = [rng.random((140, 140)) for _ in range(2)]
    own = drawn(pictures[:1], 12, rng)
    assert (hmax.c2(all_maps(pictures[0]), own) == 1).all()
    other = hmax.c2(all_maps(pictures[1]), own)
    assert ((other > 0) & (other < 1)).all()


def similarity(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


def test_c2_tolerates_shifts_and_scale_that_s1_does_not(rng):
    """An object elsewhere, or a quarter larger, is the same to C2, other than a different object; to S1 it is not."""
    blocks = np.kron(rng.random((20, 20)), np.ones((7, 7)))
    pictures = {"first": scene(30, 30), "shifted": scene(57, 43), "larger": scene(24, 24, 55), "other": blocks}
    patches = drawn([pictures["first"], pictures["other"]], 40, rng)
    s1 = {name: hmax.s1_maps(picture, SOURCE)[0] for name, picture in pictures.items()}
    c2 = {name: hmax.c2(all_maps(picture), patches) for name, picture in pictures.items()}
    for name in ("shifted", "larger"):
        assert similarity(s1["first"], s1[name]) < 0.6
        assert similarity(c2["first"], c2[name]) > 0.97
        assert similarity(c2["first"], c2[name]) > similarity(c2["first"], c2["other"]) + 0.1


def test_a_shift_by_whole_steps_changes_nothing_of_a_band():
    first, shifted = scene(30, 30), scene(30 + 2 * SOURCE.step, 30 + SOURCE.step)
    patches = {8: hmax.patch_at(hmax.c1_map(first, SOURCE), 3, 3, 8)[None]}
    for picture in (first, shifted):
        np.testing.assert_allclose(hmax.c2([hmax.c1_map(picture, SOURCE)], patches), 1, atol=1e-12)


def test_patches_come_from_all_pictures_and_no_place_twice():
    places = hmax.draw_places(20, 140, 60, np.random.default_rng(3))
    assert list(places) == [4, 8, 12, 16]
    units = hmax.c1_side(140, SOURCE)
    for size, at in places.items():
        assert at.shape == (60, 3)
        assert len(np.unique(at, axis=0)) == 60
        assert len(np.unique(at[:, 0])) > 15
        assert at.min() >= 0
        assert at[:, 1:].max() <= units - size
        again = hmax.draw_places(20, 140, 60, np.random.default_rng(3))[size]
        np.testing.assert_array_equal(at, again)
    assert not np.array_equal(places[4], hmax.draw_places(20, 140, 60, np.random.default_rng(4))[4])


def test_pictures_without_room_for_patches_are_refused():
    rng = np.random.default_rng(0)
    message = "patches of up to 16 x 16 C1 units, and pictures of 64 x 64 pixels have 9 x 9; set `size` to 97 or more"
    with pytest.raises(UserError, match=message):
        hmax.draw_places(9, 64, 10, rng)
    assert hmax.c1_side(97, SOURCE) == 16
    assert hmax.c1_side(96, SOURCE) == 15
    message = (
        "19 patches of each size are asked for, and 18 pictures have 18 places for the largest; set `n_patches` to 18"
    )
    with pytest.raises(UserError, match=message):
        hmax.draw_places(18, 97, 19, rng)
    assert len(hmax.draw_places(18, 97, 18, rng)[16]) == 18
