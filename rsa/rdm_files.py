"""RDMs that others have made, from NumPy, MATLAB, HDF5 and text files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import scipy.io

from rsa.core import Array, difference_of_conditions, n_conditions_of
from rsa.errors import UserError, did_you_mean, listed
from rsa.io import load_rdms, load_table, reading
from rsa.sources import load_cells, load_text, require_content

__all__ = [
    "agreed_labels",
    "chosen_array",
    "dataset_names",
    "is_rdms_file",
    "labels_in_file",
    "read_conditions",
    "read_rdms",
    "refuse_key",
    "require_finite",
    "require_rdms",
]

LABELS_KEY = "conditions"
"""Name of the array that holds the labels, in formats whose arrays have names."""

TOLERANCE = 1e-6
"""How far a matrix may be from symmetry, and its diagonal from zero, relative to its largest entry."""


def read_rdms(
    path: str | Path, key: str | None = None, conditions: Sequence[str] | None = None
) -> tuple[Array, list[str]]:
    """Read RDMs from a .npz, .npy, .mat (any version), .h5, .hdf5, .csv or .tsv file.

    Square matrices may be stored as (n, n), (n_rdms, n, n) or (n, n, n_rdms), condensed ones as (n_pairs,) or
    (n_rdms, n_pairs). A diagonal of NaN counts as zero.

    Parameters
    ----------
    path : path
        The file: also one of this pipeline's own, whose RDMs carry their labels.
    key : str, optional
        Name of the array; not needed where the file has only one.
    conditions : sequence of str, optional
        Labels in the order of the rows. Labels inside the file (its header, or an array called `conditions`)
        come first, and must then be the same ones in any order.

    Returns
    -------
    values : array, shape (n_rdms, n_pairs), float64
        Condensed RDMs.
    conditions : list of str, n_conditions long
        Labels in the order of the file.

    Raises
    ------
    UserError
        If there is no such file or array, no labels are known, their number differs from that of the matrix, or
        it is not an RDM: not symmetric, diagonal not zero (similarities), NaN off the diagonal.
    """
    path = Path(path)
    if is_rdms_file(path):
        rdms = load_rdms(path)
        require_finite(rdms.values, str(path))
        return rdms.values, agreed_labels(list(rdms.conditions), conditions, str(path))
    array, stored = _read_array(path, key)
    what = str(path) if key is None else f"{key!r} in {path}"
    labels = agreed_labels(stored, conditions, what)
    return _condensed(array, labels, what), labels


def is_rdms_file(path: str | Path) -> bool:
    """Say whether a file is one that this pipeline wrote to hold RDMs."""
    if Path(path).suffix not in (".h5", ".hdf5") or not h5py.is_hdf5(path):
        return False
    with reading(path, "an HDF5 file"), h5py.File(path, "r") as file:
        return bool(file.attrs.get("kind") == "RDMs")


def read_conditions(path: str | Path, column: str = "condition") -> list[str]:
    """Read labels of conditions in their order: a column of a table, or a .txt file with one on each line.

    Raises
    ------
    UserError
        If the file or the column is missing, or a label comes twice.
    """
    if Path(path).suffix == ".txt":
        labels = [line.strip() for line in load_text(path, "list of conditions").splitlines() if line.strip()]
    else:
        labels = list(load_table(path, [column])[column])
    twice = [name for name in dict.fromkeys(labels) if labels.count(name) > 1]
    if twice:
        raise UserError(f"{path} names {listed(twice)} more than once; an RDM has each condition once.")
    return labels


def agreed_labels(stored: list[str] | None, given: Sequence[str] | None, what: str) -> list[str]:
    """Take the labels of the file, or else those that are given; both must be the same set."""
    if stored is None:
        if given is None:
            raise UserError(
                f"{what} holds no labels, so the order of its conditions is not known; name a file that lists "
                "them as `condition_order`, or give a stimulus table that is in their order."
            )
        return [str(name) for name in given]
    if given is not None:
        difference = difference_of_conditions(given, stored, "the conditions given", what)
        if difference:
            raise UserError(difference)
    return stored


# ------------------------------------------------------------------------------------------- formats


def _read_array(path: Path, key: str | None) -> tuple[Array, list[str] | None]:
    """Read one array, and the labels if the file has them, with the reader for its suffix."""
    if path.suffix not in READERS:
        raise UserError(f"{path} is none of the files that RDMs are read from: {', '.join(READERS)}.")
    require_content(path)
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    with reading(path, f"a {path.suffix} file of numbers"):
        array, labels = READERS[path.suffix](path, key)
    if array.dtype.kind not in "biuf":
        raise UserError(f"{key or 'the array'} in {path} holds {array.dtype}, not the numbers of an RDM.")
    return np.asarray(array, dtype=np.float64), labels


def chosen_array(path: Path, names: Sequence[str], key: str | None) -> str:
    """Return the name of the array to read: the key, or the only one that there is."""
    arrays = [name for name in names if name != LABELS_KEY]
    if key is None and len(arrays) == 1:
        return arrays[0]
    if key is None:
        raise UserError(f"{path} holds {len(arrays)} arrays, so a key is needed; give one of {listed(arrays, 20)}.")
    if key not in arrays:
        raise UserError(f"{path} has no array {key!r}.{did_you_mean(key, arrays)} It has {listed(arrays, 20)}.")
    return key


def refuse_key(path: Path, key: str | None) -> None:
    """Raise a `UserError` if a key is given for a file that has no names."""
    if key is not None:
        raise UserError(
            f"A {path.suffix} file holds one array without a name, so there is no {key!r} in {path}; leave the key "
            "out and give each array its own file."
        )


def _from_npy(path: Path, key: str | None) -> tuple[Array, None]:
    refuse_key(path, key)
    return np.load(path, allow_pickle=False), None


def _from_npz(path: Path, key: str | None) -> tuple[Array, list[str] | None]:
    with np.load(path, allow_pickle=False) as file:
        return file[chosen_array(path, file.files, key)], labels_in_file(file)


def _from_hdf5(path: Path, key: str | None) -> tuple[Array, list[str] | None]:
    with h5py.File(path, "r") as file:
        return file[chosen_array(path, dataset_names(file), key)][()], labels_in_file(file)


def _from_mat(path: Path, key: str | None) -> tuple[Array, None]:
    """Read MATLAB files; version 7.3 is HDF5, where the axes come in reverse."""
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            names = [name for name in dataset_names(file) if not name.startswith("#")]
            return np.asarray(file[chosen_array(path, names, key)][()]).T, None
    names = [name for name, _, _ in scipy.io.whosmat(path)]
    name = chosen_array(path, names, key)
    return scipy.io.loadmat(path, variable_names=[name])[name], None


def _from_text(path: Path, key: str | None) -> tuple[Array, list[str]]:
    """Read a square matrix with the labels in the first line and in the first column."""
    refuse_key(path, key)
    cells = pd.DataFrame([row for _, row in load_cells(path)], dtype=str).fillna("")
    columns, rows = list(cells.iloc[0, 1:]), list(cells.iloc[1:, 0])
    if not rows or columns != rows:
        raise UserError(
            f"{path} needs the same labels in its first line and in its first column; they are {listed(columns, 3)} "
            f"({len(columns)}) and {listed(rows, 3)} ({len(rows)})."
        )
    return cells.iloc[1:, 1:].replace(["", "n/a", "NA"], "nan").to_numpy().astype(np.float64), rows


READERS: dict[str, Callable[[Path, str | None], tuple[Array, list[str] | None]]] = {
    ".npz": _from_npz,
    ".npy": _from_npy,
    ".mat": _from_mat,
    ".h5": _from_hdf5,
    ".hdf5": _from_hdf5,
    ".csv": _from_text,
    ".tsv": _from_text,
}


def dataset_names(file: h5py.File) -> list[str]:
    """Return the paths of all data sets in an HDF5 file."""
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def labels_in_file(file: Mapping[str, Any]) -> list[str] | None:
    """Return the labels of conditions in a file, if it has some."""
    if LABELS_KEY not in file:
        return None
    labels = np.asarray(file[LABELS_KEY]).ravel()
    return [label.decode() if isinstance(label, bytes) else str(label) for label in labels.tolist()]


# -------------------------------------------------------------------------------- from square to condensed


def _condensed(array: Array, labels: Sequence[str], what: str) -> Array:
    """Bring any of the accepted shapes to (n_rdms, n_pairs), and refuse what is not an RDM."""
    n, n_pairs = len(labels), len(labels) * (len(labels) - 1) // 2
    if array.ndim == 2 and 1 in array.shape and n_pairs > 1:
        array = array.ravel()  # (n_pairs,): MATLAB has no vectors, only matrices of one row or column
    if array.ndim == 1:
        array = array[None]
    is_square = array.ndim == 3 or (array.ndim == 2 and array.shape[0] == array.shape[1])
    if is_square and array.shape == (n_pairs, n_pairs) and not (array.shape == (n, n) and _are_rdms(array[None])):
        is_square = False  # as many condensed RDMs as there are pairs
    if is_square:
        squares = _stacked(array, n, what)
        require_rdms(squares, labels, what)
        rows, columns = np.triu_indices(n, k=1)
        return squares[:, rows, columns]  # (n_rdms, n_pairs)
    if array.ndim != 2:
        raise UserError(
            f"{what} has shape {array.shape}; RDMs come as (n, n), (n_rdms, n, n), (n, n, n_rdms), (n_pairs,) or "
            "(n_rdms, n_pairs)."
        )
    _require_number(n_conditions_of(array.shape[1]), n, array.shape, what)
    require_finite(array, what)
    return array


def require_finite(vectors: Array, what: str) -> None:
    """Raise a `UserError` if a dissimilarity is missing."""
    if not np.isfinite(vectors).all():
        rdm, pair = np.argwhere(~np.isfinite(vectors))[0]
        raise UserError(f"{what} is NaN or infinite in pair {pair} of RDM {rdm}; leave such conditions out.")


def _stacked(array: Array, n: int, what: str) -> Array:
    """Return square matrices as (n_rdms, n, n), with the axis of the RDMs found by size or by symmetry."""
    if array.ndim == 2:
        _require_number(len(array), n, array.shape, what)
        return array[None]
    first, second, third = array.shape
    candidates = [array] if second == third else []
    if first == second:
        candidates.append(np.moveaxis(array, -1, 0))
    if not candidates:
        raise UserError(f"{what} has shape {array.shape}; a stack of RDMs has shape (n_rdms, n, n) or (n, n, n_rdms).")
    if len(candidates) == 2:  # n RDMs of n conditions: were both ways symmetric, both would give the same RDMs
        candidates = [stack for stack in candidates if _are_rdms(stack)] or candidates
    _require_number(candidates[0].shape[1], n, array.shape, what)
    return candidates[0]


def _require_number(n_found: int, n_labels: int, shape: tuple[int, ...], what: str) -> None:
    if n_found != n_labels:
        raise UserError(
            f"{what} has {n_found} conditions (shape {shape}), but there are {n_labels} labels; give one for each."
        )


def _asymmetry(squares: Array) -> float:
    """Return the largest difference between mirrored entries, relative to the largest entry."""
    largest = np.nanmax(np.abs(squares), initial=0)
    with np.errstate(invalid="ignore"):  # infinite minus infinite
        difference = np.abs(squares - squares.swapaxes(1, 2))
    return float(np.nanmax(difference, initial=0) / largest) if largest > 0 else 0.0


def _diagonals(squares: Array) -> Array:
    """Return the diagonals, shape (n_rdms, n), with zeros for NaN."""
    diagonals: Array = np.nan_to_num(np.diagonal(squares, axis1=1, axis2=2), nan=0.0)
    return diagonals


def _are_rdms(squares: Array) -> bool:
    """Say whether all matrices, shape (n_rdms, n, n), are symmetric with a diagonal of zeros."""
    largest = np.nanmax(np.abs(squares), initial=0)
    return _asymmetry(squares) <= TOLERANCE and bool((np.abs(_diagonals(squares)) <= TOLERANCE * largest).all())


def require_rdms(squares: Array, labels: Sequence[str], what: str) -> None:
    """Raise a `UserError` that says why matrices, shape (n_rdms, n, n), are no RDMs."""
    bad = ~np.isfinite(squares) & ~(np.isnan(squares) & np.eye(len(labels), dtype=bool))
    if bad.any():
        rdm, row, column = np.argwhere(bad)[0]
        raise UserError(
            f"{what} is NaN or infinite in {bad.sum()} places, first between {labels[row]!r} and {labels[column]!r} of "
            f"RDM {rdm}; leave such conditions out."
        )
    diagonals, asymmetry = _diagonals(squares), _asymmetry(squares)
    if np.allclose(diagonals, 1, atol=TOLERANCE):
        raise UserError(f"{what} has ones on its diagonal, so it holds similarities; save dissimilarities, 1 - them.")
    if asymmetry > TOLERANCE:
        raise UserError(
            f"{what} is not symmetric: mirrored entries differ by up to {asymmetry:.2g} of the largest entry; an RDM "
            "has the same dissimilarity both ways."
        )
    if not _are_rdms(squares):
        largest = float(np.abs(diagonals).max())
        raise UserError(f"{what} has up to {largest:.4g} on its diagonal; a condition differs by 0 from itself.")
