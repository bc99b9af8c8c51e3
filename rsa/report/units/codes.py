"""Figures of what layers say of the pictures: nearest neighbours, and maps with the pictures as markers."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle

from rsa.core import Array
from rsa.names import label_of
from rsa.report.panels import few_of
from rsa.report.style import GREY, INK, PAGE, TEXT, TITLE, axes_at, blank, inches_of, model_colours, plain, save_figure
from rsa.report.units.folder import UnitsFolder
from rsa.report.units.tiles import DPI, MOST_ROWS, Tiles, short

__all__ = ["embedding_figures", "neighbour_figures", "shown_conditions"]

MOST_COLOURS = 7
"""So many categories have a colour that any eye can tell from others; of more, the smaller ones share a grey."""

OTHERS = "other categories"
"""What the smaller ones are called."""

COVERED = 0.4
"""The share of a map that its pictures would cover if none lay over another."""

SMALLEST, LARGEST = 0.12, 0.5
"""Width of a picture on a map in inches."""

BETWEEN, TOP, MARGIN = 0.24, 0.34, 0.06
"""Room between two maps, above them, and at all sides, in inches."""

LINE = 0.16
"""Height of a line of a legend in inches."""

SAME = "#009e73"
"""Colour of the frame of a neighbour of the same category."""

METHODS = {"mds": "MDS: stress {:.2f}", "tsne": "t-SNE: divergence {:.2f}"}
"""What stands above each map."""


def shown_conditions(categories: Array | None, n: int, most: int = MOST_ROWS) -> Array:
    """Return the numbers of conditions that are shown, spread evenly over all of them, sorted by category.

    Examples
    --------
    >>> shown_conditions(np.array(["a", "b", "a", "b"]), 4, most=2)
    array([0, 1])
    """
    order = np.arange(n)
    if categories is not None:
        order = np.argsort(pd.factorize(categories)[0], kind="stable")
    count = min(n, most)
    return order[(np.arange(count) * n) // count]


# ---------------------------------------------------------------------------------------------- neighbours


def neighbour_figures(folder: UnitsFolder, to: Path) -> list[Path]:
    """Draw some conditions with their nearest neighbours, in the first, the middle and the last layer."""
    table, arrays = folder.table("neighbours"), folder.arrays("neighbours")
    if table is None or table.empty:
        return []
    conditions, categories = list(arrays["conditions"]), arrays.get("categories")
    shown = shown_conditions(categories, len(conditions))
    made = []
    for number, layer in enumerate(few_of(list(dict.fromkeys(table["layer"].astype(str)))), 1):
        sheet = _neighbours(folder, table[table["layer"].astype(str) == layer], arrays, shown)
        caption = _neighbours_caption(layer, len(shown), len(conditions), categories is not None)
        made.append(save_figure(to / f"neighbours_{number}_{label_of(layer)}.png", sheet.figure, caption, DPI))
    return made


def _neighbours(folder: UnitsFolder, table: pd.DataFrame, arrays: dict[str, Array], shown: Array) -> Tiles:
    conditions, categories = [str(name) for name in arrays["conditions"]], arrays.get("categories")
    place = {name: i for i, name in enumerate(conditions)}
    n_columns = int(table["rank"].max())
    height, width = folder.thumbnails.shape[1:3]
    heads = ["picture", "nearest", *(str(rank) for rank in range(2, n_columns + 1))]
    sheet = Tiles([conditions[i] for i in shown], 1 + n_columns, height / width, heads, largest=0.62)
    for row, i in enumerate(shown):
        sheet.show(row, 0, folder.thumbnails[arrays["pictures"][i]], interpolation="bilinear")
        own = table[table["condition"].astype(str) == conditions[i]]
        for column, (name, distance) in enumerate(zip(own["neighbour"].astype(str), own["distance"], strict=True), 1):
            j = place[name]
            picture = folder.thumbnails[arrays["pictures"][j]]
            sheet.show(row, column, picture, _distance(distance), interpolation="bilinear")
            if categories is not None and categories[i] and categories[i] == categories[j]:
                sheet.box(row, column, (height, width), (0, 0, height, width), SAME)
    return sheet


def _distance(value: float) -> str:
    """Write a distance, those of correlations with two digits behind the point."""
    return f"{value:.2f}" if 0.1 <= value < 10 else short(value)


def _neighbours_caption(layer: str, n_shown: int, n: int, framed: bool) -> str:
    which = f"{n_shown} of {n} conditions" if n_shown < n else f"All {n} conditions"
    how = ", spread evenly over the categories" if framed and n_shown < n else ", evenly spread" if n_shown < n else ""
    frames = " A green frame says that a neighbour has the category of the picture." if framed else ""
    return (
        f"{which}{how}, and beside each the conditions whose patterns are most like its own in layer {layer}, the "
        f"nearest first; below each its distance in the RDM of the layer.{frames} The first picture of a condition "
        "stands for it."
    )


# ------------------------------------------------------------------------------------------ two dimensions


def embedding_figures(folder: UnitsFolder, to: Path) -> list[Path]:
    """Draw the conditions as pictures at their places by MDS and t-SNE, in the first, the middle and the last layer."""
    table, arrays = folder.table("embeddings"), folder.arrays("embeddings")
    if table is None or table.empty:
        return []
    made = []
    for number, layer in enumerate(few_of(list(dict.fromkeys(table["layer"].astype(str)))), 1):
        figure = _maps(folder, table[table["layer"].astype(str) == layer], arrays)
        colours = _colours(arrays)
        made.append(
            save_figure(to / f"embeddings_{number}_{label_of(layer)}.png", figure, _maps_caption(layer, colours), DPI)
        )
    return made


def _maps_caption(layer: str, colours: dict[str, str]) -> str:
    frames = " The colour of a frame is the category." if colours else ""
    return (
        f"The pictures in layer {layer}, at places that two methods find from its RDM. Left, MDS: distances on the map "
        "are as like those of the RDM as two dimensions allow; a stress of 0 is a perfect map, above .2 it is a coarse "
        "one. Right, t-SNE: who is near whom is kept, the better the smaller the divergence; the size of clusters and "
        "how far apart they are mean little. "
        f"Axes have no meaning.{frames} The first picture of a condition stands for it; pictures may lie over others."
    )


def _colours(arrays: dict[str, Array]) -> dict[str, str]:
    """Return a colour for each category, of too many for the largest; none where there are no categories."""
    sizes = Counter(str(name) for name in arrays.get("categories", []) if name)
    if len(sizes) <= MOST_COLOURS:
        return model_colours(list(sizes))
    largest = {name for name, n in sizes.most_common(MOST_COLOURS - 1) if n > 1}
    return {**model_colours([name for name in sizes if name in largest]), OTHERS: GREY}


def _maps(folder: UnitsFolder, table: pd.DataFrame, arrays: dict[str, Array]) -> Figure:
    colours, side = _colours(arrays), (PAGE - BETWEEN - 2 * MARGIN) / len(METHODS)
    rows = _legend_rows(list(colours))
    below = MARGIN + LINE * len(rows)
    figure = Figure((PAGE, below + side + TOP))
    frames = [colours.get(str(name), GREY) for name in arrays["categories"]] if colours else None
    pictures = folder.thumbnails[arrays["pictures"]]
    for k, (method, words) in enumerate(METHODS.items()):
        own = table[table["method"] == method]
        axes = axes_at(figure, MARGIN + k * (side + BETWEEN), below, side, side)
        blank(axes)
        _place(axes, own[["x", "y"]].to_numpy(dtype=float), pictures, frames, side)
        axes.set_title(words.format(float(own["misfit"].iloc[0])), fontsize=TITLE, color=INK, loc="left")
    for line, names in enumerate(rows):
        handles = [Patch(facecolor="none", edgecolor=colours[name], linewidth=1.5, label=plain(name)) for name in names]
        at = ((MARGIN / PAGE), (below - LINE * (line + 1)) / figure.get_figheight())
        look = {"frameon": False, "fontsize": TEXT, "labelcolor": INK, "handlelength": 1.0, "handleheight": 1.0}
        figure.legend(handles=handles, ncols=len(names), loc="lower left", bbox_to_anchor=at, borderpad=0, **look)
    return figure


def _legend_rows(names: Sequence[str]) -> list[list[str]]:
    """Divide names into lines that fit the page."""
    rows: list[list[str]] = []
    left = 0.0
    for name in names:
        width = inches_of([plain(name)], TEXT) + 0.45
        if not rows or width > left:
            rows.append([])
            left = PAGE - 2 * MARGIN
        rows[-1].append(name)
        left -= width
    return rows


def _place(axes: Axes, places: Array, pictures: Array, frames: Sequence[str] | None, side: float) -> None:
    """Draw pictures at their places in axes that are `side` inches wide and high, whose data are inches too."""
    size = float(np.clip(side * np.sqrt(COVERED / len(places)), SMALLEST, LARGEST))
    middle, reach = (places.max(axis=0) + places.min(axis=0)) / 2, np.ptp(places, axis=0).max() or 1.0
    at = side / 2 + (places - middle) * (side - 1.2 * size) / reach  # one scale for both axes: distances stay true
    height, width = pictures.shape[1:3]
    across, down = size * min(1, width / height), size * min(1, height / width)
    axes.set(xlim=(0, side), ylim=(0, side))
    for number, (x, y) in enumerate(at):
        extent = (x - across / 2, x + across / 2, y - down / 2, y + down / 2)
        image = AxesImage(axes, extent=extent, origin="upper", interpolation="bilinear", zorder=number + 1)
        image.set_data(pictures[number])
        axes.add_image(image)
        image.set_zorder(number + 1)
        edge = GREY if frames is None else frames[number]
        box = Rectangle(
            (extent[0], extent[2]), across, down, fill=False, edgecolor=edge, linewidth=1.0 if frames else 0.3
        )
        box.set_zorder(number + 1.5)
        axes.add_patch(box)
