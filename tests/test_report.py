"""Figures are tested by what is on them (limits, places, labels), the page by its structure, never by pixels alone."""

import base64
import re
from collections import Counter
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torchvision
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image
from scipy.spatial.transform import Rotation
from scipy.stats import spearmanr

from rsa.core import NOT_A_CENTRE, QUALITY, REFERENCE, Patterns, RDMs, ScoreMap, Volume, select
from rsa.errors import UserError
from rsa.files import io
from rsa.files.maps import PEAK_COLUMNS
from rsa.inference.group import CEILINGS, share_of_ceiling
from rsa.maps import DATA_QUALITY, MAPS, derive, derive_all, peaks, stack
from rsa.models.torchvision import PAPERS_OF
from rsa.papers import PAPERS
from rsa.pipeline.config import Study, load_study
from rsa.report.assemble import (
    StudyPages,
    captioned,
    first_peaks,
    networks_table,
    provenance_html,
    shown_fits,
    told_of_networks,
)
from rsa.report.figures import (
    percentiles,
    profile,
    rdm_grid,
    rdm_similarity,
    reference_names,
    reference_titles,
    region_bars,
)
from rsa.report.film import rdm_movie_strip
from rsa.report.glass import glass_grid
from rsa.report.html import PageSection, definitions, page, table_html
from rsa.report.methods import Measured, counts, methods_text, mixed_versions, usual_versions
from rsa.report.planes import box_mm, cut, cut_image, project, upright, views_of
from rsa.report.slices import label_slices, signed_slices, slices
from rsa.report.study import (
    group_figures,
    peak_profile,
    reasons_table,
    reference_figures,
    region_figures,
    region_means,
    subject_figures,
)
from rsa.report.style import caption_of, model_colours, plain, save_figure, short_names, signed_limit, written_times
from rsa.report.times import at_peak_times, courses, of_data, of_models, time_courses

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


@pytest.mark.slow
def test_many_layers_are_broken_into_rows(rng):
    layers = [f"layer{i}" for i in range(23)]
    figure = glass_grid([(name, maps(flipped(), rng, layers)) for name in "ab"])
    assert len(signed_images(figure)) == 2 * 23 * 2
    assert set(layers) <= set(texts(figure))
    assert figure.get_figwidth() <= 180 / 25.4


def test_scale_can_be_shared_between_figures(rng):
    figure = glass_grid([("", maps(flipped(), rng))], limit=0.8)
    assert {image.get_clim() for image in signed_images(figure)} == {(-0.8, 0.8)}


@pytest.mark.slow
def test_undefined_maps_are_drawn_and_said(place):
    volume, space = place
    empty = undefined(volume)
    for figure in (
        glass_grid([("a", empty), ("b", empty)], space=space),
        slices(empty, space=space),
        label_slices(derive(empty, "best_layer"), ["a", "b"], space=space),
        signed_slices(derive(empty, "layer_gradient"), "slope", space=space),
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
        signed_slices(scores, "slope")
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


def test_conditions_of_all_rdms_are_in_the_order_of_the_stimulus_table(rng):
    stack = rdms(rng, n_rdms=2)
    shuffled = stack.reordered([f"img{i}" for i in (3, 0, 5, 1, 4, 2)])
    movie = RDMs(shuffled.values, shuffled.conditions, pd.DataFrame({"time_s": [0.0, 0.1]}))
    order = [f"img{i}" for i in (2, 0, 1, 5, 4, 3)]
    for categories in (["b", "a", "b", "a", "b", "a"], order, [""] * 6):
        table = pd.Series(categories, order)
        expected = [order[i] for i in (0, 2, 4, 1, 3, 5)] if categories[0] == "b" else order
        figures = [rdm_grid(one, ["x", "y"], table) for one in (stack, shuffled)] + [
            rdm_movie_strip(movie, None, table)
        ]
        squares = [figure.axes[0].images[0].get_array().filled(np.nan) for figure in figures]
        np.testing.assert_allclose(squares[0], squares[1])
        for square in squares:
            upper = np.triu_indices(6, k=1)
            assert spearmanr(square[upper], stack.reordered(expected).squares[0][upper]).statistic == pytest.approx(1)
        n_lines = {len(figure.axes[0].lines) for figure in figures}
        assert n_lines == ({2} if categories[0] == "b" else {0}), "no lines where each condition is its own category"


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
        ({"model": ["meeg", "meeg"], "time_s": [-0.1, 2.5]}, [f"meeg {MINUS}100 ms", "meeg 2500 ms"]),
        ({"model": ["net", "net"], "layer": ["a", "a"], "time_s": [0, 4.5]}, ["a 0 s", "a 4.5 s"]),
        ({"model": ["reliability", "ceilinglower"]}, ["split-half reliability", "noise ceiling, lower bound"]),
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
        ({"model": ["meeg", "animacy"], "time_s": [0.25, np.nan]}, ["250 ms", "animacy"]),
        ({"model": ["net", "animacy"], "layer": ["a", ""], "time_s": [4.5, 6]}, ["a\n4.5 s", "animacy\n6 s"]),
        (
            {"model": ["vit", "vit", "net", "x"], "layer": [*BLOCKS, "fc", ""], "time_s": [4.5, 6, 3, 3]},
            ["vit\n…0 4.5 s", "vit\n…11 6 s", "net\nfc 3 s", "x\n3 s"],
        ),
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


@pytest.mark.slow
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
    ceiling = pd.DataFrame({"region": ["V1"], "ceiling_lower": [0.5], "ceiling_upper": [0.6]})
    axes = region_bars(table, ceiling).axes[0]
    bars = [patch for patch in axes.patches if patch.get_width() == pytest.approx(0.72)]
    np.testing.assert_allclose([bar.get_height() for bar in bars], [0.2, 0.6])
    (whiskers,) = axes.containers[1][2]
    first = whiskers.get_segments()[0]
    np.testing.assert_allclose(np.ptp(first[:, 1]) / 2, np.std([0.1, 0.2, 0.3], ddof=1) / np.sqrt(3))
    dots = [sorted(line.get_ydata()) for line in axes.lines if line.get_marker() == "."]
    np.testing.assert_allclose(dots, [[0.1, 0.2, 0.3], [0.4, 0.5, 0.9]])
    bounds = {line.get_label(): tuple(line.get_ydata()) for line in axes.lines if "ceiling" in str(line.get_label())}
    assert bounds == {"ceiling, lower bound": (0.5, 0.5), "ceiling, upper bound": (0.6, 0.6)}
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


def test_a_model_has_one_colour_whichever_others_are_drawn():
    several = pd.concat([fits(0.2, layers=("",)).assign(model=model) for model in ("b", "c")])
    for draw in (profile, region_bars):
        figures = [draw(table, models=["a", "b", "c"]) for table in (several, several[several["model"] == "c"])]
        colours = [model_colours(["a", "b", "c"])[name] for name in "bc"]
        drawn = [
            {to_hex(part.get_facecolor() if draw is region_bars else part.get_color()) for part in parts}
            for parts in (
                [*figure.axes[0].patches] if draw is region_bars else figure.axes[0].lines[:-1] for figure in figures
            )
        ]
        assert set(colours) <= drawn[0]
        assert colours[1] in drawn[1]
        assert colours[0] not in drawn[1]
    many = model_colours([str(i) for i in range(21)])
    assert len(set(many.values())) == 21


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


@pytest.mark.dots
def test_saved_figure_holds_its_caption(tmp_path, rng):
    caption = f"Scores {MINUS}1 <b> & “quoted”"
    path = save_figure(tmp_path / "new" / "a.png", rdm_grid(rdms(rng), list("abc")), caption)
    assert caption_of(path) == caption
    with Image.open(path) as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert image.mode == "RGB"
    assert sorted(file.name for file in path.parent.iterdir()) == ["a.png", "a.svg"]
    Image.new("RGB", (2, 2)).save(tmp_path / "bare.png")
    assert caption_of(tmp_path / "bare.png") == ""


@pytest.mark.dots
def test_vector_graphics_have_text_and_images_of_300_dpi(tmp_path, rng):
    caption = f"Scores {MINUS}1 <b> & “quoted”\x00"
    scores = maps(flipped(), rng, ["naïve", "<fc>"])
    path = save_figure(tmp_path / "a.png", glass_grid([("", scores)]), caption).with_suffix(".svg")
    root = ElementTree.parse(path).getroot()
    names = {element.tag.rpartition("}")[2]: element for element in root.iter()}
    assert names["description"].text == caption.removesuffix("\x00")
    written = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"naïve", "<fc>"} <= set(written)
    images = list(root.iter("{http://www.w3.org/2000/svg}image"))
    assert len(images) == 6 + 1  # the views, and the colour bar
    encoded = images[0].get("{http://www.w3.org/1999/xlink}href")
    with Image.open(BytesIO(base64.b64decode(encoded.removeprefix("data:image/png;base64,")))) as image:
        assert image.width / float(images[0].get("width")) == pytest.approx(300 / 72, rel=0.02)


def test_the_same_figure_has_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        scores = maps(flipped(), np.random.default_rng(0))
        save_figure(
            tmp_path / name / "glass.png", glass_grid([("", scores)], significant=[scores.values > 0.1]), "Maps."
        )
    for ending in ("png", "svg"):
        first, second = ((tmp_path / name / f"glass.{ending}").read_bytes() for name in "ab")
        assert first == second


# -------------------------------------------------------------------------------------------- page


def study(**sections) -> Study:
    """A study of which only these sections are said."""
    return load_study({"study": "demo", **sections})


def fmri(n_subjects: int = 3, kind: str = "maps", **settings) -> dict:
    files = {"maps": {"images": "{subject}.nii", "table": "t.tsv"}, "bids": {"root": "bids", "task": "look"}}
    return {"kind": kind, "subjects": [str(i + 1) for i in range(n_subjects)], **files.get(kind, {}), **settings}


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
    assert not {tag for tag, _ in parser.tags} & {"link", "iframe", "object"}
    for tag, attributes in parser.tags:
        assert "src" not in attributes or (tag == "img" and attributes["src"].startswith("data:image/webp;base64,"))
        assert not {"srcset", "data", "action"} & set(attributes)
        assert not re.match(r"[a-z]+:|/", attributes.get("href", "#")), "links are relative"


def picture(folder: Path, name: str = "a.png") -> Path:
    Image.new("RGB", (300, 200), "white").save(folder / name, dpi=(150, 150))
    return folder / name


def test_page_is_balanced_self_contained_and_escaped(tmp_path):
    table = pd.DataFrame({"<layer>": ["a&b", None], "score": [0.12345, np.nan], "n": [1234567, -2]})
    html = page(
        "Study <script>alert(1)</script>",
        [
            PageSection("One & two", "<p>said</p>", [('A "caption" <1>. More.', picture(tmp_path))], table),
            PageSection("Last", "said"),
            PageSection("Empty", table=table[:0]),
        ],
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
    assert (image["width"], image["height"]) == ("280", "187")  # 300 x 200 pixels of 1/150 inch, at 140 per inch
    cells = [text for tag, text in found.texts if tag == "td"]
    thin = "\N{NARROW NO-BREAK SPACE}"
    assert cells == ["a&b", "0.123", f"1{thin}234{thin}567", "\N{EN DASH}", "\N{EN DASH}", f"{MINUS}2"]
    ids = {attributes["id"] for _, attributes in found.tags if "id" in attributes}
    parts = {attributes["href"][1:] for tag, attributes in found.tags if tag == "a"}
    assert parts <= ids
    assert {"section-1", "section-2"} <= parts


def test_numbers_are_aligned_and_text_is_not():
    found = parsed(table_html(pd.DataFrame({"layer": ["a"], "score": [0.5], "x_mm": [-12.0]})))
    assert [attributes.get("class") for tag, attributes in found.tags if tag == "td"] == [None, "number", "number"]
    assert [text for tag, text in found.texts if tag == "td"] == ["a", "0.5", f"{MINUS}12"]


def test_definitions_write_lists_and_nothing():
    found = parsed(definitions({"radius_mm": 10.0, "layers": ["a", "b"], "mask": None, "on": True}))
    assert [text for tag, text in found.texts if tag == "td"] == ["10", "a, b", "\N{EN DASH}", "True"]


def test_missing_picture_is_said(tmp_path):
    with pytest.raises(UserError, match=r"Cannot read the picture .*gone.png: No such file .* Run the figures again"):
        page("a", [PageSection("b", figures=[("c", tmp_path / "gone.png")])])


# ------------------------------------------------------------------------------------------- study


@pytest.mark.slow
@pytest.mark.parametrize("space", ["MNI152", "flipped", "single slice"])
def test_report_of_a_study_is_complete(tmp_path, rng, space):
    volume = VOLUMES[space]()
    subjects = [(f"sub-{i}", maps(volume, rng, ["conv1", ODD], subject=str(i))) for i in (1, 2)]
    stack = rdms(rng, n_rdms=2)
    drawn = tmp_path / "figures"
    references = reference_figures(stack, drawn / "references")
    both = [derive(subjects[0][1], name) for name in ("best_layer", "layer_gradient")]
    derived = ScoreMap(np.vstack([one.values for one in both]), pd.concat([one.table for one in both]), volume)
    own = {
        name: subject_figures(scores, derived, space=space, folder=drawn / name, title=name)
        for name, scores in subjects
    }
    table = subjects[0][1].table.assign(statistic="mean")
    mean = ScoreMap((subjects[0][1].values + subjects[1][1].values) / 2, table, volume)
    group = group_figures(subjects, mean, derived, space=space, folder=drawn / "group")
    regions = region_figures(fits(0.3), drawn / "regions")
    assert [path.name for path in own["sub-1"]] == [
        "glass.png",
        "slices.png",
        *(["surface.png"] if space == "MNI152" else []),
        "best_layer-1.png",
        "layer_gradient-1.png",
    ]
    assert [path.name for path in group][:2] == ["subjects.png", "profile.png"]
    for name, scores in subjects:
        io.save(
            tmp_path / f"{name}.h5", scores, {"versions": {"brain-model-rsa": "1.0"}, "inputs": {"mask.nii": "0f" * 32}}
        )
        (label,) = scores.table["subject"].unique()
        io.save_table(tmp_path / f"sub-{label}" / f"sub-{label}_space-own_peaks.tsv", peaks(scores), PEAK_COLUMNS)
    io.save(tmp_path / "references.h5", stack, {})
    io.save_table(tmp_path / "regions.tsv", fits(0.3), dict.fromkeys(fits(0.3), "a column"))
    given = study(brain=fmri(2, space="own"), searchlight={"radius_mm": 8})
    scores = [tmp_path / f"{name}.h5" for name, _ in subjects]
    files = {"scores": scores, "fits": tmp_path / "regions.tsv"}
    pages = StudyPages(given, tmp_path, [tmp_path / "references.h5"], **files).html()
    found = {Path(at).stem: parsed(html) for at, html in pages.items()}
    for one in found.values():
        assert_self_contained(one)
    shown = {"group": group, "regions": regions, "models": references} | {
        name: own[name] for name in ("sub-1", "sub-2")
    }
    for name, paths in shown.items():
        captions = [text for tag, text in found[name].texts if tag == "figcaption"]
        assert captions == [caption_of(path) for path in paths]
        assert len(set(captions)) == len(captions)
        assert all(captions)
    assert ("td", "0f" * 32) in found["methods"].texts
    headings = {name: [text for tag, text in one.texts if tag == "h2"] for name, one in found.items()}
    assert headings == {
        "report": [
            *("What fits best where", "Regions: what fits best", "Subjects: highest score of each"),
            "The study in numbers",
        ],
        "group": ["Maps of the group"],
        "regions": ["Regions"],
        "models": ["Reference RDMs"],
        **{f"sub-{i}": [f"Maps of subject {i}", "Peaks"] for i in (1, 2)},
        "methods": ["Methods, to adapt for a paper", "Settings, to run it again", "How this was made"],
        "files": ["All files"],
    }


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


# --------------------------------------------------------------------------------------- over time

TIMES = [0.0, 1.5, 4.5, 6.0]


def over_time(volume: Volume, rng, subject="01", extra=("reliability",)) -> ScoreMap:
    """Scores of two layers and a model at four times, in the order of the times; noise but for what a test plants."""
    references = [("net", "conv1"), ("net", "fc"), ("animacy", ""), *((name, "") for name in extra)]
    rows = [(model, layer, time) for time in TIMES for model, layer in references]
    table = pd.DataFrame(rows, columns=["model", "layer", "time_s"]).assign(subject=subject, statistic="spearman")
    table["role"] = np.where(table["model"].isin(DATA_QUALITY), QUALITY, REFERENCE)
    return ScoreMap(rng.uniform(-0.2, 0.3, (len(table), volume.n_voxels)), table, volume)


def plant(scores: ScoreMap, model: str, layer: str, time: float, voxel: int, score: float) -> None:
    table = scores.table
    (row,) = np.flatnonzero((table["model"] == model) & (table["layer"] == layer) & (table["time_s"] == time))
    scores.values[row, voxel] = score


@pytest.fixture
def timed(rng) -> ScoreMap:
    scores = over_time(flipped(), rng)
    plant(scores, "net", "conv1", 1.5, 10, 0.5)
    plant(scores, "net", "fc", 4.5, 20, 0.7)
    plant(scores, "animacy", "", 6.0, 30, 0.6)
    plant(scores, "reliability", "", 0.0, 40, 0.9)
    return scores


def test_times_have_a_unit_that_fits_all():
    assert written_times([-0.1, np.nan, 0.25]) == [f"{MINUS}100 ms", "", "250 ms"]
    assert written_times([0.5, 2, 4.75]) == ["0.5 s", "2 s", "4.75 s"]
    assert written_times([0.5], among=[0.5, 3]) == ["0.5 s"]


def test_each_reference_is_kept_at_the_time_of_its_highest_score(timed):
    (kept,) = at_peak_times([of_models(timed)])
    assert kept.table[["model", "layer", "time_s"]].to_numpy().tolist() == [
        ["net", "conv1", 1.5],
        ["net", "fc", 4.5],
        ["animacy", "", 6.0],
    ]
    assert [kept.values[row, voxel] for row, voxel in enumerate((10, 20, 30))] == pytest.approx([0.5, 0.7, 0.6])
    (quality,) = at_peak_times([of_data(timed)])
    assert quality.table[["model", "time_s"]].to_numpy().tolist() == [["reliability", 0.0]]


def test_all_maps_beside_each_other_are_of_one_time(rng):
    volume = flipped()
    subjects = [over_time(volume, rng, name, ()) for name in "ab"]
    for scores, late in zip(subjects, (0.9, 0.4), strict=True):  # the first is highest late, both are high early
        plant(scores, "net", "fc", 6.0, 3, late)
        plant(scores, "net", "fc", 1.5, 3, 0.8)
    for kept in at_peak_times(subjects):
        assert kept.table["time_s"].tolist()[1] == 1.5
    assert at_peak_times(subjects)[0].table.equals(at_peak_times(subjects)[1].table.assign(subject="a"))


def test_without_times_all_rows_are_kept(rng):
    scores = maps(flipped(), rng)
    for table in (scores.table, scores.table.assign(time_s=np.nan)):
        (kept,) = at_peak_times([ScoreMap(scores.values, table, scores.volume)])
        np.testing.assert_array_equal(kept.values, scores.values)
    assert of_data(scores) is None


def test_rows_without_a_score_are_kept_as_well(rng):
    empty = over_time(flipped(), rng, extra=())
    (kept,) = at_peak_times([ScoreMap(np.full_like(empty.values, np.nan), empty.table, empty.volume)])
    assert len(kept) == 3


def test_courses_are_read_at_the_best_voxel_of_each_model(timed):
    table = courses(of_models(timed))
    assert list(dict.fromkeys(table["model"])) == ["net", "animacy"]
    at_mm = timed.volume.voxel_to_mm(timed.volume.indices[20])
    for layer in ("conv1", "fc"):
        rows = table[table["layer"] == layer]
        chosen = (timed.table["layer"] == layer).to_numpy()
        np.testing.assert_array_equal(rows["score"], timed.values[chosen, 20].astype(float))
        np.testing.assert_allclose(rows[["x_mm", "y_mm", "z_mm"]].drop_duplicates(), [at_mm])
    axes = time_courses(table, "spearman").axes
    assert [line.get_label() for line in axes[0].lines[1:]] == ["conv1", "fc"]
    np.testing.assert_allclose(axes[0].lines[2].get_xydata(), table[table["layer"] == "fc"][["time_s", "score"]])
    place = ", ".join(f"{round(value)}" for value in at_mm).replace("-", MINUS)
    assert axes[0].get_title() == f"net\n({place}) mm, highest at 4.5 s"
    assert axes[0].get_ylim() == axes[1].get_ylim()
    assert (axes[0].get_xlabel(), axes[0].get_ylabel()) == ("delay (s)", "spearman")


def test_courses_of_nothing_are_drawn(rng):
    empty = over_time(flipped(), rng, extra=())
    empty.values[:] = np.nan
    assert "no score is defined" in texts(time_courses(courses(empty)))


def test_profile_over_time_is_at_the_best_voxel_and_time(timed):
    table = peak_profile(timed)
    assert table["model"].tolist() == ["net", "net", "animacy"]
    assert table["time_s"].tolist() == [4.5, 4.5, 6.0]
    at_time = timed.values[(timed.table["time_s"] == 4.5).to_numpy()]
    np.testing.assert_allclose(table["score"], [at_time[0, 20], 0.7, 0.6], rtol=1e-6)


@pytest.mark.slow
def test_figures_over_time(tmp_path, timed):
    paths = subject_figures(timed, derive_all(timed, MAPS), space="", folder=tmp_path / "figures" / "a", title="one")
    names = [path.stem for path in paths]
    assert names == [
        *("glass", "slices", "courses", "best_layer-1", "layer_gradient-1"),
        *("peak_time-2", "time_of_best_layer-1", "ceiling"),
    ]
    captions = {path.stem: caption_of(path) for path in paths}
    assert "at that of its highest score; the time is in the title" in captions["glass"]
    assert (
        "net with the highest score, one, at 4.5 s (the time of the model's highest score)" in captions["best_layer-1"]
    )
    assert captions["time_of_best_layer-1"].startswith("Time at which net scores highest, over all its layers, one. ")
    assert captions["peak_time-2"].startswith("Time at which animacy scores highest, one. ")
    assert "Split-half reliability" in captions["ceiling"]
    assert [path.stem for _, path in captioned(tmp_path / "figures" / "a")] == names


@pytest.mark.slow
def test_onsets_are_drawn_of_references_without_layers_in_the_colours_of_most_of_them(tmp_path, rng, monkeypatch):
    volume, times_s = flipped(), np.arange(-8, 20) / 100
    rows = [(model, layer, time) for time in times_s for model, layer in (("net", "a"), ("net", "b"), ("meeg", ""))]
    table = pd.DataFrame(rows, columns=["model", "layer", "time_s"]).assign(subject="01", statistic="spearman")
    scores = ScoreMap(rng.uniform(-0.01, 0.01, (len(table), volume.n_voxels)), table, volume)
    scores.values[(table["time_s"] > -0.005).to_numpy()] = 0
    scores.values[(table["time_s"] > 0.055).to_numpy()] += 0.3
    scores.values[((table["time_s"] > 0.025) & (table["model"] == "meeg")).to_numpy(), :20] += 0.2
    scores.values[(table["time_s"] < 0.145).to_numpy(), 20] = 0  # a constant baseline
    scores.values[:, 21] = rng.uniform(-0.01, 0.01, len(table))
    derived = derive_all(scores, ["peak_time", "onset_time"])
    assert len(derived) == 6
    drawn = []

    def spy(row, labels, **look):
        drawn.append((row.values[0], list(labels), look["what"]))
        return label_slices(row, labels, **look)

    monkeypatch.setattr("rsa.report.study.label_slices", spy)
    paths = subject_figures(scores, derived, space="", folder=tmp_path, title="one")
    assert [path.stem for path in paths if "_time" in path.stem] == ["peak_time-2", "onset_time-2"]
    assert caption_of(paths[-1]).startswith(
        "Time from which on meeg scores above its baseline, one. Blank where the score does not stay above"
    )
    numbers, labels, what = drawn[-1]
    assert (labels, what) == (["30 ms", "40 ms", "50 ms", "60 ms"], "onset")
    np.testing.assert_array_equal(numbers, [1.0] * 20 + [np.nan] * 2 + [4.0] * (volume.n_voxels - 22))
    scores.values[:, :] = np.nan
    subject_figures(scores, derive_all(scores, ["onset_time"]), space="", folder=tmp_path)
    assert np.isnan(drawn[-1][0]).all()


def test_of_many_times_some_are_named(timed):
    names = [f"{10 * number} ms" for number in range(61)]
    figure = label_slices(derive(select(timed, model="net", time_s="1.5"), "best_layer"), names)
    shown = [text for text in texts(figure) if text.endswith(" ms")]
    assert 5 <= len(shown) <= 9
    assert shown == names[:: names.index(shown[1])]


def test_best_layer_is_drawn_at_the_time_of_the_highest_score(tmp_path, timed, monkeypatch):
    drawn = {}

    def spy(row, labels, **look):
        drawn[look.get("what", "layers")] = (row, list(labels), look["strength"])
        return label_slices(row, labels, **look)

    monkeypatch.setattr("rsa.report.study.label_slices", spy)
    subject_figures(timed, derive_all(timed, ["best_layer", "time_of_best_layer"]), space="", folder=tmp_path)
    at_time = timed.values[(timed.table["time_s"] == 4.5).to_numpy()][:2]
    row, labels, strength = drawn["layers"]
    assert labels == ["conv1", "fc"]
    np.testing.assert_array_equal(row.values[0], np.where(at_time.max(axis=0) > 0, at_time.argmax(axis=0) + 1, np.nan))
    np.testing.assert_array_equal(strength, at_time.max(axis=0))
    row, labels, strength = drawn["time of the highest score"]
    assert labels == ["0 s", "1.5 s", "4.5 s", "6 s"]
    assert row.values[0, 20] == 3
    of_net = timed.values[(timed.table["model"] == "net").to_numpy()]
    np.testing.assert_array_equal(strength, of_net.max(axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("has_times", [True, False])
def test_figures_of_the_group_show_ceilings_and_shares(tmp_path, rng, has_times):
    volume = flipped()
    subjects = [over_time(volume, rng, name) for name in "ab"]
    if not has_times:
        early = (subjects[0].table["time_s"] == 0).to_numpy()
        subjects = [ScoreMap(one.values[early], one.table[early].drop(columns="time_s"), volume) for one in subjects]
    table = subjects[0].table.drop(columns="subject").assign(statistic="mean")
    mean = ScoreMap((subjects[0].values + subjects[1].values) / 2, table, volume)
    rows = pd.concat([table[table["model"] == "animacy"].assign(model=name, role=QUALITY) for name in CEILINGS])
    ceilings = ScoreMap(rng.uniform(0.3, 0.6, (len(rows), volume.n_voxels)), rows, volume)
    group = stack([mean, ceilings, share_of_ceiling(mean, ceilings)])
    first = select(group, statistic="mean")
    paths = group_figures(
        list(zip("ab", subjects, strict=True)), group, derive_all(first, MAPS), space="", folder=tmp_path
    )
    names = [path.stem for path in paths]
    assert names[:4] == ["subjects", "profile", "glass", "slices"]
    assert names[-2:] == ["ceiling", "share"]
    assert ("courses" in names) == has_times
    assert ("averaged over the maps" in caption_of(paths[0])) == has_times
    assert "share of the upper bound" in caption_of(paths[-1])


@pytest.mark.slow
def test_the_lower_ceiling_is_drawn_first_and_the_bias_of_the_upper_one_is_said(tmp_path, rng, monkeypatch):
    volume, drawn = flipped(), []
    monkeypatch.setattr(
        "rsa.report.study.glass_grid", lambda maps, **look: drawn.append(maps) or glass_grid(maps, **look)
    )
    table = pd.DataFrame(
        {"model": ["net", "reliability", "ceilingupper", "ceilinglower"], "layer": "", "statistic": "mean"}
    )
    table["role"] = [REFERENCE, *[QUALITY] * 3]
    scores = ScoreMap(rng.random((4, volume.n_voxels)), table, volume, n_members=np.full(volume.n_voxels, 16))
    *_, ceiling = subject_figures(scores, None, space="", folder=tmp_path, comparison="spearman")
    ((_, shown),) = drawn[-1]
    assert shown.table["model"].tolist() == ["ceilinglower", "reliability", "ceilingupper"]
    np.testing.assert_array_equal(shown.values, scores.values[[3, 1, 2]])
    assert "upper bound of the noise ceiling is too high" in caption_of(ceiling)
    assert "noise alone reaches about 0.25 (1/√16)" in caption_of(ceiling)


def test_slices_at_the_peaks_of_other_maps(rng):
    volume = single_slice()
    shares, means = maps(volume, rng, ["a", "b"]), maps(volume, rng, ["a", "b"])
    means.values[:] = 0.01
    means.values[0, 7], means.values[1, 9], shares.values[0, 7], shares.values[1, 9] = 0.8, 0.8, 0.25, np.nan
    figure = slices(shares, at=means, limit=1.0)
    assert {f"0.25 at ({written_place(volume, 7)}) mm", f"undefined at ({written_place(volume, 9)}) mm"} <= set(
        texts(figure)
    )
    opacity = figure.axes[0].images[1].get_array()[..., 3]
    assert set(np.round(np.unique(opacity), 3)) == {0.0, 0.025, 1.0}


def written_place(volume: Volume, voxel: int) -> str:
    return ", ".join(f"{round(value)}" for value in volume.voxel_to_mm(volume.indices[voxel])).replace("-", MINUS)


def test_peaks_on_the_page_are_those_of_the_best_time_by_their_full_names(timed):
    html = page("a", [PageSection("Peaks", table=first_peaks(peaks(timed)))])
    cells = [text for tag, text in parsed(html).texts if tag == "td"]
    found = [cells[i : i + len(cells) // 4] for i in range(0, len(cells), len(cells) // 4)]
    flat = [text for row in found for text in row]
    for name, time, score in (("split-half reliability", "0", "0.9"), ("animacy", "6", "0.6")):
        assert name in flat
        assert score in flat or f"{score}00" in flat
        assert time in flat or f"{time}.0" in flat
    assert flat.count("animacy") == 1


def fits_over_time() -> pd.DataFrame:
    """Two regions at three times: V1 is highest at 2 s (layer conv1), V4 at 4 s (layer fc)."""
    parts = []
    for region, best_time, high in (("V1", 2.0, [0.8, 0.3]), ("V4", 4.0, [0.1, 0.6])):
        for time in (0.0, 2.0, 4.0):
            scores = np.tile(high if time == best_time else [0.2, 0.05], 3) + np.repeat([-0.1, 0, 0.1], 2)
            ceiling = {"ceiling_lower": 0.4 + time / 100, "ceiling_upper": 0.5 + time / 100}
            parts.append(fits(scores).assign(region=region, time_s=time, **ceiling))
    return pd.concat(parts, ignore_index=True)


def test_regions_over_time_are_drawn_at_their_best_time(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("rsa.report.study.region_bars", lambda *given: drawn.append(given[:2]) or region_bars(*given))
    monkeypatch.setattr(
        "rsa.report.study.time_courses", lambda table, *said: drawn.append(table) or time_courses(table, *said)
    )
    paths = region_figures(fits_over_time(), tmp_path / "figures" / "regions")
    assert [path.name for path in paths] == ["regions.png", "regions_courses.png"]
    assert [path.name for _, path in captioned(tmp_path / "figures" / "regions")] == [
        "regions.png",
        "regions_courses.png",
    ]
    course, (bars, ceilings) = drawn
    assert set(bars["region"]) == {"V1, 2 s", "V4, 4 s"}
    means = bars.groupby(["region", "layer"])["score"].mean()
    np.testing.assert_allclose(means, [0.8, 0.3, 0.1, 0.6])
    np.testing.assert_allclose(ceilings[["ceiling_lower", "ceiling_upper"]], [[0.42, 0.52], [0.44, 0.54]])
    assert list(dict.fromkeys(course["model"])) == ["V1, net", "V4, net"]
    of_fc = course[(course["model"] == "V4, net") & (course["layer"] == "fc")]
    np.testing.assert_allclose(
        of_fc[["time_s", "score", "ceiling_upper"]], [[0, 0.05, 0.5], [2, 0.05, 0.52], [4, 0.6, 0.54]]
    )
    figure = time_courses(course)
    assert figure.axes[0].get_title() == "V1, net\nhighest at 2 s"
    assert figure.axes[0].get_ylim()[1] > 0.8


def test_bars_of_regions_are_of_references_without_time_if_there_are_some(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("rsa.report.study.region_bars", lambda *given: drawn.append(given[:2]) or region_bars(*given))
    monkeypatch.setattr(
        "rsa.report.study.time_courses", lambda table, *said: drawn.append(table) or time_courses(table, *said)
    )
    ceiling = {"ceiling_lower": 0.6, "ceiling_upper": 0.7}
    still = [fits([0.4, 0.5] * 3).assign(region=region, time_s=np.nan, **ceiling) for region in ("V1", "V4")]
    moving = fits_over_time()[lambda table: table["layer"] == "fc"].assign(model="meeg", layer="", **ceiling)
    table = pd.concat([*still, moving], ignore_index=True)
    paths = region_figures(table, tmp_path)
    course, (bars, ceilings) = drawn
    assert ceilings.values.tolist() == [["V1", 0.6, 0.7], ["V4", 0.6, 0.7]]
    means = bars.groupby(["region", "model", "layer"])["score"].mean().to_dict()
    expected = {("net", "conv1"): 0.4, ("net", "fc"): 0.5}
    assert means == pytest.approx({(region, *key): score for region in ("V1", "V4") for key, score in expected.items()})
    assert "at the time of" not in caption_of(paths[0])
    assert list(dict.fromkeys(course["model"])) == ["V1, meeg", "V4, meeg"]
    np.testing.assert_allclose(course[course["model"] == "V4, meeg"]["score"], [0.05, 0.05, 0.6])
    found = parsed(page("a", [PageSection("Regions", table=shown_fits(table))]))
    cells = [text for tag, text in found.texts if tag == "td"]
    assert cells.count("net") == 4


def test_means_of_regions_do_not_mix_times():
    means = region_means(fits_over_time())
    assert len(means) == 2 * 2 * 3
    row = means[(means["region"] == "V4") & (means["layer"] == "fc") & (means["time_s"] == 4)]
    np.testing.assert_allclose(row[["mean", "n_subjects", "ceiling_lower"]], [[0.6, 3, 0.44]])
    html = page("a", [PageSection("Regions", table=shown_fits(fits_over_time()))])
    shown = [text for tag, text in parsed(html).texts if tag == "td"]
    assert (shown.count("V1"), shown.count("V4")) == (2, 2)


# ----------------------------------------------------------------------------------------- methods


def text_of(sections: dict, **measured) -> str:
    return methods_text(study(**{"references": [ANIMACY], "brain": fmri()} | sections), Measured(10, **measured))


ANIMACY = {"kind": "table", "name": "animacy", "column": "animate"}


def test_methods_text_has_all_numbers_and_citations():
    given = study(
        models=[{"architecture": "alexnet"}],
        references=[ANIMACY],
        brain=fmri(4, space="MNI152"),
        searchlight={"radius_mm": 10, "min_voxels": 10},
    )
    layers = {"alexnet": ["a"] * 8, "animacy": []}
    measured = Measured(92, layers, n_runs=12, n_centres=(29000, 29398), regions=["V1", "V4"])
    text = methods_text(given, measured, {"brain-model-rsa": "0.1.0", "commit": "0123456789abcdef"})
    for part in (
        "4 subjects to 92 conditions",
        "8 layers of alexnet and the model animacy (animate: 0 within a category, 1 between)",
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
    assert counts(given, measured)["conditions"] == "92 (4,186 pairs)"


def test_methods_text_leaves_out_what_was_not_done():
    ready = {"kind": "rdms", "subjects": ["1"], "file": "{subject}.npz", "regions": ["V1"]}
    given = study(brain=ready, references=[ANIMACY], comparison="kendall_tau_a")
    text = methods_text(given, Measured(3, {"animacy": []}))
    assert "1 subject to 3 conditions" in text
    assert "Kendall's tau-a" in text
    for part in ("searchlight", "Nili", "None", "layer", "runs", "commit"):
        assert part not in text


SPHERES = {"searchlight": {"radius_mm": 8}}


@pytest.mark.parametrize(
    ("bids", "sections", "measured", "said", "unsaid"),
    [
        ({"confounds": None}, {}, {"n_runs": 6}, ["one regressor per condition, convolved", "function 'spm'",
         "high-pass 0.01 Hz", "autoregressive", "regression coefficients", "averaged over 6 runs"],
         ["Mumford", "smoothed", "delays"]),
        ({"confounds": {"strategy": ["motion", "wm_csf", "scrub"], "motion": "full", "wm_csf": "basic",
          "columns": ["csf"], "fd_threshold_mm": 0.4, "std_dvars_threshold": 1.5, "min_segment_volumes": 5}}, {}, {},
         ["no interest were the 6 motion parameters with their squares, derivatives and squared derivatives, the mean "
          "signals of white matter and cerebrospinal fluid and the columns csf of fMRIPrep.",
          "above 0.4 mm or standardised DVARS above 1.5 were left out, and stretches of fewer than 5 volumes"],
         ["CompCor", "power2"]),
        ({"confounds": {"strategy": ["motion", "compcor", "high_pass"], "motion": "basic",
          "compcor": "anat_combined", "n_compcor": 5}, "glm": {"drift": "none"}}, {}, {},
         ["were the 6 motion parameters, CompCor components (5, anat_combined) and cosine drifts of fMRIPrep"],
         ["squares", "left out, and stretches"]),
        ({"glm": {"method": "trials", "patterns": "t"}, "smoothing_fwhm_mm": 4.0}, {}, {},
         ["smoothed (4 mm FWHM)", "least squares separate; Mumford et al., 2012", "NeuroImage 59", "t values",
          "averaged per condition and run"], ["regression coefficients"]),
        ({"glm": {"method": "fir", "noise_model": "ols", "drift": "polynomial", "drift_order": 2,
          "delays_s": (0.0, 2.0)}}, {}, {"delays_s": (0.0, 2.0)},
         ["finite impulse response", "polynomial drifts of order 2", "ordinary least squares", "2 delays after onset",
          "(0, 2 s)"], ["haemodynamic", "autoregressive", "high-pass"]),
        ({"glm": {"method": "volumes", "delays_s": tuple(range(9))}}, {}, {"delays_s": tuple(range(9))},
         ["signal itself", "9 delays", "(0 to 8 s)"], ["autoregressive", "coefficients", "haemodynamic"]),
        (None, {"brain_distance": "crossnobis", "noise": {}, **SPHERES}, {"n_runs": 6},
         ["crossnobis", "cross-validated over 6 runs: products", "(Walther et al., 2016)",
          "covariance of the noise of the residuals", "of each searchlight", "Ledoit & Wolf, 2004", "88:365",
          "NeuroImage 137"], ["averaged over 6", "Strimmer"]),
        (None, {"noise": {"normalisation": "univariate", "scope": "brain", "shrinkage": "schaefer_strimmer"}},
         {"n_runs": 4}, ["divided by the standard deviation of its noise", "NeuroImage 137", "averaged over 4 runs"],
         ["Strimmer", "whitened", "whole brain", "taken out of each voxel"]),
        (None, {"noise": {"source": "runs"}, "brain_distance": "crossnobis"}, {"n_runs": 4},
         ["noise between runs over", "the noise is that between the others"], ["residuals"]),
        (None, {"brain_distance": "crossnobis", "remove_mean": True, **SPHERES}, {"n_runs": 2},
         ["cross-validated squared Euclidean distance", "mean over conditions was taken out"],
         ["Mahalanobis (", "noise"]),
        (None, {"brain_distance": "cv_correlation", **SPHERES}, {"n_runs": 5},
         ["1 minus the cross-validated Pearson correlation", "all pairs of different runs (Guggenmos et al., 2018)",
          "NeuroImage 173"], ["Walther", "cv_correlation"]),
        (None, {"searchlight": {"reliability": True}, "noise_ceiling": True}, {},
         ["odd runs with that of even", "Nili", "noise ceiling of a searchlight runs"], ["region", "Walther et al."]),
        (None, {"comparison": "rho_a"}, {}, ["Spearman's rho-a (Schütt et al., 2023)", "eLife 12:e82566"], []),
    ],
)  # fmt: skip
def test_methods_text_says_how_responses_and_noise_were_measured(bids, sections, measured, said, unsaid):
    brain = fmri() if bids is None else fmri(kind="bids", **bids)
    text = text_of({**sections, "brain": brain}, layers={"animacy": []}, **measured)
    for part in said:
        assert part in text
    for part in (*unsaid, "None", "..", " ,", "  "):
        assert part not in text


def test_methods_text_tells_of_the_surface_where_maps_are_in_mni152():
    mni = fmri(space="MNI152Lin")
    text = text_of({"searchlight": {}, "brain": mni})
    assert "brought to the surface fsaverage5 (Fischl et al., 1999): scores as the mean of 10 points" in text
    assert "Hum Brain Mapp 8:272-284" in text
    for sections in ({"brain": mni}, {"searchlight": {}}, {"searchlight": {}, "brain": mni, "surfaces": None}):
        assert "fsaverage5" not in text_of(sections)


def test_numbers_of_the_study_name_runs_delays_and_noise():
    given = study(brain=fmri(), brain_distance="crossnobis", noise={})
    rows = counts(given, Measured(10, n_runs=6, delays_s=(0, 2.5)))
    assert rows["runs"] == "6"
    assert "runs averaged" not in rows
    assert rows["delays after onset"] == "0, 2.5 s"
    assert rows["noise normalisation"] == "multivariate, sphere, ledoit_wolf, residuals"
    assert counts(study(brain=fmri()), Measured(10, n_runs=6))["runs averaged"] == "6"


def test_files_tell_what_settings_do_not(tmp_path, rng):
    table = pd.DataFrame({"condition": ["a", "b"] * 2, "delay_s": [2.0, 2.0, 0.0, 0.0], "run": list("1122")})
    io.save(tmp_path / "brain.h5", Patterns(rng.random((4, 5)), table), {})
    io.save(tmp_path / "references.h5", rdms(rng), {})
    scores = []
    for name, shape in (("1", (6, 5, 4)), ("2", (6, 5, 3))):
        reason = np.zeros(np.prod(shape), dtype=np.int8)
        reason[:4] = NOT_A_CENTRE
        own = maps(flipped(shape), rng, subject=name)
        scores.append(tmp_path / f"{name}.h5")
        io.save(scores[-1], ScoreMap(own.values, own.table, own.volume, reason=reason, n_members=reason + 5), {})
    files = {"brain": [tmp_path / "brain.h5"], "scores": scores}
    measured = StudyPages(study(brain=fmri(2)), tmp_path, [tmp_path / "references.h5"], **files).measured
    assert (measured.n_conditions, measured.layers) == (6, {"net": ["layer0", "layer1", "layer2"]})
    assert (measured.n_runs, measured.n_voxels, measured.n_centres) == (2, (90, 120), (86, 116))
    assert measured.delays_s == [0.0, 2.0]


def test_methods_text_tells_what_the_upper_noise_ceiling_is():
    how = {"searchlight": {}, "noise_ceiling": True}
    assert "to that with the average of all (Nili" in text_of(how)
    tau = text_of({**how, "comparison": "kendall_tau_a"})
    assert "to that with the order which most subjects have of each two pairs of conditions (Nili" in tau
    assert "Nili" not in text_of({**how, "brain": fmri(1), "noise_ceiling": False})


TIMES_S = {"meeg_times_s": [-0.1, 0.0, 0.1, 0.2]}
EPOCHS = {"kind": "epochs", "subjects": list("123456"), "file": "{subject}-epo.fif", "baseline_s": [-0.1, 0]}
ALONE = {"brain": None, "meeg": EPOCHS}


@pytest.mark.parametrize(
    ("sections", "said", "unsaid"),
    [
        ({**ALONE, "movie": {"distance": "crossnobis", "whiten": "ledoit_wolf"}},
         ["M/EEG RDMs (the cross-validated Mahalanobis (crossnobis) distance) of 6 subjects at 4 times from "
          f"{MINUS}100 to 200 ms after onset", "shrunken towards a multiple of the identity (Ledoit & Wolf, 2004)",
          "multivariate noise normalisation (Guggenmos et al., 2018)", "NeuroImage 173", "88:365",
          "Nat Neurosci 17:455", "Sci Rep 6:27755", "responses of 6 subjects"],
         ["fusion", "fMRI", "searchlight", "Walther", "Strimmer"]),
        ({**ALONE, "movie": {"distance": "crossnobis"}},
         ["M/EEG RDMs (the cross-validated squared Euclidean distance) of 6"], ["Mahalanobis", "whitened"]),
        ({**ALONE, "movie": {"whiten": "schaefer_strimmer"}}, ["the diagonal (Schäfer & Strimmer, 2005)", "4:32"], []),
        ({**ALONE, "meeg": {"kind": "movie", "subjects": list("123456"), "file": "{subject}.npz",
          "times": {"start": 0, "step": 1, "unit": "ms"}}},
         ["M/EEG RDMs of 6 subjects at 4 times", "were taken ready-made and were compared"], ["unknown", "()"]),
        ({**ALONE, "meeg": {"kind": "movie", "subjects": ["1"], "file": "m.npz", "distance": "decoding_svm",
          "times": {"start": 0, "step": 1, "unit": "ms"}}}, ["linear support vector machines) of 1 subject"], []),
        ({"meeg": EPOCHS, "movie": {"distance": "decoding_lda"}, "fusion": True, "searchlight": {}},
         ["(accuracy of pairwise decoding by linear discriminants)", "averaged over subjects, was also a reference for "
          "the fMRI data (fusion; Cichy et al., 2014)", "searchlight"], ["whitened"]),
        ({**ALONE, "sensors": {}}, ["In a searchlight over sensors, RDMs of each sensor with its neighbours (MNE-"
          "Python) were compared with them as well."], ["whitened", "fMRI"]),
        ({**ALONE, "sensors": {}, "movie": {"whiten": "ledoit_wolf"}}, ["whitened by the noise of these sensors "], []),
        ({}, ["compared"], ["M/EEG", "Cichy"]),
    ],
)  # fmt: skip
def test_methods_text_tells_of_m_eeg_and_fusion(sections, said, unsaid):
    text = text_of(sections, layers={"animacy": []}, **(TIMES_S if "meeg" in sections else {}))
    for part in said:
        assert part in text
    for part in (*unsaid, "None", "..", " ,", "  "):
        assert part not in text


UNTRAINED = {"architecture": "alexnet", "weights": "untrained", "seed": 3}
PLANTED = {"name": "V1", "model": "net", "layer": "conv1", "centres_mm": [[0, 0, 0]]}
SIMULATED = {"simulate": {"regions": [PLANTED]}}
EPOCHS_TOO = {"simulate": {"epochs": {"latencies": [{"name": "a", "model": "net", "layer": "fc", "peak_s": 0.1}]}}}


@pytest.mark.parametrize(
    ("sections", "said", "unsaid"),
    [
        ({}, ["the fMRI responses of 3 subjects to 10 conditions"], ["imulated"]),
        ({"brain": fmri(1)}, ["the fMRI responses of 1 subject to"], ["subjects"]),
        (SIMULATED, ["the simulated fMRI responses of 3 subjects", "Simulated brain images are patterns with the RDMs "
         "of layers (conv1 of net in V1; standard deviation 1 of that of the noise) in Gaussian noise smoothed to "
         "8 mm"],
         ["The pictures were drawn", "the fMRI"]),
        ({"simulate": {"regions": [PLANTED], "signal": 0}},
         ["Simulated brain images are Gaussian noise smoothed to 8 mm"], ["patterns with"]),
        ({"simulate": {"regions": [PLANTED], "noise_images": "n.nii", "mask": "m.nii"}},
         ["in noise made of the residuals of a BOLD run."], ["Gaussian"]),
        ({"simulate": {"images_per_category": 2}, "stimuli": {"table": "s.tsv"}},
         ["The pictures were drawn by a program, in 6 categories."], []),
        ({**SIMULATED, "meeg": EPOCHS}, ["the simulated fMRI responses of 3 subjects and the M/EEG responses of 6"],
         ["simulated M/EEG", "Simulated M/EEG"]),
        ({**EPOCHS_TOO, **ALONE}, ["the simulated M/EEG responses of 6 subjects", "Simulated M/EEG epochs are patterns "
         "with the RDMs of layers (fc of net at 100 ms"], ["fMRI", "brain images"]),
        (ALONE, ["the mean from \N{MINUS SIGN}100 to 0 ms was subtracted"], ["moving average", "one time in"]),
        ({**ALONE, "meeg": {**EPOCHS, "smooth_s": 0.02, "decimate": 4}},
         ["by a moving average of 20 ms", "one time in 4"],
         []),
        ({"brain": fmri(kind="glmsingle", betas="{subject}.hdf5", table="t.tsv", grid_image="g.nii")},
         ["by GLMsingle (Prince et al., 2022); several of one condition in a run were averaged.", "eLife 11"], []),
        ({"brain": fmri(kind="spm", folder="{subject}", images="spmT")},
         ["were the t maps of first-level models of SPM."],
         ["averaged"]),
        ({"brain": fmri(kind="feat", folder="{subject}/{run}.feat", runs=["1"])},
         ["were the contrast estimates of first"],
         []),
        ({"models": [UNTRAINED]}, ["The network alexnet of torchvision (Krizhevsky, 2014; Paszke et al., 2019) was "
         "untrained: its weights were random (seed 3).", "arXiv:1404.5997",
         "central 224 x 224 and normalised as for its "
         "trained weights", "averaged over the pictures of a condition"], ["ImageNet (Deng"]),
        ({"models": [{"architecture": "resnet18", "name": "net"}]}, ["resnet18 of torchvision (He et al., 2016; Paszke "
         "et al., 2019), here called net, had the weights IMAGENET1K_V1, trained on ImageNet (Deng et al., 2009).",
         "and normalised.", "248-255"], ["untrained", "random (", "DEFAULT"]),
        ({"models": [{"architecture": "alexnet", "weights": "w/own.pth"}]}, ["had weights of the file own.pth."],
         ["trained on", "untrained"]),
        ({"searchlight": {}, "group": ["mean"]}, ["Maps of the group are the mean of the scores over subjects."],
         ["t over subjects", "share of the noise ceiling"]),
        ({"searchlight": {}, "group": ["mean", "t"], "noise_ceiling": True}, ["and t over subjects of Fisher's z, "
         "against 0 and not corrected.", "as a share of the noise ceiling: divided by its upper bound"], []),
        ({"searchlight": {}, "group": ["mean"], "brain": fmri(1)}, [], ["Maps of the group"]),
        (ALONE, ["a pseudo t of Fisher's z was compared with the highest of all times and layers of a model under all "
         "64 flips of the signs", "95 % confidence intervals by Student's t", "p is .05 or less for 20 ms",
         "1,000 bootstrap samples"], ["random orders"]),
        ({**ALONE, "meeg": {**EPOCHS, "subjects": ["1"]}}, ["in 199 random orders of the conditions"],
         ["flips", "bootstrap", "Student"]),
        ({**ALONE, "inference": {"over": "conditions", "alpha": 0.01}}, ["p is .01 or less for 20 ms"], ["pseudo t"]),
        ({"analyses": [{"kind": "partial", "nuisance": ["animacy"]}]},
         ["A further measure of the same RDMs was: partial"],
         ["Further measures"]),
    ],
)  # fmt: skip
def test_methods_text_tells_each_fact_that_can_vary(sections, said, unsaid):
    text = text_of(sections, layers={"animacy": []}, **(TIMES_S if "meeg" in sections else {}))
    body = text.split("\n\nReferences: ")[0]
    for part in said:
        assert part in text
    for part in (*unsaid, "None", "..", " ,", "  "):
        assert part not in body


def test_methods_text_tells_of_the_best_layer_where_there_are_layers():
    assert "Maps of the best layer show" in text_of({"searchlight": {}}, layers={"net": ["a", "b"]})
    assert "best layer" not in text_of({"searchlight": {}}, layers={"net": ["a"], "animacy": []})


def test_methods_text_names_regions_and_which_were_ready():
    ready = {"kind": "rdms", "subjects": ["1"], "file": "{subject}.npz", "regions": ["V1"]}
    text = text_of({"brain": ready}, regions=["V1"])
    assert "The brain RDMs of 1 region of interest (V1) were taken ready-made." in text
    assert "the brain responses of 1 subject" in text
    assert "were computed for 2 regions of interest (V1 and IT)." in text_of({}, regions=["V1", "IT"])
    assert "were also computed for" in text_of({"searchlight": {}}, regions=["V1"])


def test_methods_text_names_the_software_that_was_used():
    versions = {
        "brain-model-rsa": "1.0",
        "python": "3.12",
        "mne": "1.9",
        "torch": "2.6",
        "nilearn": "0.13",
        "snakemake": "9",
    }
    given = study(brain=fmri(), references=[ANIMACY])
    text = methods_text(given, Measured(10), versions)
    assert "by brain-model-rsa 1.0, with Python 3.12 and nilearn 0.13 (Snakemake: Mölder et al., 2021)." in text
    text = methods_text(study(**ALONE, models=[UNTRAINED]), Measured(10), versions)
    assert "with Python 3.12, MNE-Python 1.9 and PyTorch 2.6 (MNE-Python: Gramfort et al., 2013; Snakemake" in text


def test_what_extraction_said_of_a_network_is_told_without_the_network(monkeypatch):
    given = study(**ALONE, models=[UNTRAINED])
    (network,) = given.models
    made = [{"source": {"methods": ["It ran, and said so."]}}, {"source": {"methods": ["No network of the study."]}}]
    told = told_of_networks(given.models, made)
    assert told == {network.label: ["It ran, and said so."]}
    plain = methods_text(given, Measured(10))
    monkeypatch.setattr(type(network), "methods", lambda _: pytest.fail("the network was asked"))
    text = methods_text(given, Measured(10, networks=told))
    assert "It ran, and said so. Activations were averaged" in text
    monkeypatch.undo()
    assert told_of_networks(given.models, [{"source": {"device": "cpu"}}]) == {}
    assert network.methods()[0] in plain, "files of earlier versions do not tell"


def test_methods_text_is_paragraphs_that_end_with_the_references():
    text = text_of({"models": [UNTRAINED], "searchlight": {}, "group": ["mean"]})
    paragraphs = text.split("\n\n")
    assert [words.split()[0] for words in paragraphs] == ["By", "The", "In", "Each", "Maps", "References:"]
    assert not any("\n" in words for words in paragraphs)


@pytest.mark.parametrize("architecture", torchvision.models.list_models(module=torchvision.models))
def test_networks_are_cited(architecture):
    found = next((paper for begin, paper in PAPERS_OF.items() if architecture.startswith(begin)), None)
    assert found in PAPERS or architecture.startswith(("maxvit", "mnasnet"))


OVER_SUBJECTS = {"over": "subjects", "permutations": 1000}
OVER_CONDITIONS = {"over": "conditions", "permutations": 1000}
FUSED = {"meeg": EPOCHS, "fusion": True}


@pytest.mark.parametrize(
    ("inference", "sections", "said", "unsaid"),
    [
        (OVER_SUBJECTS, {"brain": fmri(6)},
         ["over subjects: p values tell of other subjects like these, with these conditions",
          "mean was t over subjects",
          "under all 64 flips of the signs of subjects (Nichols & Holmes, 2002)", "one-sided", "Hum Brain Mapp 15"],
         ["random flips", "orders", "Freedman", "Stelzer", "contrast", "fusion", "adjusted"]),
        (OVER_SUBJECTS, {"brain": fmri(12)}, ["under 1,000 random flips of the signs"], ["all 4,096"]),
        ({**OVER_SUBJECTS, "statistic": "wilcoxon"}, {}, ["signed ranks of Fisher's z"], []),
        ({**OVER_SUBJECTS, "alternative": "two-sided"}, {}, ["Tests were two-sided"], ["one-sided"]),
        ({**OVER_SUBJECTS, "alpha": 0.01}, {}, ["corrected p of .01 or less"], [".05"]),
        ({**OVER_SUBJECTS, "participants": "p.tsv", "covariates": ["age", "motion"]}, {},
         ["adjusted for age and motion by the method of Freedman and Lane", "Winkler AM", "J Bus Econ Stat"], []),
        ({**OVER_SUBJECTS, "participants": "p.tsv", "groups": "diagnosis"}, {},
         ["difference between the groups in diagnosis", "up to 1,000 other orders of the subjects"], ["flips"]),
        ({**OVER_SUBJECTS, "contrasts": [{"name": "AminusB", "a": "animacy", "b": "pixels"}]}, {},
         ["Differences of Fisher's z within subjects", "AminusB (animacy less pixels)"], []),
        (OVER_SUBJECTS, {**FUSED}, ["Scores of fusion", "instead", "with 1,000 random orders of the conditions"], []),
        (OVER_SUBJECTS, {**FUSED, "fusion": "paired"}, ["of the same subject"], ["Scores of fusion"]),
        ({**OVER_SUBJECTS, "each_subject": True}, {}, ["maps of each subject were tested over conditions"], []),
        (OVER_CONDITIONS, {}, ["over conditions: p values tell of these subjects, with other conditions like these",
         "mean score over subjects was compared with what it is with 1,000 random orders of the conditions",
         "the same for all subjects, places"], ["flips", "Stelzer", "Scores of fusion"]),
        (OVER_CONDITIONS, {"brain": fmri(1)}, ["The score was compared", "for all places"], ["mean score over"]),
        ({**OVER_CONDITIONS, "permutations": 10_000_000}, {}, ["with all 3,628,800 orders"], ["random orders"]),
        ({**OVER_CONDITIONS, "combine": "stelzer", "permutations_each": 50}, {},
         ["with 50 random orders", "1,000 times, one of them was drawn of each subject", "NeuroImage 65:69"], []),
        ({**OVER_CONDITIONS, "enhance": "tfce"}, {}, ["threshold-free cluster enhancement", "NeuroImage 44:83",
         "share a face, an edge or a corner were neighbours"], ["Clusters were formed"]),
        ({**OVER_CONDITIONS, "enhance": "cluster_mass", "cluster_p": 0.005, "connectivity": 6}, {},
         ["cluster mass", "formed above an uncorrected p of .005", "share a face were", "threshold; Bullmore"],
         ["threshold-free"]),
        ({**OVER_CONDITIONS, "enhance": "cluster_size", "connectivity": 18}, {},
         ["cluster size", "a face or an edge were", "Forman"], []),
        ({**OVER_CONDITIONS, "enhance": "none"}, {}, ["each value of the statistic (Nichols"], ["neighbours", "Smith"]),
        ({**OVER_CONDITIONS, "family": ["voxels"]}, {}, ["family-wise over voxels: each"], ["at the next"]),
        ({**OVER_CONDITIONS, "family": ["voxels", "times", "layers"]}, {},
         ["family-wise over voxels, times and the layers of a model: each", "one time and at the next"], []),
        ({**OVER_CONDITIONS, "family": ["voxels", "models"]}, {}, ["voxels and all models and references: each"], []),
        ({**OVER_CONDITIONS, "enhance": "cluster_mass"}, {"meeg": EPOCHS},
         ["Those of layers over time were corrected by the highest value of the statistic."], []),
        ({**OVER_CONDITIONS, "enhance": "none"}, {"meeg": EPOCHS}, [], ["Those of layers over time"]),
        ({**OVER_CONDITIONS, "fdr": "bh"}, {}, ["independent or positively dependent tests (Benjamini & Hochberg"], []),
        ({**OVER_CONDITIONS, "fdr": "by"}, {}, ["any dependence (Benjamini & Yekutieli, 2001)"], ["Hochberg"]),
        ({**OVER_CONDITIONS, "seed": 7}, {}, ["the seed 7", "outline what is (Taylor et al., 2023)", "274:120138"], []),
    ],
)  # fmt: skip
def test_methods_text_tells_how_scores_were_tested(inference, sections, said, unsaid):
    given = {"searchlight": {}, **sections, "inference": inference}
    text = text_of(given, layers={"animacy": []}, **(TIMES_S if "meeg" in sections else {}))
    for part in said:
        assert part in text
    for part in (*unsaid, "None", "..", " ,", "  "):
        assert part not in text


@pytest.mark.parametrize(("comparison", "tested"), [("spearman", True), ("cosine", False)])
def test_methods_text_tells_of_intervals_for_other_subjects_and_conditions(comparison, tested):
    given = {"searchlight": {}, "inference": OVER_CONDITIONS, "comparison": comparison, "brain": fmri(6)}
    text = text_of(given, layers={"animacy": []}, regions=["V1"])
    assert "for other subjects who see other conditions: conditions were drawn 1,000 times" in text
    assert "Student's t of 5 degrees of freedom" in text
    assert ("intervals and p values for" in text, "(Holm, 1979)" in text) == (tested, tested)


def test_methods_text_without_inference_speaks_of_no_test():
    text = text_of({"searchlight": {}}, layers={"animacy": []})
    for part in ("tested", "corrected", "Nichols", "significant", "seed"):
        assert part not in text


def test_numbers_of_the_study_name_m_eeg():
    rows = counts(study(**ALONE, movie={"distance": "crossnobis"}), Measured(10, **TIMES_S))
    assert rows["subjects"] == rows["M/EEG subjects"] == "6"
    assert rows["M/EEG distance"] == "crossnobis"
    assert rows["M/EEG"] == f"4 times from {MINUS}100 to 200 ms"
    assert "distance" not in rows
    assert not [name for name in counts(study(brain=fmri()), Measured(10)) if "M/EEG" in name]


def test_networks_say_what_they_are_and_what_they_were_given():
    given = study(models=[{"architecture": "alexnet", "weights": "untrained", "seed": 3}, {"architecture": "vgg11"}])
    made = [{"source": {"device": "cpu", "preprocessing": "small", "weights_sha256": "ab"}}, {"source": {}}]
    table = networks_table(given.models, made)
    assert table["model"].tolist() == ["alexnet", "vgg11"]
    assert table["network"].tolist() == ["alexnet, untrained (seed 3)", "vgg11, weights DEFAULT"]
    assert table["weights_sha256"].fillna("").tolist() == ["ab", ""]


@pytest.mark.parametrize(("fusion", "heading"), [(True, True), (False, False)])
def test_films_of_an_earlier_run_are_not_on_the_page(tmp_path, rng, fusion, heading):
    io.save(tmp_path / "references.h5", rdms(rng), {})
    io.save(tmp_path / "scores.h5", maps(flipped(), rng), {})
    (tmp_path / "figures" / "fusion").mkdir(parents=True)
    picture(tmp_path / "figures" / "fusion", "film.png")
    given = study(brain=fmri(1), searchlight={"radius_mm": 8}, fusion=fusion)
    pages = StudyPages(given, tmp_path, [tmp_path / "references.h5"], scores=[tmp_path / "scores.h5"]).html()
    assert any("Fusion of fMRI and M/EEG" in html for html in pages.values()) == heading


def test_mixed_versions_are_told():
    def made(version: str, commit: str = "", numpy: str = "2.0") -> dict:
        return {"versions": {"brain-model-rsa": version, "commit": commit, "numpy": numpy}}

    assert mixed_versions([made("1.0", "abc"), made("1.0", "abc"), {}]) == []
    (warning,) = mixed_versions([made("1.0", "a" * 40), made("1.0", "b" * 40)])
    assert f"different versions of brain-model-rsa: 1.0 (commit {'a' * 12}) and 1.0 (commit {'b' * 12})" in warning
    assert "Run all of them again" in warning
    (warning,) = mixed_versions([made("1.0", "a" * 40), made("1.0", "a" * 40 + "+")])
    assert f"1.0 (commit {'a' * 12}) and 1.0 (commit {'a' * 12}+)" in warning
    assert usual_versions([made("1.0", "a"), made("1.0", "b"), made("1.0", "b"), {}])["commit"] == "b"
    assert usual_versions([{}]) == {}
    (warning,) = mixed_versions([made("1.0"), made("1.0", numpy="2.1")])
    assert warning == "The results were made with different versions of numpy: 2.0 and 2.1."
    found = parsed(page("a", [PageSection("Made", provenance_html([made("1.0"), made("1.1")]))]))
    assert ("td", "1.0, 1.1") in found.texts


def test_regions_at_their_best_times_keep_their_order():
    """The table goes time by time; the first region is best late, the second early."""
    from rsa.report.study import at_region_times

    scores = {("b", 1.0): 0.1, ("a", 1.0): 0.5, ("b", 2.0): 0.4, ("a", 2.0): 0.2}
    rows = [(subject, *key, score) for subject in ("1", "2") for key, score in scores.items()]
    table = pd.DataFrame(rows, columns=["subject", "region", "time_s", "score"]).assign(model="net", layer="")
    chosen = at_region_times(table)
    assert chosen[["region", "time_s"]].drop_duplicates().to_numpy().tolist() == [["b", 2.0], ["a", 1.0]]
    assert chosen["subject"].tolist() == ["1", "2", "1", "2"]
