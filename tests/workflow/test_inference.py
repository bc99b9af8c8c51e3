"""p values of small studies end to end, computed again by hand from the scores and patterns that were tested."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from sandbox import Sandbox
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from rsa.core import RDMs, ScoreMap, on_voxels, select, shared_volume
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
