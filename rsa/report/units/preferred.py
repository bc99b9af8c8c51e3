"""Figures of what drives units: the pictures to which they respond most, what they see of them, and their maps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps

from rsa.core import Array
from rsa.names import label_of
from rsa.report.style import MODEL_COLOURS, save_figure
from rsa.report.units.folder import UnitsFolder
from rsa.report.units.tiles import DPI, MOST_ROWS, Tiles, class_name, cut_out, short

__all__ = ["CAPTION", "faded", "glow", "preferred_figures"]

COLOUR, GLOW = MODEL_COLOURS[1], colormaps["YlOrRd"]
"""Those of fields, and of responses."""

CAPTION = (
    "The pictures to which each unit of {layer} responds most, the highest response first, as the network sees "
    "them.{more} The number is the highest response to the picture."
)

OF_FIELDS = (
    " The frame is the theoretical receptive field at the place of the highest response, and is shown enlarged below; "
    "grey there is beyond the border of the picture."
)

OF_MAPS = (
    " Below that: the responses at all places over the pale picture, from 0 or below (no colour) to the highest of the "
    "unit to any picture (dark red)."
)


def preferred_figures(folder: UnitsFolder, to: Path) -> list[Path]:
    """Draw the pictures to which units respond most: a figure for each layer, or several if it has many units."""
    table, units, arrays = folder.table("preferred"), folder.table("units"), folder.arrays("preferred")
    if table is None or units is None:
        return []
    made = []
    for place, (layer, of_layer) in enumerate(units.groupby("layer", sort=False)):
        numbers = list(of_layer.index)
        kinds = _kinds(arrays, numbers, folder)
        most = MOST_ROWS // len(kinds)
        for start in range(0, len(numbers), most):
            sheet = _sheet(folder, table, units, arrays, numbers[start : start + most], kinds)
            end = f"_{start // most + 1}" if len(numbers) > most else ""
            path = to / f"preferred_{place:02}_{label_of(str(layer))}{end}.png"
            more = OF_FIELDS * ("field" in kinds) + OF_MAPS * ("map" in kinds)
            caption = CAPTION.format(layer=layer, more=more)
            made.append(save_figure(path, sheet.figure, caption, DPI))
    return made


def _kinds(arrays: dict[str, Array], numbers: Sequence[int], folder: UnitsFolder) -> list[str]:
    """Return which rows units of a layer have: maps need space, and fields are smaller than the picture."""
    if np.isnan(arrays["edges"][numbers[0]]).any():
        return ["picture"]
    height, width = folder.input_px
    boxes = np.concatenate([arrays[f"fields_{k}"] for k in numbers])
    covers = (boxes == (0, 0, height, width)).all()
    return ["picture", "map"] if covers else ["picture", "field", "map"]


def _sheet(
    folder: UnitsFolder,
    table: pd.DataFrame,
    units: pd.DataFrame,
    arrays: dict[str, Array],
    numbers: Sequence[int],
    kinds: Sequence[str],
) -> Tiles:
    """Draw some units of a layer."""
    names = {"field": "its field", "map": "its responses"}
    known = units.reindex(columns=["unit", "name"])
    called = {k: f"unit {unit}\n{class_name(name)}".strip() for k, unit, name in known.itertuples()}
    rows = [names.get(kind, called[k]) for k in numbers for kind in kinds]
    words = {"picture": 1 if "map" in kinds else 2, "field": 0, "map": 1}
    height, width = folder.input_px
    sheet = Tiles(
        rows, int(table["rank"].max()), height / width, words=[words[kind] for _ in numbers for kind in kinds]
    )
    for i, k in enumerate(numbers):
        own = table[(table["layer"] == units["layer"][k]) & (table["unit"] == units["unit"][k])]
        for column, one in enumerate(own.itertuples()):
            _show(sheet, i * len(kinds), column, folder.picture(int(one.picture)), one, arrays, k, kinds)
    return sheet


def _show(
    sheet: Tiles,
    row: int,
    column: int,
    picture: Array,
    one: Any,
    arrays: dict[str, Array],
    k: int,
    kinds: Sequence[str],
) -> None:
    """Draw a picture of a unit: itself, and below it what the unit sees of it, and its map."""
    response = short(one.response)
    if "map" not in kinds:
        sheet.show(row, column, picture, f"{one.condition}\n{response}")
        return
    sheet.show(row, column, picture, str(one.condition))
    shape, box = picture.shape[:2], arrays[f"fields_{k}"][column]
    if "field" in kinds:
        sheet.box(row, column, shape, tuple(box), COLOUR)
        sheet.show(row + 1, column, cut_out(picture, box))
    last = row + len(kinds) - 1
    sheet.show(last, column, faded(picture), response)
    coloured = glow(arrays[f"maps_{k}"][column], *arrays["limits"][k])
    sheet.show(last, column, coloured, within=(shape, arrays["edges"][k]))


def faded(picture: Array) -> Array:
    """Return a picture in pale grey, (height, width, 3), 0 to 1, on which colours can be seen."""
    lightness = picture.astype(float) @ (0.299, 0.587, 0.114) / 255
    return np.repeat((0.6 + 0.4 * lightness)[..., None], 3, axis=2)


def glow(responses: Array, lowest: float, highest: float) -> Array:
    """Return a map of responses in colours, (height, width, 4): no colour (lowest), orange, dark red (highest)."""
    shares = np.clip((responses - lowest) / max(highest - lowest, np.finfo(float).tiny), 0, 1)
    return np.concatenate([GLOW(0.3 + 0.55 * shares)[..., :3], np.sqrt(shares)[..., None]], axis=-1)
