"""Which units are looked at: those that are named, those most like a region, or those that vary most."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rsa.core import Array
from rsa.errors import UserError, listed
from rsa.models import Model
from rsa.models.source import usable_layers
from rsa.units.found import Table
from rsa.units.settings import Chosen, UnitSettings
from rsa.units.watched import LayerMap, Peaks, Watched, layer_maps

__all__ = [
    "COLUMNS",
    "Unit",
    "chosen_units",
    "layers_like_regions",
    "layers_of_units",
    "no_such_layer",
    "no_such_unit",
    "problems_of_units",
    "selection",
    "spread",
    "unit_table",
    "without_others",
]

log = logging.getLogger(__name__)

COLOURS = (1, 3)
"""How many colours a picture may have to be shown: grey alone, or red, green and blue."""

N_EACH, N_LAYERS = 4, 5
"""So many units of so many layers are looked at, if nothing is said."""

COLUMNS = {
    "layer": "Layer of the network",
    "unit": "Number of the unit in its layer, from 0: of the channel, in a layer with space or tokens",
    "name": "What the class is called that the unit stands for, where names are known",
    "why": "Why it is looked at",
    "mean": "Mean over pictures of its highest response to each, in units of the network",
    "spread": "Standard deviation over pictures of its highest response to each, in units of the network",
    "field_px": "Side of its theoretical receptive field in pixels of the input; inf where it has no end, n/a "
    "where it is not known",
}
"""The columns of the table of units."""


@dataclass(frozen=True)
class Unit:
    """A unit that is looked at, and why."""

    layer: str
    unit: int
    why: str


def selection(settings: UnitSettings, model: Model) -> tuple[Chosen, ...]:
    """Return the entries of `chosen` that are of a network; without any, four units of each of five of its layers."""
    if not settings.chosen:
        return (Chosen(layers=tuple(spread(model.layer_names(), N_LAYERS)), n=N_EACH),)
    return tuple(one for one in settings.chosen if one.is_of(model.label))


def spread(names: Sequence[str], n: int) -> list[str]:
    """Return some of several names, the first and the last among them, and the others evenly between.

    Examples
    --------
    >>> spread("abcdefgh", 3), spread("ab", 3)
    (['a', 'e', 'h'], ['a', 'b'])
    """
    places = np.linspace(0, len(names) - 1, min(n, len(names))).round().astype(int)
    return [names[place] for place in places]


def without_others(settings: UnitSettings, model: Model, described: pd.DataFrame) -> UnitSettings:
    """Return what is asked of a network: without entries for others, and those whose layers others alone may have.

    If it has no layer of any entry of `chosen`, all of these stay, so that this is told as a mistake.
    """
    own, layers = settings.of_network(model.label), {None, *described["layer"]}
    having = tuple(one for one in own.chosen if usable_layers(described, one.layers))
    maps = tuple(one for one in own.heat_maps if one.layer in layers)
    for one in own.heat_maps:
        if one.layer not in layers:
            log.warning(f"Heat map {one.name!r} is left out: {model.label} has no layer {one.layer!r}.")
    classes = tuple(glob for glob in own.class_layers if usable_layers(described, [glob]))
    if absent := [glob for glob in own.class_layers if glob not in classes]:
        log.warning(f"`class_layers`: {model.label} has no layer {listed(absent)}.")
    return own.model_copy(update={"chosen": having or own.chosen, "heat_maps": maps, "class_layers": classes})


def layers_of_units(settings: UnitSettings, model: Model, described: pd.DataFrame) -> list[str]:
    """Return the layers of a network of which units are looked at, in forward order."""
    found = {layer for one in selection(settings, model) for layer in usable_layers(described, one.layers)}
    return [layer for layer in described["layer"] if layer in found]


def layers_like_regions(settings: UnitSettings, model: Model, described: pd.DataFrame) -> dict[str, list[str]]:
    """Return the layers of a network of which units are chosen that are like a region, and these regions."""
    found: dict[str, list[str]] = {}
    for one in selection(settings, model):
        for layer in usable_layers(described, one.layers) if one.like is not None else ():
            found.setdefault(layer, []).append(str(one.like))
    return found


def problems_of_units(settings: UnitSettings, models: Sequence[Model], regions: Sequence[str] | None) -> list[str]:
    """Return what is wrong with the units that are asked for, a line each, among networks without problems.

    Parameters
    ----------
    settings : UnitSettings
        The section.
    models : sequence of Source
        The networks that pictures pass.
    regions : sequence of str, optional
        The names of the regions of the study, where they are known; none in a study without regions.
    """
    described = {model.label: model.describe() for model in models}
    found = [
        f"units of {listed(list(one.layers))}: {problem}"
        for one in settings.chosen
        for problem in _problems_of_entry(one, models, described, regions)
    ]
    if not found:
        found += [_without_units(settings, model, described[model.label]) for model in models]
    found += [_of_odd_colours(model) for model in models]
    found += _without_gradients(settings, models)
    return [*dict.fromkeys(filter(None, found))]


def _problems_of_entry(
    one: Chosen, models: Sequence[Model], described: Mapping[str, pd.DataFrame], regions: Sequence[str] | None
) -> list[str]:
    if problem := one.problem_of_models(list(described)):
        return [problem]
    asked = [model for model in models if one.is_of(model.label)]
    layers = {model.label: usable_layers(described[model.label], one.layers) for model in asked}
    found = [] if any(layers.values()) else [no_such_layer(one.layers, asked)]
    for model in asked if one.units is not None else ():
        maps = layer_maps(model, described[model.label])
        found += [no_such_unit(maps[layer], max(one.units or ()), model) for layer in layers[model.label]]
    if one.like is not None and regions is not None and one.like not in regions:
        there = f"there are {listed(list(regions))}" if regions else "the study has no regions"
        found.append(f"`like: {one.like}` is no region; {there}.")
    return [problem for problem in found if problem]


def _without_units(settings: UnitSettings, model: Model, described: pd.DataFrame) -> str:
    """Say that entries of `chosen` are of a network as well, and it has a layer of none of them."""
    if not selection(settings, model) or layers_of_units(settings, model, described):
        return ""
    return (
        f"{model.label} has a layer of no entry of `chosen`: add one for it, name in `models` of the entries the "
        "networks that they are for, or leave it out of `units.models`."
    )


def _of_odd_colours(model: Model) -> str:
    """Say that inputs of a network cannot be shown as pictures."""
    if model.n_colours in COLOURS:
        return ""
    return (
        f"inputs of {model.label} have {model.n_colours} colours, and are shown as pictures in `units`: of grey, or of "
        "red, green and blue; leave it out of `units.models`."
    )


def _without_gradients(settings: UnitSettings, models: Sequence[Model]) -> list[str]:
    """Return why no pictures can be made for the units of networks, a line each."""
    asked = settings.maximised
    if asked is None:
        return []
    if problem := asked.problem_of_models([model.label for model in models]):
        return [f"`maximised.models`: {problem}"]
    lacking = [model.called for model in models if not model.has_gradients and asked.is_of(model.label)]
    if not lacking or (not asked.models and len(lacking) < len(models)):
        return []
    cure = "take them out of `maximised.models`" if asked.models else "leave `maximised` out"
    return [
        f"`maximised` needs gradients, and {listed(lacking)} {'has' if len(lacking) == 1 else 'have'} none: it is for "
        f"networks that torch computes from their modules; {cure}."
    ]


def no_such_layer(names: Sequence[str], models: Sequence[Model]) -> str:
    """Say that no layer of some networks has one of these names, or matches one of these globs."""
    return (
        f"no layer of {listed([model.label for model in models])} is called {listed(list(names))} and has one output; "
        f"`python -m rsa layers {models[0].word}` lists them."
    )


def no_such_unit(where: LayerMap, number: int, model: Model) -> str:
    """Say that a layer has fewer units; nothing if it has this one."""
    n = where.n_channels
    if number < n:
        return ""
    return f"layer {where.layer!r} of {model.label} has no unit {number}: it has {n}, numbered from 0 to {n - 1}."


def chosen_units(
    watched: Watched,
    settings: UnitSettings,
    peaks: Mapping[str, Peaks],
    likeness: Mapping[tuple[str, str], Array] | None = None,
) -> list[Unit]:
    """Return the units of a network that are looked at, each once, in forward order.

    Parameters
    ----------
    watched : Watched
        The network.
    settings : UnitSettings
        Which are wanted.
    peaks : mapping
        Layer -> highest responses.
    likeness : mapping, optional
        (Layer, region) -> how like the RDM of each channel is to that of the region, shape (n_channels,).

    Raises
    ------
    UserError
        If a unit that is named is dead: it has one and the same response at all places of all pictures; or all units of
        a layer are.
    """
    found: dict[tuple[str, int], str] = {}
    for one in selection(settings, watched.model):
        for layer in usable_layers(watched.described, one.layers):
            for unit, why in _of_layer(one, layer, watched.model.label, peaks[layer], likeness or {}):
                found.setdefault((layer, unit), why)
    order = {layer: i for i, layer in enumerate(watched.described["layer"])}
    units = [Unit(layer, unit, why) for (layer, unit), why in found.items()]
    return sorted(units, key=lambda one: order[one.layer])


def _of_layer(
    one: Chosen, layer: str, model: str, peaks: Peaks, likeness: Mapping[tuple[str, str], Array]
) -> list[tuple[int, str]]:
    dead = peaks.is_dead
    if dead.all():
        raise UserError(
            f"All units of layer {layer!r} of {model} are dead: they have the same response at all places of all "
            "pictures. Check the weights, choose another layer, or add pictures if all are the same."
        )
    if one.units is not None:
        if dead_ones := [str(unit) for unit in one.units if dead[unit]]:
            which = f"unit {dead_ones[0]} is" if len(dead_ones) == 1 else f"units {', '.join(dead_ones)} are"
            raise UserError(
                f"Layer {layer!r} of {model}: {which} dead, with "
                "the same response at all places of all pictures; choose other units, or leave `units` out."
            )
        return [(unit, "asked for") for unit in one.units]
    if one.like is not None:
        score, why = likeness[layer, one.like], f"like {one.like}"
    else:
        score, why = peaks.values.astype(float).std(axis=0), "varies most"
    score = np.where(dead | np.isnan(score), -np.inf, score)
    best = np.argsort(-score, kind="stable")[: one.n]
    return [(int(unit), why) for unit in best if np.isfinite(score[unit])]


def unit_table(
    watched: Watched,
    units: Sequence[Unit],
    peaks: Mapping[str, Peaks],
    names: Mapping[str, Sequence[str]],
) -> Table:
    """List the units that are looked at, with the `names` of those of a layer, where these are known."""
    rows: list[dict[str, Any]] = []
    for one in units:
        values = peaks[one.layer].values[:, one.unit].astype(float)
        field = watched.map_of(one.layer).field_px
        rows.append(
            {"layer": one.layer, "unit": one.unit, "why": one.why, "mean": values.mean(), "spread": values.std()}
            | {"name": names[one.layer][one.unit] if one.layer in names else "", "field_px": field}
        )
    return Table(pd.DataFrame(rows, columns=list(COLUMNS)), COLUMNS)
