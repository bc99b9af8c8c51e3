"""The inner loops, compiled by numba: products of neighbouring spheres, dissimilarities, ranks, and what is counted.

Each function does one step for many RDMs on one thread, without Python's lock, so that threads can work on different
chunks of centres. They are compiled when first called, which takes seconds, and kept on disk.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from rsa.core import Array

__all__ = [
    "centre_between_runs",
    "concordance",
    "count_permuted",
    "count_transformed",
    "differences",
    "normalised",
    "permute",
    "rank_drawn",
    "rank_rows",
    "sphere_products",
    "transformed_statistics",
]

LOSS = 2.0**-5
"""Products are summed afresh when a condition's sum of squares has fallen below this share of the largest one that was
slid through: the rounding errors of the larger numbers would begin to show."""

WIDTH, DEPTH = 32, 512
"""Conditions and rows of a block of products: small enough for the cache and to leave out most of the lower triangle;
large enough for BLAS to reach its full speed."""

TILE = 1024
"""Columns of subjects' scores on which flips work at a time: what is summed into stays in the first cache."""

SMALLEST_REST = 1e-6
"""Where less of the variance than this share is unexplained, t is that of this share: 1,000 sqrt(df)."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile when first called, and keep the result on disk if there is a folder to write to."""
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # "no locator available": neither the package nor the home can be written
        return njit(nogil=True, error_model="numpy")(function)


# ------------------------------------------------------------------------------------ sliding products


@compiled
def sphere_products(
    responses, indptr, indices, first, last, origin, run, products, squares, sums, energies, magnitudes
):
    """Sum products over the members of successive neighbourhoods, adding and taking away what differs from the last.

    Neighbours share most of their voxels: along an axis, a full sphere of 123 voxels gains 29 and loses 29. With one
    run of data these are the products of the responses. With R runs they are the products of different runs, summed
    over all pairs of runs: those of the sum over runs, less those of each run with itself.

    Parameters
    ----------
    responses : array, shape (n_voxels, n_runs, n_conditions), float32
    indptr, indices : arrays of int
        Members of each neighbourhood, ascending (see `rsa.core.Neighbourhood`).
    first, last : int
        The neighbourhoods to work on; `first` is a multiple of `run`.
    origin : int
        What is subtracted, so that large offsets cost no digits: 0 nothing, 1 a number from each condition, 2 from each
        voxel (and run) the response to the first condition.
    run : int
        Every so many neighbourhoods the sums are begun afresh, so that rounding errors stay as they are and no result
        depends on where a chunk begins.
    products, squares, sums, energies : arrays, float64
        The results, of shapes (n, n_pairs), (n, n_conditions), (n, n_runs, n_conditions) and (n, n_conditions):
        products of two conditions, of each with itself, sums over voxels, and squares within runs, summed over voxels
        and runs.
    magnitudes : array, shape (n, n_conditions), float64
        One more result: what `rsa.distances.UNIT` is multiplied by to bound the rounding errors of squares. Number of
        additions that a term goes through, times the largest sum of absolute terms.
    """
    n_runs, n_conditions = responses.shape[1:]
    n_rows = 1 if n_runs == 1 else n_runs + 1
    n_additions = 0.0
    n_blocks = (n_conditions + WIDTH - 1) // WIDTH
    width = ((n_conditions + n_blocks - 1) // n_blocks + 7) // 8 * 8
    gram = np.zeros((n_blocks, n_blocks, width, width))
    rows, signed = np.zeros((n_blocks, DEPTH, width)), np.zeros((n_blocks, DEPTH, width))
    total, energy, most = np.zeros((n_runs, n_conditions)), np.zeros(n_conditions), np.zeros(n_conditions)
    offset = np.zeros(n_conditions)
    largest = 0
    for centre in range(first, last):
        largest = max(largest, indptr[centre + 1] - indptr[centre])
    entering, leaving = np.empty(largest, dtype=indices.dtype), np.empty(largest, dtype=indices.dtype)
    before = nothing = indices[:0]
    for centre in range(first, last):
        members = indices[indptr[centre] : indptr[centre + 1]]
        fresh = True
        if centre % run:
            n_in, n_out = compare_members(before, members, entering, leaving)
            if n_in + n_out < len(members):
                come, go = entering[:n_in], leaving[:n_out]
                add(responses, come, go, origin, offset, gram, total, energy, rows, signed)
                n_additions += 2 * count_additions(n_in + n_out, n_rows)  # what comes and what goes
                fresh = has_lost_digits(energy, total, most, len(members), origin == 1)
        if fresh:
            gram[:] = 0
            total[:] = 0
            energy[:] = 0
            most[:] = 0
            if origin == 1 and len(members):
                offset[:] = responses[members[0], 0]
            add(responses, members, nothing, origin, offset, gram, total, energy, rows, signed)
            n_additions = count_additions(len(members), n_rows)
            has_lost_digits(energy, total, most, len(members), origin == 1)
        before = members
        sums[centre - first] = total
        copy(energy, energies[centre - first])
        for i in range(n_conditions):
            magnitudes[centre - first, i] = n_additions * n_rows * most[i]
        condense(gram, products[centre - first], squares[centre - first])


@compiled
def compare_members(before, now, entering, leaving):
    """Find what is in one ascending list and not in the other; return how many enter and how many leave."""
    i, j, n_in, n_out = 0, 0, 0, 0
    while i < len(before) and j < len(now):
        if before[i] == now[j]:
            i += 1
            j += 1
        elif before[i] < now[j]:
            leaving[n_out] = before[i]
            n_out += 1
            i += 1
        else:
            entering[n_in] = now[j]
            n_in += 1
            j += 1
    while i < len(before):
        leaving[n_out] = before[i]
        n_out += 1
        i += 1
    while j < len(now):
        entering[n_in] = now[j]
        n_in += 1
        j += 1
    return n_in, n_out


@compiled
def add(responses, entering, leaving, origin, offset, gram, total, energy, rows, signed):
    """Add the products of the voxels that enter and take away those of the voxels that leave."""
    n_runs, n_in, n_all = responses.shape[1], len(entering), len(entering) + len(leaving)
    n_rows = 1 if n_runs == 1 else n_runs + 1
    n_blocks, _, width, _ = gram.shape
    update, ones, more = np.empty((width, width)), np.ones(DEPTH), np.empty(width)
    at_once = DEPTH // n_rows
    for start in range(0, n_all, at_once):
        stop = min(start + at_once, n_all)
        for place in range(start, stop):
            enters = place < n_in
            voxel = entering[place] if enters else leaving[place - n_in]
            sign, at = 1.0 if enters else -1.0, (place - start) * n_rows
            if n_runs == 1:
                fill(responses[voxel, 0], origin, offset, sign, rows, signed, at)
            else:
                fill_runs(responses[voxel], origin, offset, sign, rows, signed, at, total, energy)
        depth = (stop - start) * n_rows
        for a in range(n_blocks):
            if n_runs == 1:
                np.dot(ones[:depth], signed[a, :depth], more)
                accumulate(total[0, a * width : (a + 1) * width], more)
            for b in range(a, n_blocks):
                np.dot(rows[a, :depth].T, signed[b, :depth], update)
                for i in range(width):
                    accumulate(gram[a, b, i], update[i])
    if n_runs == 1:
        for i in range(len(energy)):
            energy[i] = gram[i // width, i // width, i % width, i % width]


@compiled
def count_additions(n_voxels, n_rows):
    """Count the additions that a term goes through in `add`: those of its block, those of blocks, and those of runs."""
    at_once = DEPTH // n_rows
    return min(n_voxels, at_once) * n_rows + (n_voxels + at_once - 1) // at_once + 2 * n_rows


@compiled
def fill(response, origin, offset, sign, rows, signed, at):
    """Lay the responses of a voxel, relative to their origin, into row `at` of the blocks, with and without sign."""
    n_blocks, _, width = rows.shape
    first = np.float64(response[0]) if origin == 2 else 0.0
    for block in range(n_blocks):
        left, right = block * width, min(block * width + width, len(response))
        row, other, part, origins = rows[block, at], signed[block, at], response[left:right], offset[left:right]
        for i in range(len(part)):
            row[i] = np.float64(part[i]) - origins[i] - first
        for i in range(len(part)):
            other[i] = sign * row[i]


@compiled
def fill_runs(runs, origin, offset, sign, rows, signed, at, total, energy):
    """Lay the sum of a voxel's runs into row `at`, and each run, with the opposite sign, into a row after it.

    Add the responses to the sums of each run, and their squares to those of all runs.
    """
    n_blocks, _, width = rows.shape
    n_runs, n_conditions = runs.shape
    for block in range(n_blocks):
        rows[block, at] = 0
    for run in range(1, n_runs + 1):
        fill(runs[run - 1], origin, offset, -sign, rows, signed, at + run)
        for block in range(n_blocks):
            accumulate(rows[block, at], rows[block, at + run])
            for i in range(min(width, n_conditions - block * width)):
                response = rows[block, at + run, i]
                total[run - 1, block * width + i] += sign * response
                energy[block * width + i] += sign * response**2
    for block in range(n_blocks):
        row, other = rows[block, at], signed[block, at]
        for i in range(width):
            other[i] = sign * row[i]


@compiled
def accumulate(total, more):
    for i in range(len(total)):
        total[i] += more[i]


@compiled
def has_lost_digits(energy, total, most, n_members, centred):
    """Tell whether a sum of squares is small beside the largest one that went through it; keep the largest."""
    lost = False
    for i in range(len(most)):
        most[i] = max(most[i], energy[i])
        left = energy[i]
        for run in range(len(total) if centred else 0):
            left -= total[run, i] * total[run, i] / n_members
        lost |= left < LOSS * most[i]
    return lost


@compiled
def condense(gram, products, squares):
    """Copy the upper triangle, row by row, and the diagonal out of the blocks."""
    n_blocks, _, width, _ = gram.shape
    n_conditions = len(squares)
    pair = 0
    for i in range(n_conditions):
        a, row = i // width, i % width
        squares[i] = gram[a, a, row, row]
        for b in range(a, n_blocks):
            left = row + 1 if a == b else 0
            n = min(width, n_conditions - b * width) - left
            copy(gram[a, b, row, left:], products[pair : pair + n])
            pair += n


@compiled
def copy(source, target):
    for i in range(len(target)):
        target[i] = source[i]


@compiled
def centre_between_runs(products, squares, energies, sums, n_features):
    """Take the mean over features out of each pattern of each run, given sums of products between and within runs.

    Parameters
    ----------
    products, squares, energies, sums : arrays
        As `sphere_products` returns them for several runs; the first three are changed in place.
    n_features : array of float, shape (n,)
        Number of members of each neighbourhood.
    """
    n_rdms, n_runs, n_conditions = sums.shape
    together = np.empty(n_conditions)
    for rdm in range(n_rdms):
        together[:] = 0
        for run in range(n_runs):
            accumulate(together, sums[rdm, run])
        pair = 0
        for i in range(n_conditions):
            within = 0.0
            for run in range(n_runs):
                within += sums[rdm, run, i] ** 2
            squares[rdm, i] -= (together[i] ** 2 - within) / n_features[rdm]
            energies[rdm, i] -= within / n_features[rdm]
            row = products[rdm, pair : pair + n_conditions - 1 - i]
            scale = together[i] / n_features[rdm]
            for j in range(len(row)):
                row[j] -= scale * together[i + 1 + j]
            for run in range(n_runs):
                scale = sums[rdm, run, i] / n_features[rdm]
                others = sums[rdm, run, i + 1 :]
                for j in range(len(row)):
                    row[j] += scale * others[j]
            pair += len(row)


# ------------------------------------------------------------------------------------- dissimilarities


@compiled
def normalised(products, squares, sums, n_features, off_by):
    """Return 1 - products / roots of the squares, the products of sums over the number of features taken out before.

    Shapes as in `rsa.distances.CrossProducts`, with one axis of RDMs; `off_by`, shape (n_rdms, n_conditions), bounds
    the rounding errors of the squares without those of sums. Ratios that rounding may have put off 1 are 1; pairs with
    a condition whose square rounding may have made of 0 are NaN.
    """
    n_rdms, n_conditions = squares.shape
    out = np.empty_like(products)
    mean, scale, share = np.empty(n_conditions), np.empty(n_conditions), np.empty(n_conditions)
    for rdm in range(n_rdms):
        for i in range(n_conditions):
            mean[i] = sums[rdm, i] / np.sqrt(n_features[rdm])
            square = squares[rdm, i] - mean[i] * mean[i]
            scale[i] = 1 / np.sqrt(square) if square > off_by[rdm, i] else np.nan
            share[i] = off_by[rdm, i] / square
        pair = 0
        for i in range(n_conditions - 1):
            n = n_conditions - 1 - i
            values, others, scales, shares = (
                products[rdm, pair : pair + n],
                mean[i + 1 :],
                scale[i + 1 :],
                share[i + 1 :],
            )
            result, highest = out[rdm, pair : pair + n], 1 - share[i]
            for j in range(n):
                ratio = (values[j] - mean[i] * others[j]) * (scale[i] * scales[j])
                result[j] = 0.0 if ratio >= highest - shares[j] else (2.0 if ratio <= -1 else 1 - ratio)
            pair += n
    return out


@compiled
def differences(products, squares, off_by, signed):
    """Return the squares of both conditions minus twice their products; 0 where rounding may have made it of 0.

    Shapes as in `rsa.distances.CrossProducts`, with one axis of RDMs; `off_by`, shape (n_rdms, n_conditions), bounds
    the rounding errors of the squares. Without `signed`, none is below 0.
    """
    n_rdms, n_conditions = squares.shape
    out = np.empty_like(products)
    for rdm in range(n_rdms):
        pair = 0
        for i in range(n_conditions - 1):
            n = n_conditions - 1 - i
            values, others, result = products[rdm, pair : pair + n], squares[rdm, i + 1 :], out[rdm, pair : pair + n]
            errors = off_by[rdm, i + 1 :]
            for j in range(n):
                difference, error = squares[rdm, i] + others[j] - 2 * values[j], 2 * (off_by[rdm, i] + errors[j])
                size = abs(difference) if signed else difference
                result[j] = 0.0 if size <= error else difference
            pair += n
    return out


# ----------------------------------------------------------------------------------------------- ranks


def rank_rows(rdms: Array, lowest: float, tie: float) -> Array:
    """Rank each row from `lowest` up, ties by their average rank; a row with NaN becomes NaN.

    Neighbours in ascending order that differ by at most `tie` times the largest absolute value are ties.

    Two counting passes bring the values of a row into the order of keys of some 20 bits; only where keys are equal or
    next to each other, at a few values in a hundred, are the values themselves looked at.
    """
    n_rdms, n_pairs = rdms.shape
    place_bits = max(1, (n_pairs - 1).bit_length())
    short = place_bits <= 13
    words, spare = np.empty((2, n_pairs), np.uint32 if short else np.int64)
    ranks = np.empty((n_rdms, n_pairs))
    ends = rdms.min(axis=1, initial=np.inf), rdms.max(axis=1, initial=-np.inf)
    rank_each(rdms, *ends, lowest, tie, place_bits, 32 - place_bits if short else place_bits + 7, words, spare, ranks)
    return ranks


@compiled
def rank_drawn(orders, ties, counts, slots, roots, ranked):
    """Rank what was drawn of RDMs, each pair as often as it was, about a mean of 0; times the root of how often.

    Parameters
    ----------
    orders : array of int, shape (n_rdms, n_pairs)
        Pairs in ascending order of their dissimilarity.
    ties : array of bool, shape (n_rdms, n_pairs)
        Whether the pair at this place of the order ties with the one before.
    counts : array of int, shape (n_pairs,)
        How often each pair was drawn.
    slots : array of int, shape (n_pairs,)
        Column of each pair that was drawn.
    roots : array, shape (n_drawn,)
        Root of how often the pair of each column was drawn.
    ranked : array, shape (n_rdms, n_drawn)
        The result.
    """
    n_rdms, n_pairs = orders.shape
    middle = (counts.sum() + 1) / 2
    for row in range(n_rdms):
        order, tie = orders[row], ties[row]
        below, start = 0, 0
        while start < n_pairs:
            n_tied, stop = counts[order[start]], start + 1
            while stop < n_pairs and tie[stop]:
                n_tied += counts[order[stop]]
                stop += 1
            if n_tied:
                rank = below + (n_tied + 1) / 2 - middle
                for place in range(start, stop):
                    pair = order[place]
                    if counts[pair]:
                        ranked[row, slots[pair]] = rank * roots[slots[pair]]
            below += n_tied
            start = stop


@compiled
def rank_each(rdms, lows, highs, lowest, tie, place_bits, key_bits, words, spare, ranks):
    low_counts, high_counts = np.empty(2 ** (key_bits // 2), np.uint32), np.empty(2 ** ((key_bits + 1) // 2), np.uint32)
    near = np.empty(rdms.shape[1], np.int64)
    in_word = 2**place_bits - 1
    for row in range(len(rdms)):
        values, out = rdms[row], ranks[row]
        low, high = lows[row], highs[row]
        if not np.isfinite(high - low):
            out[:] = np.nan
            continue
        noise = max(abs(low), abs(high)) * tie
        scale = (2.0**key_bits - 1) / (high - low) if high > low else 0.0
        if high - low < noise * 2.0**key_bits:  # neighbouring keys are closer than ties: order all by value
            settle(values, np.arange(len(values)), lowest, noise, out)
            continue
        sort_by_keys(values, low, scale, place_bits, words, spare, low_counts, high_counts, lowest, out)
        start = 0
        for place in range(1, len(values) + 1):
            if place < len(values) and key_of(words[place], place_bits) - key_of(words[place - 1], place_bits) <= 1:
                continue
            if place - start == 2:
                settle_pair(values, np.int64(words[start]) & in_word, np.int64(words[start + 1]) & in_word, noise, out)
            elif place - start > 2:
                for i in range(start, place):
                    near[i - start] = np.int64(words[i]) & in_word
                settle(values, near[: place - start], start + lowest, noise, out)
            start = place


@compiled
def key_of(word, place_bits):
    return np.int64(word) >> place_bits


@compiled
def sort_by_keys(values, low, scale, place_bits, words, spare, low_counts, high_counts, lowest, out):
    """Sort words of a key and a place by their keys, first by the lower digit, then by the upper; rank the places."""
    low_size, n_values = len(low_counts), len(values)
    low_bits = 0
    while 2**low_bits < low_size:
        low_bits += 1
    low_counts[:] = 0
    high_counts[:] = 0
    for place in range(n_values):
        spare[place] = (np.int64((values[place] - low) * scale) << place_bits) | place
    for place in range(n_values):
        key = key_of(spare[place], place_bits)
        low_counts[key & (low_size - 1)] += 1
        high_counts[key >> low_bits] += 1
    first_places(low_counts)
    first_places(high_counts)
    for place in range(n_values):
        word = np.int64(spare[place])
        digit = (word >> place_bits) & (low_size - 1)
        target = np.int64(low_counts[digit])
        low_counts[digit] = target + 1
        words[target] = word
    spare[:] = words
    in_word = 2**place_bits - 1
    for place in range(n_values):
        word = np.int64(spare[place])
        digit = word >> (place_bits + low_bits)
        target = np.int64(high_counts[digit])
        high_counts[digit] = target + 1
        words[target] = word
        out[word & in_word] = target + lowest


@compiled
def first_places(counts):
    """Turn how often each digit comes into the place where its first word goes."""
    before = np.int64(0)
    for digit in range(len(counts)):
        count = np.int64(counts[digit])
        counts[digit] = before
        before += count


@compiled
def settle_pair(values, a, b, noise, out):
    """Put two places whose keys are equal or neighbours into the order of their values, or tie them."""
    step = values[b] - values[a]
    if step < -noise:
        out[a], out[b] = out[b], out[a]
    elif step <= noise:
        out[a] = out[b] = (out[a] + out[b]) / 2


@compiled
def settle(values, places, lowest, noise, out):
    """Rank some places by their values, from `lowest` up."""
    some = values[places]
    order = np.argsort(some)
    first = 0
    for i in range(1, len(places) + 1):
        if i == len(places) or some[order[i]] - some[order[i - 1]] > noise:
            for tied in range(first, i):
                out[places[order[tied]]] = (first + i - 1) / 2 + lowest
            first = i


# ----------------------------------------------------------------------------------------- concordance


@compiled
def concordance(a, b):
    """Count concordant less discordant pairs of entries for all rows of `a` and of `b`, given ranks; (n_a, n_b).

    Entries are met in the order of one row; those met before that are higher in the other row are discordant with the
    new one [1]_. How many they are is read from counts at three scales: 64 entries to a word, 64 words to a group, and
    the groups. Rows with NaN give NaN.

    References
    ----------
    .. [1] Knight WR (1966). A computer method for calculating Kendall's tau with ungrouped data. J Am Stat Assoc
       61:436-439.
    """
    n = a.shape[1]
    n_groups = n // 4096 + 1
    words = np.empty(64 * n_groups, np.uint64)
    in_group, groups = np.empty(64 * n_groups, np.int32), np.empty(n_groups, np.int32)
    order, slot, end = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)
    slots, ends, ties_b = np.empty(b.shape, np.int32), np.empty(b.shape, np.int32), np.full(len(b), np.nan)
    for j in range(len(b)):
        if not np.isnan(b[j, 0]):
            ties_b[j] = sort_ranks(b[j], order, slots[j], ends[j])
    out = np.full((len(a), len(b)), np.nan)
    for i in range(len(a)):
        if np.isnan(a[i, 0]):
            continue
        ties_a = sort_ranks(a[i], order, slot, end)
        for j in range(len(b)):
            if not np.isnan(ties_b[j]):
                discordant, ties_both = count_discordant(order, end, slots[j], ends[j], words, in_group, groups)
                out[i, j] = n * (n - 1) / 2 - ties_a - ties_b[j] + ties_both - 2 * discordant
    return out


@compiled
def most_concordant(rows):
    """Return the concordant less discordant pairs of entries that no row can exceed with these rows on average, int32.

    Of each pair of entries, a row can have the order of the majority at most [1]_; not all majorities need fit into
    one row.

    References
    ----------
    .. [1] Kemeny JG (1959). Mathematics without numbers. Daedalus 88:577-591.
    """
    n_rows, n = rows.shape
    total = 0
    for i in range(n - 1):
        majority = np.zeros(n - 1 - i, np.int32)
        for row in range(n_rows):
            entry, later = rows[row, i], rows[row, i + 1 :]  # apart: so the inner loop takes several at once
            for j in range(len(later)):
                majority[j] += np.int32(entry > later[j]) - np.int32(entry < later[j])
        total += np.abs(majority).sum()
    return total / n_rows


@compiled
def sort_ranks(ranks, order, slot, end):
    """Sort ranks, which are multiples of one half, by counting; return the number of tied pairs.

    `order` lists the entries in ascending order, `slot` says where in it each entry is, `end` where its ties end.
    """
    starts = np.zeros(2 * len(ranks) + 2, np.int64)
    for rank in ranks:
        starts[np.int64(2 * rank) + 1] += 1
    ties = 0.0
    for key in range(1, len(starts)):
        ties += starts[key] * (starts[key] - 1) / 2
        starts[key] += starts[key - 1]
    for entry in range(len(ranks)):
        end[entry] = starts[np.int64(2 * ranks[entry]) + 1]
    for entry in range(len(ranks)):
        key = np.int64(2 * ranks[entry])
        slot[entry] = starts[key]
        order[starts[key]] = entry
        starts[key] += 1
    return ties


@compiled
def count_discordant(order, end, slot, other_end, words, in_group, groups):
    """Count pairs that two rows put into opposite orders, and pairs that are tied in both."""
    words[:] = 0
    in_group[:] = 0
    groups[:] = 0
    discordant, ties_both, first = 0, 0.0, 0
    while first < len(order):
        last = end[order[first]]
        for entry in order[first:last]:
            discordant += first - count_below(other_end[entry], words, in_group, groups)
        for entry in order[first:last]:
            count_in(slot[entry], words, in_group, groups)
        if last - first > 1:
            tied = np.sort(other_end[order[first:last]])
            start = 0
            for place in range(1, len(tied) + 1):
                if place == len(tied) or tied[place] != tied[start]:
                    ties_both += (place - start) * (place - start - 1) / 2
                    start = place
        first = last
    return discordant, ties_both


@compiled
def count_below(slot, words, in_group, groups):
    """Count the entries in slots below this one."""
    word = slot >> 6
    below = words[word] & ((np.uint64(1) << np.uint64(slot & 63)) - np.uint64(1))
    return groups[word >> 6] + in_group[word] + count_bits(below)


@compiled
def count_in(slot, words, in_group, groups):
    """Put an entry into its slot, and into the counts of all words of its group and of all groups that come after."""
    word = slot >> 6
    words[word] |= np.uint64(1) << np.uint64(slot & 63)
    for later in range(word + 1, ((word >> 6) + 1) << 6):
        in_group[later] += 1
    for later in range((word >> 6) + 1, len(groups)):
        groups[later] += 1


@compiled
def count_bits(word):
    """Add up the bits of a word in pairs, fours and eights; compilers know this form as one instruction."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


# ---------------------------------------------------------------------------------------- permutations


@compiled
def permute(squareforms, orders):
    """Put the conditions of RDMs into other orders.

    Parameters
    ----------
    squareforms : array, shape (n_rdms, n_conditions, n_conditions)
    orders : array of int, shape (n_orders, n_conditions)

    Returns
    -------
    array, shape (n_orders * n_rdms, n_pairs)
        Condensed; all RDMs in the first order, all in the second, ...
    """
    n_rdms, n_conditions, _ = squareforms.shape
    out = np.empty((len(orders) * n_rdms, n_conditions * (n_conditions - 1) // 2), squareforms.dtype)
    for i in range(len(orders)):
        order = orders[i]
        for rdm in range(n_rdms):
            row, pair = out[i * n_rdms + rdm], 0
            for a in range(n_conditions - 1):
                source = squareforms[rdm, order[a]]
                for b in range(a + 1, n_conditions):
                    row[pair] = source[order[b]]
                    pair += 1
    return out


@compiled
def count_permuted(permuted, thresholds, two_sided, exceedances, sums, squares, maxima):
    """Count the permuted statistics that reach a threshold, add them up, and keep the highest of each permutation.

    Parameters
    ----------
    permuted : array of float32, shape (n_orders, n_rows, n_columns)
    thresholds, exceedances, sums, squares : arrays, shape (n_rows, n_columns)
    two_sided : bool
        Whether sizes are counted, whatever their signs.
    maxima : array, shape (n_orders, n_rows)
    """
    n_orders, n_rows, n_columns = permuted.shape
    for order in range(n_orders):
        for row in range(n_rows):
            values, least = permuted[order, row], thresholds[row]
            count, total, square, highest = exceedances[row], sums[row], squares[row], maxima[order, row]
            for column in range(n_columns):
                value = values[column]
                total[column] += value
                square[column] += np.float64(value) * value
                size = abs(value) if two_sided else value
                count[column] += size >= least[column]
                highest = size if size > highest else highest
            maxima[order, row] = highest


# ----------------------------------------------------------------------------- flips and orders of subjects


@compiled
def transformed_statistics(scaled, weights, degrees_of_freedom, statistics):
    """Compute a statistic over subjects under some transforms of them, in sums whose order never changes.

    Parameters
    ----------
    scaled : array, shape (n_subjects, n_tests), float32
        Subjects' scores, scaled; n_subjects is a multiple of 4 (rows of 0 fill it up).
    weights : array, shape (n_transforms, 1 + n_nuisance, n_subjects), float32
        What is tested, and what is adjusted for, under each transform.
    degrees_of_freedom : float32
        Of t; 0 for a statistic that is the weighted sum u itself, over the root of what nuisance leaves.
    statistics : array, shape (n_transforms, n_tests), float32
        The result: u, or u sqrt(df / (1 - u^2)), where u = w_0 x / sqrt(1 - (w_1 x)^2 - ...).
    """
    n_tests = scaled.shape[1]
    rest, part = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    for start in range(0, n_tests, TILE):
        stop = min(start + TILE, n_tests)
        for transform in range(len(weights)):
            some = statistics[transform, start:stop]
            transformed_statistic(scaled, weights[transform], degrees_of_freedom, start, some, rest, part)


@compiled
def count_transformed(
    scaled, weights, degrees_of_freedom, factors, first, last, thresholds, two_sided, exceedances, maxima
):
    """Count the statistics under some transforms that reach a threshold, and keep the highest of each; none is kept.

    Parameters
    ----------
    scaled, weights, degrees_of_freedom
        As in `transformed_statistics`.
    factors : array, shape (n_tests,), float32
        What sums are multiplied by.
    first, last : int
        The columns to work on.
    thresholds, exceedances : arrays, shape (n_tests,)
    two_sided : bool
        Whether sizes are counted, whatever their signs.
    maxima : array, shape (n_transforms,), float32
        The highest of each so far; NaN is not looked at.
    """
    lowest = np.float32(-np.inf)
    rest, part, found = np.empty(TILE, np.float32), np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    for start in range(first, last, TILE):
        stop = min(start + TILE, last)
        n = stop - start
        values, least, counts, factor = found[:n], thresholds[start:stop], exceedances[start:stop], factors[start:stop]
        for transform in range(len(weights)):
            transformed_statistic(scaled, weights[transform], degrees_of_freedom, start, values, rest, part)
            for i in range(n):
                value = values[i] * factor[i]
                size = abs(value) if two_sided else value
                counts[i] += size >= least[i]
                values[i] = size if size > lowest else lowest
            left = n  # the highest, by halves, which are compared many at a time
            while left > 1:
                half = (left + 1) // 2
                for i in range(left - half):
                    values[i] = values[i] if values[i] > values[half + i] else values[half + i]
                left = half
            maxima[transform] = max(maxima[transform], values[0])


@compiled
def transformed_statistic(scaled, weights, degrees_of_freedom, start, u, rest, part):
    """Compute the statistic of some columns, from `start` on, under one transform; see `transformed_statistics`."""
    n, one, least = len(u), np.float32(1), np.float32(SMALLEST_REST)
    sum_weighted(scaled, weights[0], start, u)
    if len(weights) > 1:
        rest[:] = one
        some = part[:n]
        for row in range(1, len(weights)):
            sum_weighted(scaled, weights[row], start, some)
            for i in range(n):
                rest[i] -= some[i] * some[i]
        for i in range(n):
            u[i] /= np.sqrt(least if rest[i] < least else rest[i])
    if degrees_of_freedom > 0:
        for i in range(n):
            left = (one - u[i]) * (one + u[i])
            u[i] *= np.sqrt(degrees_of_freedom / (least if left < least else left))


@compiled
def sum_weighted(scaled, weights, start, sums):
    """Sum the weighted rows of some columns, from `start` on, into `sums`."""
    n = len(sums)
    stop = start + n
    for s in range(0, len(weights), 4):
        a, b, c, d = weights[s], weights[s + 1], weights[s + 2], weights[s + 3]
        first, second = scaled[s, start:stop], scaled[s + 1, start:stop]
        third, fourth = scaled[s + 2, start:stop], scaled[s + 3, start:stop]
        if s == 0:
            for i in range(n):
                sums[i] = (a * first[i] + b * second[i]) + (c * third[i] + d * fourth[i])
        else:
            for i in range(n):
                sums[i] += (a * first[i] + b * second[i]) + (c * third[i] + d * fourth[i])
