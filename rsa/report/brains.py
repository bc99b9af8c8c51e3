"""Maps on brains: looked through (glass brains), sliced at their peaks, and coloured by layer.

All maps of a figure share one colour scale, symmetric around 0. Left is on the left. Where the space is MNI, outline
and background of the brain are nilearn's; elsewhere they are those of the mask, or of an image that is given.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from rsa.core import Array, ScoreMap, Volume
from rsa.errors import UserError
from rsa.report.figures import reference_names
from rsa.report.layout import sheet
from rsa.report.planes import MNI_BOX, VIEWS, Upright, box_mm, cut, cut_image, project, upright, views_of
from rsa.report.style import GREY, INK, ORDINAL, SIGNED, TEXT, blank, colour_bar, plain, signed_limit

__all__ = ["glass_grid", "gradient_slices", "label_slices", "slices"]

NO_SCORE = "no score is defined"
MAX_ACROSS = 10
N_SLICES = 8


# --------------------------------------------------------------------------------------- glass brains


def glass_grid(maps: Sequence[tuple[str, ScoreMap]], *, space: str = "", limit: float | None = None) -> Figure:
    """Look through brains: along each line of sight the score furthest from 0, with its sign.

    Parameters
    ----------
    maps : sequence of (title, ScoreMap)
        One per subject (or the group's mean), with the same references in the same order. One alone gets three views
        per reference; several are rows, and the references columns.
    space : str
        Name of the space; one that starts with "MNI" is drawn with nilearn's outlines of the brain.
    limit : float, optional
        The colour scale goes from -limit to limit; by default the largest score of all maps.

    Raises
    ------
    UserError
        If there is no map, the maps are not over voxels, or their references differ.
    """
    names = _shared_references(maps)
    volumes = [_volume_of(scores) for _, scores in maps]
    colours = _signed([scores for _, scores in maps], limit)
    boxes = [_box(volume, space) for volume in volumes]
    extents = np.max(np.ptp(boxes, axis=2), axis=0)
    views, stacked = _views(volumes[0], space), len(maps) > 1 and len(names) > 2
    views = views.replace("y", "") if stacked and len(views) > 1 else views
    n_across, places = _places(len(maps), len(names))
    titles = [names[layer] if layer is not None and subject == 0 else "" for subject, layer in places]
    rows = [maps[subject][0] for subject, _ in places[::n_across]] if len(maps) > 1 else []
    page = sheet(titles, n_across, views, extents, stacked=stacked, row_names=rows)
    grids = [upright(volume) for volume in volumes]
    for axes, (subject, layer) in zip(page.cells, places, strict=True):
        values = maps[subject][1].values[layer] if layer is not None else None
        for view, picture in zip(views, axes, strict=True):
            _frame(picture, view, _centred(boxes[subject], extents))
            if values is not None:
                _draw_glass(picture, view, grids[subject], values, colours, space)
        if values is not None:
            _say_if_empty(axes, values)
    _signed_bar(page.figure, page.bar, colours, maps[0][1])
    return page.figure


def _places(n_maps: int, n_layers: int) -> tuple[int, list[tuple[int, int | None]]]:
    """Return the number of columns, and the (map, layer) of each cell row by row, None where a cell stays empty."""
    if n_maps == 1:
        n_across = 1 if n_layers == 1 else 2 if n_layers <= 12 else 3
        return n_across, [(0, layer) for layer in range(n_layers)]
    n_across = -(-n_layers // -(-n_layers // MAX_ACROSS))
    blocks = [range(start, start + n_across) for start in range(0, n_layers, n_across)]
    return n_across, [
        (i, layer if layer < n_layers else None) for block in blocks for i in range(n_maps) for layer in block
    ]


def _draw_glass(axes: Axes, view: str, grid: Upright, values: Array, colours: Normalize, space: str) -> None:
    """Draw one projection and the outline of the brain."""
    extent = grid.box[list(VIEWS[view])].ravel()
    axes.imshow(project(grid, values, view), cmap=SIGNED, norm=colours, **_in_mm(extent))
    if _is_mni(space):
        axes.add_patch(PathPatch(_brain_outline(view), edgecolor=INK, linewidth=0.7, facecolor="none"))
        return
    shadow = np.pad((grid.columns >= 0).any(axis="xyz".index(view)).T.astype(float), 1)
    lines = [np.linspace(low, high, n) for low, high, n in _padded_lines(extent, shadow.shape)]
    axes.contour(*lines, shadow, levels=[0.5], colors=[GREY], linewidths=0.6)


@cache
def _brain_outline(view: str) -> Path:
    """Return the heavy lines of nilearn's glass brain in mm; its fine ones would hide the scores in small pictures."""
    from nilearn.plotting.glass_brain import plot_brain_schematics

    axes = Figure().add_subplot()
    plot_brain_schematics(axes, view)
    widest = max(patch.get_linewidth() for patch in axes.patches)
    lines = [
        (patch.get_transform() - axes.transData).transform_path(patch.get_path())
        for patch in axes.patches
        if patch.get_linewidth() == widest
    ]
    return Path.make_compound_path(*lines)


def _padded_lines(extent: Array, shape: tuple[int, ...]) -> list[tuple[float, float, int]]:
    """Return first and last pixel centre and their number, across and up, of an image padded by one pixel."""
    lines = []
    for (low, high), n in zip(extent.reshape(2, 2), shape[::-1], strict=True):
        step = (high - low) / (n - 2)
        lines.append((low - step / 2, high + step / 2, n))
    return lines


# -------------------------------------------------------------------------------------------- slices


def slices(
    scores: ScoreMap, *, space: str = "", background: nib.Nifti1Image | None = None, limit: float | None = None
) -> Figure:
    """Slice each map at its highest score, marked by a cross; the title says where it is in mm.

    The further a score is from 0, the more opaque it is drawn: fully from half of the scale on.

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
    """
    volume, colours = _volume_of(scores), _signed([scores], limit)
    box, views, image = _box(volume, space), _views(volume, space), _background(volume, space, background)
    peaks = [_peak(volume, values) for values in scores.values]
    names = reference_names(scores.table)
    titles = [f"{name}   {_place(*peak)}" for name, peak in zip(names, peaks, strict=True)]
    page = sheet(titles, min(len(scores), 2), views, np.ptp(box, axis=1))
    for axes, values, (at_mm, _) in zip(page.cells, scores.values, peaks, strict=True):
        coloured = _coloured(values, colours)
        for view, picture in zip(views, axes, strict=True):
            _draw_slice(picture, view, at_mm["xyz".index(view)], volume, coloured, image, box)
            if np.isfinite(values).any():
                _draw_cross(picture, view, at_mm)
        _say_if_empty(axes, values)
    _signed_bar(page.figure, page.bar, colours, scores)
    return page.figure


def label_slices(
    preference: ScoreMap,
    labels: Sequence[str],
    *,
    space: str = "",
    background: nib.Nifti1Image | None = None,
    strength: Array | None = None,
) -> Figure:
    """Slice a map of numbers of layers, from 1; each layer has a colour, from first (dark) to last (bright).

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
    coloured[:, 3] = np.isfinite(values) * (
        1.0 if strength is None else _opacity(strength, signed_limit(strength)) ** 2
    )
    longest = max(map(len, labels))
    figure, bar = _montage(preference, coloured, space, background, foot=0.5 + 0.062 * min(longest, 24))
    scale = figure.colorbar(ScalarMappable(steps, cmap), cax=bar, orientation="horizontal", ticks=np.arange(1, n + 1))
    scale.set_ticklabels([plain(label, 24) for label in labels], rotation=90, fontsize=TEXT - 0.5)
    scale.ax.tick_params(length=0, which="both", colors=INK)
    scale.outline.set_linewidth(0.4)
    bar.set_title("layer with the highest score", fontsize=TEXT, color=INK, pad=3)
    return figure


def gradient_slices(gradient: ScoreMap, *, space: str = "", background: nib.Nifti1Image | None = None) -> Figure:
    """Slice a map of how the score changes from the first to the last layer; one row, otherwise as `label_slices`."""
    colours = _signed([gradient], None)
    figure, bar = _montage(gradient, _coloured(_single_row(gradient), colours), space, background, foot=0.72)
    colour_bar(
        figure, bar, ScalarMappable(colours, SIGNED), "score: late layers minus early layers (least-squares slope)"
    )
    return figure


def _montage(
    scores: ScoreMap, coloured: Array, space: str, background: nib.Nifti1Image | None, foot: float
) -> tuple[Figure, Axes]:
    """Draw evenly spaced slices of a coloured map, from the bottom to the top of what is defined."""
    volume = _volume_of(scores)
    box, image = _box(volume, space), _background(volume, space, background)
    view = _views(volume, space)[-1]
    axis = "xyz".index(view)
    places = _slice_places(volume, scores.values[0], axis)
    page = sheet([f"{view} = {_mm(at)} mm" for at in places], min(len(places), 4), view, np.ptp(box, axis=1), foot=foot)
    for (axes,), at_mm in zip(page.cells, places, strict=True):
        _draw_slice(axes, view, at_mm, volume, coloured, image, box)
    _say_if_empty([cell[0] for cell in page.cells], scores.values[0])
    return page.figure, page.bar


def _slice_places(volume: Volume, values: Array, axis: int) -> Array:
    """Return where to slice, in mm: through the middles of at most 8 equal parts of the voxels' range."""
    inside = np.isfinite(values) if np.isfinite(values).any() else np.ones(len(values), dtype=bool)
    at_mm = np.unique(volume.voxel_to_mm(volume.indices)[inside, axis].round(3))
    n = min(len(at_mm), N_SLICES)
    return np.asarray(at_mm[((np.arange(n) + 0.5) / n * len(at_mm)).astype(int)])


def _draw_slice(
    axes: Axes, view: str, at_mm: float, volume: Volume, coloured: Array, image: nib.Nifti1Image, box: Array
) -> None:
    """Draw the background in grey and the coloured map, shape (n_voxels, 4), on top."""
    _frame(axes, view, box)
    extent = box[list(VIEWS[view])].ravel()
    below = cut_image(image, view, at_mm, box)
    axes.imshow(np.where(below > 0.02, below, np.nan), cmap="gray", vmin=0, vmax=1, **_in_mm(extent))
    where = cut(volume, np.arange(volume.n_voxels), view, at_mm, box)
    pixels = np.zeros((*where.shape, 4))
    shown = np.isfinite(where)
    pixels[shown] = coloured[where[shown].astype(int)]
    axes.imshow(pixels, **_in_mm(extent))


def _draw_cross(axes: Axes, view: str, at_mm: Array) -> None:
    across, up = VIEWS[view]
    axes.axvline(at_mm[across], color=INK, linewidth=0.5, alpha=0.7)
    axes.axhline(at_mm[up], color=INK, linewidth=0.5, alpha=0.7)


def _background(volume: Volume, space: str, given: nib.Nifti1Image | None) -> nib.Nifti1Image:
    """Return what to draw on, from 0 (left white) to 1: the image given, nilearn's template, or a pale mask."""
    if given is None and _is_mni(space):
        from nilearn.datasets import load_mni152_template

        given = load_mni152_template(resolution=2)
    if given is None:
        return nib.Nifti1Image(volume.mask.astype(np.float32) * 0.88, volume.affine)
    data = np.nan_to_num(np.asarray(given.dataobj, dtype=np.float32).reshape(given.shape[:3]))
    top = np.percentile(data[data > 0], 99) if (data > 0).any() else 1.0
    return nib.Nifti1Image(np.clip(data / top, 0, 1), given.affine)


def _peak(volume: Volume, values: Array) -> tuple[Array, float]:
    """Return where the highest score lies in mm, and the score; the middle of the mask and NaN where there is none."""
    if not np.isfinite(values).any():
        return box_mm(volume).mean(axis=1), float("nan")
    voxel = int(np.nanargmax(values))
    return volume.voxel_to_mm(volume.indices[voxel]), float(values[voxel])


def _place(at_mm: Array, score: float) -> str:
    if np.isnan(score):
        return "(no peak)"
    return f"{score:.2f} at ({', '.join(map(_mm, at_mm))}) mm".replace("-", "\N{MINUS SIGN}")


def _mm(value: float) -> str:
    """Write a coordinate: whole millimetres, without a sign at zero."""
    return f"{round(value):d}".replace("-", "\N{MINUS SIGN}")


# -------------------------------------------------------------------------------------------- colours


def _signed(maps: Sequence[ScoreMap], limit: float | None) -> Normalize:
    """Make one symmetric colour scale for all maps."""
    largest = limit or signed_limit(np.concatenate([scores.values.ravel() for scores in maps]))
    return Normalize(-largest, largest)


def _opacity(values: Array, limit: float) -> Array:
    """Return how opaque values are: 0 at 0, 1 from half of the limit on; 0 where undefined."""
    return np.asarray(np.clip(np.nan_to_num(np.abs(values)) / (limit / 2), 0, 1))


def _coloured(values: Array, colours: Normalize) -> Array:
    """Colour the values of a map, shape (n_voxels,) -> (n_voxels, 4)."""
    rgba = np.asarray(colormaps[SIGNED](colours(np.nan_to_num(values))))
    rgba[:, 3] = _opacity(values, float(colours.vmax or 1))
    return rgba


def _signed_bar(figure: Figure, bar: Axes, colours: Normalize, scores: ScoreMap) -> None:
    statistic = scores.table["statistic"].iloc[0] if "statistic" in scores.table else "score"
    limit = f"{colours.vmax:g}"
    label = f"{statistic}, one scale for all maps (\N{MINUS SIGN}{limit} to {limit})"
    colour_bar(figure, bar, ScalarMappable(colours, SIGNED), label)


# -------------------------------------------------------------------------------------------- the rest


def _shared_references(maps: Sequence[tuple[str, ScoreMap]]) -> list[str]:
    """Return the names of the references, which all maps must share."""
    if not maps:
        raise UserError("A figure of brains needs one map or more; there is none.")
    names = [reference_names(scores.table) for _, scores in maps]
    for (title, _), others in zip(maps, names, strict=True):
        if others != names[0]:
            raise UserError(
                f"The maps of {title} are not of the same references as those of {maps[0][0]}; run all again."
            )
    return names[0]


def _volume_of(scores: ScoreMap) -> Volume:
    if scores.volume is None:
        raise UserError("Scores of regions cannot be drawn on a brain; draw them with `region_bars`.")
    return scores.volume


def _single_row(scores: ScoreMap) -> Array:
    if len(scores) != 1:
        raise UserError(f"Slices by layer show one map, not {len(scores)}; select one model and one statistic.")
    return np.asarray(scores.values[0])


def _is_mni(space: str) -> bool:
    return space.startswith("MNI")


def _views(volume: Volume, space: str) -> str:
    return "xyz" if _is_mni(space) else views_of(volume)


def _box(volume: Volume, space: str) -> Array:
    """Return the part of space that is drawn, shape (3, 2) in mm."""
    if _is_mni(space):
        return MNI_BOX
    box = box_mm(volume)
    room = 0.03 * np.ptp(box, axis=1).max()
    return np.asarray(box + np.array([-room, room]))


def _centred(box: Array, extents: Array) -> Array:
    """Return a box of these extents around the middle of another."""
    return np.asarray(box.mean(axis=1)[:, None] + np.outer(extents, [-0.5, 0.5]))


def _in_mm(extent: Array) -> dict[str, Any]:
    """Return how an image is placed: its edges in mm, the first row below, pixels unblurred."""
    return {"extent": tuple(extent), "origin": "lower", "interpolation": "nearest", "aspect": "auto"}


def _frame(axes: Axes, view: str, box: Array) -> None:
    """Set the limits to the box (axes have its proportions), and mark left and right."""
    blank(axes)
    axes.set_autoscale_on(False)
    across, up = VIEWS[view]
    axes.set(xlim=box[across], ylim=box[up])
    if view in "yz":
        for text, x, align in (("L", 0.0, "left"), ("R", 1.0, "right")):
            axes.text(x, 0.0, text, transform=axes.transAxes, ha=align, va="bottom", fontsize=5.5, color=GREY)


def _say_if_empty(axes: Sequence[Axes], values: Array) -> None:
    if not np.isfinite(values).any():
        middle = axes[len(axes) // 2]
        middle.text(0.5, 0.5, NO_SCORE, transform=middle.transAxes, ha="center", va="center", fontsize=TEXT, color=INK)
