"""Noise of voxels and how they share it: shrunken covariances of residuals, and patterns in units of the noise."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rsa.core import Array, Patterns, Residuals, RunNoise
from rsa.errors import UserError
from rsa.registry import pick

__all__ = [
    "NORMALISATIONS",
    "NoNoise",
    "SHRINKAGES",
    "Repeats",
    "Shrinkage",
    "between_runs",
    "by_runs",
    "covariance",
    "deviations",
    "folds_of_runs",
    "normalise",
    "prepared",
    "repeats",
    "whiten",
    "with_known_noise",
]

BLOCK = 4096
"""Voxels whose products are summed in double precision at once; bounds the memory."""


@dataclass(frozen=True)
class Shrinkage:
    """How a sample covariance is drawn towards one that can be inverted.

    Parameters
    ----------
    intensity : callable
        ``(samples (n_samples, n_features), squared norm of their products, degrees of freedom) -> weight``, 0 to 1, of
        the target.
    standardises : bool
        Whether features are scaled to variance 1 first: the target is then the diagonal of the covariance, otherwise a
        multiple of the identity.
    summary : str
        What covariances are shrunken to, with the paper (see `rsa.papers`): for the documentation and the methods text.
    """

    intensity: Callable[[Array, float, float], float]
    standardises: bool
    summary: str


def ledoit_wolf(samples: Array, squared_norm: float, degrees_of_freedom: float) -> float:
    """Return the weight of a multiple of the identity [1]_.

    References
    ----------
    .. [1] Ledoit O, Wolf M (2004). A well-conditioned estimator for large-dimensional covariance matrices. J Multivar
       Anal 88:365-411.
    """
    n_samples, n_features = samples.shape
    energy = np.einsum("kv,kv->k", samples, samples)
    squared = squared_norm / n_samples**2  # of the covariance
    distance = squared - (energy.sum() / n_samples) ** 2 / n_features
    error = (energy @ energy / n_samples - squared) / n_samples
    return float(np.clip(error / distance, 0, 1)) if distance > 0 else 1.0


def schaefer_strimmer(samples: Array, squared_norm: float, degrees_of_freedom: float) -> float:
    """Return the weight of the diagonal, for samples of variance 1: that by which correlations are shrunken [1]_.

    References
    ----------
    .. [1] Schäfer J, Strimmer K (2005). A shrinkage approach to large-scale covariance matrix estimation and
       implications for functional genomics. Stat Appl Genet Mol Biol 4:32.
    """
    n_samples = len(samples)
    squares = samples**2
    energy, variances = squares.sum(axis=1), squares.sum(axis=0)
    of_products = energy @ energy - (squares**2).sum()  # of two different features, squared, over samples and pairs
    of_sums = squared_norm - variances @ variances
    error = n_samples / degrees_of_freedom * (of_products - of_sums / n_samples)
    return float(np.clip(error / of_sums, 0, 1)) if of_sums > 0 else 1.0


SHRINKAGES: dict[str, Shrinkage] = {
    "ledoit_wolf": Shrinkage(ledoit_wolf, False, "towards a multiple of the identity (Ledoit & Wolf, 2004)"),
    "schaefer_strimmer": Shrinkage(schaefer_strimmer, True, "towards the diagonal (Schäfer & Strimmer, 2005)"),
}

NORMALISATIONS: dict[str, str] = {
    "univariate": "each voxel is divided by the standard deviation of its noise",
    "multivariate": "patterns are whitened by the covariance of the noise",
}


# --------------------------------------------------------------------------------- of one sphere or region


def covariance(residuals: Array, degrees_of_freedom: float, shrinkage: str) -> Array:
    """Estimate the covariance of the noise.

    Parameters
    ----------
    residuals : array, shape (n_samples, n_features)
        What a model leaves; of mean 0.
    degrees_of_freedom : float
        Number of samples less that of the model's parameters.
    shrinkage : str
        A key of `SHRINKAGES`.

    Returns
    -------
    array, shape (n_features, n_features)
        (1 - weight) * residuals.T @ residuals / degrees of freedom + weight * target.
    """
    samples = np.asarray(residuals, dtype=np.float64)
    scale = _scale(samples, degrees_of_freedom, pick(SHRINKAGES, shrinkage, "shrinkage"))
    shrunken = _shrunken(samples / scale, degrees_of_freedom, SHRINKAGES[shrinkage])
    return np.asarray(shrunken * np.outer(scale, scale))


def whiten(
    responses: Array, residuals: Array, degrees_of_freedom: float, shrinkage: str, *, symmetric: bool = False
) -> Array:
    """Return responses of which the noise has the identity as its covariance: their products are Mahalanobis products.

    Parameters
    ----------
    responses : array, shape (n_features, n_patterns)
        What is whitened; features come first, as the members of a sphere do.
    residuals : array, shape (n_features, n_samples)
        What a model leaves; of mean 0.
    degrees_of_freedom, shrinkage
        As for `covariance`.
    symmetric : bool
        By the symmetric root of the precision, so that a voxel stays that voxel: needed where the mean over voxels
        matters. Otherwise by the triangular one, which is faster and gives the same products.

    Returns
    -------
    array, shape (n_features, n_patterns), float64
    """
    estimator = pick(SHRINKAGES, shrinkage, "shrinkage")
    samples = np.asarray(residuals, dtype=np.float64).T
    scale = _scale(samples, degrees_of_freedom, estimator)
    shrunken = _shrunken(samples / scale if estimator.standardises else samples, degrees_of_freedom, estimator)
    scaled = np.ascontiguousarray(responses / scale[:, None])
    if symmetric:
        variances, axes = np.linalg.eigh(shrunken)
        return np.asarray(axes @ ((axes.T @ scaled) / np.sqrt(variances)[:, None]))
    from scipy.linalg import blas, lapack  # few studies whiten, and every job imports this module

    root, failed = lapack.dpotrf(shrunken, lower=1)
    if failed:
        return np.full(scaled.shape, np.nan)
    inverse, _ = lapack.dtrtri(root, lower=1)
    white: Array = blas.dtrmm(1.0, inverse, scaled.T, side=1, trans_a=1, lower=1).T  # inverse @ scaled, without copies
    return white


def _scale(samples: Array, degrees_of_freedom: float, estimator: Shrinkage) -> Array:
    """Return by what each feature is divided before its covariance is shrunken, shape (n_features,)."""
    if not estimator.standardises:
        return np.ones(samples.shape[1])
    return np.asarray(np.sqrt(np.einsum("kv,kv->v", samples, samples) / degrees_of_freedom))


def _shrunken(samples: Array, degrees_of_freedom: float, estimator: Shrinkage) -> Array:
    products = samples.T @ samples
    weight = estimator.intensity(samples, float(np.vdot(products, products)), degrees_of_freedom)
    shrunken: Array = products * ((1 - weight) / degrees_of_freedom)
    shrunken[np.diag_indices_from(shrunken)] += weight * np.trace(products) / len(products) / degrees_of_freedom
    return shrunken


# ------------------------------------------------------------------------------------------ of the brain


class NoNoise(UserError):
    """No voxel has noise, of those that were looked at."""

    def __init__(self) -> None:
        super().__init__("No usable voxel has noise: its residuals are 0 or NaN. Do they belong to these images?")


class Repeats(NamedTuple):
    """Which patterns tell the noise between runs: those of conditions that come more than once."""

    rows: Array
    """Their rows in the table of patterns, one condition (and delay) after the other."""
    starts: Array
    """Where the rows of each condition (and delay) begin."""
    degrees_of_freedom: int
    """Of what each differs by from the mean of its condition."""


def repeats(patterns: Patterns, *, mean_removed: bool = False) -> Repeats:
    """Find the patterns that tell the noise between runs (see `between_runs`).

    Raises
    ------
    UserError
        If no condition is in two runs.
    """
    keys = [name for name in ("condition", "delay_s") if name in patterns.table]
    groups = patterns.table.groupby(keys, sort=False).ngroup().to_numpy()
    sizes = np.bincount(groups)
    if len(groups) == len(sizes):
        raise UserError("Noise between runs needs conditions with patterns of 2 runs or more, told apart by `run`.")
    rows = np.argsort(groups, kind="stable")
    rows = rows[sizes[groups[rows]] > 1]
    n_means = (patterns.table["run"].nunique() - 1) * max(1, len(patterns.delays_s)) if mean_removed else 0
    degrees_of_freedom = len(groups) - len(sizes) - n_means
    if degrees_of_freedom < 1:
        raise UserError("Noise between runs needs 2 conditions or more in 2 runs, where the mean of each is removed.")
    starts = np.flatnonzero(np.diff(groups[rows], prepend=-1))
    return Repeats(rows, starts, degrees_of_freedom)


def deviations(samples: Array, starts: Array) -> Array:
    """Return what samples, (n_features, n_samples), differ by from the mean of their group; float64.

    Groups follow each other, and begin at `starts`.
    """
    each, sizes = np.asarray(samples, dtype=np.float64), np.diff(starts, append=samples.shape[1])
    means = np.add.reduceat(each, starts, axis=1) / sizes
    return np.asarray(each - np.repeat(means, sizes, axis=1))


def between_runs(patterns: Patterns, *, mean_removed: bool = False) -> Residuals:
    """Take as noise what the pattern of a condition in one run differs from its mean over runs.

    It is independent of that mean, and so of what is measured of the mean of *all these* runs; never of products or
    comparisons between these runs or parts of them, for which their deviations are mirror images of each other.

    Parameters
    ----------
    patterns : Patterns
        Of several runs.
    mean_removed : bool
        Whether the mean over conditions was taken out of each run: that costs a degree of freedom for each run but one.

    Raises
    ------
    UserError
        If no condition is in two runs.
    """
    rows, starts, degrees_of_freedom = repeats(patterns, mean_removed=mean_removed)
    values = np.empty((len(rows), patterns.n_features), dtype=np.float32)
    for start in range(0, patterns.n_features, BLOCK):
        block = slice(start, start + BLOCK)
        values[:, block] = deviations(patterns.values[rows, block].T, starts).T
    return Residuals(values, degrees_of_freedom)


def by_runs(patterns: Patterns) -> Patterns:
    """Normalise patterns by what differs between all their runs, as their `run_noise` says; see `normalise`."""
    run_noise = _run_noise(patterns)
    residuals = between_runs(run_noise.samples or patterns, mean_removed=run_noise.mean_removed)
    known = replace(patterns, residuals=residuals, run_noise=None)
    return normalise(known, run_noise.normalisation, scope=run_noise.scope, shrinkage=run_noise.shrinkage)


def folds_of_runs(patterns: Patterns) -> list[tuple[Patterns, Patterns]]:
    """Split patterns into all other runs and one run, for each run: what tells the noise, and what is left out.

    Products of the mean of the other runs and the one left out have the expectation 0 where there is noise alone,
    whatever the other runs are whitened by.

    Raises
    ------
    UserError
        If there are fewer than 3 runs: one that is left out, and two whose difference is noise.
    """
    runs = patterns.runs
    if len(runs) < 3:
        raise UserError(
            f"Noise that is seen between runs serves distances between runs from 3 runs on, and there are {len(runs)}: "
            "two tell the noise, and a third is compared with them. Take the noise from residuals, or leave it out."
        )
    return [(patterns.of_runs([other for other in runs if other != run]), patterns.of_runs([run])) for run in runs]


def with_known_noise(patterns: Patterns, *, between: bool, shrinkage: str | None) -> Patterns:
    """Return the same patterns, of which those voxels are usable whose noise is known and not 0.

    Where runs are not compared with each other, what differs between them has become residuals (see `by_runs`).

    Parameters
    ----------
    patterns : Patterns
        With `run_noise`, with residuals if there is a shrinkage, or with neither.
    between : bool
        Whether runs are going to be compared with each other.
    shrinkage : str, optional
        A key of `SHRINKAGES`, where patterns are whitened by the covariance of their residuals; with `run_noise`, it
        says so itself.

    Raises
    ------
    UserError
        If the noise cannot be had, no voxel has any, or the shrinkage is another than that of `run_noise`.
    """
    if patterns.run_noise is None:
        return patterns if shrinkage is None else normalise(patterns, "multivariate", shrinkage=shrinkage)
    if shrinkage not in (None, own := patterns.run_noise.shrinkage):
        raise UserError(
            f"These patterns say that they are whitened by {own} (run_noise), not {shrinkage}; leave shrinkage out."
        )
    if not between:
        return by_runs(patterns)
    usable = patterns.usable
    for others, _ in folds_of_runs(patterns):
        run_noise = _run_noise(others)
        residuals = between_runs(run_noise.samples or others, mean_removed=run_noise.mean_removed)
        usable = usable & (_deviation(residuals) > 0)
    _require_noise(usable)
    return replace(patterns, usable=usable)


def _run_noise(patterns: Patterns) -> RunNoise:
    assert patterns.run_noise is not None
    return patterns.run_noise


def _deviation(noise: Residuals) -> Array:
    """Return the standard deviation of the noise of each voxel; 0 where it is not finite."""
    squares = np.einsum("kv,kv->v", noise.values, noise.values, dtype=np.float64)
    return np.asarray(np.nan_to_num(np.sqrt(squares / noise.degrees_of_freedom), nan=0, posinf=0))


def _require_noise(usable: Array) -> None:
    if not usable.any():
        raise NoNoise


def normalise(
    patterns: Patterns, normalisation: str, *, scope: str = "sphere", shrinkage: str = "ledoit_wolf"
) -> Patterns:
    """Bring patterns into units of their noise, as far as that can be done for the whole brain at once [1]_.

    Parameters
    ----------
    patterns : Patterns
        With residuals.
    normalisation : str
        A key of `NORMALISATIONS`.
    scope : {"sphere", "brain"}
        Over which voxels the covariance of multivariate normalisation goes. That of spheres is estimated when their
        RDMs are built, so the patterns are returned as they are, with their residuals.
    shrinkage : str
        A key of `SHRINKAGES`.

    Returns
    -------
    Patterns
        Without residuals, unless spheres still need them. Voxels without noise are not usable.

    Raises
    ------
    UserError
        If there are no residuals, or no usable voxel has noise.

    References
    ----------
    .. [1] Walther A, Nili H, Ejaz N, Alink A, Kriegeskorte N, Diedrichsen J (2016). Reliability of dissimilarity
       measures for multi-voxel pattern analysis. NeuroImage 137:188-200.
    """
    pick(NORMALISATIONS, normalisation, "noise normalisation")
    noise = patterns.residuals
    if noise is None:
        raise UserError("Noise normalisation needs residuals, and the patterns have none.")
    deviation = _deviation(noise)
    usable = patterns.usable & (deviation > 0)
    _require_noise(usable)
    if normalisation == "univariate":
        values = patterns.values / np.where(usable, deviation, 1)
        return replace(patterns, values=values, usable=usable, residuals=None)
    if scope == "sphere":
        return replace(patterns, usable=usable)
    values = patterns.values.copy()
    values[:, usable] = _whitened_brain(values[:, usable], noise.values[:, usable], noise.degrees_of_freedom, shrinkage)
    return replace(patterns, values=values, usable=usable, residuals=None)


def prepared(
    patterns: Patterns,
    *,
    remove_mean: bool = False,
    normalisation: str | None = None,
    scope: str = "sphere",
    shrinkage: str = "ledoit_wolf",
    source: str = "residuals",
) -> Patterns:
    """Do to patterns what is done before distances: take out the mean over conditions, and normalise the noise.

    Parameters
    ----------
    patterns : Patterns
        With residuals, if the noise is to be seen there.
    remove_mean : bool
        Take the mean over conditions out of each voxel, run by run.
    normalisation : str, optional
        A key of `NORMALISATIONS`; nothing is normalised without it.
    scope, shrinkage
        As for `normalise`.
    source : {"residuals", "runs"}
        Where the noise is seen: in residuals of the GLM, or in what differs between runs. Of runs, it is found when
        patterns are measured (`RunNoise`): it has to be that of other runs than those that are compared.

    Raises
    ------
    UserError
        As `normalise`, and `between_runs`.
    """
    if remove_mean:
        patterns = patterns.without_mean()
    if normalisation is None:
        return replace(patterns, residuals=None)
    if source == "runs":
        pick(NORMALISATIONS, normalisation, "noise normalisation")
        pick(SHRINKAGES, shrinkage, "shrinkage")
        repeats(patterns, mean_removed=remove_mean)
        return replace(patterns, residuals=None, run_noise=RunNoise(normalisation, scope, shrinkage, remove_mean))
    return normalise(patterns, normalisation, scope=scope, shrinkage=shrinkage)


def _whitened_brain(patterns: Array, residuals: Array, degrees_of_freedom: float, shrinkage: str) -> Array:
    """Whiten by the symmetric root, where there are more voxels than samples.

    The covariance a I + b Z'Z has the eigenvalue a but for the few directions of the samples Z, which follow from their
    small matrix of products Z Z'.
    """
    estimator = pick(SHRINKAGES, shrinkage, "shrinkage")
    scale = _scale(residuals, degrees_of_freedom, estimator)
    samples = residuals / scale
    products = np.zeros((len(samples), len(samples)))
    for start in range(0, samples.shape[1], BLOCK):
        block = samples[:, start : start + BLOCK].astype(np.float64)
        products += block @ block.T
    weight = estimator.intensity(samples, float(np.vdot(products, products)), degrees_of_freedom)
    level = weight * np.trace(products) / samples.shape[1] / degrees_of_freedom
    if not level > 0:
        raise UserError(
            "The noise covariance of the whole brain cannot be inverted: its shrinkage is 0, with "
            f"{len(samples)} residuals of {samples.shape[1]} voxels. Set the scope to sphere."
        )
    energies, axes = np.linalg.eigh(products)
    kept = energies > energies.max() * 1e-9
    directions = (axes[:, kept] / np.sqrt(energies[kept])).T @ samples  # (n_kept, n_voxels), orthonormal
    variances = level + (1 - weight) * energies[kept] / degrees_of_freedom
    scaled = patterns / scale
    along = (scaled @ directions.T) * (variances**-0.5 - level**-0.5)
    return np.asarray(scaled * level**-0.5 + along @ directions)
