"""What every source of networks has in common: its settings, and the network that it gives."""

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Protocol, Self, cast

import pandas as pd
from PIL import Image
from pydantic import BeforeValidator, Field

from rsa.core import difference_of_conditions
from rsa.errors import UserError, did_you_mean, listed
from rsa.models.representation import UNITS, Axes, Representation, axes_of
from rsa.settings import Label, Section, choice_of

if TYPE_CHECKING:
    import torch

__all__ = [
    "LAYER_COLUMNS",
    "PART",
    "Globs",
    "Layers",
    "LayersOrNone",
    "Layout",
    "Network",
    "Responses",
    "Source",
    "chosen_layers",
    "number_of",
    "problems_of_torch_alone",
    "require_extra",
    "usable_layers",
]

GLOB = re.compile(r"[*?\[]")
"""What makes a glob of the name of a file."""

PART = ":"
"""Stands between a layer and the part of its output that is meant, where it has several: attention:1."""

LAYER_COLUMNS = ("layer", "type", "shape", "n_units", "n_calls", "default")
"""What is known of a layer before the network is loaded; see `Source.describe`."""


CHANNELS_FIRST = frozenset(
    {
        *("Conv2d", "Conv2dNormActivation", "BatchNorm2d", "MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d"),
        *("Conv", "MaxPool", "AveragePool"),
    }
)
"""Types of layers whose outputs have channels first, then height and width."""


def _as_tuple(layers: Any) -> Any:
    return (layers,) if isinstance(layers, str) and layers != "default" else layers


Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]

Globs = Annotated[tuple[str, ...], Field(min_length=1)]

Layers = Annotated[Literal["default"] | Globs, BeforeValidator(_as_tuple, json_schema_input_type=str | Globs)]
"""The word "default", or names and globs; one alone needs no list."""

LayersOrNone = Annotated[
    Literal["default"] | tuple[str, ...],
    BeforeValidator(_as_tuple, json_schema_input_type=str | tuple[str, ...]),
]
"""The same, or no layer."""

UnitsName = Annotated[str, *choice_of(UNITS, "choice of units")]

Precision = Literal["single", "bfloat16", "float16"]


# -------------------------------------------------------------------------------------------- networks


class Network(Protocol):
    """A network that is ready to run, on a device."""

    @property
    def n_parameters(self) -> int | None:
        """Number of parameters, if it is known."""
        ...

    def prepare(self, picture: Image.Image, /) -> "torch.Tensor":
        """Make the network's input of an RGB picture: shape (3, height, width); deterministic."""
        ...

    def to(self, device: str) -> "Network":
        """Return the network on a device (see `rsa.devices`)."""
        ...

    def answer(self, batch: "torch.Tensor", layers: Sequence[str], take: "Callable[[str, torch.Tensor], None]") -> None:
        """Pass pictures through the network, and hand over what layers answer.

        Parameters
        ----------
        batch : tensor, shape (n_pictures, 3, height, width)
            On the network's device.
        layers : sequence of str
            The layers, in forward order.
        take : callable
            ``layer, output -> None``, called once for each layer, in any order, with an output of shape (n_pictures,
            ...). The output may be overwritten afterwards, so what is kept of it has to be copied.
        """
        ...

    def weights_sha256(self) -> str:
        """Return the SHA-256 of the weights, in hexadecimal; see `rsa.models.weights.weights_sha256`."""
        ...


class Responses(Protocol):
    """Ready responses of layers, which no network has to be run for."""

    @property
    def conditions(self) -> Sequence[str]:
        """The conditions, in the order of the rows."""
        ...

    def of(self, layer: str) -> Any:
        """Return the responses of a layer, shape (n_conditions, n_units): an array, or what is sliced like one."""
        ...

    def weights_sha256(self) -> str:
        """Return the SHA-256 of the responses, in hexadecimal."""
        ...


class Layout(NamedTuple):
    """How the output of a layer for one picture lies over channels and space; `n_before` tokens are of neither."""

    shape: tuple[int, ...]
    axes: Axes
    n_before: int


class Source(Section):
    """A network, where it comes from, and its layers."""

    weights_setting: ClassVar[str] = ""
    """The setting that names a file of weights, of which a glob stands for several networks."""
    needs_pictures: ClassVar[bool] = True
    """Whether pictures pass through a network, rather than that responses are ready."""
    has_gradients: ClassVar[bool] = True
    """Whether torch computes the network from its modules, so that its gradients can be had."""

    name: Label | None = None
    """Label of the model in file names (letters and digits); by default made of the network's name."""
    seeds: Annotated[int, Field(ge=1)] | Seeds | None = None
    """For `weights: untrained`: how many networks with random weights (seeds 0, 1, ...), or a list of their seeds. Each
    is a model of its own; its label ends with the seed, such as alexnetseed0."""
    layers: Layers = "default"
    """Layers by name or by glob (`features.*`), one or a list; `python -m rsa layers NETWORK` shows their names. A glob
    leaves out layers that do not have exactly one output, and, unless it names them (`lstm:*`), parts of an output."""
    units: UnitsName | dict[str, UnitsName] = "all"
    """Which units of a layer enter its RDM: all; the mean or max of each channel over space or tokens; those in the
    centre (the middle half of the picture); or cls, the class token of a transformer. One word is for every layer with
    space or tokens, and the others keep all units; `{"blocks.*": cls, norm: mean}` sets it layer by layer;
    of several names and globs of a layer, the first counts."""
    projection: int | None = Field(None, ge=1)
    """Number of sparse random directions (Li et al., 2006) onto which the units of a layer are projected; layers with
    fewer units stay as they are. The error of the distances is logged, and kept with the RDMs."""
    projection_seed: int = Field(0, ge=0)
    """Seed of the random directions of `projection`."""
    pca: float | None = Field(None, gt=0)
    """Number of principal components (over the conditions of the study) to which the patterns of a layer are reduced
    before distances are measured; below 1, the share of the variance that they explain."""
    precision: Precision = "single"
    """Numeric precision of the network (torch's autocast). Half precision is faster on GPUs and changes RDMs a little;
    only for networks that torch computes."""
    channels_last: bool = False
    """Keep channels as the last axis in memory: faster on some devices, the same but for rounding; only for networks
    that torch computes."""

    @property
    def called(self) -> str:
        """What the network is called where it comes from."""
        raise NotImplementedError

    @property
    def word(self) -> str:
        """What `python -m rsa layers` knows the network by."""
        return self.called

    @property
    def label(self) -> str:
        """The model's label in file names."""
        return self.name or re.sub("[^0-9A-Za-z]", "", self.called)

    @property
    def is_untrained(self) -> bool:
        """Whether the weights are random."""
        return False

    def variants(self) -> "list[Self]":
        """Return the networks that these settings stand for: one for each seed, or for each checkpoint, or this one.

        Checkpoints, which a glob names, come in the order of the last number in their names, and are called by the
        label and what their own name has of letters and digits.
        """
        if self.seeds is not None:
            seeds = range(self.seeds) if isinstance(self.seeds, int) else self.seeds
            return [self._variant(f"seed{seed}", seed=seed, seeds=None) for seed in seeds]
        pattern = self.checkpoints
        if not pattern:
            return [self]
        found = sorted(glob(pattern), key=lambda path: (number_of(path), path))
        changes = [{self.weights_setting: path} for path in found]
        names = [re.sub("[^0-9A-Za-z]", "", _stem(path)) for path in found]
        return [self._variant(name, **change) for name, change in zip(names, changes, strict=True)]

    def _variant(self, name: str, **changes: Any) -> "Self":
        return self.model_copy(update={"name": f"{self.label}{name}", **changes})

    @property
    def checkpoints(self) -> str:
        """The glob of files of weights, if they are several; or else empty."""
        weights = str(getattr(self, self.weights_setting)) if self.weights_setting else ""
        return weights if GLOB.search(weights) and not Path(weights).is_file() else ""

    def problems_of_variants(self) -> list[str]:
        """Return what is wrong with how several networks are asked for, a line each."""
        if self.seeds is not None and not self.is_untrained:
            return [f"{self.label}: `seeds` are those of random weights: set `weights: untrained`, or leave them out."]
        if isinstance(self.seeds, tuple) and len(set(self.seeds)) < len(self.seeds):
            return [f"{self.label}: `seeds` has a number twice; keep one of them."]
        if self.checkpoints and not glob(self.checkpoints):
            return [f"{self.label}: no file has a name like {self.checkpoints}, the glob of its weights."]
        return self._steps_that_come_twice()

    def require_one(self) -> None:
        """Raise a `UserError` if these settings stand for several networks, or for none."""
        if problems := self.problems_of_variants():
            raise UserError(" ".join(problems))
        several = self.variants()
        if self.seeds is not None or self.checkpoints:
            one = (
                "a `seed`, and leave `seeds` out" if self.seeds is not None else f"one file as `{self.weights_setting}`"
            )
            raise UserError(
                f"One network is run at a time, and these settings of {self.label} stand for {len(several)}: "
                f"{listed([model.label for model in several])}. Give {one}, with the label as `name`."
            )

    def _steps_that_come_twice(self) -> list[str]:
        """Say which checkpoints have the same step, so that their order is not certain."""
        of_steps: dict[int, list[str]] = {}
        for path in glob(self.checkpoints) if self.checkpoints else ():
            of_steps.setdefault(number_of(path), []).append(path)
        same = [sorted(paths) for step, paths in of_steps.items() if step >= 0 and len(paths) > 1]
        if not same:
            return []
        return [
            f"{self.label}: {listed(same[0])} have the same last number, which is their step; give checkpoints names "
            "with whole numbers that differ."
        ]

    def about(self) -> str:
        """Say in a few words which network it is."""
        raise NotImplementedError

    def methods(self) -> list[str]:
        """Return sentences for the methods text: the network, its weights, and what pictures became."""
        raise NotImplementedError

    def load(self) -> "Network | Responses":
        """Return the network, ready for inference on the CPU, or ready responses.

        Raises
        ------
        UserError
            If there is no such network or weights, or the weights can't be had or don't fit.
        """
        raise NotImplementedError

    def responses(self, stimuli: pd.DataFrame | None) -> "Responses":
        """Return ready responses to the conditions of a stimulus table, of a source that needs no pictures.

        Parameters
        ----------
        stimuli : DataFrame, optional
            `condition`, and `file` if there are pictures; without it, the responses themselves have to tell the
            conditions.

        Raises
        ------
        UserError
            If the responses can't be read, or are not those to the conditions.
        """
        ready: Any = self.load()
        return cast(Responses, ready)

    def problems_of_rows(self, stimuli: pd.DataFrame | None) -> list[str]:
        """Return why ready responses are not those to the conditions of a stimulus table, a line each."""
        try:
            conditions = self.responses(stimuli).conditions
        except UserError as error:
            return [str(error)]
        if stimuli is None:
            return []
        of_responses = f"the responses of {self.called}"
        wanted = list(dict.fromkeys(stimuli["condition"].astype(str)))
        return [*filter(None, [difference_of_conditions(wanted, conditions, "the stimuli", of_responses)])]

    def preprocessing(self) -> str:
        """Describe the preprocessing of pictures in one line."""
        raise NotImplementedError

    def describe(self) -> pd.DataFrame:
        """Return the layers in the order in which a picture passes them, if possible without loading any weights.

        Returns
        -------
        DataFrame
            Columns `layer`, `type`, `shape` (of the output for one picture, as in 64x55x55), `n_units`, `n_calls` per
            picture and `default` (whether `layers: default` has it). A layer has no units if its output is no tensor
            with a row per picture.
        """
        raise NotImplementedError

    def layer_names(self) -> list[str]:
        """Return the chosen layers, in forward order.

        Raises
        ------
        UserError
            If a pattern matches no layer, or a layer that is named has no one output.
        """
        return chosen_layers(self.layers, self.describe(), self.called, self.word)

    @property
    def n_tokens_before(self) -> int:
        """Number of tokens that stand before those of space: of the class, of distillation, and registers."""
        return 0

    @property
    def n_colours(self) -> int:
        """Number of colours that the network sees."""
        return 3

    def representations(self) -> dict[str, Representation]:
        """Return what becomes of the output of each chosen layer, in forward order.

        Raises
        ------
        UserError
            As `layer_names`; or if `units` asks for what a layer does not have.
        """
        described = self.describe()
        n_first = 0 if self.units == "all" else self.n_tokens_before
        axes = _axes_of_layers(described)
        made, names = {}, self.layer_names()
        self._require_patterns_of_units(names)
        for layer, (shape, n_before) in _shapes(described, n_first).items():
            if layer not in names:
                continue
            try:
                made[layer] = self._representation(layer, shape, n_before, axes[layer])
            except UserError as error:
                raise UserError(f"Layer {layer!r} of {self.called}: {error}.") from error
        if isinstance(self.units, str) and not any(one.units == self.units for one in made.values()):
            raise UserError(
                f"No chosen layer of {self.called} has what `units: {self.units}` is; set `units: all`, or choose "
                "other layers."
            )
        return made

    def layouts(self, described: pd.DataFrame) -> dict[str, Layout]:
        """Return how the outputs of all layers lie over channels and space.

        Parameters
        ----------
        described : DataFrame
            As `describe` returns it.
        """
        has_tokens = any(shape.count("x") == 1 for shape in described["shape"])
        shapes = _shapes(described, self.n_tokens_before if has_tokens else 0)
        axes = _axes_of_layers(described)
        return {
            layer: Layout(shape, axes[layer], n_before if len(axes[layer].space) == 1 else 0)
            for layer, (shape, n_before) in shapes.items()
        }

    def _require_patterns_of_units(self, names: Sequence[str]) -> None:
        """Raise a `UserError` if `units` names a layer that is not among those that are chosen."""
        patterns = () if isinstance(self.units, str) else self.units
        for pattern in patterns:
            if pattern not in names and not any(fnmatchcase(name, pattern) for name in names):
                raise UserError(
                    f"`units` of {self.called} has {pattern!r}, and no chosen layer is called so."
                    f"{did_you_mean(pattern, names, 3)} Correct it, or leave it out."
                )

    def _representation(self, layer: str, shape: tuple[int, ...], n_before: int, axes: Axes) -> Representation:
        how: dict[str, Any] = {"shape": shape, "n_before": n_before, "told_axes": axes}
        how |= {"n_projected": self.projection, "seed": self.projection_seed}
        if isinstance(self.units, str):
            try:
                return Representation(self.units, **how)
            except UserError:
                return Representation("all", **how)
        words = [word for pattern, word in self.units.items() if layer == pattern or fnmatchcase(layer, pattern)]
        return Representation(words[0] if words else "all", **how)

    def told_of_units(self) -> list[str]:
        """Return sentences for the methods text about what of the layers' outputs counted, and in which numbers."""
        words = (self.units,) if isinstance(self.units, str) else tuple(dict.fromkeys(self.units.values()))
        sentences = [f"Of {self.label}, {UNITS[word].words} counted." for word in words if word != "all"]
        if not isinstance(self.units, str):
            each = "; ".join(f"{pattern}: {word}" for pattern, word in self.units.items())
            sentences = [f"Of the layers of {self.label}, these units counted: {each}; elsewhere all."]
        if self.projection is not None:
            sentences.append(
                f"Units of {self.label} were projected onto {self.projection:,} sparse random directions (Li et al., "
                f"2006), where they were more (seed {self.projection_seed})."
            )
        if self.pca is not None:
            share = f"the principal components that explain {100 * self.pca:g} % of the variance over conditions"
            first = f"their first {self.pca:g} principal components" if self.pca >= 1 else share
            sentences.append(f"The patterns of layers of {self.label} were made again of {first}.")
        if self.precision != "single":
            sentences.append(f"The network {self.label} computed in {self.precision}, by torch's automatic casting.")
        return sentences

    def files(self) -> list[Path]:
        """Return the local files that the network is read from."""
        return []

    def n_weight_bytes(self) -> int:
        """Return how much memory the weights take, as far as that is known before they are loaded."""
        return sum(path.stat().st_size for path in self.files() if path.is_file())

    def problems(self) -> list[str]:
        """Return what is wrong with these settings, a line each; nothing is fetched."""
        try:
            self.representations()
        except UserError as error:
            return [str(error)]
        return []


def _shapes(described: pd.DataFrame, n_first: int) -> dict[str, tuple[tuple[int, ...], int]]:
    """Return the shape of the output of each layer for one picture, and how many tokens stand before those of space."""
    shapes = {
        layer: tuple(int(n) for n in shape.split("x"))
        for layer, shape in zip(described["layer"], described["shape"], strict=True)
        if shape
    }
    n_tokens = {shape[0] for shape in shapes.values() if len(shape) == 2}
    of_attention = _token_counts(described)

    def n_before(shape: tuple[int, ...]) -> int:
        own = shape[1] if len(shape) == 3 and shape[1] in of_attention else shape[0]
        return 0 if own + n_first in n_tokens else n_first  # the first are put before those of this layer later on

    return {layer: (shape, n_before(shape)) for layer, shape in shapes.items()}


def _token_counts(described: pd.DataFrame) -> frozenset[int]:
    """Return how many tokens outputs of two axes have, without those that are sides of maps as well.

    Examples
    --------
    >>> _token_counts(pd.DataFrame({"type": ["Conv2d", "Linear", "GRU"], "shape": ["8x14x14", "196x8", "14x8"]}))
    frozenset({196})
    """
    shapes = [(kind, shape.split("x")) for kind, shape in zip(described["type"], described["shape"], strict=True)]
    sides = {n for kind, shape in shapes if kind in CHANNELS_FIRST and len(shape) == 3 for n in shape[1:]}
    return frozenset(int(shape[0]) for _, shape in shapes if len(shape) == 2 and shape[0] not in {"1", *sides})


def _axes_of_layers(described: pd.DataFrame) -> dict[str, Axes]:
    """Return which axes of the output of each layer go over space, and which over channels.

    A layer whose type tells has channels first, and so has any with outputs of the same shape, unless all lengths are
    equal; of others `rsa.models.representation.axes_of` tells.

    Examples
    --------
    >>> table = {"layer": ["conv", "relu", "block"], "type": ["Conv2d", "ReLU", "Block"]}
    >>> found = _axes_of_layers(pd.DataFrame({**table, "shape": ["7x8x29", "7x8x29", "8x29x64"]}))
    >>> [axes.channels for axes in found.values()]
    [0, 0, 2]
    """
    is_last, aspect, tokens = _is_channels_last(described["shape"]), _aspect(described), _token_counts(described)
    is_first = described["type"].isin(CHANNELS_FIRST)
    like = {shape for shape in described["shape"][is_first] if len({*shape.split("x")}) > 1}
    found = {}
    for layer, shape, known in zip(described["layer"], described["shape"], is_first, strict=True):
        lengths = tuple(int(n) for n in shape.split("x")) if shape else ()
        is_told = len(lengths) == 3 and (known or shape in like)
        found[layer] = Axes((1, 2), 0) if is_told else axes_of(lengths, is_last, aspect, tokens)
    return found


def _is_channels_last(shapes: Iterable[str]) -> bool:
    """Say whether all layers whose lengths of three axes tell where channels are have them last.

    Examples
    --------
    >>> _is_channels_last(["16x16x16", "8x8x16"]), _is_channels_last(["16x16x16", "16x8x8"])
    (True, False)
    """
    sizes = [shape.split("x") for shape in shapes if shape.count("x") == 2]
    last = {height == width for height, width, channels in sizes if (height == width) != (width == channels)}
    return last == {True}


def _aspect(described: pd.DataFrame) -> float:
    """Return height over width of the maps of the first layer that has channels first by its type; 1 if none has.

    Examples
    --------
    >>> _aspect(pd.DataFrame({"type": ["ReLU", "Conv2d"], "shape": ["16x16x32", "16x16x32"]}))
    0.5
    """
    for kind, shape in zip(described["type"], described["shape"], strict=True):
        if kind in CHANNELS_FIRST and shape.count("x") == 2:
            _, height, width = map(int, shape.split("x"))
            return height / width
    return 1.0


def number_of(path: str | Path) -> int:
    """Return the last number in the name of a checkpoint, which is its step; -1 if there is none.

    Examples
    --------
    >>> number_of("runs/2024/epoch_10.pth"), number_of("step_7.pt2"), number_of("last.pth")
    (10, 7, -1)
    """
    numbers = re.findall(r"\d+", _stem(path))
    return int(numbers[-1]) if numbers else -1


def _stem(path: str | Path) -> str:
    """Return the name of a file without its endings, such as .pth.tar or .pt2."""
    return re.sub(r"(\.([A-Za-z]+|pt2|h5))+$", "", Path(path).name)


# ---------------------------------------------------------------------------------------------- layers


def chosen_layers(layers: Layers, table: pd.DataFrame, network: str, word: str = "") -> list[str]:
    """Choose layers by names and globs, in forward order.

    Parameters
    ----------
    layers : "default" or tuple of str
        What is chosen.
    table : DataFrame
        The layers; see `Source.describe`.
    network : str
        What the network is called, for messages.
    word : str
        What `python -m rsa layers` knows it by, where that is another word.

    Raises
    ------
    UserError
        If a pattern matches no layer, a layer that is named has no one output, or no layer is a default.
    """
    if layers == "default":
        default = list(table["layer"][table["default"]])
        if not default:
            raise UserError(f"{network} has no default layers here; name some in `layers`. {_listing(word or network)}")
        return default
    chosen = {name for pattern in layers for name in _matching(pattern, table, network, word or network)}
    return [name for name in table["layer"] if name in chosen]


def usable_layers(described: pd.DataFrame, globs: Sequence[str] | None = None) -> list[str]:
    """Return the layers with one output, in forward order: all, or those that are named, or match a glob.

    Examples
    --------
    >>> table = pd.DataFrame({"layer": ["conv", "twice", "lstm:1"], "n_calls": [1, 2, 1], "n_units": [8, 8, 5]})
    >>> usable_layers(table), usable_layers(table, ["*"]), usable_layers(table, ["lstm:1", "twice"])
    (['conv', 'lstm:1'], ['conv'], ['lstm:1'])
    """
    usable = list(described["layer"][(described["n_calls"] == 1) & (described["n_units"] > 0)])
    if globs is None:
        return usable
    meant = {layer for glob in globs for layer in _meant(glob, list(described["layer"]))}
    return [layer for layer in usable if layer in meant]


def _listing(word: str) -> str:
    return f"`python -m rsa layers {word}` lists them."


def _matching(pattern: str, table: pd.DataFrame, network: str, word: str) -> list[str]:
    """Return the layers of that name, or those with one output that match the glob."""
    n_calls = dict(zip(table["layer"], table["n_calls"], strict=True))
    n_units = dict(zip(table["layer"], table["n_units"], strict=True))
    matches = _meant(pattern, list(n_calls))
    usable = [name for name in matches if n_calls[name] == 1 and n_units[name]]
    if usable:
        return usable
    if not matches:
        raise UserError(f"{network} has no layer {pattern!r}.{did_you_mean(pattern, n_calls, 3)} {_listing(word)}")
    if n_calls[matches[0]] == 1:
        raise UserError(f"The output of layer {matches[0]!r} of {network} is not one tensor per picture.")
    around = [name for name in _enclosing(matches[0]) if n_calls.get(name) == 1 and n_units[name]]
    hint = f"ask for the module around it, {around[0]!r}" if around else "ask for another one"
    raise UserError(
        f"Layer {matches[0]!r} of {network} is called {n_calls[matches[0]]} times per picture, "
        f"so it has no one output; {hint}."
    )


def _meant(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the layer of that name, or those that match the glob; a part of an output only where it names parts."""
    if pattern in names:
        return [pattern]
    return [name for name in names if fnmatchcase(name, pattern) and (PART in pattern or PART not in name)]


def _enclosing(name: str) -> list[str]:
    """Return the modules around a layer, the nearest first."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]


def problems_of_torch_alone(source: Source, how: str) -> list[str]:
    """Say that settings of how torch computes do nothing for a network that it does not compute.

    Parameters
    ----------
    source : Source
        The settings.
    how : str
        What is done instead: "is computed by onnxruntime".
    """
    given = [name for name in ("precision", "channels_last") if getattr(source, name) not in ("single", False)]
    return [f"`{name}` is for networks that torch computes, and {source.called} {how}; leave it out." for name in given]


def require_extra(module: str, extra: str, source: str) -> Any:
    """Import a package that a source of networks needs, or say how to install it.

    Parameters
    ----------
    module : str
        The package's name in Python.
    extra : str
        The extra of this project that installs it.
    source : str
        The source, for the message.

    Raises
    ------
    UserError
        If it is not installed, or cannot be imported.
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"Networks of `source: {source}` need the package {module.partition('.')[0]}, which cannot be imported "
            f'({error}). Install it: pip install -e ".[{extra}]".'
        ) from error
