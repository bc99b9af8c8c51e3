"""Files of others that are empty, cut, or have wrong bits are told in one line, or read; nothing else happens."""

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import mne
import nibabel as nib
import numpy as np
import pytest
import torch
from array_files import write_arrays
from PIL import Image
from rewriting import rewritten
from safetensors.torch import save_file
from scipy.io import savemat
from scipy.spatial.distance import squareform

from rsa.datasets import Movies
from rsa.datasets.epochs import EpochFiles
from rsa.datasets.glmsingle import GlmSingle
from rsa.datasets.spm import Spm
from rsa.errors import UserError
from rsa.files.rdm_files import read_rdms
from rsa.inputs.regions import Regions, region_labels
from rsa.inputs.stimuli import read_image
from rsa.inputs.templates import read_transform
from rsa.models.weights import read_state

LABELS = list("abcdef")
N_FLIPS = 25
"""Bits that are flipped in each file, one at a time. None in HDF5: the library may never return from such a file."""


def rdms(folder: Path, name: str, rng: np.random.Generator) -> tuple[Path, Callable[[], object]]:
    path = folder / name
    square = squareform(rng.random(15))
    if path.suffix == ".tsv":
        rows = [
            "\t".join(["", *LABELS]),
            *("\t".join([label, *map(str, row)]) for label, row in zip(LABELS, square, strict=True)),
        ]
        path.write_text("\n".join(rows) + "\n")
    else:
        write_arrays(path, rdm=square)
    return path, lambda: read_rdms(path, None, LABELS)


def movie(folder: Path, name: str, rng: np.random.Generator) -> tuple[Path, Callable[[], object]]:
    path = folder / name
    write_arrays(path, rdms=rng.random((8, 15)), t=np.arange(8) / 10)
    times = {"start": 0, "step": 0.1, "unit": "s"}
    source = Movies(subjects=["01"], file=str(path), key=None if path.suffix == ".npy" else "rdms", times=times)
    return path, lambda: source.load("01", LABELS)


def glmsingle(folder: Path, name: str, rng: np.random.Generator) -> tuple[Path, Callable[[], object]]:
    path, betas = folder / name, rng.normal(size=(4, 3, 2, 6)).astype(np.float32)
    if path.suffix == ".npy":
        np.save(path, {"betasmd": betas, "R2": betas[..., 0], "pcnum": 3})
    else:
        write_arrays(path, betasmd=betas)
    nib.save(nib.Nifti1Image(np.ones((4, 3, 2), np.uint8), np.eye(4)), folder / "grid.nii")
    (folder / "trials.tsv").write_text("condition\n" + "\n".join(LABELS) + "\n")
    places = {"betas": str(path), "table": str(folder / "trials.tsv"), "grid_image": str(folder / "grid.nii")}
    source = GlmSingle(subjects=["01"], mask=str(folder / "grid.nii"), **places)
    return path, lambda: source.load("01")


def spm(folder: Path, name: str, rng: np.random.Generator) -> tuple[Path, Callable[[], object]]:
    path = folder / "SPM.mat"
    design = {"xX": {"name": np.array(["Sn(1) a*bf(1)", "Sn(1) b*bf(1)"], dtype=object), "trRV": 9.0}}
    design |= {"xBF": {"name": "hrf", "length": 32.0}, "nscan": 100.0, "xY": rng.random((20, 20))}
    savemat(path, {"SPM": design}, do_compression="compressed" in name)
    return path, lambda: Spm(subjects=["01"], folder=str(folder))._sources("01")


def transform(folder: Path, name: str, rng: np.random.Generator) -> tuple[Path, Callable[[], object]]:
    path = folder / name
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for i, (kind, parameters, fixed) in enumerate(
                [("AffineTransform_double_3_3", np.r_[np.eye(3).ravel(), 1, 2, 3], np.zeros(3))]
            ):
                group = file.create_group(f"TransformGroup/{i}")
                group["TransformType"] = [kind]
                group["TransformParameters"], group["TransformFixedParameters"] = parameters, fixed
    else:
        path.write_text(
            "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
            "Parameters: 1 0 0 0 1 0 0 0 1 1.5 -2 3\nFixedParameters: 0 0 0\n"
        )
    return path, lambda: read_transform(path)(np.zeros((1, 3)))


def epochs(folder: Path, name: str, rng: np.random.Generator) -> tuple[Path, Callable[[], object]]:
    path = folder / name
    info = mne.create_info(["A1", "A2"], 100.0, "eeg")
    events = np.column_stack([np.arange(4) * 50, np.zeros(4, int), [1, 2, 1, 2]])
    values = rng.normal(size=(4, 2, 10)) * 1e-6
    made = mne.EpochsArray(values, info, events, event_id={"a": 1, "b": 2}, verbose="error")
    made.save(path, overwrite=True, verbose="error")
    return path, lambda: EpochFiles(subjects=["01"], file=str(path)).load("01")


def real(data: Path, folder: Path, name: str) -> tuple[Path, Callable[[], object]]:
    path = folder / Path(name).name
    shutil.copyfile(data / "readers" / name, path)
    return path, lambda: EpochFiles(subjects=["01"], file=str(path), channel_type="eeg").load("01")


def xml(folder: Path, name: str, rng: np.random.Generator) -> tuple[Path, Callable[[], object]]:
    path = folder / name
    labels = "".join(f'<label index="{i}">Region {i}</label>' for i in range(5))
    path.write_text(f"<atlas><header><type>Label</type></header><data>{labels}</data></atlas>")
    return path, lambda: region_labels(Regions(atlas="a.nii", labels=str(path)))


def weights(folder: Path, name: str, rng: np.random.Generator) -> tuple[Path, Callable[[], object]]:
    path, state = folder / name, {"fc.weight": torch.zeros(3, 4), "fc.bias": torch.ones(3)}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save({"model": state, "epoch": 1}, path)
    return path, lambda: read_state(str(path), "cpu")


def picture(folder: Path, name: str, rng: np.random.Generator) -> tuple[Path, Callable[[], object]]:
    path = folder / name
    Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)
    return path, lambda: read_image(path)


MADE = {
    "rdms": (rdms, ["r.npz", "r.npy", "r.mat", "r73.mat", "r.h5", "r.tsv"]),
    "movie": (movie, ["m.npz", "m.npy", "m.mat", "m73.mat", "m.hdf5"]),
    "glmsingle": (glmsingle, ["b.npy", "b.npz", "b.mat", "b.hdf5"]),
    "spm": (spm, ["plain", "compressed"]),
    "transform": (transform, ["t.txt", "t.tfm", "t.h5"]),
    "epochs": (epochs, ["sub-01-epo.fif"]),
    "xml": (xml, ["atlas.xml"]),
    "weights": (weights, ["w.pth", "w.safetensors"]),
    "picture": (picture, ["p.png", "p.jpg", "p.tif", "p.gif", "p.bmp", "p.webp"]),
}
REAL = ["eeglab/test_epochs_onefile.set", "fieldtrip/CNT/epoched_v7.mat", "fieldtrip/CNT/epoched_v73.mat"]


def assert_told_or_read(
    path: Path, read: Callable[[], object], rng: np.random.Generator, n_flips: int = N_FLIPS
) -> None:
    """Read a file that is cut at many lengths, and one with single wrong bits."""
    whole = path.read_bytes()
    read()
    cuts = {0, 1, 8, 100, *np.linspace(0, len(whole) - 1, 12).astype(int).tolist()}
    changed = [whole[:cut] for cut in sorted(cuts) if cut < len(whole)]
    for place in rng.integers(len(whole), size=0 if h5py.is_hdf5(path) else n_flips):
        bits = bytearray(whole)
        bits[place] ^= 1 << int(rng.integers(8))
        changed.append(bytes(bits))
    messages = []
    for content in changed:
        path.unlink()
        rewritten(path, content)
        messages.append(told(read))
    assert messages[0], "an empty file is refused"
    assert not [text for text in messages if "\n" in text]
    assert not [text for text in messages if text and str(path) not in text]


def told(read: Callable[[], object]) -> str:
    try:
        read()
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, (_, names) in MADE.items() for name in names])
def test_a_damaged_file_is_told_or_read(tmp_path, rng, kind, name):
    assert_told_or_read(*MADE[kind][0](tmp_path, name, rng), rng)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REAL)
def test_a_damaged_file_of_another_program_is_told_or_read(data, tmp_path, rng, name):
    if not (data / "readers").is_dir():
        pytest.skip("there are no files of other programs")
    assert_told_or_read(*real(data, tmp_path, name), rng, n_flips=8)


@pytest.mark.filterwarnings("ignore")  # numpy leaves archives open that it cannot read
@pytest.mark.parametrize("name", ["r.npz", "z.npz", "z.mat"])
def test_checksums_of_archives_count(tmp_path, rng, name):
    """What is read of a file with a wrong bit is what was written, or nothing."""
    path, square = tmp_path / name, squareform(rng.random(91))  # of 14 conditions
    if name == "z.mat":
        savemat(path, {"rdm": square}, do_compression=True)
    else:
        (np.savez if name == "r.npz" else np.savez_compressed)(path, rdm=square)
    whole, labels, n_told = path.read_bytes(), list("abcdefghijklmn"), 0
    for place in rng.integers(len(whole), size=60):
        bits = bytearray(whole)
        bits[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bits)
        try:
            values = read_rdms(path, None, labels)[0]
        except UserError:
            n_told += 1
            continue
        np.testing.assert_array_equal(values[0], squareform(square))
    assert n_told > 40
