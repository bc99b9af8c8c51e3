"""From patterns to condensed RDMs: every distance here is a function of the sums of products of features.

That is what lets a layer of a million units stream through in blocks, and a sphere of voxels be measured by one
matrix product: nobody needs the features again once their cross-products are known.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rsa.core import Array

__all__ = ["DISTANCES", "CrossProducts", "Distance", "cross_products", "rdm_vectors"]

NOISE = 2.0**-44
"""Squared distances below this share of the squared patterns are 0: that is what sums of products leave of equal
patterns, and less than the single precision of the patterns can tell. Its root would break ties."""


@dataclass(frozen=True)
class CrossProducts:
    """Sums over features from which the distances follow.

    Parameters
    ----------
    gram : array, shape (..., n_conditions, n_conditions), float64
        Sum over features of the products of two conditions.
    sums : array, shape (..., n_conditions), float64
        Sum over features of each condition.
    n_features : array of int, shape (...)
        Number of features.
    """

    gram: Array
    sums: Array
    n_features: Array


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
    """

    from_products: Callable[[CrossProducts], Array]
    origin: Literal["pattern", "feature", "zero"]
    summary: str


def correlation(products: CrossProducts) -> Array:
    """Return 1 - Pearson r over features; NaN where a pattern is constant."""
    sums = products.sums
    outer = sums[..., :, None] * sums[..., None, :]
    covariance = products.gram - outer / np.asarray(products.n_features)[..., None, None]
    return 1 - _normalised(covariance)


def cosine(products: CrossProducts) -> Array:
    """Return 1 - cosine of the angle between patterns; NaN where a pattern is zero."""
    return 1 - _normalised(products.gram)


def sqeuclidean(products: CrossProducts) -> Array:
    """Return the squared Euclidean distance (summed over features, not divided by their number)."""
    gram = products.gram
    squares = np.diagonal(gram, axis1=-2, axis2=-1)
    rows, columns = np.triu_indices(gram.shape[-1], k=1)
    both = squares[..., rows] + squares[..., columns]
    distances: Array = both - 2 * gram[..., rows, columns]
    return np.where(distances <= NOISE * both, 0, distances)


def euclidean(products: CrossProducts) -> Array:
    """Return the Euclidean distance (the root is taken; not divided by the number of features)."""
    return np.sqrt(sqeuclidean(products))


def _normalised(products: Array) -> Array:
    """Divide products by the roots of their diagonals; condensed, in [-1, 1], NaN where a diagonal is zero.

    Equal patterns give exactly 1 (see `NOISE`).
    """
    squares = np.diagonal(products, axis1=-2, axis2=-1)
    norms = np.sqrt(np.where(squares > 0, squares, np.nan))
    rows, columns = np.triu_indices(products.shape[-1], k=1)
    ratios: Array = products[..., rows, columns] / (norms[..., rows] * norms[..., columns])
    return np.where(ratios >= 1 - NOISE, 1, np.maximum(ratios, -1))


DISTANCES: dict[str, Distance] = {
    "correlation": Distance(correlation, "pattern", "1 - Pearson r, each pattern centred over its features"),
    "cosine": Distance(cosine, "zero", "1 - cosine of the angle between two patterns"),
    "euclidean": Distance(euclidean, "feature", "length of the difference of two patterns"),
    "sqeuclidean": Distance(sqeuclidean, "feature", "squared length of the difference of two patterns"),
}


def cross_products(blocks: Iterable[Array], origin: str) -> CrossProducts:
    """Sum the products of patterns over features, holding one block of features at a time.

    Parameters
    ----------
    blocks : iterable of arrays, each of shape (n_conditions, n_block_features)
        Successive features of the same conditions.
    origin : {"pattern", "feature", "zero"}
        See `Distance`. Patterns are taken relative to their first feature, features relative to their first
        condition: a constant pattern becomes exactly zero, whatever its value and however the sum is split.

    Returns
    -------
    CrossProducts
        Those of all blocks side by side, in float64.
    """
    gram, sums, n_features, first = np.zeros(()), np.zeros(()), 0, None
    for block in blocks:
        features = np.asarray(block, dtype=np.float64)
        if origin == "pattern":
            first = features[:, :1] if first is None else first
            features = features - first
        elif origin == "feature":
            features = features - features[:1]
        gram, sums = gram + features @ features.T, sums + features.sum(axis=1)
        n_features += features.shape[1]
    return CrossProducts(gram, sums, np.asarray(n_features))


def rdm_vectors(patterns: Array, distance: Distance) -> Array:
    """Return the condensed RDM, shape (n_pairs,), of patterns of shape (n_conditions, n_features)."""
    return distance.from_products(cross_products([patterns], distance.origin))
