"""Noise that is seen between runs: never between those that are compared, and so nothing of it is reliable."""

import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import nulls
import numpy as np
import oracles
import pandas as pd
import pytest
import yaml
from PIL import Image
from scipy.ndimage import gaussian_filter

from rsa import noise, searchlight
from rsa.comparisons import COMPARISONS
from rsa.core import Patterns, RDMs, Volume
from rsa.distances import CROSS_VALIDATED, DISTANCES
from rsa.errors import UserError
from rsa.files import io
from rsa.inference.ceiling import noise_ceilings
from rsa.neighbourhood import from_masks, spheres
from rsa.noise import SHRINKAGES
from rsa.pipeline import stages
from rsa.pipeline.checks import problems_of
from rsa.pipeline.config import load_study
from rsa.rdm import ceiling_bounds
from rsa.searchlight import RdmSettings, RunSettings

README = Path(__file__).parents[1] / "README.md"
HOW = [
    {"normalisation": "univariate"},
    *({"normalisation": "multivariate", "shrinkage": name} for name in SHRINKAGES),
    {"normalisation": "multivariate", "scope": "brain"},
]


def runs_of(n_runs=4, n_conditions=6, uneven=False, delays_s=(), seed=0):
    """A signal, and noise that neighbours share; uneven: conditions are missing, and one comes twice in a run."""
    rng = np.random.default_rng(seed)
    volume = Volume(np.ones((3, 3, 3)), np.eye(4))
    rows = [(f"c{c}", f"r{run}", 0) for run in range(n_runs) for c in range(n_conditions)]
    if uneven:
        lost = [("c0", "r0", 0), ("c1", "r0", 0), ("c1", "r2", 0)]
        rows = [row for row in rows if row not in lost] + [("c3", "r1", 1)]
        rows = [rows[place] for place in rng.permutation(len(rows))]
    table = pd.DataFrame(rows, columns=["condition", "run", "trial"])
    if delays_s:
        table = pd.concat([table.assign(delay_s=delay_s) for delay_s in delays_s], ignore_index=True)
    signal = {name: 2 * rng.standard_normal(27) for name in sorted(set(table["condition"]))}
    mixing = np.eye(27) + 0.6 * np.eye(27, k=1)
    values = rng.standard_normal((len(table), 27)) @ mixing + np.stack([signal[name] for name in table["condition"]])
    return Patterns(values + 20, table, volume)


def whole(patterns):
    return from_masks(patterns.volume, {"all": np.ones(patterns.n_features, bool)})


@pytest.mark.parametrize("mean_removed", [False, True])
@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("how", HOW, ids=lambda how: "-".join(how.values()))
@pytest.mark.parametrize("distance", CROSS_VALIDATED)
def test_each_run_is_multiplied_with_the_mean_of_the_others_whitened_by_these(distance, how, uneven, mean_removed):
    patterns = runs_of(uneven=uneven)
    prepared = noise.prepared(patterns, remove_mean=mean_removed, source="runs", **how)
    found = searchlight.region_rdms(prepared, whole(patterns), rdm=RdmSettings(distance=distance))
    rows = prepared.values.astype(np.float64)  # of the whole brain, so that all scopes are the same
    settings = {"shrinkage": "ledoit_wolf", **how, "mean_removed": mean_removed}
    table = patterns.table
    expected = oracles.between_runs_whitened(rows, list(table["condition"]), list(table["run"]), distance, settings)
    assert list(found.conditions) == prepared.conditions
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("distance", CROSS_VALIDATED)
def test_spheres_see_their_own_voxels_alone(distance):
    patterns = runs_of()
    prepared = noise.prepared(patterns, normalisation="multivariate", source="runs")
    around = spheres(patterns.volume, 1.5)
    found = searchlight.region_rdms(prepared, around, rdm=RdmSettings(distance=distance, min_voxels=12))
    settings = {"normalisation": "multivariate", "shrinkage": "ledoit_wolf", "mean_removed": False}
    conditions, runs = (list(patterns.table[name]) for name in ("condition", "run"))
    for centre in range(27):
        members = around.members(centre)
        if len(members) < 12:
            assert np.isnan(found.values[centre]).all()
            continue
        rows = patterns.values[:, members].astype(np.float64)
        expected = oracles.between_runs_whitened(rows, conditions, runs, distance, settings)
        np.testing.assert_allclose(found.values[centre], expected, rtol=1e-6, atol=1e-8)


def test_a_distance_within_the_mean_of_runs_takes_the_noise_of_them_all():
    """Deviations from a mean are independent of it."""
    patterns = runs_of()
    prepared = noise.prepared(patterns, normalisation="multivariate", source="runs")
    found = searchlight.region_rdms(prepared, whole(patterns), rdm=RdmSettings(distance="correlation")).values[0]
    residuals = noise.between_runs(patterns)
    white = oracles.whitened(
        patterns.mean_over_runs().values.astype(float), residuals.values.astype(float), 18, "ledoit_wolf"
    )
    np.testing.assert_allclose(found, oracles.rdm(white, "correlation"), rtol=1e-5)


@pytest.mark.parametrize("distance", ["correlation", "crossnobis"])
@pytest.mark.parametrize("how", HOW, ids=lambda how: "-".join(how.values()))
def test_each_half_is_whitened_by_its_own_runs(distance, how):
    patterns = runs_of(n_runs=6)
    prepared = noise.prepared(patterns, source="runs", **how)
    reference = RDMs([np.arange(15.0)], patterns.conditions, pd.DataFrame({"model": ["any"]}))
    scores = searchlight.compare(
        prepared, whole(patterns), reference, reliability=True, rdm=RdmSettings(distance=distance)
    )
    halves = []
    for runs in (["r0", "r2", "r4"], ["r1", "r3", "r5"]):
        rows = patterns.table["run"].isin(runs).to_numpy()
        half = noise.prepared(
            Patterns(patterns.values[rows], patterns.table[rows], patterns.volume), source="runs", **how
        )
        halves.append(searchlight.region_rdms(half, whole(patterns), rdm=RdmSettings(distance=distance)).values[0])
    assert scores.values[1, 0] == pytest.approx(oracles.compare(*halves, "spearman"), abs=1e-6)


@pytest.mark.parametrize("distance", ["correlation", *CROSS_VALIDATED])
def test_the_noise_of_all_delays_is_taken_together(distance):
    patterns = runs_of(delays_s=(4.0, 6.0))
    prepared = noise.prepared(patterns, normalisation="multivariate", source="runs")
    found = searchlight.region_rdms(prepared, whole(patterns), rdm=RdmSettings(distance=distance))
    at_once = patterns.table.assign(condition=patterns.table["condition"] + "@" + patterns.table["delay_s"].astype(str))
    together = noise.prepared(
        Patterns(patterns.values, at_once.drop(columns="delay_s"), patterns.volume),
        normalisation="multivariate",
        source="runs",
    )
    all_pairs = searchlight.region_rdms(together, whole(patterns), rdm=RdmSettings(distance=distance))
    for number, delay_s in enumerate((4.0, 6.0)):
        of_delay = [one for one in together.conditions if one.endswith(f"@{delay_s}")]
        expected = all_pairs.reordered(of_delay).values[0]
        np.testing.assert_allclose(found.values[number], expected, rtol=1e-6, atol=1e-8)


def test_threads_and_chunks_change_nothing():
    patterns = noise.prepared(runs_of(), normalisation="multivariate", source="runs")
    around = spheres(patterns.volume, 1.5)
    reference = RDMs([np.arange(15.0)], patterns.conditions, pd.DataFrame({"model": ["any"]}))
    made = RdmSettings("crossnobis", min_voxels=8)
    expected = searchlight.compare(patterns, around, reference, rdm=made)
    found = searchlight.compare(patterns, around, reference, rdm=made, run=RunSettings(n_threads=3, chunk_size=64))
    np.testing.assert_array_equal(found.values, expected.values)


def test_a_file_keeps_how_noise_between_runs_is_used(tmp_path):
    patterns = noise.prepared(runs_of(), remove_mean=True, normalisation="univariate", source="runs")
    io.save(tmp_path / "patterns.h5", patterns)
    read = io.load_patterns(tmp_path / "patterns.h5")
    assert read.run_noise == patterns.run_noise
    np.testing.assert_array_equal(
        searchlight.region_rdms(read, whole(patterns), rdm=RdmSettings(distance="crossnobis")).values,
        searchlight.region_rdms(patterns, whole(patterns), rdm=RdmSettings(distance="crossnobis")).values,
    )


def test_voxels_without_noise_in_the_other_runs_are_not_usable():
    """All that is left of voxel 5 when run 2 is left out is the same in all runs."""
    patterns = runs_of()
    values = patterns.values.copy()
    first = values[patterns.table["run"] == "r0", 5]
    for run in ("r1", "r3"):
        values[(patterns.table["run"] == run).to_numpy(), 5] = first
    prepared = noise.prepared(replace(patterns, values=values), normalisation="multivariate", source="runs")
    reference = RDMs([np.arange(15.0)], patterns.conditions, pd.DataFrame({"model": ["any"]}))
    around = spheres(patterns.volume, 1.5)
    scores = searchlight.compare(prepared, around, reference, rdm=RdmSettings(distance="crossnobis"))
    assert np.isnan(scores.values[0, 5])
    assert scores.reason[5] == 2
    assert np.isfinite(np.delete(scores.values[0], 5)).all()
    scores = searchlight.compare(prepared, around, reference, rdm=RdmSettings(distance="correlation"))
    assert np.isfinite(scores.values).all()


def test_noise_ceilings_take_it_too():
    each = [noise.prepared(runs_of(seed=seed), normalisation="multivariate", source="runs") for seed in range(3)]
    around = spheres(each[0].volume, 1.5)
    rdms = [searchlight.region_rdms(one, around, rdm=RdmSettings(distance="crossnobis")).values[13] for one in each]
    expected = ceiling_bounds(np.stack(rdms), COMPARISONS["spearman"])
    found = noise_ceilings(each, 1.5, rdm=RdmSettings(distance="crossnobis")).values[:, 13]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


# -------------------------------------------------------------------------------------- what cannot be


def test_two_runs_cannot_tell_the_noise_of_what_they_are_compared_by():
    two = noise.prepared(runs_of(n_runs=2), normalisation="multivariate", source="runs")
    reference = RDMs([np.arange(15.0)], two.conditions, pd.DataFrame({"model": ["any"]}))
    for distance in CROSS_VALIDATED:
        with pytest.raises(UserError, match=r"from 3 runs on, and there are 2: .*Take the noise from residuals"):
            searchlight.compare(two, whole(two), reference, rdm=RdmSettings(distance=distance))
    assert np.isfinite(searchlight.compare(two, whole(two), reference).values).all()


@pytest.mark.parametrize(("distance", "n_runs"), [("correlation", 3), ("crossnobis", 5), ("cv_correlation", 5)])
def test_halves_need_the_runs_that_tell_their_own_noise(distance, n_runs):
    few, enough = (
        noise.prepared(runs_of(n_runs=n), normalisation="multivariate", source="runs") for n in (n_runs, n_runs + 1)
    )
    reference = RDMs([np.arange(15.0)], few.conditions, pd.DataFrame({"model": ["any"]}))
    with pytest.raises(UserError, match=r"(from 3 runs on|needs 4 runs or more)"):
        searchlight.compare(few, whole(few), reference, reliability=True, rdm=RdmSettings(distance=distance))
    assert np.isfinite(
        searchlight.compare(
            enough, whole(enough), reference, reliability=True, rdm=RdmSettings(distance=distance)
        ).values
    ).all()


def test_conditions_that_are_never_in_a_run_together_have_no_distance():
    patterns = runs_of(n_runs=4)
    kept = ~(
        ((patterns.table["condition"] == "c0") & patterns.table["run"].isin(["r0", "r1"]))
        | ((patterns.table["condition"] == "c1") & patterns.table["run"].isin(["r2", "r3"]))
    ).to_numpy()
    apart = Patterns(patterns.values[kept], patterns.table[kept], patterns.volume)
    prepared = noise.prepared(apart, normalisation="multivariate", source="runs")
    with pytest.raises(UserError, match=r"'c[01]' and 'c[01]' are together in no such run"):
        searchlight.region_rdms(prepared, whole(apart), rdm=RdmSettings(distance="crossnobis"))


def test_mistakes():
    prepared = noise.prepared(runs_of(), normalisation="multivariate", source="runs")
    with pytest.raises(UserError, match=r"whitened by ledoit_wolf .*not schaefer_strimmer; leave shrinkage out"):
        searchlight.region_rdms(prepared, whole(prepared), rdm=RdmSettings(shrinkage="schaefer_strimmer"))
    same = searchlight.region_rdms(prepared, whole(prepared), rdm=RdmSettings(shrinkage="ledoit_wolf")).values
    np.testing.assert_array_equal(same, searchlight.region_rdms(prepared, whole(prepared)).values)
    with pytest.raises(UserError, match="Unknown shrinkage 'oas'"):
        noise.prepared(runs_of(), normalisation="multivariate", source="runs", shrinkage="oas")
    one = runs_of(n_runs=2, n_conditions=1)
    with pytest.raises(UserError, match="2 conditions or more in 2 runs"):
        noise.prepared(one, remove_mean=True, normalisation="multivariate", source="runs")


# ------------------------------------------------------------------------------------------ pure noise


@pytest.mark.slow
@pytest.mark.parametrize("null", list(nulls.studies((3, 6))), ids=str)
def test_of_pure_noise_nothing_is_left(null):
    """Every distance, whitening, source, balance and number of runs: means within 3 standard errors of 0."""
    n_brains = 1 if null.source == "runs" else 2  # folds take their time
    for name, values in null.measures(range(n_brains)).items():
        error = values.std(ddof=1) / np.sqrt(len(values))
        assert abs(values.mean()) < 3 * error, (name, values.mean(), error)


@pytest.mark.slow
def test_the_null_simulation_would_find_noise_of_the_runs_that_are_compared():
    """Whitening by the deviations of all runs, as was once done, biases crossnobis and makes noise reliable."""
    null, reliable, biased = nulls.Null("crossnobis", "ledoit_wolf"), [], []
    for seed in range(2):
        patterns, around = null.brain(seed)
        wrong = replace(patterns, residuals=noise.between_runs(patterns))
        reference = RDMs([np.arange(45.0)], patterns.conditions, pd.DataFrame({"model": ["any"]}))
        made = RdmSettings(shrinkage="ledoit_wolf")
        reliable += list(searchlight.compare(wrong, around, reference, reliability=True, rdm=made).values[-1])
        biased += list(searchlight.region_rdms(wrong, around, replace(made, distance="crossnobis")).values.mean(axis=1))
    for values in (reliable, biased):
        assert np.mean(values) > 5 * np.std(values) / np.sqrt(len(values))
    assert set(DISTANCES).isdisjoint(CROSS_VALIDATED)


@pytest.mark.slow
def test_the_recipe_of_the_readme_finds_nothing_reliable_in_noise(tmp_path, monkeypatch):
    """The configuration of README.md, without its network, on betas of noise: checked, and run stage by stage."""
    monkeypatch.chdir(tmp_path)
    (recipe,) = re.findall(r"^```yaml\n(study: objects.*?)^```", README.read_text(encoding="utf-8"), flags=re.S | re.M)
    settings = {**yaml.safe_load(recipe), "data_root": "."}
    names, subjects, runs = [f"c{n}" for n in range(16)], settings["brain"]["subjects"], settings["brain"]["runs"]
    rng, mask = np.random.default_rng(0), nib.Nifti1Image(np.ones((9, 9, 9), np.uint8), np.diag([3.0, 3, 3, 1]))
    for number, name in enumerate(names):
        Image.new("RGB", (8, 8), (number, 20, 30)).save(f"{name}.png")
    stimuli = {"condition": names, "file": [f"{name}.png" for name in names], "animate": ["yes", "no"] * 8}
    pd.DataFrame(stimuli).to_csv("stimuli.tsv", sep="\t", index=False)
    for subject in subjects:
        for folder in ("func", "anat"):
            Path(f"sub-{subject}/{folder}").mkdir(parents=True)
        nib.save(mask, f"sub-{subject}/anat/sub-{subject}_mask.nii.gz")
        for run in runs:
            betas = gaussian_filter(rng.standard_normal((9, 9, 9, 16)), (0.7, 0.7, 0.7, 0)).astype(np.float32)
            nib.save(nib.Nifti1Image(betas, mask.affine), f"sub-{subject}/func/sub-{subject}_run-{run}_betas.nii.gz")
            table = pd.DataFrame({"condition": names})
            table.to_csv(f"sub-{subject}/func/sub-{subject}_run-{run}_betas.tsv", sep="\t", index=False)
    study = load_study({key: value for key, value in settings.items() if key != "models"})
    assert problems_of(study) == []
    animacy = study.references[0]
    stages.reference(animacy, Path("animacy.h5"), study.stimuli)
    how = {"searchlight": study.searchlight, "distance": study.brain_distance, "shrinkage": study.shrinkage}
    means = []
    for subject in subjects:
        patterns, scores = Path(f"{subject}.h5"), Path(f"{subject}_scores.h5")
        stages.brain(study.brain, subject, patterns, study.stimuli, study.noise, study.remove_mean)
        few = {**how, "searchlight": study.searchlight.model_copy(update={"stride": 3})}
        stages.searchlight(patterns, [Path("animacy.h5")], scores, subject, comparison=study.comparison, **few)
        found = io.load_scores(scores)
        assert list(found.table["model"]) == ["animacy", "reliability"]
        means.append(np.nanmean(found.values, axis=1))
    assert np.abs(np.mean(means, axis=0)).max() < 0.05
