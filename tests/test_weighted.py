"""Weighted sums of layers: weights by the solvers of others, predictions of what was left out, in every sphere."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import nnls
from scipy.stats import spearmanr, zscore
from sklearn.linear_model import LinearRegression, Ridge

from rsa.core import Patterns, RDMs, Volume
from rsa.errors import UserError
from rsa.measures import fitted_to, mean_of_others
from rsa.neighbourhood import shared_spheres
from rsa.searchlight import RunSettings, region_rdms, scan
from rsa.weighted import weighted_fit, weighted_measure


def folds_by_hand(n_conditions, n_folds, seed):
    """Yield the pairs of each fold as two lists of places."""
    pairs = list(combinations(range(n_conditions), 2))
    for fold in np.array_split(np.random.default_rng(seed).permutation(n_conditions), n_folds):
        left_out = set(fold.tolist())
        inside = [k for k, pair in enumerate(pairs) if left_out.issuperset(pair)]
        yield [k for k, pair in enumerate(pairs) if not left_out & set(pair)], inside


@pytest.mark.parametrize("fit", ["nnls", "ridge"])
def test_predictions_of_unseen_conditions_equal_one_regression_at_a_time(rng, fit):
    n = 13
    layers = rng.random((3, n * (n - 1) // 2)) * [[1], [10], [0.1]]
    brain = rng.random((4, layers.shape[1])) + [[1], [0], [0], [-1]] * layers[0] + 3 * layers[2]
    found = weighted_fit(brain, layers, fit=fit, n_folds=3, penalty=0.3, seed=5)
    scores, weights = np.zeros((3, 4)), np.zeros((3, 4, 3))
    for fold, (train, test) in enumerate(folds_by_hand(n, 3, seed=5)):
        x, spread = layers[:, train].T, layers[:, train].std(axis=1)
        for row, y in enumerate(brain[:, train]):
            if fit == "nnls":
                design = np.column_stack([x, np.ones(len(x)), -np.ones(len(x))])  # a constant of any sign
                weights[fold, row] = nnls(design, y)[0][:3]
            else:
                weights[fold, row] = Ridge(alpha=0.3 * len(train)).fit(x / spread, y).coef_ / spread
            scores[fold, row] = spearmanr(weights[fold, row] @ layers[:, test], brain[row, test]).statistic
    np.testing.assert_allclose(found.weights, weights.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(found.scores, scores.mean(axis=0), atol=1e-9)
    assert (weights > 0).any()


def test_ridge_without_a_penalty_is_least_squares(rng):
    layers, brain = rng.random((2, 66)), rng.random((1, 66))
    expected = [
        LinearRegression().fit(layers[:, train].T, brain[0, train]).coef_ for train, _ in folds_by_hand(12, 4, 0)
    ]
    found = weighted_fit(brain, layers, fit="ridge", penalty=0).weights[0]
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-12)


@pytest.mark.parametrize("fit", ["nnls", "ridge"])
def test_planted_weights_are_found_and_predict_perfectly(rng, fit):
    layers = rng.random((3, 66))
    fitted = weighted_fit([2, 0.5, 1] @ layers + 7, layers, fit=fit, penalty=0, comparison="pearson")
    np.testing.assert_allclose(fitted.weights, [[2, 0.5, 1]], atol=1e-9)
    np.testing.assert_allclose(fitted.scores, [1], atol=1e-12)


@pytest.mark.parametrize("fit", ["nnls", "ridge"])
def test_pairs_of_a_seen_and_an_unseen_condition_play_no_part(rng, fit):
    layers, brain = rng.random((2, 45)), rng.random((3, 45))
    expected = weighted_fit(brain, layers, fit=fit, n_folds=2)
    used = {place for train, test in folds_by_hand(10, 2, 0) for place in train + test}
    mixed = [place for place in range(45) if place not in used]
    assert len(mixed) == 25
    brain[:, mixed], layers[:, mixed] = 1e3 * rng.random((3, 25)), rng.random((2, 25))
    other = weighted_fit(brain, layers, fit=fit, n_folds=2)
    np.testing.assert_array_equal(other.scores, expected.scores)
    np.testing.assert_array_equal(other.weights, expected.weights)


@pytest.mark.parametrize("fit", ["nnls", "ridge"])
def test_random_brains_score_zero_on_average(rng, fit):
    layers, brain = rng.random((5, 190)), rng.random((400, 190))
    scores = weighted_fit(brain, layers, fit=fit).scores
    assert abs(scores.mean()) < 3 * scores.std() / np.sqrt(400)  # 0.16 in the pairs to which weights are fitted


def test_layers_that_only_fit_with_weights_below_zero_score_zero_and_undefined_brains_nothing(rng):
    layers = rng.random((2, 66))
    brain = np.vstack([-layers.sum(axis=0), layers[0], np.full(66, 0.4), layers[1]])
    brain[3, 0] = np.nan
    fitted = weighted_fit(brain, layers)
    np.testing.assert_array_equal(fitted.scores[0], 0)
    np.testing.assert_array_equal(fitted.weights[0], 0)
    assert fitted.scores[1] == 1
    assert np.isnan(fitted.scores[2:]).all()
    assert np.isnan(fitted.weights[3]).all()


def test_layers_that_are_the_same_share_a_weight(rng):
    layer = rng.random((1, 66))
    for fit in ("nnls", "ridge"):
        fitted = weighted_fit(3 * layer, np.vstack([layer, layer]), fit=fit, penalty=1e-9)
        assert fitted.weights.sum() == pytest.approx(3, abs=1e-6)
        assert fitted.scores[0] == pytest.approx(1)


def test_weighted_fits_that_cannot_be_are_refused(rng):
    layers, brain = rng.random((2, 45)), rng.random((1, 45))
    with pytest.raises(UserError, match=r"4 folds of 10 conditions are not\. Change n_folds"):
        weighted_fit(brain, layers)
    with pytest.raises(UserError, match="2 folds or more of 3 conditions or more; 1 folds"):
        weighted_fit(brain, layers, n_folds=1)
    with pytest.raises(UserError, match=r"Unknown fit 'lasso'.*Choose one of: nnls, ridge"):
        weighted_fit(brain, layers, fit="lasso")
    with pytest.raises(UserError, match="RDM 2 of 2 of the layers has NaN or is the same"):
        weighted_fit(brain, np.vstack([layers[0], np.ones(45)]), n_folds=3)


def test_each_layer_by_itself_is_scored_in_the_same_folds(rng):
    layers, brain = rng.random((3, 66)), rng.random((2, 66))
    expected = [
        [[spearmanr(layer[test], one[test]).statistic for layer in layers] for one in brain]
        for _, test in folds_by_hand(12, 4, 0)
    ]
    np.testing.assert_allclose(weighted_fit(brain, layers).alone, np.mean(expected, axis=0), atol=1e-12)


def test_weights_of_other_subjects_are_fitted_to_them_and_scored_on_this_one(rng):
    layers, brain, others = rng.random((2, 66)), rng.random((3, 66)), rng.random((3, 66))
    found = weighted_fit(brain, layers, fitted_to=others)
    np.testing.assert_array_equal(found.weights, weighted_fit(others, layers).weights)
    pairs = list(folds_by_hand(12, 4, 0))
    for row in range(3):
        scores = []
        for train, test in pairs:
            x = np.column_stack([layers[:, train].T, np.ones(len(train)), -np.ones(len(train))])
            weights = nnls(x, others[row, train])[0][:2]
            scores.append(spearmanr(weights @ layers[:, test], brain[row, test]).statistic if weights.any() else 0)
        assert found.scores[row] == pytest.approx(np.mean(scores), abs=1e-9)


def test_the_mean_of_others_leaves_one_out_and_lets_all_count_alike(rng):
    rdms = rng.random((4, 5, 28)) * [[[1]], [[100]], [[0.01]], [[5]]]
    found = mean_of_others(rdms)
    for subject in range(4):
        others = np.delete(rdms, subject, axis=0)
        np.testing.assert_allclose(found[subject], zscore(others, axis=-1).mean(axis=0), atol=1e-12)
    assert np.isnan(mean_of_others(rdms[:1])).all()


# ------------------------------------------------------------------------------------- in every sphere


def study(rng, n_subjects=3, n_conditions=12):
    """Subjects with masks of their own who share what two layers of a network, and noise, make of their voxels."""
    names, table = [f"img{number}" for number in range(n_conditions)], []
    features = [rng.standard_normal((n_conditions, 4)) for _ in range(3)]
    layers = RDMs(
        np.stack([[np.linalg.norm(a - b) for a, b in combinations(one, 2)] for one in features]),
        names,
        pd.DataFrame({"model": "net", "layer": ["1", "2", "3"]}),
    )
    table, subjects = pd.DataFrame({"condition": names}), []
    for _ in range(n_subjects):
        volume = Volume(rng.random((4, 4, 3)) < 0.9, np.eye(4))
        planted = sum(one @ rng.standard_normal((4, volume.n_voxels)) for one in features[:2])
        values = planted + rng.standard_normal(planted.shape)
        subjects.append(Patterns(values, table, volume))
    return subjects, layers


@pytest.mark.parametrize("fit", ["nnls", "ridge"])
@pytest.mark.parametrize("across_subjects", [False, True])
def test_maps_equal_one_fit_at_a_time(rng, fit, across_subjects):
    subjects, layers = study(rng)
    around = shared_spheres([one.volume for one in subjects], 1.5)
    measure = weighted_measure({"net": layers}, across_subjects=across_subjects, fit=fit)
    pairs = list(zip(subjects, around, strict=True))
    scores = scan(*pairs[0], measure, others=pairs[1:], run=RunSettings(n_threads=2, chunk_size=7))
    assert scores.table["model"].tolist() == [f"{fit}:net", "net", "net", "net"]
    assert set(scores.table["statistic"]) == {"spearman"}
    rdms = np.stack([region_rdms(*pair).values for pair in pairs])  # (n_subjects, n_centres, n_pairs)
    seen = zscore(rdms[1:], axis=-1).mean(axis=0) if across_subjects else rdms[0]
    each = weighted_fit(rdms[0], layers.values, fitted_to=seen, fit=fit)
    expected = np.vstack([each.scores[None], each.alone.T])
    np.testing.assert_allclose(scores.values[:, around[0].centres], expected, atol=1e-6)
    assert np.nanmedian(scores.values[0]) > np.nanmedian(scores.values[3]) + 0.2  # the third layer is nowhere


def test_maps_across_subjects_that_cannot_be_are_refused(rng):
    subjects, layers = study(rng)
    around = shared_spheres([one.volume for one in subjects], 1.5)
    measure = weighted_measure({"net": layers}, across_subjects=True)
    with pytest.raises(UserError, match="there is no other; give 2 subjects or more"):
        scan(subjects[0], around[0], measure)
    fewer = shared_spheres([subjects[1].volume, subjects[0].volume], 1.5, stride=2)[0]
    with pytest.raises(UserError, match="at the same places; give all subjects the same centres"):
        scan(subjects[0], around[0], measure, others=[(subjects[1], fewer)])
    delayed = subjects[0].table.assign(delay_s=2.0)
    with pytest.raises(UserError, match="at the same delays; give all subjects the same"):
        scan(
            Patterns(subjects[0].values, delayed, subjects[0].volume),
            around[0],
            measure,
            others=[(subjects[1], around[1])],
        )
    with pytest.raises(UserError, match="net has 1 RDM, and a weighted sum is of 2 or more; leave it out"):
        weighted_measure({"net": layers.subset([0])})
    with pytest.raises(UserError, match="Unknown fit 'lasso'"):
        weighted_measure({"net": layers}, fit="lasso")


def test_rdms_to_which_weights_are_fitted_are_those_of_the_others_at_the_same_place(rng):
    _, layers = study(rng)
    values = rng.random((6, 66))
    own, across = (weighted_measure({"net": layers}, across_subjects=across) for across in (False, True))
    assert fitted_to(own, values, []) is values
    found = fitted_to(across, values, [np.array([0, 3]), np.array([1, 4, 5])])
    np.testing.assert_allclose(found[0], zscore(values[3]), atol=1e-12)
    np.testing.assert_allclose(found[4], zscore(values[[1, 5]], axis=1).mean(axis=0), atol=1e-12)
    assert np.isnan(found[2]).all()


def test_a_constant_brain_rdm_has_no_score_although_no_layer_says_anything_of_it(rng):
    brain = np.vstack([np.ones(66), rng.random(66)])
    scores = weighted_fit(brain, rng.random((3, 66)), n_folds=3).scores
    np.testing.assert_array_equal(np.isnan(scores), [True, False])
