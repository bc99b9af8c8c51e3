"""Measure partial correlations, partitions, commonality and weighted models in spheres, beside others on one RDM.

Everything runs on one thread and is told in milliseconds per sphere. Ours includes the RDM of the sphere and its ranks;
the others are given the RDM.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from ours import peak_bytes
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from rsa.core import Neighbourhood, Patterns, RDMs, Volume, n_conditions_of
from rsa.measures import Measure, comparison_measure
from rsa.neighbourhood import some_spheres, spheres
from rsa.partition import commonality_measure, partial_measure, partition_measure
from rsa.searchlight import region_rdms, scan
from rsa.weighted import weighted_measure


def arguments() -> argparse.ArgumentParser:
    """Say which options there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--conditions", type=int, default=92, help="conditions (%(default)s)")
    add("--layers", type=int, default=8, help="layers of the network (%(default)s)")
    add("--times", type=int, default=1000, help="times of the M/EEG RDMs (%(default)s)")
    add("--centres", type=int, default=2048, help="spheres for ours (%(default)s)")
    add("--peer-centres", type=int, default=8, help="RDMs for the others (%(default)s)")
    add("--output", type=Path, help="JSON file for the results")
    return parser


def main() -> None:
    """Make the data, measure everything, print a table and keep the numbers."""
    options, rng = arguments().parse_args(), np.random.default_rng(0)
    subjects, around = subjects_of(options, rng)
    layers, nuisance, movie = (stack(options, rng, n) for n in (options.layers, 2, options.times))
    measures = {
        f"comparison with {options.layers} layers": comparison_measure(layers, "spearman"),
        "partial, given 2": partial_measure(layers, nuisance),
        "partial, each given the others": partial_measure(layers),
        "partition of 3 predictors": partition_measure({"net": layers, "a": one(nuisance, 0), "b": one(nuisance, 1)}),
        f"commonality, {options.times} times": commonality_measure(layers, movie),
        f"commonality, {options.times} times, of M/EEG": commonality_measure(layers, movie, explained="meeg"),
        "weighted, nnls": weighted_measure({"net": layers}),
        "weighted, ridge": weighted_measure({"net": layers}, fit="ridge"),
        "weighted, nnls, to 3 others": weighted_measure({"net": layers}, across_subjects=True),
    }
    with threadpool_limits(1):
        found = {what: ours(measure, subjects, around) for what, measure in measures.items()}
        found["peak GB, ours"] = peak_bytes() / 1e9
        rdms = region_rdms(subjects[0], some(around, options.peer_centres)).values
        found |= peers(rdms, layers.values, nuisance.values, movie.values[:100])
    for what, number in found.items():
        print(f"{what:60s} {number:12.3f}")
    if options.output is not None:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def subjects_of(options: argparse.Namespace, rng: np.random.Generator) -> tuple[list[Patterns], Neighbourhood]:
    """Draw the patterns of 4 subjects at 3 mm, and make spheres of 9 mm, 123 voxels inside."""
    n_across = int(np.ceil(options.centres ** (1 / 3))) + 6
    volume = Volume(np.ones((n_across,) * 3, dtype=bool), np.diag([3.0, 3.0, 3.0, 1.0]))
    table = pd.DataFrame({"condition": names(options)})
    shape = (options.conditions, volume.n_voxels)
    subjects = [Patterns(rng.standard_normal(shape, dtype=np.float32), table, volume) for _ in range(4)]
    inside = ((volume.indices >= 3) & (volume.indices < n_across - 3)).all(axis=1)
    return subjects, some(some_spheres(spheres(volume, 9.0), inside), options.centres)


def some(around: Neighbourhood, n_centres: int) -> Neighbourhood:
    """Return the first spheres."""
    return some_spheres(around, np.arange(len(around)) < n_centres)


def names(options: argparse.Namespace) -> list[str]:
    """Name the conditions."""
    return [f"img{number}" for number in range(options.conditions)]


def stack(options: argparse.Namespace, rng: np.random.Generator, n_rdms: int) -> RDMs:
    """Draw RDMs that share a part."""
    n_pairs = options.conditions * (options.conditions - 1) // 2
    table = pd.DataFrame({"model": "net", "layer": [str(number) for number in range(n_rdms)]})
    if n_rdms == options.times:
        table = pd.DataFrame({"model": "meeg", "layer": "", "time_s": np.arange(n_rdms) / 1000})
    return RDMs(rng.random((n_rdms, n_pairs)) + rng.random(n_pairs), names(options), table)


def one(rdms: RDMs, row: int) -> RDMs:
    """Return one of some RDMs."""
    return rdms.subset([row])


def ours(measure: Measure, subjects: list[Patterns], around: Neighbourhood) -> float:
    """Return milliseconds per sphere; what is compiled is compiled before."""
    others = [(subject, around) for subject in subjects[1:]]
    few = some(around, 64)
    scan(subjects[0], few, measure, others=[(subject, few) for subject in subjects[1:]])
    return 1e3 * timed(lambda: scan(subjects[0], around, measure, others=others)) / len(around)


def peers(rdms: np.ndarray, layers: np.ndarray, nuisance: np.ndarray, movie: np.ndarray) -> dict[str, float]:
    """Return milliseconds per RDM of others, with the same references."""
    import mne_rsa

    both = [*layers, *nuisance]
    found = {
        "mne-rsa, partial-spearman, each given the others": lambda rdm: mne_rsa.rsa(
            rdm, both, metric="partial-spearman"
        ),
        "numpy, commonality by regressions, 100 times": lambda rdm: by_regressions(rdm, layers, movie),
        "scikit-learn, nnls in 4 folds": lambda rdm: by_scikit_learn(rdm, layers),
    }
    return {what: 1e3 * timed_on(work, rdms) for what, work in found.items()}


def by_regressions(rdm: np.ndarray, layers: np.ndarray, movie: np.ndarray) -> np.ndarray:
    """Explain the ranks of an RDM by a layer, by M/EEG at a time, and by both."""
    y, x, z = rankdata(rdm), rankdata(layers, axis=1), rankdata(movie, axis=1)

    def r2(*predictors: np.ndarray) -> float:
        design = np.column_stack([np.ones(len(y)), *predictors])
        left = y - design @ np.linalg.lstsq(design, y)[0]
        return 1 - left @ left / ((y - y.mean()) ** 2).sum()

    return np.array([[r2(layer) + r2(frame) - r2(layer, frame) for frame in z] for layer in x])


def by_scikit_learn(rdm: np.ndarray, layers: np.ndarray) -> float:
    """Fit non-negative weights to the conditions outside of each of 4 folds, and score those inside."""
    from scipy.stats import spearmanr
    from sklearn.linear_model import LinearRegression

    n_conditions, scores = n_conditions_of(len(rdm)), []
    first, second = np.triu_indices(n_conditions, 1)
    for fold in np.array_split(np.random.default_rng(0).permutation(n_conditions), 4):
        left_out = np.isin(np.arange(n_conditions), fold)
        train, test = ~left_out[first] & ~left_out[second], left_out[first] & left_out[second]
        fit = LinearRegression(positive=True).fit(layers[:, train].T, rdm[train])
        scores.append(spearmanr(fit.predict(layers[:, test].T), rdm[test]).statistic)
    return float(np.mean(scores))


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that work takes."""
    started = perf_counter()
    work()
    return perf_counter() - started


def timed_on(work: Callable[[np.ndarray], Any], rdms: np.ndarray) -> float:
    """Return the seconds for each of some RDMs, after one that is not counted."""
    work(rdms[0])
    return timed(lambda: [work(rdm) for rdm in rdms]) / len(rdms)


if __name__ == "__main__":
    main()
