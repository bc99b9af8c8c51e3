"""Figures of the pictures that were made for units, beside what drives them most in the stimulus set."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rsa.core import Array
from rsa.report.style import GREY, save_figure
from rsa.report.units.folder import UnitsFolder
from rsa.report.units.tiles import DPI, MOST_ROWS, Tiles, class_name, cut_out, short

__all__ = ["maximised_figures"]

MOST_COLUMNS = 6
"""So many units stand beside each other; further ones of a layer begin new rows."""

LARGEST = 0.8
"""Largest width of a picture in inches, so that twelve rows are no longer than a page."""

CAPTION = (
    "Pictures that were made for units by gradient ascent, and below each, for comparison, the picture of the stimulus "
    "set that drives the unit most. Both are cut to the theoretical receptive field of the unit, where that is smaller "
    "than the picture. The numbers are the highest responses of the unit to them."
)


def maximised_figures(folder: UnitsFolder, to: Path) -> list[Path]:
    """Draw the pictures that were made for units, two rows for the units of a layer."""
    table, arrays = folder.table("maximised"), folder.arrays("maximised")
    if table is None or not len(table):
        return []
    groups = [
        (str(layer), list(of_layer.index[start : start + MOST_COLUMNS]))
        for layer, of_layer in table.groupby("layer", sort=False)
        for start in range(0, len(of_layer), MOST_COLUMNS)
    ]
    most = MOST_ROWS // 2
    sheets = [groups[start : start + most] for start in range(0, len(groups), most)]
    numbers = [""] if len(sheets) == 1 else [f"_{k:02}" for k in range(1, len(sheets) + 1)]
    return [
        save_figure(to / f"maximised{number}.png", _sheet(sheet, table, arrays, folder).figure, CAPTION, DPI)
        for number, sheet in zip(numbers, sheets, strict=True)
    ]


def _sheet(
    groups: Sequence[tuple[str, Sequence[int]]], table: pd.DataFrame, arrays: dict[str, Array], folder: UnitsFolder
) -> Tiles:
    """Draw the units of some layers: below what was made for each, the best picture."""
    units = folder.table("units")
    known = {} if units is None or "name" not in units else units.set_index(["layer", "unit"])["name"].to_dict()
    names = [name for layer, _ in groups for name in (layer, "best picture")]
    height, width = folder.input_px
    sheet = Tiles(
        names, max(len(numbers) for _, numbers in groups), height / width, largest=LARGEST, words=[2, 1] * len(groups)
    )
    for row, (layer, numbers) in enumerate(groups):
        for column, k in enumerate(numbers):
            unit, made, best = (table[name][k] for name in ("unit", "made", "best"))
            called = class_name(known.get((layer, unit))) or f"unit {unit}"
            sheet.show(2 * row, column, cut_out(arrays["made"][k], arrays["fields"][k]), f"{called}\n{short(made)}")
            picture = folder.picture(int(arrays["best"][k]))
            sheet.show(2 * row + 1, column, cut_out(picture, arrays["best_fields"][k]), short(best))
            for below in (0, 1):
                sheet.box(2 * row + below, column, (1, 1), (0, 0, 1, 1), GREY)
    return sheet
