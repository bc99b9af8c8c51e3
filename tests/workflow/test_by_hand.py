"""A study with everything set otherwise than in the default one, computed again by hand from the files that went in."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import oracles
import pandas as pd
import pytest
import yaml
from PIL import Image
from sandbox import Sandbox
from scipy.spatial.distance import cdist, pdist, squareform
from scipy.stats import zscore

from rsa.files import io
from rsa.weighted import weighted_fit

pytestmark = pytest.mark.slow

CONDITIONS = [f"img{number}" for number in (10, 2, 1, 7, 33, 4, 5, 6)]
SUBJECTS = ("s1", "s2", "s3")
RADIUS_MM = 7.0
SHAPE = (9, 8, 7)


@pytest.fixture(scope="module")
def affine() -> np.ndarray:
    """Return an oblique, flipped, anisotropic grid."""
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-3.0, 2.5, 4.0])
    affine[:3, 3] = (11, -20, 5)
    return affine


@pytest.fixture(scope="module")
def sandbox(make_sandbox: Callable[[str], Sandbox]) -> Sandbox:
    return make_sandbox("by-hand")


@pytest.fixture(scope="module")
def study(sandbox: Sandbox, affine: np.ndarray) -> Path:
    """Write two pictures per condition, one image per condition and subject, two regions; run it up to the pictures."""
    rng = np.random.default_rng(6)
    folder = sandbox.folder / "mine"
    for name in ("pictures", *SUBJECTS):
        (folder / name).mkdir(parents=True)
    rows = []
    for condition in sorted(CONDITIONS):
        for view in "ab":
            picture = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).resize((256, 256))
            picture.save(folder / "pictures" / f"{condition}{view}.png")
            rows.append((condition, f"pictures/{condition}{view}.png", int(condition[3:])))
    pd.DataFrame(rows, columns=["condition", "file", "rating"]).to_csv(folder / "stimuli.tsv", sep="\t", index=False)
    for subject in SUBJECTS:
        for condition in CONDITIONS:
            values = rng.standard_normal(SHAPE) + 100
            values[:2] = 0  # outside the brain
            values[5, 5, 5] = np.nan
            nib.save(nib.Nifti1Image(values.astype(np.float32), affine), folder / subject / f"beta_{condition}.nii.gz")
    for name, part in {"left": np.s_[2:5], "right": np.s_[5:]}.items():
        region = np.zeros(SHAPE, dtype=np.uint8)
        region[part] = 1
        nib.save(nib.Nifti1Image(region, affine), folder / f"{name}.nii")
    judged = pd.DataFrame(squareform(rng.random(28)), index=CONDITIONS, columns=CONDITIONS)
    judged.to_csv(folder / "judged.csv")
    (sandbox.folder / "own.yaml").write_text(yaml.safe_dump(SETTINGS))
    targets = ["sub-s1", "group", "regions.tsv", "analyses/mixed/sub-s1", "analyses/mixed/group"]
    sandbox.succeed("--configfile", "own.yaml", "--", *(f"results/own/{target}" for target in targets))
    return sandbox.folder


SETTINGS = {
    "study": "own",
    "data_root": "mine",
    "stimuli": {"table": "stimuli.tsv"},
    "models": [
        {"architecture": "alexnet", "weights": "untrained", "seed": 4, "layers": ["features.0", "classifier.*"]}
    ],
    "references": [
        {"kind": "table", "name": "rating", "column": "rating", "rule": "difference"},
        {"kind": "file", "name": "judged", "file": "judged.csv"},
    ],
    "brain": {
        "kind": "maps",
        "subjects": list(SUBJECTS),
        "images": "{subject}/beta_{condition}.nii.gz",
        "space": "T1w",
    },
    "searchlight": {"radius_mm": RADIUS_MM, "min_voxels": 10, "stride": 2},
    "regions": {"masks": {"left": "left.nii", "right": "right.nii"}},
    "layer_distance": "cosine",
    "brain_distance": "euclidean",
    "comparison": "kendall_tau_a",
    "group": ["t", "mean"],
    "analyses": [{"kind": "weighted", "name": "mixed", "of": ["alexnet"], "fitted_to": "others", "n_folds": 2}],
}


@pytest.fixture(scope="module")
def voxels(study: Path, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the usable voxels of the first subject: values (n_conditions, n_voxels) and places in mm."""
    return voxels_of(study, "s1", affine)


def voxels_of(study: Path, subject: str, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images = np.stack([nib.load(study / "mine" / subject / f"beta_{name}.nii.gz").get_fdata() for name in CONDITIONS])
    usable = np.isfinite(images).all(axis=0) & (np.nan_to_num(images).std(axis=0) > 0)
    assert usable.sum() == 7 * 8 * 7 - 1
    return images[:, usable], np.argwhere(usable) @ affine[:3, :3].T + affine[:3, 3]


def first_convolution(study: Path) -> np.ndarray:
    """Compute the RDM of features.0 from the pictures, layer by layer, averaging the two pictures of a condition."""
    import torch
    from torchvision.models import AlexNet_Weights, alexnet

    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = alexnet(weights=None).eval()
    prepare = AlexNet_Weights.DEFAULT.transforms()
    means = []
    with torch.inference_mode():
        for name in CONDITIONS:
            views = [Image.open(study / "mine" / "pictures" / f"{name}{view}.png") for view in "ab"]
            batch = torch.stack([prepare(view) for view in views])
            means.append(network.features[0](batch).double().mean(dim=0).flatten().numpy())
    return pdist(np.array(means), "cosine")


def score_at(study: Path, model: str, place_mm: np.ndarray, affine: np.ndarray) -> float:
    path = study / "results" / "own" / "sub-s1" / f"sub-s1_space-T1w_model-{model}_stat-kendalltaua_statmap.nii.gz"
    index = np.linalg.solve(affine[:3, :3], place_mm - affine[:3, 3]).round().astype(int)
    return float(nib.load(path).get_fdata()[tuple(index)])


def test_maps_are_what_comes_out_by_hand(
    study: Path, affine: np.ndarray, voxels: tuple[np.ndarray, np.ndarray]
) -> None:
    values, places_mm = voxels
    numbers = np.array([[int(name[3:])] for name in CONDITIONS], dtype=float)
    judged = pd.read_csv(study / "mine" / "judged.csv", index_col=0).loc[CONDITIONS, CONDITIONS].to_numpy()
    references = {
        "alexnet_layer-features0": first_convolution(study),
        "rating": pdist(numbers, "cityblock"),
        "judged": squareform(judged),
    }
    n_compared = 0
    for place_mm in places_mm[::7]:
        inside = np.linalg.norm(places_mm - place_mm, axis=1) <= RADIUS_MM + 1e-9
        index = np.linalg.solve(affine[:3, :3], place_mm - affine[:3, 3]).round().astype(int)
        brain = pdist(values[:, inside], "euclidean")
        for name, reference in references.items():
            found = score_at(study, name, place_mm, affine)
            if inside.sum() < 10 or (index % 2).any():
                assert np.isnan(found)
                continue
            assert found == pytest.approx(oracles.compare(brain, reference, "kendall_tau_a"), abs=2e-6)
            n_compared += 1
    assert n_compared > 15


def test_regions_are_what_comes_out_by_hand(
    study: Path, voxels: tuple[np.ndarray, np.ndarray], affine: np.ndarray
) -> None:
    values, places_mm = voxels
    fits = pd.read_csv(study / "results" / "own" / "regions.tsv", sep="\t")
    rating = pdist(np.array([[int(name[3:])] for name in CONDITIONS], dtype=float), "cityblock")
    for name in ("left", "right"):
        region_mm = (
            np.argwhere(nib.load(study / "mine" / f"{name}.nii").get_fdata() > 0) @ affine[:3, :3].T + affine[:3, 3]
        )
        inside = cdist(places_mm, region_mm).min(axis=1) < 1e-3
        expected = oracles.compare(pdist(values[:, inside], "euclidean"), rating, "kendall_tau_a")
        row = fits[(fits["subject"] == "s1") & (fits["region"] == name) & (fits["model"] == "rating")]
        assert row["score"].item() == pytest.approx(expected, abs=1e-5)
        assert row["statistic"].item() == "kendall_tau_a"
        assert row["ceiling_lower"].item() <= row["ceiling_upper"].item()


def test_reasons_say_why_there_is_no_score(study: Path) -> None:
    stem = study / "results" / "own" / "sub-s1" / "sub-s1_space-T1w_stat-"
    reason = nib.load(f"{stem}reason_statmap.nii.gz").get_fdata()
    n_voxels = nib.load(f"{stem}nvoxels_statmap.nii.gz").get_fdata()
    assert set(np.unique(reason[np.isfinite(reason)])) <= {0, 1, 2, 3}
    assert (n_voxels[reason == 0] >= 10).all()
    assert (n_voxels[reason == 3] < 10).all()
    assert np.isnan(reason[:2]).all(), "the computed mask leaves out what is 0 in all images"


def test_the_group_has_both_maps(study: Path) -> None:
    names = {path.name for path in (study / "results" / "own" / "group").glob("*.nii.gz")}
    for statistic in ("t", "mean"):
        assert f"space-T1w_model-rating_stat-{statistic}_statmap.nii.gz" in names
    assert "space-T1w_model-alexnet_stat-bestlayer_statmap.nii.gz" in names


def test_weights_are_fitted_to_the_same_sphere_of_other_subjects(study: Path, affine: np.ndarray) -> None:
    layers = io.load_rdms(study / "results" / "own" / "models" / "model-alexnet_rdms.h5")
    order = [CONDITIONS.index(name) for name in layers.conditions]  # folds are drawn from the conditions in this order
    folder = study / "results" / "own" / "analyses" / "mixed"
    stem = "space-T1w_model-nnlsalexnet_desc-mixed_stat"
    found = nib.load(folder / "sub-s1" / f"sub-s1_{stem}-kendalltaua_statmap.nii.gz").get_fdata()
    subjects = [voxels_of(study, subject, affine) for subject in SUBJECTS]
    scored = np.argwhere(np.isfinite(found))
    assert len(scored) > 15
    for index in scored[::5]:
        place_mm, rdms = affine[:3, :3] @ index + affine[:3, 3], []
        for values, places_mm in subjects:
            inside = np.linalg.norm(places_mm - place_mm, axis=1) <= RADIUS_MM + 1e-9
            rdms.append(pdist(values[order][:, inside], "euclidean"))
        others = zscore(rdms[1:], axis=1).mean(axis=0)
        fit = weighted_fit(rdms[0], layers.values, fitted_to=others, comparison="kendall_tau_a", n_folds=2)
        assert found[tuple(index)] == pytest.approx(fit.scores[0], abs=1e-5)
    assert (folder / "group" / f"{stem}-mean_statmap.nii.gz").exists()


def test_what_is_left_are_other_subjects_pictures_and_the_page(study: Path, sandbox: Sandbox) -> None:
    drawn = {"maps_alone", "draw_references", "draw_regions", "explore"}
    assert sandbox.rules("--configfile", "own.yaml") == {"describe", "maps", "region_fits", "report", *drawn}
