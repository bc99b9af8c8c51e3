"""p values of small studies end to end, computed again by hand from the scores and patterns that were tested."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import mne
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from meeg_files import make_epochs, write_fif
from sandbox import Sandbox
from scipy.spatial.distance import squareform
from scipy.stats import rankdata, spearmanr, ttest_1samp

from rsa.core import TEST, RDMs, ScoreMap, on_voxels, select, shared_volume
from rsa.files import io
from rsa.inference.permutation import orders_of
from rsa.neighbourhood import shared_spheres
from rsa.searchlight import RdmSettings, compare

pytestmark = pytest.mark.slow

SUBJECTS = [f"s{i}" for i in range(1, 7)]
CONDITIONS = [f"img{number}" for number in (10, 2, 1, 7, 33, 4, 5, 6, 8)]
SIZE = dict(zip(CONDITIONS, (1, 5, 2, 8, 3, 13, 4, 7, 21), strict=True))
KIND = dict(zip(CONDITIONS, "abcabcabc", strict=True))
TIMES_S = [0.0, 0.1, 0.2]
SHAPE = (7, 6, 6)
AFFINE = np.diag([-3.0, 3.0, 3.0, 1.0])
RDM = RdmSettings(min_voxels=5)
SPACE = "T1w"
STEM = f"space-{SPACE}_model"
SEARCHLIGHT = {"radius_mm": 4.5, "min_voxels": 5, "stride": 2}


@pytest.fixture(scope="module")
def sandbox(make_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """Write patterns of six subjects, whose masks differ, that code size at low x; M/EEG of these, of size at .1 s."""
    sandbox, rng = make_sandbox("inference"), np.random.default_rng(7)
    folder = sandbox.folder / "mine"
    folder.mkdir()
    code = np.array(list(SIZE.values()), float)
    code = (code - code.mean()) / code.std()
    atlas = np.zeros(SHAPE, np.uint8)
    atlas[:4], atlas[4:] = 1, 2
    nib.save(nib.Nifti1Image(atlas, AFFINE), folder / "atlas.nii")
    pd.DataFrame({"index": [1, 2], "name": ["low", "high"]}).to_csv(folder / "atlas.tsv", sep="\t", index=False)
    distances = np.abs(code[:, None] - code)
    for number, subject in enumerate(SUBJECTS):
        values = rng.standard_normal((*SHAPE, len(CONDITIONS)))
        values[:3] += 2.5 * code * rng.standard_normal((3, *SHAPE[1:], 1))
        mask = np.ones(SHAPE, np.uint8)
        mask[number, 5, 5] = 0
        nib.save(nib.Nifti1Image(values.astype(np.float32), AFFINE), folder / f"{subject}.nii")
        nib.save(nib.Nifti1Image(mask, AFFINE), folder / f"{subject}_mask.nii")
        noise = [squareform(np.abs(rng.standard_normal(36))) for _ in TIMES_S]
        movie = [0.5 * one + 2 * distances * (time == 0.1) for one, time in zip(noise, TIMES_S, strict=True)]
        np.savez(folder / f"{subject}.npz", rdms=np.array(movie))
    pd.DataFrame({"condition": CONDITIONS}).to_csv(folder / "images.tsv", sep="\t", index=False)
    (folder / "order.txt").write_text("\n".join(CONDITIONS) + "\n")
    stimuli = pd.DataFrame({"condition": sorted(CONDITIONS)})
    stimuli.assign(size=stimuli["condition"].map(SIZE), kind=stimuli["condition"].map(KIND)).to_csv(
        folder / "stimuli.tsv", sep="\t", index=False
    )
    people = pd.DataFrame({"participant_id": [f"sub-{name}" for name in (*SUBJECTS[::-1], "s9")]})
    people.assign(group=[*"yyyxxx", "z"], age=[30, 25, 41, 22, 38, 27, 99]).to_csv(
        folder / "participants.tsv", sep="\t", index=False
    )
    return sandbox


SETTINGS: dict[str, Any] = {
    "data_root": "mine",
    "stimuli": {"table": "stimuli.tsv"},
    "references": [
        {"kind": "table", "name": "size", "column": "size", "rule": "difference"},
        {"kind": "table", "name": "kind", "column": "kind", "rule": "different"},
    ],
    "brain": {
        "kind": "maps",
        "subjects": SUBJECTS,
        "images": "{subject}.nii",
        "table": "images.tsv",
        "mask": "{subject}_mask.nii",
        "space": SPACE,
    },
    "meeg": {
        "kind": "movie",
        "subjects": SUBJECTS,
        "file": "{subject}.npz",
        "condition_order": "order.txt",
        "times": {"start": 0, "step": 100, "unit": "ms"},
        "distance": "correlation",
    },
    "searchlight": SEARCHLIGHT,
    "regions": {"atlas": "atlas.nii", "labels": "atlas.tsv"},
    "group": ["mean", "t"],
}


def ran(sandbox: Sandbox, study: str, targets: list[str], **changes: Any) -> Path:
    """Run a study down to some of its results; return their folder."""
    settings = {"study": study, **SETTINGS, **changes}
    path = sandbox.folder / f"{study}.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value is not None}))
    sandbox.succeed("--configfile", path.name, "--", *(f"results/{study}/{target}" for target in targets))
    return sandbox.folder / "results" / study


def scores_of(folder: Path, subjects: list[str]) -> tuple[np.ndarray, ScoreMap]:
    """Return the scores of subjects where all have voxels, (n_subjects, n_rows, n_voxels), and those of the first."""
    each = [io.load_scores(folder / "scores" / f"sub-{subject}_scores.h5") for subject in subjects]
    volume = shared_volume([one.volume for one in each])
    assert volume.n_voxels == np.prod(SHAPE) - len(subjects)
    each = [on_voxels(one, volume) for one in each]
    return np.stack([one.values for one in each]).astype(float), each[0]


def found(folder: Path, model: str, statistic: str, name: str = "group_scores.h5") -> np.ndarray:
    """Return the map, or the maps of all times, of a model."""
    return select(io.load_scores(folder / name), model=model, statistic=statistic).values.astype(float)


def sidecar(folder: Path, model: str, statistic: str, stem: str = f"group/{STEM}") -> dict[str, Any]:
    name = statistic.replace("_", "")
    loaded: dict[str, Any] = json.loads((folder / f"{stem}-{model}_stat-{name}_statmap.json").read_text())
    return loaded


def table(path: Path) -> pd.DataFrame:
    """Read a table; a reference without layers has an empty one."""
    return pd.read_csv(path, sep="\t", na_values="n/a", converters={"layer": str, "subject": str})


def signed_ranks(z: np.ndarray) -> float:
    """Return the standardised sum of signed ranks over subjects."""
    ranks = rankdata(np.abs(z))
    return float((np.sign(z) * ranks).sum() / np.sqrt((ranks**2).sum()))


def permuted_means(
    folder: Path, subjects: list[str], orders: np.ndarray, model: str, brains: str = "brain/sub-{}_patterns.h5"
) -> np.ndarray:
    """Return the mean map over subjects for the order as it is and each of others, one comparison at a time."""
    patterns = [io.load_patterns(folder / brains.format(subject)) for subject in subjects]
    volume = shared_volume([one.volume for one in patterns])
    around = shared_spheres([one.volume for one in patterns], SEARCHLIGHT["radius_mm"], stride=2)
    kind = "meeg/group_movie.h5" if model == "meeg" else f"references/ref-{model}_rdms.h5"
    references = io.load_rdms(folder / kind).reordered(order_of_conditions(folder))
    maps = []
    for order in [np.arange(len(CONDITIONS)), *orders]:
        rows = np.stack([squareform(square[np.ix_(order, order)], checks=False) for square in references.squares])
        own = RDMs(rows, references.conditions, references.table)
        scores = [compare(one, of, own, rdm=RDM) for one, of in zip(patterns, around, strict=True)]
        maps.append(np.mean([on_voxels(one, volume).values.astype(float) for one in scores], axis=0))
    return np.stack(maps)


def order_of_conditions(folder: Path) -> list[str]:
    """Return the order in which conditions are permuted: that of the patterns."""
    return list(io.load_patterns(next((folder / "brain").glob("*_patterns.h5"))).conditions)


def p_of(values: np.ndarray) -> np.ndarray:
    """Return the share that reaches the first, (1 + n_permutations, ...) -> (...)."""
    return np.where(np.isnan(values[0]), np.nan, (values >= values[0] - 1e-6).mean(axis=0))


def p_of_highest(values: np.ndarray) -> np.ndarray:
    """The same of the highest of each: (1 + n_permutations, n_rows, n_voxels) -> (n_rows, n_voxels)."""
    highest = np.nanmax(values, axis=(1, 2))
    return np.where(np.isnan(values[0]), np.nan, (highest[:, None, None] >= values[0] - 1e-6).mean(axis=0))


# ----------------------------------------------------------------------------------------- over subjects


@pytest.fixture(scope="module")
def flipped(sandbox: Sandbox) -> Path:
    """Ranks of six subjects, a contrast, one M/EEG RDM for all, a partition; every second voxel; all 64 flips."""
    inference = {
        "over": "subjects",
        "permutations": 100,
        "statistic": "wilcoxon",
        "enhance": "tfce",
        "contrasts": [{"name": "sizelesskind", "a": "size", "b": "kind"}],
    }
    partition = [{"kind": "partition", "predictors": {"size": ["size"], "kind": ["kind"]}}]
    targets = ["group", "regions_group.tsv", "time", "analyses/partition/group", "analyses/partition/regions_group.tsv"]
    return ran(sandbox, "flipped", targets, fusion=True, inference=inference, analyses=partition)


def test_ranks_are_flipped_in_all_ways(flipped: Path) -> None:
    scores, first = scores_of(flipped, SUBJECTS)
    rows = {model: np.flatnonzero(first.table["model"] == model).item() for model in ("size", "kind")}
    z = np.arctanh(scores[:, list(rows.values())])
    z = np.concatenate([z, z[:, [0]] - z[:, [1]]], axis=1)
    centres = np.flatnonzero(np.isfinite(z).all(axis=(0, 1)))
    assert 10 < len(centres) <= 36, "every second voxel"
    flips = np.array(list(product([1, -1], repeat=6)))
    folder = flipped / "scores"
    for row, model in enumerate([*rows, "sizelesskind"]):
        statistics = np.array([[signed_ranks(flip * z[:, row, centre]) for centre in centres] for flip in flips])
        np.testing.assert_allclose(found(folder, model, "wilcoxon")[0, centres], statistics[0], atol=1e-5)
        np.testing.assert_allclose(10 ** -found(folder, model, "logp")[0, centres], p_of(statistics), rtol=1e-4)
        expected = p_of_highest(statistics[:, None])[0]
        np.testing.assert_allclose(10 ** -found(folder, model, "logp_max_stat")[0, centres], expected, rtol=1e-4)
        assert np.isnan(np.delete(found(folder, model, "logp")[0], centres)).all()
    np.testing.assert_allclose(
        found(folder, "sizelesskind", "difference")[0, centres], z[:, 2, centres].mean(axis=0), atol=1e-5
    )
    both = found(folder, "size", "thresholded")[0, centres], found(folder, "size", "logp_max_tfce")[0, centres]
    means = np.where(10 ** -both[1] <= 0.05 + 1e-6, scores[:, rows["size"]].mean(axis=0)[centres], 0)
    np.testing.assert_allclose(both[0], means, atol=1e-6)
    assert 0 < (both[0] > 0).sum() < len(centres)


def test_fusion_with_one_rdm_is_over_conditions_and_its_sidecars_say_so(flipped: Path) -> None:
    orders = orders_of(len(CONDITIONS), 100, (0, 3)).values
    maps = permuted_means(flipped, SUBJECTS, orders, "meeg")  # (101, 3 times, n_voxels)
    folder = flipped / "scores"
    np.testing.assert_allclose(10 ** -found(folder, "meeg", "logp"), p_of(maps), rtol=1e-4)
    np.testing.assert_allclose(10 ** -found(folder, "meeg", "logp_max_stat"), p_of_highest(maps), rtol=1e-4)
    models = set(io.load_scores(folder / "group_flips.h5").table["model"])
    assert models == {"size", "kind", "sizelesskind"}
    said = sidecar(flipped, "meeg", "logp_max_stat")
    assert said["Permutations"] == 100
    assert "conditions of the references are permuted" in said["TestStatistic"]
    assert not said["Exact"]
    said = sidecar(flipped, "size", "logp_max_stat")
    assert (said["Permutations"], said["Exact"], said["SmallestP"], said["Subjects"]) == (63, True, 1 / 64, 6)
    assert "signed ranks" in said["TestStatistic"]
    assert "conditions" not in said["TestStatistic"]
    assert "one-sample t" in sidecar(flipped, "meeg", "t")["Description"].lower()


def test_clusters_are_those_of_thresholded_maps_with_names_of_regions(flipped: Path) -> None:
    clusters = table(flipped / "group" / f"space-{SPACE}_clusters.tsv")
    assert set(clusters["region"]) <= {"low", "high"}
    (size,) = clusters[clusters["model"] == "size"].to_dict("records")
    assert size["region"] == "low"
    image = nib.load(flipped / "group" / f"{STEM}-size_stat-thresholded_statmap.nii.gz")
    kept = np.nan_to_num(image.get_fdata())
    assert size["n_voxels"] == (kept != 0).sum()
    assert size["mass"] == pytest.approx(kept.sum(), abs=1e-3)
    assert size["peak_score"] == pytest.approx(kept.max(), abs=1e-5)
    place = image.affine[:3] @ [*np.unravel_index(kept.argmax(), kept.shape), 1]
    assert [size["x_mm"], size["y_mm"], size["z_mm"]] == pytest.approx(list(place))
    at_once = clusters[clusters["model"] == "meeg"]
    assert (at_once["time_from_s"] <= at_once["time_s"]).all()
    assert set(at_once["time_s"]) <= {0.1}, "M/EEG has a signal at .1 s alone"


def test_shares_of_variance_have_no_p_over_subjects(flipped: Path) -> None:
    folder = flipped / "analyses" / "partition"
    assert not (io.load_scores(folder / "scores" / "group_scores.h5").table["role"] == TEST).any()
    assert not list(folder.glob("group/*clusters*"))
    group = table(folder / "regions_group.tsv")
    assert group["p"].isna().all()
    assert "both_lower" not in group


def test_regions_are_tested_over_subjects_with_contrasts(flipped: Path) -> None:
    fits, group = table(flipped / "regions.tsv"), table(flipped / "regions_group.tsv")
    each = fits[fits["model"].isin(["size", "kind"])].pivot(
        index="subject", columns=["model", "region"], values="score"
    )
    z = np.arctanh(each)
    own = {name: z[name] for name in ("size", "kind")} | {"sizelesskind": z["size"] - z["kind"]}
    flips = np.array(list(product([1, -1], repeat=6)))
    for model, values in own.items():
        statistics = np.array([[signed_ranks(flip * values[name]) for name in ("low", "high")] for flip in flips])
        rows = group[group["model"] == model].set_index("region").loc[["low", "high"]]
        np.testing.assert_allclose(rows["wilcoxon"], statistics[0], atol=1e-4)
        np.testing.assert_allclose(rows["p"], p_of(statistics), atol=1e-5)
        np.testing.assert_allclose(rows["p_corrected"], p_of_highest(statistics[:, None])[0], atol=1e-5)
    assert group.loc[group["model"] == "meeg", "p"].isna().all(), "one M/EEG RDM is the same for all subjects"
    np.testing.assert_allclose((group["both_lower"] + group["both_upper"]) / 2, group["mean"], atol=2e-5)
    assert (group["both_upper"] > group["upper"]).mean() > 0.5, "other pictures add to the variance"
    assert (group["p_both_corrected"] >= group["p_both"]).all()
    low = group[(group["model"] == "size") & (group["region"] == "low")]
    assert low["p_corrected"].item() <= 0.05


@pytest.fixture(scope="module")
def grouped(sandbox: Sandbox) -> Path:
    """Two groups of three with a covariate, each fMRI subject with its own M/EEG."""
    inference = {
        "over": "subjects",
        "permutations": 40,
        "enhance": "cluster_mass",
        "cluster_p": 0.05,
        "participants": "participants.tsv",
        "groups": "group",
        "levels": ["y", "x"],
        "covariates": ["age"],
        "alternative": "two-sided",
        "family": ["voxels"],
        "contrasts": [{"name": "sizelesskind", "a": "size", "b": "kind"}],
        "seed": 3,
    }
    return ran(sandbox, "grouped", ["group", "regions_group.tsv"], fusion="paired", inference=inference)


def test_groups_are_compared_as_a_regression_does(grouped: Path) -> None:
    scores, first = scores_of(grouped, SUBJECTS)
    people = pd.read_csv(grouped.parent.parent / "mine" / "participants.tsv", sep="\t").set_index("participant_id")
    people = people.loc[[f"sub-{name}" for name in SUBJECTS]]
    is_first = (people["group"] == "y").to_numpy()
    design = np.column_stack([is_first, np.ones(6), people["age"]])
    folder = grouped / "scores"
    times = [None, *TIMES_S]
    for model, time in (("size", None), ("meeg", 0.1)):
        wanted = first.table["model"] == model
        row = np.flatnonzero(wanted if time is None else wanted & np.isclose(first.table["time_s"], time)).item()
        z = np.arctanh(scores[:, row])
        weights, left, *_ = np.linalg.lstsq(design, np.nan_to_num(z), rcond=None)
        with np.errstate(invalid="ignore"):  # 0 / 0 between centres
            t = weights[0] / np.sqrt(left / 3 * np.linalg.inv(design.T @ design)[0, 0])
        t[np.isnan(z).any(axis=0)] = np.nan
        place = 0 if time is None else times.index(time) - 1
        np.testing.assert_allclose(found(folder, model, "t")[place], t, rtol=1e-3, atol=1e-4)
        difference = scores[is_first, row].mean(axis=0) - scores[~is_first, row].mean(axis=0)
        np.testing.assert_allclose(found(folder, model, "difference")[place], difference, atol=1e-5)
    said = sidecar(grouped, "size", "logp_max_mass")
    assert "difference y (3 subjects) less x (3 subjects), adjusted for age" in said["TestStatistic"]
    assert (said["Permutations"], said["DegreesOfFreedom"], said["Alternative"]) == (40, 3, "two-sided")
    assert (said["Seed"], said["Family"], said["Connectivity"]) == (
        3,
        ["voxels (regions, sensors)"],
        "26 neighbours of each voxel",
    )
    assert "difference" in sidecar(grouped, "size", "t")["Description"].lower()
    p = 10 ** -found(folder, "size", "logp")
    assert np.nanmin(p) >= 1 / 41 - 1e-6
    assert list(table(grouped / "group" / f"space-{SPACE}_clusters.tsv").columns)


def test_regions_of_groups_have_their_difference(grouped: Path) -> None:
    fits, group = table(grouped / "regions.tsv"), table(grouped / "regions_group.tsv")
    own = fits[(fits["model"] == "size") & (fits["region"] == "low")].set_index("subject")["score"]
    row = group[(group["model"] == "size") & (group["region"] == "low")]
    assert row["mean"].item() == pytest.approx(own[SUBJECTS[:3]].mean() * -1 + own[SUBJECTS[3:]].mean(), abs=1e-5)
    assert np.isfinite(row[["t", "p", "p_corrected"]].to_numpy(float)).all()
    assert set(group["model"]) == {"size", "kind", "meeg", "sizelesskind"}


# --------------------------------------------------------------------------------------- over conditions


@pytest.fixture(scope="module")
def permuted(sandbox: Sandbox) -> Path:
    """Three subjects of whose permuted maps one of each is drawn; each tested as well; a partial and a partition."""
    inference = {
        "over": "conditions",
        "permutations": 60,
        "enhance": "cluster_size",
        "cluster_p": 0.05,
        "combine": "stelzer",
        "permutations_each": 10,
        "each_subject": True,
    }
    analyses = [
        {"kind": "partial", "nuisance": ["kind"], "of": ["size"]},
        {"kind": "partition", "predictors": {"size": ["size"], "kind": ["kind"]}},
    ]
    brain = {**SETTINGS["brain"], "subjects": SUBJECTS[:3]}
    targets = ["group", "sub-s2", "regions_group.tsv", "time", "analyses/partial/group", "analyses/partition/group"]
    targets += ["analyses/partition/time", "analyses/partition/regions_group.tsv"]
    return ran(sandbox, "permuted", targets, brain=brain, inference=inference, analyses=analyses)


def test_maps_of_subjects_are_drawn_and_averaged(permuted: Path) -> None:
    subjects, n = SUBJECTS[:3], len(CONDITIONS)
    alone = [
        permuted_means(permuted, [subject], orders_of(n, 10, (0, 4, number)).values, "size")
        for number, subject in enumerate(subjects)
    ]
    volumes = [io.load_patterns(permuted / f"brain/sub-{subject}_patterns.h5").volume for subject in subjects]
    shared = shared_volume(volumes)
    alone = [maps[:, :, shared.mask[volume.mask]] for maps, volume in zip(alone, volumes, strict=True)]
    drawn = np.random.default_rng((0, 5)).integers(10, size=(60, 3))
    means = [np.mean([maps[0] for maps in alone], axis=0)]
    means += [np.mean([maps[1 + number] for maps, number in zip(alone, row, strict=True)], axis=0) for row in drawn]
    folder = permuted / "scores"
    np.testing.assert_allclose(found(folder, "size", "mean"), means[0], atol=1e-5)
    np.testing.assert_allclose(10 ** -found(folder, "size", "logp"), p_of(np.stack(means)), rtol=1e-4)
    np.testing.assert_allclose(10 ** -found(folder, "size", "logp_max_stat"), p_of_highest(np.stack(means)), rtol=1e-4)
    assert sidecar(permuted, "size", "logp_max_size")["Permutations"] == 60


def test_maps_of_each_subject_have_p_of_their_own(permuted: Path) -> None:
    maps = permuted_means(permuted, ["s2"], orders_of(len(CONDITIONS), 60, (0, 3)).values, "size")
    folder = permuted / "sub-s2"
    image = nib.load(folder / f"sub-s2_{STEM}-size_stat-logpmaxstat_statmap.nii.gz")
    volume = io.load_patterns(permuted / "brain/sub-s2_patterns.h5").volume
    np.testing.assert_allclose(10 ** -image.get_fdata()[volume.mask], p_of_highest(maps)[0], rtol=1e-4)
    said = sidecar(permuted, "size", "logp_max_stat", f"sub-s2/sub-s2_{STEM}")
    assert (said["Permutations"], said["Subjects"]) == (60, 1)
    peaks = table(folder / f"sub-s2_space-{SPACE}_peaks.tsv")
    assert peaks["p_corrected"].notna().all()
    assert not list((permuted / "sub-s1").glob("*")), "only what was asked for"


def test_regions_and_times_are_tested_over_conditions(permuted: Path) -> None:
    brains = [io.load_rdms(permuted / f"brain/sub-{subject}_rdms.h5") for subject in SUBJECTS[:3]]
    references = io.load_rdms(permuted / "references/ref-size_rdms.h5").reordered(list(brains[0].conditions))
    square = squareform(references.values[0])
    orders = [np.arange(9), *orders_of(9, 60, (0, 3)).values]
    rows = [squareform(square[np.ix_(order, order)], checks=False) for order in orders]
    scores = np.array([[[spearmanr(one, row).statistic for one in brain.values] for brain in brains] for row in rows])
    means = scores.mean(axis=1)  # (61, n_regions)
    group = table(permuted / "regions_group.tsv")
    np.testing.assert_allclose((group["both_lower"] + group["both_upper"]) / 2, group["mean"], atol=2e-5)
    found_p = group[group["model"] == "size"].set_index("region").loc[list(brains[0].table["region"])]
    np.testing.assert_allclose(found_p["mean"], means[0], atol=1e-5)
    np.testing.assert_allclose(found_p["p"], p_of(means), atol=1e-5)
    np.testing.assert_allclose(found_p["p_corrected"], p_of_highest(means[:, None])[0], atol=1e-5)
    movies = [io.load_rdms(permuted / f"meeg/sub-{subject}_movie.h5") for subject in SUBJECTS]
    square = squareform(references.reordered(list(movies[0].conditions)).values[0])
    rows = [squareform(square[np.ix_(order, order)], checks=False) for order in orders]
    scores = np.array([[[spearmanr(one, row).statistic for one in movie.values] for movie in movies] for row in rows])
    means = scores.mean(axis=1)  # (61, n_times)
    courses = table(permuted / "time" / "courses.tsv")
    own = courses[courses["model"] == "size"].sort_values("time_s")
    np.testing.assert_allclose(own["p_uncorrected"], p_of(means), atol=1e-5)
    np.testing.assert_allclose(own["p"], p_of_highest(means[:, None])[0], atol=1e-5)
    assert own["p"].to_numpy()[1] <= 0.05


def test_partial_correlations_and_shares_of_variance_have_p_over_conditions(permuted: Path) -> None:
    partial = io.load_scores(permuted / "analyses/partial/scores/group_scores.h5")
    assert np.isfinite(select(partial, model="size", statistic="logp_max_size").values).any()
    partition = permuted / "analyses" / "partition"
    scores = io.load_scores(partition / "scores" / "group_scores.h5")
    tested = scores.table[scores.table["role"] == TEST]
    assert {"unique:size", "unique:kind"} <= set(tested["model"])
    p = 10 ** -select(scores, model="unique:size", statistic="logp").values
    low, high = (p[0][scores.volume.indices[:, 0] == x] for x in (0, 6))
    assert np.nanmedian(low) < 0.05 < np.nanmedian(high)
    assert table(partition / "time" / "courses.tsv")["p"].notna().all()
    assert table(partition / "regions_group.tsv")["p"].notna().all()


def test_one_subject_is_tested_over_conditions(sandbox: Sandbox) -> None:
    one = {"brain": {**SETTINGS["brain"], "subjects": ["s3"]}, "meeg": {**SETTINGS["meeg"], "subjects": ["s3"]}}
    inference = {"over": "conditions", "permutations": 50, "enhance": "cluster_mass", "cluster_p": 0.05}
    one |= {"group": None, "fusion": True, "inference": inference}
    folder = ran(sandbox, "alone", ["sub-s3", "regions_group.tsv", "time"], **one)
    maps = permuted_means(folder, ["s3"], orders_of(len(CONDITIONS), 50, (0, 3)).values, "meeg")
    volume = io.load_patterns(folder / "brain/sub-s3_patterns.h5").volume
    image = nib.load(folder / f"sub-s3/sub-s3_{STEM}-meeg_stat-logpmaxstat_statmap.nii.gz")
    np.testing.assert_allclose(10 ** -image.get_fdata()[volume.mask].T, p_of_highest(maps), rtol=1e-4)
    regions = table(folder / "regions_group.tsv")
    assert regions["p_corrected"].notna().all()
    assert regions["lower"].isna().all()
    courses = table(folder / "time" / "courses.tsv")
    assert courses["p"].between(1 / 51 - 1e-6, 1).all()


# ----------------------------------------------------------------------------------------------- sensors


def test_sensors_are_tested_over_subjects(sandbox: Sandbox) -> None:
    rng, subjects = np.random.default_rng(4), [f"e{i}" for i in range(1, 6)]
    names = ["Fz", "F3", "F4", "Cz", "C3", "C4", "Pz", "Oz"]
    pattern = rng.standard_normal((len(CONDITIONS), 8))
    for subject in subjects:
        events = np.repeat(np.arange(len(CONDITIONS)), 2)
        values = rng.standard_normal((len(events), 8, 4))
        values[:, :3, 2:] += 4 * (pattern[events] * np.array([*SIZE.values()])[events][:, None])[:, :3, None]
        epochs = make_epochs(
            values * 1e-6, [CONDITIONS[code] for code in events], tmin_s=0, channels=dict.fromkeys(names, "eeg")
        )
        epochs.set_montage(mne.channels.make_standard_montage("biosemi64"))
        write_fif(sandbox.folder / "mine" / f"sub-{subject}-epo.fif", epochs)
    meeg = {"kind": "epochs", "subjects": subjects, "file": "sub-{subject}-epo.fif"}
    inference = {"over": "subjects", "permutations": 100, "enhance": "none"}
    none = dict.fromkeys(["brain", "searchlight", "regions", "group"])
    folder = ran(
        sandbox, "sensors", ["sensors/peaks.tsv"], **none, meeg=meeg, sensors={}, inference=inference,
        movie={"distance": "euclidean"},
    )  # fmt: skip
    each = [io.load_scores(folder / "sensors" / f"sub-{subject}_scores.h5") for subject in subjects]
    model = (each[0].table["model"] == "size").to_numpy()
    z = np.arctanh(np.clip(np.stack([one.values[model] for one in each]).astype(float), -1 + 1e-9, 1 - 1e-9))
    flips = np.array(list(product([1, -1], repeat=5)))
    statistics = np.array([ttest_1samp(flip[:, None, None] * z, 0).statistic for flip in flips])
    group = io.load_scores(folder / "sensors" / "group_scores.h5")
    np.testing.assert_allclose(select(group, model="size", statistic="t").values, statistics[0], rtol=1e-3)
    logp = select(group, model="size", statistic="logp").values.astype(float)
    np.testing.assert_allclose(10**-logp, p_of(statistics), rtol=1e-4)
    corrected = select(group, model="size", statistic="logp_max_stat").values.astype(float)
    np.testing.assert_allclose(10**-corrected, p_of_highest(statistics), rtol=1e-4)
    peaks = table(folder / "sensors" / "peaks.tsv")
    assert "p_corrected" in peaks
    of_group = peaks[peaks["p_corrected"].notna()]
    assert len(of_group)
    assert (of_group["p_corrected"] >= 1 / 32 - 1e-6).all()
