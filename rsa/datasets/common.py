"""What the kinds of data sets share: what each is asked, and how what is wrong with the data is said."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import model_validator

from rsa.core import SAME_S, Array, Patterns, Volume, as_labels, difference_of_conditions
from rsa.errors import UserError, listed
from rsa.files.rdm_files import ReadyRdms
from rsa.rdm import span_of
from rsa.settings import DataPath, Section, Subjects, by_subject, placeholders

__all__ = [
    "AnyDataset",
    "ReadyDataset",
    "joined",
    "problems_of_conditions",
    "problems_of_exclude",
    "problems_of_times",
    "require_no_problems",
    "warn_of_gaps",
]

logger = logging.getLogger(__name__)


class AnyDataset(Section):
    """What is asked of any data set, of fMRI or M/EEG, besides `files`, `conditions`, `problems` and `load`.

    The answers here are those of most kinds; a kind overrides those that differ. Nothing else tests of which class
    a data set is. Every kind has as well

    * ``files(subject, conditions)``: every file that `load` reads;
    * ``conditions(subject)``: the conditions of a subject, each once; None where only the stimulus table knows them;
    * ``problems(conditions)``: what is wrong with all subjects, before any long reading: a list of lines, each with the
      subjects that have the problem; empty if all is well;
    * ``load(subject, conditions)``: the data of one subject; a `UserError` if `problems` has anything to say about it.

    `conditions`, optional, are those that there should be: of ready RDMs without labels the order of the rows, of other
    data in any order. With ``residuals=True`` (fMRI) or ``noise=True`` (M/EEG), samples of the noise are read as well,
    if the kind of data has them; ready RDMs have none.
    """

    provides: ClassVar[Literal["patterns", "rdms", "epochs", "movie"]]
    """What `load` returns: patterns over voxels, RDMs of regions, epochs, or RDMs over time."""
    located_by: ClassVar[str]
    """The setting that says where the data are: a folder, or a template of files."""
    templates: ClassVar[Mapping[str, Sequence[str]]]
    """The settings that are templates of paths (or names in files), and the placeholders that each may have."""

    kind: str
    """What kind of data it is."""
    subjects: Subjects
    """Labels of the subjects, quoted: ["01", "02"]."""

    @model_validator(mode="after")
    def _placeholders_are_known(self) -> Self:
        for name, allowed in self.templates.items():
            if unknown := placeholders(getattr(self, name) or "") - set(allowed):
                takes = " and ".join(f"{{{one}}}" for one in allowed)
                raise ValueError(f"unknown placeholder {listed(sorted(unknown))}: {name} takes {takes}")
        return self

    def _require_subject(self, name: str) -> None:
        """Raise a `ValueError` if a template has no {subject}, and there are several."""
        if len(self.subjects) > 1 and "subject" not in placeholders(getattr(self, name)):
            raise ValueError(f"{name} has no {{subject}}, so all subjects would be the same; put it there")

    @property
    def is_ready(self) -> bool:
        """Whether the data are RDMs, whose conditions may be known by their order only."""
        return self.provides in ("rdms", "movie")

    @property
    def location(self) -> str:
        """Where the data are."""
        return str(getattr(self, self.located_by))

    @property
    def rdm_distance(self) -> str | None:
        """How ready RDMs were measured; None where RDMs are made of the data."""
        return None

    @property
    def bids_root(self) -> str | None:
        """The folder of a BIDS data set, into which data can be fetched; None if it is none."""
        return None

    @property
    def delays_setting(self) -> str:
        """The setting by which responses are measured at several delays; empty if there is none."""
        return ""

    @property
    def has_baseline(self) -> bool:
        """Whether noise can be measured before onset."""
        return False

    def methods(self) -> list[str]:
        """Return sentences for the methods text: how responses were estimated."""
        return []

    def simulated_files(self, subject: str) -> list[Path]:
        """Return the files that a simulation writes for a subject; none if it cannot."""
        return []

    def grid(self, subject: str) -> Volume | None:
        """Return the grid of a subject's images, with every voxel inside, from a header; None without images."""
        return None

    def masked(self, subject: str) -> Volume | None:
        """Return the voxels of a subject's mask, if a file has it; None where it is computed of the images."""
        return None

    def run_labels(self, subject: str) -> list[str]:
        """Return the runs of a subject as they will stand in the table of its data; none where none are known."""
        return []

    def shape(self, subject: str) -> tuple[int, int, int] | None:
        """Return the number of trials, channels and times of a subject's epochs; None of other data."""
        return None

    def delays_s(self, subject: str) -> list[float]:
        """Return the delays after onset of a subject's responses in s, ascending; none where none are known."""
        return []

    def oddities(self, conditions: Sequence[str] | None = None) -> list[str]:
        """Return what is odd about data without problems, and may be meant, as lines."""
        return []

    def problems_of_sensors(self, min_sensors: int) -> list[str]:
        """Say what keeps the sensors of data without problems from neighbourhoods of `min_sensors`, as lines."""
        return []


class ReadyDataset(ReadyRdms, AnyDataset):
    """Settings of RDMs that are ready: one for each region or time, in files of each subject or of all."""

    file: DataPath
    key: str | None = None

    @property
    def rdm_distance(self) -> str:
        """How the dissimilarities were measured."""
        return self.distance

    @property
    def is_of_each_subject(self) -> bool:
        """Whether each subject has a file or an array."""
        return "subject" in placeholders(self.file + (self.key or ""))

    def conditions(self, subject: str) -> list[str] | None:
        """Return the conditions in the order of the rows, or None if that is the order of the stimulus table."""
        return self.told_order()


# ------------------------------------------------------------------------------------------- messages


def require_no_problems(subject: str, problems: Sequence[str]) -> None:
    """Raise a `UserError` with the first problem of a subject and the number of the others, if there are any."""
    if problems:
        more = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise UserError(by_subject([(subject, problems[0])])[0] + more)


def problems_of_conditions(conditions: Sequence[str], rows: pd.DataFrame) -> Iterator[str]:
    """Compare the conditions of one subject with those that there should be, and name the runs with others.

    `rows` are those that there are: `condition` and, if known, `run`.
    """
    difference = difference_of_conditions(conditions, list(rows["condition"]), "the stimulus table", "the maps")
    if not difference:
        return
    extra = rows[~rows["condition"].isin(as_labels(conditions))]
    runs = list(dict.fromkeys(extra["run"].dropna())) if "run" in extra else []
    where = f" Conditions without a stimulus are in run {listed(runs)}." if runs else ""
    advice = " Those that belong to no stimulus go into `exclude`." if len(extra) else ""
    yield difference + where + advice


def problems_of_exclude(
    exclude: Sequence[str], subjects: Sequence[str], conditions_of: Callable[[str], Sequence[str]]
) -> list[str]:
    """Name the excluded conditions that no subject has, in one line; without any to exclude, nothing is read.

    `conditions_of` returns all conditions of a subject. If it raises a `UserError`, nothing is said here: the checks of
    that subject have told what is wrong.
    """
    try:
        found = {name for subject in subjects if exclude for name in conditions_of(subject)}
    except UserError:
        return []
    never = [name for name in exclude if name not in found]
    if not never:
        return []
    return [f"exclude names {listed(never)}, which no subject has; there are {listed(sorted(found))}."]


def warn_of_gaps(subject: str, patterns: Patterns) -> None:
    """Log how many voxels of the mask have no data, what that means if they are most, and that runs lack conditions."""
    n_unusable, n_voxels = int(np.count_nonzero(~patterns.usable)), patterns.n_features
    if n_unusable:
        n_partial = patterns.n_in_some_runs
        partial = f"; {n_partial} of them are the same in all rows of some run only" if n_partial else ""
        guess = "; the mask probably does not belong to the images" if n_unusable > n_voxels / 2 else ""
        logger.warning(
            f"subject {subject!r}: {n_unusable} of {n_voxels} voxels of the mask have no data (NaN in a row, or the "
            f"same in all rows){partial}{guess}"
        )
    n_conditions, n_of_run = len(patterns.conditions), patterns.table.get("run", pd.Series()).value_counts(sort=False)
    if len(n_of_run) and n_of_run.min() < n_conditions:
        logger.warning(
            f"subject {subject!r}: not every run has each of the {n_conditions} conditions; run {n_of_run.idxmin()!r} "
            f"has {n_of_run.min()}"
        )


def problems_of_times(times_s: Mapping[str, Array], text: str, **words: str) -> list[str]:
    """Name the first file or subject whose times are not those of the first one.

    Parameters
    ----------
    times_s : mapping of name to array, shape (n_times,)
        In s, ascending.
    text : str
        What is said of the names {first} and {other}, and of their times, {its} and {others}.
    **words : str
        What else stands in braces.

    Returns
    -------
    list of str
        One line, or nothing.
    """
    names = list(times_s)
    for name in names[1:]:
        a, b = times_s[names[0]], times_s[name]
        if len(a) != len(b) or np.abs(a - b).max() > SAME_S:
            return [text.format(first=repr(names[0]), other=repr(name), its=span_of(a), others=span_of(b), **words)]
    return []


# --------------------------------------------------------------------------------------------- arrays


def joined(parts: list[Array]) -> Array:
    """Put arrays below each other and forget each, so that memory holds little more than the result, in float32."""
    if len(parts) == 1:
        return np.asarray(parts.pop(), dtype=np.float32)
    whole, start = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype=np.float32), 0
    while parts:
        part = parts.pop(0)
        whole[start : start + len(part)] = part
        start += len(part)
    return whole
