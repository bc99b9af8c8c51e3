"""What is measured of brain RDMs: labels, and a function from RDMs to numbers.

A comparison with reference RDMs is the plainest; `rsa.partition` and `rsa.weighted` make others. Searchlights, regions
and M/EEG over time take any of them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsa.comparisons import COMPARISONS, Comparison, score_rows, z_scored
from rsa.core import QUALITY, Array, RDMs, align, require_enough
from rsa.errors import UserError
from rsa.registry import pick

__all__ = [
    "ComparisonMeasure",
    "Measure",
    "Products",
    "aligned",
    "comparison_measure",
    "fitted_to",
    "mean_of_others",
    "one_after_the_other",
    "reliability_measure",
    "require_defined",
    "some_rows",
]


NEGLIGIBLE = 1e-7
"""Length, of rows of length 1, that may be lost where rows are given in few dimensions."""

WORTHWHILE = 0.7
"""Share of dimensions below which that saves time."""

RELIABILITY = {"model": "reliability", "layer": "", "role": QUALITY}
"""The labels of the score of odd with even runs."""


@dataclass(frozen=True, eq=False)
class Products:
    """A measure as a function of the products of brain RDMs with fixed rows, which permutations repeat cheaply.

    Parameters
    ----------
    prepare : callable
        ``(n_brain, n_pairs) -> (n_brain, n_pairs)``; NaN where an RDM is NaN, or constant and so without a score.
    rows : array, shape (n_fixed, n_pairs)
        What prepared brain RDMs are multiplied with; when conditions are permuted, their rows and columns are.
    finish : callable, optional
        ``(..., n_fixed, n_brain) products -> (..., n_rows, n_brain)``; without it, products are the scores.
    is_linear : bool
        Whether the mean score of several subjects is the score of the mean of their prepared RDMs.
    """

    prepare: Callable[[Array], Array]
    rows: Array
    finish: Callable[[Array], Array] | None = None
    is_linear: bool = True

    def compressed(self) -> "Products":
        """Return the same with fewer rows, if they lie in few dimensions, as RDMs at close times may: right to 1e-7."""
        known = np.flatnonzero(np.isfinite(self.rows).all(axis=1))
        if len(known) < 2 or self.finish is not None:
            return self
        left, sizes, axes = np.linalg.svd(self.rows[known], full_matrices=False)
        coordinates = left * sizes
        beyond = np.cumsum(coordinates[:, ::-1] ** 2, axis=1)[:, ::-1]  # what is lost from each dimension on
        n_kept = int((beyond.max(axis=0) > NEGLIGIBLE**2).sum())
        if n_kept > WORTHWHILE * len(known):
            return self
        weights = np.full((len(self.rows), n_kept), np.nan, np.float32)
        weights[known] = coordinates[:, :n_kept]
        return Products(self.prepare, axes[:n_kept], lambda products: weights @ products)


@dataclass(frozen=True, eq=False)
class Measure:
    """What is measured of brain RDMs.

    Parameters
    ----------
    conditions : sequence of str
        The order in which `score` takes the conditions of RDMs.
    table : DataFrame
        A row for each number that is measured: `model`, `layer`, `statistic` and, if it has a time, `time_s`;
        `role` where it is no score of a reference (see `rsa.core.ScoreMap`).
    score : callable
        ``(n_brain, n_pairs), (n_brain, n_pairs) -> (n_rows, n_brain)``: RDMs that are measured, and beside each what
        `second` says. NaN where an RDM is constant or NaN. In a searchlight it may return `rsa.searchlight.Scored`.
    second : {"same", "other_subjects", "other_half"}
        What the second argument of `score` is: the same RDMs; those to which weights are fitted, the mean of the other
        subjects (`mean_of_others`); or those of the even runs beside those of the odd.
    products : Products, optional
        The same measure by products, where it is such a function.

    Raises
    ------
    UserError
        If there are fewer than 3 conditions.
    """

    conditions: Sequence[str]
    table: pd.DataFrame
    score: Callable[[Array, Array], Any]
    second: Literal["same", "other_subjects", "other_half"] = "same"
    products: Products | None = None

    def __post_init__(self) -> None:
        require_enough(self.conditions, "the references")


def some_rows(measure: Measure, rows: Array) -> Measure:
    """Return a measure of some of its rows, by position."""
    products = measure.products
    if products is not None and (finish := products.finish) is not None:
        products = replace(products, finish=lambda found: finish(found)[..., rows, :])
    elif products is not None:
        products = replace(products, rows=products.rows[rows])
    return Measure(
        measure.conditions,
        measure.table.iloc[rows].reset_index(drop=True),
        lambda brain, second: measure.score(brain, second)[rows],
        measure.second,
        products,
    )


@dataclass(frozen=True, eq=False)
class ComparisonMeasure(Measure):
    """A comparison with references, which a GPU may know as well.

    Parameters
    ----------
    references : array, shape (n_rows, n_pairs)
        As the comparison prepares them.
    comparison : Comparison
        An entry of `COMPARISONS`.
    """

    references: Array = field(kw_only=True)
    comparison: Comparison = field(kw_only=True)

    def with_products_of(self, dtype: npt.DTypeLike) -> "ComparisonMeasure":
        """Return the same measure with products of this type."""
        return replace(self, score=_scores_of(self.references, self.comparison, dtype))


def comparison_measure(references: RDMs, comparison: str) -> ComparisonMeasure:
    """Measure how similar brain RDMs and references are, by a key of `COMPARISONS`."""
    compared = pick(COMPARISONS, comparison, "comparison")
    prepared, table = compared.prepare(references.values), references.table.assign(statistic=comparison)
    score = _scores_of(prepared, compared, np.float64)
    scaled = compared.scaled
    products = None
    if scaled is not None:
        products = Products(lambda brain: scaled(compared.prepare(brain)), scaled(prepared))
    return ComparisonMeasure(
        references.conditions, table, score, products=products, references=prepared, comparison=compared
    )


def _scores_of(references: Array, compared: Comparison, dtype: npt.DTypeLike) -> Callable[[Array, Array], Array]:
    """Return the function that compares RDMs with prepared references."""
    prepared = references.astype(dtype, copy=False)
    return lambda brain, _: compared.score(prepared, compared.prepare(brain).astype(dtype, copy=False))


def reliability_measure(measure: Measure, comparison: str) -> Measure:
    """Measure how similar the RDM of the odd runs is to that of the even runs, with the labels of another measure."""
    compared, labels = pick(COMPARISONS, comparison, "comparison"), measure.table
    blank = {name: "" for name in labels if labels[name].dtype.kind not in "fiub"}
    table = pd.DataFrame([blank | RELIABILITY | {"statistic": comparison}])

    def score(odd: Array, even: Array) -> Array:
        return score_rows(compared.prepare(odd), compared.prepare(even), compared)[None]

    return Measure(measure.conditions, table, score, second="other_half")


def one_after_the_other(measures: Sequence[Measure]) -> Measure:
    """Make one measure of several over the same conditions, within subjects: the rows of all."""
    table = pd.concat([measure.table for measure in measures], ignore_index=True)
    return Measure(
        measures[0].conditions,
        table,
        lambda brain, seen: np.concatenate([measure.score(brain, seen) for measure in measures]),
    )


def aligned(measure: Measure, brain: RDMs, name: str = "brain RDMs") -> Array:
    """Return the values of brain RDMs in the conditions' order of a measure, shape (n_brain, n_pairs)."""
    return align(measure.conditions, brain, "reference RDMs", name).values


def fitted_to(measure: Measure, values: Array, places: Iterable[Array]) -> Array:
    """Return the RDMs to which weights are fitted, (n_brain, n_pairs), for the second argument of `Measure.score`.

    Parameters
    ----------
    measure : Measure
        It says whether these are other subjects' RDMs, or the same.
    values : array, shape (n_brain, n_pairs)
        RDMs that are measured.
    places : iterable of arrays of int
        For each region or time: its rows, one for each subject.
    """
    if measure.second != "other_subjects":
        return values
    others = np.full(values.shape, np.nan)
    for rows in places:
        others[rows] = mean_of_others(values[rows])
    return others


def mean_of_others(rdms: Array) -> Array:
    """Return for each subject the mean of the other subjects' z-scored RDMs: (n_subjects, ..., n_pairs) -> the same.

    Dissimilarities of one subject may be larger than those of another; z-scored, all subjects count alike. NaN for one
    subject alone, and where another subject's RDM is constant or NaN.
    """
    if len(rdms) < 2:
        return np.full(rdms.shape, np.nan)
    standard = z_scored(rdms)
    return np.asarray((standard.sum(axis=0) - standard) / (len(rdms) - 1))


def require_defined(rows: Array, what: str) -> Array:
    """Return prepared RDMs of length 1 if all of them can explain something.

    Raises
    ------
    UserError
        If one is NaN: it was constant, or had gaps.
    """
    (undefined,) = np.nonzero(np.isnan(rows).any(axis=1))
    if len(undefined):
        raise UserError(
            f"RDM {undefined[0] + 1} of {len(rows)} of the {what} has NaN or is the same for all pairs, so it can "
            "explain nothing; leave it out."
        )
    return rows
