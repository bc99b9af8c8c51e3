"""All figures of what the units of a network see."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rsa.report.style import caption_of
from rsa.report.units.channels import channel_figures
from rsa.report.units.codes import embedding_figures, neighbour_figures
from rsa.report.units.fields import field_figures
from rsa.report.units.filters import filter_figures
from rsa.report.units.folder import UnitsFolder
from rsa.report.units.heat_maps import heat_map_figures
from rsa.report.units.maximised import maximised_figures
from rsa.report.units.preferred import preferred_figures
from rsa.report.units.readout import readout_figures

__all__ = ["FIGURES", "unit_figures"]

FIGURES: dict[str, Callable[[UnitsFolder, Path], list[Path]]] = {
    "preferred": preferred_figures,
    "filters": filter_figures,
    "maximised": maximised_figures,
    "fields": field_figures,
    "heat_maps": heat_map_figures,
    "channels": channel_figures,
    "neighbours": neighbour_figures,
    "embeddings": embedding_figures,
    "readout": readout_figures,
}
"""What draws each part, in the order of the page: nothing of a part that was not asked for. The files of a part begin
with its name."""


def unit_figures(tables: str | Path, to: str | Path) -> list[Path]:
    """Draw all that was asked of the units of a network; return the files (PNG).

    Parameters
    ----------
    tables : path
        The folder that the stage `units` wrote.
    to : path
        Where the figures go.
    """
    folder, made = UnitsFolder(Path(tables)), list[Path]()
    for part, draw in FIGURES.items():
        drawn = draw(folder, Path(to))
        _remove_others(part, drawn, Path(to))
        made += drawn
    return made


def _remove_others(part: str, drawn: Sequence[Path], to: Path) -> None:
    """Remove the figures of a part that an earlier look left in a folder: those with a caption in them."""
    names = {path.stem for path in drawn}
    for path in [*to.glob(f"{part}.png"), *to.glob(f"{part}_*.png")]:
        if path.stem not in names and _has_caption(path):
            path.with_suffix(".svg").unlink(missing_ok=True)
            path.unlink()


def _has_caption(path: Path) -> bool:
    try:
        return bool(caption_of(path))
    except OSError:
        return False
