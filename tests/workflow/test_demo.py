"""The default study as shipped: each planted region prefers its planted layer, and nothing is found elsewhere."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sandbox import ROOT, Sandbox, redrawn

from rsa.core import ScoreMap, Volume, select
from rsa.files import io
from rsa.pipeline.config import Study, load_study, read_yaml
from rsa.simulation.write import planted_voxels, simulated_volume

pytestmark = pytest.mark.slow

SPACE = "MNI152NLin2009cAsym"


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(read_yaml(ROOT / "config.yaml"))


@pytest.fixture(scope="module")
def demo(make_sandbox: Callable[..., Sandbox]) -> Sandbox:
    sandbox = make_sandbox("demo")
    sandbox.succeed()
    return sandbox


@pytest.fixture(scope="module")
def results(demo: Sandbox) -> Path:
    return demo.folder / "results" / "demo"


@pytest.fixture(scope="module")
def volume(study: Study) -> Volume:
    assert study.simulate is not None
    return simulated_volume(study.simulate)


def far_from_signal(study: Study, volume: Volume, distance_mm: float) -> np.ndarray:
    """Mark the voxels whose spheres hold nothing that was planted."""
    assert study.simulate is not None
    centres_mm = volume.voxel_to_mm(volume.indices)
    far = np.ones(volume.n_voxels, dtype=bool)
    for region in study.simulate.regions:
        planted_mm = centres_mm[planted_voxels(study.simulate, region, volume)]
        far &= (np.linalg.norm(centres_mm[:, None] - planted_mm, axis=2) > distance_mm).all(axis=1)
    return far


@pytest.mark.parametrize("subject", ["01", "02", "03", "04", "group"])
def test_each_region_prefers_the_layer_planted_in_it(study: Study, volume: Volume, results: Path, subject: str) -> None:
    assert study.simulate is not None
    name = "group_scores.h5" if subject == "group" else f"sub-{subject}_scores.h5"
    scores = io.load_scores(results / "scores" / name)
    layers = (scores.table["model"] == "alexnet") & scores.table["statistic"].isin(["spearman", "mean"])
    for region in study.simulate.regions:
        inside = planted_voxels(study.simulate, region, volume)
        means = np.nanmean(scores.values[layers][:, inside], axis=1)  # spheres at the edge may be small
        assert scores.table["layer"][layers].iloc[means.argmax()] == region.layer
        assert means.max() > 0.25


def test_regions_without_signal_stay_at_chance(study: Study, volume: Volume, results: Path) -> None:
    assert study.searchlight is not None
    far = far_from_signal(study, volume, study.searchlight.radius_mm + 1e-6)
    assert far.sum() > 10_000
    for subject in study.brain.subjects:
        scores = io.load_scores(results / "scores" / f"sub-{subject}_scores.h5").values[:, far]
        assert np.isfinite(scores).all(axis=0).mean() > 0.9
        assert np.abs(np.nanmean(scores, axis=1)).max() < 0.01
        assert np.nanmax(np.abs(scores)) < 0.3
    group = io.load_scores(results / "scores" / "group_scores.h5")
    means = (group.table["statistic"] == "mean") & ~group.table["model"].str.startswith("ceiling")
    assert np.nanmax(np.abs(group.values[means.to_numpy()][:, far])) < 0.12
    lower, upper = (select(group, model=name).values[0, far] for name in ("ceilinglower", "ceilingupper"))
    assert abs(np.nanmean(lower)) < 0.01
    assert 0.4 < np.nanmean(upper) < 0.6, "each of 4 subjects is a quarter of the mean"


def test_maps_lie_where_the_images_lie(volume: Volume, results: Path) -> None:
    folder = results / "sub-01"
    path = folder / f"sub-01_space-{SPACE}_model-alexnet_layer-features1_stat-spearman_statmap.nii.gz"
    image, mask = nib.load(path), nib.load(results / "simulated" / "sub-01" / "sub-01_mask.nii.gz")
    np.testing.assert_allclose(image.affine, mask.affine)
    assert image.shape == mask.shape
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (4, 4)
    values = image.get_fdata()
    assert np.isnan(values[mask.get_fdata() == 0]).all()
    assert np.isfinite(values[mask.get_fdata() > 0]).mean() > 0.9
    peak_mm = image.affine[:3] @ [*np.unravel_index(np.nanargmax(values), values.shape), 1]
    assert np.linalg.norm(np.abs(peak_mm) - [13, 93, 0]) < 14, "the first layer peaks at the occipital pole"


def test_every_map_of_a_subject_is_written_with_a_sidecar(results: Path) -> None:
    folder = results / "sub-02"
    layers = [
        "features1",
        "features4",
        "features7",
        "features9",
        "features11",
        "classifier2",
        "classifier5",
        "classifier6",
    ]
    stem = f"sub-02_space-{SPACE}"
    names = [f"{stem}_model-alexnet_layer-{layer}_stat-spearman" for layer in layers]
    names += [f"{stem}_model-alexnet_stat-{name}" for name in ("bestlayer", "layergradient")]
    names += [f"{stem}_model-{model}_stat-spearman" for model in ("category", "reliability", "meeg")]
    names += [f"{stem}_model-meeg_stat-{name}" for name in ("peaktime", "onsettime")]
    names += [f"{stem}_stat-nvoxels", f"{stem}_stat-reason"]
    expected = {f"{name}_statmap{ending}" for name in names for ending in (".nii.gz", ".json")}
    cortex = [name.replace(f"_space-{SPACE}", "_space-fsaverage5") for name in names]
    expected |= {f"{name}_statmap.json" for name in cortex}
    sides = [name.replace("_space-", f"_hemi-{side}_space-") for side in "LR" for name in cortex]
    expected |= {f"{name}_statmap.shape.gii" for name in sides}
    expected |= {f"{stem}_peaks.tsv", f"{stem}_peaks.json", ".snakemake_timestamp", ".checksums"}
    assert {path.name for path in folder.iterdir()} == expected
    sidecar = pd.read_json(folder / f"{names[1]}_statmap.json", typ="series")
    assert sidecar["Layer"] == "features.4"
    assert sidecar["Settings"]["radius_mm"] == 10
    assert sidecar["Software"]["brain-model-rsa"]


def test_best_layer_and_gradient_order_the_regions(study: Study, volume: Volume, results: Path) -> None:
    assert study.simulate is not None
    stem = results / "group" / f"space-{SPACE}_model-alexnet_stat-"
    best = nib.load(f"{stem}bestlayer_statmap.nii.gz").get_fdata()[volume.mask]
    gradient = nib.load(f"{stem}layergradient_statmap.nii.gz").get_fdata()[volume.mask]
    inside = [planted_voxels(study.simulate, region, volume) for region in study.simulate.regions]
    assert [np.nanmedian(best[voxels]) for voxels in inside] == [1, 3, 6]
    early, _, late = (np.nanmean(gradient[voxels]) for voxels in inside)
    assert early < -0.3
    assert late > 0.05


def test_layers_appear_in_m_eeg_in_the_order_in_which_they_were_planted(study: Study, results: Path) -> None:
    assert study.simulate is not None
    assert study.simulate.epochs is not None
    latencies = pd.read_csv(results / "time" / "latencies.tsv", sep="\t").set_index(["model", "layer"])
    planted = [(one.model, one.layer) for one in study.simulate.epochs.latencies]
    peaks_s = latencies["peak_s"].reindex(planted)
    assert peaks_s.tolist() == pytest.approx([one.peak_s for one in study.simulate.epochs.latencies], abs=0.0101)
    assert peaks_s.is_monotonic_increasing
    assert peaks_s.iloc[-1] >= peaks_s.iloc[0] + 0.0599
    onsets_s = latencies["onset_s"].dropna()
    assert set(planted) <= set(onsets_s.index)
    assert onsets_s.between(0.02, 0.15).all(), "responses rise from some 3 standard deviations before their peaks"
    (hierarchy,) = pd.read_csv(results / "time" / "hierarchy.tsv", sep="\t").to_dict("records")
    assert (hierarchy["model"], hierarchy["n_layers"], hierarchy["n_subjects"]) == ("alexnet", 8, 6)
    assert hierarchy["rho"] > 0.8


def test_m_eeg_shows_no_layer_before_onset(results: Path) -> None:
    courses = pd.read_csv(results / "time" / "courses.tsv", sep="\t")
    before = courses[courses["time_s"] < 0.02]
    assert len(before) == 9 * 12
    assert (before["p"] > 0.05).all()
    assert before["mean"].abs().max() < 0.1
    assert courses["mean"].max() > 0.4


def test_fusion_lights_occipital_before_ventral_temporal_cortex(study: Study, volume: Volume, results: Path) -> None:
    assert study.simulate is not None
    assert study.simulate.epochs is not None
    assert study.searchlight is not None
    group = select(io.load_scores(results / "scores" / "group_scores.h5"), model="meeg", statistic="mean")
    times_s = group.table["time_s"].to_numpy()
    np.testing.assert_allclose(times_s, np.arange(-10, 51) / 100)
    latest_s, chance = 0.0, 4 / np.sqrt(48 * 47 / 2 - 1)  # twice the deviation that chance has at most, see below
    for region, one in zip(study.simulate.regions, study.simulate.epochs.latencies, strict=True):
        assert region.layer == one.layer
        scores = group.values[:, planted_voxels(study.simulate, region, volume)]  # (n_times, n_voxels)
        scores = scores[:, np.isfinite(scores).all(axis=0)]
        peak_s = np.median(times_s[scores.argmax(axis=0)])
        assert latest_s < peak_s, region.name
        assert peak_s == pytest.approx(one.peak_s, abs=0.0251)
        assert scores.max(axis=0).mean() > 1.5 * chance
        assert np.abs(scores[times_s <= 0].mean(axis=1)).max() < chance, "nothing is planted before onset"
        latest_s = peak_s
    far = far_from_signal(study, volume, study.searchlight.radius_mm + 1e-6)
    assert np.abs(np.nanmean(group.values[:, far], axis=1)).max() < 0.01


def test_the_peak_time_map_is_that_of_the_maps_over_time(volume: Volume, results: Path) -> None:
    stem = results / "group" / f"space-{SPACE}_model-meeg_stat-"
    maps = nib.load(f"{stem}mean_statmap.nii.gz").get_fdata()[volume.mask]
    peak_s = nib.load(f"{stem}peaktime_statmap.nii.gz").get_fdata()[volume.mask]
    defined = np.isfinite(maps).all(axis=1) & np.isfinite(peak_s)
    assert defined.mean() > 0.9
    expected = np.arange(-10, 51)[maps[defined].argmax(axis=1)] / 100
    np.testing.assert_allclose(peak_s[defined], expected, atol=1e-6)


def significant(results: Path) -> tuple[ScoreMap, np.ndarray]:
    """Return -log10 of the corrected p of the group, and where it is that of .05 or less."""
    found = select(io.load_scores(results / "scores" / "group_scores.h5"), statistic="logp_max_mass")
    return found, found.values >= -np.log10(0.05) - 1e-6


def test_each_planted_region_is_found_by_its_layer_and_by_m_eeg_and_nothing_far_from_all(
    study: Study, volume: Volume, results: Path
) -> None:
    assert study.simulate is not None
    found, is_significant = significant(results)
    assert (10.0 ** -np.nanmax(found.values, axis=1) >= 1 / 501 - 1e-6).all()
    centres_mm = volume.voxel_to_mm(volume.indices)
    for region in study.simulate.regions:
        inside = planted_voxels(study.simulate, region, volume)
        for model, layer in ((region.model, region.layer), ("meeg", "")):
            rows = ((found.table["model"] == model) & (found.table["layer"].fillna("") == layer)).to_numpy()
            anywhere = is_significant[rows].any(axis=0)
            assert anywhere[inside].mean() > 0.8, (region.name, model)
            for centre_mm in region.centres_mm:
                assert anywhere[np.linalg.norm(centres_mm - centre_mm, axis=1).argmin()]
    far = far_from_signal(study, volume, 25.0)
    assert far.mean() > 0.5
    assert not is_significant[:, far].any()


def test_fusion_is_significant_while_there_is_a_response_and_never_before_or_after(results: Path) -> None:
    found, is_significant = significant(results)
    times_s = found.table["time_s"].to_numpy(float)
    significant_s = times_s[np.isfinite(times_s) & is_significant.any(axis=1)]
    assert significant_s.min() > 0.02, "responses rise from some 3 standard deviations before their peaks"
    assert significant_s.max() < 0.3
    assert {0.1, 0.13, 0.17} <= set(significant_s.round(2))


def test_clusters_sidecars_and_thresholded_maps_agree(results: Path) -> None:
    folder, settings = results / "group", {"alpha": 0.05, "permutations": 250, "seed": 0, "enhance": "cluster_mass"}
    clusters = pd.read_csv(folder / f"space-{SPACE}_clusters.tsv", sep="\t", na_values="n/a").fillna({"layer": ""})
    for (model, layer), own in clusters.groupby(["model", "layer"], sort=False):
        stem = f"space-{SPACE}_model-{model}{f'_layer-{layer}' if layer else ''}".replace(".", "")
        kept, mean, logp = (
            nib.load(folder / f"{stem}_stat-{name}_statmap.nii.gz").get_fdata()
            for name in ("thresholded", "mean", "logpmaxmass")
        )
        places = np.nan_to_num(logp) >= -np.log10(0.05) - 1e-6
        np.testing.assert_allclose(kept[places], mean[places], atol=1e-6)
        assert (np.nan_to_num(kept[~places]) == 0).all()
        assert own["mass"].sum() == pytest.approx(np.nansum(kept), rel=1e-4)
        assert own["peak_score"].max() == pytest.approx(np.nanmax(kept), abs=1e-5)
        assert own["p_corrected"].min() == pytest.approx(10 ** -np.nanmax(logp), abs=1e-5)
        anywhere = places.any(axis=-1) if places.ndim == 4 else places
        assert own["n_voxels"].sum() >= anywhere.sum()
        said = json.loads((folder / f"{stem}_stat-logpmaxmass_statmap.json").read_text())
        assert (said["Subjects"], said["Permutations"], said["Seed"], said["Alpha"]) == (4, 250, 0, 0.05)
        assert said["Family"] == ["voxels (regions, sensors)", "times", "layers of a model", "models and references"]
        assert said["Connectivity"] == "26 neighbours of each voxel"
        assert said["SmallestP"] == pytest.approx(1 / 251)
        assert settings.items() <= said["Settings"]["inference"].items()
    assert {"features.1", "features.7", "classifier.2"} <= set(clusters["layer"])
    assert (clusters["p_corrected"] <= 0.05 + 1e-6).all()


def test_planted_places_have_an_onset_before_their_peak_and_others_none(
    study: Study, volume: Volume, results: Path
) -> None:
    assert study.simulate is not None
    assert study.simulate.epochs is not None
    assert study.searchlight is not None
    stem = results / "group" / f"space-{SPACE}_model-meeg_stat-"
    onset_s = nib.load(f"{stem}onsettime_statmap.nii.gz").get_fdata()[volume.mask]
    for region, one in zip(study.simulate.regions, study.simulate.epochs.latencies, strict=True):
        inside = onset_s[planted_voxels(study.simulate, region, volume)]
        assert np.isfinite(inside).mean() > 0.4, region.name
        assert 0.02 < np.nanmedian(inside) < one.peak_s
    far = far_from_signal(study, volume, study.searchlight.radius_mm + 1e-6)
    assert np.isfinite(onset_s[far]).mean() < 0.02


@pytest.mark.parametrize("subject", ["01", "04"])
def test_maps_over_time_are_images_of_four_dimensions(volume: Volume, results: Path, subject: str) -> None:
    stem = results / f"sub-{subject}" / f"sub-{subject}_space-{SPACE}_model-meeg_stat-spearman_statmap"
    image = nib.load(f"{stem}.nii.gz")
    assert image.shape == (*volume.shape, 61)
    assert image.header.get_zooms()[3] == pytest.approx(0.01)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert float(image.header["toffset"]) == pytest.approx(-0.1)
    scores = select(io.load_scores(results / "scores" / f"sub-{subject}_scores.h5"), model="meeg")
    np.testing.assert_allclose(image.get_fdata()[volume.mask].T, scores.values, atol=1e-4)


def test_the_films_run(results: Path) -> None:
    for name in ("film", "rdm_film"):
        stem = results / "figures" / "fusion" / name
        film = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        assert len(film["times_s"]) == len(film["labels"]) > 20
        (width, height), n_across = film["frame_px"], film["n_across"]
        with Image.open(stem.with_suffix(".webp")) as image:
            page = np.asarray(image.convert("RGB")).astype(int)
        third = len(film["times_s"]) // 3
        top, left = third // n_across * height, third % n_across * width
        assert np.abs(page[top : top + height, left : left + width] - page[:height, :width]).max() > 50
        assert stem.with_suffix(".png").stat().st_size > 10_000


def test_figures_can_be_made_again(demo: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo.folder)
    redrawn(Path("results", "demo"), tmp_path, ["group/profile", "sub-04/courses"])


def test_peaks_are_listed(results: Path) -> None:
    peaks = pd.read_csv(results / "sub-01" / f"sub-01_space-{SPACE}_peaks.tsv", sep="\t")
    first = peaks[(peaks["peak"] == 1) & (peaks["layer"] == "features.1")].iloc[0]
    assert first["score"] > 0.8
    assert first["n_voxels"] >= 20
    assert peaks.groupby(["model", "layer", "time_s"], dropna=False).size().max() <= 5


def test_the_report_has_everything_on_its_pages(results: Path) -> None:
    pages = {
        path.stem: path.read_text(encoding="utf-8") for path in (results / "report.html", *results.glob("pages/*.html"))
    }
    for text in pages.values():
        HTMLParser().feed(text)
        assert 'src="http' not in text
    shown = sum(text.count("data:image/webp;base64,") for text in pages.values())
    assert shown == len([*results.glob("figures/*/*.png"), *results.glob("figures/*/*film.json")]) + 1
    for page, words in {
        "report": ("simulated", "untrained weights", "48 (1,128 pairs)", "15,044", "6 of 6 planted places"),
        "group": ("Clusters", "Peaks"),
        "sub-04": ("Subject 04", "Peaks"),
        "models": ("Reference RDMs", "Networks", "untrained"),
        "time": ("Layers over time", "Fusion of fMRI and M/EEG"),
        "methods": ("of 6 subjects at 61 times from \N{MINUS SIGN}100 to 500 ms after onset",),
        "files": ("sub-04/sub-04_space-",),
    }.items():
        for word in words:
            assert word in pages[page], (page, word)
    assert len(pages["report"]) < 1e6
    assert sum(map(len, pages.values())) < 15e6, "pages with films that can still be sent by mail"


def test_a_reader_goes_from_the_answer_to_a_voxel_and_its_file(opened: Callable[..., Any], results: Path) -> None:
    page = opened(results / "report.html")
    place = page.locator("main table a[href*='explorer/index.html#']").first
    assert place.inner_text().endswith("mm")
    place.click()
    page.wait_for_selector("html[data-ready=all]")
    page.select_option("#layer", "features.7")
    page.wait_for_function("document.getElementById('facts').innerText.includes('features.7')")
    said = float(re.search(r"features\.7: (\S+)", page.inner_text("#facts"))[1])
    image = nib.load((results / "explorer" / unquote(page.get_attribute("#download", "href"))).resolve())
    assert "_model-alexnet_layer-features7_stat-mean_" in image.get_filename()
    voxel = nib.affines.apply_affine(np.linalg.inv(image.affine), page.evaluate("explorer.state.mm"))
    assert said == round(float(image.dataobj[tuple(np.rint(voxel).astype(int))]), 3)
    page.select_option("#model", "meeg")
    page.focus("#time")
    page.keyboard.press("Home")
    page.wait_for_function("document.getElementById('time-text').innerText === '\N{MINUS SIGN}100 ms'")


def test_the_results_are_a_bids_derivative(results: Path) -> None:
    description = pd.read_json(results / "dataset_description.json", typ="series")
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "brain-model-rsa"
    validator = shutil.which("bids-validator-deno", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    said = subprocess.run([validator, results, "--json"], capture_output=True, text=True)
    issues = json.loads(said.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_logs_name_versions(results: Path) -> None:
    logs = list((results / "logs").glob("*.log"))
    assert len(logs) >= 20
    assert all('"nibabel":' in log.read_text() for log in logs)


def test_activations_are_kept_only_while_they_are_needed(results: Path) -> None:
    assert not list((results / "models").glob("*_activations.h5"))


def test_nothing_is_left_to_do_after_a_run(demo: Sandbox) -> None:
    assert "Nothing to be done" in demo.planned()


def test_a_change_reruns_what_uses_it_and_nothing_else(demo: Sandbox) -> None:
    changed = demo.configured("config.yaml", searchlight={"radius_mm": 12})
    again = demo.rules("--configfile", changed)
    assert {"searchlight", "maps", "draw_fusion", "report", "group"} <= again
    assert not {"simulate_epochs", "movie", "group_movie", "layer_time"} & again
    assert not {"layer_rdms", "simulate_brain", "simulate_stimuli", "brain", "draw_references"} & again
