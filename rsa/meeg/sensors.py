"""A searchlight over sensors and time: how well references fit the RDMs of every sensor and its neighbours (M/EEG)."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from rsa.comparisons import COMPARISONS
from rsa.core import NO_DATA, TOO_SMALL, Array, Epochs, RDMs, ScoreMap, align, require_enough
from rsa.errors import UserError
from rsa.inference.group import GROUP_TESTS, require_against_0, require_same_maps
from rsa.meeg.timecourse import Frames, usable_channels, view_of
from rsa.registry import pick
from rsa.searchlight import in_threads, reasons

__all__ = ["GROUP", "SENSOR_PEAK_COLUMNS", "combine_sensors", "sensor_peaks", "sensor_searchlight"]

SENSOR_PEAK_COLUMNS = {
    "subject": "Label of the subject; group: all of them",
    "model": "Network, or name of the reference",
    "layer": "Layer of the network",
    "statistic": "What the score is",
    "sensor": "Name of the sensor with the highest score",
    "time_s": "Time of the highest score, at onset or later, s",
    "score": "Score there",
    "n_sensors": "Number of usable sensors in that neighbourhood; none for the group",
}

GROUP = "group"
"""What stands for the subject where scores are those of all."""

AT_ONCE = 8
"""The most times whose RDMs are held together, for all sensors; more are no faster, fewer move a bar more often."""


def sensor_searchlight(
    epochs: Epochs,
    neighbours: Sequence[Array],
    references: RDMs,
    *,
    distance: str = "correlation",
    folds: int | None = None,
    n_repeats: int = 20,
    whiten: str | None = None,
    window_s: float = 0.0,
    seed: int = 0,
    comparison: str = "spearman",
    min_sensors: int = 3,
    n_threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> ScoreMap:
    """Compare the RDMs of every sensor with its neighbours, at every time, with every reference RDM.

    The RDMs of a neighbourhood are what `rsa.meeg.timecourse.rdm_movie` makes of its channels alone, so whitening is by
    the covariance of their own noise.

    Parameters
    ----------
    epochs : Epochs
        Trials of two conditions or more.
    neighbours : sequence of arrays of int
        For each channel the positions of the channels around it, and its own, ascending.
    references : RDMs
        Over the same conditions, in any order; the table has `model` and `layer`.
    distance, folds, n_repeats, whiten, window_s, seed
        As in `rsa.meeg.timecourse.rdm_movie`.
    comparison : str
        A key of `COMPARISONS`.
    min_sensors : int
        Neighbourhoods with fewer usable channels have no score.
    n_threads : int
        Number of chunks of times at once; changes no result.
    progress : callable, optional
        Called with the number of times that were done since the last call.

    Returns
    -------
    ScoreMap
        ``values`` of shape (n_references * n_times, n_channels), reference by reference with ascending times; the table
        has `model`, `layer`, `time_s` and `statistic`, and `regions` has `sensor` and `type`. `n_members` counts usable
        channels. A channel that is the same in all trials and times (or has no noise, if that is used) has no score and
        is in no neighbourhood; `reason` says why there is no score at any time.

    Raises
    ------
    UserError
        As `rdm_movie`; if conditions differ, the neighbourhoods are not as many as the channels, or none has
        `min_sensors`.
    """
    require_enough(epochs.conditions, "the epochs")
    likeness = pick(COMPARISONS, comparison, "comparison")
    frames = Frames.of(epochs, distance, folds, n_repeats, window_s, seed)
    expected = likeness.prepare(align(epochs.conditions, references, "epochs", "reference RDMs").values)
    members = _members(epochs, neighbours, whiten)
    centres = _centres(members, min_sensors)
    with threadpool_limits(1, "blas"):  # small matrices: more threads wait for each other
        views = [view_of(epochs, members[sensor], whiten) for sensor in centres]

    def work(times: range) -> tuple[Array, Array]:
        prepared = likeness.prepare(frames.rdms(times, views).reshape(-1, frames.n_pairs))
        scores = likeness.score(expected, prepared)  # (n_references, n_centres * n_times)
        shape = (len(views), len(times))
        return scores.reshape(-1, *shape), reasons(scores, prepared).reshape(shape)

    found = []
    for times, scored in in_threads(work, frames.chunks(len(views), AT_ONCE), n_threads):
        found.append(scored)
        if progress is not None:
            progress(len(times))
    scores, why = (np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))
    values = np.full((len(references), len(epochs.times_s), len(members)), np.nan, dtype=np.float32)
    values[:, :, centres] = np.swapaxes(scores, 1, 2)
    table = _rows(references, epochs.times_s, comparison)
    sensors = epochs.channels.rename(columns={"name": "sensor"})[["sensor", "type"]]
    sizes = np.array([len(around) for around in members])
    reason = _reasons(sizes, centres, why)
    return ScoreMap(values.reshape(len(table), -1), table, regions=sensors, n_members=sizes, reason=reason)


def _members(epochs: Epochs, neighbours: Sequence[Array], whiten: str | None) -> list[Array]:
    """Return the usable channels of each neighbourhood; none where the channel itself is not usable."""
    if len(neighbours) != len(epochs.channels):
        raise UserError(f"{len(epochs.channels)} channels have as many neighbourhoods, not {len(neighbours)}.")
    is_usable = np.zeros(len(neighbours), dtype=bool)
    is_usable[usable_channels(epochs, whiten)] = True
    chosen = [np.unique(np.asarray(around, dtype=int)) for around in neighbours]
    return [around[is_usable[around] & is_usable[sensor]] for sensor, around in enumerate(chosen)]


def _centres(members: Sequence[Array], min_sensors: int) -> list[int]:
    """Return the channels whose neighbourhoods are large enough."""
    sizes = [len(around) for around in members]
    centres = [sensor for sensor, size in enumerate(sizes) if size >= max(min_sensors, 1)]
    if not centres:
        raise UserError(
            f"No neighbourhood has {min_sensors} usable sensors; the largest has {max(sizes)}. Ask for fewer "
            "(sensors.min_sensors), or pick more channels."
        )
    return centres


def _reasons(sizes: Array, centres: Sequence[int], why: Array) -> Array:
    """Say for each channel whether it has a score at any time; `why` is the reason of each centre at each time."""
    reason = np.where(sizes > 0, TOO_SMALL, NO_DATA).astype(np.int8)
    reason[list(centres)] = why.min(axis=1)
    return reason


def _rows(references: RDMs, times_s: Array, comparison: str) -> pd.DataFrame:
    """Describe a row for each reference and time, reference by reference."""
    labels = references.table[["model", "layer"]].fillna("").astype(str)
    rows = labels.loc[np.repeat(labels.index, len(times_s))].reset_index(drop=True)
    return rows.assign(time_s=np.tile(times_s, len(labels)), statistic=comparison)


# ------------------------------------------------------------------------------------------- subjects


def combine_sensors(
    subjects: Sequence[ScoreMap], tests: Sequence[str] = tuple(GROUP_TESTS), *, distance: str = "unknown"
) -> ScoreMap:
    """Bring the scores of subjects together, sensor by sensor, over the sensors that all of them have.

    Parameters
    ----------
    subjects : sequence of ScoreMap
        From `sensor_searchlight`: the same references and times for every subject.
    tests : sequence of str
        Keys of `GROUP_TESTS`.
    distance : str
        As in `rsa.inference.group.combine`.

    Returns
    -------
    ScoreMap
        The rows of each test, which is the `statistic`, one after the other; sensors in the order of the first subject.
        NaN where a subject has no score; `n_members` is the number of subjects with a score.

    Raises
    ------
    UserError
        If there are fewer than 2 subjects, they share no sensor, their scores are not of the same references and
        times, or a test is against 0 and unrelated RDMs score above it.
    """
    if len(subjects) < 2:
        raise UserError(f"A group needs 2 subjects or more, not {len(subjects)}.")
    require_same_maps(subjects)
    require_against_0(tests, subjects[0], distance)
    names = [_names(scores) for scores in subjects]
    shared = [name for name in names[0] if all(name in others for others in names)]
    if not shared:
        raise UserError("The subjects share no sensor; a group needs sensors of the same names.")
    places = [[own.index(name) for name in shared] for own in names]
    values = np.stack([scores.values[:, place] for scores, place in zip(subjects, places, strict=True)])
    values = values.astype(np.float64)  # (n_subjects, n_maps, n_shared)
    table = subjects[0].table.drop(columns="subject", errors="ignore")
    n_defined = np.isfinite(values).any(axis=1).sum(axis=0)
    sensors = subjects[0].regions
    assert sensors is not None, "the names come from there"
    return ScoreMap(
        np.concatenate([pick(GROUP_TESTS, test, "group test").compute(values) for test in tests]),
        pd.concat([table.assign(statistic=test) for test in tests], ignore_index=True),
        regions=sensors.iloc[places[0]].reset_index(drop=True),
        n_members=n_defined,
    )


def _names(scores: ScoreMap) -> list[str]:
    """Return the names of the sensors."""
    if scores.regions is None or "sensor" not in scores.regions:
        raise UserError("These scores are not over sensors.")
    return [str(name) for name in scores.regions["sensor"]]


def sensor_peaks(maps: Sequence[ScoreMap]) -> pd.DataFrame:
    """List where and when each reference scores highest, from onset on.

    Parameters
    ----------
    maps : sequence of ScoreMap
        Scores of subjects, with the column `subject`, or of the group, of which the mean is looked at: t of few
        subjects is highest where they happen to agree.

    Returns
    -------
    DataFrame
        A row per subject and reference, with the columns `SENSOR_PEAK_COLUMNS`; no sensor, time and score where none
        is defined.
    """
    rows = []
    for scores in maps:
        table = scores.table if "subject" in scores.table else _of_mean(scores.table)
        keys = list(SENSOR_PEAK_COLUMNS)[:4]
        for labels, times in table[table["time_s"] >= 0].groupby(keys, sort=False):
            rows.append(dict(zip(keys, labels, strict=True)) | _highest(scores, times.index.to_numpy()))
    return pd.DataFrame(rows, columns=list(SENSOR_PEAK_COLUMNS))


def _of_mean(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["statistic"] == "mean"].assign(subject=GROUP)


def _highest(scores: ScoreMap, rows: Array) -> dict[str, object]:
    """Return the place and the time of the highest score of some rows."""
    values = scores.values[rows]
    if not np.isfinite(values).any():
        return {}
    row, column = np.unravel_index(np.nanargmax(values), values.shape)
    return {
        "sensor": _names(scores)[column],
        "time_s": scores.table["time_s"].iloc[rows[row]],
        "score": values[row, column],
        "n_sensors": scores.n_members[column] if "subject" in scores.table and scores.n_members is not None else None,
    }
