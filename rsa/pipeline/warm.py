"""Compile the package and keep that on disk: ``python -m rsa.pipeline.warm``, once after the installation.

Otherwise the first jobs that need an inner loop compile it, several of them the same one at the same time; and where
PYTHONDONTWRITEBYTECODE is set, as in many containers, each job compiles all modules of an editable installation anew.
"""

from compileall import compile_dir
from pathlib import Path

import numpy as np
import pandas as pd

from rsa.core import Patterns, RDMs, Volume
from rsa.inference.enhance import ENHANCEMENTS
from rsa.inference.graph import voxel_graph
from rsa.inference.permutation import permutation_test
from rsa.inference.subjects import over_subjects
from rsa.inference.tally import Correction
from rsa.neighbourhood import spheres
from rsa.searchlight import compare

__all__ = ["compile_modules", "warm"]


def warm() -> None:
    """Run each kind of walk and of test on a few voxels of noise."""
    rng = np.random.default_rng(0)
    volume = Volume(np.ones((4, 4, 4), dtype=bool), np.diag([4.0, 4.0, 4.0, 1.0]))
    names, table = [f"c{i}" for i in range(8)], pd.DataFrame({"model": ["noise"], "layer": ["one"]})
    conditions = pd.DataFrame({"condition": names * 2, "run": ["1"] * 8 + ["2"] * 8})
    patterns = Patterns(rng.standard_normal((16, 64)).astype(np.float32), conditions, volume)
    references, around = RDMs(rng.random((1, 28)), names, table), spheres(volume, 6)
    for distance in ("correlation", "crossnobis", "cv_correlation"):
        compare(patterns, around, references, distance=distance, min_voxels=2)
    for kind in ENHANCEMENTS:
        correction = Correction(enhance=kind, graph=voxel_graph(volume))
        permutation_test(patterns, around, references, n_permutations=20, seed=0, correction=correction, min_voxels=2)
        over_subjects(rng.standard_normal((6, 1, 64)) / 9, table, correction, n_permutations=20, cluster_p=0.5)
    over_subjects(rng.standard_normal((6, 1, 64)) / 9, table, Correction(), n_permutations=20)


def compile_modules(folder: Path) -> bool:
    """Compile all modules of a folder to bytecode, whatever Python itself is told; say whether that went well."""
    return bool(compile_dir(folder, quiet=2))


if __name__ == "__main__":
    compile_modules(Path(__file__).parents[1])
    warm()
