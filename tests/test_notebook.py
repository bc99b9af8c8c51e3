"""Maps in a notebook: what the widget holds, and what is said without it."""

import gzip

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from rsa.core import ScoreMap, Volume
from rsa.errors import UserError
from rsa.report import notebook

NAMES = ["net_features3_spearman.nii.gz", "net_conv_spearman.nii.gz", "meeg_spearman.nii.gz"]


@pytest.fixture
def scores(rng):
    mask = np.zeros((4, 5, 6), dtype=bool)
    mask[1:3, 1:4, 2:5] = True
    volume = Volume(mask, np.diag([-3.0, 3, 3, 1]), sform_code=notebook.MNI_CODE)
    table = pd.DataFrame({"model": ["net", "net", "meeg", "meeg"], "layer": ["features.3", "conv", "", ""]})
    table = table.assign(time_s=[np.nan, np.nan, 0.2, 0.1], statistic="spearman")
    values = rng.uniform(-0.3, 0.3, (4, volume.n_voxels))
    values[1, 5], values[0, 2] = 0.8, np.nan
    return ScoreMap(values, table, volume)


def image_of(volume):
    return nib.Nifti1Image.from_bytes(gzip.decompress(volume.data))


def test_the_widget_holds_the_template_and_all_maps_the_highest_opaque(scores):
    pytest.importorskip("ipyniivue", reason="ipyniivue is not installed")
    widget = scores.view()
    template, *maps = widget.volumes
    assert template.path.name == notebook.TEMPLATE.split("/")[-1]
    assert [one.name for one in maps] == NAMES
    assert [one.opacity for one in maps] == [0, 1, 0]
    assert {(one.cal_min, one.cal_max, one.colormap_type.name) for one in maps} == {
        (0.08, 0.8, "ZERO_TO_MAX_TRANSPARENT_BELOW_MIN")
    }
    first, _, timed = map(image_of, maps)
    np.testing.assert_array_equal(first.affine, scores.volume.affine)
    np.testing.assert_array_equal(first.get_fdata(), np.nan_to_num(scores.volume.unmask(scores.values[0])))
    ascending = np.moveaxis(scores.volume.unmask(scores.values[[3, 2]]), 0, -1)
    np.testing.assert_array_equal(timed.get_fdata(), np.nan_to_num(ascending))


def test_maps_threshold_and_background_can_be_chosen(scores):
    pytest.importorskip("ipyniivue", reason="ipyniivue is not installed")
    brain = nib.Nifti1Image(np.ones((4, 5, 6), np.float32), np.eye(4))
    below, one = scores.view(layer="conv", threshold=0.2, limit=0.5, background=brain).volumes
    np.testing.assert_array_equal(image_of(below).get_fdata(), 1)
    assert (one.name, one.opacity, one.cal_min, one.cal_max) == (NAMES[1], 1, 0.2, 0.5)
    own = ScoreMap(scores.values, scores.table, Volume(scores.volume.mask, np.eye(4)))
    assert [one.name for one in own.view().volumes] == NAMES
    with pytest.raises(UserError, match="conv2"):
        scores.view(layer="conv2")


def test_without_ipyniivue_one_line_says_how_to_get_it(scores, monkeypatch):
    monkeypatch.setattr(notebook, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"is not installed; run: pip install 'brain-model-rsa\[notebook\]'$"):
        scores.view()
