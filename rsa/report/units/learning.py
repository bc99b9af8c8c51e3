"""Figures and page sections of what learning changes: units, categories, and both along a training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsa.core import Array
from rsa.files import io
from rsa.names import label_of
from rsa.report.html import Link, PageSection, paragraphs
from rsa.report.panels import dress, foot_of, give_title, layer_handles, layers_below, panels
from rsa.report.style import (
    GREY,
    INK,
    PAGE,
    SIGNED,
    SMALL,
    axes_at,
    caption_of,
    inches_of,
    layer_colours,
    model_colours,
    save_figure,
    short_names,
)
from rsa.report.units.folder import UnitsFolder
from rsa.report.units.tiles import DPI, Tiles
from rsa.units.learning import Responses, n_top

__all__ = ["change_figures", "change_sections", "chosen_layers", "extremes"]

N_EACH, N_SHOWN = 6, 5
"""So many of the most and of the least changed units of a layer are shown, with so many pictures before and after."""

MOST_LAYERS = 4
"""Of so many layers single units are shown."""

MOST_MATRICES, MOST_CATEGORIES, CELL = 3, 7, 0.3
"""So many matrices of categories are drawn, if there are no more categories than that; side of a cell in inches."""

CAPTIONS = {
    "layers": "How much the units of each layer changed. Left: Spearman's correlation over pictures of the highest "
    "responses of a unit before and after, a dot for each unit, and the mean (line): 1 is a unit that puts pictures in "
    "the same order. Right: the share of its {n} pictures with the highest responses that are the same, mean over "
    "units; the dashed line is what units share that have nothing to do with each other.",
    "units": "Units of {layer} before and after: the {most} that changed most, then the {least} that changed least. "
    "Left of the gap are the pictures to which each responded most before, right of it those after, the highest "
    "response first. Below the number of a unit: Spearman's correlation over all pictures of its responses before and "
    "after.",
    "categories": "Pairs of categories that a layer tells apart less (blue) or better (red) after: balanced "
    "accuracy of a linear read-out after minus before, in the layers with the largest losses. A dot marks p < .05, "
    "corrected for all pairs of all layers.",
    "curve": "Units along a training, layer by layer from the first (dark) to the last (bright). Left: Spearman's "
    "correlation over pictures of the highest responses of a unit at each checkpoint and at the last, mean over units. "
    "Right: how well a linear read-out tells the categories (balanced accuracy); the dashed line is chance.",
    "curve alone": "Units along a training, layer by layer from the first (dark) to the last (bright): Spearman's "
    "correlation over pictures of the highest responses of a unit at each checkpoint and at the last, mean over units.",
}
"""The caption of each figure."""

HEADINGS = {
    "layers": "Units before and after",
    "units": "Units that changed most and least",
    "categories": "Categories told apart before and after",
    "curve": "Units along a training",
}
"""What each table of a comparison is called on the page."""

MOST_ROWS = 30
"""So many rows of a table stand on the page."""


def change_figures(tables: Path, name: str, folders: Mapping[str, Path], to: Path) -> list[Path]:
    """Draw what a comparison of networks says of their units; return the files (PNG).

    Parameters
    ----------
    tables : path
        The folder of the tables of comparisons.
    name : str
        The comparison.
    folders : mapping
        Label of each network that it compares -> folder of its units, in order.
    to : path
        Where the figures go.
    """
    found = {part: io.table_if_there(tables / f"{name}_{part}.tsv") for part in FIGURES}
    drawn = {part: table for part, table in found.items() if table is not None and len(table)}
    return [path for part, table in drawn.items() for path in FIGURES[part](table, folders, to / f"{name}_{part}.png")]


# ----------------------------------------------------------------------------------------------- layers


def _dress(axes: Axes, title: str, label: str) -> None:
    """Give a panel its title and its scale."""
    give_title(axes, title)
    axes.set_ylabel(label, fontsize=SMALL, color=INK, labelpad=2)
    dress(axes)


def draw_layers(units: pd.DataFrame) -> Figure:
    """Draw how much the units of each layer changed."""
    layers = list(dict.fromkeys(units["layer"].astype(str)))
    figure, ((similarity, overlap),) = panels([3.4, 2.2], foot=foot_of(layers))
    (colour,) = model_colours(["units"]).values()
    for x, layer in enumerate(layers):
        own = units.loc[units["layer"] == layer, "tuning_similarity"].dropna().to_numpy()
        beside = x + np.linspace(-0.3, 0.3, max(len(own), 1))[: len(own)]  # in the order of the units
        similarity.plot(beside, own, ".", color=colour, markersize=2.5, markeredgewidth=0, alpha=0.5)
    means = units.groupby("layer", sort=False)[["tuning_similarity", "overlap", "chance"]].mean()
    similarity.plot(range(len(layers)), means["tuning_similarity"], "-", color=INK, linewidth=1.4)
    overlap.plot(range(len(layers)), means["overlap"], "o-", color=INK, linewidth=1.4, markersize=3)
    overlap.axhline(float(means["chance"].iloc[0]), color=GREY, linewidth=1, linestyle="--")
    overlap.set_ylim(0, 1.05)
    _dress(similarity, "order of pictures", "correlation before and after")
    _dress(overlap, "highest pictures", "share that is the same")
    for axes in (similarity, overlap):
        layers_below(axes, layers)
    return figure


# ------------------------------------------------------------------------------------------------ units


def chosen_layers(units: pd.DataFrame) -> list[str]:
    """Return the layers whose single units are shown, in order: those that changed most; none that did not change."""
    means = units.groupby("layer", sort=False)["tuning_similarity"].mean()
    moved = means[means < 1].sort_values(kind="stable").index[:MOST_LAYERS]
    return [str(layer) for layer in means.index if layer in moved]


def extremes(units: pd.DataFrame) -> tuple[list[int], list[int]]:
    """Return the units of a layer that changed most, the most first, and those that changed least, the least last.

    None is in both; units without a similarity are in none.
    """
    ordered = units.dropna(subset="tuning_similarity").sort_values("tuning_similarity", kind="stable")["unit"]
    n_most = min(N_EACH, -(-len(ordered) // 2))
    n_least = min(N_EACH, len(ordered) - n_most)
    return [int(unit) for unit in ordered[:n_most]], [int(unit) for unit in ordered[len(ordered) - n_least :]]


def draw_units(units: pd.DataFrame, peaks: Sequence[Array], pictures: Sequence[Array]) -> Figure:
    """Draw the pictures that drive some units before and after.

    Parameters
    ----------
    units : DataFrame
        The units of a layer, a row of the figure each.
    peaks : sequence of 2 arrays, shape (n_pictures, n_units)
        The highest responses before and after.
    pictures : sequence of 2 arrays, shape (n_pictures, height, width, 3)
        The pictures before and after, small.
    """
    n = min(N_SHOWN, len(pictures[0]))
    names = [
        f"unit {unit}\n{_two_digits(value)}"
        for unit, value in zip(units["unit"], units["tuning_similarity"], strict=True)
    ]
    heads = ["before", *[""] * n, "after", *[""] * (n - 1)]
    height, width = pictures[0].shape[1:3]
    sheet = Tiles(names, 2 * n + 1, height / width, heads, largest=0.5, words=[0] * len(names))
    for row, unit in enumerate(units["unit"]):
        for side in (0, 1):
            best = np.argsort(-peaks[side][:, unit], kind="stable")[:n]
            for column, picture in enumerate(best):
                sheet.show(row, column + side * (n + 1), pictures[side][picture], interpolation="antialiased")
    return sheet.figure


def _ends(table: pd.DataFrame) -> dict[str, str]:
    """Return the ends of the names of the figures of units, by layer; names of layers may have the same letters."""
    return {layer: f"_{place}_{label_of(layer)}" for place, layer in enumerate(chosen_layers(table), 1)}


def _two_digits(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def _unit_figures(table: pd.DataFrame, folders: Mapping[str, Path], path: Path) -> list[Path]:
    """Draw how much layers changed, and single units of those that changed most, a figure each."""
    responses = [Responses.of(folder, label) for label, folder in folders.items()]
    n = n_top(len(responses[0].conditions))
    name = path.stem.removesuffix("_units")
    made = [save_figure(path.with_name(f"{name}_layers.png"), draw_layers(table), CAPTIONS["layers"].format(n=n))]
    pictures = [UnitsFolder(folder).thumbnails for folder in folders.values()]
    for layer, end in _ends(table).items():
        own = table[table["layer"] == layer].set_index("unit", drop=False)
        most, least = extremes(own)
        figure = draw_units(own.loc[[*most, *least]], [one.peaks[layer] for one in responses], pictures)
        caption = CAPTIONS["units"].format(layer=layer, most=len(most), least=len(least))
        made.append(save_figure(path.with_name(f"{name}_units{end}.png"), figure, caption, DPI))
    return made


# ------------------------------------------------------------------------------------------- categories


def draw_categories(table: pd.DataFrame) -> Figure:
    """Draw how much better or worse layers tell categories apart, a matrix for each of some with the largest losses."""
    order = table.groupby("layer", sort=False)["difference"].min().sort_values(kind="stable")
    layers = [str(layer) for layer in order.index[:MOST_MATRICES]]
    names = list(dict.fromkeys([*table["category_a"], *table["category_b"]]))
    shown = short_names(names, 20)
    room = inches_of(shown, SMALL) + 0.12
    side = min(max(1.0, CELL * (len(names) - 1)), (PAGE - room - 0.1) / len(layers) - 0.15)
    figure = Figure((room + len(layers) * (side + 0.15) + 0.1, side + 0.3 + room))
    for i, layer in enumerate(layers):
        axes = axes_at(figure, room + i * (side + 0.15), room, side, side)
        _matrix(axes, table[table["layer"] == layer], names)
        give_title(axes, layer, beyond=0.05)
        axes.set_xticks(range(len(names) - 1), shown[:-1], rotation=90)
        axes.set_yticks(range(len(names) - 1), shown[1:] if i == 0 else [""] * (len(names) - 1))
        axes.tick_params(labelsize=SMALL, length=0, colors=INK)
    return figure


def _matrix(axes: Axes, table: pd.DataFrame, names: Sequence[str]) -> None:
    """Draw differences of a layer: colours and numbers, a row for each category but the first."""
    values, at = np.full((len(names) - 1, len(names) - 1), np.nan), {name: i for i, name in enumerate(names)}
    for one in table.to_dict("records"):
        column, row = sorted((at[one["category_a"]], at[one["category_b"]]))
        values[row - 1, column] = one["difference"]
        number = _two_digits(one["difference"]).replace("0.", ".") + "\N{BULLET}" * bool(one["p_corrected"] < 0.05)
        colour = "white" if abs(one["difference"]) > 0.3 else INK
        axes.text(column, row - 1, number, fontsize=SMALL, color=colour, ha="center", va="center")
    axes.imshow(values, cmap=SIGNED, vmin=-0.5, vmax=0.5)
    axes.spines[:].set_visible(False)


def _category_figure(table: pd.DataFrame, folders: Mapping[str, Path], path: Path) -> list[Path]:
    n_categories = len({*table["category_a"], *table["category_b"]})
    return (
        [save_figure(path, draw_categories(table), CAPTIONS["categories"])] if n_categories <= MOST_CATEGORIES else []
    )


# --------------------------------------------------------------------------------------------- training


def draw_curve(table: pd.DataFrame) -> Figure:
    """Draw units, and the read-out of categories, along a training."""
    layers, steps = list(dict.fromkeys(table["layer"].astype(str))), list(dict.fromkeys(table["step"]))
    columns = ["tuning_similarity", *(["accuracy"] if table["accuracy"].notna().any() else [])]
    titles = {"tuning_similarity": "similarity to the last", "accuracy": "read-out of categories"}
    labels = {"tuning_similarity": "correlation", "accuracy": "balanced accuracy"}
    colours = layer_colours(len(layers))
    figure, (row,) = panels([2.6] * len(columns), foot=0.45, handles=layer_handles(layers, colours))
    for axes, column in zip(row, columns, strict=True):
        for layer, colour in zip(layers, colours, strict=True):
            own = table[table["layer"] == layer]
            axes.plot([steps.index(one) for one in own["step"]], own[column], "o-", color=colour, linewidth=1.2, ms=2.5)
        _dress(axes, titles[column], labels[column])
        axes.set_xticks(range(len(steps)), [f"{step:g}" for step in steps])
        axes.set_xlabel("checkpoint", fontsize=SMALL, color=INK, labelpad=2)
    if "accuracy" in columns:
        row[1].axhline(float(table["chance"].dropna().iloc[0]), color=GREY, linewidth=1, linestyle="--")
    return figure


def _curve_figure(table: pd.DataFrame, folders: Mapping[str, Path], path: Path) -> list[Path]:
    caption = CAPTIONS["curve" if table["accuracy"].notna().any() else "curve alone"]
    return [save_figure(path, draw_curve(table), caption)]


FIGURES: dict[str, Callable[[pd.DataFrame, Mapping[str, Path], Path], list[Path]]] = {
    "units": _unit_figures,
    "categories": _category_figure,
    "curve": _curve_figure,
}
"""What draws each table of a comparison; that of layers is drawn with that of units."""


# --------------------------------------------------------------------------------------------- the page


def change_sections(
    name: str, tables: Path, figures: Path, files: Callable[..., Sequence[Link]], beside: Sequence[Link] = ()
) -> list[PageSection]:
    """Return the sections about what a comparison says of units; none where there is none.

    Parameters
    ----------
    name : str
        The comparison.
    tables, figures : path
        The folders of the tables and figures of comparisons.
    files : callable
        Makes links to files that are there.
    beside : sequence of Link
        Where else the page tells of this comparison.
    """
    found = []
    for part, heading in HEADINGS.items():
        rows = io.table_if_there(tables / f"{name}_{part}.tsv")
        if rows is None:
            continue
        each = _ends(rows).values() if part == "units" else [""]
        pictures = [figures / f"{name}_{part}{end}.png" for end in each]
        drawn = [(caption_of(path), path) for path in pictures if path.is_file()]
        links = [*files(tables / f"{name}_{part}.tsv"), *beside]
        found.append(PageSection(f"{heading}: {name}", paragraphs(_told(part, rows)), drawn, _shown(part, rows), links))
    return found


def _told(part: str, rows: pd.DataFrame) -> str:
    """Say in a sentence or two what a table cannot."""
    return TOLD[part](rows) if len(rows) else "There is nothing to compare."


def _told_of_layers(rows: pd.DataFrame) -> str:
    n_constant, n_units = int(rows["n_constant"].sum()), int(rows["n_units"].sum())
    same = [str(layer) for layer in rows["layer"][rows["n_same"] == rows["n_units"] - rows["n_constant"]]]
    unchanged = f" No unit of {', '.join(same)} puts the pictures in another order." if same else ""
    return (
        f"Of {n_units} units, {n_constant} respond alike to all pictures before or after and have no similarity."
        + unchanged
    )


def _told_of_units(rows: pd.DataFrame) -> str:
    shown, layers = chosen_layers(rows), list(dict.fromkeys(rows["layer"]))
    words = (
        f"Single units are shown of the {len(shown)} of {len(layers)} layers that changed most"
        if shown
        else "No unit changed"
    )
    return f"{words}; below, the units with the lowest similarity. The file has all {len(rows)}."


def _told_of_categories(rows: pd.DataFrame) -> str:
    n_low, n_alone, n_pairs = int((rows["p_corrected"] < 0.05).sum()), int((rows["p"] < 0.05).sum()), len(rows)
    return (
        f"The largest losses first. Of {n_pairs} comparisons {n_low} have p < .05, corrected for their number (and "
        f"{n_alone} without a correction). With few pictures of a category, a difference has to be large to be more "
        "than chance."
    )


def _told_of_curve(rows: pd.DataFrame) -> str:
    return "At the last checkpoint the similarity is 1, as it is compared with itself."


TOLD: dict[str, Callable[[pd.DataFrame], str]] = {
    "layers": _told_of_layers,
    "units": _told_of_units,
    "categories": _told_of_categories,
    "curve": _told_of_curve,
}
"""What is said of each table."""


def _shown(part: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table that people read."""
    if part == "units":
        rows = rows.sort_values("tuning_similarity", kind="stable").drop(columns=["chance"])
    return rows.head(MOST_ROWS)
