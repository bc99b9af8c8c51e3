"""Pictures of courses: layers over time with onsets and peaks, latencies along the layers, times against times."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsa.core import Array
from rsa.errors import UserError, listed
from rsa.names import full_name
from rsa.registry import pick
from rsa.report.ceilings import ceiling_words, draw_ceiling, drawn_ceiling
from rsa.report.panels import dress
from rsa.report.style import (
    FAINT,
    GREY,
    INK,
    PAGE,
    SIGNED,
    TEXT,
    TITLE,
    axes_at,
    colour_bar,
    fitted,
    inches_of,
    layer_colours,
    plain,
    save_figure,
    signed_limit,
    without_shared_ends,
)
from rsa.report.times import LEGEND, NAMES, named_layers

__all__ = [
    "course_figures",
    "generalisation_figure",
    "latency_caption",
    "latency_figure",
    "layer_time_caption",
    "layer_time_figure",
    "save_generalisation",
]

WIDTH, HEIGHT, N_ACROSS = 1.95, 1.7, 2
"""Inches of a panel; panels in a row."""

ROW, GAP, SIDE = 0.1, 0.08, 2.5
"""Inches: the line of a layer below its time course, the gap above it, and the side of a square of times."""

MARKS = {"onset": ">", "peak": "o"}
"""The latencies that are drawn, and how."""

COURSES = "Scores over time, a line per layer from the first (dark) to the last (bright){mean}."
BANDS = "Coloured bands are confidence intervals over subjects."
CUT_OFF = " It is cut off where it is far above the scores."
SIGNIFICANT = (
    "Below, in the order of the layers, bars are the times at which a score is above 0 with a corrected p of {alpha:g} "
    "or less."
)
LATENCIES = "Triangles are onsets, dots peaks{interval}."
OPEN = "A dotted interval has no upper end: too many samples of subjects have no onset."
STIMULUS = "The dotted line is the onset of the stimulus."
ALONG_LAYERS = "Latency of the {what} along the layers{interval}. A layer without {what} has no mark.{rho}"
RHO = " In the title: the rank correlation of the number of a layer with its latency{interval}."
INTERVALS = ", with confidence intervals over subjects"
GENERALISED = (
    "Similarity of the RDMs of every two times ({comparison}): what is high off the diagonal lasts, or returns. {how} "
    "The colours are scaled to what is off the diagonal."
)
WITHIN = "Times are compared within subjects, so noise that both share counts as similarity, and a time equals itself."
BETWEEN = "The RDM of each subject (upwards) is compared with the average of the others (to the right)."


# ------------------------------------------------------------------------------------------- layer x time


def layer_time_figure(courses: pd.DataFrame, latencies: pd.DataFrame | None = None, *, alpha: float = 0.05) -> Figure:
    """Draw the time course of each layer: a panel per model, a line per layer, from first (dark) to last (bright).

    Parameters
    ----------
    courses : DataFrame
        From `rsa.meeg.latencies.group_courses`: `model`, `layer` (in order), `time_s`, `mean`; where they are known
        `statistic`, `lower` and `upper` (a band), `ceiling_lower` and `ceiling_upper` (the noise ceiling), and `p`.
        What is NaN is not drawn.
    latencies : DataFrame, optional
        From `rsa.meeg.latencies.latencies`: `model`, `layer`, `onset_s`, `peak_s`; where they are known
        `onset_lower_s`, `onset_upper_s`, `peak_lower_s` and `peak_upper_s` (intervals).
    alpha : float
        Times with this p or a lower one are marked.

    Raises
    ------
    UserError
        If there is no row or a column is missing.
    """
    _require(courses, ("model", "layer", "time_s", "mean"), "courses")
    rows, marks = _in_ms(drawn_ceiling(courses)), _marks(latencies)
    models = list(dict.fromkeys(rows["model"]))
    below = [ROW * rows.loc[rows["model"] == model, "layer"].nunique() for model in models]
    below = below if _has(rows, "p") or len(marks) else [0.0] * len(models)
    n_across, scale = min(len(models), N_ACROSS), _score_limits(rows)
    cells = [HEIGHT + GAP + max(below[i : i + n_across]) + 0.75 for i in range(0, len(models), n_across)]
    width = WIDTH if n_across > 1 else 1.5 * WIDTH
    figure = Figure((0.6 + n_across * (width + NAMES), sum(cells) + 0.05))
    for i, (model, height) in enumerate(zip(models, below, strict=True)):
        left, top = 0.6 + i % n_across * (width + NAMES), sum(cells[i // n_across :]) - 0.25
        here, own = rows[rows["model"] == model], marks[marks["model"] == model]
        axes = lowest = axes_at(figure, left, top - HEIGHT, width - 0.15, HEIGHT)
        _dress(axes, rows["time"])
        _draw_courses(axes, here, own)
        if height:
            lowest = axes_at(figure, left, top - HEIGHT - GAP - height, width - 0.15, height)
            _dress(lowest, rows["time"])
            _draw_lines_below(lowest, here, own, alpha)
            axes.tick_params(labelbottom=False)
        axes.set_ylim(*scale)
        axes.set_ylabel(_score_name(rows) if i % n_across == 0 else "", fontsize=TEXT, color=INK)
        axes.tick_params(labelleft=i % n_across == 0)  # all have one scale
        (title,), size = fitted([model], width + 0.6, TITLE, n_lines=1)
        axes.set_title(title, fontsize=size, color=INK, pad=4)
        lowest.set_xlabel("time (ms)", fontsize=TEXT, color=INK)
    return figure


def layer_time_caption(courses: pd.DataFrame, latencies: pd.DataFrame | None = None, *, alpha: float = 0.05) -> str:
    """Say what `layer_time_figure` shows of these tables; what they don't have is not spoken of."""
    courses = drawn_ceiling(courses)
    n_subjects = int(courses["n_subjects"].max()) if _has(courses, "n_subjects") else 0
    statistic = str(courses["statistic"].iloc[0]) if "statistic" in courses else ""
    mean = f", mean over {n_subjects} subjects" if n_subjects > 1 else ""
    said = [COURSES.format(mean=mean)]
    said += [BANDS] if _has(courses, "lower") else []
    said += [ceiling_words(n_subjects, statistic) + CUT_OFF] if _has(courses, "ceiling_lower") else []
    said += [SIGNIFICANT.format(alpha=alpha)] if _has(courses, "p") else []
    if latencies is not None and len(latencies):
        said.append(LATENCIES.format(interval=INTERVALS if _has(latencies, "peak_lower_s") else ""))
        said += [OPEN] if _has_open_end(latencies) else []
    said += [STIMULUS] if _holds_onset(courses["time_s"]) else []
    return " ".join(said)


def _draw_courses(axes: Axes, rows: pd.DataFrame, marks: pd.DataFrame) -> None:
    """Draw the lines of one model, their bands and peaks, and the noise ceiling."""
    axes.axhline(0, color=GREY, linewidth=0.6, zorder=1)
    if _has(rows, "ceiling_lower"):
        ceiling = rows.drop_duplicates("time").sort_values("time")
        draw_ceiling(axes, ceiling["time"].to_numpy(), ceiling)
    layers = _layers(rows)
    faint = min(0.16, 0.8 / len(layers))  # bands of many layers lie on each other
    for name, (layer, colour) in zip(named_layers(list(layers)), layers.items(), strict=True):
        line = _of_layer(rows, layer)
        if _has(line, "lower"):
            axes.fill_between(line["time"], line["lower"], line["upper"], color=colour, alpha=faint, linewidth=0)
        axes.plot(line["time"], line["mean"], color=colour, linewidth=1.3, label=name)
        peaks = marks.loc[marks["layer"] == layer, "peak"].to_numpy(dtype=float)
        heights = np.interp(peaks, line["time"], line["mean"])
        axes.plot(peaks, heights, MARKS["peak"], color=colour, markersize=4, mec=INK, mew=0.5, zorder=3)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    if len(layers) > 1 or _has(rows, "ceiling_lower"):
        axes.legend(**LEGEND)
    if not np.isfinite(rows["mean"]).any():
        axes.text(0.5, 0.5, "no score is defined", transform=axes.transAxes, ha="center", color=GREY, fontsize=TEXT)


def _draw_lines_below(axes: Axes, rows: pd.DataFrame, marks: pd.DataFrame, alpha: float) -> None:
    """Draw a line for each layer, the first on top: when its p is low, its onset and its peak."""
    layers = _layers(rows)
    for y, (layer, colour) in enumerate(layers.items()):
        line = _of_layer(rows, layer)
        if _has(line, "p"):
            spans = _spans(line["time"].to_numpy(), (line["p"] <= alpha).to_numpy())
            bars = [(start, stop - start) for start, stop in spans]
            axes.broken_barh(bars, (y - 0.3, 0.6), facecolors=[colour], alpha=0.45, linewidth=0)
        for latency in marks[marks["layer"] == layer].to_dict("records"):
            for what in MARKS:
                _draw_mark(axes, latency, what, y, colour)
    axes.set(ylim=(len(layers) - 0.4, -0.6), yticks=[])
    axes.spines["left"].set_visible(False)


def _draw_mark(axes: Axes, latency: dict[str, Any], what: str, y: float, colour: Any) -> None:
    """Draw an onset or a peak with its interval."""
    ends, look = _interval(latency, what, axes.get_xlim()[1])
    axes.plot(ends, [y, y], color=INK, linewidth=0.8, **look)
    axes.plot([latency[what]], [y], MARKS[what], color=colour, markersize=4.5, mec=INK, mew=0.5)


def _interval(latency: dict[str, Any], what: str, end: float) -> tuple[list[float], dict[str, Any]]:
    """Return from where to where an interval is drawn, and how: one without an upper bound dotted to the end."""
    lower, upper = (float(latency.get(f"{what}_{side}", np.nan)) for side in ("lower", "upper"))
    is_open = np.isfinite(lower) and np.isnan(upper)
    return [lower, end if is_open else upper], {"linestyle": ":"} if is_open else {"solid_capstyle": "butt"}


def _has_open_end(latencies: pd.DataFrame) -> bool:
    """Say whether an onset has the lower bound of an interval and no upper one."""
    return _has(latencies, "onset_lower_s") and bool(
        (latencies["onset_lower_s"].notna() & latencies["onset_upper_s"].isna()).any()
    )


def _score_name(rows: pd.DataFrame) -> str:
    return plain(full_name(str(rows["statistic"].iloc[0]))) if "statistic" in rows else "score"


def _score_limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Return one scale of scores for all panels: 0, all lines and bands, and of the ceiling what is near."""
    drawn = rows[[name for name in ("mean", "lower", "upper") if name in rows]].to_numpy(dtype=float)
    finite = drawn[np.isfinite(drawn)]
    low, high = float(finite.min(initial=0.0)), float(finite.max(initial=0.0))
    if _has(rows, "ceiling_upper"):
        ceiling = float(rows["ceiling_upper"].max())
        high = max(high, min(ceiling, 1.6 * high)) if high > 0 else max(ceiling, 0.0)
    margin = 0.06 * (high - low) or 0.05
    return low - margin * (low < 0), high + margin


def _spans(times: Array, chosen: Array) -> Array:
    """Return where runs of chosen times begin and end, half a step beyond their times, shape (n_runs, 2)."""
    edges = _edges(times)
    steps = np.diff(chosen.astype(int), prepend=0, append=0)
    return np.stack([edges[steps == 1], edges[steps == -1]], axis=1)


# ---------------------------------------------------------------------------------------------- latencies


def latency_figure(latencies: pd.DataFrame, hierarchy: pd.DataFrame | None = None, *, what: str = "peak") -> Figure:
    """Draw a latency along the layers of each model, with its interval.

    Parameters
    ----------
    latencies : DataFrame
        From `rsa.meeg.latencies.latencies`: `model`, `layer` (in order), `peak_s`, and where they are known
        `peak_lower_s` and `peak_upper_s`; the same of `onset` if that is drawn. Models of one layer are left out.
    hierarchy : DataFrame, optional
        From `rsa.meeg.latencies.hierarchy`, of peaks: `model`, `rho`, and where they are known `lower` and `upper`.
    what : str
        "peak" or "onset".

    Raises
    ------
    UserError
        If no model has two layers or a column is missing.
    """
    pick(MARKS, what, "latency")
    _require(latencies, ("model", "layer", f"{what}_s"), "latencies")
    table = _in_ms(latencies)
    parts = [rows for _, rows in table.groupby("model", sort=False) if len(rows) > 1]
    if not parts:
        raise UserError("Latencies along the layers are drawn for a model of two layers or more; there is none.")
    shown = [fitted(without_shared_ends(list(rows["layer"]), 22), 1.4, TEXT, n_lines=1) for rows in parts]
    points = min(size for _, size in shown)
    names = [labels for labels, _ in shown]
    n_across = min(len(parts), N_ACROSS)
    width = min(max(0.24 * max(map(len, names)), 2.2), (PAGE - 0.2) / n_across - 0.65)
    step = math.ceil(0.1 * max(map(len, names)) / width)  # of many layers, some are named
    foot = 0.2 + inches_of(label for labels in names for label in labels[::step])
    cell = HEIGHT + foot + 0.5
    n_down, scale = -(-len(parts) // n_across), _latency_limits(pd.concat(parts), what)
    figure = Figure((0.2 + n_across * (width + 0.65), n_down * cell + 0.05))
    for i, (rows, layers) in enumerate(zip(parts, names, strict=True)):
        left, bottom = 0.65 + i % n_across * (width + 0.65), foot + (n_down - 1 - i // n_across) * cell
        axes = axes_at(figure, left, bottom, width, HEIGHT)
        axes.set(xlim=(-0.6, len(layers) - 0.4), ylim=scale)
        _draw_latencies(axes, rows, what)
        axes.set_xticks(range(0, len(layers), step), layers[::step], rotation=90, fontsize=points)
        axes.set_ylabel(f"{what} latency (ms)" if i % n_across == 0 else "", fontsize=TEXT, color=INK)
        said = _latency_words(str(rows["model"].iloc[0]), hierarchy)
        (name,), size = fitted([str(rows["model"].iloc[0])], width + 0.6, TEXT + 0.5, n_lines=1)
        axes.set_title(f"{name}\n{said}".strip(), fontsize=size, color=INK, pad=4, linespacing=1.15)
    return figure


def latency_caption(latencies: pd.DataFrame, hierarchy: pd.DataFrame | None = None, *, what: str = "peak") -> str:
    """Say what `latency_figure` shows of these tables."""
    interval = INTERVALS if _has(latencies, f"{what}_lower_s") else ""
    known = hierarchy is not None and len(hierarchy) > 0
    rho = RHO.format(interval=", with its interval" if known and _has(hierarchy, "lower") else "") if known else ""
    return ALONG_LAYERS.format(what=what, interval=interval, rho=rho)


def _draw_latencies(axes: Axes, rows: pd.DataFrame, what: str) -> None:
    for x, ((layer, colour), latency) in enumerate(zip(_layers(rows).items(), rows.to_dict("records"), strict=True)):
        ends, look = _interval(latency, what, axes.get_ylim()[1])
        axes.plot([x, x], ends, color=INK, linewidth=0.9, **look)
        axes.plot([x], [latency[what]], MARKS[what], color=colour, markersize=5.5, mec=INK, mew=0.5, label=layer)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    _plain_axes(axes)
    if not np.isfinite(rows[what]).any():
        axes.text(0.5, 0.5, f"no layer has a {what}", transform=axes.transAxes, ha="center", color=GREY, fontsize=TEXT)


def _latency_limits(rows: pd.DataFrame, what: str) -> tuple[float, float]:
    """Return one scale for all panels that holds all latencies and their intervals."""
    drawn = rows[[f"{what}{end}" for end in ("", "_lower", "_upper") if f"{what}{end}" in rows]].to_numpy(dtype=float)
    finite = drawn[np.isfinite(drawn)]
    if not finite.size:
        return 0.0, 1.0
    margin = 0.1 * float(np.ptp(finite)) or 0.1 * abs(float(finite[0])) or 1.0
    return float(finite.min()) - margin, float(finite.max()) + margin


def _latency_words(model: str, hierarchy: pd.DataFrame | None) -> str:
    """Tell the rank correlation of layers and latencies, if it is known."""
    known = [] if hierarchy is None else hierarchy[hierarchy["model"].astype(str) == model].to_dict("records")
    if not known or not np.isfinite(known[0]["rho"]):
        return ""
    lower, upper = (float(known[0].get(end, np.nan)) for end in ("lower", "upper"))
    interval = (
        "" if np.isnan(lower) else f" (from {lower:.2f})" if np.isnan(upper) else f" ({lower:.2f} to {upper:.2f})"
    )
    return f"rank correlation {known[0]['rho']:.2f}{interval}".replace("-", "\N{MINUS SIGN}")


# ---------------------------------------------------------------------------------------- times x times


def generalisation_figure(
    matrix: npt.ArrayLike, times_s: npt.ArrayLike, *, score: str = "score", between: bool = False, title: str = ""
) -> Figure:
    """Draw how similar the RDMs of every two times are.

    Parameters
    ----------
    matrix : array, shape (n_times, n_times)
        From `rsa.meeg.scores.generalise`; the rows are drawn upwards, the columns to the right.
    times_s : sequence of float
        Ascending, in s after onset.
    score : str
        What the score is, for the colour bar.
    between : bool
        The rows are of subjects and the columns of the average of the others.
    title : str
        Above the picture.

    Raises
    ------
    UserError
        If there are fewer than two times, they don't ascend, or the matrix has another size.
    """
    values, times = np.asarray(matrix, dtype=float), np.asarray(times_s, dtype=float)
    if len(times) < 2 or (np.diff(times) <= 0).any() or values.shape != (len(times), len(times)):
        raise UserError(
            f"A picture of times against times needs two or more ascending times and a matrix of as many rows and "
            f"columns, not {len(times)} times and the shape {values.shape}."
        )
    edges = _edges(1000 * times)
    limit = signed_limit(values[~np.eye(len(times), dtype=bool)])
    figure = Figure((SIDE + 0.85, SIDE + 1.35))
    axes = axes_at(figure, 0.65, 1.05, SIDE, SIDE)
    shown = axes.pcolormesh(edges, edges, values, cmap=SIGNED, vmin=-limit, vmax=limit, rasterized=True)
    axes.set_facecolor(FAINT)  # seen where a score is undefined
    axes.set_aspect("equal")
    for draw in (axes.axvline, axes.axhline):
        if _holds_onset(times):
            draw(0, color=INK, linewidth=0.8, linestyle=":")
    across, up = ("time, mean of the others", "time, subject") if between else ("time", "time")
    axes.set_xlabel(f"{across} (ms)", fontsize=TEXT, color=INK)
    axes.set_ylabel(f"{up} (ms)", fontsize=TEXT, color=INK)
    axes.tick_params(labelsize=TEXT, length=2, colors=INK)
    (title,), size = fitted([title], SIDE + 0.7, TITLE, n_lines=1)
    axes.set_title(title, fontsize=size, color=INK, pad=4)
    bar = axes_at(figure, 0.65 + SIDE / 2 - 1.1, 0.45, 2.2, 0.1)
    name = f"{full_name(score)} (\N{MINUS SIGN}{limit:g} to {limit:g})"
    colour_bar(figure, bar, shown, name)
    return figure


# ------------------------------------------------------------------------------------------------ files


def course_figures(
    courses: pd.DataFrame,
    latencies: pd.DataFrame | None,
    folder: str | Path,
    *,
    hierarchy: pd.DataFrame | None = None,
    alpha: float = 0.05,
) -> list[Path]:
    """Draw layers over time and, where a model has layers and latencies, the order of their peaks; return the files.

    Returns
    -------
    list of path
        `layer_time.png` and, if a model has two layers or more with latencies, `latencies.png`.
    """
    figure = layer_time_figure(courses, latencies, alpha=alpha)
    text = layer_time_caption(courses, latencies, alpha=alpha)
    paths = [save_figure(Path(folder) / "layer_time.png", figure, text)]
    if latencies is not None and (latencies.groupby("model").size() > 1).any():
        along = latency_figure(latencies, hierarchy)
        paths.append(save_figure(Path(folder) / "latencies.png", along, latency_caption(latencies, hierarchy)))
    return paths


def save_generalisation(
    matrix: npt.ArrayLike,
    times_s: npt.ArrayLike,
    path: str | Path,
    *,
    comparison: str = "spearman",
    between: bool = False,
) -> Path:
    """Draw times against times into a file, with its caption; return the file."""
    figure = generalisation_figure(matrix, times_s, score=comparison, between=between)
    how = BETWEEN if between else WITHIN
    return save_figure(path, figure, GENERALISED.format(comparison=comparison, how=how))


# ------------------------------------------------------------------------------------------------ shared


def _require(table: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    missing = [name for name in columns if name not in table]
    if missing or not len(table):
        wrong = f"has no {listed(missing)}" if missing else "is empty"
        raise UserError(f"The table of {what} {wrong}; its columns are {listed(list(map(str, table)))}.")


def _in_ms(table: pd.DataFrame) -> pd.DataFrame:
    """Bring the columns in s to ms, drop the unit from their names, and make labels text."""
    in_s = [name for name in table if str(name).endswith("_s")]
    scaled = table.assign(**{name: 1000 * table[name].astype(float) for name in in_s})
    labels = {name: table[name].fillna("").astype(str) for name in ("model", "layer")}
    return scaled.assign(**labels).rename(columns={name: name.removesuffix("_s") for name in in_s})


def _marks(latencies: pd.DataFrame | None) -> pd.DataFrame:
    """Return latencies in ms; an empty table if there are none."""
    if latencies is None or not len(latencies):
        return pd.DataFrame(columns=["model", "layer", *MARKS])
    _require(latencies, ("model", "layer", *(f"{what}_s" for what in MARKS)), "latencies")
    return _in_ms(latencies)


def _has(table: pd.DataFrame | None, column: str) -> bool:
    """Say whether a column is there and says something."""
    return table is not None and column in table and bool(table[column].notna().any())


def _layers(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the colour of each layer, in order."""
    layers = list(dict.fromkeys(rows["layer"]))
    return dict(zip(layers, layer_colours(len(layers)), strict=True))


def _of_layer(rows: pd.DataFrame, layer: str) -> pd.DataFrame:
    return rows[rows["layer"] == layer].sort_values("time")


def _edges(times: Array) -> Array:
    """Return the borders between times, and as far beyond the first and the last; shape (n_times + 1,)."""
    if len(times) < 2:
        return np.concatenate([times - 0.5, times + 0.5])
    middles = (times[1:] + times[:-1]) / 2
    return np.concatenate([[2 * times[0] - middles[0]], middles, [2 * times[-1] - middles[-1]]])


def _holds_onset(times: pd.Series | Array) -> bool:
    return bool(times.min() < 0 < times.max())


def _dress(axes: Axes, times: pd.Series) -> None:
    """Give axes over time their limits, and a line at the onset of the stimulus."""
    if _holds_onset(times):
        axes.axvline(0, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    edges = _edges(np.unique(times))
    axes.set(xlim=(edges[0], edges[-1]), autoscalex_on=False)
    _plain_axes(axes)


def _plain_axes(axes: Axes) -> None:
    dress(axes, TEXT, grid=None)
    axes.tick_params("x", pad=5)  # the lowest score stands beside the first time
