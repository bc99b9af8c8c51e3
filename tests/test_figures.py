"""Every figure of awkward studies: no text is cut, lies on other text, or is too small, and all fit a page."""

import numpy as np
import pandas as pd
import pytest
from figure_faults import faults
from matplotlib.figure import Figure
from PIL import Image
from test_report import mni, oblique, single_slice

from rsa.core import REFERENCE, TEST, RDMs, ScoreMap
from rsa.pipeline.stages.reports import _differences
from rsa.report.courses import generalisation_figure, latency_figure, layer_time_figure
from rsa.report.drawing import centre_of, stride_words
from rsa.report.figures import profile, rdm_grid, rdm_similarity, reference_names, region_bars
from rsa.report.film import film_strip, rdm_movie_strip
from rsa.report.glass import glass_grid
from rsa.report.panels import dress, give_title, layer_handles, layers_below, panels
from rsa.report.slices import label_slices, signed_slices, slices
from rsa.report.study import group_figures
from rsa.report.style import DPI, SMALL, caption_of, fitted, inches_of, save_figure
from rsa.report.times import time_courses

LONG = "torchvision_vit_base_patch16_224.encoder.layers.encoder_layer_{}.mlp.activation_with_a_very_long_name"
NAMES = {
    "usual": [("alexnet", [f"features.{i}" for i in (1, 4, 7, 9, 11)] + ["classifier.2"]), ("category", [""])],
    "one": [("category", [""])],
    "long": [("mobilenet_v3_large_quantised_for_phones", [LONG.format(i) for i in range(3)]), ("classifier" * 6, [""])],
    "nine models": [(f"network_{i}", ["conv1", "conv2"]) for i in range(9)],
    "forty layers": [("resnet152", [f"layer{i // 10}.{i % 10}.conv3" for i in range(40)])],
    "unicode": [("שלום", ["שכבה 1", "שכבה 2"]), ("Ångström & <b> $x_1$", ["é", "$\\frac{", "a_b^c"])],
}
TIMES = np.arange(-20, 80) / 100


@pytest.fixture(params=NAMES)
def references(request) -> pd.DataFrame:
    rows = [(model, layer) for model, layers in NAMES[request.param] for layer in layers]
    return pd.DataFrame(rows, columns=["model", "layer"])


def assert_good(*figures: Figure) -> None:
    assert [fault for figure in figures for fault in faults(figure)] == []


def scores_of(table: pd.DataFrame, volume, values=None) -> ScoreMap:
    rng = np.random.default_rng(0)
    drawn = rng.uniform(-0.9, -0.1, (len(table), volume.n_voxels)) if values is None else values
    return ScoreMap(drawn, table.assign(statistic="spearman", role=REFERENCE), volume)


def fits(table: pd.DataFrame, n_subjects: int, regions=("V1",)) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    parts = [table.assign(subject=f"{i:02d}", region=region) for i in range(n_subjects) for region in regions]
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(score=rng.uniform(-0.2, 0.1, len(rows)), statistic="kendall_tau_a")


def test_rdms(references):
    rng = np.random.default_rng(0)
    for n, of_each in ((3, 1), (60, 12)):
        rdms = RDMs(rng.random((len(references), n * (n - 1) // 2)), [f"face_{i}" for i in range(n)], references)
        rdms.values[0, 0] = np.nan
        categories = pd.Series([f"a rather long category {i // of_each}" for i in range(n)], rdms.conditions)
        assert_good(rdm_grid(rdms, reference_names(references), categories))
    assert_good(rdm_similarity(rdms, reference_names(references)))


def test_rdms_of_many_conditions():
    rng = np.random.default_rng(0)
    rdms = RDMs(
        rng.random((9, 300 * 299 // 2)), [f"face_{i}" for i in range(300)], pd.DataFrame({"time_s": TIMES[::11][:9]})
    )
    for of_each in (60, 1):
        categories = pd.Series([f"a rather long category {i // of_each}" for i in range(300)], rdms.conditions)
        assert_good(rdm_movie_strip(rdms, categories=categories))


def test_bars_and_profiles(references):
    bounds = pd.DataFrame({"region": ["V1"], "ceiling_lower": [0.2], "ceiling_upper": [0.3]})
    assert_good(region_bars(fits(references, 20, ["V1", "a region of the atlas with a long name", "IT"]), bounds))
    assert_good(region_bars(fits(references, 1), bounds), profile(fits(references, 20).drop(columns="region")))


def test_brains_of_one(references):
    scores = scores_of(references[:16], single_slice())
    scores.values[0] = np.nan
    assert_good(glass_grid([("subject 01", scores)]), slices(scores))


def test_brains_of_many(references):
    scores = scores_of(references[:12], single_slice())
    assert_good(glass_grid([(f"a subject with a name that is long {i}", scores) for i in range(3)]))


def test_brains_of_twenty_subjects_and_of_three_views():
    scores = scores_of(pd.DataFrame({"model": ["net"], "layer": ["a"]}), single_slice())
    assert_good(glass_grid([(f"{i:02d}", scores) for i in range(20)]))
    volume = mni()
    scores = scores_of(pd.DataFrame({"model": ["net"] * 2, "layer": ["a", "b"]}), volume)
    assert_good(glass_grid([("", scores)], space="MNI152"), slices(scores, space="MNI152"))


def test_colours_of_layers(references):
    volume, labels = single_slice(), list(references["layer"])
    numbers = 1.0 + np.arange(volume.n_voxels)[None] % len(labels)
    row = scores_of(references[:1], volume, numbers)
    assert_good(label_slices(row, labels), signed_slices(row, "rank correlation of number of layer and score"))
    assert_good(
        label_slices(scores_of(references[:1], volume, 1.0 + numbers % 31), [f"{10 * i} ms" for i in range(33)])
    )


def test_courses(references):
    keys = references.merge(pd.DataFrame({"time_s": TIMES}), how="cross")
    rng = np.random.default_rng(2)
    table = keys.assign(mean=rng.normal(0, 0.1, len(keys)), statistic="spearman", ceiling_lower=0.4, ceiling_upper=0.5)
    table = table.assign(lower=table["mean"] - 0.1, upper=table["mean"] + 0.1, p=rng.random(len(keys)))
    latencies = references.assign(onset_s=0.05, peak_s=0.1, peak_lower_s=0.08, peak_upper_s=0.2)
    rho = references[["model"]].drop_duplicates().assign(rho=-0.5, lower=-0.6, upper=0.1)
    several = references["model"].duplicated().any()
    assert_good(layer_time_figure(table, latencies), *([latency_figure(latencies, rho)] if several else []))
    moving = keys.assign(score=table["mean"], x_mm=-12.0, y_mm=-94.0, z_mm=0.0, significant=table["p"] < 0.05)
    assert_good(time_courses(moving, "spearman", "ms"), time_courses(moving, "spearman", "s"))


def test_films_and_times_against_times():
    rows = pd.DataFrame({"model": "meeg", "layer": "", "time_s": TIMES[::10]})
    assert_good(film_strip(scores_of(rows, oblique())))
    matrix = np.eye(len(TIMES)) - 0.5
    assert_good(generalisation_figure(matrix, TIMES, score="spearman", between=True, title="a title " * 9))


def test_names_are_wrapped_before_they_are_shortened():
    names, points = fitted(["mobilenet_v3.classifier.1", "fc"], 0.85, 8.0)
    assert names == ["mobilenet_\nv3.classifier.1", "fc"]
    assert inches_of(names, points) <= 0.85
    (name,), points = fitted(["x" * 50], 0.85, 8.0)
    assert points == SMALL
    assert "…" in name
    assert inches_of([name], SMALL) <= 0.85


def test_scores_of_every_second_voxel_fill_their_blocks():
    volume = oblique()
    table = pd.DataFrame({"model": ["net"], "layer": ["a"]})
    centres = (volume.indices % 2 == 1).all(axis=1)
    scores = scores_of(table, volume, np.where(centres, 0.5, np.nan)[None])
    fill = centre_of(scores)
    assert centres[fill].mean() > 0.8
    nearest = np.abs(volume.indices[fill] - volume.indices).max(axis=1)
    assert nearest.max() == 1
    assert (fill[centres] == np.flatnonzero(centres)).all()
    assert "every second voxel" in stride_words(scores)
    whole = scores_of(table, volume)
    assert (centre_of(whole) == np.arange(volume.n_voxels)).all()
    assert stride_words(whole) == ""


def test_differences_are_drawn_with_what_is_significant_of_them(tmp_path):
    volume = single_slice()
    rows = [
        ("net", "mean", REFERENCE),
        ("late less early", "difference", TEST),
        ("late less early", "logp_max_stat", TEST),
    ]
    table = pd.DataFrame(rows, columns=["model", "statistic", "role"]).assign(layer="")
    values = np.random.default_rng(0).uniform(-0.2, 0.2, (3, volume.n_voxels))
    values[2] = np.where(values[1] > 0.1, 2.0, 0.1)
    group = ScoreMap(values, table, volume)
    contrasts = [{"name": "late less early", "a": "net fc", "b": "net conv1"}]
    settings = {"inference": {"alpha": 0.05, "contrasts": contrasts}}
    one = ScoreMap(values[:1], table[:1].assign(subject="01", statistic="spearman"), volume)
    paths = group_figures(
        [("01", one)], None, None, space="T1w", folder=tmp_path, differences=_differences(group), settings=settings
    )
    said = caption_of(paths[-1])
    assert paths[-1].name == "contrasts.png"
    assert "late less early is net fc less net conv1." in said
    assert "outlined: p ≤ .05" in said
    assert _differences(ScoreMap(values[:1], table[:1], volume)) is None


@pytest.mark.dots
def test_figures_have_the_dots_that_are_asked_for_and_no_more_than_all(tmp_path):
    for asked, n_dots in ((None, DPI), (150, 150), (2 * DPI, DPI)):
        with Image.open(save_figure(tmp_path / "a.png", Figure((1, 1)), dpi=asked)) as image:
            assert image.size == (n_dots, n_dots)


def test_figures_of_tests_have_few_dots(tmp_path):
    for asked in (None, 150):
        with Image.open(save_figure(tmp_path / "a.png", Figure((1, 1)), dpi=asked)) as image:
            assert image.size == (60, 60)


@pytest.mark.parametrize(("n_panels", "width", "n_layers"), [(1, 3.0, 30), (5, 0.7, 4), (1, 3.0, 1)])
def test_titles_layers_and_legends_of_panels_have_room(n_panels, width, n_layers):
    layers = [f"features.{i}.expand3x3.activation" for i in range(n_layers)]
    handles = layer_handles(layers, ["black"] * n_layers)
    figure, rows = panels([width] * n_panels, n_down=2, foot=1.0, handles=handles)
    for row, named in zip(rows, (False, True), strict=True):
        for axes in row:
            axes.plot([0.02, 0.98])
            give_title(axes, "parahippocampal place area and what is beside it")
            dress(axes)
            layers_below(axes, layers if width > 1 else layers[:4], named)
    assert [len(row) for row in rows] == [n_panels] * 2
    assert [handle.get_label()[:10] for handle in handles][-1] == f"features.{n_layers - 1}"[:10]
    assert len(handles) == min(n_layers, 3 if n_layers > 4 else 4)
    assert faults(figure) == []
