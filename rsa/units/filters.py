"""The filters of the first layer: what each of them adds up of a small square of the picture, and its tuning."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rsa.core import Array
from rsa.units.found import Found, Table
from rsa.units.watched import N_COLOURS, Watched

if TYPE_CHECKING:
    import torch

__all__ = [
    "COLUMNS",
    "FirstFilters",
    "colour_share",
    "filters",
    "first_filters",
    "grating_amplitudes",
    "grating_tuning",
]

log = logging.getLogger(__name__)

N_ORIENTATIONS = 180
"""Orientations of the gratings, a degree from one to the next."""

FREQUENCY_STEP = 0.01
"""From one spatial frequency of the gratings to the next, in cycles per pixel."""

HIGHEST = 0.5
"""The highest spatial frequency that pixels can show, in cycles per pixel."""

AT_ONCE = 64
"""Filters whose amplitudes are in memory at a time."""

SMALLEST_SIDE = 5
"""A kernel of fewer pixels has too few periods of any grating to tell frequencies apart."""

COLUMNS = {
    "filter": "Number of the filter, from 0: of the unit in the first layer",
    "colour_share": "Share of the energy of its weights that is not grey: 0 for black and white, 1 for colour alone",
    "orientation_deg": "Orientation of the stripes of the grating to which it responds most: 0 is horizontal, 90 "
    "vertical, counter-clockwise",
    "orientation_selectivity": "1 - circular variance over orientations of gratings of that frequency, 0 to 1",
    "frequency_cpp": f"Spatial frequency of that grating in cycles per pixel of the network's input; n/a for kernels "
    f"below {SMALLEST_SIDE} pixels",
    "norm": "Length of its weights: root of the sum of their squares, per step from black to white",
}
"""The columns of the table of filters."""


def filters(watched: Watched) -> Found | None:
    """Describe the filters of the first convolution that sees the picture.

    Returns
    -------
    Found, optional
        The table `filters` (`COLUMNS`), and `weights`, shape (n_filters, height, width, 3): of red, green and blue, for
        a pixel that goes from black (0) to white (1). None of a network without such a convolution, or of which torch
        knows no modules.
    """
    if watched.module is None:
        log.info("%s is computed from a file, not from modules, so its filters are not known", watched.model.label)
        return None
    of_input = None
    if len(watched.black) == N_COLOURS:
        of_input = first_filters(watched.module, watched.input_px, watched.black, watched.white)
    if of_input is None:
        log.info("%s: no convolution sees the colours of the picture, so there are no filters", watched.model.label)
        return None
    pixels = of_input.weights[:, watched.colours].astype(float)  # (n_filters, 3, height, width)
    orientation_deg, selectivity, frequency = grating_tuning(pixels, of_input.dilation)
    rows = pd.DataFrame(
        {
            "filter": np.arange(len(pixels)),
            "colour_share": colour_share(pixels),
            "orientation_deg": orientation_deg,
            "orientation_selectivity": selectivity,
            "frequency_cpp": frequency,
            "norm": np.sqrt((pixels**2).sum(axis=(1, 2, 3))),
        }
    )
    return Found({"filters": Table(rows, COLUMNS)}, {"weights": np.moveaxis(pixels, 1, -1).astype(np.float32)})


# ----------------------------------------------------------------------------------------- where they are


@dataclass(frozen=True, eq=False)
class FirstFilters:
    """The filters of a convolution on the pixels that they meet.

    Parameters
    ----------
    weights : array, shape (n_filters, 3, height, width)
        Per step from black to white of a channel of the input; zeros between those of a dilated convolution.
    dilation : int
        From one pixel that a filter sees to the next, the larger of height and width; 1 if it sees all.
    """

    weights: Array
    dilation: int


def first_filters(
    module: "torch.nn.Module",
    size: tuple[int, int],
    black: "torch.Tensor | None" = None,
    white: "torch.Tensor | None" = None,
) -> FirstFilters | None:
    """Return the filters of the first convolution of a forward pass that sees three colours.

    Weights are taken where the convolution is computed, so that filters which a module makes of its parameters
    (standardised ones, say) are those that the picture meets. What becomes of the colours of a pixel before (a
    normalisation within the network, say, or another order of colours) is part of them.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode.
    size : tuple of int
        Height and width of its input.
    black, white : tensor, shape (3, 1, 1), optional
        What these are in its input; by default 0 and 1.

    Returns
    -------
    FirstFilters, optional
        None if nothing convolves the colours of the picture.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watching(TorchDispatchMode):
        """Ends the pass at the first convolution over three channels."""

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is torch.ops.aten.convolution.default and _sees_colours(
                args[0], args[1], is_transposed=args[6]
            ):
                raise _FoundError(args[0], args[1], args[5])
            return function(*args, **(kwargs or {}))

    black, white = torch.zeros(3, 1, 1) if black is None else black, torch.ones(3, 1, 1) if white is None else white
    parameter = next(module.parameters(), torch.empty(0))
    pictures = _one_pixel(size, black, white).to(parameter.device, parameter.dtype)
    try:
        with torch.inference_mode(False), torch.no_grad(), Watching():
            module(pictures)
    except _FoundError as found:
        weights = _spread(_as_array(found.weights), found.dilation)
        of_pixel = _of_pixel(_as_array(found.inputs), _as_array(pictures))
        if of_pixel is None:
            of_pixel = np.diag((white - black).numpy().ravel())
        return FirstFilters(
            np.einsum("nkyx,ck->ncyx", weights, of_pixel).astype(np.float32), max(map(int, found.dilation))
        )
    return None


def _one_pixel(size: tuple[int, int], black: "torch.Tensor", white: "torch.Tensor") -> "torch.Tensor":
    """Return four black pictures, of which the last three have the pixel in the middle white in one channel each."""
    pictures = black.expand(4, 3, *size).clone()
    for channel in range(3):
        pictures[1 + channel, channel, size[0] // 2, size[1] // 2] = white[channel, 0, 0]
    return pictures


def _of_pixel(inputs: Array, pictures: Array) -> Array | None:
    """Return what the channels of a pixel become before the convolution, shape (3 of the picture, 3 of its input).

    None where its input is not one of pixels, each of the pixel at its place alone.
    """
    if inputs.shape != pictures.shape:
        return None
    changes, middle = inputs[1:] - inputs[:1], tuple(n // 2 for n in pictures.shape[2:])
    of_pixel = changes[:, :, middle[0], middle[1]].copy()
    changes[:, :, middle[0], middle[1]] = 0
    return of_pixel if not changes.any() else None


def _spread(weights: Array, dilation: Sequence[int]) -> Array:
    """Lay weights, (n_filters, 3, height, width), on the pixels that they meet: with zeros between, where dilated."""
    height, width = ((n - 1) * by + 1 for n, by in zip(weights.shape[2:], dilation, strict=True))
    spread = np.zeros((*weights.shape[:2], height, width), weights.dtype)
    spread[:, :, :: dilation[0], :: dilation[1]] = weights
    return spread


def _as_array(tensor: "torch.Tensor") -> Array:
    values: Array = tensor.detach().cpu().float().numpy()
    return values


class _FoundError(Exception):
    """Ends a pass when the filters are found."""

    def __init__(self, inputs: "torch.Tensor", weights: "torch.Tensor", dilation: Sequence[int]) -> None:
        super().__init__()
        self.inputs, self.weights, self.dilation = inputs, weights, dilation


def _sees_colours(inputs: "torch.Tensor", weights: "torch.Tensor", *, is_transposed: bool) -> bool:
    return not is_transposed and weights.ndim == 4 and weights.shape[1] == 3 and inputs.shape[1] == 3


# -------------------------------------------------------------------------------------------- what they are


def colour_share(weights: Array) -> Array:
    """Return the share of the energy of filters that is not grey, each from 0 to 1; NaN of a filter of zeros.

    At each pixel the three weights are a vector. Its part along (1, 1, 1) weighs lightness, the part orthogonal to it
    weighs colour:

        share = 1 - sum((r + g + b)^2 / 3) / sum(r^2 + g^2 + b^2)

    Parameters
    ----------
    weights : array, shape (n_filters, 3, height, width)
        Per step from black to white.

    Examples
    --------
    >>> colour_share(np.array([[[[1.0]], [[1.0]], [[1.0]]], [[[1.0]], [[-1.0]], [[0.0]]]])).tolist()
    [0.0, 1.0]
    """
    grey = (weights.sum(axis=1) ** 2).sum(axis=(1, 2)) / 3  # (n_filters,)
    return 1 - _over(grey, (weights**2).sum(axis=(1, 2, 3)))


def grating_amplitudes(weights: Array, frequencies: Array, orientations_deg: Array) -> Array:
    """Return how strongly filters respond to gratings, at the best phase and in the filter's own colours.

    A grating of frequency f, in cycles per pixel, whose stripes have the orientation a, varies along the normal of its
    stripes. The response to it, at the best phase, is the absolute value of the filter's Fourier transform there; over
    colours it is the root of the sum of squares, which is the response to the grating in the best colour where one
    phase is best for all three.

    Parameters
    ----------
    weights : array, shape (n_filters, 3, height, width)
        The filters.
    frequencies : array, shape (n_frequencies,)
        Cycles per pixel.
    orientations_deg : array, shape (n_orientations,)
        Of the stripes: 0 is horizontal, 90 vertical, counter-clockwise.

    Returns
    -------
    array, shape (n_filters, n_frequencies, n_orientations)
        The amplitudes.
    """
    height, width = weights.shape[2:]
    down, across = np.mgrid[:height, :width].reshape(2, -1)  # (n_places,)
    normal = np.deg2rad(np.asarray(orientations_deg) + 90)  # at right angles to the stripes; rows go down
    steps = np.cos(normal)[:, None] * across - np.sin(normal)[:, None] * down  # (n_orientations, n_places)
    phases = 2 * np.pi * np.asarray(frequencies)[:, None, None] * steps  # (n_frequencies, n_orientations, n_places)
    waves = phases.reshape(-1, height * width).T.astype(np.float32)
    flat = weights.reshape(-1, height * width).astype(np.float32)  # (n_filters * 3, n_places)
    energies = (flat @ np.cos(waves)) ** 2 + (flat @ np.sin(waves)) ** 2
    of_filters = energies.reshape(len(weights), 3, *phases.shape[:2]).sum(axis=1)
    return np.asarray(np.sqrt(of_filters))


def grating_tuning(weights: Array, dilation: int = 1) -> tuple[Array, Array, Array]:
    """Return the orientation of filters, how selective they are for it, and their spatial frequency.

    Gratings of 180 orientations and of frequencies from half a period in the kernel up to 0.5 cycles per pixel are
    shown, as to a neuron; up to half a cycle from one pixel that a filter sees to the next, where it is dilated: finer
    ones are the same to it as coarser ones. The preferred grating has the highest amplitude A. The selectivity is 1 -
    the circular variance over orientations a at the preferred frequency [1]_:

        selectivity = |sum(A(a) exp(2 i a))| / sum(A(a))

    It is 0 if all orientations do the same, and 1 if one alone does anything; a kernel of few pixels cannot be narrowly
    tuned: an edge of 3 x 3 pixels has 0.3 (oblique) or 0.4.

    Parameters
    ----------
    weights : array, shape (n_filters, 3, height, width)
        The filters.
    dilation : int
        As in `FirstFilters`.

    Returns
    -------
    orientation_deg : array, shape (n_filters,)
        Of the stripes, from 0 to below 180; NaN of a filter of zeros, or of one pixel.
    selectivity : array, shape (n_filters,)
        From 0 to 1; NaN likewise.
    frequency : array, shape (n_filters,)
        In cycles per pixel; NaN of kernels whose shorter side has fewer weights than `SMALLEST_SIDE`.

    References
    ----------
    .. [1] Ringach DL, Shapley RM, Hawken MJ (2002). Orientation selectivity in macaque V1: diversity and laminar
       dependence. J Neurosci 22:5639-5651.
    """
    n, side = len(weights), min(weights.shape[2:])
    if side < 2:
        nothing = np.full(n, np.nan)
        return nothing, nothing.copy(), nothing.copy()
    orientations_deg = np.arange(N_ORIENTATIONS) * 180.0 / N_ORIENTATIONS
    lowest, highest = 1 / (2 * side), HIGHEST / dilation
    frequencies = np.linspace(lowest, highest, max(2, round((highest - lowest) / FREQUENCY_STEP) + 1))
    found = [
        _tuned(one, frequencies, orientations_deg)
        for start in range(0, n, AT_ONCE)
        for one in grating_amplitudes(weights[start : start + AT_ONCE], frequencies, orientations_deg)
    ]
    orientation, selectivity, frequency = np.array(found, dtype=float).reshape(n, 3).T
    return orientation, selectivity, frequency if side > (SMALLEST_SIDE - 1) * dilation else np.full(n, np.nan)


def _tuned(amplitudes: Array, frequencies: Array, orientations_deg: Array) -> tuple[float, float, float]:
    """Return the preferred orientation, the selectivity, and the preferred frequency of a filter.

    Its amplitudes have the shape (n_frequencies, n_orientations).
    """
    if not amplitudes.max() > 0:
        return np.nan, np.nan, np.nan
    best, orientation = np.unravel_index(amplitudes.argmax(), amplitudes.shape)
    at_best = amplitudes[best]
    resultant = np.abs((at_best * np.exp(2j * np.deg2rad(orientations_deg))).sum()) / at_best.sum()
    return float(orientations_deg[orientation]), float(resultant), float(frequencies[best])


def _over(part: Array, whole: Array) -> Array:
    """Divide; NaN where the whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(whole > 0, part / whole, np.nan))
