"""Images per condition (betas, t maps) in NIfTI files, wherever they lie and whatever they are called."""

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import model_validator

from rsa.core import Array, Patterns, Volume
from rsa.datasets.common import (
    Names,
    Subjects,
    by_subject,
    problems_of_conditions,
    warn_of_uneven_runs,
    warn_of_unusable_voxels,
)
from rsa.datasets.images import count_volumes, opened, problems_of_grids, read_voxels, varying_voxels, whole_grid
from rsa.errors import UserError, listed
from rsa.io import load_table
from rsa.settings import DataPath, Label, Section, fill, placeholders

__all__ = ["Maps"]


@dataclass(frozen=True)
class _Source:
    """An image file and what says which conditions its volumes show: a table, or its own name."""

    image: Path
    table: Path | None
    run: str | None
    condition: str | None


class Maps(Section):
    """Images per condition (betas, t maps) in NIfTI files.

    Raises
    ------
    ValidationError
        If the templates, runs and table do not belong together; the message says what to change.
    """

    provides: ClassVar[str] = "patterns"

    kind: Literal["maps"] = "maps"
    """One image per condition, or a 4-D image whose volumes a table describes."""
    subjects: Subjects
    """Labels of the subjects, quoted: ["01", "02"]."""
    runs: Names = ()
    """Runs as they appear in the file names, quoted: ["1", "2"]; leave out if no file name has {run}."""
    images: DataPath
    """Template of the images with {subject} and, where the names differ by them, {run} and {condition}."""
    table: DataPath | None = None
    """Template ({subject}, {run}) of the tables whose row i describes volume i of a 4-D image."""
    condition_column: str = "condition"
    """Column of the table that holds the conditions."""
    run_column: str | None = "run"
    """Column of the table that holds the runs; used if the table has it."""
    exclude: Names = ()
    """Conditions to leave out, such as ["rest"]."""
    mask: DataPath | None = None
    """Template ({subject}) of the masks, above 0 inside; by default the voxels that vary over images in every run."""
    space: Label = "individual"
    """BIDS label of the space that the images are in, for the file names of the results."""

    @model_validator(mode="after")
    def _templates_agree(self) -> Self:
        names = placeholders(self.images)
        in_table, in_mask = placeholders(self.table or ""), placeholders(self.mask or "")
        unknown = (names - {"subject", "run", "condition"}) | (in_table - {"subject", "run"}) | (in_mask - {"subject"})
        if unknown:
            raise ValueError(
                f"unknown placeholder {listed(sorted(unknown))}: images take {{subject}}, {{run}} and "
                "{condition}, table {subject} and {run}, mask {subject}"
            )
        if ("condition" in names) == (self.table is not None):
            raise ValueError(
                "images with {condition} in their names need no table, and images without it need one: "
                f"images is {self.images!r} and table is {self.table!r}"
            )
        if "run" in names | in_table and not self.runs:
            raise ValueError("images or table has {run}, so give the runs: runs: ['1', '2']")
        if self.runs and "run" not in names:
            raise ValueError("runs are given, but images has no {run}; put it there, or leave runs out")
        if len(self.subjects) > 1 and "subject" not in names:
            raise ValueError("images has no {subject}, so all subjects would read the same file; put it there")
        return self

    # ---------------------------------------------------------------------------------- what there is

    def files(self, subject: str, conditions: Sequence[str] | None = None) -> list[Path]:
        """Return every file that `load` reads; `conditions` are needed where the file names hold them."""
        sources = self._sources(subject, conditions)
        images = [source.image for source in sources]
        tables = [source.table for source in sources if source.table is not None]
        masks = [fill(self.mask, subject=subject)] if self.mask is not None else []
        return list(dict.fromkeys([*images, *tables, *masks]))

    def conditions(self, subject: str) -> list[str]:
        """Return the conditions of a subject, each once: those in its tables, or in the names of its files.

        Raises
        ------
        UserError
            If a table cannot be read, or no file has such a name.
        """
        return [name for name in self._all_conditions(subject) if name not in self.exclude]

    def grid(self, subject: str) -> tuple[tuple[int, int, int], Array]:
        """Return shape (n_x, n_y, n_z) and affine (4, 4) in mm of a subject's first image, from its header."""
        volume = whole_grid(opened(self._sources(subject)[0].image))
        return volume.shape, volume.affine

    def problems(self, conditions: Sequence[str] | None = None) -> list[str]:
        """Check files, tables, grids and conditions of all subjects without reading a voxel.

        Parameters
        ----------
        conditions : sequence of str, optional
            The conditions that there should be.

        Returns
        -------
        list of str
            Every problem as one line, with the subjects that have it; empty if all is well.
        """
        found = [(subject, text) for subject in self.subjects for text in self._problems_of(subject, conditions)]
        return by_subject(found) + self._problems_of_exclude()

    # ------------------------------------------------------------------------------------ what is read

    def volume(self, subject: str) -> Volume:
        """Return the grid of a subject's images with its mask.

        Raises
        ------
        UserError
            If the mask is missing, empty or on another grid.
        """
        sources = self._sources(subject)
        grid = whole_grid(opened(sources[0].image))
        if self.mask is None:
            inside = varying_voxels(self._images_of_runs(sources))
        else:
            path = fill(self.mask, subject=subject)
            mask = opened(path)
            grid.require_grid(mask.shape, mask.affine, f"The mask {path}", f"the image {sources[0].image}")
            inside = read_voxels(path)[..., 0] > 0
        return Volume(inside, grid.affine, grid.sform_code, grid.qform_code)

    def load(self, subject: str, conditions: Sequence[str] | None = None) -> Patterns:
        """Read the patterns of a subject in the voxels of the mask.

        Parameters
        ----------
        subject : str
            One of `subjects`.
        conditions : sequence of str, optional
            The conditions that there should be; checked by label, in any order.

        Returns
        -------
        Patterns
            values (n_rows, n_voxels) in the units of the images; one row per run and condition in the order of
            the files; the table has `condition` and, where there are runs, `run`.

        Raises
        ------
        UserError
            If `problems` has anything to say about this subject, or a file is damaged.
        """
        problems = self._problems_of(subject, conditions)
        if problems:
            more = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
            raise UserError(by_subject([(subject, problems[0])])[0] + more)
        volume = self.volume(subject)
        values, tables = [], []
        for source in self._sources(subject, conditions):
            rows = self._kept_rows(source)
            values.append(read_voxels(source.image)[volume.mask].T[rows.index])  # (n_rows, n_voxels)
            tables.append(rows)
        patterns = Patterns(np.concatenate(values), pd.concat(tables, ignore_index=True), volume)
        warn_of_unusable_voxels(subject, patterns)
        warn_of_uneven_runs(subject, patterns)
        return patterns

    # --------------------------------------------------------------------------------------- the parts

    def _sources(self, subject: str, conditions: Sequence[str] | None = None) -> list[_Source]:
        """List the image files of a subject, run by run, with the table of each."""
        names: Sequence[str | None] = (None,)
        if self.table is None:
            names = self.conditions(subject) if conditions is None else conditions
        return [
            _Source(
                fill(self.images, subject=subject, run=run, condition=name),
                None if self.table is None else fill(self.table, subject=subject, run=run),
                run,
                name,
            )
            for run in self.runs or (None,)
            for name in names
        ]

    def _rows(self, source: _Source) -> pd.DataFrame:
        """Describe the volumes of an image: `condition` and, if known, `run`; the index is the volume's number."""
        if source.table is None:
            rows = pd.DataFrame({"condition": [source.condition]})
            return rows if source.run is None else rows.assign(run=source.run)
        table, run_column = load_table(source.table, [self.condition_column]), None
        if self.run_column is not None and self.run_column in table:
            run_column = self.run_column
            table = load_table(source.table, [self.condition_column, run_column])  # now the runs are text
        rows = pd.DataFrame({"condition": table[self.condition_column]})
        if source.run is None:
            return rows if run_column is None else rows.assign(run=table[run_column])
        if run_column is not None and "run" not in placeholders(self.table or ""):
            rows = rows[table[run_column] == source.run].reset_index(drop=True)
            if rows.empty:
                found = listed(list(dict.fromkeys(table[run_column])))
                raise UserError(f"{source.table} has no rows of run {source.run!r}; its runs are {found}.")
        return rows.assign(run=source.run)

    def _kept_rows(self, source: _Source) -> pd.DataFrame:
        rows = self._rows(source)
        return rows[~rows["condition"].isin(self.exclude)]

    def _all_conditions(self, subject: str) -> list[str]:
        if self.table is None:
            return self._conditions_in_names(subject)
        labels = [self._rows(source)["condition"] for source in self._sources(subject)]
        return list(dict.fromkeys(pd.concat(labels)))

    def _conditions_in_names(self, subject: str) -> list[str]:
        """Find the conditions for which the first run has a file, in alphabetical order."""
        template = str(fill(self.images, subject=subject, run=self.runs[0] if self.runs else ""))
        wanted = re.escape(template).replace(re.escape("{condition}"), r"(?P<condition>[^/]+)", 1)
        pattern = re.compile(wanted.replace(re.escape("{condition}"), r"(?P=condition)"))
        paths = glob.glob(glob.escape(template).replace("{condition}", "*"))
        mask = None if self.mask is None else str(fill(self.mask, subject=subject))
        found = {match["condition"] for path in paths if path != mask and (match := pattern.fullmatch(path))}
        if not found:
            raise UserError(f"There is no file {template}, whatever the {{condition}}; see `images`.")
        return sorted(found)

    def _images_of_runs(self, sources: Sequence[_Source]) -> Iterator[tuple[str, Array]]:
        """Yield each run, "" where none is known, with its images, (n_x, n_y, n_z, n_volumes), one file at a time."""
        for source in sources:
            rows, images = self._kept_rows(source), read_voxels(source.image)
            runs = rows["run"] if "run" in rows else pd.Series("", index=rows.index)
            for run, volumes in rows.groupby(runs).groups.items():
                yield str(run), images[..., volumes]

    # ------------------------------------------------------------------------------------ what is wrong

    def _problems_of(self, subject: str, conditions: Sequence[str] | None) -> list[str]:
        """List what is wrong with one subject; paths are shown with {subject}, so that subjects can be compared."""
        try:
            in_names = self.conditions(subject) if self.table is None else []
        except UserError as error:
            first = fill(self.images, run=self.runs[0] if self.runs else "")
            return [str(error).replace(str(fill(str(first), subject=subject)), str(first))]
        names = in_names if conditions is None else conditions
        files, shown = self.files(subject, names), self.files("{subject}", names)
        missing = [str(name) for path, name in zip(files, shown, strict=True) if not path.exists()]
        problems = [f"{len(missing)} of {len(files)} files do not exist: {listed(missing, 3)}."] if missing else []
        pairs = list(zip(self._sources(subject, names), self._sources("{subject}", names), strict=True))
        labels = [pd.DataFrame({"condition": in_names})]
        for source, name in pairs:
            rows, wrong = self._examined(source, name)
            problems += wrong
            labels.append(rows)
        problems += problems_of_grids(self._named_images(subject, pairs))
        if conditions is not None and all(len(rows) for rows in labels[1:]):
            problems += problems_of_conditions(conditions, pd.concat(labels))
        if not problems and not any(len(rows) for rows in labels):
            problems.append("No image is left, since `exclude` names every condition.")
        return problems

    def _examined(self, source: _Source, shown: _Source) -> tuple[pd.DataFrame, list[str]]:
        """Read the rows of one image and list what is wrong with them; no rows if they cannot be read."""
        if source.table is not None and not source.table.exists():
            return pd.DataFrame({"condition": []}), []
        try:
            rows = self._rows(source)
            kept = self._kept_rows(source)
        except UserError as error:
            return pd.DataFrame({"condition": []}), [str(error).replace(str(source.table), str(shown.table))]
        twice = kept[kept.duplicated()]["condition"]
        problems = []
        if len(twice):
            names = listed(list(dict.fromkeys(twice)))
            problems.append(f"{shown.table} has {names} twice in a run; average them, or tell them apart by runs.")
        if source.image.exists():
            problems += _problem_of_length(source, shown, len(rows))
        return kept, problems

    def _named_images(self, subject: str, pairs: Sequence[tuple[_Source, _Source]]) -> list[tuple[Path, str]]:
        """List the images that are there, and then the mask, with what messages call them."""
        images = [(source.image, f"The image {shown.image}") for source, shown in pairs]
        if self.mask is not None and images:
            images.append((fill(self.mask, subject=subject), f"The mask {self.mask}"))
        return [(path, name) for path, name in images if path.exists()]

    def _problems_of_exclude(self) -> list[str]:
        """Name the excluded conditions that no subject has."""
        found: set[str] = set()
        for subject in self.subjects if self.exclude else ():
            try:
                found.update(self._all_conditions(subject))
            except UserError:
                return []  # told already
        never = [name for name in self.exclude if name not in found]
        return [f"exclude names {listed(never)}, which no subject has; there are {listed(sorted(found))}."] * bool(
            never
        )


def _problem_of_length(source: _Source, shown: _Source, n_rows: int) -> Iterator[str]:
    """Compare the number of volumes of an image with the number of rows that describe them."""
    try:
        n_volumes = count_volumes(opened(source.image))
    except UserError as error:
        yield str(error).replace(str(source.image), str(shown.image))
        return
    if n_volumes != n_rows and source.table is None:
        yield f"The image {shown.image} of one condition has {n_volumes} volumes; use a 4-D image with a table."
    elif n_volumes != n_rows:
        run = "" if source.run is None else f" for run {source.run!r}"
        yield (
            f"The image {shown.image} has {n_volumes} volumes and its table {shown.table} has {n_rows} rows{run}; "
            "row i has to describe volume i."
        )
