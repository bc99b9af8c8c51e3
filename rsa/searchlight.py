"""Neighbourhoods -> RDMs -> scores, streaming: what is held at any time is one chunk of centres.

The four steps of a chunk: sum the products of the patterns of each sphere; turn the sums into dissimilarities; prepare
(rank) them; score them against all references at once.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from rsa.comparisons import COMPARISONS, Comparison, score_rows, unchanged, z_scored
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
    concatenate,
    difference_of_conditions,
)
from rsa.devices import choose_device
from rsa.errors import UserError, listed
from rsa.measures import Measure
from rsa.registry import pick
from rsa.spheres import FoldedSpheres, Spheres, cut, halves, prepare, prepare_searchlight, prepare_spheres

Result = TypeVar("Result")

__all__ = ["Canvas", "compare", "in_threads", "measured", "over_time", "prepared_rdms", "reasons", "region_rdms"]

MANY_REFERENCES, MANY_CENTRES = 250, 512
"""From so many references on, their products are most of the work: they are in single precision, which takes half the
time and is right to 5e-7, and of so many centres at once."""

RELIABILITY = {"model": "reliability", "layer": ""}
"""The labels of the score of odd with even runs."""


def compare(
    patterns: Patterns,
    neighbourhood: Neighbourhood,
    references: RDMs,
    *,
    distance: str = "correlation",
    comparison: str = "spearman",
    min_voxels: int = 2,
    shrinkage: str | None = None,
    reliability: bool = False,
    device: str = "cpu",
    n_threads: int = 1,
    chunk_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ScoreMap:
    """Compare the RDM of every neighbourhood with every reference RDM.

    Parameters
    ----------
    patterns : Patterns
        Responses over the voxels of a volume. Runs are averaged first, unless the distance is between runs. Responses
        at several delays after onset are compared one delay after the other.
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
    shrinkage : str, optional
        A key of `SHRINKAGES`: whiten the patterns of each neighbourhood by the covariance of its residuals.
    reliability : bool
        Also compare the RDM of odd runs with that of even runs, in one more row of the result (model "reliability").
    device : {"cpu", "auto", "cuda", "cuda:N"}
        "auto" takes CUDA where there is one and it knows the distance and the comparison. Scores of both differ by
        less than 1e-6, unless all conditions are nearly the same pattern.
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
        with the number of voxels and the reason; (n_rdms, n_regions) for regions. With delays, each reference has a row
        for each delay, `time_s` in the table.

    Raises
    ------
    UserError
        If the conditions or the grids differ, there are fewer than 3 conditions, no sphere has `min_voxels`, a distance
        between runs or the reliability lacks a condition, whitening lacks residuals, or the device is missing or can't
        do what is asked.
    """
    measure = partial(
        _compare,
        neighbourhood=neighbourhood,
        references=references,
        distance=distance,
        comparison=comparison,
        min_voxels=min_voxels,
        shrinkage=shrinkage,
        reliability=reliability,
        device=device,
        n_threads=n_threads,
        chunk_size=chunk_size,
        progress=progress,
    )
    if not patterns.delays_s:
        return measure(patterns)
    _require_no_times(references.table)
    return over_time([measure(patterns.at_delay(delay_s)) for delay_s in patterns.delays_s], patterns.delays_s)


def _require_no_times(references: pd.DataFrame) -> None:
    """Raise a `UserError` if references have times, as the patterns have delays."""
    if "time_s" in references:
        raise UserError("References over time need patterns of one response per condition, not of several delays.")


def _compare(
    patterns: Patterns,
    neighbourhood: Neighbourhood,
    references: RDMs,
    *,
    distance: str,
    comparison: str,
    min_voxels: int,
    shrinkage: str | None,
    reliability: bool,
    device: str,
    n_threads: int,
    chunk_size: int | None,
    progress: Callable[[int], None] | None,
) -> ScoreMap:
    """Compare at one delay; see `compare`."""
    likeness = pick(COMPARISONS, comparison, "comparison")
    spheres, reference_rows = prepare(patterns, neighbourhood, references, distance, likeness, min_voxels, shrinkage)
    split = [
        prepare_spheres(half, neighbourhood, distance, min_voxels, shrinkage)
        for half in (halves(patterns) if reliability else ())
    ]
    table = references.table.assign(statistic=comparison)
    if split:
        blank = {name: "" for name in table if table[name].dtype.kind not in "fiub"}
        own = pd.DataFrame([blank | RELIABILITY | {"statistic": comparison}])
        table = pd.concat([table, own], ignore_index=True)
    work: Callable[[range], tuple[Array, Array]]
    on_cpu = spheres.noise is not None or isinstance(spheres, FoldedSpheres) or reliability
    if (place := _choose_place(device, distance, comparison, on_cpu)) == "cpu":
        dtype = np.float64 if len(references) < MANY_REFERENCES else np.float32
        work = partial(_scores, spheres, split, likeness, reference_rows.astype(dtype))
        size = chunk_size or (1 if dtype == np.float64 else MANY_CENTRES)
    else:
        from rsa import gpu

        work = on_device = gpu.Searchlight(spheres, reference_rows, distance, comparison, place)
        size, n_threads = chunk_size or on_device.chunk_size(), 1
    canvas = Canvas(patterns, neighbourhood, spheres, len(table))
    for centres, (scores, reason) in in_threads(work, spheres.chunks(size), n_threads):
        canvas.draw(centres, scores, reason)
        if progress is not None:
            progress(len(centres))
    return canvas.score_map(table)


def measured(
    patterns: Patterns,
    neighbourhood: Neighbourhood,
    measure: Measure,
    *,
    others: Sequence[tuple[Patterns, Neighbourhood]] = (),
    distance: str = "correlation",
    min_voxels: int = 2,
    shrinkage: str | None = None,
    out: Array | None = None,
    n_threads: int = 1,
    chunk_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ScoreMap:
    """Map a measure of the RDM of every neighbourhood, such as a partial correlation or a weighted sum of layers.

    Parameters
    ----------
    patterns, neighbourhood, distance, min_voxels, shrinkage, n_threads, chunk_size, progress
        As in `compare`. It runs on the CPU.
    measure : Measure
        From `rsa.partition` or `rsa.weighted`, over the same conditions in any order.
    others : sequence of (Patterns, Neighbourhood)
        The other subjects, for a measure that fits weights to them: neighbourhoods around the same places in the same
        order (`rsa.neighbourhood.shared_spheres`).
    out : array of float32, shape (n_maps, n_voxels or n_regions), optional
        Filled with the scores and kept as the values of the result, without a copy: `numpy.memmap` for what exceeds
        memory.

    Returns
    -------
    ScoreMap
        A row for each of the measure (with delays, for each delay), NaN where a voxel is no centre or its score is
        undefined.

    Raises
    ------
    UserError
        As `compare`; if the measure needs other subjects and there are none, or theirs are other neighbourhoods or
        delays; and if `out` does not fit.
    """
    if measure.across_subjects and not others:
        raise UserError("Weights are fitted to other subjects, and there is no other; give 2 subjects or more.")
    if any(len(around) != len(neighbourhood) for _, around in others):
        raise UserError("Weights are fitted to other subjects at the same places; give all subjects the same centres.")
    subjects = [(patterns, neighbourhood), *(others if measure.across_subjects else ())]
    how = partial(
        _measured,
        measure=measure,
        distance=distance,
        min_voxels=min_voxels,
        shrinkage=shrinkage,
        out=out,
        n_threads=n_threads,
        chunk_size=chunk_size,
        progress=progress,
    )
    if not (delays_s := patterns.delays_s):
        return how(subjects)
    _require_no_times(measure.table)
    if out is not None:
        raise UserError("Maps of several delays cannot be written to `out`; leave it out.")
    if any(one.delays_s != delays_s for one, _ in subjects):
        raise UserError("Weights are fitted to other subjects at the same delays; give all subjects the same.")
    maps = [how([(one.at_delay(delay_s), around) for one, around in subjects]) for delay_s in delays_s]
    return over_time(maps, delays_s)


def _measured(
    subjects: Sequence[tuple[Patterns, Neighbourhood]],
    *,
    measure: Measure,
    distance: str,
    min_voxels: int,
    shrinkage: str | None,
    out: Array | None,
    n_threads: int,
    chunk_size: int | None,
    progress: Callable[[int], None] | None,
) -> ScoreMap:
    """Map a measure of the first subject at one delay; see `measured`."""
    each = []
    for patterns, around in subjects:
        if problem := difference_of_conditions(patterns.conditions, measure.conditions, "patterns", "reference RDMs"):
            raise UserError(problem)
        each.append(prepare_searchlight(patterns.in_order(measure.conditions), around, distance, min_voxels, shrinkage))
    spheres, n_maps = each[0], len(measure.table)
    canvas = Canvas(*subjects[0], spheres, 0 if out is not None else n_maps)
    if out is not None:
        canvas.scores = _blank(out, (n_maps, len(canvas.reason)))

    def work(centres: range) -> None:
        """Draw on columns of its own, so that no result waits for another."""
        own, *rest = (prepared_rdms(one, unchanged, centres) for one in each)
        seen = np.mean([z_scored(rdms) for rdms in rest], axis=0) if rest else own
        scores = measure.score(own, seen)
        canvas.draw(centres, scores, reasons(scores, own))

    size = chunk_size or (MANY_CENTRES if n_maps >= MANY_REFERENCES else 1)
    for centres, _ in in_threads(work, spheres.chunks(size), n_threads):
        if progress is not None:
            progress(len(centres))
    return canvas.score_map(measure.table)


def _blank(out: Array, shape: tuple[int, int]) -> Array:
    """Fill with NaN what the caller gave to write to."""
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != np.float32:
        found = f"{getattr(out, 'dtype', type(out).__name__)} of shape {getattr(out, 'shape', ())}"
        raise UserError(f"`out` is a float32 array of shape {shape}, not {found}; make it so, or leave it out.")
    out[...] = np.nan
    return out


def over_time(maps: list[ScoreMap], delays_s: list[float]) -> ScoreMap:
    """Put the maps of several delays into one: row by row, each at all delays.

    A column has a reason to be undefined if it has one at every delay, and the fewest members that it has at one.
    """
    n_rows = len(maps[0])
    values = np.stack([scores.values for scores in maps], axis=1).reshape(n_rows * len(maps), -1)
    table = maps[0].table.loc[np.repeat(np.arange(n_rows), len(maps))].assign(time_s=np.tile(delays_s, n_rows))
    reasons_of, members_of = ([getattr(one, name) for one in maps] for name in ("reason", "n_members"))
    reason = None if reasons_of[0] is None else np.min(reasons_of, axis=0)
    return replace(maps[0], values=values, table=table, reason=reason, n_members=np.min(members_of, axis=0))


def region_rdms(
    patterns: Patterns,
    neighbourhood: Neighbourhood,
    *,
    distance: str = "correlation",
    min_voxels: int = 2,
    shrinkage: str | None = None,
) -> RDMs:
    """Build the RDM of every neighbourhood and keep them all; meant for regions, of which there are few.

    Parameters
    ----------
    patterns, neighbourhood, distance, min_voxels, shrinkage
        As in `compare`.

    Returns
    -------
    RDMs
        ``values`` of shape (n_neighbourhoods, n_pairs), rows of NaN where there are too few usable voxels; the table
        holds the labels of the regions and `n_voxels`, the number that is usable. With delays, all regions at the
        first, at the second, ..., `time_s` in the table.
    """
    if delays_s := patterns.delays_s:
        measure = partial(region_rdms, distance=distance, min_voxels=min_voxels, shrinkage=shrinkage)
        each = [measure(patterns.at_delay(delay_s), neighbourhood) for delay_s in delays_s]
        tables = [rdms.table.assign(time_s=delay_s) for rdms, delay_s in zip(each, delays_s, strict=True)]
        return concatenate([replace(rdms, table=table) for rdms, table in zip(each, tables, strict=True)])
    spheres = prepare_spheres(patterns, neighbourhood, distance, min_voxels, shrinkage)
    table = (
        neighbourhood.regions if neighbourhood.regions is not None else pd.DataFrame({"centre": neighbourhood.centres})
    )
    table = table.assign(n_voxels=spheres.sizes)
    return RDMs(spheres.rdms(range(len(neighbourhood))), patterns.conditions, table, distance)


# ----------------------------------------------------------------------------------------- the steps


def _choose_place(device: str, distance: str, comparison: str, on_cpu: bool) -> str:
    """Return the device, which is the CPU for "auto" if a GPU can't do what is asked."""
    if on_cpu:
        if device not in ("auto", "cpu"):
            raise UserError(f"Whitening and reliability can't be computed on {device!r}; set device to cpu.")
        return "cpu"
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


def prepared_rdms(
    spheres: Spheres, prepare: Callable[[Array], Array], centres: range, dtype: npt.DTypeLike = np.float64
) -> Array:
    """Return the prepared RDMs of some neighbourhoods, shape (n_centres, n_pairs), with NaN where one is undefined."""
    prepared = np.empty((len(centres), spheres.n_pairs), dtype)
    for run in cut(centres, spheres.run):
        prepared[run.start - centres.start : run.stop - centres.start] = prepare(spheres.rdms(run))
    return prepared


def _scores(
    spheres: Spheres, split: list[Spheres], likeness: Comparison, references: Array, centres: range
) -> tuple[Array, Array]:
    """Return the scores of some neighbourhoods, shape (n_rdms, n_centres), and reasons; reliability is the last row."""
    prepared = prepared_rdms(spheres, likeness.prepare, centres, references.dtype)
    scores = likeness.score(references, prepared)
    reason = reasons(scores, prepared)
    if split:
        odd, even = (prepared_rdms(half, likeness.prepare, centres) for half in split)
        scores = np.vstack([scores, score_rows(odd, even, likeness)])
    return scores, reason


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
        self.reason[~self.spheres.usable] = NO_DATA
        return ScoreMap(self.scores, table, volume=self.patterns.volume, n_members=n_members, reason=self.reason)
