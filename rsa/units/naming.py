"""Which layers of a network have the classes for their units, and what these are called."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rsa.core import Array
from rsa.files.sources import load_text
from rsa.models import Model
from rsa.models.passing import exactly, keeping_memory
from rsa.models.pictures import input_batches
from rsa.models.source import PART, usable_layers
from rsa.units.choosing import no_such_layer
from rsa.units.settings import UnitSettings
from rsa.units.watched import Watched, layer_maps

__all__ = ["class_names", "last_layer", "layers_of_classes", "names_of_units", "problems_of_classes"]

N_COMPARED = 8
"""So many pictures pass to see whether two layers have the same output."""


def last_layer(described: pd.DataFrame) -> str:
    """Return the last layer of a network that has one output: its units are the classes.

    Of a layer with several tensors the first is its output, and not the state that it returns beside (`head:1`).

    Examples
    --------
    >>> last_layer(pd.DataFrame({"layer": ["conv", "head", "head:0", "head:1"], "n_calls": 1, "n_units": [9, 5, 5, 9]}))
    'head'
    """
    usable = usable_layers(described)
    return next((layer for layer in reversed(usable) if PART not in layer), usable[-1])


def class_names(settings: UnitSettings) -> list[str]:
    """Return what the classes are called; none where no file names them.

    Raises
    ------
    UserError
        If the file cannot be read.
    """
    return [] if settings.names is None else [line.strip() for line in load_text(settings.names).splitlines()]


def problems_of_classes(settings: UnitSettings, models: Sequence[Model]) -> list[str]:
    """Return what is wrong with the names of classes, a line each, among networks without problems."""
    if settings.names is None:
        return ["`units.class_layers` has no names to give; set `units.names`."] if settings.class_layers else []
    described = {model.label: model.describe() for model in models}
    told = {label: usable_layers(table, settings.class_layers) for label, table in described.items()}
    unknown = [
        glob for glob in settings.class_layers if not any(usable_layers(table, [glob]) for table in described.values())
    ]
    found = [f"`units.class_layers`: {no_such_layer(unknown, models)}"] if unknown else []
    n_names = len(class_names(settings))
    for model in models:
        last, maps = last_layer(described[model.label]), layer_maps(model, described[model.label])
        for layer in dict.fromkeys([last, *told[model.label]]):
            if maps[layer].n_channels != n_names:
                which = f"the last layer of {model.label}, {layer}," if layer == last else f"{layer} of {model.label}"
                found.append(
                    f"`units.names` has {n_names} lines, and {which} has {maps[layer].n_channels} units; it needs a "
                    "line for each."
                )
    return found


def layers_of_classes(watched: Watched, layers: Sequence[str], told: Sequence[str] = ()) -> list[str]:
    """Return which of some layers have the classes for their units.

    They are the last layer, those that are `told`, and those whose output holds the same values as that of the last,
    in the same order, such as a linear layer at the end of a block, a dropout, or a flattening. That is seen on the
    first pictures, which pass only if a layer has as many units.

    Parameters
    ----------
    watched : Watched
        The network.
    layers : sequence of str
        Names of its layers.
    told : sequence of str, optional
        Names and globs of layers that a user knows to have the classes for their units.
    """
    last = last_layer(watched.described)
    known = {last, *usable_layers(watched.described, told)}
    alike = [layer for layer in layers if layer not in known and _has_as_many(watched, layer, last)]
    known |= {*_same_outputs(watched, alike, last)}
    return [layer for layer in layers if layer in known]


def _has_as_many(watched: Watched, layer: str, last: str) -> bool:
    one, other = watched.map_of(layer), watched.map_of(last)
    return (one.n_channels, one.grid) == (other.n_channels, other.grid)


def _same_outputs(watched: Watched, layers: Sequence[str], last: str) -> list[str]:
    """Return which of some layers give the same values as the last, bit by bit, for each of the first pictures."""
    if not layers:
        return []
    files = watched.pictures.files[:N_COMPARED]
    with exactly(), keeping_memory():
        batches = input_batches(watched.network.prepare, files, min(watched.settings.size, len(files)))
        passed = [outputs for _, outputs in watched.responses(batches, [*layers, last])]
    outputs: dict[str, Array] = {
        layer: np.concatenate([one[layer].float().numpy() for one in passed]) for layer in (*layers, last)
    }
    if np.ptp(outputs[last]) == 0:
        return []  # all layers of dead units have the same output
    return [layer for layer in layers if np.array_equal(outputs[layer], outputs[last])]


def names_of_units(watched: Watched, settings: UnitSettings, layers: Sequence[str]) -> dict[str, list[str]]:
    """Return what the units of some layers are called: of those whose units are the classes."""
    names = class_names(settings)
    return dict.fromkeys(layers_of_classes(watched, layers, settings.class_layers), names) if names else {}
