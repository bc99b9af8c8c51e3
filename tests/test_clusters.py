"""Tables of clusters, by hand on a small grid."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from rsa.core import QUALITY, REFERENCE, TEST, Neighbourhood, ScoreMap, Volume
from rsa.inference.clusters import CLUSTER_COLUMNS, cluster_table
from rsa.inference.graph import voxel_graph
from rsa.neighbourhood import from_masks

AFFINE = np.diag([-2.0, 2.0, 3.0, 1.0])
GRID = Volume(np.ones((8, 1, 1), bool), AFFINE)
"""A line of eight voxels of 12 mm^3."""


def stack(rows: list[tuple[str, str, float, str, str, list[float]]], volume: Volume = GRID, timed=False) -> ScoreMap:
    """Make scores of (model, layer, time, statistic, role, values)."""
    table = pd.DataFrame([row[:5] for row in rows], columns=["model", "layer", "time_s", "statistic", "role"])
    table = table if timed else table.drop(columns="time_s")
    return ScoreMap(np.array([row[5] for row in rows]), table, volume)


def logp(*significant: int, p: float = 0.01, n: int = 8) -> list[float]:
    """Return -log10 of p where it is significant, and of .5 elsewhere."""
    return [-np.log10(p if place in significant else 0.5) for place in range(n)]


def test_clusters_are_listed_with_size_mass_peak_and_p():
    scores = [0.1, 0.2, 0.3, 0.9, 0.1, 0.4, 0.5, 0.2]
    corrected = [-np.log10(p) for p in (0.9, 0.05, 0.02, 0.2, 0.3, 0.04, 0.01, 0.03)]
    rows = [
        ("net", "a", 0, "mean", REFERENCE, scores),
        ("net", "a", 0, "t", REFERENCE, [9.0] * 8),
        ("net", "a", 0, "logp_max_stat", TEST, logp(0, 1, 2, 3, 4, 5)),
        ("net", "a", 0, "logp_max_mass", TEST, corrected),
    ]
    table = cluster_table(stack(rows), voxel_graph(GRID), 0.05)
    assert list(table.columns) == [name for name in CLUSTER_COLUMNS if "time" not in name and name != "region"]
    first, second = table.to_dict("records")
    assert (first["model"], first["layer"], first["cluster"], first["n_voxels"]) == ("net", "a", 1, 3)
    assert first["volume_mm3"] == pytest.approx(36)
    assert first["mass"] == pytest.approx(1.1)
    assert first["peak_score"] == pytest.approx(0.5)
    assert first["p_corrected"] == pytest.approx(0.01)
    assert (first["x_mm"], first["y_mm"], first["z_mm"]) == (-12, 0, 0)
    assert (second["cluster"], second["n_voxels"], second["x_mm"]) == (2, 2, -4), "p = .05 is significant"
    assert second["mass"] == pytest.approx(0.5)
    assert second["p_corrected"] == pytest.approx(0.02)


def test_each_map_has_clusters_of_its_own_in_its_order():
    rows = [(model, layer, 0, "t", REFERENCE, [1.0] * 8) for model, layer in (("net", "b"), ("net", "a"), ("c", ""))]
    rows += [(model, layer, 0, "mean", REFERENCE, [0.5] * 8) for model, layer, *_ in rows]
    rows += [("ceilinglower", "", 0, "mean", QUALITY, [0.9] * 8)]
    rows += [("c", "", 0, "logp_max_stat", TEST, logp(0)), ("net", "a", 0, "logp_max_stat", TEST, logp(3, 5))]
    rows += [("net", "b", 0, "logp_max_stat", TEST, logp())]
    table = cluster_table(stack(rows), voxel_graph(GRID), 0.05)
    assert table[["model", "layer", "cluster"]].to_numpy().tolist() == [["c", "", 1], ["net", "a", 1], ["net", "a", 2]]
    assert (table["peak_score"] == 0.5).all(), "scores are means, in whatever order the group has its maps"


def test_nothing_significant_is_a_table_with_its_columns():
    rows = [("net", "a", 0, "mean", REFERENCE, [0.5] * 8), ("net", "a", 0, "logp_max_tfce", TEST, logp())]
    undefined = [("net", "b", 0, "mean", REFERENCE, [np.nan] * 8), ("net", "b", 0, "logp_max_tfce", TEST, [np.nan] * 8)]
    table = cluster_table(stack(rows + undefined), voxel_graph(GRID), 0.05)
    assert len(table) == 0
    assert list(table.columns) == list(CLUSTER_COLUMNS)


def over_time() -> ScoreMap:
    """Three times, of which rows are not in order; one cluster moves along the line, and another is at the last."""
    significant = {0.0: logp(0, 1), 0.1: logp(1, 2), 0.2: logp(6, 7)}
    scores = {0.0: [0.1] * 8, 0.1: [0.1, 0.2, 0.7, 0, 0, 0, 0, 0], 0.2: [0, 0, 0, 0, 0, 0, 0.3, 0.4]}
    rows = [("meeg", "", time, "mean", REFERENCE, scores[time]) for time in (0.1, 0.2, 0.0)]
    rows += [("meeg", "", time, "logp_max_tfce", TEST, significant[time]) for time in (0.2, 0.0, 0.1)]
    rows += [("net", "a", np.nan, "mean", REFERENCE, [0.6] * 8)]
    rows += [("net", "a", np.nan, "logp_max_tfce", TEST, logp(4))]
    return stack(rows, timed=True)


def test_clusters_go_through_time():
    table = cluster_table(over_time(), voxel_graph(GRID), 0.05)
    meeg = table[table["model"] == "meeg"].to_dict("records")
    assert [one["n_voxels"] for one in meeg] == [3, 2], "a voxel counts once"
    assert meeg[0]["mass"] == pytest.approx(0.1 + 0.1 + 0.2 + 0.7)
    assert meeg[0]["volume_mm3"] == pytest.approx(36)
    assert (meeg[0]["time_s"], meeg[0]["time_from_s"], meeg[0]["time_to_s"]) == (0.1, 0, 0.1)
    assert meeg[0]["x_mm"] == -4
    assert (meeg[1]["time_from_s"], meeg[1]["time_to_s"], meeg[1]["x_mm"]) == (0.2, 0.2, -14)
    (net,) = table[table["model"] == "net"].to_dict("records")
    assert (net["n_voxels"], net["x_mm"]) == (1, -8)
    assert np.isnan([net["time_s"], net["time_from_s"], net["time_to_s"]]).all()


def test_times_that_are_tested_apart_have_clusters_of_their_own():
    table = cluster_table(over_time(), voxel_graph(GRID), 0.05, in_time=False)
    meeg = table[table["model"] == "meeg"]
    assert meeg[["n_voxels", "time_from_s", "time_to_s"]].to_numpy().tolist() == [
        [2, 0.1, 0.1],
        [2, 0.2, 0.2],
        [2, 0.0, 0.0],
    ], "of as many voxels, the larger mass first"
    np.testing.assert_allclose(meeg["mass"], [0.9, 0.7, 0.2], rtol=1e-6)


def test_low_scores_of_a_two_sided_test_have_clusters_with_a_negative_mass():
    scores = [-0.1, -0.6, -0.2, 0, 0.3, 0.2, 0, 0]
    rows = [("net", "a", 0, "spearman", REFERENCE, scores)]
    rows += [("net", "a", 0, "logp_max_size", TEST, logp(0, 1, 2, 4, 5))]
    table = cluster_table(stack(rows), voxel_graph(GRID), 0.05)
    np.testing.assert_allclose(table["mass"], [-0.9, 0.5], rtol=1e-6)
    np.testing.assert_allclose(table["peak_score"], [-0.6, 0.3], rtol=1e-6)
    assert table["x_mm"].tolist() == [-2, -8]


@pytest.mark.parametrize("timed", [False, True])
def test_contrasts_and_groups_are_told_by_what_was_tested(timed):
    times = (0.0, 0.1) if timed else (np.nan,)
    rows = [("a", "", time, "mean", REFERENCE, [0.5] * 8) for time in times]
    rows += [("a", "", time, "difference", TEST, [0.1 + (time > 0)] * 8) for time in times]
    rows += [("a-b", "", time, "difference", TEST, [0.2 + (time > 0)] * 8) for time in times]
    rows += [(name, "", time, "logp_max_stat", TEST, logp(3)) for name in ("a", "a-b") for time in times]
    table = cluster_table(stack(rows, timed=timed), voxel_graph(GRID), 0.05, in_time=False).set_index("model")
    expected = [1.1, 0.1, 1.2, 0.2] if timed else [0.1, 0.2]
    np.testing.assert_allclose(table["peak_score"], expected, rtol=1e-6)
    assert table.index.tolist() == (["a", "a", "a-b", "a-b"] if timed else ["a", "a-b"])


def regions_of(volume: Volume) -> Neighbourhood:
    """Regions of voxels 0 to 2 and 2 to 4."""
    masks = np.zeros((2, *volume.shape), bool)
    masks[0, :3], masks[1, 2:5] = True, True
    return from_masks(volume, {"V1": masks[0], "V2": masks[1]})


def test_clusters_are_called_by_the_region_of_their_peak():
    scores = [0.1, 0.1, 0.9, 0, 0.5, 0, 0.3, 0.2]
    rows = [("net", "a", 0, "mean", REFERENCE, scores), ("net", "a", 0, "logp_max_stat", TEST, logp(0, 1, 2, 4, 6))]
    table = cluster_table(stack(rows), voxel_graph(GRID), 0.05, regions=regions_of(GRID))
    assert table["region"].tolist() == ["V1", "V2", ""], "the first region that has it; none"


def test_voxels_are_neighbours_as_far_apart_as_the_stride():
    rows = [("net", "a", 0, "mean", REFERENCE, [0.5] * 8), ("net", "a", 0, "logp_max_stat", TEST, logp(0, 2, 4, 7))]
    assert len(cluster_table(stack(rows), voxel_graph(GRID), 0.05)) == 4
    assert cluster_table(stack(rows), voxel_graph(GRID, stride=2), 0.05)["n_voxels"].tolist() == [3, 1]


def test_clusters_of_a_mask_with_a_gap_and_corners():
    mask = np.ones((3, 3, 1), bool)
    mask[1, 1] = False
    volume = replace(GRID, mask=mask)  # columns: (0,0) (0,1) (0,2) (1,0) (1,2) (2,0) (2,1) (2,2)
    rows = [
        ("net", "a", 0, "mean", REFERENCE, [0.5] * 8),
        ("net", "a", 0, "logp_max_stat", TEST, logp(1, 3, 7)),  # (0,1) and (1,0) share an edge
    ]
    assert cluster_table(stack(rows, volume), voxel_graph(volume, 18), 0.05)["n_voxels"].tolist() == [2, 1]
    assert cluster_table(stack(rows, volume), voxel_graph(volume, 6), 0.05)["n_voxels"].tolist() == [1, 1, 1]
