"""Small made-up studies for the brain explorer, and what its pictures must show."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from rsa.core import TEST, Patterns, RDMs, ScoreMap, Volume
from rsa.files import io
from rsa.files.maps import write_maps
from rsa.inference.group import combine
from rsa.maps import stack
from rsa.report.explorer import GROUP, Explorer, Maps
from rsa.report.links import EXPLORER

LAYERS = ["conv1", "conv<2>", 'fc "3"']
TIMES_S = [-0.1, 0.0, 0.1, 0.2]
CONDITIONS = [f"image{i:02d}" for i in range(9)]
SETTINGS = {"radius_mm": 8.0, "min_voxels": 4, "stride": 1, "distance": "correlation", "comparison": "spearman"}
ALPHA = 0.05


def ball(affine: np.ndarray, shape=(13, 15, 11)) -> Volume:
    """Voxels of an ellipsoid in the middle of a grid."""
    indices = np.indices(shape).reshape(3, -1).T
    inside = (((indices - (np.array(shape) - 1) / 2) / (np.array(shape) / 2.1)) ** 2).sum(axis=1) < 1
    return Volume(inside.reshape(shape), affine)


def flipped() -> Volume:
    """x stored right to left, anisotropic voxels."""
    affine = np.diag([-3.0, 4.0, 5.0, 1.0])
    affine[:3, 3] = [19, -24, -22]
    return ball(affine)


def oblique() -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [25, 10, -15], degrees=True).as_matrix() @ np.diag([-3.0, 3.0, 5.0])
    affine[:3, 3] = [20.3, -31.1, -7.7]
    return ball(affine)


def permuted() -> Volume:
    """The axes of the grid run up, right and forward."""
    return ball(np.array([[0, 4.0, 0, -25], [0, 0, -4, 20], [3, 0, 0, -15], [0, 0, 0, 1]]))


def scores_of(volume: Volume, subject: str, rng: np.random.Generator) -> ScoreMap:
    """Scores of a network, of a reference and of M/EEG at some times; some without a value."""
    rows = [{"model": "net", "layer": layer} for layer in LAYERS] + [{"model": "animate", "layer": ""}]
    rows += [{"model": "meeg", "layer": "", "time_s": time} for time in TIMES_S]
    bump = np.exp(-((volume.centres_mm - volume.centres_mm.mean(axis=0) - 6) ** 2).sum(axis=1) / 150)
    values = bump * np.linspace(0.7, 0.2, len(rows))[:, None] + rng.normal(0, 0.1, (len(rows), volume.n_voxels))
    values[:, ::41] = np.nan
    table = pd.DataFrame(rows).assign(subject=subject, statistic="spearman", role="reference")
    counts = rng.integers(5, 40, volume.n_voxels)
    return ScoreMap(values, table, volume, n_members=counts, reason=np.where(np.isnan(values[0]), 3, 0))


def with_tests(group: ScoreMap) -> ScoreMap:
    """Add a corrected p to each mean, without meaning."""
    logp = ScoreMap(
        np.clip(group.values * 5, 0, 3), group.table.assign(statistic="logp_max_stat", role=TEST), group.space
    )
    return stack([group, logp])


def anatomy_of(volume: Volume, path: Path, rng: np.random.Generator) -> Path:
    """Write an image of 1 mm around the voxels of a volume, on a grid of its own."""
    low, high = volume.centres_mm.min(axis=0) - 6, volume.centres_mm.max(axis=0) + 6
    shape = np.ceil(high - low).astype(int)
    affine = nib.affines.from_matvec(np.diag([-1.0, 1, 1]), [high[0], low[1], low[2]])
    nib.save(nib.Nifti1Image(rng.integers(50, 900, shape).astype(np.int16), affine), path)
    return path


def make_study(
    folder: Path, volume: Volume, n_subjects: int = 2, *, space: str = "T1w", radius_mm: float = 8.0, **changes
):
    """Write the maps of a study as files and its explorer; return it."""
    rng, settings = np.random.default_rng(0), {**SETTINGS, "radius_mm": radius_mm}
    subjects = [scores_of(volume, f"{i:02d}", rng) for i in range(1, n_subjects + 1)]
    maps = [Maps(str(one.table["subject"].iloc[0]), "", one, settings) for one in subjects]
    if n_subjects > 1:
        tested = with_tests(combine(subjects, "mean"))
        maps.insert(0, Maps(GROUP, "", tested, {**settings, "inference": {"alpha": ALPHA, "family": ["voxels"]}}))
    brain = {}
    for one in maps:
        subject = "" if one.who == GROUP else one.who
        provenance = {"settings": dict(one.settings), "versions": {}}
        write_maps(one.scores, folder, subject, space, [], provenance, folder / "scores.h5")
        if subject:
            brain[subject] = folder / f"sub-{subject}_patterns.h5"
            io.save(brain[subject], patterns_of(volume, rng))
    references = RDMs(
        rng.random((4 + len(TIMES_S), 36)),
        CONDITIONS[::-1],
        pd.DataFrame(subjects[0].table[["model", "layer", "time_s"]]),
    )
    given = {"brain": brain, "references": references, "derived": (), **changes}
    explorer = Explorer("made <up> & odd", folder, space, maps, **given)
    explorer.write((folder / EXPLORER).parent)
    return explorer


def patterns_of(volume: Volume, rng: np.random.Generator) -> Patterns:
    """Two runs of responses; some voxels have none."""
    table = pd.DataFrame({"condition": CONDITIONS * 2, "run": ["1"] * len(CONDITIONS) + ["2"] * len(CONDITIONS)})
    values = rng.normal(2, 1, (len(table), volume.n_voxels)) * rng.uniform(0.5, 2, volume.n_voxels)
    values[:, ::17] = 0
    return Patterns(values, table, volume)
