"""Scores over sensors and time in files of MNE-Python, which draws them as topographies."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rsa.core import Array, ScoreMap
from rsa.errors import UserError
from rsa.files.io import writing
from rsa.names import label_of

if TYPE_CHECKING:
    import mne

__all__ = ["evoked_path", "read_info", "write_evokeds"]

SAME_STEP_S = 1e-5
"""Steps between times that differ by less are even: times of epochs are rounded to 1e-6 s."""


def evoked_path(folder: str | Path, whose: str, statistic: str = "") -> Path:
    """Return the path of the scores of a subject ("sub-01") or of a test of the group.

    Examples
    --------
    >>> evoked_path("r", "sub-01").as_posix(), evoked_path("r", "group", "mean").as_posix()
    ('r/sub-01_scores_ave.fif', 'r/group_stat-mean_scores_ave.fif')
    """
    test = f"_stat-{label_of(statistic)}" if statistic else ""
    return Path(folder) / f"{whose}{test}_scores_ave.fif"


def write_evokeds(path: str | Path, scores: ScoreMap, info: "mne.Info", *, n_averaged: int = 1) -> None:
    """Write scores as evoked responses of MNE, one for each reference: `mne.read_evokeds` reads them.

    The numbers are scores, although MNE takes them for V, T or T/m. The comment of each is its model and layer; letters
    beyond Latin-1 are written as MNE can keep them. Projectors and filters of the signal are left out.

    Parameters
    ----------
    path : path
        Where to; ends with -ave.fif or _ave.fif.
    scores : ScoreMap
        Over sensors, of one statistic and evenly spaced times; rows reference by reference, times ascending.
    info : mne.Info
        Where the sensors are; may have more of them.
    n_averaged : int
        Number of subjects.

    Raises
    ------
    UserError
        If the name has another ending, or times are not evenly spaced.
    """
    import mne

    if not str(path).endswith(("-ave.fif", "_ave.fif")):
        raise UserError(f"Evoked responses are written to files that end with -ave.fif or _ave.fif, not to {path}.")
    assert scores.regions is not None, "the names of the sensors"
    table, evokeds = scores.table, []
    times_s = np.unique(table["time_s"].to_numpy(dtype=float))
    header = _header(info, list(scores.regions["sensor"]), _rate_hz(times_s))
    for labels, rows in table.groupby(["model", "layer"], sort=False):
        values = scores.values[rows.index].T.astype(np.float64)  # (n_sensors, n_times)
        comment = " ".join(filter(None, labels))
        look = {"tmin": float(times_s[0]), "comment": comment, "nave": n_averaged, "verbose": "error"}
        evokeds.append(mne.EvokedArray(values, header, kind="average", **look))
    with writing(path) as temporary, mne.use_log_level("error"):
        mne.write_evokeds(temporary, evokeds, overwrite=True)


def _rate_hz(times_s: Array) -> float:
    """Return the rate of evenly spaced times; 1 of a single one."""
    steps_s = np.diff(times_s)
    if not len(steps_s):
        return 1.0
    if np.ptp(steps_s) > SAME_STEP_S:
        raise UserError("Evoked responses are of evenly spaced times; these are not.")
    return float(1 / steps_s.mean())


def _header(info: "mne.Info", names: list[str], rate_hz: float) -> "mne.Info":
    """Describe the sensors of these names and nothing else: places, types, and how the head lay."""
    import mne

    chosen = mne.pick_info(info, [info["ch_names"].index(name) for name in names], verbose="error")
    header = mne.create_info(names, rate_hz, chosen.get_channel_types(), verbose="error")
    for channel, original in zip(header["chs"], chosen["chs"], strict=True):
        channel.update(original)
    header["dev_head_t"] = chosen["dev_head_t"]
    return header


def read_info(path: str | Path) -> "mne.Info":
    """Return where the sensors of such a file are."""
    import mne

    return mne.io.read_info(path, verbose="error")
