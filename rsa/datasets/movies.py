"""RDM movies that are ready: an RDM for each time, from NumPy, MATLAB and HDF5 files of any order of axes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Literal, Self

import h5py
import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from rsa.core import Array, RDMs, align, select
from rsa.datasets.common import ReadyDataset, problems_of_times
from rsa.datasets.epochs import chosen_times
from rsa.errors import UserError, listed
from rsa.files.io import load_rdms, reading
from rsa.files.rdm_files import (
    chosen_array,
    is_rdms_file,
    oddities_of,
    refuse_key,
    require_differences,
    require_finite,
    require_rdms,
    varies,
)
from rsa.files.rdm_labels import columns_of, dataset_names, labels_of_rows
from rsa.settings import DataPath, Section, Subjects, by_subject, fill

__all__ = ["MovieTimes", "Movies", "oddities_of_times"]

AXES = ("subject", "session", "time", "condition", "pair")
"""What an axis of an array may be."""

TIMES_DIFFER = "times differ: subject {first} has {its}, subject {other} {others}; cut and sample all alike."

SECONDS = {"s": 1.0, "ms": 1e-3}
"""Units of time, in s."""


class MovieTimes(Section):
    """At which times after onset the RDMs of a movie are.

    Raises
    ------
    ValidationError
        If times are given in no way, or in several.
    """

    unit: Literal["s", "ms"]
    """Unit in which times are given."""
    start: float | None = None
    """First time after onset; negative before."""
    step: float | None = Field(None, gt=0)
    """From one time to the next."""
    key: str | None = None
    """Name of an array of times in the file of the movie, instead of start and step."""
    file: DataPath | None = None
    """Text file with a time on each line, instead of start and step."""

    @model_validator(mode="after")
    def _told_once(self) -> Self:
        if (self.start is None) != (self.step is None):
            raise ValueError("start and step belong together; give both")
        given = [name for name in ("start", "key", "file") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"times come from start and step, from a key or from a file, and {listed(given) or 'none'} is given; "
                "give one of the three"
            )
        return self

    def told(self, movie: "_Movie") -> Array | None:
        """Return the times of a file or array in the unit of the settings; None if they are counted.

        Raises
        ------
        UserError
            If there is no such file or array.
        """
        if self.file is not None:
            with reading(self.file, "a file with a time on each line"):
                return np.loadtxt(self.file, dtype=float, ndmin=1, encoding="utf-8-sig").ravel()
        if self.key is not None and movie.times is None:
            raise UserError(f"{movie.path} has no array {self.key!r} of times; see `times.key`.")
        if movie.times is None:
            return None
        with reading(movie.path, f"a file with numbers in {self.key!r}"):
            return np.asarray(movie.times, dtype=float).ravel()

    def seconds(self, times: Array | None, n_times: int, path: Path) -> Array:
        """Return the times of all RDMs in s.

        Raises
        ------
        UserError
            If there are more or fewer times than RDMs, or they do not ascend.
        """
        if times is None:
            assert self.start is not None, "there are start and step, a key or a file"
            assert self.step is not None, "start and step come together"
            times = self.start + self.step * np.arange(n_times)
        if len(times) != n_times:
            raise UserError(f"{path} has RDMs at {n_times} times, and {len(times)} times are given; see `times`.")
        return np.round(_ascending(times, path) * SECONDS[self.unit], 6)


@dataclass(frozen=True)
class _Movie:
    """An array in a file, of which parts can be read."""

    path: Path
    name: str
    """Of the array; empty if it has none."""
    shape: tuple[int, ...]
    """As MATLAB shows it for MATLAB's files."""
    read: Callable[[tuple[int | slice, ...]], Array]
    times: Array | None


class Movies(ReadyDataset):
    """RDM movies that are ready, as others have published or made them.

    A matrix of which only one triangle is filled, the other with NaN or 0, is mirrored. Sessions are averaged.

    Raises
    ------
    ValidationError
        If a placeholder or an axis is unknown, or axes do not make RDMs over time.
    """

    provides = "movie"
    located_by = "file"
    templates = dict.fromkeys(("file", "key"), ("subject",))

    kind: Literal["movie"] = "movie"
    """RDMs over time in .npz, .npy, .mat, .h5 or .hdf5 files."""
    subjects: Subjects
    """Labels of the subjects, quoted; in the order of the array where one holds all subjects."""
    file: DataPath
    """Template ({subject}) of the files, or one file that holds all subjects."""
    key: str | None = None
    """Name of the array, with {subject} where each subject has one; not needed where the file has only one."""
    times: MovieTimes | None = None
    """The times of the RDMs; to be given unless the file is one of this pipeline."""
    axes: str | None = None
    """What the axes of the array are, as in "subject session time condition condition" (or pair, for condensed RDMs),
    as size() shows them in MATLAB; found by sizes if left out, and sessions only if they are given here."""
    tmin_s: float | None = None
    """First time to keep, s after onset; by default the first in the file."""
    tmax_s: float | None = None
    """Last time to keep, s after onset; by default the last in the file."""
    decimate: int = Field(1, ge=1)
    """Keep every so many-th time, onset among them."""

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if not self.file.endswith(tuple(READERS)):
            raise ValueError(f"movies are read from files {listed(list(READERS))}, and file is {self.file!r}")
        if self.tmin_s is not None and self.tmax_s is not None and self.tmin_s > self.tmax_s:
            raise ValueError(f"tmin_s is {self.tmin_s:g} and tmax_s is {self.tmax_s:g}; the first has to be earlier")
        return self

    @model_validator(mode="after")
    def _axes_are_known(self) -> Self:
        if self.axes is None:
            return self
        words = self.axes.split()
        counts = {name: words.count(name) for name in AXES}
        if set(words) - set(AXES) or counts["time"] != 1 or max(counts["subject"], counts["session"]) > 1:
            raise ValueError(f"axes is {self.axes!r}; name time once and others of {listed(AXES)}")
        if (counts["condition"], counts["pair"]) not in ((2, 0), (0, 1)):
            raise ValueError(f"axes is {self.axes!r}; name condition twice, or pair once for condensed RDMs")
        return self

    # ---------------------------------------------------------------------------------- what there is

    def files(self, subject: str, conditions: Sequence[str] | None = None) -> list[Path]:
        """Return every file that `load` reads for a subject; `conditions` make no difference."""
        times = [] if self.times is None or self.times.file is None else [Path(self.times.file)]
        return [fill(self.file, subject=subject), *self.order_files, *times]

    def times_s(self, subject: str, conditions: Sequence[str] | None = None) -> Array:
        """Return the times that are kept in s after onset, shape (n_times,); `conditions` as for `load`."""
        return self._loaded(subject, conditions, only_first=True)[1]

    def problems(self, conditions: Sequence[str] | None = None) -> list[str]:
        """Check files, shapes, times and labels of all subjects, and the first RDM of each."""
        found: list[tuple[str, str]] = []
        times_s: dict[str, Array] = {}
        for subject in self.subjects:
            try:
                first, times_s[subject] = self._loaded(subject, conditions, only_first=True)
                if not varies(first.values).any():
                    self.load(subject, conditions)  # which says whether this is so at all times
            except UserError as error:
                found.append((subject, str(error).replace(str(fill(self.file, subject=subject)), self.file)))
        return by_subject(found) + problems_of_times(times_s, TIMES_DIFFER)

    def oddities(self, conditions: Sequence[str] | None = None) -> list[str]:
        """Return what is odd about movies without problems, and may be meant, as lines.

        Looked at are the times, and the mean over times of the first subject.
        """
        first = self.subjects[0]
        rdms = self.load(first, conditions)
        mean = RDMs(rdms.values.mean(axis=0), rdms.conditions, pd.DataFrame({"subject": [first]}), rdms.distance)
        found = [(first, f"mean of the M/EEG RDMs over time: {text}") for text in oddities_of(mean)]
        return oddities_of_times(self.times_s(first, conditions)) + by_subject(found)

    # ------------------------------------------------------------------------------------ what is read

    def load(self, subject: str, conditions: Sequence[str] | None = None, *, noise: bool = False) -> RDMs:
        """Read the movie of a subject; of a file with all subjects, only this one's part where the format allows it.

        Returns
        -------
        RDMs
            One row per time, with `subject` and `time_s` in the table; in the order of `conditions` if given.

        Raises
        ------
        UserError
            If a file, array or label is missing, the axes cannot be told apart, times do not fit, or what is there is
            no RDM at some time, or the same for all pairs at all times.
        """
        rdms = self._loaded(subject, conditions)[0]
        require_differences(
            rdms.values, rdms.conditions, f"the RDMs at all times of {fill(self.file, subject=subject)}"
        )
        return rdms

    # --------------------------------------------------------------------------------------- the parts

    def _loaded(
        self, subject: str, conditions: Sequence[str] | None, *, only_first: bool = False
    ) -> tuple[RDMs, Array]:
        """Read the RDMs of a subject, all or only the first; return all times that are kept, in s, as well."""
        path = fill(self.file, subject=subject)
        if not path.is_file():
            raise UserError(f"There is no file {path}.")
        if is_rdms_file(path):
            rdms, times_s = self._own(subject, path)
        else:
            with self._opened(subject, path) as movie:
                rdms, times_s = self._foreign(subject, movie, conditions, only_first)
        rdms = rdms if conditions is None else align(conditions, rdms, "the stimulus table", str(path))
        return rdms, times_s

    def _own(self, subject: str, path: Path) -> tuple[RDMs, Array]:
        """Take the movie of a subject from a file of this pipeline."""
        rdms = load_rdms(path)
        if "time_s" not in rdms.table:
            raise UserError(f"{path} holds RDMs without a time; its table has {listed(list(rdms.table))}.")
        if "subject" in rdms.table:
            rdms = select(rdms, subject=subject)
        require_finite(rdms.values, str(path))
        kept, times_s = self._kept(_ascending(rdms.table["time_s"].to_numpy(dtype=float), path), path)
        rdms = rdms.subset(kept)
        return RDMs(rdms.values, rdms.conditions, _table(subject, times_s), rdms.distance), times_s

    def _foreign(
        self, subject: str, movie: _Movie, conditions: Sequence[str] | None, only_first: bool
    ) -> tuple[RDMs, Array]:
        """Take the movie of a subject from an array."""
        order = self.told_order(conditions)
        columns = [column for column in columns_of(movie.path) if self.times is None or column.name != self.times.key]
        labels = labels_of_rows(columns, movie.name, movie.shape, order, str(movie.path), in_order=self.is_in_order)
        if self.times is None:
            raise UserError(f"{movie.path} does not tell the times of its RDMs; set `times`.")
        times = self.times.told(movie)
        axes = self._axes_of(subject, movie, len(labels), None if times is None else len(times))
        n_times = movie.shape[axes.index("time")]
        kept, times_s = self._kept(self.times.seconds(times, n_times, movie.path), movie.path)
        rows = kept[:1] if only_first else kept
        values = _condensed(self._part(subject, movie, axes, rows), labels, str(movie.path))
        return RDMs(values, labels, _table(subject, times_s[: len(rows)]), self.distance), times_s

    @contextmanager
    def _opened(self, subject: str, path: Path) -> Iterator[_Movie]:
        """Open the array of a subject, and say what a file is if it is not one of arrays."""
        key = None if self.key is None else str(fill(self.key, subject=subject))
        with ExitStack() as stack:
            with reading(path, f"a {path.suffix} file of numbers"):
                opened = READERS[path.suffix](path, key, None if self.times is None else self.times.key)
                movie = stack.enter_context(opened)
            yield movie

    def _kept(self, times_s: Array, path: Path) -> tuple[Array, Array]:
        """Return the positions of the times that are kept, and these times in s."""
        kept = chosen_times(times_s, self.tmin_s, self.tmax_s, self.decimate)
        if not kept.size:
            raise UserError(
                f"tmin_s, tmax_s and decimate leave no time of {path}, which has {times_s[0]:g} to {times_s[-1]:g} s."
            )
        return kept, times_s[kept]

    def _axes_of(self, subject: str, movie: _Movie, n_conditions: int, n_times: int | None) -> tuple[str, ...]:
        """Return what each axis is: what the settings say, or the one thing that fits the sizes and holds RDMs."""
        sizes = {"condition": n_conditions, "pair": n_conditions * (n_conditions - 1) // 2}
        if n_times is not None:
            sizes["time"] = n_times
        if not self.is_of_each_subject:
            sizes["subject"] = len(self.subjects)
        if self.axes is not None:
            given = tuple(self.axes.split())
            if not _fits(given, movie.shape, sizes):
                raise UserError(
                    f"{movie.path} has shape {movie.shape}, which is not {' '.join(given)!r}, {self._wanted(sizes)}; "
                    "correct `axes`."
                )
            return given
        possible = [axes for axes in _layouts(len(movie.shape)) if _fits(axes, movie.shape, sizes)]
        if not possible:
            raise UserError(f"{movie.path} has shape {movie.shape}, {self._wanted(sizes)}; name its axes by `axes`.")
        if len(possible) > 1:
            possible = self._with_rdms(subject, movie, possible)
        if len(possible) > 1:
            either = " or ".join(repr(" ".join(axes)) for axes in possible)
            raise UserError(f"{movie.path} has shape {movie.shape}, which may be {either}; say which by `axes`.")
        return possible[0]

    def _wanted(self, sizes: dict[str, int]) -> str:
        """Say how long axes have to be."""
        wanted = [f"{n} {name}s" for name, n in sizes.items() if name != "pair"]
        return f"and there are {', '.join(wanted)} ({sizes['pair']} pairs)"

    def _with_rdms(self, subject: str, movie: _Movie, possible: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """Keep the layouts in which the first RDMs are symmetric; condensed ones only if there are no square ones."""
        square = [axes for axes in possible if "pair" not in axes]
        good = [axes for axes in square if self._is_square_movie(subject, movie, axes)]
        condensed = [axes for axes in possible if "pair" in axes]
        return good or condensed or possible[:1]

    def _is_square_movie(self, subject: str, movie: _Movie, axes: tuple[str, ...]) -> bool:
        squares = self._part(subject, movie, axes, np.arange(movie.shape[axes.index("time")]))
        try:
            require_rdms(squares, [""] * squares.shape[1], "")
        except UserError:
            return False
        return True

    def _part(self, subject: str, movie: _Movie, axes: Sequence[str], rows: Array) -> Array:
        """Read a subject's RDMs at some times, (n_times, n, n) or (n_times, n_pairs), averaged over sessions."""
        place = 0 if self.is_of_each_subject else self.subjects.index(subject)
        index: dict[str, int | slice] = {"time": slice(int(rows[0]), int(rows[-1]) + 1), "subject": place}
        with reading(movie.path, f"a {movie.path.suffix} file of numbers"):
            part = movie.read(tuple(index.get(name, slice(None)) for name in axes))
        if part.dtype.kind not in "biuf":
            raise UserError(f"{movie.path} holds {part.dtype}, not the numbers of RDMs.")
        left = [name for name in axes if name != "subject"]
        part = np.moveaxis(part, left.index("time"), 0)
        left = ["time", *(name for name in left if name != "time")]
        part = part[rows - rows[0]].astype(np.float64)
        if "session" in left:
            part = part.mean(axis=left.index("session"))
        return _mirrored(part) if "condition" in left else part


# ----------------------------------------------------------------------------------------------- axes


def _layouts(n_axes: int) -> Iterator[tuple[str, ...]]:
    """Yield the orders of axes that are looked for: conditions side by side, first or last, with the rest in any order.

    Examples
    --------
    >>> list(_layouts(2))
    [('time', 'pair'), ('pair', 'time')]
    """
    for what in (("condition", "condition"), ("pair",)):
        others = {1: ("time",), 2: ("subject", "time")}.get(n_axes - len(what), ())
        for rest in permutations(others) if others else ():
            yield (*rest, *what)
            yield (*what, *rest)


def _fits(axes: Sequence[str], shape: Sequence[int], sizes: dict[str, int]) -> bool:
    """Say whether axes have the sizes that they must have; a file of one subject may have an axis of 1 for it."""
    if len(axes) != len(shape):
        return False
    holds_all = sizes.get("subject", 1) > 1
    if holds_all and "subject" not in axes:
        return False
    wanted = {"subject": 1} | sizes
    return all(wanted.get(name, n) == n for name, n in zip(axes, shape, strict=True))


def _mirrored(squares: Array) -> Array:
    """Fill the empty triangle, all NaN or all 0, of matrices (..., n, n) with the mirror image of the other.

    Examples
    --------
    >>> _mirrored(np.array([[np.nan, 3.0], [np.nan, np.nan]]))
    array([[nan,  3.],
           [ 3., nan]])
    """
    rows, columns = np.triu_indices(squares.shape[-1], k=1)
    upper, lower = squares[..., rows, columns], squares[..., columns, rows]
    if _is_empty(lower) and not _is_empty(upper):
        lower = upper
    elif _is_empty(upper) and not _is_empty(lower):
        upper = lower
    whole = squares.copy()
    whole[..., rows, columns], whole[..., columns, rows] = upper, lower
    return whole


def _is_empty(values: Array) -> bool:
    return bool(np.isnan(values).all() or (values == 0).all())


def _condensed(part: Array, labels: Sequence[str], what: str) -> Array:
    """Bring RDMs over time to (n_times, n_pairs), and refuse what is none."""
    if part.ndim == 2:
        require_finite(part, what)
        return part
    require_rdms(part, labels, what)
    rows, columns = np.triu_indices(len(labels), k=1)
    vectors: Array = part[:, rows, columns]
    return vectors


def _table(subject: str, times_s: Array) -> pd.DataFrame:
    return pd.DataFrame({"subject": [subject] * len(times_s), "time_s": times_s})


def _ascending(times: Array, path: Path) -> Array:
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise UserError(f"The times of {path} do not ascend; see `times`.")
    return times


def oddities_of_times(times_s: Array) -> list[str]:
    """Say that times look like those of another unit: in steps of a second, or of less than 0.1 ms.

    Examples
    --------
    >>> oddities_of_times(np.arange(-0.1, 1, 0.01))
    []
    """
    if len(times_s) < 2:
        return []
    span_s, step_s = float(times_s[-1] - times_s[0]), float(np.median(np.diff(times_s)))
    told = f"times of M/EEG go from {times_s[0]:g} to {times_s[-1]:g} s in steps of {step_s:g} s"
    if step_s >= LONGEST_STEP_S or span_s > LONGEST_SPAN_S:
        return [f"{told}, which is long: are they given in ms (`times: unit: ms`)?"]
    if step_s < SHORTEST_STEP_S or span_s < SHORTEST_SPAN_S:
        return [f"{told}, which is short: are they given in s (`times: unit: s`)?"]
    return []


LONGEST_STEP_S, LONGEST_SPAN_S = 1.0, 60.0
"""Steps from which on, and spans beyond which, times are odd."""
SHORTEST_STEP_S, SHORTEST_SPAN_S = 1e-4, 0.01
"""Steps and spans below which times are odd."""


# ---------------------------------------------------------------------------------------------- formats


@contextmanager
def _from_npy(path: Path, key: str | None, times_key: str | None) -> Iterator[_Movie]:
    refuse_key(path, key or times_key)
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    yield _Movie(path, "", array.shape, lambda index: np.asarray(array[index]), None)


@contextmanager
def _from_npz(path: Path, key: str | None, times_key: str | None) -> Iterator[_Movie]:
    with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:  # NumPy closes no damaged file
        name = chosen_array(path, [name for name in file.files if name != times_key], key)
        array = file[name]
        times = file[times_key] if times_key in file.files else None
        yield _Movie(path, name, array.shape, lambda index: array[index], times)


@contextmanager
def _from_hdf5(path: Path, key: str | None, times_key: str | None) -> Iterator[_Movie]:
    """Open HDF5 files, which are read in parts; in those of MATLAB, the axes come in reverse."""
    with h5py.File(path, "r") as file:
        name = chosen_array(path, [name for name in dataset_names(file) if name != times_key], key)
        stored = file[name]
        times = file[times_key][()] if times_key is not None and times_key in file else None
        if path.suffix == ".mat":
            yield _Movie(path, name, stored.shape[::-1], lambda index: np.asarray(stored[index[::-1]]).T, times)
        else:
            yield _Movie(path, name, stored.shape, lambda index: np.asarray(stored[index]), times)


@contextmanager
def _from_mat(path: Path, key: str | None, times_key: str | None) -> Iterator[_Movie]:
    """Open MATLAB files, of which those of version 7.3 are HDF5."""
    if h5py.is_hdf5(path):
        with _from_hdf5(path, key, times_key) as movie:
            yield movie
        return
    from scipy import io

    names = [name for name, _, _ in io.whosmat(path)]
    name = chosen_array(path, [other for other in names if other != times_key], key)
    wanted = [name, *([times_key] if times_key in names else [])]
    content = io.loadmat(path, variable_names=wanted)
    array = content[name]
    yield _Movie(path, name, array.shape, lambda index: array[index], content.get(times_key))


READERS = {".npz": _from_npz, ".npy": _from_npy, ".mat": _from_mat, ".h5": _from_hdf5, ".hdf5": _from_hdf5}
"""How arrays are opened, by the ending of the file."""
