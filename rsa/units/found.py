"""What a part of the look at units finds: tables, and arrays of which pictures are drawn."""

import io as memory
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsa.core import Array
from rsa.errors import UserError, listed, one_line
from rsa.files import io

__all__ = ["FILES", "Found", "Table", "load_arrays", "remove_found", "save_found"]

FILES = (
    *("units", "responses", "preferred", "tuning", "filters", "maximised", "fields", "heat_maps"),
    *("channels", "channels_best", "neighbours", "neighbours_categories", "embeddings"),
    *("readout", "readout_pairs", "readout_fits", "pictures", "provenance"),
)
"""What files of a look at a network may be called, without their endings."""

MARK = "responses.npz"
"""The file of a look that is written first, and removed last."""


@dataclass(frozen=True)
class Table:
    """A table, and what its columns are."""

    rows: pd.DataFrame
    columns: Mapping[str, str]


@dataclass(frozen=True)
class Found:
    """What a part finds.

    Parameters
    ----------
    tables : mapping
        By name; each becomes <name>.tsv, with a JSON data dictionary.
    arrays : mapping
        By name; together they become one file, <part>.npz.
    pictures : frozenset of int
        Numbers of pictures that are shown whole.
    """

    tables: Mapping[str, Table] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    pictures: frozenset[int] = frozenset()


def save_found(folder: Path, part: str, found: Found) -> None:
    """Write the tables (TSV) and arrays (NPZ) of a part to a folder."""
    for name, table in found.tables.items():
        io.save_table(folder / f"{name}.tsv", table.rows[list(table.columns)], table.columns)
    if found.arrays:
        content = memory.BytesIO()
        arrays: dict[str, Any] = dict(found.arrays)
        np.savez_compressed(content, **arrays)
        with io.writing(folder / f"{part}.npz") as temporary:
            temporary.write_bytes(content.getvalue())


def remove_found(folder: Path) -> None:
    """Remove what an earlier look at a network left in a folder, so that nothing of it stands beside what is new.

    Raises
    ------
    UserError
        If the folder is none, or cannot be written, or holds files of these names that are of no look.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = [f"{name}{ending}" for name in FILES for ending in (".tsv", ".json", ".npz")]
        there = [name for name in names if (folder / name).is_file()]
        if there and MARK not in there:
            raise UserError(
                f"{folder} has {listed(there, 3)}, and is not the folder of an earlier look at units, which has "
                f"{MARK}; name another folder, lest your files are replaced."
            )
        for name in sorted(there, key=lambda name: name == MARK):
            (folder / name).unlink()
    except OSError as error:
        raise UserError(f"Cannot write to the folder {folder}: {error.strerror}.") from error


def load_arrays(folder: Path, part: str) -> dict[str, Array]:
    """Read the arrays of a part from a folder; nothing if it has none.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    path = folder / f"{part}.npz"
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except io.DAMAGES as error:
        raise UserError(f"{path} cannot be read ({one_line(error)}); delete it, and run the study again.") from error
