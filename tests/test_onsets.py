"""Onsets by a baseline: equal to the slow version, found where they are planted, and seldom in noise."""

from dataclasses import replace

import numpy as np
import oracles
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.distance import pdist
from scipy.stats import t as student_t

from rsa.comparisons import COMPARISONS, compare_vectors
from rsa.core import Epochs, RDMs
from rsa.meeg.latencies import latencies
from rsa.meeg.scores import layer_time, relabelled
from rsa.meeg.timecourse import MovieSettings, rdm_movie
from rsa.onsets import effective_sample_size, has_baseline, onset_times, products_over_time, time_of_onset, upper_bounds
from rsa.rdm import average_over_subjects

TIMES_S = np.arange(-20, 40) / 100


def smooth_noise(rng, n_times, n_voxels, width):
    """Noise of variance 1 that is smoothed over time by a Gaussian, whose width is in samples."""
    noise = rng.standard_normal((n_times + 40, n_voxels))
    noise = gaussian_filter1d(noise, width, axis=0)[20:-20] if width else noise[40:]
    return noise / noise.std()


def maps_of_all_kinds(rng, n_voxels=12):
    """Noise with steps of several heights, gaps, and baselines that tell nothing."""
    scores = 0.1 * smooth_noise(rng, 60, n_voxels, 1)
    scores[25:] += np.linspace(0, 2, n_voxels)
    scores[30, 9], scores[3, 10], scores[:20, 11], scores[:, 8] = np.nan, np.nan, 0.3, np.nan
    scores[27:29, 7] = -1
    return scores


@pytest.mark.parametrize("level", [-0.4, 0.0, 0.4])
def test_a_bound_is_the_root_of_the_mean_square_and_t_above_the_mean_if_that_is_above_0(rng, level):
    baseline = level + 0.1 * rng.standard_normal((3, 9))
    quantile = student_t.ppf(0.99, 6.5)
    for series, bound in zip(baseline, upper_bounds(baseline, 6.5, 0.01), strict=True):
        expected = max(series.mean(), 0) + np.sqrt((series @ series / 9) * (1 + quantile**2))
        assert bound == pytest.approx(expected, rel=1e-12)


def test_onsets_are_those_of_one_voxel_and_one_time_after_the_other(rng, monkeypatch):
    scores = maps_of_all_kinds(rng)
    expected = oracles.onsets(scores, TIMES_S, 0.05, 0.02)
    assert 3 < np.isfinite(expected).sum() < 9
    np.testing.assert_array_equal(time_of_onset(scores, TIMES_S), expected)
    monkeypatch.setattr("rsa.onsets.SCORES_IN_BLOCK", 150)  # two voxels at a time
    np.testing.assert_array_equal(time_of_onset(scores, TIMES_S), expected)


def test_uneven_times_and_a_longest_duration_that_the_data_do_not_have():
    times_s = np.array([-0.03, -0.02, -0.005, 0.0, 0.015, 0.03, 0.1])
    above = np.array([[0, 1, 1, 0, 1, 1, 0], [0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 0, 1]], dtype=bool)
    np.testing.assert_array_equal(onset_times(above, times_s, 0.015), [-0.02, 0.0, np.nan])
    np.testing.assert_array_equal(onset_times(above, times_s, 0.0), [-0.02, 0.0, 0.015])
    np.testing.assert_array_equal(onset_times(above | True, times_s, 0.2), [np.nan] * 3)


@pytest.mark.parametrize("times_s", [[-0.1, 0.0, 0.1], [0.0, 0.1], [-0.2, -0.1], [-1e-9, 0.1, 0.2], []])
def test_times_without_a_baseline(times_s, rng):
    assert not has_baseline(np.array(times_s))
    assert has_baseline(np.array([*times_s, -0.3, -0.4, 0.3]))
    assert np.isnan(time_of_onset(rng.random((len(times_s), 3)), times_s)).all()


def test_independent_samples_are_worth_their_number_and_others_less(rng):
    white, smooth = (smooth_noise(rng, 30, 2000, width).T for width in (0, 2))
    assert effective_sample_size(products_over_time(white)) == pytest.approx(30, rel=0.03)
    assert 5 < effective_sample_size(products_over_time(smooth)) < 12  # 30 / (1 + 2 sum(r_k^2)) is 8.5
    halves = products_over_time(smooth[:200]) + products_over_time(smooth[200:])
    np.testing.assert_allclose(products_over_time(smooth), halves)
    assert (
        effective_sample_size(products_over_time(np.ones((3, 5))))
        == effective_sample_size(products_over_time(np.empty((3, 0))))
        == 0
    )
    assert effective_sample_size(products_over_time(np.repeat(white[:1], 9, axis=0))) == pytest.approx(
        1
    )  # one series tells nothing
    assert np.isnan(upper_bounds(white, 1.9, 0.05)).all()


@pytest.mark.parametrize("level", [0.0, 0.2, 0.5, 2.0, -1.0])
def test_one_more_sample_is_above_its_bound_at_most_as_often_as_it_should_be(level):
    """Whatever the level of the scores."""
    samples = level + np.random.default_rng(1).standard_normal((40_000, 7))
    for alpha in (0.05, 0.001):
        rate = (samples[:, 6] > upper_bounds(samples[:, :6], 6, alpha)).mean()
        assert rate < alpha + 3.5 * np.sqrt(alpha / 40_000)


@pytest.mark.parametrize("n_before", [5, 10, 20, 60])
@pytest.mark.parametrize("width", [0, 1, 2])
def test_noise_seldom_has_an_onset(n_before, width):
    rng, times_s = np.random.default_rng(2), np.arange(-n_before, 50) / 100
    onsets = time_of_onset(smooth_noise(rng, len(times_s), 4000, width), times_s)
    assert np.isfinite(onsets).mean() < 0.01


@pytest.mark.parametrize("distance", ["correlation", "crossnobis"])
def test_noise_whose_baseline_was_subtracted_seldom_has_an_onset(distance):
    """From epochs to maps of fusion: 10 samples of baseline, noise smoothed by 20 ms, voxels of noise."""
    found = []
    for seed in range(12):
        movie, _, rng = noise_movie(seed, 10, 2, distance)
        voxels = np.stack([pdist(rng.standard_normal((16, 20)), "correlation") for _ in range(300)])
        mean = average_over_subjects(movie, "spearman")
        scores = compare_vectors(mean.values, voxels, COMPARISONS["spearman"])
        found.append(np.isfinite(time_of_onset(scores, mean.table["time_s"].to_numpy())).mean())
    assert np.mean(found) < 0.02


def noise_movie(seed, n_before, width, distance):
    """Make the RDMs of one subject of epochs of noise, from which the mean until 0 s was subtracted; two models."""
    rng, times_s = np.random.default_rng([seed, n_before]), np.arange(-n_before, 30) / 100
    names = [f"c{i}" for i in range(16)]
    noise = gaussian_filter1d(rng.standard_normal((64, 10, len(times_s) + 40)), width, axis=2)[:, :, 20:-20]
    noise -= noise[:, :, times_s <= 0].mean(axis=2, keepdims=True)
    channels = pd.DataFrame({"name": [f"E{i}" for i in range(10)], "type": "eeg"})
    movie = rdm_movie(
        Epochs(noise, pd.DataFrame({"condition": names * 4}), times_s, channels),
        settings=MovieSettings(distance=distance),
    )
    movie = replace(movie, table=movie.table.assign(subject="01"))
    layers = np.cumsum(rng.standard_normal((4, 16, 20)), axis=0)
    table = pd.DataFrame({"model": ["net"] * 4, "layer": list("abcd")})
    return movie, RDMs(np.stack([pdist(one, "correlation") for one in layers]), names, table), rng


@pytest.mark.slow
@pytest.mark.parametrize(("n_before", "width", "distance"), [(5, 2, "crossnobis"), (10, 2, "correlation")])
def test_a_single_subject_of_noise_whose_baseline_was_subtracted_has_onsets_at_the_nominal_rate(
    n_before, width, distance
):
    """80 subjects, single times: by their baselines, more than 10 of 100 would have an onset even for 20 ms."""
    found = []
    for seed in range(80):
        movie, references, _ = noise_movie(seed, n_before, width, distance)
        chance = relabelled(movie, references, "spearman", n_relabellings=59)
        scores = layer_time(movie, references, "spearman")
        found.append(latencies(scores, min_duration_s=0, chance=chance)["onset_s"].notna().any())
    assert np.mean(found) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 80)


def test_single_times_of_independent_samples_are_above_at_the_nominal_rate(monkeypatch):
    monkeypatch.setattr("rsa.onsets.MIN_DURATION_S", 0.0)
    noise = np.random.default_rng(3).standard_normal((60, 10_000))
    assert 0.02 < np.isfinite(time_of_onset(noise, TIMES_S)).mean() < 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / 10_000)


def test_a_planted_step_is_found_where_it_is(rng):
    scores = 0.02 * smooth_noise(rng, 60, 500, 1)
    scores[TIMES_S > 0.115] += 0.3
    found = time_of_onset(scores, TIMES_S)
    assert (np.abs(found - 0.12) < 0.0101).mean() > 0.99
    assert np.nanmedian(found) == 0.12
