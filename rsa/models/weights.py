"""Weights of networks: found in files or torch's cache, checked against the network, filled in, and told by content."""

import argparse
import hashlib
import json
import logging
import pathlib
import re
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from http.client import HTTPException
from itertools import takewhile
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
    "is_within",
    "read_state",
    "weights_sha256",
]

WEIGHTS_SUFFIXES = (".pth", ".pt", ".safetensors", ".pth.tar", ".ckpt", ".bin")
"""What the names of files with a state dict end in."""

STATE_KEYS = (
    *("state_dict", "model_state_dict", "model", "model_state", "network", "net", "module", "weights"),
    *("ema", "model_ema", "ema_state_dict", "state_dict_ema"),
)
"""Under which names scripts save the state dict of a network, beside the optimizer's and the averages of weights."""

COUNTER = "n_averaged"
"""What torch's averaged models count in their state dicts; no part of a network."""

N_HEADS = 4
"""Up to so many modules that only one side has are told by name in an advice."""

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
    network: "torch.nn.Module",
    state: "Mapping[str, torch.Tensor]",
    architecture: str,
    weights: str,
    without: Sequence[str] = (),
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
    without : sequence of str
        Modules that are left as they are, or that only the state dict has.

    Raises
    ------
    UserError
        If they do not fit.
    """
    prefix = _prefix(_kept(map(_current_name, state), without), network.state_dict())
    if prefix:
        logger.info("%s: names of weights are taken without the %r before them", weights, prefix)
    complete = network.state_dict()  # which, unlike a plain dict, knows its version: MNASNet asks for it
    complete.update(fitted(network, state, architecture, weights, without))
    network.load_state_dict(complete, strict=True)


def fitted(
    network: "torch.nn.Module",
    state: "Mapping[str, torch.Tensor]",
    architecture: str,
    weights: str,
    without: Sequence[str] = (),
) -> "dict[str, torch.Tensor]":
    """Return the state dict under the names of the network, or say what is missing, unexpected or of a wrong shape.

    What wrappers put before all names (module., _orig_mod., model., backbone., ...) is taken off. The auxiliary heads
    of GoogLeNet and Inception, the counter of an average of weights, and the counters of batches that old files lack,
    don't matter. Parameters are those of `fill_network`, but nothing is changed; tensors may be on torch's `meta`
    device.

    Raises
    ------
    UserError
        If they do not fit.
    """
    whole = network.state_dict()
    all_given = {_current_name(name): tensor for name, tensor in state.items() if name != COUNTER}
    kept = set(_kept(all_given, without))
    _require_used(without, [*whole, *(name for name in all_given if name not in kept)], architecture, weights)
    wanted = {name: tensor for name, tensor in whole.items() if not is_within(name, without)}
    given = {name: tensor for name, tensor in all_given.items() if name in kept}
    n_before = len(_prefix(given, wanted))
    given = {name[n_before:]: tensor for name, tensor in given.items()}
    given = {name: tensor for name, tensor in given.items() if name in wanted or not _is_auxiliary(name, architecture)}
    counters = {name: tensor for name, tensor in wanted.items() if name.endswith(".num_batches_tracked")}
    given = counters | given
    missing = [name for name in wanted if name not in given]
    unexpected = [name for name in given if name not in wanted]
    wrong = [name for name in wanted if name in given and given[name].shape != wanted[name].shape]
    shapes = [f"{name} of shape {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}" for name in wrong]
    differences = {"missing": missing, "unexpected": unexpected, "of a wrong shape": shapes}
    found = [f"{len(names)} {what} ({listed(names, 4)})" for what, names in differences.items() if names]
    if found:
        raise UserError(
            f"The weights {weights} do not fit {architecture}: {'; '.join(found)}. Check `architecture`."
            f"{_advice(all_given, whole)}"
        )
    return given


def is_within(name: str, modules: Sequence[str]) -> bool:
    """Say whether a weight belongs to one of some modules."""
    return any(f"{name}.".startswith(f"{module}.") for module in modules)


def _kept(names: Iterable[str], without: Sequence[str]) -> list[str]:
    """Return the names that belong to none of some modules, whatever wrappers put before all names.

    Examples
    --------
    >>> _kept(["module.backbone.fc.bias", "module.head.bias"], ["head"])
    ['module.backbone.fc.bias']
    """
    given = [name for name in names if name != COUNTER]
    columns = zip(*(name.split(".")[:-1] for name in given), strict=False)
    shared = [column[0] for column in takewhile(lambda column: len({*column}) == 1, columns)]
    starts = [len("".join(f"{part}." for part in shared[:n])) for n in range(len(shared) + 1)]
    return [name for name in given if not any(is_within(name[start:], without) for start in starts)]


def _require_used(without: Sequence[str], names: Sequence[str], architecture: str, weights: str) -> None:
    """Raise if a module to leave out is neither in the network nor in the file."""
    idle = [module for module in without if not any(f".{module}." in f".{name}." for name in names)]
    if idle:
        raise UserError(
            f"Neither {architecture} nor {weights} has weights of {listed(idle)}, which `without` names; leave it out."
        )


def _advice(given: "Mapping[str, torch.Tensor]", wanted: "Mapping[str, torch.Tensor]") -> str:
    """Say by which setting most of the weights would fit: the others belong to a head that only one side has."""
    prefix = max(_prefixes_of(given), key=lambda one: _n_fitting(given, wanted, one))
    if 2 * _n_fitting(given, wanted, prefix) < len(wanted):
        return ""
    inside = {name[len(prefix) :]: tensor for name, tensor in given.items() if name.startswith(prefix)}
    bad = [name for name in {**wanted, **inside} if not _fits(name, inside, wanted)]
    parents = [name.rpartition(".")[0] or name for name in bad]
    good = [name for name in wanted if not is_within(name, parents)]
    modules = [_outermost(parent, good) for parent in parents]
    parent = prefix[:-1].rpartition(".")[0]
    outside = [name.removeprefix(f"{parent}.") for name in given if not name.startswith(prefix)]
    heads = list(dict.fromkeys([*modules, *(name.partition(".")[0] for name in outside)]))
    return (
        f" If no layer that you compare comes after them, set `without: [{', '.join(heads)}]`."
        if len(heads) <= N_HEADS
        else ""
    )


def _prefixes_of(names: Iterable[str]) -> list[str]:
    """Return what may stand before the names of a network: nothing, or up to three names and their dots."""
    parts = [name.split(".") for name in names]
    return ["", *dict.fromkeys(".".join(one[:n]) + "." for n in (1, 2, 3) for one in parts if len(one) > n)]


def _n_fitting(given: "Mapping[str, torch.Tensor]", wanted: "Mapping[str, torch.Tensor]", prefix: str) -> int:
    return sum(prefix + name in given and given[prefix + name].shape == wanted[name].shape for name in wanted)


def _fits(name: str, given: "Mapping[str, torch.Tensor]", wanted: "Mapping[str, torch.Tensor]") -> bool:
    return name in given and name in wanted and given[name].shape == wanted[name].shape


def _outermost(module: str, good: Sequence[str]) -> str:
    """Return the outermost module around one that holds none of the good weights."""
    parts = module.split(".")
    around = [".".join(parts[:n]) for n in range(1, len(parts))]
    return next((one for one in around if not any(is_within(name, [one]) for name in good)), module)


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
    if _is_torchscript(path):
        raise UserError(
            f"{path} is a network of TorchScript, whose layers cannot be listened to. Save its weights by "
            "torch.save(network.state_dict(), path), or export the original network by torch.export."
        )
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


def _is_torchscript(path: str) -> bool:
    """Say whether a file is an archive of TorchScript: one with code in it."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


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
