"""The inner loops over clusters, compiled by numba: values in descending order, and how clusters grow and join.

They work on the places of a graph at each of some times. A *node* is a place at a time, numbered time by time; its
neighbours are those of the place at the same time, and the same place one time before and after. Each function runs on
one thread and releases Python's lock.
"""

import numpy as np

from rsa.kernels import compiled

__all__ = ["above", "descending", "first_nodes", "is_undirected", "masses", "roots", "tfce", "tree"]

DIGIT = 11
"""Bits of a value by which nodes are put into order at a time."""

NEVER = 2**31 - 1
"""The step of a node that is not added."""


@compiled
def is_undirected(indptr, indices):
    """Say whether neighbours are ascending, come once, are no node's own, and are neighbours the other way round."""
    n_places = len(indptr) - 1
    at = indptr[:-1].copy()
    for i in range(n_places):
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if j < 0 or j >= n_places or j == i or (k > indptr[i] and j <= indices[k - 1]):
                return False
            if at[j] == indptr[j + 1] or indices[at[j]] != i:
                return False
            at[j] += 1
    return True


@compiled
def above(values, threshold):
    """Return the nodes whose values are above a threshold, ascending, of int32."""
    n = 0
    for value in values:
        n += value > threshold
    nodes = np.empty(n, np.int32)
    n = 0
    for node in range(len(values)):
        if values[node] > threshold:
            nodes[n] = node
            n += 1
    return nodes


@compiled
def descending(nodes, bits):
    """Put nodes into order, the highest first, those of equal values as they come.

    Parameters
    ----------
    nodes : array of int32, shape (n,)
    bits : array of unsigned int, shape (n,)
        The memory of their values, which are above 0: then numbers and their bits have the same order.
    """
    n = len(nodes)
    order, keys = nodes.copy(), ~bits
    spare_order, spare_keys = np.empty_like(order), np.empty_like(keys)
    mask = (1 << DIGIT) - 1
    for shift in range(0, 8 * bits.itemsize, DIGIT):
        starts = np.zeros(mask + 2, np.int64)
        for key in keys:
            starts[((key >> shift) & mask) + 1] += 1
        if starts.max() == n:  # all have this digit in common
            continue
        for digit in range(mask):
            starts[digit + 1] += starts[digit]
        for i in range(n):
            digit = (keys[i] >> shift) & mask
            spare_order[starts[digit]], spare_keys[starts[digit]] = order[i], keys[i]
            starts[digit] += 1
        order, spare_order = spare_order, order
        keys, spare_keys = spare_keys, keys
    return order


@compiled
def tree(order, nodes, n_nodes, indptr, indices):
    """Add nodes one after the other, and tell which cluster each new node extends or joins.

    From every node a path leads to the neighbour that was added first, from there to that one's, and so on to a summit.
    A node's cluster holds its path, so clusters are sets of summits, and of its neighbours only those count whose
    summits are others. They are few, and found node by node as these lie in memory. Sets of summits are joined by
    union-find: the smaller of two clusters hangs below the larger one, and paths are halved.

    Parameters
    ----------
    order, nodes : arrays of int32, shape (n,)
        The nodes that are added, first to last; and the same nodes, ascending.
    n_nodes : int
        Number of places times number of times.
    indptr, indices : arrays of int
        Neighbours of each place.

    Returns
    -------
    parents : array of int32, shape (n,)
        For each step the step whose node was the next to touch the cluster as it then was; itself for the last of a
        cluster. Of nodes in descending order this is the max-tree of the values.
    sizes : array of int32, shape (n,)
        Number of nodes in the cluster of the step's node, as it then was.
    """
    n = len(order)
    step_of = np.full(n_nodes, NEVER, np.int32)
    for i in range(n):
        step_of[order[i]] = i
    summits = summits_of(nodes, step_of, indptr, indices)
    starts, others = borders(nodes, step_of, summits, indptr, indices)
    parents, sizes = np.empty(n, np.int32), np.empty(n, np.int32)
    up, last = np.empty(n, np.int32), np.empty(n, np.int32)  # of the summit that stands for a cluster
    for i in range(n):
        one, size = summits[i], 1
        if one == i:
            up[i] = i
        else:
            one = found(one, up)
            parents[last[one]] = i
            size += sizes[last[one]]
        k = starts[i]
        while others[k] != NEVER:
            other = found(others[k], up)
            k += 1
            if other != one:
                before = last[other]
                parents[before] = i
                if sizes[before] > size:
                    up[one] = other
                    one = other
                else:
                    up[other] = one
                size += sizes[before]
        parents[i], sizes[i], last[one] = i, size, i
    return parents, sizes


@compiled
def found(summit, up):
    """Return the summit that stands for the cluster of a summit."""
    while up[summit] != summit:
        up[summit] = up[up[summit]]
        summit = up[summit]
    return summit


@compiled
def summits_of(nodes, step_of, indptr, indices):
    """Return for each step the step of the summit to which its path leads; summits are their own."""
    n_places, n_nodes, first = len(indptr) - 1, len(step_of), 0
    summits = np.empty(len(nodes), np.int32)
    for node in nodes:
        while node >= first + n_places:
            first += n_places
        earliest = step_of[node]
        for k in range(indptr[node - first], indptr[node - first + 1]):
            earliest = min(earliest, step_of[first + indices[k]])
        if first > 0:
            earliest = min(earliest, step_of[node - n_places])
        if node + n_places < n_nodes:
            earliest = min(earliest, step_of[node + n_places])
        summits[step_of[node]] = earliest
    for i in range(len(summits)):
        summits[i] = summits[summits[i]]
    return summits


@compiled
def borders(nodes, step_of, summits, indptr, indices):
    """Return for each step where the other summits of its earlier neighbours start in a list; `NEVER` ends them."""
    n_places, n_nodes, first, n = len(indptr) - 1, len(step_of), 0, 1
    summit_of = np.full(n_nodes, NEVER, np.int32)
    for node in nodes:
        summit_of[node] = summits[step_of[node]]
    starts, others = np.zeros(len(nodes), np.int64), np.empty(len(nodes) + 64, np.int32)
    others[0] = NEVER
    for node in nodes:
        while node >= first + n_places:
            first += n_places
        step, own, place, start = step_of[node], summit_of[node], node - first, n
        if n + indptr[place + 1] - indptr[place] + 3 > len(others):
            others = np.concatenate((others, np.empty(len(others) + n_places, np.int32)))
        for k in range(indptr[place], indptr[place + 1]):
            there = first + indices[k]
            if (summit_of[there] != own) & (step_of[there] < step):
                others[n] = summit_of[there]
                n += others[n] != others[n - 1]
        for there in (node - n_places, node + n_places):
            if 0 <= there < n_nodes and summit_of[there] != own and step_of[there] < step:
                others[n] = summit_of[there]
                n += 1
        if n > start:
            starts[step], others[n] = start, NEVER
            n += 1
    return starts, others


@compiled
def roots(parents):
    """Return for each step the last step of its cluster."""
    found = np.empty_like(parents)
    for i in range(len(parents) - 1, -1, -1):
        found[i] = i if parents[i] == i else found[parents[i]]
    return found


@compiled
def tfce(heights, parents, sizes):
    """Integrate extent^.5 height^2 from 0 to the height of each step, for nodes in descending order.

    From one height at which the cluster changes to the next, its extent is the same. The integral of a node is that of
    the node below which it joins, and the piece between the two; so it is summed from the lowest height upwards, and
    neither the order of equal heights nor of nodes changes a bit.
    """
    found = np.empty(len(heights), np.float64)
    for i in range(len(heights) - 1, -1, -1):
        height, below = np.float64(heights[i]), 0.0
        if parents[i] != i:
            below = np.float64(heights[parents[i]])
        if height == below:
            found[i] = found[parents[i]]
            continue
        # (height^3 - below^3) / 3, without loss where both are nearly equal, or one is infinite
        piece = np.sqrt(sizes[i]) * (height - below) * (height * height + height * below + below * below) / 3
        found[i] = piece if parents[i] == i else found[parents[i]] + piece
    return found


@compiled
def masses(heights, threshold, parents):
    """Sum what the heights of each step's final cluster are above a threshold, in the order of the steps."""
    last = roots(parents)
    sums = np.zeros(len(heights), np.float64)
    for i in range(len(heights)):
        sums[last[i]] += heights[i] - threshold
    return sums[last]


@compiled
def first_nodes(order, n_nodes, parents):
    """Give clusters numbers from 1 by their first nodes, if nodes were added in ascending order; 0 for other nodes."""
    last = roots(parents)
    labels, number_of, n_clusters = np.zeros(n_nodes, np.int32), np.zeros(len(order), np.int32), 0
    for i in range(len(order)):
        if number_of[last[i]] == 0:
            n_clusters += 1
            number_of[last[i]] = n_clusters
        labels[order[i]] = number_of[last[i]]
    return labels
