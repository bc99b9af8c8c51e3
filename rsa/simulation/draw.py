"""Simulated studies with a known answer: drawn pictures, brain images and epochs in which layers are planted."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw

from rsa.core import SAME_MM, Array, Epochs, RDMs, Volume
from rsa.errors import UserError, listed

__all__ = [
    "CATEGORIES",
    "draw_epochs",
    "draw_image",
    "draw_trials",
    "gaussian_time_course",
    "patterns_like",
    "picture_names",
    "real_noise",
    "sensor_noise",
    "smooth_noise",
    "spheres_mask",
    "stimulus_set",
]

SIZE = 448
"""Pictures are drawn at this size in pixels and halved, so that their edges are smooth."""

SPREAD_M = 0.03
"""How far a source is seen by sensors on the head: the standard deviation of a Gaussian, in m."""

WHITE_SHARE = 0.1
"""The part of the variance that each sensor has for itself."""

NOISE_V = 10e-6
"""Standard deviation of simulated EEG noise in one trial, in V."""


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


def picture_names(images_per_category: int) -> list[tuple[str, str]]:
    """Return the category and name of each picture of `stimulus_set`, in its order."""
    return [(category, f"{category}{n:02d}") for category in CATEGORIES for n in range(1, images_per_category + 1)]


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
    rng, names = np.random.default_rng(seed), picture_names(images_per_category)
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
    return np.asarray((np.linalg.norm(voxels_mm[:, None] - points, axis=2) <= radius_mm + SAME_MM).any(axis=1))


# ------------------------------------------------------------------------------------------- sensors


def gaussian_time_course(times_s: npt.ArrayLike, peak_s: float, width_s: float) -> Array:
    """Return a Gaussian of standard deviation `width_s` that is 1 at `peak_s`, and 0 until onset; shape (n_times,)."""
    times = np.asarray(times_s, dtype=np.float64)
    return np.where(times > 0, np.exp(-0.5 * ((times - peak_s) / width_s) ** 2), 0)


def draw_trials(conditions: Sequence[str], n_trials: int, n_runs: int, rng: np.random.Generator) -> pd.DataFrame:
    """Spread `n_trials` of each condition evenly over runs, in a random order within each run.

    Returns
    -------
    DataFrame, n_conditions * n_trials rows
        Columns `condition` and `run` (text: "1", "2", ...), in the order in which they are shown.
    """
    run_of = np.arange(n_trials) * n_runs // n_trials + 1  # (n_trials,)
    table = pd.DataFrame({"condition": np.repeat(list(conditions), n_trials), "run": np.tile(run_of, len(conditions))})
    order = np.lexsort([rng.random(len(table)), table["run"]])
    return table.iloc[order].reset_index(drop=True).astype({"run": str})


def sensor_noise(n_trials: int, positions_m: npt.ArrayLike, n_times: int, rng: np.random.Generator) -> Array:
    """Draw noise as sensors on a head have it: shape (n_trials, n_channels, n_times), standard deviation 1.

    Its power falls as 1 / frequency in time. Sensors share it the more the closer they are, and a tenth of its variance
    belongs to each sensor alone.

    Parameters
    ----------
    n_trials : int
        Each is independent of the others.
    positions_m : array, shape (n_channels, 3)
        Where the sensors are.
    n_times : int
        Number of samples, at any sampling rate: the noise is the same at all scales.
    rng : Generator
        Source of randomness.
    """
    mixing = _spread(positions_m)
    amplitude = np.zeros(n_times + 1)  # of twice the length: a half of it does not end where it begins
    amplitude[1:] = np.arange(1, n_times + 1) ** -0.5
    noise = np.empty((n_trials, len(mixing), n_times), dtype=np.float32)
    for trial in noise:
        spectra = np.fft.rfft(rng.standard_normal((len(mixing), 2 * n_times))) * amplitude
        trial[:] = mixing @ np.fft.irfft(spectra, 2 * n_times)[:, :n_times]
    noise /= noise.std()
    return noise


def draw_epochs(
    planted: Sequence[tuple[RDMs, Array]],
    trials: pd.DataFrame,
    channels: pd.DataFrame,
    positions_m: npt.ArrayLike,
    times_s: npt.ArrayLike,
    *,
    signal: float,
    rng: np.random.Generator,
) -> Epochs:
    """Draw epochs of one subject: planted patterns over sensors that come and go, the same in all trials, plus noise.

    Parameters
    ----------
    planted : sequence of (RDMs, array of shape (n_times,))
        One RDM of correlation distances, and the time course of the patterns that are drawn after it. The responses to
        several add up.
    trials : DataFrame
        Columns `condition`, each one of the RDMs, and `run`.
    channels : DataFrame, n_channels rows
        Columns `name` and `type`.
    positions_m : array, shape (n_channels, 3)
        Where the sensors are; the patterns and the noise of sensors that are close are similar.
    times_s : array, shape (n_times,)
        In s after onset.
    signal : float
        Standard deviation of the patterns where their time course is 1, in units of that of the noise of one trial.
    rng : Generator
        Source of randomness.

    Returns
    -------
    Epochs
        In V, not corrected for the baseline.

    Raises
    ------
    UserError
        If a trial shows a condition that an RDM does not have.
    """
    topographies = [_topographies(rdm, positions_m, rng) for rdm, _ in planted]
    noise = sensor_noise(len(trials), positions_m, np.size(times_s), rng)
    values = noise
    for (rdm, time_course), topography in zip(planted, topographies, strict=True):
        shown = _places(trials["condition"], rdm.conditions)
        by_time = time_course.astype(np.float32)
        values += signal * topography[shown][:, :, None] * by_time  # (n_trials, n_channels, n_times)
    return Epochs(NOISE_V * values, trials, np.asarray(times_s), channels)


def _places(shown: pd.Series, conditions: Sequence[str]) -> Array:
    """Return where each of the shown conditions stands among those of an RDM, shape (n_trials,)."""
    places = pd.Index(conditions).get_indexer(shown)
    if (places < 0).any():
        missing = shown[places < 0].unique()
        raise UserError(f"Trials show conditions that the planted RDM does not have: {listed(list(missing))}.")
    return np.asarray(places)


def _topographies(rdm: RDMs, positions_m: npt.ArrayLike, rng: np.random.Generator) -> Array:
    """Draw the patterns of one RDM over sensors, as smooth as the noise: (n_conditions, n_channels), deviation 1."""
    mixing = _spread(positions_m)
    patterns = patterns_like(rdm, len(mixing), rng) @ mixing
    return np.asarray(patterns / patterns.std(), dtype=np.float32)


def _spread(positions_m: npt.ArrayLike) -> Array:
    """Return the symmetric root of the correlations between sensors at these places, (n_channels, n_channels)."""
    positions = np.asarray(positions_m, dtype=np.float64)
    distances_m = np.linalg.norm(positions[:, None] - positions, axis=2)
    shared = np.exp(-0.5 * (distances_m / SPREAD_M) ** 2)
    values, vectors = np.linalg.eigh((1 - WHITE_SHARE) * shared + WHITE_SHARE * np.eye(len(positions)))
    return np.asarray((vectors * np.sqrt(values)) @ vectors.T)
