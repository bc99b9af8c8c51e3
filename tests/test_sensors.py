"""Searchlights over sensors against one neighbourhood at a time, from neighbours to files, pictures and the page."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import oracles
import pandas as pd
import pytest
from meeg_files import make_epochs, write_fif
from scipy.stats import spearmanr, ttest_1samp, ttest_ind
from test_timecourse import at, coloured, epochs_of, trials

from rsa.core import CONSTANT_PATTERN, CONSTANT_RDM, DEFINED, NO_DATA, TEST, TOO_SMALL, RDMs, ScoreMap, select
from rsa.datasets.sensors import neighbours_of
from rsa.errors import UserError
from rsa.files import io
from rsa.files.evokeds import evoked_path, read_info, write_evokeds
from rsa.inference.contrasts import Contrast
from rsa.inference.designs import Design
from rsa.inference.tally import Correction
from rsa.maps import stack
from rsa.measures import comparison_measure
from rsa.meeg import sensors
from rsa.meeg.scores import layer_time
from rsa.meeg.sensors import SENSOR_PEAK_COLUMNS, combine_sensors, sensor_peaks, sensor_searchlight, sensor_tests
from rsa.meeg.timecourse import MovieSettings, rdm_movie
from rsa.partition import partial, partial_measure
from rsa.pipeline import checks, cli
from rsa.pipeline.config import load_study
from rsa.report.style import caption_of
from rsa.report.topographies import _sites, sensor_figures, topographies
from rsa.searchlight import RunSettings
from rsa.significance import significance_of

SHOWN = [name for name in "abcdefg" for _ in range(4)]
RUNS = list("1122") * 7
LINE = [np.arange(max(0, n - 1), min(12, n + 2)) for n in range(12)]
"""Twelve sensors in a line, each with its neighbours."""


def references_of(rng, names="gfedcba", n_layers=2):
    n_pairs = len(names) * (len(names) - 1) // 2
    table = pd.DataFrame({"model": "net", "layer": [f"conv{i}" for i in range(n_layers)]})
    return RDMs(rng.random((n_layers, n_pairs)), list(names), table)


# ---------------------------------------------------------------------------------------------- scores


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"distance": "euclidean", "window_s": 0.02},
        {"distance": "crossnobis", "whiten": "ledoit_wolf"},
        {"distance": "cv_correlation", "folds": 2, "n_repeats": 3},
        {"whiten": "schaefer_strimmer", "comparison": "rho_a"},
        {"distance": "decoding_lda", "folds": 4, "n_repeats": 2},
    ],
)
def test_scores_are_those_of_the_movie_of_each_neighbourhood(rng, how):
    epochs = trials(rng, SHOWN, n_times=11, runs=RUNS, noise=coloured(rng, 60, 12))
    references = references_of(rng)
    comparison = how.pop("comparison", "spearman")
    measure, movie, run = comparison_measure(references, comparison), MovieSettings(**how), RunSettings(n_threads=2)
    found = sensor_searchlight(epochs, LINE, measure, min_sensors=2, movie=movie, run=run)
    expected = references.reordered(epochs.conditions).values
    for sensor, around in enumerate(LINE):
        movie = rdm_movie(epochs.of_channels(around), MovieSettings(**how))
        for row, scores in zip(expected, found.values[:, sensor].reshape(2, -1), strict=True):
            one_by_one = [oracles.compare(row, rdm, comparison) for rdm in movie.values]
            np.testing.assert_allclose(scores, one_by_one, atol=1e-6)
    assert list(found.labels) == ["model", "layer", "time_s", "statistic"]
    assert found.table["layer"].tolist() == ["conv0"] * 11 + ["conv1"] * 11
    np.testing.assert_array_equal(found.table["time_s"], [*epochs.times_s, *epochs.times_s])
    assert list(found.regions["sensor"]) == list(epochs.channels["name"])
    assert list(found.n_members) == [2, *[3] * 10, 2]
    assert (found.reason == DEFINED).all()


def test_scores_are_those_of_scipy_from_the_trials_on(rng):
    epochs, references = trials(rng, SHOWN), references_of(rng, names="abcdefg")
    found = sensor_searchlight(epochs, LINE, comparison_measure(references, "spearman"))
    means = np.stack([epochs.values[np.array(SHOWN) == name].mean(axis=0, dtype=float) for name in "abcdefg"])
    distances = oracles.rdm(means[:, 4:7, 1], "correlation")
    assert found.values[3 + 1, 5] == pytest.approx(spearmanr(distances, references.values[1]).statistic, abs=1e-6)


def test_sensors_are_whitened_by_the_noise_of_their_own_neighbourhood(rng):
    noise, references = coloured(rng, 60, 12), references_of(rng, names="abcdefg")
    epochs = trials(rng, SHOWN, runs=RUNS, noise=noise)
    found = sensor_searchlight(
        epochs,
        LINE,
        comparison_measure(references, "spearman"),
        movie=MovieSettings(distance="crossnobis", whiten="ledoit_wolf"),
    )
    rows = oracles.whitened(at(epochs, 1)[:, 4:7], noise[:, 4:7].astype(float), 60, "ledoit_wolf")
    distances = oracles.between_runs(rows, SHOWN, RUNS, "crossnobis")
    assert found.values[3 + 1, 5] == pytest.approx(spearmanr(distances, references.values[1]).statistic, abs=1e-6)


def test_neighbourhoods_of_all_sensors_have_the_scores_of_layers_over_time(rng):
    epochs = trials(rng, SHOWN, n_times=5, runs=RUNS, noise=coloured(rng, 60, 12))
    references, how = references_of(rng), {"distance": "crossnobis", "whiten": "ledoit_wolf"}
    found = sensor_searchlight(
        epochs, [np.arange(12)] * 12, comparison_measure(references, "spearman"), movie=MovieSettings(**how)
    )
    movie = rdm_movie(epochs, MovieSettings(**how))
    movie = RDMs(movie.values, movie.conditions, movie.table.assign(subject="01"))
    expected = layer_time(movie, references, "spearman")["score"].to_numpy()
    np.testing.assert_allclose(found.values, np.tile(expected[:, None], 12), atol=1e-7)


def test_threads_and_chunks_change_nothing(rng, monkeypatch):
    epochs, references = trials(rng, SHOWN, n_times=11), references_of(rng)
    done = []
    plain = sensor_searchlight(
        epochs,
        LINE,
        comparison_measure(references, "spearman"),
        movie=MovieSettings(distance="crossnobis"),
        run=RunSettings(progress=done.append),
    )
    assert sum(done) == 11
    monkeypatch.setattr(sensors, "MOST_TIMES", 2)
    again = sensor_searchlight(
        epochs,
        LINE,
        comparison_measure(references, "spearman"),
        movie=MovieSettings(distance="crossnobis"),
        run=RunSettings(n_threads=3),
    )
    np.testing.assert_array_equal(again.values, plain.values)


def test_a_layer_is_found_at_the_sensors_that_have_it(rng):
    """Patterns over sensors 0 to 3 alone, from the second time on; the other sensors have noise."""
    names = [f"c{n:02d}" for n in range(20)]
    patterns = rng.standard_normal((20, 4))
    values = rng.standard_normal((200, 12, 4))
    shown = np.tile(np.arange(20), 10)
    values[:, :4, 1:] += 2 * patterns[shown][:, :, None]
    distances = oracles.rdm(patterns, "sqeuclidean")
    layer = RDMs(distances[None], names, pd.DataFrame({"model": ["net"], "layer": ["conv"]}))
    epochs = epochs_of(values, [names[number] for number in shown])
    scores = sensor_searchlight(
        epochs, LINE, comparison_measure(layer, "spearman"), min_sensors=2, movie=MovieSettings(distance="crossnobis")
    ).values
    assert scores[1:, 1:3].min() > 0.6
    assert scores[1:, 1:3].min() > scores[1:, 4].max() > scores[1:, 5:].max(), "3 of 3, 1 of 3 and none"
    assert np.abs(scores[1:, 5:]).max() < 0.25
    assert np.abs(scores[0]).max() < 0.25, "before it appears"


# ----------------------------------------------------------------------------------------- degenerate


def test_sensors_without_a_score_say_why(rng):
    epochs = trials(rng, SHOWN)
    values = epochs.values.copy()
    values[:, 4] = 7.0  # the same everywhere
    epochs = epochs_of(values, SHOWN)
    around = [*LINE[:10], np.array([10]), np.array([11, 0])]
    found = sensor_searchlight(epochs, around, comparison_measure(references_of(rng), "spearman"), min_sensors=2)
    assert list(found.reason) == [*[DEFINED] * 4, NO_DATA, *[DEFINED] * 5, TOO_SMALL, DEFINED]
    assert list(found.n_members) == [2, 3, 3, 2, 0, 2, 3, 3, 3, 3, 1, 2], "the dead sensor is in no neighbourhood"
    np.testing.assert_array_equal(np.isnan(found.values).all(axis=0), found.reason != DEFINED)
    expected = sensor_searchlight(
        epochs.of_channels([2, 3]), [[0], [0, 1]], comparison_measure(references_of(rng), "spearman"), min_sensors=1
    )
    assert expected.reason[0] == CONSTANT_PATTERN, "no correlation over one sensor"
    assert np.isnan(expected.values[:, 0]).all()


def test_a_single_sensor_has_distances_that_are_no_correlations(rng):
    epochs, references = trials(rng, SHOWN), references_of(rng)
    found = sensor_searchlight(
        epochs,
        [[n] for n in range(12)],
        comparison_measure(references, "spearman"),
        min_sensors=1,
        movie=MovieSettings(distance="crossnobis"),
    )
    assert np.isfinite(found.values).all()


def test_equal_distances_are_a_reason_at_all_times_only(rng):
    epochs = trials(rng, SHOWN)
    values = epochs.values.copy()
    values[:, :3, :2] = 1.0
    found = sensor_searchlight(
        epochs_of(values, SHOWN),
        LINE,
        comparison_measure(references_of(rng), "spearman"),
        min_sensors=2,
        movie=MovieSettings(distance="euclidean"),
    )
    assert found.reason[0] == DEFINED, "there is a score at the last time"
    assert np.isnan(found.values[:, 0]).tolist() == [True, True, False] * 2
    always = epochs_of(np.where(np.arange(3) == 0, rng.standard_normal((28, 12, 1)), 1.0), SHOWN)
    constant = RDMs(np.ones((1, 21)), list("abcdefg"), pd.DataFrame({"model": ["flat"], "layer": [""]}))
    assert (
        sensor_searchlight(
            always, LINE, comparison_measure(constant, "spearman"), movie=MovieSettings(distance="euclidean")
        ).reason
        == CONSTANT_RDM
    ).sum() == 10


def test_noise_that_is_missing_makes_a_sensor_unusable_where_it_is_used(rng):
    noise = coloured(rng, 60, 12)
    noise[:, 7] = 0
    epochs = trials(rng, SHOWN, noise=noise)
    assert (
        sensor_searchlight(epochs, LINE, comparison_measure(references_of(rng), "spearman")).n_members[6:9] == 3
    ).all()
    whitened = sensor_searchlight(
        epochs,
        LINE,
        comparison_measure(references_of(rng), "spearman"),
        min_sensors=2,
        movie=MovieSettings(whiten="ledoit_wolf"),
    )
    assert list(whitened.n_members[6:9]) == [2, 0, 2]


@pytest.mark.parametrize(
    ("around", "changes", "message"),
    [
        (LINE, {"min_sensors": 4}, "No neighbourhood has 4 usable sensors; the largest has 3. Ask for fewer"),
        (LINE[:5], {}, "12 channels have as many neighbourhoods, not 5"),
        (LINE, {"distance": "crosnobis"}, "Did you mean 'crossnobis'"),
        (LINE, {"whiten": "ledoit_wolf"}, "Whitening needs samples of the noise"),
    ],
)
def test_what_cannot_be_computed_is_told(rng, around, changes, message):
    measure, n = comparison_measure(references_of(rng), "spearman"), changes.pop("min_sensors", 3)
    with pytest.raises(UserError, match=message):
        sensor_searchlight(trials(rng, SHOWN), around, measure, min_sensors=n, movie=MovieSettings(**changes))


def test_other_conditions_are_named(rng):
    with pytest.raises(UserError, match=r"epochs and reference RDMs share 6 of 8 conditions.*missing.*'g'"):
        sensor_searchlight(
            trials(rng, SHOWN), LINE, comparison_measure(references_of(rng, names="abcdefz"), "spearman")
        )


# --------------------------------------------------------------------------------------------- group


def scores_of(values, subject=None, names=("Fz", "Cz", "Pz"), times_s=(-0.1, 0.0, 0.1)):
    """Make scores of one layer, (n_times, n_sensors), and 0 for a reference without layers."""
    both = np.concatenate([values, np.zeros_like(values)])
    rows = [(model, layer, time) for model, layer in (("net", "conv"), ("animate", "")) for time in times_s]
    table = pd.DataFrame(rows, columns=["model", "layer", "time_s"]).assign(statistic="spearman")
    table = table if subject is None else table.assign(subject=subject)
    sizes = np.full(len(names), 3)
    return ScoreMap(both, table, regions=pd.DataFrame({"sensor": names, "type": "eeg"}), n_members=sizes)


def test_the_group_has_the_sensors_that_all_subjects_have(rng):
    values = rng.normal(0.2, 0.1, (3, 3, 3)).astype(np.float32)
    values[1, 2, 0] = np.nan
    orders = (["Fz", "Cz", "Pz"], ["Pz", "Oz", "Fz"], ["Oz", "Pz", "Fz"])
    subjects = [scores_of(own, f"{i}", names) for i, (own, names) in enumerate(zip(values, orders, strict=True))]
    group = combine_sensors(subjects)
    assert list(group.regions["sensor"]) == ["Fz", "Pz"]
    assert "subject" not in group.table
    own = np.stack([values[0][:, [0, 2]], values[1][:, [2, 0]], values[2][:, [2, 1]]])
    mean, t = (select(group, statistic=test, model="net").values for test in ("mean", "t"))
    np.testing.assert_allclose(mean, own.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(t, ttest_1samp(np.arctanh(own), 0).statistic, rtol=1e-4)
    assert np.isnan(mean[2]).tolist() == [False, True], "a subject has no score there"
    assert list(group.n_members) == [3, 3]


def test_what_is_no_group_is_told(rng):
    one = scores_of(rng.random((3, 3)), "01")
    with pytest.raises(UserError, match="A group needs 2 subjects or more, not 1"):
        combine_sensors([one])
    with pytest.raises(UserError, match="share no sensor; a group needs sensors of the same names"):
        combine_sensors([one, scores_of(rng.random((3, 3)), "02", ("E1", "E2", "E3"))])
    with pytest.raises(UserError, match="not of the same models, layers, times and statistic"):
        combine_sensors([one, scores_of(rng.random((3, 3)), "02", times_s=(-0.1, 0.0, 0.2))])
    with pytest.raises(UserError, match="not over sensors"):
        combine_sensors([ScoreMap(one.values, one.table, regions=pd.DataFrame({"region": list("abc")}))] * 2)


def sensors_of(rng, n_subjects=6, n_sensors=5, names=None, onset=2):
    """Make subjects whose layer fits at the first two sensors, from a sample on: 5 times."""
    times_s, found = (0.0, 0.1, 0.2, 0.3, 0.4), []
    names = names or [f"E{number}" for number in range(n_sensors)]
    for subject in range(n_subjects):
        values = rng.normal(0, 0.05, (5, n_sensors))
        values[onset:, :2] += 0.4
        one = scores_of(values, f"{subject:02d}", names, times_s)
        found.append(replace(one, values=np.concatenate([values, rng.normal(0, 0.05, (5, n_sensors))])))
    return found


CHAIN = [np.arange(max(0, n - 1), min(5, n + 2)) for n in range(5)]


def test_sensors_are_tested_over_subjects(rng):
    subjects = sensors_of(rng)
    scores, test, tested = sensor_tests(subjects, CHAIN, Correction(family=("voxels", "times")), statistic="t")
    assert set(scores.table["role"]) == {TEST}
    assert list(dict.fromkeys(scores.table["statistic"])) == [
        "t", "z", "logp", "logp_max_stat", "logq", "thresholded"
    ]  # fmt: skip
    t = select(combine_sensors(subjects), statistic="t").values
    np.testing.assert_allclose(select(scores, statistic="t").values, t, rtol=1e-5)
    assert (test.n_permutations, test.is_exact, list(scores.n_members)) == (63, True, [6] * 5)
    z = np.arctanh(np.stack([one.values for one in subjects]).astype(float)).reshape(6, 2, 25)
    flips = np.stack(np.meshgrid(*[[1, -1]] * 6)).reshape(6, -1).T
    maxima = np.stack([ttest_1samp(signs[:, None, None] * z, 0).statistic.max(axis=1) for signs in flips])
    expected = (maxima[..., None] >= ttest_1samp(z, 0).statistic - 1e-4).mean(axis=0).reshape(10, 5)
    np.testing.assert_allclose(tested.p_max, expected)
    logp = select(scores, statistic="logp_max_stat").values
    np.testing.assert_allclose(logp, -np.log10(expected), rtol=1e-5)
    mean = np.mean([one.values for one in subjects], axis=0)
    shown = select(scores, statistic="thresholded").values
    np.testing.assert_allclose(shown, np.where(expected <= 0.05, mean, 0), rtol=1e-5)
    assert (shown[2:5, :2] > 0).any()
    assert not shown[5:].any()


def test_clusters_of_sensors_go_through_times_and_shared_sensors(rng):
    subjects = sensors_of(rng, 8)
    subjects[3] = replace(
        subjects[3], values=subjects[3].values[:, [4, 0, 1, 3]], n_members=np.full(4, 3),
        regions=pd.DataFrame({"sensor": ["E4", "E0", "E1", "E3"], "type": "eeg"}),
    )  # fmt: skip
    how = {"enhance": "cluster_size", "cluster_p": 0.001}
    scores, _, tested = sensor_tests(subjects, CHAIN, Correction(), **how)
    assert list(scores.regions["sensor"]) == ["E0", "E1", "E3", "E4"]
    size = select(scores, statistic="size", model="net").values
    assert size[2:, :2].tolist() == [[6, 6]] * 3, "three times and two sensors"
    assert not size[:2].any()
    assert not size[:, 2:].any(), "E2 is no bridge to E3"
    apart, _, _ = sensor_tests(subjects, CHAIN, Correction(family=("voxels",)), **how)
    assert select(apart, statistic="size", model="net").values[2:, :2].tolist() == [[2, 2]] * 3
    assert tested.p_enhanced[2, 0] == 1 / 256


def test_contrasts_and_groups_of_sensors(rng):
    subjects, in_first = sensors_of(rng), np.array([1, 1, 1, 0, 0, 0], bool)
    asked = [Contrast(name="more", a="net", b="animate")]
    scores, _, _ = sensor_tests(subjects, CHAIN, Correction(), contrasts=asked, design=Design(6, in_first))
    more = select(scores, model="more")
    assert list(dict.fromkeys(more.table["statistic"]))[:2] == ["difference", "t"]
    z = np.arctanh(np.stack([one.values for one in subjects]).astype(float))
    differences = z[:, :5] - z[:, 5:]
    expected = ttest_ind(differences[in_first], differences[~in_first]).statistic
    np.testing.assert_allclose(select(more, statistic="t").values, expected, rtol=1e-4)
    raw = differences[in_first].mean(axis=0) - differences[~in_first].mean(axis=0)
    np.testing.assert_allclose(select(more, statistic="difference").values, raw, rtol=1e-4)


def test_sensors_that_cannot_be_tested_are_told(rng):
    subjects = sensors_of(rng)
    with pytest.raises(UserError, match="5 sensors have as many neighbourhoods, not 4"):
        sensor_tests(subjects, CHAIN[:4], Correction())
    with pytest.raises(UserError, match="No score can be tested over subjects: shares of variance"):
        sensor_tests(subjects, CHAIN, Correction(), tested=False)
    with pytest.raises(UserError, match="A group needs 2 subjects or more, not 1"):
        sensor_tests(subjects[:1], CHAIN, Correction())


def test_peaks_are_from_onset_on():
    values = np.array([[0.9, 0.0, 0.0], [0.1, 0.2, np.nan], [0.1, 0.0, 0.3]])
    empty = np.full((3, 3), np.nan)
    group = combine_sensors([scores_of(values, "01"), scores_of(values, "02")])
    table = sensor_peaks([scores_of(values, "01"), scores_of(empty, "02"), group])
    assert list(table) == list(SENSOR_PEAK_COLUMNS)
    assert table["subject"].tolist() == ["01", "01", "02", "02", "group", "group"]
    assert table["statistic"].tolist() == ["spearman"] * 4 + ["mean"] * 2
    own = table[table["model"] == "net"].set_index("subject")
    assert own.loc["01", ["sensor", "time_s", "n_sensors"]].tolist() == ["Pz", 0.1, 3]
    assert own.loc["01", "score"] == pytest.approx(0.3)
    assert own.loc["02", ["sensor", "time_s", "score"]].isna().all()
    assert own.loc["group", ["sensor", "time_s"]].tolist() == ["Pz", 0.1]
    assert np.isnan(own.loc["group", "n_sensors"])


# ----------------------------------------------------------------------------------------- neighbours


def info_of(names, kind="eeg", montage="biosemi64"):
    info = mne.create_info(list(names), 100.0, kind, verbose="error")
    if montage is not None:
        info.set_montage(montage)
    return info


def meg_info(names, kind, rng):
    """Give sensors places at random, the same to those whose names differ in their last digit alone."""
    info, places = info_of(names, kind, None), {}
    for channel in info["chs"]:
        channel["loc"][:3] = places.setdefault(channel["ch_name"][:-1], rng.normal(0, 0.1, 3))
    return info


@pytest.mark.parametrize("n", [16, 64])
def test_neighbours_of_electrodes_are_close_and_mutual(n):
    montage = mne.channels.make_standard_montage(f"biosemi{n}")
    info = info_of(montage.ch_names, montage=montage)
    around = neighbours_of(info)
    is_near = np.zeros((n, n), dtype=bool)
    for sensor, members in enumerate(around):
        assert sensor in members
        assert (np.diff(members) > 0).all()
        is_near[sensor, members] = True
    np.testing.assert_array_equal(is_near, is_near.T)
    places_m = np.array([channel["loc"][:3] for channel in info["chs"]])
    distances_m = np.linalg.norm(places_m[:, None] - places_m, axis=2)
    assert distances_m[is_near].mean() < distances_m[~is_near].mean() / 2
    adjacency, _ = mne.channels.find_ch_adjacency(info, "eeg")
    np.testing.assert_array_equal(is_near, adjacency.toarray())


def test_a_bad_electrode_is_bridged():
    names = ["Fz", "Cz", "Pz", "C3", "C4", "C1", "C2", "FC1", "FC2", "CP1", "CP2"]
    all_of_them, fewer = info_of(names), info_of([name for name in names if name != "C1"])
    assert "C3" not in named(all_of_them, "Cz")
    assert "C3" in named(fewer, "Cz")


def named(info, sensor):
    return [info["ch_names"][place] for place in neighbours_of(info)[info["ch_names"].index(sensor)]]


def test_gradiometers_at_one_place_have_the_same_neighbours(rng):
    """MNE's table has the neighbours of each; both are in the neighbourhood of both, with all who are in either."""
    adjacency, known = mne.channels.read_ch_adjacency("neuromag306planar")
    known = [str(name).replace("MEG", "MEG ") for name in known]
    names = [name for name in known if name != "MEG 0122"]
    info = meg_info(names, "grad", rng)
    around = neighbours_of(info)
    one, other, alone = (names.index(f"MEG 01{number}") for number in (12, 13, 23))
    np.testing.assert_array_equal(around[one], around[other])
    assert {one, other, alone} <= set(around[one]), "a sensor whose partner is bad stays"
    expected = {known[place] for name in ("12", "13") for place in np.flatnonzero(
        adjacency.toarray()[known.index(f"MEG 01{name}")])}  # fmt: skip
    pairs = {name[:-1] for name in expected}
    assert {names[place] for place in around[one]} == {name for name in names if name[:-1] in pairs}


def test_names_of_ctf_may_have_an_ending():
    adjacency, known = mne.channels.read_ch_adjacency("ctf151")
    info = info_of([f"{name}-2908" for name in known], "mag", None)
    for number, channel in enumerate(info["chs"]):
        channel["coil_type"] = 5001
        channel["loc"][:3] = [number, 1, 1]
    around = neighbours_of(info)
    for row, members in zip(adjacency.toarray(), around, strict=True):
        np.testing.assert_array_equal(np.flatnonzero(row), members)


def placed(info):
    for number, channel in enumerate(info["chs"]):
        channel["loc"][:3] = [0.1, 0.01 * number, 0.02]
    return info


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (lambda: info_of(["E1", "E2", "E3"], montage=None), "the files have none of 'E1', 'E2', 'E3'; set a montage"),
        (lambda: placed(info_of(["M1", "M2", "E1"], ["mag", "mag", "eeg"], None)), "there are 'mag', 'eeg'; choose"),
        (lambda: placed(info_of(["S1", "S2", "S3"], "seeg", None)), "of type 'eeg', 'mag', 'grad', not 'seeg'"),
        (lambda: info_of(["Fz", "Cz"]), "needs 3 or more, not 2; see `picks`"),
        (lambda: placed(info_of(["A1", "A2", "A3"], "mag", None)), "such as 'MEG0111', and not 'A1', 'A2', 'A3'; ren"),
    ],
)
def test_sensors_without_neighbours_are_told(info, message):
    with pytest.raises(UserError, match=message):
        neighbours_of(info())


def test_electrodes_at_one_place_are_named():
    info = info_of(["Fz", "Cz", "Pz", "C3", "C4"])
    info["chs"][1]["loc"][:3] = info["chs"][0]["loc"][:3]
    with pytest.raises(UserError, match=r"MNE finds no neighbours of the sensors: .*overlapping positions.*Fz, Cz"):
        neighbours_of(info)


# ---------------------------------------------------------------------------------------------- files

NAMES = mne.channels.make_standard_montage("biosemi16").ch_names
CONDITIONS = ["bonobo", "cat", "hand", "saw", "tree"]


def write_subject(folder, subject, rng, *, names=NAMES, montage="biosemi16", kinds=None, bads=()):
    """Write 15 trials of electrodes at their places."""
    values = rng.normal(size=(15, len(names), 41)) * 1e-6
    channels = dict(zip(names, kinds or ["eeg"] * len(names), strict=True))
    epochs = make_epochs(values, CONDITIONS * 3, channels=channels, bads=bads, sfreq_hz=100.0)
    if montage is not None:
        epochs.set_montage(montage)
    write_fif(folder / f"sub-{subject}-epo.fif", epochs)


def study(folder, **changes):
    settings = {
        "study": "sens",
        "references": [{"kind": "file", "name": "net", "file": str(folder / "net.npz")}],
        "meeg": {
            "kind": "epochs",
            "subjects": ["01", "02"],
            "file": f"{folder}/sub-{{subject}}-epo.fif",
            "baseline_s": [-0.1, 0],
        },
        "sensors": {},
    }
    return load_study({key: value for key, value in {**settings, **changes}.items() if value is not None})


@pytest.fixture
def lab(tmp_path, rng):
    """Write epochs of two subjects, of whom the second has a bad electrode, and the RDMs of two layers."""
    write_subject(tmp_path, "01", rng)
    write_subject(tmp_path, "02", rng, bads=("Cz",))
    half = np.triu(rng.random((2, 5, 5)), 1)
    np.savez(tmp_path / "net.npz", rdms=half + half.swapaxes(1, 2), conditions=CONDITIONS)
    return tmp_path


def test_a_sound_study_with_sensors_has_no_problems(lab):
    assert checks.problems_of(study(lab)) == []
    assert "  sensors     each with its neighbours, at least 3 together" in checks.summary(study(lab)).splitlines()
    info = study(lab).meeg.sensor_info("02")
    assert info["ch_names"] == [name for name in NAMES if name != "Cz"]
    assert list(study(lab).meeg.load("02").channels["name"]) == info["ch_names"]


@pytest.mark.parametrize(
    ("written", "changes", "message"),
    [
        ({}, {"meeg": None}, "`sensors` is a searchlight over those of epochs, and there are no M/EEG data: set me"),
        (
            {},
            {"meeg": {"kind": "movie", "subjects": ["01"], "file": "no.npz", "times": {"unit": "s", "key": "t"}}},
            "and there are ready RDMs, which have no sensors: set meeg.kind to epochs.",
        ),
        (
            {"montage": None},
            {},
            "subject '02': a searchlight over sensors needs their places, and the files have none of 'Fp1', 'Fp2', ",
        ),
        (
            {"names": ["M1", "M2", "M3", "Cz", "Pz"], "kinds": ["mag"] * 3 + ["eeg"] * 2, "montage": None},
            {},
            "subject '02': a searchlight over sensors is of one type of channels, and there are 'mag', 'eeg'; choose",
        ),
        (
            {"names": ["AF7", "AF8", "P9", "P10"], "montage": "biosemi64"},
            {},
            "the subjects share no sensor, so there is no group; give sensors of all subjects the same names.",
        ),
        ({}, {"sensors": {"min_sensors": 10}}, "sensors.min_sensors is 10, and no sensor has more than"),
    ],
)  # fmt: skip
def test_what_keeps_sensors_from_a_searchlight_is_one_line(lab, rng, written, changes, message):
    if written:
        write_subject(lab, "02", rng, **written)
    problems = checks.problems_of(study(lab, **changes))
    assert any(message in text for text in problems)
    assert not any("\n" in text for text in problems)


def test_simulated_sensors_need_no_check(lab):
    simulated = study(lab, simulate={"epochs": {}}, meeg={**study(lab).meeg.model_dump(), "file": "no_epo.fif",
                                                          "subjects": ["01"]})  # fmt: skip
    assert not [text for text in checks.problems_of(simulated) if "sensor" in text]


# -------------------------------------------------------------------------------------- for MNE to read


def test_evoked_responses_have_the_scores_places_and_times(tmp_path, rng):
    info = info_of(["Cz", "Oz", "Fz", "Pz"])
    with info._unlock():
        info["lowpass"] = 12.0
    info["bads"] = ["Oz"]
    scores = scores_of(rng.random((3, 3)))
    path = evoked_path(tmp_path, "group", "mean")
    write_evokeds(path, scores, info, n_averaged=4)
    layer, other = mne.read_evokeds(path, verbose="error")
    assert (layer.comment, other.comment) == ("net conv", "animate")
    assert layer.ch_names == ["Fz", "Cz", "Pz"]
    assert (layer.nave, layer.kind, layer.info["bads"], layer.info["projs"]) == (4, "average", [], [])
    np.testing.assert_allclose(layer.data, scores.values[:3].T, rtol=1e-6)
    np.testing.assert_allclose(layer.times, [-0.1, 0, 0.1], atol=1e-7)
    np.testing.assert_allclose(layer.info["chs"][1]["loc"][:3], info["chs"][0]["loc"][:3], rtol=1e-5)
    assert read_info(path)["ch_names"] == ["Fz", "Cz", "Pz"]
    assert [file.name for file in tmp_path.iterdir()] == ["group_stat-mean_scores_ave.fif"]


def test_a_single_time_and_a_sensor_without_score_can_be_written(tmp_path):
    scores = scores_of(np.array([[0.1, np.nan, 0.3]]), times_s=(0.2,))
    write_evokeds(tmp_path / "x-ave.fif", scores, info_of(["Fz", "Cz", "Pz"]))
    (first, _) = mne.read_evokeds(tmp_path / "x-ave.fif", verbose="error")
    np.testing.assert_allclose(first.data[:, 0], [0.1, np.nan, 0.3], rtol=1e-6)


def test_evoked_responses_that_cannot_be_are_refused(tmp_path, rng):
    info = info_of(["Fz", "Cz", "Pz"])
    with pytest.raises(UserError, match=r"files that end with -ave.fif or _ave.fif, not to"):
        write_evokeds(tmp_path / "x.fif", scores_of(rng.random((3, 3))), info)
    with pytest.raises(UserError, match="of evenly spaced times; these are not"):
        write_evokeds(tmp_path / "x_ave.fif", scores_of(rng.random((3, 3)), times_s=(0, 0.1, 0.3)), info)
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------- pictures


def test_topographies_have_one_scale_and_a_ring_at_the_highest(rng):
    names = ["Fz", "Cz", "Pz", "C3", "C4"]
    values = np.array([[0.1, 0.2, np.nan, -0.39, 0.0], [0.1, 0.2, 0.3, 0.4, 0.38]])
    table = pd.DataFrame({"model": "net", "layer": ["a", "b"], "statistic": "spearman"})
    scores = ScoreMap(values, table, regions=pd.DataFrame({"sensor": names, "type": "eeg"}))
    figure = topographies(scores, info_of(names), ["a", "b"])
    first, second, bar = figure.axes
    assert [axes.get_title() for axes in (first, second)] == ["a", "b"]
    for axes in (first, second):
        assert axes.images[0].get_clim() == (-0.4, 0.4)
    dots, ring = places_of(first, "."), places_of(first, "o")
    assert len(dots) == 3, "neither the sensor without a score nor the highest, which has a ring"
    np.testing.assert_allclose(ring, [[0, 0]], atol=0.003)  # Cz
    ((x, y),) = places_of(second, "o")
    assert x < -0.02
    assert abs(y) < 0.003, "C3"
    assert len(places_of(second, ".")) == 4
    assert bar.get_xlabel().startswith("spearman, one scale for all maps (")


def places_of(axes, marker):
    """Return where sensors are drawn with a marker, in m."""
    return np.concatenate([line.get_xydata() for line in axes.lines if line.get_marker() == marker])


def test_significant_sensors_have_large_dots_and_captions_say_so(tmp_path):
    values = np.zeros((3, 3))
    values[2] = [0.5, 0.4, 0.1]
    scores = scores_of(values)
    table = scores.table.assign(statistic="logp_max_stat", role=TEST)
    p = np.full(scores.values.shape, 0.5)
    is_conv = (scores.table["model"] == "net").to_numpy() & (scores.table["time_s"] > 0).to_numpy()
    p[is_conv, 1] = 0.01
    tests = replace(scores, values=-np.log10(p), table=table)
    significance = significance_of(stack([scores, tests]))
    info = info_of(["Fz", "Cz", "Pz"])
    shown = select(scores, model="net", time_s="0.1")
    axes = topographies(shown, info, ["a"], significant=significance.of(shown)).axes[0]
    (large,) = [line for line in axes.lines if line.get_label() == "significant"]
    np.testing.assert_allclose(large.get_xydata(), [[0, 0]], atol=0.003)  # Cz
    (ring,) = [line for line in axes.lines if line.get_marker() == "o" and line is not large]
    assert ring.get_ydata()[0] > 0.02, "the ring is at the highest score, of Fz, which is not significant"
    maps, _ = sensor_figures(scores, info, tmp_path, significance=significance)
    assert "large dots are sensors with a significant score (corrected p ≤ .05; maximum statistic" in caption_of(maps)
    assert "No score of animate is significant at corrected p ≤ .05." in caption_of(maps)
    assert "highest significant score from onset on" in caption_of(maps)


def test_pairs_of_gradiometers_are_averaged_with_their_sign(rng):
    names = ["MEG 0112", "MEG 0113", "MEG 0122", "MEG 0123", "MEG 0132"]
    sites, seen = _sites(meg_info(names, "grad", rng))
    assert [site.tolist() for site in sites] == [[0, 1], [2, 3], [4]]
    assert seen["ch_names"] == ["MEG 0112", "MEG 0122", "MEG 0132"]
    table = pd.DataFrame({"model": ["net"], "layer": ["a"]})
    values = np.array([[-0.4, -0.2, 0.1, np.nan, 0.2]])
    scores = ScoreMap(values, table, regions=pd.DataFrame({"sensor": names, "type": "grad"}))
    figure = topographies(scores, meg_info(names, "grad", np.random.default_rng(3)), ["a"])
    assert figure.axes[0].images[0].get_clim() == pytest.approx((-0.3, 0.3))


def test_pictures_tell_when_and_of_whom(tmp_path, monkeypatch):
    values = np.zeros((3, 3))
    values[0, 0], values[2, 1] = 0.9, 0.4
    maps, times = sensor_figures(scores_of(values), info_of(["Fz", "Cz", "Pz"]), tmp_path, title="subject 01")
    assert (maps.name, times.name) == ("sensor_maps.png", "sensor_times.png")
    assert "subject 01, of each reference at the time of its highest score from onset on" in caption_of(maps)
    assert "subject 01, of the reference with the highest score: net conv." in caption_of(times)
    assert "gradiometers" not in caption_of(maps)
    titles = {}
    monkeypatch.setattr(
        "rsa.report.topographies.save_figure",
        lambda path, figure, _: titles.update({path.name: [axes.get_title() for axes in figure.axes[:-1]]}),
    )
    sensor_figures(scores_of(values), info_of(["Fz", "Cz", "Pz"]), tmp_path)
    assert titles["sensor_maps.png"] == ["conv\n100 ms", "animate\n0 ms"], "not 0.9 before onset"
    assert titles["sensor_times.png"] == ["0 ms", "100 ms"]
    monkeypatch.undo()
    empty = scores_of(np.full((1, 3), np.nan), times_s=(0.1,))
    (only,) = sensor_figures(empty, info_of(["Fz", "Cz", "Pz"]), tmp_path / "empty")
    assert "Scores over sensors, of each" in caption_of(only)
    with pytest.raises(UserError, match="places of just the sensors that have scores, in their order"):
        topographies(empty, info_of(["Cz", "Fz", "Pz"]), ["a", "b"])


# --------------------------------------------------------------------------------------------- stages


def test_stages_lead_from_epochs_to_the_page(lab, rng):
    """As the pipeline calls them, of two subjects with one electrode that only the first has."""
    settings, folder = study(lab, movie={"distance": "crossnobis"}), lab / "results"
    run("reference", cli.options_of("reference", settings.references[0]), output=lab / "net.h5")
    out = {subject: folder / "sensors" / f"sub-{subject}_scores.h5" for subject in ("01", "02")}
    evokeds = {subject: evoked_path(folder / "sensors", f"sub-{subject}") for subject in out}
    dataset, movie = cli.options_of("meeg", settings.meeg), cli.options_of("movie", settings.movie)
    for subject, path in out.items():
        files = {"references": lab / "net.h5", "output": path, "evokeds": evokeds[subject]}
        run("sensor-searchlight", dataset, movie, subject=subject, **files)
    scores = shlex.join(map(str, out.values()))
    group = folder / "sensors" / "group_scores.h5"
    run("sensor-group", scores=scores, evokeds=evokeds["01"], output=group)
    run("sensor-peaks", scores=f"{scores} {shlex.quote(str(group))}", output=folder / "sensors" / "peaks.tsv")
    mean = evoked_path(folder / "sensors", "group", "mean")
    run("draw-sensors", scores=group, evokeds=mean, folder=folder / "figures" / "sensors", title="'mean over 2'")
    io.save_json(folder / "study.json", json.loads(settings.model_dump_json()))
    page = {"references": lab / "net.h5", "sensors": scores, "folder": folder, "output": folder / "report.html"}
    run("report", study=folder / "study.json", pages=folder / "pages", **page)

    epochs = settings.meeg.load("02", noise=True)
    expected = sensor_searchlight(
        epochs,
        neighbours_of(settings.meeg.sensor_info("02")),
        comparison_measure(io.load_rdms(lab / "net.h5"), "spearman"),
        movie=MovieSettings(distance="crossnobis"),
    )
    found = io.load_scores(out["02"])
    np.testing.assert_array_equal(found.values, expected.values)
    assert list(found.labels) == ["subject", "model", "layer", "time_s", "statistic"]
    made = io.read_provenance(out["02"])
    assert made["settings"]["min_sensors"] == 3
    assert made["settings"]["distance"] == "crossnobis"
    assert len(made["inputs"]) == 2
    shared = [name for name in NAMES if name != "Cz"]
    drawn = mne.read_evokeds(mean, verbose="error")
    assert [one.ch_names for one in drawn] == [shared, shared]
    both = np.mean([one.data for one in (first_of(evokeds["01"], shared), first_of(evokeds["02"], shared))], axis=0)
    np.testing.assert_allclose(drawn[0].data, both, atol=1e-6)
    assert evoked_path(folder / "sensors", "group", "t").exists()
    peaks = io.load_table(folder / "sensors" / "peaks.tsv")
    assert peaks["subject"].tolist() == ["01", "01", "02", "02", "group", "group"]
    text = (folder / "pages" / "time.html").read_text(encoding="utf-8")
    part = text.split("Sensors</h2>")[1].split("</details>")[0]
    assert part.count("<figure") == 2
    assert "Scores over sensors, mean over 2, of each reference" in part
    assert all(f">{name}</th>" in part for name in ("model", "sensor", "time (s)", "score"))
    assert "/peaks.tsv" in part
    methods = (folder / "pages" / "methods.html").read_text(encoding="utf-8")
    assert (
        "In a searchlight over sensors, RDMs of each sensor with its neighbours (MNE-Python) were compared" in methods
    )
    assert "Sensors were not tested. Highest is " in (folder / "report.html").read_text(encoding="utf-8")


def first_of(path, names):
    return mne.read_evokeds(path, 0, verbose="error").pick(names)


def run(stage, *options, **named):
    """Call a stage as a rule does; paths are quoted here, texts by who gives them."""
    texts = {name: shlex.quote(str(one)) if isinstance(one, Path) else one for name, one in named.items()}
    words = [*options, *(f"--{name} {text}" for name, text in texts.items())]
    assert cli.main([stage, *shlex.split(" ".join(words))]) == 0


# ------------------------------------------------------------------------------------ other measures


def test_sensors_take_any_measure_within_a_subject(rng):
    """A partial correlation at a sensor is that of the movie of its neighbourhood."""
    epochs, references = trials(rng, SHOWN, n_times=3), references_of(rng)
    turned = references.reordered(list(references.conditions)[::-1])
    found = sensor_searchlight(epochs, LINE, partial_measure(turned), min_sensors=2)
    rows = references.reordered(epochs.conditions).values
    for sensor, around in enumerate(LINE):
        movie = rdm_movie(epochs.of_channels(around)).values
        expected = partial(movie, rows)  # (n_references, n_times)
        np.testing.assert_allclose(found.values[:, sensor].reshape(2, 3), expected, atol=1e-6)


def test_measures_across_subjects_or_over_time_are_refused(rng):
    epochs, measure = trials(rng, SHOWN), comparison_measure(references_of(rng), "spearman")
    for other in (replace(measure, second="other_subjects"), replace(measure, table=measure.table.assign(time_s=0.1))):
        with pytest.raises(UserError, match="measures within a subject, by references without time"):
            sensor_searchlight(epochs, LINE, other)
