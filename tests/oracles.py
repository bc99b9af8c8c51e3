"""The slow, obvious versions that the fast ones must equal. Nothing here is imported by the package."""

from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import pearsonr, rankdata, spearmanr


def sphere_members(mask: np.ndarray, affine: np.ndarray, centre: int, radius_mm: float) -> np.ndarray:
    """Measure the distance from one mask voxel to every other, in mm."""
    centres_mm = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    return np.flatnonzero(np.linalg.norm(centres_mm - centres_mm[centre], axis=1) <= radius_mm + 1e-9)


def rdm(patterns: np.ndarray, distance: str) -> np.ndarray:
    """Build one condensed RDM with scipy, in float64; NaN where correlation or cosine has a pattern without length."""
    patterns = np.asarray(patterns, dtype=np.float64)
    if distance == "correlation" and (np.ptp(patterns, axis=1) == 0).any():
        patterns = np.where(np.ptp(patterns, axis=1, keepdims=True) == 0, np.nan, patterns)
    if distance == "cosine":
        patterns = np.where((patterns == 0).all(axis=1, keepdims=True), np.nan, patterns)
    distances = pdist(patterns, distance)
    if distance in ("correlation", "cosine"):
        distances[np.abs(distances) < 2.0**-44] = 0  # equal patterns, but for rounding
    return distances


def tied(values: np.ndarray) -> np.ndarray:
    """Give dissimilarities that differ by floating-point noise one value, going up from the smallest."""
    order, noise = np.argsort(values), np.abs(values).max() * 2.0**-40
    same = values[order].tolist()
    for place, (before, this) in enumerate(pairwise(values[order].tolist()), start=1):
        if this - before <= noise:
            same[place] = same[place - 1]
    back = np.empty(len(values))
    back[order] = same
    return back


def compare(a: np.ndarray, b: np.ndarray, comparison: str) -> float:
    """Compare two RDMs, one pair of dissimilarities at a time where scipy has no function for it."""
    if np.isnan(a).any() or np.isnan(b).any():
        return np.nan
    if comparison == "cosine":
        length = np.sqrt(a @ a) * np.sqrt(b @ b)
        return float(a @ b / length) if length > 0 else np.nan
    if np.ptp(tied(a)) == 0 or np.ptp(tied(b)) == 0:
        return np.nan
    if comparison == "pearson":
        return float(pearsonr(a, b).statistic)
    a, b = tied(a), tied(b)
    if comparison == "spearman":
        return float(spearmanr(a, b).statistic)
    n = len(a)
    if comparison == "rho_a":
        middle = (n + 1) / 2
        return float(12 * ((rankdata(a) - middle) * (rankdata(b) - middle)).sum() / (n**3 - n))
    if comparison == "kendall_tau_a":
        signs = [np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) for i, j in combinations(range(n), 2)]
        return float(sum(signs) / (n * (n - 1) / 2))
    raise ValueError(comparison)


def reduced_mask(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leave out voxels that are NaN somewhere or the same everywhere: values, mask, and which voxels are left."""
    left = np.array([np.isfinite(voxel).all() and len(set(voxel.tolist())) > 1 for voxel in values.T])
    smaller = mask.copy()
    smaller[mask] = left
    return values[:, left], smaller, left


def searchlight(
    values: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    references: Sequence[np.ndarray],
    radius_mm: float,
    distance: str,
    comparison: str,
    centres: Sequence[int],
    min_voxels: int = 2,
) -> np.ndarray:
    """Score one sphere at a time against one reference at a time; (n_references, n_centres)."""
    scores = np.full((len(references), len(centres)), np.nan)
    for column, centre in enumerate(centres):
        members = sphere_members(mask, affine, centre, radius_mm)
        if len(members) < min_voxels:
            continue
        brain = rdm(values[:, members], distance)
        for row, reference in enumerate(references):
            scores[row, column] = compare(brain, reference, comparison)
    return scores


def searchlight_of_usable(
    values: np.ndarray, mask: np.ndarray, affine: np.ndarray, references: Sequence[np.ndarray], **how: object
) -> np.ndarray:
    """Score every voxel of the mask as if voxels without data weren't in it; (n_references, n_voxels)."""
    scores = np.full((len(references), values.shape[1]), np.nan)
    fewer, smaller, left = reduced_mask(values, mask)
    scores[:, left] = searchlight(fewer, smaller, affine, references, centres=range(left.sum()), **how)
    return scores
