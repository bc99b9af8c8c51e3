"""Small networks in files, and the smallest settings of each source of networks."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rsa.files.io import load_table
from rsa.inputs.stimuli import read_image
from rsa.models.modules import TorchNetwork

__all__ = ["SMALLEST", "exported_file", "n_recognised", "noise", "onnx_file", "small_network"]


def n_recognised(network: TorchNetwork, data: Path) -> int:
    """Return how many of the 14 labelled photographs are of the class that a network of ImageNet says."""
    photos = load_table(data / "photos_labelled" / "labels.tsv")
    assert len(photos) == 14
    batch = torch.stack([network.prepare(read_image(data / "photos_labelled" / name)) for name in photos["file"]])
    with torch.inference_mode():
        top = network.module(batch).argmax(dim=1).tolist()
    return sum(str(k) in str(ok).split(",") for k, ok in zip(top, photos["accepted_imagenet_indices"], strict=True))


def small_network(seed: int = 0) -> torch.nn.Module:
    """Return a convolutional network for pictures of 32 x 32 pixels, in evaluation mode: a residual block, scores."""

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.BatchNorm2d(8)
            self.relu = torch.nn.ReLU(inplace=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.relu(self.norm(self.conv(x)) + x)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, stride=2, padding=1),
            torch.nn.ReLU(inplace=True),
            Block(),
            torch.nn.MaxPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(8 * 8 * 8, 5),
        )
    return network.eval()


def exported_file(
    path: Path,
    network: torch.nn.Module | None = None,
    shape: tuple[int, ...] = (2, 3, 32, 32),
    dynamic: dict[int, Any] | None = None,
) -> Path:
    """Save a network, by default the small one, as a program of torch.export; any number of pictures by default."""
    dims = {0: torch.export.Dim("n_pictures")} if dynamic is None else dynamic
    program = torch.export.export(network or small_network(), (torch.zeros(shape),), dynamic_shapes=(dims,))
    torch.export.save(program, path)
    return path


def onnx_file(
    path: Path,
    network: torch.nn.Module | None = None,
    shape: tuple[int, ...] = (2, 3, 32, 32),
    dynamic: tuple[int, ...] = (0,),
) -> Path:
    """Save a network, by default the small one, as a file of ONNX, in which some axes have any size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's older exporter, which is quick and keeps the names of modules
        torch.onnx.export(
            network or small_network(),
            (torch.zeros(shape),),
            path,
            dynamo=False,
            opset_version=13,
            input_names=["picture"],
            output_names=["scores"],
            dynamic_axes={"picture": {axis: f"axis{axis}" for axis in dynamic}} if dynamic else None,
        )
    return path


def _torchvision(folder: Path) -> dict[str, Any]:
    return {"architecture": "alexnet"}


def _timm(folder: Path) -> dict[str, Any]:
    return {"architecture": "resnet18"}


def _onnx(folder: Path) -> dict[str, Any]:
    return {"file": str(onnx_file(folder / "net.onnx")), "preprocess": "imagenet"}


def _exported(folder: Path) -> dict[str, Any]:
    return {"file": str(exported_file(folder / "net.pt2")), "preprocess": "imagenet"}


def _python(folder: Path) -> dict[str, Any]:
    return {"function": f"{Path(__file__).parent / 'own_networks.py'}:network", "arguments": {"n": 4}}


def _features(folder: Path) -> dict[str, Any]:
    np.savez(folder / "features.npz", conv1=np.zeros((4, 2, 3)), fc=np.ones((4, 5)))
    return {"file": str(folder / "features.npz")}


def _open_clip(folder: Path) -> dict[str, Any]:
    pytest.importorskip("open_clip", reason="the extra `openclip` is not installed")
    return {"architecture": "RN50", "weights": "untrained"}


def _transformers(folder: Path) -> dict[str, Any]:
    library = pytest.importorskip("transformers", reason="the extra `transformers` is not installed")
    library.ResNetModel(library.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1])).save_pretrained(
        folder
    )
    library.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return {"architecture": str(folder), "name": "net"}


SMALLEST: dict[str, Callable[[Path], dict[str, Any]]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "onnx": _onnx,
    "exported": _exported,
    "python": _python,
    "features": _features,
    "open_clip": _open_clip,
    "transformers": _transformers,
}
"""The settings that a source of networks needs, with its files written to a folder."""


def noise(n: int, size: tuple[int, int] = (32, 32), seed: int = 0) -> torch.Tensor:
    """Return random pictures, as networks see them: shape (n, 3, height, width)."""
    values = np.random.default_rng(seed).standard_normal((n, 3, *size))
    return torch.from_numpy(values.astype(np.float32))
