"""What is fetched: nilearn finds the files that are there, and the layout holds their numbers unchanged."""

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import requests
from PIL import Image

from rsa.datasets import fetch
from rsa.datasets.bids.dataset import Bids
from rsa.datasets.fetch import FETCHERS, HAXBY_CATEGORIES, fetch_haxby, fetched_files
from rsa.errors import UserError
from rsa.inputs.stimuli import Stimuli
from rsa.pipeline.checks import problems_of
from rsa.pipeline.config import load_study

AFFINE = np.array([[-3.5, 0, 0, 70.0], [0, 3.75, 0, -40.0], [0, 0, 3.75, -20.0], [0, 0, 0, 1]])
SHORT = ["rest", "cat", "cat", "rest", "shoe", "shoe", "rest"]
"""What is shown in the 7 volumes of each simulated run."""
OTHER_FILES = ("mask4_vt", "mask8b_face_vt", "mask8b_house_vt", "mask8_face_vt", "mask8_house_vt", "anat")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail at once wherever something would be downloaded."""

    def refuse(self: requests.Session, *arguments: object, **options: object) -> None:
        raise requests.ConnectionError("there is\nno network here")

    monkeypatch.setattr(requests.Session, "send", refuse)


def put_stimuli(folder: Path) -> None:
    """Write two tiny pictures for each category, where the archive of the stimuli has them."""
    for number, (name, _) in enumerate(HAXBY_CATEGORIES.values()):
        for i in (1, 2):
            file = folder / "stimuli" / name / (f"scrambled{i}" if name == "controls" else ".") / f"{name}_{i}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 10 * number + i).save(file)
    (folder / "stimuli" / "README").touch()


def put_subject(folder: Path, subject: str, image: nib.Nifti1Image, labels: Sequence[str], runs: Sequence[int]) -> Path:
    """Write the files of a subject as nilearn unpacks them; return the folder."""
    put_stimuli(folder)
    (folder / "MD5SUMS").touch()
    (folder / "mask.nii.gz").touch()
    own = folder / f"subj{subject}"
    own.mkdir(parents=True)
    nib.save(image, own / "bold.nii.gz")
    rows = [f"{label} {run}" for label, run in zip(labels, runs, strict=True)]
    (own / "labels.txt").write_text("\n".join(["labels chunks", *rows]) + "\n", encoding="utf-8")
    for name in OTHER_FILES:
        if (name, subject) != ("anat", "6"):
            (own / f"{name}.nii.gz").touch()
    return own


def simulated(n_volumes: int, mean: int = 1000) -> nib.Nifti1Image:
    """Make a series with a bright ball in it, whose numbers tell the subject and the volume; seeded by its mean."""
    rng = np.random.default_rng(mean)
    inside = np.linalg.norm(np.indices((14, 13, 12)).T - [6, 6, 7], axis=-1).T < 5.5
    values = rng.integers(0, 20, (*inside.shape, n_volumes)) + mean * inside[..., None] + np.arange(n_volumes)
    image = nib.Nifti1Image(values.astype(np.int16), AFFINE)
    image.header.set_zooms((3.5, 3.75, 3.75, 1.0))
    return image


def simulate(root: Path, subject: str = "1", n_runs: int = 2, mean: int = 1000) -> nib.Nifti1Image:
    image = simulated(7 * n_runs, mean)
    put_subject(root / "sourcedata/haxby2001", subject, image, SHORT * n_runs, np.repeat(np.arange(n_runs), 7).tolist())
    return image


def bold_of(root: Path, subject: str, run: str) -> Path:
    name = f"sub-{subject}_task-objects_run-{run}_desc-preproc_bold.nii.gz"
    return root / f"derivatives/pymvpa/sub-{subject}/func/{name}"


def events_of(root: Path, subject: str, run: str) -> pd.DataFrame:
    return pd.read_csv(root / f"sub-{subject}/func/sub-{subject}_task-objects_run-{run}_events.tsv", sep="\t")


# ------------------------------------------------------------------------------------------ real data


@pytest.fixture(scope="module")
def real(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fetch a subject made of the real slice, laid six times on one another in an empty volume."""
    root = tmp_path_factory.mktemp("haxby")
    image = nib.load(data / "haxby2001_slice/bold.nii.gz")
    values = np.zeros((40, 24, 8, 1452), dtype=np.int16)
    values[:, 2:22, 1:7] = np.asanyarray(image.dataobj)
    volumes = pd.read_csv(data / "haxby2001_slice/volumes.tsv", sep="\t")
    thick = nib.Nifti1Image(values, image.affine, image.header)
    put_subject(root / "sourcedata/haxby2001", "1", thick, list(volumes["condition"]), list(volumes["run"] - 1))
    fetch_haxby(root, ["1"])
    return root


def test_the_events_made_of_the_labels_of_real_volumes_are_the_published_ones(real, data):
    published = pd.read_csv(data / "haxby2001_slice/events.tsv", sep="\t")
    for run in range(1, 13):
        expected = published[published["run"] == run].drop(columns="run").reset_index(drop=True)
        pd.testing.assert_frame_equal(events_of(real, "1", f"{run:02}"), expected)


def test_the_runs_of_the_real_series_in_a_row_are_the_series_bit_by_bit(real):
    source = nib.load(real / "sourcedata/haxby2001/subj1/bold.nii.gz")
    runs = [nib.load(bold_of(real, "1", f"{run:02}")) for run in range(1, 13)]
    assert {run.shape for run in runs} == {(40, 24, 8, 121)}
    joined = np.concatenate([np.asanyarray(run.dataobj) for run in runs], axis=3)
    assert joined.dtype == np.int16
    np.testing.assert_array_equal(joined, np.asanyarray(source.dataobj))


def test_the_mask_holds_the_brain_of_the_real_slice(real, data):
    bright = nib.load(data / "haxby2001_slice/mask.nii.gz").get_fdata() > 0
    masks = sorted((real / "derivatives/pymvpa/sub-1/func").glob("*_desc-brain_mask.nii.gz"))
    assert len(masks) == 12
    inside = nib.load(masks[3]).get_fdata()
    assert np.isin(inside, [0, 1]).all()
    assert inside[:, :2].sum() == inside[:, 22:].sum() == inside[:, :, 0].sum() == inside[:, :, 7].sum() == 0
    assert np.mean(inside[:, 2:22, 3] == bright[..., 0]) > 0.95


def bids_of(root: Path, *subjects: str, **glm: object) -> Bids:
    derivatives = str(root / "derivatives/pymvpa")
    options = {"task": "objects", "space": "func", "confounds": None, "subjects": subjects, "glm": glm}
    return Bids(kind="bids", root=str(root), derivatives=derivatives, **options)


def slice_of(images: Path) -> np.ndarray:
    return np.moveaxis(nib.load(images).get_fdata()[:, :, 0], -1, 0)  # (n_images, n_x, n_y)


def test_responses_of_the_real_slice_are_those_that_were_estimated_elsewhere(real, data):
    patterns = bids_of(real, "1", drift="polynomial", drift_order=2, noise_model="ols").load("1")
    inside, rows = patterns.volume.mask[:, 2:22, 3], patterns.table
    responses = np.zeros((len(rows), *patterns.volume.mask.shape))
    responses[:, patterns.volume.mask] = patterns.values
    run_means = slice_of(data / "haxby2001_slice/bold.nii.gz").reshape(12, 121, 40, 20).mean(axis=1)[:, inside]
    ours = responses[:, :, 2:22, 3][:, inside] / run_means[rows["run"].str[-2:].astype(int) - 1]
    known = pd.read_csv(data / "haxby2001_slice/conditions.tsv", sep="\t").set_index(["run", "condition"])["volume"]
    order = [known[int(row.run[-2:]), row.condition] for row in rows.itertuples()]
    theirs = (
        slice_of(data / "haxby2001_slice/betas_run.nii.gz")[order][:, inside] / 100
    )  # percent of the run's constant
    assert sorted(order) == list(range(96))
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(ours, theirs, strict=True)]
    assert np.median(alike) > 0.85  # with another form of the haemodynamic response
    assert np.sum(ours * theirs) / np.sum(theirs**2) == pytest.approx(1, abs=0.05)


# ---------------------------------------------------------------------------------------- the layout


@pytest.mark.slow
def test_the_bids_reader_finds_nothing_wrong_and_reads_what_was_laid_out(tmp_path):
    for subject in ("1", "2"):
        simulate(tmp_path, subject)
    fetch_haxby(tmp_path, ["1", "2"])
    bids = bids_of(tmp_path, "1", "2")
    assert bids.problems(["cat", "shoe"]) == []
    assert list(bids.load("2").table["run"].unique()) == ["run-01", "run-02"]
    names = {path.name for path in bids.files("2")}
    assert {"task-objects_bold.json", "sub-2_task-objects_run-02_events.tsv"} <= names
    assert {f"sub-2_task-objects_run-01_desc-{part}.nii.gz" for part in ("preproc_bold", "brain_mask")} <= names


@pytest.mark.slow
def test_subjects_after_the_sixth_keep_their_own_data(tmp_path):
    images = {subject: simulate(tmp_path, subject, mean=1000 * int(subject)) for subject in ("6", "1", "2")}
    fetch_haxby(tmp_path, ["6", "1", "2"])
    for subject, image in images.items():
        second = nib.load(bold_of(tmp_path, subject, "02"))
        np.testing.assert_array_equal(np.asanyarray(second.dataobj), np.asanyarray(image.dataobj)[..., 7:])
        np.testing.assert_array_equal(second.affine, AFFINE)
    assert all(path.is_file() for path in fetched_files(tmp_path, ["1", "2", "6"]))


def test_events_begin_at_each_run_and_leave_rest_out(tmp_path):
    simulate(tmp_path)
    fetch_haxby(tmp_path, ["1"])
    expected = pd.DataFrame({"onset": [2.5, 10.0], "duration": [5, 5], "trial_type": ["cat", "shoe"]})
    for run in ("01", "02"):
        pd.testing.assert_frame_equal(events_of(tmp_path, "1", run), expected)


def test_header_and_sidecars_agree_on_the_repetition_time(tmp_path):
    simulate(tmp_path)
    fetch_haxby(tmp_path, ["1"])
    path = bold_of(tmp_path, "1", "01")
    header = nib.load(path).header
    assert header.get_zooms()[3] == 2.5
    assert header.get_xyzt_units() == ("mm", "sec")
    for sidecar in (tmp_path / "task-objects_bold.json", Path(str(path).replace(".nii.gz", ".json"))):
        assert json.loads(sidecar.read_text(encoding="utf-8"))["RepetitionTime"] == 2.5


def test_scaled_numbers_are_stored_as_they_were(tmp_path):
    image = simulated(7)
    stored = np.asanyarray(image.dataobj)
    image.header.set_slope_inter(0.037, 12.5)
    put_subject(tmp_path / "sourcedata/haxby2001", "1", image, SHORT, [0] * 7)
    fetch_haxby(tmp_path, ["1"])
    found = nib.load(bold_of(tmp_path, "1", "01"))
    np.testing.assert_array_equal(found.dataobj.get_unscaled(), stored)
    assert (found.dataobj.slope, found.dataobj.inter) == pytest.approx((0.037, 12.5), rel=1e-6)
    source = nib.load(tmp_path / "sourcedata/haxby2001/subj1/bold.nii.gz")
    np.testing.assert_array_equal(found.get_fdata(), source.get_fdata())


def test_a_run_that_is_all_rest_is_left_out_and_the_others_keep_their_numbers(tmp_path, caplog):
    labels = [*SHORT, *["rest"] * 7, *SHORT]
    runs = np.repeat(range(3), 7).tolist()
    put_subject(tmp_path / "sourcedata/haxby2001", "5", simulated(21), labels, runs)
    with caplog.at_level(logging.WARNING, "rsa"):
        fetch_haxby(tmp_path, ["5"])
    assert "run 02 is left out: all of its volumes are labelled rest" in caplog.text
    assert sorted(path.name[:25] for path in (tmp_path / "sub-5/func").glob("sub-*")) == [
        "sub-5_task-objects_run-01",
        "sub-5_task-objects_run-03",
    ]
    third = nib.load(bold_of(tmp_path, "5", "03"))
    np.testing.assert_array_equal(np.asanyarray(third.dataobj), np.asanyarray(simulated(21).dataobj)[..., 14:])


def test_the_pictures_are_a_table_of_stimuli_with_all_categories(tmp_path):
    simulate(tmp_path)
    fetch_haxby(tmp_path, ["1"])
    stimuli = Stimuli(table=str(tmp_path / "stimuli.tsv"))
    assert stimuli.conditions() == list(HAXBY_CATEGORIES)
    assert stimuli.problems() == []
    table = stimuli.load()
    assert table.groupby("condition").size().eq(2).all()
    assert set(table.loc[table["animate"] == 1, "condition"]) == {"cat", "face"}
    assert table.loc[table["condition"] == "scrambledpix", "file"].str.contains("controls").all()


@pytest.mark.slow
def test_a_second_fetch_replaces_what_the_first_laid_out(tmp_path):
    simulate(tmp_path)
    fetch_haxby(tmp_path, ["1"])
    before = bold_of(tmp_path, "1", "02").stat().st_ino
    fetch_haxby(tmp_path, ["1"])
    assert bold_of(tmp_path, "1", "02").stat().st_ino != before
    assert not list(tmp_path.glob(".partial-*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["README", "stimuli.tsv", "sub-1/func/notes.txt", "derivatives/pymvpa/sub-1/func/sub-1_bold.nii.gz"]
)
@pytest.mark.parametrize("fetched", [False, True], ids=["first", "again"])
def test_what_was_not_fetched_is_never_replaced(tmp_path, name, fetched):
    simulate(tmp_path)
    if fetched:
        fetch_haxby(tmp_path, ["1"])
    own = tmp_path / name
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text("my own")
    assert fetch.not_fetched(tmp_path, ["1"]) == ([] if (name, fetched) == ("README", True) else [str(own)])
    with pytest.raises(UserError, match=re.escape(f"{own}', which was not fetched, or which changed since")):
        fetch_haxby(tmp_path, ["1"])
    assert own.read_text() == "my own"
    assert fetched or not (tmp_path / "dataset_description.json").exists()


def test_a_study_that_would_fetch_over_files_is_refused_before_it_runs(tmp_path):
    own = tmp_path / "sub-1" / "func" / "sub-1_task-objects_run-01_events.tsv"
    own.parent.mkdir(parents=True)
    own.write_text("onset\tduration\n")
    raw = {
        "study": "haxby",
        "fetch": "haxby",
        "stimuli": {"table": str(tmp_path / "stimuli.tsv")},
        "references": [{"kind": "table", "name": "animate", "column": "animate"}],
        "brain": {"kind": "bids", "subjects": ["1"], "task": "objects", "root": str(tmp_path), "space": "func"},
        "searchlight": {},
    }
    (problem,) = [text for text in problems_of(load_study(raw)) if "`fetch` would write over" in text]
    assert str(own) in problem
    own.unlink()
    assert not any("`fetch` would write over" in text for text in problems_of(load_study(raw)))


# -------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.slow
def test_a_subject_is_laid_out_whole_or_not_at_all(tmp_path, monkeypatch):
    simulate(tmp_path, "1")
    simulate(tmp_path, "2")
    save, written = fetch.save_nifti, []

    def break_off(path: Path, *arguments: object) -> None:
        if len(written) == 6:  # four images of subject 1, then two of subject 2
            raise KeyboardInterrupt
        written.append(path)
        save(path, *arguments)

    monkeypatch.setattr(fetch, "save_nifti", break_off)
    with pytest.raises(KeyboardInterrupt):
        fetch_haxby(tmp_path, ["1", "2"])
    assert bold_of(tmp_path, "1", "02").exists()
    assert [path.exists() for path in fetched_files(tmp_path, ["1", "2"])] == [True, True, False]
    assert not (tmp_path / "sub-2").exists()
    assert not (tmp_path / "derivatives/pymvpa/sub-2").exists()
    assert not list(tmp_path.glob(".partial-*"))


def test_a_failed_download_says_in_one_line_what_to_put_where(tmp_path):
    with pytest.raises(UserError, match="Cannot download the data of Haxby") as caught:
        fetch_haxby(tmp_path / "here", ["2", "1"])
    message = str(caught.value)
    assert "\n" not in message
    assert "there is no network here" in message
    assert "MD5SUMS of http" in message
    assert "subj1-2010.01.14.tar.gz, subj2-2010.01.14.tar.gz, stimuli-2010.01.14.tar.gz" in message
    assert f"into {tmp_path / 'here/sourcedata/haxby2001'}" in message
    assert not any(path.exists() for path in fetched_files(tmp_path / "here", ["1", "2"]))


def test_what_is_put_where_the_message_says_is_found_without_network(tmp_path):
    with pytest.raises(UserError, match="Cannot download"):
        fetch_haxby(tmp_path, ["1"])
    simulate(tmp_path)
    fetch_haxby(tmp_path, ["1"])
    assert all(path.is_file() for path in fetched_files(tmp_path, ["1"]))


@pytest.mark.parametrize(("subjects", "asked"), [(["1", "07"], "'07'"), ([], "none")])
def test_subjects_that_there_are_not_are_named(tmp_path, subjects, asked):
    with pytest.raises(UserError, match=f"subjects '1', '2', '3', '4', '5', '6'; asked for: {asked}"):
        fetch_haxby(tmp_path, subjects)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda lines: [*lines, "rest 1"], r"labels and chunks and 14 rows.*has 'labels', 'chunks' and 15 rows"),
        (lambda lines: ["labels runs", *lines[1:]], r"should have the columns .*has 'labels', 'runs' and 14 rows"),
        (lambda lines: [*lines[:-1], "rest one"], r"labels.txt is not a readable table .*its folder and run again"),
        (lambda lines: [*lines[:-1], "boot 1"], r"labels that are not known: 'boot'; expected 'bottle'"),
        (lambda lines: [*lines[:3], lines[-1], *lines[3:-1]], "volumes of run 01 do not follow each other"),
    ],
    ids=["too many", "no column", "no number", "unknown", "mixed"],
)
def test_labels_that_do_not_belong_to_the_series_are_refused(tmp_path, wrong, message):
    simulate(tmp_path)
    labels = tmp_path / "sourcedata/haxby2001/subj1/labels.txt"
    lines = labels.read_text(encoding="utf-8").splitlines()
    labels.write_text("\n".join(wrong(lines)) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        fetch_haxby(tmp_path, ["1"])


def test_a_damaged_series_is_named(tmp_path):
    simulate(tmp_path)
    bold = tmp_path / "sourcedata/haxby2001/subj1/bold.nii.gz"
    bold.write_bytes(bold.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"bold.nii.gz is damaged, .*delete its folder and run again"):
        fetch_haxby(tmp_path, ["1"])


def test_a_category_without_pictures_is_named(tmp_path):
    simulate(tmp_path)
    (tmp_path / "sourcedata/haxby2001/stimuli/cats").rename(tmp_path / "sourcedata/haxby2001/stimuli/kittens")
    with pytest.raises(
        UserError, match=r"No pictures of 'cat' came: expected is a folder 'cats', there are .*'kittens'"
    ):
        fetch_haxby(tmp_path, ["1"])


def test_a_data_set_that_cannot_be_fetched_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"Unknown data set to fetch 'haxbi'. Did you mean 'haxby'"):
        fetch.fetch("haxbi", tmp_path, ["1"])


def test_fetching_by_name_calls_the_fetcher(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setitem(FETCHERS, "haxby", lambda folder, subjects: calls.append((folder, subjects)))
    fetch.fetch("haxby", str(tmp_path), ["1", "2"])
    assert calls == [(tmp_path, ["1", "2"])]
