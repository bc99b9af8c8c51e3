"""Responses and neighbourhoods as the compiled loops take them, and the RDM of each neighbourhood."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from rsa.core import Array, Neighbourhood, Patterns, RunNoise
from rsa.distances import (
    CROSS_VALIDATED,
    DISTANCES,
    ORIGINS,
    UNIT,
    CrossProducts,
    Distance,
    rounding_between_runs,
    rounding_errors,
)
from rsa.errors import UserError, listed
from rsa.noise import (
    SHRINKAGES,
    Repeats,
    between_runs,
    deviations,
    folds_of_runs,
    normalise,
    repeats,
    whiten,
    with_known_noise,
)
from rsa.registry import pick

__all__ = [
    "Fold",
    "FoldedSpheres",
    "NoiseSamples",
    "RdmSettings",
    "Spheres",
    "cut",
    "halves",
    "prepare_spheres",
    "prepared_bytes",
    "run_of",
    "whole_runs",
]

RUN_BYTES = 4_000_000
"""Size of the RDMs of one run of centres, which bounds the memory of each thread at a few times that, and keeps it in
the processor's cache."""


@dataclass(frozen=True)
class RdmSettings:
    """How the RDM of a neighbourhood is made of its patterns.

    Parameters
    ----------
    distance : str
        A key of `DISTANCES` or `CROSS_VALIDATED`: how dissimilar two patterns are.
    shrinkage : str, optional
        A key of `SHRINKAGES`: whiten the patterns of each neighbourhood by the covariance of its residuals.
    min_voxels : int
        Neighbourhoods with fewer usable voxels have no RDM. At least 2.

    Raises
    ------
    UserError
        If a name is unknown, or `min_voxels` too small.
    """

    distance: str = "correlation"
    shrinkage: str | None = None
    min_voxels: int = 2

    def __post_init__(self) -> None:
        pick(DISTANCES | CROSS_VALIDATED, self.distance, "distance")
        if self.shrinkage is not None:
            pick(SHRINKAGES, self.shrinkage, "shrinkage")
        if self.min_voxels < 2:
            raise UserError(f"min_voxels is at least 2 (a pattern of one voxel has no shape), not {self.min_voxels}.")

    @property
    def entry(self) -> Distance:
        """The distance."""
        return (DISTANCES | CROSS_VALIDATED)[self.distance]

    @property
    def between_runs(self) -> bool:
        """Whether distances are of patterns of different runs."""
        return self.distance in CROSS_VALIDATED


class NoiseSamples(NamedTuple):
    """By what the patterns of each neighbourhood are whitened."""

    samples: Array
    """Shape (n_voxels, n_samples), float32: residuals, or patterns whose deviations from their mean are residuals."""
    degrees_of_freedom: float
    shrinkage: str
    repeats: Repeats | None = None
    """Which of the samples are taken, if they are patterns."""

    def residuals(self, of_members: Array) -> Array:
        """Return the residuals of some voxels, (n_members, n_residuals), from their samples, (n_members, n_samples)."""
        if self.repeats is None:
            return of_members
        return deviations(np.take(of_members, self.repeats.rows, axis=1), self.repeats.starts)


class Fold(NamedTuple):
    """A run, and the mean of the others, which tell the noise by which both are whitened."""

    responses: Array
    """Shape (n_voxels, 2, n_conditions), float32: the mean of the other runs, and the run."""
    held: Array
    """Shape (n_conditions,): which conditions are in both; responses of others are 0."""
    noise: NoiseSamples | None
    """By what responses are whitened, if they are not yet."""


@dataclass(frozen=True, eq=False)
class Spheres:
    """Responses and members as the compiled functions take them.

    Parameters
    ----------
    responses : array, shape (n_voxels, n_runs, n_conditions), float32
        Summed over the patterns of a condition in a run, 0 where there are none. One run of means if the distance is
        not between runs.
    counts : array, shape (n_runs, n_conditions)
        Number of patterns in each sum.
    indptr, indices : arrays of int64 and int32
        Usable members of each neighbourhood, ascending (see `Neighbourhood`).
    distance : Distance
        How dissimilar two patterns are.
    min_voxels : int
        Neighbourhoods with fewer members have no RDM.
    usable : array of bool, shape (n_voxels,)
        Voxels that have data and, where it is needed, noise.
    noise : NoiseSamples, optional
        By what patterns are whitened first.
    """

    responses: Array
    counts: Array
    indptr: Array
    indices: Array
    distance: Distance
    min_voxels: int
    usable: Array
    noise: NoiseSamples | None = None

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def n_pairs(self) -> int:
        """Number of pairs of conditions."""
        n_conditions = int(self.responses.shape[2])
        return n_conditions * (n_conditions - 1) // 2

    @property
    def sizes(self) -> Array:
        """Number of usable members, shape (n_neighbourhoods,)."""
        return np.diff(self.indptr)

    @property
    def run(self) -> int:
        """Number of neighbourhoods from one fresh start of the sliding sums to the next."""
        return run_of(self.n_pairs)

    @property
    def origin(self) -> str:
        """What may be subtracted from responses (see `Distance`): nothing if conditions are missing in some runs."""
        return self.distance.origin if (self.counts == self.counts[0, 0]).all() else "zero"

    @property
    def n_products(self) -> Array:
        """Number of pairs of patterns, of different runs if there are several, for two conditions; square."""
        if len(self.counts) == 1:
            return np.ones((self.counts.shape[1],) * 2)
        return _n_between(self.counts)

    def chunks(self, size: int) -> list[range]:
        """Cut the neighbourhoods into chunks of `size`, rounded up to whole runs, one at least."""
        return cut(range(len(self)), whole_runs(size, self.n_pairs))

    def rdms(self, centres: range) -> Array:
        """Return the condensed RDMs of some neighbourhoods, shape (n_centres, n_pairs), NaN where undefined.

        The first of `centres` is the first of a run.
        """
        runs = [self._rdms_of_run(part) for part in cut(centres, self.run)]
        return runs[0] if len(runs) == 1 else np.concatenate(runs)

    def _rdms_of_run(self, centres: range) -> Array:
        """Slide along a run; if patterns seem equal, sum afresh at each centre, which can tell smaller distances."""
        slides = self.noise is None and self.distance.origin != "zero"  # offsets would leave few digits to slide with
        n_slides = self.run if slides else 1
        rdms = self._rdms(centres, n_slides)
        return self._rdms(centres, 1) if n_slides > 1 and (rdms == 0).any() else rdms

    def _rdms(self, centres: range, n_slides: int) -> Array:
        """Build RDMs, of sums that are begun afresh every so many centres."""
        n_runs, n_conditions = self.responses.shape[1:]
        sizes = np.diff(self.indptr[centres.start : centres.stop + 1])
        n_features = np.maximum(sizes, 1)
        products = np.empty((len(centres), self.n_pairs))
        squares, energies, off_by = np.empty((3, len(centres), n_conditions))
        sums = np.empty((len(centres), n_runs, n_conditions))
        if self.noise is None:
            self._sum_products(centres, n_slides, (products, squares, sums, energies, off_by))
        else:
            self._sum_whitened(centres, products, squares, sums, energies, off_by)
        within = None
        if n_runs > 1:
            if self.distance.origin == "pattern":
                from rsa.kernels import centre_between_runs

                centre_between_runs(products, squares, energies, sums, n_features.astype(np.float64))
            products /= self.n_products[np.triu_indices(n_conditions, 1)]
            squares /= np.diag(self.n_products)
            off_by /= self.n_products.min()
            within = energies / (self.counts**2).sum(axis=0)
        sums_of_products = CrossProducts(products, squares, sums[:, 0], n_features, within, off_by)
        rdms = self.distance.from_products(sums_of_products)
        rdms[sizes < self.min_voxels] = np.nan
        return rdms

    def _sum_products(self, centres: range, n_slides: int, results: tuple[Array, ...]) -> None:
        from rsa.kernels import sphere_products

        between = (self.responses, self.indptr, self.indices, centres.start, centres.stop)
        sphere_products(*between, ORIGINS.index(self.origin), n_slides, *results)
        results[-1][:] *= UNIT

    def _sum_whitened(
        self, centres: range, products: Array, squares: Array, sums: Array, energies: Array, off_by: Array
    ) -> None:
        """Whiten the patterns of each neighbourhood by its own noise covariance, and sum their products."""
        assert self.noise is not None
        n_runs, n_conditions = self.responses.shape[1:]
        pairs, symmetric = np.triu_indices(n_conditions, 1), self.distance.origin == "pattern"
        for row, centre in enumerate(centres):
            members = self.indices[self.indptr[centre] : self.indptr[centre + 1]]
            if len(members) < self.min_voxels:
                for sum_ in (products, squares, sums, energies, off_by):
                    sum_[row] = np.nan
                continue
            responses = self.responses[members].reshape(len(members), -1)  # (n_members, n_runs * n_conditions)
            white = _white(responses, self.noise, self.noise.samples[members], symmetric)
            runs, each = white.reshape(-1, n_runs, n_conditions), white.reshape(-1, n_conditions)
            within, together = each.T @ each, runs.sum(axis=1)
            gram = together.T @ together - within if n_runs > 1 else within
            products[row], squares[row] = gram[pairs], np.diag(gram)
            energies[row], sums[row] = np.diag(within), runs.sum(axis=0)
            off_by[row] = rounding_between_runs(energies[row], len(members), n_runs)


@dataclass(frozen=True, eq=False)
class FoldedSpheres(Spheres):
    """Responses whose runs are each multiplied with the mean of the others, whitened by what tells those others apart.

    Parameters
    ----------
    folds : tuple of Fold
        One for each run that is left out. The other parameters are as for `Spheres`; responses are those of the first.
    """

    folds: tuple[Fold, ...] = ()

    def rdms(self, centres: range) -> Array:
        """Return the condensed RDMs of some neighbourhoods, shape (n_centres, n_pairs), NaN where undefined."""
        rdms = np.full((len(centres), self.n_pairs), np.nan)
        for row, centre in enumerate(centres):
            members = self.indices[self.indptr[centre] : self.indptr[centre + 1]]
            if len(members) >= self.min_voxels:
                rdms[row] = self._rdm(members)
        return rdms

    def _rdm(self, members: Array) -> Array:
        """Average over folds: the distances if they are sums of products, otherwise the products."""
        n_conditions, n_folds = self.responses.shape[2], len(self.folds)
        rows, columns = np.triu_indices(n_conditions, 1)
        products, (squares, energies, off_by) = np.empty((n_folds, len(rows))), np.empty((3, n_folds, n_conditions))
        of_patterns, noise = self.distance.origin == "pattern", self.folds[0].noise
        samples = None if noise is None else noise.samples[members]  # which all folds share
        for number, fold in enumerate(self.folds):
            responses = fold.responses[members].reshape(len(members), -1)
            white = _white(responses, fold.noise, samples, symmetric=of_patterns)
            white = white.reshape(len(members), 2, n_conditions)
            if of_patterns:
                white = white - white.mean(axis=0)
            else:
                white = white - white[:, :, fold.held].mean(axis=2, keepdims=True)
            gram = white[:, 0].T @ white[:, 1]
            products[number] = (gram[rows, columns] + gram[columns, rows]) / 2
            squares[number], energies[number] = np.diag(gram), np.einsum("vc,vc->c", white[:, 1], white[:, 1])
            off_by[number] = rounding_errors(energies[number] + (white[:, 0] ** 2).sum(axis=0), len(members))
        held = np.stack([fold.held for fold in self.folds])
        pairs, sums, n_features = held[:, rows] & held[:, columns], np.zeros(squares.shape), np.array(len(members))
        if of_patterns:
            products, squares, energies = (
                _mean_over_folds(*each) for each in ((products, pairs), (squares, held), (energies, held))
            )
            sums, off_by = sums[0], off_by.max(axis=0)
            return self.distance.from_products(CrossProducts(products, squares, sums, n_features, energies, off_by))
        each_size = np.full(n_folds, n_features)
        distances = self.distance.from_products(CrossProducts(products, squares, sums, each_size, energies, off_by))
        return _mean_over_folds(distances, pairs)


def _mean_over_folds(values: Array, held: Array) -> Array:
    """Return the mean over the first axis of the values that are held."""
    mean: Array = np.where(held, values, 0).sum(axis=0) / held.sum(axis=0)
    return mean


def _white(responses: Array, noise: NoiseSamples | None, samples: Array | None, symmetric: bool) -> Array:
    """Whiten responses, (n_members, n_patterns), by their noise, of samples (n_members, n_samples); in float64."""
    if noise is None or samples is None:
        return responses.astype(np.float64)
    residuals = noise.residuals(samples)
    return whiten(responses, residuals, noise.degrees_of_freedom, noise.shrinkage, symmetric=symmetric)


def _n_between(counts: Array) -> Array:
    """Count pairs of patterns of different runs: (n_runs, n_conditions) -> (n_conditions, n_conditions)."""
    together = counts.sum(axis=0)
    n_pairs: Array = np.outer(together, together) - counts.T @ counts
    return n_pairs


def prepare_spheres(patterns: Patterns, neighbourhood: Neighbourhood, settings: RdmSettings) -> Spheres:
    """Put voxels first, runs averaged or side by side, and drop unusable voxels from all neighbourhoods."""
    if patterns.delays_s:
        raise UserError("RDMs are built of the responses at one delay; choose one by patterns.at_delay(delay_s).")
    run_noise = patterns.run_noise
    if patterns.space is None:
        raise UserError("Patterns and neighbourhood are over different masks; make the spheres from patterns.volume.")
    patterns.space.require_same(neighbourhood.space, "The neighbourhood", "the patterns")
    patterns = with_known_noise(patterns, between=settings.between_runs, shrinkage=settings.shrinkage)
    usable, indptr, indices = patterns.usable, neighbourhood.indptr, neighbourhood.indices
    if not usable.all():
        kept = usable[indices]
        if neighbourhood.centres is not None:
            kept &= np.repeat(usable[neighbourhood.centres], neighbourhood.n_members)
        indptr = np.concatenate([[0], np.cumsum(np.add.reduceat(kept, indptr[:-1], dtype=np.int64))])
        indices = indices[kept]
    members = np.require(indptr, np.int64, ["C", "W"]), np.require(indices, np.int32, ["C", "W"])
    distance = settings.entry
    if patterns.run_noise is not None:
        folds = _folds(patterns, patterns.run_noise)
        held = np.stack([fold.held for fold in folds])
        return FoldedSpheres(folds[0].responses, held, *members, distance, settings.min_voxels, usable, folds=folds)
    noise = _noise(patterns, settings.shrinkage if run_noise is None else run_noise.shrinkage)
    return Spheres(*_responses(patterns, settings), *members, distance, settings.min_voxels, usable, noise)


def prepared_bytes(
    n_rows: int, n_conditions: int, n_samples: int = 0, *, n_delays: int = 1, between: bool, by_runs: bool
) -> tuple[int, int]:
    """Return the bytes of a voxel in prepared spheres, and what it takes to read and prepare them.

    Parameters
    ----------
    n_rows, n_conditions, n_samples, n_delays : int
        Of the patterns: how many patterns, conditions, samples of the noise, and delays.
    between : bool
        Whether distances are between runs.
    by_runs : bool
        Whether noise is seen between runs.
    """
    patterns, noise, means = 4 * n_rows, 4 * n_samples, 4 * n_conditions * n_delays
    stays = patterns if between else means
    stays += noise
    averaged = 3 * means if n_rows > n_conditions * n_delays else 0
    more = 2 * patterns + noise + (2 * patterns if between else averaged) // n_delays
    if by_runs:  # the folds have two patterns of a condition each, and share the samples
        stays += patterns + (patterns if between else 0)
        more += 2 * patterns
    return stays, more


def _noise(patterns: Patterns, shrinkage: str | None) -> NoiseSamples | None:
    if shrinkage is None or patterns.residuals is None:
        return None
    values = np.ascontiguousarray(patterns.residuals.values.T)
    return NoiseSamples(values, patterns.residuals.degrees_of_freedom, shrinkage)


def _folds(patterns: Patterns, run_noise: RunNoise) -> tuple[Fold, ...]:
    """Leave each run out once; normalise it, and the mean of the other runs, by the noise between the others.

    Raises
    ------
    UserError
        If there are fewer than 3 runs, or two conditions share no run that can be left out.
    """
    samples = run_noise.samples or patterns
    values = np.ascontiguousarray(samples.values.T)  # which the folds share
    folds = []
    for others, left_out in folds_of_runs(patterns):
        rows = np.flatnonzero(samples.table["run"].isin(others.runs).to_numpy())
        folds.append(_fold(patterns, others, left_out, run_noise, values, rows))
    held = np.stack([fold.held for fold in folds]).astype(int)
    if (apart := held.T @ held == 0).any():
        first, second = (patterns.conditions[place] for place in np.argwhere(apart)[0])
        which = f"{first!r} is" if first == second else f"{first!r} and {second!r} are together"
        raise UserError(
            f"With noise seen between runs, conditions are compared in a run that has both of them, if other runs have "
            f"them too, and {which} in no such run; leave such conditions out, or take the noise from residuals."
        )
    return tuple(fold for fold in folds if np.count_nonzero(fold.held) > 1)


def _fold(
    patterns: Patterns, others: Patterns, left_out: Patterns, run_noise: RunNoise, samples: Array, rows: Array
) -> Fold:
    """Make a fold, of which `rows` of the samples, (n_voxels, n_samples), are those of the other runs."""
    both = [one for one in patterns.conditions if one in set(others.conditions) & set(left_out.conditions)]
    held = np.isin(patterns.conditions, both)
    responses = np.zeros((patterns.n_features, 2, len(held)), dtype=np.float32)
    if not both:
        return Fold(responses, held, None)
    means = [part.in_order(both).mean_over_runs().values for part in (others, left_out)]
    seen, noise = others if run_noise.samples is None else run_noise.samples.of_runs(others.runs), None
    if run_noise.normalisation == "multivariate" and run_noise.scope == "sphere":
        found = repeats(seen, mean_removed=run_noise.mean_removed)
        noise = NoiseSamples(
            samples, found.degrees_of_freedom, run_noise.shrinkage, found._replace(rows=rows[found.rows])
        )
    else:
        table = pd.DataFrame({"condition": both * 2, "run": np.repeat(["others", "left out"], len(both))})
        residuals = between_runs(seen, mean_removed=run_noise.mean_removed)
        pair = Patterns(np.vstack(means), table, patterns.volume, patterns.usable, residuals)
        normalised = normalise(pair, run_noise.normalisation, scope=run_noise.scope, shrinkage=run_noise.shrinkage)
        means = np.split(normalised.values, 2)
    for place, mean in enumerate(means):
        responses[:, place, held] = mean.T
    return Fold(responses, held, noise)


def _responses(patterns: Patterns, settings: RdmSettings) -> tuple[Array, Array]:
    """Return responses, shape (n_voxels, n_runs, n_conditions), and how many patterns are in each."""
    if settings.between_runs:
        runs, counts = _runs(patterns, settings.entry)
    else:
        means = patterns.mean_over_runs().values
        runs, counts = means[None], np.ones((1, len(means)))
    return np.ascontiguousarray(np.moveaxis(runs, -1, 0), dtype=np.float32), counts


def _runs(patterns: Patterns, measure: Distance) -> tuple[Array, Array]:
    """Sum the patterns of each condition in each run, (n_runs, n_conditions, n_voxels), and count them.

    Where conditions are missing in some runs, what all patterns share would not quite cancel in their differences, and
    would add its noise many times over. So the mean of all patterns is taken out first, if the distance is one of
    differences: it takes the same from the expected product of any two patterns, and nothing from that of differences.
    """
    table, conditions = patterns.table, patterns.conditions
    if "run" not in table or table["run"].nunique() < 2:
        raise UserError("A distance between runs needs patterns of 2 runs or more, told apart by a column `run`.")
    runs = list(dict.fromkeys(table["run"]))
    places = pd.Index(runs).get_indexer(table["run"]), pd.Index(conditions).get_indexer(table["condition"])
    sums, counts = np.zeros((len(runs), len(conditions), patterns.n_features)), np.zeros((len(runs), len(conditions)))
    np.add.at(counts, places, 1)
    uneven = bool((counts != counts[0, 0]).any())
    mean = patterns.values.mean(axis=0, dtype=np.float64) if uneven and measure.origin == "feature" else 0
    for run, condition, row in zip(*places, patterns.values, strict=True):
        sums[run, condition] += row - mean
    n_pairs = _n_between(counts)
    if (n_pairs == 0).any():
        first, second = np.argwhere(n_pairs == 0)[0]
        one = f"{conditions[first]!r} is in one run only" if first == second else ""
        two = f"{conditions[first]!r} and {conditions[second]!r} are in the same single run"
        raise UserError(
            f"A distance between runs compares patterns of different runs, and {one or two}; leave such conditions out."
        )
    return sums, counts


def halves(patterns: Patterns) -> tuple[Patterns, Patterns]:
    """Split patterns into those of the first, third, ... and those of the second, fourth, ... run.

    Raises
    ------
    UserError
        If there are fewer than 2 runs, or a half lacks a condition.
    """
    runs = patterns.runs
    if len(runs) < 2:
        raise UserError("Split-half reliability needs patterns of 2 runs or more, told apart by a column `run`.")
    if patterns.run_noise is not None and len(runs) < 4:
        raise UserError(
            "With noise that is seen between runs, each half tells its own noise, and split-half reliability needs 4 "
            f"runs or more, not {len(runs)}: else noise itself would be reliable. Take the noise from residuals."
        )
    return _half(patterns, runs[::2], "odd"), _half(patterns, runs[1::2], "even")


def _half(patterns: Patterns, runs: list[str], name: str) -> Patterns:
    """Take some runs, with the conditions in the order of all."""
    half = patterns.of_runs(runs).in_order(patterns.conditions)
    if missing := [one for one in patterns.conditions if one not in set(half.conditions)]:
        raise UserError(
            f"Split-half reliability needs every condition in both halves; no {name} run has {listed(missing)}."
        )
    return half


def run_of(n_pairs: int) -> int:
    """Return the number of neighbourhoods from one fresh start of the sliding sums to the next."""
    return max(8, min(64, RUN_BYTES // (8 * max(n_pairs, 1))))


def whole_runs(size: int, n_pairs: int) -> int:
    """Return a number of neighbourhoods, rounded up to whole runs, one at least."""
    run = run_of(n_pairs)
    return max(1, -(-size // run)) * run


def cut(centres: range, size: int) -> list[range]:
    """Cut a range into ranges of `size`, the last of which may be shorter."""
    return [range(start, min(start + size, centres.stop)) for start in range(centres.start, centres.stop, size)]
