"""Figures of receptive fields: their mean maps, and their sizes beside the theoretical ones."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from rsa.core import Array
from rsa.names import label_of
from rsa.report.style import GREY, INK, SMALL, TEXT, axes_at, layer_colours, plain, save_figure
from rsa.report.units.folder import UnitsFolder
from rsa.report.units.tiles import DPI, MOST_ROWS, Tiles

__all__ = ["MAPS_CAPTION", "SIZES_CAPTION", "field_figures"]

MAPS = "magma"
"""Colours of discrepancy maps: dark is no change, bright the largest of a map."""

OUTLINE = "#56b4e9"
"""Colour of the outline of the theoretical field over pictures."""

MAPS_CAPTION = (
    "Receptive fields. Left: the picture to which each unit responds most, with its theoretical field there "
    "outlined. Middle: how much the response changes when a small patch of random pixels covers a place (discrepancy "
    "map; brighter is more, and what is dim changes little). Right: the mean of these maps over the unit's best "
    "pictures, laid over each other by the place of the unit; the tile is as large as the theoretical field, of which "
    "the side is written below, after the side of the empirical field (the area above half the maximum)."
)

SIZES_CAPTION = (
    "Sizes of receptive fields in pixels of the network's input, beside the theoretical ones of their layers. Dots are "
    "units, bars are means of layers; on the dashed line both would be the same, and below it a unit uses less of the "
    "picture than it could."
)


def field_figures(folder: UnitsFolder, to: Path) -> list[Path]:
    """Draw receptive fields, figures for each layer, and one of all sizes."""
    table, units = folder.table("fields"), folder.table("units")
    if table is None or units is None:
        return []
    made = []
    places = {(layer, unit): k for k, (layer, unit) in enumerate(zip(units["layer"], units["unit"], strict=True))}
    for layer, of_layer in table.groupby("layer", sort=False):
        for start in range(0, len(of_layer), MOST_ROWS):
            some = of_layer.iloc[start : start + MOST_ROWS]
            end = f"_{start // MOST_ROWS + 1}" if len(of_layer) > MOST_ROWS else ""
            sheet = _maps(folder, some, [places[layer, unit] for unit in some["unit"]])
            path = to / f"fields_{label_of(str(layer))}{end}.png"
            made.append(save_figure(path, sheet.figure, MAPS_CAPTION, DPI))
    if (sizes := _sizes(table)) is not None:
        made.append(save_figure(to / "fields.png", sizes, SIZES_CAPTION))
    return made


def _maps(folder: UnitsFolder, of_layer: pd.DataFrame, places: list[int]) -> Tiles:
    arrays = folder.arrays("fields")
    names = [f"unit {unit}" for unit in of_layer["unit"]]
    sheet = Tiles(names, 3, heads=["best picture", "its map", "mean map"], largest=1.4)
    for row, (k, one) in enumerate(zip(places, of_layer.itertuples(), strict=True)):
        number, *box = (int(value) for value in arrays[f"best_{k}"])
        picture = folder.picture(number)
        shape, field = (picture.shape[0], picture.shape[1]), (box[0], box[1], box[2], box[3])
        mapped, mean = arrays[f"map_{k}"], arrays[f"mean_{k}"]
        share = picture.shape[0] / mapped.shape[0]
        scaled = (field[0] * share, field[1] * share, field[2] * share, field[3] * share)
        sheet.show(row, 0, picture)
        sheet.box(row, 0, shape, scaled, OUTLINE)
        sheet.show(row, 1, _over(picture, mapped))
        sheet.box(row, 1, shape, scaled, OUTLINE)
        sheet.show(row, 2, np.nan_to_num(mean), _said(float(one.size_px), mean.shape[0]), cmap=MAPS)
    return sheet


def _said(size_px: float, side: int) -> str:
    return f"{size_px:.0f} of {side} px" if np.isfinite(size_px) else "no field"


def _over(picture: Array, mapped: Array) -> Array:
    """Lay a map over a picture that is grey and dim: (height, width, 3), 0 to 1."""
    from PIL import Image

    height, width = picture.shape[:2]
    highest = float(np.nanmax(mapped, initial=0.0)) or 1.0
    shares = np.nan_to_num(mapped / highest)
    if shares.shape != (height, width):
        shares = np.asarray(Image.fromarray(shares.astype(np.float32)).resize((width, height)))
    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2) / 255
    colours = colormaps[MAPS](shares)[..., :3]
    return np.asarray(0.35 * grey * (1 - shares[..., None]) + colours * (0.25 + 0.75 * shares[..., None])).clip(0, 1)


def _sizes(table: pd.DataFrame) -> Figure | None:
    """Draw empirical against theoretical sizes; None where no layer has both."""
    known = table[np.isfinite(table["field_px"]) & np.isfinite(table["size_px"])]
    if known.empty:
        return None
    figure = Figure((3.54, 2.9))
    axes = axes_at(figure, 0.5, 0.45, 1.95, 2.3)
    layers = list(known["layer"].unique())
    most = 1.15 * float(max(known["field_px"].max(), known["size_px"].max()))
    least = 0.8 * float(min(known["field_px"].min(), known["size_px"].min()))
    axes.plot([least, most], [least, most], color=GREY, linewidth=0.7, linestyle="--", zorder=0)
    for layer, colour in zip(layers, layer_colours(len(layers)), strict=True):
        own = known[known["layer"] == layer]
        axes.plot(own["field_px"], own["size_px"], "o", color=colour, markersize=2.8, alpha=0.7, label=plain(layer, 24))
        x, mean = float(own["field_px"].iloc[0]), float(own["size_px"].mean())
        axes.plot([x / 1.1, x * 1.1], [mean, mean], color=colour, linewidth=1.2)
    axes.set(xscale="log", yscale="log", xlim=(least, most), ylim=(least, most))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter("")
        axis.set_ticks([tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if least <= tick <= most])
    axes.set_xlabel("theoretical field in px", fontsize=TEXT, color=INK)
    axes.set_ylabel("empirical field in px", fontsize=TEXT, color=INK)
    axes.tick_params(labelsize=TEXT, colors=INK, length=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=SMALL, frameon=False, handletextpad=0.2)
    return figure
