"""Runs preprocessed by fMRIPrep become the patterns that were planted, or every reason why not is said beforehand."""

import builtins
import json
import logging
import re
import shlex
import shutil
from collections import Counter

import bids_tree
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from bids_tree import CONDITIONS, N_SCANS, TR_S, build_bids, god_as_bids, haxby_as_bids
from pydantic import ValidationError
from rewriting import rewritten

from rsa.datasets.bids import dataset as bids
from rsa.datasets.bids import files as bids_files
from rsa.datasets.bids.confounds import Confounds, read_confounds
from rsa.datasets.bids.dataset import Bids
from rsa.datasets.bids.files import inherited
from rsa.errors import UserError
from rsa.files import io
from rsa.files.sources import problems_of_content

EXACT = {"noise_model": "ols", "drift": "polynomial"}
"""A model that the simulated signals follow."""
GOOD = {"kind": "bids", "subjects": ["01"], "root": "study", "task": "objects"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Write two subjects with two runs, without noise."""
    return build_bids(tmp_path_factory.mktemp("study"))


@pytest.fixture
def copied(study, tmp_path):
    """Copy the study, to be damaged."""
    shutil.copytree(study.root, tmp_path / "study")
    return tmp_path / "study"


def settings_of(tree, **changes) -> Bids:
    return Bids(**{**tree.settings, "glm": EXACT, **changes})


def at(root, **changes) -> Bids:
    """Return the settings of a copy of the study."""
    return Bids(**{**GOOD, "subjects": ["01", "02"], "root": str(root), "glm": EXACT, **changes})


def rows_of(patterns, run):
    """Return the patterns of a run in the order of CONDITIONS."""
    rows = patterns.table[patterns.table["run"] == run].reset_index().set_index("condition")["index"]
    return patterns.values[rows.loc[list(CONDITIONS)]]


def derived(root, subject="01", run="1", ending="desc-preproc_bold.nii.gz", space="_space-MNI152NLin2009cAsym"):
    folder = root / "derivatives" / "fmriprep" / f"sub-{subject}" / "func"
    return folder / f"sub-{subject}_task-objects_run-{run}{space}_{ending}"


def confounds_of(root, subject="01", run="1"):
    return derived(root, subject, run, "desc-confounds_timeseries.tsv", space="")


def events_of(root, subject="01", run="1"):
    return root / f"sub-{subject}" / "func" / f"sub-{subject}_task-objects_run-{run}_events.tsv"


def edit_table(path, change):
    """Read a table as text, change it and write it again."""
    table = change(pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False))
    rewritten(path, table.to_csv(sep="\t", index=False).encode())


def edit_json(path, **content):
    old = json.loads(path.read_text()) if path.exists() else {}
    kept = {key: value for key, value in {**old, **content}.items() if value is not None}
    path.write_text(json.dumps(kept))


def edit_image(path, change=lambda values: values, affine=None, tr_s=TR_S):
    """Read an image, change its values and write it again."""
    image = nib.load(path)
    values = change(np.asarray(image.dataobj).copy())
    bids_tree.write_image(path, values, image.affine if affine is None else affine, tr_s if values.ndim == 4 else None)


# ---------------------------------------------------------------------------------------- what comes out


@pytest.mark.slow
def test_planted_responses_come_out_of_every_run(study):
    for subject in ("01", "02"):
        assert settings_of(study).problems(CONDITIONS) == []
        patterns = settings_of(study).load(subject, CONDITIONS)
        assert list(patterns.table) == ["condition", "run"]
        assert set(patterns.table["run"]) == {"run-1", "run-2"}
        for run in ("run-1", "run-2"):
            np.testing.assert_allclose(rows_of(patterns, run), study.betas[subject, run], atol=0.05)


def test_sessions_are_in_the_labels_of_runs_and_their_files_are_found(tmp_path):
    tree = build_bids(tmp_path, ["a"], ["01", "02"], ["pre", "post"])
    patterns = settings_of(tree).load("a")
    assert list(dict.fromkeys(patterns.table["run"])) == [
        f"ses-{s}_run-{r}" for s in ("post", "pre") for r in ["01", "02"]
    ]
    np.testing.assert_allclose(rows_of(patterns, "ses-pre_run-02"), tree.betas["a", "ses-pre_run-02"], atol=0.05)
    chosen = settings_of(tree, sessions=["pre"], runs=["2"]).load("a")
    assert set(chosen.table["run"]) == {"ses-pre_run-02"}, "runs are numbers: 2 is 02"
    np.testing.assert_array_equal(rows_of(chosen, "ses-pre_run-02"), rows_of(patterns, "ses-pre_run-02"))


def test_a_single_run_without_a_number_and_native_space_are_read(tmp_path):
    tree = build_bids(tmp_path, ["01"], [], space="func")
    patterns = settings_of(tree).load("01")
    assert set(patterns.table["run"]) == {"run-1"}
    np.testing.assert_allclose(rows_of(patterns, "run-1"), tree.betas["01", "run-1"], atol=0.05)


def test_runs_come_in_the_order_of_their_numbers(tmp_path):
    tree = build_bids(tmp_path, ["01"], ["10", "9", "1"])
    assert [run.label for run in bids_files.find_runs(tree.derivatives, "01")] == ["run-1", "run-9", "run-10"]


def test_residuals_of_all_runs_are_kept_with_their_degrees_of_freedom(study):
    assert settings_of(study).load("01").residuals is None
    residuals = settings_of(study).load("01", residuals=True).residuals
    assert residuals.values.shape == (2 * N_SCANS, study.mask.sum())
    n_regressors = len(CONDITIONS) + 6 + 2  # motion, constant and straight line
    assert residuals.degrees_of_freedom == 2 * (N_SCANS - n_regressors)
    assert np.abs(residuals.values).max() < 0.05, "nothing but rounding is left of noiseless data"


def test_excluded_conditions_are_modelled_and_those_outside_of_where_are_not(study):
    everything = settings_of(study).load("01")
    excluded = settings_of(study, exclude=["cat"])
    patterns = excluded.load("01", ["house", "face"])
    assert excluded.conditions("01") == patterns.conditions
    assert set(patterns.conditions) == {"face", "house"}
    np.testing.assert_array_equal(patterns.values, everything.values[everything.table["condition"] != "cat"])
    baseline = settings_of(study, where={"trial_type": ["face", "house"]}).load("01", ["face", "house"])
    assert np.abs(baseline.values - patterns.values).max() > 1


def test_delays_are_rows_of_the_table(study):
    settings = settings_of(study, glm={"method": "volumes", "delays_s": [0, 2, 4.5]})
    patterns = settings.load("01")
    assert patterns.delays_s == [0, 2, 4.5]
    assert len(patterns.table) == 2 * 3 * 3


def test_confounds_are_taken_out(study):
    without = settings_of(study, confounds=None).load("01")
    assert np.abs(rows_of(without, "run-1") - study.betas["01", "run-1"]).max() > 1
    chosen = settings_of(study, confounds={"strategy": [], "columns": ["trans_?", "rot_*[xyz]"]}).load("01")
    np.testing.assert_allclose(rows_of(chosen, "run-1"), study.betas["01", "run-1"], atol=0.05)


@pytest.mark.parametrize(
    ("confounds", "n_columns"),
    [
        ({}, 6),
        ({"motion": "full"}, 24),
        ({"strategy": ["motion", "wm_csf"], "wm_csf": "derivatives"}, 10),
        ({"strategy": ["global_signal", "scrub"]}, 1),
        ({"strategy": ["high_pass", "compcor"], "n_compcor": 5}, 7),
        ({"strategy": ["high_pass", "compcor"], "n_compcor": "all"}, 9),
        ({"strategy": ["motion"], "columns": ["trans_x", "a_comp_cor_0[01]", "csf_derivative1"]}, 9),
        ({"strategy": []}, 0),
    ],
)
def test_strategies_choose_columns_and_leave_no_gap(study, confounds, n_columns):
    settings = settings_of(study, confounds=confounds, glm={"drift": "none"})
    given = settings._input(settings._runs("01")[0])
    assert given.confounds.shape == (N_SCANS, n_columns)
    assert np.isfinite(given.confounds.to_numpy()).all()
    assert given.kept.all()
    assert settings.problems(CONDITIONS) == []


def test_scrubbed_and_first_unsteady_volumes_do_no_harm(copied, study):
    def add(table):
        table.loc[40, "framewise_displacement"] = "3.0"
        return table.assign(non_steady_state_outlier00=["1"] + ["0"] * (N_SCANS - 1))

    def disturb(values):
        values[..., [0, 40]] += 3000
        return values

    edit_table(confounds_of(copied), add)
    edit_image(derived(copied), disturb)
    scrubbing = at(copied, confounds={"strategy": ["motion", "scrub"]}).load("01", residuals=True)
    np.testing.assert_allclose(rows_of(scrubbing, "run-1"), study.betas["01", "run-1"], atol=0.05)
    assert len(scrubbing.residuals.values) == 2 * N_SCANS - 2
    unscrubbed = at(copied).load("01", residuals=True)
    assert len(unscrubbed.residuals.values) == 2 * N_SCANS - 1, "unsteady volumes are always left out"
    assert np.abs(rows_of(unscrubbed, "run-1") - study.betas["01", "run-1"]).max() > 1


def test_a_voxel_without_signal_in_one_run_is_not_usable(copied):
    def empty(values):
        values[1, 0, 0], values[1, 0, 1, 7] = 0, np.nan
        return values

    edit_image(derived(copied, run="2"), empty)
    patterns = at(copied).load("01")
    assert patterns.usable.tolist() == [False, False] + [True] * (patterns.n_features - 2)


def test_one_line_for_each_run_is_logged(study, caplog):
    with caplog.at_level(logging.INFO, logger="rsa.datasets.bids.dataset"):
        settings_of(study).load("01")
    assert [record.getMessage() for record in caplog.records] == [
        f"sub-01_task-objects_run-{run}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz: 80 of 80 volumes, "
        "18 events, 6 regressors of no interest"
        for run in (1, 2)
    ]


# ------------------------------------------------------------------------------------ images and masks


def test_the_mask_is_the_intersection_of_the_runs_or_a_file_of_the_subject(copied):
    def cut(values):
        values[2, 1] = 0
        return values

    edit_image(derived(copied, run="2", ending="desc-brain_mask.nii.gz"), cut)
    volume = at(copied).volume("01")
    expected = np.zeros(bids_tree.SHAPE, dtype=bool)
    expected[1:] = True
    expected[2, 1] = False
    np.testing.assert_array_equal(volume.mask, expected)
    grid = at(copied).grid("01")
    assert grid.shape == bids_tree.SHAPE
    np.testing.assert_allclose(grid.affine, bids_tree.AFFINE)
    own = np.zeros(bids_tree.SHAPE, dtype=np.uint8)
    own[0, 0] = 1
    bids_tree.write_image(copied / "sub-01_mask.nii.gz", own, bids_tree.AFFINE)
    bids_tree.write_image(derived(copied, ending="desc-brain_mask.nii.gz"), own, bids_tree.AFFINE)
    with pytest.raises(UserError, match=r"subject '01': no voxel is in all 2 masks; look at .*desc-brain_mask.nii.gz"):
        at(copied).load("01")
    template = at(copied, subjects=["01"], mask=str(copied / "sub-{subject}_mask.nii.gz"))
    np.testing.assert_array_equal(template.volume("01").mask, own > 0)
    assert template.load("01").n_features == bids_tree.SHAPE[2]


@pytest.mark.parametrize("n_block", [1, 7, 1000])
@pytest.mark.parametrize("fwhm_mm", [0, 6])
def test_images_read_in_blocks_are_those_read_at_once(study, monkeypatch, n_block, fwhm_mm):
    from nilearn.image import smooth_img

    path = derived(study.root)
    expected = smooth_img(path, fwhm_mm or None).get_fdata()[study.mask].T
    monkeypatch.setattr(bids, "VOXELS_PER_BLOCK", n_block * study.mask.size)
    bold = bids._read_bold(path, study.mask, fwhm_mm)
    assert bold.dtype == np.float32
    np.testing.assert_allclose(bold, expected, rtol=1e-6)


def test_a_damaged_image_is_named(copied):
    whole = derived(copied).read_bytes()
    derived(copied).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        UserError, match=r"run-1_space-\w+_desc-preproc_bold.nii.gz is damaged, its data cannot be read"
    ):
        at(copied).load("01")


# ---------------------------------------------------------------------------------------- files and time


def test_files_are_all_that_is_read_and_no_more(study):
    names = {
        "sub-01/func/sub-01_task-objects_run-{run}_events.tsv",
        "derivatives/fmriprep/sub-01/func/sub-01_task-objects_run-{run}_desc-confounds_timeseries.tsv",
        "derivatives/fmriprep/sub-01/func/sub-01_task-objects_run-{run}_desc-confounds_timeseries.json",
    }
    space = "derivatives/fmriprep/sub-01/func/sub-01_task-objects_run-{run}_space-MNI152NLin2009cAsym_desc-"
    names |= {space + ending for ending in ("preproc_bold.nii.gz", "preproc_bold.json", "brain_mask.nii.gz")}
    expected = {study.root / name.format(run=run) for name in names for run in (1, 2)} | {
        study.root / "task-objects_bold.json"
    }
    files = settings_of(study).files("01")
    assert set(files) == expected
    assert len(files) == len(expected)
    assert all(path.exists() for path in files)
    assert not any("confounds" in path.name for path in settings_of(study, confounds=None).files("01"))


def checked(dataset):
    assert dataset.problems(list(CONDITIONS)) == []
    assert len(dataset.run_labels("01")) == 2


def loaded(dataset):
    with io.provenance_of(dataset.files("01")):
        dataset.load("01", list(CONDITIONS), residuals=True)


@pytest.mark.parametrize("job", [checked, loaded])
def test_a_job_opens_each_table_and_sidecar_once(copied, monkeypatch, job):
    opened, real = Counter(), builtins.open

    def counting(file, *args, **options):
        opened[str(file)] += 1
        return real(file, *args, **options)

    monkeypatch.setattr(builtins, "open", counting)
    monkeypatch.setattr("io.open", counting)
    dataset = at(copied, subjects=["01"])
    job(dataset)
    read = {str(path) for path in dataset.files("01") if path.suffix in (".tsv", ".json")}
    assert len(read) == 9  # of each run events, confounds, sidecars of both and of the images; one sidecar of all
    assert {path: opened[path] for path in read} == dict.fromkeys(read, 1)


def test_nearer_and_more_special_files_go_before_general_ones(tmp_path):
    names = [
        "bold.json",
        "task-a_bold.json",
        "task-b_bold.json",
        "sub-1/sub-1_bold.json",
        "sub-1/ses-x/func/sub-1_ses-x_task-a_bold.json",
        "sub-1/ses-x/func/sub-1_ses-x_task-a_run-01_bold.json",
        "sub-1/ses-x/func/sub-1_ses-x_task-a_run-2_bold.json",
        "sub-1/ses-x/func/sub-1_ses-x_task-a_acq-z_run-1_bold.json",
        "sub-1/ses-x/func/sub-1_ses-x_task-a_run-1_sbref.json",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    run = {"sub": "1", "ses": "x", "task": "a", "run": "1", "space": "T1w", "desc": "preproc"}
    assert inherited(tmp_path, run, "bold.json") == [tmp_path / names[i] for i in (0, 1, 3, 4, 5)]


def test_events_of_all_runs_may_be_one_file_at_the_top(copied):
    events_of(copied).rename(copied / "task-objects_events.tsv")
    events_of(copied, run="2").unlink()
    patterns = at(copied, subjects=["01"]).load("01", CONDITIONS)
    assert len(patterns.table) == 6
    assert copied / "task-objects_events.tsv" in at(copied).files("01")


def times_of(settings):
    given = settings._input(settings._runs("01")[0])
    return given.tr_s, given.glm.slice_time_ref


def test_times_are_those_of_the_nearest_source_that_tells_them(copied):
    sidecar = derived(copied, ending="desc-preproc_bold.json")
    one = {"subjects": ["01"], "runs": ["1"]}
    edit_json(sidecar, StartTime=0.9)
    assert times_of(at(copied, **one)) == (2.0, 0.45)
    edit_json(sidecar, SliceTimingCorrected=False)
    assert times_of(at(copied, **one)) == (2.0, 0.5)
    assert times_of(at(copied, **one, glm={"slice_time_ref": 0})) == (2.0, 0)
    sidecar.unlink()
    edit_json(copied / "task-objects_bold.json", RepetitionTime=2.0004)
    assert times_of(at(copied, **one)) == (2.0004, 0.5), "the header rounds"
    (copied / "task-objects_bold.json").unlink()
    assert times_of(at(copied, **one)) == (2.0, 0.5)
    image = nib.load(derived(copied))
    image.header.set_xyzt_units("mm", "msec")
    image.header.set_zooms((*image.header.get_zooms()[:3], 1500))
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), copied / "msec.nii.gz")
    shutil.move(copied / "msec.nii.gz", derived(copied))
    assert times_of(at(copied, **one)) == (1.5, 0.5)


def test_the_time_of_slices_changes_the_estimates(copied, study):
    for run in ("1", "2"):
        edit_json(derived(copied, run=run, ending="desc-preproc_bold.json"), StartTime=0.0)
    patterns = at(copied).load("01")
    assert np.abs(rows_of(patterns, "run-1") - study.betas["01", "run-1"]).max() > 1


# ------------------------------------------------------------------------------------------- conditions


def label(path, **changes):
    return bids._read_events(path, **{"condition": "trial_type", "where": {}, **changes})


def test_conditions_are_made_of_columns(tmp_path):
    path = bids_tree.write_events(
        tmp_path / "events.tsv",
        pd.DataFrame(
            {
                "onset": ["1", "2", "3.5", "5"],
                "duration": ["0", "1", "1", "1"],
                "trial_type": ["face", "n/a", "house", "NA"],
                "stim_file": ["a/01.x.jpg", "b/2.png", "n/a", "a/01.x.jpg"],
                "my side": ["left", "left", "right", "007"],
            }
        ),
    )
    plain = label(path)
    assert plain["condition"].tolist() == ["face", "house", "NA"], "n/a is no condition, NA is one"
    assert plain["onset"].tolist() == [1.0, 3.5, 5.0]
    assert label(path, condition="stim_file")["condition"].tolist() == ["01.x", "2", "01.x"]
    assert label(path, condition="my side")["condition"].tolist() == ["left", "left", "right", "007"]
    both = label(path, condition="{trial_type}-{my side}")
    assert both["condition"].tolist() == ["face-left", "house-right", "NA-007"]
    assert label(path, condition="{stim_file}@{my side}")["condition"].tolist() == ["01.x@left", "2@left", "01.x@007"]
    some = label(path, where={"my side": ["left", "007"], "duration": ["1"]}, condition="stim_file")
    assert some["onset"].tolist() == [2.0, 5.0]


def with_column(**columns):
    return lambda table: table.assign(**{name: values(table) for name, values in columns.items()})


# ----------------------------------------------------------------------------------- what is wrong


def remove_runs(root):
    for path in [*root.glob("derivatives/fmriprep/sub-02/func/*run-2*")]:
        path.unlink()


def rename_event(root):
    edit_table(events_of(root), lambda table: table.replace({"cat": "dog"}))


def of_one_name(root):
    """Show files of one name in different folders, in different runs."""
    for run in ("1", "2"):
        column = with_column(
            stim_file=lambda table, run=run: f"{run}/" + table["trial_type"].replace("n/a", "none") + ".png"
        )
        edit_table(events_of(root, run=run), column)


DAMAGES = [
    (
        lambda root: shutil.rmtree(root / "derivatives"),
        {},
        r"^There is no folder .*derivatives/fmriprep; see `derivatives`\.$",
    ),
    (lambda root: None, {"root": "nowhere"}, r"^There is no folder nowhere; see `root`\.$"),
    (lambda root: None, {"subjects": ["01", "03"]}, r"^subject '03': there is no folder in .*/fmriprep/sub-03\.$"),
    (
        lambda root: shutil.rmtree(root / "derivatives/fmriprep/sub-01/func"),
        {},
        r"^subject '01': there is no \*_desc-preproc_bold.nii.gz in .*/fmriprep/sub-01\.$",
    ),
    (
        lambda root: None,
        {"task": "rest"},
        r"^subjects '01', '02': no preprocessed images of task 'rest'; there are task 'objects'\.$",
    ),
    (
        lambda root: None,
        {"space": "T1w"},
        r"no preprocessed images of space 'T1w'; there are space 'MNI152NLin2009cAsym'\.$",
    ),
    (
        lambda root: None,
        {"resolution": "2"},
        r"no preprocessed images of res '2'; there are none with res in its name\.$",
    ),
    (
        lambda root: None,
        {"sessions": ["1"]},
        r"no preprocessed images of ses '1'; there are none with ses in its name\.$",
    ),
    (lambda root: None, {"entities": {"rec": "b"}}, r"of rec 'b'; there are none with rec in its name\.$"),
    (
        remove_runs,
        {"runs": ["1", "2"]},
        r"^subject '02': no preprocessed images of run '2'; there are run '1'\.$",
    ),
    (
        lambda root: shutil.copy(derived(root), derived(root, space="_rec-b_space-MNI152NLin2009cAsym")),
        {},
        r"^subject '01': 2 images of run-1, which differ in 'rec-b', 'rec-'; choose one by `resolution` or `entities`, "
        r"where null takes those without an entity\.$",
    ),
    (
        lambda root: (
            [
                shutil.copy(derived(root), derived(root, space=f"_echo-{echo}_space-MNI152NLin2009cAsym"))
                for echo in "12"
            ]
            + [derived(root).unlink()]
        ),
        {},
        r"^subject '01': 2 images of run-1, which differ in 'echo-1', 'echo-2'; choose one by",
    ),
    (
        lambda root: derived(root).rename(derived(root, space="_echo-2_space-MNI152NLin2009cAsym")),
        {},
        r"^subject '01': the images of all runs should be of one kind; there are 'echo-2 of run-1', 'echo- of run-2'\. "
        r"Choose them by `entities`\.$",
    ),
    (
        lambda root: events_of(root).unlink(),
        {},
        r"^subject '01': 'run-1': there is no events.tsv of the run below .*study\.$",
    ),
    (
        lambda root: [events_of(root, subject, run).unlink() for subject in ("01", "02") for run in "12"],
        {},
        r"^subjects '01', '02': 'run-1', 'run-2': there is no events.tsv of the run below .*study\.$",
    ),
    (
        lambda root: None,
        {"condition": "stim_id"},
        r"^subjects '01', '02': 'run-1', 'run-2': .*/sub-\{subject\}_task-objects_run-\{run\}_events.tsv has no column "
        r"'stim_id'; its columns are 'onset', 'duration', 'trial_type'\.$",
    ),
    (
        lambda root: None,
        {"where": {"trial_type": ["dog"]}},
        r"^subjects '01', '02': 'run-1', 'run-2': .*_run-\{run\}_events.tsv has no event whose trial_type is 'dog'; "
        r"there are 'cat', 'face', 'house'\.$",
    ),
    (
        lambda root: edit_table(events_of(root), with_column(trial_type=lambda table: "n/a")),
        {},
        r"run-1_events.tsv has no event with a value in 'trial_type', which name its condition\.$",
    ),
    (
        lambda root: edit_table(events_of(root), with_column(onset=lambda table: ["0", "soon", *table["onset"][2:]])),
        {},
        r"run-1_events.tsv has 'soon' for the onset on line 3, where seconds are expected\.$",
    ),
    (
        lambda root: edit_table(
            events_of(root),
            with_column(duration=lambda table: table["duration"].mask(table["trial_type"] == "cat", "n/a")),
        ),
        {"runs": ["1"], "subjects": ["01"]},
        r"^subject '01': the stimulus table and the events share 2 of 3 conditions; missing in the events: 'cat'\. "
        r"Give both the same labels\. 6 of 18 events are left out of the model, of 'cat': no duration \(n/a\); "
        r"glm.duration_s gives all events one\.$",
    ),
    (
        lambda root: edit_table(
            events_of(root), with_column(duration=lambda table: ["4", "2", "-1", *table["onset"][3:]])
        ),
        {},
        r"has a negative duration on line 4\.$",
    ),
    (
        rename_event,
        {},
        r"^subject '01': the stimulus table and the events share 3 of 4 conditions; missing in "
        r"the stimulus table: 'dog'\. "
        r"Give both the same labels\. Events without a stimulus are in 'run-1'; put their "
        r"conditions into `exclude`, or "
        r"choose events by `where`\.$",
    ),
    (
        lambda root: None,
        {"exclude": ["cat"]},
        r"^subjects '01', '02': the stimulus table and the events share 2 of 3 conditions; "
        r"missing in the events: 'cat'\. "
        r"Give both the same labels\.$",
    ),
    (
        lambda root: None,
        {"exclude": ["button"]},
        r"^exclude names 'button', which no subject has; there are 'cat', 'face', 'house'\.$",
    ),
    (
        of_one_name,
        {"condition": "stim_file", "subjects": ["01"]},
        r"^subject '01': the condition '\w+' stands for different events, '1/(\w+).png', "
        r"'2/\1.png'; tell them apart by a "
        r"template of columns in `condition`\.$",
    ),
    (
        lambda root: confounds_of(root).unlink(),
        {},
        r"^subject '01': 'run-1': there is no desc-confounds_timeseries.tsv beside the images; "
        r"or set confounds: null\.$",
    ),
    (
        lambda root: edit_table(confounds_of(root), lambda table: table.drop(columns="rot_y")),
        {},
        r"^subject '01': 'run-1': .*_desc-confounds_timeseries.tsv does not fit the settings of `confounds`: .*'rot_y'",
    ),
    (
        lambda root: edit_table(confounds_of(root), lambda table: table.drop(columns="std_dvars")),
        {"confounds": {"strategy": ["scrub"]}},
        r"does not fit the settings of `confounds`: there is no 'std_dvars'\.$",
    ),
    *(
        (
            lambda root, text=text: confounds_of(root).with_suffix(".json").write_text(text),
            {"confounds": {"strategy": ["high_pass", "compcor"]}, "glm": {"drift": "none"}},
            r"_timeseries.tsv does not fit the settings of `confounds`: \S+",
        )
        for text in ("null", '{"a_comp_cor_00": 3}', '{"a_comp_cor_00": {"Mask": 3}}')
    ),
    (
        lambda root: None,
        {"confounds": {"columns": ["a_compcor_00"]}},
        r"has no column 'a_compcor_00', which confounds.columns asks for\. Did you mean 'a_comp_cor_0\d'\?$",
    ),
    (
        lambda root: edit_table(
            confounds_of(root), with_column(rot_x=lambda table: ["0"] * 5 + ["n/a"] * (N_SCANS - 5))
        ),
        {},
        r"^subject '01': 'run-1': .*_timeseries.tsv has no value in column 'rot_x' on line 7\.$",
    ),
    (
        lambda root: edit_table(confounds_of(root), lambda table: table[:-3]),
        {},
        r"^subject '01': 'run-1': the images have 80 volumes, and the table of confounds has 77 rows\.$",
    ),
    (
        lambda root: edit_table(confounds_of(root), with_column(framewise_displacement=lambda table: "2")),
        {"confounds": {"strategy": ["motion", "scrub"]}},
        r"^subject '01': 'run-1': 0 of 80 volumes are left for 3 conditions and 6 confounds; "
        r"ask for fewer confounds, or "
        r"scrub less\.$",
    ),
    (
        lambda root: edit_json(derived(root, ending="desc-preproc_bold.json"), RepetitionTime=1.5),
        {},
        r"^subject '01': 'run-1': the repetition time differs: 1\.5 s in the sidecar of the "
        r"preprocessed images, 2 s in the "
        r"sidecar of the raw images, 2 s in the header of the preprocessed images\. Correct the one that is wrong\.$",
    ),
    (
        lambda root: edit_json(root / "task-objects_bold.json", RepetitionTime=2000),
        {},
        r"the RepetitionTime in the sidecar of the raw images is 2000; it is a number of seconds\.$",
    ),
    (
        lambda root: edit_table(
            confounds_of(root), with_column(rot_x=lambda table: ["0"] * 5 + ["abc"] + ["0"] * (N_SCANS - 6))
        ),
        {},
        r"^subject '01': 'run-1': .*_timeseries.tsv has 'abc', which is no number, in column 'rot_x' on line 7\.$",
    ),
    (
        lambda root: edit_table(
            confounds_of(root),
            with_column(framewise_displacement=lambda table: ["n/a", "0", "-"] + ["0"] * (N_SCANS - 3)),
        ),
        {"confounds": {"strategy": ["motion", "scrub"]}},
        r"has '-', which is no number, in column 'framewise_displacement' on line 4\.$",
    ),
    (
        lambda root: edit_json(derived(root, ending="desc-preproc_bold.json"), RepetitionTime="2 s"),
        {},
        r"the RepetitionTime in the sidecar of the preprocessed images is '2 s'; it is a number of seconds\.$",
    ),
    (
        lambda root: edit_json(derived(root, ending="desc-preproc_bold.json"), StartTime=1000),
        {},
        r"the StartTime in the sidecar of the preprocessed images is 1000; it is a number of seconds from 0 to the TR "
        r"of 2 s\.$",
    ),
    (
        lambda root: edit_json(derived(root, ending="desc-preproc_bold.json"), StartTime="half"),
        {},
        r"the StartTime in the sidecar of the preprocessed images is 'half'; it is a number of seconds",
    ),
    (
        lambda root: edit_json(root / "task-objects_bold.json", VolumeTiming=[0, 3, 7]),
        {},
        r"^subjects '01', '02': 'run-1', 'run-2': the sidecar has VolumeTiming: volumes in "
        r"unequal steps are not supported\.$",
    ),
    (
        lambda root: (root / "task-objects_bold.json").write_text("{"),
        {},
        r"task-objects_bold.json is not a readable JSON sidecar: ",
    ),
    (
        lambda root: None,
        {"glm": {"slice_time_ref": 0.25}},
        r"glm.slice_time_ref is 0\.25, but slices were corrected to 1 s of 2 s, 0\.5; leave it out\.$",
    ),
    (
        lambda root: derived(root, ending="desc-brain_mask.nii.gz").unlink(),
        {},
        r"^subject '01': 1 of 2 masks do not exist: '.*run-1_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz'\.$",
    ),
    (
        lambda root: None,
        {"mask": "{subject}.nii"},
        r"^subjects '01', '02': 1 of 1 masks do not exist: '\{subject\}.nii'\.$",
    ),
    (
        lambda root: edit_image(derived(root, run="2"), affine=np.diag([2.0, 2, 2, 1])),
        {},
        r"^subject '01': The images .*_run-2_.*bold.nii.gz and the images "
        r".*_run-1_.*bold.nii.gz lie on different grids: ",
    ),
    (
        lambda root: edit_image(derived(root, ending="desc-brain_mask.nii.gz"), lambda values: values[:, :, :2]),
        {},
        r"^subject '01': The mask .*_desc-brain_mask.nii.gz and the images .*_bold.nii.gz lie on different grids: ",
    ),
    (
        lambda root: derived(root).write_bytes(b"no image"),
        {},
        r"_desc-preproc_bold.nii.gz is not a readable NIfTI image",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "changes", "message"), DAMAGES)
def test_each_problem_is_one_line_before_any_model_and_stops_the_reading(copied, damage, changes, message):
    damage(copied)
    settings = at(**{"root": copied, **changes})
    problems = settings.problems(CONDITIONS)
    assert [line for line in problems if re.search(message, line)], problems
    assert all("\n" not in line for line in problems)
    if settings.exclude != ("button",):  # which another subject might have
        with pytest.raises(UserError):
            [settings.load(subject, CONDITIONS) for subject in settings.subjects]


def only_run(root, **changes):
    """Return the settings of one run of one subject."""
    return at(root, subjects=["01"], runs=["1"], **changes)


def set_header(root, step, unit):
    image = nib.load(derived(root))
    image.header.set_zooms((*image.header.get_zooms()[:3], 1.0 if step == 0 else step))
    image.header["pixdim"][4] = step
    image.header.set_xyzt_units("mm", unit)
    new = nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
    new.header["pixdim"][4] = step
    nib.save(new, derived(root))


OF_BOTH, OF_ONE, OF_NONE = (2.0, 2.0), (2.0, None), (None, None)
DIFFERS, NO_TIME, NOT_POSSIBLE = "the repetition time differs: 2 s", "neither sidecars nor", "which cannot be"


@pytest.mark.parametrize(
    ("step", "unit", "sidecars", "expected"),
    [
        (1.0, "sec", OF_BOTH, "has a repetition time of 1 s; 2 s of the sidecars counts"),
        (1.0, "unknown", OF_BOTH, "has a repetition time of 1 without a unit; 2 s of the sidecars counts"),
        (2000.0, "sec", OF_BOTH, "has a repetition time of 2000 s; 2 s of the sidecars counts"),
        (2.0, "msec", OF_BOTH, "has a repetition time of 0.002 s; 2 s of the sidecars counts"),
        (2.5, "unknown", OF_BOTH, "has a repetition time of 2.5 without a unit; 2 s of the sidecars counts"),
        (0.0, "sec", OF_BOTH, ""),
        (2.0, "unknown", OF_BOTH, ""),
        (2000.0, "msec", OF_BOTH, ""),
        (2.5, "sec", OF_BOTH, DIFFERS),
        (2500.0, "msec", OF_BOTH, DIFFERS),
        (1.0, "sec", (2.0, 3.0), DIFFERS),
        (0.0, "sec", (2.0, 3.0), DIFFERS),
        (1.0, "sec", OF_ONE, DIFFERS),
        (2.5, "unknown", OF_ONE, DIFFERS),
        (1.0, "unknown", OF_ONE, "has a repetition time of 1 without a unit; 2 s of the sidecars counts"),
        (2000.0, "sec", OF_ONE, "has a repetition time of 2000 s; 2 s of the sidecars counts"),
        (2000.0, "unknown", OF_ONE, "has a repetition time of 2000 without a unit; 2 s of the sidecars counts"),
        (2.0, "sec", OF_NONE, ""),
        (2000.0, "msec", OF_NONE, ""),
        (2.0, "unknown", OF_NONE, "it is 2 s as in the header, which may be a default"),
        (1.0, "unknown", OF_NONE, NO_TIME),
        (0.0, "sec", OF_NONE, NO_TIME),
        (2000.0, "sec", OF_NONE, NOT_POSSIBLE),
        (2000.0, "unknown", OF_NONE, NOT_POSSIBLE),
    ],
)
def test_a_header_that_lost_the_time_or_its_unit_yields_to_the_sidecars(copied, step, unit, sidecars, expected):
    edit_json(derived(copied, ending="desc-preproc_bold.json"), RepetitionTime=sidecars[0], StartTime=None)
    edit_json(copied / "task-objects_bold.json", RepetitionTime=sidecars[1])
    set_header(copied, step, unit)
    settings = only_run(copied)
    (run,) = settings._runs("01")
    sources = [bids_files.metadata(of(run)) for of in (settings._sidecars, settings._raw_sidecars)]
    if expected in (DIFFERS, NO_TIME, NOT_POSSIBLE):
        with pytest.raises(UserError, match=expected):
            bids_files.repetition_time(run, *sources)
        return
    tr_s, warning = bids_files.repetition_time(run, *sources)
    assert tr_s == 2.0
    assert expected in warning
    assert bool(expected) == bool(warning)


def test_a_lost_time_is_a_warning_of_the_check_and_changes_nothing(copied, study, caplog):
    for run in ("1", "2"):
        edit_image(derived(copied, run=run), tr_s=1.0)
    assert at(copied, subjects=["01"]).problems(CONDITIONS) == []
    assert [record.getMessage() for record in caplog.records] == [
        "subject '01': 'run-1', 'run-2': the header of the images has a repetition time of 1 s; 2 s of the sidecars "
        "counts."
    ]
    np.testing.assert_allclose(rows_of(at(copied).load("01"), "run-1"), study.betas["01", "run-1"], atol=0.05)


def test_single_echoes_and_phase_stand_beside_what_is_taken(copied, study, caplog):
    """fMRIPrep writes masks and confounds once for all echoes, parts and (confounds) resolutions."""
    for run in ("1", "2"):
        for other in ("_echo-1", "_echo-2", "_part-phase"):
            shutil.copy(derived(copied, run="2" if run == "1" else "1"), tmp := copied / "other.nii.gz")
            tmp.rename(derived(copied, run=run, space=f"{other}_space-MNI152NLin2009cAsym"))
    combined = at(copied, subjects=["01"])
    assert combined.problems(CONDITIONS) == []
    np.testing.assert_allclose(rows_of(combined.load("01"), "run-1"), study.betas["01", "run-1"], atol=0.05)
    for entities in ({"echo": "2"}, {"part": "phase"}):
        single = at(copied, subjects=["01"], entities=entities, confounds={"strategy": []})
        assert single.problems(CONDITIONS) == []
        (name,) = {
            path.name for path in single.files("01") if path.name.endswith("bold.nii.gz") and "run-1" in path.name
        }
        assert "-".join(*entities.items()) in name
        assert [run.mask for run in single._runs("01")] == [run.mask for run in combined._runs("01")]
        assert [run.confounds() for run in single._runs("01")] == [run.confounds() for run in combined._runs("01")]
        assert None not in [run.confounds() for run in single._runs("01")]


def test_subjects_whose_images_are_of_other_kinds_are_told(copied, caplog):
    for run in ("1", "2"):
        derived(copied, "02", run).rename(derived(copied, "02", run, space="_echo-2_space-MNI152NLin2009cAsym"))
    assert at(copied).problems(CONDITIONS) == []
    assert [record.getMessage() for record in caplog.records] == [
        "the images of subjects are not of one kind: 'echo- of 01', 'echo-2 of 02'"
    ]


def test_magnitude_is_taken_where_every_image_says_what_it_is(copied, study):
    for run in ("1", "2"):
        derived(copied, run=run).rename(derived(copied, run=run, space="_part-mag_space-MNI152NLin2009cAsym"))
        phase = derived(copied, run=run, space="_part-phase_space-MNI152NLin2009cAsym")
        shutil.copy(derived(copied, run="1", space="_part-mag_space-MNI152NLin2009cAsym"), phase)
    settings = at(copied, subjects=["01"])
    assert {run.entities["part"] for run in settings._runs("01")} == {"mag"}
    np.testing.assert_allclose(rows_of(settings.load("01"), "run-1"), study.betas["01", "run-1"], atol=0.05)


def test_images_without_an_entity_are_taken_by_default_or_by_null(copied, study):
    for run in ("1", "2"):
        shutil.copy(derived(copied, run="1"), derived(copied, run=run, space="_space-MNI152NLin2009cAsym_res-2"))
    plain = at(copied, subjects=["01"])
    assert plain.problems(CONDITIONS) == []
    assert {run.entities.get("res") for run in plain._runs("01")} == {None}
    np.testing.assert_allclose(rows_of(plain.load("01"), "run-2"), study.betas["01", "run-2"], atol=0.05)
    for run in ("1", "2"):
        shutil.copy(derived(copied, run="1"), derived(copied, run=run, space="_rec-b_space-MNI152NLin2009cAsym"))
    assert "differ in 'rec-b', 'rec-'" in at(copied, subjects=["01"]).problems(CONDITIONS)[0]
    chosen = at(copied, subjects=["01"], entities={"rec": None})
    np.testing.assert_allclose(rows_of(chosen.load("01"), "run-2"), study.betas["01", "run-2"], atol=0.05)


def test_quotation_marks_in_events_hide_no_event(copied, study):
    for run in ("1", "2"):
        lines = events_of(copied, run=run).read_text().splitlines()
        spoken = ["response", *["n/a"] * (len(lines) - 1)]
        spoken[4], spoken[12] = '"umm I saw', '"maybe'
        text = "\n".join(f"{line}\t{word}" for line, word in zip(lines, spoken, strict=True))
        events_of(copied, run=run).write_text(text + "\n")
    settings = at(copied, subjects=["01"])
    assert [len(settings._events(run)) for run in settings._runs("01")] == [18, 18]
    np.testing.assert_allclose(rows_of(settings.load("01"), "run-1"), study.betas["01", "run-1"], atol=0.05)


def test_text_in_latin_1_stops_no_study_and_is_told(copied, study, caplog):
    (copied / "task-objects_bold.json").write_bytes(
        '{"RepetitionTime": 2.0, "InstitutionName": "Hôpital"}'.encode("latin-1")
    )
    lines = [f"{line}\tcassé" for line in events_of(copied).read_text().splitlines()]
    events_of(copied).write_bytes("\n".join(lines).encode("latin-1"))
    confounds = confounds_of(copied)
    confounds.with_suffix(".json").write_bytes(
        confounds.with_suffix(".json").read_text().replace("aCompCor", "é").encode("latin-1")
    )
    settings = only_run(copied, confounds={"strategy": ["high_pass", "compcor"]}, glm={"drift": "none"})
    assert settings.problems(CONDITIONS) == []
    told = [record.getMessage() for record in caplog.records if "is not in UTF-8" in record.getMessage()]
    assert [re.search(r"([a-z]+)\.\w+ is not", line)[1] for line in told] == ["bold", "events", "timeseries"]
    assert "with 'Hôpital'" in told[0]


def test_an_event_after_the_end_is_a_warning_and_an_excluded_one_is_still_known(copied, study, caplog):
    def later(table):
        return pd.concat([table, pd.DataFrame({"onset": ["161"], "duration": ["2"], "trial_type": ["thanks"]})])

    for subject in ("01", "02"):
        for run in ("1", "2"):
            edit_table(events_of(copied, subject, run), later)
    settings = at(copied, exclude=["thanks"])
    assert settings.problems(CONDITIONS) == []
    assert [record.getMessage() for record in caplog.records] == [
        "subjects '01', '02': 'run-1', 'run-2': 1 of 19 events are left out of the model, of 'thanks': an onset after "
        "the last volume, which ends at 160 s."
    ]
    assert at(copied).conditions("01") == settings.conditions("01"), "a condition that no volume shows is none"
    np.testing.assert_allclose(rows_of(settings.load("01"), "run-1"), study.betas["01", "run-1"], atol=0.05)
    assert "'thanks'" in caplog.text


def test_impulses_beside_events_that_last_are_told_whatever_run_they_are_in(copied, caplog):
    for name in ("1", "2"):
        edit_table(
            events_of(copied, run=name), with_column(duration=lambda table, name=name: "0" if name == "1" else "1")
        )
    assert at(copied, subjects=["01"]).problems(CONDITIONS) == []
    (record,) = caplog.records
    assert record.getMessage().startswith("subject '01': events last 0 to 1 s, and for one response the betas of the ")
    assert "about 25 times as large" in record.getMessage()
    caplog.clear()
    edit_table(
        events_of(copied, run="1"),
        with_column(duration=lambda table: ["0" if x == "cat" else "1" for x in table["trial_type"]]),
    )
    assert at(copied, subjects=["01"], exclude=["cat"]).problems(["face", "house"]) == []
    assert not caplog.records, "what is not compared needs no units"


def trees(data):
    """Yield the listings of real trees of fMRIPrep: name, paths, and what is above the subjects."""
    readers = data / "readers"
    for path in [*readers.glob("openneuro_derivatives/*_FILES.txt"), *readers.glob("bids_examples/*/FILES*.txt")]:
        lines = path.read_text().split()
        yield path.name.split("_")[0], [line.split("/", 1)[1] if line.startswith("ds") else line for line in lines]


def test_runs_masks_and_confounds_of_real_trees_are_found(data, tmp_path):
    n_runs = {}
    for name, paths in trees(data):
        root = tmp_path / name
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
        subjects = sorted(
            {path.split("/")[0].removeprefix("sub-") for path in paths if path.startswith("sub-") and "/" in path}
        )
        for subject in subjects:
            runs = bids_files.find_runs(root, subject)
            there = [
                path
                for path in paths
                if path.startswith(f"sub-{subject}/") and path.endswith("_desc-preproc_bold.nii.gz")
            ]
            assert sorted(str(run.bold.relative_to(root)) for run in runs) == sorted(there)
            n_runs[name] = n_runs.get(name, 0) + len(runs)
            if not runs:
                problem = bids_files.problem_of_no_images(root, subject)
                assert "with --level minimal or resampling; run it again with --level full" in problem
            for run in runs:
                assert str(run.mask.relative_to(root)) in paths
                assert str(run.confounds().relative_to(root)) in paths
                assert "space" not in run.confounds().name
    assert n_runs == {"ds000105-fmriprep": 32, "ds001246-fmriprep": 0, "ds002748-fmriprep": 3, "FILES": 3}


COMPCOR = ["motion", "wm_csf", "global_signal", "high_pass", "compcor"]


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        ("test-v21_desc-confounds_timeseries", COMPCOR),
        ("test_desc-confounds_regressors", COMPCOR),
        ("no_nonsteady_desc-confounds_regressors", ["motion", "high_pass"]),
    ],
)
def test_real_confounds_are_those_that_nilearn_reads(data, tmp_path, name, strategy):
    from nilearn.interfaces.fmriprep import load_confounds

    for source in (data / "readers" / "fmriprep_confounds_nilearn").glob(f"{name}.*"):
        ending = name.split("_")[-1] + source.suffix
        shutil.copy(source, tmp_path / f"sub-1_task-a_desc-confounds_{ending}")
    bold = tmp_path / "sub-1_task-a_space-T1w_desc-preproc_bold.nii.gz"
    bold.touch()
    run = bids_files.Run(tmp_path / "sub-1_task-a_echo-2_part-mag_space-T1w_res-2_desc-preproc_bold.nii.gz", {})
    found, found_kept = read_confounds(run, Confounds(strategy=strategy, motion="full", wm_csf="basic"))
    expected, kept = load_confounds(str(bold), strategy, demean=False, motion="full", n_compcor=5)
    assert list(found) == list(expected)
    np.testing.assert_allclose(found, expected)
    assert np.flatnonzero(found_kept).tolist() == (list(range(len(found))) if kept is None else kept.tolist())


def test_what_there_is_instead_of_images_is_said(tmp_path):
    tree = build_bids(tmp_path, ["01"])
    folder = tree.derivatives / "sub-01" / "func"
    for path in folder.glob("*preproc_bold.nii.gz"):
        path.unlink()
    (problem,) = settings_of(tree).problems()
    assert "--level minimal" in problem
    (folder / "sub-01_task-objects_space-fsLR_den-91k_bold.dtseries.nii").touch()
    (problem,) = settings_of(tree).problems()
    assert problem.endswith(
        "only images on surfaces; run fMRIPrep with a volume, such as --output-spaces T1w, as well."
    )
    shutil.rmtree(tree.derivatives)
    tree.derivatives.mkdir()
    (problem,) = settings_of(tree).problems()
    place = shlex.quote(str(tree.derivatives))
    assert problem.endswith(f"{tree.derivatives} is empty: of a DataLad data set, `datalad get -n {place}`.")


def test_files_of_a_run_whose_content_is_elsewhere_are_found_by_their_names(copied):
    annexed = ".git/annex/objects/2p/Xz/MD5E-s12--0a/MD5E-s12--0a"
    settings = only_run(copied)
    before = settings.files("01")
    for path in before:
        path.unlink()
        path.symlink_to(annexed)
    assert settings.files("01") == before
    (line,) = problems_of_content(settings.files("01"))
    assert line.startswith(f"The content of {len(before)} of {len(before)} files (")
    with pytest.raises(UserError, match="git-annex has only the name"):
        settings.load("01")


def test_times_that_differ_between_runs_are_a_problem(copied):
    edit_json(copied / "task-objects_bold.json", RepetitionTime=None)
    edit_json(derived(copied, run="2", ending="desc-preproc_bold.json"), RepetitionTime=2.1)
    edit_image(derived(copied, run="2"), tr_s=2.1)
    assert at(copied).problems() == [
        "subject '01': runs have different repetition times: 2 s in run-1, 2.1 s in run-2. Choose those of one by "
        "`sessions` or `runs`."
    ]


def test_a_truncated_run_is_found_before_any_model(copied):
    edit_image(derived(copied), lambda values: values[..., :50])
    edit_table(confounds_of(copied), lambda table: table[:50])
    (problem,) = at(copied).problems(CONDITIONS)
    assert problem.startswith("subject '01': 'run-1': ")
    with pytest.raises(UserError, match="subject '01': 'run-1': "):
        at(copied).load("01")


def test_delays_that_do_not_fit_the_volumes_are_found_before_any_model(study):
    problems = settings_of(study, glm={"method": "fir", "delays_s": [0, 3]}).problems(CONDITIONS)
    assert len(problems) == 1
    assert problems[0].startswith("subjects '01', '02': 'run-1', 'run-2': ")


def test_a_session_without_a_run_that_is_asked_for_is_named(tmp_path):
    tree = build_bids(tmp_path, ["01"], ["1", "2"], ["a", "b"])
    for path in tree.derivatives.glob("sub-01/ses-b/func/*run-2*"):
        path.unlink()
    assert settings_of(tree, runs=["1", "2"]).problems() == [
        "subject '01': session 'b' has no preprocessed images of run '2', only '1'."
    ]
    assert settings_of(tree).problems() == []
    with pytest.raises(UserError, match="subject '01': session 'b' has no preprocessed images of run '2', only '1'"):
        settings_of(tree, runs=["1", "2"]).files("01")


def test_runs_that_only_some_subjects_have_are_logged(copied, caplog):
    remove_runs(copied)
    assert at(copied).problems(CONDITIONS) == []
    assert [record.getMessage() for record in caplog.records] == ["subject '02' has no 'run-2', which others have"]


def test_one_of_several_resolutions_or_reconstructions_is_chosen(copied, study):
    res = "_space-MNI152NLin2009cAsym_res-2"
    for run in ("1", "2"):
        for ending in ("desc-preproc_bold.nii.gz", "desc-preproc_bold.json", "desc-brain_mask.nii.gz"):
            shutil.copy(derived(copied, run=run, ending=ending), derived(copied, run=run, ending=ending, space=res))
    chosen = at(copied, resolution="2")
    assert all("res-2" in path.name for path in chosen.files("01") if path.suffix == ".gz")
    np.testing.assert_allclose(rows_of(chosen.load("01"), "run-2"), study.betas["01", "run-2"], atol=0.05)


# ------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subjects": []}, "at least 1 item"),
        ({"runs": [1]}, "Input should be a valid string"),
        ({"where": {"a": [1]}}, "Input should be a valid string"),
        ({"task": "my-task"}, "only letters and digits"),
        ({"mask": "{run}.nii"}, "unknown placeholder 'run': mask takes {subject}"),
        ({"entities": {"res": "2"}}, "entities has 'res', which is the setting 'resolution'; give it there"),
        ({"condition": "{}_{a}"}, "condition '{}_{a}' has braces without the name of a column"),
        ({"confounds": {"strategy": ["high_pass"]}}, "glm.drift is 'cosine', so drift would be modelled twice"),
        ({"confounds": {"strategy": ["compcor"]}}, "so strategy compcor needs high_pass beside it"),
        ({"confounds": {"strategy": ["aroma"]}}, "Input should be 'motion', 'wm_csf'"),
        ({"smoothing_fwhm_mm": -1}, "greater than or equal to 0"),
        ({"glm": {"smoothing": 1}}, "Extra inputs are not permitted"),
        ({"images": "a.nii"}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused(change, message):
    assert Bids(**GOOD).space == "MNI152NLin2009cAsym"
    with pytest.raises(ValidationError) as raised:
        Bids(**{**GOOD, **change})
    assert message in str(raised.value)


def test_relative_paths_start_at_data_root():
    settings = Bids.model_validate({**GOOD, "derivatives": "prep"}, context={"data_root": "/data"})
    assert (settings.root, settings.derivatives, settings.mask) == ("/data/study", "/data/prep", "fmriprep")


# ------------------------------------------------------------------------------------------- real data


def test_the_run_of_generic_object_decoding_has_nearly_the_betas_that_ridge_regression_gave(data, tmp_path):
    settings = Bids(**{**god_as_bids(data, tmp_path), "glm": {"drift": "none", "noise_model": "ols"}})
    source = data / "god_sub01_run01"
    stimuli = pd.read_csv(source / "stimuli.tsv", sep="\t")["stimulus_name"].tolist()
    assert settings.problems(stimuli) == []
    patterns = settings.load("01", stimuli)
    mask, betas = (nib.load(source / f"{name}.nii.gz").slicer[:, :, 17:19] for name in ("mask", "betas"))
    assert set(patterns.table["run"]) == {"ses-perceptionTest01_run-01"}
    np.testing.assert_array_equal(patterns.volume.mask, mask.get_fdata() > 0)
    np.testing.assert_allclose(patterns.volume.affine, mask.affine)
    values = patterns.values[[patterns.conditions.index(name) for name in stimuli]]
    expected = betas.get_fdata()[patterns.volume.mask].T
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(values.T, expected.T, strict=True)]
    assert np.median(r) > 0.85


@pytest.fixture(scope="module")
def haxby(data, tmp_path_factory):
    """Read the slice of Haxby et al. by the model with which its betas were computed."""
    glm = {"noise_model": "ols", "drift": "polynomial", "drift_order": 2, "slice_time_ref": 0}
    settings = Bids(**haxby_as_bids(data, tmp_path_factory.mktemp("haxby")), glm=glm)
    categories = ["bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe"]
    assert settings.problems(categories) == []
    return settings.load("1", categories)


@pytest.mark.slow
def test_the_runs_of_haxby_have_the_betas_that_were_computed_elsewhere(haxby, data):
    assert haxby.values.shape == (12 * 8, 511)
    runs = [f"run-{run:02d}" for run in range(1, 13)]
    assert list(dict.fromkeys(haxby.table["run"])) == runs
    table = pd.read_csv(data / "haxby2001_slice" / "conditions.tsv", sep="\t")
    images = nib.load(data / "haxby2001_slice" / "betas_run.nii.gz").get_fdata()[haxby.volume.mask].T
    for run, name in enumerate(runs, start=1):
        rows = table[table["run"] == run].set_index("condition")["volume"]
        found = haxby.table[haxby.table["run"] == name]
        expected = images[rows.loc[found["condition"]]]  # in % of the mean of each voxel
        r = [np.corrcoef(a, b)[0, 1] for a, b in zip(haxby.values[found.index].T, expected.T, strict=True)]
        assert np.median(r) > 0.999


def test_categories_of_haxby_are_more_alike_between_odd_and_even_runs_than_others(haxby):
    patterns = haxby
    half = patterns.table["run"].str[-1].astype(int) % 2
    centred = pd.DataFrame(patterns.values[:, patterns.usable])
    centred -= centred.groupby(patterns.table["run"]).transform("mean")
    odd, even = (centred[half == i].groupby(patterns.table["condition"]).mean() for i in (1, 0))
    between = np.corrcoef(odd, even)[:8, 8:]
    same, different = np.diag(between).mean(), between[~np.eye(8, dtype=bool)].mean()
    assert same - different > 0.09, (same, different)
