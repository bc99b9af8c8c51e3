"""What counts as 0 follows from the arithmetic: whatever kernel the matrix library takes, and no more than need be.

`make test-kernels` runs these tests once more with kernels of other processors.
"""

import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from scipy.linalg import hadamard
from test_sensors import LINE
from test_timecourse import epochs_of

from rsa import gpu, kernels, searchlight
from rsa.comparisons import COMPARISONS
from rsa.core import CONSTANT_PATTERN, CONSTANT_RDM, DEFINED, Patterns, RDMs, Volume, align
from rsa.distances import CROSS_VALIDATED, DISTANCES, UNIT, cross_products, rdm_vectors
from rsa.measures import comparison_measure
from rsa.meeg.sensors import sensor_searchlight
from rsa.meeg.timecourse import MovieSettings, rdm_movie
from rsa.neighbourhood import from_masks, spheres
from rsa.noise import SHRINKAGES, prepared
from rsa.searchlight import RdmSettings
from rsa.spheres import prepare_spheres

EXACT = np.longdouble


def exact_products(patterns):
    """Sum products in a precision whose own rounding does not count."""
    wide = patterns.astype(EXACT)
    return np.array([[(one * other).sum() for other in wide] for one in wide])


def twins_of(n_conditions):
    """Say which pairs are of a condition in the first half and its copy in the second."""
    rows, columns = np.triu_indices(n_conditions, 1)
    return columns == rows + n_conditions // 2


def twin_patterns(rng, n_conditions, n_features, offset=0.0):
    """Make patterns of which the second half are copies of the first."""
    half = rng.standard_normal((n_conditions // 2, n_features)).astype(np.float32) * 100
    return np.concatenate([half, half]) + np.float32(offset)


def in_volume(values, n_runs=1, shape=None):
    """Put patterns, (n_runs * n_conditions, n_voxels), into a volume, run by run."""
    n_conditions = len(values) // n_runs
    names = [f"img{n}" for n in range(n_conditions)]
    table = pd.DataFrame({"condition": names * n_runs, "run": np.repeat(range(n_runs), n_conditions)})
    volume = Volume(np.ones(shape or (values.shape[1], 1, 1)), np.eye(4))
    return Patterns(values, table, volume)


def references_of(rng, patterns):
    n_pairs = len(patterns.conditions) * (len(patterns.conditions) - 1) // 2
    return RDMs(rng.random((2, n_pairs)), patterns.conditions, pd.DataFrame({"layer": ["a", "b"]}))


# --------------------------------------------------------------------------------------- bounds are bounds


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("origin", ["zero", "feature"])
@pytest.mark.parametrize("cuts", [[], [7, 1500, 1501]])
def test_sums_over_features_are_off_by_less_than_their_bound(rng, dtype, origin, cuts):
    patterns = (rng.standard_normal((9, 3000)) + rng.uniform(-5, 5, (9, 1))).astype(dtype)
    found = cross_products(np.split(patterns, cuts, axis=1), origin)
    expected = exact_products(patterns - patterns[:1].astype(np.float64) if origin == "feature" else patterns)
    rows, columns = np.triu_indices(9, 1)
    assert (np.abs(found.squares - np.diag(expected)) <= found.off_by).all()
    assert (
        np.abs(found.products - expected[rows, columns]) <= np.sqrt(found.off_by[rows] * found.off_by[columns])
    ).all()
    assert (found.off_by <= 1e-12 * found.squares).all(), "and the bound is no wider than need be"


@pytest.mark.parametrize("n_runs", [1, 3])
@pytest.mark.parametrize("origin", [0, 2])
@pytest.mark.parametrize("n_slides", [1, 64])
def test_sums_over_spheres_are_off_by_less_than_their_bound(rng, n_runs, origin, n_slides):
    """Also where loud voxels slide through."""
    responses = rng.standard_normal((200, n_runs, 20)).astype(np.float32)
    responses[::37] *= 3
    n, size = 64, 100
    indptr = size * np.arange(n + 1)
    indices = np.concatenate([np.arange(start, start + size) for start in range(n)]).astype(np.int32)
    products, sums = np.empty((n, 190)), np.empty((n, n_runs, 20))
    squares, energies, magnitudes = np.empty((3, n, 20))
    results = products, squares, sums, energies, magnitudes
    kernels.sphere_products(responses, indptr, indices, 0, n, origin, n_slides, *results)
    off_by, (rows, columns) = UNIT * magnitudes, np.triu_indices(20, 1)
    for centre in (0, 1, 40, 63):
        x = np.moveaxis(responses[centre : centre + size], 0, 2).astype(EXACT)  # (n_runs, n_conditions, n_voxels)
        x = x - x[:, :1] if origin == 2 else x
        each = sum(exact_products(one) for one in x)
        expected = exact_products(x.sum(axis=0)) - each if n_runs > 1 else each
        errors = np.sqrt(off_by[centre][rows] * off_by[centre][columns])
        assert (np.abs(squares[centre] - np.diag(expected)) <= off_by[centre]).all()
        assert (np.abs(products[centre] - expected[rows, columns]) <= errors).all()
        assert (off_by[centre] <= 1e-11 * np.diag(each)).all()


# ----------------------------------------------------------------------------------- equal patterns are equal


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("n_conditions", "n_features"), [(12, 30), (92, 257), (92, 1000), (40, 5000)])
def test_equal_patterns_have_distance_zero_and_no_others(rng, distance, dtype, n_conditions, n_features):
    measure = DISTANCES[distance]
    for offset in (0, 0, 0) if distance == "cosine" else (0, 100, 3e4):
        patterns = twin_patterns(rng, n_conditions, n_features, offset).astype(dtype)
        rdm = measure.from_products(cross_products([patterns], measure.origin))
        np.testing.assert_array_equal(rdm == 0, twins_of(n_conditions))
        assert (rdm >= 0).all(), "nor is any below 0, or its root undefined"


@pytest.mark.parametrize("distance", [*DISTANCES, *CROSS_VALIDATED])
def test_equal_patterns_have_distance_zero_in_every_sphere(rng, distance):
    n_runs = 4 if distance in CROSS_VALIDATED else 1
    signal = twin_patterns(rng, 30, 64)
    noise = np.tile(rng.standard_normal((n_runs, 15, 64)) * 50, (1, 2, 1))
    patterns = in_volume((signal + noise).reshape(-1, 64).astype(np.float32), n_runs, (4, 4, 4))
    found = searchlight.region_rdms(patterns, spheres(patterns.volume, 2.5), rdm=RdmSettings(distance=distance)).values
    if distance == "cv_correlation":  # of patterns whose variance between runs is no less than its floor
        assert (found[:, twins_of(30)] == 0).mean() > 0.5
    else:
        np.testing.assert_array_equal(found == 0, np.tile(twins_of(30), (64, 1)))
    assert distance in CROSS_VALIDATED or (found >= 0).all()


@pytest.mark.parametrize("distance", CROSS_VALIDATED)
@pytest.mark.parametrize("shrinkage", SHRINKAGES)
def test_equal_patterns_whitened_by_other_runs_have_distance_zero(rng, distance, shrinkage):
    values = twin_patterns(rng, 20, 64) + np.tile(rng.standard_normal((4, 10, 64)) * 50, (1, 2, 1))
    patterns = in_volume(values.reshape(-1, 64).astype(np.float32), 4, (4, 4, 4))
    ready = prepared(patterns, normalisation="multivariate", source="runs", shrinkage=shrinkage)
    found = searchlight.region_rdms(ready, spheres(ready.volume, 2.5), rdm=RdmSettings(distance=distance)).values
    np.testing.assert_array_equal(found == 0, np.tile(twins_of(20), (64, 1)))


@pytest.mark.parametrize("distance", [*DISTANCES, "crossnobis", "decoding_lda", "decoding_svm"])
@pytest.mark.parametrize("n_channels", [31, 64])
def test_equal_trials_have_distance_zero_and_cannot_be_decoded(rng, distance, n_channels):
    """Also if they come in another order, and so are added up in another."""
    values = rng.standard_normal((10 * 12, n_channels, 2))
    values[60:] = values[:60].reshape(20, 3, n_channels, 2)[:, [2, 0, 1]].reshape(60, n_channels, 2)
    epochs = epochs_of(values, np.repeat(list("abcdefghij"), 12), runs=np.tile(np.repeat(range(4), 3), 10))
    found = rdm_movie(epochs, settings=MovieSettings(distance=distance)).values
    chance = 0.5 if distance.startswith("decoding") else 0
    np.testing.assert_array_equal(found[:, twins_of(10)], chance)
    assert (found[:, ~twins_of(10)] != chance).mean() > 0.5


# ----------------------------------------------------------------------------- small distances are left alone


def nearly_equal(rng, n_features, difference, offset=0.0):
    """Make patterns of which three differ from the first by a small share."""
    patterns = rng.standard_normal((12, n_features)) + offset
    patterns[1:4] = patterns[0] + difference * rng.standard_normal((3, n_features))
    return patterns


@pytest.mark.parametrize("distance", oracles.DISTANCES)
@pytest.mark.parametrize("n_features", [120, 20_000])
def test_small_distances_are_those_of_differences(rng, distance, n_features):
    patterns = nearly_equal(rng, n_features, 3e-6)
    np.testing.assert_allclose(
        rdm_vectors(patterns, DISTANCES[distance]), oracles.rdm_of_differences(patterns, distance), rtol=0.01
    )


@pytest.mark.parametrize("distance", oracles.DISTANCES)
def test_small_distances_in_spheres_are_those_of_differences(rng, distance):
    patterns = in_volume(nearly_equal(rng, 216, 3e-6).astype(np.float32), shape=(6, 6, 6))
    around = spheres(patterns.volume, 3)
    found = searchlight.region_rdms(patterns, around, rdm=RdmSettings(distance=distance)).values
    for centre in (0, 43, 63, 100, 215):
        expected = oracles.rdm_of_differences(patterns.values[:, around.members(centre)], distance)
        np.testing.assert_allclose(found[centre], expected, rtol=0.01)


@pytest.mark.parametrize("distance", oracles.DISTANCES)
def test_small_distances_over_time_are_those_of_differences(rng, distance):
    patterns = nearly_equal(rng, 60, 3e-6)
    found = rdm_movie(
        epochs_of(patterns[:, :, None], list("abcdefghijkl")), settings=MovieSettings(distance=distance)
    ).values[0]
    np.testing.assert_allclose(found, oracles.rdm_of_differences(patterns, distance), rtol=0.01)


def test_small_distances_between_runs_are_left_alone():
    """Patterns without noise in four runs: the distance between runs is that of their differences."""
    rng = np.random.default_rng(3)
    values = nearly_equal(rng, 125, 1e-5, offset=3).astype(np.float32)
    patterns = in_volume(np.tile(values, (4, 1)), 4, (5, 5, 5))
    around = spheres(patterns.volume, 2)
    found = searchlight.region_rdms(patterns, around, rdm=RdmSettings(distance="crossnobis")).values
    for centre in (0, 31, 62, 124):
        members = around.members(centre)
        expected = oracles.rdm_of_differences(values[:, members], "sqeuclidean") / len(members)
        np.testing.assert_allclose(found[centre], expected, rtol=0.01)
    epochs = epochs_of(np.tile(values, (4, 1))[:, :, None], list("abcdefghijkl") * 4, runs=np.repeat(range(4), 12))
    expected = oracles.rdm_of_differences(values, "sqeuclidean") / 125
    np.testing.assert_allclose(
        rdm_movie(epochs, settings=MovieSettings(distance="crossnobis")).values[0], expected, rtol=0.01
    )


# ---------------------------------------------------------------------- nothing between runs is no distance


@pytest.mark.parametrize("n_runs", [2, 3, 8])
@pytest.mark.parametrize("distance", CROSS_VALIDATED)
def test_without_products_between_runs_there_is_no_score(distance, n_runs):
    """Patterns of different runs are orthogonal in some regions: all distances are 0 there (or 1): no scores."""
    rng = np.random.default_rng(n_runs)
    signs = hadamard(8)[:n_runs, None, None]  # (n_runs, 1, 1, 8)
    values = (signs * rng.standard_normal((n_runs, 9, 27, 1)) * 50).reshape(n_runs, 9, 216)
    values[:, :, 160:] += rng.standard_normal((n_runs, 9, 56))
    patterns = in_volume(values.reshape(-1, 216), n_runs)
    references, voxels = references_of(rng, patterns), np.arange(216)
    areas = from_masks(
        patterns.volume, {"one": voxels < 80, "two": (voxels >= 40) & (voxels < 160), "x": voxels >= 160}
    )
    scores = searchlight.compare(patterns, areas, references, rdm=RdmSettings(distance=distance))
    assert scores.reason.tolist() == [CONSTANT_RDM, CONSTANT_RDM, DEFINED]
    assert np.isnan(scores.values[:, :2]).all()
    rdms = searchlight.region_rdms(patterns, areas, rdm=RdmSettings(distance=distance)).values
    np.testing.assert_allclose(rdms[:2], 0 if distance == "crossnobis" else 1, atol=1e-12)


@pytest.mark.parametrize("n_runs", [2, 3])
@pytest.mark.parametrize("distance", CROSS_VALIDATED)
def test_without_products_between_folds_there_is_no_score(rng, distance, n_runs):
    conditions, runs = np.repeat(list("abcdefg"), 2 * n_runs), np.tile(np.repeat(range(n_runs), 2), 7)
    values = rng.standard_normal((len(runs), 12, 3))
    values[runs > 0, :6] = [0, 0, 1]  # the same for all conditions, but not flat
    epochs = epochs_of(values, conditions, runs=runs)
    references = RDMs(rng.random((2, 21)), list("abcdefg"), pd.DataFrame({"model": "net", "layer": ["a", "b"]}))
    scores = sensor_searchlight(
        epochs, LINE, comparison_measure(references, "spearman"), min_sensors=2, movie=MovieSettings(distance=distance)
    )
    assert scores.reason.tolist() == [CONSTANT_RDM] * 5 + [DEFINED] * 7
    assert np.isnan(scores.values[:, :5]).all()


def test_a_pattern_that_is_constant_in_each_run_has_no_correlation_between_runs(rng):
    """Each run has a constant of its own, which no binary fraction can write."""
    values = rng.standard_normal((3, 7, 125))
    values[:, 2] = np.array([0.1, 0.7, 1000.3])[:, None]
    patterns = in_volume(values.reshape(-1, 125), 3, (5, 5, 5))
    around = spheres(patterns.volume, 2)
    scores = searchlight.compare(
        patterns, around, references_of(rng, patterns), rdm=RdmSettings(distance="cv_correlation")
    )
    assert (scores.reason == CONSTANT_PATTERN).all()
    undefined = (np.array(np.triu_indices(7, 1)) == 2).any(axis=0)
    rdms = searchlight.region_rdms(patterns, around, rdm=RdmSettings(distance="cv_correlation")).values
    np.testing.assert_array_equal(np.isnan(rdms), np.tile(undefined, (125, 1)))


# ------------------------------------------------------------------------------------------------ in torch


@pytest.mark.parametrize("distance", [name for name, entry in (DISTANCES | CROSS_VALIDATED).items() if entry.on_gpu])
def test_what_is_zero_is_zero_in_torch(rng, distance):
    n_runs = 4 if distance == "crossnobis" else 1
    values = np.tile(twin_patterns(rng, 30, 64), (n_runs, 1)).reshape(n_runs, 30, 64)
    values += np.tile(rng.standard_normal((n_runs, 15, 64)) * 50, (1, 2, 1))
    values[:, 4] = nearby = values[:, 3] * np.float32(1 + 1e-5)
    values[:, 4, ::2] = values[:, 3, ::2]
    values[:, 19], values[:, 20] = values[:, 4], nearby
    patterns = in_volume(values.reshape(-1, 64), n_runs, (4, 4, 4))
    ready = prepare_spheres(patterns, spheres(patterns.volume, 2.5), RdmSettings(distance))
    references = align(patterns.conditions, references_of(rng, patterns)).values
    on_torch = gpu.TorchComparison(ready, COMPARISONS["spearman"].prepare(references), COMPARISONS["spearman"], "cpu")
    with torch.inference_mode():
        found = on_torch.rdms(range(64)).numpy()
    expected = ready.rdms(range(64))
    np.testing.assert_array_equal(found == 0, expected == 0)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-13 * np.abs(expected).max())
    assert (expected == 0).any()
    assert distance == "crossnobis" or (found >= 0).all()
