"""Over conditions: the statistic of these subjects beside that of references whose conditions are permuted."""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, permutations
from threading import Lock
from typing import Literal

import numpy as np
import pandas as pd

from rsa.comparisons import z_scored
from rsa.core import (
    Array,
    Neighbourhood,
    Patterns,
    RDMs,
    ScoreMap,
    Space,
    align,
    pairs_in_order,
    require_enough,
    shared_volume,
)
from rsa.errors import UserError
from rsa.inference.tally import Correction, Tally, Tested, families_of
from rsa.measures import Measure, comparison_measure
from rsa.searchlight import (
    MapBuilder,
    RdmSettings,
    RdmSource,
    RunSettings,
    Scored,
    fields_as_keywords,
    in_order,
    large_enough,
    scan_sources,
)
from rsa.spheres import cut, prepare_spheres

__all__ = ["Combine", "ConditionTest", "Orders", "Places", "orders_of", "permutation_test", "smallest_p_of_orders"]

Combine = Literal["same_order", "stelzer"]

RDM_BYTES = 2**26
"""Size of the RDMs of all subjects at the centres of one step; bounds the memory. With `PERMUTED` it decides which
products are made together, so it is the same on every machine."""

MOST_CENTRES, PERMUTED = 1024, 1024
"""Centres, and permuted references, in one matrix product, at most."""

BLOCK_BYTES = 2**30
"""Size of the permuted maps that are held at a time where clusters need whole maps; changes no result."""

PRECISION = 1e-6
"""Of permuted scores, which are computed in single precision; lower ones by less than this count as equal."""

MAXIMUM_ONLY = Correction()
"""The highest score of each permutation alone."""

CALIBRATION, BINS = 100, 2**14
"""Orders of conditions, others than those of the test, and bins of their scores, from which thresholds of clusters
are found."""


@dataclass(frozen=True, eq=False)
class Orders:
    """Orders of conditions.

    Parameters
    ----------
    values : array of int, shape (n_orders, n_conditions)
        Each gives a condition the row and column of another; the order as it is does not count among them.
    is_exact : bool
        Whether these are all others that there are.
    """

    values: Array
    is_exact: bool

    def __len__(self) -> int:
        return len(self.values)


def orders_of(n_conditions: int, n_permutations: int, seed: int | Sequence[int]) -> Orders:
    """Return random orders of conditions; where there are no more than are asked for, all others than the given one.

    Examples
    --------
    >>> orders_of(3, 10, seed=0).values.tolist()
    [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    """
    if n_permutations < 1:
        raise UserError(f"A permutation test needs 1 permutation at least, not {n_permutations}.")
    if math.factorial(n_conditions) <= n_permutations + 1:
        return Orders(np.array(list(islice(permutations(range(n_conditions)), 1, None))), True)
    rng = np.random.default_rng(seed)
    return Orders(np.stack([rng.permutation(n_conditions) for _ in range(n_permutations)]), False)


def smallest_p_of_orders(n_conditions: int, n_permutations: int) -> float:
    """Return the smallest p that a test of so many conditions by so many permutations can give.

    Examples
    --------
    >>> smallest_p_of_orders(3, 10_000), smallest_p_of_orders(92, 999)
    (0.16666666666666666, 0.001)
    """
    return 1 / min(math.factorial(n_conditions), n_permutations + 1)


@dataclass(frozen=True, eq=False)
class Places:
    """Where the RDMs of some subjects are: at the same places of all, at one time or several.

    Parameters
    ----------
    sources_at : callable
        From the number of a time to the RDMs of all subjects then, which are walked over together.
    n_subjects : int
        How many there are.
    columns : array of int, shape (n_centres,)
        The column of each place that is walked over.
    n_columns : int
        Number of columns.
    times_s : sequence of float
        The times in s; none where there is no time.
    space : Space, optional
        What the columns are: voxels.
    regions : DataFrame, n_columns rows, optional
        What the columns are, where they are no voxels.
    """

    sources_at: Callable[[int], Sequence[RdmSource]]
    n_subjects: int
    columns: Array
    n_columns: int
    times_s: Sequence[float] = ()
    space: Space | None = None
    regions: pd.DataFrame | None = None

    def name_of(self, column: int) -> str:
        """Say in a message which place a column is."""
        if self.space is not None:
            return self.space.name_of(column)
        return "the region " + (str(column) if self.regions is None else str(tuple(self.regions.iloc[column])))

    @classmethod
    def of_patterns(
        cls, subjects: Sequence[tuple[Patterns, Neighbourhood]], conditions: Sequence[str], rdm: RdmSettings
    ) -> "Places":
        """Walk over the neighbourhoods of patterns: spheres around the same voxels, or the same regions.

        Parameters
        ----------
        subjects : sequence of (Patterns, Neighbourhood)
            With the same places (`rsa.neighbourhood.shared_spheres`), conditions and delays.
        conditions : sequence of str
            The order in which conditions are measured.
        rdm : RdmSettings
            How RDMs are made.

        Raises
        ------
        UserError
            If places, conditions or delays differ.
        """
        (first, around), delays_s = subjects[0], subjects[0][0].delays_s
        if any(patterns.delays_s != delays_s for patterns, _ in subjects):
            raise UserError("Subjects are tested together at the same delays; give all of them the same.")
        if any(len(of_other) != len(around) for _, of_other in subjects):
            raise UserError("Subjects are tested together at the same places; give all of them the same centres.")
        ordered = [(in_order(patterns, conditions), of_one) for patterns, of_one in subjects]

        def sources_at(number: int) -> list[RdmSource]:
            at = [(one.at_delay(delays_s[number]) if delays_s else one, of_one) for one, of_one in ordered]
            return [large_enough(prepare_spheres(*one, rdm)) for one in at]

        places = cls(sources_at, len(subjects), np.arange(len(around)), len(around), delays_s, regions=around.regions)
        if around.centres is None:
            return places
        if first.volume is None or len(subjects) == 1:
            columns, space = around.centres, around.space
        else:
            space = shared_volume([one.volume for one, _ in subjects if one.volume is not None])
            own = np.flatnonzero(space.mask[first.volume.mask])  # where shared voxels are among those of the subject
            columns = np.searchsorted(own, around.centres)
        return replace(places, columns=columns, n_columns=space.n_features, space=space)

    @classmethod
    def of_rdms(cls, values: Array, times_s: Sequence[float] = (), regions: pd.DataFrame | None = None) -> "Places":
        """Walk over RDMs that there are, shape (n_subjects, n_times, n_places, n_pairs)."""
        n_subjects, _, n_places, _ = values.shape
        columns = np.arange(n_places)
        return cls(
            lambda number: [_Ready(values[one, number]) for one in range(n_subjects)],
            n_subjects,
            columns,
            n_places,
            times_s,
            regions=pd.DataFrame({"region": columns}) if regions is None else regions,
        )


@dataclass(frozen=True, eq=False)
class _Ready:
    """RDMs that there are, (n_places, n_pairs), for `scan_sources`."""

    values: Array

    def chunks(self, size: int) -> list[range]:
        return cut(range(len(self.values)), size)

    def rdms(self, centres: range) -> Array:
        return self.values[centres.start : centres.stop]


class ConditionTest:
    """Do subjects' RDMs have anything to do with references? They have not if conditions may be permuted.

    The statistic is the score, or the mean over subjects of it. Each permutation gives the references' conditions
    another order, the same for all neighbourhoods, references, layers, times and subjects, and repeats the whole
    measure: a partial correlation, a partition and a weighted sum are fitted anew. It is a test of these subjects: what
    is random is which condition has which pattern, so it generalises to other conditions like these [1]_.

    With `combine="stelzer"` each subject has orders of its own, of whose maps one of each subject is drawn again and
    again [2]_.

    Parameters
    ----------
    places : Places
        Where the RDMs of one subject or several are.
    measures : sequence of Measure
        Of each subject, with the same rows; one for all is given again and again.
    correction : Correction
        How p values are corrected.
    n_permutations : int
        How many orders, or combinations; fewer where there are not so many orders.
    seed : int
        Of the orders.
    combine : {"same_order", "stelzer"}
        See above.
    n_each : int
        How many orders of each subject, if they are combined.
    cluster_p : float
        Share of permuted scores that exceed the threshold of clusters, for corrections by cluster mass or size. It is
        found from 100 other orders, over all places.

    Raises
    ------
    UserError
        If there is no permutation, or measures have other rows or conditions.

    References
    ----------
    .. [1] Nili H, Wingfield C, Walther A, Su L, Marslen-Wilson W, Kriegeskorte N (2014). A toolbox for
       representational similarity analysis. PLoS Comput Biol 10:e1003553.
    .. [2] Stelzer J, Chen Y, Turner R (2013). Statistical inference and multiple testing correction in
       classification-based multi-voxel pattern analysis (MVPA): random permutations and cluster size control.
       NeuroImage 65:69-82.
    """

    def __init__(
        self,
        places: Places,
        measures: Sequence[Measure],
        correction: Correction,
        *,
        n_permutations: int,
        seed: int,
        combine: Combine = "same_order",
        n_each: int = 100,
        cluster_p: float = 0.001,
    ) -> None:
        if len(measures) != places.n_subjects:
            raise UserError(f"{places.n_subjects} subjects need a measure each, not {len(measures)}.")
        first, n_conditions = measures[0], len(measures[0].conditions)
        for measure in measures:
            if measure.second == "other_half":
                raise UserError("The reliability of halves is not tested by permutations of conditions; leave it out.")
            if len(measure.table) != len(first.table) or list(measure.conditions) != list(first.conditions):
                raise UserError("The subjects are not measured by the same references of the same conditions.")
        if places.times_s and "time_s" in first.table:
            raise UserError("References over time need brain RDMs of one time, not of several.")
        self.places, self.measures, self.correction = places, measures, correction
        self.combine, self.seed, self.cluster_p = combine, seed, cluster_p
        if combine == "same_order":
            self.orders = [orders_of(n_conditions, n_permutations, (seed, 3))]
            self.n_permutations = len(self.orders[0])
        else:
            n_orders = min(n_each, n_permutations)
            self.orders = [orders_of(n_conditions, n_orders, (seed, 4, one)) for one in range(places.n_subjects)]
            self.n_permutations = n_permutations
        self.table = _over_times(first.table, places.times_s)
        self._n_pairs = n_pairs = n_conditions * (n_conditions - 1) // 2
        self._size = int(np.clip(RDM_BYTES // (8 * n_pairs * places.n_subjects), 64, MOST_CENTRES))
        self._some = max(1, PERMUTED // len(first.table))  # orders in one product
        one_for_all = all(measure is first for measure in measures)
        prepared = _Prepared.of(first) if one_for_all else None
        self._products = [prepared if one_for_all else _Prepared.of(measure) for measure in measures]
        self._are_alike = one_for_all and prepared is not None and prepared.is_linear

    # ---------------------------------------------------------------------------------------- walking

    def n_steps(self, room_bytes: int | None = None) -> int:
        """Return how many centres, and maps that are enhanced, `RunSettings.progress` is told of, with this room."""
        n_walks = len(self._blocks(room_bytes)) + self.correction.needs_threshold
        families = families_of(self.table, self.correction.family)
        n_centres = n_walks * len(self.places.columns) * max(1, len(self.places.times_s))
        return n_centres + self.correction.n_enhanced(families, self.n_permutations)

    def result(self, run: RunSettings = RunSettings()) -> tuple[ScoreMap, Tested]:
        """Walk over all places, and return the mean scores of the subjects and their p values.

        Parameters
        ----------
        run : RunSettings
            Threads, progress and room; the walk is on the CPU, in chunks that these do not change.
        """
        run = run.fitting(2 * self._step_bytes)  # half of the room is for whole maps
        shape = (len(self.table), self.places.n_columns)
        counted = Tally(
            np.full(shape, np.nan),
            families_of(self.table, self.correction.family),
            self.correction,
            self.n_permutations,
            self.combine == "same_order" and self.orders[0].is_exact,
            PRECISION,
            self._thresholds(run) if self.correction.needs_threshold else None,
            run,
        )
        if self.combine == "stelzer":
            self._count_combined(counted)
        else:
            for block in self._blocks(run.room_bytes):
                self._count(counted, block)
        n_members = np.where(np.isnan(counted.statistic).all(axis=0), 0, self.places.n_subjects)
        regions = self.places.regions if self.places.space is None else None
        scores = ScoreMap(counted.statistic, self.table, self.places.space, regions, n_members)
        return scores, counted.result()

    def _blocks(self, room_bytes: int | None) -> list[slice]:
        """Cut the orders: all at once, or as many as have room where whole maps are kept."""
        n_orders = len(self.orders[0])
        if self.correction.enhance is None or self.combine == "stelzer":
            return [slice(0, n_orders)]
        per_order = 4 * len(self.table) * self.places.n_columns
        beside = self._step_bytes + 9 * per_order  # what is counted into is in double precision
        most = BLOCK_BYTES if room_bytes is None else min(BLOCK_BYTES, max(0, room_bytes - beside))
        size = max(1, most // per_order // self._some) * self._some
        return [slice(start, min(start + size, n_orders)) for start in range(0, n_orders, size)]

    @property
    def _step_bytes(self) -> int:
        """Bytes of the RDMs of a step, and of their scores with permuted references."""
        return self._size * (8 * self._n_pairs * (self.places.n_subjects + 2) + 8 * PERMUTED)

    def _walk(self, visit: Callable[[Sequence[Array], Array, slice, slice | Array], None], run: RunSettings) -> None:
        """Visit all centres, some at a time, in threads.

        A visit gets the RDMs of all subjects, their mean scores, and the rows and columns of these.
        """
        how, places, times_s = replace(run, chunk_size=self._size), self.places, self.places.times_s
        for number in range(max(1, len(times_s))):
            rows = slice(number, None, len(times_s)) if times_s else slice(None)

            def score(*rdms: Array, rows: slice = rows) -> Scored:
                observed = np.mean([self._scores(rdms, one) for one in range(len(rdms))], axis=0)
                return Scored(observed, lambda columns: visit(rdms, observed, rows, columns))

            builder = MapBuilder(places.columns, places.n_columns, len(self.measures[0].table), places.name_of)
            scan_sources(places.sources_at(number), score, builder, how)

    def _scores(self, rdms: Sequence[Array], one: int, pairs: Array | slice = slice(None)) -> Array:
        """Measure the RDMs of a subject, with pairs of conditions in some order: (n_rows, n_centres)."""
        own = rdms[one][:, pairs]
        if self.measures[one].second != "other_subjects":
            return np.asarray(self.measures[one].score(own, own))
        others = [z_scored(rdms[other][:, pairs]) for other in range(len(rdms)) if other != one]
        return np.asarray(self.measures[one].score(own, np.mean(others, axis=0)))

    # --------------------------------------------------------------------------------------- permuting

    def _count(self, counted: Tally, block: slice) -> None:
        """Count the orders of a block, and enhance their maps."""
        orders = self.orders[0].values[block]
        kept = None
        if self.correction.enhance is not None:
            kept = np.full((len(orders), len(self.table), self.places.n_columns), np.nan, np.float32)

        def visit(rdms: Sequence[Array], observed: Array, rows: slice, columns: slice | Array) -> None:
            counted.statistic[rows, columns] = observed
            for first, permuted in self._permuted(rdms, orders):
                counted.count(permuted, block.start + first, columns, rows)
                if kept is not None:
                    kept[first : first + len(permuted), rows, columns] = permuted

        self._walk(visit, counted.run)
        if kept is not None:
            counted.enhance_all(kept, block.start)

    def _count_combined(self, counted: Tally) -> None:
        """Make maps of each subject by orders of its own, on disk, and count means of one of each, drawn at random."""
        n_subjects, n_each = self.places.n_subjects, len(self.orders[0])
        with tempfile.TemporaryFile() as file:
            maps = np.memmap(file, np.float32, "w+", shape=(n_subjects, n_each, *counted.statistic.shape))
            maps[:] = np.nan

            def visit(rdms: Sequence[Array], observed: Array, rows: slice, columns: slice | Array) -> None:
                counted.statistic[rows, columns] = observed
                for one in range(n_subjects):
                    for first, permuted in self._permuted(rdms, self.orders[one].values, one):
                        maps[one][first : first + len(permuted), rows, columns] = permuted

            self._walk(visit, counted.run)
            drawn = np.random.default_rng((self.seed, 5)).integers(n_each, size=(self.n_permutations, n_subjects))
            n_at_once = max(1, BLOCK_BYTES // (4 * maps[0, 0].size))
            for first in range(0, self.n_permutations, n_at_once):
                means = np.zeros((len(drawn[first : first + n_at_once]), *counted.statistic.shape), np.float32)
                for one in range(n_subjects):
                    means += maps[one][drawn[first : first + n_at_once, one]]
                means /= n_subjects
                counted.count_all(means, first)
                counted.enhance_all(means, first)

    def _thresholds(self, run: RunSettings) -> Array:
        """Return the score of each row which `cluster_p` of the permuted scores of its map exceed.

        The orders are others than those of the test, so the threshold does not depend on which order is the given one,
        and the test stays exact.
        """
        orders = orders_of(len(self.measures[0].conditions), CALIBRATION, (self.seed, 6)).values
        two_sided = self.correction.alternative == "two-sided"
        counts = np.zeros((len(self.table), BINS), np.int64)
        lock = Lock()

        def visit(rdms: Sequence[Array], observed: Array, rows: slice, columns: slice | Array) -> None:
            numbers = np.arange(len(counts))[rows]
            found = np.zeros((len(numbers), BINS), np.int64)
            for _, permuted in self._permuted(rdms, orders):
                sizes = np.abs(permuted) if two_sided else permuted
                for row in range(len(numbers)):
                    own = sizes[:, row][np.isfinite(sizes[:, row])]
                    bins = np.clip((own + 1) * (BINS / 2), 0, BINS - 1).astype(np.int64)
                    found[row] += np.bincount(bins, minlength=BINS)
            with lock:
                counts[numbers] += found

        self._walk(visit, run)
        thresholds = np.zeros(len(self.table))
        for rows in families_of(self.table, self.correction.family).maps:
            together = counts[rows].sum(axis=0)
            n_above = together.sum() - np.cumsum(together)  # above the upper edge of each bin
            allowed = self.cluster_p * together.sum()
            thresholds[rows] = max(0.0, 2 / BINS * (1 + int(np.argmax(n_above <= allowed))) - 1)
        return thresholds

    def _permuted(self, rdms: Sequence[Array], orders: Array, only: int | None = None) -> Iterator[tuple[int, Array]]:
        """Give the scores by some orders at a time: the mean over subjects, or those of one; with the first's number.

        Scores of shape (n_some, n_rows, n_centres), float32.
        """
        subjects = range(len(rdms)) if only is None else [only]
        products = [known for one in subjects if (known := self._products[one]) is not None]
        starts = range(0, len(orders), self._some)
        if len(products) < len(subjects):
            for start in starts:
                yield start, self._refitted(rdms, orders[start : start + self._some], subjects)
            return
        from rsa.kernels import permute

        each = zip(subjects, products, strict=True)
        brains = [product.prepare(rdms[one]).astype(np.float32) for one, product in each]
        if self._are_alike:
            brains, products = [np.mean(brains, axis=0, dtype=np.float32)], products[:1]
        for start in starts:
            some = orders[start : start + self._some]
            total: Array = np.zeros(1, np.float32)
            for brain, product in zip(brains, products, strict=True):
                found = permute(product.squares, some) @ brain.T
                total = total + product.finish(found.reshape(len(some), -1, len(brain)))
            yield start, np.ascontiguousarray(total / np.float32(len(brains)), dtype=np.float32)

    def _refitted(self, rdms: Sequence[Array], orders: Array, subjects: Sequence[int]) -> Array:
        """Measure brain RDMs whose conditions are permuted, which is the same as to permute those of all references."""
        found = []
        for order in orders:
            pairs = pairs_in_order(np.argsort(order))  # references take the row of order[i]; brain RDMs the inverse
            found.append(np.mean([self._scores(rdms, one, pairs) for one in subjects], axis=0))
        return np.stack(found).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What products with permuted references need of a measure; see `rsa.measures.Products`."""

    prepare: Callable[[Array], Array]
    squares: Array
    finish: Callable[[Array], Array]
    is_linear: bool

    @classmethod
    def of(cls, measure: Measure) -> "_Prepared | None":
        """Return it, if the measure is one of products."""
        if measure.products is None:
            return None
        from scipy.spatial.distance import squareform

        products = measure.products.compressed()
        squares = np.stack([squareform(row, checks=False) for row in products.rows]).astype(np.float32)
        return cls(products.prepare, squares, products.finish or (lambda found: found), products.is_linear)


def _over_times(table: pd.DataFrame, times_s: Sequence[float]) -> pd.DataFrame:
    """Describe a row for each row of a measure and time, row by row."""
    if not len(times_s):
        return table.reset_index(drop=True)
    repeated = table.loc[np.repeat(table.index, len(times_s))].reset_index(drop=True)
    return repeated.assign(time_s=np.tile(times_s, len(table)))


@fields_as_keywords(rdm=RdmSettings, run=RunSettings)
def permutation_test(
    patterns: Patterns,
    neighbourhood: Neighbourhood,
    references: RDMs,
    *,
    n_permutations: int,
    seed: int,
    comparison: str = "spearman",
    correction: Correction = MAXIMUM_ONLY,
    rdm: RdmSettings = RdmSettings(),
    run: RunSettings = RunSettings(),
) -> tuple[ScoreMap, Tested]:
    """Compare every neighbourhood of one subject with the references, and with the references in permuted order.

    Parameters
    ----------
    patterns, neighbourhood, references, comparison, rdm, run
        As in `rsa.searchlight.compare`; on the CPU.
    n_permutations : int
        How many random orders of the conditions.
    seed : int
        Of the orders, which are the same for all references and neighbourhoods.
    correction : Correction
        How p values are corrected; by default by the maximum over all neighbourhoods.

    Returns
    -------
    ScoreMap, Tested
        The scores, and their p values.

    Raises
    ------
    UserError
        As `compare`; and if there is no permutation.
    """
    require_enough(patterns.conditions, "the patterns")
    measure = comparison_measure(align(patterns.conditions, references), comparison)
    places = Places.of_patterns([(patterns, neighbourhood)], measure.conditions, rdm)
    return ConditionTest(places, [measure], correction, n_permutations=n_permutations, seed=seed).result(run)
