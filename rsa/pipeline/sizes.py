"""Which steps are one job for all subjects: by the bytes of a study's files, or by the settings of its simulation.

That is asked whenever the workflow is read, so no file is opened for it; `rsa.pipeline.extent` knows more, at a price.
"""

from pathlib import Path
from typing import Any

from rsa.core import FEWEST_CONDITIONS
from rsa.pipeline import checks
from rsa.pipeline.config import Study
from rsa.simulation.draw import picture_names
from rsa.simulation.write import simulated_volume

__all__ = ["is_decoded", "is_one_job", "known_conditions", "n_conditions", "size_of_brain", "size_of_meeg"]

SMALL = 64 * 2**20
"""Bytes of the files of all subjects up to which reading them takes less time than starting a job for each subject."""

SMALL_SEARCHLIGHT = SMALL * 64
"""The same of a searchlight, whose time goes with these bytes times the number of conditions."""

MOST_SUBJECTS = 40
"""More subjects are never one job: their command would be longer than systems let a word be."""

MNI_BRAIN_MM3 = 1.9e6
"""Volume of the MNI152 brain, which simulations have by default."""

SINGLE = 4
"""Bytes of a number of single precision."""


def is_one_job(study: Study, kind: str) -> bool:
    """Say whether what is made for each subject is so little that one job makes it for all subjects.

    It depends on the study alone, not on what is there already: a rule must not change when a run goes on.

    Parameters
    ----------
    study : Study
        Without problems.
    kind : str
        What is made: brain, movie, scores.
    """
    if study.fetch is not None:
        return False
    if kind == "movie":
        return len(study.meeg_subjects) <= MOST_SUBJECTS and not is_decoded(study) and size_of_meeg(study) <= SMALL
    if len(study.subjects) > MOST_SUBJECTS:
        return False
    if kind == "scores":
        return not study.analyses and size_of_brain(study) * n_conditions(study) <= SMALL_SEARCHLIGHT
    return size_of_brain(study) <= SMALL


def is_decoded(study: Study) -> bool:
    """Say whether RDMs over time are made by classifiers, which take far longer than other distances."""
    return str(study.meeg_rdm_distance).startswith("decoding")


def n_conditions(study: Study) -> int:
    """Return the number of conditions, or the fewest that a study has if it is not known."""
    return known_conditions(study) or FEWEST_CONDITIONS


def known_conditions(study: Study) -> int | None:
    """Return the number of conditions: of the stimuli, or else of the first subject's data; None if it is not known."""
    if checks.simulates_stimuli(study) and study.simulate is not None:
        return len(picture_names(study.simulate.images_per_category))
    known, data = checks.study_conditions(study), study.brain or study.meeg
    if known is None and data is not None and study.simulate is None and not checks.awaits_fetch(study):
        known = data.conditions(data.subjects[0])
    return None if known is None else max(len(known), FEWEST_CONDITIONS)


def size_of_brain(study: Study) -> int:
    """Return the bytes of the brain images of all subjects: of their files, or of what a simulation will write."""
    if study.brain is None:
        return 0
    if study.simulate is None:
        how: dict[str, Any] = {"conditions": checks.study_conditions(study), "residuals": study.needs_residuals}
        return sum(_size_of(study.brain.files(one, **how)) for one in study.subjects)
    n_images = len(study.subjects) * max(1, len(getattr(study.brain, "runs", ()))) * n_conditions(study)
    has_mask = study.simulate.mask is not None
    size = study.simulate.voxel_size_mm**3
    n_voxels = simulated_volume(study.simulate).n_voxels if has_mask else MNI_BRAIN_MM3 / size
    return round(n_images * n_voxels * SINGLE)


def size_of_meeg(study: Study) -> int:
    """Return the bytes of the M/EEG data of all subjects: of their files, or of what a simulation will write."""
    if study.meeg is None:
        return 0
    epochs = None if study.simulate is None else study.simulate.epochs
    if epochs is None:
        conditions = checks.study_conditions(study)
        return sum(_size_of(study.meeg.files(one, conditions)) for one in study.meeg_subjects)
    n_trials = epochs.n_trials * n_conditions(study) * len(study.meeg_subjects)
    return n_trials * epochs.n_channels * len(epochs.times_s) * SINGLE


def _size_of(files: list[Path]) -> int:
    return sum(path.stat().st_size for path in files if path.exists())
