"""Patterns and scores that stay in their files: their labels are in memory, and values are read as they are needed.

What works on many subjects takes these as well as what is in memory, and holds a part of each subject at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rsa.core import Array, Patterns, RunNoise, ScoreMap, Volume
from rsa.errors import UserError
from rsa.files import io

__all__ = ["StoredPatterns", "StoredScores", "stored_patterns", "stored_scores"]


@dataclass(frozen=True, eq=False)
class StoredPatterns:
    """Patterns over the voxels of a volume, in a file.

    Parameters
    ----------
    path : path
        File that `rsa.files.io.save` wrote.
    labels : Patterns
        The same of one voxel: conditions, runs, delays, and how noise is used.
    volume : Volume
        The voxels.
    usable : array of bool, shape (n_voxels,)
        Which take part.
    """

    path: Path
    labels: Patterns
    volume: Volume
    usable: Array

    @property
    def conditions(self) -> list[str]:
        """The conditions, each once, in order of first appearance."""
        return self.labels.conditions

    @property
    def delays_s(self) -> list[float]:
        """The delays after onset, in s, ascending; empty if there is one response."""
        return self.labels.delays_s

    @property
    def run_noise(self) -> RunNoise | None:
        """How patterns are normalised by noise that is seen between their runs."""
        return self.labels.run_noise

    @property
    def n_rows(self) -> int:
        """Number of patterns."""
        return self.labels.n_rows

    @property
    def n_samples(self) -> int:
        """Number of samples of the noise of each voxel; 0 without residuals."""
        return self.labels.n_samples

    def of_columns(self, columns: slice) -> Patterns:
        """Read the patterns of voxels that follow each other, one of which is usable."""
        return io.load_patterns(self.path, columns)


def stored_patterns(path: str | Path) -> StoredPatterns:
    """Read what patterns are of, and leave their values in the file.

    Raises
    ------
    UserError
        If there is no such file, it holds something else, or its patterns are not over voxels.
    """
    with io.opened(path, "Patterns") as file:
        volume, usable = io.load_space(file), file["usable"][:]
    if not isinstance(volume, Volume):
        raise UserError(f"The patterns in {path} are not over voxels; a searchlight needs a volume.")
    first = int(usable.argmax())
    labels = io.load_patterns(path, slice(first, first + 1))
    return StoredPatterns(Path(path), labels, volume, usable)


@dataclass(frozen=True, eq=False)
class StoredScores:
    """Scores in a file: maps of one subject, of which some are read at a time.

    Parameters
    ----------
    path : path
        File that `rsa.files.io.save` wrote.
    table : DataFrame, n_maps rows
        What each map is; see `rsa.core.ScoreMap`.
    volume : Volume, optional
        The voxels, if the columns are such.
    n_members, reason : array of int, shape (n_columns,), optional
        As in `rsa.core.ScoreMap`.
    """

    path: Path
    table: pd.DataFrame
    volume: Volume | None
    n_members: Array | None = None
    reason: Array | None = None

    def __len__(self) -> int:
        return len(self.table)

    def rows(self, chosen: slice | Sequence[int] | Array) -> Array:
        """Read some of the maps, shape (n_chosen, n_columns), float32."""
        with io.opened(self.path, "ScoreMap", **io.NO_CACHE) as file:
            stored = file["values"]
            if isinstance(chosen, slice):
                return np.asarray(stored[chosen])
            found = np.empty((len(chosen), stored.shape[1]), dtype=stored.dtype)
            for place, row in enumerate(chosen):
                stored.read_direct(found, np.s_[int(row)], np.s_[place])
            return found

    def load(self) -> ScoreMap:
        """Read all of it."""
        return io.load_scores(self.path)


def stored_scores(path: str | Path) -> StoredScores:
    """Read what scores are of, and leave their values in the file.

    Raises
    ------
    UserError
        If there is no such file, or it holds something else.
    """
    with io.opened(path, "ScoreMap") as file:
        space, table = io.load_space(file), io.load_score_table(file)
        counts = {name: file[name][:] for name in ("n_members", "reason") if name in file}
    return StoredScores(Path(path), table, space if isinstance(space, Volume) else None, **counts)
