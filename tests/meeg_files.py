"""Files of MEG and EEG as MNE-Python, EEGLAB and FieldTrip write them, with responses that are known."""

from pathlib import Path

import mne
import numpy as np
import pandas as pd
import scipy.io

SFREQ_HZ = 200.0
CHANNELS = {"MEG0111": "mag", "MEG0112": "grad", "EEG001": "eeg", "EEG002": "eeg", "EOG001": "eog"}
UNIT = {"mag": 1e-13, "grad": 1e-12, "eeg": 1e-6, "eog": 1e-5}
"""About the size of the signals, T, T/m and V."""


def trials(rng, n_trials: int, n_times: int = 81, offset: float = 3.0) -> np.ndarray:
    """Make noise of plausible size with a constant offset, (n_trials, n_channels, n_times)."""
    sizes = np.array([UNIT[kind] for kind in CHANNELS.values()])[None, :, None]
    return (rng.normal(size=(n_trials, len(CHANNELS), n_times)) + offset) * sizes


def make_epochs(
    values: np.ndarray,
    events: list[str],
    *,
    tmin_s: float = -0.1,
    metadata: dict | None = None,
    bads: tuple[str, ...] = (),
    channels: dict[str, str] = CHANNELS,
    sfreq_hz: float = SFREQ_HZ,
) -> mne.EpochsArray:
    """Make epochs of MNE; `events` names the event of each trial."""
    info = mne.create_info(list(channels), sfreq_hz, list(channels.values()), verbose="error")
    info["bads"] = list(bads)
    codes = {name: code for code, name in enumerate(dict.fromkeys(events), start=1)}
    table = np.array([[1000 * i, 0, codes[name]] for i, name in enumerate(events)])
    frame = None if metadata is None else pd.DataFrame(metadata)
    return mne.EpochsArray(values, info, table, tmin_s, codes, metadata=frame, verbose="error")


def write_fif(path: Path, epochs: mne.EpochsArray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    epochs.save(path, fmt="double", overwrite=True, verbose="error")
    return path


def write_eeglab(path: Path, values_uv: np.ndarray, events: list[str], *, tmin_s: float, names: list[str]) -> None:
    """Write a .set file of EEGLAB with the data in it: (n_trials, n_channels, n_times) in microvolts."""
    n_trials, n_channels, n_times = values_uv.shape
    latencies = np.arange(n_trials) * n_times + round(-tmin_s * SFREQ_HZ) + 1.0
    event = np.zeros(n_trials, dtype=[("type", object), ("latency", object), ("epoch", object)])
    epoch = np.zeros(n_trials, dtype=[("event", object), ("eventtype", object), ("eventlatency", object)])
    for i, name in enumerate(events):
        event[i] = (name, latencies[i], float(i + 1))
        epoch[i] = (float(i + 1), name, 0.0)
    locations = np.array([(name, "EEG") for name in names], dtype=[("labels", object), ("type", object)])
    fields = {"trials": n_trials, "nbchan": n_channels, "pnts": n_times, "srate": SFREQ_HZ}
    fields |= {"xmin": tmin_s, "xmax": tmin_s + (n_times - 1) / SFREQ_HZ, "data": values_uv.transpose(1, 2, 0)}
    scipy.io.savemat(path, {"EEG": fields | {"event": event, "epoch": epoch, "chanlocs": locations}})


def write_fieldtrip(path: Path, values: np.ndarray, codes: np.ndarray, *, tmin_s: float, names: list[str]) -> None:
    """Write a structure of ft_preprocessing: cells of trials and times, and a matrix of codes."""
    n_trials, _, n_times = values.shape
    trial, time = np.empty((1, n_trials), dtype=object), np.empty((1, n_trials), dtype=object)
    for i in range(n_trials):
        trial[0, i], time[0, i] = values[i], (tmin_s + np.arange(n_times) / SFREQ_HZ)[None]
    label = np.array(names, dtype=object)[:, None]
    data = {"trial": trial, "time": time, "label": label, "fsample": SFREQ_HZ, "trialinfo": codes}
    scipy.io.savemat(path, {"data": data})
