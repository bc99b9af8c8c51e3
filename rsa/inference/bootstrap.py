"""Would other subjects, who see other pictures, have such scores? Intervals over both, by drawing conditions anew."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from rsa.comparisons import COMPARISONS, Comparison, Drawn
from rsa.core import FEWEST_CONDITIONS, REFERENCE, SAME_S, SAME_SCORE, Array, RDMs, align
from rsa.errors import UserError
from rsa.inference.contrasts import Contrast, contrast_rows
from rsa.inference.flips import KNOWN_SPREAD, fisher_z
from rsa.inference.tally import Correction, families_of, holm
from rsa.rdm import in_regions, own_references
from rsa.registry import pick
from rsa.rows import require_count, require_share
from rsa.searchlight import RunSettings, in_threads

__all__ = [
    "BOTH_COLUMNS",
    "about_few",
    "bootstrapped_regions",
    "carried_by",
    "counts_of",
    "samples_of",
    "variance_over_both",
]

BOTH_COLUMNS = {
    "both_lower": "Confidence interval of the mean for other subjects who see other pictures (both resampled), lower "
    "bound",
    "both_upper": "Confidence interval of the mean for other subjects who see other pictures (both resampled), upper "
    "bound",
    "p_both": "p of the mean for other subjects and other pictures, uncorrected",
    "p_both_corrected": "The same, corrected for all tests of its family by Holm's method",
    "p_below_ceiling": "p that the mean is below the lower noise ceiling, one-sided, for other subjects and other "
    "pictures, uncorrected",
    "few_conditions": "How many conditions carry the reference (1 / the largest share of it in the pairs of one "
    "condition), where they are so few that the interval over both may be too narrow, and its p too small; else n/a",
}
"""The columns that a table of regions has of other subjects and other conditions, and what they are."""

FEW = 6
"""Intervals of references that fewer conditions carry may be too narrow: see docs/inference.md."""

PART_OF_ALL = 6
"""In a study of fewer than 36 conditions, fewer than one in so many: of 24, 6 to 8 carry what varies evenly."""

SHARE_KNOWN = 0.5
"""Where fewer samples than this share have a score of all subjects, there is no interval."""

CHUNK = 16
"""Samples that a thread works on at a time."""

ROOM_BYTES = 2**28
"""Memory for the RDMs that are compared at a time, unless another is given."""

COPIES = 8
"""An RDM takes the memory of so many while it is compared: its mean with others, the orders and ranks of both."""


# --------------------------------------------------------------------------------------- what is drawn


def samples_of(n_conditions: int, n_samples: int, seed: int) -> Array:
    """Draw as many conditions as there are, with replacement: how often each is in each sample.

    Returns
    -------
    array of int, shape (n_samples, n_conditions)
    """
    require_count("n_samples", n_samples)
    drawn = np.random.default_rng((seed, 13)).integers(n_conditions, size=(n_samples, n_conditions))
    return np.stack([np.bincount(one, minlength=n_conditions) for one in drawn])


def counts_of(sample: Array) -> Array:
    """Return how often each pair of conditions is in a sample; a condition makes no pair with itself.

    Parameters
    ----------
    sample : array of int, shape (n_conditions,)
        How often each condition was drawn.

    Returns
    -------
    array of int, shape (n_pairs,)

    Examples
    --------
    >>> counts_of(np.array([2, 1, 0]))  # of the pairs 0-1, 0-2 and 1-2
    array([2, 0, 0])
    """
    first, second = np.triu_indices(len(sample), 1)
    counts: Array = sample[first] * sample[second]
    return counts


# ------------------------------------------------------------------------------------------ the variance


@dataclass(eq=False)
class Spread:
    """What is needed of samples of the conditions: moments of the mean over subjects, and the spread of subjects.

    Parameters
    ----------
    observed : array, shape (n_subjects, ...)
        What was measured with the conditions as they are.
    """

    observed: Array

    def __post_init__(self) -> None:
        shape = self.observed.shape[1:]
        self.centre = self.observed.mean(axis=0)
        self.n, self.sums, self.squares, self.within = (np.zeros(shape) for _ in range(4))

    def add(self, values: Array) -> None:
        """Add what was measured with another sample, (n_subjects, ...); it counts where all subjects have a value."""
        mean = values.mean(axis=0)
        known = np.isfinite(mean)
        away = np.where(known, mean - self.centre, 0)
        self.n += known
        self.sums += away
        self.squares += away**2
        self.within += np.where(known, ((values - mean) ** 2).sum(axis=0), 0)

    def add_all(self, other: "Spread") -> None:
        """Add what another has seen of other samples."""
        for name in ("n", "sums", "squares", "within"):
            getattr(self, name).__iadd__(getattr(other, name))

    def variances(self, n_samples: int) -> tuple[Array, Array]:
        """Return the variance of the mean where conditions, and where both are drawn anew: two arrays, (...).

        What drawing subjects as well would add is known: the mean of n of n subjects, drawn with replacement, has the
        variance of their values divided by n. NaN where too few samples have a score.
        """
        n = np.where(self.n >= SHARE_KNOWN * n_samples, self.n, np.nan)
        of_conditions = np.maximum(self.squares / n - (self.sums / n) ** 2, 0)
        return of_conditions, of_conditions + self.within / n / len(self.observed) ** 2


def variance_over_both(observed: Array, of_conditions: Array, of_both: Array, n_conditions: int) -> Array:
    """Estimate the variance of a mean over subjects, if other subjects saw other conditions.

    To resample subjects and conditions at once counts the noise of measurement three times, and to resample each alone
    counts it once; so it is taken away twice [1]_. The result lies between the larger of the two alone and that of
    both.

    Parameters
    ----------
    observed : array, shape (n_subjects, ...)
        What was measured.
    of_conditions, of_both : array, shape (...)
        Variance of the mean if conditions alone, or both, are drawn anew.
    n_conditions : int
        Number of conditions.

    Returns
    -------
    array, shape (...)

    References
    ----------
    .. [1] Schütt HH, Kipnis AD, Diedrichsen J, Kriegeskorte N (2023). Statistical inference on representational
       geometries. eLife 12:e82566.
    """
    n = len(observed)
    of_subjects = observed.var(axis=0) / n
    larger, few = n / (n - 1), n_conditions / (n_conditions - 1)
    found = larger * of_subjects + few * of_conditions - larger * few * (of_both - of_subjects - of_conditions)
    least = np.maximum(larger * of_subjects, few * of_conditions)
    variance: Array = np.minimum(np.maximum(found, least), np.maximum(of_both, least))
    return variance


# ----------------------------------------------------------------------------- what few conditions carry


def carried_by(rdms: Array, comparison: Comparison) -> Array:
    """Say how many conditions carry a reference: 1 / the largest share of it that is in the pairs of one condition.

    What is shared out are the squares of what a score multiplies: of ranks about their mean, for Spearman's rho.
    Where k of many conditions differ from all others, and from these alone, it is about k; of n conditions it is n / 2
    at most, since each pair is of two.

    Parameters
    ----------
    rdms : array, shape (n_rdms, n_pairs)
        References.
    comparison : Comparison
        An entry of `COMPARISONS`, of those that have `scaled`.

    Returns
    -------
    array, shape (n_rdms,)
        NaN of an RDM that is constant, or has gaps.
    """
    from scipy.spatial.distance import squareform

    assert comparison.scaled is not None, "its scores are products"
    squares = comparison.scaled(comparison.prepare(rdms)) ** 2
    largest = np.array([squareform(one, checks=False).sum(axis=0).max() for one in squares])
    with np.errstate(invalid="ignore", divide="ignore"):
        carried: Array = np.where(largest > 0, squares.sum(axis=1) / largest, np.nan)
    return carried


def _few(references: Sequence[Array], comparison: Comparison, n_conditions: int) -> Array:
    """Return how many conditions carry each reference, of subjects the fewest; NaN where they are not few.

    Parameters
    ----------
    references : sequence of array, shape (n_references, n_pairs)
        Those of each subject, or one for all.
    """
    carried = np.fmin.reduce([carried_by(rdms, comparison) for rdms in references])
    return np.where(carried < min(FEW, n_conditions / PART_OF_ALL), carried, np.nan)


def about_few(table: pd.DataFrame) -> str:
    """Name the references of a table of regions that few conditions carry, in a line; nothing if there are none."""
    if "few_conditions" not in table or table["few_conditions"].isna().all():
        return ""
    few = table[table["few_conditions"].notna()].drop_duplicates(["model", "layer"]).fillna({"layer": ""})
    names = [f"{one.model} {one.layer}".strip() + f" ({one.few_conditions:.0f})" for one in few.itertuples()]
    return (
        f"Few conditions carry {', '.join(names)}: intervals for other subjects who see other pictures may be too "
        "narrow, and their p too small (docs/inference.md)."
    )


# ------------------------------------------------------------------------------------------------ regions


def bootstrapped_regions(
    brain: RDMs,
    references: RDMs,
    comparison: str,
    correction: Correction,
    *,
    contrasts: Sequence[Contrast] = (),
    n_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    tested: bool = True,
    run: RunSettings = RunSettings(),
) -> pd.DataFrame:
    """Give the mean scores of regions an interval and a p for other subjects who see other conditions.

    Conditions are drawn anew, with replacement, and all RDMs are compared again over the pairs of the conditions that
    were drawn: ranks are those among these pairs. Means over subjects vary by the subjects, by the conditions, and by
    the noise of measurement; see `variance_over_both`. Intervals and p follow from Student's t with
    min(n_subjects, n_conditions) - 1 degrees of freedom.

    Parameters
    ----------
    brain, references : RDMs
        As for `rsa.rdm.region_fits`.
    comparison : str
        A key of `COMPARISONS`.
    correction : Correction
        The alternative, and over what p values are corrected.
    contrasts : sequence of Contrast
        Differences of references, of Fisher's z, that get an interval as well.
    n_samples, seed : int
        How many samples of the conditions, and the seed of them.
    level : float
        Of the intervals.
    tested : bool
        Whether scores are 0 where there is nothing; otherwise they have no p.
    run : RunSettings
        Threads, memory, and progress: how many regions of how many samples are done.

    Returns
    -------
    DataFrame
        A row per reference (or contrast), time and region: the labels, and the columns `BOTH_COLUMNS`. NaN where a
        subject has no score, for one subject, and where half of the samples have none: of three conditions, say. There
        is no p where scores, or differences, vary by little more than rounding.

    Raises
    ------
    UserError
        If RDMs cannot be compared over samples of the conditions in this way.
    """
    require_share("level", level)
    compared = pick(COMPARISONS, comparison, "comparison")
    if compared.drawn is None:
        raise UserError(f"Conditions are not drawn anew for {comparison}, whose scores are no products of RDMs.")
    study = _Study.of(brain, references)
    labels, n_conditions, n_subjects = study.labels, len(study.conditions), len(study.subjects)
    weights, named = _differences(labels, contrasts)
    samples = samples_of(n_conditions, n_samples, seed)
    columns = {name: np.full((len(labels) + len(named), len(study.regions)), np.nan) for name in BOTH_COLUMNS}
    for regions in study.some_regions(run) if n_subjects > 1 else ():
        spread = _resampled(study, regions, compared, samples, weights, run)
        variance = variance_over_both(spread.observed, *spread.variances(n_samples), n_conditions)
        df = min(n_subjects, n_conditions) - 1
        for name, values in _intervals_and_p(spread, variance, weights, df, level, correction.alternative).items():
            columns[name][: len(values), regions] = values
    few = study.few(compared, weights)[:, None]  # (n_rows + n_differences, 1)
    columns["few_conditions"] = np.where(np.isfinite(columns["both_lower"]), few, np.nan)
    if not tested:
        columns["p_both"][:] = np.nan
    rows = pd.concat([labels, named[[name for name in labels if name in named]]], ignore_index=True)
    of_rows = families_of(rows, correction.family).of_rows
    for family in np.unique(of_rows):
        where = np.flatnonzero(of_rows == family)
        columns["p_both_corrected"][where] = holm(columns["p_both"][where])
    found = rows.loc[np.repeat(rows.index, len(study.regions))].drop(columns="role", errors="ignore")
    found = found.reset_index(drop=True).assign(region=np.tile(study.regions, len(rows)))
    return found.assign(**{name: values.ravel() for name, values in columns.items()})


@dataclass(frozen=True, eq=False)
class _Study:
    """RDMs of subjects in regions, and of references, over the same conditions in the same order.

    Parameters
    ----------
    conditions, subjects, regions : list of str
        Labels.
    n_times : int
        Number of times of the brain RDMs; 1 without.
    brain : array, shape (n_subjects, n_times, n_regions, n_pairs)
        NaN where there is none.
    references : list of array, shape (n_references, n_pairs)
        Those of each subject, or one for all.
    labels : DataFrame
        `model`, `layer` and `time_s` of the rows of scores: times of a reference, if they are the brain's, last.
    """

    conditions: list[str]
    subjects: list[str]
    regions: list[str]
    brain: Array
    references: list[Array]
    labels: pd.DataFrame

    @classmethod
    def of(cls, brain: RDMs, references: RDMs) -> "_Study":
        subjects, times_s, regions, values = in_regions(brain, brain.values)
        whose = subjects if "subject" in references.table else subjects[:1]
        own = [align(brain.conditions, own_references(references, one), "brain RDMs") for one in whose]
        labels, of_subjects = _in_one_order(own)
        n_references = len(labels)
        labels = labels.loc[np.repeat(labels.index, values.shape[1])].reset_index(drop=True).assign(role=REFERENCE)
        if times_s:
            labels["time_s"] = np.tile(times_s, n_references)
        return cls(list(brain.conditions), subjects, regions, values, of_subjects, labels)

    def few(self, comparison: Comparison, weights: Array) -> Array:
        """Return how many conditions carry each row of scores, and each difference, where they are few; else NaN.

        Parameters
        ----------
        comparison : Comparison
            How RDMs are compared.
        weights : array, shape (n_differences, n_rows)
            Of the differences: the fewest that carry one of its references carry it.

        Returns
        -------
        array, shape (n_rows + n_differences,)
        """
        of_rows = np.repeat(_few(self.references, comparison, len(self.conditions)), self.brain.shape[1])
        return np.concatenate([of_rows, *[np.fmin.reduce(of_rows[one != 0], keepdims=True) for one in weights]])

    def some_regions(self, run: RunSettings) -> Iterator[slice]:
        """Divide the regions, so that the RDMs of some fit into memory."""
        one = 8 * COPIES * self.brain[:, :, 0].size * run.n_threads
        size = max(1, int((run.room_bytes or ROOM_BYTES) // one))
        for start in range(0, len(self.regions), size):
            yield slice(start, min(start + size, len(self.regions)))


def _in_one_order(own: Sequence[RDMs]) -> tuple[pd.DataFrame, list[Array]]:
    """Return the labels of all references, and those of each subject in this order, NaN where a subject lacks one."""
    names = [name for name in ("model", "layer", "time_s") if name in own[0].table]
    tables = [
        one.table[names].assign(**{name: one.table[name].fillna("").astype(str) for name in names if name != "time_s"})
        for one in own
    ]
    if all(_are_same(table, tables[0]) for table in tables):
        return tables[0], [one.values for one in own]
    labels = pd.concat(tables, ignore_index=True).drop_duplicates(ignore_index=True)
    placed = []
    for table, one in zip(tables, own, strict=True):
        values = np.full((len(labels), one.values.shape[1]), np.nan)
        numbered = table.merge(labels.reset_index(names="row"), on=names, how="left")
        values[numbered["row"]] = one.values
        placed.append(values)
    return labels, placed


def _are_same(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Say whether two tables label the same references in the same order; times may differ by rounding."""
    texts = [name for name in a if name != "time_s"]
    if len(a) != len(b) or (a[texts].to_numpy() != b[texts].to_numpy()).any():
        return False
    return "time_s" not in a or np.allclose(a["time_s"], b["time_s"], rtol=0, atol=SAME_S, equal_nan=True)


def _differences(labels: pd.DataFrame, contrasts: Sequence[Contrast]) -> tuple[Array, pd.DataFrame]:
    """Return contrasts as weights of rows, shape (n_differences, n_rows), and the labels of the differences."""
    differences, named = contrast_rows(np.eye(len(labels))[None], labels, contrasts)
    return differences[0], named


def _intervals_and_p(
    spread: Spread, variance: Array, weights: Array, df: int, level: float, alternative: str
) -> dict[str, Array]:
    """Return intervals and p by Student's t: `BOTH_COLUMNS` but the corrected p, each of shape (n, n_regions)."""
    from scipy.special import stdtr, stdtrit

    n_scores = sum(weights.shape)  # and differences
    mean, error = spread.centre, np.sqrt(variance)
    half = stdtrit(df, (1 + level) / 2) * error
    with np.errstate(invalid="ignore", divide="ignore"):  # no more than rounding: no t
        t = np.where(error > _rounding(spread.observed, weights), mean / error, np.nan)
    above = stdtr(df, -t)
    p = above if alternative == "greater" else 2 * stdtr(df, -np.abs(t))
    return {
        "both_lower": (mean - half)[:n_scores],
        "both_upper": (mean + half)[:n_scores],
        "p_both": p[:n_scores],
        "p_below_ceiling": above[n_scores:],
    }


def _rounding(observed: Array, weights: Array) -> Array:
    """Return what the error of a mean has to exceed to be more than rounding, as `rsa.inference.flips.least_rest` does.

    Parameters
    ----------
    observed : array, shape (n_subjects, n_rows + n_differences + n_rows, n_regions)
        Scores, differences of Fisher's z, and how far scores are below the noise ceiling.
    weights : array, shape (n_differences, n_rows)
        Of the differences.

    Returns
    -------
    array, shape (n_rows + n_differences + n_rows, n_regions)
    """
    n_subjects, n_rows = len(observed), weights.shape[1]
    of_scores = np.full((n_rows, observed.shape[2]), (SAME_SCORE / 2) ** 2)
    of_z = (SAME_SCORE / 2 * np.cosh(fisher_z(observed[:, :n_rows]))) ** 2  # (n_subjects, n_rows, n_regions)
    of_z = of_z.mean(axis=0)
    of_differences = [(of_z[one != 0] * one[one != 0, None] ** 2).sum(axis=0) for one in weights]
    squares = np.concatenate([of_scores, *[one[None] for one in of_differences], of_scores])
    return np.asarray(KNOWN_SPREAD * np.sqrt(squares / n_subjects))


def _resampled(
    study: _Study, regions: slice, comparison: Comparison, samples: Array, weights: Array, run: RunSettings
) -> Spread:
    """Compare the RDMs of some regions over each sample of the conditions.

    What is measured of each subject are the scores, the differences, and the lower noise ceiling less each score,
    n_rows + n_differences + n_rows.
    """
    brain = study.brain[:, :, regions]
    standard = comparison.standardise(_rows(brain)).reshape(brain.shape)
    others = (standard.sum(axis=0) - standard) / (len(brain) - 1)
    drawn_of = cast("Callable[[Array], Drawn]", comparison.drawn)
    own_drawn, others_drawn = (drawn_of(comparison.prepare(_rows(rdms))) for rdms in (brain, others))
    references_drawn = [drawn_of(comparison.prepare(rdms)) for rdms in study.references]

    def measured(counts: Array) -> Array:
        own = own_drawn(counts)
        ceiling = np.vecdot(own, others_drawn(counts)).reshape(brain.shape[:3])  # (n_subjects, n_times, n_regions)
        own = own.reshape(len(brain), -1, own.shape[-1])
        references = [drawn(counts) for drawn in references_drawn]
        references *= len(own) if len(references) == 1 else 1
        scores = np.stack([one @ of_subject.T for one, of_subject in zip(references, own, strict=True)])
        scores = np.clip(scores, -1, 1).reshape(len(brain), -1, *brain.shape[1:3])
        below = (ceiling[:, None] - scores).reshape(len(brain), -1, brain.shape[2])
        scores = scores.reshape(below.shape)  # (n_subjects, n_references x n_times, n_regions)
        z = fisher_z(scores)
        differences = [(z[:, one != 0] * one[one != 0, None]).sum(axis=1) for one in weights]
        return np.concatenate([scores, *[one[:, None] for one in differences], below], axis=1)

    spread = Spread(measured(np.ones(brain.shape[-1], dtype=int)))

    def some(numbers: range) -> Spread:
        of_some = Spread(spread.observed)
        for number in numbers:
            if np.count_nonzero(samples[number]) >= FEWEST_CONDITIONS:
                of_some.add(measured(counts_of(samples[number])))
        return of_some

    chunks = [range(first, min(first + CHUNK, len(samples))) for first in range(0, len(samples), CHUNK)]
    for numbers, one in in_threads(some, chunks, run.n_threads):
        spread.add_all(one)
        if run.progress is not None:
            run.progress(len(numbers) * brain.shape[2])
    return spread


def _rows(rdms: Array) -> Array:
    """Put RDMs, (..., n_pairs), one below the other."""
    return rdms.reshape(-1, rdms.shape[-1])
