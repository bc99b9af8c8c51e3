"""Every classification network of torchvision: with its weights, with yours, or untrained."""

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from PIL import Image

from rsa.errors import UserError, did_you_mean
from rsa.models.architectures import Architecture, Weights, defaults
from rsa.models.default_layers import DEFAULT_LAYERS
from rsa.models.modules import traced, without_memory
from rsa.models.weights import fetch_state

if TYPE_CHECKING:
    import torch

__all__ = ["Torchvision"]


PAPERS_OF = {
    "alexnet": "Krizhevsky, 2014",
    "vgg": "Simonyan & Zisserman, 2015",
    "resnext": "Xie et al., 2017",
    "wide_resnet": "Zagoruyko & Komodakis, 2016",
    "resnet": "He et al., 2016",
    "squeezenet": "Iandola et al., 2016",
    "densenet": "Huang et al., 2017",
    "googlenet": "Szegedy et al., 2015",
    "inception": "Szegedy et al., 2016",
    "mobilenet_v2": "Sandler et al., 2018",
    "mobilenet_v3": "Howard et al., 2019",
    "efficientnet_v2": "Tan & Le, 2021",
    "efficientnet": "Tan & Le, 2019",
    "vit": "Dosovitskiy et al., 2021",
    "swin": "Liu et al., 2021",
    "convnext": "Liu et al., 2022",
    "regnet": "Radosavovic et al., 2020",
    "shufflenet": "Ma et al., 2018",
}
"""The paper of each family of networks, by how its names begin (the first that fits)."""


class Torchvision(Architecture):
    """A classification network of torchvision."""

    source: Literal["torchvision"] = "torchvision"
    """Where the network comes from."""
    architecture: str
    """Name by which torchvision knows the network: alexnet, resnet50, vit_b_16, ..."""
    weights: Weights = "DEFAULT"
    """Name of torchvision's weights (DEFAULT, IMAGENET1K_V1, ...), `untrained`, or a file (.pth, .pt, .pth.tar, .ckpt,
    .bin, .safetensors) with a state dict, alone or inside a training checkpoint; prefixes of wrappers (`module.`,
    `_orig_mod.`, `model.`) are taken off. Of a glob such as `runs/epoch_*.pth`, every file is a model of its own. The
    file must have all weights of the network and no others, but for the modules in `without`. Named weights bring
    their own preprocessing; for a file and for `untrained`, `preprocess_as` says which."""
    preprocess_as: str | None = None
    """For weights of a file and `untrained`: the name of torchvision's weights whose preprocessing is used; by default
    that of DEFAULT, whose picture size may differ from that of IMAGENET1K_V1."""

    def methods(self) -> list[str]:
        """Return sentences for the methods text: the network, its weights, and what pictures became."""
        paper = next((paper for begin, paper in PAPERS_OF.items() if self.architecture.startswith(begin)), "")
        cited = "; ".join(filter(None, [paper, "Paszke et al., 2019"]))
        called = "" if self.label == self.architecture else f", here called {self.label},"
        made = f"The network {self.architecture} of torchvision ({cited}){called}"
        entry = self._entry()
        named = f"the weights {entry.name}, trained on ImageNet (Deng et al., 2009)"
        sentences = [self.methods_of_weights(made, named)]
        how = entry.transforms()
        resized, cropped = (getattr(how, name, None) for name in ("resize_size", "crop_size"))
        if resized and cropped:
            steps = (
                f"scaled to {resized[0]} pixels on the shorter side, cropped to the central {cropped[0]} x {cropped[0]}"
            )
            like = " as for its trained weights" if self.is_untrained or self.is_from_file else ""
            sentences.append(f"Pictures were {steps} and normalised{like}.")
        return sentences

    def preprocessing(self) -> str:
        """Describe the preprocessing of pictures in one line."""
        return re.sub(r"\s+", " ", repr(self._entry().transforms()))

    def require_known(self) -> None:
        """Raise a UserError if torchvision knows no such architecture or weights."""
        self._entry()

    def build(self, init_weights: bool) -> "torch.nn.Module":
        """Return the network, its weights random (if `init_weights`) or of no meaning."""
        return _build(self.architecture, _image_size(self._entry()), init_weights)

    def named_state(self) -> "dict[str, torch.Tensor]":
        """Return the state dict of torchvision's own weights, from torch's cache or the network."""
        return fetch_state(self.architecture, self.weights, self._entry())

    def transform(self) -> "Callable[[Image.Image], torch.Tensor]":
        """Return what makes the network's input of a picture."""
        transforms: Callable[[Image.Image], torch.Tensor] = self._entry().transforms()
        return transforms

    def input_shape(self) -> tuple[int, int, int]:
        """Return the shape of the network's input for one picture: (3, height, width)."""
        size = _image_size(self._entry())
        return 3, size, size

    def all_layers(self) -> pd.DataFrame:
        """Return all layers as `describe` does, with those that have no weights."""
        return _described(self.architecture, _image_size(self._entry()))

    def _entry(self) -> Any:
        """Return torchvision's entry for the weights, or the one whose preprocessing is used."""
        import torchvision

        names = torchvision.models.list_models(module=torchvision.models)
        if self.architecture not in names:
            hint = did_you_mean(self.architecture, names, 3) or f" Choose one of: {', '.join(names)}."
            raise UserError(f"torchvision has no classification model {self.architecture!r}.{hint}")
        entries = torchvision.models.get_model_weights(self.architecture)
        self.require_file_for_its_settings()
        if self.is_from_file or self.is_untrained:
            return self._entry_like(entries)
        if self.preprocess_as is not None:
            raise UserError(f"The weights {self.weights} bring their own preprocessing; leave out preprocess_as.")
        if self.weights not in entries.__members__:
            raise UserError(
                f"{self.architecture} has no weights {self.weights!r}. Choose one of: "
                f"{self.kinds_of_weights(list(entries.__members__))}."
            )
        return entries[self.weights]

    def _entry_like(self, entries: Any) -> Any:
        """Return the entry whose preprocessing suits weights of one's own."""
        name = self.preprocess_as or "DEFAULT"
        if name not in entries.__members__:
            raise UserError(
                f"{self.architecture} has no weights {name!r} to preprocess as. Choose one of: "
                f"{', '.join(entries.__members__)}."
            )
        return entries[name]


# -------------------------------------------------------------------------------------------- networks


def _image_size(entry: Any) -> int:
    """Return the side of the square picture, in pixels, that a network of these weights sees."""
    return int(entry.transforms().crop_size[0])


def _build(architecture: str, image_size: int, init_weights: bool) -> "torch.nn.Module":
    """Build a network as the one that torchvision's weights are for, without the auxiliary heads of training."""
    import torchvision

    options: dict[str, Any] = {}
    if architecture in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "transform_input": True, "init_weights": init_weights}
    if architecture.startswith("vit_"):
        options = {"image_size": image_size}
    network: torch.nn.Module = torchvision.models.get_model(architecture, weights=None, **options)
    return network


@cache
def _described(architecture: str, image_size: int) -> pd.DataFrame:
    network = without_memory(lambda: _build(architecture, image_size, init_weights=False))
    patterns = next((globs for name, globs in DEFAULT_LAYERS.items() if re.fullmatch(name, architecture)), ("*",))
    table = traced(network, (3, image_size, image_size))
    return defaults(table, lambda layer, _: any(fnmatchcase(layer, glob) for glob in patterns))
