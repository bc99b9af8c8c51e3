"""Named arrays in the formats from which RDMs are read."""

from pathlib import Path

import h5py
import numpy as np
import scipy.io


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays in the format of the suffix (73.mat: MATLAB 7.3); .npy takes the first one."""
    if path.name.endswith("73.mat"):
        write_matlab_73(path, **arrays)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, arrays)
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".npy":
        np.save(path, next(iter(arrays.values())))
    else:
        with h5py.File(path, "w") as file:
            file.update(arrays)


def write_matlab_73(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays as MATLAB 7.3 does: HDF5 behind a header of 512 bytes, axes in reverse."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group("#refs#")["a"] = np.zeros(2)
        for name, values in arrays.items():
            file[name] = np.asarray(values).T
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def write_cells_73(path: Path, name: str, texts: list[str]) -> None:
    """Add a row of cells with texts to a file of MATLAB 7.3: references to arrays of letters."""
    with h5py.File(path, "r+") as file:
        references = []
        for i, text in enumerate(texts):
            letters = file.create_dataset(f"#refs#/{name}{i}", data=np.array([[ord(x)] for x in text], dtype=np.uint16))
            letters.attrs["MATLAB_class"] = np.bytes_("char")
            references.append([letters.ref])
        file.create_dataset(name, data=references, dtype=h5py.ref_dtype).attrs["MATLAB_class"] = np.bytes_("cell")
