"""How large a study is before it runs, and which jobs are one for all subjects."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml

from rsa.pipeline import sizes
from rsa.pipeline.config import Study, load_study
from rsa.pipeline.plan import Plan

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def default_study(**changes: Any) -> Study:
    """Return the default study with some sections changed; a section that is None is removed."""
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())
    for key, value in changes.items():
        if value is None:
            settings.pop(key)
        else:
            settings[key] = {**settings[key], **value} if isinstance(value, dict) and key in settings else value
    return load_study(settings)


def study_of_files(folder: Path, n_subjects: int = 2, n_bytes: int = 1000, **changes: Any) -> Study:
    """Return a study of real data: a file of so many bytes for each subject, which says nothing but its size."""
    subjects = [f"{number:02d}" for number in range(n_subjects)]
    for subject in subjects:
        path = folder / f"sub-{subject}.nii"
        with path.open("wb") as file:
            file.truncate(n_bytes)  # takes no room
        (folder / f"sub-{subject}.tsv").write_text("condition\na\nb\nc\n")
    brain = {"kind": "maps", "subjects": subjects, "images": f"{folder}/sub-{{subject}}.nii"}
    brain["table"] = f"{folder}/sub-{{subject}}.tsv"
    reference = {"kind": "file", "name": "one", "file": "one.npy"}
    return load_study({"study": "own", "brain": brain, "searchlight": {}, "references": [reference], **changes})


def test_the_simulation_of_the_default_study_is_as_large_as_what_it_writes() -> None:
    study = default_study()
    assert sizes.n_conditions(study) == 48
    assert sizes.size_of_brain(study) == pytest.approx(4 * 4 * 48 * 15_044 * 4, rel=0.02)
    assert sizes.size_of_meeg(study) == 6 * 48 * 8 * 32 * 61 * 4


def test_a_simulation_within_a_mask_is_as_large_as_the_mask(tmp_path: Path) -> None:
    mask = np.zeros((9, 9, 9), dtype=np.uint8)
    mask[2:7, 2:7, 2:7] = 1
    nib.Nifti1Image(mask, np.eye(4)).to_filename(tmp_path / "mask.nii.gz")
    study = default_study(simulate={"mask": str(tmp_path / "mask.nii.gz")})
    assert sizes.size_of_brain(study) == 4 * 4 * 48 * 125 * 4


@pytest.mark.parametrize("kind", ["brain", "movie", "scores"])
def test_each_step_of_the_subjects_of_the_default_study_is_one_job(kind: str) -> None:
    plan = Plan(default_study())
    assert plan.is_one_job(kind)
    assert len(plan.each(kind)) == (6 if kind == "movie" else 4)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("brain", {"simulate": {"voxel_size_mm": 2}}),
        ("scores", {"simulate": {"voxel_size_mm": 2}}),
        ("scores", {"simulate": {"images_per_category": 20}}),
        ("scores", {"analyses": [{"kind": "partial", "nuisance": ["category"]}]}),
        ("movie", {"movie": {"distance": "decoding_lda"}}),
        ("movie", {"simulate": {"epochs": {"n_trials": 80, "n_channels": 128}}}),
    ],
)
def test_long_steps_are_a_job_for_each_subject(kind: str, changes: dict[str, Any]) -> None:
    plan = Plan(default_study(**changes))
    assert not plan.is_one_job(kind)
    assert [str(path).count("{subject}") for path in plan.each(kind)] == [1]


@pytest.mark.parametrize(
    ("n_subjects", "n_bytes", "is_one"),
    [(2, 1000, True), (2, sizes.SMALL // 2 - 20, True), (2, sizes.SMALL // 2 + 1, False), (41, 1000, False)],
)
def test_files_of_real_data_decide(tmp_path: Path, n_subjects: int, n_bytes: int, is_one: bool) -> None:
    assert Plan(study_of_files(tmp_path, n_subjects, n_bytes)).is_one_job("brain") == is_one


def test_what_is_fetched_is_a_job_for_each_subject_whether_it_is_there_or_not() -> None:
    study = load_study(yaml.safe_load((ROOT / "config" / "haxby.yaml").read_text()))
    assert not Plan(study).is_one_job("brain")
