"""The examples of docs/networks.md run, on a small network."""

import re
from pathlib import Path

import numpy as np
import pytest
import torchvision
import yaml
from pydantic import TypeAdapter

from rsa.models import MODELS, Model
from rsa.models.preprocessing import PRESETS

PAGE = (Path(__file__).parent.parent / "docs/networks.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.S | re.M)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_examples_of_networks(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    network = torchvision.models.squeezenet1_1().eval()
    for code in blocks("python"):
        exec(compile(code, "networks.md", "exec"), {"network": network})
    Path("features").mkdir()
    for layer in ("conv1", "fc"):
        np.savez(f"features/{layer}.npz", features=rng.standard_normal((4, 6)))
    np.savez("features.npz", conv1=rng.standard_normal((4, 2, 3)))
    given = [one for block in blocks("yaml") for one in yaml.safe_load(block)["models"]]
    models = [TypeAdapter(Model).validate_python(one) for one in given]
    assert {model.source for model in models} >= {"torchvision", "timm", "onnx", "exported", "features"}
    for model in models:
        assert model.problems() == [], model
        assert len(model.layer_names()) >= 1


def test_the_page_has_all_sources_and_presets():
    rows = re.findall(r"^\| \[?`([a-z_]+)`", PAGE, flags=re.M)
    assert set(MODELS) | set(PRESETS) <= set(rows)
