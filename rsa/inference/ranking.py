"""Which network fits a region best? Layers are chosen and scored on other conditions, and on other subjects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from rsa.comparisons import COMPARISONS, Comparison
from rsa.core import FEWEST_CONDITIONS, REFERENCE, Array, RDMs, align
from rsa.errors import UserError, listed
from rsa.inference.designs import Design
from rsa.inference.subjects import over_subjects
from rsa.inference.tally import Correction
from rsa.rdm import ceiling_bounds, own_references
from rsa.registry import pick
from rsa.rows import require_columns, require_count, require_known, require_once, require_share

__all__ = [
    "FEWEST_FOR_HALVES",
    "PAIR_COLUMNS",
    "RANKING_COLUMNS",
    "Ranking",
    "chosen_layers",
    "compared_pairs",
    "cross_validated",
    "halves_of",
    "mean_interval",
    "ranked",
]

FEWEST_FOR_HALVES = 2 * FEWEST_CONDITIONS
"""Conditions of which two halves have scores."""

SAME_MEAN = 1e-9
"""Layers whose mean scores differ by less than this, which is rounding, are equal: the first of them is chosen."""

RANKING_COLUMNS = {
    "region": "Region of interest",
    "rank": "Place among the models in this region, 1 for the highest score",
    "model": "Network, or name of the reference",
    "score": "Mean over subjects of the score with conditions on which the layer was not chosen; with several "
    "subjects, it was chosen by the others",
    "lower": "Confidence interval of this mean over subjects by Student's t, lower bound",
    "upper": "Confidence interval of this mean over subjects by Student's t, upper bound",
    "share_of_ceiling": "Score divided by the upper bound of the noise ceiling, where the lower one is above 0",
    "ceiling_lower": "Noise ceiling on the same halves of the conditions, lower bound (leave one subject out)",
    "ceiling_upper": "Noise ceiling on the same halves of the conditions, upper bound (mean of all subjects)",
    "layer": "Layer that was chosen most often",
    "layer_share": "Share of choices (splits, halves and subjects) that fell on this layer",
    "score_not_cross_validated": "Highest mean score of a layer that is chosen and scored with all conditions and "
    "subjects, which is too high, the more so the more layers there are",
    "n_layers": "Number of layers from which was chosen",
    "n_subjects": "Number of subjects",
    "n_conditions": "Number of conditions, of which each half has half",
    "n_parameters": "Number of parameters of the network",
    "left_out": "What was left out, and why",
}
"""The columns of a ranking, and what they are."""

PAIR_COLUMNS = {
    "region": "Region of interest",
    "model_a": "Network, or name of the reference",
    "model_b": "Another",
    "difference": "Mean over subjects of the score of model_a less that of model_b",
    "lower": "Confidence interval of this mean over subjects by Student's t, lower bound",
    "upper": "Confidence interval of this mean over subjects by Student's t, upper bound",
    "t": "t over subjects of the difference",
    "p": "p by flips of the signs of subjects, two-sided, uncorrected",
    "p_corrected": "p corrected for all pairs and regions by the highest t of each flip",
    "n_subjects": "Number of subjects with a score of both",
}
"""The columns of a comparison of pairs, and what they are."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """Models in their order in each region.

    Parameters
    ----------
    table : DataFrame
        A row per region and model, best first, with the columns `RANKING_COLUMNS` but `n_parameters`.
    scores : DataFrame
        Columns `subject`, `region`, `model`, `score`: the cross-validated score of each subject.
    """

    table: pd.DataFrame
    scores: pd.DataFrame


def halves_of(n_conditions: int, n_splits: int, seed: int) -> Array:
    """Draw random halves of the conditions, shape (2 n_splits, n_conditions): rows 2 s and 2 s + 1 are one split.

    Of an odd number of conditions, the second half has one more.

    Raises
    ------
    UserError
        If there are too few conditions, or no split is asked for.

    Examples
    --------
    >>> halves_of(6, 1, 0).sum(axis=1)
    array([3, 3])
    """
    require_count("n_splits", n_splits)
    if n_conditions < FEWEST_FOR_HALVES:
        raise UserError(f"Halves of conditions need {FEWEST_FOR_HALVES} conditions or more, not {n_conditions}.")
    rng = np.random.default_rng((seed, 3))
    first = np.zeros((n_splits, n_conditions), dtype=bool)
    for row in first:
        row[rng.permutation(n_conditions)[: n_conditions // 2]] = True
    return np.stack([first, ~first], axis=1).reshape(-1, n_conditions)


def ranked(
    brain: RDMs,
    references: RDMs,
    comparison: str = "spearman",
    *,
    n_splits: int = 20,
    seed: int = 0,
    level: float = 0.95,
) -> Ranking:
    """Rank models in each region, without an advantage for those with more layers.

    For each subject, the layer of a model is the one with the highest mean score of the other subjects on a random half
    of the conditions; its score is that of the subject itself on the other half, both ways, averaged over splits
    [1]_, [2]_. So neither noise of a subject, nor what is peculiar to some conditions, can choose a layer that it then
    scores. Of a single subject the layer is chosen by the subject itself, on the other half.

    Parameters
    ----------
    brain : RDMs
        One per subject and region: the table has `subject` and `region`. Conditions may be in any order.
    references : RDMs
        The table has `model` and `layer`; `subject` names whose a reference is, if it is not everybody's.
    comparison : str
        A key of `COMPARISONS`.
    n_splits, seed
        As in `halves_of`; conditions are split in the order of their names.
    level : float
        Of the intervals.

    Returns
    -------
    Ranking
        An RDM that has gaps or is constant is left out, as the column `left_out` says.

    Raises
    ------
    UserError
        If a column is missing or has gaps, an RDM comes twice, there are fewer than `FEWEST_FOR_HALVES` conditions, or
        conditions differ.

    References
    ----------
    .. [1] Storrs KR, Kietzmann TC, Walther A, Mehrer J, Kriegeskorte N (2021). Diverse deep neural networks all predict
       human inferior temporal cortex well, after training and fitting. J Cogn Neurosci 33:2044-2064.
    .. [2] Conwell C, Prince JS, Kay KN, Alvarez GA, Konkle T (2024). A large-scale examination of inductive biases
       shaping high-level visual representation in brains and machines. Nature Communications 15:9383.
    """
    require_share("level", level)
    require_columns(brain.table, ["subject", "region"], "RDMs of regions")
    if "time_s" in brain.table:
        raise UserError("A ranking needs one RDM of each subject and region, and these are at several times.")
    require_known(brain.table, ["subject", "region"], "RDMs of regions")
    require_once(brain.table[["subject", "region"]], "RDMs of regions")
    require_columns(references.table, ["model", "layer"], "reference RDMs")
    names = sorted(brain.conditions)
    brain, references = brain.reordered(names), align(names, references, "brain RDMs")
    halves, compared = halves_of(len(names), n_splits, seed), pick(COMPARISONS, comparison, "comparison")
    regions = [_Region(str(name), brain.subset(rows)) for name, rows in _rows_of(brain.table, "region").items()]
    by_region = [_scores_of_halves(region, references, halves, compared) for region in regions]
    places = [_places(scores, level) for scores in by_region]
    tables, scores = (pd.concat(parts, ignore_index=True) for parts in zip(*places, strict=True))
    n_conditions = {"n_conditions": len(names)}
    return Ranking(tables.assign(**n_conditions)[[name for name in RANKING_COLUMNS if name != "n_parameters"]], scores)


# ------------------------------------------------------------------------------------------ scores of halves


class _Region:
    """The RDMs of a region, without those that have no score; what was left out is told."""

    def __init__(self, name: str, rdms: RDMs) -> None:
        self.name, why = name, _why_undefined(rdms.values)
        self.rdms = rdms.subset([not text for text in why])
        self.subjects = [str(subject) for subject in self.rdms.table["subject"]]
        whose = zip(rdms.table["subject"], why, strict=True)
        self.left_out = [f"subject {subject}: its RDM {text}" for subject, text in whose if text]


@dataclass(frozen=True, eq=False)
class _Scores:
    """Scores of the subjects of a region on halves of the conditions.

    Parameters
    ----------
    region : _Region
        With n_subjects subjects.
    table : DataFrame, n_layers rows
        `model` and `layer`, and `why`: why a layer is left out, or "".
    of_halves : array, shape (n_halves, n_subjects, n_layers)
        NaN where an RDM is constant on a half.
    of_all : array, shape (n_subjects, n_layers)
        With all conditions.
    ceilings : array, shape (n_halves, 2)
        Lower and upper bound of the noise ceiling.
    """

    region: _Region
    table: pd.DataFrame
    of_halves: Array
    of_all: Array
    ceilings: Array


def _scores_of_halves(region: _Region, references: RDMs, halves: Array, comparison: Comparison) -> _Scores:
    """Compare the RDMs of a region with all references, on each half of the conditions and on all."""
    columns, table = _references_of(references, region.subjects)
    rdms = region.rdms.values

    def scored(pairs: Any) -> Array:
        prepared = comparison.prepare(rdms[:, pairs]), comparison.prepare(references.values[:, pairs])
        return np.take_along_axis(comparison.score(*prepared), columns, axis=1)

    n_subjects, n_layers = columns.shape
    of_halves, ceilings = np.full((len(halves), n_subjects, n_layers), np.nan), np.full((len(halves), 2), np.nan)
    if not n_subjects:
        return _Scores(region, table, of_halves, np.full(columns.shape, np.nan), ceilings)
    first, second = np.triu_indices(halves.shape[1], 1)
    for number, half in enumerate(halves):
        pairs = half[first] & half[second]
        of_halves[number] = scored(pairs)
        if n_subjects > 1:
            ceilings[number] = ceiling_bounds(rdms[:, pairs], comparison)
    return _Scores(region, table, of_halves, scored(slice(None)), ceilings)


def _references_of(references: RDMs, subjects: Sequence[str]) -> tuple[Array, pd.DataFrame]:
    """Return which references are those of each subject, (n_subjects, n_layers), and what they are."""
    numbered = RDMs(references.values, references.conditions, references.table.assign(row=np.arange(len(references))))
    own = [own_references(numbered, subject).table for subject in (*subjects, *([] if subjects else [""]))]
    labels = [table[["model", "layer"]].fillna("").astype(str).reset_index(drop=True) for table in own]
    if any(not other.equals(labels[0]) for other in labels):
        raise UserError("The references of subjects differ in models or layers; give each subject the same ones.")
    columns = np.stack([table["row"].to_numpy() for table in own])
    why = np.array(_why_undefined(references.values))[columns]  # (n_subjects, n_layers)
    reasons = [next((text for text in of_layer if text), "") for of_layer in why.T]
    return columns[: len(subjects)], labels[0].assign(why=reasons)


def _why_undefined(rdms: Array) -> list[str]:
    """Say of each RDM why it has no score; "" where it has one."""
    gaps: Array = np.asarray(~np.isfinite(rdms).all(axis=1))
    same: Array = np.ptp(np.where(np.isfinite(rdms), rdms, 0), axis=1) == 0
    return ["has gaps" if gap else "is constant" if flat else "" for gap, flat in zip(gaps, same, strict=True)]


def _rows_of(table: pd.DataFrame, column: str) -> dict[Any, Array]:
    return dict(table.groupby(column, sort=False).indices)


# --------------------------------------------------------------------------------------------- choosing


def chosen_layers(scores: Array) -> Array:
    """Choose a layer for each subject: the one with the highest mean score of the others; of equals, the first.

    Parameters
    ----------
    scores : array, shape (n_halves, n_subjects, n_layers)
        NaN where a layer cannot be chosen. A single subject chooses for itself.

    Returns
    -------
    array of int, shape (n_halves, n_subjects)

    Examples
    --------
    >>> chosen_layers(np.array([[[0.1, 0.2], [0.4, 0.0], [0.3, 0.1]]]))
    array([[0, 0, 0]])
    >>> chosen_layers(np.array([[[0.9, 0.0], [0.0, 0.2], [0.0, 0.2]]]))
    array([[1, 0, 0]])
    """
    n_subjects = scores.shape[1]
    means = scores
    if n_subjects > 1:
        means = (scores.sum(axis=1, keepdims=True) - scores) / (n_subjects - 1)
    means = np.where(np.isnan(means), -np.inf, means)
    return np.asarray((means >= means.max(axis=2, keepdims=True) - SAME_MEAN).argmax(axis=2))


def cross_validated(scores: Array) -> tuple[Array, Array]:
    """Score each subject with the layers that were chosen on the other halves by the other subjects.

    Parameters
    ----------
    scores : array, shape (n_halves, n_subjects, n_layers)
        Of the layers of one model; halves 2 s and 2 s + 1 belong together. A layer without a score on one of them is
        chosen on neither.

    Returns
    -------
    scores : array, shape (n_subjects,)
        Mean over halves; NaN where no half has a score.
    chosen : array of int, shape (n_halves, n_subjects)
        The layer that was chosen on each half, to be scored on the other; -1 where none can be.
    """
    other = np.arange(len(scores)) ^ 1
    defined: Array = np.asarray(np.isfinite(scores).all(axis=1))  # (n_halves, n_layers)
    usable = (defined & defined[other])[:, None, :]
    candidates = np.where(usable, scores, np.nan)
    chosen = chosen_layers(candidates)
    tested = np.take_along_axis(candidates[other], chosen[:, :, None], axis=2)[:, :, 0]  # (n_halves, n_subjects)
    is_known = np.isfinite(tested)
    sums = np.where(is_known, tested, 0).sum(axis=0)
    return sums / np.where(is_known.any(axis=0), is_known.sum(axis=0), np.nan), np.where(is_known, chosen, -1)


def mean_interval(values: Array, level: float) -> tuple[float, float]:
    """Return the confidence interval of a mean over subjects by Student's t; NaN of fewer than 2, or with gaps.

    Examples
    --------
    >>> low, high = mean_interval(np.array([0.1, 0.2, 0.3]), 0.95)
    >>> round(low, 4), round(high, 4)
    (-0.0484, 0.4484)
    """
    if len(values) < 2 or not np.isfinite(values).all():
        return float("nan"), float("nan")
    design = Design(len(values))
    mean, half = float(design.effect(values)), float(design.half_width(values, level))
    return mean - half, mean + half


# ---------------------------------------------------------------------------------------------- tables


def _places(found: _Scores, level: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put the models of a region in order, and list the scores of its subjects."""
    low, high = (_mean(bound) for bound in found.ceilings.T)
    rows, scores = [], []
    for model, layers in _rows_of(found.table, "model").items():
        usable = layers[(found.table["why"].iloc[layers] == "").to_numpy()]
        own, row = _place(found, usable, level)
        dropped = found.table.iloc[layers][["layer", "why"]].itertuples(index=False)
        reasons = [*_told(dropped), *_told_of_halves(row.pop("is_scored")), *found.region.left_out]
        share = row["score"] / high if low > 0 and high > 0 else np.nan
        rows.append(
            {"region": found.region.name, "model": model, **row, "n_subjects": len(found.region.subjects)}
            | {"ceiling_lower": low, "ceiling_upper": high, "share_of_ceiling": share, "left_out": "; ".join(reasons)}
        )
        scores.append(pd.DataFrame({"subject": found.region.subjects, "model": model, "score": own}))
    table = pd.DataFrame(rows).sort_values("score", ascending=False, kind="stable", na_position="last")
    place = pd.Series(np.arange(1, len(table) + 1), table.index, dtype="Int64").where(table["score"].notna())
    return table.assign(rank=place), pd.concat(scores, ignore_index=True).assign(region=found.region.name)


def _place(found: _Scores, layers: Array, level: float) -> tuple[Array, dict[str, Any]]:
    """Return the scores of subjects with one model, some of whose layers are left out, and what is said of them."""
    of_none = np.full(len(found.region.subjects), np.nan)
    if not len(layers) or not len(of_none):
        nothing = dict.fromkeys(("score", "lower", "upper", "layer_share", "score_not_cross_validated"), np.nan)
        return of_none, {**nothing, "layer": "", "n_layers": len(layers), "is_scored": np.ones(0, dtype=bool)}
    own, chosen = cross_validated(found.of_halves[:, :, layers])
    counts = np.bincount(chosen[chosen >= 0], minlength=len(layers))
    lower, upper = mean_interval(own, level)
    return own, {
        "score": float(own.mean()),
        "lower": lower,
        "upper": upper,
        "layer": found.table["layer"].iloc[layers[counts.argmax()]] if counts.any() else "",
        "layer_share": counts.max() / counts.sum() if counts.any() else np.nan,
        "score_not_cross_validated": float(found.of_all[:, layers].mean(axis=0).max()),
        "n_layers": len(layers),
        "is_scored": chosen >= 0,
    }


def _told(layers: Any) -> list[str]:
    """Say which layers are left out, by the reason."""
    by_reason: dict[str, list[str]] = {}
    for layer, why in layers:
        if why:
            by_reason.setdefault(why, []).append(layer)
    told = []
    for why, names in by_reason.items():
        named = [name for name in names if name]
        what = f"the RDM of {listed(named)}" if named else "its RDM"
        told.append(f"{what} {why}")
    return told


def _told_of_halves(is_scored: Array) -> list[str]:
    """Say on how many halves no layer has a score, (n_halves, n_subjects), if there are some."""
    n_without = int((~is_scored).any(axis=1).sum()) if is_scored.ndim == 2 else 0
    return [f"{n_without} of {len(is_scored)} halves, on which its RDM is constant"] if n_without else []


def _mean(values: Array) -> float:
    """Return the mean of what is a number; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def compared_pairs(
    scores: pd.DataFrame, *, level: float = 0.95, n_permutations: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """Compare each pair of models within subjects: the difference of their scores, with an interval and a p.

    Signs of subjects are flipped, all of them where there are no more ways than `n_permutations`, and p are corrected
    for all pairs and regions by the highest absolute t of each flip [1]_.

    Parameters
    ----------
    scores : DataFrame
        `Ranking.scores`.
    level : float
        Of the intervals.
    n_permutations, seed
        As in `rsa.inference.subjects.subject_test`.

    Returns
    -------
    DataFrame
        A row per region and pair, with the columns `PAIR_COLUMNS`. Where a subject has no score of both there is no p,
        nor is there one, or an interval, of a single subject (NaN).

    References
    ----------
    .. [1] Nichols TE, Holmes AP (2002). Nonparametric permutation tests for functional neuroimaging: a primer with
       examples. Hum Brain Mapp 15:1-25.
    """
    require_share("level", level)
    values, labels = _cube(scores)  # (n_subjects, n_regions, n_models)
    pairs = list(combinations(range(len(labels["model"])), 2))
    each = [values[:, :, a] - values[:, :, b] for a, b in pairs]
    differences = np.stack(each, axis=1) if pairs else values[:, :0, :0]
    tested = _tested(differences, n_permutations, seed)
    rows = []
    for place, region in enumerate(labels["region"]):
        for number, (a, b) in enumerate(pairs):
            known = differences[:, number, place]
            known = known[np.isfinite(known)]
            lower, upper = mean_interval(known, level)
            numbers = {name: of[number, place] for name, of in tested.items()}
            pair = {"region": region, "model_a": labels["model"][a], "model_b": labels["model"][b]}
            bounds = {"difference": _mean(known), "lower": lower, "upper": upper, "n_subjects": len(known)}
            rows.append(pair | bounds | numbers)
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


def _cube(scores: pd.DataFrame) -> tuple[Array, Mapping[str, list[str]]]:
    """Put scores of subjects into an array (n_subjects, n_regions, n_models), NaN where there is none."""
    codes = {name: pd.factorize(scores[name].astype(str)) for name in ("subject", "region", "model")}
    values = np.full(tuple(len(names) for _, names in codes.values()), np.nan)
    values[tuple(code for code, _ in codes.values())] = scores["score"].to_numpy(dtype=float)
    return values, {name: list(names) for name, (_, names) in codes.items()}


def _tested(differences: Array, n_permutations: int, seed: int) -> dict[str, Array]:
    """Test differences by flips of subjects: (n_subjects, n_pairs, n_regions) -> t, p, p_corrected of each."""
    n_subjects, *shape = differences.shape
    if n_subjects < 2 or 0 in shape:
        return {name: np.full(shape, np.nan) for name in ("t", "p", "p_corrected")}
    table = pd.DataFrame({"model": [str(i) for i in range(shape[0])], "layer": "", "role": REFERENCE})
    correction = Correction(alternative="two-sided", family=("voxels", "models"))
    test, result = over_subjects(differences, table, correction, n_permutations=n_permutations, seed=seed)
    return {"t": test.observed, "p": result.p, "p_corrected": result.p_corrected}
