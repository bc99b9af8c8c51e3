"""Files of a BIDS data set and of its fMRIPrep derivatives: which there are, and which belong to one run."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsa.datasets.images import opened
from rsa.errors import UserError

__all__ = ["IDENTITY", "NATIVE", "Run", "find_runs", "inherited", "metadata", "repetition_times", "same_label"]

NATIVE = "func"
"""The space of images whose name has no space: the grid on which the run was measured."""

IDENTITY = ("ses", "dir", "run")
"""The entities that tell the runs of a subject and task apart."""

SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


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
        """The mask of the brain that fMRIPrep made for this run, beside its images."""
        return self.bold.with_name(self.bold.name.replace("_desc-preproc_bold.", "_desc-brain_mask."))

    def confounds(self) -> Path | None:
        """Return the table of confounds beside the images, if there is one: under its name today, or before 2020."""
        shared = {key: label for key, label in self.entities.items() if key not in ("space", "res", "den", "cohort")}
        name = "_".join(f"{key}-{label}" for key, label in {**shared, "desc": "confounds"}.items())
        paths = [self.bold.with_name(f"{name}_{suffix}.tsv") for suffix in ("timeseries", "regressors")]
        return next((path for path in paths if path.exists()), None)


def find_runs(derivatives: Path, subject: str) -> list[Run]:
    """Find all preprocessed images of a subject, in the order of their labels ('run-2' before 'run-10').

    Parameters
    ----------
    derivatives : path
        Folder of the outputs of fMRIPrep, which holds ``sub-<label>``.
    subject : str
        Label of the subject.
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

    Parameters
    ----------
    root : path
        The data set.
    entities : mapping
        Those of the run.
    suffix : str
        End of the names, such as "events.tsv" or "bold.json".
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
            content |= dict(json.loads(path.read_text(encoding="utf-8-sig")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path} is not a readable JSON sidecar: {error}.") from error
    return content


def repetition_times(run: Run, derived: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, float]:
    """Return the time from one volume to the next, in s, by each source that tells it; the most trusted first.

    Parameters
    ----------
    run : Run
        Its images' header is one of the sources.
    derived, raw : mapping
        Metadata of the preprocessed and of the raw images.

    Raises
    ------
    UserError
        If the volumes do not come in equal steps, or a source tells no positive number.
    """
    if "VolumeTiming" in raw or "VolumeTiming" in derived:
        raise UserError("the sidecar has VolumeTiming: volumes in unequal steps are not supported.")
    sources = {"sidecar of the preprocessed images": derived, "sidecar of the raw images": raw}
    times = {name: source["RepetitionTime"] for name, source in sources.items() if "RepetitionTime" in source}
    for name, time in times.items():
        if not isinstance(time, int | float) or not time > 0:
            raise UserError(f"the RepetitionTime in the {name} is {time!r}; it is a number of seconds.")
    return {**{name: float(time) for name, time in times.items()}, **_time_in_header(run.bold)}


def same_label(entity: str, a: str, b: str) -> bool:
    """Say whether two labels of an entity are one: runs are numbers, so run 1 is run 01."""
    return a == b or (entity == "run" and a.isdecimal() and b.isdecimal() and int(a) == int(b))


def _time_in_header(path: Path) -> dict[str, float]:
    """Return the time step in a header, in s; nothing if there is none."""
    header = opened(path).header
    step = float(header["pixdim"][4])
    unit = SECONDS_PER_UNIT.get(header.get_xyzt_units()[1], 1.0)
    return {"header of the preprocessed images": round(step * unit, 6)} if step > 0 else {}  # stored in float32


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
