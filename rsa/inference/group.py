"""Maps of subjects -> maps of the group."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pandas as pd

from rsa.core import MAP_COLUMNS, QUALITY, Array, ScoreMap, Volume, shared_volume
from rsa.errors import UserError
from rsa.inference.flips import fisher_z, least_rest
from rsa.maps import stack
from rsa.rdm import require_chance_of_0
from rsa.registry import pick

__all__ = [
    "CEILINGS",
    "above_tests",
    "GROUP_TESTS",
    "GroupTest",
    "SomeScores",
    "combine",
    "require_against_0",
    "require_same_maps",
    "share_of_ceiling",
    "with_ceiling",
]

CEILINGS = ("ceilinglower", "ceilingupper")
"""What stands in the column `model` of the two bounds of a noise ceiling."""


COMBINED_SCORES = 2**22
"""Scores of all subjects that are combined at once; bounds the memory, changes nothing else."""


class SomeScores(Protocol):
    """Scores of one subject, in memory (`rsa.core.ScoreMap`) or in a file (`rsa.files.stored.StoredScores`)."""

    @property
    def table(self) -> pd.DataFrame:
        """What each map is."""
        ...

    @property
    def volume(self) -> Volume | None:
        """The voxels, if the columns are such."""
        ...

    def __len__(self) -> int: ...

    def rows(self, chosen: slice) -> Array:
        """Return some of the maps, shape (n_chosen, n_columns)."""
        ...


def mean(scores: Array) -> Array:
    """Return the mean over subjects: (n_subjects, ...) -> (...)."""
    average: Array = scores.mean(axis=0)
    return average


def t(scores: Array) -> Array:
    """Return one-sample t against 0 of Fisher's z, (n_subjects, ...) -> (...); not corrected for many voxels.

    NaN where scores of subjects differ by little more than rounding (see `rsa.inference.flips.least_rest`).
    """
    z = fisher_z(scores)
    spread, df = z.std(axis=0, ddof=1), len(z) - 1
    spread = np.where(spread**2 * df >= least_rest(z, df), spread, np.nan)
    statistic: Array = z.mean(axis=0) / (spread / np.sqrt(len(z)))
    return statistic


@dataclass(frozen=True)
class GroupTest:
    """A number made of the scores of all subjects.

    Parameters
    ----------
    compute : callable
        ``(n_subjects, ...) -> (...)``; NaN where a subject has no score.
    summary : str
        One line for the documentation, and for the sidecar: what a number is.
    unit : str
        The unit of a number: "score" if it is on the scale of the scores.
    against_0 : bool
        Whether it compares scores with 0, and says something only where that is what unrelated RDMs score.
    lost_df : int, optional
        What the number of subjects exceeds the degrees of freedom by, if there are some.
    """

    compute: Callable[[Array], Array]
    summary: str
    unit: str = "score"
    against_0: bool = False
    lost_df: int | None = None

    def about(self, n_subjects: int) -> dict[str, str | int]:
        """Return what the sidecar of a map says of its numbers."""
        said: dict[str, str | int] = {
            "Description": self.summary[:1].upper() + self.summary[1:],
            "Units": self.unit,
            "Subjects": n_subjects,
        }
        return said | ({} if self.lost_df is None else {"DegreesOfFreedom": n_subjects - self.lost_df})


GROUP_TESTS: dict[str, GroupTest] = {
    "mean": GroupTest(mean, "mean over subjects"),
    "t": GroupTest(
        t,
        "one-sample t over subjects, against 0, of Fisher's z; not corrected for many voxels; none where scores differ "
        "by little more than rounding",
        unit="t",
        against_0=True,
        lost_df=1,
    ),
}


def combine(subjects: Sequence[SomeScores], test: str, *, distance: str = "unknown") -> ScoreMap:
    """Bring the maps of subjects together, voxel by voxel.

    Parameters
    ----------
    subjects : sequence of ScoreMap
        The same rows (models and layers) for every subject, on one grid. Masks may differ. Of those that stay in their
        files (`rsa.files.stored.StoredScores`), some maps are in memory at a time.
    test : str
        A key of `GROUP_TESTS`.
    distance : str
        Of the subjects' RDMs; it decides whether there is a t of cosines.

    Returns
    -------
    ScoreMap
        Over the voxels that are in the mask of every subject; NaN where a subject has no score. `statistic` is the
        name of the test, `n_members` the number of subjects with a score.

    Raises
    ------
    UserError
        If there are fewer than 2 subjects, grids differ (both are printed), the maps are not the same ones, or a test
        is against 0 and unrelated RDMs score above it (see `rsa.rdm.chance_is_0`).
    """
    if len(subjects) < 2:
        raise UserError(f"A group map needs 2 subjects or more, not {len(subjects)}.")
    volumes = [scores.volume for scores in subjects if scores.volume is not None]
    if len(volumes) < len(subjects):
        raise UserError("Group maps are made of maps over voxels; some of these are over regions.")
    common = shared_volume(volumes)
    require_same_maps(subjects)
    require_against_0([test], subjects[0], distance)
    compute, inside = pick(GROUP_TESTS, test, "group test").compute, [common.mask[volume.mask] for volume in volumes]
    result = np.empty((len(subjects[0]), common.n_voxels), dtype=np.float32)
    has_all = np.ones((len(subjects), common.n_voxels), dtype=bool)
    n_rows = max(1, COMBINED_SCORES // has_all.size)
    for rows in (slice(start, start + n_rows) for start in range(0, len(result), n_rows)):
        values = np.stack([one.rows(rows)[:, own] for one, own in zip(subjects, inside, strict=True)])
        result[rows] = compute(values.astype(np.float64))  # (n_subjects, n_rows, n_voxels) -> (n_rows, n_voxels)
        has_all &= np.isfinite(values).all(axis=1)
    table = subjects[0].table.drop(columns="subject", errors="ignore").assign(statistic=test)
    return ScoreMap(result, table, common, n_members=has_all.sum(axis=0))


def require_against_0(tests: Sequence[str], scores: SomeScores, distance: str) -> None:
    """Raise a `UserError` if a test is one against 0 and unrelated RDMs do not have such scores."""
    for test in [test for test in tests if pick(GROUP_TESTS, test, "group test").against_0]:
        require_chance_of_0(scores.table["statistic"].unique(), distance, f"The group test {test}")


def require_same_maps(subjects: Sequence[SomeScores]) -> None:
    """Raise a `UserError` unless the maps of all subjects have the same labels in the same order."""
    columns = [name for name in MAP_COLUMNS if name != "subject"]
    labels = [scores.table.reindex(columns=columns).astype(str).to_numpy().tolist() for scores in subjects]
    if any(other != labels[0] for other in labels):
        raise UserError(
            "The subjects' maps are not of the same models, layers, times and statistic in the same order; "
            "run all again."
        )


def with_ceiling(group: ScoreMap, ceilings: ScoreMap) -> ScoreMap:
    """Put below the maps of a group the noise ceiling, and mean maps as a share of it, over the voxels that both have.

    Parameters
    ----------
    group : ScoreMap
        Rows of any tests, the mean among them.
    ceilings : ScoreMap
        As `rsa.inference.ceiling.noise_ceilings` returns them.

    Raises
    ------
    UserError
        As `share_of_ceiling`.
    """
    shares = share_of_ceiling(group, ceilings)
    assert group.volume is not None
    assert ceilings.volume is not None
    assert shares.volume is not None
    parts = [
        group.values[:, shares.volume.mask[group.volume.mask]],
        ceilings.values[:, shares.volume.mask[ceilings.volume.mask]],
        shares.values,
    ]
    table = pd.concat([group.table, ceilings.table, shares.table], ignore_index=True)[list(group.table)]
    return ScoreMap(np.concatenate(parts), table, shares.volume, n_members=shares.n_members)


def above_tests(scores: ScoreMap, tests: ScoreMap) -> ScoreMap:
    """Stack what tests found below scores over the same columns.

    A statistic that is among the scores already, such as t, comes once, with the values of the test: it may be of a
    difference of groups, or adjusted for covariates.
    """
    keys = [name for name in ("model", "layer", "time_s", "statistic") if name in scores.table]
    place = {label: row for row, label in enumerate(map(tuple, scores.table[keys].astype(str).to_numpy()))}
    labels = [tuple(label) for label in tests.table.reindex(columns=keys).astype(str).to_numpy()]
    known = np.array([label in place for label in labels], dtype=bool)
    values = scores.values.copy()
    values[[place[label] for label in labels if label in place]] = tests.values[known]
    below = replace(tests, values=tests.values[~known], table=tests.table[~known])
    return stack([replace(scores, values=values), below])


def share_of_ceiling(group: ScoreMap, ceilings: ScoreMap) -> ScoreMap:
    """Divide mean scores by the upper bound of the noise ceiling, voxel by voxel and time by time [1]_.

    Parameters
    ----------
    group : ScoreMap
        Mean scores, `statistic` "mean". Rows that tell how good the data are (`rsa.core.QUALITY`) are left out.
    ceilings : ScoreMap
        A row for each of `CEILINGS` (and `time_s`) on the same grid; masks may differ.

    Returns
    -------
    ScoreMap
        Over the voxels that both have, `statistic` "share_of_ceiling": 1 where a model is as close to the subjects as
        their own mean. NaN where the lower bound is not above 0: there the subjects have nothing in common that a model
        could explain.

    Raises
    ------
    UserError
        If the maps are not over voxels, grids differ (both are printed), no voxel is in both, a bound is missing at a
        time, or no row is a model's mean.

    References
    ----------
    .. [1] Nili H, Wingfield C, Walther A, Su L, Marslen-Wilson W, Kriegeskorte N (2014). A toolbox for representational
       similarity analysis. PLoS Comput Biol 10:e1003553.
    """
    if group.volume is None or ceilings.volume is None:
        raise UserError("Shares of the noise ceiling are made of maps over voxels; these are over regions.")
    group.volume.require_grid(ceilings.volume.shape, ceilings.volume.affine, "The noise ceiling", "the group map")
    shared = group.volume.mask & ceilings.volume.mask
    if not shared.any():
        raise UserError("The group map and the noise ceiling share no voxel; make both of the same subjects.")
    rows = (group.table["statistic"] == "mean") & (group.table["role"] != QUALITY)
    if not rows.any():
        raise UserError(
            "Shares of the noise ceiling are made of mean scores of models; the group has none. Add `mean`."
        )
    table = group.table[rows].assign(statistic="share_of_ceiling")
    means = group.values[rows.to_numpy()][:, shared[group.volume.mask]].astype(np.float64)
    lower, upper = (_bounds(ceilings, table, name)[:, shared[ceilings.volume.mask]] for name in CEILINGS)
    shares = np.full_like(means, np.nan)
    np.divide(means, upper, out=shares, where=(lower > 0) & (upper > 0))
    n_members = None if group.n_members is None else group.n_members[shared[group.volume.mask]]
    volume = Volume(shared, group.volume.affine, group.volume.sform_code, group.volume.qform_code)
    return ScoreMap(shares, table, volume, n_members=n_members)


def _bounds(ceilings: ScoreMap, table: pd.DataFrame, name: str) -> Array:
    """Return the bound of this name at the time of each row of a table, shape (n_rows, n_voxels).

    A ceiling without time is that of data without time, whatever the times of the references.
    """
    times = _times(ceilings.table)
    found = {times[row]: row for row in np.flatnonzero(ceilings.table["model"] == name)}
    wanted = [""] * len(table) if list(found) == [""] else _times(table)
    missing = [time for time in wanted if time not in found]
    if missing:
        at = f" at {missing[0]} s" if missing[0] else ""
        raise UserError(f"There is no {name}{at} among the noise ceilings, but there are scores; run all again.")
    return ceilings.values[[found[time] for time in wanted]].astype(np.float64)


def _times(table: pd.DataFrame) -> list[str]:
    """Return the time of each row as text, "" where there is none."""
    return (
        table["time_s"].map(lambda time: "" if pd.isna(time) else f"{time:.9g}").tolist()
        if "time_s" in table
        else ([""] * len(table))
    )
