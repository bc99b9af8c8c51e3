"""Sign flips and bootstrap samples of subjects, Fisher's z, and intervals over subjects."""

from collections.abc import Iterator

import numpy as np

from rsa.core import SAME_SCORE, Array

__all__ = [
    "fisher_z",
    "in_chunks",
    "interval",
    "least_rest",
    "means_of",
    "pseudo_t",
    "resampled",
    "signs",
    "standard_error",
]

EQUAL = 1e-9
"""Numbers that differ by less than this, which is rounding, are the same."""

KNOWN_SPREAD = 10.0
"""How many times larger than their rounding the spread of z over subjects has to be."""

FLIPPED_NUMBERS = 2**22
"""Numbers of flipped or resampled scores in one matrix product; bounds the memory, changes nothing else."""


def signs(n_subjects: int, n_permutations: int, seed: int) -> Array:
    """Return signs of subjects, shape (n_flips, n_subjects); the first row is 1: the scores as they are."""
    if 2**n_subjects <= n_permutations + 1:
        bits = np.arange(2**n_subjects)[:, None] >> np.arange(n_subjects) & 1
        return np.asarray(1.0 - 2 * bits)
    flips = np.random.default_rng((seed, 0)).choice([1.0, -1.0], size=(n_permutations, n_subjects))
    return np.vstack([np.ones(n_subjects), flips])


def pseudo_t(values: Array, weights: Array, floor: Array) -> Array:
    """Return sum(w z) / sqrt(sum(w) (sum(w z^2) + floor)) over subjects, z being Fisher's z of scores.

    With a floor of 0 it is u in t = u sqrt((n - 1) / (1 - u^2)), the same function of t at all times. Like t, it looks
    for a mean that is large beside its own noise; the floor keeps times of accidentally little noise from having the
    highest statistic of all.

    Parameters
    ----------
    values : array, shape (n_subjects, n_rows, n_times)
        Scores.
    weights : array, shape (n_samples, n_subjects)
        How often each subject is in each sample, or signs.
    floor : array, shape (n_rows,)
        What is added to the sum of squares.

    Returns
    -------
    array, shape (n_samples, n_rows, n_times)
        NaN where a subject has no score.
    """
    z = fisher_z(values)
    n_each = np.abs(weights).sum(axis=1)[:, None, None]
    squares = np.tensordot(np.abs(weights), z**2, 1) + floor[:, None]
    with np.errstate(invalid="ignore"):  # 0 / 0, where all scores are 0
        return np.asarray(np.tensordot(weights, z, 1) / np.sqrt(n_each * squares))


def fisher_z(values: Array) -> Array:
    """Return artanh of scores, finite for perfect ones."""
    return np.asarray(np.arctanh(np.clip(values, -1 + 1e-9, 1 - 1e-9)))


def least_rest(z: Array, degrees_of_freedom: int) -> Array:
    """Return the sum of squared residuals that Fisher's z of subjects must have for their spread to be known.

    A score r is the cosine of an angle, which is known to half of `SAME_SCORE`: r to that times sqrt(1 - r^2), and
    z = artanh(r) to that times cosh(z). The standard deviation of the residuals has to be `KNOWN_SPREAD` times the root
    mean square of this over subjects. Then rounding moves a t by about a tenth at most; below, t is a number that
    another processor does not find again.

    Parameters
    ----------
    z : array, shape (n_subjects, ...)
        Fisher's z of scores.
    degrees_of_freedom : int
        Of the residuals.

    Returns
    -------
    array, shape (...)
    """
    off_by = SAME_SCORE / 2 * np.cosh(z)
    return np.asarray(degrees_of_freedom * KNOWN_SPREAD**2 * (off_by**2).mean(axis=0))


def in_chunks(rows: Array, n_columns: int) -> Iterator[Array]:
    """Give some rows at a time: their product with `n_columns` columns stays below `FLIPPED_NUMBERS` numbers."""
    n_at_once = max(1, FLIPPED_NUMBERS // max(1, n_columns))
    return (rows[start : start + n_at_once] for start in range(0, len(rows), n_at_once))


def resampled(n_subjects: int, n_bootstrap: int, seed: int) -> Array:
    """Return how often each subject is drawn into samples with replacement, shape (n_bootstrap, n_subjects)."""
    rng = np.random.default_rng((seed, 1))
    return rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), size=n_bootstrap).astype(np.float64)


def means_of(values: Array, weights: Array) -> Array:
    """Return weighted means over subjects: (n_subjects, ...), (n_samples, n_subjects) -> (n_samples, ...)."""
    return np.asarray(np.tensordot(weights / weights.sum(axis=1, keepdims=True), values, 1))


def interval(samples: Array, level: float) -> tuple[Array, Array]:
    """Return percentiles over samples: (n_samples, ...) -> two of (...); NaN counts as higher than any number."""
    ordered, n_beyond = np.sort(samples, axis=0), int((1 - level) / 2 * len(samples) + EQUAL)
    return ordered[n_beyond], ordered[-1 - n_beyond]


def standard_error(samples: Array) -> Array:
    """Return the standard deviation over the samples that are numbers: (n_samples, ...) -> (...); NaN below 2."""
    known = np.isfinite(samples)
    n_known = known.sum(axis=0)
    centre = np.where(known, samples, 0).sum(axis=0) / np.maximum(n_known, 1)
    squares = np.where(known, (samples - centre) ** 2, 0).sum(axis=0)
    return np.asarray(np.sqrt(squares / np.where(n_known > 1, n_known - 1, np.nan)))
