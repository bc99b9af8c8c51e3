"""Arrays in NumPy, HDF5 and MATLAB files: their shapes without reading them, and blocks of columns of their rows."""

import math
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rsa.core import Array
from rsa.errors import UserError
from rsa.files.io import NO_CACHE, reading
from rsa.files.rdm_labels import HEADERS, dataset_names

__all__ = ["READERS", "Stored", "arrays_in", "in_natural_order", "rows_of"]


@dataclass(frozen=True)
class Stored:
    """An array in a file.

    Parameters
    ----------
    path : path
        The file.
    name : str
        Of the array; empty in a .npy file.
    shape : tuple of int
        As users see it: of files of MATLAB 7.3, as MATLAB does.
    is_real : bool
        Whether it holds real numbers.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    is_real: bool

    @property
    def n_units(self) -> int:
        """Numbers in each row."""
        return math.prod(self.shape[1:])


def in_natural_order(names: Sequence[str]) -> list[str]:
    """Sort names with their numbers as numbers.

    Examples
    --------
    >>> in_natural_order(["conv10", "conv2", "fc"])
    ['conv2', 'conv10', 'fc']
    """

    def key(name: str) -> list[tuple[bool, int, str]]:
        parts = re.split(r"(\d+)", name)
        return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts if part]

    return sorted(names, key=key)


# ---------------------------------------------------------------------------------- what is in a file


def arrays_in(path: Path) -> list[Stored]:
    """List the arrays in a file, in its order, without reading them.

    Raises
    ------
    UserError
        If there is no such file, it is damaged, or of another kind.
    """
    if path.suffix not in READERS:
        raise UserError(f"{path} is none of the files that features are read from: {', '.join(READERS)}.")
    with reading(path, f"a {path.suffix} file of numbers"):
        return READERS[path.suffix].list(path)


def rows_of(stored: Stored) -> "Array | _Dataset":
    """Return what the rows of an array are sliced from: of HDF5 and .npy files only what is asked for is read."""
    with reading(stored.path, f"a {stored.path.suffix} file of numbers"):
        return READERS[stored.path.suffix].open(stored)


@dataclass(frozen=True)
class Reader:
    """How files of one kind are read.

    Parameters
    ----------
    list : callable
        ``path -> list of Stored``, by their headers.
    open : callable
        ``Stored -> array-like``, of its shape with all axes but the first flattened.
    """

    list: Callable[[Path], list[Stored]]
    open: "Callable[[Stored], Array | _Dataset]"


def _is_real(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "fiub"


def _list_npy(path: Path) -> list[Stored]:
    with path.open("rb") as stream:
        return [_of_header(path, "", stream)]


def _list_npz(path: Path) -> list[Stored]:
    found = []
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as stream:
                    found.append(_of_header(path, member.removesuffix(".npy"), stream))
    return found


def _of_header(path: Path, name: str, stream: Any) -> Stored:
    header = HEADERS.get(np.lib.format.read_magic(stream))
    shape, _, dtype = header(stream) if header is not None else ((), False, np.dtype(object))
    return Stored(path, name, tuple(shape), _is_real(dtype))


def _open_npy(stored: Stored) -> Array:
    array = np.load(stored.path, mmap_mode="r", allow_pickle=False)
    rows: Array = array.reshape(len(array), -1)
    return rows


def _open_npz(stored: Stored) -> Array:
    with stored.path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        array = file[stored.name]
        rows: Array = array.reshape(len(array), -1)
        return rows


def _list_hdf5(path: Path) -> list[Stored]:
    with h5py.File(path, "r") as file:
        names = in_natural_order(dataset_names(file))
        return [
            Stored(path, name, file[name].shape, _is_real(file[name].dtype))
            for name in names
            if file[name].shape is not None
        ]


def _list_mat(path: Path) -> list[Stored]:
    if h5py.is_hdf5(path):
        return [Stored(one.path, one.name, one.shape[::-1], one.is_real) for one in _list_hdf5(path)]
    from scipy import io

    numbers = ("double", "single", "logical", *(f"{sign}int{n}" for sign in ("", "u") for n in (8, 16, 32, 64)))
    return [Stored(path, name, tuple(shape), kind in numbers) for name, shape, kind in io.whosmat(path)]


def _open_mat(stored: Stored) -> "Array | _Dataset":
    if h5py.is_hdf5(stored.path):
        return _Dataset(stored, is_reversed=True)
    from scipy import io

    array = io.loadmat(stored.path, variable_names=[stored.name])[stored.name]
    rows: Array = array.reshape(len(array), -1)
    return rows


@dataclass(frozen=True)
class _Dataset:
    """The rows of a data set of HDF5, with all other axes flattened; blocks of columns are read when they are asked."""

    stored: Stored
    is_reversed: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, and of numbers in each."""
        return self.stored.shape[0], self.stored.n_units

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: tuple[slice, slice]) -> Array:
        """Read rows and adjacent columns, as of an array of two axes."""
        rows, columns = key
        first, last, _ = columns.indices(self.shape[1])
        inner = math.prod(self.stored.shape[2:])
        outer = slice(first // inner, -(-last // inner))
        with h5py.File(self.stored.path, "r", **NO_CACHE) as file:
            dataset = file[self.stored.name]
            if not self.is_reversed:
                block = dataset[:, outer] if dataset.ndim > 1 else dataset[:][:, None]
            else:
                block = dataset[..., outer, :].T if dataset.ndim > 1 else dataset[:][:, None]
        start = outer.start * inner
        wanted: Array = block.reshape(len(block), -1)[rows, first - start : last - start]
        return wanted


READERS: dict[str, Reader] = {
    ".npz": Reader(_list_npz, _open_npz),
    ".npy": Reader(_list_npy, _open_npy),
    ".h5": Reader(_list_hdf5, _Dataset),
    ".hdf5": Reader(_list_hdf5, _Dataset),
    ".mat": Reader(_list_mat, _open_mat),
}
"""How files are read, by the ending of their names."""
