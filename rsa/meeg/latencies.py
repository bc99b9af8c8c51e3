"""When does each layer appear: group courses with p values, onsets and peaks with intervals, their order."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from rsa.comparisons import centred_ranks
from rsa.core import SAME_S, Array
from rsa.errors import UserError
from rsa.inference.designs import Design
from rsa.inference.flips import (
    EQUAL,
    fisher_z,
    in_chunks,
    interval,
    means_of,
    pseudo_t,
    resampled,
    standard_error,
)
from rsa.inference.subjects import PRECISION, SubjectTest, over_subjects
from rsa.inference.tally import Correction, Tested, families_of
from rsa.maps import MAPS, first_of_highest
from rsa.meeg.scores import LAYER_TIME_COLUMNS, highest_over_times
from rsa.onsets import onset_times
from rsa.rdm import require_chance_of_0, span_of
from rsa.registry import pick
from rsa.rows import require_columns, require_count, require_known, require_once, require_share

__all__ = [
    "COURSE_COLUMNS",
    "FAMILIES",
    "HIERARCHY_COLUMNS",
    "LATENCY_COLUMNS",
    "group_courses",
    "hierarchy",
    "latencies",
]

COURSE_COLUMNS = {
    "model": "Network, or name of the reference",
    "layer": "Layer of the network",
    "time_s": "Time after onset, s",
    "statistic": "What the score is",
    "mean": "Mean score over subjects",
    "lower": "Confidence interval of the mean over subjects at this time alone, lower bound",
    "upper": "Confidence interval of the mean over subjects at this time alone, upper bound",
    "n_subjects": "Number of subjects that have a score",
    "p": "One-sided p of a sign-flip test over subjects, corrected for all tests of its family",
    "p_uncorrected": "The same of this time and layer alone, not corrected",
    "ceiling_lower": LAYER_TIME_COLUMNS["ceiling_lower"],
    "ceiling_upper": LAYER_TIME_COLUMNS["ceiling_upper"],
}


LATENCY_COLUMNS = {
    "model": "Network, or name of the reference",
    "layer": "Layer of the network",
    "onset_s": "First time from which on scores are above chance, s",
    "onset_lower_s": "Confidence interval of the onset over subjects, lower bound, s",
    "onset_upper_s": "Confidence interval of the onset over subjects, upper bound, s",
    "onset_se_s": "Standard error of the onset over subjects, s",
    "onset_found": "Share of the bootstrap samples of subjects that have an onset",
    "peak_s": "Time of the highest mean score, s",
    "peak_lower_s": "Confidence interval of the time of the peak over subjects, lower bound, s",
    "peak_upper_s": "Confidence interval of the time of the peak over subjects, upper bound, s",
    "peak_se_s": "Standard error of the time of the peak over subjects, s",
    "peak_score": "Mean score over subjects at the peak",
    "peak_p": "One-sided corrected p at the peak, as in the courses",
    "n_subjects": "Number of subjects",
}


HIERARCHY_COLUMNS = {
    "model": "Network",
    "n_layers": "Number of layers",
    "rho": "Spearman's rho of the number of the layer and the time of its peak",
    "lower": "Confidence interval of rho over subjects, lower bound",
    "upper": "Confidence interval of rho over subjects, upper bound",
    "se": "Standard error of rho over subjects",
    "n_subjects": "Number of subjects",
}


FAMILIES: dict[str, list[str]] = {
    "times": ["voxels"],
    "times and layers": ["voxels", "layers"],
    "times and models": ["voxels", "models"],
    "times, layers and models": ["voxels", "layers", "models"],
}
"""Over what p values are corrected, as families of `rsa.inference.tally`; times stand where maps have voxels."""


@dataclass(frozen=True, eq=False)
class _Scores:
    """The scores of a table, (n_subjects, n_rows, n_times), with `model` and `layer` of the rows, and the times."""

    values: Array
    rows: pd.DataFrame
    times_s: Array

    def at(self, times: Array) -> "_Scores":
        """Return the scores at some of the times, shape (n_times,) of bool."""
        return replace(self, values=self.values[..., times], times_s=self.times_s[times])


def _scores_of(table: pd.DataFrame) -> _Scores:
    """Put the scores of a table, in any order of its rows, into an array; its axes are in order of appearance."""
    keys = ["subject", "model", "layer", "time_s"]
    require_columns(table, [*keys, "score"], "scores over time")
    require_known(table, ["subject", "time_s"], "scores over time")
    labels = table[keys].assign(**{name: table[name].fillna("").astype(str) for name in keys[:3]})
    require_once(labels, "scores over time")
    subject, subjects = pd.factorize(labels["subject"])
    row, rows = pd.factorize(pd.MultiIndex.from_frame(labels[["model", "layer"]]))
    time, times_s = pd.factorize(labels["time_s"].to_numpy(dtype=float), sort=True)
    shape = (len(subjects), len(rows), len(times_s))
    if len(table) != np.prod(shape):
        raise UserError(
            f"Scores over time of {shape[0]} subjects, {shape[1]} references and {shape[2]} times are "
            f"{int(np.prod(shape))} rows, not {len(table)}; all subjects need the same references and times."
        )
    values = np.full(shape, np.nan)
    values[subject, row, time] = table["score"].to_numpy(dtype=float)
    return _Scores(values, pd.DataFrame(list(rows), columns=["model", "layer"]), times_s)


def _require_chance(table: pd.DataFrame, tested: bool, distance: str) -> None:
    """Raise a `UserError` if scores are to be tested against 0 and unrelated RDMs do not score 0."""
    if tested and "statistic" in table:
        require_chance_of_0(table["statistic"].unique(), distance, "A test over time (`tested`)")


def _families(rows: pd.DataFrame, family: str) -> list[Array]:
    """Return the rows of each family of tests."""
    of_rows = families_of(rows, pick(FAMILIES, family, "family of tests")).of_rows
    return [np.flatnonzero(of_rows == number) for number in np.unique(of_rows)]


def _tested(scores: _Scores, family: str, n_permutations: int, seed: int) -> tuple[SubjectTest, Tested]:
    """Test scores over subjects by flips of their signs."""
    correction = Correction(family=pick(FAMILIES, family, "family of tests"))
    how: dict[str, Any] = {"statistic": "pseudo_t", "n_permutations": n_permutations, "seed": seed}
    return over_subjects(fisher_z(scores.values), scores.rows, correction, **how)


def group_courses(
    table: pd.DataFrame,
    *,
    level: float = 0.95,
    family: str = "times and layers",
    n_permutations: int = 10_000,
    seed: int = 0,
    tested: bool = True,
    distance: str = "unknown",
    permuted: Tested | None = None,
) -> pd.DataFrame:
    """Average scores over subjects at each time, with a confidence interval and a corrected p.

    The interval is that of Student's t, mean +- t(n - 1) s / sqrt(n), at each time by itself. A percentile bootstrap
    of few subjects would be too narrow: by sqrt((n - 1) / n), and by the normal in place of the t distribution.

    p is one-sided, of a test in which the signs of subjects are flipped at random, all times and layers of a subject
    together, and the statistic is compared with the highest of each flip in all tests of its family, which corrects
    for their number [1]_. The scores as they are count as a flip, so 1 / (n + 1) <= p <= 1. It is a test over
    subjects: of other subjects, with the same conditions. `smallest_p` says what p can be with few.

    The statistic is a pseudo t of Fisher's z: sum(z) / sqrt(n (sum(z^2) + c)), where c is the median of sum(z^2) in the
    family. No flip changes sum(z^2) or c, so the test is exact as it is with t. With t itself (c = 0), of few subjects,
    a time at which they happen to agree has the highest value of all flips, and nothing is found; with the mean, the
    flipped peak hides what is small and reliable.

    Chance is a score of 0. By the comparison `cosine`, unrelated RDMs score above it unless distances are 0 on average
    for noise, as `crossnobis` is; there is no p then.

    Parameters
    ----------
    table : DataFrame
        From `layer_time`: `subject`, `model`, `layer`, `time_s`, `score`; the order of rows is of no matter.
    level : float
        Of the confidence intervals.
    family : str
        A key of `FAMILIES`: p is corrected over the times and layers of each model, over the times of each layer, ...
    n_permutations : int
        How many flips of signs; where there are no more than these, all of them.
    seed : int
        Of the flips.
    tested : bool
        False for scores whose chance level is not 0, such as explained variances: no p.
    distance : str
        Of the RDMs; it decides whether cosines have a p (see `rsa.rdm.chance_is_0`).
    permuted : Tested, optional
        From `rsa.meeg.scores.permuted_over_time`: p over conditions, in place of that over subjects.

    Returns
    -------
    DataFrame
        A row per reference and time (ascending), with the columns `COURSE_COLUMNS` as far as the table has them. For
        one subject, no interval and no p (NaN). Where a subject has no score there is no mean (NaN).

    Raises
    ------
    UserError
        If a column is missing, a row comes twice, a subject lacks a reference or a time, or p is wanted of scores that
        are above 0 for unrelated RDMs.

    References
    ----------
    .. [1] Nichols TE, Holmes AP (2002). Nonparametric permutation tests for functional neuroimaging: a primer with
           examples. Hum Brain Mapp 15:1-25.
    """
    require_share("level", level)
    require_count("n_permutations", n_permutations)
    _require_chance(table, tested, distance)
    scores = _scores_of(table)
    n_subjects, n_rows, n_times = scores.values.shape
    means = scores.values.mean(axis=0)
    half = p = p_uncorrected = np.full_like(means, np.nan)
    if n_subjects > 1:
        half = Design(n_subjects).half_width(scores.values, level)
    if permuted is not None:
        p, p_uncorrected = (values.reshape(n_rows, n_times) for values in (permuted.p_corrected, permuted.p))
    elif tested and n_subjects > 1:
        result = _tested(scores, family, n_permutations, seed)[1]
        p, p_uncorrected = result.p_max, result.p
    courses = scores.rows.loc[np.repeat(np.arange(n_rows), n_times)].reset_index(drop=True)
    courses = courses.assign(
        time_s=np.tile(scores.times_s, n_rows),
        mean=means.ravel(),
        lower=(means - half).ravel(),
        upper=(means + half).ravel(),
        n_subjects=np.isfinite(scores.values).sum(axis=0).ravel(),
        p=p.ravel(),
        p_uncorrected=p_uncorrected.ravel(),
    )
    shared = [name for name in ("statistic", "ceiling_lower", "ceiling_upper") if name in table]
    courses = courses.merge(table.drop_duplicates("time_s")[["time_s", *shared]], on="time_s", how="left")
    return courses[[name for name in COURSE_COLUMNS if name in courses]]


def latencies(
    table: pd.DataFrame,
    *,
    alpha: float = 0.05,
    min_duration_s: float = 0.02,
    from_s: float = 0.0,
    until_s: float = np.inf,
    family: str = "times and layers",
    level: float = 0.95,
    n_permutations: int = 10_000,
    n_bootstrap: int = 1_000,
    seed: int = 0,
    tested: bool = True,
    distance: str = "unknown",
    chance: Array | None = None,
    permuted: Tested | None = None,
) -> pd.DataFrame:
    """Find when the score of each reference rises above chance, and when it is highest.

    **Onset** of a group: the first time from which on, for `min_duration_s`, all times have a corrected p (that of
    `group_courses`) of `alpha` or less; NaN where there is none. It is when there is evidence, which is later than
    when there is an effect, and the later the noisier the data or the fewer the subjects. With 4 subjects or fewer p
    cannot be .05, so there is no onset.

    **Onset** of a single subject: the same, but p is over conditions and not over subjects: the share of random orders
    of the conditions whose highest score, of all times (and layers) of the family, reaches the score (`relabelled`). It
    needs no baseline: after its mean was subtracted, scores in a baseline are unlike those at other times. Without
    `chance`, a single subject has no onset.

    **Peak**: the time of the highest mean score; NaN where none is above 0, as in the map `peak_time`. A peak need not
    be significant: see `peak_p`.

    **Intervals** are percentiles over bootstrap samples of subjects [1]_, in each of which the mean has its peak anew,
    and the statistic its onset, by the threshold and the c that all subjects gave. Samples without onset count as later
    than any, so an upper bound can be missing (NaN); `onset_found` is the share of samples that have one. The standard
    error is the standard deviation over the samples that have one.

    Parameters
    ----------
    table : DataFrame
        From `layer_time`.
    alpha : float
        Corrected p that an onset needs.
    min_duration_s : float
        How long scores stay above chance, at least; 0 takes single times.
    from_s, until_s : float
        Onsets and peaks are sought at these times after onset of the stimulus, both included. p is corrected over all
        times of the table, as in the courses.
    family, n_permutations
        As in `group_courses`.
    level : float
        Of the intervals.
    n_bootstrap : int
        How many samples of subjects.
    seed : int
        Of flips and samples.
    tested : bool
        False for scores whose chance level is not 0, such as explained variances: no onsets of a group, and no p.
    distance : str
        As in `group_courses`.
    chance : array, shape (n_relabellings, n_references), optional
        From `relabelled`, for onsets of a single subject: references in the order of the table.
    permuted : Tested, optional
        From `rsa.meeg.scores.permuted_over_time`: p over conditions, for onsets of a subject or a group. In a bootstrap
        sample, an onset is where the mean reaches what the highest score of the family has a p of `alpha` at.

    Returns
    -------
    DataFrame
        A row per reference, with the columns `LATENCY_COLUMNS`; for one subject without intervals and p (NaN).

    Raises
    ------
    UserError
        As `group_courses`; and if there is no time from `from_s` to `until_s`.

    References
    ----------
    .. [1] Cichy RM, Pantazis D, Oliva A (2014). Resolving human object recognition in space and time. Nat Neurosci
           17:455-462.
    """
    require_share("alpha", alpha)
    require_share("level", level)
    require_count("n_permutations", n_permutations)
    require_count("n_bootstrap", n_bootstrap)
    _require_chance(table, tested, distance)
    everything = _scores_of(table)
    chosen = _window(everything.times_s, from_s, until_s)
    scores = everything.at(chosen)
    n_subjects, (means, times_s) = len(scores.values), (scores.values.mean(axis=0), scores.times_s)
    peaks = _peak_times(means, times_s)
    found = scores.rows.assign(peak_s=peaks, peak_score=_at_times(means, times_s, peaks), n_subjects=n_subjects)
    if permuted is not None:
        p = permuted.p_corrected.reshape(len(scores.rows), -1)[:, chosen]
        found["peak_p"] = _at_times(p, times_s, peaks)
        found["onset_s"] = onset_times(p <= alpha + EQUAL, times_s, min_duration_s)
    if n_subjects == 1 and permuted is not None:
        return found.reindex(columns=list(LATENCY_COLUMNS))
    if n_subjects == 1:
        bounds = _chance_bounds(everything, family, alpha, chance)
        found["onset_s"] = onset_times(means > bounds[:, None] + EQUAL, times_s, min_duration_s)
        return found.reindex(columns=list(LATENCY_COLUMNS))
    weights = list(in_chunks(resampled(n_subjects, n_bootstrap, seed), means.size))
    again = np.concatenate([_peaks_of_samples(means_of(scores.values, some), times_s) for some in weights])
    found = found.assign(**_spread("peak", peaks, again, level))
    if permuted is not None:
        onsets = found["onset_s"].to_numpy()
        of_rows = permuted.families.of_rows[:: len(everything.times_s)]
        bounds = _bounds(everything.values.mean(axis=0), of_rows, permuted.maxima, alpha)
        again = np.concatenate(
            [_onsets(means_of(scores.values, some), bounds, times_s, min_duration_s) for some in weights]
        )
    elif tested:
        test, result = _tested(everything, family, n_permutations, seed)
        p = result.p_max[:, chosen]
        found["peak_p"] = _at_times(p, times_s, peaks)
        onsets = onset_times(p <= alpha + EQUAL, times_s, min_duration_s)
        bounds = _bounds(test.identity, result.families.of_rows, result.maxima, alpha)
        each = (pseudo_t(scores.values, some, test.floor) for some in weights)
        again = np.concatenate([_onsets(statistic, bounds, times_s, min_duration_s) for statistic in each])
    if tested or permuted is not None:
        found = found.assign(onset_s=onsets, onset_found=np.isfinite(again).mean(axis=0))
        found = found.assign(**_spread("onset", onsets, again, level))
    return found.reindex(columns=list(LATENCY_COLUMNS))


def _onsets(statistic: Array, bounds: Array, times_s: Array, min_duration_s: float) -> Array:
    """Return when a statistic of bootstrap samples, (n_samples, n_rows, n_times), is beyond the bound of its row."""
    return onset_times(statistic > bounds[:, None] + PRECISION, times_s, min_duration_s)


def _bounds(statistic: Array, of_rows: Array, maxima: Array, alpha: float) -> Array:
    """Return, per row, what a statistic exceeds if its corrected p is `alpha` or less; infinite where none can be."""
    n_allowed = int(alpha * (1 + len(maxima)) + EQUAL)
    bounds = np.full(len(statistic), np.inf)
    for number in np.unique(of_rows) if n_allowed else ():
        own = statistic[of_rows == number]
        highest = np.append(maxima[:, number], own[np.isfinite(own)].max(initial=-1.0))
        bounds[of_rows == number] = np.sort(highest)[-n_allowed - 1]
    return bounds


def _window(times_s: Array, from_s: float, until_s: float) -> Array:
    """Return which times are in the window, shape (n_times,)."""
    chosen = (times_s >= from_s - SAME_S) & (times_s <= until_s + SAME_S)
    if not chosen.any():
        raise UserError(f"No time is from {from_s:g} to {until_s:g} s; the scores are of {span_of(times_s)}.")
    return np.asarray(chosen)


def _peak_times(means: Array, times_s: Array) -> Array:
    """Return the time of the highest score: (..., n_times) -> (...); NaN where none is above 0, or rounding decides."""
    return MAPS["peak_time"].from_scores(np.moveaxis(means, -1, 0), times_s)


def _peaks_of_samples(means: Array, times_s: Array) -> Array:
    """Return the same of bootstrap samples, among which one that rounding decides is as good as another."""
    return first_of_highest(np.moveaxis(means, -1, 0), times_s)


def _at_times(values: Array, times_s: Array, wanted_s: Array) -> Array:
    """Return the value of each row at a time of its own: (n_rows, n_times), (n_rows,) -> (n_rows,); NaN at NaN."""
    places = np.searchsorted(times_s, np.where(np.isnan(wanted_s), times_s[0], wanted_s))
    return np.where(np.isnan(wanted_s), np.nan, values[np.arange(len(values)), places])


def _chance_bounds(scores: _Scores, family: str, alpha: float, chance: Array | None) -> Array:
    """Return, per row of one subject, what a score exceeds if its p over orders of the conditions is `alpha` or less.

    Infinite without `chance`.
    """
    bounds = np.full(len(scores.rows), np.inf)
    if chance is None:
        return bounds
    if chance.ndim != 2 or chance.shape[1] != len(bounds):
        raise UserError(f"`chance` has a column for each of {len(bounds)} references, not the shape {chance.shape}.")
    everything = np.vstack([highest_over_times(scores.values[0]), chance])  # the first: conditions as they are
    n_allowed = int(alpha * len(everything) + EQUAL)
    for rows in _families(scores.rows, family) if n_allowed else ():
        bounds[rows] = np.sort(everything[:, rows].max(axis=1))[-n_allowed - 1]
    return bounds


def _spread(name: str, observed: Array, samples: Array, level: float) -> dict[str, Array]:
    """Return the columns of interval and standard error of latencies; NaN where there is no latency."""
    lower, upper = interval(samples, level)
    columns = {f"{name}_lower_s": lower, f"{name}_upper_s": upper, f"{name}_se_s": standard_error(samples)}
    return {column: np.where(np.isnan(observed), np.nan, values) for column, values in columns.items()}


def hierarchy(
    table: pd.DataFrame,
    *,
    from_s: float = 0.0,
    until_s: float = np.inf,
    level: float = 0.95,
    n_bootstrap: int = 1_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Correlate the number of layers with the times of their peaks: do late layers appear later [1]_?

    Parameters
    ----------
    table : DataFrame
        From `layer_time`; the layers of a model are in the order of their first appearance.
    from_s, until_s : float
        As in `latencies`.
    level : float
        Of the intervals: percentiles over bootstrap samples of subjects, in each of which all peaks are sought anew.
    n_bootstrap, seed : int
        Number and seed of the samples; those of `latencies` with the same seed.

    Returns
    -------
    DataFrame
        A row for each model with 3 layers or more, with the columns `HIERARCHY_COLUMNS`. rho is Spearman's, ties by
        their average rank; NaN where a layer has no peak or all peaks are at one time. A sample without rho counts as
        higher than any. No interval for a single subject. Noise in the peaks of a sample pulls its rho towards 0, so
        the interval lies rather too low than too high.

    Raises
    ------
    UserError
        As `latencies`.

    References
    ----------
    .. [1] Cichy RM, Khosla A, Pantazis D, Torralba A, Oliva A (2016). Comparison of deep neural networks to
           spatio-temporal cortical dynamics of human visual object recognition reveals hierarchical correspondence.
           Sci Rep 6:27755.
    """
    require_share("level", level)
    require_count("n_bootstrap", n_bootstrap)
    scores = _scores_of(table)
    scores = scores.at(_window(scores.times_s, from_s, until_s))
    n_subjects, n_rows, n_times = scores.values.shape
    chunks = in_chunks(resampled(n_subjects, n_bootstrap, seed), n_rows * n_times)
    again = [_peaks_of_samples(means_of(scores.values, some), scores.times_s) for some in chunks]
    peaks = np.concatenate([_peak_times(scores.values.mean(axis=0)[None], scores.times_s), *again])
    found = []
    for model, rows in scores.rows.groupby("model", sort=False).indices.items():
        if len(rows) > 2:
            rho = _rank_correlation(peaks[:, rows])
            lower, upper = interval(rho[1:], level)
            row = {"rho": rho[0], "lower": lower, "upper": upper, "se": float(standard_error(rho[1:]))}
            known = {"rho": rho[0]} if n_subjects == 1 or np.isnan(rho[0]) else row
            found.append({"model": model, "n_layers": len(rows), "n_subjects": n_subjects, **known})
    return pd.DataFrame(found, columns=list(HIERARCHY_COLUMNS))


def _rank_correlation(peaks: Array) -> Array:
    """Return Spearman's rho of each row with 1, 2, 3, ...: (n_samples, n_layers) -> (n_samples,); NaN if undefined."""
    ranks = centred_ranks(peaks)
    order = np.arange(peaks.shape[1]) - (peaks.shape[1] - 1) / 2
    lengths = np.sqrt((ranks**2).sum(axis=1) * (order**2).sum())
    return np.asarray(ranks @ order / np.where(lengths > 0, lengths, np.nan))
