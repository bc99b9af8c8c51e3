"""What pictures of brains share: one scale of colours, the part of space that is drawn, left and right."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from rsa.core import Array, ScoreMap, Volume
from rsa.errors import UserError
from rsa.names import full_name
from rsa.report.planes import MNI_BOX, VIEWS, box_mm, views_of
from rsa.report.style import GREY, INK, SIGNED, TEXT, blank, colour_bar, signed_limit

__all__ = [
    "drawn_box",
    "drawn_views",
    "frame",
    "is_mni",
    "placed",
    "say_if_empty",
    "score_bar",
    "score_scale",
    "volume_of",
]


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
            axes.text(x, 0.0, text, transform=axes.transAxes, ha=align, va="bottom", fontsize=5.5, color=GREY)


def say_if_empty(axes: Sequence[Axes], values: Array) -> None:
    """Write so on the middle one of these axes, if no value is defined."""
    if not np.isfinite(values).any():
        look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": TEXT, "color": INK}
        axes[len(axes) // 2].annotate("no score is defined", (0.5, 0.5), xycoords="axes fraction", **look)
