"""Receptive fields as they are: where in its pictures an occluder changes the response of a unit."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rsa.core import Array
from rsa.errors import listed
from rsa.models import Model
from rsa.models.passing import exactly, keeping_memory
from rsa.progress import progress
from rsa.units.choosing import Unit, layers_of_units
from rsa.units.found import Found, Table
from rsa.units.occlusion import (
    Box,
    Occluders,
    answers_to_covered,
    problem_of_occluder,
    random_pixels,
    require_occluder,
)
from rsa.units.preferred import top_pictures
from rsa.units.settings import Fields, UnitSettings
from rsa.units.watched import LayerMap, Peaks, Watched, layer_maps

if TYPE_CHECKING:
    import torch

__all__ = ["FIELDS_COLUMNS", "Shape", "occluder_of", "problems_of_fields", "receptive", "require_occluders", "shape_of"]

log = logging.getLogger(__name__)

PATCHES_OF_PICTURE, PATCHES_OF_FIELD = 20, 5
"""So many patches beside each other make a side of the picture, and of a theoretical field."""

ROUNDING = {"single": 2.0**-19, "float16": 2.0**-7, "bfloat16": 2.0**-4}
"""Changes of a response smaller than this share of it are rounding: some 16 times what the numbers can tell apart."""

FIELDS_COLUMNS = {
    "layer": "Layer of the network",
    "unit": "Number of the unit in its layer, from 0",
    "field_px": "Side of the theoretical receptive field in pixels of the input; inf where it has no end, n/a "
    "where it is not known",
    "extent_px": "Side of the smallest square around all places where a patch is known to change the response at all; "
    "it is the true one at a stride of 1, and by up to 2 (stride - 1) smaller otherwise",
    "size_px": "Size of the empirical field: side of the square with the area in which the mean discrepancy map is "
    "above half its maximum, in pixels",
    "share": "size_px as a share of field_px, or of the picture where that is smaller",
    "width_px": "Width of that area, by its standard deviation: that of a rectangle with the same one",
    "height_px": "Height of that area, likewise",
    "elongation": "Length of that area along its longer axis, over that across it: 1 is round",
    "angle_deg": "Direction of the longer axis: 0 is horizontal, 90 vertical, counter-clockwise, below 180",
    "down_px": "How far below the middle of the theoretical field the centre of mass of that area is",
    "right_px": "How far right of it",
    "n_pictures": "Pictures that were covered: those with the highest responses, without those in which the unit has "
    "one response at all places",
    "patch_px": "Side of the patch that covers",
    "stride_px": "How far it is from one place of the patch to the next",
}
"""The columns of the table of receptive fields."""


@dataclass(frozen=True)
class Aim:
    """A unit at a place, in a picture.

    Parameters
    ----------
    k, layer, unit : int, str, int
        The unit: its place in the list of those that are looked at, its layer, and its number there.
    picture : int
        Number of the picture.
    place : int
        Where the unit is in the map of its channel: row * width + column.
    field : Box
        What it can see of the picture.
    first : tuple of int
        Row and column at which its window begins, which may lie outside of the picture.
    """

    k: int
    layer: str
    unit: int
    picture: int
    place: int
    field: Box
    first: tuple[int, int]


@dataclass
class Gathered:
    """What the pictures of a unit tell of its field, in a window around the middle of the theoretical one.

    Parameters
    ----------
    side : tuple of int
        Height and width of the window.
    best : Aim
        The picture with the highest response, whose map is kept.
    """

    side: tuple[int, int]
    best: Aim
    best_map: Array = field(init=False)
    total: Array = field(init=False)
    n_maps: Array = field(init=False)
    reach: list[Box] = field(default_factory=list)
    n_pictures: int = 0

    def __post_init__(self) -> None:
        self.total, self.n_maps = np.zeros(self.side), np.zeros(self.side, dtype=int)

    def add(self, one: Aim, mapped: Array, reach: Box | None) -> None:
        """Add the discrepancy map of a picture, (height, width), NaN where nothing is known, and how far it reaches."""
        window = shifted(mapped, one.first, self.side)
        known = np.isfinite(window)
        self.total[known] += window[known]
        self.n_maps += known
        self.n_pictures += 1
        if one.picture == self.best.picture:
            self.best_map = mapped
        if reach is not None:
            down, across = one.first
            self.reach.append((reach[0] - down, reach[1] - across, reach[2] - down, reach[3] - across))

    @property
    def mean(self) -> Array:
        """The mean map, NaN where no picture tells anything."""
        return np.asarray(np.divide(self.total, self.n_maps, out=np.full(self.side, np.nan), where=self.n_maps > 0))

    @property
    def extent_px(self) -> float:
        """Side of the smallest square around all that is seen; NaN where nothing is."""
        if not self.reach:
            return np.nan
        tops, lefts, bottoms, rights = np.array(self.reach).T
        return float(max(1, bottoms.max() - tops.min() + 1, rights.max() - lefts.min() + 1))


def shifted(mapped: Array, first: tuple[int, int], side: tuple[int, int]) -> Array:
    """Cut a window out of a map, NaN where it lies outside.

    Examples
    --------
    >>> shifted(np.arange(6.0).reshape(2, 3), (-1, 1), (2, 3))
    array([[nan, nan, nan],
           [ 1.,  2., nan]])
    """
    window = np.full(side, np.nan)
    (top, left), (height, width) = first, side
    here = mapped[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    down, across = max(-top, 0), max(-left, 0)
    window[down : down + here.shape[0], across : across + here.shape[1]] = here
    return window


# --------------------------------------------------------------------------------------- size and shape


@dataclass(frozen=True)
class Shape:
    """Size and shape of the area in which a map is above half its maximum; NaN of a flat map."""

    size_px: float = np.nan
    width_px: float = np.nan
    height_px: float = np.nan
    elongation: float = np.nan
    angle_deg: float = np.nan
    down_px: float = np.nan
    right_px: float = np.nan


def shape_of(mapped: Array) -> Shape:
    """Measure the area in which a map is above half its maximum.

    A rectangle of n pixels has the variance (n^2 - 1) / 12, by which variances are given as lengths.

    Parameters
    ----------
    mapped : array, shape (height, width)
        NaN is outside.

    Examples
    --------
    >>> mapped = np.zeros((9, 9))
    >>> mapped[2:5, 3:9] = 1.0
    >>> shape_of(mapped)  # doctest: +NORMALIZE_WHITESPACE
    Shape(size_px=4.242640687119285, width_px=6.0, height_px=3.0, elongation=2.0, angle_deg=0.0, down_px=-1.0,
          right_px=1.5)
    """
    highest = np.nanmax(mapped, initial=0.0)
    if not highest > 0:
        return Shape()
    rows, columns = np.nonzero(np.nan_to_num(mapped) > highest / 2)
    rows, columns = rows - (mapped.shape[0] - 1) / 2, columns - (mapped.shape[1] - 1) / 2
    moments = np.cov(np.stack([columns, -rows]), bias=True)  # (2, 2): x to the right, y up
    lengths, axes = np.linalg.eigh(12 * moments)
    across, along = np.sqrt(np.maximum(lengths, 0) + 1)
    width, height = np.sqrt(12 * np.diag(moments) + 1)
    angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1])) % 180
    is_round = along - across < 1e-9
    return Shape(
        float(np.sqrt(len(rows))),
        float(width),
        float(height),
        float(along / across),
        np.nan if is_round else float(angle),
        float(rows.mean()),
        float(columns.mean()),
    )


# ------------------------------------------------------------------------------------------- the fields


def problems_of_fields(settings: UnitSettings, models: Sequence[Model]) -> list[str]:
    """Return what is wrong with the receptive fields that are asked for, a line each, among networks without problems.

    Layers without space have no fields, and are left out; it is a mistake only where fields were asked for by name and
    no unit has one.
    """
    own = settings.fields
    if own is None:
        return []
    found = [] if own.patch_px is None else [problem_of_occluder(own.patch_px, own.stride_px or 1, (own.patch_px,) * 2)]
    spaces = [
        len(layer_maps(model, described)[layer].axes.space) > 0
        for model in models
        for described in [model.describe()]
        for layer in layers_of_units(settings, model, described)
    ]
    if "fields" in settings.model_fields_set and spaces and not any(spaces):
        found.append(
            "receptive fields are of units at places of the picture, and no layer of `chosen` has space; choose "
            "others, or leave `fields` out."
        )
    return [f"units.fields: {problem}" for problem in found if problem]


def occluder_of(settings: Fields, where: LayerMap) -> tuple[int, int]:
    """Return side and stride of the patch for a layer, in pixels.

    By default the side is an even number, or 1, so that the stride divides it and all pixels are under equally many
    patches: a pixel under fewer shows as a line in the maps.

    Examples
    --------
    >>> from rsa.models.representation import Axes
    >>> layer = LayerMap("conv", (8, 56, 56), Axes((1, 2), 0), 0, (224, 224), field_px=27.0)
    >>> occluder_of(Fields(), layer), occluder_of(Fields(patch_px=11, stride_px=3), layer)
    ((6, 3), (11, 3))
    """
    largest = min(where.input_px) / PATCHES_OF_PICTURE
    of_field = where.field_px / PATCHES_OF_FIELD if np.isfinite(where.field_px) else largest
    patch = settings.patch_px or max(1, 2 * round(min(largest, of_field) / 2))
    return patch, settings.stride_px or (patch + 1) // 2


def receptive(watched: Watched, units: Sequence[Unit], peaks: Mapping[str, Peaks], settings: Fields) -> Found | None:
    """Estimate the receptive fields of units by covering parts of their pictures [1]_.

    A small patch of random pixels goes over the pictures to which a unit responds most. By how much it changes the
    response of the unit at the place of its highest response is the discrepancy map of the picture. The maps are laid
    over each other by that place: the middle of the theoretical field of the unit that responded. (Their own maxima
    would be another choice; but noise makes a maximum, and then a field, where there is none, and what is seen beside
    the middle would be lost.) Their mean is the empirical receptive field.

    All units of all layers with one patch are watched in the same passes. Patches that touch none of their theoretical
    fields are left out, and those that no field can touch together are in one input; neither changes any number.

    Parameters
    ----------
    watched : Watched
        The network.
    units : sequence of Unit
        Those that are looked at; such of layers without space have no field and are left out.
    peaks : mapping
        Layer -> highest responses, and where they are.
    settings : Fields
        The patch, and how many pictures.

    Returns
    -------
    Found or None
        The table `fields` (`FIELDS_COLUMNS`); of each unit k the mean map, `mean_k`, (height, width), and that of its
        best picture `map_k`, (height, width) of the input; and `best_k`: the number of this picture, and first row,
        first column, and one behind the last of each, of the theoretical field in it. None without a layer with space.

    References
    ----------
    .. [1] Zhou B, Khosla A, Lapedriza A, Oliva A, Torralba A (2015). Object detectors emerge in deep scene CNNs. ICLR.
    """
    aims = _aims(watched, units, peaks, settings)
    if not aims:
        return None
    groups: dict[tuple[int, int], list[Aim]] = {}
    for one in aims:
        groups.setdefault(occluder_of(settings, watched.map_of(one.layer)), []).append(one)
    gathered: dict[int, Gathered] = {}
    for one in aims:
        gathered.setdefault(one.k, Gathered(_side(watched.map_of(one.layer)), one))
    todo = [
        (Occluders(watched.input_px, *how), [one for one in group if one.picture == picture])
        for how, group in groups.items()
        for picture in sorted({one.picture for one in group})
    ]
    inputs = [occluders.together([one.field for one in own]) for occluders, own in todo]
    label = f"{watched.model.label}: receptive fields"
    n_inputs = sum(len(some) + 1 for some in inputs)
    with exactly(), keeping_memory(), progress(n_inputs, "covered pictures", label) as advance:
        for (occluders, own), places in zip(todo, inputs, strict=True):
            _look_at(watched, occluders, own, places, settings.seed, gathered, advance)
    return _found(watched, units, gathered, settings)


def require_occluders(watched: Watched, layers: Sequence[str], settings: Fields | None) -> None:
    """Raise a `UserError` if the patch of a layer is larger than the picture, or its stride than the patch."""
    for layer in layers if settings is not None else ():
        require_occluder(*occluder_of(settings or Fields(), watched.map_of(layer)), watched.input_px, "units.fields")


def _aims(watched: Watched, units: Sequence[Unit], peaks: Mapping[str, Peaks], settings: Fields) -> list[Aim]:
    """List which units are watched where in which pictures."""
    found = []
    for k, one in enumerate(units):
        where, own = watched.map_of(one.layer), peaks[one.layer]
        if not where.has_space:
            continue
        for picture in map(int, top_pictures(own, one.unit, settings.n_pictures)):
            if own.values[picture, one.unit] == own.lowest[picture, one.unit]:
                continue  # it has no place of its highest response here
            place = int(own.places[picture, one.unit])
            row, column = divmod(place, where.grid[1])
            first = [
                int(np.floor(float(centre) - (side - 1) / 2 + 1e-6))
                for centre, side in zip(where.centre_of(row, column), _side(where), strict=True)
            ]
            box = where.field_of(row, column)
            found.append(Aim(k, one.layer, one.unit, picture, place, box, (first[0], first[1])))
    return found


def _side(where: LayerMap) -> tuple[int, int]:
    """Return height and width of the window around a unit: its theoretical field, or all that a picture may have."""
    height, width = (2 * size - 1 for size in where.input_px)
    if not where.is_regular:
        return height, width
    side = int(where.field_px)
    return min(side, height), min(side, width)


def _look_at(
    watched: Watched,
    occluders: Occluders,
    own: Sequence[Aim],
    places: Sequence[Sequence[tuple[int, int]]],
    seed: int,
    gathered: Mapping[int, Gathered],
    advance: Callable[[int], None],
) -> None:
    """Cover a picture, and add what it tells of each unit that is watched in it."""
    by_layer: dict[str, list[Aim]] = {}
    for one in own:
        by_layer.setdefault(one.layer, []).append(one)
    picture = own[0].picture
    inputs = [[occluders.box(*place) for place in some] for some in places]
    cover = random_pixels(watched, picture, seed)
    pick = partial(_at_places, by_layer)
    intact, covered = answers_to_covered(watched, picture, cover, inputs, list(by_layer), pick, advance)
    for layer, aims in by_layer.items():
        for i, one in enumerate(aims):
            responses = _on_grid(occluders, places, covered[layer][:, i].astype(float))
            responses[~occluders.touching(one.field)] = np.nan
            _add(gathered[one.k], one, occluders, float(intact[layer][i]), responses, watched.settings.precision)


def _at_places(by_layer: Mapping[str, Sequence[Aim]], layer: str, maps: "torch.Tensor") -> "torch.Tensor":
    """Pick the responses of the units that are watched, (n_inputs, n_units), of the maps of a layer."""
    units = [one.unit for one in by_layer[layer]]
    rows, columns = np.divmod([one.place for one in by_layer[layer]], maps.shape[3])
    return maps[:, units, rows.tolist(), columns.tolist()]


def _on_grid(occluders: Occluders, places: Sequence[Sequence[tuple[int, int]]], responses: Array) -> Array:
    """Lay the responses to inputs, (n_inputs,), at the places of their patches: (n_down, n_across), NaN elsewhere."""
    grid = np.full(occluders.shape, np.nan)
    for some, response in zip(places, responses, strict=True):
        grid[tuple(np.transpose(some))] = response
    return grid


def _add(gathered: Gathered, one: Aim, occluders: Occluders, intact: float, responses: Array, precision: str) -> None:
    changes = np.abs(responses - intact)  # (n_down, n_across)
    rounding = ROUNDING[precision] * max(abs(intact), float(np.nanmax(np.abs(responses))))
    changed = np.nan_to_num(changes) > rounding
    mapped = occluders.mean_map(np.where(np.isnan(changes), np.nan, changes * changed))
    top, left, bottom, right = one.field
    inside = np.full(mapped.shape, np.nan)
    inside[top:bottom, left:right] = mapped[top:bottom, left:right]
    gathered.add(one, inside, occluders.reach(changed))


def _found(watched: Watched, units: Sequence[Unit], gathered: Mapping[int, Gathered], settings: Fields) -> Found:
    rows, arrays = [], {}
    for k, own in gathered.items():
        one, where = units[k], watched.map_of(units[k].layer)
        shape, (patch, stride) = shape_of(own.mean), occluder_of(settings, where)
        longest = min(where.field_px, max(where.input_px)) if np.isfinite(where.field_px) else max(where.input_px)
        rows.append(
            {"layer": one.layer, "unit": one.unit, "field_px": where.field_px, "extent_px": own.extent_px}
            | vars(shape)
            | {"share": shape.size_px / longest, "n_pictures": own.n_pictures, "patch_px": patch, "stride_px": stride}
        )
        arrays[f"mean_{k}"] = own.mean.astype(np.float32)
        arrays[f"map_{k}"] = own.best_map.astype(np.float32)
        arrays[f"best_{k}"] = np.array([own.best.picture, *own.best.field])
    table = pd.DataFrame(rows, columns=list(FIELDS_COLUMNS))
    if flat := [f"{row.layer} unit {row.unit}" for row in table.itertuples() if np.isnan(row.size_px)]:
        log.warning("No patch changes the response of %s to its pictures, so it has no empirical field.", listed(flat))
    shown = frozenset(own.best.picture for own in gathered.values())
    return Found({"fields": Table(table, FIELDS_COLUMNS)}, arrays, shown)
