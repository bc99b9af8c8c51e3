"""Units and the brain: which channels of a layer carry its fit to a region."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import pandas as pd

from rsa.comparisons import COMPARISONS
from rsa.core import Array, RDMs, align
from rsa.distances import DISTANCES
from rsa.errors import UserError, listed
from rsa.inference.channels import (
    BEST_COLUMNS,
    CHANNEL_COLUMNS,
    BestChannels,
    Compared,
    OwnScores,
    best_channels,
    best_in_orders,
    best_rows,
    channel_rows,
    own_scores,
    p_of_orders,
    scores_on_halves,
    scores_without,
    without_gaps,
)
from rsa.inference.ranking import FEWEST_FOR_HALVES, halves_of
from rsa.models.run import ConditionMeans
from rsa.registry import pick
from rsa.units.found import Found, Table
from rsa.units.settings import Channels
from rsa.units.watched import Watched

__all__ = ["DRIVING", "ChannelFits", "best_layer", "channel_fits", "channels", "condition_maps", "usable_regions"]

log = logging.getLogger(__name__)

DRIVING = 6
"""So many pictures are shown of each of the best channels of a region."""


@dataclass(frozen=True, eq=False)
class ChannelFits:
    """How the channels of a layer are like regions.

    Parameters
    ----------
    layer : str
        Its name.
    compared : Compared
        The RDMs of regions.
    own : OwnScores
        Scores of each channel by itself.
    whole, without : array, shape (n_rdms,) and (n_rdms, n_channels)
        Scores of the layer, and of the layer without each channel.
    on_halves : array, shape (n_rdms,)
        Scores of the layer on halves of the conditions.
    best : dict
        Region -> the best channels.
    in_orders : dict
        Region -> scores of the best channels in other orders of the conditions (see `best_in_orders`).
    driving : dict
        Region -> places of the conditions to which each of these responds most, shape (n_best, n_driving).
    """

    layer: str
    compared: Compared
    own: OwnScores
    whole: Array
    without: Array
    on_halves: Array
    best: dict[str, BestChannels]
    in_orders: dict[str, Array]
    driving: dict[str, Array]

    def likeness(self) -> dict[tuple[str, str], Array]:
        """Return the mean own scores of channels, shape (n_channels,), of this layer and each region."""
        return {(self.layer, region): self.own.on_all[rows].mean(axis=0) for region, rows in self.compared.rows.items()}


def usable_regions(regions: RDMs | None, conditions: Sequence[str]) -> RDMs | None:
    """Bring the RDMs of regions into the order of the conditions; None where there are none that can be compared.

    There are none either where subjects have several RDMs of a region, at several delays: channels are compared with
    one.

    Raises
    ------
    UserError
        If conditions differ.
    """
    if regions is None or not len(regions):
        return None
    if regions.table.duplicated(["subject", "region"]).any():
        log.info("Channels are compared with one RDM of each subject and region, and these have several; left out.")
        return None
    found = without_gaps(align(list(conditions), regions, "the pictures", "RDMs of regions"))
    return found if len(found) else None


def condition_maps(watched: Watched, layers: Sequence[str]) -> Iterator[tuple[str, Array]]:
    """Yield the responses of layers, means over the pictures of each condition, (n_conditions, n_channels, n_places).

    As many layers are in memory at once as take no more of it than the largest does alone; the pictures pass again
    for the others.
    """
    sizes = {layer: watched.map_of(layer).n_channels * prod(watched.map_of(layer).grid) for layer in layers}
    for some in _fitting(sizes):
        yield from _maps_of(watched, some).items()


def _fitting(sizes: dict[str, int]) -> Iterator[list[str]]:
    """Divide layers, in their order, so that those of a pass are together no larger than the largest of all."""
    room, some = max(sizes.values(), default=0), list[str]()
    for layer, size in sizes.items():
        if some and sum(sizes[one] for one in some) + size > room:
            yield some
            some = []
        some = [*some, layer]
    if some:
        yield some


def _maps_of(watched: Watched, layers: Sequence[str]) -> dict[str, Array]:
    pictures, maps = watched.pictures, {layer: watched.map_of(layer) for layer in layers}
    shapes = {layer: (len(pictures.conditions), one.n_channels, prod(one.grid)) for layer, one in maps.items()}
    targets = {layer: np.empty((shape[0], shape[1] * shape[2]), np.float32) for layer, shape in shapes.items()}
    name = watched.model.label
    means = {
        layer: ConditionMeans(target, pictures, f"The output of layer {layer!r} of {name}")
        for layer, target in targets.items()
    }
    for place, of_layers in watched.maps(layers, f"{name}: channels of {listed(list(layers), 1)}"):
        for layer, responses in of_layers.items():
            means[layer].add(responses.flatten(1), place)
    return {layer: target.reshape(shapes[layer]) for layer, target in targets.items()}


def channel_fits(
    watched: Watched,
    layers: Sequence[str],
    regions: RDMs,
    settings: Channels,
    distance: str = "correlation",
    comparison: str = "spearman",
) -> dict[str, ChannelFits]:
    """Compare the channels of layers with regions.

    Parameters
    ----------
    watched : Watched
        The network.
    layers : sequence of str
        The layers.
    regions : RDMs
        From `usable_regions`.
    settings : Channels
        What is asked.
    distance, comparison : str
        How RDMs of layers are made, and RDMs compared: keys of `DISTANCES` and `COMPARISONS`.
    """
    n_conditions = len(regions.conditions)
    halves = np.zeros((0, n_conditions), dtype=bool)
    if n_conditions >= FEWEST_FOR_HALVES:
        halves = halves_of(n_conditions, settings.n_splits, settings.seed)
    how = pick(COMPARISONS, comparison, "comparison")
    compared = Compared(regions, how, halves, settings.permutations, settings.seed)
    made, found = pick(DISTANCES, distance, "distance"), {}
    for layer, responses in condition_maps(watched, layers):
        own = own_scores(responses, compared, made)
        asked = (made, settings.n_best, settings.seed)
        best = {region: best_channels(responses, compared, region, own, *asked) for region in compared.rows}
        driving = {region: _driving(responses, one.best) for region, one in best.items()}
        whole, without = scores_without(responses, compared, made)
        on_halves = scores_on_halves(responses, compared, made)
        in_orders = best_in_orders(responses, compared, made, settings.n_best)
        found[layer] = ChannelFits(layer, compared, own, whole, without, on_halves, best, in_orders, driving)
    return found


def _driving(responses: Array, chosen: Array) -> Array:
    """Return the places of the conditions to which channels respond most, anywhere: (n_channels, n_driving)."""
    highest = responses[:, chosen].max(axis=2)
    return np.argsort(-highest, axis=0, kind="stable")[:DRIVING].T


def channels(watched: Watched, fits: dict[str, ChannelFits]) -> Found:
    """List the channels of layers, and the best of them together.

    Returns
    -------
    Found
        The tables `channels`, the best of each layer and region first, and `channels_best`; and of each region, in
        their order, the numbers of the pictures that drive the best channels of its best layer: `driving_0`, ...,
        shape (n_best, n_driving).

    Raises
    ------
    UserError
        If there is no layer.
    """
    if not fits:
        raise UserError(f"{watched.model.label} has no layer whose channels could be compared with regions.")
    singles, together = [], []
    for layer, one in fits.items():
        singles.append(channel_rows(layer, one.compared, one.own, one.whole, one.without))
        scored = one.whole, one.on_halves, one.best, one.in_orders
        together.append(best_rows(layer, one.compared, one.without.shape[1], *scored))
    best = pd.concat(together, ignore_index=True)
    best["p_corrected"] = [_p_corrected(fits, *key) for key in zip(best["region"], best["layer"], strict=True)]
    first_of = pd.Series(np.arange(watched.n_pictures)).groupby(watched.pictures.places).first().to_numpy()
    arrays = {}
    for k, (region, rows) in enumerate(best.groupby("region", sort=False)):
        if (chosen := best_layer(rows)) is not None:
            arrays[f"driving_{k}"] = first_of[fits[chosen].driving[str(region)]]
    shown = frozenset(int(number) for one in arrays.values() for number in np.ravel(one))
    tables = {
        "channels": Table(pd.concat(singles).sort_values("rank", kind="stable", ignore_index=True), CHANNEL_COLUMNS),
        "channels_best": Table(best, BEST_COLUMNS),
    }
    return Found(tables, arrays, shown)


def _p_corrected(fits: dict[str, ChannelFits], region: str, layer: str) -> float:
    """Return p of the best channels of a layer, corrected for all layers by the highest score of each order."""
    every = [one.in_orders[region] for one in fits.values() if region in one.in_orders]
    return p_of_orders(fits[layer].in_orders.get(region), np.fmax.reduce(every) if every else None)


def best_layer(rows: pd.DataFrame) -> str | None:
    """Return the layer of a region whose best channels fit other conditions best; None where none has a score."""
    scores = rows["score_best"].where(rows["score_best"].notna(), rows["score_layer"])
    return None if scores.isna().all() else str(rows["layer"].loc[scores.idxmax()])
