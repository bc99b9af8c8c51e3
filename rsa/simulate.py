"""Simulated studies with a known answer: drawn pictures, and brain images in which layers are planted in regions."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw

from rsa.core import Array, RDMs, Volume
from rsa.errors import UserError

__all__ = ["CATEGORIES", "draw_image", "patterns_like", "real_noise", "smooth_noise", "spheres_mask", "stimulus_set"]

SIZE = 448
"""Pictures are drawn at this size in pixels and halved, so that their edges are smooth."""


# ------------------------------------------------------------------------------------------- stimuli


def _disc(pen: ImageDraw.ImageDraw, rng: np.random.Generator, colour: tuple[int, ...]) -> None:
    x, y, radius = _place(rng)
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)


def _ring(pen: ImageDraw.ImageDraw, rng: np.random.Generator, colour: tuple[int, ...]) -> None:
    x, y, radius = _place(rng)
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], outline=colour, width=int(radius / 3))


def _triangle(pen: ImageDraw.ImageDraw, rng: np.random.Generator, colour: tuple[int, ...]) -> None:
    pen.polygon(_polygon(rng, [1, 1, 1]), fill=colour)


def _star(pen: ImageDraw.ImageDraw, rng: np.random.Generator, colour: tuple[int, ...]) -> None:
    pen.polygon(_polygon(rng, [1, 0.4] * 6), fill=colour)


def _stripes(pen: ImageDraw.ImageDraw, rng: np.random.Generator, colour: tuple[int, ...]) -> None:
    width, angle = rng.uniform(14, 30), rng.uniform(0, math.pi)
    along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    for start in np.arange(-SIZE, SIZE, 2 * width):
        edges = [start * along, (start + width) * along]
        corners = [
            edges[0] - SIZE * across,
            edges[1] - SIZE * across,
            edges[1] + SIZE * across,
            edges[0] + SIZE * across,
        ]
        pen.polygon([tuple(corner + SIZE / 2) for corner in corners], fill=colour)


def _dots(pen: ImageDraw.ImageDraw, rng: np.random.Generator, colour: tuple[int, ...]) -> None:
    for x, y, radius in zip(*rng.uniform(0, SIZE, (2, 60)), rng.uniform(8, 22, 60), strict=True):
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)


def _place(rng: np.random.Generator) -> tuple[float, float, float]:
    x, y = rng.uniform(0.35, 0.65, 2) * SIZE
    return x, y, rng.uniform(0.15, 0.33) * SIZE


def _polygon(rng: np.random.Generator, radii: Sequence[float]) -> list[tuple[float, float]]:
    x, y, size = _place(rng)
    angles = rng.uniform(0, 2 * math.pi) + 2 * math.pi * np.arange(len(radii)) / len(radii)
    return [(x + size * r * math.cos(a), y + size * r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


CATEGORIES: dict[str, Callable[[ImageDraw.ImageDraw, np.random.Generator, tuple[int, ...]], None]] = {
    "disc": _disc,
    "dots": _dots,
    "ring": _ring,
    "star": _star,
    "stripes": _stripes,
    "triangle": _triangle,
}


def draw_image(category: str, rng: np.random.Generator) -> Image.Image:
    """Draw one picture of a category: colours, place, size and orientation are random; 224 x 224 RGB."""
    ground, colour = (tuple(int(value) for value in rng.integers(*ends, 3)) for ends in ((90, 166), (0, 256)))
    image = Image.new("RGB", (SIZE, SIZE), ground)
    CATEGORIES[category](ImageDraw.Draw(image), rng, colour)
    return image.resize((SIZE // 2, SIZE // 2), Image.Resampling.LANCZOS)


def stimulus_set(images_per_category: int, seed: int) -> tuple[pd.DataFrame, list[Image.Image]]:
    """Draw pictures of all categories.

    Parameters
    ----------
    images_per_category : int
        How many of each.
    seed : int
        The same seed draws the same pictures.

    Returns
    -------
    table : DataFrame
        Columns `condition`, `file` and `category`.
    images : list of Image
        In the order of the table.
    """
    rng = np.random.default_rng(seed)
    names = [(category, f"{category}{n:02d}") for category in CATEGORIES for n in range(1, images_per_category + 1)]
    table = pd.DataFrame(
        {"condition": [name for _, name in names], "file": [f"{name}.png" for _, name in names]}
    ).assign(category=[category for category, _ in names])
    return table, [draw_image(category, rng) for category, _ in names]


# --------------------------------------------------------------------------------------------- brain


def patterns_like(rdm: RDMs, n_voxels: int, rng: np.random.Generator) -> Array:
    """Draw patterns whose correlation-distance RDM is, up to sampling, that of one correlation-distance RDM.

    Parameters
    ----------
    rdm : RDMs
        A stack of one, measured by correlation distance.
    n_voxels : int
        The more voxels, the closer.
    rng : Generator
        Source of randomness.

    Returns
    -------
    array, shape (n_conditions, n_voxels)
        Each voxel is drawn from a normal distribution whose covariance over conditions is 1 - rdm (the nearest
        positive semidefinite matrix, if it is none); the standard deviation over all entries is 1.
    """
    if rdm.distance != "correlation" or len(rdm) != 1:
        raise UserError(
            f"Patterns are drawn after one RDM of correlation distances, not {len(rdm)} of {rdm.distance!r}."
        )
    values, vectors = np.linalg.eigh(1 - rdm.squares[0])
    root = vectors * np.sqrt(np.maximum(values, 0))
    patterns = root @ rng.standard_normal((rdm.n_conditions, n_voxels))  # (n_conditions, n_voxels)
    return np.asarray(patterns / patterns.std())


def smooth_noise(volume: Volume, n_images: int, fwhm_mm: float, rng: np.random.Generator) -> Array:
    """Draw noise that is smooth in space: standard deviation 1, shape (n_images, n_voxels)."""
    from scipy.ndimage import gaussian_filter

    voxel_sizes_mm = np.linalg.norm(volume.affine[:3, :3], axis=0)
    sigma = fwhm_mm / math.sqrt(8 * math.log(2)) / voxel_sizes_mm
    noise = np.empty((n_images, volume.n_voxels), dtype=np.float32)
    for row in noise:
        smoothed = gaussian_filter(rng.standard_normal(volume.shape).astype(np.float32), sigma, mode="wrap")
        row[:] = smoothed[volume.mask]
    noise /= noise.std()
    return noise


def real_noise(residuals: Array, n_images: int, rng: np.random.Generator) -> Array:
    """Draw noise with the spatial covariance of real residuals: shape (n_images, n_voxels), mean square 1.

    Parameters
    ----------
    residuals : array, shape (n_volumes, n_voxels)
        What is left of a time series when the effects of interest are taken out.
    n_images : int
        Number of images; each is a random mixture of all volumes, independent of the others.
    rng : Generator
        Source of randomness.
    """
    mixed = rng.standard_normal((n_images, len(residuals))).astype(np.float32) @ residuals
    return np.asarray(mixed / np.sqrt((mixed**2).mean()))


def spheres_mask(volume: Volume, centres_mm: npt.ArrayLike, radius_mm: float) -> Array:
    """Mark the mask voxels within `radius_mm` of any of some points (n_points, 3) in mm; shape (n_voxels,)."""
    voxels_mm = volume.voxel_to_mm(volume.indices)
    points = np.atleast_2d(np.asarray(centres_mm, dtype=np.float64))
    return np.asarray((np.linalg.norm(voxels_mm[:, None] - points, axis=2) <= radius_mm).any(axis=1))
