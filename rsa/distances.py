"""From patterns to condensed RDMs: every distance here is a function of the sums of products of features.

That is what lets a layer of a million units stream through in blocks, and a sphere of voxels be measured by one
matrix product: nobody needs the features again once their cross-products are known.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rsa.core import Array

__all__ = ["CROSS_VALIDATED", "DISTANCES", "CrossProducts", "Distance", "cross_products", "rdm_vectors"]

NOISE, SINGLE_NOISE = 2.0**-44, 2.0**-21
"""Squared distances below this share of the squared patterns are 0: that is what sums of products, in double and in
single precision, leave of equal patterns. Its root would break ties."""

LEAST_VARIANCE = 0.1
"""Of the variance within runs: less between runs counts as this share (see `cv_correlation`)."""

FIRST = 1024
"""Features from which the size of a pattern's mean is taken, to subtract it before anything is multiplied."""

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
    noise : float
        Squared distances below this share of the squared patterns are rounding errors.
    within : array, shape (..., n_conditions), optional
        Where `products` and `squares` are means over pairs of patterns of different runs: the same for patterns of the
        same run, each with itself included.
    """

    products: Array
    squares: Array
    sums: Array
    n_features: Array
    noise: float = NOISE
    within: Array | None = None


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
    zero_of_noise : bool
        Whether the distances of noise are 0 on average, and so as often negative as positive.
    """

    from_products: Callable[[CrossProducts], Array]
    origin: Literal["pattern", "feature", "zero"]
    summary: str
    zero_of_noise: bool = False


def correlation(products: CrossProducts) -> Array:
    """Return 1 - Pearson r over features; NaN where a pattern is constant."""
    return _normalised(products)


def cosine(products: CrossProducts) -> Array:
    """Return 1 - cosine of the angle between patterns; NaN where a pattern is zero."""
    return _normalised(replace(products, sums=np.zeros_like(products.sums)))


def sqeuclidean(products: CrossProducts) -> Array:
    """Return the squared Euclidean distance (summed over features, not divided by their number)."""
    return _differences(products, products.noise)


def euclidean(products: CrossProducts) -> Array:
    """Return the Euclidean distance (the root is taken; not divided by the number of features)."""
    return np.sqrt(sqeuclidean(products))


def crossnobis(products: CrossProducts) -> Array:
    """Return the squared Euclidean distance per feature, of products between different runs; negatives stay [1]_.

    References
    ----------
    .. [1] Walther A, Nili H, Ejaz N, Alink A, Kriegeskorte N, Diedrichsen J (2016). Reliability of dissimilarity
       measures for multi-voxel pattern analysis. NeuroImage 137:188-200.
    """
    distances: Array = _differences(products, noise=0) / np.asarray(products.n_features)[..., None]
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
    within = products.squares if products.within is None else products.within
    variances = np.maximum(products.squares, LEAST_VARIANCE * within)
    deviations = np.sqrt(np.where(within > 0, variances, np.nan))
    rows, columns = np.triu_indices(deviations.shape[-1], 1)
    distances: Array = 1 - products.products / (deviations[..., rows] * deviations[..., columns])
    return distances


def _normalised(stack: CrossProducts) -> Array:
    """Return 1 - normalised products; equal patterns give exactly 0 (see `NOISE`)."""
    from rsa.kernels import normalised

    each = _one_axis(stack)
    distances: Array = normalised(each.products, each.squares, each.sums, each.n_features, stack.noise)
    return distances.reshape(stack.products.shape)


def _differences(stack: CrossProducts, noise: float) -> Array:
    from rsa.kernels import differences

    each = _one_axis(stack)
    distances: Array = differences(each.products, each.squares, noise)
    return distances.reshape(stack.products.shape)


def _one_axis(stack: CrossProducts) -> CrossProducts:
    """Lay RDMs along one axis, in the types that the compiled functions take."""
    n_pairs, n_conditions = stack.products.shape[-1], stack.squares.shape[-1]
    return CrossProducts(
        np.ascontiguousarray(stack.products, dtype=np.float64).reshape(-1, n_pairs),
        np.ascontiguousarray(stack.squares, dtype=np.float64).reshape(-1, n_conditions),
        np.ascontiguousarray(stack.sums, dtype=np.float64).reshape(-1, n_conditions),
        np.asarray(stack.n_features, dtype=np.float64).reshape(-1),
    )


DISTANCES: dict[str, Distance] = {
    "correlation": Distance(correlation, "pattern", "1 - Pearson r, each pattern centred over its features"),
    "cosine": Distance(cosine, "zero", "1 - cosine of the angle between two patterns"),
    "euclidean": Distance(euclidean, "feature", "length of the difference of two patterns"),
    "sqeuclidean": Distance(sqeuclidean, "feature", "squared length of the difference of two patterns"),
}
CROSS_VALIDATED: dict[str, Distance] = {
    "crossnobis": Distance(
        crossnobis,
        "feature",
        "squared distance per feature between runs, free of the bias of noise",
        zero_of_noise=True,
    ),
    "cv_correlation": Distance(
        cv_correlation,
        "pattern",
        "1 - correlation of covariances and variances between runs, free of the bias of noise",
    ),
}
"""Distances of patterns that have several runs; their cross-products are between different runs."""


def cross_products(blocks: Iterable[Array], origin: str) -> CrossProducts:
    """Sum the products of patterns over features, holding one block of features at a time.

    Products of single-precision features are single-precision within a block, which takes half the time, and are added
    up in double precision: correlations of a million units are then right to some 1e-7.

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
    gram, sums, n_features, centre, noise = np.zeros((0, 0)), np.zeros(0), 0, None, NOISE
    for block in blocks:
        features = np.asarray(block, dtype=block.dtype if block.dtype == np.float32 else np.float64)
        if origin == "pattern":
            centre = _centre(features[:, :FIRST]) if centre is None else centre
            features = features - centre if centre.any() else features
        elif origin == "feature":
            features = features - features[:1]
        if not n_features:
            gram, sums = np.zeros((len(features), len(features))), np.zeros(len(features))
        gram += features @ features.T
        sums += features.sum(axis=1, dtype=np.float64)
        n_features += features.shape[1]
        noise = SINGLE_NOISE if features.dtype == np.float32 else noise
    return CrossProducts(gram[np.triu_indices(len(gram), 1)], np.diag(gram), sums, np.asarray(n_features), noise)


def _centre(features: Array) -> Array:
    """Return what to take out of each pattern, shape (n_conditions, 1): its mean, if that is large beside its spread.

    A constant pattern becomes exactly zero. Where the mean is small, the zeros that a ReLU leaves had better stay
    zeros: adding up thousands of equal products makes errors that do not cancel.
    """
    first = features[:, :1]
    shifted = features - first
    mean = first + shifted.mean(axis=1, keepdims=True, dtype=features.dtype)
    centre: Array = np.where(np.abs(mean) > 2 * shifted.std(axis=1, keepdims=True), mean, 0).astype(features.dtype)
    return centre


def rdm_vectors(patterns: Array, distance: Distance) -> Array:
    """Return the condensed RDM, shape (n_pairs,), of patterns of shape (n_conditions, n_features)."""
    return distance.from_products(cross_products([np.asarray(patterns, dtype=np.float64)], distance.origin))
