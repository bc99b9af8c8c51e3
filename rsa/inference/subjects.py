"""Tests over subjects: a statistic at every place, and under flips or other orders of the subjects."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from rsa.core import PART, QUALITY, REFERENCE, Array
from rsa.errors import UserError
from rsa.inference.contrasts import DIFFERENCE
from rsa.inference.designs import Alternative, Design
from rsa.inference.flips import FLIPPED_NUMBERS, fisher_z, least_rest
from rsa.inference.tally import Correction, Tally, Tested, families_of, rows_of, tally
from rsa.rdm import MEEG, chance_is_0
from rsa.registry import pick
from rsa.rows import require_count

__all__ = [
    "PRECISION",
    "SUBJECT_STATISTICS",
    "SubjectStatistic",
    "SubjectTest",
    "about_of",
    "flippable_rows",
    "maps_of",
    "subject_test",
    "over_subjects",
    "why_not_flipped",
]

PRECISION = 1e-6
"""Statistics of flipped scores, in single precision, that are lower by less than this count as reaching."""

Z_OF_T = "z that is exceeded as rarely as the t, by Student's distribution; uncorrected"

Z_OF_FLIPS = "the statistic in standard deviations over all flips (or orders) of subjects; uncorrected"

COUNTED = 4096
"""Columns on which a thread counts at a time; changes no result."""

STEP = 2.0**-24
"""What scaled scores are multiples of, where their absolute values add up to 1: their sums are exact in float32."""


@dataclass(frozen=True)
class SubjectStatistic:
    """What is computed of the scores of subjects at a place.

    Parameters
    ----------
    summary : str
        One line for the documentation and the sidecar.
    has_t : bool
        Whether it is a t, which has degrees of freedom.
    of_designs : bool
        Whether it is defined for two groups and with covariates.
    paper : str
        The paper to cite, a key of `rsa.papers.PAPERS`; empty if the statistic needs none.
    """

    summary: str
    has_t: bool = False
    of_designs: bool = True
    paper: str = ""


SUBJECT_STATISTICS: dict[str, SubjectStatistic] = {
    "t": SubjectStatistic("t over subjects of Fisher's z", has_t=True),
    "pseudo_t": SubjectStatistic(
        "sum over subjects of Fisher's z, divided by the root of n times the sum of their squares and its median over "
        "the family"
    ),
    "wilcoxon": SubjectStatistic(
        "standardised sum of signed ranks of Fisher's z over subjects (Wilcoxon), ties by average rank, zeros left out",
        of_designs=False,
    ),
}
"""Statistics over subjects, by the word in `statistic`."""


@dataclass(frozen=True, eq=False)
class SubjectTest:
    """A statistic over subjects at every place, and what it is under flips or other orders of the subjects.

    Parameters
    ----------
    observed : array, shape (n_rows, n_columns), float64
        Of the scores as they are. NaN where a subject has no score, and where it is not defined.
    statistic : str
        A key of `SUBJECT_STATISTICS`.
    design : Design
        What is tested.
    is_exact : bool
        Whether all flips or orders are taken.
    scaled : array, shape (n_subjects, n_rows * n_columns), float32
        Scores, with rows of 0 that make n_subjects a multiple of 4; see `rsa.kernels.transformed_statistics`.
    weights : array, shape (1 + n_permutations, 1 + n_nuisance, n_subjects), float32
        What they are summed with; the first leaves subjects as they are.
    floor : array, shape (n_rows,)
        What `pseudo_t` adds to sums of squares; 0 for other statistics.
    per_sum : array, shape (n_rows * n_columns,), float32, optional
        What sums are multiplied by: those of ranks, which are whole numbers, so that equal sums stay equal.
    """

    observed: Array
    statistic: str
    design: Design
    is_exact: bool
    scaled: Array
    weights: Array
    floor: Array
    per_sum: Array | None = None

    @property
    def n_permutations(self) -> int:
        """How many flips or orders there are, not counting subjects as they are."""
        return len(self.weights) - 1

    @property
    def degrees_of_freedom(self) -> int | None:
        """Of t; None for another statistic."""
        return self.design.degrees_of_freedom if SUBJECT_STATISTICS[self.statistic].has_t else None

    @property
    def identity(self) -> Array:
        """`observed` in single precision, computed as `blocks` are; what equals it there is equal here, to the bit."""
        identity: Array = self._of(slice(0, 1))[0]
        return identity

    @property
    def z(self) -> Array:
        """The observed statistic as a standard normal value.

        Of t, the value that is exceeded as rarely by Student's distribution; of others, the statistic in standard
        deviations over all flips (or orders).
        """
        from scipy.special import ndtri, stdtr

        if self.degrees_of_freedom is None:
            return np.asarray(self.observed / self.deviation)
        return np.asarray(-np.sign(self.observed) * ndtri(stdtr(self.degrees_of_freedom, -np.abs(self.observed))))

    @property
    def deviation(self) -> Array:
        """Standard deviation of the statistic over all flips (or orders), of which the mean is 0; NaN for t."""
        if self.degrees_of_freedom is not None:
            return np.full(self.observed.shape, np.nan)
        if self.per_sum is not None:
            return np.ones(self.observed.shape)
        squares = (self.scaled.astype(np.float64) ** 2).sum(axis=0).reshape(self.observed.shape)
        if self.design.in_first is not None:
            squares *= (self.design.tested**2).sum() / (self.design.n_subjects - 1)
        return np.sqrt(np.where(squares > 0, squares, np.nan))

    def smallest_p(self, alternative: Alternative = "greater") -> float:
        """Return the smallest p that the test can give (see `Design.smallest_p`)."""
        return self.design.smallest_p(self.n_permutations, alternative)

    def at_p(self, p: float, alternative: Alternative = "greater") -> float:
        """Return the statistic whose uncorrected p is about this by its distribution, for clusters to be formed at.

        That of t with its degrees of freedom; of the normal distribution for `wilcoxon`; and for `pseudo_t` the value
        that a t without a floor has.
        """
        from scipy.special import ndtri, stdtrit

        tail = p / 2 if alternative == "two-sided" else p
        if self.statistic == "wilcoxon":
            return float(ndtri(1 - tail))
        df = self.design.degrees_of_freedom
        t = float(stdtrit(df, 1 - tail))
        return t if self.statistic == "t" else t / float(np.sqrt(df + t**2))

    def permuted(self, start: int, stop: int) -> Array:
        """Return the statistic under the permutations from `start` on, float32, (stop - start, n_rows, n_columns).

        They are counted from 0, and subjects as they are are none of them. Threads may call it at once.
        """
        return self._of(slice(1 + start, 1 + stop))

    def count(self, two_sided: bool = False, n_threads: int = 1) -> tuple[Array, Array]:
        """Count how many permutations reach `identity`, and find the highest of each; no statistic is kept.

        Parameters
        ----------
        two_sided : bool
            Whether sizes are counted, whatever their signs.
        n_threads : int
            Number of threads; changes no number.

        Returns
        -------
        exceedances : array of int, shape (n_rows, n_columns)
        maxima : array of float32, shape (n_permutations, n_rows)
            Over columns, where the statistic is defined.
        """
        from rsa.kernels import count_transformed

        n_rows, n_columns = self.observed.shape
        identity = self.identity.ravel()
        thresholds = (np.abs(identity) if two_sided else identity) - np.float32(PRECISION)
        factors = np.ones(identity.size, np.float32) if self.per_sum is None else self.per_sum
        exceedances, maxima = (
            np.zeros(identity.size, np.int32),
            np.full((n_rows, self.n_permutations), -np.inf, np.float32),
        )
        df, weights = np.float32(self.degrees_of_freedom or 0), self.weights[1:]

        def work(task: tuple[int, int]) -> tuple[int, Array]:
            row, start = task
            first, last = row * n_columns + start, row * n_columns + min(start + COUNTED, n_columns)
            highest = np.full(self.n_permutations, -np.inf, np.float32)
            count_transformed(
                self.scaled, weights, df, factors, first, last, thresholds, two_sided, exceedances, highest
            )
            return row, highest

        tasks = [(row, start) for row in range(n_rows) for start in range(0, n_columns, COUNTED)]
        with ThreadPoolExecutor(n_threads) as pool:
            for row, highest in pool.map(work, tasks):
                np.maximum(maxima[row], highest, out=maxima[row])
        return exceedances.reshape(n_rows, n_columns), maxima.T

    def blocks(self, n_at_once: int | None = None) -> Iterator[Array]:
        """Give the statistic under all permutations, some at a time: float32, (n_some, n_rows, n_columns).

        How many are in a block changes no number; by default it is bounded by `rsa.inference.flips.FLIPPED_NUMBERS`.
        """
        n_at_once = n_at_once or max(1, FLIPPED_NUMBERS // max(1, self.observed.size))
        for start in range(0, self.n_permutations, n_at_once):
            yield self.permuted(start, min(start + n_at_once, self.n_permutations))

    def _of(self, which: slice) -> Array:
        from rsa.kernels import transformed_statistics

        weights = self.weights[which]
        statistics = np.empty((len(weights), self.scaled.shape[1]), dtype=np.float32)
        transformed_statistics(self.scaled, weights, np.float32(self.degrees_of_freedom or 0), statistics)
        if self.per_sum is not None:
            statistics *= self.per_sum
        return statistics.reshape(len(weights), *self.observed.shape)


def subject_test(
    values: Array,
    *,
    statistic: str = "t",
    n_permutations: int = 10_000,
    seed: int = 0,
    design: Design | None = None,
    families: Sequence[Array] | None = None,
    fisher: bool = False,
) -> SubjectTest:
    """Prepare a test over subjects by flips of their signs, or other orders of them [1]_.

    A column is divided by the root of its sum of squares once. A flip is then a weighted sum over subjects, u, and
    t = u sqrt(df / (1 - u^2)). The flips are the same for all rows and columns.

    Parameters
    ----------
    values : array, shape (n_subjects, n_rows, n_columns)
        Fisher's z of scores, whose chance level is 0. NaN where a subject has none.
    statistic : str
        A key of `SUBJECT_STATISTICS`. `t`: NaN where scores of subjects differ by little more than rounding (see
        `rsa.inference.flips.least_rest`); above 1,000 sqrt(df) it is that. `pseudo_t`: see
        `rsa.inference.flips.pseudo_t`; NaN where scores and floor are little more than rounding. `wilcoxon`: subjects
        whose score is 0 have no rank there.
    n_permutations : int
        How many; all of them, each once, if there are no more (`SubjectTest.is_exact`).
    seed : int
        Of random flips or orders.
    design : Design, optional
        What is tested; by default the mean.
    families : sequence of arrays of int, optional
        Rows that share the floor of `pseudo_t`, the median of their sums of squares; by default each row by itself.
    fisher : bool
        Whether values are scores, of which Fisher's z is to be taken.

    Raises
    ------
    UserError
        If there are fewer than 2 subjects, or the design is not of as many subjects or not for the statistic.

    References
    ----------
    .. [1] Nichols TE, Holmes AP (2002). Nonparametric permutation tests for functional neuroimaging: a primer with
           examples. Hum Brain Mapp 15:1-25.
    """
    from rsa.kernels import SMALLEST_REST

    require_count("n_permutations", n_permutations)
    entry = pick(SUBJECT_STATISTICS, statistic, "statistic over subjects")
    n_subjects, n_rows, n_columns = values.shape
    design = Design(n_subjects) if design is None else design
    if design.n_subjects != n_subjects:
        raise UserError(f"The design is of {design.n_subjects} subjects, and the scores of {n_subjects}.")
    if not (entry.of_designs or design.is_plain):
        raise UserError(
            f"The statistic {statistic} is of a mean over subjects alone, not of the {design.words}; take t."
        )
    by_ranks = statistic == "wilcoxon"
    floors = _floors(values, design, families, fisher) if statistic == "pseudo_t" else np.zeros(n_rows)
    weights = design.weights(n_permutations, seed)
    n_filled = -(-n_subjects // 4) * 4  # rows and columns of 0 fill up what is summed
    padded = np.pad(weights, ((0, 0), (0, 0), (0, n_filled - n_subjects))).astype(np.float32)
    observed, per_sum = np.empty((2, n_rows, n_columns))
    scaled = np.zeros((n_filled, n_rows, n_columns), dtype=np.float32)
    for row in range(n_rows):
        summed = _what_is_summed(values[:, row], statistic, design, fisher)
        squares = (summed**2).sum(axis=0) + floors[row]
        lengths = np.sqrt(np.where(squares > 0, squares, np.nan)) * (1 if by_ranks else np.linalg.norm(design.tested))
        parts = summed / lengths
        if statistic == "pseudo_t":
            parts[:, squares < least_rest(_z(values[:, row], fisher), n_subjects)] = np.nan
        u = _weighted_sum(design.tested, parts)
        if entry.has_t:
            df = design.degrees_of_freedom
            parts[:, squares * (1 - u**2) < least_rest(_z(values[:, row], fisher), df)] = np.nan
            u = _weighted_sum(design.tested, parts)
            u *= np.sqrt(design.degrees_of_freedom / np.maximum(1 - u**2, SMALLEST_REST))
        observed[row], per_sum[row] = u, 0.5 / lengths
        scaled[:n_subjects, row] = 2 * summed if by_ranks else np.round(parts / STEP) * STEP
    return SubjectTest(
        observed,
        statistic,
        design,
        is_exact=design.n_transforms(n_permutations)[1],
        scaled=scaled.reshape(n_filled, -1),
        weights=padded,
        floor=floors,
        per_sum=per_sum.ravel().astype(np.float32) if by_ranks else None,
    )


def over_subjects(
    values: Array,
    table: pd.DataFrame,
    correction: Correction,
    *,
    statistic: str = "t",
    n_permutations: int = 10_000,
    seed: int = 0,
    design: Design | None = None,
    cluster_p: float = 0.001,
    n_threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> tuple[SubjectTest, Tested]:
    """Test Fisher's z over subjects: a statistic, and p values that are corrected as is asked for.

    Parameters
    ----------
    values : array, shape (n_subjects, n_rows, n_columns)
        As in `subject_test`.
    table : DataFrame, n_rows rows
        `model`, `layer`, `time_s`, which say what is corrected together.
    correction : Correction
        How p values are corrected. Rows of one family share the floor of `pseudo_t`.
    statistic, n_permutations, seed, design
        As in `subject_test`.
    cluster_p : float
        The uncorrected p at which clusters are formed (see `SubjectTest.at_p`).
    n_threads, progress
        As in `rsa.inference.tally.tally`.

    Raises
    ------
    UserError
        As `subject_test`.
    """
    of_rows = families_of(table, correction.family).of_rows
    families = [np.flatnonzero(of_rows == number) for number in np.unique(of_rows)]
    how: dict[str, Any] = {"statistic": statistic, "n_permutations": n_permutations, "seed": seed, "design": design}
    test = subject_test(values, families=families, **how)
    if correction.enhance is None:  # whole maps are not needed
        counted = Tally(test.identity, families_of(table, correction.family), correction, test.n_permutations)
        counted.is_exact, counted.precision = test.is_exact, PRECISION
        counted.exceedances, counted.maxima = test.count(correction.alternative == "two-sided", n_threads)
        return test, _with_moments(counted.result(), test)
    threshold = test.at_p(cluster_p, correction.alternative)
    result = tally(
        test.identity,
        test.blocks(),
        table,
        correction,
        n_permutations=test.n_permutations,
        is_exact=test.is_exact,
        precision=PRECISION,
        thresholds=np.full(len(table), threshold) if correction.needs_threshold else None,
        n_threads=n_threads,
        progress=progress,
    )
    return test, _with_moments(result, test)


def maps_of(test: SubjectTest, tested: Tested, effect: Array, table: pd.DataFrame) -> tuple[Array, pd.DataFrame]:
    """Return what is written of a test over subjects: values, (n_maps, n_columns), and a table that says what they are.

    Parameters
    ----------
    test, tested
        From `over_subjects`.
    effect : array, shape (n_rows, n_columns)
        What was tested (see `rsa.inference.contrasts.with_contrasts`). It is written of groups and contrasts alone, as
        "difference"; otherwise it is the mean, which the group has anyway.
    table : DataFrame, n_rows rows
        What was tested.
    """
    maps = [(DIFFERENCE, effect), (test.statistic, test.observed), *tested.maps(effect, test.z)]
    values, labels = rows_of(table, maps)
    is_mean = (table["statistic"] != DIFFERENCE).to_numpy() & (test.design.in_first is None)
    kept = np.append(~is_mean, np.ones(len(labels) - len(table), dtype=bool))
    return values[kept], labels[kept].reset_index(drop=True)


def about_of(test: SubjectTest, tested: Tested) -> dict[str, dict[str, object]]:
    """Return what sidecars say, for each of `maps_of`."""
    df, what = test.degrees_of_freedom, f"{SUBJECT_STATISTICS[test.statistic].summary}; {test.design.words}"
    about = tested.about(what, Z_OF_T if df is not None else Z_OF_FLIPS)
    shared = {"Subjects": test.design.n_subjects, "SmallestP": test.smallest_p(tested.correction.alternative)}
    shared |= {} if df is None else {"DegreesOfFreedom": df}
    about[test.statistic] = about["z"] | {"Description": what[:1].upper() + what[1:], "Units": test.statistic}
    effect = f"Difference of scores, or of Fisher's z where references are compared; {test.design.words}"
    about[DIFFERENCE] = {"Description": effect, "Units": "score"}
    return {name: said | shared for name, said in about.items()}


def _with_moments(result: Tested, test: SubjectTest) -> Tested:
    """Let z be by the mean and the standard deviation over all flips, instead of those that were taken."""
    return replace(result, mean=np.zeros(test.observed.shape), deviation=test.deviation)


def _z(values: Array, fisher: bool) -> Array:
    return fisher_z(values.astype(np.float64)) if fisher else np.array(values, dtype=np.float64)


def _what_is_summed(values: Array, statistic: str, design: Design, fisher: bool) -> Array:
    """Return, for each subject, what the statistic adds up: (n_subjects, n_columns) -> the same, float64."""
    z = _z(values, fisher)
    if statistic != "wilcoxon":
        return design.residuals(z)
    from scipy.stats import rankdata

    ranks = rankdata(np.abs(z), axis=0, nan_policy="propagate") - (z == 0).sum(axis=0)
    return np.asarray(np.sign(z) * ranks)


def _floors(values: Array, design: Design, families: Sequence[Array] | None, fisher: bool) -> Array:
    """Return, per row, the median sum of squares of its family; 0 where no score is defined."""
    parts = (_what_is_summed(rows, "pseudo_t", design, fisher) for rows in values.swapaxes(0, 1))
    squares, floors = np.stack([(part**2).sum(axis=0) for part in parts]), np.zeros(values.shape[1])
    for rows in [np.array([row]) for row in range(len(floors))] if families is None else families:
        known = squares[rows][np.isfinite(squares[rows])]
        floors[rows] = np.median(known) if known.size else 0.0
    return floors


def _weighted_sum(weights: Array, values: Array) -> Array:
    """Return the weighted sum over subjects, in their order: (n_subjects,), (n_subjects, n_columns) -> (n_columns,)."""
    return np.asarray((weights[:, None] * values).sum(axis=0))


def why_not_flipped(
    comparison: str,
    distance: str,
    *,
    tested: bool = True,
    role: str = REFERENCE,
    model: str = "",
    fused: bool = False,
    paired: bool = False,
) -> str:
    """Say why scores cannot be tested over subjects by flips of their signs, and what can be done; empty if they can.

    Flips need scores that are as often above 0 as below, by as much, where there is nothing.

    Parameters
    ----------
    comparison, distance : str
        As in `rsa.rdm.chance_is_0`.
    tested : bool
        Of the analysis: False for shares of variance.
    role : str
        Of the row of scores: reliability and noise ceilings are no references.
    model : str
        Of the row: scores of "meeg" in maps of fMRI are those of one mean M/EEG RDM.
    fused : bool
        Whether each score has a part in one M/EEG RDM that all subjects share.
    paired : bool
        Whether subjects have M/EEG RDMs of their own.

    Examples
    --------
    >>> why_not_flipped("spearman", "correlation")
    ''
    >>> why_not_flipped("cosine", "euclidean")[:60]
    'by cosine, unrelated RDMs score above 0 unless distances are'
    """
    if (model == MEEG and not paired) or fused:
        return (
            "all subjects are compared with the same M/EEG RDM and share its noise, which flips of subjects find "
            "reliable; test over conditions."
        )
    if role == QUALITY:
        return "reliability and noise ceilings say how good data are; they are no scores of models, and have no p."
    if not tested or role == PART:
        return "shares of variance are not as often below 0 as above it where there is nothing; test over conditions."
    if not chance_is_0(comparison, distance):
        return (
            f"by {comparison}, unrelated RDMs score above 0 unless distances are 0 on average for noise, as crossnobis "
            f"is, and these are of the distance {distance}; test over conditions, or use another comparison."
        )
    return ""


def flippable_rows(table: pd.DataFrame, distance: str, *, tested: bool = True, paired: bool = False) -> Array:
    """Return which rows of scores can be tested by flips, as positions.

    Parameters
    ----------
    table : DataFrame
        `model`, `statistic` and `role` of a `ScoreMap`.
    distance, tested, paired
        As in `why_not_flipped`.

    Raises
    ------
    UserError
        If none can: with the reason of the first.
    """
    labels = zip(table["statistic"], table["role"], table["model"], strict=True)
    of_all = {"tested": tested, "paired": paired}
    why = [why_not_flipped(name, distance, role=role, model=model, **of_all) for name, role, model in labels]
    rows = np.flatnonzero([not reason for reason in why])
    if not len(rows):
        raise UserError(f"No score can be tested over subjects: {why[0]}" if why else "There is no score to be tested.")
    return rows
