"""The sizes of a study before it runs: from the headers of its files, or from the settings of a simulation.

The first subject stands for all. What cannot be known is assumed, and `Extent.assumed` says so.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from rsa.core import Volume
from rsa.distances import CROSS_VALIDATED
from rsa.errors import UserError
from rsa.files.fsaverage import has_cortex
from rsa.files.images import count_volumes, opened
from rsa.inputs.references import FileReference
from rsa.inputs.templates import MNI152
from rsa.neighbourhood import sphere_offsets
from rsa.pipeline import checks
from rsa.pipeline.config import Study
from rsa.pipeline.sizes import MNI_BRAIN_MM3, known_conditions

__all__ = ["KEPT_IN", "Extent", "extent_of", "kept_extent"]

MNI_BOX_MM = (197, 233, 189)
"""Sides of the box around the MNI152 brain."""

INSIDE = 1 / 3
"""Share of the voxels of an image that are assumed to be inside the brain, where no mask says so."""

ASSUMED = {
    "n_voxels": f"{INSIDE:.0%} of the voxels of an image are in the brain",
    "n_conditions": "100 conditions",
    "n_runs": "8 runs",
    "n_samples": "300 residuals a run",
    "n_grid": "a grid of 2 mm around the MNI152 brain",
    "n_layers": "20 layers a model",
    "n_trials": "20 trials of each condition",
    "n_channels": "306 channels",
    "n_times": "200 times",
}
"""What is assumed where it is not known."""

MANY_FILES = 200
"""Of so many images of a subject headers are read: of more, the first stand for all."""

KEPT_IN = "RSA_EXTENT"
"""The environment variable by which jobs learn the sizes that the main process found."""

Value = TypeVar("Value")


@dataclass
class Extent:
    """How large a study is.

    Parameters
    ----------
    n_subjects, n_meeg_subjects : int
        Subjects of the fMRI and the M/EEG data.
    n_conditions, n_runs, n_delays, n_samples : int
        Of the patterns of a subject: conditions, runs, delays (1 without), samples of the noise that are kept.
    n_voxels, n_grid, n_planes : int
        Voxels in the mask and in the images of a subject, and planes of these along the first axis.
    n_members, reach : int
        Voxels of a sphere, and planes from its centre to its end.
    stride : int
        Of the centres of spheres.
    n_volumes : int
        Volumes of a run, where a model is fitted to it; 0 elsewhere.
    n_stored : int
        Bytes of a voxel in the images that are read.
    n_layers, n_outputs, n_units, n_all_units : int
        Layers of the largest model; numbers in the largest output of a layer, and how many of these count; and how many
        count of all layers of the largest model.
    n_models, n_weights : int
        Networks, and bytes of the weights of the largest.
    n_references, n_fused : int
        RDMs with which the brain is compared, and how many of them are of M/EEG at each time.
    n_images : int
        Pictures.
    n_trials, n_channels, n_times : int
        Of the M/EEG data of a subject: trials, channels, times.
    n_regions, n_parts, n_template : int
        Regions; analyses, the plain comparison among them; voxels of the brain in the space of the group.
    between, whitens, by_runs, on_cortex : bool
        Whether distances are between runs, spheres are whitened, noise is seen between runs, and maps are brought to
        the surface of the cortex.
    assumed : list of str
        What was assumed.
    """

    n_subjects: int = 0
    n_meeg_subjects: int = 0
    n_conditions: int = 100
    n_runs: int = 1
    n_delays: int = 1
    n_samples: int = 0
    n_voxels: int = 0
    n_grid: int = 0
    n_planes: int = 100
    n_members: int = 0
    reach: int = 0
    stride: int = 1
    n_volumes: int = 0
    n_stored: int = 4
    n_layers: int = 0
    n_outputs: int = 0
    n_units: int = 0
    n_all_units: int = 0
    n_models: int = 0
    n_weights: int = 0
    n_references: int = 0
    n_fused: int = 0
    n_images: int = 0
    n_trials: int = 0
    n_channels: int = 0
    n_times: int = 0
    n_regions: int = 0
    n_parts: int = 1
    n_template: int = 0
    between: bool = False
    whitens: bool = False
    by_runs: bool = False
    on_cortex: bool = False
    assumed: list[str] = field(default_factory=list)

    @property
    def n_pairs(self) -> int:
        """Pairs of conditions."""
        return self.n_conditions * (self.n_conditions - 1) // 2

    @property
    def n_rows(self) -> int:
        """Patterns of a subject."""
        return self.n_conditions * self.n_runs * self.n_delays

    @property
    def n_centres(self) -> int:
        """Spheres of a subject."""
        return max(1, self.n_voxels // self.stride**3)

    @property
    def n_maps(self) -> int:
        """Maps of a subject in a file of scores: of each reference, at each delay, and of the quality of the data."""
        return (self.n_references + 1) * self.n_delays


def kept_extent(study: Study) -> Extent:
    """Return the sizes of a study, as the main process of this run found them, or else anew."""
    key = hashlib.sha256(study.model_dump_json().encode()).hexdigest()
    kept = os.environ.get(KEPT_IN, "")
    if kept.startswith(key):
        return Extent(**json.loads(kept.removeprefix(key)))
    found = extent_of(study)
    os.environ[KEPT_IN] = key + json.dumps(asdict(found))
    return found


def extent_of(study: Study) -> Extent:
    """Find out how large a study is, from headers and settings."""
    found = Extent(n_subjects=len(study.subjects), n_meeg_subjects=len(study.meeg_subjects))
    for part in (_conditions, _brain, _spheres, _meeg, _models, _references, _regions):
        try:
            part(study, found)
        except (UserError, OSError):  # the checks say what is wrong; a job elsewhere may not see all files
            found.assumed.append(f"sizes of which files could not be read ({part.__name__.lstrip('_')})")
    return found


def _known(found: Extent, name: str, ask: Callable[[], Value | None], otherwise: Value) -> Value:
    """Return what a function finds; where it finds nothing, what is assumed, which is noted."""
    try:
        value = ask()
    except (UserError, OSError):
        value = None
    if value is None:
        found.assumed.append(ASSUMED[name])
        return otherwise
    return value


def _conditions(study: Study, found: Extent) -> None:
    found.n_conditions = found.n_images = _known(found, "n_conditions", lambda: known_conditions(study), 100)
    if study.stimuli is not None and not checks.awaits_stimuli(study):
        found.n_images = len(study.stimuli.load())


def _brain(study: Study, found: Extent) -> None:
    brain = study.brain
    if brain is None or not study.has_images:
        return
    subject, noise = study.subjects[0], study.noise
    found.between = study.brain_distance in CROSS_VALIDATED
    found.whitens = noise is not None and noise.is_multivariate and noise.scope == "sphere"
    found.by_runs = noise is not None and noise.source == "runs"
    there = study.simulate is None and not checks.awaits_fetch(study)
    files = brain.files(subject, checks.study_conditions(study)) if there else []
    images = [path for path in files if _is_image(path)]
    if len(images) > MANY_FILES and count_volumes(opened(images[0])) == 1:  # an image of each condition (and run)
        found.n_runs = max(1, round(len(images) / found.n_conditions))
    else:
        is_known = there or study.simulate is not None
        found.n_runs = _known(found, "n_runs", lambda: _n_runs(study, subject) if is_known else None, 8)
        found.n_delays = max(1, len(brain.delays_s(subject))) if there else 1
    volume = _known(found, "n_grid", lambda: _volume(study, subject, there), None)
    if isinstance(volume, Volume):
        found.n_grid, found.n_planes = int(np.prod(volume.shape)), volume.shape[0]
        found.n_voxels = volume.n_voxels
        if volume.n_voxels == found.n_grid:
            found.assumed.append(ASSUMED["n_voxels"])
            found.n_voxels = round(found.n_grid * INSIDE)
    else:
        size_mm = 2.0 if study.simulate is None else float(study.simulate.voxel_size_mm)
        sides = [math.ceil(side / size_mm) + 1 for side in MNI_BOX_MM]
        found.n_voxels, found.n_grid = round(MNI_BRAIN_MM3 / size_mm**3), math.prod(sides)
        found.n_planes = sides[0]
        volume = None
    _images(study, found, subject, images)
    _sphere(study, found, volume)
    found.n_template = found.n_voxels
    template = study.template
    spaces = (brain.space, *(() if template is None else (template.space,)))
    found.on_cortex = study.surfaces is not None and any(map(has_cortex, spaces))
    if template is not None:
        found.n_template = round(MNI_BRAIN_MM3 / template.voxel_size_mm**3)
        if template.image != MNI152:
            grid = opened(Path(template.image))
            found.n_template = round(np.prod(grid.shape[:3]) * INSIDE)


def _n_runs(study: Study, subject: str) -> int:
    """Count the runs: those that files tell, or those that settings list for a simulation."""
    assert study.brain is not None
    if study.simulate is not None:
        return max(1, len(getattr(study.brain, "runs", ())))
    return max(1, len(study.brain.run_labels(subject)))


def _volume(study: Study, subject: str, there: bool) -> Volume | bool | None:
    """Return the mask of a subject, or its grid; True for the MNI152 brain of a simulation, None if unknown."""
    simulation, brain = study.simulate, study.brain
    assert brain is not None
    if simulation is not None and simulation.mask is not None:
        from rsa.simulation.write import simulated_volume

        return simulated_volume(simulation)
    if simulation is not None:
        return True
    return (brain.masked(subject) or brain.grid(subject)) if there else None


def _images(study: Study, found: Extent, subject: str, images: list[Path]) -> None:
    """Look at the headers of images: volumes of a run, bytes of a voxel, and samples of noise."""
    fits = study.brain is not None and study.brain.bids_root is not None  # a model is fitted to each run
    looked_at = [opened(path) for path in images[:MANY_FILES]]
    lengths = [(count_volumes(image), image.get_data_dtype().itemsize) for image in looked_at]
    if lengths:
        found.n_stored = max(size for _, size in lengths)
        found.n_volumes = max(n for n, _ in lengths) if fits else 0
    elif fits:
        found.n_volumes = 300
    if not study.needs_residuals:
        return
    if fits:
        found.n_samples = sum(n for n, _ in lengths if n > 1) or 300 * found.n_runs
        return

    def ask() -> int | None:
        if study.brain is None or not images:
            return None
        conditions = checks.study_conditions(study)
        every = study.brain.files(subject, conditions, residuals=True)
        known = set(images)
        noise = [path for path in every if path not in known and _is_image(path)]
        some = [count_volumes(opened(path)) for path in noise[:MANY_FILES]]
        return round(sum(some) / len(some) * len(noise)) if some else None

    found.n_samples = _known(found, "n_samples", ask, 300 * found.n_runs)


def _is_image(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz", ".img", ".hdr")) and path.exists()


def _sphere(study: Study, found: Extent, volume: Volume | bool | None) -> None:
    if study.searchlight is None:
        return
    size_mm = 2.0 if study.simulate is None else float(study.simulate.voxel_size_mm)
    affine = volume.affine if isinstance(volume, Volume) else np.diag([size_mm] * 3 + [1.0])
    steps = sphere_offsets(affine, study.searchlight.radius_mm)
    found.n_members, found.reach = len(steps), int(np.abs(steps[:, 0]).max())
    found.stride = study.searchlight.stride


def _spheres(study: Study, found: Extent) -> None:
    found.n_parts = 1 + len(study.analyses)


def _meeg(study: Study, found: Extent) -> None:
    meeg = study.meeg
    if meeg is None:
        return
    simulated = None if study.simulate is None else study.simulate.epochs
    if simulated is not None:
        found.n_trials = simulated.n_trials * found.n_conditions
        found.n_channels, found.n_times = simulated.n_channels, len(simulated.times_s)
        return
    subject, conditions = study.meeg_subjects[0], checks.study_conditions(study)
    found.n_times = _known(found, "n_times", lambda: len(meeg.times_s(subject, conditions)), 200)
    if not meeg.is_ready:
        shape = _known(found, "n_channels", lambda: meeg.shape(subject), (20 * found.n_conditions, 306, found.n_times))
        found.n_trials, found.n_channels, read = shape
        found.n_times = max(found.n_times, read)


def _models(study: Study, found: Extent) -> None:
    found.n_models = len(study.networks)
    for model in study.networks:
        found.n_weights = max(found.n_weights, model.n_weight_bytes())
        layers = list(model.representations().values())
        found.n_layers = max(found.n_layers, len(layers))
        found.n_outputs = max([found.n_outputs, *(math.prod(one.shape) for one in layers)])
        found.n_units = max([found.n_units, *(one.n_units for one in layers)])
        found.n_all_units = max(found.n_all_units, sum(one.n_units for one in layers))
        found.n_references += len(layers)


def _references(study: Study, found: Extent) -> None:
    for reference in study.references:
        n_rdms = 1
        if isinstance(reference, FileReference) and not checks.awaits_stimuli(study):
            n_rdms = len(reference.build(checks.stimulus_table(study)).table)
        found.n_references += n_rdms
    if study.fusion:
        found.n_fused = found.n_times * (len(study.subjects) if study.fusion == "paired" else 1)
        found.n_references += found.n_fused


def _regions(study: Study, found: Extent) -> None:
    if study.regions is not None or (study.brain is not None and study.brain.is_ready):
        found.n_regions = 200
