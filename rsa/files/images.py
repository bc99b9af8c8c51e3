"""Image files: their grids, their voxels, and which of these vary."""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.arrayproxy import ArrayProxy

from rsa.core import Array, Volume
from rsa.errors import UserError, one_line
from rsa.files.io import DAMAGES, load_image, require_whole

__all__ = [
    "count_volumes",
    "inside_all",
    "inside_of",
    "opened",
    "problems_of_grids",
    "read_anatomy",
    "read_mask",
    "read_patterns",
    "read_voxels",
    "reading_data",
    "require_one_volume",
    "require_grid_of_mask",
    "require_undamaged",
    "varying_voxels",
    "whole_grid",
]

logger = logging.getLogger(__name__)

MOST_PACKED = {".gz": 1032, ".bz2": math.inf, ".zst": math.inf}
"""What one byte of a compressed file can become: the best that gzip can do is 1,032 bytes."""


def opened(path: Path, *, keep_open: bool = False) -> nib.Nifti1Pair:
    """Open an image without its data.

    Axes of length 1 between place and volume are left out: programs of AFNI write (n_x, n_y, n_z, 1, n_volumes).

    Parameters
    ----------
    path : Path
        The file.
    keep_open : bool
        Whether it is going to be read a volume at a time: a compressed file is then read once from its beginning.

    Raises
    ------
    UserError
        If there is no such file, it has no grid of voxels, its numbers are not real, or its header says that it is far
        larger than it is.
    """
    image = load_image(path, keep_open=keep_open)
    if isinstance(image, nib.GiftiImage | nib.Cifti2Image):
        raise UserError(
            f"{path} holds data of the surface (a {type(image).__name__}), and only volumes are read: give NIfTI "
            "images of voxels, such as those of fMRIPrep with space-T1w or space-MNI152NLin2009cAsym in their names."
        )
    shape = tuple(int(n) for n in getattr(image, "shape", ()))
    places, others = shape[:3], [n for n in shape[3:] if n != 1]
    if not isinstance(image, nib.Nifti1Pair) or len(places) < 3 or len(others) > 1 or min(shape) < 1:
        raise UserError(
            f"{path} is a {type(image).__name__} of shape {shape or None}; give a NIfTI image of 3 or 4 dimensions."
        )
    dtype = image.get_data_dtype()
    if dtype.kind not in "biuf":
        kind = "complex numbers" if dtype.kind == "c" else f"colours or other records ({dtype})"
        raise UserError(f"{path} holds {kind}, where one real number per voxel is expected; write such an image of it.")
    _require_length(path, image)
    return _four_dimensional(image, (*places, *others), keep_open) if len(shape) > 4 else image


def _require_length(path: Path, image: nib.Nifti1Pair) -> None:
    """Raise a `UserError` if the file cannot hold nearly as many numbers as its header says: before they get room."""
    stored = Path(image.file_map["image"].filename or path)
    n_bytes = math.prod(image.shape) * image.get_data_dtype().itemsize
    most = MOST_PACKED.get(stored.suffix.lower(), 2)  # a file that lacks less is read as far as it goes
    if stored.exists() and n_bytes > most * stored.stat().st_size:
        raise UserError(
            f"{path} is damaged, its data cannot be read: {n_bytes / 1e6:.3g} MB of shape {image.shape} are said to be "
            f"in a file of {stored.stat().st_size / 1e6:.3g} MB. Copy or make it again."
        )


def _four_dimensional(image: nib.Nifti1Pair, shape: tuple[int, ...], keep_open: bool) -> nib.Nifti1Pair:
    """Return an image of more dimensions, in a file, as one of 3 or 4."""
    stored = image.dataobj
    assert isinstance(stored, ArrayProxy), "an image that was opened has its data in its file"
    spec = (shape, stored.dtype, stored.offset, stored.slope, stored.inter)
    again = ArrayProxy(stored.file_like, spec, keep_file_open=keep_open)
    return type(image)(again, image.affine, image.header, file_map=image.file_map)


def require_grid_of_mask(grid: Volume, mask: nib.Nifti1Pair, name: str, whose: str) -> None:
    """Raise a `UserError` unless a mask or atlas lies on the grid of images, or nearly; say so if it is nearly.

    Messages call the mask `name`, and what has the grid `whose`.
    """
    grid.require_grid(mask.shape, mask.affine, name, whose, nearly=True)
    if not grid.same_grid(mask.shape, mask.affine):
        apart_mm = grid.apart_mm(mask.affine)
        logger.warning(f"{name} lies up to {apart_mm:.2g} mm beside {whose}, and is taken for the same grid")


def require_one_volume(image: nib.Nifti1Pair, name: str) -> None:
    """Raise a `UserError` if an image of a mask or of regions, which messages call `name`, has several volumes."""
    if count_volumes(image) != 1:
        raise UserError(
            f"{name} has {count_volumes(image)} volumes (shape {image.shape}), where one is expected: of maps of "
            "probabilities or of a stack of masks, write the volume that is wanted, or the most probable region, as an "
            "image of 3 dimensions."
        )


def count_volumes(image: nib.Nifti1Pair) -> int:
    """Return the number of volumes of an image; 1 if it is 3-D."""
    return int(image.shape[3]) if image.ndim == 4 else 1


def whole_grid(image: nib.Nifti1Pair) -> Volume:
    """Return the grid of an image, every voxel inside, with its affine and codes."""
    codes = {name: int(image.header[name]) for name in ("sform_code", "qform_code")}
    return Volume(np.broadcast_to(True, image.shape[:3]), image.affine, **codes)


def require_undamaged(path: Path, image: nib.Nifti1Pair) -> None:
    """Raise a `UserError` if a compressed file of an image is not whole (see `rsa.files.io.require_whole`)."""
    for holder in image.file_map.values():
        require_whole(holder.filename or path)


def read_voxels(path: Path, dtype: npt.DTypeLike = np.float32) -> Array:
    """Read an image, scaled, of shape (n_x, n_y, n_z, n_volumes).

    Parameters
    ----------
    path : Path
        The file.
    dtype : dtype
        What the numbers become. Those of an atlas may have more digits than single precision.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    image = opened(path)
    require_undamaged(path, image)
    with reading_data(path), np.errstate(over="ignore"):  # beyond single precision becomes infinite: not usable
        values = np.asarray(image.dataobj, dtype=dtype)
    return values.reshape((*image.shape[:3], count_volumes(image)))


def read_anatomy(path: Path) -> nib.Nifti1Image:
    """Read an image on which maps are drawn, in voxels of nearly 2 mm or larger: every second one of 1 mm, say.

    Raises
    ------
    UserError
        If the file is missing or damaged, or has several volumes.
    """
    image = opened(path)
    require_one_volume(image, str(path))
    steps = [max(1, round(2 / size)) for size in nib.affines.voxel_sizes(image.affine)]
    some = tuple(slice(None, None, step) for step in steps)
    return nib.Nifti1Image(read_voxels(path)[..., 0][some], image.affine @ np.diag([*steps, 1.0]))


def read_mask(path: Path) -> Array:
    """Read which voxels of a grid lie in a mask, above 0 inside, shape (n_x, n_y, n_z).

    Raises
    ------
    UserError
        If the file is missing or damaged, or has several volumes.
    """
    require_one_volume(opened(path), f"The mask {path}")
    return inside_of(read_voxels(path)[..., 0], f"The mask {path}")


def inside_all(paths: Sequence[Path], grid: Volume, whose: str) -> Array:
    """Read which voxels of a grid, of what messages call `whose`, lie in all masks, shape (n_x, n_y, n_z)."""
    inside = grid.mask
    for path in paths:
        mask = opened(path)
        grid.require_grid(mask.shape, mask.affine, f"The mask {path}", whose, nearly=True)
        inside = inside & read_mask(path)
    return inside


def inside_of(values: Array, name: str) -> Array:
    """Return where the values of a mask, which messages call `name`, are above 0; log if these are not all the same."""
    inside = np.asarray(np.nan_to_num(values) > 0)
    levels = np.unique(values[inside])
    if len(levels) > 1:
        logger.warning(
            f"{name} has {len(levels)} different values above 0, from {levels[0]:.3g} to {levels[-1]:.3g}, and all "
            "count as inside; if they are probabilities or numbers of regions, write a mask of those that are wanted"
        )
    return inside


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
    image = opened(path, keep_open=True)
    require_undamaged(path, image)
    values = np.empty((len(numbers), np.count_nonzero(mask)), dtype=np.float32)
    with reading_data(path), np.errstate(over="ignore"):  # beyond single precision becomes infinite: not usable
        for row, number in enumerate(numbers):
            volume = np.asarray(image.dataobj[..., number] if image.ndim == 4 else image.dataobj)
            values[row] = volume[mask]
    return values


@contextmanager
def reading_data(path: Path) -> Iterator[None]:
    """Say in one line that the data of an image cannot be read; its header could."""
    try:
        yield
    except DAMAGES as error:
        raise UserError(
            f"{path} is damaged, its data cannot be read: {one_line(error)}. Copy or make it again."
        ) from error


def varying_voxels(images_of_runs: Iterable[tuple[str, Array]]) -> Array:
    """Find the voxels that are finite in all images and vary over them, within each run of several images.

    Parameters
    ----------
    images_of_runs : iterable of (run, images)
        Images of shape (n_x, n_y, n_z, n_volumes); a run may come in several parts.

    Returns
    -------
    array of bool, shape (n_x, n_y, n_z)

    Raises
    ------
    UserError
        If no voxel varies in one of several runs.
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
    measured = ((low < high) | alone) & np.isfinite(low) & np.isfinite(high)
    for run, here in zip(lowest, measured, strict=True):
        if len(lowest) > 1 and not here.any():
            raise UserError(
                f"Run {run!r} has no data: each voxel is the same in all of its {n_images[run]} images, or not finite; "
                "make it again, or leave the run out."
            )
    inside: Array = measured.all(axis=0) & (low.min(axis=0) < high.max(axis=0))
    return inside


def problems_of_grids(images: Sequence[tuple[Path, str]], masks: Sequence[tuple[Path, str]] = ()) -> Iterator[str]:
    """Compare every grid with that of the first image; none of them if that has no grid.

    Parameters
    ----------
    images : sequence of (path, name)
        Files that are there, and what messages call them.
    masks : sequence of (path, name)
        Masks that are there: of one volume, and on the grid of the images or nearly.
    """
    if not images:
        return
    (path, name), *others = images
    try:
        first = whole_grid(opened(path))
    except UserError:
        return  # told already
    whose = name.replace("The", "the", 1)
    for path, name in others:
        try:
            image = opened(path)
            first.require_grid(image.shape, image.affine, name, whose)
        except UserError as error:
            yield str(error)
    for path, name in masks:
        try:
            image = opened(path)
            require_one_volume(image, name)
            require_grid_of_mask(first, image, name, whose)
        except UserError as error:
            yield str(error)
