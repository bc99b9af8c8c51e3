"""Permutation tests: counted as they come, but as if every permuted map had been kept."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import squareform

from rsa.comparisons import COMPARISONS
from rsa.core import Patterns, RDMs, Volume
from rsa.errors import UserError
from rsa.inference.permutation import permutation_test
from rsa.neighbourhood import from_masks, spheres
from rsa.searchlight import RunSettings, compare

N = 9


def study(seed=0, planted=0.0):
    """Random patterns; the first reference is the RDM of a code that half of the voxels carry, if it is planted."""
    rng = np.random.default_rng(seed)
    volume = Volume(np.ones((6, 5, 4)), np.eye(4))
    names = [f"img{i}" for i in range(N)]
    code = rng.standard_normal((N, 30))
    values = rng.standard_normal((N, volume.n_voxels))
    values[:, volume.indices[:, 0] < 3] += planted * code @ rng.standard_normal((30, 60))
    distances = np.stack([1 - np.corrcoef(code)[np.triu_indices(N, 1)], rng.integers(0, 3, N * (N - 1) // 2)])
    references = RDMs(distances, names, pd.DataFrame({"layer": ["code", "ties"]}))
    return Patterns(values, pd.DataFrame({"condition": names}), volume), references


def permuted(references, order):
    """Give every condition the row and column of another."""
    matrices = [squareform(row)[np.ix_(order, order)] for row in references.values]
    return RDMs(np.stack([squareform(rdm) for rdm in matrices]), references.conditions, references.table)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_equals_the_maps_of_every_permuted_reference(comparison):
    patterns, references = study()
    around = spheres(patterns.volume, 2)
    test = permutation_test(patterns, around, references, n_permutations=40, seed=3, comparison=comparison)
    rng = np.random.default_rng(3)
    null = [
        compare(patterns, around, permuted(references, rng.permutation(N)), comparison=comparison).values
        for _ in range(40)
    ]
    observed = compare(patterns, around, references, comparison=comparison)
    np.testing.assert_array_equal(test.scores.values, observed.values)
    np.testing.assert_allclose(test.maxima, np.max(null, axis=2).T, atol=1e-6)
    differences = np.stack(null) - observed.values
    assert (test.exceedances >= (differences >= 0).sum(axis=0)).all()
    assert (test.exceedances <= (differences >= -2e-6).sum(axis=0)).all()
    assert test.exceedances.max() > test.exceedances.min()


def test_blocks_and_threads_change_nothing(monkeypatch):
    patterns, references = study()
    around = spheres(patterns.volume, 2)
    one = permutation_test(patterns, around, references, n_permutations=37, seed=1)
    monkeypatch.setattr("rsa.inference.permutation.PERMUTED", 8)
    monkeypatch.setattr("rsa.inference.permutation.CENTRES", 64)
    done = []
    other = permutation_test(
        patterns, around, references, n_permutations=37, seed=1, run=RunSettings(n_threads=2, progress=done.append)
    )
    assert done == [64, 56]
    np.testing.assert_array_equal(other.exceedances, one.exceedances)
    np.testing.assert_allclose(other.maxima, one.maxima, atol=1e-6)
    another = permutation_test(patterns, around, references, n_permutations=37, seed=2)
    assert (another.exceedances != one.exceedances).any()


def test_p_values_by_hand():
    patterns, references = study()
    scores = compare(patterns, from_masks(patterns.volume, {"all": np.ones(120, bool)}), references)
    scores.values[:] = [[0.5], [np.nan]]
    test = PermutationTest(scores, np.array([[3], [0]]), np.array([[0.1, 0.5, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4]]))
    np.testing.assert_array_equal(test.p_values(), [[4 / 5], [np.nan]])
    np.testing.assert_array_equal(test.corrected_p_values(), [[4 / 5], [np.nan]])  # 0.5, 0.6 and 0.7 reach 0.5


def test_what_is_planted_is_found_and_nothing_else():
    patterns, references = study(planted=3.0)
    test = permutation_test(patterns, spheres(patterns.volume, 3), references, n_permutations=199, seed=0)
    inside = patterns.volume.indices[:, 0] == 0
    corrected = test.corrected_p_values()
    assert (corrected[0, inside] <= 0.05).mean() > 0.8
    assert (corrected[1] > 0.05).all()
    assert (test.p_values() <= corrected).all()


def test_without_signal_p_values_are_uniform():
    """Over 40 brains of one region each: the mean of a uniform variable within 4 standard errors."""
    p_values = []
    for seed in range(40):
        patterns, references = study(seed=seed)
        whole = from_masks(patterns.volume, {"all": np.ones(120, bool)})
        test = permutation_test(patterns, whole, references, n_permutations=99, seed=seed)
        assert test.scores.regions["region"].tolist() == ["all"]
        p_values.append(test.p_values()[0, 0])
    assert abs(np.mean(p_values) - 0.5) < 4 * np.sqrt(1 / 12 / 40)
    assert min(p_values) >= 1 / 100


def test_a_permutation_at_least():
    patterns, references = study()
    with pytest.raises(UserError, match="needs 1 permutation at least, not 0"):
        permutation_test(patterns, spheres(patterns.volume, 2), references, n_permutations=0, seed=0)
