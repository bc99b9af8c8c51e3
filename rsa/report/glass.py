"""Glass brains: maps looked through from three sides, all on one colour scale.

Where the space is MNI, the outline of the brain is nilearn's; elsewhere it is that of the mask. Left is on the left.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from rsa.core import Array, ScoreMap
from rsa.errors import UserError
from rsa.files.fsaverage import of_nilearn
from rsa.report.drawing import (
    FADED,
    centre_of,
    drawn_box,
    drawn_views,
    frame,
    is_mni,
    outline,
    placed,
    say_if_empty,
    score_bar,
    score_scale,
    volume_of,
)
from rsa.report.figures import reference_names, reference_titles
from rsa.report.layout import sheet
from rsa.report.planes import VIEWS, Upright, project, seen_through, upright
from rsa.report.style import GREY, INK, SIGNED

__all__ = ["glass_grid"]

MAX_ACROSS = 10
N_LETTERS = 24
"""Layers with longer names are shortened among themselves above columns."""


def glass_grid(
    maps: Sequence[tuple[str, ScoreMap]],
    *,
    space: str = "",
    limit: float | None = None,
    significant: Sequence[Array | None] | None = None,
) -> Figure:
    """Look through brains: along each line of sight the score furthest from 0, with its sign.

    Where it is known which scores are significant, the one furthest from 0 of these is shown, outlined; along a line
    without any, the score furthest from 0 is faded.

    Parameters
    ----------
    maps : sequence of (title, ScoreMap)
        One per subject (or the group's mean), with the same references in the same order. One alone gets three views
        per reference; several are rows, and the references columns.
    space : str
        Name of the space; one that starts with "MNI" is drawn with nilearn's outlines of the brain.
    limit : float, optional
        The colour scale goes from -limit to limit; by default the largest score of all maps.
    significant : sequence of arrays, optional
        Of each map what `rsa.significance.Significance.of` returns, shape (n_rows, n_voxels); None for a map that was
        not tested.

    Raises
    ------
    UserError
        If there is no map, the maps are not over voxels, or their references differ.
    """
    names = _shared_references(maps)
    volumes = [volume_of(scores) for _, scores in maps]
    colours = score_scale([scores for _, scores in maps], limit)
    boxes = [drawn_box(volume, space) for volume in volumes]
    extents = np.max(np.ptp(boxes, axis=2), axis=0)
    views, stacked = drawn_views(volumes[0], space), len(maps) > 1 and len(names) > 2
    views = views.replace("y", "") if stacked and len(views) > 1 else views
    n_across, places = _places(len(maps), len(names))
    if len(maps) > 1:
        names = reference_titles(maps[0][1].table, N_LETTERS)
    titles = [names[layer] if layer is not None and subject == 0 else "" for subject, layer in places]
    rows = [maps[subject][0] for subject, _ in places[::n_across]] if len(maps) > 1 else []
    page = sheet(titles, n_across, views, extents, stacked=stacked, row_names=rows)
    grids = [_in_blocks(upright(volume), scores) for volume, (_, scores) in zip(volumes, maps, strict=True)]
    for axes, (subject, layer) in zip(page.cells, places, strict=True):
        values = maps[subject][1].values[layer] if layer is not None else None
        tested = None if significant is None else significant[subject]
        found = None if tested is None or layer is None else tested[layer]
        for view, picture in zip(views, axes, strict=True):
            frame(picture, view, _centred(boxes[subject], extents))
            if values is not None:
                _draw_glass(picture, view, grids[subject], values, colours, space, found)
        if values is not None:
            say_if_empty(axes, values)
    score_bar(page.figure, page.bar, colours, maps[0][1])
    return page.figure


def _in_blocks(grid: Upright, scores: ScoreMap) -> Upright:
    """Let each score fill its block, where scores are of every nth voxel."""
    return replace(grid, columns=np.append(centre_of(scores), -1)[grid.columns])


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


def _draw_glass(
    axes: Axes, view: str, grid: Upright, values: Array, colours: Normalize, space: str, significant: Array | None
) -> None:
    """Draw one projection and the outline of the brain."""
    extent = grid.box[list(VIEWS[view])].ravel()
    if significant is None or np.isnan(significant).all():
        line = INK
        axes.imshow(project(grid, values, view), cmap=SIGNED, norm=colours, **placed(extent))
    else:
        line = GREY  # than which the outline of what is significant is darker
        inside = seen_through(grid, significant == 1, view)
        shown, opacity = project(grid, values, view, significant == 1), np.where(inside, 1.0, FADED)
        axes.imshow(shown, cmap=SIGNED, norm=colours, alpha=opacity, **placed(extent))
        outline(axes, inside, extent)
    if is_mni(space):
        axes.add_patch(PathPatch(_brain_outline(view), edgecolor=line, linewidth=0.7, facecolor="none"))
        return
    shadow = np.pad((grid.columns >= 0).any(axis="xyz".index(view)).T.astype(float), 1)
    lines = [np.linspace(low, high, n) for low, high, n in _padded_lines(extent, shadow.shape)]
    axes.contour(*lines, shadow, levels=[0.5], colors=[GREY], linewidths=0.6)


@cache
def _brain_outline(view: str) -> Path:
    """Return the heavy lines of nilearn's glass brain in mm; its fine ones would hide the scores in small pictures."""
    place = spec_from_file_location("glass_brain", of_nilearn("plotting/glass_brain.py"))
    assert place is not None
    assert place.loader is not None
    nilearn = module_from_spec(place)
    place.loader.exec_module(nilearn)
    axes = Figure().add_subplot()
    nilearn.plot_brain_schematics(axes, view)
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


def _centred(box: Array, extents: Array) -> Array:
    """Return a box of these extents around the middle of another."""
    return np.asarray(box.mean(axis=1)[:, None] + np.outer(extents, [-0.5, 0.5]))
