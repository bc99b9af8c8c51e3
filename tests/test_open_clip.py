"""Image towers of open_clip, with random weights: nothing is fetched."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rsa.errors import UserError
from rsa.models import OpenClip

open_clip = pytest.importorskip("open_clip", reason="the extra `openclip` is not installed")


@pytest.fixture(autouse=True, scope="module")
def small() -> Any:
    """Let open_clip know a small network."""
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1},
    }
    open_clip.factory._MODEL_CONFIGS["small"] = config
    yield
    del open_clip.factory._MODEL_CONFIGS["small"]


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8))


def test_the_tower_runs_and_its_output_is_a_layer() -> None:
    model = OpenClip(architecture="small", weights="untrained")
    assert model.problems() == []
    names = model.layer_names()
    assert names == [*(f"visual.transformer.resblocks.{n}" for n in range(3)), "visual.ln_post", "visual"]
    network = model.load()
    picture = network.prepare(noise())
    assert picture.shape == (3, 32, 32)
    assert torch.equal(picture, network.prepare(noise()))
    seen: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        network.answer(picture[None], names, lambda layer, output: seen.update({layer: output.clone()}))
        assert torch.equal(seen["visual"], network.module.visual(picture[None]))
    described = model.describe().set_index("layer")["shape"]
    assert {name: "x".join(map(str, one.shape[1:])) for name, one in seen.items()} == {n: described[n] for n in names}
    assert described["visual"] == "16"


def test_weights_of_the_whole_network_and_of_the_tower(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        whole = open_clip.create_model("small", pretrained=None, load_weights=False)
    torch.save({"state_dict": {f"module.{n}": t for n, t in whole.state_dict().items()}}, tmp_path / "whole.pt")
    torch.save(whole.visual.state_dict(), tmp_path / "tower.pt")
    sums = set()
    for name in ("whole.pt", "tower.pt"):
        model = OpenClip(architecture="small", weights=str(tmp_path / name))
        assert model.problems() == []
        sums.add(model.load().weights_sha256())
    assert len(sums) == 1
    expected = {f"visual.{name}": tensor for name, tensor in whole.visual.state_dict().items()}
    loaded = model.load().module.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


def test_untrained_weights_follow_the_seed() -> None:
    first, again, other = (OpenClip(architecture="small", weights="untrained", seed=n).load() for n in (0, 0, 1))
    assert first.weights_sha256() == again.weights_sha256() != other.weights_sha256()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"architecture": "ViT-B-33", "weights": "openai"},
            r"open_clip has no model 'ViT-B-33'\. Did you mean 'ViT-B-32",
        ),
        (
            {"architecture": "ViT-B-32", "weights": "laion"},
            r"ViT-B-32 has no weights 'laion'\. Choose one of: openai, ",
        ),
        (
            {"architecture": "small", "weights": "untrained", "layers": "resblocks.0"},
            r"small has no layer 'resblocks\.0'",
        ),
    ],
)
def test_problems(given: dict[str, Any], message: str) -> None:
    (problem,) = OpenClip(**given).problems()
    assert re.search(message, problem)
    assert "\n" not in problem


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr("open_clip.factory.download_pretrained", unreachable)
    message = (
        r"Cannot get the weights laion2b_s34b_b79k of ViT-B-32 \(.*no route\)\. Offline, fetch them elsewhere \(laion/"
    )
    with pytest.raises(UserError, match=message):
        OpenClip(architecture="ViT-B-32", weights="laion2b_s34b_b79k").load()


def test_activation_and_pictures_follow_the_weights() -> None:
    kinds = {}
    for weights in ("openai", "laion2b_s34b_b79k"):
        model = OpenClip(architecture="ViT-B-32", weights=weights)
        assert model.problems() == []
        kinds[weights] = set(model.describe()["type"])
    assert "QuickGELU" in kinds["openai"]
    assert "QuickGELU" not in kinds["laion2b_s34b_b79k"]
    assert "mean=(0.5, 0.5, 0.5)" in OpenClip(architecture="ViT-B-16-SigLIP", weights="webli").preprocessing()
