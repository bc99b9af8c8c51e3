"""The inner loops over clusters, compiled by numba: values in descending order, and how clusters grow and join.

They work on the places of a graph at each of some times. A *node* is a place at a time, numbered time by time; its
neighbours are those of the place at the same time, and the same place one time before and after. Each function runs on
one thread and releases Python's lock.
"""

import numpy as np

from rsa.kernels import compiled

__all__ = ["descending", "first_nodes", "is_undirected", "masses", "roots", "tfce", "tree"]

DIGIT = 11
"""Bits of a value by which nodes are put into order at a time."""


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
def descending(values, bits, threshold):
    """Put the nodes whose values are above a threshold of 0 or more into order, the highest first.

    Parameters
    ----------
    values, bits : arrays, shape (n_nodes,)
        The values, and the same memory as unsigned integers, whose order is that of numbers above 0.

    Returns
    -------
    array of int32
        The nodes; those of equal values in ascending order.
    """
    n = 0
    for value in values:
        n += value > threshold
    order, keys = np.empty(n, np.int32), np.empty(n, bits.dtype)
    n = 0
    for node in range(len(values)):
        if values[node] > threshold:
            order[n], keys[n] = node, ~bits[node]
            n += 1
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
def tree(order, n_nodes, indptr, indices):
    """Add nodes one after the other, and tell which cluster each new node extends or joins.

    Clusters are found by union-find: the smaller of two hangs below the larger one, and paths are halved.

    Parameters
    ----------
    order : array of int32, shape (n,)
        The nodes that are added, first to last.
    n_nodes : int
        Number of places times number of times.
    indptr, indices : arrays of int
        Neighbours of each place.

    Returns
    -------
    parents : array of int32, shape (n,)
        For each step the later step whose node was first to touch the cluster as it then was; itself for the last of a
        cluster. Of nodes in descending order this is the max-tree of the values.
    sizes : array of int32, shape (n,)
        Number of nodes in the cluster of the step's node, as it then was.
    """
    n_places, n = len(indptr) - 1, len(order)
    step_of, near = np.full(n_nodes, -1, np.int32), np.empty(n_places + 2, np.int32)
    parents, sizes = np.empty(n, np.int32), np.empty(n, np.int32)
    up, last = np.empty(n, np.int32), np.empty(n, np.int32)  # of union-find; the last step of a cluster
    for i in range(n):
        node = order[i]
        place = node % n_places
        first, n_near, size, one = node - place, 0, 1, i
        step_of[node] = up[i] = parents[i] = i
        for k in range(indptr[place], indptr[place + 1]):
            step = step_of[first + indices[k]]
            near[n_near] = step
            n_near += step >= 0
        for other in (node - n_places, node + n_places):
            if 0 <= other < n_nodes:
                near[n_near] = step_of[other]
                n_near += near[n_near] >= 0
        for step in near[:n_near]:
            while up[step] != step:
                up[step] = up[up[step]]
                step = up[step]
            if step != one:
                before = last[step]
                parents[before] = i
                if sizes[before] > size:
                    up[one] = step
                    one = step
                else:
                    up[step] = one
                size += sizes[before]
        sizes[i], last[one] = size, i
    return parents, sizes


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
