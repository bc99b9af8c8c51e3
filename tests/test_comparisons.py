"""Comparisons equal scipy's, or the definition written out; 1 is 1, and what is undefined is NaN."""

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from strategies import quick, rdm_values, seeds

from rsa.comparisons import COMPARISONS, compare_vectors, ranks

RANK_COMPARISONS = ("spearman", "kendall_tau_a", "rho_a")


@pytest.mark.parametrize("comparison", COMPARISONS)
@quick
@given(a=rdm_values(6, 3), b=rdm_values(6, 4))
def test_equals_the_oracle(comparison, a, b):
    expected = [[oracles.compare(row, column, comparison) for column in b] for row in a]
    np.testing.assert_allclose(compare_vectors(a, b, COMPARISONS[comparison]), expected, atol=1e-9)


@quick
@given(rdm_values(6, 3))
def test_ranks_are_average_ranks(values):
    np.testing.assert_array_equal(ranks(values), rankdata(values, axis=-1))


@quick
@given(seed=seeds, n_groups=st.integers(1, 8))
def test_noise_breaks_no_tie_wherever_it_falls(seed, n_groups):
    """Any rounding to a grid would split some of these; being neighbours in order never does."""
    rng = np.random.default_rng(seed)
    clean = rng.random(n_groups)[rng.integers(0, n_groups, (5, 300))] + 0.1
    noisy = clean * (1 + 2e-16 * rng.integers(-9, 10, clean.shape))
    np.testing.assert_array_equal(ranks(noisy), rankdata(clean, axis=-1))


def test_ranks_of_a_row_with_nan_are_nan_and_leave_the_others():
    values = np.array([[3.0, 1, 2], [1, np.nan, 0], [5, 5, 4]])
    np.testing.assert_array_equal(ranks(values), [[3, 1, 2], [np.nan] * 3, [2.5, 2.5, 1]])


@pytest.mark.parametrize("comparison", ["spearman", "pearson", "cosine"])
@settings(quick, max_examples=10)
@given(seeds)
def test_an_rdm_is_like_itself_by_exactly_1(comparison, seed):
    rng = np.random.default_rng(seed)
    rdms = np.stack([rng.random(4186), rng.integers(0, 4, 4186).astype(float)])
    itself = np.diag(compare_vectors(rdms, rdms, COMPARISONS[comparison]))
    np.testing.assert_allclose(itself, 1, atol=0 if comparison == "spearman" else 1e-15)
    assert itself.max() <= 1


def test_rho_a_and_tau_a_reach_1_only_without_ties():
    untied, tied = np.arange(10.0), np.arange(10.0) // 2
    for name in ("rho_a", "kendall_tau_a"):
        assert compare_vectors(untied, untied, COMPARISONS[name])[0, 0] == pytest.approx(1, abs=1e-15)
        assert compare_vectors(untied, -untied, COMPARISONS[name])[0, 0] == pytest.approx(-1, abs=1e-15)
    # by hand: 5 of 45 pairs are ties; sum of squared centred ranks is 82.5 - 5 * 0.5
    assert compare_vectors(tied, tied, COMPARISONS["kendall_tau_a"])[0, 0] == pytest.approx(40 / 45)
    assert compare_vectors(tied, tied, COMPARISONS["rho_a"])[0, 0] == pytest.approx(12 * 80 / 990)


def test_values_by_hand():
    a, b = np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4])
    expected = {"spearman": 0.8, "pearson": 0.8, "kendall_tau_a": 2 / 3, "rho_a": 0.8, "cosine": 29 / 30}
    assert expected.keys() == COMPARISONS.keys()
    for name, value in expected.items():
        assert compare_vectors(a, b, COMPARISONS[name])[0, 0] == pytest.approx(value)


def test_rho_a_is_expected_spearman_when_ties_are_broken_at_random(rng):
    a, b = np.array([0.0, 0, 0, 1, 1, 2, 2, 2, 3, 4]), np.array([1.0, 0, 2, 2, 1, 2, 3, 0, 3, 3])
    broken = [
        compare_vectors(a + rng.uniform(0, 0.5, 10), b + rng.uniform(0, 0.5, 10), COMPARISONS["spearman"])[0, 0]
        for _ in range(2000)
    ]
    error = np.std(broken) / np.sqrt(len(broken))
    assert abs(np.mean(broken) - compare_vectors(a, b, COMPARISONS["rho_a"])[0, 0]) < 4 * error


def test_average_ranks_not_ordinal_ones():
    """A tied categorical model keeps its score when the conditions come in another order."""
    rng = np.random.default_rng(1)
    category = np.repeat([0, 1, 2], 5)
    rows, columns = np.triu_indices(15, 1)
    model = (category[rows] != category[columns]).astype(float)
    brain = model + rng.standard_normal(105) * 0.5
    order = rng.permutation(105)
    before = compare_vectors(brain, model, COMPARISONS["spearman"])
    np.testing.assert_array_equal(compare_vectors(brain[order], model[order], COMPARISONS["spearman"]), before)
    assert before[0, 0] == pytest.approx(oracles.compare(brain, model, "spearman"))


@pytest.mark.parametrize("comparison", RANK_COMPARISONS)
def test_rank_comparisons_see_only_the_order(comparison, rng):
    a, b = rng.random(28), rng.random(28)
    expected = compare_vectors(a, b, COMPARISONS[comparison])
    np.testing.assert_array_equal(compare_vectors(np.exp(3 * a) - 7, b**3, COMPARISONS[comparison]), expected)


@pytest.mark.parametrize("comparison", ["spearman", "pearson", "kendall_tau_a", "rho_a"])
def test_constant_but_for_noise_is_undefined(comparison, rng):
    constant = 1 + 2e-16 * rng.integers(-5, 6, 28)
    scores = compare_vectors(np.stack([constant, rng.random(28)]), rng.random((2, 28)), COMPARISONS[comparison])
    assert np.isnan(scores[0]).all()
    assert np.isfinite(scores[1]).all()


@pytest.mark.parametrize(
    ("name", "expected"), [("spearman", [2.5, 1, 2.5]), ("kendall_tau_a", [2.5, 1, 2.5]), ("rho_a", [2.5, 1, 2.5])]
)
def test_scale_of_averages_for_ranks(name, expected):
    np.testing.assert_array_equal(COMPARISONS[name].standardise(np.array([[7.0, 3, 7]])), [expected])


def test_scale_of_averages_for_the_others(rng):
    rdms = np.vstack([rng.random((2, 10)), np.full(10, 0.3), np.zeros(10)])
    z = COMPARISONS["pearson"].standardise(rdms)
    np.testing.assert_allclose(z[:2].mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(z[:2].std(axis=1), 1)
    assert np.isnan(z[2:]).all()
    unit = COMPARISONS["cosine"].standardise(rdms)
    np.testing.assert_allclose(np.linalg.norm(unit[:3], axis=1), 1)
    assert np.isnan(unit[3]).all()
