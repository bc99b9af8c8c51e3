"""Small files that other programs wrote: each is read as what it is, or refused in one line that says what to do."""

import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from rsa.datasets.bids.confounds import Confounds, read_confounds
from rsa.datasets.bids.files import Run
from rsa.datasets.epochs import EpochFiles
from rsa.datasets.feat import Feat
from rsa.datasets.glmsingle import GlmSingle
from rsa.datasets.maps import Maps
from rsa.datasets.spm import Spm
from rsa.errors import UserError
from rsa.files.images import opened
from rsa.inputs.regions import Regions, region_labels

VOXELS = "glmsingle_haxby_masked_hdf5/TYPED_FITHRF_GLMDENOISE_RR.hdf5"


@pytest.fixture(scope="module")
def readers(data) -> Path:
    folder = data / "readers"
    if not folder.is_dir():
        pytest.skip(f"there are no files of other programs in {folder}")
    return folder


def refused(section) -> str:
    """Return the one problem of the one subject."""
    (problem,) = section.problems()
    assert "\n" not in problem
    return problem


# ------------------------------------------------------------------------------------------------ GLMsingle


@pytest.fixture
def slice_mask(data) -> Path:
    return data / "haxby2001_slice" / "mask.nii.gz"


def of_glmsingle(readers: Path, grid: Path, betas: Path, **change) -> GlmSingle:
    table = readers / "glmsingle_haxby_4d" / "trials.tsv"
    section = {"subjects": ["01"], "betas": str(betas), "table": str(table), "grid_image": str(grid), "mask": str(grid)}
    return GlmSingle(**section | change)


def as_matlab(path: Path, readers: Path, mask: Path, *, version: str, shape: str) -> Path:
    """Write the voxels as MATLAB's data(mask) takes them, the first axis fastest."""
    inside = np.asarray(nib.load(mask).dataobj) > 0
    with h5py.File(readers / VOXELS) as file:
        betas, mean = file["betasmd"][:, 0, 0], file["meanvol"][:, 0, 0]  # (n_voxels, n_trials), (n_voxels,)
    volume = np.zeros((*inside.shape, betas.shape[1] + 1), dtype=np.float32)
    volume[inside] = np.column_stack([betas, mean])
    listed = volume.transpose(2, 1, 0, 3)[inside.transpose(2, 1, 0)]  # (n_voxels, n_trials + 1)
    betas, mean = listed[:, :-1], listed[:, -1:]
    betas = betas[:, None, None] if shape == "4-D" else betas
    if version == "7.3":
        with h5py.File(path, "w", userblock_size=512) as file:
            file["modelmd"], file["meanvol"] = betas.T, mean.T
    else:
        savemat(path, {"modelmd": betas, "meanvol": mean})
    return path


def test_glmsingle_of_whole_images_and_of_the_voxels_of_a_mask_agree(readers, slice_mask, tmp_path):
    """Both ran on the same data; noise pools differ, so betas are not equal."""
    whole = of_glmsingle(readers, slice_mask, readers / "glmsingle_haxby_4d" / "TYPED_FITHRF_GLMDENOISE_RR.npy").load(
        "01"
    )
    section = of_glmsingle(readers, slice_mask, readers / VOXELS)
    assert section.problems() == []
    voxels = section.load("01")
    assert voxels.values.shape == whole.values.shape == (96, 511)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(voxels.values.T, whole.values.T, strict=True)]
    assert np.median(r) > 0.99
    with h5py.File(readers / VOXELS) as file:
        rows = pd.read_csv(readers / "glmsingle_haxby_4d" / "trials.tsv", sep="\t")
        face = int(np.flatnonzero(rows["condition"] == "face")[0])
        found = voxels.values[list(voxels.table["condition"]).index("face")]
        np.testing.assert_array_equal(found, file["betasmd"][:, 0, 0, face])


@pytest.mark.parametrize("version", ["7", "7.3"])
@pytest.mark.parametrize("shape", ["4-D", "2-D"])
def test_voxels_that_matlab_took_are_in_its_order(readers, slice_mask, tmp_path, version, shape):
    path = as_matlab(tmp_path / "betas.mat", readers, slice_mask, version=version, shape=shape)
    section = of_glmsingle(readers, slice_mask, path)
    assert section.problems() == []
    expected = of_glmsingle(readers, slice_mask, readers / VOXELS).load("01")
    np.testing.assert_array_equal(section.load("01").values, expected.values)


def test_an_order_of_voxels_that_is_not_certain_is_not_guessed(readers, slice_mask, tmp_path):
    """Voxels that MATLAB took, in a file of the Python version."""
    other = as_matlab(tmp_path / "betas.mat", readers, slice_mask, version="7.3", shape="2-D")
    with h5py.File(other) as file, h5py.File(tmp_path / "betas.hdf5", "w") as copy:
        copy["betasmd"] = file["modelmd"][:].T
    problem = refused(of_glmsingle(readers, slice_mask, tmp_path / "betas.hdf5"))
    assert (
        "is of the python version of GLMsingle, but neighbouring voxels are more similar in the order of matlab"
        in problem
    )
    section = of_glmsingle(readers, slice_mask, tmp_path / "betas.hdf5", voxel_order="matlab")
    expected = of_glmsingle(readers, slice_mask, readers / VOXELS).load("01")
    np.testing.assert_array_equal(section.load("01").values, expected.values)


def test_a_list_of_voxels_needs_its_own_mask(readers, slice_mask, tmp_path):
    without = of_glmsingle(readers, slice_mask, readers / VOXELS, mask=None)
    assert "has betas of shape (511, 1, 1, 96), so of a list of voxels" in refused(without)
    image = nib.load(slice_mask)
    smaller = np.asarray(image.dataobj).copy()
    smaller[tuple(np.argwhere(smaller)[0])] = 0
    nib.save(nib.Nifti1Image(smaller, image.affine), tmp_path / "mask.nii.gz")
    other = of_glmsingle(readers, slice_mask, readers / VOXELS, mask=str(tmp_path / "mask.nii.gz"))
    assert "has betas of 511 voxels and the mask" in refused(other)
    assert "has 510: set brain.mask to the mask that GLMsingle was run with" in refused(other)


def test_a_list_of_all_voxels_of_the_grid_needs_no_mask(readers, slice_mask, tmp_path):
    whole = np.load(readers / "glmsingle_haxby_4d" / "TYPED_FITHRF_GLMDENOISE_RR.npy", allow_pickle=True).item()
    np.savez(tmp_path / "betas.npz", betasmd=whole["betasmd"].reshape(-1, 1, 1, 96))
    np.savez(tmp_path / "images.npz", betasmd=whole["betasmd"])
    found, expected = (
        of_glmsingle(readers, slice_mask, tmp_path / name).load("01") for name in ("betas.npz", "images.npz")
    )
    np.testing.assert_array_equal(found.values, expected.values)


# ----------------------------------------------------------------------------------------------- SPM, FSL


def write_spm73(path: Path, names: list[str], *, contrasts: tuple[tuple[str, str], ...] = (), trace: float = 190.0):
    """Write what is read of SPM.mat as MATLAB 7.3 lays it out: cells are references, structs groups."""

    def text(where: h5py.Group, name: str, value: str) -> h5py.Dataset:
        stored = where.create_dataset(name, data=np.array([ord(letter) for letter in value], np.uint16)[:, None])
        stored.attrs["MATLAB_class"] = np.bytes_("char")
        return stored

    with h5py.File(path, "w", userblock_size=512) as file:
        spm, references = file.create_group("SPM"), file.create_group("#refs#")
        cells = [text(references, f"n{i}", name).ref for i, name in enumerate(names)]
        spm["xX/name"] = np.array(cells, dtype=h5py.ref_dtype)[:, None]
        spm["xX/trRV"], spm["nscan"], spm["xBF/length"] = [[trace]], [[100.0], [100.0]], [[32.0]]
        text(spm["xBF"], "name", "hrf (with time derivative)")
        if len(contrasts) == 1:  # one struct has its values in place, several refer to theirs
            text(spm.create_group("xCon"), "name", contrasts[0][0])
            text(spm["xCon"], "STAT", contrasts[0][1])
        for place, field in enumerate(("name", "STAT")) if len(contrasts) > 1 else ():
            cells = [text(references, f"{field}{i}", one[place]).ref for i, one in enumerate(contrasts)]
            spm[f"xCon/{field}"] = np.array(cells, dtype=h5py.ref_dtype)[:, None]
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


@pytest.fixture
def designs(tmp_path) -> dict[str, Path]:
    """Write the same first level with an SPM.mat of either version."""
    names = [f"Sn({run}) {name}*bf({basis})" for run in (1, 2) for name in ("face", "fox") for basis in (1, 2)]
    names += ["Sn(1) R1", "Sn(1) constant", "Sn(2) constant"]
    contrasts = (("face - Session 1", "T"), ("all", "F"), ("face - Session 2", "T"))
    rng = np.random.default_rng(0)
    images = {f"beta_{i:04d}": rng.normal(size=(5, 5, 5)) for i in range(1, len(names) + 1)}
    images |= {f"spmT_{i:04d}": rng.normal(size=(5, 5, 5)) for i in (1, 3)} | {"mask": np.ones((5, 5, 5))}
    for version in ("v7", "v73"):
        (tmp_path / version).mkdir()
        for name, values in images.items():
            nib.save(nib.Nifti1Image(values.astype(np.float32), np.eye(4)), tmp_path / version / f"{name}.nii")
    fields = np.zeros(len(contrasts), dtype=[("name", object), ("STAT", object)])
    fields["name"], fields["STAT"] = [one[0] for one in contrasts], [one[1] for one in contrasts]
    design = {
        "xX": {"name": np.array(names, dtype=object), "trRV": 190.0},
        "xBF": {"name": "hrf (with time derivative)", "length": 32.0},
        "nscan": np.array([100.0, 100.0]),
        "xCon": fields,
    }
    savemat(tmp_path / "v7" / "SPM.mat", {"SPM": design})
    write_spm73(tmp_path / "v73" / "SPM.mat", names, contrasts=contrasts)
    return {version: tmp_path / version for version in ("v7", "v73")}


@pytest.mark.parametrize("images", ["beta", "spmT"])
def test_designs_of_matlab_73_are_read_as_others_are(designs, images):
    sections = {version: Spm(subjects=["01"], folder=str(path), images=images) for version, path in designs.items()}
    assert [section.problems() for section in sections.values()] == [[], []]
    found, expected = (sections[version].load("01") for version in ("v73", "v7"))
    pd.testing.assert_frame_equal(found.table, expected.table)
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.conditions == (["face", "fox"] if images == "beta" else ["face"])


def test_a_single_contrast_of_matlab_73(designs):
    write_spm73(designs["v73"] / "SPM.mat", ["Sn(1) face*bf(1)"], contrasts=(("face", "T"),))
    assert Spm(subjects=["01"], folder=str(designs["v73"]), images="spmT").conditions("01") == ["face"]


def test_a_design_that_was_never_estimated(readers, tmp_path):
    shutil.copy(readers / "spm" / "specified_not_estimated_SPM.mat", tmp_path / "SPM.mat")
    problem = refused(Spm(subjects=["01"], folder=str(tmp_path)))
    assert "was specified and never estimated, so it has no images; estimate it" in problem


def of_feat(folder: Path, **change) -> Feat:
    return Feat(**{"subjects": ["01"], "runs": ["01"], "folder": str(folder), **change})


@pytest.mark.parametrize(
    ("estimate", "conditions"), [("cope", ["cong", "incong", "ingcong-cong"]), ("pe", ["cong", "incong"])]
)
def test_a_first_level_of_fsl(readers, estimate, conditions):
    section = of_feat(readers / "feat_first_level" / "run-{run}.feat", estimate=estimate)
    assert section.problems() == []
    patterns = section.load("01")
    assert patterns.conditions == conditions
    image = nib.load(readers / "feat_first_level" / "run-01.feat" / "stats" / f"{estimate}2.nii.gz")
    mask = np.asarray(nib.load(readers / "feat_first_level" / "run-01.feat" / "mask.nii.gz").dataobj) > 0
    np.testing.assert_array_equal(patterns.values[1], np.asarray(image.dataobj, dtype=np.float32)[mask])


@pytest.mark.parametrize("estimate", ["cope", "pe"])
def test_a_second_level_of_fsl_leads_to_its_first_levels(readers, estimate):
    problem = refused(of_feat(readers / "feat_first_level" / "second_level.gfeat", estimate=estimate))
    assert "second_level.gfeat is a higher-level analysis of FEAT, in which runs or subjects are averaged" in problem
    assert "give the first levels, a .feat folder for each run: " in problem
    assert "/sub-01/run-01+.feat', " in problem


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        (["/ContrastName1\tface", "/ContrastName2\t", "/ContrastName3 house "], ["face", "contrast2", "house"]),
        (["/ContrastName1\tface", "/ContrastName3\thouse"], ["face", "contrast2", "house"]),
        ([], ["contrast1", "contrast2", "contrast3"]),
    ],
    ids=["empty", "left out", "none"],
)
def test_contrasts_without_a_title_are_called_by_their_number(readers, tmp_path, lines, names):
    home = tmp_path / "run-01.feat"
    shutil.copytree(readers / "feat_first_level" / "run-01.feat", home, copy_function=shutil.copyfile)
    (home / "design.con").chmod(0o644)
    (home / "design.con").write_text("\n".join([*lines, "/NumWaves\t2", "/NumContrasts\t3", "/Matrix", "1 0"]) + "\n")
    assert of_feat(home).problems() == []
    assert of_feat(home).conditions("01") == names


def test_explanatory_variables_without_a_title_are_called_by_their_number(readers, tmp_path):
    home = tmp_path / "run-01.feat"
    shutil.copytree(readers / "feat_first_level" / "run-01.feat", home, copy_function=shutil.copyfile)
    text = (home / "design.fsf").read_text()
    (home / "design.fsf").chmod(0o644)
    (home / "design.fsf").write_text(text.replace('(evtitle2) "incong"', '(evtitle2) ""'))
    assert of_feat(home, estimate="pe").conditions("01") == ["cong", "ev2"]


# --------------------------------------------------------------------------------------------------- M/EEG


def of_epochs(path: Path, **change) -> EpochFiles:
    return EpochFiles(**{"subjects": ["01"], "file": str(path), **change})


@pytest.mark.parametrize("name", ["test_epochs.set", "test_epochs_onefile.set"])
def test_epochs_of_eeglab(readers, name):
    section = of_epochs(readers / "eeglab" / name)
    assert section.problems() == []
    epochs = section.load("01")
    assert epochs.values.shape == (4, 2, 8)
    assert section.conditions("01") == ["S255/S  8", "S  8", "S255/S  9"]


def test_data_that_lie_beside_a_file_and_are_missing_are_named(readers, tmp_path):
    shutil.copyfile(readers / "eeglab" / "test_epochs.set", tmp_path / "test_epochs.set")
    problem = refused(of_epochs(tmp_path / "test_epochs.set"))
    assert "test_epochs.set needs a file that is not there: " in problem
    assert "test_epochs.fdt" in problem


@pytest.mark.parametrize("version", ["v7", "v73"])
def test_epochs_of_fieldtrip(readers, version):
    section = of_epochs(readers / "fieldtrip" / "EGI" / f"epoched_{version}.mat")
    assert section.problems() == []
    assert section.load("01").values.shape == (3, 126, 20)
    assert set(section.load("01").channels["type"]) == {"eeg"}


@pytest.mark.parametrize("version", ["v7", "v73"])
def test_channels_of_no_known_type(readers, version):
    path = readers / "fieldtrip" / "CNT" / f"epoched_{version}.mat"
    problem = refused(of_epochs(path))
    assert (
        "it has 125 channels of type 'misc'; see `picks`; misc are channels of no known type: set `channel_type`"
        in problem
    )
    section = of_epochs(path, channel_type="eeg")
    assert section.problems() == []
    epochs = section.load("01")
    assert set(epochs.channels["type"]) == {"eeg"}
    assert len(epochs.channels) == 125
    np.testing.assert_array_equal(epochs.values, of_epochs(path, picks=["misc"]).load("01").values)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("eeglab/test_raw_2021.set", "does not seem to contain epochs"),
        ("fieldtrip/cellarray/epoched_v7.mat", "Loading of data in cell arrays is not supported"),
    ],
)
def test_what_holds_no_epochs_is_told(readers, name, message):
    problem = refused(of_epochs(readers / name))
    assert f"{name} cannot be read as epochs: " in problem
    assert message in problem


# ------------------------------------------------------------------------------------ surfaces, confounds


@pytest.mark.parametrize(
    "name",
    [
        "rh.aparc.annot.gii",
        "rh.shape.curv.gii",
        "task.func.gii",
        "tpl-conte69_hemi-L_space-fsLR_den-32k_inflated.surf.gii",
        "tpl-conte69_hemi-R_space-fsLR_den-32k_inflated.surf.gii",
        "tpl-fsLR_atlas-4S_scale-156_den-91k_dseg.dlabel.nii",
    ],
)
def test_surfaces_are_refused_where_a_volume_is_expected(readers, name, tmp_path):
    path = readers / "cifti_gifti" / name
    with pytest.raises(UserError, match=r"holds data of the surface .* and only volumes are read: give NIfTI images"):
        opened(path)
    (tmp_path / "rows.tsv").write_text("condition\na\nb\n")
    assert "holds data of the surface" in refused(
        Maps(subjects=["01"], images=str(path), table=str(tmp_path / "rows.tsv"))
    )


@pytest.mark.parametrize(
    ("source", "suffix"),
    [
        ("test_desc-confounds_regressors", "regressors"),
        ("no_nonsteady_desc-confounds_regressors", "regressors"),
        ("test-v21_desc-confounds_timeseries", "timeseries"),
    ],
)
def test_confounds_of_several_versions_of_fmriprep(readers, tmp_path, source, suffix):
    folder, name = readers / "fmriprep_confounds_nilearn", f"sub-01_task-x_desc-confounds_{suffix}"
    shutil.copyfile(folder / f"{source}.tsv", tmp_path / f"{name}.tsv")
    meta = folder / f"{source.replace('no_nonsteady', 'test')}.json"
    shutil.copyfile(meta, tmp_path / f"{name}.json")
    bold = tmp_path / "sub-01_task-x_space-T1w_desc-preproc_bold.nii.gz"
    bold.touch()
    run = Run(bold, {"sub": "01", "task": "x", "space": "T1w"})
    motion = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    confounds, kept = read_confounds(run, Confounds(columns=["csf"]))
    table = pd.read_csv(folder / f"{source}.tsv", sep="\t")
    np.testing.assert_allclose(confounds[[*motion, "csf"]], table[[*motion, "csf"]].to_numpy(float))
    assert len(confounds) == len(kept) == 30
    steady = [name for name in table if name.startswith("non_steady_state_outlier")]
    assert (~kept).sum() == len(steady)


def test_labels_of_fmriprep(readers):
    path = readers / "bids_examples" / "ds000001-fmriprep" / "desc-aseg_dseg.tsv"
    labels = region_labels(Regions(atlas="aseg.nii.gz", labels=str(path)))
    assert labels.to_numpy()[:2].tolist() == [[1, "Left-Cerebral-Exterior"], [2, "Left-Cerebral-White-Matter"]]
