"""Figures of networks among themselves: with their seeds, before and after a training, and along it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rsa.report.panels import GAP, dress, foot_of, give_title, layer_handles, layers_below, panels
from rsa.report.style import (
    GREY,
    INK,
    PAGE,
    SMALL,
    layer_colours,
    model_colours,
    plain,
    save_figure,
)

__all__ = ["FIGURES", "network_figure", "shown_networks"]

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


def _widths(n_across: int) -> list[float]:
    """Return the widths of panels beside each other, in inches, so that they fit on a page."""
    return [min(2.6 if n_across > 1 else 4.0, (PAGE - 0.1) / n_across - GAP)] * n_across


def _dress(axes: Axes, title: str, label: str = "") -> None:
    """Give a panel its title, its scale and a line at 0."""
    give_title(axes, title)
    axes.set_ylabel(label, fontsize=SMALL, color=INK, labelpad=2)
    axes.axhline(0, color=GREY, linewidth=0.6, zorder=1)
    dress(axes)


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
    n_networks = scores.groupby("model", sort=False)["n_networks"].first()
    names = {
        model: f"{plain(model, 30)} ({n} networks)" if n > 1 else plain(model, 30) for model, n in n_networks.items()
    }
    handles = [Line2D([], [], color=colours[str(model)], label=name) for model, name in names.items()]
    figure, rows = panels(_widths(len(regions)), 1 + bool(len(less)), foot_of(layers), handles)
    for i, region in enumerate(regions):
        axes = rows[0][i]
        for model, own in scores[scores["region"] == region].groupby("model", sort=False):
            places = [x[layer] for layer in own["layer"]]
            look: dict[str, Any] = {"color": colours[str(model)], "alpha": 0.22, "linewidth": 0}
            axes.fill_between(places, own["lowest"], own["highest"], **look)
            axes.plot(places, own["mean"], "o-", color=colours[str(model)], linewidth=1.4, markersize=2.5)
        _dress(axes, region, "score" if i == 0 else "")
        layers_below(axes, layers, named=not len(less))
        others = list(dict.fromkeys(less["less"]))
        for number, other in enumerate(others):
            own = less[(less["region"] == region) & (less["less"] == other)]
            shift = (number - (len(others) - 1) / 2) * 0.2
            _with_interval(rows[1][i], own, x, "mean", colours[str(other)], shift)
        if len(less):
            _dress(rows[1][i], f"{shown[0]} minus the others", "difference" if i == 0 else "")
            layers_below(rows[1][i], layers)
    return figure


def draw_before_after(table: pd.DataFrame, models: Sequence[str] = ()) -> Figure:
    """Draw how far layers moved, their scores before and after, and the difference."""
    regions, layers = _regions_of(table), list(dict.fromkeys(table["layer"]))
    x = {layer: i for i, layer in enumerate(layers)}
    colours = model_colours(["before", "after"])
    handles = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()] if regions else []
    figure, rows = panels(_widths(1 + len(regions)), 1 + bool(regions), foot_of(layers), handles)
    moved = table[table["region"] == regions[0]] if regions else table
    rows[0][0].bar([x[layer] for layer in moved["layer"]], moved["rdm_distance"], color=GREY, width=0.7)
    _dress(rows[0][0], "distance of the RDMs", "1 \N{MINUS SIGN} similarity")
    layers_below(rows[0][0], layers)
    rows[0][0].set_ylim(bottom=0)
    if not regions:
        return figure
    rows[1][0].remove()
    for i, region in enumerate(regions, start=1):
        own = table[table["region"] == region]
        places = [x[layer] for layer in own["layer"]]
        for name, colour in colours.items():
            rows[0][i].plot(places, own[name], "o-", color=colour, linewidth=1.4, markersize=2.5)
        _dress(rows[0][i], region, "score" if i == 1 else "")
        layers_below(rows[0][i], layers, named=False)
        _with_interval(rows[1][i], own, x, "difference", INK, 0.0)
        _dress(rows[1][i], "after \N{MINUS SIGN} before", "difference" if i == 1 else "")
        layers_below(rows[1][i], layers)
    return figure


def draw_training(table: pd.DataFrame, models: Sequence[str] = ()) -> Figure:
    """Draw layers along a training: the distance to its end, and their scores."""
    regions, layers = _regions_of(table), list(dict.fromkeys(table["layer"]))
    steps = list(dict.fromkeys(table["step"]))
    colours, x = layer_colours(len(layers)), {step: i for i, step in enumerate(steps)}
    handles = layer_handles(layers, colours)
    figure, (row,) = panels(_widths(1 + len(regions)), foot=0.45, handles=handles)
    shown = [("distance to the last", "rdm_distance_to_last"), *((one, "mean") for one in regions)]
    for i, (title, column) in enumerate(shown):
        of_region = table[table["region"] == regions[max(i - 1, 0)]] if regions else table
        for layer, colour in zip(layers, colours, strict=True):
            own = of_region[of_region["layer"] == layer]
            places = [x[step] for step in own["step"]]
            row[i].plot(places, own[column], "o-", color=colour, linewidth=1.2, markersize=2.5)
        _dress(row[i], title, ["1 \N{MINUS SIGN} similarity", "score"][i] if i < 2 else "")
        row[i].set_xticks(range(len(steps)), [f"{step:g}" for step in steps], fontsize=SMALL)
        row[i].set_xlabel("checkpoint", fontsize=SMALL, color=INK, labelpad=2)
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
