"""Clusters of significant voxels: where they are, how large, and their corrected p."""

from typing import Any

import numpy as np
import pandas as pd

from rsa.core import QUALITY, TEST, Array, Neighbourhood, ScoreMap
from rsa.inference.contrasts import DIFFERENCE
from rsa.inference.enhance import components
from rsa.inference.graph import Graph
from rsa.significance import ROUNDING, primary_name

__all__ = ["CLUSTER_COLUMNS", "cluster_table", "region_of"]

CLUSTER_COLUMNS = {
    "model": "Network, reference, or contrast",
    "layer": "Layer of the network",
    "cluster": "Number of the cluster in its map, the largest first",
    "n_voxels": "Number of voxels in the cluster, at any time",
    "volume_mm3": "Volume of these, mm^3",
    "mass": "Sum of the scores of the cluster over voxels (and times)",
    "peak_score": "Highest score of the cluster",
    "p_corrected": "Smallest corrected p in the cluster, family-wise",
    "x_mm": "Scanner coordinate of the highest score, mm",
    "y_mm": "Scanner coordinate of the highest score, mm",
    "z_mm": "Scanner coordinate of the highest score, mm",
    "time_s": "Time of the highest score, s",
    "time_from_s": "First time of the cluster, s",
    "time_to_s": "Last time of the cluster, s",
    "region": "Region in which the highest score is",
}


def cluster_table(
    scores: ScoreMap, graph: Graph, alpha: float, *, in_time: bool = True, regions: Neighbourhood | None = None
) -> pd.DataFrame:
    """List the clusters of connected voxels (and times) whose corrected p is alpha or less.

    Parameters
    ----------
    scores : ScoreMap
        Scores of a group or subject over voxels, and below them what a test found (`rsa.inference.tally.Tested.maps`).
    graph : Graph
        Which voxels are neighbours.
    alpha : float
        The corrected p up to which a voxel is significant.
    in_time : bool
        Whether a voxel is connected with itself one time later.
    regions : Neighbourhood, optional
        Regions over the same voxels, for the names of places.

    Returns
    -------
    DataFrame
        A row per cluster, with the columns `CLUSTER_COLUMNS` as far as there is something to say, the largest cluster
        of each map first.
    """
    primary = primary_name(scores.table["statistic"])
    untested = scores.table.loc[scores.table["role"] != TEST, "statistic"]
    first = "mean" if (untested == "mean").any() else untested.iloc[0]
    rows: list[dict[str, Any]] = []
    labels = scores.table.reindex(columns=["model", "layer"]).fillna("").astype(str)
    of_p = scores.table["statistic"] == primary
    for (model, layer), found in labels[of_p].groupby(["model", "layer"], sort=False):
        tested = scores.table.loc[found.index]
        whose = (labels["model"] == model) & (labels["layer"] == layer) & (scores.table["role"] != QUALITY)
        is_effect = whose & (scores.table["statistic"] == DIFFERENCE)  # of groups and contrasts: what was tested
        shown = scores.table[is_effect if is_effect.any() else whose & (scores.table["statistic"] == first)]
        if "time_s" in tested and tested["time_s"].notna().all():
            tested, shown = tested.sort_values("time_s"), shown.sort_values("time_s")
        values, logp = scores.values[shown.index], scores.values[tested.index]
        times_s = tested["time_s"].to_numpy(float) if "time_s" in tested else np.full(len(tested), np.nan)
        for one in _clusters(values, logp, graph, alpha, in_time, scores, times_s, regions):
            rows.append({"model": model, "layer": layer, **one})
    table = pd.DataFrame(rows, columns=list(CLUSTER_COLUMNS))
    said = [name for name in table if name in ("model", "layer") or not table[name].isna().all() or not len(table)]
    return table[said]


def _clusters(
    values: Array,
    logp: Array,
    graph: Graph,
    alpha: float,
    in_time: bool,
    scores: ScoreMap,
    times_s: Array,
    regions: Neighbourhood | None,
) -> list[dict[str, Any]]:
    """Describe the clusters of one map, (n_times, n_voxels), the largest first."""
    significant = logp >= -np.log10(alpha) - ROUNDING  # NaN is not
    numbers = components(significant, graph) if in_time else np.zeros(significant.shape, int)
    if not in_time:
        for time in range(len(significant)):
            own = components(significant[[time]], graph)[0]
            numbers[time] = np.where(own > 0, own + numbers.max(), 0)
    space = scores.space
    assert space is not None, "clusters are of voxels"
    voxel_mm3 = float(abs(np.linalg.det(scores.volume.affine[:3, :3]))) if scores.volume is not None else np.nan
    found = []
    for number in range(1, int(numbers.max(initial=0)) + 1):
        times, voxels = np.nonzero(numbers == number)
        own = values[times, voxels]
        best = int(np.abs(own).argmax())
        place = space.centres_mm[voxels[best]].round(2)
        n_voxels = len(np.unique(voxels))
        found.append(
            {
                "n_voxels": n_voxels,
                "volume_mm3": n_voxels * voxel_mm3,
                "mass": float(own.sum(dtype=np.float64)),
                "peak_score": float(own[best]),
                "p_corrected": float(10.0 ** -logp[times, voxels].max()),
                **dict(zip(("x_mm", "y_mm", "z_mm"), place, strict=True)),
                "time_s": times_s[times[best]],
                "time_from_s": times_s[times.min()],
                "time_to_s": times_s[times.max()],
                "region": None if regions is None else region_of(int(voxels[best]), regions),
            }
        )
    found.sort(key=lambda one: (-one["n_voxels"], -abs(one["mass"])))
    return [{"cluster": number, **one} for number, one in enumerate(found, start=1)]


def region_of(voxel: int, regions: Neighbourhood) -> str:
    """Return the name of the first region that has a voxel, empty where none has."""
    assert regions.regions is not None, "regions have names"
    having = [row for row in range(len(regions)) if voxel in regions.members(row)]
    return str(regions.regions["region"].iloc[having[0]]) if having else ""
