"""Trees of files as first-level software and published data sets leave them, made of one real slice of betas.

Each builder writes, below a folder that serves as `data_root`, what one configuration in config/ expects. All hold the
same numbers, runs of 8 categories (Haxby et al. 2001), beside what a reader has to leave out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image
from scipy.io import savemat

N_RUNS = 4
"""Of the 12 runs of the slice, how many are written as first levels."""
N_SCANS = 10
"""Volumes of residuals per run: far fewer than a real run has."""
DOF_OF_RUN = 7.5
JUNK = 1000.0
"""What is in images that are not to be read; no beta of the slice is as large."""
NSD_AFFINE = np.diag([1.8, 1.8, 1.8, 1.0])
SHARED_NSD = (2951, 2991, 3050, 3078, 3147, 3158, 3165, 3172)


@dataclass(frozen=True)
class Slice:
    """The real betas: (n_x, n_y, n_z, n_images) with a row of the table for each image, and made-up residuals."""

    betas: np.ndarray
    table: pd.DataFrame
    mask: np.ndarray
    affine: np.ndarray

    @property
    def conditions(self) -> list[str]:
        return list(dict.fromkeys(self.table["condition"]))

    def image(self, run: int, condition: str) -> np.ndarray:
        row = (self.table["run"] == run) & (self.table["condition"] == condition)
        return self.betas[..., int(np.flatnonzero(row)[0])]

    def residuals(self, run: int) -> np.ndarray:
        values = np.random.default_rng(run).normal(size=(*self.mask.shape, N_SCANS)).astype(np.float32)
        return np.where(self.mask[..., None], values, np.nan)


@cache
def haxby(data: Path) -> Slice:
    """Read the slice."""
    folder = data / "haxby2001_slice"
    image, mask = nib.load(folder / "betas_run.nii.gz"), nib.load(folder / "mask.nii.gz")
    table = pd.read_csv(folder / "conditions.tsv", sep="\t")
    return Slice(np.asarray(image.dataobj, dtype=np.float32), table, np.asarray(mask.dataobj) > 0, image.affine)


def save_image(path: Path, values: np.ndarray, affine: np.ndarray, dtype: type = np.float32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(values, dtype=dtype), affine), path)
    return path


def save_table(path: Path, **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_csv(path, sep="\t", index=False)
    return path


def categories(data: Path, folder: Path) -> Path:
    """Write the table of stimuli that the configurations without pictures expect."""
    names = haxby(data).conditions
    return save_table(folder / "stimuli.tsv", condition=names, animate=[int(name in ("cat", "face")) for name in names])


def pictures(folder: Path, names: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for shade, name in enumerate(names):
        Image.new("RGB", (8, 8), (20 * shade, 50, 50)).save(folder / name)
    return folder


# ------------------------------------------------------------------------------------------------------ SPM


def as_spm(data: Path, folder: Path, *, basis: str = "hrf (with time derivative)", contrasts: bool = False) -> Path:
    """Write first_level/sub-01 as SPM12 leaves it, with residuals; return `folder`."""
    slice_, home = haxby(data), folder / "first_level" / "sub-01"
    names, images = [], []
    for run in range(1, N_RUNS + 1):
        for condition in slice_.conditions:
            names += [f"Sn({run}) {condition}*bf(1)", f"Sn({run}) {condition}*bf(2)"]
            images += [slice_.image(run, condition), None]
            if condition == "face":
                names += [f"Sn({run}) facexrating^1*bf(1)", f"Sn({run}) facexrating^1*bf(2)"]
                images += [None, None]
        names += [f"Sn({run}) R{i}" for i in range(1, 7)]
        images += [None] * 6
    names += [f"Sn({run}) constant" for run in range(1, N_RUNS + 1)]
    images += [None] * N_RUNS
    for number, image in enumerate(images, start=1):
        values = np.full(slice_.mask.shape, JUNK) if image is None else image
        save_image(home / f"beta_{number:04d}.nii", np.where(slice_.mask, values, np.nan), slice_.affine)
    save_image(home / "mask.nii", slice_.mask, slice_.affine, np.uint8)
    residuals = np.concatenate([slice_.residuals(run) for run in range(1, N_RUNS + 1)], axis=-1)
    for number, image in enumerate(np.moveaxis(residuals, -1, 0), start=1):
        save_image(home / f"Res_{number:04d}.nii", image, slice_.affine)
    trace = N_RUNS * DOF_OF_RUN
    save_image(home / "ResMS.nii", (residuals.astype(float) ** 2).sum(axis=-1) / trace, slice_.affine)
    design = {
        "xX": {"name": np.array(names, dtype=object), "trRV": trace, "erdf": 0.9 * trace},
        "xBF": {"name": basis, "length": 32.0, "order": 2.0},
        "nscan": np.full(N_RUNS, float(N_SCANS)),
        "swd": "C:\\elsewhere\\sub-01",
    }
    if contrasts:
        design["xCon"] = _spm_contrasts(slice_, home)
    savemat(home / "SPM.mat", {"SPM": design})
    categories(data, folder)
    return folder


def _spm_contrasts(slice_: Slice, home: Path) -> np.ndarray:
    """Write t maps of three runs: an F contrast first, then conditions per session, their mean, and a difference."""
    listed = [("effects of interest", "F", None)]
    for condition in slice_.conditions:
        for run in range(1, 4):
            listed.append((f"{condition} - Session {run}", "T", slice_.image(run, condition)))
        listed.append((f"{condition} - All Sessions", "T", None))
    listed.append(("faces > houses", "T", None))
    for number, (_, statistic, image) in enumerate(listed, start=1):
        values = np.full(slice_.mask.shape, JUNK) if image is None else image
        save_image(home / f"spm{statistic}_{number:04d}.nii", np.where(slice_.mask, values, np.nan), slice_.affine)
    fields = np.zeros(len(listed), dtype=[("name", object), ("STAT", object)])
    fields["name"], fields["STAT"] = [one[0] for one in listed], [one[1] for one in listed]
    return fields


# ------------------------------------------------------------------------------------------------------ FSL


def as_feat(data: Path, folder: Path, *, registered: bool = True) -> Path:
    """Write feat/sub-01/run-01.feat ... run-04.feat, in standard space as featregapply does or as FEAT leaves them."""
    slice_ = haxby(data)
    n = len(slice_.conditions)
    for run in range(1, N_RUNS + 1):
        home = folder / "feat" / "sub-01" / f"run-{run:02d}.feat"
        images = home / "reg_standard" if registered else home
        for number, condition in enumerate([*slice_.conditions, "faces > houses"], start=1):
            values = slice_.image(run, condition) if number <= n else np.full(slice_.mask.shape, JUNK)
            save_image(images / "stats" / f"cope{number}.nii.gz", values, slice_.affine)
            save_image(images / "stats" / f"zstat{number}.nii.gz", 2 * values, slice_.affine)
        for number, condition in enumerate(slice_.conditions):
            save_image(images / "stats" / f"pe{2 * number + 1}.nii.gz", slice_.image(run, condition), slice_.affine)
            save_image(images / "stats" / f"pe{2 * number + 2}.nii.gz", np.full(slice_.mask.shape, JUNK), slice_.affine)
        save_image(images / "mask.nii.gz", slice_.mask, slice_.affine, np.uint8)
        save_image(images / "stats" / "res4d.nii.gz", np.nan_to_num(slice_.residuals(run)), slice_.affine)
        (home / "stats").mkdir(exist_ok=True)
        (home / "stats" / "dof").write_text(f"{DOF_OF_RUN}\n")
        (home / "design.con").write_text(_feat_contrasts([*slice_.conditions, "faces > houses"]))
        (home / "design.fsf").write_text(_feat_settings(slice_.conditions))
    categories(data, folder)
    return folder


def _feat_contrasts(names: list[str]) -> str:
    lines = [f"/ContrastName{number}\t{name}" for number, name in enumerate(names, start=1)]
    lines += ["/NumWaves\t16", f"/NumContrasts\t{len(names)}", "/PPheights\t1", "/RequiredEffect\t1", "", "/Matrix"]
    return "\n".join([*lines, *("0 " * 16 for _ in names)]) + "\n"


def _feat_settings(names: list[str]) -> str:
    lines = ["# FEAT version number", "set fmri(version) 6.00", f"set fmri(evs_orig) {len(names)}"]
    lines += [f"set fmri(evs_real) {2 * len(names)}"]
    for number, name in enumerate(names, start=1):
        lines += [f"# EV {number} title", f'set fmri(evtitle{number}) "{name}"', f"set fmri(convolve{number}) 3"]
        lines += [f"set fmri(deriv_yn{number}) 1", f'set fmri(custom{number}) "/elsewhere/{name}.txt"']
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------------ GLMsingle


def as_glmsingle(data: Path, folder: Path, *, suffix: str = ".npy") -> Path:
    """Write glmsingle/sub-01: every condition is shown twice a run, in an order of its own, and rest once."""
    slice_, home = haxby(data), folder / "glmsingle" / "sub-01"
    rng, trials, images = np.random.default_rng(7), [], []
    for run in range(1, N_RUNS + 1):
        shown = [(name, factor) for name in slice_.conditions for factor in (2, 0)] + [("rest", None)]
        for place in rng.permutation(len(shown)):
            name, factor = shown[place]
            trials.append((name, run))
            images.append(np.full(slice_.mask.shape, JUNK) if factor is None else factor * slice_.image(run, name))
    betas = np.where(slice_.mask[..., None], np.stack(images, axis=-1), np.nan).astype(np.float32)
    home.mkdir(parents=True, exist_ok=True)
    GLMSINGLE_WRITERS[suffix](home / f"TYPED_FITHRF_GLMDENOISE_RR{suffix}", betas)
    save_table(home / "trials.tsv", condition=[name for name, _ in trials], run=[run for _, run in trials])
    save_image(home / "mean_bold.nii.gz", slice_.mask, slice_.affine)
    save_image(home / "mask.nii.gz", slice_.mask, slice_.affine, np.uint8)
    categories(data, folder)
    return folder


def _write_hdf5(path: Path, betas: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["betasmd"], file["R2"] = betas, np.zeros(betas.shape[:3])


def _write_matlab_73(path: Path, betas: np.ndarray) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:  # MATLAB counts the first dimension fastest
        file["modelmd"] = betas.T
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


GLMSINGLE_WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    ".npy": lambda path, betas: np.save(path, {"betasmd": betas, "R2": 1.0, "pcnum": 3}),  # pickled by numpy
    ".npz": lambda path, betas: np.savez(path, betasmd=betas),
    ".hdf5": _write_hdf5,
    ".mat": _write_matlab_73,
}


# ---------------------------------------------------------------------------------------------- NSD, THINGS


def as_nsd(data: Path, folder: Path, *, n_sessions: int = 40) -> Path:
    """Write the parts of the Natural Scenes Dataset that config/nsd.yaml reads; categories play shared images.

    Session s is run s of the slice (from 13 on, they begin again). Betas are 300 times larger and whole numbers. Each
    shared image comes twice a session, beside images of the subject's own.
    """
    slice_ = haxby(data)
    ids = dict(zip(slice_.conditions, SHARED_NSD, strict=True))
    rng, rows = np.random.default_rng(73), []
    ppdata = folder / "nsddata" / "ppdata" / "subj01"
    betas_folder = folder / "nsddata_betas" / "ppdata" / "subj01" / "func1pt8mm" / "betas_fithrf_GLMdenoise_RR"
    for session in range(1, n_sessions + 1):
        shown = [(name, factor) for name in slice_.conditions for factor in (2, 0)] + [(None, None)] * 4
        images = []
        for trial, place in enumerate(rng.permutation(len(shown)), start=1):
            name, factor = shown[place]
            image = nsd_units(slice_.image((session - 1) % 12 + 1, name)) if name else np.full(slice_.mask.shape, 9999)
            images.append(image if factor is None else factor * image)
            picture = ids[name] if name else 40_000 + trial
            rows.append((1, session, 1, trial, picture, picture % 10_000))
        path = betas_folder / f"betas_session{session:02d}.nii.gz"
        save_image(path, np.stack(images, axis=-1), NSD_AFFINE, np.int16)
    table = pd.DataFrame(rows, columns=["SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID"])
    (ppdata / "behav").mkdir(parents=True, exist_ok=True)
    table.to_csv(ppdata / "behav" / "responses.tsv", sep="\t", index=False)
    save_image(ppdata / "func1pt8mm" / "brainmask.nii.gz", slice_.mask, NSD_AFFINE, np.uint8)
    names = [f"shared{place:04d}_nsd{one:05d}.png" for place, one in enumerate(SHARED_NSD, start=1)]
    pictures(folder / "nsddata" / "stimuli" / "nsd" / "shared1000", names)
    _link_weights(data, folder)
    return folder


def nsd_units(image: np.ndarray) -> np.ndarray:
    """Return what a file of NSD holds: 300 times the percent signal change, in whole numbers."""
    return np.rint(300 * image).astype(np.int16)


def as_things(data: Path, folder: Path, *, n_sessions: int = 12) -> Path:
    """Write the parts of THINGS-fMRI that config/things_fmri.yaml reads; categories play test images.

    Session s is run s of the slice; the images of a session are spread over its 10 runs, beside training images.
    """
    slice_ = haxby(data)
    for session in range(1, n_sessions + 1):
        home = folder / "things" / "betas_vol" / "scalematched" / "sub-01" / f"ses-things{session:02d}"
        for run in range(1, 11):
            stem = f"sub-01_ses-things{session:02d}_run-{run:02d}"
            shown = [name for place, name in enumerate(slice_.conditions) if (place + session) % 10 == run - 1]
            images = [np.full(slice_.mask.shape, JUNK), *(slice_.image(session, name) for name in shown)]
            save_image(home / f"{stem}_betas.nii.gz", np.stack(images, axis=-1), slice_.affine)
            files = [f"aardvark/aardvark_{session:02d}{run}b.jpg", *(f"{name}/{name}_14s.jpg" for name in shown)]
            save_table(home / f"{stem}_conditions.tsv", image_filename=files)
    mask = folder / "things" / "brainmasks" / "sub-01_space-T1w_brainmask.nii.gz"
    save_image(mask, slice_.mask, slice_.affine, np.uint8)
    pictures(folder / "things" / "test_images", [f"{name}_14s.jpg" for name in slice_.conditions])
    _link_weights(data, folder)
    return folder


def _link_weights(data: Path, folder: Path) -> None:
    (folder / "weights").symlink_to(data / "weights")
