"""Figures are tested by what is on them (limits, places, labels), the page by its structure, never by pixels alone."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from scipy.spatial.transform import Rotation
from scipy.stats import spearmanr

from rsa.core import RDMs, ScoreMap, Volume, select
from rsa.errors import UserError
from rsa.maps import derive, peaks
from rsa.report.figures import (
    percentiles,
    profile,
    rdm_grid,
    rdm_similarity,
    reference_names,
    reference_titles,
    region_bars,
)
from rsa.report.glass import glass_grid
from rsa.report.html import Section, definitions, page, table_html
from rsa.report.methods import Summary, counts, methods_text, mixed_versions
from rsa.report.planes import box_mm, cut, cut_image, project, upright, views_of
from rsa.report.slices import gradient_slices, label_slices, slices
from rsa.report.study import (
    Study,
    group_figures,
    peak_profile,
    reasons_table,
    reference_figures,
    region_figures,
    region_means,
    study_page,
    subject_figures,
)
from rsa.report.style import caption_of, plain, save_figure, short_names, signed_limit

MINUS = "\N{MINUS SIGN}"
ODD = 'conv<1> & "b" $x$'


def flipped(shape=(6, 5, 4)) -> Volume:
    """A full mask, x stored right to left, anisotropic voxels."""
    affine = np.diag([-3.0, 4.0, 5.0, 1.0])
    affine[:3, 3] = [10, -20, 30]
    return Volume(np.ones(shape, dtype=bool), affine)


def oblique() -> Volume:
    shape = np.array([12, 14, 9])
    indices = np.indices(shape).reshape(3, -1).T
    inside = (((indices - (shape - 1) / 2) / (shape / 2)) ** 2).sum(axis=1) < 1
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [25, 10, -15], degrees=True).as_matrix() @ np.diag([-3.0, 3.0, 5.0])
    return Volume(inside.reshape(shape), affine)


def single_slice() -> Volume:
    affine = np.diag([-3.1, 3.75, 3.75, 1.0])
    mask = np.zeros((12, 8, 1), dtype=bool)
    mask[2:10, 1:7] = True
    return Volume(mask, affine)


def mni() -> Volume:
    from nilearn.datasets import load_mni152_brain_mask

    image = load_mni152_brain_mask(resolution=8)
    return Volume(np.asarray(image.dataobj) > 0, image.affine)


VOLUMES = {"flipped": flipped, "oblique": oblique, "single slice": single_slice, "MNI152": mni}


@pytest.fixture(params=VOLUMES)
def place(request):
    """A volume and the name of its space."""
    return VOLUMES[request.param](), request.param


def maps(volume: Volume, rng, layers=("conv1", "conv2", "fc"), subject="01", model="net") -> ScoreMap:
    values = rng.uniform(-0.2, 0.4, (len(layers), volume.n_voxels))
    table = pd.DataFrame({"subject": subject, "model": model, "layer": list(layers), "statistic": "spearman"})
    return ScoreMap(values, table, volume)


def undefined(volume: Volume) -> ScoreMap:
    table = pd.DataFrame({"subject": "01", "model": "net", "layer": ["a", "b"], "statistic": "spearman"})
    return ScoreMap(np.full((2, volume.n_voxels), np.nan), table, volume)


def rdms(rng, n_rdms=3, n=6) -> RDMs:
    table = pd.DataFrame({"model": "net", "layer": [f"layer{i}" for i in range(n_rdms)]})
    return RDMs(rng.random((n_rdms, n * (n - 1) // 2)), [f"img{i}" for i in range(n)], table)


def texts(figure: Figure) -> list[str]:
    """All that is written on a figure."""
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [text.get_text() for text in axes.texts]
        found += [axes.get_title(), axes.get_xlabel(), axes.get_ylabel()]
        found += [tick.get_text() for tick in [*axes.get_xticklabels(), *axes.get_yticklabels()]]
    return [text for text in found if text]


def signed_images(figure: Figure) -> list:
    return [image for axes in figure.axes for image in axes.images if image.get_cmap().name == "RdBu_r"]


# ------------------------------------------------------------------------------------------ planes


def test_upright_of_a_flipped_grid_is_the_grid_reversed():
    volume = flipped()
    grid = upright(volume)
    expected = np.arange(volume.n_voxels).reshape(volume.shape)[::-1]
    np.testing.assert_array_equal(grid.columns, expected)
    np.testing.assert_allclose(grid.box, [[10 - 15 - 1.5, 10 + 1.5], [-22, -2], [27.5, 47.5]])
    np.testing.assert_allclose(box_mm(volume), grid.box)


def test_upright_of_permuted_axes_puts_each_voxel_at_its_millimetres():
    affine = np.array([[0, 0, 2, 0], [-3, 0, 0, 0], [0, 4, 0, 0], [0, 0, 0, 1.0]])
    volume = Volume(np.ones((2, 3, 5), dtype=bool), affine)
    grid = upright(volume)
    assert grid.columns.shape == (5, 2, 3)
    steps = np.ptp(grid.box, axis=1) / grid.columns.shape
    np.testing.assert_allclose(steps, [2, 3, 4])
    for at in np.ndindex(grid.columns.shape):
        there = volume.voxel_to_mm(volume.indices[grid.columns[at]])
        np.testing.assert_allclose(there, grid.box[:, 0] + (np.array(at) + 0.5) * steps)


def test_upright_of_an_oblique_grid_has_the_nearest_voxel_and_its_true_volume():
    volume = oblique()
    grid = upright(volume)
    steps = np.ptp(grid.box, axis=1) / grid.columns.shape
    inside = np.argwhere(grid.columns >= 0)
    points = grid.box[:, 0] + (inside + 0.5) * steps
    centres = volume.voxel_to_mm(volume.indices)
    distances = np.linalg.norm(points[:, None] - centres[None], axis=2)
    chosen = np.take_along_axis(distances, grid.columns[tuple(inside.T)][:, None], axis=1)[:, 0]
    assert (chosen <= np.linalg.norm([1.5, 1.5, 2.5]) + 1e-6).all()
    true_mm3 = volume.n_voxels * 3 * 3 * 5
    assert len(inside) * steps.prod() == pytest.approx(true_mm3, rel=0.05)


@pytest.mark.parametrize(("view", "shape"), [("x", (4, 5)), ("y", (4, 6)), ("z", (5, 6))])
def test_projection_keeps_the_sign_of_the_value_furthest_from_zero(view, shape):
    volume = flipped()
    values = np.full(volume.n_voxels, 0.1)
    values[0], values[1] = -0.9, np.nan
    seen = project(upright(volume), values, view)
    assert seen.shape == shape
    assert seen.min() == -0.9
    assert np.count_nonzero(seen == -0.9) == 1
    assert np.nanmax(seen) == 0.1


def test_projection_of_nothing_is_nothing():
    volume = flipped()
    assert np.isnan(project(upright(volume), np.full(volume.n_voxels, np.nan), "z")).all()


def test_slice_shows_the_voxel_at_its_millimetres(place):
    volume, _ = place
    box = box_mm(volume)
    voxel = volume.n_voxels // 3
    values = np.zeros(volume.n_voxels)
    values[voxel] = 1
    at_mm = volume.voxel_to_mm(volume.indices[voxel])
    for view, (across, up) in {"x": (1, 2), "y": (0, 2), "z": (0, 1)}.items():
        pixels = cut(volume, values, view, at_mm["xyz".index(view)], box)
        part = [(at_mm[axis] - box[axis, 0]) / np.ptp(box[axis]) for axis in (up, across)]
        row, column = (int(p * n) for p, n in zip(part, pixels.shape, strict=True))
        assert pixels[row, column] == 1


def test_slice_of_an_image_agrees_with_its_function():
    affine = oblique().affine
    indices = np.indices((20, 20, 20)).reshape(3, -1).T - 10
    affine[:3, 3] = -affine[:3, :3] @ [10, 10, 10]
    in_mm = (indices + 10) @ affine[:3, :3].T + affine[:3, 3]
    image = nib.Nifti1Image((in_mm @ [1, 2, 3]).reshape(20, 20, 20).astype(np.float32), affine)
    box = np.array([[-9.0, 9], [-9, 9], [-9, 9]])
    pixels = cut_image(image, "y", 2.0, box)
    x, z = np.meshgrid(*[np.linspace(-9, 9, n, endpoint=False) + 9 / n for n in pixels.shape[::-1]])
    np.testing.assert_allclose(pixels, x + 2 * 2.0 + 3 * z, atol=1e-3)


def test_single_slice_is_seen_from_above_only():
    assert views_of(single_slice()) == "z"
    assert views_of(flipped()) == "xyz"
    assert views_of(Volume(np.ones((1, 1, 3), dtype=bool), np.eye(4))) == "xyz"


# ------------------------------------------------------------------------------------------ brains


def test_glass_grid_has_one_symmetric_scale_for_all_subjects_and_layers(place, rng):
    volume, space = place
    low, high = maps(volume, rng), maps(volume, rng, subject="02")
    high.values[1, 0] = -0.555
    figure = glass_grid([("sub-01", low), ("sub-02", high)], space=space)
    images = signed_images(figure)
    n_views = 1 if space == "single slice" else 2
    assert len(images) == 2 * 3 * n_views
    assert {image.get_clim() for image in images} == {(-0.56, 0.56)}
    assert f"spearman, one scale for all maps ({MINUS}0.56 to 0.56)" in texts(figure)
    assert Counter(texts(figure))["conv1"] == 1
    assert {"sub-01", "sub-02", "conv2", "fc"} <= set(texts(figure))


def test_glass_grid_is_in_proportion(place, rng):
    volume, space = place
    figure = glass_grid([("", maps(volume, rng))], space=space)
    figure.canvas.draw()
    pictures = figure.axes[:-1]  # the last is the colour bar
    scales = []
    for axes in pictures:
        size = axes.get_window_extent()
        scales += [size.width / np.ptp(axes.get_xlim()), size.height / np.ptp(axes.get_ylim())]
    assert len(scales) == 6 * (1 if space == "single slice" else 3)
    np.testing.assert_allclose(scales, scales[0], rtol=1e-3)


def test_glass_grid_of_one_subject_shows_three_views(rng):
    assert len(signed_images(glass_grid([("", maps(flipped(), rng))]))) == 9
    assert len(signed_images(glass_grid([("", maps(flipped(), rng, ["only"]))]))) == 3


def test_many_layers_are_broken_into_rows(rng):
    layers = [f"layer{i}" for i in range(23)]
    figure = glass_grid([(name, maps(flipped(), rng, layers)) for name in "ab"])
    assert len(signed_images(figure)) == 2 * 23 * 2
    assert set(layers) <= set(texts(figure))
    assert figure.get_figwidth() <= 10.001


def test_scale_can_be_shared_between_figures(rng):
    figure = glass_grid([("", maps(flipped(), rng))], limit=0.8)
    assert {image.get_clim() for image in signed_images(figure)} == {(-0.8, 0.8)}


def test_undefined_maps_are_drawn_and_said(place):
    volume, space = place
    empty = undefined(volume)
    for figure in (
        glass_grid([("a", empty), ("b", empty)], space=space),
        slices(empty, space=space),
        label_slices(derive(empty, "best_layer"), ["a", "b"], space=space),
        gradient_slices(derive(empty, "layer_gradient"), space=space),
    ):
        assert "no score is defined" in texts(figure)
        figure.canvas.draw()


def test_nan_is_transparent(rng):
    scores = maps(flipped(), rng)
    scores.values[0] = np.nan
    image = signed_images(glass_grid([("", scores)]))[0]
    assert image.get_array().mask.all()
    assert image.get_cmap().get_bad()[3] == 0


def test_slices_are_at_the_peak_with_its_place_in_mm(place, rng):
    volume, space = place
    scores = maps(volume, rng)
    voxel = volume.n_voxels // 2
    scores.values[1, voxel] = 0.5
    x, y, z = (round(value) for value in volume.voxel_to_mm(volume.indices[voxel]))
    figure = slices(scores, space=space)
    assert f"0.50 at ({x}, {y}, {z}) mm".replace("-", MINUS) in texts(figure)
    axes = figure.axes[len(views_of(volume)) if space == "single slice" else 3]
    at_mm = volume.voxel_to_mm(volume.indices[voxel])
    lines = [line.get_xydata() for line in axes.lines]
    across, up = (0, 1) if space == "single slice" else (1, 2)
    assert lines[0][0, 0] == pytest.approx(at_mm[across])
    assert lines[1][0, 1] == pytest.approx(at_mm[up])


def test_peak_of_the_slices_is_the_first_peak_of_the_table(rng):
    scores = maps(oblique(), rng)
    first = peaks(scores).query("peak == 1")
    written = texts(slices(scores))
    for row in first.itertuples():
        place = ", ".join(str(round(value)) for value in (row.x_mm, row.y_mm, row.z_mm))
        assert f"{row.score:.2f} at ({place}) mm".replace("-", MINUS) in written


def test_slices_fade_towards_zero(rng):
    volume = single_slice()
    scores = maps(volume, rng, ["a"])
    scores.values[0] = 0.1
    scores.values[0, :3] = [0.8, 0.4, np.nan]
    overlay = slices(scores).axes[0].images[1].get_array()
    assert set(np.round(np.unique(overlay[..., 3]), 3)) == {0.0, 0.25, 1.0}


def test_background_image_is_drawn(rng):
    volume = single_slice()
    bright = nib.Nifti1Image(np.where(volume.mask, 100.0, 0.0).astype(np.float32), volume.affine)
    plain_mask = slices(maps(volume, rng)).axes[0].images[0].get_array()
    on_image = slices(maps(volume, rng), background=bright).axes[0].images[0].get_array()
    assert np.nanmax(plain_mask) == 0.88
    assert np.nanmax(on_image) == 1.0


def test_label_slices_colour_each_layer_and_name_it(rng):
    volume = single_slice()
    preference = ScoreMap(
        np.arange(volume.n_voxels) % 3 + 1.0, pd.DataFrame({"model": ["net"], "statistic": "best_layer"}), volume
    )
    preference.values[0, 0] = np.nan
    figure = label_slices(preference, ["conv1", ODD, "fc"])
    pixels = figure.axes[0].images[1].get_array()
    assert len(np.unique(pixels[pixels[..., 3] > 0], axis=0)) == 3
    assert {"conv1", plain(ODD), "fc", "layer with the highest score"} <= set(texts(figure))
    weak = label_slices(preference, ["a", "b", "c"], strength=np.full(volume.n_voxels, 0.0))
    assert weak.axes[0].images[1].get_array()[..., 3].max() == 0


def test_errors_of_the_brain_figures_say_what_to_do(rng):
    volume = flipped()
    scores, other = maps(volume, rng), maps(volume, rng, ["a", "b", "c"])
    regions = ScoreMap(np.zeros((1, 2)), pd.DataFrame({"layer": ["a"]}), regions=pd.DataFrame({"region": ["V1", "V2"]}))
    with pytest.raises(UserError, match="needs one map or more; there is none"):
        glass_grid([])
    with pytest.raises(UserError, match="maps of two are not of the same references as those of one; run all again"):
        glass_grid([("one", scores), ("two", other)])
    with pytest.raises(UserError, match="cannot be drawn on a brain; draw them with `region_bars`"):
        glass_grid([("", regions)])
    with pytest.raises(UserError, match="show one map, not 3; select one model and one statistic"):
        gradient_slices(scores)
    with pytest.raises(UserError, match="numbers from 1 to 2, one per label; this one goes from 1 to 3"):
        label_slices(derive(select(scores, model="net"), "best_layer"), ["a", "b"])


# -------------------------------------------------------------------------------------- RDM figures


def test_percentiles_agree_with_ranks_and_average_ties():
    np.testing.assert_allclose(percentiles(np.array([[5.0, 1, 1, 9]])), [[62.5, 25, 25, 87.5]])
    assert np.isnan(percentiles(np.full((1, 3), np.nan))).all()


def test_rdm_grid_sorts_conditions_by_category(rng):
    stack = rdms(rng, n_rdms=2)
    categories = pd.Series(["b", "a", "b", "a", "a", "b"], index=stack.conditions)
    figure = rdm_grid(stack, ["one", ODD], categories)
    order = [0, 2, 5, 1, 3, 4]  # b comes first
    shown = np.asarray(figure.axes[0].images[0].get_array().filled(np.nan))
    square = stack.squares[0][np.ix_(order, order)]
    upper = np.triu_indices(6, k=1)
    assert spearmanr(shown[upper], square[upper]).statistic == pytest.approx(1)
    assert np.isnan(np.diag(shown)).all()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b", "a"]
    assert [line.get_ydata()[0] for line in figure.axes[0].lines][::2] == [2.5]
    assert figure.axes[0].images[0].get_clim() == (0, 100)
    assert "dissimilarity (percentile in each RDM, 0 to 100)" in texts(figure)


def test_rdm_grid_needs_titles_and_categories_of_all(rng):
    stack = rdms(rng)
    with pytest.raises(UserError, match="3 RDMs needs one RDM or more and as many titles, not 1"):
        rdm_grid(stack, ["one"])
    with pytest.raises(UserError, match=r"no category: 'img5'\. Name one for each, or give none"):
        rdm_grid(stack, list("abc"), pd.Series("a", index=stack.conditions[:5]))


def test_rdm_similarity_writes_the_correlations(rng):
    stack = rdms(rng, n_rdms=3)
    figure = rdm_similarity(stack, ["a", "b", "c"])
    expected = spearmanr(stack.values, axis=1).statistic
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), expected, atol=1e-12)
    assert figure.axes[0].images[0].get_clim() == (-1, 1)
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == [f"{value:.2f}".replace("-", MINUS) for value in expected.ravel()]
    with pytest.raises(UserError, match="Unknown comparison 'spearmen'"):
        rdm_similarity(stack, ["a", "b", "c"], "spearmen")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"model": ["net", "net"], "layer": ["a", "b"]}, ["a", "b"]),
        ({"model": ["net", "animacy"], "layer": ["a", ""]}, ["net a", "animacy"]),
        ({"model": ["animacy"], "layer": [np.nan]}, ["animacy"]),
        ({"model": ["meg", "meg"], "time_s": [-0.1, 0.25]}, [f"meg {MINUS}100 ms", "meg 250 ms"]),
        ({"category": ["x"]}, ["reference 1"]),
    ],
)
def test_references_are_named_by_what_tells_them_apart(table, expected):
    assert reference_names(pd.DataFrame(table)) == expected


BLOCKS = [f"encoder.layers.encoder_layer_{i}" for i in (0, 11)]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"model": ["net", "net"], "layer": ["a", "b"]}, ["a", "b"]),
        ({"model": ["net", "animacy", "size"], "layer": ["a", "", np.nan]}, ["a", "animacy", "size"]),
        ({"model": ["net", "vgg", "animacy"], "layer": ["a", "a", ""]}, ["net\na", "vgg\na", "animacy"]),
        ({"model": ["vit", "vit", "net"], "layer": [*BLOCKS, "fc"]}, ["vit\n…0", "vit\n…11", "net\nfc"]),
        ({"model": ["vit", "vit", "animacy"], "layer": [*BLOCKS, ""]}, ["…0", "…11", "animacy"]),
        ({"model": ["net", "net", "x"], "layer": ["$a$", "b", ""]}, ["$a$", "b", "x"]),
        ({"model": ["net", "vgg"], "layer": ["$a$", "b"]}, [r"net" "\n" r"\$a\$", "vgg\nb"]),
        ({"model": ["meg", "animacy"], "time_s": [0.25, np.nan]}, ["250 ms", "animacy"]),
        ({"category": ["x"]}, ["reference 1"]),
    ],
)
def test_titles_of_columns_name_the_model_only_where_several_have_layers(table, expected):
    assert reference_titles(pd.DataFrame(table), 12) == expected


ALEXNET = [*(f"features.{i}" for i in (1, 4, 7, 9, 11)), *(f"classifier.{i}" for i in (2, 5, 6))]
RESNET = ["maxpool", *(f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)), "fc"]


def grid_over_subjects(references: list[tuple[str, str]], rng) -> Figure:
    """Draw two subjects with these (model, layer), and check that no title reaches into the next one."""
    models, layers = zip(*references, strict=True)
    scores = maps(oblique(), rng, layers, model=list(models))
    figure = glass_grid([("sub-01", scores), ("sub-02", scores)])
    figure.canvas.draw()
    boxes = [(text.get_window_extent(), text.get_text()) for text in figure.texts if text.get_text()]
    for i, (box, text) in enumerate(boxes):
        assert not [other for place, other in boxes[i + 1 :] if box.overlaps(place)], text
    return figure


def test_columns_of_one_model_are_titled_by_the_layer_alone(rng):
    figure = grid_over_subjects([*(("alexnet", layer) for layer in ALEXNET), ("animacy", "")], rng)
    assert [text for text in texts(figure) if "…" in text or "alexnet" in text] == []
    assert {*ALEXNET, "animacy"} <= set(texts(figure))


def test_columns_of_two_models_are_titled_in_two_lines(rng):
    figure = grid_over_subjects([(model, layer) for model in ("resnet18", "resnet50") for layer in RESNET], rng)
    count = Counter(texts(figure))
    assert [count["resnet18"], count["resnet50"]] == [10, 10]
    assert [count[layer] for layer in RESNET] == [2] * 10
    long = [("vitb16", f"encoder.layers.encoder_layer_{i}") for i in range(12)]
    figure = grid_over_subjects([*long, *(("alexnet", layer) for layer in ALEXNET)], rng)
    assert {*ALEXNET, *(f"…{i}" for i in range(12))} <= set(texts(figure))


# -------------------------------------------------------------------------------- regions, profiles


def fits(scores, subjects=("01", "02", "03"), layers=("conv1", "fc")) -> pd.DataFrame:
    rows = [(s, "V1", "net", layer) for s in subjects for layer in layers]
    table = pd.DataFrame(rows, columns=["subject", "region", "model", "layer"])
    return table.assign(statistic="spearman", score=scores, ceiling_lower=0.5, ceiling_upper=0.6)


def test_region_bars_show_mean_error_subjects_and_ceiling():
    table = fits([0.1, 0.4, 0.2, 0.5, 0.3, 0.9])
    ceiling = pd.DataFrame({"region": ["V1"], "lower": [0.5], "upper": [0.6]})
    axes = region_bars(table, ceiling).axes[0]
    bars = [patch for patch in axes.patches if patch.get_width() == pytest.approx(0.72)]
    np.testing.assert_allclose([bar.get_height() for bar in bars], [0.2, 0.6])
    (whiskers,) = axes.containers[1][2]
    first = whiskers.get_segments()[0]
    np.testing.assert_allclose(np.ptp(first[:, 1]) / 2, np.std([0.1, 0.2, 0.3], ddof=1) / np.sqrt(3))
    dots = [sorted(line.get_ydata()) for line in axes.lines if line.get_marker() == "."]
    np.testing.assert_allclose(dots, [[0.1, 0.2, 0.3], [0.4, 0.5, 0.9]])
    bands = [patch.get_extents() for patch in axes.patches if patch not in bars]
    inverse = axes.transData.inverted()
    assert [tuple(np.round(inverse.transform(band)[:, 1], 6)) for band in bands] == [(0.5, 0.6)]
    assert axes.get_title() == "V1 (3 subjects)"
    assert axes.get_ylim()[0] <= 0 < 0.9 <= axes.get_ylim()[1]


def test_panels_share_one_scale_and_keep_the_order_of_layers():
    table = pd.concat([fits(0.2), fits(-0.7).assign(region=ODD)])
    figure = region_bars(table)
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_ylim()[0] < -0.7
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["conv1", "fc"]
    assert figure.axes[1].get_title() == f"{plain(ODD)} (3 subjects)"


def test_models_have_colours_and_a_legend():
    table = pd.concat([fits(0.2), fits(0.3, layers=("",)).assign(model="animacy")])
    figure = region_bars(table)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["net", "animacy"]
    assert len({patch.get_facecolor() for patch in figure.axes[0].patches}) == 2
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["conv1", "fc", "animacy"]


def test_profile_draws_a_line_per_subject_and_their_mean():
    axes = profile(fits([0.1, 0.4, 0.2, 0.5, 0.3, 0.9]).drop(columns="region")).axes[0]
    lines = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 2 and line.get_linewidth() > 0.7]
    np.testing.assert_allclose(lines, [[0.1, 0.4], [0.2, 0.5], [0.3, 0.9], [0.2, 0.6]])
    assert axes.get_ylabel() == "spearman"


def test_regions_without_scores_and_single_subjects_are_drawn():
    assert "no score is defined" in texts(region_bars(fits(np.nan)))
    axes = region_bars(fits([0.1, 0.2], subjects=("01",))).axes[0]
    assert axes.get_title() == "V1 (1 subject)"


def test_region_means_average_over_subjects():
    means = region_means(fits([0.1, 0.4, 0.2, 0.5, 0.3, np.nan]))
    assert list(means["n_subjects"]) == [3, 2]
    np.testing.assert_allclose(means["mean"], [0.2, 0.45])
    np.testing.assert_allclose(means["standard_error"], [0.1 / np.sqrt(3), np.std([0.4, 0.5], ddof=1) / np.sqrt(2)])


# ------------------------------------------------------------------------------------ style, saving


@pytest.mark.parametrize(
    ("values", "limit"),
    [([0.1, -0.4213], 0.43), ([np.float32(0.8)], 0.8), ([np.nan], 1), ([0.0], 1), ([-123.0], 130), ([0.0123], 0.013)],
)
def test_signed_limit_covers_all_values_in_two_digits(values, limit):
    assert signed_limit(np.array(values)) == limit


def test_long_names_stay_different():
    names = [f"module.blocks.{i}.attention.output.projection" for i in range(12)]
    assert short_names(names, 12) == [f"…{i}…" for i in range(12)]
    assert short_names([*names, ""], 12)[-1] == ""


def test_dollar_signs_are_no_mathematics(rng):
    scores = maps(flipped(), rng, [r"$\frac{", "a$b"])
    figure = glass_grid([("$_", scores), ("b", scores)])
    figure.canvas.draw()
    assert r"a\$b" in texts(figure)


def test_saved_figure_holds_its_caption(tmp_path, rng):
    caption = f"Scores {MINUS}1 <b> & “quoted”"
    path = save_figure(tmp_path / "new" / "a.png", rdm_grid(rdms(rng), list("abc")), caption)
    assert caption_of(path) == caption
    with Image.open(path) as image:
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
        assert image.mode == "RGB"
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]
    Image.new("RGB", (2, 2)).save(tmp_path / "bare.png")
    assert caption_of(tmp_path / "bare.png") == ""


# -------------------------------------------------------------------------------------------- page


class Balance(HTMLParser):
    """Checks that every tag is closed, and collects attributes and text."""

    VOID = frozenset({"meta", "img", "br", "hr", "link", "input"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[tuple[str, str]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))


def parsed(html: str) -> Balance:
    parser = Balance()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


def assert_self_contained(parser: Balance) -> None:
    assert not {tag for tag, _ in parser.tags} & {"script", "link", "iframe", "object"}
    for _, attributes in parser.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            assert re.match(r"data:image/png;base64,|#", attributes.get(name, "#"))


def picture(folder: Path, name: str = "a.png") -> Path:
    Image.new("RGB", (300, 200), "white").save(folder / name, dpi=(150, 150))
    return folder / name


def test_page_is_balanced_self_contained_and_escaped(tmp_path):
    table = pd.DataFrame({"<layer>": ["a&b", None], "score": [0.12345, np.nan], "n": [1234567, -2]})
    html = page(
        "Study <script>alert(1)</script>",
        [Section("One & two", "<p>said</p>", [('A "caption" <1>. More.', picture(tmp_path))], table), Section("Last")],
        lead="a < b",
        warnings=["careful <b>"],
    )
    found = parsed(html)
    assert_self_contained(found)
    assert ("title", "Study <script>alert(1)</script>") in found.texts
    assert [text for tag, text in found.texts if tag == "figcaption"] == ['A "caption" <1>. More.']
    assert [text for tag, text in found.texts if tag == "h2"] == ["One & two", "Last"]
    assert ("li", "careful <b>") in found.texts
    (image,) = [attributes for tag, attributes in found.tags if tag == "img"]
    assert image["alt"] == 'A "caption" <1>'
    assert image["width"] == "192"  # 300 pixels of 1/150 inch, at 96 per inch
    cells = [text for tag, text in found.texts if tag == "td"]
    thin = "\N{NARROW NO-BREAK SPACE}"
    assert cells == ["a&b", "0.123", f"1{thin}234{thin}567", "\N{EN DASH}", "\N{EN DASH}", f"{MINUS}2"]
    ids = {attributes["id"] for _, attributes in found.tags if "id" in attributes}
    assert {attributes["href"][1:] for tag, attributes in found.tags if tag == "a"} == ids


def test_numbers_are_aligned_and_text_is_not():
    found = parsed(table_html(pd.DataFrame({"layer": ["a"], "score": [0.5], "x_mm": [-12.0]})))
    assert [attributes.get("class") for tag, attributes in found.tags if tag == "td"] == [None, "number", "number"]
    assert [text for tag, text in found.texts if tag == "td"] == ["a", "0.5", f"{MINUS}12"]


def test_definitions_write_lists_and_nothing():
    found = parsed(definitions({"radius_mm": 10.0, "layers": ["a", "b"], "mask": None, "on": True}))
    assert [text for tag, text in found.texts if tag == "td"] == ["10", "a, b", "\N{EN DASH}", "True"]


def test_missing_picture_is_said(tmp_path):
    with pytest.raises(UserError, match=r"Cannot read the picture .*gone.png: No such file .* Run the figures again"):
        page("a", [Section("b", figures=[("c", tmp_path / "gone.png")])])


# ------------------------------------------------------------------------------------------- study


@pytest.mark.parametrize("space", ["MNI152", "flipped", "single slice"])
def test_report_of_a_study_is_complete(tmp_path, rng, space):
    volume = VOLUMES[space]()
    subjects = [(f"sub-{i}", maps(volume, rng, ["conv1", ODD], subject=str(i))) for i in (1, 2)]
    stack = rdms(rng, n_rdms=2)
    references = reference_figures(stack, tmp_path)
    both = [derive(subjects[0][1], name) for name in ("best_layer", "layer_gradient")]
    derived = ScoreMap(np.vstack([one.values for one in both]), pd.concat([one.table for one in both]), volume)
    own = {
        name: subject_figures(scores, derived, space=space, folder=tmp_path / name, title=name)
        for name, scores in subjects
    }
    table = subjects[0][1].table.assign(statistic="mean")
    mean = ScoreMap((subjects[0][1].values + subjects[1][1].values) / 2, table, volume)
    group = group_figures(subjects, mean, derived, space=space, folder=tmp_path / "group")
    regions = region_figures(fits(0.3), tmp_path)
    assert [path.name for path in own["sub-1"]] == [
        "glass.png",
        "slices.png",
        "best_layer-1.png",
        "layer_gradient-1.png",
    ]
    assert [path.name for path in group][:2] == ["subjects.png", "profile.png"]
    study = Study(
        Summary("A <study>", 2, 6, {"net": ["conv1", ODD]}, radius_mm=8),
        references,
        group,
        regions,
        own,
        pd.concat([peaks(scores) for _, scores in subjects]),
        fits(0.3),
        made=[{"versions": {"brain-model-rsa": "1.0", "commit": "abc"}, "inputs": {"mask.nii.gz": "0f" * 32}}],
        warnings=["sub-1 has <one> run"],
    )
    found = parsed(study_page(study))
    assert_self_contained(found)
    captions = [text for tag, text in found.texts if tag == "figcaption"]
    files = [*references, *group, *regions, *own["sub-1"], *own["sub-2"]]
    assert captions == [caption_of(path) for path in [*references, *group, *regions, *own["sub-1"], *own["sub-2"]]]
    assert len(set(captions)) == len(files) == len(captions)
    assert all(captions)
    assert ("td", "0f" * 32) in found.texts
    headings = [text for tag, text in found.texts if tag == "h2"]
    assert {"Reference RDMs", "Group", "Regions", "sub-1", "sub-2", "Peaks", "How this was made"} <= set(headings)


def test_page_of_a_summary_alone_has_no_empty_sections():
    found = parsed(study_page(Study(Summary("small", 1, 3))))
    headings = [text for tag, text in found.texts if tag == "h2"]
    assert headings == ["The study in numbers", "Methods, to adapt for a paper"]


def test_group_of_another_statistic_has_its_own_scale(tmp_path, rng):
    volume = flipped()
    subjects = [(name, maps(volume, rng)) for name in ("a", "b")]
    t = ScoreMap(20 * subjects[0][1].values, subjects[0][1].table.assign(statistic="t"), volume)
    paths = group_figures(subjects, t, None, space="", folder=tmp_path)
    assert [path.name for path in paths] == ["subjects.png", "profile.png", "glass.png", "slices.png"]
    assert "group: t" in caption_of(paths[2])
    alone = group_figures(subjects[:1], None, None, space="", folder=tmp_path / "one")
    assert [path.name for path in alone] == ["profile.png"]


def test_peak_profile_is_read_at_the_best_voxel_of_each_model(rng):
    volume = flipped()
    scores = maps(volume, rng)
    scores.values[2, 7] = 0.9
    np.testing.assert_allclose(peak_profile(scores)["score"], scores.values[:, 7])
    assert peak_profile(undefined(volume))["score"].isna().all()


def test_reasons_are_counted_per_subject():
    volume = flipped((2, 2, 1))
    table = pd.DataFrame({"layer": ["a"]})
    first = ScoreMap(np.zeros((1, 4)), table, volume, reason=np.array([0, 0, 3, 3]))
    second = ScoreMap(np.zeros((1, 4)), table, volume, reason=np.array([0, 0, 0, 0]))
    counted = reasons_table([("s1", first), ("s2", second), ("s3", ScoreMap(np.zeros((1, 4)), table, volume))])
    assert counted.to_dict("list") == {
        "subject": ["s1", "s2"],
        "defined": [2, 4],
        "fewer voxels in the sphere than min_voxels": [2, 0],
    }


# ----------------------------------------------------------------------------------------- methods


def test_methods_text_has_all_numbers_and_citations():
    summary = Summary(
        "demo",
        4,
        92,
        {"alexnet": ["a"] * 8, "animacy": []},
        n_runs=12,
        n_centres=(29000, 29398),
        radius_mm=10,
        distance="correlation",
        comparison="spearman",
        min_voxels=10,
        space="MNI152",
        regions=["V1", "V4"],
        version="0.1.0",
        commit="0123456789abcdef",
    )
    text = methods_text(summary)
    for part in (
        "4 subjects to 92 conditions",
        "8 layers of alexnet and the model animacy",
        "1 minus Pearson's correlation",
        "4,186 pairs",
        "12 runs",
        "29,000 to 29,398 voxels",
        "within 10 mm",
        "fewer than 10 voxels",
        "Spearman's rank correlation",
        "2 regions",
        "brain-model-rsa 0.1.0, commit 0123456789ab.",
        "Front Syst Neurosci 2:4",
        "103:3863",
        "Nili",
    ):
        assert part in text
    assert counts(summary)["conditions"] == "92 (4,186 pairs)"


def test_methods_text_leaves_out_what_was_not_done():
    text = methods_text(Summary("demo", 1, 3, {"animacy": []}, comparison="kendall_tau_a"))
    assert "1 subject to 3 conditions" in text
    assert "Kendall's tau-a" in text
    for part in ("searchlight", "Nili", "None", "layer", "runs", "commit"):
        assert part not in text


def test_mixed_versions_are_told():
    def made(version: str, commit: str = "", numpy: str = "2.0") -> dict:
        return {"versions": {"brain-model-rsa": version, "commit": commit, "numpy": numpy}}

    assert mixed_versions([made("1.0", "abc"), made("1.0", "abc"), {}]) == []
    (warning,) = mixed_versions([made("1.0", "a" * 40), made("1.0", "b" * 40)])
    assert f"different versions of brain-model-rsa: 1.0 (commit {'a' * 12}) and 1.0 (commit {'b' * 12})" in warning
    assert "Run all of them again" in warning
    (warning,) = mixed_versions([made("1.0"), made("1.0", numpy="2.1")])
    assert warning == "The results were made with different versions of numpy: 2.0 and 2.1."
    html = study_page(Study(Summary("a", 1, 3), made=[made("1.0"), made("1.1")]))
    assert "different versions of brain-model-rsa: 1.0 and 1.1" in html
    assert ("td", "1.0, 1.1") in parsed(html).texts
