"""RDMs of layers, made in memory, through a file, from what is kept, and after interruptions: always the same bits."""

import fcntl
import json
import logging
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from scipy.spatial.distance import pdist

from rsa import distances
from rsa.errors import UserError
from rsa.inputs.stimuli import read_image
from rsa.models import Torchvision, kept, layer_rdms, pictures
from rsa.models.extraction import extract
from rsa.models.kept import Gathered
from rsa.models.modules import TorchNetwork
from rsa.models.passing import Asked, PassSettings, pass_batches
from rsa.models.pictures import cropped_by
from rsa.models.source import Source


class Grid(Source):
    """Three layers on 8 x 8 pixels: two with space, and one without."""

    source: str = "grid"
    called: ClassVar[str] = "grid"
    weights_seed: int = 1
    fails_after: ClassVar[int] = 10**6

    def describe(self) -> pd.DataFrame:
        layers = {"layer": ["conv", "pool", "fc"], "shape": ["4x6x6", "4x3x3", "5"], "n_units": [144, 36, 5]}
        return pd.DataFrame({**layers, "type": "", "n_calls": 1, "default": True})

    def preprocessing(self) -> str:
        return "divide by 255"

    def about(self) -> str:
        return "a grid"

    def methods(self) -> list[str]:
        return ["The grid."]

    def load(self) -> TorchNetwork:
        with torch.random.fork_rng():
            torch.manual_seed(self.weights_seed)
            parts = {
                "conv": torch.nn.Conv2d(3, 4, 3),
                "relu": torch.nn.ReLU(inplace=True),
                "pool": torch.nn.MaxPool2d(2),
            }
            parts |= {"flat": torch.nn.Flatten(), "fc": torch.nn.Linear(36, 5)}
            network = torch.nn.Sequential()
            for name, part in parts.items():
                network.add_module(name, part)
        passed = []

        def count(module, inputs):
            passed.extend(inputs[0])
            if len(passed) > self.fails_after:
                raise KeyboardInterrupt

        network.register_forward_pre_hook(count)
        return TorchNetwork(
            network.eval().requires_grad_(False),
            lambda image: torch.from_numpy(np.array(image) / np.float32(255)).permute(2, 0, 1),
        )


@pytest.fixture
def images(tmp_path, rng) -> pd.DataFrame:
    """Return twenty pictures of eleven conditions, mixed."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    conditions = [f"c{i % 11}" for i in range(20)]
    return pd.DataFrame({"condition": conditions, "file": [str(folder / f"{i}.png") for i in range(20)]})


def by_hand(model: Grid, images: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the correlation distances of each layer, picture by picture."""
    network = model.load()
    rows: dict[str, dict[str, list[np.ndarray]]] = {layer: {} for layer in model.layer_names()}
    for condition, file in zip(images["condition"], images["file"], strict=True):
        with torch.inference_mode():
            network.answer(
                network.prepare(read_image(file))[None],
                list(rows),
                lambda layer, output, condition=condition: (
                    rows[layer].setdefault(condition, []).append(output.flatten().numpy().astype(np.float64))
                ),
            )
    return {
        layer: pdist([np.mean(each, axis=0) for each in of_layer.values()], "correlation")
        for layer, of_layer in rows.items()
    }


def through_a_file(model: Source, images: pd.DataFrame, folder: Path) -> np.ndarray:
    extract(model, images, folder / "a.h5", device="cpu", batch_size=4)
    return layer_rdms.layer_rdms(folder / "a.h5", "correlation").values


@pytest.mark.parametrize(
    ("room", "n_passes"), [(10**9, 1), (4 * 11 * 150, 2), (4 * 11 * 64, 3), (4 * 11 * 16, 12), (1, 13)]
)
@pytest.mark.parametrize("most_passes", [16, 0])
def test_rdms_are_the_same_in_one_pass_in_several_and_through_a_file(
    tmp_path, images, monkeypatch, caplog, room, n_passes, most_passes
):
    monkeypatch.setattr(layer_rdms, "room_bytes", lambda memory_mb, ahead: room)
    monkeypatch.setattr(layer_rdms, "MOST_PASSES", most_passes)
    for module in (distances, layer_rdms):
        monkeypatch.setattr(module, "BLOCK", 16)
    with caplog.at_level(logging.INFO, logger="rsa"):
        made = layer_rdms.model_rdms(Grid(), images, "correlation", device="cpu", batch_size=4, scratch=tmp_path / "s")
    assert made.rdms.values.tobytes() == through_a_file(Grid(), images, tmp_path).tobytes()
    assert list(made.rdms.table["layer"]) == ["conv", "pool", "fc"]
    assert list(made.rdms.table["n_units"]) == [144, 36, 5]
    assert caplog.text.count("responses of grid: 20 images") == (n_passes if most_passes else 0)
    assert caplog.text.count("activations of grid: 20 images") == 2 - bool(most_passes) - 1
    assert not list((tmp_path / "s").glob("*"))
    assert made.about["n_parameters"] == 3 * 4 * 9 + 4 + 36 * 5 + 5
    assert made.cost["forward_ms_per_picture"] > 0
    for layer, expected in by_hand(Grid(), images).items():
        row = list(made.rdms.table["layer"]).index(layer)
        np.testing.assert_allclose(made.rdms.values[row], expected, atol=1e-6)


def test_what_is_kept_is_not_made_again_and_what_is_changed_is(tmp_path, images, monkeypatch, caplog):
    def run(model: Grid) -> np.ndarray:
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="rsa"):
            return layer_rdms.model_rdms(
                model, images, "correlation", device="cpu", cache=tmp_path / "kept"
            ).rdms.values

    first = run(Grid(layers="pool"))
    assert len(list((tmp_path / "kept" / "rdms").glob("*.h5"))) == 1
    every = run(Grid())
    assert "1 layers are kept" in caplog.text
    assert every[1].tobytes() == first[0].tobytes()
    again = run(Grid(name="other"))
    assert "3 layers are kept" in caplog.text
    assert again.tobytes() == every.tobytes()
    by_first = [{"pool": "max", "[cp]*": "mean"}, {"[cp]*": "mean", "pool": "max"}]  # the first that fits counts
    for changed in (Grid(weights_seed=2), Grid(units="mean"), Grid(pca=2), *(Grid(units=units) for units in by_first)):
        run(changed)
        assert "are kept" not in caplog.text
    Image.fromarray(np.zeros((8, 8, 3), np.uint8) + 9).save(images["file"][3])
    run(Grid())
    assert "are kept" not in caplog.text
    monkeypatch.setattr(kept, "CODE", ("distances.py",))
    kept.program.cache_clear()
    run(Grid())
    assert "are kept" not in caplog.text
    kept.program.cache_clear()


def test_a_damaged_file_of_what_is_kept_is_made_anew(tmp_path, images, caplog):
    first = layer_rdms.model_rdms(Grid(), images, "correlation", device="cpu", cache=tmp_path / "kept").rdms
    for path in (tmp_path / "kept" / "rdms").glob("*.h5"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    with caplog.at_level(logging.WARNING, logger="rsa"):
        again = layer_rdms.model_rdms(Grid(), images, "correlation", device="cpu", cache=tmp_path / "kept").rdms
    assert caplog.text.count("is made anew") == 3
    assert again.values.tobytes() == first.values.tobytes()


@pytest.mark.parametrize("fails_after", [1, 7, 13, 19])
def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path, images, monkeypatch, caplog, fails_after):
    monkeypatch.setattr(layer_rdms, "MOST_PASSES", 0)
    monkeypatch.setattr("rsa.models.extraction.SECONDS_BETWEEN_NOTES", -1)

    def run(fails_after: int) -> np.ndarray:
        monkeypatch.setattr(Grid, "fails_after", fails_after)
        how = {"device": "cpu", "batch_size": 3, "cache": tmp_path / "kept"}
        return layer_rdms.model_rdms(Grid(), images, "correlation", **how).rdms.values

    with pytest.raises(KeyboardInterrupt):
        run(fails_after)
    notes = list((tmp_path / "kept" / "responses").glob("*.json"))
    n_done = json.loads(notes[0].read_text())["n_done"] if notes else 0
    assert n_done <= fails_after
    assert (fails_after < 8) or n_done > 0
    with caplog.at_level(logging.INFO, logger="rsa"):
        made = run(10**6)
    assert (f"goes on after {n_done} images" in caplog.text) == (n_done > 0)
    assert made.tobytes() == layer_rdms_whole(images, tmp_path).tobytes()
    assert not list((tmp_path / "kept" / "responses").glob("*"))


def _cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


@pytest.mark.parametrize(
    ("ending", "damage"),
    [
        ("h5", lambda path: _cut(path, 0)),
        ("h5", lambda path: _cut(path, 0.5)),
        ("json", lambda path: path.write_text("[]")),
        ("json", lambda path: path.write_text('{"n_done": 6}')),
    ],
)
def test_damaged_responses_of_an_interrupted_run_are_gathered_anew(
    tmp_path, images, monkeypatch, caplog, ending, damage
):
    monkeypatch.setattr(layer_rdms, "MOST_PASSES", 0)
    monkeypatch.setattr("rsa.models.extraction.SECONDS_BETWEEN_NOTES", -1)
    how = {"device": "cpu", "batch_size": 3, "cache": tmp_path / "kept"}
    monkeypatch.setattr(Grid, "fails_after", 13)
    with pytest.raises(KeyboardInterrupt):
        layer_rdms.model_rdms(Grid(), images, "correlation", **how)
    (path,) = (tmp_path / "kept" / "responses").glob(f"*.{ending}")
    damage(path)
    monkeypatch.setattr(Grid, "fails_after", 10**6)
    made = layer_rdms.model_rdms(Grid(), images, "correlation", **how).rdms.values
    assert caplog.text.count("Responses are gathered anew") == 1
    assert made.tobytes() == layer_rdms_whole(images, tmp_path).tobytes()


def test_responses_are_gathered_elsewhere_where_nothing_can_be_kept(tmp_path):
    (tmp_path / "responses").write_text("a file where a folder should be")
    with kept.gathering(tmp_path / "responses" / "a.h5", tmp_path / "scratch") as gathered:
        assert gathered.path.parents[1] == tmp_path / "scratch"


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01"])
def test_pixels_that_are_damaged_are_not_taken(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    assert pictures._kept_pixels(tmp_path / "a.npy", 3) is None


def layer_rdms_whole(images: pd.DataFrame, folder: Path) -> np.ndarray:
    extract(Grid(), images, folder / "whole.h5", device="cpu", batch_size=3)
    return layer_rdms.layer_rdms(folder / "whole.h5", "correlation").values


def test_two_runs_at_once_do_not_write_into_one_file(tmp_path):
    path = tmp_path / "responses" / "one.h5"
    with kept.gathering(path, tmp_path / "s") as first, kept.gathering(path, tmp_path / "s") as second:
        assert first.path == path
        assert second.path.parent.parent == tmp_path / "s"
    assert Gathered(path).n_done(["a"]) == 0


def test_a_lock_that_its_holder_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    """One process has opened the lock, and the one that held it removes it: a third would find, and lock, a new one."""
    path, flock, calls = tmp_path / "responses" / "one.h5", fcntl.flock, []

    def late(file, how):
        calls.append(file)
        if len(calls) == 1:
            path.with_suffix(".lock").unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with kept.gathering(path, tmp_path / "s") as first, kept.gathering(path, tmp_path / "s") as second:
        assert first.path == path
        assert second.path != path
    assert len(calls) == 3
    assert list(path.parent.iterdir()) == []


def test_rdms_that_were_kept_tell_what_a_picture_cost_when_they_were_made(tmp_path, images):
    cold = layer_rdms.model_rdms(Grid(), images, "correlation", device="cpu", cache=tmp_path)
    warm = layer_rdms.model_rdms(Grid(), images, "correlation", device="cpu", cache=tmp_path)
    assert cold.cost["forward_ms_per_picture"] > 0
    assert warm.cost == cold.cost
    assert "cost" not in warm.about


# ---------------------------------------------------------------------------------------- out of memory


class Small:
    """A device that holds so many pictures, as a network; it answers what it is given."""

    n_parameters = None

    def __init__(self, room: int, message: str = "MPS backend out of memory") -> None:
        self.room, self.message, self.seen = room, message, []

    def answer(self, batch, layers, take):
        take("first", batch)
        if len(batch) > self.room:
            raise RuntimeError(self.message)
        self.seen.append(len(batch))
        take("second", 2 * batch)


def passed(network: Small) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"first": [], "second": []}
    batches = [(0, torch.arange(5.0)[:, None]), (5, torch.arange(5.0, 10.0)[:, None]), (10, torch.tensor([[10.0]]))]

    def take(place, layer, responses):
        assert place == len(found[layer])
        found[layer] += responses[:, 0].tolist()

    moved = [(place, batch) for place, batch in batches]
    asked = Asked(network, ["first", "second"], lambda layer, output: output.cpu(), take, PassSettings("meta", 5))
    for _ in pass_batches(asked, moved):
        pass
    return found


@pytest.mark.parametrize(("room", "sizes"), [(9, [5, 5, 1]), (3, [2, 2, 1, 2, 2, 1, 1]), (1, [1] * 11)])
def test_a_device_without_memory_gets_smaller_batches(monkeypatch, caplog, room, sizes):
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: self)
    network = Small(room)
    found = passed(network)
    assert found["first"] == list(range(11))
    assert found["second"] == [2 * i for i in range(11)]
    assert network.seen == sizes
    assert ("too little memory" in caplog.text) == (room < 5)


def test_a_device_without_memory_for_one_picture_is_said(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: self)
    with pytest.raises(
        UserError, match=r"Not even one picture fits into the memory of meta \(MPS backend out of memory\)"
    ):
        passed(Small(0))
    with pytest.raises(RuntimeError, match="another"):
        passed(Small(0, "another fault"))


# --------------------------------------------------------------------------------------------- pictures


def test_the_two_steps_of_a_preprocessing_give_what_it_gives_bit_by_bit(rng):
    from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

    wide = Image.fromarray(rng.integers(0, 256, (70, 130, 3), dtype=np.uint8))
    usual = Compose([Resize(40), CenterCrop(32), ToTensor(), Normalize([0.4, 0.5, 0.6], [0.2, 0.3, 0.1])])
    names = ("alexnet", "vit_b_16", "efficientnet_b0")
    presets = [torchvision.models.get_model_weights(name).DEFAULT.transforms() for name in names]
    for prepare in (usual, *presets):
        steps = cropped_by(prepare)
        assert torch.equal(steps.normalise(steps.crop(wide)[None])[0], prepare(wide))
    assert cropped_by(Compose([Resize(40), ToTensor()])) is None  # not of one size
    assert cropped_by(lambda picture: picture) is None
    assert cropped_by(usual).geometry != cropped_by(Compose([Resize(41), *usual.transforms[1:]])).geometry


@pytest.mark.slow
def test_pixels_are_kept_for_networks_that_take_them_so(tmp_path, images, monkeypatch):
    def run(architecture: str, cache: Path | None) -> np.ndarray:
        model = Torchvision(
            architecture=architecture, weights="untrained", layers="features.0", preprocess_as="IMAGENET1K_V1"
        )
        return layer_rdms.model_rdms(model, images, "correlation", device="cpu", cache=cache).rdms.values

    alone = {name: run(name, None) for name in ("squeezenet1_1", "alexnet")}
    assert run("squeezenet1_1", tmp_path / "kept").tobytes() == alone["squeezenet1_1"].tobytes()
    assert len(list((tmp_path / "kept" / "pictures").glob("*.npy"))) == 1
    monkeypatch.setattr(pictures, "read_image", lambda file: pytest.fail("read again"))
    assert run("alexnet", tmp_path / "kept").tobytes() == alone["alexnet"].tobytes()


# --------------------------------------------------------------------------------- what of a layer counts


@pytest.mark.parametrize("units", ["mean", "max", "centre"])
def test_units_over_space_are_those_of_numpy(tmp_path, images, units):
    found = layer_rdms.model_rdms(Grid(units=units), images, "correlation", device="cpu").rdms
    extract(Grid(), images.iloc[:11], tmp_path / "all.h5", device="cpu")
    each = layer_rdms.model_rdms(Grid(units=units), images.iloc[:11], "correlation", device="cpu").rdms
    reduced = {
        "mean": lambda values: values.mean(axis=(2, 3)),
        "max": lambda values: values.max(axis=(2, 3)),
        "centre": lambda values: values[:, :, 1:-1, 1:-1] if values.shape[2] == 6 else values[:, :, 1:2, 1:2],
    }[units]
    with h5py.File(tmp_path / "all.h5") as file:
        for i, shape in enumerate([(4, 6, 6), (4, 3, 3)]):
            values = reduced(file[f"layers/{i}"][:].astype(np.float64).reshape(11, *shape)).reshape(11, -1)
            assert each.table["n_units"][i] == values.shape[1]
            np.testing.assert_allclose(each.values[i], pdist(values, "correlation"), atol=2e-6)
    assert found.table["n_units"].iloc[2] == 5  # the last layer has no space


def test_units_of_each_layer_and_those_that_a_layer_has_not():
    model = Grid(units={"c*": "mean", "pool": "max"})
    assert [one.units for one in model.representations().values()] == ["mean", "max", "all"]
    assert [one.n_units for one in model.representations().values()] == [4, 4, 5]
    with pytest.raises(UserError, match=r"Layer 'fc' of grid: its output, 5, has no space, of which `units: mean` is"):
        Grid(units={"fc": "mean"}).representations()
    for units in ({"c*": "mean", "pol": "max"}, {"fc": "all", "conv?": "mean"}):
        (problem,) = Grid(units=units).problems()
        assert f"`units` of grid has {list(units)[1]!r}, and no chosen layer is called so." in problem
    with pytest.raises(UserError, match="No chosen layer of grid has what `units: cls` is"):
        Grid(units="cls").representations()
    assert Grid(units="mean", layers="fc").problems() == [
        "No chosen layer of grid has what `units: mean` is; set `units: all`, or choose other layers."
    ]


def test_a_projection_tells_its_error_and_keeps_distances(images, caplog):
    with caplog.at_level(logging.INFO, logger="rsa"):
        made = layer_rdms.model_rdms(Grid(projection=100), images, "sqeuclidean", device="cpu")
    whole = layer_rdms.model_rdms(Grid(), images, "sqeuclidean", device="cpu").rdms
    assert list(made.rdms.table["n_units"]) == [100, 36, 5]
    assert list(made.about["projection_errors"]) == ["conv"]
    told = made.about["projection_errors"]["conv"]
    assert told["n_pairs"] == 28 + 28 + 6  # of two batches of 8 pictures, and one of 4
    assert 0.5 < told["r"] < 1
    assert "layer conv: error of the projection" in caplog.text
    share = made.rdms.values[0] / whole.values[0]
    assert abs(share.mean() - 1) < 0.15  # sparse directions keep distances on average
    assert made.rdms.values[1].tobytes() == whole.values[1].tobytes()
    other = layer_rdms.model_rdms(Grid(projection=100, projection_seed=3), images, "sqeuclidean", device="cpu").rdms
    assert (other.values[0] != made.rdms.values[0]).all()


@pytest.mark.parametrize("distance", ["correlation", "euclidean"])
@pytest.mark.parametrize("n", [2, 5, 0.9, 100])
def test_principal_components_are_those_of_scikit_learn(tmp_path, images, distance, n):
    from sklearn.decomposition import PCA

    found = layer_rdms.model_rdms(Grid(pca=n), images, distance, device="cpu").rdms
    extract(Grid(pca=n), images, tmp_path / "a.h5", device="cpu")
    assert layer_rdms.layer_rdms(tmp_path / "a.h5", distance).values.tobytes() == found.values.tobytes()
    with h5py.File(tmp_path / "a.h5") as file:
        for i in range(2):
            values = file[f"layers/{i}"][:].astype(np.float64)
            pca = PCA(n if n < 1 else min(n, 10), svd_solver="full").fit(values)
            again = pca.inverse_transform(pca.transform(values))
            np.testing.assert_allclose(found.values[i], pdist(again, distance), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_near(images, precision):
    single = layer_rdms.model_rdms(Grid(), images, "correlation", device="cpu").rdms.values
    half = layer_rdms.model_rdms(Grid(precision=precision), images, "correlation", device="cpu").rdms.values
    assert np.abs(half - single).max() > 0
    assert np.corrcoef(half[0], single[0])[0, 1] > 0.999


BLOCKS = ("encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1")


def test_tokens_before_those_of_space_are_known_by_the_names_of_parameters():
    vit = Torchvision(architecture="vit_b_32", weights="untrained", units="cls", layers=BLOCKS)
    assert [one.n_units for one in vit.representations().values()] == [768, 768]
    mean = Torchvision(architecture="vit_b_32", weights="untrained", units="centre", layers=BLOCKS[0])
    (one,) = mean.representations().values()
    assert one.n_units == 3 * 3 * 768  # of 7 x 7 tokens; the class token is in none
    tokens = torch.arange(50.0)[None, :, None].expand(1, 50, 768)
    assert sorted(set(one.of(tokens)[0].tolist())) == [17, 18, 19, 24, 25, 26, 31, 32, 33]
    assert Torchvision(architecture="alexnet", units="cls").problems() == [
        "No chosen layer of alexnet has what `units: cls` is; set `units: all`, or choose other layers."
    ]


@pytest.mark.parametrize(("other", "axes"), [("3x3x6", (1, 2)), ("9x3x3", (2, 3)), ("6x6x6", (2, 3))])
def test_channels_are_where_other_layers_have_them_if_lengths_do_not_tell(monkeypatch, other, axes):
    layers = {"layer": ["cube", "other"], "shape": ["6x6x6", other], "n_units": [216, 1], "type": "", "n_calls": 1}
    monkeypatch.setattr(Grid, "describe", lambda self: pd.DataFrame({**layers, "default": True}))
    values = torch.randn(2, 6, 6, 6)
    torch.testing.assert_close(Grid(units="mean").representations()["cube"].of(values), values.mean(axes))


class Tokens(Grid):
    """A transformer whose class token joins the others after the patches, and is alone in the end."""

    n_tokens_before: ClassVar[int] = 1

    def describe(self) -> pd.DataFrame:
        layers = {"layer": ["patches", "block", "odd", "alone"], "shape": ["16x3", "17x3", "13x3", "1x3"]}
        return pd.DataFrame({**layers, "n_units": [48, 51, 39, 3], "type": "", "n_calls": 1, "default": True})


@pytest.mark.parametrize(
    ("units", "layer", "expected"),
    [
        ("mean", "patches", range(16)),
        ("mean", "block", range(1, 17)),
        ("centre", "patches", [5, 6, 9, 10]),
        ("centre", "block", [6, 7, 10, 11]),
        ("cls", "block", [0]),
        ("cls", "alone", [0]),
    ],
)
def test_a_layer_before_the_class_token_has_none(units, layer, expected):
    one = Tokens(units={layer: units}).representations()[layer]
    values = torch.randn(2, *one.shape)
    chosen = values[:, list(expected)]
    torch.testing.assert_close(one.of(values), chosen.mean(1) if units == "mean" else chosen.flatten(1))


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({"patches": "cls"}, "16x3, has no class token"),
        ({"odd": "centre"}, "13x3, has 12 tokens, which are no square"),
        ({"alone": "mean"}, "1x3, has no space"),
    ],
)
def test_what_tokens_have_not_is_said(units, message):
    with pytest.raises(UserError, match=message):
        Tokens(units=units).representations()


def test_a_pass_ends_when_all_layers_have_answered():
    network = Grid().load()
    seen = []
    network.module.fc.register_forward_hook(lambda *_: seen.append("fc"))
    with torch.inference_mode():
        network.answer(torch.zeros(2, 3, 8, 8), ["conv", "pool"], lambda layer, output: seen.append(layer))
        assert seen == ["conv", "pool"]
        network.answer(torch.zeros(2, 3, 8, 8), ["pool", "fc"], lambda layer, output: seen.append(layer))
    assert seen == ["conv", "pool", "pool", "fc", "fc"]


def test_channels_last_is_the_same_but_for_rounding(images):
    usual = Torchvision(architecture="squeezenet1_1", weights="untrained", layers=["features.3", "features.12"])
    last = usual.model_copy(update={"channels_last": True})
    assert last.load().to("cpu").module.features[0].weight.is_contiguous(memory_format=torch.channels_last)
    found = [
        layer_rdms.model_rdms(one, images.iloc[:6], "correlation", device="cpu").rdms.values for one in (usual, last)
    ]
    np.testing.assert_allclose(*found, atol=1e-5)
