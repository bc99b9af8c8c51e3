"""The surface of the cortex in the brain explorer: fsaverage5, and which voxel lies at each of its vertices."""

from dataclasses import dataclass

import numpy as np

from rsa.core import Array, Volume
from rsa.files.fsaverage import HEMISPHERES, N_VERTICES, SHAPES, mid_thickness_mm, overlay, places_mm, triangles

__all__ = ["UNIT_MM", "ExplorerMesh", "explorer_mesh"]

UNIT_MM = 0.01
"""Coordinates in the page are whole numbers of this unit, so they are right to .005 mm."""


@dataclass(frozen=True, eq=False)
class ExplorerMesh:
    """What `makeSurface` of `js/surface.js` draws, packed; all vertices of the left hemisphere come first.

    Parameters
    ----------
    shapes : dict of str to array of int16, shape (n_vertices, 3)
        Places in units of `UNIT_MM`, for each of `SHAPES`.
    triangles : array of uint16, shape (n_triangles, 3)
        Vertices of each triangle, counterclockwise from outside, of both hemispheres.
    in_flat : array of uint8, shape (n_triangles,)
        1 where the flat shape, which is cut open, has the triangle.
    sulc : array of int8, shape (n_vertices,)
        Depth of the folds, in hundredths of FreeSurfer's unit: above 0 in a sulcus, below on a gyrus.
    n_left : int
        Number of vertices of the left hemisphere.
    voxels : array of int32, shape (n_vertices,)
        The voxel at each vertex: its index in the volume's grid, in C order; -1 outside of the grid.
    """

    shapes: dict[str, Array]
    triangles: Array
    in_flat: Array
    sulc: Array
    n_left: int
    voxels: Array


def explorer_mesh(volume: Volume) -> ExplorerMesh:
    """Return the mesh of the brain explorer, with the voxel of a volume at each vertex.

    The voxel is the one in which the vertex lies half way between the white and the pial surface, whether or not it is
    in the mask.

    Parameters
    ----------
    volume : Volume
        A grid in the space of an MNI brain.
    """
    whole = np.concatenate([triangles(side) + i * N_VERTICES for i, side in enumerate(HEMISPHERES)])
    flat = np.concatenate([triangles(side, "flat") + i * N_VERTICES for i, side in enumerate(HEMISPHERES)])
    keys, flat_keys = (corners.astype(np.int64) @ [1 << 40, 1 << 20, 1] for corners in (whole, flat))
    shapes = {name: np.concatenate([places_mm(side, name) for side in HEMISPHERES]) for name in SHAPES}
    depth = np.concatenate([overlay(side, "sulc") for side in HEMISPHERES])
    return ExplorerMesh(
        shapes={name: np.rint(places / UNIT_MM).astype(np.int16) for name, places in shapes.items()},
        triangles=whole.astype(np.uint16),
        in_flat=np.isin(keys, flat_keys).astype(np.uint8),
        sulc=np.clip(np.rint(depth * 100), -127, 127).astype(np.int8),
        n_left=N_VERTICES,
        voxels=_voxels_at(volume, np.concatenate([mid_thickness_mm(side) for side in HEMISPHERES])),
    )


def _voxels_at(volume: Volume, points_mm: Array) -> Array:
    """Return the index in the grid, in C order, of the voxel at each point; -1 outside of the grid."""
    indices = np.floor(volume.mm_to_voxel(points_mm) + 0.5).astype(int)
    inside = ((indices >= 0) & (indices < volume.shape)).all(axis=1)
    found = np.full(len(points_mm), -1, dtype=np.int32)
    found[inside] = np.ravel_multi_index(tuple(indices[inside].T), volume.shape)
    return found
