"""Which voxels belong together: spheres around voxels, and regions of an atlas."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsa.core import SAME_MM, Array, Neighbourhood, Volume, positions, shared_volume
from rsa.errors import UserError, listed

__all__ = [
    "from_masks",
    "regions",
    "shared_spheres",
    "some_spheres",
    "sphere_centres",
    "sphere_offsets",
    "spheres",
]

BLOCK = 2**23
"""Number of voxels that are looked up at once; bounds the memory, changes nothing else."""


def sphere_offsets(affine: npt.ArrayLike, radius_mm: float, shape: Sequence[int] | None = None) -> Array:
    """Return the voxel steps (i, j, k) whose length is at most `radius_mm`, in ascending order, shape (n, 3).

    Of a grid of `shape` (n_x, n_y, n_z), only the steps from one of its voxels to another.

    Lengths are between voxel centres in scanner millimetres, so oblique, sheared and anisotropic grids give true
    spheres; the radius is inclusive, with a tolerance (`SAME_MM`) for affines in single precision.

    Examples
    --------
    >>> [len(sphere_offsets(np.eye(4), radius_mm)) for radius_mm in (1, 2, 3, 4, 5)]
    [7, 33, 123, 257, 515]
    """
    steps_mm = np.asarray(affine, dtype=np.float64)[:3, :3]
    reach_mm = radius_mm + SAME_MM
    reach = np.ceil(reach_mm * np.linalg.norm(np.linalg.inv(steps_mm), axis=1))
    if shape is not None:
        reach = np.minimum(reach, np.subtract(shape, 1))
    n_i, n_j, n_k = reach.astype(int)
    plane = np.stack(np.meshgrid(np.arange(-n_j, n_j + 1), np.arange(-n_k, n_k + 1), indexing="ij"), -1).reshape(-1, 2)
    plane_mm = plane @ steps_mm[:, 1:].T  # (n_steps, 3)
    offsets = []
    for i in range(-n_i, n_i + 1):
        inside = plane[np.linalg.norm(plane_mm + i * steps_mm[:, 0], axis=1) <= reach_mm]
        offsets.append(np.column_stack([np.full(len(inside), i), inside]))
    return np.concatenate(offsets)


def spheres(volume: Volume, radius_mm: float, *, stride: int = 1, centres: Array | None = None) -> Neighbourhood:
    """Collect, for voxels of the mask, the mask voxels within `radius_mm` of their centres.

    Parameters
    ----------
    volume : Volume
        Grid and mask.
    radius_mm : float
        Radius in scanner millimetres, inclusive; every centre belongs to its own sphere [1]_.
    stride : int
        Take only voxels whose grid indices are multiples of this in all three directions.
    centres : array of int, optional
        Positions in the mask of the centres, ascending, instead of those of a stride.

    Returns
    -------
    Neighbourhood
        One sphere per centre, centres in the order of the mask, members ascending.

    Raises
    ------
    UserError
        If the radius or the stride is not positive, the stride leaves no centre, or the spheres don't fit into memory.

    References
    ----------
    .. [1] Kriegeskorte N, Goebel R, Bandettini P (2006). Information-based functional brain mapping. PNAS
       103:3863-3868.
    """
    if not radius_mm > 0:
        raise UserError(f"A radius is above 0 mm, not {radius_mm}.")
    if stride < 1:
        raise UserError(f"A stride is a whole number above 0, not {stride}.")
    offsets = sphere_offsets(volume.affine, radius_mm, volume.shape)
    reach: Array = np.abs(offsets).max(axis=0)
    position = np.full(np.add(volume.shape, 2 * reach), -1, dtype=np.int32)
    inner = tuple(slice(n, n + size) for n, size in zip(reach, volume.shape, strict=True))
    position[inner][volume.mask] = np.arange(volume.n_voxels, dtype=np.int32)

    centres = sphere_centres(volume, stride) if centres is None else centres
    flat_offsets = np.ravel_multi_index((offsets + reach).T, position.shape)
    flat_centres = np.asarray(np.ravel_multi_index(volume.indices[centres].T, position.shape))
    flat = position.ravel()

    counts, members = [], []
    n_block, n_left = max(1, BLOCK // len(offsets)), _room() // 8  # 4 bytes each, twice when they are put together
    for start in range(0, len(centres), n_block):
        found = flat[flat_centres[start : start + n_block, None] + flat_offsets]  # (n_block, n_offsets), -1 outside
        inside = found >= 0
        counts.append(inside.sum(axis=1))
        members.append(found[inside])
        n_left -= len(members[-1])
        if n_left < 0:
            raise UserError(
                f"Spheres of {radius_mm:g} mm have up to {max(n.max() for n in counts)} voxels, too many to hold those "
                f"around {len(centres)} centres in the memory of this machine; choose a smaller radius_mm or a stride."
            )
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return Neighbourhood(indptr, np.concatenate(members), volume, centres=centres, radius_mm=radius_mm)


def _room() -> int:
    """Return how much memory the machine has, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def sphere_centres(volume: Volume, stride: int = 1) -> Array:
    """Return the positions in the mask of the voxels whose grid indices are multiples of `stride`, shape (n_centres,).

    Raises
    ------
    UserError
        If there are none.
    """
    centres = np.flatnonzero((volume.indices % stride == 0).all(axis=1)).astype(np.int32)
    if not centres.size:
        raise UserError(f"A stride of {stride} leaves no voxel of the mask as a centre; choose a smaller one.")
    return centres


def some_spheres(neighbourhood: Neighbourhood, chosen: Array) -> Neighbourhood:
    """Return some of the spheres.

    Parameters
    ----------
    neighbourhood : Neighbourhood
        Spheres around voxels.
    chosen : array of bool, shape (n_centres,), or array of int
        Which are wanted, one at least: a mask, or positions among the centres, in the order in which they are wanted.

    Raises
    ------
    UserError
        If these are regions, or none is chosen, or one twice, or it is chosen by something else.
    """
    if neighbourhood.centres is None:
        raise UserError("Spheres are chosen by their centres; these are regions.")
    wanted = positions(chosen, len(neighbourhood), "spheres")
    if not wanted.size:
        raise UserError(f"None of {len(neighbourhood)} spheres is chosen; choose one at least.")
    if (n_spheres := len(np.unique(wanted))) < wanted.size:
        raise UserError(
            f"Each sphere is chosen once, and {wanted.size} positions name {n_spheres} spheres; a mask is of "
            "booleans, not of 0 and 1."
        )
    if np.array_equal(wanted, np.arange(len(neighbourhood))):
        return neighbourhood
    n_members = neighbourhood.n_members[wanted]
    indptr = np.concatenate([[0], np.cumsum(n_members)])
    # the n-th member of a sphere lies n places after its first
    members = np.repeat(neighbourhood.indptr[wanted] - indptr[:-1], n_members) + np.arange(indptr[-1])
    return replace(
        neighbourhood, indptr=indptr, indices=neighbourhood.indices[members], centres=neighbourhood.centres[wanted]
    )


def shared_spheres(volumes: Sequence[Volume], radius_mm: float, *, stride: int = 1) -> list[Neighbourhood]:
    """Collect spheres around the voxels that are in the masks of all subjects, for each subject in its own mask.

    Parameters
    ----------
    volumes : sequence of Volume
        Of each subject, on one grid.
    radius_mm, stride
        As in `spheres`.

    Returns
    -------
    list of Neighbourhood
        One for each subject, with the same centres in the same order.

    Raises
    ------
    UserError
        As `spheres`; and if grids differ or the masks share no voxel.
    """
    shared, found = shared_volume(volumes), []
    for volume in volumes:
        neighbourhood = spheres(volume, radius_mm, stride=stride)
        found.append(some_spheres(neighbourhood, shared.mask[volume.mask][neighbourhood.centres]))
    return found


def regions(volume: Volume, atlas: Array, labels: pd.DataFrame | None = None) -> Neighbourhood:
    """Collect the mask voxels of each region of an atlas; a region is a neighbourhood like any other.

    Parameters
    ----------
    volume : Volume
        Grid and mask.
    atlas : array, shape (n_x, n_y, n_z)
        A whole number per voxel on the grid of the volume; 0 and NaN belong to no region.
    labels : DataFrame, optional
        Columns `index` and `region`: which numbers are analysed, and their names; numbers of the same name form one
        region. By default every number is a region of its own.

    Returns
    -------
    Neighbourhood
        One entry per region, `regions` naming them and giving `n_voxels`.

    Raises
    ------
    UserError
        If the atlas has another shape, has no region, or no voxel of a region lies in the mask.
    """
    atlas = np.asarray(atlas)
    if atlas.shape != volume.shape:
        raise UserError(f"The atlas has shape {atlas.shape} and the mask {volume.shape}; resample the atlas.")
    values = np.nan_to_num(atlas[volume.mask])
    if labels is None:
        found = np.unique(values[values != 0]).astype(int)
        labels = pd.DataFrame({"index": found, "region": found.astype(str)})
    named = labels["region"].astype(str)
    return from_masks(volume, {name: np.isin(values, labels["index"][named == name]) for name in dict.fromkeys(named)})


def _members(volume: Volume, name: str, mask: Array) -> Array:
    """Return the positions of the voxels of a region."""
    if mask.shape not in ((volume.n_voxels,), volume.shape):
        raise UserError(
            f"The mask of region {name!r} has the shape {mask.shape}; it says yes or no of the {volume.n_voxels} "
            f"voxels of the volume, or of its grid of {volume.shape}."
        )
    return np.flatnonzero((mask[volume.mask] if mask.ndim == 3 else mask) > 0)


def from_masks(volume: Volume, masks: Mapping[str, Array]) -> Neighbourhood:
    """Make a region of each of several masks, which may overlap.

    Parameters
    ----------
    volume : Volume
        Grid and mask.
    masks : mapping of str to array of bool, shape (n_voxels,) or (n_x, n_y, n_z)
        What belongs to each region.

    Raises
    ------
    UserError
        If there is no region, a mask has another shape, or no voxel of one lies in the mask of the volume.
    """
    members = [_members(volume, name, np.asarray(mask)) for name, mask in masks.items()]
    empty = [name for name, voxels in zip(masks, members, strict=True) if not voxels.size]
    if not masks:
        raise UserError("There is no region: the atlas is 0 or NaN in the whole mask; do the two overlap?")
    if empty:
        raise UserError(f"No voxel of the mask lies in the region {listed(empty)}; remove it, or check the mask.")
    sizes = np.array([voxels.size for voxels in members])
    table = pd.DataFrame({"region": list(masks), "n_voxels": sizes})
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    return Neighbourhood(indptr, np.concatenate(members), volume, regions=table)
