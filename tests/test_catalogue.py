"""Which networks there are, and their layers, as the command line lists them."""

from pathlib import Path

import networks
import numpy as np
import pandas as pd
import pytest
import torch

from rsa.errors import UserError
from rsa.models import Python, Timm, Torchvision
from rsa.models.catalogue import COLUMNS, by_name, layers_of, listed_models, written
from rsa.pipeline import cli

FILE = Path(__file__).parent / "own_networks.py"


def test_networks_are_listed_by_name_and_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    table = listed_models("mobilenet_v?")
    assert table["architecture"].tolist() == ["mobilenet_v2"]
    assert table["weights"].tolist() == ["IMAGENET1K_V2 IMAGENET1K_V1"]
    assert table["cached"].tolist() == [""]
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "mobilenet_v2-7ebf99e0.pth").touch()
    assert listed_models("torchvision:mobilenet_v2")["cached"].tolist() == ["IMAGENET1K_V2"]
    with pytest.raises(UserError, match=r"No network has a name like 'resnet9'\. `python -m rsa models` lists all"):
        listed_models("resnet9")
    with pytest.raises(UserError, match=r"There is no source 'tim'; choose torchvision or timm or open_clip"):
        listed_models("tim:resnet50")


def test_networks_of_timm_are_listed_with_their_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm", reason="the extra `models` is not installed")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: __file__)
    table = listed_models("timm:test_vit").set_index("architecture")
    assert table.loc["test_vit", "weights"] == "r160_in1k"
    assert table.loc["test_vit", "cached"] == "r160_in1k"
    assert set(table["source"]) == {"timm"}
    assert "test_vit2" in table.index, "a word may be anywhere"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alexnet", Torchvision(architecture="alexnet")),
        ("torchvision:vgg11", Torchvision(architecture="vgg11")),
        ("timm:resnet18.tv_in1k", Timm(architecture="resnet18.tv_in1k")),
        ("vit_tiny_patch16_224", Timm(architecture="vit_tiny_patch16_224")),
        ("resnett", Torchvision(architecture="resnett")),
        ("nets/own.py:make", Python(function="nets/own.py:make")),
        ("lab.networks:make", Python(function="lab.networks:make")),
    ],
)
def test_a_word_is_a_network(name: str, expected: object) -> None:
    assert by_name(name) == expected


def test_a_word_that_is_none() -> None:
    with pytest.raises(UserError, match=r"There is no source of networks 'tim'\. Did you mean 'timm'\?"):
        by_name("tim:resnet50")


def test_layers_have_parameters_and_receptive_fields() -> None:
    table = layers_of(Torchvision(architecture="alexnet")).set_index("layer")
    assert table.loc["features.0", "n_parameters"] == 64 * 3 * 11 * 11 + 64
    assert table.loc["features.1", "n_parameters"] == 0
    assert table.loc[["features.0", "features.2", "features.10"], "field_px"].tolist() == [11, 19, 163]
    assert table.loc[["features.0", "features.2", "features.10"], "jump_px"].tolist() == [4, 8, 16]
    assert np.isinf(table.loc["classifier.6", "field_px"])
    assert written(table.reset_index()).splitlines()[-1].split()[-4:] == ["all", "-", "1", "False"]
    whole = Torchvision(architecture="alexnet", weights="untrained").load().n_parameters
    assert table.loc[["features", "classifier"], "n_parameters"].sum() == whole


def test_layers_of_own_networks_and_files_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx", reason="the extra `models` is not installed")
    assert cli.main(["layers", f"{FILE}:network"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == list(COLUMNS)
    assert lines[1].split() == ["0", "Conv2d", "3x14x14", "588", "84", "3", "1", "1", "True"]
    assert cli.main(["layers", str(networks.onnx_file(tmp_path / "net.onnx"))]) == 0
    assert "Conv" in capsys.readouterr().out


class Pair(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, 2 * x


def test_which_part_a_layer_stands_for_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nfrom test_catalogue import Pair\nfrom own_networks import transform\n"
        "class First(torch.nn.Module):\n    def forward(self, pair):\n        return pair[0]\n"
        "def net():\n    return torch.nn.Sequential(Pair(), First()), transform\n"
    )
    assert cli.main(["layers", f"{tmp_path}/net.py:net"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[1:5]] == ["0", "0:0", "0:1", "1"]
    assert said[-1] == "Layers with several tensors stand for the first of them: 0 for 0:0."


def test_layers_of_a_model_of_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "my.yaml"
    config.write_text(
        "study: mine\nstimuli: {folder: pictures}\nmodels:\n  - {architecture: squeezenet1_1, name: small}\n"
        "brain: {kind: rdms, subjects: ['01', '02'], file: rdms.npz, regions: [IT]}\n"
    )
    assert cli.main(["layers", "small", "--config", str(config)]) == 0
    assert "classifier.1" in capsys.readouterr().out
    assert cli.main(["layers", "smalx", "--config", str(config)]) == 2
    assert "my.yaml has no model 'smalx'. Did you mean 'small'?" in capsys.readouterr().err


def test_models_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "torchvision:alexnet"]) == 0
    heading, line = capsys.readouterr().out.splitlines()
    assert heading.split() == ["source", "architecture", "weights", "cached"]
    assert line.split()[:3] == ["torchvision", "alexnet", "IMAGENET1K_V1"]
    assert isinstance(listed_models("alexnet"), pd.DataFrame)
