"""The examples in config/ on real pictures, weights and brain data, through Snakemake."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from sandbox import ROOT, Sandbox, pages_of
from scipy.stats import rankdata, spearmanr

from rsa.files import io
from rsa.pipeline import cli
from rsa.pipeline.config import load_study, read_yaml
from rsa.simulation.write import planted_voxels, simulated_volume

pytestmark = pytest.mark.slow


def run(make_sandbox: Callable[[str], Sandbox], name: str, data: Path, *targets: str) -> Path:
    """Run one of the examples, or some targets of it; return the folder of its results."""
    sandbox = make_sandbox(name)
    wanted = ["--", *targets] if targets else []
    sandbox.succeed("--configfile", f"config/{name}.yaml", "--config", f"data_root={data}", *wanted)
    (results,) = (sandbox.folder / "results").glob("[!.]*")  # beside what is kept for all studies
    return results


# ------------------------------------------------------------------- 92 photographs, 15 subjects, EVC and IT


@pytest.fixture(scope="module")
def cichy(make_sandbox: Callable[[str], Sandbox], data: Path) -> Path:
    return run(make_sandbox, "cichy92", data)


@pytest.fixture(scope="module")
def fits(cichy: Path) -> pd.DataFrame:
    return pd.read_csv(cichy / "regions.tsv", sep="\t", dtype={"subject": str})


def test_the_table_is_layer_x_region_x_subject(fits: pd.DataFrame) -> None:
    assert list(fits["region"].unique()) == ["EVC", "IT"]
    assert list(fits["model"].unique()) == ["squeezenet11", "mobilenetv2", "pixels"]
    n_layers = fits.fillna({"layer": ""}).groupby("model")["layer"].nunique()
    assert len(fits) == 15 * 2 * n_layers.sum()
    assert not fits.duplicated(["subject", "region", "model", "layer"]).any()


def test_late_layers_fit_it_better_than_early_ones(fits: pd.DataFrame) -> None:
    it = fits[fits["region"] == "IT"]
    for model, last in (("squeezenet11", "features.12"), ("mobilenetv2", "features.16")):
        scores = it[it["model"] == model].pivot_table("score", "subject", "layer")
        assert (scores[last] > scores["features.1"]).sum() == 15, "in every subject"
        assert scores[last].mean() > scores["features.1"].mean() + 0.1


def test_pixels_explain_early_visual_cortex_and_layers_it_beyond_them(cichy: Path, fits: pd.DataFrame) -> None:
    means = fits.fillna({"layer": ""}).groupby(["region", "model", "layer"])["score"].mean()
    assert means["EVC"].idxmax() == ("pixels", "")
    beyond = pd.read_csv(cichy / "analyses" / "partial" / "regions.tsv", sep="\t", dtype={"subject": str})
    it = beyond[(beyond["region"] == "IT") & (beyond["layer"] == "features.12") & (beyond["model"] == "squeezenet11")]
    assert (it["score"] > 0).sum() >= 14
    assert means["IT", "squeezenet11", "features.12"] > it["score"].mean() > 0.1


def test_parts_add_up_to_what_all_predictors_explain(cichy: Path, data: Path) -> None:
    parts = pd.read_csv(cichy / "analyses" / "partition" / "regions.tsv", sep="\t", dtype={"subject": str})
    assert parts["model"].nunique() == 7
    rows = parts[(parts["region"] == "IT") & (parts["subject"] == "03")]
    brain = rankdata(np.load(data / "cichy92" / "fmri_rdms.npz")["IT"][2][np.triu_indices(92, 1)])
    files = [*cichy.glob("models/*_rdms.h5"), *cichy.glob("references/*_rdms.h5")]
    x = np.vstack([np.ones(len(brain)), *(rankdata(io.load_rdms(path).values, axis=1) for path in files)]).T
    left = brain - x @ np.linalg.lstsq(x, brain, rcond=None)[0]
    assert rows["score"].sum() == pytest.approx(1 - (left**2).sum() / ((brain - brain.mean()) ** 2).sum(), abs=1e-5)


def test_noise_ceilings_are_those_of_a_loop_over_subjects(fits: pd.DataFrame, data: Path) -> None:
    arrays = np.load(data / "cichy92" / "fmri_rdms.npz")
    for region in ("EVC", "IT"):
        ranks = rankdata(arrays[region][:, *np.triu_indices(92, 1)], axis=1)
        correlate = [
            [spearmanr(own, others).statistic for others in (np.delete(ranks, i, 0).mean(0), ranks.mean(0))]
            for i, own in enumerate(ranks)
        ]
        lower, upper = np.mean(correlate, axis=0)
        row = fits[fits["region"] == region].iloc[0]
        np.testing.assert_allclose((row["ceiling_lower"], row["ceiling_upper"]), (lower, upper), atol=1e-5)


def test_networks_are_ranked_without_an_advantage_of_many_layers(cichy: Path, fits: pd.DataFrame) -> None:
    ranking = pd.read_csv(cichy / "ranking.tsv", sep="\t", na_values="n/a").set_index(["region", "rank"])
    assert ranking.loc[("EVC", 1), "model"] == "pixels"
    assert ranking.loc["IT", "model"].tolist() == ["squeezenet11", "mobilenetv2", "pixels"]
    assert ranking.loc["IT", "layer"].tolist()[:2] == ["features.12", "features.16"]
    means = fits.fillna({"layer": ""}).groupby(["region", "model", "layer"])["score"].mean()
    best = means.groupby(["region", "model"]).max()
    for row in ranking.reset_index().itertuples():
        assert row.score_not_cross_validated == pytest.approx(best[row.region, row.model], abs=1e-6)
        assert row.score < row.score_not_cross_validated
        assert row.lower < row.score < row.upper
    pairs = pd.read_csv(cichy / "ranking_pairs.tsv", sep="\t").set_index(["region", "model_a", "model_b"])
    assert pairs.loc[("IT", "squeezenet11", "mobilenetv2"), "p_corrected"] > 0.2
    assert pairs.loc[("EVC", "mobilenetv2", "pixels"), "p_corrected"] < 0.01
    assert "Ranking" in pages_of(cichy)
    assert (cichy / "figures" / "ranking" / "ranking.svg").exists()


def test_the_report_shows_regions_with_their_ceiling(cichy: Path) -> None:
    text = pages_of(cichy)
    assert (cichy / "figures" / "regions" / "regions.png").exists()
    assert "Nili" in text
    assert "noise ceiling" in text
    assert "Analysis: partial" in text
    assert "Analysis: partition" in text


# -------------------------------------------------------------------------- a whole brain against region V1


@pytest.fixture(scope="module")
def god(make_sandbox: Callable[[str], Sandbox], data: Path) -> Path:
    """Make the RDM of V1 by hand, as config/README.md tells, and run the study on it."""
    sandbox = make_sandbox("god_v1")
    folder, results = data / "god_sub01_run01", sandbox.folder / "results" / "godv1"
    table = ["--brain-table", f"{folder}/stimuli.tsv", "--brain-condition-column", "stimulus_name"]
    images = ["--brain-images", f"{folder}/betas.nii.gz", "--brain-mask", f"{folder}/mask.nii.gz"]
    brain = ["brain", "--brain-kind", "maps", "--brain-subjects", "01", *images, *table, "--subject", "01"]
    assert cli.main([*brain, "--output", f"{results}/patterns.h5"]) == 0
    atlas = ["--regions-atlas", f"{folder}/roi_glasser.nii.gz", "--regions-labels", f"{folder}/roi_labels.tsv"]
    columns = ["--regions-index-column", "label", "--regions-name-column", "area", "--regions-keep", "V1"]
    region = ["region-rdms", "--patterns", f"{results}/patterns.h5", *atlas, *columns, "--subject", "01"]
    assert cli.main([*region, "--output", f"{results}/v1_rdms.h5"]) == 0
    sandbox.succeed("--configfile", "config/god_v1.yaml", "--config", f"data_root={data}")
    return results


def test_the_map_of_v1_peaks_in_v1(god: Path, data: Path) -> None:
    image = nib.load(god / "sub-01" / "sub-01_space-T1w_model-V1_stat-spearman_statmap.nii.gz")
    atlas = nib.load(data / "god_sub01_run01" / "roi_glasser.nii.gz")
    np.testing.assert_allclose(image.affine, atlas.affine)
    values, labels = image.get_fdata(), np.asarray(atlas.dataobj)
    assert np.isfinite(values).sum() > 52_500
    assert labels.ravel()[np.nanargmax(values)] in (1, 201)
    means = {
        name: np.nanmean(values[np.isin(labels, codes)]) for name, codes in {"V1": (1, 201), "A1": (24, 224)}.items()
    }
    assert means["V1"] > means["A1"] + 0.2


def test_regions_of_the_atlas_are_compared_as_well(god: Path) -> None:
    fits = pd.read_csv(god / "regions.tsv", sep="\t", dtype={"region": str})
    v1 = fits[fits["model"] == "V1"].set_index("region")["score"]
    assert v1["V1"] == 1
    assert v1[["V2", "V3", "V4"]].min() > v1[["A1", "4"]].max() + 0.3


# -------------------------------------------------------------------------------------- a single slice


@pytest.fixture(scope="module")
def haxby(make_sandbox: Callable[[str], Sandbox], data: Path) -> Path:
    return run(make_sandbox, "haxby_slice", data)


def test_a_single_slice_with_a_flipped_axis(haxby: Path, data: Path) -> None:
    image = nib.load(haxby / "sub-1" / "sub-1_space-bold_model-animate_stat-spearman_statmap.nii.gz")
    mask = nib.load(data / "haxby2001_slice" / "mask.nii.gz")
    assert image.shape == mask.shape == (40, 20, 1)
    np.testing.assert_allclose(image.affine, mask.affine)
    assert image.affine[0, 0] < 0
    values = image.get_fdata()
    assert np.isnan(values[mask.get_fdata() == 0]).all()
    assert np.nanmax(values) > 0.7
    counts = nib.load(haxby / "sub-1" / "sub-1_space-bold_stat-nvoxels_statmap.nii.gz").get_fdata()
    assert np.nanmax(counts) == 27, "a disc of 10 mm on 3.1 x 3.75 mm pixels"


# ---------------------------------------------------------------- real size: layers planted in a real brain


def test_layers_planted_in_a_real_brain_are_found_and_nothing_else(
    make_sandbox: Callable[[str], Sandbox], data: Path
) -> None:
    results = run(make_sandbox, "planted92", data, "results/planted92/scores/sub-01_scores.h5")
    study = load_study({**read_yaml(ROOT / "config" / "planted92.yaml"), "data_root": str(data)})
    assert study.simulate is not None
    assert study.searchlight is not None
    volume = simulated_volume(study.simulate)
    scores = io.load_scores(results / "scores" / "sub-01_scores.h5")
    assert scores.values.shape == (10, 53_011)
    centres_mm = volume.voxel_to_mm(volume.indices)
    elsewhere = np.ones(volume.n_voxels, dtype=bool)
    for region in study.simulate.regions:
        inside = planted_voxels(study.simulate, region, volume)
        means = np.nanmean(scores.values[:, inside], axis=1)
        assert scores.table["layer"].iloc[means.argmax()] == region.layer
        planted_mm = centres_mm[inside]
        distances_mm = np.min([np.linalg.norm(centres_mm - place, axis=1) for place in planted_mm], axis=0)
        elsewhere &= distances_mm > study.searchlight.radius_mm + 1e-6
    assert elsewhere.sum() > 47_000
    assert np.abs(np.nanmean(scores.values[:, elsewhere], axis=1)).max() < 0.02
    assert np.nanmax(scores.values[:, elsewhere]) < 0.1
