"""Statistics of permuted data -> p values: uncorrected, family-wise by the maximum or by clusters, and FDR.

Whoever permutes (signs of subjects, labels of conditions) hands over the statistic as it is, and blocks of it as it
becomes when data are permuted. What is counted here is the same for all of them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from threading import Lock

import numpy as np
import pandas as pd

from rsa.core import TEST, Array
from rsa.errors import UserError
from rsa.inference.designs import Alternative
from rsa.inference.enhance import ENHANCEMENTS, enhance, highest
from rsa.inference.graph import Graph
from rsa.registry import pick
from rsa.searchlight import RunSettings

__all__ = [
    "FAMILY_WORDS",
    "FDR",
    "MAXIMUM",
    "Correction",
    "Families",
    "Tally",
    "Tested",
    "adjusted_p",
    "families_of",
    "holm",
    "tally",
]

FAMILY_WORDS: dict[str, str] = {
    "voxels": "voxels (regions, sensors)",
    "times": "times",
    "layers": "layers of a model",
    "models": "models and references",
}
"""Over what p values may be corrected; voxels, regions or sensors always."""

COLUMNS_OF = {"models": "model", "layers": "layer", "times": "time_s"}
"""The labels that rows of one family share, unless the family has the word."""

FDR = {"bh": "Benjamini & Hochberg, 1995", "by": "Benjamini & Yekutieli, 2001"}
"""Procedures that control the false discovery rate, and their papers."""

MAXIMUM = "logp_max_stat"
"""The statistic of maps of p, as -log10, corrected by the highest statistic of each permutation."""

CLOSE = 1e-5
"""Share by which an enhanced statistic may be lower and still counts as reaching: it is made in single precision."""

COLUMNS = 8192
"""Columns that are counted at a time by one thread; changes no result."""


@dataclass(frozen=True, eq=False)
class Correction:
    """How p values are corrected.

    Parameters
    ----------
    alternative : {"greater", "two-sided"}
        Whether high statistics alone, or low ones as well, speak against the null hypothesis.
    family : sequence of str
        Words of `FAMILY_WORDS`: over what p values are corrected together.
    enhance : str, optional
        A key of `ENHANCEMENTS`; by default the maximum of the statistic alone.
    graph : Graph, optional
        Which columns are neighbours, for clusters; times of a row of maps are a chain if they are in the family.
    alpha : float
        Up to which corrected p a score is significant.
    fdr : {"bh", "by"}
        A key of `FDR`.
    """

    alternative: Alternative = "greater"
    family: Sequence[str] = ("voxels", "times")
    enhance: str | None = None
    graph: Graph | None = None
    alpha: float = 0.05
    fdr: str = "bh"

    def __post_init__(self) -> None:
        for word in self.family:
            pick(FAMILY_WORDS, word, "family")
        if "voxels" not in self.family:
            raise UserError("p values are always corrected over voxels (regions, sensors); add voxels to `family`.")
        pick(FDR, self.fdr, "procedure for the false discovery rate")
        if self.enhance is not None:
            pick(ENHANCEMENTS, self.enhance, "enhancement")
            if self.graph is None:
                raise UserError(f"{self.enhance} needs to know which places are neighbours; give a graph.")

    def n_enhanced(self, families: "Families", n_permutations: int) -> int:
        """Return how many maps are enhanced."""
        return 0 if self.enhance is None else len(families.maps) * n_permutations

    @property
    def needs_threshold(self) -> bool:
        """Whether clusters are formed by a threshold."""
        return self.enhance is not None and ENHANCEMENTS[self.enhance].needs_threshold


@dataclass(frozen=True, eq=False)
class Families:
    """Which rows of a statistic are corrected together, and which are one map.

    Parameters
    ----------
    of_rows : array of int, shape (n_rows,)
        The family of each row.
    maps : list of arrays of int
        The rows of each map on which clusters are sought: one row, or the same map at all times, ascending.
    """

    of_rows: Array
    maps: list[Array]

    @property
    def n_families(self) -> int:
        """Number of families."""
        return int(self.of_rows.max(initial=-1)) + 1


def families_of(table: pd.DataFrame, family: Sequence[str]) -> Families:
    """Say which rows are corrected together: those of one model, layer and time, or more as the family says.

    Parameters
    ----------
    table : DataFrame
        `model`, `layer`, and `time_s` where there are times.
    family : sequence of str
        Words of `FAMILY_WORDS`.
    """
    labels = table.reindex(columns=["model", "layer"]).fillna("").astype(str)
    labels["time_s"] = pd.to_numeric(table["time_s"]) if "time_s" in table else np.nan
    apart = [column for word, column in COLUMNS_OF.items() if word not in family]
    of_rows = (
        labels.groupby(apart, sort=False, dropna=False).ngroup().to_numpy() if apart else np.zeros(len(labels), int)
    )
    if "times" not in family:
        return Families(of_rows, [np.array([row]) for row in range(len(labels))])
    ordered = labels.reset_index(drop=True).sort_values("time_s", kind="stable")
    maps = ordered.groupby(["model", "layer"], sort=False, dropna=False).groups.values()
    return Families(of_rows, sorted((np.asarray(rows) for rows in maps), key=lambda rows: int(rows.min())))


@dataclass(frozen=True, eq=False)
class Tested:
    """A statistic and its p values.

    Parameters
    ----------
    statistic : array, shape (n_rows, n_columns)
        Of the data as they are; NaN where there is none.
    n_permutations : int
        How many permutations, the data as they are not among them.
    is_exact : bool
        Whether these are all that there are.
    exceedances : array of int, shape (n_rows, n_columns)
        How many permutations reach the statistic at the same place.
    mean, deviation : arrays, shape (n_rows, n_columns)
        Of the statistic over all permutations and the data as they are.
    maxima : array, shape (n_permutations, n_families)
        Highest statistic of each permutation in each family.
    families : Families
        Which rows are corrected together.
    correction : Correction
        How.
    enhanced : array, shape (n_rows, n_columns), optional
        The statistic enhanced by its neighbours, below 0 where low statistics count.
    highest : array, shape (n_permutations, n_families), optional
        Highest enhanced statistic of each permutation in each family.
    precision : float
        By how much a permuted statistic may be lower and still counts as reaching.
    """

    statistic: Array
    n_permutations: int
    is_exact: bool
    exceedances: Array
    mean: Array
    deviation: Array
    maxima: Array
    families: Families
    correction: Correction
    enhanced: Array | None = None
    highest: Array | None = None
    precision: float = 0.0

    @cached_property
    def p(self) -> Array:
        """Uncorrected p, shape (n_rows, n_columns): the share of permutations that reach the statistic there."""
        return self._where_defined((1 + self.exceedances) / (1 + self.n_permutations))

    @cached_property
    def p_max(self) -> Array:
        """Family-wise corrected p: the share of permutations whose highest statistic in the family reaches it [1]_.

        References
        ----------
        .. [1] Nichols TE, Holmes AP (2002). Nonparametric permutation tests for functional neuroimaging: a primer with
           examples. Hum Brain Mapp 15:1-25.
        """
        return self._reached(self._sided(self.statistic) - self.precision, self.maxima)

    @cached_property
    def p_enhanced(self) -> Array | None:
        """Family-wise corrected p of the enhanced statistic, if there is one."""
        if self.enhanced is None or self.highest is None:
            return None
        return self._reached(np.abs(self.enhanced) * (1 - CLOSE), self.highest)

    @property
    def p_corrected(self) -> Array:
        """Family-wise corrected p by which results are judged: of the enhanced statistic where there is one."""
        return self.p_max if self.p_enhanced is None else self.p_enhanced

    @property
    def is_significant(self) -> Array:
        """Where the corrected p is alpha or less, shape (n_rows, n_columns) of bool."""
        return np.asarray(self.p_corrected <= self.correction.alpha + 1e-12)

    @cached_property
    def q(self) -> Array:
        """P adjusted for the false discovery rate over each family."""
        adjusted = np.full(self.p.shape, np.nan)
        for number in range(self.families.n_families):
            rows = np.flatnonzero(self.families.of_rows == number)
            p = self.p[rows]
            known = np.isfinite(p)
            values = np.full(p.shape, np.nan)
            if known.any():
                values[known] = adjusted_p(p[known], self.correction.fdr)
            adjusted[rows] = values
        return adjusted

    @cached_property
    def z(self) -> Array:
        """The statistic less its mean over permutations, in standard deviations of these; NaN where all are alike."""
        with np.errstate(invalid="ignore", divide="ignore"):
            z = (self.statistic - self.mean) / self.deviation
        return np.where(np.isfinite(z) & (self.deviation > self.precision), z, np.nan)

    def _sided(self, values: Array) -> Array:
        return np.abs(values) if self.correction.alternative == "two-sided" else values

    def _where_defined(self, p: Array) -> Array:
        return np.where(np.isnan(self.statistic), np.nan, p)

    def _reached(self, thresholds: Array, highest: Array) -> Array:
        """Return the share of permutations whose highest statistic of the family of a row reaches its thresholds."""
        ordered = np.sort(highest, axis=0)
        counts = np.empty(thresholds.shape)
        for row, number in enumerate(self.families.of_rows):
            counts[row] = len(ordered) - np.searchsorted(ordered[:, number], thresholds[row])
        return self._where_defined((1 + counts) / (1 + self.n_permutations))

    def maps(self, scores: Array, z: Array | None = None) -> list[tuple[str, Array]]:
        """Return what is written of a test, by the name of its statistic, each of shape (n_rows, n_columns).

        Parameters
        ----------
        scores : array, shape (n_rows, n_columns)
            What was tested, for the thresholded map.
        z : array, optional
            Another z than that over permutations.
        """
        found = [("z", self.z if z is None else z), ("logp", _log(self.p)), (MAXIMUM, _log(self.p_max))]
        if self.enhanced is not None and self.p_enhanced is not None and self.correction.enhance is not None:
            name = ENHANCEMENTS[self.correction.enhance].statistic
            found += [(name, self.enhanced), (f"logp_max_{name}", _log(self.p_enhanced))]
        kept = np.where(self.is_significant, scores, 0.0)
        return [*found, ("logq", _log(self.q)), ("thresholded", self._where_defined(kept))]

    def about(self, statistic: str, z: str = "") -> dict[str, dict[str, object]]:
        """Return what sidecars say, for each map of the test.

        Parameters
        ----------
        statistic : str
            What the statistic is: "t over subjects of Fisher's z".
        z : str
            What z is, if it is another than that over permutations.
        """
        correction, alpha = self.correction, self.correction.alpha
        test: dict[str, object] = {
            "TestStatistic": statistic,
            "Permutations": self.n_permutations,
            "Exact": self.is_exact,
            "SmallestP": 1 / (1 + self.n_permutations),
            "Alternative": correction.alternative,
            "Family": [FAMILY_WORDS[word] for word in correction.family],
            "Alpha": alpha,
        }
        family = "family-wise corrected over " + listed_words([FAMILY_WORDS[word] for word in correction.family])
        words = {
            "z": z or "the statistic less its mean over permutations, in standard deviations of these",
            "logp": "-log10 of p by permutation, uncorrected",
            MAXIMUM: f"-log10 of p, {family}, by the highest statistic of each permutation (logp_max_t in nilearn)",
            "logq": f"-log10 of p adjusted for the false discovery rate ({FDR[correction.fdr]})",
            "thresholded": f"score where the corrected p is {alpha:g} or less, 0 elsewhere",
        }
        if correction.enhance is not None and correction.graph is not None:
            entry = ENHANCEMENTS[correction.enhance]
            words[entry.statistic] = f"{entry.words}, of the statistic"
            words[f"logp_max_{entry.statistic}"] = f"-log10 of p, {family}, by the highest {entry.statistic} of each"
            words[f"logp_max_{entry.statistic}"] += " permutation"
            test |= {"Enhancement": entry.words, "Connectivity": correction.graph.words}
        units = {"z": "z", "thresholded": "score"} | {name: "-log10 p" for name in words if name.startswith("log")}
        return {
            name: {"Description": text[:1].upper() + text[1:], "Units": units.get(name, name), **test}
            for name, text in words.items()
        }


def listed_words(words: Sequence[str]) -> str:
    """Return words as a sentence has them: a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def rows_of(table: pd.DataFrame, maps: Sequence[tuple[str, Array]]) -> tuple[Array, pd.DataFrame]:
    """Return the values and the table of maps of a test: the rows of the first statistic, of the second, ..."""
    tables = [table.assign(statistic=name, role=TEST) for name, _ in maps]
    return np.concatenate([values for _, values in maps]), pd.concat(tables, ignore_index=True)


def holm(p: Array) -> Array:
    """Correct p values for their number by Holm's method [1]_, which holds for tests that depend on each other.

    Parameters
    ----------
    p : array, any shape
        Of one family; NaN where there is no test.

    Returns
    -------
    array, the same shape

    References
    ----------
    .. [1] Holm S (1979). A simple sequentially rejective multiple test procedure. Scand J Stat 6:65-70.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    corrected = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    order = np.argsort(p[known], kind="stable")
    n_left = np.arange(len(order), 0, -1)
    in_order = np.minimum(np.maximum.accumulate(n_left * p[known][order]), 1)
    corrected[known] = in_order[np.argsort(order, kind="stable")]
    return corrected


def adjusted_p(p: Array, procedure: str = "bh") -> Array:
    """Adjust p values for the false discovery rate: (n_tests,) -> (n_tests,).

    The k-th lowest of n is multiplied by n / k, and no value is above one of a higher p; after Benjamini & Yekutieli,
    all are also multiplied by 1 + 1/2 + ... + 1/n, which holds for tests that depend on each other in any way.

    Parameters
    ----------
    p : array, shape (n_tests,)
        Of one family, all finite.
    procedure : str
        A key of `FDR`.

    Examples
    --------
    >>> [round(float(q), 6) for q in adjusted_p(np.array([0.04, 0.01, 0.03]))]
    [0.04, 0.03, 0.04]
    """
    places = np.arange(1, len(p) + 1)
    order = np.argsort(p)
    adjusted = p[order] * (len(p) / places) * ((1 / places).sum() if procedure == "by" else 1.0)
    adjusted = np.minimum.accumulate(adjusted[::-1])[::-1].clip(max=1.0)
    found = np.empty_like(adjusted)
    found[order] = adjusted
    return found


def _log(p: Array) -> Array:
    return np.asarray(-np.log10(p) + 0.0)  # no -0


# -------------------------------------------------------------------------------------------- counting


@dataclass(eq=False)
class Tally:
    """What permutations are counted into.

    Parameters
    ----------
    statistic : array, shape (n_rows, n_columns)
        Of the data as they are; it may be filled as columns come, each before it is counted.
    families : Families
        Which rows are corrected together.
    correction : Correction
        How.
    n_permutations : int
        How many will come.
    is_exact : bool
        Whether these, and the data as they are, are all there are.
    precision : float
        See `Tested`.
    thresholds : array, shape (n_rows,), optional
        The statistic above which clusters are formed, for corrections that need it.
    run : RunSettings
        Threads, and progress in maps that are enhanced.
    """

    statistic: Array
    families: Families
    correction: Correction
    n_permutations: int
    is_exact: bool = False
    precision: float = 0.0
    thresholds: Array | None = None
    run: RunSettings = RunSettings()
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        shape = self.statistic.shape
        if self.correction.needs_threshold and self.thresholds is None:
            raise UserError(f"{self.correction.enhance} needs the threshold that forms clusters.")
        self.two_sided = self.correction.alternative == "two-sided"
        self.exceedances = np.zeros(shape, np.int32)
        self.sums, self.squares = np.zeros(shape), np.zeros(shape)
        self.maxima = np.full((self.n_permutations, shape[0]), -np.inf, np.float32)
        self.highest = np.zeros((self.n_permutations, len(self.families.maps)))

    def count(
        self, permuted: Array, first: int, columns: slice | Array = slice(None), rows: slice = slice(None)
    ) -> None:
        """Count permuted statistics at some columns, of all rows or some; several threads may, at columns of their own.

        Parameters
        ----------
        permuted : array of float32, shape (n_some, n_rows, n_columns)
            Statistics of some permutations.
        first : int
            The number of the first of them.
        """
        from rsa.kernels import count_permuted

        there = self.statistic[rows, columns]
        reaching = ((np.abs(there) if self.two_sided else there) - self.precision).astype(np.float32)
        totals: list[Array] = [self.exceedances, self.sums, self.squares]
        added = [np.array(total[rows, columns], order="C") for total in totals]
        maxima = np.full(permuted.shape[:2], -np.inf, np.float32)
        count_permuted(permuted, reaching, self.two_sided, *added, maxima)
        for total, own in zip(totals, added, strict=True):
            total[rows, columns] = own
        highest = self.maxima[first : first + len(permuted)]
        with self._lock:
            highest[:, rows] = np.maximum(highest[:, rows], maxima)

    def count_all(self, permuted: Array, first: int) -> None:
        """Count permuted statistics at all columns, in threads."""
        n_columns = self.statistic.shape[1]
        parts = [slice(start, start + COLUMNS) for start in range(0, n_columns, COLUMNS)]
        self._in_threads(lambda part: self.count(np.ascontiguousarray(permuted[..., part]), first, part), parts)

    def enhance_all(self, permuted: Array, first: int) -> None:
        """Enhance whole permuted maps, (n_some, n_rows, n_columns), in threads, and keep the highest of each."""
        if self.correction.enhance is None:
            return

        def work(task: tuple[int, int]) -> None:
            permutation, number = task
            sides = self._sides(permuted[permutation, self.families.maps[number]])
            self.highest[first + permutation, number] = max(highest(side, *self._how(number)) for side in sides)

        tasks = list(product(range(len(permuted)), range(len(self.families.maps))))
        self._in_threads(work, tasks, self.run.progress)

    def _enhanced(self, values: Array, number: int) -> Array:
        """Enhance one map, (n_times, n_columns); below 0 where low statistics count."""
        up, *down = (enhance(side, *self._how(number)) for side in self._sides(values))
        return np.asarray(up - down[0] if down else up)

    def _sides(self, values: Array) -> list[Array]:
        """Return a map, and for a two-sided test the map with its sign turned: what is high in either is enhanced."""
        values = np.ascontiguousarray(values, dtype=np.float32)
        return [values, -values] if self.two_sided else [values]

    def _how(self, number: int) -> tuple[Graph, str, float]:
        """Return the graph, the kind and the threshold by which a map is enhanced."""
        assert self.correction.graph is not None
        assert self.correction.enhance is not None
        first = self.families.maps[number][0]
        return (
            self.correction.graph,
            self.correction.enhance,
            0.0 if self.thresholds is None else float(self.thresholds[first]),
        )

    def _in_threads(
        self, work: Callable[..., None], tasks: Sequence[object], progress: Callable[[int], None] | None = None
    ) -> None:
        if self.run.n_threads == 1:  # without the passing from thread to thread, which small maps are shorter than
            for task in tasks:
                work(task)
                if progress is not None:
                    progress(1)
            return
        with ThreadPoolExecutor(self.run.n_threads) as pool:
            try:
                for _ in pool.map(work, tasks):
                    if progress is not None:
                        progress(1)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def result(self) -> Tested:
        """Return the p values once all permutations have come."""
        n = 1 + self.n_permutations
        mean = (self.sums + self.statistic) / n
        variance = (self.squares + self.statistic**2) / n - mean**2
        enhanced = None
        if self.correction.enhance is not None:
            enhanced = np.full(self.statistic.shape, np.nan)
            for number, rows in enumerate(self.families.maps):
                enhanced[rows] = self._enhanced(self.statistic[rows], number)
        of_maps = np.array([self.families.of_rows[rows[0]] for rows in self.families.maps])
        return Tested(
            self.statistic,
            self.n_permutations,
            self.is_exact,
            self.exceedances,
            mean,
            np.sqrt(np.maximum(variance, 0)),
            _by_family(self.maxima, self.families.of_rows, self.families.n_families),
            self.families,
            self.correction,
            enhanced,
            None if enhanced is None else _by_family(self.highest, of_maps, self.families.n_families),
            self.precision,
        )


def _by_family(maxima: Array, families: Array, n_families: int) -> Array:
    """Return the highest of each family: (n_permutations, n) -> (n_permutations, n_families)."""
    return np.stack([maxima[:, families == number].max(axis=1) for number in range(n_families)], axis=1)


def tally(
    statistic: Array,
    blocks: Iterator[Array] | Iterable[Array],
    table: pd.DataFrame,
    correction: Correction,
    *,
    n_permutations: int,
    is_exact: bool = False,
    precision: float = 0.0,
    thresholds: Array | None = None,
    n_threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Tested:
    """Count blocks of permuted statistics as they come.

    Parameters
    ----------
    statistic : array, shape (n_rows, n_columns)
        Of the data as they are.
    blocks : iterable of arrays of float32, shape (n_some, n_rows, n_columns)
        Of permuted data, the data as they are not among them.
    table : DataFrame, n_rows rows
        `model`, `layer`, `time_s`: see `families_of`.
    correction, n_permutations, is_exact, precision, thresholds
        See `Tally`.
    n_threads : int
        Number of threads.
    progress : callable, optional
        Called with the number of maps that are enhanced.
    """
    families, run = families_of(table, correction.family), RunSettings(n_threads=n_threads, progress=progress)
    counted = Tally(statistic, families, correction, n_permutations, is_exact, precision, thresholds, run)
    first = 0
    for block in blocks:
        counted.count_all(block, first)
        counted.enhance_all(block, first)
        first += len(block)
    return counted.result()
