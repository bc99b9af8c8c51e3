"""What CLIP and its kin see: the image towers of the networks of open_clip."""

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from PIL import Image

from rsa.errors import UserError, did_you_mean, one_line
from rsa.models.architectures import UNTRAINED, Architecture, Weights, defaults
from rsa.models.default_layers import TRANSFORMER_BLOCKS, TRANSFORMER_ENDS, blocks_of, outline, usable_layers
from rsa.models.modules import traced, without_memory
from rsa.models.source import require_extra

if TYPE_CHECKING:
    import torch

__all__ = ["OpenClip"]

TOWER = "visual"
"""The image tower in a network of open_clip, and the layer that is its output: the embedding of the picture."""

HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What files of weights are called on the hub."""


class OpenClip(Architecture):
    """The image tower of a network of open_clip, trained with texts (CLIP, SigLIP, CoCa, ...)."""

    source: Literal["open_clip"] = "open_clip"
    """Where the network comes from."""
    architecture: str
    """Name by which open_clip knows the network: ViT-B-32, RN50, convnext_base_w, ViT-B-16-SigLIP, ..."""
    weights: Weights
    """Name of open_clip's weights (openai, laion2b_s34b_b79k, ...), `untrained`, or a file with a state dict of the
    whole network or of its image tower."""

    @property
    def word(self) -> str:
        """What `python -m rsa layers` knows the network by."""
        return f"open_clip:{self.architecture}"

    def methods(self) -> list[str]:
        """Return sentences for the methods text: the network, its weights, and what pictures became."""
        called = "" if self.label == self.architecture else f", here called {self.label},"
        made = (
            f"The image tower of {self.architecture} of open_clip (Radford et al., 2021; Ilharco et al., 2021){called}"
        )
        _, height, width = self.input_shape()
        return [
            self.methods_of_weights(made, f"the weights {self.weights}, trained on pictures and texts"),
            f"Pictures were scaled and cropped to {height} x {width} pixels and normalised as for its training.",
        ]

    def preprocessing(self) -> str:
        """Describe the preprocessing of pictures in one line."""
        return re.sub(r"\s+", " ", repr(self.transform()))

    def require_known(self) -> None:
        """Raise a UserError if open_clip is not installed, or knows no such network or weights."""
        open_clip = _open_clip()
        names = open_clip.list_models()
        if self.architecture not in names:
            hint = did_you_mean(self.architecture, names, 3) or f" Choose one of: {', '.join(names)}."
            raise UserError(f"open_clip has no model {self.architecture!r}.{hint}")
        self.require_file_for_its_settings()
        tags = open_clip.list_pretrained_tags_by_model(self.architecture)
        if not (self.is_from_file or self.weights in (UNTRAINED, *tags)):
            raise UserError(
                f"{self.architecture} has no weights {self.weights!r}. Choose one of: {self.kinds_of_weights(tags)}."
            )

    def build(self, init_weights: bool) -> "torch.nn.Module":
        """Return the image tower, its weights random."""
        return _tower(self.architecture, self._tag)

    def named_state(self) -> "dict[str, torch.Tensor]":
        """Return the state dict of the tower with open_clip's own weights, from the cache of the hub or the network."""
        config = _pretrained(self.architecture, self.weights)
        try:
            return dict(_tower(self.architecture, self.weights, _cached(config) or self.weights).state_dict())
        except Exception as error:  # of the hub's client, of the network, of a damaged file
            where = config.get("hf_hub") or config.get("url")
            raise UserError(
                f"Cannot get the weights {self.weights} of {self.architecture} ({one_line(error)}). Offline, fetch "
                f"them elsewhere ({where}) and set `weights` to the path of the file, or copy the cache of the hub to "
                "this machine (HF_HOME)."
            ) from error

    def state_of_file(self, state: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """Return what belongs to the image tower of the state dict of a file."""
        whole = {name: tensor for name, tensor in state.items() if f".{TOWER}." in f".{name}"}
        return whole or {f"{TOWER}.{name}": tensor for name, tensor in state.items()}

    def transform(self) -> "Callable[[Image.Image], torch.Tensor]":
        """Return what makes the network's input of a picture."""
        transform: Callable[[Image.Image], torch.Tensor] = _transform(self.architecture, self._tag)
        return transform

    def input_shape(self) -> tuple[int, int, int]:
        """Return the shape of the network's input for one picture: (3, height, width)."""
        return _input_shape(self.architecture, self._tag)

    def all_layers(self) -> pd.DataFrame:
        """Return all layers as `describe` does, with those that have no weights."""
        return _described(self.architecture, self._tag)

    @property
    def _tag(self) -> str:
        """The name of the weights, which may decide of the activation and of pictures; empty without one."""
        return "" if self.is_untrained or self.is_from_file else self.weights


def _open_clip() -> Any:
    return require_extra("open_clip", "openclip", "open_clip")


def _pretrained(architecture: str, tag: str) -> dict[str, Any]:
    return dict(_open_clip().get_pretrained_cfg(architecture, tag)) if tag else {}


def _cached(config: dict[str, Any]) -> str:
    """Return the file of weights in the hub's cache; empty if there is none."""
    from huggingface_hub import try_to_load_from_cache

    repository, _, file = str(config.get("hf_hub") or "").rpartition("/")
    names = [file] if file else HUB_FILES
    found = [try_to_load_from_cache(repository, name) for name in names] if repository else []
    return next((path for path in found if isinstance(path, str)), "")


@contextmanager
def _quietly() -> Iterator[None]:
    """Hold back what open_clip says of a network without weights, which is meant."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)


def _tower(architecture: str, tag: str, pretrained: str | None = None) -> "torch.nn.Module":
    """Return the image tower as a layer of a network, on the CPU; `pretrained` is a tag or a file."""
    import torch

    config = _pretrained(architecture, tag)
    options = {name: config[name] for name in ("mean", "std", "interpolation", "resize_mode") if name in config}
    with _quietly():
        network = _open_clip().create_model(
            architecture,
            pretrained=pretrained,
            load_weights=pretrained is not None,
            force_quick_gelu=bool(config.get("quick_gelu", False)),
            force_preprocess_cfg=options,
        )
    return torch.nn.Sequential(OrderedDict([(TOWER, network.visual)]))


@cache
def _light(architecture: str, tag: str) -> Any:
    """Return the tower without the content of its weights."""
    return without_memory(lambda: _tower(architecture, tag))


def _transform(architecture: str, tag: str) -> Any:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = PreprocessCfg(**_light(architecture, tag).get_submodule(TOWER).preprocess_cfg)
    return image_transform_v2(config, is_train=False)


@cache
def _input_shape(architecture: str, tag: str) -> tuple[int, int, int]:
    grey = Image.new("RGB", (256, 256), "grey")
    _, height, width = _transform(architecture, tag)(grey).shape
    return 3, height, width


@cache
def _described(architecture: str, tag: str) -> pd.DataFrame:
    table = traced(_light(architecture, tag), _input_shape(architecture, tag))
    usable = usable_layers(table)
    ends = usable[usable.str.fullmatch(TRANSFORMER_ENDS)]
    chosen = {*(blocks_of(table, TRANSFORMER_BLOCKS) or outline(table)), *ends, TOWER}
    return defaults(table, lambda layer, _: layer in chosen)


def is_cached(architecture: str, tag: str) -> bool:
    """Say whether weights are there without the network."""
    return Path(_cached(_pretrained(architecture, tag)) or "-").is_file()
