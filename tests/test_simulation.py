"""Simulated studies: written in the formats that users have, read back by the ordinary readers, true to the plan."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from rsa.core import RDMs, Volume
from rsa.datasets.maps import Maps
from rsa.errors import UserError
from rsa.inputs.stimuli import Stimuli
from rsa.simulation.draw import CATEGORIES, patterns_like, real_noise, smooth_noise, stimulus_set
from rsa.simulation.settings import PlantedRegion, Simulation
from rsa.simulation.write import planted_voxels, simulated_volume, write_brain, write_stimuli

CONDITIONS = [f"c{i}" for i in range(8)]


def layer_rdms(rng: np.random.Generator) -> RDMs:
    """Make the correlation-distance RDMs of two layers."""
    values = [1 - np.corrcoef(rng.standard_normal((8, 20)))[np.triu_indices(8, 1)] for _ in range(2)]
    return RDMs(np.array(values), CONDITIONS, pd.DataFrame({"model": "net", "layer": ["a", "b"]}), "correlation")


def dataset(folder: Path) -> Maps:
    return Maps(
        subjects=("01", "02"),
        runs=("1", "2", "3"),
        images=f"{folder}/sub-{{subject}}_run-{{run}}.nii.gz",
        table=f"{folder}/sub-{{subject}}_run-{{run}}.tsv",
        mask=f"{folder}/sub-{{subject}}_mask.nii.gz",
    )


PLAN = Simulation(
    seed=3,
    voxel_size_mm=8,
    signal=2.0,
    regions=(
        PlantedRegion(name="back", model="net", layer="a", centres_mm=((0.0, -80.0, 0.0),), radius_mm=25),
        PlantedRegion(name="front", model="net", layer="b", centres_mm=((0.0, 40.0, 10.0),), radius_mm=25),
    ),
)


def test_pictures_are_drawn_alike_from_one_seed() -> None:
    table, images = stimulus_set(2, seed=1)
    again, others = stimulus_set(2, seed=1), stimulus_set(2, seed=2)
    assert list(table["category"].unique()) == list(CATEGORIES)
    assert len(table) == len(images) == 12
    assert all(image.size == (224, 224) and image.mode == "RGB" for image in images)
    assert all(one.tobytes() == other.tobytes() for one, other in zip(images, again[1], strict=True))
    assert all(one.tobytes() != other.tobytes() for one, other in zip(images, others[1], strict=True))


def test_pictures_are_read_by_the_ordinary_reader(tmp_path: Path) -> None:
    stimuli = Stimuli(table=str(tmp_path / "stimuli.tsv"))
    write_stimuli(Simulation(images_per_category=2), stimuli)
    assert stimuli.problems() == []
    assert len(stimuli.conditions()) == 12
    with pytest.raises(UserError, match=r"set stimuli\.table"):
        write_stimuli(Simulation(images_per_category=2), Stimuli(folder=str(tmp_path)))


def test_brains_are_read_by_the_ordinary_reader(tmp_path: Path, rng: np.random.Generator) -> None:
    brain = dataset(tmp_path)
    for subject in brain.subjects:
        write_brain(PLAN, brain, subject, layer_rdms(rng))
    assert brain.problems(CONDITIONS) == []
    patterns = brain.load("02")
    assert patterns.values.shape == (24, simulated_volume(PLAN).n_voxels)
    first_runs = [list(rows["condition"]) for _, rows in patterns.table.groupby("run")]
    assert first_runs[0] != first_runs[1], "each run has an order of conditions of its own"
    assert nib.load(tmp_path / "sub-01_run-1.nii.gz").get_data_dtype() == np.int16


def test_the_signal_is_where_it_was_planted(tmp_path: Path, rng: np.random.Generator) -> None:
    brain, rdms = dataset(tmp_path), layer_rdms(rng)
    write_brain(PLAN, brain, "01", rdms)
    means = brain.load("01").mean_over_runs()
    volume = simulated_volume(PLAN)
    order = [means.conditions.index(name) for name in CONDITIONS]
    for region, rdm in zip(PLAN.regions, rdms.values, strict=True):
        inside = planted_voxels(PLAN, region, volume)
        found = 1 - np.corrcoef(means.values[order][:, inside])[np.triu_indices(8, 1)]
        assert np.corrcoef(found, rdm)[0, 1] > 0.8
        assert means.values[:, inside].std() > 2 * means.values[:, ~inside].std()


def test_no_signal_means_noise_alone(tmp_path: Path, rng: np.random.Generator) -> None:
    brain = dataset(tmp_path)
    write_brain(PLAN.model_copy(update={"signal": 0.0}), brain, "01", layer_rdms(rng))
    values = brain.load("01").values
    inside = planted_voxels(PLAN, PLAN.regions[0], simulated_volume(PLAN))
    assert values[:, inside].std() == pytest.approx(1, abs=0.1)


def test_subjects_and_runs_have_noise_of_their_own(tmp_path: Path, rng: np.random.Generator) -> None:
    brain, rdms = dataset(tmp_path), layer_rdms(rng)
    for subject in brain.subjects:
        write_brain(PLAN.model_copy(update={"signal": 0.0}), brain, subject, rdms)
    rows = np.concatenate([brain.load(subject).values for subject in brain.subjects])
    assert np.abs(np.corrcoef(rows) - np.eye(len(rows))).max() < 0.3


def test_noise_is_as_smooth_as_it_is_meant_to_be(rng: np.random.Generator) -> None:
    volume = Volume(np.ones((30, 30, 30), dtype=bool), np.diag([2.0, 2.0, 4.0, 1.0]))
    fwhm_mm = 8.0
    grids = smooth_noise(volume, 6, fwhm_mm, rng).reshape(6, 30, 30, 30)
    for axis, step_mm in ((1, 2.0), (3, 4.0)):
        one, next_one = (np.take(grids, range(*ends), axis=axis) for ends in ((0, 29), (1, 30)))
        found = np.corrcoef(one.ravel(), next_one.ravel())[0, 1]
        assert found == pytest.approx(np.exp(-2 * np.log(2) * (step_mm / fwhm_mm) ** 2), abs=0.03)


def test_real_noise_keeps_the_covariance_of_the_residuals(rng: np.random.Generator) -> None:
    mixing = rng.standard_normal((5, 5))
    residuals = (rng.standard_normal((400, 5)) @ mixing).astype(np.float32)
    noise = real_noise(residuals, 4000, rng)
    np.testing.assert_allclose(np.corrcoef(noise.T), np.corrcoef(residuals.T), atol=0.08)
    assert (noise**2).mean() == pytest.approx(1, rel=1e-3)


@pytest.mark.slow
def test_the_events_are_taken_out_of_real_noise(data: Path) -> None:
    from rsa.simulation.write import _residuals

    folder = data / "god_sub01_run01"
    plan = Simulation(
        mask=str(folder / "mask.nii.gz"),
        noise_images=str(folder / "bold.nii.gz"),
        noise_events=str(folder / "events.tsv"),
        noise_condition_column="stimulus_name",
    )
    volume = simulated_volume(plan)
    residuals = _residuals(plan, volume)
    assert residuals.shape == (178, 53_011)
    betas = nib.load(folder / "betas.nii.gz").get_fdata()[volume.mask]
    bold = np.asarray(nib.load(folder / "bold.nii.gz").dataobj, dtype=np.float32)[volume.mask].T
    visual = np.argsort(betas.std(axis=1))[-500:]
    assert residuals[:, visual].var() < 0.8 * bold[:, visual].var()
    assert np.abs(residuals.mean(axis=0)).max() < 1e-2


def test_planting_errors(rng: np.random.Generator, tmp_path: Path) -> None:
    volume = simulated_volume(PLAN)
    outside = PLAN.regions[0].model_copy(update={"centres_mm": ((500.0, 0.0, 0.0),)})
    with pytest.raises(UserError, match="'back' has no voxel in the mask"):
        planted_voxels(PLAN, outside, volume)
    by_atlas = PlantedRegion(name="x", model="net", layer="a", atlas_indices=(1,))
    with pytest.raises(UserError, match=r"set simulate\.atlas"):
        planted_voxels(PLAN, by_atlas, volume)
    with pytest.raises(UserError, match="one RDM of correlation distances, not 2"):
        patterns_like(layer_rdms(rng), 10, rng)
    with pytest.raises(UserError, match=r"set brain\.images, brain\.table and brain\.mask"):
        write_brain(PLAN, dataset(tmp_path).model_copy(update={"mask": None}), "01", layer_rdms(rng))
