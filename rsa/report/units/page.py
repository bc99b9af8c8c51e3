"""The sections of a page about what the units of a network see."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from rsa.files import io
from rsa.report.html import Link, PageSection, paragraphs
from rsa.report.style import caption_of
from rsa.report.units.tiles import class_name

__all__ = ["HEADINGS", "unit_sections"]

HEADINGS = {
    "units": "Units that are looked at",
    "preferred": "What drives a unit",
    "tuning": "How selective units are",
    "fields": "Receptive fields",
    "filters": "Filters of the first layer",
    "maximised": "Pictures made for a unit",
    "heat_maps": "Where a class is seen",
    "neighbours": "Nearest neighbours",
    "embeddings": "Pictures in two dimensions",
    "readout": "Read-out of categories",
    "channels": "Channels that carry the fit",
    "channels_best": "The best channels together",
}
"""What each table and part is called on the page."""

IN_PLACE: dict[str, str | None] = {
    "preferred": None,
    "filters": None,
    "neighbours": "neighbours_categories",
    "embeddings": None,
}
"""Which table stands on the page in place of one that no one would read there, if any; all are linked."""

MOST_SHOWN = 60
"""So many rows of a table stand on the page; the file has all."""


def unit_sections(tables: Path, figures: Path, files: Callable[..., Sequence[Link]]) -> list[PageSection]:
    """Return the sections about the units of a network; none where nothing was asked.

    Parameters
    ----------
    tables, figures : path
        The folders of its tables and figures.
    files : callable
        Makes links to files that are there.
    """
    found = []
    for part, heading in HEADINGS.items():
        table, pictures = tables / f"{part}.tsv", sorted(figures.glob(f"{part}_*.png"))
        pictures = [*figures.glob(f"{part}.png"), *pictures]
        if not table.is_file() and not pictures:
            continue
        stands = tables / f"{IN_PLACE.get(part, part)}.tsv"
        rows = io.table_if_there(stands)
        shown = None if rows is None else _shown(rows)
        is_cut = rows is not None and len(rows) > MOST_SHOWN
        text = paragraphs(f"The table has the first {MOST_SHOWN} rows; all are in the file.") if is_cut else ""
        drawn = [(caption_of(path), path) for path in pictures]
        links = files(table, *sorted(tables.glob(f"{part}_*.tsv")))
        found.append(PageSection(heading, text, drawn, shown, links, columns=_columns(stands)))
    return found


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what a reader sees of a table: names without folders and synonyms, tenths of pixels and degrees."""
    shown = rows.head(MOST_SHOWN).drop(columns="picture", errors="ignore")
    shown = shown.round({name: 1 for name in shown if str(name).endswith(("_px", "_deg"))})
    if "name" in shown:
        names = [class_name(name) for name in shown["name"]]
        shown = shown.assign(name=names) if any(names) else shown.drop(columns="name")
    if "file" in shown:
        shown = shown.assign(file=[Path(str(one)).name for one in shown["file"]])
    return shown


def _columns(table: Path) -> dict[str, str]:
    """Return what the columns of a table are, of the dictionary beside it."""
    path = table.with_suffix(".json")
    if not path.is_file():
        return {}
    said: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return {name: one["Description"] for name, one in said.items()}
