"""Which networks there are, and what the layers of one are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from rsa.errors import UserError, did_you_mean, flattened
from rsa.models import MODELS, USUAL_SOURCE, Model
from rsa.models.modules import TorchNetwork, without_memory
from rsa.models.open_clip import is_cached as is_cached_of_open_clip
from rsa.models.source import PART, Source
from rsa.models.timm import is_cached, tags_of

__all__ = ["by_name", "layers_of", "listed_models", "said_of_parts", "written"]

SUFFIXES = {".onnx": "onnx", ".pt2": "exported", **dict.fromkeys((".npz", ".npy", ".h5", ".hdf5", ".mat"), "features")}
"""The source of a file, by the end of its name."""

COLUMNS = ("layer", "type", "shape", "n_units", "n_parameters", "field_px", "jump_px", "n_calls", "default")
"""What is listed of layers, where it is known."""


# --------------------------------------------------------------------------------------------- models


def listed_models(pattern: str = "*") -> pd.DataFrame:
    """Return the networks that can be had by name.

    Parameters
    ----------
    pattern : str
        A glob for the name, with the source before it or without: resnet*, timm:*vit*. A word alone may be anywhere.

    Returns
    -------
    DataFrame
        Columns `source`, `architecture`, `weights` (all names, the usual one first) and `cached`: those of them that
        are on this machine.

    Raises
    ------
    UserError
        If no name matches.
    """
    source, _, glob = pattern.rpartition(":")
    glob = glob if set(glob) & set("*?[") else f"*{glob}*"
    rows = [
        {"source": name, "architecture": network, **_weights(names, network)}
        for name, names in CATALOGUES.items()
        for network in (names.networks() if source in ("", name) else ())
        if fnmatchcase(network, glob)
    ]
    if not rows:
        known = (
            "" if source in ("", *CATALOGUES) else f" There is no source {source!r}; choose {' or '.join(CATALOGUES)}."
        )
        raise UserError(f"No network has a name like {pattern!r}.{known} `python -m rsa models` lists all.")
    return pd.DataFrame(rows)


def _weights(names: "Names", network: str) -> dict[str, str]:
    weights = names.weights(network)
    return {"weights": " ".join(weights), "cached": " ".join(one for one in weights if names.is_cached(network, one))}


@dataclass(frozen=True)
class Names:
    """The networks of a source, by name.

    Parameters
    ----------
    networks : callable
        Returns the names of all networks; none if the library is not installed.
    weights : callable
        ``network -> names of its weights``, the usual one first.
    is_cached : callable
        ``network, weights -> whether``: these weights can be had without the network.
    """

    networks: Callable[[], Sequence[str]]
    weights: Callable[[str], Sequence[str]]
    is_cached: Callable[[str, str], bool]


def _networks_of_torchvision() -> list[str]:
    import torchvision

    return list(torchvision.models.list_models(module=torchvision.models))


def _weights_of_torchvision(network: str) -> list[str]:
    import torchvision

    entries = torchvision.models.get_model_weights(network)
    return list(dict.fromkeys([entries["DEFAULT"].name, *(entry.name for entry in entries)]))


def _is_cached_of_torchvision(network: str, weights: str) -> bool:
    import torch
    import torchvision

    url: str = torchvision.models.get_model_weights(network)[weights].url
    return (Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]).is_file()


def _networks_of_timm() -> list[str]:
    try:
        import timm
    except ImportError:
        return []
    return list(timm.list_models())


def _is_cached_of_timm(network: str, weights: str) -> bool:
    return is_cached(f"{network}.{weights}")


def _networks_of_open_clip() -> list[str]:
    try:
        import open_clip
    except ImportError:
        return []
    return list(open_clip.list_models())


def _weights_of_open_clip(network: str) -> list[str]:
    import open_clip

    return list(open_clip.list_pretrained_tags_by_model(network))


CATALOGUES: dict[str, Names] = {
    "torchvision": Names(_networks_of_torchvision, _weights_of_torchvision, _is_cached_of_torchvision),
    "timm": Names(_networks_of_timm, tags_of, _is_cached_of_timm),
    "open_clip": Names(_networks_of_open_clip, _weights_of_open_clip, is_cached_of_open_clip),
}
"""Sources that know their networks by name."""


# --------------------------------------------------------------------------------------------- layers


def by_name(name: str) -> Source:
    """Return the settings of a network that is told in one word.

    Parameters
    ----------
    name : str
        The network's name with its source before it, as in timm:resnet50. Without a source it is one of torchvision, or
        else of timm, or a file (.onnx, .pt2, or features as .npz, .npy, .h5, .mat), or a function as in nets.py:make.

    Raises
    ------
    UserError
        If there is no such source, or the source needs more settings than a name.
    """
    source, colon, rest = name.partition(":")
    if source not in MODELS or not colon:
        source, rest = _guessed(name), name
    settings = MODELS[source].model_fields
    key = next((one for one in ("architecture", "file", "function", "files") if one in settings), "architecture")
    has_own = "preprocess" in settings and settings["preprocess"].is_required()
    pictures = {"preprocess": "imagenet"} if has_own else {}
    try:
        found: Source = TypeAdapter(Model).validate_python({"source": source, key: rest, **pictures})
    except ValidationError as error:
        first = error.errors()[0]
        why = f"{'.'.join(map(str, first['loc']))}: {flattened(first['msg'])}"
        raise UserError(
            f"{name} cannot be read as a network of `source: {source}` ({why}). Write it into a configuration, and "
            "name its label: `python -m rsa layers LABEL --config my.yaml`."
        ) from error
    return found


def _guessed(name: str) -> str:
    """Return the source of a name that tells none."""
    of_file = next((source for suffix, source in SUFFIXES.items() if name.endswith(suffix)), "")
    if of_file in MODELS:
        return of_file
    first, colon, _ = name.partition(":")
    if not colon:
        return "timm" if _is_of_timm_alone(name) else USUAL_SOURCE
    if first.endswith(".py") or "." in first or Path(f"{first}.py").is_file():
        return "python"
    raise UserError(
        f"There is no source of networks {first!r}.{did_you_mean(first, MODELS)} Sources: {', '.join(MODELS)}."
    )


def _is_of_timm_alone(name: str) -> bool:
    """Say whether timm has a network of this name, and torchvision none."""
    return name not in _networks_of_torchvision() and name.partition(".")[0] in _networks_of_timm()


def layers_of(model: Source) -> pd.DataFrame:
    """Return what is known of the layers of a network, in forward order.

    Returns
    -------
    DataFrame
        The columns of `Source.describe`, and of networks that are modules of torch `n_parameters` and the theoretical
        receptive field, `field_px` and `jump_px`; see `rsa.models.receptive.receptive_fields`.
    """
    from rsa.models.receptive import receptive_fields

    table = model.describe()
    module, shape = _module_of(model)
    if module is not None:
        counts = {name: sum(one.numel() for one in part.parameters()) for name, part in module.named_modules()}
        table["n_parameters"] = [counts[layer.partition(PART)[0]] for layer in table["layer"]]
        fields = receptive_fields(module, shape).drop_duplicates("layer").set_index("layer")
        for column in ("field_px", "jump_px"):
            table[column] = fields[column].reindex(table["layer"]).to_numpy()
    return table[[name for name in COLUMNS if name in table]]


def written(layers: pd.DataFrame) -> str:
    """Write the table of `layers_of` for people: a field that is the whole picture as "all", what is unknown as -."""
    shown = layers.copy()
    for column in [name for name in ("field_px", "jump_px") if name in shown]:
        shown[column] = ["all" if np.isinf(n) else "-" if np.isnan(n) else f"{n:g}" for n in shown[column]]
    text: str = shown.to_string(index=False)
    return text


def _module_of(model: Source) -> tuple[Any, tuple[int, ...]]:
    """Return a module of torch and the shape of its input; nothing for a network that is none."""
    from rsa.models.architectures import Architecture

    if isinstance(model, Architecture):
        return without_memory(lambda: model.build(init_weights=False)), model.input_shape()
    network = model.load() if model.needs_pictures else None
    if not isinstance(network, TorchNetwork):
        return None, ()
    from PIL import Image

    grey = Image.fromarray(np.full((256, 256, 3), 128, dtype=np.uint8))
    return network.module, tuple(network.prepare(grey).shape)


def said_of_parts(table: pd.DataFrame) -> str:
    """Say which part of an output a layer with several tensors stands for; nothing if there is no such layer.

    Examples
    --------
    >>> said_of_parts(pd.DataFrame({"layer": ["conv", "attention", "attention:0", "attention:1"]}))
    'Layers with several tensors stand for the first of them: attention for attention:0.'
    """
    parts = [name for name in table["layer"] if PART in name]
    first = {name.partition(PART)[0]: name for name in reversed(parts)}
    told = [f"{layer} for {part}" for layer, part in reversed(first.items())][:4]
    more = " ..." if len(first) > len(told) else ""
    return f"Layers with several tensors stand for the first of them: {', '.join(told)}{more}." if told else ""
