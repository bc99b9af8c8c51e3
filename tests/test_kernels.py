"""The compiled loops equal the obvious way to compute the same, also where they take short cuts."""

import subprocess
import sys

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from strategies import quick, seeds

from rsa import kernels
from rsa.comparisons import TIE, ranks
from rsa.distances import UNIT
from rsa.inference import trees
from rsa.pipeline.warm import warm

SHAPES = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "heavy tails": lambda rng, n: np.exp(10 * rng.standard_normal(n)),  # nearly all values share one key
    "one far out": lambda rng, n: np.where(np.arange(n) == n // 2, 1e9, rng.random(n)),
    "few levels": lambda rng, n: rng.integers(0, 5, n).astype(float),
    "rounded": lambda rng, n: np.round(rng.standard_normal(n), 2),
    "almost sorted": lambda rng, n: np.arange(n) + rng.random(n),
    "narrow": lambda rng, n: 1 + 1e-7 * rng.standard_normal(n),
    "negative": lambda rng, n: -rng.random(n),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [1, 2, 3, 45, 4186, 8192, 8193, 20_000])
def test_ranks_of_any_distribution(shape, n, rng):
    """Up to 8,192 values a key and a place fit 32 bits; equal keys are put into order by value."""
    rows = np.stack([SHAPES[shape](rng, n) for _ in range(3)])
    expected = np.stack([rankdata(oracles.tied(row)) for row in rows])
    np.testing.assert_array_equal(ranks(rows), expected)


@settings(quick, max_examples=60)
@given(
    values=st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, 1 + 1e-13, 1 - 1e-13]), min_size=2, max_size=60)
)
def test_ranks_of_any_values(values):
    row = np.array(values)
    np.testing.assert_array_equal(ranks(row), rankdata(oracles.tied(row)))


@settings(quick, max_examples=15)
@given(seed=seeds, n=st.sampled_from([2, 5, 63, 64, 65, 130]), levels=st.sampled_from([2, 3, 20, 10**6]))
def test_concordance_is_counted_pair_by_pair(seed, n, levels):
    rng = np.random.default_rng(seed)
    a, b = (rankdata(rng.integers(0, levels, (3, n)), axis=1) for _ in range(2))
    signs = [[np.sign(row[:, None] - row) for row in rows] for rows in (a, b)]
    expected = [[(one * other).sum() / 2 for other in signs[1]] for one in signs[0]]
    np.testing.assert_array_equal(kernels.concordance(a, b), expected)


@pytest.mark.parametrize("n", [4095, 4096, 8200])
def test_concordance_over_several_groups_of_words(n, rng):
    a, b = rankdata(rng.random(n)), rankdata(rng.integers(0, 50, n))
    expected = sum(np.sign(a[i] - a[:i]) @ np.sign(b[i] - b[:i]) for i in range(n))
    assert kernels.concordance(a[None], b[None])[0, 0] == expected


def products_by_hand(responses, members, origin):
    """Sum products of different runs, or of the one run, over the members of one neighbourhood, in double precision."""
    x = responses[members].astype(np.float64)  # (n_members, n_runs, n_conditions)
    if origin == 2:
        x = x - x[:, :, :1]
    if x.shape[1] == 1:
        return x[:, 0].T @ x[:, 0]
    n_runs = x.shape[1]
    return sum(x[:, r].T @ x[:, s] for r in range(n_runs) for s in range(n_runs) if r != s)


@pytest.mark.parametrize("n_conditions", [3, 31, 40, 92])
@pytest.mark.parametrize(("n_runs", "origin"), [(1, 0), (1, 2), (3, 2)])
def test_products_slide_over_any_members(n_conditions, n_runs, origin, rng):
    """Neighbours that share most, some or no members; small, empty and larger than a block of voxels."""
    responses = rng.standard_normal((2000, n_runs, n_conditions)).astype(np.float32)
    members = [np.arange(start, start + 60) for start in range(0, 120, 7)]
    members += [np.array([], int), np.array([5]), np.arange(3, 1500), np.arange(1, 1499), np.arange(1600, 1650)]
    members += [np.sort(rng.choice(300, 100, replace=False)) for _ in range(3)]
    indptr = np.concatenate([[0], np.cumsum([len(voxels) for voxels in members])])
    indices = np.concatenate(members).astype(np.int32)
    products = np.empty((len(members), n_conditions * (n_conditions - 1) // 2))
    squares, energies, magnitudes = np.empty((3, len(members), n_conditions))
    sums = np.empty((len(members), n_runs, n_conditions))
    results = products, squares, sums, energies, magnitudes
    kernels.sphere_products(responses, indptr, indices, 0, len(members), origin, 16, *results)
    for row, voxels in enumerate(members):
        expected = products_by_hand(responses, voxels, origin)
        size = np.abs(expected).max() + 1
        np.testing.assert_allclose(products[row], expected[np.triu_indices(n_conditions, 1)], atol=1e-13 * size)
        np.testing.assert_allclose(squares[row], np.diag(expected), atol=1e-13 * size)
        x = responses[voxels].astype(np.float64) - (responses[voxels][:, :, :1] if origin == 2 else 0)
        np.testing.assert_allclose(sums[row], x.sum(axis=0), atol=1e-13 * size)
        np.testing.assert_allclose(energies[row], (x**2).sum(axis=(0, 1)), atol=1e-13 * size)


def test_what_slides_out_leaves_no_trace(rng):
    """A voxel a million times as loud as the others passes through the spheres, and a pattern becomes constant."""
    responses = rng.standard_normal((300, 1, 12)).astype(np.float32)
    responses[40] *= 1e6
    responses[100:160, 0, 3] = 0.1
    indptr = 50 * np.arange(252)
    indices = np.concatenate([np.arange(start, start + 50) for start in range(251)]).astype(np.int32)
    products, sums = np.empty((251, 66)), np.empty((251, 1, 12))
    squares, energies, magnitudes = np.empty((3, 251, 12))
    results = products, squares, sums, energies, magnitudes
    kernels.sphere_products(responses, indptr, indices, 0, 251, 1, 256, *results)
    found = kernels.normalised(products, squares, sums[:, 0], np.full(251, 50.0), 3 * UNIT * magnitudes)
    for centre in range(251):
        expected = oracles.rdm(responses[centre : centre + 50, 0].T, "correlation")
        np.testing.assert_allclose(found[centre], expected, atol=1e-12)


def test_permuted_rdms(rng):
    squareforms = rng.random((2, 6, 6))
    orders = np.stack([rng.permutation(6) for _ in range(4)])
    expected = [rdm[np.ix_(order, order)][np.triu_indices(6, 1)] for order in orders for rdm in squareforms]
    np.testing.assert_array_equal(kernels.permute(squareforms, orders), expected)


@pytest.mark.slow
def test_what_is_compiled_at_installation_is_what_a_study_calls():
    warm()
    for loop in (
        *(kernels.sphere_products, kernels.centre_between_runs, kernels.normalised, kernels.rank_each),
        *(kernels.permute, kernels.count_permuted, kernels.transformed_statistics, kernels.count_transformed),
        *(trees.tree, trees.tfce, trees.masses, trees.roots),
    ):
        assert loop.signatures, loop.__name__


@pytest.mark.slow
def test_compiles_without_a_folder_for_its_cache(tmp_path):
    """A package and a home that can't be written: slower to start, but it runs."""
    code = (
        "from numba.core import caching; caching.CacheImpl._locator_classes = []\n"
        "import numpy as np; from rsa.kernels import rank_rows\n"
        f"print(rank_rows(np.array([[3.0, 1, 2]]), 1.0, {TIE}))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.stdout == "[[3. 1. 2.]]\n", result.stderr
