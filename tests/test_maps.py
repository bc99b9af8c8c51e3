"""Derived maps and peaks, by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from rsa.core import PART, QUALITY, REFERENCE, TEST, ScoreMap, Volume, select
from rsa.errors import UserError
from rsa.inference.group import CEILINGS
from rsa.maps import (
    DATA_QUALITY,
    MAPS,
    best_layer,
    derive,
    derive_all,
    layer_gradient,
    layered_models,
    peaks,
    stack,
    time_of_highest,
    times_of,
)
from rsa.onsets import time_of_onset

NAN = np.nan


def test_best_layer_by_hand():
    scores = np.array(
        [
            [0.1, 0.5, -0.2, NAN, NAN, 0.3],
            [0.4, 0.2, -0.1, 0.2, NAN, 0.3],
            [0.3, 0.1, 0.0, 0.1, NAN, 0.1],
        ]
    )
    # the second; the first; none above 0; the second of those that there are; none; the first of two that tie
    np.testing.assert_array_equal(best_layer(scores), [2, 1, NAN, 2, NAN, 1])


def test_layer_gradient_by_hand():
    scores = np.array([[0.0, 0.5, 0.2, 0.1], [0.1, 0.5, 0.2, NAN], [0.2, 0.5, -0.4, 0.3]])
    # depths 0, 1/2, 1: slope = last - first; the middle counts for nothing
    np.testing.assert_allclose(layer_gradient(scores), [0.2, 0, -0.6, NAN], atol=1e-12)


def test_layer_gradient_is_the_slope_of_a_least_squares_line(rng):
    scores = rng.standard_normal((7, 5))
    expected = np.polyfit(np.linspace(0, 1, 7), scores, 1)[0]
    np.testing.assert_allclose(layer_gradient(scores), expected, atol=1e-12)


@pytest.fixture
def scores():
    table = pd.DataFrame(
        {
            "subject": "01",
            "model": ["net", "net", "flat", "wide", "wide"],
            "layer": ["a", "b", "", "x", "y"],
            "statistic": "spearman",
        }
    )
    values = [[0.1, 0.5], [0.4, NAN], [0.9, 0.9], [0.3, -0.1], [0.2, -0.2]]
    return ScoreMap(values, table, Volume(np.ones((2, 1, 1)), np.eye(4)))


def test_maps_of_cosines_are_made_only_where_unrelated_rdms_score_0(scores):
    cosines = replace(scores, table=scores.table.assign(statistic="cosine"))
    for name in ("best_layer", "layer_gradient"):
        with pytest.raises(UserError, match=f"The map {name} reads scores against 0, and by cosine unrelated RDMs"):
            derive(cosines, name)
        made = derive(cosines, name, distance="crossnobis")
        np.testing.assert_array_equal(made.values, derive(scores, name).values)
    with pytest.raises(UserError, match="these are of the distance euclidean"):
        derive_all(cosines, MAPS, distance="euclidean")
    assert [name for name, entry in MAPS.items() if not entry.against_0] == ["onset_time"]


def test_a_derived_map_for_every_model_with_layers(scores):
    assert layered_models(scores.table) == ["net", "wide"]
    made = derive(scores, "best_layer")
    np.testing.assert_array_equal(made.values, [[2, 1], [1, NAN]])
    assert made.labels.to_dict("list") == {
        "subject": ["01", "01"],
        "model": ["net", "wide"],
        "layer": ["", ""],
        "statistic": ["best_layer", "best_layer"],
    }
    gradient = derive(scores, "layer_gradient")
    np.testing.assert_allclose(gradient.values, [[0.3, NAN], [-0.1, -0.1]], atol=1e-6)
    assert gradient.volume is scores.volume


def test_all_derived_maps_in_one_stack(scores):
    together = derive_all(scores, list(MAPS))
    each = [derive(scores, name) for name in ("best_layer", "layer_gradient")]  # the others need times
    np.testing.assert_array_equal(together.values, np.concatenate([one.values for one in each]))
    assert list(together.table["statistic"]) == [name for one in each for name in one.table["statistic"]]
    assert derive_all(scores, []) is None


def test_derived_map_needs_layers(scores):
    flat = ScoreMap(scores.values[2:3], scores.table.iloc[2:3], scores.volume)
    with pytest.raises(
        UserError, match="The map best_layer needs a model with two layers or more; the scores have none"
    ):
        derive(flat, "best_layer")


def test_unknown_map(scores):
    with pytest.raises(UserError, match=f"Unknown map 'best'.*Choose one of: {', '.join(MAPS)}"):
        derive(scores, "best")


# ------------------------------------------------------------------------------------------ over time

TIMES = [0.1, 2.5, 5.0]


def over_time(values, **columns):
    """Scores of a model with two layers and of one without, at three times that do not come in order."""
    rows = [
        (time, model, layer) for time in (2.5, 0.1, 5.0) for model, layer in (("net", "a"), ("net", "b"), ("x", ""))
    ]
    table = pd.DataFrame(rows, columns=["time_s", "model", "layer"]).assign(
        subject="01", statistic="spearman", **columns
    )
    n_voxels = np.shape(values)[1]
    return ScoreMap(values, table, Volume(np.ones((n_voxels, 1, 1)), np.eye(4)))


@pytest.fixture
def timed(rng):
    values = rng.uniform(-0.3, 0.9, (9, 40)).astype(np.float32)
    values[:, :5] = -np.abs(values[:, :5])  # no score above 0
    values[rng.random(values.shape) < 0.1] = NAN
    values[:, 5] = NAN
    return over_time(values)


def score_of(scores, model, layer, time, voxel):
    table = scores.table
    (row,) = np.flatnonzero((table["model"] == model) & (table["layer"] == layer) & (table["time_s"] == time))
    return scores.values[row, voxel]


def best(pairs):
    """The label of the highest of (label, score), as a reader would look for it; NaN if none is above 0."""
    found = NAN, 0.0
    for label, score in pairs:
        if score > found[1]:
            found = label, score
    return found[0]


def test_time_of_highest_by_hand():
    scores = np.array([[0.1, -0.1, NAN, 0.2, NAN], [0.4, -0.3, 0.1, 0.2, NAN]])
    np.testing.assert_array_equal(time_of_highest(scores, [1.5, 4.0]), [4, NAN, 4, 1.5, NAN])


def test_maps_over_layers_are_made_at_every_time(timed):
    for name in ("best_layer", "layer_gradient"):
        made = derive(timed, name)
        assert made.table["time_s"].tolist() == TIMES
        assert set(made.table["model"]) == {"net"}
        assert set(made.table["layer"]) == {""}
        for values, time in zip(made.values, TIMES, strict=True):
            at_time = timed.table["time_s"] == time
            alone = ScoreMap(timed.values[at_time], timed.table[at_time].drop(columns="time_s"), timed.volume)
            np.testing.assert_array_equal(values, derive(alone, name).values[0])


def test_peak_time_is_made_for_every_reference(timed):
    made = derive(timed, "peak_time")
    assert list(zip(made.table["model"], made.table["layer"], strict=True)) == [("net", "a"), ("net", "b"), ("x", "")]
    assert made.table["time_s"].isna().all()
    assert set(made.table["statistic"]) == {"peak_time"}
    for values, (model, layer) in zip(made.values, made.table[["model", "layer"]].to_numpy(), strict=True):
        expected = [best((t, score_of(timed, model, layer, t, voxel)) for t in TIMES) for voxel in range(40)]
        np.testing.assert_array_equal(values, np.float32(expected))
    assert np.isnan(made.values[:, :6]).all()
    assert np.isfinite(made.values[:, 6:]).any()


def test_time_of_best_layer_looks_at_all_layers_and_times(timed):
    made = derive(timed, "time_of_best_layer")
    assert made.table[["model", "layer", "statistic"]].to_numpy().tolist() == [["net", "", "time_of_best_layer"]]
    pairs = [[(t, score_of(timed, "net", layer, t, v)) for t in TIMES for layer in "ab"] for v in range(40)]
    np.testing.assert_array_equal(made.values[0], np.float32([best(one) for one in pairs]))


def test_maps_that_need_times_or_layers_are_left_out_where_there_are_none(timed, scores):
    assert set(derive_all(timed, MAPS).table["statistic"]) == set(MAPS) - {"onset_time"}
    assert set(derive_all(scores, MAPS).table["statistic"]) == {"best_layer", "layer_gradient"}
    assert set(derive_all(select(timed, model="x"), MAPS).table["statistic"]) == {"peak_time"}
    assert derive_all(select(scores, model="flat"), MAPS) is None
    one_time = derive_all(select(timed, time_s="2.5"), MAPS)
    assert one_time.table[["statistic", "time_s"]].to_numpy().tolist() == [["best_layer", 2.5], ["layer_gradient", 2.5]]
    with pytest.raises(UserError, match="The map peak_time needs scores at two times or more; the scores have none"):
        derive(scores, "peak_time")
    with pytest.raises(UserError, match="needs a model with two layers or more and scores at two times or more"):
        derive(select(timed, model="x"), "time_of_best_layer")


BEFORE = np.arange(-8, 4) / 100


def around_onset(values, times_s=BEFORE):
    """Scores of a reference without times and of two layers at the times, each voxel of `values` twice."""
    references = [("x", "", np.nan), *(("meeg", layer, time) for time in times_s[::-1] for layer in "ab")]
    table = pd.DataFrame(references, columns=["model", "layer", "time_s"]).assign(statistic="spearman")
    rows = np.repeat(np.asarray(values)[::-1], 2, axis=0)  # (2 * n_times, n_voxels)
    return ScoreMap(np.vstack([rows[:1], rows]), table, Volume(np.ones((rows.shape[1], 1, 1)), np.eye(4)))


def test_onset_time_is_made_of_all_times_of_each_layer_and_reference(rng):
    values = 0.1 * rng.standard_normal((12, 9))
    values[9:, :2] += 20
    scores = around_onset(values)
    made = derive(scores, "onset_time")
    np.testing.assert_array_equal(made.values, np.float32([[0.01, 0.01, *[NAN] * 7]] * 2))
    assert made.table[["model", "layer", "statistic"]].to_numpy().tolist() == [
        ["meeg", "a", "onset_time"],
        ["meeg", "b", "onset_time"],
    ]
    assert made.table["time_s"].isna().all()
    np.testing.assert_array_equal(
        made.values[0], np.float32(time_of_onset(select(scores, layer="a").values[::-1], BEFORE))
    )
    assert "onset_time" in set(derive_all(scores, MAPS).table["statistic"])
    shares = replace(scores, table=scores.table.assign(statistic="commonality", role=PART))
    assert "onset_time" not in set(derive_all(shares, MAPS).table["statistic"])


@pytest.mark.parametrize("times_s", [BEFORE[7:], BEFORE + 2.5, BEFORE - 0.04])
def test_without_a_baseline_or_times_after_it_there_is_no_onset_map(rng, times_s):
    scores = around_onset(rng.random((len(times_s), 4)), times_s)
    assert "onset_time" not in set(derive_all(scores, MAPS).table["statistic"])
    message = (
        "The map onset_time needs scores at two times or more before 0 s, and at some from then on; the scores have"
    )
    with pytest.raises(UserError, match=message):
        derive(scores, "onset_time")


def test_rows_that_tell_how_good_the_data_are_make_no_map(timed):
    for name in DATA_QUALITY:
        renamed = timed.table.replace({"model": {"x": name}})
        roles = np.where(renamed["model"] == name, QUALITY, REFERENCE)
        rows = ScoreMap(timed.values, renamed.assign(role=roles), timed.volume)
        assert set(derive_all(rows, MAPS).table["model"]) == {"net"}
        assert set(derive_all(ScoreMap(timed.values, renamed, timed.volume), MAPS).table["model"]) == {"net", name}
    assert set(CEILINGS) < set(DATA_QUALITY)


def test_a_layer_without_a_time_is_an_error(timed):
    for kept in (np.arange(9) != 1, np.arange(9)[[0, 1, 2, 3, 4, 5, 6, 6, 8]]):
        broken = ScoreMap(
            timed.values[kept], timed.table[kept] if kept.dtype == bool else timed.table.iloc[kept], timed.volume
        )
        with pytest.raises(
            UserError, match=r"net has (5|6) maps, where 2 layers at 3 times make 6; give every layer at"
        ):
            derive(broken, "best_layer")


def test_times_are_listed_in_order(timed, scores):
    assert times_of(timed.table) == TIMES
    assert times_of(scores.table) == times_of(scores.table.assign(time_s=NAN)) == []


# ---------------------------------------------------------------------------------------------- peaks


def line(values, **extra):
    """A line of voxels 3 mm apart along x, the first at x = -6 mm."""
    affine = np.diag([3.0, 3, 3, 1])
    affine[0, 3] = -6
    volume = Volume(np.ones((np.shape(values)[-1], 1, 1)), affine)
    rows = np.atleast_2d(values)
    return ScoreMap(rows, pd.DataFrame({"layer": [f"layer{n}" for n in range(len(rows))]}), volume, **extra)


def test_peaks_by_hand():
    found = peaks(line([0.5, 0.9, 0.8, 0.1, NAN, 0.7], n_members=np.arange(6) + 10), n_peaks=3, separation_mm=6.0)
    assert list(found) == ["layer", "peak", "x_mm", "y_mm", "z_mm", "score", "n_voxels"]
    # 0.8 and 0.5 lie 3 mm from 0.9; 0.1 lies exactly 6 mm from both peaks
    assert found["x_mm"].tolist() == [-3, 9, 3]
    assert found["peak"].tolist() == [1, 2, 3]
    assert found["n_voxels"].tolist() == [11, 15, 13]
    np.testing.assert_allclose(found["score"], [0.9, 0.7, 0.1], atol=1e-6)


def test_every_map_has_peaks_of_its_own():
    found = peaks(line([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [NAN, NAN, NAN]]), n_peaks=1)
    assert found["layer"].tolist() == ["layer0", "layer1"]
    assert found["x_mm"].tolist() == [0, -6]
    assert found["n_voxels"].isna().all()


def test_peaks_without_separation_are_different_voxels():
    found = peaks(line([0.1, 0.3, 0.2]), n_peaks=5, separation_mm=0)
    assert found["x_mm"].tolist() == [-3, 0, -6]


def test_peaks_may_be_the_separation_apart_on_a_grid_in_single_precision():
    volume = Volume(np.ones((6, 1, 1)), np.diag(np.float32([3.3, 3.3, 3.3, 1])))
    scores = ScoreMap([[0.9, 0, 0, 0, 0, 0.8]], pd.DataFrame({"layer": ["x"]}), volume)
    assert peaks(scores, n_peaks=2, separation_mm=16.5)["score"].round(3).tolist() == [0.9, 0.8]
    assert peaks(scores, n_peaks=2, separation_mm=16.51)["score"].round(3).tolist() == [0.9]


def test_map_without_scores_has_no_peak_but_columns():
    found = peaks(line([NAN, NAN]))
    assert len(found) == 0
    assert "score" in found


def test_regions_have_no_peaks():
    scores = ScoreMap([[0.1]], pd.DataFrame({"layer": ["x"]}), regions=pd.DataFrame({"region": ["V1"]}))
    with pytest.raises(UserError, match="Peaks are looked for in volumes; these scores are of regions"):
        peaks(scores)


def test_peaks_have_a_time_only_where_there_are_times(timed):
    found = peaks(timed, n_peaks=1, separation_mm=0)
    assert found.columns.tolist()[:2] == ["time_s", "model"]
    for row in found.itertuples():
        assert row.score == score_of(timed, row.model, row.layer, row.time_s, round(row.x_mm))
    assert "time_s" not in peaks(ScoreMap(timed.values, timed.table.assign(time_s=NAN), timed.volume), n_peaks=1)


def test_peaks_have_the_corrected_p_of_their_voxel_and_tests_have_no_peaks():
    scores = line([0.1, 0.5, 0.2, 0.4])
    scores = replace(scores, table=scores.table.assign(model="net", statistic="mean"))
    p = np.array([[0.9, 0.001, 0.5, 0.04]])
    table = scores.table.assign(role=TEST)
    found = [replace(scores, values=-np.log10(p), table=table.assign(statistic="logp_max_tfce"))]
    found.append(replace(scores, values=np.full((1, 4), 9.0), table=table.assign(statistic="t")))
    with_p = peaks(stack([scores, *found]), n_peaks=2, separation_mm=0)
    assert with_p["score"].tolist() == pytest.approx([0.5, 0.4])
    assert with_p["p_corrected"].tolist() == pytest.approx([0.001, 0.04])
    assert "p_corrected" not in peaks(scores)
    other = replace(scores, table=scores.table.assign(layer="untested"))
    assert peaks(stack([scores, other, found[0]]), n_peaks=1)["p_corrected"].isna().tolist() == [False, True]
