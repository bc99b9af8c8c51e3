"""Every classification network of torchvision: with its weights, with yours, or untrained."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pandas as pd
from PIL import Image
from pydantic import BeforeValidator, Field

from rsa.errors import UserError, did_you_mean
from rsa.models.default_layers import DEFAULT_LAYERS
from rsa.models.weights import WEIGHTS_SUFFIXES, fetch_state, fill_network, fitted, is_weights_file, read_state
from rsa.settings import Label, Section, path_unless

if TYPE_CHECKING:
    import torch

__all__ = ["Torchvision", "single_tensor"]


def _as_tuple(layers: Any) -> Any:
    return (layers,) if isinstance(layers, str) and layers != "default" else layers


Globs = Annotated[tuple[str, ...], Field(min_length=1)]

Layers = Annotated[Literal["default"] | Globs, BeforeValidator(_as_tuple, json_schema_input_type=str | Globs)]
"""The word "default", or names and globs; one alone needs no list."""


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


class Torchvision(Section):
    """A classification network of torchvision."""

    source: Literal["torchvision"] = "torchvision"
    """Where the network comes from."""
    name: Label | None = None
    """Label of the model in file names (letters and digits); by default the architecture's."""
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
    layers: Layers = "default"
    """Layers, one or several, by name or by glob (`features.*`; of what a glob matches, layers without one output are
    left out); `python -m rsa layers ARCHITECTURE` lists them."""

    @property
    def label(self) -> str:
        """The model's label in file names."""
        return self.name or re.sub("[^0-9A-Za-z]", "", self.architecture)

    def about(self) -> str:
        """Say in a few words which network it is."""
        return self.architecture + (
            f", untrained (seed {self.seed})" if self.weights == "untrained" else f", weights {self.weights}"
        )

    def methods(self) -> list[str]:
        """Return sentences for the methods text: the network, its weights, and what pictures became."""
        paper = next((paper for begin, paper in PAPERS_OF.items() if self.architecture.startswith(begin)), "")
        untrained, is_file = self.weights == "untrained", is_weights_file(self.weights)
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

    def load(self) -> "tuple[torch.nn.Module, Callable[[Image.Image], torch.Tensor]]":
        """Return the network, ready for inference, and what makes its input of an RGB picture.

        Returns
        -------
        network : torch.nn.Module
            In evaluation mode, on the CPU, without gradients.
        preprocess : callable
            From a picture to a tensor of shape (3, height, width); deterministic.

        Raises
        ------
        UserError
            If there is no such architecture or weights, or the weights can't be had or don't fit.
        """
        entry = self._entry()
        with _own_random_numbers(self.seed):
            network = _build(self.architecture, _image_size(entry), init_weights=self.weights == "untrained")
        if self.weights != "untrained":
            fill_network(network, self._state(entry), self.architecture, self.weights)
        return network.eval().requires_grad_(False), entry.transforms()

    def preprocessing(self) -> str:
        """Describe the preprocessing of pictures in one line."""
        return re.sub(r"\s+", " ", repr(self._entry().transforms()))

    def describe(self) -> pd.DataFrame:
        """Return the layers in the order in which a picture passes them, without loading any weights.

        Returns
        -------
        DataFrame
            Columns `layer`, `type`, `shape` (of the output for one picture, as in 64x55x55), `n_units`, `n_calls` per
            forward pass and `default`. A layer whose output is not one tensor per picture has 0 units and no shape.
        """
        return _described(self.architecture, _image_size(self._entry())).copy()

    def layer_names(self) -> list[str]:
        """Return the layers that are asked for, each once, in the order in which a picture passes them.

        Raises
        ------
        UserError
            If there is no such layer, or it has no one output: it is called several times per picture.
        """
        table = self.describe()
        if self.layers == "default":
            return list(table["layer"][table["default"]])
        chosen = {name for pattern in self.layers for name in _matching(pattern, table, self.architecture)}
        return [name for name in table["layer"] if name in chosen]

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
        if is_weights_file(self.weights) or self.weights == "untrained":
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
    """Build a network whose tensors have shapes but no content (torch's `meta` device)."""
    import torch
    from torch.overrides import TorchFunctionMode

    class EmptyOnMeta(TorchFunctionMode):
        """Weights are made by `torch.empty`; RegNet computes its sizes with other, real tensors."""

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = {**(kwargs or {}), "device": "meta"} if function is torch.empty else kwargs or {}
            return function(*args, **kwargs)

    with _own_random_numbers(0), EmptyOnMeta():
        network = _build(architecture, image_size, init_weights=False)
    return network.to("meta").eval()


@contextmanager
def _own_random_numbers(seed: int) -> Iterator[None]:
    """Seed torch's generator for the block, and leave it afterwards as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


# ---------------------------------------------------------------------------------------------- layers


def single_tensor(output: Any) -> "torch.Tensor | None":
    """Return a layer's output if it is one tensor, or one tensor beside None (attention); None otherwise."""
    import torch

    parts = output if isinstance(output, tuple | list) else (output,)
    given = [part for part in parts if part is not None]
    return given[0] if len(given) == 1 and isinstance(given[0], torch.Tensor) else None


@cache
def _described(architecture: str, image_size: int) -> pd.DataFrame:
    rows = _traced(_build_without_memory(architecture, image_size), image_size)
    table = pd.DataFrame(rows.values(), columns=["layer", "type", "shape", "n_units", "n_calls"])
    patterns = next((globs for name, globs in DEFAULT_LAYERS.items() if re.fullmatch(name, architecture)), ("*",))
    usable = (table["n_calls"] == 1) & (table["n_units"] > 0)
    named = table["layer"].map(lambda name: any(fnmatchcase(name, glob) for glob in patterns))
    return table.assign(default=usable & named)


def _traced(network: "torch.nn.Module", image_size: int) -> dict[str, dict[str, Any]]:
    """Pass pictures through a network on the meta device; return a row per layer, in the order of their outputs."""
    import torch

    n_pictures = 3  # a number that is unlikely to come about by chance in the first dimension of an output
    rows: dict[str, dict[str, Any]] = {}

    def note(name: str, module: torch.nn.Module, _: Any, output: Any) -> None:
        tensor = single_tensor(output)
        per_picture = tensor is not None and tensor.ndim > 1 and len(tensor) == n_pictures
        shape = tuple(tensor.shape[1:]) if tensor is not None and per_picture else ()
        n_units = int(torch.Size(shape).numel()) if per_picture else 0
        row = {"layer": name, "type": type(module).__name__, "shape": "x".join(map(str, shape)), "n_units": n_units}
        rows.setdefault(name, row | {"n_calls": 0})["n_calls"] += 1

    for name, module in network.named_modules():
        if name:
            module.register_forward_hook(partial(note, name))
    with torch.inference_mode():
        network(torch.empty(n_pictures, 3, image_size, image_size, device="meta"))
    return rows


def _matching(pattern: str, table: pd.DataFrame, architecture: str) -> list[str]:
    """Return the layers of that name, or those with one output that match the glob."""
    n_calls = dict(zip(table["layer"], table["n_calls"], strict=True))
    n_units = dict(zip(table["layer"], table["n_units"], strict=True))
    matches = [pattern] if pattern in n_calls else [name for name in n_calls if fnmatchcase(name, pattern)]
    usable = [name for name in matches if n_calls[name] == 1 and n_units[name]]
    if usable:
        return usable
    if not matches:
        raise UserError(
            f"{architecture} has no layer {pattern!r}.{did_you_mean(pattern, n_calls, 3)} "
            f"`python -m rsa layers {architecture}` lists them."
        )
    if n_calls[matches[0]] == 1:
        raise UserError(f"The output of layer {matches[0]!r} of {architecture} is not one tensor per picture.")
    around = [name for name in _enclosing(matches[0]) if n_calls.get(name) == 1 and n_units[name]]
    hint = f"ask for the module around it, {around[0]!r}" if around else "ask for another one"
    raise UserError(
        f"Layer {matches[0]!r} of {architecture} is called {n_calls[matches[0]]} times per picture, "
        f"so it has no one output; {hint}."
    )


def _enclosing(name: str) -> list[str]:
    """Return the modules around a layer, the nearest first."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]
