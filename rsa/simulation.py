"""Writing simulated studies in the very files from which a real study would be read."""

import logging
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from rsa import io
from rsa.config import PlantedRegion, Simulation
from rsa.core import Array, RDMs, Volume, select
from rsa.datasets.images import opened, read_voxels, whole_grid
from rsa.datasets.maps import Maps
from rsa.errors import UserError
from rsa.settings import fill
from rsa.simulate import patterns_like, real_noise, smooth_noise, spheres_mask, stimulus_set
from rsa.stimuli import Stimuli

__all__ = ["planted_voxels", "simulated_volume", "write_brain", "write_stimuli"]

MNI_CODE = 4
"""The NIfTI code of MNI152 space."""

logger = logging.getLogger(__name__)


def write_stimuli(simulation: Simulation, stimuli: Stimuli) -> None:
    """Draw the pictures and write them beside the table that `stimuli` names; the table is written last."""
    if stimuli.table is None:
        raise UserError("A simulation writes its pictures beside a table: set stimuli.table.")
    table, images = stimulus_set(simulation.images_per_category, simulation.seed)
    for file, image in zip(table["file"], images, strict=True):
        with io.writing(Path(stimuli.table).parent / file) as temporary:
            image.save(temporary)
    io.save_table(stimuli.table, table)


def write_brain(simulation: Simulation, dataset: Maps, subject: str, rdms: RDMs) -> None:
    """Write the brain images of one subject: per run a 4-D image, its table and the mask.

    Every condition's image is the planted patterns, the same in all runs, plus noise of its own, in a random order of
    conditions for each run.
    """
    if dataset.table is None or dataset.mask is None:
        raise UserError(
            "A simulation writes 4-D images, tables and masks: set brain.images, brain.table and brain.mask."
        )
    volume = simulated_volume(simulation)
    number = dataset.subjects.index(subject)
    signal = _signal(simulation, volume, rdms, np.random.default_rng([simulation.seed, number]))
    residuals = _residuals(simulation, volume) if simulation.noise_images is not None else None
    io.save_nifti(fill(dataset.mask, subject=subject), _stored(volume, np.ones(volume.n_voxels), np.uint8))
    for run_number, run in enumerate(dataset.runs or ("1",)):
        rng = np.random.default_rng([simulation.seed, number, run_number])
        if residuals is None:
            noise = smooth_noise(volume, rdms.n_conditions, simulation.noise_fwhm_mm, rng)
        else:
            noise = real_noise(residuals, rdms.n_conditions, rng)
        order = rng.permutation(rdms.n_conditions)
        values = (simulation.signal * signal + noise)[order]  # (n_conditions, n_voxels)
        io.save_table(
            fill(dataset.table, subject=subject, run=run),
            pd.DataFrame({dataset.condition_column: np.array(rdms.conditions)[order]}),
        )
        io.save_nifti(fill(dataset.images, subject=subject, run=run), _stored(volume, values, np.int16))


def simulated_volume(simulation: Simulation) -> Volume:
    """Return the grid and mask of a simulation: those of its mask image, or the MNI152 brain of nilearn."""
    if simulation.mask is not None:
        grid = whole_grid(opened(Path(simulation.mask)))
        return replace(grid, mask=read_voxels(Path(simulation.mask))[..., 0] > 0)
    from nilearn.datasets import load_mni152_brain_mask

    image = load_mni152_brain_mask(resolution=simulation.voxel_size_mm)
    return Volume(np.asarray(image.dataobj) > 0, image.affine, sform_code=MNI_CODE, qform_code=MNI_CODE)


def planted_voxels(simulation: Simulation, region: PlantedRegion, volume: Volume) -> Array:
    """Mark the mask voxels of a planted region, shape (n_voxels,).

    Raises
    ------
    UserError
        If none of its voxels lies in the mask.
    """
    if region.centres_mm:
        inside = spheres_mask(volume, region.centres_mm, region.radius_mm)
    else:
        if simulation.atlas is None:
            raise UserError(f"The planted region {region.name!r} has atlas_indices; set simulate.atlas as well.")
        atlas = opened(Path(simulation.atlas))
        volume.require_grid(atlas.shape, atlas.affine, f"The atlas {simulation.atlas}")
        inside = np.isin(read_voxels(Path(simulation.atlas))[volume.mask, 0], region.atlas_indices)
    if not inside.any():
        raise UserError(f"The planted region {region.name!r} has no voxel in the mask.")
    return inside


def _signal(simulation: Simulation, volume: Volume, rdms: RDMs, rng: np.random.Generator) -> Array:
    """Draw the planted patterns, shape (n_conditions, n_voxels), 0 outside the planted regions."""
    signal = np.zeros((rdms.n_conditions, volume.n_voxels), dtype=np.float32)
    for region in simulation.regions:
        inside = planted_voxels(simulation, region, volume)
        planted = select(rdms, model=region.model, layer=region.layer)
        signal[:, inside] = patterns_like(planted, int(inside.sum()), rng)
        logger.info("planted %s %s in %s: %d voxels", region.model, region.layer, region.name, inside.sum())
    return signal


def _residuals(simulation: Simulation, volume: Volume) -> Array:
    """Read a BOLD run and take the effects of its events out, shape (n_volumes, n_voxels), each voxel with mean 0."""
    path = Path(simulation.noise_images or "")
    image = opened(path)
    volume.require_grid(image.shape, image.affine, f"The noise images {path}")
    bold = read_voxels(path)[volume.mask].T  # (n_volumes, n_voxels)
    effects = np.ones((len(bold), 1))
    if simulation.noise_events is not None:
        from nilearn.glm.first_level import make_first_level_design_matrix

        column = simulation.noise_condition_column
        events = io.load_table(simulation.noise_events, ["onset", "duration"], [column]).dropna(subset=[column])
        events = events[["onset", "duration"]].astype(float).assign(trial_type=events[column])
        times_s = np.arange(len(bold)) * float(image.header.get_zooms()[3])
        effects = make_first_level_design_matrix(times_s, events, drift_model=None).to_numpy()
    left: Array = bold - effects @ np.linalg.lstsq(effects, bold, rcond=None)[0]
    return left


def _stored(volume: Volume, values: Array, dtype: type) -> nib.Nifti1Image:
    """Make an image that is stored in whole numbers (scaled, where they are not whole) and is 0 outside the mask."""
    image = volume.to_nifti(values)
    stored = nib.Nifti1Image(np.nan_to_num(image.get_fdata(dtype=np.float32)), image.affine, image.header)
    stored.set_data_dtype(dtype)
    return stored
