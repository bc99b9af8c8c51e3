"""All that is asked of the units of a network, part by part."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from rsa.core import Array, RDMs
from rsa.errors import UserError, listed
from rsa.units.channels import ChannelFits, channel_fits, channels, usable_regions
from rsa.units.choosing import Unit, chosen_units, layers_like_regions, layers_of_units, unit_table
from rsa.units.fields import receptive
from rsa.units.filters import filters
from rsa.units.found import Found
from rsa.units.heat_maps import heat_maps
from rsa.units.pictures import shown_pictures
from rsa.units.preferred import preferred
from rsa.units.settings import Channels, UnitSettings
from rsa.units.watched import Peaks, Watched

__all__ = ["PARTS", "Beside", "Look", "looked_at"]


@dataclass(frozen=True)
class Beside:
    """What is known beside the network and its pictures.

    Parameters
    ----------
    stimuli : DataFrame
        A row per picture, with further columns, such as `category`.
    rdms : RDMs
        Those of the layers that codes are told of, over the conditions of the pictures, in their order.
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
    rdms: RDMs
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
        wanted = {*self._like, *(self.watched.layers(self.settings.layers) if asked is not None else ())}
        if not wanted or self.regions is None:
            return {}
        layers = [layer for layer in self.watched.described["layer"].drop_duplicates() if layer in wanted]
        how = self.beside.distance, self.beside.comparison
        return channel_fits(self.watched, layers, self.regions, asked or Channels(), *how)

    @cached_property
    def likeness(self) -> dict[tuple[str, str], Array]:
        """How like the RDM of each channel is to that of a region, by layer and region."""
        return {key: scores for fits in self.channel_fits.values() for key, scores in fits.likeness().items()}

    def require_regions(self) -> None:
        """Raise a `UserError` if units are wanted that are like a region without an RDM."""
        wanted = {region for regions in self._like.values() for region in regions}
        there = [] if self.regions is None else list(dict.fromkeys(self.regions.table["region"].astype(str)))
        if missing := sorted(wanted - {*there}):
            which = f"there are {listed(there)}" if there else "there are none with one RDM of each subject"
            raise UserError(f"`like: {missing[0]}` is no region whose RDM channels can be compared with; {which}.")

    @cached_property
    def units(self) -> list[Unit]:
        """The units that are looked at."""
        return chosen_units(self.watched, self.settings, self.peaks, self.likeness)


def looked_at(look: Look) -> Iterator[tuple[str, Found]]:
    """Yield each part of what is asked, and what it finds; the pictures that are shown come last.

    Raises
    ------
    UserError
        If there is one picture alone, a unit that is named is dead, or units are to be like a region that is not there.
    """
    look.watched.require_several()
    look.require_regions()
    shown: set[int] = set()
    for part, find in PARTS.items():
        found = find(look)
        if found is not None:
            shown |= found.pictures
            yield part, found
    yield "pictures", shown_pictures(look.watched, shown)


def _units(look: Look) -> Found:
    return Found({"units": unit_table(look.watched, look.units, look.peaks)})


def _responses(look: Look) -> Found:
    """Keep the highest responses of all channels, by which networks are compared."""
    arrays = {f"peaks_{k}": look.peaks[layer].values for k, layer in enumerate(look.layers)}
    return Found({}, {"layers": np.array(look.layers, dtype=str), **arrays})


def _preferred(look: Look) -> Found | None:
    settings = look.settings.preferred
    return None if settings is None else preferred(look.watched, look.units, look.peaks, settings)


def _filters(look: Look) -> Found | None:
    return filters(look.watched) if look.settings.filters else None


def _fields(look: Look) -> Found | None:
    settings = look.settings.fields
    return None if settings is None else receptive(look.watched, look.units, look.peaks, settings)


def _heat_maps(look: Look) -> Found | None:
    return heat_maps(look.watched, look.settings)


def _channels(look: Look) -> Found | None:
    if look.settings.channels is None or look.regions is None:
        return None
    return channels(look.watched, look.channel_fits, look.beside.distance, look.beside.comparison)


PARTS: dict[str, Callable[[Look], Found | None]] = {
    "units": _units,
    "responses": _responses,
    "preferred": _preferred,
    "filters": _filters,
    "fields": _fields,
    "heat_maps": _heat_maps,
    "channels": _channels,
}
"""What finds each part, in order; nothing where it is not asked for."""
