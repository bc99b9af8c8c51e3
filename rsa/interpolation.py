"""Values of voxels at places between them: those of the 8 voxels around a place, or of the nearest."""

from dataclasses import replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from rsa.core import Array, Volume

__all__ = ["HALF", "LineSampler", "corners"]

HALF = 0.5 - 1e-4
"""Half of the weight of a place, with room for affines in single precision: so much must be of voxels with a value."""


def corners(volume: Volume, points_mm: Array) -> tuple[Array, Array]:
    """Find the 8 voxels around each point: their positions in the mask (-1 outside it) and weights, both (8, n)."""
    position = np.full(np.add(volume.shape, 2), -1, dtype=np.int32)  # one voxel more on each side
    position[1:-1, 1:-1, 1:-1][volume.mask] = np.arange(volume.n_voxels, dtype=np.int32)
    indices = volume.mm_to_voxel(points_mm)  # (n, 3)
    low = np.floor(indices).astype(np.int64)
    steps = np.array(list(product((0, 1), repeat=3)))  # (8, 3)
    members = np.empty((8, len(indices)), dtype=np.int32)
    weights = np.empty((8, len(indices)))
    for corner, step in enumerate(steps):
        at = np.clip(low + step + 1, 0, np.array(position.shape) - 1)
        members[corner] = position[tuple(at.T)]
        weights[corner] = np.where(step, indices - low, 1 - (indices - low)).prod(axis=1)
    return members, weights


class LineSampler:
    """Values of voxels along short lines, such as those from the white to the pial surface at each vertex.

    Parameters
    ----------
    volume : Volume
        The voxels that have values.
    lines_mm : array, shape (n_lines, n_points, 3)
        Points along each line, evenly spaced from its one end to the other.
    stride : int
        Only voxels whose grid indices are multiples of it have values: the 8 around a point are 8 of these.
    """

    def __init__(self, volume: Volume, lines_mm: Array, stride: int = 1) -> None:
        coarse, self._columns = _every(volume, stride)
        self._coarse, self._lines_mm, self._n_voxels = coarse, lines_mm, volume.n_voxels

    @cached_property
    def _weights(self) -> Any:
        """The weight of each voxel for each line, (n_lines, n_voxels) sparse; less than 1 in all beyond the mask."""
        from scipy.sparse import csr_matrix

        n_lines, n_points, _ = self._lines_mm.shape
        members, weights = corners(self._coarse, self._lines_mm.reshape(-1, 3))
        lines = np.broadcast_to(np.repeat(np.arange(n_lines), n_points), members.shape)
        inside = (members >= 0) & (weights > 0)
        where = (lines[inside], self._columns[members[inside]])
        return csr_matrix((weights[inside] / n_points, where), shape=(n_lines, self._n_voxels))

    @cached_property
    def _nearest(self) -> Array:
        """The voxel in which the middle of each line lies, (n_lines,); -1 where it has no value."""
        middle = self._lines_mm[:, [0, -1]].mean(axis=1)
        indices = np.floor(self._coarse.mm_to_voxel(middle) + 0.5).astype(int) + 1
        position = np.full(np.add(self._coarse.shape, 2), -1)
        position[1:-1, 1:-1, 1:-1][self._coarse.mask] = self._columns
        return np.asarray(position[tuple(np.clip(indices, 0, np.array(position.shape) - 1).T)])

    def mean(self, values: Array) -> Array:
        """Average maps along each line, linear between voxels, with the weights of voxels that have a value.

        Parameters
        ----------
        values : array, shape (n_maps, n_voxels)

        Returns
        -------
        array, shape (n_maps, n_lines)
            NaN where less than half of the weight is in voxels with a value: none that is missing counts as 0.
        """
        is_there = np.isfinite(values)
        total = self._weights @ np.where(is_there, values, 0).T.astype(np.float64)  # (n_lines, n_maps)
        weight = self._weights @ is_there.T.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(weight >= HALF, total / weight, np.nan).T

    def nearest(self, values: Array) -> Array:
        """Return the values of the voxel in which the middle of each line lies; arrays as in `mean`."""
        return np.asarray(np.append(values, np.full((len(values), 1), np.nan), axis=1)[:, self._nearest])


def _every(volume: Volume, stride: int) -> tuple[Volume, Array]:
    """Return the grid of every n-th voxel in each direction, and the positions of its voxels in the mask of all."""
    columns = np.full(volume.shape, -1)
    columns[volume.mask] = np.arange(volume.n_voxels)
    some = columns[::stride, ::stride, ::stride]
    affine = volume.affine @ np.diag([stride, stride, stride, 1.0])
    return replace(volume, mask=some >= 0, affine=affine), some[some >= 0]
