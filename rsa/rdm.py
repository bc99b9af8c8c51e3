"""RDMs among themselves: averages, noise ceilings, and the fit of references to the RDMs of regions."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from rsa.comparisons import COMPARISONS, Comparison, score_rows
from rsa.core import SAME_S, Array, RDMs, align, require_enough
from rsa.distances import CROSS_VALIDATED, DISTANCES
from rsa.errors import UserError
from rsa.measures import Measure, aligned, comparison_measure, fitted_to
from rsa.registry import pick
from rsa.rows import require_columns, require_known

__all__ = [
    "MEEG",
    "REGION_FIT_COLUMNS",
    "average",
    "average_over_subjects",
    "ceiling_bounds",
    "chance_is_0",
    "compare_stacks",
    "in_regions",
    "measured_regions",
    "measured_stack",
    "measures_of",
    "noise_ceiling",
    "of_one_subject",
    "own_references",
    "places_over_time",
    "region_fits",
    "require_chance_of_0",
    "span_of",
    "with_ceilings",
]


MEEG = "meeg"
"""What M/EEG RDMs are called where the name of a model stands."""

REGION_FIT_COLUMNS = {
    "subject": "Label of the subject",
    "region": "Region of interest",
    "model": "Network, or name of the reference",
    "layer": "Layer of the network",
    "time_s": "Time after onset, s",
    "statistic": "What the score is",
    "score": "Similarity of the subject's RDM of the region to the reference RDM",
    "ceiling_lower": "Noise ceiling of the region over subjects, lower bound (leave one subject out)",
    "ceiling_upper": "Noise ceiling of the region over subjects, upper bound (mean of all subjects; tau-a: majorities)",
}


def chance_is_0(comparison: str, distance: str) -> bool:
    """Say whether brain RDMs of noise, by this distance, score 0 on average with any reference.

    Parameters
    ----------
    comparison : str
        What scores are. Whatever is no key of `COMPARISONS`, such as "partial", is a measure with a chance level of
        its own, and no matter here.
    distance : str
        Of the brain RDMs; one that is not known here may be above 0 for noise.

    Examples
    --------
    >>> chance_is_0("spearman", "correlation"), chance_is_0("cosine", "crossnobis"), chance_is_0("cosine", "euclidean")
    (True, True, False)
    """
    compared, made = COMPARISONS.get(comparison), (DISTANCES | CROSS_VALIDATED).get(distance)
    return compared is None or compared.unrelated_score_0 or (made is not None and made.zero_of_noise)


def require_chance_of_0(comparisons: Iterable[str], distance: str, what: str) -> None:
    """Raise a `UserError` if something that reads scores against 0 is to be made of scores that noise has above 0."""
    for comparison in comparisons:
        if not chance_is_0(comparison, distance):
            raise UserError(
                f"{what} reads scores against 0, and by {comparison} unrelated RDMs score above 0 unless distances are "
                f"0 on average for noise, as crossnobis is; these are of the distance {distance}. Use another "
                "comparison."
            )


def average(rdms: RDMs, comparison: str) -> Array:
    """Average RDMs on the scale on which a comparison looks at them, shape (n_pairs,).

    They are ranked first for rank correlations, z-scored for Pearson, scaled to length 1 for cosine: this average has
    the largest mean score with the single RDMs (Nili et al. 2014); but for tau-a, see `noise_ceiling`.
    """
    mean: Array = pick(COMPARISONS, comparison, "comparison").standardise(rdms.values).mean(axis=0)
    return mean


def average_over_subjects(movies: RDMs, comparison: str) -> RDMs:
    """Average RDMs over time of several subjects at each time, as a reference for other data (see `average`).

    Parameters
    ----------
    movies : RDMs
        The table has `subject` and `time_s`; every subject has the same times.
    comparison : str
        A key of `COMPARISONS`.

    Returns
    -------
    RDMs
        One for each time, ascending; the table has `model` ("meeg"), `layer` ("") and `time_s`.

    Raises
    ------
    UserError
        As `places_over_time`.
    """
    _, times_s, places = places_over_time(movies)
    means = np.stack([average(movies.subset(rows), comparison) for rows in places.T])
    table = pd.DataFrame({"model": MEEG, "layer": "", "time_s": times_s})
    return RDMs(means, movies.conditions, table, movies.distance)


def places_over_time(movies: RDMs) -> tuple[list[str], Array, Array]:
    """Find the RDM of each subject and time; times that differ by less than 1 us are one.

    Parameters
    ----------
    movies : RDMs
        In any order; the table has `subject` and `time_s`, and every subject has the same times.

    Returns
    -------
    subjects : list of str
        In order of first appearance.
    times_s : array, shape (n_times,)
        Those of the first subject, ascending.
    places : array of int, shape (n_subjects, n_times)
        Row of each subject and time.

    Raises
    ------
    UserError
        If a column is missing or has gaps, a subject has two RDMs at one time, or the subjects' times differ.
    """
    require_columns(movies.table, ["subject", "time_s"], "RDM movies")
    require_known(movies.table, ["subject", "time_s"], "RDM movies")
    times_s = movies.table["time_s"].to_numpy(dtype=float)
    rows_of = {str(subject): rows for subject, rows in movies.table.groupby("subject", sort=False).indices.items()}
    places = {subject: rows[np.argsort(times_s[rows], kind="stable")] for subject, rows in rows_of.items()}
    first, expected = next((subject, times_s[rows]) for subject, rows in places.items())
    for subject, rows in places.items():
        if (np.diff(times_s[rows]) < SAME_S).any():
            raise UserError(f"The RDM movie of subject {subject!r} has two RDMs at one time; keep one of them.")
        if len(rows) != len(expected) or np.abs(times_s[rows] - expected).max() >= SAME_S:
            raise UserError(
                f"The {len(places)} subjects' RDMs are not at the same times; give all of them the same tmin_s, tmax_s "
                f"and sampling. Those of subjects {first!r} and {subject!r} are of different times: "
                f"{span_of(expected)}, and {span_of(times_s[rows])}."
            )
    return list(places), expected, np.stack(list(places.values()))


def span_of(times_s: Array) -> str:
    """Say how many times there are, and from when to when.

    Examples
    --------
    >>> span_of(np.array([-0.1, 0.0, 0.25]))
    '3 from -0.1 to 0.25 s'
    """
    return f"{len(times_s)} from {times_s[0]:g} to {times_s[-1]:g} s"


def noise_ceiling(rdms: RDMs, comparison: str) -> tuple[float, float]:
    """Return the lower and upper bound on the mean score that any model can have with the RDMs of these subjects.

    Upper: the mean score of each subject's RDM with the average of all subjects; lower: with the average of the
    others [1]_. No RDM beats the average by pearson, cosine and rho_a, and none without ties by spearman. By
    kendall_tau_a many do, so there the upper bound is the mean score if, for each two pairs of conditions, the order
    were that of most subjects, which one RDM may not have for all. Undefined (NaN) for fewer than two subjects.

    Parameters
    ----------
    rdms : RDMs
        One per subject.
    comparison : str
        A key of `COMPARISONS`.

    Returns
    -------
    lower, upper : float
        In units of the comparison; correlations are not squared.

    References
    ----------
    .. [1] Nili H, Wingfield C, Walther A, Su L, Marslen-Wilson W, Kriegeskorte N (2014). A toolbox for
       representational similarity analysis. PLoS Comput Biol 10:e1003553.
    """
    require_enough(rdms.conditions, "the RDMs")
    if len(rdms) < 2:
        return float("nan"), float("nan")
    return ceiling_bounds(rdms.values, pick(COMPARISONS, comparison, "comparison"))


def ceiling_bounds(rdms: Array, comparison: Comparison) -> tuple[float, float]:
    """Return the lower and the upper bound for the RDMs of 2 subjects or more, shape (n_subjects, n_pairs).

    NaN if an RDM has NaN; see `noise_ceiling`.
    """
    n_subjects = len(rdms)
    standard = comparison.standardise(rdms)
    everyone = standard.sum(axis=0)
    averages = np.vstack([everyone / n_subjects, (everyone - standard) / (n_subjects - 1)])
    own, others = comparison.prepare(rdms), comparison.prepare(averages)
    lower = float(score_rows(own, others[1:], comparison).mean())
    if comparison.at_most is not None:
        return lower, comparison.at_most(own)
    return lower, float(comparison.score(own, others[:1]).mean())


def compare_stacks(brain: RDMs, references: RDMs, comparison: str) -> pd.DataFrame:
    """Score every RDM of one stack against every RDM of another, matched by condition label.

    Returns
    -------
    DataFrame
        One row per pair: the labels of both, `statistic` and `score`. Labels of the brain RDMs whose columns the
        table has anyway are in columns `brain_<name>`.

    Raises
    ------
    UserError
        If the conditions differ, or both are over time.
    """
    measure = comparison_measure(align(brain.conditions, references, "brain RDMs"), comparison)
    return measured_stack(brain, measure)


def measured_stack(brain: RDMs, measure: Measure, places: Iterable[Array] = ()) -> pd.DataFrame:
    """Measure every RDM of a stack.

    Parameters
    ----------
    brain : RDMs
        Over the conditions of the measure, in any order.
    measure : Measure
        What is measured.
    places : iterable of arrays of int
        For a measure across subjects: the rows of each region, one for each subject.

    Returns
    -------
    DataFrame
        A row for each RDM and row of the measure: the labels of both, `statistic` and `score`. Labels of the RDMs whose
        columns the table has anyway are in columns `brain_<name>`.

    Raises
    ------
    UserError
        If the conditions differ, or both are over time.
    """
    if "time_s" in brain.table and "time_s" in measure.table:
        raise UserError("References over time need brain RDMs without time.")
    values = aligned(measure, brain)
    scores = measure.score(values, fitted_to(measure, values, places)).T  # (n_brain, n_rows)
    labels, statistic = measure.table.drop(columns="statistic"), measure.table["statistic"]
    own = {name: f"brain_{name}" for name in brain.table if name in (*labels, "statistic", "score")}
    parts = [
        labels.assign(**row, statistic=statistic, score=row_scores)
        for row, row_scores in zip(brain.table.rename(columns=own).to_dict("records"), scores, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def region_fits(brain: RDMs, references: RDMs, comparison: str) -> pd.DataFrame:
    """Make the table layer x region x subject, with the noise ceiling of each region.

    Parameters
    ----------
    brain : RDMs
        One per subject and region: the table has `subject` and `region`, and `time_s` if there are several times.
    references : RDMs
        The table has `model` and `layer`; `subject` names whose a reference is, if it is not everybody's.
    comparison : str
        A key of `COMPARISONS`.

    Returns
    -------
    DataFrame
        Columns `subject`, `region`, `model`, `layer`, `time_s` if there is time, `statistic`, `score`, `ceiling_lower`,
        `ceiling_upper`.

    Raises
    ------
    UserError
        If the table of the brain RDMs has no `subject` or no `region`.
    """
    fits = measured_regions(
        brain,
        references,
        lambda own: comparison_measure(align(brain.conditions, own, "brain RDMs"), comparison),
    )
    return with_ceilings(fits, brain, comparison)


def with_ceilings(fits: pd.DataFrame, brain: RDMs, comparison: str) -> pd.DataFrame:
    """Add the noise ceiling of each region (and time) to a table of `measured_regions`."""
    ceilings = {place: noise_ceiling(brain.subset(rows), comparison) for place, rows in _places_of(brain).items()}
    names = _place_columns(brain)
    of_fits = fits[names].itertuples(index=False, name=None) if len(names) > 1 else fits["region"]
    lower, upper = zip(*(ceilings[place] for place in of_fits), strict=True)
    return fits.assign(ceiling_lower=lower, ceiling_upper=upper)


def measured_regions(brain: RDMs, references: RDMs, measure_of: Callable[[RDMs], Measure]) -> pd.DataFrame:
    """Measure the RDM of every region and subject: the table of `region_fits`, without noise ceilings.

    Parameters
    ----------
    brain, references : RDMs
        As for `region_fits`.
    measure_of : callable
        What is measured with some references.

    Raises
    ------
    UserError
        As `region_fits` and `measured_stack`.
    """
    places, rows_of = _places_of(brain), brain.table.groupby("subject", sort=False).indices
    measures = measures_of(references, list(rows_of), measure_of)
    if "subject" not in references.table or any(measure.second == "other_subjects" for measure in measures.values()):
        fits = measured_stack(brain, next(iter(measures.values())), places.values())
    else:
        parts = [measured_stack(brain.subset(rows), measures[subject]) for subject, rows in rows_of.items()]
        fits = pd.concat(parts, ignore_index=True)
    return fits[[name for name in REGION_FIT_COLUMNS if name in fits]]


def measures_of(references: RDMs, subjects: Sequence[str], measure_of: Callable[[RDMs], Measure]) -> dict[str, Measure]:
    """Return what is measured of each subject; one measure serves all who have no references of their own."""
    if "subject" not in references.table:
        return dict.fromkeys(subjects, measure_of(references))
    return {subject: measure_of(own_references(references, str(subject))) for subject in subjects}


def own_references(references: RDMs, subject: str) -> RDMs:
    """Return the references that a subject is compared with: those of no subject, and its own.

    References of a subject have its label in the column `subject`; others, or all if there is no such column, are those
    of everybody.
    """
    if "subject" not in references.table:
        return references
    whose = references.table["subject"].fillna("").astype(str)
    own = references.subset(np.flatnonzero(whose.isin(["", subject])))
    return replace(own, table=own.table.drop(columns="subject"))


def of_one_subject(references: RDMs) -> RDMs:
    """Return the references of everybody, and of those that each subject has for itself the ones of the first."""
    if "subject" not in references.table:
        return references
    whose = [subject for subject in references.table["subject"].fillna("").astype(str) if subject]
    return own_references(references, whose[0] if whose else "")


def in_regions(brain: RDMs, values: Array) -> tuple[list[str], list[float], list[str], Array]:
    """Put RDMs of subjects in regions, and at times if there are several, into one array.

    Parameters
    ----------
    brain : RDMs
        The table has `subject` and `region`, and `time_s` if there are several times.
    values : array, shape (n_rdms, n_pairs)
        Their values, in the order of conditions that is wanted.

    Returns
    -------
    subjects, times_s, regions : list
        Subjects and regions in order of first appearance, times ascending; no times where there is one.
    values : array, shape (n_subjects, n_times or 1, n_regions, n_pairs)
        NaN where there is none.
    """
    table = brain.table
    subjects, regions = ([str(name) for name in dict.fromkeys(table[column])] for column in ("subject", "region"))
    times_s = sorted(set(table["time_s"])) if "time_s" in table else []
    placed = np.full((len(subjects), max(1, len(times_s)), len(regions), values.shape[1]), np.nan)
    subject = pd.Index(subjects).get_indexer(table["subject"].astype(str))
    region = pd.Index(regions).get_indexer(table["region"].astype(str))
    time = pd.Index(times_s).get_indexer(table["time_s"]) if times_s else np.zeros(len(table), dtype=int)
    placed[subject, time, region] = values
    return subjects, times_s, regions, placed


def _places_of(brain: RDMs) -> dict[Hashable, Array]:
    """Return the rows of each region (and time): one for each subject."""
    for column in ("subject", "region"):
        if column not in brain.table:
            raise UserError(f"The table of the brain RDMs has no column {column!r}, only {', '.join(brain.table)}.")
    return dict(brain.table.groupby(_place_columns(brain), sort=False).indices)


def _place_columns(brain: RDMs) -> list[str]:
    return ["region", *(["time_s"] if "time_s" in brain.table else [])]
