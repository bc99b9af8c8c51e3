"""Responses and neighbourhoods as the compiled loops take them, and the RDM of each neighbourhood."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from rsa.comparisons import Comparison
from rsa.core import Array, Neighbourhood, Patterns, RDMs, align
from rsa.distances import CROSS_VALIDATED, DISTANCES, ORIGINS, CrossProducts, Distance
from rsa.errors import UserError, listed
from rsa.noise import whiten
from rsa.registry import pick

__all__ = ["Noise", "Spheres", "cut", "halves", "prepare", "prepare_searchlight", "prepare_spheres"]

RUN_BYTES = 4_000_000
"""Size of the RDMs of one run of centres, which bounds the memory of each thread at a few times that, and keeps it in
the processor's cache."""


class Noise(NamedTuple):
    """By what the patterns of each neighbourhood are whitened."""

    residuals: Array
    """Shape (n_voxels, n_samples), float32."""
    degrees_of_freedom: float
    shrinkage: str


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
    noise : Noise, optional
        By what patterns are whitened first.
    """

    responses: Array
    counts: Array
    indptr: Array
    indices: Array
    distance: Distance
    min_voxels: int
    noise: Noise | None = None

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
        return max(8, min(64, RUN_BYTES // (8 * self.n_pairs)))

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
        return cut(range(len(self)), max(1, -(-size // self.run)) * self.run)

    def rdms(self, centres: range) -> Array:
        """Return the condensed RDMs of some neighbourhoods, shape (n_centres, n_pairs), NaN where undefined."""
        n_runs, n_conditions = self.responses.shape[1:]
        sizes = np.diff(self.indptr[centres.start : centres.stop + 1])
        n_features = np.maximum(sizes, 1)
        products = np.empty((len(centres), self.n_pairs))
        squares, energies = np.empty((2, len(centres), n_conditions))
        sums = np.empty((len(centres), n_runs, n_conditions))
        if self.noise is None:
            self._sum_products(centres, products, squares, sums, energies)
        else:
            self._sum_whitened(centres, products, squares, sums, energies)
        within = None
        if n_runs > 1:
            if self.distance.origin == "pattern":
                from rsa.kernels import centre_between_runs

                centre_between_runs(products, squares, energies, sums, n_features.astype(np.float64))
            products /= self.n_products[np.triu_indices(n_conditions, 1)]
            squares /= np.diag(self.n_products)
            within = energies / (self.counts**2).sum(axis=0)
        rdms = self.distance.from_products(CrossProducts(products, squares, sums[:, 0], n_features, within=within))
        rdms[sizes < self.min_voxels] = np.nan
        return rdms

    def _sum_products(self, centres: range, products: Array, squares: Array, sums: Array, energies: Array) -> None:
        from rsa.kernels import sphere_products

        run = 1 if self.distance.origin == "zero" else self.run  # large offsets would leave few digits to slide with
        between = (self.responses, self.indptr, self.indices, centres.start, centres.stop)
        sphere_products(*between, ORIGINS.index(self.origin), run, products, squares, sums, energies)

    def _sum_whitened(self, centres: range, products: Array, squares: Array, sums: Array, energies: Array) -> None:
        """Whiten the patterns of each neighbourhood by its own noise covariance, and sum their products."""
        assert self.noise is not None
        n_runs, n_conditions = self.responses.shape[1:]
        pairs, symmetric = np.triu_indices(n_conditions, 1), self.distance.origin == "pattern"
        for row, centre in enumerate(centres):
            members = self.indices[self.indptr[centre] : self.indptr[centre + 1]]
            if len(members) < self.min_voxels:
                for sum_ in (products, squares, sums, energies):
                    sum_[row] = np.nan
                continue
            residuals, dof, shrinkage = self.noise
            responses = self.responses[members].reshape(len(members), -1)  # (n_members, n_runs * n_conditions)
            white = whiten(responses, residuals[members], dof, shrinkage, symmetric=symmetric)
            runs, each = white.reshape(-1, n_runs, n_conditions), white.reshape(-1, n_conditions)
            within, together = each.T @ each, runs.sum(axis=1)
            gram = together.T @ together - within if n_runs > 1 else within
            products[row], squares[row] = gram[pairs], np.diag(gram)
            energies[row], sums[row] = np.diag(within), runs.sum(axis=0)


def _n_between(counts: Array) -> Array:
    """Count pairs of patterns of different runs: (n_runs, n_conditions) -> (n_conditions, n_conditions)."""
    together = counts.sum(axis=0)
    n_pairs: Array = np.outer(together, together) - counts.T @ counts
    return n_pairs


def prepare(
    patterns: Patterns,
    neighbourhood: Neighbourhood,
    references: RDMs,
    distance: str,
    likeness: Comparison,
    min_voxels: int,
    shrinkage: str | None = None,
) -> tuple[Spheres, Array]:
    """Check that all fits; return what the compiled functions take, and prepared references, (n_rdms, n_pairs)."""
    spheres = prepare_searchlight(patterns, neighbourhood, distance, min_voxels, shrinkage)
    return spheres, likeness.prepare(align(patterns.conditions, references).values)


def prepare_searchlight(
    patterns: Patterns, neighbourhood: Neighbourhood, distance: str, min_voxels: int, shrinkage: str | None = None
) -> Spheres:
    """Return what `prepare_spheres` does; require 3 conditions, and a sphere that is large enough."""
    if len(patterns.conditions) < 3:
        raise UserError(f"RDMs can be compared from 3 conditions on; the patterns have {len(patterns.conditions)}.")
    spheres = prepare_spheres(patterns, neighbourhood, distance, min_voxels, shrinkage)
    if spheres.sizes.max() < min_voxels:
        raise UserError(
            f"No searchlight has the {min_voxels} voxels that min_voxels asks for; the largest has "
            f"{spheres.sizes.max()}. Choose a larger radius_mm or a smaller min_voxels."
        )
    return spheres


def prepare_spheres(
    patterns: Patterns, neighbourhood: Neighbourhood, distance: str, min_voxels: int, shrinkage: str | None = None
) -> Spheres:
    """Put voxels first, runs averaged or side by side, and drop unusable voxels from all neighbourhoods."""
    measure = pick(DISTANCES | CROSS_VALIDATED, distance, "distance")
    if min_voxels < 2:
        raise UserError(f"min_voxels is at least 2 (a pattern of one voxel has no shape), not {min_voxels}.")
    if patterns.delays_s:
        raise UserError("RDMs are built of the responses at one delay; choose one by patterns.at_delay(delay_s).")
    volume, usable = patterns.volume, patterns.usable
    if volume is None or not np.array_equal(volume.mask, neighbourhood.volume.mask):
        raise UserError("Patterns and neighbourhood are over different masks; make the spheres from patterns.volume.")
    volume.require_grid(neighbourhood.volume.shape, neighbourhood.volume.affine, "The neighbourhood", "the patterns")
    indptr, indices = neighbourhood.indptr, neighbourhood.indices
    if not usable.all():
        kept = usable[indices]
        if neighbourhood.centres is not None:
            kept &= np.repeat(usable[neighbourhood.centres], neighbourhood.n_members)
        indptr = np.concatenate([[0], np.cumsum(np.add.reduceat(kept, indptr[:-1], dtype=np.int64))])
        indices = indices[kept]
    where = np.require(indptr, np.int64, ["C", "W"]), np.require(indices, np.int32, ["C", "W"])
    return Spheres(*_responses(patterns, distance), *where, measure, min_voxels, _noise(patterns, shrinkage))


def _noise(patterns: Patterns, shrinkage: str | None) -> Noise | None:
    if shrinkage is None or patterns.residuals is None:
        return None
    values = np.ascontiguousarray(patterns.residuals.values.T)
    return Noise(values, patterns.residuals.degrees_of_freedom, shrinkage)


def _responses(patterns: Patterns, distance: str) -> tuple[Array, Array]:
    """Return responses, shape (n_voxels, n_runs, n_conditions), and how many patterns are in each, for a distance."""
    if distance in CROSS_VALIDATED:
        runs, counts = _runs(patterns, CROSS_VALIDATED[distance])
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
    if "run" not in patterns.table or patterns.table["run"].nunique() < 2:
        raise UserError("Split-half reliability needs patterns of 2 runs or more, told apart by a column `run`.")
    runs = list(dict.fromkeys(patterns.table["run"]))
    odd = patterns.table["run"].isin(runs[::2]).to_numpy()
    return _half(patterns, odd, "odd"), _half(patterns, ~odd, "even")


def _half(patterns: Patterns, of_half: Array, name: str) -> Patterns:
    """Take some rows, with the conditions in the order of all."""
    half = replace(patterns, values=patterns.values[of_half], table=patterns.table[of_half])
    half = half.in_order(patterns.conditions)
    if missing := [one for one in patterns.conditions if one not in set(half.conditions)]:
        raise UserError(
            f"Split-half reliability needs every condition in both halves; no {name} run has {listed(missing)}."
        )
    return half


def cut(centres: range, size: int) -> list[range]:
    """Cut a range into ranges of `size`, the last of which may be shorter."""
    return [range(start, min(start + size, centres.stop)) for start in range(centres.start, centres.stop, size)]
