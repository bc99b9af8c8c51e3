"""RDMs that move: one for each time of trials measured by sensors (M/EEG)."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from zlib import crc32

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from rsa import noise
from rsa.core import Array, Epochs, RDMs
from rsa.distances import (
    CROSS_VALIDATED,
    DISTANCES,
    UNIT,
    CrossProducts,
    Distance,
    rounding_between_runs,
    rounding_errors,
)
from rsa.errors import UserError, listed
from rsa.registry import pick
from rsa.searchlight import RunSettings, fields_as_keywords, in_threads
from rsa.spheres import cut

__all__ = [
    "MOVIE_DISTANCES",
    "Frames",
    "MovieDistance",
    "MovieSettings",
    "Split",
    "View",
    "rdm_movie",
    "usable_channels",
    "view_of",
]

logger = logging.getLogger(__name__)

PSEUDO_TRIALS = 5
"""Parts into which the trials of a condition are split for decoding, where nothing else is said."""

CHUNK_BYTES = 48_000_000
"""Size of the trials that are looked at together, in double precision; each thread takes a few times that."""

TIME_TOLERANCE_S = 1e-9
"""A sample this close to the end of a window is in it."""


# -------------------------------------------------------------------------------------- trials in parts


@dataclass(frozen=True, eq=False)
class Split:
    """Trials put together by condition and part: a run, a random pseudo-trial, or each trial by itself.

    Parameters
    ----------
    trials : tuple of arrays of int
        The trials of each group.
    parts, conditions : arrays of int, shape (n_groups,)
        Part and condition of each group; no two are the same.
    counts : array, shape (n_parts, n_conditions)
        Number of trials in each.
    alone : bool
        Each part of each condition is one trial, and shares nothing with that part of another condition.
    """

    trials: tuple[Array, ...]
    parts: Array
    conditions: Array
    counts: Array
    alone: bool = False

    @property
    def n_products(self) -> Array:
        """Number of pairs of trials of two conditions in different parts, shape (n_conditions, n_conditions)."""
        together = self.counts.sum(axis=0)
        within = self.counts.T @ self.counts
        return np.asarray(np.outer(together, together) - (np.diag(np.diag(within)) if self.alone else within))

    def sums(self, trials: Array) -> Array:
        """Sum trials, (n_times, n_trials, n_channels), to (n_times, n_parts, n_conditions, n_channels), float64."""
        sums = np.zeros((len(trials), *self.counts.shape, trials.shape[2]))
        for part, condition, rows in zip(self.parts, self.conditions, self.trials, strict=True):
            sums[:, part, condition] = trials[:, rows].sum(axis=1, dtype=np.float64)
        return sums


def _split(epochs: Epochs, parts: Array, *, alone: bool = False) -> Split:
    """Group the trials by part, shape (n_trials,), and condition, in the order of `epochs.conditions`."""
    conditions = pd.Index(epochs.conditions).get_indexer(epochs.table["condition"])
    groups = pd.DataFrame({"part": parts, "condition": conditions}).groupby(["part", "condition"]).indices
    of_part, of_condition = np.array(list(groups), dtype=int).T
    counts = np.zeros((of_part.max() + 1, len(epochs.conditions)))
    counts[of_part, of_condition] = [len(rows) for rows in groups.values()]
    return Split(tuple(groups.values()), of_part, of_condition, counts, alone)


def _splits(epochs: Epochs, settings: "MovieSettings") -> list[Split]:
    """Return every way of splitting the trials over which a distance is averaged."""
    distance, folds = settings.distance, settings.folds
    measure, n_trials = MOVIE_DISTANCES[distance], len(epochs.table)
    if measure.least_folds == 1:
        if folds is not None:
            raise UserError(f"The distance {distance!r} is one of means over all trials; leave out folds ({folds}).")
        return [_split(epochs, np.zeros(n_trials, dtype=int))]
    if folds is None and "run" in epochs.table and epochs.table["run"].nunique() > 1:
        splits = [_split(epochs, pd.factorize(epochs.table["run"])[0])]
    elif folds is None and measure.takes_single_trials:
        splits = [_split(epochs, epochs.table.groupby("condition").cumcount().to_numpy(), alone=True)]
    else:
        n_parts = PSEUDO_TRIALS if folds is None else folds
        repeats = range(settings.n_repeats)
        splits = [_split(epochs, _random_parts(epochs, n_parts, settings.seed, repeat)) for repeat in repeats]
    for split in splits:
        _require_enough(split, epochs.conditions, distance)
    return splits


def _random_parts(epochs: Epochs, n_parts: int, seed: int, repeat: int) -> Array:
    """Deal the trials of each condition out to parts as evenly as can be, whatever the other conditions are."""
    parts = np.zeros(len(epochs.table), dtype=int)
    for condition, rows in epochs.table.groupby("condition").indices.items():
        rng = np.random.default_rng([seed, repeat, crc32(str(condition).encode())])
        parts[rows] = rng.permutation(len(rows)) % n_parts
    return parts


def _require_enough(split: Split, conditions: list[str], distance: str) -> None:
    """Raise a `UserError` unless every pair of conditions has trials in different parts, and enough of these."""
    least, n_parts = MOVIE_DISTANCES[distance].least_folds, (split.counts > 0).sum(axis=0)
    if n_parts.max() < least:
        raise UserError(
            f"The distance {distance!r} needs trials of a condition in {least} folds (runs) or more, and they are in "
            f"{n_parts.max()} at most. Say into how many folds trials are split, or take another distance."
        )
    if (n_parts < 2).any():
        few = [name for name, n in zip(conditions, n_parts, strict=True) if n < 2]
        raise UserError(
            f"The distance {distance!r} is between trials of different folds (runs), and these conditions are in one "
            f"only: {listed(few)}. Leave them out, or take a distance of means such as 'correlation'."
        )


# ------------------------------------------------------------------------------------------- distances


@dataclass(frozen=True)
class MovieDistance:
    """A dissimilarity between the trials of two conditions.

    Parameters
    ----------
    rdms : callable
        ``(sums of trials (n_times, n_parts, n_conditions, n_channels), Split) -> (n_times, n_pairs)``
    least_folds : int
        In how many parts a condition has to have trials; 1 if all trials are averaged.
    takes_single_trials : bool
        Whether each trial is a part by itself where there are no runs and no number of folds is given.
    summary : str
        One line for the documentation.
    words : str
        What the methods text calls it; by default the summary, or the words of the `Distance` of the same name.
    """

    rdms: Callable[[Array, Split], Array]
    least_folds: int
    takes_single_trials: bool
    summary: str
    words: str = ""


def of_means(sums: Array, split: Split, distance: Distance) -> Array:
    """Return the distances of conditions averaged over all trials, (n_times, n_pairs)."""
    means = sums.sum(axis=1) / split.counts.sum(axis=0)[:, None]  # (n_times, n_conditions, n_channels)
    n_channels, before = means.shape[-1], _energies(means)
    if distance.origin == "pattern":
        means -= means[..., :1].copy()  # constant patterns become exactly 0
        means -= means.mean(axis=-1, keepdims=True)
    elif distance.origin == "feature":
        means -= means.mean(axis=1, keepdims=True)
    gram = means @ np.swapaxes(means, 1, 2)  # (n_times, n_conditions, n_conditions)
    stack = _cross_products(gram, means.sum(axis=-1), n_channels)
    n_terms = n_channels + split.counts.sum(axis=0).max()
    off_by = rounding_errors(stack.squares + rounding_errors(before, n_terms), n_terms)
    return distance.from_products(replace(stack, rounding=off_by))


def between_folds(sums: Array, split: Split, distance: Distance) -> Array:
    """Return the distances of products between all pairs of trials in different parts, (n_times, n_pairs) [1]_.

    What all trials share is taken out first, as in searchlights with unbalanced runs: it would not quite cancel.
    For `cv_correlation`, the least variance that counts is a share of that of the mean of all trials of a condition
    (not of that of single parts: a trial of sensors is nearly all noise).

    References
    ----------
    .. [1] Guggenmos M, Sterzer P, Cichy RM (2018). Multivariate pattern analysis for MEG: a comparison of dissimilarity
       measures. NeuroImage 173:434-447.
    """
    counts, n_channels = split.counts, sums.shape[-1]
    if distance.origin == "pattern":
        centred = sums - sums[..., :1]
        centred -= centred.mean(axis=-1, keepdims=True)
    else:
        mean = sums.sum(axis=(1, 2), keepdims=True) / counts.sum()
        centred = sums - mean * counts[..., None]
    together = centred.sum(axis=1)  # (n_times, n_conditions, n_channels)
    gram = together @ np.swapaxes(together, 1, 2)
    energies = np.einsum("tcc->tc", gram) / counts.sum(axis=0) ** 2
    within = _within(centred, split.alone)
    gram -= within
    gram /= split.n_products
    stack = _cross_products(gram, np.zeros(gram.shape[:2]), n_channels)
    n_terms, before = n_channels + counts.max(), _energies(sums).sum(axis=1)
    of_parts = np.einsum("tcc->tc", within) + rounding_between_runs(before, n_terms, len(counts))
    off_by = rounding_between_runs(of_parts, n_terms, len(counts)) / split.n_products.min()
    return distance.from_products(replace(stack, within=energies, rounding=off_by))


def _energies(patterns: Array) -> Array:
    """Sum squares over channels: (..., n_channels) -> (...)."""
    return np.asarray(np.einsum("...v,...v->...", patterns, patterns))


def _within(sums: Array, alone: bool) -> Array:
    """Sum the products of trials of the same part, (n_times, n_conditions, n_conditions)."""
    if alone:
        energies = np.einsum("tfcv,tfcv->tc", sums, sums)
        return np.asarray(energies[..., None] * np.eye(sums.shape[2]))
    by_condition = np.swapaxes(sums, 1, 2).reshape(len(sums), sums.shape[2], -1)
    return np.asarray(by_condition @ np.swapaxes(by_condition, 1, 2))


def _cross_products(gram: Array, sums: Array, n_features: int) -> CrossProducts:
    rows, columns = np.triu_indices(gram.shape[1], 1)
    squares = np.einsum("tcc->tc", gram)
    return CrossProducts(gram[:, rows, columns], squares, sums, np.full(len(gram), n_features))


# -------------------------------------------------------------------------------------------- decoding

Classify = Callable[[Array, Array, int], Array]
"""From patterns, (n_parts, n_conditions, n_channels), which of them there are, and the part that is left out, to how
often its pattern of condition i is told from j: (n_conditions, n_conditions) of 0, .5 (cannot tell) and 1."""


def decoded(sums: Array, split: Split, classify: Classify) -> Array:
    """Return how often conditions are told apart in the part that a classifier was not fitted to, (n_times, n_pairs).

    The patterns of each part are averaged to one pseudo-trial; each is left out once [1]_. The accuracy is the mean of
    those of both conditions: chance is .5.

    References
    ----------
    .. [1] Cichy RM, Pantazis D, Oliva A (2014). Resolving human object recognition in space and time. Nat Neurosci
       17:455-462.
    """
    present = split.counts > 0
    pseudo_trials = sums / np.maximum(split.counts, 1)[..., None]
    rows, columns = np.triu_indices(present.shape[1], 1)
    accuracies = np.empty((len(sums), len(rows)))
    for time, patterns in enumerate(pseudo_trials):
        right = np.stack([classify(patterns, present, part) for part in range(len(present))])
        each = np.einsum("fij,fi->ij", right, present) / present.sum(axis=0)[:, None]
        accuracies[time] = (each[rows, columns] + each[columns, rows]) / 2
    return accuracies


def classify_by_lda(patterns: Array, present: Array, left_out: int) -> Array:
    """Classify by linear discriminants; their covariance is of all conditions, shrunken (Ledoit & Wolf 2004).

    All conditions share their noise, so what is estimated from all of them serves each pair. NaN if there is no noise.
    Evidence that differs by no more than rounding errors, which grow with the condition number, tells nothing.
    """
    from scipy.linalg import LinAlgError, cho_factor, cho_solve
    from scipy.linalg.lapack import dpocon

    there = present.copy()
    there[left_out] = False
    means = np.einsum("fcv,fc->cv", patterns, there) / there.sum(axis=0)[:, None]
    residuals = (patterns - means)[there]  # (n_training, n_channels)
    spread = noise.covariance(residuals, len(residuals) - len(means), "ledoit_wolf")
    try:
        factor = cho_factor(spread, lower=True)
    except LinAlgError:
        return np.full((len(means), len(means)), np.nan)
    weights, tested = cho_solve(factor, means.T), patterns[left_out]  # (n_channels, n_conditions) and turned
    evidence = tested @ weights - np.einsum("cv,vc->c", means, weights) / 2  # (n_conditions, n_conditions)
    inverse_condition, _ = dpocon(factor[0], np.abs(spread).sum(axis=0).max(), uplo="L")
    length, by_condition = np.sqrt(_energies(weights.T)), np.sqrt(_energies(means))
    off_by = rounding_errors((np.sqrt(_energies(tested))[:, None] + by_condition) * length, 4 * len(spread))
    off_by /= max(inverse_condition, UNIT)
    difference = np.diag(evidence)[:, None] - evidence
    right = np.where(np.abs(difference) <= off_by + np.diag(off_by)[:, None], 0, np.sign(difference))
    return np.asarray((right + 1) / 2)


def classify_by_svm(patterns: Array, present: Array, left_out: int) -> Array:
    """Classify by a linear support vector machine of each pair (C = 1), of patterns of mean square 1 per channel."""
    from sklearn.svm import SVC

    n_conditions = present.shape[1]
    parts, conditions = np.nonzero(present)
    values, training = patterns[present], parts != left_out
    values = values - values[training].mean(axis=0)
    scale = np.mean(values[training] ** 2)
    right = np.full((n_conditions, n_conditions), np.nan if scale == 0 else 0.5)
    if scale == 0:
        return right
    gram = values @ values.T / scale
    for first, second in zip(*np.triu_indices(n_conditions, 1), strict=True):
        of_pair = np.isin(conditions, (first, second))
        fitted, tested = np.flatnonzero(of_pair & training), np.flatnonzero(of_pair & ~training)
        machine = SVC(kernel="precomputed", C=1.0, class_weight="balanced")
        machine.fit(gram[np.ix_(fitted, fitted)], conditions[fitted])
        for trial, said in zip(
            tested, machine.predict(gram[np.ix_(tested, fitted)]) if tested.size else (), strict=True
        ):
            true = conditions[trial]
            right[true, first + second - true] = said == true
    return right


MOVIE_DISTANCES: dict[str, MovieDistance] = {
    **{
        name: MovieDistance(partial(of_means, distance=distance), 1, False, distance.summary)
        for name, distance in DISTANCES.items()
    },
    "crossnobis": MovieDistance(
        partial(between_folds, distance=CROSS_VALIDATED["crossnobis"]),
        2,
        True,
        "squared distance per channel between trials, free of the bias of noise",
    ),
    "cv_correlation": MovieDistance(
        partial(between_folds, distance=CROSS_VALIDATED["cv_correlation"]),
        2,
        True,
        "1 - correlation of covariances and variances between trials, free of the bias of noise",
    ),
    "decoding_lda": MovieDistance(
        partial(decoded, classify=classify_by_lda),
        3,
        False,
        "accuracy (chance .5) of pairwise linear discriminants, with one shrunken covariance of all conditions",
        "accuracy of pairwise decoding by linear discriminants",
    ),
    "decoding_svm": MovieDistance(
        partial(decoded, classify=classify_by_svm),
        2,
        False,
        "accuracy (chance .5) of pairwise linear support vector machines; slow",
        "accuracy of pairwise decoding by linear support vector machines",
    ),
}


# ------------------------------------------------------------------------------------------- the movie


@dataclass(frozen=True)
class MovieSettings:
    """How the RDM of a time is made of trials.

    Parameters
    ----------
    distance : str
        A key of `MOVIE_DISTANCES`. Those of `DISTANCES` are between means over all trials. The others are between
        trials in different folds; accuracies of decoding are 0 to 1, with nothing subtracted.
    folds : int, optional
        Into how many parts the trials of each condition are split at random, for distances between folds and as the
        number of pseudo-trials for decoding. Without it the runs are the folds; if there is one run only, every trial
        by itself (which takes all pairs of trials, and no chance), or 5 random pseudo-trials for decoding.
    n_repeats : int
        Number of random splits over which dissimilarities are averaged.
    whiten : str, optional
        A key of `rsa.noise.SHRINKAGES`: patterns are whitened by the shrunken covariance of ``epochs.noise``, by its
        symmetric root and the same for all times [1]_. Channels without noise are left out.
    window_s : float
        Patterns are means of the samples at most half of this away (both ends included); of fewer at the first and
        last times. An effect can then seem to begin up to half a window early.
    seed : int
        Of the random splits. That of a condition does not depend on the other conditions, nor on their order.

    Raises
    ------
    UserError
        If a name is unknown, or a number out of range.

    References
    ----------
    .. [1] Guggenmos M, Sterzer P, Cichy RM (2018). Multivariate pattern analysis for MEG: a comparison of dissimilarity
       measures. NeuroImage 173:434-447.
    """

    distance: str = "correlation"
    folds: int | None = None
    n_repeats: int = 20
    whiten: str | None = None
    window_s: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        pick(MOVIE_DISTANCES, self.distance, "distance")
        if self.whiten is not None:
            pick(noise.SHRINKAGES, self.whiten, "shrinkage")
        if self.folds is not None and self.folds < 2:
            raise UserError(f"Trials are split into 2 folds or more, not {self.folds}.")
        if self.n_repeats < 1:
            raise UserError(f"Trials are split once or more often (n_repeats), not {self.n_repeats} times.")
        if not self.window_s >= 0:
            raise UserError(f"A window lasts 0 s or longer, not {self.window_s:g} s.")


@fields_as_keywords(settings=MovieSettings, run=RunSettings)
def rdm_movie(epochs: Epochs, settings: MovieSettings = MovieSettings(), run: RunSettings = RunSettings()) -> RDMs:
    """Build the RDM of every time of some trials.

    Parameters
    ----------
    epochs : Epochs
        Trials of two conditions or more, any number of each.
    settings : MovieSettings
        How RDMs are made.
    run : RunSettings
        Threads, and progress in times.

    Returns
    -------
    RDMs
        One row per time, column `time_s`; conditions in order of first appearance.

    Raises
    ------
    UserError
        If a condition has too few trials or runs for the distance, or noise is needed that is not there: for whitening,
        and for channels of several types. As their units differ, each type is divided by the root mean square of its
        noise; otherwise that of the largest numbers would decide alone.

    Notes
    -----
    Channels that are the same in all trials and times are left out.
    """
    frames = Frames.of(epochs, settings)
    with threadpool_limits(1, "blas"):  # small matrices: more threads wait for each other
        view = view_of(epochs, usable_channels(epochs, settings.whiten), settings.whiten)
    values = []
    for times, rdms in in_threads(lambda times: frames.rdms(times, [view])[0], frames.chunks(), run.n_threads):
        values.append(rdms)
        if run.progress is not None:
            run.progress(len(times))
    table = pd.DataFrame({"time_s": epochs.times_s})
    return RDMs(np.concatenate(values), epochs.conditions, table, settings.distance)


@dataclass(frozen=True, eq=False)
class View:
    """Some channels, and by what their patterns are multiplied.

    Parameters
    ----------
    channels : array of int, shape (n_chosen,)
        Their positions, ascending.
    scaling : array, shape (n_chosen,) or (n_chosen, n_chosen)
        A number for each, or a symmetric matrix that whitens.
    """

    channels: Array
    scaling: Array

    def of(self, patterns: Array) -> Array:
        """Choose and scale the channels of patterns: (..., n_channels) -> (..., n_chosen)."""
        is_all = len(self.channels) == patterns.shape[-1]
        chosen = patterns if is_all else np.take(patterns, self.channels, axis=-1)
        return np.asarray(chosen * self.scaling if self.scaling.ndim == 1 else chosen @ self.scaling)


@dataclass(frozen=True, eq=False)
class Frames:
    """Trials that are ready to be made RDMs at any time, of any of their channels.

    Parameters
    ----------
    epochs : Epochs
        The trials.
    measure : MovieDistance
        How dissimilar two conditions are.
    splits : list of Split
        The ways of splitting the trials over which a distance is averaged.
    windows : array of int, shape (n_times, 2)
        The first sample of the window around each time, and the one after its last.
    """

    epochs: Epochs
    measure: MovieDistance
    splits: list[Split]
    windows: Array

    @classmethod
    def of(cls, epochs: Epochs, settings: MovieSettings) -> "Frames":
        """Split the trials for a distance; what this raises is in `rdm_movie`."""
        if len(epochs.conditions) < 2:
            raise UserError(f"An RDM needs 2 conditions or more; the epochs have {len(epochs.conditions)}.")
        windows = _windows(epochs.times_s, settings.window_s)
        return cls(epochs, MOVIE_DISTANCES[settings.distance], _splits(epochs, settings), windows)

    @property
    def n_pairs(self) -> int:
        """Number of pairs of conditions."""
        n_conditions = len(self.epochs.conditions)
        return n_conditions * (n_conditions - 1) // 2

    def chunks(self, n_views: int = 1, at_most: int | None = None) -> list[range]:
        """Cut the times into ranges whose trials and RDMs are held together; the cuts change no RDM."""
        n_numbers = max(len(self.epochs.table) * len(self.epochs.channels), n_views * self.n_pairs)
        size = max(1, CHUNK_BYTES // (8 * n_numbers))
        return cut(range(len(self.windows)), size if at_most is None else min(size, at_most))

    def rdms(self, times: range, views: Sequence[View]) -> Array:
        """Build the RDMs of some times, by each view: (n_views, n_times, n_pairs)."""
        first, last = self.windows[times.start, 0], self.windows[times.stop - 1, 1]
        trials = np.ascontiguousarray(np.moveaxis(self.epochs.values[:, :, first:last], 2, 0))
        within = self.windows[times.start : times.stop] - first
        rdms = np.zeros((len(views), len(times), self.n_pairs))
        for split in self.splits:
            patterns = _averaged(split.sums(trials), within)
            for rows, view in zip(rdms, views, strict=True):
                rows += self.measure.rdms(view.of(patterns), split)
        return np.asarray(rdms / len(self.splits))


def _windows(times_s: Array, window_s: float) -> Array:
    """Return the first sample of the window around each time, and the one after its last; shape (n_times, 2)."""
    reach = window_s / 2 + TIME_TOLERANCE_S
    first, last = np.searchsorted(times_s, times_s - reach), np.searchsorted(times_s, times_s + reach, side="right")
    return np.stack([first, last], axis=1)


def _averaged(sums: Array, windows: Array) -> Array:
    """Average over the window of each time: (n_samples, ...) -> (n_times, ...)."""
    if len(sums) > len(windows) or (np.diff(windows) > 1).any():
        return np.stack([sums[first:last].mean(axis=0) for first, last in windows])
    return sums


# ------------------------------------------------------------------------------------------- the noise


def _with_data(epochs: Epochs) -> Array:
    """Say which channels vary in every run, shape (n_channels,); in a run of a single number, none could."""
    n_trials, _, n_times = epochs.values.shape
    by_run = epochs.table.groupby("run", sort=False).indices if "run" in epochs.table else {"": np.arange(n_trials)}
    anywhere: Array = np.ptp(epochs.values, axis=(0, 2)) > 0
    varies = {
        str(run): np.ptp(epochs.values[rows], axis=(0, 2)) > 0
        for run, rows in by_run.items()
        if len(rows) * n_times > 1
    }
    lost = [run for run, of_run in varies.items() if not of_run.any()]
    if lost and anywhere.any():
        raise UserError(
            f"Run {listed(lost)} has no data: each channel is the same in all of its trials and times; leave it out."
        )
    with_data: Array = np.logical_and.reduce([anywhere, *varies.values()])
    if some := list(epochs.channels["name"][anywhere & ~with_data]):
        logger.warning("channels %s have no data in some run (flat there) and take no part", listed(some))
    return with_data


def usable_channels(epochs: Epochs, whiten: str | None) -> Array:
    """Return the positions of the channels that take part: with data in every run, and with noise where it is used.

    A channel that is the same in all trials and times of a run was not measured in it. It is left out of all runs, as
    voxels are: its products with other runs would be 0.

    Raises
    ------
    UserError
        As `rdm_movie`, of whitening and of several types of channels; and if a run has no data.
    """
    samples = None if epochs.noise is None else epochs.noise.values
    types = epochs.channels["type"].to_numpy()
    usable = _with_data(epochs)
    if whiten is not None and samples is None:
        raise UserError("Whitening needs samples of the noise, and the epochs have none: give a baseline.")
    if samples is not None and (whiten is not None or len(set(types)) > 1):
        usable &= (samples != 0).any(axis=0) & np.isfinite(samples).all(axis=0)
    several = sorted(set(types[usable]))
    if not several:
        raise UserError("No channel is usable: each is the same in all trials and times, or has no noise.")
    if len(several) > 1 and samples is None:
        raise UserError(
            f"Channels of the types {', '.join(several)} have different units, and there is no noise to scale them by. "
            "Give a baseline, or pick one type."
        )
    return np.flatnonzero(usable)


def view_of(epochs: Epochs, channels: Array, whiten: str | None) -> View:
    """Return the scaling or whitening of some usable channels, by their own noise; each type has its own scale."""
    types = epochs.channels["type"].to_numpy()[channels]
    several, scale = sorted(set(types)), np.ones(len(channels))
    if epochs.noise is None or (whiten is None and len(several) == 1):
        return View(channels, scale)
    samples = epochs.noise.values[:, channels].astype(np.float64)
    if len(several) > 1:
        for name in several:
            scale[types == name] = 1 / np.sqrt(np.mean(samples[:, types == name] ** 2))
    if whiten is None:
        return View(channels, scale)
    return View(channels, scale[:, None] * _whitener(samples * scale, epochs.noise.degrees_of_freedom, whiten))


def _whitener(samples: Array, degrees_of_freedom: float, shrinkage: str) -> Array:
    """Return what patterns, (..., n_channels), are multiplied by from the right so that their noise is white."""
    whitener = noise.whiten(np.eye(samples.shape[1]), samples.T, degrees_of_freedom, shrinkage, symmetric=True).T
    if not np.isfinite(whitener).all():
        raise UserError(
            f"The covariance of {len(samples)} samples of noise cannot be inverted; give a longer baseline."
        )
    return np.asarray(whitener)
