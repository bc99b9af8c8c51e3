"""Regions of interest from atlases and masks, on the grid of the images or brought to it."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from rsa.config import Regions
from rsa.core import Volume
from rsa.errors import UserError
from rsa.regions import read_regions, region_files, region_labels

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
        ({"atlas": "several.nii"}, "several.nii has 2 volumes; regions are read from an image of one"),
        ({"atlas": "damaged.nii"}, "damaged.nii is damaged, its data cannot be read"),
        ({"atlas": "atlas.nii.gz", "labels": "labels.tsv", "name_column": "area"}, "no column 'area'"),
        ({"atlas": "atlas.nii.gz", "labels": "labels.tsv", "keep": ["erly"]}, "no region 'erly'. Did you mean 'early'"),
        ({"atlas": "atlas.nii.gz", "keep": ["V1"]}, "regions are kept by number; 'V1' is not"),
        ({"atlas": "atlas.nii.gz", "keep": ["9"]}, "No voxel of the mask lies in the region '9'"),
    ],
)
def test_each_mistake_has_its_message(folder: Path, volume: Volume, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_regions(Regions(**settings), "01", volume)


def test_an_index_that_is_no_number(folder: Path) -> None:
    Path("labels.tsv").write_text("index\tregion\nV1\tearly\n")
    with pytest.raises(UserError, match="the column 'index' holds something else than numbers"):
        region_labels(Regions(atlas="atlas.nii.gz", labels="labels.tsv"))


def test_patterns_without_a_volume(folder: Path) -> None:
    with pytest.raises(UserError, match="Regions need patterns over voxels"):
        read_regions(Regions(atlas="atlas.nii.gz"), "01", None)


def test_files_of_a_subject() -> None:
    settings = Regions(atlas="sub-{subject}_atlas.nii", labels="labels.tsv")
    assert region_files(settings, "02") == [Path("sub-02_atlas.nii"), Path("labels.tsv")]
    assert region_files(Regions(masks={"a": "{subject}.nii"}), "02") == [Path("02.nii")]
