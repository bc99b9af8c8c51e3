"""How selective units are: for few pictures or many, and for a category."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rsa.core import Array
from rsa.labels import as_label
from rsa.units.choosing import Unit
from rsa.units.found import Table
from rsa.units.watched import Peaks

__all__ = ["CATEGORY_COLUMNS", "COLUMNS", "category_tuning", "lifetime_sparseness", "share_above_half", "tuning_table"]

COLUMNS = {
    "layer": "Layer of the network",
    "unit": "Number of the unit in its layer, from 0",
    "sparseness": "Lifetime sparseness: 0 if it responds to all pictures alike, 1 if to one alone; n/a where a highest "
    "response is below 0",
    "share_above_half": "Share of pictures with more than half of its highest response",
}
"""The columns of the table of tuning."""

CATEGORY_COLUMNS = {
    "category": "Category with the highest mean response; it is chosen by the responses that measure it, so with few "
    "pictures class_selectivity and d_prime are above 0 by chance",
    "class_selectivity": "(mean of that category - mean of the others) / their sum: 0 to 1; n/a where a highest "
    "response is below 0",
    "d_prime": "Difference between pictures of that category and all others, in pooled standard deviations; n/a where "
    "a category has one picture",
}
"""Further columns where pictures have categories."""


def tuning_table(
    units: Sequence[Unit], peaks: Mapping[str, Peaks], categories: Sequence[object] | None = None
) -> Table:
    """Describe how selective units are, by their highest response to each picture."""
    rows: list[dict[str, Any]] = []
    for one in units:
        responses = peaks[one.layer].values[:, one.unit].astype(float)
        row = {
            "layer": one.layer,
            "unit": one.unit,
            "sparseness": lifetime_sparseness(responses),
            "share_above_half": share_above_half(responses),
        }
        rows.append(row | ({} if categories is None else category_tuning(responses, categories)))
    columns = COLUMNS | ({} if categories is None else CATEGORY_COLUMNS)
    return Table(pd.DataFrame(rows, columns=list(columns)), columns)


def lifetime_sparseness(responses: Array) -> float:
    """Return how few pictures a unit responds to [1]_, [2]_.

        S = (1 - mean(r)^2 / mean(r^2)) / (1 - 1 / n)

    Parameters
    ----------
    responses : array, shape (n_pictures,)
        Responses r of at least 0.

    Returns
    -------
    float
        0 if all are alike, 1 if one alone is above 0; NaN where one is below 0, or none above.

    References
    ----------
    .. [1] Vinje WE, Gallant JL (2000). Sparse coding and decorrelation in primary visual cortex during natural vision.
       Science 287:1273-1276.
    .. [2] Treves A, Rolls ET (1991). What determines the capacity of autoassociative memories in the brain? Network
       2:371-397.

    Examples
    --------
    >>> lifetime_sparseness(np.array([0.0, 0.0, 5.0])), lifetime_sparseness(np.array([2.0, 2.0]))
    (1.0, 0.0)
    """
    if responses.min() < 0 or not responses.max() > 0:
        return np.nan
    scaled = responses / responses.max()
    return float((1 - scaled.mean() ** 2 / (scaled**2).mean()) / (1 - 1 / len(responses)))


def share_above_half(responses: Array) -> float:
    """Return the share of pictures with more than half of the highest response; NaN if that is not above 0.

    Examples
    --------
    >>> share_above_half(np.array([-1.0, 1.0, 1.5, 2.0]))
    0.5
    """
    highest = responses.max()
    return float((responses > highest / 2).mean()) if highest > 0 else np.nan


def category_tuning(responses: Array, categories: Sequence[object]) -> dict[str, Any]:
    """Return the category that a unit prefers, and how much.

    The class selectivity is (a - b) / (a + b), where a is the mean response to the category with the highest mean, and
    b the mean over the means of the other categories [1]_; it is for responses of at least 0. d' is the difference
    between the means of its pictures and of all others, divided by the root of the mean of the two variances. Since
    the category is chosen by the same responses, both are above 0 by chance alone if pictures are few.

    Parameters
    ----------
    responses : array, shape (n_pictures,)
        The responses of a unit.
    categories : sequence
        The category of each picture; pictures without one (NaN) do not count.

    References
    ----------
    .. [1] Morcos AS, Barrett DGT, Rabinowitz NC, Botvinick M (2018). On the importance of single directions for
       generalization. ICLR.

    Examples
    --------
    >>> category_tuning(np.array([3.0, 5.0, 1.0, 1.0]), ["cat", "cat", "dog", "bird"])["class_selectivity"]
    0.6
    """
    known = pd.notna(pd.Series(list(categories), dtype=object)).to_numpy()
    own, names = responses[known], np.array([as_label(one) for one in np.array(categories, dtype=object)[known]])
    means = pd.Series(own).groupby(names).mean()
    if len(means) < 2:
        return dict.fromkeys(CATEGORY_COLUMNS, np.nan)
    best = str(means.idxmax())
    highest, others = float(means[best]), float(means.drop(best).mean())
    is_index = own.min() >= 0 and highest > 0
    inside, outside = own[names == best], own[names != best]
    return {
        "category": best,
        "class_selectivity": (highest - others) / (highest + others) if is_index else np.nan,
        "d_prime": _d_prime(inside, outside),
    }


def _d_prime(inside: Array, outside: Array) -> float:
    """Return the difference between two means in pooled standard deviations; NaN where a variance is not known or 0."""
    if min(len(inside), len(outside)) < 2:
        return np.nan
    pooled = np.sqrt((inside.var(ddof=1) + outside.var(ddof=1)) / 2)
    return float((inside.mean() - outside.mean()) / pooled) if pooled > 0 else np.nan
