"""Measure searchlights of distances between runs, noise normalisation and noise ceilings, beside folds computed anew.

Everything runs on one thread and is told in milliseconds per sphere: ours over thousands of spheres, the others over a
few, after one that is not counted.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import studies
from ours import peak_bytes, some_centres
from studies import Study, Workload
from threadpoolctl import threadpool_limits

from rsa import searchlight
from rsa.core import Neighbourhood, Patterns, RDMs, Residuals, Volume
from rsa.inference.ceiling import noise_ceilings
from rsa.neighbourhood import spheres
from rsa.searchlight import RdmSettings

WORKLOAD = Workload(92, 3, 9, n_runs=8)
SHRINKAGES = {"ledoit_wolf": "shrinkage_eye", "schaefer_strimmer": "shrinkage_diag"}
"""Ours, and what rsatoolbox calls them."""


def arguments() -> argparse.ArgumentParser:
    """Say which options there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--scale", type=float, default=0.3, help="part of the brain's volume that is kept, %(default)s by default")
    add("--centres", type=int, default=4096, help="spheres for ours (%(default)s)")
    add("--peer-centres", type=int, default=16, help="spheres for the others (%(default)s)")
    add("--residuals", type=int, default=1000, help="residuals of the noise (%(default)s)")
    add("--subjects", type=int, default=10, help="subjects of the noise ceiling (%(default)s)")
    add("--output", type=Path, help="JSON file for the results")
    return parser


def main() -> None:
    """Make the data, measure everything, print a table and keep the numbers."""
    options = arguments().parse_args()
    with tempfile.TemporaryDirectory() as name, threadpool_limits(1):
        folder = Path(name) / "study"
        studies.make(WORKLOAD, folder, options.scale)
        patterns, references = study_of(Study(folder), options.residuals)
        found = ours(patterns, references, options) | by_fold(patterns, options) | rsatoolbox(patterns, options)
    found["peak GB"] = peak_bytes() / 1e9
    for what, number in found.items():
        print(f"{what:60s} {number:10.3f}")
    if options.output is not None:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def study_of(study: Study, n_residuals: int) -> tuple[Patterns, RDMs]:
    """Return the patterns of the study with residuals of the same smoothness, and its references."""
    volume = Volume(study["mask"], study["affine"])
    names = [f"c{n}" for n in range(WORKLOAD.n_conditions)]
    runs = np.repeat([f"r{n}" for n in range(WORKLOAD.n_runs)], len(names))
    noise = studies.noise(np.random.default_rng(1), study["mask"], n_residuals)
    residuals = Residuals(noise, n_residuals * 0.85)
    table = pd.DataFrame({"condition": names * WORKLOAD.n_runs, "run": runs})
    patterns = Patterns(study["values"], table, volume, residuals=residuals)
    return patterns, RDMs(study["references"], names, pd.DataFrame({"layer": range(WORKLOAD.n_references)}))


def unbalanced(patterns: Patterns) -> Patterns:
    """Take a tenth of all patterns away."""
    kept = np.random.default_rng(2).random(len(patterns.table)) > 0.1
    return Patterns(patterns.values[kept], patterns.table[kept], patterns.volume, residuals=patterns.residuals)


# ------------------------------------------------------------------------------------------ our engine


def ours(patterns: Patterns, references: RDMs, options: argparse.Namespace) -> dict[str, float]:
    """Time whole searchlights, scores with the references included."""
    volume = patterns.volume
    whole = spheres(volume, WORKLOAD.radius_mm)
    first = (len(whole) - options.centres) // 2
    around = some_centres(whole, first, min(options.centres, len(whole)))
    asked = {
        "correlation": {},
        "correlation, reliability": {"reliability": True},
        "crossnobis": {"distance": "crossnobis"},
        "crossnobis, reliability": {"distance": "crossnobis", "reliability": True},
        "cv_correlation": {"distance": "cv_correlation"},
        **{f"crossnobis, {name}": {"distance": "crossnobis", "shrinkage": name} for name in SHRINKAGES},
        "cv_correlation, ledoit_wolf": {"distance": "cv_correlation", "shrinkage": "ledoit_wolf"},
    }
    found = {}
    for what, how in asked.items():
        found[f"ours: {what}"] = timed(lambda n, how=how: compare(patterns, around, n, references, how), len(around))
    uneven = unbalanced(patterns)
    how = {"distance": "crossnobis"}
    found["ours: crossnobis, unbalanced"] = timed(lambda n: compare(uneven, around, n, references, how), len(around))
    return found | ceiling(patterns, options)


def compare(patterns: Patterns, around: Neighbourhood, n_centres: int, references: RDMs, how: dict) -> None:
    """Run the searchlight over the first of some centres."""
    searchlight.compare(patterns, some_centres(around, 0, n_centres), references, rdm=RdmSettings(min_voxels=20, **how))


def ceiling(patterns: Patterns, options: argparse.Namespace) -> dict[str, float]:
    """Time the noise ceiling of several subjects, per sphere and subject."""
    rng = np.random.default_rng(3)
    means = patterns.mean_over_runs()
    subjects = [
        Patterns(means.values + studies.noise(rng, means.volume.mask, len(means.values)), means.table, means.volume)
        for _ in range(options.subjects)
    ]
    noise_ceilings(subjects, WORKLOAD.radius_mm, stride=8, rdm=RdmSettings(min_voxels=20))
    started = perf_counter()
    bounds = noise_ceilings(subjects, WORKLOAD.radius_mm, stride=2, rdm=RdmSettings(min_voxels=20))
    n_spheres = np.count_nonzero(np.isfinite(bounds.values[0]))
    return {"ours: noise ceiling, each subject": (perf_counter() - started) / n_spheres / options.subjects * 1e3}


def timed(work: Callable[[int], None], n_centres: int) -> float:
    """Return milliseconds per centre of work on `n_centres`, the best of two, after a few that compile."""
    work(64)
    times = []
    for _ in range(2):
        started = perf_counter()
        work(n_centres)
        times.append(perf_counter() - started)
    return min(times) / n_centres * 1e3


# --------------------------------------------------------------------------------------------- the others


def members_of_some(patterns: Patterns, n_centres: int) -> list[np.ndarray]:
    """Return the voxels of spheres in the middle of the brain, one more than asked for."""
    whole = spheres(patterns.volume, WORKLOAD.radius_mm)
    return [whole.members(len(whole) // 2 + place) for place in range(n_centres + 1)]


def each_sphere(patterns: Patterns, n_centres: int, work: Callable[[np.ndarray], None]) -> float:
    """Return milliseconds per sphere, after one that is not counted."""
    first, *others = members_of_some(patterns, n_centres)
    work(first)
    started = perf_counter()
    for members in others:
        work(members)
    return (perf_counter() - started) / n_centres * 1e3


def by_fold(patterns: Patterns, options: argparse.Namespace) -> dict[str, float]:
    """Build each RDM fold by fold, as the definition of crossnobis says: no scores, no whitening."""
    runs = patterns.values.reshape(WORKLOAD.n_runs, WORKLOAD.n_conditions, -1)
    rows, columns = np.triu_indices(WORKLOAD.n_conditions, 1)

    def work(members: np.ndarray) -> None:
        x = runs[:, :, members].astype(np.float64)
        folds = []
        for run in range(len(x)):
            others = np.delete(x, run, axis=0).mean(axis=0)
            folds.append(((others[rows] - others[columns]) * (x[run, rows] - x[run, columns])).sum(axis=1))
        np.mean(folds, axis=0)

    return {"fold by fold (numpy): crossnobis RDM": each_sphere(patterns, options.peer_centres, work)}


def rsatoolbox(patterns: Patterns, options: argparse.Namespace) -> dict[str, float]:
    """Build each RDM with rsatoolbox, with and without its precision matrix."""
    from rsatoolbox.data import Dataset
    from rsatoolbox.data.noise import prec_from_residuals
    from rsatoolbox.rdm import calc_rdm, calc_rdm_unbalanced

    labels = {name: patterns.table[name].tolist() for name in ("condition", "run")}
    how = {"method": "crossnobis", "descriptor": "condition", "cv_descriptor": "run"}
    samples = patterns.residuals

    def plain(members: np.ndarray, measure: Callable = calc_rdm, **noise: np.ndarray) -> None:
        values = patterns.values[:, members].astype(np.float64)
        measure(Dataset(values, obs_descriptors=labels), **how, **noise)

    def white(members: np.ndarray, method: str) -> None:
        residuals = samples.values[:, members].astype(np.float64)
        plain(members, noise=prec_from_residuals(residuals, dof=samples.degrees_of_freedom, method=method))

    n = options.peer_centres
    found = {"rsatoolbox: crossnobis RDM": each_sphere(patterns, n, plain)}
    for ours_, theirs in SHRINKAGES.items():
        found[f"rsatoolbox: crossnobis RDM, {ours_}"] = each_sphere(patterns, n, lambda m, t=theirs: white(m, t))
    found["rsatoolbox: crossnobis RDM, all pairs"] = each_sphere(
        patterns, n, lambda members: plain(members, calc_rdm_unbalanced)
    )
    return found


if __name__ == "__main__":
    main()
