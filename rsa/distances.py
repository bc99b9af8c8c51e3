"""From patterns to condensed RDMs: every distance here is a function of the sums of products of features.

That is what lets a layer of a million units stream through in blocks, and a sphere of voxels be measured by one
matrix product: nobody needs the features again once their cross-products are known.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rsa.core import Array

__all__ = [
    "CENTRED",
    "CROSS_VALIDATED",
    "DISTANCES",
    "UNIT",
    "CrossProducts",
    "Distance",
    "ProductSums",
    "cross_products",
    "rdm_vectors",
    "rounding_between_runs",
    "rounding_errors",
]

UNIT = 2.0**-53
"""By what share of its result one operation in double precision may be off."""

CENTRED = 3
"""How many times the rounding error of a sum of squares that of a variance may be: the squares, and twice the mean."""

BLOCK = 1024
"""Features whose products are summed at once: few additions for each, at the full speed of the matrix library."""

LEAST_VARIANCE = 0.1
"""Of the variance within runs: less between runs counts as this share (see `cv_correlation`)."""

ORIGINS = ("zero", "pattern", "feature")
"""What may be subtracted from patterns: nothing, a number from each pattern, a number from each feature."""


@dataclass(frozen=True)
class CrossProducts:
    """Sums over features from which the distances follow.

    Parameters
    ----------
    products : array, shape (..., n_pairs), float64
        Sum over features of the products of two conditions, pairs in condensed order.
    squares : array, shape (..., n_conditions), float64
        Sum over features of the squares of each condition.
    sums : array, shape (..., n_conditions), float64
        Sum over features of each condition.
    n_features : array of int, shape (...)
        Number of features.
    within : array, shape (..., n_conditions), optional
        Where `products` and `squares` are means over pairs of patterns of different runs: the same for patterns of the
        same run, each with itself included.
    rounding : array, shape (..., n_conditions), optional
        How far rounding may have put `squares` off, and `products` by the root of the product of two of these (see
        `rounding_errors`). By default that of sums over all features in any order.
    """

    products: Array
    squares: Array
    sums: Array
    n_features: Array
    within: Array | None = None
    rounding: Array | None = None

    @property
    def off_by(self) -> Array:
        """The rounding errors of `squares`, shape (..., n_conditions)."""
        if self.rounding is not None:
            return self.rounding
        return rounding_errors(self.squares, np.asarray(self.n_features)[..., None])


def rounding_errors(squares: Array, n_terms: Array | int) -> Array:
    """Bound the rounding errors of sums of products, whatever order a processor makes the sums in [1]_.

    Parameters
    ----------
    squares : array, shape (..., n_conditions)
        Sums of the squares of what was multiplied, which bound the sums of the absolute products of two conditions.
    n_terms : array or int
        Of how many terms each sum is; if it is made in blocks, of how many a block is, and how many blocks there are.

    References
    ----------
    .. [1] Higham NJ (2002). Accuracy and stability of numerical algorithms, 2nd edition. SIAM, sections 3.1 and 4.2.
    """
    return np.asarray(UNIT * (np.asarray(n_terms) + 4) * squares)  # 4: what is done with sums afterwards


def rounding_between_runs(energies: Array, n_features: Array | int, n_runs: int) -> Array:
    """Bound the rounding errors of products between runs: those of the sum over runs less those within each run.

    Parameters
    ----------
    energies : array, shape (..., n_conditions)
        Sums of squares within runs, over features and runs. Those of the sum over runs are up to `n_runs` times as
        large.
    n_features : array or int
        Number of features.
    n_runs : int
        Number of runs; with one, products are those within it.
    """
    n_rows = 1 if n_runs == 1 else n_runs + 1
    return rounding_errors(n_rows * energies, n_rows * (np.asarray(n_features) + 2))


@dataclass(frozen=True)
class Distance:
    """A dissimilarity between patterns.

    Parameters
    ----------
    from_products : callable
        ``CrossProducts -> (..., n_pairs)`` dissimilarities in condensed order, NaN where undefined.
    origin : {"pattern", "feature", "zero"}
        What may be subtracted without changing the distance, so that nothing is lost to large offsets: a number
        from each pattern, a number from each feature, or nothing.
    summary : str
        One line for the documentation.
    words : str
        What the methods text calls it; by default the summary.
    words_unwhitened : str
        What the methods text calls it where patterns are not whitened, if that has another name.
    paper : str
        The paper to cite, a key of `rsa.papers.PAPERS`; empty if the distance needs none.
    zero_of_noise : bool
        Whether the distances of noise are 0 on average, and so as often negative as positive.
    on_gpu : str
        The function of `rsa.gpu` that computes the same in torch; without one, the CPU does the work.
    """

    from_products: Callable[[CrossProducts], Array]
    origin: Literal["pattern", "feature", "zero"]
    summary: str
    words: str = ""
    words_unwhitened: str = ""
    paper: str = ""
    zero_of_noise: bool = False
    on_gpu: str = ""


def correlation(products: CrossProducts) -> Array:
    """Return 1 - Pearson r over features; NaN where a pattern is constant."""
    return _normalised(products)


def cosine(products: CrossProducts) -> Array:
    """Return 1 - cosine of the angle between patterns; NaN where a pattern is zero."""
    return _normalised(replace(products, sums=np.zeros_like(products.sums)))


def sqeuclidean(products: CrossProducts) -> Array:
    """Return the squared Euclidean distance (summed over features, not divided by their number)."""
    return _differences(products, signed=False)


def euclidean(products: CrossProducts) -> Array:
    """Return the Euclidean distance (the root is taken; not divided by the number of features)."""
    return np.sqrt(sqeuclidean(products))


def crossnobis(products: CrossProducts) -> Array:
    """Return the squared Euclidean distance per feature, of products between different runs; negatives stay [1]_.

    What rounding may have made of 0 is 0: if patterns have no product between runs, all distances are equal.

    References
    ----------
    .. [1] Walther A, Nili H, Ejaz N, Alink A, Kriegeskorte N, Diedrichsen J (2016). Reliability of dissimilarity
       measures for multi-voxel pattern analysis. NeuroImage 137:188-200.
    """
    distances: Array = _differences(products, signed=True) / np.asarray(products.n_features)[..., None]
    return distances


def cv_correlation(products: CrossProducts) -> Array:
    """Return 1 - the correlation of patterns, of covariances and variances between different runs [1]_.

    Noise that runs do not share biases neither, so r is not drawn towards 0, and can be above 1. A variance between
    runs below a tenth of that within runs counts as a tenth of it, as its root would be undefined or arbitrarily small.
    NaN where a pattern is constant in every run.

    References
    ----------
    .. [1] Guggenmos M, Sterzer P, Cichy RM (2018). Multivariate pattern analysis for MEG: a comparison of dissimilarity
       measures. NeuroImage 173:434-447.
    """
    within, off_by = products.squares if products.within is None else products.within, CENTRED * products.off_by
    variances = np.maximum(products.squares, LEAST_VARIANCE * within)
    variances = np.where(within > off_by, variances, np.nan)
    deviations, share = np.sqrt(variances), off_by / variances
    rows, columns = np.triu_indices(deviations.shape[-1], 1)
    distances: Array = 1 - products.products / (deviations[..., rows] * deviations[..., columns])
    distances[np.abs(distances) <= share[..., rows] + share[..., columns]] = 0
    return distances


def _normalised(stack: CrossProducts) -> Array:
    """Return 1 - normalised products; what rounding may have made of 0 is 0, so equal patterns give exactly that."""
    from rsa.kernels import normalised

    each = _one_axis(stack)
    off_by = CENTRED * each.off_by
    distances: Array = normalised(each.products, each.squares, each.sums, each.n_features, off_by)
    return distances.reshape(stack.products.shape)


def _differences(stack: CrossProducts, *, signed: bool) -> Array:
    from rsa.kernels import differences

    each = _one_axis(stack)
    distances: Array = differences(each.products, each.squares, each.off_by, signed)
    return distances.reshape(stack.products.shape)


def _one_axis(stack: CrossProducts) -> CrossProducts:
    """Lay RDMs along one axis, in the types that the compiled functions take."""
    n_pairs, n_conditions = stack.products.shape[-1], stack.squares.shape[-1]
    return CrossProducts(
        np.ascontiguousarray(stack.products, dtype=np.float64).reshape(-1, n_pairs),
        np.ascontiguousarray(stack.squares, dtype=np.float64).reshape(-1, n_conditions),
        np.ascontiguousarray(stack.sums, dtype=np.float64).reshape(-1, n_conditions),
        np.asarray(stack.n_features, dtype=np.float64).reshape(-1),
        rounding=np.ascontiguousarray(stack.off_by, dtype=np.float64).reshape(-1, n_conditions),
    )


DISTANCES: dict[str, Distance] = {
    "correlation": Distance(
        correlation,
        "pattern",
        "1 - Pearson r, each pattern centred over its features",
        "1 minus Pearson's correlation",
        on_gpu="correlation",
    ),
    "cosine": Distance(
        cosine, "zero", "1 - cosine of the angle between two patterns", "the cosine distance", on_gpu="cosine"
    ),
    "euclidean": Distance(
        euclidean, "feature", "length of the difference of two patterns", "the Euclidean distance", on_gpu="euclidean"
    ),
    "sqeuclidean": Distance(
        sqeuclidean,
        "feature",
        "squared length of the difference of two patterns",
        "the squared Euclidean distance",
        on_gpu="sqeuclidean",
    ),
}
CROSS_VALIDATED: dict[str, Distance] = {
    "crossnobis": Distance(
        crossnobis,
        "feature",
        "squared distance per feature between runs, free of the bias of noise",
        "the cross-validated Mahalanobis (crossnobis) distance",
        words_unwhitened="the cross-validated squared Euclidean distance",
        paper="Walther et al., 2016",
        zero_of_noise=True,
        on_gpu="crossnobis",
    ),
    "cv_correlation": Distance(
        cv_correlation,
        "pattern",
        "1 - correlation of covariances and variances between runs, free of the bias of noise",
        "1 minus the cross-validated Pearson correlation",
        paper="Guggenmos et al., 2018",
    ),
}
"""Distances of patterns that have several runs; their cross-products are between different runs."""


def cross_products(blocks: Iterable[Array], origin: str) -> CrossProducts:
    """Sum the products of patterns over features in double precision, holding one block of features at a time.

    Parameters
    ----------
    blocks : iterable of arrays, each of shape (n_conditions, n_block_features)
        Successive features of the same conditions.
    origin : {"pattern", "feature", "zero"}
        See `Distance`. Patterns are taken relative to a number of about their mean, features relative to their first
        condition: a constant pattern becomes exactly zero, whatever its value and however the sum is split.

    Returns
    -------
    CrossProducts
        Those of all blocks side by side, in float64.
    """
    products = ProductSums(origin)
    for block in blocks:
        products.add(block)
    return products.done()


class ProductSums:
    """Sums the products of patterns over features that come block by block; see `cross_products`.

    Parameters
    ----------
    origin : {"pattern", "feature", "zero"}
        See `Distance`.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.gram, self.sums = np.zeros((0, 0)), np.zeros(0)
        self.n_features, self.n_blocks = 0, 0
        self.centre: Array | None = None

    def add(self, block: Array) -> None:
        """Add features, shape (n_conditions, n_block_features): all blocks but the last have a multiple of `BLOCK`."""
        for features in _pieces(block):
            if self.origin == "pattern":
                self.centre = _centre(features) if self.centre is None else self.centre
                features -= self.centre
            elif self.origin == "feature":
                features -= features[:1].copy()
            if not self.n_features:
                self.gram, self.sums = np.zeros((len(features), len(features))), np.zeros(len(features))
            self.gram += features @ features.T
            self.sums += features.sum(axis=1)
            self.n_features += features.shape[1]
            self.n_blocks += 1

    def done(self) -> CrossProducts:
        """Return the cross-products of all features."""
        squares = np.diag(self.gram)
        off_by = rounding_errors(squares, min(self.n_features, BLOCK) + self.n_blocks)
        return CrossProducts(_upper(self.gram), squares, self.sums, np.asarray(self.n_features), rounding=off_by)


def _upper(gram: Array) -> Array:
    """Return the upper triangle of a square matrix in condensed order, row by row: without an index of each pair."""
    n = len(gram)
    return np.concatenate([gram[row, row + 1 :] for row in range(n)]) if n else np.zeros(0)


def _pieces(block: Array) -> Iterator[Array]:
    """Cut a block of features into smaller ones, copied to double precision."""
    for start in range(0, block.shape[1], BLOCK):
        yield np.array(block[:, start : start + BLOCK], dtype=np.float64)


def _centre(features: Array) -> Array:
    """Return what to take out of each pattern, shape (n_conditions, 1): its mean, if that is large beside its spread.

    Both are those of the first block of features.

    A constant pattern becomes exactly zero. Where the mean is small, the zeros that a ReLU leaves had better stay
    zeros: adding up thousands of equal products makes errors that do not cancel.
    """
    first = features[:, :1]
    shifted = features - first
    mean = first + shifted.mean(axis=1, keepdims=True)
    centre: Array = np.where(np.abs(mean) > 2 * shifted.std(axis=1, keepdims=True), mean, 0)
    return centre


def rdm_vectors(patterns: Array, distance: Distance) -> Array:
    """Return the condensed RDM, shape (n_pairs,), of patterns of shape (n_conditions, n_features)."""
    return distance.from_products(cross_products([np.asarray(patterns)], distance.origin))
