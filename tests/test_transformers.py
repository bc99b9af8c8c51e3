"""Networks of transformers, from folders with small random ones: nothing is fetched."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter

from rsa.errors import UserError
from rsa.models import Model, Transformers

transformers = pytest.importorskip("transformers", reason="the extra `transformers` is not installed")

SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
TEXT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
TEXT |= {"bos_token_id": 0, "eos_token_id": 1}
STAGES = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 2, 1, 1]}


def vit() -> Any:
    return transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL, intermediate_size=64, num_labels=7))


def dinov2() -> Any:
    return transformers.Dinov2Model(transformers.Dinov2Config(**SMALL, mlp_ratio=2))


def clip() -> Any:
    vision = {**SMALL, "intermediate_size": 64, "projection_dim": 16}
    return transformers.CLIPModel(transformers.CLIPConfig(vision_config=vision, text_config=TEXT, projection_dim=16))


def swin() -> Any:
    config = {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 2], "num_heads": [2, 2]}
    return transformers.SwinModel(transformers.SwinConfig(**config, window_size=4))


def convnext() -> Any:
    return transformers.ConvNextModel(transformers.ConvNextConfig(**STAGES, image_size=32))


def resnet() -> Any:
    return transformers.ResNetModel(transformers.ResNetConfig(**STAGES, embedding_size=8))


DEFAULTS: dict[Callable[[], Any], list[str]] = {
    vit: ["vit.embeddings", "vit.layers.0", "vit.layers.2", "vit.layernorm", "classifier"],
    dinov2: ["embeddings", "encoder.layer.0", "encoder.layer.2", "layernorm"],
    clip: ["embeddings", "encoder.layers.0", "encoder.layers.2", "post_layernorm"],
    swin: ["embeddings", "encoder.layers.0.blocks.0", "encoder.layers.1.blocks.1", "layernorm", "pooler"],
    convnext: ["embeddings", "encoder.stages.0.layers.0", "encoder.stages.3.layers.0", "layernorm"],
    resnet: ["embedder", "encoder.stages.0.layers.0", "encoder.stages.3.layers.0", "pooler"],
}


def saved(make: Callable[[], Any], folder: Path, seed: int = 0) -> Any:
    """Save a small random network with its image processor as transformers does; return it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = make().eval()
    network.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    transformers.ViTImageProcessor(size=size).save_pretrained(folder)
    return network


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8))


@pytest.mark.parametrize("make", DEFAULTS, ids=lambda make: make.__name__)
def test_networks_of_folders_run_with_their_weights(tmp_path: Path, make: Callable[[], Any]) -> None:
    original = saved(make, tmp_path / "net")
    model = Transformers(architecture=str(tmp_path / "net"))
    assert model.problems() == []
    names = model.layer_names()
    assert [name for name in names if name in DEFAULTS[make]] == DEFAULTS[make]
    network = model.load()
    tower = getattr(original, "vision_model", original)
    state = tower.state_dict()
    loaded = network.module.state_dict()
    assert set(loaded) == set(state)
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    seen: dict[str, torch.Tensor] = {}
    picture = network.prepare(noise())
    assert picture.shape == (3, 32, 32)
    assert torch.equal(picture, network.prepare(noise()))
    with torch.inference_mode():
        network.answer(picture[None], names, lambda layer, output: seen.update({layer: output.clone()}))
        outputs = tower(picture[None])
    sizes = {layer: "x".join(map(str, output.shape[1:])) for layer, output in seen.items()}
    described = model.describe().set_index("layer")["shape"]
    assert sizes == {layer: described[layer] for layer in names}
    if make is vit:
        assert torch.equal(seen["classifier"], outputs.logits)


def test_untrained_and_files_of_weights(tmp_path: Path) -> None:
    original = saved(vit, tmp_path / "net")
    folder = str(tmp_path / "net")
    first, again, other = (Transformers(architecture=folder, weights="untrained", seed=n).load() for n in (0, 0, 1))
    assert first.weights_sha256() == again.weights_sha256() != other.weights_sha256()
    tuned = {f"module.{name}": tensor + 1 for name, tensor in original.state_dict().items()}
    torch.save(tuned, tmp_path / "tuned.pth")
    model = Transformers(architecture=folder, weights=str(tmp_path / "tuned.pth"))
    assert model.problems() == []
    assert torch.equal(model.load().module.state_dict()["classifier.bias"], tuned["module.classifier.bias"])
    assert {path.name for path in model.files()} == {"config.json", "preprocessor_config.json", "tuned.pth"}
    own = {path.name for path in Transformers(architecture=folder).files()}
    assert own == {"config.json", "preprocessor_config.json", "model.safetensors"}


def test_weights_that_lack_a_part_are_refused_until_it_is_left_out(tmp_path: Path) -> None:
    config = transformers.ViTConfig(**SMALL, intermediate_size=64)
    saved(lambda: transformers.ViTModel(config, add_pooling_layer=False), tmp_path / "net")
    folder = str(tmp_path / "net")
    with pytest.raises(UserError, match=r"do not fit net: 2 missing \('pooler\.\S+, .*set `without: \[pooler\]`"):
        Transformers(architecture=folder).load()
    model = Transformers(architecture=folder, without="pooler")
    assert model.problems() == []
    assert model.layer_names()[-1] == "layernorm"
    assert model.load().n_parameters


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "best"}, r"net has no weights 'best'\. Choose one of: pretrained, untrained, or a file that ends"),
        ({"layers": "encoder"}, r"net has no layer 'encoder'"),
        ({"architecture": "no/such/folder/"}, r"There is no folder no/such/folder/? with a network"),
        ({"weights_key": "ema"}, r"weights_key is for weights of a file"),
    ],
)
def test_problems(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    saved(vit, tmp_path / "net")
    (problem,) = Transformers(**{"architecture": str(tmp_path / "net"), **change}).problems()
    assert re.search(message, problem)
    assert "\n" not in problem


def test_folders_without_a_network_for_pictures(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (problem,) = Transformers(architecture=str(tmp_path / "empty")).problems()
    assert re.search(r"Cannot read the configuration of the network in .+empty: ", problem)
    transformers.BertConfig(hidden_size=32).save_pretrained(tmp_path / "words")
    (problem,) = Transformers(architecture=str(tmp_path / "words")).problems()
    assert problem.endswith("words is no network for pictures (its type is bert).")


def test_names_and_folders_are_told_apart() -> None:
    for given, expected in {"facebook/dinov2-base": "facebook/dinov2-base", "nets/mine/": "/data/nets/mine"}.items():
        settings = {"source": "transformers", "architecture": given}
        model = TypeAdapter(Model).validate_python(settings, context={"data_root": "/data"})
        assert model.architecture == expected
    assert model.label == "mine"


def test_methods_tell_network_and_pictures(tmp_path: Path) -> None:
    saved(vit, tmp_path / "net")
    assert Transformers(architecture=str(tmp_path / "net")).methods() == [
        "The network net of transformers (Wolf et al., 2020) had the weights published with it.",
        "Pictures were prepared by its own image processor, as 32 x 32 pixels.",
    ]
