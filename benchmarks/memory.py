"""Measure time and memory of the patterns of a whole brain: runs as fMRIPrep writes them, a model of each, HDF5 out.

What is measured is what `python -m rsa brain` does for a data set of the kind bids; each measurement has a process of
its own. The images are noise in a brain-sized ellipsoid.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from ours import peak_bytes

from rsa.datasets.bids.dataset import Bids
from rsa.files import io

SHAPE_2_MM = (97, 115, 97)
"""The grid of MNI152NLin2009cAsym at 2 mm."""

SEMI_AXES_MM = (71.0, 88.0, 70.0)
"""Of an ellipsoid with about as many voxels as a brain: 229,000 at 2 mm."""

TR_S = 2.0
SECONDS_PER_EVENT = 7.0
MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


def arguments() -> argparse.ArgumentParser:
    """Say which options there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--voxel-mm", type=float, default=2.0, help="voxel size; 8 to try it out (%(default)s)")
    add("--volumes", type=int, default=300, help="volumes of each run (%(default)s)")
    add("--runs", type=int, default=2, help="runs (%(default)s)")
    add("--conditions", type=int, default=40, help="conditions, each shown twice in a run if it fits (%(default)s)")
    add("--dtype", choices=["int16", "float32"], default="int16", help="type of the images (%(default)s)")
    add("--glm", type=json.loads, default={}, help='settings of the model as JSON: {"noise_model": "ols"}')
    add("--threads", type=int, default=1, help="threads of linear algebra; Snakemake gives 1 (%(default)s)")
    add("--output", type=Path, help="JSON file for the results")
    add("--child", nargs=2, metavar=("SETTINGS", "RESIDUALS"), help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Make the data, measure with and without residuals, print it and keep it."""
    options = arguments().parse_args()
    if options.child is not None:
        print(json.dumps(measured(json.loads(options.child[0]), options.child[1] == "yes")))
        return
    with tempfile.TemporaryDirectory() as name:
        settings = write_study(Path(name), options)
        found = {
            "without residuals": measure(settings, "no", options.threads),
            "with residuals": measure(settings, "yes", options.threads),
        }
    results = {"system": system(), "study": vars(options) | {"output": None}, "brain": found}
    print(table(results))
    if options.output is not None:
        options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------ the study


def write_study(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Write a subject of a BIDS data set with its derivatives; return the settings that read it."""
    rng = np.random.default_rng(1)
    raw, derivatives = root / "sub-01/func", root / "derivatives/fmriprep/sub-01/func"
    raw.mkdir(parents=True)
    derivatives.mkdir(parents=True)
    affine, inside = brain(options.voxel_mm)
    for run in range(1, options.runs + 1):
        name = f"sub-01_task-bench_run-{run}"
        images = derivatives / f"{name}_space-MNI152NLin2009cAsym"
        events(rng, options).to_csv(raw / f"{name}_events.tsv", sep="\t", index=False)
        write_json(f"{images}_desc-preproc_bold.json", {"RepetitionTime": TR_S})
        write_image(f"{images}_desc-preproc_bold.nii.gz", noise(rng, inside, options), affine)
        write_image(f"{images}_desc-brain_mask.nii.gz", inside.astype(np.uint8), affine)
        motion = pd.DataFrame(rng.normal(0, 0.1, (options.volumes, len(MOTION))).cumsum(axis=0), columns=list(MOTION))
        motion.to_csv(derivatives / f"{name}_desc-confounds_timeseries.tsv", sep="\t", index=False)
        write_json(derivatives / f"{name}_desc-confounds_timeseries.json", {})
    return {"kind": "bids", "subjects": ["01"], "root": str(root), "task": "bench", "glm": options.glm}


def brain(voxel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the affine in mm and an ellipsoid in the middle of the grid, (n_x, n_y, n_z)."""
    shape = tuple(round(2 * n / voxel_mm) for n in SHAPE_2_MM)
    centre = (np.array(shape) - 1) / 2
    affine = nib.affines.from_matvec(np.diag([voxel_mm] * 3), -voxel_mm * centre)
    places = (np.indices(shape).T - centre) * voxel_mm / SEMI_AXES_MM
    return affine, (np.linalg.norm(places, axis=-1) < 1).T


def events(rng: np.random.Generator, options: argparse.Namespace) -> pd.DataFrame:
    """Show each condition as often as fits into a run (twice at most), in random order."""
    n_fitting = int(options.volumes * TR_S / SECONDS_PER_EVENT) // options.conditions
    if n_fitting < 1:
        sys.exit(f"{options.volumes} volumes are too few for {options.conditions} conditions; ask for more volumes.")
    order = rng.permutation(np.tile(np.arange(options.conditions), min(2, n_fitting)))
    names = [f"c{i:03}" for i in order]
    return pd.DataFrame({"onset": SECONDS_PER_EVENT * np.arange(len(names)), "duration": 2.0, "trial_type": names})


def noise(rng: np.random.Generator, inside: np.ndarray, options: argparse.Namespace) -> np.ndarray:
    """Return noise about 10,000 in the brain, (n_x, n_y, n_z, n_volumes)."""
    values = np.zeros((*inside.shape, options.volumes), dtype=options.dtype)
    for volume in range(options.volumes):
        values[inside, volume] = 10_000 + 100 * rng.standard_normal(np.count_nonzero(inside), dtype=np.float32)
    return values


def write_image(path: str, values: np.ndarray, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(values, affine)
    if values.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], TR_S))
        image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def write_json(path: str | Path, content: dict[str, Any]) -> None:
    Path(path).write_text(json.dumps(content), encoding="utf-8")


# ------------------------------------------------------------------------------------- the measurement


def measure(settings: dict[str, Any], residuals: str, n_threads: int) -> dict[str, Any]:
    """Measure in a process of its own."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(n_threads))
    words = [sys.executable, __file__, "--child", json.dumps(settings), residuals]
    told = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | limits).stdout
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


def measured(settings: dict[str, Any], residuals: bool) -> dict[str, Any]:
    """Load the patterns of the subject and save them; return seconds and the most bytes that this process had."""
    dataset, output = Bids.model_validate(settings), Path(settings["root"]) / "patterns.h5"
    before, began = peak_bytes(), perf_counter()
    patterns = dataset.load("01", residuals=residuals)
    loaded, loaded_bytes = perf_counter(), peak_bytes()
    io.save(output, patterns)
    return {
        "load_s": loaded - began,
        "save_s": perf_counter() - loaded,
        "bytes_before": before,
        "load_bytes": loaded_bytes,
        "bytes": peak_bytes(),
        "file_bytes": output.stat().st_size,
        "n_rows": patterns.values.shape[0],
        "n_voxels": patterns.values.shape[1],
        "n_samples": 0 if patterns.residuals is None else len(patterns.residuals.values),
    }


# -------------------------------------------------------------------------------------------- telling


def table(results: dict[str, Any]) -> str:
    """Write the results as a table for people."""
    study, found = results["study"], results["brain"]
    n_voxels = found["without residuals"]["n_voxels"]
    run_gb = 4e-9 * study["volumes"] * n_voxels
    heads = ["load s", "save s", "imports GB", "load GB", "peak GB", "file GB"]
    lines = [
        f"{study['runs']} runs of {study['volumes']} volumes ({study['dtype']}), {n_voxels:,} voxels, "
        f"{study['conditions']} conditions, {study['threads']} threads; a run in float32 has {run_gb:.2f} GB",
        f"{'':18s}" + "".join(f"{head:>12s}" for head in heads),
    ]
    for name, one in found.items():
        gigabytes = [one[key] / 1e9 for key in ("bytes_before", "load_bytes", "bytes", "file_bytes")]
        numbers = [f"{one['load_s']:12.1f}{one['save_s']:12.1f}", *(f"{number:12.2f}" for number in gigabytes)]
        lines.append(f"{name:18s}" + "".join(numbers))
    return "\n".join(lines)


def system() -> dict[str, Any]:
    """Say what this was measured on."""
    return {
        "machine": platform.machine(),
        "n_cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("numpy", "scipy", "nibabel", "nilearn", "pandas", "h5py")},
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
    }


if __name__ == "__main__":
    sys.exit(main())
