"""Networks among themselves: seeds and checkpoints of a model, what is compared, and mistakes."""

import json

import nibabel as nib
import numpy as np
import oracles
import pandas as pd
import pytest

from rsa.core import RDMs, ScoreMap, Volume
from rsa.files import io
from rsa.inference.networks import (
    BEFORE_AFTER_COLUMNS,
    TRAINING_COLUMNS,
    VARIANTS_COLUMNS,
    BeforeAfter,
    Training,
    Variants,
    before_after,
    problems_of_names,
    rdm_distances,
    training,
    variants,
)
from rsa.models import Exported, Onnx, Torchvision
from rsa.models.source import number_of
from rsa.pipeline import stages
from rsa.pipeline.config import load_study
from rsa.pipeline.plan import Plan
from rsa.report.networks import FIGURES, network_figure, shown_networks
from rsa.report.style import caption_of

NAMES = [f"img{number}" for number in range(8)]
LAYERS = ("conv", "fc")
NETWORKS = ("net", "randomseed0", "randomseed1", "randomseed2")
SUBJECTS = ("01", "02", "03", "04")


@pytest.fixture
def references(rng):
    table = pd.DataFrame([{"model": network, "layer": layer} for network in NETWORKS for layer in LAYERS])
    return RDMs(rng.random((len(table), 28)), NAMES, table)


@pytest.fixture
def fits(rng):
    rows = [
        {"subject": subject, "region": region, "model": network, "layer": layer, "score": rng.standard_normal()}
        for network in NETWORKS
        for layer in LAYERS
        for region in ("EVC", "IT")
        for subject in SUBJECTS
    ]
    return pd.DataFrame(rows)


def scores_of(fits, region, network, layer):
    is_it = (fits["region"] == region) & (fits["model"] == network) & (fits["layer"] == layer)
    return fits[is_it].set_index("subject").loc[list(SUBJECTS), "score"].to_numpy()


# ------------------------------------------------------------------------------------- seeds, checkpoints


def test_seeds_are_networks_of_their_own():
    model = Torchvision(architecture="alexnet", name="random", weights="untrained", seeds=3)
    assert [(one.label, one.seed, one.seeds) for one in model.variants()] == [
        *(("randomseed0", 0, None), ("randomseed1", 1, None), ("randomseed2", 2, None))
    ]
    some = Torchvision(architecture="alexnet", weights="untrained", seeds=(7, 2))
    assert [(one.label, one.seed) for one in some.variants()] == [("alexnetseed7", 7), ("alexnetseed2", 2)]
    assert Torchvision(architecture="alexnet").variants() == [Torchvision(architecture="alexnet")]


def test_checkpoints_come_in_the_order_of_their_numbers(tmp_path):
    for name in ("epoch_10.pth", "epoch_2.pth", "epoch_1.pth.tar", "other.txt"):
        (tmp_path / name).touch()
    model = Torchvision(architecture="alexnet", name="net", weights=f"{tmp_path}/epoch_*.pth*")
    found = model.variants()
    assert [one.label for one in found] == ["netepoch1", "netepoch2", "netepoch10"]
    assert [number_of(one.files()[0]) for one in found] == [1, 2, 10]
    assert found[2].weights == f"{tmp_path}/epoch_10.pth"
    assert not found[2].checkpoints


@pytest.mark.parametrize(("source", "ending"), [(Onnx, "onnx"), (Exported, "pt2")])
def test_files_of_networks_may_be_several(tmp_path, source, ending):
    for name in (f"step_20.{ending}", f"step_3.{ending}"):
        (tmp_path / name).touch()
    found = source(file=f"{tmp_path}/step_*.{ending}", name="net", preprocess="imagenet").variants()
    assert [(one.label, one.file, number_of(one.file)) for one in found] == [
        ("netstep3", f"{tmp_path}/step_3.{ending}", 3),
        ("netstep20", f"{tmp_path}/step_20.{ending}", 20),
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": 3}, "`seeds` are those of random weights: set `weights: untrained`"),
        ({"seeds": (1, 1), "weights": "untrained"}, "`seeds` has a number twice"),
        ({"weights": "nowhere/epoch_*.pth"}, "no file has a name like nowhere/epoch_*.pth"),
    ],
)
def test_mistakes_of_seeds_and_checkpoints(settings, message):
    (problem,) = Torchvision(architecture="alexnet", **settings).problems_of_variants()
    assert message in problem


def test_checkpoints_of_one_step_have_no_order(tmp_path):
    for name in ("s_0.5.pth", "s_1.0.pth", "s_1.5.pth"):
        (tmp_path / name).touch()
    (problem,) = Torchvision(architecture="alexnet", weights=f"{tmp_path}/s_*.pth").problems_of_variants()
    assert "s_0.5.pth" in problem
    assert "s_1.5.pth' have the same last number, which is their step" in problem


def test_a_study_knows_each_network(tmp_path):
    for number in (1, 2):
        (tmp_path / f"epoch_{number}.pth").touch()
    models = [
        {"architecture": "alexnet", "name": "random", "weights": "untrained", "seeds": 2},
        {"architecture": "alexnet", "name": "run", "weights": f"{tmp_path}/epoch_*.pth"},
        {"architecture": "squeezenet1_1"},
    ]
    study = load_study({"study": "own", "models": models})
    labels = ["randomseed0", "randomseed1", "runepoch1", "runepoch2", "squeezenet11"]
    assert [one.label for one in study.networks] == labels
    assert study.named["run"] == ("runepoch1", "runepoch2")
    assert study.named["runepoch2"] == ("runepoch2",)
    assert Plan(study).names() == labels
    assert [path.name for path in Plan(study).all("model_rdms")] == [f"model-{label}_rdms.h5" for label in labels]


# ---------------------------------------------------------------------------------------------- numbers


def test_distances_are_those_of_scipy(references):
    found = rdm_distances(references, "net", "randomseed1")
    expected = [1 - oracles.by_spearman(references.values[i], references.values[4 + i]) for i in (0, 1)]
    np.testing.assert_allclose(found, expected)
    assert list(found.index) == list(LAYERS)
    assert (rdm_distances(references, "net", "net") == 0).all()
    np.testing.assert_allclose(
        rdm_distances(references, "net", "randomseed1", "pearson"),
        [1 - oracles.by_pearson(references.values[i], references.values[4 + i]) for i in (0, 1)],
    )


def test_models_are_averaged_over_their_seeds(fits):
    table = variants(fits, {"net": ["net"], "random": NETWORKS[1:]})
    assert list(table) == list(VARIANTS_COLUMNS)
    rows = table.set_index(["region", "model", "less", "layer"])
    own = np.array([scores_of(fits, "IT", network, "fc") for network in NETWORKS[1:]])
    row = rows.loc[("IT", "random", "", "fc")]
    assert row["mean"] == pytest.approx(own.mean())
    assert row["spread"] == pytest.approx(own.mean(axis=1).std(ddof=1))
    assert (row["lowest"], row["highest"]) == pytest.approx((own.mean(axis=1).min(), own.mean(axis=1).max()))
    assert row["n_networks"] == 3
    apart = scores_of(fits, "IT", "net", "fc") - own
    less = rows.loc[("IT", "net", "random", "fc")]
    assert less["mean"] == pytest.approx(apart.mean())
    assert less["spread"] == pytest.approx(apart.mean(axis=1).std(ddof=1))
    half = 3.182446 * apart.mean(axis=0).std(ddof=1) / 2  # Student's t of 3 degrees of freedom
    assert less["upper"] - less["mean"] == pytest.approx(half, rel=1e-5)
    assert len(table) == 2 * (2 + 2 + 2)
    assert np.isnan(rows.loc[("IT", "net", "", "fc"), "spread"])


def test_before_and_after_are_compared_within_subjects(fits, references):
    table = before_after(fits, references, "net", "randomseed0")
    assert list(table) == list(BEFORE_AFTER_COLUMNS)
    assert len(table) == 4
    row = table.set_index(["region", "layer"]).loc[("EVC", "conv")]
    before, after = (scores_of(fits, "EVC", name, "conv") for name in ("net", "randomseed0"))
    assert row["difference"] == pytest.approx((after - before).mean())
    assert row["upper"] - row["difference"] == pytest.approx(3.182446 * (after - before).std(ddof=1) / 2, rel=1e-5)
    assert (row["before"], row["after"]) == pytest.approx((before.mean(), after.mean()))
    assert row["rdm_distance"] == pytest.approx(rdm_distances(references, "net", "randomseed0")["conv"])


def test_a_training_is_followed_to_its_last_checkpoint(fits, references):
    steps = {"randomseed0": 1, "randomseed2": 5, "randomseed1": 20}
    table = training(fits, references, steps)
    assert list(table) == list(TRAINING_COLUMNS)
    rows = table.set_index(["region", "layer", "step"])
    assert rows.loc[("IT", "fc", 5), "mean"] == pytest.approx(scores_of(fits, "IT", "randomseed2", "fc").mean())
    expected = rdm_distances(references, "randomseed2", "randomseed1")["fc"]
    assert rows.loc[("IT", "fc", 5), "rdm_distance_to_last"] == pytest.approx(expected)
    assert (rows.xs(20, level="step")["rdm_distance_to_last"] == 0).all()
    assert list(table["step"][:3]) == [1, 5, 20]


def test_without_regions_there_are_distances_alone(references):
    moved = before_after(None, references, "net", "randomseed0")
    expected = rdm_distances(references, "net", "randomseed0")
    assert list(moved) == ["layer", "rdm_distance"]
    np.testing.assert_array_equal(moved["rdm_distance"], expected)
    followed = training(None, references, {"randomseed0": 1, "randomseed2": 5, "randomseed1": 20})
    assert list(followed) == ["layer", "step", "network", "rdm_distance_to_last"]
    rows = followed.set_index(["layer", "step"])["rdm_distance_to_last"]
    assert rows["fc", 5] == rdm_distances(references, "randomseed2", "randomseed1")["fc"]
    assert list(rows.index) == [(layer, step) for layer in LAYERS for step in (1, 5, 20)]


# --------------------------------------------------------------------------------------------- mistakes

NAMED = {"net": ("net",), "random": NETWORKS[1:], **{name: (name,) for name in NETWORKS[1:]}, "small": ("small",)}
HAVE = {**dict.fromkeys(NETWORKS, LAYERS), "small": ("conv",)}


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (BeforeAfter(kind="before_after", before="nett", after="random"), "'nett', and no model is called so. Did you"),
        (
            BeforeAfter(kind="before_after", before="net", after="random"),
            "'random' stands for 3; name one of 'randomse",
        ),
        (BeforeAfter(kind="before_after", before="net", after="net"), "is of 'net' before and after; name two"),
        (BeforeAfter(kind="before_after", before="net", after="small"), "only one of them has 'fc'; set `layers`"),
        (Training(kind="training", model="net"), "needs 2 checkpoints or more of 'net', and there is 1"),
        (Variants(kind="variants", models=("net",)), "is of one network, 'net': name another model, or set `seeds`"),
    ],
)
def test_each_mistake_is_told_in_a_line(one, message):
    (problem,) = problems_of_names([one], NAMED, HAVE)
    assert message in problem


def test_comparisons_have_names_of_their_own():
    one = Variants(kind="variants", models=("net", "random"))
    assert not list(problems_of_names([one], NAMED, HAVE))
    (problem,) = problems_of_names([one, one], NAMED, HAVE)
    assert "two comparisons of networks are called 'variants'" in problem


# ---------------------------------------------------------------------------------------------- figures


def test_each_kind_has_a_figure_with_a_panel_for_each_region(tmp_path, fits, references):
    made = {
        "variants": variants(fits, {"net": ["net"], "random": NETWORKS[1:]}),
        "before_after": before_after(fits, references, "net", "randomseed0"),
        "training": training(fits, references, {"randomseed0": 1, "randomseed1": 2}),
    }
    assert set(made) == set(FIGURES)
    for kind, table in made.items():
        figure = FIGURES[kind](table, [])
        titles = [axes.get_title() for axes in figure.axes]
        assert {"EVC", "IT"} <= set(titles)
        path = network_figure(table, kind, tmp_path / f"{kind}.png")
        assert caption_of(path)
        assert path.with_suffix(".svg").is_file()
    assert "less" not in shown_networks(variants(fits, {"random": NETWORKS[1:]}))
    before = FIGURES["before_after"](made["before_after"], [])
    bars = [patch.get_height() for patch in before.axes[0].patches]
    moved = made["before_after"]
    np.testing.assert_allclose(bars, moved["rdm_distance"][moved["region"] == "EVC"])


def test_without_regions_one_panel_is_drawn(tmp_path, references):
    made = {
        "before_after": before_after(None, references, "net", "randomseed0"),
        "training": training(None, references, {"randomseed0": 1, "randomseed1": 2}),
    }
    for kind, table in made.items():
        (axes,) = FIGURES[kind](table, []).axes
        assert "distance" in axes.get_title()
        drawn = network_figure(table, kind, tmp_path / f"{kind}.png")
        assert "score" not in caption_of(drawn)


# -------------------------------------------------------------------------------------------- the stage


def test_stage_writes_tables_and_maps_of_where_the_fit_moved(tmp_path, fits, references, rng):
    comparisons = [
        {"kind": "variants", "models": ["net", "random"]},
        {"kind": "before_after", "name": "tuned", "before": "net", "after": "randomseed0"},
    ]
    models = [
        {"architecture": "alexnet", "name": "net", "weights": "untrained", "seed": 9},
        {"architecture": "alexnet", "name": "random", "weights": "untrained", "seeds": 3},
    ]
    brain = {"kind": "maps", "subjects": list(SUBJECTS), "images": "{subject}.nii", "table": "{subject}.tsv"}
    brain |= {"mask": "mask.nii", "space": "T1w"}
    study = load_study(
        {"study": "own", "models": models, "brain": brain, "searchlight": {}, "group": ["mean"]}
        | {"network_comparisons": comparisons}
    )
    (tmp_path / "study.json").write_text(study.model_dump_json())
    io.save_table(tmp_path / "regions.tsv", fits)
    io.save(tmp_path / "references.h5", references, {})
    volume = Volume(np.ones((3, 3, 2), dtype=bool), np.diag([2.0, 2, 2, 1]))
    scores = ScoreMap(rng.standard_normal((8, 18)), references.table.assign(statistic="mean"), volume)
    io.save(tmp_path / "group.h5", scores, {"settings": {}, "versions": {}})
    out = tmp_path / "networks"
    stages.networks(
        tmp_path / "study.json", [tmp_path / "references.h5"], out, tmp_path / "regions.tsv", tmp_path / "group.h5"
    )
    assert sorted(path.name for path in out.glob("*.tsv")) == ["tuned.tsv", "variants.tsv"]
    made = io.load_table(out / "tuned.tsv")
    expected = before_after(fits, references, "net", "randomseed0")
    np.testing.assert_allclose(made["difference"], expected["difference"], rtol=1e-4)
    assert set(json.loads((out / "tuned.json").read_text())) == set(BEFORE_AFTER_COLUMNS)
    image = nib.load(
        out / "tuned" / "group" / "space-T1w_model-randomseed0lessnet_layer-fc_stat-difference_statmap.nii.gz"
    )
    np.testing.assert_allclose(image.get_fdata().ravel(), scores.values[3] - scores.values[1], rtol=1e-5)
    sidecar = json.loads(next(out.glob("tuned/group/*layer-fc*.json")).read_text())
    assert sidecar["Description"] == "Score of randomseed0 less that of net, mean over subjects"
    assert sidecar["Subjects"] == 4
    stages.draw_networks(tmp_path / "study.json", out, tmp_path / "figures")
    assert sorted(path.name for path in (tmp_path / "figures").glob("*.png")) == ["tuned.png", "variants.png"]
