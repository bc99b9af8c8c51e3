"""A searchlight over sensors and time: how well references fit the RDMs of every sensor and its neighbours (M/EEG)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from rsa.core import (
    NO_DATA,
    REFERENCE,
    TOO_SMALL,
    Array,
    Epochs,
    ScoreMap,
    difference_of_conditions,
    pairs_in_order,
    require_enough,
)
from rsa.errors import UserError
from rsa.inference.contrasts import Contrast, with_contrasts
from rsa.inference.designs import Design
from rsa.inference.graph import graph_of
from rsa.inference.group import GROUP_TESTS, require_against_0, require_same_maps
from rsa.inference.subjects import SubjectTest, flippable_rows, maps_of, over_subjects
from rsa.inference.tally import Correction, Tested
from rsa.measures import Measure
from rsa.meeg.timecourse import Frames, MovieSettings, View, usable_channels, view_of
from rsa.registry import pick
from rsa.searchlight import RunSettings, fields_as_keywords, scan_sources
from rsa.significance import primary_name

__all__ = ["GROUP", "SENSOR_PEAK_COLUMNS", "combine_sensors", "sensor_peaks", "sensor_searchlight", "sensor_tests"]

SENSOR_PEAK_COLUMNS = {
    "subject": "Label of the subject; group: all of them",
    "model": "Network, or name of the reference",
    "layer": "Layer of the network",
    "statistic": "What the score is",
    "sensor": "Name of the sensor with the highest score",
    "time_s": "Time of the highest score, at onset or later, s",
    "score": "Score there",
    "p_corrected": "p there of the group, family-wise corrected, if the study has inference over subjects",
    "n_sensors": "Number of usable sensors in that neighbourhood; none for the group",
}

GROUP = "group"
"""What stands for the subject where scores are those of all."""

MOST_TIMES = 8
"""The most times whose RDMs are held together, for all sensors; more are no faster, fewer move a bar more often."""


@fields_as_keywords(movie=MovieSettings, run=RunSettings)
def sensor_searchlight(
    epochs: Epochs,
    neighbours: Sequence[Array],
    measure: Measure,
    *,
    movie: MovieSettings = MovieSettings(),
    min_sensors: int = 3,
    run: RunSettings = RunSettings(),
) -> ScoreMap:
    """Measure the RDMs of every sensor with its neighbours, at every time: a searchlight over sensors.

    The RDMs of a neighbourhood are what `rsa.meeg.timecourse.rdm_movie` makes of its channels alone, so whitening is by
    the covariance of their own noise.

    Parameters
    ----------
    epochs : Epochs
        Trials of two conditions or more.
    neighbours : sequence of arrays of int
        For each channel the positions of the channels around it, and its own, ascending.
    measure : Measure
        A comparison with references (`rsa.measures.comparison_measure`) or another measure within a subject, over the
        same conditions in any order, without times of its own.
    movie : MovieSettings
        How RDMs are made.
    min_sensors : int
        Neighbourhoods with fewer usable channels have no score.
    run : RunSettings
        Threads, and progress in times.

    Returns
    -------
    ScoreMap
        ``values`` of shape (n_rows * n_times, n_channels), row by row of the measure with ascending times; the table
        has `model`, `layer`, `time_s` and `statistic`, and `regions` has `sensor` and `type`. `n_members` counts usable
        channels. A channel that is the same in all trials and times (or has no noise, if that is used) has no score and
        is in no neighbourhood; `reason` says why there is no score at any time.

    Raises
    ------
    UserError
        As `rdm_movie`; if conditions differ, the measure has times or needs other subjects, the neighbourhoods are not
        as many as the channels, or none has `min_sensors`.
    """
    require_enough(epochs.conditions, "the epochs")
    if problem := difference_of_conditions(epochs.conditions, measure.conditions, "epochs", "reference RDMs"):
        raise UserError(problem)
    if measure.second != "same" or "time_s" in measure.table:
        raise UserError("A searchlight over sensors measures within a subject, by references without time.")
    frames, members = Frames.of(epochs, movie), _members(epochs, neighbours, movie.whiten)
    centres = _centres(members, min_sensors)
    with threadpool_limits(1, "blas"):  # small matrices: more threads wait for each other
        views = [view_of(epochs, members[sensor], movie.whiten) for sensor in centres]
    order = pd.Index(epochs.conditions).get_indexer(list(measure.conditions))
    source = _SensorRdms(frames, views, pairs_in_order(order))
    names = [str(epochs.channels["name"].iloc[sensor]) for sensor in centres]
    builder = _TimeCourses(len(measure.table), epochs.times_s, names)
    scan_sources([source], lambda rdms: measure.score(rdms, rdms), builder, run, MOST_TIMES)
    values = np.full((len(measure.table), len(epochs.times_s), len(members)), np.nan, dtype=np.float32)
    values[:, :, centres] = builder.scores
    table = _rows(measure.table, epochs.times_s)
    sensors = epochs.channels.rename(columns={"name": "sensor"})[["sensor", "type"]]
    sizes = np.array([len(around) for around in members])
    reason = _reasons(sizes, centres, builder.reason)
    return ScoreMap(values.reshape(len(table), -1), table, regions=sensors, n_members=sizes, reason=reason)


@dataclass(frozen=True, eq=False)
class _SensorRdms:
    """The RDMs of all neighbourhoods of sensors at some times, for `scan_sources`: those of one after the other."""

    frames: Frames
    views: Sequence[View]
    pairs: Array
    """The pair of conditions of the epochs that stands at each pair of the measure, shape (n_pairs,)."""

    def chunks(self, size: int) -> list[range]:
        """Cut the times into chunks, of `size` at most."""
        return self.frames.chunks(len(self.views), size)

    def rdms(self, times: range) -> Array:
        """Return the RDMs of some times, shape (n_neighbourhoods * n_times, n_pairs)."""
        rdms = self.frames.rdms(times, self.views).reshape(-1, self.frames.n_pairs)
        in_order = bool((self.pairs == np.arange(len(self.pairs))).all())
        return rdms if in_order else rdms[:, self.pairs]


class _TimeCourses:
    """The scores of neighbourhoods of sensors, put at their times, for `scan_sources`."""

    def __init__(self, n_rows: int, times_s: Array, names: Sequence[str]) -> None:
        self.times_s, self.names = times_s, names
        self.scores = np.full((n_rows, len(times_s), len(names)), np.nan, dtype=np.float32)
        self.reason = np.zeros((len(names), len(times_s)), dtype=np.int8)

    def columns_of(self, times: range) -> slice:
        """Return where the scores of some times are."""
        return slice(times.start, times.stop)

    def add(self, times: range, scores: Array, reason: Array) -> None:
        """Put the scores of some times, shape (n_rows, n_neighbourhoods * n_times), where they belong."""
        shape = (len(self.names), len(times))
        self.scores[:, self.columns_of(times)] = np.swapaxes(scores.reshape(-1, *shape), 1, 2)
        self.reason[:, self.columns_of(times)] = reason.reshape(shape)

    def name_of(self, time: int) -> str:
        """Say in a message which time it is."""
        return f"{self.times_s[time]:g} s"


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


def _rows(table: pd.DataFrame, times_s: Array) -> pd.DataFrame:
    """Describe a row for each row of a measure and time, row by row."""
    labels = table[["model", "layer", "statistic"]].fillna("").astype(str)
    labels["role"] = table.get("role", REFERENCE)
    rows = labels.loc[np.repeat(labels.index, len(times_s))].reset_index(drop=True)
    rows.insert(2, "time_s", np.tile(times_s, len(labels)))
    return rows


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
    values, shared = _of_shared_sensors(subjects)
    require_against_0(tests, subjects[0], distance)
    table = subjects[0].table.drop(columns="subject", errors="ignore")
    return ScoreMap(
        np.concatenate([pick(GROUP_TESTS, test, "group test").compute(values) for test in tests]),
        pd.concat([table.assign(statistic=test) for test in tests], ignore_index=True),
        regions=_sensors(subjects[0]).iloc[shared].reset_index(drop=True),
        n_members=np.isfinite(values).any(axis=1).sum(axis=0),
    )


def sensor_tests(
    subjects: Sequence[ScoreMap],
    neighbours: Sequence[Array],
    correction: Correction,
    *,
    statistic: str = "t",
    n_permutations: int = 10_000,
    seed: int = 0,
    design: Design | None = None,
    contrasts: Sequence[Contrast] = (),
    cluster_p: float = 0.001,
    enhance: str | None = None,
    tested: bool = True,
    distance: str = "unknown",
    n_threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> tuple[ScoreMap, SubjectTest, Tested]:
    """Test the scores of sensors over subjects: statistics and p values, over the sensors that all subjects have.

    Parameters
    ----------
    subjects : sequence of ScoreMap
        From `sensor_searchlight`: the same references and times for every subject.
    neighbours : sequence of arrays of int
        For each sensor of the first subject the positions of those around it, as in `sensor_searchlight`.
    correction : Correction
        How p values are corrected; its graph, if it has one, is replaced by that of the shared sensors. With "times" in
        its family, clusters go through sensors and times.
    statistic, n_permutations, seed, design, cluster_p, n_threads, progress
        As in `rsa.inference.subjects.over_subjects`.
    contrasts : sequence of Contrast
        Differences of references that are tested as well.
    enhance : str, optional
        A key of `rsa.inference.enhance.ENHANCEMENTS`; by default that of the correction.
    tested, distance
        As in `rsa.inference.subjects.why_not_flipped`.

    Returns
    -------
    scores : ScoreMap
        Rows of role `TEST`: for each `statistic` those of all references and times. Of groups and contrasts,
        "difference" is the first.
    test : SubjectTest
        What was tested.
    tested : Tested
        Its p values.

    Raises
    ------
    UserError
        If the subjects are no group (as `combine_sensors`), there are not as many neighbourhoods as sensors, no score
        can be tested by flips; as `contrast_rows` and `over_subjects`.
    """
    values, shared = _of_shared_sensors(subjects)
    if len(neighbours) != len(_sensors(subjects[0])):
        raise UserError(f"{len(_sensors(subjects[0]))} sensors have as many neighbourhoods, not {len(neighbours)}.")
    rows = flippable_rows(subjects[0].table, distance, tested=tested)
    table = subjects[0].table.iloc[rows].drop(columns="subject", errors="ignore").reset_index(drop=True)
    design = design or Design(len(subjects))
    z, effect, table = with_contrasts(values[:, rows], table, contrasts, design)
    place = np.full(len(neighbours), -1)
    place[shared] = np.arange(len(shared))
    around = [place[np.asarray(neighbours[sensor], dtype=int)] for sensor in shared]
    graph = graph_of([one[one >= 0] for one in around], "neighbouring sensors")
    test, result = over_subjects(
        z,
        table,
        replace(correction, graph=graph, enhance=enhance or correction.enhance),
        statistic=statistic,
        n_permutations=n_permutations,
        seed=seed,
        design=design,
        cluster_p=cluster_p,
        n_threads=n_threads,
        progress=progress,
    )
    numbers, labels = maps_of(test, result, effect, table)
    sensors = _sensors(subjects[0]).iloc[shared].reset_index(drop=True)
    n_members = np.isfinite(z).any(axis=1).sum(axis=0)
    return ScoreMap(numbers, labels, regions=sensors, n_members=n_members), test, result


def _of_shared_sensors(subjects: Sequence[ScoreMap]) -> tuple[Array, Array]:
    """Return the scores at the sensors that all subjects have, and where these are in those of the first.

    Returns
    -------
    values : array, shape (n_subjects, n_maps, n_shared), float64
    shared : array of int, shape (n_shared,)
    """
    if len(subjects) < 2:
        raise UserError(f"A group needs 2 subjects or more, not {len(subjects)}.")
    require_same_maps(subjects)
    names = [_names(scores) for scores in subjects]
    shared = [name for name in names[0] if all(name in others for others in names)]
    if not shared:
        raise UserError("The subjects share no sensor; a group needs sensors of the same names.")
    places = [[own.index(name) for name in shared] for own in names]
    values = [scores.values[:, place] for scores, place in zip(subjects, places, strict=True)]
    return np.stack(values).astype(np.float64), np.array(places[0])


def _sensors(scores: ScoreMap) -> pd.DataFrame:
    """Return the table of the sensors."""
    if scores.regions is None or "sensor" not in scores.regions:
        raise UserError("These scores are not over sensors.")
    return scores.regions


def _names(scores: ScoreMap) -> list[str]:
    """Return the names of the sensors."""
    return [str(name) for name in _sensors(scores)["sensor"]]


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
        primary = primary_name(scores.table["statistic"])
        table = scores.table if "subject" in scores.table else _of_mean(scores.table)
        keys = list(SENSOR_PEAK_COLUMNS)[:4]
        for labels, times in table[table["time_s"] >= 0].groupby(keys, sort=False):
            found = dict(zip(keys, labels, strict=True)) | _highest(scores, times.index.to_numpy())
            rows.append(found if primary is None else found | _p_there(scores, primary, found))
    return pd.DataFrame(rows, columns=list(SENSOR_PEAK_COLUMNS))


def _p_there(scores: ScoreMap, primary: str, peak: dict[str, object]) -> dict[str, object]:
    """Return the corrected p at a peak."""
    table = scores.table
    same = (table["statistic"] == primary) & (table["model"] == peak["model"]) & (table["layer"] == peak["layer"])
    rows = np.flatnonzero(same & (table["time_s"] == peak.get("time_s")))
    if not len(rows):
        return {}
    return {"p_corrected": float(10.0 ** -scores.values[rows[0], _names(scores).index(str(peak["sensor"]))])}


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
