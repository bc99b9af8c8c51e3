"""The slow, obvious versions that the fast ones must equal. Nothing here is imported by the package."""

from collections.abc import Sequence
from copy import deepcopy
from fractions import Fraction
from functools import partial
from itertools import combinations, pairwise, product

import numpy as np
from scipy.spatial.distance import pdist, squareform
from scipy.stats import norm, pearsonr, rankdata, spearmanr, t

from rsa import comparisons, distances


def sphere_members(mask: np.ndarray, affine: np.ndarray, centre: int, radius_mm: float) -> np.ndarray:
    """Measure the distance from one mask voxel to every other, in mm to four decimals; no file knows more."""
    centres_mm = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    distances_mm = np.linalg.norm(centres_mm - centres_mm[centre], axis=1)
    return np.flatnonzero(distances_mm.round(4) <= round(radius_mm, 4))


def sphere_steps(voxel_mm: Sequence[str], radius_mm: str) -> set[tuple[int, int, int]]:
    """List the steps within a sphere of a grid at right angles, in exact arithmetic of decimal fractions."""
    sizes, radius = [Fraction(size) for size in voxel_mm], Fraction(radius_mm)
    reach = [range(-(radius // size), radius // size + 1) for size in sizes]
    return {
        steps
        for steps in product(*reach)
        if sum((n * size) ** 2 for n, size in zip(steps, sizes, strict=True)) <= radius**2
    }


def of_correlation(patterns: np.ndarray) -> np.ndarray:
    """1 - r by scipy; NaN where a pattern is constant."""
    patterns = np.where(np.ptp(patterns, axis=1, keepdims=True) == 0, np.nan, patterns)
    return without_rounding(pdist(patterns, "correlation"))


def of_cosine(patterns: np.ndarray) -> np.ndarray:
    """1 - cosine by scipy; NaN where a pattern is zero."""
    return without_rounding(pdist(np.where((patterns == 0).all(axis=1, keepdims=True), np.nan, patterns), "cosine"))


def without_rounding(distances: np.ndarray) -> np.ndarray:
    """Make what equal patterns are apart, but for rounding, 0."""
    return np.where(np.abs(distances) < 2.0**-44, 0, distances)


DISTANCES = {
    "correlation": of_correlation,
    "cosine": of_cosine,
    "euclidean": partial(pdist, metric="euclidean"),
    "sqeuclidean": partial(pdist, metric="sqeuclidean"),
}
"""The distances that another library has."""


def rdm(patterns: np.ndarray, distance: str) -> np.ndarray:
    """Build one condensed RDM in float64, by scipy; a distance that it lacks from the sums of all products at once."""
    patterns = np.asarray(patterns, dtype=np.float64)
    if distance in DISTANCES:
        return DISTANCES[distance](patterns)
    entry = distances.DISTANCES[distance]
    axis = {"pattern": 1, "feature": 0}.get(entry.origin)
    centred = patterns if axis is None else patterns - patterns.mean(axis=axis, keepdims=True)
    gram, n_features = centred @ centred.T, np.array(patterns.shape[1])
    upper = np.triu_indices(len(gram), 1)
    return entry.from_products(distances.CrossProducts(gram[upper], np.diag(gram), centred.sum(axis=1), n_features))


def rdm_of_differences(patterns: np.ndarray, distance: str) -> np.ndarray:
    """Build one condensed RDM from differences, in extended precision: what is small is as right as what is large."""
    wide = np.asarray(patterns, dtype=np.longdouble)
    if distance == "correlation":
        wide = wide - wide.mean(axis=1, keepdims=True)
    if distance in ("correlation", "cosine"):
        wide = wide / np.sqrt((wide**2).sum(axis=1, keepdims=True) * 2)
    squares = np.array([((one - other) ** 2).sum() for one, other in combinations(wide, 2)])
    return (np.sqrt(squares) if distance == "euclidean" else squares).astype(np.float64)


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


def by_cosine(a: np.ndarray, b: np.ndarray) -> float:
    length = np.sqrt(a @ a) * np.sqrt(b @ b)
    return float(a @ b / length) if length > 0 else np.nan


def by_pearson(a: np.ndarray, b: np.ndarray) -> float:
    return float(pearsonr(a, b).statistic) if varies(a, b) else np.nan


def by_spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(tied(a), tied(b)).statistic) if varies(a, b) else np.nan


def by_rho_a(a: np.ndarray, b: np.ndarray) -> float:
    n, middle = len(a), (len(a) + 1) / 2
    products = (rankdata(tied(a)) - middle) * (rankdata(tied(b)) - middle)
    return float(12 * products.sum() / (n**3 - n)) if varies(a, b) else np.nan


def by_kendall_tau_a(a: np.ndarray, b: np.ndarray) -> float:
    n, x, y = len(a), tied(a), tied(b)
    signs = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in combinations(range(n), 2)]
    return float(sum(signs) / (n * (n - 1) / 2)) if varies(a, b) else np.nan


def varies(*rdms: np.ndarray) -> bool:
    """Say whether no RDM is constant, but for rounding."""
    return all(np.ptp(tied(rdm)) > 0 for rdm in rdms)


COMPARISONS = {
    "spearman": by_spearman,
    "pearson": by_pearson,
    "kendall_tau_a": by_kendall_tau_a,
    "rho_a": by_rho_a,
    "cosine": by_cosine,
}
"""The comparisons by scipy, or one pair of dissimilarities at a time where it has no function."""


def compare(a: np.ndarray, b: np.ndarray, comparison: str) -> float:
    """Compare two RDMs; by a comparison that is not above, as its entry does with these two alone."""
    if np.isnan(a).any() or np.isnan(b).any():
        return np.nan
    if comparison in COMPARISONS:
        return COMPARISONS[comparison](a, b)
    return float(comparisons.compare_vectors(a, b, comparisons.COMPARISONS[comparison])[0, 0])


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


def between_runs(rows: np.ndarray, conditions: Sequence[str], runs: Sequence[str], distance: str) -> np.ndarray:
    """Measure crossnobis, or the cross-validated correlation, one pair of patterns of different runs at a time.

    Rows are patterns (already whitened) in float64; the conditions of the result are in order of first appearance. A
    covariance of two conditions is the mean over all pairs of their patterns that come from different runs.
    """
    names = list(dict.fromkeys(conditions))
    x = rows - rows.mean(axis=1, keepdims=True) if distance == "cv_correlation" else rows
    similar = np.zeros((len(names), len(names)))
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            products = [
                x[k] @ x[m]
                for k in range(len(x))
                for m in range(len(x))
                if conditions[k] == a and conditions[m] == b and runs[k] != runs[m]
            ]
            similar[i, j] = np.mean(products)
    pairs = np.triu_indices(len(names), 1)
    own = np.diag(similar)
    if distance == "crossnobis":
        return (own[pairs[0]] + own[pairs[1]] - 2 * similar[pairs]) / rows.shape[1]
    within = [
        np.mean(
            [
                x[k] @ x[m]
                for k in range(len(x))
                for m in range(len(x))
                if conditions[k] == conditions[m] == name and runs[k] == runs[m]
            ]
        )
        for name in names
    ]
    deviation = np.sqrt(np.maximum(own, 0.1 * np.array(within)))
    return 1 - similar[pairs] / (deviation[pairs[0]] * deviation[pairs[1]])


def between_runs_whitened(
    rows: np.ndarray, conditions: Sequence[str], runs: Sequence[str], distance: str, how: dict[str, object]
) -> np.ndarray:
    """Leave out one run after the other: multiply it with the mean of the others, by the noise between those alone.

    Rows are patterns in float64. `how` has `normalisation`, `shrinkage` and `mean_removed`. Pairs of conditions are
    averaged over the runs that have both, if other runs have them too.
    """
    names, n = list(dict.fromkeys(conditions)), rows.shape[1]
    conditions, runs = np.array(conditions), np.array(runs)
    each = {pair: [] for pair in combinations(range(len(names)), 2)}
    own = {place: [] for place in range(len(names))}
    for run in dict.fromkeys(runs):
        here = runs == run
        means = {name: rows[~here & (conditions == name)].mean(axis=0) for name in set(conditions[~here])}
        repeated = [name for name in means if (conditions[~here] == name).sum() > 1]
        noise = np.stack([rows[k] - means[conditions[k]] for k in np.flatnonzero(~here) if conditions[k] in repeated])
        dof = (~here).sum() - len(means) - (len(set(runs)) - 2 if how["mean_removed"] else 0)
        if how["normalisation"] == "univariate":
            root = np.diag(1 / np.sqrt((noise**2).sum(axis=0) / dof))
        else:
            root = whitened(np.eye(n), noise, dof, how["shrinkage"])
        pairs = {
            place: (means[name] @ root, rows[here & (conditions == name)].mean(axis=0) @ root)
            for place, name in enumerate(names)
            if name in means and name in conditions[here]
        }
        if distance == "cv_correlation":
            pairs = {place: (a - a.mean(), b - b.mean()) for place, (a, b) in pairs.items()}
        for place, (a, b) in pairs.items():
            own[place].append((a @ b, b @ b))
        for i, j in combinations(sorted(pairs), 2):
            (a, b), (c, d) = pairs[i], pairs[j]
            each[i, j].append((a - c) @ (b - d) / n if distance == "crossnobis" else (a @ d + c @ b) / 2)
    found = {pair: np.mean(values) for pair, values in each.items()}
    if distance == "cv_correlation":
        mean = {place: np.mean(values, axis=0) for place, values in own.items()}
        deviation = {place: np.sqrt(max(between, 0.1 * within)) for place, (between, within) in mean.items()}
        found = {(i, j): 1 - value / deviation[i] / deviation[j] for (i, j), value in found.items()}
    return np.array(list(found.values()))


def onsets(scores: np.ndarray, times_s: np.ndarray, alpha: float, min_duration_s: float) -> list[float]:
    """Find the onset of one voxel after the other, (n_times, n_voxels), and of each one time after the other.

    Times differ by 1 ms at least. What samples are worth is of all voxels that vary before 0 and have no NaN there.
    """
    series = [voxel[times_s < 0] for voxel in scores.T]
    known = [one for one in series if np.isfinite(one).all() and len(set(one)) > 1]
    n, total = len(series[0]), 0.0
    for i in range(n):
        for j in range(n):
            squares = sum(one[i] ** 2 for one in known) * sum(one[j] ** 2 for one in known)
            total += sum(one[i] * one[j] for one in known) ** 2 / squares
    m, after = n**2 / total, np.flatnonzero(times_s >= 0)
    found = []
    for voxel, one in zip(scores.T, series, strict=True):
        size = np.sqrt(np.mean(one**2)) if len(set(one)) > 1 else np.nan
        bound = max(one.mean(), 0) + size * np.sqrt(1 + t.isf(alpha / len(after), m) ** 2)
        onset = np.nan
        for i in after[::-1]:
            during = (times_s >= times_s[i]) & (times_s <= times_s[i] + min_duration_s + 1e-6)
            if times_s[i] + min_duration_s <= times_s[-1] + 1e-6 and (voxel[during] > bound).all():
                onset = times_s[i]
        found.append(onset)
    return found


def shrunken_covariance(samples: np.ndarray, degrees_of_freedom: float, shrinkage: str) -> np.ndarray:
    """Estimate a covariance from the variances of single products of samples, as both papers define it."""
    n, p = samples.shape
    scale = np.sqrt((samples**2).sum(axis=0) / degrees_of_freedom) if shrinkage == "schaefer_strimmer" else np.ones(p)
    z = samples / scale
    products = np.stack([np.outer(row, row) for row in z])  # (n, p, p)
    if shrinkage == "ledoit_wolf":
        mean = products.mean(axis=0)
        target = np.trace(mean) / p * np.eye(p)
        error = sum(((one - mean) ** 2).sum() for one in products) / n**2
        weight = min(1, error / ((mean - target) ** 2).sum())
        shrunken = ((1 - weight) * mean + weight * target) * n / degrees_of_freedom
    else:
        correlation = products.sum(axis=0) / degrees_of_freedom
        variance = n / degrees_of_freedom**3 * ((products - products.mean(axis=0)) ** 2).sum(axis=0)
        apart = ~np.eye(p, dtype=bool)
        weight = min(1, variance[apart].sum() / (correlation[apart] ** 2).sum())
        shrunken = np.where(apart, (1 - weight) * correlation, correlation)
    return shrunken * np.outer(scale, scale)


def whitened(rows: np.ndarray, samples: np.ndarray, degrees_of_freedom: float, shrinkage: str) -> np.ndarray:
    """Whiten by the symmetric root: that of the covariance, or with the diagonal as target that of the correlations."""
    shrunken = shrunken_covariance(samples, degrees_of_freedom, shrinkage)
    scale = np.sqrt(np.diag(shrunken)) if shrinkage == "schaefer_strimmer" else np.ones(len(shrunken))
    variances, axes = np.linalg.eigh(shrunken / np.outer(scale, scale))
    return rows / scale @ axes / np.sqrt(variances) @ axes.T


# ---------------------------------------------------------------------------------------------- clusters


def clusters(mask: np.ndarray, neighbours: Sequence[Sequence[int]]) -> np.ndarray:
    """Number the connected nodes of a mask (n_times, n_places) by walking from neighbour to neighbour."""
    labels = np.zeros(mask.shape, dtype=int)
    for start in zip(*np.nonzero(mask), strict=True):
        if labels[start]:
            continue
        number, waiting = labels.max() + 1, [start]
        while waiting:
            time, place = waiting.pop()
            if 0 <= time < len(mask) and mask[time, place] and not labels[time, place]:
                labels[time, place] = number
                waiting += [(time, other) for other in neighbours[place]] + [(time - 1, place), (time + 1, place)]
    return labels


def cluster_numbers(values: np.ndarray, neighbours: Sequence[Sequence[int]], kind: str, threshold: float) -> np.ndarray:
    """Give each node the size or mass of its cluster above a threshold."""
    labels = clusters(values > threshold, neighbours)
    found = np.where(np.isnan(values), np.nan, 0.0)
    for number in range(1, labels.max(initial=0) + 1):
        inside = labels == number
        found[inside] = inside.sum() if kind == "cluster_size" else (values[inside].astype(float) - threshold).sum()
    return found


def tfce(values: np.ndarray, neighbours: Sequence[Sequence[int]], n_steps: int | None = None) -> np.ndarray:
    """Integrate sqrt(extent) h^2: between the heights that occur, exactly, or by the middles of equal steps."""
    top = np.nanmax(values, initial=0.0)
    edges = np.linspace(0, top, n_steps + 1) if n_steps else np.unique(np.append(0.0, values[values > 0]))
    found = np.where(np.isnan(values), np.nan, 0.0)
    for low, high in pairwise(edges.astype(float)):
        middle = (low + high) / 2
        labels = clusters(values > middle, neighbours)
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        found += np.sqrt(sizes[labels]) * (middle**2 * (high - low) if n_steps else (high**3 - low**3) / 3)
    return found


def freedman_lane(values: np.ndarray, tested: np.ndarray, nuisance: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """Residualise by nuisance, transform the residuals, fit the whole model, one transform and column at a time.

    Values are (n_subjects, n_columns), nuisance (n_subjects, n_nuisance), transforms matrices (n, n_subjects,
    n_subjects); the result is t of what is tested, (n, n_columns).
    """
    n_subjects, model = len(values), np.column_stack([tested, nuisance])
    spread = np.linalg.inv(model.T @ model)[0, 0]
    found = np.empty((len(transforms), values.shape[1]))
    for column, scores in enumerate(values.T):
        residuals = scores
        if nuisance.shape[1]:
            residuals = scores - nuisance @ np.linalg.lstsq(nuisance, scores, rcond=None)[0]
        for number, transform in enumerate(transforms):
            again = transform @ residuals
            weights = np.linalg.lstsq(model, again, rcond=None)[0]
            variance = ((again - model @ weights) ** 2).sum() / (n_subjects - model.shape[1])
            found[number, column] = weights[0] / np.sqrt(variance * spread)
    return found


def ranking_scores(brain: np.ndarray, layers: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Choose layers by the other subjects on one half and score each subject on the other, in loops, by scipy.

    Square RDMs of subjects, (n_subjects, n, n), and of the layers of one model; halves (n_halves, n), of which rows 2 s
    and 2 s + 1 are one split. The subject alone chooses for itself.
    """

    def of(subject: int, layer: int, half: np.ndarray) -> float:
        upper = np.triu_indices(half.sum(), 1)
        own, other = (square[np.ix_(half, half)][upper] for square in (brain[subject], layers[layer]))
        return float(spearmanr(own, other).statistic)

    found = []
    for subject in range(len(brain)):
        others = [one for one in range(len(brain)) if one != subject] or [subject]
        scores = []
        for number, half in enumerate(halves):
            other_half = halves[number + 1 if number % 2 == 0 else number - 1]
            means = [np.mean([of(one, layer, half) for one in others]) for layer in range(len(layers))]
            scores.append(of(subject, int(np.argmax(means)), other_half))
        found.append(np.mean(scores))
    return np.array(found)


def noise_ceiling(rdms: np.ndarray) -> tuple[float, float]:
    """Lower and upper bound of the noise ceiling by Spearman, in a loop over subjects; (n_subjects, n_pairs)."""
    ranked = np.array([rankdata(one) for one in rdms])
    lower = [spearmanr(one, np.delete(ranked, i, axis=0).mean(axis=0)).statistic for i, one in enumerate(rdms)]
    upper = [spearmanr(one, ranked.mean(axis=0)).statistic for one in rdms]
    return float(np.mean(lower)), float(np.mean(upper))


def flips_of_pairs(differences: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided p of |t| under all flips, uncorrected and by the maximum; differences (n_subjects, n_tests)."""
    n_subjects = len(differences)
    flips = np.array(list(product([1, -1], repeat=n_subjects)))

    def t_of(values: np.ndarray) -> np.ndarray:
        return np.abs(values.mean(axis=0) / (values.std(axis=0, ddof=1) / np.sqrt(n_subjects)))

    flipped = np.array([t_of(differences * signs[:, None]) for signs in flips[1:]])  # the first leaves them as they are
    p = (1 + (flipped >= observed - 1e-6).sum(axis=0)) / len(flips)
    highest = flipped.max(axis=1)[:, None]
    return p, (1 + (highest >= observed - 1e-6).sum(axis=0)) / len(flips)


# ------------------------------------------------------------------------------------------------ pictures


def gabor_pairs(
    picture: np.ndarray, frequencies: Sequence[int], n_orientations: int, sd_wavelengths: float
) -> np.ndarray:
    """Draw every filter, pixel by pixel: take its mean off below its envelope, make its length 1, and multiply."""
    size = len(picture)
    y, x = np.mgrid[:size, :size]
    pairs = []
    for frequency, turn in product(frequencies, range(n_orientations)):
        wavelength, angle = size / frequency, np.pi * turn / n_orientations
        for row, column in product(range(frequency), repeat=2):
            down, right = y - ((row + 0.5) * wavelength - 0.5), x - ((column + 0.5) * wavelength - 0.5)
            envelope = np.exp(-(down**2 + right**2) / (2 * (sd_wavelengths * wavelength) ** 2))
            phase = 2 * np.pi * (right * np.cos(angle) + down * np.sin(angle)) / wavelength
            filters = [
                envelope * (wave - (envelope * wave).sum() / envelope.sum()) for wave in (np.cos(phase), np.sin(phase))
            ]
            even, odd = (float((one / np.linalg.norm(one) * picture).sum()) for one in filters)
            pairs.append(even + 1j * odd)
    return np.array(pairs)


def hmax_s1(picture: np.ndarray, size: int, sd: float, wavelength: float) -> np.ndarray:
    """Lay each of four filters on every place: absolute product, divided by the length of the pixels below."""
    n = len(picture) - size + 1
    maps = np.zeros((4, n, n))
    half = size // 2
    for turn in range(4):
        angle = np.pi * turn / 4
        bars = np.zeros((size, size))
        for row, column in product(range(size), repeat=2):
            across = (column - half) * np.cos(angle) + (row - half) * np.sin(angle)
            along = (row - half) * np.cos(angle) - (column - half) * np.sin(angle)
            bars[row, column] = np.exp(-(across**2 + 0.09 * along**2) / (2 * sd**2)) * np.cos(
                2 * np.pi * across / wavelength
            )
        bars -= bars.mean()
        bars /= np.sqrt((bars**2).sum())
        for row, column in product(range(n), repeat=2):
            below = picture[row : row + size, column : column + size]
            maps[turn, row, column] = abs((bars * below).sum()) / np.sqrt((below**2).sum())
    return maps


def hmax_c1(finer: np.ndarray, coarser: np.ndarray, window: int, step: int) -> np.ndarray:
    """Take the maximum of both sizes, whose middles are at the same pixels, over each window that is whole."""
    n = (coarser.shape[1] - window) // step + 1
    maps = np.zeros((4, n, n))
    for turn, row, column in product(range(4), range(n), range(n)):
        places = list(product(range(row * step, row * step + window), range(column * step, column * step + window)))
        values = [coarser[turn, y, x] for y, x in places] + [finer[turn, y + 1, x + 1] for y, x in places]
        maps[turn, row, column] = max(values)
    return maps


def hmax_c2(maps: Sequence[np.ndarray], patch: np.ndarray) -> float:
    """Go with a patch, shape (4, size, size), over all places of all maps; return the best match."""
    size = patch.shape[1]
    best = 0.0
    for c1 in maps:
        for row, column in product(range(c1.shape[1] - size + 1), repeat=2):
            distance = ((c1[:, row : row + size, column : column + size] - patch) ** 2).sum()
            best = max(best, float(np.exp(-distance / (2 * (size / 4) ** 2))))
    return best


# ---------------------------------------------------------------------------------------- receptive fields


def receptive_field(network, layer: str, shape: tuple[int, int, int]) -> tuple[float, float, float]:
    """Find on which pixels a unit depends, by its gradient; weights become positive, and maxima of windows means.

    Returns the longer side of the field of the unit in the middle of the map, its distance to the field of the next
    unit, and the middle of the field that the first unit would have without a border.
    """
    import torch
    from torch import nn

    network = deepcopy(network).double().eval()
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            means = nn.AvgPool2d(module.kernel_size, module.stride, module.padding, module.ceil_mode)
            network.set_submodule(name, means)
    for one in network.parameters():
        one.data = (one.abs() + 1) / (one.abs() + 1).sum(dim=tuple(range(1, one.ndim)), keepdim=True)
    outputs = []
    handle = network.get_submodule(layer).register_forward_hook(lambda *given: outputs.append(given[2].clone()))
    picture = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    network(picture)
    handle.remove()
    middle, edges = outputs[0].shape[-1] // 2, []
    for place in (middle, middle + 1):
        (gradient,) = torch.autograd.grad(outputs[0][0, :, place, place].sum(), picture, retain_graph=True)
        seen = (gradient[0] != 0).any(dim=0).numpy()
        edges.append([(np.flatnonzero(seen.any(axis=axis))[[0, -1]]) for axis in (1, 0)])
    assert 0 < edges[0][0][0] < edges[1][0][1] < shape[1] - 1, "the picture is too small to see all of the field"
    jump = edges[1][0][0] - edges[0][0][0]
    return max(last - first + 1 for first, last in edges[0]), jump, np.mean(edges[0][0]) - middle * jump


def grating_response(weights: np.ndarray, frequency: float, orientation_deg: float) -> float:
    """Return the response of a filter (height, width) to a grating at the best of 180 phases, pixel by pixel."""
    angle, best = np.deg2rad(orientation_deg), 0.0
    for phase in np.linspace(0, 2 * np.pi, 180, endpoint=False):
        answer = 0.0
        for (row, column), weight in np.ndenumerate(weights):
            across = column * np.sin(angle) + row * np.cos(angle)  # stripes go up to the right, and rows down
            answer += weight * np.cos(2 * np.pi * frequency * across + phase)
        best = max(best, answer)
    return best


def changes_under_patches(respond, picture, cover, patch: int, stride: int):
    """Cover each place of a picture, one at a time; list for each pixel the changes of the response by its patches.

    Parameters
    ----------
    respond : callable
        From a picture, (3, height, width), to a number.
    """
    _, height, width = picture.shape
    intact, under = respond(picture), {}
    for top in range(stride - patch, height, stride):
        for left in range(stride - patch, width, stride):
            covered = picture.clone()
            pixels = [
                (row, column)
                for row in range(top, top + patch)
                for column in range(left, left + patch)
                if 0 <= row < height and 0 <= column < width
            ]
            for row, column in pixels:
                covered[:, row, column] = cover[:, row, column]
            change = respond(covered) - intact
            for pixel in pixels:
                under.setdefault(pixel, []).append(change)
    return under


def covered_one_by_one(respond, picture, cover, patch: int, stride: int):
    """Return the mean change of the response by the patches over each pixel, and whether all of them change it."""
    changes, seen = np.zeros(picture.shape[1:]), np.zeros(picture.shape[1:], dtype=bool)
    for pixel, own in changes_under_patches(respond, picture, cover, patch, stride).items():
        changes[pixel] = np.mean(np.abs(own))
        seen[pixel] = all(abs(one) > 1e-5 for one in own)
    return changes, seen


def rdm_of_channel(responses: np.ndarray, distance: str) -> np.ndarray:
    """Build the RDM of a channel pair by pair: silent conditions are equal, and have nothing in common with others."""
    if responses.shape[1] == 1 and distance in ("correlation", "cosine"):
        return pdist(responses.astype(float), "euclidean")
    is_silent = {"correlation": lambda one: len(set(one)) == 1, "cosine": lambda one: not one.any()}.get(distance)
    found = []
    for a, b in combinations(responses.astype(float), 2):
        silent = 0 if is_silent is None else is_silent(a) + is_silent(b)
        found.append(rdm(np.stack([a, b]), distance)[0] if not silent else 2 - silent)
    return np.array(found)


def channel_scores(
    responses: np.ndarray, regions: np.ndarray, distance: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score each channel alone, the layer, and the layer without each channel, one RDM and one region at a time.

    Responses are (n_conditions, n_channels, n_places); scores are Spearman's, (n_regions, n_channels) and (n_regions,).
    """
    n, n_channels, _ = responses.shape

    def scores(made: np.ndarray) -> np.ndarray:
        return np.array([spearmanr(made, region).statistic for region in regions])

    def together(some: np.ndarray) -> np.ndarray:
        return scores(rdm(some.reshape(n, -1).astype(float), distance))

    own = np.stack([scores(rdm_of_channel(responses[:, c], distance)) for c in range(n_channels)], axis=1)
    without = np.stack([together(np.delete(responses, c, axis=1)) for c in range(n_channels)], axis=1)
    return own, together(responses), without


def best_in_orders(
    responses: np.ndarray, regions: np.ndarray, halves: np.ndarray, orders: np.ndarray, distance: str, n_best: int
) -> list[float]:
    """Choose channels on one half and score them together on the other, order by order and pair by pair.

    Spearman's ranks of regions, (n_subjects, n_pairs), are those among all pairs, so scores are a product with these
    ranks at the pairs of a half, over the root of the share of these pairs.
    """
    n = len(responses)
    brain = np.mean([(r - r.mean()) / np.linalg.norm(r - r.mean()) for r in map(rankdata, regions)], axis=0)
    square = squareform(brain)

    def score(made: np.ndarray, moved: np.ndarray) -> float:
        ranks = rankdata(made.round(9)) - (len(made) + 1) / 2
        share = len(made) / (n * (n - 1) / 2)
        return ranks @ moved / np.linalg.norm(ranks) / np.sqrt(share) if ranks.any() else np.nan

    found = []
    for order in orders:
        scores = []
        for half in range(len(halves)):
            own, other = np.flatnonzero(halves[half]), np.flatnonzero(halves[half ^ 1])
            of_own, of_other = (
                np.array([square[order[a], order[b]] for a, b in combinations(one, 2)]) for one in (own, other)
            )
            alone = [score(rdm_of_channel(responses[other, c], distance), of_other) for c in range(responses.shape[1])]
            best = sorted((c for c in range(len(alone)) if not np.isnan(alone[c])), key=lambda c: -alone[c])[:n_best]
            together = rdm_of_channel(responses[own][:, sorted(best)].reshape(len(own), -1), distance)
            scores.append(score(together, of_own))
        found.append(np.nanmean(scores))
    return found


def nearest(square: np.ndarray, i: int) -> list[int]:
    """List the others of an item, the nearest first, and the earlier one first of those that are as near."""
    return sorted((j for j in range(len(square)) if j != i), key=lambda j: (square[i, j], j))


def read_out(
    patterns: np.ndarray, numbers: np.ndarray, folds: np.ndarray, scaled_by: np.ndarray | None = None
) -> np.ndarray:
    """Read categories out of whole patterns by scikit-learn, one fold after the other."""
    from sklearn.linear_model import RidgeClassifier

    whole = patterns if scaled_by is None else scaled_by
    penalty = ((whole - whole.mean(axis=0)) ** 2).sum(axis=1).mean()
    found = np.empty(len(numbers), int)
    for fold in np.unique(folds):
        train = folds != fold
        classifier = RidgeClassifier(alpha=penalty, class_weight="balanced").fit(patterns[train], numbers[train])
        found[~train] = classifier.predict(patterns[~train])
    return found


def paired_p(before: np.ndarray, after: np.ndarray, is_second: np.ndarray, n_folds: int) -> tuple[float, list[float]]:
    """Test a difference of balanced accuracy by all ways to lose and gain conditions; and list all p it could have."""
    change = after.astype(int) - before.astype(int)
    weights = np.where(is_second, 1 / is_second.sum(), 1 / (~is_second).sum())
    moved = weights[change != 0]
    ways = np.array([np.dot(signs, moved) for signs in product((-1, 1), repeat=len(moved))])
    spread = np.sqrt((ways**2).mean() * (1 + n_folds / (n_folds - 1)))

    def p(difference: float) -> float:
        return 2 * norm.sf(abs(difference) / spread) if spread else 1.0

    return p(np.dot(weights, change)), sorted({round(p(way), 12) for way in ways})


def holm(p: np.ndarray) -> np.ndarray:
    """Correct p values one after the other, the lowest first."""
    found, highest = np.empty(len(p)), 0.0
    for step, i in enumerate(np.argsort(p, kind="stable")):
        highest = max(highest, min(1, (len(p) - step) * p[i]))
        found[i] = highest
    return found


def mean_falls(respond, picture, cover, patch: int, stride: int):
    """Return by how much the response falls in the mean over the patches over each pixel."""
    falls = np.zeros(picture.shape[1:])
    for pixel, own in changes_under_patches(respond, picture, cover, patch, stride).items():
        falls[pixel] = -np.mean(own)
    return falls


def drawn_rdm(square: np.ndarray, drawn: Sequence[int]) -> np.ndarray:
    """Put an RDM of conditions that were drawn into a vector; what was drawn twice has no pair with itself."""
    return np.array([square[i, j] for place, i in enumerate(drawn) for j in drawn[place + 1 :] if i != j])


def mean_over_subjects_drawn(scores: np.ndarray) -> tuple[float, float]:
    """Draw subjects in all ways that there are: mean and variance of the mean of their scores, (n_subjects,)."""
    means = [scores[list(drawn)].mean() for drawn in product(range(len(scores)), repeat=len(scores))]
    return float(np.mean(means)), float(np.var(means))


def conditions_that_carry(rdm):
    """1 / the largest share of the variance of a square RDM that is in the pairs of one condition."""
    n = len(rdm)
    pairs = [(i, j) for i in range(n) for j in range(i)]
    mean = sum(rdm[i][j] for i, j in pairs) / len(pairs)
    squares = {pair: (rdm[pair[0]][pair[1]] - mean) ** 2 for pair in pairs}
    shares = [sum(one for pair, one in squares.items() if k in pair) / sum(squares.values()) for k in range(n)]
    return 1 / max(shares)


def variance_over_both(observed: np.ndarray, samples: np.ndarray, n_conditions: int) -> float:
    """Estimate the variance of a mean over subjects and conditions from scores in samples, (n_samples, n_subjects)."""
    n = len(observed)
    of_subjects = mean_over_subjects_drawn(observed)[1]
    means, spreads = zip(*(mean_over_subjects_drawn(sample) for sample in samples), strict=True)
    of_conditions, of_both = float(np.var(samples.mean(axis=1))), float(np.var(means) + np.mean(spreads))
    few, fewer = n / (n - 1), n_conditions / (n_conditions - 1)
    once = few * of_subjects + fewer * of_conditions - few * fewer * (of_both - of_subjects - of_conditions)
    least = max(few * of_subjects, fewer * of_conditions)
    return min(max(once, least), max(of_both, least))
