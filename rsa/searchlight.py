"""Neighbourhoods -> RDMs -> scores, streaming: what is held at any time is one chunk of centres.

The four steps of a chunk: sum the products of the patterns of each sphere; turn the sums into dissimilarities; prepare
(rank) them; score them against all references at once.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from rsa.comparisons import COMPARISONS
from rsa.core import (
    CONSTANT_PATTERN,
    CONSTANT_RDM,
    DEFINED,
    NO_DATA,
    NOT_A_CENTRE,
    TOO_SMALL,
    Array,
    Neighbourhood,
    Patterns,
    RDMs,
    ScoreMap,
    align,
)
from rsa.distances import CROSS_VALIDATED, DISTANCES, ORIGINS, CrossProducts, Distance
from rsa.errors import UserError, listed
from rsa.registry import pick

__all__ = ["compare", "region_rdms"]

RUN_BYTES = 4_000_000
"""Size of the RDMs of one run of centres, which bounds the memory of each thread at a few times that, and keeps it in
the processor's cache."""

REFERENCES = 250
"""Beyond so many references a chunk has several runs, so that their product with the references is worth its while."""


def compare(
    patterns: Patterns,
    neighbourhood: Neighbourhood,
    references: RDMs,
    *,
    distance: str = "correlation",
    comparison: str = "spearman",
    min_voxels: int = 2,
    n_threads: int = 1,
    chunk_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ScoreMap:
    """Compare the RDM of every neighbourhood with every reference RDM.

    Parameters
    ----------
    patterns : Patterns
        Responses over the voxels of a volume. Runs are averaged first, unless the distance is between runs.
    neighbourhood : Neighbourhood
        Spheres or regions over the same volume.
    references : RDMs
        Over the same conditions, in any order.
    distance : str
        A key of `DISTANCES` or `CROSS_VALIDATED`: how dissimilar two patterns are.
    comparison : str
        A key of `COMPARISONS`: how alike two RDMs are.
    min_voxels : int
        Spheres with fewer usable voxels are undefined. At least 2.
    n_threads, chunk_size : int
        How it runs, never what it computes. A chunk is rounded up to whole runs of at most 64 centres (within which
        sums slide from one to the next); by default it is one run, or several for many references.
    progress : callable, optional
        Called with the number of centres of each chunk that is done.

    Returns
    -------
    ScoreMap
        ``values`` of shape (n_rdms, n_voxels) for spheres, NaN where a voxel is no centre or its score is undefined,
        with the number of voxels and the reason; (n_rdms, n_regions) for regions.

    Raises
    ------
    UserError
        If the conditions or the grids differ, there are fewer than 3 conditions, no sphere has `min_voxels`, or a
        distance between runs lacks a condition in a run.
    """
    likeness = pick(COMPARISONS, comparison, "comparison")
    if len(patterns.conditions) < 3:
        raise UserError(f"RDMs can be compared from 3 conditions on; the patterns have {len(patterns.conditions)}.")
    spheres = _prepare(patterns, neighbourhood, distance, min_voxels)
    if spheres.sizes.max() < min_voxels:
        raise UserError(
            f"No searchlight has the {min_voxels} voxels that min_voxels asks for; the largest has "
            f"{spheres.sizes.max()}. Choose a larger radius_mm or a smaller min_voxels."
        )
    reference_rows = likeness.prepare(align(patterns.conditions, references).values)  # (n_rdms, n_pairs)

    def scored(centres: range) -> tuple[Array, Array]:
        prepared = np.empty((len(centres), references.values.shape[1]))
        undefined = np.empty(len(centres), dtype=bool)
        for run in _chunks(centres, spheres.run):
            place = slice(run.start - centres.start, run.stop - centres.start)
            rdms = spheres.rdms(run)
            undefined[place] = np.isnan(rdms).any(axis=1)
            prepared[place] = likeness.prepare(rdms)
        chunk_scores = likeness.score(prepared, reference_rows)  # (n_chunk, n_rdms)
        no_score = np.isnan(chunk_scores).all(axis=1)
        return chunk_scores, np.select([undefined, no_score], [CONSTANT_PATTERN, CONSTANT_RDM], DEFINED)

    scores, reason = _empty(neighbourhood, len(references))
    columns = np.arange(len(neighbourhood)) if neighbourhood.centres is None else neighbourhood.centres
    size = _whole_runs(chunk_size or spheres.run * len(references) // REFERENCES, spheres.run)
    chunks = _chunks(range(len(neighbourhood)), size)
    for centres, (chunk_scores, chunk_reason) in _in_threads(scored, chunks, n_threads):
        where = columns[centres.start : centres.stop]
        scores[:, where], reason[where] = chunk_scores.T, chunk_reason
        if progress is not None:
            progress(len(centres))
    reason[columns[spheres.sizes < min_voxels]] = TOO_SMALL
    n_members = np.zeros(len(reason), dtype=np.int32)
    n_members[columns] = spheres.sizes
    table = references.table.assign(statistic=comparison)
    if neighbourhood.regions is not None:
        return ScoreMap(scores, table, regions=neighbourhood.regions, n_members=n_members, reason=reason)
    reason[~patterns.usable] = NO_DATA
    return ScoreMap(scores, table, volume=patterns.volume, n_members=n_members, reason=reason)


def region_rdms(
    patterns: Patterns, neighbourhood: Neighbourhood, *, distance: str = "correlation", min_voxels: int = 2
) -> RDMs:
    """Build the RDM of every neighbourhood and keep them all; meant for regions, of which there are few.

    Parameters
    ----------
    patterns, neighbourhood, distance, min_voxels
        As in `compare`.

    Returns
    -------
    RDMs
        ``values`` of shape (n_neighbourhoods, n_pairs), rows of NaN where there are too few usable voxels; the table
        holds the labels of the regions and `n_voxels`, the number that is usable.
    """
    spheres = _prepare(patterns, neighbourhood, distance, min_voxels)
    table = (
        neighbourhood.regions if neighbourhood.regions is not None else pd.DataFrame({"centre": neighbourhood.centres})
    )
    table = table.assign(n_voxels=spheres.sizes)
    return RDMs(spheres.rdms(range(len(neighbourhood))), patterns.conditions, table, distance)


# ----------------------------------------------------------------------------------------- the steps


@dataclass(frozen=True, eq=False)
class _Spheres:
    """Responses and members as the compiled functions take them.

    ``responses`` of shape (n_voxels, n_runs, n_conditions), float32, one run if the distance is not between runs;
    ``indptr`` and ``indices`` of the usable members of each neighbourhood.
    """

    responses: Array
    indptr: Array
    indices: Array
    distance: Distance
    min_voxels: int

    @property
    def sizes(self) -> Array:
        """Number of usable members, shape (n_neighbourhoods,)."""
        return np.diff(self.indptr)

    @property
    def run(self) -> int:
        """Neighbourhoods from one fresh start of the sliding sums to the next; those that don't slide have one each."""
        n_conditions = int(self.responses.shape[2])
        return max(8, min(64, RUN_BYTES // (4 * n_conditions**2)))

    def rdms(self, centres: range) -> Array:
        """Return the condensed RDMs of some neighbourhoods, shape (n_centres, n_pairs), NaN where undefined."""
        from rsa.kernels import sphere_products

        n_runs, n_conditions = self.responses.shape[1:]
        products = np.empty((len(centres), n_conditions * (n_conditions - 1) // 2))
        squares, sums = np.empty((2, len(centres), n_conditions))
        run = 1 if self.distance.origin == "zero" else self.run
        origin = ORIGINS.index(self.distance.origin)
        between = (self.responses, self.indptr, self.indices, centres.start, centres.stop)
        sphere_products(*between, origin, run, products, squares, sums)
        if n_runs > 1:
            products /= n_runs * (n_runs - 1)
            squares /= n_runs * (n_runs - 1)
        sizes = self.sizes[centres.start : centres.stop]
        rdms = self.distance.from_products(CrossProducts(products, squares, sums, np.maximum(sizes, 1)))
        rdms[sizes < self.min_voxels] = np.nan
        return rdms


def _prepare(patterns: Patterns, neighbourhood: Neighbourhood, distance: str, min_voxels: int) -> _Spheres:
    """Put voxels first, runs averaged or side by side, and drop unusable voxels from all neighbourhoods."""
    measure = pick(DISTANCES | CROSS_VALIDATED, distance, "distance")
    if min_voxels < 2:
        raise UserError(f"min_voxels is at least 2 (a pattern of one voxel has no shape), not {min_voxels}.")
    volume = patterns.volume
    if volume is None or not np.array_equal(volume.mask, neighbourhood.volume.mask):
        raise UserError("Patterns and neighbourhood are over different masks; make the spheres from patterns.volume.")
    volume.require_grid(neighbourhood.volume.shape, neighbourhood.volume.affine, "The neighbourhood", "the patterns")
    runs = _runs(patterns) if distance in CROSS_VALIDATED else patterns.mean_over_runs().values[None]
    responses = np.ascontiguousarray(np.moveaxis(runs, -1, 0), dtype=np.float32)  # (n_voxels, n_runs, n_conditions)
    usable = patterns.usable
    indptr, indices = neighbourhood.indptr, neighbourhood.indices
    if not usable.all():
        kept = usable[indices]
        if neighbourhood.centres is not None:
            kept &= np.repeat(usable[neighbourhood.centres], neighbourhood.n_members)
        indptr = np.concatenate([[0], np.cumsum(np.add.reduceat(kept, indptr[:-1], dtype=np.int64))])
        indices = indices[kept]
    where = np.require(indptr, np.int64, ["C", "W"]), np.require(indices, np.int32, ["C", "W"])
    return _Spheres(responses, *where, measure, min_voxels)


def _runs(patterns: Patterns) -> Array:
    """Return the patterns of each run, shape (n_runs, n_conditions, n_voxels); every condition is in every run."""
    table, conditions = patterns.table, patterns.conditions
    if "run" not in table or table["run"].nunique() < 2:
        raise UserError(
            "A distance between runs needs patterns of at least 2 runs, with a column `run` in their table."
        )
    counts = pd.crosstab(table["run"], table["condition"])
    if (counts != 1).any(axis=None):
        odd = [f"{name} (run {run})" for run, row in counts.iterrows() for name in row.index[row != 1]]
        raise UserError(f"A distance between runs needs every condition once in every run; see {listed(odd)}.")
    order = table.reset_index().set_index(["run", "condition"])["index"]
    return np.stack([patterns.values[order[run].loc[conditions]] for run in table["run"].unique()])


def _empty(neighbourhood: Neighbourhood, n_rdms: int) -> tuple[Array, Array]:
    """Return scores of NaN and reasons for the voxels of the mask, or for the regions."""
    n_columns = len(neighbourhood) if neighbourhood.centres is None else neighbourhood.volume.n_voxels
    scores = np.full((n_rdms, n_columns), np.nan, dtype=np.float32)
    return scores, np.full(n_columns, NOT_A_CENTRE, dtype=np.int8)


def _whole_runs(size: int, run: int) -> int:
    """Round a number of centres up to whole runs, one at least."""
    return max(1, -(-size // run)) * run


def _chunks(centres: range, size: int) -> list[range]:
    return [range(start, min(start + size, centres.stop)) for start in range(centres.start, centres.stop, size)]


def _in_threads(
    work: Callable[[range], tuple[Array, Array]], chunks: list[range], n_threads: int
) -> Iterator[tuple[range, tuple[Array, Array]]]:
    """Do the work on chunks of centres, several at a time, and give the results in order."""
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(n_threads) as pool:
        try:
            yield from zip(chunks, pool.map(work, chunks), strict=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
