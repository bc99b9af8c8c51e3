"""Where in a picture a class, or another unit, is seen: how its response falls when a part is covered."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rsa.core import Array
from rsa.errors import listed
from rsa.models import Model
from rsa.models.passing import exactly, keeping_memory
from rsa.models.source import usable_layers
from rsa.progress import progress
from rsa.units.choosing import no_such_layer, no_such_unit
from rsa.units.found import Found, Table
from rsa.units.naming import last_layer
from rsa.units.occlusion import Occluders, answers_to_covered, grey, problem_of_occluder, require_occluder
from rsa.units.settings import HeatMap, UnitSettings
from rsa.units.watched import LayerMap, Watched, layer_maps

if TYPE_CHECKING:
    import torch

__all__ = [
    "HEAT_COLUMNS",
    "heat_maps",
    "layers_of_heat_maps",
    "measured",
    "problems_of_heat_maps",
    "require_squares",
]

SQUARES = 7
"""So many grey squares beside each other make a side of the picture."""

STEPS = 4
"""So many steps of the stride make a side of the square."""

ROUNDING = 1e-2
"""So far from 1 may probabilities be together that were computed in bfloat16."""

WHERE = ("row_px", "column_px", "centre_row_px", "centre_column_px")

HEAT_COLUMNS = {
    "heat_map": "Name of the heat map",
    "condition": "Condition of the picture",
    "file": "File of the picture",
    "layer": "Layer of the unit",
    "unit": "Number of the unit in its layer, from 0",
    "unit_name": "What the unit is called, where names are known",
    "measure": "What falls: the probability of the unit, or its highest response at any place",
    "intact": "The measure for the whole picture",
    "largest_fall": "By how much it falls at most: the highest value of the map",
    "row_px": "Where that is: row in pixels of the network's input, the first is 0",
    "column_px": "Where that is: column in pixels",
    "centre_row_px": "Centre of mass of the falls above half the largest: row in pixels",
    "centre_column_px": "Centre of mass of the falls above half the largest: column in pixels",
    "patch_px": "Side of the grey square that covers",
    "stride_px": "How far it is from one place of the square to the next",
    "picture": "Number of the picture, from 0, in the order of the conditions",
}
"""The columns of the table of heat maps."""


# --------------------------------------------------------------------------------------------- the door


def problems_of_heat_maps(
    settings: UnitSettings, models: Sequence[Model], stimuli: pd.DataFrame | None = None
) -> list[str]:
    """Return what is wrong with the heat maps that are asked for, a line each, among networks without problems.

    Parameters
    ----------
    settings : UnitSettings
        The section.
    models : sequence of Source
        The networks that pictures pass.
    stimuli : DataFrame, optional
        The stimulus table, where it is known.
    """
    found: list[str] = []
    if not settings.heat_maps:
        return found
    described = {model.label: model.describe() for model in models}
    names = [one.name for one in settings.heat_maps]
    found += [f"Two `heat_maps` are called {name!r}; give each a `name`." for name in {*names} if names.count(name) > 1]
    for one in settings.heat_maps:
        found += [f"Heat map {one.name!r}: {problem}" for problem in _problems(one, models, described, stimuli)]
    return [*dict.fromkeys(found)]


def _problems(
    one: HeatMap, models: Sequence[Model], described: Mapping[str, pd.DataFrame], stimuli: pd.DataFrame | None
) -> list[str]:
    if problem := one.problem_of_models(list(described)):
        return [problem]
    if one.unit is not None and one.unit_column is not None:
        return ["`unit` and `unit_column` both name its unit; set one of the two."]
    if one.patch_px is not None and (odd := problem_of_occluder(one.patch_px, one.stride_px or 1, (one.patch_px,) * 2)):
        return [odd]
    asked = [model for model in models if one.is_of(model.label)]
    found = [] if stimuli is None else _problems_of_stimuli(one, stimuli)
    having = {model.label: model for model in asked if _has_layer(one, described[model.label])}
    if not having:
        found.append(no_such_layer([str(one.layer)], asked))
    for label, model in having.items():
        layer = one.layer or last_layer(described[label])
        found += _problems_of_layer(one, model, layer_maps(model, described[label])[layer], stimuli)
    return found


def _has_layer(one: HeatMap, described: pd.DataFrame) -> bool:
    return one.layer is None or one.layer in set(usable_layers(described))


def _problems_of_layer(one: HeatMap, model: Model, where: LayerMap, stimuli: pd.DataFrame | None) -> list[str]:
    found, label = [], model.label
    if one.measure == "probability" and where.grid != (1, 1):
        found.append(
            f"layer {where.layer!r} of {label} has {where.grid[0]} x {where.grid[1]} places, and probabilities are of "
            "layers with one; set `measure: response`."
        )
    elif one.measure == "probability" and where.n_channels == 1:
        found.append(
            f"layer {where.layer!r} of {label} has one unit, whose probability among all is always 1; set "
            "`measure: response`."
        )
    units = [one.unit] if one.unit is not None else _units_of(one, stimuli)
    if units and (problem := no_such_unit(where, max(units), model)):
        found.append(problem)
    return found


def _problems_of_stimuli(one: HeatMap, stimuli: pd.DataFrame) -> list[str]:
    found = []
    conditions = set(stimuli["condition"].astype(str))
    if unknown := [name for name in one.pictures if name not in conditions]:
        found.append(f"`pictures` has {listed(unknown)}, which {'is' if len(unknown) == 1 else 'are'} no condition.")
    if one.unit_column is None:
        return found
    if one.unit_column not in stimuli:
        there = [name for name in stimuli.columns if name not in ("condition", "file")]
        found.append(
            f"`unit_column: {one.unit_column}` is no column of the stimulus table; it has {listed(there) or 'none'}."
        )
        return found
    for name, cell in zip(stimuli["condition"], stimuli[one.unit_column], strict=True):
        if (not one.pictures or str(name) in one.pictures) and not _numbers(cell):
            found.append(
                f"column {one.unit_column!r} has {str(cell)!r} for condition {str(name)!r}; write numbers of units, "
                "with commas between several."
            )
            break
    return found


def _numbers(cell: object) -> list[int]:
    """Return the numbers that a cell of a table lists; none where it is anything else.

    Examples
    --------
    >>> _numbers("281,282"), _numbers(19.0), _numbers("cat")
    ([281, 282], [19], [])
    """
    try:
        found = [float(part) for part in str(cell).split(",")]
    except ValueError:
        return []
    return [int(one) for one in found] if all(one >= 0 and one.is_integer() for one in found) else []


def _units_of(one: HeatMap, stimuli: pd.DataFrame | None) -> list[int]:
    if one.unit_column is None or stimuli is None or one.unit_column not in stimuli:
        return []
    asked = stimuli["condition"].astype(str).isin(one.pictures) if one.pictures else slice(None)
    return [number for cell in stimuli.loc[asked, one.unit_column] for number in _numbers(cell)]


# -------------------------------------------------------------------------------------------- the maps


def measured(responses: Array, measure: str) -> Array:
    """Return what falls: probabilities of the units of a layer, or their responses.

    Parameters
    ----------
    responses : array, shape (..., n_units)
        The highest responses of units at any place. Such that are probabilities already stay as they are.
    measure : {"probability", "response"}
        What is wanted.

    Examples
    --------
    >>> measured(np.log([[1.0, 3.0]]), "probability")
    array([[0.25, 0.75]])
    >>> measured(np.array([[0.25, 0.75]]), "probability")
    array([[0.25, 0.75]])
    """
    responses = np.asarray(responses, dtype=float)
    is_ready = (responses >= 0).all() and (np.abs(responses.sum(axis=-1) - 1) < ROUNDING).all()
    if measure == "response" or is_ready:
        return responses
    exponents = np.exp(responses - responses.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True))


def heat_maps(
    watched: Watched, settings: UnitSettings, names: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> Found | None:
    """Map where units are seen in pictures: how much their responses fall when a part is covered [1]_.

    A grey square goes over a picture. The value of a pixel is the mean fall over the squares that cover it: positive
    where the unit needs what it sees, negative where it responds more without it. The response of a unit of a layer
    with space is the highest at any place, as what is seen may be anywhere.

    Parameters
    ----------
    watched : Watched
        The network.
    settings : UnitSettings
        The heat maps that are asked for.
    names : mapping, optional
        Layer -> what its units are called, where that is known.

    Returns
    -------
    Found or None
        The table `heat_maps` (`HEAT_COLUMNS`), and the map of each of its rows i, `map_i`, (height, width) of the
        input. None where no heat map is of this network.

    References
    ----------
    .. [1] Zeiler MD, Fergus R (2014). Visualizing and understanding convolutional networks. ECCV, 818-833.
    """
    asked = _asked(watched, settings)
    todo: dict[tuple[int, int, int], list[HeatMap]] = {}
    for one in asked:
        patch, stride = _square(one, watched.input_px)
        for picture in _pictures_of(one, watched):
            todo.setdefault((patch, stride, picture), []).append(one)
    if not todo:
        return None
    occluders = {(patch, stride): Occluders(watched.input_px, patch, stride) for patch, stride, _ in todo}
    n_inputs = sum(1 + np.prod(occluders[patch, stride].shape) for patch, stride, _ in todo)
    found = []
    with exactly(), keeping_memory(), progress(int(n_inputs), "covered pictures", _label(watched)) as advance:
        for (patch, stride, picture), own in todo.items():
            found += _of_picture(watched, picture, occluders[patch, stride], own, names, advance)
    order = {one.name: i for i, one in enumerate(asked)}
    found.sort(key=lambda one: (order[one[0]["heat_map"]], one[0]["picture"]))
    arrays = {f"map_{i}": mapped.astype(np.float32) for i, (_, mapped) in enumerate(found)}
    table = pd.DataFrame([row for row, _ in found], columns=list(HEAT_COLUMNS))
    return Found({"heat_maps": Table(table, HEAT_COLUMNS)}, arrays, frozenset(picture for *_, picture in todo))


def layers_of_heat_maps(watched: Watched, settings: UnitSettings) -> list[str]:
    """Return the layers of the heat maps that are of a network."""
    last = last_layer(watched.described)
    return list(dict.fromkeys(one.layer or last for one in _asked(watched, settings)))


def require_squares(watched: Watched, settings: UnitSettings) -> None:
    """Raise a `UserError` if the square of a heat map is larger than the picture, or its stride than the square."""
    for one in _asked(watched, settings):
        require_occluder(*_square(one, watched.input_px), watched.input_px, f"Heat map {one.name!r}")


def _asked(watched: Watched, settings: UnitSettings) -> list[HeatMap]:
    """Return the heat maps that are of a network."""
    own = [one for one in settings.heat_maps if one.is_of(watched.model.label)]
    return [one for one in own if _has_layer(one, watched.described)]


def _label(watched: Watched) -> str:
    return f"{watched.model.label}: heat maps"


def _square(one: HeatMap, input_px: tuple[int, int]) -> tuple[int, int]:
    """Return side and stride of the grey square in pixels."""
    patch = one.patch_px or max(1, round(min(input_px) / SQUARES))
    return patch, one.stride_px or max(1, patch // STEPS)


def _pictures_of(one: HeatMap, watched: Watched) -> list[int]:
    conditions = watched.pictures.images["condition"].astype(str)
    return [i for i, name in enumerate(conditions) if not one.pictures or name in one.pictures]


def _of_picture(
    watched: Watched,
    picture: int,
    occluders: Occluders,
    own: Sequence[HeatMap],
    names: Mapping[str, Sequence[str]],
    advance: Callable[[int], None],
) -> list[tuple[dict[str, Any], Array]]:
    """Cover a picture, and return a row and a map for each heat map."""
    last = last_layer(watched.described)
    layers = list(dict.fromkeys(one.layer or last for one in own))
    places = list(np.ndindex(occluders.shape))
    inputs = [[occluders.box(*place)] for place in places]
    cover = grey(watched)
    intact, covered = answers_to_covered(watched, picture, cover, inputs, layers, _highest, advance)
    image = watched.pictures.images.iloc[picture]
    found = []
    for one in own:
        layer = one.layer or last
        unit = _unit_of(one, image, intact[layer])
        whole, *others = measured(np.vstack([intact[layer], covered[layer]]), one.measure)[:, unit].tolist()
        falls = whole - np.array(others)
        mapped = occluders.mean_map(falls.reshape(occluders.shape))
        row = {"heat_map": one.name, "condition": image["condition"], "file": str(image["file"]), "layer": layer}
        row |= {"unit": unit, "unit_name": names[layer][unit] if layer in names else ""}
        row |= {"measure": one.measure, "intact": whole, "patch_px": occluders.patch, "stride_px": occluders.stride}
        found.append((row | _where(mapped) | {"picture": picture}, mapped))
    return found


def _highest(_: str, maps: "torch.Tensor") -> "torch.Tensor":
    """Return the highest response of each channel at any place: (n_inputs, n_channels)."""
    return maps.flatten(2).amax(dim=2)


def _unit_of(one: HeatMap, image: "pd.Series[Any]", intact: Array) -> int:
    """Return the unit of a picture: the one that is named, or of several the one with the highest response."""
    if one.unit is not None:
        return one.unit
    among = _numbers(image[one.unit_column]) if one.unit_column is not None else range(len(intact))
    return max(among, key=lambda unit: float(intact[unit]))


def _where(mapped: Array) -> dict[str, float]:
    """Return the largest fall, where it is, and the centre of mass of falls above half of it; NaN if nothing falls."""
    largest = float(mapped.max())
    if not largest > 0:
        return {"largest_fall": largest} | dict.fromkeys(WHERE, np.nan)
    row, column = np.unravel_index(int(mapped.argmax()), mapped.shape)
    weights = np.where(mapped > largest / 2, mapped, 0)
    rows, columns = np.indices(mapped.shape)
    centre = (weights * rows).sum() / weights.sum(), (weights * columns).sum() / weights.sum()
    return {"largest_fall": largest} | dict(zip(WHERE, map(float, (row, column, *centre)), strict=True))
