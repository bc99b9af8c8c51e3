"""Networks that are modules of torch: what their layers are, and what these answer to pictures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image

from rsa.errors import UserError, did_you_mean
from rsa.models.source import PART
from rsa.models.weights import weights_sha256

if TYPE_CHECKING:
    import torch

__all__ = [
    "TorchNetwork",
    "lay",
    "own_random_numbers",
    "parts_of",
    "recording",
    "strides_of",
    "tokens_before",
    "traced",
    "without_memory",
]

N_TRACED = 3
"""Pictures that are passed to see which outputs have a row per picture: a number that is unlikely to come by chance."""


# ------------------------------------------------------------------------------------------ the network


@dataclass(frozen=True)
class TorchNetwork:
    """A module of torch that is ready to run; see `rsa.models.source.Network`.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode, without gradients.
    prepare : callable
        From an RGB picture to a tensor of shape (3, height, width); deterministic.
    channels_last : bool
        Whether it computes with channels as the last axis in memory.
    """

    module: "torch.nn.Module"
    prepare: "Callable[[Image.Image], torch.Tensor]"
    channels_last: bool = False

    @cached_property
    def n_parameters(self) -> int:
        """Number of parameters."""
        return sum(one.numel() for one in self.module.parameters())

    def to(self, device: str) -> "TorchNetwork":
        """Return the network on a device."""
        module = self.module.to(device)
        if self.channels_last:
            _lay_channels_last(module)
        return replace(self, module=module)

    def answer(self, batch: "torch.Tensor", layers: Sequence[str], take: "Callable[[str, torch.Tensor], None]") -> None:
        """Pass pictures through the network up to the last of the layers, and hand over what these answer meanwhile."""
        import torch

        if self.channels_last:
            batch = batch.contiguous(memory_format=torch.channels_last)
        left = set(layers)

        def taken(layer: str, output: "torch.Tensor") -> None:
            take(layer, output)
            left.discard(layer)
            if not left:
                raise _AllAnsweredError

        with _taking(self.module, layers, taken), suppress(_AllAnsweredError):
            self.module(batch)

    def weights_sha256(self) -> str:
        """Return the SHA-256 of the weights."""
        return weights_sha256(self.module.state_dict())


def _lay_channels_last(module: "torch.nn.Module") -> None:
    """Put channels last in memory in all parameters of maps; those of other ranks, as of volumes, stay as they are."""
    import torch

    for one in module.parameters():
        if one.ndim == 4 and not one.is_meta:
            one.data = one.data.contiguous(memory_format=torch.channels_last)


def strides_of(module: "torch.nn.Module") -> dict[str, tuple[int, ...]]:
    """Return how each parameter lies in memory."""
    return {name: one.stride() for name, one in module.named_parameters()}


def lay(module: "torch.nn.Module", strides: "Mapping[str, tuple[int, ...]]") -> None:
    """Put parameters in memory as they lay when `strides_of` was asked: numbers depend on it, by their rounding."""
    import torch

    for name, one in module.named_parameters():
        if one.stride() != strides[name]:
            laid = torch.empty_strided(one.shape, strides[name], dtype=one.dtype, device=one.device)
            one.data = laid.copy_(one.data)


class _AllAnsweredError(Exception):
    """Ends a pass when all layers have answered: what comes after them is not needed."""


def tokens_before(state: "Mapping[str, Any]") -> int:
    """Return how many tokens of a transformer stand before those of space, by the names of its parameters.

    Parameters
    ----------
    state : mapping
        The state dict: name -> tensor, or what has its `shape`.
    """
    found = 0
    for name, tensor in state.items():
        last = name.rpartition(".")[2]
        if last in ("cls_token", "class_token", "class_embedding", "dist_token", "distillation_token"):
            found += 1
        elif last in ("reg_token", "register_tokens"):
            found += tensor.shape[-2]
    return found


@contextmanager
def own_random_numbers(seed: int) -> Iterator[None]:
    """Seed torch's generator for the block, and leave it afterwards as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def without_memory(build: "Callable[[], torch.nn.Module]") -> "torch.nn.Module":
    """Build a network whose tensors have shapes but no content (torch's `meta` device), in evaluation mode."""
    import torch
    from torch.overrides import TorchFunctionMode

    class OnMeta(TorchFunctionMode):
        """Weights are made by `torch.empty`; RegNet computes its sizes with other, real tensors."""

        def __init__(self, makers: Sequence[Any]) -> None:
            super().__init__()
            self.makers = makers

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = {**(kwargs or {}), "device": "meta"} if function in self.makers else kwargs or {}
            return function(*args, **kwargs)

    # some networks pass zeros through a part of them for its sizes; where that does not help either, all is made
    ways: list[list[Any]] = [[torch.empty], [torch.empty, torch.zeros], []]
    with own_random_numbers(0):
        for makers in ways[:-1]:
            with suppress(RuntimeError, NotImplementedError), OnMeta(makers):
                return build().to("meta").eval()
        with OnMeta(ways[-1]):
            return build().to("meta").eval()


# ------------------------------------------------------------------------------------------- recording


@contextmanager
def recording(network: "torch.nn.Module", layers: Sequence[str]) -> "Iterator[dict[str, torch.Tensor]]":
    """Keep the outputs of layers at each forward pass, as they are when the layer returns.

    Outputs are copied at once: the in-place ReLU that follows most layers of torchvision's networks, and the in-place
    sums of residual blocks, overwrite them.

    Parameters
    ----------
    network : torch.nn.Module
        Its hooks are removed when the block ends, whatever happens in it.
    layers : sequence of str
        Names of modules, or of a part of their output; see `parts_of`.

    Yields
    ------
    dict
        Layer -> tensor of shape (n_pictures, ...), emptied and filled again by each forward pass.

    Raises
    ------
    UserError
        If there is no such layer, it returns no tensor, or it is called twice in a pass.
    """
    seen: dict[str, torch.Tensor] = {}

    def keep(layer: str, output: "torch.Tensor") -> None:
        seen[layer] = output.detach().clone()

    with ExitStack() as stack:
        stack.callback(network.register_forward_pre_hook(lambda *_: seen.clear()).remove)
        stack.enter_context(_taking(network, layers, keep))
        yield seen


@contextmanager
def _taking(
    network: "torch.nn.Module", layers: Sequence[str], take: "Callable[[str, torch.Tensor], None]"
) -> Iterator[None]:
    """Hand over the outputs of layers when they return, in each forward pass of the block."""
    modules = dict(network.named_modules())
    wanted: dict[str, list[str]] = {}
    for layer in layers:
        name = layer.partition(PART)[0]
        if name not in modules:
            raise UserError(f"The network has no layer {layer!r}.{did_you_mean(layer, modules, 3)}")
        wanted.setdefault(name, []).append(layer)
    taken: set[str] = set()
    with ExitStack() as hooks:
        hooks.callback(network.register_forward_pre_hook(lambda *_: taken.clear()).remove)
        for name, of_module in wanted.items():
            hook = partial(_hand_over, taken, name, of_module, take)
            hooks.callback(modules[name].register_forward_hook(hook).remove)
        yield


def _hand_over(
    taken: set[str],
    name: str,
    layers: Sequence[str],
    take: "Callable[[str, torch.Tensor], None]",
    module: "torch.nn.Module",
    inputs: Any,
    output: Any,
) -> None:
    if name in taken:
        raise UserError(f"Layer {name!r} is called more than once per picture; ask for the module around it.")
    taken.add(name)
    parts = parts_of(output)
    for layer in layers:
        key = layer.removeprefix(name).removeprefix(PART)
        if not parts or (key and key not in parts):
            raise UserError(f"The output of layer {layer!r} holds no such tensor; ask for a layer in it or around it.")
        take(layer, parts[key] if key else next(iter(parts.values())))


def parts_of(output: Any) -> "dict[str, torch.Tensor]":
    """Return the tensors of an output by what they are called, the one that stands for the output first.

    Of a tuple or list they are numbered from 0; of a dict or a named result they have its names. The first stands for
    the output: networks return the state of a layer before attention weights, caches and auxiliary scores. One tensor
    alone, or beside None, has the name "".

    Examples
    --------
    >>> import torch
    >>> list(parts_of(torch.zeros(2))), list(parts_of((torch.zeros(2), None)))
    ([''], [''])
    >>> list(parts_of((torch.zeros(2), torch.zeros(3)))), list(parts_of({"out": torch.zeros(2), "aux": torch.zeros(3)}))
    (['0', '1'], ['out', 'aux'])
    >>> list(parts_of((torch.zeros(2), {"weights": [torch.zeros(1), torch.zeros(1)]})))
    ['0', '1.weights.0', '1.weights.1']
    """
    found = dict(_tensors_in(output, ""))
    return {"": next(iter(found.values()))} if len(found) == 1 else found


def _tensors_in(output: Any, name: str) -> "Iterator[tuple[str, torch.Tensor]]":
    import torch

    if isinstance(output, torch.Tensor):
        yield name, output
        return
    parts: Any = ()
    if isinstance(output, Mapping):
        parts = output.items()
    elif isinstance(output, tuple) and hasattr(output, "_fields"):
        parts = zip(output._fields, output, strict=True)
    elif isinstance(output, tuple | list):
        parts = enumerate(output)
    for key, part in parts:
        yield from _tensors_in(part, f"{name}.{key}" if name else str(key))


# --------------------------------------------------------------------------------------------- tracing


def traced(network: "torch.nn.Module", shape: Sequence[int]) -> pd.DataFrame:
    """Pass pictures through a network and return a row for each layer, in the order of their outputs.

    Parameters
    ----------
    network : torch.nn.Module
        On torch's `meta` device, where nothing is computed, or on another.
    shape : sequence of int
        Of one picture: (3, height, width).

    Returns
    -------
    DataFrame
        Columns `layer`, `type`, `shape`, `n_units`, `n_calls`; see `rsa.models.source.Source.describe`. A layer with
        several tensors has a row for each as well, called layer:part.
    """
    import torch

    rows: dict[str, dict[str, Any]] = {}

    def note(name: str, module: torch.nn.Module, _: Any, output: Any) -> None:
        parts = parts_of(output)
        first = next(iter(parts.values()), None)
        for layer, tensor in {name: first, **{f"{name}{PART}{key}": one for key, one in parts.items() if key}}.items():
            given = tuple(tensor.shape[1:]) if tensor is not None and _has_rows(tensor) else ()
            row = {"layer": layer, "type": type(module).__name__, "shape": "x".join(map(str, given))}
            n_units = int(torch.Size(given).numel()) if given else 0
            rows.setdefault(layer, {**row, "n_units": n_units, "n_calls": 0})["n_calls"] += 1

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if name:
                hooks.callback(module.register_forward_hook(partial(note, name)).remove)
        device = next((one.device for one in network.parameters()), torch.device("cpu"))
        with torch.inference_mode():
            network(torch.empty(N_TRACED, *shape, device=device))
    return pd.DataFrame(rows.values(), columns=["layer", "type", "shape", "n_units", "n_calls"])


def _has_rows(tensor: "torch.Tensor") -> bool:
    """Say whether a tensor has a row for each picture that is passed, with something in it."""
    return tensor.ndim > 1 and len(tensor) == N_TRACED
