import json
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from rsa.errors import UserError
from rsa.files.io import content_hash, load_rdms, read_provenance
from rsa.inputs.stimuli import Stimuli, read_image
from rsa.models import Torchvision, pictures, run
from rsa.models.extraction import extract
from rsa.models.layer_rdms import layer_rdms
from rsa.models.modules import TorchNetwork, recording
from rsa.models.source import Source
from rsa.models.weights import weights_sha256
from rsa.pipeline import stages

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
OVERWRITTEN = ["features.0", "features.3", "features.6", "features.8", "features.10", "classifier.1", "classifier.4"]


@pytest.fixture(params=DEVICES)
def device(request) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return request.param


# ------------------------------------------------------------------------------------------- recording


@pytest.fixture(scope="module")
def alexnet() -> torch.nn.Module:
    return Torchvision(architecture="alexnet", weights="untrained").load().module


def layer_by_layer(network: torch.nn.Module, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the output of each layer of AlexNet, computed one after the other with nothing in place."""
    outputs, values = {}, pictures
    for part in ("features", "classifier"):
        values = values if part == "features" else torch.flatten(network.avgpool(values), 1)
        for name, module in getattr(network, part).named_children():
            values = torch.relu(values) if isinstance(module, torch.nn.ReLU) else module(values)
            outputs[f"{part}.{name}"] = values
    return outputs


def test_recording_is_right_where_the_naive_hook_is_wrong(alexnet, rng):
    pictures = torch.from_numpy(rng.standard_normal((2, 3, 224, 224), dtype=np.float32))
    layers = [*OVERWRITTEN, "classifier.6"]
    naive = {}
    hooks = [
        alexnet.get_submodule(name).register_forward_hook(lambda m, i, output, name=name: naive.update({name: output}))
        for name in layers
    ]
    with torch.inference_mode():
        alexnet(pictures)
        for hook in hooks:
            hook.remove()
        truth = layer_by_layer(alexnet, pictures)
        with recording(alexnet, list(truth)) as seen:
            alexnet(pictures)
    assert [name for name in layers if not torch.equal(naive[name], truth[name])] == OVERWRITTEN
    assert list(seen) == list(truth)
    for name, values in truth.items():
        torch.testing.assert_close(seen[name], values, rtol=1e-5, atol=1e-6)


def test_recording_of_the_worked_example():
    picture = -torch.ones(5, 5)
    for row, column in [(1, 1), (2, 2), (3, 3), (1, 3), (3, 1)]:
        picture[row, column] = 1
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 1, 3, bias=False), torch.nn.ReLU(inplace=True), torch.nn.MaxPool2d(2, stride=1)
    )
    with torch.no_grad():
        network[0].weight.copy_(2 * torch.eye(3) - 1)
    with torch.inference_mode(), recording(network, ["0", "1", "2"]) as seen:
        network(picture[None, None])
    assert seen["0"][0, 0].tolist() == [[7, -3, 3], [-3, 5, -3], [3, -3, 7]]
    assert seen["1"][0, 0].tolist() == [[7, 0, 3], [0, 5, 0], [3, 0, 7]]
    assert seen["2"][0, 0].tolist() == [[7, 5], [5, 7]]


class Residual(torch.nn.Module):
    """Adds its input to the output of a layer in place; has attention and a recurrent layer that return tuples."""

    def __init__(self, n_calls: int = 1) -> None:
        super().__init__()
        self.doubling = torch.nn.Linear(2, 2, bias=False)
        self.attention = torch.nn.MultiheadAttention(2, 1, batch_first=True)
        self.recurrent = torch.nn.LSTM(2, 2, batch_first=True)
        self.n_calls = n_calls
        self.doubling.weight = torch.nn.Parameter(2 * torch.eye(2))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        self.attention(values, values, values, need_weights=False)
        self.recurrent(values)
        for _ in range(self.n_calls):
            out = self.doubling(values)
            out += values
        return out


@torch.no_grad()
def test_recording_is_filled_anew_by_each_forward_pass_and_survives_in_place_sums():
    network = Residual()
    with recording(network, ["attention", "doubling"]) as seen:
        network(torch.ones(1, 3, 2))
        assert seen["doubling"].tolist() == [[[2, 2]] * 3]
        assert seen["attention"].shape == (1, 3, 2)
        network(torch.full((4, 1, 2), 3.0))
        assert seen["doubling"].tolist() == [[[6, 6]]] * 4
    network(torch.ones(1, 3, 2))
    assert seen["doubling"].shape == (4, 1, 2)  # nothing records any more


@pytest.mark.parametrize(
    ("n_calls", "layer", "message"),
    [
        (2, "doubling", "Layer 'doubling' is called more than once per picture; ask for the module around it"),
        (1, "recurrent:2", "The output of layer 'recurrent:2' holds no such tensor"),
        (1, "doublings", "The network has no layer 'doublings'. Did you mean 'doubling'"),
    ],
)
@torch.no_grad()
def test_what_cannot_be_recorded_is_said_and_hooks_go(n_calls, layer, message):
    network = Residual(n_calls)
    with pytest.raises(UserError, match=message), recording(network, [layer]):
        network(torch.ones(1, 3, 2))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


# -------------------------------------------------------------------------------------------- devices


# ----------------------------------------------------------------------------------------- activations


class Tiny(Source):
    """A model of three layers."""

    source: str = "tiny"
    called: ClassVar[str] = "tiny"
    scale: float = 1.0

    def describe(self) -> pd.DataFrame:
        layers = {"layer": ["0", "1", "2"], "shape": ["2x4x4", "2x4x4", "2x2x2"], "n_units": [32, 32, 8]}
        return pd.DataFrame({**layers, "type": "", "n_calls": 1, "default": True})

    def preprocessing(self) -> str:
        return "divide by 255"

    def load(self) -> TorchNetwork:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            layers = torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU(inplace=True), torch.nn.MaxPool2d(2)
        network = torch.nn.Sequential(*layers).eval().requires_grad_(False)
        return TorchNetwork(
            network, lambda image: torch.from_numpy(np.array(image) * self.scale / 255).float().permute(2, 0, 1)
        )


@pytest.fixture
def images(tmp_path, rng) -> pd.DataFrame:
    """Return seven pictures of three conditions, mixed, one of them twice."""
    for i in range(7):
        Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    files = [str(tmp_path / f"{i}.png") for i in (0, 1, 2, 3, 4, 5, 6, 4)]
    return pd.DataFrame({"condition": ["img2", "img10", "img2", "a", "img10", "img2", "img2", "img10"], "file": files})


def stored(path: Path) -> tuple[list[str], list[np.ndarray]]:
    with h5py.File(path) as file:
        return list(file["conditions"].asstr()), [file[f"layers/{i}"][:] for i in range(len(file["layers"]))]


def one_at_a_time(model, images: pd.DataFrame) -> list[np.ndarray]:
    """Return the mean activations of each condition, shape (n_conditions, n_units) per layer, the slow way."""
    network = model.load()
    rows = {layer: {} for layer in model.layer_names()}
    for condition, path in zip(images["condition"], images["file"], strict=True):
        with torch.inference_mode(), recording(network.module, model.layer_names()) as seen:
            network.module(network.prepare(read_image(path))[None])
        for layer, values in seen.items():
            rows[layer].setdefault(condition, []).append(values.numpy().ravel().astype(np.float64))
    return [np.stack([np.mean(rows, axis=0) for rows in of_layer.values()]) for of_layer in rows.values()]


@pytest.mark.parametrize("batch_size", [None, 1, 2, 3, 8, 100])
def test_activations_are_averaged_whatever_the_batches(tmp_path, images, batch_size):
    extract(Tiny(), images, tmp_path / "a.h5", batch_size=batch_size, device="cpu")
    conditions, layers = stored(tmp_path / "a.h5")
    assert conditions == ["img2", "img10", "a"]
    for found, expected in zip(layers, one_at_a_time(Tiny(), images), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert (layers[0] < 0).any()  # the convolution's own output, though a ReLU in place follows


def test_order_of_the_images_only_orders_the_conditions(tmp_path, images):
    extract(Tiny(), images, tmp_path / "a.h5", batch_size=3)
    extract(Tiny(), images.iloc[::-1], tmp_path / "b.h5", batch_size=3)
    (names, layers), (reversed_names, reversed_layers) = stored(tmp_path / "a.h5"), stored(tmp_path / "b.h5")
    assert reversed_names == ["img10", "img2", "a"]
    order = [reversed_names.index(name) for name in names]
    for ours, theirs in zip(layers, reversed_layers, strict=True):
        np.testing.assert_allclose(ours, theirs[order], rtol=1e-5, atol=1e-6)


def test_the_file_says_what_it_is(tmp_path, images, caplog, capsys):
    with caplog.at_level(logging.INFO, logger="rsa"):
        extract(Tiny(), images, tmp_path / "a.h5", device="cpu", provenance={"device": "cpu", "inputs": {"x": "y"}})
    with h5py.File(tmp_path / "a.h5") as file:
        assert {name: file.attrs[name] for name in ("kind", "model", "preprocessing")} == {
            "kind": "Activations",
            "model": "tiny",
            "preprocessing": "divide by 255",
        }
        assert file.attrs["format_version"] == 1
        assert json.loads(file.attrs["provenance"])["device"] == "cpu"
        layer = file["layers/0"]
        assert layer.attrs["layer"] == "0"
        assert list(layer.attrs["shape"]) == [2, 4, 4]
        assert layer.dtype == np.float32
        assert layer.chunks is None  # the rows lie one after the other
    assert read_provenance(tmp_path / "a.h5")["inputs"] == {"x": "y"}
    assert "tiny: 8 images of 3 conditions through 3 layers on cpu, 8 at a time" in caplog.text
    assert "activations of tiny: 8 images in " in caplog.text
    assert capsys.readouterr().err == ""  # a progress bar only where there is a terminal


@pytest.fixture
def fast_and_loose():
    """Set torch's switches to the opposite of what an extraction needs."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    was = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = True, True, True
    yield
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = was


def threads_of_torch_in_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(torch.get_num_threads).result()


@pytest.mark.usefixtures("fast_and_loose")
def test_the_same_input_gives_the_same_bytes_and_torch_is_left_as_it_was(tmp_path, images, monkeypatch):
    def switches():
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        modes = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        flags = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32, torch.is_inference_mode_enabled()
        threads = threading.active_count(), torch.get_num_threads(), threads_of_torch_in_a_new_thread()
        environment = os.environ.get("CUBLAS_WORKSPACE_CONFIG"), torch.random.get_rng_state().tolist()
        return *modes, *flags, *threads, *environment

    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = switches()
    assert before[2:5] == (True, True, True)
    extract(Tiny(), images, tmp_path / "a.h5", device="cpu")
    extract(Tiny(), images, tmp_path / "b.h5", device="cpu")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert switches() == before
    Path(images["file"][3]).write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"3\.png is not a readable image"):
        extract(Tiny(), images, tmp_path / "c.h5", device="cpu")
    assert switches() == before
    assert sorted(path.name for path in tmp_path.glob("*")) == [*(f"{i}.png" for i in range(7)), "a.h5", "b.h5"]


def test_rows_longer_than_what_is_written_at_once(tmp_path, images, monkeypatch):
    extract(Tiny(), images, tmp_path / "a.h5", device="cpu")
    monkeypatch.setattr(run, "WRITE_SIZE", 5)
    extract(Tiny(), images, tmp_path / "b.h5", device="cpu")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("batch_size", [1, 2])
def test_pictures_are_read_in_the_background_and_not_far_ahead(tmp_path, images, monkeypatch, batch_size):
    read, passed, ahead, threads = [], [], [], set()

    def noted(path: str) -> Image.Image:
        threads.add(threading.current_thread())
        read.append(path)
        return read_image(path)

    class Noting(Tiny):
        def load(self):
            network = super().load()
            network.module.register_forward_pre_hook(lambda module, inputs: note(len(inputs[0])))
            return network

    def note(n_pictures: int) -> None:
        passed.extend([threading.current_thread()] * n_pictures)
        ahead.append(len(read) - len(passed))

    monkeypatch.setattr(pictures, "read_image", noted)
    extract(Noting(), images, tmp_path / "a.h5", batch_size=batch_size, device="cpu")
    ordered = images.sort_values(
        "condition", key=lambda names: names.map({"img2": 0, "img10": 1, "a": 2}), kind="stable"
    )
    assert read == list(ordered["file"])
    assert set(passed) == {threading.current_thread()}
    assert threading.current_thread() not in threads
    assert max(ahead) <= 2 * batch_size


@pytest.mark.parametrize("n_before", [0, 3, 7])
def test_a_picture_that_is_damaged_stops_everything(tmp_path, images, n_before):
    order = [0, 2, 5, 6, 1, 4, 7, 3]  # by condition
    images["file"] = [str(tmp_path / f"{i}.png") for i in (0, 1, 2, 3, 4, 5, 6, 6)]
    bad = tmp_path / "bad.png"
    bad.write_bytes(Path(images["file"][0]).read_bytes()[:60])
    images.loc[order[n_before], "file"] = str(bad)
    threads = set(threading.enumerate())
    with pytest.raises(UserError, match=r"bad\.png is not a readable image"):
        extract(Tiny(), images, tmp_path / "a.h5", batch_size=2, device="cpu")
    assert not list(tmp_path.glob("*.h5"))
    assert not list(tmp_path.glob(".partial-*"))
    assert not [thread for thread in set(threading.enumerate()) - threads if not thread.daemon]  # tqdm keeps a daemon


@pytest.mark.parametrize(("scale", "batch_size"), [(np.nan, 8), (1e39, 2)])
def test_activations_that_are_no_numbers_are_named(tmp_path, images, scale, batch_size):
    model = Tiny(scale=scale)
    message = r"The output of layer '0' of tiny is NaN or infinite for condition 'img2' \(.*0\.png\); check the weights"
    with pytest.raises(UserError, match=message):
        extract(model, images, tmp_path / "a.h5", batch_size=batch_size)
    assert not list(tmp_path.glob("*.h5"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"condition": ["a"]}), "'condition' and 'file', not 1 rows of 'condition'"),
        (pd.DataFrame({"condition": [], "file": []}), "not 0 rows of 'condition', 'file'. Set stimuli.folder"),
    ],
)
def test_models_need_images(tmp_path, table, message):
    with pytest.raises(UserError, match=message):
        extract(Tiny(), table, tmp_path / "a.h5")


@pytest.mark.slow
def test_real_network_on_photographs(tmp_path, data, device):
    model = Torchvision(architecture="squeezenet1_1", weights=str(data / "weights" / "squeezenet1_1.pth"))
    photos = sorted((data / "photos_labelled").glob("*.jpg"))[:5]
    images = pd.DataFrame({"condition": [*"abcba"], "file": [str(path) for path in photos]})
    for size in (2, 5):
        extract(model, images, tmp_path / f"{size}.h5", device=device, batch_size=size)
    (conditions, twos), (_, fives) = stored(tmp_path / "2.h5"), stored(tmp_path / "5.h5")
    assert conditions == ["a", "b", "c"]
    assert [layer.shape[1] for layer in twos] == list(model.describe().query("default")["n_units"])
    for small, large, expected in zip(twos, fives, one_at_a_time(model, images), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(small, large, rtol=1e-5, atol=1e-5 * scale)
        np.testing.assert_allclose(small, expected, rtol=1e-5, atol=(1e-5 if device == "cpu" else 1e-4) * scale)


# ------------------------------------------------------------------------------------------ layer RDMs


def write_activations(path: Path, layers: dict[str, np.ndarray], conditions: list[str]) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs.update(kind="Activations", format_version=1, model="net", provenance="{}")
        file["conditions"] = conditions
        for i, (layer, values) in enumerate(layers.items()):
            file[f"layers/{i}"] = values.astype(np.float32)
            file[f"layers/{i}"].attrs["layer"] = layer
    return path


@pytest.mark.parametrize("distance", ["correlation", "cosine", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize("block_size", [1, 7, 16_384])
def test_rdms_equal_pdist_whatever_the_blocks(tmp_path, rng, distance, block_size):
    layers = {"b": rng.normal(5, 1, (6, 50)).astype(np.float32), "a": rng.normal(0, 1, (6, 3)).astype(np.float32)}
    path = write_activations(tmp_path / "a.h5", layers, [*"fedcba"])
    rdms = layer_rdms(path, distance, block_size)
    assert rdms.table.to_dict("list") == {"model": ["net", "net"], "layer": ["b", "a"], "n_units": [50, 3]}
    assert rdms.conditions == tuple("fedcba")
    assert rdms.distance == distance
    for vector, values in zip(rdms.values, layers.values(), strict=True):
        expected = pdist(values.astype(np.float64), distance)
        np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-6 * max(1, expected.max()))


@pytest.mark.slow
@pytest.mark.parametrize("distance", ["correlation", "cosine", "euclidean", "sqeuclidean"])
def test_rdms_of_a_real_alexnet(tmp_path, data, distance):
    names = ["conv5", "fc8"] if distance != "correlation" else ["conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    layers = {}
    for name in names:
        with np.load(data / "alexnet_features92" / f"{name}.npz") as file:
            layers[name] = file["features"].reshape(92, -1)
    rdms = layer_rdms(write_activations(tmp_path / "a.h5", layers, [str(i) for i in range(92)]), distance)
    for vector, values in zip(rdms.values, layers.values(), strict=True):
        expected = pdist(values.astype(np.float64), distance)
        np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-6 * max(1, expected.max()))
    if distance == "correlation":  # neighbouring layers are alike, distant ones less so
        likeness = spearmanr(rdms.values, axis=1).statistic
        assert likeness[0, 1] > likeness[0, 3] > likeness[0, 5]


def test_a_constant_pattern_has_no_correlation_and_that_is_logged(tmp_path, rng, caplog):
    dead = rng.normal(size=(4, 20))
    dead[1], dead[3] = 0.1, 0
    path = write_activations(tmp_path / "a.h5", {"alive": rng.normal(size=(4, 20)), "dead": dead}, [*"wxyz"])
    with caplog.at_level(logging.WARNING, logger="rsa.models.layer_rdms"):
        rdms = layer_rdms(path, "correlation", block_size=6)
    assert np.isnan(rdms.values).tolist() == [[False] * 6, [True, False, True, True, True, True]]
    (record,) = caplog.records
    assert record.getMessage() == (
        "The correlation distance of layer 'dead' of net is undefined for 2 conditions, whose patterns do not vary or "
        "are zero: 'x', 'z'"
    )
    caplog.clear()
    assert np.isnan(layer_rdms(path, "cosine").values[1]).tolist() == [False, False, True, False, True, True]
    assert "cosine distance of layer 'dead' of net is undefined for 1 conditions" in caplog.text
    assert np.isfinite(layer_rdms(path, "euclidean").values).all()


def test_what_rdms_cannot_be_made_of(tmp_path, rng):
    path = write_activations(tmp_path / "a.h5", {"a": rng.normal(size=(3, 4))}, [*"abc"])
    with pytest.raises(UserError, match=r"Unknown distance 'correlaton'\. Did you mean 'correlation'"):
        layer_rdms(path, "correlaton")
    with pytest.raises(UserError, match="There is no file"):
        layer_rdms(tmp_path / "b.h5", "cosine")
    with h5py.File(path, "a") as file:
        file.attrs["kind"] = "RDMs"
    with pytest.raises(UserError, match=r"a\.h5 holds RDMs, where Activations is expected"):
        layer_rdms(path, "cosine")


def test_from_pictures_to_rdms(tmp_path, images):
    extract(Tiny(), images, tmp_path / "a.h5", batch_size=3)
    rdms = layer_rdms(tmp_path / "a.h5", "euclidean")
    expected = [pdist(values, "euclidean") for values in one_at_a_time(Tiny(), images)]
    np.testing.assert_allclose(rdms.values, expected, rtol=1e-5)
    assert rdms.conditions == ("img2", "img10", "a")


# ------------------------------------------------------------------------------------------ provenance


def made_by_the_stages(model: Torchvision, folder: Path, device: str = "auto") -> dict:
    """Return the provenance of the layer RDMs, whose activations are gone, as in a study."""
    stages.extract(model, folder / "a.h5", Stimuli(folder=str(folder)), device=device)
    stages.layer_rdms(folder / "a.h5", folder / "rdms.h5", "euclidean")
    (folder / "a.h5").unlink()
    assert list(load_rdms(folder / "rdms.h5").table["layer"]) == ["features.0", "classifier.3"]
    return read_provenance(folder / "rdms.h5")


@pytest.mark.usefixtures("images")
def test_layer_rdms_made_by_the_stages_tell_device_weights_and_preprocessing(tmp_path, device):
    model = Torchvision(
        architecture="squeezenet1_1", weights="untrained", seed=5, layers=("classifier.[3]", "features.0")
    )
    made = made_by_the_stages(model, tmp_path, device)
    assert made["settings"] == {"distance": "euclidean"}
    assert list(made["inputs"]) == [str(tmp_path / "a.h5")]
    source = made["source"]
    assert source["device"] == device
    assert source["weights_sha256"] == weights_sha256(model.load().module.state_dict())
    assert source["preprocessing"] == model.preprocessing()
    assert source["methods"] == model.methods()
    assert source["layers"] == ["features.0", "classifier.3"]
    assert source["settings"]["model"]["seed"] == 5
    pictures = [tmp_path / f"{i}.png" for i in range(7)]
    assert source["inputs"] == {str(path): content_hash(path) for path in pictures}


@pytest.mark.usefixtures("images")
def test_the_device_is_the_one_that_was_used(tmp_path, monkeypatch):
    monkeypatch.setattr("rsa.models.own_device.choose_device", lambda device: {"auto": "cpu:0"}[device])
    model = Torchvision(architecture="squeezenet1_1", weights="untrained", layers=("features.0", "classifier.3"))
    assert made_by_the_stages(model, tmp_path)["source"]["device"] == "cpu"


@pytest.mark.usefixtures("images")
def test_weights_are_told_apart_by_content_and_not_by_where_they_came_from(tmp_path):
    settings = {"architecture": "squeezenet1_1", "layers": ("features.0", "classifier.3")}
    untrained = Torchvision(weights="untrained", **settings)
    state = untrained.load().module.state_dict()
    torch.save(state, tmp_path / "same.pth")
    torch.save(state | {"classifier.1.bias": state["classifier.1.bias"] + 1e-3}, tmp_path / "other.pth")
    files = [Torchvision(weights=str(tmp_path / name), **settings) for name in ("same.pth", "other.pth")]
    reseeded = Torchvision(weights="untrained", seed=1, **settings)
    first, same, other, third = (
        made_by_the_stages(model, tmp_path)["source"]["weights_sha256"] for model in (untrained, *files, reseeded)
    )
    assert same == first
    assert len({first, other, third}) == 3


# ----------------------------------------------------------------------------------------- benchmark


@pytest.mark.slow
def test_the_benchmark_runs_on_something_tiny(tmp_path):
    script = Path(__file__).parents[1] / "benchmarks" / "features.py"
    small = ["--networks", "squeezenet1_1", "--pictures", "8", "--rounds", "1", "--images", "20", "--units", "20000"]
    command = [sys.executable, str(script), *small, "--output", str(tmp_path / "results.json")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    results = json.loads((tmp_path / "results.json").read_text())
    network, rdm = results["networks"]["squeezenet1_1"], results["layer_rdm"]
    assert network["n_pictures"] == 8
    assert network["n_units"] == Torchvision(architecture="squeezenet1_1").describe().query("default")["n_units"].sum()
    assert all(network["ms_per_picture"][name] > 0 for name in ("forward", "decode"))
    assert 0 < rdm["largest_error"] < 1e-5
    assert rdm["ours_s"] > 0
    assert "squeezenet1_1" in said
    assert f"ratio {rdm['ours / bare']:.2f}" in said
