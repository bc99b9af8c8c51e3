"""Networks for vision of the library transformers: from the hub, or from a folder."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pandas as pd
from PIL import Image

from rsa.errors import UserError, one_line
from rsa.models.architectures import UNTRAINED, Architecture, Weights, defaults
from rsa.models.default_layers import TRANSFORMER_BLOCKS, TRANSFORMER_ENDS, blocks_of, outline, usable_layers
from rsa.models.modules import traced, without_memory
from rsa.models.source import require_extra
from rsa.settings import path_unless

if TYPE_CHECKING:
    import torch

__all__ = ["Transformers"]

PRETRAINED = "pretrained"
"""Stands for the weights that lie beside the configuration of the network."""

SCORES = "ForImageClassification"
"""What the names of classes of networks with class scores end in."""


def _is_name(text: str) -> bool:
    """Say whether a network is told by its name on the hub, and not by a folder."""
    return not (text.startswith(("/", "./", "~", "{results}")) or text.endswith("/") or text.count("/") > 1)


class Transformers(Architecture):
    """A network for vision of the library transformers; of one for pictures and texts, what sees the pictures."""

    source: Literal["transformers"] = "transformers"
    """Where the network comes from."""
    architecture: Annotated[str, path_unless(_is_name)]
    """Name on the hub (facebook/dinov2-base, openai/clip-vit-base-patch32, microsoft/resnet-50, ...), or a folder with
    config.json, preprocessor_config.json and weights: a path that begins with / or ./ or ends with /: nets/vit/."""
    weights: Weights = PRETRAINED
    """`pretrained` (those that lie beside the configuration), `untrained`, or a file with a state dict."""

    @property
    def called(self) -> str:
        """The last part of the name."""
        return Path(self.architecture).name

    @property
    def word(self) -> str:
        """What `python -m rsa layers` knows the network by."""
        return f"transformers:{self.architecture}"

    def methods(self) -> list[str]:
        """Return sentences for the methods text: the network, its weights, and what pictures became."""
        called = "" if self.label == self.called else f", here called {self.label},"
        named = self.called if self._is_folder else self.architecture
        _, height, width = self.input_shape()
        return [
            self.methods_of_weights(
                f"The network {named} of transformers (Wolf et al., 2020){called}", "the weights published with it"
            ),
            f"Pictures were prepared by its own image processor, as {height} x {width} pixels.",
        ]

    def preprocessing(self) -> str:
        """Describe the preprocessing of pictures in one line."""
        return re.sub(r"\s+", " ", repr(_processor(self.architecture)))

    def require_known(self) -> None:
        """Raise a UserError if transformers is not installed, or the network's configuration can't be had."""
        _transformers()
        if not _is_name(self.architecture) and not self._is_folder:
            raise UserError(f"There is no folder {self.architecture} with a network of transformers.")
        if self.weights_key is not None and not self.is_from_file:
            raise UserError(f"weights_key is for weights of a file, and these are {self.weights!r}: leave it out.")
        if not (self.is_from_file or self.weights in (PRETRAINED, UNTRAINED)):
            raise UserError(
                f"{self.called} has no weights {self.weights!r}. Choose one of: {self.kinds_of_weights([PRETRAINED])}."
            )
        _class_and_config(self.architecture)

    def build(self, init_weights: bool) -> "torch.nn.Module":
        """Return the network, its weights random."""
        return _build(self.architecture)

    def named_state(self) -> "dict[str, torch.Tensor]":
        """Return the state dict of the weights beside the configuration; a weight that is missing there is left out."""
        import torch

        kind, config = _class_and_config(self.architecture)
        options = {"config": config, "dtype": torch.float32, "output_loading_info": True}
        network, told = _had(kind.from_pretrained, self.architecture, "weights", **options)
        lost = {*told["missing_keys"], *(name for name, *_ in told["mismatched_keys"])}
        return {name: tensor for name, tensor in network.state_dict().items() if name not in lost}

    def transform(self) -> "Callable[[Image.Image], torch.Tensor]":
        """Return what makes the network's input of a picture."""
        return Transform(_processor(self.architecture))

    def input_shape(self) -> tuple[int, int, int]:
        """Return the shape of the network's input for one picture: (3, height, width)."""
        return _input_shape(self.architecture)

    def all_layers(self) -> pd.DataFrame:
        """Return all layers as `describe` does, with those that have no weights."""
        return _described(self.architecture)

    def files(self) -> list[Path]:
        """Return the local files that the network is read from."""
        inside = sorted(Path(self.architecture).iterdir()) if self._is_folder else []
        read = [path for path in inside if path.suffix in (".json", ".safetensors", ".bin")]
        own = [path for path in read if path.suffix == ".json" or self.weights == PRETRAINED]
        return [*own, *super().files()]

    @property
    def _is_folder(self) -> bool:
        return Path(self.architecture).is_dir()


class Transform:
    """Makes the network's input of a picture by an image processor of transformers."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, picture: Image.Image) -> "torch.Tensor":
        """Return the network's input, shape (3, height, width)."""
        made: torch.Tensor = self.processor(images=picture, return_tensors="pt")["pixel_values"][0]
        return made


def _transformers() -> Any:
    library = require_extra("transformers", "transformers", "transformers")
    library.utils.logging.disable_progress_bar()  # which would be drawn into logs
    return library


def _had(load: Callable[..., Any], architecture: str, what: str, **options: Any) -> Any:
    """Load something of a network from its folder or the cache of the hub; what is not there, from the network."""
    is_folder = Path(architecture).is_dir()
    try:
        return load(architecture, local_files_only=True, **options)
    except Exception as error:  # of many kinds: no such file, no such class, a damaged file
        if is_folder:
            raise UserError(f"Cannot read the {what} of the network in {architecture}: {one_line(error)}.") from error
    try:
        return load(architecture, **options)
    except Exception as error:
        raise UserError(
            f"Cannot get the {what} of {architecture} ({one_line(error)}). Offline, copy the cache of the hub to this "
            "machine (HF_HOME), or fetch the files elsewhere and set `architecture` to the path of their folder."
        ) from error


@cache
def _class_and_config(architecture: str) -> tuple[Any, Any]:
    """Return the class of a network and the configuration of what sees the pictures."""
    transformers = _transformers()
    config = _had(transformers.AutoConfig.from_pretrained, architecture, "configuration")
    named = next((name for name in config.architectures or [] if name.endswith(SCORES)), "")
    if named and hasattr(transformers, named):
        return getattr(transformers, named), config
    vision = getattr(config, "vision_config", None)
    if isinstance(vision, Mapping) or (vision is None and not hasattr(config, "num_channels")):
        raise UserError(f"{architecture} is no network for pictures (its type is {config.model_type}).")
    return transformers.AutoModel, vision or config


def _build(architecture: str) -> "torch.nn.Module":
    kind, config = _class_and_config(architecture)
    network: torch.nn.Module = kind._from_config(config) if hasattr(kind, "_from_config") else kind.from_config(config)
    return network


@cache
def _processor(architecture: str) -> Any:
    return _had(_transformers().AutoImageProcessor.from_pretrained, architecture, "image processor")


@cache
def _input_shape(architecture: str) -> tuple[int, int, int]:
    made = Transform(_processor(architecture))(Image.new("RGB", (256, 256), "grey"))
    if made.ndim != 3:
        raise UserError(f"The image processor of {architecture} makes several pictures of one, which is not supported.")
    _, height, width = made.shape
    return 3, height, width


@cache
def _described(architecture: str) -> pd.DataFrame:
    network = without_memory(lambda: _build(architecture))
    try:
        table = traced(network, _input_shape(architecture))
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{architecture} takes no picture alone ({one_line(error)}).") from error
    usable = usable_layers(table)
    ends = usable[usable.str.fullmatch(TRANSFORMER_ENDS)]
    chosen = {*(blocks_of(table, TRANSFORMER_BLOCKS) or outline(table)), *ends}
    return defaults(table, lambda layer, _: layer in chosen)
