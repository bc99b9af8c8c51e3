"""Which condition each row of an RDM is: the labels in a file, and how they meet those of a study."""

import math
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

import h5py
import numpy as np

from rsa.core import as_label, as_labels, difference_of_conditions, n_conditions_of
from rsa.errors import UserError, listed
from rsa.files.io import reading

__all__ = [
    "LABELS_KEY",
    "Column",
    "columns_of",
    "dataset_names",
    "labels_of_rows",
    "labels_with_repeats",
    "numbers_of_conditions",
]

LABELS_KEY = "conditions"
"""Name of the array that holds the labels, whatever others there are."""

LABEL_WORDS = re.compile(r"conditions?|conds?|labels?|stim(s|ulus|uli)?|images?|items?")
"""A name with one of these words says that numbers are labels."""

OTHER_DESCRIPTORS = {"rdm_descriptors", "descriptors"}
"""Groups of rsatoolbox's files that describe RDMs, not their rows."""

MOST_LABELS = 100_000
"""Longer arrays are no labels, and are not read."""

CURE = "list the conditions in the order of its rows in a file, and name that as `condition_order`"
CURE_OR_TABLE = "name a file that lists them as `condition_order`, or give a stimulus table that is in their order"


@dataclass(frozen=True)
class Column:
    """An array in a file that may name the rows of an RDM, or that is no RDM.

    Parameters
    ----------
    name : str
        Its path in the file.
    kind : str
        "text", "numbers" (whole ones), "locked": pickled or MATLAB's objects, which cannot be read; or "other": what is
        neither labels nor an RDM.
    labels : tuple of str
        What is in it; empty if that cannot be read.
    length : int, optional
        How many there are; None if that is not known either.
    text : str
        All text in it, where it is no list of texts: a line of names, a table of texts, or what was pickled.
    """

    name: str
    kind: Literal["text", "numbers", "locked", "other"]
    labels: tuple[str, ...] = ()
    length: int | None = None
    text: str = ""

    @property
    def n(self) -> int | None:
        """Number of entries."""
        return len(self.labels) if self.kind != "locked" else self.length

    @property
    def is_called_labels(self) -> bool:
        """Whether the name says that it holds labels."""
        return any(LABEL_WORDS.fullmatch(word) for word in _words(self.name))

    @property
    def counts(self) -> bool:
        """Whether it is the numbers from 0 or 1 on, in any order: places as well as labels."""
        if self.kind != "numbers":
            return False
        numbers = sorted(map(int, self.labels))
        return numbers in (list(range(len(numbers))), list(range(1, len(numbers) + 1)))

    @property
    def ascends(self) -> bool:
        """Whether its numbers ascend."""
        numbers = list(map(int, self.labels)) if self.kind == "numbers" else []
        return numbers == sorted(numbers)


def numbers_of_conditions(shape: Sequence[int]) -> set[int]:
    """Return all numbers of conditions that an array of RDMs, square or condensed, may have.

    Examples
    --------
    >>> sorted(numbers_of_conditions((4, 92, 92)))
    [92]
    >>> sorted(numbers_of_conditions((3, 10)))
    [3, 5]
    """
    found = {size for size in shape if list(shape).count(size) > 1}
    for size in shape:
        try:
            found.add(n_conditions_of(size))
        except UserError:
            continue
    return found


def labels_of_rows(
    columns: Sequence[Column],
    array: str,
    shape: Sequence[int],
    given: Sequence[str] | None,
    what: str,
    *,
    in_order: bool = False,
) -> list[str]:
    """Return the labels of the rows of an RDM: those in its file if it has some, or else those that are given.

    An array with an entry for each row holds the labels if its entries are the conditions that are given, in any order.
    They may be texts, whole numbers, or names of files. One that is called `conditions` holds the labels in any case.

    Parameters
    ----------
    columns : sequence of Column
        What the file holds; see `columns_of`.
    array : str
        Name of the array of RDMs; empty if it has none. Labels in its group of the file, or with a word of its name,
        are its own.
    shape : sequence of int
        Its shape.
    given : sequence of str, optional
        The conditions that there should be.
    what : str
        How the RDMs are called in messages.
    in_order : bool
        Whether the user says that the rows are in the order of `given` (`condition_order`). Labels in the file must not
        contradict it; texts that are no conditions are left alone.

    Returns
    -------
    list of str, n_conditions long
        Where labels are given, as these are spelled.

    Raises
    ------
    UserError
        If the file has labels, or texts that may be labels, which are not the conditions, or disagree; or if nothing
        tells the conditions.
    """
    wanted = None if given is None else as_labels(given)
    there = _of_rows(columns, array, shape, wanted)
    found = _matching(there, array, wanted)
    orders = list(dict.fromkeys(found.values()))
    if in_order and wanted is not None:
        if not orders or tuple(wanted) not in orders:
            _require_no_contradiction(there, found, wanted, what)
        return wanted
    if len(orders) > 1:
        raise UserError(f"{what}: its file names the rows in {listed(list(found))}, which are not the same; {CURE}.")
    if orders:
        return list(orders[0])
    _refuse_unused(there, wanted, what)
    _refuse_mentioned([column for column in columns if column.name != array], wanted, what)
    if wanted is None:
        raise UserError(f"{what} holds no labels, so the order of its conditions is not known; {CURE_OR_TABLE}.")
    return wanted


def labels_with_repeats(columns: Sequence[Column], array: str, n_rows: int) -> dict[str, tuple[str, ...]]:
    """Return what may label the rows of an array with their conditions, some of these several times.

    Parameters
    ----------
    columns : sequence of Column
        What the file holds; see `columns_of`.
    array : str
        Name of the array.
    n_rows : int
        Number of its rows.
    """
    there = _of_rows(columns, array, (n_rows, n_rows), None)
    named = [column for column in there if column.n == n_rows and (column.kind == "text" or column.is_called_labels)]
    found = {column.name: tuple(as_labels(column.labels)) for column in named if column.kind != "locked"}
    return {name: labels for name, labels in found.items() if len({*labels}) < len(labels)}


# ---------------------------------------------------------------------------------- which are the labels


def _words(name: str) -> list[str]:
    return re.split(r"[\W_]+", name.rsplit("/", 1)[-1].lower())


def _group(name: str) -> list[str]:
    return name.split("/")[:-1]


def _n_shared(column: Column, array: str) -> int:
    """Return how many groups a column shares with an array; -1 if it is in the group of another one."""
    here, there = _group(array), _group(column.name)
    same = [a == b for a, b in zip(here, there, strict=False)]
    return len(same) if all(same) else -1


def _nearness(column: Column, array: str) -> tuple[int, int]:
    """Return a number that is larger in the group of the array than below it, and there than above it."""
    return _n_shared(column, array), -len(_group(column.name))


def _of_rows(columns: Sequence[Column], array: str, shape: Sequence[int], wanted: list[str] | None) -> list[Column]:
    """Keep the columns with an entry for each row; of those, the ones that belong to the array rather than to another.

    An array `conditions` is kept whatever its length.
    """
    sizes = numbers_of_conditions(shape)
    if wanted is not None and len(wanted) in sizes:
        sizes = {len(wanted)}
    there = [
        column
        for column in columns
        if column.name != array
        and not OTHER_DESCRIPTORS & set(_group(column.name))
        and (column.n is None or column.n in sizes or column.name == LABELS_KEY)
    ]
    beside = [column for column in there if _n_shared(column, array) >= 0]
    there = beside if any(column.kind != "numbers" for column in beside) else there
    words = set(_words(array)) - {"", "rdm", "rdms"}
    akin = [column for column in there if column.kind != "numbers" and words & set(_words(column.name))]
    return akin or there


def _matching(there: Sequence[Column], array: str, wanted: list[str] | None) -> dict[str, tuple[str, ...]]:
    """Return the columns that name each condition once, with their labels as they are wanted.

    `conditions` comes first, then texts, then numbers; of texts in several groups, those nearest to the array.
    """
    by_name = {column.name: column for column in there}
    found = {name: labels for name, column in by_name.items() if (labels := _as_conditions(column, wanted))}
    if LABELS_KEY in by_name:
        return {LABELS_KEY: found[LABELS_KEY]} if LABELS_KEY in found else {}
    near = {name: _nearness(column, array) for name, column in by_name.items() if column.kind == "text"}
    nearest = max((near[name] for name in found if name in near), default=None)
    return {name: labels for name, labels in found.items() if near.get(name) == nearest}


def _as_conditions(column: Column, wanted: list[str] | None) -> tuple[str, ...]:
    """Return the labels of a column as they are wanted, if it names each condition once; otherwise nothing."""
    if wanted is None:
        is_named = column.kind == "text" or column.name == LABELS_KEY or column.is_called_labels
        is_told = is_named and not (column.counts and column.name != LABELS_KEY)
        return column.labels if is_told and len(set(column.labels)) == len(column.labels) else ()
    if column.counts and not column.is_called_labels:
        return ()  # the places of the rows in some other order, or their labels: nobody knows
    for of_label, of_name in FORMS:
        names = {of_name(name): name for name in wanted}
        labels = [of_label(label) for label in column.labels]
        if len(names) == len(wanted) == len(labels) and set(labels) == set(names):
            return tuple(names[label] for label in labels)
    return ()


def _unchanged(label: str) -> str:
    return label


def _as_number(label: str) -> str:
    """Return a number without leading zeros.

    Examples
    --------
    >>> _as_number("007")
    '7'
    """
    return str(int(label)) if label.isdecimal() else label


def _as_stem(label: str) -> str:
    """Return the name of a file without its folder and ending.

    Examples
    --------
    >>> _as_stem("stimuli/face_01.png")
    'face_01'
    """
    return PurePath(label.replace("\\", "/")).stem


FORMS: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (
    (_unchanged, _unchanged),
    (_as_number, _as_number),
    (_as_stem, _unchanged),
    (_unchanged, _as_stem),
    (_as_stem, _as_stem),
)
"""What of a label in a file is compared with what of a condition: they may be numbers, or names of files."""


def _may_be_labels(column: Column, wanted: list[str] | None) -> bool:
    """Say whether a column that names no condition of the study may still tell the order of the rows."""
    if column.kind != "numbers":
        return True
    if column.counts:
        numbers = [_as_number(name) for name in wanted or ()]
        is_another_order = set(numbers) == set(column.labels) and numbers != list(column.labels)
        return is_another_order or not column.ascends
    return column.is_called_labels


def _require_no_contradiction(
    there: Sequence[Column], found: dict[str, tuple[str, ...]], wanted: list[str], what: str
) -> None:
    """Raise a `UserError` if labels in the file are the conditions, or some of them, in another order than is told."""
    if found:
        raise UserError(
            f"{what}: its file has the conditions in {listed(list(found))}, in another order than `condition_order`; "
            "leave `condition_order` out, or correct one of the two."
        )
    for column in there:
        if column.kind == "text" and set(column.labels) & set(wanted):
            raise UserError(difference_of_conditions(wanted, column.labels, "`condition_order`", _place(column, what)))


def _refuse_unused(there: Sequence[Column], wanted: list[str] | None, what: str) -> None:
    """Raise a `UserError` if a column may be the labels, and is not: rows are not taken by their places then."""
    unused = [column for column in there if _may_be_labels(column, wanted)]
    if not unused:
        return
    best = max(unused, key=lambda column: (len(set(column.labels) & set(wanted or ())), len(set(column.labels))))
    if best.kind == "locked":
        raise UserError(
            f"{_place(best, what)} may be the labels of its rows, and cannot be read: it is stored as objects, not as "
            f"text. Save it as text (np.array(labels, dtype=str), cellstr(labels)), or {CURE}."
        )
    if wanted is None:
        raise UserError(f"{_place(best, what)} names rows more than once, so it is not their labels; {CURE}.")
    difference = difference_of_conditions(wanted, best.labels, "the conditions given", _place(best, what))
    if not difference:
        difference = f"{_place(best, what)} may be the labels of its rows or their places."
    raise UserError(f"{difference} Or, if that is not what it holds, {CURE}.")


def _refuse_mentioned(columns: Sequence[Column], wanted: list[str] | None, what: str) -> None:
    """Raise a `UserError` if texts in a file have all conditions in a form that is not read: it may be the order."""
    of_rows = [column for column in columns if not OTHER_DESCRIPTORS & set(_group(column.name))]
    texts = {column: column.text or "\n".join(column.labels) for column in of_rows if column.kind != "numbers"}
    named = {column: [name for name in wanted or () if _has_word(text, name)] for column, text in texts.items()}
    if not wanted or set(wanted) - {name for names in named.values() for name in names}:
        return
    best = max(named, key=lambda column: len(named[column]))
    raise UserError(
        f"{_place(best, what)} names {len(named[best])} of its {len(wanted)} conditions, and is no array with one text "
        f"for each row, so the order of the rows is not known. Save it as such an array, or {CURE}."
    )


def _has_word(text: str, word: str) -> bool:
    """Say whether a text has a word, or words, that are no part of longer ones, or of numbers of versions.

    Examples
    --------
    >>> [_has_word('["img1", "img10"]', "img1"), _has_word("img10", "img1"), _has_word("1.2.3", "2")]
    [True, False, False]
    """
    return re.search(rf"(?<![\w.]){re.escape(word)}(?!\.?\w)", text) is not None


def _place(column: Column, what: str) -> str:
    return f"{column.name!r} beside {what}" if column.name else what


# ------------------------------------------------------------------------------------- what a file holds


def columns_of(path: str | Path) -> list[Column]:
    """Return all arrays of texts and of whole numbers in a .npz, .mat, .h5 or .hdf5 file; none of other files.

    Nothing that is pickled is loaded.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    path = Path(path)
    if path.suffix not in FINDERS:
        return []
    with reading(path, f"a {path.suffix} file of numbers"):
        return list(FINDERS[path.suffix](path))


def dataset_names(file: h5py.File) -> list[str]:
    """Return the paths of all data sets in an HDF5 file, without those that MATLAB keeps for itself."""
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return [name for name in names if not name.startswith("#")]


def _column(name: str, values: Any) -> Iterator[Column]:
    """Yield an array with one axis, besides axes of 1, as a column if it holds texts or whole numbers."""
    array = np.asarray(values)
    array = array.astype(str) if array.dtype.kind == "M" else array
    for field in array.dtype.names or ():
        yield from _column(f"{name}/{field}", array[field])
    if array.dtype in ("U1", "S1") and array.ndim == 2 and 1 not in array.shape:  # a row of letters for each text
        array = np.ascontiguousarray(array).view(f"{array.dtype.kind}{array.shape[1]}")
    has_one_axis = 2 <= array.size <= MOST_LABELS and array.size == max(array.shape)
    entries = array.ravel().tolist() if has_one_axis else []
    if array.dtype.kind in "iuf" and array.size > 1:
        if entries and np.isfinite(array).all() and (array == np.round(array)).all():
            yield Column(name, "numbers", tuple(str(int(entry)) for entry in entries))
    elif entries and all(isinstance(entry, str | bytes) for entry in entries):
        yield Column(name, "text", tuple(_text(entry) for entry in entries))
    elif array.dtype.kind not in "bc":
        is_small = array.dtype.kind in "USO" and array.size <= MOST_LABELS
        texts = [_text(entry) for entry in array.ravel().tolist() if isinstance(entry, str | bytes)] if is_small else []
        yield Column(name, "other", text="\n".join(texts))


def _text(entry: str | bytes) -> str:
    """Return a label without the blanks and zeros that fill arrays of letters."""
    try:
        text = entry.decode() if isinstance(entry, bytes) else entry
    except UnicodeDecodeError:
        text = entry.decode("latin-1") if isinstance(entry, bytes) else entry
    return as_label(text.rstrip("\0").strip())


def _is_small(shape: Sequence[int], dtype: np.dtype[Any]) -> bool:
    """Say whether an array may be a column: it has one axis, or is of letters."""
    if dtype.kind in "USOVM":
        return math.prod(shape) <= 100 * MOST_LABELS
    return len(shape) < 2 or 1 in shape


def _in_npz(path: Path) -> Iterator[Column]:
    with zipfile.ZipFile(path) as archive, np.load(path, allow_pickle=False) as file:
        for name in set(file.files) & {member.removesuffix(".npy") for member in archive.namelist()}:
            with archive.open(f"{name}.npy") as stream:
                header = HEADERS.get(np.lib.format.read_magic(stream))
                shape, _, dtype = header(stream) if header is not None else ((), False, np.dtype(float))
                text = _pickled_text(stream.read(MOST_PICKLED)) if dtype.hasobject else ""
            if dtype.hasobject:
                yield Column(name, "locked", length=math.prod(shape), text=text)
            elif _is_small(shape, dtype):
                yield from _column(name, file[name])


def _pickled_text(data: bytes) -> str:
    """Return the texts in a pickle, one on each line, as far as they can be told without loading it."""
    texts: list[str] = []
    with suppress(ValueError):  # it is cut, or has another form
        texts.extend(_text(text) for _, text, _ in pickletools.genops(data) if isinstance(text, str))
    return "\n".join(texts)


MOST_PICKLED = 100 * MOST_LABELS
"""Number of bytes of a pickle that are looked through."""

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
"""How the header of an array is read, by the version of NumPy's format; texts have no other version."""


def _in_hdf5(path: Path) -> Iterator[Column]:
    """Yield the columns of an HDF5 file: its data sets, also as MATLAB writes them, and attributes."""
    with h5py.File(path, "r") as file:
        for name in dataset_names(file):
            stored = file[name]
            if "MATLAB_class" in stored.attrs:
                yield from _in_matlab_73(file, name)
            elif stored.shape is None:
                yield Column(name, "other")
            elif _is_small(stored.shape, stored.dtype):
                yield from _column(name, stored[()])
        groups = [*dataset_names(file), *_group_names(file)]
        for name in groups:
            for key, value in file[name].attrs.items():
                if not isinstance(value, h5py.Empty) and np.asarray(value).dtype.kind in "USOiuf":
                    found = _column(f"{name}/{key}".lstrip("/"), value)
                    yield from (column for column in found if column.kind != "other" or column.text)


def _group_names(file: h5py.File) -> list[str]:
    names = ["/"]
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Group) else None)
    return names


def _in_mat(path: Path) -> Iterator[Column]:
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            for name in dataset_names(file):
                yield from _in_matlab_73(file, name)
        return
    from scipy import io

    there = io.whosmat(path)
    yield from (Column(name, "locked") for name, _, kind in there if kind in OBJECTS)
    names = [name for name, shape, kind in there if kind in OF_TEXTS or (kind in OF_NUMBERS and 1 in shape)]
    content = io.loadmat(path, variable_names=names)
    for name in names:
        yield from _in_matlab(name, content[name])


OF_TEXTS = ("char", "cell", "struct")
OF_NUMBERS = ("double", "single", *(f"{sign}int{n_bits}" for sign in ("", "u") for n_bits in (8, 16, 32, 64)))
OBJECTS = ("object", "opaque")
"""What SciPy calls MATLAB's objects: strings in double quotes, tables, categories."""


def _in_matlab(name: str, value: Any) -> Iterator[Column]:
    """Yield the columns in a variable: letters in rows, cells, and fields of structures."""
    if value.dtype.names is not None:
        yield Column(name, "other")
        for field in value.dtype.names:
            inner = value[field].ravel()
            if len(inner) == 1:
                yield from _in_matlab(f"{name}/{field}", np.asarray(inner[0]))
            else:
                yield from _in_matlab(f"{name}/{field}", inner)
    elif value.dtype.kind == "O":
        yield from _column(name, [_of_one(cell) for cell in value.ravel()])
    else:
        yield from _column(name, value)


def _of_one(cell: Any) -> Any:
    """Return the text or number in a cell, or in a cell in it; None if it holds something else."""
    array = np.asarray(cell)
    if array.dtype == object and array.size == 1:
        return _of_one(array.item())
    if array.dtype.kind in "US":
        return "".join(array.ravel().tolist())
    return array.item() if array.size == 1 and array.dtype.kind in "iuf" else None


def _in_matlab_73(file: h5py.File, name: str) -> Iterator[Column]:
    """Yield the column in a data set of MATLAB 7.3: letters are numbers there, and cells are references."""
    stored = file[name]
    if "MATLAB_object_decode" in stored.attrs:
        yield Column(name, "locked")
    elif stored.shape is None or stored.dtype.kind not in "biuf":
        is_small = stored.dtype == h5py.ref_dtype and stored.size <= MOST_LABELS
        cells = [_of_one(_letters(file[cell])) for cell in stored[()].T.ravel()] if is_small else [None]
        yield from _column(name, cells)
    elif stored.attrs.get("MATLAB_class") == b"char":
        yield from _column(name, _letters(stored) if stored.size <= 100 * MOST_LABELS else None)
    elif _is_small(stored.shape, stored.dtype):
        yield from _column(name, stored[()])


def _letters(stored: h5py.Dataset | h5py.Group) -> Any:
    """Return letters as an array of texts, one for each row; other data as they are."""
    if not isinstance(stored, h5py.Dataset) or "MATLAB_empty" in stored.attrs:
        return np.array([])
    if stored.attrs.get("MATLAB_class") != b"char":
        return stored[()]
    return np.array(["".join(map(chr, row)) for row in np.atleast_2d(stored[()].T).tolist()])


FINDERS: dict[str, Callable[[Path], Iterator[Column]]] = {
    ".npz": _in_npz,
    ".mat": _in_mat,
    ".h5": _in_hdf5,
    ".hdf5": _in_hdf5,
}
"""How columns are found, by the ending of the file."""
