"""What all data sets of images share: a list of files with a row for each image becomes patterns over voxels."""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from rsa.core import Array, Patterns, Residuals, Volume, as_label, as_labels, features_with_data
from rsa.datasets.common import (
    AnyDataset,
    problems_of_conditions,
    problems_of_exclude,
    require_no_problems,
    warn_of_gaps,
)
from rsa.errors import UserError, listed
from rsa.files.images import (
    count_volumes,
    inside_all,
    opened,
    problems_of_grids,
    read_patterns,
    require_undamaged,
    varying_voxels,
    whole_grid,
)
from rsa.settings import Conditions, DataPath, Label, by_subject, fill

__all__ = ["BrainImages", "Source"]

logger = logging.getLogger(__name__)

KEYS = ("condition", "run", "delay_s")
"""What tells the rows of patterns apart."""


@dataclass(frozen=True)
class Source:
    """A file of images, and what says which conditions they show: a table, or what is known of a single image."""

    image: Path
    table: Path | None = None
    run: str | None = None
    condition: str | None = None
    delay_s: float | None = None
    session: str | None = None
    grid: Path | None = None
    """An image on the same grid, for a file that has none."""

    def __post_init__(self) -> None:
        if self.condition is not None:
            object.__setattr__(self, "condition", as_label(self.condition))

    mask: Path | None = None
    """The mask, for a file that may hold only its voxels."""


class BrainImages(AnyDataset):
    """Settings of any data set of images, and how images become patterns.

    A kind of data says in `_sources` which files there are; where they are no NIfTI images, or have no mask or
    residuals of their own, it says that as well.
    """

    provides = "patterns"

    exclude: Conditions = ()
    """Conditions to leave out, such as ["rest"]."""
    only_stimuli: bool = False
    """Leave out images of conditions that the stimulus table does not have; otherwise they are an error."""
    repeats: Literal["error", "mean"] = "error"
    """What to do with several images of one condition in a run: refuse them, or average them."""
    mask: DataPath | None = None
    """Template ({subject}) of the masks, above 0 inside."""
    space: Label = "individual"
    """BIDS label of the space that the images are in, for the file names of the results."""

    # ---------------------------------------------------------------------------- what each kind says

    def _sources(self, subject: str, conditions: Sequence[str] | None = None) -> list[Source]:
        """List the files of images of a subject, run by run."""
        raise NotImplementedError

    def _rows(self, source: Source) -> pd.DataFrame:
        """Describe the images of a file: the keys that are known; the index is the image's number in the file."""
        known = {"condition": source.condition, "run": source.run, "delay_s": source.delay_s}
        return pd.DataFrame({name: [value] for name, value in known.items() if value is not None})

    def _named_conditions(self, subject: str) -> list[str]:
        """List the conditions that file names hold, where `_sources` lists only those that it is asked for."""
        return []

    def _masks(self, subject: str) -> list[Path]:
        """List the masks of a subject; what is in all of them is analysed."""
        return [] if self.mask is None else [fill(self.mask, subject=subject)]

    def _n_images(self, source: Source) -> int:
        """Count the images in a file, without reading them."""
        return count_volumes(opened(source.image))

    def _read(self, source: Source, numbers: Sequence[int], mask: Array) -> Array:
        """Read some images of a file in the voxels of a mask, shape (n_images, n_voxels), float32."""
        return read_patterns(source.image, numbers, mask)

    def _residual_images(self, subject: str) -> list[Path]:
        """List the images of residuals of a subject; say what is needed if there cannot be any."""
        raise NotImplementedError

    def _residual_degrees_of_freedom(self, subject: str) -> float:
        """Return the degrees of freedom of all residuals of a subject."""
        raise NotImplementedError

    # ---------------------------------------------------------------------------------- what there is

    def _responses(self) -> str:
        """Say what the images are, for the methods text."""
        return "Responses were read as images of conditions"

    def methods(self) -> list[str]:
        """Return sentences for the methods text: what was read, and what became of repeated images."""
        averaged = "several of one condition in a run were averaged" if self.repeats == "mean" else ""
        return [f"{'; '.join(filter(None, [self._responses(), averaged]))}."]

    def files(self, subject: str, conditions: Sequence[str] | None = None, *, residuals: bool = False) -> list[Path]:
        """Return every file that `load` reads; `conditions` are needed where the file names hold them."""
        sources = self._sources(subject, conditions)
        images = [source.image for source in sources]
        tables = [source.table for source in sources if source.table is not None]
        grids = [source.grid for source in sources if source.grid is not None]
        noise = self._residual_images(subject) if residuals else []
        return list(dict.fromkeys([*images, *tables, *grids, *self._masks(subject), *noise]))

    def conditions(self, subject: str) -> list[str]:
        """Return the conditions of a subject, each once: those in its tables, or in the names of its images.

        Raises
        ------
        UserError
            If a table cannot be read, or no file has such a name.
        """
        return [name for name in self._all_conditions(subject) if name not in self.exclude]

    def run_labels(self, subject: str) -> list[str]:
        """Return the runs of a subject as they will stand in the table of its patterns; none where none are known."""
        rows = pd.concat([self._kept_rows(source, None) for source in self._sources(subject)])
        return list(dict.fromkeys(rows["run"].dropna())) if "run" in rows else []

    def delays_s(self, subject: str) -> list[float]:
        """Return the delays after onset of a subject's responses in s, ascending; none where none are known."""
        rows = pd.concat([self._kept_rows(source, None) for source in self._sources(subject)])
        return sorted({float(delay) for delay in rows["delay_s"].dropna()}) if "delay_s" in rows else []

    def grid(self, subject: str) -> Volume:
        """Return the grid of a subject's first image, with every voxel inside, from its header."""
        return self._grid(self._sources(subject)[0])

    def masked(self, subject: str) -> Volume | None:
        """Return the voxels of a subject's mask, if a file has it; None where it is computed of the images."""
        masks, grid = self._masks(subject), self.grid(subject)
        return replace(grid, mask=inside_all(masks, grid, "the images")) if masks else None

    def problems(self, conditions: Sequence[str] | None = None, *, residuals: bool = False) -> list[str]:
        """Check files, tables, grids and conditions of all subjects without reading a voxel."""
        found = [
            (subject, text) for subject in self.subjects for text in self._problems_of(subject, conditions, residuals)
        ]
        return by_subject(found) + problems_of_exclude(self.exclude, self.subjects, self._all_conditions)

    # ------------------------------------------------------------------------------------ what is read

    def volume(self, subject: str, conditions: Sequence[str] | None = None) -> Volume:
        """Return the grid of a subject's images with its mask.

        Raises
        ------
        UserError
            If the mask is missing, empty or on another grid.
        """
        sources = self._sources(subject, conditions)
        grid, masks = self._grid(sources[0]), self._masks(subject)
        if sources[0].grid is not None:  # of other files, the data are read as well
            require_undamaged(sources[0].grid, opened(sources[0].grid))
        if not masks:
            return replace(grid, mask=varying_voxels(self._images_of_runs(sources, grid.mask, conditions)))
        return replace(grid, mask=inside_all(masks, grid, f"the image {sources[0].image}"))

    def load(self, subject: str, conditions: Sequence[str] | None = None, *, residuals: bool = False) -> Patterns:
        """Read the patterns of a subject in the voxels of the mask.

        Only the images that are kept are held in memory, in single precision and in the voxels of the mask.

        Returns
        -------
        Patterns
            values (n_rows, n_voxels) in the units of the images; one row per run, condition (and delay) in the order
            of the files; the table has `condition` and, where there are such, `run` and `delay_s`.

        Raises
        ------
        UserError
            If `problems` has anything to say about this subject, or a file is damaged.
        """
        problems = self._problems_of(subject, conditions, residuals)
        require_no_problems(subject, problems)
        volume = self.volume(subject, conditions)
        values, table, usable = self._values(subject, conditions, volume)
        noise = self._residuals(subject, volume) if residuals else None
        if noise is not None:
            usable &= np.isfinite(noise.values).all(axis=0)
        patterns = Patterns(values, table, volume, usable, noise)
        warn_of_gaps(subject, patterns)
        return patterns

    # --------------------------------------------------------------------------------------- the parts

    def _grid(self, source: Source) -> Volume:
        return whole_grid(opened(source.grid or source.image))

    def _values(
        self, subject: str, conditions: Sequence[str] | None, volume: Volume
    ) -> tuple[Array, pd.DataFrame, Array]:
        """Read the rows of all files into one array, (n_rows, n_voxels), average repeats, and find usable voxels."""
        sources = self._sources(subject, conditions)
        tables = [self._kept_rows(source, conditions) for source in sources]
        self._tell_what_is_left_out(subject, sources, tables)
        values = np.empty((sum(map(len, tables)), volume.n_voxels), dtype=np.float32)
        start = 0
        for source, rows in zip(sources, tables, strict=True):
            values[start : start + len(rows)] = self._read(source, list(rows.index), volume.mask)
            start += len(rows)
        table = pd.concat(tables, ignore_index=True)
        runs = pd.concat([self._measured_in(*of) for of in zip(sources, tables, strict=True)], ignore_index=True)
        _warn_of_zeros(subject, values, table, runs)
        usable = features_with_data(values, runs, table.get("delay_s"))
        return *mean_of_repeats(values, table), usable

    def _measured_in(self, source: Source, rows: pd.DataFrame) -> pd.Series:
        """Return the run in which each image was measured, whatever is taken as one run later; "" if none is known."""
        return rows["run"] if "run" in rows else pd.Series("", index=rows.index)

    def _tell_what_is_left_out(self, subject: str, sources: Sequence[Source], kept: Sequence[pd.DataFrame]) -> None:
        n_images, n_kept = sum(len(self._rows(source)) for source in sources), sum(map(len, kept))
        if self.only_stimuli and n_kept < n_images:
            logger.info("subject %r: %d of %d images are read, those of the stimuli", subject, n_kept, n_images)

    def _residuals(self, subject: str, volume: Volume) -> Residuals:
        paths = self._residual_images(subject)
        n_images = [count_volumes(opened(path)) for path in paths]
        values = np.empty((sum(n_images), volume.n_voxels), dtype=np.float32)
        start = 0
        for path, n in zip(paths, n_images, strict=True):
            values[start : start + n] = read_patterns(path, range(n), volume.mask)
            start += n
        return Residuals(values, self._residual_degrees_of_freedom(subject))

    def _kept_rows(self, source: Source, conditions: Sequence[str] | None) -> pd.DataFrame:
        rows = self._rows(source)
        rows = rows[~rows["condition"].isin(self.exclude)]
        if not self.only_stimuli or conditions is None:
            return rows
        return rows[rows["condition"].isin(as_labels(conditions))]

    def _all_conditions(self, subject: str) -> list[str]:
        labels = [self._rows(source)["condition"] for source in self._sources(subject)]
        return list(dict.fromkeys(pd.concat(labels)))

    def _images_of_runs(
        self, sources: Sequence[Source], everywhere: Array, conditions: Sequence[str] | None
    ) -> Iterator[tuple[str, Array]]:
        """Yield each run, "" where none is known, with its images, (n_x, n_y, n_z, n_images), one file at a time."""
        for source in sources:
            rows = self._kept_rows(source, conditions)
            for run, numbers in rows.groupby(self._measured_in(source, rows)).groups.items():
                images = self._read(source, list(numbers), everywhere)
                yield str(run), np.moveaxis(images.reshape(-1, *everywhere.shape), 0, -1)

    # ------------------------------------------------------------------------------------ what is wrong

    def _problems_of(self, subject: str, conditions: Sequence[str] | None, residuals: bool = False) -> list[str]:
        """List what is wrong with one subject; paths are shown with {subject}, so that subjects can be compared."""
        try:
            found = list(self._found_problems(subject, conditions, residuals))
        except UserError as error:
            found = [str(error)]
        for template in filter(None, (getattr(self, name) for name in self.templates)):
            found = [with_subject_hidden(text, template, subject) for text in found]
        return found

    def _found_problems(self, subject: str, conditions: Sequence[str] | None, residuals: bool) -> Iterator[str]:
        sources = self._sources(subject, conditions)
        files = self.files(subject, conditions, residuals=residuals)
        missing = [str(path) for path in files if not path.exists()]
        if missing:
            yield f"{len(missing)} of {len(files)} files do not exist: {listed(missing, 3)}."
        kept, n_wrong = [], len(missing)
        for source in sources:
            rows, problems = self._examined(source, conditions)
            yield from problems
            n_wrong += len(problems)
            kept += [] if rows is None else [rows]
        masks = [(path, f"The mask {path}") for path in self._masks(subject) if path.exists()]
        wrong = [*self._repeated(kept), *problems_of_grids(self._named_images(subject, sources, residuals), masks)]
        if conditions is not None and len(kept) == len(sources):
            named = [
                name
                for name in self._named_conditions(subject)
                if not self.only_stimuli or name in as_labels(conditions)
            ]
            wrong += problems_of_conditions(conditions, pd.concat([pd.DataFrame({"condition": named}), *kept]))
        yield from wrong
        if not n_wrong and not wrong and not any(len(rows) for rows in kept):
            yield "No image is left, since `exclude` names every condition."

    def _examined(self, source: Source, conditions: Sequence[str] | None) -> tuple[pd.DataFrame | None, list[str]]:
        """Read the rows of one file and list what is wrong with them; no rows if they cannot be read."""
        if source.table is not None and not source.table.exists():
            return None, []
        try:
            rows, kept = self._rows(source), self._kept_rows(source, conditions)
        except UserError as error:
            return None, [str(error)]
        problems = list(self._problem_of_length(source, len(rows))) if source.image.exists() else []
        return kept.assign(source=str(source.table or source.image)), problems

    def _problem_of_length(self, source: Source, n_rows: int) -> Iterator[str]:
        """Compare the number of images in a file with the number of rows that describe them."""
        try:
            n_images = self._n_images(source)
        except UserError as error:
            yield str(error)
            return
        if n_images != n_rows and source.table is None:
            yield f"The image {source.image} of one condition has {n_images} volumes; use a 4-D image with a table."
        elif n_images != n_rows:
            run = "" if source.run is None else f" for run {source.run!r}"
            yield (
                f"The image {source.image} has {n_images} volumes and its table {source.table} has {n_rows} rows{run}; "
                "row i has to describe volume i."
            )

    def _repeated(self, kept: Sequence[pd.DataFrame]) -> Iterator[str]:
        """Name the conditions that come twice, file by file, unless they are to be averaged."""
        if self.repeats == "mean" or not kept:
            return
        rows = pd.concat(kept)
        twice = rows[rows.duplicated([name for name in KEYS if name in rows])]
        for source, again in twice.groupby("source", sort=False):
            names = listed(list(dict.fromkeys(again["condition"])))
            yield f"{source} has {names} twice in a run; average them (`repeats: mean`), or tell them apart by runs."

    def _named_images(self, subject: str, sources: Sequence[Source], residuals: bool) -> list[tuple[Path, str]]:
        """List the images that are there, then residuals, with what messages call them."""
        images = [(source.grid or source.image, f"The image {source.grid or source.image}") for source in sources]
        images += [(path, f"The residuals {path}") for path in (self._residual_images(subject) if residuals else [])]
        return [(path, name) for path, name in images if path.exists()]


def _warn_of_zeros(subject: str, values: Array, table: pd.DataFrame, runs: pd.Series) -> None:
    """Log that images are 0 in every voxel, as estimates of what was not shown are; all of a run are a `UserError`."""
    empty = ~values.any(axis=1)
    if not empty.any():
        return
    for run, is_empty in pd.Series(empty).groupby(runs, sort=False):
        if is_empty.all():
            raise UserError(f"Run {run!r} has no data: all of its images are 0; make it again, or leave the run out.")
    first = " ".join(f"{name} {value!r}" for name, value in table[empty].iloc[0].items() if not pd.isna(value))
    logger.warning(
        f"subject {subject!r}: {np.count_nonzero(empty)} of {len(values)} images are 0 in all voxels of the mask (the "
        f"first: {first}), and count as measured"
    )


def mean_of_repeats(values: Array, table: pd.DataFrame) -> tuple[Array, pd.DataFrame]:
    """Average the rows that a table does not tell apart, in double precision; the first of them gives the place.

    Examples
    --------
    >>> mean_of_repeats(np.array([[1.0], [5.0], [2.0]]), pd.DataFrame({"condition": ["a", "b", "a"]}))
    (array([[1.5],
           [5. ]]),   condition
    0         a
    1         b)
    """
    if not table.duplicated().any():
        return values, table
    groups = table.groupby(list(table), sort=False, dropna=False).indices
    means = np.empty((len(groups), values.shape[1]), dtype=values.dtype)
    for place, rows in enumerate(groups.values()):
        means[place] = values[rows].mean(axis=0, dtype=np.float64)
    return means, table.drop_duplicates(ignore_index=True)


def with_subject_hidden(text: str, template: str, subject: str) -> str:
    """Put {subject} back into the paths of a message that were made of a template.

    Examples
    --------
    >>> with_subject_hidden("There is no file sub-1/run-1.nii.", "sub-{subject}/run-{run}.nii", "1")
    'There is no file sub-{subject}/run-1.nii.'
    """
    parts = re.split(r"(\{\w+\})", template)
    wanted = "".join(
        re.escape(subject) if part == "{subject}" else "([^/']*?)" if part.startswith("{") else re.escape(part)
        for part in parts
    )

    def hidden(match: re.Match[str]) -> str:
        others = iter(match.groups())
        return "".join(
            part if part == "{subject}" else next(others) if part.startswith("{") else part for part in parts
        )

    return re.sub(wanted, hidden, text) if "{subject}" in parts else text
