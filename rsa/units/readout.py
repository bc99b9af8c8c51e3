"""Linear read-out of categories from the patterns of layers, cross-validated.

A linear method with a quadratic penalty needs no more of patterns than their products, (n_conditions, n_conditions), so
layers of any width are read out alike, and exactly.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from rsa.core import Array
from rsa.distances import CrossProducts
from rsa.errors import UserError, listed
from rsa.files import io
from rsa.progress import progress
from rsa.units.found import Found, Table, load_arrays
from rsa.units.settings import Codes

__all__ = [
    "READOUT",
    "Design",
    "PairReadouts",
    "accuracy",
    "design_of",
    "fits_of_layers",
    "kernel_of",
    "predictions",
    "readout",
]

log = logging.getLogger(__name__)

PENALTY = 1.0
"""Of the ridge regression, on patterns scaled so that their mean squared distance from their mean is 1."""

FEWEST = 2
"""Conditions of a category: with one, there is none to learn from when it is left out."""

BATCH_BYTES = 2**25
"""So much of the systems of several orders is held at once."""

EQUAL = 1e-9
"""Values of categories that differ by less are equal, so that rounding does not choose."""

READOUT = {
    "layer": "Layer of the network",
    "accuracy": "Balanced accuracy: the share of conditions whose category is read out, mean over categories",
    "chance": "1 / number of categories",
    "p": "p value by permutation: in how many orders of the conditions the accuracy is as high or higher",
    "p_corrected": "The same, of the highest accuracy of all layers (family-wise error over layers)",
    "n_conditions": "Number of conditions",
    "n_categories": "Number of categories",
    "n_folds": "Number of folds of the cross-validation",
}
"""The columns of the table of the read-out."""

PAIRS = {
    "layer": "Layer of the network",
    "category_a": "First category",
    "category_b": "Second category",
    "accuracy": "Balanced accuracy of telling the two apart; .5 by chance",
    "n": "Number of conditions of the two",
    "n_right": "Number of these whose category is read out",
}
"""The columns of the table of pairs of categories."""

SINGLES = ("place", "is_second", "is_right")
"""What is kept of each condition of each pair of categories: see `readout`."""

FITS = {
    "layer": "Layer of the network",
    "region": "Region of interest",
    "score": "Similarity of the RDMs of layer and region, mean over subjects (and delays, if there are several)",
    "n_subjects": "Number of subjects",
}
"""The columns of the table of fits beside the read-out."""


# ----------------------------------------------------------------------------------------------- design


@dataclass(frozen=True)
class Design:
    """Which conditions are read out, and in which folds.

    Parameters
    ----------
    places : array of int, shape (n_conditions,)
        The places of the conditions that have a category, among all.
    numbers : array of int, shape (n_conditions,)
        The number of the category of each.
    names : sequence of str
        The categories, in order of appearance.
    folds : array of int, shape (n_conditions,)
        In which fold each is left out: the conditions of a category are spread evenly over folds.
    """

    places: Array
    numbers: Array
    names: Sequence[str]
    folds: Array

    @cached_property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.folds.max()) + 1

    @property
    def chance(self) -> float:
        """Balanced accuracy of guessing."""
        return 1 / len(self.names)

    def of_pair(self, a: int, b: int) -> "tuple[Array, Design]":
        """Return where the conditions of two categories are among these, and their design, in the same folds."""
        own = np.flatnonzero((self.numbers == a) | (self.numbers == b))
        numbers = (self.numbers[own] == b).astype(int)
        return own, Design(self.places[own], numbers, [self.names[a], self.names[b]], self.folds[own])


def design_of(categories: Array, n_folds: int, seed: int) -> Design | None:
    """Return the categories that can be read out, and their folds; None of fewer than two.

    Parameters
    ----------
    categories : array of str, shape (n_conditions,)
        "" where a condition has none.
    n_folds : int
        Folds; fewer, if a category has fewer conditions.
    seed : int
        Of the conditions of each fold.
    """
    from sklearn.model_selection import StratifiedKFold

    without = int((categories == "").sum())
    sizes = pd.Series(categories[categories != ""], dtype=object).value_counts(sort=False)
    small = [str(name) for name, n in sizes.items() if n < FEWEST]
    if without:
        log.info("Conditions without a category, which are not read out: %d.", without)
    if small:
        log.info("Categories of fewer than %d conditions are not read out: %s.", FEWEST, listed(small))
    names = [str(name) for name, n in sizes.items() if n >= FEWEST]
    if len(names) < 2:
        log.info("There are fewer than two categories of at least %d conditions: nothing is read out.", FEWEST)
        return None
    places = np.flatnonzero(np.isin(categories, names))
    number = {name: i for i, name in enumerate(names)}
    numbers = np.array([number[str(name)] for name in categories[places]])
    least = int(np.bincount(numbers).min())
    if least < n_folds:
        log.info("The read-out has %d folds, as a category has %d conditions.", least, least)
    splitter = StratifiedKFold(min(n_folds, least), shuffle=True, random_state=seed)
    folds = np.empty(len(places), int)
    for fold, (_, left_out) in enumerate(splitter.split(np.zeros(len(places)), numbers)):
        folds[left_out] = fold
    return Design(places, numbers, names, folds)


# ------------------------------------------------------------------------------------------ one read-out


def kernel_of(products: CrossProducts, places: Array) -> Array:
    """Return the products of patterns less their mean, (n_conditions, n_conditions), scaled to 1 on average for each.

    Neither the mean nor the scale knows a category.
    """
    n = len(products.squares)
    gram = np.diag(products.squares)
    rows, columns = np.triu_indices(n, 1)
    gram[rows, columns] = gram[columns, rows] = products.products
    gram = gram[np.ix_(places, places)]
    means = gram.mean(axis=0)
    centred = gram - means - means[:, None] + means.mean()
    scale = np.trace(centred) / len(centred)
    return np.asarray(centred / scale if scale > 0 else centred)


def predictions(kernel: Array, design: Design, orders: Array, penalty: float = PENALTY) -> Array:
    """Return the category that is read out of each condition while its fold is left out, for several orders of them.

    The indicators of categories are regressed on patterns with a quadratic penalty (ridge), each category with the same
    weight in all, and a condition has the category whose indicator is highest, of equal ones the earlier: the ridge
    classifier of scikit-learn with balanced classes, in the dual.

    A weight divides the penalty of a condition. So the system of a fold is that of all conditions with one penalty, but
    for exceptions: conditions that are left out, and those of categories with another weight. The inverse of the former
    is found once for all orders, and each order solves for the exceptions alone. Where these are too many, it solves
    for the conditions of the fold.

    Parameters
    ----------
    kernel : array, shape (n_conditions, n_conditions)
        Products of patterns.
    orders : array of int, shape (n_orders, n_conditions)
        Which condition stands at each place of the design.

    Returns
    -------
    array of int, shape (n_orders, n_conditions)
        For each place of the design.
    """
    folds = [_Fold.of(design, number, penalty, len(orders)) for number in range(design.n_folds)]
    bases = {fold.base for fold in folds if fold.is_shared}
    inverses = {base: np.linalg.inv(kernel + base * np.eye(len(kernel))) for base in bases}
    size = max(1, BATCH_BYTES // (8 * max(fold.n_numbers for fold in folds)))
    found = np.empty(orders.shape, int)
    for start in range(0, len(orders), size):
        some = slice(start, start + size)
        for own, values in _regressed(kernel, inverses, folds, orders[some]):
            found[some, own] = (values >= values.max(axis=2, keepdims=True) - EQUAL).argmax(axis=2)
    return found


@dataclass(frozen=True)
class _Fold:
    """A fold that is left out.

    Parameters
    ----------
    test, train : array of int
        Places of the conditions that are left out, and of the others.
    penalties : array, shape (n_train,)
        Of the others: the penalty over their weights.
    base : float
        The penalty that most of them have.
    indicators : array, shape (n_conditions, n_categories)
        1 where a condition is of a category, else 0.
    n_orders : int
        In how many orders of the conditions.
    """

    test: Array
    train: Array
    penalties: Array
    base: float
    indicators: Array
    n_orders: int

    @classmethod
    def of(cls, design: Design, fold: int, penalty: float, n_orders: int) -> "_Fold":
        """Leave a fold of a design out."""
        test, train = np.flatnonzero(design.folds == fold), np.flatnonzero(design.folds != fold)
        numbers, n_categories = design.numbers[train], len(design.names)
        sizes = np.bincount(numbers, minlength=n_categories)
        penalties = penalty * n_categories * sizes[numbers] / len(train)
        values, counts = np.unique(penalties, return_counts=True)
        indicators = np.asarray(design.numbers[:, None] == np.arange(n_categories), float)
        return cls(test, train, penalties, float(values[counts.argmax()]), indicators, n_orders)

    @cached_property
    def exceptions(self) -> Array:
        """Places of the conditions that are left out, and behind them of the others whose penalty is not the base."""
        return np.concatenate([self.test, self.train[self.penalties != self.base]])

    @property
    def is_shared(self) -> bool:
        """Whether an inverse for all orders saves work, beside a Cholesky factor of the fold for each."""
        saved = len(self.train) ** 3 - 2 * len(self.exceptions) ** 3
        return self.n_orders * saved > 6 * len(self.indicators) ** 3

    @property
    def n_numbers(self) -> int:
        """How many numbers of an order are held at once."""
        return 4 * self.indicators.size + self.is_shared * 2 * len(self.exceptions) ** 2


def _regressed(
    kernel: Array, inverses: Mapping[float, Array], folds: Sequence[_Fold], orders: Array
) -> Iterator[tuple[Array, Array]]:
    """Yield the places of each fold, and the regressed indicators there, (n_orders, n_test, n_categories)."""
    indicators = folds[0].indicators[np.argsort(orders, axis=1)]  # of each condition, (n_orders, n_conditions, ...)
    wholes = {base: np.tensordot(inverse, indicators, (1, 1)) for base, inverse in inverses.items()}
    for fold in folds:
        if fold.is_shared:
            values, sums = _by_exceptions(inverses[fold.base], wholes[fold.base], fold, orders)
        else:
            each = [_by_fold(kernel, fold, order) for order in orders]
            values, sums = (np.stack(one) for one in zip(*each, strict=True))
        yield fold.test, _with_constants(values, sums)


def _by_exceptions(inverse: Array, whole: Array, fold: _Fold, orders: Array) -> tuple[Array, Array]:
    """Regress indicators without a constant, in several orders, as `_by_fold` does in one.

    Be x the duals of all conditions, 0 of those that are left out. Then (kernel + base) x = indicators + u, where u is
    0 but for the exceptions: there it is (base - penalty) x, and, of a condition that is left out, what is predicted
    less its indicator.

    Parameters
    ----------
    inverse : array, shape (n_conditions, n_conditions)
        Of kernel + base.
    whole : array, shape (n_conditions, n_orders, n_categories)
        The inverse times the indicators.
    """
    at, n_test = orders[:, fold.exceptions], len(fold.test)  # (n_orders, n_exceptions)
    system = np.stack([_among(inverse, one, one) for one in at])
    others = np.arange(n_test, len(fold.exceptions))
    system[:, others, others] += 1 / (fold.penalties[fold.penalties != fold.base] - fold.base)
    u = -np.linalg.solve(system, whole[at, np.arange(len(orders))[:, None]])  # (n_orders, n_exceptions, n_categories)
    column_sums = inverse.sum(axis=0)
    sums = column_sums[orders] @ fold.indicators + np.einsum("or,orc->oc", column_sums[at], u)
    return fold.indicators[fold.test] + u[:, :n_test], sums


def _by_fold(kernel: Array, fold: _Fold, order: Array) -> tuple[Array, Array]:
    """Regress indicators of categories without a constant, in one order.

    Returns
    -------
    array, shape (n_test, n_categories)
        What is predicted of the conditions that are left out.
    array, shape (n_categories,)
        The sums of the duals.
    """
    from scipy.linalg import cho_factor, cho_solve

    train, test = order[fold.train], order[fold.test]
    system = _among(kernel, train, train)
    system[np.diag_indices_from(system)] += fold.penalties
    factor = cho_factor(system, overwrite_a=True, check_finite=False)
    duals = cho_solve(factor, fold.indicators[fold.train], check_finite=False)
    return _among(kernel, test, train) @ duals, duals.sum(axis=0)


def _among(square: Array, rows: Array, columns: Array) -> Array:
    """Return some rows and columns, in a way that is faster than to index both at once."""
    return square.take(rows, axis=0).take(columns, axis=1)


def _with_constants(values: Array, sums: Array) -> Array:
    """Add the constants of the regression: duals add up to 0 with them.

    The indicators of all categories add up to 1, so a constant is regressed as their sum is.
    """
    constants = (sums / sums.sum(axis=1, keepdims=True))[:, None]
    return np.asarray(values + constants * (1 - values.sum(axis=2, keepdims=True)))


def accuracy(read: Array, design: Design) -> Array:
    """Return the balanced accuracy of categories that were read out, (n_orders, n_conditions) -> (n_orders,)."""
    right = read == design.numbers
    return np.asarray(np.mean([right[:, design.numbers == k].mean(axis=1) for k in range(len(design.names))], axis=0))


def _of_orders(kernel: Array, design: Design, orders: Array) -> Array:
    """Return the accuracies of conditions in other orders, (n_orders, n_conditions) -> (n_orders,)."""
    return accuracy(predictions(kernel, design, orders), design)


def _orders(design: Design, settings: Codes) -> Array:
    """Return orders of the conditions, the same for all layers, (1 + n_permutations, n_conditions), their own first."""
    rng, n = np.random.default_rng(settings.seed), len(design.places)
    return np.stack([np.arange(n), *(rng.permutation(n) for _ in range(settings.permutations))])


# --------------------------------------------------------------------------------------------- all layers


def readout(layers: Iterable[tuple[str, CrossProducts]], n_layers: int, design: Design, settings: Codes) -> Found:
    """Read categories out of layers, with p values by permutation.

    Conditions change places, with the folds as they are, and everything is computed again, the cross-validation too.
    The order that is true counts as one of them, so no p is 0.

    Parameters
    ----------
    layers : iterable of (str, CrossProducts)
        Layers, and the products of the patterns of all conditions.
    n_layers : int
        How many there are.

    Returns
    -------
    Found
        The tables `readout` and `readout_pairs`; of all conditions of each pair, one after the other, `place` among all
        conditions, `is_second`, whether it is of the second category, and `is_right`, whether that is read out.
    """
    orders = _orders(design, settings)
    names, accuracies, pairs, singles = [], [], [], list[dict[str, Array]]()
    with progress(n_layers, "layers", "read-out of categories") as advance:
        for layer, products in layers:
            kernel = kernel_of(products, design.places)
            names.append(layer)
            accuracies.append(_of_orders(kernel, design, orders))
            for pair, single in _pairs(kernel, design):
                pairs.append({"layer": layer, **pair})
                singles.append(single)
            advance(1)
    rows = pd.DataFrame({"layer": names, **_tested(np.stack(accuracies))}).assign(
        chance=design.chance,
        n_conditions=len(design.places),
        n_categories=len(design.names),
        n_folds=design.n_folds,
    )
    tables = {"readout": Table(rows, READOUT), "readout_pairs": Table(pd.DataFrame(pairs), PAIRS)}
    return Found(tables, {name: np.concatenate([single[name] for single in singles]) for name in SINGLES})


def _tested(accuracies: Array) -> dict[str, Array]:
    """Return accuracies and their p values, of (n_layers, 1 + n_permutations); NaN without permutations."""
    true, least = accuracies[:, 0], accuracies[:, 0] - 1e-9  # equal accuracies count, whatever rounding does
    if accuracies.shape[1] == 1:
        return {"accuracy": true, "p": np.full(len(true), np.nan), "p_corrected": np.full(len(true), np.nan)}
    own = (accuracies >= least[:, None]).mean(axis=1)
    corrected = (accuracies.max(axis=0) >= least[:, None]).mean(axis=1)
    return {"accuracy": true, "p": own, "p_corrected": corrected}


def _pairs(kernel: Array, design: Design) -> Iterator[tuple[dict[str, object], dict[str, Array]]]:
    """Tell each category from each other one: a row of `PAIRS`, and what is read out of single conditions."""
    for a, b in combinations(range(len(design.names)), 2):
        own, pair = design.of_pair(a, b)
        read = predictions(kernel[np.ix_(own, own)], pair, np.arange(len(own))[None])
        is_right = read[0] == pair.numbers
        row = {
            "category_a": design.names[a],
            "category_b": design.names[b],
            "accuracy": float(accuracy(read, pair)[0]),
            "n": len(own),
            "n_right": int(is_right.sum()),
        }
        yield row, {"place": pair.places, "is_second": pair.numbers == 1, "is_right": is_right}


@dataclass(frozen=True, eq=False)
class PairReadouts:
    """How well each two categories are told apart, condition by condition.

    Parameters
    ----------
    rows : DataFrame
        Columns `PAIRS`.
    singles : sequence of mapping
        Of the conditions of each row, in the same order: `place`, `is_second` and `is_right` (see `readout`), shape
        (n,) each.
    n_folds : int
        Folds of the cross-validation.
    """

    rows: pd.DataFrame
    singles: Sequence[dict[str, Array]]
    n_folds: int

    @classmethod
    def of(cls, folder: Path) -> "PairReadouts | None":
        """Read them from the folder of a network's units; None where no categories were read out.

        Raises
        ------
        UserError
            If there is nothing of single conditions, as in folders of earlier versions.
        """
        if not (folder / "readout_pairs.tsv").is_file():
            return None
        rows, arrays = io.load_table(folder / "readout_pairs.tsv", ("n_right",)), load_arrays(folder, "readout")
        ends = rows["n"].cumsum().to_numpy()
        if any(len(arrays.get(name, ())) != ends[-1] for name in SINGLES):
            raise UserError(f"{folder} does not say which conditions were read out; run the study again.")
        parts = {name: np.split(arrays[name], ends[:-1]) for name in SINGLES}
        singles = [{name: part[i] for name, part in parts.items()} for i in range(len(rows))]
        return cls(rows, singles, int(io.load_table(folder / "readout.tsv")["n_folds"].iloc[0]))


def fits_of_layers(fits: pd.DataFrame, model: str, layers: Sequence[str]) -> Table | None:
    """Return how well layers of a network fit regions, mean over subjects (and times); None if no fit is of it."""
    own = fits[(fits["model"] == model) & fits["layer"].isin(list(layers)) & fits["score"].notna()]
    if own.empty:
        return None
    groups = own.groupby(["region", "layer"], sort=False)
    rows = groups.agg(score=("score", "mean"), n_subjects=("subject", "nunique")).reset_index()
    order = {layer: i for i, layer in enumerate(layers)}
    rows = rows.sort_values(["region", "layer"], key=lambda one: one.map(order).fillna(-1), kind="stable")
    return Table(rows, FITS)
