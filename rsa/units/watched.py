"""A network that is watched: its input in pixels, the maps of its channels, and where in a picture a unit is."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from rsa.core import Array
from rsa.errors import UserError
from rsa.inputs.stimuli import read_image
from rsa.models import Model
from rsa.models.modules import TorchNetwork, lay, strides_of
from rsa.models.passing import Asked, PassSettings, exactly, keeping_memory, pass_batches, require_same_answers
from rsa.models.pictures import input_batches
from rsa.models.representation import Axes
from rsa.models.run import Pictures, by_condition
from rsa.progress import progress

if TYPE_CHECKING:
    import torch

__all__ = ["N_COLOURS", "LayerMap", "Peaks", "Watched", "layer_maps"]

N_COLOURS = 3
"""Of a picture that is shown: red, green and blue, or three times the same grey."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LayerMap:
    """The channels of a layer, and where in a picture their units are.

    Parameters
    ----------
    layer : str
        Its name.
    shape : tuple of int
        Of its output for one picture.
    axes : Axes
        Which axes go over space, and which over channels.
    n_before : int
        Tokens that stand before those of space.
    input_px : tuple of int
        Height and width of the network's input.
    field_px, jump_px, centre_px : float
        The theoretical receptive field; see `rsa.models.receptive.receptive_fields`. NaN where it is not known.
    jump_across_px, centre_across_px : float, optional
        The same for columns, where `jump_px` and `centre_px` are of rows alone; by default they are of both.
    """

    layer: str
    shape: tuple[int, ...]
    axes: Axes
    n_before: int
    input_px: tuple[int, int]
    field_px: float = np.nan
    jump_px: float = np.nan
    centre_px: float = np.nan
    jump_across_px: float | None = None
    centre_across_px: float | None = None

    @property
    def jumps_px(self) -> tuple[float, float]:
        """How far it is from a unit's field to the next, down and across."""
        return self.jump_px, self.jump_px if self.jump_across_px is None else self.jump_across_px

    @property
    def first_centres_px(self) -> tuple[float, float]:
        """The middle of the field of the first unit: row and column."""
        return self.centre_px, self.centre_px if self.centre_across_px is None else self.centre_across_px

    @property
    def n_channels(self) -> int:
        """Number of channels: of units, in a layer without space."""
        return prod(n for axis, n in enumerate(self.shape) if axis not in self.axes.space)

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the map of a channel; (1, 1) in a layer without space."""
        if len(self.axes.space) == 2:
            first, second = self.axes.space
            return self.shape[first], self.shape[second]
        return (
            _grid_of_tokens(self.shape[self.axes.space[0]] - self.n_before, *self.input_px)
            if self.axes.space
            else (1, 1)
        )

    @property
    def has_space(self) -> bool:
        """Whether a channel has units at several places of the picture."""
        return self.grid[0] > 1 and self.grid[1] > 1

    @property
    def is_regular(self) -> bool:
        """Whether fields are known to lie as far apart as units: not in windows of attention, whose units share one."""
        spans = [jump * (n - 1) for jump, n in zip(self.jumps_px, self.grid, strict=True)]
        fits = [span <= size + min(self.field_px, size / 2) for span, size in zip(spans, self.input_px, strict=True)]
        known = np.isfinite([self.field_px, *self.jumps_px, *self.first_centres_px])
        return bool(known.all()) and all(fits)

    def maps(self, output: "torch.Tensor") -> "torch.Tensor":
        """Return the maps of all channels, (n_pictures, n_channels, height, width), of an output (n_pictures, ...)."""
        if len(self.axes.space) == 2:
            return output if self.axes.channels == 0 else output.movedim(-1, 1)
        if len(self.axes.space) == 1:
            axis = self.axes.space[0] + 1
            tokens = output.narrow(axis, self.n_before, output.shape[axis] - self.n_before)
            return tokens.movedim(axis, -1).reshape(len(output), self.n_channels, *self.grid)
        return output.flatten(1)[:, :, None, None]

    def centre_of(self, row: Array | float, column: Array | float) -> tuple[Any, Any]:
        """Return where in the input the field of a unit has its middle: row and column in pixels, the first at 0.

        Where theoretical fields are not known, or units share one, units are taken to lie evenly over the picture.
        """
        if self.is_regular:
            (down, across), (first_row, first_column) = self.jumps_px, self.first_centres_px
            return first_row + down * np.asarray(row), first_column + across * np.asarray(column)
        (height, width), (n_rows, n_columns) = self.input_px, self.grid
        return (
            (np.asarray(row) + 0.5) * height / n_rows - 0.5,
            (np.asarray(column) + 0.5) * width / n_columns - 0.5,
        )

    def field_of(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return the theoretical field of a unit: first row, first column, and one behind the last of each, in pixels.

        It is cut at the border of the picture, and all of the picture where it is not known, also where, or has no end.
        """
        height, width = self.input_px
        if not self.is_regular:
            return 0, 0, height, width
        centres, half = self.centre_of(row, column), (self.field_px - 1) / 2
        first = [max(0, int(np.floor(centre - half + 1e-6))) for centre in centres]
        last = [
            min(size, int(np.ceil(centre + half - 1e-6)) + 1)
            for centre, size in zip(centres, (height, width), strict=True)
        ]
        return first[0], first[1], last[0], last[1]


def _grid_of_tokens(n_tokens: int, height_px: int, width_px: int) -> tuple[int, int]:
    """Return how many tokens lie below and beside each other: square patches of a picture, or all in a row.

    Examples
    --------
    >>> _grid_of_tokens(9, 24, 24), _grid_of_tokens(16, 16, 64), _grid_of_tokens(10, 24, 24)
    ((3, 3), (2, 8), (1, 10))
    """
    height, width = (height_px, width_px) if height_px and width_px else (1, 1)
    for n_down in range(1, n_tokens + 1):
        n_across, rest = divmod(n_tokens, n_down)
        least = max(height / (n_down + 1), width / (n_across + 1))  # sides of patches of which so many fit
        if not rest and least < min(height / n_down, width / n_across):
            return n_down, n_across
    return 1, n_tokens


@dataclass(frozen=True)
class Peaks:
    """The highest response of each channel to each picture, and where it is.

    Parameters
    ----------
    values : array, shape (n_pictures, n_channels)
        The highest response of all units of a channel.
    places : array, shape (n_pictures, n_channels)
        Which of them it is: row * width + column of the map.
    lowest : array, shape (n_pictures, n_channels)
        The lowest response.
    """

    values: Array
    places: Array
    lowest: Array

    @classmethod
    def to_be_filled(cls, n_pictures: int, n_channels: int) -> "Peaks":
        """Make room for so many pictures and channels, at once: small arrays between batches would scatter memory."""
        shape = n_pictures, n_channels
        return cls(np.empty(shape, np.float32), np.empty(shape, np.int64), np.empty(shape, np.float32))

    def fill(self, place: int, flat: "torch.Tensor") -> None:
        """Fill in the pictures from a place on, by the responses of all units, (n_pictures, n_channels, n_places)."""
        rows, highest = slice(place, place + len(flat)), flat.max(dim=2)
        self.values[rows], self.places[rows] = highest.values.numpy(), highest.indices.numpy()
        self.lowest[rows] = flat.amin(dim=2).numpy()

    @property
    def is_dead(self) -> Array:
        """Whether a channel has one and the same response at all places of all pictures."""
        return np.asarray(self.values.max(axis=0) == self.lowest.min(axis=0))


@dataclass
class Watched:
    """A network, and pictures that pass through it.

    Parameters
    ----------
    model : Source
        Where it comes from.
    pictures : Pictures
        The pictures, sorted by condition.
    settings : PassSettings
        How they pass.
    """

    model: Model
    pictures: Pictures
    settings: PassSettings

    @classmethod
    def of(cls, model: Model, images: pd.DataFrame, device: str = "cpu", batch_size: int | None = None) -> "Watched":
        """Watch a network while the pictures of a stimulus table pass (columns `condition`, `file`)."""
        return cls(model, by_condition(images), PassSettings(device, batch_size, model.precision))

    @cached_property
    def _loaded(self) -> tuple[Any, dict[str, tuple[int, ...]]]:
        """The network on its device, as its source loads it, and how its parameters lie in memory."""
        import torch

        with torch.inference_mode(False):  # so that gradients can pass it
            network = self.model.load().to(self.settings.device)
        return network, strides_of(network.module) if isinstance(network, TorchNetwork) else {}

    @cached_property
    def network(self) -> Any:
        """The network, on its device; channels go last in memory, which is faster and the same but for rounding."""
        import torch

        network, _ = self._loaded
        if not isinstance(network, TorchNetwork):
            return network
        with torch.inference_mode(False):
            return replace(network, channels_last=True).to(self.settings.device)

    @contextmanager
    def as_loaded(self) -> Iterator[Any]:
        """Lend the network as its source loads it, with which RDMs of layers are those of a study bit by bit."""
        import torch

        network, strides = self._loaded
        watched = self.network
        if watched is network:
            yield network
            return
        try:
            with torch.inference_mode(False):
                lay(network.module, strides)
            yield network
        finally:
            with torch.inference_mode(False):
                watched.to(self.settings.device)

    @property
    def module(self) -> "torch.nn.Module | None":
        """The module of torch that the network is; None of networks that torch does not compute."""
        return self.network.module if isinstance(self.network, TorchNetwork) else None

    # ------------------------------------------------------------------------------------- the pictures

    @property
    def n_pictures(self) -> int:
        """Number of pictures."""
        return len(self.pictures.files)

    def input_of(self, picture: int) -> "torch.Tensor":
        """Return the network's input of a picture, shape (n_colours, height, width), on the CPU."""
        prepared: torch.Tensor = self.network.prepare(read_image(self.pictures.files[picture]))
        return prepared

    @cached_property
    def _range(self) -> "tuple[torch.Tensor, torch.Tensor]":
        black, white = (self.network.prepare(Image.new("RGB", (256, 256), (v, v, v))) for v in (0, 255))
        ends = black.amin(dim=(1, 2), keepdim=True), white.amax(dim=(1, 2), keepdim=True)
        if bool(((ends[1] - ends[0]).abs() > 0).all() and (ends[1] - ends[0]).isfinite().all()):
            return ends
        return self._range_of_pictures

    @property
    def _range_of_pictures(self) -> "tuple[torch.Tensor, torch.Tensor]":
        """The lowest and the highest of all pictures, (n_colours, 1, 1) each: where each is standardised by itself."""
        import torch

        log.info(
            "%s: a black picture and a white one are the same input, so the lowest and highest of the pictures "
            "are taken for black and white.",
            self.model.label,
        )
        inputs = [self.input_of(picture).flatten(1) for picture in range(self.n_pictures)]
        lowest, highest = torch.stack([one.amin(1) for one in inputs]), torch.stack([one.amax(1) for one in inputs])
        return lowest.amin(0)[:, None, None], highest.amax(0)[:, None, None]

    @property
    def black(self) -> "torch.Tensor":
        """What a black pixel is in the network's input, shape (n_colours, 1, 1).

        Where each picture is standardised by itself, a black one and a white one are alike: then the lowest value of
        all pictures is meant, and by `white` the highest.
        """
        return self._range[0]

    @property
    def white(self) -> "torch.Tensor":
        """What a white pixel is in the network's input, shape (n_colours, 1, 1)."""
        return self._range[1]

    @cached_property
    def input_shape(self) -> tuple[int, int, int]:
        """Number of colours, height and width of the network's input."""
        n_colours, height, width = self.input_of(0).shape
        return int(n_colours), int(height), int(width)

    @property
    def input_px(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return self.input_shape[1:]

    @cached_property
    def colours(self) -> list[int]:
        """Which channel of the network's input is red, which green, and which blue: some networks see blue first.

        Of a network that sees grey, it is all three.
        """
        import torch

        if self.input_shape[0] == 1:
            return [0] * N_COLOURS

        pictures = (Image.new("RGB", (256, 256), tuple(255 * (i == k) for i in range(3))) for k in range(3))
        shown = torch.stack([self._shares(self.network.prepare(picture)).mean(dim=(1, 2)) for picture in pictures])
        order = [int(channel) for channel in shown.argmax(dim=1)]  # (3 colours, 3 channels) -> (3 colours,)
        return order if sorted(order) == [0, 1, 2] else [0, 1, 2]

    def _shares(self, inputs: "torch.Tensor") -> "torch.Tensor":
        """Return inputs, (..., 3, height, width), from 0 for black to 1 for white."""
        return (inputs.cpu() - self.black) / (self.white - self.black)

    def pixels(self, inputs: "torch.Tensor") -> Array:
        """Return inputs, (..., n_colours, height, width), as pictures: (..., height, width, 3), 0 to 255."""
        shares = self._shares(inputs).clamp(0, 1)[..., self.colours, :, :]
        return np.asarray((255 * shares).round().movedim(-3, -1).to(dtype=_byte()).numpy())

    # --------------------------------------------------------------------------------------- the layers

    @cached_property
    def described(self) -> pd.DataFrame:
        """All layers; see `rsa.models.source.Source.describe`."""
        return self.model.describe()

    @cached_property
    def _fields(self) -> pd.DataFrame:
        import torch

        from rsa.models.receptive import GRID, receptive_grids

        if self.module is None:
            return pd.DataFrame(columns=list(GRID))
        with torch.inference_mode(False):  # in which operations cannot be followed
            found = receptive_grids(self.module, self.input_shape)
        return found.drop_duplicates("layer").set_index("layer")[list(GRID)]

    @cached_property
    def _maps(self) -> dict[str, LayerMap]:
        return layer_maps(self.model, self.described, self.input_px)

    def map_of(self, layer: str) -> LayerMap:
        """Return how the channels of a layer lie in the picture."""
        found = self._maps[layer]
        if layer not in self._fields.index:
            return found
        field_px, jump_px, centre_px, jump_across_px, centre_across_px = map(float, self._fields.loc[layer])
        return replace(
            found,
            field_px=field_px,
            jump_px=jump_px,
            centre_px=centre_px,
            jump_across_px=jump_across_px,
            centre_across_px=centre_across_px,
        )

    # ------------------------------------------------------------------------------------- its responses

    def responses(
        self,
        batches: "Iterable[tuple[int, torch.Tensor]]",
        layers: Sequence[str],
        pick: "Callable[[str, torch.Tensor], torch.Tensor] | None" = None,
    ) -> "Iterator[tuple[int, dict[str, torch.Tensor]]]":
        """Pass batches of inputs, and yield the maps of the channels of layers for each.

        Parameters
        ----------
        batches : iterator of (int, tensor)
            The place of the first input of a batch, and the batch, (n_inputs, 3, height, width).
        layers : sequence of str
            Names of layers.
        pick : callable, optional
            ``layer, maps -> responses``: what is kept of maps, with a row for each input; by default all.

        Yields
        ------
        int, dict
            The place of the first input, and of each layer the maps, (n_inputs, n_channels, height, width), on the CPU.
        """
        how = {layer: self.map_of(layer) for layer in layers}
        for place, batch in batches:
            parts: dict[str, list[torch.Tensor]] = {layer: [] for layer in layers}

            def keep(layer: str, output: "torch.Tensor") -> "torch.Tensor":
                maps = how[layer].maps(output)
                return (maps if pick is None else pick(layer, maps)).cpu()

            def take(_: int, layer: str, maps: "torch.Tensor", parts: Any = parts) -> None:
                parts[layer].append(maps.clone())

            for _ in pass_batches(Asked(self.network, layers, keep, take, self.settings), [(0, batch)]):
                pass
            yield place, {layer: _joined(found) for layer, found in parts.items()}

    def maps(self, layers: Sequence[str], label: str) -> "Iterator[tuple[int, dict[str, torch.Tensor]]]":
        """Pass all pictures, and yield the maps of the channels of layers, batch by batch; see `responses`."""
        with exactly(), keeping_memory(), progress(self.n_pictures, "pictures", label) as advance:
            batches = input_batches(self.network.prepare, self.pictures.files, self.settings.size)
            for place, maps in self.responses(batches, layers):
                yield place, maps
                advance(len(next(iter(maps.values()))))

    def peaks(self, layers: Sequence[str]) -> dict[str, Peaks]:
        """Return the highest response of each channel of some layers to each picture, and where it is.

        Raises
        ------
        UserError
            If a response is NaN or infinite.
        """
        found = {layer: Peaks.to_be_filled(self.n_pictures, self.map_of(layer).n_channels) for layer in layers}
        for place, maps in self.maps(layers, f"{self.model.label}: what units respond to") if layers else ():
            for layer, of_layer in maps.items():
                flat = of_layer.flatten(2)
                self._require_finite(layer, place, flat)
                found[layer].fill(place, flat)
        return found

    def _require_finite(self, layer: str, place: int, flat: "torch.Tensor") -> None:
        import torch

        finite = torch.isfinite(flat).flatten(1).all(dim=1)
        if not bool(finite.all()):
            raise self.no_number(layer, place + int(finite.int().argmin()))

    def no_number(self, layer: str, picture: int, where: str = "") -> UserError:
        """Return the error that tells of a response to a picture, or to what was made of it, that is no number."""
        return UserError(
            f"The output of layer {layer!r} of {self.model.label} is NaN or infinite for "
            f"{self.pictures.files[picture]}{where}; check the weights and the image."
        )

    def require_same_answers(self, layers: Sequence[str]) -> None:
        """Raise a `UserError` if answers change with the pass: what a covered part does could not be told then."""
        how = {layer: self.map_of(layer) for layer in layers}
        asked = Asked(
            self.network, layers, lambda layer, output: how[layer].maps(output).cpu(), lambda *_: None, self.settings
        )
        pictures = [self.input_of(0), self.input_of(self.n_pictures - 1)]
        with exactly(), keeping_memory():
            require_same_answers(asked, pictures, self.model.label, self.pictures.files[0])

    def require_several(self) -> None:
        """Raise a `UserError` if there are too few pictures to tell what drives a unit."""
        if self.n_pictures < 2:
            raise UserError(
                f"`units` compares responses to pictures, and there is {self.n_pictures}: add pictures to `stimuli`."
            )


def layer_maps(model: Model, described: pd.DataFrame, input_px: tuple[int, int] = (0, 0)) -> dict[str, LayerMap]:
    """Return how the channels of all layers lie in their outputs, by what is known before a network is loaded.

    Parameters
    ----------
    model : Source
        The network.
    described : DataFrame
        Its layers; see `rsa.models.source.Source.describe`.
    input_px : tuple of int
        Height and width of the input.
    """
    return {layer: LayerMap(layer, *one, input_px) for layer, one in model.layouts(described).items()}


def _joined(parts: "Sequence[torch.Tensor]") -> "torch.Tensor":
    import torch

    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _byte() -> Any:
    import torch

    return torch.uint8
