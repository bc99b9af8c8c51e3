"""When does each layer appear: scores over time, group courses, latencies and their order, generalisation over time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from rsa.comparisons import COMPARISONS
from rsa.core import SAME_S, Array, RDMs, align
from rsa.errors import UserError
from rsa.maps import MAPS
from rsa.measures import Measure, aligned, comparison_measure, fitted_to
from rsa.onsets import onset_times
from rsa.rdm import measures_of, noise_ceiling, places_over_time, require_chance_of_0, span_of
from rsa.registry import pick
from rsa.rows import require_columns, require_known, require_once

__all__ = [
    "COURSE_COLUMNS",
    "FAMILIES",
    "HIERARCHY_COLUMNS",
    "LATENCY_COLUMNS",
    "LAYER_TIME_COLUMNS",
    "generalisation_table",
    "generalise",
    "group_courses",
    "hierarchy",
    "latencies",
    "layer_time",
    "measured_over_time",
    "relabelled",
    "smallest_p",
]

LAYER_TIME_COLUMNS = {
    "subject": "Label of the subject",
    "model": "Network, or name of the reference",
    "layer": "Layer of the network",
    "time_s": "Time after onset, s",
    "statistic": "What the score is",
    "score": "Similarity of the subject's RDM at this time to the reference RDM",
    "ceiling_lower": "Noise ceiling at this time over subjects, lower bound (leave one subject out)",
    "ceiling_upper": "Noise ceiling at this time over subjects, upper bound (mean of all subjects; tau-a: majorities)",
}

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

FAMILIES: dict[str, list[str]] = {"times": ["model", "layer"], "times and layers": ["model"]}
"""Over what p values are corrected; the tests of one family share these columns."""

EQUAL = 1e-9
"""Statistics of flipped scores that are lower by less than this, which is rounding, count as reaching."""

AT_ONCE = 2**22
"""Numbers of flipped or resampled scores in one matrix product; bounds the memory, changes nothing else."""


# ------------------------------------------------------------------------------------ scores of subjects


def layer_time(movies: RDMs, references: RDMs, comparison: str) -> pd.DataFrame:
    """Score the RDMs of every subject and time against all references, matched by condition label.

    Parameters
    ----------
    movies : RDMs
        One per subject and time: the table has `subject` and `time_s` (s after onset).
    references : RDMs
        The table has `model` and `layer`; `subject` names whose a reference is, if it is not everybody's.
    comparison : str
        A key of `COMPARISONS`.

    Returns
    -------
    DataFrame
        A row per subject, reference and time (ascending), with the columns `LAYER_TIME_COLUMNS`. A score is NaN where
        an RDM has NaN or is constant. The noise ceiling is `rsa.rdm.noise_ceiling` at each time; NaN for one subject.

    Raises
    ------
    UserError
        If a column is missing, conditions or the times of subjects differ, or an RDM or a reference comes twice.
    """

    def measure_of(own: RDMs) -> Measure:
        require_columns(own.table, ["model", "layer"], "references")
        require_once(own.table[["model", "layer"]].fillna("").astype(str), "references")
        return comparison_measure(align(movies.conditions, own, "RDM movies", "reference RDMs"), comparison)

    table = measured_over_time(movies, references, measure_of)
    _, times_s, places = places_over_time(movies)
    ceilings = np.array([noise_ceiling(movies.subset(rows), comparison) for rows in places.T])  # (n_times, 2)
    time = np.searchsorted(times_s, table["time_s"])
    return table.assign(ceiling_lower=ceilings[time, 0], ceiling_upper=ceilings[time, 1])


def measured_over_time(movies: RDMs, references: RDMs, measure_of: Callable[[RDMs], Measure]) -> pd.DataFrame:
    """Measure the RDMs of every subject and time: the table of `layer_time`, without noise ceilings.

    Parameters
    ----------
    movies, references : RDMs
        As for `layer_time`.
    measure_of : callable
        What is measured with some references, without times of its own.

    Raises
    ------
    UserError
        As `layer_time`; and if the measure is of references over time.
    """
    subjects, times_s, places = places_over_time(movies)
    measures = list(measures_of(references, subjects, measure_of).values())
    measure = measures[0]
    if "time_s" in measure.table:
        raise UserError("RDMs over time are measured by references without time; leave the M/EEG RDMs out of them.")
    values = aligned(measure, movies, "RDM movies")
    seen = fitted_to(measure, values, places.T)
    scores = np.stack([own.score(values[rows], seen[rows]) for own, rows in zip(measures, places, strict=True)])
    n_subjects, n_rows, n_times = scores.shape
    row = np.tile(np.repeat(np.arange(n_rows), n_times), n_subjects)
    labels = measure.table[["model", "layer", "statistic"]].fillna("").astype(str)
    return pd.DataFrame(
        {
            "subject": np.repeat(subjects, n_rows * n_times),
            "model": labels["model"].to_numpy()[row],
            "layer": labels["layer"].to_numpy()[row],
            "time_s": times_s[np.tile(np.arange(n_times), n_subjects * n_rows)],
            "statistic": labels["statistic"].to_numpy()[row],
            "score": scores.ravel(),
        }
    )


def relabelled(
    movies: RDMs,
    references: RDMs,
    measure_of: Callable[[RDMs], Measure] | str,
    *,
    n_relabellings: int = 199,
    seed: int = 0,
) -> Array:
    """Measure the RDMs of one subject with their conditions in random orders: how high do unrelated RDMs score?

    Parameters
    ----------
    movies, references : RDMs
        As for `layer_time`, of one subject.
    measure_of : callable or str
        As for `measured_over_time`, or a key of `COMPARISONS`.
    n_relabellings : int
        How many random orders, each the same at all times and for all references.
    seed : int
        Of the orders.

    Returns
    -------
    array, shape (n_relabellings, n_references)
        The highest score over all times; references in the order of the table of scores.

    Raises
    ------
    UserError
        As `measured_over_time`; and if there are several subjects.
    """
    _require_count("n_relabellings", n_relabellings)
    subjects, _, places = places_over_time(movies)
    if len(subjects) != 1:
        raise UserError(f"Conditions are relabelled for a single subject, not for {len(subjects)}.")
    how = partial(comparison_measure, comparison=measure_of) if isinstance(measure_of, str) else measure_of
    (measure,) = measures_of(references, subjects, how).values()
    values, rng = aligned(measure, movies, "RDM movies")[places[0]], np.random.default_rng((seed, 2))
    n_conditions = len(measure.conditions)
    rows, columns = np.triu_indices(n_conditions, 1)
    pairs = np.zeros((n_conditions, n_conditions), dtype=np.intp)
    pairs[rows, columns] = pairs[columns, rows] = np.arange(len(rows))
    highest = []
    for _ in range(n_relabellings):
        order = rng.permutation(n_conditions)
        shuffled = values[:, pairs[order[rows], order[columns]]]  # (n_times, n_pairs)
        highest.append(_highest_over_times(measure.score(shuffled, shuffled)))
    return np.stack(highest)


# ------------------------------------------------------------------------------------------------ a table


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


def _require_share(name: str, value: float) -> None:
    """Raise a `UserError` unless a number is between 0 and 1."""
    if not 0 < value < 1:
        raise UserError(f"{name} is between 0 and 1 (both excluded), not {value:g}.")


def _require_chance(table: pd.DataFrame, tested: bool, distance: str) -> None:
    """Raise a `UserError` if scores are to be tested against 0 and unrelated RDMs do not score 0."""
    if tested and "statistic" in table:
        require_chance_of_0(table["statistic"].unique(), distance, "A test over time (`tested`)")


def _require_count(name: str, value: int) -> None:
    """Raise a `UserError` unless a number is at least 1."""
    if value < 1:
        raise UserError(f"{name} is 1 or more, not {value}.")


# -------------------------------------------------------------------------------------------- sign flips


def smallest_p(n_subjects: int, n_permutations: int = 10_000) -> float:
    """Return the smallest p that the sign-flip test of a group can give.

    There are 2^n_subjects ways to flip signs. If they are no more than the permutations that are asked for (and the
    scores as they are), each is taken once. With 4 subjects p is never below 1/16, so nothing is below .05; with 5 it
    can be 1/32, if every subject is positive wherever the flipped scores are highest.

    Examples
    --------
    >>> smallest_p(4), smallest_p(5), smallest_p(20, n_permutations=999)
    (0.0625, 0.03125, 0.001)
    """
    return 1.0 / min(1 << n_subjects, n_permutations + 1)


def _signs(n_subjects: int, n_permutations: int, seed: int) -> Array:
    """Return signs of subjects, shape (n_flips, n_subjects); the first row is 1: the scores as they are."""
    if 2**n_subjects <= n_permutations + 1:
        bits = np.arange(2**n_subjects)[:, None] >> np.arange(n_subjects) & 1
        return np.asarray(1.0 - 2 * bits)
    flips = np.random.default_rng((seed, 0)).choice([1.0, -1.0], size=(n_permutations, n_subjects))
    return np.vstack([np.ones(n_subjects), flips])


def _pseudo_t(values: Array, weights: Array, floor: Array) -> Array:
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
    z = _fisher_z(values)
    n_each = np.abs(weights).sum(axis=1)[:, None, None]
    squares = np.tensordot(np.abs(weights), z**2, 1) + floor[:, None]
    with np.errstate(invalid="ignore"):  # 0 / 0, where all scores are 0
        return np.asarray(np.tensordot(weights, z, 1) / np.sqrt(n_each * squares))


def _fisher_z(values: Array) -> Array:
    """Return artanh of scores, finite for perfect ones."""
    return np.asarray(np.arctanh(np.clip(values, -1 + 1e-9, 1 - 1e-9)))


@dataclass(frozen=True, eq=False)
class _SignFlips:
    """The statistic of a group, `_pseudo_t`, beside its highest values when signs of subjects are flipped.

    Parameters
    ----------
    statistic : array, shape (n_rows, n_times)
        Of the scores as they are.
    floor : array, shape (n_rows,)
        What the statistic adds to its sum of squares: the median sum of squares of the family of the row.
    maxima : list of n_rows arrays, shape (n_flips,)
        Highest statistic of each flip in the family of the row, ascending.
    """

    statistic: Array
    floor: Array
    maxima: list[Array]

    def p_values(self) -> Array:
        """Return corrected p values, (n_rows, n_times): the share of flips that reach the statistic somewhere."""
        rows = zip(self.maxima, self.statistic, strict=True)
        n_reaching = [len(maxima) - np.searchsorted(maxima, row - EQUAL) for maxima, row in rows]
        n_flips = [[len(maxima)] for maxima in self.maxima]
        return np.where(np.isnan(self.statistic), np.nan, np.array(n_reaching) / n_flips)

    def thresholds(self, alpha: float) -> Array:
        """Return, per row, what a statistic less `EQUAL` exceeds if and only if its p is `alpha` or less."""
        n_allowed = [int(alpha * len(maxima) + EQUAL) for maxima in self.maxima]
        return np.array([maxima[-n - 1] if n else np.inf for n, maxima in zip(n_allowed, self.maxima, strict=True)])


def _sign_flips(scores: _Scores, family: str, n_permutations: int, seed: int) -> _SignFlips:
    """Flip the signs of subjects, the same for all rows and times, and keep the highest statistic of each family."""
    n_subjects, n_rows = scores.values.shape[:2]
    flips = _signs(n_subjects, n_permutations, seed)
    floor, maxima = np.zeros(n_rows), [np.empty(0)] * n_rows
    for rows in _families(scores.rows, family):
        floor[rows] = _usual_squares(scores.values[:, rows])
        highest = _highest_of_flips(scores.values[:, rows], flips, floor[rows])
        for row in rows:
            maxima[row] = highest
    return _SignFlips(_pseudo_t(scores.values, np.ones((1, n_subjects)), floor)[0], floor, maxima)


def _families(rows: pd.DataFrame, family: str) -> list[Array]:
    """Return the rows of each family of tests."""
    columns = pick(FAMILIES, family, "family of tests")
    return list(rows.groupby(columns, sort=False).indices.values())


def _usual_squares(values: Array) -> float:
    """Return the median over rows and times of the sum of squares of Fisher's z; 0 where no score is defined."""
    squares = (_fisher_z(values) ** 2).sum(axis=0)
    known = squares[np.isfinite(squares)]
    return float(np.median(known)) if known.size else 0.0


def _highest_of_flips(values: Array, flips: Array, floor: Array) -> Array:
    """Return the highest statistic of each flip, ascending: (n_subjects, n_rows, n_times) -> (n_flips,)."""
    z = _fisher_z(values)
    lengths = np.sqrt(len(z) * ((z**2).sum(axis=0) + floor[:, None]))  # (n_rows, n_times)
    defined = lengths > 0  # NaN, where a subject has no score, is not
    scaled = z[:, defined] / lengths[defined]  # (n_subjects, n_tests)
    chunks = _in_chunks(flips, scaled.shape[1])
    return np.sort(np.concatenate([(some @ scaled).max(axis=1, initial=-1.0) for some in chunks]))


def _in_chunks(rows: Array, n_columns: int) -> Iterator[Array]:
    """Give some rows at a time, so that their product with `n_columns` columns stays below `AT_ONCE` numbers."""
    n_at_once = max(1, AT_ONCE // max(1, n_columns))
    return (rows[start : start + n_at_once] for start in range(0, len(rows), n_at_once))


# ----------------------------------------------------------------------------------------- group courses


def group_courses(
    table: pd.DataFrame,
    *,
    level: float = 0.95,
    family: str = "times and layers",
    n_permutations: int = 10_000,
    seed: int = 0,
    tested: bool = True,
    distance: str = "unknown",
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
    family : {"times and layers", "times"}
        p is corrected over the times and layers of each model, or over the times of each layer.
    n_permutations : int
        How many flips of signs; where there are no more than these, all of them.
    seed : int
        Of the flips.
    tested : bool
        False for scores whose chance level is not 0, such as explained variances: no p.
    distance : str
        Of the RDMs; it decides whether cosines have a p (see `rsa.rdm.chance_is_0`).

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
    _require_share("level", level)
    _require_count("n_permutations", n_permutations)
    _require_chance(table, tested, distance)
    scores = _scores_of(table)
    n_subjects, n_rows, n_times = scores.values.shape
    means, half = scores.values.mean(axis=0), _half_width(scores.values, level)
    undefined = np.full_like(means, np.nan)
    p = _sign_flips(scores, family, n_permutations, seed).p_values() if tested and n_subjects > 1 else undefined
    courses = scores.rows.loc[np.repeat(np.arange(n_rows), n_times)].reset_index(drop=True)
    courses = courses.assign(
        time_s=np.tile(scores.times_s, n_rows),
        mean=means.ravel(),
        lower=(means - half).ravel(),
        upper=(means + half).ravel(),
        n_subjects=np.isfinite(scores.values).sum(axis=0).ravel(),
        p=p.ravel(),
    )
    shared = [name for name in ("statistic", "ceiling_lower", "ceiling_upper") if name in table]
    courses = courses.merge(table.drop_duplicates("time_s")[["time_s", *shared]], on="time_s", how="left")
    return courses[[name for name in COURSE_COLUMNS if name in courses]]


def _half_width(values: Array, level: float) -> Array:
    """Return half of the width of Student's confidence interval of a mean, (n_subjects, ...) -> (...); NaN for one."""
    n_subjects = len(values)
    if n_subjects < 2:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(stdtrit(n_subjects - 1, (1 + level) / 2) * values.std(axis=0, ddof=1) / np.sqrt(n_subjects))


# --------------------------------------------------------------------------------------------- latencies


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
    _require_share("alpha", alpha)
    _require_share("level", level)
    _require_count("n_permutations", n_permutations)
    _require_count("n_bootstrap", n_bootstrap)
    _require_chance(table, tested, distance)
    everything = _scores_of(table)
    chosen = _window(everything.times_s, from_s, until_s)
    scores = everything.at(chosen)
    n_subjects, (means, times_s) = len(scores.values), (scores.values.mean(axis=0), scores.times_s)
    peaks = _peak_times(means, times_s)
    found = scores.rows.assign(peak_s=peaks, peak_score=_at_times(means, times_s, peaks), n_subjects=n_subjects)
    if n_subjects == 1:
        bounds = _chance_bounds(everything, family, alpha, chance)
        found["onset_s"] = onset_times(means > bounds[:, None] + EQUAL, times_s, min_duration_s)
        return found.reindex(columns=list(LATENCY_COLUMNS))
    weights = list(_in_chunks(_resampled(n_subjects, n_bootstrap, seed), means.size))
    again = np.concatenate([_peak_times(_means_of(scores.values, some), times_s) for some in weights])
    found = found.assign(**_spread("peak", peaks, again, level))
    if tested:
        test = _sign_flips(everything, family, n_permutations, seed)
        found["peak_p"] = _at_times(test.p_values()[:, chosen], times_s, peaks)
        found = found.assign(**_onsets(scores, test, weights, alpha, min_duration_s, level))
    return found.reindex(columns=list(LATENCY_COLUMNS))


def _onsets(
    scores: _Scores, test: _SignFlips, weights: list[Array], alpha: float, min_duration_s: float, level: float
) -> dict[str, Array]:
    """Return the columns of onsets: of all subjects, with what samples of subjects say of them."""

    def onsets_of(some: Array) -> Array:
        above = _pseudo_t(scores.values, some, test.floor) > test.thresholds(alpha)[:, None] + EQUAL
        return onset_times(above, scores.times_s, min_duration_s)

    onsets = onsets_of(np.ones((1, len(scores.values))))[0]
    again = np.concatenate([onsets_of(some) for some in weights])
    found = {"onset_s": onsets, "onset_found": np.isfinite(again).mean(axis=0)}
    return found | _spread("onset", onsets, again, level)


def _window(times_s: Array, from_s: float, until_s: float) -> Array:
    """Return which times are in the window, shape (n_times,)."""
    chosen = (times_s >= from_s - SAME_S) & (times_s <= until_s + SAME_S)
    if not chosen.any():
        raise UserError(f"No time is from {from_s:g} to {until_s:g} s; the scores are of {span_of(times_s)}.")
    return np.asarray(chosen)


def _peak_times(means: Array, times_s: Array) -> Array:
    """Return the time of the highest score: (..., n_times) -> (...); NaN where none is above 0."""
    return MAPS["peak_time"].from_scores(np.moveaxis(means, -1, 0), times_s)


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
    everything = np.vstack([_highest_over_times(scores.values[0]), chance])  # the first: conditions as they are
    n_allowed = int(alpha * len(everything) + EQUAL)
    for rows in _families(scores.rows, family) if n_allowed else ():
        bounds[rows] = np.sort(everything[:, rows].max(axis=1))[-n_allowed - 1]
    return bounds


def _highest_over_times(scores: Array) -> Array:
    """Return the highest score over times, (..., n_times) -> (...); -inf where there is none."""
    return np.asarray(np.where(np.isnan(scores), -np.inf, scores).max(axis=-1))


# --------------------------------------------------------------------------------------------- bootstrap


def _resampled(n_subjects: int, n_bootstrap: int, seed: int) -> Array:
    """Return how often each subject is drawn into samples with replacement, shape (n_bootstrap, n_subjects)."""
    rng = np.random.default_rng((seed, 1))
    return rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), size=n_bootstrap).astype(np.float64)


def _means_of(values: Array, weights: Array) -> Array:
    """Return weighted means over subjects: (n_subjects, ...), (n_samples, n_subjects) -> (n_samples, ...)."""
    return np.asarray(np.tensordot(weights / weights.sum(axis=1, keepdims=True), values, 1))


def _interval(samples: Array, level: float) -> tuple[Array, Array]:
    """Return percentiles over samples: (n_samples, ...) -> two of (...); NaN counts as higher than any number."""
    ordered, n_beyond = np.sort(samples, axis=0), int((1 - level) / 2 * len(samples) + EQUAL)
    return ordered[n_beyond], ordered[-1 - n_beyond]


def _standard_error(samples: Array) -> Array:
    """Return the standard deviation over the samples that are numbers: (n_samples, ...) -> (...); NaN below 2."""
    known = np.isfinite(samples)
    n_known = known.sum(axis=0)
    centre = np.where(known, samples, 0).sum(axis=0) / np.maximum(n_known, 1)
    squares = np.where(known, (samples - centre) ** 2, 0).sum(axis=0)
    return np.asarray(np.sqrt(squares / np.where(n_known > 1, n_known - 1, np.nan)))


def _spread(name: str, observed: Array, samples: Array, level: float) -> dict[str, Array]:
    """Return the columns of interval and standard error of latencies; NaN where there is no latency."""
    lower, upper = _interval(samples, level)
    columns = {f"{name}_lower_s": lower, f"{name}_upper_s": upper, f"{name}_se_s": _standard_error(samples)}
    return {column: np.where(np.isnan(observed), np.nan, values) for column, values in columns.items()}


# --------------------------------------------------------------------------------------------- hierarchy


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
    _require_share("level", level)
    _require_count("n_bootstrap", n_bootstrap)
    scores = _scores_of(table)
    scores = scores.at(_window(scores.times_s, from_s, until_s))
    n_subjects, n_rows, n_times = scores.values.shape
    weights = np.vstack([np.ones(n_subjects), _resampled(n_subjects, n_bootstrap, seed)])  # the first: all subjects
    chunks = _in_chunks(weights, n_rows * n_times)
    peaks = np.concatenate([_peak_times(_means_of(scores.values, some), scores.times_s) for some in chunks])
    found = []
    for model, rows in scores.rows.groupby("model", sort=False).indices.items():
        if len(rows) > 2:
            rho = _rank_correlation(peaks[:, rows])
            lower, upper = _interval(rho[1:], level)
            row = {"rho": rho[0], "lower": lower, "upper": upper, "se": float(_standard_error(rho[1:]))}
            known = {"rho": rho[0]} if n_subjects == 1 or np.isnan(rho[0]) else row
            found.append({"model": model, "n_layers": len(rows), "n_subjects": n_subjects, **known})
    return pd.DataFrame(found, columns=list(HIERARCHY_COLUMNS))


def _rank_correlation(peaks: Array) -> Array:
    """Return Spearman's rho of each row with 1, 2, 3, ...: (n_samples, n_layers) -> (n_samples,); NaN if undefined."""
    from scipy.stats import rankdata

    ranks = np.asarray(rankdata(peaks, axis=1, nan_policy="propagate")) - (peaks.shape[1] + 1) / 2
    order = np.arange(peaks.shape[1]) - (peaks.shape[1] - 1) / 2
    lengths = np.sqrt((ranks**2).sum(axis=1) * (order**2).sum())
    return np.asarray(ranks @ order / np.where(lengths > 0, lengths, np.nan))


# ---------------------------------------------------------------------------------------- generalisation


def generalise(movies: RDMs, comparison: str, *, between: bool = False) -> Array:
    """Compare the RDMs of all times with each other: how stable is the geometry?

    Parameters
    ----------
    movies : RDMs
        One per subject and time: the table has `subject` and `time_s`.
    comparison : str
        A key of `COMPARISONS`.
    between : bool
        Compare the RDM of each subject (rows) with the average RDM of the others (columns), on the scale of the
        comparison as in a noise ceiling. Within a subject, noise that both times share counts as likeness, and a time
        is like itself at 1; noise of different subjects is independent, and the diagonal is the lower bound of the
        noise ceiling.

    Returns
    -------
    array, shape (n_times, n_times)
        Mean over subjects; times ascend. NaN where an RDM of a subject has NaN or is constant.

    Raises
    ------
    UserError
        As `layer_time`; and if there are fewer than 2 subjects to compare between.
    """
    likeness = pick(COMPARISONS, comparison, "comparison")
    _, _, places = places_over_time(movies)
    if not between:
        own = (likeness.prepare(movies.values[rows]) for rows in places)
        return np.asarray(sum(likeness.score(one, one) for one in own) / len(places))
    if len(places) < 2:
        raise UserError(f"Subjects are compared with the average of the others, so 2 or more, not {len(places)}.")
    everyone = np.sum([likeness.standardise(movies.values[rows]) for rows in places], axis=0)
    total = np.zeros((places.shape[1], places.shape[1]))
    for rows in places:
        others = (everyone - likeness.standardise(movies.values[rows])) / (len(places) - 1)
        total += likeness.score(likeness.prepare(movies.values[rows]), likeness.prepare(others))
    return total / len(places)


def generalisation_table(
    movies: RDMs, comparison: str, *, between: bool = False
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return what `generalise` does as a table, and what its columns are: a row and a column for each time.

    Parameters and errors are those of `generalise`.
    """
    matrix = generalise(movies, comparison, between=between)
    _, times_s, _ = places_over_time(movies)
    names = [f"{time_s:.6g}" for time_s in times_s]
    whose = "the average RDM of the others" if between else "the RDM of the same subject"
    texts = {name: f"Mean similarity over subjects to {whose} at {name} s after onset" for name in names}
    table = pd.DataFrame(matrix, columns=names)
    table.insert(0, "time_s", times_s)
    return table, {"time_s": "Time of a subject's RDM after onset, s"} | texts
