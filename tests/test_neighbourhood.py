"""Spheres are true in millimetres whatever the grid; regions are neighbourhoods like any other."""

from itertools import product

import nibabel as nib
import numpy as np
import oracles
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import affines, quick, rotation, volumes

from rsa import neighbourhood
from rsa.core import Volume
from rsa.errors import UserError
from rsa.files.images import opened, whole_grid
from rsa.neighbourhood import from_masks, regions, some_spheres, sphere_offsets, spheres

ISOTROPIC = np.eye(4)


@quick
@given(volumes(), st.sampled_from([0.5, 1.0, 2.0, 3.0, 4.2, 7.5]))
def test_spheres_equal_distances_measured_one_centre_at_a_time(volume, radius_mm):
    found = spheres(volume, radius_mm)
    assert found.centres.tolist() == list(range(volume.n_voxels))
    for centre in range(volume.n_voxels):
        expected = oracles.sphere_members(volume.mask, volume.affine, centre, radius_mm)
        np.testing.assert_array_equal(found.members(centre), expected)
        assert centre in found.members(centre)
    np.testing.assert_array_equal(found.n_members, np.diff(found.indptr))


@quick
@given(affines(), st.sampled_from([1.0, 3.0, 5.5]))
def test_offsets_are_the_same_seen_from_both_sides_and_miss_none(affine, radius_mm):
    offsets = sphere_offsets(affine, radius_mm)
    wide = np.argwhere(np.ones((41, 41, 41))) - 20  # 20 steps of 0.7 mm and more, sheared: beyond 5.5 mm
    expected = wide[np.linalg.norm(wide @ affine[:3, :3].T, axis=1).round(4) <= radius_mm]
    np.testing.assert_array_equal(offsets, expected)
    assert set(map(tuple, offsets)) == set(map(tuple, -offsets))


@pytest.mark.parametrize(("radius_mm", "n_voxels"), [(1, 7), (2, 33), (3, 123), (4, 257), (5, 515)])
def test_numbers_of_voxels_on_a_1_mm_grid(radius_mm, n_voxels):
    assert len(sphere_offsets(ISOTROPIC, radius_mm)) == n_voxels


@pytest.mark.parametrize(
    "affine", [ISOTROPIC * [3, 3, 3, 1], np.diag([0.1, 0.1, 0.1, 1]), np.diag([-2.4, 2.4, 2.4, 1])]
)
def test_inclusive_radius_has_the_same_number_of_voxels_at_every_place_inside(affine):
    volume = Volume(np.ones((13, 12, 11)), affine + np.array([[0, 0, 0, 17.3]] * 3 + [[0] * 4]))
    found = spheres(volume, 3 * abs(affine[0, 0]))
    inside = ((volume.indices >= 3) & (volume.indices < np.array(volume.shape) - 3)).all(axis=1)
    assert inside.sum() == 7 * 6 * 5
    assert set(found.n_members[inside]) == {123}
    assert found.n_members[~inside].max() < 123


# ------------------------------------------------------------------------- affines as files hold them


def stored_grid(path, linear, form):
    """Return the grid of an image that was saved with an sform, or with a qform only: both in single precision."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = linear, [-93.3, -121.7, -55.1]
    image = nib.Nifti1Image(np.ones((11, 11, 11), np.uint8), None)
    if form == "sform":
        image.set_sform(affine, code=1)
    else:
        image.set_qform(affine, code=1)
    nib.save(image, path)
    grid = whole_grid(opened(path))
    assert (grid.sform_code, grid.qform_code) == ((1, 0) if form == "sform" else (0, 1))
    return grid


def centre_sphere(grid, radius_mm):
    around = spheres(grid, radius_mm)
    middle = int(np.ravel_multi_index((5, 5, 5), grid.shape))
    return {tuple(step - 5) for step in grid.indices[around.members(middle)]}


@pytest.mark.parametrize("form", ["sform", "qform"])
@pytest.mark.parametrize(
    ("voxel_mm", "radius_mm", "n_voxels"),
    [
        (("1.6", "1.6", "1.6"), "8", 515),
        (("2.4", "2.4", "2.4"), "7.2", 123),
        (("2.2", "2.2", "2.2"), "6.6", 123),
        (("3.2", "3.2", "3.2"), "9.6", 123),
        (("1.2", "1.2", "1.2"), "3.6", 123),
        (("3", "3", "3"), "9", 123),
        (("2.7", "2.7", "2.7"), "10.8", 257),
        (("2.3", "2.3", "3.3"), "6.9", 73),
        (("0.1", "0.1", "0.1"), "0.5", 515),
    ],
)
def test_spheres_of_stored_grids_have_every_voxel_whose_centre_is_on_their_surface(
    tmp_path, form, voxel_mm, radius_mm, n_voxels
):
    """Straight, flipped, and turned grids: the exact members are those of whole and decimal numbers."""
    expected = oracles.sphere_steps(voxel_mm, radius_mm)
    assert len(expected) == n_voxels
    flip, sizes = np.diag([-1, 1, 1]), np.diag([float(size) for size in voxel_mm])
    rng = np.random.default_rng(0)
    turns = [np.eye(3), flip, *(rotation(tuple(rng.uniform(-np.pi, np.pi, 3))) for _ in range(12))]
    turns += [rotation(tuple(np.array([0, 0, np.pi]) + rng.normal(0, 0.1, 3))) @ flip for _ in range(12)]
    for number, turn in enumerate(turns):
        grid = stored_grid(tmp_path / f"{number}.nii", turn @ sizes, form)
        assert centre_sphere(grid, float(radius_mm)) == expected, turn.tolist()


@pytest.mark.slow
def test_no_voxel_beyond_the_radius_comes_in():
    """Of usual voxel sizes, the closest outside a usual radius is 4.2e-5 mm beyond it."""
    for in_plane, between in product(["1.05", "1.25", "1.6", "2", "2.4", "3", "3.5"], ["1.2", "1.8", "2.2", "3.3"]):
        for radius_mm in ("6", "8", "10"):
            voxel_mm = (in_plane, in_plane, between)
            found = sphere_offsets(np.diag([*np.float32(voxel_mm), 1]), float(radius_mm))
            assert len(found) == len(oracles.sphere_steps(voxel_mm, radius_mm)), (voxel_mm, radius_mm)
    assert len(sphere_offsets(np.diag([1.25, 1.25, 1.8, 1]), 29.5)) == len(
        oracles.sphere_steps(("1.25", "1.25", "1.8"), "29.5")
    )


def test_permuted_axes_keep_millimetres():
    """The grid's first axis steps 3 mm along z, its third 2 mm along x: 2 mm reach along the third only."""
    permuted = np.array([[0, 0, 2.0, 0], [0, 2.5, 0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])
    assert sphere_offsets(permuted, 2.0).tolist() == [[0, 0, -1], [0, 0, 0], [0, 0, 1]]
    assert len(sphere_offsets(permuted, 2.5)) == 5
    assert len(sphere_offsets(permuted, 3.0)) == 7


def test_shear_is_measured_along_the_true_steps():
    sheared = np.eye(4)
    sheared[0, 1] = 1.0  # the second step is (1, 1, 0), root 2 long; second minus first is 1 long
    assert [0, 1, 0] not in sphere_offsets(sheared, 1.0).tolist()
    assert [-1, 1, 0] in sphere_offsets(sheared, 1.0).tolist()


def test_a_hole_in_the_mask_is_in_no_sphere():
    mask = np.ones((5, 5, 5), dtype=bool)
    mask[2, 2, 2] = False
    volume = Volume(mask, ISOTROPIC)
    beside = np.flatnonzero((volume.indices == [2, 2, 1]).all(axis=1))[0]
    assert len(spheres(volume, 1).members(beside)) == 6


def test_stride_keeps_voxels_on_multiples_and_their_whole_spheres():
    volume = Volume(np.ones((6, 6, 6)), ISOTROPIC)
    every, some = spheres(volume, 2), spheres(volume, 2, stride=2)
    assert len(some) == 27
    assert (volume.indices[some.centres] % 2 == 0).all()
    for position, centre in enumerate(some.centres):
        np.testing.assert_array_equal(some.members(position), every.members(centre))


def test_more_centres_than_one_block_holds():
    volume = Volume(np.ones((20, 20, 20)), ISOTROPIC)
    found = spheres(volume, 1)
    for centre in (0, 4095, 4096, 7999):
        np.testing.assert_array_equal(
            found.members(centre), oracles.sphere_members(volume.mask, volume.affine, centre, 1)
        )


def test_a_radius_far_beyond_the_grid_takes_what_the_grid_has():
    volume = Volume(np.ones((6, 5, 4)), ISOTROPIC)
    assert set(spheres(volume, 5000).n_members) == {120}
    assert len(sphere_offsets(ISOTROPIC, 5000, (6, 5, 4))) == 11 * 9 * 7


def test_spheres_beyond_the_memory_are_refused(monkeypatch):
    monkeypatch.setattr(neighbourhood, "_room", lambda: 8 * 1000)
    volume = Volume(np.ones((6, 6, 6)), ISOTROPIC)
    with pytest.raises(UserError, match="Spheres of 2 mm have up to 33 voxels, too many to hold those around 216"):
        spheres(volume, 2)
    assert len(spheres(volume, 2, stride=3)) == 8


@pytest.mark.parametrize("radius_mm", [0, -1, float("nan")])
def test_radius_is_positive(radius_mm):
    with pytest.raises(UserError, match="A radius is above 0 mm, not"):
        spheres(Volume(np.ones((2, 2, 2)), ISOTROPIC), radius_mm)


def test_stride_leaves_a_centre():
    mask = np.zeros((4, 4, 4))
    mask[1, 1, 1] = 1
    with pytest.raises(UserError, match="A stride of 2 leaves no voxel of the mask as a centre"):
        spheres(Volume(mask, ISOTROPIC), 2, stride=2)


@pytest.mark.parametrize("stride", [0, -1])
def test_stride_is_positive(stride):
    with pytest.raises(UserError, match=f"A stride is a whole number above 0, not {stride}"):
        spheres(Volume(np.ones((4, 4, 4)), ISOTROPIC), 2, stride=stride)


def test_some_spheres_by_a_mask_and_by_positions():
    around = spheres(Volume(np.ones((4, 4, 4)), ISOTROPIC), 1)
    chosen = np.zeros(64, dtype=bool)
    chosen[[3, 7, 60]] = True
    for some in (some_spheres(around, chosen), some_spheres(around, chosen.tolist()), some_spheres(around, [3, 7, 60])):
        assert some.centres.tolist() == [3, 7, 60]
        for place, centre in enumerate((3, 7, 60)):
            np.testing.assert_array_equal(some.members(place), around.members(centre))
    turned = some_spheres(around, np.array([60, 3]))
    assert turned.centres.tolist() == [60, 3]
    np.testing.assert_array_equal(turned.members(0), around.members(60))
    assert some_spheres(around, np.ones(64, dtype=bool)) is around


@pytest.mark.parametrize(
    "chosen",
    [[12345], [64], [-1], [1.0, 2.0], np.ones(63, bool), np.ones((4, 4, 4), bool), ["a"], [[0]]],
)
def test_spheres_are_chosen_by_nothing_else(chosen):
    around = spheres(Volume(np.ones((4, 4, 4)), ISOTROPIC), 1)
    with pytest.raises(UserError, match="64 spheres are chosen by a mask of 64 booleans or by positions from 0 to 63"):
        some_spheres(around, chosen)


def test_one_sphere_at_least_is_chosen():
    around = spheres(Volume(np.ones((4, 4, 4)), ISOTROPIC), 1)
    for nothing in (np.zeros(64, dtype=bool), []):
        with pytest.raises(UserError, match="None of 64 spheres is chosen"):
            some_spheres(around, nothing)


def test_a_mask_of_numbers_is_not_taken_for_positions():
    """As positions, 0 and 1 would be the first two spheres, over and over."""
    around = spheres(Volume(np.ones((4, 4, 4)), np.eye(4)), 1)
    chosen = (np.arange(64) > 60).astype(int)
    with pytest.raises(UserError, match="Each sphere is chosen once, and 64 positions name 2 spheres; a mask is of"):
        some_spheres(around, chosen)


# -------------------------------------------------------------------------------------------- regions


@pytest.fixture
def volume():
    mask = np.ones((2, 3, 2))
    mask[0, 0, 0] = 0
    return Volume(mask, ISOTROPIC)


@pytest.fixture
def atlas():
    values = np.zeros((2, 3, 2))
    values[0, 0], values[0, 1], values[1, 2], values[1, 0, 0] = 7, 3, 12, np.nan
    return values


def test_regions_are_named_by_their_numbers(volume, atlas):
    found = regions(volume, atlas)
    assert found.regions.to_dict("list") == {"region": ["3", "7", "12"], "n_voxels": [2, 1, 2]}
    assert found.centres is None
    for position, number in enumerate([3, 7, 12]):
        np.testing.assert_array_equal(found.members(position), np.flatnonzero(atlas[volume.mask] == number))


def test_numbers_of_one_name_form_one_region(volume, atlas):
    labels = pd.DataFrame({"index": [12, 7, 3], "region": ["late", "early", "late"]})
    found = regions(volume, atlas, labels)
    assert found.regions.to_dict("list") == {"region": ["late", "early"], "n_voxels": [4, 1]}


def test_regions_may_overlap_and_come_on_the_grid_or_in_the_mask(volume):
    grid = np.zeros(volume.shape, dtype=bool)
    grid[0] = True
    found = from_masks(volume, {"grid": grid, "vector": np.arange(volume.n_voxels) < 6})
    np.testing.assert_array_equal(found.members(0), np.arange(5))
    np.testing.assert_array_equal(found.members(1), np.arange(6))


def test_atlas_of_another_shape(volume, atlas):
    with pytest.raises(UserError, match=r"The atlas has shape \(2, 3, 1\) and the mask \(2, 3, 2\)"):
        regions(volume, atlas[..., :1])


def test_region_outside_the_mask_is_named(volume, atlas):
    labels = pd.DataFrame({"index": [3, 99], "region": ["V1", "V99"]})
    with pytest.raises(UserError, match="No voxel of the mask lies in the region 'V99'; remove it"):
        regions(volume, atlas, labels)


def test_atlas_without_any_region(volume, atlas):
    with pytest.raises(UserError, match="There is no region: the atlas is 0 or NaN in the whole mask"):
        regions(volume, np.zeros_like(atlas))


def test_masks_of_regions_have_the_shape_of_the_volume(volume):
    with pytest.raises(UserError, match=r"region 'a' has the shape \(1,\); it says yes or no of the 11 voxels"):
        from_masks(volume, {"a": np.array([12345])})
