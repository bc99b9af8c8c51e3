"""Which channels of a layer carry its fit to a region? Each by itself, the layer without it, and the best together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import pandas as pd

from rsa.comparisons import Comparison
from rsa.core import FEWEST_CONDITIONS, Array, RDMs
from rsa.distances import BLOCK, DISTANCES, CrossProducts, Distance, ProductSums, rdm_vectors, rounding_errors
from rsa.inference.permutation import orders_of

__all__ = [
    "BEST_COLUMNS",
    "CHANNEL_COLUMNS",
    "BestChannels",
    "Compared",
    "OwnScores",
    "best_channels",
    "best_in_orders",
    "best_rows",
    "channel_rows",
    "corrected_p",
    "own_scores",
    "p_of_orders",
    "rdm_of_channel",
    "scores_on_halves",
    "scores_without",
    "without_gaps",
]

LOST = 1e-6
"""What is left without a channel is computed from the others, where it is a smaller share of the squares of all: of a
difference of sums, digits would be lost."""

AT_ONCE = 2**21
"""So many dissimilarities are compared at once."""

MOST_KEPT = 2**26
"""Of so many dissimilarities (256 MiB) scores are found together in each order of the conditions: orders take time."""

MOST_SUMMED = 2**25
"""So many products of two conditions in a channel (256 MiB) are kept; of more, those of each half are made anew."""

MOST_TESTED = 250
"""In so many other orders of the conditions channels are chosen and scored anew, in each split."""

SAME = 1e-6
"""Mean scores that differ by less than this, the rounding of single precision, are equal."""

LEVEL = 0.95
"""Of intervals."""

CHANNEL_COLUMNS = {
    "region": "Region of interest",
    "layer": "Layer of the network",
    "unit": "Number of the channel in its layer, from 0: of the unit, in a layer without space",
    "rank": "Place among the channels of the layer in this region, 1 for the highest own score",
    "own_score": "How like the RDM of the channel by itself, over all its places, is to that of the region, mean over "
    "subjects. Conditions in which it is silent are equal (0), and have nothing in common with others (1); of a single "
    "unit it is the RDM of differences",
    "own_lower": "95 % confidence interval of this mean over subjects, lower bound",
    "own_upper": "95 % confidence interval of this mean over subjects, upper bound",
    "p_corrected": "p of the own score under other orders of the conditions, one-sided, corrected for all channels of "
    "the layer in this region by the highest of each order; none by Kendall's tau, which is no product of RDMs",
    "loss": "What the fit of the layer loses without the channel: score of the whole layer less that of the layer "
    "without it, mean over subjects; below 0, the layer fits better without",
    "loss_lower": "95 % confidence interval of this mean over subjects, lower bound",
    "loss_upper": "95 % confidence interval of this mean over subjects, upper bound",
}
"""The columns of the table of channels, and what they are."""

BEST_COLUMNS = {
    "region": "Region of interest",
    "layer": "Layer of the network",
    "n_channels": "Number of channels of the layer",
    "n_best": "Number of channels that are chosen",
    "score_layer": "Fit of all channels of the layer with all conditions: mean over subjects. As in the table of fits, "
    "if all units of the layer count there",
    "layer_lower": "95 % confidence interval of this mean over subjects, lower bound",
    "layer_upper": "95 % confidence interval of this mean over subjects, upper bound",
    "score_best": "Fit of the channels that are best on one half of the conditions, together, on the other half: mean "
    "over splits, both ways, and subjects. Their distances are those of the layer; conditions in which all of them are "
    "silent are equal (0), and have nothing in common with others (1)",
    "best_lower": "95 % confidence interval of this mean over subjects, lower bound",
    "best_upper": "95 % confidence interval of this mean over subjects, upper bound",
    "score_best_not_cross_validated": "Fit of the channels that are best with all conditions, with the same "
    "conditions; it is too high",
    "p": "p of score_best, one-sided: channels are chosen and scored anew in 250 other orders of the conditions, or in "
    "all if there are fewer; none by Kendall's tau, which is no product of RDMs",
    "p_corrected": "The same, corrected for all layers of the network in this region by the highest of each order",
    "score_layer_halves": "Fit of the whole layer on the same halves",
    "less_layer": "score_best less score_layer_halves",
    "less_layer_lower": "95 % confidence interval of this difference over subjects, lower bound",
    "less_layer_upper": "95 % confidence interval of this difference over subjects, upper bound",
    "score_random": "Fit of as many random channels together, on the same halves",
    "random_lower": "95 % confidence interval of this mean over subjects, lower bound",
    "random_upper": "95 % confidence interval of this mean over subjects, upper bound",
    "less_random": "score_best less score_random",
    "less_random_lower": "95 % confidence interval of this difference over subjects, lower bound",
    "less_random_upper": "95 % confidence interval of this difference over subjects, upper bound",
    "shared": "Share of the channels that are best on one half of the conditions which are best on the other as well; "
    "by chance n_best / n_channels",
    "best": "The channels that are best with all conditions, the best first",
    "n_subjects": "Number of subjects",
    "n_conditions": "Number of conditions, of which each half has half",
}
"""The columns of the table of the best channels, and what they are."""


# ----------------------------------------------------------------------------------------- what is compared


def without_gaps(regions: RDMs) -> RDMs:
    """Leave out the RDMs of regions that have gaps or are constant, with which nothing can be compared."""
    values = regions.values
    return regions.subset(np.isfinite(values).all(axis=1) & (np.ptp(values, axis=1) > 0))


@dataclass(frozen=True, eq=False)
class Compared:
    """RDMs of regions, prepared to be compared with any others: on all pairs, and on those of halves of the conditions.

    Parameters
    ----------
    regions : RDMs
        One per subject and region, without gaps: the table has `subject` and `region`.
    comparison : Comparison
        How RDMs are compared.
    halves : array of bool, shape (n_halves, n_conditions)
        See `rsa.inference.ranking.halves_of`; there may be none.
    n_permutations, seed : int
        How many other orders of the conditions there are for tests; none by default.
    """

    regions: RDMs
    comparison: Comparison
    halves: Array
    n_permutations: int = 0
    seed: int = 0

    @cached_property
    def pairs(self) -> list[Array]:
        """Which pairs have both conditions in each half."""
        first, second = np.triu_indices(len(self.regions.conditions), 1)
        return [np.flatnonzero(half[first] & half[second]) for half in self.halves]

    @cached_property
    def rows(self) -> dict[str, Array]:
        """Which RDMs are those of each region."""
        return {str(name): rows for name, rows in self.regions.table.groupby("region", sort=False).indices.items()}

    @cached_property
    def _on_all(self) -> Array:
        return self.comparison.prepare(self.regions.values)

    @cached_property
    def _on_halves(self) -> list[Array]:
        return [self.comparison.prepare(self.regions.values[:, pairs]) for pairs in self.pairs]

    @cached_property
    def orders(self) -> Array:
        """Other orders of the conditions, shape (n_orders, n_conditions); none where scores are no products of RDMs."""
        n = len(self.regions.conditions)
        if not self.n_permutations or self.comparison.scaled is None:
            return np.zeros((0, n), dtype=int)
        return orders_of(n, self.n_permutations, (self.seed, 11)).values

    @cached_property
    def _means(self) -> Array:
        """Of each region what the mean score over subjects is a product with, shape (n_regions, n_pairs)."""
        scaled = cast("Callable[[Array], Array]", self.comparison.scaled)
        return np.stack([scaled(self._on_all[rows]).mean(axis=0) for rows in self.rows.values()])

    @cached_property
    def tested(self) -> Array:
        """The order of the conditions as it is, and some of the others, shape (1 + n_tested, n_conditions)."""
        return np.concatenate([np.arange(self.orders.shape[1])[None], self.orders[:MOST_TESTED]])

    def scaled(self, rdms: Array) -> Array:
        """Return those RDMs that vary, scaled so that scores are products, (n_varying, n_pairs), single precision."""
        if self.comparison.scaled is None or not len(self.orders):
            return np.zeros((0, rdms.shape[1]), np.float32)
        scaled = self.all_scaled(rdms)
        return scaled[np.isfinite(scaled).all(axis=1)]

    def all_scaled(self, rdms: Array) -> Array:
        """Return RDMs scaled so that scores are products, (n_rdms, n_pairs), single precision; NaN where constant."""
        scale = cast("Callable[[Array], Array]", self.comparison.scaled)
        return np.asarray(scale(self.comparison.prepare(rdms)), dtype=np.float32)

    def places(self, half: int, orders: Array) -> Array:
        """Return where the entries of pairs of a half are in square RDMs whose conditions are in other orders.

        Parameters
        ----------
        half : int
            Number of the half.
        orders : array, shape (n_orders, n_conditions)

        Returns
        -------
        array of int, shape (n_orders, n_pairs of the half)
        """
        first, second = (one[self.pairs[half]] for one in np.triu_indices(orders.shape[1], 1))
        return np.asarray(orders[:, first] * orders.shape[1] + orders[:, second])

    def moved(self, row: int, places: Array) -> Array:
        """Return the mean of the scaled RDMs of a region on a half, its conditions in other orders: as `places`.

        It is times the root of the number of all pairs over that of the half, so that products with scaled RDMs of the
        half are about scores.
        """
        scale = np.float32(np.sqrt(self.regions.values.shape[1] / places.shape[1]))
        return np.asarray(scale * self._squares[row].ravel().take(places), dtype=np.float32)

    @cached_property
    def _squares(self) -> Array:
        """The means of scaled RDMs as square matrices, (n_regions, n_conditions, n_conditions)."""
        n = len(self.regions.conditions)
        first, second = np.triu_indices(n, 1)
        squares = np.zeros((len(self.rows), n, n), np.float32)
        squares[:, first, second] = squares[:, second, first] = self._means
        return squares

    def highest(self, scaled: Array) -> Array:
        """Return the highest mean score of any of some RDMs in each other order of the conditions.

        The mean over subjects of products with their RDMs is the product with the mean of their RDMs, so one product
        serves all subjects. Rows and columns of RDMs of regions change places together.

        Parameters
        ----------
        scaled : array, shape (n_others, n_pairs)
            From `scaled`.

        Returns
        -------
        array, shape (n_regions, n_orders)
        """
        highest = np.full((len(self.rows), len(self.orders)), -np.inf)
        n = self.orders.shape[1]
        first, second = np.triu_indices(n, 1)
        upper, size = first * n + second, max(1, AT_ONCE // len(first))
        for row, square in enumerate(self._squares if len(scaled) else ()):
            for start in range(0, len(self.orders), size):
                some = self.orders[start : start + size]
                moved = np.stack([square[order][:, order].ravel()[upper] for order in some])  # (n_some, n_pairs)
                highest[row, start : start + size] = (scaled @ moved.T).max(axis=0)
        return highest

    def scores(self, rdms: Array) -> Array:
        """Score all RDMs of regions with others: (n_others, n_pairs) -> (n_rdms, n_others)."""
        return self.comparison.score(self._on_all, self.comparison.prepare(rdms))

    def scores_on(self, half: int, rdms: Array) -> Array:
        """Do the same on a half of the conditions, with RDMs over these: (n_others, n_pairs of the half)."""
        return self.comparison.score(self._on_halves[half], self.comparison.prepare(rdms))

    def scores_of_known(self, rdm: Array, rows: Array, half: int | None = None) -> Array:
        """Score some RDMs of regions with one, (n_pairs,), on the pairs that it has; NaN if these are too few.

        Parameters
        ----------
        rdm : array
            With all conditions, or those of a half; NaN where it is not defined.
        rows : array of int
            Which RDMs of regions.
        half : int, optional
            Number of the half.
        """
        known: Array = np.isfinite(rdm)
        if known.sum() < FEWEST_CONDITIONS:
            return np.full(len(rows), np.nan)
        if known.all():
            prepared = (self._on_all if half is None else self._on_halves[half])[rows]
        else:
            values = self.regions.values[rows]
            prepared = self.comparison.prepare((values if half is None else values[:, self.pairs[half]])[:, known])
        return self.comparison.score(prepared, self.comparison.prepare(rdm[known][None]))[:, 0]


# ----------------------------------------------------------------------------------------- single channels


@dataclass(frozen=True, eq=False)
class OwnScores:
    """How like the RDMs of channels are to those of regions.

    Parameters
    ----------
    on_all : array, shape (n_rdms, n_channels)
        Scores with all conditions. NaN where the RDM of a channel is constant: that of a dead one, say.
    on_halves : array, shape (n_halves, n_regions, n_channels)
        On each half of the conditions, means over subjects.
    highest : dict
        Region -> the highest mean score of any channel in other orders of the conditions, shape (n_orders,).
    """

    on_all: Array
    on_halves: Array
    highest: dict[str, Array]


def own_scores(responses: Array, compared: Compared, distance: Distance) -> OwnScores:
    """Compare the RDM of each channel with those of regions.

    Parameters
    ----------
    responses : array, shape (n_conditions, n_channels, n_places)
        Of a layer.
    compared : Compared
        The RDMs of regions.
    distance : Distance
        How dissimilar two conditions are in a channel, over its places: as in the layer (see `rdm_of_channel`).
    """
    n_rdms, n_channels = len(compared.regions), responses.shape[1]
    on_all, on_halves = np.empty((n_rdms, n_channels)), np.empty((len(compared.pairs), len(compared.rows), n_channels))
    highest = np.full((len(compared.rows), len(compared.orders)), -np.inf)
    scaled: list[Array] = []
    for channels in _some_at_once(responses):
        rdms = np.stack([rdm_of_channel(responses[:, channel], distance) for channel in channels])
        on_all[:, channels] = compared.scores(rdms)
        for half, pairs in enumerate(compared.pairs):
            of_half = compared.scores_on(half, rdms[:, pairs])
            on_halves[half][:, channels] = [of_half[rows].mean(axis=0) for rows in compared.rows.values()]
        scaled.append(compared.scaled(rdms))
        if sum(one.size for one in scaled) > MOST_KEPT or channels[-1] == n_channels - 1:
            np.maximum(highest, compared.highest(np.concatenate(scaled)), out=highest)
            scaled = []
    return OwnScores(on_all, on_halves, dict(zip(compared.rows, highest, strict=True)))


def rdm_of_channel(responses: Array, distance: Distance) -> Array:
    """Return the RDM, shape (n_pairs,), of the responses of a channel, or of several side by side.

    Responses have the shape (n_conditions, n_places). Many channels are silent in some conditions: all their places
    respond alike, mostly with 0. Such patterns have no correlation with others. Here two of them are equal, at a
    distance of 0, and one has nothing in common with a pattern that is not silent, at a distance of 1. Without space a
    channel is one number, which has neither correlation nor angle; its distances are differences.

    Examples
    --------
    >>> from rsa.distances import DISTANCES
    >>> rdm_of_channel(np.array([[0, 0, 0], [1, 2, 3], [0, 0, 0], [3, 2, 1]]), DISTANCES["correlation"])
    array([1., 0., 1., 1., 2., 1.])
    >>> rdm_of_channel(np.array([[1], [3], [6]]), DISTANCES["correlation"])
    array([2., 5., 3.])
    """
    if responses.shape[1] == 1 and distance.origin != "feature":
        return rdm_vectors(responses, DISTANCES["euclidean"])
    rdm = rdm_vectors(responses, distance)
    gaps: Array = np.isnan(rdm)
    if gaps.any():
        answers = np.ptp(responses, axis=1) > 0 if distance.origin == "pattern" else (responses != 0).any(axis=1)
        first, second = np.triu_indices(len(responses), 1)
        rdm[gaps] = (answers[first] | answers[second])[gaps]
    return rdm


def scores_without(responses: Array, compared: Compared, distance: Distance) -> tuple[Array, Array]:
    """Compare the RDM of a layer, and its RDM without each channel, with those of regions.

    The distances of a layer follow from sums over its units of the products of two conditions. Those of the layer
    without a channel are the sums of all less the sums of the channel, so the layer is passed twice, and not once for
    each channel.

    Parameters
    ----------
    responses, compared
        As in `own_scores`.
    distance : Distance
        How dissimilar two conditions are in a layer.

    Returns
    -------
    whole : array, shape (n_rdms,)
        Scores of the layer.
    without : array, shape (n_rdms, n_channels)
        Scores of the layer without each channel. NaN where its RDM is not defined, or there is no other channel.
    """
    n_channels, total = responses.shape[1], sums_of(responses, distance)
    whole = compared.scores(distance.from_products(total.done())[None])[:, 0]
    without = np.full((len(compared.regions), n_channels), np.nan)
    for channels in _some_at_once(responses) if n_channels > 1 else ():
        rdms = np.stack([distance.from_products(_products_without(responses, c, total)) for c in channels])
        without[:, channels] = compared.scores(rdms)
    return whole, without


def sums_of(responses: Array, distance: Distance) -> ProductSums:
    """Sum the products of a layer, (n_conditions, n_channels, n_places), over all its units."""
    total = ProductSums(distance.origin)
    total.add(responses.reshape(len(responses), -1))
    return total


def scores_on_halves(responses: Array, compared: Compared, distance: Distance) -> Array:
    """Compare the RDM of a layer with those of regions on halves of the conditions: mean over halves, (n_rdms,)."""
    rdm, rows = distance.from_products(sums_of(responses, distance).done()), np.arange(len(compared.regions))
    scores = [compared.scores_of_known(rdm[pairs], rows, half) for half, pairs in enumerate(compared.pairs)]
    return _mean_of_known(scores, len(rows))


def _products_without(responses: Array, channel: int, total: ProductSums) -> CrossProducts:
    """Return the cross-products of a layer without a channel, from those of all its channels."""
    features = _as_summed(responses[:, channel], total)
    gram, sums = total.gram - features @ features.T, total.sums - features.sum(axis=1)
    squares, squares_of_all = np.diag(gram), np.diag(total.gram)
    if (squares < LOST * squares_of_all).any():
        return _products_of_others(responses, channel, total.origin)
    off_by = rounding_errors(squares_of_all, min(total.n_features, BLOCK) + total.n_blocks + 1)
    n_features = np.asarray(total.n_features - features.shape[1])
    return CrossProducts(gram[np.triu_indices(len(gram), 1)], squares, sums, n_features, rounding=off_by)


def _products_of_others(responses: Array, channel: int, origin: str) -> CrossProducts:
    """Return the cross-products of all channels but one, summed anew."""
    others = ProductSums(origin)
    for other in range(responses.shape[1]):
        if other != channel:
            others.add(responses[:, other])
    return others.done()


def _as_summed(features: Array, total: ProductSums) -> Array:
    """Return features, (n_conditions, ...), less what was subtracted before they were multiplied."""
    values = np.array(features, dtype=np.float64)
    if total.origin == "pattern" and total.centre is not None:
        values -= total.centre.reshape(-1, *(1,) * (values.ndim - 1))
    elif total.origin == "feature":
        values -= values[:1].copy()
    return values


def _some_at_once(responses: Array) -> Iterator[list[int]]:
    """Divide channels, so that the RDMs of some are held at once."""
    n_conditions, n_channels = responses.shape[:2]
    size = max(1, AT_ONCE // max(1, n_conditions * (n_conditions - 1) // 2))
    for start in range(0, n_channels, size):
        yield list(range(start, min(start + size, n_channels)))


# --------------------------------------------------------------------------------------- the best together


@dataclass(frozen=True, eq=False)
class BestChannels:
    """The channels of a layer that are most like a region, and how well they fit together.

    Parameters
    ----------
    best : array of int, shape (n_best,)
        Those with all conditions, the best first.
    naive : array, shape (n_subjects,)
        Scores of these together, with all conditions.
    held_out, at_random : array, shape (n_subjects,)
        Scores on halves of the conditions, mean over halves: of the channels that are best on the other half together,
        and of as many random ones. NaN without halves.
    shared : float
        Share of the channels best on one half that are best on the other as well, mean over splits.
    """

    best: Array
    naive: Array
    held_out: Array
    at_random: Array
    shared: float


def best_channels(
    responses: Array,
    compared: Compared,
    region: str,
    own: OwnScores,
    distance: Distance,
    n_best: int,
    seed: int = 0,
) -> BestChannels:
    """Choose the channels that are most like a region, and score them together with other conditions.

    Of many channels some are like a region by chance, and the best are chosen for that as well. So channels are chosen
    on one half of the conditions, by their own mean scores over subjects, and their RDM together is scored on the
    other half, both ways.

    Parameters
    ----------
    responses, compared
        As in `own_scores`.
    region : str
        A region of `compared`.
    own : OwnScores
        From `own_scores`.
    distance : Distance
        How dissimilar two conditions are in several channels: as in the layer.
    n_best : int
        How many channels are chosen; fewer, where fewer have a score.
    seed : int
        Of random channels.
    """
    rows, rng = compared.rows[region], np.random.default_rng((seed, 7))
    on_all, on_halves = own.on_all[rows].mean(axis=0), own.on_halves[:, list(compared.rows).index(region)]
    best, chosen = _best(on_all, n_best), [_best(of_half, n_best) for of_half in on_halves]
    held_out, at_random = [], []
    for half, conditions in enumerate(compared.halves):
        others = chosen[half ^ 1]
        random = rng.permutation(np.flatnonzero(np.isfinite(on_halves[half ^ 1])))[: len(others)]
        held_out.append(compared.scores_of_known(_together(responses, others, distance, conditions), rows, half))
        at_random.append(compared.scores_of_known(_together(responses, random, distance, conditions), rows, half))
    shared = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(chosen[::2], chosen[1::2], strict=True) if len(a)]
    return BestChannels(
        best,
        compared.scores_of_known(_together(responses, best, distance), rows),
        _mean_of_known(held_out, len(rows)),
        _mean_of_known(at_random, len(rows)),
        float(np.mean(shared)) if shared else np.nan,
    )


def _best(scores: Array, n: int) -> Array:
    """Return the n highest scores, the highest first, of equals the first; none that is NaN."""
    order = np.argsort(-np.where(np.isnan(scores), -np.inf, scores), kind="stable")[:n]
    return order[~np.isnan(scores[order])]


def _together(responses: Array, channels: Array, distance: Distance, conditions: Array | None = None) -> Array:
    """Return the RDM of some channels together over some conditions, by default all, (n_pairs,); NaN of no channel."""
    rows = np.arange(len(responses)) if conditions is None else np.flatnonzero(conditions)
    if not len(channels):
        return np.full(len(rows) * (len(rows) - 1) // 2, np.nan)
    return rdm_of_channel(responses[np.ix_(rows, channels)].reshape(len(rows), -1), distance)


def _mean_of_known(values: Sequence[Array], n: int) -> Array:
    """Return the mean over halves of the scores that are defined, shape (n,)."""
    stacked = np.reshape(values, (-1, n)).astype(float)
    known = np.isfinite(stacked)
    means: Array = np.where(known, stacked, 0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    return means


def best_in_orders(responses: Array, compared: Compared, distance: Distance, n_best: int) -> dict[str, Array]:
    """Choose and score the best channels anew in other orders of the conditions of the regions.

    The mean score over subjects is a product with the mean of their scaled RDMs, which a product of RDMs of halves
    with the entries of the same pairs comes to as well, but for the scale of a half. So ranks of regions are those
    among all pairs here, and not those in each half. Sums of products of several channels, from which their distances
    follow, are sums of those of each.

    Parameters
    ----------
    responses, compared
        As in `own_scores`.
    distance : Distance
        How dissimilar two conditions are in several channels: as in the layer.
    n_best : int
        How many channels are chosen; fewer, where fewer have a score.

    Returns
    -------
    dict
        Region -> scores of the best channels with the conditions as they are, and in each other order: shape
        (1 + n_orders,), the first `MOST_TESTED` orders. Empty without halves or orders.
    """
    halves = compared.halves
    if not len(halves) or not len(compared.orders):
        return {}
    orders, total = compared.tested, sums_of(responses, distance)
    scores: dict[str, list[Array]] = {region: [] for region in compared.rows}
    of_half = _products_of_halves(responses, total, compared)
    for half in range(len(halves)):
        chosen = _chosen_in_orders(of_half(half ^ 1), compared, distance, half ^ 1, n_best)
        products = of_half(half)
        found = np.full((len(scores), len(orders)), np.nan)
        for some in _batches(len(orders), len(compared.pairs[half])):
            places = compared.places(half, orders[some])
            for row, of_region in enumerate(chosen):
                scaled = compared.all_scaled(_rdms_together(products, of_region[some], distance))
                found[row, some] = np.vecdot(scaled, compared.moved(row, places))
        for of_halves, values in zip(scores.values(), found, strict=True):
            of_halves.append(values)
    return {region: _mean_of_known(of_halves, len(orders)) for region, of_halves in scores.items()}


def _chosen_in_orders(
    products: "ChannelProducts", compared: Compared, distance: Distance, half: int, n_best: int
) -> list[Array]:
    """Choose channels on a half of the conditions in each order: for each region (1 + n_orders, n_best) of them."""
    channels, orders = np.arange(len(products.sums)), compared.tested
    parts = [channels[some, None] for some in _batches(len(channels), products.products.shape[1])]
    scaled = np.concatenate([compared.all_scaled(_rdms_together(products, part, distance)) for part in parts])
    known = np.flatnonzero(np.isfinite(scaled).all(axis=1))
    scaled, n = scaled[known], min(n_best, len(known))
    best = [np.empty((len(orders), n), dtype=int) for _ in compared.rows]
    for some in _batches(len(orders), scaled.shape[1]):
        places = compared.places(half, orders[some])
        for row, of_region in enumerate(best):
            scores = compared.moved(row, places) @ scaled.T  # (n_some, n_known)
            of_region[some] = np.argpartition(-scores, n - 1, axis=1)[:, :n] if 0 < n < len(known) else np.arange(n)
    return [known[of_region] for of_region in best]


@dataclass(frozen=True, eq=False)
class ChannelProducts:
    """Sums over the places of each channel of a layer, from which distances follow (see `CrossProducts`).

    Parameters
    ----------
    products : array, shape (n_channels, n_pairs)
    squares, sums : array, shape (n_channels, n_conditions)
    n_places : int
        Places of a channel.
    """

    products: Array
    squares: Array
    sums: Array
    n_places: int

    def of_half(self, pairs: Array, conditions: Array) -> "ChannelProducts":
        """Return those of some of the pairs and conditions."""
        of_conditions = self.squares[:, conditions], self.sums[:, conditions]
        return ChannelProducts(self.products[:, pairs], *of_conditions, self.n_places)


def _products_of_halves(responses: Array, total: ProductSums, compared: Compared) -> Callable[[int], ChannelProducts]:
    """Return what gives the products of each channel over the conditions of a half: summed once, if that fits."""
    n, n_channels = responses.shape[:2]
    if n_channels * n * (n - 1) // 2 > MOST_SUMMED:
        return lambda half: _products_of_channels(responses, total, compared.halves[half])
    every = _products_of_channels(responses, total, np.ones(n, dtype=bool))
    return lambda half: every.of_half(compared.pairs[half], compared.halves[half])


def _products_of_channels(responses: Array, total: ProductSums, conditions: Array) -> ChannelProducts:
    """Return the products of each channel over some conditions."""
    (_, n_channels, n_places), n = responses.shape, int(conditions.sum())
    products, sums = np.empty((n_channels, n * (n - 1) // 2)), np.empty((n_channels, n))
    squares, upper = np.empty((n_channels, n)), np.flatnonzero(np.triu(np.ones((n, n), dtype=bool), 1))
    for some in _batches(n_channels, n * max(n, n_places)):
        features = _as_summed(responses[:, some], total)[conditions].transpose(1, 0, 2)  # (n_some, n, n_places)
        grams = (features @ features.transpose(0, 2, 1)).reshape(-1, n * n)
        products[some], squares[some], sums[some] = grams[:, upper], grams[:, :: n + 1], features.sum(axis=2)
    return ChannelProducts(products, squares, sums, n_places)


def _rdms_together(of_each: ChannelProducts, chosen: Array, distance: Distance) -> Array:
    """Return the RDM of some channels together in each order, (n_orders, n_best) -> (n_orders, n_pairs)."""
    if not chosen.shape[1]:
        return np.full((len(chosen), of_each.products.shape[1]), np.nan)
    products, squares, sums = (_sums_over(one, chosen) for one in (of_each.products, of_each.squares, of_each.sums))
    n_features = np.full(len(chosen), chosen.shape[1] * of_each.n_places)
    if n_features[0] == 1 and distance.origin != "feature":
        distance = DISTANCES["euclidean"]
    return _with_silent(distance.from_products(CrossProducts(products, squares, sums, n_features)), sums.shape[1])


def _sums_over(rows: Array, chosen: Array) -> Array:
    """Add up some rows, (n_sums, n_rows) of them, one after the other."""
    total = rows[chosen[:, 0]]
    for more in chosen.T[1:]:
        total += rows[more]
    return total


def _with_silent(rdms: Array, n: int) -> Array:
    """Fill RDMs, (n_rdms, n_pairs), with what silent conditions are (see `rdm_of_channel`): of these all are NaN."""
    first, second = np.triu_indices(n, 1)
    for row in np.flatnonzero(np.isnan(rdms).any(axis=1)):
        known = np.isfinite(rdms[row])
        answers = np.zeros(n, dtype=bool)
        answers[first[known]] = answers[second[known]] = True
        rdms[row, ~known] = (answers[first] | answers[second])[~known]
    return rdms


def _batches(n_orders: int, n_pairs: int) -> Iterator[slice]:
    """Divide orders, so that the RDMs of some are held at once."""
    size = max(1, AT_ONCE // max(1, n_pairs))
    for start in range(0, n_orders, size):
        yield slice(start, start + size)


# ------------------------------------------------------------------------------------------------ tables


def corrected_p(means: Array, highest: Array) -> Array:
    """Return p of mean scores by the highest mean score of any channel under other orders of the conditions.

    Parameters
    ----------
    means : array, shape (n_channels,)
        Mean scores over subjects. A channel without a score has no p.
    highest : array, shape (n_orders,)
        From `own_scores`.

    Returns
    -------
    array, shape (n_channels,)
        The order as it is counts as one more. NaN without orders.
    """
    if not len(highest):
        return np.full(len(means), np.nan)
    n_above = len(highest) - np.searchsorted(np.sort(highest), means - SAME, side="left")
    return np.where(np.isnan(means), np.nan, (1 + n_above) / (1 + len(highest)))


def channel_rows(layer: str, compared: Compared, own: OwnScores, whole: Array, without: Array) -> pd.DataFrame:
    """Make the rows of `CHANNEL_COLUMNS` of a layer, region by region, channels in their order.

    Parameters
    ----------
    layer : str
        Its name.
    compared : Compared
        The RDMs of regions.
    own : OwnScores
        From `own_scores`.
    whole, without : array
        From `scores_without`.
    """
    found, lost = [], whole[:, None] - without
    for region, rows in compared.rows.items():
        means = own.on_all[rows].mean(axis=0)
        lower, upper = _intervals(own.on_all[rows])
        loss_lower, loss_upper = _intervals(lost[rows])
        p = corrected_p(means, own.highest[region])
        numbers = {"own_score": means, "own_lower": lower, "own_upper": upper, "p_corrected": p}
        numbers |= {"loss": lost[rows].mean(axis=0), "loss_lower": loss_lower, "loss_upper": loss_upper}
        rank = pd.Series(means).rank(ascending=False, method="first").astype("Int64")
        labels = {"region": region, "layer": layer, "unit": np.arange(len(means)), "rank": rank}
        found.append(pd.DataFrame(labels | numbers))
    return pd.concat(found, ignore_index=True)[list(CHANNEL_COLUMNS)]


def best_rows(
    layer: str,
    compared: Compared,
    n_channels: int,
    whole: Array,
    on_halves: Array,
    best: dict[str, BestChannels],
    in_orders: dict[str, Array],
) -> pd.DataFrame:
    """Make the rows of `BEST_COLUMNS` of a layer but the corrected p, a region each.

    Parameters
    ----------
    layer, compared, whole
        As in `channel_rows`.
    n_channels : int
        How many the layer has.
    on_halves : array, shape (n_rdms,)
        From `scores_on_halves`.
    best : dict
        Region -> from `best_channels`.
    in_orders : dict
        From `best_in_orders`.
    """
    found = []
    for region, rows in compared.rows.items():
        one = best[region]
        means = {"layer": whole[rows], "best": one.held_out, "random": one.at_random}
        less = {"less_layer": one.held_out - on_halves[rows], "less_random": one.held_out - one.at_random}
        row = {"region": region, "layer": layer, "n_channels": n_channels, "n_best": len(one.best)}
        row |= {f"score_{name}": float(values.mean()) for name, values in means.items()}
        row |= {name: float(values.mean()) for name, values in less.items()}
        row |= {"score_layer_halves": float(on_halves[rows].mean())}
        row |= {"score_best_not_cross_validated": float(one.naive.mean()), "p": p_of_orders(in_orders.get(region))}
        for name, values in {**means, **less}.items():
            lower, upper = _intervals(values[:, None])
            row |= {f"{name}_lower": float(lower[0]), f"{name}_upper": float(upper[0])}
        names = " ".join(str(channel) for channel in one.best)
        row |= {"shared": one.shared, "best": names, "n_subjects": len(rows)}
        found.append(row | {"n_conditions": len(compared.regions.conditions)})
    return pd.DataFrame(found)[[name for name in BEST_COLUMNS if name != "p_corrected"]]


def p_of_orders(scores: Array | None, of_others: Array | None = None) -> float:
    """Return p of the best channels: in how many orders their score, or that of others, is as high.

    Parameters
    ----------
    scores : array, shape (1 + n_orders,), optional
        From `best_in_orders`; no p without.
    of_others : array, shape (1 + n_orders,), optional
        The highest scores of several layers, this one among them, by default those of this one.
    """
    if scores is None or np.isnan(scores[0]):
        return np.nan
    others = scores if of_others is None else of_others
    return float((others >= scores[0] - SAME).mean())


def _intervals(values: Array) -> tuple[Array, Array]:
    """Return 95 % confidence intervals of means over subjects by Student's t: (n_subjects, n) -> two of (n,)."""
    from scipy.special import stdtrit

    n_subjects, n = values.shape
    if n_subjects < 2:
        return np.full(n, np.nan), np.full(n, np.nan)
    half = stdtrit(n_subjects - 1, (1 + LEVEL) / 2) * values.std(axis=0, ddof=1) / np.sqrt(n_subjects)
    return values.mean(axis=0) - half, values.mean(axis=0) + half
