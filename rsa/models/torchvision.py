"""Every classification network of torchvision: with its weights, with yours, or untrained."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache, partial
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pandas as pd
from PIL import Image
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from rsa.errors import UserError, did_you_mean, listed
from rsa.settings import Label, Section, _below_data_root

if TYPE_CHECKING:
    import torch

__all__ = ["DEFAULT_LAYERS", "Torchvision", "single_tensor"]

WEIGHTS_SUFFIXES = (".pth", ".pt", ".safetensors")

UNPICKLING_ERRORS = (
    *(UnpicklingError, RuntimeError, OSError, EOFError, LookupError),
    *(ValueError, TypeError, AttributeError, AssertionError),
)
"""What `torch.load` raises on files that are damaged or are something else."""

DEFAULT_LAYERS: dict[str, tuple[str, ...]] = {
    "alexnet": ("features.[1479]", "features.11", "classifier.[256]"),
    "convnext_.*": ("features.[0-7]", "classifier.2"),
    "densenet.*": ("features.pool0", "features.denseblock[1-4]", "features.transition[1-3]", "classifier"),
    "efficientnet_.*": ("features.[0-9]", "classifier.1"),
    "googlenet": ("maxpool[12]", "inception[345][a-e]", "avgpool", "fc"),
    "inception_v3": ("maxpool[12]", "Mixed_[567][a-e]", "avgpool", "fc"),
    "maxvit_t": ("stem", "blocks.[0-3].layers.[0-9]", "classifier.5"),
    "mnasnet.*": ("layers.[25789]", "layers.1[01236]", "classifier.1"),
    "mobilenet_v2": ("features.[0-9]", "features.1[0-9]", "classifier.1"),
    "mobilenet_v3_.*": ("features.[0-9]", "features.1[0-9]", "classifier.[13]"),
    "regnet_.*": ("stem", "trunk_output.block[1-4].block[1-4]-[0-9]", "trunk_output.*-[1-9][0-9]", "avgpool", "fc"),
    "(wide_)?resne[xt].*": ("maxpool", "layer[1-4].[0-9]", "layer[1-4].[1-9][0-9]", "avgpool", "fc"),
    "shufflenet_v2_.*": ("maxpool", "stage[234].[0-9]", "conv5", "fc"),
    "squeezenet1_0": ("features.[1345789]", "features.1[02]", "classifier"),
    "squeezenet1_1": ("features.[134679]", "features.1[0-2]", "classifier"),
    "swin_.*": ("features.[0-7]", "avgpool", "head"),
    "vgg11": ("features.[25]", "features.1[05]", "features.20", "classifier.[146]"),
    "vgg13": ("features.[49]", "features.1[49]", "features.24", "classifier.[146]"),
    "vgg16": ("features.[49]", "features.16", "features.23", "features.30", "classifier.[146]"),
    "vgg19": ("features.[49]", "features.18", "features.27", "features.36", "classifier.[146]"),
    "vgg11_bn": ("features.[37]", "features.14", "features.2[18]", "classifier.[146]"),
    "vgg13_bn": ("features.6", "features.13", "features.2[07]", "features.34", "classifier.[146]"),
    "vgg16_bn": ("features.6", "features.13", "features.23", "features.[34]3", "classifier.[146]"),
    "vgg19_bn": ("features.6", "features.13", "features.26", "features.39", "features.52", "classifier.[146]"),
    "vit_.*": ("conv_proj", "encoder.layers.encoder_layer_[0-9]", "encoder.*_layer_[1-9][0-9]", "heads.head"),
}
"""Layers that `default` stands for: architecture (regular expression) -> globs. Outputs of blocks, or of the
non-linearity or pooling that ends a stage, and the class scores; never dropout."""


def _path_below_data_root(weights: str, info: ValidationInfo) -> str:
    return _below_data_root(weights, info) if _is_path(weights) else weights


def _is_path(weights: str) -> bool:
    return weights.lower().endswith(WEIGHTS_SUFFIXES)


def _as_tuple(layers: Any) -> Any:
    return (layers,) if isinstance(layers, str) and layers != "default" else layers


Layers = Annotated[Literal["default"] | Annotated[tuple[str, ...], Field(min_length=1)], BeforeValidator(_as_tuple)]


class Torchvision(Section):
    """A classification network of torchvision."""

    source: Literal["torchvision"] = "torchvision"
    """Where the network comes from."""
    name: Label | None = None
    """Label of the model in file names (letters and digits); by default the architecture's."""
    architecture: str
    """Name by which torchvision knows the network: alexnet, resnet50, vit_b_16, ..."""
    weights: Annotated[str, AfterValidator(_path_below_data_root)] = "DEFAULT"
    """Name of torchvision's weights (DEFAULT, IMAGENET1K_V1, ...), `untrained`, or a file with a state dict (.pth, .pt,
    .safetensors), also one below a key `state_dict` or with names that start with `module.`. Named weights bring their
    own preprocessing; a file and `untrained` get that of DEFAULT."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random weights of an `untrained` network."""
    layers: Layers = "default"
    """Layers by name, or by glob (`features.*`; of what a glob matches, layers without one output are left out);
    `python -m rsa layers ARCHITECTURE` lists them."""

    @property
    def label(self) -> str:
        """The model's label in file names."""
        return self.name or re.sub("[^0-9A-Za-z]", "", self.architecture)

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
            _fill(network, self._state(entry), self.architecture, self.weights)
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
        return [Path(self.weights)] if _is_path(self.weights) else []

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
        if _is_path(self.weights) or self.weights == "untrained":
            return entries.DEFAULT
        if self.weights not in entries.__members__:
            raise UserError(
                f"{self.architecture} has no weights {self.weights!r}. Choose one of: "
                f"{', '.join(entries.__members__)}, untrained, or a file that ends in {', '.join(WEIGHTS_SUFFIXES)}."
            )
        return entries[self.weights]

    def _state(self, entry: Any) -> "dict[str, torch.Tensor]":
        if _is_path(self.weights):
            return _read_state(self.weights, "cpu")
        return _fetch_state(self.architecture, self.weights, entry)

    def _check_file(self, entry: Any) -> None:
        """Raise unless a local weights file is there and fits; only the names and shapes in it are read."""
        if _is_path(self.weights):
            network = _build_without_memory(self.architecture, _image_size(entry))
            _fitted(network, _read_state(self.weights, "meta"), self.architecture, self.weights)


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


# --------------------------------------------------------------------------------------------- weights


def _fill(network: "torch.nn.Module", state: "Mapping[str, torch.Tensor]", architecture: str, weights: str) -> None:
    complete = network.state_dict()  # which, unlike a plain dict, knows its version: MNASNet asks for it
    complete.update(_fitted(network, state, architecture, weights))
    network.load_state_dict(complete, strict=True)


def _fitted(
    network: "torch.nn.Module", state: "Mapping[str, torch.Tensor]", architecture: str, weights: str
) -> "dict[str, torch.Tensor]":
    """Return the state dict under the names of the network, or say what is missing, unexpected or of a wrong shape.

    The auxiliary heads of GoogLeNet and Inception, and the counters of batches that old files lack, don't matter.
    """
    wanted = network.state_dict()
    given = {_current_name(name): tensor for name, tensor in state.items()}
    given = {name: tensor for name, tensor in given.items() if name in wanted or not _is_auxiliary(name, architecture)}
    counters = {name: tensor for name, tensor in wanted.items() if name.endswith(".num_batches_tracked")}
    given = counters | given
    shared = [name for name in wanted if name in given]
    wrong = [
        f"{name} of shape {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in shared
        if given[name].shape != wanted[name].shape
    ]
    differences = {
        "missing": [name for name in wanted if name not in given],
        "unexpected": [name for name in given if name not in wanted],
        "of a wrong shape": wrong,
    }
    found = [f"{len(names)} {what} ({listed(names, 4)})" for what, names in differences.items() if names]
    if found:
        raise UserError(f"The weights {weights} do not fit {architecture}: {'; '.join(found)}. Check `architecture`.")
    return given


def _current_name(name: str) -> str:
    """Return the name without DataParallel's prefix, and as DenseNet's layers are called since torch 0.4."""
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2", name.removeprefix("module."))


def _is_auxiliary(name: str, architecture: str) -> bool:
    return architecture in ("googlenet", "inception_v3") and name.startswith(("aux1.", "aux2.", "AuxLogits."))


def _read_state(path: str, device: str) -> "dict[str, torch.Tensor]":
    """Read a state dict from a file; on the device "meta" only names and shapes."""
    import torch
    from safetensors import SafetensorError

    if not Path(path).is_file():
        raise UserError(f"There is no weights file {path}.")
    try:
        read = _read_safetensors if path.lower().endswith(".safetensors") else _read_torch
        content = read(path, device)
    except (SafetensorError, *UNPICKLING_ERRORS) as error:
        raise UserError(
            f"{path} is not a state dict that can be read safely ({_reason(error)}). Save the network's by "
            "torch.save(network.state_dict(), path)."
        ) from error
    content = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(content, Mapping) or not all(isinstance(part, torch.Tensor) for part in content.values()):
        raise UserError(
            f"{path} holds no state dict (names and tensors, or these below the key 'state_dict'). Save the network's "
            "by torch.save(network.state_dict(), path)."
        )
    return dict(content)


def _read_torch(path: str, device: str) -> Any:
    import torch

    return torch.load(path, map_location=device, weights_only=True)


def _read_safetensors(path: str, device: str) -> "dict[str, torch.Tensor]":
    import torch
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        if device == "meta":
            return {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in names}
        return {name: file.get_tensor(name) for name in names}


def _fetch_state(architecture: str, weights: str, entry: Any) -> "dict[str, torch.Tensor]":
    """Read torchvision's own weights from torch's cache, or download them to it."""
    import torch

    cached = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rpartition("/")[2]
    try:
        state = entry.get_state_dict(progress=sys.stderr.isatty(), check_hash=True, weights_only=True)
    except (HTTPException, *UNPICKLING_ERRORS) as error:
        if cached.is_file():
            raise UserError(f"{cached} is damaged ({_reason(error)}); delete it and run again.") from error
        raise UserError(
            f"Cannot get the weights {weights} of {architecture} ({_reason(error)}). Offline, fetch {entry.url} "
            f"elsewhere and copy it to {cached}, or set `weights` to the path of the file."
        ) from error
    return dict(state)


def _reason(error: Exception) -> str:
    """Return the type of an error and the first sentence of its message (some messages are but a number)."""
    return f"{type(error).__name__}: {re.split(r'[.] |[.]?$', str(error).strip(), maxsplit=1, flags=re.MULTILINE)[0]}"
