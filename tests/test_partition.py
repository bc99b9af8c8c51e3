"""Explained variance, alone and together, equals explicit regressions, one RDM and one sphere at a time."""

from functools import partial as partial_function
from itertools import combinations, product

import numpy as np
import oracles
import pandas as pd
import pytest
from hypothesis import given
from scipy.stats import pearsonr, rankdata
from strategies import quick, rdm_values, seeds

from rsa.core import Patterns, RDMs, Residuals, Volume
from rsa.errors import UserError
from rsa.neighbourhood import from_masks, spheres
from rsa.partition import (
    CORRELATIONS,
    commonality,
    commonality_measure,
    partial,
    partial_measure,
    partition,
    partition_measure,
    semipartial,
)
from rsa.searchlight import RdmSettings, RunSettings, compare, region_rdms, scan

N_PAIRS = 28
RADIUS_MM = 2.0
KINDS = ["partial", "semipartial", "commonality", "commonality of meeg", "partition"]


def scaled(values, comparison):
    return rankdata(values, axis=-1) if comparison == "spearman" else np.asarray(values, float)


def residual(y, predictors, comparison):
    """What a regression with an intercept leaves of y, on the scale of the comparison."""
    x = np.column_stack([np.ones(len(y)), *scaled(np.atleast_2d(predictors), comparison)])
    y = scaled(y, comparison)
    return y - x @ np.linalg.lstsq(x, y, rcond=1e-10)[0]


def r2(y, predictors, comparison):
    y_scaled = scaled(y, comparison)
    if not len(predictors):
        return 0.0
    return 1 - (residual(y, predictors, comparison) ** 2).sum() / ((y_scaled - y_scaled.mean()) ** 2).sum()


def related(rng, n_rdms, ties=False):
    """RDMs that share a part, so that no correlation is near 0; with many ties or none."""
    common = rng.standard_normal(N_PAIRS)
    values = rng.standard_normal((n_rdms, N_PAIRS)) + common * rng.uniform(-1, 1.5, (n_rdms, 1))
    return np.round(values) if ties else values


def every(names):
    return [some for size in range(1, len(names) + 1) for some in combinations(names, size)]


# ------------------------------------------------------------------------------ partial and semipartial


def test_values_that_were_checked_against_matlab():
    references = [[1, 2, 3, 4], [0, 0, 1, 1]]
    pearson = partial([[2, 4, 15, 20]], references, comparison="pearson")
    np.testing.assert_allclose(pearson.ravel(), [0.919145, 0.912871], atol=1e-6)
    spearman = partial([[2, 4, 20, 15]], references, comparison="spearman")
    np.testing.assert_allclose(spearman.ravel(), [0, 2 / 3], atol=1e-14)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("comparison", CORRELATIONS)
def test_partial_and_semipartial_correlate_the_residuals_of_regressions(rng, comparison, ties):
    brain, references, nuisance = (related(rng, n, ties) for n in (5, 4, 3))
    found = partial(brain, references, nuisance, comparison), semipartial(brain, references, nuisance, comparison)
    for row, reference in enumerate(references):
        of_reference = residual(reference, nuisance, comparison)
        for column, one in enumerate(brain):
            of_brain = residual(one, nuisance, comparison)
            assert found[0][row, column] == pytest.approx(pearsonr(of_brain, of_reference).statistic, abs=1e-12)
            expected = pearsonr(scaled(one, comparison), of_reference).statistic
            assert found[1][row, column] == pytest.approx(expected, abs=1e-12)
            more = r2(one, [*nuisance, reference], comparison) - r2(one, nuisance, comparison)
            assert found[1][row, column] ** 2 == pytest.approx(more, abs=1e-12)


@pytest.mark.parametrize("function", [partial, semipartial])
def test_without_a_nuisance_each_reference_is_controlled_for_the_others(rng, function):
    brain, references = related(rng, 3), related(rng, 4)
    found = function(brain, references)
    for row in range(4):
        others = np.delete(references, row, axis=0)
        np.testing.assert_allclose(found[[row]], function(brain, references[[row]], others), atol=1e-14)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(("ours", "theirs"), [("pearson", "partial"), ("spearman", "partial-spearman")])
def test_mne_rsa_has_the_same_partial_correlations(rng, ours, theirs):
    peer = pytest.importorskip("mne_rsa")
    brain, references = related(rng, 1), related(rng, 3, ties=True)
    expected = peer.rsa(brain[0], list(references), metric=theirs)
    np.testing.assert_allclose(partial(brain, references, comparison=ours)[:, 0], expected, atol=1e-10)


@pytest.mark.parametrize("comparison", CORRELATIONS)
@quick
@given(brain=rdm_values(8), references=rdm_values(8), seed=seeds)
def test_any_rdms_have_the_partial_correlations_of_regressions_and_constant_ones_none(
    comparison, brain, references, seed
):
    nuisance = related(np.random.default_rng(seed), 2, ties=True)
    found = partial(brain, references, nuisance, comparison)
    for (row, column), value in np.ndenumerate(found):
        if np.ptp(references[row]) == 0 or np.ptp(brain[column]) == 0:
            assert np.isnan(value)
        else:
            left = [residual(rdm, nuisance, comparison) for rdm in (brain[column], references[row])]
            assert value == pytest.approx(pearsonr(*left).statistic, abs=1e-7)


def test_a_nuisance_that_repeats_itself_counts_once(rng):
    brain, references, nuisance = (related(rng, n) for n in (2, 3, 2))
    repeated = np.vstack([nuisance, 3 * nuisance[:1] + 1, nuisance])
    for function in (partial, semipartial):
        once = function(brain, references, nuisance, "pearson")
        np.testing.assert_allclose(function(brain, references, repeated, "pearson"), once, atol=1e-10)


@pytest.mark.parametrize(("share", "is_defined"), [(1e-6, True), (1e-8, True), (1e-10, False)])
def test_what_a_nuisance_leaves_counts_down_to_a_billionth_of_the_variance(rng, share, is_defined):
    """Of references, of brains and of what is partitioned."""
    nuisance, other = np.linalg.qr(np.column_stack([np.ones(N_PAIRS), rng.standard_normal((N_PAIRS, 2))]))[0].T[1:]
    nearly = np.sqrt(1 - share) * nuisance + np.sqrt(share) * other  # all but this share is explained
    expected = [[1.0]] if is_defined else [[np.nan]]
    for function, brain, reference in (
        (partial, other, nearly),
        (partial, nearly, other),
        (semipartial, other, nearly),
    ):
        found = function(brain[None], reference[None], nuisance[None], "pearson")
        np.testing.assert_allclose(found, expected, atol=1e-5)
    both = partition(other[None], {"a": nuisance[None], "b": nearly[None]}, comparison="pearson")
    np.testing.assert_allclose(both["unique:b"], 1.0 if is_defined else 0.0, atol=1e-4)
    shared = commonality(other[None], nuisance[None], nearly[None], comparison="pearson")
    np.testing.assert_allclose(shared.ravel(), -1.0 if is_defined else 0.0, atol=1e-4)  # one suppresses the other


def test_what_a_nuisance_explains_wholly_or_is_constant_has_no_score_and_leaves_others_alone(rng):
    brain, references, nuisance = (related(rng, n) for n in (4, 3, 2))
    expected = partial(brain, references, nuisance, "pearson")
    brain[1], brain[2, 3] = nuisance[0] - 2 * nuisance[1], np.nan
    references[1] = nuisance.sum(axis=0)
    found = partial(brain, references, nuisance, "pearson")
    expected[1], expected[:, 1:3] = np.nan, np.nan
    np.testing.assert_array_equal(found, expected)
    references[0], brain[3] = 7.0, 0.3
    found = partial(brain, references, nuisance, "pearson")
    assert np.isfinite(found).tolist() == [[False] * 4, [False] * 4, [True, False, False, False]]


def test_references_that_are_the_same_have_nothing_of_their_own(rng):
    brain, references = related(rng, 2), related(rng, 2)
    twice = np.vstack([references, 2 * references[1] + 1])
    for function in (partial, semipartial):
        found = function(brain, twice, comparison="pearson")
        assert np.isnan(found[1:]).all()
        np.testing.assert_allclose(found[:1], function(brain, references[:1], references[1:], "pearson"), atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, 3.0])
def test_a_nuisance_that_can_explain_nothing_is_refused(rng, bad):
    nuisance = related(rng, 3)
    nuisance[1] = bad
    for function in (partial, semipartial):
        with pytest.raises(UserError, match=r"RDM 2 of 3 of the nuisance has NaN or is the same .* leave it out"):
            function(related(rng, 1), related(rng, 1), nuisance)
        with pytest.raises(UserError, match="RDM 2 of 3 of the references has NaN"):
            function(related(rng, 1), nuisance)
        with pytest.raises(UserError, match="nothing to control for: give a nuisance, or 2 references or more"):
            function(related(rng, 1), related(rng, 1))
    with pytest.raises(UserError, match="RDM 2 of 3 of the nuisance"):
        commonality(*(related(rng, 1) for _ in range(3)), nuisance)


def test_comparisons_that_explain_no_variance_are_refused(rng):
    with pytest.raises(UserError, match=r"Unknown comparison 'kendall_tau_a'.*Choose one of: spearman, pearson"):
        partial(related(rng, 1), related(rng, 2), comparison="kendall_tau_a")


# ------------------------------------------------------------------------------------------ commonality


@pytest.mark.parametrize("n_nuisance", [0, 2])
@pytest.mark.parametrize("comparison", CORRELATIONS)
@pytest.mark.parametrize("ties", [False, True])
def test_commonality_is_the_difference_of_explained_variances(rng, comparison, ties, n_nuisance):
    brain, a, b, nuisance = (related(rng, n, ties) for n in (3, 4, 2, n_nuisance))
    found = commonality(brain, a, b, nuisance if n_nuisance else None, comparison)
    assert found.shape == (4, 2, 3)
    for (i, j, k), value in np.ndenumerate(found):
        both, one, other = [*nuisance, a[i], b[j]], [*nuisance, a[i]], [*nuisance, b[j]]
        alone = [r2(brain[k], some, comparison) for some in (one, other, both, nuisance)]
        assert value == pytest.approx(alone[0] + alone[1] - alone[2] - alone[3], abs=1e-12)


def test_commonality_with_itself_is_all_that_it_explains(rng):
    brain, a = related(rng, 3), related(rng, 1)
    for same in (a, -2 * a + 1):
        found = commonality(brain, a, same, comparison="pearson")[0, 0]
        np.testing.assert_allclose(found, [r2(one, a, "pearson") for one in brain], atol=1e-12)


def test_commonality_is_zero_without_a_correlation_below_zero_with_suppression_and_nan_for_constants():
    a, b, c = np.array([[1, 1, -1, -1.0]]), np.array([[1, -1, 1, -1.0]]), np.array([[1, -1, -1, 1.0]])
    np.testing.assert_allclose(commonality(a + b + c, a, b, comparison="pearson"), [[[0]]], atol=1e-15)
    suppressed = commonality(a, a + b, b, comparison="pearson").item()  # b explains nothing, and with a + b all
    assert suppressed == pytest.approx(0.5 + 0 - 1)
    assert np.isnan(commonality(a, a * 0 + 1, b)).all()
    assert np.isnan(commonality(np.vstack([a, a * 0]), a, b)).tolist() == [[[False, True]]]


def test_it_matters_which_rdm_is_explained(rng):
    x, y, z = related(rng, 3)[:, None]
    assert abs(commonality(x, y, z).item() - commonality(y, x, z).item()) > 1e-3
    np.testing.assert_allclose(commonality(x, y, z), commonality(x, z, y), atol=1e-14)


# -------------------------------------------------------------------------------------------- partition


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("comparison", CORRELATIONS)
@pytest.mark.parametrize("n_predictors", [2, 3, 4])
def test_what_any_predictors_explain_is_the_sum_of_the_parts_in_which_they_are(rng, n_predictors, comparison, ties):
    """The definition of the parts, by sets; 2^n - 1 equations for as many parts."""
    brain = related(rng, 3, ties)
    predictors = {name: related(rng, size, ties) for name, size in zip("abcd", (1, 3, 1, 2), strict=True)}
    predictors = dict(list(predictors.items())[:n_predictors])
    parts = partition(brain, predictors, comparison=comparison)
    assert len(parts) == 2**n_predictors - 1
    for some in every(list(predictors)):
        touched = [value for name, value in parts.items() if set(some) & set(name.split(":")[1].split("+"))]
        together = np.vstack([predictors[name] for name in some])
        np.testing.assert_allclose(
            np.sum(touched, axis=0), [r2(one, together, comparison) for one in brain], atol=1e-12
        )


def test_parts_of_three_predictors_by_the_formulas_of_textbooks(rng):
    brain, rows = related(rng, 1), dict(zip("abc", related(rng, 3)[:, None], strict=True))
    of = {"".join(some): r2(brain[0], [rows[name][0] for name in some], "spearman") for some in every("abc")}
    expected = {
        "unique:a": of["abc"] - of["bc"],
        "unique:b": of["abc"] - of["ac"],
        "unique:c": of["abc"] - of["ab"],
        "shared:a+b": of["ac"] + of["bc"] - of["c"] - of["abc"],
        "shared:a+c": of["ab"] + of["bc"] - of["b"] - of["abc"],
        "shared:b+c": of["ab"] + of["ac"] - of["a"] - of["abc"],
        "shared:a+b+c": of["a"] + of["b"] + of["c"] - of["ab"] - of["ac"] - of["bc"] + of["abc"],
    }
    parts = partition(brain, rows)
    assert list(parts) == list(expected)
    for name, value in expected.items():
        assert parts[name].item() == pytest.approx(value, abs=1e-12)
    two = partition(brain, {"a": rows["a"], "b": rows["b"]})
    np.testing.assert_allclose(two["shared:a+b"], commonality(brain, rows["a"], rows["b"])[0, 0], atol=1e-12)


def test_parts_beyond_a_nuisance_are_what_regressions_add_to_it(rng):
    brain, nuisance = related(rng, 2), related(rng, 2)
    predictors = {"a": related(rng, 2), "b": related(rng, 1)}
    predictors["a"][1] = predictors["a"][0]
    parts = partition(brain, predictors, nuisance)
    for column, one in enumerate(brain):
        base = r2(one, nuisance, "spearman")
        alone = {name: r2(one, [*nuisance, *rows], "spearman") - base for name, rows in predictors.items()}
        both = r2(one, [*nuisance, *predictors["a"], *predictors["b"]], "spearman") - base
        assert parts["unique:a"][column] == pytest.approx(both - alone["b"], abs=1e-12)
        assert parts["shared:a+b"][column] == pytest.approx(alone["a"] + alone["b"] - both, abs=1e-12)


def test_predictors_that_are_the_same_share_all_and_undefined_brains_have_no_parts(rng):
    brain, a = related(rng, 3), related(rng, 1)
    brain[1], brain[2, 0] = 0.5, np.nan
    parts = partition(brain, {"a": a, "b": 2 * a}, comparison="pearson")
    assert parts["shared:a+b"][0] == pytest.approx(r2(brain[0], a, "pearson"))
    assert abs(parts["unique:a"][0]) < 1e-12
    assert all(np.isnan(values[1:]).all() for values in parts.values())


def test_partitions_that_cannot_be_are_refused(rng):
    brain, a = related(rng, 1), related(rng, 1)
    with pytest.raises(UserError, match="between 2 to 4 predictors, not 1: 'a'"):
        partition(brain, {"a": a})
    with pytest.raises(UserError, match="between 2 to 4 predictors, not 5"):
        partition(brain, dict.fromkeys("abcde", a))
    with pytest.raises(UserError, match="RDM 1 of 1 of the predictor 'b' has NaN or is the same"):
        partition(brain, {"a": a, "b": a * 0})
    with pytest.raises(UserError, match="nuisance explains all of the predictor 'a'; leave one of them out"):
        partition(brain, {"a": a, "b": related(rng, 1)}, a)


# ------------------------------------------------------------------------------------ in every sphere


def study(n_conditions=8, shape=(4, 5, 3), seed=0, runs=()):
    """Random patterns over a mask with holes, a voxel without data, and RDMs whose conditions come in another order."""
    rng = np.random.default_rng(seed)
    volume = Volume(rng.random(shape) < 0.9, np.diag([1.5, 2.0, 1.0, 1.0]))
    names = [f"img{number}" for number in rng.permutation(n_conditions) + 1]
    table = pd.DataFrame({"condition": names})
    if runs:
        table = pd.concat([table.assign(run=run) for run in runs], ignore_index=True)
    values = rng.standard_normal((len(table), volume.n_voxels))
    values[:, 7] = np.nan

    def stack(n_rdms, **columns):
        rdms = rng.random((n_rdms, N_PAIRS)) + rng.random(N_PAIRS)
        return RDMs(np.round(rdms, 1), rng.permutation(names), pd.DataFrame(columns, index=range(n_rdms)))

    references = stack(4, model=["net", "net", "gist", "semantic"], layer=["1", "2", "", ""])
    nuisance, movie = stack(2, model="n"), stack(5, model="meeg", time_s=[-0.1, 0.0, 0.1, 0.2, 0.3])
    return Patterns(values, table, volume), references, nuisance, movie


def measure_of(kind, references, nuisance=None, movie=None, comparison="spearman"):
    if kind.startswith("commonality"):
        explained = "meeg" if kind.endswith("meeg") else "fmri"
        return commonality_measure(references, movie, nuisance, explained=explained, comparison=comparison)
    if kind == "partition":
        rows_of = references.table.groupby("model", sort=False).indices
        predictors = {model: references.subset(rows) for model, rows in rows_of.items()}
        return partition_measure(predictors, nuisance, comparison=comparison)
    return partial_measure(references, nuisance, kind=kind, comparison=comparison)


def in_order(rdms, names):
    """Look up every pair of conditions by its two names."""
    square = {name: place for place, name in enumerate(rdms.conditions)}
    places = [square[name] for name in names]
    return rdms.squares[:, places][:, :, places][:, *np.triu_indices(len(names), 1)]


@pytest.mark.slow
@pytest.mark.parametrize("comparison", CORRELATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_maps_equal_regressions_in_one_sphere_at_a_time(kind, comparison):
    patterns, references, nuisance, movie = study()
    around = spheres(patterns.volume, RADIUS_MM)
    scores = scan(patterns, around, measure_of(kind, references, nuisance, movie, comparison))
    rows, control, frames = (in_order(rdms, patterns.conditions) for rdms in (references, nuisance, movie))
    fewer, smaller, left = oracles.reduced_mask(patterns.values, patterns.volume.mask)
    expected = np.full(scores.values.shape, np.nan)
    for centre, column in enumerate(np.flatnonzero(left)):
        members = oracles.sphere_members(smaller, patterns.volume.affine, centre, RADIUS_MM)
        if len(members) > 1:
            brain = oracles.rdm(fewer[:, members], "correlation")
            expected[:, column] = list(regressions(kind, brain, rows, control, frames, comparison))
    np.testing.assert_allclose(scores.values, expected, atol=1e-6)
    assert np.isfinite(expected).any(axis=0).sum() > 30
    np.testing.assert_array_equal(scores.reason > 0, np.isnan(expected).all(axis=0))
    assert scores.reason[7] == 2


def regressions(kind, brain, rows, control, frames, comparison):
    """Measure one sphere as the map does, in the order of its rows."""

    def beyond(*more, explained=brain):
        return r2(explained, [*control, *more], comparison) - r2(explained, control, comparison)

    if kind in ("partial", "semipartial"):
        of_brain = residual(brain, control, comparison) if kind == "partial" else scaled(brain, comparison)
        yield from (pearsonr(of_brain, residual(row, control, comparison)).statistic for row in rows)
    elif kind == "commonality":
        yield from (beyond(row) + beyond(frame) - beyond(row, frame) for row in rows for frame in frames)
    elif kind == "commonality of meeg":
        for row, frame in product(rows, frames):
            of_frame = partial_function(beyond, explained=frame)
            yield of_frame(row) + of_frame(brain) - of_frame(row, brain)
    else:
        net, gist, semantic = rows[:2], rows[2:3], rows[3:]
        full = beyond(*rows)
        yield from (full - beyond(*gist, *semantic), full - beyond(*net, *semantic), full - beyond(*net, *gist))
        yield beyond(*net, *semantic) + beyond(*gist, *semantic) - beyond(*semantic) - full
        yield beyond(*net, *gist) + beyond(*gist, *semantic) - beyond(*gist) - full
        yield beyond(*net, *gist) + beyond(*net, *semantic) - beyond(*net) - full
        pairs = beyond(*net, *gist) + beyond(*net, *semantic) + beyond(*gist, *semantic)
        yield beyond(*net) + beyond(*gist) + beyond(*semantic) - pairs + full


def test_tables_say_what_each_map_is():
    _, references, nuisance, movie = study()
    of = {kind: measure_of(kind, references, nuisance, movie).table for kind in KINDS}
    assert of["partial"].equals(references.table.assign(statistic="partial"))
    assert of["semipartial"]["statistic"].unique() == ["semipartial"]
    assert of["commonality"]["layer"].tolist() == ["1"] * 5 + ["2"] * 5 + [""] * 10
    assert of["commonality"]["time_s"].tolist() == [-0.1, 0.0, 0.1, 0.2, 0.3] * 4
    assert of["commonality of meeg"].equals(of["commonality"])
    parts = of["partition"]
    assert parts["model"].tolist() == [
        "unique:net",
        "unique:gist",
        "unique:semantic",
        "shared:net+gist",
        "shared:net+semantic",
        "shared:gist+semantic",
        "shared:net+gist+semantic",
    ]
    assert set(parts["statistic"]) == {"variance"}


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_threads_and_where_it_is_written_change_nothing(kind, tmp_path, monkeypatch):
    patterns, references, nuisance, movie = study()
    monkeypatch.setattr("rsa.spheres.RUN_BYTES", 8 * 8 * N_PAIRS)  # runs of 8 centres
    around, measure = spheres(patterns.volume, RADIUS_MM), measure_of(kind, references, nuisance, movie)
    one = scan(patterns, around, measure, run=RunSettings(chunk_size=10_000))
    path, done = tmp_path / "maps", []
    out = np.memmap(path, "float32", "w+", shape=one.values.shape)
    out[:] = 5
    other = scan(patterns, around, measure, out=out, run=RunSettings(n_threads=2, progress=done.append))
    np.testing.assert_allclose(other.values, one.values, atol=1e-7)
    np.testing.assert_array_equal(other.reason, one.reason)
    assert np.shares_memory(other.values, out)
    out.flush()
    np.testing.assert_array_equal(np.fromfile(path, "float32").reshape(one.values.shape), other.values)
    assert len(done) > 3
    assert sum(done) == len(around)


def test_spheres_that_are_centred_elsewhere_and_regions_come_out_in_their_places():
    patterns, references, nuisance, _ = study()
    volume = patterns.volume
    measure = partial_measure(references, nuisance)
    everywhere = scan(patterns, spheres(volume, RADIUS_MM), measure)
    some = scan(patterns, spheres(volume, RADIUS_MM, stride=2), measure)
    drawn = np.isfinite(some.values)
    assert 0 < drawn.sum() < np.isfinite(everywhere.values).sum()
    np.testing.assert_allclose(some.values[drawn], everywhere.values[drawn], atol=1e-6)
    regions = from_masks(volume, {"left": volume.indices[:, 0] < 2, "right": volume.indices[:, 0] >= 2})
    fits = scan(patterns, regions, measure)
    rows, control = (in_order(rdms, patterns.conditions) for rdms in (references, nuisance))
    np.testing.assert_allclose(fits.values, partial(region_rdms(patterns, regions).values, rows, control), atol=1e-6)


@pytest.mark.parametrize("shrinkage", [None, "ledoit_wolf"])
def test_distances_between_runs_and_whitening_are_those_of_the_searchlight(rng, shrinkage):
    patterns, references, _, _ = study(runs=("1", "2", "3"))
    samples = rng.standard_normal((40, patterns.n_features)) * rng.uniform(0.5, 2, patterns.n_features)
    residuals = Residuals(samples - samples.mean(axis=0), 38)
    patterns = Patterns(patterns.values, patterns.table, patterns.volume, residuals=residuals)
    around = spheres(patterns.volume, RADIUS_MM)
    made = RdmSettings("crossnobis", shrinkage)
    rdms = region_rdms(patterns, around, made).values
    found = scan(patterns, around, partial_measure(references), rdm=made).values
    np.testing.assert_allclose(found, partial(rdms, in_order(references, patterns.conditions)), atol=1e-6)


def test_the_parts_of_two_models_add_up_to_the_squared_scores_of_the_searchlight():
    patterns, references, _, _ = study()
    around, two = spheres(patterns.volume, RADIUS_MM), references.subset([2, 3])
    parts = scan(patterns, around, measure_of("partition", two)).values  # gist, semantic, both
    plain = compare(patterns, around, two).values
    np.testing.assert_allclose(parts[0] + parts[2], plain[0] ** 2, atol=1e-6)
    np.testing.assert_allclose(parts[1] + parts[2], plain[1] ** 2, atol=1e-6)


def test_measures_that_cannot_be_are_refused():
    _, references, nuisance, movie = study()
    with pytest.raises(UserError, match="Unknown kind 'unique'"):
        partial_measure(references, kind="unique")
    with pytest.raises(UserError, match="Commonality needs a movie: RDMs with a column 'time_s'"):
        commonality_measure(references, references)
    with pytest.raises(UserError, match="references without 'time_s'"):
        commonality_measure(movie, movie)
    with pytest.raises(UserError, match="Unknown RDM that is explained 'layers'"):
        commonality_measure(references, movie, explained="layers")
    twice = RDMs(movie.values, movie.conditions, movie.table.assign(time_s=[0, 1, 2, 2, 3]))
    with pytest.raises(UserError, match="one RDM for each time; select a subject, or average subjects"):
        commonality_measure(references, twice)
    with pytest.raises(UserError, match="not 1: 'net'"):
        partition_measure({"net": references.subset([0, 1])})
    other = RDMs(nuisance.values, [*nuisance.conditions[:-1], "img99"], nuisance.table)
    with pytest.raises(UserError, match=r"nuisance.*img99|img99.*nuisance"):
        partial_measure(references, other)


def test_maps_that_cannot_be_are_refused():
    patterns, references, _, _ = study()
    around, measure = spheres(patterns.volume, RADIUS_MM), partial_measure(references)
    shape = rf"\(4, {patterns.volume.n_voxels}\)"
    with pytest.raises(UserError, match=rf"float32 array of shape {shape}, not float64 of shape \(4, 3\)"):
        scan(patterns, around, measure, out=np.empty((4, 3)))
    with pytest.raises(UserError, match=rf"float32 array of shape {shape}, not list of shape \(\)"):
        scan(patterns, around, measure, out=[])
    names = [*references.conditions[:-1], "img99"]
    other = partial_measure(RDMs(references.values, names, references.table))
    with pytest.raises(UserError, match=r"share 7 of 9 conditions.*img99"):
        scan(patterns, around, other)


def test_several_delays_are_measured_one_by_one():
    patterns, references, nuisance, movie = study()
    around, measure = spheres(patterns.volume, RADIUS_MM), partial_measure(references, nuisance)
    delayed = pd.concat([patterns.table.assign(delay_s=delay_s) for delay_s in (0.0, 2.0)])
    later = np.where(np.isnan(patterns.values), np.nan, patterns.values**2)
    both = Patterns(np.vstack([patterns.values, later]), delayed, patterns.volume)
    found = scan(both, around, measure)
    assert found.table["time_s"].tolist() == [0.0, 2.0] * 4
    for number, values in enumerate((patterns.values, later)):
        one = scan(Patterns(values, patterns.table, patterns.volume), around, measure)
        np.testing.assert_array_equal(found.values[number::2], one.values)
    with pytest.raises(UserError, match="References over time need patterns of one response"):
        scan(both, around, commonality_measure(references, movie))
    with pytest.raises(UserError, match="several delays cannot be written to `out`"):
        scan(both, around, measure, out=np.empty(found.values.shape, np.float32))
