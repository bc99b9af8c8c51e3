"""Figures of what drives units: the pictures to which they respond most, and their maps over them."""

from pathlib import Path

from rsa.names import label_of
from rsa.report.style import save_figure
from rsa.report.units.folder import UnitsFolder
from rsa.report.units.tiles import DPI, Tiles

__all__ = ["CAPTION", "preferred_figures"]

CAPTION = (
    "The pictures to which each unit responds most, the highest response first, as the network sees them, and below "
    "each the activation map of the unit: its responses at all places, from dark (lowest) to bright (highest)."
)


def preferred_figures(folder: UnitsFolder, to: Path) -> list[Path]:
    """Draw the pictures to which units respond most, a figure for each layer."""
    table, arrays = folder.table("preferred"), folder.arrays("preferred")
    units = folder.table("units")
    if table is None or units is None:
        return []
    made = []
    for layer, of_layer in units.groupby("layer", sort=False):
        names = [name for unit in of_layer["unit"] for name in (f"unit {unit}", "")]
        sheet = Tiles(names, int(table["rank"].max()), words=[True, False] * len(of_layer))
        for row, k in enumerate(of_layer.index):
            own = table[(table["layer"] == layer) & (table["unit"] == of_layer["unit"][k])]
            for column, (number, response) in enumerate(zip(own["picture"], own["response"], strict=True)):
                sheet.show(2 * row, column, folder.picture(int(number)), f"{response:.3g}")
                sheet.show(2 * row + 1, column, arrays[f"maps_{k}"][column], cmap="magma")
        made.append(save_figure(to / f"preferred_{label_of(str(layer))}.png", sheet.figure, CAPTION, DPI))
    return made
