"""Noise ceilings in pictures: the lower bound as a line, the upper one, which noise alone lifts, faint and dashed."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rsa.core import Array
from rsa.report.style import GREY

__all__ = ["LINES", "ceiling_handles", "ceiling_words", "draw_ceiling", "drawn_ceiling", "noise_words"]

BOUNDS = ["ceiling_lower", "ceiling_upper"]
LINES: dict[str, dict[str, Any]] = {
    "ceiling_lower": {"color": GREY, "linewidth": 1.4, "linestyle": "-", "label": "ceiling, lower bound"},
    "ceiling_upper": {"color": "#b0b0b0", "linewidth": 0.9, "linestyle": "--", "label": "ceiling, upper bound"},
}
"""How each bound is drawn, by its column in tables."""

OF_CORRELATIONS = ("spearman", "pearson", "rho_a")
"""Comparisons of which noise alone has an upper bound of about 1 / sqrt(n)."""


def drawn_ceiling(table: pd.DataFrame) -> pd.DataFrame:
    """Keep of the bounds of a noise ceiling what is drawn, with NaN elsewhere; a table without bounds stays as it is.

    Nothing is drawn before the onset of the stimulus, nor where the lower bound is not above 0: there the subjects have
    nothing in common, and the upper bound is what noise alone reaches.
    """
    if not set(BOUNDS) <= set(table):
        return table
    drawn = table["ceiling_lower"] > 0
    if "time_s" in table:
        drawn &= ~(table["time_s"] < 0)
    return table.assign(**{name: table[name].where(drawn) for name in BOUNDS})


def draw_ceiling(axes: Axes, times: Array, ceiling: pd.DataFrame) -> None:
    """Draw both bounds (columns of `LINES`) over time."""
    for name, look in LINES.items():
        axes.plot(times, ceiling[name], zorder=1.5, **look)


def ceiling_handles() -> list[Line2D]:
    """Return what a legend shows of a noise ceiling."""
    return [Line2D([], [], **look) for look in LINES.values()]


def ceiling_words(n_subjects: int, statistic: str = "") -> str:
    """Say what the two lines of a noise ceiling are, and what is wrong with the upper one.

    Examples
    --------
    >>> ceiling_words(4, "spearman").split("upper ")[-1]
    'bound is too high: each subject is part of the average, so noise alone reaches about 0.50 (1/√4).'
    """
    return (
        "The solid grey line is the lower bound of the noise ceiling: the mean score of each subject's RDM with the "
        "average of the others; it is drawn where it is above 0, and from the onset of the stimulus on. The dashed "
        f"upper bound is too high: {noise_words(n_subjects, statistic)}."
    )


def noise_words(n_subjects: int, statistic: str = "") -> str:
    """Say how high noise alone lifts the upper bound of a noise ceiling, for what is known of it."""
    why = "each subject is part of the average, so noise alone reaches"
    if n_subjects < 2 or statistic not in OF_CORRELATIONS:
        return f"{why} more than 0, the more the fewer the subjects"
    return f"{why} about {1 / np.sqrt(n_subjects):.2f} (1/√{n_subjects})"
