"""How well could any model do? Noise ceilings over subjects, in the sphere around every voxel."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from rsa.comparisons import COMPARISONS, Comparison
from rsa.core import Array, Patterns, ScoreMap, Volume, difference_of_conditions, shared_volume
from rsa.errors import UserError
from rsa.inference.group import CEILINGS
from rsa.neighbourhood import shared_spheres, sphere_centres
from rsa.rdm import ceiling_bounds
from rsa.registry import pick
from rsa.searchlight import in_threads, over_time
from rsa.spheres import Spheres, prepare_spheres

__all__ = ["noise_ceilings"]

CENTRES = 64
"""Spheres of all subjects at a time; bounds the memory."""


def noise_ceilings(
    subjects: Sequence[Patterns],
    radius_mm: float,
    *,
    stride: int = 1,
    distance: str = "correlation",
    comparison: str = "spearman",
    min_voxels: int = 2,
    shrinkage: str | None = None,
    n_threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> ScoreMap:
    """Map the bounds on the mean score that any model can have with these subjects [1]_.

    Upper: the mean score of each subject's RDM of a sphere with the average RDM of all subjects; lower: with the
    average of the others; `rsa.rdm.noise_ceiling` at every voxel.

    Parameters
    ----------
    subjects : sequence of Patterns
        Of 2 subjects or more on one grid, over the same conditions in any order, and at the same delays if at several.
    radius_mm, stride
        Of the spheres, as in `rsa.neighbourhood.spheres`; each subject's spheres hold the voxels of its own mask.
    distance, comparison, min_voxels, shrinkage, n_threads, progress
        As in `rsa.searchlight.compare`.

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
    likeness = pick(COMPARISONS, comparison, "comparison")
    how = partial(
        _ceilings_at, volume=volume, radius_mm=radius_mm, stride=stride, likeness=likeness, n_threads=n_threads,
        prepare=partial(prepare_spheres, distance=distance, min_voxels=min_voxels, shrinkage=shrinkage),
        progress=progress,
    )  # fmt: skip
    ordered = [patterns.in_order(conditions) for patterns in subjects]
    if not delays_s:
        return how(ordered)
    return over_time([how([patterns.at_delay(delay_s) for patterns in ordered]) for delay_s in delays_s], delays_s)


def _volume_of(patterns: Patterns) -> Volume:
    if patterns.volume is None:
        raise UserError("Noise ceilings are mapped over the voxels of a volume; these patterns have none.")
    return patterns.volume


def _ceilings_at(
    subjects: Sequence[Patterns],
    *,
    volume: Volume,
    radius_mm: float,
    stride: int,
    likeness: Comparison,
    prepare: Callable[..., Spheres],
    n_threads: int,
    progress: Callable[[int], None] | None,
) -> ScoreMap:
    """Map both bounds at one delay; see `noise_ceilings`."""
    around = shared_spheres([_volume_of(patterns) for patterns in subjects], radius_mm, stride=stride)
    each = [prepare(patterns, neighbourhood) for patterns, neighbourhood in zip(subjects, around, strict=True)]
    centres = sphere_centres(volume, stride)
    values, n_defined = np.full((2, volume.n_voxels), np.nan), np.zeros(volume.n_voxels, dtype=np.int32)

    def work(chosen: range) -> tuple[Array, Array]:
        rdms = np.stack([one.rdms(chosen) for one in each], axis=1)  # (n_centres, n_subjects, n_pairs)
        defined = np.isfinite(rdms).all(axis=2).sum(axis=1)
        bounds = [ceiling_bounds(of_subjects, likeness) for of_subjects in rdms]
        return np.transpose(bounds), defined

    chunks = each[0].chunks(CENTRES)
    for chosen, (bounds, defined) in in_threads(work, chunks, n_threads):
        where = centres[chosen.start : chosen.stop]
        values[:, where], n_defined[where] = bounds, defined
        if progress is not None:
            progress(len(chosen))
    table = pd.DataFrame({"model": CEILINGS, "layer": "", "statistic": "mean"})
    return ScoreMap(values, table, volume, n_members=n_defined)
