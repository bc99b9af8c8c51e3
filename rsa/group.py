"""Maps of subjects -> maps of the group."""

from collections.abc import Callable, Sequence

import numpy as np

from rsa.core import MAP_COLUMNS, Array, ScoreMap, Volume
from rsa.errors import UserError
from rsa.registry import pick

__all__ = ["GROUP_TESTS", "combine"]


def mean(scores: Array) -> Array:
    """Return the mean over subjects: (n_subjects, ...) -> (...)."""
    average: Array = scores.mean(axis=0)
    return average


def t(scores: Array) -> Array:
    """Return one-sample t against 0 of Fisher's z, (n_subjects, ...) -> (...); not corrected for many voxels.

    NaN where all subjects have the same score.
    """
    z = np.arctanh(np.clip(scores, -1 + 1e-9, 1 - 1e-9))
    spread = np.where(np.ptp(z, axis=0) > 0, z.std(axis=0, ddof=1), np.nan)
    statistic: Array = z.mean(axis=0) / (spread / np.sqrt(len(z)))
    return statistic


GROUP_TESTS: dict[str, Callable[[Array], Array]] = {"mean": mean, "t": t}


def combine(subjects: Sequence[ScoreMap], test: str) -> ScoreMap:
    """Bring the maps of subjects together, voxel by voxel.

    Parameters
    ----------
    subjects : sequence of ScoreMap
        The same rows (models and layers) for every subject, on one grid. Masks may differ.
    test : str
        A key of `GROUP_TESTS`.

    Returns
    -------
    ScoreMap
        Over the voxels that are in the mask of every subject; NaN where a subject has no score. `statistic` is the
        name of the test, `n_members` the number of subjects with a score.

    Raises
    ------
    UserError
        If there are fewer than 2 subjects, grids differ (both are printed) or the maps are not the same ones.
    """
    if len(subjects) < 2:
        raise UserError(f"A group map needs 2 subjects or more, not {len(subjects)}.")
    volumes = [scores.volume for scores in subjects if scores.volume is not None]
    if len(volumes) < len(subjects):
        raise UserError("Group maps are made of maps over voxels; some of these are over regions.")
    first = volumes[0]
    for volume in volumes[1:]:
        first.require_grid(volume.shape, volume.affine, "The map of a subject", "that of the first subject")
    labels = [
        scores.table.reindex(columns=[name for name in MAP_COLUMNS if name != "subject"])
        .astype(str)
        .to_numpy()
        .tolist()
        for scores in subjects
    ]
    if any(other != labels[0] for other in labels):
        raise UserError(
            "The subjects' maps are not of the same models, layers, times and statistic in the same order; "
            "run all again."
        )
    shared = np.logical_and.reduce([volume.mask for volume in volumes])
    if not shared.any():
        raise UserError("The masks of the subjects share no voxel; are the subjects in one space?")
    common = Volume(shared, first.affine, first.sform_code, first.qform_code)
    values = np.stack(
        [scores.values[:, shared[scores.volume.mask]] for scores in subjects if scores.volume is not None]
    )
    table = subjects[0].table.drop(columns="subject", errors="ignore").assign(statistic=test)
    n_defined = np.isfinite(values).all(axis=1).sum(axis=0)
    result = pick(GROUP_TESTS, test, "group test")(values.astype(np.float64))
    return ScoreMap(result, table, common, n_members=n_defined)
