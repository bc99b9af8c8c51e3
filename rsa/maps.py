"""ScoreMap -> ScoreMap: which layer and time fit best, how the fit changes along the layers, where the peaks are."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from rsa.core import PART, QUALITY, SAME_MM, SAME_SCORE, TEST, Array, ScoreMap
from rsa.errors import UserError
from rsa.onsets import has_baseline, time_of_onset
from rsa.rdm import require_chance_of_0
from rsa.registry import pick
from rsa.significance import primary, without_tests

__all__ = [
    "DATA_QUALITY",
    "MAPS",
    "DerivedMap",
    "derive",
    "derive_all",
    "first_of_highest",
    "layered_models",
    "peaks",
    "stack",
    "times_of",
]

DATA_QUALITY = {
    "reliability": "split-half reliability",
    "ceilinglower": "noise ceiling, lower bound",
    "ceilingupper": "noise ceiling, upper bound",
}
"""What stands in the column `model` of rows that tell how good the data are (`rsa.core.QUALITY`), with its full
name."""


@dataclass(frozen=True)
class DerivedMap:
    """A map made of several maps of one model.

    Parameters
    ----------
    from_scores : callable
        ``(n_rows, n_voxels) scores -> (n_voxels,)``, NaN where undefined. Unless rows are layers alone, it is called
        with the time of each row in s, shape (n_rows,), as well.
    unit : str
        What a number of the map means.
    over : {"layers", "times", "times and baseline", "layers and times"}
        What the rows are. Layers of a model, in their order (one map per model; per model and time where there are
        times); times of a reference, ascending (one map per layer, and per reference without layers), with two or more
        of them before 0 s, or without; or all layers at all times (one map per model), the times ascending.
    against_0 : bool
        Whether it takes 0 for the score of unrelated RDMs, as a rank among references or times does: where chance is
        above 0, it differs between them.
    figure : {"signed", "layers", "times", "onsets"}
        How the report draws it: numbers about 0 in two colours; or numbers of layers, times of the scores, or times of
        which many voxels have none, each in a colour of its own. Figures come in the order of `MAPS`.
    title : str
        What the figure shows; {model} is replaced by the name of the model. By default the unit and the model.
    note : str
        What a reader of the figure has to know.
    """

    from_scores: Callable[..., Array]
    unit: str
    over: Literal["layers", "times", "times and baseline", "layers and times"] = "layers"
    against_0: bool = True
    figure: Literal["signed", "layers", "times", "onsets"] = "signed"
    title: str = ""
    note: str = ""


def best_layer(scores: Array) -> Array:
    """Return the number (from 1) of the layer with the highest score; NaN where no layer scores above 0.

    NaN as well where another layer scores as high but for rounding (`SAME_SCORE`). Layers of equal scores, such as one
    and its copy, are no such case: it is the first of them.
    """
    complete = np.where(np.isnan(scores), -np.inf, scores)
    highest = complete.max(axis=0)
    is_tied = ((complete < highest) & (complete >= highest - _rounding(highest))).any(axis=0)
    return np.where((highest > 0) & ~is_tied, complete.argmax(axis=0) + 1.0, np.nan)


def _rounding(highest: Array) -> Array:
    """Return by how much scores may be lower than the highest and still be as high: a share of t above 1."""
    return SAME_SCORE * np.maximum(1, np.where(highest > 0, highest, 0))


def layer_gradient(scores: Array) -> Array:
    """Return the slope of the score over relative depth, 0 for the first layer and 1 for the last.

    It is the change of the score from the first to the last layer by a least-squares line: below 0 where early
    layers fit better, above 0 where late ones do. NaN where a layer has no score.
    """
    depth = np.linspace(0, 1, len(scores))
    weights = (depth - depth.mean()) / ((depth - depth.mean()) ** 2).sum()
    return np.asarray(weights @ scores)


def time_of_highest(scores: Array, times_s: Array) -> Array:
    """Return the time in s of the row with the highest score, the first of several; NaN where none is above 0.

    NaN as well where a score is as high, but for rounding (`SAME_SCORE`), at a time that is no neighbour of this one,
    as in a flat course. So rounding moves a time to the next one at most.
    """
    complete = np.where(np.isnan(scores), -np.inf, scores)
    number = np.unique(times_s, return_inverse=True)[1]
    is_near = complete >= (highest := complete.max(axis=0)) - _rounding(highest)
    steps = np.abs(number.reshape(-1, *[1] * highest.ndim) - number[complete.argmax(axis=0)])
    return np.where((is_near & (steps > 1)).any(axis=0), np.nan, first_of_highest(scores, times_s))


def first_of_highest(scores: Array, times_s: Array) -> Array:
    """Return the time in s of the row with the highest score, the first of several; NaN where none is above 0."""
    complete = np.where(np.isnan(scores), -np.inf, scores)
    return np.where(complete.max(axis=0) > 0, np.asarray(times_s)[complete.argmax(axis=0)], np.nan)


FAINT_LAYERS = (
    "The fainter a colour, the lower that highest score; where no layer scores above 0, or two score alike but for "
    "rounding, there is none. "
    "The best of many layers is above 0 by chance alone, so faint colours mean nothing."
)
FAINT_TIMES = (
    "The fainter a colour, the lower that highest score; where no score is above 0, or two times have the same but for "
    "rounding, there is none. "
    "The best of many times is above 0 by chance alone, so faint colours mean nothing."
)

MAPS: dict[str, DerivedMap] = {
    "best_layer": DerivedMap(
        best_layer,
        "number of the layer with the highest score, from 1; none if it is not above 0, or another layer scores as "
        "high but for rounding",
        figure="layers",
        title="Layer of {model} with the highest score",
        note=FAINT_LAYERS,
    ),
    "layer_gradient": DerivedMap(
        layer_gradient,
        "change of the score from the first to the last layer (slope)",
        title="Early (blue) and late (red) layers of {model}",
        note="Slope of the score from the first layer to the last.",
    ),
    "peak_time": DerivedMap(
        time_of_highest,
        "time in s at which the score is highest; none if it is not above 0, or as high, but for rounding, at a time "
        "that is no neighbour",
        "times",
        figure="times",
        title="Time at which {model} scores highest",
        note=FAINT_TIMES,
    ),
    "onset_time": DerivedMap(
        time_of_onset,
        "time in s from which on, for 20 ms, scores are above what one more before 0 s would be; corrected for the "
        "times of a voxel, not for the voxels; none if they never are, or rounding decides when",
        "times and baseline",
        against_0=False,
        figure="onsets",
        title="Time from which on {model} scores above its baseline",
        note="Blank where the score does not stay above a prediction bound from the baseline for 20 ms or more. "
        "Onsets are corrected for the times of a voxel, not for the number of voxels: of noise alone some voxels have "
        "an onset, so small clusters mean nothing. An onset is the time at which there is evidence, so it is later "
        "where scores are lower. The fainter a colour, the lower the highest score. The 2.5 % of onsets beyond each "
        "end of the colours have the colour of that end.",
    ),
    "time_of_best_layer": DerivedMap(
        time_of_highest,
        "time in s at which the highest score of all layers and times occurs; none if it is not above 0, or as high, "
        "but for rounding, at a time that is no neighbour",
        "layers and times",
        figure="times",
        title="Time at which {model} scores highest, over all its layers",
        note=FAINT_TIMES,
    ),
}

NEEDED = {
    "layers": "a model with two layers or more",
    "times": "scores at two times or more",
    "times and baseline": "scores at two times or more before 0 s, and at some from then on",
    "layers and times": "a model with two layers or more and scores at two times or more",
}
APART = {
    "layers": ["model", "time_s"],
    "times": ["model", "layer"],
    "times and baseline": ["model", "layer"],
    "layers and times": ["model"],
}
"""For each kind of derived map: what the scores must have, and what all rows that make one map share."""


def layered_models(table: pd.DataFrame) -> list[str]:
    """Return the models of a table of references that have two layers or more: those that have maps over layers."""
    n_layers = table[table["layer"] != ""].groupby("model", sort=False)["layer"].nunique()
    return [str(model) for model, n in n_layers.items() if n > 1]


def times_of(table: pd.DataFrame) -> list[float]:
    """Return the times of a table of references in s, ascending; empty where there are none."""
    return sorted({float(time) for time in table["time_s"].dropna()}) if "time_s" in table else []


def derive(scores: ScoreMap, name: str, *, distance: str = "unknown") -> ScoreMap:
    """Make a derived map of every model for which it can be made.

    Parameters
    ----------
    scores : ScoreMap
        Of one subject or group and one statistic; the table has `model`, `layer` and, for scores over time, `time_s`;
        layers in order. Rows that tell how good the data are (`rsa.core.QUALITY`) are passed over.
    name : str
        A key of `MAPS`.
    distance : str
        Of the brain RDMs; it decides whether a map against 0 can be made of cosines.

    Returns
    -------
    ScoreMap
        `statistic` is the name of the map. `layer` is empty, and `time_s` NaN, unless the map is of one layer or time.

    Raises
    ------
    UserError
        If no model has the layers or times that the map needs, a layer of a model lacks a time or has it twice, or the
        map is against 0 and unrelated RDMs score above it (see `rsa.rdm.chance_is_0`).
    """
    entry = pick(MAPS, name, "map")
    if entry.against_0:
        require_chance_of_0(scores.table["statistic"].unique(), distance, f"The map {name}")
    table = _with_times(scores.table)
    groups = _rows_of_maps(table, entry.over)
    if not groups:
        raise UserError(f"The map {name} needs {NEEDED[entry.over]}; the scores have none.")
    made = []
    for rows in groups:
        times_s = () if entry.over == "layers" else (table["time_s"].to_numpy()[rows],)
        made.append(entry.from_scores(scores.values[rows], *times_s))
    labels = table.iloc[[rows[0] for rows in groups]].assign(statistic=name)
    labels = labels.assign(
        **{column: gone for column, gone in (("layer", ""), ("time_s", np.nan)) if column not in APART[entry.over]}
    )
    return ScoreMap(np.stack(made), labels[list(scores.table)], scores.space, scores.regions)


def _with_times(table: pd.DataFrame) -> pd.DataFrame:
    return table if "time_s" in table else table.assign(time_s=np.nan)


def _rows_of_maps(table: pd.DataFrame, over: str) -> list[Array]:
    """Return the rows that make one map each: times ascend, layers keep their order."""
    table = table[~table["role"].isin((QUALITY, TEST))]
    has_layers = table["model"].isin(layered_models(table))
    has_times = table.groupby("model")["time_s"].transform("nunique") > 1
    chosen = {
        "layers": has_layers,
        "times": has_times,
        "times and baseline": table["model"].isin(_models_with_baseline(table)),
        "layers and times": has_layers & has_times,
    }
    ordered = table[chosen[over]].sort_values("time_s", kind="stable")
    for model, rows in ordered.groupby("model", sort=False):
        _require_all_times(str(model), rows)
    groups = ordered.groupby(APART[over], sort=False, dropna=False).ngroup().to_numpy()
    return [ordered.index.to_numpy()[groups == group] for group in range(groups.max(initial=-1) + 1)]


def _models_with_baseline(table: pd.DataFrame) -> list[str]:
    """Return the models that have times before and after the onset of the stimulus, and noise that is the same at all.

    Parts of a variance have more noise where M/EEG RDMs are more similar to the model, signal in the brain or not.
    """
    times_s = table[table["role"] != PART].dropna(subset="time_s").groupby("model")["time_s"].unique()
    return [str(model) for model, times in times_s.items() if has_baseline(times)]


def _require_all_times(model: str, rows: pd.DataFrame) -> None:
    """Raise a `UserError` unless every layer has every time once."""
    n_layers, n_times = rows["layer"].nunique(), rows["time_s"].nunique(dropna=False)
    if len(rows) != n_layers * n_times or rows.duplicated(["layer", "time_s"]).any():
        raise UserError(
            f"{model} has {len(rows)} maps, where {n_layers} layers at {n_times} times make {n_layers * n_times}; "
            f"give every layer at every time once, of one statistic."
        )


def derive_all(scores: ScoreMap, names: Iterable[str] | None = None, *, distance: str = "unknown") -> ScoreMap | None:
    """Make several derived maps, by default all of `MAPS`, in one stack: map by map.

    Those for which the scores lack layers or times are left out. None where no map is left.
    """
    table = _with_times(scores.table)
    chosen = [name for name in (MAPS if names is None else names) if _rows_of_maps(table, pick(MAPS, name, "map").over)]
    return stack([derive(scores, name, distance=distance) for name in chosen]) if chosen else None


def stack(maps: Sequence[ScoreMap]) -> ScoreMap:
    """Put maps over the same columns into one: the rows of all, the counts of the first."""
    values = np.concatenate([scores.values for scores in maps])
    return replace(maps[0], values=values, table=pd.concat([scores.table for scores in maps], ignore_index=True))


def peaks(scores: ScoreMap, *, n_peaks: int = 5, separation_mm: float = 20.0) -> pd.DataFrame:
    """List the highest scores of each map, no two of a map closer than `separation_mm`.

    Parameters
    ----------
    scores : ScoreMap
        Over the voxels of a volume. Results of tests (role `rsa.core.TEST`) have no peaks of their own.
    n_peaks : int
        At most so many per map.
    separation_mm : float
        Smallest distance between two peaks of a map, in mm.

    Returns
    -------
    DataFrame
        The labels of the map (`time_s` only where there are times), `peak` (from 1), `x_mm`, `y_mm`, `z_mm`, `score`,
        `p_corrected` where there are tests (NaN of maps that were not tested) and `n_voxels` of the searchlight.
    """
    if scores.space is None:
        raise UserError("Peaks are looked for in volumes; these scores are of regions.")
    centres_mm = scores.space.centres_mm
    corrected, scores = primary(scores), without_tests(scores)
    table = scores.labels if times_of(scores.table) else scores.labels.drop(columns="time_s", errors="ignore")
    rows = []
    for row, (labels, values) in enumerate(zip(table.to_dict("records"), scores.values, strict=True)):
        for number, voxel in enumerate(_highest(values, centres_mm, n_peaks, separation_mm), start=1):
            p = {} if corrected is None else {"p_corrected": 10.0 ** -float(corrected.values[row, voxel])}
            place = dict(zip(("x_mm", "y_mm", "z_mm"), centres_mm[voxel].round(2), strict=True))
            size = scores.n_members[voxel] if scores.n_members is not None else np.nan
            rows.append({**labels, "peak": number, **place, "score": float(values[voxel]), **p, "n_voxels": size})
    p_column = [] if corrected is None else ["p_corrected"]
    columns = [*table.columns, "peak", "x_mm", "y_mm", "z_mm", "score", *p_column, "n_voxels"]
    return pd.DataFrame(rows, columns=columns)


def _highest(values: Array, centres_mm: Array, n_peaks: int, separation_mm: float) -> list[int]:
    """Take the highest value, drop what lies near it, and go on."""
    left = np.where(np.isnan(values), -np.inf, values)
    found: list[int] = []
    while len(found) < n_peaks and left.max() > -np.inf:
        found.append(int(left.argmax()))
        left[found[-1]] = -np.inf
        left[np.linalg.norm(centres_mm - centres_mm[found[-1]], axis=1) < separation_mm - SAME_MM] = -np.inf
    return found
