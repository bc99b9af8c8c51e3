"""Pictures that are made for a unit: gradient ascent on the network's input, from grey."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rsa.core import Array
from rsa.errors import UserError
from rsa.models.passing import exactly, fewer, is_out_of_memory
from rsa.progress import progress
from rsa.units.choosing import Unit
from rsa.units.found import Found, Table
from rsa.units.preferred import field_at_peak
from rsa.units.settings import Maximised
from rsa.units.watched import LayerMap, Peaks, Watched

if TYPE_CHECKING:
    import torch

__all__ = ["COLUMNS", "ascended", "maximised"]

FIELDS_PER_JITTER, FIELDS_PER_BLUR = 8, 32
"""Which part of the theoretical field movements and blur are at most."""

SLOPE = 0.01
"""Of what is clipped, where units have no gradient otherwise."""

CONTRAST = 0.02
"""Standard deviation of the noise around mid grey with which pictures begin, as a share of the range of pixels."""

COLUMNS = {
    "layer": "Layer of the network",
    "unit": "Number of the unit in its layer, from 0",
    "start": "Highest response of the unit to the first picture, grey with a little noise",
    "made": "Highest response to the picture that was made for it",
    "best": "Highest response to any picture of the stimulus set",
    "condition": "Condition of that picture",
    "ratio": "made / best; n/a where best is not above 0",
}
"""The columns of the table of pictures that were made."""


def maximised(watched: Watched, units: Sequence[Unit], peaks: Mapping[str, Peaks], settings: Maximised) -> Found:
    """Make a picture for each unit, and compare its response to those to the pictures of the stimulus set.

    Returns
    -------
    Found
        The table `maximised` (`COLUMNS`), and of all units in order: `made`, shape (n_units, height, width, 3), 0 to
        255; `fields`, shape (n_units, 4), the theoretical field of the unit in the middle of its map: first row, first
        column, and one behind the last of each; `best`, shape (n_units,), the number of the picture of the stimulus set
        that drives the unit most; and `best_fields`, shape (n_units, 4), where in it the field is.

    Raises
    ------
    UserError
        If the source of the network has no gradients, or a gradient is NaN or infinite.
    """
    if watched.module is None:
        raise UserError(
            f"Pictures are made for a unit by gradients, and {watched.model.called} has none; take it out of "
            "`maximised.models`, or leave `maximised` out."
        )
    made: list[Array] = []
    rows: list[dict[str, Any]] = []
    total = len(units) * settings.n_steps
    with exactly(), progress(total, "steps", f"{watched.model.label}: pictures for units") as advance:
        for layer in dict.fromkeys(one.layer for one in units):
            numbers = [one.unit for one in units if one.layer == layer]
            made.append(_in_parts(watched, layer, numbers, settings, advance))
            rows += _rows(watched, layer, numbers, peaks[layer], made[-1], settings)
    table = Table(pd.DataFrame(rows, columns=list(COLUMNS)), COLUMNS)
    best = [int(peaks[one.layer].values[:, one.unit].argmax()) for one in units]
    seen = [field_at_peak(watched, one, peaks[one.layer], k) for one, k in zip(units, best, strict=True)]
    whole = settings.objective == "channel"
    arrays = {
        "made": np.concatenate(made),
        "fields": np.array([_field(watched, one, whole) for one in units]),
        "best": np.array(best),
        "best_fields": np.array(seen),
    }
    return Found({"maximised": table}, arrays, frozenset(best))


def _rows(
    watched: Watched, layer: str, units: Sequence[int], peaks: Peaks, made: Array, settings: Maximised
) -> list[dict[str, Any]]:
    """Return the rows of the units of a layer, for which pictures, (n_units, height, width, 3), were made."""
    grey = watched.pixels(_inputs(watched, _beginning(watched, settings)))
    before = _highest(watched, layer, units, np.repeat(grey[None], len(units), axis=0))
    after = _highest(watched, layer, units, made)
    return [
        _row(watched, layer, unit, peaks.values[:, unit], *both)
        for unit, *both in zip(units, before, after, strict=True)
    ]


def _row(watched: Watched, layer: str, unit: int, of_pictures: Array, before: float, after: float) -> dict[str, Any]:
    """Return a row of the table: what the unit responds to the first picture, to what was made, and to the best."""
    picture = int(of_pictures.argmax())
    best = float(of_pictures[picture])
    return {
        "layer": layer,
        "unit": unit,
        "start": before,
        "made": after,
        "best": best,
        "condition": watched.pictures.images["condition"].iloc[picture],
        "ratio": after / best if best > 0 else np.nan,
    }


def _field(watched: Watched, unit: Unit, whole: bool) -> tuple[int, int, int, int]:
    """Return where the picture of a unit is to be looked at: in the field of the middle unit, or everywhere."""
    where = watched.map_of(unit.layer)
    return (0, 0, *watched.input_px) if whole or not where.has_space else where.field_of(*_middle(where))


def _middle(where: LayerMap) -> tuple[int, int]:
    """Return row and column of the unit in the middle of the map of a channel."""
    return where.grid[0] // 2, where.grid[1] // 2


def _highest(watched: Watched, layer: str, units: Sequence[int], pictures: Array) -> list[float]:
    """Return the highest response at any place of each unit to its picture, (n_units, height, width, 3), 0 to 255."""
    import torch

    shown = torch.from_numpy(pictures)[..., [watched.colours.index(i) for i in range(watched.input_shape[0])]]
    inputs = _inputs(watched, shown.movedim(-1, -3).float() / 255)
    size = watched.settings.size
    batches = ((start, inputs[start : start + size]) for start in range(0, len(inputs), size))
    found: list[float] = []
    for start, maps in watched.responses(batches, [layer]):
        found += [float(own[units[start + i]].max()) for i, own in enumerate(maps[layer])]
    return found


# --------------------------------------------------------------------------------------------- the ascent


def _in_parts(
    watched: Watched, layer: str, units: Sequence[int], settings: Maximised, advance: Callable[[int], None]
) -> Array:
    """Make the pictures of units of a layer, as many at a time as fit into memory: (n_units, height, width, 3)."""
    import torch

    size, start = watched.settings.size, 0
    parts: list[Array] = []
    with torch.inference_mode(False):
        while start < len(units):
            some = units[start : start + size]
            try:
                shares = ascended(watched, layer, some, settings, advance)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                size = fewer(min(size, len(some)), watched.settings.device, error)
                continue
            parts.append(watched.pixels(_inputs(watched, shares.cpu())))
            start += len(some)
    return np.concatenate(parts)


def ascended(
    watched: Watched,
    layer: str,
    units: Sequence[int],
    settings: Maximised,
    advance: Callable[[int], None] = lambda _: None,
) -> "torch.Tensor":
    """Return a picture for each of some units of a layer that it responds to more and more [1]_.

    Each picture begins grey, with a little noise that is the same for all. A step moves it at random by some pixels
    [3]_, [4]_, follows the gradient of the response, moves it back, blurs it [3]_, and keeps pixels between black and
    white. The gradient is divided by its root mean square over the pixels that have one, so that a step is as long for
    all units. The response is the output of the layer: of its last one scores, and not probabilities, which rise by
    other classes' falling as well [2]_.

    Movements are at most an eighth of the theoretical field, and the blur a 32nd, as more would wash out what small
    fields see. A unit has no gradient while a ReLU before it is off for all of the picture; then the gradient is taken
    as if what is cut off had a small slope, until it responds [4]_. Where there is none even so, the contrast of the
    noise rises.

    Parameters
    ----------
    watched : Watched
        A network of torch, outside of torch's inference mode.
    layer : str
        The layer.
    units : sequence of int
        Numbers of its units.
    settings : Maximised
        How the ascent goes on.
    advance : callable
        Is told of each step for how many units it was.

    Returns
    -------
    tensor, shape (n_units, 3, height, width)
        From black (0) to white (1), on the device.

    Raises
    ------
    UserError
        If a gradient is NaN or infinite.

    References
    ----------
    .. [1] Erhan D, Bengio Y, Courville A, Vincent P (2009). Visualizing higher-layer features of a deep network.
       Technical report 1341, University of Montreal.
    .. [2] Simonyan K, Vedaldi A, Zisserman A (2014). Deep inside convolutional networks: visualising image
       classification models and saliency maps. ICLR workshop.
    .. [3] Yosinski J, Clune J, Nguyen A, Fuchs T, Lipson H (2015). Understanding neural networks through deep
       visualization. ICML deep learning workshop.
    .. [4] Olah C, Mordvintsev A, Schubert L (2017). Feature visualization. Distill 2:e7.
    """
    where, device = watched.map_of(layer), watched.settings.device
    first = _beginning(watched, settings).to(device)
    noise = (first - 0.5) / CONTRAST  # (3, height, width)
    shares = first.expand(len(units), *first.shape).clone()
    blur_px = min(settings.blur_px, _smallest(where) / FIELDS_PER_BLUR)
    for shift in _movements(where, settings):
        moved = shares.roll(shift, (-2, -1))
        gradient = _gradient(watched, layer, units, moved, settings)
        uphill = _of_length_one(gradient, noise.roll(shift, (-2, -1)))
        shares = (moved + settings.step * uphill).roll([-one for one in shift], (-2, -1))
        shares = _blurred(shares, blur_px).clamp(0, 1)
        advance(len(units))
    return shares


def _beginning(watched: Watched, settings: Maximised) -> "torch.Tensor":
    """Return the picture with which all begin: mid grey with noise, (3, height, width), from 0 to 1."""
    import torch

    generator = torch.Generator().manual_seed(settings.seed)
    return (0.5 + CONTRAST * torch.randn(watched.input_shape, generator=generator)).clamp(0, 1)


def _movements(where: LayerMap, settings: Maximised) -> list[list[int]]:
    """Return by how many rows and columns the picture is moved before each step."""
    shares = np.random.default_rng(settings.seed).uniform(-1, 1, (settings.n_steps, 2))
    largest = min(settings.jitter_px, int(_smallest(where) // FIELDS_PER_JITTER))
    return [[round(largest * one) for one in pair] for pair in shares.tolist()]


def _smallest(where: LayerMap) -> float:
    """Return the side of the theoretical field, or of the picture if that is smaller, in pixels."""
    return float(np.nanmin([where.field_px, *where.input_px]))


def _inputs(watched: Watched, shares: "torch.Tensor") -> "torch.Tensor":
    """Return the network's inputs of pictures from black (0) to white (1), shape (..., 3, height, width)."""
    black, white = (one.clone().to(shares.device) for one in (watched.black, watched.white))
    return black + (white - black) * shares


# ----------------------------------------------------------------------------------------- the gradients


def _gradient(
    watched: Watched, layer: str, units: Sequence[int], pictures: "torch.Tensor", settings: Maximised
) -> "torch.Tensor":
    """Return the gradient of the response of each unit to its picture, (n_units, 3, height, width).

    Of units without any, it is taken again as if what is clipped had a small slope.
    """
    gradient = _gradient_of(watched, layer, units, pictures, settings)
    without = (gradient == 0).flatten(1).all(dim=1)
    if bool(without.any()):
        stuck = without.nonzero().flatten().tolist()
        with _sloping():
            gradient[without] = _gradient_of(watched, layer, [units[i] for i in stuck], pictures[without], settings)
    _require_finite(watched, layer, units, gradient)
    return gradient


def _gradient_of(
    watched: Watched, layer: str, units: Sequence[int], pictures: "torch.Tensor", settings: Maximised
) -> "torch.Tensor":
    import torch

    with torch.enable_grad():
        leaf = pictures.detach().requires_grad_()
        responses = _responses(watched, layer, units, _inputs(watched, leaf), settings)
        (gradient,) = torch.autograd.grad(responses.sum(), leaf)
    return gradient


def _responses(
    watched: Watched, layer: str, units: Sequence[int], inputs: "torch.Tensor", settings: Maximised
) -> "torch.Tensor":
    """Return the response of each unit to its input, shape (n_units,): in the middle, or on average over places."""
    import torch

    found: list[torch.Tensor] = []
    watched.network.answer(inputs, [layer], lambda _, output: found.append(output.clone()))  # before it is overwritten
    where = watched.map_of(layer)
    own = torch.stack([maps[unit] for unit, maps in zip(units, where.maps(found[0]), strict=True)])
    row, column = _middle(where)
    return own.mean(dim=(1, 2)) if settings.objective == "channel" else own[:, row, column]


def _sloping() -> Any:
    """Let what is clipped (by ReLU, ReLU6, ...) have the same values and a small slope, for the length of a block."""
    import torch
    from torch.nn import functional
    from torch.overrides import TorchFunctionMode

    clipping = {
        *(functional.relu, functional.relu6, functional.hardtanh, torch.relu, torch.relu_),
        *(torch.Tensor.relu, torch.Tensor.relu_, functional.relu_, functional.hardtanh_),
    }

    class Sloping(TorchFunctionMode):
        """Adds nothing to what clips, but a slope where it is flat."""

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function not in clipping or not args:
                return function(*args, **(kwargs or {}))
            clipped = function(args[0].clone(), *args[1:], **(kwargs or {}))  # it may overwrite what it is given
            cut = args[0] - clipped
            return clipped + SLOPE * (cut - cut.detach())

    return Sloping()


def _of_length_one(gradient: "torch.Tensor", noise: "torch.Tensor") -> "torch.Tensor":
    """Return gradients whose root mean square is 1 over the pixels that have one; noise where no pixel has."""
    flat = gradient.flatten(1)
    largest = flat.abs().amax(dim=1, keepdim=True)
    scaled = flat / largest.clamp_min(1e-30)  # so that squares of tiny numbers are not 0
    n_pixels = (scaled != 0).sum(dim=1, keepdim=True).clamp_min(1)
    size = (scaled.square().sum(dim=1, keepdim=True) / n_pixels).sqrt().clamp_min(1e-30)
    return (scaled / size).where(largest > 0, noise.flatten()).view_as(gradient)


def _blurred(pictures: "torch.Tensor", sd_px: float) -> "torch.Tensor":
    """Blur pictures with a Gaussian of some standard deviation, up to three of them away."""
    from torchvision.transforms.functional import gaussian_blur

    if sd_px < 0.1:  # which no pixel would see
        return pictures
    reach = min(ceil(3 * sd_px), *(size - 1 for size in pictures.shape[-2:]))
    blurred: torch.Tensor = gaussian_blur(pictures, [2 * reach + 1] * 2, [sd_px] * 2)
    return blurred


def _require_finite(watched: Watched, layer: str, units: Sequence[int], gradient: "torch.Tensor") -> None:
    finite = gradient.isfinite().flatten(1).all(dim=1)
    if not bool(finite.all()):
        unit = units[int(finite.int().argmin())]
        raise UserError(
            f"The gradient of unit {unit} of layer {layer!r} of {watched.model.label} is NaN or infinite; check the "
            "weights, or leave the unit out of `maximised`."
        )
