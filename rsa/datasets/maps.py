"""Images per condition (betas, t maps) in NIfTI files, wherever they lie and whatever they are called."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from rsa.core import as_label
from rsa.datasets.brain_images import KEYS, BrainImages, Source
from rsa.datasets.tables import read_rows, rows_of_run
from rsa.errors import UserError, listed
from rsa.files.sources import as_on_disk
from rsa.inputs.stimuli import LabelPattern
from rsa.settings import DataPath, Names, fill, placeholders

__all__ = ["Maps"]


class Maps(BrainImages):
    """Images per condition (betas, t maps) in NIfTI files.

    Raises
    ------
    ValidationError
        If the templates, runs and table do not belong together; the message says what to change.
    """

    located_by = "images"
    templates: ClassVar = {
        "images": ("subject", "session", "run", "condition"),
        "table": ("subject", "session", "run"),
        "mask": ("subject",),
        "residuals": ("subject", "session", "run"),
    }

    kind: Literal["maps"] = "maps"
    """One image per condition, or a 4-D image whose volumes a table describes."""
    runs: Names = ()
    """Runs as they appear in the file names, quoted: ["1", "2"]; leave out if no file name has {run}. A run "01" is
    the run 1 of a table that has no "01"."""
    sessions: Names = ()
    """Sessions as they appear in the file names, quoted; leave out if no file name has {session}."""
    pool_runs: bool = False
    """Take the runs of a session as one run: right where a condition comes once a session, not once a run."""
    images: DataPath
    """Template of the images with {subject} and, where the names differ by them, {session}, {run} and {condition}."""
    table: DataPath | None = None
    """Template ({subject}, {session}, {run}) of the tables whose row i describes volume i of a 4-D image."""
    condition_column: str = "condition"
    """Column of the table that holds the conditions."""
    condition_pattern: LabelPattern | None = None
    """Regular expression whose group is the condition, for a column that holds more than its label, such as file
    names: '([^/]+)[.]jpg'. What does not match stays as it is."""
    run_column: str | None = "run"
    """Column of the table that holds the runs; used if the table has it."""
    delay_column: str | None = "delay_s"
    """Column of the table that holds delays after onset in s (time-resolved data); used if the table has it."""
    mask: DataPath | None = None
    """Template ({subject}) of the masks, above 0 inside; by default the voxels that vary over images in every run."""
    residuals: DataPath | None = None
    """Template ({subject}, {session}, {run}) of 4-D images of what the model of a run leaves, in the units of the
    images; needed to normalise by the noise."""
    residual_degrees_of_freedom: float | None = Field(None, ge=1)
    """Degrees of freedom of the residuals of one run: its volumes less the parameters of its model."""

    @model_validator(mode="after")
    def _templates_agree(self) -> Self:
        names, in_table = placeholders(self.images), placeholders(self.table or "")
        if ("condition" in names) == (self.table is not None):
            raise ValueError(
                "images with {condition} in their names need no table, and images without it need one: "
                f"images is {self.images!r} and table is {self.table!r}"
            )
        if "run" in names | in_table and not self.runs:
            raise ValueError("images or table has {run}, so give the runs: runs: ['1', '2']")
        if self.runs and "run" not in names:
            raise ValueError("runs are given, but images has no {run}; put it there, or leave runs out")
        self._require_subject("images")
        return self

    @model_validator(mode="after")
    def _sessions_agree(self) -> Self:
        names, in_table = placeholders(self.images), placeholders(self.table or "")
        if bool(self.sessions) != ("session" in names):
            raise ValueError("sessions and {session} in images belong together; give both, or neither")
        if self.table is not None and self.sessions and "session" not in in_table:
            raise ValueError("images has {session} and table has not, so runs of two sessions are one; put it there")
        if "session" in in_table and not self.sessions:
            raise ValueError("table has {session}, so give the sessions, and put {session} into images")
        if self.pool_runs and not (self.sessions and self.runs):
            raise ValueError("pool_runs takes the runs of a session as one: give sessions and runs, or leave it out")
        return self

    @model_validator(mode="after")
    def _residuals_are_known(self) -> Self:
        if (self.residuals is None) != (self.residual_degrees_of_freedom is None):
            raise ValueError("residuals and residual_degrees_of_freedom belong together; give both, or neither")
        lacking = ({"session", "run"} & placeholders(self.images)) - placeholders(self.residuals or "")
        if self.residuals is not None and lacking:
            raise ValueError(f"residuals has no placeholder {listed(sorted(lacking))}, which images has; put it there")
        return self

    def _responses(self) -> str:
        return f"Responses were read as images of {'each condition and run' if self.runs else 'each condition'}"

    def simulated_files(self, subject: str) -> list[Path]:
        """Return the files that a simulation writes for a subject: images and tables of all runs, and the mask."""
        if self.table is None or "subject" not in placeholders(self.mask or ""):
            return []
        runs = [
            fill(template, subject=subject, run=run)
            for run in self.runs or ("",)
            for template in (self.images, self.table)
        ]
        return [*runs, fill(str(self.mask), subject=subject)]

    # --------------------------------------------------------------------------------------- the parts

    def _sources(self, subject: str, conditions: Sequence[str] | None = None) -> list[Source]:
        names: Sequence[str | None] = (None,)
        if self.table is None:
            names = self.conditions(subject) if conditions is None else conditions
        return [
            Source(
                self._image(subject, session, run, name),
                None if self.table is None else fill(self.table, subject=subject, session=session, run=run),
                run,
                name,
                session=session,
            )
            for session, run in self._sessions_and_runs()
            for name in names
        ]

    def _image(self, subject: str, session: str | None, run: str | None, condition: str | None) -> Path:
        """Return the path of an image, whose condition may be spelled in another way on disk (see `as_on_disk`)."""
        path = fill(self.images, subject=subject, session=session, run=run, condition=condition)
        return path if condition is None else as_on_disk([path])[0]

    def _sessions_and_runs(self) -> list[tuple[str | None, str | None]]:
        return [(session, run) for session in self.sessions or (None,) for run in self.runs or (None,)]

    def _rows(self, source: Source) -> pd.DataFrame:
        """Describe the volumes of an image: `condition` and, if known, `run` and `delay_s`; the index is the volume."""
        label = self._run_label(source)
        if source.table is None:
            rows = pd.DataFrame({"condition": [source.condition]})
        else:
            rows = self._rows_of_table(source.table, source.run)
        rows = rows if label is None else rows.assign(run=label)
        return rows[[name for name in KEYS if name in rows]]

    def _rows_of_table(self, table: Path, run: str | None) -> pd.DataFrame:
        rows = read_rows(table, self.condition_column, self.run_column, self.delay_column, self.condition_pattern)
        has_all_runs = run is not None and "run" in rows and "run" not in placeholders(self.table or "")
        return rows_of_run(table, rows, str(run)) if has_all_runs else rows

    def _measured_in(self, source: Source, rows: pd.DataFrame) -> pd.Series:
        if not self.pool_runs:
            return super()._measured_in(source, rows)
        return pd.Series(f"ses-{source.session}_run-{source.run}", index=rows.index)

    def _run_label(self, source: Source) -> str | None:
        if source.session is None or source.run is None or self.pool_runs:
            return source.session or source.run
        return f"ses-{source.session}_run-{source.run}"

    def _named_conditions(self, subject: str) -> list[str]:
        return self.conditions(subject) if self.table is None else []

    def _all_conditions(self, subject: str) -> list[str]:
        return super()._all_conditions(subject) if self.table is not None else self._conditions_in_names(subject)

    def _conditions_in_names(self, subject: str) -> list[str]:
        """Find the conditions for which the first run has a file, in alphabetical order."""
        session, run = self._sessions_and_runs()[0]
        template = str(fill(self.images, subject=subject, session=session, run=run))
        wanted = re.escape(template).replace(re.escape("{condition}"), r"(?P<condition>[^/]+)", 1)
        pattern = re.compile(wanted.replace(re.escape("{condition}"), r"(?P=condition)"))
        paths = glob.glob(glob.escape(template).replace("{condition}", "*"))
        mask = None if self.mask is None else str(fill(self.mask, subject=subject))
        found = [match["condition"] for path in paths if path != mask and (match := pattern.fullmatch(path))]
        labels = {as_label(name) for name in found}
        if not found:
            raise UserError(f"There is no file {template}, whatever the {{condition}}; see `images`.")
        if twice := [name for name in found if as_label(name) != name and as_label(name) in found]:
            raise UserError(
                f"Two files of {template} differ only in how accents are stored, {listed(twice)}; remove one."
            )
        return sorted(labels)

    def _residual_images(self, subject: str) -> list[Path]:
        if self.residuals is None:
            raise UserError(
                "Residuals are needed and the data set names none: set brain.residuals and "
                "brain.residual_degrees_of_freedom."
            )
        filled = [
            fill(self.residuals, subject=subject, session=session, run=run)
            for session, run in self._sessions_and_runs()
        ]
        return list(dict.fromkeys(filled))

    def _residual_degrees_of_freedom(self, subject: str) -> float:
        return float(self.residual_degrees_of_freedom or 0) * len(self._residual_images(subject))
