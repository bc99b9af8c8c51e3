"""The workloads, and seeded data for them, kept as plain arrays in a folder so that peers need not know our types."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.distance import pdist


@dataclass(frozen=True)
class Workload:
    """How large a searchlight is. Without `n_centres`, every voxel of the mask is a centre."""

    n_conditions: int
    resolution_mm: int
    radius_mm: int
    n_references: int = 8
    n_runs: int = 1
    n_permutations: int = 0
    n_centres: int | None = None

    @property
    def n_pairs(self) -> int:
        """Number of dissimilarities of an RDM."""
        return self.n_conditions * (self.n_conditions - 1) // 2

    @property
    def distance(self) -> str:
        """What is asked of the engines; crossnobis where there are runs."""
        return "crossnobis" if self.n_runs > 1 else "correlation"


WORKLOADS = {
    "A": Workload(92, 3, 9),
    "B": Workload(118, 2, 8),
    "A-time": Workload(92, 3, 9, n_references=1000),
    "A-perm": Workload(92, 3, 9, n_permutations=1000),
    "A-cross": Workload(92, 3, 9, n_runs=8),
    "N": Workload(1000, 2, 8, n_centres=20_000),
}

GROWTH = {
    "conditions": {n: Workload(n, 3, 9) for n in (32, 64, 128, 256)},
    "voxels": {mm: Workload(92, mm, 3 * mm) for mm in (4, 3, 2)},
    "references": {n: Workload(92, 3, 9, n_references=n) for n in (8, 64, 512, 4096)},
}
"""What grows alone: spheres have the same number of voxels in all masks of `voxels`."""


# ------------------------------------------------------------------------------------------ making one


def make(workload: Workload, folder: Path, scale: float = 1, offset: float = 0, seed: int = 0) -> None:
    """Write the arrays of a study.

    Parameters
    ----------
    workload : Workload
        How large it is.
    folder : Path
        Where to.
    scale : float
        Part of the volume that is kept, a box in its middle, and part of the centres.
    offset : float
        Added to all values, in standard deviations of the noise; raw BOLD has one of about 100.
    seed : int
        Of the random numbers.
    """
    from nilearn.datasets import load_mni152_brain_mask

    from rsa.core import Volume
    from rsa.neighbourhood import spheres

    image = load_mni152_brain_mask(resolution=workload.resolution_mm)
    mask = middle(image.get_fdata() > 0, scale)
    rng = np.random.default_rng(seed)
    values = noise(rng, mask, workload.n_runs * workload.n_conditions)
    if workload.n_runs > 1:
        values += np.tile(noise(rng, mask, workload.n_conditions), (workload.n_runs, 1))
    values += np.float32(offset)
    found = spheres(Volume(mask, image.affine), workload.radius_mm)
    first, last = stretch(len(found), workload.n_centres and max(1, round(scale * workload.n_centres)))
    arrays = {
        "values": values,  # (n_runs * n_conditions, n_voxels)
        "mask": mask,
        "affine": image.affine,
        "references": references(rng, workload.n_conditions, workload.n_references),
        "indptr": found.indptr[first : last + 1] - found.indptr[first],
        "indices": found.indices[found.indptr[first] : found.indptr[last]],
        "centres": found.centres[first:last],
    }
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    (folder / "workload.json").write_text(json.dumps(asdict(workload)))


def middle(mask: np.ndarray, scale: float) -> np.ndarray:
    """Cut a box out of the middle of a grid, of this part of its volume."""
    sizes = [max(1, round(n * scale ** (1 / 3))) for n in mask.shape]
    return mask[
        tuple(slice((n - size) // 2, (n - size) // 2 + size) for n, size in zip(mask.shape, sizes, strict=True))
    ]


def stretch(n_all: int, n_some: int | None) -> tuple[int, int]:
    """Return where a run of `n_some` begins and ends in the middle of `n_all`."""
    n_some = min(n_some or n_all, n_all)
    return (n_all - n_some) // 2, (n_all - n_some) // 2 + n_some


def noise(rng: np.random.Generator, mask: np.ndarray, n_rows: int) -> np.ndarray:
    """Draw white noise summed over cubes of 2 x 2 x 2 voxels, with a standard deviation of 1; (n_rows, n_voxels)."""
    rows = np.empty((n_rows, np.count_nonzero(mask)), dtype=np.float32)
    for row in rows:
        grid = rng.standard_normal([n + 1 for n in mask.shape], dtype=np.float32)
        grid = grid[1:] + grid[:-1]
        grid = grid[:, 1:] + grid[:, :-1]
        grid = grid[:, :, 1:] + grid[:, :, :-1]
        row[:] = grid[mask] / np.sqrt(8)
    return rows


def references(rng: np.random.Generator, n_conditions: int, n_references: int) -> np.ndarray:
    """Draw RDMs of random features, and two of categories, which are full of ties; (n_references, n_pairs)."""
    continuous = [pdist(rng.standard_normal((n_conditions, 5))) for _ in range(n_references - 2)]
    place = np.arange(n_conditions)[:, None]
    categorical = [pdist(place * n_categories // n_conditions, "hamming") for n_categories in (2, 5)]
    return np.array([*continuous, *categorical])


# ----------------------------------------------------------------------------------------- reading one


@dataclass(frozen=True)
class Study:
    """The files of one study; each array is read when it is asked for."""

    folder: Path

    def __getitem__(self, name: str) -> np.ndarray:
        """Read one array."""
        return np.load(self.folder / f"{name}.npy")

    @property
    def workload(self) -> Workload:
        """What it was made for."""
        return Workload(**json.loads((self.folder / "workload.json").read_text()))

    def members(self) -> list[np.ndarray]:
        """Return the voxels of each sphere, as positions in the mask."""
        return np.split(self["indices"], self["indptr"][1:-1])
