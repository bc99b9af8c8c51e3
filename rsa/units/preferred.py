"""What drives a unit: the pictures to which it responds most, and where in them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rsa.core import Array
from rsa.models.passing import exactly
from rsa.units.choosing import Unit
from rsa.units.found import Found, Table
from rsa.units.settings import Preferred
from rsa.units.tuning import tuning_table
from rsa.units.watched import LayerMap, Peaks, Watched

__all__ = ["COLUMNS", "activation_maps", "field_at_peak", "map_edges", "preferred", "top_pictures"]

COLUMNS = {
    "layer": "Layer of the network",
    "unit": "Number of the unit in its layer, from 0",
    "rank": "Rank of the picture: 1 has the highest response",
    "condition": "Condition of the picture",
    "file": "File of the picture",
    "response": "Highest response of the unit at any place of the picture",
    "row_px": "Where that is: row of the middle of the unit's field in pixels of the network's input, the first is 0",
    "column_px": "Where that is: column in pixels",
    "picture": "Number of the picture, from 0, in the order of the conditions",
}
"""The columns of the table of preferred pictures."""


def top_pictures(peaks: Peaks, unit: int, n: int) -> Array:
    """Return the numbers of the pictures to which a unit responds most, the highest response first.

    Of equal responses the earlier picture comes first.
    """
    return np.argsort(-peaks.values[:, unit], kind="stable")[:n]


def preferred(
    watched: Watched,
    units: Sequence[Unit],
    peaks: Mapping[str, Peaks],
    settings: Preferred,
    categories: Sequence[object] | None = None,
) -> Found:
    """List the pictures to which units respond most, how selective units are, and keep the activation maps.

    Parameters
    ----------
    watched : Watched
        The network.
    units : sequence of Unit
        The units.
    peaks : mapping
        Layer -> highest responses.
    settings : Preferred
        How many pictures are listed.
    categories : sequence, optional
        The category of each picture.

    Returns
    -------
    Found
        The tables `preferred` (`COLUMNS`) and `tuning` (`rsa.units.tuning.COLUMNS`). Of each unit k, in the order of
        ranks: the maps of its channel, `maps_k`, shape (n_pictures, height, width), and where the field of the place
        that responds most is, `fields_k`, shape (n_pictures, 4): first row, first column, and one behind the last of
        each. `limits`, shape (n_units, 2): from which response to which maps are coloured. `edges`, shape (n_units, 4):
        where in the picture maps begin and end, as fields; NaN without space.
    """
    tops = {k: top_pictures(peaks[one.layer], one.unit, settings.n_pictures) for k, one in enumerate(units)}
    rows = [
        _row(watched, one, peaks[one.layer], rank, int(picture))
        for k, one in enumerate(units)
        for rank, picture in enumerate(tops[k], 1)
    ]
    tables = {
        "preferred": Table(pd.DataFrame(rows, columns=list(COLUMNS)), COLUMNS),
        "tuning": tuning_table(units, peaks, categories),
    }
    arrays = activation_maps(watched, units, tops)
    arrays |= {f"fields_{k}": _fields(watched, one, peaks[one.layer], tops[k]) for k, one in enumerate(units)}
    arrays["limits"] = np.array([_limits(peaks[one.layer], one.unit) for one in units])
    arrays["edges"] = np.array([map_edges(watched.map_of(one.layer)) for one in units])
    return Found(tables, arrays, frozenset(int(picture) for own in tops.values() for picture in own))


def _row(watched: Watched, unit: Unit, peaks: Peaks, rank: int, picture: int) -> dict[str, Any]:
    """Return the row of a picture of a unit."""
    where, image = watched.map_of(unit.layer), watched.pictures.images.iloc[picture]
    row_px, column_px = where.centre_of(*_place(peaks, unit, where, picture)) if where.has_space else (np.nan, np.nan)
    return {
        "layer": unit.layer,
        "unit": unit.unit,
        "rank": rank,
        "condition": image["condition"],
        "file": str(image["file"]),
        "response": float(peaks.values[picture, unit.unit]),
        "row_px": float(row_px),
        "column_px": float(column_px),
        "picture": picture,
    }


def _place(peaks: Peaks, unit: Unit, where: LayerMap, picture: int) -> tuple[int, int]:
    """Return row and column of the place of the map that responds most to a picture."""
    return divmod(int(peaks.places[picture, unit.unit]), where.grid[1])


def _fields(watched: Watched, unit: Unit, peaks: Peaks, pictures: Array) -> Array:
    """Return where in pictures the field of the unit is that responds most, shape (n_pictures, 4)."""
    return np.array([field_at_peak(watched, unit, peaks, int(picture)) for picture in pictures]).reshape(-1, 4)


def field_at_peak(watched: Watched, unit: Unit, peaks: Peaks, picture: int) -> tuple[int, int, int, int]:
    """Return where in a picture the theoretical field of the unit is that responds most; see `LayerMap.field_of`."""
    where = watched.map_of(unit.layer)
    return where.field_of(*_place(peaks, unit, where, picture)) if where.has_space else (0, 0, *watched.input_px)


def _limits(peaks: Peaks, unit: int) -> tuple[float, float]:
    """Return from which to which response maps of a unit are coloured: from 0, or the lowest if none is above 0."""
    highest = float(peaks.values[:, unit].max())
    return 0.0 if highest > 0 else float(peaks.lowest[:, unit].min()), highest


def map_edges(where: LayerMap) -> tuple[float, float, float, float]:
    """Return where in a picture the map of a channel begins and ends, if each cell is as large as a step of the layer.

    Each cell lies around the middle of the field of its unit; so a map may begin inside the picture, or before it.

    Returns
    -------
    tuple of float
        Above the first row, left of the first column, below the last row, right of the last column, in pixels: 0 is
        the edge of the picture, and the middle of the first pixel is at 0.5. NaN in a layer without space.
    """
    if not where.has_space:
        return np.nan, np.nan, np.nan, np.nan
    n_rows, n_columns = where.grid
    first, last = where.centre_of(0, 0), where.centre_of(n_rows - 1, n_columns - 1)
    half = [(b - a) / (n - 1) / 2 for a, b, n in zip(first, last, (n_rows, n_columns), strict=True)]
    begin = [float(one + 0.5 - by) for one, by in zip(first, half, strict=True)]
    end = [float(one + 0.5 + by) for one, by in zip(last, half, strict=True)]
    return begin[0], begin[1], end[0], end[1]


def activation_maps(watched: Watched, units: Sequence[Unit], pictures: Mapping[int, Array]) -> dict[str, Array]:
    """Return the maps of units over some pictures of each.

    Parameters
    ----------
    pictures : mapping
        Number of the unit in `units` -> numbers of pictures.

    Returns
    -------
    dict
        maps_k -> array (n_pictures, height, width), single precision.
    """
    import torch

    wanted = sorted({int(picture) for own in pictures.values() for picture in own})
    layers = list(dict.fromkeys(one.layer for one in units))
    size = watched.settings.size
    batches = (
        (start, torch.stack([watched.input_of(picture) for picture in wanted[start : start + size]]))
        for start in range(0, len(wanted), size)
    )
    found: dict[tuple[int, int], Array] = {}
    with exactly():
        for start, maps in watched.responses(batches, layers):
            for k, one in enumerate(units):
                of_layer = maps[one.layer]
                here = wanted[start : start + len(of_layer)]
                own = {int(picture) for picture in pictures[k]}
                found |= {(k, p): of_layer[i, one.unit].numpy().copy() for i, p in enumerate(here) if p in own}
    return {
        f"maps_{k}": np.stack([found[k, int(picture)] for picture in own]) for k, own in pictures.items() if len(own)
    }
