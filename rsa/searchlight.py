"""Neighbourhoods -> RDMs -> scores, streaming: what is held at any time is one chunk of centres.

The four steps of a chunk: sum the products of the patterns of each sphere; turn the sums into dissimilarities; prepare
(rank) them; score them against all references at once.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from rsa.comparisons import COMPARISONS, Comparison
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
)
from rsa.devices import choose_device
from rsa.errors import UserError, listed
from rsa.registry import pick
from rsa.spheres import Spheres, cut, prepare, prepare_spheres

Result = TypeVar("Result")

__all__ = ["Canvas", "compare", "in_threads", "prepared_rdms", "reasons", "region_rdms"]

MANY_REFERENCES, MANY_CENTRES = 250, 512
"""From so many references on, their products are most of the work: they are in single precision, which takes half the
time and is right to 5e-7, and of so many centres at once."""


def compare(
    patterns: Patterns,
    neighbourhood: Neighbourhood,
    references: RDMs,
    *,
    distance: str = "correlation",
    comparison: str = "spearman",
    min_voxels: int = 2,
    device: str = "cpu",
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
    device : {"cpu", "auto", "cuda", "cuda:N"}
        "auto" takes CUDA where there is one and it knows the distance and the comparison. Scores of both differ by
        less than 1e-6.
    n_threads, chunk_size : int
        How it runs, never what it computes. On the CPU a chunk is rounded up to whole runs of at most 64 centres,
        within which sums slide from one to the next; by default it is one run, or several for many references. On a
        GPU, which takes no notice of threads, it is what half of the free memory holds.
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
        If the conditions or the grids differ, there are fewer than 3 conditions, no sphere has `min_voxels`, a distance
        between runs lacks a condition in a run, or the device is missing or can't do what is asked.
    """
    likeness = pick(COMPARISONS, comparison, "comparison")
    spheres, reference_rows = prepare(patterns, neighbourhood, references, distance, likeness, min_voxels)
    work: Callable[[range], tuple[Array, Array]]
    if (place := _choose_place(device, distance, comparison)) == "cpu":
        dtype = np.float64 if len(references) < MANY_REFERENCES else np.float32
        work = partial(_scores, spheres, likeness, reference_rows.astype(dtype))
        size = chunk_size or (1 if dtype == np.float64 else MANY_CENTRES)
    else:
        from rsa import gpu

        work = on_device = gpu.Searchlight(spheres, reference_rows, distance, comparison, place)
        size, n_threads = chunk_size or on_device.chunk_size(), 1
    canvas = Canvas(patterns, neighbourhood, spheres, len(references))
    for centres, (scores, reason) in in_threads(work, spheres.chunks(size), n_threads):
        canvas.draw(centres, scores, reason)
        if progress is not None:
            progress(len(centres))
    return canvas.score_map(references.table.assign(statistic=comparison))


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
    spheres = prepare_spheres(patterns, neighbourhood, distance, min_voxels)
    table = (
        neighbourhood.regions if neighbourhood.regions is not None else pd.DataFrame({"centre": neighbourhood.centres})
    )
    table = table.assign(n_voxels=spheres.sizes)
    return RDMs(spheres.rdms(range(len(neighbourhood))), patterns.conditions, table, distance)


# ----------------------------------------------------------------------------------------- the steps


def _choose_place(device: str, distance: str, comparison: str) -> str:
    """Return the device, which is the CPU for "auto" if a GPU can't do what is asked."""
    place = choose_device(device)
    if place == "cpu":
        return place
    if place == "mps":
        raise UserError("A searchlight needs double precision, which 'mps' has not; set device to cpu.")
    from rsa import gpu

    lacks = [name for name, table in ((distance, gpu.DISTANCES), (comparison, gpu.COMPARISONS)) if name not in table]
    if lacks and device != "auto":
        raise UserError(f"{listed(lacks)} can't be computed on {device!r}; set device to cpu.")
    return "cpu" if lacks else place


def prepared_rdms(spheres: Spheres, likeness: Comparison, centres: range, dtype: npt.DTypeLike = np.float64) -> Array:
    """Return the prepared RDMs of some neighbourhoods, shape (n_centres, n_pairs), with NaN where one is undefined."""
    prepared = np.empty((len(centres), spheres.n_pairs), dtype)
    for run in cut(centres, spheres.run):
        prepared[run.start - centres.start : run.stop - centres.start] = likeness.prepare(spheres.rdms(run))
    return prepared


def _scores(spheres: Spheres, likeness: Comparison, references: Array, centres: range) -> tuple[Array, Array]:
    """Return the scores of some neighbourhoods, shape (n_rdms, n_centres), and reasons."""
    prepared = prepared_rdms(spheres, likeness, centres, references.dtype)
    scores = likeness.score(references, prepared)
    return scores, reasons(scores, prepared)


def reasons(scores: Array, prepared: Array) -> Array:
    """Say for each centre whether it has a score, and why not if it hasn't."""
    reason = np.full(len(prepared), DEFINED, dtype=np.int8)
    (without,) = np.nonzero(np.isnan(scores).all(axis=0))
    reason[without] = np.where(np.isnan(prepared[without]).any(axis=1), CONSTANT_PATTERN, CONSTANT_RDM)
    return reason


def in_threads(work: Callable[[range], Result], chunks: list[range], n_threads: int) -> Iterator[tuple[range, Result]]:
    """Do the work on chunks of centres, several at a time, and give the results in order.

    The first is done by this thread, as what is compiled then takes seconds, in which other threads could not be
    interrupted.
    """
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(n_threads) as pool:
        yield chunks[0], work(chunks[0])
        try:
            yield from zip(chunks[1:], pool.map(work, chunks[1:]), strict=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class Canvas:
    """Scores of chunks of centres, put on the voxels of the mask or on regions."""

    def __init__(self, patterns: Patterns, neighbourhood: Neighbourhood, spheres: Spheres, n_rdms: int) -> None:
        self.patterns, self.neighbourhood, self.spheres = patterns, neighbourhood, spheres
        centres = neighbourhood.centres
        n_columns = len(neighbourhood) if centres is None else neighbourhood.volume.n_voxels
        self.columns: Array = np.arange(n_columns) if centres is None else centres
        self.all_in_order = len(self.columns) == n_columns and bool((self.columns == np.arange(n_columns)).all())
        self.scores = np.full((n_rdms, n_columns), np.nan, dtype=np.float32)
        self.reason = np.full(n_columns, NOT_A_CENTRE, dtype=np.int8)

    def where(self, centres: range) -> slice | Array:
        """Return the columns of some centres."""
        if self.all_in_order:
            return slice(centres.start, centres.stop)
        return self.columns[centres.start : centres.stop]

    def draw(self, centres: range, scores: Array, reason: Array) -> None:
        """Put the scores of some centres, shape (n_rdms, n_centres), and their reasons in their places."""
        where = self.where(centres)
        self.scores[:, where], self.reason[where] = scores, reason

    def score_map(self, table: pd.DataFrame) -> ScoreMap:
        """Return all scores, whose rows are described by the table."""
        sizes = self.spheres.sizes
        self.reason[self.columns[sizes < self.spheres.min_voxels]] = TOO_SMALL
        n_members = np.zeros(len(self.reason), dtype=np.int32)
        n_members[self.columns] = sizes
        if self.neighbourhood.regions is not None:
            regions = self.neighbourhood.regions
            return ScoreMap(self.scores, table, regions=regions, n_members=n_members, reason=self.reason)
        self.reason[~self.patterns.usable] = NO_DATA
        return ScoreMap(self.scores, table, volume=self.patterns.volume, n_members=n_members, reason=self.reason)
