"""Scores over time: the time at which each reference scores highest, and courses of scores over time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsa.core import QUALITY, TEST, Array, ScoreMap, select
from rsa.maps import times_of
from rsa.names import full_name
from rsa.report.ceilings import LINES, draw_ceiling
from rsa.report.drawing import volume_of
from rsa.report.panels import dress
from rsa.report.style import (
    GREY,
    INK,
    SMALL,
    TEXT,
    TITLE,
    axes_at,
    fitted,
    layer_colours,
    plain,
    unit_of,
    without_shared_ends,
    written_times,
)
from rsa.significance import Significance, keys_of, significant_or_all

__all__ = [
    "LEGEND",
    "NAMES",
    "at_peak_times",
    "courses",
    "has_times",
    "named_layers",
    "of_data",
    "of_models",
    "peak_voxel",
    "rows_like",
    "time_courses",
]

WIDTH, HEIGHT, NAMES, N_ACROSS = 1.95, 1.7, 1.28, 2
"""Inches of a panel, and beside it for the names of layers; panels in a row."""

MOST_NAMED = 14
"""Of more layers, some are named."""

LEGEND: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.03), "fontsize": SMALL, "frameon": False}
LEGEND |= {"labelcolor": INK, "handlelength": 1.4, "labelspacing": 0.25, "borderaxespad": 0.2}
"""How the layers are named beside a panel."""

DOTS, MOST_DOTS = 0.05, 0.35
"""How much of the scale lies below the scores for a line of dots, and for all of them."""


# ----------------------------------------------------------------------------------------------- rows


def has_times(scores: ScoreMap) -> bool:
    """Say whether scores are over time: at two times or more."""
    return len(times_of(scores.table)) > 1


def of_models(scores: ScoreMap) -> ScoreMap:
    """Return the rows of references, without those that tell how good the data are or what tests found."""
    return _rows(scores, (~scores.table["role"].isin((QUALITY, TEST))).to_numpy())


def of_data(scores: ScoreMap) -> ScoreMap | None:
    """Return the rows that tell how good the data are (split-half reliability, noise ceilings); None without any."""
    chosen = (scores.table["role"] == QUALITY).to_numpy()
    return _rows(scores, chosen) if chosen.any() else None


def rows_like(scores: ScoreMap, table: pd.DataFrame) -> ScoreMap:
    """Return the rows of the models, layers and times of a table, in its order."""
    place = {key: row for row, key in enumerate(keys_of(scores.table))}
    return _rows(scores, np.array([place[key] for key in keys_of(table)]))


def at_peak_times(
    maps: Sequence[ScoreMap | Callable[[], ScoreMap]], significant: Sequence[Array | None] | None = None
) -> list[ScoreMap]:
    """Keep one time of each reference, the same in all maps: that at which its highest score is highest on average.

    References are then in the order of their first appearance.

    Parameters
    ----------
    maps : sequence of ScoreMap, or of functions that return one
        With the same references and times. Functions are called twice, one after the other, so that the maps of one
        are in memory at a time.
    significant : sequence of arrays, optional
        Of each map what `rsa.significance.Significance.of` returns; None for a map that was not tested. Of a reference
        with significant scores only these count in its map, and times at which it has none are passed over.
    """
    tested = [None] * len(maps) if significant is None else significant
    keys, pairs = [], []
    for one, found in zip(maps, tested, strict=True):
        scores = one() if callable(one) else one
        keys += keys_of(scores.table)
        pairs.append(_highest_of_times(scores, found))
    index = pd.MultiIndex.from_tuples(keys)
    highest, passed = (pd.Series(np.concatenate(parts), index) for parts in zip(*pairs, strict=True))
    means = highest.groupby(level=[0, 1, 2], sort=False).mean()
    means = means.where(~passed.groupby(level=[0, 1, 2], sort=False).any(), -np.inf)
    best = means.fillna(-np.inf).groupby(level=[0, 1], sort=False).idxmax()
    order = {key: i for i, key in enumerate(best)}
    return [_ordered(one() if callable(one) else one, order) for one in maps]


def _highest_of_times(scores: ScoreMap, significant: Array | None) -> tuple[Array, Array]:
    """Return the highest score of each row that counts, and whether its time is passed over: (n_rows,) each."""
    values, passed = scores.values, np.zeros(len(scores), dtype=bool)
    if significant is not None:
        references = np.array([f"{model}\n{layer}" for model, layer, _ in keys_of(scores.table)])
        has_some = (significant == 1).any(axis=1)
        counts = np.isin(references, references[has_some])  # rows of references that are significant at some time
        values = np.where(counts[:, None] & (significant != 1), np.nan, values)
        passed = counts & ~has_some
    return _highest(values), passed


def _ordered(scores: ScoreMap, order: Mapping[tuple[str, str, float], int]) -> ScoreMap:
    """Return the rows whose model, layer and time have a place in an order, in that order."""
    places = np.array([order.get(key, -1) for key in keys_of(scores.table)])
    rows = np.argsort(places, kind="stable")
    return _rows(scores, rows[places[rows] >= 0])


def peak_voxel(rows: ScoreMap, significance: Significance | None = None) -> tuple[int, int]:
    """Return the row and the column of the highest of some scores; (0, 0) where none is defined.

    It is the highest of the significant ones, if there are some.
    """
    if not np.isfinite(rows.values).any():
        return 0, 0
    values = rows.values if significance is None else significant_or_all(rows.values, significance.of(rows))
    row, voxel = np.unravel_index(np.nanargmax(values), values.shape)
    return int(row), int(voxel)


def _rows(scores: ScoreMap, chosen: Array) -> ScoreMap:
    return replace(scores, values=scores.values[chosen], table=scores.table.loc[chosen])


def _highest(values: Array) -> Array:
    """Return the highest score of each map, NaN where none is defined."""
    highest = np.where(np.isnan(values), -np.inf, values).max(axis=1)
    return np.where(np.isfinite(highest), highest, np.nan)


# -------------------------------------------------------------------------------------------- courses


def courses(scores: ScoreMap, significance: Significance | None = None) -> pd.DataFrame:
    """Return the scores over time of all layers of each model at the voxel where its best layer and time score highest.

    Where it is known which scores are significant, that is the highest of these.

    Returns
    -------
    DataFrame
        Columns `model`, `layer`, `time_s`, `score`, and `x_mm`, `y_mm`, `z_mm` of the voxel, and `significant` (bool)
        where that is known; models without times are left out.
    """
    volume, parts = volume_of(scores), []
    for model in dict.fromkeys(scores.table["model"]):
        rows = select(scores, model=model)
        if has_times(rows):
            _, voxel = peak_voxel(rows, significance)
            found = {} if significance is None else {"significant": significance.of(rows)[:, voxel] == 1}
            place = dict(zip(("x_mm", "y_mm", "z_mm"), volume.voxel_to_mm(volume.indices[voxel]), strict=True))
            table = rows.table[["model", "layer", "time_s"]]
            parts.append(table.assign(score=rows.values[:, voxel].astype(float), **place, **found))
    return pd.concat(parts, ignore_index=True)


def time_courses(table: pd.DataFrame, score: str = "score", unit: str = "") -> Figure:
    """Draw scores over time: a panel per model, a line per layer, from first (dark) to last (bright).

    Parameters
    ----------
    table : DataFrame
        From `courses`, or without a place and with a noise ceiling (`ceiling_lower`, `ceiling_upper`). With
        `significant` (bool), a line of dots for each layer below the scores marks these times.
    score : str
        What the score is, for the axes.
    unit : str
        Of the times, "ms" or "s"; by default that of `unit_of`.
    """
    unit = unit or unit_of(table)
    table = table.assign(time=table["time_s"] * (1000 if unit == "ms" else 1))
    models = list(dict.fromkeys(table["model"]))
    n_across = min(len(models), N_ACROSS)
    n_down, cell = -(-len(models) // n_across), HEIGHT + 0.85
    width = WIDTH if n_across > 1 else 1.5 * WIDTH
    figure = Figure((0.6 + n_across * (width + NAMES), n_down * cell + 0.05))
    drawn = table[[name for name in ("score", *LINES) if name in table]].stack()
    ends = np.nan_to_num([drawn.min(), drawn.max()])
    low, high = min(float(ends[0]), 0.0), max(float(ends[1]), 0.0)
    margin = 0.06 * (high - low) or 0.05
    n_lines = table.groupby("model")["layer"].nunique(dropna=False).max() if _has_significant(table) else 0
    below = min(DOTS * n_lines, MOST_DOTS) / (1 - min(DOTS * n_lines, MOST_DOTS)) * (high - low + 2 * margin)
    bottom_score = low - margin * (low < 0 or bool(n_lines)) - below
    for i, model in enumerate(models):
        left, bottom = 0.6 + i % n_across * (width + NAMES), 0.45 + (n_down - 1 - i // n_across) * cell
        axes = axes_at(figure, left, bottom, width - 0.15, HEIGHT)
        rows = table[table["model"] == model]
        _draw_courses(axes, rows)
        axes.set_ylim(bottom_score, high + margin)
        if n_lines:
            _draw_dots(axes, rows, below / n_lines)
        axes.set_ylabel(plain(full_name(score)) if i % n_across == 0 else "", fontsize=TEXT, color=INK)
        axes.tick_params(labelleft=i % n_across == 0)  # all have one scale
        axes.set_xlabel(f"time ({unit})" if unit == "ms" else "delay (s)", fontsize=TEXT, color=INK)
        (title,), size = fitted([model], width + 0.6, TITLE, n_lines=1)
        axes.set_title(f"{title}\n{_place(rows, unit)}", fontsize=size, color=INK, pad=4, linespacing=1.15)
    return figure


def _draw_courses(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the lines of one model."""
    layers = list(dict.fromkeys(rows["layer"].fillna("")))
    names, colours = named_layers(layers), layer_colours(len(layers))
    axes.axhline(0, color=GREY, linewidth=0.6, zorder=1)
    has_ceiling = "ceiling_lower" in rows and bool(rows["ceiling_lower"].notna().any())
    if has_ceiling:
        ceiling = rows.drop_duplicates("time").sort_values("time")
        draw_ceiling(axes, ceiling["time"].to_numpy(), ceiling)
    for layer, name, colour in zip(layers, names, colours, strict=True):
        line = rows[rows["layer"].fillna("") == layer].sort_values("time")
        axes.plot(line["time"], line["score"], color=colour, linewidth=1.3, marker=".", markersize=3.5, label=name)
    if len(layers) > 1 or has_ceiling:
        axes.legend(**LEGEND)
    dress(axes, TEXT)
    axes.tick_params("x", pad=5)  # the lowest score stands beside the first time
    if not np.isfinite(rows["score"]).any():
        axes.text(0.5, 0.5, "no score is defined", transform=axes.transAxes, ha="center", color=GREY, fontsize=TEXT)


def named_layers(layers: Sequence[str]) -> list[str]:
    """Return what a legend says of layers, in the room beside a panel; "_" of those that it leaves out."""
    step = -(-len(layers) // MOST_NAMED)
    named = range(0, len(layers), step)
    shown, _ = fitted(without_shared_ends([layers[i] for i in named], 16), NAMES - 0.42, SMALL, n_lines=1)
    labels = dict(zip(named, shown, strict=True))
    return [labels.get(i, "_") or "score" for i in range(len(layers))]


def _has_significant(table: pd.DataFrame) -> bool:
    return "significant" in table and bool(table["significant"].any())


def _draw_dots(axes: Axes, rows: pd.DataFrame, step: float) -> None:
    """Mark significant times below the scores: a line of dots for each layer, `step` apart, the first on top."""
    layers = rows["layer"].fillna("")
    lowest, lines = axes.get_ylim()[0], list(dict.fromkeys(layers))
    for i, (layer, colour) in enumerate(zip(lines, layer_colours(len(lines)), strict=True)):
        times = rows.loc[(layers == layer) & rows["significant"], "time"]
        height = lowest + (len(lines) - i - 0.5) * step
        axes.plot(times, np.full(len(times), height), ".", color=colour, markersize=3.5, label="_significant")


def _place(rows: pd.DataFrame, unit: str) -> str:
    """Say where the voxel is, if it is one, and when its score is highest."""
    if not np.isfinite(rows["score"]).any():
        return "(no peak)"
    chosen = rows["score"].where(rows["significant"]) if _has_significant(rows) else rows["score"]
    first = rows.loc[chosen.idxmax()]
    (time,) = written_times([first["time_s"]], unit=unit)
    if "x_mm" not in rows:
        return f"highest at {time}"
    place = ", ".join(f"{round(first[axis]):d}" for axis in ("x_mm", "y_mm", "z_mm"))
    return f"({place}) mm, highest at {time}".replace("-", "\N{MINUS SIGN}")
