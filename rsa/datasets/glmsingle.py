"""Single-trial betas of GLMsingle (Prince et al. 2022), in any of the files that it writes."""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from rsa.settings import DataPath, fill, placeholders
from rsa.stimuli import LabelPattern

__all__ = ["GlmSingle"]

KEYS = ("betasmd", "modelmd")
"""What the betas are called in files of the Python and of the MATLAB version."""


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

    kind: Literal["glmsingle"] = "glmsingle"
    """A file TYPED_FITHRF_GLMDENOISE_RR.npy, .hdf5 or .mat per subject, and a table of its trials."""
    betas: DataPath
    """Template ({subject}) of the files of betas, x by y by z by trials."""
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
    """Template ({subject}) of the masks, above 0 inside; by default the voxels that vary over trials in every run."""

    @model_validator(mode="after")
    def _files_differ(self) -> Self:
        templates = (self.betas, self.table, self.grid_image, self.mask or "")
        unknown = set().union(*map(placeholders, templates)) - {"subject"}
        if unknown:
            raise ValueError(f"unknown placeholder {listed(sorted(unknown))}: all paths take {{subject}}")
        if len(self.subjects) > 1 and "subject" not in placeholders(self.betas):
            raise ValueError("betas has no {subject}, so all subjects would read the same file; put it there")
        if not self.betas.endswith(tuple(READERS)):
            raise ValueError(f"betas are read from files {listed(list(READERS))}, and it is {self.betas!r}")
        return self

    # --------------------------------------------------------------------------------------- the parts

    def _templates(self) -> list[str]:
        return [name for name in (self.betas, self.table, self.grid_image, self.mask) if name is not None]

    def _sources(self, subject: str, conditions: Sequence[str] | None = None) -> list[Source]:
        betas, table, grid = (fill(name, subject=subject) for name in (self.betas, self.table, self.grid_image))
        return [Source(betas, table, grid=grid)]

    def _rows(self, source: Source) -> pd.DataFrame:
        assert source.table is not None, "trials are described by a table"
        return read_rows(source.table, self.condition_column, self.run_column, None, self.condition_pattern)

    def _n_images(self, source: Source) -> int:
        with _opened(source.image) as (betas, trials_first):
            shape = tuple(betas.shape)[::-1] if trials_first else tuple(betas.shape)
        if source.grid is not None and source.grid.exists():
            grid = self._grid(source).shape
            if len(shape) != 4 or shape[:3] != grid:
                raise UserError(
                    f"{source.image} has betas of shape {shape} and the grid {source.grid} has {grid}; run GLMsingle "
                    "on the whole 4-D images, or give an image on their grid."
                )
        return int(shape[-1])

    def _read(self, source: Source, numbers: Sequence[int], mask: Array) -> Array:
        values = np.empty((len(numbers), np.count_nonzero(mask)), dtype=np.float32)
        with _opened(source.image) as (betas, trials_first), np.errstate(over="ignore"):
            if trials_first:  # MATLAB: (n_trials, n_z, n_y, n_x)
                for row, number in enumerate(numbers):
                    values[row] = np.asarray(betas[number]).T[mask]
                return values
            ends = np.cumsum(mask.sum(axis=(1, 2)))  # (n_x,)
            for x, end in enumerate(ends):  # slice by slice, since the trials of a voxel lie together
                inside = np.asarray(betas[x])[mask[x]]  # (n_voxels of the slice, n_trials)
                values[:, end - len(inside) : end] = inside[:, list(numbers)].T
        return values

    def _residual_images(self, subject: str) -> list[Path]:
        raise UserError("Residuals are needed and GLMsingle saves none; set noise.source to runs.")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, bool]]:
    """Open the betas of a file, and say whether trials come first, as in HDF5 files of MATLAB."""
    try:
        with READERS[path.suffix](path) as (content, trials_first):
            key = next((name for name in KEYS if name in content), None)
            if key is None:
                raise UserError(f"{path} has no {' or '.join(KEYS)}; it holds {listed(sorted(content))}.")
            yield content[key], trials_first
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except (OSError, EOFError, ValueError, TypeError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} is not a readable file of GLMsingle: {error}. Copy or make it again.") from error


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
        yield loadmat(path, variable_names=KEYS), False


@contextmanager
def _from_numpy(path: Path) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Open a pickled dictionary or, without unpickling, an archive of arrays."""
    content = np.load(path, allow_pickle=path.suffix == ".npy")
    yield content if path.suffix == ".npz" else content.item(), False


READERS: dict[str, Callable[[Path], Any]] = {
    ".npy": _from_numpy,
    ".npz": _from_numpy,
    ".hdf5": _from_hdf5,
    ".h5": _from_hdf5,
    ".mat": _from_mat,
}
"""How the betas are opened, by the ending of the file."""
