"""Measure RDMs over time (M/EEG) beside mne-rsa and rsatoolbox, on the same trials, in milliseconds for each time.

`python benchmarks/timecourse.py --times 1200` is a whole study of 92 conditions (16 GB of memory); the others get a few
of its times, after one that is not counted, and are told per time as well.
"""

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from ours import peak_bytes
from threadpoolctl import threadpool_limits

from rsa.core import Epochs, Residuals
from rsa.meeg.timecourse import MovieSettings, rdm_movie
from rsa.searchlight import RunSettings

OURS: dict[str, tuple[dict, int]] = {
    "correlation": ({}, 1),
    "correlation, whitened": ({"whiten": "ledoit_wolf"}, 1),
    "crossnobis, runs": ({"distance": "crossnobis"}, 1),
    "crossnobis, runs, whitened": ({"distance": "crossnobis", "whiten": "ledoit_wolf"}, 1),
    "crossnobis, all pairs of trials": ({"distance": "crossnobis"}, 1),
    "cv_correlation, runs": ({"distance": "cv_correlation"}, 1),
    "decoding_lda, 5 pseudo-trials, each repeat": ({"distance": "decoding_lda", "folds": 5, "n_repeats": 2}, 2),
}
"""What is measured, how it is asked for, and by what its time is divided."""

FEW_TIMES = 20
"""Times that decoding is measured on."""


def arguments() -> argparse.ArgumentParser:
    """Say which options there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--conditions", type=int, default=92, help="conditions (%(default)s)")
    add("--trials", type=int, default=30, help="trials of each (%(default)s)")
    add("--channels", type=int, default=306, help="sensors (%(default)s)")
    add("--times", type=int, default=60, help="samples of time for ours (%(default)s)")
    add("--runs", type=int, default=5, help="runs, which are the folds (%(default)s)")
    add("--peer-times", type=int, default=3, help="samples of time for the others (%(default)s)")
    add("--threads", type=int, default=2, help="threads for ours (%(default)s); the others use theirs for BLAS")
    add("--output", type=Path, help="JSON file for the results")
    return parser


def main() -> None:
    """Make the trials, measure everything, print a table and keep the numbers."""
    options = arguments().parse_args()
    epochs = made(options)
    with threadpool_limits(options.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ours(epochs, options.threads) | peers(epochs, options.peer_times)
    for what, number in found.items():
        print(f"{what:60s} {number:12.3f}")
    if options.output is not None:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def made(options: argparse.Namespace) -> Epochs:
    """Draw trials in which every condition has a pattern of its own, and samples of their noise."""
    rng = np.random.default_rng(0)
    names = [f"c{n:03}" for n in range(options.conditions)]
    n_trials = options.conditions * options.trials
    values = rng.standard_normal((n_trials, options.channels, options.times), dtype=np.float32)
    patterns = 0.2 * rng.standard_normal((options.conditions, options.channels, 1), dtype=np.float32)
    for trial, row in enumerate(values):
        row += patterns[trial % options.conditions]
    runs = np.arange(n_trials) // options.conditions % options.runs
    table = pd.DataFrame({"condition": names * options.trials, "run": [f"r{run}" for run in runs]})
    channels = pd.DataFrame({"name": [f"s{n}" for n in range(options.channels)], "type": "grad"})
    noise = rng.standard_normal((10 * options.channels, options.channels), dtype=np.float32)
    return Epochs(values, table, np.arange(options.times) / 1000, channels, Residuals(noise, len(noise)))


def some_times(epochs: Epochs, first: int, last: int) -> Epochs:
    """Return the trials between two samples of time."""
    return Epochs(
        epochs.values[..., first:last], epochs.table, epochs.times_s[first:last], epochs.channels, epochs.noise
    )


def ours(epochs: Epochs, n_threads: int) -> dict[str, float]:
    """Time each distance over all times (decoding: some), and say how much memory it took beyond the trials."""
    rdm_movie(some_times(epochs, 0, 2))  # compiles
    without_runs = Epochs(epochs.values, epochs.table[["condition"]], epochs.times_s, epochs.channels, epochs.noise)
    few = some_times(epochs, 0, min(FEW_TIMES, len(epochs.times_s)))
    before, found = peak_bytes(), {}
    for what, (how, share) in OURS.items():
        measured = few if "decoding" in what else without_runs if "all pairs" in what else epochs
        started = perf_counter()
        rdm_movie(measured, MovieSettings(**how), RunSettings(n_threads=n_threads))
        taken = (perf_counter() - started) / share
        found[f"ours: {what}"] = taken / len(measured.times_s) * 1e3
    return found | {"ours: GB beyond the trials, at most": (peak_bytes() - before) / 1e9}


# --------------------------------------------------------------------------------------------- the others


def peers(epochs: Epochs, n_times: int) -> dict[str, float]:
    """Time the other toolboxes on a few times, and check that they measure the same where definitions agree."""
    measured = {
        "mne-rsa: correlation": (mne_rsa_correlation, "correlation"),
        "mne-rsa: sqeuclidean, cross-validated (another quantity)": (mne_rsa_folds, None),
        "rsatoolbox: correlation": (lambda few: rsatoolbox(few, "correlation"), "correlation"),
        "rsatoolbox: crossnobis, runs": (lambda few: rsatoolbox(few, "crossnobis"), "crossnobis"),
    }
    found = {}
    few = some_times(epochs, 0, n_times)
    for what, (work, same) in measured.items():
        found[what], rdms = timed(work, some_times(epochs, 0, 1), few)
        if same is not None:
            np.testing.assert_allclose(rdms, rdm_movie(few, MovieSettings(distance=same)).values, atol=1e-5)
    return found


def timed(work: Callable[[Epochs], np.ndarray], one: Epochs, few: Epochs) -> tuple[float, np.ndarray]:
    """Return milliseconds per time, after a time that is not counted, and the RDMs."""
    work(one)
    started = perf_counter()
    rdms = work(few)
    return (perf_counter() - started) / len(few.times_s) * 1e3, rdms


def mne_epochs(epochs: Epochs) -> tuple:
    """Return the trials as MNE's, and the condition of each."""
    import mne

    mne.set_log_level("error")
    info = mne.create_info(epochs.channels["name"].tolist(), 1000.0, "grad", verbose="error")
    codes = pd.factorize(epochs.table["condition"])[0]
    events = np.stack([np.arange(len(codes)), np.zeros_like(codes), codes], axis=1)
    return mne.EpochsArray(epochs.values, info, events, verbose="error"), codes


def mne_rsa_correlation(epochs: Epochs) -> np.ndarray:
    """Average the trials and build one RDM for each sample of time, by `rdm_epochs`."""
    from mne_rsa import rdm_epochs

    trials, codes = mne_epochs(epochs)
    radius = 0.5 / trials.info["sfreq"]
    return np.array(list(rdm_epochs(trials, temporal_radius=radius, dist_metric="correlation", labels=codes)))


def mne_rsa_folds(epochs: Epochs) -> np.ndarray:
    """Build what it has of cross-validation: distances of one condition in training to another in test, with noise."""
    from mne_rsa import rdm_epochs

    trials, codes = mne_epochs(epochs)
    how = {"dist_metric": "sqeuclidean", "n_folds": epochs.table["run"].nunique()}
    return np.array(list(rdm_epochs(trials, temporal_radius=0.5 / trials.info["sfreq"], labels=codes, **how)))


def rsatoolbox(epochs: Epochs, method: str) -> np.ndarray:
    """Build them by `calc_rdm_movie`."""
    from rsatoolbox.data import TemporalDataset
    from rsatoolbox.rdm import calc_rdm_movie

    data = TemporalDataset(
        epochs.values.astype(np.float64),
        obs_descriptors=epochs.table.to_dict("list"),
        time_descriptors={"time": epochs.times_s},
    )
    folds = {"cv_descriptor": "run"} if method == "crossnobis" else {}
    return calc_rdm_movie(data, method=method, descriptor="condition", **folds).dissimilarities


if __name__ == "__main__":
    main()
