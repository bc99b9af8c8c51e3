"""HMAX: how far features of middle size are anywhere in a picture, at any scale (C2 of the standard model).

Four stages [1]_ [2]_: S1, Gabor filters of 16 sizes and 4 orientations; C1, their maxima over neighbouring places and
two neighbouring sizes; S2, how similar C1 around a place is to a patch of C1 of some picture; C2, the maximum of that
over all places and sizes. Only filters and windows that lie wholly in the picture count.

References
----------
.. [1] Riesenhuber M, Poggio T (1999). Hierarchical models of object recognition in cortex. Nat Neurosci 2:1019-1025.
.. [2] Serre T, Wolf L, Bileschi S, Riesenhuber M, Poggio T (2007). Robust object recognition with cortex-like
   mechanisms. IEEE Trans Pattern Anal Mach Intell 29:411-426.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from rsa.core import Array
from rsa.errors import UserError

__all__ = [
    "BANDS",
    "PATCH_SIZES",
    "SOURCE",
    "Band",
    "c1_map",
    "c1_side",
    "c2",
    "draw_places",
    "n_units",
    "patch_at",
    "s1_maps",
]

N_ORIENTATIONS = 4
"""Orientations of filters: bars at 90, 135, 0 and 45 degrees."""

ASPECT = 0.3
"""How much narrower a filter is across its bars than along them: gamma of [2]_."""

LEAST_SQUARES = 1e-10
"""Sums of squares of grey values below this are of black: there is nothing to divide by."""


@dataclass(frozen=True)
class Band:
    """Two neighbouring sizes of S1 filters, and the windows over which C1 takes their maxima (Table 1 of [2]_).

    Parameters
    ----------
    sizes : tuple of int
        Sides of the filters in pixels.
    sds, wavelengths : tuple of float
        Of the filters, in pixels.
    window, step : int
        Side of the windows, and how far it is from one to the next, in pixels.
    """

    sizes: tuple[int, int]
    sds: tuple[float, float]
    wavelengths: tuple[float, float]
    window: int
    step: int


BANDS = (
    Band((7, 9), (2.8, 3.6), (3.5, 4.6), 8, 4),
    Band((11, 13), (4.5, 5.4), (5.6, 6.8), 10, 5),
    Band((15, 17), (6.3, 7.3), (7.9, 9.1), 12, 6),
    Band((19, 21), (8.2, 9.2), (10.3, 11.5), 14, 7),
    Band((23, 25), (10.2, 11.3), (12.7, 14.1), 16, 8),
    Band((27, 29), (12.3, 13.4), (15.4, 16.8), 18, 9),
    Band((31, 33), (14.6, 15.8), (18.2, 19.7), 20, 10),
    Band((35, 37), (17.0, 18.2), (21.2, 22.8), 22, 11),
)
"""The eight bands of [2]_."""

SOURCE = BANDS[1]
"""The band whose C1 patches are taken from."""

PATCH_SIZES = (4, 8, 12, 16)
"""Sides of the patches, in C1 units."""


# ---------------------------------------------------------------------------------------------- S1, C1


@cache
def _filters(size: int, sd: float, wavelength: float) -> Array:
    """Return Gabor filters, shape (n_orientations, size, size), each of mean 0 and length 1."""
    y, x = np.mgrid[:size, :size] - size // 2
    angles = np.pi * np.arange(N_ORIENTATIONS)[:, None, None] / N_ORIENTATIONS
    across, along = x * np.cos(angles) + y * np.sin(angles), y * np.cos(angles) - x * np.sin(angles)
    waves = np.exp(-(across**2 + (ASPECT * along) ** 2) / (2 * sd**2)) * np.cos(2 * np.pi * across / wavelength)
    waves -= waves.mean(axis=(1, 2), keepdims=True)
    return np.asarray(waves / np.sqrt((waves**2).sum(axis=(1, 2), keepdims=True)))


@cache
def _spectra(size: int, sd: float, wavelength: float, side: int) -> Array:
    """Return the conjugate spectra of filters for pictures of a side, shape (n_orientations, side, side // 2 + 1)."""
    from scipy import fft

    return np.asarray(np.conj(fft.rfft2(_filters(size, sd, wavelength), (side, side))))


def s1_maps(picture: Array, band: Band) -> tuple[Array, Array]:
    """Return the responses of the two sizes of filters of a band.

    The response is the absolute product of filter and pixels, divided by the length of the pixels under the filter.

    Parameters
    ----------
    picture : array, shape (side, side)
        Grey values.
    band : Band
        Which filters.

    Returns
    -------
    tuple of array, each (n_orientations, side - size + 1, side - size + 1)
        From 0 to 1, at every place where the filter is in the picture.
    """
    from scipy import fft

    side = len(picture)
    spectrum = fft.rfft2(picture - picture.flat[0])
    maps = []
    for size, sd, wavelength in zip(band.sizes, band.sds, band.wavelengths, strict=True):
        n = side - size + 1
        products = fft.irfft2(spectrum * _spectra(size, sd, wavelength, side), (side, side))[:, :n, :n]
        maps.append(np.abs(products) / np.sqrt(_squares_below(picture, size)))
    return maps[0], maps[1]


def _squares_below(picture: Array, size: int) -> Array:
    """Sum the squares of the pixels below a filter at every place: (side, side) -> (n, n)."""
    sums = np.zeros((len(picture) + 1, len(picture) + 1))
    sums[1:, 1:] = (picture**2).cumsum(axis=0).cumsum(axis=1)
    squares = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    return np.maximum(squares, LEAST_SQUARES)


def c1_side(side: int, band: Band) -> int:
    """Return how many C1 units a band has along a side of the picture; 0 if the picture is too small.

    Examples
    --------
    >>> [c1_side(140, band) for band in BANDS]
    [32, 24, 19, 16, 13, 11, 9, 8]
    """
    return max(0, (side - band.sizes[1] + 1 - band.window) // band.step + 1)


def c1_map(picture: Array, band: Band) -> Array:
    """Return the maxima of S1 over the two sizes of a band and over windows of places.

    Parameters
    ----------
    picture : array, shape (side, side)
        Grey values.
    band : Band
        Which filters and windows.

    Returns
    -------
    array, shape (n_orientations, c1_side, c1_side)
    """
    finer, coarser = s1_maps(picture, band)
    cut = (finer.shape[-1] - coarser.shape[-1]) // 2  # to the places at which both are
    larger = np.maximum(finer[:, cut:-cut, cut:-cut], coarser)
    return _window_maxima(_window_maxima(larger, band, axis=1), band, axis=2)


def _window_maxima(maps: Array, band: Band, axis: int) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(maps, band.window, axis=axis)
    return np.asarray(np.take(windows, np.arange(0, windows.shape[axis], band.step), axis=axis).max(axis=-1))


# ---------------------------------------------------------------------------------------------- S2, C2


def draw_places(n_pictures: int, side: int, n_patches: int, rng: np.random.Generator) -> dict[int, Array]:
    """Draw where patches are taken from: different places of the C1 of `SOURCE`, in any of the pictures.

    Parameters
    ----------
    n_pictures, side : int
        How many pictures there are, and their side in pixels.
    n_patches : int
        How many patches of each size there are to be.
    rng : Generator
        Of random numbers.

    Returns
    -------
    dict of array of int
        For each size of patches (picture, row, column), shape (n_patches, 3).

    Raises
    ------
    UserError
        If the pictures are too small for the largest patches, or have too few places.
    """
    units = c1_side(side, SOURCE)
    if units < max(PATCH_SIZES):
        needed = SOURCE.sizes[1] - 1 + SOURCE.window + (max(PATCH_SIZES) - 1) * SOURCE.step
        raise UserError(
            f"HMAX takes patches of up to {max(PATCH_SIZES)} x {max(PATCH_SIZES)} C1 units, and pictures of {side} x "
            f"{side} pixels have {units} x {units}; set `size` to {needed} or more."
        )
    fewest = n_pictures * (units - max(PATCH_SIZES) + 1) ** 2
    if n_patches > fewest:
        raise UserError(
            f"{n_patches} patches of each size are asked for, and {n_pictures} pictures have {fewest} places for the "
            f"largest; set `n_patches` to {fewest} or fewer, or a larger `size`."
        )
    return {size: _some_places(n_pictures, units - size + 1, n_patches, rng) for size in PATCH_SIZES}


def _some_places(n_pictures: int, n_along: int, n_patches: int, rng: np.random.Generator) -> Array:
    shape = (n_pictures, n_along, n_along)
    chosen = rng.choice(np.prod(shape), n_patches, replace=False)
    return np.stack(np.unravel_index(chosen, shape), axis=1)


def n_units(size: int) -> int:
    """Return how many C1 units a patch of this side has, over all orientations."""
    return N_ORIENTATIONS * size**2


def patch_at(c1: Array, row: int, column: int, size: int) -> Array:
    """Return the C1 units of a square as numbers, shape (n_units,)."""
    return c1[:, row : row + size, column : column + size].ravel()


def c2(maps: Sequence[Array], patches: Mapping[int, Array]) -> Array:
    """Return how well each patch is matched somewhere in a picture [1]_.

    Parameters
    ----------
    maps : sequence of array, each (n_orientations, n, n)
        C1 of all bands; bands in which a patch has no room do not count for it.
    patches : mapping of array
        For each size, shape (n_patches, n_units).

    Returns
    -------
    array, shape (n_all_patches,)
        ``exp(-d^2 / (2 a))`` of the smallest Euclidean distance d of C1 to the patch, where a = (size / 4)^2 makes up
        for the numbers of units [2]_: exactly 1 where the patch is in the picture.

    References
    ----------
    .. [1] Serre T, Wolf L, Bileschi S, Riesenhuber M, Poggio T (2007). Robust object recognition with cortex-like
       mechanisms. IEEE Trans Pattern Anal Mach Intell 29:411-426.
    .. [2] Mutch J, Lowe DG (2008). Object class recognition and localization using sparse features with limited
       receptive fields. Int J Comput Vis 80:45-57.
    """
    responses = []
    for size, wanted in patches.items():
        nearest = np.min([_nearest(c1, wanted, size) for c1 in maps if c1.shape[-1] >= size], axis=0)
        responses.append(np.exp(-nearest / (2 * (size / min(PATCH_SIZES)) ** 2)))
    return np.concatenate(responses)


def _nearest(c1: Array, patches: Array, size: int) -> Array:
    """Return the smallest squared distance of each patch to any square of a map, shape (n_patches,).

    Products find the place, and the distance is then that of the differences, which is 0 for what is equal.
    """
    squares = np.lib.stride_tricks.sliding_window_view(c1, (size, size), axis=(1, 2))
    here = np.moveaxis(squares, 0, 2).reshape(-1, patches.shape[1])  # (n_places, n_units)
    distances = (here**2).sum(axis=1)[:, None] - 2 * here @ patches.T  # (n_places, n_patches), less what all share
    return np.asarray(((here[distances.argmin(axis=0)] - patches) ** 2).sum(axis=1))
