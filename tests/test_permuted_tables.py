"""Regions and times whose conditions are permuted, by hand; and parts that such tests are made of."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import squareform
from scipy.stats import spearmanr

from rsa.core import Patterns, RDMs, ScoreMap, Volume, on_voxels
from rsa.errors import UserError
from rsa.inference.contrasts import Contrast, known_contrasts
from rsa.inference.graph import voxel_graph
from rsa.inference.permutation import ConditionTest, Places, orders_of
from rsa.inference.regions import permuted_regions
from rsa.inference.tally import Correction
from rsa.measures import Products, comparison_measure, some_rows
from rsa.meeg.latencies import group_courses, latencies
from rsa.meeg.scores import measured_over_time, permuted_over_time
from rsa.neighbourhood import shared_spheres
from rsa.searchlight import RdmSettings

N = 7
NAMES = [f"c{i}" for i in range(N)]
MEASURE = partial(comparison_measure, comparison="spearman")


def references_of(rng, n=2):
    table = pd.DataFrame({"model": "net", "layer": [f"l{i}" for i in range(n)]})
    return RDMs(rng.random((n, 21)), NAMES, table)


def permuted_scores(references, rdms, n_permutations, seed):
    """Correlate RDMs with references as they are and in other orders: (1 + n_permutations, n_references, n_rdms)."""
    orders = [np.arange(N), *orders_of(N, n_permutations, (seed, 3)).values]
    rows = [[squareform(one[np.ix_(order, order)], checks=False) for one in references.squares] for order in orders]
    return np.array([[[spearmanr(row, rdm).statistic for rdm in rdms] for row in some] for some in rows])


def p_of(scores):
    return (scores >= scores[0] - 1e-6).mean(axis=0)


def p_of_highest(scores, axes):
    highest = scores.max(axis=axes, keepdims=True)
    return (highest >= scores[:1] - 1e-6).mean(axis=0)


@pytest.mark.parametrize("family", [("voxels",), ("voxels", "layers")])
def test_regions_are_permuted_together(family, rng):
    table = pd.DataFrame([(s, r) for s in ("b", "a") for r in ("V1", "IT", "V4")], columns=["subject", "region"])
    order = rng.permutation(6)
    brain = RDMs(rng.random((6, 21)), NAMES, table.iloc[order])
    references = references_of(rng)
    found = permuted_regions(brain, references, MEASURE, Correction(family=family), n_permutations=60, seed=2)
    regions = list(dict.fromkeys(brain.table["region"]))
    whose = [
        [brain.values[(brain.table["region"] == r) & (brain.table["subject"] == s)][0] for r in regions] for s in "ab"
    ]
    means = np.mean([permuted_scores(references, own, 60, 2) for own in whose], axis=0)  # (61, 2, 3)
    corrected = p_of_highest(means, (1, 2) if "layers" in family else (2,))
    for row, layer in enumerate(("l0", "l1")):
        own = found[found["layer"] == layer].set_index("region").loc[regions]
        np.testing.assert_allclose(own["p"], p_of(means)[row], atol=1e-6)
        np.testing.assert_allclose(own["p_corrected"], corrected[row], atol=1e-6)
    assert (found["q"] >= found["p"] - 1e-9).all()


def test_a_region_that_a_subject_lacks_has_no_p(rng):
    table = pd.DataFrame({"subject": ["a", "a", "b"], "region": ["V1", "IT", "V1"]})
    brain = RDMs(rng.random((3, 21)), NAMES, table)
    found = permuted_regions(brain, references_of(rng, 1), MEASURE, Correction(), n_permutations=20).set_index("region")
    assert np.isnan(found.loc["IT", ["p", "p_corrected", "q"]].astype(float)).all()
    assert found.loc["V1", "p"] == found.loc["V1", "p_corrected"], "a family of one"


def movies_of(rng, n_subjects=3, n_times=6, planted=None):
    """Make RDMs over time of subjects, from the third time on like a reference, if there is one."""
    values = rng.random((n_subjects, n_times, 21))
    if planted is not None:
        values[:, 2:] += 4 * planted
    labels = [(f"s{s}", t / 100) for s in range(n_subjects) for t in range(n_times)]
    return RDMs(values.reshape(-1, 21), NAMES, pd.DataFrame(labels, columns=["subject", "time_s"]))


def test_times_are_permuted_together_and_courses_have_their_p(rng):
    references = references_of(rng)
    movies = movies_of(rng)
    tested = permuted_over_time(movies, references, MEASURE, Correction(), n_permutations=80, seed=1)
    means = permuted_scores(references, movies.values, 80, 1).reshape(81, 2, 3, 6).mean(axis=2)
    np.testing.assert_allclose(tested.p.reshape(2, 6), p_of(means), atol=1e-6)
    np.testing.assert_allclose(tested.p_corrected.reshape(2, 6), p_of_highest(means, (2,)), atol=1e-6)
    table = measured_over_time(movies, references, MEASURE)
    courses = group_courses(table, permuted=tested)
    np.testing.assert_allclose(courses["p"].to_numpy().reshape(2, 6), p_of_highest(means, (2,)), atol=1e-6)
    np.testing.assert_allclose(courses["p_uncorrected"].to_numpy().reshape(2, 6), p_of(means), atol=1e-6)
    np.testing.assert_allclose(courses["mean"].to_numpy().reshape(2, 6), means[0], atol=1e-6)


@pytest.mark.parametrize("n_subjects", [1, 3])
def test_onsets_over_conditions_are_the_first_times_of_corrected_p(n_subjects, rng):
    references = references_of(rng)
    movies = movies_of(rng, n_subjects, planted=references.values[0])
    correction = Correction(family=("voxels", "times", "layers"))
    tested = permuted_over_time(movies, references, MEASURE, correction, n_permutations=200)
    table = measured_over_time(movies, references, MEASURE)
    found = latencies(table, permuted=tested, n_bootstrap=50).set_index("layer")
    assert found.loc["l0", "onset_s"] == pytest.approx(0.02)
    assert np.isnan(found.loc["l1", "onset_s"])
    p = tested.p_corrected.reshape(2, 6)
    peak = round(found.loc["l0", "peak_s"] * 100)
    assert found.loc["l0", "peak_p"] == p[0, peak] <= 0.05
    late = latencies(table, permuted=tested, n_bootstrap=50, from_s=0.03).set_index("layer")
    assert late.loc["l0", "onset_s"] == pytest.approx(0.03)
    if n_subjects > 1:
        assert found.loc["l0", "onset_found"] > 0.9
        assert found.loc["l1", "onset_found"] < 0.2
        assert found.loc["l0", "onset_lower_s"] <= 0.02 <= found.loc["l0", "onset_upper_s"]


def test_maps_of_every_second_voxel_are_drawn_and_averaged(rng):
    volumes = [Volume(np.ones((6, 6, 6), bool), np.eye(4)) for _ in range(2)]
    volumes[1].mask[0, 0] = False
    volumes[1] = Volume(volumes[1].mask, np.eye(4))
    table = pd.DataFrame({"condition": NAMES})
    subjects = [Patterns(rng.standard_normal((N, one.n_voxels)), table, one) for one in volumes]
    around = shared_spheres(volumes, 1.5, stride=2)
    places = Places.of_patterns(list(zip(subjects, around, strict=True)), NAMES, RdmSettings(min_voxels=3))
    measure = MEASURE(references_of(rng))
    how = {"n_permutations": 30, "seed": 0, "combine": "stelzer", "n_each": 5}
    scores, tested = ConditionTest(places, [measure, measure], Correction(), **how).result()
    known = np.isfinite(scores.values).all(axis=0)
    assert known.sum() == len(around[0])
    assert (np.isfinite(tested.p).all(axis=0) == known).all()
    counts = tested.exceedances[:, known]
    assert 0.2 < counts.mean() / 30 < 0.8, "unrelated scores are in the middle of those of permuted conditions"


# ------------------------------------------------------------------------------------------------ parts


def test_products_in_few_dimensions_are_the_same_products(rng):
    corners, weights = rng.standard_normal((3, 21)), rng.standard_normal((20, 3))
    rows = weights @ corners
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[4] = np.nan
    few = Products(lambda brain: brain, rows).compressed()
    assert few.rows.shape == (3, 21)
    brain = rng.standard_normal((5, 21))
    np.testing.assert_allclose(few.finish(few.rows @ brain.T), rows @ brain.T, atol=2e-6)
    full = Products(lambda brain: brain, rng.standard_normal((4, 21)))
    assert full.compressed() is full
    finished = Products(lambda brain: brain, rows, lambda found: found)
    assert finished.compressed() is finished, "what is no plain product stays as it is"


@pytest.mark.parametrize("finish", [None, lambda found: 2 * found])
def test_some_rows_of_a_measure_are_those_rows(finish, rng):
    references, brain = references_of(rng, 4), rng.random((3, 21))
    measure = MEASURE(references)
    if finish is not None:
        object.__setattr__(measure.products, "finish", finish)
    few = some_rows(measure, np.array([3, 1]))
    assert few.table["layer"].tolist() == ["l3", "l1"]
    np.testing.assert_array_equal(few.score(brain, brain), measure.score(brain, brain)[[3, 1]])

    def by_products(own):
        found = own.products.rows @ own.products.prepare(brain).T
        return found if own.products.finish is None else own.products.finish(found)

    np.testing.assert_allclose(by_products(few), by_products(measure)[[3, 1]])
    np.testing.assert_allclose(by_products(few), (1 if finish is None else 2) * few.score(brain, brain), atol=1e-6)


def test_scores_over_some_of_their_voxels(rng):
    mask = rng.random((4, 4, 4)) < 0.7
    own, table = Volume(mask, np.eye(4)), pd.DataFrame({"model": ["a", "b"]})
    numbers = np.arange(own.n_voxels)
    scores = ScoreMap(rng.random((2, own.n_voxels)), table, own, n_members=numbers, reason=numbers % 3)
    inner = mask.copy()
    inner[2:] = False
    found = on_voxels(scores, Volume(inner, np.eye(4)))
    np.testing.assert_array_equal(found.volume.unmask(found.values)[:, inner], own.unmask(scores.values)[:, inner])
    np.testing.assert_array_equal(found.n_members, numbers[inner[mask]])
    np.testing.assert_array_equal(found.reason, (numbers % 3)[inner[mask]])
    assert on_voxels(scores, Volume(mask, np.eye(4))) is scores
    with pytest.raises(UserError, match="The mask goes beyond the voxels of the scores"):
        on_voxels(scores, Volume(np.ones((4, 4, 4), bool), np.eye(4)))
    with pytest.raises(UserError, match="lie on different grids"):
        on_voxels(scores, Volume(inner, 2 * np.eye(4)))
    with pytest.raises(UserError, match="Scores of regions are not over voxels"):
        on_voxels(ScoreMap(np.ones((1, 1)), table[:1], regions=pd.DataFrame({"region": ["V1"]})), own)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_neighbours_are_a_stride_apart(connectivity, stride, rng):
    volume = Volume(rng.random((7, 5, 6)) < 0.6, np.eye(4))
    graph = voxel_graph(volume, connectivity, stride)
    farthest = {6: 1, 18: 2, 26: 3}[connectivity]
    steps = volume.indices[:, None] - volume.indices
    near = (np.isin(np.abs(steps), (0, stride))).all(axis=2) & (np.abs(steps).sum(axis=2) <= farthest * stride)
    np.fill_diagonal(near, False)
    for place, own in enumerate(near):
        np.testing.assert_array_equal(graph.indices[graph.indptr[place] : graph.indptr[place + 1]], np.flatnonzero(own))


def test_contrasts_of_an_analysis_are_those_of_references_that_it_has():
    contrasts = [Contrast(name="d", a="net", b="c"), Contrast(name="e", a="net l0", b="net l1")]
    table = pd.DataFrame({"model": ["net", "net", "c"], "layer": ["l0", "l1", ""]})
    assert known_contrasts(contrasts, table) == contrasts
    assert known_contrasts(contrasts, table[:2]) == contrasts[1:]
    assert known_contrasts(contrasts, pd.DataFrame({"model": ["unique:net"], "layer": [""]})) == []
    assert known_contrasts([Contrast(name="f", a="net", b="net l1")], table[1:]) == [], "the same on both sides"
