"""How well could any model do? Noise ceilings over subjects, in the sphere around every voxel."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd

from rsa.comparisons import COMPARISONS, Comparison
from rsa.core import QUALITY, Array, Patterns, RunNoise, ScoreMap, Volume, difference_of_conditions, shared_volume
from rsa.errors import UserError
from rsa.inference.group import CEILINGS
from rsa.neighbourhood import sphere_centres, sphere_offsets, spheres
from rsa.noise import NoNoise
from rsa.rdm import ceiling_bounds
from rsa.registry import pick
from rsa.searchlight import (
    MapBuilder,
    RdmSettings,
    RdmSource,
    RunSettings,
    fields_as_keywords,
    over_time,
    scan_sources,
)
from rsa.spheres import cut, prepare_spheres, prepared_bytes, whole_runs

__all__ = ["Slab", "SomePatterns", "noise_ceilings", "slab_bytes", "slabs_of"]

SPHERES_OF_ALL = 64
"""Spheres of all subjects at a time; bounds the memory."""

MEMBER_BYTES = 10
"""Bytes for each member of a sphere while the spheres of a subject are made and put in order; 4 of them stay."""


class SomePatterns(Protocol):
    """Patterns of one subject, in memory (`rsa.core.Patterns`) or in a file (`rsa.files.stored.StoredPatterns`)."""

    @property
    def conditions(self) -> list[str]:
        """The conditions, each once."""
        ...

    @property
    def delays_s(self) -> list[float]:
        """The delays after onset, in s; empty if there is one response."""
        ...

    @property
    def volume(self) -> Volume | None:
        """The voxels, if the columns are such."""
        ...

    @property
    def usable(self) -> Array:
        """Which voxels take part."""
        ...

    @property
    def run_noise(self) -> RunNoise | None:
        """How patterns are normalised by noise that is seen between their runs."""
        ...

    @property
    def n_rows(self) -> int:
        """Number of patterns."""
        ...

    @property
    def n_samples(self) -> int:
        """Number of samples of the noise of each voxel."""
        ...

    def of_columns(self, columns: slice) -> Patterns:
        """Return the patterns of voxels that follow each other, one of which is usable."""
        ...


class Slab(NamedTuple):
    """Spheres that follow each other, and all that is needed of each subject for them."""

    centres: range
    """Which of the centres that the subjects share."""
    columns: list[slice]
    """For each subject, the voxels of its mask from the first member to the last."""


@fields_as_keywords(rdm=RdmSettings, run=RunSettings)
def noise_ceilings(
    subjects: Sequence[SomePatterns],
    radius_mm: float,
    *,
    stride: int = 1,
    comparison: str = "spearman",
    rdm: RdmSettings = RdmSettings(),
    run: RunSettings = RunSettings(),
) -> ScoreMap:
    """Map the bounds on the mean score that any model can have with these subjects [1]_.

    Upper: the mean score of each subject's RDM of a sphere with the average RDM of all subjects; lower: with the
    average of the others; `rsa.rdm.noise_ceiling` at every voxel.

    Parameters
    ----------
    subjects : sequence of Patterns
        Of 2 subjects or more on one grid, over the same conditions in any order, and at the same delays if at several.
        Those that stay in their files (`rsa.files.stored.StoredPatterns`) are read slab by slab, as many planes of the
        grid at a time as `run.room_bytes` has room for.
    radius_mm, stride
        Of the spheres, as in `rsa.neighbourhood.spheres`; each subject's spheres hold the voxels of its own mask.
    comparison, rdm, run
        As in `rsa.searchlight.compare`; on the CPU.

    Returns
    -------
    ScoreMap
        Rows "ceilinglower" and "ceilingupper" (column `model`; at each delay), over the voxels that are in every mask;
        NaN where a subject has no RDM. `n_members` counts the subjects that have one.

    Raises
    ------
    UserError
        If there are fewer than 2 subjects, or grids, conditions or delays differ.

    References
    ----------
    .. [1] Nili H, Wingfield C, Walther A, Su L, Marslen-Wilson W, Kriegeskorte N (2014). A toolbox for
       representational similarity analysis. PLoS Comput Biol 10:e1003553.
    """
    if len(subjects) < 2:
        raise UserError(f"A noise ceiling needs 2 subjects or more, not {len(subjects)}.")
    conditions, delays_s = subjects[0].conditions, subjects[0].delays_s
    for other in subjects[1:]:
        if difference := difference_of_conditions(conditions, other.conditions, "the first subject", "another subject"):
            raise UserError(difference)
        if other.delays_s != delays_s:
            raise UserError(f"A noise ceiling needs the same delays of all subjects: {delays_s}, and {other.delays_s}.")
    volume = shared_volume([_volume_of(patterns) for patterns in subjects])
    centres, compared = sphere_centres(volume, stride), pick(COMPARISONS, comparison, "comparison")
    builders = [MapBuilder(centres, volume.n_voxels, 3, volume.name_of) for _ in delays_s or [0.0]]
    n_pairs = len(conditions) * (len(conditions) - 1) // 2
    step = whole_runs(run.chunk_size or SPHERES_OF_ALL, n_pairs)
    per_thread = 8 * n_pairs * step * (2 * len(subjects) + 2)
    run = run.fitting(2 * per_thread)  # half of the room is for slabs
    room = None if run.room_bytes is None else max(1, run.room_bytes - run.n_threads * per_thread)
    slabs = slabs_of(subjects, volume, centres, radius_mm, step, rdm, room)
    lacking: dict[int, list[NoNoise]] = {}
    for slab in slabs:
        seeds = centres[slab.centres.start : slab.centres.stop]
        sources = _SourcesOfSlab(volume, seeds, radius_mm, rdm, conditions)
        of_subjects = [sources.of(one, columns) for one, columns in zip(subjects, slab.columns, strict=True)]
        for subject, error in sources.lacking(of_subjects):
            lacking.setdefault(subject, []).append(error)
            if len(lacking[subject]) == len(slabs):
                raise error
        for number, builder in enumerate(builders):
            at = [_NoRdms(len(seeds), n_pairs) if isinstance(one, NoNoise) else one[number] for one in of_subjects]
            scan_sources(at, _bounds_by(compared), _Part(builder, slab.centres.start), run, SPHERES_OF_ALL)
        del of_subjects, at  # before the next slab is read
    maps = [_as_map(builder, volume) for builder in builders]
    return over_time(maps, delays_s) if delays_s else maps[0]


def _as_map(builder: MapBuilder, volume: Volume) -> ScoreMap:
    table = pd.DataFrame({"model": CEILINGS, "layer": "", "statistic": "mean", "role": QUALITY})
    n_defined = np.nan_to_num(builder.scores[2]).astype(np.int32)
    return ScoreMap(builder.scores[:2], table, volume, n_members=n_defined)


def _volume_of(patterns: SomePatterns) -> Volume:
    if patterns.volume is None:
        raise UserError("Noise ceilings are mapped over the voxels of a volume; these patterns have none.")
    return patterns.volume


# ------------------------------------------------------------------------------------------------- slabs


def slabs_of(
    subjects: Sequence[SomePatterns],
    volume: Volume,
    centres: Array,
    radius_mm: float,
    step: int,
    rdm: RdmSettings,
    room_bytes: int | None = None,
) -> list[Slab]:
    """Cut the spheres that subjects share into as few slabs as there is room for; no result depends on it.

    Parameters
    ----------
    subjects : sequence of Patterns
        Of all subjects.
    volume : Volume
        The voxels that they share.
    centres : array of int, shape (n_centres,)
        Positions of the centres among these.
    radius_mm : float
        Of the spheres.
    step : int
        Slabs have a multiple of so many spheres.
    rdm : RdmSettings
        How RDMs are made.
    room_bytes : int, optional
        For the data of all subjects; without it, there is one slab. Where nothing fits, slabs are as small as can be.
    """
    n_steps, whole = -(-len(centres) // step), any(map(_is_whole, subjects))
    for n_slabs in _numbers(1 if whole or room_bytes is None else n_steps):
        size = -(-n_steps // n_slabs) * step
        slabs = [_slab(subjects, volume, centres, part, radius_mm) for part in cut(range(len(centres)), size)]
        if (
            room_bytes is None
            or max(slab_bytes(subjects, slab, volume, radius_mm, rdm) for slab in slabs) <= room_bytes
        ):
            break
    return slabs


def _numbers(most: int) -> Iterator[int]:
    """Yield numbers of slabs from 1 to the most that there can be, each about a quarter more than the last."""
    number = 1
    while number < most:
        yield number
        number = max(number + 1, number * 5 // 4)
    yield most


def _is_whole(patterns: SomePatterns) -> bool:
    """Say whether the noise of all voxels is needed for that of each."""
    noise = patterns.run_noise
    return noise is not None and noise.normalisation == "multivariate" and noise.scope == "brain"


def _slab(subjects: Sequence[SomePatterns], volume: Volume, centres: Array, part: range, radius_mm: float) -> Slab:
    """Find the planes of the grid in which members of some spheres are, and the voxels of each subject in them."""
    reach = int(np.abs(sphere_offsets(volume.affine, radius_mm, volume.shape)[:, 0]).max())
    ends = volume.indices[centres[[part.start, part.stop - 1]], 0]  # the first axis is the slowest
    planes = slice(max(0, int(ends[0]) - reach), int(ends[1]) + reach + 1)
    columns = []
    for mask in (_volume_of(one).mask for one in subjects):
        before, inside = np.count_nonzero(mask[: planes.start]), np.count_nonzero(mask[planes])
        columns.append(slice(before, before + inside))
    return Slab(part, columns)


def slab_bytes(subjects: Sequence[SomePatterns], slab: Slab, volume: Volume, radius_mm: float, rdm: RdmSettings) -> int:
    """Return about how many bytes the spheres of a slab take, of all subjects, while the last one is prepared."""
    n_members = len(slab.centres) * len(sphere_offsets(volume.affine, radius_mm, volume.shape))
    kept, most = 0, 0
    for one, columns in zip(subjects, slab.columns, strict=True):
        n_columns, n_delays = columns.stop - columns.start, max(1, len(one.delays_s))
        sizes, by_runs = (one.n_rows, len(one.conditions), one.n_samples), one.run_noise is not None
        stays, more = prepared_bytes(*sizes, n_delays=n_delays, between=rdm.between_runs, by_runs=by_runs)
        kept += n_columns * stays
        most = max(most, n_columns * more)
    return kept + most + n_members * (4 * len(subjects) + MEMBER_BYTES)


class _SourcesOfSlab:
    """Reads the patterns of a slab, subject by subject, and prepares the spheres around the same places of each."""

    def __init__(
        self, volume: Volume, seeds: Array, radius_mm: float, rdm: RdmSettings, conditions: Sequence[str]
    ) -> None:
        self.flat = np.flatnonzero(volume.mask)[seeds]  # places of the centres on the grid
        self.radius_mm, self.rdm, self.conditions = radius_mm, rdm, conditions

    def of(self, patterns: SomePatterns, columns: slice) -> list[RdmSource] | NoNoise:
        """Return the RDMs of a subject, at each delay; an error that is not raised where no voxel takes part."""
        if not patterns.usable[columns].any():
            return NoNoise()
        read = patterns.of_columns(columns).in_order(self.conditions)
        own = _volume_of(read)
        place = np.cumsum(own.mask.ravel()) - 1  # of each voxel of the grid, its position in the slab
        around = spheres(own, self.radius_mm, centres=place[self.flat].astype(np.int32))
        at = [read.at_delay(delay_s) for delay_s in read.delays_s] or [read]
        try:
            return [prepare_spheres(one, around, self.rdm) for one in at]
        except NoNoise as error:
            return error

    @staticmethod
    def lacking(of_subjects: Sequence[list[RdmSource] | NoNoise]) -> list[tuple[int, NoNoise]]:
        """Return which subjects have no RDM in the slab, and why."""
        return [(number, one) for number, one in enumerate(of_subjects) if isinstance(one, NoNoise)]


class _Part:
    """The part of a map in which the spheres of a slab are, counted from the first of them."""

    def __init__(self, builder: MapBuilder, start: int) -> None:
        self.builder, self.start = builder, start

    def _all(self, centres: range) -> range:
        return range(centres.start + self.start, centres.stop + self.start)

    def add(self, centres: range, scores: Array, reason: Array) -> None:
        self.builder.add(self._all(centres), scores, reason)

    def columns_of(self, centres: range) -> slice | Array:
        return self.builder.columns_of(self._all(centres))

    def name_of(self, centre: int) -> str:
        return self.builder.name_of(centre + self.start)


class _NoRdms:
    """A subject without a usable voxel in a slab: it has no RDM there."""

    def __init__(self, n_spheres: int, n_pairs: int) -> None:
        self.n_spheres, self.n_pairs = n_spheres, n_pairs

    def chunks(self, size: int) -> list[range]:
        return cut(range(self.n_spheres), whole_runs(size, self.n_pairs))

    def rdms(self, centres: range) -> Array:
        return np.full((len(centres), self.n_pairs), np.nan)


def _bounds_by(comparison: Comparison) -> Callable[..., Array]:
    """Return a measure of the RDMs of all subjects: both bounds, and how many subjects have an RDM."""

    def score(*subjects: Array) -> Array:
        rdms = np.stack(subjects, axis=1)  # (n_centres, n_subjects, n_pairs)
        n_defined = np.isfinite(rdms).all(axis=2).sum(axis=1)
        bounds = [ceiling_bounds(of_subjects, comparison) for of_subjects in rdms]
        return np.vstack([np.transpose(bounds), n_defined])

    return score
