"""The types that travel through the pipeline, and the one place where two condition orders meet.

Everything measured is a 2-D array, a table that describes its rows and an object that describes its columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any, Protocol, TypeVar

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd

from rsa.errors import UserError, listed
from rsa.labels import as_label, as_labels

__all__ = [
    "SAME_MM",
    "FEWEST_CONDITIONS",
    "SAME_S",
    "SAME_SCORE",
    "Array",
    "Epochs",
    "Neighbourhood",
    "Patterns",
    "RDMs",
    "Residuals",
    "RunNoise",
    "ScoreMap",
    "Space",
    "Volume",
    "align",
    "as_label",
    "as_labels",
    "concatenate",
    "features_with_data",
    "n_conditions_of",
    "on_voxels",
    "pairs_in_order",
    "positions",
    "require_enough",
    "select",
    "shared_volume",
    "with_role",
]

Array = npt.NDArray[Any]
Stack = TypeVar("Stack", "RDMs", "ScoreMap")

AFFINE_TOLERANCE_MM = 1e-4
"""Two grids whose voxel centres lie this close are one grid: headers store affines in single precision."""

NEARLY_VOXELS = 0.08
"""A mask may lie so far beside its images, in sizes of a voxel: quaternions in single precision turn an oblique grid by
up to 0.1 mm at its corners, and programs round sform and qform in other ways."""

SAME_MM = 4e-5
"""Lengths that differ by less, in mm, are the same length: files store affines in single precision. That changes the
distance of two voxels of a brain, or of a voxel and a point, by up to 3e-5 mm; of usual voxel sizes, no distance lies
closer than 4.2e-5 mm above a usual radius."""

SAME_S = 1e-6
"""Times that differ by less, in s, are the same time."""

SAME_SCORE = 4e-5
"""Scores that differ by less may be the same but for rounding, which moves each of two by up to half of it: of ranks,
two dissimilarities that differ by rounding alone may change places, and each such change moves a score by up to
12 / n_pairs^2, 1e-5 for 48 conditions. Patterns and layer RDMs that are off by a unit in their last place moved the
scores of 4 subjects of the default study by up to 1.9e-5."""

FEWEST_CONDITIONS = 3
"""RDMs of fewer conditions have no score."""

REFERENCE, QUALITY, PART, TEST = "reference", "quality", "part", "test"
"""What a row of scores is, in the column `role`: the score of a reference; how good the data are (reliability, noise
ceiling); a part of a variance; or what a test of scores found (a statistic, a p, a thresholded map)."""

MAP_COLUMNS = ("subject", "model", "layer", "time_s", "statistic", "role")
"""The labels that a row of a `ScoreMap` carries where they apply, in the order of the file names; `role` is in none."""


# ---------------------------------------------------------------------------------------------- spaces


class Space(Protocol):
    """Where the columns of an array are: the voxels of a mask, or anything else with places in mm."""

    @property
    def n_features(self) -> int:
        """Number of columns."""
        ...

    @property
    def centres_mm(self) -> Array:
        """The place of each column in scanner millimetres, shape (n_features, 3)."""
        ...

    def require_same(self, other: "Space", what: str, whose: str) -> None:
        """Raise a `UserError` unless the columns of `what`, in another space, are those of `whose` in this one."""
        ...

    def name_of(self, feature: int) -> str:
        """Say in a message which place a column is."""
        ...

    def to_image(self, values: npt.ArrayLike) -> Any:
        """Make an image, which nibabel can save, of one vector over columns or of several."""
        ...


class OnSpace:
    """What may have its columns in a space."""

    space: Space | None

    @property
    def volume(self) -> "Volume | None":
        """The space, if it is a volume."""
        return self.space if isinstance(self.space, Volume) else None


@dataclass(frozen=True, eq=False)
class Volume:
    """A grid of voxels and the part of it that is analysed.

    Parameters
    ----------
    mask : array of bool, shape (n_x, n_y, n_z)
        The voxels that are analysed. Vectors over voxels are in C order of this array.
    affine : array, shape (4, 4)
        From voxel indices to scanner millimetres.
    sform_code, qform_code : int
        NIfTI codes of the space, kept so that a map says the same as the images that it was made of.

    Raises
    ------
    UserError
        If the mask is not three-dimensional or is empty, or the affine is singular.
    """

    mask: Array
    affine: Array
    sform_code: int = 1
    qform_code: int = 1

    def __post_init__(self) -> None:
        mask, affine = np.asarray(self.mask), np.asarray(self.affine, dtype=np.float64)
        if mask.dtype != bool or mask.flags.writeable:
            mask = mask > 0
        if mask.ndim != 3:
            raise UserError(f"A mask has 3 dimensions (x, y, z), not the {mask.ndim} of shape {mask.shape}.")
        if not mask.any():
            raise UserError(f"The mask of shape {mask.shape} is empty: no voxel is above 0.")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise UserError(f"An affine is an invertible (4, 4) matrix in mm, not {affine.tolist()}.")
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size of the grid, (n_x, n_y, n_z)."""
        n_x, n_y, n_z = self.mask.shape
        return n_x, n_y, n_z

    @cached_property
    def n_voxels(self) -> int:
        """Number of voxels in the mask."""
        return int(np.count_nonzero(self.mask))

    @property
    def n_features(self) -> int:
        """Number of columns: of voxels in the mask."""
        return self.n_voxels

    @cached_property
    def indices(self) -> Array:
        """Grid indices of the voxels of the mask, shape (n_voxels, 3)."""
        return np.argwhere(self.mask)

    @property
    def centres_mm(self) -> Array:
        """The centres of the voxels of the mask in scanner millimetres, shape (n_voxels, 3)."""
        return self.voxel_to_mm(self.indices)

    def voxel_to_mm(self, indices: npt.ArrayLike) -> Array:
        """Return the centres of voxels in scanner millimetres; shape (..., 3) in and out."""
        return np.asarray(indices) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def mm_to_voxel(self, points_mm: npt.ArrayLike) -> Array:
        """Return the (fractional) voxel indices of points in scanner millimetres; shape (..., 3) in and out."""
        return np.linalg.solve(self.affine[:3, :3], (np.asarray(points_mm) - self.affine[:3, 3]).T).T

    def same_grid(self, shape: Sequence[int], affine: npt.ArrayLike, *, nearly: bool = False) -> bool:
        """Say whether an image of this shape and affine has its voxels where this volume has them, or nearly there."""
        if tuple(shape[:3]) != self.shape:
            return False
        apart_mm = self._corners_apart(affine)
        if nearly:
            return bool(np.abs(np.linalg.solve(self.affine[:3, :3], apart_mm.T)).max() <= NEARLY_VOXELS)
        return bool(np.abs(apart_mm).max() <= AFFINE_TOLERANCE_MM)

    def apart_mm(self, affine: npt.ArrayLike) -> float:
        """Return how far from their places here the corners of the grid are with another affine, at most, in mm."""
        return float(np.linalg.norm(self._corners_apart(affine), axis=1).max())

    def _corners_apart(self, affine: npt.ArrayLike) -> Array:
        """Return by how much another affine moves the corner voxels, in mm, shape (8, 3)."""
        ends = np.array(np.meshgrid(*([0, n - 1] for n in self.shape))).reshape(3, -1).T
        there = ends @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3]
        return np.asarray(there - self.voxel_to_mm(ends))

    def require_grid(
        self,
        shape: Sequence[int],
        affine: npt.ArrayLike,
        what: str,
        whose: str = "the mask",
        *,
        nearly: bool = False,
    ) -> None:
        """Raise a `UserError` that prints both grids unless `what` lies (nearly) on the grid of this volume."""
        if not self.same_grid(shape, affine, nearly=nearly):
            raise UserError(
                f"{what} and {whose} lie on different grids: shape {tuple(shape[:3])} with affine "
                f"{np.round(np.asarray(affine), 4).tolist()}, against shape {self.shape} with affine "
                f"{np.round(self.affine, 4).tolist()}. Resample one of them to the other."
            )

    def require_same(self, other: Space, what: str, whose: str) -> None:
        """Raise a `UserError` unless another space has the same voxels: the mask, and the grid."""
        if not isinstance(other, Volume) or not np.array_equal(self.mask, other.mask):
            raise UserError(f"{what} and {whose} are over different masks; make both of one volume.")
        self.require_grid(other.shape, other.affine, what, whose)

    def name_of(self, feature: int) -> str:
        """Say in a message which voxel of the mask it is: its indices, and its place in mm."""
        index = self.indices[feature]
        return f"voxel {tuple(index.tolist())}, {tuple(self.voxel_to_mm(index).round(2).tolist())} mm"

    def of_columns(self, columns: slice) -> "Volume":
        """Return the same grid, with some of the voxels of the mask, which follow each other in its order."""
        mask = np.zeros(self.shape, dtype=bool)
        mask[tuple(self.indices[columns].T)] = True
        return replace(self, mask=mask)

    def unmask(self, values: npt.ArrayLike) -> Array:
        """Put values of the mask's voxels, shape (..., n_voxels), on the grid, (..., n_x, n_y, n_z), NaN outside."""
        values = np.asarray(values)
        grid = np.full((*values.shape[:-1], *self.shape), np.nan, dtype=np.float32)
        grid[..., self.mask] = values
        return grid

    def to_image(self, values: npt.ArrayLike) -> nib.Nifti1Image:
        """Make an image of one vector over voxels (3-D) or of several (4-D, the row last); NaN outside the mask."""
        grid = self.unmask(values)
        image = nib.Nifti1Image(np.moveaxis(grid, 0, -1) if grid.ndim == 4 else grid, self.affine)
        image.set_sform(self.affine, code=self.sform_code)
        image.set_qform(self.affine, code=self.qform_code, strip_shears=True)
        image.header.set_xyzt_units("mm", "sec")
        return image


def shared_volume(volumes: Sequence[Volume]) -> Volume:
    """Return the voxels that are in the masks of all subjects, with the space codes of the first.

    Raises
    ------
    UserError
        If grids differ (both are printed), or no voxel is in every mask.
    """
    first = volumes[0]
    for volume in volumes[1:]:
        first.require_grid(volume.shape, volume.affine, "The map of a subject", "that of the first subject")
    shared = np.logical_and.reduce([volume.mask for volume in volumes])
    if not shared.any():
        raise UserError("The masks of the subjects share no voxel; are the subjects in one space?")
    return replace(first, mask=shared)


def on_voxels(scores: "ScoreMap", volume: Volume) -> "ScoreMap":
    """Return scores over some of their voxels: those of a mask that lies within theirs, on the same grid.

    Raises
    ------
    UserError
        If scores are over regions, grids differ (both are printed), or the mask goes beyond theirs.
    """
    own = scores.volume
    if own is None:
        raise UserError("Scores of regions are not over voxels.")
    own.require_grid(volume.shape, volume.affine, "The mask", "the scores")
    if not own.mask[volume.mask].all():
        raise UserError("The mask goes beyond the voxels of the scores; run all again.")
    inside = volume.mask[own.mask]
    if inside.all():
        return scores
    counts = {name: None if (of := getattr(scores, name)) is None else of[inside] for name in ("n_members", "reason")}
    return replace(scores, values=scores.values[:, inside], space=volume, **counts)


# -------------------------------------------------------------------------------------------- patterns


@dataclass(frozen=True, eq=False)
class Residuals:
    """What is left of the measurements when what the model explains is taken out: samples of the noise.

    Parameters
    ----------
    values : array, shape (n_samples, n_features)
        In the units of the patterns they belong to; kept in float32.
    degrees_of_freedom : float
        Number of samples less the number of parameters that were fitted to them; their covariance is
        ``values.T @ values / degrees_of_freedom``.

    Raises
    ------
    UserError
        If values are not 2-D, or the degrees of freedom are not between 1 and the number of samples.
    """

    values: Array
    degrees_of_freedom: float

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float32)
        if values.ndim != 2:
            raise UserError(f"Residuals have a row per sample and a column per voxel, not the shape {values.shape}.")
        if not 1 <= self.degrees_of_freedom <= len(values):
            raise UserError(
                f"{len(values)} residuals have 1 to {len(values)} degrees of freedom, not {self.degrees_of_freedom:g}."
            )
        object.__setattr__(self, "values", values)


@dataclass(frozen=True)
class RunNoise:
    """How patterns are brought into units of their noise where that is seen between their runs.

    It is done when they are measured: which runs may tell the noise depends on which runs are compared.

    Parameters
    ----------
    normalisation : str
        A key of `rsa.noise.NORMALISATIONS`.
    scope : {"sphere", "brain"}
        Over which voxels the covariance of multivariate normalisation goes.
    shrinkage : str
        A key of `rsa.noise.SHRINKAGES`.
    mean_removed : bool
        Whether the mean over conditions was taken out of each run.
    samples : Patterns, optional
        Where the noise is seen, if not in the patterns themselves: those at all delays, where they are of one.
    """

    normalisation: str
    scope: str = "sphere"
    shrinkage: str = "ledoit_wolf"
    mean_removed: bool = False
    samples: "Patterns | None" = None


@dataclass(frozen=True, eq=False)
class Patterns(OnSpace):
    """Responses to conditions: one row per condition (and run, delay), one column per voxel or unit.

    Parameters
    ----------
    values : array, shape (n_rows, n_features)
        Responses; kept in float32.
    table : DataFrame, n_rows rows
        Has the column `condition`; may have `run`, `delay_s` (seconds after onset), ... No two rows may be the same.
    space : Space, optional
        Where the features are, such as a `Volume`.
    usable : array of bool, shape (n_features,), optional
        The features that take part. By default those with data in every run (see `features_with_data`).
        A voxel that is not usable is no centre of a searchlight and a member of none.
    residuals : Residuals, optional
        Noise of the same features.
    run_noise : RunNoise, optional
        How the patterns are normalised, when they are measured, by noise that is seen between their runs.

    Raises
    ------
    UserError
        If lengths disagree, a condition, run or delay is missing, a row comes twice, a run has no data or no feature is
        usable.
    """

    values: Array
    table: pd.DataFrame
    space: Space | None = None
    usable: Array = None  # type: ignore[assignment]  # filled in when made
    residuals: Residuals | None = None
    run_noise: RunNoise | None = None

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float32)
        if values.ndim != 2 or len(values) != len(self.table):
            raise UserError(
                f"Patterns of shape {values.shape} need a table of {len(values)} rows, not {len(self.table)}."
            )
        if "condition" not in self.table:
            raise UserError(f"The table of patterns has no column 'condition', only {listed(list(self.table))}.")
        if self.space is not None and self.space.n_features != values.shape[1]:
            raise UserError(f"Patterns have {values.shape[1]} columns and their space has {self.space.n_features}.")
        if self.residuals is not None and self.residuals.values.shape[1] != values.shape[1]:
            n_residual = self.residuals.values.shape[1]
            raise UserError(f"Patterns have {values.shape[1]} voxels and their residuals {n_residual}.")
        _require_labels(self.table, ("condition", "run", "delay_s"), "Row", "the patterns")
        table = self.table.reset_index(drop=True).assign(condition=as_labels(self.table["condition"]))
        if table.duplicated().any():
            twice = table[table.duplicated()].iloc[0].to_dict()
            raise UserError(
                f"The row {twice} comes twice in the table of patterns; tell the two apart by a column `run`."
            )
        usable = self.usable
        if usable is None:
            usable = features_with_data(values, table.get("run"), table.get("delay_s"))
        if np.shape(usable) != values.shape[1:]:
            raise UserError(f"`usable` says yes or no of {values.shape[1]} features; it has shape {np.shape(usable)}.")
        if not np.any(usable):
            raise UserError(
                "No voxel is usable: each is NaN in some row or the same in all rows of the patterns or of a run."
            )
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "usable", np.asarray(usable, dtype=bool))

    @property
    def n_in_some_runs(self) -> int:
        """Number of features that are not usable although they are finite and vary: some run has no data of them."""
        varies = _vary(self.values, np.arange(len(self.values)))
        return int(np.count_nonzero(~self.usable & varies & np.isfinite(self.values).all(axis=0)))

    @property
    def conditions(self) -> list[str]:
        """The conditions, each once, in order of first appearance."""
        return list(dict.fromkeys(self.table["condition"]))

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])

    @property
    def n_rows(self) -> int:
        """Number of patterns."""
        return len(self.table)

    @property
    def n_samples(self) -> int:
        """Number of samples of the noise of each feature; 0 without residuals."""
        return 0 if self.residuals is None else len(self.residuals.values)

    @property
    def delays_s(self) -> list[float]:
        """The delays after onset at which responses were measured, in s, ascending; empty if there is one response."""
        return sorted({float(delay) for delay in self.table["delay_s"]}) if "delay_s" in self.table else []

    def at_delay(self, delay_s: float) -> "Patterns":
        """Return the responses at one of `delays_s`; which voxels are usable stays as it is."""
        rows = (self.table["delay_s"] == delay_s).to_numpy()
        noise = self.run_noise
        if noise is not None and noise.samples is None:
            noise = replace(noise, samples=self)
        table = self.table[rows].drop(columns="delay_s")
        return replace(self, values=self.values[rows], table=table, run_noise=noise)

    @property
    def runs(self) -> list[str]:
        """The runs, in order of first appearance; empty if they are not told apart."""
        return list(dict.fromkeys(self.table["run"])) if "run" in self.table else []

    def of_runs(self, runs: Sequence[str]) -> "Patterns":
        """Return the responses of some runs; what is seen of their noise is of these runs as well."""
        rows = self.table["run"].isin(list(runs)).to_numpy()
        noise = self.run_noise
        if noise is not None and noise.samples is not None:
            noise = replace(noise, samples=noise.samples.of_runs(runs))
        return replace(self, values=self.values[rows], table=self.table[rows], run_noise=noise)

    def of_columns(self, columns: slice) -> "Patterns":
        """Return the responses of voxels that follow each other, one of which is usable, and the noise of these."""
        noise, residuals = self.run_noise, self.residuals
        if noise is not None and noise.samples is not None:
            noise = replace(noise, samples=noise.samples.of_columns(columns))
        if residuals is not None:
            residuals = replace(residuals, values=residuals.values[:, columns])
        space = None if self.volume is None else self.volume.of_columns(columns)
        usable = self.usable[columns]
        return Patterns(self.values[:, columns], self.table, space, usable, residuals, noise)

    def in_order(self, conditions: Sequence[str]) -> "Patterns":
        """Return the same patterns with their conditions in another order (a subset is allowed)."""
        place = pd.Index(as_labels(conditions)).get_indexer(self.table["condition"])
        rows = np.argsort(place, kind="stable")
        rows = rows[place[rows] >= 0]
        return replace(self, values=self.values[rows], table=self.table.iloc[rows])

    def without_mean(self) -> "Patterns":
        """Take the mean over conditions out of each feature, for each run (and delay) by itself."""
        keys = [name for name in ("run", "delay_s") if name in self.table]
        groups = self.table.groupby(keys, sort=False).indices.values() if keys else [np.arange(len(self.table))]
        values = self.values.copy()
        for rows in groups:
            values[rows] -= self.values[rows].mean(axis=0, dtype=np.float64)
        return replace(self, values=values)

    def mean_over_runs(self) -> "Patterns":
        """Average the rows of each condition (and delay); the result has one row for each."""
        keys = [name for name in ("condition", "delay_s") if name in self.table]
        if list(self.table) == keys:
            return self
        groups = self.table.groupby(keys, sort=False).indices
        means = np.stack([self.values[rows].mean(axis=0, dtype=np.float64) for rows in groups.values()])
        return replace(self, values=means, table=pd.DataFrame(list(groups), columns=keys))


def _require_labels(table: pd.DataFrame, columns: Sequence[str], one: str, whose: str) -> None:
    """Raise a `UserError` if a row lacks a label that others have: it would belong to no run, or to another."""
    for name in columns:
        if name in table and (missing := table[name].isna().to_numpy()).any():
            raise UserError(
                f"{one} {int(missing.argmax()) + 1} of {whose} has no {name}; give all of them one"
                f"{'' if name == 'condition' else ', or leave the column out'}."
            )


def features_with_data(values: Array, runs: pd.Series | None = None, delays_s: pd.Series | None = None) -> Array:
    """Find the features that have data in every run: finite in all rows, and not the same for all conditions.

    What is the same for all conditions of a run, such as 0 outside a field of view that moved, was not measured there.
    With delays, a feature has data if conditions differ at one of them. Runs of a single row have data where they are
    finite; over all rows, features vary.

    Parameters
    ----------
    values : array, shape (n_rows, n_features)
        Responses.
    runs : Series, optional
        The run of each row; all are of one if it is left out.
    delays_s : Series, optional
        The delay of each row.

    Returns
    -------
    array of bool, shape (n_features,)

    Raises
    ------
    UserError
        If no feature has data in a run.

    Examples
    --------
    >>> features_with_data(np.array([[1.0, 1, 1], [2, 2, 2], [3, 0, 3], [4, 0, np.nan]]), pd.Series(list("aabb")))
    array([ True, False, False])
    """
    numbers = np.arange(len(values))
    by_run = {None: numbers} if runs is None else pd.Series(numbers).groupby(runs.to_numpy(), sort=False).indices
    usable = _vary(values, numbers) if len(values) > 1 else np.ones(values.shape[1], dtype=bool)
    for run, rows in by_run.items():
        here = np.isfinite(values[rows]).all(axis=0)
        if len(rows) > 1:
            here &= np.logical_or.reduce([_vary(values, part) for part in _by_delay(rows, delays_s)])
        if run is not None and len(by_run) > 1 and not here.any():
            raise UserError(
                f"Run {str(run)!r} has no data: each voxel is the same in all of its {len(rows)} images, or not "
                "finite; make it again, or leave the run out."
            )
        usable &= here
    return np.asarray(usable)


def _by_delay(rows: Array, delays_s: pd.Series | None) -> list[Array]:
    """Return the rows of each delay that has several; all rows if none has."""
    if delays_s is None:
        return [rows]
    delays = delays_s.to_numpy()[rows]
    parts = [rows[delays == delay] for delay in np.unique(delays)]
    return [part for part in parts if len(part) > 1] or [rows]


def _vary(values: Array, rows: Array) -> Array:
    """Say which features are not the same in all of some rows, (n_features,); one row at a time, to take no memory."""
    varies = np.zeros(values.shape[1], dtype=bool)
    for row in rows[1:]:
        varies |= values[row] != values[rows[0]]
    return varies


# ---------------------------------------------------------------------------------------------- epochs


@dataclass(frozen=True, eq=False)
class Epochs:
    """Responses of sensors over time: one trial per row.

    Parameters
    ----------
    values : array, shape (n_trials, n_channels, n_times)
        In the units of MNE (V, T, T/m); kept in float32.
    table : DataFrame, n_trials rows
        Has the column `condition`; may have `run`.
    times_s : array, shape (n_times,)
        Ascending, in s after onset.
    channels : DataFrame, n_channels rows
        `name`, each once, and `type` (mag, grad, eeg, ...).
    noise : Residuals, optional
        Samples of the same channels without a response to any condition.

    Raises
    ------
    UserError
        If lengths disagree, a column is missing, times do not ascend, or a value is not finite.
    """

    values: Array
    table: pd.DataFrame
    times_s: Array
    channels: pd.DataFrame
    noise: Residuals | None = None

    def __post_init__(self) -> None:
        values, times_s = np.asarray(self.values, dtype=np.float32), np.asarray(self.times_s, dtype=np.float64)
        expected = (len(self.table), len(self.channels), len(times_s))
        if values.shape != expected:
            raise UserError(f"Epochs of {expected} trials, channels and times do not have the shape {values.shape}.")
        if "condition" not in self.table:
            raise UserError("Every trial of the epochs needs a condition, in the column 'condition' of their table.")
        _require_labels(self.table, ("condition", "run"), "Trial", "the epochs")
        missing = [name for name in ("name", "type") if name not in self.channels]
        if missing or self.channels["name"].duplicated().any():
            raise UserError("Channels have the columns 'name', each name once, and 'type'.")
        if (np.diff(times_s) <= 0).any():
            raise UserError("The times of epochs ascend.")
        if not np.isfinite(values).all():
            trial = int(np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))[0])
            raise UserError(f"Trial {trial + 1} of the epochs holds values that are not finite; leave it out.")
        if self.noise is not None and self.noise.values.shape[1] != len(self.channels):
            n_noise = self.noise.values.shape[1]
            raise UserError(f"Epochs have {len(self.channels)} channels and their noise {n_noise}.")
        table = self.table.reset_index(drop=True).assign(condition=as_labels(self.table["condition"]))
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "times_s", times_s)
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "channels", self.channels.reset_index(drop=True))

    @property
    def conditions(self) -> list[str]:
        """The conditions, each once, in order of first appearance."""
        return list(dict.fromkeys(self.table["condition"]))

    def of_channels(self, channels: npt.ArrayLike) -> "Epochs":
        """Return the same trials of some of the channels (and their noise), by a mask or by positions."""
        chosen = positions(channels, len(self.channels), "channels")
        noise = None if self.noise is None else replace(self.noise, values=self.noise.values[:, chosen])
        return replace(self, values=self.values[:, chosen], channels=self.channels.iloc[chosen], noise=noise)


# ------------------------------------------------------------------------------------------------ RDMs


def n_conditions_of(n_pairs: int) -> int:
    """Return the n for which n (n - 1) / 2 is `n_pairs`.

    Examples
    --------
    >>> n_conditions_of(4186)
    92
    """
    n = round((1 + np.sqrt(1 + 8 * n_pairs)) / 2)
    if n < 2 or n * (n - 1) // 2 != n_pairs:
        raise UserError(f"{n_pairs} is not the number of pairs, n (n - 1) / 2, of any number n of conditions.")
    return int(n)


def pairs_in_order(order: Array) -> Array:
    """Return which pair of conditions stands at each pair when condition ``order[i]`` comes to place i.

    Examples
    --------
    >>> pairs_in_order(np.array([2, 0, 1])).tolist()
    [1, 2, 0]
    """
    rows, columns = np.triu_indices(len(order), 1)
    pairs = np.zeros((len(order), len(order)), dtype=np.intp)
    pairs[rows, columns] = pairs[columns, rows] = np.arange(len(rows))
    return np.asarray(pairs[order[rows], order[columns]])


@dataclass(frozen=True, eq=False)
class RDMs:
    """A stack of representational dissimilarity matrices over the same conditions.

    Parameters
    ----------
    values : array, shape (n_rdms, n_pairs)
        Upper triangles, row by row (the condensed form of `scipy.spatial.distance`).
    conditions : sequence of str
        Labels, in the order of the rows and columns of the square matrices.
    table : DataFrame, n_rdms rows
        What each RDM is: `layer`, `model`, `time_s`, `subject`, `region`, ...
    distance : str
        How it was measured.

    Raises
    ------
    UserError
        If n_pairs is not n (n - 1) / 2 for the n conditions, a label comes twice, or the table's length differs.
    """

    values: Array
    conditions: Sequence[str]
    table: pd.DataFrame
    distance: str = ""

    def __post_init__(self) -> None:
        values = np.atleast_2d(np.asarray(self.values, dtype=np.float64))
        conditions = tuple(as_labels(self.conditions))
        n = len(conditions)
        if values.ndim != 2 or values.shape[1] != n * (n - 1) // 2:
            raise UserError(
                f"RDMs of {n} conditions have {n * (n - 1) // 2} pairs, so a shape of (n_rdms, {n * (n - 1) // 2}); "
                f"these have shape {values.shape}."
            )
        if len(set(conditions)) < n:
            twice = [name for name in dict.fromkeys(conditions) if conditions.count(name) > 1]
            raise UserError(f"RDMs name the same condition twice: {listed(twice)}.")
        if len(self.table) != len(values):
            raise UserError(f"{len(values)} RDMs need a table of as many rows, not {len(self.table)}.")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "conditions", conditions)
        object.__setattr__(self, "table", self.table.reset_index(drop=True))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def n_conditions(self) -> int:
        """Number of conditions."""
        return len(self.conditions)

    @cached_property
    def squares(self) -> Array:
        """The RDMs as square symmetric matrices, shape (n_rdms, n_conditions, n_conditions)."""
        n = self.n_conditions
        rows, columns = np.triu_indices(n, k=1)
        square = np.zeros((len(self), n, n))
        square[:, rows, columns] = square[:, columns, rows] = self.values
        return square

    def reordered(self, conditions: Sequence[str]) -> "RDMs":
        """Return the same RDMs with their conditions in another order (a subset is allowed)."""
        conditions = tuple(as_labels(conditions))
        if conditions == self.conditions:
            return self
        place = {name: i for i, name in enumerate(self.conditions)}
        order = np.array([place[name] for name in conditions])
        rows, columns = np.triu_indices(len(order), k=1)
        return replace(self, values=self.squares[:, order[rows], order[columns]], conditions=conditions)

    def subset(self, rows: npt.ArrayLike) -> "RDMs":
        """Return some of the RDMs, by a mask or by positions."""
        chosen = positions(rows, len(self), "RDMs")
        return replace(self, values=self.values[chosen], table=self.table.iloc[chosen])


# --------------------------------------------------------------------------------------- neighbourhood


@dataclass(frozen=True, eq=False)
class Neighbourhood(OnSpace):
    """Which features belong together: a compressed sparse row matrix of centres x features.

    Parameters
    ----------
    indptr : array of int, shape (n_centres + 1,)
        The members of centre i are ``indices[indptr[i]:indptr[i + 1]]``.
    indices : array of int
        Positions among the features of the space, ascending for each centre.
    space : Space
        The features that the indices mean: the voxels of a mask.
    centres : array of int, shape (n_centres,), optional
        Position of each centre among the features; None where a centre is not one of them (regions).
    regions : DataFrame, n_centres rows, optional
        Labels of centres that are no features.
    radius_mm : float, optional
        Radius of the spheres.

    Raises
    ------
    UserError
        If an index is no feature, a centre has no members or has them in another order or twice, or neither
        centres nor regions are given.
    """

    indptr: Array
    indices: Array
    space: Space
    centres: Array | None = None
    regions: pd.DataFrame | None = None
    radius_mm: float | None = None

    def __post_init__(self) -> None:
        if (self.centres is None) == (self.regions is None):
            raise UserError("A neighbourhood has either centres (voxels) or regions (labels).")
        columns = self.centres if self.centres is not None else self.regions
        if columns is None or len(self.indptr) != len(columns) + 1 or self.indptr[-1] != len(self.indices):
            raise UserError("The index pointer of a neighbourhood does not fit its centres and indices.")
        if len(self.indices) and not 0 <= self.indices.min() <= self.indices.max() < self.space.n_features:
            raise UserError(f"A neighbourhood has members outside the {self.space.n_features} features of its space.")
        empty = np.flatnonzero(np.diff(self.indptr) == 0)
        if empty.size:
            names = self.regions.iloc[empty].to_dict("records") if self.regions is not None else empty.tolist()
            raise UserError(f"A neighbourhood has centres without members: {listed(list(map(str, names)))}.")
        ascending = self.indices[1:] > self.indices[:-1]
        ascending[self.indptr[1:-1] - 1] = True  # from one centre to the next, anything goes
        if not ascending.all():
            raise UserError("The members of each centre of a neighbourhood come in ascending order, and each once.")

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def members(self, centre: int) -> Array:
        """Return the positions of the members of one centre among the features, in ascending order."""
        members: Array = self.indices[self.indptr[centre] : self.indptr[centre + 1]]
        return members

    @property
    def n_members(self) -> Array:
        """Number of members of each centre, shape (n_centres,)."""
        return np.diff(self.indptr)


# ------------------------------------------------------------------------------------------- score map

DEFINED, NOT_A_CENTRE, NO_DATA, TOO_SMALL, CONSTANT_PATTERN, CONSTANT_RDM = range(6)
REASONS = {
    DEFINED: "defined",
    NOT_A_CENTRE: "not a centre (stride)",
    NO_DATA: "the voxel has no data (NaN in a row, or the same in all rows) in some run",
    TOO_SMALL: "fewer voxels in the sphere than min_voxels",
    CONSTANT_PATTERN: "a condition has the same value in all voxels of the sphere, so its distances are undefined",
    CONSTANT_RDM: "all dissimilarities are equal, so no score is defined",
}
"""Why a searchlight has no score; the codes of the `reason` image."""


def with_role(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table of the rows of scores, where each has a `role`: that of a reference, if it does not say."""
    return table.assign(role=table["role"].fillna(REFERENCE) if "role" in table else REFERENCE)


@dataclass(frozen=True, eq=False)
class ScoreMap(OnSpace):
    """Scores of references (rows) at voxels or regions (columns).

    Parameters
    ----------
    values : array, shape (n_maps, n_columns)
        Scores, float32; NaN where undefined.
    table : DataFrame, n_maps rows
        What each map is: `subject`, `model`, `layer`, `time_s`, `statistic` where they apply, and `role`: `REFERENCE`,
        where the table does not say, `QUALITY`, `PART` or `TEST`.
    space : Space, optional
        Where the columns are, such as a `Volume`.
    regions : DataFrame, n_columns rows, optional
        The columns, when they are regions.
    n_members : array of int, shape (n_columns,), optional
        Number of voxels that entered each score.
    reason : array of int, shape (n_columns,), optional
        A key of `REASONS` for each column.

    Raises
    ------
    UserError
        If the columns match neither the space nor the regions, or the table's length differs.
    """

    values: Array
    table: pd.DataFrame
    space: Space | None = None
    regions: pd.DataFrame | None = None
    n_members: Array | None = None
    reason: Array | None = None

    def __post_init__(self) -> None:
        values = np.atleast_2d(np.asarray(self.values, dtype=np.float32))
        if (self.space is None) == (self.regions is None):
            raise UserError("The columns of a score map are either those of a space, such as a volume, or regions.")
        n_columns = self.space.n_features if self.space is not None else len(self.regions)  # type: ignore[arg-type]
        if values.shape[1] != n_columns:
            raise UserError(f"A score map of shape {values.shape} does not fit the {n_columns} columns it describes.")
        if len(self.table) != len(values):
            raise UserError(f"{len(values)} maps need a table of as many rows, not {len(self.table)}.")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "table", with_role(self.table.reset_index(drop=True)))

    def rows(self, chosen: slice | Sequence[int] | Array) -> Array:
        """Return some of the maps, shape (n_chosen, n_columns)."""
        return np.asarray(self.values[chosen])

    def __len__(self) -> int:
        return len(self.values)

    def to_nifti(self, **labels: str) -> nib.Nifti1Image:
        """Make an image of the maps that carry these labels: 3-D of one map, 4-D of several.

        Parameters
        ----------
        **labels : str
            Columns of the table and the value that is wanted, as in ``to_nifti(layer="features.3")``.

        Raises
        ------
        UserError
            If no map carries the labels, or the columns are regions.
        """
        if self.space is None:
            raise UserError("Scores of regions have no image; use to_frame().")
        values = select(self, **labels).values
        image: nib.Nifti1Image = self.space.to_image(values[0] if len(values) == 1 else values)
        return image

    def view(self, **options: Any) -> Any:
        """Open the maps in a notebook, in niivue; `rsa.report.notebook.view` has the options.

        Raises
        ------
        UserError
            If ipyniivue is not installed (the extra `notebook`), or the columns are no voxels.
        """
        return import_module("rsa.report.notebook").view(self, **options)  # the one call of the root into a wing

    @property
    def labels(self) -> pd.DataFrame:
        """The table as people read it, without `role`."""
        return self.table.drop(columns="role")

    def to_frame(self) -> pd.DataFrame:
        """Return one row per region and map with the column `score` (in a space: `x_mm`, `y_mm`, `z_mm`)."""
        if self.space is not None:
            columns = pd.DataFrame(self.space.centres_mm, columns=["x_mm", "y_mm", "z_mm"])
        else:
            columns = self.regions
        parts = [
            columns.assign(**row, score=scores)
            for row, scores in zip(self.labels.to_dict("records"), self.values, strict=True)
        ]
        return pd.concat(parts, ignore_index=True)


# -------------------------------------------------------------------------------- by label, never by place


def positions(chosen: npt.ArrayLike, n: int, what: str) -> Array:
    """Return the positions of what is chosen of n things.

    Parameters
    ----------
    chosen : array of bool, shape (n,), or array of int
        A mask, or positions from 0 to n - 1 in any order.
    n : int
        How many there are.
    what : str
        What messages call them: "spheres".

    Raises
    ------
    UserError
        If it is neither, of another length, or beyond the last.

    Examples
    --------
    >>> positions([False, True, True], 3, "spheres"), positions([2, 0], 3, "spheres")
    (array([1, 2]), array([2, 0]))
    """
    given = np.asarray(chosen)
    if given.dtype == bool and given.shape == (n,):
        return np.flatnonzero(given)
    if given.ndim == 1 and (given.dtype.kind in "iu" or not given.size) and ((given >= 0) & (given < n)).all():
        return given.astype(np.intp)
    raise UserError(
        f"{n} {what} are chosen by a mask of {n} booleans or by positions from 0 to {n - 1}, not by {given.dtype} of "
        f"shape {given.shape}{': ' + listed(given.tolist()) if given.ndim == 1 else ''}."
    )


def select(stack: Stack, **labels: str) -> Stack:
    """Return the rows of a stack whose table carries all these labels.

    Raises
    ------
    UserError
        If the table has no such column, or no row carries the labels; the message names those that there are.
    """
    chosen = np.ones(len(stack), dtype=bool)
    for column, wanted in labels.items():
        if column not in stack.table:
            raise UserError(f"There is no column {column!r} to select by; the table has {listed(list(stack.table))}.")
        found = stack.table[column].astype(str)
        if not (found == str(wanted)).any():
            raise UserError(f"No {column} is {wanted!r}; there are {listed(list(dict.fromkeys(found)))}.")
        chosen &= (found == str(wanted)).to_numpy()
    if not chosen.any():
        raise UserError(
            f"No row has {' and '.join(f'{column} {wanted!r}' for column, wanted in labels.items())} at once."
        )
    return replace(stack, values=stack.values[chosen], table=stack.table[chosen])


def align(a_conditions: Sequence[str], b: RDMs, a_name: str = "patterns", b_name: str = "reference RDMs") -> RDMs:
    """Bring the conditions of RDMs into the order of another set of conditions, by label.

    Parameters
    ----------
    a_conditions : sequence of str
        The order that is wanted.
    b : RDMs
        RDMs over the same conditions in any order.
    a_name, b_name : str
        How the two are called in the message.

    Raises
    ------
    UserError
        If a condition of one is missing in the other; the message names the missing and the extra ones.
    """
    difference = difference_of_conditions(a_conditions, b.conditions, a_name, b_name)
    if difference:
        raise UserError(difference)
    return b.reordered(list(a_conditions))


def require_enough(conditions: Sequence[str], what: str) -> None:
    """Raise a `UserError` unless there are conditions enough to compare RDMs: 3, which have 3 dissimilarities.

    Of 2 conditions there is one dissimilarity, and with one number nothing correlates.
    """
    n = len(set(conditions))
    if n < FEWEST_CONDITIONS:
        raise UserError(
            f"RSA compares the dissimilarities of pairs, so it needs {FEWEST_CONDITIONS} conditions or more, and "
            f"{what} have {n}."
        )


def difference_of_conditions(a: Sequence[str], b: Sequence[str], a_name: str, b_name: str) -> str:
    """Say in one line which labels only one of two sets of conditions has; empty when they have the same."""
    a, b = as_labels(a), as_labels(b)
    in_a, in_b = set(a), set(b)
    only_a = [name for name in dict.fromkeys(a) if name not in in_b]
    only_b = [name for name in dict.fromkeys(b) if name not in in_a]
    if not only_a and not only_b:
        return ""
    parts = [f"{a_name} and {b_name} share {len(in_a & in_b)} of {len(in_a | in_b)} conditions"]
    if only_a:
        parts.append(f"missing in {b_name}: {listed(only_a)}")
    if only_b:
        parts.append(f"missing in {a_name}: {listed(only_b)}")
    return "; ".join(parts) + ". Give both the same labels."


def concatenate(stacks: Sequence[RDMs]) -> RDMs:
    """Put stacks of RDMs over the same conditions into one, in the condition order of the first.

    Labels that a stack does not have become empty strings; distances that differ are joined by '|'.
    """
    if not stacks:
        raise UserError("There are no RDMs to put together.")
    first = stacks[0]
    aligned = [align(first.conditions, other, "the first RDMs", "the others") for other in stacks]
    table = pd.concat([stack.table for stack in aligned], ignore_index=True)
    text = [column for column in table if table[column].dtype.kind not in "fiub"]
    table[text] = table[text].fillna("")
    distance = "|".join(dict.fromkeys(stack.distance for stack in stacks))
    return RDMs(np.concatenate([stack.values for stack in aligned]), first.conditions, table, distance)
