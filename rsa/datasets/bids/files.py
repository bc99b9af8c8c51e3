"""Files of a BIDS data set and of its fMRIPrep derivatives: which there are, and which belong to one run."""

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from shlex import quote
from typing import Any

from rsa.errors import UserError
from rsa.files.images import opened
from rsa.files.sources import load_text

__all__ = [
    "IDENTITY",
    "NATIVE",
    "OPTIONAL",
    "SAME_TIME_S",
    "Run",
    "find_runs",
    "inherited",
    "metadata",
    "plainest",
    "problem_of_no_images",
    "repetition_time",
    "same_label",
]

NATIVE = "func"
"""The space of images whose name has no space: the grid on which the run was measured."""

IDENTITY = ("ses", "dir", "run")
"""The entities that tell the runs of a subject and task apart."""

OPTIONAL = ("echo", "part", "res")
"""Entities that may tell images of one run apart: single echoes beside their combination, magnitude and phase,
resolutions. The files beside the images may be for all of them, and lack the entity."""

SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}

SAME_TIME_S = 1e-3
"""Repetition times that differ by less are one: sidecars and headers round them."""

POSSIBLE_S = (0.01, 100.0)
"""Shortest and longest repetition time that can be meant, s."""

SURFACES = ("_bold.func.gii", "_bold.dtseries.nii")
MINIMAL = ("_boldref.nii.gz", "_xfm.txt", "_desc-confounds_timeseries.tsv")
"""Ends of the names of images on surfaces, and of what fMRIPrep writes at every level."""


@dataclass(frozen=True)
class Run:
    """One run: its preprocessed images, and the entities in their name.

    Parameters
    ----------
    bold : path
        The preprocessed images.
    entities : mapping
        Labels by entity, as `task` or `ses`; `space` is `NATIVE` if the name has none.
    """

    bold: Path
    entities: Mapping[str, str]

    @property
    def label(self) -> str:
        """What the run is called in tables, such as 'ses-01_run-2'; 'run-1' if the name tells of no run."""
        return "_".join(f"{key}-{self.entities[key]}" for key in IDENTITY if key in self.entities) or "run-1"

    @property
    def mask(self) -> Path:
        """The mask of the brain that fMRIPrep made for these images, or for all echoes or parts of the run."""
        found = self._beside((), OPTIONAL, "desc-brain_mask.nii.gz")
        return found or self.bold.with_name(self.bold.name.replace("_desc-preproc_bold.", "_desc-brain_mask."))

    def confounds(self) -> Path | None:
        """Return the table of confounds beside the images, if there is one: under its name today, or before 2020."""
        grid, names = ("space", "res", "den", "cohort"), ("timeseries", "regressors")
        found = (self._beside(grid, ("echo", "part"), f"desc-confounds_{name}.tsv") for name in names)
        return next((path for path in found if path is not None), None)

    def _beside(self, never: Collection[str], optional: Sequence[str], ending: str) -> Path | None:
        """Find a file beside the images whose name has the entities of theirs: all but `never`, and most `optional`."""
        pairs = [pair for pair in _pairs(self.bold.name.split("_")[:-1]) if pair[0] not in ("desc", *never)]
        present = [key for key, _ in pairs if key in optional]
        for n_left_out in range(len(present) + 1):
            for left_out in combinations(present, n_left_out):
                parts = [f"{key}-{label}" for key, label in pairs if key not in left_out]
                path = self.bold.with_name("_".join([*parts, ending]))
                if os.path.lexists(path):  # a link of git-annex whose content is elsewhere is told as that
                    return path
        return None


def plainest(runs: Sequence[Run], asked: Collection[str]) -> list[Run]:
    """Choose among the images of one run: the combination of echoes, magnitude, and those without `res`.

    Parameters
    ----------
    runs : sequence of Run
        Images, several of one run perhaps.
    asked : collection of str
        Entities by which the settings choose: these make no difference here.

    Returns
    -------
    list of Run
        Of the images of a run that differ in an entity of `OPTIONAL`, those without it, if there are some; or else
        magnitude rather than phase. Whatever else they differ in is left as it is.
    """
    chosen = []
    for label in dict.fromkeys(run.label for run in runs):
        images = [run for run in runs if run.label == label]
        for entity in OPTIONAL:
            if entity not in asked:
                plain = [run for run in images if entity not in run.entities]
                images = plain or [run for run in images if run.entities.get(entity) == "mag"] or images
        chosen += images
    return chosen


def problem_of_no_images(derivatives: Path, subject: str) -> str:
    """Say what there is instead of the images that `find_runs` looks for, and what to do; {subject} is the label."""
    folder, name = derivatives / f"sub-{subject}", str(derivatives / "sub-{subject}")
    if not folder.is_dir():
        empty = derivatives.is_dir() and not any(derivatives.iterdir())
        place = quote(str(derivatives))
        got = f"; {derivatives} is empty: of a DataLad data set, `datalad get -n {place}`" if empty else ""
        return f"there is no folder in {name}{got}."
    names = [path.name for path in [*folder.glob("func/*"), *folder.glob("ses-*/func/*")]]
    said = f"there is no *_desc-preproc_bold.nii.gz in {name}"
    if any(name.endswith(SURFACES) for name in names):
        return f"{said}, only images on surfaces; run fMRIPrep with a volume, such as --output-spaces T1w, as well."
    if any(name.endswith(MINIMAL) for name in names):
        return (
            f"{said}, only what fMRIPrep writes with --level minimal or resampling; run it again with --level full, to "
            f"which it gives these files by --derivatives minimal={derivatives}."
        )
    return f"{said}."


def find_runs(derivatives: Path, subject: str) -> list[Run]:
    """Find all preprocessed images of a subject, in the order of their labels ('run-2' before 'run-10').

    `derivatives` is the folder of the outputs of fMRIPrep, which holds ``sub-<label>``.
    """
    name = f"sub-{subject}_*desc-preproc_bold.nii.gz"
    folder = derivatives / f"sub-{subject}"
    paths = [*folder.glob(f"func/{name}"), *folder.glob(f"ses-*/func/{name}")]
    runs = [Run(path, {"space": NATIVE} | _entities(path)) for path in paths]
    return sorted(runs, key=lambda run: (_natural(run.label), run.bold.name))


def inherited(root: Path, entities: Mapping[str, str], suffix: str) -> list[Path]:
    """Find the files that hold for a run by the inheritance principle of BIDS, the most general first.

    A file holds for all runs that have each of the labels in its name, in its folder and those below. The last of
    the list is the nearest; of tables it alone counts, and of sidecars what it says goes before what the others say.
    `root` is the folder of the data set, `suffix` the end of the names, such as "events.tsv" or "bold.json".
    """
    subject = root / f"sub-{entities['sub']}"
    session = [subject / f"ses-{entities['ses']}"] if "ses" in entities else []
    found = []
    for folder in [root, subject, *session, (session or [subject])[0] / "func"]:
        paths = [path for path in folder.glob(f"*{suffix}") if path.name.split("_")[-1] == suffix]
        holding = [path for path in paths if _holds(_entities(path), entities)]
        found += sorted(holding, key=lambda path: (len(_entities(path)), path.name))
    return found


def metadata(sidecars: list[Path]) -> dict[str, Any]:
    """Read JSON sidecars, the most general first, into one.

    Raises
    ------
    UserError
        If one cannot be read, or holds no object.
    """
    content: dict[str, Any] = {}
    for path in sidecars:
        try:
            content |= dict(json.loads(load_text(path, "JSON sidecar")))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} is not a readable JSON sidecar: {error}.") from error
    return content


def repetition_time(run: Run, derived: Mapping[str, Any], raw: Mapping[str, Any]) -> tuple[float, str]:
    """Return the time from one volume to the next.

    Sidecars and header have to agree, but for headers that lost the time or its unit: if they hold the default of 1,
    or the time of the sidecars in another unit, the sidecars count; and so they do if both tell one time and the
    header tells no unit. A header alone is read as its unit says.

    Parameters
    ----------
    run : Run
        Its images' header is one of the sources.
    derived, raw : mapping
        Metadata of the preprocessed and of the raw images.

    Returns
    -------
    tr_s : float
        In s.
    warning : str
        What is wrong with the header; empty if nothing is.

    Raises
    ------
    UserError
        If the volumes do not come in equal steps, a source tells no possible time, or sources tell several.
    """
    if "VolumeTiming" in raw or "VolumeTiming" in derived:
        raise UserError("the sidecar has VolumeTiming: volumes in unequal steps are not supported.")
    sources = {"sidecar of the preprocessed images": derived, "sidecar of the raw images": raw}
    times = {name: source["RepetitionTime"] for name, source in sources.items() if "RepetitionTime" in source}
    for name, time in times.items():
        if isinstance(time, bool) or not isinstance(time, int | float) or not _is_possible(time):
            raise UserError(f"the RepetitionTime in the {name} is {time!r}; it is a number of seconds.")
    step, unit = _step_in_header(run.bold)
    if not times:
        return _of_header_alone(step, unit)
    tr_s = float(next(iter(times.values())))
    agree = max(times.values()) - min(times.values()) <= SAME_TIME_S
    in_header = f"{step * SECONDS_PER_UNIT[unit]:g} s" if unit in SECONDS_PER_UNIT else f"{step:g} without a unit"
    if agree and (step == 0 or abs(step * SECONDS_PER_UNIT.get(unit, 1.0) - tr_s) <= SAME_TIME_S):
        return tr_s, ""
    if agree and _is_slip(step, unit, tr_s, len(times)):
        came = f"the header of the images has a repetition time of {in_header}"
        return tr_s, f"{came}; {tr_s:g} s of the sidecars counts."
    told = ", ".join(f"{time:g} s in the {name}" for name, time in times.items())
    raise UserError(
        f"the repetition time differs: {told}, {in_header} in the header of the preprocessed images. Correct the one "
        "that is wrong."
    )


def _is_possible(time_s: float) -> bool:
    return POSSIBLE_S[0] <= time_s <= POSSIBLE_S[1]


def _is_slip(step: float, unit: str, tr_s: float, n_sidecars: int) -> bool:
    """Say whether a header that differs from sidecars has lost its time, or the unit of it."""
    if any(abs(step * factor - tr_s) <= SAME_TIME_S for factor in SECONDS_PER_UNIT.values()):
        return True
    without_unit = unit not in SECONDS_PER_UNIT
    return (step == 1 and without_unit) or (n_sidecars > 1 and (step == 1 or without_unit))


def _of_header_alone(step: float, unit: str) -> tuple[float, str]:
    """Read the time step of a header that no sidecar confirms."""
    if step == 0 or (step == 1 and unit not in SECONDS_PER_UNIT):
        raise UserError("neither sidecars nor the header of the images tell the repetition time; add RepetitionTime.")
    tr_s = round(step * SECONDS_PER_UNIT.get(unit, 1.0), 6)
    if not _is_possible(tr_s):
        raise UserError(
            f"the header of the images has a repetition time of {tr_s:g} s, which cannot be, and no sidecar has "
            "another; add RepetitionTime."
        )
    if step == 1 or unit not in SECONDS_PER_UNIT:
        return tr_s, f"no sidecar has a RepetitionTime, so it is {tr_s:g} s as in the header, which may be a default."
    return tr_s, ""


def same_label(entity: str, a: str, b: str) -> bool:
    """Say whether two labels of an entity are one: runs are numbers, so run 1 is run 01."""
    return a == b or (entity == "run" and a.isdecimal() and b.isdecimal() and int(a) == int(b))


def _step_in_header(path: Path) -> tuple[float, str]:
    """Return the time step in a header and its unit; 0 if there is none."""
    header = opened(path).header
    step = float(header["pixdim"][4])
    return (round(step, 6) if step > 0 else 0.0), str(header.get_xyzt_units()[1])  # stored in single precision


def _holds(labels: Mapping[str, str], entities: Mapping[str, str]) -> bool:
    return all(key in entities and same_label(key, label, entities[key]) for key, label in labels.items())


def _entities(path: Path) -> dict[str, str]:
    """Return the labels in a file name by entity; what is no pair of entity and label is left out."""
    return dict(_pairs(path.name.split("_")[:-1]))


def _pairs(parts: list[str]) -> Iterator[tuple[str, str]]:
    for part in parts:
        entity, dash, label = part.partition("-")
        if dash:
            yield entity, label


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts the numbers in a text by their size."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]
