"""Responses and neighbourhoods as the compiled loops take them, and the RDM of each neighbourhood."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rsa.comparisons import Comparison
from rsa.core import Array, Neighbourhood, Patterns, RDMs, align
from rsa.distances import CROSS_VALIDATED, DISTANCES, ORIGINS, CrossProducts, Distance
from rsa.errors import UserError, listed
from rsa.registry import pick

__all__ = ["Spheres", "cut", "prepare", "prepare_spheres"]

RUN_BYTES = 4_000_000
"""Size of the RDMs of one run of centres, which bounds the memory of each thread at a few times that, and keeps it in
the processor's cache."""


@dataclass(frozen=True, eq=False)
class Spheres:
    """Responses and members as the compiled functions take them.

    Parameters
    ----------
    responses : array, shape (n_voxels, n_runs, n_conditions), float32
        One run if the distance is not between runs.
    indptr, indices : arrays of int64 and int32
        Usable members of each neighbourhood, ascending (see `Neighbourhood`).
    distance : Distance
        How dissimilar two patterns are.
    min_voxels : int
        Neighbourhoods with fewer members have no RDM.
    """

    responses: Array
    indptr: Array
    indices: Array
    distance: Distance
    min_voxels: int

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

    def chunks(self, size: int) -> list[range]:
        """Cut the neighbourhoods into chunks of `size`, rounded up to whole runs, one at least."""
        return cut(range(len(self)), max(1, -(-size // self.run)) * self.run)

    def rdms(self, centres: range) -> Array:
        """Return the condensed RDMs of some neighbourhoods, shape (n_centres, n_pairs), NaN where undefined."""
        from rsa.kernels import sphere_products

        n_runs, n_conditions = self.responses.shape[1:]
        products = np.empty((len(centres), self.n_pairs))
        squares, sums = np.empty((2, len(centres), n_conditions))
        origin = ORIGINS.index(self.distance.origin)
        run = 1 if self.distance.origin == "zero" else self.run  # large offsets would leave few digits to slide with
        between = (self.responses, self.indptr, self.indices, centres.start, centres.stop)
        sphere_products(*between, origin, run, products, squares, sums)
        if n_runs > 1:
            products /= n_runs * (n_runs - 1)
            squares /= n_runs * (n_runs - 1)
        sizes = np.diff(self.indptr[centres.start : centres.stop + 1])
        rdms = self.distance.from_products(CrossProducts(products, squares, sums, np.maximum(sizes, 1)))
        rdms[sizes < self.min_voxels] = np.nan
        return rdms


def prepare(
    patterns: Patterns,
    neighbourhood: Neighbourhood,
    references: RDMs,
    distance: str,
    likeness: Comparison,
    min_voxels: int,
) -> tuple[Spheres, Array]:
    """Check that all fits; return what the compiled functions take, and prepared references, (n_rdms, n_pairs)."""
    if len(patterns.conditions) < 3:
        raise UserError(f"RDMs can be compared from 3 conditions on; the patterns have {len(patterns.conditions)}.")
    spheres = prepare_spheres(patterns, neighbourhood, distance, min_voxels)
    if spheres.sizes.max() < min_voxels:
        raise UserError(
            f"No searchlight has the {min_voxels} voxels that min_voxels asks for; the largest has "
            f"{spheres.sizes.max()}. Choose a larger radius_mm or a smaller min_voxels."
        )
    return spheres, likeness.prepare(align(patterns.conditions, references).values)


def prepare_spheres(patterns: Patterns, neighbourhood: Neighbourhood, distance: str, min_voxels: int) -> Spheres:
    """Put voxels first, runs averaged or side by side, and drop unusable voxels from all neighbourhoods."""
    measure = pick(DISTANCES | CROSS_VALIDATED, distance, "distance")
    if min_voxels < 2:
        raise UserError(f"min_voxels is at least 2 (a pattern of one voxel has no shape), not {min_voxels}.")
    volume, usable = patterns.volume, patterns.usable
    if volume is None or not np.array_equal(volume.mask, neighbourhood.volume.mask):
        raise UserError("Patterns and neighbourhood are over different masks; make the spheres from patterns.volume.")
    volume.require_grid(neighbourhood.volume.shape, neighbourhood.volume.affine, "The neighbourhood", "the patterns")
    runs = _runs(patterns) if distance in CROSS_VALIDATED else patterns.mean_over_runs().values[None]
    responses = np.ascontiguousarray(np.moveaxis(runs, -1, 0), dtype=np.float32)
    indptr, indices = neighbourhood.indptr, neighbourhood.indices
    if not usable.all():
        kept = usable[indices]
        if neighbourhood.centres is not None:
            kept &= np.repeat(usable[neighbourhood.centres], neighbourhood.n_members)
        indptr = np.concatenate([[0], np.cumsum(np.add.reduceat(kept, indptr[:-1], dtype=np.int64))])
        indices = indices[kept]
    where = np.require(indptr, np.int64, ["C", "W"]), np.require(indices, np.int32, ["C", "W"])
    return Spheres(responses, *where, measure, min_voxels)


def _runs(patterns: Patterns) -> Array:
    """Return the patterns of each run, shape (n_runs, n_conditions, n_voxels); every condition is in every run."""
    table, conditions = patterns.table, patterns.conditions
    if "run" not in table or table["run"].nunique() < 2:
        raise UserError("A distance between runs needs patterns of 2 runs or more, told apart by a column `run`.")
    counts = pd.crosstab(table["run"], table["condition"])
    if (counts != 1).any(axis=None):
        odd = [f"{name} (run {run})" for run, row in counts.iterrows() for name in row.index[row != 1]]
        raise UserError(f"A distance between runs needs every condition once in every run; see {listed(odd)}.")
    rows = table.reset_index().pivot(index="run", columns="condition", values="index")[conditions]
    values: Array = patterns.values[rows.to_numpy()]
    return values


def cut(centres: range, size: int) -> list[range]:
    """Cut a range into ranges of `size`, the last of which may be shorter."""
    return [range(start, min(start + size, centres.stop)) for start in range(centres.start, centres.stop, size)]
