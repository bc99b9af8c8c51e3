"""What pictures of brains share: one scale of colours, the part of space that is drawn, left and right."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from rsa.core import Array, ScoreMap, Volume
from rsa.errors import UserError
from rsa.names import full_name
from rsa.report.planes import MNI_BOX, VIEWS, box_mm, views_of
from rsa.report.style import GREY, INK, SIGNED, SMALL, TEXT, blank, colour_bar, signed_limit
from rsa.significance import Significance

__all__ = [
    "WHOLE_CLUSTERS",
    "centre_of",
    "drawn_box",
    "drawn_views",
    "faded",
    "frame",
    "is_mni",
    "outline",
    "placed",
    "say_if_empty",
    "score_bar",
    "score_scale",
    "sight_words",
    "stride_words",
    "strides",
    "threshold_words",
    "volume_of",
]

OUTLINE = "black"
LEAST_CENTRES = 50
"""Of fewer scores it cannot be told whether they are of every nth voxel."""
WHOLE_CLUSTERS = "A p is that of a cluster as a whole: something in it is significant, not each of its voxels."
FADED = 0.5
"""How opaque what is not significant is drawn, as a share of what it would be else."""


def sight_words(significance: Significance | None) -> str:
    """Say which score a glass brain shows."""
    if significance is None:
        shown = "the score furthest from 0 is shown, with its sign"
    else:
        shown = (
            "the significant score furthest from 0 is shown, with its sign, or where none is significant, faded, the "
            "score furthest from 0"
        )
    return f"Along each line of sight {shown}; left is on the left."


def threshold_words(significance: Significance, shown: ScoreMap) -> str:
    """Say what is faded and outlined, and which of the models that are shown have nothing significant, or no test."""
    alpha, none = significance.written_alpha, significance.insignificant(shown)
    said = [f"faded: corrected p > {alpha} ({significance.words}); outlined: p ≤ {alpha}."]
    said += [WHOLE_CLUSTERS] if significance.of_clusters else []
    if none:
        said.append(f"No score of {' or '.join(none)} is significant at corrected p ≤ {alpha}.")
    untested = significance.untested(shown)
    said += [f"Not tested, and drawn as it is: {', '.join(untested)}."] if untested else []
    return " ".join(said)


def faded(opacity: Array, significant: Array) -> Array:
    """Make what is significant (1) fully opaque, and fade what is not (0); what was not tested (NaN) stays as it is.

    A value without any opacity of its own, such as an undefined one, gets none.
    """
    shown = np.where(significant == 1, 1.0, np.where(significant == 0, FADED * opacity, opacity))
    return np.asarray(shown)


def outline(axes: Axes, inside: Array, extent: Array) -> None:
    """Draw a thin dark line around pixels, along their edges.

    Parameters
    ----------
    inside : array of bool, shape (n_up, n_across)
        The first row is the lowest.
    extent : array
        The edges of the image: left, right, bottom, top.
    """
    if not inside.any():
        return
    around = np.pad(inside, 1)
    y, x = np.nonzero(around[1:, 1:-1] != around[:-1, 1:-1])  # edges from left to right
    level = np.stack([np.stack([x, y], 1), np.stack([x + 1, y], 1)], axis=1)
    y, x = np.nonzero(around[1:-1, 1:] != around[1:-1, :-1])  # edges from bottom to top
    upright = np.stack([np.stack([x, y], 1), np.stack([x, y + 1], 1)], axis=1)
    steps = np.array([extent[1] - extent[0], extent[3] - extent[2]]) / inside.shape[::-1]
    points = np.concatenate([level, upright]).reshape(-1, 2) * steps + np.array([extent[0], extent[2]])
    codes = np.tile([Path.MOVETO, Path.LINETO], len(points) // 2)
    look: dict[str, Any] = {"edgecolor": OUTLINE, "linewidth": 0.6, "facecolor": "none", "capstyle": "projecting"}
    axes.add_artist(PathPatch(Path(points, codes), label="significant", **look))  # limits stay: add_patch seeks them


def strides(scores: ScoreMap) -> Array:
    """Return of how many voxels along each axis one has a score, shape (3,); 1 each without a stride."""
    volume, defined = volume_of(scores), np.isfinite(scores.values).any(axis=0)
    if defined.sum() < LEAST_CENTRES:
        return np.ones(3, dtype=int)
    indices = volume.indices[defined]
    return np.asarray(np.maximum(np.gcd.reduce(indices - indices[0], axis=0), 1))


def centre_of(scores: ScoreMap) -> Array:
    """Return for each voxel the one whose score is drawn at its place: its own, or with a stride that of its block."""
    volume, steps = volume_of(scores), strides(scores)
    own = np.arange(volume.n_voxels)
    if (steps == 1).all():
        return own
    defined = np.asarray(np.isfinite(scores.values).any(axis=0))
    first = volume.indices[defined][0] % steps
    nodes = first + steps * np.floor((volume.indices - first) / steps + 0.5).astype(int)
    inside = np.all((nodes >= 0) & (nodes < volume.shape), axis=1)
    columns = np.full(volume.shape, -1)
    columns[volume.mask] = own
    found = columns[tuple(np.where(inside[:, None], nodes, 0).T)]
    return np.where(inside & (found >= 0) & defined[found], found, own)


def stride_words(scores: ScoreMap) -> str:
    """Say what is drawn between the centres of a stride."""
    step = int(strides(scores).max())
    each = "second" if step == 2 else f"{step}th" if step > 3 else "third"
    return f" Scores are of every {each} voxel along each axis, and each fills the voxels around its own." * (step > 1)


def score_scale(maps: Sequence[ScoreMap], limit: float | None) -> Normalize:
    """Make one symmetric colour scale for all maps."""
    largest = limit or signed_limit(np.concatenate([scores.values.ravel() for scores in maps]))
    return Normalize(-largest, largest)


def score_bar(figure: Figure, bar: Axes, colours: Normalize, scores: ScoreMap) -> None:
    """Draw the colour bar of a scale of scores; its label says what they are, and the range."""
    statistic = full_name(scores.table["statistic"].iloc[0]) if "statistic" in scores.table else "score"
    limit = f"{colours.vmax:g}"
    label = f"{statistic}, one scale for all maps (\N{MINUS SIGN}{limit} to {limit})"
    colour_bar(figure, bar, ScalarMappable(colours, SIGNED), label)


def volume_of(scores: ScoreMap) -> Volume:
    """Return the volume of a map over voxels; a `UserError` if it is over regions."""
    if scores.volume is None:
        raise UserError("Scores of regions cannot be drawn on a brain; draw them with `region_bars`.")
    return scores.volume


def is_mni(space: str) -> bool:
    """Say whether a space is one of the MNI brain, by its name."""
    return space.startswith("MNI")


def drawn_views(volume: Volume, space: str) -> str:
    """Return the views that are drawn: all of the MNI brain, elsewhere those in which the mask has area."""
    return "xyz" if is_mni(space) else views_of(volume)


def drawn_box(volume: Volume, space: str) -> Array:
    """Return the part of space that is drawn, shape (3, 2) in mm."""
    if is_mni(space):
        return MNI_BOX
    box = box_mm(volume)
    room = 0.03 * np.ptp(box, axis=1).max()
    return np.asarray(box + np.array([-room, room]))


def placed(extent: Array) -> dict[str, Any]:
    """Return how an image is placed: its edges in mm, the first row below, pixels unblurred."""
    return {"extent": tuple(extent), "origin": "lower", "interpolation": "nearest", "aspect": "auto"}


def frame(axes: Axes, view: str, box: Array) -> None:
    """Set the limits to the box (axes have its proportions), and mark left and right."""
    blank(axes)
    axes.set_autoscale_on(False)
    across, up = VIEWS[view]
    axes.set(xlim=box[across], ylim=box[up])
    if view in "yz":
        for text, x, align in (("L", 0.0, "left"), ("R", 1.0, "right")):
            axes.text(x, 0.0, text, transform=axes.transAxes, ha=align, va="bottom", fontsize=SMALL, color=GREY)


def say_if_empty(axes: Sequence[Axes], values: Array) -> None:
    """Write so on the middle one of these axes, if no value is defined."""
    if not np.isfinite(values).any():
        look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": TEXT, "color": INK}
        axes[len(axes) // 2].annotate("no score is defined", (0.5, 0.5), xycoords="axes fraction", **look)
