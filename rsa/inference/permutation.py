"""Is a score higher than those of references whose conditions are permuted?"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.distance import squareform

from rsa.comparisons import COMPARISONS
from rsa.core import Array, Neighbourhood, Patterns, RDMs, ScoreMap, align, require_enough
from rsa.errors import UserError
from rsa.measures import Measure, comparison_measure
from rsa.registry import pick
from rsa.searchlight import RdmSettings, RunSettings, Scored, fields_as_keywords, scan

__all__ = ["PermutationTest", "permutation_test"]

CENTRES, PERMUTED = 1024, 1024
"""Centres, and permuted references, in one matrix product; bound the memory, change nothing else."""

PRECISION = 1e-6
"""Of permuted scores, which are computed in single precision; lower ones by less than this count as equal."""


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """Scores beside those of references whose conditions are permuted.

    Parameters
    ----------
    scores : ScoreMap
        Of the references as they are.
    exceedances : array of int, shape (n_rdms, n_columns)
        How many permutations scored at least as high (within 1e-6, the precision of their scores).
    maxima : array, shape (n_rdms, n_permutations)
        Highest score of each permutation over all columns.
    """

    scores: ScoreMap
    exceedances: Array
    maxima: Array

    def p_values(self) -> Array:
        """Return one-sided p values, uncorrected, shape (n_rdms, n_columns); NaN where there is no score."""
        p_values: Array = (1 + self.exceedances) / (1 + self.maxima.shape[1])
        return np.where(np.isnan(self.scores.values), np.nan, p_values)

    def corrected_p_values(self) -> Array:
        """Return one-sided p values, family-wise corrected by the distribution of the maximum over columns [1]_.

        References
        ----------
        .. [1] Nichols TE, Holmes AP (2002). Nonparametric permutation tests for functional neuroimaging: a primer with
           examples. Hum Brain Mapp 15:1-25.
        """
        n_permutations = self.maxima.shape[1]
        rows = zip(np.sort(self.maxima, axis=1), self.scores.values, strict=True)
        n_lower = np.stack([np.searchsorted(maxima, scores - PRECISION) for maxima, scores in rows])
        return np.where(np.isnan(self.scores.values), np.nan, (1 + n_permutations - n_lower) / (1 + n_permutations))


@fields_as_keywords(rdm=RdmSettings, run=RunSettings)
def permutation_test(
    patterns: Patterns,
    neighbourhood: Neighbourhood,
    references: RDMs,
    *,
    n_permutations: int,
    seed: int,
    comparison: str = "spearman",
    rdm: RdmSettings = RdmSettings(),
    run: RunSettings = RunSettings(),
) -> PermutationTest:
    """Compare every neighbourhood with the references, and with the references after permuting their conditions.

    A permuted reference is the same ranks in another order, so nothing is ranked again; permuted scores, in single
    precision, are counted as they come and never kept.

    Parameters
    ----------
    patterns, neighbourhood, references, comparison, rdm, run
        As in `rsa.searchlight.compare`; on the CPU, of one delay.
    n_permutations : int
        How many random orders of the conditions.
    seed : int
        Of the permutations, which are the same for all references and neighbourhoods.

    Returns
    -------
    PermutationTest
        Scores, exceedances and maxima.

    Raises
    ------
    UserError
        As `compare`; and if there is no permutation.
    """
    if n_permutations < 1:
        raise UserError(f"A permutation test needs 1 permutation at least, not {n_permutations}.")
    if patterns.delays_s:
        raise UserError(
            "A permutation test is of the responses at one delay; choose one by patterns.at_delay(delay_s)."
        )
    from rsa.kernels import count_permuted, permute

    require_enough(patterns.conditions, "the patterns")
    compared, n_rdms = pick(COMPARISONS, comparison, "comparison"), len(references)
    plain = comparison_measure(align(patterns.conditions, references), comparison)
    rng = np.random.default_rng(seed)
    orders = np.stack([rng.permutation(len(plain.conditions)) for _ in range(n_permutations)])
    squareforms = np.stack([squareform(row, checks=False) for row in plain.references]).astype(np.float32)
    n_at_once = max(1, PERMUTED // n_rdms)

    def score(brain: Array, _: Array) -> Scored:
        prepared = compared.prepare(brain)
        observed = compared.score(plain.references, prepared)  # (n_rdms, n_centres)
        single, thresholds = prepared.astype(np.float32), observed.T - PRECISION
        exceedances, maxima = np.zeros(thresholds.shape, np.int32), np.full((n_permutations, n_rdms), -np.inf)
        for start in range(0, n_permutations, n_at_once):
            some = orders[start : start + n_at_once]
            permuted = compared.score(single, permute(squareforms, some))  # (n_centres, n_some * n_rdms)
            count_permuted(permuted, thresholds, exceedances, maxima[start : start + n_at_once])
        return Scored(observed, (exceedances.T, maxima))

    n_columns = len(neighbourhood) if neighbourhood.centres is None else neighbourhood.space.n_features
    exceedances, maxima = (
        np.zeros((n_rdms, n_columns), np.int32),
        np.full((n_permutations, n_rdms), -np.inf, np.float32),
    )

    def gather(columns: slice | Array, found: tuple[Array, Array]) -> None:
        exceedances[:, columns] = found[0]
        np.maximum(maxima, found[1], out=maxima)

    measure = Measure(plain.conditions, plain.table, score)
    at_once = replace(run, chunk_size=run.chunk_size or CENTRES)
    scores = scan(patterns, neighbourhood, measure, rdm=rdm, run=at_once, last_step=gather)
    return PermutationTest(scores, exceedances, maxima.T)
