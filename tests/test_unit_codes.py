"""What layers say of the pictures: neighbours, maps in two dimensions, read-out of categories, and their figures."""

import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from networks import small_network
from PIL import Image
from scipy.spatial.distance import pdist, squareform
from scipy.stats import binom

from rsa.core import RDMs
from rsa.distances import DISTANCES, cross_products
from rsa.errors import UserError
from rsa.files import io
from rsa.models import Torchvision
from rsa.models.layer_rdms import layer_products, model_rdms
from rsa.models.python import Python
from rsa.models.run import Run
from rsa.pipeline.stages.looks import rdms_of_layers
from rsa.report.html import Link
from rsa.report.panels import few_of
from rsa.report.style import caption_of
from rsa.report.units.codes import OTHERS, _colours, shown_conditions
from rsa.report.units.draw import unit_figures
from rsa.report.units.page import HEADINGS, unit_sections
from rsa.units.codes import Coded, coded, embeddings, neighbours, problems_of_codes, problems_of_layers, stress
from rsa.units.found import save_found
from rsa.units.look import PARTS, Beside, Look, looked_at
from rsa.units.readout import _Fold, accuracy, design_of, fits_of_layers, kernel_of, predictions, readout
from rsa.units.settings import Codes, UnitSettings
from rsa.units.watched import Watched

KINDS = ("red", "green", "blue")
LAYERS = ("1", "3", "5")


def of_pixels(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture.resize((32, 32)), dtype=np.float32).transpose(2, 0, 1) / 255)


def network() -> tuple[torch.nn.Module, Callable[[Image.Image], torch.Tensor]]:
    return small_network(), of_pixels


def model(**settings: Any) -> Python:
    return Python.model_validate({"function": f"{__file__}:network", "layers": LAYERS, **settings})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Make 15 pictures, noise with a tint, of 14 conditions: five red, four green, four blue, one bare."""
    folder, rng, rows = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0), []
    for i in range(15):
        tint = np.eye(3)[i % 3] if i < 13 else np.zeros(3)
        values = rng.integers(0, 156, (32, 32, 3)) + 100 * tint
        Image.fromarray(values.astype(np.uint8)).save(folder / f"{i}.png")
        name = f"{i:03d}" if i < 14 else "001"  # 001 has two pictures; such names are labels, and no numbers
        rows.append([name, str(folder / f"{i}.png"), KINDS[1] if i == 14 else KINDS[i % 3] if i < 13 else None])
    return pd.DataFrame(rows, columns=["condition", "file", "category"])


@pytest.fixture(scope="module")
def watched(pictures: pd.DataFrame) -> Watched:
    return Watched.of(model(), pictures)


@pytest.fixture(scope="module")
def seen(watched: Watched, pictures: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of all parts of the codes of the small network; RDMs of one of its layers were there."""
    rdms = model_rdms(model(layers="1"), pictures, "correlation", device="cpu").rdms
    fits = pd.DataFrame(
        list(product((1, 2), ("EVC", "IT"), ("net", "other"), LAYERS)),
        columns=["subject", "region", "model", "layer"],
    ).replace({"model": {"net": watched.model.label}})
    fits["score"] = 0.1 * fits["subject"] + (fits["model"] == "other")
    asked = {"preferred": None, "fields": None, "filters": False, "channels": None, "chosen": [{"layers": "1", "n": 1}]}
    settings = UnitSettings.model_validate({**asked, "codes": {"permutations": 99, "n_neighbours": 2}})
    folder = tmp_path_factory.mktemp("seen")
    for part, found in looked_at(Look(watched, settings, Beside(pictures, rdms, fits=fits))):
        save_found(folder, part, found)
    return folder


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.tsv", sep="\t", dtype=dict.fromkeys(("layer", "condition", "neighbour"), str))


def rdms_of(patterns: list[np.ndarray], metric: str = "euclidean") -> RDMs:
    names = [f"c{i}" for i in range(len(patterns[0]))]
    rows = pd.DataFrame({"model": "net", "layer": [f"layer{i}" for i in range(len(patterns))]})
    return RDMs(np.stack([pdist(one, metric) for one in patterns]), names, rows, metric)


def who(rdms: RDMs, categories: list[str] | None = None) -> Coded:
    n = len(rdms.conditions)
    return Coded(rdms.conditions, np.arange(n), None if categories is None else np.array(categories, dtype=str))


# --------------------------------------------------------------------------------------------- neighbours


def test_neighbours_are_the_nearest_and_ties_go_by_order(rng: np.random.Generator) -> None:
    places = rng.integers(0, 3, (12, 2)).astype(float)  # many equal distances
    rdms = rdms_of([places, rng.standard_normal((12, 4))])
    kinds = [*"aaabbbbcc", "", "", "d"]
    found = neighbours(rdms, who(rdms, kinds), Codes(n_neighbours=4))
    shares = found.tables["neighbours_categories"].rows.set_index("layer")
    for layer, values in zip(rdms.table["layer"], rdms.values, strict=True):
        square, own = squareform(values), found.tables["neighbours"].rows.query(f"layer == '{layer}'")
        same, chances, most = [], [], []
        for i, name in enumerate(rdms.conditions):
            nearest = oracles.nearest(square, i)[:4]
            assert own.query(f"condition == '{name}'")["neighbour"].tolist() == [f"c{j}" for j in nearest]
            np.testing.assert_array_equal(own.query(f"condition == '{name}'")["distance"], square[i, nearest])
            if kinds[i]:
                same += [kinds[j] == kinds[i] for j in nearest]
                alike = [kinds[j] == kinds[i] for j in range(12) if j != i]
                chances += alike
                most.append(min(1, sum(alike) / 4))
        assert shares.loc[layer, "share"] == pytest.approx(np.mean(same))
        assert shares.loc[layer, "chance"] == pytest.approx(np.mean(chances))
        assert shares.loc[layer, "most"] == pytest.approx(np.mean(most))


def test_more_neighbours_than_there_are_others_are_cut(rng: np.random.Generator, caplog: Any) -> None:
    rdms = rdms_of([rng.standard_normal((3, 4))])
    with caplog.at_level(logging.INFO):
        found = neighbours(rdms, who(rdms), Codes(n_neighbours=9))
    assert found.tables["neighbours"].rows["rank"].tolist() == [1, 2] * 3
    assert "3 conditions have 2 neighbours, fewer than the 9 asked for" in caplog.text


def test_a_layer_with_undefined_distances_is_left_out(rng: np.random.Generator, caplog: Any) -> None:
    rdms = rdms_of([rng.standard_normal((6, 4))] * 3)
    rdms.values[1, 3] = np.nan
    assert set(neighbours(rdms, who(rdms), Codes()).tables["neighbours"].rows["layer"]) == {"layer0", "layer2"}
    found = embeddings(rdms, who(rdms), Codes())
    assert found is not None
    assert set(found.tables["embeddings"].rows["layer"]) == {"layer0", "layer2"}
    assert "Layer 'layer1': some distances are undefined" in caplog.text


# --------------------------------------------------------------------------------------- two dimensions


def test_flat_patterns_are_mapped_as_they_are_and_turned_alike(rng: np.random.Generator) -> None:
    """Distances in a plane come out exactly; the same places, turned and mirrored, come out at the same places."""
    flat = np.repeat([[0.0, 0.0], [30.0, 5.0]], 10, axis=0) + rng.standard_normal((20, 2))
    turn = np.array([[0.6, 0.8], [0.8, -0.6]])
    rdms = rdms_of([flat, flat @ turn, np.zeros((20, 2))])
    found = embeddings(rdms, who(rdms), Codes())
    again = embeddings(rdms, who(rdms), Codes())
    assert found is not None
    assert again is not None
    rows = found.tables["embeddings"].rows
    pd.testing.assert_frame_equal(rows, again.tables["embeddings"].rows)
    assert set(rows["layer"]) == {"layer0", "layer1"}  # of equal patterns there is no map
    of_mds = {name: own[["x", "y"]].to_numpy() for name, own in rows.query("method == 'mds'").groupby("layer")}
    np.testing.assert_allclose(pdist(of_mds["layer0"]), rdms.values[0], rtol=1e-3, atol=0.02)
    np.testing.assert_allclose(of_mds["layer1"], of_mds["layer0"], atol=0.05)
    assert of_mds["layer0"].std(axis=0)[0] > of_mds["layer0"].std(axis=0)[1]
    assert rows.query("method == 'mds'")["misfit"].max() < 0.001
    for _, own in rows.query("method == 'tsne'").groupby("layer"):
        apart = squareform(pdist(own[["x", "y"]]))
        assert (np.array([oracles.nearest(apart, i)[0] for i in range(20)]) // 10 == np.arange(20) // 10).all()


def test_stress_is_that_of_kruskal() -> None:
    """Four corners of a square, drawn on a line at 0, 1, 2 and 3."""
    square = squareform(pdist([[0, 0], [0, 1], [1, 1], [1, 0]]))
    on_line = np.array([[0.0, 0], [1, 0], [2, 0], [3, 0]])
    wrong = [(1 - 1), (2**0.5 - 2), (1 - 3), (1 - 1), (2**0.5 - 2), (1 - 1)]
    assert stress(square, on_line) == pytest.approx((sum(w**2 for w in wrong) / (1 + 4 + 9 + 1 + 4 + 1)) ** 0.5)


def test_three_conditions_have_no_map(rng: np.random.Generator, caplog: Any) -> None:
    rdms = rdms_of([rng.standard_normal((3, 4))])
    with caplog.at_level(logging.INFO):
        assert embeddings(rdms, who(rdms), Codes()) is None
    assert "A map of the pictures needs 4 to 2000 conditions, and there are 3" in caplog.text


# ------------------------------------------------------------------------------------------------ read-out


@pytest.mark.parametrize("sizes", [(12, 12), (12, 5, 30), (3, 2, 4, 2)])
def test_products_read_out_what_whole_patterns_do(sizes: tuple[int, ...], rng: np.random.Generator) -> None:
    numbers = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    patterns = 5 + rng.standard_normal((len(numbers), 3000)) + 0.1 * rng.standard_normal((len(sizes), 3000))[numbers]
    design = design_of(np.array([f"kind {i}" for i in numbers]), 5, seed=1)
    assert design is not None
    kernel = kernel_of(cross_products([patterns], "feature"), design.places)
    read = predictions(kernel, design, np.arange(len(numbers))[None])
    want = oracles.read_out(patterns, design.numbers, design.folds)
    np.testing.assert_array_equal(read[0], want)
    recalls = [np.mean(want[design.numbers == k] == k) for k in range(len(sizes))]
    assert accuracy(read, design)[0] == pytest.approx(np.mean(recalls))


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize(
    ("sizes", "n_shared"),
    [((5, 5, 5, 5), 5), ((12, 12), 1), ((18, 7, 6), 5), ((9, 9, 10), 5), ((12, 5, 9, 7), 0)],
)
def test_orders_that_share_an_inverse_are_read_out_as_each_is(
    sizes: tuple[int, ...], n_shared: int, twice: bool, rng: np.random.Generator
) -> None:
    """Equal, unequal and nearly equal categories; all patterns different, or each pattern twice."""
    n = sum(sizes)
    design = design_of(np.repeat([f"kind {i}" for i in range(len(sizes))], sizes), 5, seed=1)
    assert design is not None
    patterns = rng.standard_normal((n, 12)) * np.arange(12, 0, -1)
    if twice:
        patterns = np.repeat(patterns[::2], 2, axis=0)[:n]
    kernel = kernel_of(cross_products([patterns], "feature"), design.places)
    orders = np.stack([rng.permutation(n) for _ in range(60)])
    assert sum(_Fold.of(design, fold, 1, len(orders)).is_shared for fold in range(5)) == n_shared
    read = predictions(kernel, design, orders)
    for own, order in zip(read[:12], orders, strict=False):
        np.testing.assert_array_equal(own, oracles.read_out(patterns[order], design.numbers, design.folds))
    alone = [predictions(kernel, design, order[None])[0] for order in orders]  # one order shares nothing
    np.testing.assert_array_equal(read, alone)


def test_folds_hold_all_categories_alike_and_small_ones_are_left_out(caplog: Any) -> None:
    kinds = np.array([*"aaaaabbb", "", "c", "d", "d", "d"])
    with caplog.at_level(logging.INFO):
        design = design_of(kinds, 5, seed=0)
    assert design is not None
    assert [list(design.names), design.n_folds, design.chance] == [["a", "b", "d"], 3, pytest.approx(1 / 3)]
    assert design.places.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12]
    for name in (1, 2):
        assert sorted(design.folds[design.numbers == name]) == [0, 1, 2]
    assert sorted(np.bincount(design.folds[design.numbers == 0])) == [1, 2, 2]
    for line in (
        "without a category, which are not read out: 1",
        "than 2 conditions are not read out: 'c'",
        "has 3 folds",
    ):
        assert line in caplog.text


def test_one_category_is_not_read_out(caplog: Any) -> None:
    with caplog.at_level(logging.INFO):
        assert design_of(np.array(["a", "a", "b", ""]), 5, seed=0) is None
    assert "There are fewer than two categories of at least 2 conditions: nothing is read out" in caplog.text


def products_of(patterns: list[np.ndarray]) -> list[tuple[str, Any]]:
    return [(f"layer{i}", cross_products([one], "feature")) for i, one in enumerate(patterns)]


def test_p_values_count_the_true_order_and_are_corrected_for_layers(rng: np.random.Generator) -> None:
    kinds = np.repeat(["a", "b", "c"], 8)
    planted = rng.standard_normal((24, 50)) + 3 * np.repeat(rng.standard_normal((3, 50)), 8, axis=0)
    design = design_of(kinds, 4, seed=0)
    assert design is not None
    patterns = [planted, rng.standard_normal((24, 50)), np.ones((24, 50))]
    found = readout(products_of(patterns), 3, design, Codes(permutations=49))
    rows = found.tables["readout"].rows
    assert rows["accuracy"].tolist()[::2] == [1, pytest.approx(1 / 3)]
    assert rows["p"].tolist()[::2] == [1 / 50, 1]
    assert rows["p_corrected"][0] == 1 / 50
    assert (rows["p_corrected"] >= rows["p"]).all()
    pairs = found.tables["readout_pairs"].rows
    assert pairs[["category_a", "category_b"]].head(3).to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert pairs["accuracy"].tolist()[:3] == [1, 1, 1]
    own = np.flatnonzero(design.numbers != 1)
    want = oracles.read_out(patterns[1][own], design.numbers[own] // 2, design.folds[own], patterns[1])
    assert pairs["accuracy"][4] == np.mean([np.mean(want[design.numbers[own] // 2 == k] == k) for k in (0, 1)])
    right = want == design.numbers[own] // 2
    assert pairs["n_right"].tolist()[:5:4] == [16, right.sum()]
    untested = readout(products_of(patterns[:1]), 1, design, Codes(permutations=0)).tables["readout"].rows
    assert untested[["p", "p_corrected"]].isna().to_numpy().all()


N_STUDIES = 60
MOST = int(binom.ppf(0.99999, N_STUDIES, 0.05))


@pytest.mark.parametrize("sizes", [(6, 6), (12, 4, 3)])
def test_noise_is_read_out_at_chance(sizes: tuple[int, ...], rng: np.random.Generator) -> None:
    kinds = np.repeat([f"kind {k}" for k in range(len(sizes))], sizes)
    design = design_of(kinds, 5, seed=0)
    assert design is not None
    noise = [rng.standard_normal((len(kinds), 40)) for _ in range(N_STUDIES)]
    rows = readout(products_of(noise), N_STUDIES, design, Codes(permutations=39)).tables["readout"].rows
    assert (rows["p"] <= 0.05).sum() <= MOST
    spread_of_mean = rows["accuracy"].std() / N_STUDIES**0.5
    assert rows["accuracy"].mean() <= design.chance + 4 * spread_of_mean
    assert rows["p"].mean() > 0.4


# ------------------------------------------------------------------------------------------- whole networks


def test_given_rdms_are_brought_into_the_order_of_the_pictures(
    watched: Watched, pictures: pd.DataFrame, tmp_path: Path
) -> None:
    rdms = model_rdms(model(), pictures, "euclidean", device="cpu").rdms
    path = tmp_path / "rdms.h5"
    io.save(path, rdms.reordered(rdms.conditions[::-1]))
    found = rdms_of_layers(path, watched, "euclidean")
    assert list(found.conditions) == list(watched.pictures.conditions)
    np.testing.assert_array_equal(found.values, rdms.values)
    with pytest.raises(UserError, match="are of the distance 'euclidean', and 'correlation' is asked for"):
        rdms_of_layers(path, watched, "correlation")
    io.save(path, replace(rdms, table=rdms.table.assign(model="other")))
    with pytest.raises(UserError, match=f"has RDMs of 'other', and not of {watched.model.label} alone"):
        rdms_of_layers(path, watched, "euclidean")


def test_one_network_is_watched_and_measured(
    pictures: pd.DataFrame, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RDMs are those of a network that was loaded for them, bit by bit; then channels lie last in memory as before."""
    expected = model_rdms(model(), pictures, "correlation", device="cpu").rdms.values
    before = watched.network.module[0].weight.clone()
    monkeypatch.setattr(Python, "load", lambda _: pytest.fail("it is loaded again"))
    asked = {"preferred": None, "codes": {"permutations": 1}}
    look = Look(watched, UnitSettings.model_validate(asked), Beside(pictures))
    np.testing.assert_array_equal(look.code_rdms.values, expected)
    assert PARTS["readout"](look) is not None
    with watched.as_loaded() as network:
        assert network.module[0].weight.is_contiguous()
        assert not network.channels_last
    after = watched.network.module[0].weight
    assert after.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(after, before)


@pytest.mark.parametrize("memory_mb", [None, 1])
def test_products_of_layers_are_those_of_their_rdms(pictures: pd.DataFrame, watched: Watched, memory_mb: Any) -> None:
    run = Run(model(), watched.pictures, watched.settings)
    found = dict(layer_products(run, "feature", memory_mb))
    assert list(found) == list(LAYERS)
    rdms = model_rdms(model(), pictures, "sqeuclidean", device="cpu").rdms
    for values, layer in zip(rdms.values, LAYERS, strict=True):
        np.testing.assert_allclose(DISTANCES["sqeuclidean"].from_products(found[layer]), values, rtol=1e-9)


def test_a_network_is_looked_at(seen: Path) -> None:
    assert list(dict.fromkeys(table(seen, "neighbours")["layer"])) == list(LAYERS)
    near, read = table(seen, "neighbours_categories"), table(seen, "readout")
    assert near["n_conditions"].tolist() == [13] * 3
    assert near["share"][0] > near["chance"][0]
    assert read["n_folds"].tolist() == [4] * 3
    assert read["accuracy"][0] > 0.9  # a tint is all that a first layer needs
    assert read["p"][0] == 1 / 100
    assert len(table(seen, "readout_pairs")) == 3 * 3
    fits = table(seen, "readout_fits")
    assert fits["score"].tolist() == [pytest.approx(0.15)] * 6
    assert fits["n_subjects"].tolist() == [2] * 6


def test_figures_show_pictures_neighbours_maps_and_accuracies(seen: Path, tmp_path: Path) -> None:
    made = {path.stem: caption_of(path) for path in unit_figures(seen, tmp_path)}
    for part in ("neighbours", "embeddings"):
        assert {f"{part}_{number}_{layer}" for number, layer in enumerate(LAYERS, 1)} <= set(made)
    assert "12 of 14 conditions, spread evenly over the categories" in made["neighbours_1_1"]
    assert "The colour of a frame is the category" in made["embeddings_3_5"]
    assert "13 conditions" in made["readout"]
    assert "Right: how like the RDM of the layer is to that of each region" in made["readout"]


def test_without_categories_there_are_figures_without_frames(seen: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures.npz").write_bytes((seen / "pictures.npz").read_bytes())
    for name in ("neighbours", "embeddings"):
        table(seen, name).query("layer == '1'").to_csv(tmp_path / f"{name}.tsv", sep="\t", index=False)
        arrays = dict(np.load(seen / f"{name}.npz"))
        np.savez(tmp_path / f"{name}.npz", **{key: arrays[key] for key in ("conditions", "pictures")})
    made = {path.stem: caption_of(path) for path in unit_figures(tmp_path, tmp_path / "figures")}
    assert len(made) == 2
    assert not any("frame" in caption for caption in made.values())
    assert "12 of 14 conditions, evenly spread" in made["neighbours_1_1"]


def test_of_many_categories_the_largest_have_a_colour() -> None:
    kinds = np.array([*"aabbccddeeffgg", "h", "h", "h", ""])
    (*named, others), colours = _colours({"categories": kinds}), _colours({"categories": kinds})
    assert others == OTHERS
    assert set(named) == {*"abcdeh"}
    assert len(set(colours.values())) == 7
    assert list(_colours({"categories": kinds[:14]})) == [*"abcdefg"]
    assert _colours({}) == {}


def test_pages_show_shares_and_link_all_tables(seen: Path, tmp_path: Path) -> None:
    sections = {
        one.heading: one for one in unit_sections(seen, tmp_path, lambda *paths: [Link(p.name, "") for p in paths])
    }
    near, maps, read = (sections[HEADINGS[part]] for part in ("neighbours", "embeddings", "readout"))
    assert near.table is not None
    assert list(near.table["layer"].astype(str)) == list(LAYERS)
    assert near.columns["share"].startswith("Share of the nearest neighbours")
    assert maps.table is None
    assert [link.text for link in near.files] == ["neighbours.tsv", "neighbours_categories.tsv"]
    assert [link.text for link in read.files] == ["readout.tsv", "readout_fits.tsv", "readout_pairs.tsv"]


def test_what_is_shown_is_spread_over_layers_and_categories() -> None:
    assert few_of(list("abcd")) == ["a", "b", "d"]
    kinds = np.array(list("abab" * 12))
    assert sorted(kinds[shown_conditions(kinds, 48)]) == ["a"] * 6 + ["b"] * 6
    assert shown_conditions(None, 5).tolist() == [0, 1, 2, 3, 4]


def test_squeezenet_tells_faces_of_monkeys_from_those_of_people_in_its_last_layer(data: Path) -> None:
    """The first layer does so less well: 24 of the photographs of Kriegeskorte et al. (2008)."""
    rows = pd.read_csv(data / "kriegeskorte92" / "conditions.tsv", sep="\t")
    rows = rows[rows["category"].isin(["human face", "nonhuman face", "artificial inanimate"])]
    rows = rows.groupby("category").head(8).reset_index(drop=True)
    files = [str(data / "kriegeskorte92" / "stimuli" / file) for file in rows["file"]]
    images = pd.DataFrame({"condition": rows["index"].astype(str), "file": files, "category": rows["category"]})
    settings: dict[str, Any] = {"architecture": "squeezenet1_1", "preprocess_as": "IMAGENET1K_V1"}
    weights = str(data / "weights" / "squeezenet1_1.pth")
    squeezenet = Torchvision.model_validate({**settings, "weights": weights, "layers": ["features.1", "classifier"]})
    watched = Watched.of(squeezenet, images)
    design = design_of(coded(watched, images, Codes()).categories, 4, seed=0)
    assert design is not None
    layers = layer_products(Run(squeezenet, watched.pictures, watched.settings))
    first, last = readout(layers, 2, design, Codes(permutations=99)).tables["readout"].rows["accuracy"]
    assert last > 0.95
    assert first < 0.9


# ------------------------------------------------------------------------------------------------ mistakes


def test_a_named_column_has_to_be_there_and_the_default_need_not(watched: Watched, pictures: pd.DataFrame) -> None:
    bare = pictures[["condition", "file"]]
    assert problems_of_codes(Codes(), bare) == []
    assert coded(watched, bare, Codes()).categories is None
    missing = Codes.model_validate({"categories": "kind"})
    with pytest.raises(UserError, match=r"`units.codes.categories` is 'kind', and the stimuli have no such column; .*"):
        coded(watched, pictures, missing)
    assert "they have 'category'" in problems_of_codes(missing, pictures)[0]
    torn = pictures.assign(category=[*pictures["category"][:14], "blue"])  # 001 is green and blue
    assert "'001' have several in the column 'category'" in problems_of_codes(Codes(), torn)[0]


def test_layers_have_to_be_of_a_network() -> None:
    assert problems_of_layers("default", [model()]) == []
    assert problems_of_layers(("1", "[35]"), [model()]) == []
    (line,) = problems_of_layers(("1", "conv9"), [model()])
    assert "called 'conv9' and has one output" in line


def test_fits_of_other_networks_are_not_shown() -> None:
    fits = pd.DataFrame({"subject": ["1"], "region": ["IT"], "model": ["other"], "layer": ["1"], "score": [0.1]})
    assert fits_of_layers(fits, "net", LAYERS) is None


def test_subjects_without_a_score_do_not_count_among_those_of_a_fit() -> None:
    labels = {"subject": ["1", "2"], "region": "IT", "model": "net", "layer": LAYERS[0]}
    found = fits_of_layers(pd.DataFrame({**labels, "score": [0.1, np.nan]}), "net", LAYERS)
    assert found is not None
    assert found.rows[["score", "n_subjects"]].to_numpy().tolist() == [[0.1, 1]]
