"""One set of real betas, written as SPM, FSL, GLMsingle, NSD and THINGS leave theirs, is read as the same patterns."""

import logging
import pickle
import re
from pathlib import Path

import h5py
import layouts
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError
from scipy.io import loadmat, savemat

from rsa.datasets import Feat, GlmSingle, Maps, Spm
from rsa.errors import UserError
from rsa.pipeline.checks import validated
from rsa.pipeline.config import read_yaml

CONFIGS = Path(__file__).parent.parent / "config"
CATEGORIES = ["bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe"]
BUILDERS = {
    "nsd": layouts.as_nsd,
    "things_fmri": layouts.as_things,
    "spm_betas": layouts.as_spm,
    "fsl_copes": layouts.as_feat,
    "glmsingle": layouts.as_glmsingle,
}


def truth(data: Path, labels: list[str] | None = None, run: str = "{}", n_runs: int = layouts.N_RUNS) -> pd.DataFrame:
    """Return the real patterns, a row per (condition, run) and a column per voxel."""
    slice_ = layouts.haxby(data)
    named = dict(zip(slice_.conditions, labels or slice_.conditions, strict=True))
    keys = [(named[row.condition], run.format(row.run)) for row in slice_.table.itertuples()]
    frame = pd.DataFrame(slice_.betas[slice_.mask].T, index=pd.MultiIndex.from_tuples(keys, names=["condition", "run"]))
    return frame.head(8 * n_runs)


def as_frame(patterns) -> pd.DataFrame:
    assert list(patterns.table) == ["condition", "run"]
    return pd.DataFrame(patterns.values, index=pd.MultiIndex.from_frame(patterns.table))


def assert_same(patterns, expected: pd.DataFrame, **tolerance) -> None:
    found = as_frame(patterns)
    assert sorted(found.index) == sorted(expected.index)
    np.testing.assert_allclose(found.loc[expected.index].to_numpy(), expected.to_numpy(), **(tolerance or {"rtol": 0}))


@pytest.fixture(scope="module")
def spm(data, tmp_path_factory):
    return layouts.as_spm(data, tmp_path_factory.mktemp("spm"), contrasts=True)


@pytest.fixture(scope="module")
def feat(data, tmp_path_factory):
    return layouts.as_feat(data, tmp_path_factory.mktemp("feat"))


def spm_settings(folder: Path, /, **change) -> Spm:
    return Spm(**{"subjects": ["01"], "folder": str(folder / "first_level" / "sub-{subject}"), **change})


def feat_settings(folder: Path, /, **change) -> Feat:
    section = {"subjects": ["01"], "runs": [f"{run:02d}" for run in range(1, layouts.N_RUNS + 1)], "reg_standard": True}
    folder_of_run = str(folder / "feat" / "sub-{subject}" / "run-{run}.feat")
    return Feat(**{**section, "folder": folder_of_run, "exclude": ["faces > houses"], **change})


def glmsingle_settings(folder: Path, suffix: str = ".npy", /, **change) -> GlmSingle:
    home = folder / "glmsingle" / "sub-{subject}"
    section = {
        "betas": str(home / f"TYPED_FITHRF_GLMDENOISE_RR{suffix}"),
        "table": str(home / "trials.tsv"),
        "grid_image": str(home / "mean_bold.nii.gz"),
        "exclude": ["rest"],
    }
    return GlmSingle(**{"subjects": ["01"], **section, **change})


# ------------------------------------------------------------------------------------------ configurations


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDERS)
def test_every_shipped_configuration_finds_its_data_without_a_problem(name, data, tmp_path):
    folder = BUILDERS[name](data, tmp_path / "tree")
    raw = read_yaml(CONFIGS / f"{name}.yaml")
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(raw | {"data_root": str(folder)}), encoding="utf-8")
    study = validated(path)
    patterns = study.brain.load("01", study.stimuli.conditions())
    assert len(patterns.conditions) == 8
    assert set(patterns.conditions) == set(study.stimuli.conditions())
    assert patterns.n_features == 511
    assert np.ptp(patterns.values, axis=1).min() > 0, "images that are not to be read are the same everywhere"
    assert all(path.exists() for path in study.brain.files("01", study.stimuli.conditions()))


def brain_of(name: str, folder: Path) -> Maps:
    raw = read_yaml(CONFIGS / f"{name}.yaml")["brain"]
    return Maps.model_validate(raw, context={"data_root": str(folder)})


def test_sessions_of_nsd_are_read_by_their_numbers_and_repeats_averaged(data, tmp_path, caplog):
    folder = layouts.as_nsd(data, tmp_path, n_sessions=6)
    raw = brain_of("nsd", folder).model_dump()
    brain = Maps(**{**raw, "runs": raw["runs"][:6]})
    labels = [str(one) for one in layouts.SHARED_NSD]
    with caplog.at_level(logging.INFO):
        patterns = brain.load("01", labels)
    expected = truth(data, labels, "{:0>2}", n_runs=6)
    whole = layouts.nsd_units(expected.to_numpy()).astype(np.float32)
    assert_same(patterns, pd.DataFrame(whole, index=expected.index))
    np.testing.assert_allclose(whole / 300, expected, atol=0.5 / 300 + 1e-6)
    assert "subject '01': 96 of 120 images are read, those of the stimuli" in caplog.messages
    with pytest.raises(UserError, match=r"responses\.tsv has '\d+', '\d+'") as raised:
        Maps(**{**brain.model_dump(), "repeats": "error"}).load("01", labels)
    assert "twice in a run; average them (`repeats: mean`), or tell them apart by runs." in str(raised.value)
    (problem,) = Maps(**{**brain.model_dump(), "only_stimuli": False}).problems(labels)
    assert "missing in the stimulus table: '40001'" in problem


def test_runs_of_a_session_of_things_are_one(data, tmp_path):
    brain = brain_of("things_fmri", layouts.as_things(data, tmp_path, n_sessions=3))
    brain = Maps(**{**brain.model_dump(), "sessions": brain.sessions[:3]})
    labels = [f"{name}_14s" for name in CATEGORIES]
    assert_same(brain.load("01", labels), truth(data, labels, "{:0>2}", n_runs=3))
    assert brain.run_labels("01") == ["01", "02", "03"]
    apart = Maps(**{**brain.model_dump(), "pool_runs": False})
    patterns = apart.load("01", labels)
    assert patterns.table["run"].nunique() == 3 * 8
    assert set(patterns.table[patterns.table["condition"] == "bottle_14s"]["run"]) >= {"ses-01_run-02", "ses-03_run-04"}


# ------------------------------------------------------------------------------------------------------ SPM


def test_spm_betas_are_named_by_the_design(data, spm):
    section = spm_settings(spm)
    assert section.conditions("01") == CATEGORIES
    assert section.problems(CATEGORIES[::-1]) == []
    assert section.grid("01").shape == (40, 20, 1)
    home = spm / "first_level" / "sub-01"
    files = section.files("01")
    assert files[0] == home / "SPM.mat"
    assert home / "mask.nii" in files
    assert len(files) == 8 * layouts.N_RUNS + 2, "no derivative, modulator, motion or constant"
    assert section.run_labels("01") == ["1", "2", "3", "4"]
    assert_same(section.load("01", CATEGORIES), truth(data))


def test_spm_residuals_have_the_degrees_of_freedom_of_their_sum_of_squares(data, spm):
    section = spm_settings(spm)
    patterns = section.load("01", CATEGORIES, residuals=True)
    slice_ = layouts.haxby(data)
    expected = np.concatenate([slice_.residuals(run)[slice_.mask].T for run in range(1, layouts.N_RUNS + 1)])
    np.testing.assert_array_equal(patterns.residuals.values, expected)
    assert patterns.residuals.degrees_of_freedom == layouts.N_RUNS * layouts.DOF_OF_RUN, "trRV, not erdf"
    assert section.load("01", CATEGORIES).residuals is None
    assert len(section.files("01", residuals=True)) == 8 * layouts.N_RUNS + 2 + layouts.N_RUNS * layouts.N_SCANS
    assert section.problems(CATEGORIES, residuals=True) == []


def test_residual_images_that_hold_the_signal_are_refused(data, tmp_path):
    layouts.as_spm(data, tmp_path)
    home = tmp_path / "first_level" / "sub-01"
    for path in home.glob("Res_*.nii"):
        image = nib.load(path)
        layouts.save_image(path, image.get_fdata() + 100, image.affine)
    with pytest.raises(UserError, match=r"vary more than ResMS\.nii says, so the effects were not taken out"):
        spm_settings(tmp_path).load("01", residuals=True)
    for path in home.glob("Res_*.nii"):
        path.unlink()
    (problem,) = spm_settings(tmp_path).problems(CATEGORIES, residuals=True)
    assert "Residuals are needed and" in problem
    assert "estimate the model with 'Write residuals' switched on" in problem
    assert spm_settings(tmp_path).problems(CATEGORIES) == []


def test_voxels_without_residuals_are_not_usable(data, tmp_path):
    layouts.as_spm(data, tmp_path)
    path = tmp_path / "first_level" / "sub-01" / "Res_0007.nii"
    image = nib.load(path)
    values = image.get_fdata()
    values[tuple(np.argwhere(layouts.haxby(data).mask)[3])] = np.nan
    layouts.save_image(path, values, image.affine)
    patterns = spm_settings(tmp_path).load("01", residuals=True)
    assert np.flatnonzero(~patterns.usable).tolist() == [3]
    assert spm_settings(tmp_path).load("01").usable.all()


def test_t_maps_of_spm_are_named_by_contrasts(data, spm):
    section = spm_settings(spm, images="spmT", exclude=["faces > houses"])
    assert section.problems(CATEGORIES) == []
    assert_same(section.load("01", CATEGORIES), truth(data, n_runs=3))
    assert spm_settings(spm, images="spmT", only_stimuli=True).problems(CATEGORIES) == []
    problems = spm_settings(spm, images="spmT").problems()
    assert ["has contrasts of single sessions, and 'faces > houses' of all" in text for text in problems] == [True]


@pytest.mark.parametrize("basis", ["Finite Impulse Response", "Fourier set"])
def test_basis_functions_are_delays_or_refused(data, tmp_path, basis):
    section = spm_settings(layouts.as_spm(data, tmp_path, basis=basis), exclude=["face"])
    if basis == "Fourier set":
        (problem,) = section.problems()
        assert "has the basis functions 'Fourier set', of which none is a response" in problem
        return
    patterns = section.load("01")
    assert patterns.delays_s == [8.0, 24.0], "the middles of two bins of 16 s"
    assert patterns.conditions == [name for name in CATEGORIES if name != "face"]
    first = patterns.at_delay(8.0)
    expected = truth(data).drop("face", level="condition")
    assert_same(first, expected)
    assert (patterns.at_delay(24.0).values == layouts.JUNK).all()


def test_a_condition_may_look_like_a_modulator(data, tmp_path):
    layouts.as_spm(data, tmp_path)
    path = tmp_path / "first_level" / "sub-01" / "SPM.mat"
    design = loadmat(path, simplify_cells=True)["SPM"]
    design["xX"]["name"] = np.array(
        [str(name).replace("shoe", "box^2").replace("chair", "fox") for name in design["xX"]["name"]], dtype=object
    )
    savemat(path, {"SPM": design})
    assert {"box^2", "fox"} < set(spm_settings(tmp_path).conditions("01"))
    assert "facexrating^1" not in spm_settings(tmp_path).conditions("01")


def write_matlab_73(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["SPM"] = np.zeros(2)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_matlab_73, "has no 'SPM.xX.name', 'SPM.xBF.name', 'SPM.nscan'; specify and estimate"),
        (lambda path: path.write_bytes(b"SPM" * 100), "cannot be read as an SPM.mat"),
        (lambda path: path.write_bytes(b""), "cannot be read as an SPM.mat"),
        (lambda path: savemat(path, {"other": 1}), "cannot be read as an SPM.mat"),
        (lambda path: savemat(path, {"SPM": {"xX": 1}}), "has no 'SPM.xX.name', 'SPM.xBF.name', 'SPM.nscan'"),
        (
            lambda path: savemat(
                path, {"SPM": {"xX": {"name": "Sn(1) R1", "trRV": 9}, "xBF": {"name": "hrf"}, "nscan": 9}}
            ),
            "has no regressor of events; see `images`",
        ),
        (
            lambda path: savemat(path, {"SPM": {"xX": {"name": "Sn(1) a*bf(1)"}, "xBF": {"name": "hrf"}, "nscan": 9}}),
            "was specified and never estimated, so it has no images; estimate it",
        ),
        (
            lambda path: savemat(
                path, {"SPM": {"xX": {"name": "Sn(1) a*bf(1)", "trRV": 9}, "xBF": {"name": "hrf"}, "nscan": 9}}
            ),
            "2 of 3 files do not exist",
        ),
        (lambda path: None, "There is no file"),
    ],
    ids=["HDF5", "no MATLAB", "empty", "no SPM", "no design", "no events", "not estimated", "no images", "nothing"],
)
def test_designs_that_cannot_be_used_are_told_once_for_all_subjects(tmp_path, write, message):
    for subject in ("01", "02"):
        (tmp_path / "first_level" / f"sub-{subject}").mkdir(parents=True)
        write(tmp_path / "first_level" / f"sub-{subject}" / "SPM.mat")
    (problem,) = spm_settings(tmp_path, subjects=["01", "02"]).problems()
    assert problem.startswith("subjects '01', '02': ")
    assert message in problem
    assert "sub-{subject}" in problem
    with pytest.raises(UserError, match=re.escape(message)):
        spm_settings(tmp_path).load("01")


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        (spm_settings, {"folder": "sub-{run}"}, "unknown placeholder 'run': folder takes {subject}"),
        (spm_settings, {"folder": "a", "subjects": ["1", "2"]}, "folder has no {subject}"),
        (spm_settings, {"images": "ess"}, "'beta', 'con' or 'spmT'"),
        (feat_settings, {"folder": "{subject}{task}{run}"}, "unknown placeholder 'task'"),
        (feat_settings, {"folder": "a{run}", "subjects": ["1", "2"]}, "folder has no {subject}"),
        (feat_settings, {"folder": "{subject}"}, "folder has no {run}, so all runs would be the same"),
        (feat_settings, {"runs": []}, "at least 1 item"),
        (glmsingle_settings, {"table": "{run}.tsv"}, "unknown placeholder 'run': table takes {subject}"),
        (glmsingle_settings, {"betas": "a.npy", "subjects": ["1", "2"]}, "betas has no {subject}"),
        (glmsingle_settings, {"betas": "{subject}.nii"}, "betas are read from files '.npy', '.npz', '.hdf5'"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused(make, change, message, tmp_path):
    assert make(tmp_path).subjects == ("01",)
    with pytest.raises(ValidationError) as raised:
        make(tmp_path, **change)
    assert message in str(raised.value)


# ------------------------------------------------------------------------------------------------------ FSL


@pytest.mark.parametrize(("estimate", "factor"), [("cope", 1), ("zstat", 2), ("pe", 1)])
def test_estimates_of_fsl_are_named_by_the_design(data, feat, estimate, factor):
    section = feat_settings(feat, estimate=estimate, exclude=[] if estimate == "pe" else ["faces > houses"])
    assert section.problems(CATEGORIES) == []
    assert_same(section.load("01", CATEGORIES), factor * truth(data, run="{:0>2}"))


def test_fsl_residuals_and_their_degrees_of_freedom(data, feat):
    patterns = feat_settings(feat).load("01", CATEGORIES, residuals=True)
    slice_ = layouts.haxby(data)
    expected = np.concatenate([slice_.residuals(run)[slice_.mask].T for run in range(1, layouts.N_RUNS + 1)])
    np.testing.assert_array_equal(patterns.residuals.values, expected)
    assert patterns.residuals.degrees_of_freedom == layouts.N_RUNS * layouts.DOF_OF_RUN


def test_runs_of_fsl_in_their_own_space_are_warned_of(data, tmp_path, caplog):
    section = feat_settings(layouts.as_feat(data, tmp_path, registered=False), reg_standard=False)
    with caplog.at_level(logging.WARNING):
        assert_same(section.load("01", CATEGORIES), truth(data, run="{:0>2}"))
    assert any("unless the runs were aligned before FEAT, run featregapply" in text for text in caplog.messages)
    (problem,) = feat_settings(tmp_path).problems(CATEGORIES)
    assert "files do not exist: " in problem
    assert "sub-{subject}/run-01.feat/reg_standard/stats/cope1.nii.gz" in problem.replace("sub-01", "sub-{subject}")


def test_runs_of_fsl_on_different_grids_are_refused(data, tmp_path):
    layouts.as_feat(data, tmp_path)
    path = tmp_path / "feat" / "sub-01" / "run-03.feat" / "reg_standard" / "stats" / "cope2.nii.gz"
    image = nib.load(path)
    moved = image.affine.copy()
    moved[1, 3] += 2
    layouts.save_image(path, image.get_fdata(), moved)
    (problem,) = feat_settings(tmp_path).problems(CATEGORIES)
    assert "lie on different grids" in problem
    (tmp_path / "feat" / "sub-01" / "run-02.feat" / "stats" / "dof").write_text("many")
    path.unlink()
    layouts.save_image(path, image.get_fdata(), image.affine)
    with pytest.raises(UserError, match="should hold the degrees of freedom of the run, one number"):
        feat_settings(tmp_path).load("01", residuals=True)
    (path.parent / "res4d.nii.gz").unlink()
    (problem,) = feat_settings(tmp_path).problems(CATEGORIES, residuals=True)
    assert "Residuals are needed and there is no" in problem


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_titles_of_fsl_are_read_in_every_encoding(tmp_path, encoding):
    home = tmp_path / "feat" / "sub-01" / "run-01.feat"
    home.mkdir(parents=True)
    (home / "design.con").write_bytes("/ContrastName1\tBär\r\n/ContrastName2\tVögel\r\n".encode(encoding))
    assert set(feat_settings(tmp_path, runs=["01"], exclude=[]).conditions("01")) == {"Bär", "Vögel"}


@pytest.mark.parametrize(
    ("name", "text", "estimate", "message"),
    [
        ("design.con", "/NumWaves 3\n", "cope", "design.con names no contrast; run FEAT again"),
        ("design.fsf", "set fmri(version) 6.00\n", "pe", "design.fsf names no explanatory variable"),
        ("design.fsf", "set fmri(evs_orig) 1\nset fmri(convolve1) 5\n", "pe", "variable 1 (convolve '5'), of which"),
        (
            "design.fsf",
            "set fmri(evs_orig) 1\nset fmri(evs_real) 3\nset fmri(convolve1) 3\nset fmri(deriv_yn1) 1\n",
            "pe",
            "has 3 real explanatory variables where 2 are expected",
        ),
    ],
)
def test_designs_of_fsl_that_cannot_be_used(tmp_path, name, text, estimate, message):
    home = tmp_path / "feat" / "sub-01" / "run-01.feat"
    home.mkdir(parents=True)
    (problem,) = feat_settings(tmp_path, runs=["01"], estimate=estimate, exclude=[]).problems()
    assert f"There is no file of FEAT {home / name}." in problem
    (home / name).write_text(text)
    (problem,) = feat_settings(tmp_path, runs=["01"], estimate=estimate, exclude=[]).problems()
    assert message in problem


# ------------------------------------------------------------------------------------------------ GLMsingle


@pytest.mark.parametrize("has_mask", [True, False])
@pytest.mark.parametrize("suffix", layouts.GLMSINGLE_WRITERS)
def test_trials_of_glmsingle_are_averaged_in_each_run(data, tmp_path, suffix, has_mask):
    folder = layouts.as_glmsingle(data, tmp_path, suffix=suffix)
    mask = str(folder / "glmsingle" / "sub-{subject}" / "mask.nii.gz") if has_mask else None
    section = glmsingle_settings(folder, suffix, mask=mask)
    assert section.problems(CATEGORIES) == []
    assert_same(section.load("01", CATEGORIES), truth(data))
    with pytest.raises(UserError, match=r"twice in a run; average them \(`repeats: mean`\)"):
        glmsingle_settings(folder, suffix, repeats="error").load("01", CATEGORIES)
    with pytest.raises(UserError, match="Residuals are needed and GLMsingle saves none"):
        section.load("01", CATEGORIES, residuals=True)


def test_betas_of_an_older_matlab_file(data, tmp_path):
    folder = layouts.as_glmsingle(data, tmp_path, suffix=".hdf5")
    home = folder / "glmsingle" / "sub-01"
    with h5py.File(home / "TYPED_FITHRF_GLMDENOISE_RR.hdf5") as file:
        savemat(home / "TYPED_FITHRF_GLMDENOISE_RR.mat", {"modelmd": file["betasmd"][:], "R2": 1.0})
    assert_same(glmsingle_settings(folder, ".mat").load("01", CATEGORIES), truth(data))


def test_files_of_glmsingle_that_cannot_be_used(data, tmp_path):
    layouts.as_glmsingle(data, tmp_path)
    path = tmp_path / "glmsingle" / "sub-01" / "TYPED_FITHRF_GLMDENOISE_RR.npy"
    betas = np.load(path, allow_pickle=True).item()["betasmd"]
    np.save(path, {"betasmd": betas.reshape(20, 40, 1, betas.shape[-1])})
    (problem,) = glmsingle_settings(tmp_path).problems(CATEGORIES)
    assert "has betas of shape (20, 40, 1, 68) and the grid" in problem
    np.save(path, {"betasmd": betas[..., 1:]})
    (problem,) = glmsingle_settings(tmp_path).problems(CATEGORIES)
    assert "has 67 volumes and its table" in problem
    np.save(path, {"betasmd": betas * (1 + 1j)})
    (problem,) = glmsingle_settings(tmp_path).problems(CATEGORIES)
    assert "has betas of complex" in problem, "the imaginary part would be lost"
    np.save(path, {"R2": 1})
    assert "has no betasmd or modelmd; it holds 'R2'" in glmsingle_settings(tmp_path).problems(CATEGORIES)[0]
    path.write_bytes(pickle.dumps("no array")[:-3])
    assert "cannot be read as a file of GLMsingle" in glmsingle_settings(tmp_path).problems(CATEGORIES)[0]
    path.unlink()
    assert "1 of 3 files do not exist" in glmsingle_settings(tmp_path).problems(CATEGORIES)[0]


def test_nothing_is_unpickled_where_the_file_is_hdf5(data, tmp_path, monkeypatch):
    folder = layouts.as_glmsingle(data, tmp_path, suffix=".hdf5")

    def refuse(*args, **kwargs):
        raise AssertionError("nothing may be unpickled")

    monkeypatch.setattr(np, "load", refuse)
    monkeypatch.setattr(pickle, "load", refuse)
    assert len(glmsingle_settings(folder, ".hdf5").load("01", CATEGORIES).values) == 8 * layouts.N_RUNS


def test_t_maps_are_in_units_of_the_noise_already(spm, feat):
    """Dividing them by the residuals of betas would be a wrong number without an error."""
    for section in (
        spm_settings(spm, images="spmT", exclude=["faces > houses"]),
        feat_settings(feat, estimate="zstat"),
    ):
        problems = section.problems(CATEGORIES, residuals=True)
        assert any("which are in units of it already; take" in problem for problem in problems), problems
        assert section.problems(CATEGORIES) == []
