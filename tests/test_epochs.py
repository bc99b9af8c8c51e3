"""Epochs of MEG and EEG: what is in the files arrives, and what is wrong with them is said."""

import logging

import mne
import numpy as np
import pytest
from meeg_files import CHANNELS, SFREQ_HZ, make_epochs, trials, write_eeglab, write_fieldtrip, write_fif
from pydantic import ValidationError
from rewriting import rewritten

from rsa.datasets.epochs import EpochFiles, chosen_times
from rsa.errors import UserError

EVENTS = ["animal/bonobo", "animal/cat", "tool/saw"] * 4
SENSORS = [name for name, kind in CHANNELS.items() if kind != "eog"]
TIMES_S = np.arange(-20, 61) / SFREQ_HZ


@pytest.fixture
def values(rng):
    return trials(rng, len(EVENTS))  # (12, 5, 81)


@pytest.fixture
def folder(tmp_path, values):
    """Write one file for a subject, with metadata."""
    metadata = {
        "block": [1.0, 2.0] * 6,
        "category": ["a", "b", None] * 4,
        "number": np.arange(12),
        "size": np.linspace(0, 1, 12),
    }
    write_fif(tmp_path / "sub-01-epo.fif", make_epochs(values, EVENTS, metadata=metadata))
    return tmp_path


def settings(folder, **changes):
    given = {"subjects": ["01"], "file": f"{folder}/sub-{{subject}}-epo.fif"} | changes
    return EpochFiles(**given)


def wrong(source, conditions=None):
    (problem,) = source.problems(conditions)
    return problem


# ------------------------------------------------------------------------------------------ what arrives


def test_trials_of_a_fif_file_arrive_as_they_were_planted(folder, values):
    epochs = settings(folder).load("01")
    np.testing.assert_allclose(epochs.values, values[:, :4], rtol=1e-5)
    assert epochs.values.dtype == np.float32
    assert list(epochs.table["condition"]) == EVENTS
    assert list(epochs.table) == ["condition"]
    np.testing.assert_allclose(epochs.times_s, TIMES_S, atol=1e-12)
    assert list(epochs.channels["name"]) == SENSORS
    assert list(epochs.channels["type"]) == ["mag", "grad", "eeg", "eeg"]
    assert epochs.noise is None
    assert settings(folder).files("01") == [folder / "sub-01-epo.fif"]


def test_blocks_of_trials_change_nothing(folder, monkeypatch):
    source = settings(folder, exclude=["animal/cat"], baseline_s=[-0.1, 0], smooth_s=0.02)
    whole = source.load("01", noise=True)
    monkeypatch.setattr("rsa.datasets.epochs.BLOCK_BYTES", 3 * 8 * 5 * 81)
    blocks = source.load("01", noise=True)
    np.testing.assert_array_equal(blocks.values, whole.values)
    np.testing.assert_array_equal(blocks.noise.values, whole.noise.values)


def test_the_same_trials_as_mne_itself_reads_and_processes(folder):
    source = settings(folder, baseline_s=[-0.1, 0], tmin_s=-0.05, tmax_s=0.2, picks=["eeg"], exclude=["tool/saw"])
    reference = mne.EpochsArray(
        *(lambda e: (e.get_data(copy=True), e.info, e.events, e.tmin, e.event_id))(read(folder / "sub-01-epo.fif")),
        verbose="error",
    )
    reference.apply_baseline((-0.1, 0), verbose="error").crop(-0.05, 0.2, verbose="error").pick("eeg")
    expected = reference[["animal/bonobo", "animal/cat"]]
    epochs = source.load("01", ["animal/cat", "animal/bonobo"])
    np.testing.assert_allclose(epochs.values, expected.get_data(copy=True), rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(epochs.times_s, expected.times, atol=1e-9)


def read(path):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mne.read_epochs(path, verbose="error")


@pytest.mark.parametrize(
    ("changes", "expected", "kept"),
    [
        ({"condition_pattern": "([^/]+)$"}, ["bonobo", "cat", "saw"] * 4, range(12)),
        ({"condition": "number"}, [str(i) for i in range(12)], range(12)),
        ({"condition": "category"}, ["a", "b"] * 4, [0, 1, 3, 4, 6, 7, 9, 10]),
        (
            {"condition": "{category}_{block}", "exclude": ["a_1", "b_1"]},
            ["b_2", "a_2", "b_2", "a_2"],
            [1, 3, 7, 9],
        ),
        ({"exclude": ["animal/cat"]}, ["animal/bonobo", "tool/saw"] * 4, [0, 2, 3, 5, 6, 8, 9, 11]),
    ],
)
def test_conditions_come_from_events_or_metadata(folder, values, changes, expected, kept):
    source = settings(folder, **changes)
    epochs = source.load("01")
    assert list(epochs.table["condition"]) == expected
    assert source.conditions("01") == epochs.conditions
    np.testing.assert_allclose(epochs.values, values[list(kept), :4], rtol=1e-5)


def test_runs_come_from_metadata_or_from_names(folder, values):
    assert list(settings(folder, run_column="block").load("01").table["run"]) == ["1", "2"] * 6
    for session in "ab":
        for run in "12":
            write_fif(folder / f"ses-{session}_run-{run}_epo.fif", make_epochs(values[:2], EVENTS[:2]))
    both = settings(folder, file=f"{folder}/ses-{{session}}_run-{{run}}_epo.fif", sessions=["a", "b"], runs=["1", "2"])
    epochs = both.load("01")
    assert list(epochs.table["run"].unique()) == ["ses-a_run-1", "ses-a_run-2", "ses-b_run-1", "ses-b_run-2"]
    np.testing.assert_allclose(epochs.values, np.tile(values[:2, :4], (4, 1, 1)), rtol=1e-5)
    one = settings(folder, file=f"{folder}/ses-a_run-{{run}}_epo.fif", runs=["2", "1"])
    assert list(one.load("01").table["run"].unique()) == ["2", "1"]


def test_sessions_with_a_column_of_runs_keep_runs_apart(folder, values):
    for session in "ab":
        write_fif(folder / f"ses-{session}_epo.fif", make_epochs(values, EVENTS, metadata={"block": [1, 2] * 6}))
    source = settings(folder, file=f"{folder}/ses-{{session}}_epo.fif", sessions=["a", "b"], run_column="block")
    runs = source.load("01").table["run"]
    assert list(runs.unique()) == ["ses-a_run-1", "ses-a_run-2", "ses-b_run-1", "ses-b_run-2"]


@pytest.mark.parametrize(
    ("picks", "expected"),
    [
        (["meg"], ["MEG0111", "MEG0112"]),
        (["grad"], ["MEG0112"]),
        (["eeg"], ["EEG001", "EEG002"]),
        (["EEG002", "MEG0111"], ["EEG002", "MEG0111"]),
    ],
)
def test_channels_are_picked_by_type_or_name_with_their_own_data(folder, values, picks, expected):
    epochs = settings(folder, picks=picks).load("01")
    assert sorted(epochs.channels["name"]) == sorted(expected)
    places = [list(CHANNELS).index(name) for name in epochs.channels["name"]]
    np.testing.assert_allclose(epochs.values, values[:, places], rtol=1e-5)


def test_channels_that_are_bad_in_one_run_are_left_out_of_all(folder, values, caplog):
    write_fif(folder / "run-1_epo.fif", make_epochs(values[:6], EVENTS[:6], bads=("EEG001",)))
    swapped = dict(reversed(CHANNELS.items()))
    write_fif(folder / "run-2_epo.fif", make_epochs(values[6:, ::-1], EVENTS[6:], channels=swapped))
    source = settings(folder, file=f"{folder}/run-{{run}}_epo.fif", runs=["1", "2"])
    assert source.problems() == []
    epochs = source.load("01")
    assert list(epochs.channels["name"]) == ["MEG0111", "MEG0112", "EEG002"]
    np.testing.assert_allclose(epochs.values, values[:, [0, 1, 3]], rtol=1e-5)
    assert "'EEG001' left out, since they are bad in some files" in caplog.text


# -------------------------------------------------------------------------------------- time and noise


def test_baseline_smoothing_and_decimation_follow_their_definitions(folder, values):
    source = settings(folder, baseline_s=[-0.05, 0], smooth_s=0.02, tmin_s=-0.02, tmax_s=0.1, decimate=3)
    epochs = source.load("01", noise=True)
    start, onset = 10, 20
    expected = values[:, :4] - values[:, :4, start : onset + 1].mean(axis=2, keepdims=True)
    slow = np.empty_like(expected)
    for t in range(81):
        slow[:, :, t] = expected[:, :, max(t - 2, 0) : t + 3].mean(axis=2)
    kept = [t for t in range(81) if (t - onset) % 3 == 0 and 16 <= t <= 40]
    np.testing.assert_allclose(epochs.times_s, TIMES_S[kept], atol=1e-12)
    np.testing.assert_allclose(epochs.values, slow[:, :, kept], rtol=1e-4, atol=1e-18)
    before = slow[:, :, [11, 14, 17, 20]]
    before = (before - before.mean(axis=2, keepdims=True)).swapaxes(1, 2).reshape(-1, 4)
    assert epochs.noise.values.shape == (12 * 4, 4)
    assert epochs.noise.degrees_of_freedom == 12 * 3, "the mean of each trial was taken out"
    np.testing.assert_allclose(epochs.noise.values, before, rtol=1e-4, atol=1e-18)


def test_noise_has_the_covariance_of_the_sensors_and_no_mean(tmp_path, rng):
    mixing = np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 0, 2]])
    values = np.einsum("ij,tjs->tis", mixing, rng.normal(size=(300, 3, 81))) * 1e-6
    names = {f"EEG{i}": "eeg" for i in range(3)}
    write_fif(tmp_path / "sub-01-epo.fif", make_epochs(values + 5e-6, ["x", "y", "z"] * 100, channels=names))
    noise = settings(tmp_path, baseline_s=[-0.1, 0]).load("01", noise=True).noise.values
    assert np.abs(noise.reshape(300, 21, 3).mean(axis=1)).max() < 1e-11
    covariance = noise.T @ noise / (300 * 20) * 1e12  # a mean is taken from each trial's 21 samples
    np.testing.assert_allclose(covariance, mixing @ mixing.T, atol=0.15)


def test_times_are_counted_from_onset_whatever_is_cut():
    times_s = np.arange(-7, 20) / 100
    for tmin_s in (-0.07, -0.06, -0.05, 0.01):
        kept = times_s[chosen_times(times_s, tmin_s, 0.15, 4)]
        np.testing.assert_allclose(kept, [t for t in (-0.04, 0, 0.04, 0.08, 0.12) if t >= tmin_s], atol=1e-12)


def test_decimating_fast_signals_is_told(folder, caplog):
    with caplog.at_level(logging.WARNING):
        settings(folder, decimate=4).load("01")
    assert "every 4-th time is kept (50 Hz) of signals up to 100 Hz: faster than 25 Hz turn into slow" in caplog.text
    caplog.clear()
    settings(folder, decimate=4, smooth_s=0.02).load("01")
    assert not caplog.text


# ------------------------------------------------------------------------------------- other formats


def test_a_file_of_eeglab_arrives_in_volts(tmp_path, rng):
    values_uv = rng.normal(size=(12, 3, 81)) * 10
    write_eeglab(tmp_path / "sub-01.set", values_uv, EVENTS, tmin_s=-0.1, names=["Fz", "Cz", "Oz"])
    epochs = settings(tmp_path, file=f"{tmp_path}/sub-{{subject}}.set").load("01")
    np.testing.assert_allclose(epochs.values, values_uv * 1e-6, rtol=1e-5)
    np.testing.assert_allclose(epochs.times_s, TIMES_S, atol=1e-6)
    assert list(epochs.table["condition"]) == EVENTS
    assert list(epochs.channels["name"]) == ["Fz", "Cz", "Oz"]


def test_a_file_of_fieldtrip_arrives_with_the_channels_that_a_fif_file_describes(tmp_path, values):
    codes = np.array([[7, 1], [8, 2], [9, 3]] * 4)
    write_fif(tmp_path / "info-epo.fif", make_epochs(values, EVENTS))
    write_fieldtrip(tmp_path / "sub-01.mat", values, codes, tmin_s=-0.1, names=list(CHANNELS))
    file, info = f"{tmp_path}/sub-{{subject}}.mat", str(tmp_path / "info-epo.fif")
    source = settings(tmp_path, file=file, fieldtrip_info=info)
    epochs = source.load("01")
    np.testing.assert_allclose(epochs.values, values[:, :4], rtol=1e-5)
    np.testing.assert_allclose(epochs.times_s, TIMES_S, atol=1e-6)
    assert list(epochs.channels["type"]) == ["mag", "grad", "eeg", "eeg"]
    assert list(epochs.table["condition"]) == ["7", "8", "9"] * 4
    assert settings(tmp_path, file=file, fieldtrip_info=info, condition="1").conditions("01") == ["1", "2", "3"]
    assert source.files("01") == [tmp_path / "sub-01.mat", tmp_path / "info-epo.fif"]


# -------------------------------------------------------------------------------------- what is wrong


def test_complex_epochs_are_refused(tmp_path, values):
    epochs = make_epochs(values, EVENTS)
    complex_ = mne.EpochsArray(values * (1 + 1j), epochs.info, epochs.events, TIMES_S[0], epochs.event_id)
    write_fif(tmp_path / "sub-01-epo.fif", complex_)
    with pytest.raises(UserError, match=r"epo\.fif holds complex numbers"):
        settings(tmp_path).load("01")


def test_data_of_an_unknown_kind_in_a_damaged_file_are_told(tmp_path, values):
    path = tmp_path / "sub-01-epo.fif"
    write_fif(path, make_epochs(values, EVENTS))
    damaged = bytearray(path.read_bytes())
    damaged[40:44] = (2051).to_bytes(4, "big")  # the type of the second entry, behind the 36 bytes of the first
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"epo\.fif cannot be read as epochs: Unimplemented tag data type"):
        settings(tmp_path).load("01")


@pytest.mark.parametrize("place", [-1, -5, 0.6])
def test_compressed_epochs_are_read_to_their_checksum(tmp_path, values, place):
    """Where a bit fell over in the data or in what is kept to check them, MNE reads on."""
    path = tmp_path / "sub-01_epo.fif.gz"
    write_fif(path, make_epochs(values, EVENTS))
    source = settings(tmp_path, file=f"{tmp_path}/sub-{{subject}}_epo.fif.gz")
    assert source.load("01").values.shape[1] == 4
    damaged = bytearray(path.read_bytes())
    damaged[place if isinstance(place, int) else int(place * len(damaged))] ^= 4
    rewritten(path, damaged)
    with pytest.raises(UserError, match=r"epo\.fif\.gz is damaged, its data cannot be read to their end"):
        source.load("01")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "sub-01_epo.fif", "subjects": ["01", "02"]}, "file has no {subject}, so all subjects would be"),
        ({"file": "{subject}_{task}_epo.fif"}, "unknown placeholder 'task': file takes {subject} and {session} and"),
        ({"file": "{subject}_{run}_epo.fif"}, "runs and {run} in file belong together; give both, or neither"),
        ({"sessions": ["1"]}, "sessions and {session} in file belong together; give both, or neither"),
        (
            {"file": "{run}_epo.fif", "runs": ["1"], "run_column": "block"},
            "runs come from the names of files or from run_column; give one of the two",
        ),
        ({"file": "{subject}.edf"}, "epochs are read from files '.fif', '.fif.gz', '.set', '.mat', and file is"),
        ({"baseline_s": [0, -0.1]}, "baseline_s give an interval from 0 to -0.1 s; the first has to be earlier"),
        ({"tmin_s": 0.2, "tmax_s": 0.1}, "tmin_s and tmax_s give an interval from 0.2 to 0.1 s; the first has to be"),
        ({"condition_pattern": "x"}, "group"),
        ({"picks": []}, "at least 1 item"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, changes, message):
    with pytest.raises(ValidationError) as error:
        settings(tmp_path, **changes)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subjects": ["01", "07"]}, "subject '07': There is no file {folder}/sub-07-epo.fif."),
        (
            {"condition": "word"},
            "-epo.fif has no metadata 'word'; there are 'block', 'category', 'number', 'size', 'ev",
        ),
        ({"run_column": "nr"}, "-epo.fif has no metadata 'nr'; there are"),
        ({"run_column": "category"}, "has trials without a value in 'category'; see `run_column`."),
        ({"picks": ["seeg"]}, "has no good channels 'seeg'; it has 5 channels of type 'mag', 'grad', 'eeg', 'eog'"),
        ({"baseline_s": [-0.3, 0]}, "baseline_s is [-0.3, 0] and the epochs go from -0.1 to 0.3 s; choose an interval"),
        ({"tmax_s": 0.5}, "tmax_s is 0.5 and the epochs go from -0.1 to 0.3 s; choose a time inside of them."),
        ({"tmin_s": -0.5}, "tmin_s is -0.5 and the epochs go from -0.1 to 0.3 s; choose a time inside of them."),
        ({"tmin_s": 0.005, "tmax_s": 0.02, "decimate": 10}, "tmin_s, tmax_s and decimate leave no time, and the"),
        (
            {"exclude": ["reward"]},
            "exclude names 'reward', which no subject has; there are 'animal/bonobo', 'animal/cat'",
        ),
        ({"exclude": sorted(set(EVENTS))}, "no trial is left; see `exclude`."),
    ],
)
def test_what_is_wrong_with_files_is_told_in_one_line(folder, changes, message):
    source = settings(folder, **changes)
    assert message.format(folder=folder) in wrong(source)
    if "exclude" not in changes or len(changes["exclude"]) > 1:
        with pytest.raises(UserError, match=r"^subject '0[17]': "):
            source.load(source.subjects[-1])


def test_conditions_that_differ_from_the_stimuli_are_named(folder):
    message = wrong(settings(folder), ["animal/bonobo", "animal/cat", "hammer"])
    assert "the stimulus table and the epochs share 2 of 4 conditions; missing in the epochs: 'hammer'" in message
    assert "missing in the stimulus table: 'tool/saw'" in message
    assert "Those that belong to no stimulus go into `exclude`" in message
    assert settings(folder).problems(["tool/saw", "animal/cat", "animal/bonobo"]) == []
    with pytest.raises(UserError, match="share 2 of 3 conditions"):
        settings(folder).load("01", ["animal/bonobo", "animal/cat"])


def test_files_and_subjects_with_other_times_or_channels_are_named(folder, values):
    write_fif(folder / "sub-02-epo.fif", make_epochs(values[:, :, 1:], EVENTS, tmin_s=-0.095))
    message = wrong(settings(folder, subjects=["01", "02"]))
    assert message == (
        "times differ: subject '01' has 81 from -0.1 to 0.3 s, subject '02' has 80 from -0.095 to 0.3 s; cut and "
        "sample all alike."
    )
    assert settings(folder, subjects=["01", "02"], tmin_s=-0.05).problems() == []
    both = settings(folder, file=f"{folder}/sub-{{run}}-epo.fif", runs=["01", "02"])
    assert "times differ: file 'sub-01-epo.fif' has 81 from" in wrong(both)
    fewer = {name: kind for name, kind in CHANNELS.items() if name != "EEG002"}
    write_fif(folder / "sub-02-epo.fif", make_epochs(np.delete(values, 3, axis=1), EVENTS, channels=fewer))
    assert "'EEG002' are in one only. Choose by `picks` those that all files have." in wrong(both)
    assert settings(folder, subjects=["01", "02"]).problems() == []


def test_the_same_problem_of_two_subjects_is_one_line(folder):
    message = wrong(settings(folder, subjects=["08", "09"]))
    assert message == f"subjects '08', '09': There is no file {folder}/sub-{{subject}}-epo.fif."


def test_damaged_files_are_named(folder):
    path = folder / "sub-01-epo.fif"
    whole = path.read_bytes()
    path.write_bytes(b"junk" * 100)
    assert "sub-01-epo.fif cannot be read as epochs" in wrong(settings(folder))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"sub-01-epo.fif cannot be read as epochs"):
        settings(folder).load("01")


def test_noise_without_a_baseline_is_refused(folder):
    with pytest.raises(UserError, match=r"Noise is measured before onset: set `baseline_s` to 2 samples or more"):
        settings(folder).load("01", noise=True)


def test_trials_with_missing_values_are_refused(folder, values):
    values[4, 2, 7] = np.nan
    write_fif(folder / "sub-01-epo.fif", make_epochs(values, EVENTS))
    with pytest.raises(UserError, match="Trial 5 of the epochs holds values that are not finite"):
        settings(folder).load("01")
