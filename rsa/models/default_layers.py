"""The layers that `layers: default` stands for: by architecture of torchvision, and found in other networks."""

from collections.abc import Sequence

import pandas as pd

from rsa.models.source import PART

__all__ = [
    "DEFAULT_LAYERS",
    "IDLE",
    "TRANSFORMER_BLOCKS",
    "TRANSFORMER_ENDS",
    "blocks_of",
    "outline",
    "usable_layers",
]

IDLE = ("Identity", "Dropout", "DropPath", "StochasticDepth")
"""Types of modules that answer what they are asked."""

N_BLOCKS = 3
"""Fewer blocks are no list of them."""

TRANSFORMER_BLOCKS = (
    r"(\w+\.)*(stages|layers)\.\d+\.(blocks|layers)\.\d+",
    r"(\w+\.)*(layer|layers|blocks|resblocks|stages)\.\d+",
    r"(\w+\.)*layer\d\.\d+",
)
"""How libraries for transformers call blocks, as regular expressions, the first that names some before the others."""

TRANSFORMER_ENDS = (
    r"(\w+\.)?(embeddings|embedder|patch_embed|stem|layernorm|post_layernorm|ln_post|norm|pooler|attnpool|head)"
    r"|classifier"
)
"""And what stands before and after them."""

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


def usable_layers(table: pd.DataFrame) -> pd.Series:
    """Return the names of layers that have one output, other than what they are asked.

    Parameters
    ----------
    table : DataFrame
        See `rsa.models.modules.traced`.
    """
    names: pd.Series = table["layer"][(table["n_calls"] == 1) & (table["n_units"] > 0) & ~table["type"].isin(IDLE)]
    return names


def blocks_of(table: pd.DataFrame, patterns: Sequence[str]) -> list[str]:
    """Return the layers of the first pattern that names a list of blocks; none if no pattern does.

    Parameters
    ----------
    table : DataFrame
        See `rsa.models.modules.traced`.
    patterns : sequence of str
        Regular expressions. Of a list of blocks there are three, and some in the second half of the network.
    """
    usable = usable_layers(table)
    found = [usable[usable.str.fullmatch(pattern)] for pattern in patterns]
    late = [names for names in found if len(names) >= N_BLOCKS and names.index[-1] > len(table) / 2]
    return list(late[0]) if late else []


def outline(table: pd.DataFrame) -> list[str]:
    """Return the outermost modules of a network, as many levels deep as it takes to have four.

    Parameters
    ----------
    table : DataFrame
        See `rsa.models.modules.traced`.

    Examples
    --------
    >>> names = ["features.0", "features.1", "features.2", "features", "fc"]
    >>> outline(pd.DataFrame({"layer": names, "type": "Linear", "n_calls": 1, "n_units": 5}))
    ['features.0', 'features.1', 'features.2', 'fc']
    """
    usable = [name for name in usable_layers(table) if PART not in name]
    depths = [name.count(".") for name in usable]
    levels = [_level(usable, depth) for depth in range(max(depths, default=0) + 1)]
    return next((names for names in levels if len(names) > N_BLOCKS), levels[-1])


def _level(names: Sequence[str], depth: int) -> list[str]:
    """Return the names at a depth, and those above it that have none below them there."""
    upto = [name for name in names if name.count(".") <= depth]
    return [name for name in upto if not any(other.startswith(f"{name}.") for other in upto)]
