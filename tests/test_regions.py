"""Regions of interest from atlases, masks and spheres, on the grid of the images or brought to it."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import requests
from pydantic import ValidationError

from rsa.core import Volume
from rsa.errors import UserError
from rsa.inputs.regions import NILEARN_ATLASES, Regions, read_regions, region_files, region_labels
from rsa.simulation.draw import spheres_mask

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


@pytest.fixture
def volume() -> Volume:
    mask = np.ones((6, 6, 6), dtype=bool)
    mask[0] = False
    return Volume(mask, AFFINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write an atlas with regions 1 to 3 along x, its labels, and the same atlas on a finer grid."""
    monkeypatch.chdir(tmp_path)
    atlas = np.repeat([1, 1, 2, 2, 3, 3], 36).reshape(6, 6, 6)
    nib.save(nib.Nifti1Image(atlas.astype(np.int16), AFFINE), "atlas.nii.gz")
    fine = np.kron(atlas, np.ones((3, 3, 3), dtype=int))
    shifted = np.diag([1.0, 1.0, 1.0, 1.0])
    shifted[:3, 3] = -1
    nib.save(nib.Nifti1Image(fine.astype(np.int16), shifted), "fine.nii.gz")
    nib.save(nib.Nifti1Image(np.stack([atlas, atlas], axis=-1).astype(np.int16), AFFINE), "several.nii")
    nib.save(nib.Nifti1Image(atlas.astype(np.int16), AFFINE), "damaged.nii")
    Path("damaged.nii").write_bytes(Path("damaged.nii").read_bytes()[:-40])
    table = pd.DataFrame({"index": [1, 2, 3], "region": ["early", "late", "late"]})
    table.to_csv("labels.tsv", sep="\t", index=False)
    nib.save(nib.Nifti1Image((atlas / 2).astype(np.float32), AFFINE), "halves.nii")
    return tmp_path


def sizes(settings: Regions, volume: Volume) -> dict[str, int]:
    found = read_regions(settings, "01", volume).regions
    assert found is not None
    return dict(zip(found["region"], found["n_voxels"], strict=True))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"atlas": "atlas.nii.gz"}, {"1": 36, "2": 72, "3": 72}),
        ({"atlas": "atlas.nii.gz", "labels": "labels.tsv"}, {"early": 36, "late": 144}),
        ({"atlas": "atlas.nii.gz", "labels": "labels.tsv", "keep": ["late"]}, {"late": 144}),
        ({"atlas": "atlas.nii.gz", "keep": ["3"]}, {"3": 72}),
        ({"atlas": "fine.nii.gz", "resample": True}, {"1": 36, "2": 72, "3": 72}),
        ({"masks": {"all": "atlas.nii.gz"}}, {"all": 180}),
    ],
)
def test_regions_are_read(folder: Path, volume: Volume, settings: dict[str, Any], expected: dict[str, int]) -> None:
    assert sizes(Regions(**settings), volume) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"atlas": "fine.nii.gz"}, r"lie on different grids: shape \(18, 18, 18\).*against shape \(6, 6, 6\)"),
        ({"atlas": "nowhere.nii"}, "There is no image nowhere.nii"),
        (
            {"atlas": "several.nii"},
            r"several.nii has 2 volumes \(shape \(6, 6, 6, 2\)\), where one is expected: of maps of probabilities",
        ),
        ({"atlas": "damaged.nii"}, "damaged.nii is damaged, its data cannot be read"),
        ({"atlas": "atlas.nii.gz", "labels": "labels.tsv", "name_column": "area"}, "no column 'area'"),
        ({"atlas": "atlas.nii.gz", "labels": "labels.tsv", "keep": ["erly"]}, "no region 'erly'. Did you mean 'early'"),
        ({"atlas": "atlas.nii.gz", "keep": ["V1"]}, "regions are kept by number; 'V1' is not"),
        ({"atlas": "fine.nii.gz"}, "`regions.resample: true` does it, if both are in the same space"),
        ({"atlas": "halves.nii"}, r"The atlas halves.nii holds 0.5, which is no whole number"),
        ({"atlas": "atlas.nii.gz", "keep": ["9"]}, "No voxel of the mask lies in the region '9'"),
    ],
)
def test_each_mistake_has_its_message(folder: Path, volume: Volume, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_regions(Regions(**settings), "01", volume)


@pytest.mark.parametrize("index", ["V1", "1.5", "inf"])
def test_an_index_that_is_no_number(folder: Path, index: str) -> None:
    Path("labels.tsv").write_text(f"index\tregion\n{index}\tearly\n")
    with pytest.raises(UserError, match=f"the column 'index' holds something else than numbers: '{index}'"):
        region_labels(Regions(atlas="atlas.nii.gz", labels="labels.tsv"))


def test_patterns_without_a_volume(folder: Path) -> None:
    with pytest.raises(UserError, match="Regions need patterns over voxels"):
        read_regions(Regions(atlas="atlas.nii.gz"), "01", None)


def test_files_of_a_subject() -> None:
    settings = Regions(atlas="sub-{subject}_atlas.nii", labels="labels.tsv")
    assert region_files(settings, "02") == [Path("sub-02_atlas.nii"), Path("labels.tsv")]
    assert region_files(Regions(masks={"a": "{subject}.nii"}), "02") == [Path("02.nii")]


# ---------------------------------------------------------------------------------------- forms of labels

NAMED = {"early": 36, "middle": 72, "late": 72}
FORMS = {
    "dseg.tsv": "index\tname\tcolor\n0\tbackground\t#000000\n1.0\tearly\t#ff0000\n2\tmiddle\t#00ff00\n3\tlate\tn/a\n",
    "both.csv": "name,region,index\nx,early,1\ny,middle,2\nz,late,3\n",
    "lut.txt": (
        "#$Id: colours\n#No. Label Name:   R   G   B   A\n\n0   Unknown   0   0   0   0\n"
        "1   early    70  130 180 0\n  2   middle   245 245 245 0\n3\tlate\t205\t62\t78\t0\n"
    ),
    "no_alpha.txt": "1 early 70 130 180\n2 middle 1 2 3\n3 late 1 2 3\n",
    "maxprob.xml": (
        '<?xml version="1.0"?><atlas version="1.0"><header><name>A</name><type>Probabilistic</type></header><data>'
        '<label index="0" x="1" y="2" z="3">early</label>\n<label index="1">middle</label>'
        '<label index="2"> late </label></data></atlas>'
    ),
    "label.xml": (
        "<atlas><header><type>Label</type></header><data>"
        '<label index="0">*.*</label><label index="1">early</label><label index="2">middle</label>'
        '<label index="3">late</label></data></atlas>'
    ),
    "folded.xml": (
        '<atlas><header><type>Label</type></header><data><label index="1">early\n</label>'
        '<label index="2">middle</label>\n<label index="3">\n  late\n</label></data></atlas>'
    ),
    "spm.xml": (
        "<atlas><header><name>AAL</name></header><data><label><index>1</index><name>early</name></label>"
        "<label><index>2</index><name>middle</name></label><label><index>3</index><name>late</name></label></data></atlas>"
    ),
}


def test_a_label_of_two_lines_is_one_name(folder: Path, volume: Volume) -> None:
    Path("two.xml").write_text('<atlas><data><label index="1">Frontal\n    Pole</label></data></atlas>')
    assert sizes(Regions(atlas="atlas.nii.gz", labels="two.xml"), volume) == {"Frontal Pole": 36}


@pytest.mark.parametrize("name", FORMS)
def test_labels_come_in_many_forms(folder: Path, volume: Volume, name: str) -> None:
    Path(name).write_text(FORMS[name])
    settings = Regions(atlas="atlas.nii.gz", labels=name)
    assert sizes(settings, volume) == NAMED
    assert sizes(Regions(atlas="atlas.nii.gz", labels=name, keep=("late",)), volume) == {"late": 72}


def test_background_is_no_region(folder: Path, volume: Volume) -> None:
    Path("dseg.tsv").write_text(FORMS["dseg.tsv"])
    with pytest.raises(UserError, match=r"dseg.tsv names no region 'background'"):
        region_labels(Regions(atlas="atlas.nii.gz", labels="dseg.tsv", keep=("background",)))
    atlas = np.zeros((6, 6, 6), dtype=np.int16)
    atlas[2] = 1
    nib.save(nib.Nifti1Image(atlas, AFFINE), "sparse.nii")
    Path("dseg.tsv").write_text("index\tname\n0\tbackground\n1\tearly\n")
    assert sizes(Regions(atlas="sparse.nii", labels="dseg.tsv"), volume) == {"early": 36}


def test_a_number_that_is_stored_with_a_scale_is_found(folder: Path, volume: Volume) -> None:
    image = nib.Nifti1Image(np.repeat([1, 1, 2, 2, 3, 3], 36).reshape(6, 6, 6).astype(np.float64), AFFINE)
    image.header.set_data_dtype(np.int16)  # with a slope that gives 2.9999
    nib.save(image, "scaled.nii")
    assert (np.asarray(nib.load("scaled.nii").dataobj, dtype=np.float32) % 1 != 0).any()
    assert sizes(Regions(atlas="scaled.nii", labels="labels.tsv"), volume) == {"early": 36, "late": 144}


@pytest.mark.parametrize("resample", [False, True])
def test_numbers_beyond_single_precision_stay_as_they_are(folder: Path, volume: Volume, resample: bool) -> None:
    """Those of mouse atlases have nine digits; single precision would make 2^24 and 2^24 + 1 one region."""
    numbers = 2**24 + np.arange(3, dtype=np.int32)
    affine = AFFINE + np.diag([0, 0, 0.01, 0]) if resample else AFFINE
    nib.save(nib.Nifti1Image(np.repeat(numbers, 72).reshape(6, 6, 6), affine), "large.nii.gz")
    found = sizes(Regions(atlas="large.nii.gz", resample=resample), volume)
    assert found == {"16777216": 36, "16777217": 72, "16777218": 72}


def test_labels_without_a_voxel_are_told_and_left_out(
    folder: Path, volume: Volume, caplog: pytest.LogCaptureFixture
) -> None:
    Path("labels.tsv").write_text("index\tregion\n1\tearly\n7\tvoid\n9\tvoid\n9\tearly\n")
    with caplog.at_level(logging.WARNING):
        assert sizes(Regions(atlas="atlas.nii.gz", labels="labels.tsv"), volume) == {"early": 36}
    assert "subject '01': 1 of 2 labels of the atlas have no voxel in the mask: 'void'" in caplog.text
    with pytest.raises(UserError, match="No voxel of the mask lies in the region 'void'"):
        read_regions(Regions(atlas="atlas.nii.gz", labels="labels.tsv", keep=("void",)), "01", volume)
    Path("labels.tsv").write_text("index\tregion\n7\tvoid\n")
    with pytest.raises(UserError, match="There is no region: the atlas is 0 or NaN in the whole mask"):
        read_regions(Regions(atlas="atlas.nii.gz", labels="labels.tsv"), "01", volume)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("nowhere.xml", None, "There is no file nowhere.xml"),
        ("nowhere.txt", None, "There is no table nowhere.txt"),
        ("bad.xml", "<atlas><label>", "bad.xml cannot be read as XML"),
        ("no.xml", "<atlas/>", "no.xml should hold lines like <label index"),
        ("odd.xml", '<atlas><label index="one">V1</label></atlas>', "odd.xml should hold lines like <label index"),
        ("square.xml", '<atlas><label index="²">V1</label></atlas>', "square.xml should hold lines like <label index"),
        ("huge.xml", f'<atlas><label index="{10**30}">V1</label></atlas>', "huge.xml should hold lines like <label"),
        ("mixed.txt", "1 V1 0 0 0 0\n2 V2\n", "mixed.txt has no column 'index'"),
    ],
)
def test_labels_that_cannot_be_read(folder: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        Path(name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        region_labels(Regions(atlas="atlas.nii.gz", labels=name))


# ------------------------------------------------------------------------------------------------ spheres


def test_spheres_hold_the_voxels_of_the_mask_around_a_point() -> None:
    turned = np.array([[0, 3.0, 0, -20], [-2, 0, 0, 30], [0, 0, 2.5, -10], [0, 0, 0, 1]])
    mask = np.ones((12, 13, 14), dtype=bool)
    mask[:, 5] = False
    volume = Volume(mask, turned)
    centres = {"FFA": ((-4.0, 20.0, 5.0),), "PPA": ((-14.0, 24.0, 0.0), (7.0, 12.5, 20.0))}
    regions = read_regions(Regions(spheres=centres, radius_mm=6.0), "01", volume)
    assert list(regions.regions["region"]) == ["FFA", "PPA"]
    for number, points in enumerate(centres.values()):
        expected = []
        for position, index in enumerate(np.argwhere(mask)):
            at = turned[:3, :3] @ index + turned[:3, 3]
            if any(np.sqrt(((at - point) ** 2).sum()) <= 6.0 for point in points):
                expected.append(position)
        assert len(expected) > 10
        np.testing.assert_array_equal(regions.members(number), expected)


def test_the_radius_of_a_sphere_is_inclusive(volume: Volume) -> None:
    on_a_voxel = Regions(spheres={"a": [9, 9, 9]}, radius_mm=3.0)
    assert sizes(on_a_voxel, volume) == {"a": 7}


def test_the_radius_of_a_sphere_is_inclusive_on_a_grid_in_single_precision() -> None:
    stored = np.diag([1.6, 1.6, 1.6, 1.0])
    stored[:3, 3] = -93.3, -121.7, -55.1
    volume = Volume(np.ones((11, 11, 11)), stored.astype(np.float32))
    middle = [-93.3 + 5 * 1.6, -121.7 + 5 * 1.6, -55.1 + 5 * 1.6]
    assert sizes(Regions(spheres={"a": middle}, radius_mm=8.0), volume) == {"a": 515}
    assert spheres_mask(volume, middle, 8.0).sum() == 515


def test_a_sphere_around_a_voxel_is_whole_where_its_point_is_written_with_two_decimals(rng) -> None:
    """On oblique grids no voxel has round coordinates; those on the surface of the sphere are in it all the same."""
    affine = np.eye(4)
    affine[:3, :3] = 1.6 * np.linalg.qr(rng.standard_normal((3, 3)))[0]
    affine[:3, 3] = -93.3, -121.7, -55.1
    volume = Volume(np.ones((11, 11, 11)), affine.astype(np.float32))
    middle = volume.voxel_to_mm([5, 5, 5])
    assert sizes(Regions(spheres={"a": middle.round(2).tolist()}, radius_mm=8.0), volume) == {"a": 515}
    beside = middle + affine[:3, 0] * 0.02  # a fiftieth of a voxel
    assert sizes(Regions(spheres={"a": beside.tolist()}, radius_mm=8.0), volume)["a"] < 515


def test_a_sphere_beside_the_mask_is_an_error(volume: Volume) -> None:
    settings = Regions(spheres={"FFA": [9, 9, 9], "PPA": [[9, 9, 9], [9, 9, 35]]}, radius_mm=4.0)
    with pytest.raises(UserError, match=r"sphere of 4 mm at \[9.0, 9.0, 35.0\] \('PPA'\): the nearest is 20.0 mm away"):
        read_regions(settings, "01", volume)
    assert region_files(settings, "01") == []
    assert region_labels(settings) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spheres": {"a": [1, 2]}}, r"a centre is \[x, y, z\] in mm, and several are a list of such, not \[1, 2\]"),
        ({"spheres": {"a": []}}, r"a centre is \[x, y, z\]"),
        ({"spheres": {"a": [[1, 2, 3], 4]}}, r"a centre is \[x, y, z\]"),
        ({"spheres": {"a": [1, 2, float("nan")]}}, "finite number"),
        ({"spheres": {"a": [1, 2, 3]}, "atlas": "a.nii"}, "either by `atlas` or by `masks` or by `spheres`"),
        ({"spheres": {"a": [1, 2, 3]}, "radius_mm": 0}, "greater than 0"),
        ({"masks": {"a": "a.nii"}, "keep": ["a"]}, "`keep` and `labels` belong to an `atlas`"),
    ],
)
def test_settings_that_make_no_regions(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Regions(**settings)


# ---------------------------------------------------------------------------------------- atlases of nilearn

TRUTH = np.zeros((6, 6, 6), dtype=np.int16)
TRUTH[1, 1:3], TRUTH[2:5, 1:3], TRUTH[1:3, 4] = 1, 2, 3


def saved(path: Path, values: np.ndarray = TRUTH, *, flipped: bool = False) -> Path:
    """Save an atlas, on a grid that runs from right to left if that is asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flip = np.array([[-1.0, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    image = nib.Nifti1Image(values[::-1] if flipped else values, AFFINE @ flip if flipped else AFFINE)
    nib.save(image, path)
    return path


def written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def aal(folder: Path) -> tuple[Path, list[str]]:
    values = np.array([0, 2001, 2002, 9170], dtype=np.int16)[TRUTH]
    labels = "".join(
        f"<label><index>{number}</index><name>{name}</name></label>"
        for number, name in [(2001, "Precentral_L"), (2002, "Precentral_R"), (9170, "Vermis_10"), (9999, "Nowhere")]
    )
    written(folder / "aal_SPM12/aal/atlas/AAL.xml", f"<atlas><data>{labels}</data></atlas>")
    path = saved(folder / "aal_SPM12/aal/atlas/AAL.nii", values)
    return path, ["Precentral_L", "Precentral_R", "Vermis_10"]


def harvard_oxford(folder: Path) -> tuple[Path, list[str]]:
    root = folder / "fsl/data/atlases"
    names = ["Frontal Pole", "Insular Cortex", "Heschl's Gyrus (includes H1 and H2)"]
    labels = "".join(f'<label index="{i}" x="0" y="0" z="0">{name}</label>' for i, name in enumerate(names))
    written(root / "HarvardOxford-Cortical.xml", f"<atlas><data>{labels}</data></atlas>")
    path = saved(root / "HarvardOxford/HarvardOxford-cort-maxprob-thr25-2mm.nii.gz", flipped=True)
    return path, names


def juelich(folder: Path) -> tuple[Path, list[str]]:
    root = folder / "fsl/data/atlases"
    names = ["GM Visual V1", "GM Visual V2", "WM Corpus callosum"]
    labels = "".join(f'<label index="{i}">{name}</label>' for i, name in enumerate(names))
    written(root / "Juelich.xml", f"<atlas><data>{labels}</data></atlas>")
    return saved(root / "Juelich/Juelich-maxprob-thr25-2mm.nii.gz", flipped=True), names


def destrieux(folder: Path) -> tuple[Path, list[str]]:
    names = ["L G_cuneus", "R G_cuneus", "L Medial_wall"]
    rows = "".join(f"{i},{name}\n" for i, name in enumerate(["Background", *names]))
    written(folder / "destrieux_2009/destrieux2009_rois_labels_lateralized.csv", f"index,name\n{rows}")
    written(folder / "destrieux_2009/destrieux2009.rst", "Destrieux")
    return saved(folder / "destrieux_2009/destrieux2009_rois_lateralized.nii.gz"), names


def schaefer(folder: Path) -> tuple[Path, list[str]]:
    names = ["7Networks_LH_Vis_1", "7Networks_LH_Vis_2", "7Networks_RH_Default_1"]
    rows = "".join(f"{i}\t{name}\t120\t18\t{i}\t0\n" for i, name in enumerate(names, start=1))
    written(folder / "schaefer_2018/Schaefer2018_100Parcels_7Networks_order.txt", rows)
    name = "schaefer_2018/Schaefer2018_100Parcels_7Networks_order_FSLMNI152_2mm.nii.gz"
    return saved(folder / name), names


def yeo(folder: Path) -> tuple[Path, list[str]]:
    root, names = folder / "yeo_2011/Yeo_JNeurophysiol11_MNI152", ["7Networks_1", "7Networks_2", "7Networks_3"]
    lines = [f"{i} {name} 120 18 {i} 0\n" for i, name in enumerate(["NONE", *names])]
    for networks in (7, 17):
        written(root / f"Yeo2011_{networks}Networks_ColorLUT.txt", "".join(lines))
        saved(root / f"Yeo2011_{networks}Networks_MNI152_FreeSurferConformed1mm.nii.gz", TRUTH[..., None])
        saved(root / f"Yeo2011_{networks}Networks_MNI152_FreeSurferConformed1mm_LiberalMask.nii.gz", TRUTH[..., None])
    saved(root / "FSL_MNI152_FreeSurferConformed_1mm.nii.gz")
    return root / "Yeo2011_7Networks_MNI152_FreeSurferConformed1mm.nii.gz", names


def basc(folder: Path) -> tuple[Path, list[str]]:
    root = folder / "basc_multiscale_2015/template_cambridge_basc_multiscale_nii_sym"
    return saved(root / "template_cambridge_basc_multiscale_sym_scale007.nii.gz"), ["1", "2", "3"]


def pauli(folder: Path) -> tuple[Path, list[str]]:
    written(folder / "pauli_2017/labels.txt", "0 Pu\n1 Ca\n2 NAC\n")
    return saved(folder / "pauli_2017/pauli_2017_det.nii.gz"), ["Pu", "Ca", "NAC"]


def talairach(folder: Path) -> tuple[Path, list[str]]:
    names = ["Brodmann area 17", "Brodmann area 18", "Amygdala"]
    written(folder / "talairach_atlas/ba-labels.json", json.dumps(["Background", *names]))
    return saved(folder / "talairach_atlas/ba.nii.gz"), names


CACHED: dict[str, Callable[[Path], tuple[Path, list[str]]]] = {
    "nilearn:aal/SPM12": aal,
    "nilearn:basc_multiscale_2015/7": basc,
    "nilearn:destrieux_2009": destrieux,
    "nilearn:harvard_oxford/cort-maxprob-thr25-2mm": harvard_oxford,
    "nilearn:juelich/maxprob-thr25-2mm": juelich,
    "nilearn:pauli_2017": pauli,
    "nilearn:schaefer_2018/100/7/2": schaefer,
    "nilearn:talairach/ba": talairach,
    "nilearn:yeo_2011/7/thin": yeo,
}


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let nilearn look into an empty folder, with no network."""

    def no_network(*_: Any, **__: Any) -> None:
        raise requests.ConnectionError("no network")

    monkeypatch.setattr(requests.Session, "send", no_network)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NILEARN_DATA", str(tmp_path / "nilearn"))
    monkeypatch.delenv("NILEARN_SHARED_DATA", raising=False)
    return tmp_path / "nilearn"


def test_every_atlas_of_nilearn_is_tried() -> None:
    assert {name.removeprefix("nilearn:").split("/")[0] for name in CACHED} == set(NILEARN_ATLASES)


@pytest.mark.slow
@pytest.mark.parametrize("name", CACHED)
def test_atlases_of_nilearn_are_read_without_a_network(offline: Path, volume: Volume, name: str) -> None:
    path, names = CACHED[name](offline)
    settings = Regions(atlas=name)
    regions = read_regions(settings, "01", volume)
    assert list(regions.regions["region"]) == names
    for number in (1, 2, 3):
        members = np.zeros(volume.n_voxels, dtype=bool)
        members[regions.members(number - 1)] = True
        np.testing.assert_array_equal(members, TRUTH[volume.mask] == number)
    assert region_files(settings, "01") == [path]
    assert sizes(Regions(atlas=name, keep=names[1:2]), volume) == {names[1]: 36}
    with pytest.raises(UserError, match=f"{name} names no region '{names[0]}x'. Did you mean"):
        region_labels(Regions(atlas=name, keep=[names[0] + "x"]))


def test_an_atlas_of_nilearn_takes_labels_of_the_user(offline: Path, folder: Path, volume: Volume) -> None:
    image, _ = pauli(offline)
    settings = Regions(atlas="nilearn:pauli_2017", labels="labels.tsv")
    assert sizes(settings, volume) == {"early": 12, "late": 48}
    assert region_files(settings, "01") == [image, Path("labels.tsv")]


def test_an_atlas_of_nilearn_on_another_grid(offline: Path, volume: Volume) -> None:
    harvard_oxford(offline)
    shifted = Volume(volume.mask[1:], [[3.0, 0, 0, 3], [0, 3, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
    name = "nilearn:harvard_oxford/cort-maxprob-thr25-2mm"
    with pytest.raises(UserError, match=f"The regions of {name} and the brain images lie on different grids.*resample"):
        read_regions(Regions(atlas=name), "01", shifted)
    expected = {"Frontal Pole": 12, "Insular Cortex": 36, "Heschl's Gyrus (includes H1 and H2)": 12}
    assert sizes(Regions(atlas=name, resample=True), shifted) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nilearn:harvard_oxford/cort-maxprob-thr25-2mm",
            r"not complete in nilearn's data \(.*nilearn.*\) and cannot be fetched \(.*Where there is a network, call "
            r"nilearn.datasets.fetch_atlas_harvard_oxford\(atlas_name='cort-maxprob-thr25-2mm'\) and put the folder",
        ),
        ("nilearn:schaefer_2018/400", r"fetch_atlas_schaefer_2018\(n_rois=400\) and put"),
        ("nilearn:pauli_2017", r"fetch_atlas_pauli_2017\(atlas_type='deterministic'\) and put"),
        ("nilearn:talairach/ba", "or set NILEARN_DATA to where it is"),
        ("nilearn:schaefer_2018/150", "nilearn has no atlas nilearn:schaefer_2018/150: .*n_rois"),
        ("nilearn:schaefer_2018/many", "has a word where a number is expected: .*'many'"),
        ("nilearn:harvard_oxford", "has 0 words after its name; write it as nilearn:harvard_oxford/<atlas_name>"),
        ("nilearn:destrieux_2009/x/y", "has 2 words after its name; write it as nilearn:destrieux_2009"),
        ("nilearn:harvard", "unknown atlas of nilearn 'harvard'. Did you mean 'harvard_oxford'"),
        ("nilearn:msdl", "unknown atlas of nilearn 'msdl'"),
    ],
)
def test_atlases_of_nilearn_that_cannot_be_had(offline: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=f"(?i){message}") as caught:
        region_labels(Regions(atlas=name))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        region_files(Regions(atlas=name), "01")


def test_a_probabilistic_atlas_of_nilearn_is_refused(offline: Path) -> None:
    harvard_oxford(offline)
    saved(offline / "fsl/data/atlases/HarvardOxford/HarvardOxford-cort-prob-2mm.nii.gz", np.stack([TRUTH] * 3, axis=-1))
    with pytest.raises(UserError, match="cort-prob-2mm is probabilistic; regions need one number per voxel"):
        region_labels(Regions(atlas="nilearn:harvard_oxford/cort-prob-2mm"))


def test_regions_of_few_voxels_are_told(volume: Volume, caplog: pytest.LogCaptureFixture) -> None:
    centre_mm = [float(x) for x in volume.voxel_to_mm(volume.indices[:1])[0]]
    with caplog.at_level(logging.WARNING):
        read_regions(Regions(spheres={"tiny": centre_mm}, radius_mm=1e-3), "01", volume)
    assert "subject '01': regions of 1 or 2 voxels" in caplog.text
    assert "'tiny'" in caplog.text
    caplog.clear()
    read_regions(Regions(spheres={"large": centre_mm}, radius_mm=100), "01", volume)
    assert not caplog.text
