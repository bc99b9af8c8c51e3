"""Maps seen from the side: projections and slices, in scanner millimetres, of grids that may be flipped or oblique.

A view is named by the axis that it looks along: "x" from the side (across y, up z), "y" from behind (across x, up
z), "z" from above (across x, up y). Left is on the left.
"""

from dataclasses import dataclass

import nibabel as nib
import numpy as np

from rsa.core import Array, Volume

__all__ = [
    "MNI_BOX",
    "VIEWS",
    "Upright",
    "box_mm",
    "cut",
    "cut_image",
    "project",
    "seen_through",
    "upright",
    "views_of",
]

VIEWS = {"x": (1, 2), "y": (0, 2), "z": (0, 1)}
"""The axes that go across and up in the view along each axis."""

MNI_BOX = np.array([[-77.0, 77.0], [-113.0, 83.0], [-77.0, 88.0]])
"""Room in mm, shape (3, 2), for the outlines of the MNI brain."""

N_PIXELS = 130
"""Slices are drawn with so many pixels along the longest side of the box."""


@dataclass(frozen=True)
class Upright:
    """The voxels of a mask on a grid whose axes run right, forward and up.

    Parameters
    ----------
    columns : array of int, shape (n_x, n_y, n_z)
        Position among the voxels of the mask; -1 outside.
    box : array, shape (3, 2)
        From where to where the grid reaches in mm, along x, y and z.
    """

    columns: Array
    box: Array


def box_mm(volume: Volume) -> Array:
    """Return from where to where the voxels of the mask reach in mm, shape (3, 2), their own size included."""
    centres = volume.voxel_to_mm(volume.indices)
    half = np.abs(volume.affine[:3, :3]).sum(axis=1) / 2
    return np.stack([centres.min(axis=0) - half, centres.max(axis=0) + half], axis=1)


def views_of(volume: Volume) -> str:
    """Return the views in which a mask is more than a line: all three, or one for a single slice."""
    sizes = upright(volume).columns.shape
    seen = [view for view, (across, up) in VIEWS.items() if sizes[across] > 1 and sizes[up] > 1]
    return "".join(seen) or "xyz"


def upright(volume: Volume) -> Upright:
    """Bring a mask on a grid whose axes run right, forward and up.

    Grids that are parallel to the scanner's axes keep their voxels (flipped and permuted as needed); oblique ones
    are sampled, nearest voxel, in steps of the smallest voxel size.
    """
    linear = np.abs(volume.affine[:3, :3])
    sizes = np.linalg.norm(volume.affine[:3, :3], axis=0)
    is_parallel = np.allclose(np.sort(linear, axis=1)[:, :2], 0, atol=1e-3 * sizes.min())
    steps = linear.max(axis=1) if is_parallel else np.full(3, sizes.min())
    box = box_mm(volume)
    counts = np.maximum(np.rint((box[:, 1] - box[:, 0]) / steps).astype(int), 1)
    lines = [low + step * (np.arange(n) + 0.5) for low, step, n in zip(box[:, 0], steps, counts, strict=True)]
    columns = _columns_at(volume, np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1))
    return Upright(columns, np.stack([box[:, 0], box[:, 0] + steps * counts], axis=1))


def project(grid: Upright, values: Array, view: str, first: Array | None = None) -> Array:
    """Look through the brain: along each line the value furthest from 0, with its sign; (n_up, n_across).

    Values of the voxels that are `first`, bool of shape (n_voxels,), come before all others.
    """
    depth = "xyz".index(view)
    filled = np.append(values, np.nan)[grid.columns]  # (n_x, n_y, n_z); column -1 is the NaN
    size = np.where(np.isnan(filled), -1, np.abs(filled))
    if first is not None and first.any():
        beyond = np.nanmax(np.abs(values)) + 1
        size += np.append(np.where(first, beyond, 0), 0)[grid.columns]
    furthest = np.expand_dims(size.argmax(axis=depth), depth)
    return np.take_along_axis(filled, furthest, axis=depth).squeeze(axis=depth).T


def seen_through(grid: Upright, marked: Array, view: str) -> Array:
    """Look through the brain for the voxels that are marked, bool of shape (n_voxels,); bool (n_up, n_across)."""
    return np.asarray(np.append(marked, False)[grid.columns].any(axis="xyz".index(view)).T)


def cut(volume: Volume, values: Array, view: str, at_mm: float, box: Array) -> Array:
    """Slice a map at a place on the axis of the view, nearest voxel; (n_up, n_across) pixels over `box`."""
    return np.append(values, np.nan)[_columns_at(volume, _plane_mm(view, at_mm, box))]


def cut_image(image: nib.Nifti1Image, view: str, at_mm: float, box: Array) -> Array:
    """Slice an image at a place on the axis of the view, interpolated; (n_up, n_across), NaN outside of it."""
    from scipy.ndimage import map_coordinates

    points = _plane_mm(view, at_mm, box)
    indices = nib.affines.apply_affine(np.linalg.inv(image.affine), points)
    data = np.nan_to_num(np.asarray(image.dataobj, dtype=np.float32).reshape(image.shape[:3]))
    inside = np.all((indices > -0.5) & (indices < np.array(data.shape) - 0.5), axis=-1)
    sampled = map_coordinates(data, np.moveaxis(indices, -1, 0), order=1, mode="nearest")
    return np.where(inside, sampled, np.nan)


def _plane_mm(view: str, at_mm: float, box: Array) -> Array:
    """Return the centres of the pixels of a slice, shape (n_up, n_across, 3)."""
    across, up = VIEWS[view]
    step = np.ptp(box, axis=1).max() / N_PIXELS
    lines = [_centres(box[axis], step) for axis in (across, up)]
    points = np.full((len(lines[1]), len(lines[0]), 3), float(at_mm))
    points[..., across], points[..., up] = lines[0][None, :], lines[1][:, None]
    return points


def _centres(ends: Array, step: float) -> Array:
    """Return the middles of equal parts of about `step` between two ends."""
    n = max(round(np.ptp(ends) / step), 1)
    return np.asarray(ends[0] + np.ptp(ends) * (np.arange(n) + 0.5) / n)


def _columns_at(volume: Volume, points_mm: Array) -> Array:
    """Return the position among the voxels of the mask of the voxel at each point; -1 where there is none."""
    columns = np.full(np.array(volume.shape) + 1, -1)
    columns[:-1, :-1, :-1][volume.mask] = np.arange(volume.n_voxels)
    nearest = np.floor(volume.mm_to_voxel(points_mm.reshape(-1, 3)) + 0.5 - 1e-6).astype(int)
    outside = np.any((nearest < 0) | (nearest >= volume.shape), axis=1)
    nearest[outside] = -1  # the empty margin
    found: Array = columns[tuple(nearest.T)].reshape(points_mm.shape[:-1])
    return found
