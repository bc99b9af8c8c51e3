"""Bringing score maps from the space of a subject to a template: ITK transforms, and interpolation that ignores NaN.

A transform is a function of points: it says, of points in millimetres of the template, where they are in the images of
the subject. That is what ANTs and fMRIPrep store in a file called "from the subject to the template".
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import h5py
import numpy as np
from pydantic import Field

from rsa.core import DEFINED, Array, ScoreMap, Volume
from rsa.errors import UserError, listed
from rsa.files.images import opened, whole_grid
from rsa.files.io import reading
from rsa.interpolation import HALF, corners
from rsa.maps import MAPS
from rsa.settings import Label, Section, by_subject, fill, path_unless

__all__ = [
    "IDENTITY",
    "MNI152",
    "MNI_CODE",
    "Template",
    "Affine",
    "Displacement",
    "problems_of_template",
    "read_transform",
    "resample_scores",
    "template_files",
    "template_volume",
    "transform_path",
]

Mapping = Callable[[Array], Array]
"""Points in mm, shape (n, 3) -> points in mm, shape (n, 3)."""

MNI_CODE = 4
"""The NIfTI code of MNI152 space."""
TO_RAS = np.diag([-1.0, -1.0, 1.0])
"""ITK's x grows to the left and its y to the back, NIfTI's to the right and to the front: both change their sign."""
MNI152 = "MNI152"
"""The word for the grid of nilearn's MNI152 template."""
IDENTITY = "identity"
"""The word for a transform that changes nothing."""


class Template(Section):
    """Bring the maps of subjects who were analysed in spaces of their own to one grid."""

    image: Annotated[str, path_unless(MNI152.__eq__)] = MNI152
    """An image on the grid that is wanted, such as a template brain; or the word MNI152, nilearn's grid."""
    voxel_size_mm: int = Field(2, ge=1, le=10)
    """Voxel size of the MNI152 grid."""
    transform: Annotated[str, path_unless(IDENTITY.__eq__)]
    """ITK transform (.txt, .tfm, .h5) with which ANTs would bring an image of the subject to the template, such as
    fMRIPrep's sub-{subject}_from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.h5; or the word identity, where the images
    are in the space of the template and only the grids differ."""
    space: Label = "MNI152NLin2009cAsym"
    """BIDS label of the space that the transform leads to, for the file names of the results."""


# ------------------------------------------------------------------------------------------- the template


def template_volume(settings: Template) -> Volume:
    """Return the grid of a template, every voxel inside.

    Raises
    ------
    UserError
        If the image is missing, not readable, or has no grid.
    """
    if settings.image != MNI152:
        return whole_grid(opened(Path(settings.image)))
    from nilearn.datasets import load_mni152_brain_mask

    image = load_mni152_brain_mask(resolution=settings.voxel_size_mm)
    return Volume(np.ones(image.shape, dtype=bool), image.affine, sform_code=MNI_CODE, qform_code=MNI_CODE)


def transform_path(settings: Template, subject: str) -> Path | None:
    """Return the file of the transform of a subject; None for the identity."""
    return None if settings.transform == IDENTITY else fill(settings.transform, subject=subject)


def template_files(settings: Template, subject: str) -> list[Path]:
    """Return every file that is read to bring the maps of a subject to the template."""
    transform = transform_path(settings, subject)
    return [*([] if settings.image == MNI152 else [Path(settings.image)]), *([] if transform is None else [transform])]


def problems_of_template(settings: Template, subjects: Sequence[str]) -> list[str]:
    """Return everything that is wrong with a template and the transforms to it, without reading a field."""
    problems = []
    try:
        template_volume(settings)
    except UserError as error:
        problems.append(f"template.image: {error}")
    told = [(subject, text) for subject in subjects for text in _problems_of_transform(settings, subject)]
    return [*problems, *by_subject(told)]


def _problems_of_transform(settings: Template, subject: str) -> Iterator[str]:
    path = transform_path(settings, subject)
    if path is None:
        return
    named = re.search(r"_to-([A-Za-z0-9]+)", path.name)
    if named is not None and named[1] != settings.space:
        yield (
            f"template.transform: {settings.transform} leads to {named[1]!r} and template.space is "
            f"{settings.space!r}; give the transform to the template, or set `space`."
        )
    try:
        _stored_transforms(path)
    except UserError as error:
        yield str(error).replace(str(path), settings.transform)


# ------------------------------------------------------------------------------------------- transforms


@dataclass(frozen=True, eq=False)
class Affine:
    """A linear mapping of points.

    Parameters
    ----------
    matrix : array, shape (3, 3)
        Applied first.
    shift_mm : array, shape (3,)
        Added then, in mm.
    """

    matrix: Array
    shift_mm: Array

    def __call__(self, points_mm: Array) -> Array:
        """Map points in mm; shape (n, 3) in and out."""
        return points_mm @ self.matrix.T + self.shift_mm


@dataclass(frozen=True, eq=False)
class Displacement:
    """A field of displacements: linear between its voxels, none outside its grid, as in ITK.

    Parameters
    ----------
    field_mm : array, shape (n_x, n_y, n_z, 3)
        What is added to a point, in mm.
    grid : Volume
        Where the voxels of the field are.
    """

    field_mm: Array
    grid: Volume

    def __call__(self, points_mm: Array) -> Array:
        """Map points in mm; shape (n, 3) in and out."""
        from scipy.ndimage import map_coordinates

        indices = self.grid.mm_to_voxel(points_mm)  # (n, 3)
        inside = ((indices >= -0.5) & (indices < np.array(self.grid.shape) - 0.5)).all(axis=1)
        moved = np.array(points_mm, dtype=np.float64)
        for axis in range(3):
            field = self.field_mm[..., axis]
            moved[inside, axis] += map_coordinates(field, indices[inside].T, np.float64, order=1, mode="nearest")
        return moved


@dataclass(frozen=True)
class _Stored:
    """A transform as ITK writes it, in its coordinates; `parameters` are read when they are asked for."""

    kind: str
    fixed: Array
    parameters: Callable[[], Array]


def read_transform(path: Path | None) -> Mapping:
    """Read an ITK transform as a function of points in millimetres (RAS, as in NIfTI).

    Parameters
    ----------
    path : Path, optional
        A text file (.txt, .tfm) with one linear transform, or an HDF5 file (.h5) with linear transforms and fields of
        displacements, of which the last one is applied first. None is the identity.

    Returns
    -------
    callable
        Points of the template, shape (n, 3), to points of the subject's images, if the file leads from the subject to
        the template.

    Raises
    ------
    UserError
        If the file is missing, not readable, or holds another kind of transform.
    """
    steps = [] if path is None else [_STEPS[one.kind](one, path) for one in reversed(_stored_transforms(path))]

    def through(points_mm: Array) -> Array:
        for step in steps:
            points_mm = step(points_mm)
        return points_mm

    return through


def _stored_transforms(path: Path) -> list[_Stored]:
    """Return the transforms in a file, in their order there; one at least, and all of kinds that are known."""
    if path.suffix not in _READERS:
        raise UserError(f"{path} is no transform that can be read: it should end in {' or '.join(_READERS)}.")
    with reading(path, "an ITK transform"):
        stored = _READERS[path.suffix](path)
    other = [one.kind for one in stored if one.kind not in _STEPS]
    if other or not stored:
        raise UserError(
            f"{path} holds {listed(other) or 'no transform'}; transforms are of the kinds {listed(list(_STEPS))}. "
            "Write it again with antsApplyTransforms."
        )
    return stored


def _from_text(path: Path) -> list[_Stored]:
    """Read a text file: `Transform: kind_precision_3_3`, `Parameters: ...`, `FixedParameters: ...`."""
    lines = [line.partition(":") for line in path.read_text(encoding="utf-8").splitlines()]
    found = {name: value.strip() for name, colon, value in lines if colon}
    if sum(name == "Transform" for name, colon, _ in lines if colon) != 1:
        raise ValueError("it should have one line that begins with 'Transform:'")
    parameters = np.array(found["Parameters"].split(), dtype=np.float64)
    fixed = np.array(found.get("FixedParameters", "0 0 0").split(), dtype=np.float64)
    return [_Stored(found["Transform"].split("_")[0], fixed, lambda: parameters)]


def _from_h5(path: Path) -> list[_Stored]:
    """Read an HDF5 file: a group of numbered transforms, in which older versions of ITK misspell the parameters."""
    with h5py.File(path, "r") as file:
        groups = file["TransformGroup"]
        names = sorted(groups, key=int)
        kinds = {name: np.ravel(groups[name]["TransformType"].asstr()[()])[0].split("_")[0] for name in names}
        spelt = {name: "Transform" if "TransformParameters" in groups[name] else "Tranform" for name in names}
        return [
            _Stored(
                kinds[name],
                groups[name][f"{spelt[name]}FixedParameters"][:].astype(np.float64),
                lambda name=name: _read(path, f"TransformGroup/{name}/{spelt[name]}Parameters"),  # type: ignore[misc]
            )
            for name in names
            if kinds[name] != "CompositeTransform"
        ]


def _read(path: Path, name: str) -> Array:
    with reading(path, "an ITK transform"), h5py.File(path, "r") as file:
        values: Array = file[name][:].astype(np.float64)
        return values


def _affine(stored: _Stored, path: Path) -> Affine:
    """Make x -> A (x - centre) + t + centre of 12 parameters (A row by row, t) and the centre."""
    parameters = stored.parameters()
    _require_finite(path, parameters, stored.fixed)
    if parameters.shape != (12,) or stored.fixed.shape != (3,):
        raise UserError(
            f"{path}: a linear transform of 3 dimensions has 12 parameters and a centre of 3 numbers, not "
            f"{parameters.size} and {stored.fixed.size}."
        )
    matrix = parameters[:9].reshape(3, 3)
    shift_mm = parameters[9:] + stored.fixed - matrix @ stored.fixed
    return Affine(TO_RAS @ matrix @ TO_RAS, TO_RAS @ shift_mm)


def _displacement(stored: _Stored, path: Path) -> Displacement:
    """Make a field of its parameters (x fastest, after the 3 components) and size, origin, spacing, directions."""
    fixed, values = stored.fixed, stored.parameters()
    _require_finite(path, values, fixed)
    shape = tuple(int(n) for n in fixed[:3])
    if fixed.shape != (18,) or min(shape) < 1 or values.size != 3 * np.prod(shape):
        raise UserError(f"{path}: a field of displacements of size {shape} does not have {values.size} parameters.")
    affine = np.eye(4)
    affine[:3, :3] = TO_RAS @ (fixed[9:].reshape(3, 3) * fixed[6:9])
    affine[:3, 3] = TO_RAS @ fixed[3:6]
    field_mm = np.moveaxis(values.reshape(3, *shape, order="F"), 0, -1) * np.diag(TO_RAS)
    return Displacement(field_mm, Volume(np.ones(shape, dtype=bool), affine))


def _require_finite(path: Path, *numbers: Array) -> None:
    if not all(np.isfinite(some).all() for some in numbers):
        raise UserError(f"{path} has parameters that are NaN or infinite; make the transform again, or copy it again.")


_STEPS: dict[str, Callable[[_Stored, Path], Mapping]] = {
    "AffineTransform": _affine,
    "MatrixOffsetTransformBase": _affine,
    "DisplacementFieldTransform": _displacement,
}
_READERS: dict[str, Callable[[Path], list[_Stored]]] = {".txt": _from_text, ".tfm": _from_text, ".h5": _from_h5}


# ------------------------------------------------------------------------------------------- resampling


def resample_scores(scores: ScoreMap, template: Volume, transform: Path | None) -> ScoreMap:
    """Bring the maps of a subject to the grid of a template.

    Scores are interpolated linearly between the 8 voxels around a point, with the weights of those that have a score:
    what lies outside the mask, or is NaN, never counts as 0. A voxel of the template belongs to the new mask if half
    of its weight or more lies in the old one, and it has a score in a map if half of its weight or more has one there.
    The number of voxels of a searchlight and the reason are those of the nearest of the 8 voxels, among those with a
    score where the voxel has one, and else among those without.

    Parameters
    ----------
    scores : ScoreMap
        Over the voxels of a volume; scores only, no maps whose numbers are labels.
    template : Volume
        Grid of the result; voxels outside its mask are left out.
    transform : Path, optional
        ITK transform from the subject to the template; None if both are in the same space.

    Returns
    -------
    ScoreMap
        The same rows over the new voxels.

    Raises
    ------
    UserError
        If the scores are of regions or are derived maps, the transform cannot be read, or nothing of the mask
        arrives in the template.
    """
    if scores.volume is None:
        raise UserError("Scores of regions have no place in a template; resample maps over voxels.")
    derived = [name for name in MAPS if name in set(scores.table.get("statistic", ()))]
    if derived:
        raise UserError(f"The maps {listed(derived)} cannot be interpolated; resample the scores, then derive them.")
    points_mm = read_transform(transform)(template.voxel_to_mm(template.indices))
    members, weights = corners(scores.volume, points_mm)
    covered = _weight(members >= 0, weights) >= HALF
    if not covered.any():
        raise UserError(
            f"No voxel of the template lies in the mask of the subject after the transform {transform or IDENTITY}; "
            "does it lead from the space of the images to that of the template?"
        )
    members, weights = members[:, covered], weights[:, covered]
    mask = np.zeros(template.shape, dtype=bool)
    mask[tuple(template.indices[covered].T)] = True
    nearest = _nearest(members, weights, scores.reason)
    return replace(
        scores,
        values=np.stack([_interpolated(row, members, weights) for row in scores.values]),
        space=replace(template, mask=mask),
        n_members=None if scores.n_members is None else scores.n_members[nearest],
        reason=None if scores.reason is None else scores.reason[nearest],
    )


def _weight(chosen: Array, weights: Array) -> Array:
    """Sum the weights of the chosen voxels of each point: two arrays of shape (8, n) -> (n,)."""
    return np.asarray((weights * chosen).sum(axis=0))


def _interpolated(scores: Array, members: Array, weights: Array) -> Array:
    """Average the scores of one map (n_voxels,) around each point; NaN where less than half of the weight has one."""
    around = np.append(scores, np.float32(np.nan))[members].astype(np.float64)  # (8, n); -1 is the last, outside
    finite = np.isfinite(around)
    weight = _weight(finite, weights)
    total = _weight(np.where(finite, around, 0), weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight >= HALF, total / weight, np.nan)


def _nearest(members: Array, weights: Array, reason: Array | None) -> Array:
    """Choose, of the voxels of the mask around each point, the nearest with a score if it has one, else without."""
    inside = members >= 0
    preferred = inside
    if reason is not None:
        defined = inside & (reason[members] == DEFINED)
        preferred = defined == (_weight(defined, weights) >= HALF)
    order = np.where(inside, weights + preferred, -1.0)  # weights are 1 at most
    return np.asarray(np.take_along_axis(members, order.argmax(axis=0)[None], axis=0)[0])
