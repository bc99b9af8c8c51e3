"""Shrunken covariances and whitening: as the papers define them, as scikit-learn and rsatoolbox compute them."""

import warnings

import numpy as np
import oracles
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import quick, seeds

from rsa import noise
from rsa.core import Patterns, Residuals, RunNoise, Volume
from rsa.errors import UserError
from rsa.noise import NORMALISATIONS, SHRINKAGES


def correlated(n_samples, n_features, seed=0):
    """Noise that neighbouring features share, with variances of their own, of mean 0."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(n_features) + 0.6 * np.eye(n_features, k=1)
    samples = rng.standard_normal((n_samples, n_features)) @ mixing * rng.uniform(0.5, 3, n_features)
    return samples - samples.mean(axis=0)


def patterns_with(residuals, dof, n_rows=6, seed=1, usable=None):
    rng = np.random.default_rng(seed)
    n_features = residuals.shape[1]
    volume = Volume(np.ones((n_features, 1, 1)), np.eye(4))
    table = pd.DataFrame({"condition": [f"c{n}" for n in range(n_rows)]})
    return Patterns(rng.standard_normal((n_rows, n_features)), table, volume, usable, Residuals(residuals, dof))


# ---------------------------------------------------------------------------------------- covariances


@pytest.mark.parametrize("shrinkage", SHRINKAGES)
@given(seed=seeds, size=st.sampled_from([(200, 5), (30, 12), (10, 40)]), lost=st.sampled_from([0, 1, 4]))
@quick
def test_equals_the_definition(shrinkage, seed, size, lost):
    samples = correlated(*size, seed)
    found = noise.covariance(samples, size[0] - lost, shrinkage)
    np.testing.assert_allclose(found, oracles.shrunken_covariance(samples, size[0] - lost, shrinkage), rtol=1e-9)


def test_ledoit_wolf_is_that_of_scikit_learn(rng):
    from sklearn.covariance import ledoit_wolf

    for n_samples, n_features in ((200, 5), (30, 12), (10, 40)):
        samples = correlated(n_samples, n_features)
        expected, _ = ledoit_wolf(samples, assume_centered=True)
        np.testing.assert_allclose(noise.covariance(samples, n_samples, "ledoit_wolf"), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("shrinkage", "theirs", "dof", "tolerance"),
    [
        ("ledoit_wolf", "shrinkage_eye", 99, 1e-9),
        ("ledoit_wolf", "shrinkage_eye", 80, 1e-9),
        ("schaefer_strimmer", "shrinkage_diag", 99, 2e-3),
    ],
)
def test_rsatoolbox_estimates_the_same(shrinkage, theirs, dof, tolerance):
    """Its weight of the diagonal takes r² where the paper takes r² (n - 1) / n: at 100 samples, that is 1 in 1000.

    With fewer degrees of freedom than n - 1, it is larger than ours by (n - 1) / degrees of freedom, as it counts rows.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rsatoolbox = pytest.importorskip("rsatoolbox")
        samples = correlated(100, 20)
        peer = rsatoolbox.data.noise.cov_from_residuals(samples, dof=dof, method=theirs)
    found = noise.covariance(samples, dof, shrinkage)
    np.testing.assert_allclose(found, peer, rtol=tolerance, atol=tolerance * np.abs(peer).max())


@pytest.mark.parametrize("shrinkage", SHRINKAGES)
def test_can_always_be_inverted_and_goes_to_the_truth(shrinkage):
    """Fewer samples than features leave it positive definite; very many leave it unshrunken."""
    assert np.linalg.eigvalsh(noise.covariance(correlated(8, 30), 7, shrinkage)).min() > 0
    samples = correlated(50_000, 4)
    np.testing.assert_allclose(noise.covariance(samples, 49_999, shrinkage), np.cov(samples.T), rtol=0.01, atol=0.01)


# ------------------------------------------------------------------------------------------- whitening


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("shrinkage", SHRINKAGES)
def test_whitened_products_are_those_of_the_precision(shrinkage, symmetric, rng):
    residuals, patterns = correlated(60, 12), rng.standard_normal((5, 12))
    white = noise.whiten(patterns.T, residuals.T, 55, shrinkage, symmetric=symmetric)
    precision = np.linalg.inv(oracles.shrunken_covariance(residuals, 55, shrinkage))
    np.testing.assert_allclose(white.T @ white, patterns @ precision @ patterns.T, rtol=1e-8)
    if symmetric:
        np.testing.assert_allclose(white.T, oracles.whitened(patterns, residuals, 55, shrinkage), rtol=1e-8)


@pytest.mark.parametrize("shrinkage", SHRINKAGES)
def test_noise_that_is_not_known_leaves_nothing(shrinkage):
    """Undefined, not an exception or a huge number."""
    residuals = correlated(40, 3)
    residuals[4, 1] = np.nan
    white = noise.whiten(np.ones((3, 2)), residuals.T, 40, shrinkage)
    assert np.isnan(white).all()


@pytest.mark.parametrize("shrinkage", SHRINKAGES)
@pytest.mark.parametrize(("n_samples", "n_features"), [(40, 90), (90, 20)])
def test_the_whole_brain_is_whitened_as_one_sphere_would_be(shrinkage, n_samples, n_features):
    """From the small matrix of products of samples; voxels without noise or data take no part."""
    residuals = correlated(n_samples, n_features).astype(np.float32)
    residuals[:, 3] = 0
    usable = np.arange(n_features) != 7
    patterns = patterns_with(residuals, n_samples - 5, usable=usable)
    found = noise.normalise(patterns, "multivariate", scope="brain", shrinkage=shrinkage)
    kept = usable & (np.arange(n_features) != 3)
    expected = oracles.whitened(patterns.values[:, kept], residuals[:, kept].astype(float), n_samples - 5, shrinkage)
    np.testing.assert_array_equal(found.usable, kept)
    np.testing.assert_allclose(found.values[:, kept], expected, rtol=1e-4, atol=1e-4)
    assert found.residuals is None


def test_univariate_normalisation_divides_by_the_standard_deviation():
    residuals = correlated(50, 8)
    residuals[:, 2] = 0
    patterns = patterns_with(residuals, 45)
    found = noise.normalise(patterns, "univariate")
    kept = np.arange(8) != 2
    expected = patterns.values[:, kept] / np.sqrt((residuals[:, kept] ** 2).sum(axis=0) / 45)
    np.testing.assert_allclose(found.values[:, kept], expected, rtol=1e-5)
    np.testing.assert_array_equal(found.usable, kept)


def test_normalisation_of_spheres_is_left_to_them():
    patterns = patterns_with(correlated(50, 8), 45)
    found = noise.normalise(patterns, "multivariate", scope="sphere")
    np.testing.assert_array_equal(found.values, patterns.values)
    assert found.residuals is patterns.residuals


def test_noise_between_runs_is_what_runs_differ_by(rng):
    values = rng.standard_normal((7, 4)).astype(np.float32)
    table = pd.DataFrame({"condition": list("abcabca"), "run": list("1112223")})
    residuals = noise.between_runs(Patterns(values, table))
    means = {name: values[(table["condition"] == name).to_numpy()].mean(axis=0) for name in "abc"}
    expected = values - np.stack([means[name] for name in table["condition"]])
    one_after_the_other = np.argsort(table["condition"].to_numpy(), kind="stable")
    np.testing.assert_allclose(residuals.values, expected[one_after_the_other], atol=1e-6)
    assert residuals.degrees_of_freedom == 4


def test_correlations_are_shrunken_as_those_of_as_many_independent_samples():
    """Residuals of a model with many parameters: 100 rows that hold 60 independent samples' worth of noise."""
    rng = np.random.default_rng(0)
    weights = {"rows": [], "independent": []}
    for _ in range(40):
        basis, _ = np.linalg.qr(rng.standard_normal((100, 60)))
        samples = rng.standard_normal((60, 6)) @ (np.eye(6) + 0.4 * np.eye(6, k=1))
        for name, one in (("rows", basis @ samples), ("independent", samples)):
            shrunken, plain = noise.covariance(one, 60, "schaefer_strimmer"), one.T @ one / 60
            weights[name].append(1 - shrunken[0, 1] / plain[0, 1])
    assert np.mean(weights["rows"]) == pytest.approx(np.mean(weights["independent"]), rel=0.1)


def test_a_mean_that_was_taken_out_of_each_run_costs_degrees_of_freedom():
    """Variances are then right on average: noise of 1, the mean over 5 conditions taken out of each of 4 runs."""
    table = pd.DataFrame({"condition": list("abcde") * 4, "run": np.repeat(list("1234"), 5)})
    variances = []
    for seed in range(200):
        patterns = Patterns(np.random.default_rng(seed).standard_normal((20, 10)), table).without_mean()
        residuals = noise.between_runs(patterns, mean_removed=True)
        assert residuals.degrees_of_freedom == 20 - 5 - 3
        variances.append((residuals.values**2).sum() / residuals.degrees_of_freedom / 10)
    assert np.mean(variances) == pytest.approx(1, abs=0.02)


def test_a_condition_of_one_run_says_nothing_of_the_noise(rng):
    table = pd.DataFrame({"condition": [*list("aabb"), "c"], "run": list("12121")})
    residuals = noise.between_runs(Patterns(rng.standard_normal((5, 3)), table))
    assert residuals.values.shape == (4, 3)
    assert residuals.degrees_of_freedom == 2


def test_preparation_takes_the_mean_out_first_and_normalises_by_what_is_asked_for(rng):
    table = pd.DataFrame({"condition": list("abcabc"), "run": list("111222")})
    volume = Volume(np.ones((5, 1, 1)), np.eye(4))
    residuals = Residuals(correlated(40, 5), 36)
    patterns = Patterns(rng.standard_normal((6, 5)) + 3, table, volume, residuals=residuals)
    plain = noise.prepared(patterns)
    np.testing.assert_array_equal(plain.values, patterns.values)
    assert plain.residuals is None
    centred = noise.prepared(patterns, remove_mean=True, normalisation="univariate")
    expected = noise.normalise(patterns.without_mean(), "univariate")
    np.testing.assert_array_equal(centred.values, expected.values)
    runs = noise.prepared(patterns, normalisation="multivariate", source="runs", shrinkage="schaefer_strimmer")
    np.testing.assert_array_equal(runs.values, patterns.values)
    assert runs.residuals is None
    assert runs.run_noise == RunNoise("multivariate", "sphere", "schaefer_strimmer", mean_removed=False)
    np.testing.assert_array_equal(noise.by_runs(runs).residuals.values, noise.between_runs(patterns).values)
    brain = noise.prepared(patterns, normalisation="multivariate", scope="brain")
    np.testing.assert_array_equal(brain.values, noise.normalise(patterns, "multivariate", scope="brain").values)
    assert brain.residuals is None


def test_mistakes(rng):
    table = pd.DataFrame({"condition": list("abc")})
    bare = Patterns(rng.standard_normal((3, 4)), table)
    with pytest.raises(UserError, match="needs residuals, and the patterns have none"):
        noise.normalise(bare, "univariate")
    with pytest.raises(UserError, match=r"needs conditions with patterns of 2 runs or more, told apart by `run`"):
        noise.between_runs(bare)
    with pytest.raises(UserError, match="No usable voxel has noise: its residuals are 0 or NaN"):
        noise.normalise(patterns_with(np.zeros((9, 4)), 5), "univariate")
    with pytest.raises(UserError, match=r"Unknown noise normalisation 'zca'.*Choose one of: univariate, multivariate"):
        noise.normalise(patterns_with(correlated(9, 4), 5), "zca")
    with pytest.raises(UserError, match="Unknown shrinkage 'oas'"):
        noise.covariance(correlated(9, 4), 5, "oas")
    assert set(NORMALISATIONS) == {"univariate", "multivariate"}


def test_residuals_are_checked_when_made():
    with pytest.raises(UserError, match="row per sample and a column per voxel, not the shape"):
        Residuals(np.zeros(5), 3)
    with pytest.raises(UserError, match="5 residuals have 1 to 5 degrees of freedom, not 6"):
        Residuals(np.zeros((5, 2)), 6)
    with pytest.raises(UserError, match="Patterns have 4 voxels and their residuals 3"):
        Patterns(np.eye(4), pd.DataFrame({"condition": list("abcd")}), residuals=Residuals(np.ones((5, 3)), 4))
