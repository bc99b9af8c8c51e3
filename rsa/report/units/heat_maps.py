"""Figures of heat maps: where in pictures a class, or another unit, is seen."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from rsa.core import Array
from rsa.names import label_of
from rsa.report.style import INK, SIGNED, TEXT, axes_at, save_figure, signed_limit
from rsa.report.units.folder import UnitsFolder
from rsa.report.units.tiles import DPI, Tiles, class_name, short

__all__ = ["CAPTION", "heat_map_figures"]

ACROSS, DOWN = 2, 5
"""So many pictures, with their maps, stand beside and below each other in a figure."""

BAR = 0.07
"""Width of the colour bar in inches."""

CAPTION = (
    "Where a unit is seen. Below each picture: the unit, and {what} for the whole picture. Beside it: how much that "
    "falls when a grey square covers a place (mean over the squares that cover it). Red: it falls, so the unit needs "
    "what is there; blue: it rises without it. Each map has its own scale, to the number below it, its largest change."
)


def heat_map_figures(folder: UnitsFolder, to: Path) -> list[Path]:
    """Draw heat maps over their pictures, figures for each that was asked for."""
    table, arrays = folder.table("heat_maps"), folder.arrays("heat_maps")
    if table is None:
        return []
    made = []
    for name, own in table.groupby("heat_map", sort=False):
        for start in range(0, len(own), ACROSS * DOWN):
            some = own.iloc[start : start + ACROSS * DOWN]
            end = f"_{start // (ACROSS * DOWN) + 1}" if len(own) > ACROSS * DOWN else ""
            sheet = _sheet(folder, some, arrays)
            what = "the probability" if (some["measure"] == "probability").all() else "the response"
            path = to / f"heat_maps_{label_of(str(name))}{end}.png"
            made.append(save_figure(path, sheet.figure, CAPTION.format(what=what), DPI))
    return made


def _sheet(folder: UnitsFolder, table: pd.DataFrame, arrays: dict[str, Array]) -> Tiles:
    """Show pictures and maps by turns, `ACROSS` of each beside each other, with the colours explained at their left."""
    rows = list(table.itertuples())
    n_across = min(ACROSS, len(rows))
    n_down = -(-len(rows) // n_across)
    height, width = folder.input_px
    sheet = Tiles([""] * n_down, 2 * n_across, height / width, largest=1.4)
    for i, one in enumerate(rows):
        row, column = divmod(i, n_across)
        picture, mapped = folder.picture(int(one.picture)), arrays[f"map_{one.Index}"]
        limit = signed_limit(mapped)
        sheet.show(row, 2 * column, picture, _said(one))
        sheet.show(row, 2 * column + 1, _over(picture, mapped / limit), f"scale to {_written(limit)}")
    _explain(sheet)
    return sheet


def _said(one: Any) -> str:
    """Write what the unit of a row is called, and its measure: "hotdog: .93"."""
    name = class_name(one.unit_name) or f"unit {one.unit}"
    is_probability = one.measure == "probability"
    return f"{name}: {_written(one.intact) if is_probability else short(one.intact)}"


def _written(value: float) -> str:
    """Write a number with two digits, and nothing before the point of a share.

    Examples
    --------
    >>> _written(0.934), _written(1.0), _written(0.0021), _written(12.34)
    ('.93', '1.0', '.0021', '12')
    """
    text = f"{value:.2g}" if abs(value) < 0.995 or abs(value) >= 10 else f"{value:.1f}"
    return text.removeprefix("0") if text.startswith("0.") else text


def _over(picture: Array, shares: Array) -> Array:
    """Lay a map, from -1 to 1, over a picture in grey: (height, width, 3), 0 to 1; where it is 0 the picture shows."""
    from PIL import Image

    height, width = picture.shape[:2]
    if shares.shape != (height, width):
        shares = np.asarray(Image.fromarray(shares.astype(np.float32)).resize((width, height)))
    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2) / 255
    colours, weight = colormaps[SIGNED]((shares + 1) / 2)[..., :3], 0.85 * np.abs(shares[..., None])
    return np.asarray((1 - weight) * (0.3 + 0.6 * grey) + weight * colours).clip(0, 1)


def _explain(sheet: Tiles) -> None:
    """Draw the colour bar at the left of the first row."""
    bar = axes_at(sheet.figure, 0.14, sheet.tops[0] - 0.95 * sheet.height, BAR, 0.9 * sheet.height)
    shown = ScalarMappable(Normalize(-1, 1), SIGNED)
    drawn = sheet.figure.colorbar(shown, cax=bar)
    drawn.set_ticks([-1, 0, 1], labels=["it rises", "as before", "it falls"])
    bar.tick_params(labelsize=TEXT, length=2, colors=INK)
    drawn.outline.set_linewidth(0.4)
