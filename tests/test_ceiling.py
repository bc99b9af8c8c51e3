"""Noise ceilings at every voxel are those of the RDMs of its spheres, one at a time."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from rsa import searchlight
from rsa.comparisons import COMPARISONS
from rsa.core import Patterns, RDMs, Residuals, Volume
from rsa.errors import UserError
from rsa.inference.ceiling import noise_ceilings
from rsa.neighbourhood import some_spheres, spheres
from rsa.rdm import noise_ceiling
from rsa.searchlight import RdmSettings, RunSettings

NAMES = [f"img{n}" for n in range(6)]


def subjects_of(n_subjects=4, n_runs=2, seed=0):
    """Subjects that share a signal, each with its own mask, noise, residuals and order of rows."""
    rng = np.random.default_rng(seed)
    shape = (5, 6, 4)
    signal = rng.standard_normal((len(NAMES), *shape))
    subjects = []
    for _ in range(n_subjects):
        volume = Volume(rng.random(shape) < 0.9, np.diag([2.0, 2.0, 2.5, 1.0]))
        table = pd.DataFrame({"condition": NAMES * n_runs, "run": np.repeat(range(n_runs), len(NAMES))})
        table = table.sample(frac=1, random_state=int(rng.integers(99))).reset_index(drop=True)
        values = signal[[NAMES.index(name) for name in table["condition"]]][:, volume.mask]
        values = values + rng.standard_normal(values.shape)
        residuals = Residuals(rng.standard_normal((30, volume.n_voxels)), 25)
        subjects.append(Patterns(values, table, volume, residuals=residuals))
    return subjects


def expected_at(subjects, voxel, radius_mm, comparison, **how):
    """Build the RDM of the sphere around one place of the grid for every subject, and ask `noise_ceiling`."""
    rdms = []
    for patterns in subjects:
        volume = patterns.volume
        around = spheres(volume, radius_mm)
        here = (volume.indices == voxel).all(axis=1)
        rdms.append(
            searchlight.region_rdms(patterns, some_spheres(around, here), RdmSettings(**how)).reordered(NAMES).values[0]
        )
    return noise_ceiling(RDMs(np.array(rdms), NAMES, pd.DataFrame({"subject": range(len(rdms))})), comparison)


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize(("distance", "shrinkage"), [("correlation", None), ("crossnobis", "ledoit_wolf")])
def test_equals_the_ceiling_of_each_sphere(comparison, distance, shrinkage):
    subjects = subjects_of()
    how = {"distance": distance, "min_voxels": 4, "shrinkage": shrinkage}
    done = []
    found = noise_ceilings(
        subjects, 4.0, comparison=comparison, rdm=RdmSettings(**how), run=RunSettings(n_threads=2, progress=done.append)
    )
    shared = np.logical_and.reduce([patterns.volume.mask for patterns in subjects])
    np.testing.assert_array_equal(found.volume.mask, shared)
    assert sum(done) == shared.sum()
    assert found.table["model"].tolist() == ["ceilinglower", "ceilingupper"]
    assert (found.n_members == 4).mean() > 0.9
    for column in range(0, found.volume.n_voxels, 9):
        expected = expected_at(subjects, found.volume.indices[column], 4.0, comparison, **how)
        np.testing.assert_allclose(found.values[:, column], expected, atol=1e-6)


def test_a_subject_without_an_rdm_leaves_no_ceiling():
    subjects = subjects_of()
    values = subjects[1].values.copy()
    values[:, :20] = np.nan
    subjects[1] = replace(subjects[1], values=values, usable=None)
    found = noise_ceilings(subjects, 4.0, rdm=RdmSettings(min_voxels=10))
    np.testing.assert_array_equal(np.isnan(found.values).any(axis=0), found.n_members < 4)
    assert {3, 4} <= set(found.n_members)


def test_a_subject_with_a_constant_pattern_is_not_counted():
    """Some of its dissimilarities are undefined, and the others are of no use."""
    subjects = subjects_of()
    values = subjects[2].values.copy()
    values[(subjects[2].table["condition"] == "img3").to_numpy()] = 0.5
    subjects[2] = replace(subjects[2], values=values, usable=None)
    found = noise_ceilings(subjects, 4.0)
    assert set(found.n_members) == {3}
    assert np.isnan(found.values).all()


def test_a_stride_takes_fewer_centres_and_changes_none():
    subjects = subjects_of()
    every, some = noise_ceilings(subjects, 4.0), noise_ceilings(subjects, 4.0, stride=2)
    centres = (every.volume.indices % 2 == 0).all(axis=1)
    np.testing.assert_array_equal(some.values[:, centres], every.values[:, centres])
    assert np.isnan(some.values[:, ~centres]).all()


def test_each_delay_has_its_ceiling():
    subjects = subjects_of()
    timed = []
    for patterns in subjects:
        table = pd.concat([patterns.table.assign(delay_s=4.0), patterns.table.assign(delay_s=2.0)])
        values = np.concatenate([patterns.values, np.flip(patterns.values, axis=0)])
        timed.append(Patterns(values, table, patterns.volume))
    found = noise_ceilings(timed, 4.0)
    assert found.table["time_s"].tolist() == [2.0, 4.0, 2.0, 4.0]
    assert found.table["model"].tolist() == ["ceilinglower"] * 2 + ["ceilingupper"] * 2
    np.testing.assert_array_equal(found.values[[1, 3]], noise_ceilings(subjects, 4.0).values)


def test_mistakes():
    subjects = subjects_of()
    with pytest.raises(UserError, match="A noise ceiling needs 2 subjects or more, not 1"):
        noise_ceilings(subjects[:1], 4.0)
    fewer = subjects[1].in_order(NAMES[:5])
    with pytest.raises(UserError, match=r"share 5 of 6 conditions; missing in another subject: 'img5'"):
        noise_ceilings([subjects[0], fewer], 4.0)
    delayed = replace(subjects[1], table=subjects[1].table.assign(delay_s=2.0))
    with pytest.raises(UserError, match=r"needs the same delays of all subjects: \[\], and \[2.0\]"):
        noise_ceilings([subjects[0], delayed], 4.0)
    elsewhere = replace(subjects[1], space=replace(subjects[1].volume, affine=np.diag([3.0, 3, 3, 1])))
    with pytest.raises(UserError, match="lie on different grids"):
        noise_ceilings([subjects[0], elsewhere], 4.0)
    bare = replace(subjects[1], space=None)
    with pytest.raises(UserError, match="mapped over the voxels of a volume; these patterns have none"):
        noise_ceilings([subjects[0], bare], 4.0)
