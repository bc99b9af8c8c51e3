"""Which channels carry the fit of a layer: scores equal slow ones, and the best channels are scored fairly."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from networks import small_network
from PIL import Image
from scipy.spatial.distance import squareform
from scipy.stats import binom

from rsa.comparisons import COMPARISONS, compare_vectors
from rsa.core import RDMs
from rsa.distances import DISTANCES, rdm_vectors
from rsa.errors import UserError
from rsa.inference.channels import (
    Compared,
    best_channels,
    best_in_orders,
    best_rows,
    channel_rows,
    corrected_p,
    own_scores,
    p_of_orders,
    rdm_of_channel,
    scores_on_halves,
    scores_without,
    without_gaps,
)
from rsa.inference.ranking import halves_of
from rsa.inputs.regions import Regions, known_names
from rsa.models import Torchvision
from rsa.models.python import Python
from rsa.report.style import caption_of
from rsa.report.units.channels import _drawn_regions, channel_figures
from rsa.report.units.draw import unit_figures
from rsa.report.units.folder import UnitsFolder
from rsa.units.channels import _fitting, best_layer, channel_fits, condition_maps
from rsa.units.found import load_arrays, save_found
from rsa.units.look import Beside, Look, looked_at
from rsa.units.settings import Channels, UnitSettings
from rsa.units.watched import Watched

EUCLIDEAN, CORRELATION = DISTANCES["euclidean"], DISTANCES["correlation"]


def region_rdms(values: np.ndarray, n_conditions: int, regions: tuple[str, ...] = ("V1",)) -> RDMs:
    subjects = len(values) // len(regions)
    table = pd.DataFrame(
        {
            "subject": [f"{i + 1:02}" for i in range(subjects)] * len(regions),
            "region": np.repeat(regions, subjects),
        }
    )
    return RDMs(values, [f"c{i}" for i in range(n_conditions)], table, "correlation")


def compared_with(values: np.ndarray, n_conditions: int, n_splits: int = 0) -> Compared:
    halves = halves_of(n_conditions, n_splits, 0) if n_splits else np.zeros((0, n_conditions), dtype=bool)
    return Compared(region_rdms(values, n_conditions), COMPARISONS["spearman"], halves, 99 if n_splits else 0)


def noise(rng: np.random.Generator, n: int, n_channels: int, n_places: int) -> np.ndarray:
    return np.maximum(rng.normal(size=(n, n_channels, n_places)), 0).astype(np.float32)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("offset", "n_places"), [(0, 5), (50, 5), (0, 1)])
def test_channels_alone_and_left_out_are_those_of_the_slow_way(
    rng: np.random.Generator, distance: str, offset: float, n_places: int
) -> None:
    responses = noise(rng, 9, 6, n_places) + np.float32(offset)
    responses[:, 2] *= 3
    regions = rng.random((4, 36))
    found = compared_with(regions, 9)
    own = own_scores(responses, found, DISTANCES[distance]).on_all
    whole, without = scores_without(responses, found, DISTANCES[distance])
    slow = oracles.channel_scores(responses, regions, distance)
    for fast, expected in zip((own, whole, without), slow, strict=True):
        np.testing.assert_allclose(fast, expected, atol=1e-10)


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_channel_that_outweighs_all_others_is_left_out_without_losing_digits(
    rng: np.random.Generator, distance: str
) -> None:
    responses = noise(rng, 9, 6, 5) + np.float32(0.1)
    responses[:, 4] *= np.float32(1e8)
    regions = rng.random((2, 36))
    _, without = scores_without(responses, compared_with(regions, 9), DISTANCES[distance])
    np.testing.assert_allclose(without, oracles.channel_scores(responses, regions, distance)[2], atol=1e-10)


def test_a_channel_that_answers_to_one_condition_alone_has_a_score_and_a_dead_one_none(
    rng: np.random.Generator,
) -> None:
    responses = rng.normal(size=(9, 4, 5)).astype(np.float32)
    responses[:, 1], responses[1:, 2], responses[3, 3] = 0, 0, 0
    compared = compared_with(rng.random((2, 36)), 9, 2)
    scores = own_scores(responses, compared, CORRELATION)
    own, of_halves = scores.on_all, scores.on_halves
    assert np.isnan(own).tolist() == [[False, True, False, False]] * 2
    assert np.isnan(of_halves[:, :, 1]).all()
    assert np.isnan(of_halves[:, 0, 2]).tolist() == (~compared.halves[:, 0]).tolist(), (
        "silent in one half of each split"
    )
    assert rdm_of_channel(responses[:, 2], CORRELATION).tolist() == [1] * 8 + [0] * 28
    best = best_channels(responses, compared, "V1", scores, CORRELATION, 10)
    assert sorted(best.best) == [0, 2, 3], "a dead channel is none of the best"
    assert np.isnan(scores_without(responses[:, :1], compared, CORRELATION)[1]).all(), "no other channel is left"


def test_conditions_in_which_the_best_channels_are_silent_are_equal(rng: np.random.Generator) -> None:
    responses, regions = noise(rng, 9, 3, 5) + np.float32(0.1), rng.random((2, 36))
    responses[[4, 6]] = 0
    compared = compared_with(regions, 9)
    best = best_channels(responses, compared, "V1", own_scores(responses, compared, CORRELATION), CORRELATION, 3)
    expected = compared.scores(oracles.rdm_of_channel(responses.reshape(9, -1), "correlation")[None])[:, 0]
    np.testing.assert_allclose(best.naive, expected, atol=1e-12)


@pytest.mark.parametrize("distance", ["correlation", "euclidean", "cosine"])
@pytest.mark.parametrize("n_places", [1, 4])
def test_the_best_in_other_orders_are_those_of_the_slow_way(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, distance: str, n_places: int
) -> None:
    monkeypatch.setattr("rsa.inference.channels.MOST_SUMMED", 10_000 if n_places == 1 else 0)
    responses = rng.normal(size=(13, 7, n_places)).astype(np.float32)
    responses[:, 3], responses[rng.random((13, 7)) < 0.15] = 0, 0  # a dead channel, and some that are silent
    compared = replace(compared_with(rng.random((3, 78)), 13, 3), n_permutations=12)
    found = best_in_orders(responses, compared, DISTANCES[distance], 3)["V1"]
    given = compared.regions.values, compared.halves, compared.tested
    np.testing.assert_allclose(found, oracles.best_in_orders(responses, *given, distance, 3), atol=1e-6)
    assert found.shape == (13,)


def test_scores_of_a_layer_on_halves_are_those_of_its_rdm_on_them(rng: np.random.Generator) -> None:
    responses, values = noise(rng, 9, 4, 3), rng.random((2, 36))
    compared = compared_with(values, 9, 2)
    of_halves = []
    for half in compared.halves:
        of_half = compared_with(
            np.stack([squareform(squareform(row)[np.ix_(half, half)]) for row in values]), half.sum()
        )
        of_halves.append(of_half.scores(rdm_vectors(responses[half].reshape(half.sum(), -1), CORRELATION)[None])[:, 0])
    found = scores_on_halves(responses, compared, CORRELATION)
    np.testing.assert_allclose(found, np.mean(of_halves, axis=0), atol=1e-12)


def test_p_of_the_best_holds_over_layers() -> None:
    one, other = np.array([0.5, 0.1, 0.6, 0.2]), np.array([0.1, 0.7, 0.2, 0.3])
    assert p_of_orders(one) == 2 / 4
    assert p_of_orders(one, np.maximum(one, other)) == 3 / 4
    assert np.isnan(p_of_orders(None))
    assert np.isnan(p_of_orders(np.array([np.nan, 0.1])))


def test_the_best_of_noise_fit_other_conditions_no_better_than_chance(rng: np.random.Generator) -> None:
    """64 channels of noise, 40 studies: the naive score is far above 0, the one held out is not."""
    naive, held_out, p = [], [], []
    for _ in range(40):
        responses = noise(rng, 16, 64, 1)
        compared = compared_with(rng.random((3, 120)), 16, 2)
        own = own_scores(responses, compared, EUCLIDEAN)
        best = best_channels(responses, compared, "V1", own, EUCLIDEAN, 8)
        naive.append(best.naive.mean())
        held_out.append(best.held_out.mean())
        p.append(p_of_orders(best_in_orders(responses, replace(compared, n_permutations=39), EUCLIDEAN, 8)["V1"]))
    error = np.std(held_out, ddof=1) / np.sqrt(40)
    assert abs(np.mean(held_out)) < 3 * error < 0.06
    assert np.mean(naive) > 0.1
    assert (np.array(p) <= 0.05).sum() <= binom.ppf(0.99999, 40, 0.05)
    assert 0.25 < np.mean(p) < 0.75


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, Compared]:
    """Return 64 channels, of which the first 4 make the RDMs of 6 subjects, with noise."""
    rng = np.random.default_rng(7)
    responses = noise(rng, 60, 64, 4)
    rdm = rdm_vectors(responses[:, :4].reshape(60, -1), EUCLIDEAN)
    return responses, compared_with(rdm + rdm.std() * rng.normal(size=(6, len(rdm))), 60, 5)


def test_planted_channels_are_found_and_fit_other_conditions(planted: tuple[np.ndarray, Compared]) -> None:
    responses, compared = planted
    own = own_scores(responses, compared, EUCLIDEAN)
    best = best_channels(responses, compared, "V1", own, EUCLIDEAN, 4)
    assert sorted(best.best) == [0, 1, 2, 3]
    assert best.shared > 0.4
    assert best.held_out.mean() > 0.4 > 0.15 > best.at_random.mean()
    assert best.held_out.mean() < best.naive.mean()


def test_the_tables_say_what_was_found(planted: tuple[np.ndarray, Compared]) -> None:
    responses, compared = planted
    own = own_scores(responses, compared, EUCLIDEAN)
    whole, without = scores_without(responses, compared, EUCLIDEAN)
    table = channel_rows("conv", compared, own, whole, without)
    assert table["unit"].tolist() == list(range(64))
    np.testing.assert_allclose(table["own_score"], own.on_all.mean(axis=0))
    np.testing.assert_allclose(table["loss"], (whole[:, None] - without).mean(axis=0))
    first = table[table["rank"] <= 4]
    assert set(first["unit"]) == set(range(4))
    assert (first["own_lower"] < first["own_score"]).all()
    assert (first["p_corrected"] < 0.05).all()
    assert first["loss"].min() > table["loss"][4:].mean()
    best = {"V1": best_channels(responses, compared, "V1", own, EUCLIDEAN, 4)}
    on_halves = scores_on_halves(responses, compared, EUCLIDEAN)
    in_orders = best_in_orders(responses, compared, EUCLIDEAN, 4)
    (row,) = best_rows("conv", compared, 64, whole, on_halves, best, in_orders).to_dict("records")
    assert (row["n_channels"], row["n_best"], row["n_subjects"], row["n_conditions"]) == (64, 4, 6, 60)
    assert row["best_lower"] < row["score_best"] < row["best_upper"]
    assert row["best"].split() == [str(channel) for channel in best["V1"].best]
    assert row["p"] == 1 / 100
    np.testing.assert_allclose(row["less_layer"], row["score_best"] - row["score_layer_halves"])
    np.testing.assert_allclose(row["less_random"], row["score_best"] - row["score_random"])
    assert 0.1 < row["less_layer_lower"] < row["less_layer"] < row["less_layer_upper"]
    assert abs(row["score_layer_halves"] - row["score_layer"]) < 0.05


@pytest.mark.parametrize("comparison", ["spearman", "pearson", "rho_a", "cosine"])
def test_p_of_many_channels_counts_the_highest_of_each_order(rng: np.random.Generator, comparison: str) -> None:
    responses, values = noise(rng, 5, 6, 4), rng.random((6, 10))
    responses[:, 2] = 0
    regions, compare = region_rdms(values, 5, ("V1", "IT")), COMPARISONS[comparison]
    own = own_scores(responses, Compared(regions, compare, np.zeros((0, 5), dtype=bool), 1000), EUCLIDEAN)
    channels = [squareform(rdm_vectors(responses[:, c], EUCLIDEAN)) for c in range(6) if c != 2]
    means = np.array(
        [
            [compare_vectors(squareform(one[np.ix_(order, order)]), values[3:], compare).mean() for one in channels]
            for order in permutations(range(5))
        ]
    )  # (120, n_channels), the first as they are
    expected = (means.max(axis=1)[:, None] >= means[0] - 1e-12).mean(axis=0)
    found = corrected_p(own.on_all[3:].mean(axis=0), own.highest["IT"])
    assert np.isnan(found[2]), "a dead channel"
    np.testing.assert_allclose(np.delete(found, 2), expected)


def test_scores_that_are_no_products_have_no_p(rng: np.random.Generator) -> None:
    compare = replace(COMPARISONS["spearman"], scaled=None)
    compared = Compared(region_rdms(rng.random((3, 10)), 5), compare, np.zeros((0, 5), dtype=bool), 1000)
    own = own_scores(noise(rng, 5, 3, 4), compared, EUCLIDEAN)
    assert np.isnan(corrected_p(own.on_all.mean(axis=0), own.highest["V1"])).all()
    halved = replace(compared, halves=np.array([[True] * 3 + [False] * 2] * 2))
    assert best_in_orders(noise(rng, 5, 3, 4), halved, EUCLIDEAN, 2) == {}


def test_rdms_with_gaps_are_left_out(rng: np.random.Generator) -> None:
    values = rng.random((4, 36))
    values[1, 3], values[2] = np.nan, 1
    assert without_gaps(region_rdms(values, 9)).table["subject"].tolist() == ["01", "04"]


# ------------------------------------------------------------------------------------- through a network

N = 8


def of_pixels(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture.resize((32, 32)), dtype=np.float32).transpose(2, 0, 1) / 255)


def network() -> tuple[torch.nn.Module, Callable[[Image.Image], torch.Tensor]]:
    return small_network(), of_pixels


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Watch a network while 8 conditions of two pictures each pass."""
    folder, rng = tmp_path_factory.mktemp("channels"), np.random.default_rng(3)
    files = [folder / f"c{i}_{k}.png" for i in range(N) for k in range(2)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)
    images = pd.DataFrame({"condition": [file.stem[:2] for file in files], "file": [str(file) for file in files]})
    return Watched.of(Python.model_validate({"function": f"{__file__}:network", "layers": ["1", "5"]}), images)


@pytest.fixture(scope="module")
def regions() -> RDMs:
    return region_rdms(np.random.default_rng(4).random((6, N * (N - 1) // 2)), N, ("V1", "IT"))


def look_of(watched: Watched, regions: RDMs | None, **given: Any) -> Look:
    left_out = {"preferred": None, "fields": None, "filters": False, "codes": None}
    no_layers = RDMs(np.zeros((0, N * (N - 1) // 2)), watched.pictures.conditions, pd.DataFrame())
    asked = UnitSettings.model_validate({**left_out, **given})
    return Look(watched, asked, Beside(watched.pictures.images, no_layers, regions))


@pytest.fixture(scope="module")
def found(watched: Watched, regions: RDMs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Look, Path]:
    """Look at the channels of two layers, and save what is found."""
    look = look_of(watched, regions, chosen=[{"layers": "1", "like": "IT", "n": 2}], channels={"n_best": 3})
    folder = tmp_path_factory.mktemp("found")
    for part, one in looked_at(look):
        save_found(folder, part, one)
    return look, folder


def test_responses_are_means_over_the_pictures_of_a_condition(watched: Watched) -> None:
    inputs = torch.stack([watched.input_of(i) for i in range(2 * N)])
    with torch.no_grad():
        expected = small_network()[:2](inputs).reshape(N, 2, 8, -1).mean(dim=1)
    maps = dict(condition_maps(watched, ["1", "5"]))
    np.testing.assert_allclose(maps["1"], expected.numpy(), atol=1e-5)
    assert maps["5"].shape == (N, 5, 1)


def test_layers_that_are_larger_together_than_the_largest_pass_one_after_the_other() -> None:
    sizes = {"a": 3, "b": 6, "c": 2, "d": 4, "e": 1}
    assert list(_fitting(sizes)) == [["a"], ["b"], ["c", "d"], ["e"]]


def test_a_look_at_channels_compares_them_with_each_region(found: tuple[Look, Path], regions: RDMs) -> None:
    look, folder = found
    table, best = (pd.read_csv(folder / f"{name}.tsv", sep="\t") for name in ("channels", "channels_best"))
    maps = dict(condition_maps(look.watched, ["1"]))["1"]
    own, whole, without = oracles.channel_scores(maps, regions.values[3:], "correlation")
    of_it = table[(table["region"] == "IT") & (table["layer"].astype(str) == "1")].set_index("unit").sort_index()
    np.testing.assert_allclose(of_it["own_score"], own.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(of_it["loss"], (whole[:, None] - without).mean(axis=0), atol=1e-6)
    row = best[(best["region"] == "IT") & (best["layer"].astype(str) == "1")].iloc[0]
    np.testing.assert_allclose(row["score_layer"], whole.mean(), atol=1e-6)
    order = np.argsort(-own.mean(axis=0))
    assert row["best"].split() == [str(channel) for channel in order[:3]]
    units = pd.read_csv(folder / "units.tsv", sep="\t")
    assert units["unit"].tolist() == order[:2].tolist()
    assert set(units["why"]) == {"like IT"}
    assert len(table) == 2 * (8 + 5)
    assert (best["p_corrected"] >= best["p"]).all()
    assert best["p"].between(1 / 1001, 1).all()
    assert table["rank"].is_monotonic_increasing, "the page shows the first rows"


def test_the_pictures_that_drive_the_best_channels_are_kept_and_drawn(found: tuple[Look, Path]) -> None:
    look, folder = found
    driving = load_arrays(folder, "channels")["driving_0"]
    table = pd.read_csv(folder / "channels_best.tsv", sep="\t", dtype={"layer": str})
    layer = str(best_layer(table[table["region"] == "V1"]))
    highest = dict(condition_maps(look.watched, [layer]))[layer].max(axis=2)
    best = look.channel_fits[layer].best["V1"].best
    assert (driving // 2 == np.argsort(-highest[:, best], axis=0, kind="stable")[:6].T).all()
    assert (driving % 2 == 0).all(), "the first picture of each condition"
    drawn = {path.name: path for path in unit_figures(folder, folder / "figures")}
    assert {"channels.png", "channels_00_V1.png", "channels_01_IT.png"} <= set(drawn)
    assert "mean over 3 subjects" in caption_of(drawn["channels.png"])
    assert "scored on the other; filled where p < .05 by other orders" in caption_of(drawn["channels.png"])
    assert f"channels of layer {layer} that are most like V1" in caption_of(drawn["channels_00_V1.png"])


def test_of_many_regions_those_that_channels_fit_best_are_drawn(found: tuple[Look, Path], tmp_path: Path) -> None:
    folder = tmp_path / "many"
    copytree(found[1], folder)
    for name in ("channels", "channels_best"):
        table = pd.read_csv(folder / f"{name}.tsv", sep="\t")
        own = table[table["region"] == "V1"]
        score = "score_best" if name == "channels_best" else "own_score"
        many = [own.assign(**{"region": f"r{i}", score: own[score] + (i % 5) / 10}) for i in range(20)]
        pd.concat(many).to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    drawn = {path.name: path for path in channel_figures(UnitsFolder(folder), folder)}
    assert "The 6 of 20 regions that channels fit best" in caption_of(drawn["channels.png"])
    assert _drawn_regions(pd.read_csv(folder / "channels_best.tsv", sep="\t")) == ["r3", "r4", "r8", "r9", "r14", "r19"]


def test_nothing_is_compared_without_regions(watched: Watched, regions: RDMs) -> None:
    for without in (None, regions.subset([0, 0, 1])):  # none; two RDMs of a subject
        look = look_of(watched, without, chosen=[{"layers": "1"}])
        assert not look.channel_fits
        assert "channels" not in dict(looked_at(look))


def test_units_like_a_region_that_is_not_there_are_one_line_before_pictures_pass(
    watched: Watched, regions: RDMs
) -> None:
    chosen = [{"layers": "1", "like": "V4"}]
    with pytest.raises(UserError, match=r"^`like: V4` is no region .*; there are 'V1', 'IT'\.$"):
        next(looked_at(look_of(watched, regions, chosen=chosen)))
    with pytest.raises(UserError, match="there are none with one RDM of each subject"):
        next(looked_at(look_of(watched, None, chosen=chosen)))


def test_names_of_regions_are_known_before_anything_runs_where_settings_name_them() -> None:
    assert known_names(Regions(spheres={"V1": [0, 0, 0]})) == ["V1"]
    assert known_names(Regions(atlas="atlas.nii.gz", keep=("a", "b"))) == ["a", "b"]
    assert known_names(Regions(atlas="atlas.nii.gz")) is None


def test_channels_of_squeezenet_that_are_like_regions_of_the_brain(data: Path) -> None:
    """15 subjects, 92 photographs: the fit of the layer is that of the study; 8 channels of it are as like EVC."""
    stimuli, rdms = sorted((data / "cichy92" / "stimuli").glob("*.jpg")), np.load(data / "cichy92" / "fmri_rdms.npz")
    images = pd.DataFrame({"condition": [file.stem for file in stimuli], "file": [str(file) for file in stimuli]})
    pairs = np.triu_indices(92, 1)
    brain = region_rdms(
        np.concatenate([rdms[name][:, *pairs] for name in ("EVC", "IT")]).astype(float), 92, ("EVC", "IT")
    )
    weights = str(data / "weights" / "squeezenet1_1.pth")
    model = Torchvision(architecture="squeezenet1_1", weights=weights, preprocess_as="IMAGENET1K_V1")
    of_pictures = RDMs(brain.values, images["condition"], brain.table, "correlation")
    asked = Channels(n_splits=2, permutations=200)
    fits = channel_fits(Watched.of(model, images), ["features.9"], of_pictures, asked)["features.9"]
    evc, it = (fits.compared.rows[name] for name in ("EVC", "IT"))
    assert fits.whole[evc].mean() == pytest.approx(0.147, abs=5e-4)
    assert fits.whole[it].mean() == pytest.approx(0.150, abs=5e-4)
    best = fits.best["EVC"]
    p = corrected_p(fits.own.on_all[evc].mean(axis=0), fits.own.highest["EVC"])
    assert p[best.best[0]] < 0.05
    assert best.held_out.mean() > best.at_random.mean() + 0.05
