"""Maps go to the template with ITK transforms: the right way round, and what is missing never counts as 0."""

import re
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.affines import from_matvec
from nilearn.image import resample_img
from scipy.spatial.transform import Rotation

from rsa.core import CONSTANT_RDM, DEFINED, NO_DATA, ScoreMap, Volume
from rsa.errors import UserError
from rsa.inference import group
from rsa.inputs.regions import Regions
from rsa.inputs.templates import (
    Displacement,
    Template,
    problems_of_template,
    read_transform,
    resample_scores,
    template_files,
    template_volume,
    transform_path,
)

LPS = np.array([-1.0, -1.0, 1.0])
OBLIQUE = from_matvec(Rotation.from_euler("xyz", [12, -7, 25], degrees=True).as_matrix() * [2.0, 2.5, 3.0], [-9, 4, 7])
TURN = Rotation.from_euler("xyz", [20, 10, -15], degrees=True).as_matrix() @ np.diag([1.1, 0.9, 1.05])
SHIFT = np.array([3.0, -2.0, 1.5])
CENTRE = np.array([5.0, 6.0, -7.0])


# --------------------------------------------------------------------------------- writing what ITK writes


def numbers(values: np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in np.ravel(values))


def write_text(path: Path, matrix: np.ndarray, shift: np.ndarray, centre: Sequence[float] = (0, 0, 0)) -> Path:
    """Write x -> A (x - c) + t + c, given in RAS, in ITK's LPS."""
    path.write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: MatrixOffsetTransformBase_double_3_3\n"
        f"Parameters: {numbers(matrix * np.outer(LPS, LPS))} {numbers(shift * LPS)}\n"
        f"FixedParameters: {numbers(centre * LPS)}\n"
    )
    return path


def write_h5(path: Path, steps: list[tuple[str, np.ndarray, np.ndarray]], spelling: str = "Transform") -> Path:
    """Write transforms into the groups 1, 2, ... behind the group 0, which says that they are one."""
    with h5py.File(path, "w") as file:
        steps = [("CompositeTransform_double_3_3", np.zeros(0), np.zeros(0)), *steps]
        for number, (kind, fixed, parameters) in enumerate(steps):
            group = file.create_group(f"TransformGroup/{number}")
            group["TransformType"] = np.array([kind.encode()], dtype=h5py.string_dtype())
            if len(parameters):
                group[f"{spelling}FixedParameters"] = fixed
                group[f"{spelling}Parameters"] = parameters
    return path


def affine_step(matrix: np.ndarray, shift: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
    parameters = np.append((matrix * np.outer(LPS, LPS)).ravel(), shift * LPS)
    return "AffineTransform_double_3_3", CENTRE * LPS, parameters


def field_step(field_mm: np.ndarray, affine: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
    """Store a field, given in RAS: size, origin, spacing and directions; components first, x fastest."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = (LPS[:, None] * affine[:3, :3]) / spacing
    fixed = np.concatenate([field_mm.shape[:3], affine[:3, 3] * LPS, spacing, directions.ravel()])
    return "DisplacementFieldTransform_double_3_3", fixed, np.moveaxis(field_mm * LPS, -1, 0).ravel(order="F")


def slow_displacement(field_mm: np.ndarray, affine: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Interpolate a field at one point, corner by corner."""
    index = np.linalg.solve(affine, np.append(point, 1))[:3]
    moved = point.copy()
    for corner in product((0, 1), repeat=3):
        at = np.floor(index).astype(int) + corner
        if (at >= 0).all() and (at < field_mm.shape[:3]).all():
            moved += np.prod(1 - np.abs(index - at)) * field_mm[tuple(at)]
    return moved


@pytest.fixture
def field(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(scale=2.0, size=(6, 7, 8, 3))


@pytest.fixture
def inner_points(rng: np.random.Generator) -> np.ndarray:
    """Return points between the outermost voxels of the grid of the field."""
    return rng.uniform(0.01, [4.9, 5.9, 6.9], size=(50, 3)) @ OBLIQUE[:3, :3].T + OBLIQUE[:3, 3]


# ------------------------------------------------------------------------------------------- transforms


def test_a_text_file_turns_points_about_its_centre(tmp_path: Path, rng: np.random.Generator) -> None:
    points = rng.normal(scale=30, size=(20, 3))
    found = read_transform(write_text(tmp_path / "a.txt", TURN, SHIFT, CENTRE))(points)
    expected = [TURN @ (point - CENTRE) + SHIFT + CENTRE for point in points]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_field_is_linear_between_its_voxels(tmp_path: Path, field: np.ndarray, inner_points: np.ndarray) -> None:
    found = read_transform(write_h5(tmp_path / "a.h5", [field_step(field, OBLIQUE)]))(inner_points)
    expected = [slow_displacement(field, OBLIQUE, point) for point in inner_points]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_outside_of_a_field_nothing_moves(field: np.ndarray) -> None:
    displacement = Displacement(field, Volume(np.ones(field.shape[:3]), np.eye(4)))
    outside = np.array([[-0.6, 2, 2], [5.6, 2, 2], [2, -40, 2], [2, 2, 7.5], [300.0, 300, 300]])
    np.testing.assert_array_equal(displacement(outside), outside)
    edge = np.array([[5.4, 2.0, 3.0]])  # inside the last voxel, beyond its centre
    np.testing.assert_allclose(displacement(edge), edge + field[5, 2, 3])


@pytest.mark.parametrize("spelling", ["Transform", "Tranform"])
def test_the_last_transform_of_a_file_is_applied_first(
    tmp_path: Path, field: np.ndarray, inner_points: np.ndarray, spelling: str
) -> None:
    steps = [affine_step(TURN, SHIFT), field_step(field, OBLIQUE)]
    found = read_transform(write_h5(tmp_path / "a.h5", steps, spelling))(inner_points)
    displaced = [slow_displacement(field, OBLIQUE, point) for point in inner_points]
    np.testing.assert_allclose(found, (displaced - CENTRE) @ TURN.T + SHIFT + CENTRE, atol=1e-5)


def test_nitransforms_reads_the_same(tmp_path: Path, field: np.ndarray) -> None:
    linear, manip = pytest.importorskip("nitransforms.linear"), pytest.importorskip("nitransforms.manip")
    points = nib.affines.apply_affine(OBLIQUE, np.argwhere(np.ones(field.shape[:3])))  # there its splines are exact
    text = write_text(tmp_path / "a.txt", TURN, SHIFT, CENTRE)
    theirs = linear.load(text, fmt="itk").map(points)
    np.testing.assert_allclose(read_transform(text)(points), theirs, atol=1e-4)  # it reads in single precision
    both = write_h5(tmp_path / "a.h5", [affine_step(TURN, SHIFT), field_step(field, OBLIQUE)])
    theirs = manip.load(both, fmt="itk").map(points)
    np.testing.assert_allclose(read_transform(both)(points), theirs, atol=1e-4)


def test_what_is_no_transform(tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text(2 * write_text(tmp_path / "a.txt", TURN, SHIFT).read_text())
    rigid = (tmp_path / "a.txt").read_text().replace("MatrixOffsetTransformBase", "Euler3DTransform")
    (tmp_path / "rigid.tfm").write_text(rigid)
    (tmp_path / "short.txt").write_text((tmp_path / "a.txt").read_text().replace("Parameters: ", "Parameters: 1 ", 1))
    (tmp_path / "words.txt").write_text("Transform: AffineTransform_double_3_3\nParameters: one\n")
    (tmp_path / "nan.txt").write_text(
        re.sub("(Parameters: )[^ ]+", r"\1nan", (tmp_path / "a.txt").read_text(), count=1)
    )
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "damaged.h5").write_bytes(b"\x89HDF")
    write_h5(tmp_path / "none.h5", [])
    kind, fixed, parameters = field_step(np.zeros((2, 2, 2, 3)), np.eye(4))
    write_h5(tmp_path / "short.h5", [(kind, fixed, parameters[1:])])
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    for name, message in {
        "nowhere.txt": "There is no file .*nowhere.txt",
        "nowhere.h5": "There is no file .*nowhere.h5",
        "a.mat": r"a.mat is no transform that can be read: it should end in .txt or .tfm or .h5",
        "two.txt": "cannot be read as an ITK transform: it should have one line that begins with 'Transform:'",
        "nan.txt": "nan.txt has parameters that are NaN or infinite; make the transform again",
        "empty.txt": "cannot be read as an ITK transform: it should have one line",
        "rigid.tfm": "holds 'Euler3DTransform'; transforms are of the kinds 'AffineTransform'.*Write it again with",
        "short.txt": "has 12 parameters and a centre of 3 numbers, not 13 and 3",
        "words.txt": "words.txt cannot be read as an ITK transform: could not convert string",
        "damaged.h5": "damaged.h5 cannot be read as an ITK transform",
        "none.h5": "none.h5 holds no transform; transforms are of the kinds",
        "other.h5": "other.h5 cannot be read as an ITK transform",
        "short.h5": r"a field of displacements of size \(2, 2, 2\) does not have 23 parameters",
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            read_transform(tmp_path / name)
        assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------- resampling


def scores_on(volume: Volume, *maps: np.ndarray, **more: np.ndarray) -> ScoreMap:
    table = pd.DataFrame({"subject": "01", "model": "m", "layer": [f"l{i}" for i in range(len(maps))]})
    return ScoreMap(np.stack(maps), table, volume, **more)


def pattern(points_mm: np.ndarray) -> np.ndarray:
    """Return three blobs of different sizes and heights, alike in no direction."""
    blobs = [([12, -8, 5], 6, 1.0), ([-15, 10, 0], 8, 0.6), ([3, 16, -12], 5, 0.8)]
    squared = [((points_mm - centre) ** 2).sum(axis=-1) / width**2 for centre, width, _ in blobs]
    return np.sum([height * np.exp(-r / 2) for r, (*_, height) in zip(squared, blobs, strict=True)], axis=0)


def grid(size: int = 25, step: float = 2.0) -> Volume:
    return Volume(np.ones((size, size + 2, size - 2)), from_matvec(np.eye(3) * step, [-step * (size // 2)] * 3))


def test_the_same_grid_gives_the_same_bytes(rng: np.random.Generator) -> None:
    volume = Volume(rng.random((6, 7, 8)) < 0.6, OBLIQUE)
    values = rng.normal(size=(2, volume.n_voxels)).astype(np.float32)
    values[0, :20] = np.nan
    reason = np.where(np.arange(volume.n_voxels) < 20, NO_DATA, DEFINED)
    scores = scores_on(volume, *values, n_members=np.arange(volume.n_voxels), reason=reason)
    found = resample_scores(scores, Volume(np.ones(volume.shape), OBLIQUE), None)
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(found.volume.mask, volume.mask)
    np.testing.assert_array_equal(found.n_members, scores.n_members)
    np.testing.assert_array_equal(found.reason, reason)
    pd.testing.assert_frame_equal(found.table, scores.table)


def curved(points_mm: np.ndarray) -> np.ndarray:
    """Return a smooth displacement that differs in all directions."""
    x, y, z = np.moveaxis(points_mm, -1, 0)
    return np.stack([3 * np.sin(y / 20) + 4, 2 * np.cos(x / 15) - 3, 3 * np.sin(x / 25) * np.cos(z / 20)], axis=-1)


def write_shift(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    write_text(path.with_suffix(".txt"), np.eye(3), SHIFT)
    return lambda points: points + SHIFT


def write_turn(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    write_text(path.with_suffix(".txt"), TURN, SHIFT)
    return lambda points: points @ TURN.T + SHIFT


def write_curved(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    field_grid = grid(40, 2.0)
    points = field_grid.voxel_to_mm(np.moveaxis(np.indices(field_grid.shape), 0, -1))
    write_h5(path.with_suffix(".h5"), [field_step(curved(points), field_grid.affine)])
    return lambda points: points + curved(points)


@pytest.mark.parametrize("write", [write_shift, write_turn, write_curved])
@pytest.mark.parametrize("mirror", [1, -1])
def test_what_stands_at_t_of_x_in_the_subject_comes_to_x(tmp_path: Path, write: Callable, mirror: int) -> None:
    to_subject = write(tmp_path / "sub-01_from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm")
    (path,) = tmp_path.iterdir()
    flip = from_matvec(np.diag([mirror, 1, 1]), [0, 0, 0])  # a subject whose x axis runs to the left
    native = Volume(np.ones((41, 43, 39)), flip @ grid(41, 1.6).affine)
    values = pattern(_solved(to_subject, native.voxel_to_mm(native.indices)))
    found = resample_scores(scores_on(native, values), grid(), path)
    at = found.volume.voxel_to_mm(found.volume.indices)
    assert found.volume.n_voxels > 0.9 * grid().n_voxels
    np.testing.assert_allclose(found.values[0], pattern(at), atol=0.04)
    backwards = pattern(_solved(to_subject, _solved(to_subject, at)))  # what the inverse of the transform would give
    assert np.abs(found.values[0] - backwards).max() > 0.3


def _solved(to_subject: Callable, points: np.ndarray) -> np.ndarray:
    """Find, step by step, the points that the transform takes to these."""
    found = points.copy()
    for _ in range(40):
        found = found - 0.9 * (to_subject(found) - points)
    np.testing.assert_allclose(to_subject(found), points, atol=1e-4)
    return found


def test_an_affine_does_what_nilearn_does(tmp_path: Path, rng: np.random.Generator) -> None:
    native = Volume(np.ones((14, 15, 16)), OBLIQUE)
    values = rng.normal(size=(3, native.n_voxels)).astype(np.float32)
    moved = np.linalg.inv(from_matvec(TURN, SHIFT)) @ OBLIQUE  # where the template sees the voxels of the subject
    middle = (moved @ [6.5, 7, 7.5, 1])[:3]
    template = Volume(np.ones((13, 12, 11)), from_matvec(np.diag([-2.0, 2.0, 2.0]), middle - [-12, 11, 10]))
    found = resample_scores(scores_on(native, *values), template, write_text(tmp_path / "a.txt", TURN, SHIFT))

    image = nib.Nifti1Image(np.moveaxis(native.unmask(values).astype(np.float64), 0, -1) + 1000, moved)
    options = {"interpolation": "linear", "copy_header": True, "force_resample": True}
    theirs = np.moveaxis(resample_img(image, template.affine, template.shape, **options).get_fdata(), -1, 0) - 1000
    whole = (theirs > -10).all(axis=0)  # all around is inside; outside of the image nilearn counts 0
    assert whole.sum() > 500
    np.testing.assert_allclose(found.volume.unmask(found.values)[:, whole], theirs[:, whole], atol=1e-5)


def test_what_is_missing_never_counts_as_zero(tmp_path: Path, rng: np.random.Generator) -> None:
    native = Volume(rng.random((12, 12, 12)) < 0.8, np.diag([2.0, 2, 2, 1]))
    values = np.full((2, native.n_voxels), 0.7, dtype=np.float32)
    values[1, rng.random(native.n_voxels) < 0.2] = np.nan
    path = write_text(tmp_path / "a.txt", TURN, np.zeros(3))
    found = resample_scores(scores_on(native, *values), Volume(np.ones((24, 24, 24)), np.eye(4)), path)
    np.testing.assert_allclose(found.values[0], 0.7, atol=1e-6)
    defined = np.isfinite(found.values[1])
    assert 0.5 < defined.mean() < 1
    np.testing.assert_allclose(found.values[1][defined], 0.7, atol=1e-6)


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        (0.0, [np.nan, 1, 2, np.nan, 4, np.nan]),
        (0.5, [1, 1.5, 2, 4, 4, np.nan]),  # halfway: half of the weight is enough
        (0.4, [np.nan, 1.4, 2, np.nan, 4, np.nan]),
        (0.6, [1, 1.6, np.nan, 4, np.nan, np.nan]),
        (-1.0, [np.nan, np.nan, 1, 2, np.nan, 4]),
    ],
)
def test_half_of_the_weight_decides(tmp_path: Path, shift: float, expected: list[float]) -> None:
    line = Volume(np.array([0, 1, 1, 0, 1, 0])[:, None, None], np.eye(4))
    path = write_text(tmp_path / "a.txt", np.eye(3), np.array([shift, 0, 0]))
    found = resample_scores(scores_on(line, np.array([1.0, 2, 4])), Volume(np.ones((6, 1, 1)), np.eye(4)), path)
    np.testing.assert_allclose(found.volume.unmask(found.values[0])[:, 0, 0], expected, atol=1e-6)
    np.testing.assert_array_equal(found.volume.mask[:, 0, 0], np.isfinite(expected))


def test_halfway_is_enough_on_grids_in_single_precision() -> None:
    coarse, fine = np.diag([2.2, 2.2, 2.2, 1.0]), np.diag([2.2, 2.2, 2.2, 1.0])
    coarse[:3, 3], fine[:3, 3] = [-93.3, -121.7, -55.1], [-92.2, -121.7, -55.1]
    native = Volume(np.arange(60)[:, None, None] % 2 == 0, coarse.astype(np.float32))
    found = resample_scores(scores_on(native, np.ones(30)), Volume(np.ones((59, 1, 1)), fine.astype(np.float32)), None)
    assert found.volume.n_voxels == 59
    assert np.isfinite(found.values[0]).all()


def test_counts_and_reasons_are_those_of_the_nearest_voxel(tmp_path: Path) -> None:
    line = Volume(np.array([0, 1, 1, 1, 1, 0])[:, None, None], np.eye(4))
    scores = scores_on(
        line,
        np.array([1.0, np.nan, 3.0, np.nan]),
        n_members=np.array([10, 20, 30, 40]),
        reason=np.array([DEFINED, NO_DATA, DEFINED, CONSTANT_RDM]),
    )
    path = write_text(tmp_path / "a.txt", np.eye(3), np.array([0.3, 0, 0]))
    found = resample_scores(scores, Volume(np.ones((6, 1, 1)), np.eye(4)), path)
    np.testing.assert_array_equal(np.argwhere(found.volume.mask[:, 0, 0])[:, 0], [1, 2, 3, 4])
    np.testing.assert_array_equal(found.values[0], [1, np.nan, 3, np.nan])
    np.testing.assert_array_equal(found.n_members, [10, 20, 30, 40])
    np.testing.assert_array_equal(found.reason, [DEFINED, NO_DATA, DEFINED, CONSTANT_RDM])
    assert found.reason.dtype == scores.reason.dtype


def test_a_score_and_its_reason_agree_everywhere(tmp_path: Path, rng: np.random.Generator) -> None:
    native = Volume(rng.random((12, 12, 12)) < 0.8, np.diag([2.0, 2, 2, 1]))
    reason = rng.choice([DEFINED, DEFINED, NO_DATA], native.n_voxels).astype(np.int8)
    values = np.where(reason == DEFINED, rng.normal(size=native.n_voxels), np.nan)
    scores = scores_on(native, values, reason=reason, n_members=np.arange(native.n_voxels))
    path = write_text(tmp_path / "a.txt", TURN, np.array([-0.5, 0.25, 1]))
    found = resample_scores(scores, Volume(np.ones((24, 24, 24)), np.eye(4)), path)
    np.testing.assert_array_equal(np.isfinite(found.values[0]), found.reason == DEFINED)
    np.testing.assert_array_equal(reason[found.n_members], found.reason)
    where = found.volume.voxel_to_mm(found.volume.indices) @ TURN.T + [-0.5, 0.25, 1]
    gaps = np.abs(native.voxel_to_mm(native.indices[found.n_members]) - where)
    assert gaps.max() <= 2  # one of the 8 voxels around the point


def test_rows_over_time_keep_their_labels() -> None:
    volume = grid(6)
    table = pd.DataFrame({"subject": "01", "model": "m", "layer": "l", "time_s": [0.0, 1.5], "statistic": "spearman"})
    scores = ScoreMap(np.stack([np.full(volume.n_voxels, 0.1), np.full(volume.n_voxels, 0.2)]), table, volume)
    found = resample_scores(scores, grid(5), None)
    pd.testing.assert_frame_equal(found.table, scores.table)
    np.testing.assert_allclose(found.values.mean(axis=1), [0.1, 0.2], atol=1e-6)


def test_subjects_meet_in_the_template(tmp_path: Path) -> None:
    """The same pattern, recorded in heads that lie differently, has one group map."""
    template, subjects = grid(21, 2.5), []
    for number, angle in enumerate((25, -20)):
        turn = Rotation.from_euler("zx", [angle, 10], degrees=True).as_matrix()
        path = write_text(tmp_path / f"{number}.txt", turn, SHIFT)
        native = grid(41, 1.6)
        there = (native.voxel_to_mm(native.indices) - SHIFT) @ turn  # the inverse of a rotation is its transpose
        subjects.append(resample_scores(scores_on(native, pattern(there)), template, path))
    together = group.combine(subjects, "mean")
    expected = pattern(together.volume.voxel_to_mm(together.volume.indices))
    np.testing.assert_allclose(together.values[0], expected, atol=0.04)


def test_the_codes_and_the_mask_of_the_template_are_kept() -> None:
    mask = np.ones((5, 5, 5))
    mask[0] = 0
    template = Volume(mask, np.eye(4), sform_code=4, qform_code=2)
    volume = Volume(np.ones((5, 5, 5)), np.eye(4))
    found = resample_scores(scores_on(volume, np.arange(125.0)), template, None)
    assert (found.volume.sform_code, found.volume.qform_code) == (4, 2)
    np.testing.assert_array_equal(found.volume.mask, template.mask)
    np.testing.assert_array_equal(found.values[0], np.arange(25, 125))


def test_each_mistake_has_its_message(tmp_path: Path) -> None:
    volume = grid(6)
    scores = scores_on(volume, np.ones(volume.n_voxels))
    far = write_text(tmp_path / "far.txt", np.eye(3), np.array([500.0, 0, 0]))
    with pytest.raises(UserError, match=r"No voxel of the template lies in the mask of the subject after .*far.txt"):
        resample_scores(scores, volume, far)
    regions = ScoreMap(np.ones((1, 1)), pd.DataFrame({"model": ["m"]}), regions=pd.DataFrame({"region": ["V1"]}))
    with pytest.raises(UserError, match="Scores of regions have no place in a template"):
        resample_scores(regions, volume, None)
    labels = ScoreMap(scores.values, scores.table.assign(statistic="best_layer"), volume)
    with pytest.raises(UserError, match="The maps 'best_layer' cannot be interpolated; resample the scores"):
        resample_scores(labels, volume, None)


# --------------------------------------------------------------------------------------------- settings


def test_the_grid_of_a_template(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 5, 6), dtype=np.int16), OBLIQUE)
    image.set_sform(OBLIQUE, code=4)
    nib.save(image, tmp_path / "brain.nii.gz")
    volume = template_volume(Template(image=str(tmp_path / "brain.nii.gz"), transform="identity"))
    assert (volume.shape, volume.n_voxels, volume.sform_code) == ((4, 5, 6), 120, 4)
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-6)
    mni = template_volume(Template(voxel_size_mm=4, transform="identity"))
    np.testing.assert_array_equal(np.diag(mni.affine), [4, 4, 4, 1])
    assert mni.mask.all()
    assert mni.sform_code == 4


def test_words_are_no_paths() -> None:
    raw = {"image": "MNI152", "transform": "identity"}
    read = {"image": "MNI152_T1.nii.gz", "transform": "identity_{subject}.txt"}
    context = {"data_root": "/data"}
    assert Template.model_validate(raw, context=context).model_dump(include={"image", "transform"}) == raw
    settings = Template.model_validate(read, context=context)
    assert (settings.image, settings.transform) == ("/data/MNI152_T1.nii.gz", "/data/identity_{subject}.txt")
    assert transform_path(settings, "02") == Path("/data/identity_02.txt")
    assert template_files(settings, "02") == [Path("/data/MNI152_T1.nii.gz"), Path("/data/identity_02.txt")]
    assert template_files(Template(transform="identity"), "02") == []
    atlas = Regions.model_validate({"atlas": "nilearn:aal/SPM12"}, context=context).atlas
    assert atlas == "nilearn:aal/SPM12"


def test_problems_are_found_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "sub-{subject}_from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.txt"
    for subject in ("01", "02"):
        write_text(Path(name.format(subject=subject)), TURN, SHIFT)
    write_text(Path("sub-01_from-MNI152NLin2009cAsym_to-T1w_mode-image_xfm.txt"), TURN, SHIFT)
    Path("brain.nii").write_bytes(b"no image")
    nib.save(nib.Nifti1Image(np.zeros((3, 3)), np.eye(4)), "flat.nii")

    def found(subjects: Sequence[str] = ("01", "02"), **settings: str) -> list[str]:
        return problems_of_template(Template(**({"transform": "identity"} | settings)), subjects)

    assert found(transform=name) == []
    assert found() == []
    assert found(("01", "03"), transform=name) == [f"subject '03': There is no file {name.format(subject='03')}."]
    assert found(("03", "04"), transform=name) == [f"subjects '03', '04': There is no file {name}."]
    (wrong,) = found(("01",), transform="sub-{subject}_from-MNI152NLin2009cAsym_to-T1w_mode-image_xfm.txt")
    assert "sub-01_from-MNI152NLin2009cAsym_to-T1w_mode-image_xfm.txt leads to 'T1w' and template.space is" in wrong
    assert len(found(transform=name, space="MNI152NLin6Asym")) == 1
    (missing,) = found(image="nowhere.nii")
    assert missing == "template.image: There is no image nowhere.nii."
    (unreadable,) = found(image="brain.nii")
    assert unreadable.startswith("template.image: brain.nii is not a readable NIfTI image")
    (flat,) = found(image="flat.nii")
    assert "give a NIfTI image of 3 or 4 dimensions" in flat
