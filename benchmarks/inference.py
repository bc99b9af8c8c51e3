"""Measure what inference over maps takes: TFCE and clusters of one map, and flips of subjects, beside others.

A map is smooth noise over the whole brain at 3 mm, values above 0, 26 neighbours; it is measured on one thread and told
in seconds. Steps in height of the others: 100, as nilearn's and FSL's. A group is 15 subjects with the scores of 8
layers: seconds of the processor for all flips, of all threads together.
"""

import argparse
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import mne
import numpy as np
import pandas as pd
from mne.stats.cluster_level import _find_clusters
from nilearn.datasets import load_mni152_brain_mask
from nilearn.mass_univariate import permuted_ols
from nilearn.mass_univariate._utils import calculate_cluster_measures, calculate_tfce
from ours import peak_bytes
from scipy.ndimage import gaussian_filter, generate_binary_structure
from scipy.sparse import csr_array
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from rsa.core import Volume
from rsa.inference.enhance import components, enhance, highest
from rsa.inference.graph import Graph, voxel_graph
from rsa.inference.subjects import over_subjects
from rsa.inference.tally import Correction

STEPS = 100
"""Heights at which others look for clusters."""

THRESHOLD = float(norm.isf(0.001))
"""Clusters are above p < .001 of a normal value."""


def arguments() -> argparse.ArgumentParser:
    """Say which options there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--voxel-mm", type=int, default=3, help="size of voxels (%(default)s: 69,765 of them)")
    add("--smoothness", type=float, default=1.5, help="standard deviation of the smoothing, in voxels (%(default)s)")
    add("--times", type=int, default=100, help="times of the map of space and time, 0 for none (%(default)s)")
    add("--peer-times", type=int, default=10, help="times for the package tfce, 0.3 GB each (%(default)s)")
    add("--repeats", type=int, default=7, help="the fastest of so many counts; of slow ones, one (%(default)s)")
    add("--subjects", type=int, default=15, help="subjects of a group, 0 for no group (%(default)s)")
    add("--layers", type=int, default=8, help="layers of a group (%(default)s)")
    add("--flips", type=int, default=10_000, help="flips of a group for the highest t (%(default)s)")
    add("--tfce-flips", type=int, default=1_000, help="flips of one layer for TFCE (%(default)s)")
    add(
        "--peer-flips",
        type=int,
        default=200,
        help="flips of one layer for nilearn, from which more follow (%(default)s)",
    )
    add("--threads", type=int, default=2, help="threads for a group (%(default)s)")
    add("--output", type=Path, help="JSON file for the results")
    return parser


def main() -> None:
    """Make the maps, measure everything, print a table and keep the numbers."""
    options, rng = arguments().parse_args(), np.random.default_rng(0)
    mask = load_mni152_brain_mask(resolution=options.voxel_mm)
    volume = Volume(mask.get_fdata() > 0, mask.affine)
    with threadpool_limits(1):
        found = {"graph": timed(lambda: voxel_graph(volume), options.repeats)}
        values = noise(volume, 1, options.smoothness, rng)
        found |= of_a_map(values, volume, options.repeats)
        if options.times:
            values = noise(volume, options.times, options.smoothness, rng)
            found |= of_space_and_time(values, volume)
            found["peak GB, ours"] = peak_bytes() / 1e9
            few = values[: options.peer_times]
            found |= of_space_and_time(few, volume) | of_space_and_time_by_tfce(few, volume)
        if options.subjects:
            found |= of_a_group(options, volume, rng)
    for what, number in found.items():
        print(f"{what:60s} {number:12.3g}")
    if options.output is not None:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def noise(volume: Volume, n_times: int, smoothness: float, rng: np.random.Generator) -> np.ndarray:
    """Draw smooth noise of variance 1, shape (n_times, n_voxels), in single precision."""
    maps = [rng.standard_normal(volume.shape, dtype=np.float32) for _ in range(n_times)]
    values = np.stack([gaussian_filter(one, smoothness)[volume.mask] for one in maps])
    values = gaussian_filter(values, (smoothness, 0)) if n_times > 1 else values
    return (values / values.std()).astype(np.float32)


def of_a_map(values: np.ndarray, volume: Volume, repeats: int) -> dict[str, float]:
    """Return seconds for one map, of ours and of others, and how far TFCE is from the exact one of the package tfce."""
    graph = voxel_graph(volume)
    found = {
        "ours, tfce": timed(lambda: enhance(values, graph, "tfce"), repeats),
        "ours, tfce, highest alone": timed(lambda: highest(values, graph, "tfce"), repeats),
        "ours, cluster_mass": timed(lambda: highest(values, graph, "cluster_mass", threshold=THRESHOLD), repeats),
        "ours, cluster_size": timed(lambda: highest(values, graph, "cluster_size", threshold=THRESHOLD), repeats),
        "ours, components": timed(lambda: components(values > THRESHOLD, graph), repeats),
    }
    around, step = generate_binary_structure(3, 3), float(values.max()) / STEPS
    grid = np.nan_to_num(volume.unmask(values[0])).astype(np.float64)[..., None]
    matrix = adjacency_of(graph)
    found |= {
        "nilearn, tfce": timed(lambda: calculate_tfce(grid, around, two_sided_test=False), 1),
        "nilearn, cluster mass and size": timed(lambda: calculate_cluster_measures(grid, THRESHOLD, around), 3),
        "MNE, tfce": timed(lambda: clusters_of_mne(values, {"start": 0, "step": step}, matrix), 1),
        "MNE, cluster mass": timed(lambda: clusters_of_mne(values, THRESHOLD, matrix), 3),
    }
    if find_spec("tfce"):
        from tfce import tfce

        exact = tfce(grid[..., 0], connectivity=26, two_sided=False)[volume.mask]
        found["tfce, tfce"] = timed(lambda: tfce(grid[..., 0], connectivity=26, two_sided=False), repeats)
        ours = enhance(values, graph, "tfce")[0]
        found["largest difference from tfce / highest"] = float(np.abs(ours - exact).max() / ours.max())
    return found


def of_space_and_time(values: np.ndarray, volume: Volume) -> dict[str, float]:
    """Return seconds for one map over space and time."""
    graph, name = voxel_graph(volume), f"{len(values)} times"
    return {
        f"ours, tfce, {name}": timed(lambda: highest(values, graph, "tfce"), 2),
        f"ours, cluster_mass, {name}": timed(lambda: highest(values, graph, "cluster_mass", threshold=THRESHOLD), 3),
    }


def of_space_and_time_by_tfce(values: np.ndarray, volume: Volume) -> dict[str, float]:
    """Return seconds of the package tfce, which takes a matrix of all nodes (28 neighbours each)."""
    if not find_spec("tfce"):
        return {}
    from tfce import tfce

    matrix = mne.stats.combine_adjacency(len(values), adjacency_of(voxel_graph(volume))).tocsr()
    flat = values.ravel()
    return {f"tfce, tfce, {len(values)} times": timed(lambda: tfce(flat, adjacency=matrix, two_sided=False), 2)}


def of_a_group(options: argparse.Namespace, volume: Volume, rng: np.random.Generator) -> dict[str, float]:
    """Return seconds for all flips of a group: the highest t of some layers, TFCE of one, and nilearn's of one."""
    subjects = [noise(volume, 1, options.smoothness, rng) for _ in range(options.subjects * options.layers)]
    values = 0.1 * np.concatenate(subjects).reshape(options.subjects, options.layers, -1)
    table = pd.DataFrame({"model": "net", "layer": [f"layer{n}" for n in range(options.layers)]})
    one, first = values[:, :1], table[:1]
    tfce = Correction(enhance="tfce", graph=voxel_graph(volume))
    for how in (Correction(), tfce):  # compiles
        over_subjects(one, first, how, n_permutations=2)
    seconds: dict[str, float] = {}

    def measure(what: str, work: Callable[[], Any], times: float = 1.0) -> None:
        started, on_clock = process_time(), perf_counter()
        work()
        seconds[what] = (process_time() - started) * times
        seconds[f"{what}: on the clock"] = (perf_counter() - on_clock) * times

    flips, few = options.flips, options.tfce_flips
    how = {"n_threads": options.threads}
    measure(
        f"ours, highest t, {flips} flips, {options.layers} layers",
        lambda: over_subjects(values, table, Correction(), n_permutations=flips, **how),
    )
    measure(
        f"ours, highest t, {flips} flips, 1 layer",
        lambda: over_subjects(one, first, Correction(), n_permutations=flips),
    )
    measure(f"ours, TFCE, {few} flips, 1 layer", lambda: over_subjects(one, first, tfce, n_permutations=few, **how))
    if options.peer_flips:
        n = options.peer_flips
        data = np.asfortranarray(one[:, 0].astype(np.float64))
        same = np.ones((options.subjects, 1))
        measure(
            f"nilearn, highest t, {flips} flips, 1 layer, from {n}",
            lambda: permuted_ols(same, data, model_intercept=False, n_perm=n, two_sided_test=False),
            flips / n,
        )
    return seconds


def adjacency_of(graph: Graph) -> csr_array:
    """Return a graph as scipy and MNE have it."""
    return csr_array((np.ones(len(graph.indices)), graph.indices, graph.indptr), shape=(graph.n_places,) * 2)


def clusters_of_mne(values: np.ndarray, threshold: Any, matrix: csr_array) -> Any:
    """Find clusters as MNE does in each permutation."""
    return _find_clusters(values[0].astype(np.float64), threshold, tail=1, adjacency=matrix.tocoo())


def timed(work: Callable[[], Any], repeats: int) -> float:
    """Return the fewest seconds that work takes, after one time that is not counted if it is repeated."""
    taken = []
    for _ in range(repeats + (repeats > 1)):
        started = perf_counter()
        work()
        taken.append(perf_counter() - started)
    return min(taken[-repeats:])


if __name__ == "__main__":
    main()
