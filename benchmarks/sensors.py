"""Measure the searchlight over sensors and time (M/EEG), beside a movie of each neighbourhood by itself."""

import argparse
import json
from pathlib import Path
from time import perf_counter

import mne
import numpy as np
import pandas as pd
from timecourse import made

from rsa.comparisons import COMPARISONS
from rsa.core import Array, Epochs, RDMs
from rsa.datasets.sensors import neighbours_of
from rsa.measures import comparison_measure
from rsa.meeg.sensors import sensor_searchlight
from rsa.meeg.timecourse import MovieSettings, rdm_movie

OURS: dict[str, dict] = {
    "correlation": {},
    "crossnobis, runs": {"distance": "crossnobis"},
    "crossnobis, runs, whitened": {"distance": "crossnobis", "whiten": "ledoit_wolf"},
    "crossnobis, all pairs of trials": {"distance": "crossnobis"},
}
"""What is measured, and how it is asked for."""


def arguments() -> argparse.ArgumentParser:
    """Say which options there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--conditions", type=int, default=92, help="conditions (%(default)s)")
    add("--trials", type=int, default=30, help="trials of each (%(default)s)")
    add("--channels", type=int, default=64, choices=(16, 32, 64, 128), help="electrodes (%(default)s)")
    add("--times", type=int, default=100, help="samples of time (%(default)s)")
    add("--runs", type=int, default=5, help="runs, which are the folds (%(default)s)")
    add("--references", type=int, default=8, help="layers (%(default)s)")
    add("--by-hand", type=int, default=4, help="neighbourhoods that are given a movie each (%(default)s)")
    add("--threads", type=int, default=1, help="threads (%(default)s)")
    add("--output", type=Path, help="JSON file for the results")
    return parser


def main() -> None:
    """Make the trials, measure everything, print a table and keep the numbers."""
    options = arguments().parse_args()
    epochs, rng = made(options), np.random.default_rng(1)
    around = neighbours_of(electrodes(options.channels))
    table = pd.DataFrame({"model": "net", "layer": [f"layer{n}" for n in range(options.references)]})
    n_pairs = options.conditions * (options.conditions - 1) // 2
    references = RDMs(rng.random((options.references, n_pairs)), epochs.conditions, table)
    sensor_searchlight(few_trials(epochs), around, comparison_measure(references, "spearman"))  # compiles
    found = {}
    for what, how in OURS.items():
        without_runs = Epochs(epochs.values, epochs.table[["condition"]], epochs.times_s, epochs.channels, epochs.noise)
        measured = without_runs if "all pairs" in what else epochs
        taken = timed(sensor_searchlight, measured, around, references, n_threads=options.threads, **how)
        found[what] = taken / len(around) / options.times * 1e3
        taken = timed(by_hand, measured, around[: options.by_hand], references, n_threads=options.threads, **how)
        found[f"{what}: a movie each"] = taken / options.by_hand / options.times * 1e3
    for what, number in found.items():
        print(f"{what:60s} {number:12.3f} ms per sensor and time")
    if options.output is not None:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def electrodes(n_channels: int) -> mne.Info:
    """Place electrodes on a head."""
    montage = mne.channels.make_standard_montage(f"biosemi{n_channels}")
    info = mne.create_info(montage.ch_names, 1000.0, "eeg", verbose="error")
    return info.set_montage(montage)


def few_trials(epochs: Epochs) -> Epochs:
    """Return one trial of each condition at one time."""
    n_conditions = len(epochs.conditions)
    return Epochs(epochs.values[:n_conditions, :, :1], epochs.table[:n_conditions], epochs.times_s[:1], epochs.channels)


def by_hand(epochs: Epochs, around: list[Array], references: RDMs, **how: object) -> list[Array]:
    """Make a movie of each neighbourhood by itself, and score it."""
    likeness = COMPARISONS["spearman"]
    expected = likeness.prepare(references.values)
    movies = (rdm_movie(epochs.of_channels(members), MovieSettings(**how)) for members in around)
    return [likeness.score(expected, likeness.prepare(movie.values)) for movie in movies]


def timed(work, *arguments: object, **how: object) -> float:
    """Return the seconds that work takes."""
    started = perf_counter()
    work(*arguments, **how)
    return perf_counter() - started


if __name__ == "__main__":
    main()
