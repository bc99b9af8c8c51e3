"""Layers over time: what is planted comes out at its time, and nothing comes out of noise more often than p says."""

from dataclasses import replace
from itertools import product

import numpy as np
import oracles
import pandas as pd
import pytest
from pydantic import TypeAdapter
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.distance import squareform
from scipy.stats import spearmanr, ttest_1samp

from rsa.analyses import PLAIN, Analysis
from rsa.comparisons import COMPARISONS
from rsa.core import RDMs
from rsa.errors import UserError
from rsa.files import io
from rsa.inference.designs import Design
from rsa.inference.flips import pseudo_t as statistic_of
from rsa.measures import comparison_measure
from rsa.meeg.latencies import COURSE_COLUMNS, HIERARCHY_COLUMNS, LATENCY_COLUMNS, group_courses, hierarchy, latencies
from rsa.meeg.scores import LAYER_TIME_COLUMNS, generalisation_table, generalise, layer_time, relabelled
from rsa.onsets import onset_times
from rsa.pipeline import stages
from rsa.rdm import noise_ceiling

NAMES = [f"img{i}" for i in range(1, 13)]
PREDICTORS = {"a": ["net conv1"], "b": ["net conv2"], "c": ["net conv3"]}
N_PAIRS = 66
STEP_S = 0.01
TIMES_S = np.arange(-20, 40) / 100


def movies_of(values, times_s, conditions=NAMES):
    """Put RDMs, (n_subjects, n_times, n_pairs), into a stack, with its rows in no order."""
    n_subjects, n_times = values.shape[:2]
    labels = list(product([f"{s + 1:02d}" for s in range(n_subjects)], times_s))
    order = np.random.default_rng(0).permutation(n_subjects * n_times)
    table = pd.DataFrame(labels, columns=["subject", "time_s"]).iloc[order]
    return RDMs(values.reshape(n_subjects * n_times, -1)[order], conditions, table)


def noisy_movies(rng, n_subjects=4, n_times=5):
    shared = rng.random((1, n_times, N_PAIRS))
    return movies_of(shared + rng.random((n_subjects, n_times, N_PAIRS)), TIMES_S[:n_times])


def references_of(rng, n_layers=3):
    table = pd.DataFrame({"model": "net", "layer": [f"conv{i + 1}" for i in range(n_layers)]})
    return RDMs(rng.random((n_layers, N_PAIRS)), NAMES, table)


def scores_table(values, times_s=TIMES_S, models=("net",)):
    """Make the table of scores (n_subjects, n_rows, n_times); rows are layers, shared out among the models."""
    n_subjects, n_rows = values.shape[:2]
    layers = np.arange(n_rows) % (n_rows // len(models))
    rows = [(models[i // (n_rows // len(models))], f"conv{layer + 1}") for i, layer in enumerate(layers)]
    labels = [(f"{s:02d}", *row, time) for s, row, time in product(range(n_subjects), rows, times_s)]
    table = pd.DataFrame(labels, columns=["subject", "model", "layer", "time_s"])
    return table.assign(statistic="spearman", score=values.ravel())


def smooth_noise(rng, shape, width=2):
    noise = gaussian_filter1d(rng.standard_normal(shape), width, axis=-1)
    return noise / noise.std()


def planted(rng, peaks_s=(0.1, 0.15, 0.2, 0.25), n_subjects=12, height=0.2, noise=0.03):
    """Plant a Gaussian course per layer, of a height that differs between subjects."""
    courses = np.stack([np.exp(-(((TIMES_S - peak_s) / 0.03) ** 2) / 2) for peak_s in peaks_s])
    heights = height * rng.normal(1, 0.2, (n_subjects, 1, 1))
    return heights * courses + noise * smooth_noise(rng, (n_subjects, *courses.shape), width=1)


# ------------------------------------------------------------------------------------ scores of subjects


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_scores_equal_one_rdm_at_a_time(comparison, rng):
    movies, references = noisy_movies(rng), references_of(rng)
    references.values[1] = references.values[1].round(1)
    table = layer_time(movies, references, comparison)
    assert list(table) == list(LAYER_TIME_COLUMNS)
    assert len(table) == 4 * 3 * 5
    assert set(table["statistic"]) == {comparison}
    for row in table.sample(20, random_state=0).to_dict("records"):
        mine = (movies.table["subject"] == row["subject"]) & (movies.table["time_s"] == row["time_s"])
        layer = references.values[int(row["layer"][-1]) - 1]
        assert row["score"] == pytest.approx(oracles.compare(movies.values[mine][0], layer, comparison))


@pytest.mark.parametrize("comparison", ["spearman", "pearson"])
def test_the_noise_ceiling_is_that_of_the_rdms_at_each_time(comparison, rng):
    movies = noisy_movies(rng)
    table = layer_time(movies, references_of(rng), comparison)
    for time_s, rows in table.groupby("time_s"):
        bounds = noise_ceiling(movies.subset((movies.table["time_s"] == time_s).to_numpy()), comparison)
        assert len(rows) == 12
        np.testing.assert_allclose(rows[["ceiling_lower", "ceiling_upper"]], np.tile(bounds, (12, 1)), rtol=1e-12)


def test_conditions_are_matched_by_label(rng):
    movies, references = noisy_movies(rng), references_of(rng)
    shuffled = references.reordered(rng.permutation(NAMES).tolist())
    pd.testing.assert_frame_equal(layer_time(movies, shuffled, "spearman"), layer_time(movies, references, "spearman"))


def test_an_rdm_with_nan_has_no_score_and_leaves_the_others_alone(rng):
    movies, references = noisy_movies(rng), references_of(rng)
    before = layer_time(movies, references, "spearman").set_index(["subject", "time_s", "layer"])["score"].sort_index()
    movies.values[7, 3] = np.nan
    after = layer_time(movies, references, "spearman").set_index(["subject", "time_s", "layer"])["score"].sort_index()
    row = movies.table.iloc[7]
    assert after[row["subject"], row["time_s"]].isna().all()
    pd.testing.assert_series_equal(after.dropna(), before[after.notna()])
    assert after.isna().sum() == 3


def test_references_without_layers_and_from_files_keep_their_name(rng):
    references = references_of(rng, 2)
    references.table["model"], references.table["layer"] = ["animacy", "net"], [np.nan, "conv1"]
    table = layer_time(noisy_movies(rng), references, "spearman")
    assert table[["model", "layer"]].drop_duplicates().to_numpy().tolist() == [["animacy", ""], ["net", "conv1"]]


def test_times_that_differ_by_rounding_are_the_same(rng):
    movies = noisy_movies(rng)
    movies.table["time_s"] += rng.uniform(-1e-9, 1e-9, len(movies))
    assert layer_time(movies, references_of(rng), "spearman")["time_s"].nunique() == 5
    assert generalisation_table(movies, "spearman")[0].shape == (5, 6)


def test_movies_that_do_not_fit_together_are_refused(rng):
    movies, references = noisy_movies(rng), references_of(rng)
    some = movies.subset(((movies.table["subject"] != "02") | (movies.table["time_s"] > -0.2)).to_numpy())
    with pytest.raises(UserError, match=r"of subjects '\d+' and '\d+' are of different times: . from -0\.\d+ to -0.16"):
        layer_time(some, references, "spearman")
    with pytest.raises(UserError, match=r"The RDM movie of subject '\d+' has two RDMs at one time"):
        layer_time(movies.subset(np.r_[np.arange(20), 0]), references, "spearman")
    no_subject = RDMs(movies.values, NAMES, movies.table[["time_s"]])
    with pytest.raises(UserError, match="The table of RDM movies has no column 'subject', only 'time_s'"):
        layer_time(no_subject, references, "spearman")
    some = movies.subset(np.arange(20))
    some.table.loc[3, "time_s"] = np.nan
    with pytest.raises(UserError, match="Row 4 of the table of RDM movies has no time_s"):
        layer_time(some, references, "spearman")
    with pytest.raises(UserError, match="comes twice in the table of references"):
        layer_time(movies, references.subset([0, 1, 1]), "spearman")
    with pytest.raises(UserError, match="The table of references has no rows"):
        layer_time(movies, references.subset(np.zeros(3, bool)), "spearman")
    with pytest.raises(UserError, match="share 10 of 12 conditions"):
        layer_time(movies, references.reordered(NAMES[:10]), "spearman")


# ----------------------------------------------------------------------------------------- group courses


def test_means_and_intervals_are_those_of_scipy(rng):
    values = planted(rng, n_subjects=7)
    table = scores_table(values).sample(frac=1, random_state=1)  # rows in any order
    courses = group_courses(table, level=0.9)
    assert list(courses) == [name for name in COURSE_COLUMNS if "ceiling" not in name]
    for number in (1, 3):
        rows = courses[courses["layer"] == f"conv{number}"]
        band = ttest_1samp(values[:, number - 1], 0).confidence_interval(0.9)
        np.testing.assert_allclose(rows["time_s"], TIMES_S)
        np.testing.assert_allclose(rows["mean"], values[:, number - 1].mean(axis=0))
        np.testing.assert_allclose(rows[["lower", "upper"]], np.transpose(band))
        assert set(rows["n_subjects"]) == {7}


def pseudo_t(z):
    """Divide the sum over subjects by the root of their squares and of the usual squares, one test at a time."""
    usual = np.median([sum(one**2) for one in z.reshape(len(z), -1).T])
    tests = [sum(one) / np.sqrt(len(z) * (sum(one**2) + usual)) for one in z.reshape(len(z), -1).T]
    return np.reshape(tests, z.shape[1:])


def p_of_highest(values, flips):
    """Compare the statistic with the highest of each flip, one flip at a time."""
    z = np.arctanh(values)
    highest = [pseudo_t(signs[:, None, None] * z).max() for signs in flips]
    return np.mean([one >= pseudo_t(z) - 1e-9 for one in highest], axis=0)


def test_p_of_all_flips_is_that_of_the_highest_pseudo_t(rng):
    values = planted(rng, n_subjects=6, noise=0.15)[:, :2, ::6]
    table = scores_table(values, TIMES_S[::6])
    flips = np.array(list(product([1, -1], repeat=6)))
    both = group_courses(table)["p"].to_numpy().reshape(2, -1)
    np.testing.assert_allclose(both, p_of_highest(values, flips))
    single = group_courses(table, family="times")["p"].to_numpy().reshape(2, -1)
    np.testing.assert_allclose(single, np.concatenate([p_of_highest(values[:, [row]], flips) for row in (0, 1)]))
    assert (single != both).any()
    assert len(np.unique(both)) > 5
    z = np.arctanh(values)
    alone = (np.tensordot(flips, z, 1) >= z.sum(axis=0) - 1e-9).mean(axis=0)  # the squares of a test do not change
    for family in ("times", "times and layers"):
        np.testing.assert_allclose(group_courses(table, family=family)["p_uncorrected"], alone.ravel())


def test_without_a_floor_the_statistic_orders_tests_as_t_of_fisher_z(rng):
    z = rng.normal(0.5, 1, (7, 1, 50))
    statistic = statistic_of(np.tanh(z), np.ones((1, 7)), np.zeros(1)).ravel()
    t_values = ttest_1samp(z, 0).statistic.ravel()
    np.testing.assert_allclose(statistic * np.sqrt(6 / (1 - statistic**2)), t_values)


def test_models_are_families_of_their_own(rng):
    values = planted(rng, n_subjects=9)
    alone = group_courses(scores_table(values[:, :2]))
    together = group_courses(scores_table(values, models=("net", "other")))
    pd.testing.assert_frame_equal(together[together["model"] == "net"], alone)


def test_random_flips_come_close_to_all_flips(rng, monkeypatch):
    table = scores_table(planted(rng, n_subjects=11, noise=0.2))
    exact = group_courses(table)["p"]
    few = group_courses(table, n_permutations=1500, seed=1)["p"]
    assert np.abs(few - exact).max() < 4 * np.sqrt(0.25 / 1500)
    assert (few != exact).any()
    assert few.min() >= 1 / 1501
    assert few.max() <= 1
    monkeypatch.setattr("rsa.inference.subjects.FLIPPED_NUMBERS", 1000)
    pd.testing.assert_series_equal(group_courses(table, n_permutations=1500, seed=1)["p"], few)


def test_p_with_few_subjects(rng):
    for n_subjects in (2, 4, 5):
        values = planted(rng, n_subjects=n_subjects, noise=0.001)
        p = group_courses(scores_table(values))["p"]
        assert p.min() == Design(n_subjects).smallest_p(10_000) == 1 / 2**n_subjects
        assert p.max() <= 1


@pytest.mark.slow
def test_the_family_wise_error_rate_is_nominal():
    """In 400 studies of noise, .05 of them have a p of .05 or less anywhere: within 3.5 standard errors."""
    rng, hits, n_studies = np.random.default_rng(5), 0, 400
    for study in range(n_studies):
        noise = 0.1 * smooth_noise(rng, (10, 2, 30))
        courses = group_courses(scores_table(noise, TIMES_S[:30]), n_permutations=199, seed=study)
        hits += (courses["p"] <= 0.05).any()
    assert abs(hits / n_studies - 0.05) < 3.5 * np.sqrt(0.05 * 0.95 / n_studies)


@pytest.mark.slow
def test_intervals_cover_the_truth():
    """Of 12 subjects, 95% intervals have the true mean in .95 of 8,000 cases that are nearly independent."""
    rng = np.random.default_rng(6)
    values = 0.1 + 0.05 * rng.standard_normal((12, 200, 40))
    courses = group_courses(scores_table(values, np.arange(40) / 100), n_permutations=1)
    covered = ((courses["lower"] <= 0.1) & (courses["upper"] >= 0.1)).mean()
    assert covered == pytest.approx(0.95, abs=4 * np.sqrt(0.05 * 0.95 / 8000))


def test_a_subject_without_score_leaves_no_mean_there_and_changes_nothing_elsewhere(rng):
    values = planted(rng, n_subjects=8, noise=0.1)
    before = group_courses(scores_table(values))
    values[2, 1, 30:35] = np.nan
    after = group_courses(scores_table(values))
    values[:, 1, 30:35] = np.nan
    without = group_courses(scores_table(values))
    gap = after["mean"].isna()
    assert gap.sum() == 5
    assert after.loc[gap, ["lower", "upper", "p", "p_uncorrected"]].isna().all(axis=None)
    assert set(after.loc[gap, "n_subjects"]) == {7}
    pd.testing.assert_frame_equal(after[~gap].drop(columns="p"), before[~gap].drop(columns="p"))
    pd.testing.assert_series_equal(after["p"], without["p"])


def test_ceilings_travel_with_the_courses(rng):
    movies = noisy_movies(rng)
    table = layer_time(movies, references_of(rng), "spearman")
    courses = group_courses(table)
    assert list(courses) == list(COURSE_COLUMNS)
    merged = courses.merge(table[table["subject"] == "03"], on=["layer", "time_s"], suffixes=("", "_again"))
    assert len(merged) == 15
    for name in ("ceiling_lower", "ceiling_upper"):
        np.testing.assert_array_equal(merged[name], merged[f"{name}_again"])


def test_tables_that_are_not_complete_are_refused(rng):
    table = scores_table(planted(rng, n_subjects=3))
    with pytest.raises(UserError, match="3 subjects, 4 references and 60 times are 720 rows, not 719"):
        group_courses(table.iloc[1:])
    with pytest.raises(UserError, match="comes twice in the table of scores over time"):
        group_courses(pd.concat([table, table.iloc[:1]]))
    with pytest.raises(UserError, match="The table of scores over time has no column 'time_s'"):
        group_courses(table.drop(columns="time_s"))
    with pytest.raises(UserError, match="Row 1 of the table of scores over time has no time_s"):
        group_courses(table.assign(time_s=table["time_s"].where(table["time_s"] > -0.2)))


@pytest.mark.parametrize(
    ("function", "wrong", "message"),
    [
        (group_courses, {"level": 95}, r"level is between 0 and 1 \(both excluded\), not 95"),
        (group_courses, {"n_permutations": 0}, "n_permutations is 1 or more, not 0"),
        (group_courses, {"family": "layers"}, "Unknown family of tests 'layers'.*Choose one of: times, times and lay"),
        (latencies, {"alpha": 0}, "alpha is between 0 and 1"),
        (latencies, {"n_bootstrap": 0}, "n_bootstrap is 1 or more, not 0"),
        (latencies, {"from_s": 2}, "No time is from 2 to inf s; the scores are of 60 from -0.2 to 0.39 s"),
        (hierarchy, {"level": 1}, "level is between 0 and 1"),
        (hierarchy, {"n_bootstrap": -1}, "n_bootstrap is 1 or more, not -1"),
        (hierarchy, {"until_s": -1}, "No time is from 0 to -1 s"),
    ],
)
def test_settings_that_make_no_sense_are_refused(function, wrong, message, rng):
    with pytest.raises(UserError, match=message):
        function(scores_table(planted(rng, n_subjects=3)), **wrong)


# --------------------------------------------------------------------------------------------- latencies


def test_planted_peaks_and_onsets_are_found(rng):
    """A Gaussian of 30 ms has 1% of its height 90 ms before its peak: an onset lies between that and the peak."""
    peaks_s = np.array([0.1, 0.15, 0.2, 0.25])
    found = latencies(scores_table(planted(rng, peaks_s)))
    assert list(found) == list(LATENCY_COLUMNS)
    assert found["layer"].tolist() == ["conv1", "conv2", "conv3", "conv4"]
    assert (np.abs(found["peak_s"] - peaks_s) <= 0.0101).all()
    assert ((found["peak_lower_s"] <= peaks_s) & (peaks_s <= found["peak_upper_s"])).all()
    assert ((found["onset_s"] > peaks_s - 0.09) & (found["onset_s"] < peaks_s)).all()
    assert found["onset_s"].is_monotonic_increasing
    assert ((found["onset_lower_s"] <= found["onset_s"]) & (found["onset_s"] <= found["onset_upper_s"])).all()
    assert found[["onset_se_s", "peak_se_s"]].to_numpy().max() < 0.03
    assert (found["peak_p"] < 0.01).all()
    assert (found["onset_found"] > 0.95).all()


def test_an_onset_is_the_first_time_of_corrected_p_that_lasts(rng):
    table = scores_table(planted(rng, noise=0.08))
    courses = group_courses(table, seed=3)
    for alpha, n_samples in ((0.05, 1), (0.05, 3), (0.01, 2), (0.2, 6)):
        min_duration_s = (n_samples - 1) * STEP_S
        found = latencies(table, alpha=alpha, min_duration_s=min_duration_s, n_bootstrap=2, seed=3).set_index("layer")
        for layer, rows in courses[courses["time_s"] >= 0].groupby("layer"):
            small = (rows["p"] <= alpha).tolist()
            first = [i for i in range(len(small) - n_samples + 1) if all(small[i : i + n_samples])]
            expected = rows["time_s"].iloc[first[0]] if first else np.nan
            assert found.loc[layer, "onset_s"] == pytest.approx(expected, nan_ok=True)
            peak = rows.loc[rows["mean"].idxmax()]
            assert found.loc[layer, ["peak_s", "peak_score", "peak_p"]].tolist() == [
                peak["time_s"], pytest.approx(peak["mean"]), peak["p"]]  # fmt: skip


def test_an_onset_has_to_last_within_the_data(rng):
    """Scores that begin 20 ms before the end last for 20 ms, and nobody knows whether for 30."""
    values = 0.001 * rng.standard_normal((8, 1, 60))
    values[..., -3:] += 0.3
    table = scores_table(values)
    assert latencies(table, min_duration_s=0.02, n_bootstrap=2)["onset_s"].item() == TIMES_S[-3]
    assert np.isnan(latencies(table, min_duration_s=0.03, n_bootstrap=2)["onset_s"].item())


def test_times_before_onset_and_outside_the_window_are_no_latencies(rng):
    values = planted(rng, peaks_s=(-0.1, 0.1, 0.3))
    values[:, 1] += planted(rng, peaks_s=(0.3,), height=0.4)[:, 0]
    early = latencies(scores_table(values), from_s=0.05, until_s=0.15).set_index("layer")
    assert early.loc["conv2", "peak_s"] == pytest.approx(0.1, abs=0.011)
    assert np.isnan(early.loc["conv1", "onset_s"])
    assert latencies(scores_table(values))["peak_s"][1] == pytest.approx(0.3, abs=0.011)


def test_standard_errors_and_intervals_are_those_of_resampled_subjects(rng):
    values, after = planted(rng, n_subjects=10, noise=0.08), TIMES_S >= 0
    found = latencies(scores_table(values), n_bootstrap=4000, level=0.9)
    drawn = np.random.default_rng(1).integers(0, 10, (4000, 10))
    peaks = np.array([TIMES_S[after][values[rows].mean(axis=0)[:, after].argmax(axis=-1)] for rows in drawn])
    np.testing.assert_allclose(found["peak_se_s"], peaks.std(axis=0, ddof=1), rtol=0.1)
    np.testing.assert_allclose(found["peak_lower_s"], np.percentile(peaks, 5, axis=0), atol=1e-9)
    np.testing.assert_allclose(found["peak_upper_s"], np.percentile(peaks, 95, axis=0), atol=1e-9)


@pytest.mark.slow
def test_the_standard_error_of_an_onset_is_about_the_spread_of_repeated_studies():
    rng, onsets, errors = np.random.default_rng(8), [], []
    for _ in range(40):
        found = latencies(scores_table(planted(rng, noise=0.06)), n_permutations=499, n_bootstrap=200)
        onsets.append(found["onset_s"])
        errors.append(found["onset_se_s"])
    ratio = np.mean(errors, axis=0) / np.std(onsets, axis=0, ddof=1)
    assert ((ratio > 0.6) & (ratio < 1.6)).all()


@pytest.mark.slow
def test_without_signal_there_is_seldom_an_onset():
    rng = np.random.default_rng(9)
    tables = [scores_table(0.1 * smooth_noise(rng, (10, 2, 60))) for _ in range(100)]
    none = [latencies(one, n_permutations=199, n_bootstrap=20, min_duration_s=0) for one in tables]
    assert sum(found["onset_s"].notna().any() for found in none) <= 12  # of 100 at .05: P(more) < .002
    lacking = pd.concat(none).loc[lambda found: found["onset_s"].isna()]
    assert lacking[["onset_lower_s", "onset_upper_s", "onset_se_s"]].isna().all(axis=None)
    assert (lacking["onset_found"] < 1).any()


def test_a_layer_that_never_scores_above_0_has_no_peak(rng):
    values = planted(rng)
    values[:, 2] = -0.5 - np.abs(values[:, 2])
    found = latencies(scores_table(values), n_bootstrap=50)
    assert found.loc[2, ["onset_s", "onset_lower_s", "onset_upper_s", "onset_se_s"]].isna().all()
    assert found.loc[2, ["peak_s", "peak_lower_s", "peak_upper_s", "peak_se_s", "peak_score", "peak_p"]].isna().all()
    assert found["peak_s"].notna().sum() == 3


def test_four_subjects_have_peaks_and_no_onset(rng):
    found = latencies(scores_table(planted(rng, n_subjects=4, noise=0.001)), n_bootstrap=50)
    assert found["onset_s"].isna().all()
    assert (found["onset_found"] == 0).all()
    assert found[["peak_s", "peak_lower_s", "peak_se_s"]].notna().all(axis=None)
    assert (found["peak_p"] == 1 / 16).all()


def test_chunks_change_nothing_and_seeds_do(rng, monkeypatch):
    table = scores_table(planted(rng, noise=0.1))
    how = {"n_bootstrap": 100, "n_permutations": 300}
    one, other = latencies(table, **how), latencies(table, seed=1, **how)
    order = hierarchy(table, n_bootstrap=100)
    for module in ("flips", "subjects"):
        monkeypatch.setattr(f"rsa.inference.{module}.FLIPPED_NUMBERS", 700)
    pd.testing.assert_frame_equal(latencies(table, **how), one)
    pd.testing.assert_frame_equal(hierarchy(table, n_bootstrap=100), order)
    assert (other["peak_se_s"] != one["peak_se_s"]).any()


# ----------------------------------------------------------------------------------------- one subject


def test_one_subject_has_latencies_without_intervals(rng):
    table = scores_table(planted(rng, n_subjects=1, noise=0.015))
    courses = group_courses(table)
    np.testing.assert_array_equal(courses["mean"], table["score"])
    assert courses[["lower", "upper", "p", "p_uncorrected"]].isna().all(axis=None)
    found = latencies(table, chance=rng.uniform(0, 0.05, (99, 4)))
    assert list(found) == list(LATENCY_COLUMNS)
    known = ["model", "layer", "onset_s", "peak_s", "peak_score", "n_subjects"]
    assert found[known].notna().all(axis=None)
    assert found.drop(columns=known).isna().all(axis=None)
    peaks_s = np.array([0.1, 0.15, 0.2, 0.25])
    assert (np.abs(found["peak_s"] - peaks_s) < 0.021).all()
    assert ((found["onset_s"] > peaks_s - 0.09) & (found["onset_s"] < peaks_s)).all()
    order = hierarchy(table)
    assert order["rho"].item() == 1
    assert order[["lower", "upper", "se"]].isna().all(axis=None)


def test_the_onset_of_one_subject_is_by_the_highest_of_all_orders_of_its_conditions(rng):
    values = planted(rng, n_subjects=1, noise=0.015)
    chance = rng.uniform(0, 0.15, (39, 4))
    for family, groups in (("times", [[0], [1], [2], [3]]), ("times and layers", [[0, 1, 2, 3]])):
        found = latencies(scores_table(values), family=family, chance=chance)
        for rows in groups:
            highest = sorted([values[0, rows].max(), *chance[:, rows].max(axis=1)])
            for row in rows:
                above = values[0, row] > highest[-3]  # at most 2 of 40 orders, this one among them, reach it
                np.testing.assert_array_equal(found["onset_s"][row], onset_times(above & (TIMES_S >= 0), TIMES_S, 0.02))
    assert latencies(scores_table(values), chance=chance[:18])["onset_s"].isna().all()  # p is 1 / 19 or more
    assert latencies(scores_table(values))["onset_s"].isna().all()
    with pytest.raises(UserError, match=r"a column for each of 4 references, not the shape \(39, 3\)"):
        latencies(scores_table(values), chance=chance[:, :3])


@pytest.mark.parametrize("settings", [None, {"kind": "partial"}, {"kind": "partition", "predictors": PREDICTORS}])
def test_one_subject_of_a_study_has_the_onset_of_what_is_planted(tmp_path, rng, settings):
    """Without any baseline, and of shares of variance too, whose chance level is not 0."""
    references, times_s = references_of(rng), np.arange(8) / 100
    values = rng.random((8, N_PAIRS))
    values[3:] += 4 * references.values[1]
    movie = RDMs(values, NAMES, pd.DataFrame({"subject": "01", "time_s": times_s}))
    io.save(tmp_path / "movie.h5", movie, io.provenance([], {}))
    io.save(tmp_path / "net.h5", references, io.provenance([], {}))
    analysis = PLAIN if settings is None else TypeAdapter(Analysis).validate_python(settings)
    stages.layer_time([tmp_path / "movie.h5"], [tmp_path / "net.h5"], tmp_path / "time", analysis=analysis)
    found = io.load_table(tmp_path / "time" / "latencies.tsv").set_index("layer" if analysis is PLAIN else "model")
    row = {"partition": "unique:b"}.get("" if settings is None else settings["kind"])
    onsets_s = found["onset_s"] if row else found.reset_index().set_index("layer")["onset_s"]
    assert onsets_s.dropna().to_dict() == {row or "conv2": 0.03}


def test_relabelled_scores_are_those_of_references_in_another_order(rng):
    names, n_times = [f"c{i}" for i in range(6)], 5
    movie = RDMs(rng.random((n_times, 15)), names, pd.DataFrame({"subject": "01", "time_s": range(n_times)}))
    movie.values[2] = np.nan
    references = RDMs(rng.random((3, 15)), names[::-1], pd.DataFrame({"model": "net", "layer": list("abc")}))
    found = relabelled(movie, references, "spearman", n_relabellings=4, seed=3)
    assert found.shape == (4, 3)
    rng = np.random.default_rng((3, 2))
    for row in found:
        order = rng.permutation(6)
        squares = [squareform(one)[::-1, ::-1][np.ix_(order, order)] for one in movie.values[[0, 1, 3, 4]]]
        own = [squareform(square) for square in squares]
        scores = [[spearmanr(one, reference).statistic for one in own] for reference in references.values]
        np.testing.assert_allclose(row, np.max(scores, axis=1))
    again = relabelled(movie, references, lambda own: comparison_measure(own, "spearman"), n_relabellings=4, seed=3)
    np.testing.assert_allclose(again, found)
    with pytest.raises(UserError, match="n_relabellings is 1 or more, not 0"):
        relabelled(movie, references, "spearman", n_relabellings=0)
    two = replace(movie, table=movie.table.assign(subject=["01"] * 2 + ["02"] * 3, time_s=[0, 1, 0, 1, 2]))
    with pytest.raises(UserError):
        relabelled(two, references, "spearman")


# --------------------------------------------------------------------------------------------- hierarchy


def test_the_planted_order_of_layers_is_found(rng):
    values = planted(rng, np.linspace(0.1, 0.25, 8))
    found = hierarchy(scores_table(np.concatenate([values, values[:, ::-1]], axis=1), models=("net", "reversed")))
    assert list(found) == list(HIERARCHY_COLUMNS)
    assert found["model"].tolist() == ["net", "reversed"]
    assert found["n_layers"].tolist() == [8, 8]
    assert found["rho"][0] > 0.95
    assert found["rho"][1] < -0.95
    assert found["lower"][0] > 0.8
    assert found["upper"][1] < -0.8


def test_rho_is_scipys_of_the_peaks_with_ties_too(rng):
    table = scores_table(planted(rng, (0.1, 0.15, 0.15, 0.2, 0.12, 0.12), noise=0.1))
    peaks = latencies(table, n_bootstrap=50)["peak_s"]
    found = hierarchy(table, n_bootstrap=50)
    assert found["rho"].item() == pytest.approx(spearmanr(range(6), peaks).statistic)
    assert found["lower"].item() <= found["rho"].item()
    values = planted(rng, (0.1, 0.2, 0.2, 0.2), noise=1e-9)
    tied = hierarchy(scores_table(values), n_bootstrap=50)
    assert tied["rho"].item() == pytest.approx(spearmanr(range(4), [1, 2, 2, 2]).statistic)
    assert tied["se"].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
def test_intervals_of_rho_are_around_0_if_there_is_no_order():
    rng = np.random.default_rng(11)
    tables = [scores_table(planted(rng, (0.15,) * 6, noise=0.2)) for _ in range(60)]
    found = pd.concat([hierarchy(one, n_bootstrap=200, seed=i) for i, one in enumerate(tables)])
    assert abs(found["rho"].mean()) < 3.5 * found["rho"].std() / np.sqrt(60)
    assert ((found["lower"] <= 0) & (found["upper"] >= 0)).mean() > 0.85


def test_rho_needs_three_layers_that_have_peaks_at_different_times(rng):
    assert hierarchy(scores_table(planted(rng, (0.1, 0.2)))).empty
    values = planted(rng)
    values[:, 2] = -0.5
    without = hierarchy(scores_table(values), n_bootstrap=20)
    assert without[["rho", "lower", "upper", "se"]].isna().all(axis=None)
    same = hierarchy(scores_table(np.repeat(planted(rng, (0.1,)), 3, axis=1)), n_bootstrap=20)
    assert np.isnan(same["rho"].item())


# ---------------------------------------------------------------------------------------- generalisation


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_generalisation_equals_one_pair_of_rdms_at_a_time(comparison, rng):
    movies = noisy_movies(rng, n_subjects=3, n_times=4)
    rdms = {tuple(row): rdm for row, rdm in zip(movies.table.to_numpy(), movies.values, strict=True)}
    times_s = TIMES_S[:4]
    within = [
        [[oracles.compare(rdms[s, i], rdms[s, j], comparison) for j in times_s] for i in times_s]
        for s in ("01", "02", "03")
    ]
    np.testing.assert_allclose(generalise(movies, comparison), np.mean(within, axis=0), atol=1e-12)
    np.testing.assert_allclose(np.diag(generalise(movies, comparison)), 1, atol=1e-12)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_between_subjects_the_diagonal_is_the_lower_bound_of_the_ceiling(comparison, rng):
    movies = noisy_movies(rng)
    matrix = generalise(movies, comparison, between=True)
    lower = layer_time(movies, references_of(rng, 1), comparison).drop_duplicates("time_s")["ceiling_lower"]
    np.testing.assert_allclose(np.diag(matrix), lower, atol=1e-12)


def test_between_subjects_rows_are_times_of_the_subject_and_columns_of_the_others(rng):
    movies = noisy_movies(rng, n_subjects=3, n_times=3)
    scale = COMPARISONS["spearman"].standardise
    at = {tuple(row): rdm for row, rdm in zip(movies.table.to_numpy(), movies.values, strict=True)}
    i, j, names = TIMES_S[0], TIMES_S[2], ("01", "02", "03")
    each = [spearmanr(at[s, i], np.mean([scale(at[o, j]) for o in names if o != s], axis=0)).statistic for s in names]
    matrix = generalise(movies, "spearman", between=True)
    assert matrix[0, 2] == pytest.approx(np.mean(each))
    assert matrix[0, 2] != pytest.approx(matrix[2, 0])


def test_a_geometry_that_lasts_generalises_over_the_time_that_it_lasts(rng):
    code, values = rng.random(N_PAIRS), 0.3 * rng.random((6, 10, N_PAIRS))
    values[:, 4:8] += code
    matrix = generalise(movies_of(values, TIMES_S[:10]), "spearman", between=True)
    inside = np.zeros((10, 10), bool)
    inside[4:8, 4:8] = True
    assert matrix[inside].min() > 0.7
    assert np.abs(matrix[~inside]).max() < 0.3


def test_generalisation_between_subjects_needs_two(rng):
    with pytest.raises(UserError, match="so 2 or more, not 1"):
        generalise(noisy_movies(rng, n_subjects=1), "spearman", between=True)
    assert generalise(noisy_movies(rng, n_subjects=1), "spearman").shape == (5, 5)


# ----------------------------------------------------------------------------------------------- whole


def test_layers_planted_in_rdms_come_out_at_their_times_and_in_their_order(rng):
    """From RDMs to the order of layers: four layers, each in the RDMs of all subjects around a time of its own."""
    layers, peaks_s = rng.standard_normal((4, N_PAIRS)), np.array([0.08, 0.13, 0.18, 0.23])
    weights = np.exp(-(((TIMES_S[:, None] - peaks_s) / 0.03) ** 2) / 2)  # (n_times, n_layers)
    values = weights @ layers + 0.6 * rng.standard_normal((10, len(TIMES_S), N_PAIRS))
    table = pd.DataFrame({"model": "net", "layer": [f"conv{i + 1}" for i in range(4)]})
    scores = layer_time(movies_of(values, TIMES_S), RDMs(layers, NAMES, table), "spearman")
    found = latencies(scores, n_bootstrap=200)
    assert (np.abs(found["peak_s"] - peaks_s) <= 0.0201).all()
    assert found["onset_s"].is_monotonic_increasing
    assert hierarchy(scores, n_bootstrap=200)["rho"].item() == 1
    courses = group_courses(scores)
    assert (courses.loc[courses["time_s"] < -0.05, "p"] > 0.05).mean() > 0.98
    best = courses.loc[courses.groupby("layer")["mean"].idxmax()]
    assert (best["mean"] < best["ceiling_upper"]).all()
