"""Ready responses of layers, which others have computed: rows are conditions, or pictures."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import AfterValidator, ValidationInfo

from rsa.core import Array, difference_of_conditions
from rsa.errors import UserError, listed
from rsa.files.io import content_hash
from rsa.files.rdm_files import read_conditions
from rsa.files.rdm_labels import Column, columns_of, labels_of_rows, labels_with_repeats
from rsa.files.sources import load_text, require_content
from rsa.models.arrays import Stored, arrays_in, in_natural_order, rows_of
from rsa.models.source import LAYER_COLUMNS, Source, problems_of_torch_alone
from rsa.settings import below_data_root, fill, placeholders

__all__ = ["Features", "FeatureRows", "ReadyFeatures"]

WORDS = ("stimuli", "sorted")

FILE_NAMES = "file_names.txt"
"""What thingsvision writes beside its features: the file of the picture of each row."""


def _path_of_layers(path: str) -> str:
    unknown = placeholders(path) - {"layer"}
    if unknown:
        raise ValueError(f"{path}: there is no {{{min(unknown)}}} in the name of a file of features, only {{layer}}")
    return path


def _order(order: str, info: ValidationInfo) -> str:
    return order if order in WORDS else below_data_root(order, info)


# --------------------------------------------------------------------------------------- rows of a layer


@dataclass(frozen=True)
class FeatureRows:
    """The responses of a layer, of which blocks of columns are read when they are asked for.

    Parameters
    ----------
    stored : Stored
        The array.
    rows : tuple of array of int
        For each condition, the rows of the array that are averaged for it.
    """

    stored: Stored
    rows: tuple[Array, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of conditions and of units."""
        return len(self.rows), self.stored.n_units

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> Array:
        """Read responses as of an array of shape (n_conditions, n_units), at least in single precision."""
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        values = np.asarray(self._content[:, columns])
        values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
        if all(len(of_one) == 1 for of_one in self.rows):
            means = values[np.concatenate(self.rows)]
        else:
            means = np.stack([values[of_one].mean(axis=0, dtype=np.float64) for of_one in self.rows])
        wanted: Array = means[rows]
        return wanted

    @cached_property
    def _content(self) -> Any:
        return rows_of(self.stored)


@dataclass(frozen=True)
class ReadyFeatures:
    """Ready responses of layers; see `rsa.models.source.Responses`."""

    conditions: Sequence[str]
    layers: dict[str, FeatureRows]

    def of(self, layer: str) -> FeatureRows:
        """Return the responses of a layer."""
        return self.layers[layer]

    def weights_sha256(self) -> str:
        """Return the SHA-256 of the files of the responses: of the hashes of their content, in order."""
        files = dict.fromkeys(rows.stored.path for rows in self.layers.values())
        return hashlib.sha256("\n".join(content_hash(path) for path in files).encode()).hexdigest()


# ----------------------------------------------------------------------------------------- settings


class Features(Source):
    """Ready responses of a network's layers to the conditions, computed by something else; no pictures are needed."""

    needs_pictures: ClassVar[bool] = False

    source: Literal["features"] = "features"
    """Files of features."""
    file: Annotated[str, AfterValidator(_path_of_layers), AfterValidator(below_data_root)]
    """A .npz, .h5, .hdf5 or .mat file with an array for each layer, a .npy file with one, or, with {layer} in its name,
    a file for each layer. The first axis of an array are conditions, or pictures, which are averaged for each
    condition; the others are flattened, the last axis fastest."""
    key: str | None = None
    """Name of the array in each file, if file has {layer} and there are several."""
    condition_order: Annotated[str, AfterValidator(_order)] = "stimuli"
    """Order of the rows of files without labels: that of the stimulus table, the conditions `sorted`, or that of
    another file (a table, or .txt with a label on each line). Labels that a file has, as an array of text with one for
    each row or in a file_names.txt beside it, say which row is which, and must not contradict it."""
    condition_column: str = "condition"
    """Column of that table."""
    origin: str = ""
    """Where the responses come from, for the methods text: "AlexNet of torchvision, computed with thingsvision"."""

    @property
    def called(self) -> str:
        """The file."""
        return self.file

    @property
    def label(self) -> str:
        """The model's label in file names."""
        stem = Path(self.file).stem.replace("{layer}", "")
        return self.name or re.sub("[^0-9A-Za-z]", "", stem) or "features"

    def problems(self) -> list[str]:
        """Return what is wrong with these settings, a line each; no response is read."""
        return [*problems_of_torch_alone(self, "was computed beforehand"), *super().problems()]

    def about(self) -> str:
        """Say in a few words which responses they are."""
        return f"ready responses of {self.origin or Path(self.file).name}"

    def methods(self) -> list[str]:
        """Return sentences for the methods text."""
        origin = f" ({self.origin})" if self.origin else ""
        return [
            f"Responses of the layers of {self.label}{origin} had been computed beforehand, and were read from "
            f"{Path(self.file).name}."
        ]

    def preprocessing(self) -> str:
        """Say that there was none here."""
        return "none here: responses were ready"

    def files(self) -> list[Path]:
        """Return all files that are read."""
        files = self._files()
        beside = [path.parent / FILE_NAMES for path in files.values() if (path.parent / FILE_NAMES).is_file()]
        order = [] if self.condition_order in WORDS else [Path(self.condition_order)]
        return list(dict.fromkeys([*files.values(), *beside, *order]))

    def describe(self) -> pd.DataFrame:
        """Return the layers, in the order of the file or by their names in natural order; no response is read."""
        rows = []
        for layer, stored in self._layers().items():
            shape = stored.shape[1:]
            row = {"layer": layer, "type": "features", "shape": "x".join(map(str, shape)), "n_units": math.prod(shape)}
            rows.append({**row, "n_calls": 1, "default": math.prod(shape) > 0})
        return pd.DataFrame(rows, columns=list(LAYER_COLUMNS))

    def load(self) -> Any:
        """Return the responses, whose rows the files themselves have to tell, or `condition_order`."""
        return self.responses(None)

    def responses(self, stimuli: pd.DataFrame | None) -> ReadyFeatures:
        """Return the responses of the chosen layers.

        Parameters
        ----------
        stimuli : DataFrame, optional
            The stimulus table: `condition`, and `file` if there are pictures.

        Raises
        ------
        UserError
            If a file cannot be read, or its rows are not the conditions or it is not known which they are.
        """
        if refused := problems_of_torch_alone(self, "was computed beforehand"):
            raise UserError(refused[0])
        there = self._layers()
        found = {layer: self._rows(there[layer], stimuli) for layer in self.layer_names()}
        first = next(iter(found), "")
        for layer, (conditions, _) in found.items():
            names = f"the rows of layer {first!r} of {self.file}", f"those of {layer!r}"
            if difference := difference_of_conditions(found[first][0], conditions, *names):
                raise UserError(difference)
        order = found[first][0] if stimuli is None else list(dict.fromkeys(stimuli["condition"].astype(str)))
        rows = {layer: tuple(dict(zip(*each, strict=True))[name] for name in order) for layer, each in found.items()}
        return ReadyFeatures(order, {layer: FeatureRows(there[layer], each) for layer, each in rows.items()})

    def _files(self) -> dict[str, Path]:
        """Return the file of each layer, in natural order; for one file of all layers, that under an empty name."""
        path = Path(self.file)
        if not placeholders(self.file):
            return {"": path}
        part = next(part for part in path.parts if "{layer}" in part)
        folder = Path(*path.parts[: path.parts.index(part)])
        pattern = str(Path(*path.parts[path.parts.index(part) :]))
        named = re.compile("(?P<layer>[^/]+)".join(re.escape(piece) for piece in pattern.split("{layer}", 1)))
        glob = re.sub(r"([*?[])", r"[\1]", pattern).replace("{layer}", "*")
        there = [file.relative_to(folder).as_posix() for file in folder.glob(glob)]
        layers = [found["layer"] for name in there if (found := named.fullmatch(name))]
        if not layers:
            raise UserError(f"There is no file {self.file}, whatever stands for {{layer}}.")
        return {layer: fill(self.file, layer=layer) for layer in in_natural_order(layers)}

    def _layers(self) -> dict[str, Stored]:
        """Return the array of each layer."""
        found: dict[str, Stored] = {}
        for layer, path in self._files().items():
            require_content(path)
            labels = {column.name for column in columns_of(path) if column.kind == "text" or column.is_called_labels}
            arrays = [one for one in arrays_in(path) if one.name not in labels and _has_rows(one)]
            if not layer and self.key is not None:
                raise UserError(f"key is for files with {{layer}} in their names; choose layers of {path} by `layers`.")
            if not layer:
                found |= {one.name or path.stem: one for one in arrays}
            else:
                found[layer] = self._one_of(arrays, path)
        if not found:
            raise UserError(f"{self.file} holds no array of numbers with rows of conditions, (n_conditions, ...).")
        return found

    def _one_of(self, arrays: Sequence[Stored], path: Path) -> Stored:
        named = [one for one in arrays if self.key in (None, one.name)]
        if len(named) == 1:
            return named[0]
        names = listed([one.name for one in arrays], 20) or "none"
        wanted = "one array of numbers" if self.key is None else f"an array {self.key!r} of numbers"
        raise UserError(f"{path} should hold {wanted}, and there are {names}; say by `key` which to take.")

    def _rows(self, stored: Stored, stimuli: pd.DataFrame | None) -> tuple[list[str], list[Array]]:
        """Return the conditions, and the rows of each."""
        what = f"{stored.name!r} in {stored.path}" if stored.name else str(stored.path)
        columns = _labels_beside(stored)
        conditions = None if stimuli is None else list(dict.fromkeys(stimuli["condition"].astype(str)))
        told, in_order = self._told(conditions)
        tell = partial(labels_of_rows, columns, stored.name, (stored.shape[0],) * 2, what=what)
        if stimuli is not None and "file" in stimuli and stored.shape[0] != len(conditions or ()):
            by_condition = _labelled_by_condition(columns, stored, stimuli, what)
            if by_condition is not None:
                return by_condition
            if stored.shape[0] == len(stimuli):
                return _of_pictures(tell, stimuli, what)
        labels = tell(given=told, in_order=in_order)
        if len(labels) != stored.shape[0]:
            raise UserError(
                f"{what} has {stored.shape[0]} rows, and there are {len(labels)} conditions, {listed(labels, 3)}; give "
                "it a row for each condition, or for each picture."
            )
        return labels, [np.array([row]) for row in range(len(labels))]

    def _told(self, conditions: list[str] | None) -> tuple[list[str] | None, bool]:
        """Return the conditions as the settings order them, and whether these say that rows are in this order."""
        if self.condition_order == "stimuli":
            return conditions, False
        if self.condition_order == "sorted":
            if conditions is None:
                raise UserError(
                    "`condition_order: sorted` needs the conditions; set `stimuli`, or name a file of them."
                )
            return sorted(conditions), True
        told = read_conditions(self.condition_order, self.condition_column)
        names = self.condition_order, "the stimuli"
        if conditions is not None and (difference := difference_of_conditions(told, conditions, *names)):
            raise UserError(difference)
        return told, True


def _has_rows(stored: Stored) -> bool:
    return stored.is_real and len(stored.shape) > 1 and stored.n_units > 0


def _labels_beside(stored: Stored) -> list[Column]:
    """Return what may be the labels of rows: in the file, or the names of files that thingsvision writes beside it."""
    beside = stored.path.parent / FILE_NAMES
    columns = columns_of(stored.path)
    if not beside.is_file():
        return columns
    lines = [line.strip() for line in load_text(beside, "list of files").splitlines() if line.strip()]
    return [*columns, Column(FILE_NAMES, "text", tuple(lines))] if len(lines) == stored.shape[0] else columns


def _labelled_by_condition(
    columns: Sequence[Column], stored: Stored, stimuli: pd.DataFrame, what: str
) -> tuple[list[str], list[Array]] | None:
    """Return the conditions and their rows, where each row is of a picture and labelled with its condition.

    None where no labels are such: conditions alone, each once or more often, some of them several times.

    Raises
    ------
    UserError
        If conditions have other numbers of rows than of pictures, or two kinds of labels differ.
    """
    wanted = Counter(stimuli["condition"].astype(str))
    several = labels_with_repeats(columns, stored.name, stored.shape[0])
    found = {name: labels for name, labels in several.items() if {*labels} <= {*wanted}}
    for name, labels in found.items():
        there = Counter(labels)
        if differ := [one for one in wanted if there[one] != wanted[one]]:
            raise UserError(
                f"Number of rows of {what} that {name!r} calls {differ[0]!r}: {there[differ[0]]}, and the stimuli have "
                f"{wanted[differ[0]]} pictures of it; give it a row for each picture, or one for each condition."
            )
    if len({*found.values()}) > 1:
        raise UserError(f"{what}: {listed(sorted(found))} label its rows with different conditions; keep one of them.")
    for labels in found.values():
        return list(wanted), [np.flatnonzero(np.array(labels) == condition) for condition in wanted]
    return None


def _of_pictures(tell: Any, stimuli: pd.DataFrame, what: str) -> tuple[list[str], list[Array]]:
    """Return the conditions and the rows of their pictures; rows without labels are pictures in the table's order."""
    files = [Path(str(file)).name for file in stimuli["file"]]
    twice = [name for name in dict.fromkeys(files) if files.count(name) > 1]
    if twice:
        raise UserError(
            f"{what} has a row for each picture, and {listed(twice, 3)} is the name of several; average the rows of "
            "each condition, and save these."
        )
    row_of = {name: row for row, name in enumerate(tell(given=files))}
    rows: dict[str, list[int]] = {}
    for file, condition in zip(files, stimuli["condition"].astype(str), strict=True):
        rows.setdefault(condition, []).append(row_of[file])
    return list(rows), [np.array(each) for each in rows.values()]
