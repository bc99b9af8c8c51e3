"""Figures of the read-out of categories, layer by layer, beside the fit of layers to the brain."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsa.report.panels import dress
from rsa.report.style import (
    GREY,
    INK,
    PAGE,
    SMALL,
    TEXT,
    TITLE,
    axes_at,
    inches_of,
    model_colours,
    plain,
    save_figure,
    short_names,
)
from rsa.report.units.folder import UnitsFolder
from rsa.report.units.tiles import DPI

__all__ = ["readout_figures"]

LINEAR, NEAREST = "#0072b2", "#d55e00"
"""Colours of the linear read-out, and of nearest neighbours."""

ALPHA = 0.05
"""A dot is filled where the corrected p value is no higher."""

HEIGHT, LEFT, TOP, LINE = 1.9, 0.5, 0.34, 0.16
"""Of a panel, the room left of it, that above it for its title, and a line of its legend, in inches."""

N_BESIDE = 3
"""Names in a line of a legend."""

N_LETTERS = 18
"""So many letters of the name of a layer are shown."""

MOST_REGIONS = 4
"""So many regions have a line of their own colour, of those that the left panel leaves; others share a grey."""


def readout_figures(folder: UnitsFolder, to: Path) -> list[Path]:
    """Draw how well categories are read out of each layer, and in a second panel how well it fits regions."""
    table, near, fits = folder.table("readout"), folder.table("neighbours_categories"), folder.table("readout_fits")
    if table is None or table.empty:
        return []
    layers = [str(layer) for layer in table["layer"]]
    n_panels = 1 if fits is None else 2
    width = PAGE / n_panels - LEFT - 0.1
    bottom = 0.2 + 0.75 * inches_of(short_names(layers, N_LETTERS), SMALL)  # of names at 45 degrees
    n_lines = 1 if fits is None else -(-min(fits["region"].nunique(), MOST_REGIONS + 1) // N_BESIDE)
    figure = Figure((PAGE, bottom + HEIGHT + TOP + LINE * n_lines))
    _accuracies(axes_at(figure, LEFT, bottom, width, HEIGHT), table, near, layers)
    if fits is not None:
        _fits(axes_at(figure, PAGE / 2 + LEFT, bottom, width, HEIGHT), fits, layers, n_lines)
    return [save_figure(to / "readout.png", figure, _caption(table, near, fits is not None), DPI)]


def _caption(table: pd.DataFrame, near: pd.DataFrame | None, has_fits: bool) -> str:
    one = table.iloc[0]
    neighbours = "" if near is None else _neighbours_caption(near.iloc[0])
    tested = (
        f" A filled dot: more than by chance (p at most {ALPHA:g} by permutation, corrected for all layers)."
        if table["p_corrected"].notna().all()
        else ""
    )
    fits = " Right: how like the RDM of the layer is to that of each region, mean over subjects." if has_fits else ""
    return (
        f"Blue: how well the categories of {one['n_conditions']} conditions are read out of each layer by a linear "
        f"classifier that has not seen them ({one['n_folds']} folds): the share that is right, mean over "
        f"{one['n_categories']} categories; dashed, chance.{tested}{neighbours}{fits}"
    )


def _neighbours_caption(one: pd.Series) -> str:
    most = f" It cannot be above {one['most']:.2f}, as categories are small." if one["most"] < 1 else ""
    return (
        f" Orange: the share of the {one['n_neighbours']:.0f} nearest neighbours of a condition that are of its "
        f"category, and dashed what it would be by chance.{most}"
    )


def _accuracies(axes: Axes, table: pd.DataFrame, near: pd.DataFrame | None, layers: list[str]) -> None:
    places = np.arange(len(layers))
    accuracy, chance = table["accuracy"].to_numpy(dtype=float), float(table["chance"].iloc[0])
    p = table["p_corrected"].to_numpy(dtype=float)
    axes.plot(places, accuracy, color=LINEAR, linewidth=1.2, label="linear read-out")
    faces = [LINEAR if value <= ALPHA else "white" for value in p]
    axes.scatter(places, accuracy, s=18, c=faces, edgecolors=LINEAR, linewidths=1.0, zorder=3)
    axes.axhline(chance, color=LINEAR, linewidth=0.8, linestyle="--")
    if near is not None:
        own = near.assign(layer=near["layer"].astype(str)).set_index("layer").reindex(layers)
        axes.plot(
            places, own["share"], color=NEAREST, linewidth=1.2, marker="o", markersize=3, label="nearest neighbours"
        )
        axes.plot(places, own["chance"], color=NEAREST, linewidth=0.8, linestyle="--")
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("share that is right", fontsize=TEXT, color=INK)
    _finish(axes, layers, "Categories read out")


def _fits(axes: Axes, fits: pd.DataFrame, layers: list[str], n_lines: int) -> None:
    places = np.arange(len(layers))
    regions = list(dict.fromkeys(fits["region"].astype(str)))
    of_all = model_colours(["read-out", "neighbours", *(f"region {region}" for region in regions[:MOST_REGIONS])])
    colours = {region: of_all[f"region {region}"] for region in regions[:MOST_REGIONS]}
    for region in regions:
        own = fits[fits["region"].astype(str) == region].assign(layer=lambda rows: rows["layer"].astype(str))
        score = own.set_index("layer")["score"].reindex(layers)
        label = plain(region, 14) if region in colours else "others" if region == regions[-1] else None
        axes.plot(places, score, color=colours.get(region, GREY), label=label, linewidth=1.2, marker="o", markersize=3)
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.set_ylabel("fit to the region", fontsize=TEXT, color=INK)
    _finish(axes, layers, "Fit to the brain", n_lines)


def _finish(axes: Axes, layers: list[str], title: str, n_lines: int = 1) -> None:
    axes.set_xticks(
        np.arange(len(layers)), short_names(layers, N_LETTERS), rotation=45, ha="right", rotation_mode="anchor"
    )
    dress(axes, grid=None)
    axes.set_xlim(-0.4, len(layers) - 0.6)
    axes.set_title(title, fontsize=TITLE, color=INK, loc="left", pad=6 + 72 * LINE * n_lines)
    look: dict[str, Any] = {"frameon": False, "fontsize": TEXT, "labelcolor": INK, "borderpad": 0, "handlelength": 1.2}
    axes.legend(ncols=N_BESIDE, loc="lower left", bbox_to_anchor=(-0.02, 1.0), **look)
