"""Tests over subjects: statistics are those of scipy and nilearn, flips and orders those of the slow version."""

import hashlib
import os
import re
import subprocess
import sys
from itertools import combinations, permutations, product

import numpy as np
import pandas as pd
import pytest
from nilearn.mass_univariate import permuted_ols
from oracles import cluster_numbers, freedman_lane, tfce
from scipy.stats import false_discovery_control, norm, ttest_1samp, ttest_ind, ttest_rel, wilcoxon
from scipy.stats import t as t_distribution

from rsa.core import PART, QUALITY, REFERENCE
from rsa.errors import UserError
from rsa.inference.contrasts import Contrast, contrast_rows, with_contrasts
from rsa.inference.designs import Design, load_design
from rsa.inference.flips import pseudo_t, signs
from rsa.inference.graph import graph_of
from rsa.inference.regions import REGION_GROUP_COLUMNS, region_group
from rsa.inference.subjects import (
    SUBJECT_STATISTICS,
    about_of,
    flippable_rows,
    maps_of,
    over_subjects,
    subject_test,
    why_not_flipped,
)
from rsa.inference.tally import Correction

NEAR = {"rtol": 2e-5, "atol": 2e-6}
"""How near single precision is to double."""


def scores(rng, n_subjects=7, n_rows=2, n_columns=30, mean=0.3):
    return rng.normal(mean, 1, (n_subjects, n_rows, n_columns))


def covariates(rng, n_subjects):
    return pd.DataFrame({"age": rng.uniform(20, 40, n_subjects), "iq": rng.normal(100, 15, n_subjects)})


def all_blocks(test, n_at_once=None):
    return np.concatenate(list(test.blocks(n_at_once)))


def p_of(test, family_wise=False):
    """Compare with the permutations (or the highest of each, over columns), subjects as they are among them."""
    blocks = all_blocks(test)
    if family_wise:
        blocks = np.nanmax(blocks, axis=2, keepdims=True)
    return (1 + (blocks >= test.identity).sum(axis=0)) / (1 + test.n_permutations)


def diagonal(flips):
    return flips[:, :, None] * np.eye(flips.shape[1])


def moved(orders):
    """Return the matrices that take subject i to place order[i]."""
    return np.eye(orders.shape[1])[:, orders].transpose(1, 0, 2)


# ------------------------------------------------------------------------------------------- the statistics


def test_t_is_that_of_scipy(rng):
    values = scores(rng, 9)
    test = subject_test(values)
    np.testing.assert_allclose(test.observed, ttest_1samp(values, 0).statistic)
    assert test.degrees_of_freedom == 8
    np.testing.assert_allclose(norm.sf(test.z), ttest_1samp(values, 0, alternative="greater").pvalue)
    assert test.observed.dtype == np.float64
    of_scores = subject_test(np.tanh(values), fisher=True)
    np.testing.assert_allclose(of_scores.observed, test.observed)


def test_all_flips_are_taken_where_they_are_few(rng):
    values = scores(rng, 6)
    test = subject_test(values, n_permutations=63)
    assert (test.is_exact, test.n_permutations, test.smallest_p()) == (True, 63, 1 / 64)
    assert test.smallest_p("two-sided") == 1 / 32
    expected = [
        ttest_1samp(np.array(flips)[:, None, None] * values, 0).statistic for flips in product([1, -1], repeat=6)
    ]
    found = np.concatenate([test.identity[None], all_blocks(test)])
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(expected, axis=0), **NEAR)
    fewer = subject_test(values, n_permutations=62)
    assert (fewer.is_exact, fewer.n_permutations, fewer.smallest_p("two-sided")) == (False, 62, 1 / 63)


def test_wilcoxon_is_that_of_scipy_with_its_exact_p(rng):
    values = scores(rng, 9, 1, 20)
    test = subject_test(values, statistic="wilcoxon")
    how = {"axis": 0, "alternative": "greater"}
    exact = wilcoxon(values, method="exact", **how)
    np.testing.assert_allclose(test.observed, wilcoxon(values, method="asymptotic", correction=False, **how).zstatistic)
    np.testing.assert_allclose(p_of(test), exact.pvalue)
    assert test.degrees_of_freedom is None


def test_wilcoxon_with_ties_and_zeros_is_that_of_scipy(rng):
    values = rng.integers(-3, 5, (10, 2, 40)).astype(float)
    test = subject_test(values, statistic="wilcoxon")
    expected = wilcoxon(values, axis=0, alternative="greater", method="asymptotic", correction=False).zstatistic
    np.testing.assert_allclose(test.observed, expected, atol=1e-12)
    few = [2, 15, 31]
    slow = [wilcoxon(values[:, 0, one], alternative="greater", method="auto").pvalue for one in few]
    np.testing.assert_allclose(p_of(test)[0, few], slow)


def test_pseudo_t_has_the_floor_of_its_family(rng):
    values = scores(rng, 8, 3) / 3
    test = subject_test(np.tanh(values), statistic="pseudo_t", families=[[0, 2], [1]], fisher=True, n_permutations=300)
    squares = (values**2).sum(axis=0)
    floor = np.array([np.median(squares[[0, 2]]), np.median(squares[1]), np.median(squares[[0, 2]])])
    flips = signs(8, 300, 0)
    expected = pseudo_t(np.tanh(values), flips, floor)
    np.testing.assert_allclose(test.observed, expected[0])
    np.testing.assert_allclose(all_blocks(test), expected[1:], **NEAR)
    alone = subject_test(values, statistic="pseudo_t")
    np.testing.assert_allclose(alone.observed[1], test.observed[1])
    assert (alone.observed[0] != test.observed[0]).any()


@pytest.mark.parametrize("statistic", ["pseudo_t", "wilcoxon"])
def test_z_is_by_all_flips_or_orders(statistic, rng):
    values = rng.choice([-0.5, 0, 0.2, 0.3, 0.8], (8, 2, 40))
    designs = [Design(8)] if statistic == "wilcoxon" else [Design(8), Design(8, np.arange(8) < 3)]
    for design in designs:
        test = subject_test(values, statistic=statistic, design=design)
        every = np.concatenate([test.identity[None], all_blocks(test)])
        assert test.is_exact
        np.testing.assert_allclose(every.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(test.z, test.observed / every.std(axis=0), rtol=1e-5, atol=1e-6)
        result = over_subjects(values, LABELS[:2], Correction(), statistic=statistic, design=design)[1]
        np.testing.assert_allclose(result.z, test.z, atol=1e-6)


# ------------------------------------------------------------------------------------ groups and covariates


def test_the_difference_of_groups_is_that_of_scipy(rng):
    values, in_first = scores(rng, 8), np.array([1, 0, 0, 1, 1, 0, 0, 0], dtype=bool)
    test = subject_test(values, design=Design(8, in_first.astype(int)))
    np.testing.assert_allclose(test.observed, ttest_ind(values[in_first], values[~in_first]).statistic)
    assert (test.degrees_of_freedom, test.is_exact, test.n_permutations) == (6, True, 55)
    expected = []
    for chosen in combinations(range(8), 3):
        first = np.isin(np.arange(8), chosen)
        expected.append(ttest_ind(values[first], values[~first]).statistic)
    found = np.concatenate([test.identity[None], all_blocks(test)])
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(expected, axis=0), **NEAR)


@pytest.mark.parametrize("n_permutations", [100, 10_000])
def test_groups_with_covariates_are_those_of_freedman_and_lane(n_permutations, rng):
    values, in_first, others = scores(rng, 6, 1, 12), np.array([1, 0, 1, 0, 1, 0], dtype=bool), covariates(rng, 6)
    design = Design(6, in_first, others)
    test = subject_test(values, design=design, n_permutations=n_permutations, seed=3)
    assert (test.is_exact, test.n_permutations) == ((True, 719) if n_permutations > 719 else (False, 100))
    orders = np.array(list(permutations(range(6)))) if test.is_exact else design.orders(n_permutations, 3)
    slow = freedman_lane(values[:, 0], in_first, np.column_stack([np.ones(6), others]), moved(orders))
    np.testing.assert_allclose(test.observed[0], slow[0])
    np.testing.assert_allclose(all_blocks(test)[:, 0], slow[1:], rtol=1e-3, atol=1e-5)
    assert test.degrees_of_freedom == 2


def test_means_with_covariates_are_flips_of_residuals(rng):
    values, others = scores(rng, 7, 1, 12), covariates(rng, 7)
    test = subject_test(values, design=Design(7, covariates=others))
    slow = freedman_lane(values[:, 0], np.ones(7), others - others.mean(), diagonal(signs(7, 10_000, 0)))
    np.testing.assert_allclose(test.observed[0], slow[0])
    np.testing.assert_allclose(all_blocks(test)[:, 0], slow[1:], rtol=1e-4, atol=1e-5)
    assert test.design.words == "mean over 7 subjects, adjusted for age, iq"
    assert test.degrees_of_freedom == 4


def flips_of_nilearn(n_subjects, n_permutations, seed):
    """Return the flips that `permuted_ols` draws: each swaps some signs of the one before."""
    drawn = np.random.RandomState(seed).randint(1, np.iinfo(np.int32).max - 1)
    rng = np.random.RandomState(drawn)
    swaps = [rng.randint(2, size=(n_subjects, 1)) * 2 - 1 for _ in range(n_permutations)]
    return np.vstack([np.ones(n_subjects), np.cumprod(swaps, axis=0)[..., 0]])


def test_maxima_and_p_are_those_of_nilearn_with_the_same_flips(rng, monkeypatch):
    values = scores(rng, 16, 1, 60, mean=0.5)
    theirs = permuted_ols(
        np.ones((16, 1)), values[:, 0], model_intercept=False, n_perm=200, two_sided_test=False, random_state=5
    )
    monkeypatch.setattr("rsa.inference.designs.signs", lambda n, n_perm, seed: flips_of_nilearn(n, n_perm, seed))
    test = subject_test(values, n_permutations=200, seed=5)
    np.testing.assert_allclose(test.observed, theirs["t"])
    np.testing.assert_allclose(all_blocks(test).max(axis=2).T, theirs["h0_max_t"], **NEAR)
    np.testing.assert_allclose(-np.log10(p_of(test, family_wise=True)), theirs["logp_max_t"], rtol=1e-6)


def test_t_with_covariates_is_that_of_nilearn(rng):
    values, others, in_first = scores(rng, 14, 1, 50), covariates(rng, 14), np.arange(14) % 3 > 0
    theirs = permuted_ols(
        in_first[:, None].astype(float),
        values[:, 0],
        others.to_numpy(),
        n_perm=400,
        two_sided_test=False,
        random_state=1,
    )
    test = subject_test(values, design=Design(14, in_first, others), n_permutations=400)
    np.testing.assert_allclose(test.observed, theirs["t"], rtol=1e-6)
    ours, maxima = np.sort(all_blocks(test).max(axis=2)[:, 0]), np.sort(theirs["h0_max_t"][0])
    for share in (0.1, 0.5, 0.9):  # both are samples of one distribution
        low, high = np.quantile(ours, [share - 0.1 + 0.001, min(share + 0.1, 0.999)])
        assert low < np.quantile(maxima, share) < high


# ------------------------------------------------------------------------- what may not change any number


@pytest.mark.parametrize("statistic", SUBJECT_STATISTICS)
def test_blocks_and_seeds(statistic, rng):
    values = scores(rng, 15, 2, 1500)
    test = subject_test(values, statistic=statistic, n_permutations=50)
    together = all_blocks(test)
    assert together.dtype == np.float32
    assert together.shape == (50, 2, 1500)
    np.testing.assert_array_equal(all_blocks(test, 7), together)
    np.testing.assert_array_equal(test.permuted(3, 5), together[3:5])
    few = subject_test(values[..., :9], statistic="t", n_permutations=50)
    if statistic == "t":
        np.testing.assert_array_equal(all_blocks(few), together[..., :9])
    again, other = (subject_test(values, statistic=statistic, n_permutations=50, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(all_blocks(again), together)
    assert (all_blocks(other) != together).any()


@pytest.mark.parametrize("statistic", SUBJECT_STATISTICS)
@pytest.mark.parametrize("two_sided", [False, True])
def test_what_is_counted_without_blocks_is_what_blocks_have(statistic, two_sided, rng, monkeypatch):
    values = scores(rng, 11, 2, 1500)
    values[3, 0, 7], values[:, 1] = np.nan, rng.integers(-2, 3, (11, 1500))
    others = {} if statistic == "wilcoxon" else {"design": Design(11, np.arange(11) < 5, covariates(rng, 11))}
    for design in ({}, others):
        test = subject_test(values, statistic=statistic, n_permutations=60, **design)
        blocks, identity = all_blocks(test), test.identity
        if two_sided:
            blocks, identity = np.abs(blocks), np.abs(identity)
        exceedances, maxima = test.count(two_sided)
        np.testing.assert_array_equal(exceedances, (blocks >= identity - np.float32(1e-6)).sum(axis=0))
        np.testing.assert_array_equal(maxima, np.nanmax(blocks, axis=2))
        monkeypatch.setattr("rsa.inference.subjects.COUNTED", 700)
        again = test.count(two_sided, n_threads=3)
        np.testing.assert_array_equal(again[0], exceedances)
        np.testing.assert_array_equal(again[1], maxima)


def test_equal_numbers_give_equal_statistics(rng):
    """Subjects in another order, mirrored scores and mirrored flips are equal to the bit: ties count as ties."""
    values = rng.choice([-0.6, -0.1, 0.2, 0.4, 0.5], (9, 1, 400))
    test, other = subject_test(values), subject_test(values[::-1])
    np.testing.assert_array_equal(test.identity, other.identity)
    np.testing.assert_array_equal(all_blocks(test)[-1], -test.identity)
    np.testing.assert_array_equal(subject_test(-values).identity, -test.identity)


CORE_TYPES = """
import hashlib, numpy as np, pandas as pd
from rsa.inference.contrasts import Contrast, contrast_rows, with_contrasts
from rsa.inference.designs import Design
from rsa.inference.graph import graph_of
from rsa.inference.regions import REGION_GROUP_COLUMNS, region_group
from rsa.inference.subjects import subject_test
rng = np.random.default_rng(4)
values, found = rng.normal(0.2, 1, (15, 3, 700)), hashlib.sha256()
others = pd.DataFrame({"age": rng.normal(size=15)})
design = Design(15, np.arange(15) < 7, others)
for how in ({}, {"statistic": "wilcoxon"}, {"statistic": "pseudo_t"}, {"design": design}):
    test = subject_test(values, n_permutations=99, **how)
    for block in test.blocks():
        found.update((block >= test.identity).tobytes())
print(found.hexdigest())
"""


@pytest.mark.slow
def test_processors_and_threads_change_nothing(tmp_path):
    settings = [("1", "Haswell"), ("1", "Nehalem"), ("2", "Sandybridge")]
    found = set()
    for threads, core in settings:
        about = {"OPENBLAS_CORETYPE": core, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", CORE_TYPES], env=os.environ | about, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1
    assert len(found.pop().strip()) == len(hashlib.sha256().hexdigest())


# ----------------------------------------------------------------------------------------- odd scores


def test_a_subject_without_score_leaves_no_test_there_in_any_permutation(rng):
    values = scores(rng, 6, 2, 10)
    before = subject_test(values)
    values[2, 1, 4], values[:, 0, 7] = np.nan, np.nan
    for statistic in SUBJECT_STATISTICS:
        test = subject_test(values, statistic=statistic)
        where = np.isnan(test.observed)
        assert np.argwhere(where).tolist() == [[0, 7], [1, 4]]
        np.testing.assert_array_equal(np.isnan(all_blocks(test)), np.broadcast_to(where, (63, 2, 10)))
    after = subject_test(values)
    np.testing.assert_array_equal(after.identity[~where], before.identity[~where])


def test_equal_scores_have_no_t_and_zeros_no_statistic():
    values = np.stack([np.full(5, 0.3), np.zeros(5), np.array([0.3, 0.3, 0.3, 0.3, -0.3])], axis=1)[:, None]
    test = subject_test(values)
    assert np.isnan(test.observed[0, :2]).all()
    assert np.isfinite(test.observed[0, 2])
    highest = all_blocks(test)[..., 2].max()  # all subjects alike, after one flip: as high as t can be
    assert highest == pytest.approx(1000 * np.sqrt(4), rel=1e-3)
    assert p_of(test)[0, 2] == (1 + 5) / 32
    ranks = subject_test(values, statistic="wilcoxon").observed
    np.testing.assert_allclose(ranks, [[np.sqrt(5), np.nan, 3 / np.sqrt(5)]])


def test_two_subjects_and_one(rng):
    test = subject_test(scores(rng, 2))
    assert (test.is_exact, test.n_permutations, test.smallest_p(), test.degrees_of_freedom) == (True, 3, 0.25, 1)
    with pytest.raises(UserError, match="needs 2 subjects or more, not 1; test over conditions instead"):
        subject_test(scores(rng, 1))


def test_what_cannot_be_tested_is_said(rng):
    values = scores(rng, 6)
    with pytest.raises(UserError, match=r"Unknown statistic over subjects 'T'.*Choose one of: t, pseudo_t, wilcoxon"):
        subject_test(values, statistic="T")
    with pytest.raises(UserError, match="n_permutations is 1 or more, not 0"):
        subject_test(values, n_permutations=0)
    with pytest.raises(UserError, match="The design is of 7 subjects, and the scores of 6"):
        subject_test(values, design=Design(7))
    with pytest.raises(
        UserError, match=r"wilcoxon is of a mean.*not of the difference a \(3 subjects\) less b \(3 subj"
    ):
        subject_test(values, statistic="wilcoxon", design=Design(6, np.arange(6) < 3, groups=("a", "b")))


def test_smallest_p_of_designs(rng):
    assert Design(5).smallest_p(10_000) == 1 / 32
    halves, thirds = Design(6, np.arange(6) < 3), Design(6, np.arange(6) < 2)
    assert (halves.smallest_p(999), halves.smallest_p(999, "two-sided")) == (1 / 20, 1 / 10)
    assert (thirds.smallest_p(999), thirds.smallest_p(999, "two-sided")) == (1 / 15, 1 / 15)
    assert Design(30).smallest_p(999, "two-sided") == 1 / 1000
    adjusted = Design(6, np.arange(6) < 3, covariates(rng, 6))
    assert adjusted.smallest_p(999, "two-sided") == adjusted.smallest_p(999) == 1 / 720
    for design in (halves, thirds, adjusted, Design(6), Design(6, covariates=covariates(rng, 6))):
        values = (design.tested + rng.normal(0, 0.01, (200, 6))).T[:, None]
        found = p_of(subject_test(values, design=design, n_permutations=999)).min()
        assert found == pytest.approx(design.smallest_p(999))


# ------------------------------------------------------------------------------ the false-alarm rate


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mean", "groups", "adjusted", "wilcoxon"])
def test_the_family_wise_error_rate_is_nominal(kind):
    """Of 400 studies of noise, .05 have a corrected p of .05 or less somewhere: within 3.5 standard errors."""
    rng, hits, n_studies = np.random.default_rng(6), 0, 400
    for study in range(n_studies):
        values = rng.normal(0, 1, (10, 1, 40)) * rng.uniform(0.5, 2, (10, 1, 1)) + 0.3 * rng.normal(0, 1, (10, 1, 1))
        design = {
            "groups": Design(10, np.arange(10) < 5),
            "adjusted": Design(10, np.arange(10) < 5, pd.DataFrame({"age": rng.normal(size=10)})),
        }.get(kind)
        statistic = "wilcoxon" if kind == "wilcoxon" else "t"
        test = subject_test(values, statistic=statistic, design=design, n_permutations=199, seed=study)
        hits += (p_of(test, family_wise=True) <= 0.05).any()
    slack = 0.02 if kind == "wilcoxon" else 0  # ranks of 10 subjects are often equal, so p is rather too large
    assert -slack - 3.5 * np.sqrt(0.05 * 0.95 / n_studies) < hits / n_studies - 0.05
    assert hits / n_studies - 0.05 < 3.5 * np.sqrt(0.05 * 0.95 / n_studies)


# ---------------------------------------------------------------------------------------- why not


def test_what_flips_cannot_test_has_a_reason():
    assert why_not_flipped("spearman", "unknown") == ""
    assert why_not_flipped("cosine", "crossnobis") == ""
    for reason, how in {
        "by cosine, unrelated RDMs score above 0.*distance correlation": {"comparison": "cosine"},
        "shares of variance.*test over conditions": {"tested": False},
        "shares of variance.* where there is nothing": {"role": PART},
        "reliability and noise ceilings.*have no p": {"role": QUALITY},
        "same M/EEG RDM and share its noise.*test over conditions": {"model": "meeg"},
        "all subjects are compared with the same M/EEG RDM": {"fused": True},
    }.items():
        found = why_not_flipped(**{"comparison": "spearman", "distance": "correlation", **how})
        assert re.search(reason, found), found


# ----------------------------------------------------------------------------------- the participants


TABLE = "participant_id\tage\tsex\tgroup\tyears\nsub-01\t31\tF\tpatient\t62\nsub-02\t25\tM\tcontrol\t50\n"
TABLE += "03\t40\tF\tpatient\t80\nsub-04\t28\tM\tcontrol\t56\nsub-05\tn/a\tM\tcontrol\t1\nsub-06\t33\tM\tother\t66\n"


@pytest.fixture
def participants(tmp_path):
    path = tmp_path / "participants.tsv"
    path.write_text(TABLE)
    return path


def test_designs_are_read_from_participants(participants):
    design = load_design(participants, ["03", "01", "02", "04"], covariates=["age"], groups="group")
    assert design.groups == ("control", "patient")
    assert design.in_first.tolist() == [False, False, True, True]
    assert design.covariates["age"].tolist() == [40, 31, 25, 28]
    assert design.words == "difference control (2 subjects) less patient (2 subjects), adjusted for age"
    assert design.degrees_of_freedom == 1
    turned = load_design(participants, ["01", "02", "03", "04"], groups="group", levels=("patient", "control"))
    assert turned.in_first.tolist() == [True, False, True, False]
    assert load_design(participants, ["01", "02"]).is_plain
    csv = participants.with_suffix(".csv")
    csv.write_text(TABLE.replace("\t", ","))
    again = load_design(csv, ["01", "02", "03"], covariates=["age"])
    assert again.covariates["age"].tolist() == [31, 25, 40]


@pytest.mark.parametrize(
    ("subjects", "how", "message"),
    [
        ("01 07", {}, r"no row is of subject '07'; its participants are '01', '02', '03'"),
        ("01 02", {"covariates": ["height"]}, "has no column 'height'"),
        ("01 05", {"covariates": ["age"]}, "subject '05' has no value of 'age'; give one, or leave the subject out"),
        ("01 02 03", {"covariates": ["sex"]}, "'sex' of subject '01' is 'F', and a covariate is a number; code it"),
        ("01 02 03 06", {"groups": "group"}, "'group' has the groups 'control', 'other', 'patient' .* not two"),
        ("01 03", {"groups": "group"}, r"'group' has the groups 'patient' in these subjects, not two"),
        ("01 02", {"groups": "group", "levels": ("a", "b")}, "has the groups 'control', 'patient' .* not 'a', 'b'"),
        ("01 02 03", {"groups": "group"}, "the group 'control' has 1 subject; a difference needs 2 or more in each"),
        ("01 02 03 04", {"covariates": ["age", "years"]}, "the covariate 'years' is a sum of the covariates before it"),
        ("01 02", {"covariates": ["age"]}, "2 subjects are too few for 1 covariates: .* 2 parameters, so 3 subjects"),
    ],
)  # fmt: skip
def test_mistakes_in_participants_are_a_line_each(subjects, how, message, participants):
    participants.write_text(TABLE.replace("80", "80.0"))
    with pytest.raises(UserError, match=message) as caught:
        load_design(participants, subjects.split(), **how)
    assert "\n" not in str(caught.value)


def test_designs_that_make_no_sense_are_refused(participants, rng):
    participants.write_text(TABLE + "sub-01\t1\tF\tpatient\t1\n")
    with pytest.raises(UserError, match="subject '01' has more than one row; keep one"):
        load_design(participants, ["01", "02"])
    same = pd.DataFrame({"site": [2.0] * 6})
    with pytest.raises(UserError, match="the covariate 'site' is 2 for all subjects; leave it out"):
        Design(6, covariates=same)
    in_first = np.arange(6) < 3
    with pytest.raises(UserError, match="'sex' is a sum of the groups and the covariates before it"):
        Design(6, in_first, pd.DataFrame({"sex": 1.0 - in_first}))
    with pytest.raises(UserError, match="the covariate 'age' is not a number for some subject"):
        Design(6, covariates=pd.DataFrame({"age": [1, 2, 3, np.nan, 5, 6]}))
    with pytest.raises(UserError, match="Covariates have 5 rows for 6 subjects"):
        Design(6, covariates=covariates(rng, 5))
    with pytest.raises(UserError, match="groups are told for 5 of 6 subjects"):
        Design(6, in_first[:5])


# ----------------------------------------------------------------------------------------- contrasts


LABELS = pd.DataFrame({"model": ["net", "net", "gist", "gabor", "noise"], "layer": ["conv", "fc", "", "", ""]})


def contrasts(*sides):
    return [Contrast(name=f"d{number}", a=a, b=b) for number, (a, b) in enumerate(sides)]


def test_contrasts_are_differences_within_subjects(rng):
    values, table = scores(rng, 6, 5, 8), LABELS.assign(role=[REFERENCE] * 4 + [QUALITY])
    asked = contrasts(("net", "gist"), ("net fc", "net conv"), ("ga*", "gist"))
    found, rows = contrast_rows(values, table, asked)
    expected = [values[:, :2].mean(axis=1) - values[:, 2], values[:, 1] - values[:, 0], values[:, 3] - values[:, 2]]
    np.testing.assert_allclose(found, np.stack(expected, axis=1))
    assert rows.to_dict("list") == {
        "model": ["d0", "d1", "d2"], "layer": [""] * 3, "statistic": ["difference"] * 3, "role": [REFERENCE] * 3,
    }  # fmt: skip
    np.testing.assert_allclose(subject_test(found).observed[1], ttest_rel(values[:, 1], values[:, 0]).statistic)
    values[3, 0, 5] = np.nan
    assert np.argwhere(np.isnan(contrast_rows(values, table, asked)[0])).tolist() == [[3, 0, 5], [3, 1, 5]]
    nothing, no_rows = contrast_rows(values, table, [])
    assert nothing.shape == (6, 0, 8)
    assert no_rows.empty


def test_contrasts_over_time_match_times(rng):
    times = pd.concat([LABELS[1:4].assign(time_s=time_s) for time_s in (0.2, 0.1)], ignore_index=True)
    values = scores(rng, 4, 6, 3)
    found, rows = contrast_rows(values, times, contrasts(("gist", "gabor")))
    assert rows["time_s"].tolist() == [0.1, 0.2]
    np.testing.assert_array_equal(found, values[:, [4, 1]] - values[:, [5, 2]])
    mixed = pd.concat([times, LABELS[4:].assign(time_s=np.nan)], ignore_index=True)
    with pytest.raises(UserError, match="'d0' is of 'gist' and 'noise', which are not at the same times"):
        contrast_rows(scores(rng, 4, 7, 3), mixed, contrasts(("gist", "noise")))


def test_contrasts_that_make_no_sense_are_refused_in_a_line_each(rng):
    values, table = scores(rng, 4, 5, 3), LABELS.assign(role=[REFERENCE] * 4 + [QUALITY])
    for message, asked in {
        "'d0' is of 'gst', and no reference is called so. Did you mean 'gist'": contrasts(("gst", "net")),
        "'d0' is of 'noise', and no reference is called so": contrasts(("noise", "net")),
        "both sides of the contrast 'd0' are the same": contrasts(("net", "net *")),
        "two contrasts are called 'd0'": contrasts(("net", "gist")) * 2,
        "the contrast 'net' is called as a reference is": [Contrast(name="net", a="gist", b="gabor")],
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            contrast_rows(values, table, asked)
        assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------- regions


REGIONS = ["EVC", "LO", "IT"]


def fits_table(values, layers=("conv", "fc"), times_s=None):
    """Make a table of scores (n_subjects, n_layers or n_layers * n_times, n_regions), as `region_fits` does."""
    labels = [("net", layer, time_s) for layer in layers for time_s in (times_s or [None])]
    rows = [
        {"subject": f"{subject:02d}", "region": region, "model": model, "layer": layer, "time_s": time_s,
         "statistic": "spearman", "score": values[subject, row, column]}
        for subject in range(len(values))
        for row, (model, layer, time_s) in enumerate(labels)
        for column, region in enumerate(REGIONS)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    return table if times_s else table.drop(columns="time_s")


def test_regions_have_means_intervals_t_and_corrected_p(rng):
    z = rng.normal(0.15, 0.2, (7, 2, 3))
    values = np.tanh(z)
    table = fits_table(values).sample(frac=1, random_state=2)
    found = region_group(fits_table(values), level=0.9)
    assert set(found) == set(REGION_GROUP_COLUMNS) - {"time_s", "pseudo_t", "wilcoxon"}
    assert found[["layer", "region"]].apply(tuple, axis=1).tolist() == list(product(["conv", "fc"], REGIONS))
    band = ttest_1samp(values, 0).confidence_interval(0.9)
    for name, expected in {
        "mean": values.mean(axis=0), "lower": band.low, "upper": band.high, "t": ttest_1samp(z, 0).statistic,
    }.items():  # fmt: skip
        np.testing.assert_allclose(found[name], expected.ravel())
    flips = np.array(list(product([1, -1], repeat=7)))
    sums = np.stack([ttest_1samp(signs[:, None, None] * z, 0).statistic for signs in flips])
    observed = ttest_1samp(z, 0).statistic - 1e-6
    alone = (sums >= observed).mean(axis=0)
    np.testing.assert_allclose(found["p"], alone.ravel())
    of_regions = (sums.max(axis=2, keepdims=True) >= observed).mean(axis=0)
    np.testing.assert_allclose(found["p_corrected"], of_regions.ravel())
    np.testing.assert_allclose(found["q"], np.concatenate([false_discovery_control(row) for row in alone]))
    jointly = region_group(fits_table(values), correction=Correction(family=("voxels", "layers"), fdr="by"))
    np.testing.assert_allclose(
        jointly["p_corrected"], (sums.max(axis=(1, 2))[:, None, None] >= observed).mean(0).ravel()
    )
    np.testing.assert_allclose(jointly["q"], false_discovery_control(alone.ravel(), method="by"))
    again = region_group(table, level=0.9).set_index(["layer", "region"])
    there = found.set_index(["layer", "region"])
    pd.testing.assert_frame_equal(again.loc[there.index], there)


def test_two_sided_p_of_regions(rng):
    z = rng.normal(-0.3, 0.3, (8, 2, 3))
    found = region_group(fits_table(np.tanh(z)), correction=Correction(alternative="two-sided"), statistic="wilcoxon")
    slow = [[wilcoxon(z[:, row, column]).pvalue for column in range(3)] for row in range(2)]
    np.testing.assert_allclose(found["p"], np.ravel(slow))
    assert "t" not in found


def test_regions_over_time_are_corrected_as_the_family_says(rng):
    times_s = [0.0, 0.1, 0.2]
    table = fits_table(rng.uniform(-0.2, 0.4, (8, 6, 3)), times_s=times_s)
    single = region_group(table, correction=Correction(family=("voxels",)))
    at_once = region_group(table, correction=Correction(family=("voxels", "times")))
    everything = region_group(table, correction=Correction(family=("voxels", "times", "layers")))
    assert single["time_s"].tolist() == list(np.repeat(times_s, 3)) * 2
    pd.testing.assert_series_equal(single["p"], everything["p"])
    assert (single["p_corrected"] <= at_once["p_corrected"]).all()
    assert (at_once["p_corrected"] <= everything["p_corrected"]).all()
    assert (single["p_corrected"] < everything["p_corrected"]).any()
    alone = region_group(table[(table["time_s"] == 0.1) & (table["layer"] == "fc")])
    same = single[(single["time_s"] == 0.1) & (single["layer"] == "fc")].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, same)


def test_contrasts_and_designs_of_regions(rng):
    values, in_first = rng.uniform(-0.2, 0.6, (9, 2, 3)), np.arange(9) < 4
    found = region_group(fits_table(values), contrasts=[Contrast(name="late", a="net fc", b="net conv")])
    late = found[found["model"] == "late"]
    assert late["region"].tolist() == REGIONS
    assert set(late["statistic"]) == {"difference"}
    z = np.arctanh(values)
    np.testing.assert_allclose(late["t"], ttest_rel(z[:, 1], z[:, 0]).statistic)
    np.testing.assert_allclose(late["mean"], (z[:, 1] - z[:, 0]).mean(axis=0))
    groups = region_group(fits_table(values), design=Design(9, in_first))
    np.testing.assert_allclose(groups["t"], ttest_ind(z[in_first], z[~in_first]).statistic.ravel())
    np.testing.assert_allclose(groups["mean"], (values[in_first].mean(axis=0) - values[~in_first].mean(axis=0)).ravel())
    band = ttest_ind(values[in_first], values[~in_first]).confidence_interval()
    np.testing.assert_allclose(groups[["lower", "upper"]], np.transpose([band.low.ravel(), band.high.ravel()]))


def test_regions_without_a_test(rng):
    values = rng.uniform(-0.2, 0.6, (6, 2, 3))
    without = ["t", "p", "p_corrected", "q"]
    one = region_group(fits_table(values[:1]))
    np.testing.assert_allclose(one["mean"], values[0].ravel())
    assert one[["lower", "upper", *without]].isna().all(axis=None)
    shares = region_group(fits_table(values), tested=False)
    assert shares[without].isna().all(axis=None)
    assert shares[["lower", "upper"]].notna().all(axis=None)
    fused = region_group(fits_table(values).replace({"model": {"net": "meeg"}}))
    assert fused[without].isna().all(axis=None)
    values[2, 1, 1] = np.nan
    holed = region_group(fits_table(values).dropna())
    gap = holed["mean"].isna()
    assert holed.loc[gap, ["layer", "region", "n_subjects"]].to_numpy().tolist() == [["fc", "LO", 5]]
    assert holed.loc[gap, ["lower", "upper", *without]].isna().all(axis=None)
    assert holed.loc[~gap, without].notna().all(axis=None)


def test_tables_of_regions_that_are_wrong_are_refused(rng):
    table = fits_table(rng.uniform(-0.2, 0.6, (4, 2, 3)))
    for message, wrong in {
        "The table of scores in regions has no column 'region'": table.drop(columns="region"),
        "comes twice in the table of scores in regions": pd.concat([table, table[:1]]),
        "A test over regions reads scores against 0": table.assign(statistic="cosine"),
        "has no rows": table[:0],
    }.items():
        with pytest.raises(UserError, match=message):
            region_group(wrong)


# --------------------------------------------------------------------------------- what is written of maps


def test_contrasts_stand_below_the_scores(rng):
    values, design = rng.uniform(-0.3, 0.6, (6, 5, 4)), Design(6, np.arange(6) < 3)
    table = LABELS.assign(statistic="spearman", role=REFERENCE)
    z, effect, rows = with_contrasts(values, table, contrasts(("net", "gist")), design)
    np.testing.assert_allclose(z[:, :5], np.arctanh(values))
    differences = z[:, :2].mean(axis=1) - z[:, 2]
    np.testing.assert_allclose(z[:, 5], differences)
    np.testing.assert_allclose(effect[:5], values[:3].mean(axis=0) - values[3:].mean(axis=0))
    np.testing.assert_allclose(effect[5], differences[:3].mean(axis=0) - differences[3:].mean(axis=0))
    assert rows["model"].tolist() == ["net", "net", "gist", "gabor", "noise", "d0"]
    z, effect, rows = with_contrasts(values, table, [], Design(6))
    np.testing.assert_allclose(effect, values.mean(axis=0))
    assert rows is table


def test_what_is_written_says_what_was_done(rng):
    values = scores(rng, 6, 5, 4)
    for statistic, df in (("t", 5), ("wilcoxon", None)):
        test, result = over_subjects(values, LABELS, Correction(alternative="two-sided"), statistic=statistic)
        found, labels = maps_of(test, result, values.mean(axis=0), LABELS.assign(statistic="spearman"))
        maps = {name: found[rows] for name, rows in labels.groupby("statistic", sort=False).indices.items()}
        assert list(maps) == [statistic, "z", "logp", "logp_max_stat", "logq", "thresholded"]
        np.testing.assert_allclose(maps["z"], test.z)
        np.testing.assert_allclose(maps["thresholded"], np.where(result.p_max <= 0.05, values.mean(axis=0), 0))
        about = about_of(test, result)
        assert set(maps) < set(about)
        for name in maps:
            assert about[name]["SmallestP"] == 1 / 32, "two-sided, each flip has a mirror image"
            assert about[name]["Permutations"] == 63
            assert about[name].get("DegreesOfFreedom") == df
        assert re.search("mean over 6 subjects", str(about[statistic]["Description"]))
    groups, result = over_subjects(values, LABELS, Correction(), design=Design(6, np.arange(6) < 2))
    labels = maps_of(groups, result, values[0], LABELS.assign(statistic="spearman"))[1]
    assert labels["statistic"].tolist()[:6] == ["difference"] * 5 + ["t"]
    named = LABELS.assign(statistic=["spearman"] * 4 + ["difference"])
    found, labels = maps_of(test, result, values[0], named)
    assert labels[labels["statistic"] == "difference"]["model"].tolist() == ["noise"], "others are means"
    np.testing.assert_array_equal(found[0], values[0, 4])
    assert "difference first (2 subjects) less second (4 subjects)" in about_of(groups, result)["t"]["Description"]


def test_rows_that_flips_can_test():
    table = LABELS.assign(statistic="spearman", role=[REFERENCE, REFERENCE, QUALITY, REFERENCE, PART])
    table.loc[3, "model"] = "meeg"
    assert flippable_rows(table, "correlation").tolist() == [0, 1]
    assert flippable_rows(table, "correlation", paired=True).tolist() == [0, 1, 3]
    with pytest.raises(UserError, match="No score can be tested over subjects: by cosine"):
        flippable_rows(table.assign(statistic="cosine"), "correlation")


# ---------------------------------------------------------------------------------- clusters of subjects


def test_clusters_are_formed_at_the_statistic_of_an_uncorrected_p(rng):
    test = subject_test(scores(rng, 12))
    assert test.at_p(0.001) == pytest.approx(t_distribution.isf(0.001, 11))
    assert test.at_p(0.001, "two-sided") == pytest.approx(t_distribution.isf(0.0005, 11))
    assert subject_test(scores(rng, 12), statistic="wilcoxon").at_p(0.05) == pytest.approx(1.6448536)
    u = subject_test(scores(rng, 12), statistic="pseudo_t").at_p(0.01)
    assert u * np.sqrt(11 / (1 - u**2)) == pytest.approx(t_distribution.isf(0.01, 11))


@pytest.mark.parametrize("enhance", ["tfce", "cluster_mass", "cluster_size"])
def test_enhanced_p_is_that_of_enhancing_one_flip_at_a_time(enhance, rng):
    values = scores(rng, 5, 1, 20, mean=0.6)
    chain = graph_of([np.array([place - 1, place + 1]).clip(0, 19) for place in range(20)], "a chain")
    table = pd.DataFrame({"model": ["net"], "layer": ["conv"]})
    how = {"cluster_p": 0.05, "n_permutations": 100}
    test, result = over_subjects(values, table, Correction(enhance=enhance, graph=chain), **how)
    threshold = t_distribution.isf(0.05, 4)
    maps = [ttest_1samp(np.array(flips)[:, None] * values[:, 0], 0).statistic for flips in product([1, -1], repeat=5)]
    if enhance == "tfce":
        found = [tfce(one[None], chain_of(chain)) for one in maps]
    else:
        found = [cluster_numbers(one[None], chain_of(chain), enhance, threshold) for one in maps]
    highest = np.array([one.max() for one in found])
    expected = (highest >= found[0][..., None] * (1 - 1e-5)).mean(axis=-1)
    np.testing.assert_allclose(result.enhanced, found[0], rtol=1e-4)
    np.testing.assert_allclose(result.p_enhanced, expected)
    np.testing.assert_allclose(test.observed[0], maps[0])


def chain_of(graph):
    return np.split(graph.indices, graph.indptr[1:-1])
