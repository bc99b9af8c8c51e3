"""What the brain is compared with, besides the layers of networks: RDMs from files, stimulus tables and pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from PIL import Image
from pydantic import Field, model_validator

from rsa.core import Array, RDMs, align, as_label, concatenate, require_enough
from rsa.distances import DISTANCES, rdm_vectors
from rsa.errors import UserError, did_you_mean, listed
from rsa.files.io import load_rdms
from rsa.files.rdm_files import ReadyRdms, is_rdms_file, oddities_of, read_rdms, require_differences
from rsa.inputs import gabor, hmax
from rsa.inputs.stimuli import condition_table, read_image
from rsa.papers import joined
from rsa.progress import progress
from rsa.settings import DataPath, Label, Names, Section, choice_of, fill, placeholders

__all__ = [
    "REFERENCES",
    "RULES",
    "AnyReference",
    "FileReference",
    "GaborReference",
    "HmaxReference",
    "PictureReference",
    "PixelReference",
    "Reference",
    "Rule",
    "TableReference",
]


class AnyReference(Section):
    """What references share: a name, and `build`, which makes their RDMs of the stimulus table."""

    name: Label
    """What the reference is called in tables and file names."""
    needs_pictures: ClassVar[bool] = False
    """Whether `build` opens the pictures of the stimulus table."""

    def files(self) -> list[Path]:
        """Return every file that `build` reads besides the stimulus table and its pictures."""
        return []

    def problems(self, stimuli: pd.DataFrame | None = None) -> list[str]:
        """Return what is wrong, as lines, without opening a picture; empty if the reference can be built."""
        try:
            self._check(stimuli)
        except UserError as error:
            return [str(error)]
        return []

    def _check(self, stimuli: pd.DataFrame | None) -> None:
        """Raise a `UserError` if the reference cannot be built."""
        self.build(stimuli)

    def build(self, stimuli: pd.DataFrame | None = None) -> RDMs:
        """Make the RDMs.

        Parameters
        ----------
        stimuli : DataFrame, optional
            The stimulus table: `condition`, and what the reference needs of it.

        Returns
        -------
        RDMs
            The table has `model`, the name of this reference, and `layer`, empty for one RDM.
        """
        raise NotImplementedError

    def _one_rdm(self, values: Array, conditions: Sequence[str], distance: str) -> RDMs:
        return RDMs(values, conditions, pd.DataFrame({"model": [self.name], "layer": [""]}), distance)


class FileReference(ReadyRdms, AnyReference):
    """RDMs that others have made: of behaviour, of M/EEG, of another model or species.

    Raises
    ------
    ValidationError
        If {subject} and the subjects do not belong together.
    """

    kind: Literal["file"] = "file"
    """RDMs from a .npz, .npy, .mat, .h5, .csv or .tsv file."""
    file: DataPath
    """The file; several RDMs in it become several references, numbered from 1. With {subject} in its name there is one
    for each of `subjects`, who are then compared with their own: reaction times, order of presentation."""
    subjects: Names = ()
    """Labels of the subjects, quoted, if file has {subject}."""
    key: str | None = None
    """Name of the array in the file; not needed if it has only one."""

    @model_validator(mode="after")
    def _subjects_are_known(self) -> Self:
        if bool(self.subjects) != ("subject" in placeholders(self.file)):
            raise ValueError("subjects and {subject} in file belong together; give both, or neither")
        return self

    def about(self) -> str:
        """Say where the RDM comes from, for the methods text."""
        return "RDMs from a file" + " of each subject" * bool(self.subjects)

    def files(self) -> list[Path]:
        """Return every file that `build` reads."""
        return [*(fill(self.file, subject=subject) for subject in self.subjects or ("",)), *self.order_files]

    def build(self, stimuli: pd.DataFrame | None = None) -> RDMs:
        """Read the RDMs; the stimulus table is needed for the order, if the file has no labels.

        Returns
        -------
        RDMs
            As of any reference. `layer` is a number from 1 if there are several RDMs, or what a file of this pipeline
            names; there is `subject` as well, if there are several. In the order of `stimuli`, if given.

        Raises
        ------
        UserError
            If a file cannot be read, holds no RDMs, or has other conditions than the table; or if files of subjects
            differ in their number of RDMs.
        """
        if not self.subjects:
            return self._of_file(self.file, stimuli)
        each = {one: self._of_file(str(fill(self.file, subject=one)), stimuli) for one in self.subjects}
        numbers = {subject: len(rdms) for subject, rdms in each.items()}
        if len(set(numbers.values())) > 1:
            raise UserError(f"Reference {self.name!r}: subjects have different numbers of RDMs, {numbers}.")
        return concatenate([replace(rdms, table=rdms.table.assign(subject=subject)) for subject, rdms in each.items()])

    def oddities(self, stimuli: pd.DataFrame | None = None) -> list[str]:
        """Return what is odd about the RDMs of a reference without problems, and may be meant, as lines."""
        return [f"Reference {self.name!r} ({self.file}): {text}" for text in oddities_of(self.build(stimuli))]

    def _of_file(self, file: str, stimuli: pd.DataFrame | None) -> RDMs:
        wanted = None if stimuli is None else list(dict.fromkeys(stimuli["condition"].astype(str)))
        values, labels = read_rdms(file, self.key, self.told_order(wanted), in_order=self.is_in_order)
        table = pd.DataFrame({"model": self.name, "layer": self._layers(file, len(values))})
        require_differences(values, labels, f"the RDMs of the reference {self.name!r} ({file})")
        rdms = RDMs(values, labels, table, load_rdms(file).distance if is_rdms_file(file) else self.distance)
        return rdms if wanted is None else align(wanted, rdms, "the stimulus table", f"the reference {self.name!r}")

    def _layers(self, file: str, n_rdms: int) -> list[str]:
        if is_rdms_file(file):
            table = load_rdms(file).table
            if "layer" in table and table["layer"].is_unique:
                return list(table["layer"].astype(str))
        return [str(i + 1) for i in range(n_rdms)] if n_rdms > 1 else [""]


# ---------------------------------------------------------------------------------------- categories


def different(column: pd.Series) -> Array:
    """Return 0 for two conditions of one category and 1 for others, shape (n_pairs,).

    Examples
    --------
    >>> different(pd.Series(["face", "face", "house"]))
    array([0., 1., 1.])
    """
    from scipy.spatial.distance import pdist

    codes, _ = pd.factorize(column.map(lambda value: as_label(value) if isinstance(value, str) else value))
    values: Array = pdist(codes[:, None], "hamming")
    return values


def difference(column: pd.Series) -> Array:
    """Return the absolute difference of a number between conditions, shape (n_pairs,).

    Examples
    --------
    >>> difference(pd.Series([1.0, 3.0, 10.0]))
    array([2., 9., 7.])
    """
    from scipy.spatial.distance import pdist

    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    if not np.isfinite(numbers).all():
        first = column[~np.isfinite(numbers)].iloc[0]
        raise UserError(f"{first!r} is not a number, and the rule 'difference' needs numbers; use 'different'.")
    values: Array = pdist(numbers[:, None], "cityblock")
    return values


@dataclass(frozen=True)
class Rule:
    """How a column of the stimulus table becomes an RDM.

    Parameters
    ----------
    compute : callable
        ``column, a value for each condition -> (n_pairs,)``; a `UserError` if its values do not suit the rule.
    summary : str
        What a dissimilarity is, for the methods text.
    """

    compute: Callable[[pd.Series], Array]
    summary: str


RULES: dict[str, Rule] = {
    "different": Rule(different, "0 within a category, 1 between"),
    "difference": Rule(difference, "absolute difference of two numbers"),
}
"""How a column of the stimulus table becomes an RDM."""

RuleName = Annotated[str, *choice_of(RULES, "rule")]
DistanceName = Annotated[str, *choice_of(DISTANCES, "distance")]
CellsName = Annotated[str, *choice_of(gabor.CELLS, "cells")]


class TableReference(AnyReference):
    """An RDM that a column of the stimulus table implies: a category, or a number such as a rating."""

    kind: Literal["table"] = "table"
    """A column of the stimulus table."""
    column: str
    """Column of the stimulus table."""
    rule: RuleName = "different"
    """different: 0 within a category, 1 between; difference: absolute difference of two numbers."""

    def about(self) -> str:
        """Say what the RDM holds, for the methods text."""
        return f"{self.column}: {RULES[self.rule].summary}"

    def build(self, stimuli: pd.DataFrame | None = None) -> RDMs:
        """Make the RDM of `condition` and `column`, of which the first row of each condition counts.

        Raises
        ------
        UserError
            If the column is missing or has gaps, is not numeric where numbers are needed, or implies the same
            dissimilarity for all pairs.
        """
        column = self._values(stimuli)
        require_enough(column.index, "the stimuli")
        try:
            values = RULES[self.rule].compute(column)
        except UserError as error:
            raise UserError(f"Reference {self.name!r}, column {self.column!r}: {error}") from error
        if np.ptp(values) == 0:
            raise UserError(
                f"Reference {self.name!r}: column {self.column!r} has {column.nunique()} values in {len(column)} "
                "conditions, so all pairs differ alike and no score is defined; choose another column or rule."
            )
        return self._one_rdm(values, list(column.index), self.rule)

    def _values(self, stimuli: pd.DataFrame | None) -> pd.Series:
        """Return the column, complete, with the conditions as its index."""
        if stimuli is None:
            raise UserError(f"Reference {self.name!r} needs a stimulus table with the column {self.column!r}.")
        table = condition_table(stimuli)
        if self.column not in table:
            names = [str(name) for name in table]
            raise UserError(
                f"Reference {self.name!r}: the stimulus table has no column {self.column!r}."
                f"{did_you_mean(self.column, names)} Its columns are {listed(names, 20)}."
            )
        column = table.set_index(table["condition"].astype(str))[self.column]
        gaps = list(column.index[column.isna()])
        if gaps:
            raise UserError(
                f"Reference {self.name!r}: column {self.column!r} has no value for {listed(gaps)}; fill it in."
            )
        return column


# ------------------------------------------------------------------------------------------- pictures


class PictureReference(AnyReference):
    """What references that are computed of the pictures share: a pattern of each, and the distances of these."""

    size: int = Field(32, ge=2)
    """Each picture is reduced to so many pixels in width and height, whatever its own are: means over areas."""
    distance: DistanceName = "correlation"
    """How dissimilar two pictures are. `correlation` knows nothing of mean luminance and contrast, `euclidean` does."""
    needs_pictures: ClassVar[bool] = True
    blank: ClassVar[str] = "one value in all pixels"
    """What pictures have whose distances are not defined."""
    remedy: ClassVar[str] = "choose other pictures or a larger size"
    """What to do where all pictures are the same."""

    @property
    def n_features(self) -> int:
        """How many numbers the pattern of a picture has."""
        raise NotImplementedError

    @property
    def seconds_per_picture(self) -> float:
        """About how long a picture takes on one core."""
        raise NotImplementedError

    def _patterns(self, pictures: dict[str, list[str]]) -> Array:
        """Return the mean over the pictures of each condition, shape (n_conditions, n_features)."""
        raise NotImplementedError

    def _check(self, stimuli: pd.DataFrame | None) -> None:
        self._pictures(stimuli)

    def build(self, stimuli: pd.DataFrame | None = None) -> RDMs:
        """Make the RDM of `condition` and `file`; patterns of the pictures of a condition are averaged.

        Raises
        ------
        UserError
            If there are no pictures, one cannot be read, or the distance between them is not defined or always the
            same.
        """
        pictures = self._pictures(stimuli)
        require_enough(list(pictures), "the stimuli")
        values = rdm_vectors(self._patterns(pictures), DISTANCES[self.distance])
        self._require_differences(values, list(pictures))
        return self._one_rdm(values, list(pictures), self.distance)

    def _require_differences(self, values: Array, conditions: list[str]) -> None:
        """Raise a `UserError` unless all dissimilarities, shape (n_pairs,), are defined, and not all the same."""
        from scipy.spatial.distance import squareform

        n_undefined = np.isnan(squareform(values)).sum(axis=0)
        blank = [name for name, n in zip(conditions, n_undefined, strict=True) if n >= len(conditions) - 1]
        if blank:
            raise UserError(
                f"Reference {self.name!r}: pictures of {listed(blank)} have {self.blank}, for which {self.distance} is "
                "not defined; set `distance: euclidean`."
            )
        if np.ptp(values) == 0:
            raise UserError(
                f"Reference {self.name!r}: all pairs of {len(conditions)} conditions differ alike at {self.size} x "
                f"{self.size} pixels, so no score is defined; {self.remedy}."
            )

    def _pictures(self, stimuli: pd.DataFrame | None) -> dict[str, list[str]]:
        """Return the files of each condition, in order of first appearance."""
        if stimuli is None or "file" not in stimuli:
            raise UserError(
                f"Reference {self.name!r} needs pictures: set `stimuli` to a folder, or to a table with a column that "
                "names their files (`file_column`)."
            )
        rows = stimuli.groupby(stimuli["condition"].astype(str), sort=False)
        return {str(label): list(files) for label, files in rows["file"]}

    def _means(self, pictures: dict[str, list[str]], respond: Callable[[str], Array]) -> Array:
        """Average what a function makes of each file over the files of each condition, and tell how far it is."""
        means = []
        with progress(sum(map(len, pictures.values())), "pictures", self.name) as advance:
            for files in pictures.values():
                means.append(np.mean([respond(file) for file in files], axis=0))
                advance(len(files))
        return np.stack(means)

    def _grey(self, file: str) -> Array:
        """Return the luma of a picture, shape (size, size), from 0 to 1."""
        return self._reduced(read_image(file))

    def _reduced(self, channel: Image.Image) -> Array:
        small = channel.convert("F").resize((self.size, self.size), Image.Resampling.BOX)
        return np.asarray(small, dtype=np.float64) / 255


class PixelReference(PictureReference):
    """The RDM of the pictures themselves, small and grey: what low-level similarity alone explains."""

    kind: Literal["pixels"] = "pixels"
    """The pixels of the pictures."""
    colour: bool = False
    """Compare red, green and blue values; by default the luma of the picture, one grey value per pixel."""
    remedy: ClassVar[str] = "choose other pictures, a larger size or `colour: true`"

    def about(self) -> str:
        """Say what the RDM holds, for the methods text."""
        colours = "RGB" if self.colour else "grey"
        distance = DISTANCES[self.distance]
        return f"{distance.words or distance.summary} of {colours} pictures of {self.size} x {self.size} pixels"

    @property
    def n_features(self) -> int:
        """How many pixels a picture has, in all colours."""
        return self.size**2 * (3 if self.colour else 1)

    @property
    def seconds_per_picture(self) -> float:
        """About how long a picture takes on one core: to read it."""
        return 0.02

    def _patterns(self, pictures: dict[str, list[str]]) -> Array:
        return self._means(pictures, self._pixels)

    def _pixels(self, file: str) -> Array:
        """Return the pixels of a picture, colour by colour and row by row, from 0 to 1."""
        if not self.colour:
            return self._grey(file).ravel()
        return np.concatenate([self._reduced(channel).ravel() for channel in read_image(file).split()])


class GaborReference(PictureReference):
    """The RDM of Gabor energy: simple and complex cells of early visual cortex, tuned to orientation and frequency."""

    kind: Literal["gabor"] = "gabor"
    """Gabor energy of the pictures."""
    size: int = Field(128, ge=8)
    """Each picture is reduced to so many pixels in width and height, whatever its own are: means over areas."""
    frequencies: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 2, 4, 8, 16, 32)
    """Spatial frequencies in cycles per image. Filters of a frequency f stand at f x f places."""
    orientations: int = Field(8, ge=1)
    """Number of orientations, which divide half a turn equally."""
    bandwidth_octaves: float = Field(1.0, gt=0, le=4)
    """Bandwidth of each filter in spatial frequency, at half its height."""
    cells: CellsName = "complex"
    """complex: the same at any phase; simple: each prefers a phase; both: simple ones and complex ones."""
    distance: DistanceName = "correlation"
    """How dissimilar two pictures are. `correlation` knows nothing of their contrast, `euclidean` does; neither knows
    mean luminance."""
    blank: ClassVar[str] = "no contrast"

    def about(self) -> str:
        """Say what the RDM holds, for the methods text."""
        cells, distance = gabor.CELLS[self.cells], DISTANCES[self.distance]
        frequencies = joined([str(one) for one in self.frequencies])
        papers = "; ".join(["Daugman, 1985", *cells.papers, "Kay et al., 2008"])
        return (
            f"{distance.words or distance.summary} of the responses of {cells.words}, Gabor filters in quadrature at "
            f"{frequencies} cycles per image and {self.orientations} orientations, {papers}"
        )

    @property
    def n_features(self) -> int:
        """How many cells there are."""
        n_pairs = self.orientations * sum(frequency**2 for frequency in self.frequencies)
        return len(gabor.CELLS[self.cells].respond(np.zeros(1, dtype=complex))) * n_pairs

    @property
    def seconds_per_picture(self) -> float:
        """About how long a picture takes on one core."""
        return 0.02 + 4e-10 * self.orientations * self.size**2 * sum(self.frequencies)

    def _check(self, stimuli: pd.DataFrame | None) -> None:
        self._pictures(stimuli)
        self._bank()

    def _bank(self) -> list[gabor.Scale]:
        try:
            return gabor.scales(self.size, self.frequencies, self.orientations, self.bandwidth_octaves)
        except UserError as error:
            raise UserError(f"Reference {self.name!r}: {error}") from error

    def _patterns(self, pictures: dict[str, list[str]]) -> Array:
        bank, respond = self._bank(), gabor.CELLS[self.cells].respond
        return self._means(pictures, lambda file: respond(gabor.pair_responses(self._grey(file), bank)))


class HmaxReference(PictureReference):
    """The RDM of C2 units of HMAX: features of middle size, wherever in the picture and however large they are."""

    kind: Literal["hmax"] = "hmax"
    """C2 units of HMAX."""
    size: int = Field(140, ge=8)
    """Each picture is reduced to so many pixels in width and height, whatever its own are: means over areas. Filters
    have 7 to 37 pixels."""
    n_patches: int = Field(250, ge=1)
    """How many patches of each of the sizes 4, 8, 12 and 16 are drawn; each makes a C2 unit."""
    seed: int = Field(0, ge=0)
    """Seed of the drawing of patches, from the pictures of the study: from others, C2 units would be others."""
    distance: DistanceName = "euclidean"
    """How dissimilar two pictures are. Units are similarities from 0 to 1, on one scale, which `euclidean` keeps."""

    def about(self) -> str:
        """Say what the RDM holds, for the methods text."""
        distance, papers = (
            DISTANCES[self.distance],
            "Riesenhuber & Poggio, 1999; Serre et al., 2007; Mutch & Lowe, 2008",
        )
        return (
            f"{distance.words or distance.summary} of {self.n_features:,} C2 units of HMAX, whose patches were drawn "
            f"from the same pictures (seed {self.seed}); {papers}"
        )

    @property
    def n_features(self) -> int:
        """How many C2 units there are."""
        return len(hmax.PATCH_SIZES) * self.n_patches

    @property
    def seconds_per_picture(self) -> float:
        """About how long a picture takes on one core: filters, windows, and patches."""
        return 3e-6 * self.size**2 * (1 + self.n_patches / 300)

    def _check(self, stimuli: pd.DataFrame | None) -> None:
        self._places(self._pictures(stimuli))

    def _places(self, pictures: dict[str, list[str]]) -> dict[int, Array]:
        n_pictures = sum(map(len, pictures.values()))
        try:
            return hmax.draw_places(n_pictures, self.size, self.n_patches, np.random.default_rng(self.seed))
        except UserError as error:
            raise UserError(f"Reference {self.name!r}: {error}") from error

    def _patterns(self, pictures: dict[str, list[str]]) -> Array:
        patches = self._patches([file for files in pictures.values() for file in files], self._places(pictures))
        return self._means(pictures, lambda file: hmax.c2(self._c1(file), patches))

    def _c1(self, file: str) -> list[Array]:
        picture = self._grey(file)
        return [hmax.c1_map(picture, band) for band in hmax.BANDS if hmax.c1_side(self.size, band)]

    def _patches(self, files: list[str], places: dict[int, Array]) -> dict[int, Array]:
        """Take patches from pictures, each of which is read once: for each size, shape (n_patches, n_units)."""
        found = {size: np.empty((len(chosen), hmax.n_units(size))) for size, chosen in places.items()}
        for number in sorted({int(one) for chosen in places.values() for one in chosen[:, 0]}):
            source = hmax.c1_map(self._grey(files[number]), hmax.SOURCE)
            for size, chosen in places.items():
                for patch in np.flatnonzero(chosen[:, 0] == number):
                    _, row, column = chosen[patch]
                    found[size][patch] = hmax.patch_at(source, row, column, size)
        return found


# ------------------------------------------------------------------------------------------- the table

REFERENCES: dict[str, type[AnyReference]] = {
    "file": FileReference,
    "table": TableReference,
    "pixels": PixelReference,
    "gabor": GaborReference,
    "hmax": HmaxReference,
}
"""The kinds of references, by the word in `kind`."""

Reference = Annotated[
    FileReference | TableReference | PixelReference | GaborReference | HmaxReference, Field(discriminator="kind")
]
"""The settings of any reference, told apart by `kind`."""
