"""Reference RDMs against M/EEG RDMs at every time, and the RDMs of all times against each other."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from rsa.comparisons import COMPARISONS
from rsa.core import Array, RDMs, align, pairs_in_order
from rsa.errors import UserError
from rsa.inference.permutation import ConditionTest, Places
from rsa.inference.tally import Correction, Tested
from rsa.measures import Measure, aligned, comparison_measure, fitted_to
from rsa.rdm import measures_of, noise_ceiling, places_over_time
from rsa.registry import pick
from rsa.rows import require_columns, require_count, require_once
from rsa.searchlight import RunSettings

__all__ = [
    "LAYER_TIME_COLUMNS",
    "generalisation_table",
    "generalise",
    "highest_over_times",
    "layer_time",
    "measured_over_time",
    "permuted_over_time",
    "relabelled",
    "with_ceilings",
]

LAYER_TIME_COLUMNS = {
    "subject": "Label of the subject",
    "model": "Network, or name of the reference",
    "layer": "Layer of the network",
    "time_s": "Time after onset, s",
    "statistic": "What the score is",
    "score": "Similarity of the subject's RDM at this time to the reference RDM",
    "ceiling_lower": "Noise ceiling at this time over subjects, lower bound (leave one subject out)",
    "ceiling_upper": "Noise ceiling at this time over subjects, upper bound (mean of all subjects; tau-a: majorities)",
}


def layer_time(movies: RDMs, references: RDMs, comparison: str) -> pd.DataFrame:
    """Score the RDMs of every subject and time against all references, matched by condition label.

    Parameters
    ----------
    movies : RDMs
        One per subject and time: the table has `subject` and `time_s` (s after onset).
    references : RDMs
        The table has `model` and `layer`; `subject` names whose a reference is, if it is not everybody's.
    comparison : str
        A key of `COMPARISONS`.

    Returns
    -------
    DataFrame
        A row per subject, reference and time (ascending), with the columns `LAYER_TIME_COLUMNS`. A score is NaN where
        an RDM has NaN or is constant. The noise ceiling is `rsa.rdm.noise_ceiling` at each time; NaN for one subject.

    Raises
    ------
    UserError
        If a column is missing, conditions or the times of subjects differ, or an RDM or a reference comes twice.
    """

    def measure_of(own: RDMs) -> Measure:
        return comparison_measure(align(movies.conditions, own, "RDM movies", "reference RDMs"), comparison)

    return with_ceilings(measured_over_time(movies, references, measure_of), movies, comparison)


def with_ceilings(table: pd.DataFrame, movies: RDMs, comparison: str) -> pd.DataFrame:
    """Add the noise ceiling at each time to a table of `measured_over_time`."""
    _, times_s, places = places_over_time(movies)
    ceilings = np.array([noise_ceiling(movies.subset(rows), comparison) for rows in places.T])  # (n_times, 2)
    time = np.searchsorted(times_s, table["time_s"])
    return table.assign(ceiling_lower=ceilings[time, 0], ceiling_upper=ceilings[time, 1])


def measured_over_time(movies: RDMs, references: RDMs, measure_of: Callable[[RDMs], Measure]) -> pd.DataFrame:
    """Measure the RDMs of every subject and time: the table of `layer_time`, without noise ceilings.

    Parameters
    ----------
    movies, references : RDMs
        As for `layer_time`.
    measure_of : callable
        What is measured with some references, without times of its own.

    Raises
    ------
    UserError
        As `layer_time`; and if the measure is of references over time.
    """
    subjects, times_s, places = places_over_time(movies)

    def checked(own: RDMs) -> Measure:
        require_columns(own.table, ["model", "layer"], "references")
        require_once(own.table[["model", "layer"]].fillna("").astype(str), "references")
        return measure_of(own)

    measures = list(measures_of(references, subjects, checked).values())
    measure = measures[0]
    if "time_s" in measure.table:
        raise UserError("RDMs over time are measured by references without time; leave the M/EEG RDMs out of them.")
    values = aligned(measure, movies, "RDM movies")
    seen = fitted_to(measure, values, places.T)
    scores = np.stack([own.score(values[rows], seen[rows]) for own, rows in zip(measures, places, strict=True)])
    n_subjects, n_rows, n_times = scores.shape
    row = np.tile(np.repeat(np.arange(n_rows), n_times), n_subjects)
    labels = measure.table[["model", "layer", "statistic"]].fillna("").astype(str)
    return pd.DataFrame(
        {
            "subject": np.repeat(subjects, n_rows * n_times),
            "model": labels["model"].to_numpy()[row],
            "layer": labels["layer"].to_numpy()[row],
            "time_s": times_s[np.tile(np.arange(n_times), n_subjects * n_rows)],
            "statistic": labels["statistic"].to_numpy()[row],
            "score": scores.ravel(),
        }
    )


def relabelled(
    movies: RDMs,
    references: RDMs,
    measure_of: Callable[[RDMs], Measure] | str,
    *,
    n_relabellings: int = 199,
    seed: int = 0,
) -> Array:
    """Measure the RDMs of one subject with their conditions in random orders: how high do unrelated RDMs score?

    Parameters
    ----------
    movies, references : RDMs
        As for `layer_time`, of one subject.
    measure_of : callable or str
        As for `measured_over_time`, or a key of `COMPARISONS`.
    n_relabellings : int
        How many random orders, each the same at all times and for all references.
    seed : int
        Of the orders.

    Returns
    -------
    array, shape (n_relabellings, n_references)
        The highest score over all times; references in the order of the table of scores.

    Raises
    ------
    UserError
        As `measured_over_time`; and if there are several subjects.
    """
    require_count("n_relabellings", n_relabellings)
    subjects, _, places = places_over_time(movies)
    if len(subjects) != 1:
        raise UserError(f"Conditions are relabelled for a single subject, not for {len(subjects)}.")
    if isinstance(measure_of, str):
        measure_of = partial(comparison_measure, comparison=measure_of)
    (measure,) = measures_of(references, subjects, measure_of).values()
    values, rng = aligned(measure, movies, "RDM movies")[places[0]], np.random.default_rng((seed, 2))
    highest = []
    for _ in range(n_relabellings):
        shuffled = values[:, pairs_in_order(rng.permutation(len(measure.conditions)))]  # (n_times, n_pairs)
        highest.append(highest_over_times(measure.score(shuffled, shuffled)))
    return np.stack(highest)


def permuted_over_time(
    movies: RDMs,
    references: RDMs,
    measure_of: Callable[[RDMs], Measure],
    correction: Correction,
    *,
    n_permutations: int,
    seed: int = 0,
    run: RunSettings = RunSettings(),
) -> Tested:
    """Test the mean scores of the table of `measured_over_time` by permutations of conditions, the same at all times.

    Parameters
    ----------
    movies, references, measure_of
        As for `measured_over_time`.
    correction : Correction
        How p values are corrected; times are a chain of neighbours where clusters are asked for.
    n_permutations, seed
        As in `rsa.inference.permutation.ConditionTest`.
    run : RunSettings
        Threads.

    Returns
    -------
    Tested
        With a row for each reference and time, references in the order of the table and times ascending, and one
        column.
    """
    subjects, times_s, places = places_over_time(movies)
    measures = list(measures_of(references, subjects, measure_of).values())
    values = aligned(measures[0], movies, "RDM movies")[places][:, :, None]  # (n_subjects, n_times, 1, n_pairs)
    where = Places.of_rdms(values, list(times_s))
    return ConditionTest(where, measures, correction, n_permutations=n_permutations, seed=seed).result(run)[1]


def highest_over_times(scores: Array) -> Array:
    """Return the highest score over times, (..., n_times) -> (...); -inf where there is none."""
    return np.asarray(np.where(np.isnan(scores), -np.inf, scores).max(axis=-1))


def generalise(movies: RDMs, comparison: str, *, between: bool = False) -> Array:
    """Compare the RDMs of all times with each other: how stable is the geometry?

    Parameters
    ----------
    movies : RDMs
        One per subject and time: the table has `subject` and `time_s`.
    comparison : str
        A key of `COMPARISONS`.
    between : bool
        Compare the RDM of each subject (rows) with the average RDM of the others (columns), on the scale of the
        comparison as in a noise ceiling. Within a subject, noise that both times share counts as similarity, and the
        diagonal is 1; noise of different subjects is independent, and the diagonal is the lower bound of the noise
        ceiling.

    Returns
    -------
    array, shape (n_times, n_times)
        Mean over subjects; times ascend. NaN where an RDM of a subject has NaN or is constant.

    Raises
    ------
    UserError
        As `layer_time`; and if there are fewer than 2 subjects to compare between.
    """
    compared = pick(COMPARISONS, comparison, "comparison")
    _, _, places = places_over_time(movies)
    if not between:
        own = (compared.prepare(movies.values[rows]) for rows in places)
        return np.asarray(sum(compared.score(one, one) for one in own) / len(places))
    if len(places) < 2:
        raise UserError(f"Subjects are compared with the average of the others, so 2 or more, not {len(places)}.")
    everyone = np.sum([compared.standardise(movies.values[rows]) for rows in places], axis=0)
    total = np.zeros((places.shape[1], places.shape[1]))
    for rows in places:
        others = (everyone - compared.standardise(movies.values[rows])) / (len(places) - 1)
        total += compared.score(compared.prepare(movies.values[rows]), compared.prepare(others))
    return total / len(places)


def generalisation_table(
    movies: RDMs, comparison: str, *, between: bool = False
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return what `generalise` does as a table, and what its columns are: a row and a column for each time.

    Parameters and errors are those of `generalise`.
    """
    matrix = generalise(movies, comparison, between=between)
    _, times_s, _ = places_over_time(movies)
    names = [f"{time_s:.6g}" for time_s in times_s]
    whose = "the average RDM of the others" if between else "the RDM of the same subject"
    texts = {name: f"Mean similarity over subjects to {whose} at {name} s after onset" for name in names}
    table = pd.DataFrame(matrix, columns=names)
    table.insert(0, "time_s", times_s)
    return table, {"time_s": "Time of a subject's RDM after onset, s"} | texts
