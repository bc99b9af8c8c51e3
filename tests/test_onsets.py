"""Onsets by a baseline: equal to the slow version, found where they are planted, and seldom in noise."""

import numpy as np
import oracles
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter1d

from rsa.layer_time import latencies
from rsa.onsets import has_baseline, lagged_products, n_worth, onset_times, time_of_onset, upper_bounds

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


def test_onsets_are_those_of_one_voxel_and_one_time_after_the_other(rng, monkeypatch):
    scores = maps_of_all_kinds(rng)
    expected = oracles.onsets(scores, TIMES_S, 0.05, 0.02)
    assert 3 < np.isfinite(expected).sum() < 9
    np.testing.assert_array_equal(time_of_onset(scores, TIMES_S), expected)
    monkeypatch.setattr("rsa.onsets.AT_ONCE", 150)  # two voxels at a time
    np.testing.assert_array_equal(time_of_onset(scores, TIMES_S), expected)


def test_onsets_are_those_of_a_single_subject_over_time(rng):
    """The families of a table are corrected for their rows; a map is not."""
    scores = maps_of_all_kinds(rng)
    table = pd.DataFrame({"subject": "01", "model": "meeg", "statistic": "spearman"}, index=range(scores.size))
    table = table.assign(layer=np.repeat([f"v{i}" for i in range(12)], 60), time_s=np.tile(TIMES_S, 12))
    found = latencies(table.assign(score=scores.T.ravel()), family="times and layers", alpha=0.05 * 12)
    np.testing.assert_array_equal(time_of_onset(scores, TIMES_S), found["onset_s"])


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
    white, smooth = (smooth_noise(rng, 30, 500, width).T for width in (0, 2))
    assert n_worth(lagged_products(white)) == pytest.approx(30, rel=0.02)
    assert 5 < n_worth(lagged_products(smooth)) < 20
    halves = lagged_products(smooth[:200]) + lagged_products(smooth[200:])
    np.testing.assert_allclose(lagged_products(smooth), halves)
    assert n_worth(lagged_products(np.ones((3, 5)))) == n_worth(lagged_products(np.empty((3, 0)))) == 0
    assert np.isnan(upper_bounds(white, 1.9, 0.05)).all()


def test_one_more_sample_is_above_its_bound_as_often_as_it_should_be():
    samples = np.random.default_rng(1).standard_normal((40_000, 7))
    rate = (samples[:, 6] > upper_bounds(samples[:, :6], 6, 0.05)).mean()
    assert rate == pytest.approx(0.05, abs=3.5 * np.sqrt(0.05 * 0.95 / 40_000))


@pytest.mark.parametrize(("n_before", "most_smooth"), [(10, 0.07), (20, 0.04), (60, 0.03)])
def test_noise_seldom_has_an_onset(n_before, most_smooth):
    """At most .05 of voxels for independent samples; of 10 that are smooth, somewhat more for single times."""
    rng, times_s = np.random.default_rng(2), np.arange(-n_before, 50) / 100
    rates = {
        width: np.isfinite(time_of_onset(smooth_noise(rng, len(times_s), 4000, width), times_s)).mean()
        for width in (0, 1, 2)
    }
    assert rates[0] < 0.003
    assert max(rates.values()) < most_smooth


def test_single_times_of_independent_samples_are_above_at_the_nominal_rate(monkeypatch):
    monkeypatch.setattr("rsa.onsets.MIN_DURATION_S", 0.0)
    noise = np.random.default_rng(3).standard_normal((60, 10_000))
    assert 0.03 < np.isfinite(time_of_onset(noise, TIMES_S)).mean() < 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / 10_000)


def test_a_planted_step_is_found_where_it_is(rng):
    scores = 0.02 * smooth_noise(rng, 60, 500, 1)
    scores[TIMES_S > 0.115] += 0.3
    found = time_of_onset(scores, TIMES_S)
    assert (np.abs(found - 0.12) < 0.0101).mean() > 0.99
    assert np.nanmedian(found) == 0.12
