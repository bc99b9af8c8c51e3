"""What the searchlight takes, and what this machine could do at best: each measured in a process of its own.

`python benchmarks/ours.py KIND SPEC` runs one of `KINDS`; `benchmarks/searchlight.py` calls it.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peers
import studies
from scipy.sparse import csr_array
from studies import Study, Workload
from threadpoolctl import threadpool_limits

N_PRODUCTS = 17
"""So many matrix products are timed for each repeat, and the fastest counts."""

# ------------------------------------------------------------------------------------------ our engine


def ours(spec: dict) -> dict:
    """Measure the searchlight on one study: seconds, memory, errors; leave the scores beside the study."""
    from rsa.core import Volume
    from rsa.neighbourhood import spheres

    study = Study(Path(spec["study"]))
    volume = Volume(study["mask"], study["affine"])
    neighbourhood_seconds, whole = clocked(lambda: spheres(volume, study.workload.radius_mm))
    neighbourhood = some_centres(whole, study["centres"][0], len(study["centres"]))
    run = engine(study, volume, spec["n_threads"])
    run(some_centres(whole, study["centres"][0], 2))  # compiles
    before = peak_bytes()
    times = []
    for _ in range(spec["repeats"]):
        taken, scores = clocked(lambda: run(neighbourhood))
        times.append(taken)
    found = {
        "seconds": min(times),
        "median_seconds": statistics.median(times),
        "bytes": peak_bytes(),
        "bytes_before": before,
        "neighbourhood_seconds": neighbourhood_seconds,
    }
    scores = scores[:, neighbourhood.centres]
    np.save(study.folder / "ours.npy", scores)
    return found | errors(study, scores, spec["check"]) | work(study)


def engine(study: Study, volume: Any, n_threads: int) -> Callable[[Any], np.ndarray]:
    """Return a function from a neighbourhood to scores, (n_references, n_voxels)."""
    from rsa import searchlight
    from rsa.core import Patterns, RDMs
    from rsa.inference import permutation
    from rsa.searchlight import RdmSettings, RunSettings

    workload = study.workload
    names = [f"c{n:04}" for n in range(workload.n_conditions)]
    table = pd.DataFrame({"condition": names * workload.n_runs})
    if workload.n_runs > 1:
        table["run"] = np.repeat(np.arange(workload.n_runs), workload.n_conditions)
    patterns = Patterns(study["values"], table, volume)
    references = RDMs(study["references"], names, pd.DataFrame({"layer": range(workload.n_references)}))
    how: dict[str, Any] = {"rdm": RdmSettings(workload.distance), "run": RunSettings(n_threads=n_threads)}

    def run(neighbourhood: Any) -> np.ndarray:
        if workload.n_permutations:
            how.update(n_permutations=workload.n_permutations, seed=0)
            return permutation.permutation_test(patterns, neighbourhood, references, **how)[0].values
        return searchlight.compare(patterns, neighbourhood, references, **how).values

    return run


def some_centres(whole: Any, first: int, n_centres: int) -> Any:
    """Keep successive centres of a neighbourhood."""
    indptr = whole.indptr[first : first + n_centres + 1]
    return replace(
        whole,
        indptr=indptr - indptr[0],
        indices=whole.indices[indptr[0] : indptr[-1]],
        centres=whole.centres[first : first + n_centres],
    )


def errors(study: Study, scores: np.ndarray, n_check: int) -> dict:
    """Return the largest difference from scipy, in float64, at random centres; fewer of them for large RDMs."""
    workload, n_centres = study.workload, scores.shape[1]
    n_check = min(n_centres, max(10, min(n_check, n_check * 8000 // workload.n_pairs)))
    chosen = np.sort(np.random.default_rng(1).choice(n_centres, n_check, replace=False))
    values, members, models = study["values"], study.members(), peers.normed_ranks(study["references"])
    largest = 0.0
    for centre in chosen:
        brain = peers.normed_ranks(peers.sphere_rdm(values[:, members[centre]], workload))
        largest = max(largest, float(np.abs(models @ brain - scores[:, centre]).max()))
    return {"error": largest, "n_checked": n_check}


def work(study: Study) -> dict:
    """Count what must be computed: floating-point operations of Gram matrices and of scores, values to be ranked.

    The Gram matrix of a centre is that of the centre before, plus the voxels that enter, less those that leave; or is
    summed afresh where that is fewer voxels. Crossnobis takes a row per voxel and run.
    """
    workload = study.workload
    n_products = workload.n_conditions * (workload.n_conditions + 1) // 2
    n_values = len(study["centres"]) * workload.n_pairs
    n_scored = workload.n_references * (1 + workload.n_permutations)
    return {
        "gram_operations": 2 * n_products * workload.n_runs * n_steps(study["indptr"], study["indices"]),
        "score_operations": 2 * n_values * n_scored,
        "n_values": n_values,
        "n_centres": len(study["centres"]),
    }


def n_steps(indptr: np.ndarray, indices: np.ndarray) -> int:
    """Count the voxels to be added or taken away, from one centre to the next, over all centres."""
    sizes = np.diff(indptr)
    shape = (len(sizes), int(indices.max()) + 1)
    member = csr_array((np.ones(len(indices), dtype=np.int8), indices, indptr), shape=shape)
    shared = member[1:].multiply(member[:-1]).astype(np.int64).sum(axis=1)
    sliding = sizes[1:] + sizes[:-1] - 2 * shared
    return int(sizes[0] + np.minimum(sliding, sizes[1:]).sum())


# ------------------------------------------------------------------------------- machine, compilation


def machine(spec: dict) -> dict:
    """Measure the speed of large matrix products, in operations a second."""
    n_threads, n_times = spec["n_threads"], N_PRODUCTS * spec["repeats"]
    return {f"{kind}_speed": product_speed(np.dtype(kind), n_threads, n_times) for kind in ("float32", "float64")}


def product_speed(kind: np.dtype, n_threads: int, n_times: int, size: int = 1024) -> float:
    square = np.random.default_rng(0).standard_normal((size, size)).astype(kind)
    with threadpool_limits(n_threads, "blas"):
        return 2 * size**3 / min(clocked(lambda: square @ square)[0] for _ in range(n_times))


def start(spec: dict) -> dict:
    """Measure what comes before the first score: importing, and the first call, which compiles or loads what was."""
    with tempfile.TemporaryDirectory() as folder:
        import_seconds, run = clocked(lambda: tiny_run(Path(folder) / "study"))
        first, _ = clocked(run)
        again, _ = clocked(run)
    return {"import_seconds": import_seconds, "first_seconds": first, "again_seconds": again}


def tiny_run(folder: Path) -> Callable[[], np.ndarray]:
    """Make a study of a few voxels and return a searchlight over it."""
    from rsa.core import Volume
    from rsa.neighbourhood import spheres

    studies.make(Workload(12, 4, 9), folder, scale=0.001)
    study = Study(folder)
    volume = Volume(study["mask"], study["affine"])
    run = engine(study, volume, 1)
    return lambda: run(spheres(volume, study.workload.radius_mm))


def make_study(spec: dict) -> dict:
    """Write the study that the other processes read."""
    studies.make(Workload(**spec["workload"]), Path(spec["study"]), spec["scale"], spec["offset"])
    return {}


def clocked(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def peak_bytes() -> int:
    """Return the most memory that this process has had; `ru_maxrss` would begin with that of the parent process."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


# ------------------------------------------------------------------------------------------ regression

REGRESSION_CENTRES = 12


def speed_ratios(folder: Path, n_rounds: int = 5) -> dict[str, float]:
    """Tell how many times faster a centre is than with scipy and 8 references, both on one thread.

    The two are measured in turn, in seconds of the processor, and the best of each counts: what else runs on the
    machine takes no part.

    Parameters
    ----------
    folder : Path
        Empty; for the studies.
    n_rounds : int
        How often each is measured.
    """
    from rsa.core import Volume
    from rsa.neighbourhood import spheres

    calls: dict[str, Callable[[], Any]] = {}
    n_centres = {"scipy": REGRESSION_CENTRES}
    for n_references in (8, 1000):
        name = f"{n_references} references"
        studies.make(Workload(92, 3, 9, n_references), folder / name, scale=0.0033)
        study = Study(folder / name)
        volume = Volume(study["mask"], study["affine"])
        neighbourhood, run = spheres(volume, 9), engine(study, volume, 1)
        n_centres[name], calls[name] = len(neighbourhood), lambda run=run, where=neighbourhood: run(where)
        if n_references == 8:
            compute, chosen = peers.naive(study, 1), peers.spread(REGRESSION_CENTRES, len(neighbourhood))
            calls["scipy"] = lambda compute=compute, chosen=chosen: compute(chosen)
    for call in calls.values():
        call()
    best = dict.fromkeys(calls, float("inf"))
    with threadpool_limits(1):
        for _ in range(n_rounds):
            for name, call in calls.items():
                began = time.process_time()
                call()
                best[name] = min(best[name], time.process_time() - began)
    each = {name: seconds / n_centres[name] for name, seconds in best.items()}
    return {name: each["scipy"] / each[name] for name in calls if name != "scipy"}


KINDS = {"study": make_study, "ours": ours, "machine": machine, "start": start}


def main() -> None:
    """Run one kind of measurement as the specification says, and write what was found."""
    kind, spec = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    Path(spec["result"]).write_text(json.dumps(KINDS[kind](spec)))


if __name__ == "__main__":
    main()
