"""Scores of models as dots with intervals: the figure of a ranking."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rsa.report.ceilings import LINES, ceiling_handles, drawn_ceiling, noise_words
from rsa.report.panels import dress, give_title, put_legend
from rsa.report.style import (
    GREY,
    INK,
    PAGE,
    SMALL,
    TEXT,
    axes_at,
    fitted,
    inches_of,
    model_colours,
    plain,
    save_figure,
)

__all__ = ["ranking_dots", "ranking_figures"]

ROW, PLOT, NAMES = 0.21, 1.75, 1.55
"""Height of a model, width of a panel, and most that names beside it take, in inches: two panels fit a page."""


def ranking_figures(table: pd.DataFrame, folder: str | Path, models: Sequence[str] = ()) -> list[Path]:
    """Draw a ranking (`ranking.tsv`); return the files."""
    n_subjects = int(table["n_subjects"].max())
    said = ["Models in order in each region. Dots are mean scores over subjects, with confidence intervals (bars)."]
    if n_subjects < 2:
        said = ["Models in order in each region. Dots are the scores of the subject."]
    said.append(
        "The layer in brackets was chosen most often; it is chosen on one half of the conditions, and scored on the "
        "other. Rings: the highest score of a layer if it is chosen and scored on all conditions, which is too high."
    )
    if drawn_ceiling(table)["ceiling_lower"].notna().any():
        said.append(
            "Grey lines: noise ceiling on the same halves, the lower bound solid, the upper one dashed, which is too "
            f"high: {noise_words(n_subjects)}."
        )
    return [save_figure(Path(folder) / "ranking.png", ranking_dots(table, models), " ".join(said))]


def ranking_dots(table: pd.DataFrame, models: Sequence[str] = ()) -> Figure:
    """Draw, for each region, the models in their order: a dot each with its interval, and the noise ceiling.

    Parameters
    ----------
    table : DataFrame
        Columns `region`, `model`, `layer`, `score`, `lower`, `upper`, `score_not_cross_validated`, `ceiling_lower`,
        `ceiling_upper`, `n_subjects`; of each region, the best model first.
    models : sequence of str
        Models that have a colour before those of the table: all of a study, so that each has the same everywhere.
    """
    table = drawn_ceiling(table.assign(layer=table["layer"].fillna("").astype(str), model=table["model"].astype(str)))
    colours = model_colours(list(dict.fromkeys([*models, *table["model"]])))
    panels = list(table.groupby("region", sort=False))
    names, points = fitted([_name(row) for row in table.to_dict("records")], NAMES, TEXT, n_lines=1)
    written = dict(zip(table.index, names, strict=True))
    label = inches_of(names, points) + 0.15
    n_across = max(1, min(len(panels), int(PAGE // (label + PLOT + 0.12))))
    n_rows = max(len(rows) for _, rows in panels)
    cell = n_rows * ROW + 0.7
    n_down = -(-len(panels) // n_across)
    figure = Figure((n_across * (label + PLOT + 0.12), n_down * cell + 0.15))
    limits = _limits(table)
    for i, (region, rows) in enumerate(panels):
        left = label + i % n_across * (label + PLOT + 0.12)
        bottom = (n_down - 1 - i // n_across) * cell + 0.42
        axes = axes_at(figure, left, bottom, PLOT, n_rows * ROW)
        _draw_region(axes, rows, colours)
        _dress(axes, str(region), rows, [written[at] for at in rows.index], points, limits, n_rows)
    _legend(figure, table)
    return figure


def _name(row: Mapping[Any, Any]) -> str:
    """Name a model, with its layer."""
    return f"{plain(row['model'], 28)} ({plain(row['layer'], 22)})" if row["layer"] else plain(row["model"], 40)


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    """Return one scale for all panels; it includes 0."""
    columns = ["score", "lower", "upper", "score_not_cross_validated", *LINES]
    values = table[columns].to_numpy(dtype=float).ravel()
    known = np.append(values[np.isfinite(values)], 0.0)
    room = 0.06 * float(np.ptp(known)) or 0.05
    return float(known.min()) - room, float(known.max()) + room


def _draw_region(axes: Axes, rows: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """Draw the models of a region from top to bottom."""
    for bound, look in LINES.items():
        value = rows[bound].iloc[0]
        if np.isfinite(value):
            axes.axvline(value, zorder=1.5, **{name: of for name, of in look.items() if name != "label"})
    for place, row in enumerate(rows.to_dict("records")):
        colour = colours[row["model"]]
        if np.isfinite(row["lower"]):
            axes.plot([row["lower"], row["upper"]], [place, place], color=colour, linewidth=1.6, zorder=2)
        ring: dict[str, Any] = {"markersize": 4.5, "markerfacecolor": "none", "markeredgecolor": GREY}
        axes.plot(row["score_not_cross_validated"], place, "o", markeredgewidth=0.8, zorder=2.5, **ring)
        axes.plot(row["score"], place, "o", color=colour, markersize=5, markeredgewidth=0, zorder=3)


def _dress(
    axes: Axes,
    region: str,
    rows: pd.DataFrame,
    names: Sequence[str],
    points: float,
    limits: tuple[float, float],
    n_rows: int,
) -> None:
    """Give a panel its title, the names of its models, and a line at 0."""
    n_subjects = int(rows["n_subjects"].max())
    dress(axes, TEXT, grid="x")
    give_title(axes, f"{region} ({n_subjects} subject{'s' * (n_subjects != 1)})", pad=4)
    axes.axvline(0, color=GREY, linewidth=0.6, zorder=1)
    axes.set_yticks(range(len(names)), list(names), fontsize=points, color=INK)
    axes.set_ylim(n_rows - 0.5, -0.5)
    axes.set_xlim(*limits)
    axes.set_xlabel("cross-validated score", fontsize=SMALL, color=INK, labelpad=2)
    axes.tick_params("y", length=0)
    axes.spines["left"].set_visible(False)


def _legend(figure: Figure, table: pd.DataFrame) -> None:
    """Say what dots, rings and lines are."""
    dot: dict[str, Any] = {"marker": "o", "linestyle": "none", "markeredgewidth": 0.8}
    handles = [
        Line2D([], [], color=INK, markersize=5, **dot, label="cross-validated"),
        Line2D([], [], color="none", markeredgecolor=GREY, markersize=4.5, **dot, label="not cross-validated"),
    ]
    handles += ceiling_handles() if table["ceiling_lower"].notna().any() else []
    put_legend(figure, handles, n_lines=1)
