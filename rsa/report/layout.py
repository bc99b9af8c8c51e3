"""Cells in rows and columns, each with one picture per view, all at one scale of inches per millimetre."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsa.core import Array
from rsa.report.planes import VIEWS
from rsa.report.style import INK, TEXT, TITLE, axes_at, plain, short_names

__all__ = ["Sheet", "sheet"]

PAGE_WIDTH = 10.0
"""Width of the widest figure in inches."""

LONGEST = 1.75
"""The longest side of a box is drawn with so many inches at most."""

GAP, HEAD, LINE, LETTER, BAR_WIDTH = 0.14, 0.27, 0.14, 0.072, 3.2
"""Inches between cells, above each for its title, for a second line, for a letter, and for the colour bar."""


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
    foot: float = 0.72,
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
    margin = 0.1 + (0.078 * min(max(map(len, row_names)), 24) + 0.1 if row_names else 0)
    n_down = -(-len(titles) // n_across)
    unit = _arrange(views, extents_mm, stacked)
    head = HEAD + LINE * any("\n" in title for title in titles)
    scale = min((PAGE_WIDTH - margin - GAP * n_across) / (n_across * unit.width), LONGEST / extents_mm.max())
    cell = _arrange(views, extents_mm * scale, stacked)
    width = max(margin + n_across * (cell.width + GAP), BAR_WIDTH + 1)
    indent = margin + (width - margin - n_across * (cell.width + GAP)) / 2
    figure = Figure((width, n_down * (cell.height + head) + foot + 0.05))
    corners = [
        (indent + i % n_across * (cell.width + GAP), foot + (n_down - 1 - i // n_across) * (cell.height + head))
        for i in range(len(titles))
    ]
    lines = [title.partition("\n") for title in titles]
    names = short_names([name for name, _, _ in lines], max(int((cell.width + GAP) / LETTER), 9))
    for corner, name, (_, _, below) in zip(corners, names, lines, strict=True):
        middle, top = corner[0] + cell.width / 2, corner[1] + cell.height + 0.06
        _write(figure, middle, top + LINE * bool(below), name, "center", TITLE - 0.5)
        _write(figure, middle, top, below, "center", TEXT - 0.5)
    for (_, bottom), name in zip(corners[::n_across], row_names, strict=False):
        _write(figure, 0.1, bottom + cell.height / 2, plain(name, 24), "left", TITLE - 0.5)
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
    figure.text(x / width, y / height, text, ha=align, va=vertical, fontsize=size, color=INK)
