"""The figure of the filters of the first layer, as pictures in colour."""

from pathlib import Path

import numpy as np
import pandas as pd

from rsa.core import Array
from rsa.report.style import save_figure
from rsa.report.units.folder import UnitsFolder
from rsa.report.units.tiles import DPI, MOST_ROWS, Tiles

__all__ = ["as_picture", "filter_figures", "filter_groups"]

COLOURED, ORIENTED, NOTHING = 0.5, 0.2, 0.01
"""From which colour share on a filter is called coloured, from which selectivity on oriented, and up to which share of
the largest norm its weights are next to nothing."""

N_COLUMNS = 12

MOST_SHOWN = N_COLUMNS * (MOST_ROWS - 4)
"""So many filters stand in the figure, those of the largest norms: each of the four groups begins a row."""

CAPTION = (
    "The filters of the first layer as pictures, their pixels enlarged. Mid grey is a weight of zero; a filter "
    "responds more where the picture is bright or coloured as the filter is, and less to the opposite. Each is "
    "scaled to its own largest weight. Below each: its number, and the orientation of its stripes (0 horizontal, "
    f"90 vertical) if it is oriented (selectivity of {ORIENTED} or more). A filter is one of colour if more than "
    "half of the energy of its weights is not grey."
)


def filter_figures(folder: UnitsFolder, to: Path) -> list[Path]:
    """Draw the filters of the first layer, group by group."""
    table, arrays = folder.table("filters"), folder.arrays("filters")
    if table is None or "weights" not in arrays:
        return []
    groups = filter_groups(table)
    rows = [
        (name if start == 0 else "", numbers[start : start + N_COLUMNS])
        for name, numbers in groups.items()
        for start in range(0, len(numbers), N_COLUMNS)
    ]
    if not rows:
        return []
    height, width = arrays["weights"].shape[1:3]
    sheet = Tiles([name.replace(", ", ",\n") for name, _ in rows], N_COLUMNS, height / width, largest=0.5)
    oriented = table["orientation_selectivity"].to_numpy() >= ORIENTED
    for row, (_, numbers) in enumerate(rows):
        for column, number in enumerate(numbers):
            angle = f", {table['orientation_deg'][number]:.0f}°" if oriented[number] else ""
            sheet.show(row, column, as_picture(arrays["weights"][number]), f"{number}{angle}")
    return [save_figure(to / "filters.png", sheet.figure, CAPTION + _left_out(table, groups), DPI)]


def filter_groups(table: pd.DataFrame) -> dict[str, list[int]]:
    """Return the numbers of the filters that are shown, by what they are.

    Oriented filters are in the order of their orientations, others in that of their colour shares.
    """
    is_something = table["norm"] > NOTHING * table["norm"].max()
    largest = table[is_something].nlargest(MOST_SHOWN, "norm", keep="first")
    coloured = largest["colour_share"] > COLOURED
    oriented = largest["orientation_selectivity"] >= ORIENTED
    found = {
        "light and dark, oriented": largest[~coloured & oriented].sort_values("orientation_deg", kind="stable"),
        "light and dark, not oriented": largest[~coloured & ~oriented].sort_values("colour_share", kind="stable"),
        "colour, oriented": largest[coloured & oriented].sort_values("orientation_deg", kind="stable"),
        "colour, not oriented": largest[coloured & ~oriented].sort_values("colour_share", kind="stable"),
    }
    return {name: [int(number) for number in rows["filter"]] for name, rows in found.items() if len(rows)}


def as_picture(weights: Array) -> Array:
    """Return a filter, (height, width, 3), as a picture from 0 to 1: zero is mid grey, its largest weight is at an end.

    Examples
    --------
    >>> as_picture(np.array([[[2.0, 0.0, -1.0]]])).tolist()
    [[[1.0, 0.5, 0.25]]]
    """
    return np.asarray(0.5 + 0.5 * weights / max(float(np.abs(weights).max()), np.finfo(float).tiny))


def _left_out(table: pd.DataFrame, groups: dict[str, list[int]]) -> str:
    """Say how many filters are not in the figure."""
    n_nothing = int((~(table["norm"] > NOTHING * table["norm"].max())).sum())
    n_more = len(table) - n_nothing - sum(map(len, groups.values()))
    said = f" {n_nothing} filters whose weights are next to nothing are left out." if n_nothing else ""
    return said + (f" {n_more} more have smaller norms; the table has all." if n_more else "")
