"""Brain RDMs that are ready: per subject and region, in any of the formats that `rsa.files.rdm_files` reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from rsa.core import Array, RDMs, align, concatenate, select
from rsa.datasets.common import ReadyDataset
from rsa.errors import UserError
from rsa.files.io import load_rdms
from rsa.files.rdm_files import is_rdms_file, oddities_of, read_rdms, require_differences
from rsa.settings import DataPath, Names, Subjects, by_subject, fill, placeholders

__all__ = ["Rdms"]


class Rdms(ReadyDataset):
    """Brain RDMs that are ready, per subject and region.

    Raises
    ------
    ValidationError
        If neither `file` nor `key` tells the regions apart, or a placeholder is unknown.
    """

    provides = "rdms"
    located_by = "file"
    templates = dict.fromkeys(("file", "key"), ("subject", "region"))
    space: ClassVar[str] = ""
    """Regions have no grid, so there is no label of one."""

    kind: Literal["rdms"] = "rdms"
    """Brain RDMs in .npz, .npy, .mat, .h5, .csv or .tsv files."""
    subjects: Subjects
    """Labels of the subjects, quoted; in the order of the RDMs where one array holds all subjects."""
    file: DataPath
    """Template of the files, with {subject} and {region} where the names differ by them."""
    regions: Names = Field(min_length=1)
    """Names of the regions, as in the file or key: ["EVC", "IT"]."""
    key: str | None = None
    """Name of the array, with {region} and {subject}; by default "{region}" unless `file` has it."""

    @model_validator(mode="after")
    def _regions_differ(self) -> Self:
        if len(self.regions) > 1 and "region" not in placeholders(self.file + (self.key or "{region}")):
            raise ValueError("neither file nor key has {region}, so all regions would be the same RDM; put it there")
        return self

    def files(self, subject: str, conditions: Sequence[str] | None = None, *, residuals: bool = False) -> list[Path]:
        """Return every file that `load` reads for a subject; neither `conditions` nor `residuals` make a difference."""
        return list(dict.fromkeys([*(self._file(subject, region) for region in self.regions), *self.order_files]))

    def problems(self, conditions: Sequence[str] | None = None, *, residuals: bool = False) -> list[str]:
        """Read all RDMs and return what is wrong with them, one line for each problem."""
        found: list[tuple[str, str]] = []
        for subject in self.subjects:
            for region in self.regions:
                try:
                    self._load_region(subject, region, conditions)
                except UserError as error:
                    path = self._file(subject, region)
                    found.append((subject, str(error).replace(str(path), str(fill(self.file, region=region)))))
        return by_subject(found)

    def oddities(self, conditions: Sequence[str] | None = None) -> list[str]:
        """Return what is odd about the RDMs of data without problems, and may be meant, as lines."""
        found = [
            (subject, f"RDM of {region!r}: {text}")
            for subject in self.subjects
            for region in self.regions
            for text in oddities_of(self._load_region(subject, region, conditions))
        ]
        return by_subject(found)

    def load(self, subject: str, conditions: Sequence[str] | None = None, *, residuals: bool = False) -> RDMs:
        """Read the RDMs of a subject.

        Returns
        -------
        RDMs
            One row per region, with `subject` and `region` in the table; in the order of `conditions` if given.

        Raises
        ------
        UserError
            If a file, array or label is missing, or what is there is no RDM, or the number of RDMs in an array is
            not that of the subjects.
        """
        return concatenate([self._load_region(subject, region, conditions) for region in self.regions])

    def _file(self, subject: str, region: str) -> Path:
        return fill(self.file, subject=subject, region=region)

    def _load_region(self, subject: str, region: str, conditions: Sequence[str] | None) -> RDMs:
        path = self._file(subject, region)
        table = pd.DataFrame({"subject": [subject], "region": [region]})
        if is_rdms_file(path):
            stack = load_rdms(path)
            for column in set(table) & set(stack.table):
                stack = select(stack, **{column: table[column][0]})
            values, labels, distance = self._row_of(subject, stack.values, path), stack.conditions, stack.distance
        else:
            default = None if "region" in placeholders(self.file) else "{region}"
            key = self.key if self.key is not None else default
            name = None if key is None else str(fill(key, subject=subject, region=region))
            array, labels = read_rdms(path, name, self.told_order(conditions), in_order=self.is_in_order)
            values, distance = self._row_of(subject, array, path), self.distance
        require_differences(values, labels, f"the RDMs of {region!r} in {path}")
        rdms = RDMs(values, labels, table, distance)
        return rdms if conditions is None else align(conditions, rdms, "the stimulus table", str(path))

    def _row_of(self, subject: str, array: Array, path: Path) -> Array:
        """Take the subject's RDM, shape (1, n_pairs), from all that an array holds, shape (n_rdms, n_pairs)."""
        if self.is_of_each_subject:
            if len(array) != 1:
                raise UserError(f"{path} holds {len(array)} RDMs but one subject has 1; average them.")
            return array
        if len(array) == 1 and is_rdms_file(path):
            return array
        if len(array) != len(self.subjects):
            raise UserError(
                f"{path} holds {len(array)} RDMs and there are {len(self.subjects)} subjects; list one subject for "
                "each RDM, in their order."
            )
        place = self.subjects.index(subject)
        return array[place : place + 1]
