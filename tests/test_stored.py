"""What stays in its file gives the same as what is in memory, byte by byte, however little is read at a time."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_ceiling import NAMES, subjects_of
from test_group import subject

from rsa.comparisons import COMPARISONS
from rsa.core import Patterns, RunNoise, Volume, shared_volume
from rsa.errors import UserError
from rsa.files import io
from rsa.files.stored import stored_patterns, stored_scores
from rsa.inference.ceiling import _bounds_by, noise_ceilings, slab_bytes, slabs_of
from rsa.inference.group import GROUP_TESTS, combine
from rsa.neighbourhood import shared_spheres, sphere_centres
from rsa.searchlight import MapBuilder, RdmSettings, RunSettings, scan_sources
from rsa.spheres import prepare_spheres

RADIUS_MM = 4.0


def long_subjects(**changes):
    """Subjects on a grid of many planes, so that slabs are a small part of it, some voxels without data."""
    rng = np.random.default_rng(8)
    shape, subjects = (24, 4, 4), []
    for number, one in enumerate(subjects_of(3)):
        volume = Volume(rng.random(shape) < 0.9, np.diag([2.0, 2.0, 2.5, 1.0]))
        values = rng.standard_normal((len(one.table), volume.n_voxels)) + 3
        values[:, volume.indices[:, 0] > 22 - 9 * number] = 1.5  # without data from a plane on, another for each
        residuals = replace(one.residuals, values=rng.standard_normal((30, volume.n_voxels)))
        subjects.append(Patterns(values, one.table, volume, residuals=residuals))
    return [replace(one, **changes) for one in subjects]


def all_at_once(subjects, comparison, rdm):
    """The ceilings of the spheres of all subjects, which are all in memory: how it was done before there were slabs."""
    volumes = [one.volume for one in subjects]
    volume, around = shared_volume(volumes), shared_spheres(volumes, RADIUS_MM)
    ordered = [one.in_order(subjects[0].conditions) for one in subjects]
    sources = [prepare_spheres(*one, rdm) for one in zip(ordered, around, strict=True)]
    builder = MapBuilder(sphere_centres(volume), volume.n_voxels, 3, volume.name_of)
    scan_sources(sources, _bounds_by(COMPARISONS[comparison]), builder, RunSettings(), 64)
    return builder.scores


WAYS = {
    "means": ({"residuals": None}, RdmSettings(min_voxels=5)),
    "between runs": ({"residuals": None}, RdmSettings("crossnobis", None, 5)),
    "whitened": ({}, RdmSettings("crossnobis", "ledoit_wolf", 5)),
    "by runs": ({"residuals": None, "run_noise": RunNoise("multivariate")}, RdmSettings("correlation", None, 5)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("in_files", [False, True])
def test_ceilings_of_slabs_equal_those_of_all_at_once(way, in_files, tmp_path):
    changes, rdm = WAYS[way]
    subjects = long_subjects(**changes)
    expected = all_at_once(subjects, "spearman", rdm)
    given = subjects
    if in_files:
        for number, one in enumerate(subjects):
            io.save(tmp_path / f"{number}.h5", one)
        given = [stored_patterns(tmp_path / f"{number}.h5") for number in range(len(subjects))]
    for room in (None, 1, 100_000):
        found = noise_ceilings(given, RADIUS_MM, rdm=rdm, run=RunSettings(n_threads=2, room_bytes=room))
        np.testing.assert_array_equal(found.values, expected[:2])
        np.testing.assert_array_equal(found.n_members, np.nan_to_num(expected[2]))
    assert set(found.n_members) == {0, 1, 2, 3}


def test_delays_in_slabs_equal_those_of_all_at_once():
    timed = []
    for one in long_subjects(residuals=None):
        table = pd.concat([one.table.assign(delay_s=4.0), one.table.assign(delay_s=2.0)])
        values = np.concatenate([one.values, np.flip(one.values, axis=0)])
        timed.append(Patterns(values, table, one.volume, usable=one.usable))
    whole = noise_ceilings(timed, RADIUS_MM)
    parts = noise_ceilings(timed, RADIUS_MM, room_bytes=1)
    np.testing.assert_array_equal(parts.values, whole.values)
    assert parts.table.equals(whole.table)


def test_slabs_fit_into_the_room_and_are_as_small_as_can_be():
    subjects, rdm = long_subjects(), RdmSettings("crossnobis", "ledoit_wolf", 5)
    volume = shared_volume([one.volume for one in subjects])
    centres = sphere_centres(volume)

    def largest(room):
        slabs = slabs_of(subjects, volume, centres, RADIUS_MM, 8, rdm, room)
        assert [one for slab in slabs for one in slab.centres] == list(range(len(centres)))
        assert all(slab.centres.start % 8 == 0 for slab in slabs)
        return len(slabs), max(slab_bytes(subjects, slab, volume, RADIUS_MM, rdm) for slab in slabs)

    (_, whole), (most, smallest) = largest(None), largest(1)
    assert largest(None)[0] == 1
    assert most == -(-len(centres) // 8)
    assert smallest < whole / 3
    for room in np.linspace(smallest, whole, 7).astype(int):
        n_slabs, n_bytes = largest(int(room))
        assert n_bytes <= room
        assert 1 <= n_slabs <= most


def test_a_subject_whose_voxels_have_no_noise_is_told():
    subjects = long_subjects()
    subjects[1] = replace(
        subjects[1], residuals=replace(subjects[1].residuals, values=0 * subjects[1].residuals.values)
    )
    for room in (None, 1):
        with pytest.raises(UserError, match="No usable voxel has noise: its residuals are 0 or NaN"):
            noise_ceilings(subjects, RADIUS_MM, rdm=RdmSettings("crossnobis", "ledoit_wolf"), room_bytes=room)


def test_noise_of_the_whole_brain_needs_all_voxels_at_once():
    noise = RunNoise("multivariate", scope="brain")
    subjects = long_subjects(residuals=None, run_noise=noise)
    volume = shared_volume([one.volume for one in subjects])
    assert len(slabs_of(subjects, volume, sphere_centres(volume), RADIUS_MM, 8, RdmSettings(), 1)) == 1


@pytest.mark.parametrize("test", GROUP_TESTS)
def test_groups_of_scores_in_files_equal_those_in_memory(test, rng, tmp_path, monkeypatch):
    masks = [np.ones((3, 2, 2)), np.ones((3, 2, 2))]
    masks[1][0, 0] = 0
    subjects = [subject(number, rng, masks[number % 2]) for number in range(5)]
    for number, one in enumerate(subjects):
        io.save(tmp_path / f"{number}.h5", one)
    stored = [stored_scores(tmp_path / f"{number}.h5") for number in range(5)]
    expected = combine(subjects, test)
    monkeypatch.setattr("rsa.inference.group.COMBINED_SCORES", 1)  # one map at a time
    found = combine(stored, test)
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.n_members, expected.n_members)
    assert found.table.equals(expected.table)


def test_rows_that_are_chosen_are_read(rng, tmp_path):
    one = subject(1, rng)
    io.save(tmp_path / "scores.h5", one)
    stored = stored_scores(tmp_path / "scores.h5")
    assert stored.table.equals(one.table)
    assert len(stored) == 2
    for chosen in (slice(1, None), [1, 0], np.array([], dtype=int)):
        np.testing.assert_array_equal(stored.rows(chosen), one.rows(chosen))
    assert stored.load().table.equals(one.table)


def test_patterns_without_a_volume_are_told(tmp_path):
    io.save(tmp_path / "a.h5", Patterns(np.arange(12.0).reshape(6, 2) ** 2, pd.DataFrame({"condition": NAMES})))
    with pytest.raises(UserError, match=r"patterns in .*a\.h5 are not over voxels; a searchlight needs a volume"):
        stored_patterns(tmp_path / "a.h5")
