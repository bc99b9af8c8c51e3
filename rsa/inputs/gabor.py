"""Gabor energy: what simple and complex cells of early visual cortex tell of a picture.

A bank has pairs of filters in quadrature at several spatial frequencies and orientations, on a grid of places that is
as fine as the frequency. An envelope without a preferred direction makes each filter a product of one function of the
row and one of the column, so all places of an orientation are two small matrix products.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rsa.core import Array
from rsa.errors import UserError

__all__ = ["CELLS", "Cells", "Scale", "complex_cells", "envelope_sd", "highest_frequency", "pair_responses", "scales"]


@dataclass(frozen=True)
class Scale:
    """The filters of one spatial frequency, as factors.

    Parameters
    ----------
    rows, columns : array of complex, shape (n_orientations, n_places, size)
        Envelope times wave, along rows and along columns of the picture, for each place of the grid.
    envelope : array, shape (n_places, size)
        The envelope alone, the same along rows and columns.
    mean : array of complex, shape (n_orientations, n_places, n_places)
        How much of the envelope is taken off each filter, so that it does not respond to luminance.
    norms : tuple of array, each (n_orientations, n_places, n_places)
        Lengths of the even and of the odd filters.
    """

    rows: Array
    columns: Array
    envelope: Array
    mean: Array
    norms: tuple[Array, Array]


def envelope_sd(wavelength: float, bandwidth_octaves: float) -> float:
    """Return the SD of the envelope, in the unit of the wavelength, that gives a bandwidth at half height [1]_.

    References
    ----------
    .. [1] Daugman JG (1985). Uncertainty relation for resolution in space, spatial frequency, and orientation optimized
       by two-dimensional visual cortical filters. J Opt Soc Am A 2:1160-1169.

    Examples
    --------
    >>> round(envelope_sd(wavelength=1, bandwidth_octaves=1), 3)
    0.562
    """
    ratio = 2**bandwidth_octaves
    return wavelength / np.pi * float(np.sqrt(np.log(2) / 2)) * (ratio + 1) / (ratio - 1)


def highest_frequency(size: int, bandwidth_octaves: float) -> float:
    """Return up to which frequency, in cycles per image, the band of a filter is one that pixels can show.

    The upper end of the band, at half height, is then half a cycle per pixel.

    Examples
    --------
    >>> highest_frequency(size=128, bandwidth_octaves=1)
    48.0
    """
    ratio = 2**bandwidth_octaves
    return size / 2 * (ratio + 1) / (2 * ratio)


def scales(
    size: int, frequencies: Sequence[int], n_orientations: int = 8, bandwidth_octaves: float = 1.0
) -> list[Scale]:
    """Make a bank of filters for pictures of size x size pixels [1]_.

    Parameters
    ----------
    size : int
        Side of the pictures in pixels.
    frequencies : sequence of int
        In cycles per image. Filters of a frequency f stand at f x f places, the middles of equal squares.
    n_orientations : int
        Number k in turns by 180 / k degrees; the first has vertical bars, which change from left to right.
    bandwidth_octaves : float
        Of each filter, at half its height.

    Returns
    -------
    list of Scale
        One for each frequency. At the border a filter is what there is of it in the picture: of mean 0 and length 1
        there, as everywhere.

    Raises
    ------
    UserError
        If a frequency is too high for the pixels.

    References
    ----------
    .. [1] Kay KN, Naselaris T, Prenger RJ, Gallant JL (2008). Identifying natural images from human brain activity.
       Nature 452:352-355.
    """
    highest = highest_frequency(size, bandwidth_octaves)
    if max(frequencies) > highest:
        needed = int(np.ceil(max(frequencies) * size / highest))
        raise UserError(
            f"Gabor filters of {max(frequencies)} cycles per image are too fine for {size} x {size} pixels, which show "
            f"up to {highest:.1f}; set `size` to {needed} or more, or leave out the highest of `frequencies`."
        )
    return [_scale(size, frequency, n_orientations, bandwidth_octaves) for frequency in frequencies]


def _scale(size: int, frequency: int, n_orientations: int, bandwidth_octaves: float) -> Scale:
    wavelength = size / frequency
    places = (np.arange(frequency) + 0.5) * wavelength - 0.5
    away = np.arange(size) - places[:, None]  # (n_places, size)
    envelope = np.exp(-((away / envelope_sd(wavelength, bandwidth_octaves)) ** 2) / 2)
    angles = np.pi * np.arange(n_orientations)[:, None, None] / n_orientations
    rows = envelope * np.exp(2j * np.pi / wavelength * np.sin(angles) * away)
    columns = envelope * np.exp(2j * np.pi / wavelength * np.cos(angles) * away)
    mean = _over_pixels(rows, columns) / _over_pixels(envelope, envelope)
    return Scale(rows, columns, envelope, mean, _norms(rows, columns, envelope, mean))


def _over_pixels(rows: Array, columns: Array) -> Array:
    """Sum products of a function of the row and one of the column: (..., n, size) each -> (..., n, n)."""
    return np.asarray(rows.sum(axis=-1)[..., :, None] * columns.sum(axis=-1)[..., None, :])


def _norms(rows: Array, columns: Array, envelope: Array, mean: Array) -> tuple[Array, Array]:
    """Return the lengths of even and odd filters, each less its mean times the envelope, whose parts are products."""
    squared = _over_pixels(envelope**2, envelope**2)
    with_wave = _over_pixels(rows * envelope, columns * envelope)
    twice = _over_pixels(rows**2, columns**2).real  # of the squared envelope times a wave of half the length
    even = (squared + twice) / 2 - 2 * mean.real * with_wave.real + mean.real**2 * squared
    odd = (squared - twice) / 2 - 2 * mean.imag * with_wave.imag + mean.imag**2 * squared
    return np.sqrt(even), np.sqrt(odd)


def pair_responses(picture: Array, bank: Sequence[Scale]) -> Array:
    """Return the responses of all pairs of filters.

    Parameters
    ----------
    picture : array, shape (size, size)
        Grey values.
    bank : sequence of Scale
        From `scales`, for this size.

    Returns
    -------
    array of complex, shape (n_pairs,)
        Real parts are of even filters, imaginary parts of odd ones: frequency by frequency, in it orientation by
        orientation, in it row by row. All are exactly 0 for a picture of one grey value.
    """
    contrast = picture - picture.flat[0]
    return np.concatenate([_of_scale(contrast, scale).ravel() for scale in bank])


def _of_scale(picture: Array, scale: Scale) -> Array:
    waves = scale.rows @ picture @ scale.columns.swapaxes(-1, -2)  # (n_orientations, n_places, n_places)
    luminance = scale.envelope @ picture @ scale.envelope.T  # (n_places, n_places)
    centred = waves - scale.mean * luminance
    return np.asarray(centred.real / scale.norms[0] + 1j * (centred.imag / scale.norms[1]))


# ---------------------------------------------------------------------------------------------- cells


def simple_cells(pairs: Array) -> Array:
    """Return responses of cells with a preferred phase: of each pair four, at 0, 90, 180 and 270 degrees [1]_.

    References
    ----------
    .. [1] Jones JP, Palmer LA (1987). An evaluation of the two-dimensional Gabor filter model of simple receptive
       fields in cat striate cortex. J Neurophysiol 58:1233-1258.

    Examples
    --------
    >>> simple_cells(np.array([3 - 4j]))
    array([3., 0., 0., 4.])
    """
    linear = np.concatenate([pairs.real, pairs.imag, -pairs.real, -pairs.imag])
    return np.asarray(np.maximum(linear, 0.0))


def complex_cells(pairs: Array) -> Array:
    """Return responses of cells to which the phase is the same: the root of the energy of each pair [1]_.

    References
    ----------
    .. [1] Adelson EH, Bergen JR (1985). Spatiotemporal energy models for the perception of motion. J Opt Soc Am A
       2:284-299.

    Examples
    --------
    >>> complex_cells(np.array([3 - 4j]))
    array([5.])
    """
    return np.asarray(np.abs(pairs))


def both_cells(pairs: Array) -> Array:
    """Return responses of simple cells, then of complex ones."""
    return np.concatenate([simple_cells(pairs), complex_cells(pairs)])


@dataclass(frozen=True)
class Cells:
    """What is made of the responses of pairs of filters.

    Parameters
    ----------
    respond : callable
        ``(n_pairs,) complex -> (n_cells,)``.
    words : str
        What they are called in the methods text.
    papers : tuple of str
        Keys of `rsa.papers.PAPERS`.
    """

    respond: Callable[[Array], Array]
    words: str
    papers: tuple[str, ...]


CELLS: dict[str, Cells] = {
    "complex": Cells(complex_cells, "complex cells", ("Adelson & Bergen, 1985",)),
    "simple": Cells(simple_cells, "simple cells", ("Jones & Palmer, 1987",)),
    "both": Cells(both_cells, "simple and complex cells", ("Jones & Palmer, 1987", "Adelson & Bergen, 1985")),
}
"""Which cells respond, by name."""
