"""Enhance maps by what is around each node: threshold-free cluster enhancement, mass and size of clusters.

A *node* is a place at a time. Its neighbours are those of the place (see `rsa.inference.graph`) at the same time, and
the same place one time before and after.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rsa.core import Array
from rsa.errors import UserError
from rsa.inference.graph import Graph
from rsa.registry import pick

__all__ = ["ENHANCEMENTS", "Enhancement", "components", "enhance", "highest"]

Ordered = tuple[Array, Array, Array]
"""Heights of nodes in descending order; parents; sizes (see `rsa.inference.trees.tree`)."""


def _tfce(found: Ordered, threshold: float) -> Array:
    """Return the TFCE of each node of a tree."""
    from rsa.inference.trees import tfce

    return np.asarray(tfce(*found))


def _masses(found: Ordered, threshold: float) -> Array:
    """Return the mass of each node's cluster."""
    from rsa.inference.trees import masses

    heights, parents, _ = found
    return np.asarray(masses(heights, threshold, parents))


def _sizes(found: Ordered, threshold: float) -> Array:
    """Return the number of nodes of each node's cluster."""
    from rsa.inference.trees import roots

    _, parents, sizes = found
    return np.asarray(sizes[roots(parents)], dtype=np.float64)


@dataclass(frozen=True)
class Enhancement:
    """What a node gets from the nodes around it.

    Parameters
    ----------
    of_tree : callable
        From the nodes above the threshold in descending order, and the threshold, to a number for each of them.
    statistic : str
        What stands in the column `statistic` of maps of it; the maximum's p is in ``logp_max_`` and this.
    summary : str
        One line for the documentation.
    words : str
        What the methods text calls it.
    needs_threshold : bool
        Whether clusters are formed above a threshold.
    paper : str
        The paper to cite, a key of `rsa.papers.PAPERS`.
    """

    of_tree: Callable[[Ordered, float], Array]
    statistic: str
    summary: str
    words: str
    needs_threshold: bool
    paper: str


ENHANCEMENTS: dict[str, Enhancement] = {
    "tfce": Enhancement(
        _tfce,
        "tfce",
        "integral of extent^.5 height^2 over the heights from 0 to that of the node, exact",
        "threshold-free cluster enhancement (E = .5, H = 2, integrated exactly)",
        needs_threshold=False,
        paper="Smith & Nichols, 2009",
    ),
    "cluster_mass": Enhancement(
        _masses,
        "mass",
        "sum over the cluster of what its values are above the threshold",
        "cluster mass (the sum of what a cluster's values are above the threshold)",
        needs_threshold=True,
        paper="Bullmore et al., 1999",
    ),
    "cluster_size": Enhancement(
        _sizes,
        "size",
        "number of nodes of the cluster",
        "cluster size (the number of nodes above the threshold)",
        needs_threshold=True,
        paper="Forman et al., 1995",
    ),
}


def enhance(values: Array, graph: Graph, kind: str, threshold: float = 0.0) -> Array:
    """Give each node what its cluster is worth.

    Only values above 0 count; for the other side, give ``-values``. The result depends neither on the order of places
    nor on that of equal values, to the last bit.

    Parameters
    ----------
    values : array, shape (n_times, n_places)
        A statistic; one map has one time. NaN where there is no node. Single precision is kept.
    graph : Graph
        Which places are neighbours.
    kind : str
        A key of `ENHANCEMENTS`.
    threshold : float
        Nodes with a higher value are in clusters. 0 or more; TFCE has none.

    Returns
    -------
    array of float64, shape (n_times, n_places)
        0 where no cluster is, NaN where there is no node.

    Raises
    ------
    UserError
        If the places are not those of the graph, or the kind or the threshold is not among the above.

    References
    ----------
    .. [1] Smith SM, Nichols TE (2009). Threshold-free cluster enhancement: addressing problems of smoothing, threshold
       dependence and localisation in cluster inference. NeuroImage 44:83-98.

    Examples
    --------
    >>> from rsa.inference.graph import graph_of
    >>> chain = graph_of([np.array([1]), np.array([2]), np.array([3]), np.array([], int)], "a chain")
    >>> values = np.array([[3.0, 5.0, 1.0, 4.0]])
    >>> enhance(values, chain, "cluster_size", threshold=2.0)
    array([[2., 2., 0., 1.]])
    >>> enhance(values, chain, "cluster_mass", threshold=2.0)
    array([[4., 4., 0., 2.]])
    """
    order, worth = _worth(values, graph, kind, threshold)
    enhanced = np.zeros(values.size)
    enhanced[np.isnan(values).ravel()] = np.nan
    enhanced[order] = worth
    return enhanced.reshape(values.shape)


def highest(values: Array, graph: Graph, kind: str, threshold: float = 0.0) -> float:
    """Return the highest number that `enhance` gives to a node, 0 where no value is above the threshold."""
    _, worth = _worth(values, graph, kind, threshold)
    return float(worth.max(initial=0.0))


def components(mask: Array, graph: Graph) -> Array:
    """Give each cluster of connected nodes a number.

    Parameters
    ----------
    mask : array of bool, shape (n_times, n_places)
        The nodes that are in clusters.
    graph : Graph
        Which places are neighbours.

    Returns
    -------
    array of int32, shape (n_times, n_places)
        The number of each node's cluster, from 1, in the order of first nodes (the first time, then the first place);
        0 outside.

    Raises
    ------
    UserError
        If the places are not those of the graph.
    """
    from rsa.inference.trees import first_nodes, tree

    mask = np.asarray(mask, dtype=bool)
    _require_places(mask, graph)
    nodes = np.flatnonzero(mask).astype(np.int32)
    parents, _ = tree(nodes, nodes, mask.size, graph.indptr, graph.indices)
    labels: Array = first_nodes(nodes, mask.size, parents)
    return labels.reshape(mask.shape)


def _worth(values: Array, graph: Graph, kind: str, threshold: float) -> tuple[Array, Array]:
    """Return the nodes above the threshold, highest first, and what each is worth."""
    from rsa.inference.trees import above, descending, tree

    entry = pick(ENHANCEMENTS, kind, "enhancement")
    _require_places(values, graph)
    if not threshold >= 0 or (threshold > 0 and not entry.needs_threshold):
        wanted = "0 or more" if entry.needs_threshold else "0"
        raise UserError(f"The threshold of {kind} is {wanted}, not {threshold}.")
    precision = np.float32 if values.dtype == np.float32 else np.float64
    flat = np.ascontiguousarray(values, dtype=precision).ravel()
    nodes = above(flat, float(threshold))
    order = descending(nodes, flat[nodes].view(f"u{flat.itemsize}"))
    parents, sizes = tree(order, nodes, len(flat), graph.indptr, graph.indices)
    return order, entry.of_tree((flat[order], parents, sizes), float(threshold))


def _require_places(values: Array, graph: Graph) -> None:
    """Raise a `UserError` unless there is a column for each place of a graph."""
    if values.ndim != 2 or values.shape[1] != graph.n_places:
        raise UserError(
            f"Values of {graph.n_places} places have the shape (n_times, {graph.n_places}), not {values.shape}."
        )
