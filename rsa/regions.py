"""Reading regions of interest: atlases and masks -> neighbourhoods."""

from pathlib import Path

import numpy as np
import pandas as pd

from rsa import io, neighbourhood
from rsa.config import Regions
from rsa.core import Array, Neighbourhood, Volume
from rsa.datasets.images import count_volumes, opened, read_voxels
from rsa.errors import UserError, did_you_mean, listed
from rsa.settings import fill

__all__ = ["read_regions", "region_files", "region_labels"]


def region_files(settings: Regions, subject: str) -> list[Path]:
    """Return every file that is read for the regions of a subject."""
    images = [settings.atlas] if settings.atlas is not None else list(settings.masks.values())
    return [*(fill(image, subject=subject) for image in images), *([Path(settings.labels)] if settings.labels else [])]


def region_labels(settings: Regions) -> pd.DataFrame | None:
    """Read the labels of an atlas: columns `index` and `region`, only the regions to keep; None if there are none.

    Raises
    ------
    UserError
        If the table lacks a column, an index is no whole number, or a region to keep is not in it.
    """
    if settings.labels is None:
        return None
    table = io.load_table(settings.labels, [settings.index_column, settings.name_column])
    try:
        numbers = table[settings.index_column].astype(float).astype(int)
    except ValueError as error:
        raise UserError(
            f"{settings.labels}: the column {settings.index_column!r} holds something else than numbers."
        ) from error
    labels = pd.DataFrame({"index": numbers, "region": table[settings.name_column]})
    for name in settings.keep:
        if name not in set(labels["region"]):
            raise UserError(f"{settings.labels} names no region {name!r}.{did_you_mean(name, labels['region'])}")
    return labels[labels["region"].isin(settings.keep)] if settings.keep else labels


def read_regions(settings: Regions, subject: str, volume: Volume | None) -> Neighbourhood:
    """Read the regions of a subject over the voxels of a volume.

    Raises
    ------
    UserError
        If an image lies on another grid (unless it may be resampled), or a region has no voxel in the mask.
    """
    if volume is None:
        raise UserError("Regions need patterns over voxels.")
    if settings.atlas is None:
        masks = {name: _on_grid(fill(path, subject=subject), volume, settings) for name, path in settings.masks.items()}
        return neighbourhood.from_masks(volume, {name: np.nan_to_num(mask) > 0 for name, mask in masks.items()})
    atlas = _on_grid(fill(settings.atlas, subject=subject), volume, settings)
    labels = region_labels(settings)
    if labels is None and settings.keep:
        numbers = [int(name) for name in settings.keep if name.isdigit()]
        if len(numbers) < len(settings.keep):
            raise UserError(f"Without a table of labels, regions are kept by number; {listed(settings.keep)} is not.")
        labels = pd.DataFrame({"index": numbers, "region": list(settings.keep)})
    return neighbourhood.regions(volume, atlas, labels)


def _on_grid(path: Path, volume: Volume, settings: Regions) -> Array:
    """Read an image of labels on the grid of a volume."""
    image = opened(path)
    if count_volumes(image) != 1:
        raise UserError(f"{path} has {count_volumes(image)} volumes; regions are read from an image of one.")
    if not volume.same_grid(image.shape, image.affine) and settings.resample:
        from nilearn.image import resample_img

        image = resample_img(
            image, volume.affine, volume.shape, interpolation="nearest", copy_header=True, force_resample=True
        )
        return np.asarray(image.dataobj).reshape(volume.shape)
    volume.require_grid(image.shape, image.affine, f"The regions of {path}", "the brain images")
    return read_voxels(path)[..., 0]
