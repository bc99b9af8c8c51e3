"""Weights of networks: found in files or torch's cache, checked against the network, filled in, and told by content."""

import argparse
import hashlib
import json
import logging
import pathlib
import re
import sys
from collections.abc import Iterable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsa.errors import UserError, listed
from rsa.files.io import DAMAGES
from rsa.files.sources import require_content

if TYPE_CHECKING:
    import torch

__all__ = [
    "WEIGHTS_SUFFIXES",
    "fetch_state",
    "fill_network",
    "fitted",
    "is_weights_file",
    "read_state",
    "weights_sha256",
]

WEIGHTS_SUFFIXES = (".pth", ".pt", ".safetensors", ".pth.tar", ".ckpt", ".bin")
"""What the names of files with a state dict end in."""

STATE_KEYS = ("state_dict", "model_state_dict", "model", "model_state", "network", "net", "module", "weights")
"""Under which names scripts save the state dict of a network, beside the optimizer's and the averages of weights."""

COUNTER = "n_averaged"
"""What torch's averaged models count in their state dicts; no part of a network."""

logger = logging.getLogger(__name__)


def is_weights_file(weights: str) -> bool:
    """Say whether weights are given as a file, by the end of its name."""
    return weights.lower().endswith(WEIGHTS_SUFFIXES)


def weights_sha256(state: "Mapping[str, torch.Tensor]") -> str:
    """Return the SHA-256 of a state dict, in hexadecimal: the same wherever it came from, another if a bit differs.

    In the order of their names, each tensor gives a line with its name, type and shape, as JSON, and then its bytes.

    Parameters
    ----------
    state : mapping
        Name -> tensor, on any device.
    """
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode() + b"\n")
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


# ------------------------------------------------------------------------------------ into the network


def fill_network(
    network: "torch.nn.Module", state: "Mapping[str, torch.Tensor]", architecture: str, weights: str
) -> None:
    """Put a state dict into a network.

    Parameters
    ----------
    network : torch.nn.Module
        Is changed.
    state : mapping
        Name -> tensor; see `fitted`.
    architecture, weights : str
        What both are called, for the message.

    Raises
    ------
    UserError
        If they do not fit.
    """
    prefix = _prefix(map(_current_name, state), network.state_dict())
    if prefix:
        logger.info("%s: names of weights are taken without the %r before them", weights, prefix)
    complete = network.state_dict()  # which, unlike a plain dict, knows its version: MNASNet asks for it
    complete.update(fitted(network, state, architecture, weights))
    network.load_state_dict(complete, strict=True)


def fitted(
    network: "torch.nn.Module", state: "Mapping[str, torch.Tensor]", architecture: str, weights: str
) -> "dict[str, torch.Tensor]":
    """Return the state dict under the names of the network, or say what is missing, unexpected or of a wrong shape.

    What wrappers put before all names (module., _orig_mod., model., ...) is taken off. The auxiliary heads of GoogLeNet
    and Inception, the counter of an average of weights, and the counters of batches that old files lack, don't matter.
    Parameters are those of `fill_network`, but nothing is changed; tensors may be on torch's `meta` device.

    Raises
    ------
    UserError
        If they do not fit.
    """
    wanted = network.state_dict()
    given = {_current_name(name): tensor for name, tensor in state.items() if name != COUNTER}
    n_before = len(_prefix(given, wanted))
    given = {name[n_before:]: tensor for name, tensor in given.items()}
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


def _prefix(names: Iterable[str], wanted: Mapping[str, Any]) -> str:
    """Return what stands before all names and leaves names of the network when it is taken off; mostly nothing.

    Examples
    --------
    >>> _prefix(["module.model.fc.weight", "module.model.fc.bias"], {"fc.weight": 1, "fc.bias": 1})
    'module.model.'
    >>> _prefix(["features.0.weight"], {"features.0.weight": 1, "0.weight": 1})
    ''
    """
    given = [name for name in names if name != COUNTER]
    prefix = ""
    while given and not any(name[len(prefix) :] in wanted for name in given):
        first, dot, _ = given[0][len(prefix) :].partition(".")
        prefix += first + dot
        if not dot or not all(name.startswith(prefix) for name in given):
            return ""
    return prefix


def _current_name(name: str) -> str:
    """Return the name without what wrappers put into it, and as DenseNet's layers are called since torch 0.4."""
    name = re.sub(r"_(?:orig_mod|fsdp_wrapped_module|checkpoint_wrapped_module)\.", "", name)
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2", name)


def _is_auxiliary(name: str, architecture: str) -> bool:
    return architecture in ("googlenet", "inception_v3") and name.startswith(("aux1.", "aux2.", "AuxLogits."))


# ---------------------------------------------------------------------------------- from files and cache


def read_state(path: str, device: str, key: str | None = None) -> "dict[str, torch.Tensor]":
    """Read a state dict from a file, or from a checkpoint of a training that holds it beside other things.

    Parameters
    ----------
    path : str
        The file; no code in it is run.
    device : {"cpu", "meta"}
        On "meta" only names and shapes are read, and nothing is logged.
    key : str, optional
        Under which name a checkpoint holds it; by default that of the first of `STATE_KEYS` that is there, or the
        only one.

    Raises
    ------
    UserError
        If there is no such file, or no state dict in it, or it is not certain which.
    """
    from safetensors import SafetensorError

    require_content(path)
    if not Path(path).is_file():
        raise UserError(f"There is no weights file {path}.")
    try:
        read = _read_safetensors if path.lower().endswith(".safetensors") else _read_torch
        content = read(path, device)
    except (SafetensorError, *DAMAGES) as error:
        other = re.search(r"Unsupported (?:global|operand|class).*?(\w[\w.]*) was not an allowed", str(error))
        found = f"it holds a {other[1]}, as a whole network that was pickled does" if other else _reason(error)
        raise UserError(
            f"{path} is not a state dict that can be read safely ({found}). Save the network's by "
            "torch.save(network.state_dict(), path)."
        ) from error
    if _is_state(content) and key is None:
        return dict(content)
    states = (
        {str(name): part for name, part in content.items() if _is_state(part)} if isinstance(content, Mapping) else {}
    )
    chosen = _chosen_state(path, states, key)
    if device != "meta":
        others = listed([name for name in states if name != chosen])
        logger.info("%s: the state dict %r is taken%s", path, chosen, f", and not {others}" if others else "")
    return dict(states[chosen])


def _chosen_state(path: str, states: Mapping[str, Any], key: str | None) -> str:
    """Return the key of the state dict to take."""
    if not states:
        raise UserError(
            f"{path} holds no state dict (names and tensors, or these below a key such as {listed(STATE_KEYS, 3)}). "
            "Save the network's by torch.save(network.state_dict(), path)."
        )
    if key is not None:
        if key not in states:
            raise UserError(f"{path} has no state dict {key!r}; there are {listed(list(states))}. See `weights_key`.")
        return key
    usual = [name for name in STATE_KEYS if name in states]
    if not usual and len(states) > 1:
        raise UserError(f"{path} holds the state dicts {listed(list(states))}; say by `weights_key` which to take.")
    return usual[0] if usual else next(iter(states))


def _is_state(content: Any) -> bool:
    """Say whether something is a state dict: names and tensors."""
    import torch

    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(one, torch.Tensor) for one in content.values())
    )


def _read_torch(path: str, device: str) -> Any:
    """Read a file of torch without running code; of other things than tensors, only some that hold plain values."""
    import torch

    scalar, array = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
    types = [np.ndarray, np.dtype, *(type(np.dtype(code)) for code in np.typecodes["All"])]
    plain: list[Any] = [scalar, array, *dict.fromkeys(types), argparse.Namespace, pathlib.PosixPath]
    with torch.serialization.safe_globals(plain):
        return torch.load(path, map_location=device, weights_only=True)


def _read_safetensors(path: str, device: str) -> "dict[str, torch.Tensor]":
    import torch
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        if device == "meta":
            return {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in names}
        return {name: file.get_tensor(name) for name in names}


def fetch_state(architecture: str, weights: str, entry: Any) -> "dict[str, torch.Tensor]":
    """Read torchvision's own weights from torch's cache, or download them to it.

    Parameters
    ----------
    architecture, weights : str
        The names of both, for the message.
    entry : torchvision.models.WeightsEnum
        The weights.

    Raises
    ------
    UserError
        If the cache is damaged, or there is none and the download fails.
    """
    import torch

    cached = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rpartition("/")[2]
    try:
        state = entry.get_state_dict(progress=sys.stderr.isatty(), check_hash=True, weights_only=True)
    except (HTTPException, *DAMAGES) as error:
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
