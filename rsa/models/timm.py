"""Every network of timm (PyTorch image models): with its weights, with yours, or untrained."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from PIL import Image

from rsa.errors import UserError, did_you_mean, one_line
from rsa.models.architectures import UNTRAINED, Architecture, Weights, defaults
from rsa.models.default_layers import blocks_of, outline, usable_layers
from rsa.models.modules import traced, without_memory
from rsa.models.source import require_extra
from rsa.models.weights import read_state

if TYPE_CHECKING:
    import torch

__all__ = ["BLOCKS", "Timm"]

PRETRAINED = "pretrained"
"""Stands for the weights of the tag in the network's name, or of timm's usual tag."""

BLOCKS = (
    r"blocks\.\d+",
    r"blocks\.\d+\.\d+",
    r"blocks\.\d+:1",  # Transformer in Transformer: pixels, then patches
    r"(stages|layers|transformers)\.\d+\.blocks\.\d+",
    r"(serial|parallel)_blocks\d?\.\d+",
    r"layer\d\.\d+",
    r"s\d\.b\d+",
    r"stages\.\d+\.\d+",
    r"features\.(denseblock|transition)\d",
    r"(\w+\.)?(blocks|stages|layers)\.\d+",
)
"""Names of the blocks of a network, as regular expressions: `layers: default` has those of the first that names some;
see `rsa.models.default_layers.blocks_of`."""

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""What files of weights are called on the hub, the safer one first."""

HEADS = (r"patch_embed", r"stem", r"maxpool", r"norm", r"(.*\.)?(global_pool|fc_norm)", r"head\.norm")
"""Names of what stands before the blocks, and between the last one and the class scores."""

PAPERS_OF = {
    r"resnet\d+": "He et al., 2016",
    r"vgg\d+(_bn)?": "Simonyan & Zisserman, 2015",
    r"resnext.*": "Xie et al., 2017",
    r"wide_resnet.*": "Zagoruyko & Komodakis, 2016",
    r"densenet.*": "Huang et al., 2017",
    r"inception_v3": "Szegedy et al., 2016",
    r"mobilenetv2.*": "Sandler et al., 2018",
    r"(tf_)?mobilenetv3.*": "Howard et al., 2019",
    r"(tf_)?efficientnetv2.*": "Tan & Le, 2021",
    r"(tf_)?efficientnet_.*": "Tan & Le, 2019",
    r"vit_.*dinov2.*": "Oquab et al., 2024",
    r"vit_.*clip.*": "Radford et al., 2021",
    r"vit_.*": "Dosovitskiy et al., 2021",
    r"deit_.*": "Touvron et al., 2021",
    r"beit_.*": "Bao et al., 2022",
    r"swin_.*": "Liu et al., 2021",
    r"convnext_.*": "Liu et al., 2022",
    r"mixer_.*": "Tolstikhin et al., 2021",
    r"regnet[xy]_.*": "Radosavovic et al., 2020",
}
"""The paper of each family of networks, by how its networks are called (the first that fits)."""

OF_EFFICIENTNET = {"conv_stem": "conv_stem", "bn0": "bn1", "conv_head": "conv_head", "bn1": "bn2", "fc": "classifier"}
"""Modules outside the blocks of EfficientNet, as the package efficientnet-pytorch calls them: its name -> timm's."""

SQUEEZES = {"se_reduce": "se.conv_reduce", "se_expand": "se.conv_expand"}

OF_FIRST_BLOCKS = {"depthwise_conv": "conv_dw", "bn1": "bn1", "project_conv": "conv_pw", "bn2": "bn2", **SQUEEZES}
"""The same in blocks without expansion."""

OF_BLOCKS = {
    **{"expand_conv": "conv_pw", "bn0": "bn1", "depthwise_conv": "conv_dw", "bn1": "bn2"},
    **{"project_conv": "conv_pwl", "bn2": "bn3"},
    **SQUEEZES,
}
"""The same in the other blocks."""


class Timm(Architecture):
    """A network of timm (PyTorch image models)."""

    source: Literal["timm"] = "timm"
    """A network of timm."""
    architecture: str
    """Name by which timm knows the network, with the tag of its weights or without: resnet50, resnet50.a1_in1k,
    vit_base_patch14_dinov2, ..."""
    weights: Weights = PRETRAINED
    """`pretrained` (those of the tag in the name, or timm's usual ones), a tag such as a1_in1k, `untrained`, or a file
    with a state dict, as for torchvision. Pictures are prepared as for the named weights: those of the tag in the name
    where the weights are a file or untrained."""

    @property
    def word(self) -> str:
        """What `python -m rsa layers` knows the network by."""
        return f"timm:{self.architecture}"

    def methods(self) -> list[str]:
        """Return sentences for the methods text: the network, its weights, and what pictures became."""
        called = "" if self.label == self.architecture else f", here called {self.label},"
        paper = next((paper for pattern, paper in PAPERS_OF.items() if re.fullmatch(pattern, self._bare)), "")
        cited = "; ".join(filter(None, [paper, "Wightman, 2019"]))
        made = f"The network {self._bare} of timm ({cited}){called}"
        like = " as for its trained weights" if self.is_untrained or self.is_from_file else ""
        return [
            self.methods_of_weights(made, f"the weights {self._tag or 'that timm has'}"),
            f"Pictures were {_steps(_config(self._full))} and normalised{like}.",
        ]

    def preprocessing(self) -> str:
        """Describe the preprocessing of pictures in one line."""
        return re.sub(r"\s+", " ", repr(self.transform()))

    def require_known(self) -> None:
        """Raise a UserError if timm is not installed, or knows no such architecture or weights."""
        timm = _timm()
        names = timm.list_models()
        bare, _, tag = self.architecture.partition(".")
        if bare not in names:
            hint = (
                did_you_mean(bare, names, 3) or " `python -m rsa models timm:*vit*` lists those with vit in the name."
            )
            raise UserError(f"timm has no model {bare!r}.{hint}")
        tags = tags_of(bare)
        self.require_file_for_its_settings()
        if tag and tag not in tags:
            raise UserError(f"timm has no weights {tag!r} of {bare}.{_choose(tags)}")
        if tag and self.weights in tags:
            raise UserError(f"{self.architecture} names its weights, and `weights` others, {self.weights}; give one.")
        if self.weights == PRETRAINED and not tags:
            raise UserError(f"timm has no weights of {bare}; set `weights` to {self.kinds_of_weights([])}.")
        if not (self.is_from_file or self.weights in (PRETRAINED, UNTRAINED, *tags)):
            choices = self.kinds_of_weights([PRETRAINED, *tags])
            raise UserError(f"{bare} has no weights {self.weights!r}. Choose one of: {choices}.")

    def build(self, init_weights: bool) -> "torch.nn.Module":
        """Return the network, its weights random."""
        network: torch.nn.Module = _timm().create_model(self._full, pretrained=False)
        return network

    def named_state(self) -> "dict[str, torch.Tensor]":
        """Return the state dict of timm's own weights, from a cache or the network."""
        config = _timm().get_pretrained_cfg(self._full)
        cached = _cached(config)
        try:
            # a cached file is read here: the hub's client would first ask the network, and wait where there is none
            overlay = {"state_dict": read_state(cached, "cpu")} if cached else {}
            network = _timm().create_model(self._full, pretrained=True, pretrained_cfg_overlay=overlay)
        except UserError as error:
            raise UserError(f"{error} Or delete it, and it is fetched again.") from error
        except Exception as error:  # of the hub's client, of the network, of a damaged file
            raise UserError(
                f"Cannot get the weights {self._tag} of {self._bare} ({one_line(error)}). Offline, fetch "
                f"{_where(config)} elsewhere and set `weights` to the path of the file, or copy the cache of the hub "
                f"({_hub_cache()}) to this machine."
            ) from error
        return dict(network.state_dict())

    def transform(self) -> "Callable[[Image.Image], torch.Tensor]":
        """Return what makes the network's input of a picture."""
        transform: Callable[[Image.Image], torch.Tensor] = _transform(self._full)
        return transform

    def input_shape(self) -> tuple[int, int, int]:
        """Return the shape of the network's input for one picture: (3, height, width)."""
        channels, height, width = _config(self._full)["input_size"]
        return channels, height, width

    def all_layers(self) -> pd.DataFrame:
        """Return all layers as `describe` does, with those that have no weights."""
        return _described(self._full)

    def state_of_file(self, state: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """Return a state dict of a file, EfficientNet's under the names of timm."""
        if "_conv_stem.weight" not in state:
            return state
        network = without_memory(lambda: self.build(init_weights=False))
        return {_efficientnet_name(name, network): tensor for name, tensor in state.items()}

    @property
    def _bare(self) -> str:
        return self.architecture.partition(".")[0]

    @property
    def _tag(self) -> str:
        """The tag of the weights; empty for a file, and for weights without one."""
        tag = self.architecture.partition(".")[2]
        named = self.weights not in (PRETRAINED, UNTRAINED) and not self.is_from_file
        return self.weights if named else tag or next(iter(tags_of(self._bare)), "")

    @property
    def _full(self) -> str:
        """The name of the network with the tag of the weights, whose preprocessing is used."""
        return ".".join(filter(None, [self._bare, self._tag]))


# --------------------------------------------------------------------------------------------- weights


def _efficientnet_name(name: str, network: Any) -> str:
    """Return timm's name of a weight of EfficientNet as the package efficientnet-pytorch calls it.

    Its blocks are numbered through, and timm's by stage; blocks without expansion are built of other parts.
    """
    outside = re.match(r"_(conv_stem|conv_head|bn0|bn1|fc)\.(.+)", name)
    if outside:
        return f"{OF_EFFICIENTNET[outside[1]]}.{outside[2]}"
    inside = re.match(r"_blocks\.(\d+)\._(\w+?)\.(.+)", name)
    blocks = [(f"blocks.{i}.{j}", one) for i, stage in enumerate(network.blocks) for j, one in enumerate(stage)]
    if inside is None or int(inside[1]) >= len(blocks):
        return name
    block, module = blocks[int(inside[1])]
    names = OF_BLOCKS if hasattr(module, "conv_pwl") else OF_FIRST_BLOCKS
    return f"{block}.{names.get(inside[2], inside[2])}.{inside[3]}"


def _timm() -> Any:
    return require_extra("timm", "models", "timm")


@cache
def tags_of(architecture: str) -> tuple[str, ...]:
    """Return the tags of timm's weights of a network, the usual one first."""
    from timm.models import list_pretrained

    names = list_pretrained(f"{architecture}.*")
    usual = _timm().get_pretrained_cfg(architecture)
    tags = [name.partition(".")[2] for name in names]
    first = [tag for tag in tags if usual is not None and tag == usual.tag]
    return tuple(dict.fromkeys(first + tags))


def is_cached(name: str) -> bool:
    """Say whether the weights of a network, told with their tag, are there without the network."""
    return bool(_cached(_timm().get_pretrained_cfg(name)))


def _cached(config: Any) -> str:
    """Return the file of weights in the hub's or torch's cache; empty if there is none that is a plain state dict."""
    import torch
    from huggingface_hub import try_to_load_from_cache

    if config.custom_load:
        return ""
    names = [config.hf_hub_filename] if config.hf_hub_filename else HUB_FILES
    found = [try_to_load_from_cache(config.hf_hub_id, name) for name in names if config.hf_hub_id]
    found += [Path(torch.hub.get_dir()) / "checkpoints" / config.url.rpartition("/")[2]] if config.url else []
    return next((str(path) for path in found if isinstance(path, str | Path) and Path(path).is_file()), "")


def _where(config: Any) -> str:
    """Say where the weights of a network lie on the network."""
    return f"{HUB_FILES[0]} of {config.hf_hub_id}" if config.hf_hub_id else str(config.url)


def _hub_cache() -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    return str(HF_HUB_CACHE)


def _choose(tags: Sequence[str]) -> str:
    return f" Choose one of: {', '.join(tags)}." if tags else " There are none."


@cache
def _config(name: str) -> dict[str, Any]:
    """Return what timm says of pictures for a network: size, crop, interpolation, mean, deviation."""
    timm = _timm()
    config: dict[str, Any] = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    return config


def _steps(config: Mapping[str, Any]) -> str:
    """Say how pictures are scaled and cropped."""
    height, width = config["input_size"][1:]
    scaled = f"scaled to {int(min(height, width) / config['crop_pct'])} pixels on the shorter side"
    if config["crop_mode"] == "squash":
        scaled = "scaled to a square"
    return f"{scaled} ({config['interpolation']}), cropped to the central {height} x {width}"


def _transform(name: str) -> Any:
    return _timm().data.create_transform(**_config(name), is_training=False)


@cache
def _described(name: str) -> pd.DataFrame:
    network = without_memory(lambda: _timm().create_model(name, pretrained=False))
    table = traced(network, _config(name)["input_size"])
    chosen = _default_layers(table, network)
    return defaults(table, lambda layer, _: layer in chosen)


def _default_layers(table: pd.DataFrame, network: "torch.nn.Module") -> set[str]:
    """Return the layers that `layers: default` stands for: stem, blocks, pooled features and class scores.

    Parameters
    ----------
    table : DataFrame
        All layers; see `rsa.models.modules.traced`.
    network : torch.nn.Module
        A network of timm, which says what its stages and its classifier are called.
    """
    usable = usable_layers(table)
    stages = [name for name in usable if name in _stages(network)]
    blocks = blocks_of(table, BLOCKS) or (stages if len(stages) > 1 else outline(table))
    heads = usable[usable.str.fullmatch("|".join(f"(?:{pattern})" for pattern in HEADS))]
    return {*blocks, *heads, *usable[usable.isin(_classifiers(network))]}


def _stages(network: Any) -> list[str]:
    """Return the modules that end the stages, as timm tells them: a list of dicts, or an object of its own."""
    told = getattr(network, "feature_info", None) or []
    return [str(one["module"]) for one in (told if isinstance(told, list) else told.get_dicts())]


def _classifiers(network: Any) -> list[str]:
    """Return the modules that give the class scores; some networks have two."""
    told = network.pretrained_cfg.get("classifier") or ()
    return [told] if isinstance(told, str) else list(told)
