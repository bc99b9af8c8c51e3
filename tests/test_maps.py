"""Derived maps and peaks, by hand."""

import numpy as np
import pandas as pd
import pytest

from rsa.core import ScoreMap, Volume
from rsa.errors import UserError
from rsa.maps import MAPS, best_layer, derive, derive_all, layer_gradient, layered_models, peaks

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


def test_a_derived_map_for_every_model_with_layers(scores):
    assert layered_models(scores.table) == ["net", "wide"]
    made = derive(scores, "best_layer")
    np.testing.assert_array_equal(made.values, [[2, 1], [1, NAN]])
    assert made.table.to_dict("list") == {
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
    each = [derive(scores, name) for name in MAPS]
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


def test_map_without_scores_has_no_peak_but_columns():
    found = peaks(line([NAN, NAN]))
    assert len(found) == 0
    assert "score" in found


def test_regions_have_no_peaks():
    scores = ScoreMap([[0.1]], pd.DataFrame({"layer": ["x"]}), regions=pd.DataFrame({"region": ["V1"]}))
    with pytest.raises(UserError, match="Peaks are looked for in volumes; these scores are of regions"):
        peaks(scores)
