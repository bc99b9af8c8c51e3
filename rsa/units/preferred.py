"""What drives a unit: the pictures to which it responds most, and where in them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from rsa.core import Array
from rsa.units.choosing import Unit
from rsa.units.found import Found, Table
from rsa.units.settings import Preferred
from rsa.units.watched import Peaks, Watched

__all__ = ["COLUMNS", "activation_maps", "preferred", "top_pictures"]

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


def preferred(watched: Watched, units: Sequence[Unit], peaks: Mapping[str, Peaks], settings: Preferred) -> Found:
    """List the pictures to which units respond most, and keep the activation maps over them.

    Returns
    -------
    Found
        The table `preferred` (`COLUMNS`), and of each unit k the maps of its channel over its pictures, `maps_k`,
        shape (n_pictures, height, width), in the order of ranks.
    """
    rows, tops = [], {}
    for k, one in enumerate(units):
        of_layer, where = peaks[one.layer], watched.map_of(one.layer)
        tops[k] = top_pictures(of_layer, one.unit, settings.n_pictures)
        for rank, picture in enumerate(tops[k], 1):
            image = watched.pictures.images.iloc[int(picture)]
            row, column = divmod(int(of_layer.places[picture, one.unit]), where.grid[1])
            row_px, column_px = where.centre_of(row, column) if where.has_space else (np.nan, np.nan)
            rows.append(
                {"layer": one.layer, "unit": one.unit, "rank": rank, "condition": image["condition"]}
                | {"file": str(image["file"]), "response": float(of_layer.values[picture, one.unit])}
                | {"row_px": float(row_px), "column_px": float(column_px), "picture": int(picture)}
            )
    table = Table(pd.DataFrame(rows, columns=list(COLUMNS)), COLUMNS)
    shown = frozenset(int(picture) for own in tops.values() for picture in own)
    return Found({"preferred": table}, activation_maps(watched, units, tops), shown)


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
    with watched.exactly():
        for start, maps in watched.responses(batches, layers):
            for k, one in enumerate(units):
                of_layer = maps[one.layer]
                here = wanted[start : start + len(of_layer)]
                own = {int(picture) for picture in pictures[k]}
                found |= {(k, p): of_layer[i, one.unit].numpy().copy() for i, p in enumerate(here) if p in own}
    return {
        f"maps_{k}": np.stack([found[k, int(picture)] for picture in own]) for k, own in pictures.items() if len(own)
    }
