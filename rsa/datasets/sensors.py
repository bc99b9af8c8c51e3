"""Which sensors of M/EEG are neighbours, by MNE, and what is wrong with where they are."""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rsa.core import Array
from rsa.errors import UserError, listed
from rsa.settings import by_subject

if TYPE_CHECKING:
    import mne

__all__ = ["neighbours_of", "problems_of_sensors"]

TYPES = ("eeg", "mag", "grad")
"""Types of channels whose neighbours MNE knows."""

SAME_PLACE_M = 1e-4
"""Sensors this close are at one place: both planar gradiometers of a pair."""


def neighbours_of(info: "mne.Info") -> list[Array]:
    """Find the neighbours of every channel, by `mne.channels.find_ch_adjacency`.

    They are those of MNE's table for the MEG system, or else follow from a triangulation of the places. Planar
    gradiometers that are at one place have the same neighbours, all pairs that have a part in those of either.

    Parameters
    ----------
    info : mne.Info
        Channels of one type, with their places.

    Returns
    -------
    list of arrays of int
        For each channel the positions of the channels around it and its own, ascending.

    Raises
    ------
    UserError
        If there are several types of channels or one without neighbours, fewer than 3 channels, a channel without a
        place, or MNE does not know the names of the channels.
    """
    types = list(dict.fromkeys(info.get_channel_types()))
    if len(types) > 1:
        raise UserError(
            f"a searchlight over sensors is of one type of channels, and there are {listed(types)}; choose one by "
            f"`picks`, such as [{types[0]}]."
        )
    if types[0] not in TYPES:
        raise UserError(f"a searchlight over sensors is of channels of type {listed(list(TYPES))}, not {types[0]!r}.")
    if len(info["ch_names"]) < 3:
        raise UserError(f"a searchlight over sensors needs 3 or more, not {len(info['ch_names'])}; see `picks`.")
    places_m = np.array([channel["loc"][:3] for channel in info["chs"]])  # (n_channels, 3)
    without = ~np.isfinite(places_m).all(axis=1) | (places_m == 0).all(axis=1)
    if without.any():
        missing = listed(list(np.array(info["ch_names"])[without]))
        raise UserError(
            f"a searchlight over sensors needs their places, and the files have none of {missing}; set a montage with "
            "MNE (epochs.set_montage) and save them again, or leave these channels out by `picks`."
        )
    adjacent = _adjacent(info, types[0])
    shares = np.linalg.norm(places_m[:, None] - places_m, axis=2) < SAME_PLACE_M
    together = shares @ adjacent @ shares  # (n_channels, n_channels) of bool
    return [np.flatnonzero(row) for row in together]


def _adjacent(info: "mne.Info", kind: str) -> Array:
    """Return which channels MNE calls neighbours, (n_channels, n_channels) of bool, each one of itself."""
    import mne

    try:
        with warnings.catch_warnings(), mne.use_log_level("error"):
            warnings.simplefilter("ignore")
            adjacency, known = mne.channels.find_ch_adjacency(info, kind)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"MNE finds no neighbours of the sensors: {' '.join(str(error).split())[:200]}") from error
    place = {str(name): i for i, name in enumerate(known)}
    names = [name if name in place else _short(name) for name in info["ch_names"]]
    unknown = [name for name in names if name not in place]
    if unknown:
        raise UserError(
            f"MNE's table of neighbours has names such as {str(known[0])!r}, and not {listed(unknown)}; rename the "
            "channels (epochs.rename_channels) and save them again."
        )
    rows = [place[name] for name in names]
    return np.asarray(adjacency.toarray()[np.ix_(rows, rows)].astype(bool) | np.eye(len(rows), dtype=bool))


def _short(name: str) -> str:
    """Leave out what systems add to the name of a sensor: 'MLC11-2908' is 'MLC11'."""
    return name.split("-")[0].replace(" ", "")


def problems_of_sensors(infos: "Mapping[str, mne.Info]", min_sensors: int) -> list[str]:
    """Say what keeps sensors from having neighbourhoods of `min_sensors`, or subjects from being a group.

    `infos` has the channels of each subject, with their places. Problems are lines, as in `AnyDataset`.
    """
    found = []
    for subject, info in infos.items():
        try:
            largest = max(map(len, neighbours_of(info)))
        except UserError as error:
            found.append((subject, str(error)))
            continue
        if largest < min_sensors:
            text = f"sensors.min_sensors is {min_sensors}, and no sensor has more than {largest - 1} neighbours."
            found.append((subject, text))
    return by_subject(found) or _problems_of_sharing([list(info["ch_names"]) for info in infos.values()])


def _problems_of_sharing(names: Sequence[list[str]]) -> list[str]:
    """Say that there is no sensor that all subjects have."""
    if set(names[0]).intersection(*names[1:]):
        return []
    return ["the subjects share no sensor, so there is no group; give sensors of all subjects the same names."]
