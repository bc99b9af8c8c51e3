"""The examples of docs/networks.md run, on a small network."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image
from pydantic import TypeAdapter
from safetensors.torch import save_file

from rsa.models import MODELS, Model
from rsa.models.preprocessing import PRESETS

PAGE = (Path(__file__).parent.parent / "docs/networks.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.S | re.M)


def before(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def write_files(network: torch.nn.Module, rng: np.random.Generator) -> None:
    """Write the files that the examples name, with a ResNet-18 for the networks, below the folder of the test."""
    Path("trained").mkdir()
    for code in blocks("python"):
        if code.startswith("# nets.py"):
            Path("nets.py").write_text(code)
        else:
            exec(compile(code, "networks.md", "exec"), {"network": network})
    state = network.state_dict()
    trunk = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    ema = before("module.", state)
    torch.save({"state_dict": state, "ema": ema}, "trained/checkpoint.pth.tar")
    teacher = before("backbone.", trunk) | {"head.mlp.0.weight": torch.zeros(2, 2)}
    torch.save({"teacher": teacher, "student": before("module.", teacher)}, "trained/dino.pth")
    save_file(
        trunk | {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}, "trained/ten_classes.safetensors"
    )
    Path("features").mkdir()
    for layer in ("conv1", "fc"):
        np.savez(f"features/{layer}.npz", features=rng.standard_normal((4, 6)))
    np.savez("features.npz", conv1=rng.standard_normal((4, 2, 3)))
    if find_spec("transformers"):
        write_transformer()


def write_transformer() -> None:
    import transformers

    small = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    network = transformers.ViTModel(transformers.ViTConfig(**small, image_size=32, patch_size=8))
    network.save_pretrained("nets/vit")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained("nets/vit")


def assert_runs(model: Any, picture: Image.Image) -> None:
    """Assert that all chosen layers answer to a picture, with as many numbers as the description says."""
    network = model.load()
    seen: dict[str, tuple[int, ...]] = {}
    with torch.inference_mode():
        batch = network.prepare(picture)[None]
        network.answer(batch, model.layer_names(), lambda layer, output: seen.update({layer: tuple(output.shape)}))
    shapes = model.describe().set_index("layer")["shape"]
    assert {layer: "x".join(map(str, shape[1:])) for layer, shape in seen.items()} == {
        layer: shapes[layer] for layer in model.layer_names()
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_examples_of_networks(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    write_files(torchvision.models.resnet18().eval(), rng)
    given = [one for block in blocks("yaml") for one in yaml.safe_load(block)["models"]]
    models = [TypeAdapter(Model).validate_python(one) for one in given]
    assert {model.source for model in models} == set(MODELS)
    picture = Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8))
    n_run = 0
    for model in models:
        if find_spec({"transformers": "transformers", "open_clip": "open_clip"}.get(model.source, "torch")) is None:
            continue
        assert model.problems() == [], model
        assert len(model.layer_names()) >= 1
        is_here = model.is_untrained or bool(model.files())
        if model.needs_pictures and is_here:
            assert_runs(model, picture)
            n_run += 1
    assert n_run >= 9


def test_the_page_has_all_sources_and_presets():
    rows = re.findall(r"^\| \[?`([a-z_]+)`", PAGE, flags=re.M)
    assert set(MODELS) | set(PRESETS) <= set(rows)
