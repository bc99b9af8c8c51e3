"""All that is asked of the units of a network, part by part."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from rsa.core import Array, RDMs, concatenate
from rsa.errors import UserError, listed
from rsa.models.layer_rdms import layer_products, model_rdms
from rsa.models.run import Run
from rsa.units.channels import ChannelFits, channel_fits, channels, usable_regions
from rsa.units.choosing import Unit, chosen_units, layers_like_regions, layers_of_units, unit_table
from rsa.units.codes import Coded, coded, embeddings, layers_of_codes, neighbours, require_categories
from rsa.units.fields import receptive, require_occluders
from rsa.units.filters import filters
from rsa.units.found import Found
from rsa.units.heat_maps import heat_maps, layers_of_heat_maps, require_squares
from rsa.units.maximised import maximised
from rsa.units.naming import last_layer, names_of_units
from rsa.units.pictures import shown_pictures
from rsa.units.preferred import preferred
from rsa.units.readout import design_of, fits_of_layers, readout
from rsa.units.settings import Channels, Codes, UnitSettings
from rsa.units.watched import Peaks, Watched

log = logging.getLogger(__name__)

__all__ = ["PARTS", "Beside", "Look", "looked_at"]


@dataclass(frozen=True)
class Beside:
    """What is known beside the network and its pictures.

    Parameters
    ----------
    stimuli : DataFrame
        A row per picture, with further columns, such as `category`.
    rdms : RDMs, optional
        Those of layers whose codes are looked at, over the conditions of the pictures, in their order; others are made.
    regions : RDMs, optional
        Those of regions, with `subject` and `region` in the table.
    fits : DataFrame, optional
        The table of fits of regions.
    distance, comparison : str
        How layer RDMs are made, and RDMs compared: keys of `DISTANCES` and `COMPARISONS`.
    memory_mb : int, optional
        Memory that may be used for responses of layers; by default most of what is free.
    """

    stimuli: pd.DataFrame
    rdms: RDMs | None = None
    regions: RDMs | None = None
    fits: pd.DataFrame | None = None
    distance: str = "correlation"
    comparison: str = "spearman"
    memory_mb: int | None = None


@dataclass
class Look:
    """A network whose units are looked at.

    Parameters
    ----------
    watched : Watched
        The network, and its pictures.
    settings : UnitSettings
        What is asked.
    beside : Beside
        What else is known.
    """

    watched: Watched
    settings: UnitSettings
    beside: Beside

    @cached_property
    def layers(self) -> list[str]:
        """The layers of which units are looked at, in forward order."""
        return layers_of_units(self.settings, self.watched.model, self.watched.described)

    @cached_property
    def peaks(self) -> dict[str, Peaks]:
        """The highest responses of all channels of these layers to each picture."""
        return self.watched.peaks(self.layers)

    @cached_property
    def regions(self) -> RDMs | None:
        """The RDMs of regions with which channels are compared; None where there are none."""
        return usable_regions(self.beside.regions, self.watched.pictures.conditions)

    @cached_property
    def _like(self) -> dict[str, list[str]]:
        """The layers of which units are chosen that are like a region, and these regions."""
        return layers_like_regions(self.settings, self.watched.model, self.watched.described)

    @cached_property
    def channel_fits(self) -> dict[str, ChannelFits]:
        """How the channels of layers are like regions, of the layers that are asked for, in forward order."""
        asked = self.settings.channels
        wanted = {*self._like, *(self.code_layers if asked is not None else ())}
        if not wanted or self.regions is None:
            return {}
        layers = [layer for layer in self.watched.described["layer"].drop_duplicates() if layer in wanted]
        how = self.beside.distance, self.beside.comparison
        asked = asked or Channels(n_splits=1, permutations=0)  # own scores are all that `like` needs
        return channel_fits(self.watched, layers, self.regions, asked, *how)

    @cached_property
    def likeness(self) -> dict[tuple[str, str], Array]:
        """How like the RDM of each channel is to that of a region, by layer and region."""
        return {key: scores for fits in self.channel_fits.values() for key, scores in fits.likeness().items()}

    def require_regions(self) -> None:
        """Raise a `UserError` if units are wanted that are like a region without an RDM."""
        wanted = {region for regions in self._like.values() for region in regions}
        there = [] if self.regions is None else list(dict.fromkeys(self.regions.table["region"].astype(str)))
        if missing := sorted(wanted - {*there}):
            which = (
                f"there are {listed(there)}"
                if there
                else "there are none with one RDM of each subject and without gaps"
            )
            raise UserError(f"`like: {missing[0]}` is no region whose RDM channels can be compared with; {which}.")

    def require(self) -> None:
        """Raise a `UserError` if what is asked cannot be, as far as it is known before any picture passes."""
        self.watched.require_several()
        self.require_regions()
        require_occluders(self.watched, self.layers, self.settings.fields)
        require_squares(self.watched, self.settings)
        if self.settings.codes is not None:
            require_categories(self.settings.codes, self.beside.stimuli)
        last = last_layer(self.watched.described)
        self.watched.require_same_answers(list(dict.fromkeys([*self.layers, last])))

    @cached_property
    def units(self) -> list[Unit]:
        """The units that are looked at."""
        return chosen_units(self.watched, self.settings, self.peaks, self.likeness)

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """What units are called, of those layers whose units are the classes."""
        layers = [*self.layers, *layers_of_heat_maps(self.watched, self.settings)]
        return names_of_units(self.watched, self.settings, list(dict.fromkeys(layers)))

    @cached_property
    def code_layers(self) -> list[str]:
        """The layers whose codes and channels are looked at, in forward order."""
        return layers_of_codes(self.settings.layers, self.watched.model)

    @cached_property
    def code_rdms(self) -> RDMs:
        """Their RDMs: those that are there, and others are made."""
        parts, model = [] if self.beside.rdms is None else [self.beside.rdms], self.watched.model
        known = {layer for part in parts for layer in part.table["layer"]}
        if missing := [layer for layer in self.code_layers if layer not in known]:
            other, how = model.model_copy(update={"layers": tuple(missing)}), self.watched.settings
            with self.watched.as_loaded() as network:
                made = model_rdms(
                    other,
                    self.beside.stimuli,
                    self.beside.distance,
                    device=how.device,
                    batch_size=how.batch_size,
                    memory_mb=self.beside.memory_mb,
                    loaded=network,
                )
            parts.append(made.rdms)
        there = concatenate(parts)
        place = {layer: i for i, layer in enumerate(there.table["layer"])}
        rows = [place[layer] for layer in self.code_layers]
        return replace(there, values=there.values[rows], table=there.table.iloc[rows])

    @cached_property
    def coded(self) -> tuple[Coded, Codes] | None:
        """The conditions with their categories, and what is asked of their codes; None where nothing is.

        It is nothing, too, where the network has none of the layers that are asked for.
        """
        codes = self.settings.codes
        if codes is None or not self.code_layers:
            return None
        return coded(self.watched, self.beside.stimuli, codes), codes


def looked_at(look: Look) -> Iterator[tuple[str, Found]]:
    """Yield each part of what is asked, and what it finds; the pictures that are shown come last.

    Raises
    ------
    UserError
        If there is one picture alone, a unit that is named is dead, units are to be like a region that is not there,
        a patch does not fit the pictures, or a column of categories is named that is not there.
    """
    look.require()
    shown: set[int] = set()
    for part, find in PARTS.items():
        found = find(look)
        if found is not None:
            shown |= found.pictures
            yield part, found
    yield "pictures", shown_pictures(look.watched, shown)


def _units(look: Look) -> Found:
    return Found({"units": unit_table(look.watched, look.units, look.peaks, look.names)})


def _responses(look: Look) -> Found:
    """Keep the highest responses of all channels, by which networks are compared."""
    arrays = {f"peaks_{k}": look.peaks[layer].values for k, layer in enumerate(look.layers)}
    conditions = np.array(look.watched.pictures.images["condition"], dtype=str)
    return Found({}, {"layers": np.array(look.layers, dtype=str), "conditions": conditions, **arrays})


def _preferred(look: Look) -> Found | None:
    settings = look.settings.preferred
    if settings is None:
        return None
    return preferred(look.watched, look.units, look.peaks, settings, _categories(look))


def _categories(look: Look) -> list[object] | None:
    """Return the category of each picture; None where the stimulus table has no such column."""
    images, column = look.watched.pictures.images, (look.settings.codes or Codes()).categories
    return list(images[column]) if column in images and images[column].notna().any() else None


def _filters(look: Look) -> Found | None:
    return filters(look.watched) if look.settings.filters else None


def _neighbours(look: Look) -> Found | None:
    return None if look.coded is None else neighbours(look.code_rdms, *look.coded)


def _embeddings(look: Look) -> Found | None:
    return None if look.coded is None else embeddings(look.code_rdms, *look.coded)


def _readout(look: Look) -> Found | None:
    if look.coded is None:
        return None
    (who, settings), watched = look.coded, look.watched
    design = None if who.categories is None else design_of(who.categories, settings.n_folds, settings.seed)
    if design is None:
        return None
    model = watched.model.model_copy(update={"layers": tuple(look.code_layers)})
    with watched.as_loaded() as network:
        run = Run(model, watched.pictures, watched.settings, loaded=network)
        found = readout(layer_products(run, memory_mb=look.beside.memory_mb), len(look.code_layers), design, settings)
    fits = look.beside.fits
    beside = None if fits is None else fits_of_layers(fits, watched.model.label, look.code_layers)
    return found if beside is None else replace(found, tables={**found.tables, "readout_fits": beside})


def _fields(look: Look) -> Found | None:
    settings = look.settings.fields
    return None if settings is None else receptive(look.watched, look.units, look.peaks, settings)


def _heat_maps(look: Look) -> Found | None:
    return heat_maps(look.watched, look.settings, look.names)


def _channels(look: Look) -> Found | None:
    if look.settings.channels is None or look.regions is None:
        return None
    return channels(look.watched, look.channel_fits)


def _maximised(look: Look) -> Found | None:
    settings, model = look.settings.maximised, look.watched.model
    if settings is None or not settings.is_of(model.label):
        return None
    if not (settings.models or model.has_gradients):
        log.info("%s has no gradients, so no pictures are made for its units", model.label)
        return None
    return maximised(look.watched, look.units, look.peaks, settings)


PARTS: dict[str, Callable[[Look], Found | None]] = {
    "responses": _responses,
    "units": _units,
    "preferred": _preferred,
    "filters": _filters,
    "maximised": _maximised,
    "fields": _fields,
    "heat_maps": _heat_maps,
    "channels": _channels,
    "neighbours": _neighbours,
    "embeddings": _embeddings,
    "readout": _readout,
}
"""What finds each part, in order; nothing where it is not asked for. Responses come first: the folder of a look is
known by their file."""
