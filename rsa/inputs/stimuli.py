"""The pictures and the conditions that they belong to: a table or a folder in, one tidy table out."""

import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from PIL import Image, ImageOps
from pydantic import AfterValidator, Field, model_validator

from rsa.core import as_label, as_labels
from rsa.errors import UserError, listed, one_line
from rsa.files.io import DAMAGES, load_table
from rsa.files.sources import as_on_disk, problems_of_content, require_content
from rsa.settings import DataPath, Section

__all__ = ["IMAGE_SUFFIXES", "LabelPattern", "Stimuli", "condition_in", "condition_table", "label_in", "read_image"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
"""Files of a folder that count as pictures, in lower or upper case."""

DECODER_ERRORS = (*DAMAGES, Image.DecompressionBombError)
"""What Pillow raises on damaged files, and we on values that are none of a picture."""

USUAL_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Kinds of pictures, in Pillow's words, that become RGB whatever their values are."""


def _has_one_group(pattern: str) -> str:
    try:
        n_groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression ({error})") from error
    if n_groups != 1:
        raise ValueError(f"{pattern!r} has {n_groups} groups; put one pair of parentheses around what is the condition")
    return pattern


LabelPattern = Annotated[str, AfterValidator(_has_one_group)]
"""A regular expression with one group: what is in it is the condition."""


def label_in(text: str, pattern: str | None) -> str | None:
    """Return what the group of a regular expression finds in a text, as a label; None if it finds nothing.

    Examples
    --------
    >>> label_in("shared0001_nsd02951.png", "nsd0*([0-9]+)")
    '2951'
    """
    match = None if pattern is None else re.search(as_label(pattern), as_label(text))
    return None if match is None else match[1]


def condition_in(text: str, pattern: str | None) -> str:
    """Return the label in a text (see `label_in`), or the whole text as a label."""
    return label_in(text, pattern) or as_label(text)


class Stimuli(Section):
    """Which pictures were shown, and which condition each belongs to: a table or a folder."""

    table: DataPath | None = None
    """Table (.tsv, .csv) with a row per image: its condition, its file relative to the table's folder, and any further
    columns. A condition with several rows has several images."""
    folder: DataPath | None = None
    """Folder of images; the file names without their extensions are the conditions."""
    condition_pattern: LabelPattern | None = None
    """Regular expression whose group is the condition in the names of a folder's files, as in 'nsd0*([0-9]+)'; files
    of which the same is found are several images of one condition."""
    condition_column: str = "condition"
    """Column of the table that names the condition; the column of files, for pictures that are a condition each."""
    file_column: str = "file"
    """Column of the table that names the image file."""
    n_conditions: int | None = Field(None, ge=3)
    """Take only the first so many conditions, in the order of the table or of the file names; all by default."""

    @model_validator(mode="after")
    def _has_one_source(self) -> "Stimuli":
        if (self.table is None) == (self.folder is None):
            came = "neither" if self.table is None else "both"
            raise ValueError(f"stimuli come from either a `table` or a `folder`, and {came} is given; set one of them")
        if self.condition_pattern is not None and self.folder is None:
            raise ValueError("condition_pattern finds conditions in the file names of a `folder`; a table lists them")
        return self

    def load(self) -> pd.DataFrame:
        """Return the stimuli, one row per image.

        Returns
        -------
        DataFrame
            Columns `condition` (text), `file` (path; absent when the table has no such column) and, from a table,
            its further columns, in the order of the table or of the sorted file names.

        Raises
        ------
        UserError
            If the table or folder is missing, lacks a column or a value, or holds no images.
        """
        if self.table is not None:
            rows = self._from_table(Path(self.table))
        else:
            rows = _from_folder(Path(str(self.folder)), self.condition_pattern)
        return rows if self.n_conditions is None else _of_first_conditions(rows, self.n_conditions)

    def read_once(self) -> "Stimuli":
        """Return the same, whose table or folder is read when it is first asked for, and then never again."""
        return _ReadOnce.model_construct(self.model_fields_set, **dict(self))

    def files(self) -> list[Path]:
        """Return the files that `load` and the models read: the table, and each image once."""
        sources = [Path(self.table)] if self.table is not None else []
        return sources + [Path(name) for name in _unique_files(self.load())]

    def conditions(self) -> list[str]:
        """Return the conditions, each once, in order of first appearance."""
        return list(dict.fromkeys(self.load()["condition"]))

    def problems(self) -> list[str]:
        """Return what is wrong with the stimuli, a line each: nothing if the pictures can be read.

        Every picture is read to its end, as fast as its format allows: PNG by its checksums, JPEG coarsely.
        """
        try:
            files = _unique_files(self.load())
        except UserError as error:
            return [str(error)]
        found = problems_of_content(files)
        if found:
            return found
        missing = [name for name in files if not Path(name).is_file()]
        there = [name for name in files if name not in set(missing)]
        with ThreadPoolExecutor() as threads:  # decoders release Python's lock
            reasons = dict(zip(there, threads.map(_problem_of_image, there), strict=True))
        damaged = [name for name in there if reasons[name]]
        if missing:
            found.append(f"{len(missing)} of {len(files)} image files do not exist: {listed(missing)}.")
        if damaged:
            found.append(
                f"{len(damaged)} of {len(files)} files are not readable images: {listed(damaged)}. The first of them: "
                f"{reasons[damaged[0]]}."
            )
        return found

    def _from_table(self, path: Path) -> pd.DataFrame:
        rows = load_table(path, [self.condition_column])
        if self.file_column in rows or self.file_column != "file":
            rows = load_table(path, [self.condition_column, self.file_column])
        named = {self.condition_column: "condition", self.file_column: "file"}
        for column, name in named.items():
            if column != name and name in rows and column in rows:
                raise UserError(f"{path} has a column {name!r} beside {column!r}, which is to become it; rename one.")
        if self.condition_column == self.file_column:
            rows = rows.assign(**dict.fromkeys(("condition", "file"), rows[self.file_column]))
        else:
            rows = rows.rename(columns=named)
        if rows.empty:
            raise UserError(f"{path} has a header but no rows; give it a row per image.")
        first = [name for name in ("condition", "file") if name in rows]
        rows["condition"] = as_labels(rows["condition"])
        if "file" in rows:
            rows["file"] = [str(file) for file in as_on_disk([path.parent / name for name in rows["file"]])]
        return rows[first + [name for name in rows if name not in first]]


class _ReadOnce(Stimuli):
    """Stimuli that remember what they have read."""

    @cached_property
    def _rows(self) -> pd.DataFrame:
        return super().load()

    def load(self) -> pd.DataFrame:
        """Return the stimuli, as `Stimuli.load` did first."""
        return self._rows.copy()


def condition_table(stimuli: pd.DataFrame) -> pd.DataFrame:
    """Return one row per condition: `condition` and the further columns, of its first image; without `file`.

    Examples
    --------
    >>> condition_table(pd.DataFrame({"condition": ["b", "a", "b"], "file": ["1", "2", "3"], "animate": [1, 0, 1]}))
      condition  animate
    0         b        1
    1         a        0
    """
    return stimuli.drop(columns="file", errors="ignore").drop_duplicates("condition", ignore_index=True)


def _of_first_conditions(rows: pd.DataFrame, n: int) -> pd.DataFrame:
    conditions = list(dict.fromkeys(rows["condition"]))
    if len(conditions) < n:
        raise UserError(f"stimuli.n_conditions is {n}, and there are only {len(conditions)}; make it smaller.")
    return rows[rows["condition"].isin(conditions[:n])].reset_index(drop=True)


def _from_folder(folder: Path, pattern: str | None = None) -> pd.DataFrame:
    require_content(folder)
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    files = sorted(path for path in folder.iterdir() if _has_image_name(path))
    if not files:
        raise UserError(f"The folder {folder} has no images ({', '.join(IMAGE_SUFFIXES)}).")
    conditions = as_labels(path.stem for path in files) if pattern is None else _found_in(files, pattern)
    n_files = Counter(conditions)
    twice = [path.name for path, name in zip(files, conditions, strict=True) if n_files[name] > 1 and pattern is None]
    if twice:
        raise UserError(
            f"Files of {folder} share a name, so a condition: {listed(twice)}. Remove or rename one, or, if the "
            "condition has several images, list them in a table."
        )
    return pd.DataFrame({"condition": conditions, "file": [str(path) for path in files]})


def _found_in(files: Sequence[Path], pattern: str) -> list[str]:
    found = {path.name: label_in(path.name, pattern) for path in files}
    if without := [name for name, condition in found.items() if not condition]:
        raise UserError(f"{pattern!r} finds no condition in {listed(without)}; change stimuli.condition_pattern.")
    return [str(condition) for condition in found.values()]


def _has_image_name(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _unique_files(stimuli: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(stimuli["file"])) if "file" in stimuli else []


def _problem_of_image(path: str) -> str:
    """Return why `read_image` would refuse a picture; '' if it would not."""
    try:
        with Image.open(path) as picture:
            if picture.mode not in USUAL_MODES:  # whether such can be read depends on its values
                _as_rgb(picture)
            elif picture.format == "PNG":
                picture.verify()
            else:
                picture.draft("L", (1, 1))  # of JPEG all bytes are read, and an eighth of the lines is computed
                picture.load()
    except DECODER_ERRORS as error:
        return one_line(error)
    return ""


# ------------------------------------------------------------------------------------------- pictures


def read_image(path: str | Path) -> Image.Image:
    """Read a picture as 8-bit RGB.

    The EXIF orientation is applied. Transparent pictures are laid on white; 16-bit greyscale is scaled (65535 becomes
    255), not clipped, unless its values are those of 8 bits, which is refused; of an animation the first frame is
    taken; colour profiles are ignored.

    Raises
    ------
    UserError
        If the file is missing, is damaged or truncated, or has values that are not 8 or 16 bits.
    """
    require_content(path)
    try:
        with Image.open(path) as opened:
            opened.load()
            return _as_rgb(ImageOps.exif_transpose(opened))
    except FileNotFoundError as error:
        raise UserError(f"There is no image {path}.") from error
    except DECODER_ERRORS as error:
        raise UserError(f"{path} is not a readable image ({one_line(error)}); replace it by an intact copy.") from error


def _as_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        return _scaled_from_16_bits(picture).convert("RGB")
    if picture.mode == "F":
        raise ValueError("its values are floating-point numbers, expected are 8 or 16 bits: save it with 8")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def _scaled_from_16_bits(picture: Image.Image) -> Image.Image:
    """Scale greyscale of 0 to 65535 (modes I;16 and I) to 0 to 255."""
    values = np.asarray(picture, dtype=np.float64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"its values range from {values.min():.0f} to {values.max():.0f}, expected are 16 bits")
    if 0 < values.max() <= 255:
        raise ValueError(
            f"its values are up to {values.max():.0f} in a file of 16 bits or more, so it is black: save it with 8 bits"
        )
    return Image.fromarray(np.rint(values * (255 / 65535)).astype(np.uint8))
