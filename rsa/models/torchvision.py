"""Every classification network of torchvision: with its weights, with yours, or untrained."""

import re
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pandas as pd
from pydantic import Field

from rsa.errors import UserError, did_you_mean
from rsa.models.default_layers import DEFAULT_LAYERS
from rsa.models.modules import TorchNetwork, own_random_numbers, traced, without_memory
from rsa.models.source import Source
from rsa.models.weights import WEIGHTS_SUFFIXES, fetch_state, fill_network, fitted, is_weights_file, read_state
from rsa.settings import path_unless

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


class Torchvision(Source):
    """A classification network of torchvision."""

    source: Literal["torchvision"] = "torchvision"
    """Where the network comes from."""
    architecture: str
    """Name by which torchvision knows the network: alexnet, resnet50, vit_b_16, ..."""
    weights: Annotated[str, path_unless(lambda weights: not is_weights_file(weights))] = "DEFAULT"
    """Name of torchvision's weights (DEFAULT, IMAGENET1K_V1, ...), `untrained`, or a file with a state dict (.pth, .pt,
    .pth.tar, .ckpt, .bin, .safetensors): the network's alone or in the checkpoint of a training, also with what
    wrappers put before all names (`module.`, `_orig_mod.`, `model.`). All of the network has to be there, and nothing
    else. Named weights bring their own preprocessing; for a file and for `untrained`, `preprocess_as` says which."""
    weights_key: str | None = None
    """For a checkpoint that holds several state dicts: which to take, such as model_ema; by default `state_dict`,
    `model_state_dict` or `model`, or the only one."""
    preprocess_as: str | None = None
    """For weights of a file and `untrained`: the name of torchvision's weights whose preprocessing is used; by default
    that of DEFAULT, whose picture size may differ from that of IMAGENET1K_V1."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random weights of an `untrained` network."""

    @property
    def called(self) -> str:
        """The architecture."""
        return self.architecture

    @property
    def is_untrained(self) -> bool:
        """Whether the weights are random."""
        return self.weights == "untrained"

    def about(self) -> str:
        """Say in a few words which network it is."""
        return self.architecture + (
            f", untrained (seed {self.seed})" if self.is_untrained else f", weights {self.weights}"
        )

    def methods(self) -> list[str]:
        """Return sentences for the methods text: the network, its weights, and what pictures became."""
        paper = next((paper for begin, paper in PAPERS_OF.items() if self.architecture.startswith(begin)), "")
        untrained, is_file = self.is_untrained, is_weights_file(self.weights)
        cited = "; ".join(filter(None, [paper, "Paszke et al., 2019"]))
        called = "" if self.label == self.architecture else f", here called {self.label},"
        made = f"The network {self.architecture} of torchvision ({cited}){called}"
        entry = self._entry()
        if untrained:
            sentences = [f"{made} was untrained: its weights were random (seed {self.seed})."]
        elif is_file:
            sentences = [f"{made} had weights of the file {Path(self.weights).name}."]
        else:
            sentences = [f"{made} had the weights {entry.name}, trained on ImageNet (Deng et al., 2009)."]
        how = entry.transforms()
        resized, cropped = (getattr(how, name, None) for name in ("resize_size", "crop_size"))
        if resized and cropped:
            steps = (
                f"scaled to {resized[0]} pixels on the shorter side, cropped to the central {cropped[0]} x {cropped[0]}"
            )
            like = " as for its trained weights" if untrained or is_file else ""
            sentences.append(f"Pictures were {steps} and normalised{like}.")
        return sentences

    def load(self) -> TorchNetwork:
        """Return the network, ready for inference on the CPU.

        Raises
        ------
        UserError
            If there is no such architecture or weights, or the weights can't be had or don't fit.
        """
        entry = self._entry()
        with own_random_numbers(self.seed):
            network = _build(self.architecture, _image_size(entry), init_weights=self.is_untrained)
        if not self.is_untrained:
            fill_network(network, self._state(entry), self.architecture, self.weights)
        return TorchNetwork(network.eval().requires_grad_(False), entry.transforms())

    def preprocessing(self) -> str:
        """Describe the preprocessing of pictures in one line."""
        return re.sub(r"\s+", " ", repr(self._entry().transforms()))

    def describe(self) -> pd.DataFrame:
        """Return the layers in the order in which a picture passes them, without loading any weights."""
        return _described(self.architecture, _image_size(self._entry())).copy()

    def files(self) -> list[Path]:
        """Return the local files that the network is read from."""
        return [Path(self.weights)] if is_weights_file(self.weights) else []

    def problems(self) -> list[str]:
        """Return what is wrong with these settings, a line each; weights on the network are not fetched."""
        try:
            entry = self._entry()
        except UserError as error:
            return [str(error)]
        found = []
        for check in (partial(self._check_file, entry), self.layer_names):
            try:
                check()
            except UserError as error:
                found.append(str(error))
        return found

    def _entry(self) -> Any:
        """Return torchvision's entry for the weights, or the one whose preprocessing is used."""
        import torchvision

        names = torchvision.models.list_models(module=torchvision.models)
        if self.architecture not in names:
            hint = did_you_mean(self.architecture, names, 3) or f" Choose one of: {', '.join(names)}."
            raise UserError(f"torchvision has no classification model {self.architecture!r}.{hint}")
        entries = torchvision.models.get_model_weights(self.architecture)
        if self.weights_key is not None and not is_weights_file(self.weights):
            raise UserError(f"weights_key is for weights of a file, and these are {self.weights!r}: leave it out.")
        if is_weights_file(self.weights) or self.is_untrained:
            return self._entry_like(entries)
        if self.preprocess_as is not None:
            raise UserError(f"The weights {self.weights} bring their own preprocessing; leave out preprocess_as.")
        if self.weights not in entries.__members__:
            raise UserError(
                f"{self.architecture} has no weights {self.weights!r}. Choose one of: "
                f"{', '.join(entries.__members__)}, untrained, or a file that ends in {', '.join(WEIGHTS_SUFFIXES)}."
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

    def _state(self, entry: Any) -> "dict[str, torch.Tensor]":
        if is_weights_file(self.weights):
            return read_state(self.weights, "cpu", self.weights_key)
        return fetch_state(self.architecture, self.weights, entry)

    def _check_file(self, entry: Any) -> None:
        """Raise unless a local weights file is there and fits; only the names and shapes in it are read."""
        if is_weights_file(self.weights):
            network = _build_without_memory(self.architecture, _image_size(entry))
            fitted(network, read_state(self.weights, "meta", self.weights_key), self.architecture, self.weights)


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


def _build_without_memory(architecture: str, image_size: int) -> "torch.nn.Module":
    return without_memory(lambda: _build(architecture, image_size, init_weights=False))


@cache
def _described(architecture: str, image_size: int) -> pd.DataFrame:
    table = traced(_build_without_memory(architecture, image_size), (3, image_size, image_size))
    patterns = next((globs for name, globs in DEFAULT_LAYERS.items() if re.fullmatch(name, architecture)), ("*",))
    usable = (table["n_calls"] == 1) & (table["n_units"] > 0)
    named = table["layer"].map(lambda name: any(fnmatchcase(name, glob) for glob in patterns))
    return table.assign(default=usable & named)
