"""Intervals over subjects and conditions: samples are those of the slow version, intervals hold what they say."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from oracles import conditions_that_carry, drawn_rdm, variance_over_both
from oracles import holm as slow_holm
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr
from scipy.stats import t as t_distribution

from rsa.comparisons import COMPARISONS, compare_vectors
from rsa.core import RDMs
from rsa.errors import UserError
from rsa.inference.bootstrap import BOTH_COLUMNS, about_few, bootstrapped_regions, carried_by, counts_of, samples_of
from rsa.inference.contrasts import Contrast
from rsa.inference.tally import Correction, holm
from rsa.rdm import region_fits
from rsa.searchlight import RunSettings

NAMES = [f"c{number:02d}" for number in range(10)]
N_PAIRS = 45


def brain_of(rng, n_subjects=4, regions=("EVC", "IT"), shared=0.0):
    rows = [{"subject": f"{subject}", "region": region} for subject in range(n_subjects) for region in regions]
    return RDMs(rng.standard_normal((len(rows), N_PAIRS)) + shared, NAMES, pd.DataFrame(rows))


def models_of(values):
    return RDMs(values, NAMES, pd.DataFrame({"model": "net", "layer": [f"l{i}" for i in range(len(values))]}))


def with_ties(rng):
    rdms = rng.standard_normal((5, N_PAIRS))
    rdms[1], rdms[2], rdms[3] = np.round(rdms[1]), rdms[2] > 0, 1.0
    return rdms


@pytest.mark.parametrize("name", [name for name, entry in COMPARISONS.items() if entry.drawn is not None])
def test_products_are_scores_of_rdms_of_what_was_drawn(rng, name):
    compared, a, b = COMPARISONS[name], with_ties(rng), with_ties(rng)
    drawn_a, drawn_b = (compared.drawn(compared.prepare(rdms)) for rdms in (a, b))
    for sample in samples_of(10, 20, 3):
        conditions = np.repeat(np.arange(10), sample)
        expected = compare_vectors(
            *(np.array([drawn_rdm(squareform(rdm), conditions) for rdm in rdms]) for rdms in (a, b)), compared
        )
        counts = counts_of(sample)
        np.testing.assert_allclose(drawn_a(counts) @ drawn_b(counts).T, expected, atol=1e-12)
    missing = a.copy()
    missing[0, 7] = np.nan
    known = np.isfinite(compared.drawn(compared.prepare(missing))(np.arange(N_PAIRS) % 2)).all(axis=1)
    assert not known[0]
    assert known[1]


def test_spearman_of_what_was_drawn_is_that_of_scipy(rng):
    a, b = np.round(rng.standard_normal((2, N_PAIRS)), 1)
    (sample,) = samples_of(10, 1, 0)
    conditions = np.repeat(np.arange(10), sample)
    expected = spearmanr(*(drawn_rdm(squareform(rdm), conditions) for rdm in (a, b)))[0]
    compared = COMPARISONS["spearman"]
    found = [compared.drawn(compared.prepare(rdm[None]))(counts_of(sample)) for rdm in (a, b)]
    assert (found[0] @ found[1].T).item() == pytest.approx(expected, abs=1e-12)


def test_intervals_and_p_are_those_of_the_slow_version(rng):
    brain, models = brain_of(rng, shared=np.linspace(-1, 1, N_PAIRS)), models_of(with_ties(rng)[:3])
    contrasts = [Contrast(name="first", a="net l0", b="net l2")]
    found = bootstrapped_regions(
        brain, models, "spearman", Correction("two-sided"), contrasts=contrasts, n_samples=30, seed=5, level=0.9
    )
    assert set(found) == {"model", "layer", "region", *BOTH_COLUMNS}
    compared = COMPARISONS["spearman"]
    samples = [np.repeat(np.arange(10), sample) for sample in samples_of(10, 30, 5)]
    for region in ("EVC", "IT"):
        own = brain.values[(brain.table["region"] == region).to_numpy()]
        ranks = compared.standardise(own)
        others = np.array([np.delete(ranks, subject, axis=0).mean(axis=0) for subject in range(4)])

        def measured(drawn, own=own, others=others):
            vectors = [[drawn_rdm(squareform(rdm), drawn) for rdm in rdms] for rdms in (own, models.values, others)]
            scores = compare_vectors(np.array(vectors[0]), np.array(vectors[1]), compared)
            ceiling = np.array([spearmanr(a, b)[0] for a, b in zip(vectors[0], vectors[2], strict=True)])
            difference = np.arctanh(scores[:, :1]) - np.arctanh(scores[:, 2:3])
            return np.concatenate([scores, difference, ceiling[:, None] - scores], axis=1)

        observed, in_samples = measured(np.arange(10)), np.array([measured(drawn) for drawn in samples])
        v = np.array([variance_over_both(observed[:, i], in_samples[:, :, i], 10) for i in range(7)])
        rows = found[found["region"] == region]
        half = t_distribution(3).ppf(0.95) * np.sqrt(v[:4])
        mean = observed.mean(axis=0)
        np.testing.assert_allclose(rows["both_lower"], mean[:4] - half)
        np.testing.assert_allclose(rows["both_upper"], mean[:4] + half)
        t = mean / np.sqrt(v)
        np.testing.assert_allclose(rows["p_both"], 2 * t_distribution(3).sf(np.abs(t[:4])))
        np.testing.assert_allclose(rows["p_below_ceiling"], [*t_distribution(3).sf(t[4:]), np.nan])
    fits = region_fits(brain, models, "spearman").groupby(["layer", "region"])["score"].mean()
    centres = found.assign(mean=(found["both_lower"] + found["both_upper"]) / 2).set_index(["layer", "region"])["mean"]
    pd.testing.assert_series_equal(centres[fits.index], fits, check_names=False)
    family = found[found["layer"] == "l1"]
    np.testing.assert_allclose(family["p_both_corrected"], slow_holm(family["p_both"].to_numpy()))


def test_neither_threads_nor_memory_nor_other_regions_change_a_number(rng):
    brain, models = brain_of(rng, regions=("EVC", "LO", "IT")), models_of(with_ties(rng)[:3])
    how = {"n_samples": 40, "seed": 1}
    correction = Correction("greater", ("voxels", "layers"))
    found = bootstrapped_regions(brain, models, "spearman", correction, **how)
    for run in (RunSettings(n_threads=3), RunSettings(room_bytes=1)):
        same = bootstrapped_regions(brain, models, "spearman", correction, **how, run=run)
        pd.testing.assert_frame_equal(same, found)
    alone = brain.subset((brain.table["region"] == "IT").to_numpy())
    own = bootstrapped_regions(alone, models, "spearman", correction, **how)
    names = ["layer", "both_lower", "both_upper", "p_both"]
    expected = found.loc[found["region"] == "IT", names].reset_index(drop=True)
    pd.testing.assert_frame_equal(own[names], expected)
    other = bootstrapped_regions(brain, models, "spearman", correction, n_samples=40, seed=2)
    assert not np.allclose(other["both_lower"], found["both_lower"], equal_nan=True)


def test_times_and_references_of_subjects_are_kept_apart(rng):
    """Scores at one time do not change with another time; each subject is compared with its own reference."""
    times_s = [0.0, 2.0]
    rows = [{"subject": s, "region": "IT", "time_s": t} for t in times_s[::-1] for s in ("a", "b", "c")]
    brain = RDMs(rng.standard_normal((6, N_PAIRS)), NAMES, pd.DataFrame(rows))
    table = pd.DataFrame({"model": "meeg", "layer": "", "subject": ["c", "a", "b"]})
    references = RDMs(rng.standard_normal((3, N_PAIRS)), NAMES, table)
    found = bootstrapped_regions(brain, references, "pearson", Correction(), n_samples=20)
    assert found["time_s"].tolist() == times_s
    fits = region_fits(brain, references, "pearson").groupby("time_s")["score"].mean()
    np.testing.assert_allclose((found["both_lower"] + found["both_upper"]) / 2, fits[times_s])
    last = RDMs(brain.values[:3], NAMES, brain.table[:3].drop(columns="time_s"))
    alone = bootstrapped_regions(last, references, "pearson", Correction(), n_samples=20)
    np.testing.assert_allclose(found["p_both"].iloc[1], alone["p_both"].iloc[0])


def test_references_of_subjects_are_found_by_their_labels(rng):
    """In whatever order they are; where a subject lacks one, it alone has no interval."""
    brain = brain_of(rng, n_subjects=3, regions=("IT",))
    table = pd.DataFrame({"model": "meeg", "layer": "", "time_s": [0.1, 0.2] * 3, "subject": list("001122")})
    references = RDMs(rng.standard_normal((6, N_PAIRS)), NAMES, table)
    found = bootstrapped_regions(brain, references, "spearman", Correction(), n_samples=20)
    mixed = bootstrapped_regions(brain, references.subset([0, 1, 3, 2, 4, 5]), "spearman", Correction(), n_samples=20)
    pd.testing.assert_frame_equal(mixed, found)
    gap = bootstrapped_regions(brain, references.subset([0, 1, 3, 4, 5]), "spearman", Correction(), n_samples=20)
    assert gap["time_s"].tolist() == [0.1, 0.2]
    assert gap["both_lower"].isna().tolist() == [True, False]
    assert gap["both_lower"][1] == found["both_lower"][1]


def test_what_differs_by_rounding_alone_has_no_p(rng):
    """A contrast of two references that are the same but for their scale, as tests over subjects have none."""
    brain, models = brain_of(rng, regions=("IT",)), rng.standard_normal((2, N_PAIRS))
    models = models_of(np.vstack([models, models[:1] * 3.3]))
    contrasts = [Contrast(name="same", a="net l0", b="net l2"), Contrast(name="other", a="net l0", b="net l1")]
    correction = Correction("two-sided", ("voxels", "models"))
    found = bootstrapped_regions(brain, models, "pearson", correction, contrasts=contrasts, n_samples=50)
    of = found.set_index("model")
    assert abs(of.loc["same", "both_upper"]) < 1e-12
    assert np.isnan(of.loc["same", ["p_both", "p_both_corrected"]].astype(float)).all()
    assert of.loc["other", "p_both_corrected"] == of.loc["other", "p_both"], "a family of two, one without p"


def test_what_has_no_interval_is_unknown(rng):
    brain, models = brain_of(rng), models_of(with_ties(rng))
    found = bootstrapped_regions(brain.subset(np.arange(2)), models, "spearman", Correction(), n_samples=20)
    assert found[list(BOTH_COLUMNS)].isna().all(axis=None), "one subject"
    found = bootstrapped_regions(brain.subset(np.arange(7)), models, "spearman", Correction(), n_samples=20)
    known = found.groupby("region")["both_lower"].apply(lambda lower: lower.notna().sum())
    assert known.to_dict() == {"EVC": 4, "IT": 0}, "a subject lacks IT, and one reference is constant"
    found = bootstrapped_regions(brain, models, "spearman", Correction(), n_samples=20, tested=False)
    assert found["p_both"].isna().all()
    assert found["p_below_ceiling"].notna().any()
    with pytest.raises(UserError, match="Conditions are not drawn anew for kendall_tau_a"):
        bootstrapped_regions(brain, models, "kendall_tau_a", Correction())


def category(n_conditions, *sizes):
    """Return the RDM of categories: 0 within, 1 between."""
    return pdist(np.repeat(np.arange(len(sizes)), sizes)[:n_conditions, None], "hamming")


def test_what_carries_a_reference_is_the_condition_with_most_of_it(rng):
    rdms = np.array([category(40, 2, 38), category(40, *[4] * 10), np.ones(780), rng.standard_normal(780)])
    for name in ("spearman", "pearson"):
        carried = carried_by(rdms, COMPARISONS[name])
        prepared = COMPARISONS[name].prepare(rdms)
        slow = [conditions_that_carry(squareform(one)) for one in prepared[[0, 1, 3]]]
        np.testing.assert_allclose(carried[[0, 1, 3]], slow)
        assert carried[1] == pytest.approx(20), "all have the same share: half of the conditions"
        assert np.isnan(carried[2]), "it is constant"
    for k in (1, 2, 5):
        assert carried_by(category(400, k, 400 - k)[None], COMPARISONS["pearson"]).item() == pytest.approx(k, rel=0.03)


def test_intervals_of_what_few_conditions_carry_are_marked(rng):
    names = [f"c{number:02d}" for number in range(40)]
    two, four, random = category(40, 2, 38), category(40, 4, 36), rng.standard_normal(780)
    table = pd.DataFrame({"model": ["two", "four", "net"], "layer": ["", "", "l0"]})
    own = pd.DataFrame({"subject": list("abc"), "region": "IT"})
    brain = RDMs(rng.standard_normal((3, 780)), names, own)
    contrasts = [Contrast(name="less", a="four", b="two"), Contrast(name="more", a="net l0", b="four")]
    found = bootstrapped_regions(
        brain, RDMs(np.array([two, four, random]), names, table), "spearman", Correction(), contrasts=contrasts,
        n_samples=20,
    )  # fmt: skip
    few = found.set_index("model")["few_conditions"]
    expected = carried_by(np.array([two, four]), COMPARISONS["spearman"])
    assert few[["two", "four", "less", "more"]].tolist() == pytest.approx([*expected, expected[0], expected[1]])
    assert np.isnan(few["net"])
    assert about_few(found).startswith(
        "Few conditions carry two (2), four (5), less (2), more (5): intervals for other"
    )
    assert about_few(found[found["model"] == "net"]) == about_few(pd.DataFrame({"model": ["net"]})) == ""


def test_intervals_hold_for_other_subjects_who_see_other_pictures():
    """60 studies of noise: an interval over subjects misses 0 in every second one, as all saw the same pictures."""
    held = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        shared, model = rng.standard_normal((2, 10, 4))
        own = [pdist(np.hstack([shared, 0.5 * rng.standard_normal((10, 4))])) for _ in range(8)]
        brain = RDMs(np.array(own), NAMES, pd.DataFrame({"subject": [f"{i}" for i in range(8)], "region": "IT"}))
        models = models_of(pdist(model)[None])
        found = bootstrapped_regions(brain, models, "spearman", Correction(), n_samples=100, seed=seed).iloc[0]
        scores = region_fits(brain, models, "spearman")["score"]
        half = t_distribution(7).ppf(0.975) * scores.std() / np.sqrt(8)
        held.append([abs(scores.mean()) <= half, found["both_lower"] <= 0 <= found["both_upper"]])
    of_subjects, of_both = np.mean(held, axis=0)
    assert of_subjects < 0.7
    assert of_both >= 0.9


def test_holm_is_the_slow_version(rng):
    p = rng.uniform(0, 0.2, 12)
    p[3] = p[5]
    np.testing.assert_allclose(holm(p), slow_holm(p))
    gaps = np.array([0.01, np.nan, 0.04])
    np.testing.assert_allclose(holm(gaps), [0.02, np.nan, 0.04])
    corrected = holm(np.sort(p))
    assert all(a <= b for a, b in pairwise(corrected))
