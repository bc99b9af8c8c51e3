"""How other toolboxes do the same searchlight. Runs in any Python that has the peer; nothing of ours is imported.

`python benchmarks/peers.py NAME SPEC` measures one peer on one study; `benchmarks/searchlight.py` calls it.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import rankdata, spearmanr
from studies import Study, Workload

Compute = Callable[[np.ndarray], np.ndarray]
"""From positions of centres to scores, (n_references, n_centres)."""


# ------------------------------------------------------------------------------------ scipy, the oracle


def naive(study: Study, n_jobs: int) -> Compute:
    """One sphere and one reference at a time."""
    values, members, references, workload = study["values"], study.members(), study["references"], study.workload

    def compute(centres: np.ndarray) -> np.ndarray:
        scores = np.empty((len(references), len(centres)))
        for column, centre in enumerate(centres):
            brain = sphere_rdm(values[:, members[centre]], workload)
            scores[:, column] = [spearmanr(brain, reference).statistic for reference in references]
        return scores

    return compute


def sphere_rdm(patterns: np.ndarray, workload: Workload) -> np.ndarray:
    """Build one RDM from the rows of a sphere in float64, crossnobis from the differences of each fold."""
    patterns = patterns.astype(np.float64)
    if workload.n_runs == 1:
        return pdist(patterns, "correlation")
    runs = patterns.reshape(workload.n_runs, workload.n_conditions, -1)
    first, second = np.triu_indices(workload.n_conditions, k=1)
    differences = runs[:, first] - runs[:, second]  # (n_runs, n_pairs, n_features)
    training = (differences.sum(axis=0) - differences) / (workload.n_runs - 1)
    return (training * differences).sum(axis=2).mean(axis=0) / runs.shape[2]


# ------------------------------------------------------------------------------------------- toolboxes


def mne_rsa(study: Study, n_jobs: int) -> Compute:
    """`rsa_array`, to which `rsa_nifti` comes down, with our spheres."""
    from mne_rsa import rsa_array, searchlight

    values, members, references = study["values"], study.members(), list(study["references"])

    def compute(centres: np.ndarray) -> np.ndarray:
        patches = searchlight(values.shape, spatial_radius=[members[centre] for centre in centres])
        return rsa_array(values, references, patches, n_jobs=n_jobs)

    return compute


def rsatoolbox_documented(study: Study, n_jobs: int) -> Compute:
    """`get_searchlight_RDMs`, then `evaluate_models_searchlight` with one fixed model per reference."""
    from rsatoolbox.inference import eval_fixed
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.util.searchlight import evaluate_models_searchlight, get_searchlight_RDMs

    values, members, workload = study["values"], study.members(), study.workload
    models = [ModelFixed(f"model {n}", reference) for n, reference in enumerate(study["references"])]
    events = np.arange(workload.n_conditions)

    def compute(centres: np.ndarray) -> np.ndarray:
        rdms = get_searchlight_RDMs(values, centres, [members[centre] for centre in centres], events, verbose=False)
        results = evaluate_models_searchlight(rdms, models, eval_fixed, method="spearman", n_jobs=n_jobs)
        return np.array([result.evaluations.reshape(len(models)) for result in results]).T

    return compute


def rsatoolbox_compare(study: Study, n_jobs: int) -> Compute:
    """All RDMs at once into `rsatoolbox.rdm.compare`; those of crossnobis by `calc_rdm`, the searchlight has none."""
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import RDMs, calc_rdm, compare
    from rsatoolbox.util.searchlight import get_searchlight_RDMs

    values, members, references, workload = study["values"], study.members(), study["references"], study.workload
    events = np.tile(np.arange(workload.n_conditions), workload.n_runs)
    runs = np.repeat(np.arange(workload.n_runs), workload.n_conditions)

    def crossnobis(centre: int) -> np.ndarray:
        data = Dataset(values[:, members[centre]], obs_descriptors={"events": events, "runs": runs})
        return calc_rdm(data, method="crossnobis", descriptor="events", cv_descriptor="runs").dissimilarities[0]

    def compute(centres: np.ndarray) -> np.ndarray:
        if workload.n_runs > 1:
            rdms = RDMs(np.array([crossnobis(centre) for centre in centres]))
        else:
            rdms = get_searchlight_RDMs(values, centres, [members[centre] for centre in centres], events, verbose=False)
        return compare(RDMs(references), rdms, method="spearman")

    return compute


def brainiak(study: Study, n_jobs: int) -> Compute:
    """BrainIAK's searchlight, with `numpy_kernel`, which its user has to write.

    Blocks are larger than by default, as their borders are copied: it is as fast, and takes less memory.
    """
    from brainiak.searchlight.searchlight import Ball, Searchlight

    values, mask, workload = study["values"], study["mask"], study.workload
    radius = workload.radius_mm // workload.resolution_mm
    padded = np.pad(mask, radius)  # it has no results for voxels nearer to the border than that
    volume = np.zeros((*padded.shape, len(values)), dtype=np.float32)
    volume[padded] = values.T
    models = normed_ranks(study["references"])

    def compute(centres: np.ndarray) -> np.ndarray:
        search = Searchlight(sl_rad=radius, max_blk_edge=20, shape=Ball, pool_size=n_jobs)
        search.distribute([volume], padded)
        search.broadcast((models, np.triu_indices(len(values), k=1)))
        return np.array(list(search.run_searchlight(numpy_kernel)[padded])).T

    return compute


def numpy_kernel(data: list, mask: np.ndarray, radius: int, shared: tuple) -> np.ndarray:
    """Score one sphere against all references."""
    models, pairs = shared
    return models @ normed_ranks(1 - np.corrcoef(data[0][mask].T)[pairs])


def normed_ranks(rdms: np.ndarray) -> np.ndarray:
    """Rank, centre and scale to length 1, so that products are Spearman's rho."""
    ranks = rankdata(rdms, axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    return ranks / np.linalg.norm(ranks, axis=-1, keepdims=True)


# ------------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True)
class Peer:
    """A way to compute the scores, and what is needed to measure it."""

    prepare: Callable[[Study, int], Compute]
    package: str
    module: str
    workloads: tuple[str, ...]
    what: str
    processes: bool = False
    whole: bool = False
    keeps_rdms: bool = False


PEERS = {
    "naive": Peer(naive, "scipy", "scipy", ("A", "B", "A-time", "A-cross", "N"), "`pdist`, `spearmanr`, one process"),
    "mne-rsa": Peer(mne_rsa, "mne-rsa", "mne_rsa", ("A", "B", "A-time"), "`rsa_array`", processes=True),
    "brainiak": Peer(
        brainiak,
        "brainiak",
        "brainiak.searchlight.searchlight",
        ("A", "B", "A-time"),
        "`Searchlight`, a kernel in numpy",
        processes=True,
        whole=True,
    ),
    "rsatoolbox-compare": Peer(
        rsatoolbox_compare,
        "rsatoolbox",
        "rsatoolbox",
        ("A", "B", "A-time", "A-cross", "N"),
        "`rsatoolbox.rdm.compare`, one process",
        keeps_rdms=True,
    ),
    "rsatoolbox": Peer(
        rsatoolbox_documented,
        "rsatoolbox",
        "rsatoolbox",
        ("A", "B"),
        "`evaluate_models_searchlight`",
        processes=True,
        keeps_rdms=True,
    ),
}


def measure(peer: Peer, study: Study, n_jobs: int, seconds: float) -> dict:
    """Time a peer on more and more centres, spread over the mask, and tell how long all of them take.

    Starting worker processes is paid once and not per centre, so it is told apart: it is what the first call takes
    longer than the same call again. What a centre takes is the slope between the last two sizes.
    """
    n_centres = len(study["centres"])
    compute = peer.prepare(study, n_jobs)
    size = n_centres if peer.whole else min(8, n_centres)
    first, scores = clocked(compute, size, n_centres)
    if size == n_centres:
        return report(study, scores, size, first, 0.0)
    sizes, times = [size], [clocked(compute, size, n_centres)[0]]
    while sizes[-1] < n_centres and (len(sizes) < 2 or times[-1] < seconds / 2):
        sizes.append(min(4 * sizes[-1], n_centres))
        taken, scores = clocked(compute, sizes[-1], n_centres)
        times.append(taken)
    per_centre = (times[-1] - times[-2]) / (sizes[-1] - sizes[-2])
    start = max(0.0, first - times[0])
    return report(study, scores, sizes[-1], start + times[-1] + per_centre * (n_centres - sizes[-1]), start)


def clocked(compute: Compute, size: int, n_centres: int) -> tuple[float, np.ndarray]:
    chosen = spread(size, n_centres)
    began = time.perf_counter()
    scores = compute(chosen)
    return time.perf_counter() - began, scores


def spread(size: int, n_centres: int) -> np.ndarray:
    """Choose centres at equal steps."""
    return np.linspace(0, n_centres - 1, size).round().astype(int)


def report(study: Study, scores: np.ndarray, n_measured: int, seconds: float, start: float) -> dict:
    found = {"seconds": seconds, "start_seconds": start, "n_measured": n_measured, "n_centres": len(study["centres"])}
    if (study.folder / "ours.npy").exists():
        ours = study["ours"][:, spread(n_measured, found["n_centres"])]
        found["difference"] = float(np.abs(ours - scores).max())
    return found


def main() -> None:
    """Measure one peer as the specification says, and write what was found."""
    peer, spec = PEERS[sys.argv[1]], json.loads(Path(sys.argv[2]).read_text())
    try:
        import_module(peer.module)
    except (ImportError, RuntimeError) as error:  # mpi4py raises the latter where there is no MPI
        found = {"missing": f"{peer.package} is not installed ({str(error).splitlines()[0]})"}
    else:
        study = Study(Path(spec["study"]))
        found = measure(peer, study, spec["n_threads"], spec["peer_seconds"])
        found["version"] = version(peer.package)
        if peer.keeps_rdms:
            found["rdm_bytes"] = 8 * len(study["centres"]) * study.workload.n_pairs
    Path(spec["result"]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
