"""One figure per function: data in, a matplotlib figure out. RDMs, profiles over layers and regions."""

import math
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from operator import itemgetter

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsa.comparisons import COMPARISONS, compare_vectors
from rsa.core import Array, RDMs
from rsa.errors import UserError, listed
from rsa.names import full_models, full_name
from rsa.registry import pick
from rsa.report.ceilings import LINES, ceiling_handles
from rsa.report.panels import dress, give_title, put_legend
from rsa.report.style import (
    FAINT,
    GREY,
    INK,
    PAGE,
    PAIRS,
    SIGNED,
    SMALL,
    TEXT,
    TITLE,
    axes_at,
    colour_bar,
    fitted,
    inches_of,
    model_colours,
    plain,
    short_names,
    unit_of,
    without_shared_ends,
    written_times,
)

__all__ = ["percentiles", "profile", "rdm_grid", "rdm_similarity", "reference_names", "reference_titles", "region_bars"]

N_ACROSS = 5
N_IN_LEGEND = 5
"""Colours of more models than these are not explained, where each has one bar with its name below."""


def reference_names(table: pd.DataFrame, unit: str = "") -> list[str]:
    """Name each reference of a table: its layer, or its model where it has no layer; both where models differ.

    The unit of times is that of `unit_of`, if none is given.

    Examples
    --------
    >>> reference_names(pd.DataFrame({"model": ["alexnet", "animacy"], "layer": ["conv1", ""]}))
    ['alexnet conv1', 'animacy']
    """
    models, layers, times = (_labels(table, column, unit) for column in ("model", "layer", "time_s"))
    shown = [models if len(set(models)) > 1 or not any(layers) else [""] * len(table), layers, times]
    names = [" ".join(filter(None, parts)) for parts in zip(*shown, strict=True)]
    return [name or model or f"reference {i}" for i, (name, model) in enumerate(zip(names, models, strict=True), 1)]


def reference_titles(table: pd.DataFrame, n_shown: int, unit: str = "") -> list[str]:
    r"""Name each reference above a narrow picture: its layer alone where one model has layers, else below its model.

    Layers of a model that are longer than `n_shown` letters are shortened among themselves. A reference without layers
    has the name of `reference_names`. The time of a layer comes below it.

    Examples
    --------
    >>> reference_titles(pd.DataFrame({"model": ["alexnet", "animacy"], "layer": ["conv1", ""]}), 12)
    ['conv1', 'animacy']
    >>> reference_titles(pd.DataFrame({"model": ["alexnet", "vgg11"], "layer": ["conv1", "conv1"]}), 12)
    ['alexnet\nconv1', 'vgg11\nconv1']
    """
    models, layers, times = (_labels(table, column, unit) for column in ("model", "layer", "time_s"))
    parts, below = (layers, times) if any(layers) else (times, [""] * len(table))
    names = reference_names(table.drop(columns="time_s", errors="ignore") if any(layers) else table, unit)
    several = len({model for model, part in zip(models, parts, strict=True) if part}) > 1
    n_left = n_shown - max(len(time) + 1 if time else 0 for time in below) if several else n_shown
    titles: list[str] = []
    for model, rows in groupby(zip(models, parts, names, below, strict=True), key=itemgetter(0)):
        _, own, whole, last = zip(*rows, strict=True)
        short = short_names(own, n_left) if several else without_shared_ends(own, n_left)
        titles += [
            _title(model if several else "", part, name, time)
            for part, name, time in zip(short, whole, last, strict=True)
        ]
    return titles


def _title(model: str, part: str, name: str, time: str) -> str:
    """Put a title into two lines at most: model above layer and time, layer above time, or the name above time."""
    lines = [model, f"{part} {time}"] if model and part else [part or name, time]
    return "\n".join(line.strip() for line in lines if line.strip())


def _labels(table: pd.DataFrame, column: str, unit: str) -> list[str]:
    """Return a column as text, "" where it says nothing; times with their unit."""
    if column not in table:
        return [""] * len(table)
    values = table[column]
    if column == "time_s":
        return written_times(values, unit=unit or unit_of(table))
    return full_models(table) if column == "model" else ["" if pd.isna(value) else str(value) for value in values]


# ------------------------------------------------------------------------------------------------ RDMs


def percentiles(rdms: Array) -> Array:
    """Rank each RDM from 0 (most similar) to 100, ties by their average: (n_rdms, n_pairs) in and out; NaN stays."""
    ranks = pd.DataFrame(np.atleast_2d(rdms)).rank(axis="columns").to_numpy().reshape(rdms.shape)
    n_ranked = np.isfinite(rdms).sum(axis=-1, keepdims=True)
    return np.asarray(100 * (ranks - 0.5) / np.maximum(n_ranked, 1))


def rdm_grid(rdms: RDMs, titles: Sequence[str], categories: pd.Series | None = None) -> Figure:
    """Draw RDMs side by side, as percentiles of their dissimilarities.

    Parameters
    ----------
    rdms : RDMs
        The stack.
    titles : sequence of str
        One per RDM.
    categories : Series, optional
        The category of each condition, by its label. Conditions are then sorted by category, in order of their first
        appearance, and lines separate the categories.

    Raises
    ------
    UserError
        If titles and RDMs differ in number, or a condition has no category.
    """
    _require_titles(rdms, titles)
    ordered, groups = (rdms, None) if categories is None else by_category(rdms, categories)
    ranked = RDMs(percentiles(ordered.values), ordered.conditions, ordered.table)
    return rdm_sheet(ranked, titles, groups, "in each RDM", side=1.75, n_most=N_ACROSS)


def rdm_sheet(
    ranked: RDMs,
    titles: Sequence[str],
    groups: list[str] | None,
    among: str,
    *,
    side: float,
    n_most: int,
    least_width: float = 0.0,
) -> Figure:
    """Draw ranked RDMs (0 to 100 `among` others) in rows of `n_most`, titles above, one colour bar; sizes in inches."""
    labels, places, edges = axis_labels(ranked.conditions, groups)
    labels, points = fitted(labels, 1.2, TEXT, n_lines=1)
    n_across, margin = min(len(ranked), n_most), 0.15 + inches_of(labels, points)
    side = min(side, (PAGE - margin - 0.1) / n_across - 0.12)
    titles, size = fitted(titles, side + 0.03, TITLE)
    head = 0.12 + 0.13 * max(title.count("\n") + 1 for title in titles)
    n_down = -(-len(ranked) // n_across)
    width = max(margin + n_across * (side + 0.12) + 0.1, least_width)
    figure = Figure((width, n_down * (side + head) + 0.75))
    for i, (square, title) in enumerate(zip(ranked.squares, titles, strict=True)):
        np.fill_diagonal(square := square.copy(), np.nan)
        left, bottom = margin + i % n_across * (side + 0.12), 0.75 + (n_down - 1 - i // n_across) * (side + head)
        axes = axes_at(figure, left, bottom, side, side)
        shown = axes.imshow(square, cmap=PAIRS, vmin=0, vmax=100, interpolation="nearest")
        axes.set_title(title, fontsize=size, color=INK, pad=3, linespacing=1.1)
        if not np.isfinite(square).any():
            axes.text(0.5, 0.5, "undefined", transform=axes.transAxes, ha="center", color=GREY, fontsize=TEXT)
        axes.set(xticks=[], yticks=places if i % n_across == 0 else [])
        if i % n_across == 0:
            axes.set_yticklabels(labels, fontsize=points)
        axes.tick_params(length=0, colors=INK)
        for edge in edges:
            axes.axhline(edge, color="white", linewidth=0.7)
            axes.axvline(edge, color="white", linewidth=0.7)
    of_bar = min(3.2, width - 0.4)
    bar = axes_at(figure, (width - of_bar) / 2, 0.48, of_bar, 0.1)
    colour_bar(figure, bar, shown, f"dissimilarity (percentile {among}, 0 to 100)")
    return figure


def _require_titles(rdms: RDMs, titles: Sequence[str]) -> None:
    if len(titles) != len(rdms) or not len(rdms):
        raise UserError(f"A picture of {len(rdms)} RDMs needs one RDM or more and as many titles, not {len(titles)}.")


def by_category(rdms: RDMs, categories: pd.Series) -> tuple[RDMs, list[str] | None]:
    """Bring conditions into the order of a table, category by category, and return the category of each.

    Parameters
    ----------
    rdms : RDMs
        The stack.
    categories : Series
        The category of each condition, by its label, in the order of the table; "" where there are no categories.

    Returns
    -------
    rdms : RDMs
        Conditions sorted by category, in order of their first appearance in the table, and in its order within one.
    groups : list of str, optional
        The category of each; None if they group nothing, as where each condition is a category of its own.
    """
    of = {str(label): str(category) for label, category in categories.items()}
    missing = [name for name in rdms.conditions if name not in of]
    if missing:
        raise UserError(f"These conditions have no category: {listed(missing)}. Name one for each, or give none.")
    rank = {category: i for i, category in enumerate(dict.fromkeys(of.values()))}
    place = {label: i for i, label in enumerate(of)}
    names = sorted(rdms.conditions, key=lambda name: (rank[of[name]], place[name]))
    groups = [of[name] for name in names]
    groups_some = any(groups) and len(set(groups)) <= len(groups) / 2
    return rdms.reordered(names), groups if groups_some else None


def order_words(categories: pd.Series | None) -> str:
    """Say in which order conditions are, for captions."""
    if categories is None:
        return ""
    return f" Conditions are {'sorted by category' if any(categories) else 'in the order of the stimulus table'}."


def axis_labels(conditions: Sequence[str], groups: list[str] | None) -> tuple[list[str], list[float], list[float]]:
    """Return labels of the rows, their places and the edges between categories; no labels where they'd overlap."""
    n = len(conditions)
    if groups is None:
        few = n <= 12
        return (list(conditions), list(map(float, range(n))), []) if few else ([], [], [])
    starts = [i for i in range(n) if i == 0 or groups[i] != groups[i - 1]]
    ends = [*starts[1:], n]
    fits = [(start, end) for start, end in zip(starts, ends, strict=True) if (end - start) / n > 0.08]
    labels = [groups[start] for start, _ in fits]
    return labels, [(start + end - 1) / 2 for start, end in fits], [start - 0.5 for start in starts[1:]]


def rdm_similarity(rdms: RDMs, titles: Sequence[str], comparison: str = "spearman") -> Figure:
    """Draw how similar RDMs are to each other: a matrix of scores on a scale from -1 to 1, with its numbers.

    Raises
    ------
    UserError
        If titles and RDMs differ in number, or the comparison is unknown.
    """
    _require_titles(rdms, titles)
    scores = compare_vectors(rdms.values, rdms.values, pick(COMPARISONS, comparison, "comparison"))
    names, points = fitted(titles, 1.6, TEXT, n_lines=1)
    n, margin = len(rdms), 0.2 + inches_of(names, points)
    cell = min((PAGE - margin - 0.3) / n, 0.45)
    foot = 0.75 * margin + 0.75
    figure = Figure((max(margin + n * cell + 0.3, 3.3), n * cell + foot + 0.1))
    axes = axes_at(figure, margin, foot, n * cell, n * cell)
    shown = axes.imshow(scores, cmap=SIGNED, vmin=-1, vmax=1)
    axes.set_facecolor(FAINT)  # seen where a score is undefined
    named = range(0, n, math.ceil(0.1 / cell))  # of many, some are named
    axes.set_xticks(named, [names[i] for i in named], rotation=45, ha="right", rotation_mode="anchor", fontsize=points)
    axes.set_yticks(named, [names[i] for i in named], fontsize=points)
    axes.tick_params(length=0, colors=INK)
    for i, j in np.argwhere(np.isfinite(scores)) if cell >= 0.32 else ():
        colour = "white" if abs(scores[i, j]) > 0.6 else INK
        text = f"{round(scores[i, j], 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")
        axes.text(j, i, text, ha="center", va="center", fontsize=SMALL if cell < 0.4 else TEXT, color=colour)
    axes.spines[:].set_visible(False)
    width = min(2.6, figure.get_figwidth() - 0.6)
    bar = axes_at(figure, (figure.get_figwidth() - width) / 2, 0.45, width, 0.1)
    colour_bar(figure, bar, shown, f"{comparison} between reference RDMs (\N{MINUS SIGN}1 to 1)")
    return figure


# ------------------------------------------------------------------------------- profiles and regions


def profile(table: pd.DataFrame, models: Sequence[str] = ()) -> Figure:
    """Draw the score along the layers: a thin line per subject, a thick one for their mean.

    Parameters
    ----------
    table : DataFrame
        Columns `subject`, `model`, `layer` (in order), `score`, and optionally `region` (a panel each) and
        `statistic` (what the score is).
    models : sequence of str
        Models that have a colour before those of the table: all of a study, so that each has the same everywhere.
    """
    return _panels(table, _draw_lines, models=models)


def region_bars(table: pd.DataFrame, ceilings: pd.DataFrame | None = None, models: Sequence[str] = ()) -> Figure:
    """Draw, for each region, the mean score of each reference over subjects, with standard error and the subjects.

    Parameters
    ----------
    table : DataFrame
        Columns `subject`, `region`, `model`, `layer` (in order), `score`, and optionally `statistic`.
    ceilings : DataFrame, optional
        Columns `region`, `ceiling_lower`, `ceiling_upper`: the noise ceiling, a line for each bound.
    models
        As in `profile`.
    """
    return _panels(table, _draw_bars, ceilings, models)


def _panels(
    table: pd.DataFrame,
    draw: Callable[[Axes, pd.DataFrame, dict[str, str]], None],
    ceilings: pd.DataFrame | None = None,
    models: Sequence[str] = (),
) -> Figure:
    """Draw one panel per region, all on one scale."""
    rows = table.assign(layer=table["layer"].fillna("").astype(str), model=table["model"].astype(str))
    rows = rows if "region" in rows else rows.assign(region="")
    places = _places(rows)
    rows = rows.assign(x=[places[key] for key in zip(rows["model"], rows["layer"], strict=True)])
    regions, shown = list(dict.fromkeys(rows["region"])), list(dict.fromkeys(rows["model"]))
    of_all = model_colours(list(dict.fromkeys([*models, *shown])))
    colours = {model: of_all[model] for model in shown}
    labels = _layer_names(places)
    labels, points = fitted(labels, 2.0, TEXT, n_lines=1)
    width, foot = min(max(0.2 * len(places) + 0.5, 2.5), PAGE - 0.8), 0.2 + inches_of(labels, points)
    n_across = max(min(len(regions), int((PAGE - 0.3) // (width + 0.5))), 1)
    n_down, height = -(-len(regions) // n_across), 1.7
    cell = height + 0.35 + foot
    figure = Figure((n_across * (width + 0.5) + 0.3, n_down * cell + 0.18))
    step = math.ceil(0.1 * (max(places.values()) + 1.4) / (width - 0.1))  # of many labels, some are written
    labels = [label if i % step == 0 else "" for i, label in enumerate(labels)]
    low, high = _score_range(rows, ceilings)
    for i, region in enumerate(regions):
        left, bottom = 0.65 + i % n_across * (width + 0.5), foot + (n_down - 1 - i // n_across) * cell
        axes = axes_at(figure, left, bottom, width - 0.1, height)
        here = rows[rows["region"] == region]
        if ceilings is not None:
            _draw_ceiling(axes, ceilings[ceilings["region"] == region])
        draw(axes, here, colours)
        _dress(axes, here, places, labels, str(region), points)
        axes.set_ylim(low, high)
        axes.set_ylabel(_score_name(rows) if i % n_across == 0 else "", fontsize=TEXT, color=INK)
    has_layers = len(places) > len(colours)
    has_ceiling = ceilings is not None and bool(np.isfinite(ceilings[[*LINES]]).any(axis=None))
    _legend(figure, colours if has_layers or len(colours) <= N_IN_LEGEND else {}, has_ceiling)
    return figure


def _places(rows: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Return where each (model, layer) stands: layers 1 apart, models 1.6 apart."""
    keys = list(dict.fromkeys(zip(rows["model"], rows["layer"], strict=True)))
    keys.sort(key=lambda key: list(dict.fromkeys(rows["model"])).index(key[0]))
    steps = [0.0] + [1.0 if a[0] == b[0] else 1.6 for a, b in pairwise(keys)]
    return dict(zip(keys, map(float, np.cumsum(steps)), strict=True))


def _layer_names(places: dict[tuple[str, str], float]) -> list[str]:
    """Name the references in order of their places, each model's layers shortened among themselves."""
    names: list[str] = []
    for model, keys in groupby(places, key=itemgetter(0)):
        layers = [layer for _, layer in keys]
        names += short_names(layers, 22) if any(layers) else short_names([model], 40)
    return names


def _score_name(rows: pd.DataFrame) -> str:
    names = list(dict.fromkeys(rows["statistic"])) if "statistic" in rows else []
    return plain(full_name(names[0])) if len(names) == 1 else "score"


def _score_range(rows: pd.DataFrame, ceilings: pd.DataFrame | None) -> tuple[float, float]:
    """Return one scale for all panels; it includes 0."""
    values = [0.0, *rows["score"], *([] if ceilings is None else ceilings[[*LINES]].to_numpy().ravel())]
    finite = np.array(values, dtype=float)[np.isfinite(np.array(values, dtype=float))]
    room = 0.06 * np.ptp(finite) or 0.05
    return float(finite.min() - room * (finite.min() < 0)), float(finite.max() + room)


def _draw_ceiling(axes: Axes, ceiling: pd.DataFrame) -> None:
    for _, bounds in ceiling[[*LINES]].drop_duplicates().dropna().iterrows():
        for name, look in LINES.items():
            axes.axhline(bounds[name], zorder=1.5, **look)


def _draw_lines(axes: Axes, here: pd.DataFrame, colours: dict[str, str]) -> None:
    for model, rows in here.groupby("model", sort=False):
        means = rows.groupby("x")["score"].mean()
        several = rows["subject"].nunique() > 1
        for _, own in rows.groupby("subject", sort=False):
            line = own.sort_values("x")
            axes.plot(line["x"], line["score"], color=colours[model], alpha=0.45, linewidth=0.8, marker=".", ms=3)
        if several:
            axes.plot(means.index, means, color=colours[model], linewidth=2.2, marker="o", markersize=4)


def _draw_bars(axes: Axes, here: pd.DataFrame, colours: dict[str, str]) -> None:
    for model, rows in here.groupby("model", sort=False):
        scores = rows.groupby("x")["score"]
        means, counts = scores.mean(), scores.count()
        axes.bar(means.index, means, width=0.72, color=colours[model], alpha=0.75, linewidth=0)
        errors = (scores.std(ddof=1) / np.sqrt(counts))[counts > 1]
        axes.errorbar(errors.index, means[errors.index], errors, fmt="none", ecolor=INK, elinewidth=1.1, capsize=0)
        for x, own in scores:
            spread = np.linspace(-0.2, 0.2, len(own)) if len(own) > 1 else np.zeros(1)
            axes.plot(x + spread, own, ".", color=INK, markersize=3, alpha=0.6, markeredgewidth=0)


def _dress(
    axes: Axes,
    here: pd.DataFrame,
    places: dict[tuple[str, str], float],
    labels: list[str],
    region: str,
    points: float,
) -> None:
    """Give a panel its title, its ticks and a line at 0."""
    n_subjects = here["subject"].nunique()
    count = f"{n_subjects} subject{'s' * (n_subjects != 1)}"
    dress(axes, TEXT)
    give_title(axes, f"{region} ({count})" if region else count, pad=4)
    axes.axhline(0, color=GREY, linewidth=0.6, zorder=1)
    axes.set_xticks(list(places.values()), labels, rotation=90, fontsize=points, color=INK)
    axes.set_xlim(-0.7, max(places.values()) + 0.7)
    if not np.isfinite(here["score"]).any():
        axes.text(0.5, 0.5, "no score is defined", transform=axes.transAxes, ha="center", color=GREY, fontsize=TEXT)


def _legend(figure: Figure, colours: dict[str, str], has_ceiling: bool) -> None:
    from matplotlib.patches import Patch

    handles: list[Artist] = [Patch(color=colour, label=plain(model, 30)) for model, colour in colours.items()]
    handles += ceiling_handles() if has_ceiling else []
    if len(handles) > 1 or not colours:
        put_legend(figure, handles, n_lines=1)
