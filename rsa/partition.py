"""What does a reference explain that others do not, and what do they explain together?

Everything follows from correlations of prepared RDMs (ranked, or centred, and of length 1), so all spheres, times and
layers are a few matrix products. The RDM of a sphere is built and ranked once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsa.comparisons import COMPARISONS, Comparison, score_rows, unit_length
from rsa.core import Array, Neighbourhood, Patterns, RDMs, ScoreMap, align, n_conditions_of
from rsa.errors import UserError, listed
from rsa.noise import normalise
from rsa.registry import pick
from rsa.searchlight import MANY_CENTRES, MANY_REFERENCES, Canvas, in_threads, prepared_rdms, reasons
from rsa.spheres import prepare

__all__ = [
    "FITS",
    "KINDS",
    "WeightedFit",
    "commonality",
    "partial",
    "partition",
    "partitioned",
    "semipartial",
    "weighted_fit",
]

COLLINEAR = 1e-9
"""Share of the variance of an RDM: where others leave less of it, what they leave is rounding."""

MOST_PREDICTORS = 4
"""Five would have 31 parts, which nobody could read."""

CORRELATIONS = {name: COMPARISONS[name] for name in ("spearman", "pearson")}
"""The comparisons that are correlations of what they prepare, so that variance can be explained."""


# ------------------------------------------------------------------------------------------- on arrays


def partial(brain: Array, references: Array, nuisance: Array | None = None, comparison: str = "spearman") -> Array:
    """Correlate what a nuisance leaves of brain RDMs with what it leaves of reference RDMs.

    RDMs are ranked first; then the nuisance is regressed out of both, and the residuals are correlated. They are not
    ranked again.

    Parameters
    ----------
    brain : array, shape (n_brain, n_pairs)
        Condensed RDMs.
    references : array, shape (n_references, n_pairs)
        Condensed RDMs.
    nuisance : array, shape (n_nuisance, n_pairs), optional
        RDMs that are controlled for, all at once. By default, the other references, for each of them.
    comparison : {"spearman", "pearson"}
        On what scale.

    Returns
    -------
    array, shape (n_references, n_brain)
        NaN where an RDM is constant or NaN, or the nuisance leaves less than 1e-9 of its variance.

    Raises
    ------
    UserError
        If an RDM that is controlled for is constant or NaN, or there is none.

    Examples
    --------
    >>> partial([[2, 4, 15, 20]], [[1, 2, 3, 4]], [[0, 0, 1, 1]], "pearson").round(6)
    array([[0.919145]])
    """
    return _partial(_unit(brain, comparison), _controls(_unit(references, comparison), _optional(nuisance, comparison)))


def semipartial(brain: Array, references: Array, nuisance: Array | None = None, comparison: str = "spearman") -> Array:
    """Correlate brain RDMs as they are with what a nuisance leaves of reference RDMs.

    The square is the share of the variance of a brain RDM that a reference explains beyond the nuisance. Parameters,
    result and errors are those of `partial`.
    """
    controls = _controls(_unit(references, comparison), _optional(nuisance, comparison))
    return _semipartial(_unit(brain, comparison), controls)


def commonality(brain: Array, a: Array, b: Array, nuisance: Array | None = None, comparison: str = "spearman") -> Array:
    """Measure the variance of brain RDMs that is explained by two others together.

    It is C = R2(brain | a) + R2(brain | b) - R2(brain | a, b). With fMRI for the brain, M/EEG at each time for `a` and
    the layers of a network for `b`, it is model-based fusion [1]_. It is below 0 where one RDM suppresses what the
    other does not share with the brain. It matters which of the three is explained: always the first.

    Parameters
    ----------
    brain : array, shape (n_brain, n_pairs)
        RDMs whose variance is explained.
    a, b : array, shape (n_a, n_pairs) and (n_b, n_pairs)
        RDMs that explain it.
    nuisance : array, shape (n_nuisance, n_pairs), optional
        What it explains is not counted: C = R2(brain | a, nuisance) + R2(brain | b, nuisance) - R2(brain | a, b,
        nuisance) - R2(brain | nuisance).
    comparison : {"spearman", "pearson"}
        On what scale.

    Returns
    -------
    array, shape (n_a, n_b, n_brain)
        Shares of the variance of a brain RDM. NaN where an RDM is constant or NaN, or the nuisance explains all
        of `a` or `b`.

    Raises
    ------
    UserError
        If an RDM of the nuisance is constant or NaN.

    References
    ----------
    .. [1] Hebart MN, Bankson BB, Harel A, Baker CI, Cichy RM (2018). The representational dynamics of task and object
       processing in humans. eLife 7:e32816.
    """
    control = _optional(nuisance, comparison)
    a_left, b_left = (_beyond(_unit(rdms, comparison), control) for rdms in (a, b))
    shared = _commonality(_unit(brain, comparison), a_left, b_left)  # (n_b * n_a, n_brain)
    return shared.reshape(len(b_left), len(a_left), -1).swapaxes(0, 1)


def partition(
    brain: Array, predictors: Mapping[str, Array], nuisance: Array | None = None, comparison: str = "spearman"
) -> dict[str, Array]:
    """Divide the variance of brain RDMs that predictors explain into what each has alone and what they share.

    Parameters
    ----------
    brain : array, shape (n_brain, n_pairs)
        RDMs whose variance is explained.
    predictors : mapping from name to array, shape (n_rdms, n_pairs)
        2 to 4 predictors, each of one RDM or several that explain together, such as all layers of a network.
    nuisance : array, shape (n_nuisance, n_pairs), optional
        What it explains is not counted.
    comparison : {"spearman", "pearson"}
        On what scale.

    Returns
    -------
    dict of arrays, shape (n_brain,)
        "unique:a" is what only `a` explains, "shared:a+b" what `a` and `b` explain, and no other: one for each of the
        2^n - 1 subsets of predictors. The sum of all is the R2 of all predictors (beyond the nuisance). Shared parts
        can be below 0 [1]_. R2 is not adjusted for the number of RDMs, and of random RDMs it is above 0.

    Raises
    ------
    UserError
        If there are not 2 to 4 predictors, an RDM that explains is constant or NaN, or the nuisance leaves nothing of a
        predictor.

    References
    ----------
    .. [1] Nimon K, Oswald FL (2013). Understanding the results of multiple linear regression: beyond standardized
       regression coefficients. Organ Res Methods 16:650-674.
    """
    rows = {name: _required(_unit(rdms, comparison), f"predictor {name!r}") for name, rdms in predictors.items()}
    names, parts = _parts(rows, _optional(nuisance, comparison))
    return dict(zip(names, parts(_unit(brain, comparison)), strict=True))


# -------------------------------------------------------------------------------------- the same, by steps


class _Control(NamedTuple):
    """References without what a nuisance explains."""

    residuals: Array
    """Shape (n_references, n_pairs), each of length 1, or NaN where the nuisance leaves nothing."""
    basis: Array
    """All that the nuisance explains: shape (n_dimensions, n_pairs), orthonormal."""


class _Controls(NamedTuple):
    """Controls of all references, and the axes in whose coordinates they are given, if not in pairs of conditions."""

    each: list[_Control]
    axes: Array | None = None

    def seen_by(self, brain: Array) -> Array:
        """Return brain RDMs of length 1 in the coordinates of the controls; what is outside of the axes is left out."""
        return brain if self.axes is None else brain @ self.axes.T


def _unit(rdms: Array, comparison: str) -> Array:
    """Return prepared RDMs of length 1, whose products are correlations; NaN where they are constant or NaN."""
    return unit_length(pick(CORRELATIONS, comparison, "comparison").prepare(np.atleast_2d(rdms)))


def _required(rows: Array, what: str) -> Array:
    """Return the rows if all of them can explain something."""
    (undefined,) = np.nonzero(np.isnan(rows).any(axis=1))
    if len(undefined):
        raise UserError(
            f"RDM {undefined[0] + 1} of {len(rows)} of the {what} has NaN or is the same for all pairs, so it can "
            "explain nothing; leave it out."
        )
    return rows


def _optional(nuisance: Array | None, comparison: str) -> Array | None:
    return None if nuisance is None else _required(_unit(nuisance, comparison), "nuisance")


def _control(references: Array, nuisance: Array) -> _Control:
    _, lengths, directions = np.linalg.svd(nuisance, full_matrices=False)
    basis = directions[lengths**2 > COLLINEAR * lengths.max(initial=0) ** 2]
    residuals = references - references @ basis.T @ basis
    left = np.vecdot(residuals, residuals)[:, None] > COLLINEAR
    return _Control(unit_length(np.where(left, residuals, np.nan)), basis)


def _controls(references: Array, nuisance: Array | None) -> _Controls:
    """Control all references for one nuisance, or each for the others."""
    if nuisance is not None:
        return _Controls([_control(references, nuisance)])
    if len(references) < 2:
        raise UserError("There is nothing to control for: give a nuisance, or 2 references or more.")
    _required(references, "references")
    axes = np.linalg.qr(references.T)[0].T  # (n_references, n_pairs), orthonormal
    inside = references @ axes.T  # (n_references, n_references)
    each = [_control(inside[[row]], np.delete(inside, row, axis=0)) for row in range(len(references))]
    return _Controls(each, axes)


def _beyond(references: Array, nuisance: Array | None) -> Array:
    """Return what a nuisance leaves of references; all, if there is none."""
    return references if nuisance is None else _control(references, nuisance).residuals


def _semipartial(brain: Array, controls: _Controls) -> Array:
    brain = controls.seen_by(brain)
    return np.asarray(np.clip(np.vstack([control.residuals @ brain.T for control in controls.each]), -1, 1))


def _partial(brain: Array, controls: _Controls) -> Array:
    brain = controls.seen_by(brain)
    scores = [control.residuals @ brain.T / _left(brain, control) for control in controls.each]
    return np.asarray(np.clip(np.vstack(scores), -1, 1))


def _left(brain: Array, control: _Control) -> Array:
    """Return the length of what the nuisance leaves of each brain RDM, shape (n_brain,); NaN where it is nothing."""
    left = 1 - ((brain @ control.basis.T) ** 2).sum(axis=1)
    return np.asarray(np.sqrt(np.where(left > COLLINEAR, left, np.nan)))


def _commonality(brain: Array, a: Array, b: Array, dtype: npt.DTypeLike = np.float64) -> Array:
    """Return the commonality of each `b` with all `a`, shape (n_b * n_a, n_brain).

    R2 of two predictors is (p^2 + q^2 - 2 p q r) / (1 - r^2), if they correlate with the brain by p and q, and with
    each other by r; so C = r (2 p q - r (p^2 + q^2)) / (1 - r^2), and p^2 if they are the same.
    """
    with_a, with_b, between = a @ brain.T, b @ brain.T, b @ a.T
    squares = with_a**2
    shared: Array = np.empty((len(b), len(a), len(brain)), dtype)
    for row, (q, r) in enumerate(zip(with_b, between[:, :, None], strict=True)):
        apart = 1 - r**2
        same = apart <= COLLINEAR
        parts = r * (2 * with_a * q - r * (squares + q**2)) / np.where(same, 1, apart)  # (n_a, n_brain)
        shared[row] = np.where(same, squares, parts)
    return shared.reshape(-1, len(brain))


def _parts(predictors: Mapping[str, Array], nuisance: Array | None) -> tuple[list[str], Callable[[Array], Array]]:
    """Return the names of all parts, and what makes them of brain RDMs: (n_brain, n_pairs) -> (n_parts, n_brain)."""
    if not 2 <= len(predictors) <= MOST_PREDICTORS:
        raise UserError(
            f"Variance is divided between 2 to {MOST_PREDICTORS} predictors, not {len(predictors)}: "
            f"{listed(list(predictors))}."
        )
    left = {name: _beyond(rows, nuisance) for name, rows in predictors.items()}
    kept = {name: rows[~np.isnan(rows).any(axis=1)] for name, rows in left.items()}
    if nothing := [name for name, rows in kept.items() if not len(rows)]:
        raise UserError(f"The nuisance explains all of the predictor {nothing[0]!r}; leave one of them out.")
    rows = np.vstack(list(kept.values()))
    owners = np.repeat(np.arange(len(kept)), [len(own) for own in kept.values()])
    subsets = [set(some) for size in range(1, len(kept) + 1) for some in combinations(range(len(kept)), size)]
    members = [np.isin(owners, list(some)) for some in subsets]
    roots = [_inverse_root(rows[of] @ rows[of].T) for of in members]
    signs = _inclusion_exclusion(subsets)

    def parts(brain: Array) -> Array:
        correlations = brain @ rows.T  # (n_brain, n_rows)
        explained = [((correlations[:, of] @ root) ** 2).sum(axis=1) for of, root in zip(members, roots, strict=True)]
        divided: Array = signs @ np.stack(explained)  # (n_parts, n_brain)
        return divided

    labels = ["+".join(list(kept)[place] for place in sorted(some)) for some in subsets]
    return [f"{'shared' if '+' in label else 'unique'}:{label}" for label in labels], parts


def _inverse_root(correlations: Array) -> Array:
    """Return W, shape (n_rows, rank), so that the squared length of r W is the R2 of correlations r with the rows."""
    variances, axes = np.linalg.eigh(correlations)
    kept = variances > COLLINEAR * variances.max()
    root: Array = axes[:, kept] / np.sqrt(variances[kept])
    return root


def _inclusion_exclusion(subsets: Sequence[set[int]]) -> Array:
    """Return the signs, (n_parts, n_subsets), that make parts of the R2 of all subsets.

    What is explained by all of `part` and by no other is the sum over subsets `some` of `part` of R2(some and all
    others), plus for an odd number of `some`, minus for an even one (none as well).
    """
    everything = subsets[-1]
    signs = np.zeros((len(subsets), len(subsets)))
    for row, part in enumerate(subsets):
        for column, subset in enumerate(subsets):
            if everything - part <= subset:
                signs[row, column] = 1 if len(subset & part) % 2 else -1
    return signs


# ------------------------------------------------------------------------------------ in every sphere


class _Design(NamedTuple):
    """What a kind of map is made of: prepared RDMs of length 1, and the tables that describe them."""

    references: Array
    table: pd.DataFrame
    nuisance: Array | None
    movie: Array | None
    times_s: Array | None
    by: str


class _Measure(NamedTuple):
    """What is measured of brain RDMs: a table of n_maps rows, and (n_brain, n_pairs) -> (n_maps, n_brain)."""

    table: pd.DataFrame
    score: Callable[[Array], Array]


def _measure_partial(design: _Design) -> _Measure:
    controls = _controls(design.references, design.nuisance)
    return _Measure(design.table.assign(statistic="partial"), lambda brain: _partial(brain, controls))


def _measure_semipartial(design: _Design) -> _Measure:
    controls = _controls(design.references, design.nuisance)
    return _Measure(design.table.assign(statistic="semipartial"), lambda brain: _semipartial(brain, controls))


def _measure_commonality(design: _Design) -> _Measure:
    if design.movie is None or design.times_s is None:
        raise UserError("Commonality needs a movie: RDMs with a column 'time_s' in their table.")
    if "time_s" in design.table:
        raise UserError("Commonality takes references without 'time_s'; the times are those of the movie.")
    if len(set(design.times_s)) < len(design.times_s):
        raise UserError("Commonality needs a movie of one RDM for each time; select a subject, or average subjects.")
    movie, references = (_beyond(rows, design.nuisance) for rows in (design.movie, design.references))
    n_references, n_times = len(references), len(movie)
    table = design.table.iloc[np.repeat(np.arange(n_references), n_times)]
    table = table.assign(time_s=np.tile(design.times_s, n_references), statistic="commonality")
    return _Measure(table, lambda brain: _commonality(brain, movie, references, np.float32))


def _measure_partition(design: _Design) -> _Measure:
    if design.by not in design.table:
        raise UserError(
            f"There is no column {design.by!r} that names predictors; the references have {listed(list(design.table))}."
        )
    labels = design.table[design.by].astype(str)
    rows = {name: _required(design.references[labels == name], f"predictor {name!r}") for name in labels.unique()}
    names, parts = _parts(rows, design.nuisance)
    return _Measure(pd.DataFrame({"model": "+".join(rows), "layer": "", "statistic": names}), parts)


KINDS: dict[str, Callable[[_Design], _Measure]] = {
    "partial": _measure_partial,
    "semipartial": _measure_semipartial,
    "commonality": _measure_commonality,
    "partition": _measure_partition,
}
"""What can be mapped, each by what makes the measure of it."""


def partitioned(
    patterns: Patterns,
    neighbourhood: Neighbourhood,
    references: RDMs,
    nuisance: RDMs | None = None,
    *,
    kind: str = "partial",
    movie: RDMs | None = None,
    by: str = "model",
    distance: str = "correlation",
    comparison: str = "spearman",
    min_voxels: int = 2,
    shrinkage: str | None = None,
    out: Array | None = None,
    n_threads: int = 1,
    chunk_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ScoreMap:
    """Map what references explain of the RDM of every neighbourhood, alone or together.

    Parameters
    ----------
    patterns, neighbourhood, references, distance, min_voxels, shrinkage, n_threads, chunk_size, progress
        As in `rsa.searchlight.compare`, with responses at one delay.
    nuisance : RDMs, optional
        Controlled for; for `partial` and `semipartial` by default the other references, for each of them.
    kind : {"partial", "semipartial", "commonality", "partition"}
        The function of the same name is what is mapped.
    movie : RDMs, optional
        One for each time, with `time_s`: the M/EEG that shares variance with each reference. For `commonality` only.
    by : str
        Column of the references whose labels are the predictors of a `partition`: by "model", all layers of a model are
        one predictor.
    comparison : {"spearman", "pearson"}
        On what scale variance is explained.
    out : array of float32, shape (n_maps, n_voxels or n_regions), optional
        Filled with the scores and kept as the values of the result, without a copy: `numpy.memmap` for what exceeds
        memory.

    Returns
    -------
    ScoreMap
        The statistic is "partial" or "semipartial", one row per reference; "commonality", for each reference a row per
        time; or "unique:<name>" and "shared:<name>+<name>", the parts of a partition. A sphere whose RDM the nuisance
        explains wholly has no partial correlation, for the reason that a constant RDM has.

    Raises
    ------
    UserError
        As `rsa.searchlight.compare` and the function on arrays; and if `out` does not fit.
    """
    measurer, likeness = pick(KINDS, kind, "kind"), pick(CORRELATIONS, comparison, "comparison")
    if movie is not None and kind != "commonality":
        raise UserError(f"A movie is for the kind 'commonality', not {kind!r}; leave it out.")
    if shrinkage is not None:
        patterns = normalise(patterns, "multivariate", shrinkage=shrinkage)
    spheres, reference_rows = prepare(patterns, neighbourhood, references, distance, likeness, min_voxels, shrinkage)
    design = _design(patterns, unit_length(reference_rows), references, nuisance, movie, by, comparison)
    measure = measurer(design)
    canvas = Canvas(patterns, neighbourhood, spheres, 0 if out is not None else len(measure.table))
    if out is not None:
        canvas.scores = _blank(out, (len(measure.table), len(canvas.reason)))

    def work(centres: range) -> None:
        """Draw on columns of its own, so that no result waits for another."""
        prepared = prepared_rdms(spheres, likeness, centres)
        scores = measure.score(unit_length(prepared))
        canvas.draw(centres, scores, reasons(scores, prepared))

    n_rows = len(reference_rows) + (0 if movie is None else len(movie))
    size = chunk_size or (MANY_CENTRES if n_rows >= MANY_REFERENCES else 1)
    for centres, _ in in_threads(work, spheres.chunks(size), n_threads):
        if progress is not None:
            progress(len(centres))
    return canvas.score_map(measure.table)


def _design(
    patterns: Patterns,
    reference_rows: Array,
    references: RDMs,
    nuisance: RDMs | None,
    movie: RDMs | None,
    by: str,
    comparison: str,
) -> _Design:
    """Prepare what explains, with the conditions in the order of the patterns."""
    rows = {
        what: _unit(align(patterns.conditions, rdms, "patterns", what).values, comparison)
        for what, rdms in (("nuisance", nuisance), ("movie", movie))
        if rdms is not None
    }
    return _Design(
        references=reference_rows,
        table=references.table,
        nuisance=_required(rows["nuisance"], "nuisance") if "nuisance" in rows else None,
        movie=rows.get("movie"),
        times_s=movie.table["time_s"].to_numpy() if movie is not None and "time_s" in movie.table else None,
        by=by,
    )


def _blank(out: Array, shape: tuple[int, int]) -> Array:
    """Fill with NaN what the caller gave to write to."""
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != np.float32:
        found = f"{getattr(out, 'dtype', type(out).__name__)} of shape {getattr(out, 'shape', ())}"
        raise UserError(f"`out` is a float32 array of shape {shape}, not {found}; make it so, or leave it out.")
    out[...] = np.nan
    return out


# ----------------------------------------------------------------------------------- weighted models


@dataclass(frozen=True, eq=False)
class WeightedFit:
    """How well weighted sums of layer RDMs predict brain RDMs of conditions that they have not seen.

    Parameters
    ----------
    scores : array, shape (n_brain,)
        Mean score of the predictions over folds.
    weights : array, shape (n_brain, n_layers)
        Mean over folds, for layer RDMs as they came.
    """

    scores: Array
    weights: Array


def _nnls(layers: Array, brain: Array, penalty: float) -> Array:
    """Return non-negative least-squares weights, (n_brain, n_layers); the penalty plays no part."""
    from scipy.optimize import nnls

    basis, triangle = np.linalg.qr(layers.T)  # the same problem, of n_layers equations
    return np.stack([nnls(triangle, target)[0] for target in brain @ basis])


def _ridge(layers: Array, brain: Array, penalty: float) -> Array:
    """Return ridge weights, (n_brain, n_layers), each layer on the scale of its standard deviation."""
    spread = layers.std(axis=1)
    spread = np.where(spread > 0, spread, 1)
    scaled, n_pairs = layers / spread[:, None], layers.shape[1]
    gram = scaled @ scaled.T + penalty * n_pairs * np.eye(len(layers))
    weights: Array = np.linalg.solve(gram, scaled @ brain.T).T / spread
    return weights


FITS: dict[str, Callable[[Array, Array, float], Array]] = {"nnls": _nnls, "ridge": _ridge}
"""(n_layers, n_pairs) and (n_brain, n_pairs), both centred, and a penalty -> weights (n_brain, n_layers)."""


def weighted_fit(
    brain: Array,
    layers: Array,
    *,
    fit: str = "nnls",
    comparison: str = "spearman",
    n_folds: int = 4,
    penalty: float = 0.01,
    seed: int = 0,
) -> WeightedFit:
    """Predict brain RDMs by weighted sums of layer RDMs, and score the predictions on conditions left out [1]_.

    Conditions are put into folds by chance. Weights and a constant are fitted to pairs of conditions that are both
    outside of a fold, and score on pairs that are both in it; mixed pairs are not used.

    Parameters
    ----------
    brain : array, shape (n_brain, n_pairs)
        Condensed RDMs.
    layers : array, shape (n_layers, n_pairs)
        Condensed RDMs. Squared distances add up over features, so weights of at least 0 are weights of features.
    fit : {"nnls", "ridge"}
        A key of `FITS`: weights of at least 0, or weights with a penalty on their squares.
    comparison : str
        A key of `COMPARISONS`, by which predictions score.
    n_folds : int
        Each fold has 3 conditions at least.
    penalty : float
        Of ridge: 0 is least squares; 1 counts as much as the variance of a layer.
    seed : int
        Of the folds, which are the same for all brain RDMs.

    Returns
    -------
    WeightedFit
        Scores and weights; NaN where a brain RDM has NaN, or is constant in a fold. A prediction that is constant, as
        all weights are 0, predicts nothing and scores 0.

    Raises
    ------
    UserError
        If a layer RDM is constant or NaN, there are fewer than 2 folds, or a fold has fewer than 3 conditions.

    References
    ----------
    .. [1] Storrs KR, Kietzmann TC, Walther A, Mehrer J, Kriegeskorte N (2021). Diverse deep neural networks all predict
       human inferior temporal cortex well, after training and fitting. J Cogn Neurosci 33:2044-2064.
    """
    solve, likeness = pick(FITS, fit, "fit"), pick(COMPARISONS, comparison, "comparison")
    brain, layers = (np.atleast_2d(np.asarray(rdms, dtype=np.float64)) for rdms in (brain, layers))
    _required(_unit(layers, "pearson"), "layers")
    defined = np.isfinite(brain).all(axis=1)
    scores, weights = np.full(len(brain), np.nan), np.full((len(brain), len(layers)), np.nan)
    if defined.any():
        folds = [
            _fold(brain[defined], layers, train, test, likeness, lambda x, y: solve(x, y, penalty))
            for train, test in _leave_conditions_out(n_conditions_of(brain.shape[1]), n_folds, seed)
        ]
        scores[defined] = np.mean([fold.scores for fold in folds], axis=0)
        weights[defined] = np.mean([fold.weights for fold in folds], axis=0)
    return WeightedFit(scores, weights)


def _leave_conditions_out(n_conditions: int, n_folds: int, seed: int) -> list[tuple[Array, Array]]:
    """Return for each fold which pairs are trained on and which are tested, shape (n_pairs,) each."""
    if n_folds < 2 or n_conditions // n_folds < 3:
        raise UserError(
            f"Weights are tested in 2 folds or more of 3 conditions or more; {n_folds} folds of {n_conditions} "
            "conditions are not. Change n_folds."
        )
    first, second = np.triu_indices(n_conditions, 1)
    shuffled = np.random.default_rng(seed).permutation(n_conditions)
    in_test = [np.isin(np.arange(n_conditions), fold) for fold in np.array_split(shuffled, n_folds)]
    return [(~left_out[first] & ~left_out[second], left_out[first] & left_out[second]) for left_out in in_test]


def _fold(
    brain: Array,
    layers: Array,
    train: Array,
    test: Array,
    likeness: Comparison,
    solve: Callable[[Array, Array], Array],
) -> WeightedFit:
    """Fit weights to some pairs and score their predictions of others."""
    seen = layers[:, train] - layers[:, train].mean(axis=1, keepdims=True)
    weights = solve(seen, brain[:, train] - brain[:, train].mean(axis=1, keepdims=True))
    predicted, unseen = weights @ layers[:, test], brain[:, test]
    scores = score_rows(likeness.prepare(predicted), likeness.prepare(unseen), likeness)
    says_nothing = (np.ptp(predicted, axis=1) == 0) & (np.ptp(unseen, axis=1) > 0)
    return WeightedFit(np.where(says_nothing, 0, scores), weights)
