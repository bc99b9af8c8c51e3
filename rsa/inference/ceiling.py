"""How well could any model do? Noise ceilings over subjects, in the sphere around every voxel."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from rsa.comparisons import COMPARISONS, Comparison
from rsa.core import QUALITY, Array, Patterns, ScoreMap, Volume, difference_of_conditions, shared_volume
from rsa.errors import UserError
from rsa.inference.group import CEILINGS
from rsa.neighbourhood import shared_spheres, sphere_centres
from rsa.rdm import ceiling_bounds
from rsa.registry import pick
from rsa.searchlight import MapBuilder, RdmSettings, RunSettings, fields_as_keywords, over_time, scan_sources
from rsa.spheres import prepare_spheres

__all__ = ["noise_ceilings"]

SPHERES_OF_ALL = 64
"""Spheres of all subjects at a time; bounds the memory."""


@fields_as_keywords(rdm=RdmSettings, run=RunSettings)
def noise_ceilings(
    subjects: Sequence[Patterns],
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
    spheres = shared_spheres([_volume_of(patterns) for patterns in subjects], radius_mm, stride=stride)
    centres, compared = sphere_centres(volume, stride), pick(COMPARISONS, comparison, "comparison")

    def at_one_delay(subjects: Sequence[Patterns]) -> ScoreMap:
        sources = [prepare_spheres(*one, rdm) for one in zip(subjects, spheres, strict=True)]
        builder = MapBuilder(centres, volume.n_voxels, 3, volume.name_of)
        scan_sources(sources, _bounds_by(compared), builder, run, SPHERES_OF_ALL)
        table = pd.DataFrame({"model": CEILINGS, "layer": "", "statistic": "mean", "role": QUALITY})
        n_defined = np.nan_to_num(builder.scores[2]).astype(np.int32)
        return ScoreMap(builder.scores[:2], table, volume, n_members=n_defined)

    ordered = [patterns.in_order(conditions) for patterns in subjects]
    if not delays_s:
        return at_one_delay(ordered)
    maps = [at_one_delay([patterns.at_delay(delay_s) for patterns in ordered]) for delay_s in delays_s]
    return over_time(maps, delays_s)


def _volume_of(patterns: Patterns) -> Volume:
    if patterns.volume is None:
        raise UserError("Noise ceilings are mapped over the voxels of a volume; these patterns have none.")
    return patterns.volume


def _bounds_by(comparison: Comparison) -> Callable[..., Array]:
    """Return a measure of the RDMs of all subjects: both bounds, and how many subjects have an RDM."""

    def score(*subjects: Array) -> Array:
        rdms = np.stack(subjects, axis=1)  # (n_centres, n_subjects, n_pairs)
        n_defined = np.isfinite(rdms).all(axis=2).sum(axis=1)
        bounds = [ceiling_bounds(of_subjects, comparison) for of_subjects in rdms]
        return np.vstack([np.transpose(bounds), n_defined])

    return score
