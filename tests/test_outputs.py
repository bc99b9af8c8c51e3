"""Files of maps: what is in the image, in its header, in its sidecar, and in the table of peaks."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from rsa.core import QUALITY, ScoreMap, Volume
from rsa.errors import UserError
from rsa.files.maps import PEAK_COLUMNS, write_maps
from rsa.inference.group import GROUP_TESTS
from rsa.maps import MAPS, derive

MADE = {"settings": {"radius_mm": 8}, "versions": {"brain-model-rsa": "1"}}
EVEN, UNEVEN = [-1.5, 0.0, 1.5], [0.0, 2.0, 6.0]


def scores_of(rows, rng, **columns) -> ScoreMap:
    """Scores of rows (model, layer, time) over a mask that leaves some of the grid out."""
    mask = rng.random((5, 4, 3)) < 0.7
    affine = np.diag([-2.0, 2.5, 3.0, 1.0])
    volume = Volume(mask, affine, 4, 1)
    table = pd.DataFrame(rows, columns=["model", "layer", "time_s"]).assign(**{"statistic": "spearman", **columns})
    values = rng.uniform(-0.5, 0.9, (len(table), volume.n_voxels))
    counts = np.full(volume.n_voxels, 20)
    return ScoreMap(values, table, volume, n_members=counts, reason=np.zeros(volume.n_voxels, dtype=int))


def over(times, *references) -> list[tuple[str, str, float]]:
    return [(model, layer, time) for time in times for model, layer in references]


def written(folder, scores, subject="01", derived=tuple(MAPS)):
    write_maps(scores, folder, subject, "T1w", derived, MADE, folder / "scores.h5")
    stem = f"sub-{subject}_space-T1w_" if subject else "space-T1w_"
    here = folder / (f"sub-{subject}" if subject else "group")
    return here, {path.name.removeprefix(stem) for path in here.iterdir()}, here / stem


def sidecar(path) -> dict:
    return json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())


def named(stem, name):
    return stem.with_name(f"{stem.name}{name}_statmap.nii.gz")


def test_times_of_a_map_are_the_volumes_of_one_image(tmp_path, rng):
    shuffled = [EVEN[2], EVEN[0], EVEN[1]]
    scores = scores_of(over(shuffled, ("net", "a"), ("net", "b"), ("x", "")), rng)
    _, names, stem = written(tmp_path, scores)
    maps = ["model-net_layer-a_stat-spearman", "model-net_layer-b_stat-spearman", "model-x_stat-spearman"]
    maps += ["model-net_stat-bestlayer", "model-net_stat-layergradient", "model-net_stat-timeofbestlayer"]
    maps += ["model-net_layer-a_stat-peaktime", "model-net_layer-b_stat-peaktime", "model-x_stat-peaktime"]
    maps += ["stat-nvoxels", "stat-reason"]
    expected = {f"{name}_statmap{ending}" for name in maps for ending in (".nii.gz", ".json")}
    assert names == expected | {"peaks.tsv", "peaks.json"}

    image = nib.load(named(stem, "model-net_layer-b_stat-spearman"))
    data = image.get_fdata()
    assert data.shape == (5, 4, 3, 3)
    for volume, time in enumerate(EVEN):
        (row,) = np.flatnonzero((scores.table["layer"] == "b") & (scores.table["time_s"] == time))
        np.testing.assert_array_equal(data[..., volume][scores.volume.mask], scores.values[row])
    assert np.isnan(data[~scores.volume.mask]).all()


def test_times_evenly_spaced_are_in_the_header(tmp_path, rng):
    _, _, stem = written(tmp_path, scores_of(over(EVEN, ("net", "a"), ("net", "b")), rng))
    for name in ("model-net_layer-a_stat-spearman", "model-net_stat-bestlayer", "model-net_stat-layergradient"):
        image = nib.load(named(stem, name))
        assert image.header.get_zooms() == (2.0, 2.5, 3.0, 1.5)
        assert image.header.get_xyzt_units() == ("mm", "sec")
        assert image.header["toffset"] == -1.5
        assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (4, 1)
        np.testing.assert_allclose(image.affine, np.diag([-2.0, 2.5, 3.0, 1.0]))
        assert sidecar(named(stem, name))["Times"] == EVEN


def test_times_unevenly_spaced_are_in_the_sidecar_alone(tmp_path, rng):
    _, _, stem = written(tmp_path, scores_of(over(UNEVEN, ("x", "")), rng))
    path = named(stem, "model-x_stat-spearman")
    image = nib.load(path)
    assert image.header.get_zooms() == (2.0, 2.5, 3.0, 1.0)
    assert image.header.get_xyzt_units() == ("mm", "unknown")
    assert image.header["toffset"] == 0
    assert sidecar(path)["Times"] == UNEVEN


def test_maps_of_times_are_one_volume_in_seconds(tmp_path, rng):
    scores = scores_of(over(UNEVEN, ("net", "a"), ("net", "b")), rng)
    _, _, stem = written(tmp_path, scores)
    for name, statistic, row in (
        ("model-net_layer-b_stat-peaktime", "peak_time", 1),
        ("model-net_stat-timeofbestlayer", "time_of_best_layer", 0),
    ):
        image = nib.load(named(stem, name)).get_fdata()
        assert image.shape == (5, 4, 3)
        np.testing.assert_array_equal(image[scores.volume.mask], derive(scores, statistic).values[row])
        assert set(np.unique(image[np.isfinite(image)])) <= set(UNEVEN)
        about = sidecar(named(stem, name))
        assert about["Description"] == MAPS[statistic].unit
        assert "Times" not in about
    assert "Layers" not in sidecar(named(stem, "model-net_layer-b_stat-peaktime"))
    assert sidecar(named(stem, "model-net_stat-bestlayer"))["Layers"] == {"1": "a", "2": "b"}


def test_maps_of_onsets_are_written_where_there_is_a_baseline(tmp_path, rng):
    times_s = [*(np.arange(-12, 0) / 100), 0.0, 0.01, 0.02]
    scores = scores_of(over(times_s, ("meeg", "")), rng)
    scores.values[:12] -= scores.values[:12].mean()
    scores.values[12:] += 200
    _, names, stem = written(tmp_path, scores)
    assert {name for name in names if "time_" in name} == {
        f"model-meeg_stat-{name}_statmap.{ending}"
        for name in ("peaktime", "onsettime")
        for ending in ("nii.gz", "json")
    }
    path = named(stem, "model-meeg_stat-onsettime")
    image = nib.load(path).get_fdata()
    assert image.shape == (5, 4, 3)
    np.testing.assert_array_equal(image, np.where(scores.volume.mask, 0.0, np.nan))
    assert sidecar(path)["Description"] == MAPS["onset_time"].unit
    assert sidecar(path)["Statistic"] == "onset_time"


@pytest.mark.parametrize("time", [np.nan, 4.5])
def test_a_single_time_is_a_single_volume(tmp_path, rng, time):
    scores = scores_of(over([time], ("net", "a"), ("net", "b")), rng)
    _, names, stem = written(tmp_path, scores)
    assert not [name for name in names if "time" in name]
    path = named(stem, "model-net_layer-a_stat-spearman")
    np.testing.assert_array_equal(nib.load(path).get_fdata()[scores.volume.mask], scores.values[0])
    assert nib.load(path).header.get_xyzt_units() == ("mm", "sec")
    assert sidecar(path).get("Times") == (None if np.isnan(time) else [4.5])
    assert sidecar(path)["Layer"] == "a"
    assert sidecar(path)["Settings"] == {"radius_mm": 8}


@pytest.mark.parametrize("has_times", [True, False])
def test_peaks_say_their_time_where_there_is_one(tmp_path, rng, has_times):
    scores = scores_of(over(EVEN if has_times else [np.nan], ("x", "")), rng)
    folder, _, _ = written(tmp_path, scores)
    table = pd.read_csv(folder / "sub-01_space-T1w_peaks.tsv", sep="\t")
    described = json.loads((folder / "sub-01_space-T1w_peaks.json").read_text())
    assert ("time_s" in table) == ("time_s" in described) == has_times
    assert set(table) <= set(described) <= set(PEAK_COLUMNS)
    if has_times:
        highest = table.loc[table["score"].idxmax()]
        row = np.unravel_index(scores.values.argmax(), scores.values.shape)[0]
        assert highest["time_s"] == scores.table["time_s"][row]


def test_maps_of_the_group_say_what_they_are(tmp_path, rng):
    rows = [
        ("net", "a", np.nan),
        ("reliability", "", np.nan),
        ("ceilinglower", "", np.nan),
        ("ceilingupper", "", np.nan),
    ]
    scores = scores_of([*rows, ("net", "a", np.nan)], rng, statistic=[*["mean"] * 4, "share_of_ceiling"])
    scores.table.loc[1:3, "role"] = QUALITY
    _, names, stem = written(tmp_path, scores, subject="")
    assert "stat-nsubjects_statmap.nii.gz" in names
    for name, words in {
        "model-net_layer-a_stat-mean": "to the RDM of net a",
        "model-reliability_stat-mean": "odd and of even runs",
        "model-ceilinglower_stat-mean": "average of the other subjects",
        "model-ceilingupper_stat-mean": "average of all subjects",
        "model-net_layer-a_stat-shareofceiling": "divided by the upper bound",
    }.items():
        about = sidecar(named(stem, name))
        assert words in about["Description"]
        assert about["Subject"] == "group"
    values = nib.load(named(stem, "model-net_layer-a_stat-shareofceiling")).get_fdata()[scores.volume.mask]
    np.testing.assert_array_equal(values, scores.values[4])


def test_a_network_may_be_called_like_what_tells_how_good_the_data_are(tmp_path, rng):
    rows = [("reliability", "a", np.nan), ("reliability", "b", np.nan), ("reliability", "", np.nan)]
    scores = scores_of(rows, rng)
    scores.table.loc[2, "role"] = QUALITY
    _, _, stem = written(tmp_path, scores, derived=["best_layer"])
    assert (
        "to the RDM of reliability a" in sidecar(named(stem, "model-reliability_layer-a_stat-spearman"))["Description"]
    )
    assert "odd and of even runs" in sidecar(named(stem, "model-reliability_stat-spearman"))["Description"]
    assert sidecar(named(stem, "model-reliability_stat-bestlayer"))["Layers"] == {"1": "a", "2": "b"}
    best = nib.load(named(stem, "model-reliability_stat-bestlayer")).get_fdata()[scores.volume.mask]
    np.testing.assert_array_equal(best, derive(scores, "best_layer").values[0])
    assert np.nanmax(best) == 2


def test_maps_that_no_time_tells_apart_do_not_overwrite_each_other(tmp_path, rng):
    for times in ([1.0, 1.0], [1.0, np.nan], [np.nan, np.nan]):
        with pytest.raises(UserError, match="The scores have 2 maps 'x  spearman' that no time tells apart; run all"):
            written(tmp_path, scores_of(over(times, ("x", "")), rng), derived=())


def test_regions_make_no_images(tmp_path):
    scores = ScoreMap([[0.1]], pd.DataFrame({"model": ["x"]}), regions=pd.DataFrame({"region": ["V1"]}))
    with pytest.raises(UserError, match="Maps are written of scores over voxels; these are of regions"):
        written(tmp_path, scores)


@pytest.mark.parametrize(
    "rows",
    [
        [("net", "a.1", np.nan), ("net", "a1", np.nan)],
        [("net", "A1", np.nan), ("net", "a1", np.nan)],
        [("Net", "a", np.nan), ("net", "a", np.nan)],
        [("net", "\N{CJK UNIFIED IDEOGRAPH-732B}", np.nan), ("net", "\N{CJK UNIFIED IDEOGRAPH-72D7}", np.nan)],
    ],
)
def test_two_maps_are_never_one_file(tmp_path, rng, rows):
    with pytest.raises(UserError, match=r"The maps .* and .* would both be sub-01_space-T1w_model-.*; rename"):
        written(tmp_path, scores_of(rows, rng), derived=())
    assert not list(tmp_path.rglob("*.nii.gz"))


def test_a_map_is_never_that_of_a_count(tmp_path, rng):
    scores = scores_of([("", "", np.nan)], rng, statistic="n_voxels")
    with pytest.raises(UserError, match=r"The maps 'n_voxels' and 'nvoxels' would both be"):
        written(tmp_path, scores, derived=())


def test_the_sidecar_of_a_group_map_says_what_was_made_of_the_scores_of_how_many(tmp_path, rng):
    each = scores_of([("net", "a", np.nan)], rng)
    group = ScoreMap(each.values, each.table.assign(statistic="t"), each.volume, n_members=each.n_members)
    about = {"t": GROUP_TESTS["t"].about(12)}
    write_maps(group, tmp_path, "", "T1w", (), MADE, tmp_path / "group.h5", about)
    said = sidecar(tmp_path / "group" / "space-T1w_model-net_layer-a_stat-t_statmap.nii.gz")
    assert said["Description"] == (
        "One-sample t over subjects, against 0, of Fisher's z; not corrected for many voxels; none where scores "
        "differ by little more than rounding. Of each subject: "
        "Similarity of the RDM of the sphere around each voxel to the RDM of net a"
    )
    assert (said["Units"], said["Subjects"], said["DegreesOfFreedom"]) == ("t", 12, 11)
    assert "DegreesOfFreedom" not in GROUP_TESTS["mean"].about(12)
