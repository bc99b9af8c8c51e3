"""Every example in config/ on files as labs have them, and studies with all that noise and templates bring."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import bids_tree
import layouts
import nibabel as nib
import numpy as np
import oracles
import pandas as pd
import pytest
import torch
import yaml
from nibabel.affines import from_matvec
from sandbox import ROOT, Sandbox, pages_of
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation
from scipy.stats import rankdata, ttest_1samp
from test_fetch import put_subject

from rsa.core import SAME_SCORE, Patterns, RDMs, ScoreMap, select
from rsa.files import io
from rsa.names import map_path
from rsa.pipeline import stages
from rsa.pipeline.config import load_study, read_yaml

Trees = Callable[[str], Path]

pytestmark = pytest.mark.slow


# ------------------------------------------------------------------------------- the files that they expect


def real_data(data: Path, folder: Path) -> Path:
    """Return the real data, which lie as these examples expect them."""
    return data


def no_data(data: Path, folder: Path) -> Path:
    """Make an empty folder, for an example that fetches its data."""
    folder.mkdir(parents=True)
    return folder


def with_rdm_of_v1(data: Path, folder: Path) -> Path:
    """Write the RDM that god_v1 wants to have made before (by hand: tests/workflow/test_real.py)."""
    names = pd.read_csv(data / "god_sub01_run01" / "stimuli.tsv", sep="\t")["stimulus_name"]
    values = np.random.default_rng(1).random((1, 50 * 49 // 2))
    made_before = RDMs(values, names, pd.DataFrame({"region": ["V1"]}), "correlation")
    io.save(folder.parents[1] / "results" / "godv1" / "v1_rdms.h5", made_before)
    return data


TEST_SESSIONS = ("perceptionTest01", "perceptionTest02", "perceptionTest03", "perceptionTest04")


def as_ds001246(data: Path, folder: Path) -> Path:
    """Write two slices of the real run as the four sessions with test pictures, and one with training pictures."""
    sessions = (*TEST_SESSIONS, "perceptionTraining01")
    bids_tree.god_as_bids(data, folder / "ds001246", sessions=sessions, rng=np.random.default_rng(3))
    (folder / "god_sub01_run01").symlink_to(data / "god_sub01_run01")
    return folder


def with_efficientnet(data: Path, folder: Path) -> Path:
    """Link the data of networks92, and write random weights where its files of EfficientNet are."""
    timm = pytest.importorskip("timm", reason="the extra `models` is not installed")
    (folder / "weights").mkdir(parents=True)
    (folder / "cichy92").symlink_to(data / "cichy92")
    (folder / "weights" / "squeezenet1_1.pth").symlink_to(data / "weights" / "squeezenet1_1.pth")
    for model in read_yaml(ROOT / "config" / "networks92.yaml")["models"]:
        if model.get("source") == "timm":
            torch.save(timm.create_model(model["architecture"]).state_dict(), folder / model["weights"])
    return folder


TREES: dict[str, Callable[[Path, Path], Path]] = {
    "cichy92": real_data,
    "fsl_copes": layouts.as_feat,
    "glmsingle": layouts.as_glmsingle,
    "god_ds001246": as_ds001246,
    "god_v1": with_rdm_of_v1,
    "haxby": no_data,
    "haxby_slice": real_data,
    "networks92": with_efficientnet,
    "nsd": layouts.as_nsd,
    "planted92": real_data,
    "spm_betas": layouts.as_spm,
    "things_fmri": layouts.as_things,
    "units": real_data,
    "units92": real_data,
}
"""Every example, with what makes its files below a new folder and returns its `data_root`."""

OPTIONAL_RULES = {
    "cichy92": {"layer_rdms", "reference", "region_fits", "ranking"},
    "god_v1": {"reference", "searchlight", "maps", "region_rdms", "region_fits"},
    "haxby": {"fetch", "layer_rdms", "reference", "searchlight", "maps"},
    "networks92": {"layer_rdms", "reference", "region_fits", "ranking", "networks"},
    "nsd": {"layer_rdms", "searchlight", "maps"},
    "planted92": {"simulate_brain", "layer_rdms", "searchlight", "maps"},
    "things_fmri": {"layer_rdms", "searchlight", "maps"},
    "units": {"layer_rdms", "units"},
    "units92": {"layer_rdms", "region_fits", "units"},
}
"""What each example runs beside brain data and report; the others compare a searchlight with a table."""


@pytest.fixture(scope="module")
def sandbox(make_sandbox: Callable[[str], Sandbox]) -> Sandbox:
    return make_sandbox("examples")


@pytest.fixture(scope="module")
def trees(sandbox: Sandbox, data: Path) -> Trees:
    """Return a function that writes the files of an example, once, and says where they are."""
    return cache(lambda name: TREES[name](data, sandbox.folder / "trees" / name))


def test_no_example_is_forgotten() -> None:
    assert {path.stem for path in (ROOT / "config").glob("*.yaml")} == set(TREES)


@pytest.mark.parametrize("name", TREES)
def test_every_example_is_ready_to_run(sandbox: Sandbox, trees: Trees, name: str) -> None:
    rules = sandbox.rules("--configfile", f"config/{name}.yaml", "--config", f"data_root={trees(name)}")
    always = {"describe", "draw_references", "report"} | ({"brain"} if name != "units" else set())
    drawn = {rule for rule in rules if rule.startswith("draw_")}
    assert ("explore" in rules) == ("searchlight" in rules)
    assert rules - drawn - always - {"explore"} == OPTIONAL_RULES.get(name, {"reference", "searchlight", "maps"})
    assert always <= rules


@pytest.mark.parametrize("name", TREES)
def test_the_results_of_every_example_say_where_its_data_are(tmp_path: Path, name: str) -> None:
    study = load_study(read_yaml(ROOT / "config" / f"{name}.yaml"))
    stages.describe(study.model_dump_json(), tmp_path)
    (source,) = json.loads((tmp_path / "dataset_description.json").read_text())["SourceDatasets"]
    assert source["URL"].startswith(("data/", "results/planted92/simulated/"))


def results_of(sandbox: Sandbox, config: str, *targets: str) -> Path:
    """Run a study, or some targets of it; return the folder of its results."""
    folder = Path("results", yaml.safe_load((sandbox.folder / config).read_text())["study"])
    wanted = [str(folder / target) for target in targets]
    sandbox.succeed("--configfile", config, *(["--", *wanted] if wanted else []))
    return sandbox.folder / folder


# -------------------------------------------------------------- first levels and published betas, as they come


FIRST_LEVELS = ("spm_betas", "fsl_copes", "glmsingle")
ANIMATE = {"kind": "table", "name": "animate", "column": "animate", "rule": "different"}


@pytest.fixture(scope="module")
def scored(sandbox: Sandbox, trees: Trees) -> Trees:
    """Return a function that runs an example with betas up to the scores, and returns the folder of its results.

    All are as shipped, but for the slice of one voxel's thickness on which a sphere of THINGS is smaller than it asks.
    """
    changes = {"things_fmri": {"searchlight": {"min_voxels": 5}}}

    def run(name: str) -> Path:
        config = sandbox.configured(f"config/{name}.yaml", data_root=str(trees(name)), **changes.get(name, {}))
        return results_of(sandbox, config, "scores/sub-01_scores.h5")

    return cache(run)


def mean_betas(data: Path, runs: Iterable[int], change: Callable[[np.ndarray], np.ndarray] = np.asarray) -> np.ndarray:
    """Average the real betas of some runs, (n_conditions, n_voxels)."""
    real = layouts.haxby(data)
    images = [[change(real.image(run, name)[real.mask]) for name in real.conditions] for run in runs]
    return np.mean(images, axis=0, dtype=np.float64)


def assert_scores(
    scores: ScoreMap, betas: np.ndarray, references: Sequence[np.ndarray], every: int = 1, **how: float
) -> None:
    """Compare scores with those of one sphere after another."""
    assert scores.volume is not None
    assert scores.reason is not None
    centres = range(0, scores.volume.n_voxels, every)
    slow = oracles.searchlight(
        betas, scores.volume.mask, scores.volume.affine, references, distance="correlation", comparison="spearman",
        centres=centres, **how,
    )  # fmt: skip
    np.testing.assert_allclose(scores.values[:, centres], slow, atol=1e-6)
    assert np.isfinite(slow).mean() > 0.95
    assert ((scores.reason[centres] == 0) == np.isfinite(slow[0])).all()


@pytest.mark.parametrize("name", FIRST_LEVELS)
def test_first_levels_are_scored_as_the_betas_that_they_hold(data: Path, scored: Trees, name: str) -> None:
    scores = io.load_scores(scored(name) / "scores" / "sub-01_scores.h5")
    assert scores.table[["model", "subject"]].to_numpy().tolist() == [["animate", "01"]]
    animate = pdist([[name in ("cat", "face")] for name in layouts.haxby(data).conditions], "hamming")
    betas = mean_betas(data, range(1, layouts.N_RUNS + 1))
    assert_scores(scores, betas, [animate], radius_mm=10, min_voxels=5)


@pytest.mark.parametrize("name", FIRST_LEVELS[1:])
def test_the_same_betas_give_the_same_map_whoever_wrote_them(scored: Trees, name: str) -> None:
    ours, theirs = (io.load_scores(scored(one) / "scores" / "sub-01_scores.h5") for one in (FIRST_LEVELS[0], name))
    np.testing.assert_array_equal(theirs.values, ours.values)
    np.testing.assert_array_equal(theirs.volume.mask, ours.volume.mask)
    np.testing.assert_allclose(theirs.volume.affine, ours.volume.affine)


def layer_rdms(results: Path, conditions: Sequence[str]) -> np.ndarray:
    rdms = io.load_rdms(results / "models" / "model-squeezenet11_rdms.h5")
    assert set(rdms.conditions) == set(conditions)
    assert len(rdms) == 10
    return rdms.reordered(conditions).values


def test_forty_sessions_of_nsd_are_scored_as_the_betas_that_they_hold(data: Path, scored: Trees) -> None:
    results = scored("nsd")
    scores = io.load_scores(results / "scores" / "sub-01_scores.h5")
    np.testing.assert_allclose(scores.volume.affine, layouts.NSD_AFFINE)
    betas = mean_betas(data, [session % 12 + 1 for session in range(40)], layouts.nsd_units)
    references = layer_rdms(results, [str(one) for one in layouts.SHARED_NSD])
    assert_scores(scores, betas, references, every=9, radius_mm=6, min_voxels=20)


def test_twelve_sessions_of_things_are_scored_as_the_betas_that_they_hold(data: Path, scored: Trees) -> None:
    results = scored("things_fmri")
    references = layer_rdms(results, [f"{name}_14s" for name in layouts.haxby(data).conditions])
    scores = io.load_scores(results / "scores" / "sub-01_scores.h5")
    assert_scores(scores, mean_betas(data, range(1, 13)), references, every=9, radius_mm=8, min_voxels=5)


# ------------------------------------------------------------ Haxby et al. (2001), from the download to the page


@pytest.fixture(scope="module")
def haxby(make_sandbox: Callable[[str], Sandbox], data: Path) -> Sandbox:
    """Put the real slice, six times on one another, where nilearn keeps its downloads, and run the study on it."""
    sandbox = make_sandbox("haxby")
    root = sandbox.folder / "data" / "haxby2001"
    bold = nib.load(data / "haxby2001_slice" / "bold.nii.gz")
    volumes = pd.read_csv(data / "haxby2001_slice" / "volumes.tsv", sep="\t")
    values = np.zeros((40, 24, 8, 1452), dtype=np.int16)
    values[:, 2:22, 1:7] = np.asanyarray(bold.dataobj)
    image = nib.Nifti1Image(values, bold.affine, bold.header)
    put_subject(root / "sourcedata" / "haxby2001", "1", image, list(volumes["condition"]), list(volumes["run"] - 1))
    (sandbox.folder / "data" / "weights").symlink_to(data / "weights")
    layers = ["features.1", "features.9", "features.18"]
    network = {"architecture": "mobilenet_v2", "weights": "weights/mobilenet_v2.pth", "layers": layers}
    changes = {"brain": {"subjects": ["1"]}, "models": [network]}
    results_of(sandbox, sandbox.configured("config/haxby.yaml", **changes))
    return sandbox


@pytest.fixture(scope="module")
def haxby_patterns(haxby: Sandbox) -> Patterns:
    return io.load_patterns(haxby.folder / "results" / "haxby" / "brain" / "sub-1_patterns.h5")


def test_what_was_fetched_is_not_fetched_again(haxby: Sandbox) -> None:
    assert (haxby.folder / "data" / "haxby2001" / "sourcedata" / "sub-1_fetched.json").exists()
    assert haxby.rules("--configfile", "haxby.yaml") == set()


@pytest.mark.parametrize("run", [1, 12])
def test_betas_of_the_fetched_runs_are_those_of_nilearn(haxby_patterns: Patterns, data: Path, run: int) -> None:
    from nilearn.glm.first_level import FirstLevelModel

    slab = nib.load(data / "haxby2001_slice" / "bold.nii.gz").slicer[..., 121 * (run - 1) : 121 * run]
    events = pd.read_csv(data / "haxby2001_slice" / "events.tsv", sep="\t")
    inside = haxby_patterns.volume.mask[:, 2:22, 3:4]  # slice 3 of the six
    model = FirstLevelModel(
        t_r=2.5, slice_time_ref=0.5, hrf_model="spm", drift_model="cosine", high_pass=0.008, noise_model="ar1",
        signal_scaling=False, mask_img=nib.Nifti1Image(inside.astype(np.uint8), slab.affine),
    ).fit(slab, events[events["run"] == run].drop(columns="run"))  # fmt: skip
    places = haxby_patterns.volume.indices
    here = (places[:, 2] == 3) & (places[:, 1] >= 2) & (places[:, 1] < 22)
    for condition in haxby_patterns.conditions:
        theirs = model.compute_contrast(condition, output_type="effect_size").get_fdata()[inside]
        row = (haxby_patterns.table["condition"] == condition) & (haxby_patterns.table["run"] == f"run-{run:02d}")
        ours = haxby_patterns.values[row.to_numpy()][0, here]
        assert theirs.std() > 3
        np.testing.assert_allclose(ours, theirs, atol=0.02 * theirs.std())  # nilearn rounds the autocorrelation


def runs_of(patterns: Patterns, which: slice) -> list[str]:
    return list(dict.fromkeys(patterns.table["run"]))[which]


def mean_of(patterns: Patterns, runs: Sequence[str]) -> np.ndarray:
    """Average the patterns of each condition over some runs, conditions in the order of all."""
    chosen = patterns.table["run"].isin(runs).to_numpy()
    means = pd.DataFrame(patterns.values[chosen], dtype=np.float64).groupby(
        patterns.table["condition"][chosen].to_numpy()
    )
    return means.mean().loc[patterns.conditions].to_numpy()


def test_scores_and_reliability_of_the_fetched_data_are_those_of_their_betas(
    haxby: Sandbox, haxby_patterns: Patterns
) -> None:
    results, volume = haxby.folder / "results" / "haxby", haxby_patterns.volume
    scores = io.load_scores(results / "scores" / "sub-1_scores.h5")
    assert list(scores.table["model"]) == [*["mobilenetv2"] * 3, "animate", "reliability"]
    rdms = io.load_rdms(results / "models" / "model-mobilenetv2_rdms.h5").reordered(haxby_patterns.conditions).values
    animate = pdist([[name in ("cat", "face")] for name in haxby_patterns.conditions], "hamming")
    odd, even, everything = (runs_of(haxby_patterns, which) for which in (np.s_[::2], np.s_[1::2], np.s_[:]))
    centres = np.arange(0, volume.n_voxels, 101)
    for centre in centres:
        members = oracles.sphere_members(volume.mask, volume.affine, centre, 10.0)
        brain, *halves = (
            oracles.rdm(mean_of(haxby_patterns, runs)[:, members], "correlation") for runs in (everything, odd, even)
        )
        slow = [oracles.compare(brain, reference, "spearman") for reference in (*rdms, animate)]
        slow.append(oracles.compare(*halves, "spearman"))
        enough = len(members) >= 20
        np.testing.assert_allclose(scores.values[:, centre], slow if enough else np.nan, atol=1e-6)
    assert np.isfinite(scores.values[:, centres]).mean() > 0.9
    path = map_path(results, subject="1", space="func", model="reliability", statistic="spearman")
    np.testing.assert_array_equal(nib.load(path).get_fdata()[volume.mask], scores.values[4])


def test_the_page_of_the_fetched_study_tells_of_reliability_and_of_the_model(haxby: Sandbox) -> None:
    text = pages_of(haxby.folder / "results" / "haxby")
    for words in ("split-half reliability", "odd runs", "high-pass", "mobilenetv2", "animate"):
        assert words in text.lower() or words in text, words


# --------------------------------------------------------------------------- ds001246: maps at several delays


@pytest.fixture(scope="module")
def god(sandbox: Sandbox, trees: Trees) -> Path:
    """Run the example as shipped."""
    return results_of(sandbox, sandbox.configured("config/god_ds001246.yaml", data_root=str(trees("god_ds001246"))))


DELAYS_S = [3.0, 6.0, 9.0]


def test_maps_at_several_delays_are_4d_images_in_seconds(god: Path) -> None:
    path = map_path(god, subject="01", space="T1w", model="animal", statistic="spearman")
    image = nib.load(path)
    assert image.shape == (55, 60, 2, 3)
    np.testing.assert_allclose(image.header.get_zooms(), (3, 3, 3, 3))
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert image.header["toffset"] == 3
    assert json.loads(str(path.with_suffix("").with_suffix(".json").read_text()))["Times"] == DELAYS_S
    scores = io.load_scores(god / "scores" / "sub-01_scores.h5")
    assert scores.table["time_s"].tolist() == DELAYS_S
    np.testing.assert_array_equal(image.get_fdata()[scores.volume.mask].T, scores.values)
    peak = nib.load(map_path(god, subject="01", space="T1w", model="animal", statistic="peak_time")).get_fdata()
    highest = np.where(scores.values.max(axis=0) > 0, np.take(DELAYS_S, scores.values.argmax(axis=0)), np.nan)
    undefined = np.isnan(scores.values).all(axis=0)
    undefined |= np.abs(scores.values[0] - scores.values[2]) < SAME_SCORE  # rounding may move it by two delays
    undefined &= ~(scores.values[1] > scores.values[[0, 2]].max(axis=0))
    np.testing.assert_array_equal(peak[scores.volume.mask], np.where(undefined, np.nan, highest))


def cleaned_patterns(root: Path, session: str, voxels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Take confounds and drift out of a run and average it at each delay: (n_delays, n_conditions, n_voxels)."""
    from nilearn.glm.first_level import make_first_level_design_matrix
    from nilearn.interfaces.fmriprep import load_confounds

    stem = f"sub-01_ses-{session}_task-perception_run-01"
    below = Path("sub-01", f"ses-{session}", "func")
    path = root / "derivatives" / "fmriprep" / below / f"{stem}_space-T1w_desc-preproc_bold.nii.gz"
    bold = nib.load(path).get_fdata()[tuple(voxels.T)].T  # (n_scans, n_voxels)
    times_s = (np.arange(len(bold)) + 0.5) * 3.0
    drift = make_first_level_design_matrix(times_s, drift_model="cosine", high_pass=0.008).to_numpy()
    confounds, _ = load_confounds(str(path), ("motion", "wm_csf"), motion="full", wm_csf="basic", demean=True)
    assert confounds.shape[1] == 26
    nuisance = np.hstack([drift, confounds.to_numpy()])
    cleaned = bold - nuisance @ np.linalg.lstsq(nuisance, bold, rcond=1e-10)[0]
    events = pd.read_csv(root / below / f"{stem}_events.tsv", sep="\t")
    shown = [events["onset"][events["stimulus_name"] == name].to_numpy() for name in names]
    at_delay = [
        [np.mean([np.interp(onsets + delay, times_s, voxel) for voxel in cleaned.T], axis=1) for onsets in shown]
        for delay in DELAYS_S
    ]
    return np.array(at_delay)


def test_scores_at_each_delay_are_those_of_the_cleaned_signal(god: Path, trees: Trees, data: Path) -> None:
    scores = io.load_scores(god / "scores" / "sub-01_scores.h5")
    volume, root = scores.volume, trees("god_ds001246") / "ds001246"
    table = pd.read_csv(data / "god_sub01_run01" / "stimuli.tsv", sep="\t")
    animal = pdist(table[["animal"]].to_numpy(), "hamming")
    for centre in range(30, volume.n_voxels, 700):
        members = oracles.sphere_members(volume.mask, volume.affine, centre, 9.0)
        each = [
            cleaned_patterns(root, session, volume.indices[members], table["stimulus_name"])
            for session in TEST_SESSIONS
        ]
        slow = [oracles.compare(oracles.rdm(at, "correlation"), animal, "spearman") for at in np.mean(each, axis=0)]
        assert len(members) >= 20
        np.testing.assert_allclose(scores.values[:, centre], slow, atol=1e-4)  # ranks of 1,225 distances of float32


def test_the_page_of_a_study_with_delays_shows_them(god: Path) -> None:
    text = pages_of(god)
    for words in (
        "Responses at 3 delays after onset (3, 6, 9 s)",
        "Time at which animal scores highest",
        "Scores over time",
    ):
        assert words in text


# ------------------------------------------- distances between runs, whitened by residuals, with noise ceilings


NAMES = ("face", "house", "cat", "shoe", "tool", "word")
SIZES = {"face": 1.0, "house": 8.0, "cat": 2.0, "shoe": 1.5, "tool": 0.5, "word": 4.0}
WHITENED = {
    "study": "whitened",
    "stimuli": {"table": "whitened.tsv"},
    "references": [{"kind": "table", "name": "size", "column": "size", "rule": "difference"}],
    "searchlight": {"radius_mm": 5.0, "min_voxels": 8, "reliability": True},
    "regions": {"spheres": {"one": [0.0, 1.0, 4.0], "two": [[-3.0, -8.0, 4.0], [-3.0, 1.0, 11.0]]}, "radius_mm": 5.0},
    "brain_distance": "crossnobis",
    "noise": {"normalisation": "multivariate", "scope": "sphere", "shrinkage": "ledoit_wolf", "source": "residuals"},
    "comparison": "spearman",
    "group": ["mean", "t"],
    "noise_ceiling": True,
}
SUBJECTS = ("01", "02", "03")
MNI = "MNI152NLin2009cAsym"


@pytest.fixture(scope="module")
def whitened(sandbox: Sandbox) -> Path:
    """Run a study of 3 subjects with 4 runs, whose responses have something in common, from the BOLD to the group."""
    shared = np.random.default_rng(8).normal(scale=40, size=(len(NAMES), np.prod(bids_tree.SHAPE)))
    tree = bids_tree.build_bids(
        sandbox.folder / "whitened", SUBJECTS, "1234", conditions=NAMES, shared=shared, noise=60, seed=9
    )
    layouts.save_table(sandbox.folder / "whitened.tsv", condition=list(SIZES), size=list(SIZES.values()))
    (sandbox.folder / "whitened.yaml").write_text(yaml.safe_dump({**WHITENED, "brain": tree.settings}))
    return results_of(sandbox, "whitened.yaml", "sub-01", "group", "regions.tsv")


@pytest.fixture(scope="module")
def subjects(whitened: Path) -> list[Patterns]:
    return [io.load_patterns(whitened / "brain" / f"sub-{subject}_patterns.h5") for subject in SUBJECTS]


def crossnobis(patterns: Patterns, members: np.ndarray, which: slice = np.s_[:]) -> np.ndarray:
    """Whiten the patterns of some voxels by their residuals and measure their distances between some of the runs."""
    noise = patterns.residuals
    assert noise is not None
    rows, samples = (values[:, members].astype(np.float64) for values in (patterns.values, noise.values))
    rows = oracles.whitened(rows, samples, noise.degrees_of_freedom, "ledoit_wolf")
    chosen = patterns.table[patterns.table["run"].isin(runs_of(patterns, which))]
    ordered = chosen.sort_values("condition", key=lambda names: names.map(list(SIZES).index), kind="stable")
    return oracles.between_runs(rows[ordered.index], list(ordered["condition"]), list(ordered["run"]), "crossnobis")


SIZE_RDM = pdist(np.array([list(SIZES.values())]).T, "cityblock")


def ceiling_of(rdms: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the bounds of Nili et al. (2014), from averages of ranks."""
    ranks = rankdata(rdms, axis=1)
    lower = [oracles.compare(rdms[i], np.delete(ranks, i, 0).mean(axis=0), "spearman") for i in range(len(rdms))]
    upper = [oracles.compare(rdm, ranks.mean(axis=0), "spearman") for rdm in rdms]
    return float(np.mean(lower)), float(np.mean(upper))


def value_at(results: Path, voxel: np.ndarray, **labels: str) -> float:
    return float(nib.load(map_path(results, space=MNI, **labels)).get_fdata()[tuple(voxel)])


def test_residuals_reach_the_searchlight_with_their_degrees_of_freedom(subjects: list[Patterns]) -> None:
    for patterns in subjects:
        assert patterns.residuals is not None
        assert patterns.residuals.values.shape == (4 * bids_tree.N_SCANS, patterns.n_features)
        n_regressors = len(NAMES) + 6 + 4  # motion; the constant and the three cosines up to 0.01 Hz in 160 s
        assert patterns.residuals.degrees_of_freedom == 4 * (bids_tree.N_SCANS - n_regressors)


@pytest.mark.parametrize("centre", [7, 21, 30, 46])
def test_whitened_maps_and_their_noise_ceiling_are_what_comes_out_by_hand(
    whitened: Path, subjects: list[Patterns], centre: int
) -> None:
    volume = subjects[0].volume
    voxel, members = volume.indices[centre], oracles.sphere_members(volume.mask, volume.affine, centre, 5.0)
    rdms = [crossnobis(patterns, members) for patterns in subjects]
    scores = [oracles.compare(rdm, SIZE_RDM, "spearman") for rdm in rdms]
    halves = [[crossnobis(patterns, members, which) for which in (np.s_[::2], np.s_[1::2])] for patterns in subjects]
    reliable = [oracles.compare(*pair, "spearman") for pair in halves]
    lower, upper = ceiling_of(rdms)
    mean, t = np.mean(scores), ttest_1samp(np.arctanh(scores), 0).statistic
    assert len(members) >= 8
    found = {
        ("01", "size", "spearman"): scores[0],
        ("01", "reliability", "spearman"): reliable[0],
        ("", "size", "mean"): mean,
        ("", "size", "t"): t,
        ("", "reliability", "mean"): np.mean(reliable),
        ("", "ceilinglower", "mean"): lower,
        ("", "ceilingupper", "mean"): upper,
        ("", "size", "share_of_ceiling"): mean / upper if lower > 0 else np.nan,
    }
    for (subject, model, statistic), expected in found.items():
        value = value_at(whitened, voxel, subject=subject, model=model, statistic=statistic)
        assert value == pytest.approx(expected, abs=2e-5, nan_ok=True), (subject, model, statistic)


def test_shares_of_the_ceiling_are_of_models_alone_and_only_where_subjects_agree(whitened: Path) -> None:
    group = io.load_scores(whitened / "scores" / "group_scores.h5")
    shares = select(group, statistic="share_of_ceiling")
    assert list(shares.table["model"]) == ["size"]
    lower = select(group, model="ceilinglower").values
    np.testing.assert_array_equal(np.isnan(shares.values), ~(lower > 0))
    assert 0 < np.isnan(shares.values).sum() < shares.values.size
    names = {path.name for path in (whitened / "group").glob("*.nii.gz")}
    assert f"space-{MNI}_stat-nsubjects_statmap.nii.gz" in names
    assert not any("ceiling" in name and "stat-t_" in name for name in names)


def test_whitened_regions_are_what_comes_out_by_hand(whitened: Path, subjects: list[Patterns]) -> None:
    fits = pd.read_csv(whitened / "regions.tsv", sep="\t", dtype={"subject": str})
    places_mm = subjects[0].volume.voxel_to_mm(subjects[0].volume.indices)
    for name, points in {"one": [(0, 1, 4)], "two": [(-3, -8, 4), (-3, 1, 11)]}.items():
        inside = np.any([np.linalg.norm(places_mm - point, axis=1) <= 5 + 1e-9 for point in points], axis=0)
        rdms = [crossnobis(patterns, np.flatnonzero(inside)) for patterns in subjects]
        rows = fits[fits["region"] == name].set_index("subject").loc[list(SUBJECTS)]
        slow = [oracles.compare(rdm, SIZE_RDM, "spearman") for rdm in rdms]
        np.testing.assert_allclose(rows["score"], slow, atol=1e-5)
        np.testing.assert_allclose(rows[["ceiling_lower", "ceiling_upper"]].iloc[0], ceiling_of(rdms), atol=1e-5)


# ---------------------------------------------------------------- subjects on grids of their own, and a template


TURN = from_matvec(Rotation.from_euler("xyz", [20, -35, 90], degrees=True).as_matrix(), [12.0, -7.0, 3.0])
"""Where the head of the second subject lies."""
LPS = np.diag([-1.0, -1.0, 1.0])
TEMPLATED = {
    "study": "templated",
    "data_root": "templated",
    "stimuli": {"table": "stimuli.tsv"},
    "references": [ANIMATE],
    "brain": {
        "kind": "maps",
        "subjects": ["s1", "s2"],
        "images": "{subject}/betas.nii.gz",
        "table": "{subject}/conditions.tsv",
        "mask": "{subject}/mask.nii.gz",
        "space": "T1w",
    },
    "searchlight": {"radius_mm": 10, "min_voxels": 5},
    "template": {"image": "template.nii.gz", "transform": f"{{subject}}/from-T1w_to-{MNI}_xfm.txt"},
    "group": ["mean"],
}


def write_itk(path: Path, affine: np.ndarray) -> None:
    """Write an affine, given in RAS, as ITK does."""
    parameters = [*(LPS @ affine[:3, :3] @ LPS).ravel(), *(LPS @ affine[:3, 3])]
    path.write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {' '.join(map(repr, map(float, parameters)))}\nFixedParameters: 0 0 0\n"
    )


def put_turned_subject(data: Path, folder: Path, runs: Sequence[int], turn: np.ndarray, *, flip: bool) -> None:
    """Write some runs of the slice for a subject whose head is turned, and whose x axis may count the other way."""
    real = layouts.haxby(data)
    order = -1 if flip else 1
    affine = turn @ real.affine
    if flip:
        affine = affine @ from_matvec(np.diag([-1.0, 1.0, 1.0]), [real.mask.shape[0] - 1.0, 0.0, 0.0])
    rows = real.table["run"].isin(runs).to_numpy()
    layouts.save_image(folder / "betas.nii.gz", real.betas[::order][..., rows], affine)
    layouts.save_image(folder / "mask.nii.gz", real.mask[::order], affine, np.uint8)
    real.table[rows].drop(columns="volume").to_csv(folder / "conditions.tsv", sep="\t", index=False)
    write_itk(folder / f"from-T1w_to-{MNI}_xfm.txt", turn)


@pytest.fixture(scope="module")
def templated(sandbox: Sandbox, data: Path) -> Path:
    """Run a study of two subjects, and of a template whose voxels lie between two of the first subject."""
    folder, real = sandbox.folder / "templated", layouts.haxby(data)
    put_turned_subject(data, folder / "s1", range(1, 13), np.eye(4), flip=False)
    put_turned_subject(data, folder / "s2", range(3, 9), TURN, flip=True)
    halfway = real.affine @ from_matvec(np.eye(3), [0.5, 0, 0])
    layouts.save_image(folder / "template.nii.gz", np.ones((39, 20, 1)), halfway)
    layouts.categories(data, folder)
    (sandbox.folder / "templated.yaml").write_text(yaml.safe_dump(TEMPLATED))
    return results_of(sandbox, "templated.yaml")


def halfway(native: np.ndarray) -> np.ndarray:
    """Average each voxel with the next, where one or both have a value."""
    pair = np.stack([native[:-1], native[1:]])
    n_there = np.isfinite(pair).sum(axis=0)
    return np.divide(np.nansum(pair, axis=0), n_there, out=np.full(pair.shape[1:], np.nan), where=n_there > 0)


def test_maps_are_written_in_both_spaces_and_those_of_the_group_in_the_template(templated: Path, data: Path) -> None:
    real, moved = layouts.haxby(data), []
    animate = pdist([[name in ("cat", "face")] for name in real.conditions], "hamming")
    for subject, runs, order in (("s1", range(1, 13), 1), ("s2", range(3, 9), -1)):
        labels = {"subject": subject, "model": "animate", "statistic": "spearman"}
        native = nib.load(map_path(templated, space="T1w", **labels))
        np.testing.assert_allclose(native.affine, nib.load(data_of(templated, subject)).affine, atol=1e-5)
        values = native.get_fdata()[::order]
        slow = oracles.searchlight(
            mean_betas(data, runs),
            real.mask,
            real.affine,
            [animate],
            10,
            "correlation",
            "spearman",
            range(0, 511, 7),
            5,
        )
        np.testing.assert_allclose(values[real.mask][::7], slow[0], atol=1e-6)
        image = nib.load(map_path(templated, space=MNI, **labels))
        np.testing.assert_allclose(
            image.affine, nib.load(templated.parents[1] / "templated" / "template.nii.gz").affine
        )
        np.testing.assert_allclose(image.get_fdata(), halfway(values), atol=1e-5)
        moved.append(image.get_fdata())
    group = nib.load(map_path(templated, space=MNI, model="animate", statistic="mean")).get_fdata()
    np.testing.assert_allclose(group, np.mean(moved, axis=0), atol=1e-6)
    assert np.isfinite(group).sum() > 480
    assert not list((templated / "group").glob("*space-T1w*"))


def test_the_page_counts_what_was_measured_in_the_space_of_the_images(templated: Path) -> None:
    text = pages_of(templated)
    template = io.load_scores(templated / "scores" / f"sub-s1_space-{MNI}_scores.h5").volume
    assert template.n_voxels != 511
    assert "around each of 511 voxels in T1w space" in text
    assert f"brought to {MNI} space" in text
    assert "averaged over 6 to 12 runs" in text
    assert ">templated/template.nii.gz</th>" in text
    native, moved = (
        pd.read_csv(templated / "sub-s1" / f"sub-s1_space-{space}_peaks.tsv", sep="\t") for space in ("T1w", MNI)
    )
    shown = [f"{place:.2f}".replace("-", "\N{MINUS SIGN}") for place in (native["x_mm"][0], moved["x_mm"][0])]
    assert [place in text for place in shown] == [True, False]


def data_of(results: Path, subject: str) -> Path:
    return results.parents[1] / "templated" / subject / "betas.nii.gz"


# --------------------------------------------------------------------------------- mistakes, before any work


@pytest.fixture(scope="module")
def one_run(sandbox: Sandbox) -> dict:
    """Write two subjects with one run each; return a study of them without a mistake."""
    tree = bids_tree.build_bids(sandbox.folder / "onerun", runs=("1",))
    layouts.save_table(sandbox.folder / "onerun.tsv", condition=list(bids_tree.CONDITIONS), size=[1, 2, 4])
    kept = {name: WHITENED[name] for name in ("references",)}
    stimuli, searchlight = {"table": "onerun.tsv"}, {"radius_mm": 5.0, "min_voxels": 8}
    return {"study": "mistaken", "stimuli": stimuli, **kept, "brain": tree.settings, "searchlight": searchlight}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"searchlight": {"reliability": True}}, "searchlight.reliability needs 2 runs or more, not 1."),
        (
            {"brain_distance": "crossnobis"},
            "subjects '01', '02': brain_distance crossnobis needs 2 runs or more, not 1.",
        ),
        (
            {"group": ["mean"], "noise_ceiling": True, "template": {"transform": "identity", "space": "other"}},
            "a noise ceiling needs patterns on one grid, and `template` brings maps there: leave one of them out.",
        ),
    ],
    ids=["reliability", "crossnobis", "ceiling and template"],
)
def test_a_mistake_is_one_line_before_any_job(sandbox: Sandbox, one_run: dict, change: dict, message: str) -> None:
    assert_refused(sandbox, {**one_run, **change}, message)


def test_noise_without_residuals_is_one_line_before_any_job(sandbox: Sandbox, data: Path) -> None:
    settings = yaml.safe_load((ROOT / "config" / "haxby_slice.yaml").read_text())
    settings |= {"study": "mistaken", "data_root": str(data), "noise": {"source": "residuals"}}
    assert_refused(sandbox, settings, "brain.residuals and brain.residual_degrees_of_freedom")


def assert_refused(sandbox: Sandbox, settings: dict, message: str) -> None:
    (sandbox.folder / "mistaken.yaml").write_text(yaml.safe_dump(settings))
    result = sandbox.dry_run("--configfile", "mistaken.yaml")
    assert result.returncode == 2, result.stdout
    (line,) = (line for line in result.stdout.splitlines() if line and not line.startswith("Using"))
    assert line.startswith("error: The configuration has a problem: ")
    assert message in line
    assert not (sandbox.folder / "results" / "mistaken").exists()
