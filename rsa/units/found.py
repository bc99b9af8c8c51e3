"""What a part of the look at units finds: tables, and arrays of which pictures are drawn."""

import io as memory
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsa.core import Array
from rsa.errors import UserError
from rsa.files import io

__all__ = ["Found", "Table", "load_arrays", "save_found"]


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
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it, and run the study again.") from error
