"""Figures of networks among themselves: with their seeds, before and after a training, and along it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rsa.report.style import (
    FAINT,
    GREY,
    INK,
    PAGE,
    SMALL,
    TEXT,
    TITLE,
    axes_at,
    fitted,
    inches_of,
    layer_colours,
    model_colours,
    plain,
    save_figure,
    short_names,
)

__all__ = ["FIGURES", "network_figure", "shown_networks"]

HEIGHT, GAP, LEGEND = 1.6, 0.5, 0.15
"""Height of a panel, room beside it for its scale, and room for the legend, in inches."""

CAPTIONS = {
    "variants": "Scores of the layers of each model, mean over subjects and networks. Bands reach from the lowest to "
    "the highest network of a model. Dots below: the first model minus each other, with 95 % intervals over subjects.",
    "before_after": "A network before and after, layer by layer. Left: how far the RDM of each layer moved (1 minus "
    "the similarity of the two). Then, for each region: mean scores over subjects before and after, and below them the "
    "difference with its 95 % interval over subjects.",
    "training": "Layers along a training, from the first (dark) to the last (bright). Left: distance of the RDM of "
    "each layer to that at the last checkpoint. Then, for each region: mean scores over subjects.",
}
"""The caption of each kind of comparison."""

WITHOUT_FITS = {
    "before_after": "A network before and after, layer by layer: how far the RDM of each layer moved (1 minus the "
    "similarity of the two).",
    "training": "Layers along a training, from the first (dark) to the last (bright): distance of the RDM of each "
    "layer to that at the last checkpoint.",
}
"""The caption in a study without regions."""


def network_figure(table: pd.DataFrame, kind: str, path: Path, models: Sequence[str] = ()) -> Path:
    """Draw a comparison of networks (networks/<name>.tsv); return the file.

    Parameters
    ----------
    table : DataFrame
        As `rsa.inference.networks` makes it.
    kind : str
        A key of `FIGURES`.
    path : path
        Of the PNG.
    models : sequence of str
        Models that have a colour before those of the table: all of a study, so that each has the same everywhere.
    """
    table = table.assign(layer=table["layer"].fillna("").astype(str))
    has_fits = "region" in table
    if has_fits:
        table = table.assign(region=table["region"].astype(str))
    return save_figure(path, FIGURES[kind](table, models), CAPTIONS[kind] if has_fits else WITHOUT_FITS[kind])


def _regions_of(table: pd.DataFrame) -> list[str]:
    """Return the regions of a table; none of one without fits."""
    return list(dict.fromkeys(table["region"])) if "region" in table else []


def _panels(n_across: int, n_down: int, foot: float, legend: float = LEGEND) -> tuple[Figure, list[list[Axes]]]:
    """Make a figure with panels beside and below each other; below the last row is room for names of layers."""
    width = min(2.6 if n_across > 1 else 4.0, (PAGE - 0.1) / n_across - GAP)
    figure = Figure((n_across * (width + GAP) + 0.1, n_down * (HEIGHT + 0.35) + foot + legend))
    rows = [
        [
            axes_at(figure, GAP + i * (width + GAP), foot + (n_down - 1 - row) * (HEIGHT + 0.35), width, HEIGHT)
            for i in range(n_across)
        ]
        for row in range(n_down)
    ]
    return figure, rows


def _dress(axes: Axes, title: str, label: str = "") -> None:
    """Give a panel its title, its scale and a line at 0."""
    (shown,), size = fitted([title], 2.4, TITLE, n_lines=1)
    axes.set_title(shown, fontsize=size, color=INK, pad=3)
    axes.set_ylabel(label, fontsize=SMALL, color=INK, labelpad=2)
    axes.axhline(0, color=GREY, linewidth=0.6, zorder=1)
    axes.tick_params(labelsize=SMALL, length=2, colors=INK)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _layers_below(axes: Axes, layers: Sequence[str], named: bool) -> None:
    """Name the layers along a panel, or leave that to the panel below."""
    names = short_names(layers, 18) if named else [""] * len(layers)
    step = -(-len(layers) // 24)
    axes.set_xticks(range(len(layers)), [name if i % step == 0 else "" for i, name in enumerate(names)], rotation=90)
    axes.tick_params("x", labelsize=SMALL)
    axes.set_xlim(-0.5, len(layers) - 0.5)


def _foot(layers: Sequence[str]) -> float:
    return inches_of(short_names(layers, 18), SMALL) + 0.15


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    look: dict[str, Any] = {"fontsize": TEXT, "frameon": False, "labelcolor": INK, "handlelength": 1.6}
    room = float(figure.get_figwidth())
    widest = inches_of([str(handle.get_label()) for handle in handles]) + 0.5
    n_across = max(1, min(len(handles), int(room // widest)))
    figure.legend(handles=list(handles), loc="upper center", ncols=n_across, borderaxespad=0.1, **look)


def _with_interval(axes: Axes, rows: pd.DataFrame, x: Mapping[str, int], of: str, colour: str, shift: float) -> None:
    """Draw means as dots with their intervals."""
    places = np.array([x[layer] for layer in rows["layer"]]) + shift
    axes.vlines(places, rows["lower"], rows["upper"], color=colour, linewidth=1.2)
    axes.plot(places, rows[of], "o", color=colour, markersize=3, markeredgewidth=0)


def draw_variants(table: pd.DataFrame, models: Sequence[str] = ()) -> Figure:
    """Draw models with their spread over seeds, and below them how much the first is better than the others."""
    shown, regions = list(dict.fromkeys(table["model"])), list(dict.fromkeys(table["region"]))
    layers = list(dict.fromkeys(table["layer"]))
    colours, x = model_colours(list(dict.fromkeys([*models, *shown]))), {layer: i for i, layer in enumerate(layers)}
    scores, less = table[table["less"].fillna("") == ""], table[table["less"].fillna("") != ""]
    figure, rows = _panels(len(regions), 1 + bool(len(less)), _foot(layers))
    for i, region in enumerate(regions):
        axes = rows[0][i]
        for model, own in scores[scores["region"] == region].groupby("model", sort=False):
            places = [x[layer] for layer in own["layer"]]
            look: dict[str, Any] = {"color": colours[str(model)], "alpha": 0.22, "linewidth": 0}
            axes.fill_between(places, own["lowest"], own["highest"], **look)
            axes.plot(places, own["mean"], "o-", color=colours[str(model)], linewidth=1.4, markersize=2.5)
        _dress(axes, region, "score" if i == 0 else "")
        _layers_below(axes, layers, named=not len(less))
        others = list(dict.fromkeys(less["less"]))
        for number, other in enumerate(others):
            own = less[(less["region"] == region) & (less["less"] == other)]
            shift = (number - (len(others) - 1) / 2) * 0.2
            _with_interval(rows[1][i], own, x, "mean", colours[str(other)], shift)
        if len(less):
            _dress(rows[1][i], f"{shown[0]} minus the others", "difference" if i == 0 else "")
            _layers_below(rows[1][i], layers, named=True)
    n_networks = scores.groupby("model", sort=False)["n_networks"].first()
    names = {
        model: f"{plain(model, 30)} ({n} networks)" if n > 1 else plain(model, 30) for model, n in n_networks.items()
    }
    _legend(figure, [Line2D([], [], color=colours[str(model)], label=name) for model, name in names.items()])
    return figure


def draw_before_after(table: pd.DataFrame, models: Sequence[str] = ()) -> Figure:
    """Draw how far layers moved, their scores before and after, and the difference."""
    regions, layers = _regions_of(table), list(dict.fromkeys(table["layer"]))
    x = {layer: i for i, layer in enumerate(layers)}
    before, after = model_colours(["before", "after"]).values()
    figure, rows = _panels(1 + len(regions), 1 + bool(regions), _foot(layers), LEGEND * bool(regions))
    moved = table[table["region"] == regions[0]] if regions else table
    rows[0][0].bar([x[layer] for layer in moved["layer"]], moved["rdm_distance"], color=GREY, width=0.7)
    _dress(rows[0][0], "distance of the RDMs", "1 \N{MINUS SIGN} similarity")
    _layers_below(rows[0][0], layers, named=True)
    rows[0][0].set_ylim(bottom=0)
    if not regions:
        return figure
    rows[1][0].remove()
    for i, region in enumerate(regions, start=1):
        own = table[table["region"] == region]
        places = [x[layer] for layer in own["layer"]]
        for name, colour in (("before", before), ("after", after)):
            rows[0][i].plot(places, own[name], "o-", color=colour, linewidth=1.4, markersize=2.5)
        _dress(rows[0][i], region, "score" if i == 1 else "")
        _layers_below(rows[0][i], layers, named=False)
        _with_interval(rows[1][i], own, x, "difference", INK, 0.0)
        _dress(rows[1][i], "after \N{MINUS SIGN} before", "difference" if i == 1 else "")
        _layers_below(rows[1][i], layers, named=True)
    _legend(
        figure, [Line2D([], [], color=colour, label=name) for name, colour in (("before", before), ("after", after))]
    )
    return figure


def draw_training(table: pd.DataFrame, models: Sequence[str] = ()) -> Figure:
    """Draw layers along a training: the distance to its end, and their scores."""
    regions, layers = _regions_of(table), list(dict.fromkeys(table["layer"]))
    steps = list(dict.fromkeys(table["step"]))
    colours, x = layer_colours(len(layers)), {step: i for i, step in enumerate(steps)}
    figure, rows = _panels(1 + len(regions), 1, 0.45)
    panels = [("distance to the last", "rdm_distance_to_last"), *((one, "mean") for one in regions)]
    for i, (title, column) in enumerate(panels):
        of_region = table[table["region"] == regions[max(i - 1, 0)]] if regions else table
        for layer, colour in zip(layers, colours, strict=True):
            own = of_region[of_region["layer"] == layer]
            places = [x[step] for step in own["step"]]
            rows[0][i].plot(places, own[column], "o-", color=colour, linewidth=1.2, markersize=2.5)
        _dress(rows[0][i], title, ["1 \N{MINUS SIGN} similarity", "score"][i] if i < 2 else "")
        rows[0][i].set_xticks(range(len(steps)), [f"{step:g}" for step in steps], fontsize=SMALL)
        rows[0][i].set_xlabel("checkpoint", fontsize=SMALL, color=INK, labelpad=2)
    shown = [0, len(layers) // 2, len(layers) - 1] if len(layers) > 4 else range(len(layers))
    handles = [Line2D([], [], color=colours[i], label=plain(layers[i] or "layer", 24)) for i in dict.fromkeys(shown)]
    _legend(figure, handles)
    return figure


FIGURES: dict[str, Callable[[pd.DataFrame, Sequence[str]], Figure]] = {
    "variants": draw_variants,
    "before_after": draw_before_after,
    "training": draw_training,
}
"""What draws each kind of comparison."""

HEADS = {
    "rdm_distance": "distance of RDMs",
    "rdm_distance_to_last": "distance to the last",
    "n_networks": "networks",
    "n_subjects": "subjects",
}


def shown_networks(table: pd.DataFrame) -> pd.DataFrame:
    """Make of a comparison of networks the table that people read: without columns that say nothing."""
    said = [name for name in table if not table[name].isna().all() and not (table[name] == "").all()]
    return table[said].rename(columns=HEADS)
