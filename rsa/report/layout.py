"""Cells in rows and columns, each with one picture per view, all at one scale of inches per millimetre."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsa.core import Array
from rsa.report.planes import VIEWS
from rsa.report.style import INK, PAGE, TEXT, TITLE, axes_at, fitted, inches_of

__all__ = ["BAR_WIDTH", "Sheet", "sheet"]

LONGEST, SHORTEST, HIGHEST = 1.5, 0.75, 8.5
"""The longest side of a box is drawn with so many inches at most, and at least to keep all rows so high together."""

GAP, HEAD, LINE, NAMES, BAR_WIDTH = 0.12, 0.12, 0.125, 1.3, 3.2
"""Inches between cells, above the titles of each, for each line of a title, for row names, and for the colour bar."""


@dataclass(frozen=True)
class Sheet:
    """A figure with its axes in place.

    Parameters
    ----------
    figure : Figure
        With all axes on it.
    cells : list of list of Axes
        Row by row, the axes of the views of each cell.
    bar : Axes
        For the colour bar, at the foot.
    """

    figure: Figure
    cells: list[list[Axes]]
    bar: Axes


@dataclass(frozen=True)
class _Cell:
    """Sizes of the views of a cell, shape (n_views, 2), and where they lie in it, in inches."""

    sizes: Array
    offsets: Array
    width: float
    height: float


def sheet(
    titles: Sequence[str],
    n_across: int,
    views: str,
    extents_mm: Array,
    *,
    stacked: bool = False,
    row_names: Sequence[str] = (),
    foot: float = 0.66,
) -> Sheet:
    """Lay out one cell per title.

    Parameters
    ----------
    titles : sequence of str
        Above the cells, row by row; what follows a line break is smaller.
    n_across : int
        Cells in a row.
    views : str
        Keys of `VIEWS`, one picture each.
    extents_mm : array, shape (3,)
        Of what is drawn, along x, y and z.
    stacked : bool
        Views above each other instead of beside each other.
    row_names : sequence of str
        To the left of the rows.
    foot : float
        Inches for the colour bar and its labels.
    """
    rows, row_points = fitted(row_names, NAMES, TITLE)
    margin = 0.1 + (inches_of(rows, row_points) + 0.1 if row_names else 0)
    n_down = -(-len(titles) // n_across)
    unit = _arrange(views, extents_mm, stacked)
    scale = min((PAGE - margin - GAP * n_across) / (n_across * unit.width), LONGEST / extents_mm.max())
    least = min(scale, SHORTEST / extents_mm.max())
    scale = max(min(scale, (HIGHEST / n_down - HEAD - 2 * LINE) / unit.height), least)
    cell = _arrange(views, extents_mm * scale, stacked)
    lines = [title.partition("\n") for title in titles]
    wished = max(inches_of((name for name, _, _ in lines), TITLE), inches_of((below for *_, below in lines), TEXT))
    pitch = max(cell.width + GAP, min(wished + 2 * GAP, (PAGE - margin) / n_across))
    room = pitch - 0.5 * GAP
    names, points = fitted([name for name, _, _ in lines], room, TITLE)
    others, small = fitted([below for _, _, below in lines], room, TEXT, n_lines=1)
    n_above = max(name.count("\n") + 1 for name in names) if any(names) else 0
    head = HEAD + LINE * (n_above + any(others))
    width = max(margin + n_across * pitch, BAR_WIDTH + 1)
    indent = margin + (width - margin - n_across * pitch) / 2 + (pitch - cell.width - GAP) / 2
    figure = Figure((width, n_down * (cell.height + head) + foot + 0.05))
    corners = [
        (indent + i % n_across * pitch, foot + (n_down - 1 - i // n_across) * (cell.height + head))
        for i in range(len(titles))
    ]
    for corner, name, below in zip(corners, names, others, strict=True):
        middle, top = corner[0] + cell.width / 2, corner[1] + cell.height + 0.05
        _write(figure, middle, top + LINE * bool(below), name, "center", points)
        _write(figure, middle, top, below, "center", small)
    for (_, bottom), name in zip(corners[::n_across], rows, strict=False):
        _write(figure, 0.1, bottom + cell.height / 2, name, "left", row_points)
    cells = [
        [axes_at(figure, *(corner + offset), *size) for offset, size in zip(cell.offsets, cell.sizes, strict=True)]
        for corner in np.array(corners)
    ]
    return Sheet(figure, cells, axes_at(figure, (width - BAR_WIDTH) / 2, foot - 0.25, BAR_WIDTH, 0.1))


def _arrange(views: str, extents: Array, stacked: bool) -> _Cell:
    """Put the views of a cell from left to right, or from top to bottom, centred."""
    sizes = np.array([[extents[axis] for axis in VIEWS[view]] for view in views])
    gap = 0.04 * extents.max()
    ends = np.cumsum(sizes + gap, axis=0) - gap
    if stacked:
        width, height = sizes[:, 0].max(), ends[-1, 1]
        offsets = np.stack([(width - sizes[:, 0]) / 2, height - ends[:, 1]], axis=1)
    else:
        width, height = ends[-1, 0], sizes[:, 1].max()
        offsets = np.stack([ends[:, 0] - sizes[:, 0], (height - sizes[:, 1]) / 2], axis=1)
    return _Cell(sizes, offsets, float(width), float(height))


def _write(figure: Figure, x: float, y: float, text: str, align: str, size: float) -> None:
    """Write a label at a place in inches."""
    width, height = figure.get_size_inches()
    vertical = "center" if align == "left" else "bottom"
    look: dict[str, Any] = {"fontsize": size, "color": INK, "linespacing": 1.1}
    figure.text(x / width, y / height, text, ha=align, va=vertical, **look)
