"""Images per condition (betas, t maps) in NIfTI files, wherever they lie and whatever they are called."""

import glob
import logging
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import nibabel as nib
import numpy as np
import pandas as pd
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from rsa.core import Array, Patterns, Volume, difference_of_conditions
from rsa.errors import UserError, listed
from rsa.io import load_image, load_table
from rsa.settings import DataPath, Label, Section, fill, placeholders

__all__ = ["Maps", "Names", "Subjects", "by_subject"]

logger = logging.getLogger(__name__)


# ------------------------------------------------------------------------------- shared by the data sets


def _as_text(names: Any) -> Any:
    """Refuse numbers: YAML reads an unquoted 01 as the number 1, and the leading zero is lost."""
    for name in names if isinstance(names, list | tuple) else ():
        if isinstance(name, int | float):
            raise ValueError(f'{name!r} is a number to YAML, which drops leading zeros; quote it: "{name:02}"')
    return names


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(f"{listed(twice)} given more than once; give each name once")
    return names


Names = Annotated[tuple[str, ...], BeforeValidator(_as_text), AfterValidator(_each_once)]
"""Names, each once; numbers have to be quoted."""

Subjects = Annotated[tuple[Label, ...], BeforeValidator(_as_text), AfterValidator(_each_once), Field(min_length=1)]
"""BIDS labels of the subjects, at least one."""


def by_subject(problems: Sequence[tuple[str, str]]) -> list[str]:
    """Say each problem once, with the subjects that have it.

    Parameters
    ----------
    problems : sequence of (subject, text)
        A text may contain ``{subject}``: the label is put there if only one subject has the problem.

    Examples
    --------
    >>> by_subject([("01", "no file sub-{subject}.nii"), ("02", "no file sub-{subject}.nii")])
    ["subjects '01', '02': no file sub-{subject}.nii"]
    >>> by_subject([("01", "no file sub-{subject}.nii")])
    ["subject '01': no file sub-01.nii"]
    """
    subjects: dict[str, list[str]] = {}
    for subject, text in problems:
        if subject not in subjects.setdefault(text, []):
            subjects[text].append(subject)
    return [
        f"subjects {listed(having)}: {text}"
        if len(having) > 1
        else f"subject {having[0]!r}: {text.replace('{subject}', having[0])}"
        for text, having in subjects.items()
    ]


# -------------------------------------------------------------------------------------------- settings


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
        volume = _whole_grid(_opened(self._sources(subject)[0].image))
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
        grid = _whole_grid(_opened(sources[0].image))
        if self.mask is None:
            inside = self._varying_voxels(sources)
        else:
            path = fill(self.mask, subject=subject)
            mask = _opened(path)
            grid.require_grid(mask.shape, mask.affine, f"The mask {path}", f"the image {sources[0].image}")
            inside = _read(path)[..., 0] > 0
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
            values.append(_read(source.image)[volume.mask].T[rows.index])  # (n_rows, n_voxels)
            tables.append(rows)
        patterns = Patterns(np.concatenate(values), pd.concat(tables, ignore_index=True), volume)
        _warn_of_unusable_voxels(subject, patterns)
        _warn_of_uneven_runs(subject, patterns)
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

    def _varying_voxels(self, sources: Sequence[_Source]) -> Array:
        """Find the voxels that are finite in all images and vary over them, within each run of several images."""
        lowest: dict[str, Array] = {}
        highest: dict[str, Array] = {}
        n_images: dict[str, int] = {}
        for source in sources:
            rows, images = self._kept_rows(source), _read(source.image)
            runs = rows["run"] if "run" in rows else pd.Series("", index=rows.index)
            for run, volumes in rows.groupby(runs).groups.items():
                block = images[..., volumes]  # (n_x, n_y, n_z, n_volumes); a NaN stays NaN in minimum and maximum
                low, high = block.min(axis=-1), block.max(axis=-1)
                lowest[run] = np.minimum(lowest.get(run, low), low)
                highest[run] = np.maximum(highest.get(run, high), high)
                n_images[run] = n_images.get(run, 0) + len(volumes)
        low, high = np.stack(list(lowest.values())), np.stack(list(highest.values()))  # (n_runs, n_x, n_y, n_z)
        alone = np.array([n_images[run] == 1 for run in lowest])[:, None, None, None]
        varies = ((low < high) | alone).all(axis=0) & (low.min(axis=0) < high.max(axis=0))
        inside: Array = varies & np.isfinite(low).all(axis=0) & np.isfinite(high).all(axis=0)
        return inside

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
        problems += self._problems_of_grids(subject, [pair for pair in pairs if pair[0].image.exists()])
        if conditions is not None and all(len(rows) for rows in labels[1:]):
            problems += _problems_of_conditions(conditions, pd.concat(labels))
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

    def _problems_of_grids(self, subject: str, pairs: Sequence[tuple[_Source, _Source]]) -> list[str]:
        """Compare the grid of every image, and of the mask, with that of the first image."""
        if not pairs:
            return []
        images = [(source.image, f"The image {shown.image}") for source, shown in pairs]
        mask = fill(self.mask, subject=subject) if self.mask is not None else None
        if mask is not None and mask.exists():
            images.append((mask, f"The mask {self.mask}"))
        problems = []
        try:
            first = _whole_grid(_opened(images[0][0]))
        except UserError:
            return []  # told already
        for path, name in images[1:]:
            try:
                image = _opened(path)
                first.require_grid(image.shape, image.affine, name, images[0][1].replace("The", "the", 1))
            except UserError as error:
                problems.append(str(error))
        return problems

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


# ---------------------------------------------------------------------------------------- one file


def _opened(path: Path) -> nib.Nifti1Pair:
    """Open an image without its data, and refuse what has no grid of voxels."""
    image = load_image(path)
    if not isinstance(image, nib.Nifti1Pair) or image.ndim not in (3, 4):
        shape = getattr(image, "shape", None)
        raise UserError(
            f"{path} is a {type(image).__name__} of shape {shape}; give a NIfTI image of 3 or 4 dimensions."
        )
    return image


def _n_volumes(image: nib.Nifti1Pair) -> int:
    return int(image.shape[3]) if image.ndim == 4 else 1


def _whole_grid(image: nib.Nifti1Pair) -> Volume:
    """Return the grid of an image, every voxel inside, with its affine and codes."""
    codes = {name: int(image.header[name]) for name in ("sform_code", "qform_code")}
    return Volume(np.ones(image.shape[:3], dtype=bool), image.affine, **codes)


def _read(path: Path) -> Array:
    """Read an image as float32, scaled, of shape (n_x, n_y, n_z, n_volumes)."""
    image = _opened(path)
    try:
        with np.errstate(over="ignore"):  # beyond single precision becomes infinite: not usable
            values = np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{path} is damaged, its data cannot be read: {error}. Copy or make it again.") from error
    return values.reshape((*image.shape[:3], _n_volumes(image)))


def _problem_of_length(source: _Source, shown: _Source, n_rows: int) -> Iterator[str]:
    """Compare the number of volumes of an image with the number of rows that describe them."""
    try:
        n_volumes = _n_volumes(_opened(source.image))
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


def _problems_of_conditions(conditions: Sequence[str], rows: pd.DataFrame) -> Iterator[str]:
    """Compare the conditions of one subject with those that there should be, and name the runs with others."""
    difference = difference_of_conditions(conditions, list(rows["condition"]), "the stimulus table", "the maps")
    if not difference:
        return
    extra = rows[~rows["condition"].isin(conditions)]
    runs = list(dict.fromkeys(extra["run"].dropna())) if "run" in extra else []
    where = f" Conditions without a stimulus are in run {listed(runs)}." if runs else ""
    advice = " Those that belong to no stimulus go into `exclude`." if len(extra) else ""
    yield difference + where + advice


def _warn_of_unusable_voxels(subject: str, patterns: Patterns) -> None:
    n_unusable, n_voxels = int(np.count_nonzero(~patterns.usable)), patterns.n_features
    if n_unusable:
        guess = "; the mask probably does not belong to the images" if n_unusable > n_voxels / 2 else ""
        logger.warning(
            "subject %r: %d of %d voxels of the mask have no data (NaN in a row, or the same in all rows)%s",
            subject,
            n_unusable,
            n_voxels,
            guess,
        )


def _warn_of_uneven_runs(subject: str, patterns: Patterns) -> None:
    if "run" not in patterns.table:
        return
    n_of_run = patterns.table.groupby("run", sort=False).size()
    if n_of_run.min() < len(patterns.conditions):
        logger.warning(
            "subject %r: not every run has each of the %d conditions; run %r has %d",
            subject,
            len(patterns.conditions),
            n_of_run.idxmin(),
            n_of_run.min(),
        )
