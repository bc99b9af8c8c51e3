"""RDMs that others have made, from NumPy, MATLAB, HDF5 and text files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import pandas as pd

from rsa.comparisons import TIE
from rsa.core import Array, RDMs, as_labels, n_conditions_of, require_enough
from rsa.distances import CROSS_VALIDATED
from rsa.errors import UserError, did_you_mean, listed
from rsa.files.io import load_rdms, load_table, reading
from rsa.files.rdm_labels import LABELS_KEY, Column, columns_of, dataset_names, labels_of_rows
from rsa.files.sources import is_number, load_cells, load_text, require_content
from rsa.settings import DataPath, Section

__all__ = [
    "ReadyRdms",
    "chosen_array",
    "is_rdms_file",
    "oddities_of",
    "read_conditions",
    "read_rdms",
    "refuse_key",
    "require_differences",
    "require_finite",
    "require_rdms",
    "varies",
]

ROUNDING = 2.0**-17
"""How far a matrix may be from symmetry, relative to 1 or its largest entry: what single precision makes of 1 - r."""

ROOT_OF_ROUNDING = ROUNDING**0.5
"""How far its diagonal may be from zero, relative to its largest entry: a root makes more of rounding."""


class ReadyRdms(Section):
    """What is said of any RDMs that others have made: the order of their rows, and how they were measured."""

    condition_order: Literal["stimuli"] | DataPath = "stimuli"
    """Order of the rows of a file without labels: that of the stimulus table, or of another file (a table, or .txt with
    a label on each line). Labels that the file itself has must not contradict it."""
    condition_column: str = "condition"
    """Column of that table."""
    distance: str = "unknown"
    """How the dissimilarities were measured, for the record."""

    @property
    def is_in_order(self) -> bool:
        """Whether the user says in which order the rows are."""
        return self.condition_order != "stimuli"

    @property
    def order_files(self) -> list[Path]:
        """The file that tells the order, if there is one."""
        return [Path(self.condition_order)] if self.is_in_order else []

    def told_order(self, stimuli: Sequence[str] | None = None) -> list[str] | None:
        """Return the conditions in the order of the rows: those of the file that tells it, or else the stimuli."""
        if self.is_in_order:
            return read_conditions(self.condition_order, self.condition_column)
        return None if stimuli is None else list(stimuli)


def read_rdms(
    path: str | Path,
    key: str | None = None,
    conditions: Sequence[str] | None = None,
    *,
    in_order: bool = False,
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
        Labels of the conditions. Those inside the file come first, and must then be the same ones in any order: a
        header, or an array of texts with one for each row (`rsa.files.rdm_labels`). Without any in the file, the rows
        are in this order.
    in_order : bool
        Whether the rows are known to be in the order of `conditions`, which labels inside the file must not contradict.

    Returns
    -------
    values : array, shape (n_rdms, n_pairs), float64
        Condensed RDMs.
    conditions : list of str, n_conditions long
        Labels in the order of the file.

    Raises
    ------
    UserError
        If there is no such file or array, no labels are known, texts in the file may be labels and are not the
        conditions, their number differs from that of the matrix, or it is not an RDM: not symmetric, diagonal not zero
        (similarities), NaN off the diagonal.
    """
    path = Path(path)
    if is_rdms_file(path):
        rdms = load_rdms(path)
        require_finite(rdms.values, str(path))
        own = Column(LABELS_KEY, "text", tuple(rdms.conditions))
        shape = (rdms.n_conditions,) * 2
        return rdms.values, labels_of_rows([own], "", shape, conditions, str(path), in_order=in_order)
    name, array, columns = _read_array(path, key)
    what = str(path) if key is None else f"{key!r} in {path}"
    labels = labels_of_rows(columns, name, array.shape, conditions, what, in_order=in_order)
    return _condensed(array, labels, what).astype(np.float64), labels


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
        text = load_text(path, "list of conditions")
        labels = as_labels(line.strip() for line in text.splitlines() if line.strip())
    else:
        labels = as_labels(load_table(path, [column])[column])
    twice = [name for name in dict.fromkeys(labels) if labels.count(name) > 1]
    if twice:
        raise UserError(f"{path} names {listed(twice)} more than once; an RDM has each condition once.")
    return labels


# ------------------------------------------------------------------------------------------- formats


def _read_array(path: Path, key: str | None) -> tuple[str, Array, list[Column]]:
    """Read one array with the reader for its suffix: its name, its values, and what may be labels beside it."""
    if path.suffix not in READERS:
        raise UserError(f"{path} is none of the files that RDMs are read from: {', '.join(READERS)}.")
    require_content(path)
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    with reading(path, f"a {path.suffix} file of numbers"):
        name, array, columns = READERS[path.suffix](path, key)
    if array.dtype.kind not in "biuf":
        raise UserError(f"{key or 'the array'} in {path} holds {array.dtype}, not the numbers of an RDM.")
    return name, array if array.dtype == np.float16 else np.asarray(array, dtype=np.float64), columns


def chosen_array(path: Path, names: Sequence[str], key: str | None) -> str:
    """Return the name of the array to read: the key, or the only one that there is besides labels and descriptions."""
    arrays = [name for name in names if name != LABELS_KEY and not name.startswith("__")]  # MATLAB's own
    if key in arrays:
        return str(key)
    if len(arrays) > 1:
        others = {column.name for column in columns_of(path) if column.kind != "numbers"}
        arrays = [name for name in arrays if name not in others and "descriptors/" not in name]
    if key is None and len(arrays) == 1:
        return arrays[0]
    if key is None:
        raise UserError(f"{path} holds {len(arrays)} arrays, so a key is needed; give one of {listed(arrays, 20)}.")
    raise UserError(f"{path} has no array {key!r}.{did_you_mean(key, arrays)} It has {listed(arrays, 20)}.")


def refuse_key(path: Path, key: str | None) -> None:
    """Raise a `UserError` if a key is given for a file that has no names."""
    if key is not None:
        raise UserError(
            f"A {path.suffix} file holds one array without a name, so there is no {key!r} in {path}; leave the key "
            "out and give each array its own file."
        )


Found = tuple[str, Array, list[Column]]
"""The name of an array (empty if it has none), the array, and what may be labels beside it."""


def _from_npy(path: Path, key: str | None) -> Found:
    refuse_key(path, key)
    return "", np.load(path, allow_pickle=False), []


def _from_npz(path: Path, key: str | None) -> Found:
    with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:  # NumPy closes no damaged file
        name = chosen_array(path, file.files, key)
        return name, file[name], columns_of(path)


def _from_hdf5(path: Path, key: str | None) -> Found:
    with h5py.File(path, "r") as file:
        name = chosen_array(path, dataset_names(file), key)
        return name, file[name][()], columns_of(path)


def _from_mat(path: Path, key: str | None) -> Found:
    """Read MATLAB files; version 7.3 is HDF5, where the axes come in reverse."""
    if h5py.is_hdf5(path):
        name, array, columns = _from_hdf5(path, key)
        return name, np.asarray(array).T, columns
    from scipy import io

    name = chosen_array(path, [name for name, _, _ in io.whosmat(path)], key)
    return name, io.loadmat(path, variable_names=[name])[name], columns_of(path)


def _from_text(path: Path, key: str | None) -> Found:
    """Read a square matrix with labels in its first line, in its first column, in both or in neither."""
    refuse_key(path, key)
    lines = [row for _, row in load_cells(path)]
    n_most = max(map(len, lines))
    _require_separated(path, lines)
    if len(lines[0]) == n_most - 1 and {len(row) for row in lines[1:]} == {n_most}:
        lines[0].insert(0, "")  # R leaves the corner out
    cells = pd.DataFrame([row + [""] * (n_most - len(row)) for row in lines], dtype=str)
    n_lines, n_columns = cells.shape
    is_bare = n_lines == n_columns and is_number(cells.iloc[0, 0])
    n_first_lines = int(n_columns - n_lines != 1 and not is_bare)
    n_first_columns = int(n_lines - n_columns != 1 and not is_bare)
    columns = as_labels(cells.iloc[0, n_first_columns:].str.strip()) if n_first_lines else []
    rows = as_labels(cells.iloc[n_first_lines:, 0].str.strip()) if n_first_columns else []
    if _are_places(columns, rows):
        columns = rows
    elif _are_places(rows, columns):
        rows = columns
    if (n_first_lines and n_first_columns and columns != rows) or n_lines < 2:
        raise UserError(
            f"{path} needs the same labels in its first line and in its first column; they are {listed(columns, 3)} "
            f"({len(columns)}) and {listed(rows, 3)} ({len(rows)})."
        )
    numbers = cells.iloc[n_first_lines:, n_first_columns:].replace(["", "n/a", "NA"], "nan")
    labels = [] if is_bare else [Column("the first line", "text", tuple(columns or rows))]
    return "", numbers.to_numpy().astype(np.float64), labels


def _require_separated(path: Path, lines: Sequence[Sequence[str]]) -> None:
    """Raise a `UserError` if the cells of most lines are separated by something else than the ending says."""
    expected = "commas" if path.suffix == ".csv" else "tabs"
    for mark, words in {";": "semicolons", "\t": "tabs", ",": "commas"}.items():
        n_alike = sum(sum(cell.count(mark) for cell in row) >= len(lines) - 2 for row in lines)
        if 2 * n_alike > len(lines) > 2 and (mark == ";" or {len(row) for row in lines} == {1}):
            raise UserError(
                f"The cells of {path} are separated by {words}, where {expected} are expected in a {path.suffix}; save "
                "it with these, and with a point in decimals."
            )


def _are_places(labels: Sequence[str], others: Sequence[str]) -> bool:
    """Say whether labels are the numbers that pandas and R give to rows without names, and the others are names."""
    numbers = [[f"{mark}{k + first}" for k in range(len(labels))] for mark, first in (("", 0), ("", 1), ("V", 1))]
    return len(labels) == len(others) and list(labels) in numbers and set(labels) != set(others)


READERS: dict[str, Callable[[Path, str | None], Found]] = {
    ".npz": _from_npz,
    ".npy": _from_npy,
    ".mat": _from_mat,
    ".h5": _from_hdf5,
    ".hdf5": _from_hdf5,
    ".csv": _from_text,
    ".tsv": _from_text,
}


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


def varies(vectors: Array) -> Array:
    """Say of each RDM, shape (n_rdms, n_pairs), whether not all of its dissimilarities are the same."""
    smallest, largest = vectors.min(axis=1, initial=np.inf), vectors.max(axis=1, initial=-np.inf)
    different: Array = largest - smallest > TIE * np.maximum(np.abs(smallest), np.abs(largest))
    return different


def require_differences(vectors: Array, conditions: Sequence[str], what: str) -> None:
    """Raise a `UserError` if there are fewer than 3 conditions, or every RDM has one dissimilarity for all pairs."""
    require_enough(conditions, what)
    if not varies(vectors).any():
        raise UserError(
            f"{what} have the same dissimilarity, {vectors[0, 0]:.4g}, for all pairs of {len(conditions)} conditions, "
            "so no score is defined; see whether this is the right array."
        )


def oddities_of(rdms: RDMs) -> list[str]:
    """Say what is odd about RDMs that others have made: that they look like similarities, or some are all the same.

    Similar conditions are near to the same others. So distances make a cloud of points, and the largest
    eigenvalue of the doubly centred matrix is positive; of similarities it is negative.

    Returns
    -------
    list of str
        A line for each, which can follow the name of the RDMs; empty if nothing is odd.
    """
    found = []
    constant = np.flatnonzero(~varies(rdms.values))
    if len(constant):
        found.append(f"{len(constant)} of {len(rdms)} RDMs are the same for all pairs, so they have no score.")
    if rdms.distance in CROSS_VALIDATED:
        return found
    if _are_like_similarities(rdms):
        found.append(
            "large values join conditions that are alike, as similarities do; if it holds them, save 1 - them."
        )
    elif (share := float((rdms.values < 0).mean())) > MOST_BELOW_0:
        found.append(
            f"{share:.0%} of the values are below 0, as of cross-validated distances; if they are, say so (`distance: "
            "crossnobis`), and if they are similarities, save 1 - them."
        )
    return found


def _are_like_similarities(rdms: RDMs) -> bool:
    square = rdms.squares[:, :MOST_COMPARED, :MOST_COMPARED].mean(axis=0)
    if len(square) < FEWEST_COMPARED:
        return False
    centred = square - square.mean(axis=0) - square.mean(axis=1)[:, None] + square.mean()
    eigenvalues = np.linalg.eigvalsh(-centred / 2)
    return bool(-eigenvalues[0] > MORE_NEGATIVE * eigenvalues[-1])


MOST_BELOW_0 = 0.2
"""Share of values below 0 from which on they are odd."""
MORE_NEGATIVE = 1.2
"""How much larger the largest negative eigenvalue is than the largest positive one from which on it is odd."""
FEWEST_COMPARED, MOST_COMPARED = 5, 500
"""Numbers of conditions from which eigenvalues tell something, and of which they are computed."""


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
    """Return the largest difference between mirrored entries."""
    with np.errstate(invalid="ignore"):  # infinite minus infinite
        difference = np.abs(squares - squares.swapaxes(1, 2))
    return float(np.nanmax(difference, initial=0))


def _diagonals(squares: Array) -> Array:
    """Return the diagonals, shape (n_rdms, n), with zeros for NaN."""
    diagonals: Array = np.nan_to_num(np.diagonal(squares, axis1=1, axis2=2), nan=0.0)
    return diagonals


def _rounding(squares: Array) -> tuple[float, float]:
    """Return how far mirrored entries may differ, and a diagonal be from 0, by rounding in single or half precision.

    In 1 - r, the errors are those of r, of numbers up to 1, however small the largest distance is; but the errors are
    never a part of it that counts.
    """
    largest = float(np.nanmax(np.abs(squares), initial=0))
    relative = max(ROUNDING, 8 * float(np.finfo(squares.dtype).eps))
    return max(relative * largest, min(relative, 1e-3 * largest)), max(relative, ROOT_OF_ROUNDING) * largest


def _are_rdms(squares: Array) -> bool:
    """Say whether all matrices, shape (n_rdms, n, n), are symmetric with a diagonal of zeros."""
    mirrored, diagonal = _rounding(squares)
    return _asymmetry(squares) <= mirrored and bool((np.abs(_diagonals(squares)) <= diagonal).all())


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
    if np.allclose(diagonals, 1, rtol=0, atol=ROOT_OF_ROUNDING):
        raise UserError(f"{what} has ones on its diagonal, so it holds similarities; save dissimilarities, 1 - them.")
    if asymmetry > _rounding(squares)[0]:
        share = asymmetry / float(np.nanmax(np.abs(squares)))
        raise UserError(
            f"{what} is not symmetric: mirrored entries differ by up to {share:.2g} of the largest entry; an RDM has "
            "the same dissimilarity both ways."
        )
    if not _are_rdms(squares):
        largest = float(np.abs(diagonals).max())
        raise UserError(f"{what} has up to {largest:.4g} on its diagonal; a condition differs by 0 from itself.")
