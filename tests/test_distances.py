"""Distances from sums of products equal those of scipy, in one block or in many."""

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import quick, seeds

from rsa.distances import DISTANCES, CrossProducts, cross_products, rdm_vectors

PAIRS_OF_12 = np.triu_indices(12, 1)


@pytest.mark.parametrize("distance", DISTANCES)
@given(seed=seeds, offset=st.sampled_from([0.0, -3.0, 1e4]), scale=st.sampled_from([1e-3, 1.0, 1e3]))
@quick
def test_equals_scipy(distance, seed, offset, scale):
    patterns = np.random.default_rng(seed).standard_normal((12, 40)) * scale
    if distance != "cosine" or scale > 1:
        patterns += offset
    np.testing.assert_allclose(
        rdm_vectors(patterns, DISTANCES[distance]), oracles.rdm(patterns, distance), rtol=1e-6, atol=1e-12
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 2e-6)])
@pytest.mark.parametrize("distance", DISTANCES)
@settings(quick, max_examples=10)
@given(seed=seeds, cuts=st.lists(st.integers(1, 59), max_size=5, unique=True))
def test_blocks_of_features_change_nothing(distance, dtype, tolerance, seed, cuts):
    """Nothing but the rounding of products in the precision of the features."""
    rng = np.random.default_rng(seed)
    patterns = (rng.standard_normal((12, 60)) + (0 if distance == "cosine" else 1e4)).astype(np.float32).astype(dtype)
    patterns[4] = 0.1  # constant, and not a number that binary fractions can write
    measure = DISTANCES[distance]
    together = measure.from_products(cross_products([patterns], measure.origin))
    split = measure.from_products(cross_products(np.split(patterns, sorted(cuts), axis=1), measure.origin))
    np.testing.assert_allclose(split, together, rtol=tolerance, atol=tolerance)
    undefined = (np.array(PAIRS_OF_12) == 4).any(axis=0) & (distance == "correlation")
    np.testing.assert_array_equal(np.isnan(split), undefined)
    np.testing.assert_array_equal(np.isnan(together), undefined)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("n_conditions", "n_features"), [(12, 30), (92, 257), (92, 1000)])
def test_equal_patterns_have_distance_zero_exactly(distance, n_conditions, n_features, rng):
    patterns = rng.standard_normal((n_conditions, n_features)).astype(np.float32) * 100
    half = n_conditions // 2
    patterns[half:] = patterns[:half]
    rows, columns = np.triu_indices(n_conditions, 1)
    measure = DISTANCES[distance]
    single = measure.from_products(cross_products([patterns], measure.origin))
    for rdm in (rdm_vectors(patterns, measure), single):
        np.testing.assert_array_equal(rdm == 0, columns == rows + half)


@pytest.mark.parametrize("distance", DISTANCES)
def test_single_precision_neighbours_are_not_equal(distance, rng):
    """The threshold below which patterns count as equal hides no difference of 1e-5."""
    patterns = rng.standard_normal((3, 50))
    patterns[1] = patterns[0] + 1e-5 * rng.standard_normal(50)
    rdm = rdm_vectors(patterns, DISTANCES[distance])
    assert rdm[0] > 0
    np.testing.assert_allclose(rdm, oracles.rdm(patterns, distance), rtol=1e-3)


def test_values_by_hand():
    patterns = np.array([[1.0, 2, 3], [3, 2, 1], [2, 4, 6], [1, 1, 4]])
    expected = {
        "correlation": [2, 0, 1 - 3 / np.sqrt(12), 2, 1 + 3 / np.sqrt(12), 1 - 3 / np.sqrt(12)],
        "cosine": [
            1 - 10 / 14,
            0,
            1 - 15 / np.sqrt(14 * 18),
            1 - 10 / 14,
            1 - 9 / np.sqrt(14 * 18),
            1 - 15 / np.sqrt(14 * 18),
        ],
        "sqeuclidean": [8, 14, 2, 30, 14, 14],
        "euclidean": np.sqrt([8, 14, 2, 30, 14, 14]),
    }
    assert expected.keys() == DISTANCES.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(rdm_vectors(patterns, DISTANCES[name]), values, atol=1e-12)


@pytest.mark.parametrize(
    ("distance", "change"),
    [
        ("correlation", lambda patterns, rng: patterns * rng.uniform(0.5, 2, (6, 1)) + rng.normal(size=(6, 1))),
        ("cosine", lambda patterns, rng: patterns * rng.uniform(0.5, 2, (6, 1))),
        ("euclidean", lambda patterns, rng: patterns + rng.normal(size=20)),
        ("sqeuclidean", lambda patterns, rng: patterns + rng.normal(size=20)),
    ],
)
def test_what_each_distance_does_not_see(distance, change, rng):
    patterns = rng.standard_normal((6, 20))
    np.testing.assert_allclose(
        rdm_vectors(change(patterns, rng), DISTANCES[distance]), rdm_vectors(patterns, DISTANCES[distance]), atol=1e-12
    )


@settings(quick, max_examples=10)
@given(seeds)
def test_euclidean_obeys_the_triangle_inequality(seed):
    patterns = np.random.default_rng(seed).integers(-3, 4, (3, 5)).astype(float)
    ab, ac, bc = rdm_vectors(patterns, DISTANCES["euclidean"])
    assert ab <= ac + bc + 1e-12
    assert ac <= ab + bc + 1e-12
    assert bc <= ab + ac + 1e-12


@pytest.mark.parametrize("distance", DISTANCES)
def test_stack_of_products_is_measured_one_by_one(distance, rng):
    patterns = rng.standard_normal((3, 5, 8))
    measure = DISTANCES[distance]
    each = [cross_products([one], measure.origin) for one in patterns]
    names = ("products", "squares", "sums", "n_features")
    stack = CrossProducts(*(np.stack([getattr(one, name) for one in each]) for name in names))
    expected = np.stack([rdm_vectors(one, measure) for one in patterns])
    np.testing.assert_allclose(measure.from_products(stack), expected, atol=1e-14)
