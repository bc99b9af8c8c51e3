"""What brain maps are compared with, besides the layers of networks: RDMs from files and from the stimulus table."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field
from scipy.spatial.distance import pdist

from rsa.core import Array, RDMs, align
from rsa.errors import UserError, did_you_mean, listed
from rsa.io import load_rdms
from rsa.rdm_files import is_rdms_file, read_conditions, read_rdms
from rsa.settings import DataPath, Label, Section

__all__ = ["REFERENCES", "RULES", "FileReference", "Reference", "TableReference"]


class FileReference(Section):
    """RDMs that others have made: of behaviour, of M/EEG, of another model or species."""

    kind: Literal["file"] = "file"
    """RDMs from a .npz, .npy, .mat, .h5, .csv or .tsv file."""
    name: Label
    """What the reference is called in tables and file names."""
    file: DataPath
    """The file; several RDMs in it become several references, numbered from 1."""
    key: str | None = None
    """Name of the array in the file; not needed if it has only one."""
    condition_order: Literal["stimuli"] | DataPath = "stimuli"
    """Order of the rows: that of the stimulus table, or of a file (a table, or .txt with a label on each line)."""
    condition_column: str = "condition"
    """Column of that table."""
    distance: str = "unknown"
    """How the dissimilarities were measured, for the record."""

    def files(self) -> list[Path]:
        """Return every file that `build` reads."""
        order = [] if self.condition_order == "stimuli" else [Path(self.condition_order)]
        return [Path(self.file), *order]

    def problems(self, condition_table: pd.DataFrame | None = None) -> list[str]:
        """Return what is wrong, as lines; empty if the reference can be built."""
        return _problems(self, condition_table)

    def build(self, condition_table: pd.DataFrame | None = None) -> RDMs:
        """Read the RDMs.

        Parameters
        ----------
        condition_table : DataFrame, optional
            The stimulus table: `condition`, one row per condition; needed for the order, if the file has no labels.

        Returns
        -------
        RDMs
            The table has `model`, the name of this reference, and `layer`: empty for one RDM, otherwise a number
            from 1 or the layers that a file of this pipeline names. In the order of `condition_table`, if given.

        Raises
        ------
        UserError
            If the file cannot be read, holds no RDMs, or has other conditions than the table.
        """
        wanted = None if condition_table is None else list(condition_table["condition"].astype(str))
        order = wanted
        if self.condition_order != "stimuli":
            order = read_conditions(self.condition_order, self.condition_column)
        values, labels = read_rdms(self.file, self.key, order)
        table = pd.DataFrame({"model": self.name, "layer": self._layers(len(values))})
        rdms = RDMs(values, labels, table, self._distance())
        return rdms if wanted is None else align(wanted, rdms, "the stimulus table", f"the reference {self.name!r}")

    def _layers(self, n_rdms: int) -> list[str]:
        if is_rdms_file(self.file):
            table = load_rdms(self.file).table
            if "layer" in table and table["layer"].is_unique:
                return list(table["layer"].astype(str))
        return [str(i + 1) for i in range(n_rdms)] if n_rdms > 1 else [""]

    def _distance(self) -> str:
        return load_rdms(self.file).distance if is_rdms_file(self.file) else self.distance


# ---------------------------------------------------------------------------------------- categories


def different(column: pd.Series) -> Array:
    """Return 0 for two conditions of one category and 1 for others, shape (n_pairs,).

    Examples
    --------
    >>> different(pd.Series(["face", "face", "house"]))
    array([0., 1., 1.])
    """
    codes, _ = pd.factorize(column)
    values: Array = pdist(codes[:, None], "hamming")
    return values


def difference(column: pd.Series) -> Array:
    """Return the absolute difference of a number between conditions, shape (n_pairs,).

    Examples
    --------
    >>> difference(pd.Series([1.0, 3.0, 10.0]))
    array([2., 9., 7.])
    """
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    if not np.isfinite(numbers).all():
        first = column[~np.isfinite(numbers)].iloc[0]
        raise UserError(f"{first!r} is not a number, and the rule 'difference' needs numbers; use 'different'.")
    values: Array = pdist(numbers[:, None], "cityblock")
    return values


RULES: dict[str, Callable[[pd.Series], Array]] = {"different": different, "difference": difference}
"""How a column of the stimulus table becomes an RDM."""


class TableReference(Section):
    """An RDM that a column of the stimulus table implies: a category, or a number such as a rating."""

    kind: Literal["table"] = "table"
    """A column of the stimulus table."""
    name: Label
    """What the reference is called in tables and file names."""
    column: str
    """Column of the stimulus table."""
    rule: Literal["different", "difference"] = "different"
    """different: 0 within a category, 1 between; difference: absolute difference of two numbers."""

    def files(self) -> list[Path]:
        """Return every file that `build` reads: none, since the stimulus table is given."""
        return []

    def problems(self, condition_table: pd.DataFrame | None = None) -> list[str]:
        """Return what is wrong, as lines; empty if the reference can be built."""
        return _problems(self, condition_table)

    def build(self, condition_table: pd.DataFrame | None = None) -> RDMs:
        """Make the RDM.

        Parameters
        ----------
        condition_table : DataFrame
            The stimulus table: `condition`, one row per condition, and `column`.

        Returns
        -------
        RDMs
            One RDM; the table has `model`, the name of this reference, and an empty `layer`.

        Raises
        ------
        UserError
            If the column is missing or has gaps, is not numeric where numbers are needed, or implies the same
            dissimilarity for all pairs.
        """
        column = self._values(condition_table)
        try:
            values = RULES[self.rule](column)
        except UserError as error:
            raise UserError(f"Reference {self.name!r}, column {self.column!r}: {error}") from error
        if np.ptp(values) == 0:
            raise UserError(
                f"Reference {self.name!r}: column {self.column!r} has {column.nunique()} values in {len(column)} "
                "conditions, so all pairs differ alike and no score is defined; choose another column or rule."
            )
        table = pd.DataFrame({"model": [self.name], "layer": [""]})
        return RDMs(values, list(column.index), table, self.rule)

    def _values(self, condition_table: pd.DataFrame | None) -> pd.Series:
        """Return the column, complete, with the conditions as its index."""
        if condition_table is None:
            raise UserError(f"Reference {self.name!r} needs a stimulus table with the column {self.column!r}.")
        if self.column not in condition_table:
            names = [str(name) for name in condition_table]
            raise UserError(
                f"Reference {self.name!r}: the stimulus table has no column {self.column!r}."
                f"{did_you_mean(self.column, names)} Its columns are {listed(names, 20)}."
            )
        column = condition_table.set_index(condition_table["condition"].astype(str))[self.column]
        gaps = list(column.index[column.isna()])
        if gaps:
            raise UserError(
                f"Reference {self.name!r}: column {self.column!r} has no value for {listed(gaps)}; fill it in."
            )
        return column


# ------------------------------------------------------------------------------------------- the table

REFERENCES: dict[str, type[FileReference] | type[TableReference]] = {"file": FileReference, "table": TableReference}
"""The kinds of references, by the word in `kind`."""

Reference = Annotated[FileReference | TableReference, Field(discriminator="kind")]
"""The settings of any reference, told apart by `kind`."""


def _problems(reference: FileReference | TableReference, condition_table: pd.DataFrame | None) -> list[str]:
    try:
        reference.build(condition_table)
    except UserError as error:
        return [str(error)]
    return []
