"""Averages, noise ceilings and fits of RDMs, by hand and by their definition."""

from itertools import product

import numpy as np
import oracles
import pandas as pd
import pytest
from hypothesis import given, settings
from scipy.stats import pearsonr, rankdata, spearmanr
from strategies import quick, seeds

from rsa.comparisons import COMPARISONS, compare_vectors
from rsa.core import Patterns, RDMs, Volume
from rsa.distances import CROSS_VALIDATED, DISTANCES, rdm_vectors
from rsa.errors import UserError
from rsa.meeg.timecourse import MOVIE_DISTANCES
from rsa.neighbourhood import from_masks
from rsa.rdm import (
    MEEG,
    average,
    average_over_subjects,
    chance_is_0,
    compare_stacks,
    noise_ceiling,
    region_fits,
    require_chance_of_0,
)
from rsa.searchlight import RdmSettings, compare
from rsa.simulation.draw import patterns_like

NAMES = ["img1", "img2", "img10", "img20"]


def stack(values, names=NAMES, **columns):
    return RDMs(values, names, pd.DataFrame(columns or {"subject": range(len(values))}))


@pytest.mark.parametrize("distance", [*DISTANCES, *CROSS_VALIDATED])
@pytest.mark.parametrize("comparison", COMPARISONS)
def test_noise_scores_0_where_chance_is_0_and_above_it_elsewhere(distance, comparison):
    """200 regions of noise, 8 conditions in 4 runs: the mean score is within 3 standard errors of 0, or far above."""
    rng, n_regions, n_voxels = np.random.default_rng(11), 200, 12
    volume = Volume(np.ones((n_regions, n_voxels, 1)), np.eye(4))
    names = [f"c{i}" for i in range(8)]
    table = pd.DataFrame({"condition": names * 4, "run": np.repeat(["1", "2", "3", "4"], 8)})
    patterns = Patterns(rng.standard_normal((32, n_regions * n_voxels)), table, volume)
    masks = {f"r{i}": np.arange(n_regions)[:, None, None] == np.full((1, n_voxels, 1), i) for i in range(n_regions)}
    reference = stack(np.random.default_rng(12).uniform(0.5, 1, (1, 28)), names, model=["net"], layer=["a"])
    scores = compare(
        patterns, from_masks(volume, masks), reference, comparison=comparison, rdm=RdmSettings(distance=distance)
    ).values
    mean, error = scores.mean(), scores.std() / np.sqrt(n_regions)
    if chance_is_0(comparison, distance):
        assert abs(mean) < 3 * error
    else:
        assert comparison == "cosine"
        assert mean > 0.3


def test_what_is_tested_against_0():
    assert [name for name in COMPARISONS if not chance_is_0(name, "correlation")] == ["cosine"]
    assert [name for name in MOVIE_DISTANCES if chance_is_0("cosine", name)] == ["crossnobis"]
    assert chance_is_0("partial", "correlation")  # has a chance level of its own
    require_chance_of_0(["spearman", "partial"], "unknown", "It")
    with pytest.raises(UserError, match="It reads scores against 0, and by cosine unrelated RDMs score above 0 unless"):
        require_chance_of_0(["spearman", "cosine"], "unknown", "It")


def test_noise_ceiling_of_three_subjects_by_hand():
    """Ranks 123456, 213456, 123465: the average of all keeps 1 to 6 with ties (4/3, 5/3, 3, 4, 16/3, 17/3)."""
    subjects = stack([[1.0, 2, 3, 4, 5, 6], [2.0, 1, 3, 4, 5, 6], [1.0, 2, 3, 4, 6, 5]])
    one_swap, two_swaps = 1 - 6 * 2 / 210, 1 - 6 * 4 / 210
    lower, upper = noise_ceiling(subjects, "spearman")
    assert upper == pytest.approx((1 + one_swap + one_swap) / 3)
    # others of the first: (1.5, 1.5, 3, 4, 5.5, 5.5); of the second: 1, 2, 3, 4, 5.5, 5.5; of the third: 1.5, 1.5, 3...
    tied = [
        spearmanr([1, 2, 3, 4, 5, 6], [1.5, 1.5, 3, 4, 5.5, 5.5]).statistic,
        spearmanr([2, 1, 3, 4, 5, 6], [1, 2, 3, 4, 5.5, 5.5]).statistic,
        spearmanr([1, 2, 3, 4, 6, 5], [1.5, 1.5, 3, 4, 5, 6]).statistic,
    ]
    assert lower == pytest.approx(np.mean(tied))
    assert two_swaps < lower < upper


@pytest.mark.parametrize(
    ("comparison", "scale"),
    [
        ("spearman", rankdata),
        ("kendall_tau_a", rankdata),
        ("rho_a", rankdata),
        ("pearson", lambda row: (row - row.mean()) / row.std()),
        ("cosine", lambda row: row / np.sqrt(row @ row)),
    ],
)
@settings(quick, max_examples=8)
@given(seed=seeds)
def test_noise_ceiling_leaves_one_subject_out(comparison, scale, seed):
    values = np.random.default_rng(seed).random((4, 6)) * [[1], [5], [0.2], [3]]
    scaled = np.array([scale(row) for row in values])
    lower = [oracles.compare(values[s], np.delete(scaled, s, 0).mean(axis=0), comparison) for s in range(4)]
    upper = [oracles.compare(values[s], scaled.mean(axis=0), comparison) for s in range(4)]
    found = noise_ceiling(stack(values), comparison)
    assert found[0] == pytest.approx(np.mean(lower))
    if comparison == "kendall_tau_a":
        assert found[1] >= np.mean(upper) - 1e-12  # see `test_the_upper_bound_of_tau_a_is_that_of_majorities`
    else:
        assert found[1] == pytest.approx(np.mean(upper))
    np.testing.assert_allclose(average(stack(values), comparison), scaled.mean(axis=0))


@pytest.mark.parametrize("comparison", ["spearman", "pearson", "cosine", "rho_a"])
def test_no_model_beats_the_upper_bound(comparison, rng):
    values = rng.random(6) + rng.random((5, 6))
    best = noise_ceiling(stack(values), comparison)[1]
    models = np.vstack([rng.random((500, 6)), values])
    assert compare_vectors(models, values, COMPARISONS[comparison]).mean(axis=1).max() <= best + 1e-12


ORDERS = np.array([order for order in product(range(6), repeat=6) if set(order) == set(range(max(order) + 1))][1:])
"""All ways to order the 6 pairs of 4 conditions, with ties."""


@pytest.mark.parametrize(("comparison", "models"), [("kendall_tau_a", ORDERS), ("rho_a", ORDERS), ("spearman", None)])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_no_order_of_the_pairs_beats_the_upper_bound_of_rank_comparisons(comparison, models, spread):
    """By spearman, those without ties; by tau-a, many beat the average of ranks."""
    rng = np.random.default_rng(13)
    orders = ORDERS[ORDERS.max(axis=1) == 5] if models is None else models
    for n_subjects in (2, 3, 4, 5, 7):
        values = spread * rng.standard_normal(6) + rng.standard_normal((n_subjects, 6))
        values = np.round(values, 1) if n_subjects > 3 else values  # some ties
        best = compare_vectors(orders, values, COMPARISONS[comparison]).mean(axis=1).max()
        assert noise_ceiling(stack(values), comparison)[1] >= best - 1e-12


def test_the_upper_bound_of_tau_a_is_that_of_majorities(rng):
    values = np.round(rng.standard_normal((5, 15)) + 2 * rng.standard_normal(15), 1)
    first, second = np.triu_indices(15, 1)
    majorities = np.abs(np.sign(values[:, first] - values[:, second]).mean(axis=0))
    subjects = stack(values, [f"c{i}" for i in range(6)])
    lower, upper = noise_ceiling(subjects, "kendall_tau_a")
    assert upper == pytest.approx(majorities.mean())
    borda = compare_vectors(average(subjects, "kendall_tau_a"), values, COMPARISONS["kendall_tau_a"]).mean()
    assert lower < borda <= upper
    for broken in (0, np.nan):
        values[2] = broken
        assert np.isnan(noise_ceiling(stack(values, subjects.conditions), "kendall_tau_a")).all()


def test_noise_ceiling_of_identical_subjects_is_1_and_of_one_subject_undefined(rng):
    values = np.repeat(rng.random((1, 6)), 3, axis=0)
    assert noise_ceiling(stack(values), "spearman") == (1.0, 1.0)
    assert np.isnan(noise_ceiling(stack(values[:1]), "spearman")).all()


def test_stacks_meet_by_label(rng):
    brain = stack(rng.random((2, 6)), time_s=[0.1, 0.2])
    models = stack(rng.random((3, 6)), model="net", layer=["a", "b", "c"])
    expected = compare_stacks(brain, models, "pearson")
    shuffled = compare_stacks(brain, models.reordered(sorted(NAMES)), "pearson")
    pd.testing.assert_frame_equal(shuffled, expected)
    assert list(expected) == ["model", "layer", "time_s", "statistic", "score"]
    assert expected["time_s"].tolist() == [0.1] * 3 + [0.2] * 3
    assert expected["layer"].tolist() == ["a", "b", "c"] * 2
    assert expected["score"][4] == pytest.approx(pearsonr(brain.values[1], models.values[1]).statistic)
    with pytest.raises(
        UserError, match="brain RDMs and reference RDMs share 3 of 4 conditions; missing in reference RDMs: 'img10'"
    ):
        compare_stacks(brain, models.reordered(["img1", "img2", "img20"]), "pearson")


def test_labels_of_both_stacks_are_kept(rng):
    first = stack(rng.random((2, 6)), model="resnet", layer=["early", "late"])
    second = stack(rng.random((3, 6)), model="alexnet", layer=["a", "b", "c"])
    table = compare_stacks(first, second, "pearson")
    assert table["layer"].tolist() == ["a", "b", "c"] * 2
    assert table["brain_layer"].tolist() == ["early"] * 3 + ["late"] * 3
    assert set(table["model"]) == {"alexnet"}
    assert set(table["brain_model"]) == {"resnet"}
    assert table["score"][5] == pytest.approx(pearsonr(first.values[1], second.values[2]).statistic)


def test_labels_that_are_called_as_what_is_measured_are_kept(rng):
    """Tables of earlier comparisons have them."""
    first = stack(rng.random((2, 6)), statistic="spearman", score=[0.25, 0.5])
    table = compare_stacks(first, stack(rng.random((1, 6)), model=["alexnet"]), "pearson")
    assert table["brain_score"].tolist() == [0.25, 0.5]
    assert set(table["brain_statistic"]) == {"spearman"}
    assert set(table["statistic"]) == {"pearson"}


def test_references_over_time_are_compared_at_each_of_their_times(rng):
    brain = stack(rng.random((2, 6)), subject=["01", "02"], region="V1")
    models = stack(rng.random((3, 6)), model=["net", "meeg", "meeg"], layer="", time_s=[np.nan, 0.2, 0.1])
    fits = region_fits(brain, models, "spearman").set_index(["subject", "model"])
    assert fits.loc[("02", "meeg"), "time_s"].tolist() == [0.2, 0.1]
    expected = [spearmanr(brain.values[1], models.values[row]).statistic for row in (1, 2)]
    assert fits.loc[("02", "meeg"), "score"].tolist() == pytest.approx(expected)
    assert np.isnan(fits.loc[("01", "net"), "time_s"]).all()
    timed = stack(brain.values, subject="01", region="V1", time_s=[2.0, 4.0])
    with pytest.raises(UserError, match="References over time need brain RDMs without time"):
        region_fits(timed, models, "spearman")


@pytest.mark.parametrize("comparison", ["spearman", "pearson"])
def test_movies_of_subjects_are_averaged_time_by_time(comparison, rng):
    values = rng.random((6, 6)) * [[1], [9], [1], [9], [1], [9]]
    labels = {"subject": ["01", "01", "02", "03", "02", "03"], "time_s": [0.2, -0.1, -0.1, 0.2, 0.2, -0.1]}
    mean = average_over_subjects(stack(values, **labels), comparison)
    assert mean.table.to_dict("list") == {"model": [MEEG] * 2, "layer": [""] * 2, "time_s": [-0.1, 0.2]}
    assert mean.conditions == tuple(NAMES)
    for row, rows in enumerate(([1, 2, 5], [0, 3, 4])):
        np.testing.assert_allclose(mean.values[row], average(stack(values[rows]), comparison))
        scaled = [rankdata(one) if comparison == "spearman" else (one - one.mean()) / one.std() for one in values[rows]]
        np.testing.assert_allclose(mean.values[row], np.mean(scaled, axis=0))


def test_times_that_differ_by_rounding_are_averaged_as_one(rng):
    values = rng.random((4, 6))
    labels = {"subject": ["01", "01", "02", "02"], "time_s": [0.1, 0.2, 0.3 - 0.1, 0.1 + 4e-7]}
    mean = average_over_subjects(stack(values, **labels), "pearson")
    assert mean.table["time_s"].tolist() == [0.1, 0.2]
    np.testing.assert_array_equal(mean.values[0], average(stack(values[[0, 3]]), "pearson"))


def test_movies_without_a_subject_or_with_two_rdms_at_a_time_are_not_averaged(rng):
    with pytest.raises(UserError, match="The table of RDM movies has no column 'subject', only 'time_s'"):
        average_over_subjects(stack(rng.random((2, 6)), time_s=[0.1, 0.2]), "spearman")
    twice = stack(rng.random((2, 6)), subject="01", time_s=[0.1, 0.1 + 1e-9])
    with pytest.raises(UserError, match="The RDM movie of subject '01' has two RDMs at one time; keep one of them"):
        average_over_subjects(twice, "spearman")


def test_movies_of_different_times_are_not_averaged(rng):
    movies = stack(rng.random((4, 6)), subject=["01", "01", "02", "02"], time_s=[0.1, 0.2, 0.1, 0.3])
    message = "The 2 subjects' RDMs are not at the same times; give all of them the same tmin_s, tmax_s and sampling"
    with pytest.raises(UserError, match=message):
        average_over_subjects(movies, "spearman")


def test_region_fits(rng):
    values = rng.random((4, 6))
    brain = stack(values, subject=["01", "01", "02", "02"], region=["V1", "IT"] * 2)
    models = stack(rng.random((2, 6)), model="net", layer=["a", "b"])
    fits = region_fits(brain, models, "spearman")
    assert list(fits) == [
        "subject", "region", "model", "layer", "statistic", "score", "ceiling_lower", "ceiling_upper",
    ]  # fmt: skip
    assert len(fits) == 8
    row = fits[(fits["subject"] == "02") & (fits["region"] == "V1") & (fits["layer"] == "b")].iloc[0]
    assert row["score"] == pytest.approx(spearmanr(values[2], models.values[1]).statistic)
    assert row["ceiling_lower"] == pytest.approx(spearmanr(values[0], values[2]).statistic)
    assert row["statistic"] == "spearman"
    assert fits.groupby("region")["ceiling_upper"].nunique().tolist() == [1, 1]


def test_region_fits_at_each_time_have_the_ceiling_of_that_time(rng):
    values = rng.random((6, 6))
    labels = {"subject": ["01", "02", "03"] * 2, "region": "V1", "time_s": np.repeat([2.0, 4.0], 3)}
    fits = region_fits(stack(values, **labels), stack(rng.random((1, 6)), model="net", layer=["a"]), "spearman")
    assert "time_s" in fits
    assert len(fits) == 6
    for time_s, rows in ((2.0, slice(0, 3)), (4.0, slice(3, 6))):
        expected = noise_ceiling(stack(values[rows], subject=["01", "02", "03"]), "spearman")
        found = fits[fits["time_s"] == time_s][["ceiling_lower", "ceiling_upper"]].drop_duplicates()
        np.testing.assert_allclose(found.to_numpy(), [expected])


@pytest.mark.parametrize(("left", "missing"), [("subject", "region"), ("region", "subject")])
def test_region_fits_need_subject_and_region(left, missing):
    brain = stack(np.ones((1, 6)), **{left: ["a"]})
    with pytest.raises(UserError, match=f"The table of the brain RDMs has no column '{missing}', only {left}"):
        region_fits(brain, brain, "spearman")


@pytest.mark.parametrize("call", [average, noise_ceiling])
def test_unknown_comparison(call):
    with pytest.raises(UserError, match=r"Unknown comparison 'spearmann'\. Did you mean 'spearman'"):
        call(stack(np.ones((2, 6))), "spearmann")


# ------------------------------------------------------------------------------------- a known answer


def planted(rng, n_conditions=12):
    names = [f"img{n}" for n in range(n_conditions)]
    hidden = rng.standard_normal((n_conditions, 6))
    return RDMs(rdm_vectors(hidden, DISTANCES["correlation"]), names, pd.DataFrame({"layer": ["true"]}), "correlation")


def test_patterns_drawn_after_an_rdm_have_it(rng):
    truth = planted(rng)
    drawn = rdm_vectors(patterns_like(truth, 5000, rng), DISTANCES["correlation"])
    assert spearmanr(drawn, truth.values[0]).statistic > 0.95
    assert compare_vectors(drawn, truth.values, COMPARISONS["spearman"])[0, 0] > 0.95


def test_pure_noise_scores_zero_on_average(rng):
    """600 regions that share no voxel, so their scores are independent."""
    from rsa.core import Patterns

    volume = Volume(np.ones((30, 20, 20)), np.eye(4))
    truth = planted(rng)
    noise = Patterns(rng.standard_normal((12, 12000)), pd.DataFrame({"condition": truth.conditions}), volume)
    regions = from_masks(volume, {str(n): np.arange(12000) // 20 == n for n in range(600)})
    scores = compare(noise, regions, truth).values[0]
    error = scores.std(ddof=1) / np.sqrt(len(scores))
    assert 0 < error < 0.01
    assert abs(scores.mean()) < 3 * error
