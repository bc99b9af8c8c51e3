"""Writing simulated studies in the very files from which a real study would be read."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pandas as pd

from rsa.core import Array, Epochs, RDMs, Volume, select
from rsa.datasets.maps import Maps
from rsa.errors import UserError, listed
from rsa.files import io, records
from rsa.files.images import opened, read_mask, read_voxels, require_grid_of_mask, require_one_volume, whole_grid
from rsa.inputs.stimuli import Stimuli
from rsa.inputs.templates import MNI_CODE
from rsa.settings import fill
from rsa.simulation.draw import (
    draw_epochs,
    draw_trials,
    gaussian_time_course,
    patterns_like,
    picture_names,
    real_noise,
    smooth_noise,
    spheres_mask,
    stimulus_set,
)
from rsa.simulation.settings import PlantedRegion, SimulatedEpochs, Simulation

if TYPE_CHECKING:
    import mne

__all__ = [
    "files_of_stimuli",
    "not_simulated",
    "planted_voxels",
    "simulated_epochs",
    "simulated_volume",
    "write_brain",
    "write_epochs",
    "write_stimuli",
]

ONE_FILE = 2_000_000_000
"""MNE splits epochs of more bytes into several files."""

logger = logging.getLogger(__name__)


def files_of_stimuli(simulation: Simulation, stimuli: Stimuli) -> list[Path]:
    """Return the files that `write_stimuli` writes: the pictures, and last their table; none without a table."""
    if stimuli.table is None:
        return []
    folder = Path(stimuli.table).parent
    return [*(folder / f"{name}.png" for _, name in picture_names(simulation.images_per_category)), Path(stimuli.table)]


def not_simulated(paths: Iterable[Path]) -> list[str]:
    """Return those of some files that are there, and that no simulation wrote: a simulation may not replace them."""
    return [str(path) for path in paths if os.path.lexists(path) and not records.is_own(path)]


@contextmanager
def _writing_over_own(paths: Sequence[Path]) -> Iterator[None]:
    """Refuse to replace files that no simulation wrote, and keep the checksums of those that are written."""
    if foreign := not_simulated(paths):
        raise UserError(
            f"A simulation would write over {listed(foreign, 3)}, which no simulation wrote, or which changed since; "
            "choose other names, or move what is there."
        )
    with records.recording():
        yield


def write_stimuli(simulation: Simulation, stimuli: Stimuli) -> None:
    """Draw the pictures and write them beside the table that `stimuli` names; the table is written last.

    Raises
    ------
    UserError
        If there is no table, or a file is there that no simulation wrote.
    """
    if stimuli.table is None:
        raise UserError("A simulation writes its pictures beside a table: set stimuli.table.")
    table, images = stimulus_set(simulation.images_per_category, simulation.seed)
    with _writing_over_own(files_of_stimuli(simulation, stimuli)):
        for file, image in zip(table["file"], images, strict=True):
            with io.writing(Path(stimuli.table).parent / file) as temporary:
                image.save(temporary)
        io.save_table(stimuli.table, table)


def write_brain(simulation: Simulation, dataset: Maps, subject: str, rdms: RDMs) -> None:
    """Write the brain images of one subject: per run a 4-D image, its table and the mask.

    Every condition's image is the planted patterns, the same in all runs, plus noise of its own, in a random order of
    conditions for each run.

    Raises
    ------
    UserError
        If the data set names no table or mask, a file is there that no simulation wrote, or a planted region has no
        voxel.
    """
    files = dataset.simulated_files(subject)
    if not files or dataset.table is None or dataset.mask is None:
        raise UserError(
            "A simulation writes 4-D images, tables and masks: set brain.images, brain.table and brain.mask."
        )
    with _writing_over_own(files):
        _write_images(simulation, dataset, subject, rdms)


def _write_images(simulation: Simulation, dataset: Maps, subject: str, rdms: RDMs) -> None:
    assert dataset.table is not None
    assert dataset.mask is not None
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


def write_epochs(plan: SimulatedEpochs, path: str | Path, rdms: RDMs, *, seed: int, number: int) -> None:
    """Write the epochs of one subject as a file of MNE: electrodes at their places, events by condition, and runs.

    One seed writes the same bytes on one machine; MNE adds the number of the machine.

    Parameters
    ----------
    plan : SimulatedEpochs
        What is drawn.
    path : path
        Where to; ends with -epo.fif or _epo.fif, by which MNE knows epochs.
    rdms : RDMs
        Correlation-distance RDMs of the layers that are planted; columns `model` and `layer`.
    seed : int
        The same seed draws the same epochs.
    number : int
        Which subject it is, from 0: each has topographies, noise and an order of trials of its own.

    Raises
    ------
    UserError
        If the name of the file has another ending, MNE's files cannot hold a condition's name or so many numbers, a
        layer has no RDM, or a file is there that no simulation wrote.
    """
    _require_one_file(plan, str(path), rdms.conditions)
    epochs = _for_mne(plan, simulated_epochs(plan, rdms, seed=seed, number=number), rdms.conditions)
    with _writing_over_own([Path(path)]), io.writing(path) as temporary:
        epochs.save(temporary, fmt="single", overwrite=True, verbose="error")


def simulated_epochs(plan: SimulatedEpochs, rdms: RDMs, *, seed: int, number: int) -> Epochs:
    """Draw the epochs of one subject; the parameters are those of `write_epochs`."""
    rng = np.random.default_rng([seed, number, *b"epochs"])  # no other stream of numbers has this seed
    places_m = _montage(plan).get_positions()["ch_pos"]
    planted = [
        (
            select(rdms, model=one.model, layer=one.layer),
            one.strength * gaussian_time_course(plan.times_s, one.peak_s, one.width_s),
        )
        for one in plan.latencies
    ]
    for one in plan.latencies:
        logger.info("planted %s %s in %s: peak at %g s", one.model, one.layer, one.name, one.peak_s)
    trials = draw_trials(rdms.conditions, plan.n_trials, plan.n_runs, rng)
    channels = pd.DataFrame({"name": list(places_m), "type": "eeg"})
    positions_m = np.array(list(places_m.values()))  # (n_channels, 3)
    return draw_epochs(planted, trials, channels, positions_m, plan.times_s, signal=plan.signal, rng=rng)


def _require_one_file(plan: SimulatedEpochs, path: str, conditions: Sequence[str]) -> None:
    """Raise a `UserError` unless MNE can keep such epochs in one file of this name, and the disk has room for it."""
    if not path.endswith(("-epo.fif", "_epo.fif")):
        raise UserError(f"A simulation writes epochs to files that end with -epo.fif or _epo.fif, not to {path}.")
    unreadable = [name for name in conditions if ";" in name or not _is_latin(name)]
    if unreadable:
        raise UserError(
            f"Names of events in files of MNE have no ';' and no letters beyond Latin-1; rename {listed(unreadable)}."
        )
    n_bytes = 4 * len(conditions) * plan.n_trials * plan.n_channels * len(plan.times_s)
    if n_bytes > ONE_FILE:
        raise UserError(
            f"The simulated epochs of a subject take {n_bytes / 1e9:.1f} GB, and one file of MNE holds "
            f"{ONE_FILE / 1e9:g} GB; ask for fewer trials, channels or samples."
        )
    io.require_space(path, n_bytes)


def _is_latin(name: str) -> bool:
    """Say whether a name can be written in Latin-1, the alphabet in which MNE reads names."""
    return all(ord(letter) < 256 for letter in name)


def _montage(plan: SimulatedEpochs) -> "mne.channels.DigMontage":
    """Return the places of the electrodes."""
    import mne

    return mne.channels.make_standard_montage(f"biosemi{plan.n_channels}")


def _for_mne(plan: SimulatedEpochs, epochs: Epochs, conditions: Sequence[str]) -> "mne.EpochsArray":
    """Give epochs the header, events (in the order of `conditions`) and table of MNE."""
    import mne

    info = mne.create_info(list(epochs.channels["name"]), plan.sampling_hz, "eeg", verbose="error")
    info.set_montage(_montage(plan))
    codes = {name: code for code, name in enumerate(conditions, start=1)}
    onsets = np.arange(len(epochs.table)) * len(epochs.times_s) - round(plan.tmin_s * plan.sampling_hz)
    events = np.column_stack([onsets, np.zeros_like(onsets), epochs.table["condition"].map(codes)])
    told = {"tmin": epochs.times_s[0], "event_id": codes, "metadata": epochs.table}
    return mne.EpochsArray(epochs.values, info, events, **told, verbose="error")


def simulated_volume(simulation: Simulation) -> Volume:
    """Return the grid and mask of a simulation: those of its mask image, or the MNI152 brain of nilearn."""
    if simulation.mask is not None:
        grid = whole_grid(opened(Path(simulation.mask)))
        return replace(grid, mask=read_mask(Path(simulation.mask)))
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
        atlas, name = opened(Path(simulation.atlas)), f"The atlas {simulation.atlas}"
        require_one_volume(atlas, name)
        require_grid_of_mask(volume, atlas, name, "the mask")
        inside = np.isin(read_voxels(Path(simulation.atlas), float)[volume.mask, 0], region.atlas_indices)
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
    volume.require_grid(image.shape, image.affine, f"The noise images {path}", nearly=True)
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
    image = volume.to_image(values)
    stored = nib.Nifti1Image(np.nan_to_num(image.get_fdata(dtype=np.float32)), image.affine, image.header)
    stored.set_data_dtype(dtype)
    return stored
