"""Scores of subjects in regions -> the group's table: means with intervals, a test over subjects, corrected p."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rsa.core import REFERENCE, Array, RDMs
from rsa.inference.contrasts import Contrast, contrast_rows
from rsa.inference.designs import Design
from rsa.inference.flips import fisher_z
from rsa.inference.permutation import ConditionTest, Places
from rsa.inference.subjects import SUBJECT_STATISTICS, over_subjects, why_not_flipped
from rsa.inference.tally import Correction
from rsa.measures import Measure, aligned
from rsa.rdm import REGION_FIT_COLUMNS, in_regions, measures_of, require_chance_of_0
from rsa.rows import require_columns, require_known, require_once, require_share
from rsa.searchlight import RunSettings

__all__ = [
    "REGION_GROUP_COLUMNS",
    "permuted_regions",
    "region_group",
    "with_numbers_of",
]

REGION_GROUP_COLUMNS = {
    **{name: REGION_FIT_COLUMNS[name] for name in ("region", "model", "layer", "time_s", "statistic")},
    "n_subjects": "Number of subjects that have a score",
    "mean": "Mean score over subjects (of a contrast, of differences of Fisher's z), or difference of two groups",
    "lower": "Confidence interval for other subjects, with these pictures (Student's t, no covariates), lower bound",
    "upper": "Confidence interval for other subjects, with these pictures (Student's t, no covariates), upper bound",
    **{name: entry.summary[:1].upper() + entry.summary[1:] for name, entry in SUBJECT_STATISTICS.items()},
    "p": "p of the test over subjects, uncorrected",
    "p_corrected": "p corrected for all tests of its family by the highest statistic of each permutation",
    "q": "p adjusted for the false discovery rate over its family",
}


def region_group(
    fits: pd.DataFrame,
    *,
    level: float = 0.95,
    statistic: str = "t",
    correction: Correction = Correction(),
    n_permutations: int = 10_000,
    seed: int = 0,
    design: Design | None = None,
    contrasts: Sequence[Contrast] = (),
    tested: bool = True,
    distance: str = "unknown",
) -> pd.DataFrame:
    """Average the scores of subjects in each region, with a confidence interval and a test over subjects.

    Parameters
    ----------
    fits : DataFrame
        From `rsa.rdm.region_fits`: `subject`, `region`, `model`, `layer`, `time_s` if there are times, `score`; the
        order of rows is of no matter.
    level : float
        Of the confidence intervals.
    statistic, n_permutations, seed, design
        As in `rsa.inference.subjects.subject_test`; the subjects of a design are in the order in which they come
        first.
    correction : Correction
        Over what p values are corrected: over regions, and over times and layers of a model if its family says so.
    contrasts : sequence of Contrast
        Differences of references that are tested as well.
    tested : bool
        False for scores whose chance level is not 0, such as shares of variance: no p.
    distance : str
        Of the RDMs; it decides whether cosines have a p (see `rsa.rdm.chance_is_0`).

    Returns
    -------
    DataFrame
        A row per reference, time and region, with the columns `REGION_GROUP_COLUMNS` as far as there is something to
        say: the statistic is in a column of its own name. Where a subject has no score there is no mean and no p (NaN);
        nor is there an interval or a p for one subject, nor a p of "meeg", one RDM for all subjects.

    Raises
    ------
    UserError
        If a column is missing or has gaps, a row comes twice, or p is wanted of scores that are above 0 for unrelated
        RDMs; as `contrast_rows` and `subject_test`.
    """
    require_share("level", level)
    keys = ["subject", "region", "model", "layer", *(["time_s"] if "time_s" in fits else [])]
    require_columns(fits, [*keys, "score"], "scores in regions")
    require_known(fits, ["subject", "region"], "scores in regions")
    require_once(fits[keys], "scores in regions")
    if tested and "statistic" in fits:
        require_chance_of_0(fits["statistic"].unique(), distance, "A test over regions")
    values, rows, regions = _array_of(fits, keys[2:])
    z = fisher_z(values)
    if contrasts:
        differences, named = contrast_rows(z, rows, contrasts)
        values, z = np.concatenate([values, differences], axis=1), np.concatenate([z, differences], axis=1)
        rows = pd.concat([rows, named[[name for name in named if name in rows]]], ignore_index=True)
    effect, half = values[0], np.full(values.shape[1:], np.nan)
    if len(values) > 1:
        design = design or Design(len(values))
        effect, half = design.effect(values), design.half_width(values, level)
    found = rows.loc[np.repeat(np.arange(len(rows)), len(regions))].drop(columns="role").reset_index(drop=True)
    found = found.assign(
        region=np.tile(regions, len(rows)),
        n_subjects=np.isfinite(values).sum(axis=0).ravel(),
        mean=effect.ravel(),
        lower=(effect - half).ravel(),
        upper=(effect + half).ravel(),
        **dict.fromkeys([statistic, "p", "p_corrected", "q"], np.nan),
    )
    why = [why_not_flipped("", "", model=str(model)) for model in rows["model"]]
    flipped = np.flatnonzero([not reason for reason in why])
    if tested and len(values) > 1 and len(flipped):
        how: dict[str, Any] = {"statistic": statistic, "n_permutations": n_permutations, "seed": seed, "design": design}
        test, result = over_subjects(z[:, flipped], rows.iloc[flipped], correction, **how)
        places = (flipped[:, None] * len(regions) + np.arange(len(regions))).ravel()
        for name, numbers in {
            statistic: test.observed, "p": result.p, "p_corrected": result.p_corrected, "q": result.q,
        }.items():  # fmt: skip
            found.loc[places, name] = numbers.ravel()
    return found[[name for name in REGION_GROUP_COLUMNS if name in found]]


def with_numbers_of(table: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Add to a table of regions what another says of the same references, times and regions."""
    keys = [name for name in ("region", "model", "layer", "time_s") if name in table]
    return table.merge(other, on=keys, how="left")


def permuted_regions(
    brain: RDMs,
    references: RDMs,
    measure_of: Callable[[RDMs], Measure],
    correction: Correction,
    *,
    n_permutations: int,
    seed: int = 0,
    run: RunSettings = RunSettings(),
) -> pd.DataFrame:
    """Test the mean scores of regions by permutations of conditions, the same in all subjects and regions.

    Parameters
    ----------
    brain, references, measure_of
        As for `rsa.rdm.measured_regions`.
    correction : Correction
        Over what p values are corrected; regions are no neighbours of each other.
    n_permutations, seed
        As in `rsa.inference.permutation.ConditionTest`.
    run : RunSettings
        Threads.

    Returns
    -------
    DataFrame
        A row per reference, time and region: the labels, `p`, `p_corrected` and `q`. NaN where a subject has no score.
    """
    subjects = [str(name) for name in dict.fromkeys(brain.table["subject"])]
    measures = list(measures_of(references, subjects, measure_of).values())
    _, times_s, regions, values = in_regions(brain, aligned(measures[0], brain))
    places = Places.of_rdms(values, times_s, pd.DataFrame({"region": regions}))
    test = ConditionTest(places, measures, correction, n_permutations=n_permutations, seed=seed)
    scores, tested = test.result(run)
    labels = scores.table[[name for name in ("model", "layer", "time_s") if name in scores.table]]
    found = labels.loc[np.repeat(labels.index, len(regions))].reset_index(drop=True)
    numbers = {"p": tested.p, "p_corrected": tested.p_corrected, "q": tested.q}
    return found.assign(region=np.tile(regions, len(labels)), **{name: of.ravel() for name, of in numbers.items()})


def _array_of(fits: pd.DataFrame, keys: list[str]) -> tuple[Array, pd.DataFrame, list[str]]:
    """Put scores into an array (n_subjects, n_rows, n_regions), NaN where there is none, with rows and regions."""
    labels = fits[keys].assign(**{name: fits[name].fillna("").astype(str) for name in ("model", "layer")})
    subject, subjects = pd.factorize(fits["subject"].astype(str))
    region, regions = pd.factorize(fits["region"].astype(str))
    groups = labels.groupby(keys, sort=False, dropna=False)
    row = groups.ngroup().to_numpy()
    values = np.full((len(subjects), groups.ngroups, len(regions)), np.nan)
    values[subject, row, region] = fits["score"].to_numpy(dtype=float)
    first = np.unique(row, return_index=True)[1]
    rows = labels.iloc[first].reset_index(drop=True).assign(role=REFERENCE)
    if "statistic" in fits:
        rows["statistic"] = fits["statistic"].iloc[first].to_numpy()
    return values, rows, list(regions)
