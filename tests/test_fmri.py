"""What the fMRI part promises, on real data: maps that follow the haemodynamic response, and reliable geometry."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from bids_tree import god_as_bids

from rsa import noise, searchlight
from rsa.core import Patterns, RDMs, Volume
from rsa.datasets import Bids
from rsa.neighbourhood import regions, some_spheres, spheres
from rsa.searchlight import RdmSettings

V1 = (1, 201)
ON_VOLUMES_S = [1.5, 4.5, 7.5, 10.5, 13.5]
"""Volumes of 3 s, whose slices are corrected to their middle, after onsets at whole TRs."""


@pytest.fixture(scope="module")
def god(data):
    return data / "god_sub01_run01"


def response_to_blocks(times_s: list[float], duration_s: float) -> np.ndarray:
    """Convolve a block with SPM's response, by hand."""
    from nilearn.glm.first_level import spm_hrf

    step_s = 0.1
    response = np.convolve(spm_hrf(step_s, oversampling=1), np.ones(round(duration_s / step_s)))
    return response[[round(time_s / step_s) for time_s in times_s]]


@pytest.mark.slow
def test_the_map_of_v1_rises_and_falls_like_a_haemodynamic_response(god, data, tmp_path):
    """Blocks of 9 s: the response to one is highest some 10.5 s after its onset.

    The reference is the RDM of V1 from ready betas, which assume that response; so the test says that delays are where
    they should be, and nothing about V1.
    """
    atlas = nib.load(god / "roi_glasser.nii.gz").get_fdata()
    mask = nib.load(god / "mask.nii.gz")
    volume = Volume(mask.get_fdata() > 0, mask.affine)
    betas = np.asanyarray(nib.load(god / "betas.nii.gz").dataobj)[volume.mask].T
    names = pd.read_csv(god / "stimuli.tsv", sep="\t")["stimulus_name"]
    area = regions(volume, atlas, pd.DataFrame({"index": V1, "region": "V1"}))
    rdm = searchlight.region_rdms(Patterns(betas, pd.DataFrame({"condition": names}), volume), area)
    reference = RDMs(rdm.values, rdm.conditions, pd.DataFrame({"model": ["V1"], "layer": [""]}))

    settings = god_as_bids(data, tmp_path, slice(None))
    glm = {"method": "volumes", "delays_s": ON_VOLUMES_S, "drift": "none"}
    patterns = Bids(**{**settings, "glm": glm}).load("01")
    around = spheres(patterns.volume, 9.0)
    labels = atlas[patterns.volume.mask]

    def mean_over(*numbers: int) -> np.ndarray:
        chosen = np.isin(labels, numbers)
        scores = searchlight.compare(patterns, some_spheres(around, chosen), reference, rdm=RdmSettings(min_voxels=20))
        assert scores.table["time_s"].tolist() == ON_VOLUMES_S
        return np.nanmean(scores.values[:, chosen], axis=1)

    early, auditory = mean_over(*V1), mean_over(24, 224)
    assert (np.diff(early) > 0).tolist() == [True, True, True, False]
    assert early.max() > 0.25
    assert early[0] < 0.05
    assert np.corrcoef(early, response_to_blocks(ON_VOLUMES_S, 9.0))[0, 1] > 0.9
    assert auditory.max() < early.max() / 2


@pytest.fixture(scope="module")
def haxby(data):
    folder = data / "haxby2001_slice"
    mask = nib.load(folder / "mask.nii.gz")
    volume = Volume(mask.get_fdata() > 0, mask.affine)
    betas = nib.load(folder / "betas_run.nii.gz").get_fdata()[volume.mask].T
    table = pd.read_csv(folder / "conditions.tsv", sep="\t", dtype=str)[["run", "condition"]]
    return Patterns(betas, table, volume)


def reliability_of(patterns, distance):
    names = patterns.conditions
    reference = RDMs(np.arange(28.0), names, pd.DataFrame({"model": ["any"], "layer": [""]}))
    around = spheres(patterns.volume, 10.0)
    made = searchlight.RdmSettings(distance, min_voxels=5)
    return searchlight.compare(patterns, around, reference, reliability=True, rdm=made).values[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("distance", "plain", "whitened"),
    [
        ("correlation", (0.892, 0.236), (0.910, 0.253)),
        ("crossnobis", (0.782, 0.121), (0.829, 0.138)),
        ("cv_correlation", (0.872, 0.212), (0.872, 0.172)),
    ],
)
def test_odd_and_even_runs_of_haxby_agree_plain_and_whitened(haxby, distance, plain, whitened):
    """The highest of the slice, and the median over its voxels; noise is what differs between runs of a half."""
    before = reliability_of(haxby, distance)
    after = reliability_of(noise.prepared(haxby, normalisation="multivariate", source="runs"), distance)
    assert np.isfinite(before).all()
    for scores, expected in ((before, plain), (after, whitened)):
        assert (scores.max(), np.median(scores)) == pytest.approx(expected, abs=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("distance", ["correlation", "crossnobis", "cv_correlation"])
def test_runs_without_their_labels_are_not_reliable(haxby, distance, rng):
    """Categories are shuffled in each run: odd and even runs agree by chance only."""
    table = haxby.table.copy()
    table["condition"] = table.groupby("run", sort=False)["condition"].transform(lambda names: rng.permutation(names))
    shuffled = Patterns(haxby.values, table, haxby.volume)
    for patterns in (shuffled, noise.prepared(shuffled, normalisation="multivariate", source="runs")):
        assert abs(np.median(reliability_of(patterns, distance))) < 0.15
