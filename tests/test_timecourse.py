"""RDMs over time against slow versions, peers and scikit-learn, one time at a time."""

import warnings
from dataclasses import replace
from itertools import combinations

import numpy as np
import oracles
import pandas as pd
import pytest
from scipy.spatial.distance import squareform

from rsa.core import Epochs, Residuals
from rsa.distances import DISTANCES
from rsa.errors import UserError
from rsa.meeg import timecourse
from rsa.meeg.timecourse import MOVIE_DISTANCES, MovieSettings, rdm_movie
from rsa.searchlight import RunSettings

SPLIT = [name for name, measure in MOVIE_DISTANCES.items() if measure.least_folds > 1]


def epochs_of(values, conditions, *, runs=None, types="mag", noise=None, times_s=None):
    values = np.asarray(values)
    table = pd.DataFrame({"condition": list(conditions)})
    if runs is not None:
        table["run"] = list(runs)
    n_channels = values.shape[1]
    channels = pd.DataFrame({"name": [f"ch{n}" for n in range(n_channels)], "type": types})
    times_s = np.arange(values.shape[2]) / 100 if times_s is None else times_s
    if isinstance(noise, np.ndarray):
        noise = Residuals(noise, len(noise))
    return Epochs(values, table, times_s, channels, noise)


def trials(rng, conditions, n_channels=12, n_times=3, *, signal=1.0, **more):
    """Make trials of noise, to which each condition adds its own pattern, the same at all times."""
    names = sorted(set(conditions))
    patterns = dict(zip(names, signal * rng.standard_normal((len(names), n_channels, 1)), strict=True))
    values = rng.standard_normal((len(conditions), n_channels, n_times)) + np.stack([patterns[c] for c in conditions])
    return epochs_of(values, conditions, **more)


def at(epochs, time):
    return epochs.values[:, :, time].astype(np.float64)


def coloured(rng, n_samples, n_channels, scale=1.0):
    mixing = np.eye(n_channels) + 0.6 * np.eye(n_channels, k=1)
    samples = scale * rng.standard_normal((n_samples, n_channels)) @ mixing
    return (samples - samples.mean(axis=0)).astype(np.float32)


# ------------------------------------------------------------------------------------ distances of means


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_of_means_are_those_of_scipy(rng, distance):
    epochs = trials(rng, list("abcabcaddd"))
    movie = rdm_movie(epochs, MovieSettings(distance=distance))
    assert movie.conditions == ("a", "b", "c", "d")
    assert movie.distance == distance
    assert movie.table["time_s"].tolist() == [0, 0.01, 0.02]
    for time in range(3):
        means = pd.DataFrame(at(epochs, time)).groupby(epochs.table["condition"].to_numpy()).mean().to_numpy()
        np.testing.assert_allclose(movie.values[time], oracles.rdm(means, distance), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("distance", DISTANCES)
def test_one_trial_of_each_condition_is_enough_for_distances_of_means(rng, distance):
    epochs = trials(rng, list("abcd"), n_times=1)
    expected = oracles.rdm(at(epochs, 0), distance)
    np.testing.assert_allclose(
        rdm_movie(epochs, MovieSettings(distance=distance)).values[0], expected, rtol=1e-9, atol=1e-12
    )


def test_a_pattern_that_is_the_same_in_all_channels_has_no_correlation(rng):
    epochs = trials(rng, list("abcd"), n_times=2)
    values = epochs.values.copy()
    values[0, :, 1] = 1e-13
    found = rdm_movie(epochs_of(values, "abcd")).squares
    assert np.isnan(found[1, 0, 1:]).all()
    assert np.isfinite(found[1, 1:, 1:]).all()
    assert np.isfinite(found[0]).all()


def test_values_as_small_as_magnetic_fields_lose_no_digits(rng):
    epochs = trials(rng, list("aabbccdd"))
    small = epochs_of(epochs.values.astype(np.float64) * 2.0**-43, epochs.table["condition"])
    for distance in ("correlation", "cv_correlation", "decoding_svm", "cosine"):
        how = {"folds": 2, "n_repeats": 2} if distance in SPLIT else {}
        expected = rdm_movie(epochs, MovieSettings(**how, distance=distance)).values
        np.testing.assert_allclose(
            rdm_movie(small, MovieSettings(**how, distance=distance)).values, expected, rtol=1e-9
        )


# -------------------------------------------------------------------------------- distances between folds


@pytest.mark.parametrize("distance", ["crossnobis", "cv_correlation"])
@pytest.mark.parametrize("runs", ["112233112233", "112233123123", "112312131232"])
def test_distances_between_runs_are_those_of_all_pairs_of_trials(rng, distance, runs):
    """Balanced, and with conditions missing in some runs and twice in others."""
    epochs = trials(rng, list("abababcdcdcd"), signal=2, runs=runs)
    movie = rdm_movie(epochs, MovieSettings(distance=distance))
    for time in range(3):
        rows = at(epochs, time)
        rows = rows - rows.mean(axis=0) if distance == "crossnobis" else rows
        expected = oracles.between_runs(rows, epochs.table["condition"], runs, distance)
        np.testing.assert_allclose(movie.values[time], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("distance", ["crossnobis", "cv_correlation"])
def test_without_runs_every_trial_is_a_fold(rng, distance):
    epochs = trials(rng, list("aaabbbbccc"), signal=2)
    movie = rdm_movie(epochs, MovieSettings(distance=distance))
    expected = oracles.between_runs(at(epochs, 1), epochs.table["condition"], range(10), distance)
    np.testing.assert_allclose(movie.values[1], expected, rtol=1e-9, atol=1e-12)
    one_run = epochs_of(epochs.values, epochs.table["condition"], runs=["only"] * 10)
    np.testing.assert_array_equal(rdm_movie(one_run, MovieSettings(distance=distance)).values, movie.values)


def test_rsatoolbox_measures_the_same_crossnobis_movie(rng):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rsatoolbox = pytest.importorskip("rsatoolbox")
        epochs = trials(rng, list("abcdabcdabcd"), runs="111122223333")
        data = rsatoolbox.data.TemporalDataset(
            epochs.values.astype(float),
            obs_descriptors=epochs.table.to_dict("list"),
            time_descriptors={"time": epochs.times_s},
        )
        peer = rsatoolbox.rdm.calc_rdm_movie(
            data, method="crossnobis", descriptor="condition", cv_descriptor="run"
        ).dissimilarities
    np.testing.assert_allclose(rdm_movie(epochs, MovieSettings(distance="crossnobis")).values, peer, atol=1e-12)


def test_crossnobis_of_all_pairs_of_trials_is_the_mean_over_very_many_random_folds(rng):
    epochs = trials(rng, list("aaaabbbbcccc"), n_channels=40, n_times=1)
    exact = rdm_movie(epochs, MovieSettings(distance="crossnobis")).values
    few, many = (rdm_movie(epochs, MovieSettings(distance="crossnobis", folds=4, n_repeats=n)).values for n in (1, 400))
    assert np.abs(many - exact).max() < 0.03 < np.abs(few - exact).max()


@pytest.mark.parametrize("how", [{}, {"folds": 3, "n_repeats": 2}])
def test_crossnobis_of_noise_is_zero_on_average_and_can_be_negative(rng, how):
    found = rdm_movie(
        trials(rng, list("aaabbbbcccc"), n_times=600, signal=0), MovieSettings(**how, distance="crossnobis")
    ).values
    assert (np.abs(found.mean(axis=0)) < 4 * found.std(axis=0) / np.sqrt(600)).all()
    assert 0.4 < (found < 0).mean() < 0.7


def test_crossnobis_of_patterns_is_their_true_squared_distance(rng):
    true = np.array([[1.0] * 8, [0.0] * 8, [2.0] * 8])
    conditions = np.repeat(list("abc"), 5)
    values = np.repeat(true, 5, axis=0)[..., None] + rng.standard_normal((15, 8, 2000))
    found = rdm_movie(epochs_of(values, conditions), MovieSettings(distance="crossnobis")).values.mean(axis=0)
    np.testing.assert_allclose(found, [1, 1, 4], atol=0.05)


def test_cv_correlation_of_noisy_trials_finds_the_correlation_of_their_patterns(rng):
    """With variances between trials far below a tenth of that within one: the least that counts is of the mean."""
    a, b = rng.standard_normal((2, 300))
    true = np.array([a, (a + b) / np.sqrt(2)])
    values = np.repeat(true, 80, axis=0)[..., None] + 5 * rng.standard_normal((160, 300, 40))
    found = rdm_movie(epochs_of(values, np.repeat(list("ab"), 80)), MovieSettings(distance="cv_correlation")).values
    assert abs(found.mean() - (1 - np.corrcoef(true)[0, 1])) < 0.05


def test_a_variance_between_trials_counts_as_a_tenth_of_that_of_their_mean_at_least(rng):
    pattern, other = rng.standard_normal((2, 30, 1))
    values = np.stack([pattern, -pattern + 0.1 * other, other, other])  # a varies by less than 0 between trials
    found = rdm_movie(epochs_of(values, "aabb"), MovieSettings(distance="cv_correlation")).values[0, 0]
    x = values[..., 0].astype(np.float32).astype(float)
    x -= x.mean(axis=1, keepdims=True)
    a, b = x[:2].mean(axis=0), x[2:].mean(axis=0)
    assert found == pytest.approx(1 - a @ b / np.sqrt(0.1 * (a @ a) * (b @ b)), rel=1e-9)


@pytest.mark.parametrize("folds", [2, 3])
def test_random_folds_are_as_even_as_can_be_and_follow_from_seed_and_label(rng, folds):
    conditions = list("aaaaaaabbbbbcc")
    epochs = trials(rng, conditions)
    parts = timecourse._random_parts(epochs, folds, 1, 0)
    for condition in "abc":
        n_each = np.bincount(parts[np.array(conditions) == condition], minlength=folds)
        assert np.ptp(n_each) <= 1
    fewer = epochs_of(epochs.values[:12], conditions[:12])
    assert (timecourse._random_parts(fewer, folds, 1, 0) == parts[:12]).all()
    assert (timecourse._random_parts(epochs, folds, 2, 0) != parts).any()
    assert (timecourse._random_parts(epochs, folds, 1, 1) != parts).any()


# ---------------------------------------------------------------------------------------------- decoding


def decoded_by(fit, epochs, time):
    """Leave each run out, train on the others, and average how often either condition of a pair is told right."""
    table = epochs.table.assign(trial=range(len(epochs.table)))
    groups = [(*key, rows["trial"].to_numpy()) for key, rows in table.groupby(["run", "condition"])]
    runs, conditions = np.array([run for run, _, _ in groups]), np.array([name for _, name, _ in groups])
    x = np.array([at(epochs, time)[rows].mean(axis=0) for _, _, rows in groups])
    found = []
    for pair in combinations(epochs.conditions, 2):
        right = {name: [] for name in pair}
        for run in np.unique(runs):
            machine = fit(x[runs != run], conditions[runs != run], pair)
            for test in np.flatnonzero((runs == run) & np.isin(conditions, pair)):
                right[conditions[test]].append(machine(x[test]) == conditions[test])
        found.append(np.mean([np.mean(one) for one in right.values()]))
    return found


def lda_of_all(x, conditions, pair):
    """Fit scikit-learn's LDA to all conditions, with the weight of Ledoit and Wolf; choose among two."""
    from sklearn.covariance import ledoit_wolf_shrinkage
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    residuals = x - pd.DataFrame(x).groupby(conditions).transform("mean").to_numpy()
    weight = ledoit_wolf_shrinkage(residuals, assume_centered=True)
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=weight).fit(x, conditions)
    places = np.searchsorted(lda.classes_, pair)
    return lambda test: pair[np.argmax((lda.decision_function(test[None])[0] - np.log(lda.priors_))[places])]


def svm_of_pair(x, conditions, pair):
    """Fit scikit-learn's linear machine to patterns of mean 0 and mean square 1."""
    from sklearn.svm import SVC

    mean, of_pair = x.mean(axis=0), np.isin(conditions, pair)
    scale = np.sqrt(np.mean((x - mean) ** 2))
    machine = SVC(kernel="linear", C=1.0, class_weight="balanced")
    machine.fit((x[of_pair] - mean) / scale, conditions[of_pair])
    return lambda test: machine.predict((test - mean)[None] / scale)[0]


@pytest.mark.slow
@pytest.mark.parametrize("missing", [[], [0, 1, 12, 13]])
@pytest.mark.parametrize(("distance", "fit"), [("decoding_lda", lda_of_all), ("decoding_svm", svm_of_pair)])
def test_decoding_is_that_of_scikit_learn(rng, distance, fit, missing):
    """Also where conditions are missing in a run."""
    runs, conditions = np.tile(np.repeat(range(4), 2), 5), np.repeat(list("abcde"), 8)
    whole = trials(rng, conditions, signal=0.3)
    kept = np.setdiff1d(np.arange(40), missing)
    epochs = epochs_of(whole.values[kept], conditions[kept], runs=runs[kept])
    movie = rdm_movie(epochs, MovieSettings(distance=distance))
    assert len(np.unique(movie.values)) > 3
    for time in range(3):
        np.testing.assert_allclose(movie.values[time], decoded_by(fit, epochs, time), atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("distance", ["decoding_lda", "decoding_svm"])
def test_noise_is_decoded_at_chance_and_strong_patterns_always(rng, distance):
    conditions = np.repeat(list("abc"), 9)
    how = {"distance": distance, "folds": 3, "n_repeats": 1}
    null = rdm_movie(trials(rng, conditions, n_channels=6, n_times=120, signal=0), MovieSettings(**how)).values
    assert abs(null.mean() - 0.5) < 4 * null.mean(axis=1).std() / np.sqrt(120)
    assert (rdm_movie(trials(rng, conditions, n_channels=6, signal=20), MovieSettings(**how)).values == 1).all()


@pytest.mark.parametrize("distance", ["decoding_lda", "decoding_svm"])
def test_equal_patterns_cannot_be_decoded(rng, distance):
    values = rng.standard_normal((12, 5, 2))
    values[:, :, 0] = 0.5
    found = rdm_movie(
        epochs_of(values, np.repeat(list("abc"), 4)), MovieSettings(distance=distance, folds=4, n_repeats=1)
    ).values
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


def test_more_trials_in_a_pseudo_trial_are_decoded_better(rng):
    epochs = trials(rng, np.repeat(list("abcd"), 30), n_channels=20, n_times=20, signal=0.3)
    few, many = (
        rdm_movie(epochs, MovieSettings(distance="decoding_lda", folds=n, n_repeats=2)).values.mean() for n in (5, 30)
    )
    assert many + 0.05 < few


# ---------------------------------------------------------------------------------------------- the noise


@pytest.mark.parametrize("shrinkage", ["ledoit_wolf", "schaefer_strimmer"])
@pytest.mark.parametrize("distance", ["correlation", "crossnobis", "cv_correlation"])
def test_whitened_patterns_are_those_of_the_symmetric_root(rng, shrinkage, distance):
    noise = coloured(rng, 60, 12)
    epochs = trials(rng, list("abcabcabc"), signal=2, runs="111222333", noise=noise)
    found = rdm_movie(epochs, MovieSettings(distance=distance, whiten=shrinkage)).values[1]
    white = oracles.whitened(at(epochs, 1), noise.astype(float), len(noise), shrinkage)
    if distance == "correlation":
        expected = oracles.rdm(white.reshape(3, 3, -1).mean(axis=0), distance)
    else:
        expected = oracles.between_runs(white, epochs.table["condition"], epochs.table["run"], distance)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_units_of_channel_types_change_nothing(rng):
    """Fields of 1e-13 T beside potentials of 1e-6 V, each with its noise."""
    types, units = ["mag"] * 7 + ["eeg"] * 5, np.array([2.0**-43] * 7 + [2.0**-20] * 5)
    noise = coloured(rng, 60, 12)
    noise[:, :7] *= 3
    plain = trials(rng, list("abcabcabc"), types=types, noise=noise)
    scaled = epochs_of(
        plain.values * units[:, None], plain.table["condition"], types=types, noise=noise * units.astype(np.float32)
    )
    for whiten in (None, "ledoit_wolf"):
        expected = rdm_movie(plain, MovieSettings(whiten=whiten)).values
        np.testing.assert_allclose(rdm_movie(scaled, MovieSettings(whiten=whiten)).values, expected, rtol=1e-6)
    deviations = np.repeat([np.sqrt((part.astype(float) ** 2).mean()) for part in (noise[:, :7], noise[:, 7:])], [7, 5])
    means = at(plain, 0).reshape(3, 3, -1).mean(axis=0) / deviations
    np.testing.assert_allclose(rdm_movie(plain).values[0], oracles.rdm(means, "correlation"), rtol=1e-9)


def test_channels_of_one_type_are_not_scaled_by_their_noise(rng):
    epochs = trials(rng, list("abcabc"), noise=coloured(rng, 60, 12))
    without = epochs_of(epochs.values, epochs.table["condition"])
    np.testing.assert_array_equal(rdm_movie(epochs).values, rdm_movie(without).values)


def test_dead_channels_are_left_out(rng):
    epochs = trials(rng, list("abcabc"))
    dead = np.concatenate([epochs.values, np.full((6, 2, 3), 7.0)], axis=1)
    found = rdm_movie(epochs_of(dead, "abcabc")).values
    np.testing.assert_array_equal(found, rdm_movie(epochs).values)


@pytest.mark.parametrize("value", [0, np.nan])
def test_channels_without_noise_are_left_out_where_noise_is_needed(rng, value):
    epochs, noise = trials(rng, list("abcabc")), coloured(rng, 60, 12)
    noise[:, 3] = value
    np.testing.assert_array_equal(
        rdm_movie(epochs_of(epochs.values, "abcabc", noise=noise)).values, rdm_movie(epochs).values
    )
    fewer = epochs_of(np.delete(epochs.values, 3, 1), "abcabc", noise=np.delete(noise, 3, 1))
    silent = epochs_of(epochs.values, "abcabc", noise=noise)
    np.testing.assert_array_equal(
        *(rdm_movie(one, MovieSettings(whiten="ledoit_wolf")).values for one in (fewer, silent))
    )


# --------------------------------------------------------------------------------------- windows and order


@pytest.mark.parametrize("distance", ["correlation", "crossnobis"])
def test_a_window_averages_the_samples_around_each_time_that_there_are(rng, distance):
    epochs = trials(rng, list("abcabcabc"), n_times=9)
    values = np.stack([epochs.values[..., max(0, t - 2) : t + 3].mean(axis=-1) for t in range(9)], axis=-1)
    expected = rdm_movie(epochs_of(values, epochs.table["condition"]), MovieSettings(distance=distance)).values
    np.testing.assert_allclose(
        rdm_movie(epochs, MovieSettings(distance=distance, window_s=0.04)).values, expected, rtol=1e-4
    )
    plain = rdm_movie(epochs, MovieSettings(distance=distance)).values
    np.testing.assert_array_equal(rdm_movie(epochs, MovieSettings(distance=distance, window_s=0.019)).values, plain)


@pytest.mark.slow
@pytest.mark.parametrize("distance", MOVIE_DISTANCES)
def test_chunks_threads_and_the_order_of_conditions_change_nothing(rng, distance, monkeypatch):
    epochs = trials(rng, np.repeat(list("abcd"), 6), n_times=10, noise=coloured(rng, 60, 12))
    how = {"folds": 3, "n_repeats": 2} if distance in SPLIT else {}
    how |= {"distance": distance, "whiten": "ledoit_wolf", "window_s": 0.02}
    movie, done = rdm_movie(epochs, MovieSettings(**how)), []
    monkeypatch.setattr(timecourse, "CHUNK_BYTES", 24 * 12 * 8 * 3)
    np.testing.assert_array_equal(
        rdm_movie(epochs, MovieSettings(**how), run=RunSettings(n_threads=2, progress=done.append)).values, movie.values
    )
    assert done == [3, 3, 3, 1]
    turned = np.repeat([18, 0, 12, 6], 6) + np.tile(np.arange(6), 4)
    other = epochs_of(epochs.values[turned], epochs.table["condition"][turned], noise=epochs.noise)
    found = rdm_movie(other, MovieSettings(**how))
    assert found.conditions == ("d", "a", "c", "b")
    np.testing.assert_allclose(found.reordered(list("abcd")).values, movie.values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("distance", ["correlation", "crossnobis", "decoding_lda"])
def test_a_planted_latency_and_geometry_are_found(rng, distance):
    """From 100 ms on, a and b look alike, and c and d do."""
    shared, own = rng.standard_normal((2, 100, 1)), 0.3 * rng.standard_normal((4, 100, 1))
    patterns = shared[[0, 0, 1, 1]] + own
    values = rng.standard_normal((80, 100, 20))
    values[:, :, 10:] += np.repeat(patterns, 20, axis=0)
    movie = rdm_movie(epochs_of(values, np.repeat(list("abcd"), 20)), MovieSettings(distance=distance))
    apart = squareform(np.kron(1 - np.eye(2), np.ones((2, 2)))) > 0
    contrast = movie.values[:, apart].mean(axis=1) - movie.values[:, ~apart].mean(axis=1)
    early, late = contrast[:10], contrast[10:]
    if distance == "decoding_lda":  # what is decoded says little of how far apart it is
        early, late = (movie.values[part, :][:, apart].mean(axis=1) - 0.5 for part in (slice(10), slice(10, 20)))
    assert np.abs(early).max() < 0.4 < late.min()


# ------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("conditions", "how", "message"),
    [
        ("abc", {"distance": "mahalanobis"}, "Unknown distance 'mahalanobis'.*Choose one of: correlation"),
        ("aaa", {}, "2 conditions or more; the epochs have 1"),
        ("abc", {"folds": 3}, r"'correlation' is one of means over all trials; leave out folds \(3\)"),
        ("abab", {"distance": "crossnobis", "folds": 1}, "2 folds or more, not 1"),
        ("abab", {"distance": "crossnobis", "n_repeats": 0}, r"\(n_repeats\), not 0 times"),
        ("abab", {"window_s": -0.1}, "0 s or longer, not -0.1 s"),
        (
            "abc",
            {"distance": "crossnobis"},
            "'crossnobis' needs trials of a condition in 2 folds .* 1 at most. Say into how many",
        ),
        ("aabc", {"distance": "crossnobis"}, "these conditions are in one only: 'b', 'c'. Leave them out"),
        ("aabbc", {"distance": "crossnobis", "folds": 2}, "in one only: 'c'"),
        ("abab", {"distance": "decoding_lda"}, "'decoding_lda' needs trials of a condition in 3 folds .* in 2 at most"),
        ("abab", {"whiten": "ledoit_wolf"}, "Whitening needs samples of the noise.*give a baseline"),
        ("abab", {"whiten": "none"}, "Unknown shrinkage 'none'"),
    ],
)
def test_mistakes_are_told_in_one_line(rng, conditions, how, message):
    with pytest.raises(UserError, match=message):
        rdm_movie(trials(rng, list(conditions)), MovieSettings(**how))


@pytest.mark.parametrize("distance", ["correlation", "crossnobis"])
def test_a_channel_that_is_flat_in_one_run_has_no_data(rng, distance, caplog):
    """As without it; its products with other runs would be 0, and crossnobis too small."""
    conditions, runs = list("abcd") * 3, ["1"] * 4 + ["2"] * 4 + ["3"] * 4
    epochs = trials(rng, conditions, runs=runs)
    values = epochs.values.copy()
    values[4:8, 5] = 1e-3
    flat = replace(epochs, values=values)
    found = rdm_movie(flat, MovieSettings(distance=distance))
    without = rdm_movie(
        flat.of_channels([place for place in range(12) if place != 5]), MovieSettings(distance=distance)
    )
    np.testing.assert_array_equal(found.values, without.values)
    (warning,) = caplog.messages
    assert warning == f"channels '{epochs.channels['name'][5]}' have no data in some run (flat there) and take no part"
    values[4:8] = 0
    with pytest.raises(UserError, match="Run '2' has no data: each channel is the same in all of its trials and times"):
        rdm_movie(replace(epochs, values=values), MovieSettings(distance=distance))


def test_a_run_of_a_single_number_has_data(rng):
    """One trial at one time cannot vary, and is no reason to refuse its run, nor to leave channels out."""
    conditions, runs = [*"abcdabcd", "a"], [*"11112222", "3"]
    epochs = trials(rng, conditions, runs=runs)
    one = replace(epochs, values=epochs.values[:, :, :1], times_s=epochs.times_s[:1])
    rows = at(one, 0) - at(one, 0).mean(axis=0)
    expected = oracles.between_runs(rows, conditions, runs, "crossnobis")
    np.testing.assert_allclose(
        rdm_movie(one, MovieSettings(distance="crossnobis")).values[0], expected, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("missing", [None, np.nan])
def test_a_trial_without_a_run_is_refused(rng, missing):
    """It would count as one of the last run, in the place of those."""
    with pytest.raises(UserError, match=r"^Trial 3 of the epochs has no run; give all of them one, or leave the"):
        trials(rng, list("ababab"), runs=["1", "1", missing, "2", "3", "3"])


def test_a_condition_in_one_run_has_no_distance_between_runs(rng):
    with pytest.raises(UserError, match=r"different folds \(runs\), and these conditions are in one only: 'b'"):
        rdm_movie(trials(rng, list("abab"), runs="1121"), MovieSettings(distance="crossnobis"))


def test_types_of_channels_without_noise_cannot_be_put_together(rng):
    with pytest.raises(UserError, match=r"types eeg, mag have different units, and there is no noise .* pick one type"):
        rdm_movie(trials(rng, list("abc"), types=["mag"] * 6 + ["eeg"] * 6))


def test_channels_without_any_signal_are_refused(rng):
    with pytest.raises(UserError, match="No channel is usable"):
        rdm_movie(epochs_of(np.ones((4, 3, 2)), "abab"))


def test_noise_that_cannot_be_whitened_is_refused(rng, monkeypatch):
    monkeypatch.setattr(timecourse.noise, "whiten", lambda *_, **__: np.full((12, 12), np.nan))
    with pytest.raises(UserError, match="of 60 samples of noise cannot be inverted; give a longer baseline"):
        rdm_movie(trials(rng, list("abab"), noise=coloured(rng, 60, 12)), MovieSettings(whiten="ledoit_wolf"))
