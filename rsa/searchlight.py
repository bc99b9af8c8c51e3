"""One walk over centres: neighbourhood -> RDM -> measure -> map. What is held at any time is one chunk of centres.

`scan` maps any measure: a comparison with references (`compare`), a partial correlation, a reliability. Noise ceilings,
permutation tests and the searchlight over sensors give the same walk, `scan_sources`, a measure of their own.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import wraps
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from rsa.comparisons import z_scored
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
    concatenate,
    difference_of_conditions,
    require_enough,
)
from rsa.devices import choose_device
from rsa.errors import UserError, listed
from rsa.maps import stack
from rsa.measures import ComparisonMeasure, Measure, comparison_measure, reliability_measure
from rsa.spheres import RdmSettings, Spheres, halves, prepare_spheres, run_of, whole_runs

__all__ = [
    "MapBuilder",
    "RdmSettings",
    "RdmSource",
    "RunSettings",
    "Scored",
    "bytes_of_thread",
    "compare",
    "fields_as_keywords",
    "in_order",
    "in_threads",
    "large_enough",
    "over_time",
    "region_rdms",
    "scan",
    "scan_sources",
    "scan_with_reliability",
]

Result = TypeVar("Result")

MANY_REFERENCES, MANY_CENTRES = 250, 512
"""From so many references on, their products are most of the work: they are in single precision, which takes half the
time and is right to 5e-7, and of so many centres at once."""


@dataclass(frozen=True)
class RunSettings:
    """How a walk over centres runs, never what it computes.

    Parameters
    ----------
    n_threads : int
        Number of threads on the CPU.
    chunk_size : int, optional
        Number of centres at a time. On the CPU it is rounded up to whole runs of at most 64 centres, within which sums
        slide from one to the next; by default it is one run, or several for many references. On a GPU, which takes no
        notice of threads, it is what half of the free memory holds.
    device : {"cpu", "auto", "cuda", "cuda:N"}
        "auto" takes CUDA where there is one and it knows the distance and the comparison. Scores of both differ by
        less than 1e-6, unless all conditions are nearly the same pattern.
    progress : callable, optional
        Called with the number of centres of each chunk that is done.
    room_bytes : int, optional
        Memory for what the walk holds, in bytes: where it can hold less at a time, such as the patterns of all subjects
        slab by slab, or less in fewer threads, it holds as much as has room. By default as much as is quickest.
    """

    n_threads: int = 1
    chunk_size: int | None = None
    device: str = "cpu"
    progress: Callable[[int], None] | None = None
    room_bytes: int | None = None

    def fitting(self, thread_bytes: float, held_bytes: float = 0) -> "RunSettings":
        """Return the same with no more threads than there is room for, one at least.

        Parameters
        ----------
        thread_bytes : float
            What each thread holds.
        held_bytes : float
            What is held besides.
        """
        if self.room_bytes is None:
            return self
        n_fitting = int(max(0, self.room_bytes - held_bytes) // max(1, thread_bytes))
        return replace(self, n_threads=max(1, min(self.n_threads, n_fitting)))


def bytes_of_thread(n_pairs: int, n_references: int, n_spheres: int, n_sources: int = 1) -> float:
    """Return about how many bytes a thread holds of a walk over spheres: a chunk of RDMs, sums, ranks and products."""
    at_once = MANY_CENTRES if n_references >= MANY_REFERENCES else 1
    n_chunk = min(whole_runs(at_once, n_pairs), n_spheres)
    rdms, run = 8 * n_pairs * n_chunk, 8 * n_pairs * min(run_of(n_pairs), n_spheres)
    return rdms * (n_sources + 1.5) + 3 * run + 8 * n_references * n_chunk


def fields_as_keywords(**kinds: type) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Let a function take the fields of its settings as keywords of its own: ``compare(..., min_voxels=20)``.

    Parameters
    ----------
    **kinds : type
        By the name of a parameter, the dataclass of its settings.
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        @wraps(function)
        def call(*arguments: Any, **given: Any) -> Result:
            for name, kind in kinds.items():
                if own := {field.name: given.pop(field.name) for field in fields(kind) if field.name in given}:
                    given[name] = replace(given.get(name, kind()), **own)
            return function(*arguments, **given)

        return call

    return decorate


class Scored(NamedTuple):
    """The scores of a chunk, and what a last step over all centres needs of it."""

    scores: Array
    """Shape (n_rows, n_centres)."""
    found: Any
    """If it is a function, what that returns of the columns of the chunk; it is called in the thread of the chunk."""


@fields_as_keywords(rdm=RdmSettings, run=RunSettings)
def compare(
    patterns: Patterns,
    neighbourhood: Neighbourhood,
    references: RDMs,
    *,
    comparison: str = "spearman",
    reliability: bool = False,
    rdm: RdmSettings = RdmSettings(),
    run: RunSettings = RunSettings(),
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
    comparison : str
        A key of `COMPARISONS`: how similar two RDMs are.
    reliability : bool
        Also compare the RDM of odd runs with that of even runs, on the CPU, in one more row of the result (model
        "reliability").
    rdm : RdmSettings
        How RDMs are made. Its fields can be given as keywords as well: ``distance``, ``shrinkage``, ``min_voxels``.
    run : RunSettings
        How it runs, with its fields in the same way: ``n_threads``, ``device``, ...

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
    require_enough(patterns.conditions, "the patterns")
    measure = comparison_measure(align(patterns.conditions, references), comparison)
    if reliability:
        return scan_with_reliability(patterns, neighbourhood, measure, comparison, rdm, run)
    return scan(patterns, neighbourhood, measure, rdm=rdm, run=run)


def scan_with_reliability(
    patterns: Patterns,
    neighbourhood: Neighbourhood,
    measure: Measure,
    comparison: str,
    rdm: RdmSettings,
    run: RunSettings,
) -> ScoreMap:
    """Map a measure and, in one more row, the split-half reliability by a comparison; see `compare`.

    The reliability comes first, so that halves which lack a condition are told before long work; so are a device and
    references that don't fit.
    """
    _choose_place(run.device, measure, rdm, patterns)
    _require_one_time(patterns, measure)
    on_cpu = replace(run, device="cpu", chunk_size=run.chunk_size if run.device == "cpu" else None)
    of_halves = scan(patterns, neighbourhood, reliability_measure(measure, comparison), rdm=rdm, run=on_cpu)
    return stack([scan(patterns, neighbourhood, measure, rdm=rdm, run=run), of_halves])


def _require_one_time(patterns: Patterns, measure: Measure) -> None:
    """Raise a `UserError` if references have times, and the patterns delays."""
    if patterns.delays_s and "time_s" in measure.table:
        raise UserError("References over time need patterns of one response per condition, not of several delays.")


@fields_as_keywords(rdm=RdmSettings, run=RunSettings)
def scan(
    patterns: Patterns,
    neighbourhood: Neighbourhood,
    measure: Measure,
    *,
    rdm: RdmSettings = RdmSettings(),
    run: RunSettings = RunSettings(),
    others: Sequence[tuple[Patterns, Neighbourhood]] = (),
    out: Array | None = None,
    last_step: Callable[[slice | Array, Any], None] | None = None,
) -> ScoreMap:
    """Map a measure of the RDM of every neighbourhood, such as a partial correlation or a weighted sum of layers.

    Parameters
    ----------
    patterns, neighbourhood, rdm, run
        As in `compare`. Only comparisons run on a GPU.
    measure : Measure
        From `rsa.measures`, `rsa.partition` or `rsa.weighted`, over the same conditions in any order.
    others : sequence of (Patterns, Neighbourhood)
        The other subjects, for a measure that fits weights to them: neighbourhoods around the same places in the same
        order (`rsa.neighbourhood.shared_spheres`).
    out : array of float32, shape (n_maps, n_voxels or n_regions), optional
        Filled with the scores and kept as the values of the result, without a copy: `numpy.memmap` for what exceeds
        memory.
    last_step : callable, optional
        Called by one thread with the columns and `Scored.found` of each chunk, in order: what is wanted over all
        centres, such as a maximum, is gathered there.

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
    if measure.second == "other_subjects" and not others:
        raise UserError("Weights are fitted to other subjects, and there is no other; give 2 subjects or more.")
    if any(len(of_other) != len(neighbourhood) for _, of_other in others):
        raise UserError("Weights are fitted to other subjects at the same places; give all subjects the same centres.")
    subjects = [(patterns, neighbourhood), *(others if measure.second == "other_subjects" else ())]
    delays_s = patterns.delays_s
    if not delays_s:
        return _scan(subjects, measure, rdm, run, out, last_step)
    _require_one_time(patterns, measure)
    if out is not None or last_step is not None:
        raise UserError("Maps of several delays cannot be written to `out`, nor have a last step; leave it out.")
    if any(one.delays_s != delays_s for one, _ in subjects):
        raise UserError("Weights are fitted to other subjects at the same delays; give all subjects the same.")
    at_delays = [[(one.at_delay(delay_s), around) for one, around in subjects] for delay_s in delays_s]
    return over_time([_scan(at_delay, measure, rdm, run) for at_delay in at_delays], delays_s)


def _scan(
    subjects: Sequence[tuple[Patterns, Neighbourhood]],
    measure: Measure,
    rdm: RdmSettings,
    run: RunSettings,
    out: Array | None = None,
    last_step: Callable[[slice | Array, Any], None] | None = None,
) -> ScoreMap:
    """Map a measure of the first subject at one delay; see `scan`."""
    place = _choose_place(run.device, measure, rdm, subjects[0][0])
    each = [(in_order(patterns, measure.conditions), around) for patterns, around in subjects]
    sources = [large_enough(prepare_spheres(*one, rdm)) for one in each]
    builder = MapBuilder.over(subjects[0][1], len(measure.table), out)
    per_thread = bytes_of_thread(sources[0].n_pairs, len(measure.table), len(sources[0]), len(sources))
    run = run.fitting(per_thread, sum(one.responses.nbytes + one.indices.nbytes for one in sources))
    has_many = len(measure.table) >= MANY_REFERENCES
    size = MANY_CENTRES if has_many else 1
    if has_many and isinstance(measure, ComparisonMeasure):
        measure = measure.with_products_of(np.float32)
    if place != "cpu":
        from rsa import gpu

        assert isinstance(measure, ComparisonMeasure), "no other has a place but the CPU"
        on_device = gpu.TorchComparison(sources[0], measure.references, measure.comparison, place)
        _on_device(on_device, builder, sources[0], run)
    elif measure.second == "other_half":
        patterns, around = subjects[0]
        of_halves = [prepare_spheres(in_order(half, measure.conditions), around, rdm) for half in halves(patterns)]
        scan_sources(of_halves, measure.score, builder, run, size, last_step)
    else:
        scan_sources(sources, _with_second(measure), builder, run, size, last_step)
    return _score_map(builder, measure.table, sources[0], *subjects[0])


def in_order(patterns: Patterns, conditions: Sequence[str]) -> Patterns:
    """Put patterns into the order of conditions that a measure takes; those that are in it stay as they are."""
    if problem := difference_of_conditions(patterns.conditions, conditions, "patterns", "reference RDMs"):
        raise UserError(problem)
    return patterns if list(patterns.conditions) == list(conditions) else patterns.in_order(conditions)


def _with_second(measure: Measure) -> Callable[..., Any]:
    """Score the RDMs of a subject, and of the others if there are any, at some centres."""

    def score(own: Array, *others: Array) -> Any:
        return measure.score(own, np.mean([z_scored(rdms) for rdms in others], axis=0) if others else own)

    return score


class RdmSource(Protocol):
    """What has RDMs at places that are walked over: spheres at centres, or sensors at times."""

    def chunks(self, size: int) -> list[range]:
        """Cut the places into chunks of about this size."""

    def rdms(self, centres: range) -> Array:
        """Return the RDMs at some places, shape (n_rdms, n_pairs), NaN where undefined."""


class Builder(Protocol):
    """What puts the scores of chunks where they belong."""

    def add(self, centres: range, scores: Array, reason: Array) -> None:
        """Put the scores at some places, (n_rows, n_rdms), and why there is none, (n_rdms,), where they belong."""

    def columns_of(self, centres: range) -> slice | Array:
        """Return where those scores are."""

    def name_of(self, centre: int) -> str:
        """Say in an error which place it is."""


def scan_sources(
    sources: Sequence[RdmSource],
    score: Callable[..., Array | Scored],
    builder: Builder,
    run: RunSettings,
    size: int = 1,
    last_step: Callable[[slice | Array, Any], None] | None = None,
) -> None:
    """Walk over the centres that all sources share, and measure their RDMs: the loop of every searchlight.

    Parameters
    ----------
    sources : sequence of RdmSource
        Of one subject or several, of halves of the runs, or of sensors.
    score : callable
        Takes the RDMs of a chunk, (n_centres, n_pairs) of each source, and returns scores, (n_rows, n_centres).
    builder : Builder
        Where the scores go.
    run : RunSettings
        Threads, chunks and progress.
    size : int
        Number of centres at a time, if `run` does not say.
    last_step : callable, optional
        See `scan`.
    """

    def work(centres: range) -> Any:
        rdms = [source.rdms(centres) for source in sources]
        measured = score(*rdms)
        scores, found = measured if isinstance(measured, Scored) else (measured, None)
        builder.add(centres, scores, reasons(scores, rdms[0]))  # columns of its own: no result waits for another
        return found(builder.columns_of(centres)) if callable(found) else found

    def named(centres: range) -> Any:
        try:
            return work(centres)
        except Exception as error:
            error.add_note(f"This happened at {builder.name_of(_first_failing(work, centres))}.")
            raise

    for centres, found in in_threads(named, sources[0].chunks(run.chunk_size or size), run.n_threads):
        if last_step is not None:
            last_step(builder.columns_of(centres), found)
        if run.progress is not None:
            run.progress(len(centres))


def _first_failing(work: Callable[[range], Any], centres: range) -> int:
    """Return the first of some centres at which work fails; the first of all if each alone does not."""
    for centre in centres:
        try:
            work(range(centre, centre + 1))
        except Exception:
            return centre
    return centres.start


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


def reasons(scores: Array, rdms: Array) -> Array:
    """Say for each centre whether it has a score, and why not if it hasn't."""
    reason = np.full(len(rdms), DEFINED, dtype=np.int8)
    (without,) = np.nonzero(np.isnan(scores).all(axis=0))
    reason[without] = np.where(np.isnan(rdms[without]).any(axis=1), CONSTANT_PATTERN, CONSTANT_RDM)
    return reason


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


@fields_as_keywords(rdm=RdmSettings)
def region_rdms(patterns: Patterns, neighbourhood: Neighbourhood, rdm: RdmSettings = RdmSettings()) -> RDMs:
    """Build the RDM of every neighbourhood and keep them all; meant for regions, of which there are few.

    Parameters
    ----------
    patterns, neighbourhood, rdm
        As in `compare`.

    Returns
    -------
    RDMs
        ``values`` of shape (n_neighbourhoods, n_pairs), rows of NaN where there are too few usable voxels; the table
        holds the labels of the regions and `n_voxels`, the number that is usable. With delays, all regions at the
        first, at the second, ..., `time_s` in the table.
    """
    if delays_s := patterns.delays_s:
        each = [region_rdms(patterns.at_delay(delay_s), neighbourhood, rdm) for delay_s in delays_s]
        tables = [rdms.table.assign(time_s=delay_s) for rdms, delay_s in zip(each, delays_s, strict=True)]
        return concatenate([replace(rdms, table=table) for rdms, table in zip(each, tables, strict=True)])
    spheres = prepare_spheres(patterns, neighbourhood, rdm)
    table = (
        neighbourhood.regions if neighbourhood.regions is not None else pd.DataFrame({"centre": neighbourhood.centres})
    )
    table = table.assign(n_voxels=spheres.sizes)
    return RDMs(spheres.rdms(range(len(neighbourhood))), patterns.conditions, table, rdm.distance)


# ------------------------------------------------------------------------------------------- the map


class MapBuilder:
    """Scores of chunks of centres, put on the voxels of a mask or on regions.

    Parameters
    ----------
    columns : array of int, shape (n_centres,)
        The column of each centre.
    n_columns, n_rows : int
        Shape of the scores.
    names : callable
        Says which place a column is.
    """

    def __init__(self, columns: Array, n_columns: int, n_rows: int, names: Callable[[int], str]) -> None:
        self.columns, self.names = columns, names
        self.all_in_order = len(columns) == n_columns and bool((columns == np.arange(n_columns)).all())
        self.scores = np.full((n_rows, n_columns), np.nan, dtype=np.float32)
        self.reason = np.full(n_columns, NOT_A_CENTRE, dtype=np.int8)

    @classmethod
    def over(cls, neighbourhood: Neighbourhood, n_rows: int, out: Array | None = None) -> "MapBuilder":
        """Make one for the voxels or regions of a neighbourhood, which writes to `out` if it is given."""
        regions, centres = neighbourhood.regions, neighbourhood.centres
        n_columns = len(neighbourhood) if centres is None else neighbourhood.space.n_features
        columns = np.arange(n_columns) if centres is None else centres
        names = neighbourhood.space.name_of if regions is None else lambda row: f"the region {tuple(regions.iloc[row])}"
        builder = cls(columns, n_columns, 0 if out is not None else n_rows, names)
        if out is not None:
            builder.scores = _blank(out, (n_rows, n_columns))
        return builder

    def columns_of(self, centres: range) -> slice | Array:
        """Return the columns of some centres."""
        if self.all_in_order:
            return slice(centres.start, centres.stop)
        return self.columns[centres.start : centres.stop]

    def add(self, centres: range, scores: Array, reason: Array) -> None:
        """Put the scores of some centres, shape (n_rows, n_centres), and their reasons where they belong."""
        columns = self.columns_of(centres)
        self.scores[:, columns], self.reason[columns] = scores, reason

    def name_of(self, centre: int) -> str:
        """Say which place a centre is."""
        return self.names(int(self.columns[centre]))


def _score_map(
    builder: MapBuilder, table: pd.DataFrame, spheres: Spheres, patterns: Patterns, neighbourhood: Neighbourhood
) -> ScoreMap:
    """Return all scores, whose rows are described by the table."""
    reason, sizes = builder.reason, spheres.sizes
    reason[builder.columns[sizes < spheres.min_voxels]] = TOO_SMALL
    n_members = np.zeros(len(reason), dtype=np.int32)
    n_members[builder.columns] = sizes
    if neighbourhood.regions is not None:
        return ScoreMap(builder.scores, table, regions=neighbourhood.regions, n_members=n_members, reason=reason)
    reason[~spheres.usable] = NO_DATA
    return ScoreMap(builder.scores, table, space=patterns.space, n_members=n_members, reason=reason)


def _blank(out: Array, shape: tuple[int, int]) -> Array:
    """Fill with NaN what the caller gave to write to."""
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != np.float32:
        found = f"{getattr(out, 'dtype', type(out).__name__)} of shape {getattr(out, 'shape', ())}"
        raise UserError(f"`out` is a float32 array of shape {shape}, not {found}; make it so, or leave it out.")
    out[...] = np.nan
    return out


def large_enough(spheres: Spheres) -> Spheres:
    """Raise a `UserError` unless one neighbourhood is large enough."""
    if spheres.sizes.max() < spheres.min_voxels:
        raise UserError(
            f"No searchlight has the {spheres.min_voxels} voxels that min_voxels asks for; the largest has "
            f"{spheres.sizes.max()}. Choose a larger radius_mm or a smaller min_voxels."
        )
    return spheres


# ---------------------------------------------------------------------------------------- a GPU


def _choose_place(device: str, measure: Measure, rdm: RdmSettings, patterns: Patterns) -> str:
    """Return the device, which is the CPU for "auto" if a GPU can't do what is asked."""
    whitens = rdm.shrinkage is not None or patterns.run_noise is not None
    lacks = "Whitening" if whitens else ""
    if measure.second == "other_half":
        return "cpu"  # wherever the comparison that it is the reliability of runs
    if not isinstance(measure, ComparisonMeasure):
        lacks = "What is no comparison with references"
    elif device != "cpu" and not lacks:
        if (place := choose_device(device)) == "cpu":
            return place
        if place == "mps":
            raise UserError("A searchlight needs double precision, which 'mps' has not; set device to cpu.")
        can = {rdm.distance: rdm.entry.on_gpu, measure.table["statistic"].iloc[0]: measure.comparison.on_gpu}
        lacks = listed([name for name, functions in can.items() if not functions])
        if not lacks:
            return place
    if device not in ("auto", "cpu"):
        raise UserError(f"{lacks} can't be computed on {device!r}; set device to cpu.")
    return "cpu"


def _on_device(on_device: Any, builder: MapBuilder, spheres: Spheres, run: RunSettings) -> None:
    """Walk over the centres with all steps on a GPU."""
    for centres in spheres.chunks(run.chunk_size or on_device.chunk_size()):
        builder.add(centres, *on_device(centres))
        if run.progress is not None:
            run.progress(len(centres))
