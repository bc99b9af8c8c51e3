"""Runs that fMRIPrep preprocessed, in a BIDS data set: events and images in, patterns of a model of each run out.

nilearn's `first_level_from_bids` is not used: it makes one model of all runs of a subject, whose 4-D images are then
in memory at once, of the conditions in `trial_type` alone. Here one run at a time is read, and fitted by
`rsa.datasets.bids.glm`.
"""

import logging
import os
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, Self

import nibabel as nib
import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from rsa.core import Array, Patterns, Residuals, Volume, as_label, as_labels, difference_of_conditions
from rsa.datasets.bids.confounds import Confounds, read_confounds
from rsa.datasets.bids.files import (
    IDENTITY,
    OPTIONAL,
    SAME_TIME_S,
    Run,
    find_runs,
    inherited,
    metadata,
    plainest,
    problem_of_no_images,
    repetition_time,
    same_label,
)
from rsa.datasets.bids.glm import Glm, RunEstimates, fit_run, problems_of_run, usable_events, warnings_of_durations
from rsa.datasets.common import (
    AnyDataset,
    joined,
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
    reading_data,
    require_undamaged,
    whole_grid,
)
from rsa.files.io import load_table
from rsa.files.sources import problems_of_content
from rsa.settings import Conditions, DataPath, Label, Names, by_subject, fill, placeholders

__all__ = ["Bids"]

logger = logging.getLogger(__name__)

VOXELS_PER_BLOCK = 8_000_000
"""Images are read in blocks of volumes with about so many voxels: 64 MB in double precision."""


@dataclass(frozen=True)
class _Input:
    """What the model of one run is made of, besides its images; `lost` are conditions of which no event can be used."""

    n_scans: int
    tr_s: float
    glm: Glm
    events: pd.DataFrame
    lost: tuple[str, ...]
    warnings: tuple[str, ...]
    confounds: pd.DataFrame | None = None
    kept: Array = field(default_factory=lambda: np.zeros(0, dtype=bool))


class Bids(AnyDataset):
    """Runs that fMRIPrep preprocessed, in a BIDS data set; a model of each run gives the patterns.

    The files are found by their names. Of the events, those of which the condition (or a column of `where`) has no
    value are no part of the model, and those whose condition is in `exclude` are a part of it but not of the result.

    Raises
    ------
    ValidationError
        If drift would be modelled twice, or a placeholder or entity is not one of those that may be given.
    """

    provides = "patterns"
    located_by = "root"
    templates: ClassVar = {"mask": ("subject",)}

    kind: Literal["bids"] = "bids"
    """Runs preprocessed by fMRIPrep in a BIDS data set, with a table of events for each."""
    root: DataPath
    """Folder of the BIDS data set, with the events."""
    derivatives: DataPath | None = None
    """Folder of fMRIPrep's outputs; by default <root>/derivatives/fmriprep."""
    task: Label
    """Label of the task in the file names."""
    space: Label = "MNI152NLin2009cAsym"
    """Space of the images: that in their names (T1w, MNI152NLin2009cAsym), or func for images without one."""
    resolution: Label | None = None
    """Label of the entity res, if there are images in several resolutions; by default those without it, if there are
    such."""
    entities: dict[str, Label | None] = Field(default_factory=dict)
    """Other entities that the images have, where a run was reconstructed or stored more than once: {rec: "moco"}, or
    {rec: null} for those without. Of several echoes their combination is taken, unless {echo: "2"} asks for one; and
    magnitude, not phase."""
    sessions: Names = ()
    """Sessions to read, quoted; all that there are if left out."""
    runs: Names = ()
    """Runs (of each session) to read, quoted; all that there are if left out."""
    condition: str = "trial_type"
    """Column of the events that names the condition, or several columns in braces: "{category}_{position}". Of
    stim_file, it is the file's name without folder and extension."""
    where: dict[str, Names] = Field(default_factory=dict)
    """Values of columns that an event must have to be a part of the model: {event_type: [stimulus]}."""
    exclude: Conditions = ()
    """Conditions that are modelled but not analysed, such as ["button_press"]."""
    confounds: Confounds | None = Confounds()
    """Regressors of no interest and volumes that are left out; null: none."""
    glm: Glm = Glm()
    """How responses are estimated in each run."""
    smoothing_fwhm_mm: float = Field(default=0.0, ge=0)
    """Width of a Gaussian that smooths the images, mm; 0 by default, since smoothing mixes the voxels whose pattern is
    measured."""
    mask: Literal["fmriprep"] | DataPath = "fmriprep"
    """The voxels that are inside the brain masks of all runs, or a template ({subject}) of masks, above 0 inside."""

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if not all(name is None or name for _, name, _, _ in string.Formatter().parse(self.condition)):
            raise ValueError(f"condition {self.condition!r} has braces without the name of a column")
        own = {"sub": "subjects", "task": "task", "space": "space", "res": "resolution"}
        own |= {"ses": "sessions", "run": "runs"}
        for name in set(self.entities) & set(own):
            raise ValueError(f"entities has {name!r}, which is the setting {own[name]!r}; give it there")
        if self.confounds is not None and "high_pass" in self.confounds.strategy and self.glm.drift != "none":
            raise ValueError(
                f"confounds.strategy has high_pass and glm.drift is {self.glm.drift!r}, so drift would be modelled "
                "twice; set glm.drift: none, or take high_pass out"
            )
        return self

    # ---------------------------------------------------------------------------------- what there is

    def methods(self) -> list[str]:
        """Return sentences for the methods text: how responses were estimated."""
        smoothed = f"Images were smoothed ({self.smoothing_fwhm_mm:g} mm FWHM)."
        sentences = [smoothed] if self.smoothing_fwhm_mm > 0 else []
        sentences.append(f"Responses were estimated {self.glm.about()}.")
        return sentences + ([] if self.confounds is None else self.confounds.methods())

    @property
    def bids_root(self) -> str:
        """The folder of the data set."""
        return self.root

    @property
    def delays_setting(self) -> str:
        """The method of the model, if it has responses at several delays."""
        return f"glm.method {self.glm.method}" if self.glm.delays_s else ""

    def files(self, subject: str, conditions: Sequence[str] | None = None, *, residuals: bool = False) -> list[Path]:
        """Return every file that `load` reads; neither `conditions` nor `residuals` make a difference.

        Raises
        ------
        UserError
            If the subject has no images of this task and space.
        """
        paths: list[Path] = []
        for run in self._runs(subject):
            paths += [run.bold, *self._masks(subject, [run]), *self._sidecars(run), *self._raw_sidecars(run)]
            paths += self._events_files(run)[-1:]
            table = run.confounds() if self.confounds is not None else None
            if table is not None:
                paths += [path for path in (table, table.with_suffix(".json")) if os.path.lexists(path)]
        return list(dict.fromkeys(paths))

    def conditions(self, subject: str) -> list[str]:
        """Return the conditions of a subject, each once, in the order in which they were first shown.

        Raises
        ------
        UserError
            If there are no images, or the events cannot be read.
        """
        events = [self._timed_events(run).events["condition"] for run in self._runs(subject)]
        return [name for name in dict.fromkeys(pd.concat(events)) if name not in self.exclude]

    def run_labels(self, subject: str) -> list[str]:
        """Return the labels of a subject's runs, in order."""
        return [run.label for run in self._runs(subject)]

    def grid(self, subject: str) -> Volume:
        """Return the grid of a subject's first run, with every voxel inside, from its header."""
        return whole_grid(opened(self._runs(subject)[0].bold))

    def problems(self, conditions: Sequence[str] | None = None, *, residuals: bool = False) -> list[str]:
        """Check files, events, confounds, times, grids and conditions of all subjects without reading a voxel."""
        for folder, name in ((Path(self.root), "root"), (self._derivatives, "derivatives")):
            if not folder.is_dir():
                return problems_of_content([folder]) or [f"There is no folder {folder}; see `{name}`."]
        found: list[tuple[str, str]] = []
        warnings: list[tuple[str, str]] = []
        for subject in self.subjects:
            problems, told, _ = self._examined(subject, conditions)
            found += [(subject, text) for text in problems]
            warnings += [(subject, text) for text in told]
        for line in by_subject(warnings):
            logger.warning("%s", line)
        if not found:
            self._warn_of_missing_runs()
            self._warn_of_other_kinds()
        return by_subject(found) + problems_of_exclude(self.exclude, self.subjects, self._all_conditions)

    # ------------------------------------------------------------------------------------ what is read

    def volume(self, subject: str) -> Volume:
        """Return the grid of a subject's images with its mask.

        Raises
        ------
        UserError
            If a mask is missing, empty or on another grid.
        """
        runs = self._runs(subject)
        grid = whole_grid(opened(runs[0].bold))
        paths = self._masks(subject, runs)
        inside = inside_all(paths, grid, f"the images {runs[0].bold}")
        if not inside.any():
            raise UserError(f"subject {subject!r}: no voxel is in all {len(paths)} masks; look at {paths[0]}.")
        return Volume(inside, grid.affine, grid.sform_code, grid.qform_code)

    def load(self, subject: str, conditions: Sequence[str] | None = None, *, residuals: bool = False) -> Patterns:
        """Fit the model of each run of a subject in the voxels of the mask, with one run in memory at a time.

        Returns
        -------
        Patterns
            values (n_rows, n_voxels) in the units of the images; one row per run, condition and delay. The table has
            `condition`, `run` (as 'ses-01_run-2') and, of a model with delays, `delay_s`. A voxel that is the same or
            not finite through a run has no data.

        Raises
        ------
        UserError
            If `problems` has anything to say about this subject, or a file is damaged.
        """
        problems, warnings, inputs = self._examined(subject, conditions)
        require_no_problems(subject, problems)
        for line in by_subject([(subject, text) for text in warnings]):
            logger.warning("%s", line)
        volume = self.volume(subject)
        values: list[Array] = []
        tables: list[pd.DataFrame] = []
        noise: list[Array] = []
        degrees_of_freedom = 0.0
        for run in self._runs(subject):
            estimates = self._fit(run, inputs[run.label], volume, residuals)
            analysed = ~estimates.table["condition"].isin(self.exclude)
            values.append(estimates.values[analysed])
            tables.append(estimates.table[analysed].assign(run=run.label))
            if estimates.residuals is not None:
                noise.append(estimates.residuals)
                degrees_of_freedom += estimates.degrees_of_freedom
        table = pd.concat(tables, ignore_index=True)
        samples = Residuals(joined(noise), degrees_of_freedom) if residuals else None
        patterns = Patterns(joined(values), table, volume, residuals=samples)
        warn_of_gaps(subject, patterns)
        return patterns

    # --------------------------------------------------------------------------------------- the parts

    @property
    def _derivatives(self) -> Path:
        return Path(self.derivatives) if self.derivatives is not None else Path(self.root) / "derivatives" / "fmriprep"

    def _masks(self, subject: str, runs: Sequence[Run]) -> list[Path]:
        return [run.mask for run in runs] if self.mask == "fmriprep" else [fill(self.mask, subject=subject)]

    def _runs(self, subject: str) -> list[Run]:
        """Return the runs that the settings choose."""
        runs, problem = self._chosen(subject)
        if problem:
            raise UserError(f"subject {subject!r}: {problem}")
        return runs

    def _chosen(self, subject: str) -> tuple[list[Run], str]:
        """Choose runs by their entities; if none is left, say at which entity and what there is instead."""
        runs = find_runs(self._derivatives, subject)
        if not runs:
            return [], problem_of_no_images(self._derivatives, subject)
        for entity in (entity for entity, label in self.entities.items() if label is None):
            if all(entity in run.entities for run in runs):
                others = listed(list(dict.fromkeys(run.entities[entity] for run in runs)))
                return [], f"no preprocessed images without {entity} in their name; there are {entity} {others}."
            runs = [run for run in runs if entity not in run.entities]
        for entity, wanted in self._wanted().items():
            there = list(dict.fromkeys(run.entities[entity] for run in runs if entity in run.entities))
            absent = [label for label in wanted if not any(same_label(entity, label, other) for other in there)]
            if absent:
                others = f"{entity} {listed(there)}" if there else f"none with {entity} in its name"
                return [], f"no preprocessed images of {entity} {listed(absent)}; there are {others}."
            runs = [run for run in runs if any(same_label(entity, x, run.entities.get(entity, "")) for x in wanted)]
        runs = plainest(runs, [*self._wanted(), *self.entities])
        return runs, _problem_of_repeats(runs) or self._problem_of_sessions(runs)

    def _wanted(self) -> dict[str, tuple[str, ...]]:
        """Return the labels that a run may have, by entity."""
        wanted = {"task": (self.task,), "space": (self.space,), "ses": self.sessions, "run": self.runs}
        wanted["res"] = () if self.resolution is None else (self.resolution,)
        wanted |= {entity: (label,) for entity, label in self.entities.items() if label is not None}
        return {entity: labels for entity, labels in wanted.items() if labels}

    def _problem_of_sessions(self, runs: Sequence[Run]) -> str:
        """Name a session that has not all the runs that are asked for."""
        for session in dict.fromkeys(run.entities.get("ses") for run in runs):
            there = [run.entities.get("run", "") for run in runs if run.entities.get("ses") == session]
            absent = [label for label in self.runs if not any(same_label("run", label, other) for other in there)]
            if absent:
                return f"session {session!r} has no preprocessed images of run {listed(absent)}, only {listed(there)}."
        return ""

    def _sidecars(self, run: Run) -> list[Path]:
        return inherited(self._derivatives, run.entities, "bold.json")

    def _raw_sidecars(self, run: Run) -> list[Path]:
        return inherited(Path(self.root), run.entities, "bold.json")

    def _events_files(self, run: Run) -> list[Path]:
        return inherited(Path(self.root), run.entities, "events.tsv")

    def _events(self, run: Run) -> pd.DataFrame:
        paths = self._events_files(run)
        if not paths:
            raise UserError(f"there is no events.tsv of the run below {self.root}.")
        return _read_events(paths[-1], self.condition, self.where)

    def _all_conditions(self, subject: str) -> list[str]:
        events = [self._events(run)["condition"] for run in self._runs(subject)]
        return list(dict.fromkeys(pd.concat(events)))

    def _input(self, run: Run) -> _Input:
        """Read all that the model of a run needs besides the images; a `UserError` if sources contradict each other."""
        given = self._timed_events(run)
        if self.confounds is None:
            return replace(given, kept=np.ones(given.n_scans, dtype=bool))
        confounds, kept = read_confounds(run, self.confounds)
        if len(kept) != given.n_scans:
            raise UserError(
                f"the images have {given.n_scans} volumes, and the table of confounds has {len(kept)} rows."
            )
        return replace(given, confounds=confounds, kept=kept)

    def _timed_events(self, run: Run) -> _Input:
        """Read the times and the events of a run, and leave out what the run does not show."""
        derived, raw = metadata(self._sidecars(run)), metadata(self._raw_sidecars(run))
        tr_s, warning = repetition_time(run, derived, raw)
        n_scans, glm, events = count_volumes(opened(run.bold)), _timed(self.glm, tr_s, derived), self._events(run)
        used, left_out = usable_events(n_scans, events, tr_s=tr_s, settings=glm)
        lost = [name for name in dict.fromkeys(events["condition"]) if name not in set(used["condition"])]
        warnings = [warning] if warning else []
        return _Input(n_scans, tr_s, glm, used, tuple(lost), (*warnings, *left_out))

    def _fit(self, run: Run, given: _Input, volume: Volume, residuals: bool) -> RunEstimates:
        """Read the images of a run and fit its model."""
        bold = _read_bold(run.bold, volume.mask, self.smoothing_fwhm_mm)  # (n_scans, n_voxels)
        try:
            estimates = fit_run(
                bold,
                given.events,
                tr_s=given.tr_s,
                settings=given.glm,
                confounds=given.confounds,
                kept=given.kept,
                residuals=residuals,
            )
        except UserError as error:
            raise UserError(f"{run.bold.name}: {error}") from error
        n_confounds = 0 if given.confounds is None else given.confounds.shape[1]
        logger.info(
            f"{run.bold.name}: {np.count_nonzero(given.kept)} of {given.n_scans} volumes, {len(given.events)} events, "
            f"{n_confounds} regressors of no interest"
        )
        return estimates

    # ------------------------------------------------------------------------------------ what is wrong

    def _examined(
        self, subject: str, conditions: Sequence[str] | None
    ) -> tuple[list[str], list[str], dict[str, _Input]]:
        """List what is wrong with one subject, and what is odd, and return what the models of runs are made of.

        {subject} stands for its label, so that subjects compare.
        """
        runs, problem = self._chosen(subject)
        if problem:
            return [problem], [], {}
        inputs: dict[str, _Input] = {}
        found: list[tuple[Run, str]] = []
        for run in runs:
            try:
                inputs[run.label] = given = self._input(run)
                found += [(run, text) for text in _problems_of_model(given)]
            except UserError as error:
                found.append((run, str(error)))
        problems = [*_by_run(found), *_problems_of_times(inputs), *self._problems_of_images(subject, runs)]
        if len(inputs) == len(runs):
            problems += _problems_of_labels([given.events for given in inputs.values()])
            problems += self._problems_of_conditions(conditions, inputs) if conditions is not None else ()
        warnings = _by_run([(run, text) for run in runs if run.label in inputs for text in inputs[run.label].warnings])
        if inputs:
            warnings += self._warnings_of_durations(list(inputs.values()))
        general = [
            [_generalised(text, {"sub": subject}, {"sub": "subject"}) for text in of] for of in (problems, warnings)
        ]
        return general[0], general[1], inputs

    def _warnings_of_durations(self, inputs: Sequence[_Input]) -> list[str]:
        """Say if durations make the betas of some conditions, in any of the runs, incomparable with those of others."""
        events = pd.concat([given.events for given in inputs])
        analysed = events[~events["condition"].isin(self.exclude)]
        return warnings_of_durations(analysed, tr_s=inputs[0].tr_s, settings=inputs[0].glm)

    def _problems_of_images(self, subject: str, runs: Sequence[Run]) -> Iterator[str]:
        """Name the masks that are missing, and the images and masks that do not lie on the grid of the first."""
        masks = self._masks(subject, runs)
        missing = [str(path) if self.mask == "fmriprep" else self.mask for path in masks if not path.exists()]
        if missing:
            yield f"{len(missing)} of {len(masks)} masks do not exist: {listed(missing, 3)}."
        images = [(run.bold, f"The images {run.bold.name}") for run in runs]
        there = [(path, f"The mask {path.name}") for path in dict.fromkeys(masks) if path.exists()]
        yield from problems_of_grids(images, there)

    def _problems_of_conditions(self, conditions: Sequence[str], inputs: Mapping[str, _Input]) -> Iterator[str]:
        """Compare the conditions of the events with those that there should be."""
        events = pd.concat([given.events.assign(run=label) for label, given in inputs.items()])
        shown = events[~events["condition"].isin(self.exclude)]
        difference = difference_of_conditions(conditions, list(shown["condition"]), "the stimulus table", "the events")
        extra = shown[~shown["condition"].isin(as_labels(conditions))]
        if len(extra):
            runs = list(dict.fromkeys(extra["run"]))
            yield (
                f"{difference} Events without a stimulus are in {listed(runs)}; put their conditions into `exclude`, "
                "or choose events by `where`."
            )
        elif difference:
            lost = [name for given in inputs.values() for name in given.lost if name in as_labels(conditions)]
            why = [text for given in inputs.values() if given.lost for text in given.warnings]
            yield " ".join([difference, *dict.fromkeys(why)]) if lost else difference

    def _warn_of_missing_runs(self) -> None:
        """Log the subjects that lack runs which others have."""
        labels = {subject: self.run_labels(subject) for subject in self.subjects}
        everything = list(dict.fromkeys(label for having in labels.values() for label in having))
        for subject, having in labels.items():
            if absent := [label for label in everything if label not in having]:
                logger.warning("subject %r has no %s, which others have", subject, listed(absent))

    def _warn_of_other_kinds(self) -> None:
        """Log if the images of subjects are of several kinds: echoes combined of one, a single echo of another."""
        for entity in OPTIONAL:
            kinds = {subject: self._runs(subject)[0].entities.get(entity) for subject in self.subjects}
            if len(set(kinds.values())) > 1:
                told = [f"{entity}-{kind or ''} of {subject}" for subject, kind in kinds.items()]
                logger.warning("the images of subjects are not of one kind: %s", listed(told))


# ------------------------------------------------------------------------------------------------ runs


def _problem_of_repeats(runs: Sequence[Run]) -> str:
    """Say that the same run is there more than once, or that runs are of different kinds, and how to choose."""
    labels = [run.label for run in runs]
    for label in dict.fromkeys(labels):
        same = [run.entities for run in runs if run.label == label]
        keys = [key for key in dict(same[0]) | dict(same[-1]) if same[0].get(key) != same[-1].get(key)]
        if len(same) > 1:
            differences = listed([f"{key}-{one.get(key, '')}" for key in keys for one in same])
            return (
                f"{len(same)} images of {label}, which differ in {differences}; choose one by `resolution` or "
                "`entities`, where null takes those without an entity."
            )
    for entity in OPTIONAL:
        kinds = {run.entities.get(entity): run for run in runs}
        if len(kinds) > 1:
            told = [f"{entity}-{kind or ''} of {run.label}" for kind, run in kinds.items()]
            return f"the images of all runs should be of one kind; there are {listed(told)}. Choose them by `entities`."
    return ""


# ---------------------------------------------------------------------------------------------- events


def _read_events(path: Path, condition: str, where: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Read the events that are modelled: `onset` and `duration` in s, `condition`, and `source`, what it is made of.

    A `UserError` if a column is missing, no event is left, or an onset or duration is no number.
    """
    names = sorted(placeholders(condition)) or [condition]
    table = load_table(path, optional=["onset", "duration", *names, *where])
    chosen = table
    for column, kept in where.items():
        chosen = chosen[chosen[column].map(as_label).isin(as_labels(kept))]
        if chosen.empty:
            there = listed(sorted(set(table[column].dropna())))
            raise UserError(f"{path} has no event whose {column} is {listed(list(kept))}; there are {there}.")
    chosen = chosen.dropna(subset=names)
    if chosen.empty:
        raise UserError(f"{path} has no event with a value in {listed(names)}, which name its condition.")
    events = pd.DataFrame({name: _seconds(path, chosen[name]) for name in ("onset", "duration")})  # n/a is NaN
    if (events["duration"] < 0).any():
        raise UserError(f"{path} has a negative duration on line {events['duration'].lt(0).idxmax() + 2}.")
    events["condition"] = _labels(chosen, condition)
    events["source"] = [", ".join(values) for values in chosen[names].to_numpy()]
    return events.reset_index(drop=True)


def _seconds(path: Path, column: pd.Series) -> pd.Series:
    """Read a column of numbers, NaN where there is none."""
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = column.notna() & ~np.isfinite(numbers)
    if wrong.any():
        line = wrong.idxmax()
        raise UserError(
            f"{path} has {column[line]!r} for the {column.name} on line {line + 2}, where seconds are expected."
        )
    return numbers.astype(float)


def _labels(events: pd.DataFrame, condition: str) -> list[str]:
    """Make the condition of each event of a column, or of a template of columns."""
    if "stim_file" in events:
        events = events.assign(stim_file=[PurePosixPath(str(file)).stem for file in events["stim_file"]])
    if not placeholders(condition):
        return as_labels(events[condition])
    return as_labels(condition.format_map(row) for row in events.to_dict("records"))


def _problems_of_labels(events: Sequence[pd.DataFrame]) -> Iterator[str]:
    """Name the conditions that stand for different things: files of one name in two folders, say."""
    different = pd.concat(events)[["condition", "source"]].drop_duplicates()
    for name, rows in different.groupby("condition", sort=False):
        if len(rows) > 1:
            yield (
                f"the condition {name!r} stands for different events, {listed(list(rows['source']))}; tell them apart "
                "by a template of columns in `condition`."
            )
            return


# ----------------------------------------------------------------------------------------------- times


def _timed(glm: Glm, tr_s: float, derived: Mapping[str, Any]) -> Glm:
    """Put the time to which slices were corrected, if the sidecar tells it, into the settings of the model.

    A `UserError` if it is no time within a TR, or the settings have another.
    """
    if not derived.get("SliceTimingCorrected") or "StartTime" not in derived:
        return glm
    start_s = derived["StartTime"]
    if not isinstance(start_s, int | float) or not 0 <= start_s <= tr_s + SAME_TIME_S:
        raise UserError(
            f"the StartTime in the sidecar of the preprocessed images is {start_s!r}; it is a number of seconds from 0 "
            f"to the TR of {tr_s:g} s."
        )
    reference = min(start_s / tr_s, 1.0)
    default = Glm.model_fields["slice_time_ref"].default
    if glm.slice_time_ref not in (default, reference) and abs(glm.slice_time_ref - reference) * tr_s > SAME_TIME_S:
        raise UserError(
            f"glm.slice_time_ref is {glm.slice_time_ref:g}, but slices were corrected to {derived['StartTime']:g} s of "
            f"{tr_s:g} s, {reference:g}; leave it out."
        )
    return glm.model_copy(update={"slice_time_ref": reference})


def _problems_of_times(inputs: Mapping[str, _Input]) -> Iterator[str]:
    """Compare the repetition times of the runs."""
    times = {label: given.tr_s for label, given in inputs.items()}
    if times and max(times.values()) - min(times.values()) > SAME_TIME_S:
        told = ", ".join(f"{time:g} s in {label}" for label, time in times.items())
        yield f"runs have different repetition times: {told}. Choose those of one by `sessions` or `runs`."


def _problems_of_model(given: _Input) -> Iterator[str]:
    """Check what the model of a run is made of."""
    yield from problems_of_run(given.n_scans, given.events, tr_s=given.tr_s, settings=given.glm)
    n_kept, n_confounds = np.count_nonzero(given.kept), 0 if given.confounds is None else given.confounds.shape[1]
    n_conditions = given.events["condition"].nunique()
    if n_kept <= n_confounds + n_conditions:
        yield (
            f"{n_kept} of {given.n_scans} volumes are left for {n_conditions} conditions and {n_confounds} confounds; "
            "ask for fewer confounds, or scrub less."
        )


def _by_run(problems: Sequence[tuple[Run, str]]) -> list[str]:
    """Say each problem once, with the runs that have it; labels in file names are shown only if one run has it."""
    runs: dict[str, list[tuple[str, str]]] = {}
    for run, text in problems:
        labels = {key: label for key, label in run.entities.items() if key in IDENTITY}
        runs.setdefault(_generalised(text, labels), []).append((run.label, text))
    return [
        f"{listed([label for label, _ in having])}: {having[0][1] if len(having) == 1 else general}"
        for general, having in runs.items()
    ]


def _generalised(text: str, labels: Mapping[str, str], names: Mapping[str, str] | None = None) -> str:
    """Put names in braces in the place of the labels of entities.

    Examples
    --------
    >>> _generalised("no file sub-1/ses-a/sub-1_ses-a_run-10.tsv", {"sub": "1", "ses": "a", "run": "1"})
    'no file sub-{sub}/ses-{ses}/sub-{sub}_ses-{ses}_run-10.tsv'
    """
    for key, label in labels.items():
        pair = rf"(?<![0-9A-Za-z]){key}-{label}(?![0-9A-Za-z])"
        text = re.sub(pair, f"{key}-{{{(names or {}).get(key, key)}}}", text)
    return text


# ---------------------------------------------------------------------------------------------- images


def _read_bold(path: Path, mask: Array, smoothing_fwhm_mm: float) -> Array:
    """Read the voxels of a mask, (n_scans, n_voxels) in float32, a block of volumes at a time."""
    image = opened(path, keep_open=True)
    require_undamaged(path, image)
    n_scans, n_block = count_volumes(image), max(1, VOXELS_PER_BLOCK // mask.size)
    bold = np.empty((n_scans, np.count_nonzero(mask)), dtype=np.float32)
    with reading_data(path):
        for start in range(0, n_scans, n_block):
            block = np.asarray(image.dataobj[..., start : start + n_block], dtype=np.float32)
            bold[start : start + n_block] = _smoothed(block, image.affine, smoothing_fwhm_mm)[mask].T
    return bold


def _smoothed(volumes: Array, affine: Array, fwhm_mm: float) -> Array:
    """Smooth each volume of (n_x, n_y, n_z, n_volumes) with a Gaussian; as it is if the width is 0."""
    if fwhm_mm == 0:
        return volumes
    from nilearn.image import smooth_img

    smoothed: Array = smooth_img(nib.Nifti1Image(volumes, affine), fwhm_mm).get_fdata(dtype=np.float32)
    return smoothed
