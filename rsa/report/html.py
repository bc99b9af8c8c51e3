"""One self-contained page: style, script and pictures inside it, nothing from the network; links lead to files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from rsa.report.links import OVERVIEW, link_from, link_to_file
from rsa.report.pictures import Embedded, embedded
from rsa.report.player import film_html

__all__ = ["Chapter", "Link", "Markup", "PageSection", "Place", "definitions", "page", "paragraphs", "table_html"]

P_COLUMNS, LEAST_P = ("p", "p_corrected", "q", "peak_p", "p_uncorrected", "p_both_corrected"), 1e-4
"""Columns of tables that hold p values, and below which p only that is written."""

MOST_WARNINGS = 4
"""So many are seen at first."""

HEADS = {
    "p_corrected": "corrected p",
    "p_both_corrected": "corrected p for other pictures too",
    "peak_p": "corrected p",
    "time_s": "time (s)",
    "x_mm": "x (mm)",
    "y_mm": "y (mm)",
    "z_mm": "z (mm)",
    "volume_mm3": "volume (mm\N{SUPERSCRIPT THREE})",
    "time_from_s": "from (s)",
    "time_to_s": "to (s)",
    "peak_s": "peak (s)",
    "peak_lower_s": "peak, lower (s)",
    "peak_upper_s": "peak, upper (s)",
    "onset_s": "onset (s)",
    "onset_lower_s": "onset, lower (s)",
    "onset_upper_s": "onset, upper (s)",
}
"""What stands above columns whose names in files say it less well; of the others, underscores become spaces."""


@dataclass(frozen=True)
class Link:
    """A text that leads somewhere: in a cell of a table, or in a list of files.

    Parameters
    ----------
    text : str
        Plain text.
    href : str
        As it is written on the page.
    says : str
        What is read aloud after the text, where that is too short to be understood alone.
    """

    text: str
    href: str
    says: str = ""

    def html(self) -> str:
        """Write the link."""
        said = f' aria-label="{escape(f"{self.text} {self.says}", quote=True)}"' if self.says else ""
        return f'<a href="{escape(self.href, quote=True)}"{said}>{escape(self.text)}</a>'


@dataclass(frozen=True)
class Markup:
    """A cell of a table that is HTML already, with what it is sorted by."""

    source: str
    value: str | float = ""

    def html(self) -> str:
        """Return it as it is."""
        return self.source


@dataclass(frozen=True)
class PageSection:
    """A part of the page, which can be folded.

    Parameters
    ----------
    heading : str
        Plain text.
    html : str
        What is said first; already HTML (see `paragraphs`, `definitions`).
    figures : sequence of (caption, path)
        PNG files, and films (the table of their frames, JSON), in order.
    table : DataFrame, optional
        Shown last. A cell may be a `Link`, a list of them, or `Markup`.
    files : sequence of Link
        Where the numbers of the table are.
    is_open : bool
        Whether it is unfolded at first.
    columns : mapping of str to str
        What the columns of the table are; folded, below it.
    """

    heading: str
    html: str = ""
    figures: Sequence[tuple[str, str | Path]] = ()
    table: pd.DataFrame | None = None
    files: Sequence[Link] = ()
    is_open: bool = True
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_content(self) -> bool:
        """Whether there is a text, a figure or a row."""
        return bool(self.html or self.figures) or (self.table is not None and len(self.table) > 0)


@dataclass(frozen=True)
class Chapter:
    """An entry of the navigation: a page, or the heading of several.

    Parameters
    ----------
    title : str
        Plain text.
    at : str
        Where the page is, below the folder of the results; "" for a heading.
    pages : sequence of Chapter
        What stands below a heading.
    """

    title: str
    at: str = ""
    pages: Sequence["Chapter"] = ()


@dataclass(frozen=True)
class Place:
    """Where a page is, and what is around it.

    Parameters
    ----------
    at : str
        Below the folder of the results.
    folder : path
        That folder, to which the paths of pictures are relative.
    study : str
        What the study is called, above the navigation; "" for a page by itself, without one.
    chapters : sequence of Chapter
        The pages of the study.
    pictures : mapping
        Pictures that were made ready before.
    """

    at: str = OVERVIEW
    folder: Path | None = None
    study: str = ""
    chapters: Sequence[Chapter] = ()
    pictures: Mapping[Path, Embedded] = field(default_factory=dict)


def page(
    title: str,
    sections: Sequence[PageSection],
    *,
    lead: str = "",
    warnings: Sequence[str] = (),
    badges: Sequence[str] = (),
    head: str = "",
    place: Place = Place(),
) -> str:
    """Write a page that needs no other file.

    Parameters
    ----------
    title, lead : str
        Plain text: the heading, and the line below.
    sections : sequence of PageSection
        In order; those that have anything to show are in the navigation.
    warnings : sequence of str
        Plain text, shown before all sections.
    badges : sequence of str
        What has to be known of all results, beside the title: "simulated data".
    head : str
        What stands between the lead and the warnings; already HTML.
    place : Place
        Where the page is.

    Raises
    ------
    UserError
        If a picture is missing.
    """
    sections = [section for section in sections if section.has_content]
    body = "\n".join(_section_html(section, i, place) for i, section in enumerate(sections, start=1))
    parts = "".join(
        f'<li><a href="#section-{i}">{escape(section.heading)}</a></li>' for i, section in enumerate(sections, start=1)
    )
    shown = "".join(f' <span class="badge">{escape(badge)}</span>' for badge in badges)
    full_title = " \N{EN DASH} ".join(dict.fromkeys(filter(None, [title, place.study, *badges])))
    tools = (
        '<div class="tools"><button type="button" data-open="yes">Open all</button>'
        '<button type="button" data-open="no">Close all</button></div>'
        if len(sections) > 2
        else ""
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(full_title)}</title>
<style>{_own("page.css")}{_own("film.css")}</style>
<script>"use strict";
{_own("page.js")}{_own("film.js")}</script>
</head>
<body>
<a class="skip" href="#content">To the content</a>
<div class="frame">
{_navigation(place, parts)}
<main id="content">
<header>
<div class="title"><h1>{escape(title)}{shown}</h1>{tools}</div>
{f'<p class="lead">{escape(lead)}</p>' if lead else ""}
</header>
{head}
{_warnings_html(warnings)}
{body}
</main>
</div>
</body>
</html>
"""


@cache
def _own(name: str) -> str:
    """Return the text of a file of style or script."""
    return (files("rsa.report") / "js" / name).read_text(encoding="utf-8")


def _navigation(place: Place, parts: str) -> str:
    """Write the links to all pages, and to the sections of this one."""
    entries = "".join(_chapter_html(chapter, place, parts) for chapter in place.chapters)
    entries = entries or f"<li><ul>{parts}</ul></li>"
    name = f'<span class="site-name">{escape(place.study)}<small>brain-model-rsa</small></span>' if place.study else ""
    return (
        f'<header class="site"><div class="site-head">{name}<button type="button" class="menu" aria-expanded="false" '
        f'aria-controls="pages">Menu</button></div>\n<nav id="pages" aria-label="Pages"><ul>{entries}</ul></nav>'
        "</header>"
    )


def _chapter_html(chapter: Chapter, place: Place, parts: str) -> str:
    if not chapter.at:
        inner = "".join(_chapter_html(one, place, parts) for one in chapter.pages)
        is_here = any(one.at == place.at for one in chapter.pages)
        if len(chapter.pages) > 6:
            opened = " open" if is_here else ""
            count = f"{escape(chapter.title)} ({len(chapter.pages)})"
            return f'<li><details{opened}><summary class="kind">{count}</summary><ul>{inner}</ul></details></li>'
        return f'<li><div class="kind">{escape(chapter.title)}</div><ul>{inner}</ul></li>'
    if chapter.at != place.at:
        return f"<li>{Link(chapter.title, link_from(place.at, chapter.at)).html()}</li>"
    below = f"<ul>{parts}</ul>" if parts else ""
    return f'<li><a href="#content" aria-current="page">{escape(chapter.title)}</a>{below}</li>'


def paragraphs(*texts: str) -> str:
    """Make paragraphs of plain text.

    Examples
    --------
    >>> paragraphs("r < 1")
    '<p>r &lt; 1</p>'
    """
    return "\n".join(f"<p>{escape(text)}</p>" for text in texts if text)


def definitions(entries: Mapping[str, Any]) -> str:
    """Make a table of two columns of plain texts; numbers get thousands separators."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{_cell(value)}</td></tr>\n' for name, value in entries.items()
    )
    return f'<div class="scroll" tabindex="0"><table><tbody>\n{rows}</tbody></table></div>'


def table_html(table: pd.DataFrame) -> str:
    """Make a table: text to the left, numbers to the right with as many decimals as their column needs (at most 3)."""
    columns = [_column(table[name]) for name in table]
    kinds = [' class="number"' if pd.api.types.is_numeric_dtype(table[name]) else "" for name in table]
    heads = [_head(str(name)) for name in table]
    head = "".join(f'<th scope="col"{kind}>{escape(text)}</th>' for text, kind in zip(heads, kinds, strict=True))
    rows = "\n".join(
        "<tr>"
        + "".join(f"<td{kind}{sort}>{cell}</td>" for (cell, sort), kind in zip(cells, kinds, strict=True))
        + "</tr>"
        for cells in zip(*columns, strict=True)
    )
    return (
        f'<div class="scroll" tabindex="0"><table class="sortable">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _head(name: str) -> str:
    return HEADS.get(name, name.replace("_", " "))


def _column(values: pd.Series) -> list[tuple[str, str]]:
    """Write the cells of a column as HTML, each with the attribute by which it is sorted."""
    if not pd.api.types.is_numeric_dtype(values):
        return [(_cell(value), _sorted_by(value)) for value in values]
    raw = ["" if pd.isna(value) else f' data-value="{value:.6g}"' for value in values]
    if values.name in P_COLUMNS:
        texts = [_written_p(value) for value in values]
    else:
        known, decimals = values.dropna(), 0
        if pd.api.types.is_float_dtype(values):
            decimals = next((n for n in range(3) if (known == known.round(n)).all()), 3)
        texts = [_written(value, decimals) for value in values]
    return [(escape(text), sort) for text, sort in zip(texts, raw, strict=True)]


def _sorted_by(value: Any) -> str:
    return f' data-value="{escape(str(value.value), quote=True)}"' if isinstance(value, Markup) else ""


def _cell(value: Any) -> str:
    """Write a cell as HTML: a link, several, or a plain text."""
    if isinstance(value, Link | Markup):
        return value.html()
    if isinstance(value, list) and value and isinstance(value[0], Link):
        return " ".join(link.html() for link in value)
    return escape(_written(value))


def _written_p(value: float) -> str:
    """Write a p: 0.34, four decimals below 0.1, and < 0.0001 below that."""
    if pd.isna(value):
        return _written(None)
    if value < LEAST_P:
        return f"< {LEAST_P:.4f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def _written(value: Any, decimals: int | None = None) -> str:
    """Write a value as text, with a true minus sign and thin spaces between thousands."""
    if isinstance(value, list | tuple | set):
        return ", ".join(_written(part) for part in value)
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return "\N{EN DASH}"
    if pd.api.types.is_number(value) and not pd.api.types.is_bool(value):
        is_whole = float(value).is_integer() and not decimals
        text = f"{value:,.0f}" if is_whole else f"{value:,.{decimals}f}" if decimals else f"{value:g}"
        return text.replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", "\N{MINUS SIGN}")
    return str(value)


def _section_html(section: PageSection, number: int, place: Place) -> str:
    opened = " open" if section.is_open else ""
    parts = [
        f'<details class="part" id="section-{number}"{opened}><summary><h2>{escape(section.heading)}</h2></summary>',
        section.html,
    ]
    parts += [figure_html(caption, path, place) for caption, path in section.figures]
    if section.files:
        parts.append(f'<p class="files">{" ".join(link.html() for link in section.files)}</p>')
    if section.table is not None and len(section.table):
        parts.append(table_html(section.table))
        said = {_head(str(name)): section.columns[name] for name in section.table if name in section.columns}
        if said:
            parts.append(f"<details><summary>What the columns are</summary>{definitions(said)}</details>")
    return "\n".join([*filter(None, parts), "</details>"])


def figure_html(caption: str, path: str | Path, place: Place = Place()) -> str:
    """Put a picture or a film into the page; the alternative text of a picture is the first sentence of its caption.

    A picture is a smaller copy that leads to its file; below it are links to the files that hold the same.
    """
    path = Path(path)
    links = ""
    if place.folder is not None:
        named = {one: link_to_file(place.at, one, place.folder) for one in _same_figure(path)}
        listed = "".join(Link(one.suffix[1:].upper(), href, f"of {one.stem}").html() for one, href in named.items())
        links = f' <span class="files">{listed}</span>'
    if path.suffix == ".json":
        return film_html(path, links)
    shown = place.pictures.get(path) or embedded(path)
    short = escape(caption.split(". ")[0], quote=True)
    size = f'width="{shown.width}" height="{shown.height}"'
    image = f'<img src="{shown.source}" alt="{short}" {size}>'
    if place.folder is not None:
        image = f'<a href="{escape(named[path], quote=True)}">{image}</a>'
    return f"<figure>\n{image}\n<figcaption>{escape(caption)}{links}</figcaption>\n</figure>"


def _same_figure(path: Path) -> list[Path]:
    """Return the files that hold a figure or film: those of its name."""
    if path.suffix != ".json":
        return [path, *(one for one in (path.with_suffix(".svg"),) if one.is_file())]
    return [one for one in map(path.with_suffix, (".mp4", ".webp")) if one.is_file()]


def _warnings_html(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = [f"<li>{escape(text)}</li>" for text in warnings]
    first, rest = "".join(items[:MOST_WARNINGS]), "".join(items[MOST_WARNINGS:])
    more = f"<details><summary>{len(items) - MOST_WARNINGS} more</summary><ul>{rest}</ul></details>" if rest else ""
    return f'<div class="warnings" role="note"><strong>Please check</strong><ul>{first}</ul>{more}</div>'
