"""Maps in a notebook: niivue, by `ipyniivue` (the extra `notebook`)."""

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from rsa.core import Array, ScoreMap, select
from rsa.errors import UserError
from rsa.files.fsaverage import of_nilearn
from rsa.names import label_of
from rsa.report.drawing import volume_of
from rsa.report.style import signed_limit

__all__ = ["view"]

MNI_CODE = 4
"""The NIfTI code of MNI152 space."""

TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


def view(
    scores: ScoreMap,
    *,
    threshold: float | None = None,
    limit: float | None = None,
    background: str | Path | nib.Nifti1Image | None = None,
    height: int = 400,
    **labels: str,
) -> Any:
    """Open maps in niivue: slices and a rendering to turn, over a brain.

    Parameters
    ----------
    scores : ScoreMap
        Over voxels.
    threshold : float, optional
        Scores nearer to 0 are not shown; by default a tenth of `limit`. Undefined ones never are.
    limit : float, optional
        Where colours end, on both sides of 0; by default the largest score.
    background : path or image, optional
        What the maps lie on; by default nilearn's template where they are in MNI152 space, and else nothing.
    height : int
        Of the widget in pixels.
    **labels : str
        Columns of the table and the value that is wanted, as in ``view(scores, layer="features.3")``.

    Returns
    -------
    ipyniivue.NiiVue
        The widget, whose `volumes` are the background, if there is one, and the maps; the map of the highest score is
        opaque, and the others are clear until their `opacity` is set. The times of a map are its frames (`frame_4d`).

    Raises
    ------
    UserError
        If ipyniivue is not installed, no map carries the labels, or the scores are not over voxels.
    """
    if find_spec("ipyniivue") is None:
        raise UserError(
            "Maps are shown in a notebook by ipyniivue, which is not installed; run: pip install "
            "'brain-model-rsa[notebook]'"
        )
    from ipyniivue import ColormapType, NiiVue, Volume

    volume, chosen = volume_of(scores), select(scores, **labels)
    limit = limit or signed_limit(chosen.values)
    look = {"colormap": "warm", "colormap_negative": "winter", "cal_max": limit}
    look |= {"cal_min": limit / 10 if threshold is None else threshold}
    look |= {"colormap_type": ColormapType.ZERO_TO_MAX_TRANSPARENT_BELOW_MIN}
    if background is None and volume.sform_code == MNI_CODE:
        background = of_nilearn(TEMPLATE)
    shown = [] if background is None else [Volume(**_brain(background), colormap="gray", colorbar_visible=False)]
    maps = _files_of(chosen)
    highest = [np.nan_to_num(values, nan=-np.inf).max() for values in maps.values()]
    for number, (name, values) in enumerate(maps.items()):
        image = volume.to_image(values[0] if len(values) == 1 else values)
        image = nib.Nifti1Image(np.nan_to_num(image.get_fdata(dtype=np.float32)), None, image.header)
        opacity = float(number == int(np.argmax(highest)))
        shown.append(Volume(data=_packed(image), name=f"{name}.nii.gz", opacity=opacity, **look))
    widget = NiiVue(height=height)
    widget.load_volumes(shown)
    return widget


def _files_of(scores: ScoreMap) -> dict[str, Array]:
    """Return the maps by their names, which tell them apart; the times of one ascend: (n_times, n_voxels)."""
    keys = [name for name in ("subject", "model", "layer", "statistic") if name in scores.table]
    labels = scores.table[keys].fillna("").astype(str)
    found: dict[str, Array] = {}
    for key, rows in labels.groupby(keys, sort=False):
        table = scores.table.iloc[rows.index]
        order = table["time_s"].argsort().to_numpy() if "time_s" in table else np.arange(len(table))
        found["_".join(filter(None, map(label_of, key)))] = scores.values[rows.index[order]]
    return found


def _brain(background: str | Path | nib.Nifti1Image) -> dict[str, Any]:
    """Return what niivue reads a background from."""
    if isinstance(background, str | Path):
        return {"path": Path(background)}
    return {"data": _packed(background), "name": "background.nii.gz"}


def _packed(image: nib.Nifti1Image) -> bytes:
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)
