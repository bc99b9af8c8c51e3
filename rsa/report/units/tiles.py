"""Pictures beside each other in a figure: rows of units, columns of pictures, with words around them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from rsa.core import Array
from rsa.report.style import INK, PAGE, SMALL, TEXT, axes_at, blank, fitted

__all__ = ["DPI", "MOST_ROWS", "Tiles"]

DPI = 150
"""Pixels per inch of figures of many pictures: photographs would make files of several MB of them otherwise."""

MOST_ROWS = 12
"""So many rows of pictures stand in a figure; more go to another one."""

GAP, WORD, NAME = 0.05, 0.14, 0.9
"""Room between pictures, below each for a word, and left of a row for its name, in inches."""


class Tiles:
    """A figure with room for pictures in rows and columns, all in one pair of axes, whose units are inches.

    Parameters
    ----------
    rows : sequence of str
        What stands left of each row.
    n_columns : int
        Pictures in a row.
    aspect : float
        Height of a picture as a share of its width.
    heads : sequence of str
        What stands above each column.
    largest : float
        The largest width of a picture, in inches.
    words : sequence of bool, optional
        Whether words stand below the pictures of each row; by default below all.
    """

    def __init__(
        self,
        rows: Sequence[str],
        n_columns: int,
        aspect: float = 1.0,
        heads: Sequence[str] = (),
        largest: float = 1.0,
        words: Sequence[bool] = (),
    ) -> None:
        self.width = min(largest, (PAGE - NAME) / n_columns - GAP)
        self.height = self.width * aspect
        below = [WORD if has_words else 0.0 for has_words in words or [True] * len(rows)]
        top = WORD + GAP if heads else GAP
        total = top + len(rows) * (self.height + GAP) + sum(below)
        self.tops = [total - top - sum(self.height + GAP + room for room in below[:row]) for row in range(len(rows))]
        self.figure = Figure((NAME + n_columns * (self.width + GAP), total))
        self.axes: Axes = axes_at(self.figure, 0, 0, *self.figure.get_size_inches())
        blank(self.axes)
        self.axes.set(xlim=(0, self.figure.get_figwidth()), ylim=(0, total))
        for row, name in enumerate(rows):
            (shown,), size = fitted([name], NAME - 0.1, TEXT, n_lines=3)
            self._write(NAME - GAP, self.tops[row] - self.height / 2, shown, size, ha="right", va="center")
        for column, head in enumerate(heads):
            (shown,), size = fitted([head], self.width, TEXT, n_lines=1)
            self._write(self._left(column) + self.width / 2, self.tops[0] + 0.03, shown, size, ha="center", va="bottom")

    def _left(self, column: int) -> float:
        return NAME + column * (self.width + GAP)

    def _write(self, x: float, y: float, text: str, size: float, **look: Any) -> None:
        self.axes.text(x, y, text, fontsize=size, color=INK, **look)

    def show(self, row: int, column: int, picture: Array, below: str = "", **look: Any) -> None:
        """Put a picture in its place, (height, width) or (height, width, 3 or 4), with a word below it.

        Further arguments are those of matplotlib's images (`cmap`, `norm`, `alpha`, `interpolation`); the limits of
        colours are `vmin` and `vmax`. Several pictures may lie over each other.
        """
        limits = look.pop("vmin", None), look.pop("vmax", None)
        left, top = self._left(column), self.tops[row]
        extent = (left, left + self.width, top - self.height, top)
        image = AxesImage(self.axes, extent=extent, origin="upper", **{"interpolation": "nearest", **look})
        image.set_data(np.asarray(picture))
        image.set_clim(*limits)
        self.axes.add_image(image)
        if below:
            (shown,), size = fitted([below], self.width, SMALL, n_lines=1)
            self._write(left + self.width / 2, top - self.height - 0.02, shown, size, ha="center", va="top")

    def box(
        self, row: int, column: int, shape: tuple[int, int], box: tuple[float, float, float, float], colour: str
    ) -> None:
        """Outline a part of a picture: first row and column, and one behind the last of each, in its pixels."""
        down, across = self.height / shape[0], self.width / shape[1]
        first_row, first_column, last_row, last_column = box
        left, top = self._left(column) + first_column * across, self.tops[row] - first_row * down
        size = (last_column - first_column) * across, (first_row - last_row) * down
        self.axes.add_patch(Rectangle((left, top), *size, fill=False, edgecolor=colour, linewidth=0.7))
