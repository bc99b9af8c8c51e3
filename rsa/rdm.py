"""RDMs among themselves: averages, noise ceilings, and the fit of references to the RDMs of regions."""

import numpy as np
import pandas as pd

from rsa.comparisons import COMPARISONS, compare_vectors
from rsa.core import Array, RDMs, align
from rsa.errors import UserError
from rsa.registry import pick

__all__ = ["REGION_FIT_COLUMNS", "average", "compare_stacks", "noise_ceiling", "region_fits"]


REGION_FIT_COLUMNS = {
    "subject": "Label of the subject",
    "region": "Region of interest",
    "model": "Network, or name of the reference",
    "layer": "Layer of the network",
    "statistic": "What the score is",
    "score": "Similarity of the subject's RDM of the region to the reference RDM",
    "ceiling_lower": "Noise ceiling of the region over subjects, lower bound (leave one subject out)",
    "ceiling_upper": "Noise ceiling of the region over subjects, upper bound (mean of all subjects)",
}


def average(rdms: RDMs, comparison: str) -> Array:
    """Average RDMs on the scale on which a comparison looks at them, shape (n_pairs,).

    They are ranked first for rank correlations, z-scored for Pearson, scaled to length 1 for cosine: of all vectors,
    this average has the largest mean score with the single RDMs (Nili et al. 2014).
    """
    mean: Array = pick(COMPARISONS, comparison, "comparison").standardise(rdms.values).mean(axis=0)
    return mean


def noise_ceiling(rdms: RDMs, comparison: str) -> tuple[float, float]:
    """Return the lower and upper bound on the mean score that any model can have with the RDMs of these subjects.

    Upper: the mean score of each subject's RDM with the average of all subjects; lower: with the average of the
    others [1]_. Undefined (NaN) for fewer than two subjects.

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
    n_subjects = len(rdms)
    if n_subjects < 2:
        return float("nan"), float("nan")
    likeness = pick(COMPARISONS, comparison, "comparison")
    standard = likeness.standardise(rdms.values)
    everyone = standard.sum(axis=0)
    upper = [compare_vectors(row, everyone / n_subjects, likeness)[0, 0] for row in rdms.values]
    lower = [
        compare_vectors(row, (everyone - own) / (n_subjects - 1), likeness)[0, 0]
        for row, own in zip(rdms.values, standard, strict=True)
    ]
    return float(np.mean(lower)), float(np.mean(upper))


def compare_stacks(brain: RDMs, references: RDMs, comparison: str) -> pd.DataFrame:
    """Score every RDM of one stack against every RDM of another, matched by condition label.

    Returns
    -------
    DataFrame
        One row per pair: the labels of both, `statistic` and `score`.
    """
    likeness = pick(COMPARISONS, comparison, "comparison")
    scores = compare_vectors(brain.values, align(brain.conditions, references, "brain RDMs").values, likeness)
    parts = [
        references.table.assign(**row, statistic=comparison, score=row_scores)
        for row, row_scores in zip(brain.table.to_dict("records"), scores, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def region_fits(brain: RDMs, references: RDMs, comparison: str) -> pd.DataFrame:
    """Make the table layer x region x subject, with the noise ceiling of each region.

    Parameters
    ----------
    brain : RDMs
        One per subject and region: the table has `subject` and `region`.
    references : RDMs
        The table has `model` and `layer`.
    comparison : str
        A key of `COMPARISONS`.

    Returns
    -------
    DataFrame
        Columns `subject`, `region`, `model`, `layer`, `statistic`, `score`, `ceiling_lower`, `ceiling_upper`.

    Raises
    ------
    UserError
        If the table of the brain RDMs has no `subject` or no `region`.
    """
    for column in ("subject", "region"):
        if column not in brain.table:
            raise UserError(f"The table of the brain RDMs has no column {column!r}, only {', '.join(brain.table)}.")
    fits = compare_stacks(brain, references, comparison)
    ceilings = {
        region: noise_ceiling(brain.subset((brain.table["region"] == region).to_numpy()), comparison)
        for region in dict.fromkeys(brain.table["region"])
    }
    fits["ceiling_lower"] = [ceilings[region][0] for region in fits["region"]]
    fits["ceiling_upper"] = [ceilings[region][1] for region in fits["region"]]
    return fits[list(REGION_FIT_COLUMNS)]
