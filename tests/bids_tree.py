"""Small BIDS data sets with fMRIPrep-like derivatives: simulated with planted responses, or made of the real data."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

SHAPE = (5, 4, 3)
AFFINE = nib.affines.from_matvec(np.diag([-3.0, 3.0, 3.5]), [6, -8, 4])
CONDITIONS = ("face", "house", "cat")
N_SCANS, TR_S, BASELINE = 80, 2.0, 10_000.0


@dataclass(frozen=True)
class Tree:
    """Where a data set lies and what was planted: responses (n_conditions, n_voxels) by (subject, run label)."""

    root: Path
    mask: np.ndarray
    betas: Mapping[tuple[str, str], np.ndarray]
    settings: dict

    @property
    def derivatives(self) -> Path:
        return self.root / "derivatives" / "fmriprep"


def build_bids(
    folder: Path,
    subjects: Sequence[str] = ("01", "02"),
    runs: Sequence[str] = ("1", "2"),
    sessions: Sequence[str] = (),
    *,
    task: str = "objects",
    space: str = "MNI152NLin2009cAsym",
    bold: np.ndarray | None = None,
    events: pd.DataFrame | None = None,
    tr_s: float = TR_S,
    conditions: Sequence[str] = CONDITIONS,
    shared: np.ndarray | float = 0.0,
    noise: float = 0.0,
    seed: int = 0,
) -> Tree:
    """Write a data set and return what was planted; `bold` (x, y, z, t) and `events` are simulated if not given.

    The space "func" leaves `space` out of the file names. A run "" leaves `run` out. Signals are a baseline, the
    responses of each run, a straight drift, motion that moves every voxel, and noise of this standard deviation.
    Responses are random in each run, on top of those that all runs of all subjects share, shape (n_conditions, n).
    """
    rng, betas = np.random.default_rng(seed), {}
    mask = np.zeros(SHAPE if bold is None else bold.shape[:3], dtype=bool)
    mask[1:, :, :] = True
    for name in (folder, folder / "derivatives" / "fmriprep"):
        write_json(name / "dataset_description.json", {"Name": "test", "BIDSVersion": "1.9.0"})
    write_json(folder / f"task-{task}_bold.json", {"TaskName": task, "RepetitionTime": tr_s})
    for subject in subjects:
        for session in sessions or ("",):
            for run in runs or ("",):
                table = random_events(rng, conditions) if events is None else events
                planted = rng.normal(scale=50, size=(len(conditions), np.prod(mask.shape))) + shared
                n_scans = N_SCANS if bold is None else bold.shape[3]
                motion = rng.normal(size=(n_scans, 6)).cumsum(axis=0) / 50
                signal = bold
                if bold is None:
                    signal = simulate(table, conditions, planted, motion, tr_s, rng, noise).reshape(*SHAPE, -1)
                stem = "_".join(filter(None, [f"sub-{subject}", session and f"ses-{session}", f"task-{task}"]))
                stem += f"_run-{run}" if run else ""
                below = Path(f"sub-{subject}", f"ses-{session}" if session else "", "func")
                write_events(folder / below / f"{stem}_events.tsv", table)
                derived = folder / "derivatives" / "fmriprep" / below
                write_derivatives(derived, stem, space, signal, mask, tr_s=tr_s)
                write_confounds(derived, stem, motion, rng)
                label = stem.removeprefix(f"sub-{subject}_").replace(f"task-{task}", "").strip("_").replace("__", "_")
                betas[subject, label or "run-1"] = planted[:, mask.ravel()]
    settings = {"kind": "bids", "subjects": list(subjects), "root": str(folder), "task": task, "space": space}
    return Tree(folder, mask, betas, settings)


def random_events(rng: np.random.Generator, conditions: Sequence[str], n_events: int = 18) -> pd.DataFrame:
    """Show each condition as often for 2 s, in random order and at jittered times, with a rest now and then."""
    names = rng.permutation(np.repeat(conditions, n_events // len(conditions)))
    onsets = 4 + 7.5 * np.arange(len(names)) + rng.uniform(0, 2, size=len(names))
    shown = pd.DataFrame({"onset": onsets.round(3), "duration": 2.0, "trial_type": names})
    return pd.concat([pd.DataFrame({"onset": [0.0], "duration": [4.0], "trial_type": ["n/a"]}), shown])


def simulate(events, conditions, betas, motion, tr_s, rng, noise) -> np.ndarray:
    """Make the signal, (n_voxels, n_scans), of volumes in the middle of each TR."""
    from nilearn.glm.first_level import compute_regressor

    times_s = (np.arange(len(motion)) + 0.5) * tr_s
    signal = np.full((betas.shape[1], len(motion)), BASELINE) + np.linspace(-20, 20, len(motion))
    for name, beta in zip(conditions, betas, strict=True):
        shown = events[events["trial_type"] == name]
        paradigm = (shown["onset"].to_numpy(), shown["duration"].to_numpy(), np.ones(len(shown)))
        signal += beta[:, None] * compute_regressor(paradigm, "spm", times_s)[0].T
    signal += rng.normal(scale=100, size=(betas.shape[1], 6)) @ motion.T
    return signal + rng.normal(scale=noise, size=signal.shape)


def write_derivatives(folder, stem, space, bold, mask, *, tr_s, affine=AFFINE, slice_timing=True) -> Path:
    """Write the images, sidecar and mask of one run as fMRIPrep names them; return the path of the images."""
    prefix = stem if space == "func" else f"{stem}_space-{space}"
    path = write_image(folder / f"{prefix}_desc-preproc_bold.nii.gz", bold, affine, tr_s=tr_s)
    timing = {"SliceTimingCorrected": True, "StartTime": tr_s / 2} if slice_timing else {"SliceTimingCorrected": False}
    write_json(folder / f"{prefix}_desc-preproc_bold.json", {"RepetitionTime": tr_s, **timing})
    write_image(folder / f"{prefix}_desc-brain_mask.nii.gz", mask.astype(np.uint8), affine)
    return path


def write_confounds(folder: Path, stem: str, motion: np.ndarray, rng: np.random.Generator) -> Path:
    """Write confounds as fMRIPrep does: derivatives without a first value, CompCor described in a sidecar."""
    signals = {name: 500 + rng.normal(size=len(motion)) for name in ("csf", "white_matter", "global_signal")}
    signals |= dict(zip([f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"], motion.T, strict=True))
    table = pd.DataFrame(signals)
    changes = table.diff().add_suffix("_derivative1")
    table = pd.concat([table, changes, (table**2).add_suffix("_power2"), (changes**2).add_suffix("_power2")], axis=1)
    for i in range(2):
        table[f"cosine{i:02d}"] = np.cos(np.pi * (np.arange(len(motion)) + 0.5) * (i + 1) / len(motion))
    for i in range(7):
        table[f"a_comp_cor_{i:02d}"] = rng.normal(size=len(motion))
    table["framewise_displacement"] = table[[name for name in changes if "_x_" in name]].abs().sum(axis=1)
    table["std_dvars"] = 1.0
    path = folder / f"{stem}_desc-confounds_timeseries.tsv"
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    components = {name: {"Mask": "combined", "Method": "aCompCor"} for name in table if "comp_cor" in name}
    write_json(path.with_suffix(".json"), components)
    return path


def god_as_bids(
    data: Path,
    folder: Path,
    slices: slice = slice(17, 19),
    sessions: Sequence[str] = ("perceptionTest01",),
    rng: np.random.Generator | None = None,
) -> dict:
    """Write the real run of ds001246 as the run of one subject's sessions, cut to some slices; return the settings.

    Drifts and confounds are out of these images already. With a generator, each session gets noise of its own and a
    table of confounds that have nothing to do with it.
    """
    source, subject = data / "god_sub01_run01", "sub-01"
    events = pd.read_csv(source / "events.tsv", sep="\t", dtype=str, keep_default_na=False)
    write_json(folder / "task-perception_bold.json", {"TaskName": "perception", "RepetitionTime": 3.0})
    slab = nib.load(source / "bold.nii.gz").slicer[:, :, slices]
    inside = np.asarray(nib.load(source / "mask.nii.gz").slicer[:, :, slices].dataobj) > 0
    bold = slab.get_fdata(dtype=np.float32)
    for session in sessions:
        below, stem = Path(subject, f"ses-{session}", "func"), f"{subject}_ses-{session}_task-perception_run-01"
        derived = folder / "derivatives" / "fmriprep" / below
        noise = 0 if rng is None else rng.normal(scale=bold.std(), size=bold.shape)
        write_events(folder / below / f"{stem}_events.tsv", events)
        write_derivatives(derived, stem, "T1w", bold + noise, inside, tr_s=3.0, affine=slab.affine)
        if rng is not None:
            write_confounds(derived, stem, rng.normal(size=(bold.shape[3], 6)).cumsum(axis=0) / 50, rng)
    return {
        "kind": "bids",
        "subjects": ["01"],
        "root": str(folder),
        "task": "perception",
        "space": "T1w",
        "condition": "stimulus_name",
        "where": {"event_type": ["stimulus"]},
        "confounds": None,
        "glm": {"drift": "none"},
    }


def haxby_as_bids(data: Path, folder: Path) -> dict:
    """Write the slice of Haxby et al. as 12 runs of one subject in native space; return the settings."""
    source, runs = data / "haxby2001_slice", [str(run) for run in range(1, 13)]
    bold, inside = nib.load(source / "bold.nii.gz"), np.asarray(nib.load(source / "mask.nii.gz").dataobj) > 0
    images = np.asarray(bold.dataobj).reshape(*bold.shape[:3], 12, 121)
    events = pd.read_csv(source / "events.tsv", sep="\t", dtype={"run": str})
    write_json(folder / "task-objectviewing_bold.json", {"RepetitionTime": 2.5, "TaskName": "objectviewing"})
    for i, run in enumerate(runs):
        stem = f"sub-1_task-objectviewing_run-{run.zfill(2)}"
        write_events(folder / "sub-1" / "func" / f"{stem}_events.tsv", events[events["run"] == run].drop(columns="run"))
        below = folder / "derivatives" / "fmriprep" / "sub-1" / "func"
        write_derivatives(
            below, stem, "func", images[..., i, :], inside, tr_s=2.5, affine=bold.affine, slice_timing=False
        )
    return {
        "kind": "bids",
        "subjects": ["1"],
        "root": str(folder),
        "task": "objectviewing",
        "space": "func",
        "confounds": None,
    }


def write_image(path: Path, values: np.ndarray, affine: np.ndarray, tr_s: float | None = None) -> Path:
    """Write an image; of a 4-D one the header tells the TR."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values.astype(np.float32) if values.dtype.kind == "f" else values, affine)
    image.header.set_xyzt_units("mm", "sec")
    if tr_s is not None:
        image.header.set_zooms((*image.header.get_zooms()[:3], tr_s))
    nib.save(image, path)
    return path


def write_events(path: Path, events: pd.DataFrame) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    events.to_csv(path, sep="\t", index=False, na_rep="n/a")
    return path


def write_json(path: Path, content: Mapping) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
