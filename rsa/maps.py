"""ScoreMap -> ScoreMap: which layer fits best, how the fit changes along the layers, and where the peaks are."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from rsa.core import Array, ScoreMap, select
from rsa.errors import UserError
from rsa.registry import pick

__all__ = ["MAPS", "DerivedMap", "derive", "derive_all", "layered_models", "peaks", "stack"]


@dataclass(frozen=True)
class DerivedMap:
    """A map made of the maps of all layers of one model.

    Parameters
    ----------
    from_scores : callable
        ``(n_layers, n_voxels) scores in the order of the layers -> (n_voxels,)``, NaN where undefined.
    unit : str
        What a number of the map means.
    """

    from_scores: Callable[[Array], Array]
    unit: str


def best_layer(scores: Array) -> Array:
    """Return the number (from 1) of the layer with the highest score; NaN where no layer scores above 0."""
    complete = np.where(np.isnan(scores), -np.inf, scores)
    return np.where(complete.max(axis=0) > 0, complete.argmax(axis=0) + 1.0, np.nan)


def layer_gradient(scores: Array) -> Array:
    """Return the slope of the score over relative depth, 0 for the first layer and 1 for the last.

    It is the change of the score from the first to the last layer by a least-squares line: below 0 where early
    layers fit better, above 0 where late ones do. NaN where a layer has no score.
    """
    depth = np.linspace(0, 1, len(scores))
    weights = (depth - depth.mean()) / ((depth - depth.mean()) ** 2).sum()
    return np.asarray(weights @ scores)


MAPS: dict[str, DerivedMap] = {
    "best_layer": DerivedMap(
        best_layer, "number of the layer with the highest score, from 1; none if it is not above 0"
    ),
    "layer_gradient": DerivedMap(layer_gradient, "change of the score from the first to the last layer (slope)"),
}


def layered_models(table: pd.DataFrame) -> list[str]:
    """Return the models of a table of references that have two layers or more: those that have derived maps."""
    n_layers = table[table["layer"] != ""].groupby("model", sort=False).size()
    return [str(model) for model, n in n_layers.items() if n > 1]


def derive(scores: ScoreMap, name: str) -> ScoreMap:
    """Make a derived map of every model that has layers.

    Parameters
    ----------
    scores : ScoreMap
        Of one subject or group; the table has `model` and `layer`, layers in order.
    name : str
        A key of `MAPS`.

    Returns
    -------
    ScoreMap
        One row per model; `statistic` is the name of the map and `layer` is empty.

    Raises
    ------
    UserError
        If no model has two layers.
    """
    models = layered_models(scores.table)
    if not models:
        raise UserError(f"The map {name} needs a model with two layers or more; the scores have none.")
    make = pick(MAPS, name, "map").from_scores
    rows = [select(scores, model=model) for model in models]
    values = np.stack([make(row.values.astype(np.float64)) for row in rows])
    table = pd.concat([row.table.iloc[:1] for row in rows]).assign(layer="", statistic=name)
    return ScoreMap(values, table, scores.volume, scores.regions)


def derive_all(scores: ScoreMap, names: Iterable[str]) -> ScoreMap | None:
    """Make several derived maps, in one stack: map by map, model by model; None where no model has two layers."""
    chosen = list(names)
    if not chosen or not layered_models(scores.table):
        return None
    return stack([derive(scores, name) for name in chosen])


def stack(maps: Sequence[ScoreMap]) -> ScoreMap:
    """Put maps over the same columns into one: the rows of all, the counts of the first."""
    values = np.concatenate([scores.values for scores in maps])
    return replace(maps[0], values=values, table=pd.concat([scores.table for scores in maps], ignore_index=True))


def peaks(scores: ScoreMap, *, n_peaks: int = 5, separation_mm: float = 20.0) -> pd.DataFrame:
    """List the highest scores of each map, no two of a map closer than `separation_mm`.

    Parameters
    ----------
    scores : ScoreMap
        Over the voxels of a volume.
    n_peaks : int
        At most so many per map.
    separation_mm : float
        Smallest distance between two peaks of a map, in mm.

    Returns
    -------
    DataFrame
        The labels of the map, `peak` (from 1), `x_mm`, `y_mm`, `z_mm`, `score` and `n_voxels` of the searchlight.
    """
    if scores.volume is None:
        raise UserError("Peaks are looked for in volumes; these scores are of regions.")
    centres_mm = scores.volume.voxel_to_mm(scores.volume.indices)
    rows = []
    for labels, values in zip(scores.table.to_dict("records"), scores.values, strict=True):
        for number, voxel in enumerate(_highest(values, centres_mm, n_peaks, separation_mm), start=1):
            place = dict(zip(("x_mm", "y_mm", "z_mm"), centres_mm[voxel].round(2), strict=True))
            size = scores.n_members[voxel] if scores.n_members is not None else np.nan
            rows.append({**labels, "peak": number, **place, "score": float(values[voxel]), "n_voxels": size})
    columns = [*scores.table.columns, "peak", "x_mm", "y_mm", "z_mm", "score", "n_voxels"]
    return pd.DataFrame(rows, columns=columns)


def _highest(values: Array, centres_mm: Array, n_peaks: int, separation_mm: float) -> list[int]:
    """Take the highest value, drop what lies near it, and go on."""
    left = np.where(np.isnan(values), -np.inf, values)
    found: list[int] = []
    while len(found) < n_peaks and left.max() > -np.inf:
        found.append(int(left.argmax()))
        left[found[-1]] = -np.inf
        left[np.linalg.norm(centres_mm - centres_mm[found[-1]], axis=1) < separation_mm] = -np.inf
    return found
