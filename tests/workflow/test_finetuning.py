"""Networks among themselves through Snakemake: random ones, and SqueezeNet before and after a short fine-tuning."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from finetuning import finetuned
from sandbox import Sandbox, pages_of, redrawn

pytestmark = pytest.mark.slow

SQUEEZENET = {
    "architecture": "squeezenet1_1",
    "preprocess_as": "IMAGENET1K_V1",
    "layers": ["features.9", "features.12", "classifier"],
}


@pytest.fixture(scope="module")
def sandbox(make_sandbox: Callable[[str], Sandbox]) -> Sandbox:
    return make_sandbox("networks")


@pytest.fixture(scope="module")
def results(sandbox: Sandbox, data: Path) -> Path:
    finetuned(data, sandbox.folder)
    shutil.copy(data / "photos_labelled" / "imagenet_labels.txt", sandbox.folder / "names.txt")
    settings = {
        "study": "networks",
        "stimuli": {"folder": str(data / "cichy92" / "stimuli")},
        "models": [
            {**SQUEEZENET, "name": "trained", "weights": str(data / "weights" / "squeezenet1_1.pth")},
            {**SQUEEZENET, "name": "tuned", "weights": "epoch_*.pth"},
            {**SQUEEZENET, "name": "random", "weights": "untrained", "seeds": 2},
        ],
        "brain": {
            "kind": "rdms",
            "subjects": [f"{number:02d}" for number in range(1, 16)],
            "file": str(data / "cichy92" / "fmri_rdms.npz"),
            "regions": ["EVC", "IT"],
            "condition_order": "stimuli",
        },
        "network_comparisons": [
            {"kind": "variants", "models": ["trained", "random"]},
            {"kind": "before_after", "name": "finetuning", "before": "trained", "after": "tunedepoch2"},
            {"kind": "training", "model": "tuned"},
        ],
        "units": {
            "models": ["tunedepoch2"],
            "chosen": [{"layers": ["features.9", "features.12"], "n": 1}],
            **dict.fromkeys(["preferred", "fields", "codes", "channels"]),
            "filters": False,
            "names": "names.txt",
        },
    }
    (sandbox.folder / "networks.yaml").write_text(yaml.safe_dump(settings))
    sandbox.succeed("--configfile", "networks.yaml")
    return sandbox.folder / "results" / "networks"


def table_of(results: Path, name: str, *keys: str) -> pd.DataFrame:
    return (
        pd.read_csv(results / "networks" / f"{name}.tsv", sep="\t", na_values="n/a")
        .fillna({"less": ""})
        .set_index(list(keys))
    )


def test_trained_layers_fit_it_better_than_random_ones(results: Path) -> None:
    table = table_of(results, "variants", "region", "model", "less", "layer")
    row = table.loc[("IT", "trained", "random", "features.12")]
    assert row["lower"] > 0.05
    assert row["n_networks"] == 2
    assert table.loc[("IT", "random", "", "features.12"), "spread"] > 0
    assert table.loc[("IT", "trained", "", "features.12"), "mean"] == pytest.approx(0.204, abs=0.001)


def test_only_what_was_tuned_has_moved(results: Path) -> None:
    table = table_of(results, "finetuning", "region", "layer")
    assert (table.xs("features.9", level="layer")[["rdm_distance", "difference"]] == 0).all(axis=None)
    moved = table.xs("features.12", level="layer")
    assert (moved["rdm_distance"] > 0.005).all()
    assert (moved["difference"].abs() > 1e-4).all()
    fits = pd.read_csv(results / "regions.tsv", sep="\t", dtype={"subject": str}).set_index(
        ["region", "layer", "model"]
    )
    for region in ("EVC", "IT"):
        after, before = (fits.loc[(region, "features.12", name), "score"] for name in ("tunedepoch2", "trained"))
        expected = after.to_numpy().mean() - before.to_numpy().mean()
        assert moved.loc[region, "difference"] == pytest.approx(expected, abs=1e-5)


def test_only_units_of_what_was_tuned_have_changed(results: Path) -> None:
    changes = results / "units" / "changes"
    units = pd.read_csv(changes / "finetuning_units.tsv", sep="\t").set_index(["layer", "unit"])
    assert (units.loc["features.9", ["tuning_similarity", "overlap"]] == 1).all(axis=None)
    moved = units.loc["features.12"]
    assert len(moved) == 512
    assert (moved["tuning_similarity"].dropna() < 1).mean() > 0.9
    curve = pd.read_csv(changes / "training_curve.tsv", sep="\t", index_col=["layer", "step"])["tuning_similarity"]
    assert curve["features.9", 1] == 1
    assert curve["features.12", 1] < curve["features.12", 2] == 1
    assert not (results / "units" / "model-randomseed0").exists(), "it is neither named nor followed"


def test_checkpoints_are_in_order_and_end_at_the_last(results: Path) -> None:
    table = table_of(results, "training", "region", "layer").loc[[("IT", "features.12")]]
    assert list(table["step"]) == [1, 2]
    distances = table.set_index("step")["rdm_distance_to_last"]
    assert distances[1] > distances[2] == 0


def test_the_page_tells_of_each_comparison(results: Path, tmp_path: Path) -> None:
    text = pages_of(results)
    for name in ("variants", "finetuning", "training"):
        assert f"Comparing networks: {name}" in text
    assert "There were 2 such networks (from randomseed0 to randomseed1)" in text
    assert "one of 2 checkpoints of a training" in text
    assert "Units that changed most and least: finetuning" in text
    assert 'href="unit-changes.html"' in text
    names = [f"networks/{name}" for name in ("variants", "finetuning", "training")]
    redrawn(results, tmp_path, [*names, *(f"units/changes/{name}" for name in ("finetuning_layers", "training_curve"))])


def test_units_are_looked_at_again_when_the_names_of_classes_change(sandbox: Sandbox, results: Path) -> None:
    names = sandbox.folder / "names.txt"
    lines = names.read_text(encoding="utf-8").splitlines()
    names.write_text("\n".join(lines[1:] + lines[:1]), encoding="utf-8")
    assert sandbox.rules("--configfile", "networks.yaml") >= {"units", "report"}
