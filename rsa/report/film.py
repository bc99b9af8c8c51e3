"""Films: brains and RDMs from time to time, as strips of pictures and as frames that a page or a video shows.

One scale of colours holds for all times, so that a film shows when something begins as well as where.
"""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from rsa.core import Array, RDMs, ScoreMap
from rsa.errors import UserError
from rsa.files.io import save_text, writing
from rsa.maps import times_of
from rsa.report.drawing import sight_words, stride_words, threshold_words
from rsa.report.figures import by_category, order_words, percentiles, rdm_sheet, reference_names
from rsa.report.glass import glass_grid
from rsa.report.style import (
    is_wanted,
    save_figure,
    signed_limit,
    unit_of,
    written_times,
)
from rsa.significance import Significance, significant_or_all

__all__ = [
    "film_figures",
    "film_frames",
    "film_strip",
    "film_times",
    "rdm_film_frames",
    "rdm_film_figures",
    "rdm_movie_strip",
]

N_SHOWN, N_FRAMES = 8, 31
"""Times of a strip, and the most frames of a film."""

FRAME_MS, FILM_DPI, N_ACROSS = 250, 120, 4
"""How long a frame is shown; its pixels per inch; frames beside each other in the picture of all frames."""

STRIP_SIDE, FRAME_SIDE = 1.1, 3.0
"""Inches of an RDM in a strip and in a film."""

CHOSEN = "Times are spread evenly from the onset of the stimulus on, with that of the highest score among them."
BRAINS = "Scores over time{who}. {sight} One colour scale for all times; {thresholded}"
DISSIMILARITIES = (
    "RDMs over time{who}. The colour is the rank of a dissimilarity among all pairs at all times, so that colours of "
    "different times can be compared.{order}"
)


# ------------------------------------------------------------------------------------------------ times


def film_times(times_s: Sequence[float] | Array, peak_s: float | None = None, n_shown: int = N_SHOWN) -> list[float]:
    """Choose times for a strip: spread evenly from the onset of the stimulus to the end, with the peak among them.

    Parameters
    ----------
    times_s : sequence of float
        The times there are, in s after onset. Those before 0 are left out if there are later ones.
    peak_s : float, optional
        Takes the place of the nearest of the chosen times between the first and the last.
    n_shown : int
        How many; fewer if there are fewer.

    Examples
    --------
    >>> film_times([-0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5], n_shown=3)
    [0.0, 0.2, 0.5]
    >>> film_times([-0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5], peak_s=0.1, n_shown=3)
    [0.0, 0.1, 0.5]
    """
    times = np.unique(np.asarray(times_s, dtype=float))
    after = times[times >= 0] if (times >= 0).any() else times
    chosen = after[_spread(len(after), n_shown)]
    inner = chosen[1:-1]
    if peak_s is not None and len(inner) and after[0] < peak_s < after[-1]:
        inner[np.abs(inner - peak_s).argmin()] = _nearest(after, [peak_s])[0]
    return [float(time) for time in np.unique(chosen)]


def _spread(n: int, n_chosen: int) -> Array:
    """Return at most `n_chosen` of the positions 0 to n - 1, spread evenly, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, n_chosen)).round().astype(int))


def _nearest(times: Array, wanted_s: Sequence[float]) -> Array:
    """Return the times that are nearest to those wanted, which must lie among them (or half a step beyond)."""
    room = np.diff(times).max(initial=0) / 2 + 1e-9
    for time in wanted_s:
        if not times[0] - room <= time <= times[-1] + room:
            raise UserError(f"A film from {times[0]:g} to {times[-1]:g} s has no time {time:g} s; choose another.")
    return np.unique([times[np.abs(times - time).argmin()] for time in wanted_s])


# ----------------------------------------------------------------------------------------------- brains


def film_strip(
    scores: ScoreMap,
    times_s: Sequence[float] | None = None,
    *,
    space: str = "",
    limit: float | None = None,
    significance: Significance | None = None,
) -> Figure:
    """Look through the brain at several times, on one scale of colours.

    Parameters
    ----------
    scores : ScoreMap
        One row per time, over voxels; or several references at each time, which become rows of pictures.
    times_s : sequence of float, optional
        Which times; of those there are the nearest are drawn. By default those of `film_times`.
    space : str
        Name of the space; one that starts with "MNI" is drawn with nilearn's outlines of the brain.
    limit : float, optional
        The colour scale goes from -limit to limit; by default the largest score at any time.
    significance : Significance, optional
        Which scores are significant: these are outlined, the others faded; of chosen times, one is that of the highest
        significant score.

    Raises
    ------
    UserError
        If the scores are at one time only, a reference lacks a time or has it twice, or a time is not there.
    """
    references = _references(scores)
    times = np.array(times_of(scores.table))
    chosen = film_times(times, _peak_s(scores, significance)) if times_s is None else _nearest(times, times_s)
    parts = [(name, _at_times(part, chosen)) for name, part in references]
    found = None if significance is None else [significance.of(part) for _, part in parts]
    rows = [(name, _titled(part, times)) for name, part in parts]
    return glass_grid(rows, space=space, limit=limit or signed_limit(scores.values), significant=found)


def film_frames(
    scores: ScoreMap,
    path: str | Path,
    *,
    space: str = "",
    limit: float | None = None,
    caption: str = "",
    significance: Significance | None = None,
) -> Path:
    """Write the frames of a film of the brain: one per time, at most 31 of them, spread evenly.

    Parameters
    ----------
    scores : ScoreMap
        As in `film_strip`; several references are pictures beside each other.
    path : path
        Of the table of frames (JSON). The frames have its name with other endings.
    space, limit
        As in `film_strip`.
    caption : str
        Kept in the table.

    Returns
    -------
    path
        That of the table, which `docs/formats.md` describes. Beside it are the frames in one picture (WebP) and, where
        imageio-ffmpeg is installed, a video (MP4).

    Raises
    ------
    UserError
        As `film_strip`.
    """
    references = _references(scores)
    times = np.array(times_of(scores.table))
    largest = limit or signed_limit(scores.values)

    def frame(time: float) -> Figure:
        at_time = [_at_times(part, [time]) for _, part in references]
        found = None if significance is None else [np.concatenate([significance.of(part) for part in at_time])]
        parts = [_titled(part, times, name) for part, (name, _) in zip(at_time, references, strict=True)]
        table = pd.concat([part.table for part in parts])
        shown = replace(scores, values=np.concatenate([part.values for part in parts]), table=table)
        return glass_grid([("", shown)], space=space, limit=largest, significant=found)

    return _save_frames(frame, times, path, caption, unit_of(scores.table), _peak_s(scores, significance))


def film_figures(
    scores: ScoreMap,
    folder: str | Path,
    *,
    space: str = "",
    title: str = "",
    times_s: Sequence[float] | None = None,
    significance: Significance | None = None,
) -> list[Path]:
    """Draw brains over time as a strip and as a film; return the files (`film.png`, `film.json`)."""
    thresholded = "nothing is thresholded." if significance is None else threshold_words(significance, scores)
    who = f", {title}" if title else ""
    caption = BRAINS.format(who=who, sight=sight_words(significance), thresholded=thresholded) + stride_words(scores)
    said = caption if times_s is not None else f"{caption} {CHOSEN}"
    look: dict[str, Any] = {"space": space, "significance": significance}
    strip = save_figure(Path(folder) / "film.png", film_strip(scores, times_s, **look), said)
    return [strip, film_frames(scores, Path(folder) / "film.json", caption=caption, **look)]


def _references(scores: ScoreMap) -> list[tuple[str, ScoreMap]]:
    """Return the name and the rows of each reference, in order of time; each must have every time once."""
    table, times = scores.table, times_of(scores.table)
    if len(times) < 2:
        raise UserError(f"A film needs scores at two times or more; these are at {len(times)}.")
    keys = pd.DataFrame({name: table[name].fillna("").astype(str) for name in ("model", "layer") if name in table})
    groups = [keys.index.to_numpy()[rows] for rows in keys.groupby(list(keys), sort=False).indices.values()]
    names = reference_names(keys.loc[[rows[0] for rows in groups]])
    parts = []
    for name, rows in zip(names, groups, strict=True):
        rows = rows[np.argsort(table["time_s"].to_numpy(dtype=float)[rows], kind="stable")]
        if table["time_s"].to_numpy(dtype=float)[rows].tolist() != times:
            raise UserError(f"A film of {name!r} needs each of {len(times)} times once; choose one subject, one score.")
        parts.append((name, replace(scores, values=scores.values[rows], table=table.iloc[rows])))
    return parts


def _at_times(part: ScoreMap, times_s: Sequence[float] | Array) -> ScoreMap:
    chosen = part.table["time_s"].isin(list(times_s)).to_numpy()
    return replace(part, values=part.values[chosen], table=part.table[chosen])


def _titled(part: ScoreMap, among: Array, name: str = "") -> ScoreMap:
    """Make the time (after a name) the title of each picture."""
    titles = [f"{name} {time}".strip() for time in written_times(part.table["time_s"], among, unit_of(part.table))]
    return replace(part, table=part.table.drop(columns="time_s").assign(model="", layer=titles))


def _peak_s(scores: ScoreMap, significance: Significance | None = None) -> float | None:
    """Return the time of the highest (significant) score, after onset if there are such times; None without any."""
    times = scores.table["time_s"].to_numpy(dtype=float)
    allowed = times >= 0 if (times >= 0).any() else np.ones(len(times), dtype=bool)
    found = np.full(scores.values.shape, np.nan) if significance is None else significance.of(scores)
    values = significant_or_all(np.where(allowed[:, None], scores.values, np.nan), found)
    highest = np.where(np.isnan(values), -np.inf, values).max(axis=1)  # (n_maps,)
    row = int(np.where(allowed, highest, -np.inf).argmax())
    return float(times[row]) if np.isfinite(highest[row]) else None


# ------------------------------------------------------------------------------------------------- RDMs


def rdm_movie_strip(movie: RDMs, times_s: Sequence[float] | None = None, categories: pd.Series | None = None) -> Figure:
    """Draw RDMs at several times beside each other, as percentiles of the dissimilarities at all times of the movie.

    Parameters
    ----------
    movie : RDMs
        One RDM per time (`time_s` in its table).
    times_s : sequence of float, optional
        Which times; of those there are the nearest are drawn. By default those of `film_times`.
    categories : Series, optional
        The category of each condition, by its label; conditions are then sorted by category.

    Raises
    ------
    UserError
        If there are fewer than two times, one comes twice or is not there, or a condition has no category.
    """
    ranked, groups = _ranked(movie, categories)
    times = ranked.table["time_s"].to_numpy(dtype=float)
    chosen = film_times(times) if times_s is None else _nearest(times, times_s)
    return _rdm_row(ranked.subset(np.isin(times, chosen)), times, groups, STRIP_SIDE)


def rdm_film_frames(movie: RDMs, path: str | Path, categories: pd.Series | None = None, *, caption: str = "") -> Path:
    """Write the frames of a movie of RDMs: one per time, at most 31 of them, spread evenly.

    Parameters and errors are those of `rdm_movie_strip`, the files those of `film_frames`.
    """
    ranked, groups = _ranked(movie, categories)
    times = ranked.table["time_s"].to_numpy(dtype=float)

    def frame(time: float) -> Figure:
        return _rdm_row(ranked.subset(times == time), times, groups, FRAME_SIDE)

    return _save_frames(frame, times, path, caption, "ms")


def rdm_film_figures(
    movie: RDMs,
    folder: str | Path,
    *,
    categories: pd.Series | None = None,
    title: str = "",
    times_s: Sequence[float] | None = None,
) -> list[Path]:
    """Draw RDMs over time as a strip and as a film; return the files (`rdm_film.png`, `rdm_film.json`)."""
    caption = DISSIMILARITIES.format(who=f", {title}" if title else "", order=order_words(categories))
    strip = save_figure(Path(folder) / "rdm_film.png", rdm_movie_strip(movie, times_s, categories), caption)
    return [strip, rdm_film_frames(movie, Path(folder) / "rdm_film.json", categories, caption=caption)]


def _ranked(movie: RDMs, categories: pd.Series | None) -> tuple[RDMs, list[str] | None]:
    """Rank the dissimilarities of all times together, and sort times and conditions."""
    times = movie.table["time_s"].to_numpy(dtype=float) if "time_s" in movie.table else np.empty(0)
    if len(times) < 2 or len(set(times)) < len(times) or np.isnan(times).any():
        raise UserError(
            f"A film of RDMs needs one RDM at each of two times or more; these are {len(movie)} RDMs at "
            f"{len(set(times))} times. Choose one subject, or average the subjects first."
        )
    values = percentiles(movie.values.ravel()).reshape(movie.values.shape)
    ranked = replace(movie, values=values).subset(np.argsort(times))
    return (ranked, None) if categories is None else by_category(ranked, categories)


def _rdm_row(shown: RDMs, among: Array, groups: list[str] | None, side: float) -> Figure:
    """Draw ranked RDMs in rows of eight, with their times above."""
    titles = written_times(shown.table["time_s"], among, "ms")
    return rdm_sheet(shown, titles, groups, "of all times", side=side, n_most=N_SHOWN, least_width=3.6)


# ------------------------------------------------------------------------------------------------ files


def _save_frames(
    frame: Callable[[float], Figure],
    times: Array,
    path: str | Path,
    caption: str,
    unit: str,
    start_s: float | None = None,
) -> Path:
    """Draw a frame per time and write all of them as one picture, its table and, where that is possible, a video."""
    path = Path(path)
    if not is_wanted(path):
        return path
    chosen = times[_spread(len(times), N_FRAMES)]
    frames = np.stack([_pixels(frame(float(time))) for time in chosen])  # (n_frames, n_down, n_across, 3)
    start = 0.0 if start_s is None else start_s
    with writing(path.with_suffix(".webp")) as temporary:
        Image.fromarray(_side_by_side(frames)).save(temporary, format="WEBP", lossless=True, method=3)
    if find_spec("imageio_ffmpeg") is not None:
        with writing(path.with_suffix(".mp4")) as temporary:
            _save_video(frames, temporary)
    table = {
        "caption": caption,
        "frames": path.with_suffix(".webp").name,
        "n_across": N_ACROSS,
        "frame_px": [frames.shape[2], frames.shape[1]],
        "dpi": FILM_DPI,
        "times_s": [float(time) for time in chosen],
        "labels": written_times(chosen, unit=unit),
        "start": int(np.abs(chosen - start).argmin()),
        "frame_ms": FRAME_MS,
    }
    save_text(path, json.dumps(table, ensure_ascii=False, indent=1) + "\n")
    return path


def _side_by_side(frames: Array) -> Array:
    """Put frames into rows; what is left of the last row is white."""
    n, height, width, _ = frames.shape
    page = np.full((-(-n // N_ACROSS) * height, N_ACROSS * width, 3), 255, dtype=np.uint8)
    for i, frame in enumerate(frames):
        top, left = i // N_ACROSS * height, i % N_ACROSS * width
        page[top : top + height, left : left + width] = frame
    return page


def _save_video(frames: Array, path: Path) -> None:
    """Write frames as a video that every browser and slide show plays; its sides must be even."""
    import imageio_ffmpeg

    n, height, width, _ = frames.shape
    even = np.full((n, height + height % 2, width + width % 2, 3), 255, dtype=np.uint8)
    even[:, :height, :width] = frames
    read = f"-f rawvideo -pix_fmt rgb24 -s {even.shape[2]}x{even.shape[1]} -r {1000 / FRAME_MS:g} -i -"
    write = "-c:v libx264 -pix_fmt yuv420p -crf 18 -movflags +faststart"
    same = "-threads 1 -fflags +bitexact -flags:v +bitexact"  # the same bytes from the same frames
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *f"{read} {write} {same}".split(), str(path)]
    subprocess.run(command, input=even.tobytes(), check=True)


def _pixels(figure: Figure) -> Array:
    """Draw a figure; red, green and blue of shape (n_down, n_across, 3)."""
    figure.set_dpi(FILM_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]
