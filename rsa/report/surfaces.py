"""Maps on the cortex, inflated and flat: fsaverage5, for spaces that are near it.

The pixels of a view are found once: which triangle is seen in each, and how near it is to its corners. A map is then a
matter of colours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsa.core import Array, ScoreMap
from rsa.files.fsaverage import HEMISPHERES, N_VERTICES, overlay, places_mm, sampler_of, triangles
from rsa.report.drawing import faded, outline, placed, say_if_empty, score_bar, score_scale, volume_of
from rsa.report.figures import reference_names
from rsa.report.layout import BAR_WIDTH
from rsa.report.style import GREY, INK, PAGE, SIGNED, SMALL, TEXT, TITLE, axes_at, blank, plain

__all__ = ["PANELS", "best_rows", "surface_grid"]

PANELS = (("inflated", "lateral"), ("inflated", "medial"), ("inflated", "ventral"), ("flat", "flat"))
"""What is drawn of each hemisphere: a shape, and from where it is seen."""

TURNS = {"lateral": (90, 0), "medial": (-90, 0), "ventral": (0, -90)}
"""Where the viewer stands in degrees, from behind around the vertical axis to the right, and up: of the right
hemisphere; of the left one, mirrored."""

PIXEL_MM, FINER = 0.7, 2
"""Size of a pixel; as many times finer in each direction are colours found, and then averaged."""

GAP, HEAD, LINE, FOOT = 0.06, 0.2, 0.2, 0.72
"""Inches: between panels, above all rows and each for titles, and below for the colour bar."""

FLAT = 0.5
"""Flat hemispheres, which are larger, are drawn at this scale."""


@dataclass(frozen=True)
class _Seen:
    """What is seen of a hemisphere: of the pixels in which there is some of it, in the order of the grid.

    Parameters
    ----------
    inside : array of bool, shape (n_up, n_across)
        Which pixels these are; the first row is the lowest.
    pixel_mm : float
        Their size.
    corners : array of int, shape (n_pixels, 3)
        The vertices of the triangle that is seen in each.
    weights : array, shape (n_pixels, 3)
        How near each of them is: 1 in all.
    closest : array of int, shape (n_pixels,)
        The nearest of them.
    light, grey : array, shape (n_pixels,)
        How bright it is, and the grey of the folds in that light.
    """

    inside: Array
    pixel_mm: float
    corners: Array
    weights: Array
    closest: Array
    light: Array
    grey: Array

    @property
    def size_mm(self) -> Array:
        """Extent across and up, shape (2,)."""
        return np.array(self.inside.shape[::-1]) * self.pixel_mm

    def blurred(self, values: Array) -> Array:
        """Bring values of vertices, shape (n_vertices, n), to pixels, linearly between corners."""
        return np.asarray(sum(values[self.corners[:, i]] * self.weights[:, [i]] for i in range(3)))

    def nearest(self, values: Array) -> Array:
        """Bring values of vertices, shape (n_vertices,), to pixels: those of the nearest corner."""
        return np.asarray(values[self.closest])


def surface_grid(
    scores: ScoreMap,
    *,
    significant: Array | None = None,
    limit: float | None = None,
) -> Figure:
    """Draw maps on the cortex, one row each: both hemispheres from the side, the middle and below, and flat.

    Parameters
    ----------
    scores : ScoreMap
        Over voxels, in a space of which `rsa.files.fsaverage.has_cortex` is true.
    significant : array, shape (n_rows, n_voxels), optional
        What `rsa.significance.Significance.of` returns: what is significant is opaque and outlined, what is not faded.
    limit : float, optional
        The colour scale goes from -limit to limit; by default the largest score.
    """
    volume, colours = volume_of(scores), score_scale([scores], limit)
    onto = sampler_of(volume, _stride(scores))
    values = onto.mean(scores.values)
    found = np.full_like(values, np.nan) if significant is None else onto.nearest(significant)
    names = reference_names(scores.table)
    figure, rows, bar = _layout(names)
    for row, axes in enumerate(rows):
        rgba = colormaps[SIGNED](colours(np.nan_to_num(values[row])))
        rgba[:, 3] = np.clip(np.nan_to_num(np.abs(values[row])) / (float(colours.vmax or 1) / 2), 0, 1)
        for panel, (side, shape, view) in zip(axes, _panels(), strict=True):
            _draw(panel, side, shape, view, rgba, found[row])
        say_if_empty(axes, values[row])
    score_bar(figure, bar, colours, scores)
    return figure


def best_rows(scores: ScoreMap, significant: Array | None = None) -> list[int]:
    """Return one row of each model, of which a score, a significant one if there is one, is the highest."""
    values = np.where(np.isnan(scores.values), -np.inf, scores.values)
    highest = values.max(axis=1)
    if significant is not None:
        there = np.where(significant == 1, values, -np.inf).max(axis=1)
        highest = np.where(np.isfinite(there), there + 1e6, highest)  # before all that are not significant
    models = scores.table["model"].to_numpy()
    rows = [np.flatnonzero(models == model) for model in dict.fromkeys(models)]
    return [int(own[highest[own].argmax()]) for own in rows]


def _stride(scores: ScoreMap) -> int:
    """Return the stride of a searchlight: all centres have grid indices that are multiples of it."""
    centres = volume_of(scores).indices[np.isfinite(scores.values).any(axis=0)]
    return max(int(np.gcd.reduce(centres, axis=None)), 1) if len(centres) > 1 else 1


def _panels() -> list[tuple[str, str, str]]:
    """Return the side, shape and view of each panel of a row, from left to right."""
    return [(side, shape, view) for shape, view in PANELS for side in HEMISPHERES]


def _layout(names: Sequence[str]) -> tuple[Figure, list[list[Axes]], Axes]:
    """Make a figure with a row of panels for each name."""
    sizes = np.array([_seen(*panel).size_mm * (FLAT if panel[1] == "flat" else 1) for panel in _panels()])
    scale = (PAGE - GAP * (len(sizes) + 1)) / sizes[:, 0].sum()
    sizes = sizes * scale
    height = float(sizes[:, 1].max()) + LINE
    figure = Figure((PAGE, HEAD + height * len(names) + FOOT))
    total = figure.get_size_inches()
    lefts = GAP + np.append(0, np.cumsum(sizes[:-1, 0] + GAP))
    rows = []
    for row, name in enumerate(names):
        bottom = FOOT + (len(names) - 1 - row) * height
        _write(figure, GAP, bottom + height - LINE + 0.06, plain(name, 80), TITLE, INK, "left")
        middle = bottom + (height - LINE) / 2
        rows.append(
            [
                axes_at(figure, left, middle - up / 2, *(across, up))
                for left, (across, up) in zip(lefts, sizes, strict=True)
            ]
        )
    for number, (_, view) in enumerate(PANELS):
        left, right = lefts[2 * number], lefts[2 * number + 1] + sizes[2 * number + 1, 0]
        _write(figure, (left + right) / 2, total[1] - HEAD + 0.04, view, TEXT, GREY, "center")
    return figure, rows, axes_at(figure, (PAGE - BAR_WIDTH) / 2, FOOT - 0.25, BAR_WIDTH, 0.1)


def _write(figure: Figure, x: float, y: float, text: str, size: float, colour: str, align: str) -> None:
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, text, fontsize=size, color=colour, ha=align, va="bottom")


def _draw(axes: Axes, side: str, shape: str, view: str, rgba: Array, significant: Array) -> None:
    """Draw a hemisphere: its folds in grey, the colours of its vertices over them, what is significant outlined."""
    seen = _seen(side, shape, view)
    first = list(HEMISPHERES).index(side) * N_VERTICES
    own = rgba[first : first + N_VERTICES].astype(np.float32)
    paint = seen.blurred(np.concatenate([own[:, :3] * own[:, 3:], own[:, 3:]], axis=1))  # premultiplied
    found = seen.nearest(significant[first : first + N_VERTICES])
    opacity = np.where(paint[:, 3] > 0, faded(paint[:, 3], found), 0)[:, None]
    colour = paint[:, :3] / np.maximum(paint[:, 3:], 1e-6) * (0.45 + 0.55 * seen.light[:, None])
    pixels = np.zeros((*seen.inside.shape, 5), dtype=np.float32)  # red green blue, whether inside, whether significant
    pixels[seen.inside, :3] = np.clip(seen.grey[:, None] * (1 - opacity) + colour * opacity, 0, 1)
    pixels[seen.inside, 3], pixels[seen.inside, 4] = 1, found == 1
    coarse = _coarse(pixels)
    coarse[..., :3] /= np.maximum(coarse[..., 3:4], 1e-6)
    extent = np.array([0, coarse.shape[1], 0, coarse.shape[0]]) * seen.pixel_mm * FINER
    blank(axes)
    axes.set(xlim=extent[:2], ylim=extent[2:])
    axes.imshow(np.clip(coarse[..., :4], 0, 1), **placed(extent))
    outline(axes, coarse[..., 4] > 0.5, extent)
    is_left = side == "L"
    where: dict[str, Any] = {"ha": "left" if is_left else "right", "va": "bottom", "fontsize": SMALL, "color": GREY}
    axes.text(0.0 if is_left else 1.0, 0.0, side, transform=axes.transAxes, **where)


def _step(values: Array) -> Array:
    """Go smoothly from 0 to 1."""
    clipped = np.clip(values, 0, 1)
    return np.asarray(clipped**2 * (3 - 2 * clipped))


def _coarse(pixels: Array) -> Array:
    """Average blocks of finer pixels, shape (n_up, n_across, n)."""
    up, across, n = pixels.shape
    blocks = pixels.reshape(up // FINER, FINER, across // FINER, FINER, n)
    return np.asarray(blocks.mean(axis=(1, 3)))


@cache
def _seen(side: str, shape: str, view: str) -> _Seen:
    """Find what is seen of a hemisphere in each pixel: of all triangles that face the viewer, the nearest."""
    corners = triangles(side, shape)
    step = PIXEL_MM / FINER / (FLAT if shape == "flat" else 1)
    places = places_mm(side, shape) @ _turn(side, view).T / step  # right, up, towards the viewer, in pixels
    places -= places[np.unique(corners)].min(axis=0)
    n_across, n_up = (np.ceil(places[np.unique(corners), :2].max(axis=0) / FINER).astype(int) * FINER).tolist()
    a, b, c = (places[corners[:, i]] for i in range(3))
    faces_us = np.cross(b - a, c - a)[:, 2] > 0
    order = np.argsort((a + b + c)[:, 2])  # the nearest last, which covers those behind
    order = order[faces_us[order]]
    which, x, y, near = _pixels_of(a[order, :2], b[order, :2], c[order, :2], n_across, n_up)
    last = np.full((n_up, n_across), -1)
    last[y, x] = np.arange(len(which))  # of several the last is kept
    inside = last >= 0
    kept = last[inside]
    shown, weights = corners[order[which[kept]]], near[kept].astype(np.float32)
    closest, light = shown[np.arange(len(kept)), weights.argmax(axis=1)], np.ones(len(kept))
    seen = _Seen(inside, step, shown, weights, closest, light, light)
    if shape != "flat":
        facing = seen.blurred(_normals(places, corners))
        facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-9)
        light = 0.3 + 0.55 * np.clip(facing[:, 2], 0, 1) + 0.22 * np.clip(facing @ [-0.35, 0.6, 0.72], 0, 1)
    depth = seen.blurred(overlay(side, "sulc")[:, None])[:, 0]
    return replace(seen, light=light.astype(np.float32), grey=(0.86 - 0.22 * _step(depth / 0.5 + 0.5)) * light)


def _pixels_of(a: Array, b: Array, c: Array, n_across: int, n_up: int) -> tuple[Array, Array, Array, Array]:
    """List the pixels whose middle is in triangles: which triangle, x, y, and how near its corners are, (n, 3).

    The corners a, b and c are given in pixels, shape (n_triangles, 2).
    """
    first = np.maximum(np.ceil(np.minimum(np.minimum(a, b), c) - 0.5), 0).astype(int)
    last = np.minimum(np.floor(np.maximum(np.maximum(a, b), c) - 0.5).astype(int), [n_across - 1, n_up - 1])
    sizes = np.maximum(last - first + 1, 0)  # of the box around each triangle
    n_pixels = sizes.prod(axis=1)
    which = np.repeat(np.arange(len(a)), n_pixels)
    number = np.arange(len(which)) - np.repeat(np.cumsum(n_pixels) - n_pixels, n_pixels)
    down, across = np.divmod(number, sizes[which, 0])
    x, y = first[which, 0] + across, first[which, 1] + down
    ab, ac = b - a, c - a
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    from_a = np.stack([x, y], axis=1) + 0.5 - a[which]
    of_b = (from_a[:, 0] * ac[which, 1] - from_a[:, 1] * ac[which, 0]) / area[which]
    of_c = (ab[which, 0] * from_a[:, 1] - ab[which, 1] * from_a[:, 0]) / area[which]
    near = np.stack([1 - of_b - of_c, of_b, of_c], axis=1)
    hit = (near >= -1e-9).all(axis=1)
    return which[hit], x[hit], y[hit], near[hit]


def _turn(side: str, view: str) -> Array:
    """Return a rotation: its rows are what is right, up and towards the viewer."""
    if view == "flat":
        return np.eye(3)
    yaw, pitch = np.radians(TURNS[view])
    yaw = -yaw if side == "L" else yaw
    right = [np.cos(yaw), np.sin(yaw), 0]
    up = [-np.sin(pitch) * np.sin(yaw), np.sin(pitch) * np.cos(yaw), np.cos(pitch)]
    near = [np.cos(pitch) * np.sin(yaw), -np.cos(pitch) * np.cos(yaw), np.sin(pitch)]
    return np.array([right, up, near])


def _normals(places: Array, corners: Array) -> Array:
    """Return the direction in which each vertex faces: the mean of its triangles', by their area."""
    a, b, c = (places[corners[:, i]] for i in range(3))
    found = np.zeros(places.shape)
    for i in range(3):
        np.add.at(found, corners[:, i], np.cross(b - a, c - a))
    return found
