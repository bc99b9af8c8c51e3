"""Weights of networks: found in files or torch's cache, checked against the network, filled in, and told by content."""

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from rsa.errors import UserError, listed

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

WEIGHTS_SUFFIXES = (".pth", ".pt", ".safetensors")
"""What the names of files with a state dict end in."""

UNPICKLING_ERRORS = (
    *(UnpicklingError, RuntimeError, OSError, EOFError, LookupError),
    *(ValueError, TypeError, AttributeError, AssertionError),
)
"""What `torch.load` raises on files that are damaged or are something else."""


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
    complete = network.state_dict()  # which, unlike a plain dict, knows its version: MNASNet asks for it
    complete.update(fitted(network, state, architecture, weights))
    network.load_state_dict(complete, strict=True)


def fitted(
    network: "torch.nn.Module", state: "Mapping[str, torch.Tensor]", architecture: str, weights: str
) -> "dict[str, torch.Tensor]":
    """Return the state dict under the names of the network, or say what is missing, unexpected or of a wrong shape.

    The auxiliary heads of GoogLeNet and Inception, and the counters of batches that old files lack, don't matter.
    Parameters are those of `fill_network`, but nothing is changed; tensors may be on torch's `meta` device.

    Raises
    ------
    UserError
        If they do not fit.
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


# ---------------------------------------------------------------------------------- from files and cache


def read_state(path: str, device: str) -> "dict[str, torch.Tensor]":
    """Read a state dict from a file.

    Parameters
    ----------
    path : str
        The file; no code in it is run.
    device : {"cpu", "meta"}
        On "meta" only names and shapes are read.

    Raises
    ------
    UserError
        If there is no such file, or no state dict in it.
    """
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
