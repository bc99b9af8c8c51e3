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

__all__ = ["DPI", "MOST_ROWS", "Tiles", "class_name", "cut_out", "short"]

DPI = 150
"""Pixels per inch of figures of many pictures: photographs would make files of several MB of them otherwise."""

MOST_ROWS = 12
"""So many rows of pictures stand in a figure; more go to another one."""

GAP, WORD, NAME = 0.05, 0.14, 0.9
"""Room between pictures, below each for a word, and left of a row for its name, in inches."""

BEYOND = 214
"""Grey of what is beyond the border of a picture, from 0 to 255: many pictures have a white ground themselves."""


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
    words : sequence of int, optional
        How many lines of words stand below the pictures of each row; by default one.
    """

    def __init__(
        self,
        rows: Sequence[str],
        n_columns: int,
        aspect: float = 1.0,
        heads: Sequence[str] = (),
        largest: float = 1.0,
        words: Sequence[int] = (),
    ) -> None:
        self.width = min(largest, (PAGE - NAME) / n_columns - GAP)
        self.height = self.width * aspect
        below = [WORD * n_lines for n_lines in words or [1] * len(rows)]
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

    def show(
        self,
        row: int,
        column: int,
        picture: Array,
        below: str = "",
        within: tuple[tuple[int, int], Array] | None = None,
        **look: Any,
    ) -> None:
        """Put a picture in its place, (height, width) or (height, width, 3 or 4), with words below it.

        Several pictures may lie over each other. One that is `within` another is told the shape of that, and where in
        it it lies: above which row it begins, left of which column, and below and right of which it ends; what is
        outside is cut off. Further arguments are those of matplotlib's images (`cmap`, `norm`, `alpha`,
        `interpolation`); the limits of colours are `vmin` and `vmax`.
        """
        limits = look.pop("vmin", None), look.pop("vmax", None)
        left, top = self._left(column), self.tops[row]
        shape, edges = within or ((1, 1), (0, 0, 1, 1))
        down, across = self.height / shape[0], self.width / shape[1]
        extent = (
            left + edges[1] * across,
            left + edges[3] * across,
            top - edges[2] * down,
            top - edges[0] * down,
        )
        image = AxesImage(self.axes, extent=extent, origin="upper", **{"interpolation": "nearest", **look})
        image.set_data(np.asarray(picture))
        image.set_clim(*limits)
        self.axes.add_image(image)
        if within:
            place = Rectangle((left, top - self.height), self.width, self.height, transform=self.axes.transData)
            image.set_clip_path(place)
        if below:
            lines, size = fitted(below.split("\n"), self.width, SMALL, n_lines=1)
            words = "\n".join(lines)
            self._write(left + self.width / 2, top - self.height - 0.02, words, size, ha="center", va="top")

    def box(
        self, row: int, column: int, shape: tuple[int, int], box: tuple[float, float, float, float], colour: str
    ) -> None:
        """Outline a part of a picture: first row and column, and one behind the last of each, in its pixels."""
        down, across = self.height / shape[0], self.width / shape[1]
        first_row, first_column, last_row, last_column = box
        left, top = self._left(column) + first_column * across, self.tops[row] - first_row * down
        size = (last_column - first_column) * across, (first_row - last_row) * down
        self.axes.add_patch(Rectangle((left, top), *size, fill=False, edgecolor=colour, linewidth=0.7))


def short(response: float) -> str:
    """Write a response in few letters.

    Examples
    --------
    >>> short(1234.5), short(12.345), short(-0.01234), short(1234567.0)
    ('1234', '12.3', '\N{MINUS SIGN}0.0123', '1.23e+06')
    """
    written = f"{response:.0f}" if 100 <= abs(response) < 1e5 else f"{response:.3g}"
    return written.replace("-", "\N{MINUS SIGN}") if "e" not in written else written


def class_name(name: object) -> str:
    """Return the first of the names of a class; nothing where none is known.

    Examples
    --------
    >>> class_name("tabby, tabby cat"), class_name(None)
    ('tabby', '')
    """
    return name.partition(",")[0] if isinstance(name, str) else ""


def cut_out(picture: Array, box: Sequence[int]) -> Array:
    """Return a part of a picture with the proportions of the picture; beyond its border it is light grey.

    Parameters
    ----------
    picture : array, shape (height, width, 3)
        From 0 to 255.
    box : sequence of int
        First row, first column, and one behind the last of each.

    Returns
    -------
    array, shape (part_height, part_width, 3)
        As small as it can be to hold the part. At the border of the picture the part lies at that side where the
        picture goes on.
    """
    (top, left, bottom, right), (height, width) = [int(edge) for edge in box], picture.shape[:2]
    part = picture[top:bottom, left:right]
    share = max(part.shape[0] / height, part.shape[1] / width)
    n_rows, n_columns = (max(n, round(share * size)) for n, size in zip(part.shape, (height, width), strict=False))
    whole = np.full((n_rows, n_columns, 3), BEYOND, dtype=np.uint8)
    row = _beginning(n_rows - part.shape[0], top == 0, bottom == height)
    column = _beginning(n_columns - part.shape[1], left == 0, right == width)
    whole[row : row + part.shape[0], column : column + part.shape[1]] = part
    return whole


def _beginning(n_free: int, is_cut_before: bool, is_cut_behind: bool) -> int:
    """Return how many of the free rows or columns lie before a part."""
    return n_free // 2 if is_cut_before == is_cut_behind else n_free * is_cut_before
