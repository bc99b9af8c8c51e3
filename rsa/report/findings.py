"""What a study found, as tables: which reference fits best where and when, how sure that is, and what was planted."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from rsa.core import QUALITY, SAME_S, TEST, Array, Neighbourhood, ScoreMap, Volume
from rsa.inference.clusters import region_of
from rsa.inference.contrasts import DIFFERENCE
from rsa.meeg.sensors import GROUP
from rsa.rdm import MEEG
from rsa.report.study import at_one_time, region_means
from rsa.significance import keys_of, significance_of

__all__ = [
    "MOST_PLACES",
    "TOLD_OF_BOTH",
    "Findings",
    "best_in_regions",
    "best_in_time",
    "best_over_sensors",
    "best_places",
    "planted_places",
    "planted_times",
    "significant_times",
]

SEPARATION_MM = 20.0
"""Two places that are listed are at least so far from each other, and each is the highest around it."""

MOST_PLACES = 8
"""So many places are told at most."""

PLACE_COLUMNS = [
    *("model", "layer", "time_s", "score", "p_corrected", "significant", "share_of_ceiling"),
    *("x_mm", "y_mm", "z_mm", "region", "next_best", "next_score"),
]
SHARE = "share_of_ceiling"
TOLD_OF_BOTH = ("both_lower", "both_upper", "p_both_corrected", "few_conditions")
"""What is told of the score of a region for other subjects who see other pictures."""


@dataclass(frozen=True, eq=False)
class Findings:
    """What a study found; each table has a row per finding, the highest score first, and is empty where none is known.

    Parameters
    ----------
    who : str
        Whose the maps are: "group", or the label of the only subject; "" for several subjects without a group.
    places : DataFrame
        Places in the brain (`best_places`), with `who`.
    fusion : DataFrame
        The same of M/EEG RDMs over time.
    fusion_times_s : list of (first, last)
        When scores of fusion are significant anywhere.
    regions, courses, sensors : DataFrame
        From `best_in_regions`, `best_in_time` and `best_over_sensors`.
    hierarchy : DataFrame
        The rank correlation of the number of a layer and the time of its peak.
    planted, planted_times : DataFrame
        What a simulation put there, beside what was found.
    alpha : float
        The highest corrected p that is significant.
    words : str
        How p of maps were corrected; "" where none was tested.
    """

    who: str = ""
    places: pd.DataFrame = field(default_factory=pd.DataFrame)
    fusion: pd.DataFrame = field(default_factory=pd.DataFrame)
    fusion_times_s: Sequence[tuple[float, float]] = ()
    regions: pd.DataFrame = field(default_factory=pd.DataFrame)
    courses: pd.DataFrame = field(default_factory=pd.DataFrame)
    hierarchy: pd.DataFrame = field(default_factory=pd.DataFrame)
    sensors: pd.DataFrame = field(default_factory=pd.DataFrame)
    planted: pd.DataFrame = field(default_factory=pd.DataFrame)
    planted_times: pd.DataFrame = field(default_factory=pd.DataFrame)
    alpha: float = 0.05
    words: str = ""


# ---------------------------------------------------------------------------------------------- places


def best_places(
    scores: ScoreMap,
    models: Collection[str],
    *,
    settings: Mapping[str, Any] | None = None,
    regions: Neighbourhood | None = None,
    n_places: int = MOST_PLACES,
) -> pd.DataFrame:
    """List the places with the highest scores over all references, and which of these it is that fits best there.

    Places are those of significant scores where there are some, and at least 20 mm from each other. The best reference
    of a place is chosen by the same scores, so its score is inflated by selection.

    Parameters
    ----------
    scores : ScoreMap
        Scores of a group or subject over voxels; below them, what a test found, if there was one.
    models : collection of str
        Names in the column `model` that compete with each other.
    settings : mapping, optional
        Of the provenance of the tests.
    regions : Neighbourhood, optional
        Regions over the same voxels, for the names of places.
    n_places : int
        At most so many.

    Returns
    -------
    DataFrame
        The columns `PLACE_COLUMNS`: `significant` is True, False, or None where nothing was tested; `next_best` is the
        reference (with its layer) that comes second there.
    """
    shown, space = _shown(scores, models), scores.space
    if space is None or not len(shown):
        return pd.DataFrame(columns=PLACE_COLUMNS)
    tests = significance_of(scores, settings)
    found = np.full(shown.values.shape, np.nan) if tests is None else tests.of(shown)
    logp = np.full(shown.values.shape, np.nan) if tests is None else tests.logp_of(shown)
    two_sided = str((settings or {}).get("inference", {}).get("alternative", "")) == "two-sided" and tests is not None
    sizes = np.abs(shown.values) if two_sided else shown.values
    chosen = (found == 1) & np.isfinite(sizes)
    for kept in (chosen, sizes > 0, np.isfinite(sizes)):  # what is not significant counts where nothing else does
        if kept.any():
            sizes = np.where(kept, sizes, -np.inf)
            break
    highest = sizes.max(axis=0)
    step_mm = 0.0 if scores.volume is None else float(abs(np.linalg.det(scores.volume.affine[:3, :3]))) ** (1 / 3)
    near_mm = max(SEPARATION_MM / 2, 1.8 * step_mm)  # of a coarse grid, all 26 voxels around
    voxels = local_peaks(highest, space.centres_mm, n_places, near_mm)
    shares = _rows_of_statistic(scores, SHARE)
    rows = []
    for voxel in voxels:
        row = int(sizes[:, voxel].argmax())
        labels, key = shown.table.iloc[row], keys_of(shown.table.iloc[[row]])[0]
        tested = np.isfinite(logp[row, voxel])
        share = scores.values[shares[key], voxel] if key in shares else np.nan
        second = _next_best(shown, row, voxel)
        rows.append(
            {
                "model": labels["model"],
                "layer": key[1],
                "time_s": labels.get("time_s", np.nan),
                "score": float(shown.values[row, voxel]),
                "p_corrected": 10.0 ** -float(logp[row, voxel]) if tested else np.nan,
                "significant": bool(found[row, voxel] == 1) if tested else None,
                SHARE: float(share),
                **dict(zip(("x_mm", "y_mm", "z_mm"), space.centres_mm[voxel].round(2).tolist(), strict=True)),
                "region": "" if regions is None else region_of(voxel, regions),
                "next_best": second[0],
                "next_score": second[1],
            }
        )
    return pd.DataFrame(rows, columns=PLACE_COLUMNS)


def local_peaks(values: Array, centres_mm: Array, n_peaks: int, near_mm: float) -> list[int]:
    """Return the columns of the highest values that none nearby exceeds, the highest first, 20 mm apart.

    Parameters
    ----------
    values : array, shape (n_columns,)
        -inf where there is none.
    centres_mm : array, shape (n_columns, 3)
        Where the columns are.
    n_peaks : int
        At most so many.
    near_mm : float
        What is nearby.
    """
    left = values.copy()
    found: list[int] = []
    while len(found) < n_peaks and left.max(initial=-np.inf) > -np.inf:
        best = int(left.argmax())
        distances_mm = np.linalg.norm(centres_mm - centres_mm[best], axis=1)
        near = distances_mm <= near_mm
        is_peak = values[best] >= values[near].max()
        found += [best] if is_peak else []
        left[distances_mm < SEPARATION_MM if is_peak else near] = -np.inf  # beside a higher one is no peak
    return found


def significant_times(scores: ScoreMap, settings: Mapping[str, Any] | None = None) -> list[tuple[float, float]]:
    """Return from when to when scores of M/EEG RDMs are significant somewhere; times without a gap are one stretch."""
    tests, shown = significance_of(scores, settings), _shown(scores, [MEEG])
    if tests is None or not len(shown) or "time_s" not in shown.table:
        return []
    times = shown.table["time_s"].to_numpy(float)
    order = np.argsort(times)
    found = (tests.of(shown)[order] == 1).any(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], found.astype(int), [0]])))
    times = times[order]
    return [(float(times[a]), float(times[b - 1])) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _shown(scores: ScoreMap, models: Collection[str]) -> ScoreMap:
    """Return the scores of some models: of two groups their difference, which was tested, or else the mean."""
    table = scores.table
    whose = table["model"].isin(list(models)) & (table["role"] != QUALITY)
    difference = whose & (table["statistic"] == DIFFERENCE)
    plain = whose & (table["role"] != TEST)
    statistics = list(dict.fromkeys(table.loc[plain, "statistic"]))
    first = "mean" if "mean" in statistics else next(iter(statistics), "")
    rows = difference if difference.any() else plain & (table["statistic"] == first)
    return ScoreMap(scores.values[rows.to_numpy()], table[rows], scores.space, scores.regions)


def _rows_of_statistic(scores: ScoreMap, statistic: str) -> dict[tuple[str, str, float], int]:
    rows = np.flatnonzero((scores.table["statistic"] == statistic).to_numpy())
    return dict(zip(keys_of(scores.table.iloc[rows]), rows.tolist(), strict=True))


def _next_best(shown: ScoreMap, row: int, voxel: int) -> tuple[str, float]:
    """Return which other reference (or layer) comes second at a voxel at the same time, and its score."""
    table, labels = shown.table, shown.table.iloc[row]
    others = np.arange(len(table)) != row
    if "time_s" in table and not pd.isna(labels["time_s"]):
        others &= np.abs(table["time_s"].to_numpy(float) - labels["time_s"]) < SAME_S
    values = np.where(others & np.isfinite(shown.values[:, voxel]), shown.values[:, voxel], -np.inf)
    second = int(values.argmax()) if len(values) else 0
    if not len(values) or values[second] == -np.inf:
        return "", np.nan
    return " ".join(filter(None, keys_of(table.iloc[[second]])[0][:2])), float(values[second])


# --------------------------------------------------------------------------------- regions, times, sensors


def best_in_regions(
    fits: pd.DataFrame, models: Collection[str], tested: pd.DataFrame | None = None, alpha: float = 0.05
) -> pd.DataFrame:
    """Return the reference with the highest mean score of each region, in the order of the table.

    Parameters
    ----------
    fits : DataFrame
        From `rsa.rdm.region_fits`; over time, a region is shown at its best time.
    models : collection of str
        The references that compete.
    tested : DataFrame, optional
        From `rsa.inference.regions.region_group`.
    alpha : float
        The highest corrected p that is significant.

    Returns
    -------
    DataFrame
        `region`, `model`, `layer`, `time_s`, `score`, `lower`, `upper` (95 % interval of the mean over subjects),
        `p_corrected`, `significant`, those of `TOLD_OF_BOTH` (NaN where they are not known), `share_of_ceiling` (of the
        upper bound, where the lower is above 0), `next_best`, `next_score`.
    """
    from scipy.special import stdtrit  # every job that draws imports this module, and the page alone calls this

    means = region_means(at_one_time(fits.assign(layer=fits["layer"].fillna(""))))
    means = means[means["model"].isin(list(models)) & means["mean"].notna()].reset_index(drop=True)
    half = means["standard_error"] * stdtrit((means["n_subjects"] - 1).clip(lower=1), 0.975)
    means = means.assign(lower=means["mean"] - half, upper=means["mean"] + half, p_corrected=np.nan)
    means = means.assign(**dict.fromkeys(TOLD_OF_BOTH, np.nan))
    if tested is not None:
        keys = [name for name in ("region", "model", "layer", "time_s") if name in means and name in tested]
        said = [name for name in ("lower", "upper", "p_corrected", *TOLD_OF_BOTH) if name in tested]
        own = tested.assign(layer=tested["layer"].fillna("") if "layer" in tested else "")[[*keys, *said]]
        means = means.drop(columns=said).merge(own, on=keys, how="left")
    rows = []
    for region, of_region in means.groupby("region", sort=False):
        ordered = of_region.sort_values("mean", ascending=False, kind="stable")
        best, second = ordered.iloc[0], ordered.iloc[1] if len(ordered) > 1 else None
        p = float(best["p_corrected"])
        rows.append(
            {
                "region": region,
                "model": best["model"],
                "layer": best["layer"],
                "time_s": best.get("time_s", np.nan),
                "score": best["mean"],
                "lower": best["lower"],
                "upper": best["upper"],
                "p_corrected": p,
                "significant": None if np.isnan(p) else p <= alpha,
                **{name: float(best[name]) for name in TOLD_OF_BOTH},
                SHARE: best["mean"] / best["ceiling_upper"] if best["ceiling_lower"] > 0 else np.nan,
                "next_best": "" if second is None else f"{second['model']} {second['layer']}".strip(),
                "next_score": np.nan if second is None else second["mean"],
            }
        )
    return pd.DataFrame(rows)


def best_in_time(latencies: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Return the layer of each model with the highest score over time, with its onset and peak and their intervals."""
    table = latencies.assign(layer=latencies["layer"].fillna("")).dropna(subset="peak_score")
    best = table.loc[table.groupby("model", sort=False)["peak_score"].idxmax()]
    return _by_score(best.assign(score=best["peak_score"], p_corrected=best["peak_p"]), alpha)


def best_over_sensors(peaks: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Return the highest score of each model over sensors and times: of the group, if there is one."""
    group = peaks[peaks["subject"] == GROUP]
    table = (group if len(group) else peaks).dropna(subset="score")
    table = table.assign(layer=table["layer"].fillna(""))
    best = table.loc[table.groupby("model", sort=False)["score"].idxmax()]
    return _by_score(best if "p_corrected" in best else best.assign(p_corrected=np.nan), alpha)


def _by_score(best: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Say of findings whether they are significant, and put the highest score first."""
    found = [None if pd.isna(p) else bool(p <= alpha) for p in best["p_corrected"]]
    best = best.assign(significant=pd.Series(found, best.index, dtype=object))
    return best.sort_values("score", ascending=False, kind="stable").reset_index(drop=True)


# --------------------------------------------------------------------------------------------- planted


def planted_places(
    simulation: Any,
    scores: ScoreMap,
    models: Collection[str],
    places: pd.DataFrame,
    atlas: nib.Nifti1Image | None = None,
) -> pd.DataFrame:
    """Compare the layers that a simulation put into places with those that fit best there.

    Parameters
    ----------
    simulation : rsa.simulation.settings.Simulation
        What was planted where.
    scores : ScoreMap
        Scores of the group, or of a subject.
    models : collection of str
        The references that compete.
    places : DataFrame
        From `best_places`: how far the nearest is from the middle of each sphere, or from each region of the atlas.
    atlas : image, optional
        That of the simulation, for places that are numbers in it.

    Returns
    -------
    DataFrame
        A row per planted sphere (or region of the atlas): `place`, its middle (`x_mm`, ...: the centre of a
        sphere as it was planted, the mean of the voxels of a region), the planted `model` and
        `layer`, the reference that has the highest mean score over its voxels (`found_model`, `found_layer`), that
        `mean_score`, `is_found` (both agree), `peak_distance_mm` of the nearest of `places` from the middle of a sphere
        or the nearest voxel of a region, and `fused_s`, the median over the voxels of the time of the highest score of
        M/EEG RDMs (NaN without fusion).
    """
    volume, shown, fused = scores.volume, _shown(scores, models), _shown(scores, [MEEG])
    rows: list[dict[str, Any]] = []
    if volume is None or not len(shown):
        return pd.DataFrame()
    peaks_mm = places[["x_mm", "y_mm", "z_mm"]].to_numpy(float) if len(places) else np.empty((0, 3))
    for planted, centre_mm, inside in _planted_voxels(simulation, volume, atlas):
        middle = volume.centres_mm[inside].mean(axis=0) if centre_mm is None else centre_mm
        means = np.nan_to_num(shown.values[:, inside].mean(axis=1, where=np.isfinite(shown.values[:, inside])), nan=-9)
        best = int(means.argmax())
        model, layer, _ = keys_of(shown.table.iloc[[best]])[0]
        around_mm = volume.centres_mm[inside] if centre_mm is None else middle[None]
        nearest = np.linalg.norm(peaks_mm[:, None] - around_mm[None], axis=2).min(initial=np.inf)
        rows.append(
            {
                "place": planted.name,
                **dict(zip(("x_mm", "y_mm", "z_mm"), middle.round(1).tolist(), strict=True)),
                "model": planted.model,
                "layer": planted.layer,
                "found_model": model,
                "found_layer": layer,
                "mean_score": float(means[best]),
                "is_found": (model, layer) == (planted.model, planted.layer),
                "peak_distance_mm": float(nearest) if np.isfinite(nearest) else np.nan,
                "fused_s": _fused_time(fused, inside),
            }
        )
    return pd.DataFrame(rows)


def _planted_voxels(
    simulation: Any, volume: Volume, atlas: nib.Nifti1Image | None
) -> list[tuple[Any, Array | None, Array]]:
    """Return each planted place, the centre of a sphere, and its voxels; places outside the mask are left out."""
    found: list[tuple[Any, Array | None, Array]] = []
    for planted in simulation.regions:
        for centre in planted.centres_mm:
            centre_mm = np.array(centre, dtype=float)
            inside = np.linalg.norm(volume.centres_mm - centre_mm, axis=1) <= planted.radius_mm
            found.append((planted, centre_mm, np.flatnonzero(inside)))
        if planted.atlas_indices and atlas is not None:
            at = nib.affines.apply_affine(np.linalg.inv(atlas.affine), volume.centres_mm).round().astype(int)
            numbers = np.asarray(atlas.dataobj)
            within = ((at >= 0) & (at < numbers.shape[:3])).all(axis=1)
            own = np.full(len(at), -1)
            own[within] = numbers[tuple(at[within].T)].round()
            found += [(planted, None, np.flatnonzero(own == number)) for number in planted.atlas_indices]
    return [one for one in found if len(one[2])]


def _fused_time(fused: ScoreMap, voxels: Array) -> float:
    """Return the median over voxels of the time of their highest score."""
    if not len(fused) or "time_s" not in fused.table:
        return np.nan
    values = fused.values[:, voxels]
    values = values[:, np.isfinite(values).all(axis=0)]
    return float(np.median(fused.table["time_s"].to_numpy(float)[values.argmax(axis=0)])) if values.size else np.nan


def planted_times(simulation: Any, latencies: pd.DataFrame) -> pd.DataFrame:
    """Compare the times at which a simulation shows layers with the peaks of their courses.

    Returns
    -------
    DataFrame
        `response`, the planted `model`, `layer` and `planted_s`, and of the course of that layer `peak_s`,
        `peak_lower_s`, `peak_upper_s` and `onset_s`.
    """
    table = latencies.assign(layer=latencies["layer"].fillna(""))
    rows = []
    for planted in simulation.epochs.latencies if simulation.epochs is not None else ():
        found = table[(table["model"] == planted.model) & (table["layer"] == planted.layer)]
        said = ("peak_s", "peak_lower_s", "peak_upper_s", "onset_s")
        times = {name: float(found[name].iloc[0]) if len(found) else np.nan for name in said}
        rows.append(
            {"response": planted.name, "model": planted.model, "layer": planted.layer, "planted_s": planted.peak_s}
            | times
        )
    return pd.DataFrame(rows)
