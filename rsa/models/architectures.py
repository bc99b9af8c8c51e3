"""Sources that know networks by name: the settings that they share, and how weights come into a network."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import pandas as pd
from PIL import Image
from pydantic import BeforeValidator, Field

from rsa.errors import UserError
from rsa.models.modules import TorchNetwork, own_random_numbers, tokens_before, without_memory
from rsa.models.source import Source, chosen_layers
from rsa.models.weights import WEIGHTS_SUFFIXES, fill_network, fitted, is_weights_file, is_within, read_state
from rsa.settings import path_unless

if TYPE_CHECKING:
    import torch

__all__ = ["UNTRAINED", "Architecture", "Weights", "defaults"]

UNTRAINED = "untrained"
"""Stands for random weights."""

Weights = Annotated[str, path_unless(lambda weights: not is_weights_file(weights))]
"""The name of weights, the word "untrained", or a file."""

Modules = Annotated[
    tuple[str, ...],
    BeforeValidator(
        lambda given: (given,) if isinstance(given, str) else given,
        json_schema_input_type=str | tuple[str, ...],
    ),
]
"""Names of modules; one alone needs no list."""


class Architecture(Source):
    """A network that a library knows by name, with weights by name, from a file, or random."""

    architecture: str
    """Name by which the library knows the network."""
    weights_setting: ClassVar[str] = "weights"

    weights: Weights
    """Name of the library's weights, `untrained`, or a file."""
    weights_key: str | None = None
    """For a checkpoint that holds several state dicts: which to take, such as model_ema; by default `state_dict`,
    `model_state_dict` or `model`, or the only one."""
    without: Modules = ()
    """For weights of a file: modules that the file has no weights for, or others, such as the classifier (`fc`) of a
    self-supervised or fine-tuned network, and what only the file has, such as a projection head. Layers from the first
    of them on can't be chosen."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random weights of an `untrained` network."""

    @property
    def called(self) -> str:
        """The architecture."""
        return self.architecture

    @property
    def is_untrained(self) -> bool:
        """Whether the weights are random."""
        return self.weights == UNTRAINED

    @property
    def is_from_file(self) -> bool:
        """Whether the weights lie in a file of the user's."""
        return is_weights_file(self.weights)

    def about(self) -> str:
        """Say in a few words which network it is."""
        return self.architecture + (
            f", untrained (seed {self.seed})" if self.is_untrained else f", weights {self.weights}"
        )

    def methods_of_weights(self, made: str, named: str) -> str:
        """Return a sentence on the weights.

        Parameters
        ----------
        made : str
            The network: the subject of the sentence.
        named : str
            What the library's own weights are: "the weights ..., trained on ...".
        """
        if self.is_untrained:
            return f"{made} was untrained: its weights were random (seed {self.seed})."
        if self.is_from_file:
            return f"{made} had weights of the file {Path(self.weights).name}."
        return f"{made} had {named}."

    def load(self) -> TorchNetwork:
        """Return the network, ready for inference on the CPU.

        Raises
        ------
        UserError
            If there is no such architecture or weights, or the weights can't be had or don't fit.
        """
        self.require_known()
        with own_random_numbers(self.seed):
            network = self.build(init_weights=self.is_untrained)
        if not self.is_untrained:
            fill_network(network, self._state(), self.called, self.weights, self.without)
        return TorchNetwork(network.eval().requires_grad_(False), self.transform(), self.channels_last)

    def describe(self) -> pd.DataFrame:
        """Return the layers in the order in which a picture passes them, without loading any weights."""
        self.require_known()
        table = self.all_layers()
        lacking = [is_within(layer, self.without) for layer in table["layer"]]
        return table[: lacking.index(True)].copy() if any(lacking) else table.copy()

    def layer_names(self) -> list[str]:
        """Return the chosen layers, in forward order.

        Raises
        ------
        UserError
            If a pattern matches no layer, or a layer that is named has no one output or random weights before it.
        """
        try:
            return super().layer_names()
        except UserError as error:
            if not self.without:
                raise
            lost = set(chosen_layers(self.layers, self.all_layers(), self.called, self.word)) - set(
                self.describe()["layer"]
            )
            raise UserError(
                f"Layer {sorted(lost)[0]!r} of {self.called} needs modules that have no weights here "
                f"(`without: [{', '.join(self.without)}]`); choose layers before them."
            ) from error

    def files(self) -> list[Path]:
        """Return the local files that the network is read from."""
        return [Path(self.weights)] if self.is_from_file else []

    def problems(self) -> list[str]:
        """Return what is wrong with these settings, a line each; weights on the network are not fetched."""
        try:
            self.require_known()
        except UserError as error:
            return [str(error)]
        found = []
        for check in (self._check_file, self.representations):
            try:
                check()
            except UserError as error:
                found.append(str(error))
        return found

    @property
    def n_tokens_before(self) -> int:
        """Number of tokens that stand before those of space."""
        return tokens_before(without_memory(lambda: self.build(init_weights=False)).state_dict())

    def n_weight_bytes(self) -> int:
        """Return how much memory the weights take."""
        state = without_memory(lambda: self.build(init_weights=False)).state_dict()
        return sum(one.numel() * one.element_size() for one in state.values())

    # ------------------------------------------------------------------ what each library does in its own way

    def require_known(self) -> None:
        """Raise a UserError if the library knows no such architecture or weights, or is not installed."""
        raise NotImplementedError

    def build(self, init_weights: bool) -> "torch.nn.Module":
        """Return the network, its weights random (if `init_weights`) or of no meaning."""
        raise NotImplementedError

    def named_state(self) -> "dict[str, torch.Tensor]":
        """Return the state dict of the library's own weights, from the cache or the network."""
        raise NotImplementedError

    def transform(self) -> "Callable[[Image.Image], torch.Tensor]":
        """Return what makes the network's input of a picture."""
        raise NotImplementedError

    def input_shape(self) -> tuple[int, int, int]:
        """Return the shape of the network's input for one picture: (3, height, width)."""
        raise NotImplementedError

    def all_layers(self) -> pd.DataFrame:
        """Return all layers as `describe` does, with those that have no weights."""
        raise NotImplementedError

    # ----------------------------------------------------------------------------------------------- weights

    def state_of_file(self, state: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """Return what belongs to the network of the state dict of a file."""
        return state

    def _state(self) -> "dict[str, torch.Tensor]":
        if self.is_from_file:
            return self.state_of_file(read_state(self.weights, "cpu", self.weights_key))
        return self.named_state()

    def _check_file(self) -> None:
        """Raise unless a local weights file is there and fits; only the names and shapes in it are read."""
        if self.is_from_file:
            network = without_memory(lambda: self.build(init_weights=False))
            state = self.state_of_file(read_state(self.weights, "meta", self.weights_key))
            fitted(network, state, self.called, self.weights, self.without)

    def require_file_for_its_settings(self) -> None:
        """Raise if settings are given that are for weights of a file only, and the weights are no file."""
        given = {"weights_key": self.weights_key is not None, "without": bool(self.without)}
        for name in (name for name, is_given in given.items() if is_given and not self.is_from_file):
            raise UserError(f"{name} is for weights of a file, and these are {self.weights!r}: leave it out.")

    def kinds_of_weights(self, names: Sequence[str]) -> str:
        """Say what `weights` may be."""
        return f"{', '.join([*names, UNTRAINED])}, or a file that ends in {', '.join(WEIGHTS_SUFFIXES)}"


def defaults(table: pd.DataFrame, is_default: Callable[[str, str], bool]) -> pd.DataFrame:
    """Add the column `default`: layers with one output that a rule names.

    Parameters
    ----------
    table : DataFrame
        See `rsa.models.modules.traced`.
    is_default : callable
        ``name, type -> whether``.
    """
    usable = (table["n_calls"] == 1) & (table["n_units"] > 0)
    named = [is_default(str(name), str(kind)) for name, kind in zip(table["layer"], table["type"], strict=True)]
    return table.assign(default=usable & pd.Series(named, table.index, dtype=bool))
