"""Scores over time: the time at which each reference scores highest, and courses of scores over time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsa.core import QUALITY, Array, ScoreMap, select
from rsa.maps import times_of
from rsa.names import full_name
from rsa.report.ceilings import LINES, draw_ceiling
from rsa.report.drawing import volume_of
from rsa.report.style import FAINT, GREY, INK, ORDINAL, TEXT, TITLE, axes_at, plain, short_names, written_times

__all__ = ["at_peak_times", "courses", "has_times", "of_data", "of_models", "peak_voxel", "rows_like", "time_courses"]

WIDTH, HEIGHT, N_ACROSS = 2.9, 1.9, 2
NO_TIME = -np.inf


# ----------------------------------------------------------------------------------------------- rows


def has_times(scores: ScoreMap) -> bool:
    """Say whether scores are over time: at two times or more."""
    return len(times_of(scores.table)) > 1


def of_models(scores: ScoreMap) -> ScoreMap:
    """Return the rows of references, without those that tell how good the data are."""
    return _rows(scores, (scores.table["role"] != QUALITY).to_numpy())


def of_data(scores: ScoreMap) -> ScoreMap | None:
    """Return the rows that tell how good the data are (split-half reliability, noise ceilings); None without any."""
    chosen = (scores.table["role"] == QUALITY).to_numpy()
    return _rows(scores, chosen) if chosen.any() else None


def rows_like(scores: ScoreMap, table: pd.DataFrame) -> ScoreMap:
    """Return the rows of the models, layers and times of a table, in its order."""
    place = {key: row for row, key in enumerate(_keys(scores.table))}
    return _rows(scores, np.array([place[key] for key in _keys(table)]))


def at_peak_times(maps: Sequence[ScoreMap]) -> list[ScoreMap]:
    """Keep one time of each reference, the same in all maps: that at which its highest score is highest on average.

    References are then in the order of their first appearance.
    """
    keys = [key for scores in maps for key in _keys(scores.table)]
    highest = np.concatenate([_highest(scores.values) for scores in maps])
    means = pd.Series(highest, pd.MultiIndex.from_tuples(keys)).groupby(level=[0, 1, 2], sort=False).mean()
    best = means.fillna(-np.inf).groupby(level=[0, 1], sort=False).idxmax()
    order = {key: i for i, key in enumerate(best)}
    return [_ordered(scores, order) for scores in maps]


def _ordered(scores: ScoreMap, order: Mapping[tuple[str, str, float], int]) -> ScoreMap:
    """Return the rows whose model, layer and time have a place in an order, in that order."""
    places = np.array([order.get(key, -1) for key in _keys(scores.table)])
    rows = np.argsort(places, kind="stable")
    return _rows(scores, rows[places[rows] >= 0])


def peak_voxel(rows: ScoreMap) -> tuple[int, int]:
    """Return the row and the column of the highest of some scores; (0, 0) where none is defined."""
    if not np.isfinite(rows.values).any():
        return 0, 0
    row, voxel = np.unravel_index(np.nanargmax(rows.values), rows.values.shape)
    return int(row), int(voxel)


def _rows(scores: ScoreMap, chosen: Array) -> ScoreMap:
    return replace(scores, values=scores.values[chosen], table=scores.table.loc[chosen])


def _keys(table: pd.DataFrame) -> list[tuple[str, str, float]]:
    """Return the model, layer and time of each row."""
    times = table["time_s"].fillna(NO_TIME) if "time_s" in table else [NO_TIME] * len(table)
    return list(zip(table["model"].astype(str), table["layer"].fillna("").astype(str), times, strict=True))


def _highest(values: Array) -> Array:
    """Return the highest score of each map, NaN where none is defined."""
    highest = np.where(np.isnan(values), -np.inf, values).max(axis=1)
    return np.where(np.isfinite(highest), highest, np.nan)


# -------------------------------------------------------------------------------------------- courses


def courses(scores: ScoreMap) -> pd.DataFrame:
    """Return the scores over time of all layers of each model at the voxel where its best layer and time score highest.

    Returns
    -------
    DataFrame
        Columns `model`, `layer`, `time_s`, `score`, and `x_mm`, `y_mm`, `z_mm` of the voxel; models without times are
        left out.
    """
    volume, parts = volume_of(scores), []
    for model in dict.fromkeys(scores.table["model"]):
        rows = select(scores, model=model)
        if has_times(rows):
            _, voxel = peak_voxel(rows)
            place = dict(zip(("x_mm", "y_mm", "z_mm"), volume.voxel_to_mm(volume.indices[voxel]), strict=True))
            table = rows.table[["model", "layer", "time_s"]]
            parts.append(table.assign(score=rows.values[:, voxel].astype(float), **place))
    return pd.concat(parts, ignore_index=True)


def time_courses(table: pd.DataFrame, score: str = "score") -> Figure:
    """Draw scores over time: a panel per model, a line per layer, from first (dark) to last (bright).

    Parameters
    ----------
    table : DataFrame
        From `courses`, or without a place and with a noise ceiling (`ceiling_lower`, `ceiling_upper`).
    score : str
        What the score is, for the axes.
    """
    models = list(dict.fromkeys(table["model"]))
    n_across, room = min(len(models), N_ACROSS), 0.3 + 0.062 * 16  # room for the names of layers
    n_down, cell = -(-len(models) // n_across), HEIGHT + 0.95
    figure = Figure((0.65 + n_across * (WIDTH + room), n_down * cell + 0.05))
    drawn = table[[name for name in ("score", *LINES) if name in table]].stack()
    ends = np.nan_to_num([drawn.min(), drawn.max()])
    low, high = min(float(ends[0]), 0.0), max(float(ends[1]), 0.0)
    margin = 0.06 * (high - low) or 0.05
    for i, model in enumerate(models):
        left, bottom = 0.6 + i % n_across * (WIDTH + room), 0.5 + (n_down - 1 - i // n_across) * cell
        axes = axes_at(figure, left, bottom, WIDTH - 0.35, HEIGHT)
        rows = table[table["model"] == model]
        _draw_courses(axes, rows)
        axes.set_ylim(low - margin * (low < 0), high + margin)
        axes.set_ylabel(plain(full_name(score)) if i % n_across == 0 else "", fontsize=TEXT, color=INK)
        axes.set_title(f"{plain(model, 30)}\n{_place(rows)}", fontsize=TITLE - 0.5, color=INK, pad=4)
    return figure


def _draw_courses(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the lines of one model."""
    layers = list(dict.fromkeys(rows["layer"].fillna("")))
    names = short_names(layers, 16)
    colours = colormaps[ORDINAL](np.linspace(0.02, 0.9, len(layers))) if len(layers) > 1 else [INK]
    axes.axhline(0, color=GREY, linewidth=0.6, zorder=1)
    has_ceiling = "ceiling_lower" in rows and bool(rows["ceiling_lower"].notna().any())
    if has_ceiling:
        ceiling = rows.drop_duplicates("time_s").sort_values("time_s")
        draw_ceiling(axes, ceiling["time_s"].to_numpy(), ceiling)
    for layer, name, colour in zip(layers, names, colours, strict=True):
        line = rows[rows["layer"].fillna("") == layer].sort_values("time_s")
        axes.plot(
            line["time_s"], line["score"], color=colour, linewidth=1.4, marker=".", markersize=4, label=name or "score"
        )
    if len(layers) > 1 or has_ceiling:
        look: dict[str, Any] = {"fontsize": TEXT - 1, "frameon": False, "labelcolor": INK}
        look |= {"handlelength": 1.4, "labelspacing": 0.25}
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.03), ncols=-(-len(layers) // 14), **look)
    axes.set_xlabel("time (s)", fontsize=TEXT, color=INK)
    axes.tick_params(labelsize=TEXT, length=2, colors=INK)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if not np.isfinite(rows["score"]).any():
        axes.text(0.5, 0.5, "no score is defined", transform=axes.transAxes, ha="center", color=GREY, fontsize=TEXT)


def _place(rows: pd.DataFrame) -> str:
    """Say where the voxel is, if it is one, and when its score is highest."""
    if not np.isfinite(rows["score"]).any():
        return "(no peak)"
    first = rows.loc[rows["score"].idxmax()]
    (time,) = written_times([first["time_s"]], rows["time_s"])
    if "x_mm" not in rows:
        return f"highest at {time}"
    place = ", ".join(f"{round(first[axis]):d}" for axis in ("x_mm", "y_mm", "z_mm"))
    return f"({place}) mm, highest at {time}".replace("-", "\N{MINUS SIGN}")
