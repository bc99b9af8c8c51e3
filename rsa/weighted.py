"""Weighted sums of layer RDMs, fitted to some conditions (and subjects) and tested on others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from rsa.comparisons import COMPARISONS, Comparison, score_rows, unit_length
from rsa.core import Array, RDMs, align, n_conditions_of
from rsa.errors import UserError
from rsa.measures import Measure, require_defined
from rsa.registry import pick

__all__ = ["FITS", "WeightedFit", "weighted_fit", "weighted_measure"]


@dataclass(frozen=True, eq=False)
class WeightedFit:
    """How well weighted sums of layer RDMs predict brain RDMs of conditions that they have not seen.

    Parameters
    ----------
    scores : array, shape (n_brain,)
        Mean score of the predictions over folds.
    weights : array, shape (n_brain, n_layers)
        Mean over folds, for layer RDMs as they came.
    alone : array, shape (n_brain, n_layers)
        Mean score of each layer by itself over the same folds, with which `scores` can be compared.
    """

    scores: Array
    weights: Array
    alone: Array


def _nnls(layers: Array, brain: Array, penalty: float) -> Array:
    """Return non-negative least-squares weights, (n_brain, n_layers); the penalty plays no part."""
    from scipy.optimize import nnls

    basis, triangle = np.linalg.qr(layers.T)  # the same problem, of n_layers equations
    return np.stack([nnls(triangle, target)[0] for target in brain @ basis])


def _ridge(layers: Array, brain: Array, penalty: float) -> Array:
    """Return ridge weights, (n_brain, n_layers), each layer on the scale of its standard deviation."""
    spread = layers.std(axis=1)
    spread = np.where(spread > 0, spread, 1)
    scaled, n_pairs = layers / spread[:, None], layers.shape[1]
    gram = scaled @ scaled.T + penalty * n_pairs * np.eye(len(layers))
    weights: Array = np.linalg.solve(gram, scaled @ brain.T).T / spread
    return weights


FITS: dict[str, Callable[[Array, Array, float], Array]] = {"nnls": _nnls, "ridge": _ridge}
"""(n_layers, n_pairs) and (n_brain, n_pairs), both centred, and a penalty -> weights (n_brain, n_layers)."""


def weighted_fit(
    brain: Array,
    layers: Array,
    *,
    fitted_to: Array | None = None,
    fit: str = "nnls",
    comparison: str = "spearman",
    n_folds: int = 4,
    penalty: float = 0.01,
    seed: int = 0,
) -> WeightedFit:
    """Predict brain RDMs by weighted sums of layer RDMs, and score the predictions on conditions left out [1]_.

    Conditions are put into folds by chance. Weights and a constant are fitted to pairs of conditions that are both
    outside of a fold, and score on pairs that are both in it; mixed pairs are not used.

    Parameters
    ----------
    brain : array, shape (n_brain, n_pairs)
        Condensed RDMs.
    layers : array, shape (n_layers, n_pairs)
        Condensed RDMs. Squared distances add up over features, so weights of at least 0 are weights of features.
    fitted_to : array, shape (n_brain, n_pairs), optional
        RDMs to which weights are fitted in the place of each, such as the mean of other subjects: then conditions and
        subject are both unseen. By default the brain RDMs themselves.
    fit : {"nnls", "ridge"}
        A key of `FITS`: weights of at least 0, or weights with a penalty on their squares.
    comparison : str
        A key of `COMPARISONS`, by which predictions score.
    n_folds : int
        Each fold has 3 conditions at least.
    penalty : float
        Of ridge: 0 is least squares; 1 counts as much as the variance of a layer.
    seed : int
        Of the folds, which are the same for all brain RDMs.

    Returns
    -------
    WeightedFit
        Scores and weights; NaN where a brain RDM, or the one that weights are fitted to, has NaN or is constant in a
        fold. A prediction that is constant, as
        all weights are 0, predicts nothing and scores 0.

    Raises
    ------
    UserError
        If a layer RDM is constant or NaN, there are fewer than 2 folds, or a fold has fewer than 3 conditions.

    References
    ----------
    .. [1] Storrs KR, Kietzmann TC, Walther A, Mehrer J, Kriegeskorte N (2021). Diverse deep neural networks all predict
       human inferior temporal cortex well, after training and fitting. J Cogn Neurosci 33:2044-2064.
    """
    solve, compared = _solver(fit, penalty), pick(COMPARISONS, comparison, "comparison")
    return _fitted(brain, fitted_to, _folds(layers, compared, n_folds, seed), solve, compared)


class _Fold(NamedTuple):
    """The layers in one fold: which pairs weights are fitted to and tested on, (n_pairs,) of bool, and their RDMs."""

    train: Array
    test: Array
    seen: Array
    """Shape (n_layers, n_train), centred."""
    unseen: Array
    """Shape (n_layers, n_test)."""
    prepared: Array
    """The same, prepared for comparison."""


Solver = Callable[[Array, Array], Array]
"""(n_layers, n_pairs) and (n_brain, n_pairs), both centred -> weights (n_brain, n_layers)."""


def _solver(fit: str, penalty: float) -> Solver:
    solve = pick(FITS, fit, "fit")
    return lambda layers, brain: solve(layers, brain, penalty)


def _folds(layers: Array, comparison: Comparison, n_folds: int, seed: int) -> list[_Fold]:
    """Prepare the layers for every fold, once for all brain RDMs."""
    layers = np.atleast_2d(np.asarray(layers, dtype=np.float64))
    require_defined(unit_length(COMPARISONS["pearson"].prepare(layers)), "layers")
    return [
        _Fold(train, test, _centred(layers[:, train]), layers[:, test], comparison.prepare(layers[:, test]))
        for train, test in _leave_conditions_out(n_conditions_of(layers.shape[1]), n_folds, seed)
    ]


def _centred(rdms: Array) -> Array:
    return np.asarray(rdms - rdms.mean(axis=1, keepdims=True))


def _leave_conditions_out(n_conditions: int, n_folds: int, seed: int) -> list[tuple[Array, Array]]:
    """Return for each fold which pairs are trained on and which are tested, shape (n_pairs,) each."""
    if n_folds < 2 or n_conditions // n_folds < 3:
        raise UserError(
            f"Weights are tested in 2 folds or more of 3 conditions or more; {n_folds} folds of {n_conditions} "
            "conditions are not. Change n_folds."
        )
    first, second = np.triu_indices(n_conditions, 1)
    shuffled = np.random.default_rng(seed).permutation(n_conditions)
    in_test = [np.isin(np.arange(n_conditions), fold) for fold in np.array_split(shuffled, n_folds)]
    return [(~left_out[first] & ~left_out[second], left_out[first] & left_out[second]) for left_out in in_test]


def _fitted(
    brain: Array, fitted_to: Array | None, folds: Sequence[_Fold], solve: Solver, comparison: Comparison
) -> WeightedFit:
    """Average over folds; NaN where an RDM has NaN."""
    brain = np.atleast_2d(np.asarray(brain, dtype=np.float64))
    seen = brain if fitted_to is None else np.atleast_2d(np.asarray(fitted_to, dtype=np.float64))
    defined = np.isfinite(brain).all(axis=1) & np.isfinite(seen).all(axis=1)
    n_layers = len(folds[0].seen)
    scores, (weights, alone) = np.full(len(brain), np.nan), np.full((2, len(brain), n_layers), np.nan)
    if defined.any():
        fits = [_fit_in(fold, brain[defined], seen[defined], solve, comparison) for fold in folds]
        scores[defined] = np.mean([fit.scores for fit in fits], axis=0)
        weights[defined] = np.mean([fit.weights for fit in fits], axis=0)
        alone[defined] = np.mean([fit.alone for fit in fits], axis=0)
    return WeightedFit(scores, weights, alone)


def _fit_in(fold: _Fold, brain: Array, fitted_to: Array, solve: Solver, comparison: Comparison) -> WeightedFit:
    """Fit weights to some pairs and score their predictions of others."""
    weights = solve(fold.seen, _centred(fitted_to[:, fold.train]))
    predicted, unseen = weights @ fold.unseen, brain[:, fold.test]
    prepared = comparison.prepare(unseen)
    scores = score_rows(comparison.prepare(predicted), prepared, comparison)
    says_nothing = (np.ptp(predicted, axis=1) == 0) & (np.ptp(unseen, axis=1) > 0)
    return WeightedFit(np.where(says_nothing, 0, scores), weights, comparison.score(prepared, fold.prepared))


def weighted_measure(
    models: Mapping[str, RDMs],
    *,
    across_subjects: bool = False,
    fit: str = "nnls",
    comparison: str = "spearman",
    n_folds: int = 4,
    penalty: float = 0.01,
    seed: int = 0,
) -> Measure:
    """Measure how well weighted sums of the layers of each model predict conditions left out (see `weighted_fit`).

    Parameters
    ----------
    models : mapping from name to RDMs
        The layers of each model, 2 or more.
    across_subjects : bool
        Weights are fitted to the mean RDM of the other subjects.
    fit, comparison, n_folds, penalty, seed
        As in `weighted_fit`.

    Returns
    -------
    Measure
        For each model a row for the weighted sum (`model` "nnls:alexnet", no layer), then one for each layer by itself
        in the same folds; the statistic is the comparison.

    Raises
    ------
    UserError
        As `weighted_fit`, and if conditions differ or a model has fewer than 2 layers.
    """
    conditions = next(iter(models.values())).conditions
    solve, compared = _solver(fit, penalty), pick(COMPARISONS, comparison, "comparison")
    folds, tables = [], []
    for name, rdms in models.items():
        if len(rdms) < 2:
            raise UserError(f"{name} has {len(rdms)} RDM, and a weighted sum is of 2 or more; leave it out.")
        folds.append(_folds(align(conditions, rdms).values, compared, n_folds, seed))
        tables += [pd.DataFrame({"model": [f"{fit}:{name}"], "layer": ""}), rdms.table[["model", "layer"]]]

    def score(brain: Array, fitted_to: Array) -> Array:
        fits = [_fitted(brain, fitted_to, of_model, solve, compared) for of_model in folds]
        return np.vstack([part for one in fits for part in (one.scores[None], one.alone.T)])

    table = pd.concat(tables, ignore_index=True).assign(statistic=comparison)
    return Measure(conditions, table, score, "other_subjects" if across_subjects else "same")
