"""Simulated epochs: layers appear when they were planted, in files of MNE that read back as they were drawn."""

import warnings
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.spatial.distance import pdist

from rsa.core import Epochs, RDMs
from rsa.errors import UserError
from rsa.simulation.draw import (
    NOISE_V,
    SPREAD_M,
    WHITE_SHARE,
    draw_epochs,
    draw_trials,
    gaussian_time_course,
    sensor_noise,
)
from rsa.simulation.settings import PlantedLatency, SimulatedEpochs
from rsa.simulation.write import simulated_epochs, write_epochs

CONDITIONS = [f"picture {n}/{'face' if n % 2 else 'house'}" for n in range(24, 0, -1)]
EARLY = PlantedLatency(name="early", model="net", layer="conv1", peak_s=0.1)
LATE = PlantedLatency(name="late", model="net", layer="fc", peak_s=0.17)
PLAN = SimulatedEpochs(latencies=(EARLY, LATE), tmax_s=0.3)


@pytest.fixture(scope="module")
def rdms() -> RDMs:
    """Return the RDMs of two layers that have nothing in common."""
    rng = np.random.default_rng(5)
    values = [pdist(rng.standard_normal((len(CONDITIONS), 12)), "correlation") for _ in range(2)]
    return RDMs(np.array(values), CONDITIONS, pd.DataFrame({"model": "net", "layer": ["conv1", "fc"]}), "correlation")


def changed(plan: SimulatedEpochs, **settings: Any) -> SimulatedEpochs:
    return SimulatedEpochs.model_validate(plan.model_dump() | settings)


def opened(path: Path) -> mne.Epochs:
    """Read a file by MNE, which asks pandas in a way that will end with pandas 4."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The inplace keyword", DeprecationWarning)
        return mne.read_epochs(path, verbose="error")


def means(epochs: Epochs) -> NDArray[Any]:
    """Average the trials of each condition, shape (n_conditions, n_channels, n_times)."""
    shown = epochs.table["condition"].to_numpy()
    return np.stack([epochs.values[shown == name].mean(axis=0) for name in CONDITIONS])


def fits(responses: NDArray[Any], rdms: RDMs) -> NDArray[Any]:
    """Correlate the RDM of each time with each of some RDMs, shape (n_times, n_rdms)."""
    movie = [pdist(responses[:, :, time], "correlation") for time in range(responses.shape[2])]
    return np.array([[np.corrcoef(found, planted)[0, 1] for planted in rdms.values] for found in movie])


# ------------------------------------------------------------------------------------------ signal


@pytest.mark.parametrize("number", range(3))
def test_each_layer_appears_at_its_peak(number: int, rdms: RDMs) -> None:
    times_s = PLAN.times_s
    scores = fits(means(simulated_epochs(PLAN, rdms, seed=1, number=number)), rdms)  # (n_times, early and late)
    early, late = scores[np.isclose(times_s, 0.1)][0], scores[np.isclose(times_s, 0.17)][0]
    assert early[0] > 0.5 > 0.25 > abs(early[1])
    assert late[1] > 0.5 > 0.25 > abs(late[0])
    np.testing.assert_allclose(times_s[scores.argmax(axis=0)], [0.1, 0.17], atol=0.025)


def test_until_onset_there_is_noise_alone(rdms: RDMs) -> None:
    epochs = [simulated_epochs(changed(PLAN, signal=signal), rdms, seed=1, number=0) for signal in (0.0, 5.0)]
    before = PLAN.times_s <= 0
    assert before.sum() == 11
    np.testing.assert_array_equal(epochs[0].values[:, :, before], epochs[1].values[:, :, before])
    assert epochs[0].values[:, :, before].std() == pytest.approx(NOISE_V, rel=0.05)
    assert np.abs(fits(means(epochs[1]), rdms)[before]).max() < 0.2


def test_responses_to_several_layers_add_up(rdms: RDMs) -> None:
    plan = changed(PLAN, signal=1000.0, n_channels=128)
    responses = means(simulated_epochs(plan, rdms, seed=1, number=0)) / (1000 * NOISE_V)
    courses = np.array([np.exp(-((plan.times_s - peak_s) ** 2) / (2 * 0.03**2)) for peak_s in (0.1, 0.17)])
    after, flat = plan.times_s > 0, responses.reshape(-1, len(plan.times_s))
    topographies = np.linalg.lstsq(courses[:, after].T, flat[:, after].T, rcond=None)[0]
    np.testing.assert_allclose(topographies.T @ courses[:, after], flat[:, after], atol=0.01)
    np.testing.assert_allclose(topographies.std(axis=1), 1, rtol=0.01)
    found = [pdist(one.reshape(len(CONDITIONS), -1), "correlation") for one in topographies]
    for rdm, planted in zip(found, rdms.values, strict=True):
        assert np.corrcoef(rdm, planted)[0, 1] > 0.8


def test_patterns_lie_where_they_lay_in_the_other_run_but_not_in_the_other_subject(rdms: RDMs) -> None:
    plan = changed(PLAN, signal=3.0, latencies=(EARLY,))
    peak = int(np.flatnonzero(np.isclose(plan.times_s, 0.1))[0])
    peaks = []
    for number in range(2):
        epochs = simulated_epochs(plan, rdms, seed=1, number=number)
        shown = epochs.table.assign(row=range(len(epochs.table))).groupby(["run", "condition"])["row"]
        peaks += [
            np.concatenate([epochs.values[shown.get_group((run, name)), :, peak].mean(axis=0) for name in CONDITIONS])
            for run in ("1", "2")
        ]
    between = np.corrcoef(peaks)  # (subject 1 run 1, run 2, subject 2 run 1, run 2)
    assert min(between[0, 1], between[2, 3]) > 0.9
    assert np.abs(between[:2, 2:]).max() < 0.15


def test_a_time_course_is_gaussian_after_onset() -> None:
    course = gaussian_time_course([-0.1, 0.0, 0.01, 0.07, 0.1, 0.13], 0.1, 0.03)
    np.testing.assert_allclose(course, [0, 0, np.exp(-4.5), np.exp(-0.5), 1, np.exp(-0.5)])


# ------------------------------------------------------------------------------------------- noise


def test_noise_of_close_sensors_is_alike(rng: np.random.Generator) -> None:
    positions_m = np.array([[0.0, 0, 0], [0.03, 0, 0], [0, 0.05, 0], [0, 0, 0.2]])
    noise = sensor_noise(3000, positions_m, 20, rng)
    found = np.corrcoef(noise.transpose(1, 0, 2).reshape(4, -1))
    for one, other in zip(*np.triu_indices(4, 1), strict=True):
        distance_m = np.linalg.norm(positions_m[one] - positions_m[other])
        expected = (1 - WHITE_SHARE) * np.exp(-(distance_m**2) / (2 * SPREAD_M**2))
        assert found[one, other] == pytest.approx(expected, abs=0.04)
    assert noise.std() == pytest.approx(1, abs=1e-4)


def test_the_power_of_noise_falls_as_one_over_frequency(rng: np.random.Generator) -> None:
    n_times = 32
    noise = sensor_noise(20_000, [[0.0, 0, 0]], n_times, rng)[:, 0].astype(np.float64)
    found = (noise[:, :1] * noise).mean(axis=0)  # the covariance with the first sample, at each lag
    cosines = np.cos(np.pi * np.outer(np.arange(n_times), np.arange(1, n_times + 1)) / n_times)
    weights = 1 / np.arange(1, n_times + 1)
    weights[-1] /= 2  # the highest frequency has a cosine and no sine
    np.testing.assert_allclose(found, cosines @ weights / weights.sum(), atol=0.03)


def test_trials_have_noise_of_their_own(rng: np.random.Generator) -> None:
    noise = sensor_noise(60, [[0.0, 0, 0], [0.05, 0, 0]], 100, rng)
    averages = np.array([noise[:n].mean(axis=0).std() for n in (1, 60)])
    assert averages[1] / noise.std() == pytest.approx(60**-0.5, rel=0.5)


# ------------------------------------------------------------------------------------------ trials


def test_every_run_has_every_condition_in_an_order_of_its_own(rng: np.random.Generator) -> None:
    trials = draw_trials(["a", "b", "c"], 5, 2, rng)
    assert list(trials["run"]) == ["1"] * 9 + ["2"] * 6
    assert trials.groupby(["run", "condition"]).size().tolist() == [3, 3, 3, 2, 2, 2]
    many = draw_trials([str(n) for n in range(50)], 2, 2, rng)
    first, second = (list(rows["condition"]) for _, rows in many.groupby("run"))
    assert first != second
    assert sorted(first) == sorted(second)
    assert first != sorted(first, key=int)


# ------------------------------------------------------------------------------------------- files


def test_a_file_reads_back_as_it_was_drawn(tmp_path: Path, rdms: RDMs) -> None:
    path = tmp_path / "new folder" / "sub-02_task-view_epo.fif"
    write_epochs(PLAN, path, rdms, seed=1, number=1)
    drawn, read = simulated_epochs(PLAN, rdms, seed=1, number=1), opened(path)
    assert drawn.values.shape == (24 * 8, 32, 41)
    np.testing.assert_array_equal(read.get_data(), drawn.values)
    np.testing.assert_allclose(read.times, drawn.times_s, atol=1e-9)
    assert read.times[10] == 0
    assert read.info["sfreq"] == 100
    assert read.ch_names == list(drawn.channels["name"])
    assert set(read.get_channel_types()) == set(drawn.channels["type"]) == {"eeg"}
    names = {code: name for name, code in read.event_id.items()}
    assert [names[code] for code in sorted(names)] == CONDITIONS
    assert [names[code] for code in read.events[:, 2]] == list(drawn.table["condition"])
    assert list(read.metadata["condition"]) == list(drawn.table["condition"])
    assert list(read.metadata["run"].astype(str)) == list(drawn.table["run"])
    assert (np.diff(read.events[:, 0]) > 0).all()
    assert [file.name for file in path.parent.iterdir() if file.is_file()] == [path.name]


def test_the_electrodes_have_places_for_pictures(tmp_path: Path, rdms: RDMs) -> None:
    path = tmp_path / "sub-01-epo.fif"
    write_epochs(changed(PLAN, n_channels=64), path, rdms, seed=1, number=0)
    read = opened(path)
    standard = mne.channels.make_standard_montage("biosemi64").get_positions()["ch_pos"]
    places = read.get_montage().get_positions()["ch_pos"]
    distances = [pdist([one[name] for name in read.ch_names]) for one in (standard, places)]
    np.testing.assert_allclose(*distances, atol=1e-6)
    layout = mne.channels.find_layout(read.info)
    assert sorted(layout.names) == sorted(read.ch_names)


def test_one_seed_writes_the_same_bytes(tmp_path: Path, rdms: RDMs) -> None:
    files = [tmp_path / f"{name}-epo.fif" for name in "abcd"]
    for file, seed, number in zip(files, (1, 1, 2, 1), (0, 0, 0, 1), strict=True):
        write_epochs(PLAN, file, rdms, seed=seed, number=number)
    first, again, *others = (file.read_bytes() for file in files)
    assert first == again
    assert first not in others


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, rdms: RDMs) -> None:
    path = tmp_path / "sub-01-epo.fif"
    write_epochs(PLAN, path, rdms, seed=2, number=0)
    before = path.read_bytes()
    with pytest.raises(UserError, match="No layer is 'conv9'"):
        write_epochs(changed(PLAN, latencies=[EARLY.model_dump() | {"layer": "conv9"}]), path, rdms, seed=1, number=0)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [path.name]
    write_epochs(PLAN, path, rdms, seed=1, number=0)
    assert path.read_bytes() != before
    assert len(opened(path)) == 24 * 8


def test_epochs_that_were_recorded_are_not_replaced(tmp_path: Path, rdms: RDMs) -> None:
    path = tmp_path / "sub-01-epo.fif"
    path.write_text("recorded")
    with pytest.raises(UserError, match=r"would write over .*sub-01-epo.fif', which no simulation wrote"):
        write_epochs(PLAN, path, rdms, seed=1, number=0)
    assert path.read_text() == "recorded"


# ------------------------------------------------------------------------------------------ errors


def test_files_have_the_ending_by_which_mne_knows_epochs(tmp_path: Path, rdms: RDMs) -> None:
    with pytest.raises(UserError, match=r"end with -epo\.fif or _epo\.fif, not to .*sub-01\.fif"):
        write_epochs(PLAN, tmp_path / "sub-01.fif", rdms, seed=1, number=0)


def test_what_is_too_large_for_one_file_is_not_begun(tmp_path: Path, rdms: RDMs) -> None:
    large = changed(PLAN, n_trials=1000, n_channels=128, sampling_hz=1000)
    with pytest.raises(UserError, match=r"take 4\.9 GB, and one file of MNE holds 2 GB; ask for fewer trials"):
        write_epochs(large, tmp_path / "sub-01-epo.fif", rdms, seed=1, number=0)
    assert list(tmp_path.iterdir()) == []


def test_only_correlation_distances_can_be_planted(rdms: RDMs) -> None:
    euclidean = RDMs(rdms.values, rdms.conditions, rdms.table, "euclidean")
    with pytest.raises(UserError, match="one RDM of correlation distances, not 1 of 'euclidean'"):
        simulated_epochs(PLAN, euclidean, seed=1, number=0)


def test_trials_show_what_the_planted_rdms_have(rdms: RDMs, rng: np.random.Generator) -> None:
    trials, channels = draw_trials([*CONDITIONS, "unknown"], 1, 1, rng), pd.DataFrame({"name": ["A"], "type": ["eeg"]})
    with pytest.raises(UserError, match="conditions that the planted RDM does not have: 'unknown'"):
        draw_epochs([(rdms.subset([0]), np.ones(3))], trials, channels, np.zeros((1, 3)), range(3), signal=1, rng=rng)


@pytest.mark.parametrize("name", ["face; happy", "日本"])
def test_conditions_that_mne_could_not_read_back_are_refused(name: str, tmp_path: Path, rdms: RDMs) -> None:
    renamed = RDMs(rdms.values, [name, *CONDITIONS[1:]], rdms.table, "correlation")
    with pytest.raises(UserError, match=f"no ';' and no letters beyond Latin-1; rename '{name}'"):
        write_epochs(PLAN, tmp_path / "sub-01-epo.fif", renamed, seed=1, number=0)


def test_conditions_of_many_letters_are_read_back(tmp_path: Path, rdms: RDMs) -> None:
    name = "tête: {1}, 'a/b' " + "x" * 300
    renamed = RDMs(rdms.values, [name, *CONDITIONS[1:]], rdms.table, "correlation")
    path = tmp_path / "sub-01-epo.fif"
    write_epochs(PLAN, path, renamed, seed=1, number=0)
    assert (opened(path).metadata["condition"] == name).sum() == PLAN.n_trials
    assert name in opened(path).event_id


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_runs": 9}, "8 trials of each condition cannot be spread over 9 runs: set n_runs to 8 or less"),
        ({"tmax_s": 0.15}, r"the planted latency 'late' has its peak after the end of the epochs, 0\.15 s"),
        ({"n_channels": 33}, "16, 32, 64 or 128"),
        ({"latency": ()}, "Extra inputs are not permitted"),
    ],
)
def test_plans_that_cannot_be_drawn_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        changed(PLAN, **settings)


def test_onset_is_a_sample() -> None:
    times_s = SimulatedEpochs(tmin_s=-0.123, tmax_s=0.456, sampling_hz=250).times_s
    assert times_s[31] == 0
    np.testing.assert_allclose(times_s[[0, -1]], [-0.124, 0.456])
    np.testing.assert_allclose(np.diff(times_s), 0.004)
