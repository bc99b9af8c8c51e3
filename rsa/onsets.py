"""Onset: the first time at which scores exceed, and stay above, a prediction bound from the baseline."""

import numpy as np

from rsa.core import SAME_S, SAME_SCORE, Array

__all__ = [
    "has_baseline",
    "is_baseline",
    "effective_sample_size",
    "onset_times",
    "products_over_time",
    "time_of_onset",
    "upper_bounds",
]

ALPHA = 0.05
"""Chance that one series without any effect has a score above its bound, at some time from 0 s on."""

MIN_DURATION_S = 0.02
"""How long scores stay above their bound, at least."""

LEAST_WORTH = 2
"""Independent samples that a baseline has to be worth."""

SCORES_IN_BLOCK = 2**21
"""Scores of a map that are looked at in one block; bounds the memory, changes nothing but rounding."""


def is_baseline(times_s: Array) -> Array:
    """Return which times are before 0 s, shape (n_times,)."""
    return np.asarray(np.asarray(times_s) < -SAME_S)


def has_baseline(times_s: Array) -> bool:
    """Say whether there are two times or more before 0 s, and some from then on."""
    before = is_baseline(times_s)
    return bool(before.sum() > 1 and not before.all())


def products_over_time(series: Array) -> Array:
    """Return the sum of products of the samples of each two times, of all series that vary: (n_series, n_times).

    Products of several blocks of series are to be added up.

    Returns
    -------
    array, shape (n_times, n_times)
        A series that is constant or has a NaN counts for nothing.
    """
    known = series[_varies(series)]
    return np.asarray(known.T @ known)


def effective_sample_size(products: Array) -> float:
    """Return how many independent samples tell as much about the size of a series, from `products_over_time`.

    It is n^2 / sum(r_tu^2) over all pairs of times t and u, each with itself included (Satterthwaite), r_tu being how
    similar samples at the two times are over all series; of few series, similar by chance, it is too low. 0 if no
    series varies.
    """
    squares = np.diag(products)
    if not squares.size or not (squares > 0).all():
        return 0.0
    return float(len(squares) ** 2 / (products**2 / np.outer(squares, squares)).sum())


def upper_bounds(baseline: Array, n_samples: float, alpha: float) -> Array:
    """Return what one more sample of each series exceeds with a probability of `alpha` or less.

    It is max(mean, 0) + rms sqrt(1 + t(m)^2), where rms is the root of the mean square about 0, the score of unrelated
    RDMs. About its own mean a short baseline looks less variable than it is: samples that follow each other share much,
    the more so as the signal's mean over the baseline was subtracted. If scores lie about another level than 0, the
    bound is higher than that level by t(m) standard deviations or more.

    Parameters
    ----------
    baseline : array, shape (n_series, n_times)
        Scores before 0 s.
    n_samples : float
        m, how many independent samples they are worth.
    alpha : float
        Chance that one more sample is above its bound.

    Returns
    -------
    array, shape (n_series,)
        NaN where a baseline is constant or has a NaN, and everywhere if m is below 2.
    """
    bounds = np.full(len(baseline), np.nan)
    if n_samples < LEAST_WORTH:
        return bounds
    varies = _varies(baseline)
    known = baseline[varies]
    rms = np.sqrt((known**2).mean(axis=1))
    bounds[varies] = np.maximum(known.mean(axis=1), 0) + rms * _widening(n_samples, alpha)
    return bounds


def _widening(n_samples: float, alpha: float) -> float:
    """Return how many root mean squares of a baseline its bound lies above max(mean, 0): sqrt(1 + t(m)^2)."""
    from scipy.special import stdtrit

    return float(np.sqrt(1 + stdtrit(n_samples, 1 - alpha) ** 2))


def _varies(series: Array) -> Array:
    """Return which series are finite and not constant: (n_series, n_times) -> (n_series,)."""
    return np.asarray(np.isfinite(series).all(axis=1) & (series != series[:, :1]).any(axis=1))


def onset_times(above: Array, times_s: Array, min_duration_s: float) -> Array:
    """Return the first time from which on all are true for a while: bool (..., n_times) -> (...); NaN without one.

    Every time t that is later by `min_duration_s` or less has to be true, and the last time must not come before.
    """
    ends_s = times_s + min_duration_s
    end = np.searchsorted(times_s, ends_s + SAME_S, side="right")
    n_before = np.concatenate([np.zeros((*above.shape[:-1], 1), np.int32), above.cumsum(axis=-1, dtype=np.int32)], -1)
    lasting = n_before[..., end] - n_before[..., :-1] == end - np.arange(len(times_s))
    lasting &= ends_s <= times_s[-1] + SAME_S
    return np.where(lasting.any(axis=-1), times_s[lasting.argmax(axis=-1)], np.nan)


def time_of_onset(scores: Array, times_s: Array) -> Array:
    """Return the first time in s, from 0 on, from which on scores are above the bound of their baseline for 20 ms.

    The bound is that of `upper_bounds`, for each voxel by its own scores before 0 s; what the samples of a baseline are
    worth is estimated of all voxels together. It is corrected for the times of a voxel: `ALPHA` is divided by the
    number of times from 0 s on. It is not corrected for the number of voxels. A time without a score is not above.

    Parameters
    ----------
    scores : array, shape (n_times, n_voxels)
        Scores of one reference.
    times_s : array, shape (n_times,)
        Times after onset of the stimulus in s, ascending.

    Returns
    -------
    array, shape (n_voxels,)
        NaN where scores do not rise above their bound or the baseline tells nothing (see `has_baseline`, and
        `upper_bounds`); and where rounding decides when: scores, the mean and the root mean square of a baseline are
        known to half of `SAME_SCORE` each, and at any bound within all three the onset is at this time or the next.
    """
    times_s, onsets_s = np.asarray(times_s, dtype=float), np.full(scores.shape[1], np.nan)
    if not has_baseline(times_s):
        return onsets_s
    before = is_baseline(times_s)
    size = max(1, SCORES_IN_BLOCK // len(times_s))
    blocks = [slice(start, start + size) for start in range(0, len(onsets_s), size)]
    parts = (products_over_time(_series(scores[before, block])) for block in blocks)
    products = sum(parts, np.zeros((before.sum(), before.sum())))
    n_samples, alpha = effective_sample_size(products), ALPHA / (~before).sum()
    if n_samples < LEAST_WORTH:
        return onsets_s
    slack, after_s = SAME_SCORE / 2 * (2 + _widening(n_samples, alpha)), times_s[~before]
    offs = (-slack, 0.0, slack)
    for block in blocks:
        bounds = upper_bounds(_series(scores[before, block]), n_samples, alpha)[:, None]
        found = [onset_times(_series(scores[~before, block]) > bounds + off, after_s, MIN_DURATION_S) for off in offs]
        onsets_s[block] = np.where(_are_neighbours(found[0], found[-1], after_s), found[1], np.nan)
    return onsets_s


def _series(scores: Array) -> Array:
    """Lay the times of each voxel beside each other: (n_times, n_voxels) -> (n_voxels, n_times), float64."""
    return np.ascontiguousarray(scores.T, dtype=np.float64)


def _are_neighbours(first_s: Array, last_s: Array, times_s: Array) -> Array:
    """Say where two of these times are the same or follow each other; NaN is far from all."""
    known = np.isfinite(first_s) & np.isfinite(last_s)
    places = [np.searchsorted(times_s, np.where(known, one, times_s[0])) for one in (first_s, last_s)]
    return np.asarray(known & (np.abs(places[1] - places[0]) < 2))
