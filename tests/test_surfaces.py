"""Maps on the surface of the cortex: which voxel is where."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.surface import load_surf_data, vol_to_surf

from rsa.core import QUALITY, REFERENCE, TEST, ScoreMap, Volume
from rsa.files.fsaverage import (
    HEMISPHERES,
    N_DEPTHS,
    N_VERTICES,
    SHAPES,
    is_averaged,
    mid_thickness_mm,
    of_nilearn,
    places_mm,
    sampler_of,
    triangles,
)
from rsa.files.maps import write_maps
from rsa.maps import MAPS
from rsa.report.surface_mesh import UNIT_MM, explorer_mesh
from rsa.report.surfaces import PANELS, best_rows, surface_grid

MNI_MM = 4.0
RIGHT_FIRST = np.array([[-MNI_MM, 0, 0, 90], [0, MNI_MM, 0, -126], [0, 0, MNI_MM, -72], [0, 0, 0, 1]])
UP_FIRST = np.array([[0, 0, MNI_MM, -90], [0, -MNI_MM, 0, 90], [MNI_MM, 0, 0, -72], [0, 0, 0, 1]])
GRIDS = {"right first": (RIGHT_FIRST, (46, 55, 46)), "axes in another order": (UP_FIRST, (46, 55, 46))}


def mni_volume(affine=RIGHT_FIRST, shape=(46, 55, 46)):
    return Volume(np.ones(shape, dtype=bool), affine)


@pytest.mark.parametrize(("affine", "shape"), GRIDS.values(), ids=GRIDS)
def test_the_voxel_of_a_vertex_is_the_one_in_which_it_lies(affine, shape):
    volume = mni_volume(affine, shape)
    mesh = explorer_mesh(volume)
    middle = np.concatenate([mid_thickness_mm("L"), mid_thickness_mm("R")])
    apart = volume.voxel_to_mm(np.stack(np.unravel_index(mesh.voxels, shape), axis=1)) - middle
    assert (mesh.voxels >= 0).all()
    assert np.abs(apart).max() <= MNI_MM / 2 + 1e-4


def test_vertices_outside_of_the_grid_have_no_voxel():
    shifted = RIGHT_FIRST + np.array([[0, 0, 0, -90], [0] * 4, [0] * 4, [0] * 4])  # x below 2 mm
    mesh = explorer_mesh(mni_volume(shifted))
    assert (mesh.voxels[: mesh.n_left] >= 0).all()
    assert (mesh.voxels[mesh.n_left :] == -1).mean() > 0.9


def test_the_mesh_is_that_of_the_files_of_both_hemispheres():
    mesh = explorer_mesh(mni_volume())
    assert mesh.n_left == N_VERTICES
    for name in SHAPES:
        places = np.concatenate([places_mm("L", name), places_mm("R", name)])
        np.testing.assert_allclose(mesh.shapes[name] * UNIT_MM, places, atol=UNIT_MM / 2 + 1e-4)
    assert mesh.triangles.max() == 2 * N_VERTICES - 1
    assert mesh.in_flat.sum() == len(triangles("L", "flat")) + len(triangles("R", "flat"))
    assert (mesh.shapes["flat"][np.unique(mesh.triangles[mesh.in_flat == 1]), 2] == 0).all()


# ------------------------------------------------------------------------------------------- sampling


@pytest.mark.parametrize(("affine", "shape"), GRIDS.values(), ids=GRIDS)
def test_a_linear_map_is_that_of_nilearn(affine, shape, rng):
    volume = mni_volume(affine, shape)
    values = rng.standard_normal((1, volume.n_voxels)).astype(np.float32)
    own = sampler_of(volume).mean(values)[0]
    for number, side in enumerate(HEMISPHERES.values()):
        mesh, inner = (of_nilearn(f"datasets/data/fsaverage5/{name}_{side}.gii.gz") for name in ("pial", "white"))
        image = nib.Nifti1Image(values[0].reshape(shape), affine)
        expected = vol_to_surf(image, mesh, inner_mesh=inner, kind="depth", depth=np.linspace(0, 1, N_DEPTHS))
        np.testing.assert_allclose(own[number * N_VERTICES :][:N_VERTICES], np.ravel(expected), atol=1e-5)


def test_a_constant_map_stays_constant_and_left_stays_left():
    volume = mni_volume()
    x_mm = volume.centres_mm[:, 0]
    some = np.random.default_rng(0).random(volume.n_voxels) < 0.8
    values = np.stack([np.full(len(x_mm), 0.3), np.where(some, 0.3, np.nan), x_mm])
    constant, with_gaps, across = sampler_of(volume).mean(values)
    np.testing.assert_allclose(constant, 0.3, atol=1e-12)
    assert np.isfinite(with_gaps).mean() > 0.85
    np.testing.assert_allclose(with_gaps[np.isfinite(with_gaps)], 0.3, atol=1e-12)
    np.testing.assert_allclose(across, np.concatenate([mid_thickness_mm("L"), mid_thickness_mm("R")])[:, 0], atol=1e-4)
    assert across[:N_VERTICES].mean() < -20 < 20 < across[N_VERTICES:].mean()


def test_a_vertex_has_a_value_only_from_voxels_with_a_score():
    """Where x > 2 mm nothing has a score: no vertex of the right hemisphere gets one, and none a mean with 0."""
    whole = mni_volume()
    kept = whole.centres_mm[:, 0] < 2
    mask = whole.mask.copy()
    mask[whole.mask] = kept
    for volume, values in (
        (whole, np.where(kept, 0.7, np.nan)[None]),
        (Volume(mask, RIGHT_FIRST), np.full((1, kept.sum()), 0.7)),
    ):
        sampler = sampler_of(volume)
        for sampled in (sampler.mean(values)[0], sampler.nearest(values)[0]):
            far = np.concatenate([mid_thickness_mm("L"), mid_thickness_mm("R")])[:, 0] > 4
            assert np.isnan(sampled[far]).all()
            assert np.isfinite(sampled[:N_VERTICES]).mean() > 0.98
            np.testing.assert_allclose(sampled[np.isfinite(sampled)], 0.7, atol=1e-12)


def test_numbers_of_layers_are_those_of_voxels_and_none_between(rng):
    volume = mni_volume()
    numbers = rng.choice([1.0, 8.0, np.nan], volume.n_voxels)[None]
    sampled = sampler_of(volume).nearest(numbers)[0]
    np.testing.assert_array_equal(sampled, numbers[0][explorer_mesh(volume).voxels])


def test_scores_of_every_second_voxel_reach_all_vertices():
    volume = mni_volume()
    x_mm = np.where((volume.indices % 2 == 0).all(axis=1), volume.centres_mm[:, 0], np.nan)[None]
    places = np.concatenate([mid_thickness_mm("L"), mid_thickness_mm("R")])[:, 0]
    np.testing.assert_allclose(sampler_of(volume, 2).mean(x_mm)[0], places, atol=1e-4)
    assert np.abs(sampler_of(volume, 2).nearest(x_mm)[0] - places).max() <= MNI_MM + 1e-4


@pytest.mark.parametrize(
    ("statistic", "role", "averaged"),
    [
        ("spearman", REFERENCE, True),
        ("mean", QUALITY, True),
        ("layer_gradient", REFERENCE, True),
        ("logp_max_tfce", TEST, False),
        ("thresholded", TEST, False),
        *((name, REFERENCE, False) for name in MAPS if name != "layer_gradient"),
    ],
)
def test_what_is_averaged(statistic, role, averaged):
    assert is_averaged(statistic, role) == averaged


# ----------------------------------------------------------------------------------------------- files


def test_maps_on_the_surface_are_read_by_nilearn_and_say_how_they_were_sampled(tmp_path, rng):
    volume = mni_volume()
    table = pd.DataFrame({"subject": "01", "model": "net", "layer": ["a.1", "b"], "statistic": "spearman"})
    counts = {"n_members": np.full(volume.n_voxels, 30), "reason": np.zeros(volume.n_voxels, np.int8)}
    values = rng.random((2, volume.n_voxels))
    values[1] = np.where(np.abs(values[1] - values[0]) < 0.01, values[0] / 2, values[1])  # no ties by rounding
    scores = ScoreMap(values, table, volume, **counts)
    made = {"settings": {"distance": "correlation"}, "versions": {}}
    write_maps(scores, tmp_path, "01", "MNI152Lin", ["best_layer"], made, tmp_path / "s.h5", on_cortex=True)
    folder = tmp_path / "sub-01"
    name = "sub-01_{}space-fsaverage5_model-net_layer-a1_stat-spearman_statmap{}"
    left = load_surf_data(str(folder / name.format("hemi-L_", ".shape.gii")))
    right = nib.load(folder / name.format("hemi-R_", ".shape.gii"))
    sampled = sampler_of(volume).mean(scores.values[:1])[0].astype(np.float32)
    np.testing.assert_array_equal(left, sampled[:N_VERTICES])
    np.testing.assert_array_equal(right.darrays[0].data, sampled[N_VERTICES:])
    assert right.meta["AnatomicalStructurePrimary"] == "CortexRight"
    said = json.loads((folder / name.format("", ".json")).read_text("utf-8"))
    assert said["Sampling"].startswith("mean of 10 points")
    assert said["Sources"] == [str(folder / "sub-01_space-MNI152Lin_model-net_layer-a1_stat-spearman_statmap.nii.gz")]
    best = folder / "sub-01_hemi-L_space-fsaverage5_model-net_stat-bestlayer_statmap.shape.gii"
    assert set(np.unique(load_surf_data(str(best)))) == {1, 2}
    n_volumes = len(list(folder.glob("*_statmap.nii.gz")))
    assert len(list(folder.glob("*_statmap.shape.gii"))) == 2 * n_volumes
    assert len(list(folder.glob("*_statmap.json"))) == 2 * n_volumes


def test_times_are_columns_with_their_names(tmp_path, rng):
    volume = mni_volume()
    table = pd.DataFrame({"model": "meeg", "layer": "", "time_s": [0.1, 0.2], "statistic": "mean"})
    scores = ScoreMap(rng.random((2, volume.n_voxels)), table, volume, n_members=np.full(volume.n_voxels, 3))
    made = {"settings": {"distance": "correlation"}, "versions": {}}
    write_maps(scores, tmp_path, "", "MNI152Lin", [], made, tmp_path / "s.h5", on_cortex=True)
    image = nib.load(tmp_path / "group" / "hemi-R_space-fsaverage5_model-meeg_stat-mean_statmap.shape.gii")
    assert [array.meta["Name"] for array in image.darrays] == ["0.1 s", "0.2 s"]
    sampled = sampler_of(volume).mean(scores.values).astype(np.float32)
    np.testing.assert_array_equal(np.stack(image.agg_data()), sampled[:, N_VERTICES:])


# ------------------------------------------------------------------------------------------- figures


def test_a_place_is_drawn_where_it_is_on_its_side_alone():
    """A ball at the left occipital pole: at the back of the left hemisphere in all views, and not on the right."""
    volume = mni_volume()
    ball = (np.linalg.norm(volume.centres_mm - [-16, -98, 0], axis=1) < 16).astype(float)
    table = pd.DataFrame({"model": ["net"], "layer": [""], "statistic": ["spearman"]})
    figure = surface_grid(ScoreMap(ball[None], table, volume))
    panels = figure.axes[:-1]
    assert len(panels) == 2 * len(PANELS)
    for (_, view), left, right in zip(PANELS, panels[::2], panels[1::2], strict=True):
        share, across, up = reds_of(left)
        assert 0.002 < share < 0.2
        at_the_back = {"lateral": across > 0.8, "medial": across < 0.2, "ventral": up > 0.8, "flat": across > 0.7}
        assert at_the_back[view], view
        assert reds_of(right)[0] == 0


def reds_of(axes):
    """Return which share of a panel's pixels is red, and where: their mean place across and up, from 0 to 1."""
    pixels = axes.images[0].get_array()
    red = (pixels[..., 0] - pixels[..., 1] > 0.2) & (pixels[..., 3] > 0.5)
    if not red.any():
        return 0, np.nan, np.nan
    up, across = np.nonzero(red)
    return red.mean(), across.mean() / red.shape[1], up.mean() / red.shape[0]


def test_what_is_not_significant_is_faded_and_the_rest_outlined():
    volume = mni_volume()
    table = pd.DataFrame({"model": ["net"], "layer": [""], "statistic": ["spearman"]})
    scores = ScoreMap(np.ones((1, volume.n_voxels)), table, volume)
    found = (volume.centres_mm[:, 0] < 0).astype(float)[None]
    figure = surface_grid(scores, significant=found)
    left, right = figure.axes[:2]
    red, faded = (axes.images[0].get_array()[80, 120] for axes in (left, right))
    assert red[0] - red[1] > 1.7 * (faded[0] - faded[1]) > 0.1
    outlines = [[one for one in axes.patches if one.get_label() == "significant"] for axes in (left, right)]
    assert list(map(len, outlines)) == [1, 0]


def test_of_the_layers_of_a_model_the_best_is_drawn():
    table = pd.DataFrame({"model": ["a", "a", "b", "a"], "layer": ["1", "2", "", "3"], "statistic": "spearman"})
    values = np.array([[0.1, 0.9], [0.5, 0.2], [np.nan, 0.0], [0.4, np.nan]])
    scores = ScoreMap(values, table, Volume(np.ones((1, 1, 2), bool), np.eye(4)))
    assert best_rows(scores) == [0, 2]
    assert best_rows(scores, np.array([[0, 0], [0, 0], [0, 0], [1, np.nan]])) == [3, 2]
