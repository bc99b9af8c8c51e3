"""p values from permuted statistics: every count by hand, families, and what is written of a test."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from rsa.core import TEST, Volume
from rsa.errors import UserError
from rsa.inference.enhance import ENHANCEMENTS, enhance
from rsa.inference.graph import voxel_graph
from rsa.inference.tally import FDR, MAXIMUM, Correction, adjusted_p, families_of, rows_of, tally
from rsa.significance import PRIMARY, primary_name

TABLE = pd.DataFrame(
    {
        "model": ["net"] * 4 + ["meeg"] * 2,
        "layer": ["a", "b", "a", "b", "", ""],
        "time_s": [0.1, 0.1, 0.2, 0.2, 0.2, 0.1],
    }
)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (["voxels"], [0, 1, 2, 3, 4, 5]),
        (["voxels", "times"], [0, 1, 0, 1, 2, 2]),
        (["voxels", "layers"], [0, 0, 1, 1, 2, 3]),
        (["voxels", "times", "layers"], [0, 0, 0, 0, 1, 1]),
        (["voxels", "times", "models"], [0, 1, 0, 1, 2, 2]),
        (["voxels", "times", "layers", "models"], [0, 0, 0, 0, 0, 0]),
    ],
)
def test_families_share_what_they_are_corrected_over(family, expected):
    families = families_of(TABLE, family)
    assert families.of_rows.tolist() == expected
    maps = [rows.tolist() for rows in families.maps]
    assert maps == ([[0, 2], [1, 3], [5, 4]] if "times" in family else [[row] for row in range(6)])


def test_without_times_each_map_is_a_family():
    families = families_of(TABLE.drop(columns="time_s").iloc[:2], ["voxels", "times"])
    assert families.of_rows.tolist() == [0, 1]
    assert [rows.tolist() for rows in families.maps] == [[0], [1]]


def by_hand(statistic, permuted, families, two_sided, graph, kind, threshold):
    """Count as the definitions say, with all maps at hand."""
    size = np.abs if two_sided else np.asarray
    p = (1 + (size(permuted) >= size(statistic)).sum(axis=0)) / (1 + len(permuted))

    def enhanced(values):
        found = np.full(values.shape, np.nan)
        for rows in families.maps:
            how = {} if threshold is None else {"threshold": threshold[rows[0]]}
            up = enhance(values[rows], graph, kind, **how)
            down = enhance(-values[rows], graph, kind, **how) if two_sided else 0
            found[rows] = up - down
        return found

    own, null = enhanced(statistic), np.stack([enhanced(one) for one in permuted])
    p_max, p_enhanced = np.empty(statistic.shape), np.empty(statistic.shape)
    for row, family in enumerate(families.of_rows):
        rows = families.of_rows == family
        highest, best = np.nanmax(size(permuted[:, rows]), axis=(1, 2)), np.nanmax(np.abs(null[:, rows]), axis=(1, 2))
        p_max[row] = [(1 + (highest >= value).sum()) / (1 + len(permuted)) for value in size(statistic[row])]
        p_enhanced[row] = [(1 + (best >= abs(value) * (1 - 1e-5)).sum()) / (1 + len(permuted)) for value in own[row]]
    return p, p_max, p_enhanced


@pytest.mark.parametrize("kind", ["tfce", "cluster_mass", "cluster_size"])
@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
@pytest.mark.parametrize("family", [("voxels",), ("voxels", "times"), ("voxels", "layers", "times")])
def test_every_p_is_the_count_that_it_says(rng, kind, alternative, family):
    volume = Volume(np.ones((4, 4, 3), bool), np.eye(4))
    graph = voxel_graph(volume)
    statistic = rng.standard_normal((6, 48)).astype(np.float32).astype(np.float64)
    permuted = rng.standard_normal((25, 6, 48)).astype(np.float32)
    statistic[:, 5] = permuted[:, :, 5] = np.nan
    correction = Correction(alternative, family, kind, graph)
    thresholds = np.full(6, 1.0) if kind != "tfce" else None
    how = {"n_permutations": 25, "thresholds": thresholds}
    test = tally(statistic, [permuted[:10], permuted[10:]], TABLE, correction, **how)
    expected = by_hand(statistic, permuted, test.families, alternative == "two-sided", graph, kind, thresholds)
    defined = np.arange(48) != 5
    for found, wanted in zip((test.p, test.p_max, test.p_enhanced), expected, strict=True):
        np.testing.assert_array_equal(found[:, defined], wanted[:, defined])
        assert np.isnan(found[:, ~defined]).all()
    for number in range(test.families.n_families):
        rows = test.families.of_rows == number
        wanted = false_discovery_control(test.p[rows][:, defined].ravel())
        np.testing.assert_allclose(test.q[rows][:, defined].ravel(), wanted)
    again = tally(statistic, [permuted], TABLE, correction, n_threads=2, **how)
    np.testing.assert_array_equal(again.p_enhanced, test.p_enhanced)
    np.testing.assert_array_equal(again.deviation, test.deviation)


@pytest.mark.parametrize("procedure", FDR)
def test_p_adjusted_for_the_false_discovery_rate_are_those_of_scipy(rng, procedure):
    for p in (rng.random(500), rng.integers(1, 20, 500) / 250, np.array([0.3]), np.ones(4)):
        np.testing.assert_array_equal(adjusted_p(p, procedure), false_discovery_control(p, method=procedure))


def test_what_is_written_of_a_test(rng):
    statistic, permuted = rng.standard_normal((6, 4)), rng.standard_normal((99, 6, 4)).astype(np.float32)
    statistic[0, 0] = 9.0
    statistic[3, 2] = np.nan
    test = tally(statistic, [permuted], TABLE, Correction(), n_permutations=99)
    values, table = rows_of(TABLE, test.maps(statistic * 10))
    assert table["statistic"].drop_duplicates().tolist() == ["z", "logp", "logp_max_stat", "logq", "thresholded"]
    assert (table["role"] == TEST).all()
    maps = {name: values[(table["statistic"] == name).to_numpy()] for name in table["statistic"].unique()}
    assert maps["logp"][0, 0] == maps["logp_max_stat"][0, 0] == 2.0
    assert maps["thresholded"][0, 0] == 90.0
    assert (maps["thresholded"][1] == 0).all()
    assert all(np.isnan(of[3, 2]) for of in maps.values())
    about = test.about("t over subjects")
    assert set(about) == set(maps)
    assert {one["SmallestP"] for one in about.values()} == {0.01}
    assert about["logp_max_stat"]["Description"].startswith("-log10 of p, family-wise corrected over voxels (regions,")
    assert primary_name(maps) == "logp_max_stat"
    assert primary_name([*maps, "logp_max_tfce"]) == "logp_max_tfce"
    assert primary_name(["mean", "t"]) is None


def test_every_corrected_p_has_words_and_that_of_the_maximum_comes_last():
    assert list(PRIMARY) == [*(f"logp_max_{entry.statistic}" for entry in ENHANCEMENTS.values()), MAXIMUM]


def test_ways_of_correction_that_cannot_be():
    with pytest.raises(UserError, match="always corrected over voxels"):
        Correction(family=["times"])
    with pytest.raises(UserError, match="Unknown family 'sensors'"):
        Correction(family=["voxels", "sensors"])
    with pytest.raises(UserError, match="give a graph"):
        Correction(enhance="tfce")
    graph = voxel_graph(Volume(np.ones((2, 2, 2)), np.eye(4)))
    with pytest.raises(UserError, match="needs the threshold"):
        tally(np.zeros((6, 8)), [], TABLE, Correction(enhance="cluster_mass", graph=graph), n_permutations=9)
