"""Figures of receptive fields: their mean maps, and their sizes beside the theoretical ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from rsa.core import Array
from rsa.names import label_of
from rsa.report.panels import dress
from rsa.report.style import GREY, INK, MODEL_COLOURS, SMALL, TEXT, axes_at, layer_colours, plain, save_figure
from rsa.report.units.folder import UnitsFolder
from rsa.report.units.tiles import DPI, MOST_ROWS, Tiles, cut_out

__all__ = ["MAPS_CAPTION", "SIZES_CAPTION", "field_figures"]

MAPS = "magma"
"""Colours of discrepancy maps: dark is no change, bright the largest of a map."""

OUTLINE = MODEL_COLOURS[5]
"""Colour of the outline of the theoretical field over pictures."""

SMALL_SHARE = 0.5
"""Fields whose side is below this share of the picture are shown enlarged."""

MAPS_CAPTION = (
    "Receptive fields of {layer}. Left: the picture to which each unit responds most; the frame is its theoretical "
    "field there. {middle} how much the response changes when a small patch of random pixels covers a place, from not "
    "at all (grey) to most (bright). Right: the mean of such maps over the unit's best pictures, laid over each other "
    "by the place of the unit, in a tile as large as the theoretical field, or all that may lie around a unit where "
    "that has no end. What lies beyond the border of a picture has no part in the mean, so a mean map may have "
    "straight edges where a picture ends. Below it: sides of the empirical field (the area above half the maximum) and "
    "the theoretical one."
)

ENLARGED, WHOLE = "Then the field, enlarged, and over it", "Middle:"

SIZES_CAPTION = (
    "Sizes of receptive fields in pixels of the network's input, beside the theoretical ones of their layers. Dots are "
    "units, bars are means of layers; on the dashed line both would be the same, and below it a unit uses less of the "
    "picture than it could."
)


def field_figures(folder: UnitsFolder, to: Path) -> list[Path]:
    """Draw receptive fields, figures for each layer, and one of all sizes."""
    table, units, arrays = folder.table("fields"), folder.table("units"), folder.arrays("fields")
    if table is None or units is None:
        return []
    made = []
    places = {(layer, unit): k for k, (layer, unit) in enumerate(zip(units["layer"], units["unit"], strict=True))}
    for place, (layer, of_layer) in enumerate(table.groupby("layer", sort=False)):
        window = arrays[f"mean_{places[layer, of_layer['unit'].iloc[0]]}"].shape
        is_small = max(window) < SMALL_SHARE * min(folder.input_px)
        caption = MAPS_CAPTION.format(layer=layer, middle=ENLARGED if is_small else WHOLE)
        for start in range(0, len(of_layer), MOST_ROWS):
            some = of_layer.iloc[start : start + MOST_ROWS]
            end = f"_{start // MOST_ROWS + 1}" if len(of_layer) > MOST_ROWS else ""
            sheet = _maps(folder, some, arrays, [places[layer, unit] for unit in some["unit"]], is_small)
            path = to / f"fields_{place:02}_{label_of(str(layer))}{end}.png"
            made.append(save_figure(path, sheet.figure, caption, DPI))
    if (sizes := _sizes(table)) is not None:
        made.append(save_figure(to / "fields.png", sizes, SIZES_CAPTION))
    return made


def _maps(
    folder: UnitsFolder, of_layer: pd.DataFrame, arrays: dict[str, Array], places: Sequence[int], is_small: bool
) -> Tiles:
    """Show a row for each unit: its best picture, the map over it, and the mean map."""
    names = [f"unit {unit}" for unit in of_layer["unit"]]
    heads = ["best picture", *(["its field", "map of it"] if is_small else ["map of it"]), "mean map"]
    height, width = folder.input_px
    sheet = Tiles(names, len(heads), height / width, heads, largest=1.4)
    for row, (k, one) in enumerate(zip(places, of_layer.itertuples(), strict=True)):
        number, *field = (int(value) for value in arrays[f"best_{k}"])
        picture, mean = folder.picture(number), arrays[f"mean_{k}"]
        box, shape = (field[0], field[1], field[2], field[3]), (picture.shape[0], picture.shape[1])
        over = _over(picture, arrays[f"map_{k}"])
        sheet.show(row, 0, picture)
        sheet.box(row, 0, shape, box, OUTLINE)
        if is_small:
            sheet.show(row, 1, cut_out(picture, box))
            sheet.show(row, 2, cut_out(over, box))
        else:
            sheet.show(row, 1, over)
            sheet.box(row, 1, shape, box, OUTLINE)
        mapped = _in_proportion(np.nan_to_num(mean), height / width)
        sheet.show(row, len(heads) - 1, mapped, _said(float(one.size_px), float(one.field_px)), cmap=MAPS)
    return sheet


def _in_proportion(mapped: Array, aspect: float) -> Array:
    """Put zeros around a map, so that its height over its width is about that of a picture.

    Examples
    --------
    >>> _in_proportion(np.ones((3, 3)), 0.5).shape, _in_proportion(np.ones((3, 3)), 2.0).shape
    ((3, 6), (6, 3))
    """
    n_rows, n_columns = mapped.shape
    down, across = max(0, round(n_columns * aspect) - n_rows), max(0, round(n_rows / aspect) - n_columns)
    return np.pad(mapped, [(n // 2, n - n // 2) for n in (down, across)])


def _said(size_px: float, field_px: float) -> str:
    """Write sizes of both fields; that of the empirical one alone where the theoretical one has no end.

    Examples
    --------
    >>> _said(23.4, 63.0), _said(23.4, np.inf), _said(np.nan, 63.0)
    ('23 of 63 px', '23 px', 'no field')
    """
    if np.isnan(size_px):
        return "no field"
    return f"{size_px:.0f} of {field_px:.0f} px" if np.isfinite(field_px) else f"{size_px:.0f} px"


def _over(picture: Array, mapped: Array) -> Array:
    """Lay a map over a picture that is grey and dim: (height, width, 3), 0 to 255."""
    highest = float(np.nanmax(mapped, initial=0.0)) or 1.0
    shares = np.nan_to_num(mapped / highest)[..., None]
    grey = picture.mean(axis=2, keepdims=True) / 255
    colours = colormaps[MAPS](shares[..., 0])[..., :3]
    mixed = 0.35 * grey * (1 - shares) + colours * (0.25 + 0.75 * shares)
    return np.asarray((255 * mixed).clip(0, 255).astype(np.uint8))


def _ticks(least: float, most: float, sizes: "pd.Series[float]") -> list[float]:
    """Return where a logarithmic axis has numbers: at round ones, or where it is too short for them, at sizes.

    Examples
    --------
    >>> _ticks(8, 60, pd.Series([11.0, 51.0])), _ticks(12.8, 18.4, pd.Series([16.0]))
    ([10.0, 20.0, 50.0], [16.0])
    """
    round_ones = [float(tick) for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if least <= tick <= most]
    return round_ones if len(round_ones) > 1 else sorted({float(sizes.min()), float(sizes.max())})


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
        axis.set_ticks(_ticks(least, most, known["field_px"]))
    axes.set_xlabel("theoretical field in px", fontsize=TEXT, color=INK)
    axes.set_ylabel("empirical field in px", fontsize=TEXT, color=INK)
    dress(axes, TEXT, grid=None)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=SMALL, frameon=False, handletextpad=0.2)
    return figure
