"""Image files: their grids, their voxels, and which of these vary."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from rsa.core import Array, Volume
from rsa.errors import UserError
from rsa.io import load_image

__all__ = [
    "count_volumes",
    "opened",
    "problems_of_grids",
    "read_patterns",
    "read_voxels",
    "varying_voxels",
    "whole_grid",
]

DAMAGES = (OSError, EOFError, ValueError, zlib.error)
"""What is raised when the data of an image are read that are not whole."""


def opened(path: Path) -> nib.Nifti1Pair:
    """Open an image without its data.

    Raises
    ------
    UserError
        If there is no such file, or it has no grid of voxels.
    """
    image = load_image(path)
    if isinstance(image, nib.GiftiImage | nib.Cifti2Image):
        raise UserError(
            f"{path} holds data of the surface (a {type(image).__name__}), and only volumes are read: give NIfTI "
            "images of voxels, such as those of fMRIPrep with space-T1w or space-MNI152NLin2009cAsym in their names."
        )
    if not isinstance(image, nib.Nifti1Pair) or image.ndim not in (3, 4):
        shape = getattr(image, "shape", None)
        raise UserError(
            f"{path} is a {type(image).__name__} of shape {shape}; give a NIfTI image of 3 or 4 dimensions."
        )
    return image


def count_volumes(image: nib.Nifti1Pair) -> int:
    """Return the number of volumes of an image; 1 if it is 3-D."""
    return int(image.shape[3]) if image.ndim == 4 else 1


def whole_grid(image: nib.Nifti1Pair) -> Volume:
    """Return the grid of an image, every voxel inside, with its affine and codes."""
    codes = {name: int(image.header[name]) for name in ("sform_code", "qform_code")}
    return Volume(np.ones(image.shape[:3], dtype=bool), image.affine, **codes)


def read_voxels(path: Path) -> Array:
    """Read an image as float32, scaled, of shape (n_x, n_y, n_z, n_volumes).

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    image = opened(path)
    try:
        with np.errstate(over="ignore"):  # beyond single precision becomes infinite: not usable
            values = np.asarray(image.dataobj, dtype=np.float32)
    except DAMAGES as error:
        raise _damaged(path, error) from error
    return values.reshape((*image.shape[:3], count_volumes(image)))


def read_patterns(path: Path, numbers: Sequence[int], mask: Array) -> Array:
    """Read some volumes of an image in the voxels of a mask, one volume at a time.

    Parameters
    ----------
    path : Path
        An image of 3 dimensions, which is one volume, or of 4.
    numbers : sequence of int
        Which volumes, ascending; from 0.
    mask : array of bool, shape (n_x, n_y, n_z)
        On the grid of the image.

    Returns
    -------
    array, shape (n_volumes, n_voxels)
        Scaled, float32.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    header = opened(path)
    values = np.empty((len(numbers), np.count_nonzero(mask)), dtype=np.float32)
    try:  # kept open: a compressed file is read once, from its begin to the last volume that is wanted
        stored = type(header).from_filename(path, keep_file_open=True).dataobj
        with np.errstate(over="ignore"):  # beyond single precision becomes infinite: not usable
            for row, number in enumerate(numbers):
                volume = np.asarray(stored[..., number] if header.ndim == 4 else stored)
                values[row] = volume[mask]
    except DAMAGES as error:
        raise _damaged(path, error) from error
    return values


def _damaged(path: Path, error: BaseException) -> UserError:
    return UserError(f"{path} is damaged, its data cannot be read: {error}. Copy or make it again.")


def varying_voxels(images_of_runs: Iterable[tuple[str, Array]]) -> Array:
    """Find the voxels that are finite in all images and vary over them, within each run of several images.

    Parameters
    ----------
    images_of_runs : iterable of (run, images)
        Images of shape (n_x, n_y, n_z, n_volumes); a run may come in several parts.

    Returns
    -------
    array of bool, shape (n_x, n_y, n_z)
    """
    lowest: dict[str, Array] = {}
    highest: dict[str, Array] = {}
    n_images: dict[str, int] = {}
    for run, images in images_of_runs:
        low, high = images.min(axis=-1), images.max(axis=-1)  # a NaN stays NaN in minimum and maximum
        lowest[run] = np.minimum(lowest.get(run, low), low)
        highest[run] = np.maximum(highest.get(run, high), high)
        n_images[run] = n_images.get(run, 0) + images.shape[-1]
    low, high = np.stack(list(lowest.values())), np.stack(list(highest.values()))  # (n_runs, n_x, n_y, n_z)
    alone = np.array([n_images[run] == 1 for run in lowest])[:, None, None, None]
    varies = ((low < high) | alone).all(axis=0) & (low.min(axis=0) < high.max(axis=0))
    inside: Array = varies & np.isfinite(low).all(axis=0) & np.isfinite(high).all(axis=0)
    return inside


def problems_of_grids(images: Sequence[tuple[Path, str]]) -> Iterator[str]:
    """Compare the grid of every image with that of the first; none of them if the first has no grid.

    Parameters
    ----------
    images : sequence of (path, name)
        Files that are there, and what messages call them.
    """
    if not images:
        return
    try:
        first = whole_grid(opened(images[0][0]))
    except UserError:
        return  # told already
    for path, name in images[1:]:
        try:
            image = opened(path)
            first.require_grid(image.shape, image.affine, name, images[0][1].replace("The", "the", 1))
        except UserError as error:
            yield str(error)
