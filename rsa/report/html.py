"""One self-contained page: pictures inside it, no scripts, nothing from the network."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from rsa.errors import UserError

__all__ = ["PageSection", "definitions", "page", "paragraphs", "table_html"]

STYLE = """
:root { color: #1d1d1f; background: #fff; font: 16px/1.55 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
body { max-width: 66rem; margin: 0 auto; padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .8rem; padding-top: .8rem; border-top: 1px solid #d9d9de; }
p { max-width: 46rem; margin: .6rem 0; overflow-wrap: anywhere; }
.lead { color: #56565c; margin-bottom: 1.4rem; }
nav { background: #f5f5f7; border-radius: .5rem; padding: .9rem 1.2rem; margin: 1.2rem 0; }
nav ol { margin: 0; padding-left: 1.4rem; columns: 3 13rem; }
a { color: #0057a8; text-decoration: none; } a:hover { text-decoration: underline; }
figure { margin: 1.4rem 0 2rem; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { color: #3f3f45; font-size: .9rem; margin-top: .5rem; max-width: 50rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .88rem; }
th, td { padding: .28rem .8rem; text-align: left; vertical-align: top; overflow-wrap: anywhere; min-width: 4.5rem; }
td:not(.number) { min-width: 7rem; }
tbody th { min-width: 8rem; }
thead th { border-bottom: 1.5px solid #8e8e93; white-space: nowrap; }
tbody tr + tr > * { border-top: 1px solid #ececf0; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.warnings { background: #fff6e0; border-left: 4px solid #c77700; padding: .6rem 1.1rem; border-radius: .3rem; }
.warnings ul { margin: .3rem 0; padding-left: 1.2rem; }
@media print {
  :root { font-size: 10.5pt; } body { max-width: none; padding: 0; } nav { display: none; }
  h2 { break-after: avoid; } figure, tr { break-inside: avoid; } .scroll { overflow: visible; }
}
"""

P_COLUMNS, LEAST_P = ("p", "p_corrected", "q", "peak_p"), 1e-4
"""Columns of tables that hold p values, and below which p only that is written."""


@dataclass(frozen=True)
class PageSection:
    """A part of the page.

    Parameters
    ----------
    heading : str
        Plain text.
    html : str
        What is said first; already HTML (see `paragraphs`, `definitions`).
    figures : sequence of (caption, path)
        PNG files, in order.
    table : DataFrame, optional
        Shown last.
    """

    heading: str
    html: str = ""
    figures: Sequence[tuple[str, str | Path]] = ()
    table: pd.DataFrame | None = None

    @property
    def has_content(self) -> bool:
        """Whether there is a text, a figure or a row."""
        return bool(self.html or self.figures) or (self.table is not None and len(self.table) > 0)


def page(title: str, sections: Sequence[PageSection], *, lead: str = "", warnings: Sequence[str] = ()) -> str:
    """Write a page that needs no other file.

    Parameters
    ----------
    title, lead : str
        Plain text: the heading, and the line below.
    sections : sequence of PageSection
        In order; those that have anything to show are listed at the top.
    warnings : sequence of str
        Plain text, shown before all sections.

    Raises
    ------
    UserError
        If a picture is missing.
    """
    sections = [section for section in sections if section.has_content]
    contents = "\n".join(
        f'<li><a href="#section-{i}">{escape(section.heading)}</a></li>' for i, section in enumerate(sections, start=1)
    )
    body = "\n".join(_section_html(section, i) for i, section in enumerate(sections, start=1))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p class="lead">{escape(lead)}</p>
</header>
{_warnings_html(warnings)}
<nav aria-label="Contents"><ol>
{contents}
</ol></nav>
<main>
{body}
</main>
</body>
</html>
"""


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
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(_written(value))}</td></tr>\n'
        for name, value in entries.items()
    )
    return f'<div class="scroll"><table><tbody>\n{rows}</tbody></table></div>'


def table_html(table: pd.DataFrame) -> str:
    """Make a table: text to the left, numbers to the right with as many decimals as their column needs (at most 3)."""
    columns = [_column(table[name]) for name in table]
    kinds = [' class="number"' if pd.api.types.is_numeric_dtype(table[name]) else "" for name in table]
    head = "".join(f'<th scope="col"{kind}>{escape(str(name))}</th>' for name, kind in zip(table, kinds, strict=True))
    rows = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(cells, kinds, strict=True)) + "</tr>"
        for cells in zip(*columns, strict=True)
    )
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'


def _column(values: pd.Series) -> list[str]:
    """Write the cells of a column as HTML; what is missing becomes a dash."""
    if values.name in P_COLUMNS and pd.api.types.is_numeric_dtype(values):
        return [escape(_written_p(value)) for value in values]
    decimals = 0
    if pd.api.types.is_float_dtype(values):
        decimals = next((n for n in range(3) if (values.dropna() == values.dropna().round(n)).all()), 3)
    return [escape(_written(value, decimals)) for value in values]


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


def _section_html(section: PageSection, number: int) -> str:
    parts = [f'<section id="section-{number}">', f"<h2>{escape(section.heading)}</h2>", section.html]
    parts += [_figure_html(caption, path) for caption, path in section.figures]
    if section.table is not None:
        parts.append(table_html(section.table))
    return "\n".join([*filter(None, parts), "</section>"])


def _figure_html(caption: str, path: str | Path) -> str:
    """Put a PNG or GIF into the page; its alternative text is the first sentence of the caption."""
    try:
        encoded = base64.b64encode(Path(path).read_bytes()).decode("ascii")
    except OSError as error:
        raise UserError(f"Cannot read the picture {path}: {error.strerror}. Run the figures again.") from error
    width = _width_px(Path(path))
    short = escape(caption.split(". ")[0], quote=True)
    kind = Path(path).suffix.lstrip(".")
    image = f'<img src="data:image/{kind};base64,{encoded}" alt="{short}" width="{width}">'
    return f"<figure>\n{image}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"


def _width_px(path: Path) -> int:
    """Return how wide a picture is shown, at 96 pixels per inch, so that the type of all figures has one size."""
    with Image.open(path) as image:
        return round(96 * float(image.width) / float(image.info.get("dpi", (96, 96))[0]))


def _warnings_html(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    return f'<div class="warnings" role="note"><strong>Please check</strong><ul>{items}</ul></div>'
