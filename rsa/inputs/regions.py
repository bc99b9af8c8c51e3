"""Reading regions of interest: atlases, masks and spheres at coordinates -> neighbourhoods."""

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import pandas as pd
from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from rsa import neighbourhood
from rsa.core import SAME_MM, Array, Neighbourhood, Volume
from rsa.errors import UserError, did_you_mean, listed
from rsa.files import io
from rsa.files.images import inside_of, opened, read_voxels, require_grid_of_mask, require_one_volume
from rsa.files.sources import load_text
from rsa.registry import pick
from rsa.settings import DataPath, Section, fill, path_unless

__all__ = [
    "NILEARN",
    "NILEARN_ATLASES",
    "Regions",
    "known_names",
    "NilearnAtlas",
    "problems_of_regions",
    "read_regions",
    "region_files",
    "region_labels",
    "warnings_of_labels",
]

logger = logging.getLogger(__name__)

WHOLE_NUMBER = re.compile("[0-9]{1,9}")
COLOUR_LINE = re.compile(r"([0-9]{1,9})\s+(\S+)(?:\s+[0-9]+){3,4}")
"""A line of a FreeSurfer colour table: number, name, red, green, blue, and mostly alpha."""
TOO_SMALL = 2
"""Regions of so few voxels are warned of."""
WHOLE = 1e-3
"""The number of a region may be so far from a whole one: images are stored with a scale, in single precision."""
SAME_VOXEL = 0.01
"""A point this close to the centre of a voxel, in sizes of a voxel, is that centre: coordinates are written with few
decimals, and quaternions in single precision move an oblique grid by as much."""


# --------------------------------------------------------------------------------------------- settings


def _points(given: Any) -> Any:
    """Take one point as a list of one; a `ValueError` if it is neither three numbers nor a list of such."""
    many = isinstance(given, list | tuple) and bool(given) and all(isinstance(one, list | tuple) for one in given)
    points = given if many else [given]
    if any(not isinstance(point, list | tuple) or len(point) != 3 for point in points):
        raise ValueError(f"a centre is [x, y, z] in mm, and several are a list of such, not {given}")
    return points


NILEARN = "nilearn:"
"""What the name of an atlas of nilearn begins with."""

Millimetres = Annotated[float, Field(allow_inf_nan=False)]
Point = tuple[Millimetres, Millimetres, Millimetres]
_POINT_SCHEMA = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
Points = Annotated[
    tuple[Point, ...],
    BeforeValidator(_points),
    WithJsonSchema({"anyOf": [_POINT_SCHEMA, {"type": "array", "items": _POINT_SCHEMA, "minItems": 1}]}),
]


class Regions(Section):
    """Regions of interest: an atlas, one mask image per region, or spheres at coordinates."""

    atlas: Annotated[str, path_unless(lambda text: text.startswith(NILEARN))] | None = None
    """Image of whole numbers on the grid of the brain images; may contain {subject}. Or an atlas of nilearn, which
    brings its labels: nilearn:harvard_oxford/cort-maxprob-thr25-2mm, nilearn:schaefer_2018/400/7, nilearn:aal, ..."""
    labels: DataPath | None = None
    """Names of the numbers in the atlas: a table with the columns of the next two keys (or those of a BIDS dseg.tsv,
    `index` and `name`), a FreeSurfer colour table (.txt), or the .xml of an FSL atlas. Without it, numbers are the
    names."""
    index_column: str = "index"
    """Column of a table of `labels` with the numbers in the atlas; 0 is background."""
    name_column: str = "region"
    """Column of a table of `labels` with the names; numbers of one name form one region."""
    keep: tuple[str, ...] = ()
    """Names of the regions of an atlas that are analysed; if empty, all that have a voxel in the mask."""
    masks: dict[str, DataPath] = Field(default_factory=dict)
    """Instead of an atlas: a mask image for each region, by name; may contain {subject}."""
    spheres: dict[str, Points] = Field(default_factory=dict)
    """Instead of an atlas: the centre [x, y, z] of each region, by name, in mm of the space of the brain images; a
    list of centres makes one region of several spheres."""
    radius_mm: float = Field(8.0, gt=0)
    """Radius of `spheres` in mm, to voxel centres, inclusive."""
    resample: bool = False
    """Bring an atlas or mask on another grid to the brain images (nearest neighbour); otherwise that is an error."""

    @model_validator(mode="after")
    def _one_source(self) -> "Regions":
        if (self.atlas is not None) + bool(self.masks) + bool(self.spheres) != 1:
            raise ValueError("regions are given either by `atlas` or by `masks` or by `spheres`")
        if self.atlas is None and (self.keep or self.labels is not None):
            raise ValueError("`keep` and `labels` belong to an `atlas`; leave them out with `masks` or `spheres`")
        return self

    @property
    def of_subjects(self) -> bool:
        """Whether each subject has images of its own."""
        return any("{subject}" in path for path in (self.atlas or "", *self.masks.values()))


# ---------------------------------------------------------------------------------------- files, labels


def known_names(settings: Regions) -> list[str] | None:
    """Return the names of the regions; None where only an atlas tells which have voxels.

    Examples
    --------
    >>> known_names(Regions(spheres={"V1": [6, -90, 2], "FFA": [40, -52, -18]}))
    ['V1', 'FFA']
    """
    return [*(settings.spheres or settings.masks or settings.keep)] or None


def region_files(settings: Regions, subject: str) -> list[Path]:
    """Return every file that is read for the regions of a subject; of an atlas of nilearn, its image.

    Raises
    ------
    UserError
        If an atlas of nilearn is not known, or is not there and cannot be fetched.
    """
    labels = [Path(settings.labels)] if settings.labels else []
    return [*_image_files(settings, subject), *labels]


def _image_files(settings: Regions, subject: str) -> list[Path]:
    if settings.atlas is not None and settings.atlas.startswith(NILEARN):
        return [_nilearn_atlas(settings.atlas).file]
    images = [settings.atlas] if settings.atlas is not None else list(settings.masks.values())
    return [fill(image, subject=subject) for image in images]


def problems_of_regions(settings: Regions, subject: str, grid: Volume | None = None) -> Iterator[str]:
    """Say what is wrong with the images of the regions of a subject, by their headers; `grid` is where they belong."""
    for path in _image_files(settings, subject):
        try:
            image = opened(path)
            require_one_volume(image, f"The image of regions {path}")
            if grid is not None and not settings.resample:
                _require_grid(image, path, grid)
        except UserError as error:
            yield str(error)


def region_labels(settings: Regions) -> pd.DataFrame | None:
    """Read the labels of an atlas: columns `index` and `region`, only the regions to keep; None if there are none.

    The number 0 is background in every atlas, whatever its name, and not among them.

    Raises
    ------
    UserError
        If the table lacks a column, an index is no whole number, a region to keep is not in it, or an atlas of
        nilearn cannot be had.
    """
    if settings.labels is not None:
        source, labels = settings.labels, _labels_in(settings)
    elif settings.atlas is not None and settings.atlas.startswith(NILEARN):
        source, labels = settings.atlas, _nilearn_atlas(settings.atlas).labels
    else:
        return None
    labels = labels[labels["index"] != 0].reset_index(drop=True)
    for name in settings.keep:
        if name not in set(labels["region"]):
            raise UserError(f"{source} names no region {name!r}.{did_you_mean(name, labels['region'])}")
    return labels[labels["region"].isin(settings.keep)] if settings.keep else labels


def warnings_of_labels(labels: pd.DataFrame) -> list[str]:
    """Return what is odd about the labels of an atlas: numbers with two names, whose regions are the same."""
    named = labels.drop_duplicates()
    twice = named[named["index"].duplicated(keep=False)]
    return [
        f"The number {number} of the atlas has the names {listed(list(rows['region']))}, which are regions of the same "
        "voxels; keep one of them."
        for number, rows in twice.groupby("index")
    ]


def _labels_in(settings: Regions) -> pd.DataFrame:
    """Read the file of labels, of whatever form it is."""
    path = Path(settings.labels or "")
    if path.suffix == ".xml":
        return _from_xml(path)
    colours = _from_colour_table(path)
    return colours if colours is not None else _from_table(path, settings)


def _from_table(path: Path, settings: Regions) -> pd.DataFrame:
    """Read a table with named columns; where the column of names is not there, `name`, as in BIDS."""
    columns = list(io.load_table(path))
    bids = settings.name_column == "region" and "region" not in columns and "name" in columns
    name_column = "name" if bids else settings.name_column
    table = io.load_table(path, [settings.index_column, name_column])
    numbers = pd.to_numeric(table[settings.index_column], errors="coerce").astype(float)
    wrong = table.loc[(numbers % 1 != 0).to_numpy(), settings.index_column]  # NaN and infinity are no whole numbers
    if len(wrong):
        raise UserError(
            f"{path}: the column {settings.index_column!r} holds something else than numbers: {wrong.iloc[0]!r}; the "
            "numbers of an atlas are whole."
        )
    return pd.DataFrame({"index": numbers.astype(int), "region": table[name_column]})


def _from_colour_table(path: Path) -> pd.DataFrame | None:
    """Read a FreeSurfer colour table; None if the file is none."""
    lines = [line.strip() for line in load_text(path, "table").splitlines()]
    rows = [COLOUR_LINE.fullmatch(line) for line in lines if line and not line.startswith("#")]
    found = [row.groups() for row in rows if row is not None]
    if not rows or len(found) < len(rows):
        return None
    return pd.DataFrame({"index": [int(number) for number, _ in found], "region": [name for _, name in found]})


def _from_xml(path: Path) -> pd.DataFrame:
    """Read the .xml of an atlas of FSL, or of SPM (AAL).

    FSL counts the volumes of a probabilistic atlas from 0, and its image of the most probable region from 1.
    """
    with io.reading(path, "XML"):
        root = ElementTree.parse(path).getroot()
    kind = (root.findtext("header/type") or "").strip().lower()
    first = 1 if kind.startswith("prob") else 0  # some files of FSL say "probabalistic"
    pairs = [_label_in_xml(label) for label in root.iter("label")]
    if not pairs or any(not WHOLE_NUMBER.fullmatch(number.strip()) or not name.strip() for number, name in pairs):
        raise UserError(f'{path} should hold lines like <label index="0">Frontal Pole</label>, as in an atlas of FSL.')
    return pd.DataFrame(
        {"index": [int(number) + first for number, _ in pairs], "region": [" ".join(name.split()) for _, name in pairs]}
    )


def _label_in_xml(label: ElementTree.Element) -> tuple[str, str]:
    """Return the number and name of a label: attribute and text in FSL's files, two elements in SPM's."""
    number = label.get("index")
    if number is not None:
        return number, label.text or ""
    return label.findtext("index") or "", label.findtext("name") or ""


# ------------------------------------------------------------------------------------ atlases of nilearn


@dataclass(frozen=True)
class NilearnAtlas:
    """An atlas that nilearn fetches, and what may be said of it after its name, in order.

    Parameters
    ----------
    words : mapping of str to type
        Parameters of nilearn's function and their types.
    n_required : int
        So many of them have to be given.
    fixed : tuple of (str, str)
        Parameters that are always the same.
    """

    words: Mapping[str, type]
    n_required: int = 0
    fixed: tuple[tuple[str, str], ...] = ()


NILEARN_ATLASES: dict[str, NilearnAtlas] = {
    "aal": NilearnAtlas({"version": str}),
    "basc_multiscale_2015": NilearnAtlas({"resolution": int, "version": str}),
    "destrieux_2009": NilearnAtlas({}),
    "harvard_oxford": NilearnAtlas({"atlas_name": str}, 1),
    "juelich": NilearnAtlas({"atlas_name": str}, 1),
    "pauli_2017": NilearnAtlas({}, fixed=(("atlas_type", "deterministic"),)),
    "schaefer_2018": NilearnAtlas({"n_rois": int, "yeo_networks": int, "resolution_mm": int}),
    "talairach": NilearnAtlas({"level_name": str}, 1),
    "yeo_2011": NilearnAtlas({"n_networks": int, "thickness": str}),
}
"""The atlases of nilearn whose images hold numbers of regions, by the name of the function that fetches them."""


@dataclass(frozen=True, eq=False)
class _Atlas:
    """An atlas of nilearn: image, labels (`index`, `region`), and the file of the image."""

    image: nib.Nifti1Pair
    labels: pd.DataFrame
    file: Path


def _nilearn_atlas(name: str) -> _Atlas:
    """Get an atlas of nilearn from its data folder, or else from the network."""
    from nilearn.datasets import get_data_dirs

    return _fetched(name, tuple(map(str, get_data_dirs())))


@cache
def _fetched(name: str, folders: tuple[str, ...]) -> _Atlas:
    """Call the function of nilearn that fetches an atlas."""
    from nilearn import datasets

    atlas, *words = name.removeprefix(NILEARN).split("/")
    arguments = _arguments(name, pick(NILEARN_ATLASES, atlas, "atlas of nilearn"), words)
    fetch = getattr(datasets, f"fetch_atlas_{atlas}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of labels without a voxel, which we tell for the mask
            found = fetch(**arguments, verbose=0)
    except OSError as error:  # those of requests are OSErrors too
        call = f"fetch_atlas_{atlas}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
        raise UserError(
            f"The atlas {name} is not complete in nilearn's data ({' or '.join(folders)}) and cannot be fetched "
            f"({type(error).__name__}). Where there is a network, call nilearn.datasets.{call} and put the folder that "
            f"it makes there into {folders[0]}, or set NILEARN_DATA to where it is."
        ) from error
    except (ValueError, TypeError) as error:
        raise UserError(f"nilearn has no atlas {name}: {' '.join(str(error).split()).rstrip('.')}.") from error
    if found.atlas_type != "deterministic":
        raise UserError(f"The atlas {name} is probabilistic; regions need one number per voxel, such as a maxprob one.")
    labels = pd.DataFrame({"index": found.lut["index"].astype(int), "region": found.lut["name"].astype(str)})
    image = found.maps if isinstance(found.maps, nib.Nifti1Image) else opened(Path(found.maps))
    file = Path(str(found.get("filename") or image.get_filename()))
    io.require_whole(file)
    return _Atlas(image, labels, file)


def _arguments(name: str, atlas: NilearnAtlas, words: list[str]) -> dict[str, Any]:
    """Turn the words after the name of an atlas into arguments of nilearn's function."""
    if not atlas.n_required <= len(words) <= len(atlas.words):
        form = "/".join([name.split("/")[0], *(f"<{word}>" for word in atlas.words)])
        raise UserError(f"The atlas {name} has {len(words)} words after its name; write it as {form}.")
    try:
        given = {key: kind(word) for (key, kind), word in zip(atlas.words.items(), words, strict=False)}
    except ValueError as error:
        raise UserError(f"The atlas {name} has a word where a number is expected: {error}.") from error
    return {**given, **dict(atlas.fixed)}


# ---------------------------------------------------------------------------------------------- regions


def read_regions(settings: Regions, subject: str, volume: Volume | None) -> Neighbourhood:
    """Read the regions of a subject over the voxels of a volume.

    Labels of an atlas without a voxel in the mask are left out, with a warning, unless `keep` names them. Regions of
    1 or 2 voxels, and numbers of an atlas with two names, are warned of.

    Raises
    ------
    UserError
        If an image lies on another grid (unless it may be resampled) or holds other than whole numbers, or a region
        has no voxel in the mask.
    """
    if volume is None:
        raise UserError("Regions need patterns over voxels.")
    neighbourhood = _read_regions(settings, subject, volume)
    assert neighbourhood.regions is not None, "regions have names"
    small = list(neighbourhood.regions["region"][neighbourhood.n_members <= TOO_SMALL])
    if small:
        logger.warning(
            f"subject {subject!r}: regions of 1 or 2 voxels, in which a correlation is not defined or always 1 or -1: "
            f"{listed(small)}"
        )
    return neighbourhood


def _read_regions(settings: Regions, subject: str, volume: Volume) -> Neighbourhood:
    if settings.spheres:
        return neighbourhood.from_masks(volume, dict(_spheres(settings, volume)))
    if settings.masks:
        masks = {name: _mask(fill(path, subject=subject), volume, settings) for name, path in settings.masks.items()}
        return neighbourhood.from_masks(volume, masks)
    atlas = _atlas(settings, subject, volume)
    labels = region_labels(settings)
    for text in [] if labels is None else warnings_of_labels(labels):
        logger.warning("%s", text)
    if labels is None and settings.keep:
        numbers = [int(name) for name in settings.keep if WHOLE_NUMBER.fullmatch(name)]
        if len(numbers) < len(settings.keep):
            raise UserError(f"Without a table of labels, regions are kept by number; {listed(settings.keep)} is not.")
        labels = pd.DataFrame({"index": numbers, "region": list(settings.keep)})
    if labels is not None and not settings.keep:
        labels = _with_voxels(labels, atlas[volume.mask], subject)
    return neighbourhood.regions(volume, atlas, labels)


def _with_voxels(labels: pd.DataFrame, numbers: Array, subject: str) -> pd.DataFrame:
    """Leave out the labels without a voxel, and say which."""
    there = labels["index"].isin(np.unique(numbers))
    names = list(dict.fromkeys(labels["region"]))
    absent = [name for name in names if name not in set(labels.loc[there, "region"])]
    if absent:
        logger.warning(
            f"subject {subject!r}: {len(absent)} of {len(names)} labels of the atlas have no voxel in the mask: "
            f"{listed(absent)}"
        )
    return labels[there]


def _spheres(settings: Regions, volume: Volume) -> Iterator[tuple[str, Array]]:
    """Yield the name of each region and which voxels of the mask lie in one of its spheres, shape (n_voxels,)."""
    centres_mm = volume.voxel_to_mm(volume.indices)  # (n_voxels, 3)
    for name, points_mm in settings.spheres.items():
        inside = np.zeros(volume.n_voxels, dtype=bool)
        for point_mm in points_mm:
            distances_mm = np.linalg.norm(centres_mm - _centre(volume, np.array(point_mm)), axis=1)
            here = distances_mm <= settings.radius_mm + SAME_MM
            if not here.any():
                raise UserError(
                    f"No voxel of the mask lies in the sphere of {settings.radius_mm:g} mm at {list(point_mm)} "
                    f"({name!r}): the nearest is {distances_mm.min():.1f} mm away. Check the coordinates and their "
                    "space, or enlarge regions.radius_mm."
                )
            inside |= here
        yield name, inside


def _centre(volume: Volume, point_mm: Array) -> Array:
    """Return the centre of the voxel that a point means, if it is (nearly) at one; otherwise the point."""
    voxel = volume.mm_to_voxel(point_mm)
    is_centre = np.abs(voxel - voxel.round()).max() <= SAME_VOXEL
    return volume.voxel_to_mm(voxel.round()) if is_centre else point_mm


def _mask(path: Path, volume: Volume, settings: Regions) -> Array:
    """Read which voxels of the grid lie in a mask image."""
    return inside_of(_on_grid(opened(path), path, volume, settings), f"The mask {path}")


def _atlas(settings: Regions, subject: str, volume: Volume) -> Array:
    """Read the numbers of an atlas on the grid of a volume."""
    name = settings.atlas or ""
    if name.startswith(NILEARN):
        values = _on_grid(_nilearn_atlas(name).image, name, volume, settings)
    else:
        path = fill(name, subject=subject)
        values = _on_grid(opened(path), path, volume, settings)
    inside = np.nan_to_num(values[volume.mask])
    odd = inside[np.abs(inside - np.rint(inside)) > WHOLE]
    if odd.size:
        raise UserError(f"The atlas {name} holds {odd[0]:g}, which is no whole number; an atlas has one per region.")
    return np.asarray(np.rint(values))


def _on_grid(image: nib.Nifti1Pair, name: str | Path, volume: Volume, settings: Regions) -> Array:
    """Read an image of labels on the grid of a volume."""
    require_one_volume(image, f"The image of regions {name}")
    stored = read_voxels(name, float) if isinstance(name, Path) else np.asarray(image.dataobj)
    values = stored.reshape(image.shape[:3])
    if volume.same_grid(image.shape, image.affine, nearly=True) or not settings.resample:
        _require_grid(image, name, volume)
        return values
    from nilearn.image import resample_img

    whole = nib.Nifti1Image(np.nan_to_num(values).astype(np.float64), image.affine)
    moved = resample_img(
        whole, volume.affine, volume.shape, interpolation="nearest", copy_header=True, force_resample=True
    )
    return np.asarray(moved.dataobj)


def _require_grid(image: nib.Nifti1Pair, name: str | Path, volume: Volume) -> None:
    """Raise the error that prints both grids if they differ, and say which setting helps."""
    try:
        require_grid_of_mask(volume, image, f"The regions of {name}", "the brain images")
    except UserError as error:
        raise UserError(f"{error} `regions.resample: true` does it, if both are in the same space.") from error
