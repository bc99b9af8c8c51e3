"""Less room means fewer threads and smaller blocks, and the same numbers, bit by bit."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_ceiling import NAMES, subjects_of

from rsa.core import RDMs
from rsa.inference import permutation
from rsa.inference.graph import voxel_graph
from rsa.inference.permutation import ConditionTest, Places
from rsa.inference.tally import Correction
from rsa.measures import comparison_measure
from rsa.neighbourhood import shared_spheres
from rsa.searchlight import RdmSettings, RunSettings, bytes_of_thread, compare


@pytest.fixture
def study(rng):
    subjects = [replace(one, residuals=None) for one in subjects_of(2)]
    table = {"model": "net", "layer": ["a", "b", "c"]}
    references = RDMs(rng.random((3, 15)), NAMES, pd.DataFrame(table))
    volumes = [one.volume for one in subjects]
    return subjects, shared_spheres(volumes, 4.0), references


def test_threads_are_as_many_as_fit():
    run = RunSettings(n_threads=4, room_bytes=1000)
    assert [run.fitting(size).n_threads for size in (1, 250, 251, 400, 1000, 5000)] == [4, 4, 3, 2, 1, 1]
    assert run.fitting(250, held_bytes=500).n_threads == 2
    assert run.fitting(250, held_bytes=5000).n_threads == 1
    assert replace(run, room_bytes=None).fitting(5000).n_threads == 4


def test_a_thread_of_many_conditions_or_references_holds_more():
    assert bytes_of_thread(499_500, 8, 10_000) > 40 * bytes_of_thread(15, 8, 10_000)
    assert bytes_of_thread(4186, 1000, 10_000) > 4 * bytes_of_thread(4186, 8, 10_000)
    assert bytes_of_thread(4186, 8, 1) < bytes_of_thread(4186, 8, 10_000)


def test_a_searchlight_in_little_room_is_the_same(study):
    subjects, around, references = study
    found = [
        compare(subjects[0], around[0], references, min_voxels=4, n_threads=3, room_bytes=room) for room in (None, 1)
    ]
    np.testing.assert_array_equal(found[0].values, found[1].values)


@pytest.mark.parametrize("enhance", [None, "cluster_mass", "tfce"])
@pytest.mark.parametrize("combine", ["same_order", "stelzer"])
def test_permutations_in_little_room_are_the_same(enhance, combine, study, monkeypatch):
    subjects, around, references = study
    monkeypatch.setattr(permutation, "PERMUTED", 12)  # 4 orders in one product
    measures = [comparison_measure(references, "spearman")] * 2
    places = Places.of_patterns(list(zip(subjects, around, strict=True)), NAMES, RdmSettings(min_voxels=4))
    graph = None if enhance is None else voxel_graph(places.space, 26)
    correction = Correction(enhance=enhance, graph=graph)
    test = ConditionTest(places, measures, correction, n_permutations=40, seed=1, combine=combine, n_each=10)
    blocks = [len(test._blocks(room)) for room in (None, 1)]
    assert blocks == ([1, 10] if enhance and combine == "same_order" else [1, 1])
    results = []
    for room in (None, 1):
        done = []
        scores, tested = test.result(RunSettings(n_threads=2, room_bytes=room, progress=done.append))
        assert sum(done) == test.n_steps(room)
        results.append([scores.values, *(values for _, values in tested.maps(scores.values))])
    for whole, part in zip(*results, strict=True):
        np.testing.assert_array_equal(whole, part)
