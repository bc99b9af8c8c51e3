"""Slices of maps: at their peaks, and through the whole brain for what is derived from the layers.

Where the space is MNI, the background is nilearn's template; elsewhere it is the mask, or an image that is given. Left
is on the left.
"""

import math
from collections.abc import Sequence
from functools import cache

import nibabel as nib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure

from rsa.core import Array, ScoreMap, Volume
from rsa.errors import UserError
from rsa.files.fsaverage import of_nilearn
from rsa.report.drawing import (
    centre_of,
    drawn_box,
    drawn_views,
    faded,
    frame,
    is_mni,
    outline,
    placed,
    say_if_empty,
    score_bar,
    score_scale,
    volume_of,
)
from rsa.report.figures import reference_names
from rsa.report.layout import BAR_WIDTH, sheet
from rsa.report.planes import VIEWS, box_mm, cut, cut_image
from rsa.report.style import (
    INK,
    ORDINAL,
    SIGNED,
    TEXT,
    colour_bar,
    fitted,
    inches_of,
    signed_limit,
    without_shared_ends,
)
from rsa.significance import significant_or_all

__all__ = ["label_slices", "signed_slices", "slices"]

N_SLICES = 8

MOST_UPRIGHT = 16
"""Colours that are all named, upright if need be; of more, every second, third, ... is named."""


def slices(
    scores: ScoreMap,
    *,
    space: str = "",
    background: nib.Nifti1Image | None = None,
    limit: float | None = None,
    at: ScoreMap | None = None,
    significant: Array | None = None,
) -> Figure:
    """Slice each map at its highest score, marked by a cross; the title says where it is in mm.

    The further a score is from 0, the more opaque it is drawn: fully from half of the scale on. Where it is known which
    scores are significant, these are opaque and outlined, the others faded; the highest score is then that of these.

    Parameters
    ----------
    scores : ScoreMap
        Over voxels.
    space : str
        Name of the space; one that starts with "MNI" is drawn on nilearn's template.
    background : image, optional
        What else to draw on; by default the mask.
    limit : float, optional
        The colour scale goes from -limit to limit; by default the largest score.
    at : ScoreMap, optional
        As many other maps of the same voxels, at whose highest scores the slices are, and which say how opaque a voxel
        is, instead of the map itself.
    significant : array, shape (n_rows, n_voxels), optional
        What `rsa.significance.Significance.of` returns.
    """
    others = scores if at is None else at
    strongest = None if at is None else signed_limit(at.values)
    volume, colours = volume_of(scores), score_scale([scores], limit)
    box, views, image = drawn_box(volume, space), drawn_views(volume, space), background_of(space, background)
    found = np.full(scores.values.shape, np.nan) if significant is None else significant
    peaks = [_peak(volume, *three) for three in zip(others.values, scores.values, found, strict=True)]
    names = reference_names(scores.table)
    titles = [f"{name}\n{words}" for name, (_, words) in zip(names, peaks, strict=True)]
    page = sheet(titles, min(len(scores), 2), views, np.ptp(box, axis=1))
    rows, filling = zip(page.cells, scores.values, others.values, found, peaks, strict=True), centre_of(scores)
    for axes, values, other, tested, (at_mm, _) in rows:
        coloured = _coloured(values, colours)
        if strongest is not None:
            coloured[:, 3] = np.isfinite(values) * _opacity(other, strongest)
        coloured[:, 3] = np.isfinite(values) * faded(coloured[:, 3], tested)
        for view, picture in zip(views, axes, strict=True):
            _draw_slice(picture, view, at_mm["xyz".index(view)], volume, coloured, image, box, tested, filling)
            if np.isfinite(values).any():
                _draw_cross(picture, view, at_mm)
        say_if_empty(axes, values)
    score_bar(page.figure, page.bar, colours, scores)
    return page.figure


def label_slices(
    preference: ScoreMap,
    labels: Sequence[str],
    *,
    space: str = "",
    background: nib.Nifti1Image | None = None,
    strength: Array | None = None,
    what: str = "layer with the highest score",
    significant: Array | None = None,
) -> Figure:
    """Slice a map of numbers of layers (or times), from 1; each has a colour, from first (dark) to last (bright).

    Parameters
    ----------
    preference : ScoreMap
        One row over voxels: the number of the layer with the highest score.
    labels : sequence of str
        The names of the layers.
    space, background
        As in `slices`.
    strength : array, shape (n_voxels,), optional
        The highest score of each voxel: where it is low, colours are faint.
    what : str
        What the colours mean, for their bar.
    significant : array, shape (n_voxels,), optional
        1 where a score behind the map is significant: opaque and outlined; 0 where none is: faded; NaN where none was
        tested.

    Raises
    ------
    UserError
        If there is more than one row, or a number has no layer.
    """
    values = _single_row(preference)
    numbers = np.unique(values[np.isfinite(values)])
    if numbers.size and not (numbers.min() >= 1 and numbers.max() <= len(labels)):
        raise UserError(
            f"A map of layers has numbers from 1 to {len(labels)}, one per label; this one goes from "
            f"{numbers.min():g} to {numbers.max():g}. Give the layers of the same model."
        )
    n = len(labels)
    steps = BoundaryNorm(np.arange(0.5, n + 1), n)
    cmap = ListedColormap(colormaps[ORDINAL](np.linspace(0.02, 0.98, n)))
    coloured = cmap(steps(np.nan_to_num(values, nan=1.0)))
    found = np.full(values.shape, np.nan) if significant is None else significant
    opacity = np.ones(len(values)) if strength is None else _opacity(strength, signed_limit(strength)) ** 2
    coloured[:, 3] = np.isfinite(values) * faded(opacity, found)
    names, points = fitted(without_shared_ends(labels, 24), 1.5, TEXT, n_lines=1)
    shown, is_upright = _named(names, points)
    room = inches_of((names[i] for i in shown), points) if is_upright else 0.12
    figure, bar = _montage(preference, coloured, found, space, background, foot=0.48 + room)
    scale = figure.colorbar(ScalarMappable(steps, cmap), cax=bar, orientation="horizontal", ticks=shown + 1)
    scale.set_ticklabels([names[i] for i in shown], rotation=90 if is_upright else 0, fontsize=points)
    scale.ax.tick_params(length=0, which="both", colors=INK)
    scale.outline.set_linewidth(0.4)
    bar.set_title(what, fontsize=TEXT, color=INK, pad=3)
    return figure


def _named(names: Sequence[str], points: float) -> tuple[Array, bool]:
    """Return which colours of a bar are named, and whether their names have to stand upright.

    Of few, all are; of many, as many as fit, evenly spread.
    """
    widest = inches_of(names, points) + 0.08
    is_upright = 1 < len(names) <= MOST_UPRIGHT and len(names) * widest > BAR_WIDTH
    step = 1 if is_upright else math.ceil(len(names) * widest / BAR_WIDTH)
    return np.arange(0, len(names), step), is_upright


def signed_slices(
    scores: ScoreMap,
    what: str,
    *,
    space: str = "",
    background: nib.Nifti1Image | None = None,
    significant: Array | None = None,
) -> Figure:
    """Slice a map of numbers about 0, one row, in two colours; `what` they are stands at the bar.

    `significant` is that of `label_slices`.
    """
    colours, values = score_scale([scores], None), _single_row(scores)
    found = np.full(values.shape, np.nan) if significant is None else significant
    coloured = _coloured(values, colours)
    coloured[:, 3] = np.isfinite(values) * faded(coloured[:, 3], found)
    figure, bar = _montage(scores, coloured, found, space, background, foot=0.66)
    colour_bar(figure, bar, ScalarMappable(colours, SIGNED), what)
    return figure


def _montage(
    scores: ScoreMap,
    coloured: Array,
    significant: Array,
    space: str,
    background: nib.Nifti1Image | None,
    foot: float,
) -> tuple[Figure, Axes]:
    """Draw evenly spaced slices of a coloured map, from the bottom to the top of what is defined."""
    volume = volume_of(scores)
    box, image = drawn_box(volume, space), background_of(space, background)
    view = drawn_views(volume, space)[-1]
    axis = "xyz".index(view)
    places = _slice_places(volume, scores.values[0], axis)
    page = sheet([f"{view} = {_mm(at)} mm" for at in places], min(len(places), 4), view, np.ptp(box, axis=1), foot=foot)
    for (axes,), at_mm in zip(page.cells, places, strict=True):
        _draw_slice(axes, view, at_mm, volume, coloured, image, box, significant, centre_of(scores))
    say_if_empty([cell[0] for cell in page.cells], scores.values[0])
    return page.figure, page.bar


def _slice_places(volume: Volume, values: Array, axis: int) -> Array:
    """Return where to slice, in mm: at most 8 places, with as many voxels between one and the next."""
    inside = np.isfinite(values) if np.isfinite(values).any() else np.ones(len(values), dtype=bool)
    at_mm = volume.voxel_to_mm(volume.indices)[inside, axis].round(3)
    return np.unique(np.quantile(at_mm, (np.arange(N_SLICES) + 0.5) / N_SLICES, method="nearest"))


def _draw_slice(
    axes: Axes,
    view: str,
    at_mm: float,
    volume: Volume,
    coloured: Array,
    image: nib.Nifti1Image | None,
    box: Array,
    significant: Array,
    filling: Array,
) -> None:
    """Draw the background in grey, the coloured map, shape (n_voxels, 4), on top, and what is significant outlined.

    Each voxel is drawn as another, or itself, which `filling` says.
    """
    frame(axes, view, box)
    extent = box[list(VIEWS[view])].ravel()
    where = cut(volume, filling, view, at_mm, box)
    below = np.where(np.isfinite(where), 0.88, 0) if image is None else cut_image(image, view, at_mm, box)
    axes.imshow(np.where(below > 0.02, below, np.nan), cmap="gray", vmin=0, vmax=1, **placed(extent))
    pixels = np.zeros((*where.shape, 4))
    shown = np.isfinite(where)
    pixels[shown] = coloured[where[shown].astype(int)]
    axes.imshow(pixels, **placed(extent))
    outline(axes, np.append(significant == 1, False)[np.where(shown, where, -1).astype(int)], extent)


def _draw_cross(axes: Axes, view: str, at_mm: Array) -> None:
    across, up = VIEWS[view]
    axes.axvline(at_mm[across], color=INK, linewidth=0.5, alpha=0.7)
    axes.axhline(at_mm[up], color=INK, linewidth=0.5, alpha=0.7)


def background_of(space: str, given: nib.Nifti1Image | None = None) -> nib.Nifti1Image | None:
    """Return what to draw on, from 0 (left white) to 1: the image given, nilearn's template, or None (the mask)."""
    if given is None and is_mni(space):
        given = _template()
    if given is None:
        return None
    data = np.nan_to_num(np.asarray(given.dataobj, dtype=np.float32).reshape(given.shape[:3]))
    top = np.percentile(data[data > 0], 99) if (data > 0).any() else 1.0
    return nib.Nifti1Image(np.clip(data / top, 0, 1), given.affine)


@cache
def _template() -> nib.Nifti1Image:
    """Return nilearn's template, every second voxel along each axis: one in 2 mm."""
    image = nib.Nifti1Image.from_filename(of_nilearn("datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"))
    return nib.Nifti1Image(np.asarray(image.dataobj)[::2, ::2, ::2], image.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))


def _peak(volume: Volume, values: Array, shown: Array, significant: Array) -> tuple[Array, str]:
    """Return where the highest value lies in mm (the middle without any), and words for what is shown there.

    It is the highest of the significant ones if there are some.
    """
    if not np.isfinite(values).any():
        return box_mm(volume).mean(axis=1), "(no peak)"
    voxel = int(np.nanargmax(significant_or_all(values, significant)))
    at_mm = volume.voxel_to_mm(volume.indices[voxel])
    return at_mm, _place(at_mm, float(shown[voxel]))


def _place(at_mm: Array, score: float) -> str:
    value = "undefined" if np.isnan(score) else f"{score:.2f}"
    return f"{value} at ({', '.join(map(_mm, at_mm))}) mm".replace("-", "\N{MINUS SIGN}")


def _mm(value: float) -> str:
    """Write a coordinate: whole millimetres, without a sign at zero."""
    return f"{round(value):d}".replace("-", "\N{MINUS SIGN}")


def _opacity(values: Array, limit: float) -> Array:
    """Return how opaque values are: 0 at 0, 1 from half of the limit on; 0 where undefined."""
    return np.asarray(np.clip(np.nan_to_num(np.abs(values)) / (limit / 2), 0, 1))


def _coloured(values: Array, colours: Normalize) -> Array:
    """Colour the values of a map, shape (n_voxels,) -> (n_voxels, 4)."""
    rgba = np.asarray(colormaps[SIGNED](colours(np.nan_to_num(values))))
    rgba[:, 3] = _opacity(values, float(colours.vmax or 1))
    return rgba


def _single_row(scores: ScoreMap) -> Array:
    if len(scores) != 1:
        raise UserError(f"Slices by layer show one map, not {len(scores)}; select one model and one statistic.")
    return np.asarray(scores.values[0])
