"""Maps and ready RDMs are read by label, on the grid that they lie on, or refused with every reason at once."""

import bz2
import gzip
import logging
import os
import re
import tracemalloc
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from rewriting import rewritten
from strategies import quick

from rsa.core import RDMs
from rsa.datasets import DATASETS, MEEG_DATASETS, AnyDataset, BrainImages, Dataset, Maps, Rdms
from rsa.errors import UserError
from rsa.files.images import opened, read_patterns, read_voxels, varying_voxels, whole_grid
from rsa.files.io import content_hash, load_table, save
from rsa.neighbourhood import from_masks
from rsa.settings import descriptions
from rsa.spheres import RdmSettings, prepare_spheres

SHAPE = (4, 3, 2)
CONDITIONS = ["img1", "img10", "img2"]
AXIS_ALIGNED = np.diag([2.0, 2.0, 2.0, 1.0])
OBLIQUE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, -0.2, 0.7) @ np.diag([2.0, 2.5, 3.0]), [-40, 12, 7])
AFFINES = {
    "axis-aligned": AXIS_ALIGNED,
    "flipped": np.diag([-3.1, 3.75, 3.75, 1.0]),
    "permuted": AXIS_ALIGNED[[1, 2, 0, 3]],
    "oblique": OBLIQUE,
    "sheared": OBLIQUE @ np.array([[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
}


def write_image(path: Path, values, affine=AXIS_ALIGNED, codes=(2, 1)) -> Path:
    """Write an image with its sform and qform codes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.asarray(values, dtype=np.float32), affine)
    image.set_sform(affine, code=codes[0])
    image.set_qform(affine, code=codes[1])
    nib.save(image, path)
    return path


def write_table(path: Path, **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_csv(path, sep="\t", index=False)
    return path


@pytest.fixture
def study(tmp_path, rng):
    """Write two subjects with two runs of three conditions, and return the settings and the arrays."""
    arrays = {}
    for subject in ("01", "02"):
        for run in ("1", "2"):
            arrays[subject, run] = rng.normal(size=(*SHAPE, 3)).astype(np.float32)
            write_image(tmp_path / f"sub-{subject}" / f"run-{run}.nii", arrays[subject, run])
            write_table(tmp_path / f"sub-{subject}" / f"run-{run}.tsv", condition=CONDITIONS)
    return (
        {
            "subjects": ["01", "02"],
            "runs": ["1", "2"],
            "images": str(tmp_path / "sub-{subject}" / "run-{run}.nii"),
            "table": str(tmp_path / "sub-{subject}" / "run-{run}.tsv"),
        },
        arrays,
    )


# ------------------------------------------------------------------------------------------ the table


def test_kinds_answer_for_themselves():
    for table, provided in ((DATASETS, {"patterns", "rdms"}), (MEEG_DATASETS, {"epochs", "movie"})):
        for name, kind in table.items():
            assert get_args(kind.model_fields["kind"].annotation) == (name,)
            assert kind.provides in provided
            assert {kind.located_by, *kind.templates} <= set(kind.model_fields)
            assert descriptions(kind).keys() == kind.model_fields.keys(), "the docstring is the help"
    assert set(DATASETS.values()) == set(get_args(get_args(Dataset)[0]))


def test_nothing_but_a_kind_tests_of_which_kind_data_are():
    names = "|".join(kind.__name__ for kind in {AnyDataset, BrainImages, *DATASETS.values(), *MEEG_DATASETS.values()})
    modules = (Path(__file__).parents[1] / "rsa").rglob("*.py")
    search = re.compile(rf"(isinstance|issubclass)\(.*\b({names})\b")
    assert search.search("if isinstance(study.brain, Rdms):")
    found = [path for path in modules if search.search(path.read_text(encoding="utf-8"))]
    assert not found


def test_kind_decides_which_settings_are_read():
    adapter = TypeAdapter(Dataset)
    assert (
        type(adapter.validate_python({"kind": "rdms", "subjects": ["1"], "file": "a.npy", "regions": ["IT"]})) is Rdms
    )
    maps = adapter.validate_python({"kind": "maps", "subjects": ["1"], "images": "a_{condition}.nii"})
    assert type(maps) is Maps
    with pytest.raises(ValidationError, match="'maps', 'spm', 'feat', 'glmsingle', 'rdms'"):
        adapter.validate_python({"kind": "map", "subjects": ["1"]})


def test_relative_paths_start_at_data_root():
    context = {"data_root": "/study"}
    maps = Maps.model_validate({"subjects": ["1"], "images": "b_{condition}.nii", "mask": "/m.nii"}, context=context)
    assert (maps.images, maps.mask) == ("/study/b_{condition}.nii", "/m.nii")
    ready = Rdms.model_validate({"subjects": ["1"], "file": "r.npz", "regions": ["IT"]}, context=context)
    assert (ready.file, ready.condition_order) == ("/study/r.npz", "stimuli")


# ------------------------------------------------------------------------------------- settings of maps

GOOD = {"subjects": ["01"], "images": "sub-{subject}_{condition}.nii"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subjects": []}, "at least 1 item"),
        ({"subjects": ["01", "02", "01"]}, "'01' given more than once"),
        ({"subjects": ["sub-01"]}, "only letters and digits"),
        ({"exclude": [7]}, "Input should be a valid string"),
        ({"images": "{subject}_{echo}_{condition}.nii"}, "unknown placeholder 'echo'"),
        ({"images": "{subject}_{session}_{condition}.nii"}, "sessions and {session} in images belong together"),
        ({"sessions": ["1"]}, "sessions and {session} in images belong together"),
        (
            {"sessions": ["1"], "images": "{subject}_{session}.nii", "table": "t.tsv"},
            "images has {session} and table has not, so runs of two sessions are one",
        ),
        ({"images": "{subject}.nii", "table": "{session}.tsv"}, "table has {session}, so give the sessions"),
        ({"pool_runs": True}, "pool_runs takes the runs of a session as one: give sessions and runs"),
        ({"residuals": "r.nii"}, "residuals and residual_degrees_of_freedom belong together"),
        ({"residual_degrees_of_freedom": 90}, "residuals and residual_degrees_of_freedom belong together"),
        ({"residuals": "{condition}.nii", "residual_degrees_of_freedom": 9}, "unknown placeholder 'condition'"),
        (
            {
                "runs": ["1"],
                "images": "{run}_{condition}.nii",
                "residuals": "r.nii",
                "residual_degrees_of_freedom": 9,
            },
            "residuals has no placeholder 'run', which images has",
        ),
        ({"condition_pattern": "a"}, "'a' has 0 groups; put one pair of parentheses around what is the condition"),
        ({"condition_pattern": "(a"}, "'(a' is no regular expression"),
        ({"mask": "{subject}_{run}.nii"}, "unknown placeholder 'run'"),
        ({"images": "{subject}.nii"}, "images without it need one"),
        ({"table": "t.tsv"}, "images with {condition} in their names need no table"),
        ({"images": "{subject}_{run}_{condition}.nii"}, "has {run}, so give the runs"),
        ({"images": "{subject}.nii", "table": "{run}.tsv"}, "has {run}, so give the runs"),
        ({"runs": ["1"]}, "images has no {run}"),
        ({"runs": ["1"], "images": "{subject}.nii", "table": "{run}.tsv"}, "images has no {run}"),
        ({"runs": ["1", "1"], "images": "{subject}_{run}_{condition}.nii"}, "'1' given more than once"),
        ({"subjects": ["1", "2"], "images": "all_{condition}.nii"}, "images has no {subject}"),
        ({"space": "T1 w"}, "only letters and digits"),
        ({"smoothing": 3}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused(change, message):
    assert Maps(**GOOD).space == "individual"
    with pytest.raises(ValidationError) as raised:
        Maps(**{**GOOD, **change})
    assert message in str(raised.value)


def test_an_unquoted_subject_in_yaml_is_no_text():
    section = yaml.safe_load("subjects: [01, 02]\nimages: b_{subject}_{condition}.nii")
    with pytest.raises(ValidationError, match="Input should be a valid string"):
        Maps(**section)
    assert Maps(**yaml.safe_load("subjects: ['01']\nimages: b_{condition}.nii")).subjects == ("01",)


# -------------------------------------------------------------------------------------- reading of maps


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_volumes_that_tables_describe(study, suffix, tmp_path):
    section, arrays = study
    if suffix == ".nii.gz":
        for (subject, run), values in arrays.items():
            write_image(tmp_path / f"sub-{subject}" / f"run-{run}.nii.gz", values)
        section["images"] += ".gz"
    maps = Maps(**section)
    assert maps.problems(CONDITIONS[::-1]) == []
    patterns = maps.load("02", CONDITIONS[::-1])
    expected = np.concatenate([arrays["02", run].reshape(-1, 3).T for run in ("1", "2")])
    np.testing.assert_array_equal(patterns.values, expected)
    assert patterns.values.dtype == np.float32
    assert list(patterns.table["condition"]) == CONDITIONS * 2, "the order of the files, not of the stimuli"
    assert list(patterns.table["run"]) == ["1"] * 3 + ["2"] * 3
    assert list(patterns.table) == ["condition", "run"]
    assert (patterns.volume.sform_code, patterns.volume.qform_code) == (2, 1)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("is_4d", [False, True])
def test_one_file_per_condition(tmp_path, rng, suffix, is_4d):
    values = rng.normal(size=(3, *SHAPE)).astype(np.float32)
    for name, image in zip(CONDITIONS, values, strict=True):
        write_image(tmp_path / f"sub-1_{name}.{suffix}", image[..., None] if is_4d else image)
    maps = Maps(subjects=["1"], images=str(tmp_path / f"sub-{{subject}}_{{condition}}.{suffix}"))
    assert maps.conditions("1") == CONDITIONS
    assert maps.problems(CONDITIONS[::-1]) == []
    patterns = maps.load("1", CONDITIONS[::-1])
    assert patterns.conditions == CONDITIONS[::-1]
    assert list(patterns.table) == ["condition"]
    np.testing.assert_array_equal(patterns.values, values[::-1].reshape(3, -1))
    assert maps.load("1").conditions == CONDITIONS


def test_one_file_per_run_and_condition(tmp_path, rng):
    values = rng.normal(size=(2, 3, *SHAPE)).astype(np.float32)
    for run in range(2):
        for i, name in enumerate(CONDITIONS):
            write_image(tmp_path / "[1]" / f"run-{run}" / name / f"{name}_run-{run}.nii", values[run, i])
    write_image(tmp_path / "[1]" / "run-0" / "img1" / "other_run-0.nii", values[0, 0])
    template = str(tmp_path / "[1]" / "run-{run}" / "{condition}" / "{condition}_run-{run}.nii")
    maps = Maps(subjects=["1"], runs=["1", "0"], images=template)
    assert maps.conditions("1") == CONDITIONS, "brackets in a folder are no wildcards; both names must be the same"
    patterns = maps.load("1")
    assert patterns.table.values.tolist() == [[name, run] for run in "10" for name in CONDITIONS]
    np.testing.assert_array_equal(patterns.values, values[::-1].reshape(6, -1))


def test_scaled_integers(tmp_path, rng):
    raw = rng.integers(-30000, 30000, size=(*SHAPE, 3)).astype(np.int16)
    image = nib.Nifti1Image(raw, AXIS_ALIGNED)
    image.header.set_slope_inter(0.005, 2.0)
    with (tmp_path / "b.nii").open("wb") as file:  # written by hand: nibabel would choose a scale of its own
        header = image.header.copy()
        header["vox_offset"] = 352
        file.write(header.binaryblock + bytes(4) + raw.tobytes(order="F"))
    write_table(tmp_path / "t.tsv", condition=CONDITIONS)
    patterns = Maps(subjects=["1"], images=str(tmp_path / "b.nii"), table=str(tmp_path / "t.tsv")).load("1")
    np.testing.assert_allclose(patterns.values, (raw * 0.005 + 2).reshape(-1, 3).T, rtol=1e-5, atol=1e-5)


def test_runs_in_a_column_of_the_table(tmp_path, rng):
    values = rng.normal(size=(*SHAPE, 5))
    write_image(tmp_path / "b.nii", values)
    columns = {"session": ["01", "01", "02", "02", "02"], "name": ["a", "rest", "rest", "a", "b"]}
    write_table(tmp_path / "t.tsv", **columns)
    maps = Maps(
        subjects=["1"],
        images=str(tmp_path / "b.nii"),
        table=str(tmp_path / "t.tsv"),
        condition_column="name",
        run_column="session",
        exclude=["rest"],
    )
    assert maps.conditions("1") == ["a", "b"]
    assert maps.problems(["b", "a"]) == []
    patterns = maps.load("1", ["b", "a"])
    assert patterns.table.to_dict("list") == {"condition": ["a", "a", "b"], "run": ["01", "02", "02"]}
    np.testing.assert_array_equal(patterns.values, values[..., [0, 3, 4]].reshape(-1, 3).T.astype(np.float32))


def test_one_table_for_the_images_of_all_runs(study, tmp_path):
    section, arrays = study
    labels = ["img2", "img1", "img10", *CONDITIONS]
    table = write_table(tmp_path / "all.tsv", run=["2"] * 3 + ["1"] * 3, condition=labels)
    patterns = Maps(**{**section, "table": str(table)}).load("01")
    assert list(patterns.table["condition"]) == [*CONDITIONS, "img2", "img1", "img10"]
    np.testing.assert_array_equal(patterns.values[3:], arrays["01", "2"].reshape(-1, 3).T)
    write_table(tmp_path / "all.tsv", run=["1"] * 3, condition=CONDITIONS)
    problem = "all.tsv has no rows of run '2'; its runs are '1'."
    assert [text.endswith(problem) for text in Maps(**{**section, "table": str(table)}).problems()] == [True]


def test_a_table_of_the_same_age_that_took_the_place_of_another_is_read(study, tmp_path):
    section, _ = study
    table, other = tmp_path / "all.tsv", tmp_path / "other.tsv"
    for path, labels in ((table, CONDITIONS), (other, CONDITIONS[::-1])):
        write_table(path, run=["1"] * 3 + ["2"] * 3, condition=[*labels, *CONDITIONS])
        os.utime(path, (1, 1))
    maps = Maps(**{**section, "table": str(table)})
    assert list(maps.load("01").table["condition"]) == [*CONDITIONS, *CONDITIONS]
    other.replace(table)
    assert list(maps.load("01").table["condition"]) == [*CONDITIONS[::-1], *CONDITIONS]


def test_a_condition_that_only_some_runs_have_is_read_and_told(study, tmp_path, caplog):
    section, arrays = study
    write_image(tmp_path / "sub-01" / "run-2.nii", arrays["01", "2"][..., :2])
    write_table(tmp_path / "sub-01" / "run-2.tsv", condition=CONDITIONS[:2])
    maps = Maps(**section)
    assert maps.problems(CONDITIONS) == []
    with caplog.at_level(logging.WARNING):
        assert len(maps.load("01", CONDITIONS).values) == 5
    assert caplog.messages == ["subject '01': not every run has each of the 3 conditions; run '2' has 2"]


def test_files_are_those_that_are_read(study, tmp_path):
    section, _ = study
    mask = write_image(tmp_path / "mask_01.nii", np.ones(SHAPE))
    maps = Maps(**section, mask=str(tmp_path / "mask_{subject}.nii"))
    folder = tmp_path / "sub-01"
    names = ["run-1.nii", "run-2.nii", "run-1.tsv", "run-2.tsv"]
    assert maps.files("01", CONDITIONS) == [*(folder / name for name in names), mask]
    by_name = Maps(subjects=["1"], images="b_{condition}.nii")
    assert by_name.files("1", ["x", "y"]) == [Path("b_x.nii"), Path("b_y.nii")]


# ------------------------------------------------------------------------------------------------ masks


def test_mask_is_what_is_above_zero(study, tmp_path):
    section, arrays = study
    mask = np.zeros(SHAPE)
    mask[0], mask[1], mask[2, 0, 0], mask[3] = 1, 0.4, -1, np.nan
    write_image(tmp_path / "mask.nii", mask[..., None], codes=(4, 3))
    maps = Maps(**section, mask=str(tmp_path / "mask.nii"))
    assert maps.problems() == []
    patterns = maps.load("01")
    inside = np.isin(np.arange(24).reshape(SHAPE), np.arange(12))
    np.testing.assert_array_equal(patterns.volume.mask, inside)
    np.testing.assert_array_equal(patterns.values[:3], arrays["01", "1"][inside].T)
    assert (patterns.volume.sform_code, patterns.volume.qform_code) == (2, 1), "the codes of the images"


@pytest.mark.parametrize(
    ("values", "is_told"), [((0, 0.01, 0.9), True), ((0, 1, 2), True), ((0, 1, 1), False), ((-1, 0.5, np.nan), False)]
)
def test_masks_that_may_be_probabilities_or_numbers_of_regions_are_told(study, tmp_path, caplog, values, is_told):
    section, _ = study
    mask = np.full(SHAPE, values[0], dtype=float)
    mask[1], mask[2] = values[1:]
    write_image(tmp_path / "mask.nii", mask)
    volume = Maps(**section, mask=str(tmp_path / "mask.nii")).volume("01")
    np.testing.assert_array_equal(volume.mask, mask > 0)
    assert ("2 different values above 0" in caplog.text) == is_told


def test_mask_is_computed_where_none_is_given(study, tmp_path):
    section, arrays = study
    changed = arrays["01", "2"].copy()
    changed[0, 0, 0, 1] = np.nan
    changed[1, 1, 1] = 5  # the same in all images of run 2, though not over both runs
    changed[2, 0, 0, 2] = np.inf
    changed[3, 2, 1] = 0
    write_image(tmp_path / "sub-01" / "run-2.nii", changed)
    maps = Maps(**section)
    outside = np.argwhere(~maps.volume("01").mask).tolist()
    assert outside == [[0, 0, 0], [1, 1, 1], [2, 0, 0], [3, 2, 1]]
    assert maps.volume("02").n_voxels == 24
    assert maps.load("01").usable.all()


def test_runs_of_one_image_each_have_a_mask(tmp_path, rng):
    values = rng.normal(size=(3, *SHAPE)).astype(np.float32)
    values[:, 0, 0, 0] = 4  # the same in all runs
    for run, image in enumerate(values):
        write_image(tmp_path / f"{run}.nii", image)
        write_table(tmp_path / f"{run}.tsv", condition=[f"c{run}"])
    template = str(tmp_path / "{run}")
    maps = Maps(subjects=["1"], runs=["0", "1", "2"], images=template + ".nii", table=template + ".tsv")
    assert np.argwhere(~maps.load("1").volume.mask).tolist() == [[0, 0, 0]]


def test_computed_mask_ignores_what_is_excluded(study, tmp_path):
    section, arrays = study
    values = arrays["01", "1"].copy()
    values[0, 0, 0] = [7, 7, 1]
    write_image(tmp_path / "sub-01" / "run-1.nii", values)
    assert Maps(**section).volume("01").mask[0, 0, 0]
    assert not Maps(**section, exclude=["img2"]).volume("01").mask[0, 0, 0]


def test_varying_voxels_do_not_depend_on_how_a_run_is_split_over_files():
    first = np.array([[1, 2, 3, 4], [5, 5, 5, 5], [1, np.nan, 3, 4], [7, 7, 7, 8]], dtype=np.float32)[:, None, None]
    second = np.array([[9], [6], [9], [8]], dtype=np.float32)[:, None, None]  # a run of one image
    expected = [True, False, False, True]
    whole = varying_voxels([("1", first), ("2", second)])
    parts = varying_voxels([("1", first[..., 2:]), ("2", second), ("1", first[..., :2])])
    assert whole[:, 0, 0].tolist() == expected
    np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize(("n_empty", "guess"), [(5, ""), (13, "; the mask probably does not belong to the images")])
def test_voxels_without_data_are_counted(study, tmp_path, caplog, n_empty, guess):
    section, arrays = study
    for run in ("1", "2"):
        values = arrays["01", run].copy()
        values.reshape(24, 3)[:n_empty] = 0
        values.reshape(24, 3)[0, 0] = np.nan
        write_image(tmp_path / "sub-01" / f"run-{run}.nii", values)
    write_image(tmp_path / "mask.nii", np.ones(SHAPE))
    with caplog.at_level(logging.WARNING):
        patterns = Maps(**section, mask=str(tmp_path / "mask.nii")).load("01")
    assert np.flatnonzero(~patterns.usable).tolist() == list(range(n_empty))
    reason = "voxels of the mask have no data (NaN in a row, or the same in all rows)"
    assert caplog.messages == [f"subject '01': {n_empty} of 24 {reason}{guess}"]


def moved_view(study, tmp_path, **settings):
    """Let the second run of a subject have no data (0, as FSL and SPM write it) in 8 of 24 voxels."""
    section, arrays = study
    values = arrays["01", "2"].copy()
    values[:, 0] = 0
    write_image(tmp_path / "sub-01" / "run-2.nii", values)
    write_image(tmp_path / "mask.nii", np.ones(SHAPE))
    return Maps(**{**section, "subjects": ["01"], "mask": str(tmp_path / "mask.nii"), **settings})


def test_what_a_run_did_not_measure_is_not_usable_with_a_mask_and_without(study, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        patterns = moved_view(study, tmp_path).load("01")
    np.testing.assert_array_equal(patterns.volume.unmask(patterns.usable)[..., 0], [[0, 1, 1]] * 4)
    assert np.count_nonzero(~patterns.usable) == 8
    (told,) = caplog.messages
    assert told.startswith("subject '01': 8 of 24 voxels of the mask have no data")
    assert told.endswith("; 8 of them are the same in all rows of some run only")
    without = moved_view(study, tmp_path, mask=None).load("01")
    np.testing.assert_array_equal(without.values, patterns.values[:, patterns.usable])


def test_crossnobis_is_not_halved_where_half_of_the_runs_have_no_data(study, tmp_path, rng):
    truth = rng.normal(size=(*SHAPE, 3))
    section, _ = study
    for run in "1234":
        values = truth + rng.normal(scale=0.1, size=truth.shape)
        values[:, 0] *= run in "12"
        write_image(tmp_path / "sub-01" / f"run-{run}.nii", values)
        write_table(tmp_path / "sub-01" / f"run-{run}.tsv", condition=CONDITIONS)
    write_image(tmp_path / "mask.nii", np.ones(SHAPE))
    patterns = Maps(**{**section, "subjects": ["01"], "runs": list("1234"), "mask": str(tmp_path / "mask.nii")}).load(
        "01"
    )
    around = from_masks(patterns.volume, {"all": np.ones(24, dtype=bool)})
    spheres = prepare_spheres(patterns, around, RdmSettings("crossnobis"))
    assert spheres.sizes.tolist() == [16]
    flat = truth[:, 1:].reshape(-1, 3).T
    expected = [((flat[i] - flat[j]) ** 2).mean() for i, j in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(spheres.rdms(range(1))[0], expected, rtol=0.15)


def test_pooled_runs_have_to_have_data_each(tmp_path, rng):
    """Conditions come once a session, so that a run without data is a part of what is taken as one run."""
    for run, condition in (("1", ["a", "b"]), ("2", ["c", "d"])):
        values = rng.normal(size=(*SHAPE, 2))
        if run == "2":
            values[0] = 0
        write_image(tmp_path / f"ses-1_run-{run}.nii", values)
        write_table(tmp_path / f"ses-1_run-{run}.tsv", condition=condition)
    write_image(tmp_path / "mask.nii", np.ones(SHAPE))
    section = {"subjects": ["1"], "sessions": ["1"], "runs": ["1", "2"], "pool_runs": True}
    paths = {
        "images": str(tmp_path / "ses-{session}_run-{run}.nii"),
        "table": str(tmp_path / "ses-{session}_run-{run}.tsv"),
    }
    patterns = Maps(**section, **paths, mask=str(tmp_path / "mask.nii")).load("1")
    assert np.count_nonzero(~patterns.usable) == 6
    assert Maps(**section, **paths).load("1").n_features == 18


def test_a_run_of_zeros_is_refused_and_an_image_of_zeros_is_told(study, tmp_path, caplog):
    section, arrays = study
    write_image(tmp_path / "mask.nii", np.ones(SHAPE))
    write_image(tmp_path / "sub-01" / "run-2.nii", np.zeros((*SHAPE, 3)))
    with pytest.raises(UserError, match="Run '2' has no data: each voxel is the same in all of its 3 images"):
        Maps(**section).load("01")
    with pytest.raises(UserError, match="Run '2' has no data: all of its images are 0"):
        Maps(**section, mask=str(tmp_path / "mask.nii")).load("01")
    write_image(tmp_path / "sub-01" / "run-2.nii", np.full((*SHAPE, 3), 5))
    with pytest.raises(UserError, match="Run '2' has no data"):
        Maps(**section, mask=str(tmp_path / "mask.nii")).load("01")
    values = arrays["01", "2"].copy()
    values[..., 1] = 0  # such as the estimate of a condition that was not shown
    write_image(tmp_path / "sub-01" / "run-2.nii", values)
    with caplog.at_level(logging.WARNING):
        Maps(**section).load("01")
    (told,) = caplog.messages
    assert "1 of 6 images are 0 in all voxels of the mask (the first: condition 'img10' run '2')" in told


# ------------------------------------------------------------------------------------------------ grids


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_any_affine_is_kept_and_rounding_is_no_mismatch(study, tmp_path, affine):
    section, arrays = study
    for run, noise_mm in (("1", 0), ("2", 2e-5)):
        nib.save(nib.Nifti1Image(arrays["01", run], affine + noise_mm * np.eye(4)[:, [3, 1, 2, 0]]), tmp_path / "x.nii")
        (tmp_path / "x.nii").rename(tmp_path / "sub-01" / f"run-{run}.nii")
    maps = Maps(**{**section, "subjects": ["01"]})
    assert maps.problems(CONDITIONS) == []
    grid = maps.grid("01")
    assert grid.shape == SHAPE
    np.testing.assert_allclose(grid.affine, affine, atol=1e-5)
    np.testing.assert_array_equal(maps.load("01").volume.affine, grid.affine)


@quick
@given(
    name=st.sampled_from(sorted(AFFINES)),
    axis=st.integers(0, 2),
    shift_mm=st.floats(2e-3, 50) | st.floats(-50, -2e-3),
)
def test_a_shifted_run_is_refused_whatever_the_affine(tmp_path_factory, name, axis, shift_mm):
    folder = tmp_path_factory.mktemp("shifted")
    affine, shifted = AFFINES[name], AFFINES[name].copy()
    shifted[axis, 3] += shift_mm
    for run, where in (("1", affine), ("2", shifted)):
        nib.save(nib.Nifti1Image(np.ones((*SHAPE, 1), dtype=np.float32), where), folder / f"{run}.nii")
    write_table(folder / "t.tsv", condition=["a"])
    maps = Maps(subjects=["1"], runs=["1", "2"], images=str(folder / "{run}.nii"), table=str(folder / "t.tsv"))
    (problem,) = maps.problems()
    assert "lie on different grids" in problem


def test_grids_that_differ_are_both_printed(study, tmp_path):
    section, arrays = study
    moved = AXIS_ALIGNED.copy()
    moved[0, 3] = 0.5
    write_image(tmp_path / "sub-01" / "run-2.nii", arrays["01", "2"], moved)
    write_image(tmp_path / "mask.nii", np.ones((5, 3, 2)))
    problems = Maps(**section, mask=str(tmp_path / "mask.nii")).problems()
    assert len(problems) == 2, "run 2 of one subject, and the mask once for both"
    assert "/sub-01/run-2.nii and the image" in problems[0]
    assert "[[2.0, 0.0, 0.0, 0.5]" in problems[0]
    assert "against shape (4, 3, 2) with affine [[2.0, 0.0, 0.0, 0.0]" in problems[0]
    assert problems[1].startswith("subjects '01', '02': The mask ")
    assert "shape (5, 3, 2)" in problems[1]
    with pytest.raises(UserError, match=r"run-2\.nii .* lie on different grids.*\(1 more problems\)"):
        Maps(**section, mask=str(tmp_path / "mask.nii")).load("01")


# --------------------------------------------------------------------------------------------- problems


def test_every_problem_is_listed(study, tmp_path):
    section, arrays = study
    (tmp_path / "sub-02" / "run-1.nii").unlink()
    write_table(tmp_path / "sub-02" / "run-2.tsv", label=CONDITIONS)
    write_image(tmp_path / "sub-01" / "run-1.nii", arrays["01", "1"][..., :2])
    write_table(tmp_path / "sub-01" / "run-2.tsv", condition=["img1", "img1", "rest"])
    maps = Maps(**section, exclude=["pause"])
    problems = [text.replace(str(tmp_path), "") for text in maps.problems([*CONDITIONS, "img3"])]
    assert problems == [
        "subject '01': The image /sub-01/run-1.nii has 2 volumes and its table /sub-01/run-1.tsv has 3 rows for run "
        "'1'; row i has to describe volume i.",
        "subject '01': /sub-01/run-2.tsv has 'img1' twice in a run; average them (`repeats: mean`), or "
        "tell them apart by runs.",
        "subject '01': the stimulus table and the maps share 3 of 5 conditions; missing in the maps: 'img3'; missing "
        "in the stimulus table: 'rest'. Give both the same labels. Conditions without a stimulus are in run '2'. Those "
        "that belong to no stimulus go into `exclude`.",
        "subject '02': 1 of 4 files do not exist: '/sub-02/run-1.nii'.",
        "subject '02': /sub-02/run-2.tsv has no column 'condition'; its columns are 'label'.",
    ]


def test_an_excluded_condition_that_never_occurs_is_an_error(study, tmp_path):
    section, _ = study
    write_table(tmp_path / "sub-02" / "run-2.tsv", condition=["img1", "img2", "rest"])
    assert Maps(**section, exclude=["rest"]).problems() == [], "one run of one subject has it"
    (problem,) = Maps(**section, exclude=["rest", "Rest"]).problems()
    assert problem == "exclude names 'Rest', which no subject has; there are 'img1', 'img10', 'img2', 'rest'."
    all_of_them = Maps(**section, exclude=[*CONDITIONS, "rest"])
    with pytest.raises(UserError, match="No image is left, since `exclude` names every condition"):
        all_of_them.load("01")


def test_one_sentence_for_twenty_subjects(tmp_path):
    subjects = [f"{i:02}" for i in range(1, 21)]
    template = str(tmp_path / "sub-{subject}_run-{run}.nii")
    table = write_table(tmp_path / "t.tsv", condition=CONDITIONS)
    maps = Maps(subjects=subjects, runs=["1", "2"], images=template, table=str(table))
    (problem,) = maps.problems(CONDITIONS)
    assert problem.startswith(
        "subjects '01', '02', '03', '04', '05', '06', '07', '08' and 12 more: 2 of 3 files do not"
    )
    assert "sub-{subject}_run-1.nii" in problem


def test_conditions_in_file_names_are_compared_as_well(tmp_path, rng):
    for name in ("img1", "img2", "extra"):
        write_image(tmp_path / f"{name}.nii", rng.normal(size=SHAPE))
    write_image(tmp_path / "img3.nii", rng.normal(size=(*SHAPE, 2)))
    write_image(tmp_path / "mask.nii", np.ones(SHAPE))
    section = {"subjects": ["1"], "images": str(tmp_path / "{condition}.nii"), "mask": str(tmp_path / "mask.nii")}
    problems = Maps(**section).problems(["img1", "img2", "img3", "img4"])
    assert "1 of 5 files do not exist" in problems[0]
    assert "img3.nii of one condition has 2 volumes; use a 4-D image with a table" in problems[1]
    assert "missing in the stimulus table: 'extra'" in problems[2]
    assert "go into `exclude`" in problems[2]
    assert len(problems) == 3
    maps = Maps(**section, exclude=["extra", "img3"])
    assert maps.problems(["img2", "img1"]) == []
    assert maps.load("1").conditions == ["img1", "img2"]


def test_no_file_for_any_condition(tmp_path):
    template = str(tmp_path / "sub-{subject}_{run}_{condition}.nii")
    maps = Maps(subjects=["01", "02"], runs=["1"], images=template)
    expected = template.replace("{run}", "1")
    assert maps.problems() == [
        f"subjects '01', '02': There is no file {expected}, whatever the {{condition}}; see `images`."
    ]
    with pytest.raises(UserError, match=r"There is no file .*sub-01_1_\{condition\}\.nii"):
        maps.conditions("01")


def test_damaged_files_are_named(study, tmp_path):
    section, _ = study
    image = tmp_path / "sub-01" / "run-1.nii"
    image.write_bytes(image.read_bytes()[:-40])
    maps = Maps(**section)
    assert maps.problems(CONDITIONS) == [], "only headers are read, and this one is whole"
    with pytest.raises(UserError, match=r"run-1\.nii is damaged, its data cannot be read"):
        maps.load("01")
    image.write_bytes(b"not an image")
    (problem,) = maps.problems(CONDITIONS)
    assert "run-1.nii is not a readable NIfTI image" in problem


def test_an_image_without_its_header_is_told(tmp_path, rng):
    nib.save(nib.Nifti1Pair(rng.normal(size=SHAPE), np.eye(4)), tmp_path / "b.img")
    (tmp_path / "b.hdr").unlink()
    with pytest.raises(
        UserError, match=r"b\.img is not a readable NIfTI image: .* Its header .*b\.hdr is not there\.$"
    ):
        opened(tmp_path / "b.img")


def test_an_empty_image_is_to_be_copied_again(study, tmp_path):
    (tmp_path / "b.nii.gz").touch()
    with pytest.raises(UserError, match=r"b\.nii\.gz is not a readable NIfTI image: .* Copy or make it again\.$"):
        opened(tmp_path / "b.nii.gz")


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_half_a_compressed_file_is_damaged(tmp_path, rng, keep):
    path = write_image(tmp_path / "b.nii.gz", rng.normal(size=(20, 20, 10, 3)))
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    write_table(tmp_path / "t.tsv", condition=CONDITIONS)
    with pytest.raises(UserError, match=r"b\.nii\.gz is damaged"):
        Maps(subjects=["1"], images=str(path), table=str(tmp_path / "t.tsv")).load("1")


def flipped_bits(packed: bytes, unpack, rng: np.random.Generator, n: int):
    """Yield copies of a compressed file of which one bit is another, and which the program for such files refuses."""
    for bit in rng.permutation(8 * len(packed)):
        damaged = bytearray(packed)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            unpack(bytes(damaged))
        except (OSError, EOFError, ValueError, zlib.error):
            yield bytes(damaged)
            n -= 1
        if n == 0:
            return


@pytest.mark.parametrize(("suffix", "unpack"), [(".nii.gz", gzip.decompress), (".nii.bz2", bz2.decompress)])
def test_one_bit_that_fell_over_is_found_in_images_and_masks(tmp_path, suffix, unpack, rng):
    """Numbers change without a sign in most cases if the checksum is not looked at, which is behind the last number."""
    write_image(tmp_path / "images.nii", rng.normal(size=(*SHAPE, 3)))
    write_image(tmp_path / "mask.nii", np.ones(SHAPE))
    write_table(tmp_path / "t.tsv", condition=CONDITIONS)
    maps = Maps(
        subjects=["1"],
        images=str(tmp_path / f"b{suffix}"),
        table=str(tmp_path / "t.tsv"),
        mask=str(tmp_path / f"m{suffix}"),
    )
    packed = {}
    for name, path in (("images", f"b{suffix}"), ("mask", f"m{suffix}")):
        nib.save(nib.load(tmp_path / f"{name}.nii"), tmp_path / path)
        packed[path] = (tmp_path / path).read_bytes()
    assert maps.load("1").volume.n_voxels == 24
    for path, whole in packed.items():
        for damaged in flipped_bits(whole, unpack, rng, 60):
            rewritten(tmp_path / path, damaged)
            with pytest.raises(UserError, match=rf"{path} (is damaged|is not a readable NIfTI image)"):
                maps.load("1")
            with pytest.raises(UserError, match=f"{path} is damaged, its data cannot be read to their end"):
                content_hash(tmp_path / path)
        rewritten(tmp_path / path, whole)
    assert maps.load("1").volume.n_voxels == 24


def test_a_damaged_half_of_a_pair_is_found(tmp_path, rng):
    image = nib.Nifti1Pair(rng.normal(size=(*SHAPE, 3)).astype(np.float32), AXIS_ALIGNED)
    nib.save(image, tmp_path / "b.img.gz")
    write_table(tmp_path / "t.tsv", condition=CONDITIONS)
    maps = Maps(subjects=["1"], images=str(tmp_path / "b.img.gz"), table=str(tmp_path / "t.tsv"))
    maps.load("1")
    for name in ("b.img.gz", "b.hdr.gz"):
        whole = (tmp_path / name).read_bytes()
        rewritten(tmp_path / name, whole[:-6] + bytes([whole[-6] ^ 4]) + whole[-5:])
        with pytest.raises(UserError, match=r"b\.(img|hdr)\.gz is (damaged|not a readable NIfTI image)"):
            maps.load("1")
        rewritten(tmp_path / name, whole)


def test_a_header_of_many_times_its_file_costs_no_memory(tmp_path):
    for name, shape in (
        ("a.nii", (1800, 1800, 1800)),
        ("a.nii.gz", (1800, 1800, 1800)),
        ("b.nii.gz", (6, 6, 6, 30000)),
    ):
        header = nib.Nifti1Header()
        header.set_data_shape(shape)
        header.set_data_dtype(np.float32)
        header.set_data_offset(352)
        header.set_sform(AXIS_ALIGNED, code=1)
        with nib.openers.Opener(tmp_path / name, "wb") as file:
            file.write(header.binaryblock + bytes(4 + 864))
        with pytest.raises(UserError, match=f"{name} is damaged, its data cannot be read: .* MB of shape"):
            opened(tmp_path / name)
    tracemalloc.start()
    whole_grid(SimpleNamespace(shape=(1800, 1800, 1800), affine=AXIS_ALIGNED, header=header))
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def problem_of(path) -> str:
    try:
        opened(path)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_damaged_beginnings_are_told_in_one_line(tmp_path, suffix, rng):
    """No byte of a header can be lost so that a library's error comes through."""
    path = write_image(tmp_path / f"b{suffix}", rng.normal(size=(*SHAPE, 3)))
    whole = path.read_bytes()
    n_refused = 0
    for place in range(min(len(whole), 348)):
        for value in (0, whole[place] ^ 0x40):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            text = problem_of(path)
            assert "\n" not in text
            n_refused += bool(text)
    assert n_refused > 20


# ------------------------------------------------------------------------------- other kinds of numbers


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((*SHAPE, 3), np.complex64), "holds complex numbers, where one real number per voxel is expected"),
        (np.ones((*SHAPE, 3), np.complex128), "holds complex numbers"),
        (np.ones((*SHAPE, 3), RGB), "holds colours or other records"),
        (np.ones((*SHAPE, 3), np.dtype([*RGB.descr, ("A", "u1")])), "holds colours or other records"),
    ],
)
def test_images_and_masks_hold_one_real_number_per_voxel(tmp_path, rng, values, message):
    nib.save(nib.Nifti1Image(values, AXIS_ALIGNED), tmp_path / "odd.nii.gz")
    nib.save(nib.Nifti1Image(values[..., 0], AXIS_ALIGNED), tmp_path / "oddmask.nii.gz")
    section = one_file(tmp_path, rng.normal(size=(*SHAPE, 3)), condition=CONDITIONS)
    assert Maps(**section).problems() == []
    for change in ({"images": str(tmp_path / "odd.nii.gz")}, {"mask": str(tmp_path / "oddmask.nii.gz")}):
        maps = Maps(**{**section, **change})
        assert [message in problem for problem in maps.problems()] == [True]
        with pytest.raises(UserError, match=message):
            maps.load("1")


def test_a_stack_of_masks_is_refused(tmp_path, rng):
    section = one_file(tmp_path, rng.normal(size=(*SHAPE, 3)), condition=CONDITIONS)
    write_image(tmp_path / "stack.nii", np.ones((*SHAPE, 2)))
    maps = Maps(**section, mask=str(tmp_path / "stack.nii"))
    (problem,) = maps.problems()
    assert "stack.nii has 2 volumes (shape (4, 3, 2, 2)), where one is expected" in problem
    with pytest.raises(UserError, match=r"stack.nii has 2 volumes"):
        maps.volume("1")
    write_image(tmp_path / "stack.nii", np.ones((*SHAPE, 1)))
    assert maps.problems() == []
    assert maps.load("1").volume.n_voxels == 24


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("axes", [(1, 3), (3, 1), (1, 1, 3)])
def test_axes_of_length_1_before_or_after_the_volumes_are_left_out(tmp_path, rng, suffix, axes):
    """As programs of AFNI write them: (x, y, z, 1, n)."""
    values = rng.normal(size=(*SHAPE, 3)).astype(np.float32)
    stored = nib.Nifti1Image((values * 100).astype(np.int16).reshape(*SHAPE, *axes), OBLIQUE)
    stored.header.set_slope_inter(0.01, 2)
    nib.save(stored, tmp_path / f"b{suffix}")
    nib.save(nib.Nifti1Image(np.ones((*SHAPE, 1, 1), np.uint8), OBLIQUE), tmp_path / f"m{suffix}")
    write_table(tmp_path / "t.tsv", condition=CONDITIONS)
    section = {"subjects": ["1"], "images": str(tmp_path / f"b{suffix}"), "table": str(tmp_path / "t.tsv")}
    maps = Maps(**section, mask=str(tmp_path / f"m{suffix}"))
    assert maps.problems(CONDITIONS) == []
    patterns = maps.load("1")
    np.testing.assert_allclose(patterns.volume.affine, OBLIQUE, atol=1e-5)
    expected = (values * 100).astype(np.int16) / 100 + 2
    np.testing.assert_allclose(patterns.values, expected.reshape(-1, 3).T, atol=1e-5)
    np.testing.assert_allclose(read_voxels(tmp_path / f"b{suffix}"), expected, atol=1e-5)
    nib.save(nib.Nifti1Image(np.ones((*SHAPE, 2, 3), np.uint8), OBLIQUE), tmp_path / f"b{suffix}")
    assert "of shape (4, 3, 2, 2, 3); give a NIfTI image of 3 or 4 dimensions" in maps.problems()[0]


# -------------------------------------------------------------------------- masks of other programs


def test_a_mask_with_the_grid_in_its_quaternions_is_taken(tmp_path, rng, caplog):
    """Single precision turns a grid that is nearly upside down by so much that its corners are 0.1 mm away."""
    turn = nib.quaternions.quat2mat(np.array([2e-4, 0.35, 0.93, 0.1]) / np.linalg.norm([2e-4, 0.35, 0.93, 0.1]))
    affine = nib.affines.from_matvec(2.2 * turn, [-93.3, -121.7, -55.1])
    shape = (96, 96, 40)
    images = nib.Nifti1Image(rng.normal(size=(*shape, 3)).astype(np.float32), None)
    images.set_sform(affine, code=1)
    nib.save(images, tmp_path / "b.nii")
    mask = nib.Nifti1Image(np.ones(shape, np.uint8), None)
    mask.set_qform(affine, code=1)
    nib.save(mask, tmp_path / "m.nii")
    write_table(tmp_path / "t.tsv", condition=CONDITIONS)
    maps = Maps(
        subjects=["1"],
        images=str(tmp_path / "b.nii"),
        table=str(tmp_path / "t.tsv"),
        mask=str(tmp_path / "m.nii"),
    )
    apart_mm = whole_grid(opened(tmp_path / "b.nii")).apart_mm(opened(tmp_path / "m.nii").affine)
    assert 0.08 < apart_mm < 0.09, "the case is one of those that single precision makes"
    with caplog.at_level(logging.WARNING):
        assert maps.problems() == []
    (told,) = caplog.messages
    assert f"m.nii lies up to {apart_mm:.2g} mm beside the image" in told
    np.testing.assert_array_equal(maps.volume("1").affine, opened(tmp_path / "b.nii").affine)


@pytest.mark.parametrize(("part", "is_taken"), [(0.03, True), (0.07, True), (0.1, False), (0.5, False), (1, False)])
def test_a_mask_may_lie_beside_its_images_by_a_few_per_cent_of_a_voxel(tmp_path, rng, part, is_taken):
    section = one_file(tmp_path, rng.normal(size=(*SHAPE, 3)), condition=CONDITIONS)
    moved = AXIS_ALIGNED.copy()
    moved[1, 3] += 2 * part
    write_image(tmp_path / "moved.nii", np.ones(SHAPE), moved)
    maps = Maps(**section, mask=str(tmp_path / "moved.nii"))
    assert (maps.problems() == []) == is_taken
    if is_taken:
        np.testing.assert_array_equal(maps.load("1").volume.affine, AXIS_ALIGNED)
    else:
        with pytest.raises(UserError, match="lie on different grids"):
            maps.volume("1")


def test_images_without_a_grid_of_voxels_are_refused(study, tmp_path):
    section, _ = study
    nib.save(nib.Nifti1Image(np.ones((*SHAPE, 3, 2), dtype=np.float32), np.eye(4)), tmp_path / "sub-01" / "run-1.nii")
    (problem,) = Maps(**section).problems()
    assert "is a Nifti1Image of shape (4, 3, 2, 3, 2); give a NIfTI image of 3 or 4 dimensions." in problem


# ------------------------------------------------------------------- delays, repeats, subsets, residuals


def one_file(folder: Path, values, **columns) -> dict:
    """Write one 4-D image with its table and return the settings."""
    write_image(folder / "b.nii", values)
    write_table(folder / "t.tsv", **columns)
    return {"subjects": ["1"], "images": str(folder / "b.nii"), "table": str(folder / "t.tsv")}


def test_delays_after_onset_are_read_as_seconds(tmp_path, rng):
    values = rng.normal(size=(*SHAPE, 6)).astype(np.float32)
    columns = {"condition": ["a", "b"] * 3, "delay_s": [0, 0, 2.5, 2.5, 5, 5]}
    section = one_file(tmp_path, values, **columns)
    patterns = Maps(**section).load("1", ["a", "b"])
    assert patterns.delays_s == [0.0, 2.5, 5.0]
    assert list(patterns.table) == ["condition", "delay_s"]
    np.testing.assert_array_equal(patterns.at_delay(2.5).values, values[..., 2:4].reshape(-1, 2).T)
    with pytest.raises(UserError, match="has 'a', 'b' twice in a run"):
        Maps(**section, delay_column=None).load("1")
    write_table(tmp_path / "t.tsv", condition=["a", "b"] * 3, lag=columns["delay_s"])
    assert Maps(**section, delay_column="lag").load("1").delays_s == [0.0, 2.5, 5.0]
    (problem,) = Maps(**section, delay_column="delay", repeats="mean").problems()
    assert "has no column 'delay'" in problem, "a column that is named has to be there: delays are not averaged over"
    write_table(tmp_path / "t.tsv", condition=["a", "b"] * 3, delay_s=["0", "0", "soon", "2", "5", "5"])
    (problem,) = Maps(**section).problems()
    assert "has 'soon' in column 'delay_s' on line 4; give delays in seconds." in problem


def test_a_run_column_that_is_named_has_to_be_there(tmp_path, rng):
    section = one_file(tmp_path, rng.normal(size=(*SHAPE, 4)), condition=["a", "b"] * 2, session=[1, 1, 2, 2])
    assert set(Maps(**section, run_column="session").load("1").table["run"]) == {"1", "2"}
    (problem,) = Maps(**section, run_column="sesion", repeats="mean").problems()
    assert "has no column 'sesion'; its columns are 'condition', 'session'." in problem


def test_repeats_in_a_run_are_averaged_in_double_precision(tmp_path):
    values = np.zeros((*SHAPE, 6))
    values[..., 0], values[..., 2], values[..., 3] = 2.0**24, 1, 1  # their sum is no number of single precision
    values[..., 1], values[..., 4], values[..., 5] = 3, 5, np.arange(24).reshape(SHAPE)
    section = one_file(tmp_path, values, condition=["a", "b", "a", "a", "b", "a"], run=[1] * 5 + [2])
    assert "has 'a', 'b' twice in a run; average them (`repeats: mean`)" in Maps(**section).problems()[0]
    write_image(tmp_path / "mask.nii", np.ones(SHAPE))
    patterns = Maps(**section, repeats="mean", mask=str(tmp_path / "mask.nii")).load("1", ["a", "b"])
    assert patterns.table.to_numpy().tolist() == [["a", "1"], ["b", "1"], ["a", "2"]]
    np.testing.assert_array_equal(patterns.values[0], np.float32((2.0**24 + 2) / 3))
    np.testing.assert_array_equal(patterns.values[1:], [np.full(24, 4), np.arange(24)])
    assert patterns.values.dtype == np.float32


def test_images_of_other_conditions_are_left_out_if_that_is_asked_for(study, caplog):
    section, arrays = study
    maps = Maps(**section, only_stimuli=True)
    assert maps.problems(["img2", "img1"]) == []
    with caplog.at_level(logging.INFO):
        patterns = maps.load("02", ["img2", "img1"])
    assert caplog.messages == ["subject '02': 4 of 6 images are read, those of the stimuli"]
    np.testing.assert_array_equal(patterns.values[2:], arrays["02", "2"][..., [0, 2]].reshape(-1, 2).T)
    (problem,) = maps.problems(["img2", "img3"])
    assert "missing in the maps: 'img3'" in problem
    assert len(maps.load("02").values) == 6, "without stimuli there is nothing to choose by"
    by_name = {"subjects": ["1"], "images": str(Path(section["images"]).parent.parent / "{condition}.nii")}
    for name in CONDITIONS:
        write_image(Path(by_name["images"].replace("{condition}", name)), arrays["01", "1"][..., 0])
    assert Maps(**by_name, only_stimuli=True).problems(["img2", "img1"]) == []
    assert "missing in the stimulus table: 'img10'" in Maps(**by_name).problems(["img2", "img1"])[0]


def test_a_computed_mask_looks_at_the_images_that_are_kept(study, tmp_path):
    section, arrays = study
    values = arrays["01", "1"].copy()
    values[0, 0, 0] = [7, 7, 1]
    write_image(tmp_path / "sub-01" / "run-1.nii", values)
    maps = Maps(**section, only_stimuli=True)
    assert maps.load("01").volume.mask[0, 0, 0]
    assert not maps.load("01", ["img1", "img10"]).volume.mask[0, 0, 0]


@pytest.mark.parametrize(
    ("labels", "found"),
    [(["1", "2"], [0, 1]), (["01", "1"], [0]), (["001", "2"], [0, 1])],
    ids=["a number", "text comes first", "other zeros"],
)
def test_a_run_with_zeros_is_the_number_in_the_table(tmp_path, rng, labels, found):
    values = rng.normal(size=(2, *SHAPE, 2)).astype(np.float32)
    write_image(tmp_path / "b_01.nii", values[0])
    write_image(tmp_path / "b_02.nii", values[1])
    write_table(tmp_path / "t.tsv", run=np.repeat(labels, 2), condition=["a", "b"] * 2)
    names = ["01", "02"]
    maps = Maps(subjects=["1"], runs=names, images=str(tmp_path / "b_{run}.nii"), table=str(tmp_path / "t.tsv"))
    if found == [0]:
        (problem,) = maps.problems()
        assert problem.endswith("t.tsv has no rows of run '02'; its runs are '01', '1'.")
        maps = Maps(**{**maps.model_dump(), "runs": ["01"]})
    patterns = maps.load("1")
    assert list(patterns.table["run"]) == [name for place in found for name in [names[place]] * 2]
    np.testing.assert_array_equal(patterns.values, np.concatenate([values[i].reshape(-1, 2).T for i in found]))


def test_residuals_of_all_runs_with_their_degrees_of_freedom(study, tmp_path, rng):
    section, _ = study
    noise = {run: rng.normal(size=(*SHAPE, n)).astype(np.float32) for run, n in (("1", 9), ("2", 12))}
    for run, values in noise.items():
        write_image(tmp_path / "sub-01" / f"res-{run}.nii.gz", values)
    template = str(tmp_path / "sub-{subject}" / "res-{run}.nii.gz")
    maps = Maps(**{**section, "subjects": ["01"]}, residuals=template, residual_degrees_of_freedom=6.5)
    patterns = maps.load("01", CONDITIONS, residuals=True)
    np.testing.assert_array_equal(
        patterns.residuals.values, np.concatenate([noise[run].reshape(24, -1).T for run in ("1", "2")])
    )
    assert patterns.residuals.degrees_of_freedom == 13
    assert maps.load("01").residuals is None
    files = maps.files("01", residuals=True)
    assert [path for path in files if path not in maps.files("01")] == [
        tmp_path / "sub-01" / "res-1.nii.gz",
        tmp_path / "sub-01" / "res-2.nii.gz",
    ]
    with pytest.raises(UserError, match=r"set brain\.residuals and brain\.residual_degrees_of_freedom"):
        Maps(**section).load("01", residuals=True)
    write_image(tmp_path / "sub-01" / "res-2.nii.gz", noise["2"], AXIS_ALIGNED + 0.5 * np.eye(4)[:, [3, 1, 2, 0]])
    (problem,) = maps.problems(CONDITIONS, residuals=True)
    assert "The residuals" in problem
    assert "lie on different grids" in problem
    assert maps.problems(CONDITIONS) == []
    (tmp_path / "sub-01" / "res-1.nii.gz").unlink()
    assert "1 of 6 files do not exist" in maps.problems(CONDITIONS, residuals=True)[0]


def test_only_the_volumes_that_are_wanted_are_read(tmp_path, rng):
    values = rng.normal(size=(*SHAPE, 5)).astype(np.float32)
    path = write_image(tmp_path / "b.nii", values)
    path.write_bytes(path.read_bytes()[:-30])  # within the last volume
    mask = rng.random(SHAPE) > 0.5
    np.testing.assert_array_equal(read_patterns(path, [1, 3], mask), values[mask][:, [1, 3]].T)
    with pytest.raises(UserError, match=r"b\.nii is damaged"):
        read_patterns(path, [4], mask)


def test_labels_within_file_names_are_found_by_a_pattern(tmp_path, rng):
    section = one_file(tmp_path, rng.normal(size=(*SHAPE, 3)), condition=["dog/dog_1.jpg", "cat_2.jpg", "rest"])
    maps = Maps(**section, condition_pattern="([^/]+)[.]jpg", exclude=["rest"])
    assert maps.conditions("1") == ["dog_1", "cat_2"]
    assert maps.run_labels("1") == []
    assert maps.load("1", ["cat_2", "dog_1"]).conditions == ["dog_1", "cat_2"]


# -------------------------------------------------------------------------------------------- real maps


def test_whole_brain_betas(data):
    folder = data / "god_sub01_run01"
    maps = Maps(
        subjects=["01"],
        images=str(folder / "betas.nii.gz"),
        table=str(folder / "stimuli.tsv"),
        condition_column="stimulus_name",
        mask=str(folder / "mask.nii.gz"),
    )
    stimuli = list(load_table(folder / "stimuli.tsv")["stimulus_name"])
    assert maps.problems(sorted(stimuli)) == []
    patterns = maps.load("01", sorted(stimuli))
    assert patterns.values.shape == (50, 53_011)
    assert patterns.conditions == stimuli
    assert (patterns.volume.sform_code, patterns.volume.qform_code) == (1, 1)
    images = nib.load(folder / "betas.nii.gz")
    voxel = patterns.volume.indices[20_000]
    truth = images.get_fdata()[tuple(voxel)]
    np.testing.assert_allclose(patterns.values[:, 20_000], truth, rtol=1e-6)
    np.testing.assert_allclose(patterns.volume.voxel_to_mm(voxel), nib.affines.apply_affine(images.affine, voxel))


def test_slice_with_twelve_runs(data):
    folder = data / "haxby2001_slice"
    before = content_hash(folder / "betas_run.nii.gz")
    maps = Maps(
        subjects=["1"],
        images=str(folder / "betas_run.nii.gz"),
        table=str(folder / "conditions.tsv"),
        mask=str(folder / "mask.nii.gz"),
    )
    assert maps.problems(["bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe"]) == []
    patterns = maps.load("1")
    assert patterns.values.shape == (96, 511)
    assert list(patterns.table["run"]) == [str(run) for run in range(1, 13) for _ in range(8)]
    assert patterns.volume.affine[0, 0] == pytest.approx(-3.1)
    truth = nib.load(folder / "betas_run.nii.gz").get_fdata()[patterns.volume.mask]
    np.testing.assert_allclose(patterns.values, truth.T, rtol=1e-6)
    assert content_hash(folder / "betas_run.nii.gz") == before
    (problem,) = maps.problems(["bottle", "cat", "chair", "face", "house", "scissors", "scrambled", "shoe"])
    assert "share 7 of 9 conditions; missing in the maps: 'scrambled'" in problem
    runs = ", ".join(repr(str(run)) for run in range(1, 9))
    assert f"Conditions without a stimulus are in run {runs} and 4 more." in problem


# ------------------------------------------------------------------------------------------------- RDMs


@pytest.fixture
def ready(rng):
    """Make RDMs of 2 subjects and 2 regions over 3 conditions, as squares."""
    upper = np.triu(rng.random((2, 2, 3, 3)), k=1)
    return upper + upper.swapaxes(-1, -2)


def condensed(square):
    return square[np.triu_indices(len(square), k=1)]


def test_all_subjects_in_one_array(tmp_path, ready):
    np.savez(tmp_path / "r.npz", EVC=ready[:, 0], IT=ready[:, 1])
    section = {
        "subjects": ["07", "03"],
        "regions": ["IT", "EVC"],
        "file": str(tmp_path / "r.npz"),
        "distance": "correlation",
    }
    dataset = Rdms(**section)
    assert dataset.problems(CONDITIONS) == []
    assert dataset.conditions("07") is None
    assert dataset.files("03") == [tmp_path / "r.npz"]
    rdms = dataset.load("03", CONDITIONS)
    assert rdms.table.to_dict("list") == {"subject": ["03", "03"], "region": ["IT", "EVC"]}
    np.testing.assert_array_equal(rdms.values, [condensed(ready[1, 1]), condensed(ready[1, 0])])
    assert rdms.distance == "correlation"
    assert Rdms(**{**section, "distance": "unknown"}).distance == "unknown"
    (problem,) = {text[-90:] for text in Rdms(**{**section, "subjects": ["1"]}).problems(CONDITIONS)}
    assert problem.endswith("2 RDMs and there are 1 subjects; list one subject for each RDM, in their order.")


def test_one_file_per_subject_and_region(tmp_path, ready):
    for i, subject in enumerate(("1", "2")):
        for j, region in enumerate(("EVC", "IT")):
            np.save(tmp_path / f"{subject}_{region}.npy", ready[i, j])
    labels = tmp_path / "order.txt"
    labels.write_text("img2\nimg1\nimg10\n")
    dataset = Rdms(
        subjects=["1", "2"],
        regions=["EVC", "IT"],
        file=str(tmp_path / "{subject}_{region}.npy"),
        condition_order=str(labels),
    )
    assert dataset.problems(CONDITIONS) == []
    assert dataset.conditions("1") == ["img2", "img1", "img10"]
    assert dataset.files("2") == [tmp_path / "2_EVC.npy", tmp_path / "2_IT.npy", labels]
    rdms = dataset.load("2", CONDITIONS)
    assert list(rdms.conditions) == CONDITIONS
    order = [1, 2, 0]
    np.testing.assert_array_equal(rdms.squares[1], ready[1, 1][np.ix_(order, order)])
    np.testing.assert_array_equal(dataset.load("2").squares[1], ready[1, 1])
    problems = dataset.problems(["img1", "img2", "img3"])
    assert [text.split(": ", 1)[0] for text in problems] == ["subjects '1', '2'"] * 2, "one for each region's file"
    assert all("share 2 of 4 conditions" in text for text in problems)
    np.save(tmp_path / "1_IT.npy", ready[:, 1])
    with pytest.raises(UserError, match=r"1_IT\.npy holds 2 RDMs but one subject has 1; average them"):
        dataset.load("1")


def test_files_of_this_pipeline_are_read_by_their_labels(tmp_path, ready):
    table = pd.DataFrame({"subject": ["1", "1", "2", "2"], "region": ["EVC", "IT"] * 2})
    values = [condensed(square) for square in ready.reshape(4, 3, 3)]
    save(tmp_path / "r.h5", RDMs(values, CONDITIONS, table, "crossnobis"))
    dataset = Rdms(subjects=["2", "1"], regions=["IT"], file=str(tmp_path / "r.h5"))
    rdms = dataset.load("2", CONDITIONS[::-1])
    np.testing.assert_array_equal(rdms.squares[0], ready[1, 1][::-1, ::-1])
    assert rdms.distance == "crossnobis"
    (problem,) = Rdms(subjects=["1"], regions=["V1"], file=str(tmp_path / "r.h5")).problems()
    assert "No region is 'V1'; there are 'EVC', 'IT'." in problem


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"regions": []}, "at least 1 item"),
        ({"regions": ["IT", "IT"]}, "'IT' given more than once"),
        ({"subjects": [1]}, "Input should be a valid string"),
        ({"file": "{run}.npz"}, "unknown placeholder"),
        ({"key": "rdm"}, "neither file nor key has {region}"),
    ],
)
def test_settings_of_rdms_that_are_refused(change, message):
    good = {"subjects": ["1"], "regions": ["EVC", "IT"], "file": "r.npz"}
    assert Rdms(**good).key is None
    with pytest.raises(ValidationError) as raised:
        Rdms(**{**good, **change})
    assert message in str(raised.value)


def test_problems_of_rdms_are_said_once_for_all_subjects(tmp_path):
    dataset = Rdms(subjects=["1", "2", "3"], regions=["IT"], file=str(tmp_path / "{subject}.npy"))
    assert dataset.problems(CONDITIONS) == [f"subjects '1', '2', '3': There is no file {tmp_path}/{{subject}}.npy."]


def test_published_rdms_of_fifteen_subjects(data):
    stimuli = list(load_table(data / "kriegeskorte92" / "conditions.tsv")["file"])
    subjects = [f"{i:02}" for i in range(1, 16)]
    dataset = Rdms(subjects=subjects, regions=["EVC", "IT"], file=str(data / "cichy92" / "fmri_rdms.npz"))
    assert dataset.problems(stimuli) == []
    rdms = dataset.load("04", stimuli)
    with np.load(data / "cichy92" / "fmri_rdms.npz") as file:
        np.testing.assert_allclose(rdms.squares, [file["EVC"][3], file["IT"][3]], atol=1e-12)
    assert rdms.conditions == tuple(stimuli)
    (problem,) = dataset.problems(stimuli[:-1])[:1]
    assert "has 92 conditions (shape (15, 92, 92)), but there are 91 labels" in problem
