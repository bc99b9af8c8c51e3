"""Figures of units and the brain: how like channels are to regions, and what drives those that are most like them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rsa.names import label_of
from rsa.report.panels import dress, foot_of, give_title, layers_below
from rsa.report.style import (
    GREY,
    INK,
    MODEL_COLOURS,
    PAGE,
    SMALL,
    TEXT,
    axes_at,
    save_figure,
)
from rsa.report.units.folder import UnitsFolder
from rsa.report.units.tiles import DPI, MOST_ROWS, Tiles
from rsa.units.channels import best_layer

__all__ = ["channel_figures"]

HEIGHT, LEFT, GAP, LEGEND = 1.7, 0.5, 0.35, 0.2
"""Height of a panel, room for its scale, between panels and for the legend, in inches."""

LEVEL = 0.05
"""Of tests of the best channels."""

MOST_REGIONS = 6
"""So many regions are drawn: those that the best channels fit best."""

LAYER, BEST, RANDOM = MODEL_COLOURS[0], MODEL_COLOURS[1], MODEL_COLOURS[2]

MEANINGS: dict[str, dict[str, Any]] = {
    "single channels": {"color": GREY, "marker": "s", "markersize": 6, "alpha": 0.5},
    "whole layer": {"color": LAYER, "marker": "s", "markersize": 4},
    "best channels together, other conditions": {"color": BEST, "marker": "o", "markersize": 4},
    "as many random channels": {"color": RANDOM, "marker": "D", "markersize": 3.5},
}
"""What the marks mean."""

CAPTION = (
    "How like each region the channels of each layer are: scores compare their RDMs with that of the region, mean over "
    "{n} subject{s}. Grey: each channel by itself, wider where there are more; the highest of many are high by chance. "
    "Blue squares: the whole layer. Orange dots: the {n_best} channels together that are most like the region, chosen "
    "on one half of the conditions and scored on the other{tested}. Green diamonds: as many random channels.{lines}"
)

TESTED = "; filled where p < .05 by other orders of the conditions, corrected for all layers"

OF_REGION = (
    "The channels of layer {layer} that are most like {region} with all conditions, and the pictures to which each "
    "responds most, anywhere, the highest response first. Left: number of the channel, its own score, and what the fit "
    "of the layer loses without it. The layer is the one whose best channels fit other conditions best."
)


def channel_figures(folder: UnitsFolder, to: Path) -> list[Path]:
    """Draw the scores of the channels of all layers, and for each region what drives the most like it."""
    table, best = folder.table("channels"), folder.table("channels_best")
    if table is None or best is None:
        return []
    arrays = folder.arrays("channels")
    n_regions, drawn = best["region"].nunique(), _drawn_regions(best)
    n, n_best = int(best["n_subjects"].max()), int(best["n_best"].max())
    lines = " Lines: 95 % intervals over subjects." if n > 1 else ""
    if len(drawn) < n_regions:
        lines += f" The {len(drawn)} of {n_regions} regions that channels fit best; the tables have all."
    tested = TESTED if best["p_corrected"].notna().any() else ""
    caption = CAPTION.format(n=n, s="s" if n > 1 else "", n_best=n_best, lines=lines, tested=tested)
    made = [save_figure(to / "channels.png", _scores_figure(table, best[best["region"].isin(drawn)]), caption)]
    for k, (region, rows) in enumerate(best.groupby("region", sort=False)):
        layer, driving = best_layer(rows), arrays.get(f"driving_{k}")
        if region not in drawn or layer is None or driving is None or not len(driving):
            continue
        own = table[(table["region"] == region) & (table["layer"] == layer)].set_index("unit")
        chosen = [int(unit) for unit in str(rows.set_index("layer")["best"][layer]).split()]
        sheet = _driving_sheet(folder, own.loc[chosen], driving)
        caption = OF_REGION.format(layer=layer, region=region)
        made.append(save_figure(to / f"channels_{k:02}_{label_of(str(region))}.png", sheet.figure, caption, DPI))
    return made


def _drawn_regions(best: pd.DataFrame) -> list[str]:
    """Return the regions that the best channels of any layer fit best, in the order of the table."""
    highest = best.groupby("region", sort=False)["score_best"].max().sort_values(ascending=False, kind="stable")
    return [region for region in best["region"].unique() if region in set(highest.index[:MOST_REGIONS])]


def _scores_figure(table: pd.DataFrame, best: pd.DataFrame) -> Figure:
    """Draw a panel for each region, below each other."""
    regions, layers = list(dict.fromkeys(best["region"])), list(dict.fromkeys(best["layer"]))
    foot = foot_of(layers)
    width = min(PAGE - LEFT - 0.1, max(4.2, 0.5 * len(layers)))
    figure = Figure((LEFT + width + 0.1, len(regions) * (HEIGHT + GAP) + foot + LEGEND))
    for i, region in enumerate(regions):
        bottom = foot + (len(regions) - 1 - i) * (HEIGHT + GAP)
        axes = axes_at(figure, LEFT, bottom, width, HEIGHT)
        _draw_region(axes, table[table["region"] == region], best[best["region"] == region], layers)
        _dress(axes, str(region), layers, named=i == len(regions) - 1)
    handles = [
        Line2D([], [], label=meaning, linestyle="", markeredgewidth=0, **mark) for meaning, mark in MEANINGS.items()
    ]
    shown: dict[str, Any] = {"fontsize": SMALL, "frameon": False, "labelcolor": INK, "handlelength": 1.2}
    figure.legend(handles=handles, loc="upper center", ncols=2, borderaxespad=0.1, columnspacing=1.0, **shown)
    return figure


def _draw_region(axes: Axes, table: pd.DataFrame, best: pd.DataFrame, layers: list[str]) -> None:
    """Draw the channels of each layer as a cloud, and beside it the layer, its best channels, and random ones."""
    for x, layer in enumerate(layers):
        _draw_cloud(axes, x, table["own_score"][table["layer"] == layer].dropna().to_numpy())
    rows = best.set_index("layer").loc[layers]
    marks = (("layer", LAYER, "s", -0.08), ("best", BEST, "o", 0.08), ("random", RANDOM, "D", 0.24))
    for name, colour, marker, shift in marks:
        places = np.arange(len(layers)) + shift
        axes.vlines(places, rows[f"{name}_lower"], rows[f"{name}_upper"], color=colour, linewidth=1.0)
        axes.plot(places, rows[f"score_{name}"], marker, color=colour, markersize=3.5, markeredgewidth=0)
    untested = (rows["p_corrected"] >= LEVEL).to_numpy()
    axes.plot(np.arange(len(layers))[untested] + 0.08, rows["score_best"][untested], "o", color="white", markersize=2)


def _draw_cloud(axes: Axes, x: int, scores: np.ndarray) -> None:
    """Draw scores as short lines left of their layer: as long as there are others of about the same score."""
    if not scores.size:
        return
    counts, edges = np.histogram(scores, bins=min(30, max(1, scores.size // 3)))
    length = np.where(counts > 0, np.maximum(0.32 * counts / counts.max(), 0.03), 0)
    for count, low, high in zip(length, edges[:-1], edges[1:], strict=True):
        axes.fill_betweenx([low, high], x - 0.14 - count, x - 0.14, color=GREY, alpha=0.5, linewidth=0)


def _dress(axes: Axes, title: str, layers: list[str], named: bool) -> None:
    """Give a panel its title, its scale, a line at 0, and the names of layers, or leave them to the panel below."""
    give_title(axes, title)
    axes.set_ylabel("score", fontsize=TEXT, color=INK, labelpad=2)
    axes.axhline(0, color=GREY, linewidth=0.6, zorder=1)
    layers_below(axes, layers, named)
    axes.set_xlim(left=-0.6)
    dress(axes)


def _driving_sheet(folder: UnitsFolder, channels: pd.DataFrame, driving: np.ndarray) -> Tiles:
    """Show the pictures that drive some channels, a row each."""
    shown = channels.head(MOST_ROWS)
    names = [
        f"unit {unit}\nown {score:.2f}\nloss {loss:.4f}".replace("-", "\N{MINUS SIGN}")
        for unit, score, loss in zip(shown.index, shown["own_score"], shown["loss"], strict=True)
    ]
    height, width = folder.input_px
    sheet = Tiles(names, driving.shape[1], height / width, words=[0] * len(shown), largest=0.8)
    for row in range(len(shown)):
        for column, number in enumerate(driving[row]):
            sheet.show(row, column, folder.picture(int(number)))
    return sheet
