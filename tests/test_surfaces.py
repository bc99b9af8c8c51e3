"""Maps on the surface of the cortex: which voxel is where."""

import numpy as np
import pytest

from rsa.core import Volume
from rsa.report.surface_mesh import N_VERTICES, SHAPES, UNIT_MM, explorer_mesh, mid_thickness_mm, places_mm, triangles

MNI_MM = 4.0
RIGHT_FIRST = np.array([[-MNI_MM, 0, 0, 90], [0, MNI_MM, 0, -126], [0, 0, MNI_MM, -72], [0, 0, 0, 1]])
UP_FIRST = np.array([[0, 0, MNI_MM, -90], [0, -MNI_MM, 0, 90], [MNI_MM, 0, 0, -72], [0, 0, 0, 1]])
GRIDS = {"right first": (RIGHT_FIRST, (46, 55, 46)), "axes in another order": (UP_FIRST, (46, 55, 46))}


def mni_volume(affine=RIGHT_FIRST, shape=(46, 55, 46)):
    return Volume(np.ones(shape, dtype=bool), affine)


@pytest.mark.parametrize(("affine", "shape"), GRIDS.values(), ids=GRIDS)
def test_the_voxel_of_a_vertex_is_the_one_in_which_it_lies(affine, shape):
    volume = mni_volume(affine, shape)
    mesh = explorer_mesh(volume)
    middle = np.concatenate([mid_thickness_mm("L"), mid_thickness_mm("R")])
    apart = volume.voxel_to_mm(np.stack(np.unravel_index(mesh.voxels, shape), axis=1)) - middle
    assert (mesh.voxels >= 0).all()
    assert np.abs(apart).max() <= MNI_MM / 2 + 1e-4


def test_vertices_outside_of_the_grid_have_no_voxel():
    shifted = RIGHT_FIRST + np.array([[0, 0, 0, -90], [0] * 4, [0] * 4, [0] * 4])  # x below 2 mm
    mesh = explorer_mesh(mni_volume(shifted))
    assert (mesh.voxels[: mesh.n_left] >= 0).all()
    assert (mesh.voxels[mesh.n_left :] == -1).mean() > 0.9


def test_the_mesh_is_that_of_the_files_of_both_hemispheres():
    mesh = explorer_mesh(mni_volume())
    assert mesh.n_left == N_VERTICES
    for name in SHAPES:
        places = np.concatenate([places_mm("L", name), places_mm("R", name)])
        np.testing.assert_allclose(mesh.shapes[name] * UNIT_MM, places, atol=UNIT_MM / 2 + 1e-4)
    assert mesh.triangles.max() == 2 * N_VERTICES - 1
    assert mesh.in_flat.sum() == len(triangles("L", "flat")) + len(triangles("R", "flat"))
    assert (mesh.shapes["flat"][np.unique(mesh.triangles[mesh.in_flat == 1]), 2] == 0).all()
