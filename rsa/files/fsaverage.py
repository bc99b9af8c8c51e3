"""The cortex of nilearn's wheel, fsaverage5, and maps on it: GIFTI files that Workbench, FreeSurfer and nilearn read.

fsaverage5 [27]_ has 10,242 vertices in each hemisphere. Its coordinates are those of the MNI305 brain, which differ
from MNI152 by some millimetres; `docs/conventions.md` says how many.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.gifti.gifti import GiftiDataArray, GiftiMetaData

from rsa.core import TEST, Array, Volume
from rsa.files import io
from rsa.interpolation import LineSampler
from rsa.maps import MAPS

__all__ = [
    "FSAVERAGE5",
    "HEMISPHERES",
    "N_VERTICES",
    "SAMPLED",
    "SHAPES",
    "has_cortex",
    "is_averaged",
    "mid_thickness_mm",
    "of_nilearn",
    "overlay",
    "places_mm",
    "sampler_of",
    "save_gifti",
    "surface_path",
    "triangles",
]

FSAVERAGE5 = "fsaverage5"

HEMISPHERES = {"L": "left", "R": "right"}
"""The hemispheres in the order of the vertices: as BIDS writes them, and nilearn."""

N_VERTICES = 10242
"""Of each hemisphere."""

SHAPES = {"pial": "pial", "inflated": "infl", "flat": "flat"}
"""The shapes that are shown, and what nilearn's files call them."""

N_DEPTHS = 10
"""Points from the pial to the white surface, both included: as many as nilearn's `vol_to_surf` takes."""

SAMPLED = {
    True: f"mean of {N_DEPTHS} points from the white to the pial surface, linear between voxels; NaN where less than "
    "half of the weight is of voxels with a score",
    False: "the voxel half way between the white and the pial surface, not interpolated; NaN where it has no value",
}
"""How a map came to the surface, by whether its values were averaged."""


# ----------------------------------------------------------------------------------------------- the mesh


def of_nilearn(name: str) -> Path:
    """Return the path of a file of nilearn, which is not imported: it would load scikit-learn and most of scipy."""
    found = find_spec("nilearn")
    assert found is not None
    return Path(*(found.submodule_search_locations or ()), name)


def has_cortex(space: str) -> bool:
    """Say whether places in a space are nearly those of fsaverage5, by its name: MNI152 of any kind, and MNI305.

    Examples
    --------
    >>> has_cortex("MNI152NLin2009cAsym"), has_cortex("T1w"), has_cortex("MNIInfant")
    (True, False, False)
    """
    return space.startswith(("MNI152", "MNI305"))


def places_mm(side: str, shape: str) -> Array:
    """Return where the vertices of a hemisphere ("L", "R") are in a shape ("white" as well), (n_vertices, 3) in mm."""
    return _arrays(SHAPES.get(shape, shape), side)[0].astype(np.float64)


def mid_thickness_mm(side: str) -> Array:
    """Return where the vertices lie half way between white and pial surface, shape (n_vertices, 3) in mm."""
    return np.asarray((places_mm(side, "white") + places_mm(side, "pial")) / 2)


def triangles(side: str, shape: str = "pial") -> Array:
    """Return the vertices of the triangles of a hemisphere, (n_triangles, 3); the flat shape has fewer."""
    return _arrays(SHAPES.get(shape, shape), side)[1]


def overlay(side: str, name: str) -> Array:
    """Return what is known of each vertex of a hemisphere, shape (n_vertices,): "sulc", for instance."""
    return _arrays(name, side)[0]


@cache
def _arrays(name: str, side: str) -> list[Array]:
    image = nib.GiftiImage.from_filename(of_nilearn(f"datasets/data/{FSAVERAGE5}/{name}_{HEMISPHERES[side]}.gii.gz"))
    return [np.asarray(array.data) for array in image.darrays]


# ------------------------------------------------------------------------------------------- maps on it


def sampler_of(volume: Volume, stride: int = 1) -> LineSampler:
    """Return what brings maps of a volume to all vertices, those of the left hemisphere first.

    Linear maps are those of nilearn's `vol_to_surf` with ``surf_mesh=pial, inner_mesh=white``, `kind="depth"` and
    linear interpolation, but for what lies outside the mask, which never counts.
    """
    depths = np.linspace(0, 1, N_DEPTHS)[:, None]
    lines = [
        places_mm(side, "pial")[:, None] * (1 - depths) + places_mm(side, "white")[:, None] * depths
        for side in HEMISPHERES
    ]
    return LineSampler(volume, np.concatenate(lines), stride)


def is_averaged(statistic: str, role: str) -> bool:
    """Say whether values of a map may be averaged: scores, and slopes of scores.

    No mean of what a test found is that of a test (p, thresholded maps), and none of numbers of layers, of times of a
    peak, or of counts of voxels means anything.
    """
    return role != TEST and (statistic not in MAPS or MAPS[statistic].figure == "signed")


def surface_path(path: str | Path, space: str, side: str) -> Path:
    """Return the path of the map of a hemisphere beside the map of a volume.

    Examples
    --------
    >>> surface_path("r/sub-1_space-MNI152Lin_stat-t_statmap.nii.gz", "MNI152Lin", "L").as_posix()
    'r/sub-1_hemi-L_space-fsaverage5_stat-t_statmap.shape.gii'
    """
    place = f"hemi-{side}_space-{FSAVERAGE5}_" if side else f"space-{FSAVERAGE5}_"
    name = Path(path).name.replace(f"space-{space}_", place, 1).removesuffix(".nii.gz")
    return Path(path).with_name(f"{name}.shape.gii")


def save_gifti(
    path: str | Path, space: str, values: Array, sidecar: Mapping[str, Any], names: Sequence[str] = ()
) -> None:
    """Write maps at all vertices as GIFTI, a file for each hemisphere, and one JSON sidecar for both.

    Parameters
    ----------
    path : path
        Of the map of the volume, in `space`, from which the names of these files are made.
    values : array, shape (n_maps, n_vertices of both hemispheres)
    sidecar : mapping
        What is said of them.
    names : sequence of str
        Of each map, such as its time.
    """
    for number, side in enumerate(HEMISPHERES):
        own = values[:, number * N_VERTICES : (number + 1) * N_VERTICES]
        whole = GiftiMetaData(AnatomicalStructurePrimary=f"Cortex{HEMISPHERES[side].title()}")
        image = nib.GiftiImage(meta=whole)
        for row, name in zip(own, names or [""] * len(own), strict=True):
            meta = GiftiMetaData(Name=name or Path(path).name.removesuffix("_statmap.nii.gz"))
            array = GiftiDataArray(row.astype(np.float32), intent="NIFTI_INTENT_SHAPE", meta=meta)
            image.add_gifti_data_array(array)
        with io.writing(surface_path(path, space, side)) as temporary:
            nib.save(image, temporary)
    both = surface_path(path, space, "").name.replace(".shape.gii", ".json")
    io.save_json(Path(path).with_name(both), sidecar)
