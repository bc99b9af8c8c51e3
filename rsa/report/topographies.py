"""Pictures of scores over sensors: topographies of each reference at its best time, and of the best one over time."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from rsa.core import Array, ScoreMap
from rsa.errors import UserError
from rsa.report.drawing import score_bar
from rsa.report.figures import reference_names, reference_titles
from rsa.report.film import film_times
from rsa.report.style import (
    GREY,
    INK,
    SIGNED,
    TEXT,
    TITLE,
    axes_at,
    blank,
    fitted,
    save_figure,
    signed_limit,
    written_times,
)
from rsa.report.times import at_peak_times, peak_voxel
from rsa.significance import Significance

if TYPE_CHECKING:
    import mne

__all__ = ["sensor_figures", "topographies"]

SIDE, GAP, HEAD, FOOT, N_ACROSS = 1.0, 0.1, 0.12, 0.6, 6
"""Inches of a topography, between two, above the title of each, below all for the colours; topographies in a row."""

N_LETTERS = 24
"""Layers with longer names are shortened among themselves."""

LEAST = 3
"""With fewer sensors that have a score, there is nothing to draw between."""

SEEN = (
    "The head is seen from above, the nose is up; {dots} sensors with a score, the ring marks the highest. Colours "
    "between sensors are interpolated{pairs}. One colour scale for all maps; nothing is thresholded.{none}"
)
DOTS = "large dots are sensors with a significant score (corrected p ≤ {alpha}; {words}), small ones other"
NONE = " No score of {models} is significant at corrected p ≤ {alpha}."
PAIRS = ", and gradiometers at one place averaged"
BEST = "Scores over sensors{who}, of each reference at the time of its highest {which}score from onset on. {seen}"
STRIP = "Scores over sensors and time{who}, of the reference with the highest score: {name}. {seen}"


def sensor_figures(
    scores: ScoreMap,
    info: "mne.Info",
    folder: str | Path,
    *,
    title: str = "",
    significance: Significance | None = None,
) -> list[Path]:
    """Draw scores over sensors; return the files.

    Parameters
    ----------
    scores : ScoreMap
        Over sensors and times, of one statistic; the table has `model`, `layer` and `time_s`.
    info : mne.Info
        Where these sensors are.
    folder : path
        Where the PNG files go.
    title : str
        Who it is, for the captions.
    significance : Significance, optional
        Which scores are significant, if they were tested: their sensors have large dots, and times are those of
        significant scores where there are some.

    Returns
    -------
    list of path
        `sensor_maps.png`, each reference at its best time; `sensor_times.png`, the best reference at several times, if
        there are some.
    """
    folder, who = Path(folder), f", {title}" if title else ""
    later = _from_onset(scores)
    seen, which = _seen(info, later, significance), "" if significance is None else "significant "
    (best,) = at_peak_times([later], [None if significance is None else significance.of(later)])
    titles = reference_titles(best.table, N_LETTERS, "ms")
    figure = topographies(best, info, titles, significant=None if significance is None else significance.of(best))
    paths = [save_figure(folder / "sensor_maps.png", figure, BEST.format(who=who, which=which, seen=seen))]
    times_s = np.unique(scores.table["time_s"].to_numpy(dtype=float))
    if len(times_s) > 1:
        row, _ = peak_voxel(best, significance)
        strip = _over_time(scores, best, row, times_s)
        name = reference_names(best.table.drop(columns="time_s"))[row]
        found = None if significance is None else significance.of(strip)
        figure = topographies(strip, info, written_times(strip.table["time_s"], unit="ms"), significant=found)
        text = STRIP.format(who=who, name=name, seen=seen)
        paths.append(save_figure(folder / "sensor_times.png", figure, text))
    return paths


def _seen(info: "mne.Info", scores: ScoreMap, significance: Significance | None) -> str:
    """Say what is seen on a topography."""
    dots, none = "dots are", ""
    if significance is not None:
        alpha, models = significance.written_alpha, significance.insignificant(scores)
        dots = DOTS.format(alpha=alpha, words=significance.words)
        none = NONE.format(models=" or ".join(models), alpha=alpha) if models else ""
    return SEEN.format(dots=dots, none=none, pairs=PAIRS if len(_sites(info)[0]) < len(info["ch_names"]) else "")


def _from_onset(scores: ScoreMap) -> ScoreMap:
    """Return the rows at onset or later; all, if there are none."""
    later = (scores.table["time_s"] >= 0).to_numpy()
    return replace(scores, values=scores.values[later], table=scores.table[later]) if later.any() else scores


def _over_time(scores: ScoreMap, best: ScoreMap, row: int, times_s: Array) -> ScoreMap:
    """Return the rows of one reference at several times, that of its highest score among them."""
    chosen = film_times(times_s, float(best.table["time_s"].iloc[row]))
    is_shown = scores.table["time_s"].isin(chosen)
    for label in ("model", "layer"):
        is_shown &= scores.table[label] == best.table[label].iloc[row]
    shown = np.flatnonzero(is_shown)
    return replace(scores, values=scores.values[shown], table=scores.table.iloc[shown])


def topographies(
    scores: ScoreMap,
    info: "mne.Info",
    titles: Sequence[str],
    *,
    limit: float | None = None,
    significant: Array | None = None,
) -> Figure:
    """Draw each row of some scores over the head, on one scale of colours.

    Parameters
    ----------
    scores : ScoreMap
        Over sensors.
    info : mne.Info
        Where these sensors are, in the same order.
    titles : sequence of str
        One per row.
    limit : float, optional
        The colour scale goes from -limit to limit; by default the largest score.
    significant : array, shape (n_rows, n_sensors), optional
        What `rsa.significance.Significance.of` returns: sensors with 1 have large dots; one of a pair is enough.

    Raises
    ------
    UserError
        If the sensors are not those of the scores.
    """
    names = [] if scores.regions is None else list(scores.regions["sensor"])
    if names != list(info["ch_names"]):
        raise UserError("Topographies need the places of just the sensors that have scores, in their order.")
    sites, info = _sites(info)
    values = np.stack([_mean(scores.values[:, site]) for site in sites], axis=1)  # (n_maps, n_sites)
    found = np.zeros(scores.values.shape) if significant is None else significant
    marked = np.stack([(found[:, site] == 1).any(axis=1) for site in sites], axis=1)  # (n_maps, n_sites)
    largest = limit or signed_limit(values)
    colours = Normalize(-largest, largest)
    n_across, n_down = min(len(values), N_ACROSS), -(-len(values) // N_ACROSS)
    width = max(n_across * (SIDE + GAP) + GAP, 3.0)
    titles, points = fitted(titles, SIDE + 0.06, TITLE)
    cell = SIDE + HEAD + 0.13 * max(title.count("\n") + 1 for title in titles)
    figure = Figure((width, n_down * cell + FOOT + 0.05))
    for i, (row, dots, title) in enumerate(zip(values, marked, titles, strict=True)):
        bottom = FOOT + (n_down - 1 - i // n_across) * cell
        axes = axes_at(figure, GAP + i % n_across * (SIDE + GAP), bottom, SIDE, SIDE)
        _draw(axes, row, info, colours, dots)
        axes.set_title(title, fontsize=points, color=INK, pad=3, linespacing=1.1)
    score_bar(figure, axes_at(figure, width / 2 - 1.2, 0.42, 2.4, 0.1), colours, scores)
    return figure


def _draw(axes: Axes, values: Array, info: "mne.Info", colours: Normalize, marked: Array) -> None:
    """Draw one topography of the sensors that have a score, some of them marked."""
    import mne

    blank(axes)
    there = np.flatnonzero(np.isfinite(values))
    if len(there) < LEAST:
        axes.text(0.5, 0.5, "no score\nis defined", transform=axes.transAxes, ha="center", color=GREY, fontsize=TEXT)
        return
    ring = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": INK, "markersize": 5, "markeredgewidth": 0.9}
    look: dict[str, Any] = {"sensors": "k.", "contours": 0, "mask_params": ring, "res": 128, "show": False}
    shown, highest = values[there], np.arange(len(there)) == values[there].argmax()
    with mne.use_log_level("error"):
        chosen = mne.pick_info(info, there)
        mne.viz.plot_topomap(shown, chosen, axes=axes, cmap=SIGNED, cnorm=colours, mask=highest, **look)
    for line in axes.lines:
        line.set_linewidth(min(line.get_linewidth(), 0.8))
        line.set_markersize(min(line.get_markersize(), 5 if line.get_markerfacecolor() == "none" else 1.5))
    if marked[there].any():
        points = np.empty((len(there), 2))
        for marker, chosen in ((".", ~highest), ("o", highest)):
            points[chosen] = np.concatenate([line.get_xydata() for line in axes.lines if line.get_marker() == marker])
        axes.plot(*points[marked[there]].T, "o", color=INK, markersize=2.8, label="significant")


def _sites(info: "mne.Info") -> tuple[list[Array], "mne.Info"]:
    """Return the sensors at each place, of which pairs of gradiometers share one, and how MNE sees these places.

    MNE would draw the root mean square of a pair, which has no sign.
    """
    import mne

    places = np.round([channel["loc"][:3] for channel in info["chs"]], 4)
    _, first, site_of = np.unique(places, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    sites = [np.flatnonzero(site_of.ravel() == site) for site in order]
    kind = "eeg" if info.get_channel_types(unique=True) == ["eeg"] else "mag"
    seen = mne.create_info([info["ch_names"][site[0]] for site in sites], 1.0, kind, verbose="error")
    for channel, site in zip(seen["chs"], sites, strict=True):
        channel["loc"] = info["chs"][site[0]]["loc"]
    return sites, seen


def _mean(values: Array) -> Array:
    """Average (n_maps, n_sensors) over the sensors that have a score; NaN where none has."""
    n_there = np.isfinite(values).sum(axis=1)
    return np.where(n_there > 0, np.nansum(values, axis=1) / np.maximum(n_there, 1), np.nan)
