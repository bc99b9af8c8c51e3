"""Brain RDMs x reference RDMs -> scores.

Each comparison first prepares an RDM once (ranks it, centres it), and then scores any number of prepared RDMs against
any number of others, most of them in one matrix product.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from rsa.core import Array

__all__ = ["COMPARISONS", "Comparison", "Drawn", "compare_vectors", "score_rows"]

TIE = 2.0**-40
"""Dissimilarities that differ by less than this share of the largest one in their RDM are ties (see `ranks`)."""

SCORED_ROWS = 8
"""Rows that are scored in one product where only those in the same place are wanted."""


Drawn: TypeAlias = Callable[[Array], Array]
"""How often each pair was drawn, (n_pairs,) -> RDMs over those that were, (n_rdms, n_drawn), whose products are scores;
NaN where an RDM is NaN, or constant among them."""


@dataclass(frozen=True)
class Comparison:
    """How similar two RDMs are.

    Parameters
    ----------
    prepare : callable
        ``(n_rdms, n_pairs) -> (n_rdms, n_pairs)``, done once for each RDM; NaN rows stay NaN.
    score : callable
        ``(n_a, n_pairs), (n_b, n_pairs) -> (n_a, n_b)`` on prepared RDMs; NaN where an RDM is NaN or constant.
    standardise : callable
        ``(n_rdms, n_pairs) -> (n_rdms, n_pairs)``, the scale on which RDMs of subjects are averaged for a noise
        ceiling.
    summary : str
        One line for the documentation.
    unrelated_score_0 : bool
        Whether RDMs that have nothing to do with each other score 0 on average, whatever their distances; otherwise
        only those whose distances are 0 on average do (see `rsa.rdm.chance_is_0`).
    at_most : callable, optional
        ``(n_rdms, n_pairs) -> float``, the mean score with prepared RDMs that none exceeds; without it, that of their
        average on the scale of `standardise`.
    at_most_words : str
        What the upper bound of the noise ceiling is a mean score with, for the methods text.
    words : str
        What the methods text calls it; by default the summary.
    paper : str
        The paper to cite, a key of `rsa.papers.PAPERS`; empty if the comparison needs none.
    scaled : callable, optional
        ``(n_rdms, n_pairs) -> (n_rdms, n_pairs)``: what makes the score of two prepared RDMs their plain product; NaN
        where an RDM is constant. Without it, no product is the score.
    drawn : callable, optional
        ``(n_rdms, n_pairs) -> Drawn`` of prepared RDMs: the same product for pairs of conditions that were drawn, each
        as often as it was. Without it, conditions cannot be resampled.
    on_gpu : pair of str, optional
        The functions of `rsa.gpu` that prepare and score the same in torch; without them, the CPU does the work.
    """

    prepare: Callable[[Array], Array]
    score: Callable[[Array, Array], Array]
    standardise: Callable[[Array], Array]
    summary: str
    unrelated_score_0: bool = False
    at_most: Callable[[Array], float] | None = None
    at_most_words: str = "the average of all"
    words: str = ""
    paper: str = ""
    scaled: Callable[[Array], Array] | None = None
    drawn: Callable[[Array], "Drawn"] | None = None
    on_gpu: tuple[str, str] | None = None


def compare_vectors(a: Array, b: Array, comparison: Comparison) -> Array:
    """Score every row of `a` against every row of `b`: (n_a, n_pairs), (n_b, n_pairs) -> (n_a, n_b)."""
    scores: Array = comparison.score(comparison.prepare(np.atleast_2d(a)), comparison.prepare(np.atleast_2d(b)))
    return scores


def score_rows(a: Array, b: Array, comparison: Comparison) -> Array:
    """Score each of some prepared RDMs with the one in its place: (n, n_pairs), (n, n_pairs) -> (n,)."""
    blocks = (slice(start, start + SCORED_ROWS) for start in range(0, len(a), SCORED_ROWS))
    return np.concatenate([np.diag(comparison.score(a[block], b[block])) for block in blocks])


# ------------------------------------------------------------------------------------------ preparing


def ranks(rdms: Array) -> Array:
    """Rank each RDM from 1 to n_pairs, ties by their average rank; a row with NaN becomes NaN.

    Floating-point noise must not break ties (two pairs of identical patterns have the distances 0 and 1e-16), so
    neighbours in ascending order that differ by at most 2^-40 of the largest absolute value, about 1e-12, are ties.
    """
    return _ranks_from(1.0, rdms)


def centred_ranks(rdms: Array) -> Array:
    """Rank each RDM about a mean of 0; ranks are multiples of one half, so that their products add up exactly."""
    return _ranks_from((1 - rdms.shape[-1]) / 2, rdms)


def _ranks_from(lowest: float, rdms: Array) -> Array:
    from rsa.kernels import rank_rows

    ranked: Array = rank_rows(np.atleast_2d(np.ascontiguousarray(rdms, dtype=np.float64)), lowest, TIE)
    return ranked.reshape(np.shape(rdms))


def centred(rdms: Array) -> Array:
    """Subtract from each RDM its mean; an RDM that is constant but for floating-point noise becomes exactly zero."""
    rdms = np.asarray(rdms, dtype=np.float64)
    same = np.ptp(rdms, axis=-1, keepdims=True) <= _noise(rdms)
    shifted = np.where(same, 0, rdms - rdms[..., :1])
    return np.asarray(shifted - shifted.mean(axis=-1, keepdims=True))


def unchanged(rdms: Array) -> Array:
    """Return the RDMs as they are, in float64."""
    return np.asarray(rdms, dtype=np.float64)


def _noise(rdms: Array) -> Array:
    """Return the difference, shape (n_rdms, 1), up to which dissimilarities of an RDM are the same number."""
    return np.asarray(np.abs(rdms).max(axis=-1, keepdims=True) * TIE)


# -------------------------------------------------------------------------------------------- scoring


def normalised_product(a: Array, b: Array) -> Array:
    """Return the cosine of the angle between prepared RDMs, which is exactly 1 for an RDM of ranks and itself."""
    scores: Array = a @ b.T  # (n_a, n_b)
    lengths = np.outer(_squares(a), _squares(b))
    np.sqrt(lengths, out=lengths)
    with np.errstate(invalid="ignore"):  # 0 / 0: no angle
        np.divide(scores, lengths, out=scores)
    return np.clip(scores, -1, 1, out=scores)


def rank_product(a: Array, b: Array) -> Array:
    """Return rho-a, 12 sum(ra rb) / (n^3 - n) of centred ranks; NaN where an RDM is constant."""
    n_pairs = a.shape[-1]
    scores = 12 * (a @ b.T) / (n_pairs**3 - n_pairs)
    return np.where(np.outer(_squares(a), _squares(b)) > 0, scores, np.nan)


def kendall_tau_a(a: Array, b: Array) -> Array:
    """Return (concordant - discordant pairs) / all pairs of dissimilarities, ties counting as neither."""
    from rsa.kernels import concordance

    n_pairs = a.shape[-1]
    varies = np.outer(np.ptp(a, axis=-1) > 0, np.ptp(b, axis=-1) > 0)
    return np.where(varies, concordance(a, b) / (n_pairs * (n_pairs - 1) / 2), np.nan)


def majority_tau_a(rows: Array) -> float:
    """Return the mean tau-a with some RDMs of ranks that no RDM exceeds: that of the majority for each two entries.

    NaN where an RDM is NaN or constant. The average of ranks, whose mean tau-a other toolboxes take for this bound, is
    often beaten.
    """
    from rsa.kernels import most_concordant

    n_pairs = rows.shape[-1]
    if not (np.ptp(rows, axis=-1) > 0).all():
        return float("nan")
    return float(most_concordant((2 * rows).astype(np.int32)) / (n_pairs * (n_pairs - 1) / 2))


def _squares(rows: Array) -> Array:
    squares: Array = np.vecdot(rows, rows)
    return squares


# ------------------------------------------------------------------------------------------ resampling


def ranks_drawn(prepared: Array) -> Drawn:
    """Rank RDMs of ranks again among the pairs that are drawn: products are Spearman's rho."""
    ranked = _ranks_drawn(prepared)
    return lambda counts: _nonzero_unit(ranked(counts))


def rho_a_drawn(prepared: Array) -> Drawn:
    """Rank RDMs of ranks again among the pairs that are drawn: products are rho-a."""
    ranked = _ranks_drawn(prepared)

    def drawn(counts: Array) -> Array:
        rows, n_pairs = ranked(counts), int(counts.sum())
        varies = _squares(rows)[:, None] > 0
        return np.where(varies, rows * np.sqrt(12 / (float(n_pairs) ** 3 - n_pairs)), np.nan)

    return drawn


def values_drawn(prepared: Array) -> Drawn:
    """Centre RDMs again over the pairs that are drawn: products are Pearson's r."""

    def drawn(counts: Array) -> Array:
        which = np.flatnonzero(counts)
        weights = counts[which]
        values = prepared[:, which]
        same = np.ptp(values, axis=1, keepdims=True) <= _noise(values)
        values = np.where(same, 0, values - (values @ (weights / weights.sum()))[:, None])
        return _nonzero_unit(values * np.sqrt(weights))

    return drawn


def lengths_drawn(prepared: Array) -> Drawn:
    """Take RDMs over the pairs that are drawn: products are cosines."""
    known = np.isfinite(prepared).all(axis=1)

    def drawn(counts: Array) -> Array:
        which = np.flatnonzero(counts)
        rows = _nonzero_unit(prepared[:, which] * np.sqrt(counts[which]))
        rows[~known] = np.nan
        return rows

    return drawn


def _ranks_drawn(prepared: Array) -> Drawn:
    """Return what ranks RDMs of ranks among some pairs, times the root of how often each was drawn."""
    from rsa.kernels import rank_drawn

    known = np.isfinite(prepared).all(axis=1)
    orders = np.argsort(prepared, axis=1, kind="stable").astype(np.int32)
    in_order = np.take_along_axis(prepared, orders, axis=1)
    ties = np.zeros(prepared.shape, dtype=bool)
    ties[:, 1:] = in_order[:, 1:] == in_order[:, :-1]

    def drawn(counts: Array) -> Array:
        which = np.flatnonzero(counts)
        slots = np.zeros(len(counts), dtype=np.int32)
        slots[which] = np.arange(len(which))
        ranked = np.empty((len(orders), len(which)))
        rank_drawn(orders, ties, counts, slots, np.sqrt(counts[which]), ranked)
        ranked[~known] = np.nan
        return ranked

    return drawn


def _nonzero_unit(rows: Array) -> Array:
    """Scale rows to length 1, in place; NaN where one is zero."""
    lengths = np.sqrt(_squares(rows))[:, None]
    lengths[lengths == 0] = np.nan
    return np.divide(rows, lengths, out=rows)


# ------------------------------------------------------------------------------------------ averaging


def z_scored(rdms: Array) -> Array:
    """Scale each RDM to mean 0 and standard deviation 1; NaN where it is constant."""
    centre = centred(rdms)
    spread = centre.std(axis=-1, keepdims=True)
    return np.asarray(centre / np.where(spread > 0, spread, np.nan))


def unit_length(rdms: Array) -> Array:
    """Scale each RDM to length 1; NaN where it is zero."""
    length = np.linalg.norm(rdms, axis=-1, keepdims=True)
    return np.asarray(rdms / np.where(length > 0, length, np.nan))


def unit_ranks(rows: Array) -> Array:
    """Scale centred ranks so that their product is rho-a; NaN where an RDM is constant."""
    n_pairs = rows.shape[-1]
    varies = _squares(rows)[..., None] > 0
    return np.where(varies, rows * np.sqrt(12 / (n_pairs**3 - n_pairs)), np.nan)


COMPARISONS: dict[str, Comparison] = {
    "spearman": Comparison(
        centred_ranks,
        normalised_product,
        ranks,
        "Spearman's rho: Pearson r of ranks, ties by their average rank",
        unrelated_score_0=True,
        words="Spearman's rank correlation",
        scaled=unit_length,
        drawn=ranks_drawn,
        on_gpu=("centred_ranks", "normalised_product"),
    ),
    "pearson": Comparison(
        centred,
        normalised_product,
        z_scored,
        "Pearson r of dissimilarities",
        unrelated_score_0=True,
        words="Pearson's correlation",
        scaled=unit_length,
        drawn=values_drawn,
        on_gpu=("centred", "normalised_product"),
    ),
    "kendall_tau_a": Comparison(
        ranks,
        kendall_tau_a,
        ranks,
        "Kendall's tau-a: (concordant - discordant) / all; for models with ties",
        unrelated_score_0=True,
        at_most=majority_tau_a,
        at_most_words="the order which most subjects have of each two pairs of conditions",
        words="Kendall's tau-a",
    ),
    "rho_a": Comparison(
        centred_ranks,
        rank_product,
        ranks,
        "rho-a: expected Spearman's rho with ties broken at random (Schütt et al., 2023)",
        unrelated_score_0=True,
        words="Spearman's rho-a",
        scaled=unit_ranks,
        drawn=rho_a_drawn,
        paper="Schütt et al., 2023",
        on_gpu=("centred_ranks", "rank_product"),
    ),
    "cosine": Comparison(
        unchanged,
        normalised_product,
        unit_length,
        "cosine of the angle between RDMs, of crossnobis distances",
        words="cosine similarity",
        scaled=unit_length,
        drawn=lengths_drawn,
        on_gpu=("unchanged", "normalised_product"),
    ),
}
