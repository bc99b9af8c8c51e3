"""Whether a study fits: the memory of its largest jobs, and the room on the disk, before anything runs."""

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rsa.files.memory import MB, machine_bytes
from rsa.pipeline import checks
from rsa.pipeline.extent import kept_extent
from rsa.pipeline.needs import Need, Runs, of_stages
from rsa.pipeline.plan import Plan

__all__ = ["Budget", "Entry", "budget_of", "free_bytes_of", "warn_of_shortage"]

logger = logging.getLogger(__name__)

STAGES: dict[str, tuple[str, ...]] = {
    "brain": ("brain",),
    "region_rdms": ("region_rdms",),
    "activations": ("extract",),
    "model_rdms": ("model_rdms",),
    "reference_rdms": ("reference",),
    "movie": ("movie",),
    "group_movie": ("group_movie",),
    "scores": ("searchlight",),
    "resampled": ("resample",),
    "subject_permutations": ("permute_subject",),
    "group_flips": ("flip_subjects",),
    "group_permutations": ("permute_group",),
    "noise_ceiling": ("noise_ceiling",),
    "group_scores": ("group",),
    "maps": ("maps",),
    "region_fits": ("region_fits",),
    "networks": ("networks",),
    "units": ("units",),
    "unit_changes": ("unit_changes",),
    "ranking": ("ranking",),
    "time": ("layer_time",),
    "sensor_scores": ("sensor_searchlight",),
    "sensor_group": ("sensor_group",),
    "sensor_peaks": ("sensor_peaks",),
    "references_figures": ("draw_references",),
    "fusion_figures": ("draw_fusion",),
    "subject_figures": ("draw_subject",),
    "group_figures": ("draw_group",),
    "region_figures": ("draw_regions",),
    "networks_figures": ("draw_networks",),
    "units_figures": ("draw_units",),
    "unit_changes_figures": ("draw_unit_changes",),
    "ranking_figures": ("draw_ranking",),
    "time_figures": ("draw_time",),
    "sensor_figures": ("draw_sensors",),
    "report": ("report",),
    "explorer": ("explore",),
}
"""The stage that makes each kind of output, if it makes more than a few lines."""

THREADED = {"searchlight": 4, "noise_ceiling": 4, "permute_group": 4, "permute_subject": 4, "flip_subjects": 4}
"""Threads of the jobs that hold something for each, as the rules ask for them."""

SHOWN = 6
"""So many of the largest jobs are told of."""


@dataclass(frozen=True)
class Entry:
    """A kind of job: its stage, what one needs, and how many outputs are missing of all that it makes."""

    stage: str
    need: Need
    n_outputs: int
    n_missing: int

    @property
    def name(self) -> str:
        """The stage, as it is called on the command line."""
        return (
            self.stage.replace("permute_group", "permute_conditions")
            .replace("permute_subject", "permute_conditions")
            .replace("_", "-")
        )


@dataclass(frozen=True)
class Budget:
    """What a study needs, and what there is.

    Parameters
    ----------
    entries : sequence of Entry
        The jobs of the study.
    assumed : sequence of str
        What was assumed where sizes are not known.
    memory_mb : int
        What a job may have.
    is_machine : bool
        Whether that is what this machine has.
    free_bytes : int
        Room on the disk of the results.
    folder : path
        Where the results go.
    """

    entries: Sequence[Entry]
    assumed: Sequence[str]
    memory_mb: int
    is_machine: bool
    free_bytes: int
    folder: Path

    @property
    def disk_bytes(self) -> float:
        """Bytes of all results that are not there yet, with what is deleted when it has been used."""
        return sum(one.need.disk * one.n_missing for one in self.entries)

    def problems(self) -> Iterator[str]:
        """Yield what does not fit, with the numbers: a line each."""
        where = "this machine has" if self.is_machine else "there are"
        for one in self.entries:
            if one.need.least_mb > self.memory_mb:
                yield (
                    f"{one.name} needs {one.need.least_mb:,.0f} MB of memory at the least, and {where} "
                    f"{self.memory_mb:,} MB; run it on a larger machine (--memory-mb tells this check how large that "
                    "is), or make the study smaller: fewer references or voxels, or a stride."
                )
        if self.disk_bytes > self.free_bytes:
            yield (
                f"The results need {_gigabytes(self.disk_bytes)} of disk, and {self.folder} has "
                f"{_gigabytes(self.free_bytes)} left; make room, or put results/ on a larger disk."
            )

    def lines(self) -> Iterator[str]:
        """Yield what is said of a study that fits: the largest jobs, and the disk."""
        largest = sorted(self.entries, key=lambda one: -one.need.peak_mb)
        shown = {one.name: one for one in reversed(largest)}
        told = sorted(shown.values(), key=lambda one: -one.need.peak_mb)
        words = [_memory_of(one) for one in told[:SHOWN]]
        yield f"  memory      of {self.memory_mb:,} MB, jobs need up to: {', '.join(words)}"
        missing, free = _gigabytes(self.disk_bytes), _gigabytes(self.free_bytes)
        yield f"  disk        {missing} for what is not there yet; {free} are free"
        if self.assumed:
            yield f"  assumed     {'; '.join(dict.fromkeys(self.assumed))}"


def _memory_of(one: Entry) -> str:
    need = one.need
    least = f" ({need.least_mb:,.0f} at the least)" if need.least_mb < 0.9 * need.peak_mb else ""
    return f"{one.name} {need.peak_mb:,.0f}{least}"


def _gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 5e7 else f"{n_bytes / MB:,.0f} MB"


def budget_of(plan: Plan, memory_mb: int | None = None) -> Budget:
    """Find out what the jobs of a study need.

    Parameters
    ----------
    plan : Plan
        Of a study without problems.
    memory_mb : int, optional
        What a job may have, in MB; by default what this machine has.
    """
    study, extent = plan.study, kept_extent(plan.study)
    entries = []
    for kind, stages in STAGES.items():
        paths = plan.every(kind)
        if not paths:
            continue
        missing = [path for path in paths if not path.exists()]
        if kind == "model_rdms" and study.keep_activations:
            stages = ("layer_rdms",)
        n_threads = min(THREADED.get(stages[0], 1), os.cpu_count() or 1)
        entries.append(Entry(stages[0], of_stages(stages, Runs(extent, study, n_threads)), len(paths), len(missing)))
    for stage, files in _simulated(plan).items():
        n_missing = len([one for one in files if any(not path.exists() for path in one)])
        entries.append(Entry(stage, of_stages([stage], Runs(extent, study)), len(files), n_missing))
    has = machine_bytes() // MB
    folder = plan.folder
    return Budget(entries, extent.assumed, memory_mb or has, memory_mb is None, free_bytes_of(folder), folder)


def warn_of_shortage(plan: Plan) -> None:
    """Log what does not fit on this machine: a run is not refused for an estimate, and its check is where to ask."""
    for text in budget_of(plan).problems():
        logger.warning("%s", text)


def _simulated(plan: Plan) -> dict[str, list[list[Path]]]:
    """Return the files that simulations write for each subject, by the stage."""
    study = plan.study
    if study.simulate is None:
        return {}
    brain = [checks.simulated_brain(study, [one]) for one in study.subjects]
    epochs = [checks.simulated_meeg(study, [one]) for one in study.meeg_subjects]
    found = {"simulate_brain": [one for one in brain if one], "simulate_epochs": [one for one in epochs if one]}
    return {stage: files for stage, files in found.items() if files}


def free_bytes_of(folder: Path) -> int:
    """Return the room on the disk of a folder, which may not be there yet."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free
