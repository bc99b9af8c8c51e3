"""Permutations of conditions: counted as they come, but as if every permuted map had been kept."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import squareform

from rsa.comparisons import COMPARISONS
from rsa.core import Patterns, RDMs, Volume, align, concatenate
from rsa.errors import UserError
from rsa.inference.graph import voxel_graph
from rsa.inference.permutation import (
    MAXIMUM_ONLY,
    ConditionTest,
    Places,
    orders_of,
    permutation_test,
    smallest_p_of_orders,
)
from rsa.inference.tally import Correction
from rsa.measures import comparison_measure
from rsa.neighbourhood import from_masks, shared_spheres, spheres
from rsa.partition import commonality_measure, partial_measure, partition_measure
from rsa.searchlight import RdmSettings, RunSettings, compare, region_rdms, scan
from rsa.weighted import weighted_measure

N = 9


def study(seed=0, planted=0.0):
    """Random patterns; the first reference is the RDM of a code that half of the voxels carry, if it is planted."""
    rng = np.random.default_rng(seed)
    volume = Volume(np.ones((6, 5, 4)), np.eye(4))
    names = [f"img{i}" for i in range(N)]
    code = rng.standard_normal((N, 30))
    values = rng.standard_normal((N, volume.n_voxels))
    values[:, volume.indices[:, 0] < 3] += planted * code @ rng.standard_normal((30, 60))
    distances = np.stack([1 - np.corrcoef(code)[np.triu_indices(N, 1)], rng.integers(0, 3, N * (N - 1) // 2)])
    references = RDMs(distances, names, pd.DataFrame({"model": "net", "layer": ["code", "ties"]}))
    return Patterns(values, pd.DataFrame({"condition": names}), volume), references


def others(n, seed=1, **labels):
    """Random RDMs over the same conditions."""
    values = np.random.default_rng(seed).standard_normal((n, N * (N - 1) // 2)).cumsum(axis=0)
    table = pd.DataFrame({"model": "other", "layer": [f"l{i}" for i in range(n)]}).assign(**labels)
    return RDMs(values, [f"img{i}" for i in range(N)], table)


def permuted(references, order):
    """Give every condition the row and column of another."""
    matrices = [squareform(row)[np.ix_(order, order)] for row in references.values]
    return RDMs(np.stack([squareform(rdm) for rdm in matrices]), references.conditions, references.table)


def run_test(subjects, measures, correction=MAXIMUM_ONLY, **how):
    around = shared_spheres([one.volume for one in subjects], 2)
    places = Places.of_patterns(list(zip(subjects, around, strict=True)), measures[0].conditions, RdmSettings())
    return ConditionTest(places, measures, correction, **how).result()


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_equals_the_maps_of_every_permuted_reference(comparison):
    patterns, references = study()
    around = spheres(patterns.volume, 2)
    scores, test = permutation_test(patterns, around, references, n_permutations=40, seed=3, comparison=comparison)
    null = np.stack(
        [
            compare(patterns, around, permuted(references, order), comparison=comparison).values
            for order in orders_of(N, 40, (3, 3)).values
        ]
    )
    observed = compare(patterns, around, references, comparison=comparison)
    np.testing.assert_array_equal(scores.values, observed.values)
    np.testing.assert_allclose(test.maxima, null.max(axis=2), atol=1e-6)
    differences = null - observed.values
    assert (test.exceedances >= (differences >= 0).sum(axis=0)).all()
    assert (test.exceedances <= (differences >= -2e-6).sum(axis=0)).all()
    assert test.exceedances.max() > test.exceedances.min()
    everything = np.concatenate([null, observed.values[None]])
    np.testing.assert_allclose(test.mean, everything.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(test.deviation, everything.std(axis=0), atol=1e-6)
    np.testing.assert_allclose(test.z, (observed.values - test.mean) / test.deviation, atol=1e-4)


def test_threads_chunks_and_memory_change_nothing(monkeypatch):
    patterns, references = study()
    around, graph = spheres(patterns.volume, 2), voxel_graph(patterns.volume)
    how = {"n_permutations": 1100, "seed": 1, "correction": Correction(enhance="tfce", graph=graph)}
    _, one = permutation_test(patterns, around, references, **how)
    done = []
    run = RunSettings(n_threads=2, chunk_size=7, progress=done.append)
    monkeypatch.setattr("rsa.inference.permutation.BLOCK_BYTES", 1)
    _, other = permutation_test(patterns, around, references, run=run, **how)
    assert sum(done) == 3 * 120 + 2 * 1100  # RDMs are built again for each block of 512 orders; maps are enhanced
    for name in ("exceedances", "maxima", "highest", "enhanced"):
        np.testing.assert_array_equal(getattr(other, name), getattr(one, name))
    _, another = permutation_test(patterns, around, references, **(how | {"seed": 2}))
    assert (another.exceedances != one.exceedances).any()


def measures_of(references):
    """Measures of every kind, with the same conditions."""
    more, movie = others(2), others(4, seed=2, model="meeg", layer="", time_s=np.arange(4) / 10)
    return {
        "partial": partial_measure(references, more),
        "each given the others": partial_measure(concatenate([references, more])),
        "semipartial": partial_measure(references, more, kind="semipartial"),
        "partition": partition_measure({"a": references, "b": more}, movie.subset([0])),
        "commonality": commonality_measure(references, movie, more),
        "commonality of M/EEG": commonality_measure(references, movie, more, explained="meeg"),
        "weighted": weighted_measure({"net": references, "other": more}, n_folds=2),
        "kendall_tau_a": comparison_measure(references, "kendall_tau_a"),
    }


@pytest.mark.parametrize("name", measures_of(study()[1]))
def test_a_permutation_repeats_the_whole_fit(name):
    """Permuted brain RDMs are measured anew: by products where there are some, and else by the measure itself."""
    (patterns, references), n = study(), 6
    measure = measures_of(references)[name]
    _, test = run_test([patterns], [measure], n_permutations=n, seed=0)
    rdms = region_rdms(patterns, spheres(patterns.volume, 2))
    null = []
    for order in orders_of(N, n, (0, 3)).values:
        inverse = [rdms.conditions[place] for place in np.argsort(order)]
        back = replace(rdms.reordered(inverse), conditions=rdms.conditions).values
        null.append(measure.score(back, back))
    np.testing.assert_allclose(test.mean * (n + 1) - test.statistic, np.sum(null, axis=0), atol=2e-6)
    assert (measure.products is None) == (name in ("commonality of M/EEG", "weighted", "kendall_tau_a"))


def test_subjects_share_their_orders_and_are_averaged():
    """As the mean of the permuted maps of each, whether references are the same for all or each subject's own."""
    subjects = [study(seed)[0] for seed in (1, 2, 3)]
    own = [study(seed)[1] for seed in (1, 2, 3)]
    for references in ([own[0]] * 3, own):
        shared = comparison_measure(references[0], "spearman")
        measures = (
            [shared] * 3 if references[0] is references[1] else [comparison_measure(one, "spearman") for one in own]
        )
        scores, test = run_test(subjects, measures, n_permutations=20, seed=5)
        each = [
            [
                compare(one, spheres(one.volume, 2), permuted(of, order)).values
                for order in orders_of(N, 20, (5, 3)).values
            ]
            for one, of in zip(subjects, references, strict=True)
        ]
        observed = np.mean(
            [compare(one, spheres(one.volume, 2), of).values for one, of in zip(subjects, references, strict=True)],
            axis=0,
        )
        np.testing.assert_allclose(scores.values, observed, atol=1e-6)
        np.testing.assert_allclose(test.maxima, np.mean(each, axis=0).max(axis=2), atol=1e-6)
        assert (scores.n_members == 3).all()


def test_orders_of_subjects_are_combined_at_random():
    """Means of one permuted map of each subject, as if all had been kept."""
    subjects, references = [study(seed)[0] for seed in (1, 2)], study(1)[1]
    measure = comparison_measure(references, "spearman")
    graph = voxel_graph(subjects[0].volume)
    how = {"n_permutations": 50, "seed": 5, "combine": "stelzer", "n_each": 7}
    _, test = run_test(subjects, [measure] * 2, Correction(enhance="tfce", graph=graph), **how)
    maps = [
        np.stack(
            [
                compare(one, spheres(one.volume, 2), permuted(references, order)).values
                for order in orders_of(N, 7, (5, 4, number)).values
            ]
        )
        for number, one in enumerate(subjects)
    ]
    drawn = np.random.default_rng((5, 5)).integers(7, size=(50, 2))
    means = (maps[0][drawn[:, 0]] + maps[1][drawn[:, 1]]) / 2
    np.testing.assert_allclose(test.maxima, means.max(axis=2), atol=1e-6)
    assert len(np.unique(test.maxima[:, 0])) > 7
    assert not test.is_exact


def test_masks_that_differ_are_tested_where_they_overlap():
    (a, references), (b, _) = study(1), study(2)
    mask = np.ones((6, 5, 4), bool)
    mask[0] = False
    b = Patterns(b.values[:, mask.ravel()], b.table, Volume(mask, np.eye(4)))
    measure = comparison_measure(references, "spearman")
    scores, test = run_test([a, b], [measure] * 2, n_permutations=19, seed=0)
    assert scores.volume.n_voxels == 100
    each = [compare(one, spheres(one.volume, 2), references).values for one in (a, b)]
    np.testing.assert_allclose(scores.values, (each[0][:, mask.ravel()] + each[1]) / 2, atol=1e-6)
    assert np.isfinite(test.p).all()


def test_delays_and_regions_are_tested_like_any():
    (patterns, references), (later, _) = study(1), study(2)
    names = patterns.table["condition"].tolist()
    table = pd.DataFrame({"condition": names * 2, "delay_s": [2.0] * N + [4.0] * N})
    both = Patterns(np.concatenate([patterns.values, later.values]), table, patterns.volume)
    measure = comparison_measure(references, "spearman")
    scores, test = run_test([both], [measure], n_permutations=30, seed=0)
    assert scores.table["time_s"].tolist() == [2.0, 4.0, 2.0, 4.0]
    assert test.families.of_rows.tolist() == [0, 0, 1, 1]
    for row, one in ((0, patterns), (1, later)):
        _, alone = run_test([one], [measure], n_permutations=30, seed=0)
        np.testing.assert_array_equal(test.exceedances[row], alone.exceedances[0])
    whole = from_masks(patterns.volume, {"left": patterns.volume.mask, "all": np.ones((6, 5, 4), bool)})
    rdms = region_rdms(patterns, whole).values
    places = Places.of_rdms(rdms[None, None], regions=whole.regions)
    _, ready = ConditionTest(places, [measure], Correction(), n_permutations=30, seed=0).result()
    _, built = permutation_test(patterns, whole, references, n_permutations=30, seed=0)
    np.testing.assert_array_equal(ready.p, built.p)


def test_few_orders_are_all_taken():
    orders = orders_of(4, 23, seed=0)
    assert orders.is_exact
    assert len({tuple(order) for order in orders.values}) == 23
    assert not orders_of(4, 22, seed=0).is_exact
    assert smallest_p_of_orders(4, 23) == smallest_p_of_orders(4, 10**6) == 1 / 24
    assert smallest_p_of_orders(4, 9) == 0.1


def test_references_at_many_times_are_permuted_in_few_dimensions():
    """RDMs that move in a plane are multiplied by two rows, and score the same."""
    patterns, _ = study()
    corners = others(2).values
    corners -= corners.mean(axis=1, keepdims=True)
    angles = np.linspace(0, 3, 30)
    values = np.cos(angles)[:, None] * corners[0] + np.sin(angles)[:, None] * corners[1]
    table = pd.DataFrame({"model": "meeg", "layer": "", "time_s": angles})
    references = RDMs(values, [f"img{i}" for i in range(N)], table)
    measure = comparison_measure(references, "pearson")
    few = measure.products.compressed()
    assert few.rows.shape[0] == 2
    _, test = run_test([patterns], [measure], n_permutations=20, seed=0)
    plain = replace(measure, products=None)
    _, slow = run_test([patterns], [plain], n_permutations=20, seed=0)
    np.testing.assert_allclose(test.maxima, slow.maxima, atol=1e-6)
    np.testing.assert_allclose(test.deviation, slow.deviation, atol=1e-6)
    assert comparison_measure(others(5), "spearman").products.compressed().rows.shape[0] == 5


@pytest.mark.parametrize("enhance", [None, "tfce", "cluster_mass", "cluster_size"])
def test_what_is_planted_is_found_where_it_is(enhance):
    patterns, references = study(planted=3.0)
    correction = Correction(enhance=enhance, graph=voxel_graph(patterns.volume))
    around = align(patterns.conditions, references)
    _, test = run_test(
        [patterns], [comparison_measure(around, "spearman")], correction, n_permutations=199, seed=0, cluster_p=0.01
    )
    inside, outside = (patterns.volume.indices[:, 0] == place for place in (0, 5))
    assert test.is_significant[0, inside].any()
    assert test.is_significant[0, outside].mean() < 0.1
    assert (test.p <= test.p_max).all()
    assert (test.p <= test.q).all()


def test_without_signal_p_values_are_uniform():
    """Over 40 brains of one region each: the mean of a uniform variable within 4 standard errors."""
    p_values = []
    for seed in range(40):
        patterns, references = study(seed=seed)
        whole = from_masks(patterns.volume, {"all": np.ones(120, bool)})
        scores, test = permutation_test(patterns, whole, references, n_permutations=99, seed=seed)
        assert scores.regions["region"].tolist() == ["all"]
        p_values.append(test.p[0, 0])
    assert abs(np.mean(p_values) - 0.5) < 4 * np.sqrt(1 / 12 / 40)
    assert min(p_values) >= 1 / 100


def test_a_constant_reference_has_no_p():
    patterns, references = study()
    values = references.values.copy()
    values[1] = 1.0
    _, test = permutation_test(
        patterns, spheres(patterns.volume, 2), replace(references, values=values), n_permutations=19, seed=0
    )
    assert np.isfinite(test.p[0]).all()
    for p in (test.p, test.p_max, test.q, test.z):
        assert np.isnan(p[1]).all()


def test_what_cannot_be_tested_is_said():
    patterns, references = study()
    measure = comparison_measure(references, "spearman")
    with pytest.raises(UserError, match="needs 1 permutation at least, not 0"):
        permutation_test(patterns, spheres(patterns.volume, 2), references, n_permutations=0, seed=0)
    with pytest.raises(UserError, match="2 subjects need a measure each, not 1"):
        run_test([patterns] * 2, [measure], n_permutations=9, seed=0)
    with pytest.raises(UserError, match="not measured by the same references"):
        run_test([patterns] * 2, [measure, comparison_measure(others(3), "spearman")], n_permutations=9, seed=0)
    half = replace(measure, second="other_half")
    with pytest.raises(UserError, match="reliability of halves is not tested"):
        run_test([patterns], [half], n_permutations=9, seed=0)
    scores = scan(patterns, spheres(patterns.volume, 2), measure)
    assert len(scores) == 2
