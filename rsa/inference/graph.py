"""Which places are neighbours: voxels of a grid, sensors, or none."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import numpy as np

from rsa.core import Array, Volume
from rsa.errors import UserError

__all__ = ["Connectivity", "Graph", "graph_of", "no_edges", "voxel_graph"]

Connectivity = Literal[6, 18, 26]
"""Voxels that are neighbours share a face (6), a face or an edge (18), or a face, an edge or a corner (26)."""


@dataclass(frozen=True, eq=False)
class Graph:
    """Which places are neighbours of which.

    Parameters
    ----------
    indptr : array of int, shape (n_places + 1,)
    indices : array of int, shape (n_edges,)
        The neighbours of place i are ``indices[indptr[i] : indptr[i + 1]]``, ascending: compressed sparse rows.
    words : str
        What sidecars and texts call it, such as "26 neighbours of each voxel".

    Raises
    ------
    UserError
        If a place is its own neighbour, or that of a place which is not its neighbour, or the rows are not ascending.
    """

    indptr: Array
    indices: Array
    words: str

    def __post_init__(self) -> None:
        from rsa.inference.trees import is_undirected

        indptr, indices = (np.ascontiguousarray(one, dtype=np.int32) for one in (self.indptr, self.indices))
        ends = indptr.ndim == 1 and len(indptr) and indptr[0] == 0 and indptr[-1] == len(indices)
        if not (ends and (np.diff(indptr) >= 0).all() and is_undirected(indptr, indices)):
            raise UserError(
                "Neighbours are ascending, no place's own, and places of which it is a neighbour too; these are not. "
                "Make the graph by `graph_of`."
            )
        object.__setattr__(self, "indptr", indptr)
        object.__setattr__(self, "indices", indices)

    @property
    def n_places(self) -> int:
        """Number of places."""
        return len(self.indptr) - 1


def voxel_graph(volume: Volume, connectivity: int = 26, stride: int = 1) -> Graph:
    """Find the neighbours of the voxels of a mask, in the order of their columns.

    Parameters
    ----------
    volume : Volume
        Its affine plays no part: neighbours are next to each other on the grid.
    connectivity : {6, 18, 26}
        See `Connectivity`.
    stride : int
        Neighbours are so many voxels apart: of a map of every n-th voxel.

    Raises
    ------
    UserError
        If the connectivity is another number.

    Examples
    --------
    >>> cube = Volume(np.ones((3, 3, 3), bool), np.eye(4))
    >>> [int(np.diff(voxel_graph(cube, n).indptr).max()) for n in (6, 18, 26)]
    [6, 18, 26]
    """
    if connectivity not in get_args(Connectivity):
        raise UserError(f"A voxel has 6, 18 or 26 neighbours, not {connectivity}.")
    n_axes = {6: 1, 18: 2, 26: 3}[connectivity]
    columns = np.full(tuple(n + 2 * stride for n in volume.shape), -1, dtype=np.int32)  # with a rim of no voxels
    inner = slice(stride, -stride)
    columns[inner, inner, inner][volume.mask] = np.arange(volume.n_voxels)
    steps = [step for step in product((-1, 0, 1), repeat=3) if 0 < np.abs(step).sum() <= n_axes]
    places = np.flatnonzero(columns >= 0)
    strides = np.array(columns.strides) // columns.itemsize
    around = columns.ravel()[
        places[:, None] + stride * np.array(steps) @ strides
    ]  # (n_voxels, connectivity), ascending
    inside = around >= 0
    indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(inside, axis=1))])
    return Graph(indptr, around[inside], f"{connectivity} neighbours of each voxel")


def graph_of(neighbours: Sequence[Array], words: str) -> Graph:
    """Make a graph of lists of neighbours, such as those of sensors.

    Parameters
    ----------
    neighbours : sequence of arrays of int
        For each place the positions of its neighbours, in any order, with its own or without it. Two places are
        neighbours if one of them says so.
    words : str
        As in `Graph`.

    Raises
    ------
    UserError
        If a neighbour is no place.

    Examples
    --------
    >>> graph = graph_of([np.array([0, 1]), np.array([2]), np.array([], int)], "a chain")
    >>> graph.indptr.tolist(), graph.indices.tolist()
    ([0, 1, 3, 4], [1, 0, 2, 1])
    """
    from scipy.sparse import coo_array

    n_places = len(neighbours)
    rows = np.repeat(np.arange(n_places), [len(one) for one in neighbours])
    columns = np.concatenate([np.empty(0, int), *neighbours]).astype(np.int64)
    wrong = columns[(columns < 0) | (columns >= n_places)]
    if wrong.size:
        raise UserError(f"Neighbours are positions from 0 to {n_places - 1}, and one is {wrong[0]}.")
    apart = rows != columns
    rows, columns = rows[apart], columns[apart]
    both = coo_array(
        (np.ones(2 * len(rows), bool), (np.append(rows, columns), np.append(columns, rows))), (n_places, n_places)
    ).tocsr()  # sums what comes twice
    both.sort_indices()
    return Graph(both.indptr, both.indices, words)


def no_edges(n_places: int) -> Graph:
    """Make a graph without neighbours, for regions."""
    return Graph(np.zeros(n_places + 1, np.int32), np.empty(0, np.int32), "no neighbours")
