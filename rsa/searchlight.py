"""Neighbourhoods -> RDMs -> scores, streaming: what is held at any time is one chunk of centres.

The four steps of a chunk: gather the patterns of each sphere and sum their products; turn the sums into
dissimilarities; prepare (rank) them; score them against all references at once.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

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
from rsa.distances import DISTANCES, CrossProducts, Distance, cross_products
from rsa.errors import UserError
from rsa.registry import pick

__all__ = ["compare", "region_rdms"]

CHUNK_BYTES = 32_000_000
"""Size of the products of one chunk of centres, which bounds the memory of each thread at a few times that."""


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
        Responses over the voxels of a volume; runs are averaged first.
    neighbourhood : Neighbourhood
        Spheres or regions over the same volume.
    references : RDMs
        Over the same conditions, in any order.
    distance : str
        A key of `DISTANCES`: how dissimilar two patterns are.
    comparison : str
        A key of `COMPARISONS`: how alike two RDMs are.
    min_voxels : int
        Spheres with fewer usable voxels are undefined. At least 2.
    n_threads, chunk_size : int
        How it runs, never what it computes. By default a chunk has 128 centres, or fewer if there are many conditions.
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
        If the conditions or the grids differ, there are fewer than 3 conditions, or no sphere has `min_voxels`.
    """
    measure, likeness = pick(DISTANCES, distance, "distance"), pick(COMPARISONS, comparison, "comparison")
    if len(patterns.conditions) < 3:
        raise UserError(f"RDMs can be compared from 3 conditions on; the patterns have {len(patterns.conditions)}.")
    responses, members = _prepare(patterns, neighbourhood, min_voxels)
    sizes = np.array([len(voxels) for voxels in members])
    if sizes.max() < min_voxels:
        raise UserError(
            f"No searchlight has the {min_voxels} voxels that min_voxels asks for; the largest has {sizes.max()}. "
            "Choose a larger radius_mm or a smaller min_voxels."
        )
    reference_rows = likeness.prepare(align(patterns.conditions, references).values)  # (n_rdms, n_pairs)

    def scored(centres: range) -> tuple[Array, Array]:
        rdms = _chunk_rdms(responses, members, centres, measure, min_voxels)  # (n_chunk, n_pairs)
        chunk_scores = likeness.score(likeness.prepare(rdms), reference_rows)  # (n_chunk, n_rdms)
        return chunk_scores, _reasons(rdms, chunk_scores)

    scores = np.full((len(references), len(neighbourhood)), np.nan)
    reason = np.zeros(len(neighbourhood), dtype=np.int8)
    size = chunk_size or max(1, min(128, CHUNK_BYTES // (8 * responses.shape[1] ** 2)))
    for centres, (chunk_scores, chunk_reason) in _in_chunks(scored, len(neighbourhood), size, n_threads):
        scores[:, centres], reason[centres] = chunk_scores.T, chunk_reason
        if progress is not None:
            progress(len(centres))
    reason[sizes < min_voxels] = TOO_SMALL
    table = references.table.assign(statistic=comparison)
    return _on_columns(scores, table, sizes, reason, patterns, neighbourhood)


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
    responses, members = _prepare(patterns, neighbourhood, min_voxels)
    measure = pick(DISTANCES, distance, "distance")
    rdms = _chunk_rdms(responses, members, range(len(neighbourhood)), measure, min_voxels)
    table = (
        neighbourhood.regions if neighbourhood.regions is not None else pd.DataFrame({"centre": neighbourhood.centres})
    )
    table = table.assign(n_voxels=[len(voxels) for voxels in members])
    return RDMs(rdms, patterns.conditions, table, distance)


# ----------------------------------------------------------------------------------------- the steps


def _prepare(patterns: Patterns, neighbourhood: Neighbourhood, min_voxels: int) -> tuple[Array, list[Array]]:
    """Average runs, put voxels first, and drop unusable voxels from all neighbourhoods."""
    if min_voxels < 2:
        raise UserError(f"min_voxels is at least 2 (a pattern of one voxel has no shape), not {min_voxels}.")
    volume = patterns.volume
    if volume is None or not np.array_equal(volume.mask, neighbourhood.volume.mask):
        raise UserError("Patterns and neighbourhood are over different masks; make the spheres from patterns.volume.")
    volume.require_grid(neighbourhood.volume.shape, neighbourhood.volume.affine, "The neighbourhood", "the patterns")
    means = patterns.mean_over_runs()
    responses = np.ascontiguousarray(means.values.T)  # (n_voxels, n_conditions)
    members = [neighbourhood.members(i) for i in range(len(neighbourhood))]
    if not means.usable.all():
        members = [voxels[means.usable[voxels]] for voxels in members]
        if neighbourhood.centres is not None:
            members = [
                voxels if means.usable[centre] else voxels[:0]
                for voxels, centre in zip(members, neighbourhood.centres, strict=True)
            ]
    return responses, members


def _chunk_rdms(responses: Array, members: list[Array], centres: range, distance: Distance, min_voxels: int) -> Array:
    """Return the condensed RDMs of some neighbourhoods, shape (n_centres, n_pairs), NaN where undefined."""
    n_conditions = responses.shape[1]
    gram = np.full((len(centres), n_conditions, n_conditions), np.nan)
    sums = np.full((len(centres), n_conditions), np.nan)
    n_features = np.ones(len(centres), dtype=int)
    for row, centre in enumerate(centres):
        voxels = members[centre]
        if len(voxels) >= min_voxels:
            products = cross_products([responses[voxels].T], distance.origin)
            gram[row], sums[row], n_features[row] = products.gram, products.sums, len(voxels)
    return distance.from_products(CrossProducts(gram, sums, n_features))


def _reasons(rdms: Array, scores: Array) -> Array:
    """Say for each RDM, shape (n_chunk, n_pairs), whether it has scores, and why not if it hasn't."""
    no_score = np.isnan(scores).all(axis=1)
    return np.select([np.isnan(rdms).any(axis=1), no_score], [CONSTANT_PATTERN, CONSTANT_RDM], DEFINED)


def _in_chunks(
    work: Callable[[range], tuple[Array, Array]], n_centres: int, chunk_size: int, n_threads: int
) -> Iterator[tuple[range, tuple[Array, Array]]]:
    """Do the work on successive ranges of centres, several at a time, and give the results in order."""
    chunks = [range(start, min(start + chunk_size, n_centres)) for start in range(0, n_centres, chunk_size)]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(n_threads) as pool:
        try:
            yield from zip(chunks, pool.map(work, chunks), strict=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _on_columns(
    scores: Array, table: pd.DataFrame, sizes: Array, reason: Array, patterns: Patterns, neighbourhood: Neighbourhood
) -> ScoreMap:
    """Put scores of centres on the voxels of the mask, or leave them on their regions."""
    if neighbourhood.centres is None:
        return ScoreMap(scores, table, regions=neighbourhood.regions, n_members=sizes, reason=reason)
    n_voxels, centres = neighbourhood.volume.n_voxels, neighbourhood.centres
    values = np.full((len(scores), n_voxels), np.nan, dtype=np.float32)
    values[:, centres] = scores
    n_members, reasons = np.zeros(n_voxels, dtype=np.int32), np.full(n_voxels, NOT_A_CENTRE, dtype=np.int8)
    n_members[centres], reasons[centres] = sizes, reason
    reasons[~patterns.usable] = NO_DATA
    return ScoreMap(values, table, volume=patterns.volume, n_members=n_members, reason=reasons)
