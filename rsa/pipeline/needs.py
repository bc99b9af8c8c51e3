"""What a job needs before it runs: memory, time and disk, from the sizes of the study.

Each stage has an estimate in `NEEDS`. What it holds is what its code holds at its peak; `benchmarks/needs.py` measures
that, and docs/memory.md has the results. Rules ask for what `Need.memory_mb` says, and give it back to the stage
(`--memory-mb`), whose loops take as much at a time as fits.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from rsa.distances import BLOCK
from rsa.files.io import IN_MEMORY
from rsa.files.memory import MB
from rsa.inference.bootstrap import COPIES, ROOM_BYTES
from rsa.inference.channels import AT_ONCE, MOST_KEPT, MOST_SUMMED, MOST_TESTED
from rsa.inference.group import COMBINED_SCORES
from rsa.inference.permutation import BLOCK_BYTES, MOST_CENTRES, PERMUTED, RDM_BYTES
from rsa.inputs.references import PictureReference
from rsa.models.layer_rdms import BLOCK_SIZE, MOST_PASSES
from rsa.pipeline.config import Study
from rsa.pipeline.extent import Extent, kept_extent
from rsa.pipeline.sizes import is_decoded
from rsa.searchlight import bytes_of_thread
from rsa.spheres import prepared_bytes, whole_runs
from rsa.units.settings import UnitSettings

__all__ = ["BESIDE_MB", "NEEDS", "Need", "Needs", "Runs", "of_stages"]

SINGLE, DOUBLE = 4, 8
"""Bytes of a number in single and in double precision."""

PLAIN_MB, EXPLORER_MB, KERNELS_MB, DRAWING_MB, MEEG_MB, TORCH_MB = 120, 145, 245, 245, 260, 600
"""What a process has before it has data: with numpy, pandas and nibabel; with Pillow and the pages as well; with loops
that numba has made; with matplotlib and nilearn; with MNE; with torch."""

BATCH_SIZE = 8
"""Pictures that pass through a network at a time, on a CPU."""

MARGIN = 1.2
"""Jobs ask for so much more than the estimate: estimates are right to a quarter."""

MORE_EACH_ATTEMPT = 1.6
"""A job that is tried again asks for so many times more."""

MOST_CHANNELS = 50_000
"""Channels of all layers of a network; larger ones are rare."""

MOST_AT_ONCE_MB = 4000
"""Loops that can hold less at a time ask for no more than this, or for the least that they can do with."""

VOXELS_PER_BLOCK, FITTED_VOXELS = 8_000_000, 16_384
"""Voxels of volumes that are read at once, and voxels whose model is fitted at once."""

BEFORE_KERNELS = (KERNELS_MB - PLAIN_MB) * MB
"""What is free for data until the first of the compiled loops is needed."""

CORTEX = 130 * MB
"""What it takes to bring maps to the surface of the cortex, and to draw them on it."""

FEWEST_MINUTES = 5
"""Shorter jobs ask for so many minutes."""

BESIDE_MB = 400
"""What the two processes of Snakemake hold in a job of a queue beside that of the stage: 160 MB each, and room."""

ENHANCED_S = {"none": 0.0, "cluster_size": 1e-7, "cluster_mass": 1e-7}
"""Seconds that it takes to enhance a voxel of a permuted map; the slowest way, TFCE, takes `SLOWEST_S`."""

SLOWEST_S = 3e-7

N_COVERED = 20
"""Units that are looked at where nothing is said, each in pictures of its own."""

COVERED_S, USUAL_UNITS = 15.0, 2_200_000
"""Seconds in which a picture passes with 1,500 places of it covered, one after the other, through a network that has so
many units in all of its layers; larger networks take as many times longer."""

SLOWNESS = 4
"""Jobs ask for so many times what they took on a processor of 2020: others are slower, and disks are shared."""


@dataclass(frozen=True)
class Need:
    """What a stage needs.

    Parameters
    ----------
    base_mb : float
        What its process has before it has data.
    held : float
        Bytes that it holds at its peak, if it has what it asks for.
    least : float, optional
        Bytes that it holds at the least, where it can hold less at a time.
    seconds : float
        What it takes on one core at the usual speed.
    disk : float
        Bytes that it writes.
    """

    base_mb: float = PLAIN_MB
    held: float = 0.0
    least: float | None = None
    seconds: float = 5.0
    disk: float = 0.0

    @property
    def peak_mb(self) -> float:
        """The estimated peak, in MB."""
        return self.base_mb + self.held / MB

    @property
    def least_mb(self) -> float:
        """The estimated peak of the smallest chunk, in MB."""
        return self.base_mb + (self.held if self.least is None else self.least) / MB

    def memory_mb(self, attempt: int = 1) -> int:
        """Return what a job asks for, in MB: more at each attempt."""
        most = max(self.least_mb, min(self.peak_mb, MOST_AT_ONCE_MB))
        return math.ceil(round(MARGIN * most * MORE_EACH_ATTEMPT ** (attempt - 1), 3))

    def minutes(self, attempt: int = 1, n_threads: int = 1) -> int:
        """Return the time that a job asks for, in minutes: more at each attempt."""
        asked = SLOWNESS * self.seconds / 60 / max(1, n_threads)
        return attempt * max(FEWEST_MINUTES, math.ceil(asked / 5) * 5)

    def threads(self, most: int) -> int:
        """Return how many threads a job is worth: one for each minute on one core."""
        return max(1, min(most, math.ceil(self.seconds / 60)))


@dataclass(frozen=True)
class Runs:
    """How a stage runs: what of its settings and of its rule its need depends on.

    Parameters
    ----------
    extent : Extent
        The sizes of the study.
    study : Study
        Its settings.
    n_threads : int
        Threads of the job.
    n_subjects : int
        Subjects of the job, one after the other.
    """

    extent: Extent
    study: Study
    n_threads: int = 1
    n_subjects: int = 1


def of_stages(stages: Sequence[str], runs: Runs) -> Need:
    """Return what a job needs that does some stages one after the other in one process."""
    each = [NEEDS[stage](runs) for stage in stages]
    base = max(one.base_mb for one in each)
    held = max(one.held for one in each)
    least = max(one.held if one.least is None else one.least for one in each)
    seconds = runs.n_subjects * sum(one.seconds for one in each)
    return Need(base, held, least, seconds, runs.n_subjects * sum(one.disk for one in each))


class Needs:
    """What the jobs of a study need; its sizes are found when they are first asked for.

    Parameters
    ----------
    study : Study
        Without problems.
    """

    def __init__(self, study: Study) -> None:
        self.study = study

    @cached_property
    def extent(self) -> Extent:
        """The sizes of the study."""
        return kept_extent(self.study)

    def of(self, stages: Sequence[str], n_threads: int = 1, n_subjects: int = 1) -> Need:
        """Return what a job needs that does some stages, for so many subjects one after the other."""
        return of_stages(stages, Runs(self.extent, self.study, n_threads, n_subjects))


def saved(n_bytes: float) -> float:
    """Return what it takes to write a file of so many bytes: made in memory and copied, if it is small."""
    return 2 * n_bytes if n_bytes <= IN_MEMORY else 0.0


# ------------------------------------------------------------------------------------ parts of searchlights


def _patterns(size: Extent) -> float:
    """Bytes of the patterns of a subject, with their noise."""
    return SINGLE * size.n_voxels * (size.n_rows + (0 if size.by_runs else size.n_samples))


def _spheres(size: Extent) -> tuple[float, float]:
    """Bytes of the spheres of a subject: those that stay, and those that it takes to make them."""
    members = SINGLE * size.n_members * size.n_centres
    return members, 0.5 * members + 110 * MB * min(1, size.n_centres * size.n_members / 2**23)


def _prepared(size: Extent) -> tuple[float, float]:
    """Bytes of the responses of a subject as spheres take them: those that stay, and those to make them."""
    stays, more = prepared_bytes(
        size.n_rows,
        size.n_conditions,
        size.n_samples,
        n_delays=1,
        between=size.between,
        by_runs=size.by_runs,
    )
    patterns = SINGLE * size.n_rows
    return size.n_voxels * stays, size.n_voxels * max(0, more - 2 * patterns)


def _references(size: Extent, n_rows: int) -> float:
    """Bytes of reference RDMs: read, put together, and prepared for the comparison."""
    return 4 * DOUBLE * n_rows * size.n_pairs


def _seconds_of_spheres(size: Extent) -> float:
    """Seconds to make the RDMs of all spheres of a subject on one core."""
    products = 12e-9 * size.n_pairs * (1 + size.n_runs / 3 if size.between else 1) * max(1, size.n_members / 123)
    white = 2e-10 * size.n_members**2 * (size.n_samples or size.n_rows) if size.whitens else 0.0
    return size.n_centres * size.n_delays * (products + white)


def _walk(
    runs: Runs, n_references: int, n_maps: int, n_subjects: int = 1, n_sources: int = 1
) -> tuple[float, float, float]:
    """Bytes of a walk over spheres of subjects that are in memory, the same in one thread, and its seconds."""
    size = runs.extent
    (members, making), (responses, preparing) = _spheres(size), _prepared(size)
    maps = SINGLE * n_maps * size.n_voxels
    per_thread = bytes_of_thread(size.n_pairs, n_references, size.n_centres, n_sources)
    kept = n_subjects * (_patterns(size) + members + n_sources * responses) + _references(size, n_references) + maps
    meanwhile, least = (max(making, preparing, n * per_thread, saved(maps)) for n in (runs.n_threads, 1))
    seconds = n_subjects * n_sources * _seconds_of_spheres(size)
    seconds += 2e-10 * size.n_centres * size.n_delays * size.n_pairs * n_references
    return kept + meanwhile, kept + least, seconds


# ------------------------------------------------------------------------------------------- fMRI


def _brain(runs: Runs) -> Need:
    """Read images run by run; a model of a run holds the run, its fit and what is left."""
    size, brain = runs.extent, runs.study.brain
    patterns, written = _patterns(size), _patterns(size)
    if brain is None or not runs.study.has_images:
        rdms = DOUBLE * size.n_regions * size.n_pairs
        return Need(held=3 * rdms + saved(rdms), seconds=5, disk=rdms)
    if size.n_volumes:  # a run, blocks of volumes as they are read, and blocks of voxels whose model is fitted
        run = SINGLE * size.n_voxels * size.n_volumes
        blocks = 2 * DOUBLE * VOXELS_PER_BLOCK + 4 * DOUBLE * min(FITTED_VOXELS, size.n_voxels) * size.n_volumes
        held = patterns + max(saved(written), 1.3 * run + blocks)
    else:
        read = size.n_grid * max(SINGLE, size.n_stored)
        held = patterns + max(saved(written), patterns / max(1, size.n_runs) + read)
    seconds = 5 + size.n_runs * (1e-6 * size.n_voxels * size.n_volumes + 2e-8 * size.n_grid * size.n_conditions)
    return Need(PLAIN_MB if not size.n_volumes else DRAWING_MB, held, None, seconds, written)


def _searchlight(runs: Runs) -> Need:
    size = runs.extent
    light = runs.study.searchlight
    halves = 1 if light is None or not light.reliability else 2
    held, least, seconds = _walk(runs, size.n_references, size.n_maps)
    others = size.n_subjects - 1 if any(one.across_subjects for one in runs.study.analyses) else 0
    if others:
        (members, _), (responses, _) = _spheres(size), _prepared(size)
        held += others * (_patterns(size) + members + responses)
        least += others * (_patterns(size) + members + responses)
    return Need(
        KERNELS_MB, held, min(held, least), 5 + (1 + others) * halves * seconds, SINGLE * size.n_maps * size.n_voxels
    )


def _noise_ceiling(runs: Runs) -> Need:
    """Read subjects slab by slab: at the least the planes that one row of spheres reaches."""
    size = runs.extent
    stays, more = prepared_bytes(
        size.n_rows,
        size.n_conditions,
        size.n_samples,
        n_delays=size.n_delays,
        between=size.between,
        by_runs=size.by_runs,
    )
    n_subjects = max(2, size.n_subjects)
    n_spheres = whole_runs(64, size.n_pairs)
    threads = runs.n_threads * DOUBLE * size.n_pairs * n_spheres * (2 * n_subjects + 2)
    maps = 2 * SINGLE * 3 * size.n_voxels * size.n_delays + n_subjects * size.n_grid
    planes = min(1.0, (2 * size.reach + 2) / max(1, 0.75 * size.n_planes))
    kept = n_subjects * (size.n_voxels * stays + SINGLE * size.n_members * size.n_centres)
    making = size.n_voxels * more + 10 * size.n_members * size.n_centres
    whole = kept + max(threads, making - BEFORE_KERNELS)
    members = size.n_members * n_spheres * (SINGLE * n_subjects + 10)
    least = (n_subjects * stays + more) * size.n_voxels * planes + members + threads
    if size.by_runs and runs.study.noise is not None and runs.study.noise.scope == "brain":
        least = whole
    seconds = 5 + n_subjects * 2 * _seconds_of_spheres(size)
    return Need(KERNELS_MB, whole + maps, min(least, whole) + maps, seconds, maps)


def _resample(runs: Runs) -> Need:
    size = runs.extent
    source, made = SINGLE * size.n_maps * size.n_voxels, SINGLE * size.n_maps * size.n_template
    corners = size.n_template * 3 * (8 * 4 + 8 * 8 + 3 * 8)
    return Need(
        PLAIN_MB, source + 2 * made + corners + saved(made), None, 5 + 4e-7 * size.n_maps * size.n_template, made
    )


def _region_rdms(runs: Runs) -> Need:
    size = runs.extent
    stays, more = _prepared(size)
    rdms = DOUBLE * size.n_regions * size.n_pairs
    held = _patterns(size) + stays + max(more - BEFORE_KERNELS, 3 * rdms + saved(rdms))
    return Need(KERNELS_MB, held, None, 10, rdms)


def _region_fits(runs: Runs) -> Need:
    """Hold the RDMs of the regions of all subjects together: this grows with their number."""
    size = runs.extent
    n_rdms = max(1, size.n_subjects) * size.n_regions * size.n_delays
    rdms = DOUBLE * n_rdms * size.n_pairs
    held, table = 4.0 * rdms, 400 * n_rdms * size.n_references
    seconds = 10 + 3e-9 * n_rdms * size.n_references * size.n_pairs
    inference = runs.study.inference
    if inference is not None and not inference.over_subjects:
        seconds += 1e-10 * inference.permutations * n_rdms * size.n_references * size.n_pairs
    if inference is not None and inference.bootstrap is not None and size.n_subjects > 1:
        products = 1e-10 * n_rdms * size.n_references + 1e-8 * (2 * n_rdms + size.n_references)
        seconds += inference.bootstrap * size.n_pairs * products
        held += rdms + min(COPIES * rdms, ROOM_BYTES)
    return Need(KERNELS_MB, held + _references(size, size.n_references) + 3 * table, None, seconds, table)


def _ranking(runs: Runs) -> Need:
    """Hold the RDMs of the regions of all subjects and all references, in the order of names, and half of them."""
    size, ranking = runs.extent, runs.study.ranking
    n_rdms, n_halves = max(1, size.n_subjects) * size.n_regions, 2 * (20 if ranking is None else ranking.n_splits)
    rdms = DOUBLE * (n_rdms + size.n_references) * size.n_pairs
    table = DOUBLE * (n_halves + 1) * n_rdms * size.n_references
    seconds = 10 + 5e-8 * n_halves * (n_rdms + size.n_regions * size.n_references) * size.n_pairs / 4
    return Need(KERNELS_MB, 5 * rdms + table, None, seconds, 1 * MB)


def _networks(runs: Runs) -> Need:
    """Hold the RDMs of all references, the table of fits, and the maps of the group."""
    size = runs.extent
    table = 400 * max(1, size.n_subjects) * size.n_regions * size.n_references
    maps = SINGLE * size.n_template * _tested_rows(runs)
    held = _references(size, size.n_references) + 3 * table + maps
    return Need(KERNELS_MB, held, None, 10 + 1e-7 * size.n_references * size.n_pairs, maps / 2)


def _maps(runs: Runs) -> Need:
    """Hold all maps of a subject, those of its tests, derived ones, and a file at a time."""
    size = runs.extent
    n_maps = size.n_maps * (7 if runs.study.inference is not None and runs.study.inference.each_subject else 1)
    n_voxels = max(size.n_voxels, size.n_template)
    held = 5 * SINGLE * n_voxels * n_maps  # with what derived maps are made of, in double precision
    times = max(1, size.n_times if runs.study.fusion else 1, size.n_delays)
    image = 2 * SINGLE * size.n_grid * times
    image += CORTEX * size.on_cortex
    return Need(PLAIN_MB, held + image, None, 5 + 2e-6 * n_maps * size.n_grid, SINGLE * n_voxels * n_maps)


def _tested_rows(runs: Runs) -> int:
    """Rows of the file of the group: scores by each test, and what inference adds."""
    n_rows = runs.extent.n_maps * max(1, len(runs.study.group))
    return n_rows + (7 * runs.extent.n_maps if runs.study.inference is not None else 0)


def _group(runs: Runs) -> Need:
    """Read maps of all subjects some at a time; what is held are the maps of the group."""
    size = runs.extent
    maps = SINGLE * size.n_template * _tested_rows(runs)
    n_scores = min(COMBINED_SCORES, size.n_template * size.n_maps * max(2, size.n_subjects))
    at_once = n_scores * (SINGLE + 4.5 * DOUBLE)  # scores; in double precision, Fisher's z and its deviations
    masks = size.n_subjects * (size.n_grid + size.n_template)
    times = max(1, size.n_times if runs.study.fusion else 1, size.n_delays)
    held = 1.1 * maps + max(at_once, saved(maps), 2 * SINGLE * size.n_grid * times) + masks + CORTEX * size.on_cortex
    return Need(PLAIN_MB, held, None, 5 + 3e-6 * size.n_grid * _tested_rows(runs), 2 * maps)


# --------------------------------------------------------------------------------------------- inference


def _permute(runs: Runs, n_subjects: int) -> Need:
    """Hold patterns of all subjects, permuted scores of a step in each thread, and whole maps of a block of orders."""
    size, inference = runs.extent, runs.study.inference
    assert inference is not None
    n_rows = max(1, size.n_references)
    held, least, seconds = _walk(runs, n_rows, 0, n_subjects)
    n_centres = min(MOST_CENTRES, max(64, RDM_BYTES // (DOUBLE * size.n_pairs * n_subjects)), size.n_centres)
    step = n_centres * (DOUBLE * size.n_pairs * (n_subjects + 2) + 2 * SINGLE * PERMUTED)
    one = SINGLE * size.n_voxels * n_rows * size.n_delays
    tally, found = 9 * one, 14 * one  # statistic, sums, squares, mean and counts; the maps of the result, twice
    block, smallest = 0.0, 0.0
    if inference.enhance != "none":
        block = min(one * inference.permutations, max(BLOCK_BYTES, one))
        smallest = min(block, one * max(1, PERMUTED // n_rows))
    written = saved(found / 2)
    held += tally + max(runs.n_threads * step + block, found + written)
    least += tally + max(step + smallest, found + written)
    n_orders = inference.permutations
    seconds += 2e-11 * size.n_centres * size.n_delays * size.n_pairs * n_rows * n_orders * n_subjects
    seconds += ENHANCED_S.get(inference.enhance, SLOWEST_S) * n_orders * n_rows * size.n_voxels * size.n_delays
    return Need(KERNELS_MB, held, min(held, least), 5 + seconds, found / 2)


def _permute_group(runs: Runs) -> Need:
    return _permute(runs, max(1, runs.extent.n_subjects))


def _permute_subject(runs: Runs) -> Need:
    return _permute(runs, 1)


def _flip_subjects(runs: Runs) -> Need:
    """Hold scores of all subjects together, in single and double precision: this grows with their number."""
    size, inference = runs.extent, runs.study.inference
    assert inference is not None
    n_rows = max(1, size.n_maps + len(inference.contrasts))
    one = size.n_template * n_rows
    scores = max(1, size.n_subjects) * one * 2.5 * DOUBLE
    found = 7 * DOUBLE * one
    whole = 0.0 if inference.enhance == "none" else min(SINGLE * one * inference.permutations, 2**28)
    seconds = inference.permutations * one * (1e-9 * size.n_subjects + ENHANCED_S.get(inference.enhance, SLOWEST_S))
    return Need(KERNELS_MB, scores + whole + found + saved(found / 2), None, 5 + seconds, found / 2)


# --------------------------------------------------------------------------------------------- networks


def _extract(runs: Runs) -> Need:
    """Hold the network, and two batches of all layers."""
    size = runs.extent
    n_batch = 8
    held = SINGLE * size.n_all_units * n_batch * 4 + 350 * MB + 1.3 * size.n_weights
    seconds = 15 + 1e-8 * size.n_images * size.n_all_units + 0.1 * size.n_images
    return Need(TORCH_MB, held, None, seconds, SINGLE * size.n_all_units * size.n_conditions)


def _layer_rdms(runs: Runs) -> Need:
    """Hold the Gram matrix of a layer, its RDM, and the RDMs of the layers before it; a block of features."""
    size = runs.extent
    square, rdm = DOUBLE * size.n_conditions**2, DOUBLE * size.n_pairs
    block = size.n_conditions * (SINGLE * min(BLOCK_SIZE, size.n_units) + DOUBLE * min(BLOCK, size.n_units))
    layers = rdm * size.n_layers
    held = max(layers + saved(layers), layers + max(2 * square + block, 6 * rdm + square))
    seconds = 5 + 2e-11 * size.n_conditions**2 * size.n_all_units
    return Need(KERNELS_MB, held, None, seconds, rdm * size.n_layers)


def _model_rdms(runs: Runs) -> Need:
    """Hold the responses of all layers, of as many as fit at a time, or of none if a file does that; two batches."""
    size = runs.extent
    responses = SINGLE * size.n_conditions * size.n_all_units
    some = SINGLE * size.n_conditions * size.n_all_units / MOST_PASSES
    batch = 2 * SINGLE * BATCH_SIZE * size.n_outputs + 350 * MB + 1.3 * size.n_weights
    rdm = DOUBLE * size.n_pairs
    layers = rdm * size.n_layers if rdm * size.n_layers <= IN_MEMORY else rdm
    beside = batch + max(3 * DOUBLE * size.n_conditions**2, saved(rdm * size.n_layers)) + layers
    fits = beside + some <= MOST_AT_ONCE_MB * MB
    passes = 1 if responses + beside <= MOST_AT_ONCE_MB * MB or not fits else MOST_PASSES / 2
    seconds = 15 + passes * (1e-8 * size.n_images * size.n_all_units + 0.1 * size.n_images)
    seconds += 2e-11 * size.n_conditions**2 * size.n_all_units
    disk = rdm * size.n_layers + (0 if fits else responses)
    return Need(TORCH_MB, beside + responses if fits else beside, beside + (some if fits else 0), seconds, disk)


N_CHANNELS = 500
"""About so many channels a layer has."""


def _units(runs: Runs) -> Need:
    """Hold the network, batches, and the largest of: what lies between layers, a layer beside regions, or a read-out.

    What lies between layers is that of covered pictures, or of made ones, which have gradients. Of layers that are read
    out it holds as many as fit, as `_model_rdms` does, and the inverses that orders share.
    """
    size, asked = runs.extent, runs.study.units or UnitSettings()
    batch = 2 * SINGLE * BATCH_SIZE * size.n_outputs + 450 * MB + 1.3 * size.n_weights
    between = SINGLE * BATCH_SIZE * size.n_all_units
    between = 4 * between if asked.maximised is None else 6 * between + 200 * MB
    compared, seconds = _channels(runs)
    responses = SINGLE * size.n_conditions * size.n_all_units * (asked.codes is not None)
    products = 12 * DOUBLE * size.n_conditions**2
    held = batch + max(between, compared, products + responses)
    least = batch + max(between, compared, products + responses / MOST_PASSES)
    return Need(TORCH_MB, held, least, 300 + _looking(runs) + seconds, 100 * MB)


def _looking(runs: Runs) -> float:
    """Return the seconds that covered and made pictures, maps and the read-out take."""
    size, asked = runs.extent, runs.study.units or UnitSettings()
    larger = max(1.0, size.n_all_units / USUAL_UNITS)
    seconds = 2.0 * size.n_images + larger * seconds_of_covering(asked, size.n_images)
    seconds += 0 if asked.maximised is None else larger * 4 * asked.maximised.n_steps
    if asked.codes is not None:
        seconds += 6e-11 * size.n_layers * asked.codes.permutations * size.n_conditions**3
        seconds += 2e-8 * size.n_layers * size.n_conditions**3
    return seconds


def _channels(runs: Runs) -> tuple[float, float]:
    """Return the bytes of a layer and of RDMs of its channels, and the seconds to compare those of all layers."""
    size, asked = runs.extent, None if runs.study.units is None else runs.study.units.channels
    if asked is None or not size.n_regions:
        return 0.0, 0.0
    in_halves, n_rdms = size.n_pairs / 4, size.n_regions * size.n_subjects
    kept = 2 * SINGLE * min(MOST_KEPT, N_CHANNELS * size.n_pairs) + 5 * DOUBLE * max(AT_ONCE, size.n_pairs)
    responses = 3 * SINGLE * size.n_conditions * size.n_units
    products = DOUBLE * (min(MOST_SUMMED, N_CHANNELS * size.n_pairs) + 3 * N_CHANNELS * in_halves)
    regions = DOUBLE * n_rdms * (3 * size.n_pairs + 2 * asked.n_splits * in_halves)
    of_channels = 5e-7 * N_CHANNELS * size.n_pairs
    of_regions = size.n_regions * (1e-8 * asked.permutations * size.n_pairs)
    of_regions += size.n_regions * 2 * asked.n_splits * in_halves * 2.5e-8 * min(MOST_TESTED, asked.permutations)
    return max(kept, products) + responses + regions, max(1, size.n_layers) * (of_channels + of_regions)


def seconds_of_covering(units: UnitSettings, n_images: int) -> float:
    """Return how long pictures pass with parts of them covered: a pass at each place of the patch."""
    n_pictures = 0
    if units.fields is not None:
        n_pictures += min(n_images, N_COVERED * units.fields.n_pictures)
    n_pictures += sum(len(one.pictures) or n_images for one in units.heat_maps)
    return COVERED_S * n_pictures


def _unit_changes(runs: Runs) -> Need:
    """Hold the highest responses of all units of the networks of a comparison, and ranks of those of a layer."""
    size, n_networks = runs.extent, max(2, len(runs.study.watched))
    n_channels = min(size.n_all_units, MOST_CHANNELS)
    peaks = SINGLE * size.n_images * n_networks * n_channels
    ranks = 4 * DOUBLE * size.n_images * n_channels
    return Need(KERNELS_MB, peaks + ranks, None, 10 + 1e-8 * n_networks * n_channels * size.n_images, 20 * MB)


def _reference(runs: Runs) -> Need:
    rdm, size = DOUBLE * runs.extent.n_pairs, runs.extent
    drawn = [one for one in runs.study.references if isinstance(one, PictureReference)]
    patterns = 2 * DOUBLE * size.n_conditions * max((one.n_features for one in drawn), default=0)
    seconds = size.n_images * max((one.seconds_per_picture for one in drawn), default=0.0)
    base, filters = (KERNELS_MB, 20 * MB) if drawn else (PLAIN_MB, 0)
    return Need(base, 6 * rdm + patterns + filters + saved(rdm), None, 5 + seconds, rdm)


# ------------------------------------------------------------------------------------------------ M/EEG


def _movie(runs: Runs) -> Need:
    """Hold the epochs of a subject, and the RDM of each time."""
    size = runs.extent
    epochs = size.n_trials * size.n_channels * size.n_times
    rdms = DOUBLE * size.n_times * size.n_pairs
    seconds = 5 + 2e-8 * size.n_times * size.n_pairs * size.n_channels * (1 + size.n_trials / max(1, size.n_conditions))
    if is_decoded(runs.study):
        seconds += 2e-4 * size.n_times * size.n_pairs * runs.study.movie.n_repeats
    return Need(MEEG_MB, epochs * (SINGLE + 2 * DOUBLE) + 3 * rdms + saved(rdms), None, seconds, rdms)


def _all_movies(runs: Runs) -> float:
    return DOUBLE * runs.extent.n_times * runs.extent.n_pairs * max(1, runs.extent.n_meeg_subjects)


def _group_movie(runs: Runs) -> Need:
    """Hold RDMs over time of all subjects together: this grows with their number."""
    mean = DOUBLE * runs.extent.n_times * runs.extent.n_pairs
    return Need(KERNELS_MB, 1.5 * _all_movies(runs) + saved(mean), None, 5, mean)


def _layer_time(runs: Runs) -> Need:
    """Hold RDMs over time of all subjects together: this grows with their number."""
    size, inference = runs.extent, runs.study.inference
    scores = DOUBLE * size.n_times * size.n_references * max(1, size.n_meeg_subjects)
    n_orders = 5000 if inference is None else inference.permutations
    seconds = (
        10
        + 3e-9 * size.n_times * size.n_pairs * size.n_references * size.n_meeg_subjects
        + 1e-7 * n_orders * scores / 8
    )
    return Need(
        KERNELS_MB, 1.6 * _all_movies(runs) + _references(size, size.n_references) + 6 * scores, None, seconds, 10 * MB
    )


def _sensor_searchlight(runs: Runs) -> Need:
    size = runs.extent
    epochs = size.n_trials * size.n_channels * size.n_times
    scores = SINGLE * size.n_references * size.n_channels * size.n_times
    held = epochs * (SINGLE + 2 * DOUBLE) + _references(size, size.n_references) + 3 * scores
    held += runs.n_threads * DOUBLE * 64 * size.n_pairs * 4
    seconds = 10 + 3e-8 * size.n_times * size.n_channels * size.n_pairs * (10 + size.n_references / 10)
    return Need(MEEG_MB, held + saved(scores), None, seconds, 2 * scores)


def _sensor_group(runs: Runs) -> Need:
    """Hold scores over sensors of all subjects together: this grows with their number."""
    size = runs.extent
    scores = SINGLE * size.n_references * size.n_channels * size.n_times
    return Need(MEEG_MB, scores * (6 * max(1, size.n_meeg_subjects) + 20), None, 20 + 1e-5 * scores, 8 * scores)


def _sensor_peaks(runs: Runs) -> Need:
    size = runs.extent
    scores = SINGLE * size.n_references * size.n_channels * size.n_times
    return Need(PLAIN_MB, scores * (size.n_meeg_subjects + 12), None, 5, 1 * MB)


# ----------------------------------------------------------------------------------- pictures and pages


def _draw(n_maps: Callable[[Runs], float]) -> Callable[[Runs], Need]:
    """Make the estimate of a stage that draws so many maps over the voxels of the group, in double precision."""

    def need(runs: Runs) -> Need:
        size = runs.extent
        maps = SINGLE * max(size.n_template, size.n_voxels) * n_maps(runs)
        return Need(DRAWING_MB, 4.5 * maps + CORTEX * size.on_cortex, None, 30 + 0.5 * size.n_references, 20 * MB)

    return need


def _n_drawn(runs: Runs) -> int:
    """Return how many maps are drawn of each subject: of references over time, that of one time."""
    size, n_times = runs.extent, runs.extent.n_times if runs.study.fusion else 1
    return size.n_maps // size.n_delays - max(0, n_times - 1)


def _drawn_of_group(runs: Runs) -> float:
    """Return how many maps are held: those that are drawn of subjects, a subject's, the group's, and some of tests."""
    size, scores = runs.extent, runs.extent.n_maps * max(1, len(runs.study.group))
    return size.n_subjects * _n_drawn(runs) + size.n_maps + 2 * scores + 0.5 * (_tested_rows(runs) - scores)


DRAWN = 60
"""So many RDMs are drawn at most."""


def _draw_references(runs: Runs) -> Need:
    size = runs.extent
    n_single = size.n_references - size.n_fused
    n_drawn = min(n_single, DRAWN)
    held = _references(size, n_single) / 3 + 12 * MB * n_drawn
    return Need(DRAWING_MB, held, None, 30 + n_drawn, 5 * MB)


def _report(runs: Runs) -> Need:
    size = runs.extent
    held = _references(size, size.n_references) / 2 + SINGLE * size.n_template * (_tested_rows(runs) + size.n_maps)
    return Need(DRAWING_MB, held + 100 * MB, None, 30 + 2 * size.n_subjects, 50 * MB)


def _explore(runs: Runs) -> Need:
    """Hold the maps of the group, one subject's maps and patterns, and maps that were tested in each subject."""
    size, inference = runs.extent, runs.study.inference
    one = SINGLE * size.n_template
    group = one * _tested_rows(runs) * size.n_parts if runs.study.group else 0.0
    if inference is not None and inference.each_subject:
        group += 8 * one * size.n_maps * size.n_subjects * size.n_parts
    held = group + 4 * one * size.n_maps + 9 * SINGLE * size.n_voxels * size.n_rows
    seconds = 30 + size.n_subjects * 1e-7 * size.n_voxels * size.n_rows
    written = one * (size.n_maps * size.n_subjects * size.n_parts / 2) + size.n_subjects * size.n_voxels * size.n_rows
    return Need(EXPLORER_MB, held + _references(size, size.n_references) / 2, None, seconds, written)


# ----------------------------------------------------------------------------------------- simulations


def _simulate_brain(runs: Runs) -> Need:
    size = runs.extent
    images = DOUBLE * size.n_grid * size.n_conditions
    return Need(DRAWING_MB, 4 * images, None, 10 + 1e-7 * size.n_grid * size.n_rows, SINGLE * size.n_grid * size.n_rows)


def _simulate_epochs(runs: Runs) -> Need:
    size = runs.extent
    epochs = DOUBLE * size.n_trials * size.n_channels * size.n_times
    return Need(EXPLORER_MB, 4 * epochs, None, 10, epochs / 2)


def _small(runs: Runs) -> Need:
    return Need(PLAIN_MB, 0, None, 10, 1 * MB)


def _small_drawing(runs: Runs) -> Need:
    return Need(DRAWING_MB, 50 * MB, None, 30, 5 * MB)


def _fetch(runs: Runs) -> Need:
    return Need(DRAWING_MB, 1000 * MB, None, 1800, 2000 * MB)


NEEDS: dict[str, Callable[[Runs], Need]] = {
    "brain": _brain,
    "searchlight": _searchlight,
    "noise_ceiling": _noise_ceiling,
    "resample": _resample,
    "region_rdms": _region_rdms,
    "region_fits": _region_fits,
    "networks": _networks,
    "ranking": _ranking,
    "maps": _maps,
    "group": _group,
    "flip_subjects": _flip_subjects,
    "permute_group": _permute_group,
    "permute_subject": _permute_subject,
    "extract": _extract,
    "layer_rdms": _layer_rdms,
    "model_rdms": _model_rdms,
    "units": _units,
    "unit_changes": _unit_changes,
    "reference": _reference,
    "movie": _movie,
    "group_movie": _group_movie,
    "layer_time": _layer_time,
    "sensor_searchlight": _sensor_searchlight,
    "sensor_group": _sensor_group,
    "sensor_peaks": _sensor_peaks,
    "draw_references": _draw_references,
    "draw_subject": _draw(lambda runs: 2.4 * runs.extent.n_maps),
    "draw_group": _draw(_drawn_of_group),
    "draw_regions": _small_drawing,
    "draw_networks": _small_drawing,
    "draw_ranking": _small_drawing,
    "draw_units": _small_drawing,
    "draw_unit_changes": _small_drawing,
    "draw_time": _small_drawing,
    "draw_sensors": _small_drawing,
    "draw_fusion": _draw(lambda runs: 0.4 * _tested_rows(runs)),
    "report": _report,
    "explore": _explore,
    "describe": _small,
    "fetch": _fetch,
    "simulate_stimuli": _small,
    "simulate_brain": _simulate_brain,
    "simulate_epochs": _simulate_epochs,
}
"""What each stage needs, by its name; a permutation test of conditions is of one subject or of all."""
