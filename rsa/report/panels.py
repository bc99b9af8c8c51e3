"""Panels beside and below each other: their places, titles, scales, the layers along them, and legends."""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar, cast

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rsa.report.style import FAINT, INK, SMALL, TEXT, TITLE, axes_at, fitted, inches_of, plain, short_names

__all__ = ["GAP", "dress", "few_of", "foot_of", "give_title", "layer_handles", "layers_below", "panels", "put_legend"]

T = TypeVar("T")

HEIGHT, GAP, ABOVE, LINE = 1.7, 0.55, 0.35, 0.165
"""Height of a panel, room left of it for its scale, above it for its title, and for a line of the legend, in inches."""

N_LETTERS, MOST_NAMED = 18, 24
"""So many letters of the name of a layer stand below a panel, and so many names: of more layers each second, say."""

FEW = 4
"""Of more layers, a legend has the first, the one in the middle, and the last."""


def panels(
    widths: Sequence[float], n_down: int = 1, foot: float = 0.0, handles: Sequence[Line2D] = ()
) -> tuple[Figure, list[list[Axes]]]:
    """Make a figure with rows of panels, and a legend above them; return it, and the panels from the top.

    Parameters
    ----------
    widths : sequence of float
        Of the panels of a row, in inches.
    n_down : int
        Number of rows.
    foot : float
        Room below the last row, for names, in inches.
    handles : sequence of Line2D
        What the legend shows.
    """
    figure = Figure((sum(widths) + GAP * len(widths) + 0.1, n_down * (HEIGHT + ABOVE) + foot))
    lefts = [GAP * (i + 1) + sum(widths[:i]) for i in range(len(widths))]
    bottoms = [foot + (n_down - 1 - row) * (HEIGHT + ABOVE) for row in range(n_down)]
    rows = [
        [axes_at(figure, left, bottom, width, HEIGHT) for left, width in zip(lefts, widths, strict=True)]
        for bottom in bottoms
    ]
    put_legend(figure, handles)
    return figure, rows


def put_legend(figure: Figure, handles: Sequence[Artist], n_lines: int = 0) -> None:
    """Put a legend above all panels, if it has an entry, in as many lines as it needs.

    Parameters
    ----------
    figure : Figure
        Becomes higher.
    handles : sequence of Artist
        What the legend shows.
    n_lines : int
        For so many lines there is room already.
    """
    if not handles:
        return
    widest = inches_of([str(handle.get_label()) for handle in handles]) + 0.5
    n_across = max(1, min(len(handles), int(figure.get_figwidth() // widest)))
    _grow(figure, LINE * (-(-len(handles) // n_across) - n_lines))
    look: dict[str, Any] = {"fontsize": TEXT, "frameon": False, "labelcolor": INK, "handlelength": 1.6}
    figure.legend(handles=list(handles), loc="upper center", ncols=n_across, borderaxespad=0.1, **look)


def _grow(figure: Figure, inches: float) -> None:
    """Add room at the top of a figure."""
    width, height = figure.get_size_inches()
    share = height / (height + inches)
    for axes in figure.axes:
        left, bottom, across, up = axes.get_position().bounds
        axes.set_position((left, bottom * share, across, up * share))
    figure.set_size_inches(width, height + inches)


def give_title(axes: Axes, title: str, pad: float = 3, beyond: float = 0.2) -> None:
    """Write a title above a panel, in small type or shortened where it is longer than the panel and `beyond` inches."""
    figure = cast(Figure, axes.figure)
    width = axes.get_position().width * float(figure.get_figwidth()) + beyond
    (shown,), size = fitted([title], width, TITLE, n_lines=1)
    axes.set_title(shown, fontsize=size, color=INK, pad=pad)


def dress(axes: Axes, size: float = SMALL, grid: Literal["x", "y"] | None = "y") -> None:
    """Give a panel numbers of a size and a faint grid behind, and take the frame above and on the right away."""
    axes.tick_params(labelsize=size, length=2, colors=INK)
    if grid is not None:
        axes.grid(axis=grid, color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def layers_below(axes: Axes, layers: Sequence[str], named: bool = True) -> None:
    """Put layers along a panel, at 0, 1, ..., and name them, or leave that to the panel below."""
    step = -(-len(layers) // MOST_NAMED)
    names = short_names(layers, N_LETTERS) if named else [""] * len(layers)
    axes.set_xticks(range(len(layers)), [name if i % step == 0 else "" for i, name in enumerate(names)], rotation=90)
    axes.set_xlim(-0.5, len(layers) - 0.5)


def foot_of(layers: Sequence[str]) -> float:
    """Return the room that names of layers need below a panel, in inches."""
    return inches_of(short_names(layers, N_LETTERS), SMALL) + 0.15


def layer_handles(layers: Sequence[str], colours: Sequence[Any]) -> list[Line2D]:
    """Return what a legend shows of layers in order: all of a few, or else the first, the middle one and the last."""
    shown = few_of(range(len(layers))) if len(layers) > FEW else range(len(layers))
    return [Line2D([], [], color=colours[i], label=plain(layers[i] or "layer", 24)) for i in shown]


def few_of(some: Sequence[T]) -> list[T]:
    """Return the first, the one in the middle, and the last of several.

    Examples
    --------
    >>> few_of(["a", "b", "c", "d", "e"]), few_of(["a"])
    (['a', 'c', 'e'], ['a'])
    """
    return list(dict.fromkeys([some[0], some[(len(some) - 1) // 2], some[-1]])) if some else []
