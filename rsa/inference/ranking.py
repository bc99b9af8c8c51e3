"""Which network fits a region best? Layers are chosen and scored on other conditions, and on other subjects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from rsa.comparisons import COMPARISONS, Comparison
from rsa.core import FEWEST_CONDITIONS, Array, RDMs, align
from rsa.errors import UserError, listed
from rsa.inference.designs import Design
from rsa.inference.flips import resampled
from rsa.inference.subjects import PRECISION, subject_test
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
    "error_of_mean",
    "halves_of",
    "interval_of_mean",
    "mean_interval",
    "ranked",
    "resampled_scores",
]

FEWEST_FOR_HALVES = 2 * FEWEST_CONDITIONS
"""Conditions of which two halves have scores."""

SAME_MEAN = 1e-9
"""Mean scores that differ by less than this, which is rounding, are equal: of such layers the first is chosen."""

RANKING_COLUMNS = {
    "region": "Region of interest",
    "rank": "Place among the models in this region, 1 for the highest score",
    "model": "Network, or name of the reference",
    "score": "Mean over subjects of the score with conditions on which the layer was not chosen; with several "
    "subjects, it was chosen by the others",
    "lower": "Confidence interval of this mean over subjects, with layers chosen anew for other subjects, lower bound",
    "upper": "Confidence interval of this mean over subjects, with layers chosen anew for other subjects, upper bound",
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
    "lower": "Confidence interval of this mean over subjects, with layers chosen anew for other subjects, lower bound",
    "upper": "Confidence interval of this mean over subjects, with layers chosen anew for other subjects, upper bound",
    "t": "Difference divided by its standard error; none where models are the same",
    "p": "p of t under flips of the signs of subjects, two-sided, uncorrected",
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
    samples : mapping
        For each region and model the mean score of bootstrap samples of the subjects, shape (n_bootstrap,); the samples
        are the same for all models of a region.
    """

    table: pd.DataFrame
    scores: pd.DataFrame
    samples: Mapping[tuple[str, str], Array]


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
    n_bootstrap: int = 500,
) -> Ranking:
    """Rank models in each region, without an advantage for those with more layers.

    For each subject, the layer of a model is the one with the highest mean score of the other subjects on a random half
    of the conditions; its score is that of the subject itself on the other half, both ways, averaged over splits
    [1]_, [2]_. So neither noise of a subject, nor what is peculiar to some conditions, can choose a layer that it then
    scores. Of a single subject the layer is chosen by the subject itself, on the other half.

    Subjects choose for each other, so their scores are not independent, and other subjects might choose other layers.
    Intervals are therefore made of bootstrap samples of the subjects, with layers chosen anew in each (see
    `interval_of_mean`).

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
    n_bootstrap : int
        How many samples of subjects these are made of.

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
    names, order = sorted(brain.conditions), np.argsort(brain.table["subject"].astype(str), kind="stable")
    brain, references = brain.subset(order).reordered(names), align(names, references, "brain RDMs")
    halves, compared = halves_of(len(names), n_splits, seed), pick(COMPARISONS, comparison, "comparison")
    regions = [_Region(str(name), brain.subset(rows)) for name, rows in _rows_of(brain.table, "region").items()]
    by_region = [_scores_of_halves(region, references, halves, compared) for region in regions]
    places = [_places(scores, level, n_bootstrap, seed) for scores in by_region]
    table, scores = (pd.concat([one[i] for one in places], ignore_index=True) for i in (0, 1))
    table = table.assign(n_conditions=len(names))[[name for name in RANKING_COLUMNS if name != "n_parameters"]]
    return Ranking(table, scores, {key: of for one in places for key, of in one[2].items()})


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
    return _highest(means)


def _highest(means: Array) -> Array:
    """Return the layer of the highest mean, the first of equals: (..., n_layers) -> (...); NaN is lower than any."""
    means = np.where(np.isnan(means), -np.inf, means)
    return np.asarray((means >= means.max(axis=-1, keepdims=True) - SAME_MEAN).argmax(axis=-1))


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
    candidates = _candidates(scores)
    chosen = chosen_layers(candidates)
    own, is_known = _scored(candidates, chosen)
    return own, np.where(is_known, chosen, -1)


def _candidates(scores: Array) -> Array:
    """Set to NaN the scores of layers that have none on a half, on both halves of the split."""
    other = np.arange(len(scores)) ^ 1
    defined: Array = np.asarray(np.isfinite(scores).all(axis=1))  # (n_halves, n_layers)
    return np.where((defined & defined[other])[:, None, :], scores, np.nan)


def _scored(candidates: Array, chosen: Array) -> tuple[Array, Array]:
    """Return the mean score of each subject, (n_subjects,), and which choices have one, (n_halves, n_subjects)."""
    other = np.arange(len(candidates)) ^ 1
    tested = np.take_along_axis(candidates[other], chosen[:, :, None], axis=2)[:, :, 0]
    is_known: Array = np.asarray(np.isfinite(tested))
    sums = np.where(is_known, tested, 0).sum(axis=0)
    return sums / np.where(is_known.any(axis=0), is_known.sum(axis=0), np.nan), is_known


def resampled_scores(scores: Array, weights: Array) -> Array:
    """Return the mean cross-validated score of samples of subjects, with layers chosen anew in each.

    Parameters
    ----------
    scores : array, shape (n_halves, n_subjects, n_layers)
        As in `cross_validated`.
    weights : array, shape (n_samples, n_subjects)
        How often each subject is in each sample. A subject is never among those who choose for it, and chooses for
        itself where it is alone in a sample.

    Returns
    -------
    array, shape (n_samples,)
    """
    candidates = _candidates(scores)
    means = np.empty(len(weights))
    for number, weight in enumerate(weights):
        own = weight[:, None] * candidates
        others = own.sum(axis=1, keepdims=True) - own
        is_alone = (weight.sum() - weight == 0)[:, None]
        of_others = others / np.where(is_alone, 1, weight.sum() - weight[:, None])
        chosen = _highest(np.where(is_alone, candidates, of_others))
        means[number] = weight @ _scored(candidates, chosen)[0] / weight.sum()
    return means


def error_of_mean(values: Array, samples: Array) -> float:
    """Return the standard error of a mean over subjects: by bootstrap samples, and no smaller than by the subjects.

    Parameters
    ----------
    values : array, shape (n_subjects,)
        Scores.
    samples : array, shape (n_samples,)
        Means of bootstrap samples, in which what is random of the scores is done anew. Their standard deviation is too
        small by sqrt((n - 1) / n), which is put right.
    """
    n_subjects = len(values)
    if n_subjects < 2 or not np.isfinite(values).all():
        return float("nan")
    by_subjects = float(values.std(ddof=1)) / np.sqrt(n_subjects)
    by_samples = float(samples.std(ddof=1)) * np.sqrt(n_subjects / (n_subjects - 1))
    return float(max(by_subjects, by_samples if np.isfinite(by_samples) else 0.0))


def interval_of_mean(values: Array, samples: Array, level: float) -> tuple[float, float]:
    """Return the confidence interval of a mean over subjects: as many standard errors as Student's t has it.

    Parameters are those of `error_of_mean`; NaN of fewer than 2 subjects, or with gaps.
    """
    from scipy.special import stdtrit

    error = error_of_mean(values, samples)
    if np.isnan(error):
        return error, error
    half, mean = float(stdtrit(len(values) - 1, (1 + level) / 2)) * error, float(values.mean())
    return mean - half, mean + half


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


def _places(
    found: _Scores, level: float, n_bootstrap: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, dict[tuple[str, str], Array]]:
    """Put the models of a region in order, and list the scores of its subjects, and of samples of them."""
    low, high = (_mean(bound) for bound in found.ceilings.T)
    weights = resampled(max(1, len(found.region.subjects)), n_bootstrap, seed)
    rows, scores, samples = [], [], {}
    for model, layers in _rows_of(found.table, "model").items():
        usable = layers[(found.table["why"].iloc[layers] == "").to_numpy()]
        own, drawn, row = _place(found, usable, weights, level)
        samples[(found.region.name, str(model))] = drawn
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
    return table.assign(rank=place), pd.concat(scores, ignore_index=True).assign(region=found.region.name), samples


def _place(found: _Scores, layers: Array, weights: Array, level: float) -> tuple[Array, Array, dict[str, Any]]:
    """Return the scores of subjects and samples with one model, without some of its layers, and what is said of it."""
    of_none = np.full(len(found.region.subjects), np.nan)
    if not len(layers) or not len(of_none):
        nothing: dict[str, Any] = dict.fromkeys(
            ("score", "lower", "upper", "layer_share", "score_not_cross_validated"), np.nan
        )
        return (
            of_none,
            np.full(len(weights), np.nan),
            {**nothing, "layer": "", "n_layers": len(layers), "is_scored": np.ones(0, dtype=bool)},
        )
    own, chosen = cross_validated(found.of_halves[:, :, layers])
    counts = np.bincount(chosen[chosen >= 0], minlength=len(layers))
    drawn = resampled_scores(found.of_halves[:, :, layers], weights)
    lower, upper = interval_of_mean(own, drawn, level)
    return (
        own,
        drawn,
        {
            "score": float(own.mean()),
            "lower": lower,
            "upper": upper,
            "layer": found.table["layer"].iloc[layers[counts.argmax()]] if counts.any() else "",
            "layer_share": counts.max() / counts.sum() if counts.any() else np.nan,
            "score_not_cross_validated": float(found.of_all[:, layers].mean(axis=0).max()),
            "n_layers": len(layers),
            "is_scored": chosen >= 0,
        },
    )


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
    ranking: Ranking, *, level: float = 0.95, n_permutations: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """Compare each pair of models within subjects: the difference of their scores, with an interval and a p.

    A difference divided by its standard error (see `error_of_mean`) is compared with t of differences whose signs are
    flipped subject by subject, in all ways where there are no more than `n_permutations`; p are corrected for all pairs
    and regions by the highest absolute t of each flip [1]_.

    Parameters
    ----------
    ranking : Ranking
        From `ranked`.
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
    values, labels = _cube(ranking.scores)  # (n_subjects, n_regions, n_models)
    pairs = list(combinations(range(len(labels["model"])), 2))
    keys = [(region, labels["model"][a], labels["model"][b]) for region in labels["region"] for a, b in pairs]
    each = [values[:, place, a] - values[:, place, b] for place in range(len(labels["region"])) for a, b in pairs]
    drawn = [ranking.samples[(region, a)] - ranking.samples[(region, b)] for region, a, b in keys]
    known = [of[np.isfinite(of)] for of in each]
    bounds = [interval_of_mean(of, samples, level) for of, samples in zip(known, drawn, strict=True)]
    errors = np.array([error_of_mean(of, samples) for of, samples in zip(each, drawn, strict=True)])
    t = np.array([_mean(of) for of in each]) / np.where(errors > SAME_MEAN, errors, np.nan)
    p, corrected = _tested(np.stack(each, axis=1), t, n_permutations, seed) if each else (t, t)
    labelled = pd.DataFrame(keys, columns=["region", "model_a", "model_b"])
    numbers = {"difference": [_mean(of) for of in known], "n_subjects": [len(of) for of in known]}
    lower, upper = np.reshape(bounds, (-1, 2)).T
    table = labelled.assign(**numbers, lower=lower, upper=upper, t=t, p=p, p_corrected=corrected)
    return table[list(PAIR_COLUMNS)]


def _cube(scores: pd.DataFrame) -> tuple[Array, Mapping[str, list[str]]]:
    """Put scores of subjects into an array (n_subjects, n_regions, n_models), NaN where there is none."""
    codes = {name: pd.factorize(scores[name].astype(str)) for name in ("subject", "region", "model")}
    values = np.full(tuple(len(names) for _, names in codes.values()), np.nan)
    values[tuple(code for code, _ in codes.values())] = scores["score"].to_numpy(dtype=float)
    return values, {name: list(names) for name, (_, names) in codes.items()}


def _tested(differences: Array, t: Array, n_permutations: int, seed: int) -> tuple[Array, Array]:
    """Compare t of differences, (n_tests,), with t under flips: p, and p by the highest; NaN where there is no t.

    Parameters
    ----------
    differences : array, shape (n_subjects, n_tests)
        NaN where a subject has none.
    """
    p, corrected = np.full((2, len(t)), np.nan)
    tested = np.flatnonzero(np.isfinite(t))
    if not len(tested):
        return p, corrected
    test = subject_test(differences[:, None, tested], n_permutations=n_permutations, seed=seed)
    flipped = np.abs(test.permuted(0, test.n_permutations)[:, 0])  # (n_flips, n_tests)
    flipped = np.where(np.isfinite(flipped), flipped, -np.inf)
    least = np.abs(t[tested]) - PRECISION
    p[tested] = (1 + (flipped >= least).sum(axis=0)) / (1 + len(flipped))
    corrected[tested] = (1 + (flipped.max(axis=1)[:, None] >= least).sum(axis=0)) / (1 + len(flipped))
    return p, corrected
