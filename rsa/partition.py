"""What does a reference explain that others do not, and what do they explain together?

Everything follows from correlations of prepared RDMs (ranked, or centred, and of length 1), so all spheres, times and
layers are a few matrix products. The RDM of a sphere is built and ranked once.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsa.comparisons import COMPARISONS, unit_length
from rsa.core import PART, Array, RDMs, align
from rsa.errors import UserError, listed
from rsa.measures import Measure, Products, require_defined
from rsa.registry import pick

__all__ = [
    "CORRELATIONS",
    "commonality",
    "commonality_measure",
    "partial",
    "partial_measure",
    "partition",
    "partition_measure",
    "semipartial",
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
    rows = {name: require_defined(_unit(rdms, comparison), f"predictor {name!r}") for name, rdms in predictors.items()}
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


def _optional(nuisance: Array | None, comparison: str) -> Array | None:
    return None if nuisance is None else require_defined(_unit(nuisance, comparison), "nuisance")


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
    require_defined(references, "references")
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


# --------------------------------------------------------------------------- the same, of labelled RDMs


def partial_measure(
    references: RDMs, nuisance: RDMs | None = None, *, kind: str = "partial", comparison: str = "spearman"
) -> Measure:
    """Measure the partial or semipartial correlation of brain RDMs with each reference.

    Parameters
    ----------
    references : RDMs
        One row of the result for each.
    nuisance : RDMs, optional
        Controlled for, all at once; by default the other references, for each of them.
    kind : {"partial", "semipartial"}
        The function of the same name; also the `statistic`.
    comparison : {"spearman", "pearson"}
        On what scale.

    Raises
    ------
    UserError
        If a name is unknown, conditions differ, or an RDM that is controlled for is constant or NaN.
    """
    correlate = pick({"partial": _partial, "semipartial": _semipartial}, kind, "kind")
    rows, control = _unit(references.values, comparison), _optional(_like(references, nuisance), comparison)

    def correlates(references: Array, control: Array | None) -> Callable[[Array], Array]:
        controls = _controls(references, control)
        return lambda brain: correlate(brain, controls)

    return _measure(references, references.table.assign(statistic=kind), correlates, [rows, control], comparison)


def _measure(
    references: RDMs,
    table: pd.DataFrame,
    score_of: Callable[..., Callable[[Array], Array]],
    known: Sequence[Array | None],
    comparison: str,
) -> Measure:
    """Measure brain RDMs by what they have in common with some others, which all measures of this module do.

    Parameters
    ----------
    score_of : callable
        From these others to a function from brain RDMs to numbers, in any orthonormal coordinates of pairs.
    known : sequence of array, shape (n_rdms, n_pairs), or None
        The others, of length 1.
    """
    rows = np.vstack([rdms for rdms in known if rdms is not None])
    _, lengths, directions = np.linalg.svd(rows[~np.isnan(rows).any(axis=1)], full_matrices=False)
    axes = directions[lengths**2 > COLLINEAR**2 * lengths.max(initial=0) ** 2]
    seen = score_of(*(None if rdms is None else rdms @ axes.T for rdms in known))

    def finish(products: Array) -> Array:
        *some, n_axes, n_brain = products.shape
        brain = np.swapaxes(products, -1, -2).reshape(-1, n_axes).astype(np.float64)
        found = seen(brain)  # (n_rows, n_some * n_brain)
        return np.moveaxis(found.reshape(len(found), *some, n_brain), 0, -2)

    score = score_of(*known)
    return Measure(
        references.conditions,
        table,
        lambda brain, _: score(_unit(brain, comparison)),
        products=Products(lambda brain: _unit(brain, comparison), axes, finish, is_linear=False),
    )


def commonality_measure(
    references: RDMs,
    movie: RDMs,
    nuisance: RDMs | None = None,
    *,
    explained: str = "fmri",
    comparison: str = "spearman",
) -> Measure:
    """Measure the variance that brain RDMs, M/EEG RDMs at each time and each reference share (see `commonality`).

    Parameters
    ----------
    references : RDMs
        Layers, without time.
    movie : RDMs
        M/EEG RDMs, one for each `time_s`.
    nuisance : RDMs, optional
        What it explains is not counted.
    explained : {"fmri", "meeg"}
        Whose variance is shared out: that of the brain RDMs, or of the M/EEG RDMs.
    comparison : {"spearman", "pearson"}
        On what scale.

    Returns
    -------
    Measure
        For each reference a row for each time, statistic "commonality".

    Raises
    ------
    UserError
        If a name is unknown, conditions differ, the references have times or the movie has none or two RDMs at one, or
        an RDM of the nuisance is constant or NaN.
    """
    if "time_s" not in movie.table:
        raise UserError("Commonality needs a movie: RDMs with a column 'time_s' in their table.")
    if "time_s" in references.table:
        raise UserError("Commonality takes references without 'time_s'; the times are those of the movie.")
    if movie.table["time_s"].duplicated().any():
        raise UserError("Commonality needs a movie of one RDM for each time; select a subject, or average subjects.")
    measure_of = pick(COMMONALITIES, explained, "RDM that is explained")
    control = _optional(_like(references, nuisance), comparison)
    frames = _unit(align(references.conditions, movie, "reference RDMs", "M/EEG RDMs").values, comparison)
    rows = _beyond(_unit(references.values, comparison), control)
    table = references.table.loc[np.repeat(np.arange(len(rows)), len(frames))]
    table = table.assign(time_s=np.tile(movie.table["time_s"], len(rows)), statistic="commonality", role=PART)
    if explained == "fmri":
        return _measure(references, table, measure_of, [frames, rows, control], comparison)
    shared = measure_of(frames, rows, control)
    return Measure(references.conditions, table, lambda brain, _: shared(_unit(brain, comparison)))


def _of_fmri(movie: Array, references: Array, control: Array | None) -> Callable[[Array], Array]:
    left = _beyond(movie, control)
    return lambda brain: _commonality(brain, left, references, np.float32)


def _of_meeg(movie: Array, references: Array, control: Array | None) -> Callable[[Array], Array]:
    def shared(brain: Array) -> Array:
        each = _commonality(movie, _beyond(brain, control), references, np.float32)  # (n_references * n_brain, n_times)
        return each.reshape(len(references), len(brain), -1).swapaxes(1, 2).reshape(-1, len(brain))

    return shared


COMMONALITIES: dict[str, Callable[[Array, Array, Array | None], Callable[[Array], Array]]] = {
    "fmri": _of_fmri,
    "meeg": _of_meeg,
}
"""Commonality by whose variance is explained: from M/EEG RDMs, what a nuisance leaves of references, and the nuisance,
all of length 1, to a function of brain RDMs of length 1: (n_brain, n_pairs) -> (n_references * n_times, n_brain)."""


def partition_measure(
    predictors: Mapping[str, RDMs], nuisance: RDMs | None = None, *, comparison: str = "spearman"
) -> Measure:
    """Measure what 2 to 4 predictors explain of brain RDMs alone and together (see `partition`).

    Returns
    -------
    Measure
        A row for each part, with its name for the `model`, "unique:a" or "shared:a+b", and the statistic "variance".

    Raises
    ------
    UserError
        As `partition`; and if conditions differ.
    """
    first = next(iter(predictors.values()))
    rows = {
        name: require_defined(_unit(align(first.conditions, rdms).values, comparison), f"predictor {name!r}")
        for name, rdms in predictors.items()
    }
    control = _optional(_like(first, nuisance), comparison)
    names, _ = _parts(rows, control)
    table = pd.DataFrame({"model": names, "layer": "", "statistic": "variance", "role": PART})

    def parts_of(control: Array | None, *each: Array) -> Callable[[Array], Array]:
        return _parts(dict(zip(rows, each, strict=True)), control)[1]

    return _measure(first, table, parts_of, [control, *rows.values()], comparison)


def _like(references: RDMs, nuisance: RDMs | None) -> Array | None:
    """Return the values of a nuisance with its conditions in the order of the references."""
    return None if nuisance is None else align(references.conditions, nuisance, "reference RDMs", "nuisance").values
