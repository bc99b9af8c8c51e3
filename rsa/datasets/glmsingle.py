"""Single-trial betas of GLMsingle (Prince et al. 2022), in any of the files that it writes."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import h5py
import numpy as np
import pandas as pd
from pydantic import model_validator

from rsa.core import Array
from rsa.datasets.brain_images import BrainImages, Source
from rsa.datasets.tables import read_rows
from rsa.errors import UserError, listed
from rsa.files.images import read_mask
from rsa.files.io import reading
from rsa.inputs.stimuli import LabelPattern
from rsa.settings import DataPath, fill

__all__ = ["GlmSingle"]

logger = logging.getLogger(__name__)

KEYS = {"betasmd": "python", "modelmd": "matlab"}
"""What the betas are called, by the version that wrote them."""

SMOOTH_KEYS = ("meanvol", "R2")
"""What else may be in a file, by which the order of voxels shows: maps that are smooth in space."""

WHAT = "a file of GLMsingle"

N_TOGETHER = 4096
"""Voxels of a list whose trials are read together."""

SMOOTHER = 0.1
"""If neighbours are more similar by so much in one order of voxels than in the other, it is that one."""


class GlmSingle(BrainImages):
    """Single-trial betas of GLMsingle, with a table that says what each trial showed.

    The betas are those of Prince et al. [1]_, in percent signal change. A file .npy of GLMsingle is a pickled
    dictionary, and opening a pickle runs whatever code is in it: read only files that you made yourself. The .hdf5 and
    .mat files have no such risk.

    Raises
    ------
    ValidationError
        If a placeholder is unknown, or subjects would share a file.

    References
    ----------
    .. [1] Prince JS, Charest I, Kurzawski JW, Pyles JA, Tarr MJ, Kay KN (2022). Improving the accuracy of single-trial
       fMRI response estimates using GLMsingle. eLife 11:e77599.
    """

    located_by = "betas"
    templates = dict.fromkeys(("betas", "table", "grid_image", "mask"), ("subject",))

    kind: Literal["glmsingle"] = "glmsingle"
    """A file TYPED_FITHRF_GLMDENOISE_RR.npy, .hdf5 or .mat per subject, and a table of its trials."""
    betas: DataPath
    """Template ({subject}) of the files of betas: x by y by z by trials or, if GLMsingle was given the voxels of a
    mask, voxels by trials, also as voxels by 1 by 1 by trials."""
    table: DataPath
    """Template ({subject}) of the tables whose row i describes trial i, in the order of the design matrices."""
    grid_image: DataPath
    """Template ({subject}) of an image on the grid of the BOLD images that GLMsingle was given, which knows none."""
    condition_column: str = "condition"
    """Column of the table that holds the conditions."""
    condition_pattern: LabelPattern | None = None
    """Regular expression whose group is the condition, for a column that holds more than its label, such as file
    names: '([^/]+)[.]jpg'. What does not match stays as it is."""
    run_column: str | None = "run"
    """Column of the table that holds the runs; used if the table has it."""
    repeats: Literal["error", "mean"] = "mean"
    """What to do with several trials of one condition in a run: refuse them, or average them."""
    mask: DataPath | None = None
    """Template ({subject}) of the masks, above 0 inside; by default the voxels that vary over trials in every run. If
    GLMsingle was given the voxels of a mask, it has to be that mask."""
    voxel_order: Literal["python", "matlab"] | None = None
    """Order of the voxels of a mask: that of data[mask] in Python (the last axis fastest) or in MATLAB (the first axis
    fastest); by default that of the version of GLMsingle, if the maps do not look smoother in the other."""

    @model_validator(mode="after")
    def _files_differ(self) -> Self:
        self._require_subject("betas")
        if not self.betas.endswith(tuple(READERS)):
            raise ValueError(f"betas are read from files {listed(list(READERS))}, and it is {self.betas!r}")
        return self

    # --------------------------------------------------------------------------------------- the parts

    def _responses(self) -> str:
        return "Responses to single trials were estimated by GLMsingle (Prince et al., 2022)"

    def _sources(self, subject: str, conditions: Sequence[str] | None = None) -> list[Source]:
        betas, table, grid = (fill(name, subject=subject) for name in (self.betas, self.table, self.grid_image))
        mask = None if self.mask is None else fill(self.mask, subject=subject)
        return [Source(betas, table, grid=grid, mask=mask)]

    def _rows(self, source: Source) -> pd.DataFrame:
        assert source.table is not None, "trials are described by a table"
        return read_rows(source.table, self.condition_column, self.run_column, None, self.condition_pattern)

    def _n_images(self, source: Source) -> int:
        with _opened(source.image) as file:
            if source.grid is not None and source.grid.exists() and not self._has_images(source, file):
                self._places(source, file)
            return file.shape[-1]

    def _read(self, source: Source, numbers: Sequence[int], mask: Array) -> Array:
        with _opened(source.image) as file, np.errstate(over="ignore"):
            if self._has_images(source, file):
                return file.images(numbers, mask)
            return file.voxels(numbers)[:, self._places(source, file)[mask]]

    def _residual_images(self, subject: str) -> list[Path]:
        raise UserError("Residuals are needed and GLMsingle saves none; set noise.source to runs.")

    # --------------------------------------------------------------------------- which voxel is where

    def _has_images(self, source: Source, file: "_File") -> bool:
        """Say whether betas are on the grid; otherwise they are of a list of voxels."""
        grid = self._grid(source).shape
        if len(file.shape) == 4 and file.shape[:3] == grid:
            return True
        if len(file.shape) == 2 or (len(file.shape) == 4 and file.shape[1:3] == (1, 1)):
            return False
        raise UserError(
            f"{source.image} has betas of shape {file.shape} and the grid {source.grid} has {grid}; run GLMsingle on "
            "the whole 4-D images or on the voxels of a mask, or give an image on their grid."
        )

    def _places(self, source: Source, file: "_File") -> Array:
        """Return where in the file the voxels of the mask are, shape (n_x, n_y, n_z), with -1 outside.

        A `UserError` if there is no mask, it has another number of voxels, or the order of voxels is not certain.
        """
        inside, n_voxels = self._inside(source, file), file.shape[0]
        if n_voxels != np.count_nonzero(inside):
            raise UserError(
                f"{source.image} has betas of {n_voxels} voxels and the mask {source.mask} has "
                f"{np.count_nonzero(inside)}: set brain.mask to the mask that GLMsingle was run with."
            )
        places = {"python": _numbered(inside), "matlab": _numbered(inside.T).T}
        if self.voxel_order is not None:
            return places[self.voxel_order]
        own, other = (file.version, "matlab" if file.version == "python" else "python")
        smooth = {name: _smoothness(file.smooth_map(), places[name]) for name in places}
        if smooth[other] > smooth[own] + SMOOTHER:
            raise UserError(
                f"{source.image} is of the {own} version of GLMsingle, but neighbouring voxels are more similar in the "
                f"order of {other} (r {smooth[other]:.2f}, else {smooth[own]:.2f}): check the mask, and set "
                f"brain.voxel_order to {other} or {own}, the order in which its voxels were taken."
            )
        return places[own]

    def _inside(self, source: Source, file: "_File") -> Array:
        """Return which voxels of the grid a list may be of: all, if it has as many, or those of the mask."""
        grid = self._grid(source)
        if file.shape[0] == grid.n_voxels:
            return grid.mask
        if source.mask is None:
            raise UserError(
                f"{source.image} has betas of shape {file.shape}, so of a list of voxels, and the grid {source.grid} "
                f"has {grid.shape}: set brain.mask to the mask that GLMsingle was run with."
            )
        return read_mask(source.mask)


def _numbered(inside: Array) -> Array:
    """Give the voxels of a mask their numbers in a list of them, the last axis fastest; -1 outside.

    Examples
    --------
    >>> _numbered(np.array([[True, False], [True, True]]))
    array([[ 0, -1],
           [ 1,  2]])
    """
    places = np.full(inside.shape, -1)
    places[inside] = np.arange(np.count_nonzero(inside))
    return places


def _smoothness(values: Array, places: Array) -> float:
    """Correlate neighbouring voxels of a map, given as a list of voxels and where in it each voxel is."""
    volume = np.where(places >= 0, values[places], np.nan)
    along = [np.moveaxis(volume, axis, 0) for axis in range(volume.ndim)]
    pairs = np.concatenate([[image[:-1].ravel(), image[1:].ravel()] for image in along], axis=1)  # (2, n_pairs)
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    if pairs.shape[1] < 3 or (pairs.min(axis=1) == pairs.max(axis=1)).any():
        return 0.0
    return float(np.corrcoef(pairs)[0, 1])


# ----------------------------------------------------------------------------------------------- files


@dataclass(frozen=True)
class _File:
    """An open file of GLMsingle."""

    path: Path
    content: Mapping[str, Any]
    """Its arrays by their names."""
    is_reversed: bool
    """Whether axes come in reverse, as in HDF5 files of MATLAB."""

    @property
    def key(self) -> str:
        """The name of the betas."""
        found = next((key for key in KEYS if key in self.content), None)
        if found is None:
            raise UserError(f"{self.path} has no {' or '.join(KEYS)}; it holds {listed(sorted(self.content))}.")
        return found

    @property
    def version(self) -> str:
        """The version of GLMsingle that wrote it."""
        return KEYS[self.key]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the betas, trials last."""
        key = self.key
        with self._reading():
            shape, dtype = tuple(int(n) for n in self.content[key].shape), self.content[key].dtype
        if dtype.kind not in "iuf":
            raise UserError(f"{self.path} has betas of {dtype}, where real numbers are expected; save them as such.")
        return shape[::-1] if self.is_reversed else shape

    def images(self, numbers: Sequence[int], mask: Array) -> Array:
        """Read some trials of whole images in the voxels of a mask, shape (n_trials, n_voxels)."""
        values = np.empty((len(numbers), np.count_nonzero(mask)), dtype=np.float32)
        with self._reading():
            betas = self.content[self.key]
            if self.is_reversed:  # (n_trials, n_z, n_y, n_x)
                for row, number in enumerate(numbers):
                    values[row] = np.asarray(betas[number]).T[mask]
                return values
            ends = np.cumsum(mask.sum(axis=(1, 2)))  # (n_x,)
            for x, end in enumerate(ends):  # slice by slice, since the trials of a voxel lie together
                inside = np.asarray(betas[x])[mask[x]]  # (n_voxels of the slice, n_trials)
                values[:, end - len(inside) : end] = inside[:, list(numbers)].T
        return values

    def voxels(self, numbers: Sequence[int]) -> Array:
        """Read some trials of a list of voxels, shape (n_trials, n_voxels)."""
        values = np.empty((len(numbers), self.shape[0]), dtype=np.float32)
        with self._reading():
            betas = self.content[self.key]
            if self.is_reversed:  # (n_trials, 1, 1, n_voxels)
                for row, number in enumerate(numbers):
                    values[row] = np.ravel(betas[number])
                return values
            for start in range(0, values.shape[1], N_TOGETHER):
                block = np.asarray(betas[start : start + N_TOGETHER])  # (n_together, 1, 1, n_trials)
                values[:, start : start + N_TOGETHER] = block.reshape(len(block), -1)[:, list(numbers)].T
        return values

    def smooth_map(self) -> Array:
        """Return a map that is smooth in space, as a list of voxels, shape (n_voxels,)."""
        n_voxels = self.shape[0]
        with self._reading():
            for key in SMOOTH_KEYS:
                if key in self.content and np.size(self.content[key]) == n_voxels:
                    return np.asarray(np.ravel(self.content[key]), dtype=np.float64)
        return np.asarray(self.voxels([0])[0], dtype=np.float64)

    def _reading(self) -> AbstractContextManager[None]:
        return reading(self.path, WHAT)


@contextmanager
def _opened(path: Path) -> Iterator[_File]:
    """Open a file of GLMsingle, and say what it is if it is none."""
    with ExitStack() as stack:
        with reading(path, WHAT):
            content, is_reversed = stack.enter_context(READERS[path.suffix](path))
        yield _File(path, content, is_reversed)


@contextmanager
def _from_hdf5(path: Path) -> Iterator[tuple[Mapping[str, Any], bool]]:
    with h5py.File(path, "r") as file:
        yield file, False


@contextmanager
def _from_mat(path: Path) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Open a file of MATLAB: of version 7.3 as HDF5, of an older one as a whole."""
    from scipy.io import loadmat

    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            yield file, True
    else:
        yield loadmat(path, variable_names=[*KEYS, *SMOOTH_KEYS]), False


@contextmanager
def _from_numpy(path: Path) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Open a pickled dictionary or, without unpickling, an archive of arrays."""
    stored = np.load(path, allow_pickle=path.suffix == ".npy")
    content = stored if path.suffix == ".npz" else stored.item()
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__} and no dictionary")
    yield content, False


READERS: dict[str, Callable[[Path], Any]] = {
    ".npy": _from_numpy,
    ".npz": _from_numpy,
    ".hdf5": _from_hdf5,
    ".h5": _from_hdf5,
    ".mat": _from_mat,
}
"""How the betas are opened, by the ending of the file."""
